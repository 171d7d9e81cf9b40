"""How numbers and sizes are written; text from files, as a terminal can show it."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np


def small_letters(suffix: str, known: Collection[str]) -> str:
    """Return what an error adds of an ending that is known but for its capital letters.

    Examples
    --------
    >>> small_letters(".NPZ", (".npz", ".csv")), small_letters(".txt", (".npz", ".csv"))
    (', in small letters', '')
    """
    return ", in small letters" if suffix not in known and suffix.lower() in known else ""


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


def bytes_text(nbytes: float, digits: int = 3) -> str:
    """Return a number of bytes with some digits and a unit, powers of 1000.

    Examples
    --------
    >>> bytes_text(9640), bytes_text(9640, 2), bytes_text(123_456, 2), bytes_text(7)
    ('9.64 kB', '9.6 kB', '123 kB', '7 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5 or unit == "GB":
            break
        nbytes /= 1000
    decimals = 0 if unit == "B" else max(0, digits - len(str(int(nbytes))))
    return f"{nbytes:.{decimals}f} {unit}"


def count_text(count: int, noun: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> count_text(1, "tensor"), count_text(2, "tensor")
    ('1 tensor', '2 tensors')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shape_text(shape: Sequence[int]) -> str:
    """Return the extents of an array.

    Examples
    --------
    >>> shape_text((32, 64)), shape_text((5,)), shape_text(())
    ('32x64', '5', 'scalar')
    """
    return "x".join(map(str, shape)) or "scalar"


def array_text(x: Any) -> str:
    """Return shape and dtype of an array; of another object what its `repr` is.

    Examples
    --------
    >>> array_text(np.zeros((3, 2))), array_text(4)
    ('3x2 float64', '4')
    """
    return f"{shape_text(x.shape)} {x.dtype}" if isinstance(x, np.ndarray) else repr(x)


def object_text(instance: Any, *parts: str | None) -> str:
    """Return an object in one line: its class, and what there is to say of it.

    Parameters
    ----------
    instance : object
        Its class is named.
    *parts : str or None
        In their order; None is left out.

    Examples
    --------
    >>> object_text(1.5, "32x64", None, "8.2 kB")
    'float(32x64, 8.2 kB)'
    """
    text = ", ".join(part for part in parts if part is not None)
    return f"{type(instance).__name__}({text})"
