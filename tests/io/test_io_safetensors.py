"""`pyfq.io` on safetensors files: round trips, the safetensors package as oracle, refusals."""

import importlib
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyfq.io import (
    FormatError,
    SafetensorsWriter,
    aligned_order,
    open_safetensors,
    write_safetensors,
)
from pyfq.io.dtypes import DTYPES, carrier_shape, nbytes_of

METADATA = {"format": "np"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """One file name for all examples of a property."""
    return tmp_path_factory.mktemp("safetensors") / "w.safetensors"


texts = st.text(st.characters(exclude_categories=["Cs"]))
names = texts.filter(lambda name: name != "__metadata__")  # hypothesis finds it in the source


@st.composite
def shapes(draw, word):
    """Any shape, empty and 0-d among them, that the word can have."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    if DTYPES[word].bits < 8:  # whole bytes
        shape.append(draw(st.sampled_from((0, 4, 8))))
    return tuple(shape)


@st.composite
def checkpoints(draw):
    """Names to (word, shape, carrier array of arbitrary bits)."""
    tensors = {}
    for name in draw(st.lists(names, unique=True)):
        word = draw(st.sampled_from(list(DTYPES)))
        shape = draw(shapes(word))
        data = draw(st.binary(min_size=nbytes_of(word, shape), max_size=nbytes_of(word, shape)))
        if word == "BOOL":
            data = bytes(byte & 1 for byte in data)
        array = np.frombuffer(data, DTYPES[word].carrier).reshape(carrier_shape(word, shape))
        tensors[name] = (word, shape, array)
    return tensors


def write(path, tensors, metadata=None, **options):
    declaration = {name: (word, shape) for name, (word, shape, _) in tensors.items()}
    with SafetensorsWriter(path, declaration, metadata, **options) as writer:
        for name in writer.remaining:
            writer.write(name, tensors[name][2])


def same_bits(got, expected):
    return (
        got.dtype == expected.dtype
        and got.shape == expected.shape
        and (got.tobytes() == expected.tobytes())
    )


def bare(header, data=b""):
    """Return the bytes of a file with a header as given: text, bytes or JSON to be."""
    if not isinstance(header, bytes):
        header = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(header).to_bytes(8, "little") + header + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


# Round trips


@given(tensors=checkpoints(), metadata=st.none() | st.dictionaries(texts, texts, max_size=3))
def test_writer_round_trip_in_declared_order(path, tensors, metadata):
    write(path, tensors, metadata)
    with open_safetensors(path) as file:
        assert [*file] == [*tensors]
        assert len(file) == len(tensors)
        assert file.path == path
        assert file.metadata == (metadata or {})
        assert file.nbytes == sum(array.nbytes for _, _, array in tensors.values())
        for name, (word, shape, array) in tensors.items():
            assert name in file
            assert file.dtypes[name] == word
            assert file.shapes[name] == shape
            got = file[name]
            assert same_bits(got, array)
            assert got.flags.aligned and got.flags.c_contiguous and not got.flags.writeable


@given(tensors=checkpoints())
def test_write_safetensors_aligns_every_tensor(path, tensors):
    arrays = {name: array for name, (_, _, array) in tensors.items()}
    words = {name: word for name, (word, _, _) in tensors.items()}
    write_safetensors(path, arrays, METADATA, dtypes=words)
    with open_safetensors(path) as file:
        assert dict(file.dtypes) == words
        declaration = {name: (file.dtypes[name], file.shapes[name]) for name in file}
        assert [*aligned_order(declaration)] == [*file]
        for name, array in arrays.items():
            assert same_bits(file[name], array)
            if array.size:
                assert file[name].base is not None  # a view, not an aligned copy


@given(order=st.permutations(["F64", "F32", "U8"]), swap=st.booleans())
def test_writer_takes_any_layout_and_byte_order(path, order, swap):
    base = np.arange(4 * 6 * 5).reshape(4, 6, 5)
    views = [base.T, base[::2, ::-1, 1:], np.asfortranarray(base), base[1, 2, 3:4].reshape(())]
    tensors = {}
    for word in order:
        for place, view in enumerate(views):
            array = view.astype(DTYPES[word].carrier.newbyteorder(">" if swap else "<"), order="K")
            tensors[f"{word}.{place}"] = array
    write(path, {name: (name.split(".")[0], a.shape, a) for name, a in tensors.items()})
    with open_safetensors(path) as file:
        for name, array in tensors.items():
            np.testing.assert_array_equal(file[name], array)


def test_writer_crosses_its_chunks(path):
    array = np.arange(3 * (1 << 18) + 5, dtype=np.int32).reshape(-1, 1)[::-1]
    write_safetensors(path, {"a": array})
    np.testing.assert_array_equal(open_safetensors(path)["a"], array)


def test_copy_of_a_file_is_the_file(path):
    tensors = {"b": np.ones((2, 3), np.float32), "a": np.arange(3, dtype=np.uint16)}
    write_safetensors(path, tensors, METADATA, dtypes={"a": "BF16"})
    before = path.read_bytes()
    with open_safetensors(path) as file:
        write_safetensors(path, file, file.metadata, dtypes=file.dtypes)
    assert path.read_bytes() == before


def test_views_outlive_the_file(path):
    write_safetensors(path, {"a": np.arange(4)})
    with open_safetensors(path) as file:
        array = file["a"]
    np.testing.assert_array_equal(array, np.arange(4))
    with pytest.raises(ValueError, match="closed"):
        file["a"]


def test_misaligned_tensor_is_an_aligned_copy(path):
    values = np.array([1.5, -2.5], np.float32)
    write(path, {"u": ("U8", (3,), np.arange(3, dtype=np.uint8)), "f": ("F32", (2,), values)})
    with open_safetensors(path) as file:
        assert file["f"].flags.aligned and not file["f"].flags.writeable
        np.testing.assert_array_equal(file["f"], values)


def test_header_of_any_length_is_read(path):
    values = np.array([1.5, -2.5], np.float32)
    for pad in range(8):
        path.write_bytes(bare(json.dumps({"a": entry()}) + " " * pad, values.tobytes()))
        np.testing.assert_array_equal(open_safetensors(path)["a"], values)


def test_file_order_is_that_of_the_data(path):
    path.write_bytes(bare({"a": entry(offsets=(8, 16)), "b": entry()}, bytes(16)))
    assert [*open_safetensors(path)] == ["b", "a"]


def test_opening_a_large_file_reads_only_its_header(path):
    count = 1 << 28
    header = bare(json.dumps({"a": entry("F32", (count,), (0, 4 * count))}).ljust(80))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 4 * count)  # 1 GB, all of it a hole
    tracemalloc.start()
    try:
        with open_safetensors(path) as file:
            array = file["a"]
            assert array.shape == (count,) and array[-1] == 0
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
        path.unlink()


def test_writing_holds_no_copy_of_a_tensor(path):
    array = np.zeros((1 << 11, 1 << 11), np.float32).T  # 16 MB, not contiguous
    tracemalloc.start()
    try:
        write_safetensors(path, {"a": array})
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


# The safetensors package as oracle


@given(tensors=checkpoints())
def test_write_safetensors_writes_the_bytes_of_the_library(path, tensors):
    oracle = pytest.importorskip("safetensors.numpy")
    arrays = {n: a for n, (word, _, a) in tensors.items() if word != "BF16"}  # bits as they are
    write_safetensors(path, arrays, METADATA)
    assert path.read_bytes() == oracle.save(arrays, METADATA)
    write_safetensors(path, arrays)
    assert path.read_bytes() == oracle.save(arrays)


@given(tensors=checkpoints())
def test_library_reads_what_the_writer_writes(path, tensors):
    oracle = pytest.importorskip("safetensors")
    write(path, tensors, METADATA)
    got = dict(oracle.deserialize(path.read_bytes()))
    assert got.keys() == tensors.keys()
    for name, (word, shape, array) in tensors.items():
        assert got[name]["dtype"] == word
        assert tuple(got[name]["shape"]) == shape
        assert bytes(got[name]["data"]) == array.tobytes()


def test_bfloat16_of_the_library_is_its_bits(path):
    oracle = pytest.importorskip("safetensors.numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs the oracles extra")
    values = np.array([[1, -2.5], [np.inf, 3e38]], ml_dtypes.bfloat16)
    oracle.save_file({"a": values}, path)
    with open_safetensors(path) as file:
        assert file.dtypes["a"] == "BF16"
        np.testing.assert_array_equal(file["a"], values.view(np.uint16))
        np.testing.assert_array_equal(file["a"].view(ml_dtypes.bfloat16), values)
    with pytest.raises(ValueError, match="no word for dtype bfloat16"):
        write_safetensors(path, {"a": values})


# Refusals of the reader

TOO_LONG = "9" * 5000
CORRUPT = {
    "empty": (b"", "expected at least 8 bytes, got 0"),
    "short": (b"\1\0\0", "expected at least 8 bytes, got 3"),
    "header beyond file": ((99).to_bytes(8, "little") + b"{}", "99 bytes announced, 2 bytes"),
    "header too large": ((1 << 40).to_bytes(8, "little") + b"{}", "at most 100000000 bytes"),
    "header length of all ones": (b"\xff" * 8 + b"{}", "at most 100000000 bytes"),
    "no header": (bare(""), "expected '{' as its first byte, got b''"),
    "not utf-8": (bare(b'{"\xff": 1}'), "expected UTF-8"),
    "leading space": (bare(" {}"), "expected '{' as its first byte"),
    "an array": (bare("[]"), "expected '{' as its first byte"),
    "not json": (bare("{'a': 1}"), "expected JSON"),
    "text behind": (bare("{} x"), "expected JSON"),
    "nested too deeply": (bare('{"a":' * 100_000), "expected JSON"),
    "nan": (bare('{"a": NaN}'), "NaN is not JSON"),
    "half a character": (bare(r'{"\ud800": 1}'), "expected JSON"),
    "duplicate tensor": (
        bare(f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}', bytes(8)),
        "duplicate key 'a'",
    ),
    "duplicate field": (
        bare('{"a": {"dtype": "F32", "dtype": "F32", "shape": [], "data_offsets": [0, 4]}}'),
        "duplicate key 'dtype'",
    ),
    "tensor no object": (bare({"a": 1}), "tensor 'a': expected an object, got 1"),
    "unknown field": (bare({"a": entry(order="C")}, bytes(8)), "unknown field 'order'"),
    "unknown dtype": (bare({"a": entry("F33")}, bytes(8)), "unknown dtype 'F33'"),
    "dtype no text": (bare({"a": entry(["F32"])}, bytes(8)), "unknown dtype ['F32']"),
    "shape no list": (bare({"a": entry() | {"shape": 2}}, bytes(8)), "shape: expected a list"),
    "negative extent": (bare({"a": entry(shape=(-2,))}, bytes(8)), "got -2"),
    "minus zero": (bare(json.dumps({"a": entry()}).replace("[0", "[-0"), bytes(8)), "[-0.0, 8]"),
    "real extent": (bare({"a": entry(shape=(2.0,))}, bytes(8)), "got 2.0"),
    "bool extent": (bare({"a": entry(shape=(True, 2))}, bytes(8)), "got True"),
    "text extent": (bare({"a": entry(shape=("2",))}, bytes(8)), "got '2'"),
    "huge extent": (bare({"a": entry(shape=(2**63,))}, bytes(8)), "2**63 - 1, got"),
    "endless extent": (bare(json.dumps({"a": entry()}).replace("[2]", f"[{TOO_LONG}]")), "inf"),
    "overflow": (bare({"a": entry(shape=(2**40, 2**40))}, bytes(8)), "overflows"),
    "empty overflow": (bare({"a": entry("F32", (0, 2**40, 2**40), (0, 0))}), "overflows"),
    "too many axes": (bare({"a": entry("F32", [1] * 65, (0, 4))}, bytes(4)), "at most 64 axes"),
    "half a byte": (bare({"a": entry("F4", (3,), (0, 2))}, bytes(2)), "12 bits, not whole bytes"),
    "one offset": (bare({"a": entry(offsets=(8,))}, bytes(8)), "expected two integers"),
    "negative offset": (bare({"a": entry(offsets=(-8, 0))}, bytes(8)), "expected two integers"),
    "bool offset": (bare({"a": entry("U8", (1,), (False, True))}, b"0"), "expected two integers"),
    "real offset": (bare({"a": entry(offsets=(0, 8.0))}, bytes(8)), "expected two integers"),
    "huge offset": (bare({"a": entry(offsets=(0, 2**64))}, bytes(8)), "expected two integers"),
    "size": (bare({"a": entry(shape=(3,))}, bytes(8)), "hold 8 bytes, F32 [3] takes 12"),
    "reversed offsets": (bare({"a": entry(offsets=(8, 0))}, bytes(8)), "hold -8 bytes"),
    "overlap": (bare({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "overlap: tensor"),
    "same place": (bare({"a": entry(), "b": entry()}, bytes(8)), "overlap: tensor 'b'"),
    "hole": (bare({"a": entry(), "b": entry(offsets=(9, 17))}, bytes(17)), "hole: tensor 'b'"),
    "hole in front": (bare({"a": entry(offsets=(1, 9))}, bytes(9)), "hole: tensor 'a' begins at 1"),
    "truncated": (bare({"a": entry()}, bytes(7)), "truncated: header describes 8 bytes"),
    "trailing": (bare({"a": entry()}, bytes(9)), "trailing bytes: header describes 8 bytes"),
    "trailing alone": (bare({}, b"x"), "trailing bytes: header describes 0 bytes"),
    "metadata no object": (bare({"__metadata__": []}), "__metadata__: expected an object"),
    "metadata text": (bare({"__metadata__": "a"}), "__metadata__: expected an object, got 'a'"),
    "metadata number": (bare({"__metadata__": {"k": 1}}), "'k' must be text, got 1"),
    **{
        f"no {field}": (
            bare({"a": {k: v for k, v in entry().items() if k != field}}, bytes(8)),
            f"missing field '{field}'",
        )
        for field in entry()
    },
}


@pytest.mark.parametrize(("data", "reason"), CORRUPT.values(), ids=CORRUPT)
def test_open_safetensors_refuses(tmp_path, data, reason):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        open_safetensors(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in caught.value.reason
    assert len(caught.value.reason) < 1000


def test_format_error_survives_pickling():
    error = pickle.loads(pickle.dumps(FormatError("w.safetensors", "bad")))
    assert (type(error), str(error)) == (FormatError, "w.safetensors: bad")


def test_message_stays_short_when_the_name_is_long(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(bare({"a" * 1_000_000: 1}))
    with pytest.raises(FormatError) as caught:
        open_safetensors(path)
    assert len(caught.value.reason) < 1000


def test_missing_file_is_no_format_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_safetensors(tmp_path / "none.safetensors")


def valid_bytes():
    return bare(
        {
            "__metadata__": {"format": "np"},
            "a": entry("F32", (2, 3), (0, 24)),
            "b": entry("BF16", (3,), (24, 30)),
            "c": entry("F4", (4,), (30, 32)),
            "d": entry("I64", (0, 5), (32, 32)),
        },
        bytes(range(32)),
    )


flips = st.lists(st.tuples(st.integers(0, len(valid_bytes()) - 1), st.integers(0, 255)), max_size=4)


@settings(max_examples=1000)
@given(flips=flips, cut=st.none() | st.integers(0, len(valid_bytes())), tail=st.binary(max_size=4))
@example(flips=[], cut=None, tail=b"")
def test_fuzzed_file_is_read_as_the_library_reads_it_or_refused(path, flips, cut, tail):
    data = bytearray(valid_bytes())
    for place, byte in flips:
        data[place] = byte
    data = bytes(data[:cut]) + tail
    path.write_bytes(data)
    try:
        with open_safetensors(path) as file:
            arrays = {name: array.tobytes() for name, array in file.items()}
            shapes = {name: list(shape) for name, shape in file.shapes.items()}
    except FormatError as error:
        assert str(path) in str(error)
        return
    if find_spec("safetensors") is None:
        return
    expected = dict(importlib.import_module("safetensors").deserialize(data))
    assert arrays == {name: bytes(tensor["data"]) for name, tensor in expected.items()}
    assert shapes == {name: tensor["shape"] for name, tensor in expected.items()}


@settings(max_examples=500)
@given(text=st.binary(max_size=40) | st.text('{}[]:,"\\u-019.eaNtrufls ', max_size=40))
def test_any_header_is_read_or_refused(path, text):
    path.write_bytes(bare(b"{" + (text if isinstance(text, bytes) else text.encode())))
    try:
        open_safetensors(path).close()
    except FormatError as error:
        assert str(path) in str(error)


# Refusals of the writer

ONE = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("declaration", "metadata", "error", "reason"),
    [
        ({1: ("F32", (2,))}, None, TypeError, "tensor name: expected str, got int"),
        ({"__metadata__": ("F32", (2,))}, None, ValueError, "reserved"),
        ({"\ud800": ("F32", (2,))}, None, ValueError, "surrogates"),
        ({"a": ("float32", (2,))}, None, ValueError, "tensor 'a': dtype: expected one of BOOL, F4"),
        ({"a": ("F32", (-1,))}, None, ValueError, "got -1"),
        ({"a": ("F32", (True,))}, None, ValueError, "got True"),
        ({"a": ("F32", (2**62, 2))}, None, ValueError, "overflows"),
        ({"a": ("F6_E2M3", (3,))}, None, ValueError, "18 bits, not whole bytes"),
        ({}, {"k": 1}, TypeError, "metadata: expected str to str, got 'k' to 1"),
        ({}, {"k": "x" * 100_000_001}, ValueError, "at most 100000000 bytes"),
    ],
)
def test_writer_refuses_the_declaration(tmp_path, declaration, metadata, error, reason):
    with pytest.raises(error, match=reason.replace("(", r"\(")):
        SafetensorsWriter(tmp_path / "w.safetensors", declaration, metadata)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("name", "array", "error", "reason"),
    [
        ("b", ONE, ValueError, "name: expected 'a', got 'b'"),
        ("a", [1, 2], TypeError, "array: expected numpy.ndarray, got list"),
        ("a", ONE.astype(np.float64), ValueError, "expected float32 .2., got float64 .2."),
        ("a", ONE.view(np.int32), ValueError, "declared F32 .2., expected float32"),
        ("a", ONE[:, None], ValueError, "got float32 .2, 1."),
    ],
)
def test_writer_refuses_what_is_not_declared(tmp_path, name, array, error, reason):
    declaration = {"a": ("F32", (2,)), "b": ("F32", (2,))}
    with SafetensorsWriter(tmp_path / "w.safetensors", declaration) as writer:
        with pytest.raises(error, match=reason):
            writer.write(name, array)
        writer.write("a", ONE)  # a refusal does no harm
        writer.write("b", ONE)
        with pytest.raises(ValueError, match="name: expected None, got 'a'"):
            writer.write("a", ONE)
    with pytest.raises(ValueError, match="closed"):
        writer.write("a", ONE)
    assert [*open_safetensors(tmp_path / "w.safetensors")] == ["a", "b"]


@pytest.mark.parametrize(
    ("tensors", "dtypes", "error", "reason"),
    [
        ({"a": 1.0}, None, TypeError, "a: expected numpy.ndarray, got float"),
        ({"a": np.array(["x"])}, None, ValueError, "a: safetensors has no word for dtype <U1"),
        ({"a": np.array([None])}, None, ValueError, "no word for dtype object"),
        ({"a": np.ones(1, np.complex128)}, None, ValueError, "no word for dtype complex128"),
        ({"a": ONE}, {"b": "F32"}, ValueError, "dtypes: no tensor named b"),
        ({"a": ONE}, {"a": "F99"}, ValueError, "got 'F99'"),
        ({"a": ONE}, {"a": "BF16"}, ValueError, "declared BF16 .2., expected uint16 .2."),
        ({"a": np.zeros(4, np.uint8)}, {"a": "F6_E3M2"}, ValueError, "not whole bytes"),
    ],
)
def test_write_safetensors_refuses(tmp_path, tensors, dtypes, error, reason):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(error, match=reason):
        write_safetensors(path, tensors, dtypes=dtypes)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"before"


# Atomicity and resumption

THREE = {
    "a": ("U8", (3,), np.arange(3, dtype=np.uint8)),
    "b": ("F32", (2, 2), np.arange(4, dtype=np.float32).reshape(2, 2)),
    "c": ("BF16", (2,), np.array([0x3F80, 0xBF80], np.uint16)),
}
DECLARATION = {name: (word, shape) for name, (word, shape, _) in THREE.items()}


@pytest.mark.parametrize("before", [None, b"before"])
def test_writer_leaves_the_target_alone_until_it_is_complete(tmp_path, before):
    path = tmp_path / "w.safetensors"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(KeyboardInterrupt), SafetensorsWriter(path, DECLARATION) as writer:
        writer.write("a", THREE["a"][2])
        (partial,) = tmp_path.glob("w.safetensors.*.partial")
        assert partial.read_bytes().endswith(THREE["a"][2].tobytes())  # not in a buffer any more
        raise KeyboardInterrupt
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_writer_refuses_to_close_with_tensors_missing(tmp_path):
    path = tmp_path / "w.safetensors"
    with (
        pytest.raises(ValueError, match="not written: b, c"),
        SafetensorsWriter(path, DECLARATION) as writer,
    ):
        writer.write("a", THREE["a"][2])
    assert not [*tmp_path.iterdir()]


def test_writer_removes_the_partial_file_when_the_rename_fails(tmp_path):
    target = tmp_path / "w.safetensors"
    target.mkdir()
    with pytest.raises(OSError):
        write(target, THREE)
    assert [*tmp_path.iterdir()] == [target]


@given(written=st.integers(0, 3), told=st.integers(0, 3), torn=st.binary())
def test_resumed_file_is_the_same_to_the_byte(path, written, told, torn):
    write(path, THREE, METADATA)
    whole = path.read_bytes()
    path.unlink()
    partial = path.with_name(path.name + ".partial") / "new" / path.name
    with (
        pytest.raises(RuntimeError),
        SafetensorsWriter(path, DECLARATION, METADATA, keep_partial=True) as writer,
    ):
        for name in writer.remaining[:written]:
            writer.write(name, THREE[name][2])
        assert writer.completed == written
        raise RuntimeError
    assert not path.exists()
    with partial.open("ab") as file:
        file.write(torn)  # of a tensor that the crash cut short
    write(path, THREE, METADATA, resume=True, completed=min(told, written))
    assert path.read_bytes() == whole
    assert not partial.parent.parent.exists()


def test_resume_finds_the_complete_tensors(tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, THREE)
    whole = path.read_bytes()
    ends = [len(whole) - 20, len(whole) - 4, len(whole)]
    path.unlink()
    for size in range(len(whole) + 1):  # a file shorter than its header has no tensor
        partial = tmp_path / "w.safetensors.partial" / "new" / "w.safetensors"
        partial.parent.mkdir(parents=True)
        partial.write_bytes(whole[:size])
        with SafetensorsWriter(path, DECLARATION, resume=True) as writer:
            assert writer.completed == sum(end <= size for end in ends)
            for name in writer.remaining:
                writer.write(name, THREE[name][2])
        assert path.read_bytes() == whole


def test_resume_without_a_partial_file_begins_anew(tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, THREE, resume=True)
    assert [*open_safetensors(path)] == [*THREE]
    with pytest.raises(FileNotFoundError):
        SafetensorsWriter(path, DECLARATION, resume=True, completed=1)


def test_resume_refuses_another_declaration_and_missing_data(tmp_path):
    path = tmp_path / "w.safetensors"
    with (
        pytest.raises(RuntimeError),
        SafetensorsWriter(path, DECLARATION, keep_partial=True) as writer,
    ):
        writer.write("a", THREE["a"][2])
        raise RuntimeError
    partial = tmp_path / "w.safetensors.partial" / "new" / "w.safetensors"
    before = partial.read_bytes()
    with pytest.raises(FormatError, match=r"w.safetensors: resume: the header differs"):
        SafetensorsWriter(path, DECLARATION, METADATA, resume=True, keep_partial=True)
    with pytest.raises(
        FormatError, match=r"w.safetensors: resume: expected 2 complete tensors, got 1"
    ):
        SafetensorsWriter(path, DECLARATION, resume=True, completed=2)
    assert partial.read_bytes() == before
    with pytest.raises(ValueError, match="completed: expected 0 to 3 together with resume, got 4"):
        SafetensorsWriter(path, DECLARATION, resume=True, completed=4)
    with pytest.raises(ValueError, match="together with resume"):
        SafetensorsWriter(path, DECLARATION, completed=1)


FORKED = """
import os, sys
import numpy as np
from pathlib import Path
from pyfq.io import SafetensorsWriter, open_safetensors
from pyfq.io.atomic import replacing

a = np.arange(4.0)
path = Path(sys.argv[1])
with SafetensorsWriter(path, {"a": ("F64", (4,)), "b": ("F64", (4,))}) as writer:
    writer.write("a", a)
    if os.fork() == 0:
        raise SystemExit(0)
    os.wait()
    writer.write("b", a + 1)
with open_safetensors(path) as file:
    assert (file["a"] == a).all() and (file["b"] == a + 1).all()
with replacing(path) as file:
    file.write(b"first")
    if os.fork() == 0:
        raise SystemExit(0)
    os.wait()
    file.write(b", second")
assert path.read_bytes() == b"first, second"
assert os.listdir(path.parent) == [path.name]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_leaves_what_its_parent_writes_alone(tmp_path):
    command = [sys.executable, "-P", "-c", FORKED, tmp_path / "w.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
