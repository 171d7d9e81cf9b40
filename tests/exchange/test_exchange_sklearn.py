"""Estimators of scikit-learn become networks that predict what they do, or are refused by name.

Each table makes an estimator in one way; its own `predict` is what is right.
"""

import functools
import inspect
import warnings

import joblib
import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network._multilayer_perceptron import ACTIVATIONS
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import pyfq

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5)) * np.array([1, 10, 0.1, 3, 1]) + 2
Y = X @ np.array([1, 0.1, 10, -0.3, -1])
TWO = np.stack([Y, 1 - 3 * Y], 1)
BINARY = (np.median(Y) < Y).astype(int)
SEVERAL = np.digitize(Y, np.quantile(Y, [0.3, 0.6]))
MLPS = {"max_iter": 20, "random_state": 0}


def regressor(y=Y, x=X, **how):
    return fitted(MLPRegressor(hidden_layer_sizes=(8,), **MLPS, **how), x, y)


def classifier(y=SEVERAL, x=X, **how):
    return fitted(MLPClassifier((8,), **MLPS, **how), x, y)


def scaled(**how):
    return fitted(
        make_pipeline(StandardScaler(**how), MLPRegressor(hidden_layer_sizes=(8,), **MLPS)), X, Y
    )


def of_target(y=Y, transformer=None):
    transformer = StandardScaler() if transformer is None else transformer
    mlp = MLPRegressor(hidden_layer_sizes=(8,), **MLPS)
    return fitted(TransformedTargetRegressor(mlp, transformer=transformer), X, y)


def fitted(estimator, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few iterations, columns, and own scalers
        return estimator.fit(x, y)


def edited(estimator, **attributes):
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def check_same(estimator, dtype):
    network = pyfq.from_sklearn(estimator, dtype=dtype)
    x = np.ascontiguousarray(RNG.normal(size=(50, 5)) * 3, network.dtype)
    want, got = estimator.predict(x), network.forward(x)
    if network.classes is not None:
        np.testing.assert_array_equal(network.predict(x), want)
        want = estimator.predict_proba(x)
    room = 1e-5 * max(np.abs(want).max(), 1)
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=room)


# ---------------------------------------------------------------------------------- the same


class Small(MLPClassifier):
    def __init__(self, hidden_layer_sizes=(3,), max_iter=20):
        super().__init__(hidden_layer_sizes, max_iter=max_iter)

    def fit(self, X, y, verbose=False):
        return super().fit(X, y)

    def describe(self):
        return "small"


class PlainScaler(StandardScaler):
    pass


def in_parts(y, classes):
    mlp = MLPClassifier((8,), random_state=0)
    for _ in range(5):
        mlp.partial_fit(X, y, classes=classes)
    return mlp


def fitted_again():
    mlp = regressor(warm_start=True)
    return fitted(mlp, X, -Y)


def scaler_fitted_again():
    pipeline = scaled()
    pipeline[0].fit(3 * X + 1)
    return pipeline


def scaler_edited():
    pipeline = scaled()
    edited(pipeline[0], scale_=2 * pipeline[0].scale_, mean_=pipeline[0].mean_ - 1, var_=None)
    return pipeline


def without_variance():
    x = X.copy()
    x[:, 0] = 4
    return fitted(
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), **MLPS)), x, Y
    )


def cached(tmp_path):
    model = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), **MLPS), memory=str(tmp_path)
    )
    return fitted(fitted(model, X, Y), X, Y)


