"""Compression of whole models: names and arrays in, compressed tensors out, one at a time.

| to | call |
|---|---|
| say what becomes of which tensor | `Recipe`, `Rule`, `Budget` |
| and how | `Prune`, `Quantize`, `QuantizeCodebook`, `Factorize` |
| read that from a TOML file | `read_recipe`, `parse_recipe` |
| find what only data tells: bits of a budget, ranks | `undecided`, `examine`, `decide` |
| see sizes before anything is compressed | `plan` |
| compress | `compress`, `compress_tensor`, `compress_network` |
| get tensors back | `decompress_tensor`, `restore_tensor` |
| know what a row of a tensor is | `pyfq.recipes.rows` |
| the names and shapes in files | `pyfq.recipes.forms`, `pyfq.recipes.layout` |
"""

from pyfq.recipes.compress import (
    Compressed,
    TensorPlan,
    compress,
    compress_tensor,
    decompress_tensor,
    plan,
    restore_tensor,
)
from pyfq.recipes.decide import Finding, decide, examine, undecided
from pyfq.recipes.methods import Factorize, Prune, Quantize, QuantizeCodebook
from pyfq.recipes.networks import compress_network
from pyfq.recipes.parse import parse_recipe, read_recipe
from pyfq.recipes.recipe import Budget, Recipe, Rule

__all__ = [
    "Budget",
    "Compressed",
    "Factorize",
    "Finding",
    "Prune",
    "Quantize",
    "QuantizeCodebook",
    "Recipe",
    "Rule",
    "TensorPlan",
    "compress",
    "compress_network",
    "compress_tensor",
    "decide",
    "decompress_tensor",
    "examine",
    "parse_recipe",
    "plan",
    "read_recipe",
    "restore_tensor",
    "undecided",
]
