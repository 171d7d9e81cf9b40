"""Uniform quantization to 1 ... 16 bits, and back (`fortran/arrays/fq_quantize.f90`)."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _native
from .._core.check import (
    FLOATS,
    as_choice,
    as_count,
    as_flag,
    as_float_dtype,
    as_input,
    as_number,
    as_output,
    as_shape,
    refuse_not_finite,
    shown,
)
from .._core.frozen import freeze, made_of, read_only, reduce_to_parts, restore_parts, set_part
from .._core.grid import Granularity, Grid, PerRow, PerTensor, granularity_text, grid_of
from .._core.protocol import decoded_array
from .._core.text import bytes_text, object_text, shape_text
from .._core.threads import get_num_threads
from .calibrate import CALIBRATIONS, Calibration, calibrate, percentile_ends
from .distortion import Distortion, distortion
from .pack import unpack_rows

# The positions are the numbers of `fortran/base/fq_code_rule.f90`.
SCHEMES = ("symmetric", "affine", "minmax")
SCALES = ("absmax", "absmax_half", "signed_max")
ROUNDINGS = ("half_even", "half_away", "half_up", "trunc", "floor", "stochastic")

Scheme = Literal["symmetric", "affine", "minmax"]
Rounding = Literal["half_even", "half_away", "half_up", "trunc", "floor", "stochastic"]


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized array: packed codes, and what turns them back into reals.

    ``w ~ (codes - zero_point) * scale + minimum``, where an absent zero point or minimum is 0.

    Arrays are views that refuse writes; who made them can still write to what is below.

    Attributes
    ----------
    packed : (..., ceil(cols * bits / 8)) uint8
        The codes as `pyfq.pack` packs them.
    shape : tuple of int
        Shape of the array.
    bits : int
        Bits of a code, 1 ... 16.
    signed : bool
        Whether codes are signed.
    granularity : PerTensor, PerRow or PerGroup
        What shares a scale.
    scale : NDArray
        Step between codes, in the dtype of the array; ``()``, ``(..., 1)`` or ``(..., groups)``.
    zero_point : NDArray or None
        Code of 0 (scheme affine), uint8 or uint16, in the shape of `scale`.
    minimum : NDArray or None
        Value of code 0 (scheme minmax), in the shape and dtype of `scale`.

    Raises
    ------
    TypeError
        If a part has the wrong type or dtype.
    ValueError
        If parts do not fit each other, are not C-contiguous, or a scale or minimum is not finite.
    """

    packed: NDArray[np.uint8]
    shape: tuple[int, ...]
    bits: int
    signed: bool
    granularity: Granularity
    scale: NDArray
    zero_point: NDArray | None = None
    minimum: NDArray | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other: kernels trust their shapes."""
        bits = as_count(self.bits, "bits", 1, 16)
        set_part(self, "shape", as_shape(self.shape))
        set_part(self, "bits", bits)
        set_part(self, "signed", as_flag(self.signed, "signed"))
        parameter_shape = grid_of(self.shape, self.granularity).parameter_shape
        as_input(self.packed, "packed", (np.uint8,), _packed_shape(self.shape, bits))
        refuse_not_finite({"scale": as_input(self.scale, "scale", FLOATS, parameter_shape)})
        if self.zero_point is not None:
            dtype = np.uint8 if bits <= 8 else np.uint16
            as_input(self.zero_point, "zero_point", (dtype,), parameter_shape)
            most = int(self.zero_point.max(initial=0))
            if self.signed or most >= 2**bits:
                wanted = "None" if self.signed else f"at most {2**bits - 1}"
                raise ValueError(
                    f"zero_point must be {wanted} for {'' if self.signed else 'un'}signed codes of "
                    f"{bits} bits, not {most}"
                )
        if self.minimum is not None:
            as_input(self.minimum, "minimum", (self.scale.dtype,), parameter_shape)
            refuse_not_finite({"minimum": self.minimum})
        freeze(self, "packed", "scale", "zero_point", "minimum")

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return shape, format and bytes."""
        scheme = "affine" if self.zero_point is not None else "symmetric"
        return object_text(
            self,
            shape_text(self.shape),
            f"{self.bits} bits",
            "minmax" if self.minimum is not None else scheme,
            granularity_text(self.granularity),
            str(self.scale.dtype),
            bytes_text(self.nbytes, 2),
        )

    # Operators of arrays refuse: they would decode at every call.
    __array_ufunc__ = None

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        """Return the array that this stands for, as `numpy.asarray` asks for it."""
        return decoded_array(self.dequantize, dtype, copy)

    @property
    def codes(self) -> NDArray:
        """The codes unpacked: int8 or uint8, int16 or uint16 for more than 8 bits."""
        cols = self.shape[-1] if self.shape else 1
        return unpack_rows(self.packed, self.bits, cols, self.signed).reshape(self.shape)

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, zero points and minima."""
        parts = (self.packed, self.scale, self.zero_point, self.minimum)
        return sum(part.nbytes for part in parts if part is not None)

    @property
    def bits_per_weight(self) -> float:
        """Bits of everything held, per weight; 0 for an empty array."""
        return 8 * self.nbytes / self.size if self.size else 0.0

    def dequantize(self, dtype: DTypeLike = None, *, out: NDArray | None = None) -> NDArray:
        """Return the reals that the codes stand for.

        ``(codes - zero_point) * scale + minimum`` in the arithmetic of `dtype`. A value beyond the
        largest finite number, which a code at the end of such a range may stand for, is that
        number.

        Parameters
        ----------
        dtype : float32 or float64, optional
            That of `scale` if not given.
        out : array of this shape and dtype, optional
            Where to write.

        Returns
        -------
        array of this shape
            The reals.

        Raises
        ------
        TypeError
            If `dtype` is not float32 or float64, or `out` is not an array of it.
        ValueError
            If `out` has another shape, is not C-contiguous or writeable, or overlaps a part; if a
            scale or minimum does not fit `dtype`.

        Examples
        --------
        >>> quantize(np.array([[1.0, -0.5]]), 2).dequantize()
        array([[1., 0.]])
        """
        dtype = as_float_dtype(self.scale.dtype if dtype is None else dtype)
        parts = (self.packed, self.scale, self.zero_point, self.minimum)
        out = as_output(
            out, "out", dtype, self.shape, *(part for part in parts if part is not None)
        )
        if out.size:
            rows = grid_of(self.shape, PerRow())
            grid = grid_of(self.shape, self.granularity)
            scale = _per_row(_in_dtype(self.scale, "scale", dtype), grid, rows)
            zero_point = _or_zero(self.zero_point, scale, np.int32, grid, rows)
            least = None if self.minimum is None else _in_dtype(self.minimum, "minimum", dtype)
            minimum = _or_zero(least, scale, dtype, grid, rows)
            _native.call(
                "dequantize",
                _native.KIND[dtype],
                min(grid.group_size, rows.cols),
                self.packed.view(np.int8).reshape(rows.rows, -1),
                self.bits,
                self.signed,
                scale,
                zero_point,
                minimum,
                out.reshape(rows.rows, rows.cols),
                get_num_threads(),
            )
        return out

    def error(self, w: NDArray) -> Distortion:
        """Return the error of the reconstruction of `w`: MSE, SQNR, largest error, cosine.

        Parameters
        ----------
        w : array of this shape, float32 or float64
            The original.

        Returns
        -------
        Distortion
            See `pyfq.distortion`.

        Raises
        ------
        TypeError
            If `w` is not a float32 or float64 array.
        ValueError
            If `w` has another shape, is not C-contiguous, or holds NaN or Inf.

        Examples
        --------
        >>> w = np.array([[1.0, -0.5]])
        >>> quantize(w, 2).error(w).max_abs
        0.5
        """
        w = as_input(w, "w", FLOATS, self.shape)
        return distortion(w, self.dequantize(w.dtype))


def quantize(
    w: NDArray,
    bits: int = 8,
    *,
    scheme: Scheme = "symmetric",
    granularity: Granularity = PerRow(),
    rounding: Rounding = "half_even",
    range: Literal["narrow", "full"] = "narrow",
    scale: ArrayLike | Literal["absmax", "absmax_half", "signed_max"] | None = None,
    zero_point: ArrayLike | None = None,
    calibration: Calibration = "minmax",
    percentile: float | None = None,
    seed: int | None = None,
    reciprocal: bool = False,
) -> Quantized:
    r"""Quantize to integer codes of `bits` bits.

    .. math::
        \text{symmetric:} \quad & c = \mathrm{round}(w / s), & s &= \max|w| / q_{max} \\
        \text{affine:} \quad & c = \mathrm{round}(w / s) + z, &
            s &= (\max(w, 0) - \min(w, 0)) / (2^b - 1), \quad z = \mathrm{round}(-\min(w, 0) / s) \\
        \text{minmax:} \quad & c = \mathrm{round}((w - \min w) / s), &
            s &= (\max w - \min w) / (2^b - 1)

    all in the dtype of `w`, then saturated to the range of the codes. A group of zeros (symmetric,
    affine) or of one value (minmax) has scale 1. Scales among the denormals are rounded up, so that
    the codes reach the extremes.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite weights or activations.
    bits : int
        Bits of a code, 1 ... 16.
    scheme : "symmetric", "affine" or "minmax"
        Signed codes around 0; unsigned codes with an integer zero point (ONNX, PyTorch); unsigned
        codes from the float minimum.
    granularity : PerTensor, PerRow or PerGroup
        What shares a scale. `PerRow` on activations is dynamic quantization per sample.
    rounding : str
        "half_even", "half_away", "half_up", "trunc" (toward zero), "floor", or "stochastic" (up
        with the probability of the fraction).
    range : "narrow" or "full"
        Codes of scheme symmetric: ``-(2**(bits-1) - 1)`` or ``-2**(bits-1)`` to ``2**(bits-1) -
        1``. The unsigned schemes always use ``0 ... 2**bits - 1``.
    scale : array of w's dtype, float, "absmax", "absmax_half" or "signed_max", optional
        A given step, used as it is: one number, or an array in the shape of the granularity. Or the
        convention of scheme symmetric: ``max|w| / qmax`` (the default), ``max|w| / ((qmax - qmin) /
        2)`` (compressed-tensors; GPTQ for groups with a negative weight), or ``m / qmin`` with `m`
        the signed value of largest magnitude (ggml Q4_0; the scale may be negative).
    zero_point : int or array of integers, optional
        Code of 0 for a given scale and scheme affine, within the codes; 0 if not given.
    calibration : str
        Where scale, zero point and minimum come from.

        - ``"minmax"``: the range, as above;
        - ``"mse"``: that of 80 clipped ranges whose codes have the least squared error;
        - ``"als"``: codes, and their least-squares scale and offset, by turns; the best at few
          bits;
        - ``"percentile"``: the range that holds `percentile` of the entries;
        - ``"aciq"``: the clip that is best for the normal or Laplace distribution that fits;
        - ``"hqq"``: the minimum, or zero point, that half-quadratic splitting finds for errors in
          the norm of power 0.7; not with scheme symmetric.

        The squared error of ``"mse"`` and ``"als"`` is never more than that of ``"minmax"``.
    percentile : float, optional
        Used by calibration "percentile": more than 0, at most 100 (default: 99.9).
    seed : int, optional
        Seed of stochastic rounding, ``0 ... 2**64 - 1``: entry i (C order, from 0) is rounded with
        the ``i + 1``-th output of SplitMix64, whatever the number of threads.
    reciprocal : bool
        Multiply by ``1 / scale`` instead of dividing, as ggml does, unless that overflows.

    Returns
    -------
    Quantized
        Codes, scales, zero points or minima.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If an argument is out of range, has the wrong shape, is not C-contiguous, holds NaN or Inf,
        or does not go with another.

    References
    ----------
    Jacob et al. 2017, arXiv 1712.05877 (affine); ONNX QuantizeLinear and DynamicQuantizeLinear;
    Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators (SplitMix64); Frantar
    et al. 2022, GPTQ, arXiv 2210.17323 (mse); Banner et al. 2018, arXiv 1810.05723 (aciq); Badri &
    Shaji 2023, Half-Quadratic Quantization of Large Machine Learning Models (hqq).

    Examples
    --------
    >>> w = np.array([[0.5, -1.0, 0.25], [4.0, 2.0, -3.0]], np.float32)
    >>> q = quantize(w, 4)
    >>> q.codes
    array([[ 3, -7,  2],
           [ 7,  3, -5]], dtype=int8)
    >>> q.scale
    array([[0.14285715],
           [0.5714286 ]], dtype=float32)
    >>> quantize(w, 8, scheme="affine", granularity=PerTensor()).zero_point
    array(109, dtype=uint8)
    >>> rng = np.random.default_rng(0)
    >>> w = rng.standard_normal((256, 64), np.float32)
    >>> for word in ("minmax", "mse", "als"):
    ...     q = quantize(w, 2, scheme="minmax", calibration=word)
    ...     print(round(q.error(w).sqnr, 1), "dB")
    6.9 dB
    9.6 dB
    9.8 dB
    """
    w = as_input(w, "w", FLOATS)
    bits = as_count(bits, "bits", 1, 16)
    symmetric = as_choice(scheme, "scheme", SCHEMES) == 0
    as_choice(range, "range", ("narrow", "full"))
    convention = scale if isinstance(scale, str) else None
    if convention is not None:
        as_choice(convention, "scale", SCALES)
    if convention is not None and not symmetric:
        raise ValueError(f"scale={shown(scale)} is of scheme 'symmetric', not {shown(scheme)}")
    given = scale is not None and convention is None
    if given and scheme == "minmax":
        raise ValueError("scale cannot be given with scheme 'minmax': it follows from the minimum")
    if zero_point is not None and not (given and scheme == "affine"):
        raise ValueError("zero_point needs a given scale and scheme 'affine'")
    as_choice(calibration, "calibration", CALIBRATIONS)
    if calibration != "minmax" and (given or convention not in (None, "absmax")):
        what = "given" if isinstance(scale, np.ndarray) else repr(scale)
        raise ValueError(f"calibration={shown(calibration)} finds the scale, but scale is {what}")
    if calibration == "hqq" and symmetric:
        raise ValueError(
            "calibration='hqq' finds the zero point, which scheme 'symmetric' does not have: use "
            "'affine' or 'minmax'"
        )
    part = _as_percentile(percentile, calibration)
    low, high = _code_range(bits, symmetric, range)
    if low == high or (high == 0 and not given and convention in (None, "absmax")):
        raise ValueError(
            "bits=1 leaves scheme 'symmetric' no positive code: use 'affine', 'minmax' "
            "or range='full' with scale='signed_max'"
        )
    rule = _rule(bits, low, high, scheme, convention or "absmax", rounding, reciprocal, False, seed)
    grid = grid_of(w.shape, granularity)
    if given:
        step = _as_scale(scale, w.dtype, grid)
        zeros = _as_zero_point(zero_point, bits, grid) if scheme == "affine" else None
        return _encode(w, rule, granularity, grid, step, zeros, None)
    return _fit(w, rule, granularity, grid, scheme, calibration, part)


def fake_quantize(
    w: NDArray,
    bits: int = 8,
    *,
    scheme: Scheme = "symmetric",
    granularity: Granularity = PerRow(),
    rounding: Rounding = "half_even",
    range: Literal["narrow", "full"] = "narrow",
    scale: ArrayLike | Literal["absmax", "absmax_half", "signed_max"] | None = None,
    zero_point: ArrayLike | None = None,
    calibration: Calibration = "minmax",
    percentile: float | None = None,
    seed: int | None = None,
    reciprocal: bool = False,
    out: NDArray | None = None,
) -> NDArray:
    """Quantize and dequantize: the reals that quantized weights stand for.

    ``quantize(w, ...).dequantize()``.

    Parameters
    ----------
    w, bits, scheme, granularity, rounding, range, scale, zero_point, seed, reciprocal
        See `quantize`.
    calibration, percentile
        See `quantize`.
    out : array of w's shape and dtype, optional
        Where to write; must not overlap `w`.

    Returns
    -------
    array of w's shape and dtype
        The reals.

    Raises
    ------
    TypeError, ValueError
        See `quantize`.

    References
    ----------
    Krishnamoorthi 2018, Quantizing deep convolutional networks, arXiv 1806.08342, section 2.4.

    Examples
    --------
    >>> fake_quantize(np.array([[0.5, -1.0, 0.25]]), 3, scale="signed_max", range="full")
    array([[ 0.5 , -1.  ,  0.25]])
    """
    w = as_input(w, "w", FLOATS)
    out = as_output(out, "out", w.dtype, w.shape, w)
    quantized = quantize(
        w,
        bits,
        scheme=scheme,
        granularity=granularity,
        rounding=rounding,
        range=range,
        scale=scale,
        zero_point=zero_point,
        calibration=calibration,
        percentile=percentile,
        seed=seed,
        reciprocal=reciprocal,
    )
    return quantized.dequantize(out=out)


def quantize_fixed_point(
    w: NDArray,
    integer_bits: int,
    fraction_bits: int,
    *,
    signed: bool = True,
    rounding: Rounding = "half_even",
    overflow: Literal["saturate", "wrap"] = "saturate",
    seed: int | None = None,
) -> Quantized:
    r"""Quantize to the fixed-point format Qm.n: integers times :math:`2^{-n}`.

    .. math:: c = \mathrm{round}(w \, 2^n)

    with codes :math:`-2^{m+n} \dots 2^{m+n}-1` if signed (a sign bit besides the m + n), else
    :math:`0 \dots 2^{m+n}-1`.

    Parameters
    ----------
    w : (..., cols) float32 or float64
        Finite values.
    integer_bits : int
        m, bits before the binary point, the sign not counted; may be negative.
    fraction_bits : int
        n, bits behind the binary point; may be negative.
    signed : bool
        Whether there is a sign bit. The width m + n + signed is 1 ... 16.
    rounding : str
        As in `quantize`. In the words of ap_fixed: "floor" is TRN, "trunc" TRN_ZERO, "half_up" RND,
        "half_even" RND_CONV, "half_away" RND_INF.
    overflow : "saturate" or "wrap"
        Codes out of range become the nearest, or are taken modulo :math:`2^{width}` (ap_fixed: SAT,
        WRAP).
    seed : int, optional
        Seed of stochastic rounding; see `quantize`.

    Returns
    -------
    Quantized
        `PerTensor`, with scale :math:`2^{-n}`.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the width or :math:`2^{-n}` is out of range, or `w` is not C-contiguous or holds NaN or
        Inf.

    References
    ----------
    Arm, Q-format notation; AMD, Vitis HLS user guide UG1399, arbitrary precision fixed-point types.

    Examples
    --------
    >>> quantize_fixed_point(np.array([1.25, -0.3, 9.0]), 2, 3).dequantize()
    array([ 1.25 , -0.25 ,  3.875])
    >>> quantize_fixed_point(np.array([9.0]), 2, 3, overflow="wrap").dequantize()
    array([1.])
    """
    w = as_input(w, "w", FLOATS)
    integer_bits = as_count(integer_bits, "integer_bits", -2000)
    fraction_bits = as_count(fraction_bits, "fraction_bits", -2000)
    signed = as_flag(signed, "signed")
    as_choice(overflow, "overflow", ("saturate", "wrap"))
    bits = integer_bits + fraction_bits + signed
    if not 1 <= bits <= 16:
        raise ValueError(
            f"integer_bits + fraction_bits + signed must be 1 ... 16, not "
            f"{integer_bits} + {fraction_bits} + {int(signed)} = {bits}"
        )
    limits = np.finfo(w.dtype)
    exponent = -fraction_bits
    if not limits.minexp <= exponent <= limits.maxexp - 18:
        raise ValueError(
            f"fraction_bits must be {18 - limits.maxexp} ... {-limits.minexp} for {w.dtype}, "
            f"not {fraction_bits}"
        )
    low, high = _code_range(bits, signed, "full")
    scheme = "symmetric" if signed else "affine"
    rule = _rule(bits, low, high, scheme, "absmax", rounding, False, overflow == "wrap", seed)
    step = np.array(math.ldexp(1.0, exponent), w.dtype)
    return _encode(w, rule, PerTensor(), grid_of(w.shape, PerTensor()), step, None, None)


def parameters_by_row(w: Quantized) -> tuple[NDArray, NDArray[np.int32], NDArray, int]:
    """Return scale, zero point and minimum by row and group, zeros where absent, and group size."""
    refuse_not_finite({"scale": w.scale} | ({} if w.minimum is None else {"minimum": w.minimum}))
    grid, rows = grid_of(w.shape, w.granularity), grid_of(w.shape, PerRow())
    scale = _per_row(w.scale, grid, rows)
    zero_point = _or_zero(w.zero_point, scale, np.int32, grid, rows)
    minimum = _or_zero(w.minimum, scale, scale.dtype, grid, rows)
    return scale, zero_point, minimum, min(grid.group_size, rows.cols)


def _code_range(bits: int, signed: bool, range: str) -> tuple[int, int]:
    if not signed:
        return 0, 2**bits - 1
    high = 2 ** (bits - 1) - 1
    return (-high if range == "narrow" else -high - 1), high


def code_rule(bits: int, scheme: Scheme) -> NDArray[np.int64]:
    """Return the rule of ``quantize(w, bits, scheme=scheme)``, `code_rule` in Fortran."""
    as_choice(scheme, "scheme", SCHEMES)
    low, high = _code_range(bits, scheme == "symmetric", "narrow")
    return _rule(bits, low, high, scheme, "absmax", "half_even", False, False, None)


def _rule(
    bits: int,
    low: int,
    high: int,
    scheme: str,
    convention: str,
    rounding: str,
    reciprocal: bool,
    wraps: bool,
    seed: int | None,
) -> NDArray[np.int64]:
    """Return the components of `code_rule` (`fortran/base/fq_code_rule.f90`)."""
    stochastic = as_choice(rounding, "rounding", ROUNDINGS) == ROUNDINGS.index("stochastic")
    if stochastic and seed is None:
        raise ValueError("seed must be given for stochastic rounding")
    if seed is not None and not stochastic:
        raise ValueError(f"seed is of rounding 'stochastic', not {shown(rounding)}")
    start = as_count(0 if seed is None else seed, "seed", 0, 2**64 - 1)
    choices = SCHEMES.index(scheme), as_choice(convention, "scale", SCALES)
    return _rule_of(
        bits, low, high, *choices, ROUNDINGS.index(rounding), as_flag(reciprocal, "reciprocal"),
        wraps, start - (start >> 63 << 64),
    )  # fmt: skip


@lru_cache
def _rule_of(*components: int) -> NDArray[np.int64]:
    """Return the components as an array, which calls with the same options share."""
    return read_only(np.array(components, np.int64))


def _fit(
    w: NDArray,
    rule: NDArray[np.int64],
    granularity: Granularity,
    grid: Grid,
    scheme: str,
    calibration: str,
    percentile: float,
) -> Quantized:
    """Quantize with scales that follow from the data."""
    shape = (grid.rows, grid.groups)
    scale, minimum = np.empty(shape, w.dtype), np.empty(shape, w.dtype)
    zeros = np.empty(shape, np.int32)
    threads = get_num_threads()
    rows = grid_of(w.shape, PerRow())
    packed = None
    if not w.size:
        scale[...], minimum[...], zeros[...] = 1, 0, 0
    elif calibration not in ("minmax", "percentile"):
        scale, zeros, minimum = calibrate(w, rule, grid, calibration)
    elif calibration == "minmax" and grid.rows == rows.rows and rows.rows >= threads:
        # Each row in one go.
        packed = _packed_like(w.shape, int(rule[0]))
        _native.call(
            "quantize",
            _native.KIND[w.dtype],
            grid.group_size,
            w.reshape(rows.rows, rows.cols),
            rule,
            scale,
            zeros,
            minimum,
            packed.view(np.int8).reshape(rows.rows, -1),
            threads,
            inputs={"w": w},
        )
    else:
        if calibration == "percentile":
            low, high = percentile_ends(w, grid, percentile, scheme == "symmetric")
            peak = high
        else:
            low, high, peak = _ranges(w, grid, threads)
        _native.call(
            "quantize_step",
            _native.KIND[w.dtype],
            low,
            high,
            peak,
            rule,
            scale.reshape(-1),
            zeros.reshape(-1),
            minimum.reshape(-1),
        )
    scale = scale.reshape(grid.parameter_shape)
    zero_point = None
    if scheme == "affine":
        unsigned = zeros.astype(np.uint8 if rule[0] <= 8 else np.uint16)
        zero_point = unsigned.reshape(grid.parameter_shape)
    least = minimum.reshape(grid.parameter_shape) if scheme == "minmax" else None
    if packed is None:
        return _encode(w, rule, granularity, grid, scale, zero_point, least)
    refuse_not_finite({"scale": scale})  # half a code may be beyond the largest number
    return made_of(
        Quantized, packed=packed, shape=w.shape, bits=int(rule[0]), signed=scheme == "symmetric",
        granularity=granularity, scale=scale, zero_point=zero_point, minimum=least,
    )  # fmt: skip


def _ranges(w: NDArray, grid: Grid, threads: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return minimum, maximum and first value of largest magnitude of each group, flat."""
    parts = grid.in_parts()
    low, high, peak = (np.empty((parts.rows, parts.groups), w.dtype) for _ in "123")
    _native.call(
        "quantize_range",
        _native.KIND[w.dtype],
        parts.group_size,
        w.reshape(parts.rows, parts.cols),
        low,
        high,
        peak,
        threads,
        inputs={"w": w},
    )
    if parts is not grid:
        return low.min(axis=1), high.max(axis=1), peak[:, np.abs(peak[0]).argmax()]
    return low.reshape(-1), high.reshape(-1), peak.reshape(-1)


