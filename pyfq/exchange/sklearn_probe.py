"""What a model of scikit-learn computes, found out by asking it.

Attributes that say what a model computes may be left over from fitting, or be read by one version
of scikit-learn and not by another. What a model answers is what it computes.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..networks.network import Network
from .sklearn_fitted import Named

# Rows that a model is asked about.
_ROWS = 8
# Features of a model that stands in for another; its decision values are of any kind.
_FEATURES = 3
# Of the sums of magnitudes: more than float32 rounds, less than another function differs by.
_ROOM = 1e-4

# What predict_proba may be: the softmax of decision values, where two classes have one value z:
# that of 0 and z, or of -z and z.
Probabilities = Literal["softmax", "softmax of both signs"] | None


def probabilities_of(named: Named) -> Probabilities:
    """Return what `predict_proba` of a fitted linear classifier is of its decision values.

    Asked is a copy with other coefficients, of few features: decision values that were fitted may
    be so large that all functions of them are 0 or 1.

    Parameters
    ----------
    named : Named
        The classifier.

    Returns
    -------
    "softmax", "softmax of both signs" or None
        None if it has no probabilities, or they are another function.

    Raises
    ------
    ValueError
        If it can't be asked.
    """
    model, where = named
    random = np.random.default_rng(0)
    rows = random.normal(size=(_ROWS, _FEATURES))
    weights = random.normal(size=(*model.coef_.shape[:-1], _FEATURES))
    asked = _copy_of(
        model,
        coef_=weights,
        intercept_=random.normal(size=np.shape(model.intercept_)),
        n_features_in_=_FEATURES,
    )
    if not hasattr(asked, "predict_proba"):
        return None
    given = np.asarray(_answer(asked, "predict_proba", rows, where))
    z = np.asarray(_answer(asked, "decision_function", rows, where))
    if z.ndim == 1:
        forms = {"softmax": (np.zeros_like(z), z), "softmax of both signs": (-z, z)}
    else:
        forms = {"softmax": tuple(z.T)}
    for form, values in forms.items():
        likely = np.exp(np.stack(values, axis=1))
        likely /= likely.sum(axis=1, keepdims=True)
        if given.shape == likely.shape and np.allclose(given, likely, rtol=0, atol=_ROOM):
            return form
    return None


def refuse_another(named: Named, network: Network) -> None:
    """Raise ValueError if a network computes something else than the model that it was made of.

    Parameters
    ----------
    named : Named
        A perceptron or a linear model.
    network : Network
        What was made of it, with nothing before or behind.
    """
    model, where = named
    x = np.random.default_rng(0).normal(size=(_ROWS, network.sizes[0])).astype(network.dtype)
    asked = _copy_of(model)
    method = "predict"
    if network.classes is not None:
        has_softmax = network.layers[-1].activation == "softmax"
        method = "predict_proba" if has_softmax else "decision_function"
    want = np.asarray(_answer(asked, method, x, where), np.float64)
    got = network.forward(x).astype(np.float64)
    if network.layers[-1].activation == "exp":
        want, got = _sums_of(want, network.dtype), _sums_of(got, network.dtype)
    if network.classes is not None and want.ndim == 1:
        got = got[:, 1] - got[:, 0]
    if got.size != want.size or _differ(got.reshape(want.shape), want, _room(network, x)):
        raise ValueError(
            f"{where} ({type(model).__name__}): its {method} gives something else than its "
            "weights and attributes say: distill(estimator, student, x) learns what it gives"
        )
    if network.classes is not None:
        labels = np.asarray(_answer(asked, "predict", x, where))
        ordered = np.sort(network.forward(x), axis=1)
        is_sure = ordered[:, -1] - ordered[:, -2] > _room(network, x)
        if not np.array_equal(labels[is_sure], network.predict(x)[is_sure]):
            raise ValueError(
                f"{where} ({type(model).__name__}): its predict gives other classes than those "
                "that are likeliest, or in another order than classes_"
            )


def _sums_of(y: NDArray, dtype: np.dtype) -> NDArray:
    """Return the logarithms of exponentials, of which a dtype rounds some to 0 or infinity."""
    ends = np.finfo(dtype)
    return np.log(np.clip(y, ends.tiny, ends.max))


def _copy_of(model: Any, **attributes: Any) -> Any:
    """Return a model with other attributes, and without names of features, which arrays lack."""
    copy = object.__new__(type(model))
    vars(copy).update(vars(model) | attributes)
    vars(copy).pop("feature_names_in_", None)
    return copy


def _answer(model: Any, method: str, x: NDArray, where: str) -> Any:
    try:
        with np.errstate(all="ignore"):
            return getattr(model, method)(x)
    except Exception as e:
        raise ValueError(f"{where} ({type(model).__name__}): its {method} fails: {e}") from e


def _differ(got: NDArray, want: NDArray, room: NDArray) -> bool:
    """Tell whether answers differ by more than the room of their rows; no number is as another."""
    with np.errstate(invalid="ignore"):
        away = np.abs(got - want).reshape(len(room), -1).max(axis=1)
    return bool((away > room).any())


def _room(network: Network, x: NDArray) -> NDArray:
    """Return what rounding may do to the outputs of each row, or to their logarithms, and more.

    No hidden activation of a perceptron gives more than its input and 1.
    """
    size = np.abs(x).astype(np.float64)
    with np.errstate(over="ignore"):
        for layer in network.layers:
            bias = 0 if layer.bias is None else np.abs(layer.bias.astype(np.float64))
            size = size @ np.abs(layer.toarray().astype(np.float64)).T + bias + 1
    return _ROOM * size.max(axis=1)
