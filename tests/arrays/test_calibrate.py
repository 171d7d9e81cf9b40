"""Calibrations of `quantize` against their reference, everywhere, brute force and other tools."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from scipy.special import ndtri
from variants import everywhere, granularities, large, same, weights

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference
from pyfq.arrays.calibrate import CALIBRATIONS
from pyfq.arrays.quantize import ROUNDINGS, SCHEMES
from pyfq.arrays.ranges import laplace_clip, normal_clip
from pyfq.reference.arrays import calibrate as specification

ROOT = Path(__file__).parents[2]
KERNEL = "".join(
    (ROOT / f"fortran/arrays/fq_{part}.f90").read_text()
    for part in ("calibrate", "group_range", "group_sums", "least_squares", "hqq")
)
FOUND = CALIBRATIONS[1:]
PAIRS = [(c, s) for c in FOUND for s in SCHEMES if (c, s) != ("hqq", "symmetric")]
BUT_EMPTY = array_shapes(min_dims=1, max_dims=2, max_side=90)


def check(w, bits, **how):
    """Compare codes, parameters and reals with the reference, everywhere."""
    want = reference.quantize(w, bits, **how)
    reals = reference.dequantize(*want, granularity=how.get("granularity", PerRow()))
    assert np.isfinite(reals).all()
    for where in everywhere():
        got = pyfq.quantize(w, bits, **how)
        same(got.codes, want[0], where)
        for part, wanted in zip((got.scale, got.zero_point, got.minimum), want[1:], strict=True):
            assert (part is None) == (wanted is None)
            if part is not None:
                assert np.isfinite(part).all()
                same(part, wanted, where)
    same(pyfq.fake_quantize(w, bits, **how), reals, "fake_quantize")


@st.composite
def manners(draw):
    """Draw arguments of `quantize` that go together."""
    calibration, scheme = draw(st.sampled_from(PAIRS))
    how = {
        "calibration": calibration,
        "scheme": scheme,
        "rounding": draw(st.sampled_from(ROUNDINGS)),
        "granularity": draw(granularities),
        "reciprocal": draw(st.booleans()),
        "range": draw(st.sampled_from(["narrow", "full"])),
    }
    if how["rounding"] == "stochastic":
        how["seed"] = draw(st.integers(0, 2**64 - 1))
    if calibration == "percentile":
        how["percentile"] = draw(st.sampled_from([0.1, 50, 90, 99.9, 100]))
    return draw(st.integers(1 + (scheme == "symmetric"), 16)), how


@given(w=weights(), manner=manners())
def test_calibration_matches_reference(w, manner):
    bits, how = manner
    check(w, bits, **how)


@pytest.mark.parametrize(("calibration", "scheme"), PAIRS)
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(64), PerGroup(37)])
def test_calibration_of_large_arrays_on_any_number_of_threads(calibration, scheme, granularity):
    w = large(np.float32, shape=(41, 997))
    check(w, 3, calibration=calibration, scheme=scheme, granularity=granularity)


@pytest.mark.parametrize("calibration", FOUND)
@pytest.mark.parametrize("granularity", [PerTensor(), PerGroup(64)])
@pytest.mark.parametrize("bits", [4, 11])
def test_calibration_of_float64_on_any_number_of_threads(calibration, granularity, bits):
    w = large(np.float64, shape=(41, 997)) * 1e-300
    check(w, bits, calibration=calibration, scheme="minmax", granularity=granularity)


@pytest.mark.parametrize(("calibration", "scheme"), PAIRS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (5, 1)])
def test_calibration_of_empty_arrays_and_single_entries(calibration, scheme, shape):
    w = np.full(shape, -2.5, np.float32)
    for granularity in (PerTensor(), PerRow(), PerGroup(2)):
        how = {"scheme": scheme, "granularity": granularity}
        plain, got = (pyfq.quantize(w, 4, calibration=c, **how) for c in ("minmax", calibration))
        same(got.codes, plain.codes, str(granularity))
        same(got.scale, plain.scale, str(granularity))


@pytest.mark.parametrize(("calibration", "scheme"), PAIRS)
@pytest.mark.parametrize("value", [0.0, -0.0, 3.0, -3.0, 1e-45, -3e-44, 3.4e38, -3.4e38])
def test_constant_groups_are_those_of_minmax(calibration, scheme, value):
    w = np.full((2, 70), value, np.float32)
    w[1, :64] = 0
    how = {"scheme": scheme, "granularity": PerGroup(64)}
    plain, got = (pyfq.quantize(w, 4, calibration=c, **how) for c in ("minmax", calibration))
    same(got.scale, plain.scale, "scale")
    same(got.dequantize(), plain.dequantize(), "reals")


def squares(w, v):
    """Return the sum of squared errors of each row, of rows brought near 1."""
    unit = np.ldexp(np.longdouble(1), -np.frexp(np.abs(w).max(axis=-1, keepdims=True))[1])
    return (((w * unit) - (v * unit)) ** 2).sum(axis=-1)


@given(
    w=weights(shapes=BUT_EMPTY),
    bits=st.integers(2, 12),
    calibration=st.sampled_from(["mse", "als"]),
    scheme=st.sampled_from(SCHEMES),
    rounding=st.sampled_from(ROUNDINGS),
)
def test_mse_and_als_never_have_a_larger_error_than_minmax(w, bits, calibration, scheme, rounding):
    how = {"scheme": scheme, "rounding": rounding}
    how["seed"] = 5 if rounding == "stochastic" else None
    plain, got = (
        squares(w, pyfq.fake_quantize(w, bits, calibration=c, **how))
        for c in ("minmax", calibration)
    )
    assert (got <= plain * (1 + 1e-13)).all()


@given(w=weights(shapes=BUT_EMPTY), bits=st.integers(2, 12), pair=st.sampled_from(PAIRS))
def test_exact_zeros_stay_exact(w, bits, pair):
    calibration, scheme = pair
    v = pyfq.fake_quantize(w, bits, calibration=calibration, scheme=scheme)
    assert scheme == "minmax" or (v[w == 0] == 0).all()


@pytest.mark.parametrize(("calibration", "scheme"), PAIRS)
def test_multiples_by_powers_of_two_have_the_same_codes(calibration, scheme):
    w = large(np.float32, shape=(7, 200))
    how = {"calibration": calibration, "scheme": scheme, "granularity": PerGroup(64)}
    one, other = pyfq.quantize(w, 4, **how), pyfq.quantize(w * np.float32(2**-20), 4, **how)
    same(other.codes, one.codes, "codes")
    same(other.scale, one.scale * np.float32(2**-20), "scale")


def rounded(w, step, base, low, high):
    return np.clip(np.rint((w - base) / step), low, high) * step + base


def brute_force(w, bits, scheme):
    """Return the squared errors of the best of 80 clips of each row, in float64 throughout."""
    w = w.astype(np.float64)
    least, most = w.min(axis=1, keepdims=True), w.max(axis=1, keepdims=True)
    errors = []
    for i in range(80):
        p = 1 - i / 100
        if scheme == "minmax":
            middle, half = (most + least) / 2, p * (most - least) / 2
            v = rounded(w, 2 * half / (2**bits - 1), middle - half, 0, 2**bits - 1)
        elif scheme == "affine":
            low, high = p * np.minimum(least, 0), p * np.maximum(most, 0)
            step = (high - low) / (2**bits - 1)
            zero = np.rint(-low / step)
            v = rounded(w, step, 0, -zero, 2**bits - 1 - zero)
        else:
            end = 2 ** (bits - 1) - 1
            v = rounded(w, p * np.abs(w).max(axis=1, keepdims=True) / end, 0, -end, end)
        errors.append(((w - v) ** 2).sum(axis=1))
    return np.min(errors, axis=0)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_mse_finds_the_best_of_80_clips(scheme, bits):
    w = np.random.default_rng(2).laplace(size=(200, 64)).astype(np.float32)
    got = squares(w, pyfq.fake_quantize(w, bits, scheme=scheme, calibration="mse"))
    unit = np.ldexp(1.0, -np.frexp(np.abs(w).max(axis=1))[1])
    np.testing.assert_allclose(got.astype(float), brute_force(w, bits, scheme) * unit**2, rtol=2e-5)


@pytest.mark.parametrize(("scheme", "columns"), [("minmax", 2), ("symmetric", 1)])
def test_als_ends_where_least_squares_change_nothing(scheme, columns):
    w = np.random.default_rng(3).standard_normal((50, 64))
    q = pyfq.quantize(w, 2, scheme=scheme, calibration="als")
    fitted = []
    for row, codes in zip(w, q.codes.astype(float), strict=True):
        a = np.column_stack([codes, np.ones(64)])[:, :columns]
        fitted.append(np.linalg.lstsq(a, row, rcond=None)[1][0])
    got = ((w - q.dequantize()) ** 2).sum(axis=1)
    assert (got >= np.array(fitted) * (1 - 1e-12)).all()
    assert got.sum() <= sum(fitted) * (1 + 1e-3)


@pytest.mark.parametrize(("bits", "sqnr"), [(2, 9.25), (3, 14.27), (4, 19.38)])
def test_als_meets_the_optimal_uniform_quantizer_of_a_normal_distribution(bits, sqnr):
    w = ndtri((np.arange(200_000) + 0.5) / 200_000)  # evenly spread: no sampling noise
    how = {"scheme": "minmax", "granularity": PerTensor()}
    found = pyfq.quantize(w, bits, calibration="als", **how).error(w).sqnr
    assert found == pytest.approx(sqnr, abs=0.1)  # Max 1960, table II


def test_als_gains_most_at_few_bits():
    w = np.random.default_rng(0).standard_normal((2000, 64), np.float32)
    gains = []
    for bits, least in ((2, 9.6), (3, 15.3), (4, 21.4), (8, 45.8)):
        plain, fitted = (
            pyfq.quantize(w, bits, scheme="minmax", calibration=c).error(w).sqnr
            for c in ("minmax", "als")
        )
        assert fitted > least
        gains.append(fitted - plain)
    assert gains == sorted(gains, reverse=True)


@pytest.mark.parametrize("percentile", [50, 90, 99.9, 100])
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
def test_percentile_clips_at_percentiles(percentile, granularity):
    w = large(np.float64, shape=(5, 1001))
    axis = None if granularity == PerTensor() else 1
    cut = {"method": "inverted_cdf", "axis": axis}
    how = {"calibration": "percentile", "percentile": percentile, "granularity": granularity}
    peak = np.percentile(np.abs(w), percentile, **cut)
    np.testing.assert_array_equal(pyfq.quantize(w, 4, **how).scale.reshape(peak.shape), peak / 7)
    q = pyfq.quantize(w, 4, scheme="minmax", **how)
    low = -np.percentile(-w, (100 + percentile) / 2, **cut)
    high = np.percentile(w, (100 + percentile) / 2, **cut)
    np.testing.assert_array_equal(q.minimum.reshape(low.shape), low)
    np.testing.assert_array_equal(q.scale.reshape(low.shape), (high - low) / 15)


def published_clip(x, middle, bits):
    """Return ACIQ's clip of a normal or a Laplace distribution around a value."""
    beta, sigma = np.abs(x - middle).mean(), np.sqrt(((x - middle) ** 2).mean())
    is_normal = beta / sigma > (np.sqrt(2 / np.pi) + np.sqrt(0.5)) / 2
    return normal_clip(bits) * sigma if is_normal else laplace_clip(bits) * beta


