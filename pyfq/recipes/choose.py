"""The choice of bits within a budget, and of ranks, by what was measured of all tensors."""

import math
from collections.abc import Mapping, Sequence

from pyfq._core.check import shown
from pyfq.arrays.allocate import Trial, choose_trials, refuse_small
from pyfq.exchange.rule import Rule
from pyfq.recipes.declare import naming, open_rules, plan_tensor
from pyfq.recipes.measure import Finding
from pyfq.recipes.recipe import Recipe

_WHAT = "bits_per_weight of the budget"


def refuse_budget(
    words: Mapping[str, str], shapes: Mapping[str, Sequence[int]], recipe: Recipe
) -> None:
    """Refuse a budget that no choice of bits can meet, which needs no data to be known.

    Ranks that only data tells count as 1, the least they can be.

    Raises
    ------
    ValueError
        If the budget is too small; the message says which would do, or, where ranks are not known
        yet, below which none can.
    """
    if recipe.budget is None:
        return
    least: dict[str, int] = {}
    is_open = False
    for name, word in words.items():
        shape, rule = tuple(shapes[name]), recipe.rule_for(name, word, shapes[name])
        if rule is None or rule.copies:
            continue
        if rule.asks_for_bits:
            is_open = True
            tries = [rule.with_bits(bits) for bits in recipe.budget.widths_for(rule)]
        else:
            tries = [rule.with_rank(1) if rule.undecided else rule]
        least[name] = min(_nbytes(name, word, shape, tried) for tried in tries)
    if is_open:
        sizes = {name: math.prod(shapes[name]) for name in least}
        refuse_small(sizes, least, recipe.budget.bits_per_weight, _WHAT)


def choose_bits(
    words: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    recipe: Recipe,
    findings: Mapping[str, Finding],
) -> dict[str, Rule]:
    """Return for each tensor whose rule is open the rule that says what becomes of it.

    Ranks are those found. Bits are chosen as `pyfq.allocate_bits` does, the least sum of errors
    within the budget: bytes of all parts in the file count, of all tensors that the recipe does not
    copy, those that have no choice included.

    Parameters
    ----------
    words, shapes : mapping of str to str, to sequence of int
        Dtype word and shape of each tensor.
    recipe : Recipe
        What is to be done.
    findings : mapping of str to Finding
        What `examine` found of each of those that `undecided` names.

    Raises
    ------
    ValueError
        If the budget is too small: the message says which would do; or a finding is missing.
    """
    undecided = open_rules(words, shapes, recipe)
    if missing := [name for name in undecided if name not in findings]:
        raise ValueError(f"findings must have what `examine` found of {shown(missing[0])}")
    decided = {
        name: rule.with_rank(findings[name].rank)
        for name, rule in undecided.items()
        if not rule.asks_for_bits
    }
    if recipe.budget is None or len(decided) == len(undecided):
        return decided
    trials: dict[str, Sequence[Trial]] = {}
    for name, word in words.items():
        rule = decided.get(name) or recipe.rule_for(name, word, shapes[name])
        if rule is not None and rule.asks_for_bits:
            trials[name] = findings[name].trials
        elif rule is not None and not rule.copies:
            trials[name] = [Trial(0, _nbytes(name, word, tuple(shapes[name]), rule), 0.0)]
    sizes = {name: math.prod(shapes[name]) for name in trials}
    chosen = choose_trials(sizes, trials, recipe.budget.bits_per_weight, _WHAT)
    for name, rule in undecided.items():
        if name not in decided:
            decided[name] = rule.with_bits(chosen[name].bits)
    return decided


def _nbytes(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> int:
    """Return the bytes of what a tensor becomes, of a copy if that is better."""
    with naming(name):
        return plan_tensor(name, word, shape, rule).nbytes_after
