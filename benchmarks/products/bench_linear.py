"""Layers: floats, 8-bit activations with weights of 8 and 4 bits, and what is fused into them."""

import warnings
from functools import partial

import numpy as np
from case import Case, Contenders, Goal, Target, agreeing, blas, weights
from numpy.typing import NDArray
from peers import module, onnx_model, onnxruntime, torch

import pyfq
from pyfq import PerGroup, PerRow, reference
from pyfq._core.grid import Granularity

# torch says that its quantized tensors are on their way out.
warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
torch_dynamic = torch and module("torch.ao.nn.quantized.dynamic")

SKINNY = Goal("float32 layers", mean=1.2, least=1.0)
INT8 = Goal("dynamic int8, k >= 1024", mean=1.0, least=1.0, peers=("torch", "onnxruntime"))
INT8_SHORT = Goal("dynamic int8, k = 256", mean=0.6, least=0.6, peers=("torch", "onnxruntime"))
INT4 = Goal("int4, batch <= 8, against MatMulNBits", mean=1.0, least=1.0, peers=("onnxruntime",))

# int8 against our float32, where the machine multiplies bytes.
FASTER = (Target("speed", "pyfq float32", 3.3),) if "vnni" in pyfq.isa else ()
BANDWIDTH = (Target("fraction", "the machine", 0.9),)

SHORT = (
    "float32 1024 x 1024 x 1024", "float32 64 x 1024 x 1024, prepared",
    "relu 1 x 784 x 256", "relu 64 x 784 x 256", "relu 1024 x 512 x 512",
    "gelu 512 x 512 x 512", "int8 1024 x 256 x 1024", "int8 1024 x 1024 x 1024",
    "int8 64 x 4096 x 4096", "int8 1 x 4096 x 4096", "int4 per 32 1 x 4096 x 4096",
    "int4 per 128 1 x 4096 x 4096", "int4 per 128 64 x 4096 x 4096",
)  # fmt: skip


def cases(quick: bool) -> list[Case]:
    if quick:
        return [
            dense(8, 64, 96, prepared=True), dense(8, 64, 96, activation="relu"),
            dense(8, 64, 96, activation="gelu"), int8(8, 64, 96, targets=FASTER + BANDWIDTH),
            int4(8, 64, 96, 32),
        ]  # fmt: skip
    return [
        *(
            dense(m, 1024, 1024, prepared=prepared)
            for m in (1, 64, 1024)
            for prepared in (False, True)
        ),
        # 784-256-128-10, 64-32-10 and 124-512-512-60.
        *(
            dense(m, k, n, activation="relu")
            for k, n in ((784, 256), (256, 128), (128, 10), (64, 32), (124, 512), (512, 512))
            for m in (1, 16, 64, 1024)
        ),
        *(dense(n, n, n, activation="gelu") for n in (512, 1024, 2048)),
        *(
            int8(m, k, n, targets=FASTER if min(m, k, n) >= 1024 else ())
            for m, k, n in (
                (1024, 256, 1024), (1024, 1024, 1024), (1024, 4096, 1024), (2048, 2048, 2048),
                (64, 256, 1024), (64, 1024, 1024), (64, 4096, 4096), (8, 1024, 1024),
                (8, 4096, 4096), (1, 1024, 1024),
            )
        ),
        int8(1, 4096, 4096, targets=BANDWIDTH),
        int8(1, 8192, 14336, targets=BANDWIDTH),
        *(
            int4(m, 4096, 4096, group)
            for group in (32, 128)
            for m in (1, 2, 4, 8, 64, 256)
        ),
        int4(1, 8192, 14336, 128),
    ]  # fmt: skip


