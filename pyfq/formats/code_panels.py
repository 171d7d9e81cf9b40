"""Panels of codes that become floats as they are multiplied."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from .._core.threads import get_num_threads
from ..arrays.activation import Activation
from ..arrays.quantize import Quantized, parameters_by_row
from .dense import Panels, as_panels, panels_shape
from .epilogue import epilogue
from .layout import as_rows, by_panel


@dataclass(frozen=True, eq=False)
class CodePanels:
    """Panels of codes, a byte or half of one each, which become floats as they are multiplied."""

    codes: NDArray[np.int8]
    two_per_byte: bool
    group_size: int
    scale: NDArray
    zero_point: NDArray[np.int8]
    minimum: NDArray | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "multiply_code_panels",
            _native.KIND[x.dtype],
            self.group_size,
            as_rows(x),
            self.two_per_byte,
            self.codes,
            self.scale,
            self.zero_point,
            self.minimum is not None,
            self.scale if self.minimum is None else self.minimum,
            *epilogue(bias, activation, out),
        )

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "code_panels", "weights": self.codes, "scale": self.scale,
            "zero_point": self.zero_point, "minimum": self.minimum,
            "group_size": self.group_size, "groups": self.scale.shape[1],
            "row_steps": self.codes.shape[1], "two_per_byte": int(self.two_per_byte),
        }  # fmt: skip


def as_code_panels(w: Quantized) -> CodePanels | Panels:
    """Return the panels of quantized weights, of floats where codes would not give the same."""
    n, k = w.shape
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    two_per_byte = w.bits <= 4 and (group_size % 2 == 0 or scale.shape[1] == 1)
    largest = np.finfo(scale.dtype).max
    if w.bits > 8 or np.abs(scale).max() > largest / 2**17 or np.abs(minimum).max() > largest / 2:
        return as_panels(w.dequantize())
    codes = w.codes.view(np.int8)
    shift = 8 if two_per_byte and w.signed else -128 if w.bits == 8 and not w.signed else 0
    codes = codes + np.int8(shift) if shift else codes  # -128 wraps: unsigned codes become signed
    kind = _native.KIND[scale.dtype]
    _, lanes = panels_shape(n, k, scale.dtype)
    panels = -(-n // lanes)
    packed = aligned_empty((panels, -(-k // 2) if two_per_byte else k, lanes), np.int8)
    _native.call("pack_code_panels", kind, codes, two_per_byte, packed, get_num_threads())
    zeros = by_panel(zero_point + np.int32(shift), panels, lanes, np.dtype(np.int8))
    least = None if w.minimum is None else by_panel(minimum, panels, lanes, scale.dtype)
    steps = by_panel(scale, panels, lanes, scale.dtype)
    return CodePanels(packed, two_per_byte, group_size, steps, zeros, least)
