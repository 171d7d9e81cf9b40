"""The roofline: products on the plane of arithmetic intensity and speed, under what limits them.

``python benchmarks/roofline.py RESULTS.json PICTURE.png`` draws it again.
"""

import json
import sys
from pathlib import Path

import numpy as np

from pyfq import plot

STYLES = {
    "float32": (plot.BLUE, "o"),
    "float64": (plot.GREEN, "D"),
    "int8": (plot.VERMILION, "s"),
}  # fmt: skip
# Bytes of an array that caches hold.
CACHED = str(2**20)
PEERS = ("numpy", "torch", "onnxruntime")


def draw(result: dict, path: Path) -> bool:
    """Write the figure; False if there is nothing to show, or nothing to draw with."""
    machine = result["machine"]
    threads = max(machine["threads"])
    points = [
        point for case in result["cases"] if case["operations"] for point in _points(case, threads)
    ]
    if not points:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure((9, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    intensities = [intensity for _, _, intensity, _ in points]
    x = np.geomspace(min(intensities) / 2, max(intensities) * 2, 200)
    by_size = machine["read GB/s by bytes"]
    largest = max(by_size, key=int)
    read = by_size[largest][str(threads)]
    for size in (largest, CACHED):
        speed = by_size.get(size, {str(threads): 0})[str(threads)]
        if speed:
            axes.plot(x, speed * x, color=plot.BLACK, linewidth=0.8, linestyle=":")
            axes.annotate(
                f"reads of {int(size) >> 20} MiB, {speed:.0f} GB/s",
                (x[-60], speed * x[-60]), (-4, 4), textcoords="offset points",
                ha="right", fontsize=8,
            )  # fmt: skip
    for unit, (color, marker) in STYLES.items():
        of_unit = [point for point in points if point[0] == unit]
        key = f"{unit} {'Gop/s' if unit == 'int8' else 'GFLOP/s'}"
        if of_unit and key in machine:
            peak = machine[key][str(threads)]
            axes.plot(x, np.minimum(peak, read * x), color=color, linewidth=1)
            axes.annotate(
                f"{unit}: {peak:.0f} G/s", (x[-1], peak), (0, 4), textcoords="offset points",
                ha="right", fontsize=8, color=color,
            )  # fmt: skip
        for own, face, label in ((True, color, f"pyfq, {unit}"), (False, "none", "best peer")):
            chosen = [point for point in of_unit if point[1] == own]
            if chosen:
                axes.plot(
                    [intensity for *_, intensity, _ in chosen], [speed for *_, speed in chosen],
                    marker, color=color, markerfacecolor=face, markersize=5, label=label,
                )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(1, min(speed for *_, speed in points) / 2))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("operations a byte that must be moved")
    axes.set_ylabel("10⁹ operations a second")
    axes.set_title(f"{machine['cpu']}, {threads} thread{'s' * (threads > 1)}, {machine['isa']}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    figure.savefig(path)
    return True


def _points(case: dict, threads: int) -> list[tuple[str, bool, float, float]]:
    """Return unit, whether it is pyfq, intensity and speed: of pyfq and of its best peer."""
    intensity = case["operations"] / case["bytes moved"]
    chosen = [c for c in case["contenders"] if c["threads"] == threads]
    own = [c["Gop/s"] for c in chosen if c["name"] == "pyfq"]
    peers = [c["Gop/s"] for c in chosen if c["library"] in PEERS]
    return [
        (case["unit"], is_own, intensity, max(speeds))
        for is_own, speeds in ((True, own), (False, peers))
        if speeds
    ]


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    sys.exit(not draw(json.loads(source.read_text()), target))
