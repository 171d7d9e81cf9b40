"""Write files in a directory of their own, and let all of them take their places at once.

The directory of a target ``T``, a file or a directory, is ``T.partial`` beside it; or
``T/.pyfq.partial`` where ``T`` is a directory and nothing can be renamed onto it from outside: a
mount point, or one in a directory that cannot be written. It holds

| name | is |
|---|---|
| ``lock`` | who writes, see `pyfq.io.lock` |
| ``new/`` | the files, under the names that they will have |
| ``journal`` | what a command needs to go on, see `pyfq.io.journal` |
| ``commit`` | which files take their places, and how; written when all of them are on the disk |

There are three ways. ``rename``: the target is no directory yet, or an empty one, and ``new``
becomes it. ``exchange``: ``new`` gets a second name of every file that stays, and changes places
with the target in one step; then the old files are removed. ``files``: file by file, where the
system has no exchange, where the target is the working directory of this process or above it, or
for a target that is one file. Only in the last one is there a time when
a directory is neither old nor new. ``commit`` outlives it, and `settle` finishes it.
"""

import errno
import hashlib
import json
import os
import stat
import time
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyfq._core.check import shown
from pyfq.io import disk, lock
from pyfq.io.atomic import DiskFile
from pyfq.io.links import followed, is_within

PARTIAL = ".partial"
INSIDE = ".pyfq.partial"
_NAMES = {"new", "journal", "commit"}

# What says that two directories cannot change places, or cannot share a file, here.
_CANNOT = (
    errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EBUSY, errno.ENOTSUP, errno.EOPNOTSUPP,
    errno.EPERM, errno.EACCES, errno.EMLINK,
)  # fmt: skip
_MOST, _KEPT = 255, 200  # bytes of a name, and those that the directory of a longer one keeps
_TRIES = 100
_PATIENCE = 10.0  # seconds that a reader waits for a writer whose last renames are under way


@dataclass(frozen=True)
class Staging:
    """The directory in which a target is written, locked.

    Attributes
    ----------
    asked : Path
        The target as it was named, for messages.
    target : Path
        The same, links followed.
    is_file : bool
        Whether the target is one file.
    directory : Path
        The directory.
    lock : Path
        Its lock.
    made : tuple of Path
        Directories above the target that did not exist, the deepest first.
    """

    asked: Path
    target: Path
    is_file: bool
    directory: Path
    lock: Path
    made: tuple[Path, ...]

    @property
    def new(self) -> Path:
        """Where files are written."""
        return self.directory / "new"

    @property
    def journal(self) -> Path:
        """Where a command notes what it has done."""
        return self.directory / "journal"

    @property
    def root(self) -> Path:
        """What the names of files in `new` are relative to, when they have taken their places."""
        return self.target.parent if self.is_file else self.target


def places_of(path: Path) -> tuple[Path, Path]:
    """Return the directories in which a target may be written: beside it, and inside."""
    target = followed(path)
    name = os.fsencode(target.name)
    if _MOST - len(PARTIAL) < len(name) <= _MOST:  # what is longer yet, the system refuses
        digest = hashlib.sha256(name).hexdigest()[:16]
        name = name[:_KEPT].decode(errors="ignore").encode() + b"." + digest.encode()
    return target.with_name(os.fsdecode(name) + PARTIAL), target / INSIDE


@contextmanager
def staged(asked: Path, *, is_file: bool, break_lock: bool = False) -> Iterator[Staging]:
    """Lock the staging directory of a target for the length of a block.

    What a writer that died in its last step left to do is done first. When the block ends, the
    directory stays if it holds a journal or files, for a later run; see `commit` and `discard`.

    Raises
    ------
    BlockingIOError
        Another process writes this target.
    OSError
        The directory cannot be made, or its name is taken by something that is not pyfq's.
    """
    target = followed(asked)
    with disk.naming(asked):
        made = disk.make_parents(target)
        try:
            directory, held = _acquire(target, break_lock=break_lock)
        except BaseException:
            disk.remove_empty(made)
            raise
    staging = Staging(asked, target, is_file, directory, held, tuple(made))
    try:
        with _naming_obstacle(asked):
            _recover(staging)
        yield staging
    finally:
        _release(staging)


def place(staging: Staging, name: Path) -> Path:
    """Return where to write a file that will have this name, relative to the root."""
    path = staging.new / name
    with disk.naming(staging.asked):
        if not staging.new.is_dir():
            disk.mkdir(staging.new, 0o700)  # until it takes its place nobody else looks in
        for parent in reversed(name.parents[:-1]):
            directory = staging.new / parent
            if not os.path.lexists(directory):
                disk.mkdir(directory)
            elif directory.is_symlink() or not directory.is_dir():
                raise _not_ours(directory, "directory")
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise _not_ours(path, "regular file")
    return path


