"""Globs of rules, each compiled once, however many there are."""

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache


def fnmatchcase(name: str, glob: str) -> bool:
    """Tell whether a glob matches the whole name, as `fnmatch.fnmatchcase` does.

    That keeps 256 compiled globs: a recipe of more would have each compiled for each tensor.
    """
    return _compiled(glob)(name) is not None


@lru_cache(maxsize=32768)
def _compiled(glob: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(glob)).match
