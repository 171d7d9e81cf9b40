"""Topic `train`: gradients, the reference, torch, any number of threads, and what it refuses."""

import os
import signal
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import everywhere, same

import pyfq
from pyfq import SGD, Adam, AdamW, Dense, FakeQuantize, Network, PerGroup, Schedule, train
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.learning.losses import loss_of
from pyfq.reference.learning import train as reference

HIDDEN = [*ACTIVATIONS[:-1], ("leaky_relu", -0.2), None]
LOSSES = ("labels", "probabilities", "mse", "huber")


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def network(dtype=np.float64, sizes=(7, 11, 5, 4), activation="tanh", **options):
    made = Network.create(sizes, activation=activation, dtype=dtype, seed=1, **options)
    if activation == "exp":  # which overflows where layers of it have large weights
        made = made.map_weights(lambda w: w / 8)
    return made.with_parameters(
        {f"layers.{i}.bias": random(dtype, n) / 4 for i, n in enumerate(sizes[1:])}
    )


def data(loss, samples=23, n=4, dtype=np.float64):
    """Return y, what `train` calls its loss, and the reference's loss."""
    rng = np.random.default_rng(5)
    if loss == "labels":
        return rng.integers(0, n, samples), "cross_entropy", reference.cross_entropy
    if loss == "probabilities":
        y = rng.dirichlet(np.ones(n), samples).astype(dtype)
        return y, "cross_entropy", reference.cross_entropy
    y = (2 * random(dtype, samples, n, seed=9)).astype(dtype)
    if loss == "mse":
        return y, "mse", reference.squared_error
    return y, "huber", partial(reference.huber, delta=0.7)


def layers_of(made):
    return [[layer.weights.copy(), layer.bias.copy(), layer.activation] for layer in made.layers]


def batches_of(x, y, weights, size, seed, epochs):
    """Return the batches of each epoch: inputs, shares and data."""
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(len(x))
        parts = [order[i : i + size] for i in range(0, len(x), size)]
        yield [(x[p], weights[p] / weights[p].sum(), y[p]) for p in parts]


def close(got, layers, bound):
    for layer, (w, b, _) in zip(got.layers, layers, strict=True):
        np.testing.assert_allclose(layer.weights, w, atol=bound, rtol=bound)
        np.testing.assert_allclose(layer.bias, b, atol=bound, rtol=bound)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_gradient_is_that_of_finite_differences(loss, activation):
    made, x = network(activation=activation), random(np.float64, 23, 7)
    y, word, _ = data(loss)
    # One step of all samples with rate 1 moves the weights by the gradient.
    step = partial(train, x=x, y=y, loss=word, delta=0.7, epochs=1, batch_size=23)
    after = step(made, optimizer=SGD(1.0)).network.parameters
    rng = np.random.default_rng(3)
    for name, before in made.parameters.items():
        for at in rng.integers(0, before.size, 3):
            place = np.unravel_index(at, before.shape)

            def loss_at(shift, name=name, before=before, place=place):
                moved = before.copy()
                moved[place] += shift
                outputs = made.with_parameters({name: moved}).forward(x)
                return loss_of(outputs, y, word, delta=0.7)

            slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5
            assert abs(before[place] - after[name][place] - slope) < 2e-9 + 1e-6 * abs(slope)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_fifty_steps_match_the_reference(loss, activation):
    made, x = network(activation=activation), random(np.float64, 45, 7)
    y, word, function = data(loss, 45)
    weights = np.random.default_rng(7).uniform(0, 2, 45)
    optimizer = Adam(0.01, weight_decay=0.01)
    got = train(
        made, x, y, loss=word, delta=0.7, optimizer=optimizer, epochs=10, batch_size=10, seed=4,
        sample_weight=weights,
    )  # fmt: skip
    layers, state, losses = layers_of(made), {}, []
    for epoch, batches in enumerate(batches_of(x, y, weights, 10, 4, 10)):
        rates = [0.01] * 5
        losses.append(
            reference.train_epoch(
                layers, batches, function, optimizer, state, rates, done=5 * epoch
            ).mean()
        )
    np.testing.assert_allclose([e.loss for e in got.epochs], losses, rtol=1e-10)
    close(got.network, layers, 1e-10)


