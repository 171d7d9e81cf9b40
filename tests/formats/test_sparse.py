"""Topic `sparse` against its reference, SciPy and NumPy, everywhere, and what it refuses."""

import copy
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import dtypes, everywhere, same

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, Sparse, reference, to_sparse

DTYPES = [np.float32, np.float64]
# What a format is called here: its arguments, and what prunes for it.
FORMS = {
    "csr": ({"format": "csr"}, lambda w: pyfq.prune_ratio(w, 0.9)),
    "csr, many": ({"format": "csr"}, lambda w: pyfq.prune_ratio(w, 0.4)),
    "2:4": ({"format": "nm"}, lambda w: pyfq.prune_nm(w, 2, 4)),
    "3:7": ({"format": "nm", "n": 3, "m": 7}, lambda w: pyfq.prune_nm(w, 3, 7)),
    "rows": ({"format": "rows"}, lambda w: pyfq.prune_rows(w, 0.5)),
}
# Rows and columns of weights: around edges of panels (16), vectors, words (8 groups), runs (64
# bytes), blocks of the stream (64, 128, 1024, 2048 columns) and items.
SHAPES = [(1, 1), (3, 5), (16, 32), (17, 33), (50, 513), (130, 130), (301, 1030), (20, 2100)]
# Around the vectors, and what chooses the kernel.
BATCHES = [0, 1, 2, 4, 5, 9, 16, 17, 25, 64, 100, 133]


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def parts(s):
    """Return what a `Sparse` holds as the reference returns it."""
    match s.format:
        case "csr":
            return s.values, s.indices, s.indptr
        case "nm":
            return s.values, s.positions
    return s.values, s.rows


def bound(x, w, bias):
    """Return how far sums of floats may be from the true ones."""
    steps = w.shape[1] + 2
    x, w, bias = (np.abs(a).astype(np.float64) for a in (x, w, bias))
    return steps * np.finfo(np.float32).eps * (x @ w.T + bias)


def check_floats(x, s, bias):
    """Compare a layer with NumPy's product in float64, everywhere; all runs have the same bits."""
    w = s.toarray()
    want = x.astype(np.float64) @ w.T.astype(np.float64) + bias
    limit = bound(x, w, bias) * (np.finfo(x.dtype).eps / np.finfo(np.float32).eps)
    seen = {}
    for where in everywhere():
        got = pyfq.linear(x, s, bias)
        assert got.dtype == x.dtype
        assert (np.abs(got - want) <= limit).all(), where
        isa = where.split(",")[0]
        same(got, seen.setdefault(isa, got), where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_to_sparse_matches_reference_and_toarray_undoes_it(dtype, form, shape):
    how, prune = FORMS[form]
    pruned = prune(random(dtype, *shape))
    s = to_sparse(pruned, **how)
    for got, want in zip(parts(s), reference.to_sparse(pruned.weights, **how), strict=True):
        same(got, want, form)
    same(s.toarray(), pruned.weights, form)
    assert (s.dtype, s.shape, s.size) == (dtype, shape, pruned.weights.size)
    assert s.density == np.count_nonzero(pruned.weights) / s.size
    assert s.nbytes == sum(part.nbytes for part in parts(s))


@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()], ids=str)
@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("form", FORMS)
def test_to_sparse_keeps_codes_and_scales(form, bits, granularity):
    how, prune = FORMS[form]
    q = pyfq.quantize(prune(random(np.float32, 37, 101)).weights, bits, granularity=granularity)
    s = to_sparse(q, **how)
    assert s.values.dtype == np.int8
    same(s.toarray(), q.dequantize(), form)
    for got, want in zip(parts(s), reference.to_sparse(q.codes, **how), strict=True):
        same(got, want, form)


def test_to_sparse_is_scipys_csr():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    w = pyfq.prune_ratio(random(np.float32, 40, 70), 0.9).weights
    s, want = to_sparse(w, "csr"), scipy_sparse.csr_array(w)
    np.testing.assert_array_equal(s.indptr, want.indptr)
    np.testing.assert_array_equal(s.indices, want.indices)
    np.testing.assert_array_equal(s.values, want.data)


