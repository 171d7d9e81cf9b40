"""Weights without what was pruned, and layers of them (`fortran/formats/fq_csr.f90`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._check import FLOATS, as_choice, as_count, as_input, as_shape, refuse_not_finite
from ._frozen import fixed, freeze, reduce_to_parts, restore_parts, set_part
from ._memory import aligned_empty
from .activation import Activation, activate
from .matmul import PACKED, TRANSPOSED, epilogue, fill, multiply, pack_panels
from .pack import pack, unpack_rows
from .prune import Pruned
from .quantize import Quantized
from .threads import get_num_threads
from .types import PerGroup

FORMATS = ("csr", "nm", "rows")
Format = Literal["csr", "nm", "rows"]

# Rows side by side, and groups of a word, of `fortran/formats/fq_nm24.f90`; bytes that a run of
# `fq_nm24_int8.f90` is a multiple of, and dense bytes of a row at most.
PAIR_ROWS, PAIR_GROUPS, RUN, MOST_CODES = 16, 8, 64, 65536
# Samples up to which 2:4 weights are spread in registers; for more they are a stream.
FEW_SAMPLES = 24
# Samples up to which blocks of the stream are long: side by side they fit L1 all the same.
FEW_LANES = 16
# Samples up to which `multiply` adds in lanes, and reads weights as they are.
FEW_DENSE = 3
# Products of two codes that float32 adds exactly: 1040 * 127 * 127 <= 2**24.
EXACT_COUNT = 1040
# `code_rule` of ``quantize(x, 8)``: bits, smallest and largest code, and the first of each choice.
INT8 = np.array([8, -127, 127, 0, 0, 0, 0, 0, 0], np.int64)

T = TypeVar("T")


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
                raise ValueError(f"{name} must be None for format {self.format!r}")
        for name, dtype in _PLACES.items():
            if getattr(self, name) is not None:
                set_part(self, name, fixed(as_input(getattr(self, name), name, (dtype,))))
        dtypes = FLOATS if self.scale is None else (np.int8,)
        {"csr": _check_csr, "nm": _check_nm, "rows": _check_rows}[self.format](self, dtypes)
        if self.scale is None:
            refuse_not_finite({"values": self.values})
        else:
            shape = getattr(self.scale, "shape", ())
            rows = self.shape[0] if self.format != "rows" else len(self.rows)
            as_input(self.scale, "scale", FLOATS, (rows, 1) if shape else ())
            refuse_not_finite({"scale": self.scale})
            with np.errstate(over="ignore"):
                refuse_not_finite({"values times scale": _reals(self)})
        freeze(self, "values", "scale")

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

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
        values = _reals(self)
        match self.format:
            case "rows":
                dense[self.rows] = values
            case "csr":
                dense[_row_of_each(self.indptr), self.indices] = values
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


def linear_sparse(
    x: NDArray,
    w: Sparse,
    bias: NDArray | None,
    activation: Activation,
    activation_bits: int | None,
    out: NDArray,
) -> None:
    """Write ``activation(x @ w.T + bias)`` of arguments known to fit; `out` is not empty.

    Parameters
    ----------
    x : (batch, in_features) array of w's dtype
        Activations.
    w : Sparse
        Weights.
    bias : (out_features,) array or None
        Added to each row.
    activation : str, tuple or None
        As `activate` takes it.
    activation_bits : 8 or None
        8: x is quantized as ``quantize(x, 8)`` does and multiplied exactly; `w` holds codes.
    out : (batch, out_features) array
        Where to write.
    """
    if not x.size or not _cached(w, "any", lambda: bool(np.any(w.values))):
        if activation_bits:
            refuse_not_finite({"x": x})
        fill(out, bias, activation)
    elif w.format == "rows":
        _multiply_rows(x, w, bias, activation, activation_bits, out)
    elif (w.n, w.m) == (2, 4) and activation_bits and 8 * _run_of(w) <= MOST_CODES:
        _multiply_codes(x, w, bias, activation, out)
    elif (w.n, w.m) == (2, 4) and not activation_bits and len(x) <= FEW_SAMPLES:
        _multiply_pairs(x, w, bias, activation, out)
    elif activation_bits:
        _multiply_exact(x, w, bias, activation, out)
    else:
        _multiply_nonzeros(x, w, False, None, None, bias, activation, out)


def describe_sparse(w: Sparse, activation_bits: int | None, batch: int) -> dict[str, Any]:
    """Return how a network's kernel multiplies so many samples: as `linear_sparse` does.

    Parameters
    ----------
    w : Sparse
        Weights.
    activation_bits : 8 or None
        As `linear_sparse` takes it.
    batch : int
        Samples, at least 1.

    Returns
    -------
    dict of str to int, str and array
        Components of `stored_layer` (`fortran/formats/fq_stored_layer.f90`) by name, arrays for
        places.
    """
    if w.format == "rows" and len(w.rows):
        return {"kept": w.rows, "rows": len(w.rows), **_describe_rows(w, activation_bits, batch)}
    coded = bool(activation_bits)
    if (w.n, w.m) == (2, 4) and coded and 8 * _run_of(w) <= MOST_CODES:
        spread, sums, scale = _spread_codes(w)
        return {
            "format": "nm24_int8", "weights": spread, "code_sums": sums, "scale": scale,
            "run_bytes": _run_of(w),
        }  # fmt: skip
    if (w.n, w.m) == (2, 4) and not coded and batch <= FEW_SAMPLES:
        groups, values, positions = _pairs(w)
        return {
            "format": "nm24", "weights": values, "positions": positions, "groups": groups,
            "panels": len(values),
        }  # fmt: skip
    indptr, indices, values = _csr_in(w, w.dtype, coded)
    if coded and w.dtype == np.float32 and np.diff(indptr).max(initial=0) > EXACT_COUNT:
        codes = np.zeros(w.shape, np.int8)
        codes[_row_of_each(indptr), indices] = values
        return _describe_codes(codes, _scale_of_rows(w))
    scale = {"coded_inputs": 1, "scale": _scale_of_rows(w)} if coded else {}
    if batch == 1:
        return {"format": "csr", "weights": values, "starts": indptr, "indices": indices, **scale}
    block_steps = _block_steps(len(values) / w.size, batch)
    starts, cols, values = _stream(w.shape, indptr, indices, values, block_steps)
    return {
        "format": "blocked_csr", "weights": values, "starts": starts, "indices": cols,
        "block_cols": block_steps, **scale,
    }  # fmt: skip


def _describe_rows(w: Sparse, activation_bits: int | None, batch: int) -> dict[str, Any]:
    """Return how the rows kept are multiplied by."""
    if activation_bits:
        return _describe_codes(w.values, _scale_of_kept(w))
    values = _reals(w)
    if batch <= FEW_DENSE:
        return {"format": "dense", "weights": values, "vectors": len(values)}
    panels = pack_panels(values, True)
    return {"format": "panels", "weights": panels, "vectors": len(panels)}


def _describe_codes(values: NDArray[np.int8], scale: NDArray) -> dict[str, Any]:
    """Return how a matrix of codes with a scale a row is multiplied by."""
    codes, scale, zero_point, minimum = _code_rows(values, scale)
    k = values.shape[1]
    return {
        "format": "codes", "weights": codes, "scale": scale, "zero_point": zero_point,
        "minimum": minimum, "group_size": k, "groups": 1, "row_steps": codes.shape[1],
        "group_stride": -(-k // RUN) * RUN,
    }  # fmt: skip


def _multiply_rows(
    x: NDArray,
    w: Sparse,
    bias: NDArray | None,
    activation: Activation,
    activation_bits: int | None,
    out: NDArray,
) -> None:
    """Multiply by the rows kept, and put the results in their places."""
    count, k = w.values.shape
    part = np.empty((len(x), count), x.dtype)
    kind = _native.KIND[x.dtype]
    threads = get_num_threads()
    if activation_bits:
        codes = _cached(w, "codes", lambda: _code_rows(w.values, _scale_of_kept(w)))
        _native.call(
            "linear_codes", kind, k, -(-k // RUN) * RUN, x, *codes, False, part[0], 0, 0.0, part,
            threads, inputs={"x": x},
        )  # fmt: skip
    else:
        values = _cached(w, "reals", lambda: _reals(w))
        if len(x) <= FEW_DENSE:
            multiply(x, False, values, TRANSPOSED, k, None, None, part)
        else:
            key = f"panels {_native.lib.__name__}"
            panels = _cached(w, key, lambda: pack_panels(values, True))
            multiply(x, False, panels, PACKED, k, None, None, part)
    _native.call("sparse_scatter", kind, w.rows, part, *epilogue(bias, activation, out))


def _multiply_codes(
    x: NDArray, w: Sparse, bias: NDArray | None, activation: Activation, out: NDArray
) -> None:
    """Multiply codes by 2:4 codes."""
    spread, sums, scale = _cached(w, "spread codes", lambda: _spread_codes(w))
    _native.call(
        "sparse_codes", _native.KIND[x.dtype], x, _run_of(w), spread, sums, scale,
        *epilogue(bias, activation, out), inputs={"x": x},
    )  # fmt: skip


def _multiply_pairs(
    x: NDArray, w: Sparse, bias: NDArray | None, activation: Activation, out: NDArray
) -> None:
    """Multiply few samples by 2:4 weights."""
    groups, values, positions = _cached(w, "pairs", lambda: _pairs(w))
    _native.call(
        "sparse_pairs", _native.KIND[x.dtype], x, groups, values, positions,
        *epilogue(bias, activation, out),
    )  # fmt: skip


def _multiply_exact(
    x: NDArray, w: Sparse, bias: NDArray | None, activation: Activation, out: NDArray
) -> None:
    """Multiply codes by codes as floats, whose sums are exact."""
    codes, step = _quantize_rows(x)
    scale = _cached(w, "scale", lambda: _scale_of_rows(w))
    most = _cached(w, "most", lambda: int(np.diff(_csr(w)[0]).max()))
    if x.dtype == np.float64 or most <= EXACT_COUNT:
        samples = codes.astype(x.dtype)
        _multiply_nonzeros(samples, w, True, scale, step, bias, activation, out)
        return
    sums = np.empty(out.shape)
    _multiply_nonzeros(codes.astype(np.float64), w, True, None, None, None, None, sums)
    np.multiply(scale, sums.astype(x.dtype), out=out)
    out *= step[:, None]
    if bias is not None:
        out += bias
    out[...] = activate(out, activation)


def _quantize_rows(x: NDArray) -> tuple[NDArray[np.int8], NDArray]:
    """Return the codes of ``quantize(x, 8)`` and the steps."""
    codes, step = np.empty(x.shape, np.int8), np.empty((len(x), 1), x.dtype)
    zeros, minimum = np.empty_like(step, np.int32), np.empty_like(step)
    _native.call(
        "quantize", _native.KIND[x.dtype], x.shape[1], x, INT8, step, zeros, minimum, codes,
        get_num_threads(), inputs={"x": x},
    )  # fmt: skip
    return codes, step.reshape(-1)


def _multiply_nonzeros(
    x: NDArray,
    w: Sparse,
    as_codes: bool,
    scale: NDArray | None,
    step: NDArray | None,
    bias: NDArray | None,
    activation: Activation,
    out: NDArray,
) -> None:
    """Multiply by each nonzero, or by its code."""
    what = f"{'codes' if as_codes else 'reals'} {x.dtype}"
    indptr, indices, values = _cached(w, f"csr {what}", lambda: _csr_in(w, x.dtype, as_codes))
    rest = (
        scale is not None, out[0] if scale is None else scale, out[0] if step is None else step,
        *epilogue(bias, activation, out),
    )  # fmt: skip
    kind = _native.KIND[x.dtype]
    if len(x) == 1:
        _native.call("sparse_row", kind, x, indptr, indices, values, *rest)
        return
    block_steps = _block_steps(len(values) / w.size, len(x))
    starts, cols, streamed = _cached(
        w,
        f"stream {block_steps} {what}",
        lambda: _stream(w.shape, indptr, indices, values, block_steps),
    )
    _native.call("sparse_stream", kind, x, block_steps, starts, cols, streamed, *rest)


def _block_steps(density: float, samples: int) -> int:
    """Return columns of a block of the stream: some 30 nonzeros a row, or as many as L2 holds."""
    if samples <= FEW_LANES:
        return 2048
    if density > 0.3:
        return 64
    return 128 if density > 0.15 else 1024


def _stream(
    shape: tuple[int, int], indptr: NDArray, indices: NDArray, values: NDArray, block_steps: int
) -> tuple[NDArray, NDArray, NDArray]:
    """Return the nonzeros by blocks of columns as `sparse_stream` takes them."""
    n, k = shape
    blocks = -(-k // block_steps)
    block = indices // np.int32(block_steps)
    counts = np.bincount(block * np.int64(n) + _row_of_each(indptr), minlength=blocks * n)
    starts = np.concatenate([[0], np.cumsum(counts)])
    cols = (indices - block * np.int32(block_steps)).astype(np.int16)
    if blocks > 1:
        small = block.astype(np.uint16) if blocks <= 65536 else block  # sorted by radix
        order = np.argsort(small, kind="stable")
        cols, values = cols[order], values[order]
    return starts, cols, values


def _pairs(w: Sparse) -> tuple[int, NDArray, NDArray]:
    """Return 2:4 weights as `sparse_pairs` takes them."""
    values, bits = _reals(w), _position_bits(w)
    out_features, groups = bits.shape
    panels, padded = -(-out_features // PAIR_ROWS), -(-groups // PAIR_GROUPS) * PAIR_GROUPS
    all_values = np.zeros((panels * PAIR_ROWS, padded, 2), values.dtype)
    all_values[:out_features, :groups] = values.reshape(out_features, groups, 2)
    by_panel = all_values.reshape(panels, PAIR_ROWS, padded * 2).transpose(0, 2, 1)
    side_by_side = aligned_empty(by_panel.shape, values.dtype)
    side_by_side[...] = by_panel
    words = np.zeros((panels * PAIR_ROWS, padded), np.uint32)
    words[:out_features, :groups] = bits
    words = words.reshape(-1, padded // PAIR_GROUPS, PAIR_GROUPS)
    words = np.bitwise_or.reduce(words << np.arange(0, 32, 4, dtype=np.uint32), axis=2)
    words = words.reshape(panels, PAIR_ROWS, -1).transpose(0, 2, 1)
    positions = np.ascontiguousarray(words).view(np.int32).reshape(panels, -1)
    return padded, side_by_side.reshape(panels, -1), positions


def _spread_codes(w: Sparse) -> tuple[NDArray, NDArray, NDArray]:
    """Return 2:4 codes as `sparse_codes` takes them, their sums and scales by row."""
    bits, run = _position_bits(w), _run_of(w)
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
    return spread.reshape(out_features, -1), sums, _scale_of_rows(w)


def _run_of(w: Sparse) -> int:
    """Return bytes of a run of `sparse_codes`: half the groups, filled up."""
    return max(-(-w.shape[1] // (8 * RUN)), 1) * RUN


def _position_bits(w: Sparse) -> NDArray[np.uint8]:
    """Return the four bits of each group: first at 0, first at 1, second at 3, second at 2."""
    places = _places(w)
    first, second = places[:, 0::2], places[:, 1::2]
    bits = (first == 0) | (first == 1).view(np.uint8) << 1
    return bits | (second == 3).view(np.uint8) << 2 | (second == 2).view(np.uint8) << 3


def _csr_in(w: Sparse, dtype: np.dtype, as_codes: bool) -> tuple[NDArray, NDArray, NDArray]:
    """Return compressed rows with values, or codes, as floats."""
    indptr, indices, values = _cached(w, "csr", lambda: _csr(w))
    if w.scale is not None and not as_codes:
        scale = _scale_of_rows(w)
        values = values * np.repeat(scale, np.diff(indptr))
    return indptr, indices, values.astype(dtype, copy=False)


def _csr(w: Sparse) -> tuple[NDArray, NDArray, NDArray]:
    """Return `indptr`, `indices` and `values` of a matrix in format csr or nm."""
    if w.format == "csr":
        return w.indptr, w.indices, w.values
    if w.format == "rows":  # without a row that is kept
        return np.zeros(w.shape[0] + 1, np.int64), np.empty(0, np.int32), w.values.reshape(-1)
    columns, inside = _columns(w)
    kept = (w.values != 0) & inside
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(kept, axis=1))]).astype(np.int64)
    return indptr, columns[kept].astype(np.int32), w.values[kept]


def _code_rows(
    values: NDArray[np.int8], scale: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return codes with a scale a row as `linear_codes` takes them, and their parameters."""
    count, k = values.shape
    width = -(-k // RUN) * RUN
    codes = aligned_empty((count, width + RUN * (width % 512 == 0)), np.int8)
    codes[...] = 0
    codes[:, :k] = values
    scale = scale.reshape(-1, 1)
    return codes, scale, np.zeros((count, 1), np.int32), np.zeros_like(scale)


def _scale_of_kept(w: Sparse) -> NDArray:
    """Return the step of each row that is kept."""
    return np.full(len(w.values), w.scale.reshape(-1), w.scale.dtype)


def _scale_of_rows(w: Sparse) -> NDArray:
    """Return the step of each row."""
    return np.full(w.shape[0], w.scale.reshape(-1), w.scale.dtype)


def _reals(w: Sparse) -> NDArray:
    """Return the values, codes times their scale."""
    if w.scale is None:
        return w.values
    if w.format == "csr":
        return w.values * np.repeat(_scale_of_rows(w), np.diff(w.indptr))
    return w.values * w.scale


def _places(w: Sparse) -> NDArray[np.uint8]:
    """Return the place of each value of format nm in its group."""
    return unpack_rows(w.positions, (w.m - 1).bit_length(), w.values.shape[1], False)


def _columns(w: Sparse) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return the column of each value of format nm, and whether it lies within the matrix."""
    group = np.arange(w.values.shape[1]) // w.n
    columns = group * w.m + _places(w)
    return columns, columns < w.shape[1]


def _row_of_each(indptr: NDArray) -> NDArray:
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


def _cached(w: Sparse, key: str, make: Callable[[], T]) -> T:
    """Return what was made for `w` before, or make it."""
    if key not in w._layouts:
        w._layouts[key] = make()
    return w._layouts[key]


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
    _check_ascending(w.indices, "indices", cols, _row_of_each(w.indptr))


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
        places = _places(w).reshape(-1)
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
