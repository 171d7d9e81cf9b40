"""Rows and groups of an array, for the references of kernels with a granularity."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..._core.grid import Granularity, Grid, grid_of


def as_rows(x: NDArray, granularity: Granularity) -> tuple[NDArray, Grid]:
    """Return `x` as `(rows, cols)` and its grid."""
    grid = grid_of(x.shape, granularity)
    return x.reshape(grid.rows, grid.cols), grid


def each_group(x: NDArray, granularity: Granularity, f: Callable[[NDArray], NDArray]) -> NDArray:
    """Return `f` of every group, in the shape of the granularity."""
    rows, grid = as_rows(x, granularity)
    parts = [rows[:, g * grid.group_size : (g + 1) * grid.group_size] for g in range(grid.groups)]
    values = [[f(row) for row in part] for part in parts]
    return np.array(values, x.dtype).T.reshape(grid.parameter_shape)


def reduce_groups(ufunc: np.ufunc, x: NDArray, granularity: Granularity) -> NDArray:
    """Return the reduction of every group, in the shape of the granularity."""
    rows, grid = as_rows(x, granularity)
    starts = np.arange(grid.groups) * grid.group_size
    return ufunc.reduceat(rows, starts, axis=1).reshape(grid.parameter_shape)


def spread(parameter: NDArray, shape: tuple[int, ...], granularity: Granularity) -> NDArray:
    """Return the parameter of each entry of an array of `shape`."""
    grid = grid_of(shape, granularity)
    rows = np.repeat(parameter.reshape(grid.rows, grid.groups), grid.lengths, axis=1)
    return rows.reshape(shape)
