"""What ``--help`` says, in lines that the terminal has room for.

Texts are written as they look on a wide terminal. Where that is narrower, paragraphs are filled
anew, the right one of two columns is folded below itself, and commands go on behind a backslash.
"""

import argparse
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# A line of two columns; a comment of TOML is one, too.
_COLUMNS = re.compile(r"( *)(\S+(?: \S+)*) {2,}(\S.*)")
_COMMAND = "pyfq "


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that folds description and epilog, and keeps their paragraphs and columns."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return folded(text, width)


@dataclass
class _Block:
    """Lines that belong together: `head` stands before `hang`, `body` from there on."""

    head: str
    body: str
    hang: int


def folded(text: str, width: int) -> str:
    r"""Return a text whose lines are no longer than a width, as far as words are not.

    Examples
    --------
    >>> print(folded("a list:\n  rtn      codes of --bits, rounded to nearest", 34))
    a list:
      rtn      codes of --bits,
               rounded to nearest
    """
    lines = text.split("\n")
    if max(map(len, lines)) <= width:
        return text
    return "\n".join(line for block in _blocks(lines) for line in _fold(block, width))


def _blocks(lines: Sequence[str]) -> Iterator[_Block]:
    block = None
    for line in lines:
        body = line.lstrip()
        indent = len(line) - len(body)
        if block is not None and body and _goes_on(block, body, indent):
            block.body = f"{block.body.removesuffix(chr(92)).rstrip()} {body}"
            continue
        if block is not None:
            yield block
        found = _COLUMNS.fullmatch(line)
        if found is None:
            block = _Block(" " * indent, body, indent)
        else:
            block = _Block(line[: found.start(3)], found[3], found.start(3))
    if block is not None:
        yield block


def _goes_on(block: _Block, body: str, indent: int) -> bool:
    """Return whether a line belongs to the block before it."""
    if block.body.endswith(chr(92)):  # a command that goes on
        return True
    if _COLUMNS.fullmatch(" " * indent + body) and not block.head.strip():
        return False
    is_text = not body.startswith((_COMMAND, "[", "#")) and " = " not in body
    of_text = bool(block.body) and not block.body.startswith((_COMMAND, "["))
    return is_text and of_text and indent == block.hang and not block.body.endswith(":")


def _fold(block: _Block, width: int) -> list[str]:
    line = block.head + block.body
    if len(line) <= width:
        return [line]
    left = block.head.strip()
    if block.body.startswith(_COMMAND):
        return _command(block.head, block.body, width)
    hang = " " * block.hang
    if left.startswith(_COMMAND) or block.body[0] == "#" or len(hang) > width // 2:
        margin = " " * (len(block.head) - len(block.head.lstrip()))
        below = f"{margin}    "  # what is said of a line goes there
        above = _command(margin, left, width) if left else []
        return above + _wrap(block.body, width, below, below + "# " * (block.body[0] == "#"))
    return _wrap(block.body, width, block.head, hang)


def _command(margin: str, words: str, width: int) -> list[str]:
    """Return the lines of a command, that end in a backslash where it goes on."""
    kept = re.sub(r"(?<= )(--?[a-z-]+) (?=[^-])", "\\1\0", words)  # an option and its value
    lines = [line.replace("\0", " ") for line in _wrap(kept, width - 2, margin, margin + "    ")]
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _wrap(text: str, width: int, first: str, then: str) -> list[str]:
    how = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=then, **how)
