"""float32 to and from the bits of narrower formats (`fortran/kernels/fq_convert.f90`)."""

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._check import as_choice, as_input
from .threads import get_num_threads

# Exponent bits, mantissa bits, and whether there are no infinities.
FORMATS = {
    "bfloat16": (8, 7, False),
    "float16": (5, 10, False),
    "float8_e4m3fn": (4, 3, True),
    "float8_e5m2": (5, 2, False),
}


def cast_to(x: NDArray[np.float32], to: str) -> NDArray:
    """Round float32 to a narrower floating-point format, ties to even, and return its bits.

    Overflow gives infinity, or NaN in ``float8_e4m3fn``, which has none. NaN stays NaN, with one bit
    pattern per sign.

    Parameters
    ----------
    x : (...) float32
        Any values, NaN and Inf included.
    to : "bfloat16", "float16", "float8_e4m3fn" or "float8_e5m2"
        The format.

    Returns
    -------
    array of x's shape, uint16 or uint8
        The bits of each value; ``.view(numpy.float16)`` where NumPy knows the format.

    Raises
    ------
    TypeError
        If `x` is not a float32 array.
    ValueError
        If `to` is unknown, or `x` is not C-contiguous.

    References
    ----------
    IEEE 754-2019, 4.3.1 (rounding); Micikevicius et al. 2022, FP8 formats for deep learning,
    arXiv 2209.05433; ONNX Cast.

    Examples
    --------
    >>> cast_to(np.array([1.0, -2.5], np.float32), "float16").view(np.float16)
    array([ 1. , -2.5], dtype=float16)
    >>> cast_to(np.array([448.0], np.float32), "float8_e4m3fn")
    array([126], dtype=uint8)
    """
    x = as_input(x, "x", (np.float32,))
    as_choice(to, "to", tuple(FORMATS))
    width = _width(to)
    bits = np.empty(x.shape, f"uint{width}")
    if x.size:
        _native.call(
            f"narrow{width}", "f32", x.reshape(-1), *FORMATS[to],
            bits.view(f"int{width}").reshape(-1), get_num_threads(),
        )  # fmt: skip
    return bits


def cast_from(bits: NDArray, format: str) -> NDArray[np.float32]:
    """Return the float32 values of the bits of a narrower format, exactly.

    Parameters
    ----------
    bits : (...) uint16 or uint8
        Bit patterns, as `cast_to` returns them.
    format : "bfloat16", "float16", "float8_e4m3fn" or "float8_e5m2"
        The format.

    Returns
    -------
    array of the shape of `bits`, float32
        The values.

    Raises
    ------
    TypeError
        If `bits` is not an array of the format's width.
    ValueError
        If `format` is unknown, or `bits` is not C-contiguous.

    References
    ----------
    See `cast_to`.

    Examples
    --------
    >>> cast_from(np.array([0x3F80, 0xC020], np.uint16), "bfloat16")
    array([ 1. , -2.5], dtype=float32)
    """
    as_choice(format, "format", tuple(FORMATS))
    width = _width(format)
    bits = as_input(bits, "bits", (f"uint{width}",))
    x = np.empty(bits.shape, np.float32)
    if x.size:
        _native.call(
            f"widen{width}", "f32", bits.view(f"int{width}").reshape(-1), *FORMATS[format],
            x.reshape(-1), get_num_threads(),
        )  # fmt: skip
    return x


def _width(format: str) -> int:
    exponent_bits, mantissa_bits, _ = FORMATS[format]
    return 1 + exponent_bits + mantissa_bits