@pytest.mark.parametrize("draw", ["standard_normal", "laplace"])
@pytest.mark.parametrize("bits", [2, 4])
def test_aciq_clips_around_the_mean(draw, bits):
    w = getattr(np.random.default_rng(4), draw)(size=(1, 5000)) + 0.25
    w[0, ::9] = 0
    how = {"calibration": "aciq", "granularity": PerRow()}
    some, levels = w[w != 0], 2**bits - 1

    clip = published_clip(some, 0, bits)
    q = pyfq.quantize(w, bits, **how)
    np.testing.assert_allclose(q.scale, clip / (2 ** (bits - 1) - 1), rtol=1e-9)
    clip = published_clip(w, w.mean(), bits)
    q = pyfq.quantize(w, bits, scheme="minmax", **how)
    np.testing.assert_allclose(q.minimum, w.mean() - clip, rtol=1e-9)
    np.testing.assert_allclose(q.scale, 2 * clip / levels, rtol=1e-9)
    clip = published_clip(some, some.mean(), bits)
    q = pyfq.quantize(w, bits, scheme="affine", **how)
    np.testing.assert_allclose(q.scale, 2 * clip / levels, rtol=1e-9)
    assert q.zero_point == np.rint((clip - some.mean()) / (2 * clip / levels))
    clip = published_clip(np.abs(some), 0, bits + 1)  # one sign: all codes are for it
    q = pyfq.quantize(np.abs(w), bits, scheme="affine", **how)
    np.testing.assert_allclose(q.scale, clip / levels, rtol=1e-9)


