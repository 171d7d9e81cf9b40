"""Time contenders in turn, so that a disturbance of the machine meets them all."""

import gc
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from case import Contenders, PerThreads
from peers import set_blas_threads, torch

import pyfq

# Seconds of a first call that starting threads does not tell in: it counts.
SLOW = 0.2
# Seconds a measurement lasts at least: faster calls are repeated, and their mean counts.
LEAST = 2e-3


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one entry a round; a slow contender has those of the first rounds only.

    `threads` is None for what takes no number of threads and runs on one.
    """

    contender: str
    threads: int | None
    seconds: list[float]

    @property
    def library(self) -> str:
        return library_of(self.contender)

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def speed_over(self, peer: "Timing") -> float:
        """Return how many times as fast as the peer this is, in the best round of each."""
        return peer.best / self.best

    def round_speeds_over(self, peer: "Timing") -> list[float]:
        """Return the same of each round that both took part in."""
        return [theirs / ours for theirs, ours in zip(peer.seconds, self.seconds, strict=False)]


def library_of(contender: str) -> str:
    """Return the word its name starts with."""
    return re.match(r"\w+", contender)[0]


def interleave(
    contenders: Contenders, rounds: int, threads: tuple[int, ...], patience: float
) -> list[Timing]:
    """Return times of every contender, with each number of threads if it takes one.

    A contender sits out the rounds that are left when it has had `patience` seconds.
    """
    timings, calls = [], []
    for name, contender in contenders.items():
        per_threads = isinstance(contender, PerThreads)
        takes_threads = per_threads or library_of(name) in ("pyfq", "torch")
        for n in threads if takes_threads else (None,):
            call = contender.make(n) if per_threads else contender
            # What has threads is warmed up, for they start with the first call.
            once = _seconds(call, 1, n) if takes_threads else math.inf
            calls.append((call, max(1, math.ceil(LEAST / once))))
            timings.append(Timing(name, n, [once] if SLOW < once < math.inf else []))
    for done in range(rounds):
        for timing, (call, repeats) in zip(timings, calls, strict=True):
            if len(timing.seconds) == done and sum(timing.seconds) < patience:
                timing.seconds.append(_seconds(call, repeats, timing.threads))
    return timings


def _seconds(call: Callable[[], object], repeats: int, threads: int | None) -> float:
    set_blas_threads(threads or 1)
    if threads is not None:
        pyfq.set_num_threads(threads)
        if torch:
            torch.set_num_threads(threads)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        start = perf_counter()
        for _ in range(repeats):
            call()
        return (perf_counter() - start) / repeats
    finally:
        if was_enabled:
            gc.enable()
