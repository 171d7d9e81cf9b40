"""Write a file beside its target, rename it when complete: a reader sees the old one or the new.

The unfinished file is ``<name>.<pid>-<start>-<place>-<n>.partial``. No two writers share a name, so
each ends with a whole file, and the last one's stays. What a process that died left behind is
removed by the next that writes the same target.
"""

import errno
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import BinaryIO

from pyfq.io import disk
from pyfq.io.links import followed
from pyfq.io.owner import is_alive, this_process

_numbers = count()
_LONGEST = 150  # bytes of the target's name that its unfinished file keeps; a name has 255 at most


@dataclass(frozen=True)
class Draft:
    """An unfinished file.

    Attributes
    ----------
    asked : Path
        The target as it was named, for messages.
    target : Path
        What the file will replace: links are followed.
    path : Path
        Where it stands meanwhile.
    file : DiskFile
        The same, open.
    pid : int
        The process that writes it; one that it forks leaves it alone.
    """

    asked: Path
    target: Path
    path: Path
    file: "DiskFile"
    pid: int


def begin(asked: Path) -> Draft:
    """Create the unfinished file of a target.

    Raises
    ------
    OSError
        The target is there and no regular file, or its directory cannot be written; the error
        names the target.
    """
    target = followed(asked)
    with disk.naming(asked):
        mode = _mode_of(target)
        _remove_orphans(target)
        path = target.with_name(f"{_stem(target)}.{_token()}-{next(_numbers)}.partial")
        return Draft(asked, target, path, DiskFile(disk.create(path, mode), asked), os.getpid())


def publish(draft: Draft) -> None:
    """Put the finished file on the disk, close it and rename it onto its target."""
    with disk.naming(draft.asked):
        if os.path.lexists(draft.target):
            disk.adopt(draft.file.fileno(), draft.target.stat())
        draft.file.sync()
        draft.file.close()
        disk.rename(draft.path, draft.target)
        disk.sync_directory(draft.target.parent)  # or the rename would not outlive a power failure


def drop(draft: Draft) -> None:
    """Close and remove an unfinished file."""
    draft.file.close()
    if os.getpid() == draft.pid:
        with suppress(FileNotFoundError):
            disk.unlink(draft.path)


class DiskFile(io.FileIO):
    """An open file whose changes go through `pyfq.io.disk`, and whose errors name the target."""

    def __init__(self, fd: int, asked: Path) -> None:
        super().__init__(fd, "r+b")
        self.asked = asked

    def write(self, data: memoryview) -> int:
        """Write bytes, and return how many."""
        with disk.naming(self.asked):
            return disk.write(self.fileno(), data)

    def write_all(self, data: bytes | memoryview) -> None:
        """Write all of some bytes."""
        with disk.naming(self.asked):
            disk.write_all(self.fileno(), data)

    def truncate(self, size: int) -> int:
        """Cut the file, and return its size."""
        with disk.naming(self.asked):
            disk.truncate(self.fileno(), size)
        return size

    def sync(self) -> None:
        """Return when the file is on the disk."""
        with disk.naming(self.asked):
            disk.sync(self.fileno())


@contextmanager
def buffered(raw: DiskFile) -> Iterator[BinaryIO]:
    """Yield a buffer before a file, which stays open."""
    file, pid = io.BufferedRandom(raw), os.getpid()
    try:
        yield file
        file.flush()
    finally:
        if os.getpid() != pid:  # a forked process, whose copy of the bytes is not to be written
            raw.close()
        # An error before this one left bytes that cannot be written.
        with suppress(OSError, ValueError):
            file.detach()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of `path` when the block ends without an error.

    After an error `path` is what it was and nothing is left beside it. A link is followed: what it
    names is replaced. Mode and owner of what is replaced are kept.

    Parameters
    ----------
    path : Path
        The target.

    Yields
    ------
    BinaryIO
        An empty file beside the target, open for writing.

    Raises
    ------
    OSError
        The target is there and no regular file, or cannot be written; the error names it.

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
    draft = begin(path)
    try:
        with buffered(draft.file) as file:
            yield file
        publish(draft)
    except BaseException:
        drop(draft)
        raise


def _mode_of(target: Path) -> int:
    """Return the mode to create a target's successor with: never wider than what is replaced."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return 0o666
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(target))
    return (stat.S_IMODE(found.st_mode) | 0o600) & 0o666


def _remove_orphans(target: Path) -> None:
    """Remove unfinished files of the target whose writers are gone."""
    here, owner = _place(), this_process()
    pattern = re.compile(
        rf"{re.escape(_stem(target))}\.(\d{{1,9}})-([^-]+)-{here}-\d+\.partial", re.DOTALL
    )
    for name in os.listdir(target.parent):  # noqa: PTH208
        match = pattern.fullmatch(name)
        if match is None or int(match[1]) == 0:
            continue
        start = None if match[2] == "0" else match[2]
        if is_alive(replace(owner, pid=int(match[1]), start=start)) is False:
            with suppress(OSError):  # another writer was faster, or it is another user's
                disk.unlink(target.with_name(name))


def _stem(target: Path) -> str:
    name = os.fsencode(target.name)
    return target.name if len(name) <= _LONGEST else os.fsdecode(name[:_LONGEST])


def _token() -> str:
    owner = this_process()
    return f"{owner.pid}-{owner.start or 0}-{_place()}"


def _place() -> str:
    owner = this_process()
    return f"{zlib.crc32(f'{owner.host} {owner.space}'.encode()):08x}"
