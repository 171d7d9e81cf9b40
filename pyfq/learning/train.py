"""Training of networks (`fortran/learning/fq_train.f90`)."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from .._core.check import as_count, as_flag, as_number, as_seed, shown
from .._core.frozen import set_part
from .._core.grid import grid_of
from .._core.table import html_table
from .._core.text import count_text, object_text
from .._core.threads import get_num_threads
from ..arrays.activation import as_activation
from ..arrays.quantize import code_rule
from ..errors import NOT_FINITE, FqError
from ..networks.layer import Dense
from ..networks.network import Network
from ..networks.samples import as_samples, refuse_compressed, scale_inputs, with_range
from .data import as_data, as_validation, as_weights, times_class_weight
from .fake_quantize import FakeQuantize
from .losses import IMITATIONS, LOSSES, Loss
from .optimizers import LARGEST, OPTIMIZERS, SGD, SMALLEST, Adam, Optimizer, Schedule

# Epochs that a table shows, about.
MOST_LINES = 30


@dataclass(frozen=True)
class Epoch:
    """What a callback is told.

    Attributes
    ----------
    number : int
        Epochs done.
    of : int
        Epochs wanted.
    loss : float
        Mean of the losses of the epoch's steps, each before its step.
    validation_loss : float or None
        Loss on the validation samples after the epoch.
    learning_rate : float
        Learning rate of the last step.
    seconds : float
        Since the start.
    validation_accuracy : float or None
        Fraction of validation samples whose label the network gives, 0 ... 1; None without labels.
    """

    number: int
    of: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
    validation_accuracy: float | None = None

    def __repr__(self) -> str:
        """Return the epoch and its losses."""
        return object_text(
            self,
            f"{self.number} of {self.of}",
            f"loss {self.loss:.4g}",
            None if self.validation_loss is None else f"validation {self.validation_loss:.4g}",
            None
            if self.validation_accuracy is None
            else f"accuracy {self.validation_accuracy:.4g}",
        )


@dataclass(frozen=True, eq=False)
class Training:
    """A trained network, and how it came about.

    Attributes
    ----------
    network : Network
        With the parameters of `best_epoch`.
    epochs : list of Epoch
        One for each that was done.
    best_epoch : int
        That of the smallest validation loss, from 1; the last without validation, 0 if there is
        none.
    stopped : {"done", "patience", "callback", "interrupted"}
        Why it ended; interrupted is what the `training` of a KeyboardInterrupt was.
    """

    network: Network
    epochs: list[Epoch]
    best_epoch: int
    stopped: Literal["done", "patience", "callback", "interrupted"]

    def __repr__(self) -> str:
        """Return the network, the number of epochs and the losses."""
        last = self.epochs[-1] if self.epochs else None
        best = self.epochs[self.best_epoch - 1] if self.best_epoch else None
        validation = None if best is None else best.validation_loss
        return object_text(
            self,
            repr(self.network),
            count_text(len(self.epochs), "epoch"),
            None if last is None else f"loss {last.loss:.4g}",
            None if validation is None else f"validation {validation:.4g} in {self.best_epoch}",
            self.stopped,
        )

    def _repr_html_(self) -> str:
        """Return a table of the epochs: of many, as many as a page shows, the best among them."""
        rows = [("epoch", "loss", "validation", "learning rate", "seconds")]
        between = max(1, len(self.epochs) // MOST_LINES)
        for i, epoch in enumerate(self.epochs, 1):
            if i not in (1, self.best_epoch, len(self.epochs)) and i % between:
                continue
            validation = "" if epoch.validation_loss is None else f"{epoch.validation_loss:.6g}"
            number = f"{epoch.number} (best)" if i == self.best_epoch else str(epoch.number)
            rate, seconds = f"{epoch.learning_rate:.4g}", f"{epoch.seconds:.3g}"
            rows.append((number, f"{epoch.loss:.6g}", validation, rate, seconds))
        return html_table(repr(self), rows)


@dataclass(frozen=True, eq=False)
class Problem:
    """What `fit` minimises: ``(1 - alpha) * data + alpha * imitation``, plus hints.

    Attributes
    ----------
    x : (samples, inputs) array
        Inputs, scaled.
    weights : (samples,) array
        Weights of the samples.
    loss : str
        Loss of the data, one of `LOSSES`.
    labels : (samples,) int64 or None
        Labels, for cross-entropy.
    targets : (samples, outputs) array or None
        Targets of any loss, scaled.
    delta : float
        Delta of Huber's loss.
    imitation : str
        Loss to the teacher, one of `IMITATIONS`.
    teacher : (samples, outputs) array or None
        Its outputs, scaled.
    alpha, temperature : float
        See `pyfq.distill`.
    hints : sequence of (layer, target, weight)
        See `Hint`; targets are arrays.
    """

    x: NDArray
    weights: NDArray
    loss: str = "none"
    labels: NDArray[np.int64] | None = None
    targets: NDArray | None = None
    delta: float = 1.0
    imitation: str = "none"
    teacher: NDArray | None = None
    alpha: float = 0.0
    temperature: float = 1.0
    hints: Sequence[tuple[int, NDArray, float]] = ()


@dataclass(frozen=True)
class Options:
    """How `fit` minimises; see `train`."""

    optimizer: Optimizer
    epochs: int
    batch_size: int
    seed: int
    schedule: Schedule
    clip: float | None
    keep_zeros: bool
    fake_quantize: FakeQuantize | None
    patience: int | None
    callback: Callable[[Epoch], bool | None] | None

    def __post_init__(self) -> None:
        """Refuse what training can't do."""
        if not isinstance(self.optimizer, SGD | Adam):
            raise TypeError(f"optimizer must be SGD or Adam, not {shown(self.optimizer)}")
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule, not {shown(self.schedule)}")
        if self.fake_quantize is not None and not isinstance(self.fake_quantize, FakeQuantize):
            raise TypeError(
                f"fake_quantize must be a FakeQuantize, not {shown(self.fake_quantize)}"
            )
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable, not {type(self.callback).__name__}")
        as_flag(self.keep_zeros, "keep_zeros")
        set_part(self, "epochs", as_count(self.epochs, "epochs", 0))
        set_part(self, "batch_size", as_count(self.batch_size, "batch_size", 1))
        set_part(self, "seed", as_seed(self.seed))
        if self.clip is not None:
            set_part(self, "clip", as_number(self.clip, "clip", math.nextafter(0, 1), LARGEST))
        if self.patience is not None:
            set_part(self, "patience", as_count(self.patience, "patience", 1))
        if self.keep_zeros and self.fake_quantize and self.fake_quantize.scheme == "minmax":
            raise ValueError("fake_quantize must not be 'minmax' with keep_zeros: no code is 0")


