"""Rows of int8 codes, for activations that are quantized as they come."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from ..arrays.activation import Activation
from ..arrays.quantize import Quantized, parameters_by_row
from .epilogue import epilogue
from .layout import as_rows

# Entries of a padded group of codes: `CODE_STEPS` of `fq_gemm_int8.f90`.
CODE_STEPS = 64


@dataclass(frozen=True, eq=False)
class Codes:
    """Signed codes by rows, each group from a multiple of `stride` on, and parameters by row."""

    codes: NDArray[np.int8]
    group_size: int
    stride: int
    scale: NDArray
    zero_point: NDArray[np.int32]
    minimum: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "multiply_codes",
            _native.KIND[x.dtype],
            self.group_size,
            self.stride,
            as_rows(x),
            self.codes,
            self.scale,
            self.zero_point,
            self.minimum,
            *epilogue(bias, activation, out),
            inputs={"x": x},
        )

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "codes", "weights": self.codes, "scale": self.scale,
            "zero_point": self.zero_point, "minimum": self.minimum,
            "group_size": self.group_size, "groups": self.scale.shape[1],
            "row_steps": self.codes.shape[1], "group_stride": self.stride,
        }  # fmt: skip


def as_codes(w: Quantized, *, copied: bool) -> Codes:
    """Return the codes of quantized weights by rows; `copied` also where they need no padding.

    Copies multiply faster, and share no memory with the weights.
    """
    n, k = w.shape
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    codes, zero_point = signed_codes(w, zero_point)
    groups = scale.shape[1]
    stride = -(-group_size // CODE_STEPS) * CODE_STEPS
    row = groups * stride
    if copied or row != k:
        padded = aligned_empty((n, padded_steps(row)), np.int8)
        padded[...] = 0
        for g in range(groups):
            part = codes[:, g * group_size : (g + 1) * group_size]
            padded[:, g * stride : g * stride + part.shape[1]] = part
        codes = padded
    if copied:
        scale, zero_point, minimum = scale.copy(), zero_point.copy(), minimum.copy()
    return Codes(codes, group_size, stride, scale, zero_point, minimum)


def signed_codes(
    w: Quantized, zero_point: NDArray[np.int32]
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Return codes as signed bytes, and their zero points."""
    if w.bits == 8 and w.signed:
        return w.packed.view(np.int8), zero_point
    if w.bits == 8:
        return w.packed.view(np.int8) ^ np.int8(-128), zero_point - np.int32(128)
    return w.codes.view(np.int8), zero_point


def padded_steps(k: int) -> int:
    """Return the length of a row of codes: rows a power of 2 apart would meet in one set of L1."""
    row = -(-k // CODE_STEPS) * CODE_STEPS
    return row + CODE_STEPS * (row % 512 == 0)
