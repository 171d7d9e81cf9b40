"""What is a shard, and what lies beside the weights: copied, or named."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from pyfq.cli import main
from pyfq.io import open_checkpoint, open_safetensors, write_index, write_safetensors

W = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
INDEX = "model.safetensors.index.json"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def files_in(directory):
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())


def model_of(directory, shards):
    weight_map = {f"{i}.weight": shard for i, shard in enumerate(shards)}
    for i, (name, shard) in enumerate(weight_map.items()):
        (directory / shard).parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(directory / shard, {name: W + i}, {"format": "pt"})
    write_index(directory / INDEX, weight_map, 1)
    return directory


@pytest.mark.parametrize(
    "shards",
    [
        ["a.st", "b.st"],
        ["A.SAFETENSORS", "B.SAFETENSORS"],
        ["shard-0", "shard-1"],
        ["model.safetensors.0", "model.safetensors.1"],
        ["a.bin", "b.bin"],
        ["a.npz", "b.npz"],
        ["a.safetensors.json", "b.json"],
        ["a.index.json", "b.txt"],
        ["part/x.safetensors", "y.safetensors"],
        ["part/x.st", "part/y.npz"],
    ],
)
def test_the_index_says_what_is_a_shard(tmp_path, shards):
    """Neither its name counts, nor a config in the directory that it is in."""
    source = model_of(tmp_path / "m", shards)
    if "/" in shards[0]:
        (source / "part" / "config.json").write_text("{}")
    packed, dense, back = tmp_path / "q", tmp_path / "dense", tmp_path / "back"
    assert run("compress", source, "-o", packed, "--bits", "2") == 0
    assert run("compress", source, "-o", dense, "--bits", "2", "--dense") == 0
    assert run("decompress", packed, "-o", back) == 0
    assert set(files_in(back)) - {"config.json"} == set(files_in(source))
    for i, shard in enumerate(shards):
        assert f"{i}.weight_scale" in open_safetensors(packed / shard)
        w = open_safetensors(back / shard)[f"{i}.weight"]
        assert w.tobytes() == open_checkpoint(dense)[f"{i}.weight"].tobytes()
        assert not (w == W + i).all()
    assert run("compress", source, "-o", packed, "--bits", "2", "--resume") == 0


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_links_beside_the_weights_are_followed_or_named(tmp_path, capsys, command):
    source = tmp_path / "m"
    source.mkdir()
    write_safetensors(tmp_path / "model.safetensors", {"a.weight": W})
    assert run("compress", tmp_path / "model.safetensors", "-o", source) == 0
    (source / "vocab.txt").write_text("a")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "merges.txt").write_text("b")
    (source / "tokenizer").symlink_to("../far")
    (source / "words.txt").symlink_to("../far/merges.txt")
    (source / "gone.txt").symlink_to("nowhere")
    (source / "self.txt").symlink_to("self.txt")
    (source / "loop").symlink_to(".")
    (tmp_path / "far" / "up").symlink_to("../m")
    os.mkfifo(source / "pipe")
    sock = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(source)  # the path of a socket has a hundred bytes
    try:
        sock.bind("socket")
    finally:
        os.chdir(here)
        sock.close()
    if command == "compress":
        write_safetensors(source / "model.safetensors", {"a.weight": W})
        (source / "config.json").write_text("{}")
    capsys.readouterr()
    assert run(command, source, "-o", tmp_path / "out") == 0
    found = files_in(tmp_path / "out")
    assert set(found) - {"config.json"} == {
        "model.safetensors", "tokenizer/merges.txt", "vocab.txt", "words.txt",
    }  # fmt: skip
    assert (tmp_path / "out" / "words.txt").read_text() == "b"
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_symlink()]
    told = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"pyfq {command}: ") for line in told] == [
        "gone.txt is not copied: it is a link that leads nowhere",
        "loop is not copied: it is a link to a directory that it is in",
        "pipe is not copied: it is a FIFO",
        "self.txt is not copied: it is a link that leads nowhere",
        "socket is not copied: it is a socket",
        "tokenizer/up is not copied: it is a link to a directory that it is in",
    ]


def test_the_directory_of_the_source_is_refused_by_its_name(tmp_path, capsys):
    source = model_of(tmp_path / "m", ["a.safetensors"])
    (source / "README.md").write_text("a card")
    for target in source, source / ".." / "m":
        assert run("compress", source, "-o", target, "--force") == 1
        assert "is the directory of the source itself" in capsys.readouterr().err


def test_a_target_in_a_second_mount_of_the_model_is_refused(tmp_path, monkeypatch, capsys):
    source = model_of(tmp_path / "m", ["a.safetensors"])
    (source / "x.txt").write_text("x")
    second = tmp_path / "second"
    second.mkdir()
    stat = Path.stat

    def mounted(path, **options):
        return stat(source if path == second else path, **options)

    monkeypatch.setattr(Path, "stat", mounted)
    assert run("compress", source, "-o", second / "out") == 1
    assert "is inside the model's directory" in capsys.readouterr().err


def test_a_target_in_a_linked_directory_is_refused(tmp_path, capsys):
    source = model_of(tmp_path / "m", ["a.safetensors"])
    (tmp_path / "far").mkdir()
    (source / "x.txt").write_text("x")
    (source / "linked").symlink_to("../far")
    assert run("compress", source, "-o", tmp_path / "far" / "out") == 1
    assert "is inside the model's directory" in capsys.readouterr().err
    assert not files_in(tmp_path / "far")
