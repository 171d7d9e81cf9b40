"""Scales that lose less than those of the range (`fortran/arrays/fq_calibrate.f90`)."""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.grid import Grid
from .._core.threads import get_num_threads
from .ranges import LAPLACE_RATIO, NORMAL_RATIO, laplace_clip, normal_clip
from .select import kth_of_groups, kth_of_tensors

Calibration = Literal["minmax", "mse", "als", "percentile", "aciq", "hqq"]

# The positions are the numbers of METHOD_... in `fortran/arrays/fq_calibrate.f90`.
CALIBRATIONS = ("minmax", "mse", "als", "percentile", "aciq", "hqq")

Parameters = tuple[NDArray, NDArray[np.int32], NDArray]


def calibrate(w: NDArray, rule: NDArray[np.int64], grid: Grid, calibration: str) -> Parameters:
    """Return scale, zero point and minimum of each group.

    Parameters
    ----------
    w : (...) float32 or float64
        Not empty.
    rule : (9,) int64
        Components of `code_rule` (`fortran/base/fq_code_rule.f90`).
    grid : Grid
        What shares parameters.
    calibration : "mse", "als", "aciq" or "hqq"
        See `pyfq.quantize`.

    Returns
    -------
    scale, zero_point, minimum : (rows, groups)
        Scale and minimum in w's dtype, zero point in int32.

    Raises
    ------
    ValueError
        If `w` holds NaN or Inf.
    """
    shape = (grid.rows, grid.groups)
    scale, minimum = np.empty(shape, w.dtype), np.empty(shape, w.dtype)
    zero_point = np.empty(shape, np.int32)
    _native.call(
        "calibrate",
        _native.KIND[w.dtype],
        grid.group_size,
        w.reshape(grid.rows, grid.cols),
        rule,
        CALIBRATIONS.index(calibration),
        _clips(int(rule[0])) if calibration == "aciq" else np.zeros(5),
        scale,
        zero_point,
        minimum,
        get_num_threads(),
        inputs={"w": w},
    )
    return scale, zero_point, minimum


def _clips(bits: int) -> NDArray[np.float64]:
    """Return the clips of a normal and of a Laplace distribution, and where one becomes the other.

    Each at `bits`, and at one more for what has all codes on one side of 0.
    """
    clips = [clip(b) for clip in (normal_clip, laplace_clip) for b in (bits, bits + 1)]
    return np.array([*clips, (NORMAL_RATIO + LAPLACE_RATIO) / 2])


def percentile_ends(
    w: NDArray, grid: Grid, percentile: float, symmetric: bool
) -> tuple[NDArray, NDArray]:
    """Return the ends of the range that holds `percentile` of each group.

    That is the ``ceil(percentile / 100 * n)``-th magnitude of n entries; if not `symmetric`, half
    of the rest is left out on each side.

    Parameters
    ----------
    w : (...) float32 or float64
        Not empty.
    grid : Grid
        Its groups.
    percentile : float
        More than 0, at most 100.
    symmetric : bool
        Whether ranges are.

    Returns
    -------
    low, high : (rows * groups,) of w's dtype
        The ends.

    Raises
    ------
    ValueError
        If `w` holds NaN or Inf.
    """
    part = Fraction(str(percentile)) / 100
    lengths = [int(n) for n in grid.lengths]
    if symmetric:
        high = _ranked(w, grid, [math.ceil(part * n) - 1 for n in lengths], True)
        return -high, high
    rank = [math.ceil((1 + part) / 2 * n) for n in lengths]
    low = _ranked(w, grid, [n - k for n, k in zip(lengths, rank, strict=True)], False)
    return low, _ranked(w, grid, [k - 1 for k in rank], False)


def _ranked(w: NDArray, grid: Grid, rank: list[int], magnitude: bool) -> NDArray:
    if grid.rows * grid.groups == 1:
        return np.full(1, kth_of_tensors({"w": w}, rank[0], magnitude)[0], w.dtype)
    return kth_of_groups(w, "w", grid, np.array(rank), magnitude)[0].reshape(-1)
