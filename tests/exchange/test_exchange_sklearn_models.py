"""Linear models, what comes before a model, and what searches for one: networks that do the same.

What is right is what scikit-learn predicts. What no network does exactly is refused by name.
"""

import inspect
from types import CellType, FunctionType

import numpy as np
import pytest
import sklearn.linear_model as linear
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, KernelPCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC, LinearSVR

import pyfq

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 6)) * np.array([1, 10, 0.1, 3, 1, 100]) + 2
Y = X @ np.array([1, 0.1, 10, -0.3, -1, 0.01])
TWO = np.stack([Y, 1 - 3 * Y], 1)
BINARY = np.where(np.median(Y) < Y, "yes", "no")
SEVERAL = np.digitize(Y, np.quantile(Y, [0.3, 0.6]))
FRESH = RNG.normal(size=(40, 6)) * 3


def mlp():
    return MLPClassifier((8,), max_iter=20, random_state=0)


def check_same(estimator, proba=True, dtype=None):
    network = pyfq.from_sklearn(estimator, dtype=dtype)
    x = FRESH.astype(network.dtype)
    want, got = estimator.predict(x), network.forward(x)
    if network.classes is not None:
        np.testing.assert_array_equal(network.predict(x), want)
        want = estimator.predict_proba(x) if proba else estimator.decision_function(x)
        got = got[:, 1] if want.ndim == 1 else got
    room = 1e-5 * max(np.abs(want).max(), 1)
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=room)
    return network


# ---------------------------------------------------------------------------------- linear models


@pytest.mark.parametrize("y", [Y, TWO, Y[:, None]])
@pytest.mark.parametrize(
    "model", [linear.LinearRegression(), linear.Ridge(0.1), linear.RidgeCV(), linear.Ridge(
        fit_intercept=False)]
)  # fmt: skip
def test_linear_models_of_any_targets_predict_the_same(model, y):
    network = check_same(model.fit(X, y))
    assert network.sizes == (6, 1 if y.ndim == 1 else y.shape[1])


@pytest.mark.parametrize(
    "model",
    [
        linear.ARDRegression(),
        linear.BayesianRidge(),
        linear.ElasticNet(),
        linear.ElasticNetCV(cv=2),
        linear.HuberRegressor(),
        linear.Lars(),
        linear.LarsCV(cv=2),
        linear.Lasso(),
        linear.LassoCV(cv=2),
        linear.LassoLars(),
        linear.LassoLarsCV(cv=2),
        linear.LassoLarsIC(),
        linear.OrthogonalMatchingPursuit(),
        linear.OrthogonalMatchingPursuitCV(cv=2),
        linear.QuantileRegressor(),
        linear.SGDRegressor(random_state=0),
        linear.TheilSenRegressor(max_subpopulation=50, random_state=0),
        LinearSVR(),
        linear.TweedieRegressor(power=0),
        linear.TweedieRegressor(power=1, link="identity"),
    ],
)
def test_linear_regressors_predict_the_same(model):
    x = StandardScaler().fit_transform(X)
    check_same(model.fit(x, np.abs(Y) + 1))
    check_same(model, dtype=np.float32)


LOGARITHMIC = [
    linear.PoissonRegressor(),
    linear.GammaRegressor(),
    linear.TweedieRegressor(power=1.5),
    linear.TweedieRegressor(power=0, link="log"),
    linear.PoissonRegressor(fit_intercept=False, solver="newton-cholesky"),
]
HAS_POISSON = "loss" in inspect.signature(MLPRegressor).parameters  # scikit-learn 1.7
needs_poisson = pytest.mark.skipif(not HAS_POISSON, reason="needs MLPRegressor(loss='poisson')")


@pytest.mark.parametrize("model", LOGARITHMIC, ids=str)
@pytest.mark.parametrize("dtype", [None, np.float32])
def test_regressors_of_logarithmic_links_end_in_an_exponential(model, dtype):
    counts = np.abs(np.round(Y / 10)) + 1
    alone = model.fit(StandardScaler().fit_transform(X), counts)
    assert check_same(alone, dtype=dtype).layers[-1].activation == "exp"
    check_same(make_pipeline(StandardScaler(), PCA(3), model).fit(X, counts), dtype=dtype)
    check_same(
        TransformedTargetRegressor(model, transformer=MinMaxScaler((1, 2))).fit(X / 100, counts),
        dtype=dtype,
    )


