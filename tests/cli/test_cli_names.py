"""Names, metadata and configs that `pyfq compress` and `decompress` keep; whom they refuse."""

import json
import os
from importlib.util import find_spec

import numpy as np
import pytest

from pyfq.cli import main
from pyfq.cli._model_config import QUANTIZATION, read_config, with_quantization
from pyfq.io import open_checkpoint, open_safetensors, write_index, write_safetensors
from pyfq.io.sharded import read_index_document

W = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def files_in(directory):
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())


def model(directory, name="model.safetensors", config="{}"):
    directory.mkdir(exist_ok=True)
    write_safetensors(directory / name, {"a.weight": W, "b.weight": W + 1}, {"format": "pt"})
    if config is not None:
        (directory / "config.json").write_bytes(config.encode())
    return directory


def there_and_back(source, tmp_path, *flags):
    """Compress and decompress a directory; return both results."""
    assert run("compress", source, "-o", tmp_path / "q", *(flags or ("--bits", "4"))) == 0
    assert run("decompress", tmp_path / "q", "-o", tmp_path / "back") == 0
    return tmp_path / "q", tmp_path / "back"


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model.fp16.safetensors",
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "consolidated.safetensors",
        "lora.safetensors",
    ],
)
def test_a_single_file_keeps_its_name(tmp_path, name):
    source = model(tmp_path / "m", name)
    for directory in there_and_back(source, tmp_path):
        assert files_in(directory) == sorted(["config.json", name])
        assert open_safetensors(directory / name).metadata["format"] == "pt"


@pytest.mark.parametrize(
    ("index", "shards"),
    [
        (
            "diffusion_pytorch_model.safetensors.index.json",
            ["diffusion_pytorch_model-00001-of-00002.safetensors", "x/y.safetensors"],
        ),
        (
            "model.safetensors.index.fp16.json",
            ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"],
        ),
        ("consolidated.safetensors.index.json", ["a.safetensors", "b.safetensors"]),
    ],
)
def test_an_index_keeps_its_name_and_entries(tmp_path, index, shards):
    source = tmp_path / "m"
    (source / "x").mkdir(parents=True)
    weight_map = {f"{i}.weight": shard for i, shard in enumerate(shards)}
    for i, (name, shard) in enumerate(weight_map.items()):
        write_safetensors(source / shard, {name: W}, {"part": str(i)})
    metadata = {"total_parameters": 10**30, "limit": float("inf"), "note": {"é": [1, None]}}
    write_index(source / index, weight_map, 1, metadata, others={"__version__": "2", "x": [1.5]})
    (source / "x" / "stray.safetensors").touch()
    packed, back = there_and_back(source, tmp_path)
    for directory in packed, back:
        assert {index, *shards} <= {*files_in(directory)}
        document = read_index_document(directory / index)
        assert document["metadata"].pop("total_size") > 1
        assert document["metadata"] == metadata
        assert (document["__version__"], document["x"]) == ("2", [1.5])
        for i, shard in enumerate(shards):
            assert open_safetensors(directory / shard).metadata["part"] == str(i)
    assert read_index_document(back / index)["weight_map"] == weight_map
    with open_checkpoint(back) as checkpoint:
        assert read_index_document(back / index)["metadata"]["total_size"] == checkpoint.nbytes


def test_a_checkpoint_of_npz_becomes_the_conventional_file(tmp_path):
    np.savez(tmp_path / "w.npz", a=W)
    assert run("compress", tmp_path / "w.npz", "-o", tmp_path / "q") == 0
    assert "model.safetensors" in files_in(tmp_path / "q")


def test_force_keeps_other_models_and_says_which_one_is_read(tmp_path, capsys):
    out = model(tmp_path / "out")
    (out / "mine.safetensors").write_bytes(b"of somebody else")
    before = (out / "model.safetensors").read_bytes()
    source = model(tmp_path / "m", "adapter_model.safetensors")
    assert run("compress", source, "-o", out, "--force", "--dense") == 0
    assert files_in(out) == [
        "adapter_model.safetensors", "config.json", "mine.safetensors", "model.safetensors",
    ]  # fmt: skip
    assert (out / "model.safetensors").read_bytes() == before
    told = capsys.readouterr()
    assert f"name {out / 'adapter_model.safetensors'}" in told.err
    assert "removed" not in told.out
    (out / "model.safetensors").unlink()
    source = model(tmp_path / "n", "lora.safetensors")
    assert run("compress", source, "-o", out, "--force", "--dense") == 0
    assert "take adapter_model.safetensors" in capsys.readouterr().err
    (out / "adapter_model.safetensors").unlink()
    assert run("compress", source, "-o", out, "--force", "--dense") == 0
    assert "do not find which checkpoint is meant: name" in capsys.readouterr().err


