"""Recipes in TOML.

::

    [[rule]]                                  # the first rule that matches a tensor decides
    match = ["*LayerNorm*", "*bias"]          # no method: copied bit for bit

    [[rule]]
    match = "*embeddings*"
    quantize = { bits = 8 }

    [[rule]]
    match = "*attention*"
    lowrank = { ratio = 0.5 }                 # or rank, energy, tolerance
    precision = "bfloat16"                    # of the factors; alone, of the tensor

    [[rule]]
    match = "*output*"
    codebook = "nf4"                          # or { levels = "lloyd", bits = 3, scale_bits = 8 }
    rows = "leading"                          # or "first"; else name and shape tell

    [[rule]]
    match = "*"
    min_ndim = 2                              # matrices, kernels, stacks of matrices
    min_size = 4096                           # of at least 4096 entries
    prune = { ratio = 0.5, per = "row" }      # or percentile, threshold, nm = "2:4"
    quantize = { bits = "budget", scheme = "affine", group_size = 64 }

    [budget]
    bits_per_weight = 6.0                     # of all that is not copied, scales counted
    choices = [2, 3, 4, 8]                    # what bits = "budget" can be
    error = "relative"                        # to the squares of a tensor; or "absolute"
    sensitivity = { "*query*" = 4.0 }         # what an error counts, where it is not 1
"""

import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyfq._core.check import shown
from pyfq._core.grid import Granularity, PerGroup, PerTensor
from pyfq.io.regular import open_regular
from pyfq.recipes.methods import (
    CODEBOOK_GROUPS,
    GRANULARITIES,
    GROUPS,
    PRUNERS,
    RANKS,
    Factorize,
    Prune,
    Quantize,
    QuantizeCodebook,
)
from pyfq.recipes.recipe import Budget, Recipe, Rule

