"""Public functions and classes, called with arguments that nobody should pass.

Each call takes arguments that work, and one or two of them exchanged for something else: of another
type, dtype, shape, order or size, not finite, far out of range.  Whatever comes out, it is an
exception that the documentation names; arguments stay as they were; and what is returned for finite
arguments is finite.  The calls are drawn from seeds, 25 of each function; 1250 with
``--hypothesis-profile=thorough``.
"""

import dataclasses
import importlib
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import pyfq
from pyfq import (
    Adam,
    Codebook,
    Dense,
    FakeQuantize,
    Half,
    Hint,
    LowRank,
    Network,
    Observer,
    PerColumn,
    PerGroup,
    PerRow,
    PerTensor,
    Quantized,
    Schedule,
    Sparse,
)

CALLS = settings.default.max_examples // 4
DOCUMENTED = (TypeError, ValueError, MemoryError, FloatingPointError, OSError, pyfq.FqError)

# Not finite where they say that something is not there, or beyond a largest number.
MAY_BE_INFINITE = {"threshold", "sqnr", "mse", "seconds"}
# What passes on what is not finite.
PASSES = {"activate", "matmul", "linear", "cast_to", "cast_from", "forward"}
# Arguments that take any size, which would take as long or as much memory.
UNBOUNDED = {"epochs", "batch", "sizes", "max_iterations", "last", "epochs_of"}


