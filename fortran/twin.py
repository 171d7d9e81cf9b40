"""Write the sources that the compiler gets: a text, once for each kind.

    twin.py DEPFILE TEXT OUTPUT...

A text is one complete source for its first kind, float32 or 8 bits. An output whose name ends in
``_real64``, ``_int16``, ``_int32`` or ``_int64`` is the same text with the names of that kind in
place of those; any other output is the text as it is. Lines stay where they are, and the compiler's
messages name the text. DEPFILE gets the files that the text includes, of which gfortran tells
nobody.
"""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = {
    "_real64": {
        "real32": "real64",
        "_f32": "_f64",
        "wp => sp": "wp => dp",
        "ip => i32": "ip => i64",
        "ik => i32": "ik => i64",
    },
    "_int16": {"int8": "int16", "_i8": "_i16", "ik => i8": "ik => i16"},
    "_int32": {"int8": "int32", "_i8": "_i32", "ik => i8": "ik => i32"},
    "_int64": {"int8": "int64", "_i8": "_i64", "ik => i8": "ik => i64"},
}


def included(text: str) -> set[Path]:
    """Return the files that a text includes, and those that these do."""
    found = set()
    for name in re.findall(r"^\s*include '([^']+)'", text, re.M):
        path = next(HERE / d / name for d in ("tiles", "inline") if (HERE / d / name).is_file())
        found |= {path} | included(path.read_text())
    return found


def twin(text: str, name: str) -> str:
    """Return a text for the kind that the name of an output ends in."""
    for ending, words in KINDS.items():
        if name.endswith(ending):
            for word, other in words.items():
                text = text.replace(word, other)
    return text


def write(output: Path, text: str, files: set[Path]) -> None:
    """Write an output, unless it is the same and newer than all files that it includes.

    Then ninja compiles nothing that depends on it.
    """
    if output.is_file() and output.read_text() == text:
        time = output.stat().st_mtime_ns
        if all(file.stat().st_mtime_ns < time for file in files):
            return
    output.write_text(text)


def escaped(path: Path) -> str:
    """Return a path as it stands in a depfile."""
    return re.sub(r"([ #\\])", r"\\\1", os.path.relpath(path)).replace("$", "$$")


def main(depfile: str, source: str, *outputs: str) -> None:
    """Write all outputs, then the depfile."""
    text = Path(source).read_text()
    name = Path(source).resolve().relative_to(HERE.parent).as_posix()
    files = included(text)
    for output in map(Path, outputs):
        write(output, f'# 1 "{name}"\n' + twin(text, output.stem), files)
    Path(depfile).write_text(f"{' '.join(outputs)}: {' '.join(map(escaped, sorted(files)))}\n")


main(*sys.argv[1:])
