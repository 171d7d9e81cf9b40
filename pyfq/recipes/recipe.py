"""Recipes: ordered rules that say what becomes of which tensor.

::

    [[rule]]                                  # the first rule that matches a tensor decides
    match = ["*LayerNorm*", "*bias"]          # no prune, no quantize: copied bit for bit

    [[rule]]
    match = "*embeddings*"
    quantize = { bits = 8 }

    [[rule]]
    match = "*"
    ndim = 2                                  # only matrices
    min_size = 4096                           # of at least 4096 entries
    prune = { ratio = 0.5, per = "row" }      # or percentile, threshold, nm = "2:4"
    quantize = { bits = 4, scheme = "affine", group_size = 64 }

Rules concern tensors of floats (F64, F32, F16, BF16) that are not empty; anything else, and what no
rule matches, is copied.
"""

import difflib
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyfq.prune import Pruned, prune_nm, prune_percentile, prune_ratio, prune_threshold
from pyfq.quantize import Quantized, Rounding, Scheme, quantize
from pyfq.types import Granularity, PerGroup, PerRow, PerTensor

#: The dtype words that can be compressed.
FLOAT_WORDS = ("F64", "F32", "F16", "BF16")

_PRUNERS = {"ratio": prune_ratio, "percentile": prune_percentile, "threshold": prune_threshold}
_PRUNE_KEYS = (*_PRUNERS, "nm", "per", "group_size")
_QUANTIZE_KEYS = ("bits", "scheme", "per", "group_size", "rounding", "range", "scale", "seed")
_RULE_KEYS = ("match", "ndim", "min_size", "prune", "quantize")
_GRANULARITIES = {"tensor": PerTensor(), "row": PerRow()}

#: What shares a scale unless something else is asked for: an outlier then costs its group, not its
#: row, for a quarter of a bit.
GROUPS = PerGroup(128)

# What the settings of a rule are tried on, so that the functions themselves say what they accept.
_SAMPLE = np.zeros((1, 1), np.float32)


@dataclass(frozen=True)
class Prune:
    """How a tensor is pruned.

    Parameters
    ----------
    method : "ratio", "percentile", "threshold" or "nm"
        Which of `pyfq.prune_ratio`, `pyfq.prune_percentile`, ...
    amount : float, or (n, m) for "nm"
        Its argument.
    granularity : PerTensor, PerRow or PerGroup
        What is ranked together; not for "nm".

    Raises
    ------
    TypeError, ValueError
        If that function refuses the settings.

    Examples
    --------
    >>> Prune("ratio", 0.5).settings()
    {'ratio': 0.5, 'per': 'tensor'}
    """

    method: Literal["ratio", "percentile", "threshold", "nm"]
    amount: float | tuple[int, int]
    granularity: Granularity = _GRANULARITIES["tensor"]

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if self.method not in (*_PRUNERS, "nm"):
            raise ValueError(f"method must be one of {[*_PRUNERS, 'nm']}, not {self.method!r}")
        self.apply(_SAMPLE)

    def apply(self, w: NDArray) -> Pruned:
        """Prune one array."""
        if self.method == "nm":
            n, m = self.amount
            return prune_nm(w, n, m)
        return _PRUNERS[self.method](w, self.amount, granularity=self.granularity)

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        if self.method == "nm":
            n, m = self.amount
            return {"nm": f"{n}:{m}"}
        return {self.method: self.amount} | _granularity_settings(self.granularity)

    def __str__(self) -> str:
        """Return the settings in a few words."""
        if self.method == "nm":
            n, m = self.amount
            return f"{n}:{m}"
        return f"{self.method} {self.amount:g} {_granularity_words(self.granularity)}"


