"""Magnitude and score pruning (`fortran/arrays/fq_prune.f90`)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _native
from .._core.check import FLOATS, as_count, as_input, as_number, as_output, refuse_not_finite, shown
from .._core.frozen import freeze
from .._core.grid import Granularity, Grid, PerRow, PerTensor, grid_of
from .._core.text import array_text, bytes_text, object_text
from .._core.threads import get_num_threads
from .select import count_equal, kth_of_groups, kth_of_tensors, next_of_tensor

_NORMS = {1: 1, 2: 2, math.inf: 0}


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned array.

    Its arrays refuse writes: ``weights.copy()`` can be written to. Only `weights` in an array that
    was given as `out` are that array, as it is.

    Attributes
    ----------
    weights : NDArray
        The array with its pruned entries zero.
    mask : NDArray of bool
        True where an entry was kept; same shape as `weights`.
    threshold : NDArray or None
        The score that decided, in the shape of the granularity: what survives is not below it
        (`prune_threshold`, `prune_percentile`), or it is the largest score pruned (`prune_ratio`,
        `prune_rows`, `prune_global`; ``-inf`` where nothing is). None for `prune_nm`.
    sparsity : float
        Fraction of the entries that were pruned, 0 ... 1.
    """

    weights: NDArray
    mask: NDArray[np.bool_]
    threshold: NDArray | None
    sparsity: float

    def __post_init__(self) -> None:
        """Take views that refuse writes of what no caller gave."""
        freeze(self, "mask", "threshold")

    # Operators of arrays refuse, as of other forms of weights.
    __array_ufunc__ = None

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        """Return the weights, as `numpy.asarray` asks for them."""
        return np.asarray(self.weights, dtype, copy=copy)

    def __reduce__(self) -> tuple:
        """Copy and pickle the parts; weights that come back refuse writes, too."""
        return _restored, tuple(getattr(self, f.name) for f in fields(self))

    def __repr__(self) -> str:
        """Return shape, dtype, fraction of zeros and bytes."""
        w = self.weights
        kept = f"{100 * self.sparsity:.3g} % zeros"
        return object_text(self, array_text(w), kept, bytes_text(w.nbytes, 2))


def _restored(*parts: Any) -> Pruned:
    pruned = Pruned(*parts)
    freeze(pruned, "weights")
    return pruned


def prune_threshold(
    w: NDArray,
    threshold: ArrayLike,
    *,
    granularity: Granularity = PerTensor(),
    scores: NDArray | None = None,
    out: NDArray | None = None,
) -> Pruned:
    r"""Zero the weights whose score is below a threshold.

    .. math:: out_i = w_i \text{ if } s_i \ge t \text{ else } 0

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights.
    threshold : float, or array of w's dtype
        Smallest score kept: one number, or one for each group (``()``, ``(..., 1)`` or
        ``(..., groups)``).
    granularity : PerTensor, PerRow or PerGroup
        What shares a threshold.
    scores : array of w's shape and dtype, optional
        What is compared with the threshold; ``|w|`` if not given.
    out : array of w's shape and dtype, optional
        Where to write the pruned weights; must not overlap `w` or `scores`.

    Returns
    -------
    Pruned
        `threshold` in the shape of the granularity.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If an argument has the wrong shape, is not C-contiguous, or holds NaN or Inf.

    References
    ----------
    Han et al. 2015, Learning both weights and connections, arXiv 1506.02626, section 3.

    Examples
    --------
    >>> w = np.array([[0.1, -0.5], [0.9, -0.2]], np.float32)
    >>> p = prune_threshold(w, 0.5)
    >>> p.weights
    array([[ 0. , -0.5],
           [ 0.9,  0. ]], dtype=float32)
    >>> p.sparsity
    0.5
    """
    w, scores, magnitude, y = _arrays(w, scores, out)
    grid = grid_of(w.shape, granularity)
    limit = _as_threshold(threshold, w.dtype, grid)
    return _kept(_cut(w, scores, magnitude, grid, limit, None, y), out)


