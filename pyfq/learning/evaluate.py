"""How good a network is: accuracy, errors, agreement with its teacher."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.array_like import is_array_like
from .._core.check import as_count, as_sequence
from .._core.frozen import freeze, reduce_to_parts, restore_parts
from .._core.table import html_table, text_table
from .._core.text import count_text, object_text
from ..arrays.activation import activate
from ..networks.network import Network
from ..networks.samples import as_samples
from .data import are_labels, as_answers, as_labels, as_values, refuse_activation
from .losses import loss_of
from .teacher import Teacher, outputs_of

# Classes or outputs that the text has a line for.
MOST_LINES = 20
# Attributes of the first lines of the text, behind the number of samples.
FIGURES = (
    *("loss", "accuracy", "agreement"),
    *("rmse", "mean_absolute_error", "max_error", "r2", "teacher_rmse"),
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found; what does not apply is None.

    ``str()`` gives a table, with a line for each class or output if there are at most 20.

    Attributes
    ----------
    samples : int
        Number of them.
    loss : float
        What `train` minimises: the cross-entropy, in nats, or the mean squared error of scaled
        outputs.
    accuracy : float or None
        Fraction of samples whose class is what `Network.predict` says.
    top_k : dict of int to float, or None
        For each k the fraction of samples whose class is among the k largest outputs; of equal
        outputs the first counts as larger.
    confusion : (classes, classes) int64, or None
        Samples of each class (row) by predicted class (column). The sums of rows are the samples of
        each class.
    classes : (classes,) array or None
        Those of the network.
    agreement : float or None
        Fraction of samples for which teacher and network predict the same class.
    rmse : float or None
        Root of the mean squared error over samples and outputs.
    mean_absolute_error, max_error : float or None
        Mean and largest absolute error over samples and outputs.
    r2 : float or None
        Mean of ``r2_per_output``.
    rmse_per_output, r2_per_output : (outputs,) float64, or None
        Those of each output.
    teacher_rmse : float or None
        Root of the mean squared difference between outputs of teacher and network.
    """

    samples: int
    loss: float
    accuracy: float | None = None
    top_k: dict[int, float] | None = None
    confusion: NDArray[np.int64] | None = None
    classes: NDArray | None = None
    agreement: float | None = None
    rmse: float | None = None
    mean_absolute_error: float | None = None
    max_error: float | None = None
    r2: float | None = None
    rmse_per_output: NDArray[np.float64] | None = None
    r2_per_output: NDArray[np.float64] | None = None
    teacher_rmse: float | None = None

    def __post_init__(self) -> None:
        """Make arrays read-only."""
        freeze(self, "confusion", "classes", "rmse_per_output", "r2_per_output")

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def as_dict(self) -> dict[str, Any]:
        """Return what applies, as JSON can hold it.

        Returns
        -------
        dict
            Numbers, lists, and for `top_k` a dict by text.

        Examples
        --------
        >>> Evaluation(4, 0.5, accuracy=0.75, top_k={1: 0.75}).as_dict()
        {'samples': 4, 'loss': 0.5, 'accuracy': 0.75, 'top_k': {'1': 0.75}}
        """
        found = {}
        for name in (f.name for f in fields(self)):
            match getattr(self, name):
                case None:
                    pass
                case dict() as parts:
                    found[name] = {str(k): part for k, part in parts.items()}
                case int() | float() as number:
                    found[name] = number
                case array:
                    found[name] = np.asarray(array).tolist()
        return found

    def __repr__(self) -> str:
        """Return the figures in one line."""
        figures = [f"{name} {value:.4g}" for name, value in self._figures()]
        return object_text(self, count_text(self.samples, "sample"), *figures)

    def __str__(self) -> str:
        """Return a table."""
        return "\n\n".join(map(text_table, self._tables()))

    def _repr_html_(self) -> str:
        """Return tables: figures, classes or outputs."""
        captions = "evaluation", "classes" if self.confusion is not None else "outputs"
        figures, *others = self._tables()
        tables = [[("figure", "value"), *figures], *others]
        return "\n".join(map(html_table, captions, tables))

    def _figures(self) -> list[tuple[str, float]]:
        """Return what applies, with its name."""
        figures = [(name.replace("_", " "), getattr(self, name)) for name in FIGURES]
        figures += [(f"top {k}", part) for k, part in (self.top_k or {}).items() if k > 1]
        return [(name, value) for name, value in figures if value is not None]

    def _tables(self) -> list[list[tuple[str, ...]]]:
        """Return the rows of each table."""
        rows = [("samples", str(self.samples))]
        rows += [(name, f"{value:.6g}") for name, value in self._figures()]
        parts = [rows]
        if self.confusion is not None and len(self.confusion) <= MOST_LINES:
            parts.append(_rows_of_classes(self.confusion, self.classes))
        if self.rmse_per_output is not None and 1 < len(self.rmse_per_output) <= MOST_LINES:
            parts.append(_rows_of_outputs(self.rmse_per_output, self.r2_per_output))
        return parts


