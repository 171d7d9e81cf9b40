"""What comes before or behind a model in scikit-learn: scalers, PCA, columns.

A scaler is ``(x - mean) / scale`` of each feature, and becomes `input_mean` and `input_scale` of a
network. Anything else that is linear is ``matrix @ x + offset``, which becomes part of the first
layer, or a layer before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._core.check import shown
from .sklearn_fitted import (
    Named,
    check_fitted,
    numbers_of,
    refuse_features,
    refuse_overrides,
    thawed,
)

_KNOWN = "StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, PCA or ColumnTransformer"


@dataclass(frozen=True, eq=False)
class Steps:
    """What some steps do, one after the other: ``matrix @ ((x - mean) / scale) + offset``.

    Attributes
    ----------
    mean, scale : (inputs,) float64 or None
        Both or neither.
    matrix : (outputs, inputs) float64 or None
        None for the identity.
    offset : (outputs,) float64 or None
        With the matrix.
    """

    mean: NDArray | None = None
    scale: NDArray | None = None
    matrix: NDArray | None = None
    offset: NDArray | None = None

    def then_scale(self, mean: NDArray, scale: NDArray) -> "Steps":
        """Return these steps and a scaler behind them."""
        if self.matrix is not None:
            matrix, offset = self.matrix / scale[:, np.newaxis], (self.offset - mean) / scale
            return Steps(self.mean, self.scale, matrix, offset)
        if self.mean is not None:
            mean, scale = self.mean + self.scale * mean, self.scale * scale
        return Steps(mean, scale)

    def then_multiply(self, matrix: NDArray, offset: NDArray) -> "Steps":
        """Return these steps and a product with a matrix behind them."""
        if self.matrix is not None:
            matrix, offset = matrix @ self.matrix, matrix @ self.offset + offset
        return Steps(self.mean, self.scale, matrix, offset)

    def then(self, steps: "Steps") -> "Steps":
        """Return these steps and others behind them."""
        both = self if steps.mean is None else self.then_scale(steps.mean, steps.scale)
        return both if steps.matrix is None else both.then_multiply(steps.matrix, steps.offset)


def steps_of(named: Sequence[Named], outputs: int) -> Steps:
    """Return what fitted steps do, of which the last gives so many outputs."""
    done = Steps()
    for step in reversed(named):
        its = step_of(step, outputs)
        outputs = outputs if its.matrix is None else its.matrix.shape[1]
        done = its.then(done)
    return done


def flat(named: Sequence[Named]) -> list[Named]:
    """Return steps with those of pipelines among them in their places, and no passthrough."""
    from sklearn.pipeline import Pipeline

    steps = []
    for step in map(thawed, named):
        passes = isinstance(step.estimator, str) and step.estimator == "passthrough"
        if isinstance(step.estimator, Pipeline):
            check_fitted(step, Pipeline)
            inner = [
                Named(one, f"{step.where}[{shown(name)}]") for name, one in step.estimator.steps
            ]
            steps += flat(inner)
        elif step.estimator is not None and not passes:
            steps.append(step)
    return steps


def step_of(step: Named, outputs: int | None = None, inputs: int | None = None) -> Steps:
    """Return what one fitted step does, whose number of outputs or inputs is known."""
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA

    features = inputs if outputs is None else outputs
    ends = scaling_of(step, features)
    if ends is not None:
        return Steps(*ends)
    match step.estimator:
        case PCA():
            its = _pca(step)
        case ColumnTransformer():
            its = _columns(step)
        case other:
            raise TypeError(f"{step.where} must be a {_KNOWN}, not {type(other).__name__}")
    rows, cols = its.matrix.shape
    if features != (cols if outputs is None else rows):
        raise ValueError(
            f"{step.where} ({type(step.estimator).__name__}) takes {cols} features and gives "
            f"{rows}, but {'gets' if outputs is None else 'what follows takes'} {features}"
        )
    return its


def scaling_of(step: Named, features: int) -> tuple[NDArray, NDArray] | None:
    """Return mean and scale of a fitted scaler, in float64; None of what is none."""
    from sklearn import preprocessing

    kinds = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
    scaler = step.estimator
    kind = next((k for k in kinds if isinstance(scaler, getattr(preprocessing, k))), None)
    if kind is None:
        return None
    check_fitted(step, getattr(preprocessing, kind))
    if getattr(scaler, "clip", False):
        raise ValueError(f"{step.where} ({kind}) must not clip, which no network does to inputs")
    uses_mean = {"StandardScaler": "with_mean", "RobustScaler": "with_centering"}
    uses_scale = {"StandardScaler": "with_std", "RobustScaler": "with_scaling"}
    names = {"StandardScaler": "mean_", "RobustScaler": "center_", "MinMaxScaler": "min_"}
    mean, scale = np.zeros(features), np.ones(features)
    if kind in names and getattr(scaler, uses_mean.get(kind, ""), True):
        mean = numbers_of(step, names[kind], (features,))
        refuse_features(scaler, step.where, names[kind], features)
    if getattr(scaler, uses_scale.get(kind, ""), True):
        scale = numbers_of(step, "scale_", (features,))
        refuse_features(scaler, step.where, "scale_", features)
    if kind == "MinMaxScaler":  # scale_ * x + min_
        if not scale.all():
            raise ValueError(f"{step.where}.scale_ must not be 0")
        mean, scale = -mean / scale, 1 / scale
    for name, end in (("mean", mean), ("scale", scale)):
        if not np.isfinite(end).all():
            raise ValueError(f"{step.where}: its {name} must be finite")
    return mean, scale


def _pca(step: Named) -> Steps:
    """Return the projection on principal components."""
    from sklearn.decomposition import PCA

    check_fitted(step, PCA)
    pca = step.estimator
    shape = getattr(pca.components_, "shape", ())
    if len(shape) != 2:
        raise ValueError(f"{step.where}.components_ must have 2 axes, not shape {shape}")
    matrix = numbers_of(step, "components_", shape)
    refuse_features(pca, step.where, "components_", shape[1])
    offset = -matrix @ numbers_of(step, "mean_", shape[1:])
    if pca.whiten:
        given = pca.explained_variance_.dtype
        deviation = np.sqrt(numbers_of(step, "explained_variance_", shape[:1]))
        deviation = np.maximum(deviation, np.finfo(given).eps)  # as PCA.transform does
        matrix, offset = matrix / deviation[:, np.newaxis], offset / deviation
    return Steps(matrix=matrix, offset=offset)


def _columns(step: Named) -> Steps:
    """Return what a ColumnTransformer does: parts side by side, each of some columns."""
    from sklearn.compose import ColumnTransformer

    check_fitted(step, ColumnTransformer)
    columns = step.estimator
    parts = []
    for name, transformer, _ in columns.transformers_:
        at = list(columns._transformer_to_input_indices[name])
        if (isinstance(transformer, str) and transformer == "drop") or not at:
            continue
        its = _part(Named(transformer, f"{step.where}[{shown(name)}]"), len(at))
        weight = (columns.transformer_weights or {}).get(name)
        if weight not in (None, 1):
            outputs = len(at) if its.matrix is None else len(its.matrix)
            its = its.then_multiply(weight * np.eye(outputs), np.zeros(outputs))
        parts.append((at, its))
    if not parts:
        raise ValueError(f"{step.where} must keep at least one column")
    return _beside(parts, columns.n_features_in_)


def _part(part: Named, inputs: int) -> Steps:
    """Return what a transformer of some columns does, which may be a pipeline."""
    done = Steps()
    for one in flat([part]):
        if does_nothing(one):  # as what passes the remainder through
            continue
        its = step_of(one, inputs=inputs)
        inputs = inputs if its.matrix is None else len(its.matrix)
        done = done.then(its)
    return done


def does_nothing(part: Named) -> bool:
    """Tell whether it is a FunctionTransformer without functions."""
    from sklearn.preprocessing import FunctionTransformer

    transformer = part.estimator
    if not isinstance(transformer, FunctionTransformer):
        return False
    refuse_overrides(*part, FunctionTransformer)
    return transformer.func is None and transformer.inverse_func is None


def _beside(parts: list[tuple[list[int], Steps]], inputs: int) -> Steps:
    """Return parts that read columns and stand side by side.

    Scalers of columns that are read once stay scalers, of all inputs; so weights keep their sizes,
    which codes of few bits need.
    """
    read = [i for at, _ in parts for i in at]
    mean, scale = np.zeros(inputs), np.ones(inputs)
    once = len(set(read)) == len(read)
    blocks, offsets = [], []
    for at, its in parts:
        rest = its
        if its.mean is not None and once:
            mean[at], scale[at] = its.mean, its.scale
            rest = Steps(matrix=its.matrix, offset=its.offset)
        pick = np.zeros((len(at), inputs))
        pick[np.arange(len(at)), at] = 1
        whole = Steps(matrix=pick, offset=np.zeros(len(at))).then(rest)
        blocks.append(whole.matrix)
        offsets.append(whole.offset)
    ends = (mean, scale) if once else (None, None)
    return Steps(*ends, np.concatenate(blocks), np.concatenate(offsets))
