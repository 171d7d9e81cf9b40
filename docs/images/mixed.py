"""Make ``mixed.png`` beside this file: layers of 2 bytes and of 4 bits a weight beside float32."""

import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq

SIDES = (512, 1024, 2048, 4096, 8192)
MAKE = {
    "bfloat16": (lambda w: pyfq.to_half(w, "bfloat16"), "#0072B2"),
    "float16": (lambda w: pyfq.to_half(w, "float16"), "#009E73"),
    "nf4": (pyfq.quantize_codebook, "#D55E00"),
}


def seconds(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the best time of each of some calls, in turns."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(15):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
gains: dict[tuple[int, str], list[float]] = {(b, name): [] for b in (1, 8) for name in MAKE}
for side in SIDES:
    w = np.random.default_rng(0).standard_normal((side, side), np.float32)
    for batch in (1, 8):
        x = np.ones((batch, side), np.float32)
        layers = {name: pyfq.prepare(make(w), batch=batch) for name, (make, _) in MAKE.items()}
        layers["float32"] = pyfq.prepare(w, batch=batch)
        best = seconds({name: lambda x=x, p=p: pyfq.linear(x, p) for name, p in layers.items()})
        for name in MAKE:
            gains[batch, name].append(best["float32"] / best[name])
for panel, batch in zip(panels, (1, 8), strict=True):
    for name, (_, colour) in MAKE.items():
        panel.plot(SIDES, gains[batch, name], "o-", color=colour, label=name)
    panel.axhline(1, color="#999999", lw=0.8)
    panel.set_xscale("log", base=2)
    panel.set(xlabel="rows and columns", title=f"{batch} row{'s' * (batch > 1)} a call")
panels[0].set_ylabel("times as fast as float32")
panels[0].legend()
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
