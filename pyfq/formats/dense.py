"""Weights that are floats: rows as they are, and panels in the order in which tiles read them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from .._core.threads import get_num_threads
from ..arrays.activation import Activation
from .epilogue import epilogue, fill
from .layout import as_rows

# How the right matrix is given: the numbers B_... of `fq_factors.f90`.
PLAIN, TRANSPOSED, PACKED = 0, 1, 2


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

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {"format": "dense", "weights": self.w, "vectors": len(self.w)}


@dataclass(frozen=True, eq=False)
class Panels:
    """Panels of floats, a vector of rows of weights step by step of k."""

    panels: NDArray
    k: int

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        multiply(as_rows(x), False, self.panels, PACKED, self.k, bias, activation, out)

    def apply_float64(
        self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray
    ) -> None:
        """Write the same, summed in float64."""
        multiply(as_rows(x), False, self.panels, PACKED, self.k, bias, activation, out, wide=True)

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {"format": "panels", "weights": self.panels, "vectors": len(self.panels)}


def as_panels(w: NDArray) -> Panels:
    """Return the panels of an array."""
    return Panels(pack_panels(w, True), w.shape[1])


def multiply(
    a: NDArray,
    a_transposed: bool,
    b: NDArray,
    form: int,
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
        "matmul_float64" if wide and a.dtype == np.float32 else "matmul",
        _native.KIND[a.dtype],
        k,
        a,
        a_transposed,
        b,
        form,
        *epilogue(bias, activation, out),
    )


def panels_shape(n: int, k: int, dtype: np.dtype) -> tuple[int, int]:
    """Return the vectors of `n` rows of `k` weights in panels, and the rows of a panel."""
    vectors, lanes, _ = getattr(_native.lib, f"fq_panels_shape_{_native.KIND[dtype]}")(n, k)
    return vectors, lanes


def pack_panels(b: NDArray, transposed: bool) -> NDArray:
    """Return a right matrix as `multiply` takes it in the form PACKED."""
    n, k = b.shape if transposed else b.shape[::-1]
    kind = _native.KIND[b.dtype]
    vectors, lanes = panels_shape(n, k, b.dtype)
    packed = aligned_empty((vectors, lanes), b.dtype)
    if b.size:
        threads = get_num_threads()
        _native.call("pack_panels", kind, n, k, b, transposed, packed, threads)
    return packed
