"""Structured pruning: networks with fewer neurons and fewer layers."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_choice, as_count, as_number, shown
from .._core.frozen import read_only, reduce_to_parts, restore_parts, set_part
from .._core.table import html_table, text_table
from .._core.text import object_text
from ..arrays.activation import activate, derivative_of
from ..networks.layer import Dense
from ..networks.network import Network
from ..networks.samples import as_samples, logits_of, refuse_compressed, scale_inputs
from ..products.linear import linear
from ..products.matmul import matmul
from .data import as_data
from .losses import Loss, gradient_of, loss_of
from .optimizers import LARGEST

Criterion = Literal["l2", "activation", "taylor"]

# Samples whose activations are held at a time.
CHUNK = 1024


@dataclass(frozen=True)
class LayerTrial:
    """A hidden layer that `prune_layers` took out to see what happens.

    Attributes
    ----------
    layer : int
        Which of the original network, from 0.
    loss : float
        Loss of the network without it, and without those removed before.
    removed : bool
        Whether it stayed out.
    """

    layer: int
    loss: float
    removed: bool


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A network with fewer neurons or layers, and what it was made of.

    ``str()`` compares both: neurons, parameters, multiply-adds of a sample, bytes.

    Attributes
    ----------
    network, original : Network
        The one that is left, and the one that it was.
    kept : tuple of (neurons,) int64
        For each hidden layer of the original the neurons that are left, ascending; none of a layer
        that was removed.
    scores : tuple of (neurons,) float64
        Scores that `prune_neurons` ranked neurons by, for each hidden layer of the original.
    loss : float or None
        Loss of the original; `prune_layers` alone has it.
    trials : tuple of LayerTrial
        Layers that `prune_layers` removed, in their order, then those that it refused.
    """

    network: Network
    original: Network
    kept: tuple[NDArray[np.int64], ...]
    scores: tuple[NDArray[np.float64], ...] = ()
    loss: float | None = None
    trials: tuple[LayerTrial, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no pair of networks, and make arrays read-only."""
        for name in ("network", "original"):
            if not isinstance(getattr(self, name), Network):
                kind = type(getattr(self, name)).__name__
                raise TypeError(f"{name} must be a Network, not {kind}")
        for name in ("kept", "scores"):
            arrays = getattr(self, name)
            if not isinstance(arrays, tuple | list) or not all(
                isinstance(x, np.ndarray) for x in arrays
            ):
                raise TypeError(f"{name} must be a tuple of NumPy arrays, not {shown(arrays)}")
        set_part(self, "kept", tuple(map(read_only, self.kept)))
        set_part(self, "scores", tuple(map(read_only, self.scores)))

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return both networks."""
        return object_text(self, repr(self.network), f"from {self.original!r}")

    def __str__(self) -> str:
        """Return a table."""
        return "\n\n".join(map(text_table, self._tables()))

    def _repr_html_(self) -> str:
        """Return tables: what there was and what is left, and the layers that were tried."""
        return "\n".join(map(html_table, ("shrunk", "layers"), self._tables()))

    def _tables(self) -> list[list[tuple[str, ...]]]:
        """Return the rows of each table."""
        pair = self.original, self.network
        rows: list[tuple[str, ...]] = [("", "before", "after", "ratio")]
        rows.append(("neurons", *("-".join(map(str, network.sizes)) for network in pair), ""))
        for word, counts in (
            ("parameters", [network.size for network in pair]),
            ("multiply-adds", [network.multiply_adds for network in pair]),
            ("bytes", [network.nbytes for network in pair]),
        ):
            rows.append((word, *map(str, counts), f"{counts[1] / counts[0]:.3f}"))
        if self.loss is None:
            return [rows]
        trials = [("without layer", "loss", ""), ("-", f"{self.loss:.6g}", "")]
        for trial in self.trials:
            word = "removed" if trial.removed else "refused"
            trials.append((str(trial.layer), f"{trial.loss:.6g}", word))
        return [rows, trials]


def prune_neurons(
    network: Network,
    ratio: float | Sequence[float],
    x: NDArray | None = None,
    y: NDArray | None = None,
    *,
    criterion: Criterion = "l2",
    loss: Loss | None = None,
    delta: float = 1.0,
    round_to: int = 1,
) -> Shrunk:
    r"""Remove hidden neurons: their rows of weights, and their columns in the next layer.

    A layer of n neurons keeps ``n - round(ratio * n)``, at least 1, rounded up to a multiple
    of `round_to`, at most n: those of the highest scores, of equal scores the first. With the
    weights w and bias :math:`\beta` of a layer, its outputs a, their standard deviations
    :math:`\sigma` over `x`, the weights v of the next layer, and the loss L of a sample, the score
    of neuron j is

    .. math::
        \begin{aligned}
        \mathrm{l2} &: \sqrt{\textstyle\sum_k w_{jk}^2 + \beta_j^2} \\
        \mathrm{activation} &: \sigma_j \sqrt{\textstyle\sum_i v_{ij}^2} \\
        \mathrm{taylor} &: \mathrm{mean}\, \lvert a_j\, \partial L / \partial a_j \rvert
            \text{ over } x
        \end{aligned}

    With `x`, a removed neuron leaves its mean :math:`\bar a_j` behind: :math:`\sum_j v_{ij} \bar
    a_j` is added to the bias of the next layer, which gets one if it has none and this is not 0.
    ``"activation"`` is then the root of the mean squared change of the next layer's sums, if neuron
    j alone is removed. Without `x` nothing is added: the neuron is taken to be 0.

    Scores and means are those of the network as it comes, in float64, and the same bits for any
    number of threads. Ends, classes and activations stay as they are; `pyfq.train` should follow.

    Parameters
    ----------
    network : Network
        With at least one hidden layer; its weights are arrays.
    ratio : float or sequence of float
        Fraction of neurons removed, 0 ... 1; for all hidden layers, or one for each.
    x : (samples, inputs) array of the network's dtype, optional
        Inputs, finite, in the units of `forward`; some hundreds do.
    y : (samples,) or (samples, outputs) array, optional
        Labels or outputs, as `train` takes them: for ``"taylor"``, and only for it.
    criterion : str
        ``"l2"``, ``"activation"``, which needs `x`, or ``"taylor"``, which needs `x` and `y`.
    loss, delta
        L; see `train`.
    round_to : int
        The number of neurons kept is a multiple of it; at least 1.

    Returns
    -------
    Shrunk
        The network, and what became of the old one.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype; if weights are `Quantized` or `Sparse`.
    ValueError
        If shapes do not fit each other, an array is not C-contiguous or not finite, a label is
        unknown, a number is out of range, or an argument is missing or has no use.
    FloatingPointError
        If a score or mean is not finite.

    See Also
    --------
    pyfq.prune_rows : Rows that become 0, and stay.

    References
    ----------
    Li et al. 2016, Pruning filters for efficient ConvNets, arXiv 1608.08710 (norms of weights,
    there the sum of magnitudes); An et al. 2023, Fluctuation-based adaptive structured pruning,
    arXiv 2312.11983 (``"activation"``, there its square, and what is added to the bias); Molchanov
    et al. 2016, Pruning convolutional neural networks for resource efficient inference, arXiv
    1611.06440 (``"taylor"``).

    Examples
    --------
    >>> first = Dense(np.array([[3.0, 4.0], [0.1, 0.0], [0.0, 1.0]]), np.zeros(3), "relu")
    >>> network = Network([first, Dense(np.array([[1.0, 10.0, 2.0]]))])
    >>> pruned = prune_neurons(network, 1 / 3)
    >>> pruned.kept, pruned.network.sizes
    ((array([0, 2]),), (2, 2, 1))
    >>> x = np.array([[1.0, 1.0], [3.0, 0.0]])
    >>> pruned = prune_neurons(network, 1 / 3, x)
    >>> pruned.network.layers[1].bias                       # 10 times the mean of 0.1 and 0.3
    array([2.])
    >>> print(pruned)
                   before  after  ratio
    neurons         2-3-1  2-2-1
    parameters         12      9  0.750
    multiply-adds       9      6  0.667
    bytes              96     72  0.750
    """
    _refuse_unfit(network)
    ratios = _as_ratios(ratio, len(network.layers) - 1)
    as_choice(criterion, "criterion", get_args(Criterion))
    round_to = as_count(round_to, "round_to", 1)
    if x is None and criterion != "l2":
        raise ValueError(f"criterion {shown(criterion)} needs x")
    if (y is None) == (criterion == "taylor"):
        raise ValueError("criterion 'taylor' needs y, and no other does")
    if loss is not None and y is None:
        raise ValueError("loss needs y")
    with np.errstate(all="ignore"):
        means, scores = _measure(network, x, y, criterion, loss, delta)
    for i, score in enumerate(scores):
        if not np.isfinite(score).all() or not (means is None or np.isfinite(means[i]).all()):
            raise FloatingPointError(f"scores and means of layers[{i}] must be finite")
    kept = tuple(_highest(score, r, round_to) for score, r in zip(scores, ratios, strict=True))
    return Shrunk(_cut(network, kept, means), network, kept, tuple(scores))


def prune_layers(
    network: Network,
    x: NDArray,
    y: NDArray,
    *,
    count: int = 1,
    tolerance: float | None = None,
    loss: Loss | None = None,
    delta: float = 1.0,
) -> Shrunk:
    """Remove hidden layers: one at a time, the one without which the loss is the smallest.

    A layer can go if it has as many outputs as inputs. Each of those that are left is taken out in
    turn and the loss of the rest measured; the best of these networks stays, the first of equals.
    `pyfq.train` should follow.

    Parameters
    ----------
    network : Network
        Weights of any form.
    x : (samples, inputs) array of the network's dtype
        Inputs, finite, in the units of `forward`.
    y : (samples,) or (samples, outputs) array
        Labels or outputs, as `train` takes them.
    count : int
        How many layers to remove, at most; 1 ... those that can go.
    tolerance : float, optional
        Stop before the loss is above ``1 + tolerance`` times that of `network`; at least 0.
    loss, delta
        See `train`.

    Returns
    -------
    Shrunk
        The network, the losses before and after each removal, and what was refused. A network
        whose loss is not finite is always refused.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not fit each other, an array is not C-contiguous or not finite, a label is
        unknown, a number is out of range, or no layer can go.
    FloatingPointError
        If the loss of `network` is not finite.

    References
    ----------
    Song et al. 2024, SLEB: streamlining LLMs through redundancy verification and elimination of
    transformer blocks, arXiv 2402.09025 (by the loss, one after the other); Chen & Zhao 2019,
    Shallowing deep networks, IEEE TPAMI 41(12) (layers of plain networks).

    Examples
    --------
    >>> tripled, same = np.diag([3.0, 3.0]), np.diag([1.0, 0.9])
    >>> network = Network([Dense(tripled, activation="relu"), Dense(same), Dense(np.eye(2))])
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> pruned = prune_layers(network, x, 3 * x, count=2, tolerance=0.5)
    >>> len(pruned.network.layers), pruned.trials[0]
    (2, LayerTrial(layer=1, loss=0.0, removed=True))
    >>> print(pruned)
                    before  after  ratio
    neurons        2-2-2-2  2-2-2
    parameters          12      8  0.667
    multiply-adds       12      8  0.667
    bytes               96     64  0.667
    <BLANKLINE>
    without layer  loss
    -              0.45
    1                 0  removed
    0                30  refused
    """
    x = as_samples(network, x, "x")
    loss, labels, targets = as_data(network, len(x), y, loss)
    delta = as_number(delta, "delta", math.nextafter(0, 1), LARGEST)
    can_go = [i for i, layer in enumerate(network.layers[:-1]) if layer.shape[0] == layer.shape[1]]
    if not can_go:
        raise ValueError(
            f"network must have a hidden layer with as many outputs as inputs, but its sizes are "
            f"{network.sizes}"
        )
    count = as_count(count, "count", 1, len(can_go))
    if tolerance is not None:
        tolerance = as_number(tolerance, "tolerance", 0, LARGEST)
    expected, scaled = targets if labels is None else labels, scale_inputs(network, x)

    def loss_without(gone: Sequence[int]) -> float:
        logits = logits_of(_without(network, gone)).forward(scaled)
        with np.errstate(over="ignore", invalid="ignore"):
            value = loss_of(logits, expected, loss, None, delta)
        return value if math.isfinite(value) else math.inf

    before = loss_without([])
    if before == math.inf:
        raise FloatingPointError("the loss of network must be finite")
    limit = sys.float_info.max
    if tolerance is not None:
        limit = min(before * (1 + tolerance), limit)
    gone, trials = [], []
    while len(gone) < count:
        losses = {i: loss_without([*gone, i]) for i in can_go if i not in gone}
        best = min(losses, key=lambda i: losses[i])
        if losses[best] > limit:
            trials += [LayerTrial(i, value, False) for i, value in losses.items()]
            break
        trials.append(LayerTrial(best, losses[best], True))
        gone.append(best)
    kept = tuple(
        np.arange(0 if i in gone else layer.shape[0]) for i, layer in enumerate(network.layers[:-1])
    )
    return Shrunk(_without(network, gone), network, kept, loss=before, trials=tuple(trials))


def _without(network: Network, gone: Sequence[int]) -> Network:
    layers = (layer for i, layer in enumerate(network.layers) if i not in gone)
    return replace(network, layers=tuple(layers))


def _refuse_unfit(network: Any) -> None:
    """Refuse what has no hidden neurons, or whose weights are not arrays."""
    refuse_compressed(network, "lose neurons")
    if len(network.layers) < 2:
        raise ValueError(f"network must have a hidden layer, but its sizes are {network.sizes}")


def _as_ratios(ratio: Any, hidden: int) -> list[float]:
    if isinstance(ratio, str | bytes) or not isinstance(ratio, Sequence | np.ndarray):
        return [as_number(ratio, "ratio", 0, 1)] * hidden
    if len(ratio) != hidden:
        raise ValueError(
            f"ratio must be a number or {hidden}, one for each hidden layer, not {len(ratio)}"
        )
    return [as_number(r, f"ratio[{i}]", 0, 1) for i, r in enumerate(ratio)]


def _measure(
    network: Network,
    x: NDArray | None,
    y: NDArray | None,
    criterion: Criterion,
    loss: Loss | None,
    delta: float,
) -> tuple[list[NDArray] | None, list[NDArray]]:
    """Return means of hidden neurons, if there are samples, and their scores."""
    means = None
    if x is not None:
        x = as_samples(network, x, "x")
        gradient = None if y is None else _gradient(network, len(x), y, loss, delta)
        means, deviations, products = _over_samples(network, x, gradient)
    match criterion:
        case "taylor":
            return means, products
        case "activation":
            pairs = zip(deviations, network.layers[1:], strict=True)
            return means, [s * _norms(layer.weights, 0) for s, layer in pairs]
    scores = []
    for layer in network.layers[:-1]:
        norms, bias = _norms(layer.weights, 1), layer.bias
        scores.append(norms if bias is None else np.hypot(norms, bias.astype(np.float64)))
    return means, scores


def _norms(w: NDArray, axis: int) -> NDArray[np.float64]:
    return np.linalg.norm(w.astype(np.float64), axis=axis)


def _gradient(
    network: Network, samples: int, y: Any, loss: Loss | None, delta: float
) -> Callable[[NDArray, slice], NDArray]:
    """Return what gives the gradient of the losses of some samples with respect to outputs."""
    loss, labels, targets = as_data(network, samples, y, loss)
    delta = as_number(delta, "delta", math.nextafter(0, 1), LARGEST)
    expected = targets if labels is None else labels
    return lambda z, part: gradient_of(z, expected[part], loss, delta)


def _over_samples(
    network: Network, x: NDArray, gradient: Callable[[NDArray, slice], NDArray] | None
) -> tuple[list[NDArray], list[NDArray], list[NDArray]]:
    """Return means and deviations of hidden neurons, and means of output times gradient."""
    layers = [
        (
            layer.weights.astype(np.float64),
            None if layer.bias is None else layer.bias.astype(np.float64),
            layer.activation,
        )
        for layer in logits_of(network).layers
    ]
    origin: list[NDArray] = []  # outputs of the first sample, from which differences are summed
    totals, squares, products = ([np.zeros(n) for n in network.sizes[1:-1]] for _ in range(3))
    for first in range(0, len(x), CHUNK):
        part = slice(first, first + CHUNK)
        outputs, sums = [scale_inputs(network, x[part].astype(np.float64))], []
        for w, bias, activation in layers:
            sums.append(linear(outputs[-1], w, bias))
            outputs.append(activate(sums[-1], activation))
        origin = origin or [a[0].copy() for a in outputs[1:-1]]
        for i, a in enumerate(outputs[1:-1]):
            apart = a - origin[i]
            totals[i] += apart.sum(axis=0)
            squares[i] += (apart**2).sum(axis=0)
        if gradient is None:
            continue
        back = gradient(outputs[-1], part)
        for i in reversed(range(len(products))):
            w, _, activation = layers[i + 1]
            back = matmul(back * derivative_of(sums[i + 1], outputs[i + 2], activation), w)
            products[i] += np.abs(back * outputs[i + 1]).sum(axis=0)
    n = len(x)
    means = [a + total / n for a, total in zip(origin, totals, strict=True)]
    variances = [s / n - (total / n) ** 2 for s, total in zip(squares, totals, strict=True)]
    return means, [np.sqrt(np.maximum(v, 0)) for v in variances], [p / n for p in products]


def _highest(scores: NDArray[np.float64], ratio: float, round_to: int) -> NDArray[np.int64]:
    """Return which neurons stay."""
    n = len(scores)
    count = -(-max(n - round(ratio * n), 1) // round_to) * round_to
    return np.sort(np.argsort(-scores, kind="stable")[: min(count, n)])


def _cut(
    network: Network, kept: Sequence[NDArray[np.int64]], means: Sequence[NDArray] | None
) -> Network:
    """Return the network with the neurons that stay, and the means of the others in biases."""
    layers = []
    for i, layer in enumerate(network.layers):
        w, bias = layer.weights, layer.bias
        if i:
            if means is not None:
                bias = _with_means(w, bias, kept[i - 1], means[i - 1])
            w = w[:, kept[i - 1]]
        if i < len(kept):
            w, bias = w[kept[i]], None if bias is None else bias[kept[i]]
        layers.append(Dense(np.ascontiguousarray(w), bias, layer.activation))
    return replace(network, layers=tuple(layers))


def _with_means(
    w: NDArray, bias: NDArray | None, kept: NDArray[np.int64], means: NDArray[np.float64]
) -> NDArray | None:
    """Return a bias that stands in for the inputs that are not kept."""
    gone = np.delete(np.arange(w.shape[1]), kept)
    shift = linear(means[None, gone], np.ascontiguousarray(w[:, gone], np.float64))[0]
    if not shift.any():
        return bias
    return (shift if bias is None else bias + shift).astype(w.dtype)
