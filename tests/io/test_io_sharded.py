"""`pyfq.io.open_checkpoint` on whatever a checkpoint may be, and the index of shards."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfq.io import (
    FormatError,
    SafetensorsWriter,
    open_checkpoint,
    read_index,
    write_index,
    write_npz,
    write_safetensors,
)

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TENSORS = {
    "embed": np.arange(6, dtype=np.float32).reshape(2, 3),
    "norm": np.ones(3, np.float16),
    "head": np.arange(4, dtype=np.uint16),
}
WEIGHT_MAP = {"embed": SHARDS[0], "norm": SHARDS[0], "head": SHARDS[1]}


texts = st.text(st.characters(exclude_categories=["Cs"]))
names = texts.filter(lambda name: name != "__metadata__")  # hypothesis finds it in the source


@pytest.fixture
def sharded(tmp_path):
    """Return a directory with a valid checkpoint in two shards."""
    for number, shard in enumerate(SHARDS):
        tensors = {name: TENSORS[name] for name in WEIGHT_MAP if WEIGHT_MAP[name] == shard}
        metadata = {"format": "pt", "shard": str(number)}
        dtypes = {"head": "BF16"} if "head" in tensors else None
        write_safetensors(tmp_path / shard, tensors, metadata, dtypes=dtypes)
    write_index(tmp_path / INDEX, WEIGHT_MAP, 38)
    return tmp_path


def refused(path, reason, *, named=None):
    with pytest.raises(FormatError) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(f"{named or path}: ")
    assert reason in caught.value.reason


@pytest.mark.parametrize("inside", ["", INDEX])
def test_open_checkpoint_is_one_mapping_over_the_shards(sharded, inside):
    with open_checkpoint(sharded / inside) as checkpoint:
        assert checkpoint.path == sharded / INDEX
        assert [*checkpoint] == ["embed", "norm", "head"]
        assert len(checkpoint) == 3
        assert "head" in checkpoint and "tail" not in checkpoint
        assert checkpoint.files == tuple(sharded / shard for shard in SHARDS)
        assert dict(checkpoint.file_of) == {n: sharded / s for n, s in WEIGHT_MAP.items()}
        assert dict(checkpoint.dtypes) == {"embed": "F32", "norm": "F16", "head": "BF16"}
        assert dict(checkpoint.shapes) == {n: a.shape for n, a in TENSORS.items()}
        assert checkpoint.metadata == {"format": "pt"}  # what the shards have in common
        assert checkpoint.nbytes == 38
        for name, array in checkpoint.items():
            np.testing.assert_array_equal(array, TENSORS[name])
            assert not array.flags.writeable
        kept = checkpoint["embed"]
    np.testing.assert_array_equal(kept, TENSORS["embed"])
    with pytest.raises(ValueError, match="closed"):
        checkpoint["embed"]


@given(
    homes=st.dictionaries(names, st.integers(0, 3)),
    extra=st.dictionaries(st.sampled_from("xyz"), st.integers()),
)
def test_sharded_round_trip(tmp_path_factory, homes, extra):
    directory = tmp_path_factory.mktemp("sharded")
    for home in set(homes.values()):
        tensors = {name: np.full(home, home) for name in homes if homes[name] == home}
        write_safetensors(directory / f"{home}.safetensors", tensors)
    weight_map = {name: f"{home}.safetensors" for name, home in homes.items()}
    write_index(directory / INDEX, weight_map, 8 * sum(homes.values()), extra)
    assert read_index(directory / INDEX) == weight_map
    with open_checkpoint(directory) as checkpoint:
        assert {name: file.name for name, file in checkpoint.file_of.items()} == weight_map
        assert {name: array.size for name, array in checkpoint.items()} == homes
        assert checkpoint.nbytes == 8 * sum(homes.values())


@pytest.mark.parametrize("name", ["model.safetensors", "other.safetensors"])
@pytest.mark.parametrize("by", ["file", "directory"])
def test_open_checkpoint_takes_a_single_file(tmp_path, name, by):
    write_safetensors(tmp_path / name, TENSORS, {"format": "pt"})
    (tmp_path / "config.json").write_text("{}")
    with open_checkpoint(tmp_path / name if by == "file" else tmp_path) as checkpoint:
        assert checkpoint.path == tmp_path / name
        assert checkpoint.files == (tmp_path / name,)
        assert checkpoint.metadata == {"format": "pt"}
        assert {*checkpoint} == {*TENSORS}


def test_open_checkpoint_takes_an_npz_file(tmp_path):
    write_npz(tmp_path / "w.npz", TENSORS)
    with open_checkpoint(os.fspath(tmp_path / "w.npz")) as checkpoint:
        assert dict(checkpoint.dtypes) == {"embed": "F32", "norm": "F16", "head": "U16"}
        np.testing.assert_array_equal(checkpoint["embed"], TENSORS["embed"])
    with pytest.raises(ValueError, match="closed"):
        checkpoint["embed"]


def test_open_checkpoint_prefers_the_single_file(sharded):
    write_safetensors(sharded / "model.safetensors", {"only": TENSORS["norm"]})
    assert [*open_checkpoint(sharded)] == ["only"]


def test_open_checkpoint_follows_symbolic_links(sharded):
    (sharded / "blobs").mkdir()
    snapshot = sharded / "snapshot"
    snapshot.mkdir()
    for number, name in enumerate((*SHARDS, INDEX)):  # as the Hugging Face cache has it
        (sharded / name).rename(sharded / "blobs" / str(number))
        (snapshot / name).symlink_to(f"../blobs/{number}")
    assert [*open_checkpoint(snapshot)] == [*TENSORS]


def test_open_checkpoint_refuses_a_directory_without_a_checkpoint(tmp_path):
    refused(tmp_path, "found none")
    for name in "b.safetensors", "a.safetensors":
        write_safetensors(tmp_path / name, TENSORS)
    refused(tmp_path, "exactly one .safetensors file, found a.safetensors, b.safetensors")


def test_open_checkpoint_refuses_another_suffix(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    refused(tmp_path / "model.bin", "expected .safetensors, .npz, .index.json")
    with pytest.raises(FileNotFoundError):
        open_checkpoint(tmp_path / "model.safetensors")


def test_index_that_names_a_missing_file_is_refused(sharded):
    (sharded / SHARDS[1]).unlink()
    refused(sharded, f"file '{SHARDS[1]}' is missing", named=sharded / INDEX)


def test_index_that_names_a_tensor_its_shard_lacks_is_refused(sharded):
    write_index(sharded / INDEX, WEIGHT_MAP | {"tail": SHARDS[1]}, 38)
    refused(sharded, f"'{SHARDS[1]}' has no tensor 'tail'", named=sharded / INDEX)


def test_index_that_names_the_wrong_shard_is_refused(sharded):
    write_index(sharded / INDEX, WEIGHT_MAP | {"norm": SHARDS[1]}, 38)
    refused(sharded, f"'{SHARDS[1]}' has no tensor 'norm'", named=sharded / INDEX)


def test_shard_with_a_tensor_the_index_lacks_is_refused(sharded):
    rest = {name: file for name, file in WEIGHT_MAP.items() if name != "norm"}
    write_index(sharded / INDEX, rest, 38)
    refused(sharded, f"tensor 'norm' of '{SHARDS[0]}' is not in", named=sharded / INDEX)


def test_tensor_in_two_shards_is_refused(sharded):
    write_safetensors(sharded / SHARDS[1], {n: TENSORS[n] for n in ("head", "norm")})
    refused(sharded, f"both in '{SHARDS[0]}' and '{SHARDS[1]}'", named=sharded / INDEX)


def test_broken_shard_is_named(sharded):
    (sharded / SHARDS[1]).write_bytes(b"")
    refused(sharded, "expected at least 8 bytes", named=sharded / SHARDS[1])


@pytest.mark.parametrize(
    "file",
    ["../x.safetensors", "/x.safetensors", "a/../../x", "C:\\x", "C:x", "..\\x", "\\x", "a\0b"],
)
def test_file_outside_the_directory_is_refused(tmp_path, file):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": file}}))
    refused(tmp_path, "outside the index's directory", named=tmp_path / INDEX)
    with pytest.raises(ValueError, match="outside the index's directory"):
        write_index(tmp_path / INDEX, {"a": file}, 0)


def test_one_file_may_have_two_spellings_in_an_index(tmp_path):
    write_safetensors(tmp_path / "s.safetensors", dict.fromkeys("ab", np.ones(2, np.float32)))
    weight_map = {"a": "./s.safetensors", "b": "s.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.files == (tmp_path / "s.safetensors",)
        assert set(checkpoint) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "index: expected JSON"),
        (b"\xff", "index: expected UTF-8"),
        (b"[]", "index: expected a JSON object, got a list"),
        (b" 5", "index: expected a JSON object, got a number"),
        (b'"a"', "index: expected a JSON object, got text"),
        (b"{}", "weight_map: expected an object, got None"),
        (b'{"weight_map": []}', "weight_map: expected an object, got []"),
        (b'{"weight_map": {"a": 1}}', "weight_map: 'a': expected text, got 1"),
        (b'{"weight_map": {"a": "x", "a": "y"}}', "duplicate key 'a'"),
        (b'{"weight_map": {"a": ""}}', "file '' is missing"),
    ],
)
def test_broken_index_is_refused(tmp_path, text, reason):
    (tmp_path / INDEX).write_bytes(text)
    refused(tmp_path, reason, named=tmp_path / INDEX)


@pytest.mark.parametrize(
    ("weight_map", "total_size", "metadata", "error", "reason"),
    [
        ({"a": 1}, 0, None, TypeError, "weight_map: expected str to str, got 'a' to 1"),
        ({1: "a"}, 0, None, TypeError, "weight_map: expected str to str, got 1 to 'a'"),
        ({}, -1, None, ValueError, "total_size: expected at least 0, got -1"),
        ({}, 0, {"total_size": 1}, ValueError, "total_size is an argument of its own"),
        ({}, 0, {"x": b""}, TypeError, "not JSON serializable"),
        ({"\ud800": "a"}, 0, None, ValueError, "surrogates"),
    ],
)
def test_write_index_refuses_and_leaves_the_target_alone(
    tmp_path, weight_map, total_size, metadata, error, reason
):
    (tmp_path / INDEX).write_text("before")
    with pytest.raises(error, match=reason):
        write_index(tmp_path / INDEX, weight_map, total_size, metadata)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_checkpoint_is_written_shard_by_shard_from_another(sharded, tmp_path_factory):
    target = tmp_path_factory.mktemp("copy")
    with open_checkpoint(sharded) as source:
        for file in source.files:
            names = [name for name in source if source.file_of[name] == file]
            declaration = {name: (source.dtypes[name], source.shapes[name]) for name in names}
            with SafetensorsWriter(target / file.name, declaration) as writer:
                for name in writer.remaining:
                    writer.write(name, source[name])
        weight_map = {name: file.name for name, file in source.file_of.items()}
        write_index(target / INDEX, weight_map, source.nbytes)
        with open_checkpoint(target) as copy:
            assert copy.dtypes == source.dtypes and [*copy] == [*source]
            assert all(copy[name].tobytes() == source[name].tobytes() for name in source)
