"""``pyfq compress``: a checkpoint in, a compressed one out."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import pyfq
from pyfq.cli import SubParsers, UsageError, use_threads
from pyfq.cli.journal import Journal
from pyfq.cli.report import (
    bytes_text,
    compressed_row,
    decibel_text,
    environment,
    planned_row,
    refuse_missing_directory,
    rows_text,
    write_json,
)
from pyfq.cli.source import Source
from pyfq.cli.target import (
    CONFIG,
    QUANTIZATION,
    Target,
    plan_target,
    refuse_existing,
    refuse_overlap,
    remove_partial,
    remove_stale,
    write_beside,
    write_config,
    write_tensors,
)
from pyfq.io.strict_json import parse_object
from pyfq.quantize import ROUNDINGS, SCHEMES
from pyfq.recipes import (
    Prune,
    Quantize,
    Recipe,
    Rule,
    TensorPlan,
    compress_tensor,
    plan,
    read_recipe,
)
from pyfq.recipes.layout import Declaration, quantization_config
from pyfq.recipes.manifest import KEY, write_manifest
from pyfq.recipes.recipe import GROUPS, parse_nm
from pyfq.types import PerGroup, PerRow, PerTensor

#: Matrices of fewer entries are copied, unless a recipe says otherwise.
MIN_SIZE = 4096

EPILOG = f"""\
what is compressed:
  Without a recipe, matrices of floats (F64, F32, F16, BF16) of at least {MIN_SIZE} entries; the
  rest is copied bit for bit. --include and --exclude narrow that down by name. Quantization is to
  8 bits in groups of 128 unless you say otherwise; with a --prune option alone, tensors are only
  pruned.

examples:
  pyfq compress model.safetensors -o small                     8 bits in groups of 128
  pyfq compress ./all-MiniLM-L6-v2 -o q4 --bits 4 --scheme affine --group-size 64
  pyfq compress model.safetensors -o trial --bits 4 --dense    any framework opens the result
  pyfq compress model.safetensors -o half.safetensors --prune-ratio 0.5
  pyfq compress sharded/model.safetensors.index.json -o small --exclude 'lm_head*' --resume
  pyfq compress weights.npz -o weights-q.npz --recipe recipe.toml --json report.json
  pyfq compress digits.safetensors -o digits4.safetensors --bits 4   pyfq predict takes it, too

a recipe (the first rule that matches a name decides; no prune, no quantize: copied):
  [[rule]]
  match = ["*LayerNorm*", "*.bias"]

  [[rule]]
  match = "*"
  ndim = 2
  min_size = 4096
  prune = {{ ratio = 0.5, per = "row" }}    # or percentile, threshold, nm = "2:4"
  quantize = {{ bits = 4, scheme = "affine", group_size = 64 }}

