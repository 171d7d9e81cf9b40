"""Exact order statistics by radix selection (`fortran/arrays/fq_select.f90`)."""

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import FLOATS, as_count, as_flag, as_input, refuse_not_finite
from .._core.grid import PART, Granularity, Grid, PerTensor, grid_of
from .._core.threads import get_num_threads

# Bits of a digit of the order key.  The highest holds sign, exponent and the first bits of the
# significand: it tells NaN and Inf from the rest, and few scores share the digit that is looked
# for.
_WIDTH = 16


def select_kth(
    x: NDArray, k: int, *, granularity: Granularity = PerTensor(), magnitude: bool = False
) -> NDArray:
    """Return the entry that would be at place `k` if each group were sorted.

    ``numpy.partition(group, k)[k]``, found by counting digits of the bits (radix selection), in
    parallel, without sorting or copying the array.

    Parameters
    ----------
    x : (..., cols) float32 or float64
        Finite values, not empty.
    k : int
        Rank from 0; less than the entries of the shortest group.
    granularity : PerTensor, PerRow or PerGroup
        What is ranked together.
    magnitude : bool
        Rank by absolute value, and return it.

    Returns
    -------
    (), (..., 1) or (..., groups) of x's dtype
        The order statistic of each group.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `k` is out of range, or `x` is empty, not finite or not C-contiguous.

    References
    ----------
    Knuth, The Art of Computer Programming 3, 5.2.5 (radix methods).

    Examples
    --------
    >>> x = np.array([[3.0, -1.0, 2.0], [0.5, 4.0, -9.0]])
    >>> select_kth(x, 0)
    array(-9.)
    >>> from pyfq import PerRow
    >>> select_kth(x, 1, granularity=PerRow(), magnitude=True)
    array([[2.],
           [4.]])
    """
    x, magnitude = as_input(x, "x", FLOATS), as_flag(magnitude, "magnitude")
    grid = grid_of(x.shape, granularity)
    if not x.size:
        raise ValueError(f"x must not be empty, but its shape is {x.shape}")
    k = as_count(k, "k", 0, int(grid.lengths.min()) - 1)
    if grid.rows * grid.groups == 1:
        value, _, _ = kth_of_tensors({"x": x}, k, magnitude)
        return np.full(grid.parameter_shape, value, x.dtype)
    lower, _, _ = kth_of_groups(x, "x", grid, np.full(grid.groups, k), magnitude)
    return lower.reshape(grid.parameter_shape)


def kth_of_tensors(
    tensors: dict[str, NDArray], k: int, magnitude: bool
) -> tuple[np.floating, int, int]:
    """Return the `k`-th smallest score of all tensors, how many are smaller, and how many equal."""
    dtype = next(iter(tensors.values())).dtype
    bits = dtype.itemsize * 8
    flats = {name: x.reshape(-1) for name, x in tensors.items() if x.size}
    if len(flats) == 1:
        ((name, flat),) = flats.items()
        if flat.size <= PART:  # fewer than a digit has values
            rank = np.array([k])
            lower, _, below = kth_of_groups(
                tensors[name], name, grid_of(tensors[name].shape, PerTensor()), rank, magnitude
            )
            equal = count_equal(flat, lower[0, 0], magnitude)
            return lower[0, 0], int(below[0, 0]), int(equal.sum())
    prefix, below, shift = 0, 0, bits
    while shift:
        shift -= _WIDTH
        counts = np.zeros(2**_WIDTH, np.int64)
        for flat in flats.values():
            _native.call(
                "count_digits",
                _native.KIND[dtype],
                flat,
                magnitude,
                prefix,
                shift,
                _WIDTH,
                counts,
                get_num_threads(),
            )
        if shift + _WIDTH == bits:
            highest = _unsigned_key(np.finfo(dtype).max) >> shift
            lowest = _unsigned_key(np.finfo(dtype).min) >> shift
            if counts[highest + 1 :].any() or counts[:lowest].any():
                refuse_not_finite(tensors)
        reached = below + np.cumsum(counts)
        digit = int(np.searchsorted(reached, k, side="right"))
        equal = int(counts[digit])
        below = int(reached[digit]) - equal
        prefix = (prefix << _WIDTH) | digit
    return _from_unsigned_key(prefix, dtype), below, equal


def next_of_tensor(x: NDArray, value: np.floating, magnitude: bool) -> np.floating:
    """Return the smallest score of `x` greater than `value`; the largest finite one if none is."""
    above = np.array([np.finfo(x.dtype).max])
    _native.call(
        "next_above",
        _native.KIND[x.dtype],
        x.reshape(-1),
        magnitude,
        value,
        above,
        get_num_threads(),
    )
    return above[0]


def count_equal(x: NDArray, value: np.floating, magnitude: bool) -> NDArray[np.int64]:
    """Return how many scores of each part of a tensor (`Grid.in_parts`) equal `value`."""
    grid = grid_of(x.shape, PerTensor()).in_parts()
    counts = np.empty(grid.groups, np.int64)
    _native.call(
        "count_equal",
        _native.KIND[x.dtype],
        x.reshape(-1),
        magnitude,
        value,
        grid.group_size,
        counts,
        get_num_threads(),
    )
    return counts


def kth_of_groups(
    x: NDArray, name: str, grid: Grid, rank: NDArray[np.int64], magnitude: bool
) -> tuple[NDArray, NDArray, NDArray[np.int64]]:
    """Return the score of `rank` of each group, the next one, and how many are smaller."""
    shape = (grid.rows, grid.groups)
    lower, upper = np.empty(shape, x.dtype), np.empty(shape, x.dtype)
    below = np.empty(shape, np.int64)
    _native.call(
        "select_groups",
        _native.KIND[x.dtype],
        grid.group_size,
        x.reshape(grid.rows, grid.cols),
        magnitude,
        rank,
        lower,
        upper,
        below,
        get_num_threads(),
        inputs={name: x},
    )
    return lower, upper, below


def _unsigned_key(x: np.floating) -> int:
    bits = x.dtype.itemsize * 8
    pattern = int(x.view(f"u{x.dtype.itemsize}"))
    return pattern ^ (2**bits - 1 if pattern >> (bits - 1) else 2 ** (bits - 1))


def _from_unsigned_key(key: int, dtype: np.dtype) -> np.floating:
    bits = dtype.itemsize * 8
    pattern = key ^ (2 ** (bits - 1) if key >> (bits - 1) else 2**bits - 1)
    return np.array(pattern, f"u{dtype.itemsize}").view(dtype)[()]
