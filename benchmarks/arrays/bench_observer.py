"""Histograms of activations, and the ranges that follow from them."""

import math
from functools import partial

import numpy as np
from case import Case, Contenders, copying, weights
from peers import torch

from pyfq import Observer, PerColumn, PerTensor, reference
from pyfq.arrays.observer import Method

SHORT = ("histogram of a tensor", "range of a tensor")
BINS = 2048


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 4096
    n = side * side
    samples, features = (64, 96) if quick else (16384, 384)
    return [
        Case("range of a tensor", partial(of, (n,), "minmax"), 4 * n, n),
        Case("histogram of a tensor", partial(of, (n,), "mse"), 4 * n, n),
        Case("histogram of a tensor, float64", partial(of, (n,), "mse", np.float64), 8 * n, n),
        Case(
            "histogram of a tensor, half of it zeros", partial(of, (n,), "mse", relu=True), 4 * n, n
        ),
        Case(
            "histograms of 384 features",
            partial(of, (samples, features), "mse", by_column=True),
            4 * samples * features,
            samples * features,
        ),
    ]


def of(
    shape: tuple[int, ...],
    method: Method,
    dtype: type = np.float32,
    relu: bool = False,
    by_column: bool = False,
) -> Contenders:
    """Return an update that does not widen the range, as nearly all are."""
    x = weights(shape, dtype)
    if relu:
        x = np.maximum(x, 0)
    seen = Observer(method, PerColumn() if by_column else PerTensor(), BINS).update(x)
    peak = float(np.abs(x).max())
    parts = x[..., None] if by_column else x.reshape(1, 1, -1)
    exponent = np.full(parts.shape[1], math.frexp(peak / BINS)[1])
    contenders = {"pyfq": lambda: seen.update(x), **copying(x)}
    if method == "minmax":
        contenders["reference"] = lambda: (parts.min(axis=(0, 2)), parts.max(axis=(0, 2)))
        contenders["numpy"] = lambda: (x.min(), x.max())
    else:
        contenders["reference"] = lambda: reference.count_bins(parts, exponent, BINS)
    if method != "minmax" and not by_column:
        contenders["numpy histogram"] = lambda: np.histogram(x, 2 * BINS, (-peak, peak))
    if torch and not by_column:
        t = torch.from_numpy(x)
        contenders["torch"] = (
            (lambda: torch.aminmax(t))
            if method == "minmax"
            else (lambda: torch.histc(t, 2 * BINS, -peak, peak))
        )
    return contenders
