"""Codes in as few bits as their frequencies allow, and back."""

import zlib
from functools import partial

import numpy as np
from case import Case, Contenders, copying
from numpy.typing import NDArray
from peers import module

import pyfq
from pyfq.arrays.entropy import rows_of_block

constriction = module("constriction")
nncodec = module("nncodec") and module("nncodec.extensions.deepCABAC")

SHORT = ("2.5 bits", "2.5 bits decoded")


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 2048
    square, odd, n = (side, side), (side - 3, side + 3), side * side
    return [
        Case("2.5 bits", partial(encoding, square, 1.4), n, n),
        Case("4.1 bits", partial(encoding, square, 4.2), n, n),
        Case("2.5 bits, trellis of 8 states", partial(encoding, square, 1.4, 8), n, n),
        Case("2.5 bits, int16", partial(encoding, square, 1.4, None, np.int16), 2 * n, n),
        Case("2.5 bits decoded", partial(decoding, square, 1.4), n, n),
        Case("2.5 bits decoded, odd extents", partial(decoding, odd, 1.4), n - 9, n - 9),
        Case("4.1 bits decoded", partial(decoding, square, 4.2), n, n),
        Case("2.5 bits decoded, trellis of 8 states", partial(decoding, square, 1.4, 8), n, n),
        Case("2.5 bits decoded, int16", partial(decoding, square, 1.4, None, np.int16), 2 * n, n),
    ]


def encoding(
    shape: tuple[int, int], spread: float, trellis: int | None = None, dtype: type = np.int8
) -> Contenders:
    codes = normal_codes(shape, spread, trellis, dtype)
    contenders = {
        "pyfq": lambda: pyfq.entropy_encode(codes, trellis=trellis),
        "zlib": lambda: zlib.compress(codes, 6),
        **copying(codes),
    }
    if trellis is None:
        if constriction:
            contenders["constriction"] = partial(encoded_by_constriction, codes)
        if nncodec:
            contenders["nncodec"] = partial(encoded_by_nncodec, codes)
    return contenders


def decoding(
    shape: tuple[int, int], spread: float, trellis: int | None = None, dtype: type = np.int8
) -> Contenders:
    codes = normal_codes(shape, spread, trellis, dtype)
    stream = pyfq.entropy_encode(codes, trellis=trellis)
    deflated = zlib.compress(codes, 6)
    contenders = {
        "pyfq": lambda: pyfq.entropy_decode(stream),
        "zlib": lambda: zlib.decompress(deflated),
        **copying(codes),
    }
    if trellis is None:
        if constriction:
            words, model = encoded_by_constriction(codes)
            coder = constriction.stream.stack.AnsCoder
            contenders["constriction"] = lambda: coder(words).decode(model, codes.size)
        if nncodec:
            payload = encoded_by_nncodec(codes)
            contenders["nncodec"] = lambda: decoded_by_nncodec(payload, shape)
    return contenders


def normal_codes(
    shape: tuple[int, int], spread: float, trellis: int | None, dtype: type
) -> NDArray:
    """Return rounded normal numbers; with a trellis, those of a path."""
    q = np.rint(np.random.default_rng(0).standard_normal(shape) * spread).astype(dtype)
    if trellis is None:
        return q
    codes, block_rows = 2 * q, rows_of_block(shape[1])
    for r in range(shape[0]):
        if r % block_rows == 0:
            t = np.zeros(8, dtype)
        for c in range(0, shape[1], 8):
            now = t[: q[r, c : c + 8].size]
            codes[r, c : c + 8] += now & 1
            now[:] = 2 * now % trellis | (q[r, c : c + 8] ^ now >> 1 ^ now >> 2) & 1
    return codes


def encoded_by_constriction(codes: NDArray) -> tuple:
    """Return what it makes of codes, with a table of their frequencies."""
    values = codes.reshape(-1).astype(np.int32)
    values -= values.min()
    p = np.bincount(values).astype(np.float32)
    model = constriction.stream.model.Categorical(p / p.sum(), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(values, model)
    return coder.get_compressed(), model


def encoded_by_nncodec(codes: NDArray) -> NDArray:
    """Return what its context-adaptive coder makes of codes, without dependent quantization."""
    encoder = nncodec.Encoder()
    encoder.initCtxModels(10, 0)
    zeros, off, history = np.zeros(0, np.int32), nncodec.HdspMode.AlwaysOff, np.zeros(0, np.int8)
    encoder.encodeLayer(codes.astype(np.int32), 0, 0, 0, 0, 0, zeros, off, history, 0, 0)
    return encoder.finish()


def decoded_by_nncodec(payload: NDArray, shape: tuple[int, int]) -> NDArray:
    decoder = nncodec.Decoder()
    decoder.setStream(payload)
    decoder.initCtxModels(10)
    codes = np.zeros(shape, np.int32)
    off, history = nncodec.HdspMode.AlwaysOff, np.zeros(0, np.int8)
    decoder.decodeLayer(codes, 0, 0, 0, 0, off, history, 0, 0)
    return codes
