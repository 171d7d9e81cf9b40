"""Make ``rate.png`` beside this file: how far quantizers are from Shannon's bound."""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq
from pyfq import PerTensor

SIDE = 1024
BITS = (0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5)
DB = 20 * math.log10(2)


def bound(density: np.ndarray, x: np.ndarray, slope: float) -> tuple[float, float]:
    """Return a point of the rate-distortion function, bits and dB (Blahut 1972)."""
    nearness = np.exp(-slope * (x[:, None] - x) ** 2)
    answer = density.copy()
    for _ in range(300):
        answer *= (density / (nearness @ answer)) @ nearness
    chosen = nearness * answer / (nearness @ answer)[:, None]
    error = float(density @ (chosen * (x[:, None] - x) ** 2).sum(axis=1))
    told = chosen * np.log2(np.maximum(chosen, 1e-300) / np.maximum(answer, 1e-300))
    signal = float(density @ x**2)
    return float(density @ told.sum(axis=1)), 10 * math.log10(signal / error)


def draw(axes: plt.Axes, w: np.ndarray, coded: list, label: str, style: str, colour: str) -> None:
    """Draw what is gained over a plain 6.02 dB a bit."""
    bits = np.array([q.bits_per_weight for q in coded])
    sqnr = np.array([q.error(w).sqnr for q in coded])
    axes.plot(bits, sqnr - DB * bits, style, color=colour, label=label, ms=4)


rng = np.random.default_rng(0)
sources = {
    "Gaussian": rng.standard_normal((SIDE, SIDE)).astype(np.float32),
    "Laplacian": rng.laplace(scale=math.sqrt(0.5), size=(SIDE, SIDE)).astype(np.float32),
}
figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for axes, (name, w) in zip(panels, sources.items(), strict=True):
    x = np.linspace(-9, 9, 1201)
    density = np.exp(-(x**2) / 2) if name == "Gaussian" else np.exp(-math.sqrt(2) * np.abs(x))
    density /= density.sum()
    points = [bound(density, x, slope) for slope in np.geomspace(0.55, 150, 24)]
    bits, sqnr = np.array([p for p in points if p[0] < 4.6]).T
    axes.plot(bits, sqnr - DB * bits, color="#000000", label="Shannon's bound")
    for trellis, label, style, colour in (
        (8, "8 states", "o-", "#D55E00"),
        (4, "4 states", "s-", "#E69F00"),
        (None, "no trellis", "D-", "#0072B2"),
    ):
        coded = [pyfq.quantize_rate(w, b, trellis=trellis) for b in BITS]
        draw(axes, w, coded, label, style, colour)
    fit = {"granularity": PerTensor(), "initialization": "quantile"}
    fitted = [pyfq.quantize_codebook(w, "lloyd", b, **fit) for b in (1, 2, 3, 4)]
    draw(axes, w, fitted, "lloyd, one table", "^-", "#009E73")
    nf4 = pyfq.quantize_codebook(w, "nf4", calibration="mse", scale_bits=8)
    draw(axes, w, [nf4], "nf4, best scales", "v", "#CC79A7")
    axes.set(title=name, xlabel="bits a weight, everything counted")
    axes.grid(alpha=0.3)
panels[0].set(ylabel="SQNR - 6.02 bits, dB")
panels[0].legend(loc="lower left", fontsize=8)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
