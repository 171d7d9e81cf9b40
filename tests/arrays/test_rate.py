"""Topic `rate` against its reference, everywhere, against all paths, and how near it comes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import dtypes, everywhere, large, same, weights

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, RateQuantized, _native, reference
from pyfq._core.threads import get_num_threads
from pyfq.arrays.rate import TRADEOFFS, estimate_rate
from pyfq.arrays.rate_tables import log2_fixed
from pyfq.reference.arrays.rate import search_codes

TRELLISES = (None, 4, 8)
trellises = st.sampled_from(TRELLISES)
scales = st.sampled_from([PerTensor(), PerRow()])


def search(w, steps, classes, rates, tradeoff, states, block_rows):
    """Call the kernel as it is."""
    rows = len(w)
    codes = np.empty(w.shape, np.int16)
    counts = np.empty((-(-rows // block_rows), *rates.shape), np.int64)
    sums = np.empty((rows, 3))
    arguments = (w, steps, classes, rates, w.dtype.type(tradeoff), states, block_rows)
    kind, threads = _native.KIND[w.dtype], get_num_threads()
    _native.call("quantize_rate", kind, *arguments, codes, counts, sums, threads)
    return codes, counts.sum(axis=0), sums


def source(name, shape=(512, 512), seed=0):
    """Return samples of unit variance."""
    rng = np.random.default_rng(seed)
    if name == "laplace":
        return rng.laplace(scale=math.sqrt(0.5), size=shape).astype(np.float32)
    w = rng.standard_normal(shape, np.float32)
    if name == "rows":
        w *= rng.lognormal(0, 1, (shape[0], 1)).astype(np.float32)
    return w


@given(
    data=st.data(), dtype=dtypes, states=st.sampled_from([1, 4, 8]), seed=st.integers(0, 2**32 - 1)
)
def test_kernel_matches_reference(data, dtype, states, seed):
    rng = np.random.default_rng(seed)
    rows, cols = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    block_rows = data.draw(st.integers(1, 50))
    count = data.draw(st.sampled_from([1, 2, 16]))
    w = rng.laplace(size=(rows, cols)) * 10.0 ** rng.integers(-3, 6, (rows, cols))
    w = np.where(rng.random(w.shape) < 0.3, np.round(2 * w) / 2, w).astype(dtype)
    steps = rng.uniform(0.1, 2, data.draw(st.sampled_from([1, rows]))).astype(dtype)
    rates = rng.uniform(0, 12, (count, 1 if states == 1 else 2, 256)).astype(dtype)
    rates = np.round(rates, data.draw(st.integers(0, 3)))  # ties
    classes = rng.integers(0, count, rows).astype(np.int8)
    arguments = (w, steps, classes, rates, rng.choice([0, 0.25, 0.3]), states, block_rows)
    wanted = search_codes(*arguments)
    for where in everywhere():
        for got, want in zip(search(*arguments), wanted, strict=True):
            same(got, want, where)


@given(data=st.data(), w=weights(), trellis=trellises, granularity=scales)
def test_quantize_rate_matches_reference(data, w, trellis, granularity):
    limits = np.finfo(w.dtype)
    peak = float(np.abs(w).max(initial=0))
    step = peak * data.draw(st.sampled_from([1 / 32000, 0.01, 0.3, 1.0, 3.0]))
    step = min(max(step, float(limits.smallest_subnormal)), float(limits.max))
    how = {"granularity": granularity, "trellis": trellis, "tradeoff": 0.3}
    try:
        q = pyfq.quantize_rate(w, step=step, **how)
    except ValueError as e:
        assert granularity == PerRow() and "step must be at least" in str(e)
        return
    if not w.size:
        assert q.codes.shape == w.shape
        return
    codes, scale = reference.quantize_rate(w, step, **how)
    for where in everywhere():
        again = pyfq.quantize_rate(w, step=step, **how)
        same(again.codes.astype(np.int16), codes, where)
        same(again.scale, scale, where)
        same(again.stream, q.stream, where)


@pytest.mark.parametrize("trellis", TRELLISES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arrays_are_the_same_on_any_number_of_threads(dtype, trellis):
    w = large(dtype, shape=(701, 997))
    codes, scale = reference.quantize_rate(
        w, 0.5, granularity=PerTensor(), trellis=trellis, tradeoff=TRADEOFFS[trellis or 1]
    )
    for where in everywhere():
        q = pyfq.quantize_rate(w, step=0.5, trellis=trellis)
        same(q.codes.astype(np.int16), codes, where)
        same(q.scale, scale, where)


@pytest.mark.parametrize("states", [4, 8])
@pytest.mark.parametrize("seed", range(8))
def test_no_path_costs_less(states, seed):
    """Of one lane: all codes near enough that the parity of the state allows."""
    rng = np.random.default_rng(seed)
    w, step = rng.normal(0, 1.5, (6, 1)), np.ones(1)
    rates, tradeoff = rng.uniform(0, 8, (1, 2, 256)), 0.4

    def cost_of(path):
        state, cost = 0, 0.0
        for x, q in zip(w[:, 0], path, strict=True):
            union = state & 1
            cost += (x - (2 * q + union)) ** 2 + tradeoff * rates[0, union, q + 128]
            turn = (q ^ state >> 1 ^ (state >> 2 if states == 8 else 0)) & 1
            state = (2 * state & (states - 1)) | turn
        return cost

    codes = search(w, step, np.zeros(6, np.int8), rates, tradeoff, states, 6)[0][:, 0]
    numbers = [range(math.floor(x / 2) - 2, math.floor(x / 2) + 3) for x in w[:, 0]]
    least = min(map(cost_of, itertools.product(*numbers)))
    assert cost_of((codes - (codes & 1)) // 2) == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("bits", [1.5, 2, 3, 4])
@pytest.mark.parametrize("trellis, most", [(None, 1.65), (4, 0.7), (8, 0.6)])
def test_gaussian_samples_come_near_the_bound_of_shannon(bits, trellis, most):
    w = source("gauss", (1024, 1024))
    q = pyfq.quantize_rate(w, bits, trellis=trellis)
    bound = 20 * math.log10(2) * q.bits_per_weight
    assert bound - q.error(w).sqnr < most


@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
@pytest.mark.parametrize("trellis", TRELLISES)
@pytest.mark.parametrize("name", ["gauss", "laplace", "rows"])
def test_bits_are_met(name, trellis, granularity):
    w = source(name, (200, 500))
    for bits in (1.3, 2, 3.7, 6):
        q = pyfq.quantize_rate(w, bits, trellis=trellis, granularity=granularity)
        assert q.bits_per_weight == pytest.approx(bits, rel=0.005)
        assert q.nbytes == q.stream.nbytes + q.scale.nbytes


@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
@pytest.mark.parametrize("trellis", TRELLISES)
@pytest.mark.parametrize("name", ["gauss", "laplace", "rows"])
def test_sqnr_is_met(name, trellis, granularity):
    w = source(name, (400, 999))
    for sqnr in (4, 12, 30):
        q = pyfq.quantize_rate(w, sqnr=sqnr, trellis=trellis, granularity=granularity)
        assert q.error(w).sqnr == pytest.approx(sqnr, abs=0.05)


@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
@pytest.mark.parametrize("magnitude", [1e-320, 1e-310, 1e-160, 1e160, 2e307])
def test_extreme_magnitudes_are_like_others(magnitude, granularity):
    w = source("gauss", (200, 500)).astype(np.float64) * magnitude
    q = pyfq.quantize_rate(w, 3, granularity=granularity)
    assert q.bits_per_weight == pytest.approx(3, rel=0.02)
    assert q.error(w).sqnr > 16
    assert pyfq.quantize_rate(w, sqnr=12, granularity=granularity).error(w).sqnr > 11.9


@pytest.mark.parametrize("aim", [{"bits": 12}, {"sqnr": 12}])
def test_rows_of_little_next_to_the_largest_numbers(aim):
    w = np.full((3, 64), 1.5e308)
    w[0] = 0
    w[0, 0] = 1.7e308  # many of its steps: more than a float64 holds, were they those of the array
    q = pyfq.quantize_rate(w, granularity=PerRow(), **aim)
    assert q.error(w).sqnr > 12


def test_more_states_lose_less_at_the_same_bits():
    for name in ("gauss", "laplace", "rows"):
        w = source(name)
        found = [pyfq.quantize_rate(w, 2.5, trellis=t).error(w).sqnr for t in TRELLISES]
        assert found == sorted(found)
        assert found[2] - found[0] > 0.6


def test_rows_of_different_spread_share_no_table():
    """Codes of one class would take the bits of the mixture."""
    w = source("rows")
    q = pyfq.quantize_rate(w, step=0.5)
    n = np.unique(q.codes, return_counts=True)[1]
    assert q.bits_per_weight < float((n * np.log2(n.sum() / n)).sum()) / w.size - 0.3


@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
def test_zeros_stay_zeros_without_a_trellis(granularity):
    w = pyfq.prune_ratio(source("gauss"), 0.7).weights
    q = pyfq.quantize_rate(w, 2, granularity=granularity, trellis=None)
    assert not q.codes[w == 0].any()
    assert not q.dequantize()[w == 0].any()
    assert q.error(w).sqnr > 21  # positions take 0.88 bits of a weight, values 3.7 each


def test_an_array_of_zeros_is_only_a_header():
    w = np.zeros((300, 400), np.float32)
    for how in ({"bits": 3}, {"sqnr": 20}, {"step": 0.1}):
        q = pyfq.quantize_rate(w, **how)
        assert q.bits_per_weight < 0.02
        assert not q.dequantize().any()


@pytest.mark.parametrize("trellis", TRELLISES)
def test_arrays_of_one_value_need_no_bits(trellis):
    """Most steps have as many bits as any other, or none."""
    w = np.ones((300, 400), np.float32)
    q = pyfq.quantize_rate(w, 2.5, trellis=trellis)
    assert q.bits_per_weight < 0.1
    assert q.error(w).sqnr > 70
    assert pyfq.quantize_rate(w, sqnr=20, trellis=trellis).error(w).sqnr > 19.9


def test_arrays_of_three_values_keep_them():
    w = np.random.default_rng(0).choice([-1.0, 0, 1], (300, 400))
    for how in ({"bits": 2}, {"sqnr": 30}):
        q = pyfq.quantize_rate(w, **how, trellis=None)
        assert q.error(w).sqnr > 100
        assert q.bits_per_weight < 1.62


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (), (1,), (7,), (2, 3, 5), (9, 1), (1, 9)])
@pytest.mark.parametrize("trellis", TRELLISES)
def test_any_shape_comes_back(shape, trellis):
    rng = np.random.default_rng(0)
    w = np.asarray(rng.normal(0, 10, shape))
    for granularity in (PerTensor(), PerRow()):
        q = pyfq.quantize_rate(w, step=0.01, granularity=granularity, trellis=trellis)
        assert q.codes.shape == q.dequantize().shape == w.shape
        assert q.trellis == trellis
        assert np.abs(q.dequantize() - w).max(initial=0) < 0.05


def test_large_codes_are_escapes_of_16_bits():
    w = np.linspace(-32763, 32763, 2000, dtype=np.float32).reshape(40, 50)
    for trellis in TRELLISES:
        q = pyfq.quantize_rate(w, step=1.0, trellis=trellis)
        assert q.codes.dtype == np.int16
        assert q.to_quantized().bits == 16
        assert np.abs(q.dequantize() - w).max() < 6
    assert pyfq.quantize_rate(w, step=1000.0).codes.dtype == np.int8


def test_the_scale_has_the_least_squared_error():
    w = source("laplace")
    q = pyfq.quantize_rate(w, 1.5)
    codes = q.codes.astype(np.float64)
    assert q.scale == pytest.approx(float((w * codes).sum() / (codes * codes).sum()), rel=1e-6)
    rows = pyfq.quantize_rate(w, 1.5, granularity=PerRow())
    codes = rows.codes.astype(np.float64)
    best = (w * codes).sum(axis=1) / (codes * codes).sum(axis=1)
    np.testing.assert_allclose(rows.scale[:, 0], best, rtol=1e-6)


@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
def test_layers_multiply_by_the_codes(granularity):
    w, x = source("gauss", (48, 64)), source("gauss", (5, 64), 1)
    q = pyfq.quantize_rate(w, 3, granularity=granularity)
    codes = q.to_quantized()
    same(codes.codes, q.codes, "codes")
    np.testing.assert_allclose(pyfq.linear(x, codes), x @ q.dequantize().T, rtol=1e-4, atol=1e-5)
    same(
        pyfq.linear(x, pyfq.prepare(codes, activation_bits=8)),
        reference.linear(x, codes, activation_bits=8),
        "8 bits",
    )


def test_estimates_are_near():
    for name in ("gauss", "rows"):
        w = source(name, (3000, 500))
        for trellis in TRELLISES:
            bits, sqnr = estimate_rate(w, [0.3, 1.0], trellis=trellis)
            for i, step in enumerate((0.3, 1.0)):
                q = pyfq.quantize_rate(w, step=step, trellis=trellis)
                assert bits[i] == pytest.approx(q.bits_per_weight, rel=0.05)
                assert sqnr[i] == pytest.approx(q.error(w).sqnr, abs=0.5)


def test_logarithms_are_those_of_numpy():
    n = np.concatenate([np.arange(1, 5000), 2 ** np.arange(1, 50), 3 ** np.arange(1, 33)])
    found = log2_fixed(n) / 65536
    assert np.all((found <= np.log2(n) + 1e-9) & (found > np.log2(n) - 2 / 65536))


def test_quantize_rate_refuses():
    w = np.ones((4, 5), np.float32)
    for how in ({}, {"bits": 2, "step": 0.1}, {"step": 0.1, "sqnr": 3}):
        with pytest.raises(ValueError, match="exactly one of bits, step and sqnr must be given"):
            pyfq.quantize_rate(w, **how)
    with pytest.raises(TypeError, match="w must be float32 or float64, not int64"):
        pyfq.quantize_rate(np.ones((2, 3), np.int64), 2)
    with pytest.raises(ValueError, match="w must be C-contiguous"):
        pyfq.quantize_rate(w.T, 2)
    with pytest.raises(ValueError, match=r"bits must be 0 \.\.\. 16, not 17"):
        pyfq.quantize_rate(w, 17)
    with pytest.raises(ValueError, match=r"sqnr must be 0 \.\.\. 90, not -1"):
        pyfq.quantize_rate(w, sqnr=-1)
    with pytest.raises(TypeError, match="step must be a number, not str"):
        pyfq.quantize_rate(w, step="1")
    with pytest.raises(ValueError, match="step must be"):
        pyfq.quantize_rate(w, step=0.0)
    with pytest.raises(ValueError, match=r"step must be at least 3.05e-05 for codes up to 32767"):
        pyfq.quantize_rate(w, step=1e-5)
    with pytest.raises(ValueError, match="trellis must be 8, 4 or None, not 2"):
        pyfq.quantize_rate(w, 2, trellis=2)
    with pytest.raises(TypeError, match="trellis must be 8, 4 or None, not str"):
        pyfq.quantize_rate(w, 2, trellis="8")
    with pytest.raises(TypeError, match=r"granularity must be PerTensor\(\) or PerRow\(\)"):
        pyfq.quantize_rate(w, 2, granularity=PerGroup(4))
    with pytest.raises(ValueError, match=r"tradeoff must be 0 \.\.\. 1000"):
        pyfq.quantize_rate(w, 2, tradeoff=-0.1)
    with pytest.raises(ValueError, match=r"bits must be at least .* of shape \(4, 5\)"):
        pyfq.quantize_rate(w, 0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantize_rate_refuses_what_is_not_finite(bad, dtype):
    w = np.ones((4, 5), dtype)
    w[2, 3] = bad
    for how in ({"bits": 2}, {"step": 0.1}, {"sqnr": 3}):
        with pytest.raises(ValueError, match=r"w must be finite, but w\[2, 3\] is "):
            pyfq.quantize_rate(w, **how)


def test_the_result_refuses_parts_that_do_not_fit():
    q = pyfq.quantize_rate(source("gauss", (6, 8)), step=0.5)
    with pytest.raises(ValueError, match=r"stream must hold codes of shape \(8, 6\), not \(6, 8\)"):
        RateQuantized(q.stream, (8, 6), q.granularity, q.scale)
    with pytest.raises(ValueError, match=r"scale must have shape \(6, 1\)"):
        RateQuantized(q.stream, q.shape, PerRow(), q.scale)
    with pytest.raises(ValueError, match="scale must be finite"):
        RateQuantized(q.stream, q.shape, q.granularity, np.array(np.nan, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        q.stream[0] = 1
    broken = q.stream.copy()
    broken[-1] ^= 1
    with pytest.raises(ValueError):
        RateQuantized(broken, q.shape, q.granularity, q.scale).dequantize()
