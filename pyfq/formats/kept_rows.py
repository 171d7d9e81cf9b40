"""The rows of weights that are not all zeros, in any format."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..arrays.activation import Activation
from .epilogue import epilogue
from .layout import Layout


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows that are multiplied by, and which they are; all other outputs are ``activation(bias)``.

    Attributes
    ----------
    rows : (kept,) int64
        Their numbers.
    part : Layout
        The weights of these rows.
    """

    rows: NDArray[np.int64]
    part: Layout

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        sums = np.empty((len(x), len(self.rows)), x.dtype)
        self.part.apply(x, None, None, sums)
        _native.call(
            "scatter_rows", _native.KIND[x.dtype], self.rows, sums,
            *epilogue(bias, activation, out),
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {"kept": self.rows, "rows": len(self.rows), **self.part.describe()}
