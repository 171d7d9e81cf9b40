"""``pyfq compress --method lossless``, ``inspect`` and ``decompress`` of what it wrote."""

import json

import numpy as np
import pytest

import pyfq
from pyfq.cli import main
from pyfq.io import open_checkpoint, write_safetensors


def model():
    generator = np.random.default_rng(0)
    w = (generator.standard_normal((96, 160)) * 0.02).astype(np.float32)
    odd = w.copy()
    odd.view(np.uint32)[0, :3] = [0x7FC00123, 0xFF800000, 1]
    return {
        "a.weight": w,
        "odd.weight": odd,
        "half.weight": w.astype(np.float16),
        "bfloat.weight": (w.view(np.uint32) >> 16).astype(np.uint16),
        "float8.weight": (w.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8),
        "bias": np.zeros(512, np.float32),
        "noise": generator.integers(0, 2**32, (64, 64), np.uint32).view(np.float32),
        "ids": np.arange(512),
    }


WORDS = {"bfloat.weight": "BF16", "float8.weight": "F8_E4M3"}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, model(), {"format": "pt"}, dtypes=WORDS)
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def contents(path):
    with open_checkpoint(path) as checkpoint:
        words = checkpoint.dtypes
        return {name: (words[name], checkpoint[name].tobytes()) for name in checkpoint}


def test_a_checkpoint_comes_back_to_the_bit(source, tmp_path, capsys):
    small, back, dense = (tmp_path / f"{name}.safetensors" for name in ("small", "back", "dense"))
    flags = ["--method", "lossless", "--min-size", 1]
    assert run("compress", source, "-o", small, *flags) == 0
    told = capsys.readouterr().out
    assert "no tensor has an error" in told
    assert "noise       copied: would grow" in " ".join(told.split("  ")) or "would grow" in told
    assert run("decompress", small, "-o", back) == 0
    assert run("compress", source, "-o", dense, "--dense", *flags) == 0
    assert contents(back) == contents(source) == contents(dense)
    assert small.stat().st_size < 0.85 * source.stat().st_size
    capsys.readouterr()
    assert run("inspect", small, "--json", "-") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["tensors"]}
    assert rows["a.weight"]["format"] == rows["a.weight"]["method"] == "lossless"
    assert 26 < rows["a.weight"]["bits_per_weight"] < 27
    assert rows["noise"]["method"] == ""
    assert run("compress", small, "-o", back, "--force") == 1
    assert "is compressed already" in capsys.readouterr().err


def test_pruned_weights_are_packed(source, tmp_path):
    small, back, alone = (tmp_path / f"{name}.safetensors" for name in ("small", "back", "alone"))
    flags = ["--prune-ratio", "0.5", "--exclude", "odd*", "--exclude", "noise"]
    assert run("compress", source, "-o", small, "--method", "lossless", *flags) == 0
    assert run("compress", source, "-o", alone, *flags) == 0
    assert run("decompress", small, "-o", back) == 0
    assert contents(back) == contents(alone)
    with open_checkpoint(small) as checkpoint:
        assert checkpoint["a.weight_stream"].size < 0.45 * 4 * 96 * 160
        assert "bias" in checkpoint  # of one axis: vectors are not pruned


def test_dry_runs_know_the_bytes(source, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    flags = ["--method", "lossless", "--json", "-"]
    assert run("compress", source, "-o", out, *flags, "--dry-run") == 0
    dry = json.loads(capsys.readouterr().out)
    assert dry["estimated"] is False
    assert run("compress", source, "-o", out, *flags) == 0
    wet = json.loads(capsys.readouterr().out)
    sizes = [{row["name"]: row["bytes_after"] for row in each["tensors"]} for each in (dry, wet)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("options", [["--bits", "4"], ["--per-row"], ["--target-bits", "4"]])
def test_options_of_codes_are_refused(source, tmp_path, capsys, options):
    assert run("compress", source, "-o", tmp_path / "x", "--method", "lossless", *options) == 2
    assert options[0] in capsys.readouterr().err


def test_a_damaged_stream_is_refused_in_one_line(source, tmp_path, capsys):
    small = tmp_path / "small.safetensors"
    assert run("compress", source, "-o", small, "--method", "lossless") == 0
    data = bytearray(small.read_bytes())
    data[data.index(b"FQLL") + 300] ^= 1
    small.write_bytes(data)
    capsys.readouterr()
    assert run("decompress", small, "-o", tmp_path / "back") == 1
    error = capsys.readouterr().err
    assert "_stream" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("half", [None, "bfloat16"])
def test_networks_are_loaded_as_they_were(tmp_path, half):
    network = pyfq.Network.create((64, 32, 10))
    if half:
        network = network.map_weights(lambda w: pyfq.to_half(w, half))
    path, small = tmp_path / "n.safetensors", tmp_path / "s.safetensors"
    pyfq.save_network(network, path)
    assert run("compress", path, "-o", small, "--method", "lossless", "--min-size", 1) == 0
    x = np.random.default_rng(0).standard_normal((7, 64)).astype(np.float32)
    loaded = pyfq.load_network(small)
    np.testing.assert_array_equal(loaded.forward(x), network.forward(x), strict=True)
    assert type(loaded.layers[0].weights) is type(network.layers[0].weights)
