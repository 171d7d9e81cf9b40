"""Damaged files: what flips, cuts and edits make of the bytes of a good one, by a seed."""

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

#: What may stand where JSON has a value, as text: wrong types, numbers past every range.
HOSTILE = (
    "null", "true", "false", "0", "-1", "1", "3", "7", "255", "1.5", "-0.0", "1e999", "-1e999",
    "NaN", "Infinity", str(2**31), str(2**63), str(2**64), str(2**70), str(-(2**70)), "9" * 5000,
    '""', '"a"', '"\\u0000"', '"\\ud800"', '"../x"', '"nm"', '"csr"', '"tensor"', '"F32"', '"BF16"',
    '"U8"', "[]", "[0]", "[-1]", "[1, 2]", f"[{2**62}, 2]", "[null]", '["a"]', "[[1]]", "{}",
    '{"a": 1}', '{"a": 1, "a": 2}', "[" * 100_000, "[" * 300 + "]" * 300, '"' + "x" * 10**5 + '"',
)  # fmt: skip

_MARK = "\x00%d\x00"


def damaged(data: bytes, suffix: str, rng: random.Random, others: list[bytes]) -> bytes:
    """Return other bytes than `data`: edited as its format is, or as any file can be damaged."""
    edits = _EDITS.get(suffix, _as_text)
    if rng.random() < 0.6:
        return edits(data, rng)
    return rng.choice(_ANY)(data, rng, others)


def _flipped(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    changed = bytearray(data)
    # Headers stand at the beginning of most files, at the end of a zip archive.
    reach = rng.choice([len(data), min(len(data), 200)])
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(reach) if reach else 0
        changed[at : at + 1] = bytes([rng.choice([0, 255, rng.randrange(256)])])
    return bytes(changed)


def _cut(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _longer(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 8, 300])) + data[at:]


