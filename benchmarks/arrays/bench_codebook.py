"""Codes of tables of levels, and tables fitted to data."""

from functools import partial

import numpy as np
from case import Case, Contenders, copying, weights
from peers import module, torch

import pyfq
from pyfq import PerTensor, reference

cluster = module("sklearn.cluster")
bitsandbytes = module("bitsandbytes.functional")

SHORT = ("nf4", "nf4 of least error", "lloyd 4 bits of 262,144")


def cases(quick: bool) -> list[Case]:
    side, few = (128, 4096) if quick else (4096, 262_144)
    n = side * side
    return [
        Case("nf4", partial(nf4, side), n * 9 // 2, n),
        Case("nf4 of least error", partial(calibrated, min(side, 512)), few * 9 // 2, few),
        Case("log2", partial(of_table, side, "log2"), n * 9 // 2, n),
        Case("nf4 back", partial(back, side), n * 9 // 2, n),
        Case(f"lloyd 4 bits of {few:,}", partial(fitted, few), 4 * few, few),
    ]


def of_table(side: int, table: str) -> Contenders:
    w, by_group = weights((side, side)), pyfq.PerGroup(64)
    levels = pyfq.quantize_codebook(w[:1], table).levels
    return {
        "pyfq": lambda: pyfq.quantize_codebook(w, table),
        "pyfq quantize": lambda: pyfq.quantize(w, 4, granularity=by_group),
        "reference": lambda: reference.quantize_codebook(w, levels, granularity=by_group),
        **copying(w),
    }


def nf4(side: int) -> Contenders:
    contenders = of_table(side, "nf4")
    if torch and bitsandbytes:
        w = torch.from_numpy(weights((side, side)))
        contenders["bitsandbytes"] = lambda: bitsandbytes.quantize_4bit(
            w, blocksize=64, quant_type="nf4"
        )
    return contenders


def calibrated(side: int) -> Contenders:
    w, by_group = weights((side, side)), pyfq.PerGroup(64)
    levels = pyfq.quantize_codebook(w[:1], "nf4").levels[0]
    return {
        "pyfq": lambda: pyfq.quantize_codebook(w, "nf4", calibration="mse"),
        "pyfq absmax": lambda: pyfq.quantize_codebook(w, "nf4"),
        "reference": lambda: reference.calibrate_codebook(w, levels, granularity=by_group),
        **copying(w),
    }


def back(side: int) -> Contenders:
    q = pyfq.quantize_codebook(weights((side, side)))
    out, codes = np.empty(q.shape, q.dtype), q.codes
    return {
        "pyfq": lambda: q.dequantize(out=out),
        "reference": lambda: reference.dequantize_codebook(
            codes, q.levels, q.scale, granularity=q.granularity
        ),
        **copying(out),
    }


def fitted(count: int) -> Contenders:
    w = weights((count,))
    contenders: Contenders = {
        "pyfq": lambda: pyfq.quantize_codebook(w, "lloyd", 4, granularity=PerTensor()),
        "reference": lambda: reference.fit_codebook(w, np.linspace(w.min(), w.max(), 16)),
        **copying(w),
    }
    if cluster:
        column = w[:, None]
        contenders["sklearn.KMeans"] = lambda: cluster.KMeans(
            16, n_init=1, random_state=0
        ).fit_predict(column)
    return contenders
