"""Pruned matrices without their zeros."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._core.check import FLOATS, as_choice, as_count, as_input, as_shape, refuse_not_finite, shown
from .._core.frozen import fixed, freeze, reduce_to_parts, restore_parts, set_part
from .._core.grid import PerGroup
from .._core.protocol import decoded_array
from .._core.text import bytes_text, object_text, shape_text
from ..arrays.pack import pack, unpack_rows
from ..arrays.prune import Pruned
from ..arrays.quantize import Quantized

FORMATS = ("csr", "nm", "rows")
Format = Literal["csr", "nm", "rows"]


@dataclass(frozen=True, eq=False)
class Sparse:
    """A pruned matrix without its zeros; made by `to_sparse`.

    What kernels read is made of it at the first use and kept, in other orders, and not counted in
    `nbytes`. Arrays refuse writes. `indices`, `indptr`, `positions` and `rows`, which say where
    kernels read, are copies that nothing can change. `values` and `scale` are views: who made them
    can still write to what is below, and must not.

    Attributes
    ----------
    format : "csr", "nm" or "rows"
        Compressed rows; at most `n` of every `m` neighbours; whole rows.
    shape : tuple of int
        ``(out_features, in_features)``.
    values : float32, float64 or int8
        ``(nonzeros,)`` for csr; ``(out_features, groups * n)`` for nm, where groups with fewer
        nonzeros are filled up with zeros; ``(kept, in_features)`` for rows. int8 are codes.
    indices : (nonzeros,) int32 or None
        csr: column of each value, ascending in a row.
    indptr : (out_features + 1,) int64 or None
        csr: values before each row, and all.
    positions : (out_features, ceil(groups * n * bits / 8)) uint8 or None
        nm: place of each value in its group, ascending, packed as `pyfq.pack` does in
        ``ceil(log2(m))`` bits.
    n, m : int or None
        nm: values of a group, entries of a group, 2 ... 16.
    rows : (kept,) int64 or None
        rows: which are kept, ascending.
    scale : () or (len(values), 1) float32 or float64, or None
        Step of codes, one or one a row; of the rows kept for rows.

    Raises
    ------
    TypeError
        If a part has the wrong type or dtype.
    ValueError
        If parts do not fit each other, are not C-contiguous, or a value, a scale or a product of
        both is not finite; if indices are out of range or do not ascend.
    """

    format: Format
    shape: tuple[int, int]
    values: NDArray
    indices: NDArray[np.int32] | None = None
    indptr: NDArray[np.int64] | None = None
    positions: NDArray[np.uint8] | None = None
    n: int | None = None
    m: int | None = None
    rows: NDArray[np.int64] | None = None
    scale: NDArray | None = None
    _layouts: dict = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other: kernels trust their shapes and indices."""
        as_choice(self.format, "format", FORMATS)
        set_part(self, "shape", as_shape(self.shape))
        if len(self.shape) != 2:
            raise ValueError(f"shape must be (out_features, in_features), not {self.shape}")
        for name in _ABSENT[self.format]:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} must be None for format {shown(self.format)}")
        for name, dtype in _PLACES.items():
            if getattr(self, name) is not None:
                set_part(self, name, fixed(as_input(getattr(self, name), name, (dtype,))))
        if self.scale is not None:
            rows = self.shape[0] if self.format != "rows" else np.size(self.rows)
            shape = getattr(self.scale, "shape", ())
            as_input(self.scale, "scale", FLOATS, (rows, 1) if shape else ())
        dtypes = FLOATS if self.scale is None else (np.int8,)
        {"csr": _check_csr, "nm": _check_nm, "rows": _check_rows}[self.format](self, dtypes)
        if self.scale is None:
            refuse_not_finite({"values": self.values})
        else:
            refuse_not_finite({"scale": self.scale})
            with np.errstate(over="ignore"):
                refuse_not_finite({"values times scale": reals_of(self)})
        freeze(self, "values", "scale")

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return shape, format and bytes."""
        return object_text(
            self,
            shape_text(self.shape),
            f"{self.n}:{self.m}" if self.format == "nm" else self.format,
            f"{100 * self.density:.3g} % kept",
            None if self.scale is None else "8 bits",
            str(self.dtype),
            bytes_text(self.nbytes, 2),
        )

    # Operators of arrays refuse: they would decode at every call.
    __array_ufunc__ = None

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        """Return the array that this stands for, as `numpy.asarray` asks for it."""
        return decoded_array(self.toarray, dtype, copy)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the weights that it stands for: that of `scale` if values are codes."""
        return self.values.dtype if self.scale is None else self.scale.dtype

    @property
    def size(self) -> int:
        """Number of weights, zeros included."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of values, of what says where they are, and of scales."""
        parts = (
            self.values, self.indices, self.indptr, self.positions, self.rows, self.scale,
        )  # fmt: skip
        return sum(part.nbytes for part in parts if part is not None)

    @property
    def density(self) -> float:
        """Fraction of the weights that is not 0; 0 for an empty matrix."""
        return int(np.count_nonzero(self.values)) / self.size if self.size else 0.0

    def toarray(self) -> NDArray:
        """Return the matrix with its zeros; codes times their scale.

        Returns
        -------
        (out_features, in_features) array of `dtype`
            The matrix.

        Examples
        --------
        >>> to_sparse(np.array([[0.0, 2.0], [0.0, 0.0]]), "rows").toarray()
        array([[0., 2.],
               [0., 0.]])
        """
        dense = np.zeros(self.shape, self.dtype)
        values = reals_of(self)
        match self.format:
            case "rows":
                dense[self.rows] = values
            case "csr":
                dense[row_of_each(self.indptr), self.indices] = values
            case "nm":
                flat, inside = _columns(self)
                np.put_along_axis(dense, np.where(inside, flat, 0), 0, axis=1)
                rows = np.broadcast_to(np.arange(self.shape[0])[:, None], flat.shape)
                dense[rows[inside], flat[inside]] = values[inside]
        return dense


