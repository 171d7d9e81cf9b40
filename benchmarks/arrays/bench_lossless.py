"""Floats in fewer bytes, and back to the bit."""

from functools import partial

import numpy as np
from case import Case, Contenders, copying
from numpy.typing import NDArray
from peers import module

import pyfq

zstandard = module("zstandard")
zipnn = module("zipnn") and module("zipnn").ZipNN

SHORT = ("float32", "float32 decoded")

# What zipnn calls dtypes.
ZIPNN = {"float32": "float32", "float16": "float16", "uint16": "bfloat16"}


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 2048
    n = side * side
    arrays = {
        "float32": 4, "float32, half pruned": 4, "bfloat16": 2, "float16": 2, "float64": 8,
        "float8": 1,
    }  # fmt: skip
    return [
        case
        for name, width in arrays.items()
        for case in (
            Case(name, partial(encoding, name, side), width * n, n),
            Case(f"{name} decoded", partial(decoding, name, side), width * n, n),
        )
    ]


def encoding(name: str, side: int) -> Contenders:
    w = weights(name, side)
    contenders = {"pyfq": lambda: pyfq.lossless_encode(w), **copying(w)}
    if zstandard:
        compressor = zstandard.ZstdCompressor(3)
        contenders["zstd -3"] = lambda: compressor.compress(w.data)
    if zipnn and str(w.dtype) in ZIPNN:
        coder = zipnn_of(w)
        contenders["zipnn"] = lambda: coder.compress(w.tobytes())
    return contenders


def decoding(name: str, side: int) -> Contenders:
    w = weights(name, side)
    stream, out = pyfq.lossless_encode(w), np.empty_like(w)
    contenders = {"pyfq": lambda: pyfq.lossless_decode(stream, out=out), **copying(w)}
    if zstandard:
        packed = zstandard.ZstdCompressor(3).compress(w.data)
        decompressor = zstandard.ZstdDecompressor()
        contenders["zstd -3"] = lambda: decompressor.decompress(packed)
    if zipnn and str(w.dtype) in ZIPNN:
        packed_by_zipnn, coder = zipnn_of(w).compress(w.tobytes()), zipnn_of(w)
        contenders["zipnn"] = lambda: coder.decompress(packed_by_zipnn)
    return contenders


def zipnn_of(w: NDArray):
    """Return its coder of arrays of a dtype."""
    return zipnn(bytearray_dtype=ZIPNN[str(w.dtype)], input_format="byte", threads=2)


def weights(name: str, side: int) -> NDArray:
    """Return normal weights of a dtype; those of 8 bits are E5M2."""
    w = np.random.default_rng(0).standard_normal((side, side)) * 0.02
    if name == "float64":
        return w
    if name == "bfloat16":
        return (w.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if name == "float16":
        return w.astype(np.float16)
    if name == "float8":
        return (w.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)
    w = w.astype(np.float32)
    return pyfq.prune_ratio(w, 0.5).weights if name == "float32, half pruned" else w
