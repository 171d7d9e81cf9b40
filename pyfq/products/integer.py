"""Products of matrices of 8-bit integers (`fortran/products/fq_integer.f90`)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import as_count, as_input, as_number, as_output
from .._core.threads import get_num_threads

BYTES = (np.int8, np.uint8)
# The largest float32.
MOST = float(np.finfo(np.float32).max)


def matmul_integer(
    a: NDArray,
    b: NDArray,
    a_zero_point: Any = 0,
    b_zero_point: Any = 0,
    *,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    r"""Multiply matrices of 8-bit integers exactly.

    .. math:: y_{ij} = \sum_p (a_{ip} - u_i)\,(b_{pj} - v_j)

    No product and no sum saturates. A result that int32 cannot hold, which takes more than 33 025
    steps of k, is the true one modulo :math:`2^{32}`.

    Parameters
    ----------
    a : (..., m, k) int8 or uint8
        Left matrices.
    b : (k, n) int8 or uint8
        Right matrix, signed or not as it likes.
    a_zero_point : int or array of a's dtype
        u: one for all, as an int or an array of one entry; one a row, (m,); or, where leading axes
        differ, (..., m, 1). Within the range of a's dtype.
    b_zero_point : int or array of b's dtype
        v: one for all, or one a column, (n,) or (1, n). Within the range of b's dtype.
    out : (..., m, n) int32, optional
        Where to write; must not overlap an input.

    Returns
    -------
    (..., m, n) int32
        The product.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not fit, an int is out of range, or an array is not C-contiguous.

    References
    ----------
    ONNX, MatMulInteger.

    Examples
    --------
    >>> a = np.array([[11, 7, 3], [10, 6, 2]], np.uint8)
    >>> b = np.array([[1, 4], [2, 5], [3, 6]], np.uint8)
    >>> matmul_integer(a, b, 12)
    array([[-38, -83],
           [-44, -98]], dtype=int32)
    """
    a, b = _as_matrices(a, b)
    a_zeros = _as_zero_points(a_zero_point, "a_zero_point", a.dtype, *_of_rows(a))
    b_zeros = _as_zero_points(b_zero_point, "b_zero_point", b.dtype, *_of_cols(b))
    inputs = _arrays(a, b, a_zero_point, b_zero_point)
    out = as_output(out, "out", np.int32, (*a.shape[:-1], b.shape[1]), *inputs)
    if not (a.size and b.size):
        out[...] = 0
        return out
    _native.call(
        "matmul_integer",
        "i8",
        *_as_operand(a),
        a_zeros,
        *_as_operand(b),
        b_zeros,
        out.reshape(-1, b.shape[1]),
        get_num_threads(),
    )
    return out


def quantized_matmul(
    a: NDArray,
    a_scale: Any,
    a_zero_point: Any,
    b: NDArray,
    b_scale: Any,
    b_zero_point: Any,
    y_scale: Any,
    y_zero_point: Any,
    *,
    out: NDArray | None = None,
) -> NDArray:
    r"""Multiply quantized matrices into a quantized one.

    .. math:: y_{ij} = \mathrm{saturate}\Bigl(\mathrm{round}\Bigl(
        \frac{s_i\,t_j}{r} \sum_p (a_{ip} - u_i)\,(b_{pj} - v_j)\Bigr) + w\Bigr)

    The sums are those of `matmul_integer`. They are converted to float32 and multiplied by the
    factor in front of them, which is computed in float32 from left to right; ties are rounded to
    even.

    Parameters
    ----------
    a : (..., m, k) int8 or uint8
        Left matrices.
    a_scale : float or float32 array
        s, positive: one for all, or one a row, (m,) or (..., m, 1).
    a_zero_point : int or array of a's dtype
        u, as in `matmul_integer`.
    b : (k, n) int8 or uint8
        Right matrix, signed or not as it likes.
    b_scale : float or float32 array
        t, positive: one for all, or one a column, (n,) or (1, n).
    b_zero_point : int or array of b's dtype
        v, as in `matmul_integer`.
    y_scale : float or float32 array of one entry
        r, positive.
    y_zero_point : int8 or uint8, as a NumPy scalar or an array of one entry
        w; its dtype is that of the result.
    out : (..., m, n) array of y_zero_point's dtype, optional
        Where to write; must not overlap an input.

    Returns
    -------
    (..., m, n) int8 or uint8
        Codes of the product.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not fit, an int or a scale is out of range, float32 cannot hold a factor, or an
        array is not C-contiguous.

    References
    ----------
    ONNX, QLinearMatMul; Jacob et al. 2018, Quantization and training of neural networks for
    efficient integer-arithmetic-only inference, arXiv 1712.05877.

    Examples
    --------
    >>> a = np.array([[208, 236, 0, 238], [3, 214, 255, 29]], np.uint8)
    >>> b = np.array([[152, 51, 244], [60, 26, 255], [0, 127, 246], [127, 254, 247]], np.uint8)
    >>> quantized_matmul(a, 0.0066, 113, b, 0.00705, 114, 0.0107, np.uint8(118))
    array([[168, 115, 255],
           [  1,  66, 151]], dtype=uint8)
    """
    a, b = _as_matrices(a, b)
    a_zeros = _as_zero_points(a_zero_point, "a_zero_point", a.dtype, *_of_rows(a))
    b_zeros = _as_zero_points(b_zero_point, "b_zero_point", b.dtype, *_of_cols(b))
    a_scales = _as_scales(a_scale, "a_scale", *_of_rows(a))
    b_scales = _as_scales(b_scale, "b_scale", *_of_cols(b))
    y_step = _as_scales(y_scale, "y_scale", (1,), (1,))[0]
    y_zero = _as_result_zero(y_zero_point)
    inputs = _arrays(
        a, b, a_scale, a_zero_point, b_scale, b_zero_point, y_scale, y_zero_point
    )  # fmt: skip
    out = as_output(out, "out", y_zero.dtype, (*a.shape[:-1], b.shape[1]), *inputs)
    if not out.size:
        return out
    with np.errstate(over="ignore", under="ignore"):
        largest = a_scales.max() * b_scales.max() / y_step
    if not np.isfinite(largest):
        raise ValueError("a_scale * b_scale / y_scale must be finite in float32")
    if not a.size:  # k is 0
        out[...] = y_zero
        return out
    _native.call(
        "quantized_matmul",
        "i8",
        *_as_operand(a),
        a_scales,
        a_zeros,
        *_as_operand(b),
        b_scales,
        b_zeros,
        y_step,
        y_zero,
        out.dtype == np.int8,
        out.view(np.int8).reshape(-1, b.shape[1]),
        get_num_threads(),
    )
    return out


def _as_matrices(a: Any, b: Any) -> tuple[NDArray, NDArray]:
    a, b = as_input(a, "a", BYTES), as_input(b, "b", BYTES)
    if a.ndim < 2:
        raise ValueError(f"a must have at least 2 axes, but its shape is {a.shape}")
    if b.ndim != 2:
        raise ValueError(f"b must have 2 axes, but its shape is {b.shape}")
    if a.shape[-1] != b.shape[0]:
        raise ValueError(
            f"b must have {a.shape[-1]} rows for a of shape {a.shape}, but its shape is {b.shape}"
        )
    return a, b


def _as_operand(x: NDArray) -> tuple[NDArray[np.int8], bool]:
    """Return the bytes of matrices, below each other, and whether they are signed."""
    return x.view(np.int8).reshape(-1, x.shape[-1]), x.dtype == np.int8


def _of_rows(a: NDArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of what is given for each row, and the same as a column."""
    return a.shape[:-1], (*a.shape[:-1], 1)


