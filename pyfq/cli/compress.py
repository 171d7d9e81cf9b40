"""``pyfq compress``: a checkpoint in, a compressed one out."""

import argparse
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfq.cli import SubParsers, UsageError, use_threads
from pyfq.cli._compress_options import MIN_SIZE, add_method_arguments, auto_line, recipe_of
from pyfq.cli._compress_report import (
    budget_entry,
    document_of,
    draw,
    dry_text,
    is_told,
    totals_text,
)
from pyfq.cli._destination import (
    Destination,
    config_content,
    output_path,
    plan_destination,
    refuse_config_of_another,
    refuse_overlap,
    tell_left_out,
)
from pyfq.cli._foreign import refuse_quantized
from pyfq.cli._header_bytes import choose_within, without_headers
from pyfq.cli._help import HelpFormatter
from pyfq.cli._journal import Journal
from pyfq.cli._opening import for_loaders, opening_line, packed_of
from pyfq.cli._parser import add_telling_arguments, file_of, path_of
from pyfq.cli._progress import Progress, progress
from pyfq.cli._report import (
    FIGURES,
    compressed_row,
    copies_of,
    path_text,
    planned_row,
    refuse_figure,
    refuse_missing_directory,
    refuse_taken,
    rows_text,
    write_json,
)
from pyfq.cli._source import Source
from pyfq.cli._table import terminal_width, wrapped
from pyfq.cli._writing import add_writing_arguments, removed_line, write_checkpoint
from pyfq.exchange.methods.tables import placed
from pyfq.exchange.stored import CAST, COPY, DENSE
from pyfq.io.dtypes import nbytes_of
from pyfq.recipes import (
    Coded,
    Finding,
    QuantizeRate,
    Recipe,
    Rule,
    TensorPlan,
    compress_tensor,
    plan,
)
from pyfq.recipes.choose import choose_bits, refuse_budget
from pyfq.recipes.declare import open_rules
from pyfq.recipes.measure import code, measure, read_finding
from pyfq.recipes.streams import Streams

