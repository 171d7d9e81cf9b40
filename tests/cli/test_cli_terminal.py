"""What a command shows on a terminal: a bar, tables of its width, more or less of both."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import numpy as np
import pytest

from pyfq import plot
from pyfq.cli import main
from pyfq.cli._progress import Progress
from pyfq.cli._table import width_of
from pyfq.io import write_safetensors

NAMES = [f"encoder.layer.{i}.attention.self.query.weight" for i in range(3)]


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal((64, 128)).astype(np.float32) for name in NAMES}
    path = tmp_path / "model.safetensors"
    write_safetensors(path, tensors | {f"{i}.bias": np.ones(64, np.float32) for i in range(3)})
    return path


def on_a_terminal(columns, *words):
    """Return the exit code of a command and all that it writes to a terminal of a width."""
    mine, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    code = "import sys; from pyfq.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, words)], stdout=its, stderr=its, env=env
    )
    os.close(its)
    written = b""
    while True:
        try:
            part = os.read(mine, 1 << 16)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        written += part
    os.close(mine)
    return process.wait(), written.decode().replace("\r\n", "\n")


def shown(text):
    """Return the lines that stay: of what was written over, the last."""
    return [line.rpartition("\r")[2] for line in text.split("\n")]


def test_a_terminal_of_80_columns_shows_no_broken_line(source, tmp_path):
    code, text = on_a_terminal(80, "compress", source, "-o", tmp_path / "out", "--target-bits", "3")
    assert code == 0
    lines = shown(text)
    assert [line for line in lines if width_of(line) > 80 and str(tmp_path) not in line] == []
    assert any(re.match(r"encoder\.layer\.0\.\S+ +\d\.\d{3} +\d", line) for line in lines)
    assert "method: rate per tensor, trellis 8" in lines
    assert "copied: 1 axis: 0.bias and 2 more, 768 B" in lines
    bars = [part for part in re.split(r"[\r\n]", text) if "%|" in part]
    assert [bar for bar in bars if width_of(bar) > 80] == []
    assert any(bar.startswith("coding encoder.layer.") for bar in bars)
    assert lines[0].startswith(("pyfq compress: --method auto is rate", "tensor"))
    code, text = on_a_terminal(80, "inspect", tmp_path / "out")
    assert code == 0
    assert all(width_of(line) <= 80 for line in shown(text) if str(tmp_path) not in line)


def test_quiet_says_nothing_and_verbose_everything(source, tmp_path, capsys):
    small, dense = tmp_path / "small", tmp_path / "dense"
    assert main(["compress", str(source), "-o", str(small), "--quiet"]) == 0
    assert main(["decompress", str(small), "-o", str(dense), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert dense.is_dir()
    assert main(["compress", str(source), "-o", str(small), "-v", "--force"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if "copied: 1 axis" in line] == [
        "0.bias", "1.bias", "2.bias",
    ]  # fmt: skip
    assert main(["decompress", str(small), "-o", str(dense), "-v", "--force"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES)


def test_quiet_does_not_hide_failures(tmp_path, capsys):
    assert main(["compress", str(tmp_path / "none.npz"), "-o", str(tmp_path / "x"), "-q"]) == 1
    assert "none.npz" in capsys.readouterr().err


def test_training_tells_of_every_epoch_or_of_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.standard_normal((40, 3)), y=np.arange(40) % 2)
    words = ["train", "--layers", "3,2", "--data", "d.npz", "--epochs", "12", "--force"]
    assert main([*words, "-o", "n.safetensors", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*words, "-o", "n.safetensors", "-v"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    assert re.match(r"training: epoch  1 of 12: loss [\d.]+, validation [\d.]+$", lines[0])


def fake_bar():
    bar = SimpleNamespace(disable=False, ncols=79, n=0, total=3000, said="")
    bar.set_description_str = lambda text, refresh: setattr(bar, "said", text)
    bar.refresh = lambda: None
    return bar


def test_the_bar_moves_within_a_tensor_and_names_it():
    bar = fake_bar()
    progress = Progress(bar)
    with progress.tensor("coding", "a." + "b" * 100 + ".weight", 1000):
        assert bar.said.startswith("coding a.bb")
        assert bar.said.rstrip().endswith("b.weight")
        assert len(bar.said) == 79 - 35
        places = []
        for _ in range(3):
            time.sleep(0.02)
            progress.tick()
            places.append(bar.n)
        assert 0 < places[0] < places[1] < places[2] < 1000
    assert bar.n == 1000
    progress.tick()
    assert bar.n == 1000
    with progress.tensor("choosing", "c", 0):
        progress.tick()
    assert bar.n == 1000


def test_the_bar_grows_when_more_is_to_be_done():
    bar = fake_bar()
    progress = Progress(bar)
    for _ in range(4):
        with progress.tensor("coding", "a", 1000):
            pass
    assert (bar.n, bar.total) == (4000, 4000)


@pytest.mark.parametrize(
    ("flags", "word", "levels"),
    [
        (["--bits", "4"], "code", 16),
        (["--bits", "4", "--per-tensor"], "weight", 16),
        (["--method", "nf4"], "weight over its scale", 16),
        (["--target-bits", "3"], "weight", None),
        (["--rank", "3"], "weight", 0),
    ],
)
def test_inspect_draws_the_levels_of_a_tensor(source, tmp_path, monkeypatch, flags, word, levels):
    pytest.importorskip("matplotlib")
    drawn = {}
    real = plot.histogram

    def histogram(values, **how):
        drawn.update(how, values=values)
        return real(values, **how)

    monkeypatch.setattr(plot, "histogram", histogram)
    small = tmp_path / "small"
    assert main(["compress", str(source), "-o", str(small), *flags]) == 0
    picture = tmp_path / "levels.png"
    words = ["inspect", str(small), "--plot", str(picture), "--tensor", "*2*query*"]
    assert main(words) == 0
    assert picture.stat().st_size > 1000
    assert drawn["title"].startswith(NAMES[2])
    assert drawn["xlabel"] == word
    assert drawn["values"].size == 64 * 128
    if levels == 0:
        assert drawn["levels"] is None
    else:
        assert np.isin(drawn["values"], drawn["levels"]).all()
        assert levels is None or len(drawn["levels"]) == levels


def test_inspect_refuses_to_draw_what_is_not_there(source, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = str(tmp_path / "a.png")
    assert main(["inspect", str(source), "--plot", picture, "--tensor", "x*"]) == 1
    assert "no tensor of floats that 'x*' names" in capsys.readouterr().err
    assert main(["inspect", str(source), "--tensor", "x*"]) == 2
    assert "--tensor names what --plot draws" in capsys.readouterr().err
