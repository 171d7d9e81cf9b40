"""npz files: a zip archive of .npy members, read member by member, never unpickled.

The formats are those of https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html and
of `zipfile`. Headers are read here and not by `numpy.load`, which allocates what they announce
before it has looked at the member's size, and lets errors of five modules through.
"""

import ast
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, BinaryIO, Self

import numpy as np

from pyfq._core.check import shown
from pyfq._core.frozen import refuse_copies
from pyfq._core.text import bytes_text, count_text, object_text, printable
from pyfq.io import disk
from pyfq.io.atomic import replacing
from pyfq.io.dtypes import DTYPES, NUMBERS, WORDS, carrier_shape, nbytes_of, word_of
from pyfq.io.errors import FormatError
from pyfq.io.magic import HEAD, TORCH_ARCHIVE, kind_of
from pyfq.io.regular import OwnPosition, open_regular

_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_FIELDS = {"descr", "fortran_order", "shape"}
_MAX_HEADER = 10_000  # bytes of Python literal; NumPy's own limit
_VERSIONS = {  # how the header's length and text are coded
    (1, 0): ("<H", "latin-1"),
    (2, 0): ("<I", "latin-1"),
    (3, 0): ("<I", "utf-8"),
}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of savez and savez_compressed
_DEFLATE_RATIO = 1032  # the best that deflate can do
_CHUNK = 1 << 20  # bytes that zipfile copies at a time

# Bytes of zip besides names and data: what stands before a member with room for sizes of 8 bytes,
# its entry in the directory, the end of that, and what large archives have before the end.
_LOCAL, _ENTRY, _END, _LARGE_END = 30 + 20, 46, 22, 56 + 20

#: Each `descr` that safetensors has a word for; no text from a file reaches `numpy.dtype`.
_DESCRS = {
    dtype.str: (word, dtype)
    for carrier, word in WORDS.items()
    for dtype in (carrier, carrier.newbyteorder(">"))
}


@dataclass(frozen=True, slots=True)
class Member:
    """One array of the archive, as its header describes it; data begins at byte `start`."""

    info: zipfile.ZipInfo
    word: str
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool
    start: int
    nbytes: int


def open_npz(path: str | os.PathLike[str]) -> "NpzFile":
    """Open an npz file as a lazy, read-only mapping from names to arrays.

    The headers of all members are read and checked; data is read, and its checksum verified, each
    time an array is asked for.

    Parameters
    ----------
    path : str or os.PathLike
        An archive of `numpy.savez` or `numpy.savez_compressed`.

    Returns
    -------
    NpzFile
        Names in the order of the archive. An array is new, read-only, C-ordered and little-endian,
        of the shape in the file.

    Raises
    ------
    FormatError
        The file is not such an archive, or is damaged, or a member is a pickle or has a dtype that
        is none of ``pyfq.io.dtypes.WORDS``; the message names the file and the reason. Damaged data
        is found when it is read.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pyfq.io import open_npz, write_npz
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "w.npz")
    ...     write_npz(path, {"w": np.eye(2, dtype=np.float32)})
    ...     with open_npz(path) as file:
    ...         print(dict(file.dtypes), dict(file.shapes))
    ...         print(file["w"])
    {'w': 'F32'} {'w': (2, 2)}
    [[1. 0.]
     [0. 1.]]
    """
    path = Path(path)
    with ExitStack() as stack:
        file = stack.enter_context(io.BufferedReader(OwnPosition(open_regular(path))))
        with disk.naming(path):
            head = file.read(HEAD)
        if head and not head.startswith(b"PK") and (kind := kind_of(head)) is not None:
            raise FormatError(path, f"expected a zip archive of arrays, got {kind}")
        with _damage_named(path, "expected a zip archive"):
            archive = stack.enter_context(zipfile.ZipFile(file))
        size = os.fstat(file.fileno()).st_size
        members: dict[str, Member] = {}
        for info in archive.infolist():
            part = f"member {shown(info.filename)}"
            if info.filename.endswith("/data.pkl"):
                raise FormatError(path, f"expected arrays of NumPy, got {TORCH_ARCHIVE}")
            with _damage_named(path, part):
                member = _read_member(archive, info, size)
            if info.filename.removesuffix(_SUFFIX) in members:
                raise FormatError(path, f"{part}: duplicate name")
            members[info.filename.removesuffix(_SUFFIX)] = member
        return NpzFile(path, members, archive, stack.pop_all())


