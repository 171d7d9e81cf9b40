"""Reference of `pyfq.arrays.prune`: each returns weights, mask and threshold."""

import math

import numpy as np

from ..._core.grid import PerTensor, grid_of
from .distortion import lane_sum, unit_of
from .grouping import each_group, spread


def prune_threshold(w, threshold, *, granularity=PerTensor(), scores=None):
    """Keep what is not below the threshold."""
    threshold = np.full(grid_of(w.shape, granularity).parameter_shape, threshold, w.dtype)
    mask = _scores(w, scores) >= spread(threshold, w.shape, granularity)
    return np.where(mask, w, 0), mask, threshold


def prune_percentile(w, rate, *, granularity=PerTensor(), scores=None):
    """Keep what is not below the percentile of the scores; of no scores it is NaN."""
    threshold = each_group(_scores(w, scores), granularity, lambda group: _percentile(group, rate))
    return prune_threshold(w, threshold, granularity=granularity, scores=scores)


def prune_ratio(w, ratio, *, granularity=PerTensor(), scores=None):
    """Drop the first `round(ratio * n)` of each group in a stable sort by score."""
    grid = grid_of(w.shape, granularity)
    rows = _scores(w, scores).reshape(grid.rows, grid.cols)
    mask = np.ones(rows.shape, bool)
    threshold = np.full((grid.rows, grid.groups), -np.inf, w.dtype)
    for g, length in enumerate(grid.lengths):
        count = round(ratio * int(length))
        start = g * grid.group_size
        order = (
            start + np.argsort(rows[:, start : start + length], axis=1, kind="stable")[:, :count]
        )
        np.put_along_axis(mask, order, False, axis=1)
        if count:
            threshold[:, g] = np.take_along_axis(rows, order[:, -1:], axis=1)[:, 0]
    mask = mask.reshape(w.shape)
    return np.where(mask, w, 0), mask, threshold.reshape(grid.parameter_shape)


def prune_nm(w, n=2, m=4, *, scores=None):
    """Keep the last `n` of every `m` in a stable sort by score."""
    cols = w.shape[-1] if w.ndim else 1
    rows = _scores(w, scores).reshape(-1, cols) if w.size else np.empty((0, cols))
    mask = np.zeros(rows.shape, bool)
    for start in range(0, cols, m):
        block = rows[:, start : start + m]
        np.put_along_axis(
            mask, start + np.argsort(block, axis=1, kind="stable")[:, -n:], True, axis=1
        )
    mask = mask.reshape(w.shape)
    return np.where(mask, w, 0), mask, None


def prune_rows(w, ratio, norm=2, round_to=1, *, scores=None):
    """Drop the first rows in a stable sort by norm."""
    s = w if scores is None else scores
    rows = w.shape[0]
    x = np.abs(s.reshape(rows, -1).astype(np.float64)) if s.size else np.zeros((rows, 0))
    with np.errstate(over="ignore"):
        if norm == 1:
            norms = lane_sum(x)
        elif norm == 2:
            norms = _euclidean(x) if s.dtype == np.float64 else np.sqrt(lane_sum(x**2))
        else:
            norms = x.max(axis=1, initial=0.0)
    smaller = np.zeros(rows)
    if np.isinf(norms).any():  # ranked by what they are, with room for the sum
        scaled = np.ldexp(x, -(x.shape[1].bit_length() + 1))
        lanes = lane_sum(scaled) if norm == 1 else _euclidean(scaled)
        smaller = np.where(np.isinf(norms), lanes, 0.0)
    kept = min(math.ceil((rows - round(ratio * rows)) / round_to) * round_to, rows)
    order = np.lexsort((smaller, norms))[: rows - kept]
    mask = np.ones(w.shape, bool)
    mask[order] = False
    return (np.where(mask, w, 0), mask, np.array(norms[order[-1]] if order.size else -np.inf))


def _euclidean(x):
    """Return the norms of rows of float64, whose squares may be out of range."""
    unit = np.array([unit_of(row) for row in x])
    return np.sqrt(lane_sum((x * unit[:, None]) ** 2)) / unit


def _percentile(group, rate):
    """Return the percentile as NumPy 2.4 rounds it; of values too far apart, their mean."""
    if not group.size:
        return group.dtype.type(np.nan)
    place = (group.size - 1) * (rate / 100)
    fraction = place - int(place)
    part, rest = group.dtype.type(fraction), group.dtype.type(1 - fraction)
    low, high = np.sort(group)[[int(place), min(int(place) + 1, group.size - 1)]]
    with np.errstate(over="ignore"):
        apart = high - low
    if not np.isfinite(apart):
        return low * (1 - part) + high * part
    return low + apart * part if fraction < 0.5 else high - apart * rest


def prune_global(tensors, ratio, *, scores=None):
    """Drop the first `round(ratio * n)` in a stable sort by score of all tensors in a row."""
    if not tensors:
        return {}
    ranked = np.concatenate(
        [
            _scores(w, None if scores is None else scores[name]).reshape(-1)
            for name, w in tensors.items()
        ]
    )
    order = np.argsort(ranked, kind="stable")[: round(ratio * ranked.size)]
    mask = np.ones(ranked.size, bool)
    mask[order] = False
    threshold = np.array(ranked[order[-1]] if order.size else -np.inf, ranked.dtype)
    ends = np.cumsum([w.size for w in tensors.values()])[:-1]
    masks = [
        part.reshape(w.shape)
        for part, w in zip(np.split(mask, ends), tensors.values(), strict=True)
    ]
    return {
        name: (np.where(part, w, 0), part, threshold)
        for (name, w), part in zip(tensors.items(), masks, strict=True)
    }


def _scores(w, scores):
    """Return what is ranked; adding 0 turns -0 into 0."""
    return (np.abs(w) if scores is None else scores) + 0
