"""``pyfq bench``: how fast products are on this machine."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq.cli import SubParsers, use_threads
from pyfq.cli._help import HelpFormatter
from pyfq.cli._report import environment, refuse_missing_directory, write_json
from pyfq.cli._table import table_text, terminal_width

EPILOG = """\
Products of matrices, and layers activation(x @ w.T + b) of float32, int8 and int4 weights, on one
thread and on all; NumPy's float32 product of the same shape beside them, on as many threads. Times
are the best of several. Run it on an idle node.

examples:
  pyfq bench
  pyfq bench --threads 8 --json bench.json
"""

# What libraries under NumPy read when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
CHILD = "import sys; from pyfq.cli import bench; bench.print_rows(int(sys.argv[1]), sys.argv[2:])"
# Seconds for each row, and rounds at most.
SECONDS, ROUNDS = 0.5, 50
HEADERS = ("operation", "threads", "ms", "Gop/s", "GB/s", "x NumPy")
# What a narrow terminal does without.
SPARE = ("GB/s", "Gop/s")


@dataclass(frozen=True)
class Operation:
    """A call that is timed.

    Attributes
    ----------
    name : str
        What the table says.
    operations, moved : int
        Multiplications and additions; bytes that must be read or written at least.
    setup : callable
        Makes the data and returns the call, and that of NumPy or None.
    """

    name: str
    operations: int
    moved: int
    setup: Callable[[], tuple[Callable[[], Any], Callable[[], Any] | None]]


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "bench",
        description="Time products of matrices and layers on this machine.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="number of threads to compare with one (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="time small cases only, to see that it runs"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON; - for stdout")


def run(args: argparse.Namespace) -> int:
    """Measure, and report."""
    refuse_missing_directory("--json", args.json)
    from tqdm import tqdm

    if args.threads is not None:
        use_threads(args.threads)
    started = perf_counter()
    threads = sorted({1, pyfq.get_num_threads()})
    count = len(threads) * (1 + len(operations(args.quick)))
    rows: list[dict[str, Any]] = []
    with tqdm(total=count, leave=False, disable=None, file=sys.stderr) as progress:
        for n in threads:
            for row in rows_on(n, args.quick):
                rows.append(row)
                progress.set_description(f"{row['operation']}, {n} threads")
                progress.update()
    names = [row["operation"] for row in rows]
    rows.sort(key=lambda row: names.index(row["operation"]))
    document = {
        "command": "bench",
        "environment": environment(),
        "rows": rows,
        "seconds": perf_counter() - started,
    }
    if args.json is not None:
        write_json(document, args.json)
    if args.json != "-":
        cells = [_cells(row) for row in rows]
        print(table_text(cells, HEADERS, spare=SPARE, width=terminal_width()))
    return 0


def rows_on(threads: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each operation as it is measured, in a process of so many threads.

    NumPy's BLAS reads how many to use when it is loaded.
    """
    command = [sys.executable, "-P", "-c", CHILD, str(threads), *["quick"] * quick]
    env = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as child:
        for line in child.stdout:
            yield json.loads(line)
    if child.returncode:
        raise OSError(f"the measurement on {threads} threads ended with {child.returncode}")


def print_rows(threads: int, words: list[str]) -> None:
    """Print what `rows_on` yields, one line of JSON each."""
    quick = "quick" in words
    pyfq.set_num_threads(threads)
    print(json.dumps(read_row(threads, 2**22 if quick else 2**28)), flush=True)
    for operation in operations(quick):
        print(json.dumps(row_of(operation, threads, 0.0 if quick else SECONDS)), flush=True)