def test_two_of_four_bytes_take_five_eighths_of_dense_ones():
    q = pyfq.quantize(pyfq.prune_nm(random(np.float32, 64, 256)).weights, granularity=PerTensor())
    assert to_sparse(q, "nm").nbytes == 64 * 256 * 5 // 8 + 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear_of_sparse_floats_is_within_its_bound(dtype, form, shape):
    how, prune = FORMS[form]
    s = to_sparse(prune(random(dtype, *shape)), **how)
    for batch in BATCHES:
        check_floats(random(dtype, batch, shape[1], seed=1), s, random(dtype, shape[0], seed=2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear_of_sparse_codes_is_exact(dtype, form, shape):
    how, prune = FORMS[form]
    q = pyfq.quantize(prune(random(dtype, *shape)).weights)
    s, bias = to_sparse(q, **how), random(dtype, shape[0], seed=2)
    for batch in BATCHES:
        x = random(dtype, batch, shape[1], seed=1)
        left = pyfq.quantize(x)
        sums = (left.codes.astype(np.int64) @ q.codes.astype(np.int64).T).astype(dtype)
        want = q.scale[:, 0] * sums * left.scale + bias
        same(reference.linear_sparse(x, s, bias, activation_bits=8), want, "reference")
        for where in everywhere():
            same(pyfq.linear(x, s, bias, activation_bits=8), want, f"{batch} {where}")


@pytest.mark.parametrize("form", FORMS)
def test_linear_of_sparse_codes_has_the_bits_of_dense_ones(form):
    how, prune = FORMS[form]
    q = pyfq.quantize(prune(random(np.float32, 45, 300)).weights)
    x, bias = random(np.float32, 30, 300), random(np.float32, 45)
    for activation in (None, "gelu", ("leaky_relu", 0.2), "softmax"):
        how_called = {"activation": activation, "activation_bits": 8}
        want = pyfq.linear(x, q, bias, **how_called)
        for where in everywhere():
            same(pyfq.linear(x, to_sparse(q, **how), bias, **how_called), want, where)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 7, 40])
def test_linear_of_sparse_codes_without_activation_bits_is_that_of_their_reals(form, batch):
    how, prune = FORMS[form]
    q = pyfq.quantize(prune(random(np.float32, 45, 300)).weights)
    check_floats(random(np.float32, batch, 300), to_sparse(q, **how), random(np.float32, 45))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 3, 20, 70])
@pytest.mark.parametrize("activation", ["relu", "softmax", "sigmoid", ("leaky_relu", 0.5)], ids=str)
def test_linear_of_sparse_applies_bias_and_activation(form, batch, activation):
    how, prune = FORMS[form]
    s = to_sparse(prune(random(np.float32, 300, 90)), **how)
    x, bias = random(np.float32, batch, 90), random(np.float32, 300)
    for where in everywhere():
        sums = pyfq.linear(x, s)
        same(pyfq.linear(x, s, bias), sums + bias, where)
        want = pyfq.activate(sums + bias, activation)
        same(pyfq.linear(x, s, bias, activation=activation), want, where)
        same(pyfq.linear(x, s, activation=activation), pyfq.activate(sums, activation), where)


def test_rows_that_were_removed_become_the_activation_of_their_bias():
    w = np.zeros((4, 3), np.float32)
    w[2] = 1
    bias = np.array([-1.0, 2.0, 0.0, -3.0], np.float32)
    got = pyfq.linear(np.ones((1, 3), np.float32), to_sparse(w, "rows"), bias, activation="relu")
    np.testing.assert_array_equal(got, [[0, 2, 3, 0]])


def test_sums_beyond_float32_are_exact():
    """1500 products of 127 * 127 and one of 1 need 25 bits."""
    w = np.zeros((2, 4000), np.float32)
    w[0, :3000:2], w[0, 3001], w[1, 5] = 127, 1, 127
    q, x = pyfq.quantize(w, scale=1.0), np.full((3, 4000), 127, np.float32)
    x[:, 3001] = 1
    for format in ("csr", "nm", "rows"):
        for where in everywhere():
            got = pyfq.linear(x, to_sparse(q, format), activation_bits=8)
            same(got, np.full((3, 2), [24193501, 16129], np.float32), where)


