"""Damaged files through every command: a reason in one line, nothing lost, nothing left behind.

``--hypothesis-profile=thorough`` tries fifty times as many.
"""

import contextlib
import pkgutil
import random
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import complaint, run
from damage import damaged
from hypothesis import settings

import pyfq
from pyfq import FqError
from pyfq.cli import compress
from pyfq.io import write_npz, write_safetensors
from pyfq.networks.layer import Dense

RECIPE = """
[[rule]]
match = "a"
quantize = { bits = 4, group_size = 16 , scheme = "affine" }

[[rule]]
match = "b"
codebook = { levels = "lloyd", bits = 3 , calibration = "mse", scale_bits = 8, iterations = 3 }

[[rule]]
match = "c"
lowrank = { rank = 2, residual = { bits = 4 } }
precision = "bfloat16"

[[rule]]
match = "d"
precision = "float16"

[[rule]]
match = [ "e", "f*" ]
ndim = 2
min_size = 4
prune = { ratio = 0.5, per = "row" }
quantize = { bits = "budget", scheme = "symmetric", group_size = 32 }

[budget]
bits_per_weight = 9.0
choices = [ 4, 8 ]
sensitivity = { "e" = 4.0 }
"""
BYTES_AHEAD = 4 << 30  # that a call may ask for


FAILURES = [
    (FqError("quantize", 1), "quantize: a workspace could not be allocated (FQ_NO_MEMORY, info=1)"),
    (MemoryError(), "there is not enough memory"),
    (MemoryError("Unable to allocate 3 GiB"), "Unable to allocate 3 GiB"),
    (FloatingPointError("overflow"), "overflow"),
]


@pytest.mark.parametrize(("failure", "reason"), FAILURES)
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("pyfq.recipes.compress.widen", ["compress", "s.safetensors"]),
        ("pyfq.recipes.measure.widen", ["compress", "s.safetensors", "--target-bits", "5"]),
        ("pyfq.io.checkpoint.Checkpoint.__getitem__", ["compress", "s.safetensors"]),
        ("pyfq.io.checkpoint.Checkpoint.__getitem__", ["decompress", "q.safetensors"]),
        ("pyfq.cli.decompress.decompress_tensor", ["decompress", "q.safetensors"]),
    ],
)
def test_failures_name_the_file_and_the_tensor(
    tmp_path, monkeypatch, where, words, failure, reason
):
    def fail(*_):
        raise failure

    monkeypatch.chdir(tmp_path)
    write_safetensors("s.safetensors", {"a\n.weight": weights(64, 128)})
    assert run("compress", "s.safetensors", "-o", "q.safetensors")[0] == 0
    owner, _, name = where.rpartition(".")
    monkeypatch.setattr(pkgutil.resolve_name(owner), name, fail)
    code, _, err = run(*words, "-o", "out.safetensors")
    assert code == 1
    assert err.startswith(f"pyfq {words[0]}: error: {words[1]}: tensor 'a\\n.weight")
    assert err.endswith(f": {reason}\n")
    assert err.count("\n") == err.count("tensor '") == 1


