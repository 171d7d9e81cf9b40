"""What is timed, and what is expected of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class PerThreads:
    """A contender that runs on a number of threads and whose library is not told it for all calls.

    `make` takes the number and returns the call. NumPy's BLAS is told by `interleaved`: see `blas`.
    """

    make: Callable[[int], Callable[[], object]]


# By name.  "pyfq" is what is judged, "reference" its specification; any other name starts with the
# library it is of: "numpy round", "torch.quantize_per_channel", "pyfq float32".
Contenders = dict[str, Callable[[], object] | PerThreads]


class Skipped(Exception):
    """A case cannot run here; the message says why."""


@dataclass(frozen=True)
class Goal:
    """A bound on pyfq against the best of its peers, over all cases that share it.

    Attributes
    ----------
    name : str
    mean : float
        The geometric mean of how many times as fast pyfq is must be at least this.
    least : float
        And none of them less than this.
    peers : tuple of str
        Libraries; the fastest contender of any of them counts.
    """

    name: str
    mean: float
    least: float
    peers: tuple[str, ...] = ("numpy", "torch", "onnxruntime")


@dataclass(frozen=True)
class Target:
    """A bound on pyfq, with all threads, against a peer.

    Attributes
    ----------
    measure : "duration", "speed", "bandwidth" or "fraction"
        Time of pyfq over that of the peer, which may be at most the limit; or time of the peer over
        that of pyfq; or GB/s of pyfq over those of the peer; or the fraction that pyfq reaches of
        what the machine can do; which must be at least the limit.
    peer : str
        Name of a contender; "the machine" for the fraction.
    limit : float
    peer_moved : int
        Bytes the peer reads and writes, for the bandwidth.
    """

    measure: Literal["duration", "speed", "bandwidth", "fraction"]
    peer: str
    limit: float
    peer_moved: int = 0

    def __str__(self) -> str:
        """Return the bound in words."""
        bound = {
            "duration": "at most {} of the time of {}",
            "speed": "at least {} times as fast as {}",
            "bandwidth": "at least {} of the GB/s (read + written) of {}",
            "fraction": "at least {} of the limit of {}",
        }[self.measure]
        return bound.format(self.limit, self.peer)

    def value(self, speed: float, moved: int) -> float:
        """Return what is bounded, from how many times as fast as the peer pyfq is."""
        match self.measure:
            case "duration":
                return 1 / speed
            case "speed" | "fraction":
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
        Entries of the array; of a product, of its result.
    targets : tuple of Target
    flops : int
        Multiplications and additions, if they may be what limits it.
    unit : "float32", "float64" or "int8"
        What does them: the limit is that of `limits.py`.
    goals : tuple of Goal
    """

    name: str
    setup: Callable[[], Contenders]
    moved: int
    elements: int
    targets: tuple[Target, ...] = ()
    flops: int = 0
    unit: Literal["float32", "float64", "int8"] = "float32"
    goals: tuple[Goal, ...] = ()


def weights(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray:
    """Return normal numbers of the size of trained weights, the same in every run."""
    w = np.random.default_rng(0).standard_normal(shape, dtype)
    w *= 0.02
    return w


def copying(x: NDArray) -> Contenders:
    """Return the contender nothing that reads and writes can be much ahead of."""
    to = x.copy()
    return {"np.copyto": lambda: np.copyto(to, x)}


def blas(call: Callable[[], object]) -> PerThreads:
    """Return a contender of NumPy that spends its time in BLAS, which has threads."""
    return PerThreads(lambda _: call)


def agreeing(contenders: Contenders, tolerance: float) -> Contenders:
    """Return the contenders; an error if one of them computes something else than pyfq.

    Results may differ by `tolerance` of the norm of that of pyfq.
    """
    results = {
        name: np.asarray(call.make(1)() if isinstance(call, PerThreads) else call(), np.float64)
        for name, call in contenders.items()
    }
    own = results["pyfq"]
    for name, result in results.items():
        error = np.linalg.norm(result - own) / max(np.linalg.norm(own), np.finfo(np.float64).tiny)
        if not error <= tolerance:
            raise ValueError(f"{name} differs from pyfq by {error:.2g} of its norm")
    return contenders
