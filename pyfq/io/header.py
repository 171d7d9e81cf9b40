"""The header of a safetensors file: eight bytes of length, then JSON, checked field by field.

::

    | u64 little-endian: n | n bytes of JSON, padded with spaces | data of all tensors, no gaps |

    {"__metadata__": {"key": "text"},
     "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

Offsets count from the start of the data. Source: the *Format* section of
https://github.com/huggingface/safetensors and ``Metadata::validate`` of its Rust crate.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from pyfq._core.check import shown
from pyfq.io.dtypes import DTYPES, nbytes_of
from pyfq.io.errors import FormatError
from pyfq.io.magic import HEAD, kind_of
from pyfq.io.strict_json import parse_object

MAX_HEADER = 100_000_000  # bytes of JSON; the format's own limit
METADATA = "__metadata__"
FIELDS = ("dtype", "shape", "data_offsets")
_INCOMPLETE = "the download or copy is incomplete"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the header: dtype word, shape, and where it lies in the data section."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header: tensors in file order, metadata, and where the data section starts."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]
    data_start: int


def read_header(file: BinaryIO, path: str | os.PathLike[str]) -> Header:
    """Return the header of an open file, with everything in it checked.

    Raises
    ------
    FormatError
        Anything the format does not allow; the message names the file and the reason.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(HEAD)
    length = int.from_bytes(head[:8], "little")
    reason = _not_a_header(head, length, size)
    if reason is not None:
        kind = kind_of(head)
        raise FormatError(path, reason if kind is None else f"expected safetensors, got {kind}")
    if length > size - 8:
        raise FormatError(
            path, f"header: {length} bytes announced, {size - 8} bytes in the file: {_INCOMPLETE}"
        )
    file.seek(8)
    raw = file.read(length)

    fields = parse_object(raw, path, "header", each=_entry_if_whole)
    metadata = _metadata(fields.pop(METADATA, None), path)
    entries = [(name, _entry(name, field, path)) for name, field in fields.items()]
    entries.sort(key=lambda item: (item[1].begin, item[1].end))
    end = _contiguous_end(entries, path)
    if end != size - 8 - length:
        what, why = "trailing bytes", ""
        if end > size - 8 - length:
            what, why = "truncated", f" ({size} of {8 + length + end} in all): {_INCOMPLETE}"
        raise FormatError(
            path, f"{what}: header describes {end} bytes of data, file has {size - 8 - length}{why}"
        )
    return Header(dict(entries), metadata, 8 + length)


def lay_out(declaration: Mapping[str, tuple[str, Sequence[int]]]) -> dict[str, Entry]:
    """Return declared tensors with their offsets, one behind the other in the order given.

    Raises
    ------
    TypeError
        A name that is not a string.
    ValueError
        A name, dtype word or shape that the format cannot hold.
    """
    tensors = {}
    begin = 0
    for name, (dtype, shape) in declaration.items():
        _check_name(name)
        try:
            end = begin + nbytes_of(dtype, shape)
        except ValueError as error:
            raise ValueError(f"tensor {shown(name)}: {error}") from None
        tensors[name] = Entry(dtype, tuple(shape), begin, end)
        begin = end
    return tensors


def encode_header(tensors: Mapping[str, Entry], metadata: Mapping[str, str] | None) -> bytes:
    """Return length and JSON, padded with spaces so that the data section is 8-byte aligned.

    The bytes are those the safetensors library writes for the same tensors in the same order.

    Raises
    ------
    TypeError
        Metadata that is not text to text.
    ValueError
        A header above the format's 100 MB, or text that UTF-8 cannot hold.
    """
    fields: dict[str, Any] = {}
    if metadata is not None:
        for key, value in metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(
                    f"metadata: expected str to str, got {shown(key)} to {shown(value)}"
                )
        fields[METADATA] = dict(metadata)
    for name, entry in tensors.items():
        offsets = [entry.begin, entry.end]
        fields[name] = dict(zip(FIELDS, (entry.dtype, entry.shape, offsets), strict=True))
    raw = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    if len(raw) > MAX_HEADER:
        raise ValueError(f"header: expected at most {MAX_HEADER} bytes, got {len(raw)}")
    return len(raw).to_bytes(8, "little") + raw


def _not_a_header(head: bytes, length: int, size: int) -> str | None:
    """Return why the first bytes of a file cannot begin a header, None if they can."""
    if size < 8:
        empty = "the file is empty: " if size == 0 else ""
        return f"{empty}expected at least 8 bytes, got {size}"
    if length > MAX_HEADER:
        return f"header: expected at most {MAX_HEADER} bytes, got {length}"
    if head[8:9] != b"{" and (size > 8 or length == 0):
        return f"header: expected '{{' as its first byte, got {shown(head[8:9])}"
    return None


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"tensor name: expected str, got {type(name).__name__}")
    if name == METADATA:
        raise ValueError(f"tensor name: {METADATA} is reserved for the metadata")


def _metadata(value: object, path: str | os.PathLike[str]) -> dict[str, str]:
    if value is None:  # left out, or null, as some writers put it
        return {}
    if not isinstance(value, dict):
        raise FormatError(path, f"{METADATA}: expected an object, got {shown(value)}")
    for key, text in value.items():
        if not isinstance(text, str):
            raise FormatError(path, f"{METADATA}: {shown(key)} must be text, got {shown(text)}")
    return value


def _entry_if_whole(fields: dict[str, Any]) -> dict[str, Any] | Entry:
    """Return a tensor, which takes a tenth of the memory of its JSON; anything else as it is."""
    if len(fields) == len(FIELDS):
        with suppress(ValueError):
            return _checked_entry(fields)
    return fields


def _entry(name: str, fields: object, path: str | os.PathLike[str]) -> Entry:
    if isinstance(fields, Entry):
        return fields
    try:
        return _checked_entry(fields)
    except ValueError as error:
        raise FormatError(path, f"tensor {shown(name)}: {error}") from None


def _checked_entry(fields: object) -> Entry:
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, got {shown(fields)}")
    if missing := [field for field in FIELDS if field not in fields]:
        raise ValueError(f"missing field {shown(missing[0])}")
    if len(fields) > len(FIELDS):
        unknown = next(field for field in fields if field not in FIELDS)
        raise ValueError(f"unknown field {shown(unknown)}")

    dtype, shape, offsets = (fields[field] for field in FIELDS)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"unknown dtype {shown(dtype)}")
    if not isinstance(shape, list):
        raise ValueError(f"shape: expected a list, got {shown(shape)}")
    nbytes = nbytes_of(dtype, shape)
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and 0 <= offset < 2**63 for offset in offsets)
    ):
        raise ValueError(
            f"data_offsets: expected two integers from 0 to 2**63 - 1, got {shown(offsets)}"
        )
    begin, end = offsets
    if end - begin != nbytes:
        raise ValueError(
            f"data_offsets [{begin}, {end}] hold {end - begin} bytes, "
            f"{dtype} {shape} takes {nbytes}"
        )
    return Entry(sys.intern(dtype), tuple(shape), begin, end)


def _contiguous_end(entries: list[tuple[str, Entry]], path: str | os.PathLike[str]) -> int:
    end = 0
    for name, entry in entries:
        if entry.begin != end:
            what = "overlap" if entry.begin < end else "hole"
            raise FormatError(
                path, f"{what}: tensor {shown(name)} begins at {entry.begin}, expected {end}"
            )
        end = entry.end
    return end
