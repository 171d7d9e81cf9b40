"""What is shipped: the sdist, the wheel made from it, and every other way to build the same tree.

Builds are made once for all tests, from a clone in which the working tree is committed. Tests of
wheels and of editable installs, which take minutes to build, are marked thorough.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import pyfq

if pyfq.show_config(mode="dict")["build type"] == "debug":
    pytest.skip("makes builds of its own", allow_module_level=True)

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))
PATH = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)])

AS_IT_IS = ("--no-build-isolation", "--no-deps")

# What ends a word or a path somewhere: for shells, compilers, linkers, ninja, f2py, pip.
PATH_OF_ODD_CHARACTERS = "a b:c'd\"e,é;&$x%(1)"

QUANTIZE = """
import numpy as np, pyfq
w = np.random.default_rng(0).standard_normal((999, 1001), np.float32)
assert pyfq.quantize(w, 8).error(w).sqnr > 30
print("works")
"""


def lacks(*tools):
    """Return the mark that skips a test where a command or a module is not there."""
    missing = [t for t in tools if not (shutil.which(t, path=PATH) or importlib.util.find_spec(t))]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} (make oracles)")


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into ELF files"),
    lacks("git", "gfortran", "ninja", "mesonpy"),
]
needs_build = lacks("build")
needs_auditwheel = lacks("build", "auditwheel", "patchelf", "readelf")


def run(*command, cwd=None, expect=0, **environment):
    """Return what a command writes."""
    process = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": PATH, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert process.returncode == expect, f"{' '.join(map(str, command))}\n{process.stdout}"
    return process.stdout


def pip_install(python, *arguments, **environment):
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", *arguments, **environment)


def build_in(folder, *options):
    """Return the arguments that make pip and build keep the build, with options for meson."""
    return f"-Cbuild-dir={folder}", *(f"-Csetup-args={option}" for option in options)


def empty_venv(folder):
    """Return the interpreter of a new virtual environment with nothing in it."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def borrowing_venv(folder):
    """Return the interpreter of one that finds, after its own, what is installed here."""
    python = empty_venv(folder)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    borrowed = folder / "borrowed, with a path to quote"
    borrowed.symlink_to(sysconfig.get_path("purelib"))
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    return python


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a repository that holds the working tree, committed, as an sdist wants it."""
    folder = tmp_path_factory.mktemp("tree")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    author = ("-c", "user.name=test", "-c", "user.email=test@test")
    run("git", *author, "commit", "--quiet", "--no-gpg-sign", "--message=test", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tree, tmp_path_factory):
    """Return the source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, tree)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def built(sdist, tmp_path_factory):
    """Return a folder with `source`, unpacked from the sdist, its `build` and its `*.whl`."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        # Pythons before 3.11.4 have no filter.
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **safe)
    source = next(folder.iterdir()).rename(folder / "source")
    options = ("--no-isolation", *build_in(folder / "build"), "--outdir", folder)
    run(sys.executable, "-m", "build", "--wheel", *options, source)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Return the interpreter of an environment with the wheel and what that requires."""
    python = empty_venv(tmp_path_factory.mktemp("installed") / "venv")
    pip_install(python, next(built.glob("*.whl")))
    return python


@pytest.fixture(scope="module")
def repaired(built):
    """Return the wheel for other machines."""
    folder = built / "repaired"
    run("auditwheel", "repair", "--wheel-dir", folder, next(built.glob("*.whl")))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def editable(tree, tmp_path_factory):
    """Return interpreter and source of an editable install of the variant for this machine.

    Where both have a path that is hard to quote.
    """
    source = shutil.copytree(tree, tmp_path_factory.mktemp("editable") / PATH_OF_ODD_CHARACTERS)
    python = borrowing_venv(source.parent / "venv")
    options = build_in(source.parent / f"build {PATH_OF_ODD_CHARACTERS}", "-Disa=native")
    pip_install(python, *AS_IT_IS, "--editable", source, *options)
    return python, source


