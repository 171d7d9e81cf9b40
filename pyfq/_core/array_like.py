"""The door for data: what people have becomes the array that a network takes.

Kernels take arrays as they are (`check.as_input`). Where data come in, a copy is better than a
refusal: lists, data frames, tensors of other libraries, other orders and dtypes are converted here,
once, and nowhere else.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .check import shown, shown_dtype

# Of kinds of numbers: truth values, integers, floats.
_NUMBERS = "biuf"


def as_array(x: Any, name: str) -> NDArray:
    """Return what NumPy makes of `x`, in any order, of any dtype.

    Parameters
    ----------
    x : array_like
        An array, nested lists, or what has ``__array__`` or ``__dlpack__``.
    name : str
        What an error calls it.

    Returns
    -------
    array
        The numbers, not copied if that is possible; strings, if objects are all strings.

    Raises
    ------
    TypeError
        If `x` is nothing of this, such as a sparse matrix or a generator.
    ValueError
        If lists are ragged, or entries are masked.

    Examples
    --------
    >>> as_array([[1, 2], [3, 4]], "x")
    array([[1, 2],
           [3, 4]])
    """
    if type(x) is np.ndarray and x.dtype.kind != "O":
        return x
    _refuse_masked(x, name)
    if isinstance(x, str | bytes | dict | set | type(None)):
        raise TypeError(f"{name} must be an array or a list of numbers, not {type(x).__name__}")
    try:
        by_dlpack = hasattr(x, "__dlpack__") and not hasattr(x, "__array__")
        array = np.from_dlpack(x) if by_dlpack else np.asanyarray(x)
    except (ValueError, TypeError, RuntimeError, BufferError) as e:
        kind = ValueError if isinstance(e, ValueError) else TypeError
        what = type(x).__name__
        raise kind(f"{name} ({what}) does not convert to an array: {_line(e)}") from e
    if type(array) is not np.ndarray:  # an array of a subclass, whose operators are not NumPy's
        _refuse_masked(array, name)
        array = array.view(np.ndarray)
    if array.dtype.kind == "O":
        return _of_objects(array, x, name)
    return array


def _refuse_masked(x: Any, name: str) -> None:
    """Raise ValueError if an array, or one in nested lists, has masked entries."""
    if isinstance(x, list | tuple):
        for one in x:
            if isinstance(one, list | tuple | np.ma.MaskedArray):
                _refuse_masked(one, name)
    elif isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(
            f"{name} must have no masked entries: fill them, such as by {name}.filled(0)"
        )


def is_array_like(x: Any) -> bool:
    """Tell whether `x` is what `as_array` takes, and no number by itself."""
    if isinstance(x, np.generic):
        return False
    return isinstance(x, list | tuple) or hasattr(x, "__array__") or hasattr(x, "__dlpack__")


def as_floats(x: Any, name: str, dtype: np.dtype) -> NDArray:
    """Return the numbers of `x` in `dtype`, in C order; `x` itself if it is such an array.

    Parameters
    ----------
    x : array_like
        Real numbers of any dtype.
    name : str
        What an error calls it.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    array
        The same numbers, rounded to `dtype`. NaN and infinities stay.

    Raises
    ------
    TypeError
        If these are no numbers, or complex ones.
    ValueError
        If a finite number is beyond the largest of `dtype`; as `as_array`.

    Examples
    --------
    >>> as_floats([[1, 2], [3, 4]], "x", np.dtype(np.float32))
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    if type(x) is np.ndarray and (x.dtype is dtype or x.dtype == dtype):
        flags = x.flags  # what almost always comes
        if flags.c_contiguous and flags.aligned:
            return x
    array = as_array(x, name)
    if not _is_numbers(array.dtype):
        raise TypeError(f"{name} must be numbers, not {_shown_first(array)}")
    with np.errstate(over="ignore"):
        floats = np.require(array, dtype, "CA")
    if floats is not array:
        refuse_overflow(array, floats, name)
    return floats


def as_columns(y: Any, name: str, dtype: np.dtype, columns: int) -> NDArray:
    """Return values (samples, columns), as `as_floats` does; one column may come as one axis."""
    values = as_floats(y, name, dtype)
    return values.reshape(-1, 1) if columns == 1 and values.ndim == 1 else values


def _is_numbers(dtype: np.dtype) -> bool:
    """Tell whether a dtype is of real numbers, such as those that ml_dtypes adds to NumPy."""
    is_added = dtype.kind == "V" and dtype.names is None and np.can_cast(dtype, np.float64)
    return dtype.kind in _NUMBERS or is_added


def _of_objects(array: NDArray, x: Any, name: str) -> NDArray:
    """Return an array of objects, as columns of data frames are, as numbers or text."""
    if not array.ndim:
        hint = f": pass {name}.toarray()" if hasattr(x, "toarray") else ""
        raise TypeError(f"{name} must be an array or a list, not {type(x).__name__}{hint}")
    kinds = {type(one) for one in array.flat}
    if kinds and all(issubclass(kind, str) for kind in kinds):
        return array.astype(str)
    if not all(issubclass(kind, bool | int | float | np.number | np.bool_) for kind in kinds):
        wrong = next(
            i for i, one in enumerate(array.flat)
            if not isinstance(one, bool | int | float | np.number | np.bool_)
        )  # fmt: skip
        at = ", ".join(str(int(i)) for i in np.unravel_index(wrong, array.shape))
        raise TypeError(f"{name} must be numbers, but {name}[{at}] is {shown(array.flat[wrong])}")
    try:
        if all(issubclass(kind, bool | int | np.integer | np.bool_) for kind in kinds):
            return array.astype(np.int64)
        return array.astype(np.float64)
    except (OverflowError, TypeError) as e:
        raise ValueError(f"{name} must be numbers of 64 bits: {_line(e)}") from e


def _shown_first(array: NDArray) -> str:
    """Return the dtype, and for text the first entry, which tells what column it is from."""
    text = shown_dtype(array.dtype)
    return f"{text} such as {shown(array.flat[0].item())}" if array.dtype.kind in "SU" else text


def refuse_overflow(array: NDArray, floats: NDArray, name: str) -> None:
    """Raise ValueError if a finite number of `array` is infinite in `floats`."""
    if np.can_cast(array.dtype, floats.dtype) or array.dtype.kind != "f":
        return
    lost = np.flatnonzero(np.isinf(floats) & ~np.isinf(array))
    if lost.size:
        at = tuple(int(i) for i in np.unravel_index(lost[0], array.shape))
        raise ValueError(
            f"{name} must fit {floats.dtype}, but {name}[{', '.join(map(str, at))}] is {array[at]}"
        )


def _line(error: Exception) -> str:
    """Return the message of an error of others on one line of bounded length."""
    return " ".join(str(error).split())[:200]
