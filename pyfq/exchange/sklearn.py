"""Networks from scikit-learn: what `predict` of a fitted multi-layer perceptron computes."""

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._core.check import FLOATS, as_float_dtype, shown
from ..networks.network import Network
from ..networks.operations import Linear, Nonlinear, Operation, network_of
from .overrides import overrides

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

# What scikit-learn calls them.
_HIDDEN = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_OUTPUT = _HIDDEN | {"softmax": "softmax"}
# What a subclass may define, or scikit-learn defines in every subclass, that predict does not use.
_HARMLESS = {
    "__sklearn_tags__", "_backprop", "_fit", "_parameter_constraints",
    "_sklearn_auto_wrap_output_keys", "fit", "fit_transform", "partial_fit", "score",
    "set_fit_request", "set_inverse_transform_request", "set_partial_fit_request",
    "set_predict_request", "set_score_request", "set_transform_request",
}  # fmt: skip
# What computes predictions.
_METHODS = (
    "_forward_pass_fast", "_predict", "inverse_transform", "predict", "predict_proba", "transform",
)  # fmt: skip


def from_sklearn(estimator: "BaseEstimator", *, dtype: DTypeLike = None) -> Network:
    r"""Return the network of a fitted multi-layer perceptron of scikit-learn.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, Pipeline or TransformedTargetRegressor
        Fitted. A pipeline is a StandardScaler and one of the others, a transformed target is that
        of a regressor and a StandardScaler; they become means and scales of the network.
    dtype : float32 or float64, optional
        Of the network; by default that of the estimator's weights.

    Returns
    -------
    Network
        What the estimator predicts as it is now, with parameters and fitted attributes that were
        changed after fitting.

        Of a regressor, `forward` gives what its ``predict`` does, with an axis of outputs. Of a
        classifier, `predict` gives its classes and `forward` its ``predict_proba``: two classes
        have two outputs, :math:`\mathrm{softmax}(0, z)`, where scikit-learn has one logistic.

    Raises
    ------
    TypeError
        If the estimator, or a step of it, is none of these, its weights are no arrays of floats,
        or `dtype` is neither.
    ValueError
        If it is not fitted, classifies into several labels at once or into one class, ends in
        another activation, or holds a number that is not finite. If a subclass or the instance has
        an own ``predict`` or another method that it uses, or fitted attributes do not belong
        together.
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((16,), solver="lbfgs", max_iter=5000, random_state=0).fit(x, y)
    >>> network = from_sklearn(mlp)
    >>> network.sizes
    (4, 16, 3)
    >>> np.array_equal(network.predict(x), mlp.predict(x))
    True
    """
    (mlp, where), of_input, of_output = _parts_of(estimator, "estimator")
    weights, biases = _layers_of(mlp, where)
    given = _dtype_of([*weights, *biases], where) if dtype is None else dtype
    dtype = as_float_dtype(given)
    classes = _classes_of(mlp, where, len(biases[-1])) if _is_classifier(mlp) else None
    output_activation = mlp.out_activation_
    if classes is not None and output_activation == "logistic":
        weights[-1] = np.concatenate([np.zeros_like(weights[-1]), weights[-1]])
        biases[-1] = np.concatenate([np.zeros_like(biases[-1]), biases[-1]])
        output_activation = "softmax"
    operations: list[Operation] = []
    for i, (w, bias) in enumerate(zip(weights, biases, strict=True)):
        layer = f"{where}.coefs_[{i}], intercepts_[{i}]"
        operations.append(Linear(layer, _cast(w, dtype, layer), _cast(bias, dtype, layer)))
        word = _OUTPUT[output_activation] if i == len(weights) - 1 else _HIDDEN[mlp.activation]
        operations += [] if word is None else [Nonlinear(layer, word)]
    network = network_of(operations)
    ends = _ends_of("input", of_input, network.sizes[0], dtype)
    ends |= _ends_of("output", of_output, network.sizes[-1], dtype)
    return Network(network.layers, classes=classes, **ends)


# An estimator and what an error calls it.
_Named = tuple[Any, str]


