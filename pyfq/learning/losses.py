"""Losses of a network's outputs, in float64: what training minimises, and validation reports."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._core.check import FLOATS, as_input, as_number, refuse_not_finite, shown
from ..arrays.activation import activate

Loss = Literal["cross_entropy", "mse", "huber"]


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


def as_labels(y: Any, outputs: int, classes: NDArray | None, name: str = "y") -> NDArray[np.int64]:
    """Return the positions of labels among `classes`, or labels that are positions.

    Parameters
    ----------
    y : (samples,) array
        Labels.
    outputs : int
        Classes that there are.
    classes : (outputs,) array or None
        Their labels; None for ``0 ... outputs - 1``.
    name : str
        What an error calls y.

    Returns
    -------
    (samples,) int64
        Positions.

    Raises
    ------
    TypeError, ValueError
        If y is not such an array, or holds what is no label.
    """
    if not isinstance(y, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(y).__name__}")
    if y.ndim != 1:
        raise ValueError(f"{name} must have shape (samples,), not {y.shape}")
    if classes is None:
        if not np.issubdtype(y.dtype, np.integer):
            raise TypeError(f"{name} must be labels 0 ... {outputs - 1}, integers, not {y.dtype}")
        bad = np.flatnonzero((y < 0) | (y >= outputs))
        if bad.size:
            raise ValueError(
                f"{name} must be labels 0 ... {outputs - 1}, but {name}[{bad[0]}] is {y[bad[0]]}"
            )
        return y.astype(np.int64)
    order = np.argsort(classes)
    at = order[np.minimum(np.searchsorted(classes, y, sorter=order), outputs - 1)]
    bad = np.flatnonzero(np.asarray(classes)[at] != y)
    if bad.size:
        raise ValueError(
            f"{name} must be labels of the network's classes, but {name}[{bad[0]}] is "
            f"{shown(y[bad[0]])}"
        )
    return at.astype(np.int64)


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
        Of the samples in the mean.
    delta : float
        Of ``"huber"``.

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
