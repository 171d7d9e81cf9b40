"""What a user writes, for type checkers: `test_typing.py` runs them, nothing runs this."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import pyfq

x = np.zeros((256, 64), np.float32)
y = np.zeros(256, np.int64)

# Arrays in, objects with named parts out.
quantized = pyfq.quantize(x, 4, granularity=pyfq.PerGroup(32), scheme="affine")
assert_type(quantized, pyfq.Quantized)
assert_type(quantized.bits, int)
assert_type(quantized.shape, tuple[int, ...])
pruned = pyfq.prune_ratio(x, 0.5)
assert_type(pruned, pyfq.Pruned)
assert_type(pruned.sparsity, float)
lowrank = pyfq.svd_lowrank(x, rank=8)
assert_type(lowrank, pyfq.LowRank)
product: NDArray[Any] = pyfq.linear(x, quantized, activation=("leaky_relu", 0.1))
decoded: NDArray[Any] = np.asarray(quantized)

# Networks.
network = pyfq.Network.create((64, 32, 10), activation="elu").astype(np.float64)
assert_type(network, pyfq.Network)
assert_type(network.sizes, tuple[int, ...])
small = network.map_weights(lambda w: pyfq.quantize(w, 8))
sparse = network.map_weights(lambda w: pyfq.prune_nm(w))
outputs: NDArray[Any] = small.forward(x)
assert_type(small.nbytes, int)

# Training.
trained = pyfq.train(network, x, y, epochs=3, optimizer=pyfq.Adam(0.01), validation=(x, y))
assert_type(trained, pyfq.Training)
assert_type(trained.epochs[0].validation_loss, float | None)
distilled = pyfq.distill(trained.network, network, x, temperature=2.0)
assert_type(pyfq.evaluate(distilled.network, x, y).accuracy, float | None)


def teacher(samples: NDArray[Any]) -> NDArray[Any]:
    """Return logits."""
    return samples[:, :10]


pyfq.distill(teacher, network, x)

# Other libraries, files, recipes, figures: imported on first use.
assert_type(pyfq.from_onnx("teacher.onnx"), pyfq.Network)
assert_type(pyfq.load_network(Path("student.safetensors")), pyfq.Network)
pyfq.save_network(small, "student.safetensors")
with pyfq.io.open_checkpoint("model.safetensors") as checkpoint:
    assert_type(checkpoint.nbytes, int)
    weights: NDArray[Any] = checkpoint["fc1.weight"]
recipe = pyfq.recipes.Recipe((pyfq.recipes.Rule(("*",)),))
assert_type(recipe, pyfq.recipes.Recipe)
