"""Rows of int8 codes, for activations that are codes of a fixed scale."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_number, refuse_not_finite
from .._core.memory import aligned_empty
from ..arrays.quantize import Quantized, parameters_by_row
from .codes import padded_steps, signed_codes

# What rows are padded to a multiple of: the columns of any tile.
TILE_STEP = 12
# Columns of weights whose sums of products with codes fit 32 bits: 33025 * 255**2 < 2**31.
MOST_INPUTS = 33025


@dataclass(frozen=True, eq=False)
class StaticCodes:
    """Signed codes by rows, and what makes reals of sums with codes of inputs; for networks only.

    Attributes
    ----------
    codes : (rows, steps) int8
        Rows and steps beyond those of the weights are zeros.
    code_sums : (n,) int32
        Sums of codes without zero points.
    zero_point : (n,) int32, or None where all are 0
        Of the weights.
    scale : (n,) array
        Of sums.
    step : (1,) array
        Between codes of inputs.
    input_zero : int
        Their code of 0, -1 where they are signed.
    """

    codes: NDArray[np.int8]
    code_sums: NDArray[np.int32]
    zero_point: NDArray[np.int32] | None
    scale: NDArray
    step: NDArray
    input_zero: int

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "static", "weights": self.codes, "code_sums": self.code_sums,
            "input_scale": self.step, "zero_point": self.zero_point, "scale": self.scale,
            "input_zero": self.input_zero, "rows": len(self.codes),
        }  # fmt: skip


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


def as_static_codes(w: Quantized, x_scale: np.floating, x_zero_point: int | None) -> StaticCodes:
    """Return the codes of quantized weights by rows, for inputs that are codes of a fixed step."""
    n, k = w.shape
    scale, zero_point, *_ = parameters_by_row(w)
    codes, zero_point = signed_codes(w, zero_point)
    padded = aligned_empty((-(-n // TILE_STEP) * TILE_STEP, padded_steps(k)), np.int8)
    padded[...] = 0
    padded[:n, :k] = codes
    sums = codes.sum(axis=1, dtype=np.int32) - np.int32(k) * zero_point[:, 0]
    return StaticCodes(
        padded,
        sums,
        zero_point[:, 0] if zero_point.any() else None,
        x_scale * scale[:, 0],
        np.array([x_scale]),
        -1 if x_zero_point is None else x_zero_point,
    )
