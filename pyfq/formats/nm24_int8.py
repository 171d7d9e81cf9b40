"""2:4 weights as int8 codes, for activations that are quantized as they come."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from ..arrays.activation import Activation
from .epilogue import epilogue
from .nm24 import position_bits
from .sparse import Sparse, scale_of_rows

# Of `fq_nm24_int8.f90`: bytes that a run is a multiple of, and dense bytes of a row at most.
RUN, MOST_CODES = 64, 65536


@dataclass(frozen=True, eq=False)
class Nm24Int8:
    """Codes of 2:4 weights in five runs a row: four of codes, one of positions.

    Attributes
    ----------
    run_bytes : int
        Bytes of a run: half the groups of a row, filled up.
    codes : (n, 5 * run_bytes) int8
        First and second codes of the first half of the groups, of the second half; positions.
    code_sums : (n,) int32
        Sums of the codes of rows.
    scale : (n,) array
        Of rows.
    """

    run_bytes: int
    codes: NDArray[np.int8]
    code_sums: NDArray[np.int32]
    scale: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "multiply_nm24_int8", _native.KIND[x.dtype], x, self.run_bytes, self.codes,
            self.code_sums, self.scale, *epilogue(bias, activation, out), inputs={"x": x},
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "nm24_int8", "weights": self.codes, "code_sums": self.code_sums,
            "scale": self.scale, "run_bytes": self.run_bytes,
        }  # fmt: skip


def as_nm24_int8(w: Sparse) -> Nm24Int8:
    """Return 2:4 codes by runs, their sums and scales by row."""
    bits, run = position_bits(w), run_bytes_of(w)
    out_features, groups = bits.shape
    spread = aligned_empty((out_features, 5, run), np.int8)
    spread[...] = 0
    for half in range(2):
        part = slice(half * run, min((half + 1) * run, groups))
        length = max(part.stop - part.start, 0)
        if length:
            spread[:, 2 * half, :length] = w.values[:, 0::2][:, part]
            spread[:, 2 * half + 1, :length] = w.values[:, 1::2][:, part]
            spread[:, 4, :length] |= (bits[:, part] << (4 * half)).view(np.int8)
    sums = w.values.sum(axis=1, dtype=np.int32)
    return Nm24Int8(run, spread.reshape(out_features, -1), sums, scale_of_rows(w))


def run_bytes_of(w: Sparse) -> int:
    """Return bytes of a run: half the groups, filled up."""
    return max(-(-w.shape[1] // (8 * RUN)), 1) * RUN
