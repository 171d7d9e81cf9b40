"""Topic `prune` against its reference, everywhere, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from variants import everywhere, granularities, large, same, weights

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference

DTYPES = [np.float32, np.float64]
GRANULARITIES = [PerTensor(), PerRow(), PerGroup(64), PerGroup(10_000)]
rows_shapes = array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=21)


def check(function, *args, **kwargs):
    want = getattr(reference, function)(*args, **kwargs)
    for where in everywhere():
        got = getattr(pyfq, function)(*args, **kwargs)
        same(got.weights, want[0], where)
        same(got.mask, want[1], where)
        if want[2] is not None:
            same(got.threshold, want[2], where)
        dropped = np.count_nonzero(~want[1])
        assert got.sparsity == pytest.approx(dropped / max(want[1].size, 1))


@given(w=weights(), threshold=st.floats(-1, 9, width=16), granularity=granularities)
def test_prune_threshold_matches_reference(w, threshold, granularity):
    check("prune_threshold", w, threshold, granularity=granularity)


@given(data=st.data(), w=weights(), granularity=granularities)
def test_prune_threshold_takes_one_for_each_group(data, w, granularity):
    shape = pyfq.prune_threshold(w, 0.0, granularity=granularity).threshold.shape
    threshold = data.draw(weights(w.dtype, st.just(shape)))
    check("prune_threshold", w, threshold, granularity=granularity)


@given(w=weights(), rate=st.floats(0, 100), granularity=granularities)
def test_prune_percentile_matches_reference(w, rate, granularity):
    check("prune_percentile", w, rate, granularity=granularity)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0, 1e-9, 33.3, 50, 99.999, 100])
def test_prune_percentile_is_the_one_of_numpy(dtype, rate):
    w = large(dtype)
    for where in everywhere():
        whole = pyfq.prune_percentile(w, rate).threshold
        rows = pyfq.prune_percentile(w, rate, granularity=PerRow()).threshold
        if dtype == np.float64 or np.lib.NumpyVersion(np.__version__) >= "2.4.0":
            same(whole, np.asarray(np.percentile(np.abs(w), rate)), where)
            same(rows, np.percentile(np.abs(w), rate, axis=1, keepdims=True), where)
        else:
            exact = np.abs(w).astype(np.float64)
            np.testing.assert_allclose(whole, np.percentile(exact, rate), 2e-7)
            np.testing.assert_allclose(rows, np.percentile(exact, rate, 1, keepdims=True), 2e-7)


@given(w=weights(), ratio=st.floats(0, 1), granularity=granularities)
def test_prune_ratio_matches_reference(w, ratio, granularity):
    check("prune_ratio", w, ratio, granularity=granularity)


@given(
    data=st.data(), w=weights(shapes=rows_shapes), ratio=st.floats(0, 1), granularity=granularities
)
def test_prune_ratio_ranks_given_scores_of_any_sign(data, w, ratio, granularity):
    scores = data.draw(weights(w.dtype, st.just(w.shape)))
    check("prune_ratio", w, ratio, granularity=granularity, scores=scores)
    check("prune_threshold", w, 0.5, granularity=granularity, scores=scores)
    check("prune_nm", w, 1, 3, scores=scores)


@given(w=weights(), m=st.integers(1, 9), data=st.data())
def test_prune_nm_matches_reference(w, m, data):
    check("prune_nm", w, data.draw(st.integers(1, m)), m)


@given(
    w=weights(shapes=rows_shapes),
    ratio=st.floats(0, 1),
    norm=st.sampled_from([1, 2, np.inf]),
    round_to=st.integers(1, 5),
)
def test_prune_rows_matches_reference(w, ratio, norm, round_to):
    check("prune_rows", w, ratio, norm, round_to)


@given(data=st.data(), ratio=st.floats(0, 1), dtype=st.sampled_from(DTYPES))
def test_prune_global_matches_reference(data, ratio, dtype):
    tensors = {
        name: data.draw(weights(dtype)) for name in data.draw(st.sets(st.sampled_from("abcd")))
    }
    want = reference.prune_global(tensors, ratio)
    for where in everywhere():
        got = pyfq.prune_global(tensors, ratio)
        for name in tensors:
            for part, wanted in zip(
                (got[name].weights, got[name].mask, got[name].threshold), want[name], strict=True
            ):
                same(part, wanted, where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_large_arrays_match_reference_on_any_number_of_threads(dtype, granularity):
    w = large(dtype)
    check("prune_threshold", w, 0.7, granularity=granularity)
    check("prune_percentile", w, 61.8, granularity=granularity)
    check("prune_ratio", w, 0.618, granularity=granularity)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_blocks_and_rows_match_reference_on_any_number_of_threads(dtype):
    w = large(dtype)
    check("prune_nm", w, 2, 4)
    check("prune_nm", w.reshape(-1), 3, 7)
    for norm in (1, 2, np.inf):
        check("prune_rows", w, 0.3, norm, 4)


def test_prune_ratio_takes_ties_in_index_order_across_threads():
    w = np.ones(600_000, np.float32)
    for _ in everywhere():
        mask = pyfq.prune_ratio(w, 0.3).mask
        assert not mask[:180_000].any()
        assert mask[180_000:].all()


def test_prune_global_writes_into_out():
    tensors = {"a": large(np.float32), "b": large(np.float32, 1)}
    out = {name: np.empty_like(w) for name, w in tensors.items()}
    got = pyfq.prune_global(tensors, 0.5, out=out)
    want = pyfq.prune_global(tensors, 0.5)
    for name in tensors:
        assert got[name].weights is out[name]
        same(out[name], want[name].weights, name)
    with pytest.raises(ValueError, match=r"out\['a'\] must not overlap an input"):
        pyfq.prune_global(tensors, 0.5, out={"a": tensors["b"], "b": out["b"]})


def test_prune_rows_ranks_rows_of_any_magnitude():
    w = np.array([[1e300], [1e100], [1e10], [1e-200]])
    for norm in (1, 2, np.inf):
        check("prune_rows", w, 0.5, norm)
        got = pyfq.prune_rows(w, 0.5, norm)
        assert got.mask[:, 0].tolist() == [True, True, False, False]
        assert got.threshold == pytest.approx(1e10, rel=1e-15)


def test_prune_global_of_many_small_tensors():
    rng = np.random.default_rng(0)
    tensors = {str(i): rng.standard_normal(i % 7).astype(np.float32) for i in range(300)}
    got, want = pyfq.prune_global(tensors, 0.4), reference.prune_global(tensors, 0.4)
    for name in tensors:
        same(got[name].mask, want[name][1], name)


def test_prune_global_refuses_one_array_for_two_results():
    w = {"a": np.ones(5), "b": np.ones(5)}
    once = np.empty(5)
    with pytest.raises(ValueError, match=r"out\['a'\] must not overlap"):
        pyfq.prune_global(w, 0.5, out={"a": once, "b": once})


def test_prune_global_does_not_rank_different_dtypes():
    with pytest.raises(TypeError, match="one dtype, not float32, float64"):
        pyfq.prune_global({"a": np.ones(2), "b": np.ones(2, np.float32)}, 0.5)


def test_prune_reads_a_read_only_memory_map(tmp_path):
    path = tmp_path / "w.npy"
    np.save(path, large(np.float32))
    w = np.load(path, mmap_mode="r")
    assert pyfq.prune_ratio(w, 0.5).sparsity == pytest.approx(0.5, abs=1e-5)


def test_prune_writes_into_out():
    w = large(np.float32)
    out = np.full_like(w, np.nan)
    assert pyfq.prune_ratio(w, 0.5, out=out).weights is out
    same(out, pyfq.prune_ratio(w, 0.5).weights, "out")


W = np.ones((3, 4), np.float32)
NAN = np.array([[1, 2], [np.nan, np.inf]], np.float32)
REFUSALS = [
    (
        lambda: pyfq.prune_threshold(W.astype(np.float16), 1),
        TypeError,
        "w must be float32 or float64, not float16",
    ),
    (lambda: pyfq.prune_threshold(W.tolist(), 1), TypeError, "w must be a NumPy array, not list"),
    (
        lambda: pyfq.prune_threshold(np.ma.array(W), 1),
        TypeError,
        "w must be a NumPy array, not MaskedArray",
    ),
    (lambda: pyfq.prune_threshold(W.T, 1), ValueError, "w must be C-contiguous"),
    (
        lambda: pyfq.prune_threshold(W, np.nan),
        ValueError,
        r"threshold must be -3.40282e\+38 ... 3.40282e\+38, not nan",
    ),
    (lambda: pyfq.prune_threshold(W, "1"), TypeError, "threshold must be a number, not str"),
    (
        lambda: pyfq.prune_threshold(W, np.ones(3, np.float32)),
        ValueError,
        r"threshold must have shape \(\), not \(3,\)",
    ),
    (
        lambda: pyfq.prune_threshold(W, np.ones(())),
        TypeError,
        "threshold must be float32, not float64",
    ),
    (
        lambda: pyfq.prune_threshold(W, 1, granularity=PerTensor),
        TypeError,
        "granularity must be PerTensor",
    ),
    (lambda: pyfq.prune_threshold(NAN, 1), ValueError, r"w must be finite, but w\[1, 0\] is nan"),
    (
        lambda: pyfq.prune_threshold(W, 1, scores=W[:2]),
        ValueError,
        r"scores must have shape \(3, 4\)",
    ),
    (lambda: pyfq.prune_threshold(W, 1, out=W), ValueError, "out must not overlap"),
    (lambda: pyfq.prune_percentile(W, 101), ValueError, "rate must be 0 ... 100, not 101"),
    (lambda: pyfq.prune_percentile(NAN, 50), ValueError, r"w\[1, 0\] is nan"),
    (lambda: pyfq.prune_percentile(NAN, 50, granularity=PerRow()), ValueError, r"w\[1, 0\] is nan"),
    (lambda: pyfq.prune_ratio(W, -0.1), ValueError, "ratio must be 0 ... 1, not -0.1"),
    (lambda: pyfq.prune_ratio(W, True), TypeError, "ratio must be a number, not bool"),
    (
        lambda: pyfq.prune_ratio(W[:2, :2].copy(), 0.5, scores=NAN),
        ValueError,
        r"scores\[1, 0\] is nan",
    ),
    (lambda: pyfq.prune_ratio(-NAN.astype(np.float64), 0.5), ValueError, r"w\[1, 0\] is nan"),
    (lambda: pyfq.prune_nm(W, 3, 2), ValueError, "n must be 1 ... 2, not 3"),
    (lambda: pyfq.prune_nm(W, 2.0, 4), TypeError, "n must be an integer, not float"),
    (lambda: pyfq.prune_nm(NAN), ValueError, r"w\[1, 0\] is nan"),
    (lambda: pyfq.prune_rows(W, 0.5, norm=3), ValueError, "norm must be 1, 2 or inf, not 3"),
    (lambda: pyfq.prune_rows(W, 0.5, round_to=0), ValueError, "round_to must be at least 1, not 0"),
    (lambda: pyfq.prune_rows(NAN, 0.5), ValueError, r"w\[1, 0\] is nan"),
    (lambda: pyfq.prune_global({"a": NAN}, 0.5), ValueError, r"tensors\['a'\]\[1, 0\] is nan"),
    (
        lambda: pyfq.prune_global({"a": W}, 0.5, scores={"b": W}),
        ValueError,
        r"scores must have the names \['a'\]",
    ),
    (lambda: pyfq.PerGroup(0), ValueError, "size must be at least 1, not 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_prune_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("cols", [2, 17, 300])
def test_prune_rows_ranks_norms_beyond_the_largest_float(norm, cols):
    """Their norms are infinity, all the same, and their order is that of the true ones."""
    rng = np.random.default_rng(cols)
    size = rng.permutation(np.linspace(0.9e308, 1.7e308, 12))
    w = np.repeat(size[:, None], cols, axis=1) * rng.choice([-1.0, 1.0], (12, cols))
    w[3] = 1e-300
    w[5, 0] = 0
    for ratio in (0.2, 0.5, 0.75):
        check("prune_rows", w, ratio, norm)
        smaller = pyfq.prune_rows(np.ldexp(w, -20), ratio, norm)
        same(pyfq.prune_rows(w, ratio, norm).mask, smaller.mask, "2**-20")


def test_prune_percentile_between_values_that_are_too_far_apart():
    largest = np.finfo(np.float64).max
    scores = np.array([[-largest, largest], [-largest, 0.75 * largest]])
    w = np.ones((2, 2))
    for rate in (0, 25, 50, 75, 100):
        for granularity in (PerRow(), PerTensor()):
            check("prune_percentile", w, rate, granularity=granularity, scores=scores)
    quarter = pyfq.prune_percentile(w, 25, granularity=PerRow(), scores=scores).threshold
    np.testing.assert_allclose(quarter[0, 0], -largest / 2)


def test_prune_global_says_that_it_takes_a_mapping():
    w = large(np.float32)
    with pytest.raises(TypeError, match=r"tensors must be a mapping from names .*, not list"):
        pyfq.prune_global([w], 0.5)
    with pytest.raises(TypeError, match="scores must be a mapping"):
        pyfq.prune_global({"w": w}, 0.5, scores=[w])
    with pytest.raises(TypeError, match="names of tensors must be str"):
        pyfq.prune_global({1: w}, 0.5)
    with pytest.raises(ValueError, match=r"scores must have the names \['w'\], not \['v'\]"):
        pyfq.prune_global({"w": w}, 0.5, scores={"v": w})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_prune_threshold_refuses_what_is_not_finite(value):
    w = np.ones((2, 3))
    with pytest.raises(ValueError, match="threshold must be"):
        pyfq.prune_threshold(w, value)
    with pytest.raises(ValueError, match=r"threshold must be finite, but threshold\[1, 0\]"):
        pyfq.prune_threshold(w, np.array([[1.0], [value]]), granularity=PerRow())


PRUNE_WITH_SCORES = {
    "threshold": lambda w, s, g: pyfq.prune_threshold(w, 0.5, scores=s, granularity=g),
    "percentile": lambda w, s, g: pyfq.prune_percentile(w, 50, scores=s, granularity=g),
    "none": lambda w, s, g: pyfq.prune_ratio(w, 0, scores=s, granularity=g),
    "half": lambda w, s, g: pyfq.prune_ratio(w, 0.5, scores=s, granularity=g),
    "all": lambda w, s, g: pyfq.prune_ratio(w, 1, scores=s, granularity=g),
    "nm": lambda w, s, _: pyfq.prune_nm(w, scores=s),
    "rows": lambda w, s, _: pyfq.prune_rows(w, 0.5, scores=s),
    "global": lambda w, s, _: pyfq.prune_global({"a": w}, 0.5, scores={"a": s}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PRUNE_WITH_SCORES)
def test_prune_refuses_what_is_not_finite_in_one_of_two_arrays(name, dtype):
    """Wherever it is, in vectors or in what is left of a row."""
    prune = PRUNE_WITH_SCORES[name]
    for shape in ((1, 1), (3, 5), (8, 8), (40, 1100)):
        w = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        scores = np.abs(w) + 1
        for value in (np.nan, -np.inf):
            for at in {0, w.size // 2, w.size - 1}:
                bad = [w.copy(), scores.copy()]
                for x in bad:
                    x.flat[at] = value
                for where in everywhere():
                    for granularity in (PerTensor(), PerRow()):
                        for what, two in (("w", (bad[0], scores)), ("scores", (w, bad[1]))):
                            named = "tensors" if (name, what) == ("global", "w") else what
                            with pytest.raises(ValueError, match=rf"{named}\[.*\] is (nan|-inf)"):
                                prune(*two, granularity)
                                pytest.fail(f"{where}: {shape} with {value} at {at} of {what}")


def test_prune_takes_the_largest_floats_of_both_arrays():
    largest = np.finfo(np.float32).max
    w = np.full((3, 5), largest)
    for prune in PRUNE_WITH_SCORES.values():
        for where in everywhere():
            assert prune(w, -w, PerTensor()), where


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(3)])
@pytest.mark.parametrize("shape", [(8, 0), (0, 8), (0,), (2, 0, 3)])
def test_arrays_without_entries_match_reference(dtype, granularity, shape):
    w = np.empty(shape, dtype)
    for name in ("prune_threshold", "prune_percentile", "prune_ratio"):
        check(name, w, 0.5, granularity=granularity)
    check("prune_nm", w)


def test_no_tensors_match_reference():
    assert pyfq.prune_global({}, 0.5) == reference.prune_global({}, 0.5) == {}
    empty = {"a": np.empty((8, 0)), "b": np.empty(0)}
    got, want = pyfq.prune_global(empty, 0.5), reference.prune_global(empty, 0.5)
    for name in empty:
        same(got[name].weights, want[name][0], name)
        same(got[name].threshold, want[name][2], name)
