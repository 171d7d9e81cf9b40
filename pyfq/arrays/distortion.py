"""How far a reconstruction is from the original (`fortran/arrays/fq_distortion.f90`)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import FLOATS, as_input
from .._core.threads import get_num_threads

# Elements of a block of `distortion_sums`, and lanes of its sums.
BLOCK = 4096
LANES = 16


@dataclass(frozen=True)
class Distortion:
    """The error of a reconstruction.

    Attributes
    ----------
    mse : float
        Mean squared error, in squared units of the data.
    sqnr : float
        Signal-to-quantization-noise ratio, dB; inf without error, -inf for a signal of zeros.
    max_abs : float
        Largest absolute error, in units of the data.
    cosine : float
        Cosine of the angle between original and reconstruction, -1 ... 1; 1 if both are zero, 0 if
        one of them is.
    """

    mse: float
    sqnr: float
    max_abs: float
    cosine: float


def distortion(w: NDArray, v: NDArray) -> Distortion:
    r"""Measure how far `v` is from `w`.

    .. math::
        \mathrm{mse} = \frac1n \sum (w-v)^2, \quad
        \mathrm{sqnr} = 10 \log_{10} \frac{\sum w^2}{\sum (w-v)^2}, \quad
        \cos = \frac{\sum w v}{\sqrt{\sum w^2 \sum v^2}}

    Sums are in float64, in blocks of 4096 elements and 16 lanes: the same bits for any number of
    threads, with a relative error of the sums of squares below
    :math:`(n / 65536 + 266)\, 2^{-53}`.

    Parameters
    ----------
    w : (...) float32 or float64
        Original, finite.
    v : array of w's shape and dtype
        Reconstruction, finite.

    Returns
    -------
    Distortion
        All zero error for empty arrays.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes differ, or an array is not C-contiguous or holds NaN or Inf.

    References
    ----------
    Jayant & Noll 1984, Digital Coding of Waveforms, section 4.1 (SQNR).

    Examples
    --------
    >>> distortion(np.array([3.0, 4.0]), np.array([3.0, 3.5]))
    Distortion(mse=0.125, sqnr=20.0, max_abs=0.5, cosine=0.9978801059658184)
    """
    w = as_input(w, "w", FLOATS)
    v = as_input(v, "v", (w.dtype,), w.shape)
    unit = min(unit_of(w), unit_of(v))
    sums = np.empty((-(-w.size // BLOCK), 5))
    if w.size:
        flat = (w.reshape(-1), v.reshape(-1))
        kind, threads = _native.KIND[w.dtype], get_num_threads()
        _native.call("distortion_sums", kind, *flat, unit, sums, threads, inputs={"w": w, "v": v})
    return from_sums(sums, w.size, unit)


def from_sums(sums: NDArray[np.float64], n: int, unit: float) -> Distortion:
    """Return the distortion whose block sums, of data times `unit`, are given."""
    ww, vv, wv, dd = (lane_sum(column) for column in sums[:, :4].T)
    peak = float(sums[:, 4].max(initial=0.0))
    sqnr = math.inf if dd == 0 else -math.inf
    if ww > 0 and dd > 0:
        sqnr = 10 * math.log10(ww / dd)
    elif ww > 0 and peak > 0:  # the squares of so small an error are 0
        sqnr = 20 * math.log10(math.sqrt(ww) / peak)
    if ww > 0 and vv > 0:
        cosine = min(max(wv / (math.sqrt(ww) * math.sqrt(vv)), -1.0), 1.0)
    else:
        cosine = 1.0 if ww == vv else 0.0
    return Distortion(dd / max(n, 1) / unit / unit, sqnr, peak / unit, cosine)


def lane_sum(x: NDArray[np.float64]) -> float:
    """Sum in 16 lanes and halve (`fortran/inline/fq_lane_sum.inc`)."""
    lanes = np.zeros(LANES)
    for i in range(0, x.size, LANES):
        part = x[i : i + LANES]
        lanes[: part.size] += part
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return float(lanes[0])


def unit_of(x: NDArray) -> float:
    """Return the power of two that brings the largest magnitude of `x` near 1; 1 for float32.

    Squares of float32 stay in range in float64; those of float64 may not.  Zeros bear any power:
    theirs is the largest.
    """
    if x.dtype == np.float32 or not x.size:
        return 1.0
    largest = np.zeros(1)
    _native.call("largest_magnitude", "f64", x.reshape(-1), largest, get_num_threads())
    peak = float(largest[0])
    if not peak < math.inf:
        return 1.0
    return math.ldexp(1.0, min(-math.frexp(peak)[1], 1023) if peak else 1023)
