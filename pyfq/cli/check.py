"""``pyfq check``: whether the kernels are right on this machine."""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq import _native
from pyfq.cli import SubParsers, UsageError, _check_cases, _check_unspecified_cases
from pyfq.cli._check_cases import Case, Near, Unspecified, agree
from pyfq.cli._check_digest import (
    Digest,
    Line,
    Verdict,
    compare,
    exact_line,
    flat,
    float_line,
    made_here,
    read_digest,
    sha256_of,
    write_digest,
)
from pyfq.cli._help import HelpFormatter
from pyfq.cli._report import environment, refuse_missing_directory, refuse_taken, write_json
from pyfq.cli._table import table_text, terminal_width

TOPICS = _check_cases.TOPICS | _check_unspecified_cases.TOPICS
HELP_OF_TOPICS = (
    f"of {', '.join(_check_cases.TOPICS)}; or of those without a specification, "
    f"{', '.join(_check_unspecified_cases.TOPICS)} (default: the former; for a digest all)"
)

EPILOG = """\
Known answers, and every kernel against its specification in NumPy (pyfq.reference), to the bit, for
every instruction set that this build has and this CPU runs, and several numbers of threads. Run it
once after building on a new machine. The exit code is 1 if anything differs.

A digest keeps the results, a line each, to compare another build or another machine with; those of
functions that have no specification, too. What is the same on every machine is hashed. Sums of
floats are hashed too, for the same variant and compiler; elsewhere some of their entries are
compared, within their bound.

examples:
  pyfq check
  pyfq check quantize pack --json -
  pyfq check --digest before.txt       before an upgrade, or on one node
  pyfq check --against before.txt      after it, or on another node
"""


@dataclass(frozen=True)
class Outcome:
    """What a case came to.

    Attributes
    ----------
    failures : list of dict
        Topic, case, variant, threads and reason of each.
    lines : list of Line
        What a digest holds of it.
    """

    failures: list[dict[str, Any]]
    lines: list[Line]


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "check",
        description="Verify the kernels on this machine.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("topics", metavar="TOPIC", nargs="*", help=HELP_OF_TOPICS)
    add("--digest", metavar="FILE", type=Path, help="write the results to FILE, a line each")
    add("--against", metavar="FILE", type=Path, help="compare the results with those in FILE")
    add("--json", metavar="FILE", help="write the report as JSON; - for stdout")


def run(args: argparse.Namespace) -> int:
    """Check, and report."""
    started = time.perf_counter()
    refuse_missing_directory("--json", args.json)
    unknown = [topic for topic in args.topics if topic not in TOPICS]
    if unknown:
        raise UsageError(f"unknown topic {unknown[0]!r}: expected {', '.join(TOPICS)}")
    refuse_missing_directory("--digest", args.digest)
    then = None if args.against is None else read_digest(args.against)
    reports = {"--digest": args.digest, "--json": args.json}
    refuse_taken(reports, [] if args.against is None else [args.against])
    keeps = args.digest is not None or then is not None
    topics = list(dict.fromkeys(args.topics or (TOPICS if keeps else _check_cases.TOPICS)))
    isas, threads = _native.runnable(), thread_counts()
    outcomes = _outcomes(topics, isas, threads)
    failures = [failure for its in outcomes.values() for o in its for failure in o.failures]
    lines = [line for its in outcomes.values() for outcome in its for line in outcome.lines]
    if args.digest is not None:
        write_digest(args.digest, lines)
    verdicts = [] if then is None else list(compare(lines, _of_topics(then, topics)))
    changed = [verdict for verdict in verdicts if verdict.kind == "differs"]
    document = {
        "command": "check",
        "environment": environment(),
        "isas": isas,
        "threads": threads,
        "cases": {topic: len(its) for topic, its in outcomes.items()},
        "failures": failures,
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "passed": not failures and not changed,
        "seconds": time.perf_counter() - started,
    }
    if args.json is not None:
        write_json(document, args.json)
    if args.json != "-":
        print(table_text(_rows(outcomes, isas), ["topic", "cases", *isas], width=terminal_width()))
        print(f"\n{', '.join(map(str, threads))} threads, {document['seconds']:.1f} s")
        for failure in failures:
            place = f"{failure['isa']}, {failure['threads']} threads"
            print(f"FAILED {failure['topic']}: {failure['case']} ({place}): {failure['reason']}")
        if then is not None:
            print(_comparison_text(verdicts, then, args.against))
    return 0 if document["passed"] else 1


def _outcomes(
    topics: Sequence[str], isas: Sequence[str], threads: Sequence[int]
) -> dict[str, list[Outcome]]:
    """Run all cases of the topics; a bar on a terminal shows how far that is."""
    from tqdm import tqdm

    its_cases = {topic: TOPICS[topic]() for topic in topics}
    outcomes: dict[str, list[Outcome]] = {}
    with tqdm(total=sum(map(len, its_cases.values())), leave=False, disable=None) as bar:
        for topic, those in its_cases.items():
            bar.set_description(topic)
            outcomes[topic] = []
            for case in those:
                outcomes[topic].append(check_case(topic, case, isas, threads))
                bar.update()
    return outcomes