def to_sparse(
    w: NDArray | Pruned | Quantized, format: Format = "csr", *, n: int = 2, m: int = 4
) -> Sparse:
    """Leave out the zeros of a pruned matrix.

    Parameters
    ----------
    w : (out_features, in_features) float32 or float64, Pruned or Quantized
        Finite weights with zeros; or codes with zeros, of scheme symmetric, at most 8 bits, with
        one scale or one a row, which are kept as they are.
    format : "csr", "nm" or "rows"
        The nonzeros of each row and their columns, as ``scipy.sparse.csr_array`` has them; `n`
        values of every `m` neighbours in a row and their places, as `prune_nm` leaves them; or the
        rows that are not zero, as `prune_rows` leaves them.
    n : int
        nm: values of a group, 1 ... m.
    m : int
        nm: entries of a group, 2 ... 16.

    Returns
    -------
    Sparse
        ``to_sparse(w, format).toarray()`` is `w` again, zeros without sign.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If an argument is out of range, is not C-contiguous or holds NaN or Inf; if a group has more
        than `n` nonzeros; if codes have another scheme, a zero point, groups, or more than 8 bits.

    References
    ----------
    Mishra et al. 2021, Accelerating sparse deep neural networks, arXiv 2104.08378 (2:4);
    scipy.sparse.csr_array.

    Examples
    --------
    >>> w = np.array([[0.0, 4.0, 3.0, 0.0], [1.0, 0.0, 0.0, -2.0]])
    >>> s = to_sparse(w, "nm")
    >>> s.values
    array([[ 4.,  3.],
           [ 1., -2.]])
    >>> s.positions
    array([[ 9],
           [12]], dtype=uint8)
    >>> to_sparse(w, "csr").indices
    array([1, 2, 0, 3], dtype=int32)
    """
    as_choice(format, "format", FORMATS)
    m = as_count(m, "m", 2, 16)
    n = as_count(n, "n", 1, m)
    scale = None
    if isinstance(w, Quantized):
        w, scale = _codes_of(w)
    elif isinstance(w, Pruned):
        w = w.weights
    if scale is None:
        w = as_input(w, "w", FLOATS)
    if w.ndim != 2:
        raise ValueError(f"w must have 2 axes, (out_features, in_features), not shape {w.shape}")
    if scale is None:
        refuse_not_finite({"w": w})
    kept = w != 0
    match format:
        case "csr":
            counts = np.count_nonzero(kept, axis=1)
            indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            indices = np.nonzero(kept)[1].astype(np.int32)
            return Sparse("csr", w.shape, w[kept], indices=indices, indptr=indptr, scale=scale)
        case "rows":
            rows = np.flatnonzero(kept.any(axis=1))
            scale = scale[rows] if scale is not None and scale.ndim else scale
            return Sparse("rows", w.shape, w[rows], rows=rows, scale=scale)
    values, places = _groups_of(w, kept, n, m)
    positions = pack(places, (m - 1).bit_length())
    return Sparse("nm", w.shape, values, positions=positions, n=n, m=m, scale=scale)


def csr_of(w: Sparse) -> tuple[NDArray, NDArray, NDArray]:
    """Return `indptr`, `indices` and `values` of a matrix in format csr or nm."""
    if w.format == "csr":
        return w.indptr, w.indices, w.values
    if w.format == "rows":  # without a row that is kept
        return np.zeros(w.shape[0] + 1, np.int64), np.empty(0, np.int32), w.values.reshape(-1)
    columns, inside = _columns(w)
    kept = (w.values != 0) & inside
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(kept, axis=1))]).astype(np.int64)
    return indptr, columns[kept].astype(np.int32), w.values[kept]


def scale_of_rows(w: Sparse) -> NDArray:
    """Return the step of each row; 0 where no row has one, because none is kept."""
    if not w.scale.size:
        return np.zeros(w.shape[0], w.scale.dtype)
    return np.full(w.shape[0], w.scale.reshape(-1), w.scale.dtype)


def reals_of(w: Sparse) -> NDArray:
    """Return the values, codes times their scale."""
    if w.scale is None:
        return w.values
    if w.format == "csr":
        return w.values * np.repeat(scale_of_rows(w), np.diff(w.indptr))
    return w.values * w.scale