class NpzFile(Mapping[str, np.ndarray]):
    """An open npz file; `open_npz` makes it.

    Attributes
    ----------
    path : Path
        The file.
    dtypes : Mapping[str, str]
        The safetensors dtype word of each array.
    shapes : Mapping[str, tuple[int, ...]]
        Shape of each array.
    metadata : dict[str, str]
        Empty: the format has none.
    nbytes : int
        Bytes of all arrays together, uncompressed.
    """

    def __init__(
        self,
        path: Path,
        members: Mapping[str, Member],
        archive: zipfile.ZipFile,
        resources: ExitStack,
    ) -> None:
        self.path = path
        self.dtypes = MappingProxyType({name: member.word for name, member in members.items()})
        self.shapes = MappingProxyType({name: member.shape for name, member in members.items()})
        self.metadata: dict[str, str] = {}
        self.nbytes = sum(member.nbytes for member in members.values())
        self._members = members
        self._archive = archive
        self._resources = resources

    def __repr__(self) -> str:
        """Return path, number of tensors and bytes."""
        path = printable(str(self.path))
        return object_text(self, path, count_text(len(self), "tensor"), bytes_text(self.nbytes, 2))

    # Of two that are open none is the other, and their arrays are not compared.
    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __reduce__ = refuse_copies("open_npz")

    def __getitem__(self, name: str) -> np.ndarray:
        """Read an array; damaged data raises `FormatError`."""
        member = self._members[name]
        if self._archive.fp is None:
            raise ValueError(f"{self.path}: file is closed")
        with _damage_named(self.path, f"member {shown(member.info.filename)}"):
            data = _read_data(self._archive, member)
        array = data.view(member.dtype)
        if member.fortran_order:
            array = array.reshape(member.shape[::-1]).T
        else:
            array = array.reshape(member.shape)
        array = array.astype(member.dtype.newbyteorder("<"), order="C", copy=False)
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of the archive."""
        return iter(self._members)

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        """Tell whether the archive has an array of that name, without reading it."""
        return name in self._members

    def close(self) -> None:
        """Close the archive; arrays already read remain."""
        self._resources.close()

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the archive."""
        self.close()


