"""``pyfq evaluate``, ``pyfq predict``, and the files that they, train and distill read."""

import io
import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix, root_mean_squared_error

import pyfq
from pyfq.cli import main
from pyfq.cli.predict import _write_npy


def digits(n=300):
    x, y = load_digits(return_X_y=True)
    return x[:n].astype(np.float32), y[:n]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Make a classifier, an emulator, and samples in files of every kind."""
    root = tmp_path_factory.mktemp("predict")
    x, y = digits()
    start = pyfq.Network(pyfq.Network.create((64, 16, 10)).layers, classes=np.arange(10))
    pyfq.save_network(pyfq.train(start, x, y, epochs=30).network, root / "digits.safetensors")
    pyfq.save_network(pyfq.Network.create((3, 4, 2), dtype=np.float64), root / "two.safetensors")
    np.savez(root / "digits.npz", x=x, y=y, pixels=x / 2, word=y.astype(str))
    np.savez_compressed(root / "images.npz", x=x.reshape(-1, 8, 8).astype(np.uint8), y=y[:, None])
    np.save(root / "x.npy", x)
    np.save(root / "y.npy", y)
    np.save(root / "fortran.npy", np.asfortranarray(x.astype(">f8")))
    table = np.c_[x, y].astype(int)
    np.savetxt(root / "bare.csv", table, "%d", ",")
    names = [f"p{i}" for i in range(64)]
    header = ",".join([*names, "digit"])
    np.savetxt(root / "named.csv", table, "%d", ",", header=header, comments="")
    mixed = np.c_[y, x, x[:, 0]].astype(int)
    header = ",".join(["digit", *names, "note"])
    np.savetxt(root / "mixed.csv", mixed, '"%d"', ",", header=header, comments="")
    return root


@pytest.fixture(scope="module")
def network(place):
    return pyfq.load_network(place / "digits.safetensors")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def failed(capsys, *arguments):
    """Run what must fail and return its exit code and the one line that says why."""
    capsys.readouterr()
    code = run(*arguments)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"pyfq {arguments[0]}: error: ")
    assert len(lines) == code  # wrong usage has a second line, on help
    return code, lines[0]


KINDS = {
    "digits.npz": (),
    "images.npz": (),
    "x.npy,y.npy": (),
    "fortran.npy,y.npy": (),
    "bare.csv": (),
    "named.csv": (),
    "mixed.csv": ("--y", "digit", "--x", ",".join(f"p{i}" for i in range(64))),
}


def in_place(place, word):
    return ",".join(str(place / part) for part in word.split(","))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same(place, network, kind, capsys):
    x, y = digits()
    files = ("--data", in_place(place, kind), *KINDS[kind])
    assert run("evaluate", place / "digits.safetensors", *files, "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    said = network.predict(x)
    assert document["results"]["accuracy"] == accuracy_score(y, said)
    assert document["results"]["confusion"] == confusion_matrix(y, said).tolist()

    out = ("-o", place / "said.npy", "--force")
    files = ("--input", in_place(place, kind), *KINDS[kind])
    assert run("predict", place / "digits.safetensors", *files, *out) == 0
    np.testing.assert_array_equal(np.load(place / "said.npy"), said)


def test_evaluate_shows_which_is_taken_for_which(place, network, capsys):
    x, y = digits()
    assert run("evaluate", place / "digits.safetensors", "--data", place / "digits.npz") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    at = next(i for i, line in enumerate(lines) if line[:2] == ["class", "\\"])
    shown = [[0 if n == "." else int(n) for n in line[1:]] for line in lines[at + 2 :]]
    assert shown == confusion_matrix(y, network.predict(x)).tolist()


def test_evaluate_of_values(place, capsys):
    x, y = np.random.default_rng(0).normal(size=(2, 50, 3))
    with (place / "two.csv").open("w") as file:
        print("a,b,c,d,e", file=file)
        np.savetxt(file, np.c_[x, y[:, :2]], delimiter=",")
    files = ("--data", place / "two.csv", "--y", "d,e")
    assert run("evaluate", place / "two.safetensors", *files, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)["results"]
    outputs = pyfq.load_network(place / "two.safetensors").forward(x)
    assert found["rmse_per_output"] == pytest.approx(
        root_mean_squared_error(y[:, :2], outputs, multioutput="raw_values")
    )


def test_evaluate_compares_with_a_teacher(place, network, capsys):
    x, _ = digits()
    other = pyfq.Network.create((64, 10), seed=3)
    pyfq.save_network(other, place / "other.safetensors")
    np.save(place / "logits.npy", other.forward(x))
    np.savez(place / "logits.npz", outputs=other.forward(x))
    agreement = np.mean(network.predict(x) == other.forward(x).argmax(axis=1))
    for teacher in ("other.safetensors", "logits.npy", "logits.npz"):
        flags = ("--data", place / "digits.npz", "--teacher", place / teacher, "--json", "-")
        assert run("evaluate", place / "digits.safetensors", *flags) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["results"]["agreement"] == agreement
        assert len(document["inputs"]) == 3


def test_networks_that_pyfq_compressed_are_read(place, capsys):
    big = pyfq.Network(pyfq.Network.create((64, 128, 10)).layers, classes=np.arange(10))
    pyfq.save_network(big, place / "big.safetensors")
    for target in ("small.safetensors", "small"):
        assert run("compress", place / "big.safetensors", "-o", place / target, "--bits", 4) == 0
        capsys.readouterr()
        flags = ("--data", place / "digits.npz", "--json", "-")
        assert run("evaluate", place / target, *flags) == 0
        small = pyfq.load_network(place / target)
        assert small.nbytes < big.nbytes / 2
        accuracy = json.loads(capsys.readouterr().out)["results"]["accuracy"]
        x, y = digits()
        assert accuracy == accuracy_score(y, small.predict(x))


def test_predict_raw_outputs(place, network):
    x, _ = digits()
    flags = ("--input", place / "x.npy", "-o", place / "raw.npy", "--outputs", "raw")
    assert run("predict", place / "digits.safetensors", *flags) == 0
    np.testing.assert_array_equal(np.load(place / "raw.npy"), network.forward(x), strict=True)
    flags = ("--input", place / "x.npy", "-o", place / "raw.csv", "--outputs", "raw")
    assert run("predict", place / "digits.safetensors", *flags) == 0
    again = np.loadtxt(place / "raw.csv", np.float32, delimiter=",")
    np.testing.assert_array_equal(again, network.forward(x))  # all digits were written


def test_predict_to_stdout_and_text_labels(place, capsys):
    x, _ = digits(5)
    names = np.array([f'"{i}", he said' for i in range(10)])
    start = pyfq.Network.create((64, 10))
    pyfq.save_network(pyfq.Network(start.layers, classes=names), place / "names.safetensors")
    np.save(place / "five.npy", x)
    flags = ("--input", place / "five.npy", "-o")
    assert run("predict", place / "names.safetensors", *flags, "-") == 0
    said = names[start.forward(x).argmax(axis=1)].tolist()
    expected = "".join('"{}"\n'.format(name.replace('"', '""')) for name in said)
    assert capsys.readouterr().out == expected
    assert run("predict", place / "names.safetensors", *flags, place / "names.npy") == 0
    assert np.load(place / "names.npy").tolist() == said
    flags = (*flags, place / "two.npy", "--outputs", "classes")
    network = pyfq.Network(start.layers)
    pyfq.save_network(network, place / "unnamed.safetensors")
    assert run("predict", place / "unnamed.safetensors", *flags) == 0
    np.testing.assert_array_equal(np.load(place / "two.npy"), network.forward(x).argmax(axis=1))


def test_predict_chooses_no_class_of_one_output_or_by_nan(place, capsys):
    x = np.full((3, 64), np.float32(3e38))
    np.save(place / "huge.npy", x)
    one = pyfq.Network.create((64, 1))
    several = pyfq.Network.create((64, 10, 2), activation=None).map_weights(lambda w: w * 1e38)
    for network, code, said in (
        (one, 2, "has one output, not one a class"),
        (several, 1, "must not be NaN to choose a class by"),
    ):
        pyfq.save_network(network, place / "of.safetensors")
        flags = ("--input", place / "huge.npy", "-o", place / "no.npy", "--outputs", "classes")
        assert run("predict", place / "of.safetensors", *flags) == code
        assert said in capsys.readouterr().err
        assert not (place / "no.npy").exists()
        (place / "of.safetensors").unlink()


def test_predict_in_chunks_is_the_same(place, network, monkeypatch):
    x, _ = digits()
    monkeypatch.setattr("pyfq.cli._data._CHUNK", 64 * 7)
    for file in ("x.npy", "digits.npz", "bare.csv", "fortran.npy"):
        flags = ("--input", place / file, "-o", place / "parts.npy", "--outputs", "raw", "--force")
        assert run("predict", place / "digits.safetensors", *flags) == 0
        np.testing.assert_array_equal(np.load(place / "parts.npy"), network.forward(x))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.sampled_from(["<f4", "<i8", "<U3"]))
def test_npy_of_parts_is_that_of_the_whole(lengths, dtype):
    parts = [np.arange(2 * n).reshape(n, 2).astype(dtype) for n in lengths]
    file, whole = io.BytesIO(), io.BytesIO()
    assert _write_npy(file, iter(parts)) == sum(lengths)
    np.save(whole, np.concatenate(parts))
    file.seek(0)
    whole.seek(0)
    np.testing.assert_array_equal(np.load(file), np.load(whole), strict=True)


MEASURE = """
import resource, sys
import numpy as np, tqdm
import pyfq.cli.predict
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
pyfq.Network.create((64, 16, 10)).forward(np.ones((1, 64), np.float32))
before = peak()
code = pyfq.cli.main(sys.argv[1:])
print(peak() - before, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in bytes elsewhere")
@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="needs getrusage")
def test_predict_in_bounded_memory(place, tmp_path):
    make = "import numpy as np, sys; np.save(sys.argv[1], np.ones((400_000, 64), np.float32))"
    path = tmp_path / "many.npy"  # made by a child, for a child starts with its parent's peak
    subprocess.run([sys.executable, "-P", "-c", make, path], check=True)
    flags = ["--input", path, "-o", tmp_path / "said.npy"]
    launch = [sys.executable, "-P", "-c", MEASURE, "predict", place / "digits.safetensors", *flags]
    result = subprocess.run(launch, capture_output=True, text=True, check=True)
    assert int(result.stderr.splitlines()[-1]) < 40_000_000
    assert np.load(tmp_path / "said.npy", mmap_mode="r").shape == (400_000,)


