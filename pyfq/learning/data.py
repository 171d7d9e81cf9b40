"""What a network learns from: labels, targets and weights of samples, as kernels take them."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from .._core.array_like import as_array, as_columns, as_floats
from .._core.check import as_choice, refuse_not_finite, shown
from ..networks.network import Network
from ..networks.samples import as_samples, logits_of, scale_inputs, scale_outputs
from .losses import Loss, loss_of


def as_answers(network: Network, y: Any, name: str = "y") -> NDArray:
    """Return labels or values of samples as an array; a column of labels as one axis."""
    y = as_array(y, name)
    is_column = y.ndim == 2 and y.shape[1] == 1
    return y[:, 0] if is_column and _has_classes(network) else y


def are_labels(network: Network, y: NDArray) -> bool:
    """Tell whether answers are labels: one a sample, where outputs are those of classes."""
    return y.ndim == 1 and _has_classes(network)


def _has_classes(network: Network) -> bool:
    """Tell whether each output can be that of a class: one alone is a value."""
    return network.classes is not None or network.sizes[-1] > 1


def as_labels(
    y: NDArray, outputs: int, classes: NDArray | None, name: str = "y"
) -> NDArray[np.int64]:
    """Return the positions of labels among `classes`, or labels that are positions.

    Parameters
    ----------
    y : (samples,) array
        Labels: numbers, floats if they are whole, or text.
    outputs : int
        Classes that there are.
    classes : (outputs,) array or None
        Their labels; None for ``0 ... outputs - 1``.
    name : str
        What an error calls y.

    Returns
    -------
    (samples,) int64
        Positions.

    Raises
    ------
    TypeError, ValueError
        If y is not such an array, or holds what is no label.
    """
    if y.ndim != 1:
        raise ValueError(f"{name} must have shape (samples,), not {y.shape}")
    if classes is None:
        if y.dtype.kind not in "biuf":
            raise TypeError(f"{name} must be labels 0 ... {outputs - 1}, integers, not {y.dtype}")
        bad = np.flatnonzero(~((y >= 0) & (y < outputs) & (y == np.floor(y))))
        if bad.size:
            raise ValueError(
                f"{name} must be labels 0 ... {outputs - 1}, but {name}[{bad[0]}] is {y[bad[0]]}"
            )
        return y.astype(np.int64)
    if (y.dtype.kind == "U") != (classes.dtype.kind == "U"):
        kinds = ("numbers", "text")
        raise TypeError(
            f"{name} must be labels that are {kinds[classes.dtype.kind == 'U']}, as the classes of "
            f"the network are, not {y.dtype}"
        )
    order = np.argsort(classes)
    at = order[np.minimum(np.searchsorted(classes, y, sorter=order), outputs - 1)]
    bad = np.flatnonzero(np.asarray(classes)[at] != y)
    if bad.size:
        raise ValueError(
            f"{name} must be labels of the network's classes, but {name}[{bad[0]}] is "
            f"{shown(y[bad[0]])}"
        )
    return at.astype(np.int64)


def as_data(
    network: Network, samples: int, y: Any, loss: str | None, name: str = "y"
) -> tuple[str, NDArray[np.int64] | None, NDArray | None]:
    """Return the loss, and labels, or targets as the layers' outputs must be."""
    y = as_answers(network, y, name)
    if loss is None:
        loss = "cross_entropy" if are_labels(network, y) else "mse"
    as_choice(loss, "loss", get_args(Loss))
    refuse_activation(network, loss)
    if y.ndim == 0 or len(y) != samples:
        raise ValueError(f"{name} must have {samples} samples, as x has, not shape {y.shape}")
    n = network.sizes[-1]
    if loss == "cross_entropy" and y.ndim == 1:
        if not _has_classes(network):
            raise ValueError(
                "loss must be 'mse' or 'huber' for the values of one output: labels 0 and 1 of "
                "'cross_entropy' need a network of two outputs"
            )
        return loss, as_labels(y, n, network.classes, name), None
    targets = as_values(network, samples, y, name)
    if loss == "cross_entropy":
        if targets.min() < 0:
            raise ValueError(f"{name} must be probabilities, at least 0")
        return loss, None, targets
    return loss, None, scale_outputs(network, targets)


def as_values(network: Network, samples: int, y: Any, name: str = "y") -> NDArray:
    """Return values of each output of each sample, finite, of the network's dtype."""
    n = network.sizes[-1]
    values = as_columns(y, name, network.dtype, n)
    if values.shape != (samples, n):
        raise ValueError(f"{name} must have shape {(samples, n)}, not {values.shape}")
    refuse_not_finite({name: values})
    return values


def _as_vector(x: Any, name: str, network: Network, n: int) -> NDArray:
    """Return n finite numbers of the network's dtype."""
    vector = as_floats(x, name, network.dtype)
    if vector.shape != (n,):
        raise ValueError(f"{name} must have shape {(n,)}, not {vector.shape}")
    refuse_not_finite({name: vector})
    return vector


def refuse_activation(network: Network, loss: str) -> None:
    """Refuse a last activation that a loss has no use for."""
    last = network.layers[-1].activation
    if loss in ("cross_entropy", "kl") and last not in (None, "softmax"):
        raise ValueError(
            f"the last activation must be None or 'softmax' for the loss {loss!r}, not {last!r}"
        )
    if loss in ("mse", "huber") and last == "softmax":
        raise ValueError(f"the last activation must not be 'softmax' for the loss {loss!r}")


def as_weights(network: Network, samples: int, sample_weight: Any) -> NDArray:
    """Return the weight of each sample."""
    if sample_weight is None:
        return np.ones(samples, network.dtype)
    weights = _as_vector(sample_weight, "sample_weight", network, samples)
    if weights.min() < 0 or not weights.any():
        raise ValueError("sample_weight must be at least 0, and not all zero")
    return weights


def times_class_weight(
    weights: NDArray, class_weight: Any, labels: NDArray | None, network: Network
) -> NDArray:
    """Return the weight of each sample times that of its class."""
    if class_weight is None:
        return weights
    if labels is None:
        raise ValueError("class_weight needs y to be labels")
    of_class = _as_vector(class_weight, "class_weight", network, network.sizes[-1])
    if of_class.min() < 0:
        raise ValueError("class_weight must be at least 0")
    with np.errstate(over="ignore"):
        weights = weights * of_class[labels]
    refuse_not_finite({"sample_weight times class_weight": weights})
    if not weights.any():
        raise ValueError("class_weight must not leave every sample with the weight 0")
    return weights


def as_validation(
    network: Network, validation: Any, loss: str, delta: float
) -> Callable[[Network], tuple[float, float | None]] | None:
    """Return what tells loss and accuracy, of labels, of a network on validation samples."""
    if validation is None:
        return None
    if not (isinstance(validation, tuple) and len(validation) == 2):
        raise TypeError("validation must be a tuple (x, y)")
    x = as_samples(network, validation[0], "validation[0]")
    _, labels, targets = as_data(network, len(x), validation[1], loss, "validation[1]")
    expected = targets if labels is None else labels

    def validate(candidate: Network) -> tuple[float, float | None]:
        outputs = logits_of(candidate).forward(scale_inputs(candidate, x))
        accuracy = None if labels is None else float(np.mean(outputs.argmax(axis=1) == labels))
        return loss_of(outputs, expected, loss, None, delta), accuracy

    return validate