def _rows(outcomes: dict[str, list[Outcome]], isas: Sequence[str]) -> list[list[str]]:
    rows = []
    for topic, its in outcomes.items():
        failed = [failure["isa"] for outcome in its for failure in outcome.failures]
        verdicts = [f"{failed.count(isa)} FAILED" if isa in failed else "ok" for isa in isas]
        rows.append([topic, str(len(its)), *verdicts])
    return rows


def _of_topics(digest: Digest, topics: Sequence[str]) -> Digest:
    """Leave out of a digest what this run does not look at."""
    kept = {key: x for key, x in digest.lines.items() if x.case.split(":")[0] in topics}
    return Digest(digest.made_by, kept)


def _comparison_text(verdicts: Sequence[Verdict], then: Digest, path: Path) -> str:
    """Return a line for each kind of verdict, and one for each result that is not equal."""
    makers = [
        ", ".join(str(made_by.get(key)) for key in ("pyfq", "compiler", "machine"))
        for made_by in (then.made_by, made_here())
    ]
    kinds = [verdict.kind for verdict in verdicts]
    told = {
        "equal": "equal to the bit",
        "near": "within their bound",
        "differs": "DIFFERENT",
        "new": f"not in {path}",
        "gone": f"only in {path}",
    }
    counts = ", ".join(f"{kinds.count(kind)} {words}" for kind, words in told.items())
    lines = [f"\n{path} ({makers[0]}) against this build ({makers[1]}): {counts}"]
    for verdict in verdicts:
        place = "" if verdict.isa is None else f" ({verdict.isa}, {verdict.ulps:.3g} ulps)"
        if verdict.kind not in ("equal", "near"):
            lines.append(f"{told[verdict.kind]}: {verdict.case}{place}")
    return "\n".join(lines)


def check_case(topic: str, case: Case, isas: Sequence[str], threads: Sequence[int]) -> Outcome:
    """Run a case on every variant and number of threads, the first variant before the others."""
    expected = case.expected()
    outcome = Outcome([], [])
    first: Any = None
    for isa in isas:
        results = _results(case, isa, threads)
        first = results[threads[0]] if isa == isas[0] else first
        for n, result in results.items():
            if reason := _reason(result, expected, results[threads[0]], first):
                where = {"case": case.name, "isa": isa, "threads": n}
                outcome.failures.append({"topic": topic, **where, "reason": reason})
        if not isinstance(results[threads[0]], Exception):
            outcome.lines.append(_line(f"{topic}: {case.name}", isa, results[threads[0]], expected))
    if outcome.lines and outcome.lines[0].isa is None:  # one for all variants
        del outcome.lines[1:]
    return outcome


def thread_counts() -> list[int]:
    """Return the numbers of threads to try: few, odd, and all there are."""
    return sorted({1, 2, 3, pyfq.get_num_threads()})


@contextmanager
def variant(isa: str) -> Iterator[None]:
    """Use one variant of the kernels inside a ``with`` block."""
    used = _native.lib
    try:
        _native.lib = _native.load(isa)
        yield
    finally:
        _native.lib = used


def _results(case: Case, isa: str, threads: Sequence[int]) -> dict[int, Any]:
    """Return for each number of threads what a case returns or raises on a variant."""
    results: dict[int, Any] = {}
    with variant(isa):
        for n in threads:
            try:
                with pyfq.num_threads(n):
                    results[n] = case.run()
            except (ValueError, TypeError, FloatingPointError, pyfq.FqError) as e:
                results[n] = e
    return results


def _reason(result: Any, expected: Any, of_one_thread: Any, of_first: Any) -> str | None:
    """Return what is wrong with a result, None if nothing is."""
    if isinstance(result, Exception):
        return f"{type(result).__name__}: {result}"
    if sha256_of(result) != sha256_of(of_one_thread):
        return "differs from one thread"
    if isinstance(expected, Near):
        return None if agree(result, expected) else "differs"
    if isinstance(expected, Unspecified) and expected.tolerance > 0:
        distance = np.abs(flat(result) - flat(of_first))
        return None if (distance <= _bound(result, expected)).all() else "differs from one variant"
    if sha256_of(result) != sha256_of(of_first):
        return "differs from one variant"
    return None if isinstance(expected, Unspecified) or agree(result, expected) else "differs"


def _line(case: str, isa: str, result: Any, expected: Any) -> Line:
    """Return the line of a digest: of one variant, if variants may differ."""
    is_float = isinstance(expected, Near) or (
        isinstance(expected, Unspecified) and expected.tolerance > 0
    )
    if not is_float:
        return exact_line(case, result)
    return float_line(case, isa, result, _bound(result, expected), ours=expected.ours)


def _bound(result: Any, expected: Near | Unspecified) -> NDArray:
    if isinstance(expected, Near):
        return expected.bound
    return np.asarray(expected.tolerance * np.abs(flat(result)).max(initial=0))
