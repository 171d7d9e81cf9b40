"""Write beside the target, rename when complete: a reader sees the old file or the new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def partial_path(path: Path) -> Path:
    """Return where the unfinished file stands: ``<path>.partial``, on the same file system."""
    return path.with_name(path.name + ".partial")


def commit(file: BinaryIO, path: Path) -> None:
    """Put the finished partial file on the disk, close it and rename it onto `path`."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    partial_path(path).replace(path)
    if os.name == "posix":  # The rename itself survives a power failure once the directory is out.
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of `path` when the block ends without an error.

    After an error `path` is what it was and nothing is left beside it.

    Parameters
    ----------
    path : Path
        The target.

    Yields
    ------
    BinaryIO
        ``<path>.partial``, empty, open for writing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     target = Path(directory, "note.txt")
    ...     with replacing(target) as file:
    ...         _ = file.write(b"done")
    ...     target.read_bytes()
    b'done'
    """
    partial = partial_path(path)
    file = partial.open("wb")
    try:
        yield file
        commit(file, path)
    except BaseException:
        try:
            file.close()
        finally:
            partial.unlink(missing_ok=True)
        raise
