"""An epoch of training: Adam, cross-entropy of labels, float32."""

import itertools
import warnings
from functools import partial

import numpy as np
from case import Case, Contenders, Goal, PerThreads
from numpy.typing import NDArray
from peers import module, torch

import pyfq
from pyfq import Network
from pyfq.reference.learning import train as reference

neural_network = module("sklearn.neural_network")

TINY = (
    Goal("training 64-32-10, against torch", mean=10.0, least=10.0, peers=("torch",)),
    Goal("training 64-32-10, against scikit-learn", mean=5.0, least=5.0, peers=("sklearn",)),
)
LARGE = (Goal("training", mean=1.3, least=1.3, peers=("torch", "sklearn")),)

SHORT = ("64-32-10, batch 64",)
SAMPLES = 10_000


def cases(quick: bool) -> list[Case]:
    if quick:
        return [case((6, 5, 4), 8, 40)]
    return [
        case((64, 32, 10), 64, goals=TINY),
        case((784, 256, 128, 10), 128, goals=LARGE),
        case((124, 512, 512, 60), 1024, goals=LARGE),
    ]


def case(
    sizes: tuple[int, ...], batch: int, samples: int = SAMPLES, goals: tuple[Goal, ...] = ()
) -> Case:
    weights = sum(n * k for n, k in itertools.pairwise(sizes))
    # Forward, and back by weights and, but for the first layer, by inputs.
    products = 3 * weights - sizes[0] * sizes[1]
    return Case(
        f"{'-'.join(map(str, sizes))}, batch {batch}",
        partial(epoch, sizes, batch, samples),
        moved=4 * samples * sizes[0] + 24 * weights * -(-samples // batch),
        elements=samples,
        flops=2 * samples * products,
        goals=goals,
    )


def epoch(sizes: tuple[int, ...], batch: int, samples: int) -> Contenders:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, sizes[0]), np.float32)
    y = rng.integers(0, sizes[-1], samples)
    network = Network.create(sizes)
    contenders: Contenders = {
        "pyfq": lambda: pyfq.train(network, x, y, epochs=1, batch_size=batch),
        "numpy reference": in_numpy(network, x, y, batch),
    }
    if torch:
        contenders["torch"] = in_torch(network, x, y, batch)
    if neural_network:
        contenders["sklearn.partial_fit"] = in_sklearn(sizes, x, y, batch)
    return contenders


def in_numpy(network: Network, x: NDArray, y: NDArray, size: int) -> PerThreads:
    layers = [[a.weights.copy(), a.bias.copy(), a.activation] for a in network.layers]
    state: dict = {}

    def call() -> None:
        order = np.random.default_rng(0).permutation(len(x))
        parts = [order[i : i + size] for i in range(0, len(x), size)]
        batches = [(x[p], np.full(len(p), 1 / len(p), np.float32), y[p]) for p in parts]
        rates = [np.float32(0.001)] * len(parts)
        reference.train_epoch(layers, batches, reference.cross_entropy, pyfq.Adam(), state, rates)

    return PerThreads(lambda _: call)


def in_torch(network: Network, x: NDArray, y: NDArray, size: int):
    parts = []
    for layer in network.layers:
        parts += [torch.nn.Linear(*layer.shape[::-1]), torch.nn.ReLU()]
    model, loss = torch.nn.Sequential(*parts[:-1]), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    samples, labels = torch.from_numpy(x), torch.from_numpy(y)

    def call() -> None:
        order = torch.randperm(len(x))
        for i in range(0, len(x), size):
            part = order[i : i + size]
            optimizer.zero_grad()
            loss(model(samples[part]), labels[part]).backward()
            optimizer.step()

    return call


def in_sklearn(sizes: tuple[int, ...], x: NDArray, y: NDArray, size: int) -> PerThreads:
    model = neural_network.MLPClassifier(sizes[1:-1], alpha=0, batch_size=size)
    classes = np.arange(sizes[-1])

    def call() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.partial_fit(x, y, classes=classes)

    return PerThreads(lambda _: call)
