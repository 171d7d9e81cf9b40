"""The Python half of the boundary: refuse what Fortran must not get, and say why.

Arrays pass as they are: no cast, no copy.  What has another dtype or order is refused with the call
that would convert it, so that a copy is always the caller's decision.
"""

import math
import operator
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOATS = (np.float32, np.float64)
# What an extent or a count of Fortran holds.
MOST = 2**63 - 1
# Characters of a value that a message carries: a tensor's name fits, a list of a million does not.
MOST_SHOWN = 160


class _Brief(reprlib.Repr):
    """Texts of values, of any number of them; Python refuses to print ints of 4300 digits."""

    def repr_int(self, x: int, level: int) -> str:
        """Return an int, or how long it is."""
        return repr(x) if x.bit_length() <= 128 else f"a number of {x.bit_length()} bits"

    def repr_ndarray(self, x: NDArray, level: int) -> str:
        """Return the few entries of an array, or the shape."""
        return self.repr_instance(x, level) if x.size <= 8 else f"an array of shape {x.shape}"


_brief = _Brief()
_brief.maxlevel = 3
_brief.maxstring = _brief.maxother = MOST_SHOWN
_brief.maxlist = _brief.maxtuple = _brief.maxset = _brief.maxfrozenset = _brief.maxdict = 20


def shown(value: Any) -> str:
    r"""Return a value as a message can carry it: quoted, on one line, of bounded length.

    Every value that an error shows goes through here, as it may be anything. Of an array with more
    than a few entries it is the shape.

    Examples
    --------
    >>> shown("relu"), shown([1.5, None]), shown("a\n")
    ("'relu'", '[1.5, None]', "'a\\n'")
    >>> shown(np.ones((8, 8)))
    'an array of shape (8, 8)'
    >>> len(shown(list(range(10**6)))), len(shown("x" * 10**6))
    (75, 160)
    """
    if isinstance(value, np.ndarray):
        value = np.asarray(value)
    text = " ".join(line.strip() for line in _brief.repr(value).splitlines())
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[: MOST_SHOWN * 2 // 3 - 3]}...{text[-(MOST_SHOWN // 3) :]}"


def shown_dtype(dtype: np.dtype) -> str:
    """Return the name of a dtype, which has no bound if it has fields."""
    return shown(dtype) if dtype.names else str(dtype)


def as_float_dtype(dtype: Any, name: str = "dtype") -> np.dtype:
    """Return what NumPy takes for float32 or float64, in the byte order of the machine."""
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError) as e:
        raise TypeError(f"{name} must be float32 or float64, not {shown(dtype)}") from e
    if found.type not in FLOATS or not found.isnative or found.ndim:
        raise TypeError(f"{name} must be float32 or float64, not {shown_dtype(found)}")
    return found


def as_input(
    x: Any, name: str, dtypes: Sequence[Any], shape: tuple[int, ...] | None = None
) -> NDArray:
    """Return `x`, a C-contiguous array of one of `dtypes`; of `shape` if that is given.

    An instance of a subclass is seen as the plain array it is, whose operators are NumPy's.
    """
    if type(x) is np.ndarray and (shape is None or shape == x.shape):
        dtype, flags = x.dtype, x.flags
        laid = flags.carray or (flags.c_contiguous and flags.aligned)  # carray is writeable, too
        if laid and dtype.type in dtypes and dtype.isnative:  # what almost always comes
            return x
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray | np.matrix):
        raise TypeError(
            f"{name} must be a NumPy array, not {type(x).__name__}{_conversion(x, name, dtypes)}"
        )
    if x.dtype not in [np.dtype(t) for t in dtypes]:
        wanted = " or ".join(np.dtype(t).name for t in dtypes)
        raise TypeError(
            f"{name} must be {wanted}, not {shown_dtype(x.dtype)}{_conversion(x, name, dtypes)}"
        )
    if shape is not None and x.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {x.shape}")
    if not (x.flags.c_contiguous and x.flags.aligned):
        raise ValueError(
            f"{name} must be C-contiguous and aligned: pass np.ascontiguousarray({name})"
        )
    return x if type(x) is np.ndarray else x.view(np.ndarray)


