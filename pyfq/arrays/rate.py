"""Codes for an entropy coder, at a rate, an error or a step (`fortran/arrays/fq_rate.f90`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._core.check import FLOATS, as_input, as_number, as_shape, refuse_not_finite, shown
from .._core.frozen import freeze, reduce_to_parts, restore_parts, set_part
from .._core.grid import PerRow, PerTensor, granularity_text, grid_of
from .._core.protocol import decoded_array
from .._core.text import bytes_text, object_text, shape_text
from .distortion import Distortion, distortion
from .entropy import entropy_decode, entropy_encode, entropy_header
from .pack import pack
from .quantize import Quantized
from .rate_search import (
    ACCURACY,
    SAMPLE,
    Found,
    find_bits,
    find_sqnr,
    find_step,
    matrix_shape,
    source_of,
)

# What a bit is worth, in squared steps, by states of the trellis: about the derivative of the error
# by the rate, which is what a bit buys elsewhere.
TRADEOFFS = {1: 0.12, 4: 0.45, 8: 0.45}
# Bits a weight beyond which codes of a stream cannot go, and dB.
MOST_BITS, MOST_SQNR = 16, 90

States = Literal[4, 8]


@dataclass(frozen=True, eq=False)
class RateQuantized:
    """An array as codes in an entropy-coded stream; made by `quantize_rate`.

    ``w ~ codes * scale``, where ``codes`` decodes the stream at each call; ``trellis`` is that of
    the codes, ``nbytes`` and ``bits_per_weight`` count stream and scales.

    Arrays are views that refuse writes; who made them can still write to what is below.

    Attributes
    ----------
    stream : (bytes,) uint8
        The codes, as `entropy_encode` writes them.
    shape : tuple of int
        Shape of the array.
    granularity : PerTensor or PerRow
        What shares a scale.
    scale : array
        Reals that the code 1 stands for, float32 or float64; ``()`` or ``(..., 1)``.
    step : float or None
        The distance of codes that `quantize_rate` chose or was given: with it, it makes the same
        codes again. Nothing else needs it; streams do not have it.

    Raises
    ------
    TypeError
        If a part has the wrong type or dtype.
    ValueError
        If parts do not fit each other, are not C-contiguous, the stream does not begin as one, or a
        scale is not finite.
    """

    stream: NDArray[np.uint8]
    shape: tuple[int, ...]
    granularity: PerTensor | PerRow
    scale: NDArray
    step: float | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other; the rest of the stream is read by `codes`."""
        set_part(self, "shape", as_shape(self.shape))
        _refuse_groups(self.granularity)
        shape = grid_of(self.shape, self.granularity).parameter_shape
        refuse_not_finite({"scale": as_input(self.scale, "scale", FLOATS, shape)})
        as_input(self.stream, "stream", (np.uint8,))
        held = entropy_header(self.stream).shape
        if held != matrix_shape(self.shape):
            raise ValueError(
                f"stream must hold codes of shape {matrix_shape(self.shape)}, not {held}"
            )
        freeze(self, "stream", "scale")

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return shape, format and bytes."""
        trellis = self.trellis
        return object_text(
            self,
            shape_text(self.shape),
            f"{self.bits_per_weight:.2f} bits",
            None if trellis is None else f"trellis of {trellis}",
            granularity_text(self.granularity),
            str(self.dtype),
            bytes_text(self.nbytes, 2),
        )

    # Operators of arrays refuse: they would decode at every call.
    __array_ufunc__ = None

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        """Return the array that this stands for, as `numpy.asarray` asks for it."""
        return decoded_array(self.dequantize, dtype, copy)

    @property
    def codes(self) -> NDArray:
        """The codes, int8 or int16, in the shape of the array; decoded at each call."""
        return entropy_decode(self.stream).reshape(self.shape)

    @property
    def trellis(self) -> int | None:
        """States of the trellis that the codes are a path of, or None."""
        return entropy_header(self.stream).trellis

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the array that it stands for."""
        return self.scale.dtype

    @property
    def size(self) -> int:
        """Entries of the array."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of stream and scales."""
        return self.stream.nbytes + self.scale.nbytes

    @property
    def bits_per_weight(self) -> float:
        """Bits an entry, everything counted; 0 for an empty array."""
        return 8 * self.nbytes / self.size if self.size else 0.0

    def to_quantized(self) -> Quantized:
        """Return the same codes in 8 bits each, or 16 where one is larger, decoded.

        Returns
        -------
        Quantized
            What `linear`, `prepare` and `Network` multiply by.

        Raises
        ------
        ValueError
            If the stream is damaged.

        Examples
        --------
        >>> w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
        >>> q = quantize_rate(w, step=0.25).to_quantized()
        >>> q.bits, q.signed, q.shape
        (8, True, (3, 4))
        """
        codes = self.codes
        bits = 8 * codes.itemsize
        packed = pack(np.atleast_1d(codes), bits)
        return Quantized(packed, self.shape, bits, True, self.granularity, self.scale)

    def dequantize(self, dtype: DTypeLike = None, *, out: NDArray | None = None) -> NDArray:
        """Return the reals that the codes stand for.

        Parameters
        ----------
        dtype : float32 or float64, optional
            That of `scale` if not given.
        out : array of this shape and dtype, optional
            Where to write.

        Returns
        -------
        array of this shape
            ``codes * scale``.

        Raises
        ------
        TypeError
            If `dtype` is not float32 or float64, or `out` is not an array of it.
        ValueError
            If the stream is damaged, or `out` does not fit.

        Examples
        --------
        >>> quantize_rate(np.array([[4.0, -2.0, 0.0]]), step=2.0, trellis=None).dequantize()
        array([[ 4., -2.,  0.]])
        """
        return self.to_quantized().dequantize(dtype, out=out)

    def error(self, w: NDArray) -> Distortion:
        """Return how far the reals are from an array.

        Parameters
        ----------
        w : array of the array's shape
            What was quantized.

        Returns
        -------
        Distortion
            See `distortion`.

        Raises
        ------
        TypeError, ValueError
            If `w` does not fit, or the stream is damaged.
        """
        w = as_input(w, "w", FLOATS, self.shape)
        return distortion(w, self.dequantize(w.dtype))


