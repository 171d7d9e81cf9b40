"""Tables that fit the terminal: text to the left, numbers to the right.

Where stdout is no terminal a table has all columns in full: a program or a pager reads it.
"""

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from pyfq._core.text import printable

# Between columns, and what a header has on a terminal that is wide enough.
_GAP, _PADDING = 2, 2
# Columns of the terminal that text keeps while columns of numbers can be left out instead, of the
# first column and of others; and what is left of it in any case.
_FIRST, _OTHER, _LEAST = 32, 12, 8

_NUMBERS = frozenset(
    ("bits/weight", "zeros", "SQNR dB", "cosine", "seconds", "before", "after", "bytes", "cases",
     "below 6.02 dB/bit", "threads", "ms", "Gop/s", "GB/s", "x NumPy", "accuracy", "agreement",
     "RMSE", "to the teacher", "parameters", "multiply-adds"),
)  # fmt: skip


def terminal_width() -> int | None:
    """Return how many columns the terminal of stdout has, None if there is no terminal."""
    if not sys.stdout.isatty():
        return None
    return max(shutil.get_terminal_size().columns, 20)


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    Examples
    --------
    >>> width_of("weight"), width_of("重み"), width_of("e\N{COMBINING ACUTE ACCENT}")
    (6, 4, 1)
    """
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def shortened(text: str, most: int) -> str:
    """Return a text in so many columns of a terminal, without its middle if it is longer.

    Examples
    --------
    >>> shortened("encoder.layer.0.attention.self.query.weight", 32)
    'encoder.layer....lf.query.weight'
    """
    if width_of(text) <= most:
        return text
    dots = "..."[: max(most - 2, 0)]
    head = _cut(text, (most - len(dots)) // 2)
    tail = _cut(text[::-1], most - len(dots) - width_of(head))[::-1]
    return f"{head}{dots}{tail}"


def wrapped(text: str, width: int | None) -> str:
    """Return lines of prose that a terminal does not break within a word; a path may be longer."""
    if width is None:
        return text
    how = {"subsequent_indent": "  ", "break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.fill(line, width, **how) for line in text.split("\n"))


def _cut(text: str, most: int) -> str:
    while width_of(text[:most]) > most:  # wide letters
        text = text[: len(text[:most]) - 1]
    return text[:most]


def table_text(
    rows: Iterable[Sequence[Any]],
    headers: Sequence[str],
    numbers: Collection[str] = (),
    *,
    spare: Sequence[str] = (),
    width: int | None = None,
) -> str:
    """Return a table.

    Names come from files: what would move the cursor or begin a line is escaped.

    Parameters
    ----------
    rows : iterable of sequences
        The cells of each line; numbers come as text, too.
    headers : sequence of str
        What stands above the columns.
    numbers : collection of str
        Headers of numbers, besides those that are known.
    spare : sequence of str
        Headers of columns that are left out, in this order, where there is no room for all.
    width : int, optional
        Columns of the terminal; if not given there is room for all.
    """
    headers, *rows = [[printable(str(cell)) for cell in row] for row in (headers, *rows)]
    return "\n".join(fitted_lines(headers, lambda: rows, numbers, spare=spare, width=width))


def fitted_lines(
    headers: Sequence[str],
    rows: Callable[[], Iterable[Sequence[str]]],
    numbers: Collection[str] = (),
    *,
    spare: Sequence[str] = (),
    width: int | None = None,
) -> Iterator[str]:
    """Yield the lines of a table, of which no more than one is held in memory.

    Parameters
    ----------
    headers : sequence of str
        What stands above the columns.
    rows : callable
        Returns the cells of each line, as text that can be printed. It is called twice: first to
        see how wide columns are.
    numbers, spare, width
        As in `table_text`.
    """
    is_text = [header not in _NUMBERS and header not in numbers for header in headers]
    places, widths = _fit(headers, rows(), is_text, spare, width)

    def line(cells: Sequence[str]) -> str:
        sides = zip(places, widths, strict=True)
        return gap.join([_padded(cells[i], n, to_left=is_text[i]) for i, n in sides]).rstrip()

    gap = " " * _GAP
    yield line(headers)
    yield gap.join(["-" * n for n in widths])
    yield from map(line, rows())


def _padded(cell: str, width: int, *, to_left: bool) -> str:
    cell = shortened(cell, width)
    blanks = " " * (width - width_of(cell))
    return f"{cell}{blanks}" if to_left else f"{blanks}{cell}"


def _fit(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    is_text: Sequence[bool],
    spare: Sequence[str],
    width: int | None,
) -> tuple[list[int], list[int]]:
    """Return which columns a table shows, and how wide they are."""
    widths = [width_of(header) for header in headers]
    for cells in rows:
        widths = [max(n, width_of(cell)) for n, cell in zip(widths, cells, strict=True)]
    places = list(range(len(widths)))
    padded = [max(n, width_of(h) + _PADDING) for n, h in zip(widths, headers, strict=True)]
    if width is None or _total(padded) <= width:
        return places, padded
    room = [_FIRST, *[_OTHER] * len(widths)]  # what text should keep
    kept = [min(n, r) if text else n for n, r, text in zip(widths, room, is_text, strict=False)]
    for header in spare:
        if _total([kept[i] for i in places]) <= width:
            break
        places = [i for i in places if headers[i] != header]
    while _total([widths[i] for i in places]) > width:
        texts = [i for i in places if is_text[i] and widths[i] > _LEAST]
        if texts:
            widths[max(texts, key=lambda i: widths[i] - room[i])] -= 1
        elif len(places) > 1:
            places.pop()
        else:
            break
    return places, [widths[i] for i in places]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)
