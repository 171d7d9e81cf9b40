"""Reference of `pyfq.quantize`: codes, scale, zero point and minimum, and back."""

import numpy as np

from ..._core.grid import PerRow, grid_of
from .calibrate import block_sum, calibrate, near_one
from .grouping import each_group, reduce_groups, spread
from .step import find_step, step_of


def quantize(
    w,
    bits=8,
    *,
    scheme="symmetric",
    granularity=PerRow(),
    rounding="half_even",
    range="narrow",
    scale=None,
    zero_point=None,
    calibration="minmax",
    percentile=99.9,
    seed=None,
    reciprocal=False,
):
    """Return codes, scale, zero point (affine) and minimum (minmax)."""
    signed = scheme == "symmetric"
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low = (-high if range == "narrow" else -high - 1) if signed else 0
    shape = grid_of(w.shape, granularity).parameter_shape
    unsigned = np.uint8 if bits <= 8 else np.uint16
    minimum = None

    def encode(scale, zero_point, minimum):
        zeros = np.zeros(shape, np.int64) if zero_point is None else zero_point.astype(np.int64)
        zeros = spread(zeros, w.shape, granularity)
        x = _ratio(w, scale, minimum, granularity, reciprocal)
        ends = ((end - zeros).astype(w.dtype) for end in (low, high))
        codes = _round(np.clip(x, *ends), rounding, seed)
        return (codes.astype(np.int64) + zeros).astype(_code_dtype(bits, signed))

    if scale is None or isinstance(scale, str):
        scale, zero_point, minimum = _parameters(w, scheme, granularity, low, high, scale)
        if calibration != "minmax" and w.size:
            plain = scale, zero_point, minimum
            found = calibrate(w, bits, calibration, scheme, granularity, low, high, percentile)
            found = [None if old is None else new for new, old in zip(found, plain, strict=True)]
            if calibration in ("mse", "als"):
                found = _better(w, granularity, encode, plain, found)
            scale, zero_point, minimum = found
    else:
        scale = np.full(shape, scale, w.dtype)
        zero_point = None if signed else np.full(shape, 0 if zero_point is None else zero_point)
    codes = encode(scale, zero_point, minimum)
    return codes, scale, None if zero_point is None else zero_point.astype(unsigned), minimum


def _better(w, granularity, encode, plain, found):
    """Return the parameters found where their squares of errors are less than the plain ones'."""
    least, most = (reduce_groups(ufunc, w, granularity) for ufunc in (np.minimum, np.maximum))
    _, unit = near_one(least, np.maximum(-least, most))
    unit = spread(unit, w.shape, granularity).astype(np.float64)
    usable = found[0] > 0
    found = [
        None if old is None else np.where(usable, new, old)
        for new, old in zip(found, plain, strict=True)
    ]
    errors = []
    for parameters in (plain, found):
        v = dequantize(encode(*parameters), *parameters, granularity=granularity)
        error = w.astype(np.float64) * unit - v.astype(np.float64) * unit
        errors.append(each_group(error, granularity, lambda x: block_sum((x * x)[None])[0]))
    return [
        None if old is None else np.where(errors[1] < errors[0], new, old)
        for new, old in zip(found, plain, strict=True)
    ]


def dequantize(codes, scale, zero_point=None, minimum=None, *, granularity=PerRow()):
    """Return `(codes - zero_point) * scale + minimum`, at most the largest finite number."""
    scale = spread(scale, codes.shape, granularity)
    zeros = (
        0 if zero_point is None else spread(zero_point.astype(np.int64), codes.shape, granularity)
    )
    least = scale.dtype.type(0) if minimum is None else spread(minimum, codes.shape, granularity)
    factor, largest = _halving(scale), np.finfo(scale.dtype).max
    with np.errstate(over="ignore"):
        value = factor * least + (codes.astype(np.int64) - zeros).astype(scale.dtype) * (
            factor * scale
        )
    return np.clip(value, -factor * largest, factor * largest) / factor


def fake_quantize(
    w,
    bits=8,
    *,
    scheme="symmetric",
    granularity=PerRow(),
    rounding="half_even",
    range="narrow",
    scale=None,
    zero_point=None,
    calibration="minmax",
    percentile=99.9,
    seed=None,
    reciprocal=False,
):
    """Return the reals that quantized weights stand for."""
    codes, *parameters = quantize(
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
    return dequantize(codes, *parameters, granularity=granularity)


def quantize_fixed_point(
    w,
    integer_bits,
    fraction_bits,
    *,
    signed=True,
    rounding="half_even",
    overflow="saturate",
    seed=None,
):
    """Return codes and scale of Qm.n."""
    bits = integer_bits + fraction_bits + bool(signed)
    step = w.dtype.type(2.0**-fraction_bits)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if overflow == "saturate":
        with np.errstate(over="ignore"):
            codes = _round(np.clip(w / step, low, high), rounding, seed)
    else:
        codes = _round(np.fmod(w, step * 2**bits) / step, rounding, seed).astype(np.int64)
        codes = (codes - low) % 2**bits + low
    return codes.astype(_code_dtype(bits, signed)), np.array(step)


def splitmix64(seed, n):
    """Return the first `n` outputs of SplitMix64 as integers."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _parameters(w, scheme, granularity, low, high, convention):
    if not w.size:
        shape = grid_of(w.shape, granularity).parameter_shape
        one, zero = np.ones(shape, w.dtype), np.zeros(shape, w.dtype)
        return one, zero if scheme == "affine" else None, zero if scheme == "minmax" else None
    least = reduce_groups(np.minimum, w, granularity) + 0
    most = reduce_groups(np.maximum, w, granularity) + 0
    if convention in (None, "absmax"):
        return find_step(least, most, scheme, low, high)
    peak = np.maximum(-least, most)
    if convention == "absmax_half":
        return step_of(peak, w.dtype.type(high - low) / 2), None, None
    first = each_group(w, granularity, lambda group: group[np.abs(group).argmax()])
    step = step_of(peak, w.dtype.type(-low))
    return np.where(first > 0, -step, step), None, None


def _halving(scale):
    """Return the factor, exact, that keeps sums near the largest number finite."""
    return np.where(np.abs(scale) > np.finfo(scale.dtype).max / 2**17, 0.5, 1).astype(scale.dtype)


def _ratio(w, scale, minimum, granularity, reciprocal):
    scale = spread(scale, w.shape, granularity)
    factor = _halving(scale)
    base = factor * (0 if minimum is None else spread(minimum, w.shape, granularity))
    with np.errstate(over="ignore"):
        ratio = (factor * w - base) / (factor * scale)
        inverse = 1 / (factor * scale)
        if not reciprocal:
            return ratio
        finite = np.isfinite(inverse)
        return np.where(finite, (factor * w - base) * np.where(finite, inverse, 0), ratio)


def _round(x, rounding, seed):
    floor = np.floor(x)
    match rounding:
        case "half_even":
            return np.rint(x)
        case "half_away":
            return np.copysign(np.floor(np.abs(x)) + (np.abs(x) - np.floor(np.abs(x)) >= 0.5), x)
        case "half_up":
            return floor + (x - floor >= 0.5)
        case "trunc":
            return np.trunc(x)
        case "floor":
            return floor
    digits = np.finfo(x.dtype).nmant + 1
    u = (splitmix64(seed, x.size) >> np.uint64(64 - digits)).astype(x.dtype) * x.dtype.type(
        0.5**digits
    )
    return floor + (u.reshape(x.shape) < x - floor)


def _code_dtype(bits, signed):
    return f"{'int' if signed else 'uint'}{8 if bits <= 8 else 16}"