files:
  -o NAME.safetensors or NAME.npz writes that file. Any other name is a directory: the weights go to
  model.safetensors in it (shards stay shards), and tokenizer, config and other small files of a
  model directory are copied beside them. Quantized tensors are written as compressed-tensors does
  where it can express them, else in pyfq's extension of it; pyfq inspect shows which, pyfq
  decompress reads both. What was interrupted goes on with --resume (an npz file begins anew).
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "compress",
        description="Quantize and prune the tensors of a checkpoint.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SRC",
        type=Path,
        help=".safetensors, .npz, .index.json of shards, or a model directory",
    )
    add(
        "-o", "--output", metavar="DST", type=Path, required=True, help="file or directory to write"
    )

    group = parser.add_argument_group("quantization")
    group.add_argument("--bits", metavar="N", type=int, help="bits of a code, 1 ... 16 (8)")
    group.add_argument("--scheme", choices=SCHEMES, help="(symmetric)")
    share = group.add_mutually_exclusive_group()
    share.add_argument(
        "--group-size",
        metavar="N",
        type=int,
        help="one scale for N consecutive entries of a row, the last maybe fewer (128)",
    )
    share.add_argument("--per-row", action="store_true", help="one scale a row")
    share.add_argument("--per-tensor", action="store_true", help="one scale for the whole tensor")
    group.add_argument("--rounding", choices=ROUNDINGS, help="(half_even)")
    group.add_argument("--seed", metavar="N", type=int, help="of stochastic rounding")

    group = parser.add_argument_group("pruning").add_mutually_exclusive_group()
    group.add_argument("--prune-ratio", metavar="R", type=float, help="zero this fraction, 0 ... 1")
    group.add_argument(
        "--prune-percentile",
        metavar="P",
        type=float,
        help="zero what is below this percentile of the magnitudes, 0 ... 100",
    )
    group.add_argument("--prune-threshold", metavar="T", type=float, help="zero magnitudes below T")
    group.add_argument("--prune-nm", metavar="N:M", help="keep the N largest of every M, as 2:4")

    group = parser.add_argument_group("which tensors")
    group.add_argument(
        "--min-size",
        metavar="N",
        type=int,
        default=MIN_SIZE,
        help=f"entries of a matrix at least ({MIN_SIZE}); small networks want 1",
    )
    group.add_argument(
        "--include",
        metavar="GLOB",
        action="append",
        default=[],
        help="only tensors with such a name; repeatable",
    )
    group.add_argument(
        "--exclude",
        metavar="GLOB",
        action="append",
        default=[],
        help="no tensors with such a name; repeatable",
    )
    group.add_argument(
        "--recipe", metavar="FILE", type=Path, help="TOML rules instead of all the above"
    )

    group = parser.add_argument_group("output")
    group.add_argument(
        "--dense",
        action="store_true",
        help="write the values the codes stand for, under the old names and dtypes",
    )
    group.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    group.add_argument(
        "--dry-run", action="store_true", help="show what would be done, write nothing"
    )
    group.add_argument("--force", action="store_true", help="replace what is at DST")
    group.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    group.add_argument("--threads", metavar="N", type=int, help="results do not depend on it")


def run(args: argparse.Namespace) -> int:
    """Compress, and report."""
    started = time.perf_counter()
    recipe = recipe_of(args)
    if args.resume and args.force:
        raise UsageError(
            "--resume goes on with an interrupted run, --force begins anew: choose one"
        )
    refuse_missing_directory("--json", args.json)
    if args.threads is not None:
        use_threads(args.threads)
    source = Source(args.source)
    _refuse_compressed(source)
    plans = {
        tensor.name: tensor
        for tensor in plan(source.words, source.shapes, recipe, dense=args.dense)
    }
    if all(tensor.rule is None for tensor in plans.values()):
        raise ValueError(f"{args.source}: no tensor is to be compressed: {_why_none(args, recipe)}")
    for remark in _unused(recipe, source):
        print(f"pyfq compress: {remark}", file=sys.stderr)
    target = plan_target(source, args.output)
    refuse_overlap(source, target)
    if args.dry_run:
        rows = [planned_row(tensor) for tensor in plans.values()]
        document = _document(args, source, target, recipe, rows)
        _tell(args, document, f"{rows_text(rows)}\n\n{_dry_text(source, rows)}")
        return 0

    rows = _write(args, source, target, recipe, plans)
    document = _document(args, source, target, recipe, rows)
    written = sum(file.stat().st_size for file in target.files)
    seconds = time.perf_counter() - started
    document["totals"] |= {
        "file_bytes_after": written,
        "seconds": seconds,
        "mb_per_second": source.nbytes / seconds / 1e6,
    }
    if args.json:
        document["inputs"] = source.digests()
    totals = _totals_text(source, target, recipe, plans, document)
    _tell(args, document, f"{rows_text(rows)}\n\n{totals}")
    return 0


def recipe_of(args: argparse.Namespace) -> Recipe:
    """Return the recipe that the arguments ask for: a file's, or one rule made of the flags."""
    quantizers = (args.bits, args.scheme, args.group_size, args.rounding, args.seed)
    quantizes = any(x is not None for x in quantizers) or args.per_row or args.per_tensor
    pruners = {
        "ratio": args.prune_ratio,
        "percentile": args.prune_percentile,
        "threshold": args.prune_threshold,
        "nm": args.prune_nm,
    }
    pruner = next((item for item in pruners.items() if item[1] is not None), None)
    if args.recipe is not None:
        if quantizes or pruner or args.include or args.exclude:
            raise UsageError("--recipe says it all: leave out the other options for tensors")
        return read_recipe(args.recipe)
    prune = quantize = None
    try:
        if pruner is not None:
            method, amount = pruner
            prune = Prune(method, parse_nm(amount) if method == "nm" else amount)
        if quantizes or prune is None:
            quantize = Quantize(
                8 if args.bits is None else args.bits,
                args.scheme or "symmetric",
                _granularity_of(args),
                args.rounding or "half_even",
                seed=args.seed,
            )
    except (TypeError, ValueError) as e:
        raise UsageError(str(e)) from e
    rule = Rule(tuple(args.include) or ("*",), prune, quantize, ndim=2, min_size=args.min_size)
    return Recipe((Rule(tuple(args.exclude)), rule) if args.exclude else (rule,))


