"""The command line as a whole: help, exit codes, messages."""

import json
import subprocess
import sys

import pytest

import pyfq
from pyfq.cli import COMMANDS, main


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=False
    )


RUN = "import sys; from pyfq.cli import main; sys.exit(main())"


def test_help_imports_nothing_optional():
    optional = ["tqdm", "tabulate", "matplotlib", "sklearn", "scipy", "torch", "tomllib"]
    code = (
        "import sys\nfrom pyfq.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print([m for m in {optional} if m in sys.modules], file=sys.stderr)"
    )
    result = python(code)
    assert result.stderr.strip() == "[]"
    assert all(command in result.stdout for command in COMMANDS)


def test_version():
    assert python(RUN, "--version").stdout == f"pyfq {pyfq.__version__}\n"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])
def test_help_of_a_command(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    assert f"usage: pyfq {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["compres"], ["compress"], ["inspect", "a", "--bogus"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2


def test_failure_is_one_line_and_exit_code_1(capsys):
    assert main(["inspect", "no-such-file.safetensors"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pyfq inspect: error: ")
    assert err.count("\n") == 1


def test_a_reader_that_leaves_is_no_error(tmp_path):
    import numpy as np

    path = tmp_path / "m.safetensors"
    many = {f"tensor.number.{i}": np.zeros(1, np.float32) for i in range(3000)}
    pyfq.io.write_safetensors(path, many)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", RUN, "inspect", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_info_json(capsys):
    assert main(["info", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == pyfq.__version__
    assert main(["info"]) == 0
    assert "compiler" in capsys.readouterr().out
