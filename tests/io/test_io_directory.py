"""Which checkpoint of a directory is taken, and many tensors, shards and open files."""

import fnmatch
import json
import os
import resource
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from pyfq.cli import compress as command
from pyfq.cli import main
from pyfq.exchange import globs
from pyfq.io import (
    FormatError,
    open_checkpoint,
    open_safetensors,
    safetensors,
    write_index,
    write_safetensors,
)
from pyfq.io.directory import CONVENTIONS, older_files
from pyfq.recipes import Quantize, Recipe, Rule

ONE = {"w": np.ones((2, 3), np.float32)}


def put(directory, *names):
    """Write a checkpoint under each name, an index with one shard where it is one."""
    directory.mkdir(exist_ok=True)
    for name in names:
        if name.endswith(".json"):
            shard = name.split(".safetensors")[0] + "-00001-of-00001.safetensors"
            write_safetensors(directory / shard, ONE)
            write_index(directory / name, {"w": shard}, 24)
        else:
            write_safetensors(directory / name, ONE)
    return directory


ORDER = [taken for name in CONVENTIONS for taken in (name, f"{name}.index.json")]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_conventional_names_are_taken_in_order(tmp_path, first):
    put(tmp_path, *ORDER[first:], "model.fp16.safetensors", "other.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.path.name == ORDER[first]


@pytest.mark.parametrize(
    "name",
    [
        "model.fp16.safetensors",
        "lora.safetensors",
        "model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.fp16.safetensors.index.json",
        "unet.safetensors.index.json",
    ],
)
def test_the_only_checkpoint_is_taken_under_any_name(tmp_path, name):
    put(tmp_path, name)
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    for path in tmp_path, tmp_path / name:
        with open_checkpoint(path) as checkpoint:
            assert (checkpoint.path.name, [*checkpoint]) == (name, ["w"])


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a.safetensors", "b.safetensors"], "a.safetensors, b.safetensors: name the one"),
        (["a.safetensors.index.json", "b.safetensors"], "index.json, b.safetensors: name the one"),
        ([f"{i}.safetensors" for i in range(20)], "and 12 more: name the one"),
        (["model-00001-of-00002.safetensors"], "shards without their index"),
    ],
)
def test_several_checkpoints_are_refused_with_their_names(tmp_path, names, reason):
    put(tmp_path, *names)
    with pytest.raises(FormatError, match=reason):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "found none"),
        (["pytorch_model.bin", "config.json"], "pytorch_model.bin, which are weights of PyTorch"),
        (["model.gguf"], "model.gguf, which are weights of llama.cpp"),
        (["tf_model.h5"], "weights of Keras"),
        (["flax_model.msgpack"], "weights of Flax"),
        (["w.npz"], "name the file itself"),
        (["model_index.json", "unet/d.safetensors", "vae/d.safetensors"], r"\(unet, vae\)"),
        (["snapshots/abc/model.safetensors"], "a directory in .*snapshots"),
        (["transformer/d.safetensors"], "none but in transformer"),
    ],
)
def test_a_directory_without_a_checkpoint_says_what_to_do(tmp_path, files, reason):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).touch()
    with pytest.raises(FormatError, match=reason):
        open_checkpoint(tmp_path)


