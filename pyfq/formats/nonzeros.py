"""Which format multiplies by sparse weights, and the weights in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import refuse_not_finite
from .._core.memory import aligned_empty
from ..arrays.activation import Activation, activate
from .blocked_csr import LONG_BLOCK_COLS, BlockedCsr, as_blocked_csr, block_cols_of
from .codes import CODE_STEPS, Codes, padded_steps
from .csr import Csr
from .dense import Panels, Rows, pack_panels
from .epilogue import fill
from .kept_rows import KeptRows
from .layout import Layout, as_rows
from .nm24 import FEW_SAMPLES, as_nm24
from .nm24_int8 import MOST_CODES, as_nm24_int8, run_bytes_of
from .quantized_inputs import quantize_rows
from .sparse import Sparse, csr_of, reals_of, row_of_each, scale_of_kept, scale_of_rows

# Samples up to which tiles add in lanes, and read weights as they are.
FEW_DENSE = 3
# Products of two codes that float32 adds exactly: 1040 * 127 * 127 <= 2**24.
EXACT_COUNT = 1040
# Products of codes that are summed as integers at most: `MAX_STEPS` of `fq_gemm_int8.f90`.
MAX_STEPS = 65536


@dataclass(frozen=True, eq=False)
class Nonzeros:
    """Sparse weights whose format is chosen by the number of samples of each call."""

    sparse: Sparse
    activation_bits: int | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        x = as_rows(x)
        made = self.sparse._layouts
        if not x.size or not _cached(made, "any", lambda: np.any(self.sparse.values)):
            if self.activation_bits:
                refuse_not_finite({"x": x})
            fill(out, bias, activation)
            return
        layout = layout_of(self.sparse, self.activation_bits, len(x), made)
        layout.apply(x, bias, activation, out)


@dataclass(frozen=True, eq=False)
class LongRows:
    """Codes of rows that are too long for integer sums, summed as float64.

    A network takes them as `Codes`, whose parts of 65536 products are added as floats.
    """

    csr: Csr
    shape: tuple[int, int]
    blocked: BlockedCsr

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        x, scale, step = quantize_rows(x, self.csr.scale, out)
        sums = np.empty(out.shape)
        self.blocked.apply(x.astype(np.float64), None, None, sums)
        np.multiply(scale, sums.astype(x.dtype), out=out)
        out *= step[:, None]
        if bias is not None:
            out += bias
        out[...] = activate(out, activation)

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return _codes(_dense_codes(self.csr, self.shape), self.csr.scale).describe()


def layout_of(
    w: Sparse, activation_bits: int | None, batch: int, made: dict[str, Any] | None = None
) -> Layout:
    """Return sparse weights in the format that is best for so many samples.

    Parameters
    ----------
    w : Sparse
        Weights.
    activation_bits : 8 or None
        8: inputs are quantized as ``quantize(x, 8)`` does and multiplied exactly; `w` holds codes.
    batch : int
        Samples, at least 1.
    made : dict or None
        What was made of `w` before, by name: it is used again, and what is made now is added.
    """
    made = {} if made is None else made
    coded = bool(activation_bits)
    if w.format == "rows" and len(w.rows):
        return KeptRows(w.rows, _kept_layout(w, coded, batch, made))
    if (w.n, w.m) == (2, 4) and coded and 8 * run_bytes_of(w) <= MOST_CODES:
        return _cached(made, "nm24_int8", lambda: as_nm24_int8(w))
    if (w.n, w.m) == (2, 4) and not coded and batch <= FEW_SAMPLES:
        return _cached(made, "nm24", lambda: as_nm24(w))
    key = f"csr of {'codes' if coded else 'reals'}"
    csr = _cached(made, key, lambda: _csr(w, coded, made))
    most = _cached(made, "most", lambda: int(np.diff(csr.indptr).max(initial=0)))
    if coded and w.dtype == np.float32 and most > EXACT_COUNT:
        if w.shape[1] > MAX_STEPS:
            return _cached(made, "long rows", lambda: _long_rows(csr, w.shape))
        return _cached(made, "codes", lambda: _codes(_dense_codes(csr, w.shape), csr.scale))
    if batch == 1:
        return csr
    cols = block_cols_of(len(csr.values) / w.size, batch)
    return _cached(made, f"blocked {cols} {key}", lambda: as_blocked_csr(csr, w.shape, cols))


def _kept_layout(w: Sparse, coded: bool, batch: int, made: dict[str, Any]) -> Layout:
    """Return the rows that are kept."""
    if coded:
        return _cached(made, "codes", lambda: _codes(w.values, scale_of_kept(w)))
    values = _cached(made, "reals", lambda: reals_of(w))
    if batch <= FEW_DENSE:
        return Rows(values)
    panels = _cached(made, f"panels {_native.lib.__name__}", lambda: pack_panels(values, True))
    return Panels(panels, w.shape[1])


def _csr(w: Sparse, as_codes: bool, made: dict[str, Any]) -> Csr:
    """Return compressed rows with values, or codes, as floats."""
    indptr, indices, values = _cached(made, "csr", lambda: csr_of(w))
    if w.scale is not None and not as_codes:
        values = values * np.repeat(scale_of_rows(w), np.diff(indptr))
    scale = scale_of_rows(w) if as_codes else None
    return Csr(indptr, indices, values.astype(w.dtype, copy=False), scale)


def _long_rows(csr: Csr, shape: tuple[int, int]) -> LongRows:
    """Return codes by rows with what they are as float64, by blocks of columns."""
    wide = Csr(csr.indptr, csr.indices, csr.values.astype(np.float64), None)
    return LongRows(csr, shape, as_blocked_csr(wide, shape, LONG_BLOCK_COLS))


def _dense_codes(csr: Csr, shape: tuple[int, int]) -> NDArray[np.int8]:
    codes = np.zeros(shape, np.int8)
    codes[row_of_each(csr.indptr), csr.indices] = csr.values
    return codes


def _codes(values: NDArray[np.int8], scale: NDArray) -> Codes:
    """Return a matrix of codes with a scale a row."""
    count, k = values.shape
    stride = -(-k // CODE_STEPS) * CODE_STEPS
    codes = aligned_empty((count, padded_steps(stride)), np.int8)
    codes[...] = 0
    codes[:, :k] = values
    scale = scale.reshape(-1, 1)
    return Codes(codes, k, stride, scale, np.zeros((count, 1), np.int32), np.zeros_like(scale))


def _cached(made: dict[str, Any], key: str, make: Callable[[], Any]) -> Any:
    """Return what was made before, or make it."""
    if key not in made:
        made[key] = make()
    return made[key]
