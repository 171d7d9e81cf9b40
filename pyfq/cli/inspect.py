"""``pyfq inspect``: what a checkpoint holds, without reading more of its tensors than is drawn."""

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pyfq._core.text import printable
from pyfq.cli import SubParsers, UsageError
from pyfq.cli._foreign import foreign_of
from pyfq.cli._help import HelpFormatter
from pyfq.cli._levels import draw_levels, tensor_for_plot
from pyfq.cli._parser import file_of, path_of
from pyfq.cli._report import (
    FIGURES,
    bytes_text,
    decibel_text,
    planned_row,
    refuse_figure,
    refuse_missing_directory,
    refuse_taken,
    write_json,
)
from pyfq.cli._source import Source
from pyfq.cli._table import fitted_lines, terminal_width
from pyfq.io.errors import FormatError
from pyfq.recipes import Coded, TensorPlan

# Characters of a name in the table; --json has all of it.
_WIDEST = 100
# Columns that a narrow terminal does without.
_SPARE = ("below 6.02 dB/bit", "dtype", "SQNR dB", "shape")

EPILOG = """\
A tensor that pyfq compressed is one line, whatever it became in the file; --parts shows that too.
Bits per weight count everything that is stored for the tensor. Of entropy-coded weights the file
knows the signal over noise, and the table how far it is below 6.02 dB a bit: the bound of Gaussian
weights. Other weights may be above it.

examples:
  pyfq inspect model.safetensors
  pyfq inspect small --json - | jq .totals
  pyfq inspect small --plot levels.png --tensor '*query.weight'
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "inspect",
        description="Show the tensors of a checkpoint: shapes, dtypes, methods, bytes.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add(
        "source",
        metavar="FILE",
        type=path_of,
        help=".safetensors, .npz, .index.json of shards, or a model directory",
    )
    add("--parts", action="store_true", help="show what each compressed tensor became in the file")
    add("--json", metavar="FILE", help="write JSON; - for stdout")
    add(
        "--plot",
        metavar="FILE",
        type=file_of,
        help="draw a histogram of a tensor, and where its levels lie: " + ", ".join(FIGURES),
    )
    add("--tensor", metavar="GLOB", help="the largest of such a name for --plot, else of all")


def run(args: argparse.Namespace) -> int:
    """Inspect."""
    refuse_missing_directory("--json", args.json)
    refuse_figure(args.plot)
    if args.tensor is not None and args.plot is None:
        raise UsageError("--tensor names what --plot draws")
    source = Source(args.source)
    reports = {"--json": args.json, "--plot": args.plot}
    refuse_taken(reports, [args.source, *source.read])
    if args.plot is not None:
        draw_levels(args, source, tensor_for_plot(source.tensors, args.tensor))
    done = any(tensor.rule is not None for tensor in source.tensors.values())
    foreign = None
    if not done:
        with suppress(FormatError):  # a damaged config does not hide the tensors
            foreign = foreign_of(source)
    tensors = source.tensors.values()
    totals = {
        "tensors": len(tensors),
        "weights": sum(math.prod(tensor.shape) for tensor in tensors),
        "bytes_before": sum(tensor.nbytes for tensor in tensors),
        "bytes_after": sum(tensor.nbytes_after for tensor in tensors),
        "file_bytes": source.nbytes,
    }
    if args.json is not None:
        files = [str(file) for file in source.files]
        metadata = {str(file): entries for file, entries in source.metadata.items()}
        document = {"command": "inspect", "files": files, "metadata": metadata}
        document["quantized_by"] = None if foreign is None else foreign.tool
        rows = [_row(tensor) for tensor in tensors]
        write_json(document | {"tensors": rows, "totals": totals}, args.json)
    if args.json != "-":
        _print_table(tensors, with_parts=args.parts)
        print(f"\n{_summary(source, totals)}")
        if foreign is not None:
            print(f"quantized by {foreign}")
    return 0


def _row(tensor: TensorPlan) -> dict[str, Any]:
    row = planned_row(tensor)
    row["method"] = "" if tensor.rule is None else str(tensor.rule)
    row["format"] = "" if tensor.rule is None else tensor.format
    coded = _coded_of(tensor)
    if coded is not None and coded.sqnr is not None:
        row |= {"sqnr_db": coded.sqnr, "below_6_db_a_bit": _below(tensor, coded.sqnr)}
    row["parts"] = {
        part: {"dtype": word, "shape": list(shape)} for part, (word, shape) in tensor.parts.items()
    }
    return row


def _coded_of(tensor: TensorPlan) -> Coded | None:
    """Return what the codes of an entropy-coded tensor turned out to be."""
    rate = None if tensor.rule is None else tensor.rule.rate
    return None if rate is None else rate.found


def _below(tensor: TensorPlan, sqnr: float) -> float:
    """Return how far a tensor is from 6.02 dB a bit, which no coder of Gaussian weights reaches."""
    return 20 * math.log10(2) * tensor.bits_per_weight - sqnr


def _print_table(tensors: Iterable[TensorPlan], *, with_parts: bool) -> None:
    """Print a line for each tensor, and for its parts; no more than one line is held in memory."""
    headers = ["tensor", "shape", "dtype", "method", "bits/weight", "bytes"]
    if any(_coded_of(tensor) is not None for tensor in tensors):
        headers += ["SQNR dB", "below 6.02 dB/bit"]
    count = len(headers)

    def rows() -> Iterator[Sequence[str]]:
        return (cells[:count] for cells in _lines(tensors, with_parts))

    for line in fitted_lines(headers, rows, spare=_SPARE, width=terminal_width()):
        print(line)


def _lines(tensors: Iterable[TensorPlan], with_parts: bool) -> Iterator[tuple[str, ...]]:
    for tensor in tensors:
        name, shape = printable(tensor.name, _WIDEST), _shape_text(tensor.shape)
        method = "" if tensor.rule is None else str(tensor.rule)
        bits, nbytes = f"{tensor.bits_per_weight:.3f}", bytes_text(tensor.nbytes_after)
        coded = _coded_of(tensor)
        errors = ("", "")
        if coded is not None and coded.sqnr is not None:
            errors = decibel_text(coded.sqnr), f"{_below(tensor, coded.sqnr):.2f}"
        yield name, shape, tensor.word, method, bits, nbytes, *errors
        if with_parts and tensor.rule is not None:
            for part, (word, its_shape) in tensor.parts.items():
                its_name = f"-> {printable(part, _WIDEST)}"
                yield its_name, _shape_text(its_shape), word, *[""] * 5


def _summary(source: Source, totals: Mapping[str, Any]) -> str:
    formats = Counter(
        f"{tensor.word} as it is" if tensor.rule is None else tensor.format
        for tensor in source.tensors.values()
    )
    summary = ", ".join(f"{n} {name}" for name, n in formats.most_common())
    weights, after, before = (totals[key] for key in ("weights", "bytes_after", "bytes_before"))
    files = f"{len(source.files)} files"
    if len(source.files) == 1:
        files = printable(str(source.files[0]))
    text = (
        f"{totals['tensors']} tensors: {summary}\n"
        f"{weights} weights, {8 * after / max(weights, 1):.3f} bits each\n"
        f"{files}: {bytes_text(totals['file_bytes'])}"
    )
    return text + (f", {bytes_text(before)} before compression" if before != after else "")


def _shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
