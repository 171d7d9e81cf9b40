"""Public objects show themselves in one line, and as tables where a table says more."""

import copy
import dataclasses
import inspect
import pickle
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import pyfq
from pyfq import Dense, Network, PerGroup
from pyfq._core.text import bytes_text
from pyfq.io import (
    SafetensorsWriter,
    open_checkpoint,
    open_npz,
    open_safetensors,
    write_npz,
    write_safetensors,
)

W = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((40, 64)).astype(np.float32)
Y = np.arange(40) % 10
NETWORK = Network.create((64, 32, 10))
SMALL = NETWORK.map_weights(lambda w: pyfq.quantize(w, 8))
TRAINING = pyfq.train(NETWORK, X, Y, epochs=60, validation=(X, Y))
HOSTILE = "<script>&\n\x1b[2J"
ALLOCATION = pyfq.allocate_bits({HOSTILE: W, "w": W}, 4.0)

EXAMPLES = {
    "Adam": pyfq.Adam(),
    "Allocation": ALLOCATION,
    "Codebook": pyfq.quantize_codebook(W),
    "Dense": NETWORK.layers[0],
    "Distortion": pyfq.distortion(W, W),
    "EntropyHeader": pyfq.entropy_header(pyfq.entropy_encode(np.eye(5, dtype=np.int8))),
    "Epoch": TRAINING.epochs[0],
    "Evaluation": pyfq.evaluate(NETWORK, X, Y),
    "FakeQuantize": pyfq.FakeQuantize(4),
    "Fastest": pyfq.Fastest("array", W, "", {"array": 1e-6, "prepared": 2e-6}),
    "FqError": pyfq.FqError("quantize", 1),
    "Half": pyfq.to_half(W),
    "Hint": pyfq.Hint(0, W),
    "LayerTrial": pyfq.LayerTrial(0, 0.5, True),
    "LowRank": pyfq.svd_lowrank(W, rank=4),
    "Network": NETWORK,
    "Observer": pyfq.Observer().update(W),
    "PerColumn": pyfq.PerColumn(),
    "PerGroup": PerGroup(4),
    "PerRow": pyfq.PerRow(),
    "PerTensor": pyfq.PerTensor(),
    "Prepared": pyfq.prepare(W),
    "Pruned": pyfq.prune_ratio(W, 0.5),
    "Quantized": pyfq.quantize(W, 4),
    "RateQuantized": pyfq.quantize_rate(W, bits=3.0),
    "SGD": pyfq.SGD(0.1),
    "Schedule": pyfq.Schedule(),
    "Shrunk": pyfq.prune_neurons(NETWORK, 0.5),
    "Sparse": pyfq.to_sparse(pyfq.prune_nm(W), "nm"),
    "Training": TRAINING,
}
# What holds bytes of weights.
HOLDERS = [word for word, example in EXAMPLES.items() if hasattr(example, "nbytes")]


def test_every_public_class_has_an_example():
    classes = {name for name in pyfq.__all__ if inspect.isclass(getattr(pyfq, name))}
    assert classes == EXAMPLES.keys()


@pytest.mark.parametrize("word", EXAMPLES)
def test_examples_compare_hash_and_copy_without_an_error(word):
    example = EXAMPLES[word]
    assert example == example
    assert isinstance(example == copy.copy(example), bool)
    assert isinstance(example == copy.deepcopy(example), bool)
    assert hash(example) == hash(example)


def test_open_files_are_themselves_alone_and_do_not_travel(tmp_path):
    write_npz(tmp_path / "w.npz", {"w": W})
    write_safetensors(tmp_path / "w.safetensors", {"w": W})
    for opens, name in (
        (pyfq.load_checkpoint, "w.npz"),
        (open_checkpoint, "w.npz"),
        (open_npz, "w.npz"),
        (open_safetensors, "w.safetensors"),
    ):
        with opens(tmp_path / name) as one, opens(tmp_path / name) as other:
            assert one == one
            assert one != other
            assert {one, other} == {other, one}
            for travels in pickle.dumps, copy.copy, copy.deepcopy:
                with pytest.raises(TypeError, match=rf"open its path again, with {opens.__name__}"):
                    travels(one)
    with SafetensorsWriter(tmp_path / "v.safetensors", {}) as writer:
        for travels in pickle.dumps, copy.copy, copy.deepcopy:
            with pytest.raises(TypeError, match="neither pickled nor copied"):
                travels(writer)


@pytest.mark.parametrize("word", EXAMPLES)
def test_repr_is_one_short_line(word):
    text = repr(EXAMPLES[word])
    assert "\n" not in text and text.isprintable() and len(text) <= 160
    assert text.startswith(word) and " object at " not in text