# What is there beside a config, what is written, and what stays.
OTHERS = [
    ("model.safetensors", "lora.safetensors", "model.safetensors"),
    ("model.safetensors", "consolidated.safetensors", "model.safetensors"),
    ("model.safetensors.index.json", "lora.safetensors", "model.safetensors.index.json"),
    ("lora.safetensors", "model.safetensors", "lora.safetensors"),
    ("lora.safetensors", "other.safetensors", "lora.safetensors"),
    ("lora.safetensors.index.json", "other.safetensors", "lora.safetensors.index.json"),
]


@pytest.mark.parametrize(("there", "name", "stays"), OTHERS)
@pytest.mark.parametrize("config", [None, "{}", '{"a": 1}'])
def test_the_config_of_a_checkpoint_that_stays_is_not_touched(
    tmp_path, capsys, monkeypatch, there, name, stays, config
):
    out = model(tmp_path / "out", "x.safetensors" if there.endswith(".json") else there)
    if there.endswith(".json"):
        write_index(out / there, dict.fromkeys(["a.weight", "b.weight"], "x.safetensors"), 1)
    source = model(tmp_path / "m", name, config)
    before = {file: file.read_bytes() for file in out.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("pyfq.cli.compress.compress_tensor", None)  # before the work
        # No config is made up for pyfq's own format.
        own = [] if config is None else [["--method", "nf4"], ["--target-bits", "4"]]
        for flags in ([], ["--dry-run"], ["--target-bits", "4", "--method", "rtn"], *own):
            assert run("compress", source, "-o", out, "--force", *flags) == 1
            told = capsys.readouterr().err
            assert f"{out}: {stays}, another checkpoint, stays there, and config.json" in told
            assert "choose another directory, or name a file" in told
    assert {file: file.read_bytes() for file in out.iterdir()} == before
    # What changes no config is written, and so is a file alone.
    done = 0 if config != '{"a": 1}' else 1
    assert run("compress", source, "-o", out, "--force", "--method", "bfloat16") == done
    assert run("compress", source, "-o", out / "q.safetensors") == 0
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("name", ["b.safetensors", "model.safetensors"])
def test_a_config_that_comes_beside_a_checkpoint_that_stays_is_refused(tmp_path, capsys, name):
    """It would call that checkpoint quantized."""
    out = model(tmp_path / "out", "a.safetensors", config=None)
    source = model(tmp_path / "m", name, config=None)
    assert run("compress", source, "-o", out, "--force") == 1
    assert "a.safetensors, another checkpoint, stays there" in capsys.readouterr().err
    assert files_in(out) == ["a.safetensors"]
    assert run("compress", source, "-o", out, "--force", "--dense") == 0
    assert files_in(out) == sorted(["a.safetensors", name])


def test_decompress_leaves_the_config_of_another_checkpoint(tmp_path, capsys):
    assert run("compress", model(tmp_path / "m"), "-o", tmp_path / "out", "--bits", "4") == 0
    before = (tmp_path / "out" / "config.json").read_bytes()
    lora = model(tmp_path / "n", "lora.safetensors", config=None)
    assert run("compress", lora, "-o", tmp_path / "q", "--bits", "4") == 0
    assert run("decompress", tmp_path / "q", "-o", tmp_path / "out", "--force") == 1
    assert "model.safetensors, another checkpoint, stays there" in capsys.readouterr().err
    assert (tmp_path / "out" / "config.json").read_bytes() == before


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_force_names_the_files_of_the_same_model_that_it_removes(tmp_path, capsys, command):
    """The target was a model of two shards, whose index lists files that are no weights, too."""
    source = model(tmp_path / "m")
    if command == "decompress":
        assert run("compress", source, "-o", tmp_path / "q") == 0
        source = tmp_path / "q"
    out = tmp_path / "out"
    out.mkdir()
    weight_map = {"a.weight": "a.st", "b.weight": "b.safetensors"}
    for name, shard in weight_map.items():
        write_safetensors(out / shard, {name: W})
    (out / "tokenizer.json").write_text("mine")
    index = "model.safetensors.index.json"
    write_index(out / index, weight_map | {"x": "tokenizer.json"}, 1)
    json_path = tmp_path / "report.json"
    flags = ["--json", json_path] if command == "compress" else []
    capsys.readouterr()
    assert run(command, source, "-o", out, "--force", *flags) == 0
    removed = [str(out / name) for name in ("a.st", "b.safetensors", index)]
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == f"removed: {', '.join(removed)}"
    assert told.err == ""
    if flags:
        assert json.loads(json_path.read_text())["removed"] == removed
    assert files_in(out) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (out / "tokenizer.json").read_text() == "mine"


# Adapters


def adapter(directory):
    directory.mkdir()
    write_safetensors(
        directory / "adapter_model.safetensors",
        {
            "base_model.model.q.lora_A.weight": W.reshape(16, 512),
            "base_model.model.q.lora_B.weight": W.reshape(512, 16),
        },
        {"format": "pt"},
    )
    (directory / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 16}')
    return directory


@pytest.mark.parametrize("by", ["", "adapter_model.safetensors"])
def test_an_adapter_keeps_its_name_and_gets_no_config(tmp_path, capsys, by):
    source = adapter(tmp_path / "m")
    assert run("compress", source / by, "-o", tmp_path / "q") == 0
    assert "--dense writes what PEFT opens" in capsys.readouterr().err
    assert run("decompress", tmp_path / "q", "-o", tmp_path / "back") == 0
    assert run("compress", source / by, "-o", tmp_path / "dense", "--dense") == 0
    assert "PEFT" not in capsys.readouterr().err
    for directory in "q", "back", "dense":
        found = files_in(tmp_path / directory)
        assert found == ["adapter_config.json", "adapter_model.safetensors"]
    before = (source / "adapter_config.json").read_bytes()
    assert (tmp_path / "q" / "adapter_config.json").read_bytes() == before


@pytest.mark.parametrize("by", ["", "adapter_model.safetensors"])
def test_the_config_of_a_model_beside_an_adapter_stays_as_it_is(tmp_path, capsys, by):
    source = adapter(tmp_path / "m")
    config = b'{"model_type": "llama", "hidden":  64}'
    (source / "config.json").write_bytes(config)
    assert run("compress", source / by, "-o", tmp_path / "q") == 0
    assert "--dense writes what PEFT opens" in capsys.readouterr().err
    assert run("decompress", tmp_path / "q", "-o", tmp_path / "back") == 0
    for directory in "q", "back":
        assert (tmp_path / directory / "config.json").read_bytes() == config
        assert not (tmp_path / directory / "README-pyfq.md").exists()
    assert run("compress", source / by, "-o", tmp_path / "q.safetensors") == 0
    assert "--dense writes what PEFT opens" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("safetensors") is None, reason="needs the oracles extra")
