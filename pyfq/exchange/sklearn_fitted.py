"""What fitted estimators of scikit-learn hold, and whether their methods are those known."""

import inspect
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._core.check import FLOATS, shown
from .overrides import overrides


class Named(NamedTuple):
    """An estimator, and what an error calls it."""

    estimator: Any
    where: str


# What a subclass may define, or scikit-learn defines in every subclass, that predict does not use.
_HARMLESS = {
    "__sklearn_tags__", "_backprop", "_fit", "_parameter_constraints",
    "_sklearn_auto_wrap_output_keys", "fit", "fit_transform", "method", "partial_fit", "positive",
    "score",
    "set_fit_request", "set_inverse_transform_request", "set_partial_fit_request",
    "set_predict_request", "set_score_request", "set_transform_request",
}  # fmt: skip
# What computes predictions.
_METHODS = (
    "_decision_function", "_forward_pass_fast", "_linear_predictor", "_predict", "_transform",
    "decision_function", "inverse_transform", "predict", "predict_proba", "transform",
)  # fmt: skip


def check_fitted(named: Named, kind: type) -> None:
    """Refuse what is not fitted, or may compute something else than its class in scikit-learn."""
    from sklearn.utils.validation import check_is_fitted

    refuse_overrides(*named, kind)
    check_is_fitted(named.estimator)


def refuse_own_methods(estimator: Any, where: str, kind: type) -> None:
    """Refuse what has a method of its own."""
    names = overrides(estimator, kind, _HARMLESS)
    if names:
        raise ValueError(
            f"{where} ({type(estimator).__name__}) has {', '.join(names)} of its own, so it may "
            f"predict something else than {kind.__name__} does: distill from a function that calls "
            "it"
        )


def refuse_overrides(estimator: Any, where: str, kind: type) -> None:
    """Refuse what has a method of its own, or one that scikit-learn did not define."""
    refuse_own_methods(estimator, where, kind)
    for name in _METHODS:
        if not is_of_sklearn(inspect.getattr_static(kind, name, None)):
            raise ValueError(f"{where}: {kind.__name__}.{name} is not that of scikit-learn")


def is_of_sklearn(method: Any) -> bool:
    """Tell whether a function is defined by scikit-learn, as far as that can be seen."""
    if not isinstance(method, FunctionType):
        return True
    return method.__globals__.get("__name__", "").startswith("sklearn.")


def refuse_features(fitted: Any, where: str, name: str, features: int) -> None:
    """Refuse what checks its inputs for another number of features than its arrays have."""
    checked = getattr(fitted, "n_features_in_", features)
    if checked != features:
        raise ValueError(
            f"{where}.n_features_in_ must be {features}, as {name} has, not {shown(checked)}"
        )


def numbers_of(named: Named, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an attribute that is an array of numbers of a shape, as float64."""
    x = getattr(named.estimator, name, None)
    if not is_numbers(x) or x.shape != shape:
        given = x.shape if isinstance(x, np.ndarray) else x
        wanted = f"{shape[0]} numbers" if len(shape) == 1 else f"numbers of shape {shape}"
        raise ValueError(f"{named.where}.{name} must be an array of {wanted}, not {given}")
    return x.astype(np.float64)


def is_numbers(x: Any) -> bool:
    """Tell whether an attribute is an array of numbers; one that is mapped from a file is."""
    plain = isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray | np.matrix)
    return plain and x.dtype.kind in "fiu"


def dtype_of(arrays: list[NDArray], where: str, name: str) -> np.dtype:
    """Return the dtype of a network of some weights, if it is one."""
    dtype = np.result_type(*arrays)
    if dtype.type not in FLOATS:
        raise TypeError(
            f"{where}.{name} must be float32 or float64, not {dtype}: pass dtype=np.float32"
        )
    return dtype.newbyteorder("=")


def cast(x: NDArray, dtype: np.dtype, where: str) -> NDArray:
    """Return a contiguous array of `dtype`, whose numbers are finite if those of `x` are."""
    with np.errstate(over="ignore"):
        y = np.ascontiguousarray(x, dtype)
    if not np.isfinite(x).all():
        raise ValueError(f"{where} must be finite")
    beyond = x[~np.isfinite(y)]
    if beyond.size:
        raise ValueError(
            f"{where} must be finite in {dtype}, and {beyond.flat[0]:g} is beyond it: pass "
            "dtype=np.float64"
        )
    return y


def thawed(named: Named) -> Named:
    """Return what a FrozenEstimator holds, which answers for it; any other estimator as it is."""
    try:
        from sklearn.frozen import FrozenEstimator
    except ModuleNotFoundError:  # before scikit-learn 1.6
        return named
    estimator, where = named
    while isinstance(estimator, FrozenEstimator):
        refuse_overrides(estimator, where, FrozenEstimator)
        # Methods that it does not have itself it looks up in what it holds.
        own = [name for name in _METHODS if _is_defined(estimator, name)]
        if own:
            raise ValueError(f"{where} (FrozenEstimator) has {', '.join(own)} of its own")
        estimator, where = estimator.estimator, f"{where}.estimator"
    return Named(estimator, where)


def _is_defined(estimator: Any, name: str) -> bool:
    """Tell whether an instance or its class defines a name."""
    return inspect.getattr_static(estimator, name, None) is not None


def class_labels(classes: Any, where: str) -> NDArray:
    """Return the labels of a classifier that knows at least two."""
    classes = np.asarray(classes)
    if len(classes) < 2:
        raise ValueError(f"{where} must know at least two classes, not {len(classes)}")
    strings = classes.dtype == object and all(isinstance(label, str) for label in classes)
    return classes.astype(str) if strings else classes
