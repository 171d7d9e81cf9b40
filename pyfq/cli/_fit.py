"""What ``pyfq train`` and ``pyfq distill`` share: options, networks, samples, progress."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq._core.text import small_letters
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.cli import UsageError, use_threads
from pyfq.cli._data import (
    Samples,
    add_columns,
    file_floats,
    file_labels,
    file_values,
    files_of,
    network_files,
    read_network,
    read_samples,
)
from pyfq.cli._destination import refuse_existing_file
from pyfq.cli._parser import add_telling_arguments, file_of
from pyfq.cli._progress import epochs
from pyfq.cli._report import (
    FIGURES,
    path_text,
    refuse_figure,
    refuse_missing_directory,
    refuse_taken,
)
from pyfq.learning.optimizers import Optimizer
from pyfq.learning.teacher import outputs_of
from pyfq.learning.train import Options
from pyfq.networks.samples import mean_and_scale

OPTIMIZERS = ("sgd", "adam", "adamw")
#: Of samples, if nothing else is said.
SPLIT = 0.1
# What is appended to --seed, so that the split is not that of the batches or of the weights.
_OF_SPLIT = 2


@dataclass(frozen=True, eq=False)
class Part:
    """Samples as a network takes them.

    Attributes
    ----------
    x : (samples, inputs) array of the network's dtype
        Inputs.
    y : array or None
        Labels, or values of the network's dtype, (samples, outputs).
    outputs : (samples, outputs) array of the network's dtype, or None
        Those of a teacher.
    """

    x: NDArray
    y: NDArray | None
    outputs: NDArray | None

    def take(self, at: NDArray[np.int64]) -> "Part":
        """Return some of the samples."""
        y, outputs = (None if a is None else a[at] for a in (self.y, self.outputs))
        return Part(self.x[at], y, outputs)


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be learned.

    Attributes
    ----------
    network : Network
        What to start from.
    has_classes : bool
        Whether its outputs are those of classes, and y is labels.
    part : Part
        Samples to train on.
    held : Part or None
        Samples held out, which say what epoch is the best.
    """

    network: pyfq.Network
    has_classes: bool
    part: Part
    held: Part | None

    @property
    def measured(self) -> Part:
        """On what results are measured: what training has not seen, if there is such."""
        return self.held or self.part

    @property
    def validation(self) -> tuple[NDArray, NDArray] | None:
        """What `pyfq.train` takes for it."""
        return None if self.held is None or self.held.y is None else (self.held.x, self.held.y)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of both commands."""
    add = parser.add_argument
    add("--data", metavar="FILE", required=True, help="samples: .npz, .csv, or X.npy,Y.npy")
    add_columns(parser)
    add("-o", "--output", metavar="OUT", type=file_of, required=True, help=".safetensors to write")

    group = parser.add_argument_group("a new network")
    group.add_argument(
        "--activation",
        metavar="NAME",
        help=f"activation of hidden layers: none, {', '.join(ACTIVATIONS[:-1])}; a colon and a "
        "number give its parameter, as in leaky_relu:0.1 (default: relu)",
    )
    group.add_argument(
        "--output-activation",
        metavar="NAME",
        help="activation of the last layer: one of these, or softmax (default: none)",
    )
    group.add_argument("--dtype", choices=("float32", "float64"))
    group.add_argument(
        "--normalize",
        action="store_true",
        help="scale each input, and each output that is a value, to mean 0 and standard deviation "
        "1; the network keeps the means and deviations of the training samples",
    )

    group = parser.add_argument_group("training")
    group.add_argument("--epochs", metavar="N", type=int, default=100, help="(default: 100)")
    group.add_argument("--batch-size", metavar="N", type=int, default=64, help="(default: 64)")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="(default: adam)")
    group.add_argument(
        "--learning-rate", metavar="R", type=float, help="(default: 0.001; for sgd 0.01)"
    )
    group.add_argument(
        "--momentum", metavar="R", type=float, help="momentum of sgd, 0 ... 1 (default: 0)"
    )
    group.add_argument(
        "--weight-decay", metavar="R", type=float, help="(default: 0; for adamw 0.01)"
    )
    group.add_argument(
        "--schedule",
        metavar="KIND",
        default="constant",
        help="how the learning rate changes: constant, cosine[:FINAL] or step[:EVERY[:FACTOR]], "
        "which multiplies it by 0.1 every 30 epochs (default: constant)",
    )
    group.add_argument(
        "--warmup",
        metavar="N",
        type=float,
        default=0.0,
        help="epochs in which the learning rate rises from 0 (default: 0)",
    )
    group.add_argument(
        "--clip", metavar="R", type=float, help="largest norm of the gradient of a step"
    )
    group.add_argument(
        "--delta", metavar="R", type=float, help="delta of the huber loss (default: 1)"
    )
    group.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="seed of the first weights, the split and the batches (default: 0)",
    )
    group.add_argument(
        "--keep-zeros",
        action="store_true",
        help="keep weights that are 0 at 0, as in a pruned network",
    )
    group.add_argument(
        "--fake-quantize",
        metavar="BITS[:GROUP]",
        help="round weights to 2 ... 8 bits in every step, with one scale for each row, or for "
        "GROUP weights of a row; OUT holds the codes",
    )
    group.add_argument(
        "--threads", metavar="N", type=int, help="number of threads; results do not depend on it"
    )

    group = parser.add_argument_group("validation")
    held = group.add_mutually_exclusive_group()
    held.add_argument("--validation", metavar="FILE", help="samples that say which epoch is best")
    held.add_argument(
        "--validation-split",
        metavar="R",
        type=float,
        help="fraction of --data that is held out for that; with 0 the last epoch is taken "
        f"(default: {SPLIT:g})",
    )
    group.add_argument(
        "--patience", metavar="N", type=int, help="stop after N epochs without a better one"
    )

    group = parser.add_argument_group("output")
    group.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    group.add_argument(
        "--plot",
        metavar="FILE",
        type=file_of,
        help=f"draw losses and accuracies by epoch: {', '.join(FIGURES)}",
    )
    group.add_argument("--force", action="store_true", help="replace what is at OUT")
    add_telling_arguments(group, "a line an epoch")


def sizes_of(word: str) -> tuple[int, ...]:
    """Return the sizes of layers, written as ``64,32,10``."""
    try:
        sizes = tuple(int(part) for part in word.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) < 2 or min(sizes) < 1:
        raise UsageError(
            f"layers must be inputs, hidden neurons and outputs, as 64,32,10, not {word}"
        )
    return sizes


def options_of(args: argparse.Namespace, loss: str | None) -> Options:
    """Return how to train; refuse what cannot be done before anything is read.

    Parameters
    ----------
    args : Namespace
        Those of the command.
    loss : str or None
        Loss of the data that was asked for.

    Returns
    -------
    Options
        Without a callback.
    """
    if args.delta is not None and loss != "huber":
        raise UsageError("--delta is for the loss huber")
    if args.output.suffix != ".safetensors":
        case = small_letters(args.output.suffix, (".safetensors",))
        raise UsageError(f"-o: expected a .safetensors file{case}, not {args.output}")
    words = [word for word in (args.data, args.validation) if word is not None]
    read = [file for word in words for file in files_of(word)]
    teacher = getattr(args, "teacher", None)
    refuse_taken({"-o": args.output}, read + ([] if teacher is None else network_files([teacher])))
    refuse_existing_file(args.output, force=args.force)
    refuse_missing_directory("--json", args.json)
    refuse_figure(args.plot)
    networks = (getattr(args, name, None) for name in ("network", "teacher", "student"))
    read += [Path(name) for name in networks if name is not None]
    refuse_taken({"--json": args.json, "--plot": args.plot}, read, args.output)
    if args.threads is not None:
        use_threads(args.threads)
    split = args.validation_split
    if split is not None and not 0 <= split < 1:
        raise UsageError(f"--validation-split must be at least 0 and less than 1, not {split}")
    if args.patience is not None and split == 0:
        raise UsageError("--patience needs samples for validation: --validation-split is 0")
    if args.epochs < 1:
        raise UsageError(f"--epochs must be at least 1, not {args.epochs}")
    try:
        return Options(
            _optimizer_of(args), args.epochs, args.batch_size, args.seed, _schedule_of(args),
            args.clip, args.keep_zeros, _fake_quantize_of(args), args.patience, None,
        )  # fmt: skip
    except (TypeError, ValueError) as e:
        raise UsageError(str(e)) from e


def _optimizer_of(args: argparse.Namespace) -> Optimizer:
    if args.momentum is not None and args.optimizer != "sgd":
        raise UsageError(f"--momentum is for --optimizer sgd, not {args.optimizer}")
    make = {"sgd": pyfq.SGD, "adam": pyfq.Adam, "adamw": pyfq.AdamW}[args.optimizer]
    given = ("learning_rate", "momentum", "weight_decay")
    named = {name: getattr(args, name) for name in given if getattr(args, name) is not None}
    return make(**named)


def _schedule_of(args: argparse.Namespace) -> pyfq.Schedule:
    kind, *numbers = args.schedule.split(":")
    try:
        match kind, numbers:
            case _, []:
                named = {}
            case "cosine", [final]:
                named = {"final": float(final)}
            case "step", [every]:
                named = {"every": int(every)}
            case "step", [every, factor]:
                named = {"every": int(every), "factor": float(factor)}
            case _:
                raise ValueError
    except ValueError:
        raise UsageError(
            "--schedule: expected constant, cosine[:FINAL] or step[:EVERY[:FACTOR]], not "
            f"{args.schedule}"
        ) from None
    return pyfq.Schedule(kind, warmup=args.warmup, **named)


def _fake_quantize_of(args: argparse.Namespace) -> pyfq.FakeQuantize | None:
    if args.fake_quantize is None:
        return None
    try:
        bits, *group = (int(part) for part in args.fake_quantize.split(":"))
        (group,) = group or (None,)
    except ValueError:
        raise UsageError(
            f"--fake-quantize: expected BITS or BITS:GROUP, as 4:32, not {args.fake_quantize}"
        ) from None
    if group is None:
        return pyfq.FakeQuantize(bits)
    return pyfq.FakeQuantize(bits, granularity=pyfq.PerGroup(group))


def read_start(path: Path, args: argparse.Namespace) -> pyfq.Network:
    """Return a network from a file, to go on from."""
    for option in ("activation", "output_activation", "dtype", "normalize"):
        if getattr(args, option):
            raise UsageError(f"--{option.replace('_', '-')} is for a new network, not {path}")
    network = read_network(path)
    if all(isinstance(layer.weights, np.ndarray) for layer in network.layers):
        return network
    remark = "its codes are trained as the numbers that they stand for"
    print(f"pyfq {args.command}: {path_text(path)}: {remark}", file=sys.stderr)
    return network.map_weights(np.ascontiguousarray)


def new_network(sizes: Sequence[int], args: argparse.Namespace, dtype: Any) -> pyfq.Network:
    """Return a network with random weights."""
    try:
        return pyfq.Network.create(
            sizes,
            activation=_activation_of(args.activation or "relu"),
            output_activation=_activation_of(args.output_activation or "none"),
            seed=args.seed,
            dtype=dtype,
        )
    except (TypeError, ValueError) as e:
        raise UsageError(str(e)) from e


def _activation_of(word: str) -> Any:
    name, _, number = word.partition(":")
    if not number:
        return None if word == "none" else word
    try:
        return name, float(number)
    except ValueError:
        raise UsageError(f"activation: expected {name}:NUMBER, not {word}") from None


def prepare(
    args: argparse.Namespace,
    network: pyfq.Network,
    samples: Samples,
    has_classes: bool,
    teacher: pyfq.Network | NDArray | None = None,
) -> Task:
    """Return what is to be learned.

    Parameters
    ----------
    args : Namespace
        Those of the command.
    network : Network
        What to start from, without means and scales that were asked for.
    samples : Samples
        Those of ``--data``.
    has_classes : bool
        Whether y is labels; see `classifies`.
    teacher : Network or array, optional
        What gives outputs for x, or what it gave.

    Returns
    -------
    Task
        The network and its samples.
    """
    whole = _part_of(samples, network, has_classes, teacher)
    if args.validation is None:
        part, held = _split(whole, args)
    else:
        other = read_samples(args.validation, args, network.sizes[0])
        if other.y is None:
            raise ValueError(f"{args.validation}: y is missing: --y names an array or a column")
        known = teacher if isinstance(teacher, pyfq.Network) else None
        part, held = whole, _part_of(other, network, has_classes, known)
    if args.normalize:
        values = None if has_classes else part.outputs if part.y is None else part.y
        network = _normalized(network, part.x, values)
    return Task(network, has_classes, part, held)


def _part_of(
    samples: Samples,
    network: pyfq.Network,
    has_classes: bool,
    teacher: pyfq.Network | NDArray | None,
) -> Part:
    x, y, name = file_floats(samples.x, network.dtype, samples.name), samples.y, samples.name
    _refuse_unresolved(samples.x, network.dtype, name)
    if y is not None:
        y = file_labels(y, network.classes, name) if has_classes else file_values(y, network, name)
    return Part(x, y, None if teacher is None else outputs_of(teacher, network, x))


def _refuse_unresolved(x: NDArray, dtype: np.dtype, name: str) -> None:
    """Refuse inputs that vary by so little, far from 0, that a narrower dtype loses it."""
    if np.can_cast(x.dtype, dtype) or not len(x):
        return
    low, high = (end.astype(np.float64) for end in (x.min(axis=0), x.max(axis=0)))
    far = np.maximum(np.abs(low), np.abs(high))
    step = np.finfo(dtype).eps * far
    # Less than 1e-12 of a number is the rounding of a constant.
    lost = np.flatnonzero((high - low < 32 * step) & (high - low > 1e-12 * far))
    if lost.size:
        i = lost[0]
        raise ValueError(
            f"{name}: column {i} of x varies by {high[i] - low[i]:.3g} around {low[i]:.6g}, where "
            f"{dtype} has steps of {step[i]:.3g}: --dtype float64 keeps it"
        )


def _split(samples: Part, args: argparse.Namespace) -> tuple[Part, Part | None]:
    ratio = SPLIT if args.validation_split is None else args.validation_split
    n = len(samples.x)
    held = round(ratio * n)
    if not held:
        return samples, None
    if held == n:
        raise ValueError(f"{args.data}: {n} samples leave none to train on")
    at = np.random.default_rng((args.seed, _OF_SPLIT)).permutation(n)
    return samples.take(np.sort(at[held:])), samples.take(np.sort(at[:held]))


def _normalized(network: pyfq.Network, x: NDArray, values: NDArray | None) -> pyfq.Network:
    """Return a network with mean and deviation of inputs, and of values, if it learns values."""
    mean, scale = mean_and_scale(x)
    network = replace(network, input_mean=mean, input_scale=scale)
    if values is not None:
        mean, scale = mean_and_scale(values)
        network = replace(network, output_mean=mean, output_scale=scale)
    return network


def train(
    args: argparse.Namespace, options: Options, task: Task, loss: str | None, label: str
) -> pyfq.Training:
    """Train on y alone; `loss` is what was asked for, `label` what the progress is called."""
    with progress(args, label) as callback:
        return or_interrupted(
            lambda: pyfq.train(
                task.network,
                task.part.x,
                task.part.y,
                loss=loss,
                delta=delta_of(args),
                validation=task.validation,
                **vars(replace(options, callback=callback)),
            )
        )


def or_interrupted(train: Callable[[], pyfq.Training]) -> pyfq.Training:
    """Return a training, or after an interrupt the part of it that was done."""
    try:
        return train()
    except KeyboardInterrupt as interrupt:
        training = getattr(interrupt, "training", None)
        if training is None:  # it had not begun
            raise
        return training


def delta_of(args: argparse.Namespace) -> float:
    """Return where Huber's loss becomes linear."""
    return 1.0 if args.delta is None else args.delta


