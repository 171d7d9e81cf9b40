"""A teacher's outputs, whatever it is: a network, function, estimator, or outputs from before."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.array_like import as_array, as_floats, is_array_like
from .._core.check import shown
from ..networks.foreign import importer_of, kind_with_import
from ..networks.network import Network
from ..networks.samples import logits_of, scale_inputs
from .data import as_values


class Estimator(Protocol):
    """A fitted model in the manner of scikit-learn."""

    def predict(self, X: Any) -> Any:
        """Return classes or values."""


# What gives a teacher's outputs: a network, a function of inputs, an estimator, or the outputs.
Teacher = Network | Callable[[NDArray], ArrayLike] | Estimator | ArrayLike

# Of a class that a teacher rules out; its logarithm is finite.
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)

# Samples that go through a teacher at a time.
CHUNK = 4096


def outputs_of(teacher: Teacher, student: Network, x: NDArray) -> NDArray:
    """Return a teacher's outputs for each row of x: logits, if it ends in a softmax.

    Parameters
    ----------
    teacher : Network, callable, estimator or array_like
        See `distill`.
    student : Network
        Whose outputs and dtype they must have.
    x : (samples, inputs) array
        Inputs.

    Returns
    -------
    (samples, outputs) array
        Finite outputs.

    Raises
    ------
    TypeError, ValueError
        If they are not such an array.
    """
    refuse_no_teacher(teacher)
    n = student.sizes[-1]
    if isinstance(teacher, Network):
        refuse_inputs(teacher, student)
        named = teacher.classes is not None and student.classes is not None
        if named and not np.array_equal(teacher.classes, student.classes):
            raise ValueError(
                f"teacher must have the classes of the student in their order, "
                f"{shown(student.classes.tolist())}, not {shown(teacher.classes.tolist())}"
            )
        x = as_floats(x, "x", teacher.dtype)
        scaled = in_chunks(logits_of(teacher).forward, scale_inputs(teacher, x))
        outputs = scaled
        if teacher.output_mean is not None:
            outputs = scaled * teacher.output_scale + teacher.output_mean
    elif callable(teacher):
        outputs = in_chunks(teacher, x)
    elif hasattr(teacher, "predict"):
        outputs = in_chunks(function_of(teacher, student.classes, n), x)
    else:
        outputs = teacher
    return as_values(student, len(x), outputs, "outputs of teacher")


def refuse_probabilities(outputs: NDArray, where: str = "outputs of teacher") -> None:
    """Raise ValueError where outputs (samples, outputs) for ``"kl"`` are no logits."""
    if outputs.size and outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1).max() < 1e-3:
        raise ValueError(
            f"{where}: rows add up to 1; kl wants logits, or logarithms of probabilities"
        )


def refuse_no_teacher(teacher: Any) -> None:
    """Refuse what has no outputs, or must be imported first; an estimator need not be.

    Raises
    ------
    TypeError
        If it is a module of PyTorch, a model of ONNX, a mapping, a file or nothing of the kind.
    """
    importer = importer_of(teacher)
    gives = callable(teacher) or hasattr(teacher, "predict") or is_array_like(teacher)
    if isinstance(teacher, Network) or (gives and importer in (None, "from_sklearn")):
        return
    message = "teacher must be a Network, a callable, an estimator or an array, not "
    message += kind_with_import(teacher, "teacher")
    if importer == "from_torch":
        message += ", or lambda x: teacher(torch.from_numpy(x)).detach().numpy()"
    raise TypeError(message)


def function_of(estimator: Estimator, classes: NDArray | None, n: int) -> Callable[[Any], NDArray]:
    """Return what gives the outputs that a student learns from an estimator.

    Parameters
    ----------
    estimator : fitted estimator
        With ``predict_proba`` and ``classes_``, or of values, with ``predict``.
    classes : (n,) array or None
        Those of the student; None for as many as the estimator has, in its order.
    n : int
        Outputs of the student.

    Returns
    -------
    callable
        A function of inputs: logarithms of the probabilities of these classes, or values.

    Raises
    ------
    TypeError
        If it is a classifier without probabilities.
    ValueError
        If it does not know the classes.
    """
    name = type(estimator).__name__
    known = getattr(estimator, "classes_", None)
    if not hasattr(estimator, "predict_proba"):
        if known is not None:
            raise TypeError(
                f"teacher ({name}) must have predict_proba to be learned from: "
                "sklearn.calibration.CalibratedClassifierCV gives it one"
            )
        return estimator.predict
    columns = np.arange(n)
    if known is None:
        raise ValueError(f"teacher ({name}) must be fitted: it has no classes_")
    if isinstance(known, list) or (classes is None and len(known) != n):
        raise ValueError(
            f"teacher ({name}) must tell each sample one of {n} classes, as many as the student "
            "has outputs; a student of values learns from an estimator of values, or a function, "
            "such as lambda x: teacher.predict(x)"
        )
    if classes is not None:
        at = {label: i for i, label in enumerate(np.asarray(known).tolist())}
        wanted = np.asarray(classes).tolist()
        missing = [label for label in wanted if label not in at]
        if missing:
            raise ValueError(
                f"teacher ({name}) must know the class {shown(missing[0])} of the student, its "
                f"classes are {shown(list(at))}"
            )
        columns = np.array([at[label] for label in wanted])

    def logarithms(x: Any) -> NDArray:
        p = as_array(estimator.predict_proba(x), "outputs of teacher")[:, columns]
        return np.log(np.maximum(p, LEAST_PROBABILITY))

    return logarithms


def in_chunks(function: Callable[[NDArray], NDArray], x: NDArray) -> NDArray:
    """Return what a teacher's function gives for all rows of x, called with `CHUNK` at a time."""
    parts = [
        as_array(function(x[i : i + CHUNK]), "outputs of teacher") for i in range(0, len(x), CHUNK)
    ]
    if not all(part.ndim for part in parts):
        raise ValueError("outputs of teacher must be a row a sample, not one number")
    return np.concatenate(parts)


def refuse_inputs(teacher: Network, student: Network) -> None:
    """Refuse a teacher that cannot take the inputs of the student."""
    if teacher.sizes[0] != student.sizes[0]:
        raise ValueError(
            f"teacher must take {student.sizes[0]} inputs as the student does, not "
            f"{teacher.sizes[0]}"
        )
