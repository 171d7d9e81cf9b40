"""A directory that one process at a time may write in.

The lock is a file in it that names its owner, see `pyfq.io.owner`. It comes into being under its
name with all its content (a hard link to a draft), and only where no file has that name; the system
decides who is first, on network file systems too. ``flock`` is not used, which these may ignore.

The lock of a process that is gone stays behind. Its successor takes the next number: ``lock``,
``lock.2``, and so on, and looks once more at all the others when its own is there. Of two that come
at once at least one sees the other, so both can be refused but never both go on.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from pyfq.io import disk
from pyfq.io.owner import is_alive, owner_text, read_owner, this_process

LOCK = "lock"
DRAFT = "owner."

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def is_lock(name: str) -> bool:
    """Return whether a file of this name belongs to the lock of a directory."""
    return _number(name) is not None or name.startswith(DRAFT)


def acquire(directory: Path, *, break_lock: bool = False) -> Path | None:
    """Take the lock of a directory that exists.

    Parameters
    ----------
    directory : Path
        The directory.
    break_lock : bool
        Whether to take it from a process of which only people can know that it is gone.

    Returns
    -------
    Path or None
        The lock, for `release`; None if another process was faster: the caller may try again.

    Raises
    ------
    BlockingIOError
        Another process has it.
    FileNotFoundError
        The directory is gone: its last owner removed it.
    """
    gone = _refuse_owners(directory, None, break_lock=break_lock)
    numbers = (_number(path.name) or 0 for path in gone)
    number = 1 + max(numbers, default=0)
    mine = directory / (LOCK if number == 1 else f"{LOCK}.{number}")
    if not _create(directory, mine):
        return None
    try:
        gone = _refuse_owners(directory, mine, break_lock=break_lock)
        for path in (*gone, *directory.glob(f"{DRAFT}*")):
            with suppress(FileNotFoundError):
                disk.unlink(path)
    except BaseException:
        disk.unlink(mine)
        raise
    return mine


def is_held(lock: Path) -> bool:
    """Return whether this process still has the lock; ``--break-lock`` takes it away."""
    try:
        return read_owner(lock.read_text()) == this_process()
    except FileNotFoundError:
        return False


def release(lock: Path) -> None:
    """Give the lock back, if it was not taken away."""
    if is_held(lock):
        disk.unlink(lock)


def _create(directory: Path, lock: Path) -> bool:
    """Create the lock, whole; return False if it is there already."""
    text = owner_text(this_process()).encode()
    draft = directory / f"{DRAFT}{secrets.token_hex(8)}"
    fd = disk.create(draft)
    try:
        try:
            disk.write_all(fd, text)
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.link(draft, lock)
    except FileExistsError:
        return False
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        # Without hard links a reader may see the file before its content, and takes it for that of
        # a process it cannot know: it waits for people, not for chance.
        try:
            fd = disk.create(lock)
        except FileExistsError:
            return False
        try:
            disk.write_all(fd, text)
        finally:
            os.close(fd)
    finally:
        with suppress(FileNotFoundError):
            disk.unlink(draft)
    return True


def _refuse_owners(directory: Path, mine: Path | None, *, break_lock: bool) -> list[Path]:
    """Raise BlockingIOError if another lock than `mine` has an owner; return those that have none.

    No lock changes its name, so one that is there while the directory is read is seen.
    """
    gone = []
    for name in sorted(os.listdir(directory)):  # noqa: PTH208
        path = directory / name
        if _number(name) is None or path == mine:
            continue
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise OSError(errno.EINVAL, "not a lock of pyfq: move it away", str(path))
            owner = read_owner(path.read_text(errors="replace"))
        except FileNotFoundError:
            continue  # given back meanwhile
        alive = None if owner is None else is_alive(owner)
        if alive or (alive is None and not break_lock):
            who = "unknown" if owner is None else str(owner)
            hint = "" if alive else "; --break-lock if that is gone"
            raise BlockingIOError(
                errno.EWOULDBLOCK, f"another process ({who}) is writing this{hint}", str(directory)
            )
        gone.append(path)
    return gone


def _number(name: str) -> int | None:
    """Return the number of a lock: 1 of ``lock``, 2 of ``lock.2``, ...; None of another name."""
    if name == LOCK:
        return 1
    word = name.removeprefix(f"{LOCK}.")
    return int(word) if word != name and word.isdecimal() and len(word) < 10 else None
