"""How what ``compress`` writes is opened: codes that loaders know, and what is said of it.

That stands in ``config.json``, in the last line of the report, and in the README.
"""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from pyfq.cli._compress_options import AUTO
from pyfq.cli._destination import README_BEGINS, Destination
from pyfq.cli._model_config import CONFIG, OWN_QUANTIZATION, is_of_transformers, read_config
from pyfq.cli._report import path_text
from pyfq.cli._source import Source
from pyfq.exchange.compressed_tensors import INT, PACK, opens_in_transformers, quantization_config
from pyfq.exchange.stored import CAST, COPY, DENSE, TensorPlan
from pyfq.recipes import Recipe
from pyfq.recipes.loadable import loadable

_README = """\
{beginning} `pyfq inspect .` shows what became of each tensor.

{opening}
## Tensors in Python

    import pyfq

    with pyfq.load_checkpoint(".") as checkpoint:
        for name in checkpoint:
            print(name, checkpoint[name])     # codes and scales, factors, or an array
            w = checkpoint.dense(name)        # its floats

## Floats again

`pyfq decompress . -o DIRECTORY` writes the model with floats under the names and dtypes that it
had. Any framework opens that.
"""

_TRANSFORMERS = """\
## With transformers

    from transformers import AutoModel

    model = AutoModel.from_pretrained(".")

No option is needed, only a package: `pip install compressed-tensors`. `SentenceTransformer(".")`
opens a sentence encoder in the same way. Weights become floats when they are loaded.
"""

_OWN = """\
## With other libraries

The weights are in a form of pyfq's own, which other libraries do not know, and which transformers
refuses. Make floats of them first, as below.
"""

_SCHEMES = """\
## With other libraries

The codes are of several schemes of compressed-tensors. transformers opens that of linear layers at
most. Make floats of them first, as below.
"""


def for_loaders(recipe: Recipe, args: argparse.Namespace, source: Source) -> Recipe:
    """Return the recipe of options such that loaders open the result, if they are to open it.

    So it is where neither a recipe nor a method was asked for, and the model's directory is one of
    transformers.
    """
    left_open = args.recipe is None and args.method in (None, AUTO)
    if not left_open or not _is_model(source):
        return recipe
    groups = args.group_size is None and not (args.per_row or args.per_tensor)
    return loadable(
        recipe, source.words, source.shapes, groups=groups, scales=args.rounding is None
    )


def _is_model(source: Source) -> bool:
    config = source.file.parent / CONFIG
    return config.exists() and is_of_transformers(read_config(config))


def packed_of(tensors: Iterable[TensorPlan]) -> list[TensorPlan]:
    """Return the tensors that stand in the file as anything but floats."""
    return [tensor for tensor in tensors if tensor.format not in (COPY, CAST, DENSE)]


def _is_own(tensor: TensorPlan) -> bool:
    """Return whether a packed tensor is in a format that pyfq alone reads."""
    return tensor.format not in (INT, PACK)


def _opens(tensors: Iterable[TensorPlan]) -> bool:
    packed = packed_of(tensors)
    codes = {t.name: (t.shape, t.rule.quantize) for t in packed if not _is_own(t)}
    return len(codes) == len(packed) and opens_in_transformers(codes)


def quantization_of(
    destination: Destination, tensors: Iterable[TensorPlan]
) -> Mapping[str, Any] | None:
    """Return what ``config.json`` says of the quantization of tensors; None if nothing.

    Where a tensor is in pyfq's own format, other libraries must refuse the whole model. No config
    is made up for that: without one they open no model.
    """
    packed = packed_of(tensors)
    others = {t.name: (t.shape, t.rule.quantize) for t in packed if not _is_own(t)}
    is_all = len(others) == len(packed)
    if not is_all and destination.has_config:
        return OWN_QUANTIZATION
    return quantization_config(others, is_all=is_all)


def opening_line(source: Source, destination: Destination, tensors: Iterable[TensorPlan]) -> str:
    """Return the line of a report that says how to open what other libraries cannot; else "".

    They learn from ``config.json`` how weights are quantized, which a file alone does not have.
    """
    packed = packed_of(tensors)
    opens = _opens(packed)
    if not packed or (opens and not destination.is_file):
        return ""
    hint = ""
    if any(map(_is_own, packed)):
        what = "in pyfq's format"
    elif destination.is_file:
        what = "no config.json tells other libraries of its codes"
        hint = (
            ", -o DIRECTORY writes what transformers opens" if opens and _is_model(source) else ""
        )
    else:
        what = "codes of several schemes, which transformers opens of linear layers at most"
    path = path_text(destination.path)
    return (
        f"\n{what}: pyfq.load_checkpoint reads it, pyfq decompress {path} -o DST makes floats of "
        f"it, --dense writes them at once{hint}"
    )


def readme(tensors: Iterable[TensorPlan]) -> bytes:
    """Return the text that says how to open a directory."""
    packed = packed_of(tensors)
    opening = _OWN if any(map(_is_own, packed)) else _SCHEMES
    opening = _TRANSFORMERS if _opens(packed) else opening
    return _README.format(beginning=README_BEGINS, opening=opening).encode()