def test_predict_is_whole_or_not_there(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pyfq.cli._data._CHUNK", 65 * 50)
    lines = (place / "bare.csv").read_text().splitlines()
    lines[200] = lines[200].replace(",", ",x", 1)
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    out = tmp_path / "said.csv"
    flags = ("--input", tmp_path / "bad.csv", "-o", out)
    code, line = failed(capsys, "predict", place / "digits.safetensors", *flags)
    assert (code, "line 201: '1' must be a number, not 'x" in line) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]
    out.write_text("precious")
    code, line = failed(capsys, "predict", place / "digits.safetensors", *flags)
    assert (code, "exists: --force replaces it" in line) == (1, True)
    assert out.read_text() == "precious"


BAD = {
    "empty.csv": (b"", "it is empty"),
    "header.csv": (b"a,b,c\n", "at least one sample|there are no samples"),
    "ragged.csv": (b"1,2,3,0\n1,2,0\n", "line 2 has 3 fields, the first one has 4"),
    "wide.csv": (b"1,2,3,4,0\n", "a sample has 4 inputs, the network takes 3"),
    "word.csv": (b"1,2,3,0\n1,two,3,0\n", "line 2: '1' must be a number, not 'two'"),
    "under.csv": (b"1,2,3,0\n1,2_0,3,0\n", "line 2: '1' must be a number, not '2_0'"),
    "alone.csv": (b"y\n1\n2\n", "x must hold at least one sample|a sample has 0 inputs"),
    "blank.csv": (b"1,2,3,0\n1,,3,0\n", "line 2: '1' must be a number, not ''"),
    "nan.csv": (b"1,2,3,0\n1,nan,3,0\n", r"x must be finite, but x\[1, 1\] is nan"),
    "latin.csv": (b"a,b,c,\xe9\n1,2,3,0\n", "expected text in UTF-8"),
    "null.csv": (b"1,2,3,0\n\0", "line 2 has 1 fields|NUL"),
    "text.npy": (b"not an array", "magic string"),
    "short.npz": (b"PK\x03\x04", "not a zip file"),
    "wrong.txt": (b"1 2 3", "samples are in a .npz or .csv file"),
    "missing.npy": (None, "missing.npy"),
    "missing.npz": (None, "missing.npz"),
    "missing.csv": (None, "missing.csv"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line(place, tmp_path, capsys, name):
    import re

    content, reason = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for command, option in (("evaluate", "--data"), ("predict", "--input")):
        flags = (option, tmp_path / name, *(("-o", "-") if command == "predict" else ()))
        code, line = failed(capsys, command, place / "two.safetensors", *flags)
        assert code == 1
        assert re.search(reason, line), line


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"y": np.ones(3)}, "no array 'x', only"),
        ({"x": np.ones((3, 3), complex)}, "x must be numbers, not complex128"),
        ({"x": np.array(1.0)}, "at least one sample"),
        ({"x": np.ones((0, 3))}, "at least one sample"),
        ({"x": np.array([["a", "b", "c"]])}, "x must be numbers, not <U1"),
        ({"x": np.array([[1, 2, None]])}, "Object arrays cannot be loaded"),
        ({"x": np.ones((3, 3)) * 1e300, "y": np.ones((3, 2))}, "x must fit float32, but x[0, 0]"),
        ({"x": np.ones((3, 3)), "y": np.ones((2, 2))}, "y has 2 samples, x has 3"),
        ({"x": np.ones((3, 3)), "y": np.ones((3, 1))}, "y has 1 values a sample"),
        ({"x": np.ones((3, 3)), "y": np.ones((3, 2), complex)}, "y must be labels"),
        ({"x": np.ones((3, 3)), "y": np.ones((3, 2), int)}, "y must be labels"),
        ({"x": np.ones((3, 3)), "y": np.full((3, 2), np.nan)}, "y must be finite"),
        ({"x": np.ones((3, 3)), "y": np.full(3, 2**64 - 1, np.uint64)}, "labels below 2**63"),
        ({"x": np.ones((3, 3)), "y": np.array(["a", "b", "c"])}, "y must be labels that are"),
    ],
)
def test_evaluate_refuses_arrays(tmp_path, capsys, arrays, reason):
    pyfq.save_network(pyfq.Network.create((3, 4, 2)), tmp_path / "two.safetensors")
    np.savez(tmp_path / "bad.npz", **arrays)
    flags = ("--data", tmp_path / "bad.npz")
    code, line = failed(capsys, "evaluate", tmp_path / "two.safetensors", *flags)
    assert reason in line
    assert code == 1


