"""Students as estimators of scikit-learn: fit, predict and score, alone, in pipelines and searches.

This module is imported when one of them is first used, so that pyfq does without scikit-learn.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import Tags, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as e:
    raise ImportError(
        "StudentClassifier and StudentRegressor need scikit-learn 1.6 or later: "
        "pip install 'scikit-learn>=1.6'"
    ) from e

from .._core.array_like import as_array
from .._core.check import as_count, as_flag, as_number, shown
from ..arrays.activation import Activation
from ..networks.layer import Weights
from ..networks.network import Network
from ..networks.samples import mean_and_scale
from .data import as_values, as_weights
from .distill import distill
from .fake_quantize import FakeQuantize
from .optimizers import AdamW, Schedule
from .teacher import Estimator, function_of, outputs_of
from .train import Training, train

# What the weights of a trained student become.
Compression = int | FakeQuantize | Callable[[NDArray], Weights]
# What estimators learn from; outputs kept from before would not go with the samples of a fold.
Teacher = Network | Callable[[NDArray], ArrayLike] | Estimator

# As what inputs are taken: the first, if they are neither.
_DTYPES = (np.float64, np.float32)
# Samples of a step, if there are as many.
_BATCH = 64


class _Student(BaseEstimator):
    """What a classifier and a regressor share: everything but targets and outputs."""

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted copy with the same teacher, whose clone would know nothing."""
        alone = copy.copy(self)
        alone.teacher = None
        student = super(_Student, alone).__sklearn_clone__()
        student.teacher = self.teacher
        return student

    def _start(self, x: NDArray, outputs: int, activation: Activation = None) -> Network:
        """Return a network with random weights, as the parameters say."""
        sizes = self.hidden_layer_sizes
        sizes = sizes if isinstance(sizes, Sequence | np.ndarray) else (sizes,)
        hidden = [as_count(n, f"hidden_layer_sizes[{i}]", 1) for i, n in enumerate(sizes)]
        return Network.create(
            (x.shape[1], *hidden, outputs),
            activation=self.activation,
            output_activation=activation,
            seed=_seed_of(self.random_state),
            dtype=x.dtype,
        )

    def _learn(
        self, start: Network, X: Any, x: NDArray, y: NDArray, weights: NDArray, **imitation: Any
    ) -> None:
        """Fit `network_`: X are samples as they were given, x and y as `train` takes them."""
        fake_quantize, compress = _compression_of(self.compression)
        taught = None if self.teacher is None else _taught_by(self.teacher, start, X, x)
        kept = np.flatnonzero(weights)  # samples of the weight 0 are as if they were not there
        how, kept = self._stopping(start, x, y, kept)
        how |= {
            "epochs": as_count(self.max_iter, "max_iter", 1),
            "batch_size": _batch_size_of(self.batch_size, len(kept)),
            "optimizer": AdamW(self.learning_rate_init, self.weight_decay),
            "schedule": Schedule("cosine"),
            "seed": _seed_of(self.random_state),
            "sample_weight": weights[kept],
            "fake_quantize": fake_quantize,
        }
        if taught is None:
            result = train(start, x[kept], y[kept], **how)
        else:
            alpha = as_number(self.alpha, "alpha", 0, 1)
            result = distill(taught[kept], start, x[kept], y[kept], alpha=alpha, **imitation, **how)
        self._keep(result, compress)

    def _stopping(
        self, start: Network, x: NDArray, y: NDArray, kept: NDArray[np.intp]
    ) -> tuple[dict[str, Any], NDArray[np.intp]]:
        """Return how training stops, and the samples that are left for it."""
        if not as_flag(self.early_stopping, "early_stopping"):
            return {}, kept
        labels = None if start.classes is None else y[kept]
        fraction = as_number(self.validation_fraction, "validation_fraction", 0, 1)
        _refuse_split(len(kept), labels, fraction)
        kept, aside = train_test_split(
            kept, test_size=fraction, stratify=labels, random_state=_seed_of(self.random_state)
        )
        patience = as_count(self.n_iter_no_change, "n_iter_no_change", 1)
        return {"validation": (x[aside], y[aside]), "patience": patience}, kept

    def _keep(self, result: Training, compress: Callable[[NDArray], Weights] | None) -> None:
        """Set what is known after fitting."""
        network = result.network
        self.network_ = network if compress is None else network.map_weights(compress)
        self.n_iter_ = len(result.epochs)
        self.loss_curve_ = [epoch.loss for epoch in result.epochs]
        self.loss_ = self.loss_curve_[-1]

    def _inputs(self, X: Any) -> NDArray:
        """Return samples to predict for."""
        check_is_fitted(self, "network_")
        return validate_data(self, X, dtype=_DTYPES, order="C", reset=False)


