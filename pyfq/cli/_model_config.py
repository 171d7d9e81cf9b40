"""``config.json`` of a model: read as Python's json reads it, written with its text kept."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyfq.io import FormatError
from pyfq.io.magic import HEAD, kind_of
from pyfq.io.regular import read_regular
from pyfq.io.strict_json import json_kind

CONFIG = "config.json"
QUANTIZATION = "quantization_config"

#: What stands there where weights are in pyfq's own format. transformers refuses an entry without
#: ``quant_method``; of a method that it does not know it only warns, and it leaves the weights of
#: the model random.
OWN_QUANTIZATION = {
    "format": "pyfq",
    "read_by": "pyfq.load_checkpoint; `pyfq decompress . -o DIRECTORY` makes floats for all others",
}

_BOM = "\ufeff"
# What stands around the entry of an object that had none.
_BEFORE, _BEHIND = "\n  ", "\n"
_SPACE = re.compile(r"[ \t\n\r]*")
# Only where values end matters: int() would refuse thousands of digits.
_DECODER = json.JSONDecoder(parse_int=str)


def read_config(path: Path) -> str:
    """Return the text of a config, with its byte order mark if there is one.

    Raises
    ------
    FormatError
        Not a regular file, not UTF-8, or not a JSON object.
    """
    raw = read_regular(path)
    kind = None if raw.lstrip().startswith((b"{", b"\xef\xbb\xbf")) else kind_of(raw[:HEAD])
    if kind is not None:
        raise FormatError(path, f"expected a JSON object, got {kind}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise FormatError(path, f"expected UTF-8, {e}") from e
    try:
        value = json.loads(text.removeprefix(_BOM), parse_int=str)
    except (ValueError, RecursionError) as e:
        raise FormatError(path, f"expected JSON, {e}") from e
    if not isinstance(value, dict):
        raise FormatError(path, f"expected a JSON object, got {json_kind(text)}")
    return text


def values_of(text: str) -> dict[str, Any]:
    """Return what a config says; integers are text, which no length can overflow."""
    return json.loads(text.removeprefix(_BOM), parse_int=str)


def is_of_transformers(text: str) -> bool:
    """Return whether a config names a class of model that transformers opens.

    Examples
    --------
    >>> is_of_transformers('{"model_type": "bert"}'), is_of_transformers('{"hidden": 64}')
    (True, False)
    """
    return not {"model_type", "architectures"}.isdisjoint(values_of(text))


def with_quantization(text: str, quantization: Mapping[str, Any] | None) -> str:
    """Return a config with this ``quantization_config``, or with none; other text is kept.

    Parameters
    ----------
    text : str
        The config, as `read_config` returns it.
    quantization : mapping of str to Any or None
        What is to stand there.

    Examples
    --------
    >>> text = with_quantization('{"limit": Infinity}', {"format": "int-quantized"})
    >>> text
    '{"limit": Infinity, "quantization_config": {"format": "int-quantized"}}'
    >>> with_quantization(text, None)
    '{"limit": Infinity}'
    """
    text = _without(text)
    if quantization is None:
        return text
    members, close = _members(text)
    begin = text.index("{") + 1
    between = _SPACE.match(text, begin)[0] if members else _BEFORE
    indent = between.rpartition("\n")[2]
    value = json.dumps(quantization, ensure_ascii=False, indent=2 if "\n" in between else None)
    entry = f'"{QUANTIZATION}": ' + value.replace("\n", f"\n{indent}")
    if not members:  # `_without` finds what stood between the braces
        return f"{text[:close]}{_BEFORE}{entry}{_BEHIND}{text[close:]}"
    end = members[-1][2]
    return f"{text[:end]},{between or ' '}{entry}{text[end:]}"


def _without(text: str) -> str:
    """Return a config without its entries ``quantization_config``."""
    while True:
        members, close = _members(text)
        at = next((i for i, member in enumerate(members) if member[0] == QUANTIZATION), None)
        if at is None:
            return text
        _, begin, end = members[at]
        if at + 1 < len(members):
            end = members[at + 1][1]
        elif at > 0:
            begin = members[at - 1][2]
        elif text[:begin].endswith(_BEFORE) and text[end:close] == _BEHIND:
            begin, end = begin - len(_BEFORE), close
        text = text[:begin] + text[end:]


def _members(text: str) -> tuple[list[tuple[str, int, int]], int]:
    """Return each key of the object with where its member begins and ends, and where ``}`` is."""
    members = []
    at = _SPACE.match(text, text.index("{") + 1).end()
    while text[at] != "}":
        key, after = _DECODER.raw_decode(text, at)
        colon = _SPACE.match(text, after).end()
        _, end = _DECODER.raw_decode(text, _SPACE.match(text, colon + 1).end())
        members.append((key, at, end))
        at = _SPACE.match(text, end).end()
        if text[at] == ",":
            at = _SPACE.match(text, at + 1).end()
    return members, at
