"""Compressed sparse rows, for one sample."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..arrays.activation import Activation
from .epilogue import epilogue
from .quantized_inputs import quantize_rows


@dataclass(frozen=True, eq=False)
class Csr:
    """Nonzeros row by row, as SciPy's csr_array has them.

    Attributes
    ----------
    indptr : (n + 1,) int64
        Nonzeros before each row, and all.
    indices : (nonzeros,) int32
        Column of each.
    values : (nonzeros,) array
        Weights, or their codes as floats.
    scale : (n,) array or None
        Of codes; inputs are quantized then.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray
    scale: NDArray | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        x, scale, step = quantize_rows(x, self.scale, out)
        _native.call(
            "multiply_csr", _native.KIND[x.dtype], x, self.indptr, self.indices, self.values,
            self.scale is not None, scale, step, *epilogue(bias, activation, out),
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        coded = {} if self.scale is None else {"coded_inputs": 1, "scale": self.scale}
        return {
            "format": "csr", "weights": self.values, "starts": self.indptr,
            "indices": self.indices, **coded,
        }  # fmt: skip
