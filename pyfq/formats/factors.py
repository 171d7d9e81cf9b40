"""Weights that are a product of two matrices, with or without a residual."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays.activation import Activation, activate
from .dense import Rows
from .layout import Layout


@dataclass(frozen=True, eq=False)
class Factors:
    """Two matrices whose product the weights are, the right one first, and what is added to it."""

    rank: int
    v: Layout
    u: Layout
    residual: Layout | None

    @property
    def parts(self) -> tuple[Layout, ...]:
        """The right factor, the left one and the residual if there is one."""
        return (self.v, self.u) if self.residual is None else (self.v, self.u, self.residual)

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        projected = np.empty((len(out), self.rank), out.dtype)
        self.v.apply(x, None, None, projected)
        if self.residual is None:
            self.u.apply(projected, bias, activation, out)
            return
        total = np.empty_like(out)
        self.residual.apply(x, bias, None, total)
        self.u.apply(projected, None, None, out)
        total += out
        activate(total, activation, out=out)


def shared_arrays(layout: Layout | Factors) -> list[NDArray]:
    """Return the arrays of a layout that are the caller's."""
    if isinstance(layout, Factors):
        return [array for part in layout.parts for array in shared_arrays(part)]
    return [layout.w] if isinstance(layout, Rows) else []
