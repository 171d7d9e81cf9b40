"""Reference of ``pyfq.quantize(..., calibration=...)``: scales that lose less than the range's.

All is computed for many groups at a time: arrays are (groups, entries), parameters (groups, 1).
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ...arrays.ranges import LAPLACE_RATIO, NORMAL_RATIO, laplace_clip, normal_clip
from .distortion import lane_sum
from .grouping import as_rows
from .step import find_step

BLOCK, RUN, LANES = 2048, 32, 16
CLIPPED = range(80)
STARTS = (0, 5, 10, 15, 20, 25, 30, 40, 50)
FITS, SHRINKINGS, FIRST_WEIGHT, KAPPA = 8, 20, 1.0, 1.122
ROOT = (0.999999919, -0.0999817917, 0.0550003325, -0.0393707709, 0.0310450327, -0.0165128828)


@dataclass(frozen=True, eq=False)
class Codes:
    """What codes stand for: ``base + (code - zero) * step``, codes from `first` to `last`."""

    base: NDArray
    step: NDArray
    zero: NDArray
    first: int
    last: int

    def rest(self, x):
        """Return codes less their zero, and what is left of `x`, in steps."""
        t = (x - self.base) * (1 / self.step)
        code = np.rint(np.clip(t, self.first - self.zero, self.last - self.zero))
        return code, t - code


def calibrate(w, bits, method, scheme, granularity, first, last, percentile=None):
    """Return scale, zero point and minimum of each group; the latter two 0 where absent."""
    rows, grid = as_rows(w, granularity)
    whole = grid.cols // grid.group_size * grid.group_size
    parts = [rows[:, :whole].reshape(-1, grid.group_size), rows[:, whole:]]
    found = []
    for part in parts:
        if part.size:
            values = of_groups(part, bits, method, scheme, first, last, percentile)
            found.append([value.reshape(grid.rows, -1) for value in values])
    return tuple(np.hstack(each).reshape(grid.parameter_shape) for each in zip(*found, strict=True))


def of_groups(w, bits, method, scheme, first, last, percentile):
    """Return the same for groups of one length."""
    low, high = w.min(axis=1, keepdims=True) + 0, w.max(axis=1, keepdims=True) + 0
    plain = grid_of(low, high, scheme, first, last)
    x, unit = near_one(w, np.maximum(-low, high))
    with np.errstate(all="ignore"):
        match method:
            case "percentile":
                ends = by_percentile(w, scheme, percentile)
                found = grid_of(*ends, scheme, first, last)
            case "mse":
                best, _ = best_clip(x, low * unit, high * unit, CLIPPED, plain, scheme)
                found = clipped(low, high, best, plain, scheme)
            case "als":
                found = als(x, unit, low, high, plain, scheme)
            case "aciq":
                ends = by_aciq(x, unit, low, high, bits, scheme)
                found = grid_of(*ends, scheme, first, last)
            case "hqq":
                found = hqq(x, unit, low, high, plain, scheme)
    found = chosen(low < high, found, plain)  # constant groups are as they are
    return found.step, found.zero, found.base


def grid_of(low, high, scheme, first, last):
    """Return what `quantize` has for a range."""
    step, zero, base = find_step(low, high, scheme, first, last)
    nothing = np.zeros_like(step)
    return Codes(
        nothing if base is None else base, step, nothing if zero is None else zero, first, last
    )


def near_one(w, peak):
    """Return groups by the power of two that brings their peak near 1, and that power."""
    most = -np.finfo(w.dtype).minexp
    unit = np.ldexp(w.dtype.type(1), np.clip(-np.frexp(peak)[1], -most, most))
    return w * unit, unit


def clipped(low, high, percent, plain, scheme):
    """Return what codes stand for after clipping; `percent` is (groups, 1) or a number."""
    part = np.asarray(percent, low.dtype) / low.dtype.type(100)
    if scheme == "minmax":
        half = high / 2 - low / 2
        low, high = low + part * half, high - part * half
    else:
        low, high = (1 - part) * low, (1 - part) * high
    return grid_of(low, high, scheme, plain.first, plain.last)


def best_clip(x, low, high, percents, plain, scheme):
    """Return the percent clipped with the least squares, first of equals, and what codes mean.

    Ends are near 1, where the step of a clipped range is a part of that of the whole.
    """
    whole = grid_of(low, high, scheme, plain.first, plain.last)

    def after(percent):
        part = np.asarray(percent, low.dtype) / low.dtype.type(100)
        half = high / 2 - low / 2 if scheme == "minmax" else 0
        return replace(whole, step=(1 - part) * whole.step, base=whole.base + part * half)

    grids = [after(percent) for percent in percents]
    errors = [squares(total(np.square(grid.rest(x)[1])), grid.step) for grid in grids]
    best = np.argmin(np.hstack(errors), axis=1)[:, None]
    percent = np.array(percents)[best]
    return percent, after(percent)


def squares(total, step):
    """Return sums of squares that were in steps."""
    return total * step.astype(np.float64) * step.astype(np.float64)


def als(x, unit, low, high, plain, scheme):
    """Fit codes, and their scale and offset, by turns."""
    _, grid = best_clip(x, low * unit, high * unit, STARTS, plain, scheme)
    found, least = grid, np.full(low.shape, np.inf)
    active = np.full(low.shape, True)
    for _ in range(FITS + 1):
        c, u = grid.rest(x)
        sums = [total(y) for y in (u * u, c, c * c, u, c * u)]
        error = squares(sums[0], grid.step)
        active &= error < least
        least = np.where(active, error, least)
        found = chosen(active, grid, found)
        grid, fits = refit(grid, sums, x.shape[1], scheme)
        active &= fits
        grid = chosen(active, grid, found)
    largest = np.finfo(x.dtype).max
    step = np.minimum(found.step / unit, largest)
    return replace(found, step=step, base=np.clip(found.base / unit, -largest, largest))


def refit(grid, sums, n, scheme):
    """Return what fits given codes best, and whether there is such a thing."""
    _, c, cc, u, cu = sums
    zero, base, one = grid.zero.astype(np.float64), grid.base, np.ones_like(c)
    if scheme == "symmetric":
        above, below, fits = cc + cu, cc, cc > 0
    else:
        spread = n * cc - c * c
        b = np.where(spread > 0, (n * cu - c * u) / spread, 0.0)
        a = (u - b * c) / n
        fits = 1 + b > 0
        if scheme == "minmax":
            base = (base.astype(np.float64) + grid.step.astype(np.float64) * a).astype(base.dtype)
            above, below = 1 + b, one
        else:
            new = np.clip(zero - a / (1 + b), 0.0, float(grid.last))
            new = np.rint(new.astype(base.dtype)).astype(np.float64)
            moved, zero = zero - new, new
            above = ((cc + moved * c) + cu) + moved * u
            below = (cc + 2 * moved * c) + n * moved * moved
            fits &= below > 0
    step = (grid.step.astype(np.float64) * (above / below)).astype(grid.step.dtype)
    return replace(grid, base=base, step=step, zero=zero.astype(base.dtype)), fits & (step > 0)


def chosen(which, grid, other):
    """Return the first where `which`, else the other."""
    parts = {
        name: np.where(which, getattr(grid, name), getattr(other, name))
        for name in ("base", "step", "zero")
    }
    return replace(grid, **parts)


def by_percentile(w, scheme, percentile):
    """Return the range that holds `percentile` of the entries, `inverted_cdf` of both ends."""
    part, n = Fraction(str(percentile)) / 100, w.shape[1]
    if scheme == "symmetric":
        peak = np.sort(np.abs(w), axis=1)[:, [math.ceil(part * n) - 1]]
        return -peak, peak
    rank, inner = math.ceil((1 + part) / 2 * n), np.sort(w, axis=1)
    return inner[:, [n - rank]] + 0, inner[:, [rank - 1]] + 0


def by_aciq(x, unit, low, high, bits, scheme):
    """Return the range that is best for a normal or a Laplace distribution."""
    both = (low < 0) & (high > 0)
    centred = np.full(low.shape, scheme == "minmax") | (both if scheme == "affine" else False)
    finer = np.full(low.shape, scheme == "affine") & ~centred
    n = float(x.shape[1])
    zeros = 0.0 if scheme == "minmax" else n - total((x != 0).astype(x.dtype))
    middle = np.where(centred, total(x) / (n - zeros), 0.0).astype(x.dtype)
    d, mean = x - middle, middle.astype(np.float64)
    beta = (total(np.abs(d)) - zeros * np.abs(mean)) / (n - zeros)
    sigma = np.sqrt(np.maximum(total(d * d) - zeros * (mean * mean), 0.0) / (n - zeros))
    normal = np.where(finer, normal_clip(bits + 1), normal_clip(bits)) * sigma
    laplace = np.where(finer, laplace_clip(bits + 1), laplace_clip(bits)) * beta
    clip = np.where(beta > (NORMAL_RATIO + LAPLACE_RATIO) / 2 * sigma, normal, laplace)
    ends = ((mean - clip).astype(x.dtype) / unit, (mean + clip).astype(x.dtype) / unit)
    return np.maximum(ends[0], low), np.minimum(ends[1], high)


def hqq(x, unit, low, high, plain, scheme):
    """Move the minimum by half-quadratic steps; affine: the zero point, rounded at the end."""
    grid = grid_of(low * unit, high * unit, scheme, plain.first, plain.last)
    if scheme == "affine":
        grid = replace(grid, base=-grid.zero * grid.step, zero=np.zeros_like(grid.zero))
    best, least, weight = grid.base, np.full(low.shape, np.inf), FIRST_WEIGHT
    start = None
    for _ in range(SHRINKINGS + 1):
        norm, taken = shrunk(x, grid, weight)
        start = norm if start is None else start
        best, least = np.where(norm < least, grid.base, best), np.minimum(norm, least)
        moved = grid.step.astype(np.float64) * (taken / x.shape[1])
        grid = replace(grid, base=(grid.base.astype(np.float64) + moved).astype(x.dtype))
        weight = weight * KAPPA
    if scheme == "minmax":
        largest = np.finfo(x.dtype).max
        minimum = np.clip(best / unit, -largest, largest)
        return replace(plain, base=np.where(least < start, minimum, plain.base))
    zero = np.rint(np.clip(-best / grid.step, 0, plain.last)).astype(x.dtype)
    norm, _ = shrunk(x, replace(grid, base=-zero * grid.step), weight)
    return replace(plain, zero=np.where(norm < start, zero, plain.zero))


def shrunk(x, grid, weight):
    """Return the sums of ``|u|**0.7`` and of what shrinking takes off u."""
    u = grid.rest(x)[1]
    a = np.abs(u)
    power = to_minus_0_3(a)
    taken = np.copysign(np.minimum(a, power * x.dtype.type(1 / weight)), u)
    return total(a * power), total(taken)


def to_minus_0_3(a):
    """Return ``a ** -0.3`` to some 2e-6, where a is at least 1e-9.

    From a guess y that takes the bits of a for its logarithm, and ``r = y**10 * a**3`` near 1.
    """
    real, bits = a.dtype.type, np.dtype(f"i{a.dtype.itemsize}").type
    fraction = np.finfo(a.dtype).nmant
    last = bits(8 * a.dtype.itemsize - 1 - fraction)
    lift, one = real(2.0**fraction), int(np.ones(1, a.dtype).view(bits)[0] >> last)
    offset = lift + real(int(1.3 * one - 0.055 * 2.0 ** (fraction - int(last))))
    x = np.maximum(a, real(1e-9))
    logarithm = (x.view(bits) >> last).astype(a.dtype)
    y = (((logarithm * real(-0.3) + offset) - lift).astype(bits) << last).view(a.dtype)
    y2 = y * y
    y8 = (y2 * y2) * (y2 * y2)
    x = (y8 * y2) * ((x * x) * x) - real(1)
    y2 = x * x
    c = [real(value) for value in ROOT]
    return y * ((c[0] + x * c[1]) + y2 * ((c[2] + x * c[3]) + y2 * (c[4] + x * c[5])))


def total(y):
    """Sum each group: runs of 32 in lanes of their own dtype, blocks of 2048 in float64."""
    n = y.shape[1]
    padded = np.zeros((len(y), -(-n // RUN) * RUN), y.dtype)
    padded[:, :n] = y
    runs = padded.reshape(len(y), -1, RUN // LANES, LANES)
    lanes = runs[:, :, 0]
    for i in range(1, RUN // LANES):
        lanes = lanes + runs[:, :, i]
    return block_sum(lanes.reshape(len(y), -1).astype(np.float64), BLOCK // RUN * LANES)[:, None]


def block_sum(y, block=BLOCK):
    """Sum each group in float64: blocks in lanes, and these sums in order."""
    sums = lane_sum(y[:, :block])
    for start in range(block, y.shape[1], block):
        sums = sums + lane_sum(y[:, start : start + block])
    return sums