@dataclass(frozen=True)
class Quantize:
    """How a tensor is quantized; see `pyfq.quantize`.

    Parameters
    ----------
    bits, scheme, granularity, rounding, range, seed
        Its arguments.
    scale : "absmax", "absmax_half", "signed_max", optional
        A convention; of scheme symmetric.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.quantize` refuses the settings.

    Examples
    --------
    >>> print(Quantize(4, "affine", PerGroup(64)))
    int4 affine per 64
    >>> Quantize(8).settings()["group_size"]
    128
    """

    bits: int = 8
    scheme: Scheme = "symmetric"
    granularity: Granularity = GROUPS
    rounding: Rounding = "half_even"
    range: Literal["narrow", "full"] = "narrow"
    scale: Literal["absmax", "absmax_half", "signed_max"] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if self.scale is not None and not isinstance(self.scale, str):
            raise TypeError(f"scale must be the name of a convention, not {self.scale!r}")
        self.apply(_SAMPLE)

    def apply(self, w: NDArray) -> Quantized:
        """Quantize one array."""
        return quantize(
            w,
            self.bits,
            scheme=self.scheme,
            granularity=self.granularity,
            rounding=self.rounding,
            range=self.range,
            scale=self.scale,
            seed=self.seed,
        )

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        settings = {"bits": self.bits, "scheme": self.scheme}
        settings |= _granularity_settings(self.granularity)
        settings |= {"rounding": self.rounding, "range": self.range}
        optional = {"scale": self.scale, "seed": self.seed}
        return settings | {key: value for key, value in optional.items() if value is not None}

    def __str__(self) -> str:
        """Return the settings in a few words."""
        return f"int{self.bits} {self.scheme} {_granularity_words(self.granularity)}"


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
        Applied to what pruning left.
    ndim : int, optional
        Number of axes a tensor must have.
    min_size : int
        Entries a tensor must have.

    Raises
    ------
    TypeError
        If `match` is not a tuple of strings.

    Examples
    --------
    >>> Rule(("*.weight",), quantize=Quantize(8), ndim=2).matches("a.weight", "F32", (4, 4))
    True
    """

    match: tuple[str, ...]
    prune: Prune | None = None
    quantize: Quantize | None = None
    ndim: int | None = None
    min_size: int = 1

    def __post_init__(self) -> None:
        """Refuse a bare string, whose characters would each be a glob."""
        if not isinstance(self.match, tuple) or not all(isinstance(g, str) for g in self.match):
            raise TypeError(f"match must be a tuple of globs, not {self.match!r}")

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
        return self.prune is None and self.quantize is None

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
        methods = {"prune": self.prune, "quantize": self.quantize}
        return {key: method.settings() for key, method in methods.items() if method is not None}

    def __str__(self) -> str:
        """Return what is done in a few words."""
        return " + ".join(str(method) for method in (self.prune, self.quantize) if method) or "copy"


@dataclass(frozen=True)
class Recipe:
    """Rules in order; the first that matches a tensor decides.

    Examples
    --------
    >>> recipe = Recipe((Rule(("*bias",)), Rule(("*",), quantize=Quantize(4))))
    >>> print(recipe.rule_for("a.bias", "F32", (8,)))
    copy
    >>> print(recipe.rule_for("a.weight", "F32", (8, 8)))
    int4 symmetric per 128
    """

    rules: tuple[Rule, ...]

    def rule_for(self, name: str, word: str, shape: Sequence[int]) -> Rule | None:
        """Return the rule that decides, None if none matches."""
        return next((rule for rule in self.rules if rule.matches(name, word, shape)), None)

    def settings(self) -> list[dict[str, Any]]:
        """Return the rules in the words of a recipe."""
        return [rule.settings() for rule in self.rules]


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a TOML file.

    Parameters
    ----------
    path : str or os.PathLike
        The file; this module's docstring shows one.

    Raises
    ------
    ValueError
        Not TOML, or what `parse_recipe` refuses; the message names the file.
    OSError
        The file cannot be read.
    """
    with Path(path).open("rb") as file:
        try:
            table = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise ValueError(f"{os.fspath(path)}: expected TOML: {e}") from e
    return parse_recipe(table, os.fspath(path))


