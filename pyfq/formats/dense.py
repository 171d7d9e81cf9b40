"""Weights that are floats: rows as they are."""

from dataclasses import dataclass

from numpy.typing import NDArray

from .. import _native
from ..arrays.activation import Activation
from .epilogue import epilogue, fill
from .layout import as_rows

# How the right matrix is given: numbers B_... of `fq_factors.f90`.
PLAIN, TRANSPOSED = 0, 1


@dataclass(frozen=True, eq=False)
class Rows:
    """An array ``(n, k)`` as it is."""

    w: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        k = self.w.shape[1]
        multiply(as_rows(x), False, self.w, TRANSPOSED, k, bias, activation, out)

    def apply_float64(
        self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray
    ) -> None:
        """Write the same, summed in float64."""
        k = self.w.shape[1]
        multiply(as_rows(x), False, self.w, TRANSPOSED, k, bias, activation, out, wide=True)


def multiply(
    a: NDArray,
    a_transposed: bool,
    b: NDArray,
    b_order: int,
    k: int,
    bias: NDArray | None,
    activation: Activation,
    out: NDArray,
    wide: bool = False,
) -> None:
    """Write ``activation(op(a) op(b) + bias)`` of arguments known to fit; `wide`: in float64."""
    if k == 0:
        fill(out, bias, activation)
        return
    _native.call(
        "matmul_float64" if wide and a.dtype.itemsize == 4 else "matmul",
        _native.KIND[a.dtype],
        k,
        a,
        a_transposed,
        b,
        b_order,
        *epilogue(bias, activation, out),
    )
