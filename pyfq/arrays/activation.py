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
    "tanh",
    "sigmoid",
    "gelu",
    "gelu_tanh",
    "silu",
    "softplus",
    "softmax",
)
# The slope of "leaky_relu" if none is given, as in PyTorch and ONNX.
SLOPE = 0.01

# What a function takes for an activation.
Activation = str | tuple[str, float] | None


def activate(x: NDArray, activation: Activation, *, out: NDArray | None = None) -> NDArray:
    r"""Apply an activation function to each element, or ``"softmax"`` to each row.

    .. math::
        \begin{aligned}
        \mathrm{relu}(x) &= \max(x, 0) &
        \mathrm{gelu}(x) &= x\,\Phi(x) = x\,(1 + \mathrm{erf}(x/\sqrt2))/2 \\
        \mathrm{leaky\_relu}(x) &= x \text{ if } x \ge 0 \text{ else } \alpha x &
        \mathrm{gelu\_tanh}(x) &= x\,(1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715\,x^3)))/2 \\
        \mathrm{sigmoid}(x) &= 1/(1 + e^{-x}) &
        \mathrm{softplus}(x) &= \log(1 + e^x) \\
        \mathrm{silu}(x) &= x/(1 + e^{-x}) &
        \mathrm{softmax}(x)_i &= e^{x_i} / \textstyle\sum_j e^{x_j}
        \end{aligned}

    Values are within 2 units in the last place of the true ones, tails and denormals included;
    those of softmax within 4, in float64 within :math:`15 + n/112` for rows of n. They are the same
    bits on every machine and for any number of threads.

    Parameters
    ----------
    x : (..., cols) float32 or float64
        Any values. NaN gives NaN, infinities give the limits; a row of softmax that holds NaN or
        +Inf, or nothing but -Inf, becomes NaN.
    activation : str, ("leaky_relu", slope) or None
        ``"relu"``, ``"leaky_relu"`` (:math:`\alpha` is 0.01, or the slope given), ``"tanh"``,
        ``"sigmoid"``, ``"gelu"``, ``"gelu_tanh"``, ``"silu"``, ``"softplus"``, or ``"softmax"``
        over the last axis; None copies.
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
    (leaky_relu); Dugas et al. 2000, NIPS 13 (softplus).

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
    """Return the code of an activation function and the slope of ``"leaky_relu"``.

    Parameters
    ----------
    activation : str, ("leaky_relu", slope) or None
        As `activate` takes it.
    name : str
        What an error calls it.

    Returns
    -------
    code : int
        0 for None, else one more than the position in `ACTIVATIONS`.
    slope : float
        0 for any but ``"leaky_relu"``.

    Raises
    ------
    TypeError
        If the slope is not a number.
    ValueError
        If there is no such function, or the slope is not a finite float32.
    """
    match activation:
        case None:
            return 0, 0.0
        case ("leaky_relu", slope):
            largest = float(np.finfo(np.float32).max)
            slope = as_number(slope, f"slope of {name}", -largest, largest)
            return ACTIVATIONS.index("leaky_relu") + 1, slope
        case str() if activation in ACTIVATIONS:
            slope = SLOPE if activation == "leaky_relu" else 0.0
            return ACTIVATIONS.index(activation) + 1, slope
    words = ", ".join(map(repr, ACTIVATIONS))
    raise ValueError(
        f"{name} must be None, one of {words}, or ('leaky_relu', slope), not {shown(activation)}"
    )


def derivative_of(x: NDArray, y: NDArray, activation: Activation) -> NDArray:
    """Return the derivative of an activation function, but of ``"softmax"``.

    Parameters
    ----------
    x : float array
        What the function was applied to.
    y : array of x's shape and dtype
        Its values.
    activation : str, ("leaky_relu", slope) or None
        As `activate` takes it.

    Returns
    -------
    array of x's shape and dtype
        The derivative; in kinks that from the left.
    """
    word, slope = activation if isinstance(activation, tuple) else (activation, SLOPE)
    match word:
        case None:
            return np.ones_like(x)
        case "relu":
            return (y > 0).astype(x.dtype)
        case "leaky_relu":
            return np.where(x > 0, 1, slope).astype(x.dtype)
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
