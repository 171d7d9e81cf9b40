"""The dtype words of safetensors and the NumPy arrays that carry them.

The words and their widths are those of ``enum Dtype`` in the Rust crate safetensors 0.8
(https://github.com/huggingface/safetensors, ``safetensors/src/tensor.rs``). NumPy has no bfloat16,
no float8 and nothing narrower than a byte, so these travel as their bits: BF16 as uint16, F8 as
uint8 of the tensor's shape, F6 and F4 as the flat uint8 bytes of the file.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from pyfq._core.check import shown

MAX_RANK = 64  # NumPy's own limit.


class Dtype(NamedTuple):
    """Width of one element in the file, and the NumPy dtype that carries it, little-endian."""

    bits: int
    carrier: np.dtype


#: Every word of the format, in the library's order, which is that of increasing alignment.
DTYPES: Mapping[str, Dtype] = MappingProxyType(
    {
        word: Dtype(bits, np.dtype(carrier))
        for word, bits, carrier in (
            ("BOOL", 8, "|b1"),
            ("F4", 4, "|u1"),
            ("F6_E2M3", 6, "|u1"),
            ("F6_E3M2", 6, "|u1"),
            ("U8", 8, "|u1"),
            ("I8", 8, "|i1"),
            ("F8_E5M2", 8, "|u1"),
            ("F8_E4M3", 8, "|u1"),
            ("F8_E8M0", 8, "|u1"),
            ("F8_E4M3FNUZ", 8, "|u1"),
            ("F8_E5M2FNUZ", 8, "|u1"),
            ("I16", 16, "<i2"),
            ("U16", 16, "<u2"),
            ("F16", 16, "<f2"),
            ("BF16", 16, "<u2"),
            ("I32", 32, "<i4"),
            ("U32", 32, "<u4"),
            ("F32", 32, "<f4"),
            ("C64", 64, "<c8"),
            ("F64", 64, "<f8"),
            ("I64", 64, "<i8"),
            ("U64", 64, "<u8"),
        )
    }
)

_BITS_ONLY = {"F4", "F6_E2M3", "F6_E3M2", "BF16", *(w for w in DTYPES if w.startswith("F8_"))}

#: The word of each NumPy dtype that has one of its own, little-endian.
WORDS: Mapping[np.dtype, str] = MappingProxyType(
    {dtype.carrier: word for word, dtype in DTYPES.items() if word not in _BITS_ONLY}
)


#: The same, for messages.
NUMBERS = (
    "booleans, integers of 8 to 64 bits, floats of 16, 32 or 64 bits or complex numbers of 64 bits"
)


def word_of(dtype: np.dtype) -> str | None:
    """Return the word of a NumPy dtype of either byte order, None where the format has none."""
    return WORDS.get(dtype.newbyteorder("<"))


def nbytes_of(word: str, shape: Sequence[int]) -> int:
    """Return the bytes that a tensor takes in the file.

    Raises
    ------
    ValueError
        Unknown word, too many axes, an extent that is not a non-negative integer, more elements
        than an array can have, or sub-byte elements that do not fill whole bytes.
    """
    if not isinstance(word, str) or word not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {shown(word)}")
    if len(shape) > MAX_RANK:
        raise ValueError(f"shape: expected at most {MAX_RANK} axes, got {len(shape)}")
    for extent in shape:
        if type(extent) is not int or not 0 <= extent < 2**63:  # bool is no extent
            raise ValueError(f"shape: expected integers from 0 to 2**63 - 1, got {shown(extent)}")
    bits = DTYPES[word].bits
    total = math.prod(shape) * bits
    # NumPy leaves zeros out of its own overflow check, so an empty tensor can be too large.
    full = total if total else math.prod(max(extent, 1) for extent in shape) * bits
    if full >= 2**63:
        raise ValueError(f"shape: {list(shape)} of {word} overflows the size of an array")
    if total % 8:
        raise ValueError(f"shape: {list(shape)} of {word} is {total} bits, not whole bytes")
    return total // 8


def carrier_shape(word: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the array that carries a tensor: its own, or flat bytes below a byte."""
    return tuple(shape) if DTYPES[word].bits >= 8 else (nbytes_of(word, shape),)
