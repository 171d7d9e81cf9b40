"""Results as records for a file and as a table for the eye."""

import math
from collections.abc import Sequence

from case import Case, Goal
from interleaved import Timing
from limits import Limits
from peers import torch
from tabulate import tabulate

HEADERS = (
    "case", "elements", "threads", "best ms", "median ms", "GB/s", "of copy", "Gop/s", "of limit",
    "x copyto", "x reference", "x NumPy", "x torch", "x ORT", "x others", "target",
)  # fmt: skip
ALWAYS = ("case", "elements", "threads", "best ms", "median ms", "GB/s", "x torch", "target")

LEGEND = """\
GB/s counts what must be read and written at least; `of copy` is its fraction of the copy bandwidth
above with as many threads, and more than 1 where arrays stay in a cache that those do not fit.
Gop/s counts multiplications and additions. `of limit` is the least time this machine could take, in
which it does as many of them from registers, or reads as many bytes from whatever cache holds them,
over the time taken, and which of both it is.
`x peer` is how many times as fast as the peer pyfq is, best round against best round; of several
ways to do it in a library the fastest counts. The reference and what NumPy does without BLAS run on
one thread; torch, ONNX Runtime and BLAS on as many as pyfq. Idle threads sleep after 0.3 ms, ONNX
Runtime's at once. Targets are judged with all threads; in brackets is the range of the rounds."""

GOAL_HEADERS = (
    "goal", "threads", "cases", "geometric mean", "wanted", "least", "wanted", "in", "",
)  # fmt: skip


def record(
    topic: str,
    case: Case,
    timings: list[Timing],
    why_skipped: str,
    copy: dict[str, float],
    limits: Limits,
) -> dict:
    """Return all that was measured of a case."""
    contenders = [_contender(timing, case, copy, limits) for timing in timings]
    return {
        "topic": topic,
        "name": case.name,
        "elements": case.elements,
        "bytes moved": case.moved,
        "operations": case.flops,
        "unit": case.unit,
        "skipped": why_skipped,
        "contenders": contenders,
        "ratios": [_ratio(own, peer) for own in _own(timings) for peer in _peers(own, timings)],
        "targets": _targets(case, timings, contenders),
        "goals": [goal.name for goal in case.goals],
    }


def as_table(records: list[dict]) -> str:
    """Return one line for every case and number of threads, and one for every target."""
    lines = [line for each in records for line in _lines(each)]
    kept = [
        i for i, header in enumerate(HEADERS) if header in ALWAYS or any(line[i] for line in lines)
    ]
    aligned = ["right" if 0 < i < HEADERS.index("x reference") else "left" for i in kept]
    cells = [[line[i] for i in kept] for line in lines]
    return tabulate(cells, [HEADERS[i] for i in kept], disable_numparse=True, colalign=aligned)


def goal_results(
    cases: Sequence[Case], records: list[dict], threads: tuple[int, ...]
) -> list[dict]:
    """Return of each goal and number of threads how far it is reached by the cases that ran."""
    goals = {goal.name: goal for case in cases for goal in case.goals}
    return [
        result
        for goal in goals.values()
        for n in threads
        if (result := _goal(goal, [r for r in records if goal.name in r["goals"]], n))
    ]


def goals_as_table(results: list[dict]) -> str:
    """Return one line for every goal and number of threads."""
    lines = [
        [
            each["goal"], str(each["threads"]), str(len(each["cases"])),
            f"{each['mean']:.2f}", f"{each['wanted mean']:g}",
            f"{each['least']:.2f}", f"{each['wanted least']:g}", each["least in"],
            "met" if each["met"] else "missed",
        ]
        for each in results
    ]  # fmt: skip
    return tabulate(lines, GOAL_HEADERS, disable_numparse=True)


def _goal(goal: Goal, records: list[dict], threads: int) -> dict | None:
    speeds = {}
    for each in records:
        of_peers = [
            ratio["best"]
            for ratio in each["ratios"]
            if ratio["threads"] == threads and ratio["library"] in goal.peers
        ]
        if of_peers:
            speeds[f"{each['topic']}: {each['name']}"] = min(of_peers)
    if not speeds:
        return None
    mean = math.exp(math.fsum(map(math.log, speeds.values())) / len(speeds))
    worst = min(speeds, key=speeds.get)
    return {
        "goal": goal.name,
        "peers": list(goal.peers),
        "threads": threads,
        "mean": mean,
        "wanted mean": goal.mean,
        "least": speeds[worst],
        "wanted least": goal.least,
        "least in": worst,
        "met": mean >= goal.mean and speeds[worst] >= goal.least,
        "cases": speeds,
    }


