"""Reference of `pyfq.linear`: the operations on codes, in their order."""

import numpy as np

from ..._core.grid import grid_of
from ..arrays.activation import activate
from ..arrays.codebook import dequantize_codebook
from ..arrays.convert import cast_from
from ..arrays.pack import unpack
from ..arrays.quantize import dequantize, quantize
from .matmul import matmul

# Products of codes that are summed as integers at most: `fortran/tiles/fq_gemm_int8.f90`.
MAX_STEPS = 65536


def linear(x, w, bias=None, *, activation=None, activation_bits=None):
    """Return ``activation(x @ w.T + bias)`` for weights of any form but `Sparse`."""
    if isinstance(w, np.ndarray):
        return matmul(x, w, transpose_b=True, bias=bias, activation=activation)
    w = decoded(w)
    if hasattr(w, "rank"):
        y = linear(linear(x, w.v), w.u)
        y = y if w.residual is None else y + linear(x, w.residual)
        return activate(y if bias is None else y + bias, activation)
    if hasattr(w, "levels"):  # of a codebook
        codes = unpack(w.packed, w.bits, w.shape[1], signed=False)
        scale = np.ones(grid_of(w.shape, w.granularity).parameter_shape, w.dtype)
        scale = scale if w.scale is None else w.scale
        reals = dequantize_codebook(codes, w.levels, scale, granularity=w.granularity)
        return linear(x, reals, bias, activation=activation)
    if isinstance(w.bits, np.ndarray):  # of 2 bytes
        return linear(x, cast_from(w.bits, w.format), bias, activation=activation)
    codes = unpack(w.packed, w.bits, w.shape[1], signed=w.signed)
    if activation_bits is None:
        reals = dequantize(codes, w.scale, w.zero_point, w.minimum, granularity=w.granularity)
        return linear(x, reals, bias, activation=activation)
    left, step, *_ = quantize(x, activation_bits)
    scale, zero_point, minimum = map(_by_row(w), (w.scale, w.zero_point, w.minimum))
    n, k = w.shape
    size = min(grid_of(w.shape, w.granularity).group_size, k)
    y = np.zeros((*x.shape[:-1], n), x.dtype)
    with np.errstate(all="ignore"):
        for group in range(scale.shape[1]):
            end = min((group + 1) * size, k)
            for first in range(group * size, end, MAX_STEPS):
                steps = slice(first, min(first + MAX_STEPS, end))
                q = left[..., steps].astype(np.float64)
                c = codes[:, steps].astype(np.float64) - zero_point[:, group, None]
                products = (q @ c.T).astype(x.dtype)  # the sum of integers is exact in float64
                total = q.sum(axis=-1, keepdims=True).astype(x.dtype)
                y += scale[:, group] * products + minimum[:, group] * total
        y = y * step
        y = y if bias is None else y + bias
    return activate(y, activation)


def decoded(w):
    """Return the codes of an entropy-coded stream as `Quantized` weights, other weights as is."""
    return w.to_quantized() if hasattr(w, "stream") else w


def _by_row(w):
    """Return what gives the parameters of each row and group, `(rows, groups)`."""
    grid = grid_of(w.shape, w.granularity)
    shape = w.shape[0], grid.groups
    return lambda x: np.broadcast_to(0 if x is None else x.reshape(grid.rows, grid.groups), shape)
