"""2:4 weights as floats, for few samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from ..arrays.activation import Activation
from .epilogue import epilogue
from .sparse import Sparse, places_of, reals_of

# Of `fq_nm24.f90`: rows side by side, and groups whose positions are a word.
NM24_ROWS, WORD_GROUPS = 16, 8
# Samples up to which weights are spread in registers; for more they are blocked rows.
FEW_SAMPLES = 24


@dataclass(frozen=True, eq=False)
class Nm24:
    """Two values of every four neighbours, 16 rows side by side, and their positions.

    Attributes
    ----------
    groups : int
        Groups of a row, filled up to a multiple of 8.
    values : (panels, 32 * groups) array
        Two of each group, 16 rows side by side; groups that are not there are zeros.
    positions : (panels, 2 * groups) int32
        Four bits a group, those of 8 groups a word.
    """

    groups: int
    values: NDArray
    positions: NDArray[np.int32]

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "multiply_nm24", _native.KIND[x.dtype], x, self.groups, self.values, self.positions,
            *epilogue(bias, activation, out),
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "nm24", "weights": self.values, "positions": self.positions,
            "groups": self.groups, "panels": len(self.values),
        }  # fmt: skip


def as_nm24(w: Sparse) -> Nm24:
    """Return 2:4 weights, 16 rows side by side."""
    values, bits = reals_of(w), position_bits(w)
    out_features, groups = bits.shape
    panels, padded = -(-out_features // NM24_ROWS), -(-groups // WORD_GROUPS) * WORD_GROUPS
    all_values = np.zeros((panels * NM24_ROWS, padded, 2), values.dtype)
    all_values[:out_features, :groups] = values.reshape(out_features, groups, 2)
    by_panel = all_values.reshape(panels, NM24_ROWS, padded * 2).transpose(0, 2, 1)
    side_by_side = aligned_empty(by_panel.shape, values.dtype)
    side_by_side[...] = by_panel
    words = np.zeros((panels * NM24_ROWS, padded), np.uint32)
    words[:out_features, :groups] = bits
    words = words.reshape(-1, padded // WORD_GROUPS, WORD_GROUPS)
    words = np.bitwise_or.reduce(words << np.arange(0, 32, 4, dtype=np.uint32), axis=2)
    words = words.reshape(panels, NM24_ROWS, -1).transpose(0, 2, 1)
    positions = np.ascontiguousarray(words).view(np.int32).reshape(panels, -1)
    return Nm24(padded, side_by_side.reshape(panels, -1), positions)


def position_bits(w: Sparse) -> NDArray[np.uint8]:
    """Return the four bits of each group: first at 0, first at 1, second at 3, second at 2."""
    places = places_of(w)
    first, second = places[:, 0::2], places[:, 1::2]
    bits = (first == 0) | (first == 1).view(np.uint8) << 1
    return bits | (second == 3).view(np.uint8) << 2 | (second == 2).view(np.uint8) << 3
