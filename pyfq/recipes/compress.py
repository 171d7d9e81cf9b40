"""Compress a model tensor by tensor, and tell how far each is from the original."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfq._core.check import shown
from pyfq._core.text import object_text
from pyfq.arrays.distortion import distortion
from pyfq.exchange.floats import narrow, rounded, widen
from pyfq.exchange.methods.coded import Coded
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import DENSE, LOSSLESS, Form, TensorPlan, encode, reals
from pyfq.io.dtypes import carrier_shape, word_of
from pyfq.recipes.choose import choose_bits, refuse_budget
from pyfq.recipes.declare import naming, open_rules, plan
from pyfq.recipes.make import by_rows, make, prune
from pyfq.recipes.measure import code, measure
from pyfq.recipes.recipe import Recipe
from pyfq.recipes.streams import Streams


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed tensor.

    What is measured is the floats that `decompress_tensor` returns, in the dtype of the original:
    the same as with ``dense=True``.

    Attributes
    ----------
    plan : TensorPlan
        What was to be done.
    parts : dict of str to NDArray
        The arrays that the plan declares.
    zeros : float
        Fraction of the entries that are zero now; nan for a copy.
    sqnr : float
        Signal-to-noise ratio against the original in dB, inf without error; nan for a copy.
    cosine : float
        Cosine against the original; nan for a copy.
    max_abs : float
        Largest error; nan for a copy.
    """

    plan: TensorPlan
    parts: dict[str, NDArray]
    zeros: float = math.nan
    sqnr: float = math.nan
    cosine: float = math.nan
    max_abs: float = math.nan

    def __repr__(self) -> str:
        """Return the plan, and what it left of the tensor."""
        error = None if math.isnan(self.sqnr) else f"{self.sqnr:.4g} dB"
        return object_text(self, repr(self.plan), error)


def compress(
    tensors: Mapping[str, NDArray],
    recipe: Recipe,
    *,
    words: Mapping[str, str] | None = None,
    dense: bool = False,
) -> Iterator[Compressed]:
    """Compress a model, one tensor at a time.

    Parameters
    ----------
    tensors : mapping of str to NDArray
        The model; a lazy one, such as `pyfq.io.open_checkpoint` returns, is read tensor by tensor:
        twice, if the recipe has a budget, codes entropies, packs floats, or asks for ranks by
        energy or tolerance; some times more, if the budget is one of entropy-coded tensors.
    recipe : Recipe
        What is to be done.
    words : mapping of str to str, optional
        Dtype word of each tensor, needed where arrays carry bits (BF16 in uint16).
    dense : bool
        Whether compressed tensors become floats again, under their own name and dtype.

    Yields
    ------
    Compressed
        Each tensor, in the order of the mapping.

    Raises
    ------
    ValueError
        If a tensor cannot be compressed as asked; the message names it and the reason. If a budget
        is too small; the message says which would do.

    Examples
    --------
    >>> from pyfq.recipes import Quantize, Recipe, Rule
    >>> recipe = Recipe((Rule(("*.weight",), quantize=Quantize(8)),))
    >>> model = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.ones(2, np.float32)}
    >>> for tensor in compress(model, recipe):
    ...     print(tensor.plan.format, list(tensor.parts))
    int-quantized ['a.weight_scale', 'a.weight']
    copy ['a.bias']
    """
    if words is None:
        words = {name: _word_of(name, array) for name, array in tensors.items()}
    shapes = {name: tensors[name].shape for name in tensors}
    refuse_budget(words, shapes, recipe)
    streams = Streams(max((tensors[name].nbytes for name in tensors), default=0))
    findings = {
        name: measure(name, words[name], tensors[name], rule, recipe.budget, streams=streams)
        for name, rule in open_rules(words, shapes, recipe).items()
    }

    def coded(name: str, rule: Rule, sampled: bool) -> Coded:
        return code(name, words[name], tensors[name], rule, sampled=sampled, streams=streams)

    decided = choose_bits(words, shapes, recipe, findings, coded)
    for tensor in plan(words, shapes, recipe, dense=dense, decided=decided):
        yield compress_tensor(tensor, tensors[tensor.name], streams)


def compress_tensor(
    tensor: TensorPlan, array: NDArray, streams: Streams | None = None
) -> Compressed:
    """Do what a plan says to the tensor's array, unless its codes are in `streams`.

    Raises
    ------
    ValueError
        If the tensor cannot be compressed as asked; the message names it and the reason.
    """
    if tensor.rule is None:
        return Compressed(tensor, {tensor.name: array})
    with naming(tensor.name):
        if tensor.rule.keeps_bits:
            return _same_bits(tensor, array, streams)
        # Every `del` here is for the peak of memory: a few times the tensor, not ten times.
        v = w = by_rows(widen(array, tensor.word), tensor.rule)
        del array
        form = None
        if streams is not None and tensor.rule.rate is not None:
            form = streams.take(tensor.name, tensor.rule.rate.found)
        if form is None and tensor.rule.prune is not None:
            v = prune(w, tensor.shape, tensor.rule.prune)
        form = make(v, tensor) if form is None else form
        # Pruned weights are not needed any more, and are ours: so is their memory.
        v = reals(tensor, form, out=None if v is w else v)
        if tensor.format == DENSE:
            del form
            form = narrow(v, tensor.word, out=v)
            v = widen(form, tensor.word, out=v)
        else:
            v = rounded(v, tensor.word)
        error = distortion(w, v)
        zeros = 1 - np.count_nonzero(v) / v.size
        del w, v
        parts = _parts(tensor, form, streams)
        return Compressed(tensor, parts, zeros, error.sqnr, error.cosine, error.max_abs)


def _parts(tensor: TensorPlan, form: Form, streams: Streams | None) -> dict[str, NDArray]:
    """Return the parts of a tensor in some form; of floats packed before, their stream."""
    if tensor.format == DENSE:
        return {tensor.name: form.reshape(tensor.shape)}
    if tensor.format == LOSSLESS and streams is not None:
        made = streams.take(tensor.name, tensor.rule.lossless.found)
        if made is not None:
            return {f"{tensor.name}_stream": made.stream}
    return encode(tensor, form)


def _same_bits(tensor: TensorPlan, array: NDArray, streams: Streams | None) -> Compressed:
    """Pack an array as it is, whatever its numbers are."""
    bits = array.view(f"u{array.itemsize}")
    if not tensor.word.endswith(("FNUZ", "E8M0")):  # which have no -0
        bits = bits << 1
    zeros = 0.0 if tensor.word.endswith("E8M0") else 1 - np.count_nonzero(bits) / bits.size
    return Compressed(tensor, _parts(tensor, array, streams), zeros, math.inf, 1.0, 0.0)


def _word_of(name: str, array: NDArray) -> str:
    word = word_of(array.dtype)
    if word is None or carrier_shape(word, array.shape) != array.shape:
        raise ValueError(f"tensor {shown(name)}: safetensors has no word for dtype {array.dtype}")
    return word