def write_npz(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an uncompressed npz file, atomically.

    `numpy.load` and `open_npz` read it. The same arrays give the same bytes on every day; unlike
    `numpy.savez`, any name will do, ``file`` included.

    Parameters
    ----------
    path : str or os.PathLike
        The target, under exactly this name; replaced when all is written.
    tensors : Mapping[str, ndarray]
        Arrays of any shape and layout, of numbers of ``pyfq.io.dtypes.WORDS``; looked up one at a
        time.

    Raises
    ------
    TypeError
        A value that is not an array, a name that is not text.
    ValueError
        Another dtype, or a name that zip cannot hold.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pyfq.io import write_npz
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_npz(Path(directory, "w.npz"), {"w": np.ones(2, np.float16)})
    ...     with np.load(Path(directory, "w.npz")) as file:
    ...         print(file["w"])
    [1. 1.]
    """
    with replacing(Path(path)) as file:
        write_archive(file, path, tensors)


def can_hold(name: str) -> bool:
    """Return whether zip can hold an array of a name: no NUL, at most 65,531 bytes of UTF-8."""
    try:
        nbytes = len(f"{name}{_SUFFIX}".encode())
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
    return zipfile.ZipInfo(name + _SUFFIX).filename == name + _SUFFIX and nbytes <= 0xFFFF


def write_archive(
    file: BinaryIO, path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write the bytes of an npz file, whose path is for messages; see `write_npz`."""
    path = os.fspath(path)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in tensors.items():
            if not isinstance(name, str):
                raise TypeError(f"{path}: tensor name: expected str, got {type(name).__name__}")
            if not isinstance(array, np.ndarray) or np.ma.is_masked(array):
                what = "one with masked entries" if np.ma.is_masked(array) else type(array).__name__
                raise TypeError(f"{path}: tensor {shown(name)}: expected numpy.ndarray, got {what}")
            if word_of(array.dtype) is None:
                raise ValueError(
                    f"{path}: tensor {shown(name)}: expected {NUMBERS}, got dtype {array.dtype}"
                )
            if not can_hold(name):
                raise ValueError(f"{path}: tensor name: zip cannot hold {shown(name)}")
            info = zipfile.ZipInfo(name + _SUFFIX)  # dated 1980, whatever the clock says
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def archive_nbytes(declaration: Mapping[str, tuple[str, Sequence[int]]]) -> int:
    """Return the bytes of an npz file that `write_archive` writes.

    Parameters
    ----------
    declaration : mapping of str to (str, sequence of int)
        Dtype word and shape of each array.
    """
    members = directory = 0
    for name, (word, shape) in declaration.items():
        text = len(f"{name}{_SUFFIX}".encode())
        head = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(DTYPES[word].carrier)
        fields = {"descr": descr, "fortran_order": False, "shape": carrier_shape(word, shape)}
        np.lib.format.write_array_header_1_0(head, fields)
        size = head.tell() + nbytes_of(word, shape)
        # What has no room in fields of 4 bytes has 8 behind the entry, and 4 that say so.
        large = 16 * (size > zipfile.ZIP64_LIMIT) + 8 * (members > zipfile.ZIP64_LIMIT)
        directory += _ENTRY + text + (large and large + 4)
        members += _LOCAL + text + size
    is_large = len(declaration) > zipfile.ZIP_FILECOUNT_LIMIT or (
        max(members, directory) > zipfile.ZIP64_LIMIT
    )
    return members + directory + _END + _LARGE_END * is_large


@contextmanager
def _damage_named(path: Path, part: str) -> Iterator[None]:
    """Turn what a damaged archive makes zipfile, zlib and struct raise into `FormatError`."""
    try:
        yield
    except (
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,  # a zip feature that zipfile lacks
        RuntimeError,  # encrypted
        OverflowError,
        OSError,  # a seek to where no file can be
    ) as error:
        # It may quote the whole of a damaged archive.
        reason = printable(str(error)) or type(error).__name__
        raise FormatError(path, f"{part}: {reason}") from error


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, archive_size: int) -> Member:
    if not info.filename.endswith(_SUFFIX):
        raise ValueError(f"expected a name that ends in {_SUFFIX}")
    if info.compress_type not in _METHODS:
        raise ValueError(f"expected stored or deflated data, got method {info.compress_type}")
    ratio = 1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE_RATIO
    if info.file_size > min(info.compress_size, archive_size) * ratio:
        raise ValueError(
            f"{info.file_size} bytes announced, more than its {info.compress_size} bytes can hold"
        )
    with archive.open(info) as stream:
        fields, start = _read_npy_header(stream)
    descr, fortran_order, shape = (fields[field] for field in sorted(_FIELDS))
    if not isinstance(descr, str) or descr not in _DESCRS:
        what = " (a pickle)" if isinstance(descr, str) and "O" in descr else ""
        raise ValueError(f"expected {NUMBERS}, got dtype {shown(descr)}{what}: leave it out")
    if not isinstance(fortran_order, bool):
        raise ValueError(f"fortran_order: expected True or False, got {shown(fortran_order)}")
    if not isinstance(shape, tuple):
        raise ValueError(f"shape: expected a tuple, got {shown(shape)}")
    word, dtype = _DESCRS[descr]
    nbytes = nbytes_of(word, shape)
    if info.file_size - start != nbytes:
        raise ValueError(
            f"{descr} {shape} takes {nbytes} bytes, the member has {info.file_size - start}"
        )
    return Member(info, word, dtype, shape, fortran_order, start, nbytes)


def _read_npy_header(stream: IO[bytes]) -> tuple[dict[str, object], int]:
    magic = stream.read(8)
    version = tuple(magic[6:])
    if not magic.startswith(_MAGIC) or version not in _VERSIONS:
        raise ValueError(f"expected .npy of version 1.0, 2.0 or 3.0, got {shown(magic)}")
    length_format, encoding = _VERSIONS[version]
    width = struct.calcsize(length_format)
    (length,) = struct.unpack(length_format, stream.read(width))
    if length > _MAX_HEADER:
        raise ValueError(f"header: expected at most {_MAX_HEADER} bytes, got {length}")
    try:
        fields = ast.literal_eval(stream.read(length).decode(encoding))
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:  # ast's own list
        raise ValueError(f"header: expected a Python literal, {error}") from error
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise ValueError(f"header: expected {sorted(_FIELDS)}, got {shown(fields)}")
    return fields, 8 + width + length


def _read_data(archive: zipfile.ZipFile, member: Member) -> np.ndarray:
    data = np.empty(member.nbytes, np.uint8)
    with archive.open(member.info) as stream:
        stream.read(member.start)
        for begin in range(0, member.nbytes, _CHUNK):
            chunk = stream.read(min(_CHUNK, member.nbytes - begin))
            if len(chunk) != min(_CHUNK, member.nbytes - begin):
                raise ValueError("truncated")
            data[begin : begin + len(chunk)] = np.frombuffer(chunk, np.uint8)
        stream.read(1)  # reaching the end is what makes zipfile compare the checksum
    return data
