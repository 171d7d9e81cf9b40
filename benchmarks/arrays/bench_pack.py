"""Codes of a few bits in bytes and words."""

from functools import partial

import numpy as np
from case import Case, Contenders, copying
from numpy.typing import DTypeLike, NDArray
from peers import module, torch

import pyfq
from pyfq import reference

compressors = module("compressed_tensors.compressors")

SHORT = ("4 bits", "3 bits unpacked")


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 4096
    square, odd = (side, side), (side - 3, side + 3)

    def case(name: str, setup: partial, bits: int) -> Case:
        shape = setup.args[0]
        rows, cols = shape
        codes = rows * cols * (1 if bits <= 8 else 2)
        return Case(name, setup, codes + rows * (-(-cols * bits // 8)), rows * cols)

    return [
        case("1 bit", partial(packing, square, 1, np.uint8), 1),
        case("2 bits", partial(packing, square, 2, np.uint8), 2),
        case("3 bits", partial(packing, square, 3, np.uint8), 3),
        case("4 bits", partial(packing, square, 4, np.uint8), 4),
        case("4 bits, odd extents", partial(packing, odd, 4, np.uint8), 4),
        case("4 bits, signed", partial(packing, square, 4, np.int8), 4),
        case("12 bits", partial(packing, square, 12, np.uint16), 12),
        case("4 bits into int32", partial(packing_words, square, 4), 4),
        case("8 bits into int32", partial(packing_words, square, 8), 8),
        case("3 bits unpacked", partial(unpacking, square, 3, np.uint8), 3),
        case("4 bits unpacked", partial(unpacking, square, 4, np.uint8), 4),
        case("4 bits unpacked, signed", partial(unpacking, square, 4, np.int8), 4),
        case("12 bits unpacked", partial(unpacking, square, 12, np.uint16), 12),
        case("4 bits unpacked from int32", partial(unpacking_words, square, 4), 4),
    ]  # fmt: skip


def packing(shape: tuple[int, int], bits: int, dtype: DTypeLike) -> Contenders:
    codes = random_codes(shape, bits, dtype)
    contenders = {
        "pyfq": lambda: pyfq.pack(codes, bits),
        "reference": lambda: reference.pack(codes, bits),
        **copying(codes),
    }
    if bits == 1:
        contenders["numpy packbits"] = lambda: np.packbits(codes, axis=1, bitorder="little")
    if bits in (2, 4) and shape[1] * bits % 8 == 0 and dtype == np.uint8:
        contenders["numpy shift"] = lambda: shifted_together(codes, bits)
        if torch:
            t = torch.from_numpy(codes)
            contenders["torch shift"] = lambda: shifted_together(t, bits)
    return contenders


def unpacking(shape: tuple[int, int], bits: int, dtype: DTypeLike) -> Contenders:
    codes = random_codes(shape, bits, dtype)
    packed = pyfq.pack(codes, bits)
    signed = codes.dtype.kind == "i"
    contenders = {
        "pyfq": lambda: pyfq.unpack(packed, bits, shape[1], signed=signed),
        "reference": lambda: reference.unpack(packed, bits, shape[1], signed=signed),
        **copying(codes),
    }
    if bits == 4:
        contenders["numpy shift"] = lambda: nibbles_in_numpy(packed, signed)
        if torch and not signed:
            t = torch.from_numpy(packed)
            contenders["torch shift"] = lambda: torch.stack((t & 15, t >> 4), -1).reshape(shape)
    return contenders


def packing_words(shape: tuple[int, int], bits: int) -> Contenders:
    codes = random_codes(shape, bits, np.int8)
    contenders = {
        "pyfq": lambda: pyfq.pack(codes, bits, np.int32),
        "reference": lambda: reference.pack(codes, bits, np.int32),
        **copying(codes),
    }
    if torch and compressors:
        t = torch.from_numpy(codes)
        contenders["compressed_tensors.pack_to_int32"] = lambda: compressors.pack_to_int32(t, bits)
    return contenders


def unpacking_words(shape: tuple[int, int], bits: int) -> Contenders:
    codes = random_codes(shape, bits, np.int8)
    packed = pyfq.pack(codes, bits, np.int32)
    contenders = {
        "pyfq": lambda: pyfq.unpack(packed, bits, shape[1], signed=True),
        "reference": lambda: reference.unpack(packed, bits, shape[1], signed=True),
        **copying(codes),
    }
    if torch and compressors:
        t, size = torch.from_numpy(packed), torch.Size(shape)
        unpack = compressors.unpack_from_int32
        contenders["compressed_tensors.unpack_from_int32"] = lambda: unpack(t, bits, size)
    return contenders


def random_codes(shape: tuple[int, int], bits: int, dtype: DTypeLike) -> NDArray:
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    return np.random.default_rng(0).integers(low, low + 2**bits, shape, dtype)


def shifted_together(codes, bits):
    """Return bytes of an array of NumPy or torch."""
    packed = codes[:, :: 8 // bits]
    for i in range(1, 8 // bits):
        packed = packed | codes[:, i :: 8 // bits] << bits * i
    return packed


def nibbles_in_numpy(packed, signed):
    codes = np.empty((packed.shape[0], 2 * packed.shape[1]), np.uint8)
    codes[:, ::2] = packed & 15
    codes[:, 1::2] = packed >> 4
    return (codes ^ 8).view(np.int8) - np.int8(8) if signed else codes
