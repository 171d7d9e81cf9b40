"""``pyfq compress`` to entropy-coded weights, ``inspect`` and ``decompress`` of them."""

import json
import math

import numpy as np
import pytest
from checkpoints import same, tensors_of

import pyfq
from pyfq.cli import compress as command
from pyfq.cli import main
from pyfq.io import open_checkpoint, write_index, write_npz, write_safetensors
from pyfq.io.staging import PARTIAL

NAMES = ("a.weight", "b.weight", "c.weight")


def weights(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).laplace(size=shape).astype(dtype)


def model():
    tensors = {name: (i + 1) * weights((96, 160), seed=i) for i, name in enumerate(NAMES)}
    kernel = weights((32, 16, 3, 3), seed=5)
    return tensors | {"conv.weight": kernel, "bias": weights(64), "ids": np.arange(512)}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, model(), {"format": "pt"})
    return path


@pytest.fixture
def shards(tmp_path):
    root = tmp_path / "sharded"
    root.mkdir()
    weight_map = {}
    for i, (name, array) in enumerate(model().items()):
        weight_map[name] = f"model-{i}.safetensors"
        write_safetensors(root / weight_map[name], {name: array})
    write_index(root / "model.safetensors.index.json", weight_map, 4)
    return root


def run(*arguments):
    return main([str(argument) for argument in arguments])


