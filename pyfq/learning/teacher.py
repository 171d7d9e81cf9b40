"""A teacher's outputs, whatever it is: a network, a function, or outputs kept from before."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_input, refuse_not_finite, shown
from ..networks.network import Network
from ..networks.samples import logits_of, scale_inputs

# What gives a teacher's outputs: a network, a function of inputs, or the outputs themselves.
Teacher = Network | Callable[[NDArray], NDArray] | NDArray

# Samples that go through a teacher at a time.
CHUNK = 4096


def outputs_of(teacher: Teacher, student: Network, x: NDArray) -> NDArray:
    """Return a teacher's outputs for each row of x: logits, if it ends in a softmax.

    Parameters
    ----------
    teacher : Network, callable or array
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
    n = student.sizes[-1]
    if isinstance(teacher, Network):
        refuse_inputs(teacher, student)
        named = teacher.classes is not None and student.classes is not None
        if named and not np.array_equal(teacher.classes, student.classes):
            raise ValueError(
                f"teacher must have the classes of the student in their order, "
                f"{shown(student.classes.tolist())}, not {shown(teacher.classes.tolist())}"
            )
        scaled = in_chunks(logits_of(teacher).forward, scale_inputs(teacher, x))
        outputs = scaled
        if teacher.output_mean is not None:
            outputs = scaled * teacher.output_scale + teacher.output_mean
    elif isinstance(teacher, np.ndarray):
        outputs = teacher
    elif callable(teacher):
        outputs = in_chunks(teacher, x)
    else:
        raise TypeError(
            f"teacher must be a Network, a callable or an array, not {type(teacher).__name__}"
        )
    outputs = as_input(outputs, "outputs of teacher", (student.dtype.type,), (len(x), n))
    refuse_not_finite({"outputs of teacher": outputs})
    return outputs


def in_chunks(function: Callable[[NDArray], NDArray], x: NDArray) -> NDArray:
    """Return what a teacher's function gives for all rows of x, called with `CHUNK` at a time."""
    parts = [function(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
    if not all(isinstance(part, np.ndarray) for part in parts):
        raise TypeError(f"teacher must return a NumPy array, not {type(parts[0]).__name__}")
    return np.ascontiguousarray(np.concatenate(parts))


def refuse_inputs(teacher: Network, student: Network) -> None:
    """Refuse a teacher that cannot take the inputs of the student."""
    if teacher.dtype != student.dtype or teacher.sizes[0] != student.sizes[0]:
        raise ValueError(
            f"teacher must take {student.sizes[0]} inputs of {student.dtype} as the student does, "
            f"not {teacher.sizes[0]} of {teacher.dtype}"
        )
