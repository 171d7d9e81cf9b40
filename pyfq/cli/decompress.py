"""``pyfq decompress``: back to floats under the names and dtypes there were."""

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass

from numpy.typing import NDArray

from pyfq._core.check import shown
from pyfq.cli import SubParsers, UsageError, use_threads
from pyfq.cli._destination import (
    config_content,
    output_path,
    plan_destination,
    refuse_config_of_another,
    refuse_overlap,
    tell_left_out,
)
from pyfq.cli._foreign import foreign_of
from pyfq.cli._help import HelpFormatter
from pyfq.cli._journal import Journal
from pyfq.cli._parser import add_telling_arguments, path_of
from pyfq.cli._progress import Progress, progress
from pyfq.cli._report import bytes_text, path_text
from pyfq.cli._source import Source
from pyfq.cli._table import table_text, terminal_width
from pyfq.cli._writing import add_writing_arguments, removed_line, write_checkpoint
from pyfq.errors import located
from pyfq.exchange.stored import TensorPlan, copied, decompress_tensor

EPILOG = """\
The values are those that pyfq compress --dense writes, to the bit. What pruning and rounding took
is gone; names, dtypes, shapes and the files beside the weights are as they were. Everything takes
its place at once, when it is complete; what was interrupted goes on with --resume.

examples:
  pyfq decompress small -o dense
  pyfq decompress small/model.safetensors -o dense.safetensors
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "decompress",
        description="Turn what pyfq compress wrote back into a dense checkpoint.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SRC", type=path_of, help="what pyfq compress wrote")
    add(
        "-o",
        "--output",
        metavar="DST",
        type=output_path,
        required=True,
        help=".safetensors, .npz, or directory to write",
    )
    add_writing_arguments(parser)
    add_telling_arguments(parser, "show what was decompressed")
    add("--threads", metavar="N", type=int, help="number of threads; results do not depend on it")


def run(args: argparse.Namespace) -> int:
    """Decompress."""
    started = time.perf_counter()
    if args.resume and args.force:
        raise UsageError(
            "--resume goes on with an interrupted run, --force begins anew: choose one"
        )
    if args.threads is not None:
        use_threads(args.threads)
    source = Source(args.source)
    done = [tensor for tensor in source.tensors.values() if tensor.rule is not None]
    if not done:
        foreign = foreign_of(source)
        but = "it has no entry 'pyfq'" if foreign is None else f"it was quantized by {foreign}"
        raise ValueError(f"{source.path} was not written by pyfq compress: {but}")
    destination = plan_destination(source, args.output)
    tell_left_out(args.command, destination)
    refuse_overlap(source, destination)
    refuse_config_of_another(destination, config_content(destination, None))

    with progress(source.nbytes, quiet=args.quiet) as shown:
        work = _Decompression(source, shown)
        written = write_checkpoint(args, source, destination, {}, work)
    if args.quiet:
        return 0
    if written.journal is None:
        print(f"{path_text(destination.path)}: complete already")
        return 0
    if args.verbose:
        print(_lines_text(done))
    nbytes = sum(file.stat().st_size for file in destination.files)
    print(
        f"{path_text(source.path)}: {bytes_text(source.nbytes)}\n"
        f"{path_text(destination.path)}: {bytes_text(nbytes)}\n"
        f"tensors decompressed: {len(done)}, in {time.perf_counter() - started:.2f} s"
        f"{removed_line(written.removed)}"
    )
    return 0


def _lines_text(done: Iterable[TensorPlan]) -> str:
    """Return the tensors that were decompressed, a line each."""
    rows = [
        [tensor.name, str(tensor.rule), bytes_text(tensor.nbytes_after), bytes_text(tensor.nbytes)]
        for tensor in done
    ]
    return table_text(rows, ["tensor", "method", "before", "after"], width=terminal_width()) + "\n"


@dataclass(frozen=True)
class _Decompression:
    """What `write_checkpoint` is to do: floats in place of what was compressed."""

    source: Source
    shown: Progress

    def declare(self, journal: Journal | None) -> dict[str, TensorPlan]:
        """Return the tensors as they were before compression."""
        tensors = self.source.tensors.values()
        return {tensor.name: copied(tensor.name, tensor.word, tensor.shape) for tensor in tensors}

    def make(self, tensor: TensorPlan, journal: Journal | None) -> dict[str, NDArray]:
        """Return the floats of a tensor."""
        compressed = self.source.tensors[tensor.name]
        at_work = self.shown.tensor("writing", tensor.name, compressed.nbytes_after)
        with at_work, self.source.naming(next(iter(compressed.parts))):
            parts = {part: self.source[part] for part in compressed.parts}
            with located(f"tensor {shown(tensor.name)}"):
                return {tensor.name: decompress_tensor(compressed, parts)}
