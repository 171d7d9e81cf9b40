"""Codes that loaders of a model's directory know: those of compressed-tensors, in one scheme."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyfq._core.grid import PerGroup, PerRow
from pyfq.exchange.compressed_tensors import is_loadable_matrix
from pyfq.exchange.methods.quantize import Quantize, fitting_of
from pyfq.exchange.rule import Rule
from pyfq.recipes.recipe import Recipe

# Groups of fewer weights than this cost too many scales.
_LEAST = 16


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
    matrices in the same way. With scales of least error symmetric codes have the lowest code, too,
    which they otherwise leave out.

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
    calibration = fitting_of(quantize.bits).calibration
    if scales and calibration == "als":
        whole = {"range": "full"} if quantize.scheme == "symmetric" else {}
        quantize = replace(quantize, calibration=calibration, **whole)
    match = ("*.weight",) if rule.match == ("*",) else rule.match
    return replace(recipe, rules=(*others, replace(rule, match=match, ndim=2, quantize=quantize)))


def _is_of_codes(rule: Rule) -> bool:
    quantize = rule.quantize
    if quantize is None or rule.lowrank is not None or rule.asks_for_bits:
        return False
    return quantize.bits <= 8 and quantize.scheme != "minmax"


def _with_even_groups(quantize: Quantize, cols: set[int]) -> Quantize:
    """Return codes in groups that divide rows of all these lengths, else in rows.

    Groups are those that such codes have, or half of them, a quarter and so on.
    """
    size = fitting_of(quantize.bits).groups.size
    while size >= _LEAST and any(length % size for length in cols):
        size //= 2
    return replace(quantize, granularity=PerGroup(size) if size >= _LEAST else PerRow())
