"""Recipes: ordered rules that say what becomes of which tensor; `read_recipe` reads them.

Rules concern tensors of floats (F64, F32, F16, BF16) that are not empty; anything else, and what no
rule matches, is copied.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyfq._check import as_choice, as_count, as_number
from pyfq.recipes.globs import fnmatchcase
from pyfq.recipes.methods import (
    BUDGET,
    Factorize,
    Precision,
    Prune,
    Quantize,
    QuantizeCodebook,
    check_precision,
)

#: The dtype words that can be compressed.
FLOAT_WORDS = ("F64", "F32", "F16", "BF16")

#: Widths that a budget chooses from unless others are given.
CHOICES = (2, 3, 4, 5, 6, 7, 8, 16)

# The most bits of a code of a codebook.
_MOST_OF_CODEBOOK = 8


# Methods that do not go together, and why.
_CLASHES = (
    ("quantize", "codebook", "both make codes"),
    ("lowrank", "codebook", "factors are floats, or codes of quantize"),
    ("lowrank", "prune", "the product of two factors does not keep zeros"),
    ("quantize", "precision", "what is stored is codes, not floats"),
    ("codebook", "precision", "what is stored is codes, not floats"),
)


@dataclass(frozen=True)
class Rule:
    """What becomes of the tensors that it matches.

    Parameters
    ----------
    match : tuple of str
        Globs (``*``, ``?``, ``[...]``, case-sensitive) of which one must match the whole name.
    prune : Prune, optional
        Applied first.
    quantize : Quantize, optional
        Applied to what pruning left; or to the factors of `lowrank`.
    ndim : int, optional
        Number of axes a tensor must have.
    min_size : int
        Entries a tensor must have.
    lowrank : Factorize, optional
        Makes two factors; not of what was pruned, whose zeros it would lose.
    codebook : QuantizeCodebook, optional
        Applied to what pruning left; not with `quantize` or `lowrank`.
    precision : "float64", "float32", "float16" or "bfloat16", optional
        What the tensor, or the factors of `lowrank`, are stored in; not with codes.

    Raises
    ------
    TypeError
        If `match` is not a tuple of strings.
    ValueError
        If methods do not go together.

    Examples
    --------
    >>> Rule(("*.weight",), quantize=Quantize(8), ndim=2).matches("a.weight", "F32", (4, 4))
    True
    >>> print(Rule(("*",), lowrank=Factorize(ratio=0.5), precision="bfloat16"))
    low rank, ratio 0.5 + bfloat16
    """

    match: tuple[str, ...]
    prune: Prune | None = None
    quantize: Quantize | None = None
    ndim: int | None = None
    min_size: int = 1
    lowrank: Factorize | None = field(default=None, kw_only=True)
    codebook: QuantizeCodebook | None = field(default=None, kw_only=True)
    precision: Precision | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a bare string, whose characters would each be a glob, and methods that clash."""
        if not isinstance(self.match, tuple) or not all(isinstance(g, str) for g in self.match):
            raise TypeError(f"match must be a tuple of globs, not {self.match!r}")
        if self.precision is not None:
            check_precision(self.precision)
        for one, other, reason in _CLASHES:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} do not go together: {reason}")
        if self.lowrank is not None and self.quantize is not None and self.quantize.bits == BUDGET:
            raise ValueError(f"quantize: bits of factors must be a number, not {BUDGET!r}")

    def matches(self, name: str, word: str, shape: Sequence[int]) -> bool:
        """Tell whether a tensor of this name, dtype word and shape is concerned."""
        return (
            word in FLOAT_WORDS
            and (self.ndim is None or len(shape) == self.ndim)
            and math.prod(shape) >= max(self.min_size, 1)
            and any(fnmatchcase(name, glob) for glob in self.match)
        )

    @property
    def copies(self) -> bool:
        """Whether tensors stay as they are."""
        return not self._methods

    @property
    def asks_for_bits(self) -> bool:
        """Whether a budget has to say how many bits a code has."""
        codes = self.quantize or self.codebook
        return codes is not None and codes.bits == BUDGET

    @property
    def undecided(self) -> bool:
        """Whether only data tells what becomes of a tensor: bits of a budget, or a rank."""
        return self.asks_for_bits or (self.lowrank is not None and self.lowrank.undecided)

    def with_bits(self, bits: int) -> "Rule":
        """Return the rule with bits in place of those of a budget."""
        if self.quantize is not None:
            return replace(self, quantize=replace(self.quantize, bits=bits))
        return replace(self, codebook=replace(self.codebook, bits=bits))

    def with_rank(self, rank: int) -> "Rule":
        """Return the rule with the rank that what it asks for gives."""
        return replace(self, lowrank=replace(self.lowrank, rank=rank))

    def settings(self) -> dict[str, Any]:
        """Return the rule in the words of a recipe."""
        settings: dict[str, Any] = {"match": list(self.match)}
        if self.ndim is not None:
            settings["ndim"] = self.ndim
        if self.min_size > 1:
            settings["min_size"] = self.min_size
        return settings | self.methods()

    def methods(self) -> dict[str, Any]:
        """Return what is done, without to which tensors."""
        return {
            key: method if key == "precision" else method.settings()
            for key, method in self._methods.items()
        }

    def __str__(self) -> str:
        """Return what is done in a few words."""
        return " + ".join(str(method) for method in self._methods.values()) or "copy"

    @property
    def _methods(self) -> dict[str, Any]:
        """What is done, in order."""
        keys = ("prune", "lowrank", "quantize", "codebook", "precision")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


