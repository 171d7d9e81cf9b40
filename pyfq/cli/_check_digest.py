"""Results of the kernels in a file, and what became of them on another machine or in another build.

A digest is a file of JSON lines. The first says what made it::

    {"digest": 1, "pyfq": "0.1.0", "compiler": "gcc 12.2.0", "machine": "x86_64"}

Every other line is a result. One that is the same on every variant is its SHA-256; sums of floats
have a line for each variant, with some of their entries and how far these may be off::

    {"case": "pack: 3 bits in uint8", "sha256": "..."}
    {"case": "matmul: 3 rows float32", "isa": "v4", "sha256": "...", "values": [...],
     "bound": [...]}
"""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyfq
from pyfq._core.check import shown
from pyfq._native import _build
from pyfq.io.atomic import replacing
from pyfq.io.regular import read_regular

VERSION = 1

# Entries of a result that are kept: enough to see an error, few enough to read.
_KEPT = 24


@dataclass(frozen=True)
class Line:
    """A result in a digest.

    Attributes
    ----------
    case : str
        Topic and name of the case.
    sha256 : str
        Hash of types, shapes and bytes of the result; empty if other libraries have a share in its
        bits.
    isa : str or None
        The variant; None for what is the same on every variant.
    values, bound : (kept,) float64
        Entries of a sum of floats, evenly spaced, and how far each may be off.
    """

    case: str
    sha256: str
    isa: str | None = None
    values: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    bound: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Digest:
    """What a file holds: who made it, and its lines by case and variant."""

    made_by: dict[str, Any]
    lines: dict[tuple[str, str | None], Line]


def made_here() -> dict[str, Any]:
    """Return the first line of a digest that is made here."""
    versions = {"digest": VERSION, "pyfq": pyfq.__version__, "compiler": _build.COMPILER}
    return versions | {"machine": platform.machine()}


def exact_line(case: str, result: Any) -> Line:
    """Return the line of a result that is the same everywhere."""
    return Line(case, sha256_of(result))


def float_line(case: str, isa: str, result: Any, bound: NDArray, *, ours: bool) -> Line:
    """Return the line of a result of one variant, whose numbers may be off by `bound`.

    Not `ours` are bits that other libraries have a share in.
    """
    values = flat(result)
    bound = np.broadcast_to(flat(bound), values.shape)
    kept = np.unique(np.linspace(0, max(values.size - 1, 0), _KEPT).astype(int))[: values.size]
    return Line(case, sha256_of(result) if ours else "", isa, values[kept], bound[kept])


def sha256_of(result: Any) -> str:
    """Return the hash of a result: of its types, shapes and bytes, in its order."""
    digest = hashlib.sha256()
    for part in _parts(result):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def write_digest(path: Path, lines: Iterable[Line]) -> None:
    """Write a digest, atomically."""
    with replacing(path) as file:
        for entry in (made_here(), *map(_as_json, lines)):
            file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")


def read_digest(path: Path) -> Digest:
    """Read a digest.

    Raises
    ------
    ValueError
        The file is none, or of another version.
    OSError
        It cannot be read.
    """
    content = read_regular(path)
    try:
        made_by, *entries = map(json.loads, content.decode().splitlines())
        version = made_by["digest"]
        lines = [_read_line(entry) for entry in entries]
    except (ValueError, TypeError, KeyError) as e:
        raise ValueError(f"{path}: not a digest, which pyfq check --digest writes") from e
    if version != VERSION:
        raise ValueError(f"{path}: digest must be of version {VERSION}, not {shown(version)}")
    return Digest(made_by, {(line.case, line.isa): line for line in lines})


def _read_line(entry: Mapping[str, Any]) -> Line:
    numbers = (np.array(entry.get(name, []), np.float64) for name in ("values", "bound"))
    return Line(str(entry["case"]), str(entry["sha256"]), entry.get("isa"), *numbers)


