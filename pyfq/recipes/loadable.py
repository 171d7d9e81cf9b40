"""Codes that loaders of a model's directory know: those of compressed-tensors, in one scheme."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyfq._core.grid import PerGroup, PerRow
from pyfq.exchange.compressed_tensors import is_loadable_matrix
from pyfq.exchange.methods.quantize import Quantize
from pyfq.exchange.rule import Rule
from pyfq.recipes.recipe import Recipe

# Sizes of groups, the largest first; of few bits smaller ones, for an outlier costs more there.
_SIZES, _SIZES_OF_FEW_BITS = (128, 64, 32, 16), (64, 32, 16)


def loadable(
    recipe: Recipe,
    words: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    *,
    groups: bool = True,
    scales: bool = True,
) -> Recipe:
    """Return a recipe of one rule with codes such that loaders open what it makes of a model.

    Only matrices called ``<module>.weight`` are quantized then: a loader looks for the weights of
    other modules, as of convolutions, under their own names. Rows are split evenly, and all
    matrices in the same way. Fewer than 8 bits get scales of least error, and the lowest code, too,
    which symmetric codes otherwise leave out.

    Parameters
    ----------
    recipe : Recipe
        The rule with a method is the last; the others leave tensors out.
    words, shapes : mapping of str to str, to sequence of int
        Dtype word and shape of each tensor.
    groups, scales : bool
        Whether the sizes of groups, and how scales are found, may be chosen.

    Returns
    -------
    Recipe
        The same recipe where compressed-tensors has no words for the rule, or where matrices hold
        less than half of the weights that it is to compress.

    Examples
    --------
    >>> recipe = Recipe((Rule(("*",), quantize=Quantize(4)),))
    >>> shapes = {"a.weight": (64, 96), "b.weight": (96, 64), "conv.weight": (4, 3, 2, 2)}
    >>> print(loadable(recipe, dict.fromkeys(shapes, "F32"), shapes).rules[0].quantize)
    int4 symmetric per 32 als
    """
    *others, rule = recipe.rules
    if not _is_of_codes(rule):
        return recipe
    sizes = {
        name: math.prod(shapes[name])
        for name, word in words.items()
        if recipe.number_for(name, word, shapes[name]) == len(recipe.rules)
    }
    matrices = [name for name in sizes if is_loadable_matrix(name, shapes[name])]
    if 2 * sum(sizes[name] for name in matrices) < sum(sizes.values()) or not matrices:
        return recipe
    quantize = rule.quantize
    if groups:
        quantize = _with_even_groups(quantize, {shapes[name][1] for name in matrices})
    if scales and quantize.bits < 8:
        whole = {"range": "full"} if quantize.scheme == "symmetric" else {}
        quantize = replace(quantize, calibration="als", **whole)
    match = ("*.weight",) if rule.match == ("*",) else rule.match
    return replace(recipe, rules=(*others, replace(rule, match=match, ndim=2, quantize=quantize)))


def _is_of_codes(rule: Rule) -> bool:
    quantize = rule.quantize
    if quantize is None or rule.lowrank is not None or rule.asks_for_bits:
        return False
    return quantize.bits <= 8 and quantize.scheme != "minmax"


def _with_even_groups(quantize: Quantize, cols: set[int]) -> Quantize:
    """Return codes in the largest groups that divide rows of all these lengths, else in rows."""
    sizes = _SIZES if quantize.bits == 8 else _SIZES_OF_FEW_BITS
    even = (PerGroup(size) for size in sizes if not any(length % size for length in cols))
    return replace(quantize, granularity=next(even, PerRow()))
