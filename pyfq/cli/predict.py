"""``pyfq predict``: a network and inputs in, what it says of them out."""

import argparse
import csv
import io
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq._core.text import small_letters
from pyfq.cli import SubParsers, UsageError, use_threads
from pyfq.cli._data import FILES, add_columns, file_floats, files_of, open_inputs, read_network
from pyfq.cli._destination import refuse_existing_file
from pyfq.cli._help import HelpFormatter
from pyfq.cli._parser import path_of
from pyfq.cli._report import path_text, refuse_taken
from pyfq.cli._streams import nobody_reads
from pyfq.io.atomic import replacing
from pyfq.networks.network import choose_classes

EPILOG = f"""\
The inputs go through the network in parts: a .npy or .csv file may be larger than memory. OUT is
complete or not there. Outputs are classes, if the network has names for them, else what the last
layer gives: of a classifier that was trained with logits, logits.

{FILES}
examples:
  pyfq predict digits.safetensors --input new.npy -o labels.csv
  pyfq predict digits.safetensors --input new.npz -o logits.npy --outputs raw
  pyfq predict emulator.safetensors --input run.csv --x temperature,pressure -o - | head
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "predict",
        description="Apply a network to samples in a file.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("network", metavar="NETWORK", type=path_of, help=".safetensors or .onnx")
    add("--input", metavar="FILE", required=True, help="samples: .npy, .npz or .csv")
    add_columns(parser)
    add("-o", "--output", metavar="OUT", required=True, help=".npy or .csv; - for CSV on stdout")
    add(
        "--outputs",
        choices=("raw", "classes"),
        help="outputs of the last layer, or the class of the largest one (default: classes, if the "
        "network has names for them)",
    )
    add("--threads", metavar="N", type=int, help="number of threads; results do not depend on it")
    add("--force", action="store_true", help="replace what is at OUT")


def run(args: argparse.Namespace) -> int:
    """Predict, and write."""
    to_stdout = args.output == "-"
    if not to_stdout:
        if args.output.endswith("/"):
            raise UsageError(f"-o: expected a file, not the directory {args.output}")
        if Path(args.output).suffix not in (".npy", ".csv"):
            case = small_letters(Path(args.output).suffix, (".npy", ".csv"))
            raise UsageError(f"-o: expected .npy, .csv or -{case}, not {args.output}")
        refuse_taken({"-o": args.output}, [args.network, *files_of(args.input)])
        refuse_existing_file(Path(args.output), force=args.force)
    if args.threads is not None:
        use_threads(args.threads)
    network = read_network(args.network)
    total, chunks = open_inputs(args.input, args, network.sizes[0])
    parts = _predictions(args, network, _counted(chunks, total, is_hidden=to_stdout))
    first = next(parts, None)
    if first is None:
        raise ValueError(f"{args.input}: there are no samples")
    parts = itertools.chain([first], parts)
    if to_stdout:
        for part in parts:
            sys.stdout.write(_csv_text(part))
            if nobody_reads():
                break
        return 0
    with replacing(Path(args.output)) as file:
        n = (_write_npy if args.output.endswith(".npy") else _write_csv)(file, parts)
    print(f"{path_text(args.output)}: {n:,} samples")
    return 0


def _counted(chunks: Iterator[NDArray], total: int | None, *, is_hidden: bool) -> Iterator[NDArray]:
    """Yield chunks while a bar tells how many samples are done."""
    from tqdm import tqdm

    hidden = True if is_hidden else None  # None: if stderr is no terminal
    with tqdm(total=total, unit=" samples", unit_scale=True, leave=False, disable=hidden) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk))


def _predictions(
    args: argparse.Namespace, network: pyfq.Network, chunks: Iterator[NDArray]
) -> Iterator[NDArray]:
    names = network.classes
    wanted = args.outputs or ("raw" if names is None else "classes")
    if wanted == "classes" and names is None:
        if network.sizes[-1] == 1:
            raise UsageError(f"--outputs classes: {args.network} has one output, not one a class")
        names = np.arange(network.sizes[-1])
    samples = beyond = 0
    for chunk in chunks:
        x = file_floats(chunk, network.dtype, args.input)
        if network.input_min is None:
            y = network.forward(x)
        else:
            y, outside = network.forward(x, outside="count")
            samples, beyond = samples + len(x), beyond + np.count_nonzero(outside)
        yield choose_classes(y, names) if wanted == "classes" else y
    if beyond:
        print(
            f"pyfq predict: {beyond:,} of {samples:,} samples have inputs outside of what the "
            "network was trained on",
            file=sys.stderr,
        )


def _write_npy(file: BinaryIO, parts: Iterator[NDArray]) -> int:
    """Write an array whose length is known at the end only, and return it.

    NumPy leaves room in the header for any length of the first axis.
    """
    n, start = 0, 0
    for part in parts:
        if not n:
            _write_header(file, part, 0)
            start = file.tell()
        file.write(part.tobytes())
        n += len(part)
    file.seek(0)
    _write_header(file, part, n)
    if file.tell() != start:
        raise OSError("the header of the file has outgrown its place")
    return n


def _write_header(file: BinaryIO, part: NDArray, n: int) -> None:
    header = np.lib.format.header_data_from_array_1_0(part)
    np.lib.format.write_array_header_1_0(file, header | {"shape": (n, *part.shape[1:])})


def _write_csv(file: BinaryIO, parts: Iterator[NDArray]) -> int:
    n = 0
    for part in parts:
        file.write(_csv_text(part).encode())
        n += len(part)
    return n


def _csv_text(part: NDArray) -> str:
    """Return a line for each sample: its class, or its outputs with all their digits."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(part.reshape(len(part), -1).astype(str))
    return text.getvalue()
