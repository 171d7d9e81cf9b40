"""What ``pyfq train`` and ``pyfq distill`` tell of what they did."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pyfq
from pyfq import plot
from pyfq.cli._data import files_of, network_files
from pyfq.cli._fit import Task
from pyfq.cli._report import bytes_text, environment, path_text, title_of, write_figure, write_json
from pyfq.cli._source import digests
from pyfq.learning.train import Options


def figures_of(network: pyfq.Network, task: Task) -> tuple[float | None, float | None]:
    """Return how near a network is to y, and to the outputs of a teacher.

    Parameters
    ----------
    network : Network
        What is measured.
    task : Task
        What it learned.

    Returns
    -------
    near_y, near_teacher : float or None
        Fractions of the same class, or root-mean-square differences; None for what is not known.
    """
    part, figure = task.measured, "accuracy" if task.has_classes else "rmse"
    if part.y is not None:
        found = pyfq.evaluate(network, part.x, part.y, teacher=part.outputs)
        return getattr(found, figure), found.agreement if task.has_classes else found.teacher_rmse
    wanted = part.outputs
    if task.has_classes:
        wanted = wanted.argmax(axis=1)
        wanted = wanted if network.classes is None else np.asarray(network.classes)[wanted]
    return None, getattr(pyfq.evaluate(network, part.x, wanted), figure)


def figure_text(figure: float | None, task: Task) -> str:
    """Return one of `figures_of`, for people."""
    if figure is None:
        return ""
    return f"{100 * figure:.2f} %" if task.has_classes else f"{figure:.4g}"


def training_lines(training: pyfq.Training) -> list[tuple[str, str]]:
    """Return what a training was like, for people."""
    done, of, number = len(training.epochs), training.epochs[-1].of, training.best_epoch
    best = training.epochs[number - 1]
    epochs = f"{done}" if done == of else f"{done} of {of}"
    if training.stopped == "patience":
        epochs += f": no better for the last {done - number}"
    elif training.stopped == "interrupted":
        epochs += ": interrupted"
    lines = [("epochs", epochs), ("best epoch", f"{number}"), ("training loss", f"{best.loss:.4g}")]
    if best.validation_loss is not None:
        lines.append(("validation loss", f"{best.validation_loss:.4g}"))
    return lines


def closing_lines(training: pyfq.Training, path: Path) -> list[tuple[str, str]]:
    """Return how long a training took, and what file there is now, for people."""
    return [
        ("seconds", f"{training.epochs[-1].seconds:.2f}"),
        ("file", f"{path_text(path)}, {bytes_text(path.stat().st_size)}"),
    ]


def measured_text(task: Task) -> str:
    """Return on which samples results were measured, for people."""
    if task.held is None:
        return f"on the {len(task.part.x):,} samples of training"
    return f"on {len(task.held.x):,} samples held out"


def _network_entry(network: pyfq.Network) -> dict[str, Any]:
    """Return what a network is, for programs."""
    return {
        "sizes": network.sizes,
        "activations": [layer.activation for layer in network.layers],
        "dtype": str(network.dtype),
        "parameters": network.size,
        "multiply_adds": network.multiply_adds,
        "bytes": network.nbytes,
    }


def training_entry(training: pyfq.Training) -> dict[str, Any]:
    """Return what a training was like, for programs."""
    return {
        "epochs": [vars(epoch) for epoch in training.epochs],
        "best_epoch": training.best_epoch,
        "stopped": training.stopped,
    }


def document_of(
    args: argparse.Namespace,
    options: Options,
    task: Task,
    network: pyfq.Network,
    others: Sequence[Path | None],
) -> dict[str, Any]:
    """Return the report as JSON has it, without results.

    Parameters
    ----------
    args : Namespace
        Those of the command.
    options : Options
        How it trained.
    task : Task
        What was learned.
    network : Network
        What was written.
    others : sequence of Path or None
        What was read besides samples.

    Returns
    -------
    dict
        Settings that are objects are written as Python has them.
    """
    words = [word for word in (args.data, args.validation) if word is not None]
    files = [file for word in words for file in files_of(word)]
    files += network_files([path for path in others if path is not None])
    settings = vars(options) | {"delta": args.delta, "normalize": args.normalize}
    del settings["callback"]
    return {
        "command": args.command,
        "environment": environment(),
        "settings": {k: repr(v) if is_dataclass(v) else v for k, v in settings.items()},
        "inputs": digests(files),
        "output": str(args.output),
        "samples": {
            "training": len(task.part.x),
            "held_out": 0 if task.held is None else len(task.held.x),
        },
        "network": _network_entry(network),
    }


def tell(
    args: argparse.Namespace,
    trainings: Mapping[str, pyfq.Training],
    document: Mapping[str, Any],
    text: str,
    *,
    teacher: float | None = None,
) -> None:
    """Draw losses and accuracies, write the report, and print it; `teacher` is its accuracy."""
    if args.plot is not None:
        begun = {name: training for name, training in trainings.items() if training.epochs}
        figure = plot.training_curves(begun, title=title_of(args.output.stem), teacher=teacher)
        write_figure(figure, args.plot, args.command)
    if args.json is not None:
        write_json(document, args.json)
    if args.json != "-" and not args.quiet:
        print(text)
    if any(training.stopped == "interrupted" for training in trainings.values()):
        raise KeyboardInterrupt(f"; {args.output} has what was learned before")
