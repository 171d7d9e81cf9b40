"""``pyfq inspect``: what a checkpoint holds, without reading its tensors."""

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyfq.cli import SubParsers
from pyfq.cli.report import bytes_text, planned_row, refuse_taken, table_text, write_json
from pyfq.cli.source import Source

EPILOG = """\
A tensor that pyfq compressed is one line, whatever it became in the file; --parts shows that too.
Bits per weight count everything that is stored for the tensor.

examples:
  pyfq inspect model.safetensors
  pyfq inspect small --json - | jq .totals
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "inspect",
        description="Show the tensors of a checkpoint: shapes, dtypes, methods, bytes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "source",
        metavar="FILE",
        type=Path,
        help=".safetensors, .npz, .index.json of shards, or a model directory",
    )
    add("--parts", action="store_true", help="show what each compressed tensor became in the file")
    add("--json", metavar="FILE", help="write JSON; - for stdout")


def run(args: argparse.Namespace) -> int:
    """Inspect."""
    source = Source(args.source)
    refuse_taken({"--json": args.json}, [args.source, source.file, *source.files])
    rows = []
    for tensor in source.tensors.values():
        row = planned_row(tensor)
        row["method"] = "" if tensor.rule is None else str(tensor.rule)
        row["format"] = "" if tensor.rule is None else tensor.format
        row["parts"] = {
            part: {"dtype": word, "shape": list(shape)}
            for part, (word, shape) in tensor.parts.items()
        }
        rows.append(row)
    totals = {
        "tensors": len(rows),
        "weights": sum(math.prod(row["shape"]) for row in rows),
        "bytes_before": sum(row["bytes_before"] for row in rows),
        "bytes_after": sum(row["bytes_after"] for row in rows),
        "file_bytes": source.nbytes,
    }
    if args.json is not None:
        files = [str(file) for file in source.files]
        metadata = {str(file): entries for file, entries in source.metadata.items()}
        document = {"command": "inspect", "files": files, "metadata": metadata}
        write_json(document | {"tensors": rows, "totals": totals}, args.json)
    if args.json != "-":
        print(_text(source, rows, totals, args.parts))
    return 0


def _text(
    source: Source, rows: Sequence[Mapping[str, Any]], totals: Mapping[str, Any], with_parts: bool
) -> str:
    lines = []
    for row in rows:
        bits = f"{row['bits_per_weight']:.3f}"
        nbytes = bytes_text(row["bytes_after"])
        shape = _shape_text(row["shape"])
        lines.append([row["name"], shape, row["dtype"], row["method"], bits, nbytes])
        if with_parts and row["method"]:
            for part, entry in row["parts"].items():
                lines.append(
                    [f"-> {part}", _shape_text(entry["shape"]), entry["dtype"], "", "", ""]
                )
    table = table_text(lines, ["tensor", "shape", "dtype", "method", "bits/weight", "bytes"])
    formats = Counter(row["format"] or f"{row['dtype']} as it is" for row in rows)
    summary = ", ".join(f"{n} {name}" for name, n in formats.most_common())
    weights, after, before = (totals[key] for key in ("weights", "bytes_after", "bytes_before"))
    files = f"{len(source.files)} files" if len(source.files) > 1 else str(source.files[0])
    text = (
        f"{table}\n\n{totals['tensors']} tensors: {summary}\n"
        f"{weights} weights, {8 * after / max(weights, 1):.3f} bits each\n"
        f"{files}: {bytes_text(totals['file_bytes'])}"
    )
    return text + (f", {bytes_text(before)} before compression" if before != after else "")


def _shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
