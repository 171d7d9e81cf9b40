"""Text from files, as a terminal can show it; words of errors."""

from collections.abc import Collection


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
