"""Make ``equalize.png`` beside this file: error of outputs with one scale for each matrix."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfq
from pyfq import Network, PerTensor

rng = np.random.default_rng(1)
x = rng.uniform(0, 1, (500, 64)).astype(np.float32)
network = Network.create((64, 48, 32, 10))
sizes = 10.0 ** rng.uniform(-1, 1, 48)
first, second = (layer.weights for layer in network.layers[:2])
network = network.with_parameters(
    {
        "layers.0.weight": (first * sizes[:, None]).astype(np.float32),
        "layers.1.weight": (second / sizes).astype(np.float32),
    }
)
y = network.forward(x)
widths = range(3, 9)


def errors(start: Network, corrected: bool) -> list[float]:
    """Return the error of outputs for each width."""
    found = []
    for bits in widths:
        small = start.map_weights(
            lambda w, bits=bits: pyfq.quantize(w, bits, granularity=PerTensor())
        )
        small = pyfq.correct_bias(small, start, x) if corrected else small
        found.append(float(np.sqrt(np.mean((small.forward(x) - y) ** 2)) / y.std()))
    return found


figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
equal = pyfq.equalize(network)
for name, start, corrected, colour in (
    ("as it is", network, False, "#000000"),
    ("correct_bias", network, True, "#009E73"),
    ("equalize", equal, False, "#0072B2"),
    ("equalize, correct_bias", equal, True, "#D55E00"),
):
    axes.plot(widths, errors(start, corrected), "o-", color=colour, label=name)
axes.set(
    yscale="log", xlabel="bits, one scale for each matrix", ylabel="error of outputs over spread"
)
axes.legend()
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