def _encode(
    w: NDArray,
    rule: NDArray[np.int64],
    granularity: Granularity,
    grid: Grid,
    scale: NDArray,
    zero_point: NDArray | None,
    minimum: NDArray | None,
) -> Quantized:
    """Quantize with given scales."""
    packed = _packed_like(w.shape, int(rule[0]))
    if w.size:
        rows = grid_of(w.shape, PerRow())
        each = _per_row(scale, grid, rows)
        _native.call(
            "quantize_given",
            _native.KIND[w.dtype],
            min(grid.group_size, rows.cols),
            w.reshape(rows.rows, rows.cols),
            rule,
            each,
            _or_zero(zero_point, each, np.int32, grid, rows),
            _or_zero(minimum, each, w.dtype, grid, rows),
            packed.view(np.int8).reshape(rows.rows, -1),
            get_num_threads(),
            inputs={"w": w},
        )
    return Quantized(
        packed, w.shape, int(rule[0]), bool(rule[3] == 0), granularity, scale, zero_point, minimum
    )


def _packed_like(shape: tuple[int, ...], bits: int) -> NDArray[np.uint8]:
    return np.empty(_packed_shape(shape, bits), np.uint8)


def _packed_shape(shape: tuple[int, ...], bits: int) -> tuple[int, ...]:
    cols = shape[-1] if shape else 1
    return (*shape[:-1], (cols * bits + 7) // 8)


def _per_row(parameter: NDArray, grid: Grid, rows: Grid) -> NDArray:
    """Return a parameter as the kernels take it, `(rows, groups)`; a tensor's is in each row."""
    if grid.parameter_shape == ():
        return np.full((rows.rows, 1), parameter)
    return parameter.reshape(rows.rows, grid.groups)


def _in_dtype(parameter: NDArray, name: str, dtype: np.dtype) -> NDArray:
    """Return a parameter in the dtype of the reals, where that loses no more than precision."""
    with np.errstate(over="ignore", under="ignore"):
        cast = parameter.astype(dtype, copy=False)
    refuse_not_finite({name: parameter})
    if not np.isfinite(cast).all() or np.any((cast == 0) & (parameter != 0)):
        raise ValueError(f"{name} does not fit {dtype}: dequantize to {parameter.dtype}")
    return cast


def _or_zero(
    parameter: NDArray | None, like: NDArray, dtype: Any, grid: Grid, rows: Grid
) -> NDArray:
    if parameter is None:
        return np.zeros(like.shape, dtype)
    return _per_row(parameter.astype(dtype, copy=False), grid, rows)


def _as_percentile(percentile: float | None, calibration: str) -> float:
    if percentile is not None and calibration != "percentile":
        raise ValueError(f"percentile is of calibration 'percentile', not {shown(calibration)}")
    part = as_number(99.9 if percentile is None else percentile, "percentile", 0, 100)
    if not part:
        raise ValueError("percentile must be more than 0")
    return part


def _as_scale(scale: Any, dtype: np.dtype, grid: Grid) -> NDArray:
    if isinstance(scale, np.ndarray):
        scale = as_input(scale, "scale", (dtype,), grid.parameter_shape)
    else:
        largest = float(np.finfo(dtype).max)
        scale = np.full(grid.parameter_shape, as_number(scale, "scale", -largest, largest), dtype)
    refuse_not_finite({"scale": scale})
    if not scale.all():
        raise ValueError("scale must not be 0")
    return scale


def _as_zero_point(zero_point: Any, bits: int, grid: Grid) -> NDArray:
    if not isinstance(zero_point, np.ndarray | np.generic | int | list | tuple | None):
        raise TypeError(f"zero_point must be integers, not {type(zero_point).__name__}")
    zeros = np.asarray(0 if zero_point is None else zero_point)
    if zeros.dtype.kind not in "iu":
        raise TypeError(f"zero_point must be integers, not {zeros.dtype}")
    if zeros.ndim and zeros.shape != grid.parameter_shape:
        raise ValueError(f"zero_point must have shape {grid.parameter_shape}, not {zeros.shape}")
    if zeros.size and (zeros.min() < 0 or zeros.max() > 2**bits - 1):
        raise ValueError(
            f"zero_point must be 0 ... {2**bits - 1}, not {zeros.min()} ... {zeros.max()}"
        )
    return np.full(grid.parameter_shape, zeros, np.uint8 if bits <= 8 else np.uint16)