def test_more_columns_than_spread_bytes_hold():
    w = pyfq.prune_nm(random(np.float32, 3, 70001)).weights
    q, x = pyfq.quantize(w), random(np.float32, 5, 70001)
    want = reference.linear_sparse(x, to_sparse(q, "nm"), activation_bits=8)
    for where in everywhere():
        same(pyfq.linear(x, to_sparse(q, "nm"), activation_bits=8), want, where)


@given(
    data=st.data(),
    dtype=dtypes,
    format=st.sampled_from(["csr", "nm", "rows"]),
    shape=st.tuples(st.integers(0, 37), st.integers(0, 70)),
    batch=st.integers(0, 70),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_linear_of_any_sparse(data, dtype, format, shape, batch, density):
    n, m = 2, 4
    if format == "nm":
        m = data.draw(st.integers(2, 16))
        n = data.draw(st.integers(1, m))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    w = np.where(rng.random(shape) < density, rng.integers(-4, 5, shape), 0).astype(dtype)
    if format == "nm":
        w = pyfq.prune_nm(w, n, m).weights
    if format == "rows":
        w[rng.random(shape[0]) < 0.5] = 0
    x = rng.integers(-4, 5, (batch, shape[1])).astype(dtype)  # sums are exact
    s = to_sparse(w, format, n=n, m=m)
    same(s.toarray(), w, "toarray")
    same(reference.linear_sparse(x, s), x @ w.T, "reference")
    q = to_sparse(pyfq.quantize(w, granularity=PerTensor()), format, n=n, m=m)
    want = reference.linear_sparse(x, q, activation_bits=8)
    for where in everywhere():
        same(pyfq.linear(x, s), x @ w.T, where)
        same(pyfq.linear(x, q, activation_bits=8), want, where)


@pytest.mark.parametrize("form", FORMS)
def test_sparse_is_copied_and_pickled_without_its_layouts(form):
    how, prune = FORMS[form]
    s = to_sparse(prune(random(np.float32, 20, 30)), **how)
    x = random(np.float32, 4, 30)
    want = pyfq.linear(x, s)
    for other in (copy.deepcopy(s), pickle.loads(pickle.dumps(s)), replace(s)):
        assert not other._layouts
        same(pyfq.linear(x, other), want, form)


W = np.array([[0, 4, 3, 0], [1, 0, 0, -2]], np.float32)
CSR, NM, ROWS = (to_sparse(W, format) for format in ("csr", "nm", "rows"))
X = np.ones((1, 4), np.float32)


def changed(s, **parts):
    return Sparse(**({f.name: getattr(s, f.name) for f in fields(s) if f.init} | parts))


REFUSALS = [
    (lambda: to_sparse(W, "coo"), ValueError, "format must be one of 'csr', 'nm', 'rows'"),
    (lambda: to_sparse(W.astype(int), "csr"), TypeError, "w must be float32 or float64"),
    (lambda: to_sparse(W[0], "csr"), ValueError, r"w must have 2 axes.*\(4,\)"),
    (lambda: to_sparse(W.T, "csr"), ValueError, "w must be C-contiguous"),
    (lambda: to_sparse(W / 0, "csr"), ValueError, "w must be finite"),
    (
        lambda: to_sparse(np.ones((2, 7)), "nm"),
        ValueError,
        "at most 2 of 4, but columns 0 ... 3 of row 0 hold 4 nonzeros",
    ),
    (
        lambda: to_sparse(np.array([[0, 0, 0, 0, 1.0, 2, 3]]), "nm"),
        ValueError,
        "columns 4 ... 6 of row 0 hold 3 nonzeros",
    ),
    (lambda: to_sparse(W, "nm", n=1), ValueError, "at most 1 of 4"),
    (lambda: to_sparse(W, "nm", n=5), ValueError, "n must be 1 ... 4, not 5"),
    (lambda: to_sparse(W, "nm", m=17), ValueError, "m must be 2 ... 16, not 17"),
    (lambda: to_sparse(pyfq.quantize(W, scheme="affine")), ValueError, "scheme 'symmetric'"),
    (lambda: to_sparse(pyfq.quantize(W, 12)), ValueError, "at most 8 bits, not 12"),
    (
        lambda: to_sparse(pyfq.quantize(W, granularity=PerGroup(2))),
        ValueError,
        r"PerTensor\(\) or PerRow\(\), not PerGroup",
    ),
    (lambda: changed(CSR, format="x"), ValueError, "format must be"),
    (lambda: changed(CSR, shape=(2,)), ValueError, "shape must be"),
    (lambda: changed(CSR, n=2), ValueError, "n must be None for format 'csr'"),
    (lambda: changed(CSR, indptr=CSR.indptr + 1), ValueError, "indptr must start with 0"),
    (lambda: changed(CSR, indptr=np.array([0, 9, 4])), ValueError, "not decrease"),
    (lambda: changed(CSR, indptr=CSR.indptr.astype("i4")), TypeError, "indptr must be int64"),
    (lambda: changed(CSR, indices=CSR.indices + 9), ValueError, "indices must be 0 ... 3"),
    (lambda: changed(CSR, indices=CSR.indices[::-1].copy()), ValueError, "ascend in a row"),
    (lambda: changed(CSR, values=CSR.values[:3].copy()), ValueError, r"shape \(4,\)"),
    (lambda: changed(CSR, scale=object()), TypeError, "scale must be a NumPy array, not object"),
    (lambda: changed(CSR, scale=np.array(1.0, "f4")), TypeError, "values must be int8"),
    (lambda: changed(NM, positions=NM.positions * 0), ValueError, "ascend in a group"),
    (lambda: changed(NM, positions=NM.positions[:, :0].copy()), ValueError, "positions"),
    (lambda: changed(NM, m=3), ValueError, "values must have shape"),
    (lambda: changed(NM, m=1), ValueError, "m must be 2 ... 16, not 1"),
    (lambda: changed(NM, shape=(2, 3)), ValueError, "0 at places beyond the 3 columns"),
    (lambda: changed(ROWS, rows=ROWS.rows[::-1].copy()), ValueError, "rows must ascend"),
    (lambda: changed(ROWS, rows=ROWS.rows + 1), ValueError, "rows must be 0 ... 1"),
    (
        lambda: changed(to_sparse(pyfq.quantize(W), "rows"), scale=np.ones((3, 1), "f")),
        ValueError,
        r"scale must have shape \(2, 1\)",
    ),
    (lambda: pyfq.linear(X.astype(float), CSR), TypeError, "x must be float32"),
    (lambda: pyfq.linear(X[:, :3].copy(), CSR), ValueError, r"x must have shape \(..., 4\)"),
    (lambda: pyfq.linear(X, CSR, activation_bits=8), ValueError, "weights, not Sparse of floats"),
    (lambda: pyfq.prepare(CSR), TypeError, "not Sparse: pass it to linear"),
    (
        lambda: pyfq.linear(X / 0, to_sparse(pyfq.quantize(W), "csr"), activation_bits=8),
        ValueError,
        "x must be finite",
    ),
    (
        lambda: pyfq.linear(X / 0, to_sparse(pyfq.quantize(W), "nm"), activation_bits=8),
        ValueError,
        "x must be finite",
    ),
    (
        lambda: pyfq.linear(X / 0, to_sparse(pyfq.quantize(0 * W), "nm"), activation_bits=8),
        ValueError,
        "x must be finite",
    ),
]


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_sparse_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sparse_refuses_what_is_not_finite(bad):
    for s in (CSR, NM, ROWS):
        values = s.values.copy()
        values.flat[0] = bad
        with pytest.raises(ValueError, match="values must be finite"):
            replace(s, values=values)
        coded = to_sparse(pyfq.quantize(W), s.format)
        with pytest.raises(ValueError, match="scale must be finite"):
            replace(coded, scale=np.full(coded.scale.shape, bad, np.float32))


def test_sparse_refuses_codes_whose_reals_overflow():
    coded = to_sparse(pyfq.quantize(W), "csr")
    with pytest.raises(ValueError, match="values times scale must be finite"):
        replace(coded, scale=np.full(coded.scale.shape, 3e38, np.float32))