@pytest.mark.parametrize("word", sorted(set(HOLDERS) - {"Allocation", "EntropyHeader"}))
def test_repr_says_shape_and_bytes(word):
    text = repr(EXAMPLES[word])
    assert bytes_text(EXAMPLES[word].nbytes, 2) in text
    assert ("64-32-10" if word == "Network" else "32x64") in text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: NETWORK, "Network(64-32-10, relu, float32, 9.6 kB)"),
        (lambda: SMALL, "Network(64-32-10, relu, float32, 8 bits, 2.7 kB)"),
        (
            lambda: SMALL.calibrate(X),
            "Network(64-32-10, relu, float32, 8 bits, calibrated inputs of 8 bits, 2.7 kB)",
        ),
        (
            lambda: Network.create((4, 3, 2), activation=("elu", 0.5), output_activation="softmax"),
            "Network(4-3-2, elu 0.5, softmax, float32, 92 B)",
        ),
        (lambda: Network([Dense(np.eye(2))]), "Network(2-2, linear, float64, 32 B)"),
        (lambda: Dense(np.eye(2)), "Dense(2x2, float64, 32 B)"),
        (
            lambda: Dense(pyfq.quantize(W, 4), activation="relu"),
            "Dense(32x64, 4 bits, relu, float32, 1.2 kB)",
        ),
        (
            lambda: pyfq.quantize(W, 4, scheme="affine", granularity=PerGroup(32)),
            "Quantized(32x64, 4 bits, affine, per group of 32, float32, 1.3 kB)",
        ),
        (
            lambda: pyfq.quantize_codebook(W, granularity=PerGroup(64)),
            "Codebook(32x64, 4 bits, 16 levels, per group of 64, float32, 1.2 kB)",
        ),
        (lambda: pyfq.to_half(W), "Half(32x64, bfloat16, 4.1 kB)"),
        (lambda: pyfq.svd_lowrank(W, rank=4), "LowRank(32x64, rank 4, float32, 1.5 kB)"),
        (lambda: EXAMPLES["Sparse"], "Sparse(32x64, 2:4, 50 % kept, float32, 4.4 kB)"),
        (lambda: EXAMPLES["Pruned"], "Pruned(32x64 float32, 50 % zeros, 8.2 kB)"),
        (lambda: pyfq.Observer(), "Observer(minmax, per tensor, nothing seen)"),
    ],
)
def test_repr_is(make, text):
    assert repr(make()) == text


def test_repr_of_training_and_evaluation_tell_figures():
    text = repr(TRAINING)
    last, best = TRAINING.epochs[-1], TRAINING.epochs[TRAINING.best_epoch - 1]
    assert repr(NETWORK) in text and "60 epochs" in text
    assert f"loss {last.loss:.4g}" in text and f"validation {best.validation_loss:.4g}" in text
    assert f"accuracy {EXAMPLES['Evaluation'].accuracy:.4g}" in repr(EXAMPLES["Evaluation"])


def test_repr_of_files_says_where_and_how_large(tmp_path):
    write_safetensors(tmp_path / "a\nb.safetensors", {"w": W, "v": W})
    write_npz(tmp_path / "c.npz", {"w": W})
    for opened, path, counted in (
        (open_safetensors, "a\nb.safetensors", "2 tensors, 16 kB"),
        (open_npz, "c.npz", "1 tensor, 8.2 kB"),
        (open_checkpoint, "c.npz", "1 tensor, 8.2 kB"),
    ):
        with opened(tmp_path / path) as file:
            text = repr(file)
        assert text.startswith(type(file).__name__) and text.endswith(f"{counted})")
        assert path.replace("\n", "\\n") in text and text.isprintable()


def cells(table):
    return [[cell.text for cell in row] for row in table.iter("tr")]


def tables(html):
    """Return the rows of each table; the parser refuses what is not well-formed."""
    return [cells(table) for table in ET.fromstring(f"<div>{html}</div>").iter("table")]


def test_tables_of_networks_name_each_layer():
    (rows,) = tables(SMALL._repr_html_())
    assert rows[0] == ["layer", "shape", "weights", "activation", "parameters", "bytes"]
    assert rows[1][:4] == ["0", "32x64", "float32, 8 bits", "relu"]
    assert rows[2][:4] == ["1", "10x32", "float32, 8 bits", "none"]
    assert rows[3][-2:] == [str(SMALL.size), bytes_text(SMALL.nbytes)]


def test_tables_of_training_show_some_epochs_and_the_best():
    (rows,) = tables(TRAINING._repr_html_())
    numbers = [row[0] for row in rows[1:]]
    assert 20 <= len(numbers) <= 40
    assert numbers[0].split()[0] == "1" and numbers[-1].split()[0] == "60"
    assert f"{TRAINING.best_epoch} (best)" in numbers
    best = TRAINING.epochs[TRAINING.best_epoch - 1]
    assert rows[1 + numbers.index(f"{best.number} (best)")][2] == f"{best.validation_loss:.6g}"


def test_tables_escape_names():
    html = ALLOCATION._repr_html_()
    assert "<script>" not in html and "\x1b" not in html
    (rows,) = tables(html)
    assert rows[1][0] == "<script>&\\n\\x1b[2J"


def test_tables_of_reports_hold_what_their_text_does():
    for word in ("Evaluation", "Shrunk", "Allocation"):
        text = str(EXAMPLES[word]).replace("\\n", "").replace("\\x1b", "")
        for rows in tables(EXAMPLES[word]._repr_html_()):
            for cell in filter(None, rows[-1]):
                assert cell in text, word
    assert tables(EXAMPLES["Fastest"]._repr_html_())[0][1] == ["array", "1"]


def test_parts_of_a_repr_are_not_those_of_the_dataclass():
    """No class falls back to the text that `dataclass` makes, of arrays entry by entry."""
    for word, example in EXAMPLES.items():
        if dataclasses.is_dataclass(example) and any(
            isinstance(getattr(example, f.name), np.ndarray) for f in dataclasses.fields(example)
        ):
            assert "array(" not in repr(example), word