@pytest.mark.parametrize("dtype", [None, np.float32])
@pytest.mark.parametrize(
    "make",
    [
        lambda: regressor().set_params(activation="tanh"),
        lambda: classifier().set_params(activation="logistic", hidden_layer_sizes=(1, 2, 3)),
        lambda: edited(regressor(), out_activation_="tanh"),
        lambda: edited(regressor(TWO), out_activation_="softmax"),
        lambda: edited(
            regressor(),
            coefs_=[np.ones((5, 3)), np.ones((3, 1))],
            intercepts_=[np.zeros(3), np.ones(1)],
        ),
        lambda: edited(regressor(), coefs_=[np.ones((5, 8), np.float32), np.ones((8, 1))]),
        lambda: edited(regressor(), coefs_=[np.ones((5, 8), int), np.ones((8, 1))]),
        lambda: classifier(early_stopping=True),
        lambda: classifier(x=X.astype(np.float32)),
        lambda: classifier(BINARY[:, None] == 1),
        lambda: classifier(np.array(["a", "bb", "c"], object)[SEVERAL]),
        lambda: in_parts(SEVERAL, [0, 1, 2, 3]),
        lambda: in_parts(BINARY, [0, 1]),
        fitted_again,
        lambda: fitted(Small(), X, SEVERAL),
        scaled,
        scaler_fitted_again,
        scaler_edited,
        without_variance,
        lambda: scaled().set_params(standardscaler__with_mean=False),
        lambda: scaled().set_params(standardscaler__with_std=False),
        lambda: scaled().set_params(standardscaler="passthrough"),
        lambda: scaled().set_params(standardscaler=None),
        lambda: scaled().set_params(mlpregressor__activation="identity"),
        lambda: fitted(
            make_pipeline(PlainScaler(), MLPRegressor(hidden_layer_sizes=(8,), **MLPS)), X, Y
        ),
        lambda: fitted(make_pipeline(StandardScaler(), make_pipeline(classifier())), X, SEVERAL),
        of_target,
        lambda: of_target(TWO),
        lambda: of_target(Y[:, None]),
        lambda: of_target().set_params(transformer=None, regressor__activation="tanh"),
        lambda: of_target(transformer=StandardScaler().set_output(transform="default")),
    ],
)
def test_networks_predict_what_estimators_do_now(make, dtype):
    check_same(make(), dtype)


def test_steps_that_were_fitted_from_a_cache_are_taken(tmp_path):
    check_same(cached(tmp_path), None)


def test_weights_that_are_mapped_from_a_file_are_taken(tmp_path):
    joblib.dump(scaled(), tmp_path / "model.joblib")
    model = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert isinstance(model[-1].coefs_[0], np.memmap)
    check_same(model, None)


@pytest.mark.filterwarnings("ignore")
def test_samples_with_weights_are_taken():
    mlp = MLPRegressor(hidden_layer_sizes=(8,), **MLPS)
    if "sample_weight" not in inspect.signature(mlp.fit).parameters:
        pytest.skip("this scikit-learn fits without weights of samples")
    check_same(mlp.fit(X, Y, sample_weight=np.abs(Y)), None)


# ---------------------------------------------------------------------------------- refused


class OwnPredict(MLPClassifier):
    def predict(self, X):
        return 0 * super().predict(X)


class OwnProbabilities(MLPClassifier):
    def predict_proba(self, X):
        return super().predict_proba(X) ** 2


class OwnPass(MLPRegressor):
    def _forward_pass_fast(self, X, check_input=True):
        return 2 * super()._forward_pass_fast(X)


class OwnTransform(StandardScaler):
    def transform(self, X, copy=None):
        return 2 * super().transform(X)


class OwnInverse(StandardScaler):
    def inverse_transform(self, X, copy=None):
        return 2 * super().inverse_transform(X)


class OwnPipeline(Pipeline):
    def predict(self, X):
        return 0


def without(estimator, name):
    delattr(estimator, name)
    return estimator


def scaler_with(**attributes):
    pipeline = scaled()
    edited(pipeline[0], **attributes)
    return pipeline


