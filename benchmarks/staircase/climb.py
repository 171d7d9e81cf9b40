"""Compile the versions of `staircase.f90`, check and time them: a table, and a picture.

``python benchmarks/staircase/climb.py`` prints the table of docs/explanation/gemm.md;
``--picture docs/images/gemm.png`` draws it as well.
"""

import argparse
import ctypes
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

# As in `benchmarks/run.py`: idle threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from limits import compiled, gfortran, measure
from machine import cores, cpu_model
from numpy.typing import NDArray
from peers import set_blas_threads
from tabulate import tabulate

import pyfq
from pyfq import plot

HERE = Path(__file__).resolve().parent
VERSIONS = {
    "textbook": "three loops",
    "rows": "loops in another order",
    "registers": "a tile in registers",
    "packed": "columns packed",
    "blocked": "blocks for L1 and L2",
    "threaded": "threads",
}


def main() -> int:
    """Time, and report."""
    options = _options()
    n = options.side
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((n, n), np.float32) for _ in range(2))
    threads = options.threads
    limits = measure(tuple(sorted({1, threads})), 60, 2**20).peak["float32"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(HERE / "staircase.f90", Path(folder), "-fopenmp")
        calls = {
            **{word: (version(library, word, a, b, threads), VERSIONS[word]) for word in VERSIONS},
            "pyfq.products.matmul": (lambda: pyfq.matmul(a, b), "edges, few rows, dtypes"),
            "numpy": (lambda: a @ b, "its BLAS"),
        }
        expected = a.astype(np.float64) @ b
        for word, (call, change) in calls.items():
            for t in _threads(word, threads):
                pyfq.set_num_threads(t)
                set_blas_threads(t)
                product, seconds = _best(call, options.rounds)
                error = np.linalg.norm(product - expected) / np.linalg.norm(expected)
                if not error < 1e-4:
                    raise ValueError(f"{word} differs by {error:.2g} of the norm")
                speed = 2 * n**3 / seconds / 1e9
                rows.append([word, change, t, speed, speed / limits[t]])
                print(f"{word}, {t}: {speed:.3g} GFLOP/s", file=sys.stderr)
    print(f"{cpu_model()}, {pyfq.isa}, {n} x {n} x {n}, float32")
    cells = [[*row[:3], f"{row[3]:.3g}", f"{row[4]:.2f}"] for row in rows]
    headers = ["version", "what is new", "threads", "GFLOP/s", "of the FMA limit"]
    print(tabulate(cells, headers, tablefmt="github", disable_numparse=True))
    if options.picture:
        draw(rows, limits, n, options.picture)
    return 0


def version(
    library: ctypes.CDLL, word: str, a: NDArray, b: NDArray, threads: int
) -> Callable[[], NDArray]:
    """Return the call of a version, which writes to an array of its own."""
    (m, k), n = a.shape, b.shape[1]
    c = np.zeros((m, n), np.float32)
    arguments = [
        *(ctypes.c_int64(extent) for extent in (m, n, k)),
        *(ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)),
        *([ctypes.c_int32(threads)] if word == "threaded" else []),
    ]
    routine = getattr(library, f"multiply_{word}")

    def call() -> NDArray:
        routine(*arguments)
        return c

    return call


def draw(rows: list[list], limits: dict[int, float], n: int, path: Path) -> None:
    """Write the bars."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((8, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    several = len(limits) > 1
    labels = [f"{word}\n{t} thread{'s' * (t > 1)}" if several else word for word, _, t, *_ in rows]
    colors = [plot.BLUE if word in VERSIONS else plot.VERMILION for word, *_ in rows]
    bars = axes.bar(labels, [row[3] for row in rows], color=colors)
    axes.bar_label(bars, [f"{row[3]:.3g}" for row in rows], fontsize=8)
    for t, limit in limits.items():
        axes.axhline(limit, color=plot.BLACK, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"FMA limit, {t} thread{'s' * (t > 1)}", (0, limit), (-20, 3),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"{n} x {n} x {n}, float32, {cpu_model()}, {pyfq.isa}", fontsize=10)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1536, help="rows and columns (1536)")
    parser.add_argument("--threads", type=int, default=cores(), help="of the last version (all)")
    parser.add_argument("--rounds", type=int, default=20, help="of each the best counts (20)")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the bars")
    options = parser.parse_args()
    if options.side % 1536:
        parser.error("--side must be a multiple of 1536, of which tiles and blocks are divisors")
    if not gfortran():
        parser.error("gfortran is not on the PATH")
    return options


def _threads(word: str, threads: int) -> list[int]:
    if word == "threaded":
        return [threads]
    return [1] if word in VERSIONS else sorted({1, threads})


def _best(call: Callable[[], NDArray], rounds: int) -> tuple[NDArray, float]:
    """Return the product, and the best time of some rounds that take 5 seconds, or of one."""
    best, end = float("inf"), perf_counter() + 5
    for _ in range(rounds):
        start = perf_counter()
        product = call()
        now = perf_counter()
        best = min(best, now - start)
        if now > end:
            break
    return product, best


if __name__ == "__main__":
    sys.exit(main())
