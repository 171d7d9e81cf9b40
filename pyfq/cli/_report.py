"""What a command tells: tables for people, JSON for programs."""

import json
import math
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pyfq
from pyfq import plot
from pyfq._core.text import bytes_text as bytes_text
from pyfq._core.text import printable, small_letters
from pyfq.cli import UsageError
from pyfq.cli._table import shortened, table_text, terminal_width, width_of
from pyfq.exchange.stored import TensorPlan
from pyfq.io import disk
from pyfq.io.atomic import replacing
from pyfq.io.links import followed
from pyfq.io.staging import places_of
from pyfq.recipes import Compressed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The formats of figures.
FIGURES = (".png", ".pdf", ".svg")

# Where Linux has the open files of processes and threads.
_DESCRIPTORS = re.compile(r"/proc/\d+(/task/\d+)?/fd")
_LONGEST = 4096  # characters of a path that are shown, as long as a system allows
_MOST_LINKS = 40  # that a system follows, too

# Columns of what was measured of tensors, and those that a narrow terminal does without.
_ERRORS = ("zeros", "SQNR dB", "cosine", "seconds")
_SPARE = ("seconds", "zeros", "cosine", "before")


def environment() -> dict[str, Any]:
    """Return what results may be quoted with: versions, instruction set, threads."""
    return {
        "pyfq": pyfq.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "isa": pyfq.isa,
        "threads": pyfq.get_num_threads(),
    }


def planned_row(tensor: TensorPlan) -> dict[str, Any]:
    """Return what is known of a tensor before its data."""
    row = {
        "name": tensor.name,
        "dtype": tensor.word,
        "shape": list(tensor.shape),
        "format": tensor.format,
        "method": "copy" if tensor.rule is None else str(tensor.rule),
        "bits_per_weight": tensor.bits_per_weight,
        "bytes_before": tensor.nbytes,
        "bytes_after": tensor.nbytes_after,
    }
    if tensor.reason:
        row |= {"reason": tensor.reason}
    if tensor.rule is not None and tensor.rule.rate is not None and tensor.rule.rate.found:
        row |= {"step": tensor.rule.rate.found.step}
    return row | ({"kept": True} if tensor.kept else {})


def copies_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of tensors that are copied by the reason why, those of most tensors first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["method"] == "copy":
            groups.setdefault(row.get("reason", ""), []).append(row)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def compressed_row(tensor: Compressed, seconds: float) -> dict[str, Any]:
    """Return what is known of a tensor after it was compressed, in so many seconds."""
    errors = {
        "zeros": tensor.zeros,
        "sqnr_db": tensor.sqnr,
        "cosine": tensor.cosine,
        "max_abs_error": tensor.max_abs,
        "seconds": seconds,
    }
    return planned_row(tensor.plan) | ({} if tensor.plan.rule is None else errors)


def pairs_text(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and what is said of them, a line each."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {said}" for name, said in pairs)


def rows_text(rows: Sequence[Mapping[str, Any]], *, verbose: bool = False) -> str:
    """Return rows as a table, with what was measured if it was, and one line for all copies.

    On a narrow terminal copies stand below the table, and so does a method that all share.

    Parameters
    ----------
    rows : sequence of mapping
        What `planned_row` or `compressed_row` returned.
    verbose : bool
        Whether all columns are shown, and each copy, whatever the terminal has room for.
    """
    measured = any("sqnr_db" in row for row in rows)
    headers = ["tensor", "method", "bits/weight", *(_ERRORS if measured else ())]
    headers += ["before", "after"]
    done = [_cells_of(row, measured) for row in rows if row["method"] != "copy"]
    copies = list(_copies_text(rows, each=verbose))
    blanks = [""] * (len(headers) - 4)
    wide = [*done, *([name, why, *blanks, size, size] for name, why, size in copies)]
    width = None if verbose else terminal_width()
    text = table_text(wide, headers)
    if width is None or max(map(width_of, text.splitlines())) <= width:
        return text
    below = [f"{why}: {name}, {size}" for name, why, size in copies]
    methods = {cells[1] for cells in done}
    if len(methods) == 1:
        headers, done = _without_method(headers), [_without_method(cells) for cells in done]
        below.insert(0, f"method: {methods.pop()}")
    table = table_text(done, headers, spare=_SPARE, width=width)
    return "\n".join([table, *(shortened(line, width) for line in below)])


def _without_method(cells: Sequence[str]) -> list[str]:
    return [*cells[:1], *cells[2:]]


def _cells_of(row: Mapping[str, Any], measured: bool) -> list[str]:
    """Return the cells of a tensor that is compressed."""
    cells = [row["name"], row["method"], f"{row['bits_per_weight']:.3f}"]
    if measured:
        cells.append(f"{100 * row['zeros']:.1f} %")
        cells += [decibel_text(row["sqnr_db"]), f"{row['cosine']:.6f}", f"{row['seconds']:.2f}"]
    return [*cells, bytes_text(row["bytes_before"]), bytes_text(row["bytes_after"])]


