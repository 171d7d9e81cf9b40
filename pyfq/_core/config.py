"""What this build is and what it runs on."""

import os
import platform
from typing import Any, Literal

import numpy as np

from .. import _native
from .._native._place import binding
from .check import as_choice
from .threads import get_num_threads, most_threads


def show_config(mode: Literal["stdout", "dict"] = "stdout") -> dict[str, Any] | None:
    """Show version, compiler, flags, instruction-set variants, OpenMP, threads and their places.

    Parameters
    ----------
    mode : "stdout" or "dict"
        Print a table, or return a dictionary, as `numpy.show_config` does.

    Returns
    -------
    dict or None
        With `mode` "dict", the entries by name; those of flags are dictionaries by variant.

    Raises
    ------
    ValueError
        If `mode` is unknown.

    Examples
    --------
    >>> show_config(mode="dict")["isa"] in show_config(mode="dict")["isas built"]
    True
    """
    as_choice(mode, "mode", ("stdout", "dict"))
    build = _native._build
    policy, places = binding(_native.lib)
    config = {
        "version": build.VERSION,
        "isa": _native.isa,
        "isas runnable": _native.runnable(),
        "isas built": build.ISAS,
        "compiler": build.COMPILER,
        "build type": build.BUILDTYPE,
        "exact flags": build.EXACT_FLAGS,
        "fast flags": build.FAST_FLAGS,
        "openmp": bool(_native.lib.fq_has_openmp()),
        "threads": get_num_threads(),
        "most threads": most_threads(),
        "binding": policy,
        "places": places,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    if mode == "dict":
        return config
    lines = [line for name, value in config.items() for line in _lines(name, value)]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:{width}}  {value}")
    return None


def _lines(name: str, value: Any) -> list[tuple[str, Any]]:
    match value:
        case tuple():
            return [(name, ", ".join(value))]
        case dict():
            return [(f"{name}, {of}", each) for of, each in value.items()]
    return [(name, value)]
