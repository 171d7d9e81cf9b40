"""Topic `codebook` against its reference, published tables, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import dtypes, everywhere, granularities, large, same, weights

import pyfq
from pyfq import Codebook, Dense, Network, PerGroup, PerRow, PerTensor, quantize_codebook, reference
from pyfq._core.grid import grid_of
from pyfq.arrays.codebook import FP4, NF4
from pyfq.reference.arrays.grouping import reduce_groups

TABLES = ("nf4", "fp4", "log2")
# Mean squared errors of the best quantizers of a normal variable (Max 1960; Jayant & Noll 1984).
LLOYD_MAX = {1: 0.36338, 2: 0.11748, 3: 0.034548, 4: 0.0095010, 5: 0.0025047}


def check(w, q, granularity, where=""):
    codes, scale = reference.quantize_codebook(
        w,
        q.levels,
        granularity=granularity,
        scale=None if q.scale is not None else ones(w, granularity),
    )
    same(q.codes, codes, where)
    if q.scale is not None:
        same(q.scale, scale, where)
    with np.errstate(all="ignore"):
        reals = reference.dequantize_codebook(codes, q.levels, scale, granularity=granularity)
    same(q.dequantize(), reals, where)


def ones(w, granularity):
    return np.ones(grid_of(w.shape, granularity).parameter_shape, w.dtype)


@given(w=weights(), table=st.sampled_from(TABLES), granularity=granularities)
def test_quantize_codebook_matches_reference(w, table, granularity):
    q = quantize_codebook(w, table, granularity=granularity)
    if w.size:
        check(w, q, granularity)
    else:
        assert q.dequantize().shape == w.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(64), PerGroup(50)])
@pytest.mark.parametrize("codebook", [*TABLES, "lloyd", 2, 3, 17, 256])
def test_quantize_codebook_is_the_same_everywhere(dtype, granularity, codebook):
    w = large(dtype)
    if isinstance(codebook, int):
        codebook = np.sort(np.random.default_rng(0).uniform(-1, 1, codebook)).astype(dtype)
    first = quantize_codebook(w, codebook, granularity=granularity)
    check(w, first, granularity)
    for where in everywhere():
        q = quantize_codebook(w, codebook, granularity=granularity)
        same(q.packed, first.packed, where)
        same(q.levels, first.levels, where)
        same(q.dequantize(), first.dequantize(), where)


@given(
    w=weights(),
    table=st.sampled_from([*TABLES, (0.5, 1.0), (-3.0, -1.0, 4.0)]),
    granularity=granularities,
)
def test_scales_of_least_error_match_reference(w, table, granularity):
    codebook = table if isinstance(table, str) else np.array(table, w.dtype)
    q = quantize_codebook(w, codebook, granularity=granularity, calibration="mse")
    if w.size:
        scale = reference.calibrate_codebook(w, q.levels[0], granularity=granularity)
        same(q.scale, scale, "scale")
        codes, _ = reference.quantize_codebook(w, q.levels, granularity=granularity, scale=scale)
        same(q.codes, codes, "codes")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(64), PerGroup(50)])
@pytest.mark.parametrize("codebook", ["nf4", "log2", 17, 256])
def test_scales_of_least_error_are_the_same_everywhere(dtype, granularity, codebook):
    w = large(dtype)
    if isinstance(codebook, int):
        codebook = np.sort(np.random.default_rng(0).uniform(-1, 1, codebook)).astype(dtype)
    how = {"granularity": granularity, "calibration": "mse"}
    first = quantize_codebook(w, codebook, **how)
    few = w if granularity == PerTensor() else w[:3]
    scale = reference.calibrate_codebook(few, first.levels[0], granularity=granularity)
    same(first.scale[: len(scale)] if scale.ndim else first.scale, scale, "scale")
    assert first.error(w).mse < quantize_codebook(w, codebook, granularity=granularity).error(w).mse
    for where in everywhere():
        q = quantize_codebook(w, codebook, **how)
        same(q.scale, first.scale, where)
        same(q.packed, first.packed, where)


@given(
    dtype=dtypes,
    count=st.integers(2, 256),
    cols=st.sampled_from([1, 15, 70, 600]),
    granularity=granularities,
    exponent=st.sampled_from([-40, -30, 0, 18, 30]),
)
def test_tables_of_any_number_and_size_of_levels_match_reference(
    dtype, count, cols, granularity, exponent
):
    rng = np.random.default_rng(count)
    w = rng.standard_normal((3, cols)).astype(dtype)
    levels = np.unique(rng.standard_normal(count).astype(dtype) * dtype(float(f"1e{exponent}")))
    if len(levels) < 2:
        return
    q = quantize_codebook(w, levels, granularity=granularity, calibration="mse")
    scale = reference.calibrate_codebook(w, levels, granularity=granularity)
    same(q.scale, scale, "scale")
    codes, _ = reference.quantize_codebook(w, q.levels, granularity=granularity, scale=scale)
    same(q.codes, codes, "codes")


@given(w=weights(), granularity=granularities)
def test_scales_of_least_error_never_lose_to_the_largest_magnitude(w, granularity):
    if w.size and np.abs(w).max() < np.sqrt(np.finfo(w.dtype).max) / 1e3:
        plain = quantize_codebook(w, granularity=granularity).error(w).mse
        found = quantize_codebook(w, granularity=granularity, calibration="mse").error(w).mse
        assert found <= plain * (1 + 1e-5) + np.finfo(w.dtype).tiny


def test_scales_of_least_error_are_those_of_a_fine_search():
    optimize = pytest.importorskip("scipy.optimize")
    w = np.random.default_rng(0).standard_normal((200, 64))
    ours = quantize_codebook(w, calibration="mse")
    theirs = 0.0
    for row in w:
        error = lambda s, row=row: float(  # noqa: E731
            np.min((row[:, None] - s * np.array(NF4)) ** 2, axis=1).sum()
        )
        peak = np.abs(row).max()
        theirs += error(optimize.brute(error, (slice(0.3 * peak, 1.5 * peak, peak / 200),))[0])
    assert ours.error(w).mse * w.size < 1.01 * theirs


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_scales_of_least_error_and_fitted_levels_gain_half_a_decibel(bits):
    w = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    plain = quantize_codebook(w, "lloyd", bits)
    found = quantize_codebook(w, "lloyd", bits, calibration="mse", scale_bits=8)
    assert found.error(w).sqnr > plain.error(w).sqnr + 0.25
    assert found.error(w).sqnr > -10 * np.log10(LLOYD_MAX[bits])
    assert bits < found.bits_per_weight < bits + 0.135


@given(
    w=weights(),
    granularity=granularities,
    bits=st.integers(1, 16),
    calibration=st.sampled_from(["absmax", "mse"]),
)
def test_scales_quantized_in_turn_are_what_is_used(w, granularity, bits, calibration):
    how = {"granularity": granularity, "calibration": calibration}
    plain = quantize_codebook(w, **how)
    q = quantize_codebook(w, scale_bits=bits, **how)
    same(q.scale_codes.dequantize(), q.scale.reshape(-1), "scale")
    assert q.nbytes == q.packed.nbytes + q.levels.nbytes + q.scale_codes.nbytes
    if w.size:
        with np.errstate(all="ignore"):
            codes, _ = reference.quantize_codebook(
                w, q.levels, granularity=granularity, scale=q.scale
            )
        same(q.codes, codes, "codes")
        occupied = reduce_groups(np.maximum, np.abs(w), granularity) > 0
        if occupied.any():
            step = np.ptp(plain.scale[occupied].astype(np.float64)) / (2**bits - 1)
            worst = np.abs(q.scale - plain.scale.astype(np.float64))[occupied].max()
            assert worst <= step / 2 * (1 + 1e-4) + 1e-6 * plain.scale.max()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0,), (2, 0, 4)])
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(2)])
@pytest.mark.parametrize("codebook", ["nf4", "lloyd"])
def test_nothing_is_quantized_to_nothing(shape, granularity, codebook):
    has_scale = codebook == "nf4" or isinstance(granularity, PerGroup)
    for dtype in (np.float32, np.float64):
        w = np.zeros(shape, dtype)
        for scale_bits in (None, 8) if has_scale else (None,):
            q = quantize_codebook(w, codebook, granularity=granularity, scale_bits=scale_bits)
            assert (q.dequantize().shape, q.dtype) == (shape, dtype)
            assert q.levels.shape == (1, 16)


def test_groups_of_zeros_do_not_widen_the_range_of_scales():
    w = 1e-3 * np.random.default_rng(0).standard_normal((4, 256))
    w[1] = 0
    q = quantize_codebook(w, scale_bits=8)
    assert q.dequantize()[1].any() == 0
    assert q.scale.max() < 1e-2
    assert quantize_codebook(0 * w, scale_bits=8).dequantize().any() == 0


@given(
    data=st.data(),
    dtype=dtypes,
    bits=st.integers(1, 4),
    initialization=st.sampled_from(["kmeans++", "linear", "quantile"]),
    weighted=st.booleans(),
)
def test_lloyd_matches_reference(data, dtype, bits, initialization, weighted):
    seed = data.draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((3, data.draw(st.integers(1, 60)))).astype(dtype)
    factor = rng.uniform(0, 2, w.shape).astype(dtype) if weighted else None
    how = {"bits": bits, "initialization": initialization, "weights": factor, "seed": seed}
    one = quantize_codebook(w, "lloyd", granularity=PerTensor(), **how)
    rows = quantize_codebook(w, "lloyd", granularity=PerRow(), **how)
    assert one.levels.shape == (1, 2**bits)
    assert rows.levels.shape == (3, 2**bits)
    assert one.scale is rows.scale is None
    check(w, one, PerTensor())
    check(w, rows, PerRow())
    # Fitted levels stay: each is the mean of what is nearest to it.
    again = reference.fit_codebook(w, one.levels[0], factor)
    np.testing.assert_allclose(again, one.levels[0], rtol=1e-5, atol=1e-6)
    for row, levels, mass in zip(
        w, rows.levels, [None] * 3 if factor is None else factor, strict=True
    ):
        again = reference.fit_codebook(row, levels, mass)
        np.testing.assert_allclose(again, levels, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", LLOYD_MAX)
@pytest.mark.parametrize("initialization", ["kmeans++", "quantile", "linear"])
def test_lloyd_meets_the_published_errors_of_a_normal_variable(bits, initialization):
    x = np.random.default_rng(0).standard_normal(1_000_000)
    q = quantize_codebook(
        x, "lloyd", bits, granularity=PerTensor(), initialization=initialization, iterations=3000
    )
    assert abs(q.error(x).mse / LLOYD_MAX[bits] - 1) < 0.01


def test_lloyd_is_as_good_as_scikit_learns_kmeans():
    cluster = pytest.importorskip("sklearn.cluster")
    x = np.random.default_rng(0).standard_normal(5000) ** 3
    ours = quantize_codebook(x, "lloyd", 4, granularity=PerTensor(), seed=1).error(x).mse
    theirs = cluster.KMeans(16, n_init=1, random_state=0).fit(x[:, None]).inertia_ / len(x)
    assert ours < 1.1 * theirs


def test_nf4_meets_the_error_of_its_table():
    # Of normal weights by blocks of 64: 20.73 dB; plain 4 bits have 19.36.
    w = np.random.default_rng(0).standard_normal((2048, 1024)).astype(np.float32)
    assert abs(quantize_codebook(w, "nf4").error(w).sqnr - 20.73) < 0.01
    assert abs(pyfq.quantize(w, 4, granularity=PerGroup(64)).error(w).sqnr - 19.36) < 0.01


def test_tables_are_those_of_bitsandbytes():
    assert len(NF4) == 16
    assert NF4[7] == 0
    quarter = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3]) / 12
    assert sorted({*quarter, *-quarter}) == sorted({*FP4, -0.0})
    q = quantize_codebook(np.array([[1.0, 0.5, 0.26, 0.1, 0, -0.3, -1.0]]), "log2", 3)
    assert q.levels.tolist() == [[-1, -0.5, -0.25, 0, 0.25, 0.5, 1]]
    assert q.dequantize().tolist() == [[1, 0.5, 0.25, 0, 0, -0.25, -1]]


@pytest.mark.parametrize("initialization", ["kmeans++", "linear", "quantile"])
@pytest.mark.parametrize("exponent", [-1000, -600, 520, 1020])
def test_lloyd_fits_numbers_whose_squares_or_sums_are_out_of_range(exponent, initialization):
    w = np.random.default_rng(0).standard_normal((2, 500))
    w[1] = np.ldexp(w[1], -2)
    how = {"granularity": PerRow(), "initialization": initialization}
    want = pyfq.quantize_codebook(w, "lloyd", 3, **how)
    found = pyfq.quantize_codebook(np.ldexp(w, exponent), "lloyd", 3, **how)
    np.testing.assert_array_equal(found.levels, np.ldexp(want.levels, exponent))
    np.testing.assert_array_equal(found.packed, want.packed)


@pytest.mark.parametrize("exponent", [-1000, 1020])
def test_weights_may_be_of_any_unit(exponent):
    w, weights = np.random.default_rng(0).random((2, 3, 500))
    how = {"granularity": PerRow()}
    want = pyfq.quantize_codebook(w, "lloyd", 3, weights=weights, **how)
    found = pyfq.quantize_codebook(w, "lloyd", 3, weights=np.ldexp(weights, exponent), **how)
    np.testing.assert_allclose(found.levels, want.levels, rtol=1e-12)


def test_lloyd_takes_a_number_as_a_row():
    q = pyfq.quantize_codebook(np.array(0.5), "lloyd", 1, granularity=PerRow())
    assert q.dequantize() == 0.5


def test_ties_go_to_the_lower_level():
    levels = np.array([-1.0, 0.0, 1.0])
    q = quantize_codebook(np.array([[1.0, 0.5, -0.5]]), levels, granularity=PerRow())
    assert (q.bits, q.codes.tolist()) == (2, [[2, 1, 0]])


def test_weights_of_errors_draw_levels():
    x = np.concatenate([np.zeros(100), np.ones(100), np.full(100, 1.5)])
    heavy = np.concatenate([np.ones(200), np.full(100, 1e6)])
    how = {"bits": 1, "granularity": PerTensor(), "initialization": "linear"}
    assert quantize_codebook(x, "lloyd", **how).levels.tolist() == [[0, 1.25]]
    weighed = quantize_codebook(x, "lloyd", weights=heavy, **how).levels[0]
    assert abs(weighed[1] - 1.5) < 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 513, 70), (1, 1100, 7), (2, 130, 33), (30, 700, 65)])
def test_prepared_codes_are_the_reals_they_stand_for(dtype, m, k, n):
    rng = np.random.default_rng(0)
    w, x, bias = (rng.standard_normal(s).astype(dtype) for s in ((n, k), (m, k), n))
    of_three = np.array([-0.5, 0.1, 2], dtype)
    held = []
    for q in (
        quantize_codebook(w),
        quantize_codebook(w, "fp4", granularity=PerGroup(50)),
        quantize_codebook(w, "log2", 2, granularity=PerRow()),
        quantize_codebook(w, of_three, granularity=PerTensor()),
        quantize_codebook(w, "lloyd", 5, granularity=PerTensor()),
        quantize_codebook(w, "lloyd", 3, granularity=PerRow()),
    ):
        network = Network([Dense(q, bias, "softmax")])
        for where in everywhere():
            reals = pyfq.prepare(q.dequantize())
            for activation in ("relu", "softmax"):
                want = pyfq.linear(x, reals, bias, activation=activation)
                got = pyfq.linear(x, pyfq.prepare(q), bias, activation=activation)
                same(got, want, where)
            same(network.forward(x), want, where)
        held.append(pyfq.prepare(q).nbytes / w.nbytes)
    assert max(held[:4]) < 1 < min(held[4:])


def test_layers_and_networks_take_codebooks(tmp_path):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((40, 70)).astype(np.float32)
    x = rng.standard_normal((9, 70)).astype(np.float32)
    for q in (
        quantize_codebook(w),
        quantize_codebook(w, "lloyd", 3, granularity=PerRow()),
        quantize_codebook(w, "fp4", granularity=PerTensor()),
        quantize_codebook(w, "lloyd", 4, calibration="mse", scale_bits=8),
    ):
        want = pyfq.linear(x, q.dequantize())
        same(pyfq.linear(x, q), want, "")
        same(pyfq.linear(x, pyfq.prepare(q)), want, "prepared")
        made = Network([Dense(q, activation="relu")])
        same(made.forward(x), np.maximum(want, 0), "network")
        assert made.nbytes == q.nbytes
        pyfq.save_network(made, tmp_path / "q.safetensors")
        again = pyfq.load_network(tmp_path / "q.safetensors")
        same(again.layers[0].weights.packed, q.packed, "file")
        same(again.layers[0].weights.levels, q.levels, "file")
        assert again.layers[0].weights.nbytes == q.nbytes
        same(again.forward(x), made.forward(x), "file")
    with pytest.raises(ValueError, match="activation_bits=8 needs quantized weights, not Codebook"):
        pyfq.linear(x, q, activation_bits=8)


W = np.ones((2, 8))


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (TypeError, "w must be float32 or float64", lambda: quantize_codebook(W.astype(int))),
        (ValueError, r"w\[0, 0\] is nan", lambda: quantize_codebook(W * np.nan)),
        (ValueError, r"w\[0, 0\] is inf", lambda: quantize_codebook(W * np.inf, "lloyd")),
        (ValueError, "codebook must be one of", lambda: quantize_codebook(W, "nf3")),
        (ValueError, "bits of codebook 'nf4' must be 4", lambda: quantize_codebook(W, "nf4", 3)),
        (ValueError, "bits of codebook 'log2' must be", lambda: quantize_codebook(W, "log2", 1)),
        (ValueError, "levels that ascend", lambda: quantize_codebook(W, np.array([1.0, 0]))),
        (ValueError, "levels that ascend", lambda: quantize_codebook(W, np.ones(1))),
        (TypeError, "codebook must be float64", lambda: quantize_codebook(W, np.ones(2, "f4"))),
        (ValueError, "weights is of codebook", lambda: quantize_codebook(W, weights=W)),
        (
            ValueError,
            "weights must be at least 0",
            lambda: quantize_codebook(W, "lloyd", weights=-W),
        ),
        (ValueError, "calibration must be one of", lambda: quantize_codebook(W, calibration="hqq")),
        (
            ValueError,
            "calibration='mse' is of scales",
            lambda: quantize_codebook(W, "lloyd", granularity=PerRow(), calibration="mse"),
        ),
        (
            ValueError,
            "scale_bits is of scales",
            lambda: quantize_codebook(W, "lloyd", granularity=PerRow(), scale_bits=8),
        ),
        (ValueError, "scale_bits must be 1 ... 16", lambda: quantize_codebook(W, scale_bits=0)),
        (
            ValueError,
            r"w\[0, 0\] is nan",
            lambda: quantize_codebook(W * np.nan, scale_bits=8, calibration="mse"),
        ),
        (
            ValueError,
            "scale must be what scale_codes stands for",
            lambda: replace(quantize_codebook(W, scale_bits=8), scale=np.full((2, 1), 2.0)),
        ),
        (
            TypeError,
            "scale_codes must be Quantized or None, not int",
            lambda: replace(quantize_codebook(W), scale_codes=8),
        ),
        (
            ValueError,
            "bits of a codebook of 5 levels must be 3, not 2",
            lambda: quantize_codebook(W, np.arange(5.0), 2),
        ),
        (TypeError, "seed must be an integer", lambda: quantize_codebook(W, seed="x")),
        (ValueError, "iterations must be at least 1", lambda: quantize_codebook(W, iterations=0)),
        (ValueError, "initialization must be", lambda: quantize_codebook(W, initialization="x")),
        (TypeError, "granularity must be", lambda: quantize_codebook(W, granularity=64)),
        (
            ValueError,
            r"levels must have shape \(1, n\) or \(2, n\) for n up to 16",
            lambda: replace(quantize_codebook(W), levels=np.zeros((3, 16))),
        ),
        (
            ValueError,
            r"levels must be finite, but levels\[0, 3\] is nan",
            lambda: replace(
                quantize_codebook(W), levels=np.where(np.arange(16) == 3, np.nan, [NF4])
            ),
        ),
        (
            ValueError,
            r"scale must be finite, but scale\[0, 0\] is inf",
            lambda: replace(quantize_codebook(W), scale=np.full((2, 1), np.inf)),
        ),
        (
            ValueError,
            "packed must hold codes 0 ... 14, not 15",
            lambda: Codebook(
                np.full((2, 4), 255, np.uint8), (2, 8), 4, PerRow(), np.array([FP4]), None
            ),
        ),
    ],
)
def test_refusals(error, match, make):
    with pytest.raises(error, match=match):
        make()


def test_a_codebook_whose_reals_overflow_is_refused():
    q = quantize_codebook(np.ones((2, 4), np.float32), np.array([-3.0, 1.0, 4.0], np.float32))
    huge = np.full(q.scale.shape, 2e38, np.float32)
    assert replace(q, scale=huge).dequantize().max() == np.float32(2e38)  # no code is that of 4
    packed = q.packed.copy()
    packed[0, 0] ^= 3  # code 1 becomes 2
    with pytest.raises(ValueError, match=r"levels times scale must be finite"):
        replace(q, packed=packed, scale=huge)
    for name in ("levels", "scale"):
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            replace(q, **{name: np.full_like(getattr(q, name), np.nan)})
