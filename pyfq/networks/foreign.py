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
# What makes a function of arrays of a module that no importer takes.
_FUNCTIONS = {"from_torch": "lambda x: {name}(torch.from_numpy(x)).detach().numpy()"}


def as_network(network: Any, name: str = "network") -> Network:
    """Return a network; of anything else say what makes it one.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(network, Network):
        return network
    importer = importer_of(network)
    hint = "" if importer is None else f": pass pyfq.{importer}({name})"
    if isinstance(network, str | os.PathLike) and importer is not None:
        hint = f": pass pyfq.{importer}({shown(os.fspath(network))})"
    raise TypeError(f"{name} must be a Network, not {_kind_of(network)}{hint}")


def refuse_foreign(teacher: Any, name: str = "teacher") -> None:
    """Refuse a teacher that an importer takes, and that nothing else makes a function of.

    Raises
    ------
    TypeError
        If it is a module of PyTorch, a model of ONNX, a mapping or a file.
    """
    importer = importer_of(teacher)
    if importer in (None, "from_sklearn") or isinstance(teacher, Network):
        return
    is_path = isinstance(teacher, str | os.PathLike)
    given = shown(os.fspath(teacher)) if is_path else name
    function = _FUNCTIONS.get(importer, "").format(name=name)
    raise TypeError(
        f"{name} must be a Network, a callable of arrays or an array, not {_kind_of(teacher)}: "
        f"pass pyfq.{importer}({given}){f', or {function}' if function else ''}"
    )


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