OPTIMIZERS = {
    "sgd": SGD(0.05),
    "momentum": SGD(0.05, momentum=0.9, weight_decay=0.02),
    "nesterov": SGD(0.05, momentum=0.8, nesterov=True),
    "adam": Adam(0.01),
    "decay": Adam(0.01, weight_decay=0.1),
    "adamw": AdamW(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_optimizers_match_the_reference_everywhere(name, clip):
    made, x = network(activation="relu"), random(np.float64, 30, 7)
    y, _, function = data("labels", 30)
    optimizer, schedule = OPTIMIZERS[name], Schedule("cosine", warmup=1.5, final=0.1)
    layers, state = layers_of(made), {}
    for epoch, batches in enumerate(batches_of(x, y, np.ones(30), 8, 0, 4)):
        rates = optimizer.learning_rate * schedule.factors(epoch, epoch + 1, 4, 4)
        reference.train_epoch(
            layers, batches, function, optimizer, state, rates, clip=clip, done=4 * epoch
        )
    for _ in everywhere():
        got = train(
            made, x, y, optimizer=optimizer, schedule=schedule, epochs=4, batch_size=8, clip=clip
        )
        close(got.network, layers, 1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_training_matches_torch(name, loss):
    torch = pytest.importorskip("torch")
    made, x = network(np.float32, activation="gelu"), random(np.float32, 60, 7)
    y, word, _ = data(loss, 60, dtype=np.float32)
    optimizer = OPTIMIZERS[name]
    got = train(made, x, y, loss=word, delta=0.7, optimizer=optimizer, epochs=10, batch_size=16)
    parts = []
    for layer in made.layers:
        linear = torch.nn.Linear(*layer.shape[::-1])
        linear.weight.data = torch.from_numpy(layer.weights.copy())
        linear.bias.data = torch.from_numpy(layer.bias.copy())
        parts += [linear, torch.nn.GELU()]
    model = torch.nn.Sequential(*parts[:-1])
    groups = [
        {"params": [p for n, p in model.named_parameters() if n.endswith("weight")]},
        {
            "params": [p for n, p in model.named_parameters() if n.endswith("bias")],
            "weight_decay": 0,
        },
    ]
    if isinstance(optimizer, SGD):
        theirs = torch.optim.SGD(
            groups, optimizer.learning_rate, optimizer.momentum,
            weight_decay=optimizer.weight_decay, nesterov=optimizer.nesterov,
        )  # fmt: skip
    else:
        make = torch.optim.AdamW if optimizer.decoupled else torch.optim.Adam
        theirs = make(groups, optimizer.learning_rate, weight_decay=optimizer.weight_decay)
    function = {
        "cross_entropy": torch.nn.CrossEntropyLoss(),
        "mse": torch.nn.MSELoss(),
        "huber": torch.nn.HuberLoss(delta=0.7),
    }[word]
    generator = np.random.default_rng(0)
    for epoch in got.epochs:
        order, losses = generator.permutation(60), []
        for i in range(0, 60, 16):
            part = order[i : i + 16]
            theirs.zero_grad()
            value = function(model(torch.from_numpy(x[part])), torch.from_numpy(y[part]))
            value.backward()
            theirs.step()
            losses.append(value.item())
        assert abs(epoch.loss - np.mean(losses)) < 1e-4
    for layer, linear in zip(got.network.layers, parts[::2], strict=True):
        np.testing.assert_allclose(layer.weights, linear.weight.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_an_exponential_at_the_end_is_trained_as_in_torch(loss):
    torch = pytest.importorskip("torch")
    made, x = network(output_activation="exp"), random(np.float64, 40, 7)
    y = np.exp(data(loss, 40)[0] / 4)
    optimizer = SGD(0.05, momentum=0.9)
    got = train(made, x, y, loss=loss, delta=0.7, optimizer=optimizer, epochs=20, batch_size=40)
    tensors = [torch.from_numpy(p.copy()).requires_grad_() for p in made.parameters.values()]
    function = {"mse": torch.nn.MSELoss(), "huber": torch.nn.HuberLoss(delta=0.7)}[loss]
    theirs = torch.optim.SGD(tensors, 0.05, 0.9)
    for epoch in got.epochs:
        a = torch.from_numpy(x)
        for i, (w, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
            a = (torch.tanh if i < len(made.layers) - 1 else torch.exp)(a @ w.T + bias)
        value = function(a, torch.from_numpy(y))
        theirs.zero_grad()
        value.backward()
        theirs.step()
        np.testing.assert_allclose(epoch.loss, value.item(), rtol=1e-10)
    for mine, its in zip(got.network.parameters.values(), tensors, strict=True):
        np.testing.assert_allclose(mine, its.detach().numpy(), atol=1e-10)
    assert got.epochs[-1].loss < got.epochs[0].loss


def test_an_exponential_that_overflows_stops_training():
    made = network(output_activation="exp").map_weights(lambda w: 1000 * w)
    x, y = random(np.float64, 23, 7), np.ones((23, 4))
    match = r"the loss is .* in epoch 1, step 1 of 1: a lower"
    with pytest.raises(FloatingPointError, match=match):
        train(made, x, y, epochs=2, batch_size=23)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_threads_change_no_bit(dtype, clip):
    made = network(dtype, (70, 150, 90, 13), "relu")
    x, y = random(dtype, 500, 70), np.random.default_rng(1).integers(0, 13, 500)
    for isa in {where.split(",")[0] for where in everywhere()}:
        results = [
            train(made, x, y, epochs=2, batch_size=128, clip=clip)
            for where in everywhere()
            if where.startswith(f"{isa},")
        ]
        for other in results[1:]:
            assert [e.loss for e in other.epochs] == [e.loss for e in results[0].epochs]
            for mine, theirs in zip(results[0].network.layers, other.network.layers, strict=True):
                same(mine.weights, theirs.weights, isa)
                same(mine.bias, theirs.bias, isa)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    samples=st.integers(1, 40),
    batch=st.integers(1, 50),
    activation=st.sampled_from(HIDDEN),
)
def test_any_network_matches_the_reference(sizes, samples, batch, activation):
    made = network(np.float64, sizes, activation)
    x, y = random(np.float64, samples, sizes[0]), random(np.float64, samples, sizes[-1], seed=1)
    layers, state, ones = layers_of(made), {}, np.ones(samples)
    optimizer = SGD(0.01 / max(sizes))  # by which no wide network diverges
    got = train(made, x, y, optimizer=optimizer, epochs=2, batch_size=batch)
    for batches in batches_of(x, y, ones, batch, 0, 2):
        rates = [optimizer.learning_rate] * len(batches)
        reference.train_epoch(layers, batches, reference.squared_error, optimizer, state, rates)
    close(got.network, layers, 1e-9)


SPECS = [
    FakeQuantize(8),
    FakeQuantize(4, granularity=PerGroup(5)),
    FakeQuantize(2, "affine"),
    FakeQuantize(3, "minmax", PerGroup(4)),
]


@pytest.mark.parametrize(
    ("spec", "keep_zeros"),
    [*((spec, False) for spec in SPECS), *((spec, True) for spec in SPECS[:-1])],
)
def test_fake_quantization_matches_the_reference(spec, keep_zeros):
    made, x = network(activation="relu"), random(np.float64, 30, 7)
    if keep_zeros:
        made = made.map_weights(lambda w: pyfq.prune_ratio(w, 0.5).weights)
    y, _, function = data("labels", 30)
    got = train(
        made, x, y, optimizer=SGD(0.05, momentum=0.9), epochs=3, batch_size=8,
        fake_quantize=spec, keep_zeros=keep_zeros,
    )  # fmt: skip
    layers, state = layers_of(made), {}
    masks = [w != 0 for w, *_ in layers] if keep_zeros else None
    rounding = {"bits": spec.bits, "scheme": spec.scheme, "granularity": spec.granularity}
    for batches in batches_of(x, y, np.ones(30), 8, 0, 3):
        reference.train_epoch(
            layers, batches, function, SGD(0.05, momentum=0.9), state, [0.05] * 4, masks=masks,
            rounding=rounding,
        )  # fmt: skip
    close(got.network, layers, 1e-10)
    if keep_zeros:
        for layer, before in zip(got.network.layers, made.layers, strict=True):
            assert not layer.weights[before.weights == 0].any()
            assert (spec.apply(layer.weights).dequantize()[before.weights == 0] == 0).all()


def test_scaled_inputs_and_outputs_are_trained_in_their_units():
    x, y = random(np.float64, 200, 3), random(np.float64, 200, 2, seed=1)
    plain = Network.create((3, 8, 2), dtype=np.float64)
    mean, scale = np.array([1.0, -2, 3]), np.array([2.0, 4, 0.5])
    scaled = replace(
        plain, input_mean=mean, input_scale=scale, output_mean=np.array([5.0, 6]),
        output_scale=np.array([10.0, 20]),
    )  # fmt: skip
    a = train(plain, x, y, epochs=3).network
    b = train(scaled, x * scale + mean, y * [10.0, 20] + [5.0, 6], epochs=3).network
    np.testing.assert_allclose(b.layers[0].weights, a.layers[0].weights, rtol=1e-9)
    np.testing.assert_allclose(
        b.forward(x * scale + mean), a.forward(x) * [10.0, 20] + [5.0, 6], rtol=1e-7
    )


def test_class_weights_are_sample_weights():
    x, (y, *_) = random(np.float64, 23, 7), data("labels")
    of_class = np.array([1.0, 0.0, 2.0, 0.5])
    a = train(network(), x, y, epochs=2, class_weight=of_class).network
    b = train(network(), x, y, epochs=2, sample_weight=of_class[y]).network
    same(a.layers[0].weights, b.layers[0].weights, "")
    kept = y != 1
    c = train(network(), x[kept], y[kept], epochs=1, batch_size=30, sample_weight=of_class[y][kept])
    d = train(network(), x, y, epochs=1, batch_size=30, class_weight=of_class)
    np.testing.assert_allclose(
        c.network.layers[0].weights, d.network.layers[0].weights, rtol=1e-9, atol=1e-12
    )


def test_labels_are_those_of_the_classes():
    x, (y, *_) = random(np.float64, 23, 7), data("labels")
    names = np.array(["d", "b", "c", "a"])
    a = train(network(), x, y, epochs=2).network
    b = train(replace(network(), classes=names), x, names[y], epochs=2).network
    same(a.layers[0].weights, b.layers[0].weights, "")


def test_the_best_epoch_by_validation_is_returned():
    x, (y, *_) = random(np.float64, 23, 7), data("labels")
    other, (theirs, *_) = random(np.float64, 40, 7, seed=8), data("labels", 40)
    result = train(
        network(), x, y, optimizer=Adam(0.1), epochs=200, validation=(other, theirs), patience=5
    )
    losses = [e.validation_loss for e in result.epochs]
    assert result.stopped == "patience"
    assert result.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - 5
    assert loss_of(result.network.forward(other), theirs, "cross_entropy") == min(losses)
    stopped = train(network(), x, y, callback=lambda epoch: epoch.number == 3)
    assert (stopped.stopped, len(stopped.epochs), stopped.best_epoch) == ("callback", 3, 3)
    assert train(network(), x, y, epochs=0).best_epoch == 0


def test_validation_is_of_rounded_weights():
    x, (y, *_) = random(np.float64, 23, 7), data("labels")
    spec = FakeQuantize(3)
    result = train(network(), x, y, epochs=5, validation=(x, y), fake_quantize=spec)
    rounded = result.network.map_weights(spec.apply)
    assert result.epochs[result.best_epoch - 1].validation_loss == loss_of(
        rounded.forward(x), y, "cross_entropy"
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_is_raised_with_what_there_is():
    x, (y, *_) = random(np.float64, 23, 7), data("labels")

    def interrupt(epoch):
        if epoch.number == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupted:
        train(network(), x, y, callback=interrupt)
    result = interrupted.value.training
    assert (result.stopped, len(result.epochs), result.best_epoch) == ("interrupted", 4, 4)
    four = train(network(), x, y, epochs=4)
    same(result.network.layers[0].weights, four.network.layers[0].weights, "")

    over = threading.Event()

    def kill():
        # Again, if it is not over: an interrupt in a callback of the garbage collector is lost.
        while not over.wait(0.3):
            os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(KeyboardInterrupt) as interrupted:
        train(network(), x, y, epochs=1_000_000)
    over.set()
    killer.join()
    result = interrupted.value.training
    assert (result.stopped, result.best_epoch) == ("interrupted", len(result.epochs))
    again = train(network(), x, y, epochs=result.best_epoch).network
    same(result.network.forward(x), again.forward(x), "what belongs together")


def test_a_loss_that_is_not_finite_says_where():
    x, y = random(np.float32, 40, 7), random(np.float32, 40, 4)
    made = network(np.float32, activation="relu")
    with pytest.raises(FloatingPointError, match=r"in epoch \d+, step \d+ of 4: a lower learning"):
        train(made, x, y, optimizer=SGD(1e6), batch_size=10)
    with pytest.raises(FloatingPointError, match="weights are not finite after the last step of"):
        train(made, x[:1], y[:1], optimizer=SGD(1e38), epochs=1)
    with pytest.raises(FloatingPointError, match="the validation loss is inf in epoch 1"):
        train(made, x[:1], y[:1], optimizer=SGD(1e25), epochs=1, validation=(x, y))
    spec = FakeQuantize(8)
    with pytest.raises(FloatingPointError, match=r"in epoch \d+, step \d+ of 4"):
        train(made, x, y, optimizer=SGD(1e30), batch_size=10, fake_quantize=spec)


def test_schedules():
    assert Schedule("step", every=2, factor=0.5).factors(1, 3, 4, 2).tolist() == [1, 1, 0.5, 0.5]
    assert Schedule(warmup=2).factors(0, 3, 3, 2).tolist() == [0.25, 0.5, 0.75, 1, 1, 1]
    cosine = Schedule("cosine", final=0.2).factors(0, 10, 10, 5)
    assert cosine[0] == 1
    assert abs(cosine[25] - 0.6) < 1e-12
    assert (np.diff(cosine) < 0).all()
    assert cosine[-1] > 0.2


X, Y = np.ones((5, 7)), np.zeros(5, np.int64)


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (TypeError, "network must be a Network", {"network": 3}),
        (
            TypeError,
            r"layers\[0\].weights must be an array to be trained, not Quantized",
            {"network": network().map_weights(lambda w: pyfq.quantize(w, 8))},
        ),
        (TypeError, "x must be numbers, not complex64", {"x": X.astype("c8")}),
        (ValueError, r"x must have shape \(samples, 7\)", {"x": X[:, :3].copy()}),
        (ValueError, "at least one", {"x": X[:0]}),
        (ValueError, r"x\[0, 0\] is nan", {"x": X * np.nan}),
        (ValueError, r"y must have 5 samples", {"y": Y[:3]}),
        (TypeError, "y must be labels 0 ... 3, integers", {"y": np.array(list("abcde"))}),
        (ValueError, r"y must be labels 0 ... 3, but y\[4\] is 4", {"y": np.arange(5)}),
        (ValueError, r"y must have shape \(5, 4\)", {"y": X}),
        (ValueError, "y must be probabilities", {"y": -X[:, :4].copy(), "loss": "cross_entropy"}),
        (ValueError, "loss must be one of", {"loss": "hinge"}),
        (ValueError, r"y must have 5 samples, as x has, not shape \(\)", {"y": np.array(3)}),
        (TypeError, "callback must be callable, not int", {"callback": 3}),
        (TypeError, "callback must return True, False or", {"callback": lambda _: np.ones(2)}),
        (TypeError, "keep_zeros must be True or False, not 'no'", {"keep_zeros": "no"}),
        (ValueError, "epochs must be at least 0", {"epochs": -1}),
        (ValueError, "batch_size must be at least 1", {"batch_size": 0}),
        (TypeError, "optimizer must be", {"optimizer": "adam"}),
        (TypeError, "schedule must be", {"schedule": "cosine"}),
        (TypeError, "fake_quantize must be", {"fake_quantize": 8}),
        (ValueError, "clip must be", {"clip": 0.0}),
        (ValueError, r"sample_weight must have shape \(5,\)", {"sample_weight": np.ones(3)}),
        (ValueError, "sample_weight must be at least 0", {"sample_weight": -np.ones(5)}),
        (ValueError, "class_weight must not leave", {"class_weight": np.array([0.0, 1, 1, 1])}),
        (ValueError, "class_weight needs", {"y": X[:, :4].copy(), "class_weight": np.ones(4)}),
        (ValueError, "patience needs validation", {"patience": 3}),
        (TypeError, "validation must be a tuple", {"validation": X}),
        (ValueError, r"validation\[1\] must have 5 samples", {"validation": (X, Y[:2])}),
        (
            ValueError,
            "the last activation must be None",
            {"network": network(output_activation="relu")},
        ),
        (
            ValueError,
            "must not be 'softmax' for the loss 'mse'",
            {"network": network(output_activation="softmax"), "y": X[:, :4].copy()},
        ),
        (
            ValueError,
            "no code is 0",
            {"fake_quantize": FakeQuantize(4, "minmax"), "keep_zeros": True},
        ),
    ],
)
def test_refusals(error, match, change):
    arguments = {"network": network(), "x": X, "y": Y} | change
    with pytest.raises(error, match=match):
        train(**arguments)


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (ValueError, "learning_rate must be", lambda: SGD(0.0)),
        (ValueError, "learning_rate must be", lambda: Adam(float("nan"))),
        (ValueError, "momentum must be", lambda: SGD(momentum=1.5)),
        (TypeError, "nesterov must be", lambda: SGD(nesterov="no")),
        (ValueError, "epsilon must be", lambda: Adam(epsilon=1e-46)),
        (ValueError, "beta2 must be", lambda: Adam(beta2=1.0)),
        (ValueError, "weight_decay must be", lambda: AdamW(weight_decay=-1.0)),
        (ValueError, "kind must be one of", lambda: Schedule("linear")),
        (ValueError, "factor must be", lambda: Schedule("step", factor=0.0)),
        (ValueError, "bits must be", lambda: FakeQuantize(1)),
        (ValueError, "scheme must be", lambda: FakeQuantize(4, "log")),
        (TypeError, "granularity must be", lambda: FakeQuantize(4, granularity=pyfq.PerTensor())),
    ],
)
def test_settings_are_refused(error, match, make):
    with pytest.raises(error, match=match):
        make()


class Huge:
    def __index__(self):
        return 2**80


@pytest.mark.parametrize("options", [{"clip": 10**30}, {"clip": 2**64}, {"seed": Huge()}])
def test_integers_that_fortran_does_not_have_are_numbers(options):
    network = Network.create((3, 4, 2), dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((20, 3))
    y = np.tanh(x[:, :2])
    for call in (train, partial(pyfq.distill, network)):
        got = call(network, x, y, epochs=2, **options)
        floats = {name: float(n) if name == "clip" else 2**80 for name, n in options.items()}
        want = call(network, x, y, epochs=2, **floats)
        for a, b in zip(got.network.layers, want.network.layers, strict=True):
            np.testing.assert_array_equal(a.weights, b.weights)


def test_networks_without_biases_stay_without():
    made = Network(
        [Dense(random(np.float64, 6, 7), activation="relu"), Dense(random(np.float64, 4, 6))]
    )
    got = train(made, X, Y, epochs=1).network
    assert [layer.bias for layer in got.layers] == [None, None]
