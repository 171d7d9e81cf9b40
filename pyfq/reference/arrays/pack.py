"""Reference of `pyfq.pack`."""

import numpy as np


def pack(codes, bits, dtype=np.uint8):
    """Return the bits of the codes, lowest first, as bytes or words."""
    offset = 2 ** (bits - 1) if codes.dtype.kind == "i" and np.dtype(dtype) != np.uint8 else 0
    patterns = (codes.astype(np.int64)[..., None] + offset) >> np.arange(bits) & 1
    width = 8 * np.dtype(dtype).itemsize
    stream = patterns.astype(np.uint8).reshape(*codes.shape[:-1], codes.shape[-1] * bits)
    padding = [(0, 0)] * (codes.ndim - 1) + [(0, -stream.shape[-1] % width)]
    return np.packbits(np.pad(stream, padding), axis=-1, bitorder="little").view(dtype)


def unpack(packed, bits, cols, *, signed=False):
    """Return the codes of the bits."""
    stream = np.unpackbits(packed.view(np.uint8), axis=-1, bitorder="little")[..., : cols * bits]
    codes = stream.reshape(*packed.shape[:-1], cols, bits).astype(np.int64) @ (1 << np.arange(bits))
    if signed and packed.dtype == np.uint8:
        codes = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes)
    elif signed:
        codes = codes - 2 ** (bits - 1)
    return codes.astype(f"{'int' if signed else 'uint'}{8 if bits <= 8 else 16}")