def test_the_library_opens_a_dense_adapter(tmp_path):
    from safetensors.numpy import load_file

    source = adapter(tmp_path / "m")
    assert run("compress", source, "-o", tmp_path / "d", "--dense", "--min-size", "1") == 0
    before = load_file(source / "adapter_model.safetensors")
    after = load_file(tmp_path / "d" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    for name, w in before.items():
        assert after[name].dtype == w.dtype
        assert 0 < np.abs(after[name] - w).max() < 0.05


# config.json

CONFIGS = {
    "infinity": '{"model_type": "mamba2", "time_step_limit": [0.0, Infinity]}',
    "negative": '{"a": -Infinity, "b": NaN}',
    "mark": '\ufeff{"a": 1}',
    "long integers": '{\n    "a": ' + "9" * 5000 + ',\n    "b": 123456789012345678901\n}\n',
    "numbers as written": '{"eps": 1e-05, "x": 1.0E+2, "y": -0, "z": 0.1000}',
    "key twice": '{"a": 1, "a": 2, "b": {"c": 1, "c": 2}}',
    "escapes": '{"a": "\\u00e9\\ud800\\/", "é": "}\\"{"}',
    "lines of windows": '{\r\n  "a": [1,\r\n 2]\r\n}\r\n',
    "tabs": '{\n\t"a": {\n\t\t"b": []\n\t}\n}',
    "empty": "{}",
    "blank": "{ \n\n} ",
    "line": "\n{\n  \n}\n",
    "null": '{"a": null}  ',
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_config_is_kept_to_the_byte(tmp_path, text):
    source = model(tmp_path / "m", config=text)
    packed, back = there_and_back(source, tmp_path)
    assert json.loads((packed / "config.json").read_text("utf-8-sig"), parse_int=str)[QUANTIZATION]
    assert (back / "config.json").read_bytes() == text.encode()
    assert run("compress", source, "-o", tmp_path / "dense", "--dense") == 0
    assert (tmp_path / "dense" / "config.json").read_bytes() == text.encode()


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_config_of_pyfqs_own_format_is_kept_to_the_byte(tmp_path, text):
    packed, back = there_and_back(model(tmp_path / "m", config=text), tmp_path, "--method", "nf4")
    said = json.loads((packed / "config.json").read_text("utf-8-sig"), parse_int=str)
    assert said[QUANTIZATION]["format"] == "pyfq"
    assert "quant_method" not in said[QUANTIZATION]
    assert (back / "config.json").read_bytes() == text.encode()


def test_no_config_is_made_up_for_pyfqs_own_format(tmp_path):
    source = model(tmp_path / "m", config=None)
    packed, back = there_and_back(source, tmp_path, "--method", "nf4")
    assert files_in(packed) == files_in(back) == files_in(source)


def test_a_config_of_the_target_tells_of_pyfqs_own_format(tmp_path, capsys):
    source, out = model(tmp_path / "m", config=None), tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text('{"user": "kept"}')
    flags = ("--method", "nf4")
    assert run("compress", source, "-o", out, "--force", *flags) == 0
    said = json.loads((out / "config.json").read_text())
    assert (said["user"], said[QUANTIZATION]["format"]) == ("kept", "pyfq")
    assert run("compress", source, "-o", out, "--resume", *flags) == 0
    assert "complete already" in capsys.readouterr().out
    assert run("compress", source, "-o", out, "--force", "--dense", *flags) == 0
    assert (out / "config.json").read_text() == '{"user": "kept"}'


def test_a_config_that_was_made_up_tells_nothing_of_pyfqs_own_format(tmp_path, capsys):
    source, out = model(tmp_path / "m", config=None), tmp_path / "out"
    assert run("compress", source, "-o", out) == 0
    for flags in (["--force"], ["--resume"]):
        assert run("compress", source, "-o", out, "--method", "nf4", *flags) == 0
        assert (out / "config.json").read_text().strip() == "{}"
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize("shards", [False, True])
def test_a_config_that_was_made_up_goes_with_the_codes(tmp_path, shards):
    source = model(tmp_path / "m", config=None)
    if shards:
        write_index(source / "model.safetensors.index.json", {"a.weight": "a", "b.weight": "b"}, 1)
        (source / "model.safetensors").unlink()
        for name in "ab":
            write_safetensors(source / name, {f"{name}.weight": W})
    packed, back = there_and_back(source, tmp_path)
    assert json.loads((packed / "config.json").read_text()).keys() == {QUANTIZATION}
    assert files_in(back) == files_in(source)
    (packed / "config.json").write_text('{"hidden": 8}')  # somebody's own by now
    assert run("decompress", packed, "-o", back, "--force") == 0
    assert (back / "config.json").read_text() == '{"hidden": 8}'


@pytest.mark.parametrize(
    "text",
    [
        '{"quantization_config": {"a": 1}, "b": 2}',
        '{"b": 2, "quantization_config": {"a": "}"}}',
        '{"b": 2, "quantization_config": [{"quantization_config": 1}], "c": NaN}',
        '{"quantization_config": 1, "b": 1, "quantization_config": 2}',
        '{"quantization_config": 1}',
    ],
)
def test_with_quantization_replaces_what_there_was(text):
    expected = json.loads(text)
    del expected[QUANTIZATION]
    assert repr(json.loads(with_quantization(text, None))) == repr(expected)
    new = json.loads(with_quantization(text, {"x": [1]}))
    assert repr(new) == repr(expected | {QUANTIZATION: {"x": [1]}})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "expected a JSON object, got a list"),
        (b"5", "expected a JSON object, got a number"),
        (b"null", "expected a JSON object, got null"),
        (b"{", "expected JSON"),
        (b"\xff{}", "expected UTF-8"),
        ("{}".encode("utf-16"), "text in UTF-16"),
        (b'{"a":' * 100_000, "expected JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
    ],
)
def test_a_config_that_is_none_is_refused_before_anything_is_written(
    tmp_path, capsys, data, reason
):
    source = model(tmp_path / "m")
    (source / "config.json").write_bytes(data)
    assert run("compress", source, "-o", tmp_path / "q") == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "q").exists()
    assert run("inspect", source) == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_config_that_is_a_fifo_is_refused(tmp_path, capsys):
    source = model(tmp_path / "m", config=None)
    os.mkfifo(source / "config.json")
    assert run("compress", source, "-o", tmp_path / "q") == 1
    assert "not a FIFO" in capsys.readouterr().err