def _rows_of_classes(confusion: NDArray, classes: NDArray | None) -> list[tuple[str, ...]]:
    rows = [("class", "samples", "recall", "precision")]
    names = range(len(confusion)) if classes is None else classes
    counts = zip(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0), strict=True)
    for name, (right, samples, predicted) in zip(names, counts, strict=True):
        rows.append((str(name), str(samples), _share(right, samples), _share(right, predicted)))
    return rows


def _rows_of_outputs(rmse: NDArray, r2: NDArray) -> list[tuple[str, ...]]:
    pairs = enumerate(zip(rmse, r2, strict=True))
    return [("output", "rmse", "r2"), *((str(i), f"{a:.6g}", f"{b:.6g}") for i, (a, b) in pairs)]


def _share(part: int, of: int) -> str:
    return f"{part / of:.4f}" if of else "-"


def evaluate(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    *,
    teacher: Teacher | None = None,
    top_k: Sequence[int] = (1, 5),
    batch_size: int = 4096,
) -> Evaluation:
    r"""Measure a network on samples whose classes or outputs are known.

    Labels, or a network with classes, make it classification, everything else regression. With
    outputs z of one kind and y of the other:

    .. math::
        \mathrm{rmse} = \sqrt{\mathrm{mean}\,(z - y)^2}, \quad
        R^2 = 1 - \frac{\sum_i (z_i - y_i)^2}{\sum_i (y_i - \bar y)^2}

    :math:`R^2` of an output that is constant in `y` is 1 if it is met exactly, else 0. Sums are in
    float64.

    Parameters
    ----------
    network : Network
        Weights of any form.
    x : (samples, inputs) array_like
        Inputs, finite, at least one sample; converted once, as `forward` does.
    y : (samples,) or (samples, outputs) array_like
        Labels, those of `network.classes` if it has them, else whole numbers from 0; or outputs,
        finite, in the units of `forward`, of one output as one axis, too.
    teacher : Network, callable, estimator or (samples, outputs) array_like, optional
        What the network is also compared with; as `distill` takes it.
    top_k : sequence of int
        k of ``Evaluation.top_k``, each at least 1; those of at least `outputs` are left out.
    batch_size : int
        Samples that are put through the networks at a time: memory grows with it, and but for
        `confusion` not with `samples`.

    Returns
    -------
    Evaluation
        The figures.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or holds what are no numbers.
    ValueError
        If shapes do not fit each other, an array is not finite, a label is unknown,
        a number is out of range, the classes of the teacher are others, or the last activation is
        not one that `train` takes for such a y.
    FloatingPointError
        If an output, the loss or a sum of squared errors is not finite.

    References
    ----------
    Definitions are those of `sklearn.metrics`: ``accuracy_score``, ``confusion_matrix``,
    ``log_loss``, ``r2_score``, ``max_error``, ``mean_absolute_error``.

    Examples
    --------
    >>> from pyfq import Dense
    >>> network = Network([Dense(np.eye(2))], classes=np.array(["cat", "dog"]))
    >>> x = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    >>> e = evaluate(network, x, np.array(["cat", "cat", "dog", "dog"]))
    >>> e.confusion
    array([[2, 0],
           [1, 1]])
    >>> print(e)
    samples          4
    loss      0.766678
    accuracy      0.75
    <BLANKLINE>
    class  samples  recall  precision
    cat          2  1.0000     0.6667
    dog          2  0.5000     1.0000
    >>> double = Network([Dense(np.array([[2.0]]))])
    >>> e = evaluate(double, np.array([[1.0], [2.0]]), np.array([[1.0], [5.0]]))
    >>> e.rmse, e.max_error, e.r2
    (1.0, 1.0, 0.75)
    """
    x = as_samples(network, x, "x")
    y = as_answers(network, y)
    if y.ndim and len(y) != len(x):
        raise ValueError(f"y must have {len(x)} samples, as x has, not {len(y)}")
    batch_size = as_count(batch_size, "batch_size", 1)
    top_k = as_sequence(top_k, "top_k", "int")
    top_k = [as_count(k, f"top_k[{i}]", 1) for i, k in enumerate(top_k)]
    teacher = _as_teacher(teacher, network, x)
    with np.errstate(over="ignore", invalid="ignore"):
        if network.classes is not None or are_labels(network, y):
            return _refuse_overflow(_classify(network, x, y, teacher, top_k, batch_size))
        return _refuse_overflow(_regress(network, x, y, teacher, batch_size))


def _refuse_overflow(found: Evaluation) -> Evaluation:
    """Return what was found, if outputs were not so large that sums of squares overflowed."""
    for name in FIGURES:
        figure = getattr(found, name)
        if figure is not None and not math.isfinite(figure):
            raise FloatingPointError(f"{name} must be finite, but it is {figure}")
    return found