def _not_ours(path: Path, expected: str) -> OSError:
    return OSError(errno.EEXIST, f"{path} is no {expected}: move it away", str(path))


@contextmanager
def created(staging: Staging, name: Path) -> Iterator[DiskFile]:
    """Yield a new file of this name; when the block ends it is on the disk."""
    path = place(staging, name)
    with disk.naming(staging.asked):
        if os.path.lexists(path):  # of a run that was interrupted
            disk.unlink(path)
        fd = disk.create(path)
    with DiskFile(fd, staging.asked) as file:
        yield file
        file.sync()


def commit(staging: Staging, files: Iterable[Path], stale: Iterable[Path]) -> None:
    """Let files take their places, all or none, and remove the staging directory.

    Mode and owner of files and directories that are replaced are kept.

    Parameters
    ----------
    staging : Staging
        Where they are.
    files : iterable of Path
        Their names, relative to the root, all on the disk; whatever else is in `new` is removed.
    stale : iterable of Path
        Names of files that go, if they are there.

    Raises
    ------
    ValueError
        The target is one file, and a name is not its own: another file beside it would be replaced.
    OSError
        What `refuse_obstacles` refuses, the lock was broken, or the disk fails. The target is what
        it was; only of way ``files`` some may be in place, and the next `settle` finishes.
    """
    files, stale = sorted(set(files)), sorted(set(stale) - set(files))
    if staging.is_file and {*files, *stale} != {Path(staging.target.name)}:
        raise ValueError(f"{staging.target}: expected its own name, got {[*files, *stale]}")
    with _naming_obstacle(staging.asked):
        if not lock.is_held(staging.lock):
            raise OSError(errno.EWOULDBLOCK, "another process has broken the lock")
        refuse_obstacles(staging.root, files, stale)
        _prepare(staging, files)
        record = {
            "way": _way(staging, files, stale),
            "is_file": staging.is_file,
            "files": [str(name) for name in files],
            "stale": [str(name) for name in stale],
            "new": _identity(staging.new),
        }
        _write_record(staging, record)
        try:
            _take_places(staging, record)
        except OSError as e:
            _withdraw(staging, record)
            if record["way"] == "files" or e.errno not in _CANNOT or not _is_new(staging, record):
                raise
            _prepare(staging, files)  # without the second names
            record["way"] = "files"
            _write_record(staging, record)
            try:
                _take_places(staging, record)
            except OSError:
                _withdraw(staging, record)
                raise
        _finish(staging, record)


def refuse_obstacles(root: Path, files: Iterable[Path], stale: Iterable[Path]) -> None:
    """Raise OSError if something below a directory is in the way of files.

    A link among the directories of a file is in its way: what lies behind it is not of this
    directory. A link in the very place of a file is not: it goes, and what it leads to stays.

    Parameters
    ----------
    root : Path
        The directory, whether it is there or not.
    files : iterable of Path
        Names of files that are to take their places, relative to it.
    stale : iterable of Path
        Names of files that are to be removed.
    """
    files = set(files)
    for name in sorted({*files, *stale}):
        for parent in reversed(name.parents[:-1]):
            if parent in files:
                what = f"is to be a file, and the directory of {name.name}, too"
                raise OSError(errno.ENOTDIR, f"{root / parent} {what}")
            _refuse_no_directory(root / parent)
    for name in sorted(files):
        path = root / name
        if path.is_dir() and not path.is_symlink():
            raise OSError(errno.EISDIR, f"{path} is a directory, expected a file: move it away")
        if os.path.lexists(path) and not path.is_symlink() and not path.is_file():
            raise OSError(errno.EEXIST, f"{path} is not a regular file: move it away")


def _refuse_no_directory(path: Path) -> None:
    if path.is_symlink():
        what = "a link, behind which nothing is replaced"
    elif not os.path.lexists(path) or path.is_dir():
        return
    else:
        what = "a file" if path.is_file() else "not a directory"
    raise OSError(errno.ENOTDIR, f"{path} is {what}, expected a directory: move it away")


def discard(staging: Staging) -> None:
    """Remove what was written, and the journal, which goes first: without it there is no run."""
    with _naming_obstacle(staging.asked):
        with suppress(FileNotFoundError):
            disk.unlink(staging.journal)
        with suppress(FileNotFoundError):
            disk.unlink(staging.directory / "commit")
        disk.remove_tree(staging.new)