def test_read_config_keeps_the_text(tmp_path):
    (tmp_path / "c.json").write_bytes('\ufeff{"a":\r\n1}'.encode())
    assert read_config(tmp_path / "c.json") == '\ufeff{"a":\r\n1}'


# Checkpoints that others have quantized


def i32(*shape):
    return np.zeros(shape, np.int32)


BITS = np.zeros((4, 8), np.uint8)
FOREIGN = {
    "gptq": {"l.qweight": i32(8, 8), "l.qzeros": i32(1, 1), "l.g_idx": i32(8), "l.scales": W},
    "awq": {"l.qweight": i32(8, 8), "l.qzeros": i32(1, 1), "l.scales": W},
    "bitsandbytes": {"l.weight": BITS, "l.weight.absmax": W, "l.weight.quant_map": W[0]},
    "hqq": {"l.W_q": BITS, "l.scale": W, "l.zero": W},
    "quanto": {"l.weight._data": BITS, "l.weight._scale": W},
    "aqlm": {"l.codes": np.zeros((4, 4, 1), np.int8), "l.codebooks": W, "l.scales": W},
    "mxfp4": {"l.up_proj_blocks": BITS, "l.up_proj_scales": BITS, "n": W},
    "mlx": {"l.weight": np.zeros((8, 8), np.uint32), "l.scales": W, "l.biases": W},
    "compressed-tensors": {"l.weight_packed": i32(8, 8), "l.weight_scale": W},
    "int8": {"l.weight": np.zeros((8, 8), np.int8), "l.weight_scale": W},
    "fp8": {"l.weight": BITS, "l.weight_scale_inv": W},
}
TOOLS = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "hqq": "HQQ",
    "quanto": "quanto",
    "aqlm": "AQLM",
    "mxfp4": "MXFP4",
    "mlx": "mlx-lm can read",
    "compressed-tensors": "llm-compressor",
    "int8": "llm-compressor",
    "fp8": "float8",
}


