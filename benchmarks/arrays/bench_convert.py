"""float32 to and from narrower formats."""

from functools import partial

import numpy as np
from case import Case, Contenders, copying, weights
from peers import module, torch

import pyfq
from pyfq import reference

ml_dtypes = module("ml_dtypes")

# By name, bytes of a value.
FORMATS = {"bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}

SHORT = ("to bfloat16", "from float16")


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 4096
    n = side * side
    return [
        case
        for to, width in FORMATS.items()
        for case in (
            Case(f"to {to}", partial(narrowing, (side, side), to), (4 + width) * n, n),
            Case(f"from {to}", partial(widening, (side, side), to), (4 + width) * n, n),
        )
    ]


def narrowing(shape: tuple[int, int], to: str) -> Contenders:
    x = weights(shape)
    contenders = {
        "pyfq": lambda: pyfq.cast_to(x, to),
        "reference": lambda: reference.cast_to(x, to),
        **copying(x),
    }
    if to == "float16":
        contenders["numpy astype"] = lambda: x.astype(np.float16)
    elif ml_dtypes:
        contenders["ml_dtypes astype"] = lambda: x.astype(getattr(ml_dtypes, to))
    if torch:
        t = torch.from_numpy(x)
        contenders["torch.to"] = lambda: t.to(getattr(torch, to))
    return contenders


def widening(shape: tuple[int, int], format: str) -> Contenders:
    x = weights(shape)
    bits = pyfq.cast_to(x, format)
    contenders = {
        "pyfq": lambda: pyfq.cast_from(bits, format),
        "reference": lambda: reference.cast_from(bits, format),
        **copying(x),
    }
    if format == "float16":
        contenders["numpy astype"] = lambda: bits.view(np.float16).astype(np.float32)
    elif ml_dtypes:
        values = bits.view(getattr(ml_dtypes, format))
        contenders["ml_dtypes astype"] = lambda: values.astype(np.float32)
    if torch:
        t = torch.from_numpy(x).to(getattr(torch, format))
        contenders["torch.to"] = lambda: t.to(torch.float32)
    return contenders