@needs_poisson
@pytest.mark.parametrize("y", [np.abs(Y), np.abs(TWO)])
@pytest.mark.parametrize("dtype", [None, np.float32])
def test_perceptrons_of_poisson_loss_end_in_an_exponential(y, dtype):
    sizes = {"hidden_layer_sizes": (8, 5)}
    model = MLPRegressor(loss="poisson", max_iter=20, random_state=0, **sizes)
    network = check_same(make_pipeline(StandardScaler(), model).fit(X, y), dtype=dtype)
    assert [layer.activation for layer in network.layers] == ["relu", "relu", "exp"]
    model.fit(StandardScaler().fit_transform(X).astype(np.float32), y.astype(np.float32))
    assert check_same(model).dtype == np.float32


@pytest.mark.parametrize("size", [60, 600, -600])
def test_exponentials_that_float32_rounds_to_infinity_or_0_are_taken(size):
    """What is right is what float64 gives, rounded."""
    model = linear.PoissonRegressor().fit(StandardScaler().fit_transform(X), np.abs(Y))
    edited(model, coef_=np.abs(size) * np.ones(6) / 10, intercept_=float(size))
    network = pyfq.from_sklearn(model, dtype=np.float32)
    x = FRESH.astype(np.float32) / 100
    with np.errstate(over="ignore", under="ignore"):
        want = model.predict(x).astype(np.float32)
    np.testing.assert_allclose(network.forward(x)[:, 0], want, rtol=1e-3)


@pytest.mark.parametrize("factor", [2.0, -1.0])
def test_another_function_than_the_exponential_of_its_link_is_refused(factor, monkeypatch):
    model = linear.PoissonRegressor().fit(StandardScaler().fit_transform(X), np.abs(Y))
    link = type(model._base_loss.link)
    monkeypatch.setattr(link, "inverse", lambda self, z, out=None: factor * np.exp(z))
    with pytest.raises(ValueError, match=r"\(PoissonRegressor\): its predict gives something else"):
        pyfq.from_sklearn(model)


def test_a_link_that_layers_do_not_have_is_refused_by_name():
    from sklearn._loss.link import LogitLink

    model = linear.TweedieRegressor(power=0).fit(StandardScaler().fit_transform(X), np.abs(Y))
    model._base_loss.link = LogitLink()
    with pytest.raises(ValueError, match=r"\(TweedieRegressor\) has a LogitLink, and layers have"):
        pyfq.from_sklearn(model)


@pytest.mark.parametrize("y", [BINARY, SEVERAL, BINARY == "yes"])
@pytest.mark.parametrize("how", [{}, {"solver": "newton-cg"}, {"fit_intercept": False}])
def test_logistic_regression_gives_its_probabilities(y, how):
    network = check_same(linear.LogisticRegression(**how).fit(X, y))
    assert network.layers[-1].activation == "softmax"
    check_same(linear.LogisticRegressionCV(cv=2, Cs=2).fit(X, y), dtype=np.float32)


@pytest.mark.parametrize("y", [BINARY, SEVERAL])
@pytest.mark.parametrize(
    "model",
    [
        linear.RidgeClassifier(),
        linear.RidgeClassifierCV(),
        linear.Perceptron(),
        linear.SGDClassifier(random_state=0),
        LinearSVC(),
    ],
)
def test_other_linear_classifiers_give_their_classes_and_decision_values(model, y):
    network = check_same(model.fit(X, y), proba=False)
    assert network.layers[-1].activation is None


def test_sgd_of_two_classes_and_log_loss_gives_its_probabilities():
    x = StandardScaler().fit_transform(X)
    model = linear.SGDClassifier(loss="log_loss", random_state=0)
    assert check_same(model.fit(x, BINARY)).layers[-1].activation == "softmax"
    assert check_same(model.fit(x, SEVERAL), proba=False).layers[-1].activation is None


@pytest.mark.parametrize("y", [BINARY, SEVERAL])
@pytest.mark.parametrize(
    "left_over",
    [
        {"multi_class": "multinomial"}, {"multi_class": "ovr"}, {"solver": "liblinear"},
        {"C": -1}, {"penalty": "l1"}, {"coef_": "large"},
    ],
    ids=str,
)  # fmt: skip
def test_attributes_that_its_version_ignores_change_nothing(y, left_over):
    """Some were read by older versions: then what those computed is right."""
    model = linear.LogisticRegression().fit(X, y)
    if left_over == {"coef_": "large"}:  # all probabilities of samples are 0 or 1
        left_over = {"coef_": 1e6 * model.coef_, "multi_class": "multinomial"}
    edited(model, **left_over)
    is_softmax = pyfq.from_sklearn(model).layers[-1].activation == "softmax"
    check_same(model, proba=is_softmax)


