"""Models that ``pyfq compress`` writes, opened by the libraries that people open models with."""

import json
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq.cli import main
from pyfq.io import open_safetensors

torch = pytest.importorskip("torch", reason="needs the encoder extra")
transformers = pytest.importorskip("transformers", reason="needs the encoder extra")
pytest.importorskip("compressed_tensors", reason="needs the oracles extra")

TOKENS = 120


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the directory of a small BERT of random weights."""
    directory = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=TOKENS,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(directory)
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c")
    vocabulary = {word: number for number, word in enumerate(words)}
    transformers.BertTokenizer(vocabulary).save_pretrained(directory)
    (directory / "README.md").write_text("# A model's own card\n")
    return directory


def run(*words):
    return main([str(word) for word in words])


def outputs(directory):
    """Return the last hidden state that the model of a directory computes."""
    network, found = transformers.AutoModel.from_pretrained(directory, output_loading_info=True)
    assert not any(found.values()), found
    with torch.no_grad():
        return network(torch.arange(40).reshape(2, 20)).last_hidden_state.numpy()


def dequantizes(directory):
    """Return what the config says of decompression at loading."""
    return json.loads((directory / "config.json").read_text())["quantization_config"].get(
        "dequantize", False
    )


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--bits", "8"],
        ["--bits", "4"],
        ["--bits", "3", "--scheme", "affine"],
        ["--bits", "8", "--scheme", "affine"],
        ["--bits", "4", "--per-row"],
        ["--bits", "5", "--per-tensor"],
        ["--bits", "8", "--group-size", "32"],
        ["--bits", "8", "--per-row", "--prune-ratio", "0.3"],
    ],
)
def test_transformers_computes_with_the_floats_that_codes_stand_for(model, tmp_path, capsys, flags):
    packed, dense = tmp_path / "packed", tmp_path / "dense"
    assert run("compress", model, "-o", packed, *flags) == 0
    assert "pyfq's format" not in capsys.readouterr().out
    assert run("compress", model, "-o", dense, "--dense", *flags) == 0
    assert dequantizes(packed)
    with open_safetensors(packed / "model.safetensors") as file:
        assert {"I8", "I32"} & set(file.dtypes.values())
    np.testing.assert_array_equal(outputs(packed), outputs(dense))


MIX = (
    '[[rule]]\nmatch = "*.query.weight"\nquantize = { bits = 8, per = "row" }\n'
    '[[rule]]\nmatch = "*.value.weight"\ncodebook = "nf4"\n'
)


@pytest.fixture
def mix(tmp_path):
    """Return a recipe half of whose tensors other libraries know."""
    (tmp_path / "mix.toml").write_text(MIX)
    return tmp_path / "mix.toml"


@pytest.mark.parametrize(
    "flags",
    [
        ["--target-bits", "3.5"],
        ["--method", "rate", "--bits", "3"],
        ["--method", "lossless"],
        ["--method", "nf4"],
        ["--rank", "8"],
        ["--bits", "9"],
        ["--recipe", "mix.toml"],
    ],
)
def test_what_only_pyfq_opens_is_refused_by_others(
    model, mix, tmp_path, capsys, monkeypatch, flags
):
    monkeypatch.chdir(tmp_path)
    assert run("compress", model, "-o", "packed", *flags) == 0
    with pytest.raises(ValueError, match="has no `quant_method`"):
        transformers.AutoModel.from_pretrained("packed")
    quantization = json.loads(Path("packed/config.json").read_text())["quantization_config"]
    assert quantization["format"] == "pyfq"
    assert "pyfq.load_checkpoint" in quantization["read_by"]
    assert len(transformers.AutoTokenizer.from_pretrained("packed")("a b")["input_ids"]) == 4

    with pyfq.load_checkpoint("packed") as checkpoint:
        assert set(checkpoint.methods.values()) > {"copy"}
    assert run("inspect", "packed") == 0
    assert "quantized by" not in capsys.readouterr().out
    assert run("compress", model, "-o", "packed", "--resume", *flags) == 0
    assert "complete already" in capsys.readouterr().out
    assert run("compress", "packed", "-o", "again") == 1
    assert "compressed already: decompress it first" in capsys.readouterr().err

    config = (model / "config.json").read_bytes()
    assert run("decompress", "packed", "-o", "back") == 0
    assert Path("back/config.json").read_bytes() == config
    assert run("compress", "back", "-o", "again", "--bits", "8") == 0
    assert dequantizes(Path("again"))
    assert run("compress", model, "-o", "packed", "--force", "--dense", *flags) == 0
    assert Path("packed/config.json").read_bytes() == config
    np.testing.assert_array_equal(outputs("packed"), outputs("back"))


def test_sentence_transformers_refuses_what_only_pyfq_opens(model, tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs the encoder extra")
    assert run("compress", model, "-o", tmp_path / "packed", "--method", "nf4") == 0
    with pytest.raises(ValueError, match="has no `quant_method`"):
        library.SentenceTransformer(str(tmp_path / "packed"), device="cpu")


def test_sentence_transformers_encodes(model, tmp_path, capsys):
    library = pytest.importorskip("sentence_transformers", reason="needs the encoder extra")
    packed, dense = tmp_path / "packed", tmp_path / "dense"
    assert run("compress", model, "-o", packed, "--bits", "4") == 0
    assert run("compress", model, "-o", dense, "--bits", "4", "--dense") == 0
    embeddings = [
        library.SentenceTransformer(str(path), device="cpu").encode(["a b c", "c a"])
        for path in (packed, dense)
    ]
    np.testing.assert_array_equal(*embeddings)


def test_codes_of_several_schemes_are_not_decompressed_by_the_first(model, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[rule]]\nmatch = "*.query.weight"\nquantize = { bits = 8, per = "row" }\n'
        '[[rule]]\nmatch = "*.value.weight"\nquantize = { bits = 4, per = "row" }\n'
    )
    packed = tmp_path / "packed"
    assert run("compress", model, "-o", packed, "--recipe", recipe) == 0
    assert not dequantizes(packed)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "several schemes" in last and "pyfq.load_checkpoint reads it" in last
    assert "several schemes" in (packed / "README-pyfq.md").read_text()


def test_a_model_that_is_pyfqs_in_part_is_not_said_to_open(model, mix, tmp_path, capsys):
    packed = tmp_path / "packed"
    assert run("compress", model, "-o", packed, "--recipe", mix) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert all(word in last for word in ("--dense", "pyfq decompress", "pyfq.load_checkpoint"))
    text = (packed / "README-pyfq.md").read_text()
    assert "AutoModel" not in text
    assert "form of pyfq's own" in text


def test_a_readme_says_how_to_open_it_and_the_models_card_stays(model, tmp_path, capsys):
    packed, back = tmp_path / "packed", tmp_path / "back"
    assert run("compress", model, "-o", packed, "--bits", "8") == 0
    assert "AutoModel.from_pretrained" in (packed / "README-pyfq.md").read_text()
    assert (packed / "README.md").read_bytes() == (model / "README.md").read_bytes()
    assert run("compress", model, "-o", packed, "--bits", "8", "--resume") == 0
    assert "complete already" in capsys.readouterr().out
    assert run("decompress", packed, "-o", back) == 0
    assert {path.name for path in back.iterdir()} == {path.name for path in model.iterdir()}
    assert run("compress", model, "-o", tmp_path / "dense", "--dense") == 0
    assert not (tmp_path / "dense" / "README-pyfq.md").exists()


@pytest.mark.parametrize("how", ["dense", "decompress", "bfloat16"])
def test_a_readme_goes_with_the_weights_that_it_tells_of(model, tmp_path, capsys, how):
    packed, out = tmp_path / "packed", tmp_path / "out"
    assert run("compress", model, "-o", packed, "--bits", "8") == 0
    assert run("compress", model, "-o", out, "--method", "nf4") == 0
    command = {
        "dense": ("compress", model, "--dense"),
        "decompress": ("decompress", packed),
        "bfloat16": ("compress", model, "--method", "bfloat16"),
    }[how]
    capsys.readouterr()
    assert run(*command, "-o", out, "--resume") == 1
    assert "it is not what this command writes" in capsys.readouterr().err
    assert run(*command, "-o", out, "--force") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"removed: {out / 'README-pyfq.md'}"
    assert {path.name for path in out.iterdir()} == {path.name for path in model.iterdir()}
    assert run(*command, "-o", out, "--resume") == 0
    assert "complete already" in capsys.readouterr().out

    (out / "README-pyfq.md").write_text("# Compressed by me\n")
    assert run(*command, "-o", out, "--force") == 0
    assert (out / "README-pyfq.md").read_text() == "# Compressed by me\n"


def test_a_readme_stays_where_it_is_written_anew(model, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("compress", model, "-o", out, "--method", "nf4") == 0
    before = (out / "README-pyfq.md").read_text()
    assert run("compress", model, "-o", out, "--bits", "8", "--force") == 0
    assert (out / "README-pyfq.md").read_text() != before
    assert "removed" not in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--bits", "8"], ["--method", "nf4"]])
@pytest.mark.parametrize("name", ["model.safetensors", "model.npz"])
def test_the_last_line_says_what_opens_a_file(model, tmp_path, capsys, name, flags):
    out = tmp_path / name
    assert run("compress", model, "-o", out, *flags) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"pyfq.load_checkpoint reads it, pyfq decompress {out} -o DST makes floats" in last
    assert ("-o DIRECTORY writes what transformers opens" in last) == ("8" in flags)
    assert run("compress", model, "-o", out, "--force", "--dense", *flags) == 0
    assert "load_checkpoint" not in capsys.readouterr().out
