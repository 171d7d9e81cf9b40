"""Codes of a step, and the step of a rate or an error: what `quantize_rate` is made of."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.grid import PerRow, PerTensor
from .._core.threads import get_num_threads
from .distortion import unit_of
from .entropy import BLOCK, entropy_encode, rows_of_block
from .rate_tables import cheapest_merge, class_counts, classes_of, rates_of, stream_bits

# Weights in steps reach so far; codes 4 farther.
LARGEST = 32763
# Weights of a sample, about.
SAMPLE = 262144
# Times that rates are learnt from codes which they led to.
ROUNDS = 1
# Bits of the mantissa of a step that is searched for: libraries of logarithms differ beyond.
STEP_BITS = 12
# Passes over a sample and over all weights that a search takes at most.
SAMPLE_TRIES, TRIES = 30, 10
# How near is near enough, relative bits and dB.
NEAR_BITS, NEAR_SQNR = 0.002, 0.02
# How much more bits than are asked for, relatively, count as met.
ACCURACY = 0.005
# Bytes of a stream but for tables, and of each of its blocks.
STREAM_BYTES, BLOCK_BYTES = 32, 44


@dataclass(frozen=True)
class Source:
    """Rows of weights, or a sample of them, and how they are quantized."""

    w: NDArray
    ratio: NDArray[np.float64]  # steps of rows, in units of the step: one, or one a row
    spread: NDArray[np.float64]  # of all rows, those left out of a sample too
    by: int  # how far apart the rows of a sample lie; 1 for all
    finest: float  # least step, of which no weight has more than `LARGEST`; 0 for zeros
    root: float  # root mean square
    states: int
    tradeoff: float

    def sample(self, size: int = SAMPLE) -> "Source":
        """Return evenly spaced rows, and columns of long ones; all of a small array."""
        rows, cols = self.w.shape
        across = max(-(-cols // BLOCK), 1)
        by = max(rows * -(-cols // across) // size, 1)
        some = np.ascontiguousarray(self.w[::by, ::across])
        ratio = self.ratio if len(self.ratio) == 1 else self.ratio[::by]
        return replace(self, w=some, ratio=ratio, by=by)

    def steps(self, step: float) -> NDArray:
        """Return the steps of the kernel; refuse those of which weights are too many."""
        with np.errstate(over="ignore", under="ignore"):
            steps = (step * self.ratio).astype(self.w.dtype)
        if not (self.finest <= step and np.all((steps > 0) & np.isfinite(steps))):
            raise ValueError(
                f"step must be at least {self.finest:.3g} for codes up to 32767, and in "
                f"the range of {self.w.dtype}, not {step:.3g}"
            )
        return steps

    def search_codes(
        self, step: float, classes: NDArray[np.int8], rates: NDArray, tradeoff: float
    ) -> tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.float64]]:
        """Return codes, counts of symbols by class and union, and three sums of each row."""
        rows, cols = self.w.shape
        block_rows = rows_of_block(cols)
        steps, some = self.steps(step), np.ascontiguousarray(classes[:: self.by])
        codes = np.empty(self.w.shape, np.int16)
        counts = np.empty((-(-rows // block_rows), *rates.shape), np.int64)
        sums = np.empty((rows, 3))
        _native.call(
            "quantize_rate", _native.KIND[self.w.dtype], self.w, steps, some, rates,
            self.w.dtype.type(tradeoff), self.states, block_rows, codes, counts, sums,
            get_num_threads(),
        )  # fmt: skip
        return codes, counts.sum(axis=0), sums

    def learn(self, step: float) -> NDArray[np.int64]:
        """Return counts of symbols by class and union: first those of plain codes, classes chosen.

        Rates of these lead to other codes, whose counts are returned.
        """
        rows = len(self.spread)
        parts = class_counts(rows)
        flat = np.zeros((parts[-1], 1 if self.states == 1 else 2, 256), self.w.dtype)
        counts = self.search_codes(step, classes_of(self.spread, parts[-1]), flat, 0)[1]
        size = self.w.size * rows // len(self.w)
        counts = cheapest_merge(counts, parts, size, self.w.size, rows)
        classes = classes_of(self.spread, len(counts))
        for _ in range(ROUNDS):
            rates = rates_of(counts, self.w.dtype)
            counts = self.search_codes(step, classes, rates, self.tradeoff)[1]
        return counts

    def quantize(self, step: float, counts: NDArray[np.int64]) -> "Found":
        """Return codes of the rates that counts of other codes tell."""
        classes, rates = classes_of(self.spread, len(counts)), rates_of(counts, self.w.dtype)
        codes, counts, sums = self.search_codes(step, classes, rates, self.tradeoff)
        return Found(self, step, codes, classes, counts, sums)

    def bits(self, counts: NDArray[np.int64], sample: "Source") -> int:
        """Return about the bits of stream and scales, of counts of a sample."""
        rows, cols = self.w.shape
        blocks = -(-rows // rows_of_block(cols))
        besides = self.w.itemsize * len(self.ratio) + STREAM_BYTES + BLOCK_BYTES * blocks
        return stream_bits(counts, self.w.size, sample.w.size, rows) + 8 * besides


@dataclass(frozen=True)
class Found:
    """What a pass over a source has found."""

    source: Source
    step: float
    codes: NDArray[np.int16]
    classes: NDArray[np.int8]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64] = field(repr=False)

    def sqnr(self) -> float:
        """Return the ratio of signal to noise, dB, after the gain of least squares."""
        weight = (self.source.ratio / self.source.ratio.max()) ** 2
        square, along, codes = self._sums()
        won = np.maximum(along, 0) ** 2 / np.where(codes > 0, codes, 1)
        signal = math.fsum(weight * square)
        noise = math.fsum(weight * np.maximum(square - won, 0))
        return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else math.inf

    def scale(self) -> NDArray:
        """Return steps times the gain of least squares: one, or one a row."""
        steps = self.source.steps(self.step)
        _, along, codes = self._sums()
        gain = np.where(codes > 0, np.maximum(along, 0) / np.where(codes > 0, codes, 1), 1)
        most = float(np.finfo(steps.dtype).max)
        return np.minimum(steps.astype(np.float64) * gain, most).astype(steps.dtype)

    def _sums(self) -> NDArray[np.float64]:
        """Return the three sums of what shares a scale: of all, or of each row."""
        if len(self.source.ratio) == len(self.sums):
            return self.sums.T
        return np.array([[math.fsum(column)] for column in self.sums.T])

    @cached_property
    def stream(self) -> NDArray[np.uint8]:
        """The codes in a stream."""
        codes = self.codes
        if codes.min() >= -128 and codes.max() <= 127:
            codes = codes.astype(np.int8)
        trellis = None if self.source.states == 1 else self.source.states
        return entropy_encode(codes, trellis=trellis, classes=self.classes.view(np.uint8))

    @property
    def bits_per_weight(self) -> float:
        """Bits of stream and scales, a weight."""
        scales = self.source.w.itemsize * len(self.source.ratio)
        return 8 * (self.stream.nbytes + scales) / self.codes.size


def source_of(w: NDArray, granularity: PerTensor | PerRow, states: int, tradeoff: float) -> Source:
    """Return the rows of an array with their spreads; refuse what is not finite."""
    rows = w.reshape(matrix_shape(w.shape))
    unit = unit_of(w)
    sums = np.zeros((len(rows), 3))
    if w.size:
        arguments = (_native.KIND[w.dtype], rows, unit, sums, get_num_threads())
        _native.call("measure_rows", *arguments, inputs={"w": w})
    square, spread, peak = sums.T
    mean = math.fsum(square) / max(len(square), 1)
    ratio = np.ones(1)
    if isinstance(granularity, PerRow):
        ratio = np.sqrt(square / mean) if mean > 0 else np.ones(len(square))
        ratio = np.where(ratio > 0, ratio, 1)
    reach = float((peak / ratio).max(initial=0))
    finest = max(reach / LARGEST / unit, math.ulp(0.0)) if reach else 0.0
    root = math.sqrt(mean / max(rows.shape[1], 1)) / unit
    return Source(rows, ratio, spread / ratio, 1, finest, root, states, tradeoff)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of an array as rows of its last axis."""
    return math.prod(shape[:-1]), shape[-1] if shape else 1


