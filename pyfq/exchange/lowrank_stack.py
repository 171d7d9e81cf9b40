"""Factors of matrices in a stack, each of which is factorized on its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays.quantize import Quantized
from ..products.lowrank import LowRank


@dataclass(frozen=True, eq=False)
class LowRankStack:
    """Matrices ``u @ v``, or ``u @ v + residual``, in a stack.

    Attributes
    ----------
    u : (..., rows, rank) array or Quantized
        Left factors.
    v : (..., rank, cols) array or Quantized
        Right factors.
    residual : (..., rows, cols) Quantized or None
        What their products lack.
    """

    u: NDArray | Quantized
    v: NDArray | Quantized
    residual: Quantized | None = None

    def toarray(self) -> NDArray:
        """Return the weights, each matrix as `pyfq.LowRank.toarray` has it."""
        u, v = (x.dequantize() if isinstance(x, Quantized) else x for x in (self.u, self.v))
        w = np.empty((*u.shape[:-1], v.shape[-1]), u.dtype)
        for place in np.ndindex(u.shape[:-2]):
            w[place] = LowRank(u[place], v[place]).toarray()
        if self.residual is not None:
            w += self.residual.dequantize()
        return w


def matrices(w: NDArray) -> Iterator[NDArray]:
    """Yield the matrices of a stack; the one that a matrix is."""
    yield from w.reshape(-1, *w.shape[-2:])
