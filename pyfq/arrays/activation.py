"""Activation functions (`fortran/arrays/fq_activation.f90`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import FLOATS, as_input, as_number, as_output, shown
from .._core.threads import get_num_threads

# In the order of their codes from 1 (`fortran/base/fq_activation_kind.f90`); 0 is none.
ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "clipped_relu",
    "tanh",
    "sigmoid",
    "gelu",
    "gelu_tanh",
    "silu",
    "softplus",
    "elu",
    "exp",
    "softmax",
)
# The number that goes with some: what it is called, the least, and what it is if none is given, as
# in PyTorch and ONNX; that of "clipped_relu" makes it ReLU6.
_LARGEST = float(np.finfo(np.float32).max)
PARAMETERS = {
    "leaky_relu": ("slope", -_LARGEST, 0.01),
    "clipped_relu": ("ceiling", 0.0, 6.0),
    "elu": ("alpha", -_LARGEST, 1.0),
}

# What a function takes for an activation.
Activation = str | tuple[str, float] | None


def activate(x: NDArray, activation: Activation, *, out: NDArray | None = None) -> NDArray:
    r"""Apply an activation function to each element, or ``"softmax"`` to each row.

    .. math::
        \begin{aligned}
        \mathrm{relu}(x) &= \max(x, 0) &
        \mathrm{gelu}(x) &= x\,\Phi(x) = x\,(1 + \mathrm{erf}(x/\sqrt2))/2 \\
        \mathrm{clipped\_relu}(x) &= \min(\max(x, 0), c) &
        \mathrm{elu}(x) &= x \text{ if } x > 0 \text{ else } \alpha\,(e^x - 1) \\
        \mathrm{leaky\_relu}(x) &= x \text{ if } x \ge 0 \text{ else } \alpha x &
        \mathrm{gelu\_tanh}(x) &= x\,(1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715\,x^3)))/2 \\
        \mathrm{sigmoid}(x) &= 1/(1 + e^{-x}) &
        \mathrm{softplus}(x) &= \log(1 + e^x) \\
        \mathrm{silu}(x) &= x/(1 + e^{-x}) &
        \mathrm{softmax}(x)_i &= e^{x_i} / \textstyle\sum_j e^{x_j} \\
        \mathrm{exp}(x) &= e^x
        \end{aligned}

    Values are within 2 units in the last place of the true ones, tails and denormals included;
    those of exp within 1, those of softmax within 4, in float64 within :math:`15 + n/112` for rows
    of n. They are the same bits on every machine and for any number of threads.

    Parameters
    ----------
    x : (..., cols) float32 or float64
        Any values. NaN gives NaN, infinities give the limits, exp of what is too large gives Inf; a
        row of softmax that holds NaN or +Inf, or nothing but -Inf, becomes NaN.
    activation : str, (str, float) or None
        ``"relu"``, ``"tanh"``, ``"sigmoid"``, ``"gelu"``, ``"gelu_tanh"``, ``"silu"``,
        ``"softplus"``, ``"exp"``, or ``"softmax"`` over the last axis; None copies. With a number
        or without: ``"leaky_relu"`` or ``("leaky_relu", slope)``, :math:`\alpha` of which is 0.01
        without; ``"clipped_relu"`` or ``("clipped_relu", ceiling)``, c is 6 without, as in ReLU6;
        ``"elu"`` or ``("elu", alpha)``, :math:`\alpha` is 1 without.
    out : array of x's shape and dtype, optional
        Where to write; must not overlap `x`.

    Returns
    -------
    array of x's shape and dtype
        The values.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If there is no such function, or an array is not C-contiguous or has the wrong shape.

    References
    ----------
    Hendrycks & Gimpel 2016, Gaussian error linear units, arXiv 1606.08415 (gelu, gelu_tanh, silu);
    Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network acoustic models
    (leaky_relu); Dugas et al. 2000, NIPS 13 (softplus); Clevert et al. 2016, Fast and accurate deep
    network learning by exponential linear units, arXiv 1511.07289 (elu); Howard et al. 2017,
    MobileNets, arXiv 1704.04861 (clipped_relu).

    Examples
    --------
    >>> x = np.array([-2.0, 0.0, 1.0, 2.0])
    >>> activate(x, ("leaky_relu", 0.5))
    array([-1.,  0.,  1.,  2.])
    >>> activate(x, "gelu").round(4)
    array([-0.0455,  0.    ,  0.8413,  1.9545])
    >>> activate(x, "softmax").round(4)
    array([0.012 , 0.0889, 0.2418, 0.6572])
    """
    x = as_input(x, "x", FLOATS)
    code, slope = as_activation(activation)
    y = as_output(out, "out", x.dtype, x.shape, x)
    if x.size:
        rows = (-1, x.shape[-1]) if activation == "softmax" and x.ndim else (1, -1)
        _native.call(
            "activate",
            _native.KIND[x.dtype],
            code,
            slope,
            x.reshape(rows),
            y.reshape(rows),
            get_num_threads(),
        )
    return y


def as_activation(activation: Any, name: str = "activation") -> tuple[int, float]:
    """Return the code of an activation function and the number that goes with it.

    Parameters
    ----------
    activation : str, (str, float) or None
        As `activate` takes it.
    name : str
        What an error calls it.

    Returns
    -------
    code : int
        0 for None, else one more than the position in `ACTIVATIONS`.
    number : float
        0 for those without.

    Raises
    ------
    TypeError
        If the number is none.
    ValueError
        If there is no such function, or the number is not a finite float32.
    """
    match activation:
        case None:
            return 0, 0.0
        case (str() as word, number) if word in PARAMETERS:
            its_name, least, _ = PARAMETERS[word]
            number = as_number(number, f"{its_name} of {name}", least, _LARGEST)
            return ACTIVATIONS.index(word) + 1, number
        case str() if activation in ACTIVATIONS:
            return ACTIVATIONS.index(activation) + 1, PARAMETERS.get(activation, (0.0,))[-1]
    words = ", ".join(map(repr, ACTIVATIONS))
    pairs = ", ".join(f"('{word}', {its_name})" for word, (its_name, *_) in PARAMETERS.items())
    raise ValueError(f"{name} must be None, one of {words}, {pairs}, not {shown(activation)}")


def activation_text(activation: Activation) -> str | None:
    """Return an activation function in words; None if there is none.

    Examples
    --------
    >>> activation_text("relu"), activation_text(("leaky_relu", 0.2)), activation_text(None)
    ('relu', 'leaky_relu 0.2', None)
    """
    return " ".join(map(str, activation)) if isinstance(activation, tuple) else activation


def derivative_of(x: NDArray, y: NDArray, activation: Activation) -> NDArray:
    """Return the derivative of an activation function, but of ``"softmax"``.

    Parameters
    ----------
    x : float array
        What the function was applied to.
    y : array of x's shape and dtype
        Its values.
    activation : str, (str, float) or None
        As `activate` takes it.

    Returns
    -------
    array of x's shape and dtype
        The derivative; in kinks that from the left.
    """
    word = activation[0] if isinstance(activation, tuple) else activation
    _, number = as_activation(activation)
    match word:
        case None:
            return np.ones_like(x)
        case "relu":
            return (y > 0).astype(x.dtype)
        case "leaky_relu":
            return np.where(x > 0, 1, number).astype(x.dtype)
        case "clipped_relu":
            return ((x > 0) & (x <= number)).astype(x.dtype)
        case "elu":
            return np.where(x > 0, 1, y + number).astype(x.dtype)
        case "exp":
            return y
        case "tanh":
            return 1 - y * y
        case "sigmoid":
            return y * (1 - y)
        case "softplus":
            return activate(x, "sigmoid")
    # The others are x times a share of it, which is 1/2 at 0.
    normal = np.abs(x) > np.finfo(x.dtype).tiny ** 0.5
    share = np.divide(y, x, out=np.full_like(x, 0.5), where=normal)
    match word:
        case "silu":
            return share + y * (1 - share)
        case "gelu":
            return share + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * np.minimum(np.abs(x), 30) ** 2)
    return share + x * 2 * share * (1 - share) * inner