def old(proba):
    """Return a method as one of scikit-learn would be."""
    return FunctionType(proba.__code__, {"__name__": "sklearn.old", "np": np})


def of_each_class(self, x):
    likely = 1 / (1 + np.exp(-self.decision_function(x)))
    return likely / likely.sum(axis=1, keepdims=True)


def of_both_signs(self, x):
    z = self.decision_function(x)
    return np.stack([1 / (1 + np.exp(2 * z)), 1 / (1 + np.exp(-2 * z))], axis=1)


def test_one_logistic_function_for_each_class_is_no_softmax(monkeypatch):
    """As versions before 1.8 have for multi_class="ovr"."""
    model = linear.LogisticRegression().fit(X, SEVERAL)
    monkeypatch.setattr(linear.LogisticRegression, "predict_proba", old(of_each_class))
    network = check_same(model, proba=False)
    assert network.layers[-1].activation is None


def test_two_classes_of_one_multinomial_model_have_their_softmax(monkeypatch):
    """As versions before 1.8 have for multi_class="multinomial"."""
    model = linear.LogisticRegression().fit(X, BINARY)
    monkeypatch.setattr(linear.LogisticRegression, "predict_proba", old(of_both_signs))
    network = check_same(model)
    assert network.layers[-1].activation == "softmax"


def test_two_rows_of_two_classes_are_two_logistic_functions():
    model = linear.LogisticRegression().fit(X, BINARY)
    edited(model, coef_=np.concatenate([-0.3 * model.coef_, model.coef_]), intercept_=np.ones(2))
    network = check_same(model, proba=False)
    assert network.layers[-1].activation is None


@pytest.mark.parametrize(
    ("kind", "method", "y", "match"),
    [
        (linear.Ridge, "predict", Y, r"\(Ridge\): its predict gives something else than its w"),
        (linear.RidgeClassifier, "decision_function", SEVERAL, "its decision_function gives some"),
        (linear.RidgeClassifier, "predict", SEVERAL, "its predict gives other classes"),
        (MLPRegressor, "predict", Y, r"\(MLPRegressor\): its predict gives something else"),
        (MLPClassifier, "predict_proba", SEVERAL, "its predict_proba gives something else"),
    ],
)
def test_what_computes_something_else_in_its_version_is_refused(
    kind, method, y, match, monkeypatch
):
    model = kind().fit(X[:20], y[:20])
    changed = FunctionType(
        (lambda self, x: method(self, x)[::-1] * 2).__code__,
        {"__name__": "sklearn.new"},
        closure=(CellType(getattr(kind, method)),),
    )
    monkeypatch.setattr(kind, method, changed)
    with pytest.raises(ValueError, match=match):
        pyfq.from_sklearn(model)


def of_an_older_model(self, x):
    return self.multi_class


def test_what_can_not_be_asked_is_refused(monkeypatch):
    model = linear.LogisticRegression().fit(X, SEVERAL)
    monkeypatch.setattr(linear.LogisticRegression, "predict_proba", old(of_an_older_model))
    match = r"\(LogisticRegression\): its predict_proba fails: .* has no attribute 'multi_class'"
    with pytest.raises(ValueError, match=match):
        pyfq.from_sklearn(model)


# ---------------------------------------------------------------------------------- before models


def columns(**how):
    return ColumnTransformer(
        [("a", StandardScaler(), [3, 0]), ("b", "drop", [1]), ("c", MinMaxScaler(), [5])], **how
    )


