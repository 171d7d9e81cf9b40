"""Make ``lowrank.png`` beside this file: error of outputs against rank, with and without data."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq

rng = np.random.default_rng(0)
correlated = rng.standard_normal((2000, 256)) * np.geomspace(1, 0.05, 256)
correlated = correlated @ np.linalg.qr(rng.standard_normal((256, 256)))[0]
x = correlated * rng.permutation(np.geomspace(1, 0.05, 256))
w = rng.standard_normal((384, 256)) * np.geomspace(1, 0.2, 256)
ranks = np.array([4, 8, 16, 32, 64, 96, 128, 153])
y = x @ w.T
methods = {
    "SVD": ({}, "#000000"),
    "ASVD, diagonal": ({"scale": np.sqrt(np.abs(x).mean(axis=0))}, "#0072B2"),
    "SVD-LLM, x": ({"x": x}, "#D55E00"),
}
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, (how, colour) in methods.items():
    errors = []
    for rank in ranks:
        low = pyfq.svd_lowrank(w, int(rank), **how)
        errors.append(np.linalg.norm(x @ low.toarray().T - y) / np.linalg.norm(y))
    axes.plot(ranks, errors, "o-", color=colour, label=name)
axes.axvline(pyfq.break_even_rank(*w.shape), color="#999999", ls="--", label="break-even rank")
axes.set(yscale="log", xlabel="rank of weights 384 x 256", ylabel="relative error of outputs")
axes.legend()
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
