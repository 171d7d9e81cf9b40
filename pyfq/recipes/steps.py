"""The steps of entropy-coded tensors that meet a budget.

How many bytes codes take is known when they are made, and the whole of a model is not made more
often than must be. So a sample of each tensor tells the entropy of plain codes at many steps, and
the first steps are those whose entropies meet the budget. Then samples are quantized as tensors
will be, until their bytes do. Then whole tensors are, which takes once or twice.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyfq._core.grid import PerRow
from pyfq.arrays.distortion import distortion
from pyfq.exchange.methods.coded import Coded
from pyfq.exchange.methods.rate import QuantizeRate

# Entries of a sample, and of what is looked at at a time.
_SAMPLE, _BLOCK = 32768, 1 << 18
# Binary logarithms of the steps, over the root of the mean square, that a sample is tried at.
_STEPS = tuple(np.arange(-6, 5.25, 0.5).tolist())
# The largest code, with some to spare for what a trellis adds.
_MOST = 32000
# Bytes of a stream, and of a block of 65536 codes, besides the codes.
_STREAM, _PART = 96, 40
# Real bytes may be less than those asked for by this part, and are meant to be in the middle.
_SLACK = 0.005
# Tries with samples, how near to what is looked for is near enough, and about how many bytes fewer
# they have, for tables know the codes that they were learnt from.
_SAMPLE_TRIES, _NEAR, _FEWER = 5, 0.001, 0.007
# Tries with whole tensors; two do for models of a million weights.
_MOST_TRIES = 8
# Bits of the mantissa of a step: what sums in another order change is behind these.
_DIGITS = 12


@dataclass(frozen=True)
class Sketch:
    """What a tensor and a sample of it tell of its codes.

    Attributes
    ----------
    rms : float
        Root of the mean square of its weights.
    peak : float
        The largest magnitude over that; over that of its row where steps are a row's.
    bits : tuple of float
        Entropy of the codes of the sample, in bits a code, at the steps of this module.
    """

    rms: float
    peak: float
    bits: tuple[float, ...]

    def settings(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"rms": self.rms, "peak": self.peak, "bits": list(self.bits)}

    def bits_at(self, step: float, rate: QuantizeRate) -> float:
        """Return the bits of a code at a step; a trellis has codes of every second step."""
        if not self.rms:
            return 0.0
        x = math.log2(step / self.rms) + (rate.trellis is not None)
        return float(np.interp(x, _STEPS, self.bits)) + max(_STEPS[0] - x, 0.0)


def read_sketch(settings: Mapping[str, Any]) -> Sketch:
    """Return the sketch that `Sketch.settings` wrote."""
    return Sketch(settings["rms"], settings["peak"], tuple(settings["bits"]))


def sketch(w: NDArray, rate: QuantizeRate) -> Sketch:
    """Return what a tensor, whose rows lie along its last axis, and a sample of it tell."""
    rows = w.reshape(-1, w.shape[-1] if w.ndim else 1)
    by_row = isinstance(rate.granularity, PerRow)
    squares, peak = 0.0, 0.0
    for block in _blocks(rows):
        found = distortion(block, np.zeros_like(block))  # which refuses what is not finite
        squares += found.mse * block.size
        peaks = np.abs(block).max(axis=1, keepdims=True) if by_row else found.max_abs
        peak = max(peak, float(np.max(peaks / _rms_of_rows(block) if by_row else peaks)))
    rms = math.sqrt(squares / w.size)
    if math.isinf(rms):
        raise ValueError("its numbers must be smaller, so that their squares are finite")
    if not rms:
        return Sketch(0.0, 0.0, (0.0,) * len(_STEPS))
    cols = rows.shape[1]
    count = min(max(_SAMPLE // cols, 1), len(rows))
    places = np.linspace(0, len(rows) - 1, count).astype(np.int64)
    sample = rows[places, :_SAMPLE]
    sample = sample / (_rms_of_rows(rows[places]) if by_row else rms)
    bits = tuple(_entropy(sample, 2.0**step) for step in _STEPS)
    return Sketch(rms, peak if by_row else peak / rms, bits)


def _blocks(rows: NDArray) -> Iterator[NDArray]:
    count = max(_BLOCK // rows.shape[1], 1)
    for first in range(0, len(rows), count):
        yield rows[first : first + count]


def _rms_of_rows(rows: NDArray) -> NDArray[np.float64]:
    """Return the root of the mean square of each row, 1 for one of zeros, `(rows, 1)`."""
    rms = np.sqrt(np.square(rows, dtype=np.float64).mean(axis=1, keepdims=True))
    return np.where(rms > 0, rms, 1.0)


def _entropy(sample: NDArray, step: float) -> float:
    codes = np.clip(np.rint(sample / step), -_MOST, _MOST).astype(np.int64).reshape(-1)
    counts = np.bincount(codes - codes.min())
    parts = counts[counts > 0] / codes.size
    return float(-(parts * np.log2(parts)).sum()) + 0.0


class OpenTensor(NamedTuple):
    """A tensor whose step a budget is to choose.

    Attributes
    ----------
    rate : QuantizeRate
        How it becomes codes.
    sketch : Sketch
        What is known of it.
    size : int
        Its weights.
    most : int
        Bytes of a copy, which it becomes where codes take no less.
    scales : int
        Bytes of its scales.
    share : float
        Its step is this times the step of all.
    """

    rate: QuantizeRate
    sketch: Sketch
    size: int
    most: int
    scales: int
    share: float

    def step(self, base: float) -> float:
        """Return the step at a step of all, of few digits and such that codes fit int16."""
        if not self.sketch.rms:
            return 1.0
        least = self.sketch.rms * self.sketch.peak / _MOST
        mantissa, exponent = math.frexp(max(base * self.share, least))
        return math.ldexp(round(math.ldexp(mantissa, _DIGITS)), exponent - _DIGITS)

    def expected(self, step: float) -> int:
        """Return the bytes of its stream that the entropy of a sample tells."""
        bits = self.sketch.bits_at(step, self.rate)
        return math.ceil(self.size * bits / 8) + _STREAM + _PART * -(-self.size // 65536)

    def nbytes(self, stream: float) -> float:
        """Return the bytes of a tensor whose stream has so many."""
        return min(stream + self.scales, self.most)


def choose_steps(
    tensors: Mapping[str, OpenTensor],
    capacity: float,
    of_sample: Callable[[str, float], Coded],
    of_all: Callable[[str, float], Coded],
) -> tuple[dict[str, Coded] | None, float]:
    """Return codes whose real bytes are 99.5 ... 100 % of what a budget has for them.

    Parameters
    ----------
    tensors : mapping of str to OpenTensor
        Those whose steps are to be chosen, at least one.
    capacity : float
        Bytes for all of them.
    of_sample, of_all : callable
        Tell about what the codes of a tensor are, and make them; called with its name and a step.

    Returns
    -------
    dict of str to Coded or None
        What the codes of each turned out to be; None if no step was found that is large enough.
        More than 0.5 % are left over where no step makes codes larger, or steps are too coarse.
    float
        The least bytes that were seen.
    """
    search = _Search(tensors, max((1 - _SLACK / 2) * capacity, 1.0))
    for _ in range(_SAMPLE_TRIES):
        used = (1 + _FEWER) * search.used(search.codes(of_sample))
        if abs(used / search.aim - 1) < _NEAR:
            break
        search.learn(used)
    search.begin_anew()
    best, its_bytes, least = None, -1.0, math.inf
    for _ in range(_MOST_TRIES):
        found = search.codes(of_all)
        used = search.used(found)
        least = min(least, used)
        if used <= capacity and used > its_bytes:
            best, its_bytes = found, used
        if (1 - _SLACK) * capacity <= used <= capacity:
            break
        search.learn(used)
        if search.is_done:
            break
    return best, least


class _Search:
    """A search for the logarithm of the step of all: secants within what is known of it.

    Attributes
    ----------
    aim : float
        The bytes looked for.
    base : float
        The step of all that comes next, as its binary logarithm.
    slope : float
        Slope of the logarithm of bytes there.
    """

    def __init__(self, tensors: Mapping[str, OpenTensor], aim: float) -> None:
        self.aim = aim
        self._tensors = tensors
        self._limits = _ends(tensors.values())
        self.begin_anew()
        low, high = self._limits
        while high - low > 2.0**-_DIGITS:
            middle = (low + high) / 2
            low, high = (low, middle) if self._expected(middle) <= aim else (middle, high)
        self.base = high
        self.slope = math.log(self._expected(high + 0.25) / self._expected(high - 0.25)) / 0.5

    def begin_anew(self) -> None:
        """Keep the step and the slope, but no bytes: they are of other codes."""
        self._low, self._high = self._limits
        self._last: tuple[float, float] | None = None

    @property
    def is_done(self) -> bool:
        """Whether no other step is left to try."""
        return self._high - self._low < 2.0 ** (1 - _DIGITS)

    def codes(self, coded: Callable[[str, float], Coded]) -> dict[str, Coded]:
        """Return what codes of all tensors are at the step of all."""
        base = 2.0**self.base
        return {name: coded(name, tensor.step(base)) for name, tensor in self._tensors.items()}

    def used(self, found: Mapping[str, Coded]) -> float:
        """Return the bytes of tensors with such codes."""
        return sum(self._tensors[name].nbytes(coded.nbytes) for name, coded in found.items())

    def learn(self, used: float) -> None:
        """Choose the next step by the bytes at this one."""
        at, log_used = self.base, math.log(used)
        if used > self.aim:
            self._low = at
        else:
            self._high = at
        if self._last is not None and self._last[0] != at:
            slope = (log_used - self._last[1]) / (at - self._last[0])
            if 8 * self.slope < slope < self.slope / 8:
                self.slope = slope
        self._last = at, log_used
        if self.slope < 0:
            self.base = at + (math.log(self.aim) - log_used) / self.slope
        if not self._low < self.base < self._high:
            self.base = (self._low + self._high) / 2

    def _expected(self, base: float) -> float:
        """Return the bytes that entropies of samples tell."""
        return sum(
            tensor.nbytes(tensor.expected(tensor.step(2.0**base)))
            for tensor in self._tensors.values()
        )


def _ends(tensors: Iterable[OpenTensor]) -> tuple[float, float]:
    """Return the logarithms of steps of all at which no codes are larger, and all are 0."""
    known = [tensor for tensor in tensors if tensor.sketch.rms]
    if not known:
        return 0.0, 0.0
    peaks = [math.log2(one.sketch.rms * one.sketch.peak / one.share) for one in known]
    return min(peaks) - math.log2(_MOST), max(peaks) + 2