def _of_cols(b: NDArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of what is given for each column, and the same as a row."""
    return b.shape[1:], (1, *b.shape[1:])


def _as_zero_points(
    x: Any, name: str, dtype: np.dtype, shape: tuple[int, ...], kept: tuple[int, ...]
) -> NDArray[np.int32]:
    if isinstance(x, np.ndarray | np.generic):
        return _spread(as_input(np.asanyarray(x), name, (dtype,)), name, np.int32, shape, kept)
    low = -128 if dtype == np.int8 else 0
    return np.full(math.prod(shape), as_count(x, name, low, low + 255), np.int32)


def _as_scales(
    x: Any, name: str, shape: tuple[int, ...], kept: tuple[int, ...]
) -> NDArray[np.float32]:
    if isinstance(x, np.ndarray):
        scales = _spread(as_input(x, name, (np.float32,)), name, np.float32, shape, kept)
    else:
        scales = np.full(math.prod(shape), as_number(x, name, 0, MOST), np.float32)
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError(f"{name} must be positive and finite in float32")
    return scales


def _as_result_zero(x: Any) -> Any:
    """Return the zero point of the result as a NumPy scalar."""
    if not isinstance(x, np.ndarray | np.generic) or x.dtype not in BYTES:
        kind = x.dtype if isinstance(x, np.ndarray | np.generic) else type(x).__name__
        raise TypeError(
            f"y_zero_point must be a NumPy int8 or uint8, the dtype of the result, not {kind}"
        )
    if x.shape not in ((), (1,)):
        raise ValueError(f"y_zero_point must have one entry, but its shape is {x.shape}")
    return x.reshape(-1)[0]


def _spread(
    x: NDArray, name: str, dtype: Any, shape: tuple[int, ...], kept: tuple[int, ...]
) -> NDArray:
    """Return an array of one entry a row, or a column."""
    if x.shape not in ((), (1,), shape[-1:], kept):
        shapes = " or ".join(map(str, dict.fromkeys([shape[-1:], kept])))
        raise ValueError(f"{name} must be a number or have shape {shapes}, not {x.shape}")
    spread = np.empty(shape, dtype)
    spread[...] = x.reshape(shape) if x.shape == kept else x
    return spread.reshape(-1)


def _arrays(*arguments: Any) -> list[NDArray]:
    return [x for x in arguments if isinstance(x, np.ndarray)]
