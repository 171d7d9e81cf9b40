"""Reference of `pyfq.distortion`."""

import math

import numpy as np

BLOCK, LANES = 4096, 16


def distortion(w, v):
    """Return mean squared error, SQNR in dB, largest error and cosine."""
    unit = min(unit_of(w), unit_of(v))
    a, b = w.reshape(-1).astype(np.float64) * unit, v.reshape(-1).astype(np.float64) * unit
    ww, vv, wv, dd = (float(block_sum(x)) for x in (a * a, b * b, a * b, (a - b) * (a - b)))
    mse = dd / max(w.size, 1) / unit / unit
    peak = float(np.abs(a - b).max(initial=0.0))
    sqnr = math.inf if dd == 0 else -math.inf
    if ww > 0 and peak > 0:
        sqnr = 10 * math.log10(ww / dd) if dd > 0 else 20 * math.log10(math.sqrt(ww) / peak)
    cosine = float(ww == vv)
    if ww > 0 and vv > 0:
        cosine = min(max(wv / (math.sqrt(ww) * math.sqrt(vv)), -1.0), 1.0)
    return mse, sqnr, peak / unit, cosine


def block_sum(x):
    """Sum blocks of 4096 in lanes, then the sums of the blocks in lanes."""
    blocks = np.zeros(-(-x.size // BLOCK) * BLOCK)
    blocks[: x.size] = x
    return lane_sum(lane_sum(blocks.reshape(-1, BLOCK)))


def lane_sum(x):
    """Sum the last axis in 16 lanes, entry i in lane i mod 16, and the lanes by halving."""
    length = -(-x.shape[-1] // LANES) * LANES
    padded = np.zeros((*x.shape[:-1], length))
    padded[..., : x.shape[-1]] = x
    lanes = np.zeros((*x.shape[:-1], LANES))
    for step in range(0, length, LANES):
        lanes = lanes + padded[..., step : step + LANES]
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


def unit_of(x):
    """Return the power of two that brings the largest magnitude near 1; 1 for float32."""
    peak = float(np.abs(x).max(initial=0.0))
    if x.dtype == np.float32 or not peak < math.inf or not x.size:
        return 1.0
    return math.ldexp(1.0, min(-math.frexp(peak)[1], 1023) if peak else 1023)
