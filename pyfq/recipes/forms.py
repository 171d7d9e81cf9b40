"""The forms that a rule gives a tensor, and the names under which they stand in a file.

Codes of `pyfq.quantize` are told of in `pyfq.recipes.layout`. Of the others, a tensor ``X`` becomes

| format | name | dtype | shape | holds |
|---|---|---|---|---|
| ``cast`` | ``X`` | that of the precision | that of X | its floats, rounded |
| ``codebook`` | ``X_packed`` | U8 | ``(..., ceil(cols * bits / 8))`` | codes, packed |
| | ``X_levels`` | F32 or F64 | ``(1, levels)``, ``(rows, levels)`` | the table, or one a row |
| | ``X_scale`` | F32 or F64 | ``(1,)``, ``(..., 1)``, ``(..., groups)`` | what multiplies levels |
| | ``X_scale_packed`` | U8 | ``(ceil(scales * scale_bits / 8),)`` | in its place, codes of scales |
| | ``X_scale_scale`` | F32 or F64 | ``(ceil(scales / 256),)`` | step between these |
| | ``X_scale_minimum`` | F32 or F64 | ``(ceil(scales / 256),)`` | value of the lowest |
| ``lowrank`` | ``X_u`` | that of the precision, or of X | ``(rows, rank)`` | left factor |
| | ``X_v`` | the same | ``(rank, cols)`` | right factor |
| | ``X_residual_...`` | | | codes of what their product lacks, format ``pyfq-packed`` |

Here ``...``, ``rows`` and ``cols`` are of the tensor as `pyfq.recipes.rows` shapes it.
Matrices in a stack are factorized one by one: ``(..., rows, rank)`` and ``(..., rank, cols)``.

Quantized factors are ``X_u_packed``, ``X_u_scale`` and so on, also of format ``pyfq-packed``. Codes
from 0; reals F64 for an F64 tensor, else F32. These are names and shapes of `pyfq.Codebook` and
`pyfq.LowRank`, and of the parts of weights in the file of a network.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pyfq._core.check import FLOATS, as_input, refuse_not_finite, shown
from pyfq._core.grid import PerGroup, PerRow, grid_of
from pyfq.arrays.codebook import CODEBOOK_PARTS, SCALE_BLOCK, Codebook, codebook_of, codebook_parts
from pyfq.arrays.quantize import Quantized
from pyfq.io.dtypes import DTYPES, nbytes_of
from pyfq.products.lowrank import LowRank, break_even_rank
from pyfq.recipes import layout
from pyfq.recipes.floats import computed_in, store, widen
from pyfq.recipes.layout import Declaration
from pyfq.recipes.methods import PRECISIONS, QuantizeCodebook
from pyfq.recipes.recipe import Rule
from pyfq.recipes.rows import matrix_shape
from pyfq.recipes.stack import LowRankStack

#: What weights become; an array holds floats in the dtype they are stored in.
Form = Quantized | Codebook | LowRank | LowRankStack | NDArray

CAST, CODEBOOK, LOWRANK, DENSE = "cast", "codebook", "lowrank", "dense"


def format_of(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> str:
    """Return the format in which a tensor is written that a rule does not copy."""
    if rule.lowrank is not None:
        return LOWRANK
    if rule.codebook is not None:
        return CODEBOOK
    if rule.quantize is not None:
        return layout.format_of(name, shape, rule.quantize)
    return CAST if _stored_as(word, rule) != word else DENSE


def declare(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> Declaration:
    """Return what a tensor becomes whose rule leaves nothing undecided, the widest dtype first.

    Raises
    ------
    ValueError
        If it is to be factorized and is no matrix, or its rank is not known.
    """
    if rule.lowrank is not None:
        return _declare_lowrank(name, word, shape, rule)
    if rule.codebook is not None:
        return _declare_codebook(name, word, matrix_shape(shape, rule.rows), rule.codebook)
    if rule.quantize is not None:
        return layout.declare(name, word, shape, rule.quantize, rule.rows)
    return {name: (_stored_as(word, rule), shape)}


def by_rows(w: NDArray, rule: Rule) -> NDArray:
    """Return a tensor, as `widen` gives it, in the shape in which its rows lie along an axis."""
    shape = matrix_shape(w.shape, rule.rows)
    if shape == w.shape or not (rule.shrinks or rule.prune):
        return w
    return as_input(w, "w", FLOATS).reshape(shape)


def prune(w: NDArray, shape: tuple[int, ...], rule: Rule) -> NDArray:
    """Return a tensor of that shape, as `by_rows` gives it, with the zeros of its rule."""
    if rule.prune.along == "row" or w.shape == shape:
        return rule.prune.apply(w, np.empty_like(w)).weights
    last = np.ascontiguousarray(np.moveaxis(w.reshape(shape), 1, -1))
    pruned = np.moveaxis(rule.prune.apply(last, np.empty_like(last)).weights, -1, 1)
    return np.ascontiguousarray(pruned).reshape(w.shape)


def make(w: NDArray, word: str, rule: Rule) -> Form:
    """Return the form of a tensor, as `by_rows` gives it and after pruning."""
    if rule.lowrank is not None:
        return _factorize(w, word, rule)
    if rule.codebook is not None:
        return rule.codebook.apply(w)
    if rule.quantize is not None:
        return rule.quantize.apply(w)
    refuse_not_finite({"w": w})
    return store(w, _stored_as(word, rule))


def reals(form: Form, word: str, rule: Rule, out: NDArray | None = None) -> NDArray:
    """Return the float32 or float64 that a form stands for, where it can in `out`."""
    if isinstance(form, LowRank | LowRankStack):
        return form.toarray()
    if isinstance(form, Quantized | Codebook):
        return form.dequantize(out=out)
    if word == "F64":  # what is narrower arrives as float32
        out = None
    return widen(form, _stored_as(word, rule), out).astype(computed_in(word), copy=False)


def encode(
    name: str, word: str, shape: tuple[int, ...], form: Form, rule: Rule
) -> dict[str, NDArray]:
    """Return the arrays that `declare` declared."""
    if isinstance(form, LowRank | LowRankStack):
        return _encode_lowrank(name, word, shape, form, rule)
    if isinstance(form, Codebook):
        return {f"{name}_{part}": array for part, array in codebook_parts(form).items()}
    if isinstance(form, Quantized):
        return layout.encode(name, form, rule.quantize, shape)
    return {name: form.reshape(shape)}


def decode(
    name: str, word: str, shape: tuple[int, ...], rule: Rule, parts: Mapping[str, NDArray]
) -> Form:
    """Return the form that `encode` took apart, in the shape that `by_rows` gives it.

    Raises
    ------
    ValueError
        A part is missing, has another dtype or shape than declared, or holds what it cannot.
    """
    if rule.quantize is not None and rule.lowrank is None:
        return layout.decode(name, shape, rule.quantize, parts, rule.rows)
    _refuse_other(name, declare(name, word, shape, rule), parts)
    if rule.lowrank is not None:
        return _decode_lowrank(name, word, shape, rule, parts)
    if rule.codebook is not None:
        return _decode_codebook(name, matrix_shape(shape, rule.rows), rule.codebook, parts)
    return parts[name]


def with_rank(shape: tuple[int, ...], rule: Rule) -> Rule:
    """Return a rule with the rank that a ratio gives tensors of a shape, if it asks for one."""
    if rule.lowrank is None:
        return rule
    return replace(rule, lowrank=rule.lowrank.for_shape(matrix_shape(shape, rule.rows)))


def why_no_gain(word: str, shape: tuple[int, ...], rule: Rule, declared: Declaration) -> str | None:
    """Return why a tensor is better copied: codes or factors would take no less of anything."""
    if rule.lowrank is not None:
        rows, cols = matrix_shape(shape, rule.rows)[-2:]
        rank, most = with_rank(shape, rule).lowrank.rank, break_even_rank(rows, cols)
        if rank > most:
            advice = f"the largest rank that saves is {most}" if most else "no rank saves any"
            return f"rank {rank} takes no fewer multiplications than {rows} x {cols}: {advice}"
    before = nbytes_of(word, shape)
    after = sum(nbytes_of(*part) for part in declared.values())
    if not rule.shrinks or after < before:
        return None
    if after == before:
        return f"would stay at {before} bytes"
    return f"would grow from {before} to {after} bytes"


def _stored_as(word: str, rule: Rule) -> str:
    """Return the word in which floats of a tensor, or its factors, are stored."""
    return word if rule.precision is None else PRECISIONS[rule.precision]


def _real(word: str) -> str:
    return "F64" if word == "F64" else "F32"


def _declare_codebook(
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


def _declare_lowrank(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> Declaration:
    parts: Declaration = {}
    for factor, its_shape in _factor_shapes(shape, rule).items():
        if rule.quantize is None:
            parts[f"{name}_{factor}"] = (_stored_as(word, rule), its_shape)
        else:
            parts |= layout.declare(f"{name}_{factor}", word, its_shape, rule.quantize)
    residual = rule.lowrank.residual
    if residual is not None:
        parts |= layout.declare(f"{name}_residual", word, shape, residual, rule.rows)
    return dict(sorted(parts.items(), key=lambda part: -DTYPES[part[1][0]].bits))


def _factorize(w: NDArray, word: str, rule: Rule) -> LowRank | LowRankStack:
    """Return factors rounded or quantized as they are stored, and the residual of those."""
    low = rule.lowrank.apply(w) if w.ndim == 2 else rule.lowrank.apply_to_stack(w)
    kind, factors = type(low), {}
    for name, factor in (("u", low.u), ("v", low.v)):
        if rule.quantize is None:
            stored = _stored_as(word, rule)
            factors[name] = widen(store(factor, stored), stored).astype(w.dtype, copy=False)
        else:
            factors[name] = rule.quantize.apply(factor)
    low = kind(**factors)
    if rule.lowrank.residual is None:
        return low
    lacking = w - low.toarray()
    return kind(**factors, residual=rule.lowrank.residual.apply(lacking))


def _encode_lowrank(
    name: str, word: str, shape: tuple[int, ...], low: LowRank | LowRankStack, rule: Rule
) -> dict[str, NDArray]:
    parts: dict[str, NDArray] = {}
    for factor, array in ((f"{name}_u", low.u), (f"{name}_v", low.v)):
        if isinstance(array, Quantized):
            parts |= layout.encode(factor, array, rule.quantize)
        else:
            parts[factor] = store(array, _stored_as(word, rule))
    if low.residual is not None:
        parts |= layout.encode(f"{name}_residual", low.residual, rule.lowrank.residual, shape)
    return parts


def _decode_lowrank(
    name: str, word: str, shape: tuple[int, ...], rule: Rule, parts: Mapping[str, NDArray]
) -> LowRank | LowRankStack:
    stored, factors = _stored_as(word, rule), {}
    for factor, its_shape in _factor_shapes(shape, rule).items():
        part = f"{name}_{factor}"
        if rule.quantize is None:
            # A reader of a file may give arrays of its byte order, or that nobody owns.
            array = widen(np.ascontiguousarray(parts[part]), stored)
            factors[factor] = array.astype(computed_in(word), copy=False)
        else:
            factors[factor] = layout.decode(part, its_shape, rule.quantize, parts)
    residual = rule.lowrank.residual
    if residual is not None:
        residual = layout.decode(f"{name}_residual", shape, residual, parts, rule.rows)
    kind = LowRank if len(matrix_shape(shape, rule.rows)) == 2 else LowRankStack
    return kind(**factors, residual=residual)


def _refuse_other(name: str, declared: Declaration, parts: Mapping[str, NDArray]) -> None:
    for part, (word, shape) in declared.items():
        if part not in parts:
            raise ValueError(f"tensor {shown(part)} of {shown(name)} is missing")
        found = parts[part]
        if found.shape != shape or found.dtype != DTYPES[word].carrier:
            raise ValueError(
                f"tensor {shown(part)}: expected {word} {list(shape)}, "
                f"not {found.dtype} {list(found.shape)}"
            )