def find_step(source: Source, step: float) -> Found:
    """Return codes of a step."""
    return source.quantize(step, source.sample().learn(step))


def find_bits(source: Source, bits: float) -> Found:
    """Return the best codes whose stream has nearly the bits a weight, or fewer.

    Where no step has so few but those that make all codes 0, it is what comes nearest.
    """
    sample = source.sample()
    learn = cache(sample.learn)
    passes: dict[float, Found] = {}

    def of_sample(step: float) -> float:
        return source.bits(learn(step), sample) / source.w.size

    def of_all(step: float) -> float:
        passes[step] = source.quantize(step, learn(step))
        return passes[step].bits_per_weight

    near = bits * NEAR_BITS
    start = source.root * 2.0 ** (2.05 - bits) / (1 if source.states == 1 else 2)
    step, slope = _search(of_sample, bits, start, -1.0, source, near / 2, SAMPLE_TRIES)
    step, _ = _search(of_all, bits, step, slope, source, near, TRIES)
    most, nearest = bits * (1 + ACCURACY), passes[step]
    few = [x for x in passes.values() if x.bits_per_weight <= most and x.codes.any()]
    met = abs(nearest.bits_per_weight - bits) <= bits * ACCURACY
    return nearest if met or not few else max(few, key=Found.sqnr)


