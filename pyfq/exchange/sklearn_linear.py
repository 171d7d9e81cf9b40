"""Linear models of scikit-learn: layers that predict what they do."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._core.check import shown
from .sklearn_fitted import Named, check_fitted, class_labels, dtype_of, is_numbers, refuse_features
from .sklearn_probe import probabilities_of

# Their predict is ``x @ coef_.T + intercept_``.
_REGRESSORS = (
    "ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "HuberRegressor", "Lars",
    "LarsCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "LinearRegression",
    "LinearSVR", "MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso",
    "MultiTaskLassoCV", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor", "QuantileRegressor", "Ridge", "RidgeCV", "SGDRegressor",
    "TheilSenRegressor",
)  # fmt: skip
# Theirs is a function of that, the inverse of their link.
_GENERALIZED = ("GammaRegressor", "PoissonRegressor", "TweedieRegressor")
_INVERSES = {"IdentityLink": None, "LogLink": "exp"}
# Theirs is the class whose decision value is the largest.
_CLASSIFIERS = (
    "LinearSVC", "LogisticRegression", "LogisticRegressionCV", "PassiveAggressiveClassifier",
    "Perceptron", "RidgeClassifier", "RidgeClassifierCV", "SGDClassifier",
)  # fmt: skip


class Layer(NamedTuple):
    """What a linear model computes.

    Attributes
    ----------
    weights : (outputs, inputs) array
        Weights of any dtype of floats.
    bias : (outputs,) array
        The same.
    activation : "softmax", "exp" or None
        Behind it.
    classes : (outputs,) array or None
        Labels.
    dtype : dtype
        Dtype of a network, if the caller wants no other.
    """

    weights: NDArray
    bias: NDArray
    activation: str | None
    classes: NDArray | None
    dtype: np.dtype


def is_linear(model: Any) -> bool:
    """Tell whether an estimator is one of the linear models."""
    return _kind_of(model) is not None


def layer_of(named: Named, *, any_dtype: bool = False) -> Layer:
    """Return the layer that predicts what a fitted linear model does.

    Parameters
    ----------
    named : Named
        The model.
    any_dtype : bool
        Whether weights may be floats that no network has.

    Returns
    -------
    Layer
        Two classes have two outputs, 0 and the decision value.

    Raises
    ------
    TypeError, ValueError
        If no layer does that, or attributes are not those of a fitted model.
    """
    model, where = named
    kind = _kind_of(model)
    check_fitted(named, kind)
    weights, bias = _arrays_of(named)
    dtype = np.dtype(np.float64) if any_dtype else dtype_of([weights], where, "coef_")
    if kind.__name__ not in _CLASSIFIERS:
        function = _inverse_of_link(named) if kind.__name__ in _GENERALIZED else None
        return Layer(weights, bias, function, None, dtype)
    binarizer = getattr(model, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        raise ValueError(f"{where} ({kind.__name__}) must give each sample one label, not several")
    classes = class_labels(model.classes_, f"{where} ({kind.__name__})")
    is_one = len(classes) == 2 and len(weights) == 1
    if not is_one and len(weights) != len(classes):
        raise ValueError(
            f"{where}.coef_ must have a row for each of {len(classes)} classes, not {len(weights)}"
        )
    probabilities = probabilities_of(named)
    if is_one:
        other = -1 if probabilities == "softmax of both signs" else 0
        weights = np.concatenate([other * weights, weights])
        bias = np.concatenate([other * bias, bias])
    activation = None if probabilities is None else "softmax"
    return Layer(weights, bias, activation, classes, dtype)


def _inverse_of_link(named: Named) -> str | None:
    """Return the activation that makes predictions of sums."""
    model, where = named
    link = type(model._base_loss.link).__name__
    if link not in _INVERSES:
        raise ValueError(
            f"{where} ({type(model).__name__}) has a {link}, and layers have the inverse of "
            f"{' and '.join(_INVERSES)} alone: distill(estimator, student, x) learns what it gives"
        )
    return _INVERSES[link]


def _kind_of(model: Any) -> type | None:
    """Return the class of scikit-learn that says what a linear model does."""
    from sklearn import linear_model, svm

    kinds = {
        getattr(linear_model, name, None) or getattr(svm, name, None)
        for name in _REGRESSORS + _GENERALIZED + _CLASSIFIERS
    }
    return next((kind for kind in type(model).__mro__ if kind in kinds), None)


def _arrays_of(named: Named) -> tuple[NDArray, NDArray]:
    """Return weights (outputs, inputs) and a bias for each output."""
    model, where = named
    weights = model.coef_
    if not is_numbers(weights) or weights.ndim not in (1, 2):
        given = weights.shape if isinstance(weights, np.ndarray) else type(weights).__name__
        raise TypeError(f"{where}.coef_ must be an array of numbers of 1 or 2 axes, not {given}")
    weights = np.atleast_2d(weights)
    refuse_features(model, where, "coef_", weights.shape[1])
    bias = np.atleast_1d(np.asarray(model.intercept_))
    if not is_numbers(bias):
        raise TypeError(f"{where}.intercept_ must be numbers, not {bias.dtype}")
    if bias.shape not in ((1,), weights.shape[:1]):
        raise ValueError(
            f"{where}.intercept_ must have shape {weights.shape[:1]}, not {shown(bias.shape)}"
        )
    return weights, np.broadcast_to(bias, weights.shape[:1])
