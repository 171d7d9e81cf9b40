"""Every change that pyfq makes to a file system: one function for each call of the system.

All other code calls these as ``disk.rename(...)`` and so on, so that a test can make any one of
them fail, or end the process at it. Names are never followed when they are symbolic links, and a
file is created only where there is none.
"""

import ctypes
import errno
import os
import platform
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REOPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# renameat2 of Linux, for C libraries that have no function of that name.
_RENAMEAT2 = {"x86_64": 316, "ppc64le": 357, "s390x": 347, "aarch64": 276, "riscv64": 276}
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2  # of macOS
_AT_FDCWD = -100


def create(path: Path, mode: int = 0o666) -> int:
    """Create a file, open for reading and writing; FileExistsError if the name is taken."""
    return os.open(path, _CREATE, mode)


def reopen(path: Path) -> int:
    """Open a regular file for reading and writing; OSError if it is a link or anything else."""
    fd = os.open(path, _REOPEN)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return fd


def write(fd: int, data: memoryview) -> int:
    """Write bytes, and return how many: the system may take fewer than there are."""
    return os.write(fd, data)


def truncate(fd: int, size: int) -> None:
    """Cut a file."""
    os.ftruncate(fd, size)


def sync(fd: int) -> None:
    """Return when a file is on the disk."""
    os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot, and need not
            raise
    finally:
        os.close(fd)


def rename(source: Path, target: Path) -> None:
    """Rename, in one step, onto what is there."""
    os.rename(source, target)  # noqa: PTH104 -- the call of the system, not a method


def exchange(a: Path, b: Path) -> None:
    """Let two names change places, in one step; OSError ENOSYS if the system has no such call."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(a), os.fsencode(b)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, ctypes.c_uint(_RENAME_SWAP))
    elif sys.platform == "linux" and hasattr(libc, "renameat2"):
        failed = libc.renameat2(
            _AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)
        )
    elif sys.platform == "linux" and platform.machine() in _RENAMEAT2:
        number = ctypes.c_long(_RENAMEAT2[platform.machine()])
        failed = libc.syscall(
            number, _AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)
        )
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(b))
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(b))


def unlink(path: Path) -> None:
    """Remove a file."""
    os.unlink(path)  # noqa: PTH108


def mkdir(path: Path, mode: int = 0o777) -> None:
    """Make a directory; FileExistsError if the name is taken."""
    os.mkdir(path, mode)  # noqa: PTH102


def rmdir(path: Path) -> None:
    """Remove an empty directory."""
    os.rmdir(path)  # noqa: PTH106


def link(source: Path, target: Path) -> None:
    """Give a file, or a symbolic link itself, a second name; FileExistsError if it is taken."""
    os.link(source, target, follow_symlinks=False)


def chmod(path: Path | int, mode: int) -> None:
    """Set the mode of a file or directory."""
    os.chmod(path, mode)  # noqa: PTH101


def chown(path: Path | int, uid: int, gid: int) -> None:
    """Set owner and group of a file or directory."""
    os.chown(path, uid, gid)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of some bytes."""
    view = memoryview(data).cast("B")
    while view:
        view = view[write(fd, view) :]


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an OSError name the file that was asked for, whichever one it was about."""
    try:
        yield
    except OSError as e:
        if e.errno is None or e.filename == os.fspath(path):
            raise
        raise OSError(e.errno, e.strerror, os.fspath(path)) from e


def adopt(path: Path | int, of: os.stat_result) -> None:
    """Give a file or directory the mode of another, and its owner and group where that is allowed.

    A group that cannot be kept must not leave its rights to another one.
    """
    now = os.stat(path)  # noqa: PTH116
    mode = stat.S_IMODE(of.st_mode)
    if (now.st_uid, now.st_gid) != (of.st_uid, of.st_gid):
        try:
            chown(path, of.st_uid, of.st_gid)
        except PermissionError:
            try:
                chown(path, -1, of.st_gid)
            except PermissionError:
                mode &= ~0o070
            mode &= ~0o6000
    if stat.S_IMODE(now.st_mode) != mode or (now.st_uid, now.st_gid) != (of.st_uid, of.st_gid):
        chmod(path, mode)


def remove_tree(path: Path) -> None:
    """Remove a directory and all that is in it, without following a link; nothing if it is gone."""
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(path / entry.name)
        else:
            unlink(path / entry.name)
    rmdir(path)


def make_parents(path: Path) -> list[Path]:
    """Make the directories above a file that are missing, and return them, the deepest first."""
    missing: list[Path] = []
    parent = path.parent
    while not os.path.lexists(parent):
        missing.append(parent)
        parent = parent.parent
    made: list[Path] = []
    try:
        for directory in reversed(missing):
            try:
                mkdir(directory)
                made.insert(0, directory)
            except FileExistsError:  # another process made it meanwhile
                if not directory.is_dir():
                    raise
    except BaseException:
        remove_empty(made)
        raise
    return made


def remove_empty(directories: list[Path]) -> None:
    """Remove directories, the deepest first, up to one that is not empty."""
    for directory in directories:
        try:
            rmdir(directory)
        except OSError:  # it holds something by now
            return
