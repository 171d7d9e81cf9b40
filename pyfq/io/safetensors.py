"""safetensors files: read as views of a memory map, written tensor by tensor.

The format is that of https://github.com/huggingface/safetensors (section *Format*); its header is
in `pyfq.io.header`, its dtypes in `pyfq.io.dtypes`.
"""

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Self

import numpy as np

from pyfq.io.atomic import commit, partial_path
from pyfq.io.dtypes import DTYPES, carrier_shape, word_of
from pyfq.io.errors import FormatError
from pyfq.io.header import Entry, Header, encode_header, lay_out, read_header
from pyfq.io.regular import open_regular

_CHUNK = 1 << 18  # elements on their way to the file at a time, a few MB at most


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
    with open_regular(path) as file:
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

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a tensor as a read-only view of the file."""
        entry = self._tensors[name]
        if self._closed:
            raise ValueError(f"{self.path}: file is closed")
        data = self._data if self._data is not None else self._map_again()
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
        with open_regular(self.path) as file:
            if _identity_of(file) != self._identity:
                raise FormatError(self.path, "the file has changed since it was opened")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return self._data

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def _identity_of(file: BinaryIO) -> tuple[int, ...]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def aligned_order(
    declaration: Mapping[str, tuple[str, Sequence[int]]],
) -> dict[str, tuple[str, Sequence[int]]]:
    """Return a declaration in the order in which every tensor of the file is aligned.

    The order is that of the safetensors library: widest dtype first, then by name.

    Parameters
    ----------
    declaration : Mapping[str, tuple[str, Sequence[int]]]
        Dtype word and shape of each tensor.

    Examples
    --------
    >>> list(aligned_order({"a": ("U8", [3]), "c": ("F32", [1]), "b": ("F32", [2])}))
    ['b', 'c', 'a']
    """
    rank = {word: -place for place, word in enumerate(DTYPES)}
    return dict(sorted(declaration.items(), key=lambda item: (rank[item[1][0]], item[0])))


class SafetensorsWriter:
    """Write a safetensors file tensor by tensor, in the order declared.

    The header goes first, so names, dtypes and shapes are declared before any data exists. Data
    goes to ``<path>.partial``, which takes the place of `path` when `close` has put it on the disk;
    until then, and after any error, `path` is what it was. Used as a context manager, the writer
    closes at the end of the block and aborts on an error in it.

    Nothing is held in memory but the array being written. The data section is 8-byte aligned and
    has no gaps (the format allows none), so a tensor is aligned when the sizes before it add up to
    a multiple of its itemsize: always, if the declaration went through `aligned_order`.

    Parameters
    ----------
    path : str or os.PathLike
        The target; replaced if it exists.
    declaration : Mapping[str, tuple[str, Sequence[int]]]
        Dtype word and shape of each tensor, in file order.
    metadata : Mapping[str, str], optional
        The ``__metadata__`` of the file.
    resume : bool
        Continue the partial file of a writer that was interrupted, declared alike. Without a
        partial file begin anew.
    completed : int, optional
        With `resume`: how many leading tensors are known to be written. By default those the
        partial file holds in full, which is right when the process died, not when the machine did.
    keep_partial : bool
        Leave the partial file in place after an error, for a later `resume`.

    Raises
    ------
    TypeError
        A name that is not a string, metadata that is not text to text.
    ValueError
        A declaration that the format cannot hold, or `completed` out of range or without `resume`.
    FormatError
        The partial file has another header, or fewer tensors than `completed`.
    OSError
        The partial file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pyfq.io import SafetensorsWriter, open_safetensors
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "w.safetensors")
    ...     with SafetensorsWriter(path, {"w": ("F32", (2,)), "b": ("BF16", (1,))}) as writer:
    ...         writer.write("w", np.array([1, 2], np.float32))
    ...         print(writer.remaining)
    ...         writer.write("b", np.array([0x3F80], np.uint16))
    ...     print(dict(open_safetensors(path).shapes))
    ('b',)
    {'w': (2,), 'b': (1,)}
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        declaration: Mapping[str, tuple[str, Sequence[int]]],
        metadata: Mapping[str, str] | None = None,
        *,
        resume: bool = False,
        completed: int | None = None,
        keep_partial: bool = False,
    ) -> None:
        self.path = Path(path)
        self._keep_partial = keep_partial
        tensors = lay_out(declaration)
        header = encode_header(tensors, metadata)
        if completed is not None and not (resume and 0 <= completed <= len(tensors)):
            raise ValueError(
                f"completed: expected 0 to {len(tensors)} together with resume, got {completed}"
            )
        self._tensors: list[tuple[str, Entry]] = list(tensors.items())
        self._data_start = len(header)
        self._completed = 0
        self._file: BinaryIO
        partial = partial_path(self.path)
        if resume and (completed or partial.exists()):
            ends = [len(header) + entry.end for entry in tensors.values()]
            self._file, self._completed = _reopen(partial, header, ends, completed)
        else:
            self._file = partial.open("wb")
            self._file.write(header)

    @property
    def completed(self) -> int:
        """How many leading tensors are written."""
        return self._completed

    @property
    def remaining(self) -> tuple[str, ...]:
        """Names of the tensors still to write, in order."""
        return tuple(name for name, _ in self._tensors[self._completed :])

    def write(self, name: str, array: np.ndarray) -> None:
        """Write the next tensor.

        Parameters
        ----------
        name : str
            The first of `remaining`.
        array : ndarray
            Of the declared shape and of the dtype that carries the declared word, in either byte
            order and any memory layout: uint16 bits for BF16, uint8 bits for F8 words, flat uint8
            bytes for F4 and F6 words.

        Raises
        ------
        TypeError
            Not an array.
        ValueError
            Another name, dtype or shape than declared, or the writer is closed.
        """
        if self._file.closed:
            raise ValueError(f"{self.path}: writer is closed")
        if not isinstance(array, np.ndarray):
            raise TypeError(f"array: expected numpy.ndarray, got {type(array).__name__}")
        left = self._completed < len(self._tensors)
        expected = self._tensors[self._completed] if left else None
        if expected is None or name != expected[0]:
            raise ValueError(f"name: expected {expected and expected[0]!r}, got {name!r}")
        entry = expected[1]
        carrier = DTYPES[entry.dtype].carrier
        shape = carrier_shape(entry.dtype, entry.shape)
        if array.dtype.newbyteorder("<") != carrier or array.shape != shape:
            raise ValueError(
                f"array: {name!r} is declared {entry.dtype} {list(entry.shape)}, expected "
                f"{carrier.name} {list(shape)}, got {array.dtype} {list(array.shape)}"
            )
        self._file.seek(self._data_start + entry.begin)  # again, if an earlier attempt failed
        for chunk in np.nditer(
            array,
            ["external_loop", "buffered", "zerosize_ok"],
            op_dtypes=carrier,
            order="C",
            casting="equiv",
            buffersize=_CHUNK,
        ):
            self._file.write(np.ascontiguousarray(chunk).data)
        self._file.flush()  # so that what counts as complete outlives the process
        self._completed += 1

    def close(self) -> None:
        """Put the file on the disk and rename it onto its target.

        Raises
        ------
        ValueError
            Tensors are missing; the writer is aborted.
        """
        if self._file.closed:
            return
        try:
            if self.remaining:
                raise ValueError(f"{self.path}: not written: {', '.join(self.remaining)}")
            commit(self._file, self.path)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Give up: leave the target as it was, and remove the partial file unless it is kept."""
        try:
            self._file.close()
        finally:
            if not self._keep_partial:
                partial_path(self.path).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file, or abort after an error."""
        if kind is None:
            self.close()
        else:
            self.abort()


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    *,
    dtypes: Mapping[str, str] | None = None,
) -> None:
    """Write arrays to a safetensors file, in `aligned_order`, atomically.

    The bytes are those the safetensors library writes (with several metadata entries, up to their
    order). Arrays are looked up one at a time, so a lazy mapping is copied without being loaded.

    Parameters
    ----------
    path : str or os.PathLike
        The target; replaced when all is written.
    tensors : Mapping[str, ndarray]
        Arrays of any shape and layout whose dtype has a word.
    metadata : Mapping[str, str], optional
        The ``__metadata__`` of the file.
    dtypes : Mapping[str, str], optional
        Words for arrays that carry bits: ``{"w": "BF16"}`` with uint16, ``"F8_E4M3"`` with uint8.
        An F4 or F6 word turns flat uint8 bytes into a tensor of one axis; `SafetensorsWriter`
        declares any other shape.

    Raises
    ------
    TypeError
        A value that is not an array, a name or metadata that is not text.
    ValueError
        A dtype without a word, or a word that the array does not carry; `dtypes` of no tensor.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pyfq.io import open_safetensors, write_safetensors
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "w.safetensors")
    ...     bits = np.array([0x3F80, 0x4000], np.uint16)
    ...     write_safetensors(path, {"w": bits, "n": np.arange(3)}, dtypes={"w": "BF16"})
    ...     print(dict(open_safetensors(path).dtypes))
    {'n': 'I64', 'w': 'BF16'}
    """
    words = dict(dtypes or {})
    if stray := sorted(words.keys() - tensors.keys()):
        raise ValueError(f"dtypes: no tensor named {', '.join(stray)}")
    declaration = {}
    for name, array in tensors.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: expected numpy.ndarray, got {type(array).__name__}")
        word = words.get(name, word_of(array.dtype))
        if word is None:
            raise ValueError(f"{name}: safetensors has no word for dtype {array.dtype}")
        declaration[name] = (word, _declared_shape(word, array))
    lay_out(declaration)  # refuse an unknown word before it is ranked
    with SafetensorsWriter(path, aligned_order(declaration), metadata) as writer:
        for name in writer.remaining:
            writer.write(name, tensors[name])


def _reopen(
    partial: Path, header: bytes, ends: Sequence[int], completed: int | None
) -> tuple[BinaryIO, int]:
    """Return the partial file, cut behind its complete tensors, and how many these are."""
    file = partial.open("r+b")
    try:
        if file.read(len(header)) != header:
            raise FormatError(partial, "resume: the header differs from what is declared now")
        size = os.fstat(file.fileno()).st_size
        whole = sum(end <= size for end in ends)
        completed = whole if completed is None else completed
        if completed > whole:
            raise FormatError(
                partial, f"resume: expected {completed} complete tensors, got {whole}"
            )
        file.truncate(ends[completed - 1] if completed else len(header))
    except BaseException:
        file.close()
        raise
    return file, completed


def _declared_shape(word: str, array: np.ndarray) -> tuple[int, ...]:
    if word in DTYPES and DTYPES[word].bits < 8:
        return (array.nbytes * 8 // DTYPES[word].bits,)
    return array.shape
