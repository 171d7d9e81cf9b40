"""Reference of `pyfq.arrays.codebook`."""

import numpy as np

from .distortion import lane_sum
from .grouping import each_group, spread

FACTORS = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3)
RUN = 512


def quantize_codebook(w, levels, *, granularity, scale=None):
    """Return codes and scales: of the largest magnitudes, unless the scale is given."""
    if scale is None:
        peaks = each_group(np.abs(w), granularity, lambda group: group.max(initial=0))
        scale = np.where(peaks > 0, peaks, 1).astype(w.dtype)
    x = (w / spread(scale, w.shape, granularity)).reshape(w.shape)
    middles = levels[..., :-1] / 2 + levels[..., 1:] / 2
    # One table for all, or one a row.
    middles = middles[0] if len(levels) == 1 else middles.reshape(*w.shape[:-1], 1, -1)
    return np.sum(x[..., None] > middles, axis=-1).astype(np.uint8), scale


def dequantize_codebook(codes, levels, scale, *, granularity):
    """Return ``levels[codes] * scale``."""
    rows = np.arange(len(levels)).reshape(*codes.shape[:-1], 1) if len(levels) > 1 else 0
    return levels[rows, codes] * spread(scale, codes.shape, granularity).reshape(codes.shape)


def fit_codebook(values, levels, weights=None, iterations=300):
    """Return levels of one table after Lloyd's algorithm, in float64."""
    values = values.reshape(-1).astype(np.float64)
    weights = np.ones_like(values) if weights is None else weights.reshape(-1).astype(np.float64)
    levels, before = np.sort(levels.astype(np.float64)), None
    for _ in range(iterations):
        codes = np.sum(values[:, None] > levels[:-1] / 2 + levels[1:] / 2, axis=1)
        if before is not None and (codes == before).all():
            break
        mass = np.bincount(codes, weights, len(levels))
        moment = np.bincount(codes, weights * values, len(levels))
        levels = np.where(mass > 0, moment / np.where(mass > 0, mass, 1), levels)
        before = codes
    return levels


def calibrate_codebook(w, levels, *, granularity):
    """Return the scale of each group that loses least, of those that the search meets."""
    return each_group(w, granularity, lambda group: _best_scale(group, levels))


def _best_scale(w, levels):
    peak = np.abs(w).max() if w.any() else w.dtype.type(1)
    middles = levels[:-1] / 2 + levels[1:] / 2
    gain, scale = 0.0, w.dtype.type(0)
    with np.errstate(over="ignore", under="ignore"):
        for factor in FACTORS:
            along, square = _correlate(w / peak, levels, middles * w.dtype.type(factor))
            if along > 0 and square > 0 and along * along / square > gain:
                gain, scale = along * along / square, w.dtype.type(along / square) * peak
        for _ in range(2):
            along, square = _correlate(w / scale, levels, middles) if scale > 0 else (0.0, 0.0)
            if not (along > 0 and square > 0):
                break
            scale = w.dtype.type(float(scale) * (along / square))
    most = np.finfo(w.dtype).max / max(w.dtype.type(1), np.abs(levels).max())
    return scale if 0 < scale <= most else peak


def _correlate(x, levels, bounds):
    """Return the sums of ``x * level`` and ``level**2``, with the levels between the bounds."""
    nearest = levels[np.sum(x[:, None] > bounds, axis=-1)].astype(np.float64)
    return _run_sum(x * nearest), _run_sum(nearest * nearest)


def _run_sum(x):
    """Sum runs of 512 in lanes, and these sums one after the other."""
    total = 0.0
    for start in range(0, x.size, RUN):
        total += float(lane_sum(x[start : start + RUN]))
    return total
