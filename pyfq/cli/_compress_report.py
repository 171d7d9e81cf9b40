"""What ``pyfq compress`` tells of what it did: JSON, text, a figure."""

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyfq
from pyfq import plot
from pyfq._core.text import printable
from pyfq.cli._compress_options import auto_line
from pyfq.cli._destination import Destination
from pyfq.cli._report import (
    bytes_text,
    copies_of,
    decibel_text,
    environment,
    path_text,
    title_of,
    write_figure,
)
from pyfq.cli._source import Source
from pyfq.exchange.stored import COPY, DENSE
from pyfq.recipes import Recipe, Rule, TensorPlan
from pyfq.recipes.declare import clash_of


def is_told(path: str, document: Mapping[str, Any]) -> bool:
    """Return whether a file says all that a report does, of whichever machine.

    The errors of a target that is complete already are not known; the report of the run that wrote
    it has them.
    """
    if not Path(path).is_file():
        return False
    try:
        told = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    known = {key: value for key, value in document.items() if key != "environment"}
    return _is_within(json.loads(json.dumps(known)), told)


def _is_within(part: Any, whole: Any) -> bool:
    """Return whether JSON holds what other JSON does, and perhaps further keys."""
    if type(part) is not type(whole):
        return False
    if isinstance(part, dict):
        return all(key in whole and _is_within(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(_is_within, part, whole))
    return part == whole


def document_of(
    args: argparse.Namespace,
    source: Source,
    destination: Destination,
    recipe: Recipe,
    budget: Mapping[str, Any] | None,
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the report as JSON has it."""
    done = [row for row in rows if row["method"] != "copy"]
    weights = sum(math.prod(row["shape"]) for row in done)
    copies = copies_of(rows)
    before, after = (sum(row[key] for row in done) for key in ("bytes_before", "bytes_after"))
    return {
        "command": "compress",
        "environment": environment(),
        "settings": {"recipe": recipe.settings(), "dense": args.dense},
        "auto": auto_line(args) or None,
        "source": str(source.path),
        "output": str(args.output),
        "files": [str(file) for file in destination.files],
        "budget": budget,
        "tensors": list(rows),
        "totals": {
            "tensors_compressed": len(done),
            "tensors_copied": len(rows) - len(done),
            "copied": [
                {
                    "reason": reason,
                    "tensors": len(group),
                    "bytes": sum(row["bytes_before"] for row in group),
                }
                for reason, group in copies.items()
            ],
            "weights_compressed": weights,
            "bits_per_weight": 8 * after / weights,
            "bytes_before": before,
            "bytes_after": after,
            "file_bytes_before": source.nbytes,
        },
    }


def draw(args: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the error of each tensor."""
    done = [row for row in rows if "sqnr_db" in row]
    figure = plot.error_by_tensor(
        [row["name"] for row in done],
        [row["sqnr_db"] for row in done],
        bits=[row["bits_per_weight"] for row in done],
        title=title_of(args.output.name),
        most=100,
    )
    write_figure(figure, args.plot, args.command)


def dry_text(source: Source, document: Mapping[str, Any]) -> str:
    """Return what a run would do, after the table of tensors."""
    after = sum(row["bytes_after"] for row in document["tensors"])
    lines = [*_auto_lines(document), *_copied_lines(document), *_budget_lines(document)]
    about = ""
    if document["estimated"]:
        about = "about "
        lines.append("bytes of entropy-coded weights are estimates, by the entropies of samples")
    lines.append(
        f"{bytes_text(source.nbytes)} would become {about}{bytes_text(after)} and headers; "
        "nothing was written"
    )
    return "\n".join(lines)


def _auto_lines(document: Mapping[str, Any]) -> list[str]:
    return [document["auto"]] if document["auto"] else []


def _copied_lines(document: Mapping[str, Any]) -> list[str]:
    """Return how many tensors are copied though a rule with a method decides about them."""
    kept = [row["bytes_before"] for row in document["tensors"] if row.get("kept")]
    if not kept:
        return []
    tensors = "1 tensor" if len(kept) == 1 else f"{len(kept)} tensors"
    return [f"copied, as they would get no smaller: {tensors}, {bytes_text(sum(kept))}"]


def _budget_lines(document: Mapping[str, Any]) -> list[str]:
    budget = document["budget"]
    if budget is None:
        return []
    if budget["nbytes"] is None:
        line = f"budget {budget['bits_per_weight']:g} bits per weight, used {budget['used']:.4g}"
    else:
        asked, used = (bytes_text(budget[key]) for key in ("nbytes", "used_bytes"))
        line = f"budget {asked}, tensors use {used}, {budget['used']:.4g} bits per weight"
    if budget["steps"]:
        return [f"{line}; steps of {budget['steps']} tensors"]
    widths = [f"{n} bits {entry['tensors']}" for n, entry in budget["widths"].items()]
    return [f"{line}; tensors of {', '.join(widths) or 'its rules: none'}"]


def totals_text(
    source: Source,
    destination: Destination,
    packed: Sequence[TensorPlan],
    document: Mapping[str, Any],
) -> str:
    """Return the totals of a run, after the table of tensors; `packed` as `budget_entry` has it."""
    totals = document["totals"]
    before, after = totals["file_bytes_before"], totals["file_bytes_after"]
    worst = min((row for row in document["tensors"] if "sqnr_db" in row), key=_by_sqnr)
    gain = f"{before / after:.2f} times smaller" if after < 0.995 * before else "not smaller"
    bits = f"{totals['bits_per_weight']:.3f} bits per compressed weight"
    speed = f"{totals['seconds']:.2f} s, {totals['mb_per_second']:.0f} MB/s"
    lines = [
        f"{path_text(source.path)}: {bytes_text(before)}",
        f"{path_text(destination.path)}: {bytes_text(after)}, {gain}; {bits}",
        *_auto_lines(document),
        *_copied_lines(document),
        *_budget_lines(document),
        _worst_line(worst),
        f"{speed}, {pyfq.isa}, {pyfq.get_num_threads()} threads",
    ]
    dense = any(row["format"] == DENSE for row in document["tensors"])
    shrinks = any(tensor.format not in (COPY, DENSE) for tensor in packed)
    if dense and shrinks and clash_of(packed) is None:
        nbytes = sum(tensor.nbytes_after for tensor in packed)
        lines.append(f"--dense keeps floats; without it: {bytes_text(nbytes)}")
    if any(tensor.format == DENSE and tensor.rule.prune is not None for tensor in packed):
        lines.append("what is only pruned stays dense: a zero takes as many bytes as a weight")
    return "\n".join(lines)


def _worst_line(row: Mapping[str, Any]) -> str:
    if row["sqnr_db"] == math.inf:
        return "no tensor has an error"
    return f"lowest SQNR {decibel_text(row['sqnr_db'])} dB: {printable(row['name'])}"


def _by_sqnr(row: Mapping[str, Any]) -> float:
    return row["sqnr_db"]


def budget_entry(
    recipe: Recipe, decided: Mapping[str, Rule], packed: Sequence[TensorPlan]
) -> dict[str, Any] | None:
    """Return the bits or bytes asked for, those used, and how many tensors got which width.

    Entropy-coded tensors have steps instead. `packed` is what becomes of each tensor, or would
    without ``--dense``.
    """
    if recipe.budget is None:
        return None
    tensors, weights = Counter[int](), Counter[int]()
    for tensor in packed:
        codes = tensor.rule and (tensor.rule.quantize or tensor.rule.codebook)
        if codes and tensor.name in decided and tensor.rule.lowrank is None:
            tensors[codes.bits] += 1
            weights[codes.bits] += math.prod(tensor.shape)
    widths = {str(n): {"tensors": tensors[n], "weights": weights[n]} for n in sorted(tensors)}
    done = [tensor for tensor in packed if tensor.rule is not None or tensor.kept]
    used = 8 * sum(tensor.nbytes_after for tensor in done)
    return {
        "bits_per_weight": recipe.budget.bits_per_weight,
        "nbytes": recipe.budget.nbytes,
        "used": used / sum(math.prod(tensor.shape) for tensor in done),
        "used_bytes": sum(tensor.nbytes_after for tensor in packed),
        "widths": widths,
        "steps": sum(
            tensor.rule is not None and tensor.rule.rate is not None and tensor.name in decided
            for tensor in packed
        ),
    }
