"""Products of matrices of floats (`fortran/kernels/fq_matmul.f90`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._check import FLOATS, as_input, as_output
from .threads import get_num_threads

# The positions are the numbers of `fortran/kernels/fq_matmul.inc`.
FORMS = ("plain", "transposed", "packed")


def matmul(
    a: NDArray,
    b: NDArray,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: NDArray | None = None,
    activation: Any = None,
    out: NDArray | None = None,
) -> NDArray:
    """Placeholder docstring."""
    a = as_input(a, "a", FLOATS)
    b = as_input(b, "b", (a.dtype,))
    if a.ndim < 2:
        raise ValueError(f"a must have at least 2 axes, but its shape is {a.shape}")
    if b.ndim != 2:
        raise ValueError(f"b must have 2 axes, but its shape is {b.shape}")
    k, m = a.shape[-2:] if transpose_a else a.shape[:-3:-1]
    b_k, n = b.shape[::-1] if transpose_b else b.shape
    if k != b_k:
        raise ValueError(f"a of shape {a.shape} and b of shape {b.shape} must agree in k")
    out = as_output(out, "out", a.dtype, (*a.shape[:-2], m, n), a, b)
    FORM = int(transpose_b)
    if transpose_a and a.ndim > 2:
        for x, y in zip(a.reshape(-1, k, m), out.reshape(-1, m, n), strict=True):
            multiply(x, True, b, FORM, n, k, bias, activation, y)
        return out
    rows = a.reshape(-1, a.shape[-1])
    multiply(rows, transpose_a, b, FORM, n, k, bias, activation, out.reshape(-1, n))
    return out


def multiply(a, a_transposed, b, form, n, k, bias, activation, out):
    """Write ``activation(op(a) op(b) + bias)`` of arguments known to fit."""
    code, slope = (0 if activation is None else 5), 0.0
    _native.call(
        "matmul",
        _native.KIND[a.dtype],
        k,
        a,
        a_transposed,
        b,
        form,
        bias is not None,
        out[0] if bias is None else bias,
        code,
        slope,
        out,
        get_num_threads(),
    )
