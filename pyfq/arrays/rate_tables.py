"""Bits of symbols and classes of rows, in integers: the same on every machine."""

import numpy as np
from numpy.typing import NDArray

# Places of a logarithm after the point, in bits.
PLACES = 16
# Bits of a table: those of its ends, and about those of a frequency.
TABLE_BITS, FREQUENCY_BITS = 16, 10
# Bits of the class of a row, and of the number that follows an escape.
CLASS_BITS, ESCAPE_BITS = 4, 16


def log2_fixed(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the logarithms of integers from 1 on in 65536ths, rounded down, by squaring.

    Libraries of logarithms differ in their last bits.
    """
    found = np.frexp(n.astype(np.float64))[1].astype(np.int64) - 1
    x = np.where(found > 30, n >> np.maximum(found - 30, 0), n << np.maximum(30 - found, 0))
    for _ in range(PLACES):
        x = x * x >> 30
        above = x >> 31
        x >>= above
        found = 2 * found + above
    return found


def rates_of(counts: NDArray[np.int64], dtype: np.dtype) -> NDArray:
    """Return the bits of each symbol; of one that does not occur as if it did half a time."""
    total = np.maximum(2 * counts.sum(axis=-1, keepdims=True), 1)
    bits = log2_fixed(total) - log2_fixed(np.maximum(2 * counts, 1))
    return (bits / 2**PLACES).astype(dtype)


def stream_bits(counts: NDArray[np.int64], size: int, sample_size: int, rows: int) -> int:
    """Return about the bits of codes of which a sample was counted, with tables and classes."""
    total = counts.sum(axis=-1, keepdims=True)
    bits = log2_fixed(np.maximum(total, 1)) - log2_fixed(np.maximum(counts, 1))
    coded = int((counts * bits).sum()) // 2**PLACES
    coded += ESCAPE_BITS * int(counts[..., 0].sum() + counts[..., 255].sum())
    used = counts > 0
    span = 256 - used.argmax(axis=-1) - used[..., ::-1].argmax(axis=-1)
    tables = int((TABLE_BITS + FREQUENCY_BITS * span).sum())
    if len(counts) > 1:
        tables += CLASS_BITS * rows
    return coded * size // sample_size + tables


def class_counts(rows: int) -> list[int]:
    """Return the numbers of classes that are tried."""
    return [n for n in (1, 2, 4, 8) if n <= max(rows // 2, 1)]


def classes_of(spread: NDArray, count: int) -> NDArray[np.int8]:
    """Return the class of each row: a quantile of the spread."""
    classes = np.zeros(len(spread), np.int8)
    if count > 1:
        ranks = np.arange(len(spread))
        classes[np.argsort(spread, kind="stable")] = ranks * count // len(spread)
    return classes


def cheapest_merge(
    counts: NDArray[np.int64], parts: list[int], size: int, sample_size: int, rows: int
) -> NDArray[np.int64]:
    """Return counts of as many classes as cost least, their tables included."""
    merged = [counts.reshape(n, -1, *counts.shape[1:]).sum(axis=1) for n in parts]
    bits = [stream_bits(each, size, sample_size, rows) for each in merged]
    return merged[bits.index(min(bits))]
