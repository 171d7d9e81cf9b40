"""Floats in fewer bytes, back to the bit (`fortran/arrays/fq_lossless.f90`)."""

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import as_input, as_output, shown
from .._core.threads import get_num_threads
from .entropy import entropy_decode, entropy_encode, entropy_header
from .stream_head import CHECKSUM, as_stream, read_fields, refuse_broken_seal, sealed

MAGIC = b"FQLL"
VERSION = 1
HEADER = struct.Struct("<4sBcBBQ")
HEADER_BYTES = HEADER.size + CHECKSUM.size
ENTRY = np.dtype(
    [("kept", "<u4"), ("left_out", "u1"), ("planes", "u1"), ("none", "<u2"), ("checksum", "<u4")]
)

DTYPES = (np.float64, np.float32, np.float16, np.uint16, np.uint8)
BLOCK = 65536
# Symbols are coded in rows of at most so many, which classes of rows have in common.
ROW = 1024
MOST_AXES = 64

# Which rests of a block are left out.
ZEROS_KEPT, ZEROS_LEFT_OUT, ZEROS_ARE_SIGNS = 0, 1, 2

REST_FAULTS = (
    "nothing is wrong", "bytes do not have their checksum", "rests are left over or missing",
    "bits beyond its signs are not zero",
)  # fmt: skip


