"""``--target-size``: the files of weights, headers counted, have at most so many bytes."""

from pathlib import Path

import numpy as np
import pytest
from checkpoints import same, tensors_of
from commands import run

from pyfq.io import write_index, write_safetensors

SIZES = (60000, 60001, 60003, 60007, 41111)
METHODS = {
    "rtn": ["--method", "rtn"],
    "affine": ["--method", "als", "--scheme", "affine", "--group-size", "64"],
    "lloyd": ["--method", "lloyd"],
    "rate": [],
}


def model():
    rng = np.random.default_rng(0)
    shapes = {"emb": (200, 64), "a": (128, 256), "b": (256, 64), "d": (64, 128), "e": (64, 192)}
    tensors = {f"{name}.weight": rng.laplace(size=shape) for name, shape in shapes.items()}
    tensors = {name: array.astype(np.float32) for name, array in tensors.items()}
    return tensors | {"c.bias": np.ones(100, np.float32), "ids": np.arange(100)}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a directory that holds a model in one file, ``m``, and one in three, ``s``."""
    monkeypatch.chdir(tmp_path)
    tensors = model()
    weight_map = {name: f"model-{i % 3}.safetensors" for i, name in enumerate(tensors)}
    for directory in ("m", "s"):
        Path(directory).mkdir()
        Path(directory, "config.json").write_text('{"model_type": "bert"}')
    write_safetensors("m/model.safetensors", tensors, {"format": "pt"})
    for shard in set(weight_map.values()):
        its = {name: tensors[name] for name in tensors if weight_map[name] == shard}
        write_safetensors(Path("s", shard), its, {"format": "pt"})
    write_index("s/model.safetensors.index.json", weight_map, 4)
    return tmp_path


def nbytes_of_weights(target):
    files = target.glob("*.safetensors") if target.is_dir() else [target]
    return sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", ["m", "s"])
@pytest.mark.parametrize("target", ["out", "out.safetensors", "out.npz"])
def test_no_target_is_larger_than_asked_for(place, method, source, target):
    for size in SIZES[: 1 if method == "rate" else None]:
        flags = ["-q", "--force", "--target-size", size, *METHODS[method]]
        assert run("compress", source, "-o", target, *flags) == (0, "", "")
        assert 0.97 * size <= nbytes_of_weights(place / target) <= size


def test_what_a_choice_takes_and_one_byte_less(place):
    flags = ["-q", "--force", "--method", "rtn", "--target-size"]
    assert run("compress", "m", "-o", "out", *flags, 60000) == (0, "", "")
    exact = nbytes_of_weights(place / "out")
    before = tensors_of(place / "out")
    assert run("compress", "m", "-o", "out", *flags, exact) == (0, "", "")
    same(before, tensors_of(place / "out"))
    assert run("compress", "m", "-o", "out", *flags, exact - 1) == (0, "", "")
    assert nbytes_of_weights(place / "out") < exact


def test_a_budget_of_which_nothing_takes_bits_is_refused_when_it_is_too_small(place):
    Path("r.toml").write_text(
        '[[rule]]\nmatch = "a.weight"\nquantize = { bits = 8 }\n'
        '[[rule]]\nmatch = "none"\nquantize = { bits = "budget" }\n[budget]\nnbytes = 60000\n'
    )
    code, _, told = run("compress", "m", "-o", "out", "--recipe", "r.toml")
    assert code == 1
    assert "headers counted, not 60000: no tensor has bits to choose" in told
