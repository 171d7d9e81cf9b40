"""Topic `activation` against its reference, everywhere, true values, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from variants import SHAPES, dtypes, everywhere, large, same

import pyfq
from pyfq import reference
from pyfq.arrays.activation import ACTIVATIONS, as_activation, derivative_of
from pyfq.reference.learning.train import derivative

# All but softmax, and but what multiplies or chooses.
SMOOTH = ("tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "softplus", "elu", "exp")

activations = st.one_of(
    st.none(),
    st.sampled_from(ACTIVATIONS),
    st.tuples(st.sampled_from(["leaky_relu", "elu"]), st.floats(-2, 2, width=32)),
    st.tuples(st.just("clipped_relu"), st.floats(0, 9, width=32)),
)


@st.composite
def arguments(draw, shapes=SHAPES):
    """Return arrays of anything, and much of where functions bend."""
    dtype = np.dtype(draw(dtypes))
    width = 8 * dtype.itemsize
    elements = st.one_of(
        st.floats(-8, 8, width=width), st.floats(-800, 100, width=width), st.floats(width=width)
    )
    return draw(arrays(dtype, draw(shapes), elements=elements))


def check(x, activation):
    with np.errstate(invalid="ignore"):
        want = reference.activate(x, activation)
    for where in everywhere():
        same(pyfq.activate(x, activation), want, f"{activation} {where}")
    return want


@given(x=arguments(), activation=activations)
def test_activate_matches_reference(x, activation):
    check(x, activation)


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activate_large_arrays_on_any_number_of_threads(dtype, activation):
    check(large(dtype) * 3, activation)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activate_softmax_of_rows_of_any_length(dtype):
    for cols in (1, 2, 15, 16, 17, 111, 112, 113, 128, 300, 1000):
        check(large(dtype, shape=(3, cols)) * 40, "softmax")


def test_activate_does_not_depend_on_the_place_in_a_row():
    x = large(np.float32, shape=(257,)) * 4
    for activation in SMOOTH:
        whole = pyfq.activate(x, activation)
        for first, last in ((0, 1), (3, 20), (16, 200), (200, 257)):
            part = pyfq.activate(x[first:last].copy(), activation)
            same(part, whole[first:last], f"{activation} [{first}:{last}]")


def test_activate_writes_where_it_is_told():
    x = large(np.float64, shape=(7, 9))
    out = np.full_like(x, 99)
    assert pyfq.activate(x, "gelu", out=out) is out
    same(out, reference.activate(x, "gelu"), "out")
    assert not np.shares_memory(pyfq.activate(x, None), x)


def errors(got, true, dtype):
    """Return errors in units in the last place of the true values, which are in more bits.

    True values that round to infinity are infinite.
    """
    info = np.finfo(dtype)
    overflows = true >= info.max * (1 + true.dtype.type(info.eps) / 4)
    true = np.where(overflows, 0, true)
    got = np.where(overflows & (got == np.inf), 0, got)
    _, exponent = np.frexp(true)
    ulp = np.ldexp(np.ones_like(true), np.maximum(exponent, info.minexp + 1) - 1 - info.nmant)
    return np.abs(got.astype(true.dtype) - true) / ulp


def spread(dtype, n):
    """Return arguments of all sizes: common, of the tails, and by their bits."""
    rng = np.random.default_rng(5)
    scale = 1 if dtype == np.float32 else 7
    x = [rng.uniform(-4, 4, n), rng.uniform(-110 * scale, 30 * scale, n), rng.uniform(-20, 20, n)]
    if dtype == np.float32:
        bits = rng.integers(0, 0x7F7FFFFF, n).astype(np.int32).view(np.float32)
        x.append(np.concatenate([bits, -bits]))
    else:
        x.append(np.exp(rng.uniform(-740, 5, n)) * rng.choice([-1, 1], n))
    return np.concatenate(x).astype(dtype)


@pytest.mark.parametrize("activation", SMOOTH)
def test_activate_float32_is_within_2_ulp(activation):
    special = pytest.importorskip("scipy.special")
    true = {
        "tanh": np.tanh,
        "sigmoid": special.expit,
        "gelu": lambda x: x * special.erfc(-x * np.sqrt(0.5)) / 2,
        "gelu_tanh": lambda x: x * special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
        "silu": lambda x: x * special.expit(x),
        "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        "exp": np.exp,
    }[activation]
    x = spread(np.float32, 250_000)
    with np.errstate(under="ignore", over="ignore"):
        assert (
            errors(pyfq.activate(x, activation), true(x.astype(np.float64)), np.float32).max() < 2
        )


@pytest.mark.parametrize("activation", SMOOTH)
def test_activate_float64_is_within_2_ulp(activation):
    mp = pytest.importorskip("mpmath", reason="needs the oracles extra")
    with mp.workprec(120):
        half, cubic = mp.sqrt(0.5), mp.mpf("0.044715")

        def normal(x):
            return mp.erfc(-x * half) / 2 if abs(x) < 100 else mp.mpf(x > 0)

        def logistic(x):
            return 1 / (1 + mp.exp(-x))

        true = {
            "tanh": mp.tanh,
            "sigmoid": logistic,
            "gelu": lambda x: x * (normal(x) if abs(x) > 1e-40 else mp.mpf(0.5)),
            "gelu_tanh": lambda x: x * logistic(mp.sqrt(8 / mp.pi) * (x + cubic * x**3)),
            "silu": lambda x: x * logistic(x),
            "softplus": lambda x: max(x, 0) + mp.log1p(mp.exp(-abs(x))),
            "elu": lambda x: x if x > 0 else mp.expm1(x),
            "exp": mp.exp,
        }[activation]
        x = spread(np.float64, 1000)
        for argument, value in zip(x.tolist(), pyfq.activate(x, activation).tolist(), strict=True):
            want = true(mp.mpf(argument))
            ulp = mp.mpf(2) ** max(mp.frexp(want)[1] - 53, -1074)
            assert abs(value - want) < 2 * ulp, argument


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activate_exp_is_within_1_ulp_from_denormals_to_the_largest(dtype):
    wide = np.float64 if dtype == np.float32 else np.longdouble
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("no wider floats")
    info, rng = np.finfo(dtype), np.random.default_rng(6)
    low, high = np.log(info.smallest_subnormal) - 1, np.log(info.max)
    normal = np.log(info.tiny)
    for least, most in ((low, high), (low, normal), (normal - 1, normal + 1), (high - 1, high)):
        x = rng.uniform(least, most, 200_000).astype(dtype)
        got = pyfq.activate(x, "exp")
        assert errors(got, np.exp(x.astype(wide)), dtype).max() < 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activate_exp_is_0_and_infinite_where_that_of_numpy_is(dtype):
    info = np.finfo(dtype)
    for end in (np.log(info.smallest_subnormal) - np.log(dtype(2)), np.log(info.max)):
        x = dtype(end) * (1 + np.arange(-500, 501, dtype=dtype) * info.eps)
        with np.errstate(over="ignore", under="ignore"):
            want = np.exp(x)
        got = pyfq.activate(x, "exp")
        is_end = np.isin(want, [0, np.inf])
        assert is_end.any() and not is_end.all()
        same(got[is_end], want[is_end], "ends")
        assert not np.isin(got[~is_end], [0, np.inf]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("size", "offset"), [(1, 0), (30, 0), (3, 1000), (3, -1000), (0.5, 1e30)])
def test_activate_softmax_is_within_its_bound(dtype, size, offset):
    x = (large(dtype, shape=(20, 300)) * size + offset).astype(dtype)
    power = np.exp(x.astype(np.longdouble) - x.max(axis=1, keepdims=True))
    true = power / power.sum(axis=1, keepdims=True)
    got = pyfq.activate(x, "softmax")
    bound = 4 if dtype == np.float32 else 15 + 300 / 112
    assert errors(got, true, dtype).max() < bound
    np.testing.assert_allclose(got.sum(axis=1, dtype=np.float64), 1, rtol=300 * np.finfo(dtype).eps)


@given(x=arguments())
def test_activate_keeps_symmetries(x):
    x = np.where(np.isfinite(x), x, 1).astype(x.dtype)
    with np.errstate(over="ignore"):
        eps = 4 * np.finfo(x.dtype).eps * np.maximum(np.abs(x), 1)
    up, down = ({a: pyfq.activate(y, a) for a in SMOOTH} for y in (x, np.asarray(-x)))
    same(up["tanh"], -down["tanh"], "odd")
    assert (np.abs(up["sigmoid"] + down["sigmoid"] - 1) <= eps).all()
    for activation in ("gelu", "gelu_tanh", "silu", "softplus"):
        assert (np.abs(up[activation] - down[activation] - x) <= eps).all(), activation


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activate_has_limits(dtype):
    inf, nan = np.inf, np.nan
    x = np.array([-inf, -np.finfo(dtype).max, np.finfo(dtype).max, inf, nan], dtype)
    limits = {
        "relu": [0, 0, x[2], inf, nan],
        "leaky_relu": [-inf, dtype(0.01) * x[1], x[2], inf, nan],
        "tanh": [-1, -1, 1, 1, nan],
        "sigmoid": [0, 0, 1, 1, nan],
        "elu": [-1, -1, x[2], inf, nan],
        "clipped_relu": [0, 0, 6, 6, nan],
        "exp": [0, 0, inf, inf, nan],
    }
    for activation in ("gelu", "gelu_tanh", "silu", "softplus"):
        limits[activation] = [0, 0, x[2], inf, nan]
    for activation, want in limits.items():
        same(pyfq.activate(x, activation), np.array(want, dtype), activation)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activate_softmax_has_limits(dtype):
    inf, nan = np.inf, np.nan
    most = np.finfo(dtype).max
    rows = [[0, 0, -inf], [-most, -most, -most], [most, -most, 0], [inf, 0, 0], [nan, 0, 0]]
    want = [[0.5, 0.5, 0], [1 / 3] * 3, [1, 0, 0], [nan] * 3, [nan] * 3, [nan] * 3]
    x = np.array([*rows, [-inf] * 3], dtype)
    same(pyfq.activate(x, "softmax"), np.array(want, dtype), "limits")
    same(pyfq.activate(np.array(3, dtype), "softmax"), np.array(1, dtype), "no axis")


@pytest.mark.parametrize(
    ("activation", "x", "want"),
    [  # onnx/backend/test/case/node, and tables of the normal distribution
        (("leaky_relu", 0.1), [-1, 0, 1], [-0.1, 0, 1]),
        ("sigmoid", [-1, 0, 1], [0.26894143, 0.5, 0.7310586]),
        ("tanh", [-1, 0, 1], [-0.7615942, 0, 0.7615942]),
        ("softplus", [-1, 0, 1], [0.31326166, 0.6931472, 1.3132616]),
        ("softmax", [-1, 0, 1], [0.09003058, 0.24472848, 0.66524094]),
        ("softmax", [10000, 10001, 10002, 10003], [0.0320586, 0.0871443, 0.2368828, 0.6439143]),
        ("gelu", [-1, 0, 1], [-0.15865526, 0, 0.8413447]),
        ("gelu", [-3, -2, 2], [-0.00404969, -0.04550026, 1.9544997]),
        ("gelu_tanh", [-1, 0, 1], [-0.15880796, 0, 0.841192]),
        ("silu", [-1, 0, 1], [-0.26894143, 0, 0.7310586]),
        ("elu", [-1, 0, 1], [-0.63212056, 0, 1]),
        (("elu", 2.0), [-1, 0, 1], [-1.2642411, 0, 1]),
        ("exp", [-1, 0, 1], [0.36787945, 1, 2.7182817]),
        ("clipped_relu", [-1, 2, 7], [0, 2, 6]),
        (("clipped_relu", 1.0), [-1, 0.5, 7], [0, 0.5, 1]),
    ],
)
def test_activate_published_values(activation, x, want):
    got = pyfq.activate(np.array(x, np.float32), activation)
    np.testing.assert_allclose(got, np.array(want), rtol=2e-6)


@pytest.mark.parametrize(
    "activation", ["relu", ("leaky_relu", 0.2), *SMOOTH, ("elu", 0.4), "clipped_relu", "softmax"]
)
def test_activate_is_that_of_torch(activation):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    f = torch.nn.functional
    x = large(np.float64, shape=(37, 129)) * 4
    true = {
        "relu": f.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "gelu": f.gelu,
        "gelu_tanh": lambda t: f.gelu(t, approximate="tanh"),
        "silu": f.silu,
        "softplus": f.softplus,
        "elu": f.elu,
        "exp": torch.exp,
        ("elu", 0.4): lambda t: f.elu(t, 0.4),
        "clipped_relu": f.relu6,
        "softmax": lambda t: f.softmax(t, dim=-1),
    }.get(activation, lambda t: f.leaky_relu(t, 0.2))
    want = true(torch.from_numpy(x)).numpy()
    # Its softplus is x above 20, and its gelu has no tail.
    np.testing.assert_allclose(pyfq.activate(x, activation), want, rtol=3e-9, atol=1e-15)


def test_as_activation_returns_code_and_slope():
    assert as_activation(None) == (0, 0.0)
    assert as_activation("relu") == (1, 0.0)
    assert as_activation("leaky_relu") == (2, 0.01)
    assert as_activation(("leaky_relu", 0.25)) == (2, 0.25)
    assert as_activation("clipped_relu") == (3, 6.0)
    assert as_activation("elu") == (10, 1.0)
    assert as_activation("exp") == (11, 0.0)
    assert as_activation("softmax") == (12, 0.0)


@pytest.mark.parametrize(
    "word", ["swish", "", 1, ("relu", 0.1), ("leaky_relu",), ["gelu"], b"gelu"]
)
def test_activate_refuses_unknown_functions(word):
    with pytest.raises(ValueError, match=r"activation must be None, one of 'relu', .*, not "):
        pyfq.activate(np.ones(3), word)


def test_activate_refuses_slopes():
    with pytest.raises(TypeError, match="slope of activation must be a number, not str"):
        pyfq.activate(np.ones(3), ("leaky_relu", "0.1"))
    with pytest.raises(ValueError, match=r"slope of activation must be -3.40282e\+38 .* not nan"):
        pyfq.activate(np.ones(3), ("leaky_relu", float("nan")))
    with pytest.raises(TypeError, match="alpha of activation must be a number, not NoneType"):
        pyfq.activate(np.ones(3), ("elu", None))
    with pytest.raises(ValueError, match=r"ceiling of activation must be 0 \.\.\. .*, not -1\.0"):
        pyfq.activate(np.ones(3), ("clipped_relu", -1.0))


def test_activate_refuses_arrays():
    x = np.ones((3, 4))
    with pytest.raises(TypeError, match="x must be float32 or float64, not int64"):
        pyfq.activate(np.arange(3), "relu")
    with pytest.raises(ValueError, match="x must be C-contiguous"):
        pyfq.activate(x.T, "relu")
    with pytest.raises(ValueError, match="out must not overlap an input"):
        pyfq.activate(x, "relu", out=x)
    with pytest.raises(ValueError, match=r"out must have shape \(3, 4\), not \(4, 3\)"):
        pyfq.activate(x, "relu", out=np.ones((4, 3)))


@pytest.mark.parametrize(
    "activation",
    [None, *ACTIVATIONS[:-1], ("leaky_relu", 0.3), ("elu", 0.3), ("clipped_relu", 2.0)],
    ids=str,
)
def test_derivatives_are_those_of_differences_and_of_the_reference(activation):
    x = np.concatenate([np.random.default_rng(0).uniform(-6, 6, 200), [1e-300, -1e-300]])
    got = derivative_of(x, pyfq.activate(x, activation), activation)
    step = 1e-6
    apart = pyfq.activate(x + step, activation) - pyfq.activate(x - step, activation)
    np.testing.assert_allclose(got[:-2], apart[:-2] / (2 * step), rtol=1e-6, atol=1e-9)
    same(got, derivative(x, reference.activate(x, activation), activation), str(activation))
