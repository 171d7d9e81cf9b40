"""safetensors files, read as views of a memory map.

The format is that of https://github.com/huggingface/safetensors (section *Format*); its header is
in `pyfq.io.header`, its dtypes in `pyfq.io.dtypes`; `pyfq.io.safetensors_writer` writes it.
"""

import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np

from pyfq.io.dtypes import DTYPES, carrier_shape
from pyfq.io.header import Header, read_header


def open_safetensors(path: str | os.PathLike[str]) -> "SafetensorsFile":
    """Open a safetensors file as a lazy, read-only mapping from names to arrays.

    The header is read and checked; of the data nothing is read until an array is looked at.

    Parameters
    ----------
    path : str or os.PathLike
        The file. It must keep its length while arrays of it are in use.

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
        checked; the message names the file and the reason.
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
    with path.open("rb") as file:
        header = read_header(file, path)
        return SafetensorsFile(path, header, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


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

    def __init__(self, path: Path, header: Header, data: mmap.mmap) -> None:
        tensors = header.tensors
        self.path = path
        self.dtypes = MappingProxyType({name: entry.dtype for name, entry in tensors.items()})
        self.shapes = MappingProxyType({name: entry.shape for name, entry in tensors.items()})
        self.metadata = header.metadata
        self.nbytes = sum(entry.end - entry.begin for entry in tensors.values())
        self._tensors = tensors
        self._data_start = header.data_start
        self._data: mmap.mmap | None = data

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a tensor as a read-only view of the file."""
        entry = self._tensors[name]
        if self._data is None:
            raise ValueError(f"{self.path}: file is closed")
        carrier = DTYPES[entry.dtype].carrier
        count = (entry.end - entry.begin) // carrier.itemsize
        if count == 0:  # At the very end of the file frombuffer finds no byte to point at.
            array = np.empty(0, carrier)
        else:
            array = np.frombuffer(self._data, carrier, count, self._data_start + entry.begin)
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

    def close(self) -> None:
        """Let go of the map. Arrays that are still in use keep it open until they are gone."""
        self._data = None

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()