def weights(rows, cols, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def networks():
    """Return a network of 4 inputs and 3 classes in every form that weights have in a file."""
    dense = pyfq.Network.create((4, 8, 3), activation=("leaky_relu", 0.1), seed=1)
    ends = {"input_mean": np.zeros(4, np.float32), "input_scale": np.ones(4, np.float32)}
    forms = {
        "array": lambda w: w,
        "codes": lambda w: pyfq.quantize(w, 4),
        "minmax": lambda w: pyfq.quantize(w, 3, scheme="minmax"),
        "fixed": lambda w: pyfq.quantize_fixed_point(w, 2, 5),
        "codebook": lambda w: pyfq.quantize_codebook(w, "nf4", granularity=pyfq.PerGroup(4)),
        "lowrank": lambda w: pyfq.svd_lowrank(w, rank=2),
        "half": pyfq.to_half,
        "csr": lambda w: pyfq.to_sparse(pyfq.prune_ratio(w, 0.5).weights),
        "nm": lambda w: pyfq.to_sparse(pyfq.prune_nm(w, 2, 4).weights, "nm", n=2, m=4),
        "rows": lambda w: pyfq.to_sparse(pyfq.prune_rows(w, 0.5).weights, "rows"),
    }
    made = {}
    for name, form in forms.items():
        layers = tuple(
            Dense(form(layer.weights), layer.bias, layer.activation) for layer in dense.layers
        )
        made[name] = pyfq.Network(layers, classes=np.array(["a", "b", "c"]), **ends)
    return made


def interrupted(root):
    """Leave what a compression leaves that is interrupted in its fourth tensor."""
    whole, done = compress.compress_tensor, []

    def stops(plan, *others):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(plan)
        return whole(plan, *others)

    compress.compress_tensor = stops
    try:
        run("compress", root / "m.safetensors", "-o", root / "half", "--min-size", 1)
    finally:
        compress.compress_tensor = whole


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Make a good file of every kind that a command reads."""
    root = tmp_path_factory.mktemp("corpus")
    tensors = {name: weights(16, 32, i) for i, name in enumerate("abcdef")}
    tensors |= {"bias": weights(1, 16)[0], "ids": np.arange(6).reshape(2, 3)}
    write_safetensors(root / "m.safetensors", tensors, {"format": "pt"})
    write_npz(root / "m.npz", tensors)
    (root / "r.toml").write_text(RECIPE)
    for target in ("q.safetensors", "q.npz"):
        recipe = RECIPE.replace('precision = "bfloat16"\n', "")
        (root / "npz.toml").write_text(recipe)
        assert run("compress", root / "m.safetensors", "-o", root / target, "--recipe",
                   root / "npz.toml")[0] == 0  # fmt: skip
    for target in ("e.safetensors", "e.npz"):
        assert run("compress", root / "m.safetensors", "-o", root / target, "--method", "rate",
                   "--bits", 8, "--min-size", 1)[0] == 0  # fmt: skip
    assert run("compress", root / "m.safetensors", "-o", root / "l.safetensors", "--method",
               "lossless", "--min-size", 1)[0] == 0  # fmt: skip
    sharded = root / "sharded"
    sharded.mkdir()
    (sharded / "config.json").write_text('{"hidden": 32, "layers": [1, {"a": null}]}')
    names = {f"model-{i}.safetensors": list(tensors)[i::2] for i in range(2)}
    for file, its in names.items():
        write_safetensors(sharded / file, {name: tensors[name] for name in its})
    pyfq.io.write_index(
        sharded / "model.safetensors.index.json",
        {name: file for file, its in names.items() for name in its},
        sum(x.nbytes for x in tensors.values()),
    )
    for name, network in networks().items():
        pyfq.save_network(network, root / f"{name}.safetensors")
    x, y = weights(24, 4, 7), np.arange(24) % 3
    np.savez(root / "data.npz", x=x, y=np.array(["a", "b", "c"])[y])
    np.savez(root / "numbers.npz", x=x, y=y)
    np.save(root / "x.npy", x)
    np.save(root / "y.npy", y)
    np.save(root / "outputs.npy", weights(24, 3, 8))
    lines = [",".join([*map(str, row), label]) for row, label in zip(x, "abc" * 8, strict=True)]
    (root / "data.csv").write_text("\n".join(["p,q,r,s,kind", *lines]) + "\n")
    with contextlib.suppress(ImportError):
        pyfq.to_onnx(networks()["array"], root / "net.onnx")
    return root


CHECKPOINT = (
    "inspect {f}",
    "inspect {f} --parts --json -",
    "compress {f} -o {out} --bits 4 --min-size 1 --force",
    "compress {f} -o {out}.npz --method lloyd --min-size 1",
    "compress {f} -o {out}.safetensors --target-bits 5 --min-size 1 --force",
    "compress {f} -o {out}.safetensors --target-bits 5 --method rtn --min-size 1 --force",
    "decompress {f} -o {out} --force",
    "decompress {f} -o {out}.safetensors",
)
NETWORK = (
    "inspect {f}",
    "predict {f} --input {c}/x.npy -o {out}.csv --force",
    "predict {f} --input {c}/x.npy -o -",
    "evaluate {f} --data {c}/data.npz --json -",
    "train {f} --data {c}/data.npz --epochs 1 -o {out}.safetensors --force",
    "distill {f} --student 4,3 --data {c}/data.npz --epochs 1 -o {out}.safetensors",
    "compress {f} -o {out}.safetensors --min-size 1 --force",
    "decompress {f} -o {out}.safetensors --force",
)
SAMPLES = (
    "predict {c}/array.safetensors --input {f} -o {out}.npy --force",
    "predict {c}/array.safetensors --input {f} -o -",
    "evaluate {c}/array.safetensors --data {f}",
    "train --layers 4,3 --data {f} --epochs 1 -o {out}.safetensors --force",
    "distill {c}/array.safetensors --student 4,3 --data {f} --epochs 1 -o {out}.safetensors",
    "distill {c}/outputs.npy --student 4,3 --data {f} --epochs 1 -o {out}.safetensors",
)
OUTPUTS = (
    "distill {f} --student 4,3 --data {c}/numbers.npz --epochs 1 -o {out}.safetensors",
    "evaluate {c}/array.safetensors --data {c}/data.npz --teacher {f}",
)
LABELS = (
    "train --layers 4,3 --data {c}/x.npy,{f} --epochs 1 -o {out}.safetensors --force",
    "evaluate {c}/array.safetensors --data {c}/x.npy,{f}",
)
FILES = {
    "m.safetensors": CHECKPOINT,
    "q.safetensors": CHECKPOINT,
    "e.safetensors": CHECKPOINT,
    "l.safetensors": CHECKPOINT,
    "m.npz": CHECKPOINT,
    "q.npz": CHECKPOINT,
    "e.npz": CHECKPOINT,
    **{f"{name}.safetensors": NETWORK for name in networks()},
    "r.toml": (
        "compress {c}/m.safetensors -o {out} --recipe {f} --force",
        "compress {c}/m.safetensors -o {out} --recipe {f} --dry-run",
    ),
    "net.onnx": NETWORK[1:6],
    "data.npz": SAMPLES,
    "numbers.npz": SAMPLES,
    "data.csv": SAMPLES,
    "x.npy": SAMPLES,
    "y.npy": LABELS,
    "outputs.npy": OUTPUTS,
}


@pytest.fixture(scope="module", autouse=True)
def bounded():
    """Let what asks for too much memory or time fail, and not take the machine with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES_AHEAD, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def complaints(place, name, templates, corpus, rounds, file=None):
    """Yield what is wrong with calls on damaged forms of a file, each with its seed."""
    good = (corpus / name).read_bytes()
    others = [(corpus / other).read_bytes() for other in ("m.safetensors", "x.npy", "data.npz")]
    file = place / Path(name).name if file is None else file
    targets = place / "targets"
    seen = set()
    for seed in range(rounds):
        rng = random.Random(f"{name} {seed}")
        file.write_bytes(damaged(good, Path(name).suffix, rng, others))
        shutil.rmtree(targets, ignore_errors=True)
        targets.mkdir()
        out = targets / "out"
        out.with_suffix(".safetensors").write_bytes(b"what was there before")
        out.with_suffix(".csv").write_bytes(b"what was there before")
        line = rng.choice(templates)
        words = line.format(f=file, c=corpus, out=out).split()
        found = complaint(words, targets)
        if found is not None:
            key = found[-300:]
            if key not in seen:
                seen.add(key)
                yield f"seed {seed}: {line}\n{found}"


def rounds_of(most):
    """Return how often to try: more with the profile that is thorough."""
    return most * settings().max_examples // 100


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_line(tmp_path, corpus, name):
    if not (corpus / name).exists():
        pytest.skip("needs onnx")
    found = list(complaints(tmp_path, name, FILES[name], corpus, rounds_of(40)))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors.index.json", "model-1.safetensors"]
)
def test_a_damaged_file_of_a_directory_is_one_line(tmp_path, corpus, name):
    model = tmp_path / "model"
    shutil.copytree(corpus / "sharded", model)
    templates = [line.replace("{f}", str(model)) for line in CHECKPOINT]
    found = list(
        complaints(tmp_path, f"sharded/{name}", templates, corpus, rounds_of(40), model / name)
    )
    assert not found, "\n".join(found)


def test_a_damaged_journal_is_one_line(tmp_path, corpus):
    place, saved = tmp_path / "place", tmp_path / "saved"
    place.mkdir()
    shutil.copy2(corpus / "m.safetensors", place)
    interrupted(place)
    (journal,) = (file for file in place.rglob("*journal*") if file.is_file())
    good, others = journal.read_bytes(), [(corpus / "x.npy").read_bytes()]
    shutil.copytree(place, saved)
    words = ["compress", f"{place}/m.safetensors", "-o", f"{place}/half", "--min-size", "1"]
    found = []
    for seed in range(rounds_of(40)):
        shutil.rmtree(place)
        shutil.copytree(saved, place)
        rng = random.Random(f"journal {seed}")
        journal.write_bytes(damaged(good, ".journal", rng, others))
        reason = complaint([*words, "--resume"], place)
        # A run that cannot go on may remove what it left, or keep it for --force.
        if reason is not None and not reason.startswith("changed"):
            found.append(f"seed {seed}: {reason}")
    assert not found, "\n".join(found)
