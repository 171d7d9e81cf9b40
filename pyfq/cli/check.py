"""``pyfq check``: whether the kernels are right on this machine."""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyfq
from pyfq import _native
from pyfq.cli import SubParsers, UsageError
from pyfq.cli.cases import TOPICS, Case, agree
from pyfq.cli.report import environment, refuse_missing_directory, table_text, write_json

EPILOG = """\
Known answers, and every kernel against its specification in NumPy (pyfq.reference), to the bit, for
every instruction set that this build has and this CPU runs, and several numbers of threads. Run it
once after building on a new machine. The exit code is 1 if anything differs.

examples:
  pyfq check
  pyfq check quantize pack --json -
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "check",
        description="Verify the kernels on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help=f"of {', '.join(TOPICS)} (all)")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON; - for stdout")


def run(args: argparse.Namespace) -> int:
    """Check, and report."""
    started = time.perf_counter()
    refuse_missing_directory("--json", args.json)
    unknown = [topic for topic in args.topics if topic not in TOPICS]
    if unknown:
        raise UsageError(f"unknown topic {unknown[0]!r}: expected {', '.join(TOPICS)}")
    cases = {topic: TOPICS[topic]() for topic in args.topics or TOPICS}
    isas, threads = _native.runnable(), thread_counts()
    failures: list[dict[str, Any]] = []
    rows = []
    for topic, its_cases in cases.items():
        failed = check_topic(its_cases, isas, threads)
        failures += [{"topic": topic, **failure} for failure in failed]
        verdicts = [
            _verdict([failure for failure in failed if failure["isa"] == isa]) for isa in isas
        ]
        rows.append([topic, str(len(its_cases)), *verdicts])
    document = {
        "command": "check",
        "environment": environment(),
        "isas": isas,
        "threads": threads,
        "cases": {topic: [case.name for case in its_cases] for topic, its_cases in cases.items()},
        "failures": failures,
        "passed": not failures,
        "seconds": time.perf_counter() - started,
    }
    if args.json is not None:
        write_json(document, args.json)
    if args.json != "-":
        print(table_text(rows, ["topic", "cases", *isas]))
        print(f"\n{', '.join(map(str, threads))} threads, {document['seconds']:.1f} s")
        for failure in failures:
            place = f"{failure['isa']}, {failure['threads']} threads"
            print(f"FAILED {failure['topic']}: {failure['case']} ({place}): {failure['reason']}")
    return 1 if failures else 0


def check_topic(
    cases: Sequence[Case], isas: Sequence[str], threads: Sequence[int]
) -> list[dict[str, Any]]:
    """Run cases on every variant and number of threads and return what went wrong."""
    failures = []
    for case in cases:
        expected = case.expected()
        for isa in isas:
            with variant(isa):
                for n in threads:
                    reason = _differs(case, expected, n)
                    if reason:
                        where = {"case": case.name, "isa": isa, "threads": n}
                        failures.append(where | {"reason": reason})
    return failures


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


def _differs(case: Case, expected: Any, threads: int) -> str | None:
    try:
        with pyfq.num_threads(threads):
            got = case.run()
    except (ValueError, TypeError, pyfq.FqError) as e:
        return f"{type(e).__name__}: {e}"
    return None if agree(got, expected) else "differs"


def _verdict(failed: Sequence[Any]) -> str:
    return f"{len(failed)} FAILED" if failed else "ok"
