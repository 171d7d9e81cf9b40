"""What layers with inputs of a fixed step want of their weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_number, refuse_not_finite
from ..arrays.quantize import Quantized

# Columns of weights whose sums of products with codes fit 32 bits: 33025 * 255**2 < 2**31.
MOST_INPUTS = 33025


def as_x_scale(x_scale: Any, w: Any, bias: NDArray | None) -> np.floating:
    """Return the step of codes of inputs in the dtype of weights; refuse weights it is not for."""
    if not isinstance(w, Quantized) or w.bits > 8 or w.minimum is not None:
        what = type(w).__name__
        if isinstance(w, Quantized):
            what = f"of {w.bits} bits{'' if w.minimum is None else ' and with minima'}"
        raise ValueError(
            "weights must be Quantized, of at most 8 bits and without minima, for x_scale, "
            f"not {what}"
        )
    n, k = w.shape
    if w.scale.size not in (1, n):
        raise ValueError(
            f"weights must have one scale for all or one a row for x_scale, not {w.granularity!r}"
        )
    if k > MOST_INPUTS:
        raise ValueError(f"weights must have at most {MOST_INPUTS} columns for x_scale, not {k}")
    largest = np.finfo(w.scale.dtype).max
    step = w.scale.dtype.type(as_number(x_scale, "x_scale", 0, float(largest)))
    refuse_not_finite({"scale": w.scale})
    with np.errstate(over="ignore"):
        reaches = 2.0**31 * (step * np.abs(w.scale).max())
        reaches += 0 if bias is None else np.abs(bias).max()
    if not (step > 0 and reaches <= largest):
        raise ValueError(
            f"x_scale must be positive, and 2**31 * x_scale * scale + bias finite in "
            f"{w.scale.dtype}, but x_scale is {x_scale}"
        )
    return step
