"""Objects that stand for arrays, as NumPy asks them for one."""

from collections.abc import Callable

from numpy.typing import DTypeLike, NDArray


def decoded_array(decode: Callable[[], NDArray], dtype: DTypeLike, copy: bool | None) -> NDArray:
    """Return what `numpy.asarray` gives for an object that has to be decoded.

    A class takes this for its ``__array__``, without which NumPy would silently make an array of
    one object. With ``__array_ufunc__ = None`` beside it operators of arrays refuse.

    Parameters
    ----------
    decode : callable
        Returns a new array.
    dtype : dtype or None
        Dtype of the result; None leaves that of the array.
    copy : bool or None
        As NumPy passes it.

    Raises
    ------
    ValueError
        If `copy` is False: there is no array that could be shared.

    Examples
    --------
    >>> import numpy as np
    >>> decoded_array(lambda: np.arange(3), np.float32, None)
    array([0., 1., 2.], dtype=float32)
    """
    if copy is False:
        raise ValueError("copy must not be False: the array is decoded, which makes a new one")
    return decode().astype(dtype, copy=False) if dtype is not None else decode()
