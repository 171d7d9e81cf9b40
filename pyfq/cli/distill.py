"""``pyfq distill``: a teacher and samples in, a smaller network out."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq.cli import SubParsers, UsageError, _fit, _fit_report
from pyfq.cli._data import (
    FILES,
    Samples,
    classifies,
    file_classes,
    file_floats,
    read_samples,
    read_teacher,
)
from pyfq.cli._fit import Task
from pyfq.cli._help import HelpFormatter
from pyfq.cli._parser import path_of
from pyfq.cli._report import bytes_text, pairs_text
from pyfq.cli._table import table_text, terminal_width
from pyfq.learning.teacher import refuse_probabilities
from pyfq.learning.train import Options

EPILOG = f"""\
what is learned:
  alpha times the loss against the teacher's outputs, and 1 - alpha times that of the data; without
  y in the data the teacher is all. kl compares probabilities at a temperature, mse and cosine the
  outputs. Samples are held out for the table and, where there is y, to choose the best epoch.

teachers:
  A .safetensors file of pyfq, an .onnx file of dense layers, or the outputs of any other model: a
  .npy file, or .npz with the array outputs, a row for each sample of --data. Outputs of classes are
  logits; of probabilities p keep log(p). Columns are the labels in order.

{FILES}
examples:
  pyfq distill large.safetensors --student 64,16,10 --data digits.npz -o small.safetensors
  pyfq distill large.onnx --student 64,16,10 --data unlabelled.npy -o small.safetensors
  pyfq distill logits.npy --student 64,16,10 --data digits.npz -o small.safetensors --compare
  pyfq distill large.safetensors --student 64,32,16,10 --data digits.npz -o small.safetensors \\
      --hint 0:1 --hint 1:2:0.5
  pyfq distill large.safetensors --student pruned.safetensors --keep-zeros --data digits.npz \\
      -o tuned.safetensors
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "distill",
        description="Train a small network to do as a large one does.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add(
        "teacher",
        metavar="TEACHER",
        type=path_of,
        help=".safetensors, .onnx, or outputs: .npy, .npz",
    )
    add(
        "--student",
        metavar="N,N,...",
        required=True,
        help="inputs, neurons of hidden layers, outputs, as 64,16,10; or a file to go on from",
    )
    group = parser.add_argument_group("distillation")
    group.add_argument(
        "-T",
        "--temperature",
        metavar="T",
        type=float,
        default=4.0,
        help="temperature of the kl loss (default: 4)",
    )
    group.add_argument(
        "--alpha",
        metavar="R",
        type=float,
        default=0.9,
        help="weight of the teacher's part of the loss, 0 ... 1 (default: 0.9)",
    )
    group.add_argument(
        "--loss",
        choices=("kl", "mse", "cosine"),
        help="loss to the teacher (default: kl for classes, mse for values)",
    )
    group.add_argument(
        "--data-loss",
        choices=("cross_entropy", "mse", "huber"),
        help="loss to y (default: cross_entropy for labels, mse for values)",
    )
    group.add_argument(
        "--hint",
        metavar="STUDENT:TEACHER[:WEIGHT]",
        action="append",
        default=[],
        help="a hidden layer, from 0, that learns to be like one of the teacher; repeatable",
    )
    group.add_argument(
        "--compare", action="store_true", help="train the same student without the teacher, too"
    )
    _fit.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Distill, write and report."""
    options = _fit.options_of(args, args.data_loss)
    hints = [_hint_of(word) for word in args.hint]
    is_new = re.fullmatch(r"[\d,]+", args.student) is not None
    start = None if is_new else _fit.read_start(Path(args.student), args)
    sizes = start.sizes if start else _fit.sizes_of(args.student)
    teacher = read_teacher(args.teacher)
    samples = read_samples(args.data, args, sizes[0])
    _refuse_without_y(args, samples)
    has_classes = _has_classes(args, samples.y, start, teacher)
    _refuse_teacher(args, teacher, sizes, start, samples, has_classes)
    classes = _classes_of(args, sizes, start, teacher, samples, has_classes)
    if start is None:
        dtype = teacher.dtype if isinstance(teacher, pyfq.Network) else "float32"
        start = _fit.new_network(sizes, args, args.dtype or dtype)
    student = replace(start, classes=classes)
    if not isinstance(teacher, pyfq.Network):
        teacher = file_floats(teacher, student.dtype, str(args.teacher), "outputs")
    task = _fit.prepare(args, student, samples, has_classes, teacher)

    training = _distill(args, options, hints, teacher, task)
    small = _fit.write_trained(args, training)
    trainings, networks = {"distilled": training}, {"student": small}
    if args.compare and training.stopped != "interrupted":
        alone = _fit.train(args, options, task, args.data_loss, "alone")
        trainings["alone"] = alone
        if alone.best_epoch:
            networks["student, alone"] = _fit.rounded(args, alone.network)

    rows = [_teacher_row(teacher, task)]
    rows += [_row(name, network, task) for name, network in networks.items()]
    others = [args.teacher, None if is_new else Path(args.student)]
    document = _fit_report.document_of(args, options, task, small, others)
    settings = ("temperature", "alpha", "loss", "data_loss", "hint")
    document["settings"] |= {name: getattr(args, name) for name in settings}
    document |= {name: _fit_report.training_entry(training) for name, training in trainings.items()}
    document["results"] = rows
    lines = [
        *_fit_report.training_lines(training),
        *_fit_report.closing_lines(training, args.output),
    ]
    text = f"{pairs_text(lines)}\n\n{_table_text(rows, task)}\n{_fit_report.measured_text(task)}"
    _fit_report.tell(args, trainings, document, text, teacher=rows[0].get("accuracy"))
    return 0


def _hint_of(word: str) -> pyfq.Hint:
    try:
        layer, target, *weight = word.split(":")
        (weight,) = weight or ("1",)
        return pyfq.Hint(int(layer), int(target), float(weight))
    except ValueError:
        raise UsageError(
            f"--hint: expected STUDENT:TEACHER or STUDENT:TEACHER:WEIGHT, as 0:1, not {word}"
        ) from None


def _refuse_without_y(args: argparse.Namespace, samples: Samples) -> None:
    """Refuse options that need to know what is right."""
    for option in ("compare", "validation", "patience", "data_loss"):
        if samples.y is None and getattr(args, option):
            needs = f"--{option.replace('_', '-')}"
            raise ValueError(f"{args.data}: y is missing, which {needs} needs")


def _has_classes(
    args: argparse.Namespace,
    y: NDArray | None,
    start: pyfq.Network | None,
    teacher: pyfq.Network | NDArray,
) -> bool:
    """Return whether outputs are those of classes."""
    known = teacher if isinstance(teacher, pyfq.Network) else None
    if y is not None:
        labelled = known if known is not None and known.classes is not None else start
        return args.loss == "kl" or classifies(y, args.data_loss, labelled)
    networks = [network for network in (start, known) if network is not None]
    if args.loss == "kl" or any(network.classes is not None for network in networks):
        return True
    if any(network.layers[-1].activation == "softmax" for network in networks):
        return True
    if args.loss is None and not any(network.output_mean is not None for network in networks):
        raise UsageError(
            f"{args.teacher} does not say what its outputs are: --loss kl for logits of classes, "
            "mse for values"
        )
    return False


def _refuse_teacher(
    args: argparse.Namespace,
    teacher: pyfq.Network | NDArray,
    sizes: Sequence[int],
    start: pyfq.Network | None,
    samples: Samples,
    has_classes: bool,
) -> None:
    """Refuse a teacher that does not fit student or samples."""
    its = teacher.sizes[-1] if isinstance(teacher, pyfq.Network) else teacher.shape[1]
    if its != sizes[-1]:
        raise ValueError(f"{args.teacher} has {its} outputs, the student {sizes[-1]}")
    if isinstance(teacher, pyfq.Network):
        classes = (teacher.classes, None if start is None else start.classes)
        if all(c is not None for c in classes) and not np.array_equal(*classes):
            raise ValueError(f"the classes of {args.teacher} are not those of {args.student}")
        return
    if args.hint:
        raise UsageError(f"--hint needs a teacher that is a network, not {args.teacher}")
    if len(teacher) != len(samples.x):
        raise ValueError(
            f"{args.teacher} has outputs of {len(teacher)} samples, {args.data} has "
            f"{len(samples.x)}"
        )
    if has_classes and args.loss in (None, "kl"):
        refuse_probabilities(teacher, args.teacher)


def _classes_of(
    args: argparse.Namespace,
    sizes: Sequence[int],
    start: pyfq.Network | None,
    teacher: pyfq.Network | NDArray,
    samples: Samples,
    has_classes: bool,
) -> NDArray | None:
    """Return what the outputs stand for: what a network says, else what y holds."""
    for network in (start, teacher):
        if isinstance(network, pyfq.Network) and network.classes is not None:
            return network.classes
    if not has_classes:
        return None
    y = samples.y
    return np.arange(sizes[-1]) if y is None else file_classes(y, sizes[-1], args.data)


def _distill(
    args: argparse.Namespace,
    options: Options,
    hints: Sequence[pyfq.Hint],
    teacher: pyfq.Network | NDArray,
    task: Task,
) -> pyfq.Training:
    with _fit.progress(args, "distilling") as callback:
        return _fit.or_interrupted(
            lambda: pyfq.distill(
                teacher if hints else task.part.outputs,
                task.network,
                task.part.x,
                task.part.y,
                temperature=args.temperature,
                alpha=args.alpha,
                loss=args.loss,
                hints=hints,
                data_loss=args.data_loss,
                delta=_fit.delta_of(args),
                validation=task.validation,
                **vars(replace(options, callback=callback)),
            )
        )


def _row(name: str, network: pyfq.Network, task: Task) -> dict[str, Any]:
    near_y, near_teacher = _fit_report.figures_of(network, task)
    figures = ("accuracy", "agreement") if task.has_classes else ("rmse", "teacher_rmse")
    return {"network": name, figures[0]: near_y, figures[1]: near_teacher, **_sizes_of(network)}


def _sizes_of(network: pyfq.Network) -> dict[str, int]:
    return {
        "parameters": network.size,
        "multiply_adds": network.multiply_adds,
        "bytes": network.nbytes,
    }


def _teacher_row(teacher: pyfq.Network | NDArray, task: Task) -> dict[str, Any]:
    """Return what is known of the teacher, from its outputs; of kept ones that is little."""
    row: dict[str, Any] = {"network": "teacher"}
    y, outputs, classes = task.measured.y, task.measured.outputs, task.network.classes
    if y is not None and outputs is not None:
        if task.has_classes:
            said = outputs.argmax(axis=1)
            said = said if classes is None else np.asarray(classes)[said]
            row["accuracy"] = float(np.mean(said == y))
        else:
            row["rmse"] = float(np.sqrt(np.mean((outputs - y).astype(np.float64) ** 2)))
    return row | (_sizes_of(teacher) if isinstance(teacher, pyfq.Network) else {})


def _table_text(rows: Sequence[dict[str, Any]], task: Task) -> str:
    figures = {"accuracy": "accuracy", "agreement": "agreement"}
    if not task.has_classes:
        figures = {"rmse": "RMSE", "teacher_rmse": "to the teacher"}
    if task.part.y is None:
        figures.pop("accuracy" if task.has_classes else "rmse")
    lines = [
        [
            row["network"],
            *(_fit_report.figure_text(row.get(name), task) for name in figures),
            *(f"{row[name]:,}" if name in row else "" for name in ("parameters", "multiply_adds")),
            bytes_text(row["bytes"]) if "bytes" in row else "",
        ]
        for row in rows
    ]
    headers = ["network", *figures.values(), "parameters", "multiply-adds", "bytes"]
    spare = ("multiply-adds", "parameters")
    return table_text(lines, headers, spare=spare, width=terminal_width())
