"""Topic `distortion` against its reference, everywhere, and what it refuses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import everywhere, large, weights

import pyfq
from pyfq import Distortion, reference


def check(w, v):
    want = Distortion(*reference.distortion(w, v))
    for where in everywhere():
        assert pyfq.distortion(w, v) == want, where
    return want


@given(data=st.data(), w=weights())
def test_distortion_matches_reference(data, w):
    check(w, data.draw(weights(w.dtype, st.just(w.shape))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distortion_of_large_arrays_on_any_number_of_threads(dtype):
    w, v = large(dtype), large(dtype, 1)
    got = check(w, v)
    a, b = w.astype(np.longdouble).reshape(-1), v.astype(np.longdouble).reshape(-1)
    assert got.mse == pytest.approx(float(((a - b) ** 2).mean()), rel=1e-13)
    assert got.cosine == pytest.approx(float(a @ b / np.sqrt((a @ a) * (b @ b))), rel=1e-12)
    assert got.max_abs == np.abs(w.astype(np.float64) - v).max()


@pytest.mark.parametrize("magnitude", [1e-320, 1e-200, 1e200, 1e308])
def test_distortion_keeps_ratios_of_extreme_magnitudes(magnitude):
    w = np.array([1.0, -1.0, 0.5, 0.25]) * magnitude
    got = pyfq.distortion(w, w / 2)
    assert got.sqnr == pytest.approx(20 * math.log10(2), rel=1e-3)
    assert got.cosine == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("magnitude", [1e-320, 1e-160, 1e308])
def test_distortion_of_extreme_magnitudes_from_zeros(magnitude):
    w = np.array([1.0, -1.0, 0.5, 0.25]) * magnitude
    assert check(w, np.zeros(4)).sqnr == 0
    assert check(w, np.zeros(4)).cosine == 0
    assert check(np.zeros(4), w).sqnr == -math.inf


@pytest.mark.parametrize("name", ["w", "v"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distortion_refuses_what_is_not_finite(name, dtype):
    pair = {"w": np.ones(5, dtype), "v": np.ones(5, dtype)}
    pair[name][3] = np.nan
    with pytest.raises(ValueError, match=rf"{name} must be finite, but {name}\[3\] is nan"):
        pyfq.distortion(**pair)


def test_distortion_refuses_different_arrays():
    with pytest.raises(TypeError, match="v must be float64, not float32"):
        pyfq.distortion(np.ones(2), np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"v must have shape \(2,\), not \(3,\)"):
        pyfq.distortion(np.ones(2), np.ones(3))
