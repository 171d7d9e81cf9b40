"""How many bytes of a target the headers of files take."""

from dataclasses import replace
from pathlib import Path

from pyfq import __version__
from pyfq.cli._report import bytes_text
from pyfq.cli._source import Source
from pyfq.exchange.compressed_tensors import Declaration
from pyfq.exchange.manifest import KEY, write_manifest
from pyfq.exchange.rule import Rule
from pyfq.io.dtypes import nbytes_of
from pyfq.io.header import encode_header, lay_out
from pyfq.recipes import Coded, Recipe
from pyfq.recipes.declare import open_rules, plan_each

# Numbers with as many digits as there are.
_STEP, _SQNR = 0.01234567890123, 12.345678901234567

# Bytes of an entry of an npz file besides its array and two times its name, with the ending .npy:
# headers of 30 bytes, 20 of long sizes, 128 of NumPy, 46 in the directory.
_NPZ_ENTRY = 30 + 20 + 128 + 46 + 2 * 4
# Bytes of what ends the directory.
_NPZ_END = 22


def without_headers(source: Source, recipe: Recipe, target: Path) -> Recipe:
    """Return a recipe whose budget has the bytes that headers leave to tensors.

    Parameters
    ----------
    source : Source
        What is compressed.
    recipe : Recipe
        How.
    target : Path
        What is written; .npz has headers of its own.

    Raises
    ------
    ValueError
        If they leave none.
    """
    if recipe.budget is None or recipe.budget.nbytes is None:
        return recipe
    nbytes, headers = recipe.budget.nbytes, _header_bytes(source, recipe, target)
    if headers >= nbytes:
        raise ValueError(
            f"a file of {bytes_text(nbytes)} is less than its header, {bytes_text(headers)}"
        )
    return replace(recipe, budget=replace(recipe.budget, nbytes=nbytes - headers))


def _header_bytes(source: Source, recipe: Recipe, target: Path) -> int:
    """Return about how many bytes names, shapes and methods take in the files of weights."""
    words, shapes = source.words, source.shapes
    decided = {}
    for name, rule in open_rules(words, shapes, recipe).items():
        nbytes = max(nbytes_of(words[name], shapes[name]) // 8, 1)
        decided[name] = _decided(rule, recipe, nbytes)
    tensors = plan_each(words, shapes, recipe, decided=decided)
    parts: Declaration = {}
    for tensor in tensors:
        parts |= tensor.parts
    manifest = write_manifest(tensors, __version__)
    if target.suffix == ".npz":
        names = [*parts, KEY]
        return _NPZ_END + len(manifest) + sum(_NPZ_ENTRY + 2 * len(name.encode()) for name in names)
    metadata = {KEY: manifest}
    for entries in source.metadata.values():
        metadata |= entries
    return len(encode_header(lay_out(parts), metadata))


def _decided(rule: Rule, recipe: Recipe, nbytes: int) -> Rule:
    if rule.lossless is not None:
        return rule.with_coded(Coded(nbytes))
    if rule.rate is not None:
        return rule.with_coded(Coded(nbytes, _STEP, _SQNR))
    if rule.asks_for_bits:
        return rule.with_bits(recipe.budget.widths_for(rule)[0])
    return rule.with_rank(1)