@pytest.mark.parametrize(
    ("flags", "code", "reason"),
    [
        (["--data", "named.csv", "--y", "colour"], 1, "no column 'colour'"),
        (["--data", "named.csv", "--x", "p1,p2", "--y", "p2"], 2, "named by --x and by --y"),
        (["--data", "twice.csv", "--y", "a"], 1, "more than one column 'a'"),
        (["--data", "digits.npz", "--y", "z"], 1, "no array 'z'"),
        (["--data", "x.npy", "--y", "z"], 2, "--x and --y name arrays of an npz file"),
        (["--data", "x.npy,y.npy,y.npy"], 2, "are two files, not 3"),
        (["--data", "x.npy"], 1, "y is missing"),
        (["--data", "digits.npz", "--y", "word"], 1, "y must be labels that are numbers"),
        (["--data", "digits.npz", "--threads", "0"], 2, "--threads"),
        (["--data", "digits.npz", "--json", "no/such.json"], 2, "no is not a directory"),
        (["--data", "digits.npz", "--teacher", "few.npy"], 1, "expected 300 samples of 10"),
        (["--data", "digits.npz", "--teacher", "two.safetensors"], 1, "teacher must take 64"),
    ],
)
def test_evaluate_refuses(place, capsys, flags, code, reason):
    (place / "twice.csv").write_text("a,a,b\n1,2,3\n")
    np.save(place / "few.npy", np.ones((3, 10)))
    endings = (".npz", ".npy", ".csv", ".safetensors")
    words = [in_place(place, word) if word.endswith(endings) else word for word in flags]
    found = failed(capsys, "evaluate", place / "digits.safetensors", *words)
    assert found[0] == code
    assert reason in found[1]


