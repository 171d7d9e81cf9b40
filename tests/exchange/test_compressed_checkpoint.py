"""Compressed checkpoints in Python: the numbers that ``pyfq decompress`` writes, in their forms."""

import json
import struct

import numpy as np
import pytest

import pyfq
from pyfq.cli import main
from pyfq.io import FormatError, open_checkpoint, write_index, write_npz, write_safetensors

RNG = np.random.default_rng(0)
STACK = RNG.standard_normal((3, 32, 64), np.float32)
TENSORS = {
    "a.weight": RNG.standard_normal((64, 128), np.float32),
    "b.weight": RNG.standard_normal((48, 96)),
    "conv.weight": RNG.standard_normal((16, 8, 3, 3), np.float32),
    "experts": STACK,
    "a.bias": RNG.standard_normal(64).astype(np.float32),
    "ids": np.arange(7),
    "mask": np.array([True, False]),
}

METHODS = {
    "rtn": (["--bits", "8"], pyfq.Quantized),
    "affine": (["--bits", "5", "--scheme", "affine", "--per-row"], pyfq.Quantized),
    "minmax": (["--bits", "3", "--scheme", "minmax", "--group-size", "32"], pyfq.Quantized),
    "nf4": (["--method", "nf4"], pyfq.Codebook),
    "lloyd": (["--method", "lloyd", "--bits", "3", "--scale-bits", "8"], pyfq.Codebook),
    "rate": (["--method", "rate", "--bits", "3"], pyfq.RateQuantized),
    "lowrank": (["--rank", "4"], pyfq.LowRank),
    "lowrank8": (["--rank", "4", "--bits", "8"], pyfq.LowRank),
    "bfloat16": (["--method", "bfloat16"], pyfq.Half),
    "float16": (["--method", "float16"], np.ndarray),
    "lossless": (["--method", "lossless"], np.ndarray),
    "pruned": (["--prune-ratio", "0.5"], np.ndarray),
}


def run(*words):
    assert main([str(word) for word in words]) == 0


def reals(form):
    """Return the numbers of a form."""
    if isinstance(form, np.ndarray):
        return form
    return form.toarray() if hasattr(form, "toarray") else form.dequantize()


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
@pytest.mark.parametrize("method", METHODS)
def test_tensors_are_those_of_decompress(tmp_path, capsys, method, kind):
    if (method, kind) == ("bfloat16", "npz"):
        pytest.skip("npz cannot hold BF16")
    flags, expected = METHODS[method]
    write_npz(tmp_path / "source.npz", TENSORS)
    small, dense = tmp_path / f"small.{kind}", tmp_path / "dense.npz"
    run("compress", tmp_path / "source.npz", "-o", small, "--min-size", "1", *flags)
    run("decompress", small, "-o", dense)
    with pyfq.load_checkpoint(small) as checkpoint, open_checkpoint(dense) as floats:
        assert set(checkpoint) == set(TENSORS)
        assert isinstance(checkpoint["a.weight"], expected)
        for name, array in TENSORS.items():
            assert checkpoint.shapes[name] == array.shape
            got = checkpoint.dense(name)
            np.testing.assert_array_equal(got, floats[name], strict=True)
            assert not got.flags.writeable
            form = checkpoint[name]
            if array.dtype.kind == "f":
                np.testing.assert_array_equal(
                    reals(form).reshape(array.shape).astype(array.dtype), floats[name]
                )
            else:
                np.testing.assert_array_equal(form, array, strict=True)
                assert checkpoint.methods[name] == "copy"


def test_shards_and_directories_are_one_mapping(tmp_path, capsys):
    source, small = tmp_path / "source", tmp_path / "small"
    source.mkdir()
    files = {name: f"{i}.safetensors" for i, name in enumerate(TENSORS)}
    for name, file in files.items():
        write_safetensors(source / file, {name: TENSORS[name]})
    total = sum(array.nbytes for array in TENSORS.values())
    write_index(source / "model.safetensors.index.json", files, total)
    run("compress", source, "-o", small, "--bits", "4")
    for path in (small, small / "model.safetensors.index.json"):
        with pyfq.load_checkpoint(path) as checkpoint:
            assert set(checkpoint) == set(TENSORS)
            assert checkpoint["a.weight"].bits == 4
            assert len(checkpoint.files) == len(TENSORS)


