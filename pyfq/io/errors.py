"""The one exception of `pyfq.io`, and how its messages show what stands in a file."""

import os
import reprlib

_brief = reprlib.Repr()
_brief.maxstring = 160  # A tensor's name fits; a name of 50 MB in a broken header does not.


class FormatError(ValueError):
    """A file breaks the rules of its format.

    The message is the file's name and the reason: what was expected and what came.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    reason : str
        What was expected and what came.

    Examples
    --------
    >>> raise FormatError("w.safetensors", "expected at least 8 bytes, got 3")
    Traceback (most recent call last):
    pyfq.io.errors.FormatError: w.safetensors: expected at least 8 bytes, got 3
    """

    # Both arguments go to `args`, so that the error can be pickled from a worker process.
    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        """Return ``path: reason``."""
        return f"{os.fspath(self.path)}: {self.reason}"


def shown(value: object) -> str:
    """Return a value found in a file as a message can carry it: quoted, and of bounded length."""
    return _brief.repr(value)