def find_sqnr(source: Source, sqnr: float) -> Found:
    """Return the codes of the fewest bits whose ratio of signal to noise is nearly so many dB.

    Where none reaches it, it is what comes nearest.
    """
    sample = source.sample()
    learn = cache(sample.learn)
    passes: dict[float, Found] = {}

    def of_sample(step: float) -> float:
        return sample.quantize(step, learn(step)).sqnr()

    def of_all(step: float) -> float:
        passes[step] = source.quantize(step, learn(step))
        return passes[step].sqnr()

    start = source.root * 2.0 ** (1.79 - sqnr / 6.02) / (1 if source.states == 1 else 2)
    step, slope = _search(of_sample, sqnr, start, -6.02, source, NEAR_SQNR / 2, SAMPLE_TRIES)
    step, _ = _search(of_all, sqnr, step, slope, source, NEAR_SQNR, TRIES)
    least, nearest = sqnr - NEAR_SQNR, passes[step]
    enough = [x for x in passes.values() if x.sqnr() >= least]
    met = abs(nearest.sqnr() - sqnr) <= NEAR_SQNR
    return nearest if met or not enough else min(enough, key=Found.sqnr)


def _search(
    value: Callable[[float], float],
    target: float,
    start: float,
    slope: float,
    source: Source,
    near: float,
    tries: int,
) -> tuple[float, float]:
    """Return the step whose value is nearest to the target, and the slope there.

    The value falls with the step. Secants in the logarithm of the step, within what is known of it.
    """
    limits = np.finfo(source.w.dtype)
    least = max(_rounded(source.finest, up=True), float(limits.smallest_subnormal))
    most = math.log2(limits.max) - math.log2(source.ratio.max()) - 0.01
    low, high = math.log2(least), min(math.log2(source.finest) + math.log2(LARGEST) + 2, most)
    at, expected, last = math.log2(start or least), slope, None
    known: dict[float, float] = {}
    for _ in range(tries):
        step = max(_rounded(2.0 ** min(max(at, low), high)), least)
        if step in known:
            break
        x, y = math.log2(step), value(step)
        known[step] = y
        if abs(y - target) <= near:
            break
        low, high = (x, high) if y > target else (low, x)
        secant = slope if last is None else (y - last[1]) / (x - last[0])
        if 8 * expected < secant < expected / 8:
            slope = secant
        last = x, y
        at = x + (target - y) / slope
        if not low < at < high:
            at = (low + high) / 2
    return min(known, key=lambda step: abs(known[step] - target)), slope


def _rounded(step: float, up: bool = False) -> float:
    """Return a step with a short mantissa."""
    mantissa, exponent = math.frexp(step)
    whole = mantissa * 2**STEP_BITS
    return math.ldexp(math.ceil(whole) if up else round(whole), exponent - STEP_BITS)