class StudentClassifier(ClassifierMixin, _Student):
    """A small network that classifies, trained or distilled from a teacher, and compressed.

    An estimator of scikit-learn, for pipelines, searches of parameters and cross-validation. Inputs
    are standardized inside: their means and deviations are part of `network_`, which takes inputs
    as `fit` did, so that a network that is saved needs no scaler beside it.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Neurons of the hidden layers.
    activation : str, ("leaky_relu", slope) or None
        Activation of hidden layers, as `activate` has them.
    teacher : fitted estimator, Network or callable, optional
        What the student learns from beside `y`: an estimator with ``predict_proba`` that knows the
        classes, a network, or a function from inputs to logits, in the order of `classes_`. It sees
        what `fit` is given. Clones of the student keep it as it is, fitted.
    alpha : float
        Share of the teacher in the loss, 0 ... 1; see `distill`. Not the `alpha` of
        ``MLPClassifier``, which is called `weight_decay` here.
    temperature : float
        By which logits of teacher and student are divided; see `distill`. Probabilities of a forest
        are soft as they are, which 1 keeps; those of a perceptron, sure of itself, teach more at 2
        or 4.
    compression : int, FakeQuantize or callable, optional
        Bits of the weights, 2 ... 8, with one scale a row: they are rounded in training, too.
        `FakeQuantize` says more of how. A function becomes that of `Network.map_weights` after
        training, such as ``lambda w: pyfq.quantize_codebook(w, "nf4")``. By default weights stay
        floats.
    weight_decay, learning_rate_init : float
        Parameters of `AdamW`; the learning rate falls along half a cosine to 0.
    batch_size : int or "auto"
        Samples of a step; 64 of at least as many.
    max_iter : int
        Epochs, at least 1.
    early_stopping : bool
        Whether to keep `validation_fraction` of the samples aside, and to stop when their loss has
        not fallen for `n_iter_no_change` epochs; the network is that of the best epoch. A
        classifier needs two samples of every class then, one of them to keep aside.
    validation_fraction : float
        Above 0, below 1.
    n_iter_no_change : int
        Epochs of patience.
    random_state : int, RandomState or None
        What the first weights, the order of samples and those kept aside come from.

    Attributes
    ----------
    network_ : Network
        With `classes`, and a softmax at the end; for `save_network`, `to_onnx`, `calibrate`.
    classes_ : (classes,) array
        Labels, sorted.
    n_iter_ : int
        Epochs that were done.
    loss_curve_ : list of float
        Mean loss of the steps of each epoch; the last is `loss_`.
    n_features_in_ : int
        Inputs.
    feature_names_in_ : (inputs,) array of str
        Names of the columns, if `fit` was given a data frame of such.

    See Also
    --------
    pyfq.distill, pyfq.train : What it calls.
    pyfq.from_sklearn : Networks of models that scikit-learn has fitted.

    References
    ----------
    Hinton, Vinyals & Dean 2015, Distilling the knowledge in a neural network, arXiv 1503.02531.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.model_selection import train_test_split
    >>> from pyfq import StudentClassifier
    >>> x, unseen, y, answers = train_test_split(*load_digits(return_X_y=True), random_state=0)
    >>> forest = RandomForestClassifier(random_state=0).fit(x, y)
    >>> student = StudentClassifier((16,), teacher=forest, compression=8, random_state=0)
    >>> student.fit(x, y).score(unseen, answers) > 0.94
    True
    >>> student.predict_proba(unseen).shape, student.network_.sizes
    ((450, 10), (64, 16, 10))
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: Activation = "relu",
        teacher: Teacher | None = None,
        alpha: float = 0.9,
        temperature: float = 1.0,
        compression: Compression | None = None,
        weight_decay: float = 0.01,
        learning_rate_init: float = 0.005,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.teacher = teacher
        self.alpha = alpha
        self.temperature = temperature
        self.compression = compression
        self.weight_decay = weight_decay
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : (samples, inputs) array_like
            Inputs, finite. Of float32 the network is float32, of anything else float64.
        y : (samples,) array_like
            Labels: numbers or text.
        sample_weight : (samples,) array_like, optional
            At least 0, not all 0.

        Returns
        -------
        StudentClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If samples or parameters are not as said here.
        FloatingPointError
            If the loss is not finite, such as for a learning rate that is too high.
        """
        x, y = validate_data(self, X, y, dtype=_DTYPES, order="C")
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        bare = self._start(x, len(self.classes_), "softmax")
        weights = as_weights(bare, len(x), sample_weight)
        mean, scale = mean_and_scale(x, weights)
        labels = as_array(self.classes_, "y")
        start = Network(bare.layers, input_mean=mean, input_scale=scale, classes=labels)
        y = as_array(y, "y")
        self._learn(start, X, x, y, weights, temperature=self.temperature, loss="kl")
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the most likely class of each sample.

        Parameters
        ----------
        X : (samples, inputs) array_like
            Inputs, finite.

        Returns
        -------
        (samples,) array of the dtype of `classes_`
            Labels.
        """
        x = self._inputs(X)
        return self.network_.predict(x).astype(self.classes_.dtype, copy=False)

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : (samples, inputs) array_like
            Inputs, finite.

        Returns
        -------
        (samples, classes) array of the network's dtype
            In the order of `classes_`; each row sums to 1.
        """
        x = self._inputs(X)
        return self.network_.forward(x)