def parse_recipe(table: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Return the recipe that a table, as `tomllib` reads it, stands for.

    Parameters
    ----------
    table : mapping
        ``{"rule": [{"match": "*", "quantize": {"bits": 8}}]}``.
    source : str
        Where it came from, for messages.

    Raises
    ------
    ValueError
        An unknown key (the message suggests the nearest), a missing one, or a setting that the
        function concerned refuses; the message names source, rule and key.

    Examples
    --------
    >>> parse_recipe({"rule": [{"match": "*", "quantise": {"bits": 8}}]}, "my.toml")
    Traceback (most recent call last):
    ValueError: my.toml: rule 1 ('*'): unknown key 'quantise', did you mean 'quantize'?
    """
    _refuse_unknown(table, ("rule",), source)
    rules = table.get("rule")
    if not isinstance(rules, list) or not rules:
        raise ValueError(f"{source}: expected at least one [[rule]] table")
    numbered = enumerate(rules, 1)
    return Recipe(tuple(_parse_rule(rule, f"{source}: rule {i}") for i, rule in numbered))


def parse_methods(table: Mapping[str, Any], where: str) -> tuple[Prune | None, Quantize | None]:
    """Return what the tables ``prune`` and ``quantize`` of `table` say."""
    prune, quantize = table.get("prune"), table.get("quantize")
    return (
        None if prune is None else _parse_prune(prune, f"{where}: prune"),
        None if quantize is None else _parse_quantize(quantize, f"{where}: quantize"),
    )


def parse_nm(text: str) -> tuple[int, int]:
    """Return the n and m of ``"n:m"``."""
    n, colon, m = text.partition(":")
    if not (colon and n.isdecimal() and m.isdecimal()):
        raise ValueError(f"nm must be like '2:4', not {text!r}")
    return int(n), int(m)


def _parse_rule(table: Any, where: str) -> Rule:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table, not {table!r}")
    match = table.get("match")
    globs = [match] if isinstance(match, str) else match
    if isinstance(globs, list) and globs and all(isinstance(glob, str) for glob in globs):
        where += f" ({', '.join(map(repr, globs))})"
    _refuse_unknown(table, _RULE_KEYS, where)
    if not where.endswith(")"):
        raise ValueError(f"{where}: match must be a glob or a list of globs, not {match!r}")
    for key in ("ndim", "min_size"):
        value = table.get(key, 0)
        if type(value) is not int or value < 0:
            raise ValueError(f"{where}: {key} must be an integer of at least 0, not {value!r}")
    prune, quantize = parse_methods(table, where)
    return Rule(tuple(globs), prune, quantize, table.get("ndim"), table.get("min_size", 1))


def _parse_prune(table: Any, where: str) -> Prune:
    _refuse_unknown(table, _PRUNE_KEYS, where)
    methods = [key for key in (*_PRUNERS, "nm") if key in table]
    if len(methods) != 1:
        found = " and ".join(methods) or "none of them"
        raise ValueError(f"{where}: expected one of {', '.join((*_PRUNERS, 'nm'))}, not {found}")
    (method,) = methods
    amount = table[method]
    try:
        if method == "nm":
            if len(table) > 1:
                raise ValueError("nm has no granularity: its groups are of m entries")
            return Prune("nm", parse_nm(amount if isinstance(amount, str) else repr(amount)))
        return Prune(method, amount, _parse_granularity(table, PerTensor()))
    except (TypeError, ValueError) as e:
        raise ValueError(f"{where}: {e}") from e


def _parse_quantize(table: Any, where: str) -> Quantize:
    _refuse_unknown(table, _QUANTIZE_KEYS, where)
    try:
        return Quantize(
            table.get("bits", 8),
            table.get("scheme", "symmetric"),
            _parse_granularity(table, GROUPS),
            table.get("rounding", "half_even"),
            table.get("range", "narrow"),
            table.get("scale"),
            table.get("seed"),
        )
    except (TypeError, ValueError) as e:
        raise ValueError(f"{where}: {e}") from e


def _parse_granularity(table: Mapping[str, Any], default: Granularity) -> Granularity:
    if "group_size" in table:
        if "per" in table:
            raise ValueError("expected per or group_size, not both")
        return PerGroup(table["group_size"])
    if "per" not in table:
        return default
    if not isinstance(table["per"], str) or table["per"] not in _GRANULARITIES:
        raise ValueError(f"per must be 'tensor' or 'row', not {table['per']!r}")
    return _GRANULARITIES[table["per"]]


def _granularity_settings(granularity: Granularity) -> dict[str, Any]:
    match granularity:
        case PerGroup(size):
            return {"group_size": size}
        case PerRow():
            return {"per": "row"}
    return {"per": "tensor"}


def _granularity_words(granularity: Granularity) -> str:
    if isinstance(granularity, PerGroup):
        return f"per {granularity.size}"
    return f"per {_granularity_settings(granularity)['per']}"


def _refuse_unknown(table: Any, allowed: Iterable[str], where: str) -> None:
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: expected a table, not {table!r}")
    allowed = list(allowed)
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(allowed)}"
            raise ValueError(f"{where}: unknown key {key!r}, {hint}")