def norm(w, v):
    return (np.abs(w - v) ** 0.7).mean()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("cols", [64, 1024])
@pytest.mark.parametrize("draw", ["standard_normal", "laplace"])
def test_hqq_is_no_worse_than_the_package(bits, cols, draw):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    hqq = pytest.importorskip("hqq.core.quantize", reason="needs hqq")
    w = getattr(np.random.default_rng(5), draw)(size=(256, cols)).astype(np.float32) / 50
    codes, meta = hqq.Quantizer.quantize(
        torch.from_numpy(w), bits, group_size=cols, axis=1, device="cpu", bitpack=False,
        compute_dtype=torch.float32, optimize=True,
    )  # fmt: skip
    theirs = ((codes - meta["zero"]) * meta["scale"]).numpy().reshape(w.shape)
    ours = pyfq.fake_quantize(w, bits, scheme="minmax", calibration="hqq")
    assert norm(w, ours) <= 1.001 * norm(w, theirs)
    assert norm(w, ours) < norm(w, pyfq.fake_quantize(w, bits, scheme="minmax"))


@pytest.mark.parametrize("scheme", ["minmax", "affine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hqq_returns_the_best_iterate(scheme, dtype):
    w = np.random.default_rng(6).standard_normal((300, 40)).astype(dtype)
    plain, got = (
        (np.abs(w - pyfq.fake_quantize(w, 3, scheme=scheme, calibration=c)) ** 0.7).sum(axis=1)
        for c in ("minmax", "hqq")
    )
    assert (got <= plain * (1 + 1e-5)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_are_within_three_millionths(dtype):
    a = np.geomspace(2e-9, 1e5, 100_001).astype(dtype)
    want = a.astype(np.float64) ** -0.3
    got = specification.to_minus_0_3(a)
    np.testing.assert_allclose(got, want, rtol=3e-6)


def test_constants_of_kernel_and_reference_agree():
    numbers = dict(re.findall(r"METHOD_(\w+) = (\d+)", KERNEL))
    assert {int(n): word.lower() for word, n in numbers.items()} == {
        n: word for n, word in enumerate(CALIBRATIONS) if word not in ("minmax", "percentile")
    }
    constants = dict(re.findall(r"(\w+) = ([\d.]+)(?:_dp)?\b", KERNEL))
    for name in ("BLOCK", "RUN", "FITS", "SHRINKINGS", "FIRST_WEIGHT", "KAPPA"):
        assert float(constants[name]) == getattr(specification, name)
    assert int(constants["LANE_COUNT"]) == specification.LANES
    tables = {
        name: [float(x) for x in re.findall(r"-?[\d.]+(?=_wp|,|\s*$)", text)]
        for name, text in re.findall(r":: (\w+)\(\d+\) = \[(.*?)\]", KERNEL, re.S)
    }
    for name in ("CLIPPED", "STARTS", "ROOT"):
        assert tables[name] == list(getattr(specification, name))


W = np.random.default_rng(0).standard_normal((3, 4), np.float32)
REFUSALS = [
    (lambda: pyfq.quantize(W, calibration="kl"), ValueError, "calibration must be one of 'minmax'"),
    (
        lambda: pyfq.quantize(W, calibration="mse", scale=0.5),
        ValueError,
        "calibration='mse' finds the scale, but scale is 0.5",
    ),
    (
        lambda: pyfq.quantize(W, calibration="als", scale="absmax_half"),
        ValueError,
        "calibration='als' finds the scale, but scale is 'absmax_half'",
    ),
    (
        lambda: pyfq.quantize(W, calibration="aciq", scale=np.ones((3, 1), np.float32)),
        ValueError,
        "calibration='aciq' finds the scale, but scale is given",
    ),
    (
        lambda: pyfq.quantize(W, calibration="hqq"),
        ValueError,
        "calibration='hqq' finds the zero point, which scheme 'symmetric' does not have",
    ),
    (
        lambda: pyfq.fake_quantize(W, percentile=99.0),
        ValueError,
        "percentile is of calibration 'percentile', not 'minmax'",
    ),
    (
        lambda: pyfq.quantize(W, calibration="percentile", percentile=0),
        ValueError,
        "percentile must be more than 0",
    ),
    (
        lambda: pyfq.quantize(W, calibration="percentile", percentile=101),
        ValueError,
        "percentile must be 0 ... 100, not 101",
    ),
    (
        lambda: pyfq.quantize(W, calibration="percentile", percentile="99"),
        TypeError,
        "percentile must be a number, not str",
    ),
    (
        lambda: pyfq.quantize(W, 1, calibration="mse"),
        ValueError,
        "bits=1 leaves scheme 'symmetric'",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_calibration_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("calibration", FOUND)
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_calibration_refuses_what_is_not_finite(calibration, granularity, value):
    w = np.ones((3, 20_000), np.float32)
    w[2, 19_999] = value
    for where in everywhere():
        with pytest.raises(ValueError, match=rf"w\[2, 19999\] is {value}") as e:
            pyfq.quantize(w, 4, scheme="minmax", calibration=calibration, granularity=granularity)
        assert e, where
