"""Scales that lose less, beside plain rounding and the `hqq` package."""

from functools import partial

import numpy as np
from case import Case, Contenders, PerThreads, Target, copying, weights
from peers import module, torch

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference
from pyfq._core.grid import Granularity
from pyfq.arrays.calibrate import CALIBRATIONS, Calibration

SHORT = ("als, 4 bits per group of 64",)

hqq = torch and module("hqq.core.quantize")


def cases(quick: bool) -> list[Case]:
    layer, table = ((32, 256), (64, 384)) if quick else ((1024, 4096), (30522, 384))
    group = PerGroup(64)
    return [
        *(_calibrating(word, layer, 4, group) for word in CALIBRATIONS[1:]),
        *(_calibrating(word, layer, 4, PerRow()) for word in CALIBRATIONS[1:]),
        _calibrating("als", layer, 4, PerTensor()),
        _calibrating("als", layer, 2, group),
        _calibrating("als", table, 4, group, ", embeddings"),
        _calibrating("hqq", table, 4, group, ", embeddings"),
    ]


def _calibrating(
    calibration: Calibration,
    shape: tuple[int, int],
    bits: int,
    granularity: Granularity,
    what: str = "",
) -> Case:
    each = {PerRow(): "row", PerTensor(): "tensor"}.get(granularity, "group of 64")
    targets = (Target("speed", "hqq Quantizer", 10),) if calibration == "hqq" else ()
    n = shape[0] * shape[1]
    parameters = 0 if granularity != PerGroup(64) else n // 64 * 8
    return Case(
        f"{calibration}, {bits} bits per {each}{what}",
        partial(calibrating, calibration, shape, bits, granularity),
        4 * n + n * bits // 8 + parameters,
        n,
        targets,
    )


def calibrating(
    calibration: Calibration, shape: tuple[int, int], bits: int, granularity: Granularity
) -> Contenders:
    w = weights(shape)
    how = {"scheme": "minmax", "granularity": granularity}
    contenders = {
        "pyfq": lambda: pyfq.quantize(w, bits, calibration=calibration, **how),
        "pyfq minmax": lambda: pyfq.quantize(w, bits, **how),
        "reference": lambda: reference.quantize(w, bits, calibration=calibration, **how),
        **copying(w),
    }
    if calibration == "mse":
        contenders["numpy 80 clips"] = lambda: clips_in_numpy(w, bits, granularity)
    if calibration == "hqq" and hqq:
        t, size = torch.from_numpy(w), 64 if granularity == PerGroup(64) else shape[1]
        contenders["hqq Quantizer"] = PerThreads(
            lambda _: (
                lambda: hqq.Quantizer.quantize(
                    t, bits, group_size=size, axis=1, device="cpu", compute_dtype=torch.float32
                )
            )
        )
    return contenders


def clips_in_numpy(w, bits, granularity):
    """Return the best step and minimum of each group, as a loop over clips finds them."""
    x = w.reshape(-1, 64 if granularity == PerGroup(64) else w.shape[1])
    least, most = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    middle, half = (most + least) / 2, (most - least) / 2
    best = np.full(least.shape, np.inf, np.float32)
    scale, minimum = np.empty_like(least), np.empty_like(least)
    for p in np.linspace(1, 0.21, 80, dtype=np.float32):
        base, step = middle - p * half, 2 * p * half / np.float32(2**bits - 1)
        v = np.clip(np.rint((x - base) / step), 0, 2**bits - 1) * step + base
        error = np.square(x - v).sum(axis=1, keepdims=True)
        better = error < best
        scale, minimum = np.where(better, step, scale), np.where(better, base, minimum)
        best = np.minimum(error, best)
    return scale, minimum
