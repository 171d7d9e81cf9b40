"""What only the data of tensors can tell of a recipe: bits within a budget, ranks for an error.

A first pass over the tensors, one at a time, finds that, and `decide` makes rules of it that leave
nothing open; the second pass compresses.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pyfq._core.check import shown
from pyfq.arrays.allocate import Trial, choose_trials, refuse_small
from pyfq.arrays.distortion import distortion
from pyfq.io.dtypes import nbytes_of
from pyfq.recipes import forms
from pyfq.recipes.floats import widen
from pyfq.recipes.parse import placed
from pyfq.recipes.recipe import Budget, Recipe, Rule

_WHAT = "bits_per_weight of the budget"


@dataclass(frozen=True)
class Finding:
    """What the first pass found of a tensor.

    Attributes
    ----------
    rank : int or None
        The rank that an energy or a tolerance gives, if its rule asks for one.
    trials : tuple of Trial
        Bits, bytes of all parts, and error at each width, if its rule asks for bits of a budget.
    """

    rank: int | None = None
    trials: tuple[Trial, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"rank": self.rank, "trials": [list(trial) for trial in self.trials]}


def read_finding(settings: Mapping[str, Any]) -> Finding:
    """Return what `Finding.settings` told."""
    return Finding(settings["rank"], tuple(Trial(*trial) for trial in settings["trials"]))


def undecided(
    words: Mapping[str, str], shapes: Mapping[str, Sequence[int]], recipe: Recipe
) -> dict[str, Rule]:
    """Return the tensors whose data must be seen before it is known what they become.

    Parameters
    ----------
    words, shapes : mapping of str to str, to sequence of int
        Dtype word and shape of each tensor.
    recipe : Recipe
        What is to be done.
    """
    rules = {name: recipe.rule_for(name, word, shapes[name]) for name, word in words.items()}
    return {name: rule for name, rule in rules.items() if rule is not None and rule.undecided}


def examine(
    name: str, word: str, array: NDArray, rule: Rule, budget: Budget | None = None
) -> Finding:
    """Return the rank that a rule gives a tensor, or its errors at the widths of a budget.

    Errors are those of what is left after pruning and quantization, as `Budget` says, times the
    sensitivity of the tensor. At a width at which it would not get smaller it is copied: it has the
    bytes it had, and no error.

    Raises
    ------
    ValueError
        If the tensor cannot be compressed as asked; the message names it and the reason.
    """
    with naming(name):
        if not rule.undecided:
            raise ValueError("its rule leaves nothing open")
        if rule.asks_for_bits and budget is None:
            raise ValueError("budget must be given where bits are those of a budget")
        rule, shape = rule.for_tensor(name, array.shape), array.shape
        w = forms.by_rows(widen(array, word), rule)
        del array
        if not rule.asks_for_bits:
            if w.ndim < 2:
                forms.declare(name, word, shape, rule)  # refuses it
            return Finding(rule.lowrank.rank_for(w))
        trials = []
        for bits in budget.widths_for(rule):
            tried = rule.with_bits(bits)
            declared = forms.declare(name, word, shape, tried)
            if forms.why_no_gain(word, shape, tried, declared) is not None:  # it would be copied
                trials.append(Trial(bits, nbytes_of(word, shape), 0.0))
                continue
            error = budget.sensitivity_of(name) * _error(w, word, shape, tried, budget.error)
            trials.append(Trial(bits, _nbytes(name, word, shape, tried), error))
        return Finding(trials=tuple(trials))


def _error(w: NDArray, word: str, shape: tuple[int, ...], rule: Rule, kind: str) -> float:
    # Pruning again for every width takes less memory than keeping what it left.
    v = w if rule.prune is None else forms.prune(w, shape, rule)
    form = forms.make(v, word, rule)
    v = forms.reals(form, word, rule, out=None if v is w else v)
    found = distortion(w, v)
    return 10 ** (-found.sqnr / 10) if kind == "relative" else found.mse * w.size


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


def decide(
    words: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    recipe: Recipe,
    findings: Mapping[str, Finding],
) -> dict[str, Rule]:
    """Return for each tensor that was undecided the rule that says what becomes of it.

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
    open_ones = undecided(words, shapes, recipe)
    if missing := [name for name in open_ones if name not in findings]:
        raise ValueError(f"findings must have what `examine` found of {shown(missing[0])}")
    decided = {
        name: rule.with_rank(findings[name].rank)
        for name, rule in open_ones.items()
        if not rule.asks_for_bits
    }
    if recipe.budget is None or len(decided) == len(open_ones):
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
    for name, rule in open_ones.items():
        if name not in decided:
            decided[name] = rule.with_bits(chosen[name].bits)
    return decided


def naming(name: str) -> AbstractContextManager[None]:
    """Let a refusal say which tensor it is about."""
    return placed(f"tensor {shown(name)} cannot be compressed as asked")


def _nbytes(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> int:
    """Return the bytes of what a tensor becomes, of a copy if that is better."""
    with naming(name):
        declared = forms.declare(name, word, shape, rule)
        if forms.why_no_gain(word, shape, rule, declared) is not None:
            return nbytes_of(word, shape)
        return sum(nbytes_of(*part) for part in declared.values())
