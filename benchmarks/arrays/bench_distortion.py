"""Error of a reconstruction."""

from functools import partial

import numpy as np
from case import Case, Contenders, copying, weights
from peers import torch

import pyfq
from pyfq import reference

SHORT = ("of two arrays", "of int8 per row")


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 4096
    square, n = (side, side), side * side
    return [
        Case("of two arrays", partial(of_arrays, square), 8 * n, n),
        Case(
            "of two arrays, float64",
            partial(of_arrays, (side, side // 2), np.float64),
            8 * n,
            n // 2,
        ),
        Case(
            "of two arrays, odd extents",
            partial(of_arrays, (side - 3, side + 3)),
            8 * (n - 9),
            n - 9,
        ),
        Case("of int8 per row", partial(of_quantized, square), 5 * n, n),
    ]


def of_arrays(shape: tuple[int, int], dtype: type = np.float32) -> Contenders:
    w = weights(shape, dtype)
    v = pyfq.fake_quantize(w)
    contenders = {
        "pyfq": lambda: pyfq.distortion(w, v),
        "reference": lambda: reference.distortion(w, v),
        "numpy": lambda: distortion_in_numpy(w, v),
        **copying(w),
    }
    if torch:
        t, u = torch.from_numpy(w), torch.from_numpy(v)
        contenders["torch"] = lambda: distortion_in_torch(t, u)
    return contenders


def of_quantized(shape: tuple[int, int]) -> Contenders:
    w = weights(shape)
    q = pyfq.quantize(w)
    codes, scale = q.codes, q.scale
    contenders = {
        "pyfq": lambda: q.error(w),
        "reference": lambda: reference.distortion(w, reference.dequantize(codes, scale)),
        "numpy": lambda: distortion_in_numpy(w, codes * scale),
        **copying(w),
    }
    if torch:
        t, c, s = torch.from_numpy(w), torch.from_numpy(codes), torch.from_numpy(scale)
        contenders["torch"] = lambda: distortion_in_torch(t, c * s)
    return contenders


def distortion_in_numpy(w, v):
    """Return it from sums in the dtype of the data, which is what NumPy does unasked."""
    d = w - v
    ww, vv, dd = np.sum(w * w), np.sum(v * v), np.sum(d * d)
    cosine = np.sum(w * v) / np.sqrt(ww * vv)
    return dd / w.size, 10 * np.log10(ww / dd), np.abs(d).max(), cosine


def distortion_in_torch(w, v):
    d = w - v
    ww, vv, dd = w.square().sum(), v.square().sum(), d.square().sum()
    cosine = (w * v).sum() / (ww * vv).sqrt()
    return dd / w.numel(), 10 * torch.log10(ww / dd), d.abs().max(), cosine
