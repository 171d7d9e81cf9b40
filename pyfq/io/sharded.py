"""The index of a sharded checkpoint: which file holds which tensor.

::

    {"metadata": {"total_size": 1234},
     "weight_map": {"name": "model-00001-of-00002.safetensors"}}

It is what ``save_pretrained`` of Hugging Face transformers writes as
``model.safetensors.index.json``; the shards are safetensors files beside it.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pyfq._core.check import shown
from pyfq.io.atomic import replacing
from pyfq.io.errors import FormatError
from pyfq.io.magic import HEAD, kind_of
from pyfq.io.regular import read_regular
from pyfq.io.strict_json import parse_object


def read_index(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the weight map of an index: for each tensor the file that holds it.

    Parameters
    ----------
    path : str or os.PathLike
        ``model.safetensors.index.json``.

    Returns
    -------
    dict[str, str]
        Tensor name to file name, relative to the index and never above it.

    Raises
    ------
    FormatError
        Not JSON, no weight map of text to text, a name twice, or a file outside the directory.
    OSError
        The index cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pyfq.io import read_index, write_index
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "model.safetensors.index.json")
    ...     write_index(path, {"w": "model-00001-of-00001.safetensors"}, total_size=16)
    ...     read_index(path)
    {'w': 'model-00001-of-00001.safetensors'}
    """
    return read_index_document(path)["weight_map"]


def is_index(name: str) -> bool:
    """Tell whether a file of this name is the index of shards, of a variant such as fp16, too.

    Examples
    --------
    >>> is_index("model.safetensors.index.json"), is_index("model.safetensors.index.fp16.json")
    (True, True)
    """
    return re.search(r"\.index(\.[\w-]+)?\.json$", name) is not None


def read_index_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return all of an index: ``weight_map``, checked, ``metadata``, and what else stands in it.

    Raises
    ------
    FormatError
        As `read_index`, or the metadata is not an object.
    OSError
        The index cannot be read.
    """
    path = Path(path)
    raw = read_regular(path)
    kind = None if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else kind_of(raw[:HEAD])
    if kind is not None:
        raise FormatError(path, f"index: expected a JSON object, got {kind}")
    index = parse_object(raw, path, "index", lenient=True)
    if index.get("metadata") is None:
        index["metadata"] = {}
    if not isinstance(index["metadata"], dict):
        raise FormatError(path, f"metadata: expected an object, got {shown(index['metadata'])}")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict):
        raise FormatError(path, f"weight_map: expected an object, got {shown(weight_map)}")
    for name, file in weight_map.items():
        if not isinstance(file, str):
            raise FormatError(path, f"weight_map: {shown(name)}: expected text, got {shown(file)}")
        if _escapes(file):
            raise FormatError(
                path, f"weight_map: {shown(name)}: {shown(file)} is outside the index's directory"
            )
        weight_map[name] = _plain(file)
    return index


def write_index(
    path: str | os.PathLike[str],
    weight_map: Mapping[str, str],
    total_size: int,
    metadata: Mapping[str, object] | None = None,
    *,
    others: Mapping[str, object] | None = None,
) -> None:
    """Write the index of a sharded checkpoint, atomically; the shards should be there already.

    Parameters
    ----------
    path : str or os.PathLike
        The target, ``model.safetensors.index.json`` by convention.
    weight_map : Mapping[str, str]
        Tensor name to file name, relative to the index.
    total_size : int
        Bytes of all tensors together, headers not counted.
    metadata : Mapping[str, object], optional
        Further entries of the index's metadata, as Python's json can hold them.
    others : Mapping[str, object], optional
        Further entries of the index itself.

    Raises
    ------
    TypeError
        A weight map that is not text to text, metadata that JSON cannot hold.
    ValueError
        A file outside the directory, a negative total, metadata with a ``total_size`` of its own,
        others with a ``metadata`` or ``weight_map`` of their own.

    Examples
    --------
    >>> import tempfile
    >>> from pyfq.io import write_index
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "model.safetensors.index.json")
    ...     write_index(path, {"w": "model-00001-of-00001.safetensors"}, total_size=16)
    ...     print(path.read_text())
    {
      "metadata": {
        "total_size": 16
      },
      "weight_map": {
        "w": "model-00001-of-00001.safetensors"
      }
    }
    <BLANKLINE>
    """
    content = index_content(weight_map, total_size, metadata, others)
    with replacing(Path(path)) as target:
        target.write(content)


def index_content(
    weight_map: Mapping[str, str],
    total_size: int,
    metadata: Mapping[str, object] | None = None,
    others: Mapping[str, object] | None = None,
) -> bytes:
    """Return the bytes of an index; see `write_index`."""
    for name, file in weight_map.items():
        if not isinstance(name, str) or not isinstance(file, str):
            raise TypeError(f"weight_map: expected str to str, got {shown(name)} to {shown(file)}")
        if _escapes(file):
            raise ValueError(
                f"weight_map: {shown(name)}: {shown(file)} is outside the index's directory"
            )
    if total_size < 0:
        raise ValueError(f"total_size: expected at least 0, got {total_size}")
    if metadata is not None and "total_size" in metadata:
        raise ValueError("metadata: total_size is an argument of its own")
    if others is not None and others.keys() & {"metadata", "weight_map"}:
        raise ValueError("others: metadata and weight_map are arguments of their own")
    index = {
        **(others or {}),
        "metadata": {"total_size": total_size, **(metadata or {})},
        "weight_map": dict(weight_map),
    }
    text = json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode("utf-8")


def _plain(file: str) -> str:
    """Return the one name of a file among those that lead to it through ``.`` or two slashes."""
    return str(PurePosixPath(file)) if file else file


def _escapes(file: str) -> bool:
    # Read as Windows reads it, which knows both slashes and drives: refused on one host, refused
    # on all. Symbolic links are left alone: the Hugging Face cache is made of them.
    path = PureWindowsPath(file)
    return bool(path.anchor) or ".." in path.parts or "\0" in file