def prune_percentile(
    w: NDArray,
    rate: float,
    *,
    granularity: Granularity = PerTensor(),
    scores: NDArray | None = None,
    out: NDArray | None = None,
) -> Pruned:
    r"""Zero the weights whose score is below a percentile of the scores.

    The threshold is ``numpy.percentile(scores, rate)`` with linear interpolation, and the
    comparison is strict: with :math:`v = (n-1)\,rate/100` and the sorted scores :math:`s`,

    .. math:: t = s_{\lfloor v \rfloor} + (v - \lfloor v \rfloor)
              (s_{\lfloor v \rfloor + 1} - s_{\lfloor v \rfloor})

    It is that of NumPy 2.4 to the bit. Before, NumPy found `v` of float32 scores in float32.

    Where that difference is beyond the largest float, which NumPy gives NaN or an infinity for, it
    is :math:`(1 - f) s_{\lfloor v \rfloor} + f s_{\lfloor v \rfloor + 1}` with the fraction f.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights.
    rate : float
        Percentage, 0 ... 100.
    granularity : PerTensor, PerRow or PerGroup
        What is ranked together.
    scores : array of w's shape and dtype, optional
        What is ranked; ``|w|`` if not given.
    out : array of w's shape and dtype, optional
        Where to write the pruned weights; must not overlap `w` or `scores`.

    Returns
    -------
    Pruned
        `threshold` is the percentile of each group.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `rate` is out of range, or an array has the wrong shape, is not C-contiguous, or holds
        NaN or Inf.

    References
    ----------
    Hyndman & Fan 1996, Sample quantiles in statistical packages, type 7.

    Examples
    --------
    >>> w = np.array([4.0, -1.0, 2.0, -3.0])
    >>> p = prune_percentile(w, 50)
    >>> p.threshold, p.weights
    (array(2.5), array([ 4.,  0.,  0., -3.]))
    """
    w, scores, magnitude, y = _arrays(w, scores, out)
    grid = grid_of(w.shape, granularity)
    rate = as_number(rate, "rate", 0, 100)
    if not w.size:
        nan = np.full(grid.parameter_shape, np.nan, w.dtype)
        return _kept(_cut(w, scores, magnitude, grid, nan, None, y), out)
    name = "w" if magnitude else "scores"
    place = (grid.lengths - 1) * (rate / 100)  # of the percentile among the sorted, as NumPy has it
    rank = np.floor(place).astype(np.int64)
    if grid.in_parts() is not grid:
        low, below, equal = kth_of_tensors({name: scores}, int(rank[0]), magnitude)
        last = rank[0] + 1 < below + equal or rank[0] + 1 == w.size
        following = low if last else next_of_tensor(scores, low, magnitude)
        lower, upper = np.array([[low]]), np.array([[following]])
    else:
        lower, upper, _ = kth_of_groups(scores, name, grid, rank, magnitude)
    limit = np.empty_like(lower)
    fractions = place - rank
    for fraction in np.unique(fractions):
        at = fractions == fraction
        limit[:, at] = _between(lower[:, at], upper[:, at], float(fraction))
    limit = limit.reshape(grid.parameter_shape)
    return _kept(_cut(w, scores, magnitude, grid, limit, None, y), out)


