"""Arrays that start a line of cache: a vector that crosses lines is read twice."""

import math

import numpy as np
from numpy.typing import DTypeLike, NDArray

LINE = 64


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """Return an uninitialised array whose first entry is at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    buffer = np.empty(nbytes + LINE, np.uint8)
    start = -buffer.ctypes.data % LINE
    return buffer[start : start + nbytes].view(dtype).reshape(shape)
