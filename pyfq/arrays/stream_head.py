"""What the heads of all streams have in common: magic, version, fields, and their CRC-32.

A head is fields of a fixed size, the CRC-32 of the whole head but for itself, and the rest of it.
"""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_input

CHECKSUM = struct.Struct("<I")


def as_stream(stream: Any) -> NDArray[np.uint8]:
    """Return a stream; refuse what is no 1-d array of bytes."""
    stream = as_input(stream, "stream", (np.uint8,))
    if stream.ndim != 1:
        raise ValueError(f"stream must be 1-d, but its shape is {stream.shape}")
    return stream


def sealed(head: bytes, fields: struct.Struct) -> bytes:
    """Return fields and what follows them with the checksum of both in between."""
    return head[: fields.size] + CHECKSUM.pack(zlib.crc32(head)) + head[fields.size :]


def read_fields(
    stream: NDArray[np.uint8], fields: struct.Struct, magic: bytes, version: int
) -> tuple[Any, ...]:
    """Return the fields that follow magic and version, which are verified; the checksum is not."""
    least = fields.size + CHECKSUM.size
    if stream.size < least:
        raise ValueError(f"stream has {stream.size} bytes, less than a header's {least}")
    found_magic, found_version, *others = fields.unpack(stream[: fields.size].tobytes())
    if found_magic != magic:
        raise ValueError(
            f"stream must begin with {magic!r}, not {found_magic!r}: it is no such stream"
        )
    if found_version != version:
        raise ValueError(f"stream is of version {found_version}, of which only {version} is known")
    return tuple(others)


def refuse_broken_seal(stream: NDArray[np.uint8], fields: struct.Struct, end: int) -> None:
    """Raise ValueError if a head that ends there does not have its checksum."""
    first = fields.size + CHECKSUM.size
    found = zlib.crc32(stream[first:end], zlib.crc32(stream[: fields.size]))
    if found != stream[fields.size : first].view("<u4")[0]:
        raise ValueError("stream is damaged: its head does not have its checksum")