EPILOG = f"""\
what is compressed:
  Without a recipe, floats (F64, F32, F16, BF16) of two axes or more and of at least {MIN_SIZE}
  entries: matrices, kernels of convolutions, and matrices in a stack, such as experts. The rest is
  copied bit for bit, and so is what would not get smaller; the report says why. --include and
  --exclude narrow that down by name. With a --prune option alone, tensors are only pruned.

rows:
  A row holds the weights of one output: a kernel (out, in, kh, kw) is a matrix (out, in*kh*kw), a
  stack (experts, out, in) has experts*out rows. Names with "conv" and "expert" and the length of
  the last axis tell them apart; the key rows of a recipe says it.

methods:
  auto                         the one of these that loses least with the other
                               options, and it says which: rate for a budget or a
                               fraction of bits, als for --bits below 8, else rtn
  rtn                          codes of --bits (8), rounded to nearest, one scale a group
  als, mse, aciq, hqq          the same with scales that lose less than those of the range: see
                               pyfq.quantize, calibration; als is the best of few bits
  percentile                   the same with scales that reach so much of a group
  nf4, fp4                     codes of 4 bits for the levels of a table, as bitsandbytes has them
  log2, lloyd                  codes of --bits (4) for powers of two, or for levels fitted; of these
                               four, --calibration mse and --scale-bits 8 give better and fewer bits
  rate                         codes of a uniform step, entropy-coded: --bits (4), --step or --sqnr;
                               the fewest bits for an error, and so what --target-bits takes
  lowrank                      two thin factors, by --rank ...; quantized too with --bits
  bfloat16, float16            floats of 2 bytes
  lossless                     the same bits in fewer bytes, of floats of 1 byte and vectors, too;
                               with --prune-... what was pruned takes next to nothing

examples:
  pyfq compress model.safetensors -o small           8 bits in groups of 128
  pyfq compress ./all-MiniLM-L6-v2 -o small --target-bits 3.5
                                                     the least loss at a size
  pyfq compress ./all-MiniLM-L6-v2 -o q4 --bits 4    4 bits that other tools open
  pyfq compress ./all-MiniLM-L6-v2 -o q4 --bits 4 --scheme affine --group-size 64
  pyfq compress ./all-MiniLM-L6-v2 -o nf4 --method nf4 --plot error.png
  pyfq compress ./all-MiniLM-L6-v2 -o small --target-size 8MB
  pyfq compress ./all-MiniLM-L6-v2 -o mixed --target-bits 4.25 --scheme affine
  pyfq compress ./all-MiniLM-L6-v2 -o best --target-bits 4.25 --method lloyd --calibration mse \\
      --scale-bits 8
  pyfq compress model.safetensors -o thin --rank-energy 0.99 --svd randomized
  pyfq compress model.safetensors -o thin --method lowrank --bits 8 --exclude '*embeddings*'
  pyfq compress model.safetensors -o half --method bfloat16 --min-size 1
  pyfq compress model.safetensors -o same --method lossless
  pyfq compress model.safetensors -o thin --method lossless --prune-ratio 0.5
  pyfq compress model.safetensors -o trial --bits 4 --dense    any framework opens the result
  pyfq compress model.safetensors -o half.safetensors --prune-ratio 0.5
  pyfq compress sharded/model.safetensors.index.json -o small --exclude 'lm_head*' --resume
  pyfq compress weights.npz -o weights-q.npz --recipe recipe.toml --json report.json
  pyfq compress digits.safetensors -o digits4.safetensors --bits 4    predict takes it, too

a recipe (the first rule that matches a name decides; no method: copied):
  [[rule]]
  match = ["*LayerNorm*", "*.bias"]

  [[rule]]
  match = "*attention*"
  ndim = 2
  lowrank = {{ ratio = 0.5 }}                # or rank, energy, tolerance
  precision = "bfloat16"                   # of the factors; alone, of the tensor

  [[rule]]
  match = "*blocks.moe*"
  rows = "leading"                         # or "first": what is a row of three axes and more
  codebook = "nf4"

  [[rule]]
  match = "*embeddings*"
  # levels also "nf4", "fp4", "log2", [-1.0, 0.0, 1.0]; calibration = "mse", too
  codebook = {{ levels = "lloyd", bits = 3, scale_bits = 8 }}

  [[rule]]
  match = "*"
  min_ndim = 2
  min_size = 4096
  prune = {{ ratio = 0.5, per = "row" }}     # or percentile, threshold, nm = "2:4"
  # or rate = {{ bits = 2.5 }}, rate = "budget"
  quantize = {{ bits = "budget", scheme = "affine", group_size = 64 }}

  [budget]                                 # of all that is not copied, scales counted
  bits_per_weight = 6.0
  choices = [2, 3, 4, 8]

files:
  -o NAME.safetensors or NAME.npz writes that file. A name of another format, as NAME.gguf, is
  refused. Any other name is a directory: the weights go into it under the names that they have
  (model.safetensors if they come from an npz file), and tokenizer, config and other small files of
  a model directory are copied beside them. Quantized tensors are written as compressed-tensors does
  where it can express them, else in pyfq's extension of it; pyfq inspect shows which, pyfq
  decompress reads both. Everything takes its place at once, when it is complete; until then it is
  in DST.partial. What was interrupted goes on with --resume (an npz file begins anew).
"""

# Reasons that a message lists.
_FEW = 5

# Passes over the tensors that a budget chooses steps of, as a rule.
_PASSES = 2

# Looks at a sample of each, as a rule, and weights that are coded to see how long that takes.
_TRIES, _TRIED = 5, 1 << 20


_FOR_ADAPTERS = (
    "PEFT reads adapters of floats alone: pyfq decompress makes them again, "
    "--dense writes what PEFT opens"
)


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "compress",
        usage="pyfq compress SRC -o DST [OPTION ...]",
        description="Quantize, factorize, prune or round the tensors of a checkpoint.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SRC",
        type=path_of,
        help=".safetensors, .npz, .index.json of shards, or a model directory",
    )
    add(
        "-o",
        "--output",
        metavar="DST",
        type=output_path,
        required=True,
        help=".safetensors, .npz, or directory to write",
    )

    add_method_arguments(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--dense",
        action="store_true",
        help="write the values that all of it stands for, under the old names and dtypes",
    )
    group.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    group.add_argument(
        "--plot",
        metavar="FILE",
        type=file_of,
        help=f"draw the error of each tensor: {', '.join(FIGURES)}",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="show what would be done, write nothing"
    )
    add_writing_arguments(group)
    add_telling_arguments(group, "every column, and every tensor that is copied")
    group.add_argument(
        "--threads", metavar="N", type=int, help="number of threads; results do not depend on it"
    )


