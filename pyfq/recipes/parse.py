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
    match = "*experts*"
    rate = { bits = 2.5, trellis = 8 }        # or step, sqnr; trellis = 4, "none"; per = "row"

    [[rule]]
    match = "*norm*"
    lossless = true                           # the same bits in fewer bytes, of pruned floats, too

    [[rule]]
    match = "*"
    min_ndim = 2                              # matrices, kernels, stacks of matrices
    min_size = 4096                           # of at least 4096 entries
    prune = { ratio = 0.5, per = "row" }      # or percentile, threshold, nm = "2:4"
    quantize = { bits = "budget", scheme = "affine", group_size = 64 }

    [budget]
    bits_per_weight = 6.0                     # of all that is not copied; or nbytes, of all
    choices = [2, 3, 4, 8]                    # what bits = "budget" can be
    error = "relative"                        # to the squares of a tensor; or "absolute"
    sensitivity = { "*query*" = 4.0 }         # what an error counts, where it is not 1
    exponent = 0.45                           # with rate = "budget": how steps grow with sizes
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyfq._core.check import shown
from pyfq.exchange.methods.tables import placed, refuse_unknown
from pyfq.exchange.rule import Rule, parse_methods
from pyfq.io.regular import open_regular
from pyfq.recipes.recipe import Budget, Recipe

_RULE_KEYS = (
    "match", "ndim", "min_ndim", "min_size", "rows", "prune", "lowrank", "quantize", "codebook",
    "rate", "precision", "lossless",
)  # fmt: skip
_LIMITS = ("ndim", "min_ndim", "min_size")
_BUDGET_KEYS = ("bits_per_weight", "nbytes", "choices", "error", "sensitivity", "exponent")


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
            table = tomllib.loads(file.read().decode("utf-8-sig"))
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
        refuse_unknown(table, ("rule", "budget"))
    rules = table.get("rule")
    if not isinstance(rules, list) or not rules:
        raise ValueError(f"{source}: expected at least one [[rule]] table")
    numbered = enumerate(rules, 1)
    parsed = tuple(_parse_rule(rule, f"{source}: rule {i}") for i, rule in numbered)
    budget = table.get("budget")
    budget = None if budget is None else _parse_budget(budget, f"{source}: budget")
    with placed(source):
        return Recipe(parsed, budget)


def _parse_rule(table: Any, where: str) -> Rule:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table, not {shown(table)}")
    match = table.get("match")
    globs = [match] if isinstance(match, str) else match
    if isinstance(globs, list) and globs and all(isinstance(glob, str) for glob in globs):
        where += f" ({', '.join(map(repr, globs))})"
    with placed(where):
        refuse_unknown(table, _RULE_KEYS)
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
        refuse_unknown(table, _BUDGET_KEYS)
        if "bits_per_weight" not in table and "nbytes" not in table:
            raise ValueError("bits_per_weight is missing, or nbytes")
        sensitivity = table.get("sensitivity", {})
        if not isinstance(sensitivity, Mapping):
            raise ValueError(f"sensitivity must be a table of globs, not {shown(sensitivity)}")
        settings = {"sensitivity": tuple(sensitivity.items())}
        settings |= {key: table[key] for key in ("error", "exponent", "nbytes") if key in table}
        if "choices" in table:
            choices = table["choices"]
            settings["choices"] = tuple(choices) if isinstance(choices, list) else choices
        return Budget(table.get("bits_per_weight"), **settings)
