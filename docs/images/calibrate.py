"""Make ``calibrate.png`` beside this file: what each calibration gains over the range, by bits."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq

# Colours of Okabe and Ito.
COLOURS = {
    "als": "#0072B2",
    "mse": "#009E73",
    "hqq": "#D55E00",
    "aciq": "#CC79A7",
    "percentile": "#E69F00",
    "minmax": "#000000",
}

w = np.random.default_rng(0).standard_normal((512, 1024), np.float32)
widths = (2, 3, 4, 5, 6, 8)
panels = (
    ("minmax, groups of 64", "minmax", pyfq.PerGroup(64)),
    ("minmax, rows of 1024", "minmax", pyfq.PerRow()),
    ("symmetric, groups of 64", "symmetric", pyfq.PerGroup(64)),
)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
for panel, (title, scheme, granularity) in zip(axes, panels, strict=True):
    how = {"scheme": scheme, "granularity": granularity}
    plain = [pyfq.quantize(w, bits, **how).error(w).sqnr for bits in widths]
    for calibration, colour in COLOURS.items():
        if (calibration, scheme) == ("hqq", "symmetric"):
            continue
        sqnr = [
            pyfq.quantize(w, bits, calibration=calibration, **how).error(w).sqnr for bits in widths
        ]
        style = ":" if calibration == "minmax" else "o-"
        gain = np.subtract(sqnr, plain)
        panel.plot(widths, gain, style, color=colour, label=calibration, markersize=4)
    panel.set(title=title, xlabel="bits", xticks=widths)
axes[0].set_ylabel("SQNR over that of minmax, dB")
axes[0].set_ylim(-1, 7)
axes[1].legend(fontsize=8)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