def test_predict_refuses_other_files(place, capsys):
    flags = ("--input", place / "x.npy", "-o", place / "out.txt")
    code, line = failed(capsys, "predict", place / "digits.safetensors", *flags)
    assert (code, "expected .npy, .csv or -" in line) == (2, True)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_never_break_the_command(place, tmp_path_factory, data):
    """Whatever a file holds, the command ends well or says in a line why not."""
    path = tmp_path_factory.mktemp("damaged") / data.draw(
        st.sampled_from(["digits.npz", "images.npz", "x.npy", "named.csv", "mixed.csv"])
    )
    content = bytearray((place / path.name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # Headers are small, and the directory of an archive stands at its end.
        near_end = data.draw(st.booleans())
        at = data.draw(st.integers(0, min(len(content) - 1, 600)))
        content[-1 - at if near_end else at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(content)
    flags = ("--input", path, "-o", path.with_name("said.npy"), "--force")
    assert run("predict", place / "digits.safetensors", *flags) in (0, 1)


def test_networks_of_onnx_are_read(place, network, capsys):
    pytest.importorskip("onnx", reason="needs the oracles extra")
    pyfq.to_onnx(network, place / "digits.onnx")
    x, y = digits()
    flags = ("--data", place / "digits.npz", "--json", "-", "--teacher", place / "digits.onnx")
    assert run("evaluate", place / "digits.onnx", *flags) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert found["accuracy"] == accuracy_score(y, network.predict(x))
    assert found["agreement"] == 1
    flags = ("--student", "64,4,10", "--data", place / "digits.npz", "--epochs", 1)
    assert run("distill", place / "digits.onnx", *flags, "-o", place / "student.safetensors") == 0


def test_onnx_that_is_no_network_is_one_line(place, capsys):
    onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
    half = onnx.numpy_helper.from_array(np.ones((3, 2), np.float16), "w")
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, [None, n])
        for name, n in (("x", 3), ("y", 2))
    ]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [half])
    onnx.save(onnx.helper.make_model(graph), place / "half.onnx")
    (place / "bad.onnx").write_bytes(b"no model")
    for name in ("half.onnx", "bad.onnx"):
        flags = ("--input", place / "x.npy", "-o", "-")
        code, line = failed(capsys, "predict", place / name, *flags)
        assert (code, name in line) == (1, True)
