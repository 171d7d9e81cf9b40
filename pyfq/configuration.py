"""What this build is and what it runs on."""

import os
import platform
from typing import Any, Literal

import numpy as np

from . import _native
from .threads import get_num_threads


def show_config(mode: Literal["stdout", "dict"] = "stdout") -> dict[str, Any] | None:
    """Show version, compiler, flags, instruction-set variants, OpenMP and threads.

    Parameters
    ----------
    mode : "stdout" or "dict"
        Print a table, or return a dictionary, as `numpy.show_config` does.

    Returns
    -------
    dict or None
        With `mode` "dict", the entries by name.

    Raises
    ------
    ValueError
        If `mode` is unknown.

    Examples
    --------
    >>> show_config(mode="dict")["isa"] in show_config(mode="dict")["isas built"]
    True
    """
    if mode not in ("stdout", "dict"):
        raise ValueError(f"mode must be 'stdout' or 'dict', not {mode!r}")
    build = _native._build
    config = {
        "version": build.VERSION,
        "isa": _native.isa,
        "isas runnable": _native.runnable(),
        "isas built": build.ISAS,
        "compiler": build.COMPILER,
        "build type": build.BUILDTYPE,
        "flags": build.FLAGS[_native.isa],
        "openmp": bool(_native.lib.fq_has_openmp()),
        "threads": get_num_threads(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    if mode == "dict":
        return config
    width = max(map(len, config))
    for name, value in config.items():
        print(f"{name:{width}}  {', '.join(value) if isinstance(value, tuple) else value}")
    return None