def _stops(answer: Any) -> bool:
    """Return what a callback says: whether to stop."""
    if answer is not None and not isinstance(answer, bool | np.bool_):
        raise TypeError(f"callback must return True, False or None, not {type(answer).__name__}")
    return bool(answer)


class TrainedLayer(NamedTuple):
    """What the kernel must know of a layer, or of what projects one for a hint: `trained_layer`."""

    n: int
    k: int
    activation: int
    weights: int
    bias: int
    source: int
    target: int
    group_size: int


class TrainingIntegers(NamedTuple):
    """What the kernel minimises, and how: the components of `training`."""

    loss: int
    labeled: int
    imitation: int
    optimizer: int
    nesterov: int
    masked: int
    batch_size: int
    done: int


class TrainingReals(NamedTuple):
    """The numbers of losses and optimizers: the components of `training_reals`."""

    alpha: float
    temperature: float
    delta: float
    momentum: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip: float


class Parameters:
    """The parameters of a network in one array, and what the kernel must know of each layer."""

    def __init__(self, network: Network, problem: Problem, options: Options) -> None:
        self._network = network
        dtype, spec = network.dtype, options.fake_quantize
        shapes = [(layer.shape, layer.bias is not None, 0) for layer in network.layers]
        shapes += [
            ((target.shape[1], network.layers[i].shape[0]), True, i + 1)
            for i, target, _ in problem.hints
        ]
        table, rules, used, target_at = [], [], 0, 0
        for (n, k), has_bias, source in shapes:
            is_last = not source and len(table) == len(network.layers) - 1
            activation = None if source else network.layers[len(table)].activation
            code, _ = as_activation(None if is_last and activation == "softmax" else activation)
            bias = used + n * k if has_bias else -1
            group = 0
            if spec and not source:
                group = min(grid_of((n, k), spec.granularity).group_size, k)
            target = target_at if source else 0
            table.append(TrainedLayer(n, k, code, used, bias, source, target, group))
            rules.append(code_rule(spec.bits, spec.scheme) if group else np.zeros(9, np.int64))
            used += n * k + (n if has_bias else 0)
            target_at += n if source else 0
        self.layers = np.array(table, np.int64)
        self.rules = np.array(rules)
        self.slopes = np.zeros(len(table), dtype)
        self.slopes[: len(network.layers)] = [
            as_activation(layer.activation)[1] for layer in network.layers
        ]
        self.hint_weights = np.zeros(len(table), dtype)
        self.hint_weights[len(network.layers) :] = [weight for *_, weight in problem.hints]
        self.values = np.zeros(used, dtype)
        self._trained = table[: len(network.layers)]
        for its, layer in zip(self._trained, network.layers, strict=True):
            self._weights_of(its)[:] = layer.weights
            if its.bias >= 0:
                self.values[its.bias : its.bias + its.n] = layer.bias
        generator = np.random.default_rng((options.seed, 1))  # not that of the batches
        for its in table[len(network.layers) :]:
            self._weights_of(its)[:] = generator.normal(0, its.k**-0.5, (its.n, its.k))
        self.mask = np.ones(used if options.keep_zeros else 1, np.int8)
        if options.keep_zeros:
            for its in self._trained:
                end = its.weights + its.n * its.k
                self.mask[its.weights : end] = self.values[its.weights : end] != 0

    def _weights_of(self, its: TrainedLayer, values: NDArray | None = None) -> NDArray:
        """Return a view of the weights of a layer."""
        values = self.values if values is None else values
        return values[its.weights : its.weights + its.n * its.k].reshape(its.n, its.k)

    def network(self, values: NDArray | None = None) -> Network:
        """Return the network with these parameters, or with those of an earlier moment."""
        values = self.values if values is None else values
        layers = []
        for its, layer in zip(self._trained, self._network.layers, strict=True):
            bias = None if its.bias < 0 else values[its.bias : its.bias + its.n].copy()
            layers.append(Dense(self._weights_of(its, values).copy(), bias, layer.activation))
        return replace(self._network, layers=tuple(layers))