def _zeroed(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    at, n = rng.randrange(len(data) + 1), rng.choice([1, 8, 64, 10**6])
    return data[:at] + bytes(len(data[at : at + n])) + data[at + n :]


def _other(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    return rng.choice([b"", b"\n", b"<html></html>", *others])


_ANY = (_flipped, _flipped, _cut, _longer, _zeroed, _other)


def _as_json(text: bytes, rng: random.Random) -> bytes:
    """Return JSON with a value, somewhere in it, that is another, missing, or there twice."""
    value = json.loads(text)
    places = list(_places(value))
    marked = []
    for _ in range(rng.choice([1, 1, 2])):
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.15 and isinstance(holder, dict):
            holder.pop(key, None)
        elif kind < 0.3 and isinstance(holder, dict) and key in holder:
            holder[rng.choice(["", "x", "weight", key + "x"])] = holder.pop(key)
        elif isinstance(holder, list) or key in holder:
            mark = _MARK % len(marked)
            marked.append((json.dumps(mark), rng.choice(HOSTILE)))
            holder[key] = mark
    text = json.dumps(value)
    for mark, hostile in marked:
        text = text.replace(mark, hostile)
    if rng.random() < 0.05:
        text = text.replace("{", '{"twice": 1, "twice": 2, ', 1)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Any:
    """Yield every holder and key in JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _as_lines_of_json(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    kind = rng.random()
    if kind < 0.2:
        lines[at] = rng.choice(HOSTILE).encode()
    elif kind < 0.3:
        del lines[at]
    elif kind < 0.4:
        lines.insert(at, rng.choice(lines))
    else:
        lines[at] = _guarded(_as_json)(lines[at], rng)
    return b"\n".join(lines) + b"\n"


def _as_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Return a file whose header is edited, or the JSON in an entry of its metadata."""
    (n,) = struct.unpack("<Q", data[:8])
    text, rest = data[8 : 8 + n], data[8 + n :]
    metadata = json.loads(text).get("__metadata__", {})
    inner = [key for key, said in metadata.items() if said[:1] in ("{", "[")]
    if inner and rng.random() < 0.7:
        key = rng.choice(inner)
        edited = _as_json(metadata[key].encode(), rng).decode("utf-8", "surrogatepass")
        header = json.loads(text)
        header["__metadata__"][key] = edited
        text = json.dumps(header).encode()
    else:
        text = _as_json(text, rng)
    return struct.pack("<Q", len(text)) + text + rest


_SHAPES = ("()", "(0,)", "(-1, 4)", "(4,)", f"({2**62}, 4)", "(10**9, 4)", "(1e9,)", "None", "[4]")
_DESCRS = (
    "'|O'", "'<f2'", "'>f4'", "'<f8'", "'<c8'", "'<U7'", "'|S3'", "'|V4'", "'<M8[s]'", "'|b1'",
    "[('a', '<f4')]", "'<f4,<f4'", "'zz'", "3", "None", f"'<U{2**40}'",
)  # fmt: skip


def _as_npy(data: bytes, rng: random.Random) -> bytes:
    """Return an array whose header says something else of the same data."""
    n = int.from_bytes(data[8:10], "little")
    header = data[10 : 10 + n].decode("latin-1").rstrip()
    fields = {"descr": _DESCRS, "shape": _SHAPES, "fortran_order": ("True", "1", "None")}
    key = rng.choice([*fields, "shape"])
    before, _, after = header.partition(f"'{key}': ")
    end = after.index(")") + 1 if key == "shape" else after.index(",")
    header = f"{before}'{rng.choice([key, key, key, key, 'x'])}': "
    header += f"{rng.choice(fields[key])}{after[end:]}"
    text = header.encode("latin-1") + b" " * (-(len(header) + 11) % 64) + b"\n"
    return data[:8] + struct.pack("<H", len(text)) + text + data[10 + n :]


def _as_npz(data: bytes, rng: random.Random) -> bytes:
    """Return an archive with a member that is another, missing, there twice, or deflated."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    kind = rng.random()
    if kind < 0.6:
        members[at] = (name, _guarded(_as_npy)(content, rng))
    elif kind < 0.7:
        members[at] = (name, _ANY[rng.randrange(5)](content, rng, []))
    elif kind < 0.8:
        members[at] = (rng.choice(["x.npy", "Y.npy", "a.txt", "", "../x.npy", "pyfq.npy"]), content)
    elif kind < 0.9:
        del members[at]
    else:
        members.append(members[at])
    out = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


_WORDS = (
    "", "-1", "0", "3", "1e999", "nan", "inf", "-inf", "true", '"a"', "[]", "[1]", "{}", '{a=1}',
    str(2**31), str(2**63), str(2**70), "9" * 5000, "[" * 5000, '"' + "x" * 10**5 + '"', "\x00",
    "1979-05-27", "é", "1_000", '"""', "=", ",", "\n", '"nf4"', "'2:4'", "0x10",
)  # fmt: skip


def _as_text(data: bytes, rng: random.Random) -> bytes:
    """Return text with a word, somewhere in it, that is another or missing."""
    words = data.decode("utf-8", "replace").replace(",", " , ").split(" ")
    for _ in range(rng.choice([1, 1, 2])):
        words[rng.randrange(len(words))] = rng.choice(_WORDS)
    return " ".join(words).replace(" , ", ",").encode()


def _guarded(edit: Callable[[bytes, random.Random], bytes]) -> Callable:
    """Return an edit that leaves what it cannot read."""

    def guarded(data: bytes, rng: random.Random) -> bytes:
        try:
            return edit(data, rng)
        except (ValueError, KeyError, IndexError, struct.error):
            return data[::-1]

    return guarded


_EDITS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": _guarded(_as_json),
    ".journal": _guarded(_as_lines_of_json),
    ".safetensors": _guarded(_as_safetensors),
    ".npy": _guarded(_as_npy),
    ".npz": _guarded(_as_npz),
    ".onnx": lambda data, rng: _flipped(data, rng, []),
}
