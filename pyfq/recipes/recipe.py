"""Recipes: ordered rules that say what becomes of which tensor; `read_recipe` reads them.

Rules concern tensors of floats (F64, F32, F16, BF16) that are not empty; anything else, and what no
rule matches, is copied.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pyfq._core.check import as_choice, as_count, as_number, shown
from pyfq.exchange.globs import fnmatchcase
from pyfq.exchange.methods.tables import BUDGET
from pyfq.exchange.rule import Rule

#: Widths that a budget chooses from unless others are given.
CHOICES = (2, 3, 4, 5, 6, 7, 8, 16)

# How the relative steps of entropy-coded tensors grow with their sizes unless it is said: the
# exponents at two rates in bits a weight, straight between them.
_RATES, _EXPONENTS = (1.9, 2.5), (0.34, 0.45)

# The most bits of a code of a codebook.
_MOST_OF_CODEBOOK = 8

# Globs that a message lists.
_FEW = 4


@dataclass(frozen=True)
class Budget:
    r"""How many bits a weight may take, which `pyfq.recipes.decide` shares out among tensors.

    Parameters
    ----------
    bits_per_weight : float, optional
        Bits of all that is stored for the tensors that the recipe does not copy, over their
        weights. Those whose rule has bits "budget" get what the others leave.
    choices : tuple of int
        Widths to choose from, each once, 1 ... 16; codebooks have those up to 8. Of no use to
        entropy-coded tensors.
    error : "relative" or "absolute"
        What is least, summed over tensors, as `pyfq.allocate_bits` has it:
        :math:`\sum (w - \hat w)^2 / \sum w^2`, which is the relative error of the outputs of a
        layer whose inputs are independent, whatever its size; or :math:`\sum (w - \hat w)^2`.
    sensitivity : tuple of (str, float)
        Globs, and what the error of the tensors counts whose name one matches, the first of
        several; 1 for the others.
    nbytes : int, optional
        Bytes of all tensors, copies included, in place of `bits_per_weight`.
    exponent : float, optional
        :math:`\varepsilon` of entropy-coded tensors, see below, 0 ... 1 (default: 0.34 up to 1.9
        bits a weight of these tensors, 0.45 from 2.5 bits on, straight between).

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or is out of range.

    Notes
    -----
    Entropy-coded tensors have no widths. With n, :math:`\sigma` and h the weights of a tensor, the
    root of the mean of their squares, and its sensitivity, its step is

    .. math::
        \Delta = \beta\, \sigma\, n^{\varepsilon} / \sqrt{h}

    or :math:`\beta / \sqrt{h}` for absolute errors. One :math:`\beta` for all tensors, whose real
    bytes meet the budget, is where a bit more takes the same error off each: the error of a step is
    near :math:`\Delta^2 / 12` a weight, and half the step costs each weight a bit (Gish & Pierce
    1968, Asymptotically efficient quantizing; Shoham & Gersho 1988, Efficient bit allocation for an
    arbitrary set of quantizers). That is so for relative errors with :math:`\varepsilon = 1/2`;
    less favours tensors of few weights less.

    Examples
    --------
    >>> budget = Budget(4.25, (2, 3, 4, 8), sensitivity=(("*embeddings*", 10.0),))
    >>> budget.sensitivity_of("a.embeddings.weight"), budget.sensitivity_of("b.weight")
    (10.0, 1.0)
    """

    bits_per_weight: float | None = None
    choices: tuple[int, ...] = CHOICES
    error: Literal["relative", "absolute"] = "relative"
    sensitivity: tuple[tuple[str, float], ...] = ()
    nbytes: int | None = field(default=None, kw_only=True)
    exponent: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if (self.bits_per_weight is None) == (self.nbytes is None):
            raise ValueError("bits_per_weight or nbytes must be given, and not both")
        if self.nbytes is None:
            as_number(self.bits_per_weight, "bits_per_weight", 0, 1e6)
        else:
            as_count(self.nbytes, "nbytes", 1)
        if self.exponent is not None:
            as_number(self.exponent, "exponent", 0, 1)
        if not isinstance(self.choices, tuple):
            raise TypeError(f"choices must be a tuple of widths, not {shown(self.choices)}")
        for i, bits in enumerate(self.choices):
            as_count(bits, f"choices[{i}]", 1, 16)
        if not self.choices or len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must be widths, each once, not {shown(self.choices)}")
        as_choice(self.error, "error", ("relative", "absolute"))
        if not isinstance(self.sensitivity, tuple):
            raise TypeError(f"sensitivity must be a tuple of pairs, not {shown(self.sensitivity)}")
        for glob, factor in self.sensitivity:
            as_number(factor, f"sensitivity of {glob!r}", 0, 1e300)

    def sensitivity_of(self, name: str) -> float:
        """Return what the error of a tensor counts."""
        return next((h for glob, h in self.sensitivity if fnmatchcase(name, glob)), 1.0)

    def exponent_at(self, bits: float) -> float:
        """Return how relative steps grow with sizes, at a rate in bits a weight."""
        if self.exponent is not None:
            return self.exponent
        return float(np.interp(bits, _RATES, _EXPONENTS))

    def widths_for(self, rule: Rule) -> tuple[int, ...]:
        """Return the widths that a rule which asks for bits can have."""
        most = 16 if rule.codebook is None else _MOST_OF_CODEBOOK
        return tuple(bits for bits in self.choices if bits <= most)

    def settings(self) -> dict[str, Any]:
        """Return the budget in the words of a recipe."""
        asked = {"bits_per_weight": self.bits_per_weight, "nbytes": self.nbytes}
        settings: dict[str, Any] = {k: value for k, value in asked.items() if value is not None}
        settings |= {"choices": list(self.choices), "error": self.error}
        if self.exponent is not None:
            settings["exponent"] = self.exponent
        return settings | ({"sensitivity": dict(self.sensitivity)} if self.sensitivity else {})


@dataclass(frozen=True)
class Recipe:
    """Rules in order; the first that matches a tensor decides.

    Parameters
    ----------
    rules : tuple of Rule
        The rules.
    budget : Budget, optional
        What the rules whose bits are "budget" may use together.

    Raises
    ------
    ValueError
        If there is a budget and no rule that asks for its bits, or the other way round, or such a
        rule cannot have one of the widths; if some of these rules have widths and some have steps.

    Examples
    --------
    >>> from pyfq.recipes import Quantize
    >>> recipe = Recipe((Rule(("*bias",)), Rule(("*",), quantize=Quantize(4))))
    >>> print(recipe.rule_for("a.bias", "F32", (8,)))
    copy
    >>> print(recipe.rule_for("a.weight", "F32", (8, 8)))
    int4 symmetric per 128
    """

    rules: tuple[Rule, ...]
    budget: Budget | None = None
    _found: dict[tuple[str, str, tuple[int, ...]], int | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuse a budget for nothing, or bits from none."""
        asking = [(i, rule) for i, rule in enumerate(self.rules, 1) if rule.asks_for_bits]
        if self.budget is None and asking:
            raise ValueError(f"rule {asking[0][0]}: bits = {BUDGET!r} needs a budget")
        if self.budget is None:
            return
        if not asking:
            raise ValueError(f"budget: no rule has bits = {BUDGET!r}")
        if self.chooses_steps:
            self._refuse_for_steps(asking)
            return
        for number, rule in asking:
            widths = self.budget.widths_for(rule)
            if not widths:
                raise ValueError(f"rule {number}: none of choices is up to {_MOST_OF_CODEBOOK}")
            for bits in widths:
                try:
                    rule.with_bits(bits)
                except ValueError as e:
                    raise ValueError(f"rule {number}, with {bits} of choices: {e}") from e

    @property
    def chooses_steps(self) -> bool:
        """Whether the budget is one of entropy-coded tensors."""
        return any(rule.asks_for_bits and rule.rate is not None for rule in self.rules)

    def _refuse_for_steps(self, asking: Sequence[tuple[int, Rule]]) -> None:
        for number, rule in asking:
            if rule.rate is None:
                raise ValueError(
                    f"rule {number}: bits = {BUDGET!r} does not go with those of rate in another "
                    "rule: a budget chooses widths or steps"
                )
        for glob, factor in self.budget.sensitivity:
            if not factor:
                raise ValueError(
                    f"budget: sensitivity of {glob!r} must not be 0 for rate: no step is as large"
                )

    def number_for(self, name: str, word: str, shape: Sequence[int]) -> int | None:
        """Return the number, from 1, of the rule that decides, None if none matches."""
        key = name, word, tuple(shape)
        if key not in self._found:  # asked for by each pass over the tensors
            numbered = enumerate(self.rules, 1)
            matching = (i for i, rule in numbered if rule.matches(name, word, shape))
            self._found[key] = next(matching, None)
        return self._found[key]

    def rule_for(self, name: str, word: str, shape: Sequence[int]) -> Rule | None:
        """Return the rule that decides, with its rows; None if none matches."""
        number = self.number_for(name, word, shape)
        return None if number is None else self.rules[number - 1].for_tensor(name, shape)

    def why_copied(self, name: str, word: str, shape: Sequence[int]) -> str:
        """Return in a few words why the recipe copies a tensor that it does not compress."""
        if not any(rule.takes(word) for rule in self.rules if not rule.copies):
            return f"dtype {word}"
        if not math.prod(shape):
            return "no entries"
        reason = None
        for rule in self.rules:  # the first with a method that names it would have, but for this
            glob, why_not = rule.glob_of(name), rule.why_not(shape)
            if glob is None:
                continue
            if rule.copies and why_not is None:
                return f"left out by {glob!r}"
            if not rule.copies and reason is None:
                reason = why_not
        globs = [repr(glob) for rule in self.rules if not rule.copies for glob in rule.match]
        named = ", ".join(globs) if len(globs) <= _FEW else f"{len(globs)} globs"
        return reason or (f"named by none of {named}" if globs else "no rule has a method")

    def settings(self) -> dict[str, Any]:
        """Return the recipe as the table that `parse_recipe` takes."""
        table: Mapping[str, Any] = {"rule": [rule.settings() for rule in self.rules]}
        return table | ({} if self.budget is None else {"budget": self.budget.settings()})
