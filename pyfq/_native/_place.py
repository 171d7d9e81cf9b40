"""Where OpenMP binds threads, the calling one is held at its place for the length of a call.

libgomp binds the workers of a team and, for good, the thread that loads it or first calls a kernel.
That one is Python's: its other work, and its children, may use every core that the process has.
"""

import os
from collections.abc import Callable
from types import ModuleType

import numpy as np

# What OpenMP calls its policies, by number.
POLICIES = ("false", "true", "primary", "close", "spread")


def binding(lib: ModuleType) -> tuple[str, int]:
    """Return how OpenMP binds threads, as OMP_PROC_BIND says it, and how many places it has."""
    policy, places = lib.fq_binding()
    return POLICIES[policy], places


def held(lib: ModuleType) -> ModuleType:
    """Return a variant whose kernels hold the calling thread; `lib` itself if nothing is bound."""
    if binding(lib)[0] == "false" or not hasattr(os, "sched_setaffinity"):
        return lib
    place = _first_place(lib)
    holding = ModuleType(lib.__name__)
    for name, routine in vars(lib).items():
        if name.startswith("fq_"):
            threaded = "threads)" in routine.__doc__.partition("\n")[0]
            setattr(holding, name, _holding(routine, place) if threaded else routine)
    return holding


def _first_place(lib: ModuleType) -> frozenset[int]:
    processors = np.empty(os.cpu_count() or 1, np.int32)
    found = lib.fq_first_place(processors)
    return frozenset(processors[:found].tolist()) if found <= len(processors) else frozenset()


def _holding(routine: Callable, place: frozenset[int]) -> Callable:
    """Return a routine, whose last argument is a number of threads, that is held at `place`.

    Not with one thread: those of a pool of Python would share the place.  A thread that has since
    been kept from the whole place stays where it is.
    """

    def call(*arguments: object) -> object:
        allowed = os.sched_getaffinity(0)
        if arguments[-1] > 1 and place & allowed:
            os.sched_setaffinity(0, place & allowed)
        try:
            return routine(*arguments)
        finally:
            os.sched_setaffinity(0, allowed)

    return call
