"""Reference of `pyfq.lossless_encode`: symbols for the coder, and bytes of all else."""

import math
import struct
import zlib

import numpy as np

from .entropy import entropy_decode, entropy_encode

BLOCK = 65536


def lossless_encode(w, *, coder=entropy_encode):
    """Return the stream: header, shape, index, symbols, rests."""
    n, width = w.size, w.itemsize
    numbers = w.reshape(-1).view(f"u{width}")
    symbols = coder(coded(numbers)).tobytes() if n else b""
    rests, index = b"", b""
    if width > 1:
        for first in range(0, n, BLOCK):
            left_out, kept, planes, block = encode_block(numbers[first : first + BLOCK])
            index += struct.pack("<IBBHI", kept, left_out, planes, 0, zlib.crc32(block))
            rests += block
    head = struct.pack("<4sBcBBQ", b"FQLL", 1, w.dtype.kind.encode(), width, w.ndim, len(symbols))
    rest = struct.pack(f"<{w.ndim}Q", *w.shape) + index
    head += struct.pack("<I", zlib.crc32(head + rest))
    return np.frombuffer(head + rest + symbols + rests, np.uint8)


def lossless_decode(stream, *, decoder=entropy_decode):
    """Return the numbers of a stream that is not damaged."""
    stream = stream.tobytes()
    kind, width, axes, nbytes = struct.unpack_from("<cBBQ", stream, 5)
    shape = struct.unpack_from(f"<{axes}Q", stream, 20)
    n, at = math.prod(shape), 20 + 8 * axes
    blocks = range(0, n if width > 1 else 0, BLOCK)
    index = [struct.unpack_from("<IBB", stream, at + 12 * i) for i in range(len(blocks))]
    at += 12 * len(blocks)
    symbols, at = stream[at : at + nbytes], at + nbytes
    numbers = np.zeros(n, f"u{width}")
    if n:
        codes = decoder(np.frombuffer(symbols, np.uint8)).reshape(-1)[:n]
        numbers |= (codes.astype(np.int64) + 127 & 255).astype(numbers.dtype)
    for first, (kept, left_out, planes) in zip(blocks, index, strict=True):
        part = numbers[first : first + BLOCK]
        at = decode_block(stream, at, part, kept, left_out, planes)
    if width == 1:
        numbers = numbers >> 1 | numbers << 7
    return numbers.view(f"{kind.decode()}{width}").reshape(shape)


def coded(numbers):
    """Return the codes of symbols: the bits below the sign; of bytes all, the sign lowest."""
    width = numbers.itemsize
    symbols = numbers << 1 | numbers >> 7 if width == 1 else numbers << 1 >> 8 * width - 8
    codes = ((symbols.astype(np.int64) + 1 & 255) - 128).astype(np.int8)
    rows = -(-codes.size // 1024)
    cols = -(-codes.size // rows)
    return np.pad(codes, (0, rows * cols - codes.size), "edge").reshape(rows, cols)


def encode_block(numbers):
    """Return which rests are left out, how many are kept, which planes, and their bytes."""
    bits = 8 * numbers.itemsize
    low = numbers.dtype.type(2 ** (bits - 9) - 1)
    rests = numbers & low | numbers >> bits - 1 << bits - 9
    without = numbers << 1 >> bits - 8 == 0
    left_out = 0
    if without.any() and not (rests[without] & low).any():
        left_out = 2 if rests[without].any() else 1
    kept = rests[~without] if left_out else rests
    block = np.packbits(rests[without] != 0, bitorder="little").tobytes() if left_out == 2 else b""
    planes = 0
    for plane in range(bits // 8 - 1):
        if (rests >> 8 * plane & 255).any():
            planes |= 1 << plane
            block += (kept >> 8 * plane & 255).astype(np.uint8).tobytes()
    return left_out, kept.size, planes, block


def decode_block(stream, at, numbers, kept, left_out, planes):
    """Make numbers of their symbols; return where the bytes of their rests end."""
    bits = 8 * numbers.itemsize
    without = numbers == 0
    signs = np.zeros(numbers.size, bool)
    if left_out == 2:
        n = np.count_nonzero(without)
        packed = np.frombuffer(stream, np.uint8, -(-n // 8), at)
        signs[without] = np.unpackbits(packed, count=n, bitorder="little")
        at += packed.size
    rests = np.zeros(kept, numbers.dtype)
    for plane in range(bits // 8 - 1):
        if planes >> plane & 1:
            rests |= np.frombuffer(stream, np.uint8, kept, at).astype(rests.dtype) << 8 * plane
            at += kept
    numbers <<= bits - 9
    keeps = ~without if left_out else np.ones(numbers.size, bool)
    numbers[keeps] |= rests & 2 ** (bits - 9) - 1 | rests >> bits - 9 << bits - 1
    numbers |= signs.astype(numbers.dtype) << bits - 1
    return at