PREPARED = {
    "standard": StandardScaler,
    "min-max": MinMaxScaler,
    "min-max of a range": lambda: MinMaxScaler((-3, 7)),
    "max-abs": MaxAbsScaler,
    "robust": RobustScaler,
    "robust without center": lambda: RobustScaler(with_centering=False),
    "robust without scale": lambda: RobustScaler(with_scaling=False, unit_variance=True),
    "two scalers": lambda: make_pipeline(RobustScaler(), MinMaxScaler()),
    "pca": lambda: make_pipeline(StandardScaler(), PCA(3)),
    "pca of all": PCA,
    "whitened": lambda: make_pipeline(StandardScaler(), PCA(4, whiten=True), MinMaxScaler()),
    "two pcas": lambda: make_pipeline(PCA(5), StandardScaler(), PCA(2)),
    "columns": columns,
    "columns and the rest": lambda: columns(remainder="passthrough"),
    "columns, the rest scaled": lambda: columns(remainder=MaxAbsScaler()),
    "columns weighted": lambda: columns(transformer_weights={"a": 3.0, "c": 0.5}),
    "columns read twice": lambda: ColumnTransformer(
        [("a", StandardScaler(), [0, 1, 2]), ("b", make_pipeline(RobustScaler(), PCA(2)), [1, 2])]
    ),
    "columns in columns": lambda: ColumnTransformer(
        [("a", ColumnTransformer([("b", StandardScaler(), [1])]), [2, 4]), ("c", PCA(1), [0, 5])]
    ),
    "columns of a mask": lambda: ColumnTransformer(
        [("a", StandardScaler(), np.array([1, 0, 1, 0, 0, 1], bool)), ("b", "passthrough", [1])]
    ),
    "columns behind pca": lambda: make_pipeline(
        PCA(4), ColumnTransformer([("a", RobustScaler(), [2, 0])], remainder="passthrough")
    ),
}


@pytest.mark.parametrize("prepare", PREPARED.values(), ids=PREPARED)
@pytest.mark.parametrize("dtype", [None, np.float32])
def test_what_comes_before_a_model_becomes_part_of_the_network(prepare, dtype):
    check_same(make_pipeline(prepare(), mlp()).fit(X, SEVERAL), dtype=dtype)
    check_same(make_pipeline(prepare(), linear.Ridge()).fit(X, Y), dtype=dtype)


def test_columns_by_name_are_those_of_the_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    parts = ColumnTransformer([("x", StandardScaler(), ["e", "b"]), ("y", PCA(2), ["a", "c", "d"])])
    model = make_pipeline(parts, linear.Ridge()).fit(frame, Y)
    network = pyfq.from_sklearn(model)
    fresh = pandas.DataFrame(FRESH, columns=list("abcdef"))
    np.testing.assert_allclose(network.predict(fresh)[:, 0], model.predict(fresh), atol=1e-9)


def test_scalers_of_columns_stay_scalers():
    network = pyfq.from_sklearn(make_pipeline(columns(), mlp()).fit(X, SEVERAL))
    assert network.sizes == (6, 8, 3)
    np.testing.assert_allclose(network.input_mean[[3, 0]], X.mean(axis=0)[[3, 0]])
    assert network.input_scale[1] == 1 and not network.layers[0].weights[:, [1, 2, 4]].any()


def test_pca_is_a_layer_where_that_multiplies_less():
    wide = MLPClassifier((50,), max_iter=5, random_state=0)
    assert pyfq.from_sklearn(make_pipeline(PCA(2), wide).fit(X, SEVERAL)).sizes == (6, 2, 50, 3)
    assert pyfq.from_sklearn(make_pipeline(PCA(6), wide).fit(X, SEVERAL)).sizes == (6, 50, 3)


@pytest.mark.parametrize(
    "scaler", [MinMaxScaler, MaxAbsScaler, RobustScaler, lambda: StandardScaler(with_std=False)]
)
@pytest.mark.parametrize("y", [Y, TWO])
def test_targets_are_scaled_back(scaler, y):
    regressor = make_pipeline(StandardScaler(), linear.Ridge())
    check_same(TransformedTargetRegressor(regressor, transformer=scaler()).fit(X, y))


# ---------------------------------------------------------------------------------- around models


@pytest.mark.parametrize("search", [GridSearchCV, RandomizedSearchCV])
def test_searches_give_their_best_estimator(search):
    how = {"n_iter": 2, "random_state": 0} if search is RandomizedSearchCV else {}
    model = make_pipeline(MinMaxScaler(), linear.LogisticRegression())
    found = search(model, {"logisticregression__C": [0.1, 10]}, cv=2, **how).fit(X, BINARY)
    check_same(found)
    check_same(make_pipeline(StandardScaler(), found).fit(X, BINARY))


