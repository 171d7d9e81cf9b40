"""What ``pyfq compress`` does when nobody says how, and what it says of that."""

import json

import numpy as np
import pytest

from pyfq.cli import main
from pyfq.io import write_safetensors


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {f"{i}.weight": rng.laplace(size=(64, 128)).astype(np.float32) for i in range(2)}
    path = tmp_path / "model.safetensors"
    write_safetensors(path, tensors | {"0.bias": np.ones(64, np.float32)})
    return path


def report_of(source, *flags):
    path = source.parent / "report.json"
    out = ["-o", source.parent / "out.safetensors"]
    words = ["compress", source, *out, "--json", path, "--force", *flags]
    assert main([str(word) for word in words]) == 0
    return json.loads(path.read_text())


def method_of(report):
    return next(row["method"] for row in report["tensors"] if row["name"] == "0.weight")


@pytest.mark.parametrize(
    ("flags", "name", "method"),
    [
        ([], "rtn", "int8 symmetric per 128"),
        (["--bits", "9"], "rtn", "int9 symmetric per 128"),
        (["--bits", "4"], "als", "int4 symmetric per 64 als"),
        (["--bits", "4", "--group-size", "32"], "als", "int4 symmetric per 32 als"),
        (["--bits", "3", "--scheme", "minmax"], "als", "int3 minmax per 64 als"),
        (["--bits", "4", "--rounding", "floor"], "rtn", "int4 symmetric per 128"),
        (["--bits", "2.5"], "rate", "rate 2.5 bits per tensor, trellis 8"),
        (["--target-bits", "3.5"], "rate", "rate per tensor, trellis 8"),
        (["--target-bits", "5", "--choices", "4,5"], "als", "int4 symmetric per 128 als"),
        (["--rank", "3"], "lowrank", "low rank 3"),
    ],
)
def test_auto_names_what_it_chose(source, capsys, flags, name, method):
    report = report_of(source, *flags)
    assert report["auto"].startswith(f"--method auto is {name}: ")
    assert report["auto"] in capsys.readouterr().out.splitlines()
    if "--choices" in flags:
        assert method_of(report).endswith("symmetric per 128 als")
    else:
        assert method_of(report) == method
    assert method_of(report_of(source, *flags, "--method", "auto")) == method_of(report)


@pytest.mark.parametrize(
    "flags", [["--method", "rtn", "--bits", "4"], ["--method", "nf4"], ["--prune-ratio", "0.5"]]
)
def test_what_is_asked_for_is_done_and_no_choice_is_told(source, capsys, flags):
    report = report_of(source, *flags)
    assert report["auto"] is None
    assert "auto" not in capsys.readouterr().out
    if "rtn" in flags:
        assert method_of(report) == "int4 symmetric per 128"


def test_auto_loses_less_at_few_bits_than_rounding_in_the_same_groups(source):
    rows = report_of(source, "--bits", "4")["tensors"]
    plain = report_of(source, "--bits", "4", "--method", "rtn", "--group-size", "64")["tensors"]
    for row, other in zip(rows, plain, strict=True):
        if row["method"] != "copy":
            assert row["sqnr_db"] > other["sqnr_db"] + 0.5
            assert row["bytes_after"] == other["bytes_after"]


@pytest.mark.parametrize(
    ("flags", "is_own"),
    [
        (["--target-bits", "3"], True),
        (["--method", "nf4"], True),
        (["--rank", "3"], True),
        (["--bits", "4"], True),
        (["--bits", "8"], True),
        (["-o", "directory", "--bits", "4"], False),
        (["-o", "directory", "--bits", "8"], False),
        (["-o", "directory", "--method", "nf4"], True),
        (["--method", "bfloat16"], False),
        (["--target-bits", "3", "--dense"], False),
    ],
)
def test_the_last_line_says_how_to_open_what_others_do_not(
    source, capsys, monkeypatch, flags, is_own
):
    monkeypatch.chdir(source.parent)
    report_of(source, *flags)
    last = " ".join(capsys.readouterr().out.splitlines()[-1:])
    for word in ("--dense", "pyfq decompress", "pyfq.load_checkpoint"):
        assert (word in last) is is_own or (word == "--dense" and "--dense" in flags)
