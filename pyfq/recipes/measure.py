"""What only the data of a tensor tells: its errors at widths, its rank, the bytes of its codes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfq._core.grid import PerTensor
from pyfq.arrays.allocate import Trial
from pyfq.arrays.distortion import distortion
from pyfq.arrays.entropy import HEADER_BYTES as LEAST_STREAM
from pyfq.arrays.rate import estimate_rate
from pyfq.exchange.floats import rounded, widen
from pyfq.exchange.methods.coded import Coded
from pyfq.exchange.methods.rate import QuantizeRate
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import TensorPlan, declare, reals
from pyfq.recipes.declare import naming, plan_tensor
from pyfq.recipes.make import by_rows, kept_floats, make, prune
from pyfq.recipes.recipe import Budget
from pyfq.recipes.steps import Sketch, read_sketch, sketch
from pyfq.recipes.streams import Streams

# Weights of a sample.
_SAMPLE = 32768


@dataclass(frozen=True)
class Finding:
    """What the first pass found of a tensor.

    Attributes
    ----------
    rank : int or None
        The rank that an energy or a tolerance gives, if its rule asks for one.
    trials : tuple of Trial
        Bits, bytes of all parts, and error at each width, if its rule asks for bits of a budget.
    coded : Coded or None
        What its stream turned out to be, if its rule has `lossless`, or `rate` and no budget.
    sketch : Sketch or None
        What a sample tells of its codes, if a budget chooses its step.
    """

    rank: int | None = None
    trials: tuple[Trial, ...] = ()
    coded: Coded | None = None
    sketch: Sketch | None = None

    def settings(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        settings = {"rank": self.rank, "trials": [list(trial) for trial in self.trials]}
        for key in ("coded", "sketch"):
            part = getattr(self, key)
            settings |= {} if part is None else {key: part.settings()}
        return settings


def read_finding(settings: Mapping[str, Any]) -> Finding:
    """Return the finding that `Finding.settings` wrote."""
    return Finding(
        settings["rank"],
        tuple(Trial(*trial) for trial in settings["trials"]),
        Coded(**settings["coded"]) if "coded" in settings else None,
        read_sketch(settings["sketch"]) if "sketch" in settings else None,
    )


def measure(
    name: str,
    word: str,
    array: NDArray,
    rule: Rule,
    budget: Budget | None = None,
    *,
    streams: Streams | None = None,
) -> Finding:
    """Return the rank that a rule gives a tensor, its errors at widths, or what its codes are.

    A rule with `rate` gives what the codes turned out to be; or, if a budget chooses their step,
    what a sample tells of them.

    Errors are those of what is left after pruning and quantization, as `Budget` says, times the
    sensitivity of the tensor. At a width at which it would not get smaller it is copied: it has the
    bytes it had, and no error.

    Codes are put into `streams`, if there are any.

    Raises
    ------
    ValueError
        If the tensor cannot be compressed as asked; the message names it and the reason.
    """
    with naming(name):
        if not rule.undecided:
            raise ValueError("its rule leaves nothing open")
        if rule.asks_for_bits and budget is None:
            raise ValueError("budget must be given where bits are those of a budget")
        if rule.lossless is not None:
            return Finding(coded=_pack(name, word, array, rule, streams))
        if rule.rate is not None and not rule.asks_for_bits:
            return Finding(coded=_code(name, word, array, rule, streams))
        rule, shape = rule.for_tensor(name, array.shape), array.shape
        if rule.rate is not None:
            return Finding(sketch=sketch(_kept(word, array, rule)[1], rule.rate))
        w = by_rows(widen(array, word), rule)
        del array
        if not rule.asks_for_bits:
            if w.ndim < 2:
                declare(name, word, shape, rule)  # refuses it
            return Finding(rule.lowrank.rank_for(w))
        trials = []
        for bits in budget.widths_for(rule):
            tensor = plan_tensor(name, word, shape, rule.with_bits(bits))
            error = 0.0
            if tensor.rule is not None:  # else it would be copied
                error = budget.sensitivity_of(name) * _error(w, tensor, budget.error)
            trials.append(Trial(bits, tensor.nbytes_after, error))
        return Finding(trials=tuple(trials))


def code(
    name: str,
    word: str,
    array: NDArray,
    rule: Rule,
    *,
    sampled: bool = False,
    streams: Streams | None = None,
) -> Coded:
    """Return what the codes of a tensor turn out to be, by a rule with `rate`, without a budget.

    Parameters
    ----------
    name, word, array
        The tensor.
    rule : Rule
        What is done.
    sampled : bool
        Whether a sample tells about how many bytes there are, which takes less time.
    streams : Streams, optional
        Where codes are put.

    Raises
    ------
    ValueError
        If the tensor cannot be compressed as asked; the message names it and the reason.
    """
    with naming(name):
        if sampled:
            return _estimate(_kept(word, array, rule.for_tensor(name, array.shape))[1], rule.rate)
        return _code(name, word, array, rule, streams)


def _kept(word: str, array: NDArray, rule: Rule) -> tuple[NDArray, NDArray]:
    """Return a tensor by its rows, and what pruning leaves of it."""
    w = by_rows(widen(array, word), rule)
    return w, w if rule.prune is None else prune(w, array.shape, rule.prune)


def _pack(name: str, word: str, array: NDArray, rule: Rule, streams: Streams | None) -> Coded:
    made = rule.lossless.apply(kept_floats(array, word, rule.for_tensor(name, array.shape)))
    if streams is not None:
        streams.keep(name, made)
    return Coded(made.nbytes)


def _code(name: str, word: str, array: NDArray, rule: Rule, streams: Streams | None) -> Coded:
    least = Coded(LEAST_STREAM)
    if plan_tensor(name, word, array.shape, rule.with_coded(least)).rule is None:
        return least  # it is copied, whatever its codes
    w, v = _kept(word, array, rule.for_tensor(name, array.shape))
    del array
    made = rule.rate.apply(v)
    v = made.dequantize(out=None if v is w else v)
    sqnr = distortion(w, rounded(v, word)).sqnr
    if streams is not None:
        streams.keep(name, made)
    return Coded(made.stream.size, made.step, sqnr if math.isfinite(sqnr) else None)


def _estimate(w: NDArray, rate: QuantizeRate) -> Coded:
    """Return about what the codes of an array are, from a sample."""
    if rate.bits is not None:
        return Coded(max(int(rate.bits * w.size / 8), 1))
    if not w.any():
        return Coded(LEAST_STREAM)
    step = rate.step
    if step is None:  # noise of a uniform step, which a trellis has of every second one
        rms = math.sqrt(distortion(w, np.zeros_like(w)).mse)
        step = rms * math.sqrt(12) * 10 ** (-rate.sqnr / 20) / (1 if rate.trellis is None else 2)
    how = {"granularity": rate.granularity, "trellis": rate.trellis, "tradeoff": rate.worth}
    (bits,), (sqnr,) = estimate_rate(w, [step], **how, sample=_SAMPLE)
    rows = 1 if isinstance(rate.granularity, PerTensor) else math.prod(w.shape[:-1])
    nbytes = max(math.ceil(bits * w.size / 8) - w.itemsize * rows, LEAST_STREAM)
    return Coded(nbytes, step, sqnr if math.isfinite(sqnr) else None)


def _error(w: NDArray, tensor: TensorPlan, kind: str) -> float:
    # Pruning again for every width takes less memory than keeping what it left.
    v = w if tensor.rule.prune is None else prune(w, tensor.shape, tensor.rule.prune)
    form = make(v, tensor)
    v = reals(tensor, form, out=None if v is w else v)
    found = distortion(w, v)
    return 10 ** (-found.sqnr / 10) if kind == "relative" else found.mse * w.size