def test_names_that_would_move_the_cursor_are_escaped(tmp_path):
    for name in "a\x1b[2J.safetensors", "b\n.safetensors":
        write_safetensors(tmp_path / name, ONE)
    with pytest.raises(FormatError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.reason.isprintable()


SHARD = "model-00001-of-00001.safetensors"
INDEX_OF_FP16 = "model.safetensors.index.fp16.json"


@pytest.mark.parametrize(
    ("name", "there", "older"),
    [
        ("model.safetensors", ["model.safetensors"], {"model.safetensors"}),
        (
            "model.safetensors",
            ["model.safetensors.index.json", "mine.safetensors"],
            {"model.safetensors.index.json", SHARD},
        ),
        (
            "model.safetensors.index.json",
            ["model.safetensors", "model.safetensors.index.json"],
            {"model.safetensors", "model.safetensors.index.json", SHARD},
        ),
        ("adapter_model.safetensors", ["model.safetensors", "model.safetensors.index.json"], set()),
        ("model.safetensors", ["model.fp16.safetensors"], set()),
        ("model.safetensors", [INDEX_OF_FP16], set()),
        ("model.fp16.safetensors", [INDEX_OF_FP16], {INDEX_OF_FP16, SHARD}),
        (
            INDEX_OF_FP16,
            ["model.fp16.safetensors", "model.safetensors"],
            {"model.fp16.safetensors"},
        ),
        # Two indices list one shard: it is the other's, too.
        (
            "model.safetensors",
            ["model.safetensors.index.json", INDEX_OF_FP16],
            {"model.safetensors.index.json"},
        ),
        ("odd.index.json", ["model.safetensors"], set()),
    ],
)
def test_older_files_are_those_of_the_same_model(tmp_path, name, there, older):
    put(tmp_path, *there)
    assert {file.name for file in older_files(tmp_path, name)} == older
    assert older_files(tmp_path / "not there", name) == set()


def test_older_files_are_weights(tmp_path):
    """An index may list anything; only files that hold what it says are of its model."""
    write_safetensors(tmp_path / "whole.st", ONE)
    write_safetensors(tmp_path / "mine.safetensors", {"other": ONE["w"]})
    (tmp_path / "damaged.safetensors").write_bytes(b"not read")
    (tmp_path / "linked.safetensors").symlink_to("gone")
    for name in "tokenizer.json", "notes.txt", "config.json":
        (tmp_path / name).write_text("{}")
    names = sorted(path.name for path in tmp_path.iterdir())
    weight_map = {f"{i}": name for i, name in enumerate(names)} | {"w": "whole.st"}
    weight_map = {key: name for key, name in weight_map.items() if key == "w" or name != "whole.st"}
    write_index(tmp_path / "model.safetensors.index.json", weight_map, 1)
    assert {file.name for file in older_files(tmp_path, "model.safetensors")} == {
        "model.safetensors.index.json", "whole.st", "damaged.safetensors", "linked.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_older_files_are_not_those_of_an_index_below(tmp_path, name):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    all_of_them = {"0": "d.st", "1": "sub/b.st", "2": "sub/deep/a.st", "w": "sub/c.st"}
    for at, shards in {
        tmp_path: all_of_them,
        tmp_path / "sub": {"w": "b.st"},
        tmp_path / "sub" / "deep": {"w": "a.st"},
    }.items():
        write_index(at / "model.safetensors.index.json", shards, 1)
    for shard in all_of_them.values():
        write_safetensors(tmp_path / shard, {key: ONE["w"] for key in ("0", "1", "2", "w")})
    older = {str(file.relative_to(tmp_path)) for file in older_files(tmp_path, name)}
    assert older == {"model.safetensors.index.json", "sub/c.st", "d.st"}


def test_an_index_that_cannot_be_read_tells_of_no_shards(tmp_path):
    put(tmp_path, "model.safetensors.index.json")
    (tmp_path / "model.safetensors.index.json").write_text("<html>")
    older = older_files(tmp_path, "model.safetensors")
    assert {file.name for file in older} == {"model.safetensors.index.json"}


# Maps


def test_an_unmapped_file_is_mapped_again_when_it_is_read(tmp_path, monkeypatch):
    put(tmp_path, "w.safetensors")
    with open_safetensors(tmp_path / "w.safetensors") as file:
        before = file["w"]
        file.unmap()
        # The header is not parsed a second time.
        monkeypatch.setattr("pyfq.io.safetensors.read_header", None)
        np.testing.assert_array_equal(file["w"], before, strict=True)
    with pytest.raises(ValueError, match="closed"):
        file["w"]


def test_a_file_that_has_changed_is_refused_when_it_is_mapped_again(tmp_path):
    put(tmp_path, "w.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        checkpoint.unmap()
        write_safetensors(tmp_path / "w.safetensors", {"w": np.zeros((2, 3), np.float32)})
        with pytest.raises(FormatError, match="has changed since it was opened"):
            checkpoint["w"]


SHARDS = """
import resource, sys
from pyfq.io import open_checkpoint
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
with open_checkpoint(sys.argv[1]) as checkpoint:
    for name in [*checkpoint, *reversed([*checkpoint])]:
        assert checkpoint[name][0] == int(name)
    print(len(checkpoint))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_NOFILE"), reason="needs setrlimit")
def test_shards_may_be_more_than_a_process_may_open_files(tmp_path):
    weight_map = {}
    for i in range(400):
        weight_map[str(i)] = f"part/{i}.safetensors"
        (tmp_path / "part").mkdir(exist_ok=True)
        write_safetensors(tmp_path / weight_map[str(i)], {str(i): np.full(3, i)})
    write_index(tmp_path / "model.safetensors.index.json", weight_map, 0)
    launch = [sys.executable, "-P", "-c", SHARDS, tmp_path]
    result = subprocess.run(launch, capture_output=True, text=True)
    assert result.stdout == "400\n", result.stderr


def test_metadata_of_keeps_every_entry_of_every_file(tmp_path):
    for i in range(2):
        metadata = {"format": "pt", "part": str(i)}
        write_safetensors(tmp_path / f"{i}.safetensors", {str(i): np.ones(1)}, metadata)
    index = tmp_path / "model.safetensors.index.json"
    write_index(index, {str(i): f"{i}.safetensors" for i in range(2)}, 16)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.metadata == {"format": "pt"}
        parts = {path.name: entries["part"] for path, entries in checkpoint.metadata_of.items()}
        assert parts == {"0.safetensors": "0", "1.safetensors": "1"}


def test_metadata_may_be_null(tmp_path):
    header = json.dumps({"__metadata__": None}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert open_safetensors(path).metadata == {}


def test_a_broken_link_is_a_missing_file(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("../blobs/none")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        open_checkpoint(tmp_path)
    assert os.path.lexists(tmp_path / "model.safetensors")


# Work that grows with the number of tensors, counted


def calls_of(path, monkeypatch, flags, target):
    """Return how often headers are parsed and files mapped in a run over a checkpoint."""
    counts = Counter()

    def counted(name, function):
        def call(*arguments, **options):
            counts[name] += 1
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(safetensors, "read_header", counted("headers", safetensors.read_header))
        patch.setattr(safetensors.mmap, "mmap", counted("maps", safetensors.mmap.mmap))
        assert main([*flags[:1], str(path), "-o", str(target), *flags[1:]]) == 0
    return counts


@pytest.mark.parametrize("shape", [(8, 8), (3, 5)])  # parts of the second do not stand together
def test_headers_and_maps_do_not_grow_with_the_number_of_tensors(tmp_path, monkeypatch, shape):
    made = {}
    for n in (10, 400):
        source, packed = tmp_path / f"{n}.safetensors", tmp_path / f"q{n}.safetensors"
        write_safetensors(source, {f"l.{i}": np.full(shape, i, np.float32) for i in range(n)})
        there = calls_of(source, monkeypatch, ["compress", "--min-size", "1"], packed)
        back = calls_of(packed, monkeypatch, ["decompress"], tmp_path / f"d{n}.safetensors")
        made[n] = there, back
    assert made[10] == made[400]
    assert made[400][0]["headers"] <= 2


def test_each_small_tensor_is_compressed_once(tmp_path, monkeypatch):
    seen = Counter()
    compress_tensor = command.compress_tensor

    def counted(plan, *others):
        seen[plan.name] += 1
        return compress_tensor(plan, *others)

    monkeypatch.setattr(command, "compress_tensor", counted)
    source = tmp_path / "m.safetensors"
    write_safetensors(source, {f"l.{i}": np.full((3, 5), i, np.float32) for i in range(50)})
    assert main(["compress", str(source), "-o", str(tmp_path / "q"), "--min-size", "1"]) == 0
    assert set(seen.values()) == {1}


def test_globs_are_compiled_once_however_many_there_are(monkeypatch):
    globs._compiled.cache_clear()
    rules = tuple(Rule((f"*layer.{i}.*",), quantize=Quantize(8)) for i in range(600))
    recipe = Recipe(rules)
    for i in range(0, 600, 7):
        name = f"a.layer.{i}.weight"
        assert recipe.rule_for(name, "F32", (4, 4)) is rules[i]
        assert recipe.rule_for(name, "F32", (4, 4)) is rules[i]
    assert globs._compiled.cache_info().misses == 596


@pytest.mark.parametrize("glob", ["*", "a.?", "[ab].w", "[!a]*", "A.w", "a.w", "*\n*", "(a).+", ""])
def test_globs_are_those_of_fnmatch(glob):
    for name in ("a.w", "b.w", "A.w", "", "(a).+", "x\ny", "a.ww"):
        assert globs.fnmatchcase(name, glob) == fnmatch.fnmatchcase(name, glob)