def quantize_rate(
    w: NDArray,
    bits: float | None = None,
    *,
    step: float | None = None,
    sqnr: float | None = None,
    granularity: PerTensor | PerRow = PerTensor(),
    trellis: States | None = 8,
    tradeoff: float | None = None,
) -> RateQuantized:
    r"""Quantize to a uniform grid so that an entropy coder needs few bits.

    With :math:`x = w / \mathrm{step}` and the bits :math:`r(c)` that the coder spends on a code,
    codes are chosen that have the least

    .. math:: \sum (x - c)^2 + \mathrm{tradeoff} \cdot r(c).

    Without a trellis each code is chosen for itself: one of the two neighbours of x, or 0. With one
    the codes before tell whether a code is even or odd, so that only half of them cost bits; the
    best path is found by Viterbi's algorithm. At the same bits the error is 1.0 dB less with 4
    states and 1.1 dB with 8, of the 1.53 dB that a quantizer of any number of dimensions can win.

    The bits of a code are learnt from a sample of a quarter of a million weights, and so is, first,
    the step of a number of bits. The scale is the step times the gain with the least squared error,
    :math:`\sum x c / \sum c^2`.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights.
    bits : float, optional
        Bits a weight of stream and scales, met within 0.5 % by arrays of 100,000 weights and more
        of more than some values; fewer where an array has no more to tell.
    step : float, optional
        Distance of codes, in units of w; for `PerRow` that of a row whose root mean square is that
        of the array.
    sqnr : float, optional
        Signal-to-quantization-noise ratio, dB, met within 0.05 dB by such arrays. Exactly one of
        these three is given.
    granularity : PerTensor or PerRow
        One step and scale for all; or steps of rows in proportion to their root mean squares.
    trellis : 8, 4 or None
        States of the trellis. Zeros of pruned weights stay zeros without one.
    tradeoff : float, optional
        Squared steps that a bit is worth, 0 ... 1000; 0.12 without a trellis and 0.45 with one if
        not given, about the derivative of the error by the rate.

    Returns
    -------
    RateQuantized
        Stream and scales.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If an argument is out of range, not exactly one of `bits`, `step` and `sqnr` is given, w is
        not C-contiguous or holds NaN or Inf, codes would be larger than 32767, or the least stream
        of so many weights has more bits.

    References
    ----------
    Ungerboeck 1982, IEEE Trans. Inf. Theory 28 (the trellis); Marcellin & Fischer 1990, IEEE Trans.
    Commun. 38 (trellis-coded quantization); Fischer & Wang 1992, IEEE Trans. Inf. Theory 38;
    Marcellin 1994, IEEE Trans. Commun. 42 (with entropy coding); Sullivan 1996, IEEE Trans. Inf.
    Theory 42 (dead zones of Laplacian sources); Viterbi 1967, IEEE Trans. Inf. Theory 13.

    Examples
    --------
    >>> w = np.random.default_rng(0).standard_normal((400, 500), dtype=np.float32)
    >>> q = quantize_rate(w, 3)
    >>> round(q.bits_per_weight, 1), round(q.error(w).sqnr, 1)
    (3.0, 17.6)
    """
    w = as_input(w, "w", FLOATS)
    _refuse_groups(granularity)
    states = _as_states(trellis)
    worth = TRADEOFFS[states] if tradeoff is None else as_number(tradeoff, "tradeoff", 0, 1000)
    aim = _as_aim(bits, step, sqnr, w.dtype)
    source = source_of(w, granularity, states, worth)
    if not w.size:
        scale = np.ones(grid_of(w.shape, granularity).parameter_shape, w.dtype)
        stream = entropy_encode(np.empty(source.w.shape, np.int8), trellis=trellis)
        return RateQuantized(stream, w.shape, granularity, scale)
    if step is not None:
        found = find_step(source, aim)
    elif not source.finest:
        found = find_step(source, 1.0)
    elif sqnr is not None:
        found = find_sqnr(source, aim)
    else:
        found = find_bits(source, aim)
        _refuse_too_few(found, aim)
    scale = found.scale().reshape(grid_of(w.shape, granularity).parameter_shape)
    return RateQuantized(found.stream, w.shape, granularity, scale, found.step)