def _granularity_of(args: argparse.Namespace) -> PerTensor | PerRow | PerGroup:
    if args.per_tensor:
        return PerTensor()
    if args.per_row:
        return PerRow()
    return GROUPS if args.group_size is None else PerGroup(args.group_size)


def _refuse_compressed(source: Source) -> None:
    """Quantizing codes or scales again would give a model that looks whole and is not."""
    packed = any(tensor.format not in ("copy", "dense") for tensor in source.tensors.values())
    config = source.file.parent / CONFIG
    if not packed and config.is_file():
        packed = QUANTIZATION in parse_object(config.read_bytes(), config, CONFIG)
    if packed:
        raise ValueError(f"{source.path} is quantized already: decompress it first")


def _why_none(args: argparse.Namespace, recipe: Recipe) -> str:
    globs = ", ".join(repr(glob) for rule in recipe.rules if not rule.copies for glob in rule.match)
    if not globs:
        return "no rule prunes or quantizes"
    if args.recipe is None:
        least = f"at least {args.min_size} entries: --min-size N asks for fewer"
        return f"{globs} names no matrix of floats of {least}"
    return f"none of the rules for {globs} matches a tensor of floats of the size it asks for"


def _unused(recipe: Recipe, source: Source) -> Iterator[str]:
    """Yield a remark for each rule that decides about no tensor: a misspelt glob, most likely."""
    used = {recipe.rule_for(name, word, source.shapes[name]) for name, word in source.words.items()}
    for number, rule in enumerate(recipe.rules, 1):
        if rule not in used:
            yield f"rule {number} ({', '.join(map(repr, rule.match))}) concerns no tensor"


def _write(
    args: argparse.Namespace,
    source: Source,
    target: Target,
    recipe: Recipe,
    plans: Mapping[str, TensorPlan],
) -> list[dict[str, Any]]:
    """Write everything and return the report of each tensor."""
    journal_path = _journal_path(target)
    if journal_path.exists() and not (args.resume or args.force):
        raise ValueError(
            f"{target.path}: an interrupted run: --resume goes on with it, --force begins anew"
        )
    if not journal_path.exists():
        refuse_existing(target, force=args.force)
    settings = {"version": pyfq.__version__, "recipe": recipe.settings(), "dense": args.dense}
    settings |= {"source": source.identity()}
    tensors = {
        file: {name: plans[name].parts for name in names} for file, names in target.files.items()
    }
    with _progress(source.nbytes) as advance:
        journal = Journal(journal_path, settings, resume=args.resume)
        make = _maker(source, plans, journal, advance)
        try:
            for file, its_tensors in tensors.items():
                if str(file) not in journal.finished:
                    _write_file(file, its_tensors, make, source, plans, resume=args.resume)
                    journal.add_finished(str(file))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("; the same command with --resume goes on") from None
        except ValueError:
            # A tensor that cannot be compressed cannot be after a --resume either.
            journal.remove()
            remove_partial(target)
            raise
    write_beside(target, tensors)
    quantized = {
        name: (tensor.shape, tensor.rule.quantize)
        for name, tensor in plans.items()
        if tensor.rule is not None and tensor.rule.quantize is not None
    }
    write_config(target, None if args.dense else quantization_config(quantized))
    remove_stale(target)
    journal.remove()
    return [journal.rows.get(name) or planned_row(tensor) for name, tensor in plans.items()]


