"""Where to clip what a histogram holds, so that its codes lose least."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Signs = Literal["symmetric", "affine"]
Range = tuple[float, float]

# Each clip of the grid is this part of the one before it; the best is then refined by as many steps
# between its neighbours.
RATIO = 0.97
REFINED = 16
# Candidates of `entropy_range` that are computed at a time.
BLOCK = 256
# E|x| / sqrt(E x**2) of a normal and of a Laplace distribution: nearer to which is ACIQ's choice.
NORMAL_RATIO = math.sqrt(2 / math.pi)
LAPLACE_RATIO = math.sqrt(0.5)


@dataclass(frozen=True, eq=False)
class Histogram:
    """What was seen of one channel: zeros apart, all else in bins of one width from 0 up and down.

    Attributes
    ----------
    counts : (2 * bins + 1,) int64
        Entry ``bins`` counts zeros, entry ``bins + 1 + t`` what lies in ``[t, t + 1) * width``, and
        entry ``bins - 1 - t`` the same of the other sign.
    width : float
        A power of two.
    low, high : float
        The least and the largest value seen.
    """

    counts: NDArray[np.int64]
    width: float
    low: float
    high: float

    @property
    def bins(self) -> int:
        """Bins on each side of 0."""
        return self.counts.size // 2

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high, 0.0)

    @property
    def negative(self) -> NDArray[np.int64]:
        """Counts of negative values, by magnitude."""
        return self.counts[: self.bins][::-1]

    @property
    def positive(self) -> NDArray[np.int64]:
        """Counts of positive values."""
        return self.counts[self.bins + 1 :]

    @property
    def magnitudes(self) -> NDArray[np.int64]:
        """Counts of magnitudes, zeros left out."""
        return self.negative + self.positive

    def mirrored(self) -> "Histogram":
        """Return the histogram of the negatives of all values."""
        return Histogram(self.counts[::-1], self.width, -self.high, -self.low)


def percentile_range(seen: Histogram, scheme: Signs, percentile: float) -> Range:
    """Return the range that holds `percentile` of what was seen.

    Symmetric: that percentile of the magnitudes. Affine: half of the rest is left out on each side.

    Parameters
    ----------
    seen : Histogram
        At least one entry.
    scheme : "symmetric" or "affine"
        Whether the range is symmetric.
    percentile : float
        More than 0, at most 100.

    Returns
    -------
    tuple of float
        Least and largest value.
    """
    part = Fraction(str(percentile)) / 100
    if scheme == "symmetric":
        counts = np.append(seen.counts[seen.bins], seen.magnitudes)
        peak = min(_value_at(counts, part, 0) * seen.width, seen.peak)
        return -peak, peak
    part = (1 + part) / 2
    low, high = (
        min(_value_at(side.counts, part, side.bins) * side.width, side.high)
        for side in (seen.mirrored(), seen)
    )
    return 0.0 - low, high


def _value_at(counts: NDArray[np.int64], part: Fraction, zero: int) -> float:
    """Return what `part` of all entries do not exceed, in widths; `zero` is the bin of zeros.

    That is the ``ceil(part * n)``-th of n entries. The c entries of its bin are taken to divide the
    bin evenly, the last at its upper end.
    """
    below = np.cumsum(counts)
    rank = math.ceil(part * int(below[-1]))
    at = int(np.searchsorted(below, rank))
    if at == zero:
        return 0.0
    upper = at - zero + (at < zero)  # bins beside that of zeros touch 0
    return upper - int(below[at] - rank) / int(counts[at])


def entropy_range(seen: Histogram, scheme: Signs, bits: int) -> Range:
    r"""Return the range whose codes have the distribution closest to what was seen.

    For each number i of bins of magnitudes, P is what the first i hold, with all that lies beyond
    added to the last of them, and Q what the first i hold, divided into as many levels as there are
    codes, each level spread evenly over those of its bins that hold anything. The range is i
    bins for the least :math:`\sum P \log (P / Q)`; of equal ones the largest. Zeros are in neither:
    their code is exact.

    Parameters
    ----------
    seen : Histogram
        At least one entry.
    scheme : "symmetric" or "affine"
        Scheme of the codes. With affine codes values of one sign have all levels, values of both
        signs half of them each, and the range is no larger than what was seen.
    bits : int
        Bits of a code.

    Returns
    -------
    tuple of float
        Least and largest value.

    References
    ----------
    Migacz 2017, 8-bit inference with TensorRT, GTC.
    """
    both = seen.low < 0 < seen.high
    levels = 2 ** (bits if scheme == "affine" and not both else bits - 1)
    if 4 * levels > seen.bins:
        raise ValueError(
            f"bins must be at least {4 * levels} for the {levels} levels of method 'entropy' at "
            f"bits={bits}, not {seen.bins}"
        )
    counts = np.trim_zeros(seen.magnitudes, "b")
    peak = seen.peak
    if counts.size > levels:
        divergence = divergences(counts, levels)
        first_of_last = divergence.size - 1 - int(np.argmin(divergence[::-1]))
        kept = levels + first_of_last
        peak = peak if kept == counts.size else kept * seen.width
    return _symmetric(peak) if scheme == "symmetric" else _within(seen, -peak, peak)


def divergences(counts: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Return the divergence of `entropy_range` for `levels`, ``levels + 1``, ... all bins, in nats.

    Sums over bins are differences of running sums, so that each candidate costs one step a level.
    """
    held = counts > 0
    total = int(counts.sum())
    plogp = np.concatenate([[0.0], np.cumsum(_xlogx(counts))])
    below, filled = (np.concatenate([[0], np.cumsum(x)]) for x in (counts, held))
    parts = []
    for first in range(levels, counts.size + 1, BLOCK):
        i = np.arange(first, min(first + BLOCK, counts.size + 1))
        starts = -(-i[:, None] * np.arange(levels + 1) // levels)
        mass, bins = np.diff(below[starts], axis=1), np.diff(filled[starts], axis=1)
        beyond = total - below[i]
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.where(mass > 0, np.log(mass / bins), 0.0)  # log Q, but for the norm of Q
            p = plogp[i - 1] + _xlogx(counts[i - 1] + beyond)
            q = (mass * level).sum(axis=1) + beyond * level[:, -1]
            found = (p - q) / total + np.log(below[i] / total)
        parts.append(np.where(held[i - 1] | (beyond == 0), found, np.inf))
    return np.concatenate(parts)


def _xlogx(x: NDArray[np.int64]) -> NDArray[np.float64]:
    return x * np.log(np.maximum(x, 1))


def mse_range(seen: Histogram, scheme: Signs, bits: int) -> Range:
    """Return the range whose codes are closest to what was seen, in the mean square.

    Entries are taken to lie evenly within their bin, over which the squared error of rounding and
    clipping is integrated. Ranges are what was seen, and that made smaller by 3 % again and again,
    down to one bin; the best is refined. Affine: both ends at once, then each for itself.

    Parameters
    ----------
    seen : Histogram
        At least one entry.
    scheme : "symmetric" or "affine"
        Codes are ``-(2**(bits-1) - 1) ... 2**(bits-1) - 1``, or ``0 ... 2**bits - 1`` with an
        integer zero point.
    bits : int
        Bits of a code.

    Returns
    -------
    tuple of float
        Least and largest value.
    """
    if not seen.peak:
        return 0.0, 0.0
    if scheme == "symmetric":
        counts = np.trim_zeros(seen.magnitudes, "b").astype(np.float64)
        edges = np.arange(counts.size + 1.0)
        most = 2 ** (bits - 1) - 1
        peak = _best(
            seen.peak / seen.width,
            1.0,
            lambda peak: _squared_error(counts, edges, peak / most, -most, most),
        )
        return _symmetric(peak * seen.width)
    first, last = np.flatnonzero(seen.counts)[[0, -1]]
    counts = seen.counts[first : last + 1].astype(np.float64)
    edges = np.concatenate([np.arange(-seen.bins, 1.0), np.arange(seen.bins + 1.0)])
    edges = edges[first : last + 2]
    codes = 2**bits - 1

    def error(low: float, high: float) -> float:
        step = (high - low) / codes
        zero = np.rint(-low / step)
        return _squared_error(counts, edges, step, -zero, codes - zero)

    low, high = min(seen.low, 0.0) / seen.width, max(seen.high, 0.0) / seen.width
    part = _best(1.0, 1 / max(high - low, 1.0), lambda part: error(part * low, part * high))
    least, most = part * low, part * high
    if low < 0 < high:
        least = -_best(-low, 1.0, lambda end: error(-end, most))
        most = _best(high, 1.0, lambda end: error(least, end))
    return least * seen.width, most * seen.width


def _best(largest: float, least: float, error: Callable[[float], float]) -> float:
    """Return where the error is least between `largest` and `least`, on a grid and a finer one."""
    steps = max(math.ceil(math.log(least / largest) / math.log(RATIO)), 0)
    grid = (largest * RATIO ** np.arange(steps + 1)).tolist()
    at = min(grid, key=error)
    finer = np.linspace(min(at / RATIO, largest), at * RATIO, REFINED)
    return min([at, *finer.tolist()], key=error)


def _squared_error(
    counts: NDArray[np.float64], edges: NDArray[np.float64], step: float, least: float, most: float
) -> float:
    r"""Return the sum of squared errors of ``step * clip(round(x / step), least, most)``.

    With :math:`u = x - c\,s` the integral of :math:`u^2` is :math:`c\,s^3 / 12 + u^3 / 3`.
    """
    code = np.minimum(np.maximum(np.rint(edges / step), least), most)
    u = edges - code * step
    integral = code * (step**3 / 12) + u * u * u / 3
    return float(counts @ (integral[1:] - integral[:-1]))


def aciq_range(seen: Histogram, scheme: Signs, bits: int) -> Range:
    r"""Return the range that is best for the normal or Laplace distribution that fits.

    .. math::
        \text{Laplace:} \quad \frac{\alpha}{\beta} e^{\alpha / \beta} = 3 \cdot 4^M, \qquad
        \text{normal:} \quad
        \varphi(a) - a\,Q(a) = \frac{a}{6 \cdot 4^M}, \; a = \frac{\alpha}{\sigma}

    With :math:`\beta` the mean of :math:`|x - \mu|`, :math:`\sigma` the standard deviation, and M
    the bits, one more for affine codes of values of one sign, which all codes are for. The Laplace
    distribution is taken if :math:`\beta / \sigma` is nearer to its :math:`\sqrt{1/2}` than to
    :math:`\sqrt{2/\pi}`. Zeros are left out: their code is exact. Moments are those of the middles
    of bins.

    Parameters
    ----------
    seen : Histogram
        At least one entry.
    scheme : "symmetric" or "affine"
        Symmetric codes, and values of one sign, have :math:`\mu = 0`.
    bits : int
        Bits of a code.

    Returns
    -------
    tuple of float
        :math:`\mu \pm \alpha`, no more than what was seen.

    References
    ----------
    Banner et al. 2018, ACIQ, arXiv 1810.05723.
    """
    both = seen.low < 0 < seen.high
    counts = np.concatenate([seen.counts[: seen.bins], seen.positive])
    middles = np.arange(-seen.bins, seen.bins) + 0.5
    n = int(counts.sum())
    if not n:
        return 0.0, 0.0
    mean = float(counts @ middles) / n if scheme == "affine" and both else 0.0
    beta = float(counts @ np.abs(middles - mean)) / n
    sigma = math.sqrt(float(counts @ (middles - mean) ** 2) / n)
    levels = bits + (scheme == "affine" and not both)
    if beta > (NORMAL_RATIO + LAPLACE_RATIO) / 2 * sigma:
        clip = normal_clip(levels) * sigma
    else:
        clip = laplace_clip(levels) * beta
    if scheme == "symmetric":
        return _symmetric(min(clip * seen.width, seen.peak))
    return _within(seen, (mean - clip) * seen.width, (mean + clip) * seen.width)


def normal_clip(bits: int) -> float:
    """Return the best clip of a normal distribution at ``2**bits`` levels, in deviations."""

    def excess(a: float) -> float:
        density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
        return a / (6 * 4.0**bits) - (density - a * math.erfc(a / math.sqrt(2)) / 2)

    return _root(excess, 10.0)


def laplace_clip(bits: int) -> float:
    """Return the best clip of a Laplace distribution at ``2**bits`` levels, in mean magnitudes."""
    return _root(lambda a: a + math.log(a) - math.log(3) - bits * math.log(4), 40.0)


def _root(f: Callable[[float], float], high: float) -> float:
    """Return where `f`, which rises, is 0, between 0 and `high`, by bisection to the last bit."""
    low = 0.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        low, high = (low, middle) if f(middle) > 0 else (middle, high)


def _symmetric(peak: float) -> Range:
    return -peak, peak


def _within(seen: Histogram, low: float, high: float) -> Range:
    return max(low, seen.low), min(high, seen.high)