def test_dense_checkpoints_are_read_and_narrow_floats_are_numbers(tmp_path):
    bits = pyfq.cast_to(TENSORS["a.weight"], "bfloat16")
    path = tmp_path / "w.safetensors"
    half = TENSORS["a.weight"].astype(np.float16)
    write_safetensors(path, {"b": bits, "h": half}, dtypes={"b": "BF16"})
    with pyfq.load_checkpoint(path) as checkpoint:
        assert isinstance(checkpoint["b"], pyfq.Half)
        assert checkpoint["b"].format == "bfloat16"
        expected = pyfq.cast_from(bits, "bfloat16")
        np.testing.assert_array_equal(checkpoint.dense("b"), expected, strict=True)
        assert checkpoint["h"].dtype == checkpoint.dense("h").dtype == np.float16
        np.testing.assert_array_equal(checkpoint.dense("h", np.float32), half.astype(np.float32))
        assert checkpoint.dense("b", np.float64).dtype == np.float64
        assert not checkpoint["h"].flags.writeable
        assert repr(checkpoint).endswith("2 tensors, 0 compressed, 32768 bytes)")


def test_infinities_of_bfloat16_are_read_and_what_overflows_is_told(tmp_path):
    path = tmp_path / "w.safetensors"
    mask = np.array([[0, -np.inf], [np.nan, 1]], np.float32)
    large = np.array([70000, np.inf], np.float32)
    bits = pyfq.cast_to(mask, "bfloat16")
    write_safetensors(path, {"mask": bits, "w": large}, dtypes={"mask": "BF16"})
    with pyfq.load_checkpoint(path) as checkpoint:
        np.testing.assert_array_equal(checkpoint["mask"], mask, strict=True)
        np.testing.assert_array_equal(checkpoint.dense("mask"), mask, strict=True)
        np.testing.assert_array_equal(checkpoint.dense("w"), large)
        with pytest.raises(ValueError, match=r"w must fit float16, but w\[0\] is 70000"):
            checkpoint.dense("w", np.float16)


def test_bits_of_float8_and_integers_stay_as_they_are(tmp_path):
    path = tmp_path / "w.safetensors"
    codes = np.arange(4, dtype=np.uint8)
    write_safetensors(path, {"f": codes, "i": np.arange(3)}, dtypes={"f": "F8_E4M3"})
    with pyfq.load_checkpoint(path) as checkpoint:
        np.testing.assert_array_equal(checkpoint["f"], codes, strict=True)
        with pytest.raises(TypeError, match="dtype must be one of floats, of a tensor of floats"):
            checkpoint.dense("i", np.float32)
        with pytest.raises(TypeError, match="not int32 of a tensor of F8_E4M3"):
            checkpoint.dense("f", np.int32)


def test_nothing_is_read_before_it_is_asked_for_and_nothing_after_it_is_closed(tmp_path, capsys):
    write_safetensors(tmp_path / "s.safetensors", TENSORS)
    small = tmp_path / "small.safetensors"
    run("compress", tmp_path / "s.safetensors", "-o", small, "--bits", "8")
    raw = bytearray(small.read_bytes())
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    begin, end = header["a.weight_scale"]["data_offsets"]
    data = 8 + struct.unpack("<Q", raw[:8])[0]
    raw[data + begin : data + end] = np.full((end - begin) // 4, np.nan, np.float32).tobytes()
    small.write_bytes(raw)
    with pyfq.load_checkpoint(small) as checkpoint:
        assert checkpoint["experts"].bits == 8
        for read in (checkpoint.__getitem__, checkpoint.dense):
            with pytest.raises(FormatError, match=r"tensor 'a.weight': .*finite"):
                read("a.weight")
            with pytest.raises(KeyError):
                read("nothing")
        kept = checkpoint.dense("a.bias")
    with pytest.raises(ValueError, match="closed"):
        checkpoint["a.bias"]
    np.testing.assert_array_equal(kept, TENSORS["a.bias"])


def test_what_a_file_says_wrongly_is_refused_when_it_is_opened(tmp_path, capsys):
    write_safetensors(tmp_path / "s.safetensors", TENSORS)
    small = tmp_path / "small.safetensors"
    run("compress", tmp_path / "s.safetensors", "-o", small, "--bits", "8")
    raw = small.read_bytes()
    for old, new in ((b"a.weight_scale", b"a.weight_scald"), (b"group_size", b"group_sise")):
        small.write_bytes(raw.replace(old, new))
        with pytest.raises(FormatError, match=r"small\.safetensors: "):
            pyfq.load_checkpoint(small)
    with pytest.raises(FileNotFoundError):
        pyfq.load_checkpoint(tmp_path / "nothing")
