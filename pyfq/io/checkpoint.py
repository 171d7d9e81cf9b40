"""A checkpoint, however it is stored: one file, or shards and their index."""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from pyfq._core.check import shown
from pyfq._core.frozen import refuse_copies
from pyfq._core.text import bytes_text, count_text, object_text, printable, small_letters
from pyfq.io import disk
from pyfq.io.directory import find_checkpoint
from pyfq.io.errors import FormatError
from pyfq.io.magic import HEAD, kind_of
from pyfq.io.npz import NpzFile, open_npz
from pyfq.io.regular import open_regular
from pyfq.io.safetensors import SafetensorsFile, open_safetensors
from pyfq.io.sharded import is_index, read_index
from pyfq.io.staging import is_settled, settle

# Files that are mapped at a time: each takes a file descriptor, of which a process may have 256.
_MOST_MAPPED = 32
# Times that a checkpoint is opened again because it was replaced meanwhile.
_TRIES = 10


def open_checkpoint(path: str | os.PathLike[str]) -> "Checkpoint":
    """Open a checkpoint as one lazy, read-only mapping from names to arrays.

    Parameters
    ----------
    path : str or os.PathLike
        A ``.safetensors`` file, a ``.npz`` file, an ``.index.json`` of shards, or a directory. Of a
        directory the first of these is taken: ``model.safetensors``,
        ``diffusion_pytorch_model.safetensors``, ``adapter_model.safetensors``,
        ``consolidated.safetensors``, each before its own ``.index.json``; else the only checkpoint
        of another name, one file or one index. Several of those are refused.

    Returns
    -------
    Checkpoint
        Arrays as `open_safetensors` or `open_npz` return them; names file by file in the order of
        the file names, within a file in the order of its data.

    Raises
    ------
    FormatError
        A file breaks the rules of its format, is none of those above or no regular file, or the
        index and its shards disagree: a file that is missing, a tensor that its shard or the index
        lacks, a name in two shards, a file outside the directory. The message says what a file is
        instead, as far as its first bytes tell.
    OSError
        A file does not exist, or cannot be opened.

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
    path = Path(path)
    if not os.path.lexists(path):
        raise FileNotFoundError(errno.ENOENT, _advice_if_missing(path), os.fspath(path))
    for _ in range(_TRIES):
        settle(path)
        before = _identity(path)
        try:
            checkpoint = _open(path)
        except (FormatError, OSError):
            if before == _identity(path):
                raise
            continue  # replaced while it was opened
        if before == _identity(path) and (len(checkpoint.files) < 2 or is_settled(path)):
            return checkpoint
        checkpoint.close()
    raise FormatError(path, "it is replaced again and again")


def _open(path: Path) -> "Checkpoint":
    if path.is_dir():
        path = find_checkpoint(path)
    with ExitStack() as stack:
        if is_index(path.name):
            files = _open_shards(path, stack)
        elif path.suffix == ".npz":
            files = [stack.enter_context(open_npz(path))]
        elif path.suffix == ".safetensors":
            files = [stack.enter_context(open_safetensors(path))]
        else:
            raise FormatError(path, _why_not(path))
        return Checkpoint(path, files, stack.pop_all())


def _advice_if_missing(path: Path) -> str:
    text, missing = path.as_posix(), os.strerror(errno.ENOENT)
    if re.match(r"(https?|hf|s3|gs):/", text):
        return f"{missing}; URLs are not read, download it first"
    looks = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text)
    if looks and not path.parent.exists() and path.suffix not in (".safetensors", ".npz", ".json"):
        return (
            f"{missing}; it looks like a Hugging Face id, download it first with "
            f"`hf download {text} --local-dir {path.name}`"
        )
    return missing


def _why_not(path: Path) -> str:
    """Return why a file of another suffix is no checkpoint; raise OSError if there is none."""
    with disk.naming(path), open_regular(path) as file:
        head = file.read(HEAD)
    kind = kind_of(head)
    if path.suffix == ".json" and head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        kind = "JSON: name the directory that it is in"
    case = small_letters(path.suffix, (".safetensors", ".npz", ".json"))
    reason = f"expected .safetensors, .npz, .index.json{case}, or a directory of them"
    if case:
        return reason
    return reason if kind is None else f"{reason}, got {kind}"


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
    metadata_of : Mapping[Path, dict[str, str]]
        All entries of each file.
    nbytes : int
        Bytes of all tensors together.
    """

    def __init__(
        self, path: Path, files: list[SafetensorsFile | NpzFile], resources: ExitStack
    ) -> None:
        self.path = path
        self.files = tuple(file.path for file in files)
        self.file_of = MappingProxyType({name: file.path for file in files for name in file})
        self.dtypes = _joined([file.dtypes for file in files])
        self.shapes = _joined([file.shapes for file in files])
        self.nbytes = sum(file.nbytes for file in files)
        common = [set(file.metadata.items()) for file in files]
        self.metadata = dict(sorted(set.intersection(*common))) if common else {}
        self.metadata_of = MappingProxyType({file.path: file.metadata for file in files})
        self._opened = {file.path: file for file in files}
        self._mapped: dict[Path, SafetensorsFile] = {}
        self._resources = resources

    def __repr__(self) -> str:
        """Return path, number of tensors and bytes."""
        path = printable(str(self.path))
        return object_text(self, path, count_text(len(self), "tensor"), bytes_text(self.nbytes, 2))

    # Of two that are open none is the other, and their arrays are not compared.
    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __reduce__ = refuse_copies("open_checkpoint")

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a tensor from the file that holds it."""
        file = self._opened[self.file_of[name]]
        if isinstance(file, SafetensorsFile) and file.path not in self._mapped:
            if len(self._mapped) >= _MOST_MAPPED:
                # Another thread may have taken the same one, or add one meanwhile.
                with suppress(KeyError, RuntimeError):
                    self._mapped.pop(next(iter(self._mapped))).unmap()
            self._mapped[file.path] = file
        return file[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, file by file."""
        return iter(self.file_of)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.file_of)

    def __contains__(self, name: object) -> bool:
        """Tell whether a file has a tensor of that name, without reading it."""
        return name in self.file_of

    def unmap(self) -> None:
        """Let go of all maps until arrays are asked for: pages that were read leave the process.

        Arrays that are still in use keep theirs. A file that is not the same any more is refused
        with `FormatError` when an array of it is asked for.
        """
        for file in self._opened.values():
            if isinstance(file, SafetensorsFile):
                file.unmap()
        self._mapped.clear()

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
        places = (path, find_checkpoint(path)) if path.is_dir() else (path,)
        return [(found.st_dev, found.st_ino) for found in map(Path.stat, places)]
    except (FormatError, OSError):
        return None


def _open_shards(index: Path, stack: ExitStack) -> list[SafetensorsFile | NpzFile]:
    weight_map = read_index(index)
    files: list[SafetensorsFile | NpzFile] = []
    seen: dict[str, str] = {}
    for shard in sorted(set(weight_map.values())):
        try:
            file = stack.enter_context(open_safetensors(index.parent / shard))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise FormatError(
                index,
                f"weight_map: file {shown(shard)} is missing: the download or copy is incomplete",
            ) from None
        file.unmap()  # there may be more shards than a process may open files
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


def _joined(mappings: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the entries of all mappings, without a copy if there is only one."""
    if len(mappings) == 1:
        return mappings[0]
    return MappingProxyType({key: value for mapping in mappings for key, value in mapping.items()})
