"""Products of floats: squares, skinny ones, odd extents."""

from functools import partial

import numpy as np
from case import Case, Contenders, Goal, agreeing, blas
from peers import onnx_model, onnxruntime, torch

import pyfq
from pyfq import reference

SQUARES = Goal("float squares", mean=1.0, least=0.9)
SKINNY = Goal("float skinny", mean=1.2, least=1.0)

# Multiplications above which the reference would only take time.
LARGE = 2048**3

SHORT = (
    "512 x 512 x 512", "1024 x 1024 x 1024", "1023 x 1025 x 1027", "1024 x 1024 x 1024, float64",
    "60000 x 784 x 100", "64 x 1024 x 1024", "1000 x 1000 x 10", "1 x 4096 x 4096",
    "8 x 4096 x 4096", "1 x 256 x 256", "64 x 256 x 256",
)  # fmt: skip


def cases(quick: bool) -> list[Case]:
    if quick:
        return [
            product(64, 64, 64, goal=SQUARES),
            product(33, 65, 47, goal=SQUARES, dtype=np.float64),
            product(2, 64, 96, goal=SKINNY),
        ]
    sides = (256, 512, 1024, 2048, 4096)
    odd = ((511, 513, 515), (1023, 1025, 1027))
    skinny = (
        (60000, 784, 100), (64, 1024, 1024), (1000, 1000, 10), (1, 4096, 4096), (8, 4096, 4096),
    )  # fmt: skip
    layers = [(batch, side, side) for side in (64, 128, 256, 512) for batch in (1, 4, 16, 64)]
    of_each = [
        case
        for dtype in (np.float32, np.float64)
        for case in (
            *(product(n, n, n, goal=SQUARES, dtype=dtype) for n in sides),
            *(product(*shape, goal=SQUARES, dtype=dtype) for shape in odd),
            *(product(*shape, goal=SKINNY, dtype=dtype) for shape in skinny),
        )
    ]
    return of_each + [product(*shape, goal=SKINNY) for shape in layers]


def product(m: int, k: int, n: int, *, goal: Goal, dtype: type = np.float32) -> Case:
    unit = np.dtype(dtype).name
    return Case(
        f"{m} x {k} x {n}" + (f", {unit}" if dtype != np.float32 else ""),
        partial(multiplying, m, k, n, dtype),
        moved=(m * k + k * n + m * n) * np.dtype(dtype).itemsize,
        elements=m * n,
        flops=2 * m * k * n,
        unit=unit,
        goals=(goal,),
    )


def multiplying(m: int, k: int, n: int, dtype: type) -> Contenders:
    """Return contenders that write to an array of their own, where the library has that."""
    generator = np.random.default_rng(0)
    a = generator.standard_normal((m, k), dtype)
    b = generator.standard_normal((k, n), dtype)
    own, of_numpy = np.zeros((m, n), dtype), np.zeros((m, n), dtype)
    contenders: Contenders = {
        "pyfq": lambda: pyfq.matmul(a, b, out=own),
        "numpy matmul": blas(lambda: np.matmul(a, b, out=of_numpy)),
    }
    if m * k * n <= LARGE:
        contenders["reference"] = lambda: reference.matmul(a, b)
    if torch:
        ta, tb, y = torch.from_numpy(a), torch.from_numpy(b), torch.zeros((m, n)).to(_word(dtype))
        tw = tb.T.contiguous()
        contenders["torch.mm"] = lambda: torch.mm(ta, tb, out=y)
        contenders["torch linear"] = lambda: torch.nn.functional.linear(ta, tw)
    if onnxruntime:
        contenders["onnxruntime MatMul"] = onnx_model(
            [("MatMul", ["a", "b"], ["y"], {})], {"a": a, "b": b}, {}, ("y", (m, n), dtype)
        )
    return agreeing(contenders, 1e-5 if dtype == np.float32 else 1e-13)


def _word(dtype: type):
    return {np.float32: torch.float32, np.float64: torch.float64}[dtype]
