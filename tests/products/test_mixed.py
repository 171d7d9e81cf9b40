"""Topic `mixed`: 2-byte weights against float32 ones, sums in float64 against exact ones."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import everywhere, same

import pyfq
from pyfq import Dense, Half, Network, linear, matmul, prepare, reference, to_half

FORMATS = ("bfloat16", "float16")
# Rows and extents: of one row, of tiles, of blocks; odd steps, steps of several blocks.
SHAPES = [
    (1, 1, 1), (1, 513, 70), (2, 1025, 130), (3, 31, 4), (4, 100, 33), (5, 600, 257),
    (8, 512, 64), (9, 511, 64), (12, 77, 100), (13, 1537, 100), (64, 300, 500),
]  # fmt: skip
extents = st.integers(1, 40)


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def spread(shape, seed=0):
    """Return values of many magnitudes below 128, zeros among them; denormals of float16."""
    w = normal(shape, seed) * 10.0 ** np.random.default_rng(seed).integers(-9, 2, shape)
    w = np.clip(w, -127, 127).astype(np.float32)
    w.reshape(-1)[::5] = 0
    return w


def bound(x, w, bias=None):
    """Return the exact results, and how far sums in float64 may be from them."""
    k = x.shape[-1]
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    size = np.abs(x).astype(np.float64) @ np.abs(w).astype(np.float64).T
    if bias is not None:
        exact, size = exact + bias, size + np.abs(bias)
    # `exact` is itself a sum in float64.
    return exact, 2.0**-24 * np.abs(exact) + 2 * (k + 1) * 2.0**-52 * size + 2.0**-149


@pytest.mark.parametrize("format", FORMATS)
def test_every_finite_value_is_multiplied_exactly(format):
    bits = np.arange(2**16, dtype=np.uint16)
    bits = bits[np.isfinite(reference.cast_from(bits, format))].reshape(-1, 32)
    few = Half(np.ascontiguousarray(bits[:, :1]), format)
    small = np.abs(few.dequantize()) < 128  # which are not panels of floats
    for kept in (bits, np.ascontiguousarray(bits[small[:, 0]])):
        w = Half(kept, format)
        for where in everywhere():
            p = prepare(w)
            for m in (32, 4):  # widened in blocks, and in registers
                x = np.eye(m, 32, dtype=np.float32)
                want = w.dequantize().T[:m]
                same(linear(x, p), np.ascontiguousarray(want), f"{where}, {m} rows")
            same(linear(x, p, accumulation="float64"), np.ascontiguousarray(want), where)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_linear_half_is_linear_of_the_float32_weights(format, m, k, n):
    x, h, bias = normal((m, k)), to_half(spread((n, k)), format), normal(n)
    w = h.dequantize()
    options = {"activation": "softmax" if m == 5 else "gelu"}
    for where in everywhere():
        want = linear(x, prepare(w), bias, **options)
        same(linear(x, prepare(h), bias, **options), want, where)
        same(linear(x, h, bias, **options), linear(x, w, bias, **options), where)
        p = prepare(h)
        assert p.nbytes <= (n + 16) * (k + 1) * 2 or n <= 3
        same(linear(x[:1].copy(), p, bias), linear(x, p, bias)[:1], where)


def test_values_from_128_on_are_panels_of_floats():
    w = spread((40, 30))
    w[3, 5] = 60000
    h = to_half(w, "float16")
    x = normal((4, 30))
    assert prepare(h).nbytes >= 40 * 30 * 4
    same(linear(x, prepare(h)), linear(x, prepare(h.dequantize())), "")
    w[3, 5] = 127.9
    assert prepare(to_half(w, "float16")).nbytes < 40 * 30 * 4


@given(m=extents, k=st.integers(0, 40), n=extents, format=st.sampled_from(FORMATS))
def test_small_and_empty_shapes(m, k, n, format):
    x, h = normal((m, k)), to_half(spread((n, k)), format)
    y = linear(x, prepare(h), normal(n), activation="relu")
    same(y, linear(x, prepare(h.dequantize()), normal(n), activation="relu"), "")
    exact, most = bound(x, h.dequantize())
    for w in (h, prepare(h)):
        assert (np.abs(linear(x, w, accumulation="float64") - exact) <= most).all()


def test_to_half_rounds_as_torch():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    w = spread((50, 41))
    for format in FORMATS:
        there = torch.from_numpy(w).to(getattr(torch, format))
        same(to_half(w, format).bits, there.view(torch.int16).numpy().view(np.uint16), format)
        same(Half(to_half(w, format).bits, format).dequantize(), there.float().numpy(), format)
        same(to_half(w, format).bits, reference.to_half(w, format), format)


def test_half_knows_its_size_and_error():
    w = normal((6, 10))
    h = to_half(w)
    assert (h.shape, h.size, h.nbytes, h.bits_per_weight) == ((6, 10), 60, 120, 16)
    assert h.dtype == np.float32
    assert h.error(w).max_abs == np.abs(h.dequantize() - w).max()
    assert h.error(w).max_abs <= 2.0**-9 * np.abs(w).max()
    out = np.empty_like(w)
    assert h.dequantize(out=out) is out
    again = Half(w.astype(np.float16).view(np.uint16), "float16")
    same(again.dequantize(), w.astype(np.float16).astype(np.float32), "")


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_sums_in_float64_are_within_their_bound(m, k, n):
    x, w, bias = normal((m, k)), normal((n, k), 1), normal(n, 2)
    exact, most = bound(x, w, bias)
    plain, plain_most = bound(x, w)
    half = to_half(w, "float16")
    of_half, half_most = bound(x, half.dequantize(), bias)
    columns = np.ascontiguousarray(w.T)
    for where in everywhere():
        wide = {"accumulation": "float64"}
        for weights in (w, prepare(w)):
            y = linear(x, weights, bias, **wide)
            assert (np.abs(y - exact) <= most).all(), where
            relu = linear(x, weights, bias, activation="relu", **wide)
            same(relu, np.maximum(y, 0), where)
        for weights in (half, prepare(half)):
            assert (np.abs(linear(x, weights, bias, **wide) - of_half) <= half_most).all(), where
        for y in (
            matmul(x, columns, **wide),
            matmul(np.ascontiguousarray(x.T), columns, transpose_a=True, **wide),
            matmul(np.ascontiguousarray(x.T), w, transpose_a=True, transpose_b=True, **wide),
        ):
            assert (np.abs(y - plain) <= plain_most).all(), where
    want = reference.linear_half(x, half.bits, "float16", bias, activation="softmax")
    got = linear(x, prepare(half), bias, activation="softmax", accumulation="float64")
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-9)


def test_sums_in_float64_do_not_depend_on_threads():
    x, w = normal((70, 900)), normal((300, 900), 1)
    first = {}
    for where in everywhere():
        for i, weights in enumerate((w, prepare(w), prepare(to_half(w)))):
            y = linear(x, weights, accumulation="float64")
            isa = where.split(",")[0]
            same(y, first.setdefault((isa, i), y), where)


def test_sums_in_float64_keep_what_float32_loses():
    """A sum that cancels, as a fraction, and the same rounded once."""
    x = np.array([[2.0**30, 1.0, 2.0**-20, -(2.0**30)]], np.float32)
    w = np.ones((5, 4), np.float32)
    exact = sum(map(Fraction, map(float, x[0])))
    for weights in (w, prepare(w), prepare(to_half(w))):
        assert (linear(x, weights, accumulation="float64") == np.float32(exact)).all()
        assert (linear(x, weights) != np.float32(exact)).all()
    wide = x.astype(np.float64)
    same(linear(wide, w.astype(np.float64), accumulation="float64"), wide @ w.T.astype("f8"), "")
    stack = np.stack([x, 2 * x]).reshape(2, 1, 4)
    y = matmul(stack, w, transpose_b=True, accumulation="float64")
    same(y[0], np.full((1, 5), exact, np.float32), "")


@pytest.mark.parametrize("samples", [1, 5, 40, 300])
def test_networks_of_half_weights(samples):
    network = Network.create((37, 70, 45, 3), activation="tanh", seed=2)
    network = replace(network, input_mean=normal(37), input_scale=np.full(37, 2, np.float32))
    x = normal((samples, 37))
    for format in FORMATS:
        half = network.map_weights(lambda w, format=format: to_half(w, format))
        floats = half.map_weights(lambda w: w)
        assert half.nbytes == 2 * (37 * 70 + 70 * 45 + 45 * 3) + 4 * (70 + 45 + 3)
        assert half.size == network.size
        for where in everywhere():
            same(half.forward(x), floats.forward(x), where)
        near = reference.forward_network(x, half)
        np.testing.assert_allclose(half.forward(x), near, rtol=1e-4, atol=1e-5)
        same(half.parameters["layers.1.weight"], floats.layers[1].weights, "")
    mixed = half.with_parameters({"layers.1.weight": pyfq.quantize(half.layers[1].toarray(), 8)})
    mixed = replace(mixed, activation_bits=8)
    near = reference.forward_network(x, mixed)
    np.testing.assert_allclose(mixed.forward(x), near, rtol=1e-3, atol=1e-3)


def test_files_keep_half_weights(tmp_path):
    path = tmp_path / "n.safetensors"
    network = Network.create((20, 10, 5, 4))
    layers = [
        Dense(to_half(network.layers[0].weights), network.layers[0].bias, "relu"),
        Dense(to_half(network.layers[1].weights, "float16"), network.layers[1].bias, "relu"),
        network.layers[2],
    ]
    network = Network(layers)
    pyfq.save_network(network, path)
    with pyfq.io.open_checkpoint(path) as file:
        words = [file.dtypes[f"layers.{i}.weight"] for i in range(3)]
    assert words == ["BF16", "F16", "F32"]
    again = pyfq.load_network(path)
    for layer, loaded in zip(network.layers[:2], again.layers[:2], strict=True):
        assert loaded.weights.format == layer.weights.format
        same(loaded.weights.bits, layer.weights.bits, "file")
    x = normal((7, 20))
    same(again.forward(x), network.forward(x), "file")
    assert pyfq.evaluate(again, x, network.forward(x)).r2 == 1
    assert again.nbytes == network.nbytes


def test_fastest_takes_half_weights():
    w = to_half(normal((64, 64)))
    found = pyfq.fastest(w, batch=2)
    assert sorted(found.seconds) == ["half", "prepared"]
    x = normal((2, 64))
    np.testing.assert_allclose(linear(x, found.weights), linear(x, w), rtol=1e-3, atol=1e-4)


W = np.ones((2, 8), np.float32)
X = np.ones((3, 8), np.float32)


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (TypeError, "w must be float32, not float64", lambda: to_half(W.astype("f8"))),
        (ValueError, "format must be one of 'bfloat16', 'float16'", lambda: to_half(W, "half")),
        (
            ValueError,
            r"w must be -65504 \.\.\. 65504 for float16",
            lambda: to_half(W * 65520, "float16"),
        ),
        (ValueError, r"w must be finite, but w\[0, 0\] is nan", lambda: to_half(W * np.nan)),
        (ValueError, r"w must be finite, but w\[0, 0\] is inf", lambda: to_half(W * np.inf)),
        (TypeError, "bits must be uint16", lambda: Half(W, "float16")),
        (
            ValueError,
            r"bits must be finite, but bits\[0\] is inf",
            lambda: Half(np.array([0x7F80], np.uint16), "bfloat16"),
        ),
        (
            ValueError,
            r"bits must be finite, but bits\[0\] is nan",
            lambda: Half(np.array([0xFC01], np.uint16), "float16"),
        ),
        (TypeError, "x must be float32, not float64", lambda: linear(X.astype("f8"), to_half(W))),
        (
            ValueError,
            "activation_bits=8 needs quantized weights, not Half",
            lambda: linear(X, to_half(W), activation_bits=8),
        ),
        (
            ValueError,
            "accumulation must be None or 'float64', not 'float32'",
            lambda: linear(X, W, accumulation="float32"),
        ),
        (
            ValueError,
            "accumulation must be None or 'float64'",
            lambda: matmul(X, W.T.copy(), accumulation=np.float64),
        ),
        (
            ValueError,
            "needs weights that are an array or Half, not Quantized",
            lambda: linear(X, pyfq.quantize(W), accumulation="float64"),
        ),
        (
            ValueError,
            "needs weights that are an array or Half, not prepared codes",
            lambda: linear(
                X, prepare(pyfq.quantize(np.ones((9, 8), "f4"))), accumulation="float64"
            ),
        ),
        (ValueError, "w must have 2 axes", lambda: linear(X, to_half(W[0]))),
        (
            TypeError,
            r"layers\[1\] must be float64, not float32",
            lambda: Network([Dense(np.ones((8, 2))), Dense(to_half(np.ones((2, 8), "f4")))]),
        ),
    ],
)
def test_refusals(error, match, make):
    with pytest.raises(error, match=match):
        make()
