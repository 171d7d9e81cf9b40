"""The index of a sharded checkpoint: which file holds which tensor.

::

    {"metadata": {"total_size": 1234},
     "weight_map": {"name": "model-00001-of-00002.safetensors"}}

It is what ``save_pretrained`` of Hugging Face transformers writes as
``model.safetensors.index.json``; the shards are safetensors files beside it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

from pyfq.io.atomic import replacing
from pyfq.io.errors import FormatError, shown
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
    path = Path(path)
    index = parse_object(path.read_bytes(), path, "index")
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
    return weight_map


def write_index(
    path: str | os.PathLike[str],
    weight_map: Mapping[str, str],
    total_size: int,
    metadata: Mapping[str, object] | None = None,
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
        Further entries of the index's metadata, as JSON can hold them.

    Raises
    ------
    TypeError
        A weight map that is not text to text, metadata that JSON cannot hold.
    ValueError
        A file outside the directory, a negative total, metadata with a ``total_size`` of its own.

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
    content = index_content(weight_map, total_size, metadata)
    with replacing(Path(path)) as target:
        target.write(content)


def index_content(
    weight_map: Mapping[str, str], total_size: int, metadata: Mapping[str, object] | None = None
) -> bytes:
    """Return the bytes of an index; see `write_index`."""
    for name, file in weight_map.items():
        if not isinstance(name, str) or not isinstance(file, str):
            raise TypeError(f"weight_map: expected str to str, got {name!r} to {file!r}")
        if _escapes(file):
            raise ValueError(f"weight_map: {name!r}: {file!r} is outside the index's directory")
    if total_size < 0:
        raise ValueError(f"total_size: expected at least 0, got {total_size}")
    if metadata is not None and "total_size" in metadata:
        raise ValueError("metadata: total_size is an argument of its own")
    index = {
        "metadata": {"total_size": total_size, **(metadata or {})},
        "weight_map": dict(weight_map),
    }
    text = json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8")


def _escapes(file: str) -> bool:
    # Read as Windows reads it, which knows both slashes and drives: refused on one host, refused
    # on all. Symbolic links are left alone: the Hugging Face cache is made of them.
    path = PureWindowsPath(file)
    return bool(path.anchor) or ".." in path.parts or "\0" in file
