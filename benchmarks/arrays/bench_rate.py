"""Codes for an entropy coder: at a step, at a number of bits, and back."""

from functools import partial

import numpy as np
from case import Case, Contenders, copying, weights

import pyfq
from pyfq import PerTensor, reference
from pyfq.arrays.rate import TRADEOFFS

SHORT = ("8 states", "no trellis", "8 states back")

STEP = 0.5


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 1024
    n = side * side
    found = []
    for trellis, name in ((None, "no trellis"), (4, "4 states"), (8, "8 states")):
        found += [
            Case(name, partial(of_a_step, side, trellis), 5 * n, n),
            Case(f"{name}, 2.5 bits", partial(of_bits, side, trellis), 5 * n, n),
            Case(f"{name} back", partial(back, side, trellis), 5 * n, n),
        ]
    return found


def of_a_step(side: int, trellis: int | None) -> Contenders:
    w = weights((side, side))
    tradeoff = TRADEOFFS[trellis or 1]
    return {
        "pyfq": lambda: pyfq.quantize_rate(w, step=STEP, trellis=trellis),
        "pyfq quantize": lambda: pyfq.quantize(w, 4),
        "reference": lambda: reference.quantize_rate(
            w, STEP, granularity=PerTensor(), trellis=trellis, tradeoff=tradeoff
        ),
        **copying(w),
    }


def of_bits(side: int, trellis: int | None) -> Contenders:
    w = weights((side, side))
    return {"pyfq": lambda: pyfq.quantize_rate(w, 2.5, trellis=trellis), **copying(w)}


def back(side: int, trellis: int | None) -> Contenders:
    q = pyfq.quantize_rate(weights((side, side)), step=STEP, trellis=trellis)
    out, codes = np.empty(q.shape, q.dtype), q.codes
    return {
        "pyfq": lambda: q.dequantize(out=out),
        "pyfq codes": lambda: q.codes,
        "reference": lambda: reference.dequantize(codes, q.scale, granularity=PerTensor()),
        **copying(out),
    }
