"""The Fortran as the compiler gets it: every text, written once for each of its kinds."""

import re
import subprocess
import sys
from pathlib import Path

FORTRAN = Path(__file__).parents[1] / "fortran"
# Modules of which a build takes one of several.
CHOSEN = {"registers": "sse", "preconditions": "release"}
TEXTS = sorted(path for path in FORTRAN.rglob("*.f90") if path.parent.parent.name not in CHOSEN)
INCLUDES = [f"-I{FORTRAN / folder}" for folder in ("tiles", "inline")]
ENDINGS = {"f32": "_real32", "f64": "_real64"} | {f"i{n}": f"_int{n}" for n in (8, 16, 32, 64)}


def kinds_of(text):
    """Return the kinds that the build compiles a text for."""
    build = (FORTRAN / "meson.build").read_text()
    name = re.sub(r"^fq_(\w+?)(_c)?$", r"\1", text.stem)
    (kinds,) = re.findall(rf"'\w+/(?:fq_)?{name}(?:_c)?': \[(.*?)\]", build)
    return re.findall(r"\w+", kinds)


def write_sources(place, **chosen):
    """Write every source to a directory; return them, each behind those whose modules it uses."""
    sources = []
    for folder, choice in (CHOSEN | chosen).items():
        sources += (FORTRAN / folder / choice).iterdir()
    for text in TEXTS:
        kinds = kinds_of(text)
        endings = [ENDINGS[kind] for kind in kinds] if len(kinds) > 1 else [""]
        outputs = [f"{text.stem}{ending}.f90" for ending in endings]
        command = [sys.executable, FORTRAN / "twin.py", f"{text.stem}.d", text, *outputs]
        subprocess.run(command, check=True, cwd=place)
        sources += [place / output for output in outputs]
    return in_order(sources)


def in_order(paths):
    """Return Fortran files so that each comes behind those whose modules it uses."""
    texts = {path: path.read_text() for path in paths}
    homes = {
        module: path
        for path in paths
        for module in re.findall(r"^module (\w+)$", texts[path], re.M)
    }
    done = []

    def add(path):
        for module in re.findall(r"^ *(?:!\$ )?use (\w+)", texts[path], re.M):
            if homes.get(module, path) is not path:
                add(homes[module])
        if path not in done:
            done.append(path)

    for path in paths:
        add(path)
    return done