def with_labels(estimator, **attributes):
    edited(estimator._label_binarizer, **attributes)
    return estimator


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: fitted(OwnPredict((3,)), X, BINARY), ValueError, r"\(OwnPredict\) has predict of"),
        (lambda: fitted(OwnProbabilities((3,)), X, BINARY), ValueError, "has predict_proba of its"),
        (
            lambda: fitted(OwnPass(hidden_layer_sizes=(3,)), X, Y),
            ValueError,
            "has _forward_pass_fast of its own",
        ),
        (lambda: edited(classifier(), predict=len), ValueError, "has predict of its own"),
        (
            lambda: fitted(
                make_pipeline(OwnTransform(), MLPRegressor(hidden_layer_sizes=(3,))), X, Y
            ),
            ValueError,
            r"estimator\['owntransform'\] \(OwnTransform\) has transform of its own",
        ),
        (
            lambda: of_target(transformer=OwnInverse()),
            ValueError,
            r"estimator\.transformer_ \(OwnInverse\) has inverse_transform of its own",
        ),
        (
            lambda: fitted(OwnPipeline([("mlp", MLPRegressor(hidden_layer_sizes=(3,)))]), X, Y),
            ValueError,
            r"estimator \(OwnPipeline\) has predict of its own",
        ),
        (lambda: regressor().set_params(activation="swish"), ValueError, "activation must be one"),
        (lambda: regressor().set_params(activation="softmax"), ValueError, "not 'softmax'"),
        (lambda: edited(regressor(), out_activation_="elu"), ValueError, "out_activation_ must be"),
        (lambda: edited(regressor(), n_layers_=2), ValueError, r"coefs_ must hold n_layers_ - 1 ="),
        (lambda: edited(regressor(), coefs_=[]), ValueError, "coefs_ must hold"),
        (lambda: without(regressor(), "intercepts_"), ValueError, "must have intercepts_"),
        (lambda: without(classifier(), "_label_binarizer"), ValueError, "have _label_binarizer"),
        (
            lambda: edited(regressor(), coefs_=[np.ones((5, 3)), np.ones((8, 1))]),
            ValueError,
            r"coefs_\[0\], intercepts_\[0\]: bias must have shape \(3,\), not \(8,\)",
        ),
        (
            lambda: edited(regressor(), intercepts_=[np.ones(8), np.array(1.0)]),
            ValueError,
            r"intercepts_\[1\] must have 1 axes, not shape \(\)",
        ),
        (
            lambda: edited(regressor(), coefs_=[np.full((5, 8), np.nan), np.ones((8, 1))]),
            ValueError,
            r"coefs_\[0\], intercepts_\[0\] must be finite",
        ),
        (
            lambda: edited(regressor(), coefs_=[np.ones((5, 8)).tolist(), np.ones((8, 1))]),
            TypeError,
            r"coefs_\[0\] must be an array of floats, not list",
        ),
        (
            lambda: edited(regressor(), coefs_=[np.ma.ones((5, 8)), np.ones((8, 1))]),
            TypeError,
            r"coefs_\[0\] must be an array of floats, not MaskedArray",
        ),
        (
            lambda: edited(regressor(), n_features_in_=3),
            ValueError,
            r"estimator\.n_features_in_ must be 5, as coefs_\[0\] has, not 3",
        ),
        (
            lambda: scaler_with(n_features_in_=4),
            ValueError,
            r"\['standardscaler'\]\.n_features_in_ must be 5, as mean_ has, not 4",
        ),
        (
            lambda: with_labels(classifier(), inverse_transform=lambda y: y),
            ValueError,
            r"estimator\._label_binarizer \(LabelBinarizer\) has inverse_transform of its own",
        ),
        (
            lambda: edited(regressor(), coefs_=[np.ones((5, 8)) + 0j, np.ones((8, 1))]),
            TypeError,
            r"coefs_\[0\] must be an array of floats, not complex128",
        ),
        (lambda: edited(classifier(), classes_=np.arange(7, 10)), ValueError, "classes_ must be"),
        (lambda: edited(classifier(BINARY), classes_=np.array([1, 0])), ValueError, "that predict"),
        (
            lambda: edited(classifier(BINARY), out_activation_="identity"),
            ValueError,
            "2 classes need out_activation_ 'logistic' and n_outputs_ 1, not 'identity' and 1",
        ),
        (lambda: edited(classifier(), out_activation_="logistic"), ValueError, "need out_act"),
        (lambda: edited(classifier(), n_outputs_=1), ValueError, "'softmax' and n_outputs_ 3"),
        (
            lambda: scaled(with_mean=False, with_std=False).set_params(
                standardscaler__with_mean=True
            ),
            ValueError,
            r"\['standardscaler'\]\.mean_ must be an array of 5 numbers, not None",
        ),
        (
            lambda: scaled(with_std=False).set_params(standardscaler__with_std=True),
            ValueError,
            r"\['standardscaler'\]\.scale_ must be an array of 5 numbers, not None",
        ),
        (lambda: scaler_with(mean_=np.ones(1)), ValueError, r"5 numbers, not \(1,\)"),
        (lambda: scaler_with(scale_=np.zeros(5)), ValueError, r"input_scale must not be 0"),
        (
            lambda: scaled().set_params(mlpregressor="passthrough"),
            TypeError,
            r"\['mlpregressor'\] must be an MLPClassifier, .* not str",
        ),
        (
            lambda: edited(of_target(), regressor_=classifier(BINARY)),
            TypeError,
            r"regressor_ must be a regressor or end in one, not MLPClassifier",
        ),
        (
            lambda: edited(of_target(), regressor_=of_target()),
            TypeError,
            "regressor_ must be a regressor .* not TransformedTargetRegressor",
        ),
    ],
)
def test_what_may_predict_something_else_is_refused_by_name(make, error, match):
    estimator = make()
    with pytest.raises(error, match=match):
        pyfq.from_sklearn(estimator)


