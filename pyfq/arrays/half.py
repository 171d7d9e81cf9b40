"""Arrays of 2-byte floats, bfloat16 and float16."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._core.check import as_choice, as_input, refuse_not_finite
from .._core.frozen import freeze, reduce_to_parts, restore_parts
from .._core.protocol import decoded_array
from .._core.text import bytes_text, object_text, shape_text
from .convert import cast_from, cast_to
from .distortion import Distortion, distortion

HalfFormat = Literal["bfloat16", "float16"]

# Formats of 2 bytes: their numbers in `fortran/arrays/fq_convert.f90`, the bits of infinity, and
# the largest number.
FORMATS = {"bfloat16": (1, 0x7F80, 255 * 2.0**120), "float16": (2, 0x7C00, 65504.0)}


@dataclass(frozen=True, eq=False)
class Half:
    """An array of 2-byte floats, bfloat16 or float16; made by `to_half`.

    Parameters
    ----------
    bits : (...) uint16
        The bits of each value, as `cast_to` returns them: of finite values. Those of a NumPy array
        of float16 are ``x.view(numpy.uint16)``, those of a torch tensor
        ``t.view(torch.uint16).numpy()``. Kept as a view that refuses writes.
    format : "bfloat16" or "float16"
        What they are bits of.

    Raises
    ------
    TypeError
        If `bits` is not a uint16 array.
    ValueError
        If `bits` is not C-contiguous or holds a NaN or an infinity, or `format` is unknown.

    See Also
    --------
    to_half : Round float32 to it.

    Examples
    --------
    >>> w = Half(np.array([[1.0, -2.5]], np.float16).view(np.uint16), "float16")
    >>> w.shape, w.nbytes, w.dequantize()
    ((1, 2), 4, array([[ 1. , -2.5]], dtype=float32))
    """

    bits: NDArray[np.uint16]
    format: HalfFormat

    def __post_init__(self) -> None:
        """Refuse what is not finite: the kernels do not look."""
        as_choice(self.format, "format", tuple(FORMATS))
        bits = as_input(self.bits, "bits", (np.uint16,))
        infinity = np.uint16(FORMATS[self.format][1])
        if bits.size and ((bits & infinity) == infinity).any():
            refuse_not_finite({"bits": cast_from(bits, self.format)})
        freeze(self, "bits")

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return shape, format and bytes."""
        return object_text(self, shape_text(self.shape), self.format, bytes_text(self.nbytes, 2))

    # Operators of arrays refuse: they would decode at every call.
    __array_ufunc__ = None

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        """Return the array that this stands for, as `numpy.asarray` asks for it."""
        return decoded_array(self.dequantize, dtype, copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.bits.shape

    @property
    def dtype(self) -> np.dtype:
        """Dtype of what it is multiplied with, float32."""
        return np.dtype(np.float32)

    @property
    def size(self) -> int:
        """Entries of the array."""
        return self.bits.size

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.bits.nbytes

    @property
    def bits_per_weight(self) -> float:
        """Bits an entry, 16."""
        return 16.0

    def dequantize(self, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the values as float32, exactly.

        Parameters
        ----------
        out : array of the array's shape, float32, optional
            Where to write; must not overlap `bits`.

        Returns
        -------
        array of the array's shape, float32
            The values.

        Raises
        ------
        TypeError, ValueError
            If `out` does not fit.

        Examples
        --------
        >>> to_half(np.array([1.0, 0.1], np.float32)).dequantize()
        array([1.        , 0.10009766], dtype=float32)
        """
        return cast_from(self.bits, self.format, out=out)

    def error(self, w: NDArray[np.float32]) -> Distortion:
        """Return how far the values are from an array.

        Parameters
        ----------
        w : array of the array's shape, float32
            What was rounded.

        Returns
        -------
        Distortion
            See `distortion`.

        Raises
        ------
        TypeError
            If `w` is not a float32 array.
        ValueError
            If `w` has another shape, is not C-contiguous, or holds NaN or Inf.

        Examples
        --------
        >>> w = np.array([1.0, 0.1], np.float32)
        >>> to_half(w, "float16").error(w).max_abs < 2.0**-15
        True
        """
        return distortion(as_input(w, "w", (np.float32,), self.shape), self.dequantize())


def to_half(w: NDArray[np.float32], format: HalfFormat = "bfloat16") -> Half:
    r"""Round float32 to 2 bytes, ties to even.

    bfloat16 has the range of float32 and 8 bits of precision, float16 has 11 bits between
    :math:`2^{-14}` and 65504. The error of a weight is at most :math:`2^{-8}` of it in bfloat16,
    :math:`2^{-11}` of it in float16; below :math:`2^{-14}` in float16 it is at most
    :math:`2^{-25}`.

    Parameters
    ----------
    w : (...) float32
        Weights, finite; those of float64 are to be rounded to float32 first.
    format : "bfloat16" or "float16"
        The format.

    Returns
    -------
    Half
        For `linear`, `prepare`, `Dense`.

    Raises
    ------
    TypeError
        If `w` is not a float32 array.
    ValueError
        If `w` is not C-contiguous or not finite, or a value is beyond the largest of the format; if
        `format` is unknown.

    See Also
    --------
    cast_to : The bits of any values, infinite ones too.

    References
    ----------
    IEEE 754-2019, 3.6 (binary16) and 4.3.1 (rounding); Kalamkar et al. 2019, A study of bfloat16
    for deep learning training, arXiv 1905.12322; Micikevicius et al. 2018, Mixed precision
    training, arXiv 1710.03740.

    Examples
    --------
    >>> w = np.array([[1.0, -2.5, 0.1]], np.float32)
    >>> h = to_half(w)
    >>> h.nbytes, h.dequantize()
    (6, array([[ 1.        , -2.5       ,  0.10009766]], dtype=float32))
    >>> to_half(w, "float16").dequantize()
    array([[ 1.        , -2.5       ,  0.09997559]], dtype=float32)
    """
    as_choice(format, "format", tuple(FORMATS))
    w = as_input(w, "w", (np.float32,))
    bits = cast_to(w, format)
    _, infinity, largest = FORMATS[format]
    beyond = (bits & np.uint16(infinity)) == infinity
    if beyond.any():
        refuse_not_finite({"w": w})
        at = tuple(int(i) for i in np.unravel_index(int(beyond.argmax()), w.shape))
        raise ValueError(
            f"w must be {-largest:g} ... {largest:g} for {format}, but "
            f"w[{', '.join(map(str, at))}] is {w[at]:g}"
        )
    return Half(bits, format)
