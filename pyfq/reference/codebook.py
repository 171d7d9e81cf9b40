"""Reference of `pyfq.codebook`."""

import numpy as np

from ..types import grid_of
from .grouping import spread


def quantize_codebook(w, levels, *, granularity, scale=None):
    """Return codes and scales: of the largest magnitudes, unless the scale is given."""
    grid = grid_of(w.shape, granularity)
    if scale is None:
        starts = np.arange(grid.groups) * grid.group_size
        peaks = np.maximum.reduceat(np.abs(w.reshape(grid.rows, grid.cols)), starts, axis=1)
        scale = np.where(peaks > 0, peaks, 1).astype(w.dtype).reshape(grid.parameter_shape)
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
