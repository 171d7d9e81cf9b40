"""Codes of a few bits in dense bytes or words (`fortran/arrays/fq_pack.f90`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import as_count, as_flag, as_input, shown, shown_dtype
from .._core.threads import get_num_threads


def pack(codes: NDArray, bits: int, dtype: Any = np.uint8) -> NDArray:
    """Pack integer codes densely along the last axis, the first code in the lowest bits.

    Bit ``k`` of code ``i`` of a row becomes bit ``bits * i + k`` of that row; unused bits at its
    end are zero. Signed codes are stored as two's complement in bytes (the int4 layout of ONNX) and
    with ``2**(bits-1)`` added in int32 words (the layout of compressed-tensors).

    Parameters
    ----------
    codes : (..., cols) int8, uint8, int16 or uint16
        Codes, each within its `bits`: ``-2**(bits-1) ... 2**(bits-1) - 1`` if signed, else
        ``0 ... 2**bits - 1``.
    bits : int
        Bits of a code, 1 ... 8 for int8 and uint8, 1 ... 16 for int16 and uint16.
    dtype : uint8 or int32
        What to pack into.

    Returns
    -------
    (..., ceil(cols * bits / 8)) uint8, or (..., ceil(cols * bits / 32)) int32
        The packed codes.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `bits` or a code is out of range, or `codes` is 0-d or not C-contiguous.

    References
    ----------
    ONNX, Int4 (packing of 4-bit types); compressed-tensors, ``pack_to_int32``.

    Examples
    --------
    >>> pack(np.array([1, -1, 7], np.int8), 4)
    array([241,   7], dtype=uint8)
    >>> pack(np.array([1, -1, 7], np.int8), 4, np.int32)
    array([3961], dtype=int32)
    """
    codes = as_input(codes, "codes", (np.int8, np.uint8, np.int16, np.uint16))
    bits = as_count(bits, "bits", 1, 8 * codes.itemsize)
    word = _as_word(dtype)
    if codes.ndim == 0:
        raise ValueError("codes must have an axis to pack along, but its shape is ()")
    signed = codes.dtype.kind == "i"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if codes.size and (codes.min() < low or codes.max() > high):
        first = np.flatnonzero((codes < low) | (codes > high))[0]
        raise ValueError(
            f"codes must be {low} ... {high} for {bits} bits, "
            f"but entry {first} is {codes.flat[first]}"
        )
    words = -(-codes.shape[-1] * bits // (8 * word.itemsize))
    packed = np.empty((*codes.shape[:-1], words), word)
    if codes.size:
        rows = codes.size // codes.shape[-1]
        kind = f"i{8 * codes.itemsize}"
        offset = 2 ** (bits - 1) if signed and word != np.uint8 else 0
        _native.call(
            "pack",
            kind,
            codes.view(f"int{8 * codes.itemsize}").reshape(rows, -1),
            bits,
            offset,
            packed.reshape(rows, -1).view(np.int8),
            get_num_threads(),
        )
    return packed


def unpack(packed: NDArray, bits: int, cols: int, *, signed: bool = False) -> NDArray:
    """Return the codes that `pack` packed.

    Parameters
    ----------
    packed : (..., ceil(cols * bits / 8)) uint8, or (..., ceil(cols * bits / 32)) int32
        Packed codes.
    bits : int
        Bits of a code, 1 ... 16.
    cols : int
        Codes of a row.
    signed : bool
        Whether the codes are signed; see `pack` for how those are stored.

    Returns
    -------
    (..., cols) int8 or uint8, int16 or uint16 for more than 8 bits
        The codes.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `bits` is out of range, or `packed` does not have the shape that `cols` takes.

    References
    ----------
    See `pack`.

    Examples
    --------
    >>> unpack(np.array([241, 7], np.uint8), 4, 3, signed=True)
    array([ 1, -1,  7], dtype=int8)
    """
    packed = as_input(packed, "packed", (np.uint8, np.int32))
    bits = as_count(bits, "bits", 1, 16)
    cols, signed = as_count(cols, "cols", 0), as_flag(signed, "signed")
    words = -(-cols * bits // (8 * packed.itemsize))
    if packed.ndim == 0 or packed.shape[-1] != words:
        raise ValueError(
            f"packed must have shape (..., {words}) for {cols} codes of {bits} bits, "
            f"not {packed.shape}"
        )
    return unpack_rows(packed, bits, cols, signed)


def unpack_rows(packed: NDArray, bits: int, cols: int, signed: bool) -> NDArray:
    """`unpack` of arguments known to fit."""
    width = 8 if bits <= 8 else 16
    codes = np.empty((*packed.shape[:-1], cols), f"int{width}")
    if codes.size:
        rows = codes.size // cols
        offset = 2 ** (bits - 1) if signed and packed.dtype != np.uint8 else 0
        _native.call(
            "unpack",
            f"i{width}",
            packed.reshape(rows, -1).view(np.int8),
            bits,
            signed and not offset,
            offset,
            codes.reshape(rows, cols),
            get_num_threads(),
        )
    return codes if signed else codes.view(f"uint{width}")


def _as_word(dtype: Any) -> np.dtype:
    try:
        word = np.dtype(dtype)
    except (TypeError, ValueError) as e:
        raise TypeError(f"dtype must be uint8 or int32, not {shown(dtype)}") from e
    if word not in (np.dtype(np.uint8), np.dtype(np.int32)):
        raise TypeError(f"dtype must be uint8 or int32, not {shown_dtype(word)}")
    return word