@needs_build
def test_sdist_holds_what_is_committed(tree, sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if name.count("/")}
    committed = set(run("git", "ls-files", cwd=tree).split())
    assert names - {"PKG-INFO"} >= committed
    assert {name for name in names if Path(name).suffix} - {"PKG-INFO"} <= committed


@pytest.mark.thorough
@needs_build
def test_wheel_holds_the_package_and_nothing_else(built):
    source = built / "source" / "pyfq"
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "pyfq", "_pyfq_command.py"
    }  # fmt: skip
    python = {f"pyfq/{path.relative_to(source)}" for path in source.rglob("*.py")}
    generated = {"pyfq/_native/_build.py", "_pyfq_command.py"}
    assert {name for name in names if name.endswith(".py")} == python | generated
    suffixes = {Path(name).suffix for name in names if name.startswith("pyfq/")}
    assert suffixes <= {".py", ".pyi", ".typed", ".so"}, suffixes


@pytest.mark.thorough
@needs_build
def test_wheel_works_in_an_empty_environment(installed, tmp_path):
    assert run(installed, "-c", QUANTIZE, cwd=tmp_path).strip() == "works"
    assert (installed.parent / "pyfq").is_file()


@pytest.mark.thorough
@needs_auditwheel
def test_wheel_works_without_compiler_or_libgfortran(repaired, installed, tmp_path):
    pip_install(installed, "--no-deps", "--force-reinstall", repaired)
    assert run(installed, "-c", QUANTIZE, cwd=tmp_path, PATH="/nonexistent").strip() == "works"

    with zipfile.ZipFile(repaired) as archive:
        archive.extractall(tmp_path)
        bundled = re.findall(r"\.libs/(\w+)", "\n".join(archive.namelist()))
    assert bundled == ["libgomp"]
    for module in tmp_path.rglob("*.so"):
        needed = set(re.findall(r"NEEDED.*\[(\w+)", run("readelf", "-d", module)))
        assert needed <= {"libgomp", "libc", "libm", "libgcc_s", "ld"}, module.name


@pytest.mark.thorough
@needs_auditwheel
def test_wheel_is_small(repaired):
    assert repaired.stat().st_size < 4_000_000


@pytest.mark.thorough
@needs_build
@lacks("nm")
def test_modules_export_nothing_but_their_init(built):
    modules = list((built / "build").rglob("*.so"))
    assert len(modules) > 1
    for module in modules:
        names = re.findall(r" [A-Z] (\w+)", run("nm", "--dynamic", "--defined-only", module))
        assert names == [f"PyInit_{module.name.partition('.')[0]}"]


@pytest.mark.thorough
@needs_build
@lacks("nm")
def test_kernels_have_no_writable_data(built):
    """All threads would share it.  What describes a type lies there too, but is not written."""
    archives = list((built / "build").rglob("libfq_*.a"))
    assert archives
    for archive in archives:
        names = re.findall(r" [BbCDdSs] (\S+)", run("nm", archive))
        assert [n for n in names if not re.search("___(vtab|def_init)_", n)] == [], archive.name


@pytest.mark.thorough
@needs_build
def test_modules_need_no_gil(built):
    modules = list((built / "build").rglob("_isa_*module.c"))
    assert modules
    assert all("Py_MOD_GIL_NOT_USED" in module.read_text() for module in modules)


@pytest.mark.thorough
def test_editable_follows_an_included_text(editable, tmp_path):
    python, source = editable
    text = source / "fortran" / "inline" / "fq_order.inc"
    assert run(python, "-c", QUANTIZE, cwd=tmp_path).strip() == "works"

    before = text.read_text()
    text.write_text(f"{before}\n  this is no Fortran\n")
    assert "ImportError" in run(python, "-c", QUANTIZE, cwd=tmp_path, expect=1)

    text.write_text(before)
    assert run(python, "-c", QUANTIZE, cwd=tmp_path).strip().endswith("works")


@pytest.mark.thorough
def test_native_is_one_variant(editable, tmp_path):
    said = run(editable[0], "-c", "import pyfq; pyfq.show_config()", cwd=tmp_path)
    assert re.search(r"^isas built +native$", said, re.M)
    for kind, contract in (("exact", "off"), ("fast", "fast")):
        flags = rf"^{kind} flags, native .*-ffp-contract={contract} .*-march=native"
        assert re.search(flags, said, re.M)