@dataclass(frozen=True)
class _Head:
    """What stands before the symbols of a stream.

    Attributes
    ----------
    dtype : dtype
        Dtype of the numbers.
    shape : tuple of int
        Shape of the array.
    entries : (blocks,) of ENTRY
        The index; of numbers of 8 bits, which have no rests, it is empty.
    symbols : slice
        Where the stream of symbols is; rests follow.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    entries: NDArray
    symbols: slice


def lossless_encode(w: NDArray) -> NDArray[np.uint8]:
    r"""Write floats in fewer bytes, from which `lossless_decode` makes the same bits.

    The 8 bits below the sign of each number are a symbol, which takes about as many bits as its
    frequency allows; the other bits stay as they are. Zeros have no other bits, apart from their
    sign where one of a block is negative.

    Parameters
    ----------
    w : array of float64, float32, float16, uint16 or uint8
        Numbers. uint16 are the bits of bfloat16, uint8 those of a float of 8 bits of any kind,
        whose symbol is the whole of it.

    Returns
    -------
    (nbytes,) uint8
        The stream, the same on every machine and for any number of threads.

    Raises
    ------
    TypeError
        If `w` is no array of these dtypes.
    ValueError
        If `w` is not C-contiguous.

    References
    ----------
    Zhang et al. 2025, 70% Size, 100% Accuracy (DFloat11), arXiv 2504.11651; Hershcovitch et al.
    2024, ZipNN, arXiv 2411.05239: exponents of weights take less than 3 bits. The coder is that of
    `entropy_encode`.

    Examples
    --------
    >>> w = np.random.default_rng(0).standard_normal(2**16).astype(np.float32)
    >>> round(8 * lossless_encode(w).size / w.size, 2)
    26.55
    >>> w[np.abs(w) < 0.6745] = 0
    >>> round(8 * lossless_encode(w).size / w.size, 2)
    13.7
    """
    w = as_input(w, "w", DTYPES)
    kind = w.dtype.kind.encode()
    if not w.size:
        front = HEADER.pack(MAGIC, VERSION, kind, w.itemsize, w.ndim, 0)
        head = sealed(front + _extents(w.shape), HEADER)
        return np.frombuffer(bytearray(head), np.uint8)
    numbers = w.reshape(-1).view(f"i{w.itemsize}")
    symbols, found = _coded_symbols(numbers)
    entries = _entries(found, numbers)
    front = HEADER.pack(MAGIC, VERSION, kind, w.itemsize, w.ndim, symbols.size)
    first = HEADER_BYTES + 8 * w.ndim + entries.nbytes
    stream = np.empty(first + symbols.size + int(_bytes_of(entries, w.size).sum()), np.uint8)
    stream[first : first + symbols.size] = symbols
    if len(entries):
        places = _places(entries, w.size, first + symbols.size)
        checksums = np.empty(len(entries), np.int32)
        arguments = numbers, places, stream.view(np.int8), checksums, get_num_threads()
        _native.call("place_rests", _kind(numbers), *arguments)
        entries["checksum"] = checksums.view(np.uint32)
    head = sealed(front + _extents(w.shape) + entries.tobytes(), HEADER)
    stream[:first] = np.frombuffer(head, np.uint8)
    return stream


def lossless_decode(stream: NDArray[np.uint8], *, out: NDArray | None = None) -> NDArray:
    """Return the numbers of a stream that `lossless_encode` wrote, to the bit.

    Every byte is verified: lengths, flags, checksums.

    Parameters
    ----------
    stream : (nbytes,) uint8
        The stream.
    out : array of the result's shape and dtype, optional
        Where to write the numbers; what is in it after an error is not defined.

    Returns
    -------
    array of float64, float32, float16, uint16 or uint8
        The numbers, in the shape that they had.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the stream is damaged, or `out` does not fit.

    References
    ----------
    See `lossless_encode`.

    Examples
    --------
    >>> w = np.array([[0.1, -0.0], [np.inf, 5e-324]])
    >>> np.array_equal(lossless_decode(lossless_encode(w)).view(np.int64), w.view(np.int64))
    True
    """
    stream = as_stream(stream)
    head = _read_head(stream)
    n = math.prod(head.shape)
    symbols = stream[head.symbols]
    if n and (shape := entropy_header(symbols).shape) != _symbol_shape(n):
        raise ValueError(f"stream is damaged: its symbols have shape {shape}, not that of {n}")
    w = as_output(out, "out", head.dtype, head.shape, stream)
    if n:
        _decode(stream, symbols, head, w.reshape(-1).view(f"i{w.itemsize}"))
    return w


def _coded_symbols(numbers: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the stream of the symbols of numbers, and what the rests of each block are."""
    n = numbers.size
    codes = np.empty(_symbol_shape(n), np.int8)
    flat = codes.reshape(-1)
    found = np.empty((-(-n // BLOCK), 3), np.int64)
    arguments = numbers, flat[:n], found, get_num_threads()
    _native.call("split_symbols", _kind(numbers), *arguments)
    flat[n:] = flat[n - 1]
    return entropy_encode(codes), found


def _decode(stream: NDArray[np.uint8], symbols: NDArray[np.uint8], head: _Head, w: NDArray) -> None:
    """Fill `w`, integers of the width of the numbers, of which there are some."""
    codes = entropy_decode(symbols)
    flat = codes.reshape(-1)
    if (flat[w.size :] != flat[w.size - 1]).any() or codes.dtype != np.int8:
        raise ValueError("stream is damaged: its symbols are not those of numbers")
    entries = head.entries
    if not len(entries):
        entries = np.zeros(-(-w.size // BLOCK), ENTRY)
        entries["kept"] = _sizes(len(entries), w.size)
    places = _places(entries, w.size, head.symbols.stop)
    checksums = entries["checksum"].astype(np.uint32).view(np.int32)
    faults = np.empty(len(entries), np.int32)
    _native.call(
        "join_numbers", _kind(w), flat[: w.size], places, stream.view(np.int8), checksums, w,
        faults, get_num_threads(),
    )  # fmt: skip
    if faults.any():
        block = int(np.flatnonzero(faults)[0])
        fault = REST_FAULTS[faults[block]]
        raise ValueError(f"stream is damaged: of the rests of block {block} {fault}")


def _kind(numbers: NDArray) -> str:
    return f"i{8 * numbers.itemsize}"


def _symbol_shape(n: int) -> tuple[int, int]:
    """Return how the symbols of so many numbers are coded: rows about as long as each other."""
    rows = -(-n // ROW)
    return rows, -(-n // rows)


def _extents(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(shape)}Q", *shape)


def _entries(found: NDArray[np.int64], numbers: NDArray) -> NDArray:
    """Return the index, without checksums, of blocks of which this was found; none of 8 bits."""
    planes = numbers.itemsize - 1
    if not planes:
        return np.empty(0, ENTRY)
    without, their_bits, bits = found.T
    sign = 1 << 8 * planes - 1
    entries = np.zeros(len(found), ENTRY)
    left_out = np.where(their_bits == 0, ZEROS_LEFT_OUT, ZEROS_ARE_SIGNS)
    only_zeros = (without > 0) & (their_bits & sign - 1 == 0)
    entries["left_out"] = np.where(only_zeros, left_out, ZEROS_KEPT)
    entries["kept"] = _sizes(len(found), numbers.size)
    entries["kept"] -= np.where(entries["left_out"] != ZEROS_KEPT, without, 0).astype(np.uint32)
    for plane in range(planes):
        entries["planes"] |= ((bits >> 8 * plane & 255 != 0) << plane).astype(np.uint8)
    return entries


def _sizes(blocks: int, n: int) -> NDArray[np.int64]:
    """Return how many numbers each block has."""
    return np.minimum(BLOCK, n - BLOCK * np.arange(blocks, dtype=np.int64))


def _bytes_of(entries: NDArray, n: int) -> NDArray[np.int64]:
    """Return how many bytes the rests of each block take."""
    kept = entries["kept"].astype(np.int64)
    signs = np.where(entries["left_out"] == ZEROS_ARE_SIGNS, _sizes(len(kept), n) - kept + 7, 0)
    return kept * np.bitwise_count(entries["planes"]) + signs // 8


def _places(entries: NDArray, n: int, first: int) -> NDArray[np.int64]:
    """Return where rests are, from an index that has entries."""
    nbytes = _bytes_of(entries, n)
    before = first + np.cumsum(nbytes) - nbytes
    return np.column_stack(
        [before, nbytes, entries["left_out"], entries["kept"], entries["planes"]]
    ).astype(np.int64)


def _read_head(stream: NDArray[np.uint8]) -> _Head:
    """Return what stands before the symbols, verified, and where all else is."""
    dtype, axes, nbytes = _read_header(stream)
    at = HEADER_BYTES + 8 * axes
    if stream.size < at:
        raise ValueError(f"stream of {stream.size} bytes ends before its shape does")
    shape = tuple(stream[HEADER_BYTES:at].view("<u8").tolist())
    n = math.prod(shape)
    if math.prod(max(extent, 1) for extent in shape) * dtype.itemsize >= 2**63:
        raise ValueError(f"stream is damaged: an array of shape {shown(shape)} is too large")
    blocks = 0 if dtype.itemsize == 1 else -(-n // BLOCK)
    first = at + ENTRY.itemsize * blocks
    if stream.size < first + nbytes:
        raise ValueError(f"stream of {stream.size} bytes ends before its symbols do")
    entries = stream[at:first].view(ENTRY)
    refuse_broken_seal(stream, HEADER, first)
    _refuse_false_entries(entries, n, dtype)
    end = first + nbytes + int(_bytes_of(entries, n).sum())
    if end != stream.size or (nbytes > 0) != (n > 0):
        raise ValueError(f"stream must have {end} bytes, as its index says, not {stream.size}")
    return _Head(dtype, shape, entries, slice(first, first + nbytes))


def _read_header(stream: NDArray[np.uint8]) -> tuple[np.dtype, int, int]:
    """Return the dtype, how many axes there are, and the bytes of the symbols."""
    kind, width, axes, nbytes = read_fields(stream, HEADER, MAGIC, VERSION)
    known = {(dtype.kind.encode(), dtype.itemsize): dtype for dtype in map(np.dtype, DTYPES)}
    if (kind, width) not in known or axes > MOST_AXES:
        raise ValueError(
            f"stream is damaged: its header says numbers {kind!r} of {width} bytes, {axes} axes"
        )
    return known[kind, width], axes, nbytes


def _refuse_false_entries(entries: NDArray, n: int, dtype: np.dtype) -> None:
    """Raise ValueError if a block of the index is none."""
    sizes = _sizes(len(entries), n)
    kept = entries["kept"]
    wrong = (entries["left_out"] > ZEROS_ARE_SIGNS) | (kept > sizes) | (entries["none"] != 0)
    wrong |= (entries["left_out"] == ZEROS_KEPT) & (kept != sizes)
    wrong |= entries["planes"] >> dtype.itemsize - 1 != 0
    if wrong.any():
        raise ValueError(
            f"stream is damaged: block {int(np.flatnonzero(wrong)[0])} of its index is none"
        )