def _contender(timing: Timing, case: Case, copy: dict[str, float], limits: Limits) -> dict:
    speed = case.moved / timing.best / 1e9
    result = {
        "name": timing.contender,
        "library": timing.library,
        "threads": timing.threads,
        "seconds": timing.seconds,
        "best": timing.best,
        "median": timing.median,
        "GB/s": speed,
        "of copy": speed / copy[str(timing.threads or 1)],
    }
    if case.flops:
        least, bound = limits.seconds(case.flops, case.unit, case.moved, timing.threads or 1)
        result |= {
            "Gop/s": case.flops / timing.best / 1e9,
            "of limit": least / timing.best,
            "bound": bound,
        }
    return result


def _own(timings: list[Timing]) -> list[Timing]:
    return [timing for timing in timings if timing.contender == "pyfq"]


def _peers(own: Timing, timings: list[Timing]) -> list[Timing]:
    return [t for t in timings if t.contender != "pyfq" and t.threads in (None, own.threads)]


def _ratio(own: Timing, peer: Timing) -> dict:
    return {
        "to": peer.contender,
        "library": peer.library,
        "threads": own.threads,
        "best": own.speed_over(peer),
        "rounds": own.round_speeds_over(peer),
    }


def _targets(case: Case, timings: list[Timing], contenders: list[dict]) -> list[dict]:
    own = max(_own(timings), key=lambda timing: timing.threads, default=None)
    targets = []
    for target in case.targets:
        result = {"target": str(target), "limit": target.limit, "threads": None, "value": None}
        result |= {"rounds": [], "met": None}
        if target.measure == "fraction" and own:
            value = contenders[timings.index(own)]["of limit"]
            rounds = [value * own.best / seconds for seconds in own.seconds]
            result |= {"threads": own.threads, "value": value, "rounds": rounds}
            result["met"] = target.is_met(value)
        for peer in _peers(own, timings) if own else []:
            if peer.contender == target.peer:
                value = target.value(own.speed_over(peer), case.moved)
                rounds = [target.value(s, case.moved) for s in own.round_speeds_over(peer)]
                result |= {"threads": own.threads, "value": value, "rounds": rounds}
                result["met"] = target.is_met(value)
        targets.append(result)
    return targets


def _lines(each: dict) -> list[list[str]]:
    lines = []
    for own in each["contenders"]:
        if own["name"] == "pyfq":
            ratios = [ratio for ratio in each["ratios"] if ratio["threads"] == own["threads"]]
            product = "bound" in own
            lines.append([
                each["name"], f"{each['elements']:,}", str(own["threads"]),
                f"{1e3 * own['best']:.3g}", f"{1e3 * own['median']:.3g}", f"{own['GB/s']:.3g}",
                "" if product else f"{own['of copy']:.2f}",
                f"{own['Gop/s']:.3g}" if product else "",
                f"{own['of limit']:.2f} {own['bound']}" if product else "",
                _fastest(ratios, "np"), _fastest(ratios, "reference"), _fastest(ratios, "numpy"),
                _fastest(ratios, "torch") if torch else "not installed",
                _fastest(ratios, "onnxruntime"), _others(ratios), "",
            ])  # fmt: skip
    blank = [""] * len(HEADERS)
    if each["skipped"]:
        lines.append([each["name"], *blank[2:], f"skipped: {each['skipped']}"])
    for target in each["targets"]:
        threads = str(target["threads"] or "")
        lines.append([f"> {target['target']}", "", threads, *blank[4:], _verdict(target)])
    return lines


def _verdict(target: dict) -> str:
    if target["met"] is None:
        return "skipped"
    least, most = min(target["rounds"]), max(target["rounds"])
    word = "met" if target["met"] else "missed"
    return f"{word}: {target['value']:.3g} ({least:.3g} ... {most:.3g})"


def _fastest(ratios: list[dict], library: str) -> str:
    of_library = [ratio for ratio in ratios if ratio["library"] == library]
    if not of_library:
        return ""
    ratio = min(of_library, key=lambda ratio: ratio["best"])
    way = "" if library == "np" else ratio["to"].removeprefix(library).lstrip(" .")
    return f"{ratio['best']:.3g} {way}".rstrip()


def _others(ratios: list[dict]) -> str:
    shown = ("np", "reference", "numpy", "torch", "onnxruntime")
    others = [r for r in ratios if r["library"] not in shown]
    return ", ".join(f"{ratio['best']:.3g} {ratio['to']}" for ratio in others)
