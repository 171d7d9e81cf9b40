"""The checkpoint that a command reads."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyfq._core.check import shown
from pyfq.cli._model_config import CONFIG
from pyfq.errors import located
from pyfq.exchange.contents import read_contents
from pyfq.exchange.stored import TensorPlan
from pyfq.io import FormatError, open_checkpoint
from pyfq.io.dtypes import nbytes_of
from pyfq.io.links import followed

# Bytes that may be read from maps before they are renewed, however small all tensors are.
_MAPPED = 8_000_000


class Source(Mapping[str, NDArray]):
    """A checkpoint of any size, read tensor by tensor in bounded memory.

    The pages of a memory map stay with the process once they are read. Files are therefore mapped
    anew before more than the bytes of the largest tensor, or 8 MB, have been read from their maps.

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
    made : set of str
        Files beside the weights that pyfq made up when it compressed them.
    nbytes : int
        Bytes of all files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checkpoint = checkpoint = open_checkpoint(path)
        self.file = checkpoint.path
        self.files = checkpoint.files
        contents = read_contents(checkpoint)
        self.file_of = contents.file_of
        self.words = contents.words
        self.shapes = contents.shapes
        self.metadata = contents.metadata
        self.made = contents.made
        self.tensors = contents.tensors
        self.nbytes = sum(file.stat().st_size for file in self.files)
        sizes = (nbytes_of(word, self.shapes[name]) for name, word in self.words.items())
        self._most_mapped = max(_MAPPED, max(sizes, default=0))
        self._read = 0

    def __getitem__(self, name: str) -> NDArray:
        """Return a tensor as `pyfq.io` does."""
        nbytes = nbytes_of(self.words[name], self.shapes[name])
        self._read += nbytes
        if self._read > self._most_mapped:
            self._checkpoint.unmap()
            self._read = nbytes
        with located(f"tensor {shown(name)}"):
            array = self._checkpoint[name]
            if self.words[name] in ("BF16", "F16") and 4 * nbytes > self._most_mapped:
                # These become float32 next, twice as large: what is read of the map must not stay.
                array = array.copy()
                self._checkpoint.unmap()
                self._read = 0
            return array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, file by file."""
        return iter(self.words)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.words)

    @property
    def read(self) -> list[Path]:
        """The files that are read to know it: of weights, their index, and a config beside it."""
        config = self.file.parent / CONFIG
        return [self.file, *self.files, *([config] if config.exists() else [])]

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Let a refusal of what a tensor holds, or a failure, name its file."""
        try:
            with located(str(self.file_of[name])):
                yield
        except FormatError:  # it does
            raise
        except ValueError as e:
            raise ValueError(f"{self.file_of[name]}: {e}") from e

    def identity(self) -> list[dict[str, object]]:
        """Return what tells whether the files are still the same, without reading them.

        Size and time of the last write can be set to what they were; the inode is another one of a
        file that was put in place of this one, and the time of the last change (``ctime``) is the
        system's alone. The number of the device is not taken: it is given when a file system is
        mounted, and differs between machines that share one.
        """
        return [
            {
                "path": str(followed(file)),
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "ctime_ns": stat.st_ctime_ns,
                "inode": stat.st_ino,
            }
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


def digests(files: Iterable[Path]) -> list[dict[str, object]]:
    """Return path, size and SHA-256 of each file."""
    return [
        {"path": str(file), "bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files
    ]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_bytes(text: str) -> NDArray[np.uint8]:
    """Return text as the bytes that stand in an npz file."""
    return np.frombuffer(text.encode(), np.uint8)
