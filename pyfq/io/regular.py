"""Inputs are regular files: a FIFO would wait for a writer, a device has no end."""

import errno
import io
import os
import stat
from typing import BinaryIO

from pyfq.io import disk
from pyfq.io.errors import FormatError

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes; what is not a regular file is refused without waiting.

    The kind is that of what was opened, so that nothing can be put in its place in between.

    Raises
    ------
    FormatError
        A FIFO, a socket or a device.
    OSError
        The file cannot be opened; a directory.
    """
    # Without O_NONBLOCK the call itself waits for a FIFO's writer; regular files ignore it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what opening a socket gives
            raise FormatError(path, "expected a regular file, not a socket") from error
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise FormatError(path, f"expected a regular file, not {kind_of_mode(mode)}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


class OwnPosition(io.RawIOBase):
    """The bytes of a file, read from a position of its own.

    That of an open file is shared by all processes that were forked while it was open.

    Parameters
    ----------
    file : BinaryIO
        A regular file, which is closed with this one.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it has positions."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file.fileno()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, and return it."""
        start = 0
        if whence == os.SEEK_CUR:
            start = self._position
        elif whence == os.SEEK_END:
            start = os.fstat(self.fileno()).st_size
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # as files do
        self._position = start + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        """Read bytes to a buffer, and return how many."""
        data = os.pread(self.fileno(), len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file, too."""
        self._file.close()
        super().close()


def kind_of_mode(mode: int) -> str:
    """Return what has this mode, of neither a regular file nor a directory: ``"a FIFO"``, ..."""
    return next((kind for test, kind in _KINDS if test(mode)), "something else")


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file as `open_regular` opens it."""
    with disk.naming(path), open_regular(path) as file:
        return file.read()