def prune_ratio(
    w: NDArray,
    ratio: float,
    *,
    granularity: Granularity = PerTensor(),
    scores: NDArray | None = None,
    out: NDArray | None = None,
) -> Pruned:
    """Zero exactly ``round(ratio * n)`` weights of each group: those of the smallest scores.

    Among equal scores the first in C order is pruned first.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights.
    ratio : float
        Fraction pruned, 0 ... 1; ``round`` is Python's, half to even.
    granularity : PerTensor, PerRow or PerGroup
        What is ranked together; `n` is the size of the group.
    scores : array of w's shape and dtype, optional
        What is ranked; ``|w|`` if not given. Wanda is ``scores=abs(w) * norm_of_each_input`` with
        `PerRow`.
    out : array of w's shape and dtype, optional
        Where to write the pruned weights; must not overlap `w` or `scores`.

    Returns
    -------
    Pruned
        `threshold` is the largest score pruned in each group, ``-inf`` where none is.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `ratio` is out of range, or an array has the wrong shape, is not C-contiguous, or holds
        NaN or Inf.

    References
    ----------
    Han et al. 2015, arXiv 1506.02626; Sun et al. 2023 (Wanda), arXiv 2306.11695, equation 1.

    Examples
    --------
    >>> w = np.array([[1.0, -1.0, 3.0, 2.0]])
    >>> prune_ratio(w, 0.25).weights
    array([[ 0., -1.,  3.,  2.]])
    """
    w, scores, magnitude, y = _arrays(w, scores, out)
    grid = grid_of(w.shape, granularity)
    ratio = as_number(ratio, "ratio", 0, 1)
    name = "w" if magnitude else "scores"
    full, last = (round(ratio * length) for length in (grid.group_size, grid.last_length))
    limit, ties = None, None
    if w.size and grid.in_parts() is not grid and full:
        limit, below, _ = kth_of_tensors({name: scores}, full - 1, magnitude)
        ties = _first_ties(scores, limit, magnitude, full - below)
    elif w.size and max(full, last):
        counts = np.empty(grid.groups, np.int64)
        counts[:-1], counts[-1] = full, last
        limit, _, below = kth_of_groups(scores, name, grid, np.maximum(counts - 1, 0), magnitude)
        ties = np.subtract(counts, below, out=below)
        if not min(full, last):  # groups of which nothing is pruned
            limit[:, counts == 0], ties[:, counts == 0] = -np.inf, 0
    if limit is None:
        limit = np.full((grid.rows, grid.groups), -np.inf, w.dtype)
    limit = np.asarray(limit, w.dtype).reshape(grid.parameter_shape)
    return _kept(_cut(w, scores, magnitude, grid, limit, ties, y), out)


def prune_nm(
    w: NDArray, n: int = 2, m: int = 4, *, scores: NDArray | None = None, out: NDArray | None = None
) -> Pruned:
    """Keep the `n` weights of the highest score of every `m` consecutive along the last axis.

    Among equal scores the first is pruned first. A short last block keeps `n` of what it has.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights.
    n : int
        Entries kept of a block, 1 ... m.
    m : int
        Entries of a block, 1 ... 64.
    scores : array of w's shape and dtype, optional
        What is ranked; ``|w|`` if not given.
    out : array of w's shape and dtype, optional
        Where to write the pruned weights; must not overlap `w` or `scores`.

    Returns
    -------
    Pruned
        `threshold` is None.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `n` or `m` is out of range, or an array has the wrong shape, is not C-contiguous, or
        holds NaN or Inf.

    References
    ----------
    Mishra et al. 2021, Accelerating sparse deep neural networks, arXiv 2104.08378.

    Examples
    --------
    >>> prune_nm(np.array([1.0, -4.0, 3.0, 2.0])).weights
    array([ 0., -4.,  3.,  0.])
    """
    w, scores, magnitude, y = _arrays(w, scores, out)
    m = as_count(m, "m", 1, 64)
    n = as_count(n, "n", 1, m)
    mask = np.empty(w.shape, np.bool_)
    if w.size:
        rows = grid_of(w.shape, PerRow())
        shape = (rows.rows, rows.cols)
        _native.call(
            "prune_nm",
            _native.KIND[w.dtype],
            w.reshape(shape),
            scores.reshape(shape),
            magnitude,
            n,
            m,
            y.reshape(shape),
            mask.view(np.int8).reshape(shape),
            get_num_threads(),
            inputs=_named(w, scores),
        )
    return _kept(_result(y, mask, None), out)


