"""float32 to and from the bits of narrower formats (`fortran/arrays/fq_convert.f90`)."""

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import as_choice, as_input, as_output
from .._core.threads import get_num_threads

# Bits of a format, and its number among those of that width (`fortran/arrays/fq_convert.f90`).
FORMATS = {"bfloat16": (16, 1), "float16": (16, 2), "float8_e4m3fn": (8, 1), "float8_e5m2": (8, 2)}


def cast_to(x: NDArray[np.float32], to: str, *, out: NDArray | None = None) -> NDArray:
    """Round float32 to a narrower floating-point format, ties to even, and return its bits.

    Overflow gives infinity, or NaN in ``float8_e4m3fn``, which has none. NaN stays NaN, with one
    bit pattern per sign.

    Parameters
    ----------
    x : (...) float32
        Any values, NaN and Inf included.
    to : "bfloat16", "float16", "float8_e4m3fn" or "float8_e5m2"
        The format.
    out : array of x's shape, uint16 or uint8, optional
        Where to write; must not overlap `x`.

    Returns
    -------
    array of x's shape, uint16 or uint8
        The bits of each value; ``.view(numpy.float16)`` where NumPy knows the format.

    Raises
    ------
    TypeError
        If `x` is not a float32 array, or `out` not one of the format's width.
    ValueError
        If `to` is unknown, or an array is not C-contiguous or has the wrong shape.

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
    width, number = FORMATS[to]
    bits = as_output(out, "out", f"uint{width}", x.shape, x)
    if x.size:
        _native.call(
            "narrow",
            f"i{width}",
            x.reshape(-1),
            number,
            bits.view(f"int{width}").reshape(-1),
            get_num_threads(),
        )
    return bits


def cast_from(
    bits: NDArray, format: str, *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the float32 values of the bits of a narrower format, exactly.

    Parameters
    ----------
    bits : (...) uint16 or uint8
        Bit patterns, as `cast_to` returns them.
    format : "bfloat16", "float16", "float8_e4m3fn" or "float8_e5m2"
        The format.
    out : array of the shape of `bits`, float32, optional
        Where to write; must not overlap `bits`.

    Returns
    -------
    array of the shape of `bits`, float32
        The values.

    Raises
    ------
    TypeError
        If `bits` is not an array of the format's width, or `out` not a float32 array.
    ValueError
        If `format` is unknown, or an array is not C-contiguous or has the wrong shape.

    References
    ----------
    See `cast_to`.

    Examples
    --------
    >>> cast_from(np.array([0x3F80, 0xC020], np.uint16), "bfloat16")
    array([ 1. , -2.5], dtype=float32)
    """
    as_choice(format, "format", tuple(FORMATS))
    width, number = FORMATS[format]
    bits = as_input(bits, "bits", (f"uint{width}",))
    x = as_output(out, "out", np.float32, bits.shape, bits)
    if x.size:
        _native.call(
            "widen",
            f"i{width}",
            bits.view(f"int{width}").reshape(-1),
            number,
            x.reshape(-1),
            get_num_threads(),
        )
    return x
