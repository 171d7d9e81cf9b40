"""Results as records for a file and as a table for the eye."""

from case import Case
from interleaved import Timing
from peers import torch
from tabulate import tabulate

HEADERS = (
    "case", "elements", "threads", "best ms", "median ms", "GB/s", "of copy",
    "x copyto", "x reference", "x NumPy", "x torch", "x others", "target",
)  # fmt: skip

LEGEND = """\
GB/s counts what must be read and written at least; `of copy` is its fraction of the copy bandwidth
above with as many threads, and more than 1 where arrays stay in a cache that those do not fit.
`x peer` is how many times as fast as the peer pyfq is, best round against best round; of several
ways to do it in a library the fastest counts. NumPy and the reference run on one thread, torch on
as many as pyfq. Targets are judged with all threads; in brackets is the range of the rounds."""


def record(topic: str, case: Case, timings: list[Timing], why_skipped: str, copy: dict) -> dict:
    """Return all that was measured of a case."""
    return {
        "topic": topic,
        "name": case.name,
        "elements": case.elements,
        "bytes moved": case.moved,
        "skipped": why_skipped,
        "contenders": [_contender(timing, case, copy) for timing in timings],
        "ratios": [_ratio(own, peer) for own in _own(timings) for peer in _peers(own, timings)],
        "targets": _targets(case, timings),
    }


def as_table(records: list[dict]) -> str:
    """Return one line for every case and number of threads, and one for every target."""
    lines = [line for each in records for line in _lines(each)]
    return tabulate(lines, HEADERS, disable_numparse=True, colalign=("left", *["right"] * 8))


def _contender(timing: Timing, case: Case, copy: dict) -> dict:
    speed = case.moved / timing.best / 1e9
    return {
        "name": timing.contender,
        "library": timing.library,
        "threads": timing.threads,
        "seconds": timing.seconds,
        "best": timing.best,
        "median": timing.median,
        "GB/s": speed,
        "of copy": speed / copy[str(timing.threads or 1)],
    }


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


def _targets(case: Case, timings: list[Timing]) -> list[dict]:
    own = max(_own(timings), key=lambda timing: timing.threads, default=None)
    targets = []
    for target in case.targets:
        result = {"target": str(target), "limit": target.limit, "threads": None, "value": None}
        result |= {"rounds": [], "met": None}
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
            lines.append([
                each["name"], f"{each['elements']:,}", str(own["threads"]),
                f"{1e3 * own['best']:.3g}", f"{1e3 * own['median']:.3g}",
                f"{own['GB/s']:.3g}", f"{own['of copy']:.2f}",
                _fastest(ratios, "np"), _fastest(ratios, "reference"), _fastest(ratios, "numpy"),
                _fastest(ratios, "torch") if torch else "not installed", _others(ratios), "",
            ])  # fmt: skip
    if each["skipped"]:
        lines.append([each["name"], *[""] * 11, f"skipped: {each['skipped']}"])
    for target in each["targets"]:
        threads = str(target["threads"] or "")
        lines.append([f"> {target['target']}", "", threads, *[""] * 9, _verdict(target)])
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
    others = [r for r in ratios if r["library"] not in ("np", "reference", "numpy", "torch")]
    return ", ".join(f"{ratio['best']:.3g} {ratio['to']}" for ratio in others)