@dataclass(frozen=True)
class Verdict:
    """What became of a result.

    Attributes
    ----------
    case : str
        Topic and name.
    isa : str or None
        The variant.
    kind : str
        "equal"; "near": within its bound, where no more is promised; "differs"; "new": not in the
        file; "gone": only in the file.
    ulps : float
        Where results differ or are near: the largest distance of kept entries, in units of the last
        place of the largest entry, in the precision of float32.
    """

    case: str
    isa: str | None
    kind: str
    ulps: float = 0.0


def compare(now: Iterable[Line], then: Digest) -> Iterator[Verdict]:
    """Yield what became of each result of a digest."""
    same_build = all(then.made_by.get(key) == made_here()[key] for key in ("compiler", "machine"))
    seen = set()
    for line in now:
        seen.add(line.case)
        old = then.lines.get((line.case, line.isa))
        hashed = old is not None and (line.isa is None or same_build) and old.sha256
        if old is None and line.isa is not None:  # of a variant that did not run there
            old = next((other for other in then.lines.values() if other.case == line.case), None)
        yield _verdict(line, old, bool(hashed))
    for case in dict.fromkeys(line.case for line in then.lines.values()):
        if case not in seen:
            yield Verdict(case, None, "gone")


def _verdict(line: Line, old: Line | None, hashed: bool) -> Verdict:
    if old is None:
        return Verdict(line.case, line.isa, "new")
    if line.sha256 and line.sha256 == old.sha256:
        return Verdict(line.case, line.isa, "equal")
    if line.isa is None or old.values.shape != line.values.shape:
        return Verdict(line.case, line.isa, "differs")
    distance = np.abs(line.values - old.values)
    largest = np.float32(np.abs(old.values).max(initial=0))
    ulps = float(distance.max(initial=0) / np.spacing(max(largest, np.finfo(np.float32).tiny)))
    is_near = bool((distance <= line.bound + old.bound).all()) and not hashed
    return Verdict(line.case, line.isa, "near" if is_near else "differs", ulps)


def _as_json(line: Line) -> dict[str, Any]:
    entry: dict[str, Any] = {"case": line.case, "sha256": line.sha256}
    if line.isa is not None:
        bound = [float(f"{x:.2e}") for x in line.bound]
        entry |= {"isa": line.isa, "values": line.values.tolist(), "bound": bound}
    return entry


def _fields(value: Any) -> dict[str, Any]:
    """Return what a frozen object is made of; what it keeps for speed is not part of it."""
    fields = [field.name for field in dataclasses.fields(value)]
    return {name: getattr(value, name) for name in fields if not name.startswith("_")}


def _parts(value: Any) -> Iterator[bytes]:
    """Yield what is hashed of a value, so that no two values yield the same."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        yield f"{array.dtype.str}{array.shape}".encode()
        yield array.tobytes()
    elif isinstance(value, Mapping):
        yield f"mapping of {len(value)}".encode()
        for key, item in value.items():
            yield repr(key).encode()
            yield from _parts(item)
    elif isinstance(value, list | tuple):
        yield f"sequence of {len(value)}".encode()
        for item in value:
            yield from _parts(item)
    elif dataclasses.is_dataclass(value):
        yield type(value).__name__.encode()
        yield from _parts(_fields(value))
    elif isinstance(value, str | int | float | None):
        yield repr(value).encode()
    else:
        raise TypeError(f"a digest holds arrays and numbers, not {type(value).__name__}")


def flat(value: Any) -> NDArray[np.float64]:
    """Return the numbers in the arrays of a value, one behind the other."""
    if isinstance(value, np.ndarray | np.generic | int | float):
        array = np.asarray(value)
        return array.reshape(-1).astype(np.float64) if array.dtype.kind in "biuf" else np.empty(0)
    if dataclasses.is_dataclass(value):
        return flat(_fields(value))
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list | tuple):
        return np.concatenate([np.empty(0), *map(flat, items)])
    return np.empty(0)
