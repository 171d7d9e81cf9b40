"""``pyfq compress``, ``decompress`` and ``inspect``."""

import hashlib
import json
import resource
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from checkpoints import same, tensors_of

import pyfq
from pyfq.cli import compress as command
from pyfq.cli import main
from pyfq.io import open_checkpoint, open_safetensors, write_index, write_npz, write_safetensors
from pyfq.io.staging import PARTIAL

NAMES = ("a.weight", "b.weight", "c.weight")


def weights(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def model():
    tensors = {name: weights((64, 128), seed=i) for i, name in enumerate(NAMES)}
    odd = weights((93, 57), seed=5)
    return tensors | {"odd.weight": odd, "bias": weights(64), "ids": np.arange(512).reshape(1, -1)}


@pytest.fixture
def source(tmp_path):
    """Make a model directory with files of every kind beside the weights."""
    root = tmp_path / "model"
    (root / "1_Pooling").mkdir(parents=True)
    (root / ".cache").mkdir()
    write_safetensors(root / "model.safetensors", model(), {"format": "pt"})
    (root / "config.json").write_text('{"hidden": 128}')
    (root / "tokenizer.json").write_text("{}")
    (root / "1_Pooling" / "config.json").write_text("{}")
    (root / "pytorch_model.bin").write_text("old weights")
    (root / ".cache" / "x").write_text("hidden")
    return root


@pytest.fixture
def shards(tmp_path):
    root = tmp_path / "sharded"
    root.mkdir()
    weight_map = {}
    for i, name in enumerate(NAMES):
        shard = f"model-{i}.safetensors"
        write_safetensors(root / shard, {name: model()[name]}, {"format": "pt"})
        weight_map[name] = shard
    write_index(root / "model.safetensors.index.json", weight_map, 3 * 64 * 128 * 4)
    return root


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_compress_quantizes_large_matrices_and_copies_the_rest(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out") == 0
    with open_safetensors(tmp_path / "out" / "model.safetensors") as file:
        assert file.metadata["format"] == "pt"
        q = pyfq.quantize(model()["a.weight"], 8, granularity=pyfq.PerGroup(128))
        np.testing.assert_array_equal(file["a.weight"], q.codes, strict=True)
        np.testing.assert_array_equal(file["a.weight_scale"], q.scale, strict=True)
        np.testing.assert_array_equal(file["ids"], model()["ids"])
        assert file.dtypes["bias"] == "F32"
        assert file.dtypes["odd.weight"] == "I8"  # one group of 57
    assert "lowest SQNR" in capsys.readouterr().out


def test_compress_copies_what_lies_beside_the_weights(source, tmp_path):
    out = tmp_path / "out"
    assert run("compress", source, "-o", out, "--dense") == 0
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == ["1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json"]
    assert (out / "config.json").read_text() == '{"hidden": 128}'


def test_compress_of_a_file_copies_its_model_directory(source, tmp_path):
    assert run("compress", source / "model.safetensors", "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "tokenizer.json").exists()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["hidden"] == 128
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"


def test_compress_to_a_file_writes_that_file_alone(source, tmp_path):
    out = tmp_path / "deep" / "out.safetensors"
    assert run("compress", source, "-o", out) == 0
    assert [path.name for path in out.parent.iterdir()] == ["out.safetensors"]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize(
    "flags",
    [
        ["--bits", "8", "--per-row"],
        ["--bits", "4", "--scheme", "affine", "--group-size", "64"],
        ["--bits", "4", "--scheme", "affine", "--per-tensor"],
        ["--bits", "11", "--scheme", "minmax", "--group-size", "50"],
        ["--bits", "3", "--prune-nm", "2:4"],
        ["--prune-ratio", "0.5"],
        ["--prune-percentile", "50"],
        ["--prune-threshold", "0.7"],
        ["--bits", "5", "--rounding", "stochastic", "--seed", "3"],
        ["--method", "als", "--bits", "3", "--scheme", "minmax"],
        ["--method", "mse", "--bits", "4"],
        ["--method", "aciq", "--bits", "2", "--per-row"],
        ["--method", "hqq", "--bits", "4", "--group-size", "64"],
        ["--method", "percentile", "--per-tensor"],
        ["--method", "nf4"],
        ["--method", "fp4", "--per-tensor"],
        ["--method", "log2", "--bits", "5", "--per-row"],
        ["--method", "lloyd", "--bits", "3", "--seed", "2", "--prune-ratio", "0.5"],
        ["--method", "lowrank"],
        ["--rank", "9", "--bits", "8", "--group-size", "5", "--scheme", "affine"],
        ["--rank-energy", "0.5", "--svd", "randomized", "--seed", "4"],
        ["--rank-tolerance", "0.8", "--bits", "4", "--rounding", "stochastic", "--seed", "4"],
        ["--method", "float16"],
        ["--target-bits", "4.3"],
        ["--target-bits", "4.9", "--method", "lloyd", "--choices", "2,3,5,16"],
    ],
)
def test_decompress_returns_what_dense_writes(source, tmp_path, flags, suffix):
    packed, dense, back = (tmp_path / f"{name}{suffix}" for name in ("packed", "dense", "back"))
    assert run("compress", source, "-o", packed, *flags) == 0
    assert run("compress", source, "-o", dense, "--dense", *flags) == 0
    assert run("decompress", packed, "-o", back) == 0
    same(tensors_of(back), {k: x for k, x in tensors_of(dense).items() if k != "pyfq"})


@pytest.mark.parametrize("word", ["BF16", "F16", "F64"])
def test_dense_keeps_the_dtype(tmp_path, word):
    path, out = tmp_path / "m.safetensors", tmp_path / "o.safetensors"
    w = weights((64, 128))
    if word == "F64":
        array = w.astype(np.float64)
    else:
        array = pyfq.cast_to(w, {"BF16": "bfloat16", "F16": "float16"}[word])
        array = array.view(np.float16) if word == "F16" else array
    write_safetensors(path, {"w": array}, dtypes={"w": word})
    assert run("compress", path, "-o", out, "--dense") == 0
    with open_safetensors(out) as file:
        assert file.dtypes["w"] == word
    assert run("compress", path, "-o", out, "--force") == 0
    assert run("decompress", out, "-o", tmp_path / "b.safetensors") == 0
    with open_safetensors(tmp_path / "b.safetensors") as file:
        assert file.dtypes["w"] == word
        assert file["w"].dtype == array.dtype


def test_shards_stay_shards(shards, tmp_path):
    out, back = tmp_path / "out", tmp_path / "back"
    index = shards / "model.safetensors.index.json"
    assert run("compress", index, "-o", out, "--bits", "4", "--group-size", "64") == 0
    assert sorted(path.name for path in out.glob("*.safetensors")) == [
        f"model-{i}.safetensors" for i in range(3)
    ]
    with open_checkpoint(out) as checkpoint:
        assert checkpoint.file_of["b.weight_packed"].name == "model-1.safetensors"
        assert checkpoint.file_of["b.weight_scale"].name == "model-1.safetensors"
    assert run("decompress", out, "-o", back) == 0
    assert run("compress", shards, "-o", tmp_path / "d", "--bits", "4", "--group-size", "64",
               "--dense") == 0  # fmt: skip
    same(tensors_of(back), tensors_of(tmp_path / "d"))


def test_shards_can_become_one_file(shards, tmp_path):
    out = tmp_path / "one.safetensors"
    assert run("compress", shards, "-o", out, "--dense") == 0
    assert sorted(tensors_of(out)) == sorted(NAMES)


def test_include_and_exclude(source, tmp_path):
    out = tmp_path / "o.safetensors"
    assert run("compress", source, "-o", out, "--include", "?.weight", "--exclude", "b*") == 0
    with open_safetensors(out) as file:
        words = {name: file.dtypes[name] for name in (*NAMES, "odd.weight")}
    assert words == {"a.weight": "I8", "b.weight": "F32", "c.weight": "I8", "odd.weight": "F32"}


def test_recipe_file(source, tmp_path, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        '[[rule]]\nmatch = "bia"\n[[rule]]\nmatch = "a*"\nquantize = { bits = 3 }\n'
        '[[rule]]\nmatch = "*"\nndim = 1\nprune = { ratio = 0.5 }\n'
    )
    out = tmp_path / "o.safetensors"
    assert run("compress", source, "-o", out, "--recipe", recipe) == 0
    assert capsys.readouterr().err == "pyfq compress: rule 1 ('bia') concerns no tensor\n"
    with open_safetensors(out) as file:
        assert "a.weight_packed" in file
        assert file.dtypes["b.weight"] == "F32"
        assert np.count_nonzero(file["bias"]) == 32


def test_report_json(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("compress", source, "-o", out, "--json", "-", "--threads", "1") == 0
    pyfq.set_num_threads(None)
    report = json.loads(capsys.readouterr().out)
    raw = (source / "model.safetensors").read_bytes()
    assert report["inputs"][0]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert report["environment"]["threads"] == 1
    totals = report["totals"]
    assert totals["file_bytes_before"] == len(raw)
    assert totals["file_bytes_after"] == (out / "model.safetensors").stat().st_size
    rows = {row["name"]: row for row in report["tensors"]}
    error = pyfq.quantize(model()["a.weight"], granularity=pyfq.PerGroup(128)).error(
        model()["a.weight"]
    )
    assert rows["a.weight"]["sqnr_db"] == error.sqnr
    assert rows["a.weight"]["bits_per_weight"] == 8 + 32 / 128
    assert rows["ids"]["method"] == "copy"


def test_report_of_dense_says_it_is_not_smaller(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out", "--dense", "--bits", "4") == 0
    out = capsys.readouterr().out
    assert "not smaller" in out
    assert "--dense keeps floats" in out


def test_dry_run_writes_nothing(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out", "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert "nothing was written" in capsys.readouterr().out


def test_no_bar_and_no_remarks_in_a_pipe(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bits", "17"], "bits must be 1 ... 16, not 17"),
        (["--bits", "1", "--scheme", "symmetric"], "no positive code of --bits 1: leave out"),
        (["--group-size", "0"], "--group-size: size must be at least 1, not 0"),
        (["--target-bits", "nan"], "--target-bits: bits_per_weight must be 0 ... 1e+06, not nan"),
        (["--rank-energy", "2"], "--rank-energy: energy must be 0 ... 1, not 2"),
        (["--prune-nm", "2"], "nm must be like '2:4'"),
        (["--rounding", "stochastic"], "seed must be given"),
        (["--recipe", "r.toml", "--bits", "4"], "--recipe says it all"),
        (["--resume", "--force"], "choose one"),
        (["--json", "no/such/dir.json"], "is not a directory"),
        (["--plot", "no/such/dir.png"], "is not a directory"),
        (["--plot", "figure.txt"], "--plot: expected .png, .pdf, .svg"),
        (["--plot", "figure.png", "--dry-run"], "which --dry-run does not measure"),
        (["--method", "nf4", "--bits", "3"], "--bits goes with --method rtn, mse"),
        (["--method", "rtn", "--rank", "3"], "--rank goes with --method lowrank, not rtn"),
        (
            ["--svd", "randomized"],
            "--svd goes with --method lowrank, not rtn; --rank, --rank-ratio",
        ),
        (["--bits", "8", "--svd", "exact"], "--svd goes with --method lowrank, not rtn"),
        (["--prune-ratio", "0.5", "--svd", "exact"], "--svd goes with --method lowrank, not rtn"),
        (["--method", "bfloat16", "--group-size", "3"], "not bfloat16"),
        (["--method", "lowrank", "--target-bits", "3"], "--target-bits goes with --method"),
        (["--method", "lowrank", "--seed", "3"], "--seed goes with --svd randomized"),
        (["--method", "lowrank", "--prune-ratio", "0.5"], "lowrank and prune do not go together"),
        (["--method", "float16", "--recipe", "r.toml"], "--recipe says it all"),
        (["--bits", "4", "--scale-bits", "8"], "--scale-bits goes with --method nf4, fp4, log2"),
        (["--method", "mse", "--calibration", "mse"], "--calibration goes with --method nf4, fp4"),
        (["--bits", "4", "--calibration", "als"], "lloyd, not rtn: of codes --method als says it"),
        (["--method", "nf4", "--calibration", "als"], "must be one of 'absmax', 'mse', not 'als'"),
        (["--method", "mse", "--percentile", "99"], "--percentile goes with --method percentile"),
        (["--method", "percentile", "--percentile", "0"], "percentile must be more than 0"),
        (["--method", "lloyd", "--per-row", "--calibration", "mse"], "has none but for PerGroup"),
        (["--scale-bits", "8", "--recipe", "r.toml"], "--recipe says it all"),
        (["--target-bits", "4", "--bits", "4"], "leave out --bits"),
        (["--target-bits", "4", "--choices", "2;3"], "--choices: expected numbers like"),
        (["--target-bits", "4", "--choices", "2,17"], "choices[1] must be 1 ... 16, not 17"),
        (["--choices", "2,3"], "--choices goes with --target-bits"),
        (["--target-bits", "4", "--recipe", "r.toml"], "--recipe says it all"),
    ],
)
def test_wrong_usage(source, tmp_path, capsys, flags, message):
    assert run("compress", source, "-o", tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_bit_is_two_levels_of_each_group(source, tmp_path):
    assert run("compress", source, "-o", tmp_path / "out", "--bits", "1", "-q") == 0
    checkpoint = pyfq.load_checkpoint(tmp_path / "out")
    codes = [w for w in checkpoint.values() if isinstance(w, pyfq.Quantized)]
    assert codes
    assert all(w.bits == 1 and w.minimum is not None for w in codes)


def test_refuses_to_overwrite(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("compress", source, "-o", out) == 0
    assert run("compress", source, "-o", out, "--bits", "4") == 1
    assert "--force replaces it" in capsys.readouterr().err
    assert run("compress", source, "-o", out, "--bits", "4", "--force") == 0
    assert "a.weight_packed" in tensors_of(out)


def test_force_leaves_no_older_checkpoint_to_be_read(source, shards, tmp_path):
    out = tmp_path / "out"
    assert run("compress", shards, "-o", out) == 0
    assert run("compress", source, "-o", out, "--force") == 0
    assert [path.name for path in out.glob("*.safetensors*")] == ["model.safetensors"]
    assert run("compress", shards, "-o", out, "--force") == 0
    assert not (out / "model.safetensors").exists()
    assert "a.weight_scale" in tensors_of(out)


@pytest.mark.parametrize("destination", [".", "sub", "model.safetensors"])
def test_refuses_a_destination_in_the_source(source, capsys, destination):
    before = (source / "model.safetensors").read_bytes()
    assert run("compress", source, "-o", source / destination, "--force") == 1
    assert "error" in capsys.readouterr().err
    assert (source / "model.safetensors").read_bytes() == before


def test_refuses_what_is_quantized_already(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out") == 0
    assert run("compress", tmp_path / "out", "-o", tmp_path / "again") == 1
    assert "decompress it first" in capsys.readouterr().err


def test_refuses_to_do_nothing(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out", "--include", "nope*") == 1
    assert "'nope*'" in capsys.readouterr().err


def test_not_finite_fails_with_the_name_and_leaves_nothing(tmp_path, capsys):
    tensors = model()
    tensors["c.weight"][3, 4] = np.inf
    write_safetensors(tmp_path / "m.safetensors", tensors)
    assert run("compress", tmp_path / "m.safetensors", "-o", tmp_path / "out") == 1
    file = tmp_path / "m.safetensors"
    reason = f"{file}: tensor 'c.weight' cannot be compressed as asked"
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--bits=4", "--target-bits=4", "--rank-energy=0.9"])
def test_a_refused_tensor_of_a_shard_names_the_shard(shards, tmp_path, capsys, option):
    index = json.loads((shards / "model.safetensors.index.json").read_text())["weight_map"]
    name = "c.weight"
    w = np.full((64, 128), np.nan, np.float32)
    write_safetensors(shards / index[name], {name: w})
    assert run("compress", shards, "-o", tmp_path / "out", option) == 1
    reason = f"{shards / index[name]}: tensor {name!r} cannot be compressed as asked"
    assert reason in capsys.readouterr().err


def test_a_clash_of_names_names_the_source(tmp_path, capsys):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"a.weight": weights((64, 128)), "a.weight_scale": weights((64, 1))})
    assert run("compress", path, "-o", tmp_path / "out") == 1
    assert f"{path}: tensors 'a.weight' and 'a.weight_scale' would" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--method", "rtn", "--target-bits", "4"]])
def test_dense_needs_no_names_of_codes(tmp_path, capsys, flags):
    """A name that only codes would take as well does not fail a run that has written its target."""
    path, out = tmp_path / "m.safetensors", tmp_path / "out.safetensors"
    write_safetensors(path, {"a.weight": weights((64, 128)), "a.weight_scale": weights((64, 1))})
    json_path = tmp_path / "report.json"
    assert run("compress", path, "-o", out, "--dense", *flags, "--json", json_path) == 0
    assert "without it" not in capsys.readouterr().out
    assert tensors_of(out).keys() == {"a.weight", "a.weight_scale"}
    report = json.loads(json_path.read_text())
    assert report["inputs"][0]["bytes"] == path.stat().st_size
    if flags:
        assert report["budget"]["widths"]
    assert run("compress", path, "-o", out, "--dense", *flags, "--dry-run") == 0


def test_npz_refuses_bfloat16(tmp_path, capsys):
    bits = pyfq.cast_to(weights((64, 128)), "bfloat16")
    write_safetensors(tmp_path / "m.safetensors", {"w": bits}, dtypes={"w": "BF16"})
    assert run("compress", tmp_path / "m.safetensors", "-o", tmp_path / "o.npz", "--dense") == 1
    assert "npz cannot hold BF16" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors"]


def interrupt_after(monkeypatch, count, step="compress_tensor"):
    """Make the command stop, as Ctrl-C does, at its `count`-th compressed, or examined, tensor."""
    original, seen = getattr(command, step), []

    def stop(tensor, *arguments, **options):
        if step == "measure" or tensor.rule is not None:
            seen.append(tensor)
            if len(seen) > count:
                raise KeyboardInterrupt
        return original(tensor, *arguments, **options)

    monkeypatch.setattr(command, step, stop)


@pytest.mark.parametrize("flags", [[], ["--bits", "4", "--scheme", "affine", "--per-tensor"]])
@pytest.mark.parametrize("kind", ["single", "shards"])
def test_resume_ends_as_if_nothing_had_happened(
    source, shards, tmp_path, monkeypatch, capsys, flags, kind
):
    checkpoint = source if kind == "single" else shards
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run("compress", checkpoint, "-o", whole, "--json", tmp_path / "w.json", *flags) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert run("compress", checkpoint, "-o", out, *flags) == 130
    assert "--resume goes on" in capsys.readouterr().err
    assert not (out / "model.safetensors").exists()
    assert run("compress", checkpoint, "-o", out, *flags) == 1
    assert "--resume goes on with it, --force begins anew" in capsys.readouterr().err

    assert run("compress", checkpoint, "-o", out, "--resume", "--bits", "7") == 1
    assert "cannot resume: recipe" in capsys.readouterr().err
    report = tmp_path / "o.json"
    assert run("compress", checkpoint, "-o", out, "--resume", "--json", report, *flags) == 0
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    for file in files:
        assert (whole / file).read_bytes() == (out / file).read_bytes()
    rows = [json.loads(path.read_text())["tensors"] for path in (tmp_path / "w.json", report)]
    for row in (*rows[0], *rows[1]):
        assert (row.pop("seconds", None) is None) == (row["method"] == "copy")
    assert rows[0] == rows[1]


@pytest.mark.parametrize("step", ["measure", "compress_tensor"])
@pytest.mark.parametrize(
    "flags",
    [
        ["--target-bits", "4.5"],
        ["--method", "rtn", "--target-bits", "4.5"],
        ["--rank-energy", "0.5"],
    ],
)
def test_resume_examines_no_tensor_twice(source, tmp_path, monkeypatch, flags, step):
    whole, out = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
    assert run("compress", source, "-o", whole, *flags) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2, step)
        assert run("compress", source, "-o", out, *flags) == 130
    assert not out.exists()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2 if step == "measure" else 0, "measure")  # 2 of 4 are left
        assert run("compress", source, "-o", out, "--resume", *flags) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.journal"))


def test_what_cannot_be_decided_leaves_nothing(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("compress", source, "-o", out, "--method", "rtn", "--target-bits", "2") == 1
    assert "bits_per_weight of the budget must be at least 2." in capsys.readouterr().err
    assert run("compress", source, "-o", out, "--rank-energy", "0.999") == 1
    error = capsys.readouterr().err
    assert "no tensor is to be compressed: 3 copied: rank 64 takes no fewer mult" in error
    assert not out.exists()


def test_resume_refuses_another_input(source, tmp_path, monkeypatch, capsys):
    out = tmp_path / "o.safetensors"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        assert run("compress", source, "-o", out) == 130
    assert out.with_name(out.name + PARTIAL).is_dir()
    write_safetensors(source / "model.safetensors", model() | {"bias": np.ones(64, np.float32)})
    assert run("compress", source, "-o", out, "--resume") == 1
    assert "cannot resume: source" in capsys.readouterr().err
    assert run("compress", source, "-o", out, "--force") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "o.safetensors"]


def test_resume_without_an_interrupted_run_begins(source, tmp_path):
    assert run("compress", source, "-o", tmp_path / "out", "--resume") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]


def test_decompress_restores_config_and_names(source, tmp_path):
    assert run("compress", source, "-o", tmp_path / "out", "--bits", "4") == 0
    assert run("decompress", tmp_path / "out", "-o", tmp_path / "back") == 0
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == {"hidden": 128}
    back = tensors_of(tmp_path / "back")
    assert {name: x.shape for name, x in back.items()} == {
        name: x.shape for name, x in model().items()
    }
    np.testing.assert_array_equal(back["bias"], model()["bias"])


def test_decompress_refuses_what_pyfq_did_not_write(source, tmp_path, capsys):
    assert run("decompress", source, "-o", tmp_path / "back") == 1
    assert "was not written by pyfq compress" in capsys.readouterr().err


def test_a_missing_part_is_named(source, tmp_path, capsys):
    out = tmp_path / "o.safetensors"
    assert run("compress", source, "-o", out) == 0
    with open_safetensors(out) as file:
        tensors = {name: np.array(file[name]) for name in file if name != "a.weight_scale"}
        metadata = file.metadata
    write_safetensors(out, tensors, metadata)
    assert run("inspect", out) == 1
    err = capsys.readouterr().err
    assert "'a.weight_scale' of 'a.weight'" in err
    assert "missing" in err


def test_inspect(source, tmp_path, capsys):
    assert run("compress", source, "-o", tmp_path / "out", "--bits", "4") == 0
    capsys.readouterr()
    assert run("inspect", tmp_path / "out", "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["tensors"]}
    assert sorted(rows) == sorted(model())
    assert rows["a.weight"]["format"] == "pack-quantized"
    assert rows["a.weight"]["method"] == "int4 symmetric per 64 als"
    assert rows["a.weight"]["parts"]["a.weight_packed"] == {"dtype": "I32", "shape": [64, 16]}
    assert document["totals"]["weights"] == sum(x.size for x in model().values())
    assert run("inspect", tmp_path / "out", "--parts") == 0
    out = capsys.readouterr().out
    assert "64 x 128" in out
    assert "-> a.weight_packed" in out


def test_inspect_of_any_checkpoint(tmp_path, capsys):
    write_npz(tmp_path / "m.npz", {"w": np.ones((2, 3)), "s": np.array(1)})
    assert run("inspect", tmp_path / "m.npz") == 0
    out = capsys.readouterr().out
    assert "2 x 3" in out
    assert "scalar" in out


RECIPE = """
[[rule]]
match = "a*"
lowrank = { ratio = 0.25, residual = { bits = 2, scheme = "affine" } }
precision = "bfloat16"
[[rule]]
match = "b*"
ndim = 2
codebook = { levels = "lloyd", bits = "budget" }
[[rule]]
match = "odd*"
precision = "bfloat16"
[[rule]]
match = "*"
ndim = 2
min_size = 4096
prune = { ratio = 0.5 }
quantize = { bits = "budget" }
[budget]
bits_per_weight = 8.0
choices = [3, 4, 8]
"""


def test_a_recipe_of_every_method(source, tmp_path, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE)
    packed, dense, back = (tmp_path / f"{name}.safetensors" for name in ("q", "d", "b"))
    assert run("compress", source, "-o", packed, "--recipe", recipe, "--json", "-") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["budget"]["bits_per_weight"] == 8
    assert report["budget"]["used"] == report["totals"]["bits_per_weight"] <= 8
    widths = report["budget"]["widths"]
    assert sum(entry["tensors"] for entry in widths.values()) == 2
    assert sum(entry["weights"] for entry in widths.values()) == 2 * 64 * 128
    rows = {row["name"]: row for row in report["tensors"]}
    assert rows["a.weight"]["method"] == ("low rank 10 + residual int2 affine per 128 + bfloat16")
    assert rows["odd.weight"]["method"] == "bfloat16"
    assert rows["c.weight"]["method"].startswith("ratio 0.5 per tensor + int")
    assert rows["b.weight"]["method"].startswith("lloyd ")
    assert all(row["seconds"] >= 0 for row in rows.values() if row["method"] != "copy")
    assert report["settings"]["recipe"]["budget"]["choices"] == [3, 4, 8]

    assert run("compress", source, "-o", dense, "--recipe", recipe, "--dense") == 0
    assert f"used {report['budget']['used']:.4g}; tensors of" in capsys.readouterr().out
    assert run("decompress", packed, "-o", back) == 0
    same(tensors_of(back), tensors_of(dense))
    with open_safetensors(packed) as file:
        assert file.dtypes["odd.weight"] == file.dtypes["a.weight_u"] == "BF16"
        manifest = json.loads(file.metadata["pyfq"])["tensors"]
    assert str(manifest["c.weight"]["quantize"]["bits"]) in widths
    assert run("inspect", packed, "--parts") == 0
    out = capsys.readouterr().out
    assert "-> b.weight_levels" in out
    assert "-> a.weight_residual_packed" in out
    assert run("compress", source, "-o", tmp_path / "o.npz", "--recipe", recipe) == 1
    assert "npz cannot hold BF16" in capsys.readouterr().err


def test_tables_with_scales_in_codes_and_bits_of_a_budget(source, tmp_path, capsys):
    packed, dense, back = (tmp_path / f"{name}.safetensors" for name in ("q", "d", "b"))
    flags = ["--method", "lloyd", "--calibration", "mse", "--scale-bits", "8"]
    flags += ["--target-bits", "4.5", "--choices", "3,4,5"]
    assert run("compress", source, "-o", packed, *flags, "--json", "-") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["budget"]["used"] <= 4.5
    rows = {row["name"]: row for row in report["tensors"]}
    assert rows["a.weight"]["method"].endswith(" bits per 64 mse, scales of 8 bits")
    assert run("compress", source, "-o", dense, *flags, "--dense") == 0
    assert run("decompress", packed, "-o", back) == 0
    same(tensors_of(back), tensors_of(dense))
    assert "a.weight_scale_packed" in tensors_of(packed)
    assert "a.weight_scale" not in tensors_of(packed)


def test_percentile_is_that_of_quantize(source, tmp_path, capsys):
    dense = tmp_path / "d.safetensors"
    flags = ["--method", "percentile", "--percentile", "90", "--bits", "4", "--json", "-"]
    assert run("compress", source, "-o", dense, *flags, "--dense") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["tensors"]}
    assert rows["a.weight"]["method"] == "int4 symmetric per 128 percentile 90"
    w = tensors_of(source)["a.weight"]
    how = {"granularity": pyfq.PerGroup(128), "calibration": "percentile", "percentile": 90}
    want = pyfq.quantize(w, 4, **how).dequantize()
    np.testing.assert_array_equal(tensors_of(dense)["a.weight"], want)
    assert (want != pyfq.quantize(w, 4, granularity=pyfq.PerGroup(128)).dequantize()).any()


def test_dry_run_chooses_bits_and_writes_nothing(source, tmp_path, capsys):
    flags = ["-o", tmp_path / "out", "--target-bits", "4.5", "--json", tmp_path / "r.json"]
    assert run("compress", source, *flags, "--dry-run") == 0
    assert "budget 4.5 bits per weight, used 4." in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    dry = json.loads((tmp_path / "r.json").read_text())["tensors"]
    assert run("compress", source, *flags) == 0
    rows = json.loads((tmp_path / "r.json").read_text())["tensors"]
    assert [row["method"] for row in rows] == [row["method"] for row in dry]


def test_widths_of_a_budget_are_groups_of_the_quantization_config(source, tmp_path):
    out = tmp_path / "out"
    assert run("compress", source, "-o", out, "--target-bits", "6", "--choices", "4,8") == 0
    groups = json.loads((out / "config.json").read_text())["quantization_config"]["config_groups"]
    assert {group["weights"]["num_bits"] for group in groups.values()} == {4, 8}


def test_float_files_can_be_compressed_again(source, tmp_path):
    half, small, back = (tmp_path / f"{name}.safetensors" for name in ("h", "s", "b"))
    assert run("compress", source, "-o", half, "--method", "bfloat16") == 0
    assert run("compress", half, "-o", small, "--bits", "8") == 0
    assert run("decompress", small, "-o", back) == 0
    with open_safetensors(back) as file:
        assert file.dtypes["a.weight"] == "BF16"


def test_plot_draws_names_that_look_like_formulas(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {r"a$\frac{b$": weights((64, 128)), "$_{$": weights((64, 128))})
    figure, out = tmp_path / "e.svg", tmp_path / r"o$\frac{$.safetensors"
    assert run("compress", path, "-o", out, "--plot", figure) == 0
    drawn = figure.read_text()
    assert all(text in drawn for text in (r"a$\frac{b$", "$_{$", out.name))


def test_plot_draws_any_name(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    path, figure = tmp_path / "m.safetensors", tmp_path / "e.svg"
    names = "a\x07.\x1b[2J", "b\nc", "\x00", "\uffff", "--", "<&>"
    write_safetensors(path, {name: weights((64, 128)) for name in names})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("compress", path, "-o", tmp_path / "o\x01", "--plot", figure) == 0
    assert not capsys.readouterr().err
    drawn = figure.read_text()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert all(text in drawn for text in (r"a\x07.\x1b[2J", r"b\nc", r"\x00", r"\uffff", r"o\x01"))


def test_plot_says_so_where_the_font_lacks_letters(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    path, figure = tmp_path / "m.safetensors", tmp_path / "e.svg"
    write_safetensors(path, {"\U0001f9f6.weight": weights((64, 128))})
    assert run("compress", path, "-o", tmp_path / "out", "--plot", figure) == 0
    said = capsys.readouterr().err
    assert (
        said == f"pyfq compress: {figure}: the font lacks some letters, for which there are boxes\n"
    )


def test_plot_draws_the_error_of_each_tensor(source, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    figure = tmp_path / "error.svg"
    assert run("compress", source, "-o", tmp_path / "out", "--plot", figure) == 0
    assert figure.stat().st_size > 10_000
    assert not list(tmp_path.glob("*.partial*"))


MEASURE = """
import resource, sys
import tabulate, tqdm
import pyfq.cli.compress
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
code = pyfq.cli.main(sys.argv[1:])
print(peak() - before, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="needs getrusage")
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in bytes elsewhere")
@pytest.mark.parametrize("word", ["F32", "BF16"])
@pytest.mark.parametrize(
    "flags",
    [
        ["--bits", "4", "--scheme", "affine"],
        ["--bits", "8", "--prune-ratio", "0.5", "--dense"],
        ["--target-bits", "6", "--choices", "4,8", "--prune-ratio", "0.5"],
        ["--method", "nf4"],
        ["--method", "bfloat16"],
    ],
)
def test_memory_is_a_few_times_the_largest_tensor(tmp_path, word, flags):
    nbytes = 64_000_000
    shape = (nbytes // (4 if word == "F32" else 2) // 4000, 4000)
    dtype = np.float32 if word == "F32" else np.uint16
    # Numbers near 1 in both words; made by a child, for a child starts with its parent's peak.
    make = (
        "import numpy as np, sys; from pyfq.io import write_safetensors\n"
        f"bits = np.random.default_rng(0).integers(0x3F00, 0x3FFF, {shape}, np.uint16)\n"
        f"big = (bits.astype(np.uint32) << 16).view(np.float32) if {word == 'F32'} else bits\n"
        "small = {f's{i}': big[: len(big) // 64].copy() for i in range(64)}\n"
        "tensors = {'big': big} | small\n"
        f"write_safetensors(sys.argv[1], tensors, dtypes=dict.fromkeys(tensors, {word!r}))"
    )
    assert np.dtype(dtype).itemsize * shape[0] * shape[1] == nbytes
    path = tmp_path / "m.safetensors"
    subprocess.run([sys.executable, "-P", "-c", make, path], check=True)
    launch = [sys.executable, "-P", "-c", MEASURE, "compress", path, "-o", tmp_path / "o", *flags]
    result = subprocess.run(launch, capture_output=True, text=True, check=True)
    assert int(result.stderr) <= 6 * nbytes


def test_npz_holds_every_float_of_numpy(tmp_path):
    w = np.random.default_rng(0).standard_normal((16, 64))
    for dtype in (np.float64, np.float32, np.float16):
        source, small, again = (tmp_path / f"{n}{w.itemsize}.npz" for n in ("w", "small", "again"))
        write_npz(source, {"w": w.astype(dtype), "other": w[0].astype(dtype)})
        assert main(["compress", str(source), "-o", str(small), "--min-size", "1", "--force"]) == 0
        assert main(["decompress", str(small), "-o", str(again), "--force"]) == 0
        with np.load(again) as found:
            assert found["w"].dtype == found["other"].dtype == dtype


@pytest.mark.parametrize("flags", [(), ("--dry-run",), ("--resume",)])
def test_budget_that_cannot_be_met_is_refused_before_data_is_read(
    tmp_path, monkeypatch, capsys, flags
):
    source, recipe = tmp_path / "w.safetensors", tmp_path / "recipe.toml"
    w = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    write_safetensors(source, {"a": w, "b": w, "c": w})
    monkeypatch.setattr(command, "measure", None)
    budget = "[budget]\nbits_per_weight = 2.0\nchoices = [2, 4]\n"
    codes = '[[rule]]\nmatch = "*"\nquantize = { bits = "budget", group_size = 16 }\n'
    for first in (
        "",
        '[[rule]]\nmatch = "a"\nquantize = { bits = 8 }\n',
        '[[rule]]\nmatch = "a"\nlowrank = { energy = 0.9 }\n',
    ):
        recipe.write_text(first + codes + budget)
        words = ["compress", str(source), "-o", str(tmp_path / "out"), "--recipe", str(recipe)]
        assert main([*words, *flags]) == 1
        said = capsys.readouterr().err
        assert "bits_per_weight of the budget must be at least" in said
        if not first:
            assert "at least 4.0625 for" in said  # codes, scales, and the shape beside them
        assert sorted(tmp_path.iterdir()) == [recipe, source]
