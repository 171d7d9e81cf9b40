"""Damaged checkpoints, indices, configs and entries: an error that is documented, or the result.

A seeded corpus of mutations, small enough for every run, goes through `open_checkpoint` and through
the commands in this process: whatever is not a documented exception ends the test with a traceback.
"""

import json
import random
import shutil
from contextlib import suppress

import numpy as np
import pytest

import pyfq
from pyfq.cli import main
from pyfq.io import open_checkpoint, write_index, write_npz, write_safetensors

W = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
ROUNDS = 40

# What a mutation puts in the place of a token of JSON.
TOKENS = [
    b"null", b"true", b"-1", b"1e999", b"NaN", b"{}", b"[]", b'""', b'"\\ud800"', b"9" * 30,
    b'"../x"', b'"F4"', b'"a.weight"', b"[[[", b"0.5", b'"\\u0000"', b'"pyfq"',
]  # fmt: skip


def originals(root):
    """Write checkpoints of each kind, plain and compressed; return directories and sources."""
    tensors = {"a.weight": W, "b.weight": W + 1, "c": np.arange(3)}
    files = []
    for kind in "single", "npz", "shards":
        (root / kind).mkdir()
        (root / kind / "config.json").write_text('{"hidden": 16, "limit": [0.0, Infinity]}')
    write_safetensors(root / "single" / "model.safetensors", tensors, {"format": "pt"})
    write_npz(root / "npz" / "w.npz", tensors)
    weight_map = {name: f"{i}.safetensors" for i, name in enumerate(tensors)}
    for name, shard in weight_map.items():
        write_safetensors(root / "shards" / shard, {name: tensors[name]})
    write_index(root / "shards" / "model.safetensors.index.json", weight_map, 1, {"n": 1})
    flags = ["--min-size", "1", "--bits", "4", "--group-size", "8", "--scheme", "affine"]
    for kind, source, out in (
        ("single", "", "packed"),
        ("npz", "w.npz", "packed.npz"),
        ("shards", "", "packed-shards"),
    ):
        files += [(root / kind, source)]
        target = root / out / out if "." in out else root / out
        assert main(["compress", str(root / kind / source), "-o", str(target), *flags]) == 0
        files += [(target.parent, target.name) if "." in out else (target, "")]
    return files


def damaged(data, rng):
    """Return bytes with one to three random changes of any kind."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                del data[at : at + rng.randrange(1, 20)]
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case 4:
                data[at:at] = rng.choice(TOKENS)
            case 5:
                # A value in JSON: behind a colon, up to a comma or bracket.
                colons = [i for i, byte in enumerate(data[:4000]) if byte == ord(":")]
                if colons:
                    begin = rng.choice(colons) + 1
                    end = begin
                    while end < len(data) and data[end : end + 1] not in b",}]":
                        end += 1
                    data[begin:end] = rng.choice(TOKENS)
    return bytes(data)


def with_length(data):
    """Return a safetensors file whose first eight bytes say where its header ends, if one does."""
    end = data.rfind(b"}") + 1
    return max(end - 8, 0).to_bytes(8, "little") + data[8:]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", range(6))
def test_damaged_files_are_refused_or_read(tmp_path, capsys, which):
    rng = random.Random(which)
    directory, name = originals(tmp_path)[which]
    work, target = tmp_path / "work", tmp_path / "target"
    target.mkdir()
    write_safetensors(target / "model.safetensors", {"before": W})
    before = (target / "model.safetensors").read_bytes()
    refused = 0
    for _ in range(ROUNDS):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(directory, work)
        victim = rng.choice(sorted(path for path in work.rglob("*") if path.is_file()))
        data = damaged(victim.read_bytes(), rng)
        if victim.suffix == ".safetensors" and rng.random() < 0.7:
            data = with_length(data)
        victim.write_bytes(data)
        with suppress(ValueError, OSError), open_checkpoint(work / name) as checkpoint:
            for tensor in checkpoint:
                checkpoint[tensor].tobytes()
        with suppress(ValueError, OSError):
            pyfq.load_network(work / name)
        for command in (
            ["inspect", work / name, "--parts"],
            ["compress", work / name, "-o", tmp_path / "out", "--min-size", "1"],
            ["decompress", work / name, "-o", tmp_path / "out"],
        ):
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            code = main([str(word) for word in command])
            err = capsys.readouterr().err
            assert code in (0, 1)
            if code:
                refused += 1
                assert err.startswith("pyfq ") and len(err) < 3000
                assert not (tmp_path / "out").exists()
            # Without --force a target that is there stays, whatever the source is.
            if "-o" in command:
                command[3] = target
                assert main([str(word) for word in command]) == 1
                assert (target / "model.safetensors").read_bytes() == before
                assert [path.name for path in target.iterdir()] == ["model.safetensors"]
    assert refused > ROUNDS // 4


@pytest.mark.parametrize(
    "entry",
    [
        "5",
        "[]",
        "{}",
        '{"tensors": []}',
        '{"tensors": {"a": 1}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [-1], "format": "dense"}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [1e999], "format": "dense"}}}',
        '{"tensors": {"a": {"dtype": [], "shape": [[]], "format": {}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "quantize": {"bits": 1e400}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "quantize": {"bits": 99999999999}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "rate": {"bits": 3}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "rate": {"found": {"nbytes": 0}}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "rate": {"found": 3}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "lowrank": {"rank": -1}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "lossless": true}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [8, 16], "lossless": {"found": 3}}}}',
        '{"tensors": {"a": {"dtype": "I8", "shape": [9], "lossless": {"found": {"nbytes": 9}}}}}',
        '{"tensors": {"a": {"dtype": "F32", "shape": [], "lowrank": {"rank": 1}}}}',
        '{"tensors": {"a": {"dtype": "F4", "shape": [3], "quantize": {"bits": 4}}}}',
        "[" * 100_000,
        '{"tensors": {"a": {"shape": [' + "9" * 5000 + "]}}}",
    ],
)
def test_an_entry_of_pyfq_that_it_did_not_write_is_refused(tmp_path, capsys, entry):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"a": W}, {"pyfq": entry})
    for command in ["inspect", path], ["decompress", path, "-o", tmp_path / "out.safetensors"]:
        code = main([str(word) for word in command])
        assert code == 1
        err = capsys.readouterr().err
        assert "entry 'pyfq'" in err and len(err) < 1500
    assert not (tmp_path / "out.safetensors").exists()


def test_the_entry_of_an_npz_file_may_be_anything(tmp_path, capsys):
    for text in "x", json.dumps({"tensors": {"w": {"shape": 3}}}):
        array = np.frombuffer(text.encode(), np.uint8)
        write_npz(tmp_path / "m.npz", {"w": W, "pyfq": array})
        assert main(["inspect", str(tmp_path / "m.npz")]) == 1
        assert "entry 'pyfq'" in capsys.readouterr().err