def dense(m: int, k: int, n: int, *, prepared: bool = False, activation: str = "") -> Case:
    """Return a layer of floats; one that is activated has a bias and prepared weights."""
    name = f"{activation or 'float32'} {m} x {k} x {n}" + ", prepared" * prepared
    setup = partial(activated, m, k, n, activation) if activation else partial(plain, m, k, n)
    fused = (Target("speed", "pyfq bare", 0.95),) if activation == "gelu" else ()
    return Case(
        name,
        setup if activation else partial(setup, prepared),
        moved=4 * (m * k + k * n + m * n + n * bool(activation)),
        elements=m * n,
        flops=2 * m * k * n,
        targets=fused,
        goals=() if fused else (SKINNY,),
    )


def int8(m: int, k: int, n: int, *, targets: tuple[Target, ...] = ()) -> Case:
    goals = {256: (INT8_SHORT,)}.get(k, (INT8,) if k >= 1024 else ())
    setup = partial(quantized, m, k, n, 8, PerRow())
    return _codes(f"int8 {m} x {k} x {n}", setup, m, k, n, k * n + 4 * n, targets, goals)


def int4(m: int, k: int, n: int, group: int) -> Case:
    targets = (
        Target("speed", "pyfq int8", 1.5) if m <= 8 else Target("speed", "pyfq int8", 0.8),
    )  # fmt: skip
    setup = partial(quantized, m, k, n, 4, PerGroup(group))
    held = k * n // 2 + 4 * n * (k // group)
    goals = (INT4,) if m <= 8 else ()
    return _codes(f"int4 per {group} {m} x {k} x {n}", setup, m, k, n, held, targets, goals)


def _codes(name, setup, m, k, n, held, targets, goals) -> Case:
    """Return a layer of codes of so many bytes, applied to floats that are quantized each time."""
    return Case(
        name, setup, moved=held + 4 * (m * k + m * n), elements=m * n, flops=2 * m * k * n,
        unit="int8", targets=targets, goals=goals,
    )  # fmt: skip


def data(m: int, k: int, n: int) -> tuple[NDArray, NDArray, NDArray]:
    generator = np.random.default_rng(1)
    x = generator.standard_normal((m, k), np.float32)
    return x, weights((n, k)), generator.standard_normal(n, np.float32)


def plain(m: int, k: int, n: int, prepared: bool) -> Contenders:
    x, w, _ = data(m, k, n)
    held = pyfq.prepare(w, batch=m) if prepared else w
    contenders: Contenders = {
        "pyfq": lambda: pyfq.linear(x, held),
        "reference": lambda: reference.linear(x, w),
        "numpy matmul": blas(lambda: x @ w.T),
    }
    if torch:
        tx, tw = torch.from_numpy(x), torch.from_numpy(w)
        contenders["torch linear"] = lambda: torch.nn.functional.linear(tx, tw)
    if onnxruntime:
        contenders["onnxruntime Gemm"] = onnx_model(
            [("Gemm", ["x", "w"], ["y"], {"transB": 1})], {"x": x}, {"w": w},
            ("y", (m, n), np.float32),
        )  # fmt: skip
    return agreeing(contenders, 1e-5)


def activated(m: int, k: int, n: int, activation: str) -> Contenders:
    x, w, bias = data(m, k, n)
    held = pyfq.prepare(w, batch=m)
    contenders: Contenders = {
        "pyfq": lambda: pyfq.linear(x, held, bias, activation=activation),
        "reference": lambda: reference.linear(x, w, bias, activation=activation),
    }
    if activation == "relu":
        contenders["numpy matmul, maximum"] = blas(lambda: np.maximum(x @ w.T + bias, 0))
    function = {"relu": "Relu", "gelu": "Gelu"}[activation]
    if torch:
        tx, tw, tb = map(torch.from_numpy, (x, w, bias))
        f = torch.nn.functional
        activate = {"relu": f.relu, "gelu": f.gelu}[activation]
        contenders[f"torch linear, {activation}"] = lambda: activate(f.linear(tx, tw, tb))
    if onnxruntime:
        contenders[f"onnxruntime Gemm, {function}"] = onnx_model(
            [("Gemm", ["x", "w", "b"], ["z"], {"transB": 1}), (function, ["z"], ["y"], {})],
            {"x": x}, {"w": w, "b": bias}, ("y", (m, n), np.float32),
        )  # fmt: skip
    agreeing(contenders, 1e-5)
    if activation == "gelu":
        contenders["pyfq bare"] = lambda: pyfq.linear(x, held)
    return contenders


