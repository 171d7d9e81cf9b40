"""The Python half of the boundary: refuse what Fortran must not get, and say why.

Arrays pass as they are: no cast, no copy.  What has another dtype or order is refused with the call
that would convert it, so that a copy is always the caller's decision.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOATS = (np.float32, np.float64)


def as_input(
    x: Any, name: str, dtypes: Sequence[Any], shape: tuple[int, ...] | None = None
) -> NDArray:
    """Return `x`, a C-contiguous array of one of `dtypes`; of `shape` if that is given."""
    if type(x) is np.ndarray and x.dtype.type in dtypes and shape in (None, x.shape):
        flags = x.flags
        if flags.c_contiguous and flags.aligned and x.dtype.isnative:  # what almost always comes
            return x
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray | np.matrix):
        raise TypeError(f"{name} must be a NumPy array, not {type(x).__name__}")
    if x.dtype not in [np.dtype(t) for t in dtypes]:
        wanted = " or ".join(np.dtype(t).name for t in dtypes)
        raise TypeError(f"{name} must be {wanted}, not {x.dtype}")
    if shape is not None and x.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {x.shape}")
    if not (x.flags.c_contiguous and x.flags.aligned):
        raise ValueError(
            f"{name} must be C-contiguous and aligned: pass np.ascontiguousarray({name})"
        )
    return x


def as_output(x: Any, name: str, dtype: Any, shape: tuple[int, ...], *inputs: NDArray) -> NDArray:
    """Return `x` if Fortran may write it, or a new uninitialised array if it is None."""
    if x is None:
        return np.empty(shape, dtype)
    as_input(x, name, (dtype,), shape)
    if not x.flags.writeable:
        raise ValueError(f"{name} must be writeable")
    if any(np.may_share_memory(x, y) for y in inputs):
        raise ValueError(f"{name} must not overlap an input")
    return x


def as_count(n: Any, name: str, least: int, most: int | None = None) -> int:
    """Return `n` as an int between `least` and `most`."""
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(n).__name__}") from None
    if isinstance(n, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, not {type(n).__name__}")
    if count < least or (most is not None and count > most):
        wanted = f"at least {least}" if most is None else f"{least} ... {most}"
        raise ValueError(f"{name} must be {wanted}, not {count}")
    return count


def as_number(x: Any, name: str, least: float, most: float) -> float:
    """Return `x` as a float between `least` and `most`."""
    if isinstance(x, bool) or not isinstance(x, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, not {type(x).__name__}")
    if not least <= x <= most:
        raise ValueError(f"{name} must be {least:g} ... {most:g}, not {x}")
    return float(x)


def as_choice(word: Any, name: str, choices: Sequence[str]) -> int:
    """Return the position of `word` among `choices`."""
    if not isinstance(word, str) or word not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {word!r}")
    return choices.index(word)


def refuse_not_finite(arrays: Mapping[str, NDArray]) -> None:
    """Raise ValueError at the first NaN or Inf of the named arrays, if there is one."""
    for name, x in arrays.items():
        bad = np.flatnonzero(~np.isfinite(x))
        if bad.size:
            at = tuple(int(i) for i in np.unravel_index(bad[0], x.shape))
            value = x.reshape(-1)[bad[0]]
            raise ValueError(
                f"{name} must be finite, but {name}[{', '.join(map(str, at))}] is {value}"
            )