def test_frozen_models_are_taken():
    frozen = pytest.importorskip("sklearn.frozen").FrozenEstimator(mlp().fit(X, SEVERAL))
    check_same(frozen)
    check_same(type(frozen)(frozen))


def test_frozen_steps_are_taken():
    freeze = pytest.importorskip("sklearn.frozen").FrozenEstimator
    for scaler in (StandardScaler(), make_pipeline(RobustScaler(), freeze(PCA(3).fit(X)))):
        frozen = freeze(scaler.fit(X))
        check_same(
            make_pipeline(frozen, freeze(MaxAbsScaler().fit(frozen.transform(X))), mlp()).fit(
                X, SEVERAL
            )
        )
    parts = ColumnTransformer([("a", freeze(StandardScaler().fit(X[:, :2])), [1, 0])])
    check_same(make_pipeline(parts, linear.Ridge()).fit(X, Y))
    model = TransformedTargetRegressor(linear.Ridge(), transformer=MinMaxScaler()).fit(X, Y)
    check_same(edited(model, transformer_=freeze(model.transformer_)))


def test_what_does_nothing_is_left_out():
    check_same(TransformedTargetRegressor(linear.Ridge()).fit(X, Y))
    parts = [("a", StandardScaler(), [0, 1]), ("b", "passthrough", [2, 3])]
    columns = ColumnTransformer(parts, transformer_weights={"a": None, "b": 2})
    check_same(make_pipeline(columns, linear.Ridge()).fit(X, Y))


class OwnNothing(FunctionTransformer):
    def transform(self, X):
        return 2 * X


def test_frozen_steps_with_methods_of_their_own_are_refused():
    freeze = pytest.importorskip("sklearn.frozen").FrozenEstimator

    class Doubled(freeze):
        def transform(self, X):
            return 2 * self.estimator.transform(X)

    own = Doubled(StandardScaler().fit(X))
    on_it = edited(freeze(StandardScaler().fit(X)), transform=lambda x: 2 * x)
    for step in (own, on_it):
        model = make_pipeline(step, linear.Ridge()).fit(X, Y)
        with pytest.raises(ValueError, match=r"\(FrozenEstimator\) has transform of its own"):
            pyfq.from_sklearn(model)


def test_a_student_keeps_its_weights_behind_scalers():
    student = pyfq.StudentClassifier((8,), max_iter=3, compression=8, random_state=0)
    model = make_pipeline(RobustScaler(), MinMaxScaler(), student).fit(X, SEVERAL)
    network = check_same(model)
    assert network.layers[0].weights.bits == 8
    assert pyfq.from_sklearn(student.fit(X, SEVERAL)) is student.network_
    regressor = pyfq.StudentRegressor((8,), max_iter=3, random_state=0)
    check_same(make_pipeline(StandardScaler(), regressor).fit(X, Y))


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32])
def test_an_intercept_is_not_rounded_to_the_dtype_of_weights(dtype):
    coef = np.array([100, 2, 3, 4])[: X.shape[1]].astype(dtype)
    model = edited(linear.Ridge().fit(X[:, : coef.size], Y), coef_=coef, intercept_=0.123456789)
    network = pyfq.from_sklearn(model, dtype=np.float64)
    assert network.layers[0].bias[0] == 0.123456789


# ---------------------------------------------------------------------------------- refused


class OwnStudent(pyfq.StudentRegressor):
    def predict(self, X):
        return 2 * super().predict(X)


def test_students_that_predict_something_else_are_refused():
    student = pyfq.StudentRegressor((4,), max_iter=2, random_state=0)
    own = OwnStudent((4,), max_iter=2, random_state=0).fit(X, Y)
    zeros = edited(clone(student).fit(X, Y), predict=lambda x: np.zeros(len(x)))
    for model in (own, zeros, make_pipeline(StandardScaler(), own).fit(X, Y)):
        with pytest.raises(ValueError, match=r"predict of its own"):
            pyfq.from_sklearn(model)
    student.fit(X, Y)
    other = edited(student, network_=pyfq.Network.create((X.shape[1], 1), dtype=np.float64))
    assert pyfq.from_sklearn(other) is other.network_  # which predict asks
    with pytest.raises(TypeError, match="network_ must be a Network, not str"):
        pyfq.from_sklearn(edited(student, network_="weights"))


