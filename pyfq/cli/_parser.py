"""What a command line says, and what is told of one that says nothing sensible."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from pyfq.cli._streams import one_line


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are two lines: the reason, and where to read more."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)}\nTry '{self.prog} --help'.\n")

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """Refuse options that there are not, and suggest those that were meant.

        argparse does not name them before it misses required ones, and then without a suggestion.

        Parameters
        ----------
        words : sequence of str
            The command line behind the name of the command.
        """
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words:
            option = word.partition("=")[0]
            if word == "--":
                break
            if word.startswith("-") and word.endswith("--"):  # argparse makes a list of it
                self.error(f"{word.rstrip('-').rstrip('=')}: expected a value, not --")
            # With a space it is no option to argparse, and the beginning of one is its short form.
            if not word.startswith("--") or " " in word or any(k.startswith(option) for k in known):
                continue
            self.error(f"unknown option {option}{suggestion(option, known)}")

    def refuse_extra(self, words: Sequence[str]) -> None:
        """Refuse what argparse could not place."""
        if words:
            what = "unknown option" if words[0].startswith("-") else "unexpected argument"
            self.error(f"{what} {words[0]}")


def add_telling_arguments(group: argparse._ActionsContainer, verbose: str) -> None:
    """Add the options that say how much is told; `verbose` is what the longer one shows."""
    quiet = "no table and no bar: remarks and errors alone"
    options = group.add_mutually_exclusive_group()
    options.add_argument("-q", "--quiet", action="store_true", help=quiet)
    options.add_argument("-v", "--verbose", action="store_true", help=verbose)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``": did you mean ...?"`` for a misspelt word, or nothing if none is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f": did you mean {near[0]}?" if near else ""


def path_of(word: str) -> Path:
    """Return the path that a word of the command line names; an empty one names nothing.

    `Path` would take it for the current directory: ``pyfq inspect "$UNSET"``.
    """
    if not word:
        raise argparse.ArgumentTypeError("expected a path, not an empty word")
    return Path(word)


def file_of(word: str) -> Path:
    """Return the file that a word of the command line names; `Path` would drop a slash at its end.

    Raises
    ------
    argparse.ArgumentTypeError
        The word is empty, or ends in a slash, which only a directory may.
    """
    if word.endswith("/"):
        raise argparse.ArgumentTypeError(f"expected a file, not the directory {word}")
    return path_of(word)
