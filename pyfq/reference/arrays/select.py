"""Reference of `pyfq.arrays.select`."""

import numpy as np

from ..._core.grid import PerTensor
from .grouping import each_group


def select_kth(x, k, *, granularity=PerTensor(), magnitude=False):
    """Return place `k` of each sorted group."""
    scores = np.abs(x) if magnitude else x
    return each_group(scores + 0, granularity, lambda group: np.sort(group)[k])
