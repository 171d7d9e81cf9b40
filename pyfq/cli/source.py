"""The checkpoint that a command reads."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyfq.io import Checkpoint, FormatError, open_checkpoint
from pyfq.io.dtypes import nbytes_of
from pyfq.recipes.compress import TensorPlan
from pyfq.recipes.manifest import KEY, read_manifest


class Source(Mapping[str, NDArray]):
    """A checkpoint of any size, read tensor by tensor in bounded memory.

    The pages of a memory map stay with the process once they are read. A file is therefore mapped
    anew before more than the bytes of the largest tensor have been read from one map.

    Attributes
    ----------
    path : Path
        What was asked for.
    file : Path
        The file or index that it led to.
    files : tuple of Path
        The files that hold the tensors.
    file_of : mapping of str to Path
        The file of each tensor.
    words, shapes : mapping of str to str, to tuple of int
        Dtype word and shape of each tensor.
    metadata : dict of Path to dict of str to str
        That of each file, without pyfq's own entry.
    tensors : dict of str to TensorPlan
        The tensors that the names stand for: where pyfq compressed one, its parts are the names;
        any other is its own part, of format "copy".
    nbytes : int
        Bytes of all files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[Path, dict[str, str]] = {}
        with open_checkpoint(path) as checkpoint:
            self.file = checkpoint.path
            self.files = checkpoint.files
            self.file_of = dict(checkpoint.file_of)
            self.words = dict(checkpoint.dtypes)
            self.shapes = dict(checkpoint.shapes)
        compressed: dict[str, TensorPlan] = {}
        for file in self.files:
            with open_checkpoint(file) as checkpoint:
                compressed |= self._read_metadata(checkpoint)
        self.tensors = self._gather(compressed)
        self.nbytes = sum(file.stat().st_size for file in self.files)
        sizes = (nbytes_of(word, self.shapes[name]) for name, word in self.words.items())
        self._largest = max(sizes, default=0)
        self._mapped: Checkpoint | None = None
        self._read = 0

    def __getitem__(self, name: str) -> NDArray:
        """Return a tensor as `pyfq.io` does."""
        file = self.file_of[name]
        nbytes = nbytes_of(self.words[name], self.shapes[name])
        self._read += nbytes
        mapped = self._mapped
        if mapped is None or mapped.path != file or self._read > self._largest:
            if mapped is not None:
                mapped.close()
            mapped = self._mapped = open_checkpoint(file)
            self._read = nbytes
        array = mapped[name]
        if self.words[name] in ("BF16", "F16") and 4 * nbytes > self._largest:
            # These become float32 next, twice as large: what is read of the map must not stay too.
            array = array.copy()
            mapped.close()
            self._mapped = None
        return array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, file by file."""
        return iter(self.words)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.words)

    def identity(self) -> list[dict[str, object]]:
        """Return what tells whether the files are still the same, without reading them."""
        return [
            {"path": str(file.resolve()), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            for file in self.files
            for stat in (file.stat(),)
        ]

    def digests(self) -> list[dict[str, object]]:
        """Return path, size and SHA-256 of each file."""
        return digests(self.files)

    def metadata_of(self, tensors: Iterable[TensorPlan]) -> dict[str, str]:
        """Return the metadata of the files that hold some tensors."""
        metadata: dict[str, str] = {}
        for file in {self.file_of[part]: None for tensor in tensors for part in tensor.parts}:
            metadata |= self.metadata[file]
        return metadata

    def _read_metadata(self, checkpoint: Checkpoint) -> dict[str, TensorPlan]:
        """Take in the metadata of a file and return what pyfq did to its tensors."""
        (file,) = checkpoint.files
        metadata = dict(checkpoint.metadata)
        text = metadata.pop(KEY, None)
        if file.suffix == ".npz" and self.words.get(KEY) == "U8":
            text = checkpoint[KEY].tobytes().decode("utf-8", "replace")
            for about in (self.words, self.shapes, self.file_of):
                del about[KEY]
        self.metadata[file] = metadata
        try:
            compressed = {} if text is None else read_manifest(text)
        except ValueError as e:
            raise FormatError(file, str(e)) from e
        for tensor in compressed.values():
            for part, (word, shape) in tensor.parts.items():
                found = checkpoint.dtypes.get(part), checkpoint.shapes.get(part)
                if found != (word, shape):
                    raise FormatError(
                        file,
                        f"tensor {part!r} of {tensor.name!r}: expected {word} {list(shape)}, "
                        + ("it is missing" if found[0] is None else f"got {found[0]} {found[1]}"),
                    )
        return compressed

    def _gather(self, compressed: Mapping[str, TensorPlan]) -> dict[str, TensorPlan]:
        owner = {part: tensor.name for tensor in compressed.values() for part in tensor.parts}
        tensors: dict[str, TensorPlan] = {}
        for part, word in self.words.items():
            name, shape = owner.get(part, part), self.shapes[part]
            itself = TensorPlan(name, word, shape, None, "copy", {part: (word, shape)})
            tensors[name] = compressed.get(name, itself)
        return tensors


def digests(files: Iterable[Path]) -> list[dict[str, object]]:
    """Return path, size and SHA-256 of each file."""
    return [
        {"path": str(file), "bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files
    ]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def as_array(text: str) -> NDArray[np.uint8]:
    """Return text as the bytes that stand in an npz file."""
    return np.frombuffer(text.encode(), np.uint8)