@pytest.mark.thorough
def test_a_routine_that_the_kernels_lack_fails_the_build(editable, tmp_path):
    python, source = editable
    signatures = source / "fortran" / "bindings" / "fq_runtime.pyf"
    before = signatures.read_text()
    last = before[before.rindex("subroutine fq_has_openmp(") :]
    signatures.write_text(f"{before}\n{last.replace('fq_has_openmp', 'fq_nowhere')}")
    said = run(python, "-c", QUANTIZE, cwd=tmp_path, expect=1, MESONPY_EDITABLE_VERBOSE="1")
    assert "fq_nowhere" in said
    assert "ImportError" in said

    signatures.write_text(before)
    assert run(python, "-c", QUANTIZE, cwd=tmp_path).strip().endswith("works")


WRAP = ROOT / "fortran" / "bindings" / "wrap.py"
SIGNATURE = """subroutine fq_{name}(length, x, info)
  intent(c) fq_{name}
  threadsafe
  integer(8), intent(c, hide), depend(x) :: length = shape(x, 0)
  real(4), intent(c, in), check(EXACT(x, NPY_FLOAT32, 1)), dimension(length) :: x
  integer(4), intent(out) :: info
end subroutine fq_{name}
"""


@pytest.mark.parametrize(
    "includes, missing",
    [
        ("include 'here.pyf'\ninclude 'there.pyf'\n", None),
        ("include 'here.pyf'\n", "EXACT(x, NPY_FLOAT32, 1), fq_there"),
        ("include 'here.pyf'\ninclude 'elsewhere.pyf'\n", "EXACT(x, NPY_FLOAT32, 1), fq_there"),
    ],
)
def test_a_wrapper_that_lacks_a_routine_fails_the_build(tmp_path, includes, missing):
    """f2py leaves out an include that it does not find, and ends with status 0."""
    for name in ("here", "there"):
        (tmp_path / f"{name}.pyf").write_text(SIGNATURE.format(name=name))
    variant = (ROOT / "fortran" / "_native.pyf.in").read_text()
    variant = variant.replace("@module@", "_isa_some").replace("@includes@", includes)
    (tmp_path / "_isa_some.pyf").write_text(variant)
    files = ("_isa_some.pyf", "./_isa_somemodule.c", "here.pyf", "there.pyf")
    said = run(sys.executable, WRAP, *files, cwd=tmp_path, expect=1 if missing else 0)
    assert said == "" if missing is None else said.endswith(f"left out of {files[1]}: {missing}\n")
    assert (tmp_path / "_isa_somemodule.c").exists() == (missing is None)


def test_a_build_without_compiler_says_where_there_is_one(tree, tmp_path):
    said = run("meson", "setup", tmp_path / "build", tree, expect=1, FC="gfortran-0")
    assert (ROOT / ".make" / "compilers.txt").read_text() in said


@pytest.mark.thorough
def test_without_openmp(tree, tmp_path):
    python = borrowing_venv(tmp_path / "venv")
    options = ("-Dopenmp=disabled", "-Disa=native")
    (scratch := tmp_path / "of files").mkdir()
    build = build_in(tmp_path / "build", *options)
    pip_install(python, *AS_IT_IS, tree, *build, TMPDIR=scratch)
    # The source tree may be one that only others write to.
    assert run("git", "status", "--porcelain", "--ignored", cwd=tree) == ""
    script = """
import pyfq
assert not pyfq.show_config(mode="dict")["openmp"]
assert pyfq.get_num_threads() == 1
pyfq.set_num_threads(2)
assert pyfq.get_num_threads() == 1
"""
    assert run(python, "-c", script + QUANTIZE, cwd=tmp_path).strip() == "works"
    module = next((tmp_path / "build").rglob("_isa_native.*.so"))
    assert "GOMP" not in run("nm", "--dynamic", module)
