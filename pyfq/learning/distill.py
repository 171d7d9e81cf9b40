"""Knowledge distillation: a small network learns from a large one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from numpy.typing import ArrayLike, NDArray

from .._core.array_like import as_floats, is_array_like
from .._core.check import as_choice, as_count, as_number, as_sequence, refuse_not_finite
from .._core.frozen import freeze, reduce_to_parts, restore_parts
from .._core.text import array_text, object_text
from ..networks.foreign import as_network
from ..networks.network import Network
from ..networks.samples import as_samples, scale_inputs, scale_outputs, with_range
from .data import as_data, as_validation, as_weights, refuse_activation, times_class_weight
from .fake_quantize import FakeQuantize
from .losses import Imitation, Loss, as_temperature
from .optimizers import LARGEST, SMALLEST, Adam, Optimizer, Schedule
from .teacher import Teacher, in_chunks, outputs_of, refuse_inputs, refuse_probabilities
from .train import Epoch, Options, Problem, Training, fit


@dataclass(frozen=True, eq=False)
class Hint:
    """A hidden layer of the student that learns to be like one of the teacher.

    The outputs of the student's layer, put through a linear layer that is learned with it and then
    forgotten, are compared: `weight` times their mean squared difference joins the loss.

    Parameters
    ----------
    layer : int
        The student's hidden layer, from 0.
    target : int or (samples, neurons) array_like
        The teacher's hidden layer, from 0, where the teacher is a `Network`; or its outputs, of
        which the hint keeps a view that refuses writes.
    weight : float
        Factor in the loss, above 0.

    References
    ----------
    Romero et al. 2014, FitNets: hints for thin deep nets, arXiv 1412.6550, equation 3.

    Examples
    --------
    >>> Hint(0, 1)
    Hint(layer 0, target 1, weight 1)
    """

    layer: int
    target: int | NDArray
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Take a view of outputs that refuses writes; `distill` checks the rest."""
        freeze(self, "target")

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return the layer, the target and the weight."""
        target = f"target {array_text(self.target)}"
        return object_text(self, f"layer {self.layer}", target, f"weight {self.weight:g}")


def distill(
    teacher: Teacher,
    student: Network,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    temperature: float = 4.0,
    alpha: float = 0.9,
    loss: Imitation | None = None,
    hints: Sequence[Hint] = (),
    data_loss: Loss | None = None,
    delta: float = 1.0,
    optimizer: Optimizer = Adam(),
    epochs: int = 100,
    batch_size: int = 64,
    seed: int = 0,
    schedule: Schedule = Schedule(),
    clip: float | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    keep_zeros: bool = False,
    fake_quantize: FakeQuantize | None = None,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    patience: int | None = None,
    callback: Callable[[Epoch], bool | None] | None = None,
) -> Training:
    r"""Train a student; `alpha` is the share of its teacher in the loss, 1 - `alpha` that of data.

    With the outputs z of student and teacher, the loss of a sample is

    .. math::
        L = \alpha\, T^2\, \mathrm{KL}\big(\mathrm{softmax}(z_t/T) \,\|\, \mathrm{softmax}(z_s/T)
            \big) + (1 - \alpha)\, \mathrm{CE}(y, \mathrm{softmax}(z_s)) + \sum_h \mathrm{hint}_h

    The factor :math:`T^2` keeps the gradient of the first part, :math:`\alpha T (p_s - p_t)`, the
    same size for any temperature. Other losses of the teacher's part are
    ``"mse"``, the mean of :math:`(z_s - z_t)^2`, for logits and for regression, and ``"cosine"``,
    :math:`1 - z_s \cdot z_t / (|z_s| |z_t|)`. Batches take means, as `train` says.

    Parameters
    ----------
    teacher : Network, callable, fitted estimator or (samples, outputs) array_like
        A network, whose last softmax is left out; a function that takes x, some thousand rows at a
        time, and returns outputs; or outputs for each row of x, kept from before. Outputs are
        logits for ``"kl"``, or logarithms of probabilities. Of an estimator of scikit-learn, or
        another with these methods, it is the logarithm of ``predict_proba`` for the student's
        classes, each probability at least 1.2e-7, or else ``predict``.
    student : Network
        What to start from; its weights are arrays.
    x : (samples, inputs) array_like
        Inputs, finite, in the units of `forward`; converted once, as `forward` does.
    y : array_like, optional
        What `train` takes. Without it only the teacher counts, whatever `alpha` is.
    temperature : float
        T of ``"kl"``, 0.001 ... 1e6; try 2 for small students, up to 20 for large ones.
    alpha : float
        :math:`\alpha`, 0 ... 1: 0 learns from the data alone, 1 from the teacher alone.
    loss : str, optional
        ``"kl"``, ``"mse"`` or ``"cosine"``; by default the first if y are labels, or student or
        teacher have classes, probabilities or a softmax at the end, else the second.
        Regression compares scaled outputs.
    hints : sequence of Hint
        Hidden layers of the student that learn to be like hidden layers of the teacher.
    data_loss, delta
        The loss of y; see `train`.
    optimizer, epochs, batch_size, seed, schedule, clip, sample_weight, class_weight, keep_zeros
        See `train`.
    fake_quantize, validation, patience, callback
        See `train`; the validation loss is that of the data.

    Returns
    -------
    Training
        The student.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or holds what are no numbers.
    ValueError
        If shapes do not fit each other, an array is not finite, a label or a class is unknown, or a
        number is out of range.
    FloatingPointError
        If a loss is not finite; the message says in which epoch and step.
    KeyboardInterrupt
        After an interrupt (Ctrl-C), as `train` says: its attribute `training` is what there is.

    References
    ----------
    Hinton, Vinyals & Dean 2015, Distilling the knowledge in a neural network, arXiv 1503.02531,
    section 2; Ba & Caruana 2014, Do deep nets really need to be deep?, arXiv 1312.6184 (logits);
    Romero et al. 2014, FitNets, arXiv 1412.6550 (hints).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    >>> from pyfq import train
    >>> teacher = train(Network.create((2, 64, 2), dtype=np.float64), x, y, epochs=60).network
    >>> student = Network.create((2, 8, 2), dtype=np.float64)
    >>> student = distill(teacher, student, x, y, epochs=60, optimizer=Adam(0.02)).network
    >>> agreed = student.forward(x).argmax(axis=1) == teacher.forward(x).argmax(axis=1)
    >>> bool(agreed.mean() > 0.9)
    True
    """
    if isinstance(hints, Hint):
        raise TypeError("hints must be a sequence of Hint, not one")
    as_sequence(hints, "hints", "Hint")
    options = Options(
        optimizer, epochs, batch_size, seed, schedule, clip, keep_zeros, fake_quantize, patience,
        callback,
    )  # fmt: skip
    as_network(student, "student")
    x = as_samples(student, x, "x")
    alpha = as_number(alpha, "alpha", 0, 1)
    if y is None:
        data, labels, targets = "none", None, None
        if data_loss is not None:
            raise ValueError("data_loss needs y")
    else:
        data, labels, targets = as_data(student, len(x), y, data_loss)
    if loss is None:
        both = [net for net in (student, teacher) if isinstance(net, Network)]
        classifies = data == "cross_entropy" or hasattr(teacher, "predict_proba")
        classifies |= any(
            net.classes is not None or net.layers[-1].activation == "softmax" for net in both
        )
        loss = "kl" if classifies else "mse"
    as_choice(loss, "loss", get_args(Imitation))
    refuse_activation(student, loss)
    weights = times_class_weight(
        as_weights(student, len(x), sample_weight), class_weight, labels, student
    )
    outputs = outputs_of(teacher, student, x)
    if loss == "kl" and not isinstance(teacher, Network):
        refuse_probabilities(outputs)
    problem = Problem(
        scale_inputs(student, x), weights, data, labels, targets,
        as_number(delta, "delta", SMALLEST, LARGEST), loss,
        scale_outputs(student, outputs),
        1.0 if y is None else alpha, as_temperature(temperature),
        [_resolved(hint, i, teacher, student, x) for i, hint in enumerate(hints)],
    )  # fmt: skip
    if y is None and validation is not None:
        raise ValueError("validation needs y, whose loss it is")
    check = as_validation(student, validation, data, delta)
    return fit(with_range(student, x), problem, options, check)


def _resolved(
    hint: Any, i: int, teacher: Teacher, student: Network, x: NDArray
) -> tuple[int, NDArray, float]:
    """Return a hint with its target as an array."""
    name = f"hints[{i}]"
    if not isinstance(hint, Hint):
        raise TypeError(f"{name} must be a Hint, not {type(hint).__name__}")
    hidden = len(student.layers) - 1
    if not hidden:
        raise ValueError(f"{name}: the student has no hidden layer")
    layer = as_count(hint.layer, f"{name}.layer", 0, hidden - 1)
    target = hint.target
    if not is_array_like(target):
        if not isinstance(teacher, Network):
            raise TypeError(f"{name}.target must be an array: the teacher is not a Network")
        refuse_inputs(teacher, student)
        last = as_count(target, f"{name}.target", 0, max(len(teacher.layers) - 2, 0))
        layers = Network(teacher.layers[: last + 1], activation_bits=teacher.activation_bits)
        its_x = as_floats(x, "x", teacher.dtype)
        target = in_chunks(layers.forward, scale_inputs(teacher, its_x))
    target = as_floats(target, f"{name}.target", student.dtype)
    if target.ndim != 2 or len(target) != len(x) or not target.shape[1]:
        raise ValueError(f"{name}.target must have shape ({len(x)}, neurons), not {target.shape}")
    refuse_not_finite({f"{name}.target": target})
    weight = as_number(hint.weight, f"{name}.weight", math.nextafter(0, 1), LARGEST)
    return layer, target, weight