class StudentRegressor(RegressorMixin, _Student):
    """A small network that predicts values, trained or distilled from a teacher, and compressed.

    An estimator of scikit-learn, for pipelines, searches of parameters and cross-validation. Inputs
    and targets are standardized inside: means and deviations are part of `network_`, which takes
    and gives the units of `fit`, so that a network that is saved needs no scaler beside it.

    Parameters
    ----------
    hidden_layer_sizes, activation
        See `StudentClassifier`.
    teacher : fitted estimator, Network or callable, optional
        What the student learns from beside `y`: anything with ``predict``, a network, or a function
        from inputs to values, in the units of `y`. Clones of the student keep it as it is, fitted.
    alpha : float
        Share of the teacher in the loss, 0 ... 1, the mean squared error of standardized targets.
    compression, weight_decay, learning_rate_init, batch_size, max_iter
        See `StudentClassifier`.
    early_stopping, validation_fraction, n_iter_no_change, random_state
        See `StudentClassifier`.

    Attributes
    ----------
    network_ : Network
        For `save_network`, `to_onnx`, `calibrate`.
    n_outputs_ : int
        Values of a sample.
    n_iter_, loss_curve_, loss_, n_features_in_, feature_names_in_
        See `StudentClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from pyfq import StudentRegressor
    >>> x, y = load_diabetes(return_X_y=True)
    >>> student = StudentRegressor((16,), compression=8, random_state=0).fit(x, y)
    >>> student.score(x, y) > 0.5
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: Activation = "relu",
        teacher: Teacher | None = None,
        alpha: float = 0.9,
        compression: Compression | None = None,
        weight_decay: float = 0.01,
        learning_rate_init: float = 0.005,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.teacher = teacher
        self.alpha = alpha
        self.compression = compression
        self.weight_decay = weight_decay
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        """Tell that there may be several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : (samples, inputs) array_like
            Inputs, finite. Of float32 the network is float32, of anything else float64.
        y : (samples,) or (samples, outputs) array_like
            Values, finite.
        sample_weight : (samples,) array_like, optional
            At least 0, not all 0.

        Returns
        -------
        StudentRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If samples or parameters are not as said here.
        FloatingPointError
            If the loss is not finite, such as for a learning rate that is too high.
        """
        x, y = validate_data(
            self, X, y, dtype=_DTYPES, order="C", multi_output=True, y_numeric=True
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        bare = self._start(x, self.n_outputs_)
        y = as_values(bare, len(x), y)
        weights = as_weights(bare, len(x), sample_weight)
        mean, scale = mean_and_scale(x, weights)
        output_mean, output_scale = mean_and_scale(y, weights)
        start = Network(
            bare.layers,
            input_mean=mean,
            input_scale=scale,
            output_mean=output_mean,
            output_scale=output_scale,
        )
        self._learn(start, X, x, y, weights, loss="mse")
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return values.

        Parameters
        ----------
        X : (samples, inputs) array_like
            Inputs, finite.

        Returns
        -------
        (samples,) array, or (samples, outputs) if there are several
            In the units of the `y` of `fit`.
        """
        x = self._inputs(X)
        y = self.network_.forward(x)
        return y[:, 0] if self.n_outputs_ == 1 else y


