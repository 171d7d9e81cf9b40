"""What a tensor becomes by a rule, and the names under which its parts stand in a file.

`pyfq.exchange.compressed_tensors` describes the codes of `pyfq.quantize`. Otherwise a tensor ``X``
becomes

| format | name | dtype | shape | holds |
|---|---|---|---|---|
| ``cast`` | ``X`` | that of the precision | that of X | its floats, rounded |
| ``codebook`` | ``X_packed`` | U8 | ``(..., ceil(cols * bits / 8))`` | codes, packed |
| | ``X_levels`` | F32 or F64 | ``(1, levels)``, ``(rows, levels)`` | the table, or one a row |
| | ``X_scale`` | F32 or F64 | ``(1,)``, ``(..., 1)``, ``(..., groups)`` | what multiplies levels |
| | ``X_scale_packed`` | U8 | ``(ceil(scales * scale_bits / 8),)`` | in its place, codes of scales |
| | ``X_scale_scale`` | F32 or F64 | ``(ceil(scales / 256),)`` | step between these |
| | ``X_scale_minimum`` | F32 or F64 | ``(ceil(scales / 256),)`` | value of the lowest |
| ``entropy`` | ``X_stream`` | U8 | ``(bytes,)`` | codes, entropy-coded |
| | ``X_scale`` | F32 or F64 | ``(1,)``, ``(rows, 1)`` | what multiplies them |
| ``lossless`` | ``X_stream`` | U8 | ``(bytes,)`` | its floats, packed to the bit |
| ``lowrank`` | ``X_u`` | that of the precision, or of X | ``(rows, rank)`` | left factor |
| | ``X_v`` | the same | ``(rank, cols)`` | right factor |
| | ``X_residual_...`` | | | codes of what their product lacks, format ``pyfq-packed`` |

The stream of ``entropy`` is what `pyfq.entropy_encode` returns for the codes of all rows, ``(rows,
cols)``, whatever the number of axes; that of ``lossless`` what `pyfq.lossless_encode` returns for
the tensor, in its precision.

Here ``...``, ``rows`` and ``cols`` are of the tensor as `pyfq.exchange.rows` shapes it.
Matrices in a stack are factorized one by one: ``(..., rows, rank)`` and ``(..., rank, cols)``.

Quantized factors are ``X_u_packed``, ``X_u_scale`` and so on, also of format ``pyfq-packed``. Codes
from 0; reals F64 for an F64 tensor, else F32. These are names and shapes of `pyfq.Codebook` and
`pyfq.LowRank`, and of the parts of weights in the file of a network.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .._core.check import shown
from .._core.grid import PerGroup, PerRow, grid_of
from .._core.text import bytes_text, object_text, printable, shape_text
from ..arrays.codebook import CODEBOOK_PARTS, SCALE_BLOCK, Codebook, codebook_of, codebook_parts
from ..arrays.lossless import lossless_decode
from ..arrays.quantize import Quantized
from ..arrays.rate import RateQuantized
from ..io.dtypes import DTYPES, nbytes_of
from ..products.lowrank import LowRank
from . import compressed_tensors
from .compressed_tensors import Declaration
from .floats import computed_in, narrow, store, widen
from .lowrank_stack import LowRankStack
from .methods.codebook import QuantizeCodebook
from .methods.precision import PRECISIONS
from .methods.rate import QuantizeRate
from .methods.tables import placed
from .rows import matrix_shape
from .rule import Rule

#: What weights become; an array holds floats in the dtype they are stored in.
Form = Quantized | Codebook | RateQuantized | LowRank | LowRankStack | NDArray

COPY, CAST, DENSE = "copy", "cast", "dense"
CODEBOOK, ENTROPY, LOSSLESS, LOWRANK = "codebook", "entropy", "lossless", "lowrank"


@dataclass(frozen=True)
class TensorPlan:
    """What becomes of a tensor, known before its data.

    Attributes
    ----------
    name, word, shape
        The tensor: name, dtype word of safetensors, shape.
    rule : Rule or None
        The rule that decides, with what is a row of the tensor; None if the tensor is copied.
    format : str
        "copy", "dense", or a format of `pyfq.exchange.stored` or
        `pyfq.exchange.compressed_tensors`.
    parts : dict of str to (str, tuple of int)
        Dtype word and shape of each tensor of the file that it becomes.
    reason : str
        Why it is copied, in a few words; empty if it is not, or if that is not known.
    kept : bool
        Whether it is copied though a rule with a method decides, which would not make it smaller.
    """

    name: str
    word: str
    shape: tuple[int, ...]
    rule: Rule | None
    format: str
    parts: Declaration
    reason: str = ""
    kept: bool = False

    def __repr__(self) -> str:
        """Return name, shape, format and bytes, before and after."""
        return object_text(
            self,
            printable(self.name),
            f"{shape_text(self.shape)} {self.word}",
            self.format,
            f"{bytes_text(self.nbytes, 2)} to {bytes_text(self.nbytes_after, 2)}",
        )

    @property
    def nbytes(self) -> int:
        """Bytes before."""
        return nbytes_of(self.word, self.shape)

    @property
    def nbytes_after(self) -> int:
        """Bytes of all parts."""
        return sum(nbytes_of(word, shape) for word, shape in self.parts.values())

    @property
    def bits_per_weight(self) -> float:
        """Bits of all parts, scales and zero points included, per entry; 0 if there is none."""
        size = math.prod(self.shape)
        return 8 * self.nbytes_after / size if size else 0.0


def copied(name: str, word: str, shape: tuple[int, ...], reason: str = "") -> TensorPlan:
    """Return a tensor that is copied, and why."""
    return TensorPlan(name, word, shape, None, COPY, {name: (word, shape)}, reason)


def dense_tensor(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> TensorPlan:
    """Return a tensor whose rule is done, and which becomes floats again under its own name."""
    return TensorPlan(name, word, shape, rule, DENSE, {name: (word, shape)})


def declare(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> TensorPlan:
    """Return what a tensor becomes whose rule leaves nothing undecided, the widest dtype first.

    Raises
    ------
    ValueError
        If it is to be factorized and is no matrix, or its rank or the bytes of its codes are not
        known.
    """
    if rule.lowrank is not None:
        lowrank = rule.lowrank.for_shape(matrix_shape(shape, rule.rows))
        rule = replace(rule, lowrank=lowrank)
        return TensorPlan(name, word, shape, rule, LOWRANK, _lowrank_parts(name, word, shape, rule))
    if rule.codebook is not None:
        parts = _codebook_parts(name, word, matrix_shape(shape, rule.rows), rule.codebook)
        return TensorPlan(name, word, shape, rule, CODEBOOK, parts)
    if rule.rate is not None:
        parts = _entropy_parts(name, word, matrix_shape(shape, rule.rows), rule.rate)
        return TensorPlan(name, word, shape, rule, ENTROPY, parts)
    if rule.quantize is not None:
        kind = compressed_tensors.format_of(name, shape, rule.quantize)
        parts = compressed_tensors.declare(name, word, shape, rule.quantize, rule.rows)
        return TensorPlan(name, word, shape, rule, kind, parts)
    if rule.lossless is not None:
        parts = _lossless_parts(name, rule)
        return TensorPlan(name, word, shape, rule, LOSSLESS, parts)
    stored = stored_word(word, rule)
    kind = CAST if stored != word else DENSE
    return TensorPlan(name, word, shape, rule, kind, {name: (stored, shape)})


def stored_word(word: str, rule: Rule) -> str:
    """Return the word in which floats of a tensor, or its factors, are stored."""
    return word if rule.precision is None else PRECISIONS[rule.precision]


def reals(tensor: TensorPlan, form: Form, out: NDArray | None = None) -> NDArray:
    """Return the float32 or float64 that a form stands for, where it can in `out`."""
    if isinstance(form, LowRank | LowRankStack):
        return form.toarray()
    if isinstance(form, Quantized | Codebook | RateQuantized):
        return form.dequantize(out=out)
    word = tensor.word
    if word == "F64":  # what is narrower arrives as float32
        out = None
    values = widen(form, stored_word(word, tensor.rule), out)
    return values.astype(computed_in(word), copy=False)


def encode(tensor: TensorPlan, form: Form) -> dict[str, NDArray]:
    """Return the arrays of the parts of a tensor that is compressed."""
    name, rule = tensor.name, tensor.rule
    if isinstance(form, LowRank | LowRankStack):
        return _encode_lowrank(tensor, form)
    if isinstance(form, Codebook):
        return {f"{name}_{part}": array for part, array in codebook_parts(form).items()}
    if isinstance(form, RateQuantized):
        scale = form.scale.reshape(tensor.parts[f"{name}_scale"][1])
        return {f"{name}_scale": scale, f"{name}_stream": form.stream}
    if isinstance(form, Quantized):
        return compressed_tensors.encode(name, form, rule.quantize, tensor.shape)
    if rule.lossless is not None:
        array = np.ascontiguousarray(form).reshape(tensor.shape)
        return {f"{name}_stream": rule.lossless.apply(array).stream}
    return {name: form.reshape(tensor.shape)}


def decode(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> Form:
    """Return the form that `encode` took apart, in the shape of its rows.

    Raises
    ------
    ValueError
        A part is missing, has another dtype or shape than declared, or holds what it cannot.
    """
    name, rule = tensor.name, tensor.rule
    if rule.quantize is not None and rule.lowrank is None:
        return compressed_tensors.decode(name, tensor.shape, rule.quantize, parts, rule.rows)
    _refuse_other(tensor, parts)
    if rule.lowrank is not None:
        return _decode_lowrank(tensor, parts)
    if rule.codebook is not None:
        return _decode_codebook(name, matrix_shape(tensor.shape, rule.rows), rule.codebook, parts)
    if rule.rate is not None:
        return _decode_entropy(name, matrix_shape(tensor.shape, rule.rows), rule.rate, parts)
    if rule.lossless is not None:
        return _decode_lossless(tensor, parts[f"{name}_stream"])
    return parts[name]


def restore_tensor(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> Form:
    """Return a compressed tensor in the form it has, such as `Quantized`, or as an array.

    Entropy-coded weights are a `RateQuantized`, whose codes are decoded when they are asked for.
    That of a kernel ``(out, in, ...)`` whose rows are those of its first axis is of the matrix
    ``(out, in * ...)``.

    Parameters
    ----------
    tensor : TensorPlan
        What became of it.
    parts : mapping of str to NDArray
        The arrays that the plan declares.

    Raises
    ------
    ValueError
        A part is missing or has another dtype or shape than declared.
    """
    if tensor.rule is None or tensor.format == DENSE:
        return parts[tensor.name]
    return decode(tensor, parts)


def decompress_tensor(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> NDArray:
    """Return a compressed tensor as the floats that it stands for, in the dtype it had.

    Parameters
    ----------
    tensor : TensorPlan
        What became of it.
    parts : mapping of str to NDArray
        The arrays that the plan declares.

    Returns
    -------
    NDArray
        The bits of that dtype, as `pyfq.io` carries them: to the bit what `compress` writes with
        ``dense=True``. For factors that holds on one level of `pyfq.isa`: another may add up their
        product in another order.

    Raises
    ------
    ValueError
        A part is missing or has another dtype or shape than declared.
    """
    form = restore_tensor(tensor, parts)
    if tensor.rule is None or tensor.format == DENSE:
        return form
    if tensor.format == LOSSLESS and stored_word(tensor.word, tensor.rule) == tensor.word:
        return form
    values = reals(tensor, form)
    # Floats that are stored as float32 are those of the file, which are read-only.
    values = narrow(values, tensor.word, out=None if values is form else values)
    return values.reshape(tensor.shape)


def _real(word: str) -> str:
    return "F64" if word == "F64" else "F32"


def _codebook_parts(
    name: str, word: str, shape: tuple[int, ...], codebook: QuantizeCodebook
) -> Declaration:
    real, cols = _real(word), shape[-1] if shape else 1
    by_row = codebook.fits and isinstance(codebook.granularity, PerRow)
    tables = math.prod(shape[:-1]) if by_row else 1
    parts: Declaration = {f"{name}_levels": (real, (tables, codebook.count))}
    packed = {f"{name}_packed": ("U8", (*shape[:-1], -(-cols * codebook.width // 8)))}
    if not codebook.scaled:
        return parts | packed
    scale_shape = grid_of(shape, codebook.granularity).parameter_shape or (1,)
    if codebook.scale_bits is None:
        return parts | {f"{name}_scale": (real, scale_shape)} | packed
    scales = math.prod(scale_shape)
    block_shape = grid_of((scales,), PerGroup(SCALE_BLOCK)).parameter_shape
    parts |= {f"{name}_scale_{part}": (real, block_shape) for part in ("scale", "minimum")}
    scale_codes = ("U8", (-(-scales * codebook.scale_bits // 8),))
    return parts | packed | {f"{name}_scale_packed": scale_codes}


def _decode_codebook(
    name: str, shape: tuple[int, ...], codebook: QuantizeCodebook, parts: Mapping[str, NDArray]
) -> Codebook:
    own = {}
    for part in CODEBOOK_PARTS:
        array = parts.get(f"{name}_{part}")
        if array is None:
            continue
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"tensor '{name}_{part}': expected finite numbers")
        own[part] = array
    return codebook_of(own, shape, codebook.width, codebook.granularity, codebook.scale_bits)


def _entropy_parts(name: str, word: str, shape: tuple[int, ...], rate: QuantizeRate) -> Declaration:
    if rate.found is None:
        raise ValueError("rate: how many bytes its codes take is not known")
    scale_shape = grid_of(shape, rate.granularity).parameter_shape
    return {
        f"{name}_scale": (_real(word), (math.prod(scale_shape), 1) if scale_shape else (1,)),
        f"{name}_stream": ("U8", (rate.found.nbytes,)),
    }


def _decode_entropy(
    name: str, shape: tuple[int, ...], rate: QuantizeRate, parts: Mapping[str, NDArray]
) -> RateQuantized:
    scale = parts[f"{name}_scale"]
    if not np.isfinite(scale).all():
        raise ValueError(f"tensor '{name}_scale': expected finite numbers")
    scale = scale.reshape(grid_of(shape, rate.granularity).parameter_shape)
    with placed(f"tensor '{name}_stream'"):
        stream, step = parts[f"{name}_stream"], rate.found.step
        form = RateQuantized(stream, shape, rate.granularity, scale, step)
        if form.trellis != rate.trellis:
            raise ValueError(f"expected trellis {rate.trellis}, not {form.trellis}")
    return form


def _lossless_parts(name: str, rule: Rule) -> Declaration:
    if rule.lossless.found is None:
        raise ValueError("lossless: how many bytes its floats take is not known")
    return {f"{name}_stream": ("U8", (rule.lossless.found.nbytes,))}


def _decode_lossless(tensor: TensorPlan, stream: NDArray) -> NDArray:
    with placed(f"tensor '{tensor.name}_stream'"):
        carrier = DTYPES[stored_word(tensor.word, tensor.rule)].carrier
        array = lossless_decode(stream)
        if array.dtype != carrier or array.shape != tensor.shape:
            raise ValueError(
                f"expected {carrier} {list(tensor.shape)}, not {array.dtype} {list(array.shape)}"
            )
    return array


def _factor_shapes(shape: tuple[int, ...], rule: Rule) -> dict[str, tuple[int, ...]]:
    if len(shape) < 2:
        raise ValueError(
            f"lowrank is of matrices, not of shape {shape}: min_ndim = 2 in the rule leaves others "
            "out"
        )
    *stack, rows, cols = matrix_shape(shape, rule.rows)
    rank = rule.lowrank.for_shape((rows, cols)).rank
    if rank is None:
        raise ValueError("lowrank: the rank is not known")
    return {"u": (*stack, rows, rank), "v": (*stack, rank, cols)}


def _lowrank_parts(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> Declaration:
    parts: Declaration = {}
    for factor, its_shape in _factor_shapes(shape, rule).items():
        if rule.quantize is None:
            parts[f"{name}_{factor}"] = (stored_word(word, rule), its_shape)
        else:
            parts |= compressed_tensors.declare(f"{name}_{factor}", word, its_shape, rule.quantize)
    residual = rule.lowrank.residual
    if residual is not None:
        parts |= compressed_tensors.declare(f"{name}_residual", word, shape, residual, rule.rows)
    return dict(sorted(parts.items(), key=lambda part: -DTYPES[part[1][0]].bits))


def _encode_lowrank(tensor: TensorPlan, low: LowRank | LowRankStack) -> dict[str, NDArray]:
    name, word, rule = tensor.name, tensor.word, tensor.rule
    parts: dict[str, NDArray] = {}
    for factor, array in ((f"{name}_u", low.u), (f"{name}_v", low.v)):
        if isinstance(array, Quantized):
            parts |= compressed_tensors.encode(factor, array, rule.quantize)
        else:
            parts[factor] = store(array, stored_word(word, rule))
    if low.residual is not None:
        parts |= compressed_tensors.encode(
            f"{name}_residual", low.residual, rule.lowrank.residual, tensor.shape
        )
    return parts


def _decode_lowrank(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> LowRank | LowRankStack:
    name, word, shape, rule = tensor.name, tensor.word, tensor.shape, tensor.rule
    stored, factors = stored_word(word, rule), {}
    for factor, its_shape in _factor_shapes(shape, rule).items():
        part = f"{name}_{factor}"
        if rule.quantize is None:
            # A reader of a file may give arrays of its byte order, or that nobody owns.
            array = widen(np.ascontiguousarray(parts[part]), stored)
            factors[factor] = array.astype(computed_in(word), copy=False)
        else:
            factors[factor] = compressed_tensors.decode(part, its_shape, rule.quantize, parts)
    residual = rule.lowrank.residual
    if residual is not None:
        residual = compressed_tensors.decode(f"{name}_residual", shape, residual, parts, rule.rows)
    kind = LowRank if len(matrix_shape(shape, rule.rows)) == 2 else LowRankStack
    return kind(**factors, residual=residual)


def _refuse_other(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> None:
    for part, (word, shape) in tensor.parts.items():
        if part not in parts:
            raise ValueError(f"tensor {shown(part)} of {shown(tensor.name)} is missing")
        found = parts[part]
        if found.shape != shape or found.dtype != DTYPES[word].carrier:
            raise ValueError(
                f"tensor {shown(part)}: expected {word} {list(shape)}, "
                f"not {found.dtype} {list(found.shape)}"
            )