def test_weights_that_a_dtype_does_not_hold_are_refused():
    mlp = edited(regressor(), coefs_=[np.full((5, 8), 1e300), np.ones((8, 1))])
    pyfq.from_sklearn(mlp)
    with pytest.raises(ValueError, match=r"coefs_\[0\], .* must be finite in float32"):
        pyfq.from_sklearn(mlp, dtype=np.float32)
    half = [w.astype(np.float16) for w in regressor().coefs_]
    mlp = edited(regressor(), coefs_=half, intercepts_=[np.zeros(8, np.float16), half[1][0]])
    with pytest.raises(TypeError, match=r"coefs_ must be float32 .*, not float16: pass dtype="):
        pyfq.from_sklearn(mlp)
    check_same(mlp, np.float32)


@pytest.mark.parametrize("method", ["predict", "_forward_pass_fast", "predict_proba"])
def test_classes_that_were_changed_are_refused(method, monkeypatch):
    mlp, old = classifier(), getattr(MLPClassifier, method)

    @functools.wraps(old)
    def new(self, X, **how):
        return 1 - old(self, X, **how)

    monkeypatch.setattr(MLPClassifier, method, new, raising=False)
    with pytest.raises(ValueError, match=f"MLPClassifier.{method} is not that of scikit-learn"):
        pyfq.from_sklearn(mlp)


def test_activations_that_were_changed_are_refused(monkeypatch):
    mlp = regressor()
    monkeypatch.setitem(ACTIVATIONS, "relu", lambda x: np.abs(x, out=x))
    with pytest.raises(ValueError, match=r"activation: the function relu is not that of scikit"):
        pyfq.from_sklearn(mlp)


def test_an_activation_that_its_version_does_not_have_is_refused(monkeypatch):
    """As versions before 1.7 do not have the exponential."""
    mlp = edited(regressor(), out_activation_="exp")
    monkeypatch.delitem(ACTIVATIONS, "exp", raising=False)
    with pytest.raises(ValueError, match=r"\(MLPRegressor\): its predict fails: 'exp'"):
        pyfq.from_sklearn(mlp)


@pytest.mark.parametrize("dtype", ["x", ">f8", np.float16, int])
def test_a_dtype_that_networks_do_not_have_is_refused_by_name(dtype):
    with pytest.raises(TypeError, match=r"^dtype must be float32 or float64, not "):
        pyfq.from_sklearn(regressor(), dtype=dtype)


def test_weights_in_another_byte_order_are_taken():
    fitted = regressor()
    want = pyfq.from_sklearn(fitted).forward(X)
    fitted.coefs_ = [w.astype(">f8") for w in fitted.coefs_]
    fitted.intercepts_ = [b.astype(">f8") for b in fitted.intercepts_]
    np.testing.assert_array_equal(pyfq.from_sklearn(fitted).forward(X), want, strict=True)