def _parts_of(estimator: Any, where: str) -> tuple[_Named, _Named | None, _Named | None]:
    """Return a fitted MLP, and what scales its inputs and its outputs, with their places."""
    try:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import Pipeline
        from sklearn.utils.validation import check_is_fitted
    except ModuleNotFoundError as e:
        raise ImportError(
            "from_sklearn needs scikit-learn: pip install 'pyfq-fortran[sklearn]'"
        ) from e
    match estimator:
        case MLPClassifier() | MLPRegressor():
            kind = MLPClassifier if isinstance(estimator, MLPClassifier) else MLPRegressor
            _refuse_overrides(estimator, where, kind)
            check_is_fitted(estimator)
            return (estimator, where), None, None
        case TransformedTargetRegressor():
            _refuse_overrides(estimator, where, TransformedTargetRegressor)
            check_is_fitted(estimator)
            its_name = f"{where}.regressor_"
            mlp, of_input, of_output = _parts_of(estimator.regressor_, its_name)
            if of_output is not None or not isinstance(mlp[0], MLPRegressor):
                wrong = type(mlp[0] if of_output is None else estimator.regressor_).__name__
                raise TypeError(f"{its_name} must be an MLPRegressor or end in one, not {wrong}")
            return mlp, of_input, _scaler(estimator.transformer_, f"{where}.transformer_")
        case Pipeline():
            _refuse_overrides(estimator, where, Pipeline)
            return _parts_of_pipeline(estimator, where)
    raise TypeError(
        f"{where} must be an MLPClassifier, MLPRegressor, Pipeline or TransformedTargetRegressor, "
        f"not {type(estimator).__name__}"
    )


def _parts_of_pipeline(pipeline: Any, where: str) -> tuple[_Named, _Named | None, _Named | None]:
    steps = [(f"{where}[{shown(name)}]", step) for name, step in pipeline.steps]
    if not steps:
        raise TypeError(f"{where} must end in an MLP, but has no step")
    scaler = None
    for name, step in steps[:-1]:
        if step is None or (isinstance(step, str) and step == "passthrough"):
            continue
        its_scaler = _scaler(step, name)
        if scaler is not None:
            raise TypeError(f"{name}: there must be one StandardScaler, not two")
        scaler = its_scaler
    mlp, of_input, of_output = _parts_of(steps[-1][1], steps[-1][0])
    if scaler is not None and of_input is not None:
        raise TypeError(f"{steps[-1][0]}: there must be one StandardScaler, not two")
    return mlp, scaler if of_input is None else of_input, of_output


def _scaler(step: Any, where: str) -> _Named:
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(step, StandardScaler):
        raise TypeError(f"{where} must be a StandardScaler, not {type(step).__name__}")
    _refuse_overrides(step, where, StandardScaler)
    check_is_fitted(step)
    return step, where


def _refuse_overrides(estimator: Any, where: str, kind: type) -> None:
    names = overrides(estimator, kind, _HARMLESS)
    if names:
        raise ValueError(
            f"{where} ({type(estimator).__name__}) has {', '.join(names)} of its own, so it may "
            f"predict something else than {kind.__name__} does: distill from a function that calls "
            "it"
        )
    for name in _METHODS:
        if not _is_of_sklearn(inspect.getattr_static(kind, name, None)):
            raise ValueError(f"{where}: {kind.__name__}.{name} is not that of scikit-learn")


def _is_of_sklearn(method: Any) -> bool:
    """Tell whether a function is defined by scikit-learn, as far as that can be seen."""
    if not isinstance(method, FunctionType):
        return True
    return method.__globals__.get("__name__", "").startswith("sklearn.")


def _layers_of(mlp: Any, where: str) -> tuple[list[NDArray], list[NDArray]]:
    """Return weights, as a network has them, and biases."""
    _refuse_missing(mlp, where)
    _refuse_functions(mlp, where)
    weights = _arrays_of(mlp, "coefs_", 2, where)
    _refuse_features(mlp, where, "coefs_[0]", len(weights[0]))
    return [w.T for w in weights], _arrays_of(mlp, "intercepts_", 1, where)


def _refuse_features(fitted: Any, where: str, name: str, features: int) -> None:
    """Refuse what checks its inputs for another number of features than its arrays have."""
    checked = getattr(fitted, "n_features_in_", features)
    if checked != features:
        raise ValueError(
            f"{where}.n_features_in_ must be {features}, as {name} has, not {shown(checked)}"
        )


def _refuse_missing(mlp: Any, where: str) -> None:
    """Refuse an MLP that lacks an attribute that its predict reads."""
    needed = ["coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_"]
    needed += ["classes_", "_label_binarizer"] if _is_classifier(mlp) else []
    for name in needed:
        if not hasattr(mlp, name):
            raise ValueError(f"{where} ({type(mlp).__name__}) must have {name}, as fitted ones do")


def _refuse_functions(mlp: Any, where: str) -> None:
    """Refuse activations that a network has not."""
    from sklearn.neural_network._multilayer_perceptron import ACTIVATIONS  # which predict reads

    for name, given, known in (
        ("activation", mlp.activation, _HIDDEN), ("out_activation_", mlp.out_activation_, _OUTPUT),
    ):  # fmt: skip
        if not isinstance(given, str) or given not in known:
            raise ValueError(
                f"{where}.{name} must be one of {', '.join(known)}, not {shown(given)}"
            )
        if not _is_of_sklearn(ACTIVATIONS[given]):
            raise ValueError(f"{where}.{name}: the function {given} is not that of scikit-learn")


