"""The machine card: what ran, on what, and how fast its memory and its arithmetic are."""

import math
import os
import platform
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
from amx import amx
from limits import Limits
from peers import onnxruntime, threadpoolctl, torch

import pyfq

MIB = 2**20


def machine_card(threads: tuple[int, ...], rounds: int, quick: bool, limits: Limits) -> dict:
    """Return what a reader needs to judge the times."""
    cache = last_level_cache()
    # Two arrays as large as the cache each do not fit, nor does one read twice as long.
    nbytes = MIB if quick else min(max(2 * cache, 256 * MIB), physical_memory() // 8)
    config = pyfq.show_config(mode="dict")
    copy, read = bandwidths(nbytes, threads, rounds)
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "last level cache MiB": cache // MIB,
        "memory GiB": round(physical_memory() / 2**30, 1),
        "load average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "pyfq": config["version"],
        "isa": config["isa"],
        "compiler": config["compiler"],
        "build type": config["build type"],
        "flags": config["fast flags"][config["isa"]],
        "threads": list(threads),
        "idle threads": os.environ.get("OMP_WAIT_POLICY", "as OpenMP has it"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numpy's BLAS": blas_name(),
        "torch": torch.__version__ if torch else "not installed",
        "onnxruntime": onnxruntime.__version__ if onnxruntime else "not installed",
        "AMX": amx(),
        "bandwidth array MiB": round(nbytes / MIB),
        "copy GB/s": {str(n): gb for n, gb in copy.items()},
        "read GB/s": {str(n): gb for n, gb in read.items()},
        "read GB/s by bytes": {
            str(size): {str(n): gb for n, gb in by_threads.items()}
            for size, by_threads in limits.read.items()
        },
    } | {
        f"{unit} {'Gop/s' if unit == 'int8' else 'GFLOP/s'}": {str(n): g for n, g in peak.items()}
        for unit, peak in limits.peak.items()
    }


def bandwidths(
    nbytes: int, threads: tuple[int, ...], rounds: int
) -> tuple[dict[int, float], dict[int, float]]:
    """Return GB/s of a copy (read + written) and of a read, by number of threads."""
    source = np.ones(nbytes // 4, np.float32)
    target = np.zeros_like(source)
    copy, read = dict.fromkeys(threads, math.inf), dict.fromkeys(threads, math.inf)
    with ThreadPoolExecutor(max(threads)) as pool:
        for _ in range(rounds + 1):  # the first starts the threads
            for n in threads:
                to, parts = np.array_split(target, n), np.array_split(source, n)
                copy[n] = min(copy[n], _seconds(pool, np.copyto, to, parts))
                read[n] = min(read[n], _seconds(pool, np.max, parts))
    return (
        {n: 2 * nbytes / seconds / 1e9 for n, seconds in copy.items()},
        {n: nbytes / seconds / 1e9 for n, seconds in read.items()},
    )


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def blas_name() -> str:
    """Return what multiplies NumPy's matrices, if something can tell."""
    if not threadpoolctl:
        return "not known: threadpoolctl is not installed, and all its threads are used"
    of_numpy = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    return ", ".join(
        f"{lib['internal_api']} {lib['version']} {lib.get('architecture', '')}" for lib in of_numpy
    )


def largest_read(quick: bool) -> int:
    """Return the bytes of the largest array whose reading is a limit."""
    return MIB if quick else min(512 * MIB, physical_memory() // 8)


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return _sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine()


def last_level_cache() -> int:
    """Return the bytes of the largest cache, 32 MiB if the system does not say."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    kib = [int(size.read_text().strip().removesuffix("K")) for size in sizes]
    return max(kib, default=32 * 1024) * 1024


def physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _sysctl(name: str) -> str:
    if platform.system() != "Darwin":
        return ""
    return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True).stdout.strip()


def _seconds(pool: ThreadPoolExecutor, f: Callable, *parts: list) -> float:
    start = perf_counter()
    list(pool.map(f, *parts))
    return perf_counter() - start
