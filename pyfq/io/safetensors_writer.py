"""safetensors files, written tensor by tensor: first the header, then data as declared."""

import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import numpy as np

from pyfq._core.check import shown
from pyfq._core.text import object_text, printable
from pyfq.io import atomic, disk, staging
from pyfq.io.atomic import DiskFile
from pyfq.io.dtypes import DTYPES, carrier_shape, word_of
from pyfq.io.errors import FormatError
from pyfq.io.header import Entry, encode_header, lay_out

_CHUNK = 1 << 18  # elements on their way to the file at a time, a few MB at most
_READ = 1 << 20  # bytes


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


class TensorStream:
    """The tensors of a safetensors file on their way into a file that is open.

    Parameters
    ----------
    file : DiskFile
        The file; it stays open.
    path : Path
        What messages call it.
    declaration, metadata
        See `SafetensorsWriter`.
    """

    def __init__(
        self,
        file: DiskFile,
        path: Path,
        declaration: Mapping[str, tuple[str, Sequence[int]]],
        metadata: Mapping[str, str] | None,
    ) -> None:
        tensors = lay_out(declaration)
        self.path = path
        self.completed = 0
        self._file = file
        self._header = encode_header(tensors, metadata)
        self._tensors: list[tuple[str, Entry]] = list(tensors.items())

    @property
    def remaining(self) -> tuple[str, ...]:
        """Names of the tensors still to write, in order."""
        return tuple(name for name, _ in self._tensors[self.completed :])

    def begin(self) -> None:
        """Write the header into an empty file."""
        self._file.write_all(self._header)

    def resume(self, completed: int | None = None, checksums: Sequence[int] | None = None) -> None:
        """Go on behind the complete tensors of the file, see `SafetensorsWriter`; cut the rest."""
        fd = self._file.fileno()
        size = os.fstat(fd).st_size
        if not self._header.startswith(os.pread(fd, len(self._header), 0)):
            raise FormatError(self.path, "resume: the header differs from what is declared now")
        ends = (len(self._header) + entry.end for _, entry in self._tensors)
        # Shorter than its header: the process died before there was anything.
        whole = sum(end <= size for end in ends) if size >= len(self._header) else 0
        if completed is not None and completed > whole:
            raise FormatError(
                self.path, f"resume: expected {completed} complete tensors, got {whole}"
            )
        self.completed = whole if completed is None else completed
        if checksums is not None:
            self.completed = self._intact(checksums[:whole])
        if size < len(self._header):
            self._file.truncate(0)
            self.begin()
        else:
            last = self._tensors[self.completed - 1][1].end if self.completed else 0
            self._file.truncate(len(self._header) + last)

    def write(self, name: str, array: np.ndarray) -> int:
        """Write the next tensor; see `SafetensorsWriter.write`."""
        _refuse_no_array(array, "array")
        is_last = self.completed == len(self._tensors)
        expected, entry = (None, None) if is_last else self._tensors[self.completed]
        if entry is None or name != expected:
            raise ValueError(f"name: expected {expected and repr(expected)}, got {shown(name)}")
        carrier = DTYPES[entry.dtype].carrier
        shape = carrier_shape(entry.dtype, entry.shape)
        if array.dtype.newbyteorder("<") != carrier or array.shape != shape:
            raise ValueError(
                f"array: {shown(name)} is declared {entry.dtype} {list(entry.shape)}, expected "
                f"{carrier.name} {list(shape)}, got {array.dtype} {list(array.shape)}"
            )
        # Again from its beginning, if an earlier attempt failed.
        self._file.seek(len(self._header) + entry.begin)
        checksum = 0
        for chunk in np.nditer(
            array,
            ["external_loop", "buffered", "zerosize_ok"],
            op_dtypes=carrier,
            order="C",
            casting="equiv",
            buffersize=_CHUNK,
        ):
            if chunk.size:
                data = np.ascontiguousarray(chunk).view(np.uint8).data
                checksum = zlib.crc32(data, checksum)
                self._file.write_all(data)
        self.completed += 1
        return checksum

    def _intact(self, checksums: Sequence[int]) -> int:
        """Return how many leading tensors have these checksums."""
        fd = self._file.fileno()
        for number, checksum in enumerate(checksums):
            entry, found = self._tensors[number][1], 0
            for begin in range(entry.begin, entry.end, _READ):
                count = min(_READ, entry.end - begin)
                found = zlib.crc32(os.pread(fd, count, len(self._header) + begin), found)
            if found != checksum:
                return number
        return len(checksums)


