"""Time every kernel beside its peers: a table, and a JSON file with all that was measured.

Run by ``make bench``, in a short form, and ``make bench-full``. Peers that are not installed are
left out; ``make oracles`` adds them.
"""

import argparse
import importlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

# Before any OpenMP is loaded: idle threads of one contender that spin would take the cores from the
# next.  So they sleep after a moment, as pyfq has it by default; OpenBLAS counts cycles, in powers
# of 2.
if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
    os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "5000"}
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")

import roofline
from amx import amx
from case import Case, Skipped
from interleaved import Timing, interleave
from limits import measure
from machine import cores, largest_read, machine_card
from table import LEGEND, as_table, goal_results, goals_as_table, record
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
# Rounds of each limit: it is the best of many short ones.
LIMIT_ROUNDS = 60
# Seconds after which a contender sits out the remaining rounds of a case.
PATIENCE, SHORT_PATIENCE = 2.0, 0.3
SOURCES = sorted(HERE.glob("*/bench_*.py"))
TOPICS = sorted(path.stem.removeprefix("bench_") for path in SOURCES)
sys.path += sorted({str(path.parent) for path in SOURCES})


def main() -> int:
    """Run the benchmarks that the command line names."""
    options = _options()
    if options.without_amx and amx() == "absent":
        print("This machine has no AMX: a run without it would be the same again.")
        return 0
    threads = tuple(sorted({1, options.threads}))
    cases = [
        (topic, case)
        for topic in options.topic or TOPICS
        for case in _cases(topic, options)
        if options.filter in f"{topic}: {case.name}"
    ]
    limits = measure(threads, 3 if options.quick else LIMIT_ROUNDS, largest_read(options.quick))
    card = machine_card(threads, options.rounds, options.quick, limits)
    if options.without_amx:
        card["AMX"] = "refused to all libraries"
    for name, value in card.items():
        print(f"{name:20}  {_as_text(value)}")
    print(f"\n{LEGEND}")
    if card["load average"] > 0.5:
        print("\nOther processes were at work: trust ratios more than times, one thread most.")
    records = []
    with tqdm(total=len(cases), disable=None, leave=False, file=sys.stderr) as progress:
        for topic, case in cases:
            progress.set_description(f"{topic}: {case.name}")
            timings, why_skipped = _timings(case, options, threads)
            records.append(record(topic, case, timings, why_skipped, card["copy GB/s"], limits))
            progress.update()
            if (topic, case) == cases[-1] or cases[len(records)][0] != topic:
                progress.clear()
                print(
                    f"\n{topic}\n{as_table([r for r in records if r['topic'] == topic])}",
                    flush=True,
                )
    goals = goal_results([case for _, case in cases], records, threads)
    if goals:
        print(f"\ngoals: pyfq against the best of its peers\n{goals_as_table(goals)}")
    _write(options, card, records, goals)
    return 0


def _cases(topic: str, options: argparse.Namespace) -> list[Case]:
    module = importlib.import_module(f"bench_{topic}")
    cases = module.cases(options.quick)
    if not options.short:
        return cases
    return [case for case in cases if case.name in module.SHORT]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--topic", action="append", choices=TOPICS, help="only this; may be repeated"
    )
    parser.add_argument("--filter", default="", help="only cases with this in 'topic: name'")
    parser.add_argument(
        "--rounds", type=int, help="how often each contender has its turn (7, 3 if --short)"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="how many, besides one")
    parser.add_argument("--short", action="store_true", help="a few cases of each topic")
    parser.add_argument(
        "--without-amx",
        action="store_true",
        help="no library may use the tiles of AMX, which compilers of Fortran do not know",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small arrays: whether it runs, not how fast"
    )
    parser.add_argument(
        "--json", type=Path, default=HERE / "results" / "latest.json", metavar="FILE"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.short else 7)
    if min(options.rounds, options.threads) < 1:
        parser.error("--rounds and --threads must be at least 1")
    return options


def _timings(
    case: Case, options: argparse.Namespace, threads: tuple[int, ...]
) -> tuple[list[Timing], str]:
    patience = SHORT_PATIENCE if options.short else PATIENCE
    try:
        return interleave(case.setup(), options.rounds, threads, patience), ""
    except Skipped as e:
        return [], str(e)


def _write(options: argparse.Namespace, card: dict, records: list[dict], goals: list[dict]) -> None:
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "rounds": options.rounds,
        "machine": card,
        "short": options.short,
        "cases": records,
        "goals": goals,
    }
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nAll that was measured is in {options.json}.")
    picture = options.json.with_name("roofline.png")
    if roofline.draw(result, picture):
        print(f"The roofline is {picture}.")


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        if isinstance(next(iter(value.values())), dict):
            sizes = list(value)[::3]
            return ", ".join(
                f"{int(n) // 1024:,} KiB {' / '.join(f'{gb:.0f}' for gb in value[n].values())}"
                for n in sizes
            )
        return ", ".join(f"{gb:.1f} ({n} thread{'s' * (n != '1')})" for n, gb in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


if __name__ == "__main__":
    sys.exit(main())
