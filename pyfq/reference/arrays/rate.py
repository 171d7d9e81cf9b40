"""Reference of `pyfq.quantize_rate`."""

import math

import numpy as np

from ..._core.grid import PerRow
from .distortion import lane_sum, unit_of

LANES, NORMALIZED = 8, 16
LARGEST, FIRST, LAST = 32763, -264, 263
BLOCK, SAMPLE, ROUNDS = 65536, 262144, 1


def quantize_rate(w, step, *, granularity, trellis=8, tradeoff=None):
    """Return codes and scales of a given step: rates of a sample, then codes of all."""
    rows = w.reshape(-1, w.shape[-1] if w.ndim else 1)
    steps, spread = row_steps(rows, step, granularity)
    by, across = sample_strides(*rows.shape)
    sample = np.ascontiguousarray(rows[::by, ::across])
    some = steps if len(steps) == 1 else steps[::by]
    if tradeoff is None:
        tradeoff = 0.45 if trellis else 0.12
    states, weight = trellis or 1, w.dtype.type(tradeoff)

    def counted(classes, rates, weight):
        return search_codes(sample, some, classes[::by], rates, weight, states)[1]

    parts = class_counts(len(rows))
    counts = counted(classes_of(spread, parts[-1]), flat_rates(parts[-1], states, w.dtype), 0)
    counts = cheapest_merge(counts, parts, rows.size, sample.size, len(rows))
    classes = classes_of(spread, len(counts))
    for _ in range(ROUNDS):
        counts = counted(classes, rates_of(counts, w.dtype), weight)
    rates = rates_of(counts, w.dtype)
    codes, _, sums = search_codes(rows, steps, classes, rates, weight, states)
    return codes.reshape(w.shape), scales_of(steps, sums, granularity, w.shape)


def row_steps(rows, step, granularity):
    """Return steps, one or one a row in proportion to its rms, and the spread of each row."""
    scaled = np.abs(rows.astype(np.float64) * unit_of(rows))
    square, spread = lane_sum(scaled * scaled), lane_sum(scaled)
    if granularity != PerRow():
        return np.array([step], rows.dtype), spread
    mean = math.fsum(square) / len(square)
    ratio = np.sqrt(square / mean) if mean > 0 else np.ones(len(square))
    ratio = np.where(ratio > 0, ratio, 1)
    return (step * ratio).astype(rows.dtype), spread / ratio


def scales_of(steps, sums, granularity, shape):
    """Return steps times the gain of least squares."""
    along, square = sums[:, 1], sums[:, 2]
    if granularity != PerRow():
        along, square = np.array([math.fsum(along)]), np.array([math.fsum(square)])
    gain = np.where(square > 0, np.maximum(along, 0) / np.where(square > 0, square, 1), 1)
    most = float(np.finfo(steps.dtype).max)
    scale = np.minimum(steps.astype(np.float64) * gain, most).astype(steps.dtype)
    return scale.reshape((*shape[:-1], 1) if granularity == PerRow() else ())


