"""Data as people have them: training, distillation and evaluation give what converted arrays do."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC

import pyfq
from pyfq import Hint, Network, distill, evaluate, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
VALUES = X[:, :1] - X[:, 1:2] * X[:, 2:3]
LABELS = np.digitize(VALUES[:, 0], [-0.5, 0.5])
NAMES = np.array(["low", "mid", "top"])


def network(outputs=3, dtype=np.float64, **how):
    return Network.create((4, 8, outputs), dtype=dtype, seed=1, **how)


def named():
    net = network()
    return Network(net.layers, classes=NAMES)


def frame(x):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(x, columns=[f"column {i}" for i in range(x.shape[1])])


def tensor(x):
    return pytest.importorskip("torch").tensor(x)


def same(one, other):
    for a, b in zip(one.layers, other.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
        np.testing.assert_array_equal(a.bias, b.bias)


OTHERS = [lambda x: x.tolist(), np.asfortranarray, frame, tensor, lambda x: x.astype(">f8")]


@pytest.mark.parametrize("other", OTHERS)
def test_inputs_in_other_forms_are_taken_everywhere(other):
    x = other(X)
    net = network()
    want = train(net, X, LABELS, epochs=2, validation=(X, LABELS))
    got = train(net, x, LABELS, epochs=2, validation=(x, LABELS))
    same(got.network, want.network)
    assert got.epochs[1].validation_loss == want.epochs[1].validation_loss
    np.testing.assert_array_equal(net.forward(x), net.forward(X))
    np.testing.assert_array_equal(named().predict(x), named().predict(X))
    assert evaluate(net, x, LABELS).loss == evaluate(net, X, LABELS).loss
    teacher = network(3)
    learned = distill(teacher, net, x, LABELS, epochs=2, hints=[Hint(0, other(X[:, :2].copy()))])
    hint = Hint(0, X[:, :2].copy())
    same(learned.network, distill(teacher, net, X, LABELS, epochs=2, hints=[hint]).network)


def test_calibration_takes_a_data_frame_as_samples_and_lists_as_batches():
    net = network(dtype=np.float32).map_weights(lambda w: pyfq.quantize(w, 8))
    want = net.calibrate(X.astype(np.float32))
    for x in (frame(X), X, [X[:30], frame(X[30:])]):
        got = net.calibrate(x)
        assert [layer.x_scale for layer in got.layers] == [layer.x_scale for layer in want.layers]


@pytest.mark.parametrize("y", [VALUES[:, 0], VALUES[:, 0].tolist(), frame(VALUES)["column 0"]])
def test_values_of_one_output_are_one_axis_too(y):
    net = network(1)
    same(train(net, X, y, epochs=2).network, train(net, X, VALUES, epochs=2).network)
    assert evaluate(net, X, y).rmse == evaluate(net, X, VALUES).rmse
    learned = distill(lambda x: x[:, 0], net, X, y, epochs=2).network
    same(learned, distill(lambda x: x[:, :1], net, X, VALUES, epochs=2).network)
    kept = distill(X[:, 0].tolist(), net, X, y, epochs=2).network
    same(kept, learned)


@pytest.mark.parametrize("kind", [bool, int, np.uint8, float])
def test_labels_0_and_1_are_values_of_one_output(kind):
    net = network(1, output_activation="sigmoid")
    y = VALUES[:, 0] > 0
    want = train(net, X, y.astype(float)[:, None], epochs=2)
    same(train(net, X, y.astype(kind), epochs=2).network, want.network)
    found = evaluate(net, X, y.astype(kind))
    assert (found.accuracy, found.rmse) == (None, evaluate(net, X, y[:, None]).rmse)
    with pytest.raises(ValueError, match="need a network of two outputs"):
        train(network(1), X, y.astype(kind), loss="cross_entropy")


@pytest.mark.parametrize(
    "y",
    [LABELS.tolist(), LABELS[:, None], LABELS.astype(float), LABELS.astype(object), frame(X + 0)],
)
def test_labels_in_other_forms_are_the_same(y):
    if not isinstance(y, list | np.ndarray):
        y = y.assign(label=LABELS)["label"]
    same(train(network(), X, y, epochs=2).network, train(network(), X, LABELS, epochs=2).network)
    assert evaluate(network(), X, y).accuracy == evaluate(network(), X, LABELS).accuracy


def test_labels_that_are_text_are_those_of_classes():
    text = NAMES[LABELS]
    want = train(named(), X, text, epochs=2).network
    for y in (text.tolist(), text.astype(object), text[:, None]):
        same(train(named(), X, y, epochs=2).network, want)
    with pytest.raises(TypeError, match="y must be labels that are text, as the classes"):
        train(named(), X, LABELS)
    with pytest.raises(TypeError, match="y must be labels that are numbers, as the classes"):
        train(Network(network().layers, classes=np.arange(3)), X, text)


def test_weights_in_other_forms_are_the_same():
    weights, of_class = np.arange(60.0), [1, 2, 3]
    want = train(network(), X, LABELS, epochs=1, sample_weight=weights,
                 class_weight=np.array(of_class, float))  # fmt: skip
    for given in (list(range(60)), weights.astype(int)):
        got = train(network(), X, LABELS, epochs=1, sample_weight=given, class_weight=of_class)
        same(got.network, want.network)


# ---------------------------------------------------------------------------------- teachers


def test_estimators_teach_the_logarithms_of_their_probabilities():
    forest = RandomForestClassifier(5, random_state=0).fit(X, NAMES[LABELS])
    p = np.log(np.maximum(forest.predict_proba(X), 2.0**-23))
    student = named()
    want = distill(p, student, X, NAMES[LABELS], epochs=3).network
    same(distill(forest, student, X, NAMES[LABELS], epochs=3).network, want)
    alone = network()
    same(distill(forest, alone, X, epochs=3).network, distill(p, alone, X, loss="kl",
                                                              epochs=3).network)  # fmt: skip
    agreement = evaluate(student, X, NAMES[LABELS], teacher=forest).agreement
    assert agreement == (student.predict(X) == forest.predict(X)).mean()


def test_classes_of_an_estimator_are_put_in_the_order_of_the_student():
    forest = RandomForestClassifier(5, random_state=0).fit(X, NAMES[LABELS])
    student = Network(network().layers, classes=NAMES[::-1])
    p = np.log(np.maximum(forest.predict_proba(X), 2.0**-23))[:, ::-1]
    same(distill(forest, student, X, epochs=2).network, distill(p, student, X, epochs=2).network)


def test_estimators_teach_values():
    forest = RandomForestRegressor(5, random_state=0).fit(X, VALUES[:, 0])
    want = distill(forest.predict(X), network(1), X, epochs=2).network
    same(distill(forest, network(1), X, epochs=2).network, want)


def test_estimators_that_cannot_teach_are_refused_by_name():
    svm = LinearSVC().fit(X, LABELS)
    with pytest.raises(TypeError, match=r"teacher \(LinearSVC\) must have predict_proba"):
        distill(svm, network(), X, epochs=1)
    with pytest.raises(ValueError, match=r"teacher \(Rand.*\) must be fitted: it has no classes_"):
        distill(RandomForestClassifier(), network(), X, epochs=1)
    forest = RandomForestClassifier(3).fit(X, LABELS % 2)
    with pytest.raises(ValueError, match=r"teacher \(Rand.*\) must tell each sample one of 3 clas"):
        distill(forest, network(), X, epochs=1)
    student = Network(network().layers, classes=np.arange(3))
    with pytest.raises(ValueError, match=r"must know the class 2 of the student, .* \[0, 1\]"):
        distill(forest, student, X, epochs=1)


def test_models_of_other_libraries_are_shown_their_importer():
    mlp = MLPClassifier((3,), max_iter=1)
    with pytest.raises(
        TypeError, match=r"not sklearn MLPClassifier: pass pyfq.from_sklearn\(network\)"
    ):
        train(mlp, X, LABELS)
    with pytest.raises(TypeError, match=r"student .* pass pyfq.from_sklearn\(student\)"):
        distill(network(), mlp, X, LABELS)
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"not torch Linear: pass pyfq.from_torch\(network\)"):
        evaluate(torch.nn.Linear(4, 3), X, LABELS)