def read_row(threads: int, nbytes: int) -> dict[str, Any]:
    """Return how fast an array is read, by as many threads, each its part."""
    parts = np.array_split(np.ones(nbytes // 4, np.float32), threads)
    with ThreadPoolExecutor(threads) as pool:
        seconds = min(_seconds(lambda: list(pool.map(np.max, parts))) for _ in range(5))
    name = f"read {nbytes >> 20} MiB"
    return _row(Operation(name, 0, nbytes, lambda: (list, None)), threads, seconds, None)


def row_of(operation: Operation, threads: int, patience: float) -> dict[str, Any]:
    """Return the best times of pyfq and NumPy in turn, in rounds that take `patience` seconds."""
    own, peer = operation.setup()
    own()
    if peer:
        peer()
    best = [np.inf, np.inf]
    end = perf_counter() + patience
    for _ in range(ROUNDS):
        best[0] = min(best[0], _seconds(own))
        if peer:
            best[1] = min(best[1], _seconds(peer))
        if perf_counter() > end:
            break
    return _row(operation, threads, best[0], best[1] if peer else None)


def operations(quick: bool) -> list[Operation]:
    """Return what is timed, after reads."""
    f32, f64 = np.dtype(np.float32), np.dtype(np.float64)
    if quick:
        return [
            _product(64, f32),
            _product(64, f64),
            _dense(128, 128, 2, f32),
            *(_quantized(128, 128, 2, bits) for bits in (8, 4)),
        ]
    rows, cols = 4096, 4096
    return [
        *(_product(n, f32) for n in (512, 1024, 2048)),
        *(_product(n, f64) for n in (512, 1024)),
        *(_dense(rows, cols, batch, f32) for batch in (1, 64)),
        _dense(rows, cols, 64, f64),
        *(_quantized(rows, cols, batch, bits) for bits in (8, 4) for batch in (1, 64)),
    ]


def _product(n: int, dtype: np.dtype) -> Operation:
    def setup():
        a, b = _normal((n, n), dtype), _normal((n, n), dtype)
        y = np.zeros_like(a)
        return lambda: pyfq.matmul(a, b, out=y), lambda: np.matmul(a, b, out=y)

    return Operation(f"{dtype} {n} x {n} x {n}", 2 * n**3, 3 * n * n * dtype.itemsize, setup)


def _dense(n: int, k: int, batch: int, dtype: np.dtype) -> Operation:
    def setup():
        x, w, bias = _normal((batch, k), dtype), _normal((n, k), dtype), _normal((n,), dtype)
        held = pyfq.prepare(w, batch=batch)
        return (
            lambda: pyfq.linear(x, held, bias, activation="relu"),
            lambda: np.maximum(x @ w.T + bias, 0),
        )

    moved = (n * k + batch * (k + n) + n) * dtype.itemsize
    return _layer(str(dtype), n, k, batch, moved, setup)


def _quantized(n: int, k: int, batch: int, bits: int) -> Operation:
    """Return a layer of codes: one scale a row for 8 bits, one for 128 weights for 4."""
    granularity = pyfq.PerRow() if bits == 8 else pyfq.PerGroup(128)
    scales = n * (1 if bits == 8 else k // 128)

    def setup():
        x, w, bias = (_normal(shape, np.dtype(np.float32)) for shape in ((batch, k), (n, k), (n,)))
        q = pyfq.quantize(w, bits, granularity=granularity)
        held = pyfq.prepare(q, activation_bits=8, batch=batch)
        return (
            lambda: pyfq.linear(x, held, bias, activation="relu"),
            lambda: np.maximum(x @ w.T + bias, 0),
        )

    moved = n * k * bits // 8 + 4 * (scales + batch * (k + n) + n)
    return _layer(f"int{bits}", n, k, batch, moved, setup)


def _layer(word: str, n: int, k: int, batch: int, moved: int, setup: Callable) -> Operation:
    return Operation(f"{word} layer {k} to {n}, batch {batch}", 2 * batch * n * k, moved, setup)


def _normal(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    return np.random.default_rng(0).standard_normal(shape, dtype)


def _seconds(call: Callable[[], Any]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def _row(
    operation: Operation, threads: int, seconds: float, of_numpy: float | None
) -> dict[str, Any]:
    return {
        "operation": operation.name,
        "threads": threads,
        "seconds": seconds,
        "gops": operation.operations / seconds / 1e9 if operation.operations else None,
        "gb_per_second": operation.moved / seconds / 1e9,
        "numpy_seconds": of_numpy,
        "speed_over_numpy": of_numpy / seconds if of_numpy else None,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    numbers = (1e3 * row["seconds"], row["gops"], row["gb_per_second"], row["speed_over_numpy"])
    return [
        row["operation"],
        str(row["threads"]),
        *("" if number is None else f"{number:.3g}" for number in numbers),
    ]
