"""Bytes of ONNX files: the model, and arrays that lie in files beside it."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..._core.check import shown
from ...io.errors import FormatError
from ...io.links import followed
from ...io.magic import HEAD, kind_of_model
from ...io.regular import open_regular

if TYPE_CHECKING:
    from onnx import ModelProto

# What protobuf can hold.
_MOST_BYTES = 2**31 - 1


def import_onnx(function: str) -> ModuleType:
    """Return the package onnx, which a function of this name needs."""
    try:
        import onnx
    except ModuleNotFoundError as e:
        raise ImportError(f"{function} needs onnx: pip install onnx") from e
    return onnx


def read_model(onnx: ModuleType, path: str | os.PathLike[str]) -> "ModelProto":
    """Return the model of a file, without the arrays that lie beside it.

    Raises
    ------
    FormatError
        If the file is no ONNX model, not a regular file, or larger than protobuf allows.
    OSError
        If the file cannot be read.
    """
    from google.protobuf.message import DecodeError

    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_BYTES:
            raise FormatError(path, f"an ONNX file has at most {_MOST_BYTES} bytes, not {size}")
        content = file.read()
    if not content:
        raise FormatError(path, "expected an ONNX model, but the file is empty")
    kind = kind_of_model(content[:HEAD])
    if kind is not None:
        raise FormatError(path, f"expected an ONNX model, but this is {kind}")
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as e:
        raise FormatError(path, f"expected an ONNX model, {e}") from e
    if not model.HasField("graph"):
        raise FormatError(path, "expected an ONNX model, but there is no graph in the file")
    return model


def external_bytes(tensor: Any, directory: Path, nbytes: int) -> bytes:
    """Return the bytes of a tensor that lie in a file beside the model.

    Parameters
    ----------
    tensor : TensorProto
        With `external_data`: location, offset, length.
    directory : Path
        That of the model. The location must lie in it.
    nbytes : int
        What the shape and the type of the tensor take.

    Raises
    ------
    FormatError
        If the location leads out of the directory, or the file does not hold so many bytes there.
    OSError
        If the file cannot be read.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"external data of {shown(tensor.name)}"
    if not isinstance(location, str) or not location or "\0" in location:
        raise FormatError(directory, f"{where}: expected a file's name, not {shown(location)}")
    # A model from Windows or from POSIX must not reach out on either.
    paths = PurePosixPath(location), PureWindowsPath(location)
    if any(path.is_absolute() or path.drive or ".." in path.parts for path in paths):
        raise FormatError(directory, f"{where}: {shown(location)} leads out of the directory")
    path = directory / location
    if not followed(path).is_relative_to(followed(directory)):
        raise FormatError(directory, f"{where}: {shown(location)} links out of the directory")
    numbers = [entries.get("offset") or "0", entries.get("length") or str(nbytes)]
    if not all(isinstance(n, str) and n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):
        raise FormatError(path, f"{where}: offset and length must be numbers, not {shown(numbers)}")
    offset, length = map(int, numbers)
    if length != nbytes:
        raise FormatError(path, f"{where}: expected a length of {nbytes} bytes, not {length}")
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if offset + length > size:
            raise FormatError(
                path, f"{where}: expected {length} bytes from {offset} on, but it has {size} in all"
            )
        file.seek(offset)
        return file.read(length)