def run(args: argparse.Namespace) -> int:
    """Compress, and report."""
    started = time.perf_counter()
    recipe = recipe_of(args)
    if args.resume and args.force:
        raise UsageError(
            "--resume goes on with an interrupted run, --force begins anew: choose one"
        )
    refuse_missing_directory("--json", args.json)
    if args.plot is not None and args.dry_run:
        raise UsageError("--plot draws errors, which --dry-run does not measure")
    refuse_figure(args.plot)
    if args.threads is not None:
        use_threads(args.threads)
    source = Source(args.source)
    reports = {"--json": args.json, "--plot": args.plot}
    inputs = [] if args.recipe is None else [args.recipe]
    refuse_taken(reports, [args.source, *source.read, *inputs], args.output)
    refuse_taken({"-o": args.output}, inputs)
    _refuse_compressed(source)
    recipe = for_loaders(recipe, args, source)
    destination = plan_destination(source, args.output, inputs)
    # What needs no data is planned before any is read: a refusal should not wait for it.
    undecided = open_rules(source.words, source.shapes, recipe)
    certain = {name: word for name, word in source.words.items() if name not in undecided}
    with placed(str(args.source)):
        refuse_budget(source.words, source.shapes, without_headers(source, recipe, destination))
        planned = plan(certain, source.shapes, recipe, dense=args.dense)
    if not undecided and all(tensor.rule is None for tensor in planned):
        advice = "" if args.recipe else _advice(source, recipe)
        raise ValueError(f"{args.source}: {_nothing_to_do(planned)}{advice}")
    for remark in _unused(recipe, source):
        print(f"pyfq compress: {remark}", file=sys.stderr)
    refuse_taken(reports, destination.read_beside)
    if destination.adapts and not args.dense:
        print(f"pyfq compress: {_FOR_ADAPTERS}", file=sys.stderr)
    tell_left_out(args.command, destination)
    refuse_overlap(source, destination)
    quantizes = not args.dense and any(
        rule.quantize and rule.lowrank is None
        for rule in (*undecided.values(), *(tensor.rule for tensor in planned if tensor.rule))
    )
    packs = not args.dense and bool(undecided or packed_of(planned))
    says = quantizes or (packs and destination.has_config)
    refuse_config_of_another(destination, config_content(destination, {} if says else None))
    _announce(args, source, undecided)
    work = _Compression(source, destination, recipe, undecided, args)
    first_pass = _bytes_of(source, undecided)
    if args.dry_run:
        with progress(first_pass, quiet=args.quiet) as work.shown:
            tensors = work.declare(None)
        rows = [planned_row(tensor) for tensor in tensors.values()]
        document = document_of(args, source, destination, recipe, work.budget, rows)
        document["estimated"] = any(rule.rate is not None for rule in undecided.values())
        _tell(args, document, rows, dry_text(source, document))
        return 0

    settings = {"recipe": recipe.settings(), "dense": args.dense}
    passes = 1 + _PASSES * recipe.chooses_steps
    with progress(source.nbytes + passes * first_pass, quiet=args.quiet) as work.shown:
        written = write_checkpoint(args, source, destination, settings, work)
    tensors, journal = written.tensors, written.journal
    measured = {} if journal is None else journal.rows
    rows = [measured.get(name) or planned_row(tensor) for name, tensor in tensors.items()]
    document = document_of(args, source, destination, recipe, work.budget, rows)
    if journal is None:
        if args.plot is not None:
            print("pyfq compress: the errors that --plot draws are not known", file=sys.stderr)
        if args.json is not None and is_told(args.json, document):
            args.json = None  # with the errors, which only the run that wrote the target knows
        _tell(args, document, [], f"{path_text(destination.path)}: complete already")
        return 0
    document["removed"] = [str(file) for file in written.removed]
    seconds = time.perf_counter() - started
    document["totals"] |= {
        "file_bytes_after": sum(file.stat().st_size for file in destination.files),
        "seconds": seconds,
        "mb_per_second": source.nbytes / seconds / 1e6,
    }
    if args.json:
        document["inputs"] = work.inputs
    if args.plot is not None:
        draw(args, rows)
    totals = totals_text(source, destination, work.packed, document)
    last = removed_line(written.removed) + opening_line(source, destination, tensors.values())
    _tell(args, document, rows, totals + last)
    return 0