def test_network_of_an_estimator_of_another_is_not_taken_for_what_it_predicts():
    class Exponential(BaseEstimator):
        def predict(self, X):
            return np.exp(self.network_.forward(X))

    model = Exponential()
    model.network_ = pyfq.Network.create((X.shape[1], 1), dtype=np.float64)
    with pytest.raises(TypeError, match=r"or student, .*not Exponential"):
        pyfq.from_sklearn(model)


class OwnPCA(PCA):
    def transform(self, X):
        return 2 * super().transform(X)


def without_refit():
    return GridSearchCV(linear.Ridge(), {"alpha": [1]}, cv=2, refit=False).fit(X, Y)


def edited_pca(**attributes):
    model = make_pipeline(PCA(3), linear.Ridge()).fit(X, Y)
    for name, value in attributes.items():
        setattr(model[0], name, value)
    return model


def edited(model, **attributes):
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (
            lambda: make_pipeline(MinMaxScaler(clip=True), linear.Ridge()).fit(X, Y),
            ValueError,
            r"\['minmaxscaler'\] \(MinMaxScaler\) must not clip",
        ),
        (
            lambda: make_pipeline(KernelPCA(2), linear.Ridge()).fit(X, Y),
            TypeError,
            r"\['kernelpca'\] must be a StandardScaler, MinMaxScaler, .* not KernelPCA",
        ),
        (
            lambda: make_pipeline(
                ColumnTransformer([("hot", OneHotEncoder(), [0])]), linear.Ridge()
            ).fit(SEVERAL[:, None], Y),
            TypeError,
            r"\['columntransformer'\]\['hot'\] must be a StandardScaler, .* not OneHotEncoder",
        ),
        (
            lambda: make_pipeline(
                ColumnTransformer([("f", FunctionTransformer(np.log1p), [0])]), linear.Ridge()
            ).fit(np.abs(X), Y),
            TypeError,
            r"\['f'\] must be a .* not FunctionTransformer",
        ),
        (
            lambda: make_pipeline(OwnPCA(2), linear.Ridge()).fit(X, Y),
            ValueError,
            r"\(OwnPCA\) has transform of its own",
        ),
        (
            lambda: edited_pca(components_=np.ones((2, 6))),
            ValueError,
            r"\(PCA\) takes 6 features and gives 2, but what follows takes 3",
        ),
        (lambda: edited_pca(mean_=np.ones(5)), ValueError, r"mean_ must be an array of 6 numbers"),
        (
            lambda: TransformedTargetRegressor(
                linear.Ridge(), func=np.log, inverse_func=np.exp
            ).fit(X, np.abs(Y) + 1),
            TypeError,
            r"transformer_ must be a scaler, not FunctionTransformer",
        ),
        (
            lambda: make_pipeline(
                ColumnTransformer([("f", OwnNothing(), [0, 1])]), linear.Ridge()
            ).fit(X, Y),
            ValueError,
            r"\(OwnNothing\) has transform of its own",
        ),
        (without_refit, ValueError, "must have best_estimator_: fit it with refit=True"),
        (lambda: RandomForestClassifier(2).fit(X, BINARY), TypeError, "not RandomForestClassifier"),
        (lambda: linear.Ridge(), ValueError, "not fitted"),
        (
            lambda: linear.RidgeClassifier().fit(X, TWO > 0),
            ValueError,
            r"\(RidgeClassifier\) must give each sample one label",
        ),
        (
            lambda: linear.LogisticRegression().fit(X, BINARY).sparsify(),
            TypeError,
            "coef_ must be an array of numbers",
        ),
        (
            lambda: edited(linear.Ridge().fit(X, Y), coef_=np.full(6, np.nan)),
            ValueError,
            r"coef_, intercept_ must be finite",
        ),
        (
            lambda: edited(linear.Ridge().fit(X, Y), intercept_=np.ones(3)),
            ValueError,
            r"intercept_ must have shape \(1,\)",
        ),
        (
            lambda: edited(linear.Ridge().fit(X, Y), n_features_in_=5),
            ValueError,
            "n_features_in_ must be 6, as coef_ has, not 5",
        ),
        (
            lambda: make_pipeline(
                PCA(2), pyfq.StudentRegressor((3,), max_iter=1, random_state=0)
            ).fit(X, Y),
            TypeError,
            "may follow scalers alone",
        ),
    ],
)
def test_what_no_network_does_is_refused_by_name(make, error, match):
    estimator = make()
    with pytest.raises(error, match=match):
        pyfq.from_sklearn(estimator)
