"""The arithmetic of a rule: the array of a tensor in, pruned, and in the form it gets."""

import numpy as np
from numpy.typing import NDArray

from pyfq._core.check import FLOATS, as_input, refuse_not_finite
from pyfq.exchange.floats import store, widen
from pyfq.exchange.lowrank_stack import LowRankStack
from pyfq.exchange.methods.prune import Prune
from pyfq.exchange.rows import matrix_shape
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import Form, TensorPlan, stored_word
from pyfq.products.lowrank import LowRank


def by_rows(w: NDArray, rule: Rule) -> NDArray:
    """Return a tensor, as `widen` gives it, in the shape in which its rows lie along an axis."""
    shape = matrix_shape(w.shape, rule.rows)
    if shape == w.shape or not (rule.shrinks or rule.prune):
        return w
    return as_input(w, "w", FLOATS).reshape(shape)


def prune(w: NDArray, shape: tuple[int, ...], method: Prune) -> NDArray:
    """Return the array of a tensor of a shape, as `by_rows` gives it, with zeros."""
    if method.along == "row" or w.shape == shape:
        return method.apply(w, np.empty_like(w)).weights
    last = np.ascontiguousarray(np.moveaxis(w.reshape(shape), 1, -1))
    pruned = np.moveaxis(method.apply(last, np.empty_like(last)).weights, -1, 1)
    return np.ascontiguousarray(pruned).reshape(w.shape)


def kept_floats(array: NDArray, word: str, rule: Rule) -> NDArray:
    """Return the floats of a tensor that are to be packed, in its shape."""
    if rule.keeps_bits:
        return np.ascontiguousarray(array)
    w = by_rows(widen(array, word), rule)
    if rule.prune is not None:
        w = prune(w, array.shape, rule.prune)
    refuse_not_finite({"w": w})
    return np.ascontiguousarray(store(w, stored_word(word, rule))).reshape(array.shape)


def make(w: NDArray, tensor: TensorPlan) -> Form:
    """Return the form of a tensor whose array is as `by_rows` gives it, after pruning."""
    rule = tensor.rule
    if rule.lowrank is not None:
        return _factorize(w, tensor)
    if rule.codebook is not None:
        return rule.codebook.apply(w)
    if rule.rate is not None:
        return rule.rate.apply(w)
    if rule.quantize is not None:
        return rule.quantize.apply(w)
    refuse_not_finite({"w": w})
    return store(w, stored_word(tensor.word, rule))


def _factorize(w: NDArray, tensor: TensorPlan) -> LowRank | LowRankStack:
    """Return factors rounded or quantized as they are stored, and the residual of those."""
    rule = tensor.rule
    low = rule.lowrank.apply(w) if w.ndim == 2 else rule.lowrank.apply_to_stack(w)
    kind, factors = type(low), {}
    for name, factor in (("u", low.u), ("v", low.v)):
        if rule.quantize is None:
            stored = stored_word(tensor.word, rule)
            factors[name] = widen(store(factor, stored), stored).astype(w.dtype, copy=False)
        else:
            factors[name] = rule.quantize.apply(factor)
    low = kind(**factors)
    if rule.lowrank.residual is None:
        return low
    lacking = w - low.toarray()
    return kind(**factors, residual=rule.lowrank.residual.apply(lacking))
