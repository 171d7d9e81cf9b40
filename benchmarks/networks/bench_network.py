"""Forward passes of networks of the size that scientific codes embed."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
from case import Case, Contenders, Goal, PerThreads, Target, agreeing
from numpy.typing import NDArray
from peers import module, onnx_model, onnxruntime, torch

import pyfq
from pyfq import Network, reference

neural_network = module("sklearn.neural_network")

ONE = Goal("inference, batch 1", mean=5.0, least=5.0, peers=("torch", "onnxruntime"))
MANY = Goal("inference, batch 16 ... 4096", mean=1.0, least=1.0, peers=("torch", "onnxruntime"))
FASTER = (Target("speed", "pyfq float32", 2.0),) if "vnni" in pyfq.isa else ()

SIZES = ((64, 32, 10), (784, 256, 128, 10), (124, 512, 512, 60))
BATCHES = (1, 16, 64, 256, 1024, 4096)
SHORT = (
    "64-32-10, batch 1", "64-32-10, batch 256", "124-512-512-60, batch 1",
    "124-512-512-60, batch 256", "int8 124-512-512-60, batch 256",
    "fixed int8 784-1024-1024-10, batch 256",
)  # fmt: skip


def cases(quick: bool) -> list[Case]:
    if quick:
        return [
            case((8, 6, 4), 3), case((8, 6, 4), 1), case((8, 6, 4), 5, bits=8),
            fixed_case((8, 6, 4), 5),
        ]  # fmt: skip
    return [
        *(case(sizes, batch) for sizes in SIZES for batch in BATCHES),
        *(case((124, 512, 512, 60), batch, bits=8) for batch in (256, 1024, 4096)),
        case((1024, 1024, 1024, 1024), 256, bits=8),
        *(fixed_case((784, 1024, 1024, 10), batch) for batch in (1, 16, 256, 1024)),
    ]


def case(sizes: tuple[int, ...], batch: int, bits: int | None = None) -> Case:
    weights = sum(n * k for n, k in itertools.pairwise(sizes))
    goal = (ONE if batch == 1 else MANY,)
    if sizes == (784, 256, 128, 10) and batch == 1:
        goal = ()
    return Case(
        f"{'int8 ' * bool(bits)}{'-'.join(map(str, sizes))}, batch {batch}",
        partial(forward, sizes, batch, bits),
        moved=weights * (1 if bits else 4) + 4 * batch * (sizes[0] + sizes[-1]),
        elements=batch * sizes[-1],
        targets=FASTER if bits else (),
        flops=2 * batch * weights,
        unit="int8" if bits else "float32",
        goals=() if bits else goal,
    )


def forward(sizes: tuple[int, ...], batch: int, bits: int | None) -> Contenders:
    network = Network.create(sizes)
    x = np.random.default_rng(0).standard_normal((batch, sizes[0]), np.float32)
    if bits:
        codes = network.map_weights(lambda w: pyfq.quantize(w, bits))
        small = Network(codes.layers, activation_bits=8)
        return {"pyfq": lambda: small.forward(x), "pyfq float32": lambda: network.forward(x)}
    contenders: Contenders = {"pyfq": lambda: network.forward(x)}
    if batch * network.size < 10**8:
        contenders["reference"] = lambda: reference.forward_network(x, network)
    if torch:
        contenders["torch"] = in_torch(network, x)
    if onnxruntime:
        contenders["onnxruntime"] = in_onnxruntime(network, x)
    contenders = agreeing(contenders, 1e-5)
    if neural_network:
        contenders["sklearn.predict_proba"] = in_sklearn(network, x)
    return contenders


def fixed_case(sizes: tuple[int, ...], batch: int) -> Case:
    weights = sum(n * k for n, k in itertools.pairwise(sizes))
    return Case(
        f"fixed int8 {'-'.join(map(str, sizes))}, batch {batch}",
        partial(forward_fixed, sizes, batch),
        moved=weights + 4 * batch * (sizes[0] + sizes[-1]),
        elements=batch * sizes[-1],
        targets=(Target("speed", "pyfq dynamic", 1.1),) if "vnni" in pyfq.isa else (),
        flops=2 * batch * weights,
        unit="int8",
    )


def forward_fixed(sizes: tuple[int, ...], batch: int) -> Contenders:
    """Return forward passes of codes by codes, of scales that are fixed or found in each call."""
    network = Network.create(sizes)
    x = np.random.default_rng(0).standard_normal((max(batch, 256), sizes[0]), np.float32)
    fixed = network.map_weights(lambda w: pyfq.quantize(w, 8)).calibrate(x)
    x = x[:batch].copy()
    dynamic = Network(
        [replace(layer, x_scale=None, x_zero_point=None) for layer in fixed.layers],
        activation_bits=8,
    )
    contenders: Contenders = {
        "pyfq": lambda: fixed.forward(x),
        "reference": lambda: reference.forward_network(x, fixed),
    }
    if onnxruntime:
        contenders["onnxruntime"] = fixed_in_onnxruntime(fixed, x)
    contenders = agreeing(contenders, 0.01)
    contenders["pyfq dynamic"] = lambda: dynamic.forward(x)
    return contenders


def fixed_in_onnxruntime(network: Network, x: NDArray) -> PerThreads:
    """Return the call of the same codes, by the operators that its own quantizer ends with."""
    nodes, constants, last = [], {}, len(network.layers) - 1
    for i, layer in enumerate(network.layers):
        w = layer.weights
        constants |= {
            f"w{i}": np.ascontiguousarray(w.codes.T),
            f"ws{i}": w.scale.reshape(-1),
            f"wz{i}": np.zeros(w.shape[0], np.int8),
            f"b{i}": np.rint(layer.bias / (layer.x_scale * w.scale[:, 0])).astype(np.int32),
            f"xs{i}": np.asarray(layer.x_scale),
            f"xz{i}": np.array(layer.x_zero_point, np.uint8),
        }
    nodes.append(("QuantizeLinear", ["x", "xs0", "xz0"], ["q0"], {}))
    for i in range(last + 1):
        inputs = [f"q{i}", f"xs{i}", f"xz{i}", f"w{i}", f"ws{i}", f"wz{i}", f"b{i}"]
        # Codes from 0 on are those of what relu gives.
        inputs += [f"xs{i + 1}", f"xz{i + 1}"] if i < last else []
        nodes.append(("QGemm", inputs, ["y" if i == last else f"q{i + 1}"], {}))
    y = ("y", (len(x), network.sizes[-1]), np.float32)
    return onnx_model(nodes, {"x": x}, constants, y)


def in_torch(network: Network, x: NDArray):
    parts = []
    for layer in network.layers:
        linear = torch.nn.Linear(*layer.shape[::-1])
        linear.weight.data = torch.from_numpy(layer.weights.copy())
        linear.bias.data = torch.from_numpy(layer.bias.copy())
        parts += [linear, torch.nn.ReLU()]
    model, t = torch.nn.Sequential(*parts[:-1]).eval(), torch.from_numpy(x)

    @torch.inference_mode()
    def call() -> NDArray:
        return model(t).numpy()

    return call


def in_onnxruntime(network: Network, x: NDArray) -> PerThreads:
    nodes, weights, last = [], {}, len(network.layers) - 1
    for i, layer in enumerate(network.layers):
        weights |= {f"w{i}": layer.weights, f"b{i}": layer.bias}
        sums = "y" if i == last else f"sums{i}"
        nodes.append(("Gemm", [f"x{i}", f"w{i}", f"b{i}"], [sums], {"transB": 1}))
        if i < last:
            nodes.append(("Relu", [sums], [f"x{i + 1}"], {}))
    return onnx_model(nodes, {"x0": x}, weights, ("y", (len(x), network.sizes[-1]), np.float32))


def in_sklearn(network: Network, x: NDArray):
    """Return the call on a classifier of the same sizes; its weights do not matter."""
    model = neural_network.MLPClassifier(network.sizes[1:-1], max_iter=1)
    model.partial_fit(x[:1], [0], classes=np.arange(network.sizes[-1]))
    return lambda: model.predict_proba(x)
