"""A checkpoint, however it is stored: one file, or shards and their index."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np

from pyfq.io.errors import FormatError, shown
from pyfq.io.npz import NpzFile, open_npz
from pyfq.io.safetensors import SafetensorsFile, open_safetensors
from pyfq.io.sharded import read_index
from pyfq.io.staging import is_settled, settle

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_TRIES = 10


def open_checkpoint(path: str | os.PathLike[str]) -> "Checkpoint":
    """Open a checkpoint as one lazy, read-only mapping from names to arrays.

    Parameters
    ----------
    path : str or os.PathLike
        A ``.safetensors`` file, a ``.npz`` file, a ``.index.json`` of shards, or a directory that
        holds ``model.safetensors``, else ``model.safetensors.index.json``, else exactly one
        ``.safetensors`` file.

    Returns
    -------
    Checkpoint
        Arrays as `open_safetensors` or `open_npz` return them; names file by file in the order of
        the file names, within a file in the order of its data.

    Raises
    ------
    FormatError
        A file breaks the rules of its format, is none of those above, or the index and its shards
        disagree: a file that is missing, a tensor that its shard or the index lacks, a name in two
        shards, a file outside the directory.
    OSError
        A file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pyfq.io import open_checkpoint, write_index, write_safetensors
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for shard in "a", "b":
    ...         path = Path(directory, f"{shard}.safetensors")
    ...         write_safetensors(path, {shard: np.zeros(2, np.float32)})
    ...     weight_map = {"a": "a.safetensors", "b": "b.safetensors"}
    ...     write_index(Path(directory, "model.safetensors.index.json"), weight_map, 16)
    ...     with open_checkpoint(directory) as checkpoint:
    ...         print(dict(checkpoint.shapes), checkpoint.file_of["b"].name)
    {'a': (2,), 'b': (2,)} b.safetensors
    """
    for _ in range(_TRIES):
        settle(Path(path))
        before = _identity(Path(path))
        try:
            checkpoint = _open(Path(path))
        except (FormatError, OSError):
            if before == _identity(Path(path)):
                raise
            continue  # replaced while it was opened
        if before == _identity(Path(path)) and (len(checkpoint.files) < 2 or is_settled(path)):
            return checkpoint
        checkpoint.close()
    raise FormatError(path, "it is replaced again and again")


def _open(path: Path) -> "Checkpoint":
    path = _find(path) if path.is_dir() else path
    with ExitStack() as stack:
        if path.name.endswith(".index.json"):
            files = _open_shards(path, stack)
        elif path.suffix == ".npz":
            files = [stack.enter_context(open_npz(path))]
        elif path.suffix == ".safetensors":
            files = [stack.enter_context(open_safetensors(path))]
        else:
            raise FormatError(
                path, "expected .safetensors, .npz, .index.json or a directory of them"
            )
        return Checkpoint(path, files, stack.pop_all())


class Checkpoint(Mapping[str, np.ndarray]):
    """An open checkpoint; `open_checkpoint` makes it.

    Attributes
    ----------
    path : Path
        The file or index that was opened.
    files : tuple[Path, ...]
        The files that hold the tensors.
    file_of : Mapping[str, Path]
        The file of each tensor.
    dtypes : Mapping[str, str]
        The safetensors dtype word of each tensor.
    shapes : Mapping[str, tuple[int, ...]]
        Shape of each tensor.
    metadata : dict[str, str]
        The entries of ``__metadata__`` that all files have in common.
    nbytes : int
        Bytes of all tensors together.
    """

    def __init__(
        self, path: Path, files: list[SafetensorsFile | NpzFile], resources: ExitStack
    ) -> None:
        self.path = path
        self.files = tuple(file.path for file in files)
        self.file_of = MappingProxyType({name: file.path for file in files for name in file})
        self.dtypes = MappingProxyType({k: v for file in files for k, v in file.dtypes.items()})
        self.shapes = MappingProxyType({k: v for file in files for k, v in file.shapes.items()})
        self.nbytes = sum(file.nbytes for file in files)
        common = [set(file.metadata.items()) for file in files]
        self.metadata = dict(sorted(set.intersection(*common))) if common else {}
        self._holder = {name: file for file in files for name in file}
        self._resources = resources

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a tensor from the file that holds it."""
        return self._holder[name][name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, file by file."""
        return iter(self._holder)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._holder)

    def __contains__(self, name: object) -> bool:
        """Tell whether a file has a tensor of that name, without reading it."""
        return name in self._holder

    def close(self) -> None:
        """Close all files."""
        self._resources.close()

    def __enter__(self) -> Self:
        """Return the checkpoint itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all files."""
        self.close()


def _identity(path: Path) -> list[tuple[int, int]] | None:
    """Return what tells a file or a directory and what it leads to from those that replace them."""
    try:
        places = (path, _find(path)) if path.is_dir() else (path,)
        return [(found.st_dev, found.st_ino) for found in map(Path.stat, places)]
    except (FormatError, OSError):
        return None


def _find(directory: Path) -> Path:
    for name in SINGLE, INDEX:
        if (directory / name).is_file():
            return directory / name
    found = sorted(directory.glob("*.safetensors"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise FormatError(
            directory, f"expected {SINGLE}, {INDEX} or exactly one .safetensors file, found {names}"
        )
    return found[0]


def _open_shards(index: Path, stack: ExitStack) -> list[SafetensorsFile | NpzFile]:
    weight_map = read_index(index)
    files: list[SafetensorsFile | NpzFile] = []
    seen: dict[str, str] = {}
    for shard in sorted(set(weight_map.values())):
        path = index.parent / shard
        if not path.is_file():
            raise FormatError(index, f"weight_map: file {shown(shard)} is missing")
        file = stack.enter_context(open_safetensors(path))
        files.append(file)
        for name in file:
            if name in seen:
                raise FormatError(
                    index, f"tensor {shown(name)} is both in {shown(seen[name])} and {shown(shard)}"
                )
            if name not in weight_map:
                raise FormatError(
                    index, f"tensor {shown(name)} of {shown(shard)} is not in weight_map"
                )
            seen[name] = shard
    for name, shard in weight_map.items():
        if seen.get(name) != shard:
            raise FormatError(index, f"weight_map: {shown(shard)} has no tensor {shown(name)}")
    return files
