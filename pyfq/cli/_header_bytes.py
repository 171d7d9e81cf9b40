"""How many bytes of a target the headers of files take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pyfq.cli._destination import Destination
from pyfq.cli._report import bytes_text
from pyfq.cli._source import Source
from pyfq.cli._writing import nbytes_of_files
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import TensorPlan
from pyfq.io.dtypes import nbytes_of
from pyfq.recipes import Coded, Recipe
from pyfq.recipes.choose import TooSmall
from pyfq.recipes.declare import open_rules, plan_each

# Numbers with as many digits as there are.
_STEP, _SQNR = 0.01234567890123, 12.345678901234567


def without_headers(source: Source, recipe: Recipe, destination: Destination) -> Recipe:
    """Return a recipe whose budget has about the bytes that headers leave to tensors.

    Parameters
    ----------
    source : Source
        What is compressed.
    recipe : Recipe
        How.
    destination : Destination
        What is written: files of each kind have headers of their own.

    Raises
    ------
    ValueError
        If they leave none.
    """
    if recipe.budget is None or recipe.budget.nbytes is None:
        return recipe
    nbytes, headers = recipe.budget.nbytes, _header_bytes(source, recipe, destination)
    if headers >= nbytes:
        asked, count = bytes_text(nbytes), len(destination.files)
        what = f"a file of {asked} is less than its header"
        if count > 1:
            what = f"{count} files of {asked} together are less than their headers"
        raise ValueError(f"{what}, {bytes_text(headers)}")
    return replace(recipe, budget=replace(recipe.budget, nbytes=nbytes - headers))


def choose_within(
    source: Source,
    recipe: Recipe,
    destination: Destination,
    choose: Callable[[Recipe], dict[str, Rule]],
) -> tuple[dict[str, Rule], list[TensorPlan]]:
    """Choose what becomes of tensors such that files, headers counted, are within the budget.

    Headers name what was chosen, so their bytes are known behind the choice. Where they are more
    than what was left to them, tensors get so many less, and the choice is made again.

    Parameters
    ----------
    source, recipe, destination
        See `without_headers`.
    choose : callable
        Returns the rules that a recipe, whose budget is one of tensors alone, gives open ones.

    Returns
    -------
    dict of str to Rule
        What was chosen.
    list of TensorPlan
        What becomes of all tensors with it.

    Raises
    ------
    ValueError
        If the budget is too small.
    """
    of_tensors = without_headers(source, recipe, destination)
    rules = open_rules(source.words, source.shapes, recipe).values()
    asks = any(rule.asks_for_bits for rule in rules)
    while True:
        try:
            decided = choose(of_tensors)
        except TooSmall as e:
            least = e.least + recipe.budget.nbytes - of_tensors.budget.nbytes
            raise ValueError(
                f"a target of these tensors takes at least about {bytes_text(least)}, headers "
                f"counted, not {bytes_text(recipe.budget.nbytes)}: {e}"
            ) from e
        tensors = plan_each(source.words, source.shapes, recipe, decided=decided)
        if recipe.budget is None or recipe.budget.nbytes is None:
            return decided, tensors
        excess = _nbytes(source, destination, tensors) - recipe.budget.nbytes
        if excess <= 0:
            return decided, tensors
        if not asks:
            raise ValueError(
                f"nbytes of the budget must be at least {recipe.budget.nbytes + excess}, headers "
                f"counted, not {recipe.budget.nbytes}: no tensor has bits to choose"
            )
        nbytes = max(of_tensors.budget.nbytes - excess, 1)
        of_tensors = replace(recipe, budget=replace(recipe.budget, nbytes=nbytes))


def _header_bytes(source: Source, recipe: Recipe, destination: Destination) -> int:
    """Return about how many bytes names, shapes and methods take in the files of weights."""
    words, shapes = source.words, source.shapes
    decided = {}
    for name, rule in open_rules(words, shapes, recipe).items():
        nbytes = max(nbytes_of(words[name], shapes[name]) // 8, 1)
        decided[name] = _decided(rule, recipe, nbytes)
    tensors = plan_each(words, shapes, recipe, decided=decided)
    stored = sum(tensor.nbytes_after for tensor in tensors)
    return _nbytes(source, destination, tensors) - stored


def _nbytes(source: Source, destination: Destination, tensors: Sequence[TensorPlan]) -> int:
    by_name: Mapping[str, TensorPlan] = {tensor.name: tensor for tensor in tensors}
    return nbytes_of_files(source, destination, by_name)


def _decided(rule: Rule, recipe: Recipe, nbytes: int) -> Rule:
    if rule.lossless is not None:
        return rule.with_coded(Coded(nbytes))
    if rule.rate is not None:
        return rule.with_coded(Coded(nbytes, _STEP, _SQNR))
    if rule.asks_for_bits:
        return rule.with_bits(recipe.budget.widths_for(rule)[0])
    return rule.with_rank(1)