def _as_teacher(teacher: Any, network: Network, x: NDArray) -> Any:
    """Return a teacher, outputs as an array; refuse what `outputs_of` sees only a part of."""
    if is_array_like(teacher) and not callable(teacher):
        return as_values(network, len(x), teacher, "teacher")
    if isinstance(teacher, Network):
        pair = teacher.classes, network.classes
        if not any(classes is None for classes in pair) and not np.array_equal(*pair):
            raise ValueError("teacher must have the classes of network, in the same order")
    return teacher


def _batches(
    network: Network,
    x: NDArray,
    teacher: Teacher | None,
    batch_size: int,
    forward: Callable[[NDArray], NDArray],
) -> Iterator[tuple[slice, NDArray, NDArray | None]]:
    """Yield where a batch is, its finite outputs, and those of the teacher."""
    for first in range(0, len(x), batch_size):
        part = slice(first, first + batch_size)
        outputs, wanted = forward(x[part]), None
        finite = np.isfinite(outputs).all(axis=1)
        if not finite.all():
            raise FloatingPointError(
                f"outputs of network must be finite, but those of x[{first + finite.argmin()}] are "
                f"{outputs[finite.argmin()]}"
            )
        if teacher is not None:
            its = teacher[part] if isinstance(teacher, np.ndarray) else teacher
            wanted = outputs_of(its, network, x[part])
        yield part, outputs, wanted


def _classify(
    network: Network,
    x: NDArray,
    y: NDArray,
    teacher: Teacher | None,
    top_k: Sequence[int],
    batch_size: int,
) -> Evaluation:
    refuse_activation(network, "cross_entropy")
    n, samples = network.sizes[-1], len(x)
    labels = as_labels(y, n, network.classes)
    softmax, scaled = network.layers[-1].activation == "softmax", network.output_mean is not None
    bare = network
    if softmax or scaled:
        last = replace(network.layers[-1], activation=None)
        layers = (*network.layers[:-1], last)
        bare = replace(network, layers=layers, output_mean=None, output_scale=None)
    loss, agreed = 0.0, 0
    confusion, ranks = np.zeros((n, n), np.int64), np.zeros(n, np.int64)
    for part, logits, wanted in _batches(network, x, teacher, batch_size, bare.forward):
        right = labels[part]
        loss += loss_of(logits, right, "cross_entropy") * len(right)
        z = network.forward(x[part]) if scaled else logits
        if softmax and not scaled:
            z = activate(logits, "softmax")
        said = z.argmax(axis=1)
        np.add.at(confusion, (right, said), 1)
        ranks += np.bincount(_ranks(z, right), minlength=n)
        if wanted is not None:
            agreed += int(np.count_nonzero(said == wanted.argmax(axis=1)))
    among = np.cumsum(ranks)
    return Evaluation(
        samples,
        loss / samples,
        accuracy=int(confusion.trace()) / samples,
        top_k={k: int(among[k - 1]) / samples for k in top_k if k < n},
        confusion=confusion,
        classes=network.classes,
        agreement=None if teacher is None else agreed / samples,
    )


def _ranks(z: NDArray, right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many outputs of each sample are before that of its class, as argmax ranks them."""
    own = np.take_along_axis(z, right[:, None], axis=1)
    before = np.arange(z.shape[1]) < right[:, None]
    return np.count_nonzero((z > own) | ((z == own) & before), axis=1)


def _regress(
    network: Network, x: NDArray, y: NDArray, teacher: Teacher | None, batch_size: int
) -> Evaluation:
    refuse_activation(network, "mse")
    n, samples = network.sizes[-1], len(x)
    y = as_values(network, samples, y)
    mean = y.mean(axis=0, dtype=np.float64)
    squares, around_mean, scaled = np.zeros(n), np.zeros(n), np.zeros(n)
    absolute, largest, apart = 0.0, 0.0, 0.0
    unit = 1.0 if network.output_scale is None else network.output_scale.astype(np.float64)
    for part, outputs, wanted in _batches(network, x, teacher, batch_size, network.forward):
        z, right = outputs.astype(np.float64), y[part].astype(np.float64)
        error = z - right
        squares += (error**2).sum(axis=0)
        scaled += ((error / unit) ** 2).sum(axis=0)
        around_mean += ((right - mean) ** 2).sum(axis=0)
        absolute += float(np.abs(error).sum())
        largest = max(largest, float(np.abs(error).max()))
        if wanted is not None:
            apart += float(((z - wanted) ** 2).sum())
    around_mean[y.min(axis=0) == y.max(axis=0)] = 0  # whatever the mean was rounded to
    r2 = (squares == 0).astype(np.float64)
    np.divide(around_mean - squares, around_mean, out=r2, where=around_mean > 0)
    return Evaluation(
        samples,
        float(scaled.sum()) / (samples * n),
        rmse=math.sqrt(squares.sum() / (samples * n)),
        mean_absolute_error=absolute / (samples * n),
        max_error=largest,
        r2=float(r2.mean()),
        rmse_per_output=np.sqrt(squares / samples),
        r2_per_output=r2,
        teacher_rmse=None if teacher is None else math.sqrt(apart / (samples * n)),
    )
