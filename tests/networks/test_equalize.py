"""`equalize` and `correct_bias` against plain NumPy and torch, and what they are for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyfq
from pyfq import Dense, Network, PerRow, PerTensor

PER_TENSOR = PerTensor()
HOMOGENEOUS = ["relu", "leaky_relu", ("leaky_relu", 0.3), None]


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def scaled_badly(sizes=(20, 60, 40, 5), activation="relu", dtype=np.float64, spread=2.0):
    """Return a network whose neurons are of very different size, and its inputs."""
    generator = np.random.default_rng(3)
    network = Network.create(sizes, activation=activation, dtype=np.float64, seed=3)
    layers, before = [], np.ones(sizes[0])
    for i, layer in enumerate(network.layers):
        n = layer.shape[0]
        last = i == len(network.layers) - 1
        after = np.ones(n) if last else 10 ** generator.uniform(-spread, spread, n)
        weights = layer.weights / before * after[:, None]
        bias = 0.1 * generator.standard_normal(n) * after
        layers.append(Dense(weights.astype(dtype), bias.astype(dtype), layer.activation))
        before = after
    return Network(layers), generator.standard_normal((400, sizes[0])).astype(dtype)


def equalized_by_hand(weights, biases):
    """Return what Nagel et al. do, pair after pair, entry by entry."""
    weights, biases = [w.copy() for w in weights], [b.copy() for b in biases]
    for _ in range(300):
        for i in range(len(weights) - 1):
            for j in range(len(weights[i])):
                r1, r2 = np.abs(weights[i][j]).max(), np.abs(weights[i + 1][:, j]).max()
                if r1 and r2:
                    s = np.sqrt(r1 * r2) / r2
                    weights[i][j] /= s
                    biases[i][j] /= s
                    weights[i + 1][:, j] *= s
    return weights, biases


def rmse(network, x, y):
    return np.sqrt(np.mean((network.forward(x) - y) ** 2))


def in_bits(network, bits, granularity=PER_TENSOR):
    return network.map_weights(lambda w: pyfq.quantize(w, bits, granularity=granularity))


@pytest.mark.parametrize("activation", HOMOGENEOUS)
def test_equalize_is_that_of_the_paper(activation):
    network, _ = scaled_badly((7, 9, 8, 3), activation)
    want = equalized_by_hand(
        [layer.weights for layer in network.layers], [layer.bias for layer in network.layers]
    )
    equal = pyfq.equalize(network, tolerance=0, max_iterations=300)
    for layer, w, b in zip(equal.layers, *want, strict=True):
        np.testing.assert_allclose(layer.weights, w, rtol=1e-9)
        np.testing.assert_allclose(layer.bias, b, rtol=1e-9)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=3, max_size=6),
    activation=st.sampled_from(HOMOGENEOUS),
    dead=st.booleans(),
    power_of_two=st.booleans(),
    seed=st.integers(0, 100),
)
def test_equalize_keeps_the_function(sizes, activation, dead, power_of_two, seed):
    network = Network.create(sizes, activation=activation, dtype=np.float64, seed=seed)
    network = network.with_parameters(
        {f"layers.{i}.bias": random(n, seed=seed) for i, n in enumerate(sizes[1:])}
    )
    if dead:
        rows, cols = (layer.weights.copy() for layer in network.layers[:2])
        rows[0], cols[:, -1] = 0, 0
        network = network.with_parameters({"layers.0.weight": rows, "layers.1.weight": cols})
    equal = pyfq.equalize(network, power_of_two=power_of_two)
    x = random(30, sizes[0], seed=seed)
    y = network.forward(x)
    if power_of_two:
        assert np.array_equal(equal.forward(x), y)
    np.testing.assert_allclose(equal.forward(x), y, rtol=0, atol=1e-12 * max(1, np.abs(y).max()))
    for before, after in zip(equal.layers[:-1], equal.layers[1:], strict=True):
        rows, cols = np.abs(before.weights).max(axis=1), np.abs(after.weights).max(axis=0)
        alive = (rows > 0) & (cols > 0)
        ratio = rows[alive] / cols[alive]
        most = 2.0 if power_of_two else 1.0
        assert ((ratio < 1.01 * most) & (ratio > 0.99 / most)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_two_change_no_bit(dtype):
    network, x = scaled_badly(dtype=dtype)
    network = replace(
        network,
        input_mean=x[0].copy(),
        input_scale=np.full(20, 3, dtype),
        output_mean=x[0, :5].copy(),
        output_scale=np.full(5, 0.7, dtype),
    )
    equal = pyfq.equalize(network, power_of_two=True)
    assert not np.array_equal(equal.layers[0].weights, network.layers[0].weights)
    assert np.array_equal(equal.forward(x), network.forward(x))


def test_equalize_leaves_other_activations_alone():
    network, x = scaled_badly((6, 8, 7, 5, 3))
    layers = [*network.layers]
    layers[1] = replace(layers[1], activation="tanh", bias=None)
    network = Network(layers)
    equal = pyfq.equalize(network)
    np.testing.assert_allclose(equal.forward(x[:, :6].copy()), network.forward(x[:, :6].copy()))
    own = np.abs(network.layers[1].weights).max(axis=1)
    assert equal.layers[1].bias is None
    assert not np.allclose(np.abs(equal.layers[1].weights).max(axis=1), own)
    sums = [
        pyfq.linear(pyfq.linear(x[:, :6].copy(), a.weights, a.bias, activation="relu"), b.weights)
        for a, b in (each.layers[:2] for each in (network, equal))
    ]
    np.testing.assert_allclose(*sums, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bits", [4, 8])
def test_one_scale_serves_equalized_weights_better(bits):
    network, x = scaled_badly()
    y = network.forward(x)
    for powers in (False, True):
        equal = pyfq.equalize(network, power_of_two=powers)
        assert rmse(in_bits(equal, bits), x, y) < 0.3 * rmse(in_bits(network, bits), x, y)


def test_correct_bias_is_that_of_torch():
    torch = pytest.importorskip("torch")
    network = Network.create((12, 20, 15, 4), dtype=np.float64, seed=1)
    network = network.with_parameters(
        {f"layers.{i}.bias": random(n) for i, n in enumerate((20, 15, 4))}
    )
    small = in_bits(network, 3, PerRow())
    x = random(200, 12)
    corrected = pyfq.correct_bias(small, network, x)
    a, b = torch.from_numpy(x), torch.from_numpy(x)
    for layer, other, got in zip(network.layers, small.layers, corrected.layers, strict=True):
        w, v = torch.tensor(layer.weights), torch.from_numpy(other.weights.dequantize())
        bias = torch.tensor(layer.bias)
        want = bias - ((b @ v.T).mean(0) - (a @ w.T).mean(0))
        np.testing.assert_allclose(got.bias, want.numpy(), rtol=1e-12, atol=1e-13)
        a, b = torch.relu(a @ w.T + bias), torch.relu(b @ v.T + want)
        assert got.weights is other.weights


@pytest.mark.parametrize(
    "make",
    [
        lambda net, x: in_bits(net, 3, PerRow()),
        lambda net, x: replace(in_bits(net, 4), activation_bits=8),
        lambda net, x: in_bits(net, 4).calibrate(x),
        lambda net, x: in_bits(net, 4).calibrate(x, scheme="symmetric"),
        lambda net, x: net.map_weights(lambda w: pyfq.to_sparse(pyfq.prune_ratio(w, 0.5))),
        lambda net, x: net.map_weights(lambda w: pyfq.svd_lowrank(w, 3)),
        lambda net, x: net.map_weights(lambda w: pyfq.quantize_codebook(w, "nf4")),
    ],
)
def test_corrected_layers_sum_to_the_same_on_average(make):
    network = Network.create((12, 20, 15, 4), dtype=np.float64, seed=1)
    x = np.abs(random(200, 12))
    small = make(network, x)
    corrected = pyfq.correct_bias(small, network, x)
    y = network.forward(x)
    np.testing.assert_allclose(corrected.forward(x).mean(axis=0), y.mean(axis=0), atol=1e-12)
    assert rmse(corrected, x, y) < 0.95 * rmse(small, x, y)


def test_layers_without_bias_get_one_and_ends_count():
    x = random(50, 6)
    ends = {"input_mean": x[0].copy(), "input_scale": np.full(6, 2.0)}
    network = Network([Dense(random(8, 6), None, "relu"), Dense(random(3, 8))], **ends)
    corrected = pyfq.correct_bias(in_bits(network, 2), network, x)
    assert all(layer.bias is not None for layer in corrected.layers)
    got, want = (each.forward(x).mean(axis=0) for each in (corrected, network))
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_both_make_digits_in_four_bits_better():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    teach, test = (x[:1200].copy(), y[:1200]), (x[1200:].copy(), y[1200:])
    network = pyfq.train(Network.create((64, 48, 32, 10)), *teach, epochs=25).network
    # The same function with neurons of other sizes, as batch normalization leaves them.
    generator, layers, before = np.random.default_rng(0), [], np.ones(64)
    for layer in network.layers:
        n = layer.shape[0]
        after = np.ones(n) if n == 10 else 10 ** generator.uniform(-1, 1, n)
        w = (layer.weights / before * after[:, None]).astype(np.float32)
        layers.append(Dense(w, (layer.bias * after).astype(np.float32), layer.activation))
        before = after
    network = Network(layers)
    equal = pyfq.equalize(network)
    plain, better = in_bits(network, 4), in_bits(equal, 4)
    best = pyfq.correct_bias(better, equal, teach[0])
    accuracies = [pyfq.evaluate(each, *test).accuracy for each in (network, plain, better, best)]
    assert accuracies[0] > 0.9
    assert accuracies[1] < accuracies[0] - 0.2
    assert accuracies[2] > accuracies[0] - 0.1
    want = network.forward(test[0])
    errors = [rmse(each, test[0], want) for each in (plain, better, best)]
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.95 * errors[1]
    fixed = best.calibrate(teach[0])
    assert abs(pyfq.evaluate(fixed, *test).accuracy - accuracies[3]) < 0.03


NETWORK = Network.create((4, 3, 2))
X = random(5, 4).astype(np.float32)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (TypeError, "network must be a Network, not int", lambda: pyfq.equalize(3)),
        (
            TypeError,
            r"layers\[0\].weights must be an array to be equalized, not Quantized",
            lambda: pyfq.equalize(in_bits(NETWORK, 8)),
        ),
        (
            TypeError,
            "must not be calibrated to be equalized",
            lambda: pyfq.equalize(in_bits(NETWORK, 8).calibrate(X)),
        ),
        (
            ValueError,
            "network must have a hidden layer of activation 'relu'",
            lambda: pyfq.equalize(Network.create((4, 3, 2), activation="tanh")),
        ),
        (
            ValueError,
            "network must have a hidden layer of activation 'relu'",
            lambda: pyfq.equalize(Network.create((4, 3))),
        ),
        (ValueError, "tolerance must be 0", lambda: pyfq.equalize(NETWORK, tolerance=-1.0)),
        (
            ValueError,
            "max_iterations must be at least 1",
            lambda: pyfq.equalize(NETWORK, max_iterations=0),
        ),
        (
            TypeError,
            "power_of_two must be a bool, not int",
            lambda: pyfq.equalize(NETWORK, power_of_two=1),
        ),
        (
            FloatingPointError,
            "must stay finite",
            lambda: pyfq.equalize(
                Network(
                    [Dense(np.array([[1e-300]]), np.array([1e300])), Dense(np.array([[1e300]]))]
                )
            ),
        ),
        (
            FloatingPointError,
            r"the bias of layers\[0\] must stay finite",
            lambda: pyfq.correct_bias(NETWORK, NETWORK, np.float32(3e38) * np.sign(X)),
        ),
        (TypeError, "network must be a Network", lambda: pyfq.correct_bias(3, NETWORK, X)),
        (TypeError, "original must be a Network", lambda: pyfq.correct_bias(NETWORK, 3, X)),
        (
            TypeError,
            "original must be float32, not float64",
            lambda: pyfq.correct_bias(NETWORK, Network.create((4, 3, 2), dtype="f8"), X),
        ),
        (
            ValueError,
            r"original must have sizes \(4, 3, 2\), not \(4, 2\)",
            lambda: pyfq.correct_bias(NETWORK, Network.create((4, 2)), X),
        ),
        (
            ValueError,
            r"original must have activations \['relu', None\], not \['tanh', None\]",
            lambda: pyfq.correct_bias(NETWORK, Network.create((4, 3, 2), activation="tanh"), X),
        ),
        (
            ValueError,
            r"x must have shape \(samples, 4\)",
            lambda: pyfq.correct_bias(NETWORK, NETWORK, X[:, :3].copy()),
        ),
        (
            TypeError,
            "x must be numbers, not complex64",
            lambda: pyfq.correct_bias(NETWORK, NETWORK, X.astype("c8")),
        ),
    ],
)
def test_what_does_not_fit_is_refused(error, match, make):
    with pytest.raises(error, match=match):
        make()