def refuse_unknown(staging: Staging, known: Collection[Path]) -> None:
    """Raise OSError if `new` holds what is no file of a target, before it is discarded.

    A writer that died has left its lock, behind which the lock that is held has a number; and one
    that keeps what it wrote has a journal or writes files of the target. All else is not pyfq's.

    Parameters
    ----------
    staging : Staging
        Where it is.
    known : collection of Path
        The names of the files of the target, relative to the root.
    """
    if staging.lock.name != lock.LOCK or os.path.lexists(staging.journal):
        return
    for found in sorted(staging.new.rglob("*")):
        name = found.relative_to(staging.new)
        is_above = any(name in file.parents for file in known)
        if name not in known and not (is_above and found.is_dir() and not found.is_symlink()):
            raise OSError(
                errno.EEXIST, f"{found} is not of pyfq: move it away", os.fspath(staging.asked)
            )


def settle(path: Path) -> None:
    """Finish what a writer of a checkpoint left to do, if it is neither old nor new without it.

    Parameters
    ----------
    path : Path
        A file or directory that is to be read.

    Raises
    ------
    BlockingIOError
        A writer is at it now, and for long.
    OSError
        It cannot be finished, for want of permission most likely.
    """
    target = followed(path)
    for root in (target, target.parent):
        deadline = time.monotonic() + _PATIENCE
        while _is_torn(root):
            try:
                with staged(root, is_file=False):
                    pass
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            except PermissionError as e:
                raise PermissionError(
                    e.errno,
                    "its files were being replaced when the writer died, and finishing that needs "
                    f"the right to write: {e.strerror}",
                    os.fspath(path),
                ) from e


