"""The names, dtypes and shapes under which codes of `pyfq.quantize` stand in a file.

A quantized tensor ``X`` becomes, in the words of safetensors:

| name | dtype | shape | holds |
|---|---|---|---|
| ``X`` | I8 | that of X | codes; format ``int-quantized`` only |
| ``X_packed`` | I32 | ``(..., ceil(cols * bits / 32))`` | codes as `pyfq.pack` packs them; else |
| ``X_shape`` | I64 | ``(ndim,)`` | shape of X; beside ``X_packed`` |
| ``X_scale`` | F32 or F64 | ``(1,)``, ``(..., 1)``, ``(..., groups)`` | step between codes |
| ``X_zero_point`` | I8, I16, I32 | as ``X_scale``, or packed | code of 0; scheme affine |
| ``X_minimum`` | F32 or F64 | as ``X_scale`` | value of the lowest code; scheme minmax |

Here ``...`` and ``cols`` are of the tensor as `pyfq.exchange.rows` shapes it: a kernel
``(out, in, kh, kw)`` is a matrix ``(out, in * kh * kw)``. ``X_shape`` still has its four axes.

Reals are F64 for an F64 tensor, else F32. Codes and zero points are signed: those of the unsigned
schemes less ``2**(bits - 1)``; in ``X_packed`` every code stands with ``2**(bits - 1)`` added. Zero
points of a matrix per row or group, except in ``int-quantized``, are packed along the rows:
``(ceil(rows * bits / 32), groups)`` I32.

For a matrix called ``<module>.weight``, of scheme symmetric or affine, 8 bits at most, in groups
that divide its rows evenly, these are the formats ``int-quantized`` (8 bits) and ``pack-quantized``
(fewer) of compressed-tensors, and `quantization_config` names the module. Everything else has
the format ``pyfq-packed``: the same rules, where compressed-tensors has none. Its codes never stand
under the name of the tensor, where another tool could take them for weights.

Source: compressed-tensors 0.20, ``compressors/pack_quantized`` and ``compressors/naive_quantized``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import shown
from .._core.grid import PerGroup, PerRow, PerTensor, grid_of
from ..arrays.pack import pack, unpack
from ..arrays.quantize import Quantized
from ..io.dtypes import DTYPES, nbytes_of
from .methods.quantize import Quantize
from .rows import Rows, matrix_shape

#: Dtype word and shape of the tensors of a file, by name.
Declaration = dict[str, tuple[str, tuple[int, ...]]]

INT, PACK, OWN = "int-quantized", "pack-quantized", "pyfq-packed"


def is_loadable_matrix(name: str, shape: Sequence[int]) -> bool:
    """Return whether compressed-tensors has formats for codes of a tensor."""
    return len(shape) == 2 and name.endswith(".weight")


def format_of(name: str, shape: Sequence[int], quantize: Quantize) -> str:
    """Return the format in which a quantized tensor is written."""
    if not is_loadable_matrix(name, shape) or quantize.bits > 8 or quantize.scheme == "minmax":
        return OWN
    if isinstance(quantize.granularity, PerGroup) and _short_group(shape, quantize.granularity):
        return OWN
    return INT if quantize.bits == 8 else PACK


def declare(
    name: str, word: str, shape: tuple[int, ...], quantize: Quantize, rows: Rows | None = None
) -> Declaration:
    """Return what a quantized tensor becomes, the widest dtype first."""
    bits, matrix = quantize.bits, matrix_shape(shape, rows)
    real = "F64" if word == "F64" else "F32"
    scale_shape = grid_of(matrix, quantize.granularity).parameter_shape or (1,)
    parts: Declaration = {}
    as_codes = format_of(name, shape, quantize) == INT
    if not as_codes:
        parts[f"{name}_shape"] = ("I64", (len(shape),))
    parts[f"{name}_scale"] = (real, scale_shape)
    if quantize.scheme == "minmax":
        parts[f"{name}_minimum"] = (real, scale_shape)
    if not as_codes:
        cols = matrix[-1] if matrix else 1
        parts[f"{name}_packed"] = ("I32", (*matrix[:-1], -(-cols * bits // 32)))
    if quantize.scheme == "affine":
        if not as_codes and _packs_zero_points(matrix, quantize):
            outputs, groups = scale_shape
            parts[f"{name}_zero_point"] = ("I32", (-(-outputs * bits // 32), groups))
        else:
            parts[f"{name}_zero_point"] = ("I8" if bits <= 8 else "I16", scale_shape)
    if as_codes:
        parts[name] = ("I8", shape)
    return parts


def encode(
    name: str, quantized: Quantized, quantize: Quantize, shape: tuple[int, ...] | None = None
) -> dict[str, NDArray]:
    """Return the arrays that `declare` declared, for a tensor of that shape if it is another."""
    matrix, bits = quantized.shape, quantized.bits
    shape = matrix if shape is None else shape
    as_codes = format_of(name, shape, quantize) == INT
    scale_shape = quantized.scale.shape or (1,)
    parts = {f"{name}_scale": quantized.scale.reshape(scale_shape)}
    if quantized.minimum is not None:
        parts[f"{name}_minimum"] = quantized.minimum.reshape(scale_shape)
    if quantized.zero_point is not None:
        zero_point = quantized.zero_point.reshape(scale_shape)
        if not as_codes and _packs_zero_points(matrix, quantize):
            along_rows = pack(np.ascontiguousarray(zero_point.T), bits, np.int32)
            zero_point = np.ascontiguousarray(along_rows.T)
        else:
            zero_point = _signed(zero_point, bits)
        parts[f"{name}_zero_point"] = zero_point
    codes = quantized.codes
    if as_codes:
        parts[name] = codes if quantized.signed else _signed(codes, bits)
    else:
        parts[f"{name}_shape"] = np.array(shape, np.int64)
        packed = pack(np.atleast_1d(codes), bits, np.int32)
        parts[f"{name}_packed"] = packed if matrix else packed.reshape(packed.shape[-1:])
    return parts


def decode(
    name: str,
    shape: tuple[int, ...],
    quantize: Quantize,
    parts: Mapping[str, NDArray],
    rows: Rows | None = None,
) -> Quantized:
    """Return the quantized tensor that `encode` took apart, of the shape that rows give it.

    Raises
    ------
    ValueError
        A part is missing, has another dtype or shape than declared, or holds what no scale, minimum
        or shape is.
    """
    bits, signed = quantize.bits, quantize.scheme == "symmetric"
    matrix = matrix_shape(shape, rows)
    parameter_shape = grid_of(matrix, quantize.granularity).parameter_shape
    for part, (word, its_shape) in declare(name, "F32", shape, quantize, rows).items():
        if part not in parts:
            raise ValueError(f"tensor {shown(part)} of {shown(name)} is missing")
        found = parts[part]
        kinds = (np.dtype("f4"), np.dtype("f8")) if word == "F32" else (DTYPES[word].carrier,)
        if found.shape != its_shape or found.dtype not in kinds:
            raise ValueError(
                f"tensor {shown(part)}: expected {word} {list(its_shape)}, "
                f"not {found.dtype} {list(found.shape)}"
            )
    scale = parts[f"{name}_scale"].reshape(parameter_shape)
    if not (np.isfinite(scale).all() and scale.all()):
        raise ValueError(f"tensor {shown(name + '_scale')}: expected finite numbers other than 0")
    as_codes = format_of(name, shape, quantize) == INT
    if as_codes:
        codes = parts[name] if signed else _unsigned(parts[name], bits)
    else:
        stored_shape = tuple(parts[f"{name}_shape"].tolist())
        if stored_shape != shape:
            raise ValueError(
                f"tensor {shown(name + '_shape')}: expected {shape}, not {stored_shape}"
            )
        cols = matrix[-1] if matrix else 1
        codes = unpack(parts[f"{name}_packed"], bits, cols, signed=signed).reshape(matrix)
    zero_point = minimum = None
    if quantize.scheme == "affine":
        zero_point = parts[f"{name}_zero_point"]
        if not as_codes and _packs_zero_points(matrix, quantize):
            along_rows = unpack(np.ascontiguousarray(zero_point.T), bits, matrix[0])
            zero_point = np.ascontiguousarray(along_rows.T)
        else:
            zero_point = _unsigned(zero_point, bits)
        zero_point = zero_point.reshape(parameter_shape)
    if quantize.scheme == "minmax":
        minimum = parts[f"{name}_minimum"].reshape(parameter_shape)
        if not np.isfinite(minimum).all():
            raise ValueError(f"tensor {shown(name + '_minimum')}: expected finite numbers")
    packed = pack(np.atleast_1d(codes), bits).reshape(*matrix[:-1], -1)
    return Quantized(packed, matrix, bits, signed, quantize.granularity, scale, zero_point, minimum)


def file_order(tensors: Sequence[Declaration]) -> Declaration:
    """Return all parts of several tensors in an order in which each is aligned in the file.

    The parts of a tensor stay together, so that it needs to be compressed once, except where
    their sizes would shift a wider dtype off its alignment: those parts go where they fit.
    """
    units: list[tuple[int, Declaration]] = []
    for parts in tensors:
        steps = [_step(*part) for part in parts.values()]
        widest = max((DTYPES[word].bits // 8 for word, _ in parts.values()), default=1)
        if min(steps, default=8) >= widest:
            units.append((min(steps, default=8), parts))
        else:
            units += [(_step(*part), {name: part}) for name, part in parts.items()]
    units.sort(key=lambda unit: -unit[0])
    return {name: part for _, parts in units for name, part in parts.items()}


def opens_in_transformers(tensors: Mapping[str, tuple[tuple[int, ...], Quantize]]) -> bool:
    """Return whether transformers makes floats of these quantized tensors when it loads them.

    It decompresses all by one scheme, the first, and takes weights that it does not find for ones
    that are to be trained.
    """
    schemes = _schemes_of(tensors)
    return len(schemes) <= 1 and sum(map(len, schemes.values())) == len(tensors)


def quantization_config(
    tensors: Mapping[str, tuple[tuple[int, ...], Quantize]], *, is_all: bool = True
) -> dict[str, Any] | None:
    """Return the ``quantization_config`` of ``config.json`` for the named tensors.

    None if compressed-tensors can express none of them. ``"dequantize": true`` stands there where
    transformers can obey it: it makes floats of codes when it loads them, so that embeddings may be
    quantized, and callers may go round a model's ``__call__``, which would else do it.

    Parameters
    ----------
    tensors : mapping of str to (tuple of int, Quantize)
        Shape of each quantized tensor, and how it was quantized.
    is_all : bool
        Whether no other tensor is in a form that is pyfq's own.
    """
    schemes = _schemes_of(tensors)
    if not schemes:
        return None
    formats = {kind for kind, *_ in schemes}
    dequantize = is_all and opens_in_transformers(tensors)
    return {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        **({"dequantize": True} if dequantize else {}),
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "config_groups": {
            f"group_{i}": {
                "targets": modules,
                "format": kind,
                "weights": {
                    "num_bits": bits,
                    "type": "int",
                    "symmetric": symmetric,
                    "dynamic": False,
                    **_strategy(granularity),
                },
                "input_activations": None,
                "output_activations": None,
            }
            for i, ((kind, bits, symmetric, granularity), modules) in enumerate(schemes.items())
        },
        "ignore": [],
    }


def _schemes_of(
    tensors: Mapping[str, tuple[tuple[int, ...], Quantize]],
) -> dict[tuple[Any, ...], list[str]]:
    """Return the modules of each scheme: format, bits, whether symmetric, granularity."""
    schemes: dict[tuple[Any, ...], list[str]] = {}
    for name, (shape, quantize) in tensors.items():
        kind = format_of(name, shape, quantize)
        if kind != OWN:
            granularity = quantize.granularity
            if isinstance(granularity, PerGroup) and granularity.size > shape[1]:
                granularity = PerRow()
            key = (kind, quantize.bits, quantize.scheme == "symmetric", granularity)
            schemes.setdefault(key, []).append(name.removesuffix(".weight"))
    return schemes


def _short_group(shape: Sequence[int], granularity: PerGroup) -> int:
    """Return the length of the short last group of a row; 0 if there is none."""
    return shape[1] % min(granularity.size, shape[1]) if shape[1] else 0


def _strategy(granularity: PerTensor | PerRow | PerGroup) -> dict[str, Any]:
    match granularity:
        case PerGroup(size):
            return {"strategy": "group", "group_size": size}
        case PerRow():
            return {"strategy": "channel", "group_size": None}
    return {"strategy": "tensor", "group_size": None}


def _packs_zero_points(matrix: Sequence[int], quantize: Quantize) -> bool:
    return len(matrix) == 2 and not isinstance(quantize.granularity, PerTensor)


def _step(word: str, shape: tuple[int, ...]) -> int:
    """Return the alignment, up to 8, that a tensor of this size leaves behind it."""
    return math.gcd(8, nbytes_of(word, shape))


def _signed(codes: NDArray, bits: int) -> NDArray:
    # For a whole word this is a flip of the top bit; narrower codes are within the word anyway.
    half = codes.dtype.type(2 ** (bits - 1))
    return (codes - half).view(f"int{8 * codes.itemsize}")


def _unsigned(codes: NDArray, bits: int) -> NDArray:
    unsigned = codes.view(f"uint{8 * codes.itemsize}")
    return unsigned + unsigned.dtype.type(2 ** (bits - 1))
