"""Products of matrices of 8-bit integers."""

from functools import partial

import numpy as np
from case import Case, Contenders, Goal, agreeing
from numpy.typing import DTypeLike, NDArray
from peers import onnx_model, onnxruntime, onnxruntime_saturates, torch

import pyfq
from pyfq import reference

PEERS = ("torch", "onnxruntime")
LONG = Goal("int8 x int8, k >= 1024", mean=1.0, least=1.0, peers=PEERS)
MIDDLE = Goal("int8 x int8, k = 256", mean=0.6, least=0.6, peers=PEERS)

# Shapes (m, k, n) that libraries are tuned for, and others.
SQUARES = [64, 256, 1024, 2048]
SHAPES = [
    (1000, 1003, 997),
    (64, 4096, 4096),
    (8, 4096, 4096),
    (1, 4096, 4096),
    (10000, 784, 100),
    (4096, 784, 10),
    (128, 20000, 128),
]
SHORT = ("1024 x 1024 x 1024", "8 x 4096 x 4096", "quantized, 1024 x 1024 x 1024")


def cases(quick: bool) -> list[Case]:
    shapes = [(65, 66, 67)] if quick else [*((side,) * 3 for side in SQUARES), *SHAPES]

    def case(name: str, setup: partial) -> Case:
        m, k, n = setup.args[0]
        out = 4 if setup.func is product else 1
        moved = m * k + k * n + out * m * n
        goals = {256: (MIDDLE,)}.get(k, (LONG,) if k >= 1024 else ())
        return Case(
            f"{name}{m} x {k} x {n}", setup, moved, m * n,
            flops=2 * m * k * n, unit="int8", goals=goals,
        )  # fmt: skip

    last = shapes[min(2, len(shapes) - 1)]
    return [
        *(case("", partial(product, shape, np.uint8)) for shape in shapes),
        case("signed, ", partial(product, last, np.int8)),
        case("quantized, ", partial(quantized, last)),
    ]


def product(shape: tuple[int, int, int], dtype: DTypeLike) -> Contenders:
    m, k, n = shape
    a, b = random_codes(dtype, m, k), random_codes(np.int8, k, n)
    zero = np.asarray(3, dtype)
    contenders = {"pyfq": lambda: pyfq.matmul_integer(a, b, zero)}
    if m * k * n <= 2**25:  # NumPy has no BLAS for integers
        contenders["reference"] = lambda: reference.matmul_integer(a, b, zero)
        contenders["numpy int32"] = lambda: (a.astype(np.int32) - 3) @ b.astype(np.int32)
    if onnxruntime and not (dtype == np.uint8 and onnxruntime_saturates()):
        names = ["a", "b", "a_zero"]
        contenders["onnxruntime MatMulInteger"] = onnx_model(
            [("MatMulInteger", names, ["y"], {})],
            {"a": a, "b": b},  # nothing that it could pack beforehand
            {"a_zero": zero},
            ("y", (m, n), np.int32),
        )
    if torch and dtype == np.int8 and m > 16 and k % 8 == n % 8 == 0:
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        sums = 3 * b.sum(0, np.int32)
        contenders["torch._int_mm"] = lambda: torch._int_mm(left, right).numpy() - sums
    return agreeing(contenders, 0)


def quantized(shape: tuple[int, int, int]) -> Contenders:
    m, k, n = shape
    a, b = random_codes(np.uint8, m, k), random_codes(np.int8, k, n)
    a_scale, b_scale, y_scale = (np.asarray(x, np.float32) for x in (0.02, 0.01, 0.03 * k**0.5))
    a_zero, b_zero, y_zero = np.asarray(128, np.uint8), np.asarray(3, np.int8), np.uint8(128)
    arguments = (a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)
    contenders = {"pyfq": lambda: pyfq.quantized_matmul(*arguments)}
    if m * k * n <= 2**25:
        contenders["reference"] = lambda: reference.quantized_matmul(*arguments)
    if onnxruntime and not onnxruntime_saturates():
        names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"]
        given = dict(zip(names, map(np.asarray, arguments), strict=True))
        inputs = {name: given.pop(name) for name in ("a", "b")}
        contenders["onnxruntime QLinearMatMul"] = onnx_model(
            [("QLinearMatMul", names, ["y"], {})], inputs, given, ("y", (m, n), np.uint8)
        )
    return agreeing(contenders, 0)


def random_codes(dtype: DTypeLike, *shape: int) -> NDArray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype, endpoint=True)
