"""Panels of codes of a table of at most 16 levels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from ..arrays.activation import Activation
from ..arrays.codebook import Codebook, levels_by_row
from .dense import Panels, as_panels, panels_shape
from .epilogue import epilogue
from .layout import as_rows, by_panel


@dataclass(frozen=True, eq=False)
class LevelPanels:
    """Panels of codes of a table, those of two rows a byte, and the levels of each such byte."""

    codes: NDArray[np.int8]
    group_size: int
    pairs: NDArray
    scale: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "multiply_level_panels",
            _native.KIND[x.dtype],
            self.group_size,
            as_rows(x),
            self.codes,
            self.pairs,
            self.scale,
            *epilogue(bias, activation, out),
        )

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "level_panels", "weights": self.codes, "levels": self.pairs,
            "scale": self.scale, "group_size": self.group_size, "groups": self.scale.shape[1],
        }  # fmt: skip


def as_level_panels(w: Codebook) -> LevelPanels | Panels:
    """Return the panels of weights of one table of at most 16 levels, of floats if it has more."""
    levels, scale, group_size = levels_by_row(w)
    if w.bits > 4 or len(levels) > 1:
        return as_panels(w.dequantize())
    n, k = w.shape
    _, lanes = panels_shape(n, k, w.dtype)
    panels = -(-n // lanes)
    codes = np.zeros((panels * lanes, k), np.uint8)
    codes[:n] = w.codes
    packed = aligned_empty((panels, k, lanes // 2), np.int8)
    both = codes[::2] | codes[1::2] << 4  # the first row of two in the lower half
    packed[...] = both.view(np.int8).reshape(panels, lanes // 2, k).swapaxes(1, 2)
    table = np.zeros(16, w.dtype)
    table[: levels.shape[1]] = levels[0]
    pairs = np.stack([np.tile(table, 16), np.repeat(table, 16)], axis=1)
    return LevelPanels(packed, group_size, pairs, by_panel(scale, panels, lanes, w.dtype))