def tree(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


FLAGS = {
    "bits": ["--method", "rate", "--bits", "2.5"],
    "default": ["--method", "rate"],
    "step": ["--method", "rate", "--step", "0.5", "--trellis", "4"],
    "sqnr": ["--method", "rate", "--sqnr", "16", "--per-row"],
    "target": ["--target-bits", "3.25"],
    "size": ["--target-size", "30kB", "--trellis", "none"],
    "pruned": ["--method", "rate", "--bits", "2", "--prune-ratio", "0.5"],
    "pruned target": ["--target-bits", "2.5", "--prune-nm", "2:4"],
}


@pytest.mark.parametrize("how", FLAGS)
@pytest.mark.parametrize("kind", ["single", "shards", "npz"])
def test_decompress_returns_what_dense_writes(source, shards, tmp_path, how, kind):
    suffix = ".npz" if kind == "npz" else ""
    given = shards if kind == "shards" else source
    small, dense, back = (tmp_path / f"{name}{suffix}" for name in ("small", "dense", "back"))
    assert run("compress", given, "-o", small, *FLAGS[how]) == 0
    assert run("compress", given, "-o", dense, "--dense", *FLAGS[how]) == 0
    assert run("decompress", small, "-o", back) == 0
    expected = tensors_of(dense)
    expected.pop("pyfq", None)  # what a file of npz says of methods
    same(expected, tensors_of(back))
    if "pruned" in how:
        floats = tensors_of(back)
        assert all((floats[name] == 0).mean() >= 0.5 for name in NAMES)


def test_a_target_is_met_by_the_bytes_of_the_file(source, tmp_path, capsys):
    for size in (26_000, 60_000):
        for suffix in (".safetensors", ".npz"):
            out = tmp_path / f"out{suffix}"
            flags = ["--target-size", f"{size / 1000}kB", "--json", "-", "--force"]
            assert run("compress", source, "-o", out, *flags) == 0
            report = json.loads(capsys.readouterr().out)
            assert 0.985 * size <= out.stat().st_size <= size
            assert report["budget"]["nbytes"] == size
            assert report["budget"]["steps"] == 4
    assert run("compress", source, "-o", out, "--target-size", "100B", "--force") == 1
    assert "less than its header" in capsys.readouterr().err
    assert run("compress", source, "-o", out, "--target-size", "6kB", "--force") == 1
    assert "nbytes of the budget must be at least" in capsys.readouterr().err


@pytest.mark.parametrize("bits", [1.5, 3, 4.25])
def test_target_bits_take_rate_unless_another_method_is_asked_for(source, tmp_path, capsys, bits):
    flags = ["--target-bits", bits, "--json", "-"]
    assert run("compress", source, "-o", tmp_path / "out", *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0.995 * bits <= report["totals"]["bits_per_weight"] <= bits
    assert report["budget"]["used"] == report["totals"]["bits_per_weight"]
    rows = {row["name"]: row for row in report["tensors"]}
    for name in NAMES:
        row = rows[name]
        assert row["format"] == "entropy"
        assert row["step"] > 0
        assert row["bits_per_weight"] == 8 * row["bytes_after"] / (96 * 160)
        assert row["sqnr_db"] > 5


@pytest.mark.parametrize(
    "flags, kind",
    [
        (["--target-bits", "5", "--scheme", "affine"], "quantize"),
        (["--target-bits", "5", "--choices", "2,4,8"], "quantize"),
        (["--target-bits", "5", "--method", "lloyd"], "codebook"),
        (["--target-bits", "5", "--per-row"], "rate"),
        (["--step", "0.1"], "rate"),
        (["--bits", "4"], "quantize"),
    ],
)
def test_other_options_keep_their_method(source, tmp_path, capsys, flags, kind):
    flags = [*flags, "--json", "-", "--dry-run"]
    assert run("compress", source, "-o", tmp_path / "out", *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert kind in report["settings"]["recipe"]["rule"][0]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--bits", "2", "--step", "1"], "--bits and --step say the same"),
        (["--bits", "2", "--target-bits", "1"], "--target-bits chooses the bits of each tensor"),
        (["--sqnr", "2", "--target-size", "9kB"], "--target-size chooses the bits of each tensor"),
        (["--group-size", "64"], "--group-size goes with --method rtn"),
        (["--bits", "2", "--trellis", "8", "--prune-ratio", "0.5"], "no code for 0"),
        (["--bits", "99"], "bits must be 0"),
        (["--bits", "4.5", "--method", "rtn"], "integer but for --method rate, not 4.5"),
        (["--step", "1", "--method", "lloyd"], "--step goes with --method rate, not lloyd"),
        (["--bits", "nan"], "bits must be 0"),
    ],
)
def test_wrong_usage(source, tmp_path, capsys, flags, message):
    if "--method" not in flags:
        flags = ["--method", "rate", *flags]
    assert run("compress", source, "-o", tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", FLAGS)
def test_a_dry_run_estimates(source, tmp_path, capsys, how):
    out = tmp_path / "out"
    assert run("compress", source, "-o", out, *FLAGS[how], "--dry-run", "--json", "-") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["estimated"] is True
    assert run("compress", source, "-o", out, *FLAGS[how], "--dry-run") == 0
    assert "entropy-coded weights are estimates" in capsys.readouterr().out
    assert not out.exists()
    assert run("compress", source, "-o", out, *FLAGS[how], "--json", "-") == 0
    done = json.loads(capsys.readouterr().out)
    both = planned["totals"]["bytes_after"], done["totals"]["bytes_after"]
    assert both[0] == pytest.approx(both[1], rel=0.1)


def test_only_entropy_coded_weights_are_estimated(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out", "--dry-run", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["estimated"] is False


def test_inspect_tells_how_far_from_the_bound(source, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert run("compress", source, "-o", out, "--target-bits", "3") == 0
    table = capsys.readouterr().out
    assert "budget 3 bits per weight" in table
    assert run("inspect", out, "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["tensors"]}
    values = tensors_of(source)
    with open_checkpoint(out) as checkpoint:
        assert checkpoint["a.weight_stream"].dtype == np.uint8
    assert run("decompress", out, "-o", tmp_path / "back.safetensors") == 0
    back = tensors_of(tmp_path / "back.safetensors")
    for name in (*NAMES, "conv.weight"):
        sqnr = pyfq.distortion(values[name], back[name]).sqnr
        assert rows[name]["sqnr_db"] == pytest.approx(sqnr)
        below = 20 * math.log10(2) * rows[name]["bits_per_weight"] - sqnr
        assert rows[name]["below_6_db_a_bit"] == pytest.approx(below)
    assert "sqnr_db" not in rows["bias"]
    capsys.readouterr()
    assert run("inspect", out, "--parts") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].endswith("below 6.02 dB/bit")
    assert any(line.startswith("-> a.weight_stream") for line in table)
    assert run("inspect", source) == 0
    assert "6.02" not in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["F64", "F16", "BF16"])
def test_words_come_back(tmp_path, dtype):
    path, out, back = (tmp_path / f"{name}.safetensors" for name in "mob")
    w = weights((64, 96), np.float64)
    if dtype == "BF16":
        w = pyfq.cast_to(w.astype(np.float32), "bfloat16")
    elif dtype == "F16":
        w = w.astype(np.float16)
    write_safetensors(path, {"w": w}, dtypes={"w": dtype})
    assert run("compress", path, "-o", out, "--target-bits", "4") == 0
    assert run("decompress", out, "-o", back) == 0
    with open_checkpoint(back) as checkpoint:
        assert checkpoint.dtypes["w"] == dtype
    if dtype != "F64":
        return
    with open_checkpoint(out) as checkpoint:
        assert checkpoint.dtypes["w_scale"] == "F64"


def interrupt_at(monkeypatch, step, count):
    """Make the command stop, as Ctrl-C does, at the `count`-th call of a step."""
    original, seen = getattr(command, step), []

    def stop(*arguments, **options):
        if not options.get("sampled"):
            seen.append(arguments)
            if len(seen) > count:
                raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(command, step, stop)


@pytest.mark.parametrize("kind", ["single", "shards", "npz"])
@pytest.mark.parametrize("flags", [["--target-bits", "2.5"], ["--method", "rate", "--bits", "3"]])
@pytest.mark.parametrize("step, count", [("measure", 2), ("code", 1), ("compress_tensor", 2)])
def test_resume_ends_as_if_nothing_had_happened(
    source, shards, tmp_path, monkeypatch, capsys, kind, flags, step, count
):
    if step == "code" and "rate" in flags:
        return  # no step is sought
    suffix = ".npz" if kind == "npz" else ""
    given = shards if kind == "shards" else source
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    assert run("compress", given, "-o", whole, *flags) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, count)
        assert run("compress", given, "-o", out, *flags) == 130
    assert "--resume goes on" in capsys.readouterr().err
    assert out.with_name(out.name + PARTIAL).is_dir()
    calls = []
    for name in ("measure", "code"):
        original = getattr(command, name)

        def counted(*arguments, original=original, name=name, **options):
            if not options.get("sampled"):
                calls.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(command, name, counted)
    assert run("compress", given, "-o", out, "--resume", *flags) == 0
    assert calls.count("measure") == (2 if step == "measure" else 0)
    if step == "compress_tensor":
        assert "code" not in calls
    if kind == "npz":
        same(tensors_of(whole), tensors_of(out))
    else:
        assert tree(whole) == tree(out)
    assert run("compress", given, "-o", out, "--resume", *flags) == 0
    assert "complete already" in capsys.readouterr().out


def test_a_recipe_mixes_rate_with_other_methods(source, tmp_path, capsys):
    (tmp_path / "r.toml").write_text(
        """
        [[rule]]
        match = "a.*"
        quantize = { bits = 8 }
        [[rule]]
        match = "conv.*"
        rate = { sqnr = 20, trellis = 4 }
        [[rule]]
        match = "*"
        min_ndim = 2
        rate = "budget"
        [budget]
        bits_per_weight = 4.5
        exponent = 0.5
        sensitivity = { "b*" = 10 }
        """
    )
    out = tmp_path / "out"
    flags = ["--recipe", tmp_path / "r.toml", "--json", "-"]
    assert run("compress", source, "-o", out, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in report["tensors"]}
    assert report["budget"]["used"] == pytest.approx(4.5, rel=0.005)
    assert rows["conv.weight"]["sqnr_db"] == pytest.approx(20, abs=0.5)
    assert rows["b.weight"]["sqnr_db"] > rows["c.weight"]["sqnr_db"] + 5
    assert run("decompress", out, "-o", tmp_path / "back") == 0


def test_a_network_keeps_its_streams(tmp_path, capsys):
    network = pyfq.Network.create((96, 64, 10), seed=1)
    path, out = tmp_path / "n.safetensors", tmp_path / "small.safetensors"
    pyfq.save_network(network, path)
    assert run("compress", path, "-o", out, "--target-bits", "5", "--min-size", "1") == 0
    small = pyfq.load_network(out)
    assert all(isinstance(layer.weights, pyfq.RateQuantized) for layer in small.layers)
    x = weights((5, 96))
    assert np.abs(small.forward(x) - network.forward(x)).max() < 1
    pyfq.save_network(small, tmp_path / "again.safetensors")
    np.testing.assert_array_equal(
        pyfq.load_network(tmp_path / "again.safetensors").forward(x), small.forward(x)
    )


def test_an_npz_source_becomes_a_file_of_streams(tmp_path):
    write_npz(tmp_path / "m.npz", model())
    for out in (tmp_path / "o.npz", tmp_path / "o.safetensors"):
        assert run("compress", tmp_path / "m.npz", "-o", out, "--target-bits", "2") == 0
        found = tensors_of(out)
        assert found["a.weight_stream"].dtype == np.uint8
        assert found["a.weight_scale"].shape == (1,)
