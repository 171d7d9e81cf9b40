"""The one exception of `pyfq.io`, and how a terminal shows what stands in a file."""

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


def printable(text: str, most: int = 160) -> str:
    r"""Return text from a file as a terminal can show it: on one line, of bounded length.

    Control characters, line ends, marks that turn the direction of writing and halves of
    characters become escapes: none of them can change what else stands on the terminal.

    Parameters
    ----------
    text : str
        Any text: a tensor's name, a path, a message.
    most : int
        Characters that are shown; what is longer loses its middle.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if len(text) > most:
        # Cut before the escapes, which are up to ten characters long: a name may have megabytes.
        text = f"{text[: most - most // 3 - 3]}...{text[-(most // 3) :]}"
    if text.isprintable():
        return text
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)
