"""Where a path leads when links are followed; every module of pyfq asks here.

`Path.resolve` of Python 3.11 and 3.12 raises RuntimeError for links in a circle, and
`os.path.realpath` returns one of them, as if it were a file that could be replaced.
"""

import errno
import os
from pathlib import Path


def followed(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without links, whether or not there is anything at its end.

    Raises
    ------
    OSError
        ELOOP: links lead in a circle. It names the path that was asked for.

    Examples
    --------
    >>> followed("/dev/../no/such/./file").as_posix()
    '/no/such/file'
    """
    real = Path(os.path.realpath(path))
    # Not `is_symlink`, which raises for a name that is too long or may not be looked at.
    if any(os.path.islink(place) for place in (real, *real.parents)):  # noqa: PTH114
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return real


def target_of(path: Path) -> Path:
    """Return where a file or directory of this name is written: what it leads to, if it is a link.

    A path that is no link stays as it is, relative too, and with links among its directories.

    Raises
    ------
    OSError
        ELOOP, as `followed`.

    Examples
    --------
    >>> target_of(Path("no/such/file")).as_posix()
    'no/such/file'
    """
    # Not `path.is_symlink()`, as above.
    return followed(path) if os.path.islink(path) else path  # noqa: PTH114
