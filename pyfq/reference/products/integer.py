"""Reference of `pyfq.products.integer`."""

import numpy as np


def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    """Return ``(a - a_zero_point) @ (b - b_zero_point)``, modulo 2**32 where that does not fit."""
    left = a.astype(np.int64) - of_rows(a_zero_point)
    right = b.astype(np.int64) - np.asarray(b_zero_point, np.int64)
    return (left @ right).astype(np.int32)


def quantized_matmul(
    a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point
):  # fmt: skip
    """Return the codes of the product, computed in float32; ties to even, then saturated."""
    dtype = y_zero_point.dtype
    sums = matmul_integer(a, b, a_zero_point, b_zero_point).astype(np.float32)
    step = of_rows(np.float32(a_scale)) * np.float32(b_scale) / np.float32(y_scale)
    zero = int(y_zero_point.item())
    low, high = np.iinfo(dtype).min - zero, np.iinfo(dtype).max - zero
    return (np.clip(np.rint(sums * step), low, high) + np.float32(zero)).astype(dtype)


def of_rows(x):
    """Return what is given for each row as a column; a scalar, or a column, as it is."""
    x = np.asarray(x)
    return x if x.ndim != 1 else x[:, None]
