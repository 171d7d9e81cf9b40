"""Reference of `pyfq.matmul`."""

import numpy as np

from ..arrays.activation import activate


def matmul(a, b, *, transpose_a=False, transpose_b=False, bias=None, activation=None):
    """Return ``activation(op(a) @ op(b) + bias)``, the product summed in float64."""
    left = np.swapaxes(a, -1, -2) if transpose_a else a
    right = b.T if transpose_b else b
    with np.errstate(all="ignore"):
        y = (left.astype(np.float64) @ right.astype(np.float64)).astype(a.dtype)
        y = y if bias is None else y + bias
    return activate(y, activation)
