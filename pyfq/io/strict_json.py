"""JSON as the formats mean it: UTF-8, one object, no key twice, no NaN."""

import json
import os
from typing import Any

from pyfq.io.errors import FormatError, shown


def parse_object(raw: bytes, path: str | os.PathLike[str], part: str) -> dict[str, Any]:
    """Return the object that `raw` holds, keys in their order in the text.

    Parameters
    ----------
    raw : bytes
        The text.
    path : str or os.PathLike
        The file it came from, for the message.
    part : str
        What the text is in that file, for the message.

    Raises
    ------
    FormatError
        Not UTF-8, not JSON, a key twice in one object, or not an object.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise FormatError(path, f"{part}: expected UTF-8, {error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"{part}: expected JSON, {error}") from error
    if not isinstance(value, dict):
        raise FormatError(path, f"{part}: expected a JSON object, got {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"duplicate key {shown(key)}")
        # "\ud800" is half a character: Python lets it pass, UTF-8 cannot hold it.
        for text in (key, value):
            if isinstance(text, str):
                text.encode("utf-8")
        fields[key] = value
    return fields


def _integer(digits: str) -> int | float:
    # "-0" is no size, and int() refuses thousands of digits with an error of its own: both become
    # floats, which no field of the formats takes.
    return int(digits) if len(digits) <= 20 and digits != "-0" else float(digits)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
