"""Rows of 8-bit codes that are multiplied where they lie, for inputs that become codes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..arrays.activation import Activation
from ..arrays.quantize import Quantized, parameters_by_row
from .epilogue import epilogue
from .layout import as_rows

# What the kernel reads of a group at a time: `CODE_STEPS` of `fq_gemm_int8.f90`.
CODE_STEPS = 64


@dataclass(frozen=True, eq=False)
class Codes:
    """Signed codes by rows, and parameters by row and group."""

    codes: NDArray[np.int8]
    group_size: int
    scale: NDArray
    zero_point: NDArray[np.int32]
    minimum: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "multiply_codes",
            _native.KIND[x.dtype],
            self.group_size,
            self.group_size,
            as_rows(x),
            self.codes,
            self.scale,
            self.zero_point,
            self.minimum,
            *epilogue(bias, activation, out),
            inputs={"x": x},
        )


def codes_in_place(w: Quantized) -> Codes | None:
    """Return codes that need no room between groups; None if they do, or are no bytes."""
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    if w.bits != 8 or group_size % CODE_STEPS or w.shape[1] % group_size:
        return None
    codes = w.packed.view(np.int8)
    if not w.signed:
        codes, zero_point = codes ^ np.int8(-128), zero_point - np.int32(128)
    return Codes(codes, group_size, scale, zero_point, minimum)