@contextmanager
def progress(args: argparse.Namespace, label: str) -> Iterator[Callable[[pyfq.Epoch], None]]:
    """Yield what to call after an epoch.

    It moves a bar if stderr is a terminal, or writes a line an epoch if --verbose asks for it.
    """
    with epochs(args.epochs, label, quiet=args.quiet or args.verbose) as bar:

        def tell(epoch: pyfq.Epoch) -> None:
            losses = f"loss {epoch.loss:.4g}"
            if epoch.validation_loss is not None:
                losses += f", validation {epoch.validation_loss:.4g}"
            if args.verbose:
                number = f"{epoch.number:{len(str(epoch.of))}}"
                print(f"{label}: epoch {number} of {epoch.of}: {losses}", file=sys.stderr)
            bar.set_postfix_str(losses, refresh=False)
            bar.update()

        yield tell


def write_trained(args: argparse.Namespace, training: pyfq.Training) -> pyfq.Network:
    """Write the network of a training, rounded if it was in training, and return it."""
    if not training.best_epoch:
        if training.stopped == "interrupted":
            raise KeyboardInterrupt(" before the first epoch was over; nothing was written")
        raise FloatingPointError("the validation loss was finite in no epoch: nothing was written")
    network = rounded(args, training.network)
    pyfq.save_network(network, args.output)
    return network


def rounded(args: argparse.Namespace, network: pyfq.Network) -> pyfq.Network:
    """Return a network with the codes that --fake-quantize trained it for."""
    spec = _fake_quantize_of(args)
    return network if spec is None else network.map_weights(spec.apply)