def train(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss | None = None,
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
    r"""Train a network; each epoch is one call into Fortran.

    Every step takes the gradient of a batch's mean loss, :math:`\sum_i w_i L_i / \sum_i w_i`. The
    permutation of an epoch is the next one of ``numpy.random.default_rng(seed)``. The result is the
    same to the bit for any number of threads.

    Parameters
    ----------
    network : Network
        What to start from; its weights are arrays. A softmax of the last layer is part of the
        cross-entropy.
    x : (samples, inputs) array_like
        Inputs, finite, in the units of `forward`. Lists, data frames, tensors of other libraries,
        other orders and dtypes are converted once; so are the other arrays.
    y : (samples,) or (samples, outputs) array_like
        For cross-entropy labels, those of `network.classes` if it has them, else whole numbers from
        0; or probabilities. For the other losses outputs, in the units of `forward`. Of a network
        of one output, without classes, they are values, one a sample, labels 0 and 1 as well.
    loss : str, optional
        ``"cross_entropy"``, ``"mse"`` or ``"huber"``, see `loss_of`; by default the first for
        labels, else the second. Errors are those of scaled outputs.
    delta : float
        Delta of ``"huber"``, above 0.
    optimizer : SGD or Adam
        With its learning rate.
    epochs, batch_size : int
        Passes over the samples; samples of a step, the last of an epoch takes what is left.
    seed : int
        Seed of the permutations.
    schedule : Schedule
        How the learning rate goes on.
    clip : float, optional
        Largest Euclidean norm of the gradient of a step, which is scaled down to it.
    sample_weight : (samples,) array_like, optional
        :math:`w_i`, finite, at least 0, not all 0.
    class_weight : (outputs,) array_like, optional
        By which the weight of each sample of a class is multiplied.
    keep_zeros : bool
        Whether weights that are 0 stay 0: those of a pruned network.
    fake_quantize : FakeQuantize, optional
        How weights are rounded in training; the result has them unrounded, and
        ``result.network.map_weights(fake_quantize.apply)`` rounds them.
    validation : (x, y), optional
        Samples whose loss, with weights rounded as `fake_quantize` says, decides which epoch was
        the best.
    patience : int, optional
        Stop when the validation loss has not fallen for so many epochs.
    callback : callable, optional
        Called after each epoch with an `Epoch`; True stops.

    Returns
    -------
    Training
        The network of the best epoch by validation loss, without validation of the last.

    Raises
    ------
    KeyboardInterrupt
        After an interrupt (Ctrl-C), when the epoch that runs is over. Its attribute `training` is
        the `Training` of the epochs before.
    TypeError
        If an argument has the wrong type, or holds what are no numbers.
    ValueError
        If shapes do not fit each other, an array is not finite, a label is unknown, or a number is
        out of range.
    FloatingPointError
        If a loss is not finite; the message says in which epoch and step.

    See Also
    --------
    pyfq.distill : Learn from a teacher.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    >>> network = Network.create((2, 16, 2), dtype=np.float64)
    >>> trained = train(network, x, y, epochs=60, optimizer=Adam(0.01)).network
    >>> bool((trained.forward(x).argmax(axis=1) == y).mean() > 0.95)
    True
    """
    options = Options(
        optimizer, epochs, batch_size, seed, schedule, clip, keep_zeros, fake_quantize, patience,
        callback,
    )  # fmt: skip
    x = as_samples(network, x, "x")
    weights = as_weights(network, len(x), sample_weight)
    loss, labels, targets = as_data(network, len(x), y, loss)
    weights = times_class_weight(weights, class_weight, labels, network)
    problem = Problem(
        scale_inputs(network, x), weights, loss, labels, targets,
        as_number(delta, "delta", SMALLEST, LARGEST),
    )  # fmt: skip
    check = as_validation(network, validation, loss, delta)
    return fit(with_range(network, x), problem, options, check)


def fit(
    network: Network,
    problem: Problem,
    options: Options,
    validate: Callable[[Network], tuple[float, float | None]] | None,
) -> Training:
    """Minimise the loss of a problem; see `train`.

    Parameters
    ----------
    network : Network
        What to start from.
    problem : Problem
        What is minimised.
    options : Options
        How.
    validate : callable or None
        Returns the validation loss of a network, and its accuracy if there are labels.

    Returns
    -------
    Training
        The result.

    Raises
    ------
    KeyboardInterrupt
        After an interrupt; its attribute `training` is the result up to there.
    """
    refuse_compressed(network)
    if options.patience is not None and validate is None:
        raise ValueError("patience needs validation")
    parameters = Parameters(network, problem, options)
    run = _Epochs(parameters, problem, options)
    start, history = time.perf_counter(), []
    best, best_loss, best_epoch, stopped = parameters.values.copy(), math.inf, 0, "done"
    # The number of the last whole epoch, the best parameters so far, and the epoch that gave them.
    # All three are set at once: an interrupt at any moment finds what belongs together.
    whole = 0, best, 0
    try:
        for number in range(1, options.epochs + 1):
            loss, rate = run.next(number)
            validation_loss = accuracy = None
            if validate is not None:
                candidate = parameters.network()
                rounding = options.fake_quantize
                used = candidate.map_weights(rounding.apply) if rounding else candidate
                validation_loss, accuracy = validate(used)
                if not math.isfinite(validation_loss):
                    raise FloatingPointError(
                        f"the validation loss is {validation_loss} in epoch {number}: "
                        f"{_remedy(options)}"
                    )
                if validation_loss < best_loss:
                    best, best_loss = parameters.values.copy(), validation_loss
                    best_epoch = number
            else:
                best, best_epoch = parameters.values.copy(), number
            seconds = time.perf_counter() - start
            told = number, options.epochs, loss, validation_loss, rate, seconds, accuracy
            history.append(Epoch(*told))
            whole = number, best, best_epoch
            if options.callback is not None and _stops(options.callback(history[-1])):
                stopped = "callback"
                break
            if options.patience is not None and number - best_epoch >= options.patience:
                stopped = "patience"
                break
    except KeyboardInterrupt as interrupt:
        # Not an exception of its own: a process that KeyboardInterrupt itself ends dies of SIGINT,
        # which is how a shell learns to stop its loop.
        done, best, best_epoch = whole
        trained = parameters.network(best)
        interrupt.training = Training(trained, history[:done], best_epoch, "interrupted")
        raise
    return Training(parameters.network(best), history, best_epoch, stopped)


class _Epochs:
    """The state of an optimizer, and the call that does the next epoch."""

    def __init__(self, parameters: Parameters, problem: Problem, options: Options) -> None:
        self._parameters, self._problem, self._options = parameters, problem, options
        dtype = parameters.values.dtype
        self._first, self._second = (np.zeros_like(parameters.values) for _ in "12")
        self._generator = np.random.default_rng(options.seed)
        self._steps = -(-len(problem.x) // options.batch_size)
        nothing = np.zeros((1, 1), dtype)
        targets, teacher = problem.targets, problem.teacher
        hints = [target for _, target, _ in problem.hints]
        self._data = (
            np.zeros(1, np.int64) if problem.labels is None else problem.labels,
            nothing if targets is None else targets,
            nothing if teacher is None else teacher,
            np.ascontiguousarray(np.concatenate(hints, axis=1)) if hints else nothing,
            problem.weights,
        )

    def next(self, number: int) -> tuple[float, float]:
        """Do epoch `number`, from 1; return its mean loss and last learning rate."""
        p, parameters, options = self._problem, self._parameters, self._options
        factors = options.schedule.factors(number - 1, number, options.epochs, self._steps)
        rates = (options.optimizer.learning_rate * factors).astype(parameters.values.dtype)
        losses = np.empty(self._steps)
        try:
            _native.call(
                "train_epoch", _native.KIND[p.x.dtype], p.x,
                self._generator.permutation(len(p.x)), *self._data, parameters.layers,
                parameters.slopes, parameters.hint_weights, parameters.rules,
                self._integers((number - 1) * self._steps), self._reals(), rates, parameters.mask,
                parameters.values, self._first, self._second, losses, get_num_threads(),
            )  # fmt: skip
        except FqError as e:
            if e.info != NOT_FINITE:
                raise
            losses[-1] = math.nan
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            raise FloatingPointError(
                f"the loss is {losses[bad[0]]} in epoch {number}, step {bad[0] + 1} of "
                f"{self._steps}: {_remedy(options)}"
            )
        if not np.isfinite(parameters.values).all():
            raise FloatingPointError(
                f"weights are not finite after the last step of epoch {number}: {_remedy(options)}"
            )
        return float(losses.mean()), float(rates[-1])

    def _integers(self, done: int) -> NDArray[np.int64]:
        """Return the components of `training` after so many steps."""
        p, options, optimizer = self._problem, self._options, self._options.optimizer
        word = "sgd"
        if isinstance(optimizer, Adam):
            word = "adamw" if optimizer.decoupled else "adam"
        integers = TrainingIntegers(
            loss=LOSSES.index(p.loss),
            labeled=p.labels is not None,
            imitation=IMITATIONS.index(p.imitation),
            optimizer=OPTIMIZERS.index(word),
            nesterov=isinstance(optimizer, SGD) and optimizer.nesterov,
            masked=options.keep_zeros,
            batch_size=min(options.batch_size, len(p.x)),
            done=done,
        )
        return np.array(integers, np.int64)

    def _reals(self) -> NDArray[np.float64]:
        """Return the components of `training_reals`."""
        p, optimizer = self._problem, self._options.optimizer
        if isinstance(optimizer, SGD):
            moments = (optimizer.momentum, 0.0, 0.0)
        else:
            moments = (optimizer.beta1, optimizer.beta2, optimizer.epsilon)
        clip = self._options.clip or 0.0
        reals = TrainingReals(
            p.alpha, p.temperature, p.delta, *moments, optimizer.weight_decay, clip
        )
        return np.array(reals)


def _remedy(options: Options) -> str:
    """Return what may help where training diverges."""
    rate = options.optimizer.learning_rate
    return f"a lower learning rate than {rate}, or clip, may help"
