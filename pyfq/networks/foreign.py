"""What is given in place of a network, and the importer that takes it."""

import os
from collections.abc import Mapping
from typing import Any

from .._core.check import shown
from .network import Network

# Base classes of objects of other libraries, none of which is imported for a look at an object.
_IMPORTERS = {
    ("torch.", "Module"): "from_torch",
    ("sklearn.", "BaseEstimator"): "from_sklearn",
    ("onnx.", "ModelProto"): "from_onnx",
}
_READERS = {".onnx": "from_onnx", ".safetensors": "load_network"}


def as_network(network: Any, name: str = "network") -> Network:
    """Return a network; of anything else say what makes it one.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(network, Network):
        return network
    given = kind_with_import(network, name)
    raise TypeError(f"{name} must be a Network, not {given}")


def kind_with_import(x: Any, name: str) -> str:
    """Return what an object is and, if there is one, the call that makes a network of it.

    Examples
    --------
    >>> kind_with_import({"fc.weight": None}, "network"), kind_with_import(4, "network")
    ('dict: pass pyfq.from_arrays(network)', 'int')
    """
    kind, importer = _kind_of(x), importer_of(x)
    if importer is None:
        return kind
    argument = shown(os.fspath(x)) if isinstance(x, str | os.PathLike) else name
    return f"{kind}: pass pyfq.{importer}({argument})"


def importer_of(x: Any) -> str | None:
    """Return the name of the function that makes a network of an object, if there is one.

    Examples
    --------
    >>> importer_of("teacher.onnx"), importer_of({"fc.weight": None}), importer_of(4)
    ('from_onnx', 'from_arrays', None)
    """
    if isinstance(x, str | os.PathLike):
        return _READERS.get(os.path.splitext(os.fspath(x))[1])  # noqa: PTH122 -- of bytes, too
    if isinstance(x, Mapping):
        return "from_arrays"
    for cls in type(x).__mro__:
        for (package, word), importer in _IMPORTERS.items():
            if cls.__name__ == word and cls.__module__.startswith(package):
                return importer
    return None


def _kind_of(x: Any) -> str:
    """Return the class of an object, with the package if that is one of an importer."""
    cls = type(x)
    package = cls.__module__.partition(".")[0]
    is_known = any(f"{package}." == known for known, _ in _IMPORTERS)
    return f"{package} {cls.__name__}" if is_known else cls.__name__
