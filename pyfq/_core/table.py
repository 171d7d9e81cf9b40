"""Tables as text and as HTML."""

import html
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


def html_table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as a table of HTML: the first row is the head.

    Names come from files: what would be an element, or a control character, is escaped.

    Parameters
    ----------
    caption : str
        Above the table.
    rows : sequence of sequences of str
        As many in each.

    Returns
    -------
    str
        An element.

    Examples
    --------
    >>> print(html_table("sizes", [("name", "bytes"), ("<w>", "4")]))
    <table><caption>sizes</caption>
    <tr><th>name</th><th>bytes</th></tr>
    <tr><td>&lt;w&gt;</td><td>4</td></tr>
    </table>
    """
    head, *body = (tuple(_escaped(cell) for cell in row) for row in rows)
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body]
    return "\n".join([f"<table><caption>{_escaped(caption)}</caption>", *lines, "</table>"])


def _escaped(text: str) -> str:
    return html.escape(printable(text, len(text)))
