"""Modules lie in areas, and use what lies in lower ones: nothing imports upwards or in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyfq"
# From the bottom to the top: a module imports from its own area and from those before it. `io`
# comes early, because it uses no arithmetic: it knows bytes, names and arrays.
ORDER = (
    "base",
    "io",
    "arrays",
    "reference",
    "formats",
    "products",
    "networks",
    "learning",
    "exchange",
    "recipes",
    "plot",
    "pyfq",
    "cli",
)
# Areas of modules that their folder does not tell; `pyfq` gathers what is public.
OTHERS = {"_core": "base", "_native": "base", "errors": "base", "__main__": "cli"}

# Libraries that a user need not have: what needs them imports them when it is called.
OPTIONAL = {"matplotlib", "onnx", "google", "sklearn", "torch"}
# Libraries that some commands show results with; the others need not wait 30 ms for them.
OF_A_COMMAND = {"tabulate", "tqdm"}
# What else functions import: files of observers, so that programs without files do not wait 16 ms;
# students, which are estimators of scikit-learn and need it.
LATE = {
    ("pyfq.arrays.observer", "pyfq.io"), ("pyfq.arrays.observer", "pyfq.io.strict_json"),
    ("pyfq.exchange.sklearn", "pyfq.learning.estimators"),
}  # fmt: skip


def module_names():
    """Return the file of each module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_names()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imported_by(name, tree):
    """Yield the modules that a part of a module imports, wherever it does."""
    package = name.split(".")
    if MODULES[name].stem != "__init__":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in MODULES else source


def area_of(name):
    """Return the area of a module of the package."""
    part = name.split(".")[1] if "." in name else name
    return OTHERS.get(part, part)


USES = {
    name: {used for used in imported_by(name, tree) if used in MODULES} - {name}
    for name, tree in TREES.items()
}


def upward(area):
    """Return what modules of an area import from areas above."""
    rank = ORDER.index
    return [
        (name, used)
        for name in MODULES
        if area_of(name) == area
        for used in USES[name]
        if rank(area_of(used)) > rank(area)
    ]


def hidden(area):
    """Return what functions of an area import, but for libraries that need not be there."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return {
        (name, used)
        for name in MODULES
        if area_of(name) == area
        for node in ast.walk(TREES[name])
        if isinstance(node, functions)
        for used in imported_by(name, node)
        if used.split(".")[0] not in OPTIONAL | (OF_A_COMMAND if area == "cli" else set())
    }


def test_areas_are_all_there_are():
    assert {area_of(name) for name in MODULES} == set(ORDER)


def test_few_modules_lie_outside_an_area():
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize("area", ORDER)
def test_imports_run_down(area):
    assert not upward(area)


@pytest.mark.parametrize("area", ORDER)
def test_functions_import_nothing_but_optional_libraries(area):
    assert hidden(area) == {each for each in LATE if area_of(each[0]) == area}


def test_no_module_imports_itself_in_a_circle():
    done, path = set(), []

    def follow(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for used in sorted(USES[name]):
                follow(used)
            done.add(path.pop())

    for name in MODULES:
        follow(name)


def test_the_reference_stands_alone():
    """It uses granularities, and ranges that have no kernel; results are made without it."""
    own = {name for name in MODULES if area_of(name) == "reference"}
    assert set().union(*(USES[name] for name in own)) - own <= {
        "pyfq._core.grid", "pyfq.arrays.ranges",
    }  # fmt: skip
    users = {name for name in MODULES if name not in own and USES[name] & own}
    assert {area_of(name) for name in users} == {"pyfq", "cli"}


WORDS = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}


@pytest.mark.parametrize(
    "tree, files, other",
    [
        ("tests", "test_*.py", set()),
        ("pyfq/reference", "*.py", set()),
        ("benchmarks", "bench_*.py", set()),
        ("docs/reference", "*.md", {"base"}),
    ],
)
def test_trees_have_the_same_areas(tree, files, other):
    folders = {path.parent.relative_to(ROOT / tree) for path in (ROOT / tree).rglob(files)}
    words = {folder.as_posix() for folder in folders} - {"."}
    assert words
    assert words <= WORDS | other


def test_tests_of_a_module_lie_in_its_area():
    homes = {}
    for name, path in MODULES.items():
        if path.parent != PACKAGE and "reference" not in path.parts:
            homes.setdefault(path.stem, set()).add(name.split(".")[1])
    found = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "tests"]
    assert found
    for path in found:
        assert path.parent.name in homes.get(path.stem.removeprefix("test_"), {path.parent.name})


def test_import_pyfq_loads_what_is_lazy_on_first_use():
    code = """if True:
        import sys
        import pyfq
        late = ("pyfq.io", "pyfq.exchange", "pyfq.recipes", "pyfq.plot", "pyfq.cli")
        print([module for module in sys.modules if module.startswith(late)])
        estimators = {"StudentClassifier", "StudentRegressor"}
        names = set(pyfq.__all__) | {"io", "plot", "recipes"} | estimators
        print(sorted(names - set(dir(pyfq))), [name for name in names if not hasattr(pyfq, name)])
        print(hasattr(pyfq, "no_such"), pyfq.from_onnx is pyfq.exchange.from_onnx)
        print(sorted(set(dir(pyfq)) - names))
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[] []", "False True", "['__version__']"]