def sample_strides(rows, cols):
    """Return how far apart the rows and the columns of a sample lie."""
    across = max(-(-cols // BLOCK), 1)
    return max(rows * -(-cols // across) // SAMPLE, 1), across


def class_counts(rows):
    """Return the numbers of classes that are tried."""
    return [n for n in (1, 2, 4, 8) if n <= max(rows // 2, 1)]


def classes_of(spread, count):
    """Return the class of each row: a quantile of the spread."""
    classes = np.empty(len(spread), np.int8)
    classes[np.argsort(spread, kind="stable")] = np.arange(len(spread)) * count // len(spread)
    return classes


def flat_rates(count, states, dtype):
    """Return tables of rates that are all 0."""
    return np.zeros((count, 1 if states == 1 else 2, 256), dtype)


def cheapest_merge(counts, parts, size, sample_size, rows):
    """Return counts of as many classes as cost least, their tables included."""
    merged = [counts.reshape(n, -1, *counts.shape[1:]).sum(1) for n in parts]
    bits = [stream_bits(each, size, sample_size, rows) for each in merged]
    return merged[bits.index(min(bits))]


def stream_bits(counts, size, sample_size, rows):
    """Return about the bits of codes of which a sample was counted, with tables and classes."""
    total = counts.sum(-1, keepdims=True)
    cost = int(
        (counts * (log2_fixed(np.maximum(total, 1)) - log2_fixed(np.maximum(counts, 1)))).sum()
    )
    escapes = int(counts[..., 0].sum() + counts[..., 255].sum())
    used = counts > 0
    span = 256 - used.argmax(-1) - used[..., ::-1].argmax(-1)
    tables = int((16 + 10 * span).sum()) + (4 * rows if len(counts) > 1 else 0)
    return (cost // 2**16 + 16 * escapes) * size // sample_size + tables


def rates_of(counts, dtype):
    """Return the bits of each symbol; of one that does not occur as if it did half a time."""
    total = np.maximum(2 * counts.sum(-1, keepdims=True), 1)
    bits = log2_fixed(total) - log2_fixed(np.maximum(2 * counts, 1))
    return (bits / 65536).astype(dtype)


def log2_fixed(n):
    """Return the logarithm of integers in 65536ths, rounded down, by squaring."""
    exponent = np.frexp(n.astype(np.float64))[1].astype(np.int64) - 1
    x = np.where(
        exponent > 30, n >> np.maximum(exponent - 30, 0), n << np.maximum(30 - exponent, 0)
    )
    for _ in range(16):
        x = x * x >> 30
        above = (x >> 31).astype(np.int64)
        x >>= above
        exponent = 2 * exponent + above
    return exponent


def search_codes(w, steps, classes, rates, tradeoff, states, block_rows=None):
    """Return codes, counts of symbols by class and union, and three sums of each row."""
    rows, cols = w.shape
    block_rows = block_rows or max(-(-BLOCK // cols), 1)
    with np.errstate(over="ignore", under="ignore"):
        x = np.clip(w / steps[:, None], w.dtype.type(-LARGEST), w.dtype.type(LARGEST))
    table = cost_table(rates, w.dtype.type(tradeoff))
    codes = np.empty(w.shape, np.int16)
    whole = rows // block_rows * block_rows
    for part in (slice(whole), slice(whole, rows)):
        if x[part].size:
            find = round_codes if states == 1 else follow_paths
            codes[part] = find(x[part], classes[part], table, states, block_rows)
    unions = rates.shape[1]
    union = codes.astype(np.int64) & (unions - 1)
    symbol = symbol_of((codes - union) // unions)
    place = (classes[:, None].astype(np.int64) * unions + union) * 256 + symbol
    counts = np.bincount(place.reshape(-1), minlength=rates.size).reshape(rates.shape)
    x, c = x.astype(np.float64), codes.astype(np.float64)
    return codes, counts, np.stack([lane_sum(x * x), lane_sum(x * c), lane_sum(c * c)], 1)


def symbol_of(q):
    """Return the symbol of a q: from 0; 0 and 255 are escapes."""
    return np.where((q >= -127) & (q <= 126), q + 128, 255 * (q & 1))


def cost_table(rates, tradeoff):
    """Return what each code costs, `(classes, codes)`."""
    unions = rates.shape[1]
    code = np.arange(FIRST, LAST + 1)
    q = (code - (code & (unions - 1))) // unions
    escapes = np.where((q >= -127) & (q <= 126), 0, 16).astype(rates.dtype)
    return tradeoff * (rates[:, code & (unions - 1), symbol_of(q)] + escapes)


def cost_of(code, row_class, table):
    """Return what codes cost; of those beyond the table what those four places nearer do."""
    rest = code & 3
    return table[row_class, np.maximum(np.minimum(code, LAST - 7 + rest), FIRST + rest) - FIRST]


def round_codes(x, classes, table, states, block_rows):
    """Return of 0 and the neighbours of x the one that costs least, of equals the smaller."""
    row_class = classes[:, None]
    side = np.where(x < 0, -1, 1)
    code = x.astype(np.int64)
    near = x - code.astype(x.dtype)
    far = near - side.astype(x.dtype)
    near = near * near + cost_of(code, row_class, table)
    far = far * far + cost_of(code + side, row_class, table)
    zero = x * x + cost_of(np.zeros_like(code), row_class, table)
    chosen = np.where(near < zero, code, 0)
    return np.where(far < np.where(near < zero, near, zero), code + side, chosen)


def follow_paths(x, classes, table, states, block_rows):
    """Return the codes of the paths that cost least, in all lanes and blocks at once."""
    rows, cols = x.shape
    block_rows = min(block_rows, rows)
    lines = -(-cols // LANES)  # steps of a row
    padded = np.zeros((rows, lines * LANES), x.dtype)
    padded[:, :cols] = x
    padded = padded.reshape(-1, block_rows * lines, LANES)
    there = np.broadcast_to(np.arange(lines * LANES) < cols, (rows, lines * LANES))
    there = there.reshape(padded.shape)
    row_class = np.repeat(classes, lines).reshape(len(padded), -1, 1, 1)
    to = np.arange(states)
    lower, half = to // 2, states // 2  # of the two states before each
    subset = (lower & 1) + 2 * ((to ^ (lower >> 1)) & 1)  # codes mod 4 of the way from the lower
    cost = np.full((len(padded), LANES, states), np.finfo(x.dtype).max, x.dtype)
    cost[..., 0] = 0
    four, ways = np.arange(4), []
    for s in range(padded.shape[1]):
        if (s + 1) % NORMALIZED == 0:
            cost = cost - cost[..., :1]
        now = padded[:, s, :, None]
        whole = np.floor(now).astype(np.int64)
        code = whole - ((whole - four) & 3)
        below = now - code.astype(x.dtype)
        above = below - 4
        below = below * below + cost_of(code, row_class[:, s], table)
        above = above * above + cost_of(code + 4, row_class[:, s], table)
        branch = np.where(above < below, above, below)
        first = cost[..., lower] + branch[..., subset]
        second = cost[..., lower + half] + branch[..., subset ^ 2]
        ways.append((code + 4 * (above < below), second < first))
        joined = np.where(second < first, second, first)
        cost = np.where(there[:, s, :, None], joined, cost)
    state = cost.argmin(-1)[..., None]
    codes = np.zeros(padded.shape, np.int64)
    for s in reversed(range(padded.shape[1])):
        code, upper = ways[s]
        came = state // 2 + half * np.take_along_axis(upper, state, -1)
        taken = (came & 1) + 2 * ((state ^ (came >> 1) ^ (came >> 2)) & 1)
        codes[:, s] = np.take_along_axis(code, taken, -1)[..., 0]
        state = np.where(there[:, s, :, None], came, state)
    return codes.reshape(rows, -1)[:, :cols]