class SafetensorsWriter:
    """Write a safetensors file tensor by tensor, in the order declared.

    The header goes first, so names, dtypes and shapes are declared before any data exists. Data
    goes to a file beside the target, which takes its place when `close` has put it on the disk;
    until then, and after any error, `path` is what it was. Used as a context manager, the writer
    closes at the end of the block and aborts on an error in it. With `resume` or `keep_partial`
    the file is in the directory ``<path>.partial``, which one writer at a time may use.

    Nothing is held in memory but the array being written. The data section is 8-byte aligned and
    has no gaps (the format allows none), so a tensor is aligned when the sizes before it add up to
    a multiple of its itemsize: always, if the declaration went through `aligned_order`.

    Parameters
    ----------
    path : str or os.PathLike
        The target; replaced if it exists, and its mode and owner kept. A link is followed.
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
    checksums : Sequence[int], optional
        With `resume`, instead of `completed`: what `write` returned for the leading tensors. The
        first that is not as it was written, and all that follow, are still to write.
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
    BlockingIOError
        With `resume` or `keep_partial`: another process writes this target.
    OSError
        The target cannot be written, or ``<path>.partial`` is not pyfq's.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pyfq.io import SafetensorsWriter, open_safetensors
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "w.safetensors")
    ...     with SafetensorsWriter(path, {"w": ("F32", (2,)), "b": ("BF16", (1,))}) as writer:
    ...         _ = writer.write("w", np.array([1, 2], np.float32))
    ...         print(writer.remaining)
    ...         _ = writer.write("b", np.array([0x3F80], np.uint16))
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
        checksums: Sequence[int] | None = None,
        keep_partial: bool = False,
    ) -> None:
        self.path = Path(path)
        count = len(lay_out(declaration))
        encode_header(lay_out(declaration), metadata)  # refused before anything is made
        if completed is not None and not (resume and 0 <= completed <= count):
            raise ValueError(
                f"completed: expected 0 to {count} together with resume, got {completed}"
            )
        if checksums is not None and (completed is not None or not resume):
            raise ValueError("checksums: expected together with resume, and without completed")
        self._keep_partial = keep_partial
        with ExitStack() as stack:
            if resume or keep_partial:
                self._place = stack.enter_context(staging.staged(self.path, is_file=True))
                name = Path(self._place.target.name)
                partial = staging.place(self._place, name)
                is_there = resume and (bool(completed) or os.path.lexists(partial))
                self._file = stack.enter_context(_opened(partial, self.path, is_there))
            else:
                self._place = atomic.begin(self.path)
                stack.callback(atomic.drop, self._place)
                self._file, partial, is_there = self._place.file, self._place.path, False
            self._stream = TensorStream(self._file, partial, declaration, metadata)
            if is_there:
                self._stream.resume(completed, checksums)
            else:
                self._stream.begin()
            self._resources = stack.pop_all()

    def __repr__(self) -> str:
        """Return the target, and how far it is."""
        total = self.completed + len(self.remaining)
        return object_text(self, printable(str(self.path)), f"{self.completed} of {total} tensors")

    def __reduce__(self) -> str:
        """Refuse to travel or be copied: an open file does neither."""
        raise TypeError(
            "an open SafetensorsWriter can be neither pickled nor copied: make one where it is "
            "used, with resume=True for what is kept of another"
        )

    @property
    def completed(self) -> int:
        """How many leading tensors are written."""
        return self._stream.completed

    @property
    def remaining(self) -> tuple[str, ...]:
        """Names of the tensors still to write, in order."""
        return self._stream.remaining

    def write(self, name: str, array: np.ndarray) -> int:
        """Write the next tensor.

        Parameters
        ----------
        name : str
            The first of `remaining`.
        array : ndarray
            An array of the declared shape and of the dtype that carries the declared word, in
            either byte order and any memory layout: uint16 bits for BF16, uint8 bits for F8 words,
            flat uint8 bytes for F4 and F6 words.

        Returns
        -------
        int
            The CRC-32 of its bytes in the file.

        Raises
        ------
        TypeError
            Not an array.
        ValueError
            Another name, dtype or shape than declared, or the writer is closed.
        OSError
            The disk is full, or fails; the error names the target.
        """
        if self._file.closed:
            raise ValueError(f"{self.path}: writer is closed")
        return self._stream.write(name, array)

    def close(self) -> None:
        """Put the file on the disk and let it take the place of its target.

        Raises
        ------
        ValueError
            Tensors are missing; the writer is aborted.
        OSError
            The disk is full, or fails; the writer is aborted.
        """
        if self._file.closed:
            return
        try:
            if self.remaining:
                raise ValueError(f"{self.path}: not written: {', '.join(self.remaining)}")
            if isinstance(self._place, atomic.Draft):
                atomic.publish(self._place)
            else:
                self._file.sync()
                self._file.close()
                staging.commit(self._place, [Path(self._place.target.name)], [])
        except BaseException:
            self.abort()
            raise
        self._resources.close()

    def abort(self) -> None:
        """Give up: leave the target as it was, and remove the partial file unless it is kept."""
        with self._resources:
            self._file.close()
            if isinstance(self._place, staging.Staging) and not self._keep_partial:
                staging.discard(self._place)

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
        _refuse_no_array(array, name)
        word = words.get(name, word_of(array.dtype))
        if word is None:
            raise ValueError(f"{name}: safetensors has no word for dtype {array.dtype}")
        declaration[name] = (word, _declared_shape(word, array))
    lay_out(declaration)  # refuse an unknown word before it is ranked
    with SafetensorsWriter(path, aligned_order(declaration), metadata) as writer:
        for name in writer.remaining:
            writer.write(name, tensors[name])


def _refuse_no_array(array: object, name: str) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected numpy.ndarray, got {type(array).__name__}")
    if np.ma.is_masked(array):
        raise TypeError(f"{name}: expected numpy.ndarray, got one with masked entries")


def _opened(partial: Path, asked: Path, is_there: bool) -> DiskFile:
    """Open the partial file that is there, or a new one in its place."""
    with disk.naming(asked):
        if is_there:
            return DiskFile(disk.reopen(partial), asked)
        with suppress(FileNotFoundError):
            disk.unlink(partial)
        return DiskFile(disk.create(partial), asked)


def _declared_shape(word: str, array: np.ndarray) -> tuple[int, ...]:
    if word in DTYPES and DTYPES[word].bits < 8:
        return (array.nbytes * 8 // DTYPES[word].bits,)
    return array.shape