def refused_by_both(source, tmp_path, capsys, tool):
    for command, advice in (("compress", "take the checkpoint"), ("decompress", "not written by")):
        assert run(command, source, "-o", tmp_path / "out") == 1
        err = capsys.readouterr().err
        assert tool in err and advice in err and "decompress it first" not in err
        assert not (tmp_path / "out").exists()
    assert run("inspect", source) == 0
    assert "quantized by" in capsys.readouterr().out


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("config", [None, "{}"])
def test_what_others_quantized_is_told_by_its_tensors(tmp_path, capsys, kind, config):
    source = model(tmp_path / "m", config=config)
    dtypes = {"l.weight": "F8_E4M3"} if kind == "fp8" else None
    write_safetensors(source / "model.safetensors", FOREIGN[kind], dtypes=dtypes)
    refused_by_both(source, tmp_path, capsys, TOOLS[kind])


@pytest.mark.parametrize(
    ("entry", "tool"),
    [
        ({"quant_method": "gptq", "bits": 4}, "GPTQ"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "float8"),
        ({"quant_method": "torchao", "quant_type": {}}, "torchao"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"config_groups": {}}, "compressed-tensors"),
        ({"quant_method": "mine\x1b"}, "the method 'mine\\x1b'"),
        ({"quant_method": ["x"]}, "a tool that it does not name"),
        ("text", "a tool that it does not name"),
        ({"format": "pyfq"}, "pyfq, but its weights have lost the entry 'pyfq'"),
    ],
)
def test_what_others_quantized_is_told_by_the_config(tmp_path, capsys, entry, tool):
    source = model(tmp_path / "m", config=json.dumps({QUANTIZATION: entry}))
    refused_by_both(source, tmp_path, capsys, tool)
    assert run("compress", source, "-o", tmp_path / "out") == 1
    assert "though all tensors are floats: delete that entry" in capsys.readouterr().err


