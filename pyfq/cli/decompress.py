"""``pyfq decompress``: back to floats under the names and dtypes there were."""

import argparse
import time
from pathlib import Path

from numpy.typing import NDArray

import pyfq
from pyfq.cli import SubParsers, UsageError, use_threads
from pyfq.cli.destination import destination
from pyfq.cli.foreign import foreign_of
from pyfq.cli.parser import path_of
from pyfq.cli.report import bytes_text
from pyfq.cli.source import Source
from pyfq.cli.target import contents_of, plan_target, refuse_overlap
from pyfq.cli.writing import (
    add_writing_arguments,
    is_complete,
    is_interrupted,
    locked,
    refuse_another,
    running,
    take_place,
    write_contents,
    write_files,
)
from pyfq.exchange.compressed_tensors import Declaration
from pyfq.recipes import decompress_tensor

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
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SRC", type=path_of, help="what pyfq compress wrote")
    add(
        "-o",
        "--output",
        metavar="DST",
        type=destination,
        required=True,
        help=".safetensors, .npz, or directory to write",
    )
    add_writing_arguments(parser)
    add("--threads", metavar="N", type=int, help="results do not depend on it")


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
    target = plan_target(source, args.output)
    refuse_overlap(source, target)

    def make(name: str) -> dict[str, NDArray]:
        tensor = source.tensors[name]
        parts = {part: source[part] for part in tensor.parts}
        return {name: decompress_tensor(tensor, parts)}

    tensors: dict[Path, dict[str, Declaration]] = {}
    metadata: dict[Path, dict[str, str]] = {}
    for file, names in target.files.items():
        here = [source.tensors[name] for name in names]
        tensors[file] = {tensor.name: {tensor.name: (tensor.word, tensor.shape)} for tensor in here}
        metadata[file] = source.metadata_of(here)
    contents = contents_of(target, tensors, None)
    identity = source.identity()
    settings = {"command": "decompress", "version": pyfq.__version__, "source": identity}
    settings |= {"files": [str(file.relative_to(target.root)) for file in target.files]}
    with locked(target, args) as staging:
        if args.resume and target.exists and not is_interrupted(staging):
            sizes = {name: tensor.nbytes for name, tensor in source.tensors.items()}
            if not is_complete(target, tensors, make, metadata, contents, sizes):
                refuse_another(target)
            print(f"{target.path}: complete already")
            return 0
        with running(staging, target, settings, args) as journal:
            write_files(staging, target, tensors, make, metadata, journal)
            write_contents(staging, contents)
            take_place(staging, target, contents, source, identity)
    written = sum(file.stat().st_size for file in target.files)
    print(
        f"{source.path}: {bytes_text(source.nbytes)}\n{target.path}: {bytes_text(written)}\n"
        f"tensors decompressed: {len(done)}, in {time.perf_counter() - started:.2f} s"
    )
    return 0