def array(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def pruned(*shape):
    return pyfq.prune_nm(array(*shape)).weights


def network(*sizes):
    return Network.create(sizes or (4, 6, 3), seed=1)


def labels(samples=9, outputs=3):
    return np.arange(samples) % outputs


def parts(frozen):
    return {f.name: getattr(frozen, f.name) for f in dataclasses.fields(frozen) if f.init}


def with_threads(n):
    with pyfq.num_threads(n):
        pass


def set_threads(n):
    try:
        pyfq.set_num_threads(n)
    finally:
        pyfq.set_num_threads(None)


def coded(sizes=(4, 6, 3)):
    return network(*sizes).map_weights(lambda w: pyfq.quantize(w, 8))


W, X = (6, 8), (9, 4)
TRAINING = {
    "optimizer": Adam(0.01), "epochs": 1, "batch_size": 4, "seed": 1, "schedule": Schedule(),
    "clip": 1.0, "keep_zeros": False, "fake_quantize": FakeQuantize(4), "patience": None,
    "callback": None, "delta": 1.0,
}  # fmt: skip


def quantizing():
    return {
        "w": array(*W), "bits": 4, "scheme": "affine", "granularity": PerRow(),
        "rounding": "half_even", "range": "narrow", "scale": None, "zero_point": None,
        "calibration": "minmax", "percentile": None, "seed": None, "reciprocal": False,
    }  # fmt: skip


def pruning(**more):
    return {"w": array(*W), "scores": array(*W), "out": None, **more}


# Of each callable: what is called, and what makes the arguments it works with.
CALLABLES = {
    "activate": (pyfq.activate, lambda: {"x": array(*W), "activation": "gelu", "out": None}),
    "allocate_bits": (
        pyfq.allocate_bits,
        lambda: {
            "tensors": {"a": array(*W), "b": array(3, 4)},
            "budget_bits_per_weight": 30.0,
            "choices": (2, 4),
            "sensitivity": "relative",
            "pinned": None,
            "scheme": "affine",
            "granularity": PerRow(),
            "quantizer": None,
        },
    ),
    "break_even_rank": (pyfq.break_even_rank, lambda: {"rows": 8, "cols": 9}),
    "cast_from": (
        pyfq.cast_from,
        lambda: {"bits": np.arange(8, dtype=np.uint16), "format": "float16", "out": None},
    ),
    "cast_to": (pyfq.cast_to, lambda: {"x": array(*W), "to": "bfloat16", "out": None}),
    "correct_bias": (
        pyfq.correct_bias,
        lambda: {"network": coded(), "original": network(), "x": array(*X)},
    ),
    "distill": (
        pyfq.distill,
        lambda: {
            "teacher": network(4, 5, 3),
            "student": network(),
            "x": array(*X),
            "y": labels(),
            "temperature": 2.0,
            "alpha": 0.5,
            "loss": "kl",
            "hints": (Hint(0, 0),),
            "data_loss": None,
            "sample_weight": None,
            "class_weight": np.ones(3, np.float32),
            "validation": (array(*X), labels()),
            **TRAINING,
        },
    ),
    "distortion": (pyfq.distortion, lambda: {"w": array(*W), "v": array(*W, seed=1)}),
    "entropy_decode": (
        pyfq.entropy_decode,
        lambda: {
            "stream": pyfq.entropy_encode(np.eye(5, dtype=np.int8)),
            "rows": (1, 3),
            "out": None,
        },
    ),
    "entropy_encode": (
        pyfq.entropy_encode,
        lambda: {
            "codes": np.zeros((5, 6), np.int16),
            "trellis": 8,
            "classes": np.arange(5, dtype=np.uint8),
        },
    ),
    "entropy_header": (
        pyfq.entropy_header,
        lambda: {"stream": pyfq.entropy_encode(np.eye(5, dtype=np.int8))},
    ),
    "equalize": (
        pyfq.equalize,
        lambda: {"network": network(), "power_of_two": True, "tolerance": 0.1, "max_iterations": 3},
    ),
    "evaluate": (
        pyfq.evaluate,
        lambda: {
            "network": network(),
            "x": array(*X),
            "y": labels(),
            "teacher": array(9, 3),
            "top_k": (1, 2),
            "batch_size": 4,
        },
    ),
    "evaluate outputs": (
        pyfq.evaluate,
        lambda: {"network": network(), "x": array(*X), "y": array(9, 3), "teacher": network()},
    ),
    "fake_quantize": (pyfq.fake_quantize, lambda: {**quantizing(), "out": None}),
    "from_arrays": (
        pyfq.from_arrays,
        lambda: {
            "arrays": {"a.weight": array(3, 4), "b.weight": array(2, 3)},
            "activation": "relu",
            "output_activation": None,
        },
    ),
    "linear": (
        pyfq.linear,
        lambda: {
            "x": array(5, 8),
            "w": array(*W),
            "bias": array(6),
            "activation": ("leaky_relu", 0.1),
            "activation_bits": None,
            "accumulation": None,
            "out": None,
        },
    ),
    "linear of codes": (
        pyfq.linear,
        lambda: {"x": array(5, 8), "w": pyfq.quantize(array(*W), 4), "activation_bits": 8},
    ),
    "linear of zeros": (
        pyfq.linear,
        lambda: {"x": array(5, 8), "w": pyfq.to_sparse(pruned(*W), "nm"), "bias": array(6)},
    ),
    "lossless_decode": (
        pyfq.lossless_decode,
        lambda: {"stream": pyfq.lossless_encode(array(*W)), "out": None},
    ),
    "lossless_encode": (pyfq.lossless_encode, lambda: {"w": array(*W)}),
    "matmul": (
        pyfq.matmul,
        lambda: {
            "a": array(5, 8),
            "b": array(*W),
            "transpose_a": False,
            "transpose_b": True,
            "bias": array(6),
            "activation": "relu",
            "accumulation": "float64",
            "out": None,
        },
    ),
    "matmul_integer": (
        pyfq.matmul_integer,
        lambda: {
            "a": np.ones((5, 8), np.uint8),
            "b": np.ones((8, 3), np.int8),
            "a_zero_point": 1,
            "b_zero_point": np.ones(3, np.int8),
            "out": None,
        },
    ),
    "num_threads": (with_threads, lambda: {"n": 1}),
    "pack": (pyfq.pack, lambda: {"codes": np.ones((3, 5), np.uint8), "bits": 3, "dtype": np.int32}),
    "prepare": (
        pyfq.prepare,
        lambda: {"w": pyfq.quantize(array(*W), 4), "activation_bits": 8, "batch": 2},
    ),
    "prune_global": (
        pyfq.prune_global,
        lambda: {
            "tensors": {"a": array(*W), "b": array(3, 4)},
            "ratio": 0.5,
            "scores": None,
            "out": None,
        },
    ),
    "prune_layers": (
        pyfq.prune_layers,
        lambda: {
            "network": network(4, 4, 4, 3),
            "x": array(*X),
            "y": labels(),
            "count": 1,
            "tolerance": 1.0,
            "loss": "cross_entropy",
            "delta": 1.0,
        },
    ),
    "prune_neurons": (
        pyfq.prune_neurons,
        lambda: {
            "network": network(),
            "ratio": 0.5,
            "x": array(*X),
            "y": labels(),
            "criterion": "taylor",
            "loss": None,
            "delta": 1.0,
            "round_to": 2,
        },
    ),
    "prune_nm": (pyfq.prune_nm, lambda: pruning(n=2, m=4)),
    "prune_percentile": (pyfq.prune_percentile, lambda: pruning(rate=30.0, granularity=PerRow())),
    "prune_ratio": (pyfq.prune_ratio, lambda: pruning(ratio=0.5, granularity=PerGroup(3))),
    "prune_rows": (pyfq.prune_rows, lambda: pruning(ratio=0.5, norm=2, round_to=2)),
    "prune_threshold": (
        pyfq.prune_threshold,
        lambda: pruning(threshold=np.ones((6, 1), np.float32), granularity=PerRow()),
    ),
    "quantize": (pyfq.quantize, quantizing),
    "quantize given": (
        pyfq.quantize,
        lambda: {
            **quantizing(),
            "scale": np.ones((6, 1), np.float32),
            "rounding": "stochastic",
            "zero_point": 3,
            "seed": 7,
        },
    ),
    "quantize_codebook": (
        pyfq.quantize_codebook,
        lambda: {
            "w": array(*W),
            "codebook": "lloyd",
            "bits": 3,
            "granularity": PerGroup(4),
            "calibration": "absmax",
            "scale_bits": 8,
            "weights": np.ones(W, np.float32),
            "initialization": "kmeans++",
            "seed": 1,
            "iterations": 9,
        },
    ),
    "quantize_rate": (
        pyfq.quantize_rate,
        lambda: {
            "w": array(*W),
            "step": 0.5,
            "granularity": PerRow(),
            "trellis": 8,
            "tradeoff": 0.3,
        },
    ),
    "quantize_rate of bits": (pyfq.quantize_rate, lambda: {"w": array(60, 80), "bits": 3.0}),
    "quantize_rate of an error": (
        pyfq.quantize_rate,
        lambda: {"w": array(*W), "sqnr": 20.0, "trellis": None},
    ),
    "quantize_fixed_point": (
        pyfq.quantize_fixed_point,
        lambda: {
            "w": array(*W),
            "integer_bits": 2,
            "fraction_bits": 3,
            "signed": True,
            "rounding": "floor",
            "overflow": "wrap",
            "seed": None,
        },
    ),
    "quantized_matmul": (
        pyfq.quantized_matmul,
        lambda: {
            "a": np.ones((5, 8), np.uint8),
            "a_scale": 0.5,
            "a_zero_point": 1,
            "b": np.ones((8, 3), np.int8),
            "b_scale": np.ones(3, np.float32),
            "b_zero_point": 0,
            "y_scale": 0.25,
            "y_zero_point": np.uint8(3),
            "out": None,
        },
    ),
    "select_kth": (
        pyfq.select_kth,
        lambda: {"x": array(*W), "k": 2, "granularity": PerRow(), "magnitude": True},
    ),
    "set_num_threads": (set_threads, lambda: {"n": 1}),
    "show_config": (pyfq.show_config, lambda: {"mode": "dict"}),
    "soften": (pyfq.soften, lambda: {"logits": array(*W), "temperature": 2.0}),
    "svd_lowrank": (
        pyfq.svd_lowrank,
        lambda: {
            "w": array(*W),
            "rank": 2,
            "ratio": None,
            "energy": None,
            "tolerance": None,
            "method": "randomized",
            "seed": 1,
            "oversampling": 2,
            "power_iterations": 1,
            "x": array(5, 8),
            "gram": None,
            "scale": None,
            "residual": FakeQuantize(4).apply,
        },
    ),
    "to_half": (pyfq.to_half, lambda: {"w": array(*W), "format": "float16"}),
    "to_sparse": (pyfq.to_sparse, lambda: {"w": pruned(*W), "format": "nm", "n": 2, "m": 4}),
    "train": (
        pyfq.train,
        lambda: {
            "network": network(),
            "x": array(*X),
            "y": labels(),
            "loss": "cross_entropy",
            "sample_weight": np.ones(9, np.float32),
            "class_weight": None,
            "validation": (array(*X), labels()),
            **TRAINING,
        },
    ),
    "train outputs": (
        pyfq.train,
        lambda: {"network": network(), "x": array(*X), "y": array(9, 3), "epochs": 1, "delta": 1.0},
    ),
    "unpack": (
        pyfq.unpack,
        lambda: {"packed": np.ones((3, 4), np.uint8), "bits": 4, "cols": 8, "signed": True},
    ),
    "fastest": (pyfq.fastest, lambda: {"w": pruned(*W), "batch": 1, "activation_bits": None}),
    # Files.
    "load_network": (pyfq.load_network, lambda: {"path": Path("none.safetensors")}),
    "save_network": (
        pyfq.save_network,
        lambda: {"network": network(), "path": Path("network.safetensors")},
    ),
    # Classes.
    "Adam": (Adam, lambda: parts(Adam())),
    "AdamW": (pyfq.AdamW, lambda: {"learning_rate": 0.1, "weight_decay": 0.1}),
    "Codebook": (Codebook, lambda: parts(pyfq.quantize_codebook(array(*W), "fp4"))),
    "Codebook of codes": (
        Codebook,
        lambda: parts(pyfq.quantize_codebook(array(*W), "log2", 3, scale_bits=8)),
    ),
    "Dense": (
        Dense,
        lambda: {
            "weights": pyfq.quantize(array(*W), 8),
            "bias": array(6),
            "activation": "relu",
            "x_scale": 0.1,
            "x_zero_point": 3,
        },
    ),
    "RateQuantized": (pyfq.RateQuantized, lambda: parts(pyfq.quantize_rate(array(*W), step=0.5))),
    "FakeQuantize": (FakeQuantize, lambda: parts(FakeQuantize())),
    "Half": (Half, lambda: parts(pyfq.to_half(array(*W)))),
    "Hint": (Hint, lambda: {"layer": 0, "target": array(3, 4), "weight": 1.0}),
    "LowRank": (
        LowRank,
        lambda: {
            "u": array(6, 2),
            "v": array(2, 8),
            "error": 0.1,
            "residual": pyfq.quantize(array(*W), 4),
        },
    ),
    "Network": (
        Network,
        lambda: {
            "layers": network().layers,
            "input_mean": array(4),
            "input_scale": array(4),
            "output_mean": None,
            "output_scale": None,
            "classes": np.arange(3),
            "activation_bits": 8,
        },
    ),
    "Observer": (
        Observer,
        lambda: {"method": "percentile", "granularity": PerRow(), "bins": 64, "percentile": 99.0},
    ),
    "PerGroup": (PerGroup, lambda: {"size": 4}),
    "Quantized": (
        Quantized,
        lambda: parts(pyfq.quantize(array(*W), 4, scheme="affine", granularity=PerGroup(4))),
    ),
    "Schedule": (Schedule, lambda: parts(Schedule("cosine"))),
    "SGD": (pyfq.SGD, lambda: parts(pyfq.SGD())),
    "Sparse csr": (Sparse, lambda: parts(pyfq.to_sparse(pruned(*W), "csr"))),
    "Sparse nm": (Sparse, lambda: parts(pyfq.to_sparse(pruned(*W), "nm"))),
    "Sparse rows": (Sparse, lambda: parts(pyfq.to_sparse(pyfq.quantize(pruned(*W), 8), "rows"))),
    # Methods.
    "Network.create": (
        Network.create,
        lambda: {
            "sizes": (4, 6, 3),
            "activation": "relu",
            "output_activation": None,
            "initialization": "he_normal",
            "seed": 1,
            "dtype": np.float32,
        },
    ),
    "calibrate": (
        coded().calibrate,
        lambda: {
            "x": array(*X),
            "scheme": "affine",
            "method": "percentile",
            "bins": 64,
            "percentile": 99.0,
            "momentum": None,
        },
    ),
    "forward": (network().forward, lambda: {"x": array(*X), "out": None}),
    "map_weights": (network().map_weights, lambda: {"function": lambda w: 2 * w}),
    "predict": (network().predict, lambda: {"x": array(*X)}),
    "with_parameters": (
        network().with_parameters,
        lambda: {"parameters": {"layers.0.weight": array(6, 4)}},
    ),
    "factors": (Schedule("step").factors, lambda: {"first": 0, "last": 2, "epochs": 3, "steps": 2}),
    "dequantize": (
        pyfq.quantize(array(*W), 4).dequantize,
        lambda: {"dtype": np.float64, "out": None},
    ),
    "dequantize levels": (
        pyfq.quantize_codebook(array(*W), "fp4").dequantize,
        lambda: {"out": np.empty(W, np.float32)},
    ),
    "dequantize streams": (
        pyfq.quantize_rate(array(*W), step=0.5).dequantize,
        lambda: {"dtype": np.float64, "out": None},
    ),
    "error": (pyfq.quantize(array(*W), 4).error, lambda: {"w": array(*W)}),
    "apply": (FakeQuantize(4).apply, lambda: {"w": array(*W)}),
    "update": (Observer("mse", PerColumn(), 64).update, lambda: {"x": array(*W)}),
    "merge": (
        Observer("mse", bins=64).update(array(3)).merge,
        lambda: {"other": Observer("mse", bins=64)},
    ),
    "clip_range": (
        Observer("aciq", bins=64).update(array(30)).clip_range,
        lambda: {"bits": 4, "scheme": "affine"},
    ),
    "scale": (
        Observer("mse", PerRow(), 64).update(array(*W)).scale,
        lambda: {"bits": 4, "scheme": "affine"},
    ),
    "Observer.load": (Observer.load, lambda: {"path": "none.npz"}),
    "Observer.save": (Observer().save, lambda: {"path": "observer.npz"}),
}


class Subclass(np.ndarray):
    """An array whose operators do something else."""


for operator in ("mul", "rmul", "add", "sub", "truediv"):
    setattr(Subclass, f"__{operator}__", lambda self, other: "not a product")


def misaligned(x):
    room = np.zeros(x.nbytes + 1, np.uint8)[1:]
    y = room.view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


def every_other(x):
    return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def with_value(x, value):
    x = x.copy()
    with np.errstate(all="ignore"):
        if x.size and (x.dtype.kind == "f" or value == 1):
            x.flat[x.size // 2] = value
    return x


# What becomes of an array.
ARRAYS = [
    np.asfortranarray,
    every_other,
    lambda x: x[::-1] if x.ndim else x,
    lambda x: x.astype(x.dtype.newbyteorder()),
    misaligned,
    read_only,
    np.ma.masked_array,
    lambda x: np.asmatrix(x) if x.ndim <= 2 else x,
    lambda x: x.astype(object),
    lambda x: x.astype(str),
    lambda x: x.view(Subclass),
    lambda x: x.tolist(),
    lambda x: x[None],
    lambda x: x.reshape(-1),
    lambda x: x[:0] if x.ndim else x,
    lambda x: x[..., :0] if x.ndim else x,
    lambda x: x[:-1] if x.ndim else x,
    lambda x: np.broadcast_to(x.flat[0], x.shape) if x.size else x,
    *(lambda x, t=t: x.astype(t) for t in ("f2", "f4", "f8", "g", "c8", "i8", "i4", "u1", "?")),
    *(lambda x, v=v: with_value(x, v) for v in (np.nan, np.inf, -np.inf, 1e30, -3e38, 1e-45, 0)),
    lambda x: x.astype("f8") * 1e308 if x.dtype.kind == "f" else x,
    lambda x: x * x.dtype.type(2e37) if x.dtype.kind == "f" else x,
    lambda x: x * x.dtype.type(0),
]  # fmt: skip

# What stands in for anything.
ANYTHING = [
    None, True, False, -1, 0, 1, 2, 3, 17, 0.5, 1.5, -0.0, np.nan, np.inf, -np.inf, 1e308, 1e-320,
    1j, "", "x", "relu", "csr", b"x", [], (), {}, [1.0, 2.0], (1, 2), {"a": 1}, {1: 2}, object(),
    object, range(3), len, PerTensor(), PerRow(), PerColumn(), PerGroup(2), ("leaky_relu", np.nan),
    ("leaky_relu", 0.5), ["leaky_relu", 0.5], np.float32(np.nan), np.float32(2), np.int8(3),
    np.uint64(2**63), np.longdouble("1e4000"), np.bool_(True), np.str_("x"), np.datetime64("NaT"),
    np.array(3), np.array(2.5), np.array("x"), np.array(None), np.zeros(0), np.zeros((0, 4)),
    np.zeros((3, 0), np.float32), np.empty((2**40, 0), np.float32), np.zeros((1, 1, 1, 1)),
    np.broadcast_to(np.float32(1), (2**40, 8)), np.zeros(3, "f4,i4"), np.zeros(2, "M8[s]"),
]  # fmt: skip
HUGE = [
    2**31,
    2**31 - 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    -(2**31) - 1,
    -(2**63) - 1,
    10**400,
    -(10**400),
]


def exchanged(rng, name, value):
    """Return something else for a value."""
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        with np.errstate(all="ignore"):
            return rng.choice(ARRAYS)(value)
    if isinstance(value, dict) and value and rng.random() < 0.6:
        key = rng.choice(sorted(value))
        return {**value, key: exchanged(rng, key, value[key])}
    if isinstance(value, tuple) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return (*value[:at], exchanged(rng, name, value[at]), *value[at + 1 :])
    if name not in UNBOUNDED and rng.random() < 0.2:
        return rng.choice(HUGE)
    return rng.choice(ANYTHING)


def drawn(name, i):
    """Return the arguments of a call."""
    rng = random.Random(f"{name} {i}")
    arguments = CALLABLES[name][1]()
    for parameter in rng.sample(sorted(arguments), min(len(arguments), rng.choice((1, 1, 1, 2)))):
        others = [x for x in arguments.values() if isinstance(x, np.ndarray)]
        if parameter == "out" and others and rng.random() < 0.5:
            arguments["out"] = rng.choice(others)
        else:
            arguments[parameter] = exchanged(rng, parameter, arguments[parameter])
    return arguments


def arrays_in(value, name=""):
    """Yield the arrays and numbers in an argument or a result, with the attribute they are of."""
    if isinstance(value, np.ndarray | float | np.floating):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from arrays_in(each, name or str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from arrays_in(each, name)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if field.init:  # and not what is kept besides, such as plans
                yield from arrays_in(getattr(value, field.name), field.name)


def printed(arguments):
    """Return every entry of the arrays of arguments but `out`, as bytes."""
    arrays = [x for name, x in arrays_in(arguments) if name != "out" and np.ndim(x)]
    return [x.tobytes() for x in arrays if x.nbytes < 1e6 and x.dtype.kind != "O"]


def is_finite(x):
    kind = getattr(x, "dtype", np.dtype(float)).kind
    return kind not in "fc" or np.size(x) > 1e6 or bool(np.isfinite(x).all())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Names that are paths are those of a directory of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module("pyfq.products.fastest"), "PATIENCE", 0.001)


pytestmark = pytest.mark.filterwarnings("error", "ignore:the matrix subclass")


@pytest.mark.parametrize("name", CALLABLES)
def test_only_documented_exceptions_come_out(name):
    function = CALLABLES[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(**CALLABLES[name][1]()) if "load" not in name else None
    for i in range(CALLS):
        arguments = drawn(name, i)
        before = printed(arguments)
        told = f"call {i}: {reprlib_of(arguments)}"
        try:
            result = function(**arguments)
        except DOCUMENTED as e:
            assert type(e) is not pyfq.FqError or name == "forward", f"{told}: {e}"
        except BaseException as e:
            raise AssertionError(f"{told}: {type(e).__name__}: {e}") from e
        else:
            finite = all(is_finite(x) for _, x in arrays_in(arguments))
            if finite and name.split()[0] not in PASSES:
                for attribute, x in arrays_in(result):
                    assert attribute in MAY_BE_INFINITE or is_finite(x), f"{told}: {attribute}"
        assert printed(arguments) == before, told


def reprlib_of(arguments):
    shown = {}
    for name, x in arguments.items():
        text = f"{x.dtype}{x.shape}" if isinstance(x, np.ndarray) else repr(x)
        shown[name] = text if len(text) < 80 else f"{text[:77]}..."
    return ", ".join(f"{name}={text}" for name, text in shown.items())


def with_nan(x, at):
    bad = x.copy()
    bad.flat[at] = np.nan
    return bad


WEIGHTS, OTHERS = array(5, 8), array(5, 8, seed=1)
INPUTS, OUTPUTS = array(9, 4), array(9, 3, seed=1)
SMALL = network()
PAIRS = {
    "distortion": (pyfq.distortion, WEIGHTS, OTHERS),
    "quantize_codebook": (
        lambda w, weights: pyfq.quantize_codebook(
            w, "lloyd", 3, granularity=PerTensor(), weights=weights
        ),
        WEIGHTS,
        np.abs(OTHERS),
    ),
    "svd_lowrank, x": (lambda w, x: pyfq.svd_lowrank(w, 2, x=x), WEIGHTS, array(20, 8)),
    "svd_lowrank, gram": (
        lambda w, g: pyfq.svd_lowrank(w, 2, gram=g),
        WEIGHTS,
        np.eye(8, dtype="f4"),
    ),
    "svd_lowrank, scale": (
        lambda w, s: pyfq.svd_lowrank(w, 2, scale=s),
        WEIGHTS,
        np.abs(OTHERS[0]),
    ),
    "LowRank": (LowRank, array(5, 2), array(2, 8)),
    "Dense": (Dense, WEIGHTS, array(5)),
    "Network": (
        lambda m, s: Network(SMALL.layers, input_mean=m, input_scale=s),
        INPUTS[0],
        INPUTS[1],
    ),
    "train": (lambda x, y: pyfq.train(SMALL, x, y, epochs=1), INPUTS, OUTPUTS),
    "train, sample_weight": (
        lambda x, s: pyfq.train(SMALL, x, labels(), epochs=1, sample_weight=s),
        INPUTS,
        np.abs(INPUTS[:, 0]),
    ),
    "train, validation": (
        lambda x, y: pyfq.train(SMALL, INPUTS, OUTPUTS, epochs=1, validation=(x, y)),
        INPUTS,
        OUTPUTS,
    ),
    "distill": (lambda z, x: pyfq.distill(z, SMALL, x, epochs=1), OUTPUTS, INPUTS),
    "evaluate": (lambda x, y: pyfq.evaluate(SMALL, x, y), INPUTS, OUTPUTS),
    "prune_neurons": (
        lambda x, y: pyfq.prune_neurons(SMALL, 0.5, x, y, criterion="taylor"),
        INPUTS,
        OUTPUTS,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_nan_in_one_of_two_arrays_is_refused(name):
    """In either alone: a maximum of both would lose it."""
    call, first, second = PAIRS[name]
    call(first, second)
    for at in (0, -1):
        with pytest.raises((ValueError, FloatingPointError), match=r"finite|negative|positive"):
            call(with_nan(first, at), second)
        with pytest.raises((ValueError, FloatingPointError), match=r"finite|negative|positive"):
            call(first, with_nan(second, at))
