"""Ctrl-C while the command starts."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

STARTS = {"script": ["-P", find_spec("_pyfq_command").origin], "module": ["-P", "-m", "pyfq"]}
PACKAGE = os.path.dirname(find_spec("pyfq").origin)  # noqa: PTH120
OURS = (STARTS["script"][-1], PACKAGE)
# ``-m pyfq`` imports the package itself, whose first line finds the module that takes care.
FIRST = {f"{PACKAGE}/{name}" for name in ("__init__.py", "_core/__init__.py", "_core/command.py")}
FILE = re.compile(r'File "([^"]*)", line')
# Killed by the signal, or 130 after a line that says so.
INTERRUPTED = (-signal.SIGINT, 130)


def begun(start, *words, **environment):
    return subprocess.Popen(
        [sys.executable, *STARTS[start], *words],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("module", ["numpy", "argparse", "tqdm"])
def test_an_interrupt_of_an_import_is_no_traceback(tmp_path, start, module):
    """A module of that name comes first on the path, and interrupts whoever imports it."""
    (tmp_path / f"{module}.py").write_text("import os\nos.kill(os.getpid(), 2)\nimport time\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    process = begun(start, "check", "pack", PYTHONPATH=path)
    said = "".join(process.communicate())
    assert process.returncode in INTERRUPTED, said
    assert said == ("" if process.returncode < 0 else "pyfq check: interrupted\n")


def test_an_interrupt_at_any_moment_is_no_traceback():
    for start in STARTS:
        for i in range(20):
            process = begun(start, "check", "pack")
            time.sleep(0.025 * i)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            if "Traceback" in err:  # of Python's own start, which nobody can help
                late = [file for file in FILE.findall(err) if file not in FIRST]
                assert not any(file.startswith(OURS) for file in late), (i, err)
            else:
                assert process.returncode in INTERRUPTED or (process.returncode == 0 and out)


def test_a_command_that_ignores_interrupts_goes_on_ignoring_them(tmp_path):
    """As ``nohup`` and the background of a shell script have it."""
    (tmp_path / "numpy.py").write_text("import os\nos.kill(os.getpid(), 2)\nraise SystemExit(7)\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    for start in STARTS.values():
        process = subprocess.run(
            [sys.executable, *start, "info"],
            env=os.environ | {"PYTHONPATH": path},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            check=False,
        )
        assert process.returncode == 7


def test_importing_the_package_leaves_interrupts_alone(tmp_path):
    code = "import signal, pyfq; print(signal.getsignal(2) is signal.default_int_handler)"
    for words in ["-c", code], ["-c", code, "-m", "pyfq"]:
        said = subprocess.check_output([sys.executable, "-P", *words], text=True)
        assert said == "True\n"
