"""Reference of `pyfq.arrays.convert`: nearest in a table of all values of the format."""

import numpy as np

FORMATS = {
    "bfloat16": (8, 7, False),
    "float16": (5, 10, False),
    "float8_e4m3fn": (4, 3, True),
    "float8_e5m2": (5, 2, False),
}


def cast_to(x, to):
    """Return the bits of the nearest value, of two equally near the one whose last bit is 0."""
    exponent_bits, mantissa_bits, finite_only = FORMATS[to]
    width = 1 + exponent_bits + mantissa_bits
    ladder = _values(np.arange(2 ** (width - 1)), exponent_bits, mantissa_bits)
    nan = (
        2 ** (width - 1) - 1
        if finite_only
        else (2**exponent_bits - 1 << mantissa_bits) | 1 << (mantissa_bits - 1)
    )
    last = nan if finite_only else 2**exponent_bits - 1 << mantissa_bits
    a = np.abs(x.astype(np.float64))
    above = np.clip(np.searchsorted(ladder[: last + 1], a), 1, last)
    down, up = a - ladder[above - 1], ladder[above] - a
    bits = np.where((down < up) | ((down == up) & (above % 2 == 1)), above - 1, above)
    bits = np.where(np.isnan(x), nan, np.where(a == 0, 0, bits)) | np.signbit(x).astype(int) << (
        width - 1
    )
    return bits.astype(f"uint{width}")


def cast_from(bits, format):
    """Return the values of the bits."""
    exponent_bits, mantissa_bits, finite_only = FORMATS[format]
    half = 2 ** (exponent_bits + mantissa_bits)
    magnitude = bits.astype(np.int64) % half
    x = _values(magnitude, exponent_bits, mantissa_bits)
    if finite_only:
        x = np.where(magnitude == half - 1, np.nan, x)
    else:
        infinite = 2**exponent_bits - 1 << mantissa_bits
        x = np.where(magnitude == infinite, np.inf, np.where(magnitude > infinite, np.nan, x))
    return np.copysign(x, np.where(bits >= half, -1.0, 1.0)).astype(np.float32)


def _values(magnitude, exponent_bits, mantissa_bits):
    """Return what magnitudes stand for as if no exponent were special, in float64."""
    exponent = np.maximum(magnitude >> mantissa_bits, 1)
    significand = magnitude - (exponent - 1 << mantissa_bits)
    return np.ldexp(
        significand.astype(np.float64), exponent - 2 ** (exponent_bits - 1) + 1 - mantissa_bits
    )
