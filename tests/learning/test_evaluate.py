"""`evaluate` against scikit-learn's metrics, and what it refuses."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyfq
from pyfq import Dense, Network

metrics = pytest.importorskip("sklearn.metrics", reason="needs the test extra")

DTYPES = [np.float32, np.float64]


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def classifier(dtype=np.float64, outputs=7, activation=None, classes=None):
    network = Network.create((5, 16, outputs), output_activation=activation, dtype=dtype, seed=1)
    return replace(network, classes=classes)


def emulator(dtype=np.float64, outputs=3):
    """Return a network with scales, whose outputs have units of their own."""
    scales = {
        "input_mean": random(dtype, 5, seed=1),
        "input_scale": np.abs(random(dtype, 5, seed=2)) + dtype(0.5),
        "output_mean": random(dtype, outputs, seed=3) * dtype(100),
        "output_scale": np.exp(random(dtype, outputs, seed=4)),
    }
    network = Network.create((5, 16, outputs), activation="tanh", dtype=dtype, seed=1)
    return replace(network, **scales)


def softmax(z):
    p = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("batch_size", [1, 77, 500])
def test_evaluate_classification_matches_scikit_learn(dtype, activation, batch_size):
    network = classifier(dtype, activation=activation)
    x, y = random(dtype, 400, 5), np.random.default_rng(0).integers(7, size=400)
    e = pyfq.evaluate(network, x, y, top_k=(1, 2, 3, 5, 7, 9), batch_size=batch_size)
    p, labels = softmax(classifier(dtype).forward(x)), np.arange(7)
    assert e.samples == 400
    assert e.loss == pytest.approx(metrics.log_loss(y, p, labels=labels), rel=1e-6)
    assert e.accuracy == metrics.accuracy_score(y, network.forward(x).argmax(axis=1))
    want = {k: metrics.top_k_accuracy_score(y, p, k=k, labels=labels) for k in (1, 2, 3, 5)}
    assert e.top_k == pytest.approx(want) and e.top_k[1] == e.accuracy
    said = network.forward(x).argmax(axis=1)
    assert e.confusion.dtype == np.int64
    assert np.array_equal(e.confusion, metrics.confusion_matrix(y, said, labels=labels))
    assert (e.rmse, e.r2, e.agreement, e.teacher_rmse) == (None,) * 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 77, 500])
def test_evaluate_regression_matches_scikit_learn(dtype, batch_size):
    network, x = emulator(dtype), random(dtype, 300, 5)
    z = network.forward(x)
    y = z + random(dtype, 300, 3, seed=9)
    e = pyfq.evaluate(network, x, y, batch_size=batch_size)
    y, z = y.astype(np.float64), z.astype(np.float64)
    assert e.rmse == pytest.approx(math.sqrt(metrics.mean_squared_error(y, z)))
    each = np.sqrt(metrics.mean_squared_error(y, z, multioutput="raw_values"))
    assert e.rmse_per_output == pytest.approx(each)
    assert e.r2 == pytest.approx(metrics.r2_score(y, z))
    assert e.r2_per_output == pytest.approx(metrics.r2_score(y, z, multioutput="raw_values"))
    assert e.mean_absolute_error == pytest.approx(metrics.mean_absolute_error(y, z))
    assert e.max_error == max(metrics.max_error(y[:, i], z[:, i]) for i in range(3))
    scaled = (z - y) / network.output_scale
    assert e.loss == pytest.approx((scaled**2).mean())
    assert (e.accuracy, e.top_k, e.confusion, e.agreement) == (None,) * 4


def test_evaluate_reports_the_loss_that_training_does():
    x = random(np.float64, 80, 5)
    for network, y in (
        (classifier(), np.arange(80) % 7),
        (classifier(activation="softmax"), np.arange(80) % 7),
        (emulator(), 100 * random(np.float64, 80, 3)),
    ):
        epoch = pyfq.train(network, x, y, epochs=1, validation=(x, y))
        e = pyfq.evaluate(epoch.network, x, y)
        assert e.loss == pytest.approx(epoch.epochs[0].validation_loss, rel=1e-12)


@given(data=st.data())
def test_evaluate_counts_ties_as_predict_does(data):
    """Outputs of few values, so that most are equal."""
    rows = st.lists(st.integers(-1, 1), min_size=4, max_size=4)
    w = np.array(data.draw(st.lists(rows, min_size=3, max_size=3)), np.float64)
    activation = data.draw(st.sampled_from([None, "softmax"]))
    classes = data.draw(st.sampled_from([None, np.array(["c", "a", "b"])]))
    network = Network([Dense(w, activation=activation)], classes=classes)
    n = data.draw(st.integers(1, 9))
    x = np.array(data.draw(st.lists(rows, min_size=n, max_size=n)), np.float64)
    at = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    e = pyfq.evaluate(network, x, at if classes is None else classes[at], top_k=(1, 2))
    order = np.argsort(-network.forward(x), axis=1, kind="stable")
    assert e.accuracy == e.top_k[1] == (order[:, 0] == at).mean()
    assert e.top_k[2] == (order[:, :2] == at[:, None]).any(axis=1).mean()
    if classes is not None:
        assert e.accuracy == (network.predict(x) == classes[at]).mean()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["plain", "softmax", "scaled", "scaled softmax"])
def test_evaluate_has_the_accuracy_of_predict(dtype, form):
    network = classifier(dtype, 4, "softmax" if "softmax" in form else None, np.arange(4) * 10)
    if "scaled" in form:
        mean, scale = random(dtype, 4), np.exp(random(dtype, 4, seed=5))
        network = replace(network, output_mean=mean, output_scale=scale)
    x, y = random(dtype, 1000, 5), 10 * (np.arange(1000) % 4)
    assert pyfq.evaluate(network, x, y).accuracy == (network.predict(x) == y).mean()


def test_evaluate_takes_weights_of_any_form():
    network, x = classifier(np.float32), random(np.float32, 500, 5)
    y = network.forward(x).argmax(axis=1)
    quantized = network.map_weights(lambda w: pyfq.quantize(w, 8))
    for form in (
        quantized,
        replace(quantized, activation_bits=8),
        network.map_weights(lambda w: pyfq.to_sparse(pyfq.prune_ratio(w, 0.5), "csr")),
    ):
        e = pyfq.evaluate(form, x, y, teacher=network)
        assert e.accuracy == e.agreement == (form.forward(x).argmax(axis=1) == y).mean() > 0.5


@pytest.mark.parametrize("batch_size", [9, 1000])
def test_evaluate_compares_with_a_teacher_of_any_kind(batch_size):
    network, x = classifier(), random(np.float64, 100, 5)
    teacher = classifier(activation="softmax").map_weights(
        lambda w: w + 0.3 * random(w.dtype, *w.shape)
    )
    want = (teacher.forward(x).argmax(axis=1) == network.forward(x).argmax(axis=1)).mean()
    assert 0.2 < want < 0.9
    for given_teacher in (teacher, teacher.forward, teacher.forward(x)):
        e = pyfq.evaluate(
            network, x, np.arange(100) % 7, teacher=given_teacher, batch_size=batch_size
        )
        assert e.agreement == want and e.teacher_rmse is None
    network = emulator()
    teacher = replace(emulator(), output_mean=network.output_mean + 2)
    y = network.forward(x) + 1
    for given_teacher in (teacher, teacher.forward, teacher.forward(x)):
        e = pyfq.evaluate(network, x, y, teacher=given_teacher, batch_size=batch_size)
        assert e.teacher_rmse == pytest.approx(2) and e.agreement is None
        assert e.rmse == pytest.approx(1)


def test_evaluate_r2_of_constant_outputs():
    network = Network([Dense(np.eye(2))])
    y = np.full((3, 2), 0.1)  # the mean of three tenths is not a tenth
    assert pyfq.evaluate(network, y, y).r2_per_output.tolist() == [1, 1]
    x = y + np.array([0, 0.5])
    e = pyfq.evaluate(network, x, y)
    assert e.r2_per_output.tolist() == [1, 0] and e.r2 == 0.5
    assert pyfq.evaluate(network, x[:1], y[:1]).r2_per_output.tolist() == [1, 0]
    tens = np.full((4, 1), 10.0)
    one = Network([Dense(np.eye(1))])
    for x in (tens, tens + np.eye(4)[:, 3:]):
        assert pyfq.evaluate(one, x, tens).r2 == metrics.r2_score(tens, x)


def test_evaluate_of_one_class():
    network = Network([Dense(np.ones((1, 2)))], classes=np.array([7]))
    e = pyfq.evaluate(network, np.ones((3, 2)), np.full(3, 7))
    assert (e.accuracy, e.top_k, e.loss, e.confusion.tolist()) == (1, {}, 0, [[3]])


def test_evaluation_as_dict_is_json():
    x = random(np.float64, 50, 5)
    network = classifier(classes=np.array(list("abcdefg")))
    e = pyfq.evaluate(network, x, network.predict(x), teacher=network)
    d = json.loads(json.dumps(e.as_dict(), allow_nan=False))
    assert d["accuracy"] == d["agreement"] == 1 and d["top_k"] == {"1": 1, "5": 1}
    assert np.array_equal(d["confusion"], e.confusion) and d["classes"] == list("abcdefg")
    assert "rmse" not in d and "r2_per_output" not in d
    assert {type(getattr(e, name)) for name in ("loss", "accuracy", "agreement")} == {float}
    e = pyfq.evaluate(emulator(), x, random(np.float64, 50, 3))
    d = json.loads(json.dumps(e.as_dict(), allow_nan=False))
    assert set(d) == {
        *("samples", "loss", "rmse", "mean_absolute_error", "max_error", "r2"),
        *("rmse_per_output", "r2_per_output"),
    }
    assert d["rmse_per_output"] == e.rmse_per_output.tolist()
    names = ("loss", "rmse", "mean_absolute_error", "max_error", "r2")
    assert {type(getattr(e, name)) for name in names} == {float}


def test_evaluation_text_has_a_line_for_each_class_or_output():
    x = random(np.float64, 50, 5)
    e = pyfq.evaluate(classifier(), x, np.arange(50) % 3)
    figures, classes = str(e).split("\n\n")
    assert f"\naccuracy  {e.accuracy:.6g}".split() == figures.splitlines()[2].split()
    assert "top 5" in figures and "top 1" not in figures and "rmse" not in figures
    rows = [line.split() for line in classes.splitlines()]
    assert [row[1] for row in rows] == ["samples", "17", "17", "16", "0", "0", "0", "0"]
    assert [row[2] for row in rows[4:]] == ["-"] * 4
    assert len({len(line) for line in classes.splitlines()}) == 1
    assert "class" not in str(pyfq.evaluate(classifier(outputs=21), x, np.arange(50) % 3))
    text = str(pyfq.evaluate(emulator(), x, random(np.float64, 50, 3)))
    assert [line.split()[0] for line in text.splitlines()[-4:]] == ["output", "0", "1", "2"]
    assert "output" not in str(pyfq.evaluate(emulator(outputs=1), x, random(np.float64, 50, 1)))


def test_evaluation_text_writes_counts_in_full():
    assert "1234567" in str(pyfq.Evaluation(1234567, 0.0))


def test_evaluate_refuses_outputs_that_are_not_finite():
    x = np.array([[1.0], [2.0], [1e308]])
    network = Network([Dense(np.array([[1e10], [0.0]]))])
    with pytest.raises(FloatingPointError, match=r"those of x\[2\] are \[inf  ?0.\]"):
        pyfq.evaluate(network, x, np.zeros(3, np.int64), batch_size=2)
    with pytest.raises(FloatingPointError, match="outputs of network must be finite"):
        pyfq.evaluate(network, x, np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": 3}, TypeError, "network must be a Network, not int"),
        ({"x": np.ones((4, 5), complex)}, TypeError, "x must be numbers, not complex128"),
        ({"x": np.ones((4, 3))}, ValueError, r"x must have shape \(samples, 5\), at least one"),
        ({"x": np.ones((0, 5))}, ValueError, "at least one"),
        ({"x": np.full((4, 5), np.nan)}, ValueError, "x must be finite"),
        ({"y": None}, TypeError, "y must be an array or a list of numbers, not NoneType"),
        ({"y": np.arange(3)}, ValueError, "y must have 4 samples, as x has, not 3"),
        ({"y": np.array([0, 1, 2, 7])}, ValueError, r"labels 0 ... 6, but y\[3\] is 7"),
        ({"y": np.array(0)}, ValueError, r"y must have shape \(4, 7\), not \(\)"),
        ({"y": np.ones((4, 6))}, ValueError, r"y must have shape \(4, 7\), not \(4, 6\)"),
        ({"y": np.full(4, 0.5)}, ValueError, r"labels 0 ... 6, but y\[0\] is 0.5"),
        ({"y": np.full((4, 7), "a")}, TypeError, "y must be numbers, not <U1 such as 'a'"),
        ({"y": np.full((4, 7), np.inf)}, ValueError, "y must be finite"),
        ({"top_k": (1, 0)}, ValueError, r"top_k\[1\] must be at least 1, not 0"),
        ({"top_k": (1.5,)}, TypeError, r"top_k\[0\] must be an integer"),
        ({"top_k": b"\x01"}, TypeError, "top_k must be a sequence of int, not bytes"),
        ({"top_k": "1"}, TypeError, "top_k must be a sequence of int, not str"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"teacher": 3}, TypeError, "teacher must be a Network, a callable, .* array, not int"),
        ({"teacher": np.ones((3, 7))}, ValueError, r"teacher must have shape \(4, 7\)"),
        ({"teacher": np.ones((4, 7), bytes)}, TypeError, "teacher must be numbers"),
        ({"teacher": lambda x: x}, ValueError, r"outputs of teacher must have shape \(4, 7\)"),
        (
            {"teacher": lambda x: x[:, :1] * np.nan + np.ones(7)},
            ValueError,
            "teacher must be finit",
        ),
        (
            {"teacher": Network.create((4, 7))},
            ValueError,
            "teacher must take 5 inputs as the student",
        ),
        ({"network": classifier(activation="tanh")}, ValueError, "last activation must be None or"),
        (
            {"network": classifier(activation="softmax"), "y": np.ones((4, 7))},
            ValueError,
            "last activation must not be 'softmax' for the loss 'mse'",
        ),
        (
            {"network": classifier(classes=np.arange(7)), "y": np.ones((4, 7))},
            ValueError,
            r"y must have shape \(samples,\)",
        ),
        (
            {
                "network": classifier(classes=np.arange(7)),
                "teacher": classifier(classes=np.arange(7)[::-1]),
            },
            ValueError,
            "teacher must have the classes of network, in the same order",
        ),
    ],
)
def test_evaluate_refuses(changes, error, message):
    data = {"network": classifier(), "x": np.ones((4, 5)), "y": np.arange(4)} | changes
    network, x, y = (data.pop(name) for name in ("network", "x", "y"))
    with pytest.raises(error, match=message):
        pyfq.evaluate(network, x, y, **data)


def test_sums_of_squares_that_overflow_are_told():
    network = Network([Dense(np.full((1, 1), 1e200))])
    with pytest.raises(FloatingPointError, match="loss must be finite, but it is inf"):
        pyfq.evaluate(network, np.ones((2, 1)), np.zeros((2, 1)))
