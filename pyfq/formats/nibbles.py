"""Codes of at most 4 bits, a row of weights a lane, for activations that are quantized."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from .._core.threads import get_num_threads
from ..arrays.activation import Activation
from ..arrays.quantize import Quantized, parameters_by_row
from .epilogue import epilogue
from .layout import as_rows, by_panel

# Rows of a panel, and words of a step: those of `fq_nibbles.f90`.
PANEL_ROWS, WORDS = 128, 32


@dataclass(frozen=True, eq=False)
class Nibbles:
    """Codes of at most 4 bits, a row of weights a lane, and parameters by panel of 128 rows."""

    words: NDArray[np.int16]
    group_size: int
    scale: NDArray
    zero_point: NDArray[np.int8]
    minimum: NDArray | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "multiply_nibbles",
            _native.KIND[x.dtype],
            self.group_size,
            as_rows(x),
            self.words,
            self.scale,
            self.zero_point,
            self.minimum is not None,
            self.scale if self.minimum is None else self.minimum,
            *epilogue(bias, activation, out),
            inputs={"x": x},
        )

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "nibbles", "weights": self.words, "scale": self.scale,
            "zero_point": self.zero_point, "minimum": self.minimum,
            "group_size": self.group_size, "groups": self.scale.shape[1],
        }  # fmt: skip


def as_nibbles(w: Quantized) -> Nibbles:
    """Return quantized weights of at most 4 bits by lanes."""
    n, k = w.shape
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    shift = 8 if w.signed else 0
    codes = w.codes.view(np.int8) + np.int8(shift)
    panels = -(-n // PANEL_ROWS)
    words = aligned_empty((panels, k, WORDS), np.int16)
    _native.call("pack_nibbles", _native.KIND[scale.dtype], codes, words, get_num_threads())
    return Nibbles(
        words,
        group_size,
        by_panel(scale, panels, PANEL_ROWS, scale.dtype),
        by_panel(zero_point + np.int32(shift), panels, PANEL_ROWS, np.dtype(np.int8)),
        None if w.minimum is None else by_panel(minimum, panels, PANEL_ROWS, scale.dtype),
    )
