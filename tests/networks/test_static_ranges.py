"""Networks whose layers have fixed scales of inputs: equal to the reference and to ONNX Runtime."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_session import exact_session
from variants import dtypes, everywhere, same

import pyfq
from pyfq import Dense, Network, Observer, PerGroup, PerTensor, reference
from pyfq.arrays.activation import ACTIVATIONS

SCHEMES = ("affine", "symmetric")
WEIGHTS = {
    "8 bits": lambda w: pyfq.quantize(w, 8),
    "8 bits per tensor": lambda w: pyfq.quantize(w, 8, granularity=PerTensor()),
    "8 bits affine": lambda w: pyfq.quantize(w, 8, scheme="affine"),
    "4 bits": lambda w: pyfq.quantize(w, 4),
    "3 bits affine per tensor": lambda w: pyfq.quantize(
        w, 3, scheme="affine", granularity=PerTensor()
    ),
    "rate": lambda w: pyfq.quantize_rate(w, step=max(float(np.abs(w).max()), 0.01) / 90),
    "1 bit": lambda w: pyfq.quantize(w, 1, range="full", scale="signed_max"),
}


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def network(dtype, sizes=(21, 37, 130, 5), form="8 bits", activation="relu", **options):
    """Return a network of codes with biases that are not 0."""
    made = Network.create(sizes, activation=activation, dtype=dtype, **options)
    if activation == "exp":  # which overflows where layers of it have large weights
        made = made.map_weights(lambda w: w / 8)
    biases = {f"layers.{i}.bias": random(dtype, n) for i, n in enumerate(sizes[1:])}
    return made.with_parameters(biases).map_weights(WEIGHTS[form])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", WEIGHTS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_forward_equals_reference(dtype, form, scheme):
    x = random(dtype, 500, 21)
    made = network(dtype, form=form).calibrate(x[:100], scheme=scheme)
    want = reference.forward_network(x, made)
    for where in everywhere():
        for batch in (1, 2, 3, 4, 7, 25, 500):
            same(made.forward(x[:batch]), want[:batch], f"{where}, {batch} samples")


def test_forward_of_layers_worth_a_team_equals_reference():
    x = random(np.float32, 30, 600)
    made = network(np.float32, (600, 1025, 1100, 3)).calibrate(x)
    want = reference.forward_network(x, made)
    for where in everywhere():
        for batch in (1, 6, 30):
            same(made.forward(x[:batch]), want[:batch], f"{where}, {batch} samples")


@given(
    dtype=dtypes,
    sizes=st.lists(st.integers(1, 20), min_size=2, max_size=4),
    batch=st.integers(1, 30),
    form=st.sampled_from([*WEIGHTS]),
    scheme=st.sampled_from(SCHEMES),
    activation=st.sampled_from([*ACTIVATIONS[:-1], ("leaky_relu", 0.3), None]),
    last=st.sampled_from([*ACTIVATIONS, None]),
    biased=st.booleans(),
    scaled=st.booleans(),
    wide=st.floats(0.1, 10),
)
def test_forward_of_any_network_equals_reference(
    dtype, sizes, batch, form, scheme, activation, last, biased, scaled, wide
):
    made = network(dtype, sizes, form, activation, output_activation=last)
    if not biased:
        made = replace(made, layers=[replace(layer, bias=None) for layer in made.layers])
    if scaled:
        made = replace(
            made,
            input_mean=random(dtype, sizes[0]),
            input_scale=np.full(sizes[0], 3, dtype),
            output_mean=random(dtype, sizes[-1]),
            output_scale=np.full(sizes[-1], 0.3, dtype),
        )
    x = random(dtype, batch, sizes[0])
    made = made.calibrate(x, scheme=scheme)
    x *= dtype(wide)  # beyond the range too
    same(made.forward(x), reference.forward_network(x, made), "")


def test_codes_are_those_of_quantize():
    x = random(np.float32, 40, 21)
    made = network(np.float32)
    for scheme in SCHEMES:
        layer = made.calibrate(x, scheme=scheme).layers[0]
        scale, zero_point = Observer().update(x).scale(8, scheme)
        assert (layer.x_scale, layer.x_zero_point) == (scale, zero_point)
        q = pyfq.quantize(
            2 * x,
            8,
            scheme=scheme,
            granularity=PerTensor(),
            scale=scale,
            zero_point=zero_point,
            range="full",
        )
        alone = Network([replace(layer, activation=None)], activation_bits=8)
        w = layer.weights
        sums = pyfq.matmul_integer(
            q.codes, np.ascontiguousarray(w.codes.T), 0 if zero_point is None else int(zero_point)
        )
        steps = layer.x_scale * w.scale.reshape(-1)
        same(alone.forward(2 * x), sums.astype(np.float32) * steps + layer.bias, scheme)


@pytest.mark.parametrize("form", WEIGHTS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_onnxruntime_gives_the_same_bits(tmp_path, form, scheme):
    pytest.importorskip("onnx")
    x = random(np.float32, 200, 21)
    made = network(np.float32, form=form).calibrate(x[:50], scheme=scheme)
    pyfq.to_onnx(made, tmp_path / "model.onnx")
    (want,) = exact_session(tmp_path / "model.onnx").run(None, {"x": x})
    same(made.forward(x), want, "")


def test_onnxruntime_agrees_with_means_and_other_activations(tmp_path):
    pytest.importorskip("onnx")
    x = random(np.float32, 200, 21)
    ends = {"input_mean": x[0], "input_scale": np.full(21, 2, np.float32)}
    ends |= {"output_mean": x[0, :5].copy(), "output_scale": np.full(5, 3, np.float32)}
    made = replace(network(np.float32, activation="tanh"), **ends).calibrate(x)
    pyfq.to_onnx(made, tmp_path / "model.onnx")
    (want,) = exact_session(tmp_path / "model.onnx").run(None, {"x": x})
    # A code of a hidden layer may be another where the tanh of one rounds otherwise.
    assert (np.abs(made.forward(x) - want) <= 1e-5).mean() > 0.9
    np.testing.assert_allclose(made.forward(x), want, atol=0.05)


def test_outputs_are_near_those_of_floats():
    x = random(np.float32, 1000, 21)
    plain = Network.create((21, 64, 64, 5))
    y = plain.forward(x)
    for scheme in SCHEMES:
        made = plain.map_weights(WEIGHTS["8 bits"]).calibrate(x, scheme=scheme)
        assert np.sqrt(np.mean((made.forward(x) - y) ** 2)) < 0.04 * y.std()


def test_ranges_are_those_of_observers_of_each_layer():
    x = random(np.float32, 300, 21)
    made = network(np.float32)
    inputs = [x]
    for layer in made.layers[:-1]:
        prepared = pyfq.prepare(layer.weights)
        inputs.append(pyfq.linear(inputs[-1], prepared, layer.bias, activation=layer.activation))
    for method, options in (
        ("minmax", {}),
        ("ema", {"momentum": 0.5}),
        ("percentile", {"percentile": 99.0}),
        ("entropy", {"bins": 1024}),
        ("mse", {}),
        ("aciq", {}),
    ):
        found = made.calibrate(x, method=method, **options)
        for layer, seen in zip(found.layers, inputs, strict=True):
            scale, zero_point = Observer(method, **options).update(seen).scale(8, "affine")
            assert (layer.x_scale, layer.x_zero_point) == (scale, zero_point), method


def test_batches_give_what_one_array_does():
    x = random(np.float32, 300, 21)
    made = network(np.float32)
    whole = made.calibrate(x, method="mse")
    parts = made.calibrate((x[i : i + 70] for i in range(0, 300, 70)), method="mse")
    again = whole.calibrate([x, np.empty((0, 21), np.float32)], method="mse")
    for other in (parts, again):
        for a, b in zip(whole.layers, other.layers, strict=True):
            assert (a.x_scale, a.x_zero_point) == (b.x_scale, b.x_zero_point)


def test_calibrated_networks_are_saved_pickled_and_changed(tmp_path):
    x = random(np.float32, 50, 21)
    for scheme in SCHEMES:
        made = network(np.float32).calibrate(x, scheme=scheme)
        y = made.forward(x)
        pyfq.save_network(made, tmp_path / "network.safetensors")
        for again in (
            pyfq.load_network(tmp_path / "network.safetensors"),
            pickle.loads(pickle.dumps(made)),
            made.with_parameters({}),
        ):
            same(again.forward(x), y, scheme)
            assert [a.x_zero_point for a in again.layers] == [a.x_zero_point for a in made.layers]
    bias = made.layers[2].bias + 1
    moved = made.with_parameters({"layers.2.bias": bias}).forward(x)
    np.testing.assert_allclose(moved, y + 1, rtol=1e-5, atol=1e-5)
    fewer = made.map_weights(lambda w: pyfq.quantize(w, 4))
    assert fewer.layers[1].x_scale == made.layers[1].x_scale
    dynamic = replace(
        made, layers=[replace(a, x_scale=None, x_zero_point=None) for a in made.layers]
    )
    same(dynamic.forward(x), replace(network(np.float32), activation_bits=8).forward(x), "")


def test_evaluate_and_distill_take_calibrated_networks():
    x = random(np.float32, 200, 21)
    labels = np.arange(200) % 5
    made = network(np.float32, output_activation="softmax").calibrate(x)
    figures = pyfq.evaluate(made, x, labels)
    assert figures.accuracy == np.mean(made.forward(x).argmax(axis=1) == labels)
    student = Network.create((21, 8, 5))
    assert len(pyfq.distill(made, student, x, epochs=1).epochs) == 1
    with pytest.raises(TypeError, match="must not be calibrated to be trained"):
        pyfq.train(made, x, labels, epochs=1)


CODES = pyfq.quantize(random(np.float32, 4, 6), 8)
FIXED = Dense(CODES, x_scale=0.1)
X = random(np.float32, 9, 6)
HUGE = Dense(pyfq.quantize(np.full((1, 1), 1e30, np.float32)))


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (
            ValueError,
            r"layers\[0\]: weights must be Quantized, .* not ndarray",
            lambda: Network([Dense(X)]).calibrate(X),
        ),
        (
            ValueError,
            "weights must be Quantized, .* not of 9 bits",
            lambda: Dense(pyfq.quantize(X, 9), x_scale=1.0),
        ),
        (
            ValueError,
            "not of 4 bits and with minima",
            lambda: Dense(pyfq.quantize(X, 4, scheme="minmax"), x_scale=1.0),
        ),
        (
            ValueError,
            r"one scale for all or one a row for x_scale, not PerGroup\(size=2\)",
            lambda: Dense(pyfq.quantize(X, granularity=PerGroup(2)), x_scale=1.0),
        ),
        (
            ValueError,
            "at most 33025 columns for x_scale, not 33026",
            lambda: Dense(pyfq.quantize(np.ones((1, 33026), "f4")), x_scale=1.0),
        ),
        (ValueError, "x_scale must be positive", lambda: Dense(CODES, x_scale=0.0)),
        (ValueError, "x_scale must be positive", lambda: Dense(CODES, x_scale=1e-60)),
        (ValueError, "x_scale must be positive", lambda: Dense(CODES, x_scale=1e33)),
        (ValueError, "x_scale must be 0 ... ", lambda: Dense(CODES, x_scale=-1.0)),
        (TypeError, "x_scale must be a number", lambda: Dense(CODES, x_scale="1")),
        (ValueError, "x_zero_point needs x_scale", lambda: Dense(CODES, x_zero_point=1)),
        (
            ValueError,
            r"x_zero_point must be 0 \.\.\. 255, not 256",
            lambda: Dense(CODES, x_scale=1.0, x_zero_point=256),
        ),
        (
            ValueError,
            r"all have x_scale or none, but layers\[1\] has none",
            lambda: Network([FIXED, Dense(np.ones((1, 4), "f4"))], activation_bits=8),
        ),
        (ValueError, "activation_bits must be 8 for layers with x_scale", lambda: Network([FIXED])),
        (
            ValueError,
            "weights must be Quantized",
            lambda: Network([FIXED], activation_bits=8).with_parameters(
                {"layers.0.weight": CODES.dequantize()}
            ),
        ),
        (
            ValueError,
            "x must hold at least one sample",
            lambda: Network([FIXED], activation_bits=8).calibrate([]),
        ),
        (
            TypeError,
            "x must be an array or an iterable of arrays, not int",
            lambda: Network([FIXED], activation_bits=8).calibrate(3),
        ),
        (
            TypeError,
            r"x\[1\] must be numbers, not complex64",
            lambda: Network([FIXED], activation_bits=8).calibrate([X, X.astype("c8")]),
        ),
        (
            ValueError,
            r"x must have shape \(samples, 6\), not \(6,\)",
            lambda: Network([FIXED], activation_bits=8).calibrate(X[0]),
        ),
        (
            ValueError,
            r"x\[1\] must be finite, but x\[1\]\[0, 0\] is",
            lambda: Network([FIXED], activation_bits=8).calibrate([X, X * np.float32(np.inf)]),
        ),
        (
            ValueError,
            r"what enters layers\[1\] must be finite",
            lambda: Network([HUGE, HUGE]).calibrate(np.full((2, 1), 1e30, np.float32)),
        ),
        (
            ValueError,
            r"x_scale must be positive, and 2\*\*31",
            lambda: Network([HUGE]).calibrate(np.full((2, 1), 1e5, np.float32)),
        ),
        (
            ValueError,
            r"x must be finite, but x\[1, 2\] is nan",
            lambda: Network([FIXED], activation_bits=8).forward(
                np.where(np.arange(18).reshape(3, 6) == 8, np.float32(np.nan), X[:3])
            ),
        ),
        (
            ValueError,
            "scheme must be one of",
            lambda: Network([FIXED], activation_bits=8).calibrate(X, scheme="minmax"),
        ),
        (
            ValueError,
            "method must be one of",
            lambda: Network([FIXED], activation_bits=8).calibrate(X, method="max"),
        ),
    ],
)
def test_what_does_not_fit_is_refused(error, match, make):
    with pytest.raises(error, match=match):
        make()


def test_onnx_refuses_float64(tmp_path):
    pytest.importorskip("onnx")
    x = random(np.float64, 9, 21)
    with pytest.raises(ValueError, match="must be float32 for ONNX"):
        pyfq.to_onnx(network(np.float64).calibrate(x), tmp_path / "model.onnx")