def prune_rows(
    w: NDArray,
    ratio: float,
    norm: float = 2,
    round_to: int = 1,
    *,
    scores: NDArray | None = None,
    out: NDArray | None = None,
) -> Pruned:
    """Zero whole rows (output neurons): those of the smallest norm.

    ``rows - round(ratio * rows)`` rows are kept, rounded up to a multiple of `round_to` (at most
    all of them). Of equal norms the first is pruned first. A norm is of the row's `scores`, in
    float64, summed in 16 lanes; its relative error is at most ``(cols / 16 + 5) * 2**-53`` (half of
    it for L2). Norms beyond the largest float64 are ranked by what they are, not as equals.

    Parameters
    ----------
    w : (rows, ...) float32 or float64
        Finite weights; a row is an index of the first axis.
    ratio : float
        Fraction of rows pruned, 0 ... 1.
    norm : 1, 2 or inf
        Sum of magnitudes, root of the sum of squares, or largest magnitude.
    round_to : int
        The number of rows kept is a multiple of it; at least 1.
    scores : array of w's shape and dtype, optional
        Whose norms are ranked; `w` itself if not given.
    out : array of w's shape and dtype, optional
        Where to write the pruned weights; must not overlap `w` or `scores`.

    Returns
    -------
    Pruned
        `threshold` is the largest norm pruned, float64 of shape ``()``; ``-inf`` where none is,
        ``inf`` where that norm is beyond the largest float64.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If a number is out of range, or an array has the wrong shape, is not C-contiguous, or holds
        NaN or Inf.

    References
    ----------
    Li et al. 2016, Pruning filters for efficient ConvNets, arXiv 1608.08710.

    Examples
    --------
    >>> w = np.array([[3.0, 4.0], [0.1, 0.1], [1.0, 0.0]])
    >>> prune_rows(w, 1 / 3).weights
    array([[3., 4.],
           [0., 0.],
           [1., 0.]])
    """
    w, scores, _, y = _arrays(w, scores, out)
    if w.ndim < 1:
        raise ValueError("w must have rows, but its shape is ()")
    ratio = as_number(ratio, "ratio", 0, 1)
    round_to = as_count(round_to, "round_to", 1)
    if isinstance(norm, bool) or not isinstance(norm, int | float) or norm not in _NORMS:
        raise ValueError(f"norm must be 1, 2 or inf, not {shown(norm)}")
    rows = w.shape[0]
    kept = min(-(-(rows - round(ratio * rows)) // round_to) * round_to, rows)
    shape = (rows, w.size // max(rows, 1))
    seen = scores.reshape(shape)
    norms = _row_norms(seen, norm, _named(w, scores))
    beyond = np.flatnonzero(norms == np.inf)
    smaller = np.zeros(rows)
    if beyond.size:  # their order is that of norms that float64 can hold
        parts = np.ldexp(seen[beyond], -_headroom(shape[1]))
        smaller[beyond] = _row_norms(parts, norm, {})
    order = np.lexsort((smaller, norms))  # stable
    limit = np.zeros((rows, 1), w.dtype)  # keeps every magnitude of its row; infinity keeps none
    limit[order[: rows - kept]] = np.inf
    pruned = _cut(w, w, True, grid_of(shape, PerRow()), limit, None, y)
    threshold = norms[order[rows - kept - 1]] if kept < rows else -np.inf
    return _kept(replace(pruned, threshold=np.array(threshold)), out)


def prune_global(
    tensors: Mapping[str, NDArray],
    ratio: float,
    *,
    scores: Mapping[str, NDArray] | None = None,
    out: Mapping[str, NDArray] | None = None,
) -> dict[str, Pruned]:
    """Zero exactly ``round(ratio * n)`` weights of several arrays, ranked together.

    Among equal scores the first is pruned first, in the order of the mapping and C order within an
    array. The arrays are read in place, one after the other.

    Parameters
    ----------
    tensors : mapping of str to float32 or float64 arrays
        Finite weights, all of one dtype; `n` is their number of entries together.
    ratio : float
        Fraction pruned, 0 ... 1.
    scores : mapping of str to arrays, optional
        For each tensor what is ranked; the magnitudes if not given.
    out : mapping of str to arrays, optional
        For each tensor where to write it; must not overlap any input or each other.

    Returns
    -------
    dict of str to Pruned
        `threshold` is the largest score pruned anywhere, ``-inf`` if none is.

    Raises
    ------
    TypeError
        If what is to be a mapping is none, or an array has the wrong type or dtype.
    ValueError
        If `ratio` is out of range, names differ, or an array has the wrong shape, is not
        C-contiguous, or holds NaN or Inf.

    References
    ----------
    Blalock et al. 2020, What is the state of neural network pruning?, arXiv 2003.03033 (global
    magnitude pruning).

    Examples
    --------
    >>> p = prune_global({"a": np.array([1.0, 5.0]), "b": np.array([-2.0, 4.0])}, 0.5)
    >>> p["a"].weights, p["b"].weights
    (array([0., 5.]), array([0., 4.]))
    """
    ratio = as_number(ratio, "ratio", 0, 1)
    for mapping, what in ((tensors, "tensors"), (scores, "scores"), (out, "out")):
        if mapping is None and what != "tensors":
            continue
        if not isinstance(mapping, Mapping):
            raise TypeError(
                f"{what} must be a mapping from names to arrays, such as {{'fc1': w}}, not "
                f"{type(mapping).__name__}"
            )
        if not all(isinstance(name, str) for name in mapping):
            raise TypeError(f"names of {what} must be str")
        if set(mapping) != set(tensors):
            raise ValueError(
                f"{what} must have the names {shown(sorted(tensors))}, not {shown(sorted(mapping))}"
            )
    inputs = (*tensors.values(), *(scores or {}).values())
    parts = {}
    for name, w in tensors.items():
        others = [array for other, array in (out or {}).items() if other != name]
        parts[name] = _arrays(
            w,
            None if scores is None else scores[name],
            None if out is None else out[name],
            *inputs,
            *others,
            name=name,
        )
    dtypes = {w.dtype for w, *_ in parts.values()}
    if len(dtypes) > 1:
        raise TypeError(f"tensors must be of one dtype, not {', '.join(sorted(map(str, dtypes)))}")
    count = round(ratio * sum(w.size for w, *_ in parts.values()))
    limit, left, magnitude = -np.inf, 0, scores is None
    if count:
        what = "tensors" if magnitude else "scores"
        ranked = {_named_in(what, name): s for name, (_, s, _, _) in parts.items()}
        limit, below, _ = kth_of_tensors(ranked, count - 1, magnitude)
        left = count - below
    pruned = {}
    for name, (w, s, _, its_out) in parts.items():
        grid = grid_of(w.shape, PerTensor())
        ties = _first_ties(s, limit, magnitude, left) if left and w.size else None
        left -= 0 if ties is None else int(ties.sum())
        its = _cut(w, s, magnitude, grid, np.array(limit, w.dtype), ties, its_out, name)
        pruned[name] = _kept(its, out)
    return pruned


def _arrays(
    w: NDArray,
    scores: NDArray | None,
    out: NDArray | None,
    *others: NDArray,
    name: str | None = None,
) -> tuple[NDArray, NDArray, bool, NDArray]:
    """Return weights, scores, whether scores rank by magnitude, and the output.

    The output may overlap neither of them nor the `others`. The `name` is that in mappings.
    """
    w = as_input(w, "w" if name is None else _named_in("tensors", name), FLOATS)
    magnitude = scores is None
    if not magnitude:
        scores = as_input(scores, _named_in("scores", name), (w.dtype,), w.shape)
    scores = w if magnitude else scores
    out = as_output(out, _named_in("out", name), w.dtype, w.shape, w, scores, *others)
    return w, scores, magnitude, out


def _as_threshold(threshold: ArrayLike, dtype: np.dtype, grid: Grid) -> NDArray:
    if isinstance(threshold, np.ndarray):
        limit = as_input(threshold, "threshold", (dtype,), grid.parameter_shape)
    else:
        largest = float(np.finfo(dtype).max)
        limit = np.full(
            grid.parameter_shape, as_number(threshold, "threshold", -largest, largest), dtype
        )
    refuse_not_finite({"threshold": limit})
    return limit


def _headroom(cols: int) -> int:
    """Return the power of 2 that a norm of so many entries may be larger than each of them."""
    return cols.bit_length() + 1


def _row_norms(scores: NDArray, norm: float, inputs: Mapping[str, NDArray]) -> NDArray[np.float64]:
    """Return the norm of each row; infinity where float64 cannot hold it."""
    norms = np.zeros(len(scores))
    if scores.size:
        _native.call(
            "row_norms",
            _native.KIND[scores.dtype],
            scores,
            _NORMS[norm],
            norms,
            get_num_threads(),
            inputs=inputs,
        )
    return norms


def _between(lower: NDArray, upper: NDArray, fraction: float) -> NDArray:
    """Interpolate in the arrays' dtype as NumPy 2.4 does, unless their difference overflows."""
    part, rest = lower.dtype.type(fraction), lower.dtype.type(1 - fraction)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = upper - lower
        found = lower + difference * part if fraction < 0.5 else upper - difference * rest
    wide = ~np.isfinite(difference)
    found[wide] = lower[wide] * (1 - part) + upper[wide] * part
    return found


def _first_ties(
    scores: NDArray, value: np.floating, magnitude: bool, left: int
) -> NDArray[np.int64]:
    """Return how many of the first `left` scores equal to `value` lie in each part of a tensor."""
    equal = count_equal(scores, value, magnitude)
    return np.clip(left - (np.cumsum(equal) - equal), 0, equal)[None]


def _cut(
    w: NDArray,
    scores: NDArray,
    magnitude: bool,
    grid: Grid,
    limit: NDArray,
    ties: NDArray[np.int64] | None,
    out: NDArray,
    name: str | None = None,
) -> Pruned:
    """Zero what scores below `limit` and the first `ties` that equal it, in each group.

    The ties of a whole tensor are those of its parts (`Grid.in_parts`). The `name` is that in
    mappings.
    """
    mask = np.empty(w.shape, np.bool_)
    if w.size:
        parts = grid.in_parts()
        groups = (parts.rows, parts.groups)
        each = limit.reshape(grid.rows, grid.groups)
        if parts is not grid:
            each = np.full(groups, each)
        left = np.zeros(groups, np.int64) if ties is None else ties
        shape = (grid.rows, grid.cols)
        kept = np.empty(groups, np.int64)
        _native.call(
            "prune_cut",
            _native.KIND[w.dtype],
            parts.group_size,
            w.reshape(shape),
            scores.reshape(shape),
            magnitude,
            each,
            left,
            out.reshape(shape),
            mask.view(np.int8).reshape(shape),
            kept,
            get_num_threads(),
            inputs=_named(w, scores, name),
        )
        return Pruned(out, mask, limit, 1 - int(kept.sum()) / w.size)
    return _result(out, mask, limit)


def _kept(pruned: Pruned, out: Any) -> Pruned:
    """Return what was pruned; weights in an array that no caller gave refuse writes."""
    if out is None:
        freeze(pruned, "weights")
    return pruned


def _named(w: NDArray, scores: NDArray, name: str | None = None) -> dict[str, NDArray]:
    """Return weights and scores by what an error calls them."""
    named = {"w" if name is None else _named_in("tensors", name): w}
    return named if scores is w else named | {_named_in("scores", name): scores}


def _named_in(mapping: str, name: str | None) -> str:
    return mapping if name is None else f"{mapping}[{shown(name)}]"


def _result(out: NDArray, mask: NDArray, threshold: NDArray | None) -> Pruned:
    sparsity = 1 - np.count_nonzero(mask) / mask.size if mask.size else 0.0
    return Pruned(out, mask, threshold, sparsity)
