"""Granularities: which entries share a threshold or a scale."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .check import as_count, shown
from .frozen import reduce_to_parts, restore_parts, set_part


@dataclass(frozen=True)
class PerTensor:
    """One parameter for the whole array; parameters have shape ``()``.

    Examples
    --------
    >>> PerTensor()
    PerTensor()
    """


@dataclass(frozen=True)
class PerRow:
    """One parameter for each row, a run along the last axis; parameters have shape ``(..., 1)``.

    A weight matrix ``(out_features, in_features)`` gets one per output neuron, a batch of
    activations one per sample.

    Examples
    --------
    >>> PerRow()
    PerRow()
    """


@dataclass(frozen=True)
class PerGroup:
    """One parameter for every `size` consecutive entries of a row; shape ``(..., groups)``.

    The last group of a row is short if `size` does not divide the row.

    Parameters
    ----------
    size : int
        Entries of a group, at least 1.

    Raises
    ------
    TypeError
        If `size` is not an integer.
    ValueError
        If `size` is less than 1.

    Examples
    --------
    >>> PerGroup(128)
    PerGroup(size=128)
    """

    size: int

    def __post_init__(self) -> None:
        """Refuse a size that is no count."""
        set_part(self, "size", as_count(self.size, "size", 1))

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts


def granularity_text(granularity: "Granularity") -> str:
    """Return in words what shares a parameter.

    Examples
    --------
    >>> granularity_text(PerRow()), granularity_text(PerGroup(32))
    ('per row', 'per group of 32')
    """
    match granularity:
        case PerTensor():
            return "per tensor"
        case PerRow():
            return "per row"
    return f"per group of {granularity.size}"


@dataclass(frozen=True)
class PerColumn:
    """One parameter for each column, an entry of the last axis; parameters have shape ``(cols,)``.

    Activations ``(samples, features)`` get one per feature. `Observer` takes it, `quantize` does
    not: a layer cannot take such scales out of its sums.

    Examples
    --------
    >>> PerColumn()
    PerColumn()
    """


Granularity = PerTensor | PerRow | PerGroup

# Entries of the parts a whole tensor is cut into, so that threads can share it.
PART = 65536


class Grid(NamedTuple):
    """An array as the kernels see it: `rows` of `cols` entries in groups of `group_size`."""

    rows: int
    cols: int
    group_size: int
    parameter_shape: tuple[int, ...]

    @property
    def groups(self) -> int:
        """Groups of a row; an empty row is one empty group."""
        return max(-(-self.cols // self.group_size), 1)

    @property
    def last_length(self) -> int:
        """Entries of the last group of a row; all others have `group_size`."""
        return self.cols - (self.groups - 1) * self.group_size

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Entries of each group of a row, `(groups,)`."""
        lengths = np.full(self.groups, self.group_size, np.int64)
        lengths[-1] = self.last_length
        return lengths

    def in_parts(self) -> "Grid":
        """Return the grid of one large group cut into parts; any other grid unchanged."""
        if self.cols <= PART or self.rows * self.groups != 1:
            return self
        return Grid(1, self.cols, PART, self.parameter_shape)


def grid_of(shape: tuple[int, ...], granularity: Granularity) -> Grid:
    """Return the grid of an array of `shape`."""
    cols = shape[-1] if shape else 1
    rows = math.prod(shape[:-1])
    match granularity:
        case PerTensor():
            return Grid(1, rows * cols, max(rows * cols, 1), ())
        case PerRow():
            return Grid(rows, cols, max(cols, 1), (*shape[:-1], 1))
        case PerGroup(size):
            size = min(size, max(cols, 1))
            return Grid(rows, cols, size, (*shape[:-1], max(-(-cols // size), 1)))
    raise TypeError(
        f"granularity must be PerTensor(), PerRow() or PerGroup(size), not {shown(granularity)}"
    )
