"""Compression of whole models: names and arrays in, compressed tensors out, one at a time.

| to | call |
|---|---|
| say what becomes of which tensor | `Recipe`, `Rule`, `Prune`, `Quantize` |
| read that from a TOML file | `read_recipe`, `parse_recipe` |
| see sizes before any data is touched | `plan` |
| compress | `compress`, `compress_tensor` |
| get tensors back | `decompress_tensor` |
| the names and shapes in files | `pyfq.recipes.layout` |
"""

from pyfq.recipes.compress import (
    Compressed,
    TensorPlan,
    compress,
    compress_tensor,
    decompress_tensor,
    plan,
)
from pyfq.recipes.recipe import Prune, Quantize, Recipe, Rule, parse_recipe, read_recipe

__all__ = [
    "Compressed",
    "Prune",
    "Quantize",
    "Recipe",
    "Rule",
    "TensorPlan",
    "compress",
    "compress_tensor",
    "decompress_tensor",
    "parse_recipe",
    "plan",
    "read_recipe",
]
