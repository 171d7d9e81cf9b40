"""The Python half of the boundary: refuse what Fortran must not get, and say why.

Arrays pass as they are: no cast, no copy.  What has another dtype or order is refused with the call
that would convert it, so that a copy is always the caller's decision.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOATS = (np.float32, np.float64)
# What an extent or a count of Fortran holds.
MOST = 2**63 - 1


def as_input(
    x: Any, name: str, dtypes: Sequence[Any], shape: tuple[int, ...] | None = None
) -> NDArray:
    """Return `x`, a C-contiguous array of one of `dtypes`; of `shape` if that is given.

    An instance of a subclass is seen as the plain array it is, whose operators are NumPy's.
    """
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
    return x if type(x) is np.ndarray else x.view(np.ndarray)


def as_output(x: Any, name: str, dtype: Any, shape: tuple[int, ...], *inputs: NDArray) -> NDArray:
    """Return `x` if Fortran may write it, or a new uninitialised array if it is None."""
    if x is None:
        return np.empty(shape, dtype)
    as_input(x, name, (dtype,), shape)
    if any(np.may_share_memory(x, y) for y in inputs):
        raise ValueError(f"{name} must not overlap an input")
    if not x.flags.writeable:
        raise ValueError(f"{name} must be writeable")
    return x


def as_count(n: Any, name: str, least: int, most: int = MOST) -> int:
    """Return `n` as an int between `least` and `most`, by default the largest that Fortran has."""
    count = _as_int(n, name)
    if not least <= count <= most:
        wanted = f"{least} ... {most}"
        if most == MOST:
            wanted = f"at least {least}" if count < least else f"less than 2**63, {most} at most"
        raise ValueError(f"{name} must be {wanted}, not {_shown(count)}")
    return count


def as_seed(seed: Any) -> int:
    """Return a seed of NumPy's generators, an int from 0 on, as large as it may be."""
    count = _as_int(seed, "seed")
    if count < 0:
        raise ValueError(f"seed must be at least 0, not {_shown(count)}")
    return count


def _as_int(n: Any, name: str) -> int:
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(n).__name__}") from None
    if isinstance(n, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, not {type(n).__name__}")
    return count


def _shown(count: int) -> str:
    """Return an int as a message can carry it."""
    return str(count) if count.bit_length() <= 128 else f"a number of {count.bit_length()} bits"


def as_shape(shape: Any, name: str = "shape") -> tuple[int, ...]:
    """Return a shape as a tuple of ints, at least 0, whose product Fortran can count to."""
    if not isinstance(shape, Sequence) or isinstance(shape, str | bytes):
        raise TypeError(f"{name} must be a tuple of int, not {type(shape).__name__}")
    extents = tuple(as_count(n, f"{name}[{i}]", 0) for i, n in enumerate(shape))
    as_count(math.prod(extents), f"the product of {name}", 0)
    return extents


def as_number(x: Any, name: str, least: float, most: float) -> float:
    """Return `x` as a finite float between `least` and `most`."""
    if isinstance(x, bool) or not isinstance(x, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, not {type(x).__name__}")
    try:
        number = float(x)
    except OverflowError:
        number = math.inf if x > 0 else -math.inf
    if not least <= number <= most:
        shown = _shown(int(x)) if isinstance(x, int | np.integer) else number
        raise ValueError(f"{name} must be {least:g} ... {most:g}, not {shown}")
    if math.isinf(number):
        raise ValueError(f"{name} must be finite")
    return number


def as_flag(flag: Any, name: str) -> bool:
    """Return `flag`, True or False."""
    if not isinstance(flag, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, not {flag!r}")
    return bool(flag)


def as_choice(word: Any, name: str, choices: Sequence[str]) -> int:
    """Return the position of `word` among `choices`."""
    if not isinstance(word, str) or word not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {word!r}")
    return choices.index(word)


def is_none_or(bits: Any, width: int | None) -> bool:
    """Tell whether `bits` is None or a number equal to `width`; of an array it is neither."""
    return bits is None or (isinstance(bits, int | float | np.number) and bits == width)


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
