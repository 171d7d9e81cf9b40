"""Frozen objects: arrays that nobody writes to through them, and copies that are checked again."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def read_only(x: NDArray) -> NDArray:
    """Return a view of an array that refuses writes, or the array itself if it does.

    Nothing is copied: who holds the array that `x` is a view of can still write to that.
    """
    if not x.flags.writeable:
        return x
    x = x.view()
    x.setflags(write=False)
    return x


def fixed(x: NDArray) -> NDArray:
    """Return an array with the entries that `x` has now, which nothing can change any more.

    They are copied into `bytes`, whose memory NumPy lets nobody write to, not even by its flags.
    What is such a copy already is not copied. An array that refuses writes is not: who made it may
    allow them again, or hold a view from before.
    """
    if _is_fixed(x):
        return x
    if not x.size:
        return read_only(np.empty(x.shape, x.dtype))
    return np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape)


def _is_fixed(x: NDArray) -> bool:
    owner: Any = x
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return isinstance(owner, bytes)


def set_part(frozen: Any, name: str, value: Any) -> None:
    """Set an attribute of a frozen dataclass, in its `__post_init__` only."""
    object.__setattr__(frozen, name, value)


def freeze(frozen: Any, *names: str) -> None:
    """Make those of the named attributes that are arrays read-only."""
    for name in names:
        part = getattr(frozen, name)
        if isinstance(part, np.ndarray):
            set_part(frozen, name, read_only(part))


def made_of(kind: type[T], **parts: Any) -> T:
    """Return a frozen dataclass of parts that a kernel has just made, which are not checked.

    `parts` are all its fields. Arrays refuse writes from now on; nobody else may hold them.
    """
    for part in parts.values():
        if isinstance(part, np.ndarray):
            part.setflags(write=False)
    made = object.__new__(kind)
    made.__dict__.update(parts)
    return made


def reduce_to_parts(frozen: Any) -> tuple[type, tuple[Any, ...]]:
    """Return what `copy` and `pickle` make an equal object of: its class, called with its parts.

    A dataclass takes this for its `__reduce__`, so that parts are checked when they come back, and
    what it keeps besides, such as plans for this machine, does not travel.
    """
    return type(frozen), tuple(getattr(frozen, f.name) for f in fields(frozen) if f.init)


def refuse_copies(opener: str) -> Callable[[Any], str]:
    """Return the `__reduce__` of a class of open files, which neither travel nor are copied.

    Parameters
    ----------
    opener : str
        The function that opens one again.
    """

    def __reduce__(self: Any) -> str:
        """Refuse to travel or be copied: open files do neither."""
        raise TypeError(
            f"an open {type(self).__name__} can be neither pickled nor copied: "
            f"open its path again, with {opener}, where it is used"
        )

    return __reduce__


def restore_parts(frozen: Any, state: dict[str, Any]) -> None:
    """Check the parts of a pickle that was written without `reduce_to_parts`, and take them."""
    frozen.__init__(**{f.name: state[f.name] for f in fields(frozen) if f.init and f.name in state})