def _copies_text(
    rows: Iterable[Mapping[str, Any]], *, each: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the reason and the bytes of copies, those of one reason or each by itself."""
    for reason, copied in copies_of(rows).items():
        for group in [[row] for row in copied] if each else [copied]:
            name, others = printable(group[0]["name"]), len(group) - 1
            whose = f"{name} and {others} more" if others else name
            yield whose, f"copied: {reason}", bytes_text(sum(row["bytes_before"] for row in group))


def decibel_text(sqnr: float) -> str:
    """Return a signal-to-noise ratio for a table."""
    return "exact" if sqnr == math.inf else f"{sqnr:.2f}"


def path_text(path: str | Path) -> str:
    """Return a path as a terminal can show it."""
    return printable(str(path), _LONGEST)


def refuse_missing_directory(option: str, path: str | Path | None) -> None:
    """Raise UsageError if a file cannot be written: better before the work than after it.

    ``-`` is stdout.
    """
    if path in (None, "-"):
        return
    if not Path(path).parent.is_dir():
        parent = Path(path).parent
        raise UsageError(f"{option}: {parent} is not a directory: {path} cannot be written")
    if Path(path).is_dir() or str(path).endswith("/"):
        raise UsageError(f"{option}: expected a file, not the directory {path}")
    if Path(path).is_socket() or (Path(path).is_fifo() and not _is_open(Path(path))):
        kind = "socket" if Path(path).is_socket() else "FIFO, which would wait for a reader"
        raise UsageError(f"{option}: {path} is a {kind}")
    if not os.access(path if Path(path).exists() else Path(path).parent, os.W_OK):
        raise UsageError(f"{option}: {path} may not be written")


def _is_open(path: Path) -> bool:
    """Return whether a path leads to a descriptor of a process, as /dev/stdout and /dev/fd/5 do."""
    for _ in range(_MOST_LINKS):
        directory = followed(path.parent)
        if directory == Path("/dev/fd") or _DESCRIPTORS.fullmatch(str(directory)):
            return True
        path = directory / path.name
        if not path.is_symlink():
            return False
        path = directory / path.readlink()
    return False


def refuse_taken(
    options: Mapping[str, str | Path | None], read: Iterable[Path], written: Path | None = None
) -> None:
    """Raise UsageError if a report would be written over, or into, what a command reads or writes.

    Parameters
    ----------
    options : mapping of str to str, Path or None
        The options that name reports, and the files; ``-`` is stdout.
    read : iterable of Path
        Files and directories that are read.
    written : Path, optional
        What the command writes besides: a file or a directory.
    """
    taken = {followed(path): f"{path}, which is read" for path in read}
    if written is not None:
        taken[followed(written)] = f"{written}, which is written"
        taken |= {place: f"{place}, where {written} is written" for place in places_of(written)}
    for option, path in options.items():
        if path in (None, "-"):
            continue
        real = followed(path)
        for other, what in taken.items():
            if real.is_relative_to(other):
                raise UsageError(f"{option}: {path} is {'' if real == other else 'in '}{what}")
        taken[real] = f"{path}, which {option} names"


def refuse_figure(path: Path | None) -> None:
    """Refuse a figure that could not be written: better before the work than after it."""
    if path is None:
        return
    refuse_missing_directory("--plot", path)
    if path.suffix not in FIGURES:
        case = small_letters(path.suffix, FIGURES)
        raise UsageError(f"--plot: expected {', '.join(FIGURES)}{case}, not {path}")
    if path.exists() and not path.is_file():
        raise UsageError(f"--plot: {path} is not a regular file")
    plot.require_matplotlib()


def title_of(name: str) -> str:
    """Return the name of a file as a figure can show it: dollar signs would enclose a formula."""
    return printable(name).replace("$", r"\$")


def write_figure(figure: "Figure", path: Path, command: str) -> None:
    """Write a figure to a file, atomically; say so where the font lacks what is to be shown."""
    with replacing(path) as file, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(file, format=path.suffix[1:])
    if any("missing from font" in str(warning.message) for warning in caught):
        remark = "the font lacks some letters, for which there are boxes"
        print(f"pyfq {command}: {path_text(path)}: {remark}", file=sys.stderr)


def write_json(document: Mapping[str, Any], path: str) -> None:
    """Write a document to a file, or to stdout if `path` is ``-``.

    What JSON has no number for is null: the signal-to-noise ratio without an error.
    """
    if path == "-":
        print(_json_text(document, sys.stdout.encoding or "utf-8"))
        return
    text = _json_text(document, "utf-8") + "\n"
    if _is_replaced(Path(path)):
        with replacing(Path(path)) as file:
            file.write(text.encode())
    else:  # a device, a pipe, or a link to one, as /dev/stdout
        with disk.naming(path), Path(path).open("w", encoding="utf-8") as file:
            file.write(text)


def _is_replaced(path: Path) -> bool:
    """Return whether a file takes the place of what is there, rather than be written into it."""
    return not path.is_symlink() and (path.is_file() or not path.exists())


def _json_text(document: Mapping[str, Any], encoding: str) -> str:
    """Return a document as JSON that an encoding can express: by escapes, if it must be."""
    document = _finite(document)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(document, indent=2, allow_nan=False)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
