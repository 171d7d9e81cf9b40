"""Distillation: the identities of its loss, hints, teachers of every kind, and what it refuses."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pyfq import SGD, Adam, Dense, Hint, Network, distill, soften, train
from pyfq.reference.learning import train as reference

LOSSES = {
    "kl": partial(reference.divergence, temperature=3.0),
    "mse": reference.squared_error,
    "cosine": reference.cosine_distance,
}
RNG = np.random.default_rng(2)
X, Y = RNG.standard_normal((30, 5)), RNG.integers(0, 4, 30)
TEACHER = Network.create((5, 9, 6, 4), activation="tanh", dtype=np.float64, seed=3)
STUDENT = Network.create((5, 7, 4), activation="silu", dtype=np.float64, seed=4)


def step(student, *, rate=1.0, **options):
    """Return by how much a step of all samples moves the parameters: rate times the gradient."""
    got = distill(
        student=student, x=X, optimizer=SGD(rate), epochs=1, batch_size=len(X), **options
    ).network.parameters
    return {name: before - got[name] for name, before in student.parameters.items()}


def layers_of(network):
    return [[layer.weights.copy(), layer.bias.copy(), layer.activation] for layer in network.layers]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_distill_matches_the_reference(loss, alpha):
    targets = TEACHER.forward(X)

    def both(z, t, y):
        ours, gradient = LOSSES[loss](z, t)
        theirs, their_gradient = reference.cross_entropy(z, y)
        return alpha * ours + (1 - alpha) * theirs, alpha * gradient + (1 - alpha) * their_gradient

    layers, state, generator = layers_of(STUDENT), {}, np.random.default_rng(0)
    for epoch in range(10):
        order = generator.permutation(30)
        batches = [
            (X[p], np.full(len(p), 1 / len(p)), targets[p], Y[p])
            for p in np.split(order, (8, 16, 24))
        ]
        reference.train_epoch(layers, batches, both, Adam(), state, [0.001] * 4, done=4 * epoch)
    got = distill(
        TEACHER, STUDENT, X, Y, loss=loss, alpha=alpha, temperature=3.0, epochs=10, batch_size=8
    ).network
    for layer, (w, b, _) in zip(got.layers, layers, strict=True):
        np.testing.assert_allclose(layer.weights, w, atol=1e-10)
        np.testing.assert_allclose(layer.bias, b, atol=1e-10)


def test_gradient_by_logits_is_t_times_the_difference_of_softened():
    student = Network([Dense(np.zeros((4, 5)), RNG.standard_normal(4))])
    targets = RNG.standard_normal((30, 4))
    moved = step(student, teacher=targets, temperature=5.0, loss="kl")["layers.0.bias"]
    q, p = soften(targets, 5.0), soften(student.forward(X), 5.0)
    np.testing.assert_allclose(moved, 5.0 * (p - q).mean(axis=0), rtol=1e-9, atol=1e-12)


def test_at_high_temperature_logits_of_mean_zero_are_matched():
    bias = RNG.standard_normal(4)
    student = Network([Dense(np.zeros((4, 5)), bias - bias.mean())])
    targets = RNG.standard_normal((30, 4))
    targets -= targets.mean(axis=1, keepdims=True)
    moved = step(student, teacher=targets, temperature=1e5, loss="kl")["layers.0.bias"]
    np.testing.assert_allclose(
        moved, (student.layers[0].bias - targets).mean(axis=0) / 4, rtol=1e-3
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_a_student_equal_to_its_teacher_has_no_gradient(loss):
    for name, moved in step(TEACHER, teacher=TEACHER, loss=loss).items():
        assert np.abs(moved).max() < 1e-14, name


def test_alpha_zero_is_training_alone():
    alone = train(STUDENT, X, Y, epochs=3).network
    taught = distill(TEACHER, STUDENT, X, Y, alpha=0.0, epochs=3).network
    np.testing.assert_allclose(taught.layers[0].weights, alone.layers[0].weights, rtol=1e-12)


def test_teachers_of_every_kind_teach_the_same():
    outputs = TEACHER.forward(X)
    last = replace(TEACHER.layers[-1], activation="softmax")
    soft = Network((*TEACHER.layers[:-1], last))
    results = [
        distill(teacher, STUDENT, X, Y, epochs=2).network.layers[0].weights
        for teacher in (TEACHER, TEACHER.forward, outputs, soft)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    # Logarithms of probabilities are logits too.
    logs = np.log(soft.forward(X))
    close = distill(logs, STUDENT, X, Y, epochs=2).network.layers[0].weights
    np.testing.assert_allclose(close, results[0], rtol=1e-9)


def test_probabilities_are_not_taken_for_logits():
    soft = Network((*TEACHER.layers[:-1], replace(TEACHER.layers[-1], activation="softmax")))
    for teacher in (soft.forward, soft.forward(X)):
        with pytest.raises(ValueError, match="outputs of teacher: rows add up to 1; kl wants"):
            distill(teacher, STUDENT, X, Y, epochs=2)
        distill(teacher, STUDENT, X, Y, epochs=2, loss="mse")


def test_unlabeled_data_is_enough():
    a = distill(TEACHER, STUDENT, X, epochs=2, loss="kl").network
    b = distill(TEACHER, STUDENT, X, Y, alpha=1.0, epochs=2).network
    np.testing.assert_array_equal(a.layers[0].weights, b.layers[0].weights)


def test_the_default_loss_is_kl_for_classes_of_the_teacher():
    a = distill(replace(TEACHER, classes=np.arange(4)), STUDENT, X, epochs=2).network
    b = distill(TEACHER, STUDENT, X, epochs=2, loss="kl").network
    c = distill(TEACHER, STUDENT, X, epochs=2).network
    np.testing.assert_array_equal(a.layers[0].weights, b.layers[0].weights)
    assert (a.layers[0].weights != c.layers[0].weights).any()


def test_divergence_matches_torch():
    torch = pytest.importorskip("torch")
    z = torch.tensor(RNG.standard_normal((6, 4)), requires_grad=True)
    t = torch.tensor(RNG.standard_normal((6, 4)))
    kl = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)
    value = 4.0**2 * kl((z / 4).log_softmax(1), (t / 4).log_softmax(1))
    value.backward()
    each, gradient = reference.divergence(z.detach().numpy(), t.numpy(), 4.0)
    np.testing.assert_allclose(each.mean(), value.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient / 6, z.grad.numpy(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("clip", [None, 0.2])
def test_hints_match_the_reference(clip):
    targets, first = TEACHER.forward(X), Network(TEACHER.layers[:1]).forward(X)
    other = RNG.standard_normal((30, 3))
    student = Network.create((5, 7, 6, 4), activation="tanh", dtype=np.float64)
    hints = [Hint(0, 0, 0.5), Hint(1, other, 2.0)]
    got = distill(
        TEACHER, student, X, Y, hints=hints, epochs=5, batch_size=30, seed=6, clip=clip
    ).network
    generator = np.random.default_rng((6, 1))
    projections = [
        [layer, generator.normal(0, k**-0.5, n * k).reshape(n, k), np.zeros(n), factor]
        for layer, n, k, factor in ((0, 9, 7, 0.5), (1, 3, 6, 2.0))
    ]

    def both(z, t, y):
        ours, gradient = reference.divergence(z, t, 4.0)
        theirs, their_gradient = reference.cross_entropy(z, y)
        return 0.9 * ours + 0.1 * theirs, 0.9 * gradient + 0.1 * their_gradient

    layers, state = layers_of(student), {}
    for epoch in range(5):
        batch = (X, np.full(30, 1 / 30), targets, Y, first, other)
        reference.train_epoch(
            layers, [batch], both, Adam(), state, [0.001], hints=projections, clip=clip, done=epoch
        )
    for layer, (w, b, _) in zip(got.layers, layers, strict=True):
        np.testing.assert_allclose(layer.weights, w, atol=1e-10)
        np.testing.assert_allclose(layer.bias, b, atol=1e-10)


def test_regression_learns_from_teacher_and_data_in_their_units():
    x = RNG.uniform(-1, 1, (400, 2))
    y = (np.sin(3 * x[:, :1]) * x[:, 1:]) * 50 + 200
    scales = {
        "input_mean": x.mean(axis=0), "input_scale": x.std(axis=0),
        "output_mean": y.mean(axis=0), "output_scale": y.std(axis=0),
    }  # fmt: skip
    teacher = replace(Network.create((2, 64, 1), activation="tanh", dtype=np.float64), **scales)
    teacher = train(teacher, x, y, epochs=300, optimizer=Adam(0.01)).network
    student = replace(Network.create((2, 8, 1), activation="tanh", dtype=np.float64), **scales)
    before = np.abs(student.forward(x) - teacher.forward(x)).mean()
    got = distill(teacher, student, x, y, alpha=0.5, epochs=200, optimizer=Adam(0.02)).network
    assert np.abs(got.forward(x) - teacher.forward(x)).mean() < before / 5


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (TypeError, "teacher must be a Network, a callable, an est", {"teacher": "resnet"}),
        (ValueError, r"outputs of teacher must have shape \(30, 4\)", {"teacher": lambda x: [1]}),
        (ValueError, "outputs of teacher must be a row a sample", {"teacher": lambda x: 1.0}),
        (ValueError, r"outputs of teacher must have shape \(30, 4\)", {"teacher": np.ones((3, 4))}),
        (TypeError, "outputs of teacher must be numbers", {"teacher": np.ones((30, 4), "M8[s]")}),
        (ValueError, r"outputs of teacher\[0, 0\] is inf", {"teacher": np.full((30, 4), np.inf)}),
        (ValueError, "teacher must take 5 inputs", {"teacher": Network([Dense(np.ones((4, 2)))])}),
        (ValueError, "loss must be one of", {"loss": "l1"}),
        (ValueError, "temperature must be", {"temperature": 0.0}),
        (ValueError, "alpha must be", {"alpha": 1.5}),
        (ValueError, "alpha must be 0 ... 1, not nan", {"y": None, "alpha": np.nan}),
        (TypeError, "alpha must be a number, not str", {"y": None, "alpha": "half"}),
        (TypeError, "student must be a Network, not NoneType", {"student": None}),
        (ValueError, "data_loss needs y", {"y": None, "data_loss": "mse"}),
        (ValueError, "validation needs y", {"y": None, "validation": (X, Y)}),
        (TypeError, r"hints\[0\] must be a Hint", {"hints": [3]}),
        (TypeError, "hints must be a sequence of Hint, not one", {"hints": Hint(0, 0)}),
        (TypeError, "hints must be a sequence of Hint, not int", {"hints": 5}),
        (
            ValueError,
            "teacher must have the classes of the student in their order",
            {
                "teacher": replace(TEACHER, classes=np.arange(4)),
                "student": replace(STUDENT, classes=np.array([3, 2, 1, 0])),
            },
        ),
        (ValueError, r"hints\[0\].layer must be 0 ... 0, not 1", {"hints": [Hint(1, 0)]}),
        (ValueError, r"hints\[0\].target must be 0 ... 1", {"hints": [Hint(0, 2)]}),
        (
            TypeError,
            r"hints\[0\].target must be an array: the teacher is not a Network",
            {"teacher": TEACHER.forward, "hints": [Hint(0, 0)]},
        ),
        (ValueError, r"hints\[0\].weight must be", {"hints": [Hint(0, 0, 0.0)]}),
    ],
)
def test_refusals(error, match, change):
    arguments = {"teacher": TEACHER, "student": STUDENT, "x": X, "y": Y} | change
    with pytest.raises(error, match=match):
        distill(**arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_soften_is_finite_for_any_logits(dtype):
    largest = np.finfo(dtype).max
    z = np.array([[largest, -largest, 0], [largest, largest, 1], [1, 2, 3]], dtype)
    for temperature in (0.001, 0.5, 1e6):
        p = soften(z, temperature)
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    p = soften(z, 0.001)
    np.testing.assert_array_equal(p[0], [1, 0, 0])
    np.testing.assert_array_equal(p[1], [0.5, 0.5, 0])
    np.testing.assert_array_equal(p[2], soften(z[2:], 0.001)[0])  # the others change no bit
    near = np.array([[largest, np.nextafter(largest, dtype(0))]])
    apart = float(near[0, 0] - near[0, 1])
    if dtype == np.float32:  # a step of 2e31, a thousandth of which is still much
        np.testing.assert_array_equal(soften(near, 1e6), [[1, 0]])
        assert apart > 1e30
    for word in (0, 1e-4, 1e7, np.nan, np.inf, 10**400):
        with pytest.raises(ValueError, match="temperature must be"):
            soften(z, word)


def test_a_teacher_may_have_another_dtype_than_the_student():
    teacher = Network(
        tuple(
            Dense(layer.weights.astype("f4"), layer.bias.astype("f4"), layer.activation)
            for layer in TEACHER.layers
        )
    )
    outputs = teacher.forward(X.astype("f4")).astype(float)
    got = distill(teacher, STUDENT, X, epochs=2, loss="kl").network
    want = distill(outputs, STUDENT, X, epochs=2, loss="kl").network
    np.testing.assert_array_equal(got.layers[0].weights, want.layers[0].weights)
