"""Files of samples as people bring them, and as they break."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from commands import run

import pyfq

X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = pyfq.Network.create((4, 5, 3), seed=1)
    pyfq.save_network(network, "n.safetensors")
    np.save("expected.npy", network.forward(X))
    return tmp_path


def predicted(*arguments):
    """Return what predict writes."""
    code, _, err = run("predict", "n.safetensors", "-o", "out.npy", "--force", *arguments)
    assert (code, err) == (0, "")
    return np.load("out.npy")


def refused(*arguments):
    """Return the one line that says why a command fails."""
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    return err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a;b;y\n1;2;0\n3;4;1\n", "the first line has semicolons and no comma"),
        ("1;2;0\n3;4;1\n", "the first line has semicolons and no comma"),
        ("a\tb\ty\n1\t2\t0\n", "the first line has tabs and no comma"),
        ("1|2|0\n", "the first line has vertical bars and no comma"),
        ("1,5;2,5;0\n", "commas stand between fields, not semicolons"),
    ],
)
def test_other_separators_of_csv_are_named(place, text, found):
    Path("d.csv").write_text(text)
    for command in (
        ("train", "--layers", "4,2", "--data", "d.csv", "-o", "m.safetensors"),
        ("predict", "n.safetensors", "--input", "d.csv", "-o", "out.npy"),
    ):
        assert found in refused(*command)


def test_separators_in_fields_of_csv_are_text(place):
    """A column of labels, and a name of a column, may hold any of them."""
    lines = ["a;1,b|2,c,d,y"] + [f"{i},2,3,4,{'p;q' if i % 2 else 'r|s'}" for i in range(8)]
    Path("d.csv").write_text("\n".join(lines))
    code, _, err = run("train", "--layers", "4,2", "--data", "d.csv", "-o", "m.safetensors")
    assert (code, err) == (0, "")


HEADERS = {
    "index": (",a,b,c,d", [0, 1], "which has no name, is taken for an index"),
    "numbers": ("0,1,2,3", [], "which numbers the columns, is taken for their names"),
    "numbers and y": ("0,1,2,3,y", [2], "which numbers the columns, is taken for their names"),
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_as_pandas_writes_them(place, header):
    first, beside, remark = HEADERS[header]
    table = X if not beside else np.column_stack([X, Y])
    lines = [",".join(map(str, line)) for line in table.tolist()]
    if header == "index":
        lines = [f"{i},{','.join(map(str, line))}" for i, line in enumerate(X.tolist())]
    Path("d.csv").write_text("\n".join([first, *lines]))
    code, _, err = run("predict", "n.safetensors", "-o", "out.npy", "--input", "d.csv")
    assert (code, err.count("\n")) == (0, 1)
    assert remark in err
    np.testing.assert_array_equal(np.load("out.npy"), np.load("expected.npy"))


@pytest.mark.parametrize("first", ["0,1,2,4", "0,1,2,3.0", "1,2,3,4"])
def test_first_lines_that_are_samples(place, first):
    x = np.array([float(field) for field in first.split(",")], np.float32)
    Path("d.csv").write_text(f"{first}\n5,6,7,8\n")
    np.testing.assert_array_equal(
        predicted("--input", "d.csv")[0], pyfq.load_network("n.safetensors").forward(x[None])[0]
    )


def test_a_label_of_a_first_sample_is_no_name(place):
    Path("d.csv").write_text("0,1,2,3,cat\n5,6,7,8,dog\n")
    code, _, err = run(
        "train", "--layers", "4,2", "--data", "d.csv", "-o", "m.safetensors", "--epochs", "1",
        "--validation-split", "0",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert pyfq.load_network("m.safetensors").classes.tolist() == ["cat", "dog"]


def test_digits_with_leading_zeros_are_text(place):
    lines = [f"1,2,3,{i}.5,{'01234' if i % 2 else '98765'}" for i in range(8)]
    Path("d.csv").write_text("\n".join(lines))
    code, _, err = run("train", "--layers", "4,2", "--data", "d.csv", "-o", "m.safetensors")
    assert (code, err) == (0, "")
    assert pyfq.load_network("m.safetensors").classes.tolist() == ["01234", "98765"]


def test_two_spellings_of_an_array_are_told(place):
    np.savez("both.npz", x=X, X=X + 1)
    flags = ("--input", "both.npz", "-o", "out.npy")
    assert "holds x and X: --x says which" in refused("predict", "n.safetensors", *flags)
    said = predicted("--input", "both.npz", "--x", "x")
    np.testing.assert_array_equal(said, np.load("expected.npy"))


def test_what_float32_would_round_away_is_told(place):
    t = 1.7e9 + np.random.default_rng(0).uniform(0, 100, (40, 1))
    np.savez("time.npz", x=t, y=(t[:, 0] > 1.7e9 + 50).astype(np.int64))
    flags = ("--layers", "1,4,2", "--data", "time.npz", "-o", "m.safetensors", "--epochs", "1")
    said = refused("train", *flags)
    assert "column 0 of x varies by" in said
    assert "--dtype float64 keeps it" in said
    code, _, err = run("train", *flags, "--dtype", "float64", "--normalize")
    assert (code, err) == (0, "")


LAYOUTS = {
    "Fortran order": np.asfortranarray(X),
    "other byte order": X.astype(">f4"),
    "both": np.asfortranarray(X).astype(">f8", order="F"),
    "images": X.reshape(12, 2, 2),
    "images in Fortran order": np.asfortranarray(X.reshape(12, 2, 2)),
    "double": X.astype(np.float64),
    "long double": X.astype(np.longdouble),
}


@pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)
def test_arrays_of_any_layout_are_converted(place, x):
    np.save("x.npy", x)
    np.savez("x.npz", x=x)
    np.savez_compressed("X.npz", X=x)
    for name in ("x.npy", "x.npz", "X.npz"):
        np.testing.assert_array_equal(predicted("--input", name), np.load("expected.npy"))


def test_arrays_may_be_called_as_scikit_learn_does(place):
    np.savez("small.npz", x=X, y=Y)
    np.savez("large.npz", X=X, y=Y)
    np.savez("both.npz", X=X, Y=Y)
    results = {
        run("evaluate", "n.safetensors", "--data", f"{name}.npz")[1]
        for name in ("small", "large", "both")
    }
    assert len(results) == 1
    assert "accuracy" in results.pop()
    np.savez("other.npz", a=X, b=Y)
    said = refused("evaluate", "n.safetensors", "--data", "other.npz")
    assert said == "pyfq evaluate: error: other.npz: no array 'x', only ['a', 'b']\n"
    said = refused("evaluate", "n.safetensors", "--data", "small.npz", "--y", "labels")
    assert said == "pyfq evaluate: error: small.npz: no array 'labels', only ['x', 'y']\n"


class Trap:
    """What unpickling would call."""

    def __reduce__(self):
        """Return the call."""
        return os.mkdir, ("unpickled",)


def test_pickles_are_never_read(place):
    trap = np.array([Trap()] * 12, object)
    np.save("x.npy", trap, allow_pickle=True)
    np.savez("x.npz", x=trap, y=Y)
    np.savez("y.npz", x=X, y=trap)
    (place / "p.npy").write_bytes(pickle.dumps(Trap()))
    (place / "p.npz").write_bytes(pickle.dumps(Trap()))
    for name in ("x.npy", "x.npz", "p.npy", "p.npz"):
        refused("predict", "n.safetensors", "--input", name, "-o", "out.npy")
    refused("evaluate", "n.safetensors", "--data", "y.npz")
    refused("distill", "x.npy", "--student", "4,3", "--data", "y.npz", "-o", "o.safetensors")
    assert not (place / "unpickled").exists()


NO_INPUTS = {
    "text": (np.array([["a"] * 4] * 12), "x must be numbers, not <U1"),
    "bytes": (np.array([[b"a"] * 4] * 12), "x must be numbers, not |S1"),
    "records": (np.zeros(12, [("a", "f4"), ("b", "f4")]), "x must be numbers, not [('a', '<f4')"),
    "complex": (X.astype(np.complex64), "x must be numbers, not complex64"),
    "times": (np.zeros((12, 4), "M8[s]"), "x must be numbers, not datetime64[s]"),
    "a number": (np.float32(1), "x must hold at least one sample, not have shape ()"),
    "no samples": (X[:0], "x must hold at least one sample, not have shape (0, 4)"),
    "other width": (X[:, :3], "a sample has 3 inputs, the network takes 4"),
    "NaN": (np.where(X.max() == X, np.nan, X), "x must be finite, but x["),
    "infinite": (np.where(X.max() == X, np.inf, X), "x must be finite, but x["),
    "too large": (X.astype(np.float64) * 1e300, "x must fit float32, but x["),
}


@pytest.mark.parametrize(("x", "reason"), NO_INPUTS.values(), ids=NO_INPUTS)
def test_what_is_no_input_is_refused(place, x, reason):
    np.save("x.npy", x)
    np.savez("x.npz", x=x, y=Y)
    for name in ("x.npy", "x.npz"):
        said = refused("predict", "n.safetensors", "--input", name, "-o", "out.npy")
        assert said.startswith(f"pyfq predict: error: {name}: {reason}")
    assert not (place / "out.npy").exists()


NO_TARGETS = {
    "fewer": (Y[:5], "y has 5 samples, x has 12"),
    "none": (Y[:0], "y has 0 samples, x has 12"),
    "out of range": (Y + 5, "classes"),
    "negative": (Y - 1, "classes"),
    "text": (Y.astype(str), "labels that are numbers"),
    "of no class": (Y + 0.5, "integers or text"),
    "NaN": (np.where(Y == 1, np.nan, Y), "integers or text"),
    "huge": (Y.astype(np.uint64) + 2**63, "below 2**63"),
    "complex": (Y + 1j, "not complex128"),
    "records": (np.zeros(12, [("a", "f4")]), "y must be labels"),
    "three axes": (np.zeros((12, 1, 1)), "y must be labels"),
    "one-hot integers": (np.eye(3, dtype=int)[Y], "y must be labels"),
}


@pytest.mark.parametrize(("y", "reason"), NO_TARGETS.values(), ids=NO_TARGETS)
def test_what_is_no_target_is_refused(place, y, reason):
    start = pyfq.load_network("n.safetensors")
    layers = start.layers
    pyfq.save_network(pyfq.Network(layers, classes=np.arange(3)), "classes.safetensors")
    np.savez("d.npz", x=X, y=y)
    for command in (
        ["evaluate", "classes.safetensors"],
        ["train", "classes.safetensors", "--epochs", "1", "-o", "out.safetensors"],
    ):
        said = refused(*command, "--data", "d.npz")
        assert reason in said
    assert not (place / "out.safetensors").exists()


def test_a_shape_that_is_too_large_takes_no_memory(place):
    whole = place / "x.npy"
    np.save(whole, X)
    for shape in (f"({2**40}, 4)", f"({2**62}, 4)", f"({2**31}, {2**33})"):
        data = whole.read_bytes().replace(b"(12, 4)", shape.encode()).replace(b" " * 24, b"", 1)
        (place / "huge.npy").write_bytes(_aligned(data))
        said = refused("predict", "n.safetensors", "--input", "huge.npy", "-o", "out.npy")
        assert "huge.npy: it is shorter than its header says" in said


def _aligned(data):
    """Return an npy file whose header has the length that it says."""
    end = data.index(b"\n")
    return data[:8] + (end - 9).to_bytes(2, "little") + data[10:]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFO")
def test_a_fifo_is_refused_and_does_not_wait(place):
    np.savez("d.npz", x=X, y=Y)
    for name in ("f.npy", "f.npz", "f.csv", "f.onnx", "f.toml"):
        os.mkfifo(name)
    out = ["-o", "out.safetensors"]
    for name, command in (
        ("f.npy", ["predict", "n.safetensors", "--input", "f.npy", "-o", "out.npy"]),
        ("f.npz", ["evaluate", "n.safetensors", "--data", "f.npz"]),
        ("f.csv", ["train", "--layers", "4,3", "--data", "f.csv", *out]),
        ("f.onnx", ["evaluate", "f.onnx", "--data", "d.npz"]),
        ("f.npy", ["distill", "f.npy", "--student", "4,3", "--data", "d.npz", *out]),
        ("f.npz", ["evaluate", "n.safetensors", "--data", "d.npz", "--teacher", "f.npz"]),
        ("f.toml", ["compress", "n.safetensors", "--recipe", "f.toml", *out]),
    ):
        said = refused(*command)
        assert said == f"pyfq {command[0]}: error: {name}: expected a regular file, not a FIFO\n"


def test_what_is_not_there_is_said_first(place):
    np.savez("d.npz", x=X, y=Y)
    for command in (
        ["evaluate", "nothing", "--data", "d.npz"],
        ["evaluate", "n.safetensors", "--data", "nothing"],
        ["distill", "nothing", "--student", "4,3", "--data", "d.npz", "-o", "out.safetensors"],
        ["train", "nothing", "--data", "d.npz", "-o", "out.safetensors"],
    ):
        said = refused(*command)
        assert said == f"pyfq {command[0]}: error: nothing: No such file or directory\n"


CSV = {
    "empty": ("", "it is empty"),
    "a name alone": ("a,b,c,d,y\n", "at least one sample"),
    "a short line": ("1,2,3,4,0\n1,2,3\n", "line 2 has 3 fields, the first one has 5"),
    "a word": ("1,2,3,4,0\n1,2,x,4,0\n", "line 2: '2' must be a number, not 'x'"),
    "NUL": ("1,2,3,4,0\n1,2,\x00,4,0\n", ""),
    "a quote": ('1,2,3,4,0\n"1,2,3,4,0\n', "line"),
    "a long field": ("1,2,3,4,0\n" + "1" * 200_000 + ",2,3,4,0\n", "larger than field limit"),
    "NaN": ("1,2,3,4,0\n1,2,nan,4,0\n", "must be finite"),
    "digits": ("1,2,3,4,0\n1,2,3,4," + "9" * 5000 + "\n", "integers or text"),
}


@pytest.mark.parametrize(("text", "reason"), CSV.values(), ids=CSV)
def test_broken_csv_is_refused(place, text, reason):
    (place / "d.csv").write_text(text)
    said = refused(
        "train", "--layers", "4,3", "--data", "d.csv", "-o", "o.safetensors",
        "--loss", "cross_entropy",
    )  # fmt: skip
    assert "d.csv: " in said
    assert reason in said
    assert len(said) < 1000
