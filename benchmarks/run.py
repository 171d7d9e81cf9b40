"""Time every kernel beside its peers: a table, and a JSON file with all that was measured.

Run by ``make bench``. Peers that are not installed are left out; ``make oracles`` adds them.
"""

import argparse
import importlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

# Before any OpenMP is loaded: idle threads of one contender that spin would take the cores from the
# next.  It costs a call some ten microseconds, and all of them the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from case import Case, Skipped
from interleaved import Timing, interleave
from machine import cores, machine_card
from table import LEGEND, as_table, record
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
TOPICS = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def main() -> int:
    """Run the benchmarks that the command line names."""
    options = _options()
    threads = tuple(sorted({1, options.threads}))
    cases = [
        (topic, case)
        for topic in options.topic or TOPICS
        for case in importlib.import_module(f"bench_{topic}").cases(options.quick)
        if options.filter in f"{topic}: {case.name}"
    ]
    card = machine_card(threads, options.rounds, options.quick)
    for name, value in card.items():
        print(f"{name:20}  {_as_text(value)}")
    print(f"\n{LEGEND}")
    if card["load average"] > 0.5:
        print("\nOther processes were at work: trust ratios more than times, one thread most.")
    records = []
    with tqdm(total=len(cases), disable=None, leave=False, file=sys.stderr) as progress:
        for topic, case in cases:
            progress.set_description(f"{topic}: {case.name}")
            timings, why_skipped = _timings(case, options.rounds, threads)
            records.append(record(topic, case, timings, why_skipped, card["copy GB/s"]))
            progress.update()
            if (topic, case) == cases[-1] or cases[len(records)][0] != topic:
                progress.clear()
                print(
                    f"\n{topic}\n{as_table([r for r in records if r['topic'] == topic])}",
                    flush=True,
                )
    _write(options, card, records)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--topic", action="append", choices=TOPICS, help="only this; may be repeated"
    )
    parser.add_argument("--filter", default="", help="only cases with this in 'topic: name'")
    parser.add_argument(
        "--rounds", type=int, default=7, help="how often each contender has its turn"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="how many, besides one")
    parser.add_argument(
        "--quick", action="store_true", help="small arrays: whether it runs, not how fast"
    )
    parser.add_argument(
        "--json", type=Path, default=HERE / "results" / "latest.json", metavar="FILE"
    )
    options = parser.parse_args()
    if min(options.rounds, options.threads) < 1:
        parser.error("--rounds and --threads must be at least 1")
    return options


def _timings(case: Case, rounds: int, threads: tuple[int, ...]) -> tuple[list[Timing], str]:
    try:
        return interleave(case.setup(), rounds, threads), ""
    except Skipped as e:
        return [], str(e)


def _write(options: argparse.Namespace, card: dict, records: list[dict]) -> None:
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "rounds": options.rounds,
        "machine": card,
        "cases": records,
    }
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nAll that was measured is in {options.json}.")


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{gb:.1f} ({n} thread{'s' * (n != '1')})" for n, gb in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


if __name__ == "__main__":
    sys.exit(main())
