"""Every topic has one home in each layer, under the same name; Fortran modules use lower ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fortran_sources import write_sources

ROOT = Path(__file__).parents[1]
BUILD = (ROOT / "fortran/meson.build").read_text()
# The area of each topic; and the topics that formats make, which have no kernel of their own.
AREAS, MADE_OF_FORMATS = {}, []
for table, lines in re.findall(r"(\w+)_topics = \{(.*?)\}", BUILD, re.S):
    for area, topic in re.findall(r"^  '(\w+)/(\w+)': ", lines, re.M):
        AREAS[topic] = area
        if table == "format":
            MADE_OF_FORMATS.append(topic)
BINDING = "fortran/bindings/fq_{topic}_c.f90"
KERNELS = {
    topic: BINDING.format(topic=topic)
    if topic in MADE_OF_FORMATS
    else f"fortran/{area}/fq_{topic}.f90"
    for topic, area in AREAS.items()
}
HOMES = [
    BINDING,
    "fortran/bindings/fq_{topic}.pyf",
    "pyfq/{area}/{topic}.py",
    "pyfq/reference/{area}/{topic}.py",
    "tests/{area}/test_{topic}.py",
    "benchmarks/{area}/bench_{topic}.py",
    "docs/reference/{area}/{topic}.md",
]


def test_topics_are_found():
    assert AREAS["prune"] == "arrays"
    assert AREAS["linear"] == "products"
    assert "prune" not in MADE_OF_FORMATS
    assert "linear" in MADE_OF_FORMATS


@pytest.mark.parametrize("topic", AREAS)
@pytest.mark.parametrize("home", HOMES)
def test_every_topic_has_its_home(topic, home):
    assert (ROOT / home.format(area=AREAS[topic], topic=topic)).is_file()


@pytest.mark.parametrize("topic", AREAS)
def test_every_kernel_names_its_homes(topic):
    assert (ROOT / f"fortran/{AREAS[topic]}/fq_{topic}.f90").is_file() == (
        topic not in MADE_OF_FORMATS
    )
    source = (ROOT / KERNELS[topic]).read_text()
    assert f"`pyfq/{AREAS[topic]}/{topic}.py`" in source
    assert f"`pyfq/reference/{AREAS[topic]}/{topic}.py`" in source


def test_no_source_is_left_out_of_the_build():
    fortran = ROOT / "fortran"
    found = {path.relative_to(fortran).as_posix() for path in fortran.glob("*/fq_*.f90")}
    bindings = {name for name in found if name.startswith("bindings/")}
    assert bindings == {f"bindings/fq_{topic}_c.f90" for topic in [*AREAS, "runtime"]}
    parts = re.findall(r"^(?:fast_parts = \{|  )'(\w+)/(\w+)': ", BUILD, re.M)
    named = {f"{area}/fq_{name}.f90" for area, name in parts if name not in MADE_OF_FORMATS}
    assert found - bindings == named


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("fortran/**/*.[fi][9n][0c]")), ids=lambda p: p.name
)
def test_kernels_keep_no_state_and_never_stop(path):
    code = "\n".join(line.split("!")[0] for line in path.read_text().lower().splitlines())
    statements = r"^\s*(save|common|go ?to|print|error stop|stop|dimension|submodule)\b"
    if path.parent == ROOT / "fortran/preconditions/debug":  # which ends a program that breaks one
        code = code.replace("error stop precondition", "")
    assert not re.findall(statements, code, re.M)
    assert not re.findall(r"^\s*(write|read)\s*[(*]", code, re.M)
    assert not re.findall(r"\b(error stop|kind=8|real\*\d|dimension\s*\()", code)
    # The weights of a network are arrays of several types in one block of memory.
    casters = ("fq_network", "fq_forward_static", "fq_ends")
    areas = ("formats", "products")
    assert "c_f_pointer" not in code or path.parent.name in areas or path.stem in casters
    if path.suffix == ".f90":
        assert "private" in code


@pytest.mark.parametrize("path", sorted(ROOT.glob("fortran/**/*.inc")), ids=lambda p: p.name)
def test_included_texts_keep_to_100_columns(path):
    """Fortitude does not read them."""
    assert [line for line in path.read_text().splitlines() if len(line) > 100] == []


def test_included_texts_are_tiles_and_short_procedures():
    for path in ROOT.glob("fortran/inline/*.inc"):
        code = path.read_text()
        for body in re.findall(r"^  pure .*?^  end \w+ \w+$", code, re.M | re.S):
            assert len(body.splitlines()) <= 17, path.name
    assert {path.parent.name for path in ROOT.glob("fortran/**/*.inc")} == {"tiles", "inline"}


def test_twins_have_the_lines_of_their_text(tmp_path):
    for source in write_sources(tmp_path):
        if source.parent != tmp_path:
            continue
        mark, *lines = source.read_text().splitlines()
        text = ROOT / re.match(r'# 1 "(.*)"$', mark)[1]
        assert len(lines) == len(text.read_text().splitlines())
        if source.stem.endswith("_real64"):
            assert not re.search(r"real32|_f32|wp => sp", source.read_text())


@pytest.mark.parametrize("topic, includes", [("base/fq_share", False), ("arrays/fq_prune", True)])
def test_a_twin_is_written_again_only_if_something_changed(tmp_path, topic, includes):
    output = tmp_path / f"{topic[topic.index('/') + 1 :]}.f90"
    command = [sys.executable, "fortran/twin.py", tmp_path / "d", f"fortran/{topic}.f90", output]
    subprocess.run(command, check=True, cwd=ROOT)
    text = output.read_text()
    os.utime(output, (1, 1))
    subprocess.run(command, check=True, cwd=ROOT)
    # Older than what it includes, of which only the compiler knows whether it changed.
    assert (output.stat().st_mtime > 1) == includes
    output.write_text(text + "end")
    subprocess.run(command, check=True, cwd=ROOT)
    assert output.read_text() == text


SOURCES = sorted((ROOT / "fortran").rglob("*.f90"))
# From the bottom to the top: a module uses those of its own area and of those before it.
ORDER = (
    "base",
    "preconditions",
    "arrays",
    "registers",
    "tiles",
    "formats",
    "products",
    "networks",
    "learning",
    "bindings",
)
MOST_ARGUMENTS = 12


def area_of(path):
    """Return the area that a Fortran source lies in."""
    return path.relative_to(ROOT / "fortran").parts[0]


def procedures(path):
    """Return the procedures that a source defines or declares: their names and arguments."""
    code = re.sub(r"&\s*\n\s*", "", path.read_text())
    heads = re.findall(r"^ *(?:\w+ )*?(?:subroutine|function) (\w+)\((.*?)\)", code, re.M)
    return {name: re.findall(r"\w+", arguments) for name, arguments in heads}


def used_by(path):
    """Return the modules of pyfq that a source uses."""
    return set(re.findall(r"^ *(?:!\$ )?use (fq_\w+)", path.read_text(), re.M))


# Of each module that a build compiles, the source.
MODULES = {
    twin: path
    for path in SOURCES
    for module in re.findall(r"^module (\w+)$", path.read_text(), re.M)
    for twin in (module, module.replace("real32", "real64"), module.replace("int8", "int16"))
}


def test_procedures_are_found():
    assert len(procedures(ROOT / "fortran/bindings/fq_matmul_c.f90")["fq_matmul"]) == 19
    assert procedures(ROOT / "fortran/base/fq_activation_kind.f90") == {"is_activation": ["code"]}


def test_only_bindings_have_many_arguments():
    for path in [*SOURCES, *(ROOT / "fortran").rglob("*.inc")]:
        for name, arguments in procedures(path).items():
            assert len(arguments) <= MOST_ARGUMENTS or area_of(path) == "bindings", (path, name)


def test_no_two_modules_have_a_procedure_of_the_same_name():
    """Nor an interface of one that is deferred: types name their own after what they do."""
    homes = {}
    for path in SOURCES:
        for name in procedures(path):
            homes.setdefault(name, set()).add(path.stem)  # one of several is built
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_modules_use_those_of_lower_areas(path):
    lower = ORDER[: ORDER.index(area_of(path)) + 1]
    for module in used_by(path):
        assert area_of(MODULES[module]) in lower, module


def test_no_module_uses_itself_in_a_circle():
    done, way = set(), []

    def follow(path):
        assert path not in way, " -> ".join(one.stem for one in [*way[way.index(path) :], path])
        if path not in done:
            way.append(path)
            for module in sorted(used_by(path)):
                follow(MODULES[module])
            done.add(way.pop())

    for path in SOURCES:
        follow(path)


BOUND = [path for path in SOURCES if area_of(path) == "bindings"]


@pytest.mark.parametrize("path", BOUND, ids=lambda path: path.stem)
def test_signatures_name_the_arguments_of_bindings(path):
    signature = path.with_name(f"{path.stem.removesuffix('_c')}.pyf").read_text()
    written = {
        name.removesuffix("_@kind@"): re.findall(r"\w+", arguments)
        for name, arguments in re.findall(r"^subroutine (\S+?)\((.*)\)$", signature, re.M)
    }
    assert written
    bound = procedures(path)
    assert written == {name: bound[name] for name in bound if name.startswith("fq_")}


@pytest.mark.parametrize("path", BOUND, ids=lambda path: path.stem)
def test_bindings_say_what_each_argument_is(path):
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r" *(pure )?(subroutine|function) ", line):
            assert lines[number - 1].lstrip().startswith("!>"), line
        if "intent(" in line:
            assert "!!" in line or lines[number - 1].lstrip().startswith("!>"), line


def test_every_tile_has_its_contract():
    page = (ROOT / "fortran/tiles/README.md").read_text()
    sections = dict(re.findall(r"^## (fq_\w+\.\w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert set(sections) == {p.name for p in ROOT.glob("fortran/tiles/*") if p.suffix != ".md"}
    sources = {path.stem: path.read_text() for path in ROOT.glob("fortran/*/*.f90")}
    for name, section in sections.items():
        users = [stem for stem, text in sources.items() if f"include '{name}'" in text]
        assert all(f"`{stem}" in section for stem in users), name


def test_the_table_of_sizes_is_that_of_the_registers():
    page = (ROOT / "fortran/tiles/README.md").read_text()
    (header,) = re.findall(r"^\| constant \|(.*)\|$", page, re.M)
    folders = [cell.strip() for cell in header.split("|")][:-1]
    assert set(folders) == {path.name for path in ROOT.glob("fortran/registers/*")}
    rows = re.findall(r"^\| `([A-Z_]+)` \|(.*)\|$", page, re.M)
    table = {name: [cell.strip() for cell in cells.split("|")][:-1] for name, cells in rows}
    for i, folder in enumerate(folders):
        module = (ROOT / f"fortran/registers/{folder}/fq_registers.f90").read_text()
        sizes = dict(re.findall(r"\b([A-Z_]+) = (-?\w+)", module))
        assert sizes == {name: cells[i] for name, cells in table.items()}
