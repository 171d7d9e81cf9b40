"""``pyfq evaluate``: a network and samples in, figures out."""

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq.cli import SubParsers, use_threads
from pyfq.cli._data import (
    FILES,
    Samples,
    add_columns,
    classifies,
    file_floats,
    file_labels,
    file_values,
    files_of,
    network_files,
    read_network,
    read_samples,
    read_teacher,
)
from pyfq.cli._help import HelpFormatter
from pyfq.cli._parser import path_of
from pyfq.cli._report import environment, refuse_missing_directory, refuse_taken, write_json
from pyfq.cli._source import digests
from pyfq.cli._table import shortened, table_text, terminal_width, width_of

#: Classes of a confusion matrix that is shown.
MOST_CLASSES = 20

EPILOG = f"""\
Of classes: loss, accuracy, how often the right one is among the first 5, and, if they are at most
{MOST_CLASSES}, which is taken for which. Of values: root-mean-square, mean and largest error, and
the share of the variance that is explained (r2). With a teacher: how often, or how nearly, both
say the same.

{FILES}
examples:
  pyfq evaluate small.safetensors --data test.npz
  pyfq evaluate small.safetensors --data test.csv --y species --teacher large.onnx
  pyfq evaluate small.safetensors --data test.npz --json - | jq .results.accuracy
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "evaluate",
        description="Measure a network on samples whose y is known.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("network", metavar="NETWORK", type=path_of, help=".safetensors or .onnx")
    add("--data", metavar="FILE", required=True, help="samples: .npz, .csv, or X.npy,Y.npy")
    add_columns(parser)
    add(
        "--teacher",
        metavar="T",
        type=path_of,
        help="compare with it: .safetensors, .onnx, or outputs: .npy, .npz",
    )
    add("--threads", metavar="N", type=int, help="number of threads; results do not depend on it")
    add("--json", metavar="FILE", help="write the figures as JSON; - for stdout")


def run(args: argparse.Namespace) -> int:
    """Evaluate, and report."""
    refuse_missing_directory("--json", args.json)
    networks = [path for path in (args.network, args.teacher) if path is not None]
    refuse_taken({"--json": args.json}, [*files_of(args.data), *networks])
    if args.threads is not None:
        use_threads(args.threads)
    network = read_network(args.network)
    samples = read_samples(args.data, args, network.sizes[0])
    if samples.y is None:
        raise ValueError(f"{args.data}: y is missing: --y names an array or a column")
    x = file_floats(samples.x, network.dtype, samples.name)
    y = _targets(samples, network)
    found = pyfq.evaluate(network, x, y, teacher=_teacher(args, network, samples))
    document = {
        "command": "evaluate",
        "environment": environment(),
        "inputs": digests(files_of(args.data) + network_files(networks)),
        "results": found.as_dict(),
    }
    if args.json is not None:
        write_json(document, args.json)
    if args.json != "-":
        print(found)
        if found.confusion is not None and len(found.confusion) <= MOST_CLASSES:
            print(f"\n{_fitting(confusion_text(found.confusion, found.classes))}")
    return 0


def confusion_text(confusion: NDArray[np.int64], classes: Sequence | NDArray | None) -> str:
    """Return the table of how many samples of each class, one a line, were taken for which."""
    names = [str(name) for name in (range(len(confusion)) if classes is None else classes)]
    cells = [
        [name, *(str(n) if n else "." for n in row)]
        for name, row in zip(names, confusion, strict=True)
    ]
    return table_text(cells, ["class \\ taken for", *names], numbers=names)


def _fitting(table: str) -> str:
    """Return a table of which no column may be left out, or a line if the terminal is narrower."""
    needed, width = max(map(width_of, table.splitlines())), terminal_width()
    if width is None or needed <= width:
        return table
    return shortened(f"the table of classes needs {needed} columns; --json has it", width)


def _targets(samples: Samples, network: pyfq.Network) -> NDArray:
    if classifies(samples.y, None, network):
        return file_labels(samples.y, network.classes, samples.name)
    return file_values(samples.y, network, samples.name)


def _teacher(
    args: argparse.Namespace, network: pyfq.Network, samples: Samples
) -> pyfq.Network | NDArray | None:
    if args.teacher is None:
        return None
    teacher = read_teacher(args.teacher)
    if isinstance(teacher, pyfq.Network):
        return teacher
    if teacher.shape != (len(samples.x), network.sizes[-1]):
        raise ValueError(
            f"{args.teacher}: expected {len(samples.x)} samples of {network.sizes[-1]} outputs, "
            f"not {teacher.shape}"
        )
    return file_floats(teacher, network.dtype, str(args.teacher), "outputs")
