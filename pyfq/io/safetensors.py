"""safetensors files, read as views of a memory map.

The format is that of https://github.com/huggingface/safetensors (section *Format*); its header is
in `pyfq.io.header`, its dtypes in `pyfq.io.dtypes`; `pyfq.io.safetensors_writer` writes it.
"""

import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Self

import numpy as np

from pyfq._core.frozen import refuse_copies
from pyfq._core.text import bytes_text, count_text, object_text, printable
from pyfq.io import disk
from pyfq.io.dtypes import DTYPES, carrier_shape
from pyfq.io.errors import FormatError
from pyfq.io.header import Header, read_header
from pyfq.io.regular import open_regular


def open_safetensors(path: str | os.PathLike[str]) -> "SafetensorsFile":
    """Open a safetensors file as a lazy, read-only mapping from names to arrays.

    The header is read and checked; of the data nothing is read until an array is looked at.

    Parameters
    ----------
    path : str or os.PathLike
        The file, a regular one. It must keep its length while arrays of it are in use.

    Returns
    -------
    SafetensorsFile
        Names in the order of the data in the file. An array is a read-only view of the map, of the
        shape in the file and dtype ``<f4`` for F32 and so on; BF16 is ``<u2`` bits, F8 words are
        ``u1`` bits, F4 and F6 words are flat ``u1`` bytes. Only where the file puts data at an
        address that its dtype may not have, the array is an aligned copy.

    Raises
    ------
    FormatError
        The file is not safetensors: header, names, dtypes, shapes, offsets and length are all
        checked; the message names the file and the reason, or what the file is instead.
    OSError
        The file cannot be opened.

    See Also
    --------
    pyfq.io.open_checkpoint : One file, an index of shards, or a directory.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pyfq.io import open_safetensors, write_safetensors
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "w.safetensors")
    ...     write_safetensors(path, {"w": np.eye(2, dtype=np.float32)}, {"format": "np"})
    ...     with open_safetensors(path) as file:
    ...         print(dict(file.dtypes), dict(file.shapes), file.metadata, file.nbytes)
    ...         print(file["w"])
    {'w': 'F32'} {'w': (2, 2)} {'format': 'np'} 16
    [[1. 0.]
     [0. 1.]]
    """
    path = Path(path)
    with disk.naming(path), open_regular(path) as file:
        return SafetensorsFile(path, read_header(file, path), file)


class SafetensorsFile(Mapping[str, np.ndarray]):
    """An open safetensors file; `open_safetensors` makes it.

    Attributes
    ----------
    path : Path
        The file.
    dtypes : Mapping[str, str]
        Dtype word of each tensor: ``"F32"``, ``"BF16"``, ...
    shapes : Mapping[str, tuple[int, ...]]
        Shape of each tensor. Below a byte (F4, F6) the array is flat bytes and only this knows.
    metadata : dict[str, str]
        The ``__metadata__`` of the file.
    nbytes : int
        Bytes of all tensors together.
    """

    def __init__(self, path: Path, header: Header, file: BinaryIO) -> None:
        tensors = header.tensors
        self.path = path
        self.dtypes = MappingProxyType({name: entry.dtype for name, entry in tensors.items()})
        self.shapes = MappingProxyType({name: entry.shape for name, entry in tensors.items()})
        self.metadata = header.metadata
        self.nbytes = sum(entry.end - entry.begin for entry in tensors.values())
        self._tensors = tensors
        self._data_start = header.data_start
        self._identity = _identity_of(file)
        self._closed = False
        self._data: mmap.mmap | None = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __repr__(self) -> str:
        """Return path, number of tensors and bytes."""
        path = printable(str(self.path))
        return object_text(self, path, count_text(len(self), "tensor"), bytes_text(self.nbytes, 2))

    # Of two that are open none is the other, and their arrays are not compared.
    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __reduce__ = refuse_copies("open_safetensors")

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a tensor as a read-only view of the file."""
        entry = self._tensors[name]
        if self._closed:
            raise ValueError(f"{self.path}: file is closed")
        data = self._data  # once: another thread may let go of it
        if data is None:
            data = self._map_again()
        carrier = DTYPES[entry.dtype].carrier
        count = (entry.end - entry.begin) // carrier.itemsize
        if count == 0:  # At the very end of the file frombuffer finds no byte to point at.
            array = np.empty(0, carrier)
        else:
            array = np.frombuffer(data, carrier, count, self._data_start + entry.begin)
        if not array.flags.aligned:  # Legal in the format, not in Fortran.
            array = array.copy()
        array.flags.writeable = False
        return array.reshape(carrier_shape(entry.dtype, entry.shape))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of the data."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        """Tell whether the file has a tensor of that name, without making its view."""
        return name in self._tensors

    def unmap(self) -> None:
        """Let go of the map until an array is asked for: its pages and its file descriptor.

        Arrays that are still in use keep the old map open until they are gone. The header is not
        read again; a file that is not the same any more is refused with `FormatError`.
        """
        self._data = None

    def close(self) -> None:
        """Let go of the map. Arrays that are still in use keep it open until they are gone."""
        self._closed = True
        self._data = None

    def _map_again(self) -> mmap.mmap:
        with disk.naming(self.path), open_regular(self.path) as file:
            if _identity_of(file) != self._identity:
                raise FormatError(self.path, "the file has changed since it was opened")
            data = self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return data

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def _identity_of(file: BinaryIO) -> tuple[int, ...]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
