"""Topic `matmul`: within its bound of the reference, everywhere; the same bits; what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from variants import dtypes, everywhere, same

import pyfq
from pyfq import reference
from pyfq.arrays.activation import ACTIVATIONS

DTYPES = [np.float32, np.float64]
# Rows, columns and steps: vectors, and around the edges of tiles (4, 6 or 12 rows; 2, 4, 8 or 16
# lanes, 2, 4 or 8 panels of them), items (384 and 2048 columns, 480 rows) and blocks (256 and 512
# steps).
SHAPES = [
    (1, 1, 1),
    (3, 5, 1),
    (1, 300, 70),
    (300, 1, 70),
    (1, 1, 1000),
    (2, 3, 513),
    (4, 2049, 9),
    (5, 17, 257),
    (6, 8, 256),
    (7, 33, 255),
    (12, 16, 512),
    (13, 129, 511),
    (11, 127, 1025),
    (17, 385, 19),
    (25, 384, 33),
    (481, 15, 7),
    (959, 31, 40),
    (61, 400, 300),
]


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def given_as(x, transposed):
    """Return a matrix as it is given if it is said to be transposed."""
    return np.ascontiguousarray(np.swapaxes(x, -1, -2)) if transposed else x


def bound(a, b, bias=0):
    """Return how far sums of any order may be apart: k products, k sums and what underflows."""
    k, eps = a.shape[-1], np.finfo(a.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + np.abs(bias)
    return (k + (bias is not None)) * eps.eps * size + k * eps.smallest_subnormal


def check(a, b, bias=None, transpose_a=False, transpose_b=False):
    """Compare with the reference everywhere; return its result."""
    arguments = {"transpose_a": transpose_a, "transpose_b": transpose_b, "bias": bias}
    left, right = given_as(a, transpose_a), given_as(b, transpose_b)
    want = reference.matmul(left, right, **arguments)
    room = bound(a, b, 0 if bias is None else bias.astype(np.float64))
    for where in everywhere():
        got = pyfq.matmul(left, right, **arguments)
        assert (got.dtype, got.shape) == (want.dtype, want.shape), where
        with np.errstate(invalid="ignore"):  # equal infinities
            beyond = np.abs(got.astype(np.float64) - want) - room
        assert ((beyond <= 0) | (got == want)).all(), f"{where}: {np.nanmax(beyond)} too far"
    return want


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matmul_is_within_its_bound(dtype, shape):
    m, n, k = shape
    a, b = random(dtype, m, k), random(dtype, k, n)
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            check(a, b, random(dtype, n), transpose_a, transpose_b)


@given(data=st.data(), dtype=dtypes)
def test_matmul_matches_reference(data, dtype):
    extent = st.one_of(st.integers(0, 20), st.integers(0, 70))
    m, n, k = data.draw(extent), data.draw(extent), data.draw(extent)
    info = np.finfo(dtype)
    elements = st.one_of(
        st.integers(-3, 3).map(float),
        st.floats(-8, 8, width=8 * info.dtype.itemsize),
        st.sampled_from([float(info.tiny), -float(info.smallest_subnormal), 1 / 3, 1e15, -1e15]),
    )
    a, b = (data.draw(arrays(dtype, shape, elements=elements)) for shape in ((m, k), (k, n)))
    bias = data.draw(st.one_of(st.none(), arrays(dtype, n, elements=elements)))
    check(a, b, bias, data.draw(st.booleans()), data.draw(st.booleans()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_of_integers_is_exact(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 10, (70, 600)), rng.integers(-9, 10, (600, 50))
    for where in everywhere():
        same(pyfq.matmul(a.astype(dtype), b.astype(dtype)), (a @ b).astype(dtype), where)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_where_all_cancels(dtype):
    a, b = random(dtype, 9, 700), random(dtype, 700, 21)
    a, b = np.concatenate([a, a], axis=1), np.concatenate([b, -b])
    order = np.random.default_rng(1).permutation(1400)
    a, b = np.ascontiguousarray(a[:, order]) * dtype(1e6), np.ascontiguousarray(b[order])
    check(a, b)
    check(a, b, transpose_b=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 14])
def test_matmul_of_extreme_magnitudes(dtype, rows):
    info = np.finfo(dtype)
    a, b = random(dtype, rows, 40), random(dtype, 40, 19)
    check(a * info.smallest_subnormal * 1000, b)
    check(a * info.tiny, b * dtype(1e-3), transpose_b=True)
    largest = info.max / 2000
    check(a * largest, b)
    check(a, b * largest, transpose_b=True)
    check(np.full((rows, 1), info.max), np.array([[1, -1, 2]], dtype), -np.full(3, info.max))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul_passes_nan_and_inf_on_as_numpy(dtype, rows, transpose_b):
    a, b = random(dtype, rows, 300), random(dtype, 300, 45)
    a[0, 7], a[-1, 280], a[rows // 2, 260] = np.nan, np.inf, -np.inf
    b[5, 3], b[270, 17], b[299, 44], b[0, 44] = np.nan, np.inf, -np.inf, np.inf
    b[7, 20] = 0
    with np.errstate(invalid="ignore"):
        want = a @ b
    for where in everywhere():
        got = pyfq.matmul(a, given_as(b, transpose_b), transpose_b=transpose_b)
        for what in (np.isnan, np.isposinf, np.isneginf):
            same(what(got), what(want), f"{what.__name__} {where}")
    with np.errstate(invalid="ignore"):
        b[...] = 0
        want = a @ b
    for where in everywhere():
        got = pyfq.matmul(a, given_as(b, transpose_b), transpose_b=transpose_b)
        same(np.isnan(got), np.isnan(want), where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul_is_the_same_for_any_number_of_threads(dtype, transpose_b):
    a, b = random(dtype, 130, 700), given_as(random(dtype, 700, 450), transpose_b)
    first = {}
    for where in everywhere():
        isa = where.partition(",")[0]
        for rows in (1, 3, 130):
            got = pyfq.matmul(a[:rows], b, transpose_b=transpose_b, activation="softmax")
            same(got, first.setdefault((isa, rows), got), f"{rows} rows {where}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_rows_and_columns_do_not_depend_on_their_neighbours(dtype):
    """Nor on how they are given; but 1 to 3 columns, or rows if b is transposed, are in lanes."""
    a, b = random(dtype, 29, 1100), random(dtype, 1100, 150)
    flipped_a, flipped_b = given_as(a, True), given_as(b, True)
    for where in everywhere():
        whole = pyfq.matmul(a, b)
        same(pyfq.matmul(flipped_a, b, transpose_a=True), whole, f"a transposed {where}")
        same(pyfq.matmul(a, flipped_b, transpose_b=True), whole, f"b transposed {where}")
        for rows in (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 17):
            part = a[5 : 5 + rows].copy()
            same(pyfq.matmul(part, b), whole[5 : 5 + rows], f"{rows} rows {where}")
            if rows > 3:
                got = pyfq.matmul(part, flipped_b, transpose_b=True)
                same(got, whole[5 : 5 + rows], f"{rows} rows, transposed {where}")
        for cols in (4, 5, 11, 12, 13, 15, 17, 128):
            got = pyfq.matmul(a, b[:, 3 : 3 + cols].copy())
            same(got, whole[:, 3 : 3 + cols], f"{cols} columns {where}")
        lanes = pyfq.matmul(a, b[:, 3:6].copy())
        for cols in (1, 2, 3):
            for rows in (1, 3, 4, 29):
                got = pyfq.matmul(a[:rows].copy(), b[:, 3 : 3 + cols].copy())
                same(got, lanes[:rows, :cols], f"{rows} rows, {cols} columns {where}")
        few = pyfq.matmul(a[:3], flipped_b, transpose_b=True)
        same(pyfq.matmul(a[:1], flipped_b, transpose_b=True), few[:1], f"lanes {where}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS, ("leaky_relu", 0.3)])
def test_matmul_activates_what_it_has_multiplied(dtype, activation):
    for m, n, k in ((1, 70, 30), (3, 500, 20), (40, 900, 33)):
        a, b, bias = random(dtype, m, k), random(dtype, k, n), random(dtype, n)
        for where in everywhere():
            for how in ({}, {"bias": bias}):
                want = pyfq.activate(pyfq.matmul(a, b, **how), activation)
                same(pyfq.matmul(a, b, **how, activation=activation), want, where)
                got = pyfq.matmul(a, given_as(b, True), transpose_b=True, activation=activation)
                plain = pyfq.matmul(a, given_as(b, True), transpose_b=True)
                same(got, pyfq.activate(plain, activation), f"transposed {where}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transpose_a", [False, True])
def test_matmul_of_a_batch_is_that_of_each(dtype, transpose_a):
    a, b, bias = random(dtype, 2, 3, 5, 40), random(dtype, 40, 9), random(dtype, 9)
    check(a, b, bias, transpose_a)
    left = given_as(a, transpose_a)
    for where in everywhere():
        got = pyfq.matmul(left, b, transpose_a=transpose_a, bias=bias)
        for i in np.ndindex(2, 3):
            one = pyfq.matmul(left[i], b, transpose_a=transpose_a, bias=bias)
            same(got[i], one, f"{i} {where}")


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("batch", [(), (3,), (0,)])
@pytest.mark.parametrize("extents", [(0, 4, 5), (4, 0, 5), (4, 5, 0), (0, 0, 0), (1, 1, 0)])
def test_matmul_without_entries(extents, batch, transpose_a, transpose_b):
    m, n, k = extents
    a, b = np.ones((*batch, m, k)), np.ones((k, n))
    got = check(a, b, np.arange(n, dtype=float), transpose_a, transpose_b)
    assert got.shape == (*batch, m, n)
    check(a, b, None, transpose_a, transpose_b)


def test_matmul_without_steps_activates_the_bias():
    got = pyfq.matmul(np.ones((2, 0)), np.ones((0, 2)), bias=np.zeros(2), activation="softmax")
    same(got, np.full((2, 2), 0.5), "k = 0")


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul_writes_where_it_is_told(transpose_a, transpose_b):
    a = given_as(random(np.float64, 7, 9), transpose_a)
    b = given_as(random(np.float64, 9, 5), transpose_b)
    a.flags.writeable = b.flags.writeable = False
    out = np.full((7, 5), np.nan)
    how = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    assert pyfq.matmul(a, b, out=out, **how) is out
    same(out, pyfq.matmul(a, b, **how), "out")


def test_matmul_may_multiply_an_array_by_itself():
    a = random(np.float32, 40, 40)
    same(pyfq.matmul(a, a), pyfq.matmul(a, a.copy()), "itself")


@pytest.mark.parametrize(
    ("a", "b", "bias", "want"),
    [  # onnx/backend/test/case/node/gemm.py without its random numbers, and by hand
        ([[1, 2], [3, 4]], [[5, 6], [7, 8]], None, [[19, 22], [43, 50]]),
        ([[1, 2, 3]], [[1], [10], [100]], [1000], [[1321]]),
        ([[2], [3]], [[5, 7]], [-1, 1], [[9, 15], [14, 22]]),
    ],
)
def test_matmul_known_values(a, b, bias, want):
    for dtype in DTYPES:
        arguments = [None if x is None else np.array(x, dtype) for x in (a, b, bias)]
        same(pyfq.matmul(*arguments[:2], bias=arguments[2]), np.array(want, dtype), str(dtype))


def test_matmul_is_that_of_torch():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    a, b, bias = random(np.float64, 37, 129), random(np.float64, 65, 129), random(np.float64, 65)
    want = torch.addmm(*map(torch.from_numpy, (bias, a, given_as(b, True)))).relu().numpy()
    got = pyfq.matmul(a, b, transpose_b=True, bias=bias, activation="relu")
    np.testing.assert_allclose(got, want, rtol=0, atol=bound(a, b.T, np.abs(bias)).max())


ONES = np.ones((2, 4), np.float32)


@pytest.mark.parametrize("name", ["a", "b"])
def test_matmul_refuses_what_is_no_matrix_of_floats(name):
    good = {"a": ONES, "b": np.ones((4, 3), np.float32)}
    for bad, error, message in (
        ([[1.0]], TypeError, "must be a NumPy array, not list"),
        (np.ma.ones((4, 4), np.float32), TypeError, "must be a NumPy array, not MaskedArray"),
        (good[name].astype(np.float16), TypeError, "must be float32.*, not float16"),
        (good[name].astype(int), TypeError, "must be float32.*, not int64"),
        (np.ones((4, 8), np.float32)[:, ::2], ValueError, "must be C-contiguous"),
        (np.asfortranarray(np.ones((4, 4), np.float32)), ValueError, "must be C-contiguous"),
        (np.ones(4, np.float32), ValueError, "must have (at least )?2 axes, .* is (4,)"),
    ):
        with pytest.raises(error, match=f"^{name} {message}".replace("(4,)", r"\(4,\)")):
            pyfq.matmul(**(good | {name: bad}))


def test_matmul_refuses_matrices_that_do_not_fit():
    with pytest.raises(TypeError, match="b must be float32, not float64"):
        pyfq.matmul(ONES, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"b must have 2 axes, but its shape is \(1, 4, 3\)"):
        pyfq.matmul(ONES, np.ones((1, 4, 3), np.float32))
    with pytest.raises(ValueError, match=r"b must have 4 rows for a of shape \(2, 4\), .*\(5, 3\)"):
        pyfq.matmul(ONES, np.ones((5, 3), np.float32))
    with pytest.raises(ValueError, match=r"b must have 4 columns for a of shape \(2, 4\)"):
        pyfq.matmul(ONES, np.ones((4, 3), np.float32), transpose_b=True)
    with pytest.raises(ValueError, match=r"b must have 2 rows for a of shape \(2, 4\) transposed"):
        pyfq.matmul(ONES, np.ones((4, 3), np.float32), transpose_a=True)


def test_matmul_refuses_biases():
    for bias, error, message in (
        (np.ones(4, np.float32), ValueError, r"bias must have shape \(2,\), not \(4,\)"),
        (np.ones((1, 2), np.float32), ValueError, r"bias must have shape \(2,\), not \(1, 2\)"),
        (np.ones(2), TypeError, "bias must be float32, not float64"),
        (1.0, TypeError, "bias must be a NumPy array, not float"),
        (np.ones(4, np.float32)[::2], ValueError, "bias must be C-contiguous"),
    ):
        with pytest.raises(error, match=message):
            pyfq.matmul(ONES, np.ones((4, 2), np.float32), bias=bias)


@pytest.mark.parametrize("rows", [0, 2])
def test_matmul_refuses_unknown_activations(rows):
    for word in ("swish", 3, ("gelu", 1.0)):
        with pytest.raises(ValueError, match=r"activation must be None, one of 'relu', .*, not "):
            pyfq.matmul(ONES[:rows], np.ones((4, 2), np.float32), activation=word)


def test_matmul_refuses_outputs():
    a, b, bias = (np.ones(shape, np.float32) for shape in ((4, 4), (4, 4), (4,)))
    room = np.ones((5, 4), np.float32)
    fixed = np.ones((4, 4), np.float32)
    fixed.flags.writeable = False
    for inputs, out, message in (
        ((a, b, bias), a, "out must not overlap an input"),
        ((a, b, bias), b, "out must not overlap an input"),
        ((a, b, room[4]), room[1:], "out must not overlap an input"),
        ((room[1:], b, bias), room[:4], "out must not overlap an input"),
        ((a, b, bias), np.ones((4, 5), np.float32), r"out must have shape \(4, 4\), not \(4, 5\)"),
        ((a, b, bias), np.ones((4, 8), np.float32)[:, ::2], "out must be C-contiguous"),
        ((a, b, bias), fixed, "out must be writeable"),
    ):
        with pytest.raises(ValueError, match=message):
            pyfq.matmul(*inputs[:2], bias=inputs[2], out=out)
    with pytest.raises(TypeError, match="out must be float32, not float64"):
        pyfq.matmul(a, b, out=np.ones((4, 4)))
