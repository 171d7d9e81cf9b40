"""The one exception of `pyfq.io`."""

import os


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
