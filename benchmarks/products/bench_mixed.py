"""Layers of 2-byte weights, and sums in float64."""

from functools import partial

import numpy as np
from case import Case, Contenders, Target, agreeing, blas, weights
from peers import torch

import pyfq
from pyfq import reference

SHORT = (
    "bfloat16 1 x 4096 x 4096", "float16 1 x 4096 x 4096", "bfloat16 8 x 4096 x 4096",
    "bfloat16 64 x 4096 x 4096", "float64 sums 64 x 1024 x 1024",
)  # fmt: skip


def cases(quick: bool) -> list[Case]:
    if quick:
        return [
            half("bfloat16", 1, 64, 96), half("float16", 8, 64, 96), wide(8, 64, 96),
        ]  # fmt: skip
    return [
        *(
            half(format, m, side, side)
            for side in (1024, 4096, 8192)
            for m in (1, 8, 64)
            for format in ("bfloat16", "float16")
        ),
        *(wide(m, 1024, 1024) for m in (1, 64, 1024)),
        wide(1, 4096, 4096),
    ]


def half(format: str, m: int, k: int, n: int) -> Case:
    # Where weights are read from memory, which no cache holds.
    targets = (Target("speed", "pyfq float32", 1.4),) if m == 1 and k * n >= 2**26 else ()
    return Case(
        f"{format} {m} x {k} x {n}", partial(of_half, format, m, k, n),
        moved=2 * k * n + 4 * (m * k + m * n), elements=m * n, flops=2 * m * k * n,
        targets=targets,
    )  # fmt: skip


def wide(m: int, k: int, n: int) -> Case:
    return Case(
        f"float64 sums {m} x {k} x {n}", partial(of_float64, m, k, n),
        moved=4 * (m * k + k * n + m * n), elements=m * n, flops=2 * m * k * n, unit="float64",
    )  # fmt: skip


def of_half(format: str, m: int, k: int, n: int) -> Contenders:
    x = np.random.default_rng(1).standard_normal((m, k), np.float32)
    w = weights((n, k))
    h = pyfq.to_half(w, format)
    held, floats = pyfq.prepare(h, batch=m), pyfq.prepare(w, batch=m)
    codes = pyfq.prepare(pyfq.quantize(w, 8), batch=m)
    contenders: Contenders = {
        "pyfq": lambda: pyfq.linear(x, held),
        "reference": lambda: reference.linear_half(x, h.bits, format),
        "pyfq float32": lambda: pyfq.linear(x, floats),
        "numpy matmul": blas(lambda: x @ w.T),
    }
    if k * n > 2**20:
        del contenders["reference"]  # it would take longer than all others
    if torch:
        dtype = getattr(torch, format)
        tx, tw = torch.from_numpy(x).to(dtype), torch.from_numpy(w).to(dtype)
        contenders[f"torch linear, {format}"] = lambda: (
            torch.nn.functional.linear(tx, tw).float().numpy()
        )
    # torch rounds x, and results, to the format.
    agreeing(contenders, 0.02)
    contenders["pyfq 8-bit weights"] = lambda: pyfq.linear(x, codes)
    return contenders


def of_float64(m: int, k: int, n: int) -> Contenders:
    x = np.random.default_rng(1).standard_normal((m, k), np.float32)
    w = weights((n, k))
    held, wide_x, wide_w = pyfq.prepare(w, batch=m), x.astype(np.float64), w.astype(np.float64)
    floats = pyfq.prepare(wide_w, batch=m)
    return agreeing(
        {
            "pyfq": lambda: pyfq.linear(x, held, accumulation="float64"),
            "reference": lambda: reference.linear(x, w),
            "pyfq float32": lambda: pyfq.linear(x, held),
            "pyfq float64": lambda: pyfq.linear(wide_x, floats),
            "numpy matmul, cast": blas(lambda: x.astype(np.float64) @ w.astype(np.float64).T),
        },
        1e-5,
    )
