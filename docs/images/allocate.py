"""Make ``allocate.png`` beside this file: errors within a budget, of one width and of many."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq

rng = np.random.default_rng(0)
shapes = {"embedding": (8000, 128)} | {f"layer {i}": (128, 128) for i in range(12)}
w = {name: rng.laplace(size=shape).astype(np.float32) for name, shape in shapes.items()}
groups = pyfq.PerGroup(64)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
uniform = [pyfq.allocate_bits(w, 99, (bits,), granularity=groups) for bits in range(2, 9)]
left.plot(
    [found.bits_per_weight for found in uniform], [found.total_error for found in uniform],
    "o", color="#000000", label="one width",
)  # fmt: skip
budgets = np.arange(2.75, 8.6, 0.25)
mixed = [pyfq.allocate_bits(w, b, range(2, 9), granularity=groups) for b in budgets]
left.plot(
    [found.bits_per_weight for found in mixed], [found.total_error for found in mixed],
    ".-", color="#0072B2", label="allocate_bits",
)  # fmt: skip
left.set(yscale="log", xlabel="bits a weight", ylabel="sum of relative errors")
left.legend()
right.step(budgets, [found.bits["embedding"] for found in mixed], color="#D55E00", where="mid")
right.step(budgets, [np.mean([found.bits[k] for k in w if k != "embedding"]) for found in mixed],
           color="#0072B2", where="mid")  # fmt: skip
right.set(xlabel="budget", ylabel="bits")
right.legend(["table of 8000 x 128", "mean of 12 layers of 128 x 128"])
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
