"""What is timed, and what is expected of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

# By name.  "pyfq" is what is judged, "reference" its specification; any other name starts with the
# library it is of: "numpy round", "torch.quantize_per_channel".
Contenders = dict[str, Callable[[], object]]


class Skipped(Exception):
    """A case cannot run here; the message says why."""


@dataclass(frozen=True)
class Target:
    """A bound on pyfq, with all threads, against a peer.

    Attributes
    ----------
    measure : "duration", "speed" or "bandwidth"
        Time of pyfq over that of the peer, which may be at most the limit; or time of the peer over
        that of pyfq; or GB/s of pyfq over those of the peer; which must be at least the limit.
    peer : str
        Name of a contender.
    limit : float
    peer_moved : int
        Bytes the peer reads and writes, for the bandwidth.
    """

    measure: Literal["duration", "speed", "bandwidth"]
    peer: str
    limit: float
    peer_moved: int = 0

    def __str__(self) -> str:
        """Return the bound in words."""
        bound = {
            "duration": "at most {} of the time of {}",
            "speed": "at least {} times as fast as {}",
            "bandwidth": "at least {} of the GB/s (read + written) of {}",
        }[self.measure]
        return bound.format(self.limit, self.peer)

    def value(self, speed: float, moved: int) -> float:
        """Return what is bounded, from how many times as fast as the peer pyfq is."""
        match self.measure:
            case "duration":
                return 1 / speed
            case "speed":
                return speed
            case "bandwidth":
                return speed * moved / self.peer_moved

    def is_met(self, value: float) -> bool:
        return value <= self.limit if self.measure == "duration" else value >= self.limit


@dataclass(frozen=True)
class Case:
    """One operation on one array.

    Attributes
    ----------
    name : str
    setup : callable
        Makes the data and returns the contenders; raises `Skipped` where it cannot.
    moved : int
        Bytes the operation must read and write at least, whatever the algorithm.
    elements : int
        Entries of the array.
    targets : tuple of Target
    """

    name: str
    setup: Callable[[], Contenders]
    moved: int
    elements: int
    targets: tuple[Target, ...] = ()


def weights(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray:
    """Return normal numbers of the size of trained weights, the same in every run."""
    w = np.random.default_rng(0).standard_normal(shape, dtype)
    w *= 0.02
    return w


def copying(x: NDArray) -> Contenders:
    """Return the contender nothing that reads and writes can be much ahead of."""
    to = x.copy()
    return {"np.copyto": lambda: np.copyto(to, x)}
