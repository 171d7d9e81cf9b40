"""What the machine can do at most, measured: arithmetic, and reads of arrays of any size.

`peak/peak.f90` does both, compiled here with the flags of the variant of pyfq in use. Without
gfortran there is no limit of arithmetic, and reads are NumPy's.
"""

import ctypes
import math
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq import _native

ROOT = Path(__file__).resolve().parent.parent
REGISTERS = {"base": "sse", "v3": "avx2", "v4": "avx512", "v4vnni": "avx512vnni"}
UNITS = ("float32", "float64", "int8")
# Bytes of the smallest array that is read: less is a matter of calls, not of memory.
LEAST_READ = 2**16
# Seconds a measurement lasts at least: short, so that some are not disturbed.
LEAST = 1e-3


@dataclass(frozen=True)
class Limits:
    """The roofline.

    Attributes
    ----------
    peak : dict of str to dict of int to float
        Multiplications and additions in 10**9 a second, by unit and number of threads; empty if
        they could not be measured.
    read : dict of int to dict of int to float
        GB/s by bytes of the array, powers of 2, and number of threads.
    """

    peak: dict[str, dict[int, float]]
    read: dict[int, dict[int, float]]

    def seconds(self, flops: int, unit: str, moved: int, threads: int) -> tuple[float, str]:
        """Return the least time of so many operations and bytes, and which of them it is of.

        Bytes are those that must be read or written at least, at the speed at which an array of
        as many bytes is read again and again: from whatever cache holds it.
        """
        memory = moved / self.read_speed(moved, threads) / 1e9
        if unit not in self.peak:
            return memory, "read"
        return max((memory, "read"), (flops / self.peak[unit][threads] / 1e9, unit))

    def read_speed(self, nbytes: int, threads: int) -> float:
        """Return GB/s of reading an array of the size that comes next to `nbytes`."""
        size = min(self.read, key=lambda size: abs(math.log2(size / max(nbytes, 1))))
        return self.read[size][threads]


def measure(threads: tuple[int, ...], rounds: int, largest: int) -> Limits:
    """Return the limits, in the best of some rounds, with arrays of up to `largest` bytes."""
    probe = _Probe()
    sizes = [2**e for e in range(int(math.log2(LEAST_READ)), int(math.log2(largest)) + 1)]
    zeros = _in_lines(sizes[-1] // 8, np.int64)
    zeros[...] = 0
    peak: dict[str, dict[int, float]] = {unit: {} for unit in UNITS if probe.library}
    read: dict[int, dict[int, float]] = {size: {} for size in sizes}
    for n in threads:
        with ThreadPoolExecutor(n) as pool:
            for unit in peak:
                call, operations = probe.arithmetic(unit, n)
                peak[unit][n] = _best(pool, call, operations, n, rounds)
            for size in sizes:
                call = probe.reading(zeros[: size // 8], n)
                read[size][n] = _best(pool, call, size // n, n, rounds)
    return Limits(peak, read)


def _best(
    pool: ThreadPoolExecutor,
    call: Callable[[int, int], None],
    amount: int,
    threads: int,
    rounds: int,
) -> float:
    """Return 10**9 times `amount` a second, of all threads together."""
    repeats = 1
    while (took := _seconds(pool, call, repeats, threads, 2)) < LEAST:
        repeats *= max(2, min(100, int(LEAST / took)))
    took = min(took, _seconds(pool, call, repeats, threads, rounds))
    return amount * repeats * threads / took / 1e9


def _seconds(
    pool: ThreadPoolExecutor,
    call: Callable[[int, int], None],
    repeats: int,
    threads: int,
    rounds: int,
) -> float:
    """Return what the best round took: as long as the slowest of threads that start together."""
    barrier = Barrier(threads)

    def time(thread: int) -> list[float]:
        took = []
        for _ in range(rounds):
            barrier.wait()
            start = perf_counter()
            call(repeats, thread)
            took.append(perf_counter() - start)
        return took

    return min(map(max, zip(*pool.map(time, range(threads)), strict=True)))


class _Probe:
    """The compiled probe, or NumPy."""

    def __init__(self) -> None:
        self.library = None
        if gfortran():
            with tempfile.TemporaryDirectory() as folder:
                source = ROOT / "benchmarks/peak/peak.f90"
                # Lines that are used again are to be loaded again.
                self.library = compiled(source, Path(folder), "-fno-predictive-commoning")

    def arithmetic(self, unit: str, threads: int) -> tuple[Callable[[int, int], None], int]:
        """Return what does `repeats` blocks of operations in a thread; and how many a block is."""
        sizes = (ctypes.c_int64 * 4)()
        self.library.peak_sizes(sizes)
        a_step = sizes[UNITS.index(unit)]
        routine = getattr(self.library, f"peak_{unit}")
        if unit == "int8":
            steps = 2**18 // sizes[3]  # both arrays in L2
            codes = _in_lines(2 * threads * (steps + 64 * 16), {1: np.int8, 2: np.int16}[sizes[3]])
            codes = codes.reshape(threads, 2, -1)
            sums = np.empty((threads, 1024), np.int32)

            def call(repeats: int, thread: int) -> None:
                x, w = codes[thread]
                n, extent = ctypes.c_int64(repeats), ctypes.c_int64(steps)
                routine(n, extent, _at(x), _at(w), _at(sums[thread]))

            return call, a_step * steps
        steps = 10_000
        real = {"float32": ctypes.c_float, "float64": ctypes.c_double}[unit]
        chains = np.tile(np.linspace(1, 2, 4096, dtype=unit), (threads, 1))

        def call(repeats: int, thread: int) -> None:
            routine(ctypes.c_int64(repeats * steps), real(0.5), real(1), _at(chains[thread]))

        return call, a_step * steps

    def reading(self, zeros: NDArray[np.int64], threads: int) -> Callable[[int, int], None]:
        """Return what reads a thread's part of an array so many times."""
        parts = np.array_split(zeros, threads)
        if not self.library:
            return lambda repeats, thread: [parts[thread].max() for _ in range(repeats)]

        def call(repeats: int, thread: int) -> None:
            n, total = parts[thread].size, ctypes.c_int64()
            self.library.peak_read(
                ctypes.c_int64(n), ctypes.c_int64(repeats), _at(parts[thread]), ctypes.byref(total)
            )

        return call


def gfortran() -> list[str]:
    """Return the command of the compiler; empty if there is none."""
    command = shlex.split(os.environ.get("FC", "gfortran"))
    return command if shutil.which(command[0]) else []


def compiled(source: Path, folder: Path, *flags: str) -> ctypes.CDLL:
    """Return a library, built in `folder` with the flags and registers of the variant in use."""
    config = pyfq.show_config(mode="dict")
    level = _native._cpu.levels()[0] if config["isa"] == "native" else config["isa"]
    library = folder / f"{source.stem}.so"
    subprocess.run(
        [
            *gfortran(), *config["fast flags"][config["isa"]].split(), *flags, "-fPIC", "-shared",
            f"-J{folder}", ROOT / "fortran/base/fq_kinds.f90",
            ROOT / f"fortran/registers/{REGISTERS[level]}/fq_registers.f90", source, "-o", library,
        ],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(library))


def _in_lines(n: int, dtype: type) -> NDArray:
    """Return ones from the start of a line of cache on: vectors that cross lines cost twice."""
    room = np.ones(n + 64, dtype)
    start = -room.ctypes.data % 64 // room.itemsize
    return room[start : start + n]


def _at(x: NDArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.ctypes.data)