def _seed_of(random_state: Any) -> int:
    """Return a seed, the same one each time for an integer."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def _refuse_split(samples: int, labels: NDArray | None, fraction: float) -> None:
    """Refuse a split into samples for training and for validation that `labels` do not allow."""
    least = 1
    if labels is not None:
        names, counts = np.unique(labels, return_counts=True)
        least = len(names)
        if counts.min() < 2:
            name = shown(names[counts.argmin()].item())
            raise ValueError(
                "early_stopping needs at least 2 samples of each class, one of them to keep "
                f"aside, not 1 as class {name} has: leave it out, or pass early_stopping=False"
            )
    aside = math.ceil(fraction * samples)
    if least <= aside <= samples - least:
        return
    classes = "" if labels is None else ", one a class,"
    way = f"validation_fraction={least / samples:.3g} or " if 2 * least <= samples else ""
    raise ValueError(
        f"validation_fraction must leave at least {least} of {samples} samples{classes} both for "
        f"training and aside, not {samples - aside} and {aside} as {fraction:g} does: "
        f"pass {way}early_stopping=False"
    )


def _batch_size_of(batch_size: Any, samples: int) -> int:
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise ValueError(f"batch_size must be an integer or 'auto', not {shown(batch_size)}")
        return min(_BATCH, samples)
    return as_count(batch_size, "batch_size", 1)


def _compression_of(
    compression: Any,
) -> tuple[FakeQuantize | None, Callable[[NDArray], Weights] | None]:
    """Return how weights are rounded in training, and what they become after it."""
    if compression is None:
        return None, None
    if not isinstance(compression, FakeQuantize) and callable(compression):
        return None, compression
    if not isinstance(compression, FakeQuantize):
        compression = FakeQuantize(as_count(compression, "compression", 2, 8))
    return compression, compression.apply


def _taught_by(teacher: Any, start: Network, X: Any, x: NDArray) -> NDArray:
    """Return what a teacher says of samples; an estimator sees them as they were given."""
    is_estimator = hasattr(teacher, "predict") and not isinstance(teacher, Network)
    if is_estimator:
        if isinstance(teacher, BaseEstimator):
            check_is_fitted(teacher)
        said = function_of(teacher, start.classes, start.sizes[-1])(X)
        return as_values(start, len(x), said, "outputs of teacher")
    if not callable(teacher) and not isinstance(teacher, Network):
        raise TypeError(
            "teacher must be a fitted estimator, a Network or a callable, not "
            f"{type(teacher).__name__}"
        )
    return outputs_of(teacher, start, x)
