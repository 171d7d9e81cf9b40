"""How many threads the kernels use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from .. import _native
from . import limits
from .check import as_count

# More threads than this are a mistake, and would each want memory.
MOST = 4096

_everywhere: int | None = None
_here: ContextVar[int | None] = ContextVar("pyfq_num_threads", default=None)


def set_num_threads(n: int | None) -> None:
    """Set how many threads every later call uses, in every Python thread.

    Results do not depend on it, to the bit.

    Parameters
    ----------
    n : int or None
        1 ... 4096. None, the initial state, leaves it to OpenMP: ``OMP_NUM_THREADS``, else the
        number of cores the process may use, by its affinity and by the share of processors that
        its control group grants.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.

    Examples
    --------
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(None)
    """
    global _everywhere
    _everywhere = None if n is None else as_count(n, "n", 1, MOST)


def get_num_threads() -> int:
    """Return how many threads the next call uses.

    Returns
    -------
    int
        From `num_threads` if inside one, else from `set_num_threads`, else from OpenMP; no more
        than ``OMP_THREAD_LIMIT``, and than the process could start when this was first asked.
        A team is smaller where the work is, and where ``OMP_DYNAMIC`` lets OpenMP make it so.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    n = _here.get() or _everywhere
    if n is None:
        n = _native.lib.fq_max_threads()
        share = _share()
        n = n if n < share else share
    if n == 1:
        return n
    most = most_threads()
    return n if n < most else most


@cache
def most_threads() -> int:
    """Return how many threads a call has at most, as far as that was known when first asked."""
    return min(MOST, _native.lib.fq_thread_limit(), limits.threads() or MOST)


@cache
def _share() -> int:
    """Return the most threads that OpenMP's own number may be; a number of the user stays."""
    asked = os.environ.get("OMP_NUM_THREADS", "").strip()
    return MOST if asked else limits.processors() or MOST


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Use `n` threads inside a ``with`` block, in the calling Python thread only.

    Parameters
    ----------
    n : int
        1 ... 4096.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.

    Examples
    --------
    >>> with num_threads(2):
    ...     get_num_threads()
    2
    """
    token = _here.set(as_count(n, "n", 1, MOST))
    try:
        yield
    finally:
        _here.reset(token)
