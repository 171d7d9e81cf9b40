"""Order statistics."""

import math
from functools import partial

import numpy as np
from case import Case, Contenders, copying, weights
from peers import torch

import pyfq
from pyfq import PerRow, PerTensor, reference

SHORT = ("median of all",)


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 4096
    n, middle = side * side, side // 2
    odd = (side - 3, side + 3)
    return [
        case("median of all", partial(kth, (n,), n // 2)),
        case("99th percentile of all", partial(kth, (n,), n * 99 // 100)),
        case("median of all, float64", partial(kth, (n,), n // 2, np.float64), itemsize=8),
        case("median per row", partial(kth, (side, side), middle, rows=True)),
        case("median per row, odd extents", partial(kth, odd, middle, rows=True)),
    ]


def case(name: str, setup: partial, *, itemsize: int = 4) -> Case:
    n = math.prod(setup.args[0])
    return Case(name, setup, itemsize * n, n)


def kth(shape: tuple[int, ...], k: int, dtype: type = np.float32, rows: bool = False) -> Contenders:
    x = weights(shape, dtype)
    granularity = PerRow() if rows else PerTensor()
    contenders = {
        "pyfq": lambda: pyfq.select_kth(x, k, granularity=granularity),
        "reference": lambda: reference.select_kth(x, k, granularity=granularity),
        "numpy partition": lambda: np.partition(x, k, axis=-1)[..., k],
        **copying(x),
    }
    if torch:
        t = torch.from_numpy(x)
        contenders["torch.kthvalue"] = lambda: torch.kthvalue(t, k + 1)
    return contenders
