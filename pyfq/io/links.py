"""Where a path leads when links are followed; every module of pyfq asks here.

`os.path.realpath` takes ``x/..`` for nothing where ``x`` is a file or not there, which the system
refuses, and returns one of the links that lead in a circle, as if it were a file that could be
replaced. `Path.resolve` of Python 3.11 and 3.12 raises RuntimeError for such links.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

_ROOT = Path(os.sep)
_MOST_LINKS = 40  # that Linux follows


def followed(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without links, whether or not there is anything at its end.

    Raises
    ------
    OSError
        ELOOP: links lead in a circle. ENOENT, ENOTDIR, EACCES: ``..`` stands behind what is not
        there, is no directory, or may not be entered. It names the path that was asked for.

    Examples
    --------
    >>> followed("/dev/../no/such/./file").as_posix()
    '/no/such/file'
    """
    asked = os.fspath(path)
    place, names = _ROOT, list(Path(path).absolute().parts[:0:-1])  # the next name is the last
    links = 0
    while names:
        name = names.pop()
        if name in ("", ".", ".."):
            _refuse_no_directory(place, name, asked)
            place = place.parent if name == ".." else place
            continue
        try:
            text = os.readlink(place / name)  # noqa: PTH115 -- `Path` drops a slash at its end
        except OSError:  # no link, nothing, or not to be looked at
            place /= name
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), asked)
        place = _ROOT if text.startswith(os.sep) else place
        names += text.split(os.sep)[::-1]  # noqa: PTH206 -- the same
    return place


def _refuse_no_directory(place: Path, name: str, asked: str) -> None:
    """Raise OSError if the system does not take ``..``, ``.`` or a slash behind a path.

    The last two it takes where nothing is, for a directory that is to be made.
    """
    try:
        os.stat(f"{place}{os.sep}{name}")  # noqa: PTH116 -- `Path` drops them
    except OSError as e:
        if name != ".." and e.errno != errno.ENOTDIR:
            return
        what = f"there is no directory {place}, behind which {name or os.sep} stands"
        raise OSError(e.errno, f"{e.strerror}: {what}: leave both out", asked) from e


def is_within(path: Path, directory: Path) -> bool:
    """Return whether a path, there or not, is a directory or below it, by whatever names.

    Directories are told by device and inode: one that is mounted in a second place has two names.
    A directory that may not be looked at is told by its name alone.
    """
    if path.is_relative_to(directory):
        return True
    with suppress(OSError):
        found = directory.stat()
        for place in (path, *path.parents):
            with suppress(OSError):
                if os.path.samestat(found, place.stat()):
                    return True
    return False


def target_of(path: Path) -> Path:
    """Return where a file or directory of this name is written: what it leads to, if it is a link.

    A path that is no link stays as it is, relative too, and with links among its directories.

    Raises
    ------
    OSError
        As `followed`.

    Examples
    --------
    >>> target_of(Path("no/such/file")).as_posix()
    'no/such/file'
    """
    leads_to = followed(path)
    # Not `path.is_symlink()`, which raises for a name that is too long or may not be looked at.
    return leads_to if os.path.islink(path) else path  # noqa: PTH114