def _announce(args: argparse.Namespace, source: Source, undecided: Mapping[str, Rule]) -> None:
    """Tell somebody who waits at a terminal what was chosen, and about how long it takes."""
    if args.quiet or not sys.stderr.isatty():
        return
    sizes = [math.prod(source.shapes[name]) for name, rule in undecided.items() if rule.rate]
    seconds = _seconds_of(sizes) if sizes and not args.dry_run else 0.0
    about = f"about {seconds:.0f} s" if seconds >= 1 else ""
    text = "; ".join(part for part in (auto_line(args), about) if part)
    if text:
        print(wrapped(f"pyfq compress: {text}", terminal_width()), file=sys.stderr)


def _seconds_of(sizes: Sequence[int]) -> float:
    """Return about how long this machine, as busy as it is, takes to find steps of tensors."""
    w = np.random.default_rng(0).standard_normal((_TRIED // 256, 256), np.float32)
    rule = Rule(("*",), rate=QuantizeRate(step=0.5))
    started = time.perf_counter()
    code("w", "F32", w, rule, sampled=True)
    sampled = time.perf_counter()
    code("w", "F32", w, rule)
    of_all = time.perf_counter() - sampled
    of_sample = sampled - started
    return _PASSES * of_all * sum(sizes) / w.size + _TRIES * of_sample * len(sizes)


def _refuse_compressed(source: Source) -> None:
    """Quantizing codes or scales again would give a model that looks whole and is not."""
    plain = (COPY, DENSE, CAST)
    if any(tensor.format not in plain for tensor in source.tensors.values()):
        raise ValueError(f"{source.path} is compressed already: decompress it first")
    refuse_quantized(source)


def _nothing_to_do(plans: Sequence[TensorPlan]) -> str:
    groups = copies_of(planned_row(tensor) for tensor in plans)
    reasons = [f"{len(rows)} copied: {reason}" for reason, rows in groups.items()]
    if len(reasons) > _FEW:
        reasons[_FEW:] = [f"{len(reasons) - _FEW} reasons more"]
    return f"no tensor is to be compressed: {'; '.join(reasons) or 'there is none'}"


def _advice(source: Source, recipe: Recipe) -> str:
    """Return the option that would have a tensor compressed, if it is that of their size."""
    rules = tuple(replace(rule, min_size=1) for rule in recipe.rules)
    looser = replace(recipe, rules=rules)
    undecided = open_rules(source.words, source.shapes, looser)
    certain = {name: word for name, word in source.words.items() if name not in undecided}
    helps = undecided or any(tensor.rule for tensor in plan(certain, source.shapes, looser))
    return "; --min-size N asks for fewer" if helps else ""


def _unused(recipe: Recipe, source: Source) -> Iterator[str]:
    """Yield a remark for each rule that decides about no tensor: a misspelt glob, most likely."""
    words, shapes = source.words, source.shapes
    used = {recipe.number_for(name, word, shapes[name]) for name, word in words.items()}
    for number, rule in enumerate(recipe.rules, 1):
        if number not in used:
            yield f"rule {number} ({', '.join(map(repr, rule.match))}) concerns no tensor"


@dataclass(eq=False)
class _Compression:
    """What `write_checkpoint` is to do: what a recipe says to the tensors of a source."""

    source: Source
    destination: Destination
    recipe: Recipe
    undecided: Mapping[str, Rule]
    args: argparse.Namespace
    #: What becomes of each tensor, or would without ``--dense``.
    packed: list[TensorPlan] = field(default_factory=list)
    #: What the report says of the budget, and of the source.
    budget: dict[str, Any] | None = None
    inputs: list[dict[str, object]] = field(default_factory=list)
    #: What is shown meanwhile.
    shown: Progress = field(init=False)
    _seen: set[str] = field(default_factory=set)
    _streams: Streams = field(init=False)

    def __post_init__(self) -> None:
        """Let codes take as much memory as the largest tensor."""
        self._streams = Streams(
            max((_bytes_of(self.source, [name]) for name in self.source), default=0)
        )

    def declare(self, journal: Journal | None) -> dict[str, TensorPlan]:
        """Return what becomes of each tensor; first those are seen of which only data tells.

        What the report needs is found out here, too: when the target is written, all is said.
        """
        source, recipe = self.source, self.recipe
        findings = {name: self._finding(name, journal) for name in self.undecided}
        coded = partial(self._coded, journal)

        def choose(of_tensors: Recipe) -> dict[str, Rule]:
            return choose_bits(source.words, source.shapes, of_tensors, findings, coded)

        with placed(str(source.path)):
            decided, self.packed = choose_within(source, recipe, self.destination, choose)
            tensors = plan(
                source.words, source.shapes, recipe, dense=self.args.dense, decided=decided
            )
        self.budget = budget_entry(recipe, decided, self.packed)
        if self.args.json and journal is not None:
            self.inputs = source.digests()
        if self.undecided and all(tensor.rule is None for tensor in tensors):
            raise ValueError(f"{source.path}: {_nothing_to_do(tensors)}")
        return {tensor.name: tensor for tensor in tensors}

    def make(self, tensor: TensorPlan, journal: Journal | None) -> dict[str, NDArray]:
        """Compress a tensor, note its report and move the bar."""
        started = time.perf_counter()
        # Parts of some are made twice, see `file_order`.
        nbytes = 0 if tensor.name in self._seen else tensor.nbytes
        self._seen.add(tensor.name)
        at_work = self.shown.tensor("writing", tensor.name, nbytes)
        with at_work, self.source.naming(tensor.name):
            compressed = compress_tensor(tensor, self.source[tensor.name], self._streams)
        if journal is None:
            return compressed.parts
        if tensor.rule is not None:
            before = [journal.findings.get(tensor.name, {})]
            before += journal.codes.get(tensor.name, {}).values()
            seconds = time.perf_counter() - started
            seconds += sum(one.get("seconds", 0.0) for one in before)
            journal.add_row(compressed_row(compressed, seconds))
        return compressed.parts

    def _finding(self, name: str, journal: Journal | None) -> Finding:
        """Return what the data of a tensor tells; a journal knows that of those seen before."""
        source, rule = self.source, self.undecided[name]
        finding = None if journal is None else journal.findings.get(name)
        if finding is None:
            started = time.perf_counter()
            nbytes = _bytes_of(source, [name])
            with self.shown.tensor("measuring", name, nbytes), source.naming(name):
                word, array = source.words[name], source[name]
                if self.args.dry_run and rule.rate is not None and not rule.asks_for_bits:
                    measured = Finding(coded=code(name, word, array, rule, sampled=True))
                else:
                    about = name, word, array, rule, self.recipe.budget
                    measured = measure(*about, streams=self._streams)
                    del about
                del array
            finding = measured.settings() | {"seconds": time.perf_counter() - started}
            if journal is not None:
                journal.add_finding(name, finding)
        return read_finding(finding)

    def _coded(self, journal: Journal | None, name: str, rule: Rule, sampled: bool) -> Coded:
        """Return what the codes of a tensor turn out to be; a journal knows those made before."""
        source, step = self.source, rule.rate.step
        if sampled or self.args.dry_run:
            with self.shown.tensor("choosing", name, 0), source.naming(name):
                return code(name, source.words[name], source[name], rule, sampled=True)
        codes = None if journal is None else journal.codes.get(name, {}).get(step)
        if codes is None:
            started = time.perf_counter()
            nbytes = _bytes_of(source, [name])
            with self.shown.tensor("coding", name, nbytes), source.naming(name):
                about = name, source.words[name], source[name], rule
                coded = code(*about, streams=self._streams)
                del about
            codes = {"coded": coded.settings(), "seconds": time.perf_counter() - started}
            if journal is not None:
                journal.add_codes(name, step, codes)
        return Coded(**codes["coded"])


def _bytes_of(source: Source, names: Iterable[str]) -> int:
    return sum(nbytes_of(source.words[name], source.shapes[name]) for name in names)


def _tell(
    args: argparse.Namespace,
    document: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    totals: str,
) -> None:
    """Write the report, and print it: a table of rows, if there are any, and totals."""
    if args.json is not None:
        write_json(document, args.json)
    if args.json != "-" and not args.quiet:
        table = f"{rows_text(rows, verbose=args.verbose)}\n\n" if rows else ""
        print(table + wrapped(totals, terminal_width()))
