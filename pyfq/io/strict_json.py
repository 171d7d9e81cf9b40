"""JSON as the formats mean it: UTF-8, one object, no key twice; NaN only where asked for."""

import codecs
import json
import os
import re
from collections.abc import Callable
from typing import Any

from pyfq._core.check import shown
from pyfq.io.errors import FormatError

# Half a character as an escape; two halves together are a character.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(
    raw: bytes,
    path: str | os.PathLike[str],
    part: str,
    *,
    lenient: bool = False,
    each: Callable[[dict[str, Any]], Any] = lambda fields: fields,
) -> dict[str, Any]:
    """Return the object that `raw` holds, keys in their order in the text.

    Parameters
    ----------
    raw : bytes
        The text.
    path : str or os.PathLike
        The file it came from, for the message.
    part : str
        What the text is in that file, for the message.
    lenient : bool
        Also take what Python's json writes and editors add: NaN, Infinity, integers of more than
        20 digits, a byte order mark.
    each : callable
        What becomes of each object as soon as it is read, those within it before it.

    Raises
    ------
    FormatError
        Not UTF-8, not JSON, a key twice in one object, or not an object.
    """
    checked = _unique_and_whole if _SURROGATE.search(raw) else _unique
    if lenient:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=lambda pairs: each(checked(pairs)),
            parse_int=None if lenient else _integer,
            parse_constant=None if lenient else _no_constant,
        )
    except UnicodeDecodeError as error:
        raise FormatError(path, f"{part}: expected UTF-8, {error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"{part}: expected JSON, {error}") from error
    if not isinstance(value, dict):
        raise FormatError(path, f"{part}: expected a JSON object, got {json_kind(raw.decode())}")
    return value


def json_kind(text: str) -> str:
    """Return what a text of JSON holds, by its first character.

    Examples
    --------
    >>> json_kind("[1, 2]"), json_kind("5"), json_kind("null")
    ('a list', 'a number', 'null')
    """
    first = text.lstrip("\ufeff \t\r\n")[:1]
    kinds = {"{": "an object", "[": "a list", '"': "text", "t": "true", "f": "false", "n": "null"}
    return kinds.get(first, "a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"duplicate key {shown(key)}")
            seen.add(key)
    return fields


def _unique_and_whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # "\ud800" is half a character: Python lets it pass, UTF-8 cannot hold it.
    for pair in pairs:
        for text in pair:
            if isinstance(text, str):
                text.encode("utf-8")
    return _unique(pairs)


def _integer(digits: str) -> int | float:
    # "-0" is no size, and int() refuses thousands of digits with an error of its own: both become
    # floats, which no field of the formats takes.
    return int(digits) if len(digits) <= 20 and digits != "-0" else float(digits)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