def is_settled(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or directory is old or new: see `settle`."""
    target = followed(path)
    return not any(_is_torn(root) for root in (target, target.parent))


def _acquire(target: Path, *, break_lock: bool) -> tuple[Path, Path]:
    """Make the staging directory if it is missing, and take its lock."""
    for _ in range(_TRIES):
        directory = _find(target)
        try:
            made = [] if os.path.lexists(directory) else [_make(target, directory)]
            directory = made[0] if made else directory
            _refuse_not_ours(directory)
            try:
                held = lock.acquire(directory, break_lock=break_lock)
            except BaseException:
                disk.remove_empty(made)  # there is nothing of another process in it
                raise
        except FileNotFoundError:
            if not target.parent.is_dir():
                raise
            continue  # its last owner removed it
        if held is not None:
            return directory, held
    raise BlockingIOError(errno.EWOULDBLOCK, "other processes are writing this", str(target))


def _find(target: Path) -> Path:
    """Return the staging directory that is there, or where it is to be."""
    beside, inside = places_of(target)
    if os.path.lexists(inside):
        return inside
    if os.path.lexists(beside) or not target.is_dir():
        return beside
    return beside if _mount(target) == _mount(target.parent) else inside


def _make(target: Path, directory: Path) -> Path:
    try:
        disk.mkdir(directory)
    except FileExistsError:
        pass
    except FileNotFoundError as e:
        if not directory.parent.is_dir():
            raise
        raise PermissionError(  # what /proc answers
            errno.EPERM, "no directory can be made here", str(directory.parent)
        ) from e
    except OSError as e:
        if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not target.is_dir():
            raise
        directory = target / INSIDE
        with suppress(FileExistsError):
            disk.mkdir(directory)
    return directory


def _mount(path: Path) -> tuple[int, str]:
    """Return what tells whether two paths are of one mount: names move only within one."""
    if not hasattr(os, "O_PATH"):
        return path.stat().st_dev, ""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)  # which asks for no right to read
    try:
        with suppress(OSError):
            for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
                if line.startswith("mnt_id:"):
                    return os.fstat(fd).st_dev, line
        return os.fstat(fd).st_dev, ""
    finally:
        os.close(fd)


def _refuse_not_ours(directory: Path) -> None:
    mode = directory.lstat().st_mode
    if not stat.S_ISDIR(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "not a directory"
        raise OSError(errno.EEXIST, f"{directory} is {what}: move it away", str(directory))
    for name in sorted(os.listdir(directory)):  # noqa: PTH208
        if name not in _NAMES and not lock.is_lock(name):
            raise OSError(
                errno.EEXIST,
                f"{directory} holds {shown(name)}, not of pyfq: move it away",
                str(directory),
            )
    for name in sorted(_NAMES):
        path, wanted = directory / name, "directory" if name == "new" else "regular file"
        with suppress(FileNotFoundError):  # its owner may be at work: one look, not two
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) if name == "new" else stat.S_ISREG(mode)):
                raise _not_ours(path, wanted)


@contextmanager
def _naming_obstacle(asked: Path) -> Iterator[None]:
    """Let an OSError name the target that was asked for, and the file that stands in the way."""
    try:
        yield
    except OSError as e:
        if e.errno is None:
            raise
        obstacle, asked_for = e.filename, os.fspath(asked)
        why = e.strerror or os.strerror(e.errno)
        if isinstance(obstacle, str) and obstacle not in (asked_for, str(followed(asked))):
            why = why if obstacle in why else f"{obstacle}: {why}"
        raise OSError(e.errno, why, asked_for) from e


@contextmanager
def _telling(true: str) -> Iterator[None]:
    """Let an OSError say first what is true of the target, and name what stands in the way."""
    try:
        yield
    except OSError as e:
        if e.errno is None:
            raise
        where = f"{e.filename}: " if e.filename else ""
        raise OSError(e.errno, f"{true}: {where}{e.strerror}") from e


def _release(staging: Staging) -> None:
    """Give the lock back; the directory goes with it if there is nothing to go on with."""
    lock.release(staging.lock)
    disk.remove_empty([staging.directory, *staging.made])


def _recover(staging: Staging) -> None:
    """Finish a commit that had begun to take places; undo one that had not."""
    record = _read_record(staging.directory)
    if record is not None:
        staging = replace(staging, is_file=record["is_file"])  # as it was for the one that died
    if record is None or _is_new(staging, record):
        with suppress(FileNotFoundError):
            disk.unlink(staging.directory / "commit")
        return
    if record["way"] == "files":
        names = ([Path(name) for name in record[key]] for key in ("files", "stale"))
        refuse_obstacles(staging.root, *names)
        _take_places(staging, record)
    _finish(staging, record)


def _prepare(staging: Staging, files: list[Path]) -> None:
    """Remove from `new` what is not to take a place, and give the rest the modes of the old."""
    _prune(staging.new, Path(), set(files))
    for name in files:
        old = staging.root / name
        if old.is_file():
            disk.adopt(staging.new / name, old.stat())
    if not staging.is_file:
        if staging.target.is_dir():
            disk.adopt(staging.new, staging.target.stat())
        else:
            disk.chmod(staging.new, staging.directory.stat().st_mode & 0o7777)
    _sync_tree(staging.new)


def _prune(new: Path, at: Path, files: set[Path]) -> None:
    for entry in sorted(os.scandir(new / at), key=lambda entry: entry.name):
        name = at / entry.name
        if entry.is_dir(follow_symlinks=False):
            _prune(new, name, files)
            with suppress(OSError):  # not empty
                disk.rmdir(new / name)
        elif name not in files:
            disk.unlink(new / name)


def _sync_tree(directory: Path) -> None:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            _sync_tree(directory / entry.name)
    disk.sync_directory(directory)


def _way(staging: Staging, files: list[Path], stale: list[Path]) -> str:
    """Return how files take their places; for an exchange make second names of what stays."""
    if staging.is_file or staging.directory.parent == staging.target:
        return "files"
    if _stands_in(staging.target):
        return "files"
    if not staging.target.is_dir() or not any(staging.target.iterdir()):
        return "rename"
    try:
        _share(staging.target, staging.new, Path(), {*files, *stale})
        _sync_tree(staging.new)
    except OSError as e:
        if e.errno not in _CANNOT:
            raise
        _prepare(staging, files)
        return "files"
    return "exchange"


def _stands_in(directory: Path) -> bool:
    """Return whether the working directory of this process is a directory, or below it.

    Were another put in its place, this process and the shell that began it would be left in one
    that is gone: relative paths would lead nowhere.
    """
    try:
        return is_within(Path.cwd(), directory)
    except FileNotFoundError:  # it is no more
        return False


def _share(old: Path, new: Path, at: Path, replaced: set[Path]) -> None:
    """Give every file of the old directory that stays a second name in the new one.

    Raises
    ------
    OSError
        EXDEV: something is mounted there, an empty directory too. It would go with the old names.
    """
    mount = _mount(old / at)
    for entry in sorted(os.scandir(old / at), key=lambda entry: entry.name):
        name = at / entry.name
        if not entry.is_symlink() and _mount(old / name) != mount:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(old / name))
        if entry.is_dir(follow_symlinks=False):
            with suppress(FileExistsError):
                disk.mkdir(new / name)
            disk.adopt(new / name, (old / name).stat())
            _share(old, new, name, replaced)
        elif name not in replaced:
            disk.link(old / name, new / name)


def _take_places(staging: Staging, record: dict[str, Any]) -> None:
    """Do the renames of a commit, as many as are left."""
    match record["way"]:
        case "rename":
            disk.rename(staging.new, staging.target)
        case "exchange":
            disk.exchange(staging.new, staging.target)
        case _:
            for name in map(Path, record["files"]):
                if os.path.lexists(staging.new / name):
                    for parent in reversed(name.parents[:-1]):
                        with suppress(FileExistsError):
                            disk.mkdir(staging.root / parent)
                    try:
                        disk.rename(staging.new / name, staging.root / name)
                    except OSError as e:
                        raise _unfinished(staging, record, name, e) from e


def _unfinished(staging: Staging, record: dict[str, Any], name: Path, e: OSError) -> OSError:
    """Return the error of a file that cannot take its place, and what is true of the target."""
    place = staging.root / name
    if staging.is_file:
        return OSError(e.errno, e.strerror, str(place))
    if _is_new(staging, record):
        return OSError(e.errno, f"nothing is replaced: {place}: {e.strerror}", str(place))
    what = "some files are replaced and others are not"
    return OSError(e.errno, f"{what}: {place}: {e.strerror}", str(place))


def _is_new(staging: Staging, record: dict[str, Any]) -> bool:
    """Return whether nothing has taken its place yet."""
    if record["way"] == "files":
        return all(os.path.lexists(staging.new / name) for name in record["files"])
    return os.path.lexists(staging.new) and _identity(staging.new) == record["new"]


def _withdraw(staging: Staging, record: dict[str, Any]) -> None:
    """Take a commit back after an error, if nothing has taken its place."""
    if _is_new(staging, record):
        disk.unlink(staging.directory / "commit")


def _finish(staging: Staging, record: dict[str, Any]) -> None:
    """Remove the old files, and what a run needs to go on; the new ones are in their places."""
    files, stale = ({Path(name) for name in record[key]} for key in ("files", "stale"))
    with _telling("the new files are in place, and what is left of the old ones is in the way"):
        if record["way"] == "exchange":
            _sweep(staging.new, staging.target, Path(), files | stale)
        else:
            for name in sorted(stale):
                with suppress(FileNotFoundError):
                    disk.unlink(staging.root / name)
        for parent in {
            staging.root.parent,
            staging.root,
            *(staging.root / f.parent for f in files),
        }:
            disk.sync_directory(parent)
        with suppress(FileNotFoundError):
            disk.unlink(staging.journal)
        disk.remove_tree(staging.new)
        disk.unlink(staging.directory / "commit")


def _sweep(old: Path, new: Path, at: Path, replaced: set[Path]) -> None:
    """Remove the directory that was exchanged: replaced files, and one of two names of the rest.

    A file that came while the directories changed places has no second name, and is moved.
    """
    if not (old / at).is_dir():
        return
    for entry in sorted(os.scandir(old / at), key=lambda entry: entry.name):
        name = at / entry.name
        if entry.is_dir(follow_symlinks=False):
            with suppress(FileExistsError):
                disk.mkdir(new / name)
            _sweep(old, new, name, replaced)
        elif name in replaced or _is_same(old / name, new / name):
            disk.unlink(old / name)
        else:
            disk.rename(old / name, new / name)
    disk.rmdir(old / at)


def _is_same(a: Path, b: Path) -> bool:
    return os.path.lexists(b) and os.path.samestat(a.lstat(), b.lstat())


def _identity(path: Path) -> list[int]:
    found = path.lstat()
    return [found.st_dev, found.st_ino]


def _is_torn(root: Path) -> bool:
    """Return whether some files of a directory have taken their places and others have not."""
    for directory in places_of(root):
        record = _read_record(directory)
        if record is not None and record["way"] == "files" and not record["is_file"]:
            waiting = [os.path.lexists(directory / "new" / name) for name in record["files"]]
            stale = any(os.path.lexists(root / name) for name in record["stale"])
            if not all(waiting) and (any(waiting) or stale):
                return True
    return False


def _write_record(staging: Staging, record: dict[str, Any]) -> None:
    text = json.dumps(record).encode()
    path = staging.directory / "commit"
    if os.path.lexists(path):
        disk.unlink(path)
    with DiskFile(disk.create(path), staging.asked) as file:
        file.write_all(b"%08x %s\n" % (zlib.crc32(text), text))
        file.sync()
    disk.sync_directory(staging.directory)


def _read_record(directory: Path) -> dict[str, Any] | None:
    """Return the commit of a staging directory; None if there is none, or not a whole one."""
    path = directory / "commit"
    try:
        with DiskFile(disk.reopen(path), path) as file:
            content = file.readall()
    except OSError:
        return None
    checksum, _, text = content.rstrip(b"\n").partition(b" ")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text) else None
