"""`pyfq.io` on npz files: round trips, NumPy as oracle, refusals."""

import io
import os
import re
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyfq.io import FormatError, open_npz, write_npz
from pyfq.io.dtypes import WORDS
from pyfq.io.npz import archive_nbytes

dtypes = st.sampled_from([d.newbyteorder(order) for d in WORDS for order in "<>"])
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4))
)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """One file name for all examples of a property."""
    return tmp_path_factory.mktemp("npz") / "w.npz"


def same(got, expected):
    return got.shape == expected.shape and (got.tobytes() == expected.astype(got.dtype).tobytes())


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def npy_of(header, data=b"", version=(1, 0)):
    header = header.encode()
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + len(header).to_bytes(width, "little") + header + data


def archive_of(members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of a duplicate name
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


@given(tensors=st.dictionaries(names, arrays, max_size=4))
def test_npz_round_trip(path, tensors):
    write_npz(path, tensors)
    with open_npz(path) as file:
        assert [*file] == [*tensors]
        assert len(file) == len(tensors)
        assert file.nbytes == sum(array.nbytes for array in tensors.values())
        assert file.metadata == {}
        for name, array in tensors.items():
            assert name in file
            assert file.shapes[name] == array.shape
            assert file.dtypes[name] == WORDS[array.dtype.newbyteorder("<")]
            got = file[name]
            assert same(got, array)
            assert got.flags.c_contiguous and got.flags.aligned and not got.flags.writeable
            assert got.dtype == array.dtype.newbyteorder("<")


@given(
    tensors=st.dictionaries(st.sampled_from(["a", "b.c", "d/e", "ä"]), arrays), fold=st.booleans()
)
def test_numpy_and_pyfq_read_each_other(path, tensors, fold):
    write_npz(path, tensors)
    with np.load(path) as file:
        assert all(same(file[name], tensors[name]) for name in tensors)
        assert {*file} == {*tensors}
    order = {name: np.asarray(array, order="F") for name, array in tensors.items()}
    (np.savez_compressed if fold else np.savez)(path, **order)
    with open_npz(path) as file:
        assert all(same(file[name], tensors[name]) for name in tensors)


def test_write_npz_takes_the_names_that_savez_does_not(path):
    write_npz(path, {"file": np.ones(1), "allow_pickle": np.zeros(1)})
    with open_npz(path) as file:
        assert [*file] == ["file", "allow_pickle"]


def test_write_npz_is_reproducible(tmp_path):
    for name in "a.npz", "b.npz":
        write_npz(tmp_path / name, {"w": np.arange(3)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_open_npz_reads_a_member_when_it_is_asked_for(path):
    np.savez_compressed(path, a=np.zeros(1 << 22), b=np.ones(3))
    tracemalloc.start()
    try:
        with open_npz(path) as file:
            assert file.shapes["a"] == (1 << 22,)
            np.testing.assert_array_equal(file["b"], np.ones(3))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_read_what_was_open_before_they_were_forked(path):
    arrays = {str(i): np.random.default_rng(i).standard_normal(20_000) for i in range(4)}
    write_npz(path, arrays)
    with open_npz(path) as file:
        children = []
        for i in range(4):
            child = os.fork()
            if child == 0:
                try:
                    orders = (str((i + j) % 4) for j in range(40))
                    os._exit(0 if all(same(file[n], arrays[n]) for n in orders) else 1)
                except BaseException:
                    os._exit(2)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_closed_npz_is_refused(path):
    write_npz(path, {"a": np.ones(2)})
    with open_npz(path) as file:
        array = file["a"]
    np.testing.assert_array_equal(array, 1)
    with pytest.raises(ValueError, match="closed"):
        file["a"]


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"
F4 = bytes(8)
CORRUPT = {
    "empty": (b"", "expected a zip archive"),
    "no zip": (b"PK" + bytes(60), "expected a zip archive"),
    "other name": (archive_of([("a.txt", b"x")]), "expected a name that ends in .npy"),
    "duplicate": (archive_of([("a.npy", npy(np.ones(1)))] * 2), "'a.npy': duplicate name"),
    "method": (
        archive_of([("a.npy", npy(np.ones(1)))], zipfile.ZIP_BZIP2),
        "expected stored or deflated data, got method 12",
    ),
    "object": (
        archive_of([("a.npy", npy(np.array([None]), allow_pickle=True))]),
        "got dtype '|O' (a pickle): leave it out",
    ),
    "text": (archive_of([("a.npy", npy(np.array(["x"])))]), "expected booleans, integers of"),
    "time": (archive_of([("a.npy", npy(np.array(["2020"], "M8")))]), "got dtype '<M8[Y]': leave"),
    "long double": (archive_of([("a.npy", npy(np.ones(1, "g")))]), "'a.npy': expected booleans"),
    "complex128": (archive_of([("a.npy", npy(np.ones(1, "c16")))]), "got dtype '<c16': leave"),
    "structured": (archive_of([("a.npy", npy(np.ones(1, "i4,f4")))]), "got dtype [("),
    "no npy": (archive_of([("a.npy", b"x" * 99)]), "expected .npy of version"),
    "nothing": (archive_of([("a.npy", b"")]), "expected .npy of version"),
    "version": (archive_of([("a.npy", npy_of(GOOD, F4, (9, 0)))]), "expected .npy of version"),
    "long header": (archive_of([("a.npy", npy_of(GOOD + " " * 9999, F4))]), "at most 10000 bytes"),
    "not literal": (archive_of([("a.npy", npy_of("f()", F4))]), "'a.npy'"),
    "not python": (archive_of([("a.npy", npy_of("{", F4))]), "expected a Python literal"),
    "deep": (archive_of([("a.npy", npy_of("(" * 9999, F4))]), "expected a Python literal"),
    "keys": (archive_of([("a.npy", npy_of("{'descr': '<f4'}", F4))]), "expected ['descr'"),
    "order": (archive_of([("a.npy", npy_of(GOOD.replace("False", "0"), F4))]), "True or False"),
    "shape": (archive_of([("a.npy", npy_of(GOOD.replace("(2,)", "2"), F4))]), "expected a tuple"),
    "extent": (archive_of([("a.npy", npy_of(GOOD.replace("2,", "-2,"), F4))]), "got -2"),
    "overflow": (archive_of([("a.npy", npy_of(GOOD.replace("2,", "2**9,"), F4))]), "'a.npy'"),
    "large": (
        archive_of([("a.npy", npy_of(GOOD.replace("2,", "1" + "0" * 15 + ","), F4))]),
        "takes 4000000000000000 bytes, the member has 8",
    ),
    "short": (archive_of([("a.npy", npy_of(GOOD, F4[1:]))]), "takes 8 bytes, the member has 7"),
    "long": (archive_of([("a.npy", npy_of(GOOD, F4 + b"x"))]), "takes 8 bytes, the member has 9"),
}


@pytest.mark.parametrize(("data", "reason"), CORRUPT.values(), ids=CORRUPT)
def test_open_npz_refuses(tmp_path, data, reason):
    path = tmp_path / "bad.npz"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        open_npz(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in caught.value.reason
    assert len(caught.value.reason) < 1000


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_open_npz_refuses_damaged_data_when_it_is_read(tmp_path, method):
    path = tmp_path / "bad.npz"
    array = np.random.default_rng(0).random(4000)
    data = bytearray(archive_of([("a.npy", npy(array))], method))
    data[20_000] ^= 1
    path.write_bytes(data)
    with open_npz(path) as file, pytest.raises(FormatError, match=r"bad\.npz: member 'a\.npy'"):
        file["a"]


def test_open_npz_refuses_an_encrypted_member(tmp_path):
    data = bytearray(archive_of([("a.npy", npy(np.ones(1)))]))
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "bad.npz").write_bytes(data)
    with pytest.raises(FormatError, match="encrypted"):
        open_npz(tmp_path / "bad.npz")


def test_missing_npz_is_no_format_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_npz(tmp_path / "none.npz")


FILES = [
    archive_of([("a.npy", npy(np.arange(6.0).reshape(2, 3))), ("b.npy", npy(np.ones(3, "u1")))], m)
    for m in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
]


@settings(max_examples=1000)
@given(
    data=st.sampled_from(FILES),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3),
    cut=st.none() | st.integers(0, 1000),
)
@example(data=FILES[0], flips=[], cut=None)
@pytest.mark.filterwarnings("ignore")
def test_fuzzed_npz_is_read_or_refused(path, data, flips, cut):
    damaged = bytearray(data)
    for place, byte in flips:
        damaged[place % len(damaged)] = byte
    path.write_bytes(damaged[:cut])
    try:
        with open_npz(path) as file:
            for name, array in file.items():
                assert array.shape == file.shapes[name]
    except FormatError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("tensors", "error", "reason"),
    [
        ({1: np.ones(1)}, TypeError, "tensor name: expected str, got int"),
        ({"a": [1.0]}, TypeError, "'a': expected numpy.ndarray, got list"),
        ({"a": np.ma.array([1.0, 2.0], mask=[0, 1])}, TypeError, "got one with masked entries"),
        ({"a": np.array([None])}, ValueError, "'a': expected booleans, .* got dtype object"),
        ({"a": np.ones(1, "c16")}, ValueError, "got dtype complex128"),
        ({"a\0b": np.ones(1)}, ValueError, "zip cannot hold"),
        ({"a" * 70_000: np.ones(1)}, ValueError, "zip cannot hold"),
        ({"\ud800": np.ones(1)}, ValueError, "zip cannot hold"),
    ],
)
def test_write_npz_refuses_and_leaves_the_target_alone(tmp_path, tensors, error, reason):
    path = tmp_path / "w.npz"
    path.write_bytes(b"before")
    with pytest.raises(error, match=f"^{re.escape(str(path))}: .*{reason}"):
        write_npz(path, {"first": np.ones(3)} | tensors)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"before"


@given(st.dictionaries(names, arrays, max_size=4))
def test_how_large_an_archive_is_can_be_told_before(path, tensors):
    tensors = {name: np.ascontiguousarray(x).reshape(x.shape) for name, x in tensors.items()}
    write_npz(path, tensors)
    declaration = {name: (WORDS[x.dtype.newbyteorder("<")], x.shape) for name, x in tensors.items()}
    assert archive_nbytes(declaration) == path.stat().st_size


def test_how_large_an_archive_of_many_arrays_is_can_be_told_before(path):
    tensors = {str(i): np.zeros((), np.uint8) for i in range(zipfile.ZIP_FILECOUNT_LIMIT + 1)}
    write_npz(path, tensors)
    assert archive_nbytes(dict.fromkeys(tensors, ("U8", ()))) == path.stat().st_size
