"""The floats of a file, by their word, and those that kernels compute with: float32 and float64."""

import numpy as np
from numpy.typing import NDArray

from ..arrays.convert import cast_from, cast_to

# The words that NumPy cannot compute with: their names in `pyfq.arrays.convert`, largest numbers.
_NARROW = {"F16": ("float16", 65504.0), "BF16": ("bfloat16", 255 * 2.0**120)}

_BLOCK = 1 << 20  # floats that are rounded at a time: enough for every thread


def computed_in(word: str) -> np.dtype:
    """Return the dtype that kernels take tensors of a word in."""
    return np.dtype(np.float64 if word == "F64" else np.float32)


def widen(array: NDArray, word: str, out: NDArray | None = None) -> NDArray:
    """Return a tensor as the float32 or float64 that the kernels take."""
    if word not in _NARROW:
        return array
    return cast_from(array.view(np.uint16), _NARROW[word][0], out=out)


def narrow(values: NDArray, word: str, out: NDArray | None = None) -> NDArray:
    """Return floats in the dtype of the word; what is beyond its largest number becomes that.

    Where numbers must be clipped first, that is done in `out`: `values` itself, if it is the
    caller's own and not needed any more. Nothing is written to the memory of a file.
    """
    if word not in _NARROW:
        return values
    largest = _NARROW[word][1]
    return _bits(np.clip(values, -largest, largest, out=out), word)


def rounded(values: NDArray, word: str) -> NDArray:
    """Return floats as they are once `narrow` has made the dtype of the word of them.

    They are rounded in their own memory, a block at a time.
    """
    if word not in _NARROW:
        return values
    flat = values.reshape(-1)
    for begin in range(0, flat.size, _BLOCK):
        block = flat[begin : begin + _BLOCK]
        widen(narrow(block, word, out=block), word, out=block)
    return values


def store(values: NDArray, word: str) -> NDArray:
    """Return finite float32 or float64 rounded once, ties to even, to the dtype of a word.

    Raises
    ------
    ValueError
        If one is beyond its largest number.
    """
    if word in _NARROW:
        stored = _bits(_round_to_odd(values), word)
    else:
        with np.errstate(over="ignore"):  # refused below
            stored = values.astype(computed_in(word), copy=False)
    if not np.isfinite(widen(stored, word)).all():
        name = _NARROW[word][0] if word in _NARROW else computed_in(word).name
        peak = np.abs(values).max()
        raise ValueError(f"{name} holds no number as large as {peak:g}, which is among them")
    return stored


def _bits(values: NDArray[np.float32], word: str) -> NDArray:
    bits = cast_to(values, _NARROW[word][0])
    return bits.view(np.float16) if word == "F16" else bits


def _round_to_odd(values: NDArray) -> NDArray[np.float32]:
    """Return float32 that round to 16 bits as the values themselves would.

    What is between two float32 becomes the one with an odd last bit (Boldo & Melquiond 2008,
    Emulation of a FMA and correctly rounded sums): no tie of 16 bits, and on the right side of it.
    """
    if values.dtype == np.float32:
        return values
    with np.errstate(over="ignore"):  # infinity becomes the largest number, which is odd
        near = values.astype(np.float32)
    bits = near.view(np.int32)
    bits -= np.abs(near) > np.abs(values)  # toward zero: magnitudes ascend with their bits
    bits |= near.astype(np.float64) != values
    return near
