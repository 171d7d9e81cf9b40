"""Neurons and layers that are removed: identities, scores against PyTorch, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import everywhere, same

import pyfq
from pyfq import Dense, LayerTrial, Network
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.learning import losses
from pyfq.reference.learning import train as reference

DTYPES = [np.float32, np.float64]
HIDDEN = [None, *ACTIVATIONS[:-1], ("leaky_relu", 0.3)]  # softmax is for the last layer


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def network(dtype=np.float64, sizes=(5, 12, 9, 4), activation="tanh", last=None, ends=True):
    """Return a network with biases, scales and classes."""
    made = Network.create(sizes, activation=activation, output_activation=last, dtype=dtype)
    if activation == "exp":  # which overflows where layers of it have large weights
        made = made.map_weights(lambda w: w / 8)
    made = made.with_parameters(
        {f"layers.{i}.bias": random(dtype, n) for i, n in enumerate(sizes[1:])}
    )
    if not ends:
        return made
    return replace(
        made,
        input_mean=random(dtype, sizes[0], seed=1),
        input_scale=np.abs(random(dtype, sizes[0], seed=2)) + dtype(0.5),
        output_mean=random(dtype, sizes[-1], seed=3),
        output_scale=np.exp(random(dtype, sizes[-1], seed=4)),
        classes=np.arange(sizes[-1]),
    )


def hidden_outputs(net, x):
    """Return the outputs of each hidden layer in float64."""
    a, found = (x.astype(np.float64), [])
    if net.input_mean is not None:
        a = (a - net.input_mean) / net.input_scale
    for layer in net.layers[:-1]:
        a = pyfq.activate(a @ layer.weights.T.astype(np.float64) + layer.bias, layer.activation)
        found.append(a)
    return found


def with_dead_neurons(dtype, size, exact=False):
    """Return a network, half of whose hidden neurons do and are nothing, and which are alive."""
    rng = np.random.default_rng(size)
    alive = rng.permutation(size) < max(size // 2, 4)

    def numbers(*shape):
        return (rng.integers(-3, 4, shape) if exact else rng.standard_normal(shape)).astype(dtype)

    w, bias, v = numbers(size, 7), numbers(size), numbers(5, size)
    w[~alive], bias[~alive], v[:, ~alive] = 0, 0, 0
    w[alive, 0] = 9  # above the norms of the others
    return Network([Dense(w, bias, "relu"), Dense(v, numbers(5))]), alive


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [8, 37, 130, 256])
def test_prune_neurons_that_are_zero_changes_no_bit(dtype, size):
    """Sums of at most a block, which are in order, and of no fewer than four columns."""
    net, alive = with_dead_neurons(dtype, size)
    pruned = pyfq.prune_neurons(net, 1 - alive.mean())
    assert np.array_equal(pruned.kept[0], np.flatnonzero(alive))
    for batch in (1, 4, 50):
        x = random(dtype, batch, 7)
        for where in everywhere():
            same(pruned.network.forward(x), net.forward(x), f"{batch} {where}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_prune_neurons_that_are_zero_in_more_than_a_block(dtype):
    net, alive = with_dead_neurons(dtype, 1500, exact=True)
    pruned = pyfq.prune_neurons(net, 1 - alive.mean(), random(dtype, 20, 7))
    x = np.random.default_rng(0).integers(-3, 4, (50, 7)).astype(dtype)
    same(pruned.network.forward(x), net.forward(x), "whole numbers")
    net, alive = with_dead_neurons(dtype, 1500)
    pruned = pyfq.prune_neurons(net, 1 - alive.mean(), random(dtype, 20, 7))
    x = random(dtype, 50, 7)
    rtol = 1500 * np.finfo(dtype).eps
    np.testing.assert_allclose(pruned.network.forward(x), net.forward(x), rtol, 100 * rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("criterion", ["l2", "activation"])
def test_prune_neurons_that_are_constant_changes_rounding_only(dtype, has_bias, criterion):
    net = network(dtype)
    gone = [2, 7]
    first, second, last = net.layers
    w, bias = first.weights.copy(), first.bias.copy()
    w[gone] = 0
    bias[gone] = dtype(-0.3), dtype(0.2)
    second = second if has_bias else replace(second, bias=None)
    net = replace(net, layers=(Dense(w, bias, "gelu"), second, last))
    x = random(dtype, 30, 5)
    pruned = pyfq.prune_neurons(net, (2 / 12, 0), x, criterion=criterion)
    assert sorted(set(range(12)) - set(pruned.kept[0])) == gone
    assert pruned.network.layers[1].bias is not None
    if criterion == "activation":
        assert (pruned.scores[0][gone] == 0).all()
    x = 10 * random(dtype, 100, 5, seed=1)
    rtol = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(pruned.network.forward(x), net.forward(x), rtol, 10 * rtol)


def test_prune_neurons_makes_no_bias_for_nothing():
    """Without x, or where the neurons removed are always 0."""
    w = np.array([[1.0, 2.0], [-1.0, -1.0], [2.0, 1.0]])
    net = Network([Dense(w, activation="relu"), Dense(np.ones((4, 3)))])
    x = np.abs(random(np.float64, 20, 2))
    for given_x in (None, x):
        pruned = pyfq.prune_neurons(net, 1 / 3, given_x)
        assert pruned.kept[0].tolist() == [0, 2] and pruned.network.layers[1].bias is None
    assert pyfq.prune_neurons(net, 1 / 3, -x).network.layers[1].bias is not None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("criterion", ["l2", "activation", "taylor"])
def test_prune_neurons_of_ratio_0_is_the_same_network(dtype, criterion):
    net, x = network(dtype), random(dtype, 20, 5)
    y = np.arange(20) % 4 if criterion == "taylor" else None
    pruned = pyfq.prune_neurons(net, 0, x, y, criterion=criterion)
    assert [k.tolist() for k in pruned.kept] == [list(range(12)), list(range(9))]
    assert pruned.network.parameters.keys() == net.parameters.keys()
    for name, value in net.parameters.items():
        assert np.array_equal(pruned.network.parameters[name], value)
    same(pruned.network.forward(x), net.forward(x), criterion)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", HIDDEN, ids=str)
def test_prune_neurons_puts_means_in_their_place(dtype, activation):
    """As the network with columns of 0 and the bias that NumPy computes."""
    net, x = network(dtype, activation=activation), random(dtype, 2500, 5)
    pruned = pyfq.prune_neurons(net, (0.5, 0.3), x)
    layers = list(net.layers)
    for i, (a, kept) in enumerate(zip(hidden_outputs(net, x), pruned.kept, strict=True), 1):
        gone = np.setdiff1d(np.arange(a.shape[1]), kept)
        w = layers[i].weights.copy()
        bias = layers[i].bias + w[:, gone] @ a[:, gone].mean(axis=0)
        w[:, gone] = 0
        layers[i] = Dense(w, bias.astype(dtype), layers[i].activation)
    want = replace(net, layers=tuple(layers)).forward(x)
    rtol = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(pruned.network.forward(x), want, rtol, 10 * rtol)


def test_prune_neurons_keeps_what_is_not_of_hidden_layers():
    net = replace(network(), activation_bits=8)
    pruned = pyfq.prune_neurons(net, 0.5).network
    for name in ("input_mean", "input_scale", "output_mean", "output_scale", "classes"):
        assert np.array_equal(getattr(pruned, name), getattr(net, name))
    assert pruned.activation_bits == 8
    assert [layer.activation for layer in pruned.layers] == ["tanh", "tanh", None]
    assert pruned.dtype == net.dtype and pruned.sizes == (5, 6, 5, 4)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    data=st.data(),
    round_to=st.integers(1, 9),
)
def test_prune_neurons_keeps_as_many_as_it_says(sizes, data, round_to):
    ratios = [data.draw(st.floats(0, 1)) for _ in sizes]
    net = Network.create((3, *sizes, 2), dtype=np.float64)
    pruned = pyfq.prune_neurons(net, ratios, round_to=round_to)
    for n, ratio, kept in zip(sizes, ratios, pruned.kept, strict=True):
        least = max(n - round(ratio * n), 1)
        assert len(kept) == min(math.ceil(least / round_to) * round_to, n)
        assert (np.diff(kept) > 0).all() and kept.dtype == np.int64
    left = (3, *map(len, pruned.kept), 2)
    assert pruned.network.sizes == left
    products = [n * k for n, k in zip(left[1:], left, strict=False)]
    assert pruned.network.size == sum(products) + sum(left[1:])
    rows = {row[0]: row[1:] for row in (line.split() for line in str(pruned).splitlines()[1:])}
    assert rows["neurons"] == ["-".join(map(str, s)) for s in (net.sizes, left)]
    assert rows["parameters"][:2] == [str(net.size), str(pruned.network.size)]
    assert rows["multiply-adds"][:2] == [str(net.multiply_adds), str(sum(products))]
    assert rows["bytes"][:2] == [str(net.nbytes), str(pruned.network.nbytes)]


def test_prune_neurons_keeps_the_first_of_equal_scores():
    net = Network([Dense(np.ones((6, 2))), Dense(np.ones((2, 6)))])
    x, y = random(np.float64, 9, 2), random(np.float64, 9, 2)
    for how in ({}, {"criterion": "activation"}, {"criterion": "taylor", "y": y}):
        assert pyfq.prune_neurons(net, 0.5, x, **how).kept[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", HIDDEN, ids=str)
def test_prune_neurons_scores_by_norm_and_by_deviation(dtype, activation):
    net, x = network(dtype, activation=activation), random(dtype, 2500, 5)
    by_norm = pyfq.prune_neurons(net, 0.4, x).scores
    by_deviation = pyfq.prune_neurons(net, 0.4, x, criterion="activation").scores
    for i, a in enumerate(hidden_outputs(net, x)):
        both = np.column_stack([net.layers[i].weights, net.layers[i].bias])
        want = np.linalg.norm(both.astype(np.float64), axis=1)
        np.testing.assert_allclose(by_norm[i], want, 1e-12)
        w = net.layers[i + 1].weights.astype(np.float64)
        apart = (a - a.mean(axis=0))[:, None, :] * w  # change of sums without each neuron
        want = np.sqrt((apart**2).sum(axis=1).mean(axis=0))
        np.testing.assert_allclose(by_deviation[i], want, 1e-9, 1e-12)


LOSSES = {
    "cross_entropy": reference.cross_entropy,
    "mse": reference.squared_error,
    "huber": lambda z, y: reference.huber(z, y, 0.7),
}


@pytest.mark.parametrize(
    "loss, labeled", [(loss, False) for loss in LOSSES] + [("cross_entropy", True)]
)
def test_gradients_are_those_of_differences_and_of_the_reference(loss, labeled):
    z = random(np.float64, 6, 4)
    y = np.arange(6) % 4 if labeled else np.abs(random(np.float64, 6, 4, seed=1))
    got = losses.gradient_of(z, y, loss, 0.7)
    same(got, LOSSES[loss](z, y)[1], loss)
    for j in range(4):
        step = 1e-6 * np.eye(4)[j]
        for i in range(6):
            part = slice(i, i + 1)
            ends = [losses.loss_of(z[part] + s, y[part], loss, None, 0.7) for s in (step, -step)]
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(got[i, j], rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("activation", HIDDEN, ids=str)
@pytest.mark.parametrize("loss", ["cross_entropy", "probabilities", "softmax", "mse", "huber"])
def test_prune_neurons_scores_by_taylor_match_torch(activation, loss):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    functions = {
        "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
        "clipped_relu": torch.nn.functional.relu6,
        "exp": torch.exp,
        None: lambda z: z,
    }
    name, slope = activation if isinstance(activation, tuple) else (activation, 0.01)
    f = functions.get(name) or getattr(torch.nn.functional, name)
    act = (lambda z: f(z, slope)) if name == "leaky_relu" else f
    regression = loss in ("mse", "huber")
    last = "softmax" if loss == "softmax" else activation if regression else None
    net = network(activation=activation, last=last)
    x = random(np.float64, 1100, 5)
    y = random(np.float64, 1100, 4) if regression else np.arange(1100) % 4
    if loss == "probabilities":
        y = np.abs(random(np.float64, 1100, 4))
    named = {"probabilities": "cross_entropy", "softmax": None}.get(loss, loss)
    how = {"criterion": "taylor", "loss": named, "delta": 0.7}
    scores = pyfq.prune_neurons(net, 0.5, x, y, **how).scores

    a = torch.tensor((x - net.input_mean) / net.input_scale)
    hidden = []
    for i, layer in enumerate(net.layers):
        a = a @ torch.tensor(layer.weights).T + torch.tensor(layer.bias)
        if i < len(net.layers) - 1:
            a = act(a)
            a.requires_grad_() if a.is_leaf else a.retain_grad()
            hidden.append(a)
    if regression:
        target = torch.tensor((y - net.output_mean) / net.output_scale)
        if loss == "mse":
            each = torch.nn.functional.mse_loss(act(a), target, reduction="none")
        else:
            each = torch.nn.functional.huber_loss(act(a), target, reduction="none", delta=0.7)
        total = each.mean(dim=1).sum()
    else:
        total = torch.nn.functional.cross_entropy(a, torch.tensor(y), reduction="sum")
    total.backward()
    for got, h in zip(scores, hidden, strict=True):
        want = (h * h.grad).abs().mean(dim=0).detach().numpy()
        np.testing.assert_allclose(got, want, 1e-9, 1e-13)


def test_prune_neurons_by_norm_matches_torch():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    import torch.nn.utils.prune as oracle

    net = network(sizes=(5, 40, 4))
    both = np.column_stack([net.layers[0].weights, net.layers[0].bias])
    module = torch.nn.Linear(6, 40)
    module.weight.data = torch.tensor(both)
    oracle.ln_structured(module, "weight", amount=0.3, n=2, dim=0)
    want = np.flatnonzero(module.weight_mask.numpy().any(axis=1))
    assert np.array_equal(pyfq.prune_neurons(net, 0.3).kept[0], want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prune_neurons_is_the_same_for_any_number_of_threads(dtype):
    net, x = network(dtype, (5, 200, 300, 4)), random(dtype, 1500, 5)
    first = {}
    for where in everywhere():
        pruned = pyfq.prune_neurons(net, 0.5, x, np.arange(1500) % 4, criterion="taylor")
        want = first.setdefault(where.partition(",")[0], pruned)
        for got, scores in zip(pruned.scores, want.scores, strict=True):
            same(got, scores, where)
        for name, value in want.network.parameters.items():
            same(pruned.network.parameters[name], value, where)


def test_prune_neurons_by_deviation_is_better_than_by_chance():
    """A trained network, half of whose neurons are only noise to the next layer."""
    x = random(np.float64, 500, 4)
    y = np.sin(x[:, :1] * x[:, 1:2])
    net = pyfq.train(Network.create((4, 64, 1), dtype=np.float64), x, y, epochs=40).network
    small = pyfq.prune_neurons(net, 0.5, x, criterion="activation")
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(20):
        chosen = rng.permutation(64)[:32]
        w = net.layers[1].weights.copy()
        a = hidden_outputs(net, x)[0]
        bias = net.layers[1].bias + w[:, chosen] @ a[:, chosen].mean(axis=0)
        w[:, chosen] = 0
        layers = (net.layers[0], Dense(w, bias))
        errors.append(pyfq.evaluate(replace(net, layers=layers), x, y).rmse)
    assert pyfq.evaluate(small.network, x, y).rmse < min(errors)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": 3}, TypeError, "network must be a Network, not int"),
        (
            {"network": Network.create((5, 4))},
            ValueError,
            r"a hidden layer, but its sizes are \(5, ",
        ),
        (
            {"network": network().map_weights(lambda w: pyfq.quantize(w, 8))},
            TypeError,
            r"layers\[0\].weights must be an array to lose neurons, not Quantized: network.map_w",
        ),
        (
            {"network": network().map_weights(lambda w: pyfq.to_sparse(pyfq.prune_ratio(w, 0.5)))},
            TypeError,
            "not Sparse",
        ),
        ({"ratio": 1.1}, ValueError, r"ratio must be 0 ... 1, not 1.1"),
        ({"ratio": "half"}, TypeError, "ratio must be a number, not str"),
        ({"ratio": b"\x01\x00"}, TypeError, "ratio must be a number, not bytes"),
        ({"ratio": (0.5,) * 3}, ValueError, "ratio must be a number or 2, one for each hidden"),
        ({"ratio": None}, TypeError, "ratio must be a number, not NoneType"),
        ({"ratio": (0.5,)}, ValueError, "ratio must be a number or 2, .* not 1"),
        ({"ratio": (0.5, -1)}, ValueError, r"ratio\[1\] must be 0 ... 1, not -1"),
        ({"round_to": 0}, ValueError, "round_to must be at least 1"),
        ({"criterion": "l1"}, ValueError, "criterion must be one of 'l2', 'activation', 'taylor'"),
        ({"criterion": "activation", "x": None}, ValueError, "criterion 'activation' needs x"),
        ({"criterion": "taylor"}, ValueError, "criterion 'taylor' needs y, and no other does"),
        ({"y": np.arange(6) % 4}, ValueError, "criterion 'taylor' needs y, and no other does"),
        ({"loss": "mse"}, ValueError, "loss needs y"),
        ({"x": np.ones((6, 4))}, ValueError, r"x must have shape \(samples, 5\)"),
        ({"x": np.ones((6, 5), complex)}, TypeError, "x must be numbers"),
        ({"x": np.full((6, 5), np.nan)}, ValueError, "x must be finite"),
        ({"criterion": "taylor", "y": np.arange(6)}, ValueError, "network's classes, but y.4."),
        ({"criterion": "taylor", "y": np.arange(5)}, ValueError, "y must have 6 samples"),
        (
            {"criterion": "taylor", "y": np.ones((6, 4)), "loss": "huber", "delta": 0},
            ValueError,
            "delta must be",
        ),
    ],
)
def test_prune_neurons_refuses(changes, error, message):
    data = {"network": network(), "ratio": 0.5, "x": np.ones((6, 5))} | changes
    with pytest.raises(error, match=message):
        pyfq.prune_neurons(data.pop("network"), data.pop("ratio"), **data)


def test_prune_neurons_refuses_what_is_not_finite_on_the_way():
    net = Network([Dense(np.full((2, 1), 1e300)), Dense(np.ones((1, 2)))])
    with pytest.raises(FloatingPointError, match=r"scores and means of layers\[0\] must be finite"):
        pyfq.prune_neurons(net, 0.5, np.full((2, 1), 1e300))


def deep(dtype=np.float64):
    """Return a network of six layers, of which 1, 2 and 4 are square."""
    return network(dtype, (5, 8, 8, 8, 6, 6, 3), "relu", ends=False)


def loss_of(net, x, y):
    return pyfq.evaluate(net, x, y).loss


@pytest.mark.parametrize("dtype", DTYPES)
def test_prune_layers_removes_the_least_harmful(dtype):
    net, x = deep(dtype), random(dtype, 60, 5)
    for y in (np.arange(60) % 3, random(dtype, 60, 3)):
        gone, want = [], [loss_of(net, x, y)]
        pruned = pyfq.prune_layers(net, x, y, count=3)
        for trial in pruned.trials:
            losses = {}
            for i in {1, 2, 4} - set(gone):
                layers = [layer for j, layer in enumerate(net.layers) if j not in (*gone, i)]
                losses[i] = loss_of(Network(layers), x, y)
            gone.append(min(losses, key=losses.get))
            want.append(losses[gone[-1]])
            assert trial.layer == gone[-1] and trial.removed
        assert [pruned.loss, *(trial.loss for trial in pruned.trials)] == pytest.approx(want)
        assert [len(kept) for kept in pruned.kept] == [8, 0, 0, 6, 0]
        assert pruned.network.sizes == (5, 8, 6, 3) and pruned.original is net


@pytest.mark.parametrize("form", ["plain", "quantized", "scaled"])
def test_prune_layers_takes_out_an_identity_without_a_trace(form):
    net = network(sizes=(5, 8, 4), ends=form == "scaled")
    same_again = Dense(np.eye(8), np.zeros(8), None)
    net = replace(net, layers=(net.layers[0], same_again, net.layers[1]))
    x = random(np.float64, 40, 5)
    y = np.arange(40) % 4
    if form == "quantized":
        net = net.map_weights(lambda w: pyfq.quantize(w, 8, scale="absmax"))
    pruned = pyfq.prune_layers(net, x, y, tolerance=1e-3)
    assert pruned.trials[0].layer == 1 and len(pruned.network.layers) == 2
    np.testing.assert_allclose(pruned.network.forward(x), net.forward(x), 1e-9, 1e-12)
    assert (pruned.network.classes is None) == (net.classes is None)


def test_prune_layers_stops_at_the_tolerance_and_at_the_count():
    net, x = deep(), random(np.float64, 60, 5)
    y = net.forward(x) + 0.1 * random(np.float64, 60, 3)
    everything = pyfq.prune_layers(net, x, y, count=3)
    assert pyfq.prune_layers(net, x, y).trials == everything.trials[:1]
    worst = [trial.loss / everything.loss - 1 for trial in everything.trials]
    assert 0 < worst[0] < worst[1]
    tolerance = (worst[0] + worst[1]) / 2
    some = pyfq.prune_layers(net, x, y, count=3, tolerance=tolerance)
    removed = [trial for trial in some.trials if trial.removed]
    refused = [trial for trial in some.trials if not trial.removed]
    assert removed == list(everything.trials[: len(removed)])
    assert len(net.layers) - len(some.network.layers) == len(removed)
    assert {t.layer for t in refused} == {1, 2, 4} - {t.layer for t in removed} != set()
    limit = (1 + tolerance) * some.loss
    assert all(trial.loss > limit for trial in refused) and removed[-1].loss <= limit
    text = str(some).split("\n\n")[1].splitlines()
    assert [line.split()[-1] for line in text[2:]] == ["removed"] * len(removed) + [
        "refused"
    ] * len(refused)


def test_prune_layers_refuses_a_loss_that_is_not_finite():
    """The product of both layers is 1; each alone overflows what follows, or comes to nothing."""
    x = np.ones((3, 1))
    layers = [Dense(np.array([[w]])) for w in (1e-200, 1e250, 1e-50)]
    net = Network(layers)
    pruned = pyfq.prune_layers(net, x, x, count=2)
    assert pruned.trials[0].removed and np.isfinite(pruned.trials[0].loss)
    net = Network([Dense(np.array([[w]])) for w in (1e-300, 1e300)])
    pruned = pyfq.prune_layers(net, x, x)
    assert pruned.trials == (LayerTrial(0, math.inf, False),)
    assert pruned.network.sizes == net.sizes
    with pytest.raises(FloatingPointError, match="the loss of network must be finite"):
        pyfq.prune_layers(Network(layers[1:] * 2), x, x)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": 3}, TypeError, "network must be a Network, not int"),
        (
            {"network": network(sizes=(5, 6, 4, 4))},
            ValueError,
            r"as many outputs as inputs, but its sizes are \(5, 6, 4, 4\)",
        ),
        ({"count": 0}, ValueError, "count must be 1 ... 3, not 0"),
        ({"count": 4}, ValueError, "count must be 1 ... 3, not 4"),
        ({"tolerance": -0.1}, ValueError, "tolerance must be 0 ... "),
        ({"tolerance": "no"}, TypeError, "tolerance must be a number"),
        ({"loss": "l1"}, ValueError, "loss must be one of"),
        ({"delta": 0}, ValueError, "delta must be"),
        ({"y": np.arange(5)}, ValueError, "y must have 6 samples"),
        ({"y": [1, 2]}, ValueError, "y must have 6 samples"),
        ({"x": np.ones((6, 4))}, ValueError, r"x must have shape \(samples, 5\)"),
    ],
)
def test_prune_layers_refuses(changes, error, message):
    data = {"network": deep(), "x": np.ones((6, 5)), "y": np.arange(6) % 3} | changes
    with pytest.raises(error, match=message):
        pyfq.prune_layers(data.pop("network"), data.pop("x"), data.pop("y"), **data)


def test_what_is_no_pair_of_networks_is_refused():
    network = Network.create((3, 2))
    for parts, match in (
        (([1, 2], network, ()), "network must be a Network, not list"),
        ((network, [1, 2], [1]), "original must be a Network, not list"),
        ((network, network, [1]), r"kept must be a tuple of NumPy arrays, not \[1\]"),
        ((network, network, (), 5), "scores must be a tuple of NumPy arrays, not 5"),
    ):
        with pytest.raises(TypeError, match=match):
            pyfq.Shrunk(*parts)