def _write_file(
    file: Path,
    tensors: Mapping[str, Declaration],
    make: Callable[[str], dict[str, NDArray]],
    source: Source,
    plans: Mapping[str, TensorPlan],
    *,
    resume: bool,
) -> None:
    metadata = source.metadata_of([source.tensors[name] for name in tensors])
    metadata[KEY] = write_manifest([plans[name] for name in tensors], pyfq.__version__)
    write_tensors(file, tensors, make, metadata, resume=resume, keep_partial=True)


def _maker(
    source: Source,
    plans: Mapping[str, TensorPlan],
    journal: Journal,
    advance: Callable[[int], object],
) -> Callable[[str], dict[str, NDArray]]:
    """Return the function that compresses a tensor, notes its report and moves the bar."""
    seen: set[str] = set()

    def make(name: str) -> dict[str, NDArray]:
        compressed = compress_tensor(plans[name], source[name])
        if compressed.plan.rule is not None:
            journal.add_row(compressed_row(compressed))
        if name not in seen:  # the parts of some tensors are made twice, see `file_order`
            advance(compressed.plan.nbytes)
            seen.add(name)
        return compressed.parts

    return make


def _journal_path(target: Target) -> Path:
    if target.is_file:
        return target.path.with_name(target.path.name + ".journal")
    return target.path / "compress.journal"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """Yield what to call with the bytes done; it draws a bar if stderr is a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        yield bar.update


def _document(
    args: argparse.Namespace,
    source: Source,
    target: Target,
    recipe: Recipe,
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the report as JSON has it."""
    done = [row for row in rows if row["method"] != "copy"]
    weights = sum(math.prod(row["shape"]) for row in done)
    before, after = (sum(row[key] for row in done) for key in ("bytes_before", "bytes_after"))
    return {
        "command": "compress",
        "environment": environment(),
        "settings": {"recipe": recipe.settings(), "dense": args.dense},
        "source": str(source.path),
        "output": str(args.output),
        "files": [str(file) for file in target.files],
        "tensors": list(rows),
        "totals": {
            "tensors_compressed": len(done),
            "tensors_copied": len(rows) - len(done),
            "weights_compressed": weights,
            "bits_per_weight": 8 * after / weights,
            "bytes_before": before,
            "bytes_after": after,
            "file_bytes_before": source.nbytes,
        },
    }


def _tell(args: argparse.Namespace, document: Mapping[str, Any], text: str) -> None:
    if args.json is not None:
        write_json(document, args.json)
    if args.json != "-":
        print(text)


def _dry_text(source: Source, rows: Sequence[Mapping[str, Any]]) -> str:
    after = sum(row["bytes_after"] for row in rows)
    return (
        f"{bytes_text(source.nbytes)} would become {bytes_text(after)} and headers; "
        "nothing was written"
    )


def _totals_text(
    source: Source,
    target: Target,
    recipe: Recipe,
    plans: Mapping[str, TensorPlan],
    document: Mapping[str, Any],
) -> str:
    totals = document["totals"]
    before, after = totals["file_bytes_before"], totals["file_bytes_after"]
    worst = min((row for row in document["tensors"] if "sqnr_db" in row), key=_by_sqnr)
    gain = f"{before / after:.2f} times smaller" if after < 0.995 * before else "not smaller"
    bits = f"{totals['bits_per_weight']:.3f} bits per compressed weight"
    speed = f"{totals['seconds']:.2f} s, {totals['mb_per_second']:.0f} MB/s"
    lines = [
        f"{source.path}: {bytes_text(before)}",
        f"{target.path}: {bytes_text(after)}, {gain}; {bits}",
        f"lowest SQNR {decibel_text(worst['sqnr_db'])} dB: {worst['name']}",
        f"{speed}, {pyfq.isa}, {pyfq.get_num_threads()} threads",
    ]
    dense = [tensor for tensor in plans.values() if tensor.format == "dense"]
    quantized = [tensor for tensor in dense if tensor.rule is not None and tensor.rule.quantize]
    if quantized:
        packed = sum(tensor.nbytes_after for tensor in plan(source.words, source.shapes, recipe))
        lines.append(f"--dense keeps floats; without it: {bytes_text(packed)}")
    if len(dense) > len(quantized):
        lines.append("what is only pruned stays dense: a zero takes as many bytes as a weight")
    return "\n".join(lines)


def _by_sqnr(row: Mapping[str, Any]) -> float:
    return row["sqnr_db"]
