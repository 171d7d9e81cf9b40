"""Tables as text."""

from collections.abc import Sequence

from .text import printable


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text in columns: the first to the left, the others to the right.

    Names come from files: what would move the cursor or begin a line is escaped.

    Parameters
    ----------
    rows : sequence of sequences of str
        As many in each.

    Returns
    -------
    str
        Lines.
    """
    rows = [[printable(cell, len(cell)) for cell in row] for row in rows]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], widths)]).rstrip() for row in rows
    )
