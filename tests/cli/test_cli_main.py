"""The command line as a whole: help, exit codes, messages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq.cli import COMMANDS, main
from pyfq.cli._destination import output_path
from pyfq.cli._streams import one_line
from pyfq.io import write_safetensors


def python(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
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


def wrong(capsys, *arguments):
    """Run what must be wrong usage and return the line that says why, and the one on help."""
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    reason, advice = err.splitlines()
    return reason, advice


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["compress", "m", "-o", "out", "--exlude", "*"], "--exlude: did you mean --exclude?"),
        (["compress", "m", "--exlude=*"], "unknown option --exlude: did you mean --exclude?"),
        (["compress", "--ouput", "x", "m"], "unknown option --ouput: did you mean --output?"),
        (["train", "--lerning-rate", "1"], "did you mean --learning-rate?"),
        (["info", "--nothing-like-it"], "unknown option --nothing-like-it"),
        (["info", "-q"], "unknown option -q"),
        (["inspect", "a", "b"], "unexpected argument b"),
        (["inspect", ""], "argument FILE: expected a path, not an empty word"),
        (["compress", "m", "-o", "x", "--bits", "x"], "argument --bits: expected a number"),
        (["compress", "m", "-o", "x", "--target-size", "8iB"], "--target-size: expected bytes as"),
        (
            ["compress", "m", "-o", "x", "--target-bits", "2", "--target-size", "8MB"],
            "not allowed with argument --target-bits",
        ),
        (["compress", "m", "-o", "x", "--method", "rtm"], "invalid choice: 'rtm'"),
    ],
)
def test_wrong_usage_of_a_command_is_two_lines(capsys, arguments, reason):
    said, advice = wrong(capsys, *arguments)
    assert said.startswith(f"pyfq {arguments[0]}: error: ")
    assert reason in said
    assert advice == f"Try 'pyfq {arguments[0]} --help'."


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["comprss"], "unknown command 'comprss': did you mean compress?"),
        (["zzz", "--force"], f"unknown command 'zzz': expected {', '.join(COMMANDS)}"),
        (["help", "inspct"], "unknown command 'inspct': did you mean inspect?"),
        (["--verson"], "unknown option --verson: did you mean --version?"),
        (["a\nb\x1b[31m"], "unknown command 'a\\nb\\x1b[31m'"),
    ],
)
def test_wrong_commands_are_two_lines(capsys, arguments, reason):
    said, advice = wrong(capsys, *arguments)
    assert said.startswith(f"pyfq: error: {reason}")
    assert advice == "Try 'pyfq --help'."


def test_help_is_a_command_too(capsys):
    for arguments, usage in (["help"], "usage: pyfq ["), (["help", "bench"], "usage: pyfq bench"):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 0
        assert capsys.readouterr().out.startswith(usage)


def test_nothing_to_do_shows_the_commands_and_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as exit:
        main([])
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(command in err for command in COMMANDS)


FOREIGN = ["x.gguf", "x.onnx", "x.pt", "x.bin", "x.h5", "x.npy", "x.PT", "x.json", ".npz", "-"]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_names_of_other_formats_are_refused(tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(tmp_path)
    write_safetensors("m.safetensors", {"w": np.ones((64, 128), np.float32)})
    said, _ = wrong(capsys, command, "m.safetensors", "-o", name)
    assert "expected NAME.safetensors, NAME.npz or a directory" in said
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("name", ["x.SafeTensors", "x.SAFETENSORS", "x.NPZ"])
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_capital_letters_are_named(tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(tmp_path)
    write_safetensors("m.safetensors", {"w": np.ones((64, 128), np.float32)})
    said, _ = wrong(capsys, command, "m.safetensors", "-o", name)
    assert f"{name}: expected {Path(name).suffix.lower()}, in small letters" in said
    Path(name).write_bytes(Path("m.safetensors").read_bytes())
    assert main([command, name, "-o", "out"]) == 1
    assert ".npz, .index.json, in small letters, or" in capsys.readouterr().err


def test_capital_letters_of_other_files_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pyfq.save_network(pyfq.Network.create((2, 1)), "n.safetensors")
    Path("N.SAFETENSORS").write_bytes(Path("n.safetensors").read_bytes())
    np.save("x.npy", np.ones((8, 2)))
    Path("x.CSV").write_text("1,2,3\n")
    for words, message in {
        ("predict", "n.safetensors", "--input", "x.npy", "-o", "y.CSV"): "or -, in small letters",
        ("predict", "N.SAFETENSORS", "--input", "x.npy", "-o", "y.csv"): "file, in small letters",
        ("train", "--layers", "2,1", "--data", "x.CSV", "-o", "m.safetensors"): "in small letters",
        ("train", "--layers", "2,1", "--data", "x.npy", "-o", "m.Safetensors"): "in small letters",
        ("compress", "n.safetensors", "-o", "q", "--plot", "p.PNG"): ".svg, in small letters",
    }.items():
        assert main(list(words)) in (1, 2)
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"in \.safetensors, in small letters, not 'n\.SAFET"):
        pyfq.save_network(pyfq.Network.create((2, 1)), "n.SAFETENSORS")


def test_other_names_are_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.bin").mkdir()
    for name in ("small", "model.v2", "Qwen2.5-0.5B", "there.bin", "new.pt/"):
        assert output_path(name) == Path(name)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_network_is_written_to_safetensors_alone(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.ones((8, 2)), y=np.arange(8) % 2)
    for command in (["train", "--layers", "2,2"], ["distill", "t.onnx", "--student", "2,2"]):
        assert main([*command, "--data", "d.npz", "-o", name]) == 2
        assert f"-o: expected a .safetensors file, not {name}" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["d.npz"]


def test_messages_name_the_file_first_and_are_bounded():
    assert one_line(FileNotFoundError(2, "No such file", "a\nb")) == "a b: No such file"
    assert one_line(ValueError("x\x1b[2J\ud800é")) == "x\\x1b[2J\\ud800é"
    assert one_line(MemoryError()) == "MemoryError"
    assert len(one_line(ValueError("x" * 10**6))) < 3000


@pytest.fixture
def checkpoint(tmp_path):
    """Make a checkpoint of many tensors, one with a name that moves the cursor."""
    many = {f"tensor.number.{i}": np.zeros(1, np.float32) for i in range(3000)}
    path = tmp_path / "gewöhnlich.safetensors"
    write_safetensors(path, many | {"é\n\x1b[31m": np.zeros(1, np.float32)})
    return path


def test_a_reader_that_leaves_is_no_error(checkpoint):
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", RUN, "inspect", str(checkpoint)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_a_failure_is_one_though_nobody_reads_of_it():
    code = (
        "import sys\nfrom pyfq.cli import check, main\n"
        "def run(args):\n    print(10**6 * 'x')\n    return 1\n"
        "check.run = run\nsys.exit(main(['check']))"
    )
    process = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE)
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait() == 1


def test_names_are_escaped_where_they_must_be(checkpoint, tmp_path, capsys):
    assert main(["inspect", str(checkpoint)]) == 0
    assert "\né\\n\\x1b[31m " in capsys.readouterr().out
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    said = python(RUN, "inspect", str(checkpoint), env=ascii_only)
    assert said.returncode == 0
    assert "\n\\xe9\\n\\x1b[31m " in said.stdout
    said = python(RUN, "inspect", str(checkpoint), "--json", "-", env=ascii_only)
    assert json.loads(said.stdout)["tensors"][-1]["name"] == "é\n\x1b[31m"


def test_file_names_need_not_be_text(checkpoint, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.safetensors"
    try:
        os.link(checkpoint, path)
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    report = tmp_path / "report.json"
    for arguments in (["inspect", path], ["inspect", path, "--json", report]):
        said = subprocess.run(
            [sys.executable, "-P", "-c", RUN, *arguments], capture_output=True, check=False
        )
        assert (said.returncode, said.stderr) == (0, b"")
    assert os.fsencode(json.loads(report.read_bytes())["files"][0]) == path
    said = subprocess.run(
        [sys.executable, "-P", "-c", RUN, "inspect", path + b".npz"],
        capture_output=True,
        check=False,
    )
    assert (said.returncode, said.stderr.count(b"\n")) == (1, 1)
    assert b"\\udcff\\udcfe.safetensors.npz: No such file or directory" in said.stderr


FULL = Path("/dev/full")
needs_dev_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-"}


@pytest.mark.parametrize("streams", CLOSED.values(), ids=CLOSED)
def test_closed_streams_are_no_error(checkpoint, tmp_path, streams):
    def code_of(*arguments):
        command = [sys.executable, "-P", "-c", RUN, *arguments]
        said = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {streams}', "sh", *command], capture_output=True, check=False
        )
        assert b"Traceback" not in said.stderr
        return said.returncode

    assert code_of("inspect", str(checkpoint)) == 0
    assert code_of("info", "--json", "-") == 0
    assert code_of("nothing") == 2


@needs_dev_full
@pytest.mark.parametrize("arguments", [["info"], ["info", "--json", "-"], ["--help"]])
def test_a_full_stdout_is_an_error(arguments):
    with FULL.open("w") as full:
        said = subprocess.run(
            [sys.executable, "-P", "-c", RUN, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert said.returncode == 1
    assert said.stderr == "pyfq: error: stdout: No space left on device\n"


def test_a_disk_that_is_full_names_the_file(tmp_path, monkeypatch, capsys):
    resource = pytest.importorskip("resource")
    monkeypatch.chdir(tmp_path)
    x = np.ones((3000, 4), np.float32)
    np.savez("d.npz", x=x, y=np.arange(3000) % 3)
    pyfq.save_network(pyfq.Network.create((4, 3)), "n.safetensors")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        for name, command in {
            "info.json": ["info", "--json", "info.json"],
            "o.safetensors": ["train", "--layers", "4,3", "--data", "d.npz", "--epochs", "1",
                              "-o", "o.safetensors"],
            "o.npy": ["predict", "n.safetensors", "--input", "d.npz", "-o", "o.npy"],
            "o.csv": ["predict", "n.safetensors", "--input", "d.npz", "-o", "o.csv"],
        }.items():  # fmt: skip
            assert main(command) == 1
            said = capsys.readouterr().err
            assert said == f"pyfq {command[0]}: error: {name}: File too large\n"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "settings",
    [{"COLUMNS": "0"}, {"COLUMNS": "1"}, {"COLUMNS": "20"}, {"LC_ALL": "C"}, {"LANG": "xx_YY.Z"},
     {"HOME": None}, {"TMPDIR": "/no/such"}, {"PYTHONUTF8": "0", "LC_ALL": "POSIX"}],
    ids=str,
)  # fmt: skip
def test_the_environment_may_be_poor(checkpoint, settings):
    env = {k: v for k, v in (os.environ | settings).items() if v is not None}
    code = "import sys; from pyfq.cli import main; main(sys.argv[1:]); main(['help', 'compress'])"
    said = python(code, "inspect", str(checkpoint), env=env)
    assert (said.returncode, said.stderr) == (0, "")


def test_the_current_directory_may_be_gone(checkpoint, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.rmdir({str(gone)!r})\n{RUN}"
    assert python(code, "inspect", str(checkpoint), cwd=gone).returncode == 0
    said = python(f"import os; os.rmdir({str(gone)!r})\n{RUN}", "inspect", "x.npz", cwd=tmp_path)
    assert said.returncode == 1


def test_info_json(capsys):
    assert main(["info", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == pyfq.__version__
    assert main(["info"]) == 0
    assert "compiler" in capsys.readouterr().out
