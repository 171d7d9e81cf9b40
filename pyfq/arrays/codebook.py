"""Codes that stand for the levels of a table (`fortran/arrays/fq_codebook.f90`)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _native
from .._core.check import (
    FLOATS,
    as_choice,
    as_count,
    as_input,
    as_output,
    as_seed,
    as_shape,
    refuse_not_finite,
    shown,
)
from .._core.frozen import freeze, reduce_to_parts, restore_parts, set_part
from .._core.grid import Granularity, Grid, PerGroup, PerRow, PerTensor, granularity_text, grid_of
from .._core.protocol import decoded_array
from .._core.text import bytes_text, object_text, shape_text
from .._core.threads import get_num_threads
from .distortion import Distortion, distortion
from .pack import unpack
from .quantize import Quantized, quantize

# Quantiles of a normal distribution, each half of them equally likely, and 0 (QLoRA, appendix E).
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
# Sign, two bits of exponent, one of mantissa, over 12: those of bitsandbytes; -0 is not among them.
FP4 = tuple(x / 12 for x in (-12, -8, -6, -4, -3, -2, -0.0625, 0, 0.0625, 2, 3, 4, 6, 8, 12))

Initialization = Literal["kmeans++", "linear", "quantile"]
CALIBRATIONS = ("absmax", "mse")

# Scales that share a range when they are quantized in turn (QLoRA, section 3).
SCALE_BLOCK = 256
# What a codebook is stored as: the last three in place of scales that are codes.
CODEBOOK_PARTS = ("packed", "levels", "scale", "scale_packed", "scale_scale", "scale_minimum")
# Powers of 2 among which the largest of a fit may be as it is: sums of squares are in range.
MODERATE = 400
# Sorted values that k-means++ draws from at most: their quantiles stand for more.
DRAWN_FROM = 65_536


@dataclass(frozen=True, eq=False)
class Codebook:
    """An array as codes, each the place of a level in a table; made by `quantize_codebook`.

    ``w ~ levels[codes] * scale``.

    Arrays are views that refuse writes; who made them can still write to what is below.

    Attributes
    ----------
    packed : (..., ceil(cols * bits / 8)) uint8
        The codes as `pyfq.pack` packs them.
    shape : tuple of int
        Shape of the array.
    bits : int
        Bits of a code, 1 ... 8.
    granularity : PerTensor, PerRow or PerGroup
        What shares a scale, or a table.
    levels : (tables, levels) float32 or float64
        Ascending; one table, or one a row.
    scale : array or None
        One scale for each group, in the shape of the granularity; None: levels are weights.
    scale_codes : Quantized or None
        The scales as codes, flat: what is stored, if given; `scale` is what they stand for.

    Raises
    ------
    TypeError
        If a part has the wrong type or dtype.
    ValueError
        If parts do not fit each other, are not C-contiguous, or a level, a scale or a real that a
        code stands for is not finite.
    """

    packed: NDArray[np.uint8]
    shape: tuple[int, ...]
    bits: int
    granularity: Granularity
    levels: NDArray
    scale: NDArray | None
    scale_codes: Quantized | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other: kernels trust shapes and codes."""
        set_part(self, "bits", as_count(self.bits, "bits", 1, 8))
        set_part(self, "shape", as_shape(self.shape))
        grid_of(self.shape, self.granularity)  # refuses another granularity
        rows, cols, _ = _rows_of(self.shape, self.granularity)
        packed_shape = (*self.shape[:-1], -(-cols * self.bits // 8))
        as_input(self.packed, "packed", (np.uint8,), packed_shape)
        levels = as_input(self.levels, "levels", FLOATS)
        most = 2**self.bits
        if levels.ndim != 2 or len(levels) not in (1, rows) or levels.shape[1] > most:
            raise ValueError(
                f"levels must have shape (1, n) or ({rows}, n) for n up to {most}, not "
                f"{levels.shape}"
            )
        refuse_not_finite({"levels": levels})
        if self.scale is not None:
            shape = grid_of(self.shape, self.granularity).parameter_shape
            as_input(self.scale, "scale", (levels.dtype.type,), shape)
            refuse_not_finite({"scale": self.scale})
        self._refuse_other_scales()
        freeze(self, "packed", "levels", "scale")
        count = levels.shape[1]
        if count < most and self.size and int(self.codes.max()) >= count:
            raise ValueError(f"packed must hold codes 0 ... {count - 1}, not {self.codes.max()}")
        self._refuse_overflow()

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return shape, format and bytes."""
        return object_text(
            self,
            shape_text(self.shape),
            f"{self.bits} bits",
            f"{self.levels.shape[1]} levels",
            granularity_text(self.granularity),
            str(self.dtype),
            bytes_text(self.nbytes, 2),
        )

    def _refuse_overflow(self) -> None:
        """Refuse reals that are not finite; of small levels and scales none needs a look."""
        if self.scale is None or not self.size:
            return
        most, largest = (float(np.abs(x).max()) for x in (self.levels, self.scale))
        if most * largest > float(np.finfo(self.dtype).max) / 2:
            refuse_not_finite({"levels times scale": self.dequantize()})

    def _refuse_other_scales(self) -> None:
        if self.scale_codes is None:
            return
        if not isinstance(self.scale_codes, Quantized):
            raise TypeError(
                f"scale_codes must be Quantized or None, not {type(self.scale_codes).__name__}"
            )
        if self.scale is None:
            raise ValueError("scale_codes must be None where there is no scale")
        meant = self.scale_codes.dequantize()
        if not np.array_equal(meant, self.scale.reshape(-1)):
            raise ValueError("scale must be what scale_codes stands for, flat")

    # Operators of arrays refuse: they would decode at every call.
    __array_ufunc__ = None

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        """Return the array that this stands for, as `numpy.asarray` asks for it."""
        return decoded_array(self.dequantize, dtype, copy)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes, in the shape of the array."""
        cols = self.shape[-1] if self.shape else 1
        return unpack(self.packed, self.bits, cols).reshape(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the array that it stands for."""
        return self.levels.dtype

    @property
    def size(self) -> int:
        """Entries of the array."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, levels and scales; of the codes of scales, if there are any."""
        scales = self.scale if self.scale_codes is None else self.scale_codes
        return self.packed.nbytes + self.levels.nbytes + (0 if scales is None else scales.nbytes)

    @property
    def bits_per_weight(self) -> float:
        """Bits an entry, levels and scales counted."""
        return 8 * self.nbytes / self.size if self.size else 0.0

    def dequantize(self, *, out: NDArray | None = None) -> NDArray:
        """Return the reals that the codes stand for.

        Parameters
        ----------
        out : array of the array's shape and dtype, optional
            Where to write.

        Returns
        -------
        array
            ``levels[codes] * scale``.

        Raises
        ------
        TypeError, ValueError
            If `out` does not fit.

        Examples
        --------
        >>> q = quantize_codebook(np.array([[0.5, -1.0, 0.1]]), granularity=PerRow())
        >>> q.dequantize().round(3)
        array([[ 0.441, -1.   ,  0.08 ]])
        """
        y = as_output(out, "out", self.dtype, self.shape)
        if not y.size:
            return y
        rows, cols, size = _rows_of(self.shape, self.granularity)
        _native.call(
            "dequantize_codebook", _native.KIND[self.dtype],
            self.packed.view(np.int8).reshape(rows, -1), self.bits, size, self._all_levels(),
            _by_row(self.scale, rows, -(-cols // size), self.dtype), y.reshape(rows, cols),
            get_num_threads(),
        )  # fmt: skip
        return y

    def _all_levels(self) -> NDArray:
        """Return tables with a level for any code, should `packed` be written to from below."""
        missing = 2**self.bits - self.levels.shape[1]
        return np.pad(self.levels, ((0, 0), (0, missing))) if missing else self.levels

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
        """
        return distortion(as_input(w, "w", FLOATS, self.shape), self.dequantize())


def codebook_parts(q: Codebook) -> dict[str, NDArray]:
    """Return the arrays, of an axis at least, that a codebook is stored as, by `CODEBOOK_PARTS`."""
    parts = {"packed": q.packed, "levels": q.levels}
    match q.scale_codes:
        case Quantized(packed=packed, scale=scale, minimum=minimum):
            codes = {"scale_packed": packed, "scale_scale": scale, "scale_minimum": minimum}
            return parts | {name: part for name, part in codes.items() if part is not None}
    return parts if q.scale is None else parts | {"scale": np.atleast_1d(q.scale)}


def codebook_of(
    parts: Mapping[str, NDArray],
    shape: tuple[int, ...],
    bits: int,
    granularity: Granularity,
    scale_bits: int | None,
) -> Codebook:
    """Return the codebook that was stored as these arrays; refuse parts that do not fit."""
    scale, codes = parts.get("scale"), None
    parameter_shape = grid_of(shape, granularity).parameter_shape
    if scale_bits is not None:
        codes = Quantized(
            parts.get("scale_packed"), (math.prod(parameter_shape),), scale_bits, False,
            PerGroup(SCALE_BLOCK), parts.get("scale_scale"), None, parts.get("scale_minimum"),
        )  # fmt: skip
        scale = codes.dequantize().reshape(parameter_shape)
    elif scale is not None and (scale.shape, parameter_shape) == ((1,), ()):
        scale = scale.reshape(())
    return Codebook(
        parts.get("packed"), shape, bits, granularity, parts.get("levels"), scale, codes
    )


def quantize_codebook(
    w: NDArray,
    codebook: str | NDArray = "nf4",
    bits: int | None = None,
    *,
    granularity: Granularity = PerGroup(64),
    calibration: Literal["absmax", "mse"] = "absmax",
    scale_bits: int | None = None,
    weights: NDArray | None = None,
    initialization: Initialization = "kmeans++",
    seed: int = 0,
    iterations: int = 300,
) -> Codebook:
    r"""Quantize to the nearest levels of a table.

    With the levels :math:`l_j` and the scale s of a group, the code of a weight is

    .. math::
        c = \arg\min_j |w/s - l_j|, \qquad s = \max |w| \quad\text{or}\quad
        s = \arg\min_s \sum \min_j (w - l_j s)^2

    the lower level where two are as near. Tables are

    - ``"nf4"``: 16 quantiles of a normal distribution, 0 among them, -1 ... 1,
    - ``"fp4"``: 15 floats of 4 bits, -1 ... 1, those of bitsandbytes,
    - ``"log2"``: 0 and :math:`\pm 2^{-j}`, :math:`2^b - 1` of them,
    - ``"lloyd"``: :math:`2^b`, fitted: each the mean of what is nearest to it (Lloyd-Max),
    - an array: those given.

    Fitted tables are of weights themselves for `PerTensor` and `PerRow`, one for the tensor or one
    a row, and there is no scale; for `PerGroup` one table of all :math:`w/s`.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights.
    codebook : str or (levels,) array of w's dtype
        One of these; levels ascend, 2 ... 256.
    bits : int, optional
        Bits of a code: 4 if not given, for ``"log2"`` 2 ... 8, for ``"lloyd"`` 1 ... 8; of an array
        as many as its levels need, and no others.
    granularity : PerTensor, PerRow or PerGroup
        What shares a scale, or a fitted table.
    calibration : "absmax" or "mse"
        Scales are largest magnitudes, or those with the least squared error that a search finds: 16
        from 0.3 to 1.3 of it, the least-squares scale for the codes of each, and two steps from the
        best, codes and scale in turn.
    scale_bits : int, optional
        Bits of a scale, 1 ... 16, which is then quantized in turn (double quantization): scheme
        minmax, 256 scales in a group. In the dtype of `w` if not given.
    weights : array of w's shape and dtype, optional
        Used by ``"lloyd"``: weight of each squared error, at least 0, such as the mean square of
        an input.
    initialization : str
        Where ``"lloyd"`` starts: ``"kmeans++"``, ``"linear"`` (evenly from the smallest to the
        largest value) or ``"quantile"``.
    seed : int
        Seed of ``"kmeans++"``, which draws from at most 65536 sorted values, evenly spaced.
    iterations : int
        Steps of ``"lloyd"`` at most; it ends where nothing changes.

    Returns
    -------
    Codebook
        Codes, levels and scales.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If an argument is out of range, has the wrong shape, is not C-contiguous, holds NaN or Inf,
        or does not go with another.

    References
    ----------
    Dettmers et al. 2023, QLoRA, arXiv 2305.14314 (nf4, double quantization); Miyashita, Lee &
    Murmann 2016, arXiv 1603.01025 (log2); Lloyd 1982, IEEE Trans. Inf. Theory 28; Max 1960, IRE
    Trans. Inf. Theory 6; Arthur & Vassilvitskii 2007, k-means++; Han et al. 2015, Deep compression,
    arXiv 1510.00149.

    Examples
    --------
    >>> w = np.array([[0.5, -1.0, 0.1, 0.0]])
    >>> quantize_codebook(w, "nf4").codes
    array([[12,  0,  8,  7]], dtype=uint8)
    >>> fitted = quantize_codebook(w, "lloyd", bits=1, granularity=PerTensor())
    >>> fitted.levels, fitted.scale
    (array([[-1. ,  0.2]]), None)
    """
    w = as_input(w, "w", FLOATS)
    bits, levels = _as_levels(codebook, bits, w.dtype)
    fits = isinstance(codebook, str) and codebook == "lloyd"
    if weights is not None and not fits:
        raise ValueError(f"weights is of codebook 'lloyd', not {shown(codebook)}")
    as_choice(initialization, "initialization", ("kmeans++", "linear", "quantile"))
    seed, iterations = as_seed(seed), as_count(iterations, "iterations", 1)
    searches = as_choice(calibration, "calibration", CALIBRATIONS) == 1
    grid = grid_of(w.shape, granularity)
    scaled = not fits or isinstance(granularity, PerGroup)
    _refuse_without_scale(scaled, searches, scale_bits)
    if fits or scale_bits is not None:
        refuse_not_finite({"w": w})
    peaks = None
    if scaled and (fits or scale_bits is not None or isinstance(granularity, PerTensor)):
        peaks = _magnitudes(w, grid)
    if fits:
        weights = _as_weights(weights, w)
        values = w / _spread(_or_one(peaks), w.shape, grid) if scaled and w.size else w
        by_row = isinstance(granularity, PerRow)
        levels = _fit(values, weights, by_row, 2**bits, seed, initialization, iterations)
    scale = scale_codes = None
    if searches and w.size:
        scale = _calibrated(w, grid, levels[0])
    elif peaks is not None:
        scale = _or_one(peaks).reshape(grid.parameter_shape)
    if scale_bits is not None:
        scale_codes = _in_turn(scale, peaks == 0, as_count(scale_bits, "scale_bits", 1, 16))
        scale = scale_codes.dequantize().reshape(grid.parameter_shape)
    packed, scale = _encode(w, bits, granularity, grid, levels, scaled, scale)
    return Codebook(packed, w.shape, bits, granularity, levels, scale, scale_codes)


def _refuse_without_scale(scaled: bool, searches: bool, scale_bits: Any) -> None:
    for name, given in (("calibration='mse'", searches), ("scale_bits", scale_bits is not None)):
        if given and not scaled:
            raise ValueError(
                f"{name} is of scales: a table of codebook 'lloyd' has none but for PerGroup"
            )


def _calibrated(w: NDArray, grid: Grid, levels: NDArray) -> NDArray:
    """Return the scales that lose least with these levels."""
    scale = np.empty((grid.rows, grid.groups), w.dtype)
    _native.call(
        "calibrate_codebook", _native.KIND[w.dtype], w.reshape(grid.rows, grid.cols),
        grid.group_size, levels, scale, get_num_threads(), inputs={"w": w},
    )  # fmt: skip
    return scale.reshape(grid.parameter_shape)


def _in_turn(scale: NDArray, zeros: NDArray[np.bool_], bits: int) -> Quantized:
    """Return scales as codes.

    A group of zeros, whose scale is 1, takes the least of the others: it is not to widen the range.
    """
    flat, zeros = scale.reshape(-1).copy(), zeros.reshape(-1)
    if not zeros.all():
        flat[zeros] = flat[~zeros].min()
    return quantize(flat, bits, scheme="minmax", granularity=PerGroup(SCALE_BLOCK))


def _encode(
    w: NDArray,
    bits: int,
    granularity: Granularity,
    grid: Grid,
    levels: NDArray,
    scaled: bool,
    scale: NDArray | None,
) -> tuple[NDArray[np.uint8], NDArray | None]:
    """Return packed codes, and the scales: largest magnitudes if there are to be some."""
    rows, cols, size = _rows_of(w.shape, granularity)
    packed = np.empty((*w.shape[:-1], -(-cols * bits // 8)), np.uint8)
    if not w.size:
        return packed, np.ones(grid.parameter_shape, w.dtype) if scaled else None
    finds_scale = scaled and scale is None
    steps = _by_row(scale, rows, -(-cols // size), w.dtype)
    _native.call(
        "quantize_codebook", _native.KIND[w.dtype], w.reshape(rows, cols), bits, size, levels,
        finds_scale, steps, packed.view(np.int8).reshape(rows, -1), get_num_threads(),
        inputs={"w": w},
    )  # fmt: skip
    return packed, steps.reshape(grid.parameter_shape) if finds_scale else scale


def _as_levels(codebook: Any, bits: Any, dtype: np.dtype) -> tuple[int, NDArray]:
    """Return bits and a table (1, levels); an empty one if it is to be fitted."""
    if isinstance(codebook, np.ndarray):
        levels = as_input(codebook, "codebook", (dtype.type,))
        refuse_not_finite({"codebook": levels})
        if levels.ndim != 1 or not 2 <= len(levels) <= 256 or not (np.diff(levels) > 0).all():
            raise ValueError(
                f"codebook must be 2 ... 256 levels that ascend, not "
                f"{shown(levels.tolist() if levels.ndim == 1 else levels)}"
            )
        width = (len(levels) - 1).bit_length()
        if bits is not None and as_count(bits, "bits", 1, 8) != width:
            raise ValueError(
                f"bits of a codebook of {len(levels)} levels must be {width}, not {bits}"
            )
        return width, levels.reshape(1, -1).copy()
    as_choice(codebook, "codebook", ("nf4", "fp4", "log2", "lloyd"))
    least, most = {"nf4": (4, 4), "fp4": (4, 4), "log2": (2, 8), "lloyd": (1, 8)}[codebook]
    bits = as_count(4 if bits is None else bits, f"bits of codebook {shown(codebook)}", least, most)
    match codebook:
        case "nf4":
            table = NF4
        case "fp4":
            table = FP4
        case "log2":
            powers = [2.0**-j for j in range(2 ** (bits - 1) - 1)]
            table = (*(-p for p in powers), 0.0, *reversed(powers))
        case _:
            table = ()
    return bits, np.array([table], dtype)


def _as_weights(weights: Any, w: NDArray) -> NDArray | None:
    if weights is None:
        return None
    weights = as_input(weights, "weights", (w.dtype.type,), w.shape)
    refuse_not_finite({"weights": weights})
    if weights.size and weights.min() < 0:
        raise ValueError("weights must be at least 0")
    return weights


def _fit(
    values: NDArray,
    weights: NDArray | None,
    by_row: bool,
    count: int,
    seed: int,
    initialization: str,
    iterations: int,
) -> NDArray:
    """Return levels (tables, count) fitted to values, one table or one a row."""
    if not values.size:  # any levels do
        return np.arange(count, dtype=values.dtype)[None]
    rows = (-1, values.shape[-1] if values.ndim else 1) if by_row else (1, -1)
    values = values.reshape(rows)
    if weights is None:
        values, weights = np.sort(values, axis=1), np.zeros((1, 1), values.dtype)
    else:
        order = np.argsort(values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        weights = np.take_along_axis(weights.reshape(values.shape), order, axis=1)
    (values, exponents), (weights, _) = _moderate(values), _moderate(weights)
    levels = _start(values, count, seed, initialization)
    _native.call(
        "fit_codebook", _native.KIND[values.dtype], values, weights, weights.size > 1, iterations,
        levels, get_num_threads(),
    )  # fmt: skip
    return np.sort(np.ldexp(levels, exponents), axis=1)


def _moderate(rows: NDArray) -> tuple[NDArray, NDArray[np.int32]]:
    """Return rows near 1 where sums of squares might be out of range, and exponents taken off."""
    largest = np.maximum(rows.max(axis=1, keepdims=True), -rows.min(axis=1, keepdims=True))
    _, exponents = np.frexp(largest)
    exponents[np.abs(exponents) <= MODERATE] = 0
    return (np.ldexp(rows, -exponents) if exponents.any() else rows), exponents


def _start(values: NDArray, count: int, seed: int, initialization: str) -> NDArray:
    """Return ascending levels (rows, count) to start from, of ascending values."""
    rows, n = values.shape
    match initialization:
        case "linear":
            part = np.linspace(0, 1, count)
            low, high = values[:, :1].astype(np.float64), values[:, -1:].astype(np.float64)
            return (low + (high - low) * part).astype(values.dtype)
        case "quantile":
            at = ((np.arange(count) + 0.5) / count * n).astype(np.int64)
            return np.ascontiguousarray(values[:, at])
    generator, each = np.random.default_rng(seed), np.arange(rows)
    values = values[:, :: -(-n // DRAWN_FROM)]
    n = values.shape[1]
    chosen = np.empty((rows, count), values.dtype)
    chosen[:, 0] = values[each, generator.integers(0, n, rows)]
    distance = (values.astype(np.float64) - chosen[:, :1]) ** 2
    for j in range(1, count):
        total = np.cumsum(distance, axis=1)
        drawn = generator.random(rows) * total[:, -1]
        at = [np.searchsorted(t, d, side="right") for t, d in zip(total, drawn, strict=True)]
        at = np.minimum(at, n - 1)
        chosen[:, j] = values[each, at]
        np.minimum(distance, (values - chosen[:, j : j + 1].astype(np.float64)) ** 2, out=distance)
    return np.sort(chosen, axis=1)


def _rows_of(shape: tuple[int, ...], granularity: Granularity) -> tuple[int, int, int]:
    """Return rows, columns and columns of a group as the kernels see an array."""
    cols = shape[-1] if shape else 1
    size = granularity.size if isinstance(granularity, PerGroup) else max(cols, 1)
    return math.prod(shape[:-1]), cols, min(size, max(cols, 1))


def _magnitudes(w: NDArray, grid: Grid) -> NDArray:
    """Return the largest magnitude of each group (rows, groups), 0 where there is nothing."""
    if not w.size:
        return np.zeros((grid.rows, grid.groups), w.dtype)
    rows, starts = w.reshape(grid.rows, grid.cols), np.arange(grid.groups) * grid.group_size
    return np.maximum.reduceat(np.abs(rows), starts, axis=1)


def _or_one(magnitudes: NDArray) -> NDArray:
    """Return magnitudes as scales, those of zeros 1."""
    return np.where(magnitudes > 0, magnitudes, 1).astype(magnitudes.dtype)


def _spread(peaks: NDArray, shape: tuple[int, ...], grid: Grid) -> NDArray:
    """Return the scale of each entry."""
    return np.repeat(peaks, grid.lengths, axis=1).reshape(shape)


def _by_row(scale: NDArray | None, rows: int, groups: int, dtype: np.dtype) -> NDArray:
    """Return scales (rows, groups): ones if there are none, the same everywhere if there is one."""
    if scale is not None and scale.ndim:
        return np.ascontiguousarray(scale).reshape(rows, groups)
    return np.full((rows, groups), 1 if scale is None else scale, dtype)
