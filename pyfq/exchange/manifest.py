"""What a file says of the tensors in it that were compressed.

A safetensors file has it in its metadata, an npz file as the bytes of an array, called ``pyfq``::

    {"version": "0.1.0",
     "tensors": {"a.weight": {"dtype": "BF16", "shape": [8, 64], "format": "pack-quantized",
                              "prune": {"ratio": 0.5, "per": "tensor"},
                              "quantize": {"bits": 4, "scheme": "affine", "group_size": 64, ...}}}}

``dtype`` and ``shape`` are those before compression. ``prune``, ``quantize`` and so on are the
words of a recipe, with the bits and ranks that data decided; so is ``"rows": "first"``, which a
kernel of three axes and more has: without it rows lie along the last axis. That is all that is
needed to read the file back. ``"made": ["config.json"]`` names a file that the source did not have.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .._core.check import shown
from ..io.dtypes import nbytes_of
from .rule import parse_methods
from .stored import DENSE, TensorPlan, declare, dense_tensor

#: The name of the entry.
KEY = "pyfq"


def write_manifest(tensors: Iterable[TensorPlan], version: str, made: Sequence[str] = ()) -> str:
    """Return the entry for the tensors of a file; copied ones are left out.

    Files beside it that the source did not have are named in `made`.
    """
    described = {
        tensor.name: {
            "dtype": tensor.word,
            "shape": list(tensor.shape),
            "format": tensor.format,
            **_rows_entry(tensor),
            **tensor.rule.methods(),
        }
        for tensor in tensors
        if tensor.rule is not None
    }
    entry = {"version": version, "tensors": described} | ({"made": list(made)} if made else {})
    return json.dumps(entry, separators=(",", ":"))


def _rows_entry(tensor: TensorPlan) -> dict[str, str]:
    """Return the word for rows; rows along the last axis go without, and so do matrices."""
    return {"rows": "first"} if len(tensor.shape) > 2 and tensor.rule.rows == "first" else {}


def read_made(text: str) -> list[str]:
    """Return the files beside it that the source did not have, of an entry that can be read."""
    made = json.loads(text).get("made")
    return [name for name in made if isinstance(name, str)] if isinstance(made, list) else []


def read_manifest(text: str) -> dict[str, TensorPlan]:
    """Return what was done to each compressed tensor of a file.

    Raises
    ------
    ValueError
        The entry is not one that `write_manifest` writes.
    """
    where = f"entry {KEY!r}"
    try:
        tensors = json.loads(text)["tensors"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(f"{where}: expected JSON with tensors") from e
    read = {}
    for name, entry in tensors:
        its_place = f"{where}: {shown(name)}"
        try:
            read[name] = _read_tensor(name, entry, its_place)
        except (TypeError, ValueError) as e:
            said = str(e)
            raise ValueError(said if said.startswith(its_place) else f"{its_place}: {said}") from e
    return read


def _read_tensor(name: str, entry: Any, where: str) -> TensorPlan:
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        raise ValueError(f"{where}: expected dtype, shape, format")
    word, shape = entry.get("dtype"), tuple(entry["shape"])
    nbytes_of(word, shape)
    rule = parse_methods({"rows": "leading"} | entry, where, (name,))
    if entry.get("format") == DENSE:
        return dense_tensor(name, word, shape, rule)
    if rule.undecided or rule.copies or not rule.takes(word):
        raise ValueError(f"{where}: expected methods, and nothing undecided")
    tensor = declare(name, word, shape, rule)
    if entry.get("format") != tensor.format:
        raise ValueError(
            f"{where}: expected format {tensor.format!r}, not {shown(entry.get('format'))}"
        )
    return tensor
