"""Compression of whole models: names and arrays in, compressed tensors out, one at a time.

| to | call |
|---|---|
| say what becomes of which tensor | `Recipe`, `Rule`, `Budget` |
| and how | `Prune`, `Quantize`, `QuantizeCodebook`, `QuantizeRate`, `Lossless`, `Factorize` |
| read that from a TOML file | `read_recipe`, `parse_recipe` |
| find what only data tells: bits of a budget, ranks | `undecided`, `examine`, `decide` |
| find how many bytes entropy-coded weights take | `encode` |
| see sizes before anything is compressed | `plan` |
| compress | `compress`, `compress_tensor`, `compress_network` |
| get tensors back | `decompress_tensor`, `restore_tensor` |

A recipe goes one way, a module a step: `parse` makes a `recipe` of a file, `declare` says what
becomes of each tensor, `measure` sees the data where only that tells, `choose` decides by it, and
`compress` does the work, with the arithmetic of `make`. What goes from step to step is a
`TensorPlan`. What a tensor's methods, parts and rows are stands below, in `pyfq.exchange`: `rule`,
`methods`, `stored`, `rows`.
"""

from pyfq.exchange.methods.codebook import QuantizeCodebook
from pyfq.exchange.methods.coded import Coded
from pyfq.exchange.methods.lossless import Lossless
from pyfq.exchange.methods.lowrank import Factorize
from pyfq.exchange.methods.prune import Prune
from pyfq.exchange.methods.quantize import Quantize
from pyfq.exchange.methods.rate import QuantizeRate
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import TensorPlan, decompress_tensor, restore_tensor
from pyfq.recipes.choose import choose_bits as decide
from pyfq.recipes.compress import Compressed, compress, compress_tensor
from pyfq.recipes.declare import open_rules as undecided
from pyfq.recipes.declare import plan
from pyfq.recipes.measure import Finding
from pyfq.recipes.measure import code as encode
from pyfq.recipes.measure import measure as examine
from pyfq.recipes.networks import compress_network
from pyfq.recipes.parse import parse_recipe, read_recipe
from pyfq.recipes.recipe import Budget, Recipe

__all__ = [
    "Budget",
    "Coded",
    "Compressed",
    "Factorize",
    "Finding",
    "Lossless",
    "Prune",
    "Quantize",
    "QuantizeCodebook",
    "QuantizeRate",
    "Recipe",
    "Rule",
    "TensorPlan",
    "compress",
    "compress_network",
    "compress_tensor",
    "decide",
    "decompress_tensor",
    "encode",
    "examine",
    "parse_recipe",
    "plan",
    "read_recipe",
    "restore_tensor",
    "undecided",
]
