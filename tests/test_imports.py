"""Imports run down the table of areas, stand at the top of a file, and form no circle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyfq"
# Each may import itself and what stands before it.
ORDER = (
    "errors", "_native", "_core", "arrays", "formats", "products", "networks", "learning", "io",
    "exchange", "recipes", "reference", "", "plot", "cli",
)  # fmt: skip
# Bytes and names are the affair of none but those that say so.
ONLY = {"io": {"errors", "_native", "_core", "io"}}
AREAS = ("io", "exchange", "recipes", "cli")
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
}


def area_of(module):
    return [*module.split("."), ""][1]


def imports_of(module):
    """Yield each module of pyfq that one imports, and whether it does so in a function."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    checked = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    at_top = set(tree.body)
    for node in ast.walk(tree):
        if node in checked:
            continue
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            names = [f"{base}.{alias.name}" for alias in node.names]
            found = [name if name in FILES else base for name in names]
        else:
            continue
        for name in found:
            if name in FILES:
                yield name, node not in at_top


def modules_of(area):
    return [module for module in FILES if area_of(module) == area]


@pytest.mark.parametrize("area", AREAS)
def test_imports_run_down(area):
    may = ONLY.get(area, set(ORDER[: ORDER.index(area) + 1]))
    found = [(module, name) for module in modules_of(area) for name, _ in imports_of(module)]
    assert found
    assert [(module, name) for module, name in found if area_of(name) not in may] == []


@pytest.mark.parametrize("area", AREAS)
def test_no_import_of_ours_hides_in_a_function(area):
    modules = modules_of(area)
    assert [(m, name) for m in modules for name, hidden in imports_of(m) if hidden] == []


@pytest.mark.parametrize("area", AREAS)
def test_imports_form_no_circle(area):
    # A package itself gathers the names of its modules, which import each other, not the package.
    modules = modules_of(area)
    graph = {m: {name for name, _ in imports_of(m) if name in modules} for m in modules}
    assert [*TopologicalSorter(graph).static_order()]


def test_import_pyfq_loads_what_is_lazy_on_first_use():
    code = """if True:
        import sys
        import pyfq
        late = ("pyfq.io", "pyfq.exchange", "pyfq.recipes", "pyfq.plot", "pyfq.cli")
        print([module for module in sys.modules if module.startswith(late)])
        names = set(pyfq.__all__) | {"io", "plot", "recipes"}
        print(sorted(names - set(dir(pyfq))), [name for name in names if not hasattr(pyfq, name)])
        print(hasattr(pyfq, "no_such"), pyfq.from_onnx is pyfq.exchange.from_onnx)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[] []", "False True"]
