"""Models that ``pyfq compress`` writes, opened by the libraries that people open models with."""

import json

import numpy as np
import pytest

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
    assert "pyfq.load_checkpoint reads it" in capsys.readouterr().out


def test_a_model_that_is_pyfqs_in_part_is_not_said_to_open(model, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[rule]]\nmatch = "*.query.weight"\nquantize = { bits = 8, per = "row" }\n'
        '[[rule]]\nmatch = "*.value.weight"\ncodebook = "nf4"\n'
    )
    packed = tmp_path / "packed"
    assert run("compress", model, "-o", packed, "--recipe", recipe) == 0
    assert not dequantizes(packed)
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
