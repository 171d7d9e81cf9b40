"""Recipes: ordered rules that say what becomes of which tensor; `read_recipe` reads them.

Rules concern tensors of floats (F64, F32, F16, BF16) that are not empty; anything else, and what no
rule matches, is copied.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyfq._core.check import as_choice, as_count, as_number, shown
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
from pyfq.recipes.rows import Rows, check_rows, rows_of

#: The dtype words that can be compressed.
FLOAT_WORDS = ("F64", "F32", "F16", "BF16")

#: Widths that a budget chooses from unless others are given.
CHOICES = (2, 3, 4, 5, 6, 7, 8, 16)

# The most bits of a code of a codebook.
_MOST_OF_CODEBOOK = 8

# Globs that a message lists.
_FEW = 4

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
    min_ndim : int
        Axes a tensor must have at least. Of three and more, those of length 1 do not count:
        ``(1, 1, n)`` is a vector.
    min_size : int
        Entries a tensor must have.
    lowrank : Factorize, optional
        Makes two factors; not of what was pruned, whose zeros it would lose.
    codebook : QuantizeCodebook, optional
        Applied to what pruning left; not with `quantize` or `lowrank`.
    precision : "float64", "float32", "float16" or "bfloat16", optional
        What the tensor, or the factors of `lowrank`, are stored in; not with codes.
    rows : "first" or "leading", optional
        What is a row of tensors of three axes and more: ``(out, in, ...)`` is a matrix
        ``(out, in * ...)``, or ``(..., out, in)`` are matrices in a stack. If not given, name and
        shape tell, as `pyfq.recipes.rows.rows_of` has it.

    Raises
    ------
    TypeError
        If `match` is not a tuple of strings.
    ValueError
        If methods do not go together, or `rows` is neither.

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
    min_ndim: int = field(default=0, kw_only=True)
    rows: Rows | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a bare string, whose characters would each be a glob, and methods that clash."""
        if not isinstance(self.match, tuple) or not all(isinstance(g, str) for g in self.match):
            raise TypeError(f"match must be a tuple of globs, not {shown(self.match)}")
        if self.precision is not None:
            check_precision(self.precision)
        if self.rows is not None:
            check_rows(self.rows)
        for one, other, reason in _CLASHES:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} do not go together: {reason}")
        if self.lowrank is not None and self.quantize is not None and self.quantize.bits == BUDGET:
            raise ValueError(f"quantize: bits of factors must be a number, not {BUDGET!r}")

    def matches(self, name: str, word: str, shape: Sequence[int]) -> bool:
        """Tell whether a tensor of this name, dtype word and shape is concerned."""
        return (
            word in FLOAT_WORDS
            and math.prod(shape) > 0
            and self.why_not(shape) is None
            and self.glob_of(name) is not None
        )

    def glob_of(self, name: str) -> str | None:
        """Return the first glob that matches a name."""
        return next((glob for glob in self.match if fnmatchcase(name, glob)), None)

    def why_not(self, shape: Sequence[int]) -> str | None:
        """Return why tensors of a shape are not concerned, if they are not."""
        long = sum(extent > 1 for extent in shape) if len(shape) > 2 else len(shape)
        if self.ndim not in (None, len(shape)):
            return _counted(len(shape), "axis", "axes")
        if long < self.min_ndim:
            return _counted(long, "axis", "axes") + (" longer than 1" if len(shape) > 2 else "")
        if math.prod(shape) < self.min_size:
            return f"fewer than {self.min_size} entries"
        return None

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

    def for_tensor(self, name: str, shape: Sequence[int]) -> "Rule":
        """Return the rule with what name and shape tell of rows, unless it says that itself."""
        if self.rows is not None or len(shape) < 3:
            return self
        return replace(self, rows=rows_of(name, shape))

    @property
    def shrinks(self) -> bool:
        """Whether it is meant to make tensors smaller, by codes or factors."""
        return any(method is not None for method in (self.quantize, self.codebook, self.lowrank))

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
        if self.min_ndim:
            settings["min_ndim"] = self.min_ndim
        if self.min_size > 1:
            settings["min_size"] = self.min_size
        if self.rows is not None:
            settings["rows"] = self.rows
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


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


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
            raise TypeError(f"choices must be a tuple of widths, not {shown(self.choices)}")
        for i, bits in enumerate(self.choices):
            as_count(bits, f"choices[{i}]", 1, 16)
        if not self.choices or len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must be widths, each once, not {shown(self.choices)}")
        as_choice(self.error, "error", ("relative", "absolute"))
        if not isinstance(self.sensitivity, tuple):
            raise TypeError(f"sensitivity must be a tuple of pairs, not {shown(self.sensitivity)}")
        for glob, factor in self.sensitivity:
            as_number(factor, f"sensitivity of {shown(glob)}", 0, 1e300)

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
        for number, rule in asking:
            widths = self.budget.widths_for(rule)
            if not widths:
                raise ValueError(f"rule {number}: none of choices is up to {_MOST_OF_CODEBOOK}")
            for bits in widths:
                try:
                    rule.with_bits(bits)
                except ValueError as e:
                    raise ValueError(f"rule {number}, with {bits} of choices: {e}") from e

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
        if word not in FLOAT_WORDS:
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
