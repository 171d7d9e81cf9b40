"""Make ``codebook.png`` beside this file: levels of tables, and what scales and tables gain."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq
from pyfq import PerGroup

w = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
groups = PerGroup(64)
best = {"calibration": "mse", "scale_bits": 8, "initialization": "quantile"}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")

peaks = np.abs(w.reshape(-1, 64)).max(axis=1, keepdims=True)
left.hist((w.reshape(-1, 64) / peaks).ravel(), 200, color="#cccccc", density=True)
tables = {
    "int4": (np.arange(-7, 8) / 7, "#000000"),
    "nf4": (pyfq.quantize_codebook(w, "nf4").levels[0], "#0072B2"),
    "lloyd": (
        pyfq.quantize_codebook(w, "lloyd", 4, initialization="quantile").levels[0],
        "#D55E00",
    ),
}
for height, (name, (levels, colour)) in enumerate(tables.items(), 1):
    left.plot(levels, np.full(len(levels), 0.25 * height), "|", ms=12, color=colour, label=name)
left.set(xlabel="weight over largest magnitude of its group of 64", yticks=[])
left.legend(loc="upper right")


def draw(label: str, colour: str, marker: str, coded: list[pyfq.Quantized | pyfq.Codebook]) -> None:
    """Draw the gain over a plain 6.02 dB a bit."""
    bits = np.array([q.bits_per_weight for q in coded])
    sqnr = np.array([q.error(w).sqnr for q in coded])
    right.plot(bits, sqnr - 6.02 * bits, marker + "-", color=colour, label=label)


widths = (2, 3, 4, 5, 6)
draw("quantize", "#000000", "o", [pyfq.quantize(w, b, granularity=groups) for b in widths[1:]])
draw("nf4", "#0072B2", "s", [pyfq.quantize_codebook(w, "nf4")])
draw(
    "nf4, best", "#0072B2", "D", [pyfq.quantize_codebook(w, "nf4", calibration="mse", scale_bits=8)]
)
draw("lloyd", "#D55E00", "s", [
    pyfq.quantize_codebook(w, "lloyd", b, initialization="quantile") for b in widths
])  # fmt: skip
draw("lloyd, best", "#D55E00", "D", [pyfq.quantize_codebook(w, "lloyd", b, **best) for b in widths])
right.axhline(0, color="#999999", lw=0.8)
right.set(xlabel="bits a weight, scales counted", ylabel="SQNR - 6.02 bits, dB")
right.legend(fontsize=8)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