def estimate_rate(
    w: NDArray,
    steps: Sequence[float],
    *,
    granularity: PerTensor | PerRow = PerTensor(),
    trellis: States | None = 8,
    tradeoff: float | None = None,
    sample: int = SAMPLE,
) -> tuple[list[float], list[float]]:
    """Return about the bits a weight and the SQNR in dB of each step, from a sample of the rows.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights, at least one, not all 0.
    steps : sequence of float
        Distances of codes, as `quantize_rate` takes one.
    granularity, trellis, tradeoff
        As of `quantize_rate`.
    sample : int
        Weights that are looked at, about.

    Returns
    -------
    bits : list of float
        Bits of stream and scales for each weight.
    sqnr : list of float
        Signal-to-quantization-noise ratios, dB.

    Raises
    ------
    ValueError
        If a step is so small that codes would be larger than 32767, or w is not finite.
    """
    states = _as_states(trellis)
    worth = TRADEOFFS[states] if tradeoff is None else tradeoff
    source = source_of(w, granularity, states, worth)
    some = source.sample(sample)
    found = [some.quantize(step, some.learn(step)) for step in steps]
    return [source.bits(each.counts, some) / w.size for each in found], [x.sqnr() for x in found]


def _as_states(trellis: int | None) -> int:
    """Return the states of a trellis, 1 without one."""
    if trellis is None:
        return 1
    if isinstance(trellis, bool) or not isinstance(trellis, int | np.integer):
        raise TypeError(f"trellis must be 8, 4 or None, not {type(trellis).__name__}")
    if trellis not in (4, 8):
        raise ValueError(f"trellis must be 8, 4 or None, not {shown(trellis)}")
    return int(trellis)


def _as_aim(bits: float | None, step: float | None, sqnr: float | None, dtype: np.dtype) -> float:
    """Return the one of the three that is given."""
    limits = np.finfo(dtype)
    given = {
        "bits": (bits, 0, MOST_BITS),
        "step": (step, float(limits.smallest_subnormal), float(limits.max)),
        "sqnr": (sqnr, 0, MOST_SQNR),
    }
    names = [name for name, (value, _, _) in given.items() if value is not None]
    if len(names) != 1:
        said = " and ".join(names) if names else "none"
        raise ValueError(f"exactly one of bits, step and sqnr must be given, not {said}")
    value, least, most = given[names[0]]
    return as_number(value, names[0], least, most)


def _refuse_groups(granularity: PerTensor | PerRow) -> None:
    if not isinstance(granularity, PerTensor | PerRow):
        raise TypeError(f"granularity must be PerTensor() or PerRow(), not {shown(granularity)}")


def _refuse_too_few(found: Found, bits: float) -> None:
    """Refuse bits that not even a stream of zeros comes down to."""
    if found.bits_per_weight > bits * (1 + ACCURACY) and not found.codes.any():
        raise ValueError(
            f"bits must be at least {found.bits_per_weight:.3g} for an array of shape "
            f"{found.codes.shape}, whose stream of zeros has as many, not {bits:g}"
        )
