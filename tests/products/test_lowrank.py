"""Low rank: identities of the singular values, scikit-learn, the reference; layers; refusals."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import THREADS, dtypes, everywhere, same, weights

import pyfq
from pyfq import Dense, LowRank, Network, PerGroup, break_even_rank, reference, svd_lowrank

extmath = pytest.importorskip("sklearn.utils.extmath", reason="needs the test extra")
threadpoolctl = pytest.importorskip("threadpoolctl", reason="needs the test extra")

DTYPES = [np.float32, np.float64]
METHODS = ["exact", "randomized"]
SHAPES = [(1, 1), (1, 9), (9, 1), (40, 40), (70, 30), (30, 70), (3, 200)]


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def decaying(dtype, m, n, power=1.0, seed=0):
    """Return a matrix whose singular values fall as a power of their number."""
    left, _ = np.linalg.qr(random(np.float64, m, min(m, n), seed=seed))
    right, _ = np.linalg.qr(random(np.float64, n, min(m, n), seed=seed + 1))
    s = np.arange(1, min(m, n) + 1) ** -power
    return (left * s @ right.T).astype(dtype)


def correlated(dtype, samples, n, seed=0):
    """Return inputs of which some directions are a hundred times as long as others."""
    mix = random(np.float64, n, n) * np.geomspace(1, 0.01, n)
    return (random(np.float64, samples, n, seed=seed) @ mix.T).astype(dtype)


def singular_values(w):
    return np.linalg.svd(w.astype(np.float64), compute_uv=False)


def error_of(low, w, root=None):
    """Return the relative error in float64."""
    difference = w.astype(np.float64) - low.u.astype(np.float64) @ low.v
    root = np.eye(w.shape[1]) if root is None else root
    return np.linalg.norm(difference @ root) / np.linalg.norm(w.astype(np.float64) @ root)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_svd_lowrank_is_the_nearest_of_its_rank(dtype, shape):
    """Eckart and Young: what is left out are the squares of the other singular values."""
    w = random(dtype, *shape)
    s = singular_values(w)
    for rank in {1, (min(shape) + 1) // 2, min(shape)}:
        low = svd_lowrank(w, rank)
        assert (low.shape, low.rank, low.dtype) == (shape, rank, dtype)
        want = math.sqrt(np.sum(s[rank:] ** 2) / np.sum(s**2))
        assert low.error == pytest.approx(want, abs=1e-14)
        assert abs(error_of(low, w) - want) < 8 * np.finfo(dtype).eps
        u, v, error = reference.svd_lowrank(w, rank)
        np.testing.assert_allclose(low.toarray(), u @ v, atol=1e-13 + 20 * np.finfo(dtype).eps)
        assert low.error == pytest.approx(error, abs=1e-7)


def test_svd_lowrank_knows_the_singular_values_of_a_hilbert_matrix():
    n = np.arange(5)
    low = svd_lowrank(1 / (n[:, None] + n + 1.0), 5)
    want = [1.56705069, 0.208534219, 0.0114074916, 3.05898040e-4, 3.28792877e-6]
    for norms in (np.sum(low.u**2, axis=0), np.sum(low.v**2, axis=1)):
        np.testing.assert_allclose(norms, want, rtol=5e-9)
    np.testing.assert_allclose(low.u.T @ low.u, np.diag(want), atol=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_signs_are_fixed(method):
    for seed in range(5):
        w = decaying(np.float64, 50, 40, seed=seed)
        low = svd_lowrank(w, 7, method=method)
        largest = np.abs(low.u).argmax(axis=0)
        assert (low.u[largest, np.arange(7)] > 0).all()
        np.testing.assert_allclose(low.u, svd_lowrank(-w, 7, method=method).u, atol=1e-12)
    tie = svd_lowrank(np.array([[-2.0, -2.0], [2.0, 2.0], [-2.0, -2.0]]), 1)
    assert tie.u[0, 0] > 0


@given(dtype=dtypes, data=st.data())
def test_svd_lowrank_of_any_weights(dtype, data):
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    w = data.draw(weights(dtype, st.just(shape)))
    rank = data.draw(st.integers(1, min(shape)))
    largest = np.abs(w).max()
    unit = w / largest if largest > np.finfo(dtype).tiny else w
    for method in METHODS:
        try:
            low = svd_lowrank(w, rank, method=method)
        except ValueError as e:  # the nearest matrix of the rank has larger entries
            assert "u @ v must be finite" in str(e)
            assert largest > np.finfo(dtype).max / 8
            continue
        assert 0 <= low.error <= 1
        for factor in (low.u, low.v):
            assert np.isfinite(factor).all()
        if unit is not w:
            product = (low.u / np.sqrt(largest)) @ (low.v / np.sqrt(largest))
            best = np.sqrt(np.sum(singular_values(unit)[rank:] ** 2))
            off = np.linalg.norm(product.astype(np.float64) - unit)
            assert off <= 1.6 * best + 50 * np.finfo(dtype).eps * np.linalg.norm(unit), method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "powers"), [(np.float32, (90, -90)), (np.float64, (800, -800))])
def test_powers_of_four_change_no_digit(dtype, powers, method):
    w = random(dtype, 30, 20)
    low = svd_lowrank(np.ldexp(w, 70), 5, method=method)
    for power in powers:
        other = svd_lowrank(np.ldexp(w, power), 5, method=method)
        for name in ("u", "v"):
            same(np.ldexp(getattr(other, name), 35 - power // 2), getattr(low, name), power)
        assert other.error == low.error


def test_ratio_counts_parameters():
    w = random(np.float32, 48, 36)
    for ratio in (0.1, 0.25, 0.5, 0.9, 1.0):
        low = svd_lowrank(w, ratio=ratio)
        assert low.rank == math.floor(ratio * 48 * 36 / 84)
        assert low.u.size + low.v.size <= ratio * w.size
        assert low.ratio == (low.u.size + low.v.size) / w.size <= ratio
    assert svd_lowrank(w, ratio=1e-6).rank == 1


@given(st.floats(0, 1), dtypes)
def test_energy_and_tolerance_take_the_least_rank(amount, dtype):
    w = decaying(dtype, 30, 20, 0.7)
    s = singular_values(w)
    left_out = np.append(np.cumsum((s**2)[::-1])[::-1], 0) / np.sum(s**2)
    low = svd_lowrank(w, energy=amount)
    assert low.rank == 1 or left_out[low.rank - 1] > 1 - amount - 1e-11
    assert left_out[low.rank] <= 1 - amount + 1e-11
    low = svd_lowrank(w, tolerance=amount)
    assert low.rank == 1 or left_out[low.rank - 1] > amount**2 * (1 - 1e-9)
    assert low.error <= amount * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_energy_is_the_numerical_rank(dtype):
    w = random(dtype, 60, 4) @ random(dtype, 4, 50)
    for how in ({"energy": 1.0}, {"tolerance": 0.0}):
        low = svd_lowrank(w, **how)
        assert low.rank == np.linalg.matrix_rank(w) == 4
        assert error_of(low, w) < 10 * np.finfo(dtype).eps
    assert svd_lowrank(random(dtype, 20, 30), energy=1.0).rank == 20
    assert svd_lowrank(random(dtype, 20, 30), energy=0.0).rank == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_dependent_rows_do_no_harm(dtype, method):
    w = random(dtype, 60, 4) @ random(dtype, 4, 50)
    for rank in (4, 9, 50):
        low = svd_lowrank(w, rank, method=method)
        assert error_of(low, w) < 30 * np.finfo(dtype).eps
    low = svd_lowrank(np.ones((20, 30), dtype), 3, method=method)
    np.testing.assert_allclose(low.toarray(), 1, rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_stay_zeros(method):
    w = np.zeros((5, 7), np.float32)
    for how in ({"rank": 3}, {"energy": 0.5}, {"tolerance": 0.1}):
        low = svd_lowrank(w, **how, method=method)
        assert not low.toarray().any()
        assert low.error == 0
    assert svd_lowrank(w, energy=1.0).rank == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(300, 120), (120, 300)], ids=str)
def test_randomized_is_not_behind_sklearn(dtype, power, shape):
    w = decaying(dtype, *shape, power) if power else random(dtype, *shape)
    for rank, iterations in ((5, None), (20, 2), (20, 0)):
        low = svd_lowrank(w, rank, method="randomized", power_iterations=iterations)
        auto = "auto" if iterations is None else iterations
        u, s, vt = extmath.randomized_svd(w, rank, random_state=0, n_iter=auto)
        theirs = np.linalg.norm(w.astype(np.float64) - (u * s).astype(np.float64) @ vt)
        theirs /= np.linalg.norm(w.astype(np.float64))
        assert error_of(low, w) <= 1.05 * theirs + 20 * np.finfo(dtype).eps
        # A difference of sums of squares, each about 1.
        assert abs(low.error**2 - error_of(low, w) ** 2) < 32 * np.finfo(dtype).eps


def test_randomized_agrees_with_sklearn_to_the_sign():
    w = decaying(np.float64, 300, 120, 2.0)
    low = svd_lowrank(w, 6, method="randomized")
    u, s, vt = extmath.randomized_svd(w, 6, random_state=0)
    signs = np.sign(u[np.abs(u).argmax(axis=0), np.arange(6)])
    np.testing.assert_allclose(low.u, u * signs * np.sqrt(s), atol=1e-7)
    np.testing.assert_allclose(low.v, (vt.T * signs * np.sqrt(s)).T, atol=1e-7)


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, None])
def test_randomized_matches_reference(iterations):
    x = correlated(np.float64, 400, 60)
    for w in (random(np.float64, 90, 60), decaying(np.float64, 60, 60)):
        for how in ({}, {"x": x}, {"scale": np.abs(x).mean(axis=0)}):
            options = {"method": "randomized", "seed": 5, "power_iterations": iterations} | how
            low = svd_lowrank(w, 7, oversampling=4, **options)
            u, v, error = reference.svd_lowrank(w, 7, oversampling=4, **options)
            np.testing.assert_allclose(low.u @ low.v, u @ v, atol=1e-8 * np.abs(w).max())
            assert low.error == pytest.approx(error, rel=1e-7)


def test_iterations_bring_the_randomized_method_nearer():
    w = random(np.float32, 200, 150)
    best = np.sqrt(np.sum(singular_values(w)[20:] ** 2)) / np.linalg.norm(w)
    errors = [
        svd_lowrank(w, 20, method="randomized", power_iterations=n).error for n in (0, 2, 4, 10)
    ]
    assert errors == sorted(errors, reverse=True)
    assert 1.03 * best < errors[0] < 1.2 * best
    assert best <= errors[-1] * (1 + 1e-6) < 1.0002 * best


@pytest.mark.parametrize("dtype", DTYPES)
def test_randomized_finds_a_rank(dtype):
    w = decaying(dtype, 120, 150, 1.0)
    for how in ({"tolerance": 0.2}, {"tolerance": 0.1}, {"energy": 0.9}):
        low = svd_lowrank(w, method="randomized", **how)
        want = svd_lowrank(w, **how)
        allowed = how.get("tolerance") or math.sqrt(1 - how["energy"])
        assert error_of(low, w) <= allowed * (1 + 1e-5)
        assert want.rank <= low.rank <= want.rank + 2
    everything = svd_lowrank(random(dtype, 40, 30), tolerance=0.01, method="randomized")
    assert everything.rank == 30


def test_seed_decides():
    w = random(np.float32, 60, 50)
    how = {"method": "randomized", "power_iterations": 0}
    same(svd_lowrank(w, 3, seed=1, **how).u, svd_lowrank(w, 3, seed=1, **how).u, "again")
    assert not np.array_equal(svd_lowrank(w, 3, seed=1, **how).u, svd_lowrank(w, 3, **how).u)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype, method):
    w, x = random(dtype, 90, 70), random(dtype, 80, 70)
    for how in ({}, {"x": x}, {"scale": np.abs(x).mean(axis=0)}):
        seen = {}
        for where in everywhere():
            low = svd_lowrank(w, 12, method=method, **how)
            isa = where.split(",")[0]
            seen.setdefault(isa, []).append(low.u.tobytes() + low.v.tobytes())
        for isa, results in seen.items():
            assert len(results) == len(THREADS), isa
            assert len(set(results)) == 1, isa


def test_threads_of_lapack_change_digits_at_most():
    controller = threadpoolctl.ThreadpoolController()
    w, x = random(np.float64, 300, 200), random(np.float64, 250, 200)
    for method in METHODS:
        lows = []
        for threads in (1, 2):
            with controller.limit(limits=threads, user_api="blas"):
                lows.append(svd_lowrank(w, 20, method=method, x=x))
        np.testing.assert_allclose(lows[1].u, lows[0].u, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("samples", [500, 20])
def test_whitening_leaves_out_the_discarded_squares(method, samples):
    """With fewer samples than inputs the Gram matrix is singular."""
    w, x = random(np.float64, 40, 60), correlated(np.float64, samples, 60)
    gram = x.T @ x
    values, vectors = np.linalg.eigh(gram)
    s = singular_values(w @ (vectors * np.sqrt(np.maximum(values, 0))))
    for rank in (1, 10, 25):
        low = svd_lowrank(w, rank, x=x, method=method, power_iterations=_many(method))
        left_out = np.linalg.norm((w - low.toarray()) @ x.T) / np.linalg.norm(w @ x.T)
        want = np.sqrt(np.sum(s[rank:] ** 2) / np.sum(s**2))
        assert left_out == pytest.approx(want, rel=1e-5, abs=1e-7)
        assert low.error == pytest.approx(left_out, rel=1e-5, abs=1e-7)
        by_gram = svd_lowrank(w, rank, gram=gram, method=method, power_iterations=_many(method))
        outputs = (by_gram.toarray() - low.toarray()) @ x.T
        assert np.linalg.norm(outputs) < 1e-5 * np.linalg.norm(w @ x.T)


def _many(method):
    return 30 if method == "randomized" else None


def test_whitening_by_orthonormal_inputs_changes_nothing():
    w = random(np.float64, 30, 20)
    plain = svd_lowrank(w, 6)
    for how in ({"gram": 9 * np.eye(20)}, {"x": 2 * np.eye(20)}, {"scale": np.full(20, 3.0)}):
        low = svd_lowrank(w, 6, **how)
        np.testing.assert_allclose(low.u, plain.u, atol=1e-13)
        np.testing.assert_allclose(low.v, plain.v, atol=1e-13)


def test_scale_weighs_columns():
    w = random(np.float64, 30, 20)
    scale = np.geomspace(1, 1e-3, 20)
    low = svd_lowrank(w, 6, scale=scale)
    s = singular_values(w * scale)
    assert low.error == pytest.approx(np.sqrt(np.sum(s[6:] ** 2) / np.sum(s**2)))
    assert error_of(low, w, np.diag(scale)) == pytest.approx(low.error)
    np.testing.assert_allclose(
        low.toarray(), svd_lowrank(w, 6, gram=np.diag(scale**2)).toarray(), atol=1e-12
    )
    scale[5:] = 0  # columns that do not count
    low = svd_lowrank(w, 6, scale=scale)
    np.testing.assert_allclose(low.toarray()[:, :5], w[:, :5], atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_knowing_the_inputs_beats_not_knowing_them(dtype):
    """SVD-LLM on other inputs than those it has seen; ASVD where columns differ in size."""
    plain, whitened, scaled = [], [], []
    sizes = np.geomspace(1, 0.01, 48).astype(dtype)
    for seed in range(10):
        w = random(dtype, 32, 48, seed=seed)
        for found, how in ((plain, {}), (whitened, {"x": correlated(dtype, 300, 48, seed=seed)})):
            low = svd_lowrank(w, 8, **how)
            fresh = correlated(dtype, 300, 48, seed=100 + seed)
            found.append(
                np.linalg.norm((w - low.toarray()) @ fresh.T) / np.linalg.norm(w @ fresh.T)
            )
        x = random(dtype, 300, 48, seed=seed) * sizes
        low = svd_lowrank(w, 8, scale=np.abs(x).mean(axis=0))
        x = random(dtype, 300, 48, seed=100 + seed) * sizes
        off, theirs = (
            np.linalg.norm((w - each.toarray()) @ x.T) for each in (low, svd_lowrank(w, 8))
        )
        scaled.append(off / theirs)
    assert np.mean(whitened) < 0.6 * np.mean(plain)
    assert np.mean(scaled) < 0.8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "how", [{}, {"x": correlated(np.float32, 90, 64)}, {"method": "randomized"}]
)
def test_residual_is_quantized(dtype, how):
    w = decaying(dtype, 48, 64, 0.3)
    alone = pyfq.quantize(w, 4, granularity=PerGroup(32))
    low = svd_lowrank(w, 8, residual=pyfq.FakeQuantize(4, granularity=PerGroup(32)).apply, **how)
    assert low.residual.bits == 4
    assert low.nbytes == low.u.nbytes + low.v.nbytes + low.residual.nbytes
    root = how.get("x", np.eye(64)).T.astype(np.float64)
    difference = (w - low.toarray()).astype(np.float64)
    norm = np.linalg.norm(w.astype(np.float64) @ root)
    assert low.error == pytest.approx(np.linalg.norm(difference @ root) / norm, rel=1e-5)
    worse = (w - alone.dequantize()).astype(np.float64)
    assert low.error < np.linalg.norm(worse @ root) / norm
    rest = pyfq.quantize(w - low.u @ low.v, 4, granularity=PerGroup(32))
    np.testing.assert_allclose(low.residual.scale, rest.scale, rtol=1e-3)


def layers_of(dtype, m, n, rank):
    """Return low-rank weights of every kind."""
    low = svd_lowrank(random(dtype, m, n), rank)
    u, v = (pyfq.quantize(part, 8) for part in (low.u, low.v))
    four = pyfq.quantize(random(dtype, m, n, seed=3), 4, granularity=PerGroup(16))
    yield low
    yield LowRank(u, v)
    yield LowRank(u, low.v)
    yield replace(low, residual=four)
    yield LowRank(u, v, residual=pyfq.quantize(low.u @ low.v, 12))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40, 50, 7), (33, 20, 1), (1, 30, 1), (20, 3, 2)], ids=str)
def test_linear_is_the_product_by_the_weights(dtype, shape):
    m, n, rank = shape
    bias = random(dtype, m)
    for w in layers_of(dtype, m, n, rank):
        u, v = (p.dequantize() if isinstance(p, pyfq.Quantized) else p for p in (w.u, w.v))
        for batch in (1, 3, 4, 50):
            x = random(dtype, batch, n)
            magnitude = np.abs(x) @ np.abs(v).T @ np.abs(u).T + np.abs(bias)
            if w.residual is not None:
                magnitude += np.abs(x) @ np.abs(w.residual.dequantize()).T
            bound = (n + rank + 4) * np.finfo(dtype).eps * magnitude
            want = x.astype(np.float64) @ w.toarray().astype(np.float64).T + bias
            near = reference.linear(x, w, bias, activation="tanh")
            bits = {}
            for where in everywhere():
                got = pyfq.linear(x, w, bias)
                assert (np.abs(got - want) <= 2 * bound).all(), where
                for each in (w, pyfq.prepare(w), pyfq.prepare(w, batch=batch)):
                    got = pyfq.linear(x, each, bias, activation="tanh")
                    assert (np.abs(got - near) <= 2 * bound + 1e-6).all(), where
                    bits.setdefault((where.split(",")[0], type(each)), set()).add(got.tobytes())
            assert all(len(seen) == 1 for seen in bits.values())


def test_linear_is_two_layers():
    low = svd_lowrank(random(np.float32, 40, 50), 7)
    x, bias = random(np.float32, 9, 50), random(np.float32, 40)
    between = pyfq.linear(x, low.v)
    same(
        pyfq.linear(x, low, bias, activation="gelu"),
        pyfq.linear(between, low.u, bias, activation="gelu"),
        "arrays",
    )
    ready = pyfq.prepare(low)
    same(
        pyfq.linear(x, ready, bias, activation="gelu"),
        pyfq.linear(
            pyfq.linear(x, pyfq.prepare(low.v)), pyfq.prepare(low.u), bias, activation="gelu"
        ),
        "prepared",
    )
    assert (ready.shape, ready.dtype, ready.activation_bits) == ((40, 50), np.float32, None)
    assert ready.nbytes >= low.nbytes
    out = np.empty((3, 3, 40), np.float32)
    got = pyfq.linear(x.reshape(3, 3, 50), low, out=out)
    assert got is out
    assert pyfq.linear(np.empty((0, 50), np.float32), low).shape == (0, 40)
    nan = np.full((1, 50), np.nan, np.float32)
    assert np.isnan(pyfq.linear(nan, low)).all()


def network(dtype, of=lambda w: svd_lowrank(w, 5), **options):
    made = Network.create((21, 37, 130, 6), activation="tanh", dtype=dtype)
    biases = {f"layers.{i}.bias": random(dtype, n) for i, n in enumerate((37, 130, 6))}
    return replace(made.with_parameters(biases).map_weights(of), **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_networks_multiply_by_factors(dtype):
    forms = {
        "arrays": network(dtype),
        "codes": network(dtype, lambda w: LowRank(*(pyfq.quantize(f, 8) for f in factors(w)))),
        "one": network(dtype, lambda w: svd_lowrank(w, 1)),
        "mixed": network(
            dtype,
            lambda w: svd_lowrank(w, 9) if len(w) > 100 else pyfq.quantize(w, 8),
            activation_bits=8,
        ),
    }
    x = random(dtype, 300, 21)
    for name, made in forms.items():
        want = reference.forward_network(x, made)
        bound = 400 * np.finfo(dtype).eps * np.abs(want).max()
        for where in everywhere():
            whole = made.forward(x)
            for batch in (1, 2, 5, 300):
                got = made.forward(x[:batch])
                np.testing.assert_allclose(got, want[:batch], atol=bound, rtol=0, err_msg=name)
                same(got, whole[:batch], f"{name} {where}")


def factors(w):
    low = svd_lowrank(w, 5)
    return low.u, low.v


def test_networks_equal_layers_to_the_bit():
    made = network(np.float32)
    for x in (random(np.float32, 1, 21), random(np.float32, 77, 21)):
        for where in everywhere():
            want = x
            for layer in made.layers:
                ready = pyfq.prepare(layer.weights)
                want = pyfq.linear(want, ready, layer.bias, activation=layer.activation)
            same(made.forward(x), want, where)


def test_networks_count_factors():
    dense = Network.create((21, 37, 6))
    made = dense.map_weights(lambda w: svd_lowrank(w, 3))
    assert made.sizes == (21, 37, 6)
    assert made.multiply_adds == 3 * (21 + 37) + 3 * (37 + 6)
    assert made.size == made.multiply_adds + 43
    assert made.nbytes == 4 * made.size
    for name, array in dense.parameters.items():
        assert made.parameters[name].shape == array.shape
    same(made.parameters["layers.0.weight"], made.layers[0].weights.toarray(), "weights")
    full = dense.map_weights(lambda w: svd_lowrank(w, min(w.shape)))
    np.testing.assert_allclose(
        full.parameters["layers.1.weight"], dense.parameters["layers.1.weight"], atol=1e-6
    )
    x = random(np.float32, 4, 21)
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        same(again.forward(x), made.forward(x), "again")
    assert not made.layers[0].weights.u.flags.writeable
    changed = made.with_parameters({"layers.0.weight": svd_lowrank(random(np.float32, 37, 21), 2)})
    assert changed.layers[0].weights.rank == 2


def test_networks_keep_their_weights():
    u, v = random(np.float32, 5, 2), random(np.float32, 2, 4)
    layer = Dense(LowRank(u, v))
    kept = layer.weights.u.copy()
    u[:] = 0
    same(layer.weights.u, kept, "copied")


@given(st.integers(1, 60), st.integers(1, 60))
def test_break_even_rank_is_the_largest_that_is_smaller(m, n):
    rank = break_even_rank(m, n)
    assert rank * (m + n) < m * n <= (rank + 1) * (m + n)


W = random(np.float32, 6, 8)
NAN = np.array([[1.0, np.nan]])


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "w must be a NumPy array", {"w": [[1.0]], "rank": 1}),
        (TypeError, "w must be float32 or float64", {"w": np.eye(2, dtype=int), "rank": 1}),
        (ValueError, "w must have 2 axes", {"w": W[0], "rank": 1}),
        (ValueError, "w must have 2 axes", {"w": W[:0], "rank": 1}),
        (ValueError, "C-contiguous", {"w": W.T, "rank": 1}),
        (ValueError, r"w must be finite, but w\[0, 1\] is nan", {"w": NAN, "rank": 1}),
        (ValueError, "one of rank, ratio, energy, tolerance must be given, not none", {}),
        (ValueError, "not rank and energy", {"rank": 2, "energy": 0.9}),
        (TypeError, "rank must be an integer", {"rank": 2.5}),
        (ValueError, "rank must be 1 ... 6, not 7", {"rank": 7}),
        (ValueError, "rank must be 1 ... 6, not 0", {"rank": 0}),
        (ValueError, "ratio must be above 0", {"ratio": 0}),
        (ValueError, "ratio must be 0 ... 1, not 1.5", {"ratio": 1.5}),
        (ValueError, "energy must be 0 ... 1, not -0.1", {"energy": -0.1}),
        (ValueError, "tolerance must be 0 ... 1, not nan", {"tolerance": float("nan")}),
        (TypeError, "energy must be a number, not str", {"energy": "0.9"}),
        (ValueError, "method must be one of 'exact', 'randomized'", {"method": "fast"}),
        (TypeError, "seed must be an integer", {"seed": 1.0}),
        (ValueError, "oversampling must be at least 0", {"oversampling": -1}),
        (ValueError, "power_iterations must be None for", {"power_iterations": 2}),
        (
            ValueError,
            "power_iterations must be at least 0",
            {"power_iterations": -2, "method": "randomized"},
        ),
        (ValueError, "take method='exact'", {"energy": 1.0, "method": "randomized"}),
        (ValueError, "tolerance at least 0.00098", {"tolerance": 1e-4, "method": "randomized"}),
        (ValueError, "at most one of x, gram and scale", {"x": W, "scale": W[0]}),
        (ValueError, r"x must have shape \(6, 8\), not \(6, 7\)", {"x": W[:, :7].copy()}),
        (ValueError, "x must not be all zeros", {"x": 0 * W}),
        (TypeError, "x must be a NumPy array", {"x": [[1.0] * 8]}),
        (ValueError, "x must be finite", {"x": np.full((2, 8), np.inf)}),
        (ValueError, r"gram must have shape \(8, 8\)", {"gram": W}),
        (ValueError, "gram must be symmetric", {"gram": np.triu(np.ones((8, 8)))}),
        (ValueError, "gram must be positive semidefinite", {"gram": np.diag([1.0] * 7 + [-0.5])}),
        (ValueError, r"scale must have shape \(8,\)", {"scale": np.ones(6)}),
        (ValueError, "scale must not be negative", {"scale": np.linspace(-1, 1, 8)}),
        (ValueError, "scale must not be all zeros", {"scale": np.zeros(8)}),
        (TypeError, "residual must be callable", {"residual": 4}),
        (TypeError, "residual must be a Quantized, not ndarray", {"residual": np.copy}),
        (
            TypeError,
            "residual must be float32 as u, not float64",
            {"residual": lambda rest: pyfq.quantize(rest.astype(np.float64))},
        ),
        (
            ValueError,
            r"residual must have shape \(6, 8\), not \(5, 8\)",
            {"residual": lambda rest: pyfq.quantize(rest[:5])},
        ),
    ],
)
def test_svd_lowrank_refuses(error, message, arguments):
    asked = {"rank", "ratio", "energy", "tolerance"} & arguments.keys()
    if not asked and arguments:
        arguments = arguments | {"rank": 2}
    with pytest.raises(error, match=message):
        svd_lowrank(**({"w": W} | arguments))


@pytest.mark.parametrize(
    ("error", "message", "parts"),
    [
        (TypeError, "u must be a NumPy array", {"u": [[1.0]]}),
        (TypeError, "v must be float32 as u, not float64", {"v": np.ones((2, 8))}),
        (ValueError, "v must have 2 rows for u of shape", {"v": W}),
        (ValueError, "u must have 2 axes and entries", {"u": W[0]}),
        (ValueError, "u must have 2 axes and entries", {"u": W[:, :0]}),
        (ValueError, "v must be C-contiguous", {"v": np.asfortranarray(W[:2])}),
        (ValueError, "u must be finite", {"u": np.full((6, 2), np.inf, np.float32)}),
        (TypeError, "residual must be a Quantized", {"residual": W}),
        (ValueError, "residual must have shape", {"residual": pyfq.quantize(W[:5])}),
    ],
)
def test_lowrank_refuses(error, message, parts):
    with pytest.raises(error, match=message):
        LowRank(**({"u": np.ones((6, 2), np.float32), "v": W[:2]} | parts))


def test_layers_refuse():
    low = svd_lowrank(W, 2)
    x = random(np.float32, 3, 8)
    with pytest.raises(ValueError, match="activation_bits=8 needs quantized weights, not LowRank"):
        pyfq.linear(x, low, activation_bits=8)
    with pytest.raises(ValueError, match="activation_bits=8 needs quantized weights, not LowRank"):
        pyfq.prepare(low, activation_bits=8)
    with pytest.raises(ValueError, match=r"x must have shape \(..., 8\)"):
        pyfq.linear(x[:, :7].copy(), low)
    with pytest.raises(TypeError, match="x must be float32"):
        pyfq.linear(x.astype(np.float64), low)
    for factor in (low.u, low.v):
        with pytest.raises(ValueError, match="out must not overlap an input"):
            pyfq.linear(x[:1], low, out=factor.reshape(-1)[:6].reshape(1, 6))
    both = replace(low, residual=pyfq.quantize(W))
    with pytest.raises(ValueError, match="weights must have no residual"):
        Dense(both)
    with pytest.raises(TypeError, match="must be an array to be trained, not LowRank"):
        pyfq.train(Network([Dense(low)]), x, random(np.float32, 3, 6), epochs=1)
    with pytest.raises(TypeError, match="rows must be an integer"):
        break_even_rank(2.0, 3)
    with pytest.raises(ValueError, match="cols must be at least 1"):
        break_even_rank(2, 0)


def test_networks_of_factors_are_saved_exactly(tmp_path):
    w = np.random.default_rng(0).standard_normal((20, 30))
    made = pyfq.Network([pyfq.Dense(pyfq.svd_lowrank(w, 4), activation="relu")])
    pyfq.save_network(made, tmp_path / "n.safetensors")
    again = pyfq.load_network(tmp_path / "n.safetensors")
    x = np.random.default_rng(1).standard_normal((7, 30))
    np.testing.assert_array_equal(again.forward(x), made.forward(x))
    assert again.layers[0].weights.error == made.layers[0].weights.error
    coded = pyfq.LowRank(pyfq.quantize(made.layers[0].weights.u, 8), made.layers[0].weights.v)
    with pytest.raises(TypeError, match="factors must be arrays to be saved"):
        pyfq.save_network(pyfq.Network([pyfq.Dense(coded)]), tmp_path / "m.safetensors")


def test_lowrank_refuses_a_product_that_overflows():
    u, v = np.full((2, 1), 1e20, np.float32), np.full((1, 3), 1e20, np.float32)
    with pytest.raises(ValueError, match=r"u @ v must be finite, but u @ v\[0, 0\] is inf"):
        LowRank(u, v)
    with pytest.raises(ValueError, match="u @ v must be finite"):
        LowRank(pyfq.quantize(u), v)
    largest = np.full((2, 3), np.finfo(np.float32).max)
    with pytest.raises(ValueError, match="the sum must be finite"):
        LowRank(u, np.full((1, 3), 1e18, np.float32), residual=pyfq.quantize(largest))
    assert np.isfinite(LowRank(u, v / 1e3).toarray()).all()
    for error in (np.nan, -1.0, np.inf):
        with pytest.raises(ValueError, match="error must be"):
            LowRank(v.T.copy(), v / 1e20, error)


@pytest.mark.parametrize("method", METHODS)
def test_svd_lowrank_of_the_largest_weights(method):
    """Rounding may take the product beyond them: factors are some roundings smaller then."""
    largest = np.finfo(np.float32).max
    w = np.zeros((2, 3), np.float32)
    w[0, 0], w[1, 2] = largest, -largest
    low = svd_lowrank(w, 2, method=method)
    np.testing.assert_allclose(low.toarray(), w, rtol=1e-4, atol=1e-4 * largest)