def quantized(m: int, k: int, n: int, bits: int, granularity: Granularity) -> Contenders:
    """Return layers of codes with activations of 8 bits, and those they are to be faster than."""
    x, w, bias = data(m, k, n)
    q = pyfq.quantize(w, bits, granularity=granularity)
    held = pyfq.prepare(q, activation_bits=8, batch=m)
    contenders: Contenders = {"pyfq": lambda: pyfq.linear(x, held, bias)}
    if k * n <= 2**20:
        contenders["reference"] = lambda: reference.linear(x, q, bias, activation_bits=8)
    if bits == 8:
        if torch_dynamic:
            contenders |= {
                f"torch dynamic, {engine}": in_torch(x, q, bias, engine)
                for engine in ("x86", "onednn")
                if engine in torch.backends.quantized.supported_engines
            }
        if onnxruntime:
            contenders["onnxruntime DynamicQuantizeMatMul"] = in_onnxruntime(x, q, bias)
        # torch leaves a bit of the activations unused, which is what differs most.
        agreeing(contenders, 0.02)
        dense = pyfq.prepare(w, batch=m)
        contenders["pyfq float32"] = lambda: pyfq.linear(x, dense, bias)
    else:
        if onnxruntime:
            contenders["onnxruntime MatMulNBits"] = nibbles_in_onnxruntime(x, q, bias)
        agreeing(contenders, 0.02)
        bytes_held = pyfq.prepare(pyfq.quantize(w), activation_bits=8, batch=m)
        contenders["pyfq int8"] = lambda: pyfq.linear(x, bytes_held, bias)
    return contenders


def in_torch(x: NDArray, q: pyfq.Quantized, bias: NDArray, engine: str):
    was = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        layer = torch_dynamic.Linear(*reversed(q.shape))
        scale = torch.from_numpy(q.scale.reshape(-1)).double()
        zeros = torch.zeros(q.shape[0], dtype=torch.int64)
        w = torch._make_per_channel_quantized_tensor(torch.from_numpy(q.codes), scale, zeros, 0)
        layer.set_weight_bias(w, torch.from_numpy(bias))
    finally:
        torch.backends.quantized.engine = was
    tx = torch.from_numpy(x)

    def call():
        with torch.inference_mode():
            return layer(tx)

    return call


def in_onnxruntime(x: NDArray, q: pyfq.Quantized, bias: NDArray):
    n = q.shape[0]
    constants = {
        "w": np.ascontiguousarray(q.codes.T), "scale": q.scale.reshape(n),
        "zero": np.zeros(n, np.int8), "b": bias,
    }  # fmt: skip
    return onnx_model(
        [("DynamicQuantizeMatMul", ["x", *constants], ["y"], {})], {"x": x}, constants,
        ("y", (len(x), n), np.float32),
    )  # fmt: skip


def nibbles_in_onnxruntime(x: NDArray, q: pyfq.Quantized, bias: NDArray):
    """Return a contender with activations of 8 bits (accuracy level 4): blocks of a group each."""
    n, k = q.shape
    size = q.granularity.size
    codes = (q.codes + 8).astype(np.uint8).reshape(n, k // size, size)  # 8 is the zero point
    constants = {
        "w": codes[..., ::2] | codes[..., 1::2] << 4, "scale": q.scale.reshape(n, k // size),
    }  # fmt: skip
    attributes = {"K": k, "N": n, "bits": 4, "block_size": size, "accuracy_level": 4}
    return onnx_model(
        [("MatMulNBits", ["x", "w", "scale", "", "", "b"], ["y"], attributes)],
        {"x": x}, constants | {"b": bias}, ("y", (len(x), n), np.float32),
    )  # fmt: skip