def _arrays_of(mlp: Any, name: str, axes: int, where: str) -> list[NDArray]:
    """Return the weights or biases that predict uses, one array a layer."""
    arrays = list(getattr(mlp, name))
    if not arrays or len(arrays) != mlp.n_layers_ - 1:
        raise ValueError(
            f"{where}.{name} must hold n_layers_ - 1 = {mlp.n_layers_ - 1} arrays, at least 1, not "
            f"{len(arrays)}"
        )
    for i, x in enumerate(arrays):
        if not _is_numbers(x):
            what = x.dtype if type(x) is np.ndarray else type(x).__name__
            raise TypeError(f"{where}.{name}[{i}] must be an array of floats, not {what}")
        if x.ndim != axes:
            raise ValueError(f"{where}.{name}[{i}] must have {axes} axes, not shape {x.shape}")
    return arrays


def _dtype_of(arrays: list[NDArray], where: str) -> np.dtype:
    dtype = np.result_type(*arrays)
    if dtype.type not in FLOATS:
        raise TypeError(
            f"{where}.coefs_ must be float32 or float64, not {dtype}: pass dtype=np.float32"
        )
    return dtype.newbyteorder("=")


def _is_numbers(x: Any) -> bool:
    """Tell whether an attribute is an array of numbers; one that is mapped from a file is."""
    plain = isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray | np.matrix)
    return plain and x.dtype.kind in "fiu"


def _is_classifier(mlp: Any) -> bool:
    from sklearn.neural_network import MLPClassifier

    return isinstance(mlp, MLPClassifier)


def _classes_of(mlp: Any, where: str, outputs: int) -> NDArray:
    """Return the labels of a classifier that tells each sample one of several."""
    from sklearn.preprocessing import LabelBinarizer

    binarizer = mlp._label_binarizer  # which predict asks; classes_ is for the reader
    if type(binarizer) is not LabelBinarizer:
        raise ValueError(f"{where}._label_binarizer must not be a {type(binarizer).__name__}")
    _refuse_overrides(binarizer, f"{where}._label_binarizer", LabelBinarizer)
    if binarizer.y_type_.startswith("multilabel"):
        raise ValueError(
            f"{where} ({type(mlp).__name__}) must give each sample one label, not several"
        )
    classes = np.asarray(binarizer.classes_)
    if len(classes) < 2:
        raise ValueError(
            f"{where} ({type(mlp).__name__}) must know at least two classes, not {len(classes)}"
        )
    if not np.array_equal(classes, np.asarray(mlp.classes_)):
        raise ValueError(
            f"{where}.classes_ must be the labels that predict gives, {shown(classes.tolist())}"
        )
    wanted = ("logistic", 1) if len(classes) == 2 else ("softmax", len(classes))
    if (mlp.out_activation_, mlp.n_outputs_) != wanted or outputs != mlp.n_outputs_:
        raise ValueError(
            f"{where}: {len(classes)} classes need out_activation_ {wanted[0]!r} and n_outputs_ "
            f"{wanted[1]}, not {mlp.out_activation_!r} and {mlp.n_outputs_}, of {outputs} outputs"
        )
    if (binarizer.neg_label, binarizer.pos_label) != (0, 1):
        raise ValueError(f"{where}: labels must be encoded as 0 and 1")
    strings = classes.dtype == object and all(isinstance(label, str) for label in classes)
    return classes.astype(str) if strings else classes


def _ends_of(side: str, named: _Named | None, features: int, dtype: np.dtype) -> dict[str, NDArray]:
    """Return mean and scale of one end of the network."""
    if named is None:
        return {}
    scaler, where = named
    ends = {}
    for what, is_used, neutral in (
        ("mean", scaler.with_mean, np.zeros), ("scale", scaler.with_std, np.ones),
    ):  # fmt: skip
        x = getattr(scaler, f"{what}_", None) if is_used else neutral(features)
        if not _is_numbers(x) or x.shape != (features,):
            given = x.shape if isinstance(x, np.ndarray) else x
            raise ValueError(f"{where}.{what}_ must be an array of {features} numbers, not {given}")
        _refuse_features(scaler, where, f"{what}_", features)
        ends[f"{side}_{what}"] = _cast(x, dtype, f"{where}.{what}_")
    return ends


def _cast(x: NDArray, dtype: np.dtype, where: str) -> NDArray:
    """Return a contiguous array of `dtype`, whose numbers are finite if those of `x` are."""
    with np.errstate(over="ignore"):
        y = np.ascontiguousarray(x, dtype)
    if not np.isfinite(y).all():
        raise ValueError(f"{where} must be finite in {dtype}")
    return y
