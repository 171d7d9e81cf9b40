"""The choice of bits or steps within a budget, and of ranks, by what was found of all tensors."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pyfq._core.check import shown
from pyfq.arrays.allocate import Trial, choose_trials, refuse_small
from pyfq.arrays.entropy import HEADER_BYTES as LEAST_STREAM
from pyfq.exchange.methods.coded import Coded
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import declare
from pyfq.io.dtypes import nbytes_of
from pyfq.recipes.declare import naming, open_rules, plan_tensor
from pyfq.recipes.measure import Finding
from pyfq.recipes.recipe import Budget, Recipe
from pyfq.recipes.steps import OpenTensor, choose_steps

_WHAT = "bits_per_weight of the budget"


def refuse_budget(
    words: Mapping[str, str], shapes: Mapping[str, Sequence[int]], recipe: Recipe
) -> None:
    """Refuse a budget that no choice of bits can meet, which needs no data to be known.

    Ranks that only data tells count as 1, and bytes of entropy-coded codes as those of a header,
    the least they can be.

    Raises
    ------
    ValueError
        If the budget is too small; the message says which would do, or, where ranks or bytes are
        not known yet, below which none can.
    """
    if recipe.budget is None:
        return
    least: dict[str, int] = {}
    is_open = False
    for name, word in words.items():
        shape, rule = tuple(shapes[name]), recipe.rule_for(name, word, shapes[name])
        if rule is None or rule.copies:
            continue
        is_open = is_open or rule.asks_for_bits
        tries = _least_of(rule, recipe.budget)
        least[name] = min(_nbytes(name, word, shape, tried) for tried in tries)
    if is_open:
        sizes = {name: math.prod(shapes[name]) for name in least}
        _refuse_small(sizes, least, _copied_bytes(words, shapes, least), recipe.budget)


def _least_of(rule: Rule, budget: Budget) -> list[Rule]:
    """Return what a rule may become, of which one has the least bytes."""
    if rule.rate is not None or rule.lossless is not None:
        return [rule.with_coded(Coded(LEAST_STREAM))]
    if rule.asks_for_bits:
        return [rule.with_bits(bits) for bits in budget.widths_for(rule)]
    return [rule.with_rank(1) if rule.undecided else rule]


class TooSmall(ValueError):
    """A budget of bytes that no choice is within, and the least that one is within."""

    def __init__(self, text: str, least: int) -> None:
        """Take what is wrong, and the bytes of the least choice."""
        super().__init__(text)
        self.least = least

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        """Return both for a copy."""
        return type(self), (str(self), self.least)


def _copied_bytes(
    words: Mapping[str, str], shapes: Mapping[str, Sequence[int]], others: Mapping[str, object]
) -> int:
    """Return the bytes of all tensors but some."""
    return sum(nbytes_of(word, shapes[n]) for n, word in words.items() if n not in others)


def _refuse_small(
    sizes: Mapping[str, int], least: Mapping[str, int], copied: int, budget: Budget
) -> None:
    if budget.nbytes is None:
        refuse_small(sizes, least, budget.bits_per_weight, _WHAT)
        return
    needed = copied + sum(least.values())
    if needed > budget.nbytes:
        raise TooSmall(
            f"nbytes of the budget must be at least {needed} for these tensors, of which copies "
            f"have {copied}, not {budget.nbytes}",
            needed,
        )


def choose_bits(
    words: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    recipe: Recipe,
    findings: Mapping[str, Finding],
    coded: Callable[[str, Rule, bool], Coded] | None = None,
) -> dict[str, Rule]:
    """Return for each tensor whose rule is open the rule that says what becomes of it.

    Ranks are those found, and so are bytes of codes. Bits are chosen as `pyfq.allocate_bits` does,
    the least sum of errors within the budget: bytes of all parts in the file count, of all tensors
    that the recipe does not copy, those that have no choice included. Steps are chosen as `Budget`
    has it.

    Parameters
    ----------
    words, shapes : mapping of str to str, to sequence of int
        Dtype word and shape of each tensor.
    recipe : Recipe
        What is to be done.
    findings : mapping of str to Finding
        What `examine` found of each of those that `undecided` names.
    coded : callable, optional
        Called with the name of a tensor, a rule that has a step, and whether a sample will do,
        returns what its codes turn out to be, as `encode` does; needed if a budget chooses steps.
        It is called some times for each tensor.

    Raises
    ------
    ValueError
        If the budget is too small: the message says which would do; or a finding is missing.
    """
    undecided = open_rules(words, shapes, recipe)
    if missing := [name for name in undecided if name not in findings]:
        raise ValueError(f"findings must have what `examine` found of {shown(missing[0])}")
    decided = {
        name: _with_finding(rule, findings[name])
        for name, rule in undecided.items()
        if not rule.asks_for_bits
    }
    if recipe.budget is None or len(decided) == len(undecided):
        return decided
    asking = {name: rule for name, rule in undecided.items() if name not in decided}
    fixed: dict[str, int] = {}  # bytes of what has no choice, and is no copy
    for name, word in words.items():
        rule = decided.get(name) or recipe.rule_for(name, word, shapes[name])
        if rule is not None and not rule.copies and name not in asking:
            fixed[name] = _nbytes(name, word, tuple(shapes[name]), rule)
    sizes = {name: math.prod(shapes[name]) for name in words if name in asking or name in fixed}
    copied = _copied_bytes(words, shapes, sizes)
    budget = recipe.budget
    bits = budget.bits_per_weight
    if bits is None:
        bits = 8 * (budget.nbytes - copied) / sum(sizes.values())
    if recipe.chooses_steps:
        if coded is None:
            raise ValueError("coded must be given where a budget chooses steps")
        capacity = bits * sum(sizes.values()) / 8 - sum(fixed.values())
        exponent = budget.exponent_at(8 * capacity / sum(sizes[name] for name in asking))
        tensors = {}
        for name, rule in asking.items():
            finding = findings[name]
            share = _share(name, sizes[name], finding, budget, exponent)
            shape = tuple(shapes[name])
            tensors[name] = _open_tensor(name, words[name], shape, rule, finding, share)
        ways = (_with_steps(coded, asking, sampled) for sampled in (True, False))
        found, least = choose_steps(tensors, capacity, *ways)
        if found is None:
            needed = {"": math.ceil(least) + sum(fixed.values())}
            _refuse_small({"": sum(sizes.values())}, needed, copied, budget)
        return decided | {name: rule.with_coded(found[name]) for name, rule in asking.items()}
    trials: dict[str, Sequence[Trial]] = {
        name: findings[name].trials if name in asking else [Trial(0, fixed[name], 0.0)]
        for name in sizes
    }
    least_of = {name: min(trial.nbytes for trial in row) for name, row in trials.items()}
    _refuse_small(sizes, least_of, copied, budget)
    chosen = choose_trials(sizes, trials, bits, _WHAT)
    return decided | {name: rule.with_bits(chosen[name].bits) for name, rule in asking.items()}


def _with_steps(
    coded: Callable[[str, Rule, bool], Coded], rules: Mapping[str, Rule], sampled: bool
) -> Callable[[str, float], Coded]:
    """Return what makes codes of the steps of tensors, rather than of their rules."""

    def of_step(name: str, step: float) -> Coded:
        rule = rules[name]
        return coded(name, replace(rule, rate=rule.rate.with_step(step)), sampled)

    return of_step


def _with_finding(rule: Rule, finding: Finding) -> Rule:
    if finding.coded is not None:
        return rule.with_coded(finding.coded)
    return rule.with_rank(finding.rank)


def _share(name: str, size: int, finding: Finding, budget: Budget, exponent: float) -> float:
    """Return the step of a tensor over that of all."""
    share = 1 / math.sqrt(budget.sensitivity_of(name))
    if budget.error == "relative":
        share *= finding.sketch.rms * size**exponent
    return share or 1.0


def _open_tensor(
    name: str, word: str, shape: tuple[int, ...], rule: Rule, finding: Finding, share: float
) -> OpenTensor:
    """Return what `choose_steps` needs to know of a tensor."""
    with naming(name):
        least = declare(name, word, shape, rule.with_coded(Coded(LEAST_STREAM)))
    scales = least.nbytes_after - LEAST_STREAM
    return OpenTensor(rule.rate, finding.sketch, math.prod(shape), least.nbytes, scales, share)


def _nbytes(name: str, word: str, shape: tuple[int, ...], rule: Rule) -> int:
    """Return the bytes of what a tensor becomes, of a copy if that is better."""
    with naming(name):
        return plan_tensor(name, word, shape, rule).nbytes_after
