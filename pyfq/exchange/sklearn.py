"""Networks from scikit-learn: what `predict` of a fitted model computes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._core.check import as_float_dtype, shown
from ..networks.network import Network
from ..networks.operations import Linear, Nonlinear, Operation, network_of
from .sklearn_fitted import (
    Named,
    cast,
    check_fitted,
    class_labels,
    dtype_of,
    is_numbers,
    is_of_sklearn,
    refuse_features,
    refuse_overrides,
    refuse_own_methods,
    thawed,
)
from .sklearn_linear import is_linear, layer_of
from .sklearn_probe import refuse_another
from .sklearn_steps import Steps, does_nothing, flat, scaling_of, steps_of

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

# What scikit-learn calls them.
_HIDDEN = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_OUTPUT = _HIDDEN | {"softmax": "softmax", "exp": "exp"}


@dataclass(frozen=True)
class _Parts:
    """A model, what is done before it, and what scales its outputs back."""

    steps: Sequence[Named]
    model: Named
    of_output: Named | None = None


@dataclass(frozen=True, eq=False)
class _Model:
    """Layers that predict what a model does, as operations in the dtype of the network."""

    operations: list[Operation]
    dtype: np.dtype
    classes: NDArray | None


def from_sklearn(estimator: "BaseEstimator", *, dtype: DTypeLike = None) -> Network:
    r"""Return the network of a fitted model of scikit-learn: a perceptron, or a linear model.

    Parameters
    ----------
    estimator : fitted estimator
        MLPClassifier or MLPRegressor; a linear model, such as LogisticRegression, Ridge, Lasso,
        SGDClassifier or LinearSVC; a GammaRegressor, PoissonRegressor or TweedieRegressor, whose
        logarithmic link becomes the activation ``"exp"``; a `StudentClassifier` or
        `StudentRegressor`. Or what holds one of these: a Pipeline, a TransformedTargetRegressor, a
        search such as GridSearchCV, whose best estimator is taken, or a FrozenEstimator, of a step
        too.

        Before it in a pipeline may be StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, PCA
        and ColumnTransformer of such, behind a regressor one of these scalers. Scalers become means
        and scales of the network; the others become part of the first layer, or a layer before it
        if that multiplies less.
    dtype : float32 or float64, optional
        Dtype of the network (default: that of the estimator's weights).

    Returns
    -------
    Network
        What the estimator predicts as it is now, with parameters and fitted attributes that were
        changed after fitting.

        For a regressor, `forward` gives what its ``predict`` does, with an axis of outputs. For a
        classifier, `predict` gives its classes and `forward` its ``predict_proba``: two classes
        have two outputs, :math:`\mathrm{softmax}(0, z)`, where scikit-learn has one logistic. Where
        that is no softmax of decision values, as of LinearSVC, RidgeClassifier, or several logistic
        functions, `forward` gives the decision values, of two classes 0 and z.

    Raises
    ------
    TypeError
        If the estimator, or a step of it, is none of these, its weights are no arrays of floats,
        or `dtype` is neither.
    ValueError
        If it is not fitted, classifies into several labels at once or into one class, ends in
        another activation, clips, or holds a number that is not finite. If a subclass or the
        instance has an own ``predict`` or another method that it uses, or fitted attributes do not
        belong together. If it gives something else for a few rows than the network.
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> x, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(x, y)
    >>> network = from_sklearn(model)
    >>> network.sizes
    (4, 3)
    >>> np.array_equal(network.predict(x), model.predict(x))
    True
    """
    parts = _parts_of(Named(estimator, "estimator"))
    if isinstance(parts.model.estimator, _students()):
        return _with_steps(_network_of_student(parts.model), parts, dtype)
    model = _model_of(parts.model, dtype)
    refuse_another(parts.model, replace(network_of(model.operations), classes=model.classes))
    first = model.operations[0]
    steps = steps_of(parts.steps, first.weights.shape[1])
    operations = [*_joined(steps, first, model.dtype), *model.operations[1:]]
    network = network_of(operations)
    ends = {} if steps.mean is None else {"input_mean": steps.mean, "input_scale": steps.scale}
    if parts.of_output is not None:
        of_output = scaling_of(parts.of_output, network.sizes[-1])
        if of_output is None:
            wrong = type(parts.of_output.estimator).__name__
            raise TypeError(f"{parts.of_output.where} must be a scaler, not {wrong}")
        ends |= {"output_mean": of_output[0], "output_scale": of_output[1]}
    ends = {name: cast(end, model.dtype, name) for name, end in ends.items()}
    return Network(network.layers, classes=model.classes, **ends)


def _students() -> tuple[type, ...]:
    """Return the classes of students, which need scikit-learn."""
    from ..learning.estimators import StudentClassifier, StudentRegressor

    return StudentClassifier, StudentRegressor


def _network_of_student(named: Named) -> Network:
    """Return the network of a student that predicts what this gives."""
    from sklearn.utils.validation import check_is_fitted

    student, where = named
    kind = next(kind for kind in _students() if isinstance(student, kind))
    refuse_own_methods(student, where, kind)
    check_is_fitted(student)
    network = student.network_
    if not isinstance(network, Network):
        raise TypeError(f"{where}.network_ must be a Network, not {type(network).__name__}")
    refuse_another(named, network)
    return network


def _with_steps(student: Network, parts: _Parts, dtype: DTypeLike) -> Network:
    """Return the network of a student, with the scalers before it in its means and scales."""
    where = parts.model.where
    if dtype is not None and as_float_dtype(dtype) != student.dtype:
        raise TypeError(
            f"dtype must be {student.dtype}, as {where}.network_ is, not {as_float_dtype(dtype)}"
        )
    if parts.of_output is not None:
        raise TypeError(f"{where} scales its outputs itself: {where}.network_ is its network")
    steps = steps_of(parts.steps, student.sizes[0])
    if steps.matrix is not None:
        raise TypeError(
            f"{where} (a student) may follow scalers alone: PCA and columns can't become part of "
            "weights that are trained and compressed"
        )
    if steps.mean is None:
        return student
    both = steps.then_scale(student.input_mean, student.input_scale)
    mean, scale = (
        cast(end, student.dtype, where) for end in (both.mean, both.scale)
    )  # fmt: skip
    # The range that the student remembers is that of scaled inputs.
    return replace(student, input_mean=mean, input_scale=scale, input_min=None, input_max=None)


def _model_of(named: Named, dtype: DTypeLike) -> _Model:
    """Return the layers of an MLP or a linear model."""
    if not is_linear(named.estimator):
        return _perceptron(named, dtype)
    layer = layer_of(named, any_dtype=dtype is not None)
    dtype = as_float_dtype(layer.dtype if dtype is None else dtype)
    where = f"{named.where}.coef_, intercept_"
    weights, bias = (cast(x, dtype, where) for x in (layer.weights, layer.bias))
    operations: list[Operation] = [Linear(where, weights, bias)]
    operations += [] if layer.activation is None else [Nonlinear(where, layer.activation)]
    return _Model(operations, dtype, layer.classes)


def _perceptron(named: Named, dtype: DTypeLike) -> _Model:
    """Return the layers of an MLP."""
    mlp, where = named
    weights, biases = _layers_of(mlp, where)
    given = dtype_of([*weights, *biases], where, "coefs_") if dtype is None else dtype
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
        operations.append(Linear(layer, cast(w, dtype, layer), cast(bias, dtype, layer)))
        word = _OUTPUT[output_activation] if i == len(weights) - 1 else _HIDDEN[mlp.activation]
        operations += [] if word is None else [Nonlinear(layer, word)]
    return _Model(operations, dtype, classes)


def _joined(steps: Steps, first: Linear, dtype: np.dtype) -> list[Linear]:
    """Return the first layer with a matrix before it, as one layer if that multiplies no more.

    A matrix that picks columns, whose rows have one entry, always becomes part of the layer.
    """
    if steps.matrix is None:
        return [first]
    where = "what comes before " + first.where
    as_one, as_two = len(first.weights) * steps.matrix.shape[1], steps.matrix.size
    as_two += first.weights.size
    if as_one > as_two and np.count_nonzero(steps.matrix, axis=1).max() > 1:
        before = Linear(where, cast(steps.matrix, dtype, where), cast(steps.offset, dtype, where))
        return [before, first]
    weights = first.weights.astype(np.float64)
    bias = weights @ steps.offset + first.bias
    return [Linear(where, cast(weights @ steps.matrix, dtype, where), cast(bias, dtype, where))]


def _parts_of(named: Named) -> _Parts:
    """Return a fitted model, and what comes before and behind it."""
    try:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.model_selection._search import BaseSearchCV
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import Pipeline
    except ModuleNotFoundError as e:
        raise ImportError("from_sklearn needs scikit-learn: pip install scikit-learn") from e
    named = thawed(named)
    estimator, where = named
    match estimator:
        case MLPClassifier() | MLPRegressor():
            kind = MLPClassifier if isinstance(estimator, MLPClassifier) else MLPRegressor
            check_fitted(named, kind)
            return _Parts([], named)
        case TransformedTargetRegressor():
            check_fitted(named, TransformedTargetRegressor)
            parts = _parts_of(Named(estimator.regressor_, f"{where}.regressor_"))
            behind = thawed(Named(estimator.transformer_, f"{where}.transformer_"))
            scaled = _of_target(parts, behind, where)
            return replace(scaled, of_output=None) if does_nothing(behind) else scaled
        case Pipeline():
            refuse_overrides(estimator, where, Pipeline)
            return _parts_of_pipeline(estimator, where)
        case BaseSearchCV():
            refuse_overrides(estimator, where, _search_kind(estimator))
            if not hasattr(estimator, "best_estimator_"):
                raise ValueError(f"{where} must have best_estimator_: fit it with refit=True")
            return _parts_of(Named(estimator.best_estimator_, f"{where}.best_estimator_"))
    if is_linear(estimator) or isinstance(estimator, _students()):
        return _Parts([], named)
    raise TypeError(
        f"{where} must be an MLPClassifier, MLPRegressor, linear model or student, or a Pipeline, "
        f"TransformedTargetRegressor or search of one, not {type(estimator).__name__}"
    )


def _search_kind(search: Any) -> type:
    """Return the class of scikit-learn that a search is of."""
    return next(k for k in type(search).__mro__ if k.__module__.startswith("sklearn."))


def _of_target(parts: _Parts, transformer: Named, where: str) -> _Parts:
    """Return a regressor whose outputs are scaled back."""
    is_classifier = hasattr(parts.model.estimator, "classes_")
    if parts.of_output is not None or is_classifier:
        inner = "TransformedTargetRegressor" if parts.of_output else None
        wrong = inner or type(parts.model.estimator).__name__
        raise TypeError(f"{where}.regressor_ must be a regressor or end in one, not {wrong}")
    return replace(parts, of_output=transformer)


def _parts_of_pipeline(pipeline: Any, where: str) -> _Parts:
    named = [Named(step, f"{where}[{shown(name)}]") for name, step in pipeline.steps]
    if not named:
        raise TypeError(f"{where} must end in a model, but has no step")
    parts = _parts_of(named[-1])
    return replace(parts, steps=[*flat(named[:-1]), *parts.steps])


def _layers_of(mlp: Any, where: str) -> tuple[list[NDArray], list[NDArray]]:
    """Return weights, as a network has them, and biases."""
    _refuse_missing(mlp, where)
    _refuse_functions(mlp, where)
    weights = _arrays_of(mlp, "coefs_", 2, where)
    refuse_features(mlp, where, "coefs_[0]", len(weights[0]))
    return [w.T for w in weights], _arrays_of(mlp, "intercepts_", 1, where)


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
        if not is_of_sklearn(ACTIVATIONS.get(given)):
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
        if not is_numbers(x):
            what = x.dtype if type(x) is np.ndarray else type(x).__name__
            raise TypeError(f"{where}.{name}[{i}] must be an array of floats, not {what}")
        if x.ndim != axes:
            raise ValueError(f"{where}.{name}[{i}] must have {axes} axes, not shape {x.shape}")
    return arrays


def _is_classifier(mlp: Any) -> bool:
    from sklearn.neural_network import MLPClassifier

    return isinstance(mlp, MLPClassifier)


def _classes_of(mlp: Any, where: str, outputs: int) -> NDArray:
    """Return the labels of a classifier that tells each sample one of several."""
    from sklearn.preprocessing import LabelBinarizer

    binarizer = mlp._label_binarizer  # which predict asks; classes_ is for the reader
    if type(binarizer) is not LabelBinarizer:
        raise ValueError(f"{where}._label_binarizer must not be a {type(binarizer).__name__}")
    refuse_overrides(binarizer, f"{where}._label_binarizer", LabelBinarizer)
    if binarizer.y_type_.startswith("multilabel"):
        raise ValueError(
            f"{where} ({type(mlp).__name__}) must give each sample one label, not several"
        )
    classes = np.asarray(binarizer.classes_)
    labels = class_labels(classes, f"{where} ({type(mlp).__name__})")
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
    return labels