def _conversion(x: Any, name: str, dtypes: Sequence[Any]) -> str:
    """Return the call that makes an input of real numbers that people have; nothing of others."""
    wanted = np.dtype(dtypes[0])
    kind = x.dtype.kind if isinstance(x, np.ndarray) else "f"
    has_numbers = isinstance(x, list | tuple | np.ndarray) or hasattr(x, "__array__")
    if wanted.kind != "f" or kind not in "biuf" or not has_numbers:
        return ""
    return f": pass np.ascontiguousarray({name}, np.{wanted.name})"


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
    if type(n) is int and least <= n <= most:  # what almost always comes
        return n
    count = _as_int(n, name)
    if not least <= count <= most:
        wanted = f"{least} ... {most}"
        if most == MOST:
            wanted = f"at least {least}" if count < least else f"less than 2**63, {most} at most"
        raise ValueError(f"{name} must be {wanted}, not {shown(count)}")
    return count


def as_seed(seed: Any) -> int:
    """Return a seed of NumPy's generators, an int from 0 on, as large as it may be."""
    count = _as_int(seed, "seed")
    if count < 0:
        raise ValueError(f"seed must be at least 0, not {shown(count)}")
    return count


def _as_int(n: Any, name: str) -> int:
    if isinstance(n, bool | np.bool_):  # which old NumPy takes for an index, with a warning
        raise TypeError(f"{name} must be an integer, not {type(n).__name__}")
    try:
        return operator.index(n)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(n).__name__}") from None


def as_sequence(x: Any, name: str, what: str) -> Sequence[Any] | NDArray:
    """Return a sequence of `what`; text and bytes are none."""
    if isinstance(x, str | bytes | bytearray) or not isinstance(x, Sequence | np.ndarray):
        raise TypeError(f"{name} must be a sequence of {what}, not {type(x).__name__}")
    if isinstance(x, np.ndarray) and x.ndim != 1:
        raise ValueError(f"{name} must be a sequence of {what}, not {shown(x)}")
    return x


def as_shape(shape: Any, name: str = "shape") -> tuple[int, ...]:
    """Return a shape as a tuple of ints, at least 0, whose product Fortran can count to."""
    if not isinstance(shape, Sequence) or isinstance(shape, str | bytes):
        raise TypeError(f"{name} must be a tuple of int, not {type(shape).__name__}")
    extents = tuple([as_count(n, f"{name}[{i}]", 0) for i, n in enumerate(shape)])
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
        given = shown(int(x)) if isinstance(x, int | np.integer) else number
        raise ValueError(f"{name} must be {least:g} ... {most:g}, not {given}")
    if math.isinf(number):
        raise ValueError(f"{name} must be finite")
    return number


def as_flag(flag: Any, name: str) -> bool:
    """Return `flag`, True or False."""
    if flag is True or flag is False:  # what almost always comes
        return flag
    if not isinstance(flag, np.bool_):
        raise TypeError(f"{name} must be True or False, not {shown(flag)}")
    return bool(flag)


def as_choice(word: Any, name: str, choices: Sequence[str]) -> int:
    """Return the position of `word` among `choices`."""
    if not isinstance(word, str) or word not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}, not {shown(word)}"
        )
    return choices.index(word)


def is_none_or(bits: Any, width: int | None) -> bool:
    """Tell whether `bits` is None or a number equal to `width`; of an array it is neither."""
    return bits is None or (isinstance(bits, int | float | np.number) and bits == width)


def refuse_not_finite(arrays: Mapping[str, NDArray]) -> None:
    """Raise ValueError at the first NaN or Inf of the named arrays, if there is one."""
    for name, x in arrays.items():
        finite = np.isfinite(x)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            at = tuple(int(i) for i in np.unravel_index(bad[0], x.shape))
            value = x.reshape(-1)[bad[0]]
            raise ValueError(
                f"{name} must be finite, but {name}[{', '.join(map(str, at))}] is {value}"
            )
