"""Nonzeros by blocks of columns, for samples side by side."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..arrays.activation import Activation
from .csr import Csr
from .epilogue import epilogue
from .quantized_inputs import quantize_rows
from .sparse import row_of_each

# Samples up to which blocks are long: side by side they fit L1 all the same.
FEW_LANES = 16
# Columns of a long block.
LONG_BLOCK_COLS = 2048


@dataclass(frozen=True, eq=False)
class BlockedCsr:
    """Blocks of columns, in each block rows, in each row its nonzeros.

    Attributes
    ----------
    block_cols : int
        Columns of a block.
    starts : (blocks * n + 1,) int64
        Nonzeros before each row of each block, and all.
    cols : (nonzeros,) int16
        Column of each in its block.
    values : (nonzeros,) array
        Weights, or their codes as floats.
    scale : (n,) array or None
        Of codes; inputs are quantized then.
    """

    block_cols: int
    starts: NDArray[np.int64]
    cols: NDArray[np.int16]
    values: NDArray
    scale: NDArray | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        x, scale, step = quantize_rows(x, self.scale, out)
        _native.call(
            "multiply_blocked_csr", _native.KIND[x.dtype], x, self.block_cols, self.starts,
            self.cols, self.values, self.scale is not None, scale, step,
            *epilogue(bias, activation, out),
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        coded = {} if self.scale is None else {"coded_inputs": 1, "scale": self.scale}
        return {
            "format": "blocked_csr", "weights": self.values, "starts": self.starts,
            "indices": self.cols, "block_cols": self.block_cols, **coded,
        }  # fmt: skip


def block_cols_of(density: float, samples: int) -> int:
    """Return columns of a block: some 30 nonzeros a row, or as many as L2 holds."""
    if samples <= FEW_LANES:
        return LONG_BLOCK_COLS
    if density > 0.3:
        return 64
    return 128 if density > 0.15 else 1024


def as_blocked_csr(csr: Csr, shape: tuple[int, int], block_cols: int) -> BlockedCsr:
    """Return the nonzeros of compressed rows by blocks of columns."""
    n, k = shape
    blocks = -(-k // block_cols)
    block = csr.indices // np.int32(block_cols)
    counts = np.bincount(block * np.int64(n) + row_of_each(csr.indptr), minlength=blocks * n)
    starts = np.concatenate([[0], np.cumsum(counts)])
    cols = (csr.indices - block * np.int32(block_cols)).astype(np.int16)
    values = csr.values
    if blocks > 1:
        small = block.astype(np.uint16) if blocks <= 65536 else block  # sorted by radix
        order = np.argsort(small, kind="stable")
        cols, values = cols[order], values[order]
    return BlockedCsr(block_cols, starts, cols, values, csr.scale)