_RULE_KEYS = (
    "match", "ndim", "min_ndim", "min_size", "rows", "prune", "lowrank", "quantize", "codebook",
    "precision",
)  # fmt: skip
_LIMITS = ("ndim", "min_ndim", "min_size")
_PRUNE_KEYS = (*PRUNERS, "nm", "along", "per", "group_size")
_QUANTIZE_KEYS = (
    "bits", "scheme", "per", "group_size", "rounding", "range", "scale", "seed", "calibration",
    "percentile",
)  # fmt: skip
_CODEBOOK_KEYS = (
    "levels", "bits", "per", "group_size", "calibration", "scale_bits", "initialization", "seed",
    "iterations",
)  # fmt: skip
_LOWRANK_KEYS = (*RANKS, "method", "seed", "residual")
_BUDGET_KEYS = ("bits_per_weight", "choices", "error", "sensitivity")


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a TOML file.

    Parameters
    ----------
    path : str or os.PathLike
        The file; the module `pyfq.recipes.parse` shows one.

    Raises
    ------
    ValueError
        Not TOML, or what `parse_recipe` refuses; the message names the file.
    OSError
        The file cannot be read.
    """
    with open_regular(Path(path)) as file:
        try:
            table = tomllib.load(file)
        except (ValueError, RecursionError) as e:  # not TOML, or an integer of 5000 digits
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
    with placed(source):
        _refuse_unknown(table, ("rule", "budget"))
    rules = table.get("rule")
    if not isinstance(rules, list) or not rules:
        raise ValueError(f"{source}: expected at least one [[rule]] table")
    numbered = enumerate(rules, 1)
    parsed = tuple(_parse_rule(rule, f"{source}: rule {i}") for i, rule in numbered)
    budget = table.get("budget")
    budget = None if budget is None else _parse_budget(budget, f"{source}: budget")
    with placed(source):
        return Recipe(parsed, budget)


def parse_methods(table: Mapping[str, Any], where: str, match: tuple[str, ...]) -> Rule:
    """Return the rule that does what the methods in `table` say to the tensors of a name."""
    parsers: dict[str, Callable[[Any], Any]] = {
        "prune": _parse_prune,
        "lowrank": _parse_lowrank,
        "quantize": _parse_quantize,
        "codebook": _parse_codebook,
        "precision": lambda word: word,
        "rows": lambda word: word,
    }
    methods = {}
    for key, parse in parsers.items():
        if table.get(key) is not None:
            with placed(f"{where}: {key}"):
                methods[key] = parse(table[key])
    with placed(where):
        return Rule(match, **methods)


def parse_nm(text: str) -> tuple[int, int]:
    """Return the n and m of ``"n:m"``."""
    n, colon, m = text.partition(":")
    if not (colon and n.isdecimal() and m.isdecimal()):
        raise ValueError(f"nm must be like '2:4', not {shown(text)}")
    return int(n), int(m)


def _parse_rule(table: Any, where: str) -> Rule:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table, not {shown(table)}")
    match = table.get("match")
    globs = [match] if isinstance(match, str) else match
    if isinstance(globs, list) and globs and all(isinstance(glob, str) for glob in globs):
        where += f" ({', '.join(map(repr, globs))})"
    with placed(where):
        _refuse_unknown(table, _RULE_KEYS)
        if not where.endswith(")"):
            raise ValueError(f"match must be a glob or a list of globs, not {shown(match)}")
        for key in _LIMITS:
            value = table.get(key, 0)
            if type(value) is not int or value < 0:
                raise ValueError(f"{key} must be an integer of at least 0, not {shown(value)}")
    limits = {key: table[key] for key in _LIMITS if key in table}
    return replace(parse_methods(table, where, tuple(globs)), **limits)


def _parse_budget(table: Any, where: str) -> Budget:
    with placed(where):
        _refuse_unknown(table, _BUDGET_KEYS)
        if "bits_per_weight" not in table:
            raise ValueError("bits_per_weight is missing")
        sensitivity = table.get("sensitivity", {})
        if not isinstance(sensitivity, Mapping):
            raise ValueError(f"sensitivity must be a table of globs, not {shown(sensitivity)}")
        settings = {"sensitivity": tuple(sensitivity.items())}
        if "error" in table:
            settings["error"] = table["error"]
        if "choices" in table:
            choices = table["choices"]
            settings["choices"] = tuple(choices) if isinstance(choices, list) else choices
        return Budget(table["bits_per_weight"], **settings)


def _parse_prune(table: Any) -> Prune:
    _refuse_unknown(table, _PRUNE_KEYS)
    methods = [key for key in (*PRUNERS, "nm") if key in table]
    if len(methods) != 1:
        found = " and ".join(methods) or "none of them"
        raise ValueError(f"expected one of {', '.join((*PRUNERS, 'nm'))}, not {found}")
    (method,) = methods
    amount = table[method]
    if method == "nm":
        if table.keys() - {"nm", "along"}:
            raise ValueError("nm has no granularity: its groups are of m entries")
        amount = parse_nm(amount if isinstance(amount, str) else repr(amount))
        return Prune("nm", amount, along=table.get("along", "row"))
    if "along" in table:
        raise ValueError(f"along is of nm, not of {method}")
    return Prune(method, amount, _parse_granularity(table, PerTensor()))


def _parse_quantize(table: Any) -> Quantize:
    _refuse_unknown(table, _QUANTIZE_KEYS)
    settings = {key: value for key, value in table.items() if key not in ("per", "group_size")}
    return Quantize(granularity=_parse_granularity(table, GROUPS), **settings)


def _parse_codebook(said: Any) -> QuantizeCodebook:
    table = {"levels": said} if isinstance(said, str | list) else said
    _refuse_unknown(table, _CODEBOOK_KEYS)
    settings = {key: value for key, value in table.items() if key not in ("per", "group_size")}
    if isinstance(settings.get("levels"), list):
        settings["levels"] = tuple(settings["levels"])
    return QuantizeCodebook(granularity=_parse_granularity(table, CODEBOOK_GROUPS), **settings)


def _parse_lowrank(table: Any) -> Factorize:
    _refuse_unknown(table, _LOWRANK_KEYS)
    settings = dict(table)
    if "residual" in settings:
        with placed("residual"):
            settings["residual"] = _parse_quantize(settings["residual"])
    return Factorize(**settings)


def _parse_granularity(table: Mapping[str, Any], default: Granularity) -> Granularity:
    if "group_size" in table:
        if "per" in table:
            raise ValueError("expected per or group_size, not both")
        return PerGroup(table["group_size"])
    if "per" not in table:
        return default
    if not isinstance(table["per"], str) or table["per"] not in GRANULARITIES:
        raise ValueError(f"per must be 'tensor' or 'row', not {shown(table['per'])}")
    return GRANULARITIES[table["per"]]


def _refuse_unknown(table: Any, allowed: Iterable[str]) -> None:
    if not isinstance(table, Mapping):
        raise ValueError(f"expected a table, not {shown(table)}")
    allowed = list(allowed)
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"did you mean {shown(near[0])}?" if near else f"expected {', '.join(allowed)}"
            raise ValueError(f"unknown key {shown(key)}, {hint}")


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Let a refusal say which part of a recipe it is about."""
    try:
        yield
    except (TypeError, ValueError) as e:
        raise ValueError(f"{where}: {e}") from e