@dataclass(frozen=True)
class Budget:
    r"""How many bits a weight may take, which `pyfq.recipes.decide` shares out among tensors.

    Parameters
    ----------
    bits_per_weight : float
        Bits of all that is stored for the tensors that the recipe does not copy, over their
        weights. Those whose rule has bits "budget" get what the others leave.
    choices : tuple of int
        Widths to choose from, each once, 1 ... 16; codebooks have those up to 8.
    error : "relative" or "absolute"
        What is least, summed over tensors, as `pyfq.allocate_bits` has it:
        :math:`\sum (w - \hat w)^2 / \sum w^2`, which is the relative error of the outputs of a
        layer whose inputs are independent, whatever its size; or :math:`\sum (w - \hat w)^2`.
    sensitivity : tuple of (str, float)
        Globs, and what the error of the tensors counts whose name one matches, the first of
        several; 1 for the others.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or is out of range.

    Examples
    --------
    >>> budget = Budget(4.25, (2, 3, 4, 8), sensitivity=(("*embeddings*", 10.0),))
    >>> budget.sensitivity_of("a.embeddings.weight"), budget.sensitivity_of("b.weight")
    (10.0, 1.0)
    """

    bits_per_weight: float
    choices: tuple[int, ...] = CHOICES
    error: Literal["relative", "absolute"] = "relative"
    sensitivity: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        as_number(self.bits_per_weight, "bits_per_weight", 0, 1e6)
        if not isinstance(self.choices, tuple):
            raise TypeError(f"choices must be a tuple of widths, not {self.choices!r}")
        for i, bits in enumerate(self.choices):
            as_count(bits, f"choices[{i}]", 1, 16)
        if not self.choices or len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must be widths, each once, not {self.choices!r}")
        as_choice(self.error, "error", ("relative", "absolute"))
        if not isinstance(self.sensitivity, tuple):
            raise TypeError(f"sensitivity must be a tuple of pairs, not {self.sensitivity!r}")
        for glob, factor in self.sensitivity:
            as_number(factor, f"sensitivity of {glob!r}", 0, 1e300)

    def sensitivity_of(self, name: str) -> float:
        """Return what the error of a tensor counts."""
        return next((h for glob, h in self.sensitivity if fnmatchcase(name, glob)), 1.0)

    def widths_for(self, rule: Rule) -> tuple[int, ...]:
        """Return the widths that a rule which asks for bits can have."""
        most = 16 if rule.codebook is None else _MOST_OF_CODEBOOK
        return tuple(bits for bits in self.choices if bits <= most)

    def settings(self) -> dict[str, Any]:
        """Return the budget in the words of a recipe."""
        settings = {"bits_per_weight": self.bits_per_weight, "choices": list(self.choices)}
        settings["error"] = self.error
        return settings | ({"sensitivity": dict(self.sensitivity)} if self.sensitivity else {})


@dataclass(frozen=True)
class Recipe:
    """Rules in order; the first that matches a tensor decides.

    Parameters
    ----------
    rules : tuple of Rule
        The rules.
    budget : Budget, optional
        Of the rules whose bits are "budget".

    Raises
    ------
    ValueError
        If there is a budget and no rule that asks for its bits, or the other way round, or such a
        rule cannot have one of the widths.

    Examples
    --------
    >>> recipe = Recipe((Rule(("*bias",)), Rule(("*",), quantize=Quantize(4))))
    >>> print(recipe.rule_for("a.bias", "F32", (8,)))
    copy
    >>> print(recipe.rule_for("a.weight", "F32", (8, 8)))
    int4 symmetric per 128
    """

    rules: tuple[Rule, ...]
    budget: Budget | None = None
    _found: dict[tuple[str, str, tuple[int, ...]], Rule | None] = field(
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
        for number, rule in asking:
            widths = self.budget.widths_for(rule)
            if not widths:
                raise ValueError(f"rule {number}: none of choices is up to {_MOST_OF_CODEBOOK}")
            for bits in widths:
                try:
                    rule.with_bits(bits)
                except ValueError as e:
                    raise ValueError(f"rule {number}, with {bits} of choices: {e}") from e

    def rule_for(self, name: str, word: str, shape: Sequence[int]) -> Rule | None:
        """Return the rule that decides, None if none matches."""
        key = name, word, tuple(shape)
        if key not in self._found:  # asked for by each pass over the tensors
            matching = (rule for rule in self.rules if rule.matches(name, word, shape))
            self._found[key] = next(matching, None)
        return self._found[key]

    def settings(self) -> dict[str, Any]:
        """Return the recipe as the table that `parse_recipe` takes."""
        table: Mapping[str, Any] = {"rule": [rule.settings() for rule in self.rules]}
        return table | ({} if self.budget is None else {"budget": self.budget.settings()})
