"""Inputs beyond the range that a network was trained on (`fortran/networks/fq_network.f90`)."""

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.threads import get_num_threads


def count_outside(x: NDArray, least: NDArray, largest: NDArray) -> NDArray[np.int64]:
    """Return how many inputs of each sample are not between two bounds; NaN is not.

    Parameters
    ----------
    x : (..., inputs) array
        Samples.
    least, largest : (inputs,) arrays
        The bounds, which are inside.
    """
    counts = np.zeros(x.shape[:-1], np.int64)
    if counts.size:
        kind, rows = _native.KIND[x.dtype], x.reshape(-1, x.shape[-1])
        threads = get_num_threads()
        _native.call("count_outside", kind, rows, least, largest, counts.reshape(-1), threads)
    return counts


def outside_text(x: NDArray, least: NDArray, largest: NDArray, counts: NDArray[np.int64]) -> str:
    """Return a line that says how many samples are outside, and where the first is."""
    first = np.unravel_index(int(np.argmax(counts > 0)), counts.shape)
    sample = x[first]
    i = int(np.argmin((sample >= least) & (sample <= largest)))
    place = ", ".join(map(str, (*map(int, first), i)))
    return (
        f"{np.count_nonzero(counts)} of {counts.size} samples have inputs outside of what the "
        f"network was trained on: x[{place}] is {sample[i]:g}, not within "
        f"{least[i]:g} ... {largest[i]:g}"
    )
