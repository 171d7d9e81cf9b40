"""The compiled kernels: one extension module per instruction-set level, and the call into them."""

import importlib
import os
from collections.abc import Mapping
from types import ModuleType
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from .._core.check import refuse_not_finite
from .._core.command import is_command
from ..errors import NOT_FINITE, FqError
from ._place import held


def _refuse(reason: str) -> NoReturn:
    """Raise ImportError; end the command ``pyfq``, which imports the package, with one line."""
    if is_command():
        raise SystemExit(f"pyfq: error: {reason}")
    raise ImportError(reason)


try:
    from . import _build, _cpu
except ImportError:
    _refuse(
        "pyfq is not built here: this is its source tree. Install it (`make`, or `pip install .`) "
        "and run Python from another directory."
    )

# Some 0.3 ms: the pauses between the calls of a program that does little else.
IDLE_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "5000"}

KIND = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}


def runnable() -> tuple[str, ...]:
    """Return the variants of this build that this machine can run, the most capable first."""
    if _build.ISAS == ("native",):
        return _build.ISAS
    return tuple(level for level in _cpu.levels() if level in _build.ISAS)


def load(isa: str) -> ModuleType:
    """Load one variant, leaving the process as it was.

    libgomp reads its settings when it is loaded.  Idle threads that spin for long fight NumPy's
    BLAS threads for the cores, and those that sleep at once take tens of microseconds to wake, so
    it is told to let them spin for a moment, unless the user chose; and where OMP_PROC_BIND makes
    it bind the loading thread, the affinity is put back, and kernels take it for their time only.
    """
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    settings = {} if IDLE_THREADS.keys() & os.environ.keys() else IDLE_THREADS
    os.environ.update(settings)
    try:
        return held(importlib.import_module(f"{__name__}._isa_{isa}"))
    finally:
        for name in settings:
            del os.environ[name]
        if affinity is not None:
            os.sched_setaffinity(0, affinity)


def _choose() -> str:
    wanted = os.environ.get("PYFQ_ISA")
    if not wanted:  # PYFQ_ISA= is how a shell takes a variable back
        return runnable()[0]
    said = f"PYFQ_ISA={ascii(wanted)[1:-1]}"
    if wanted not in _build.ISAS:
        _refuse(f"{said}: this build has {', '.join(_build.ISAS)}")
    if wanted not in runnable():
        _refuse(f"{said}: this CPU runs only {', '.join(runnable())}")
    return wanted


def call(
    routine: str, kind: str, *arguments: object, inputs: Mapping[str, NDArray] | None = None
) -> None:
    """Call `fq_<routine>_<kind>` of the variant in use and raise what its status says.

    Where the status is NOT_FINITE, the error names the first such entry of the named `inputs`.
    """
    info = getattr(lib, f"fq_{routine}_{kind}")(*arguments)
    if info == NOT_FINITE and inputs:
        refuse_not_finite(inputs)
    if info:
        raise FqError(routine, info)


isa: str = _choose()
lib: ModuleType = load(isa)

if hasattr(os, "register_at_fork"):  # a child must not inherit a pool whose threads it lacks
    os.register_at_fork(before=lambda: lib.fq_release_threads())