def places_of(w: Sparse) -> NDArray[np.uint8]:
    """Return the place of each value of format nm in its group."""
    return unpack_rows(w.positions, (w.m - 1).bit_length(), w.values.shape[1], False)


def _columns(w: Sparse) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return the column of each value of format nm, and whether it lies within the matrix."""
    group = np.arange(w.values.shape[1]) // w.n
    columns = group * w.m + places_of(w)
    return columns, columns < w.shape[1]


def row_of_each(indptr: NDArray) -> NDArray:
    """Return the row of each nonzero of compressed rows."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _groups_of(w: NDArray, kept: NDArray, n: int, m: int) -> tuple[NDArray, NDArray[np.uint8]]:
    """Return `n` values of every `m` neighbours in a row, zeros if need be, and their places."""
    rows, k = w.shape
    groups = -(-k // m)
    whole = np.zeros((rows, groups * m), w.dtype)
    whole[:, :k] = w
    taken = np.zeros((rows, groups * m), np.bool_)
    taken[:, :k] = kept
    taken = taken.reshape(rows, groups, m)
    counts = np.count_nonzero(taken, axis=2)
    if counts.size and counts.max() > n:
        row, group = (int(i) for i in np.argwhere(counts > n)[0])
        raise ValueError(
            f"format 'nm' keeps at most {n} of {m}, but columns {group * m} ... "
            f"{min(group * m + m, k) - 1} of row {row} hold {counts[row, group]} nonzeros"
        )
    free = np.cumsum(~taken, axis=2, dtype=np.uint8) <= (n - counts)[:, :, None]
    taken = taken | free
    places = (np.flatnonzero(taken) % m).astype(np.uint8).reshape(rows, groups * n)
    return whole[taken.reshape(whole.shape)].reshape(rows, groups * n), places


def _codes_of(w: Quantized) -> tuple[NDArray[np.int8], NDArray]:
    """Return codes that are 0 where weights are, and their scale."""
    if w.zero_point is not None or w.minimum is not None or not w.signed:
        raise ValueError("quantized weights must be of scheme 'symmetric': else a zero has a code")
    if w.bits > 8:
        raise ValueError(f"quantized weights must have at most 8 bits, not {w.bits}")
    if isinstance(w.granularity, PerGroup):
        raise ValueError(f"quantized weights must be PerTensor() or PerRow(), not {w.granularity}")
    return w.codes, w.scale


# What says where values are, and its dtype.
_PLACES = {"indices": np.int32, "indptr": np.int64, "positions": np.uint8, "rows": np.int64}
# What a format has no use for.
_ABSENT = {
    "csr": ("positions", "n", "m", "rows"),
    "nm": ("indices", "indptr", "rows"),
    "rows": ("indices", "indptr", "positions", "n", "m"),
}


def _check_csr(w: Sparse, dtypes: Any) -> None:
    rows, cols = w.shape
    as_input(w.indptr, "indptr", (np.int64,), (rows + 1,))
    if w.indptr[0] != 0 or np.any(np.diff(w.indptr) < 0):
        raise ValueError("indptr must start with 0 and not decrease")
    count = (int(w.indptr[-1]),)
    as_input(w.values, "values", dtypes, count)
    as_input(w.indices, "indices", (np.int32,), count)
    _check_ascending(w.indices, "indices", cols, row_of_each(w.indptr))


def _check_nm(w: Sparse, dtypes: Any) -> None:
    rows, cols = w.shape
    m = as_count(w.m, "m", 2, 16)
    n = as_count(w.n, "n", 1, m)
    set_part(w, "m", m)
    set_part(w, "n", n)
    count = -(-cols // m) * n
    as_input(w.values, "values", dtypes, (rows, count))
    as_input(w.positions, "positions", (np.uint8,), (rows, -(-count * (m - 1).bit_length() // 8)))
    if count:
        places = places_of(w).reshape(-1)
        _check_ascending(places, "positions", m, np.arange(places.size) // n)
        inside = _columns(w)[1]
        if np.any(w.values[~inside]):
            raise ValueError(f"values must be 0 at places beyond the {cols} columns")


def _check_rows(w: Sparse, dtypes: Any) -> None:
    as_input(w.rows, "rows", (np.int64,))
    if w.rows.ndim != 1:
        raise ValueError(f"rows must have 1 axis, but its shape is {w.rows.shape}")
    as_input(w.values, "values", dtypes, (len(w.rows), w.shape[1]))
    _check_ascending(w.rows, "rows", w.shape[0], np.zeros(len(w.rows), np.int8))


def _check_ascending(x: NDArray, name: str, end: int, group: NDArray) -> None:
    """Refuse indices out of range, or that do not ascend where the group is the same."""
    if x.size and (x.min() < 0 or x.max() >= end):
        raise ValueError(f"{name} must be 0 ... {end - 1}, not {x.min()} ... {x.max()}")
    if np.any((x[1:] <= x[:-1]) & (group[1:] == group[:-1])):
        where = {"rows": "", "indices": " in a row", "positions": " in a group"}[name]
        raise ValueError(f"{name} must ascend{where}")