def test_a_config_of_mlx_is_told(tmp_path, capsys):
    config = json.dumps({"quantization": {"group_size": 64, "bits": 4}})
    refused_by_both(model(tmp_path / "m", config=config), tmp_path, capsys, "MLX")


@pytest.mark.parametrize("entry", [None, {}])
def test_an_empty_quantization_config_is_none(tmp_path, entry):
    source = model(tmp_path / "m", config=json.dumps({QUANTIZATION: entry}))
    assert run("compress", source, "-o", tmp_path / "out") == 0


def test_float8_without_scales_is_copied(tmp_path):
    source = tmp_path / "m.safetensors"
    bits = np.arange(64 * 128, dtype=np.uint8).reshape(64, 128)
    tensors = {"a.weight": bits, "b.weight": W, "norm.scale": W[0]}
    write_safetensors(source, tensors, dtypes={"a.weight": "F8_E4M3"})
    assert run("compress", source, "-o", tmp_path / "q.safetensors") == 0
    with open_safetensors(tmp_path / "q.safetensors") as file:
        assert file.dtypes["a.weight"] == "F8_E4M3"
        np.testing.assert_array_equal(file["a.weight"], bits)


# Names that would do something to a terminal


def test_names_are_escaped_on_the_terminal_and_kept_in_files(tmp_path, capsys):
    name = "a\x1b[31m\n\u202e.weight" + "x" * 300
    write_safetensors(tmp_path / "m.safetensors", {name: W})
    assert run("inspect", tmp_path / "m.safetensors") == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() and len(line) < 200 for line in out.splitlines())
    assert "a\\x1b[31m\\n\\u202e.weight" in out
    assert run("inspect", tmp_path / "m.safetensors", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["tensors"][0]["name"] == name
    out = tmp_path / "q\x1b[31m.safetensors"
    assert run("compress", tmp_path / "m.safetensors", "-o", out) == 0
    told = capsys.readouterr().out
    assert "lowest SQNR" in told
    assert all(line.isprintable() for line in told.splitlines())
    out.replace(tmp_path / "q.safetensors")
    assert run("decompress", tmp_path / "q.safetensors", "-o", tmp_path / "d.safetensors") == 0
    assert [*open_safetensors(tmp_path / "d.safetensors")] == [name]


# Entries of pyfq that contradict the file


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors, entry: tensors.update({"a.weight": W}), "both as it was and compressed"),
        (lambda tensors, entry: tensors.pop("a.weight_scale"), "it is missing"),
    ],
)
def test_an_entry_that_contradicts_its_file_is_refused(tmp_path, capsys, change, reason):
    path = tmp_path / "q.safetensors"
    write_safetensors(tmp_path / "m.safetensors", {"a.weight": W})
    assert run("compress", tmp_path / "m.safetensors", "-o", path, "--bits", "4") == 0
    with open_safetensors(path) as file:
        tensors, metadata = {name: file[name].copy() for name in file}, file.metadata
    change(tensors, json.loads(metadata["pyfq"]))
    write_safetensors(path, tensors, metadata)
    assert run("inspect", path) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "why"), [("pyfq", "pyfq needs this name"), ("a\0b", "npz cannot hold this name")]
)
def test_names_that_npz_cannot_hold_name_the_file(tmp_path, capsys, name, why):
    source, target = tmp_path / "s.safetensors", tmp_path / "t.npz"
    write_safetensors(source, {name: W, "w": W})
    assert main(["compress", str(source), "-o", str(target), "--include", "w"]) == 1
    said = capsys.readouterr().err
    shown = ascii(name)
    assert said == f"pyfq compress: error: {target}: tensor {shown}: {why}{said.partition(why)[2]}"
    assert "write .safetensors" in said
    assert [*tmp_path.iterdir()] == [source]
