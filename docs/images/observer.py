"""Make ``observer.png`` beside this file: a histogram, and where each method clips it."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq

# Colours of Okabe and Ito.
COLOURS = {
    "mse": "#0072B2",
    "aciq": "#009E73",
    "entropy": "#D55E00",
    "percentile": "#CC79A7",
    "minmax": "#000000",
}

x = np.random.default_rng(0).laplace(size=1_000_000)
x[:300] *= 4
counts, edges = pyfq.Observer("mse", bins=256).update(x).histogram()
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for panel, bits in zip(panels, (4, 8), strict=True):
    panel.stairs(counts, edges, fill=True, color="#cccccc")
    for method, colour in COLOURS.items():
        seen = pyfq.Observer(method).update(x)
        scale, _ = seen.scale(bits)
        sqnr = pyfq.quantize(x, bits, scale=scale, granularity=pyfq.PerTensor()).error(x).sqnr
        clip = float(seen.clip_range(bits)[1])
        panel.axvline(clip, color=colour, label=f"{method}: {clip:.1f}, {sqnr:.1f} dB")
    panel.set(yscale="log", xlim=(0, 48), xlabel="magnitude", title=f"{bits} bits, symmetric")
    panel.legend(title="method: clip, SQNR", fontsize=8, loc="upper right")
panels[0].set_ylabel("values in a bin")
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
