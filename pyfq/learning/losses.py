"""Losses of a network's outputs, in float64: what training minimises, and validation reports."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._core.check import FLOATS, as_input, as_number, refuse_not_finite
from ..arrays.activation import activate

Loss = Literal["cross_entropy", "mse", "huber"]
Imitation = Literal["kl", "mse", "cosine"]

# From 0, in the order of the constants LOSS_ and IMITATE_ of `fortran/learning/fq_training.f90`.
LOSSES = ("none", "cross_entropy", "mse", "huber")
IMITATIONS = ("none", "kl", "mse", "cosine")


def soften(logits: NDArray, temperature: float = 4.0) -> NDArray:
    r"""Return a teacher's soft labels, :math:`\mathrm{softmax}(z / T)` of each row.

    Parameters
    ----------
    logits : (..., classes) float32 or float64
        z, finite.
    temperature : float
        T, 0.001 ... 1e6; 1 gives the teacher's probabilities, a large one nearly equal ones.

    Returns
    -------
    (..., classes) array of the same dtype
        Probabilities, finite for any logits.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `logits` are not finite, not C-contiguous or have no axis; if `temperature` is out of
        range.

    References
    ----------
    Hinton, Vinyals & Dean 2015, Distilling the knowledge in a neural network, arXiv 1503.02531,
    equation 1.

    Examples
    --------
    >>> soften(np.array([4.0, 0.0]), 1.0).round(3)
    array([0.982, 0.018])
    >>> soften(np.array([4.0, 0.0]), 4.0).round(3)
    array([0.731, 0.269])
    """
    logits = as_input(logits, "logits", FLOATS)
    refuse_not_finite({"logits": logits})
    if not logits.ndim:
        raise ValueError("logits must have shape (..., classes), not ()")
    temperature = logits.dtype.type(as_temperature(temperature))
    if not logits.size:
        return np.empty_like(logits)
    with np.errstate(over="ignore"):  # of differences from the largest: -inf becomes 0
        apart = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    return activate(apart, "softmax")


def as_temperature(temperature: Any) -> float:
    """Return a temperature as a float, above 0."""
    return as_number(temperature, "temperature", 1e-3, 1e6)


def loss_of(
    outputs: NDArray, y: NDArray, loss: Loss, weights: NDArray | None = None, delta: float = 1.0
) -> float:
    r"""Return the mean loss of outputs, in float64.

    Parameters
    ----------
    outputs : (samples, n) array
        Logits for ``"cross_entropy"``, else values.
    y : (samples,) int64 or (samples, n) array
        Positions of the right classes, or their probabilities, or values.
    loss : str
        ``"cross_entropy"``, :math:`-\sum_c y_c \log \mathrm{softmax}(z)_c`; ``"mse"``, the mean of
        :math:`(z - y)^2`; or ``"huber"``, of :math:`e^2/2` for :math:`|e| \le \delta`, else
        :math:`\delta (|e| - \delta/2)`.
    weights : (samples,) array, optional
        Weights of the samples in the mean.
    delta : float
        Delta of ``"huber"``.

    Returns
    -------
    float
        The loss.
    """
    z = outputs.astype(np.float64)
    match loss:
        case "cross_entropy":
            z = z - z.max(axis=1, keepdims=True)
            log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            each = -log_p[np.arange(len(y)), y] if y.ndim == 1 else -(y * log_p).sum(axis=1)
        case "mse":
            each = ((z - y) ** 2).mean(axis=1)
        case _:
            error = np.abs(z - y)
            small = np.minimum(error, delta)
            each = (small * (error - small / 2)).mean(axis=1)
    return float(np.average(each, weights=weights))


def gradient_of(z: NDArray, y: NDArray, loss: Loss, delta: float = 1.0) -> NDArray:
    """Return the gradient of each sample's loss, as `loss_of` defines it, with respect to outputs.

    Parameters
    ----------
    z : (samples, n) float64
        Logits for ``"cross_entropy"``, else values.
    y, loss, delta
        As in `loss_of`.

    Returns
    -------
    (samples, n) float64
        The gradient.
    """
    match loss:
        case "cross_entropy":
            shifted = z - z.max(axis=1, keepdims=True)
            p = np.exp(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
            expected = np.eye(z.shape[1])[y] if y.ndim == 1 else y
            return p * expected.sum(axis=1, keepdims=True) - expected
        case "mse":
            return 2 * (z - y) / z.shape[1]
    return np.clip(z - y, -delta, delta) / z.shape[1]
