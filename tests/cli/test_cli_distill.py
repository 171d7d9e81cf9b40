"""``pyfq distill``."""

import importlib
import json
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from sklearn.datasets import load_digits

import pyfq
from pyfq.cli import _fit, main

STUDENT = ("--student", "64,8,10")


def digits(n=500):
    x, y = load_digits(return_X_y=True)
    return x[:n].astype(np.float32), y[:n]


@pytest.fixture(scope="module")
def teacher():
    x, y = digits()
    start = pyfq.Network.create((64, 24, 16, 10))
    return pyfq.train(start, x, y, epochs=40).network


@pytest.fixture
def place(tmp_path, teacher):
    """Make files of samples, of a teacher with and without classes, and of its outputs."""
    x, y = digits()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    pyfq.save_network(teacher, tmp_path / "teacher.safetensors")
    named = pyfq.Network(teacher.layers, classes=np.arange(10))
    pyfq.save_network(named, tmp_path / "named.safetensors")
    np.save(tmp_path / "logits.npy", teacher.forward(x))
    np.savez(tmp_path / "logits.npz", other=y, outputs=teacher.forward(x).astype(np.float64))
    return tmp_path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def distill(place, teacher, data, *flags):
    out = place / "student.safetensors"
    files = (place / teacher, "--data", place / data, "-o", out)
    return run("distill", *files, *(() if "--student" in flags else STUDENT), *flags)


def refused(capsys, *arguments):
    """Run what must fail and return its exit code and the one line that says why."""
    capsys.readouterr()
    code = distill(*arguments)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("pyfq distill: error: ")
    assert len(lines) == code  # wrong usage has a second line, on help
    return code, lines[0]


def same(network, expected):
    for name, array in expected.parameters.items():
        np.testing.assert_array_equal(network.parameters[name], array, strict=True)


def test_distill_writes_what_distill_returns(place, teacher):
    flags = "-T 2 --alpha 0.7 --epochs 5 --seed 2 --hint 0:1 --hint 1:0:0.5 --validation-split 0"
    flags += " --optimizer adamw --keep-zeros"
    student = ("--student", "64,9,8,10")
    assert distill(place, "teacher.safetensors", "data.npz", *student, *flags.split()) == 0
    x, y = digits()
    expected = pyfq.distill(
        teacher,
        pyfq.Network.create((64, 9, 8, 10), seed=2),
        x,
        y,
        temperature=2,
        alpha=0.7,
        hints=(pyfq.Hint(0, 1), pyfq.Hint(1, 0, 0.5)),
        epochs=5,
        seed=2,
        optimizer=pyfq.AdamW(),
        keep_zeros=True,
    ).network
    same(pyfq.load_network(place / "student.safetensors"), expected)


def test_the_teacher_is_not_replaced(place, capsys):
    before = (place / "teacher.safetensors").read_bytes()
    words = ["--student", "64,8,10", "--data", place / "x.npy", "--force"]
    words = ["distill", place / "teacher.safetensors", *words, "-o", place / "teacher.safetensors"]
    assert main([str(word) for word in words]) == 2
    assert "teacher.safetensors, which is read" in capsys.readouterr().err
    assert (place / "teacher.safetensors").read_bytes() == before


@pytest.mark.parametrize("kept", ["logits.npy", "logits.npz"])
def test_kept_outputs_teach_what_the_network_does(place, kept):
    flags = ("--epochs", "4", "--force")
    assert distill(place, "teacher.safetensors", "data.npz", *flags) == 0
    from_network = pyfq.load_network(place / "student.safetensors")
    assert distill(place, kept, "data.npz", *flags) == 0
    same(pyfq.load_network(place / "student.safetensors"), from_network)


def test_distill_compares(place, teacher, capsys):
    report = place / "report.json"
    flags = ("--compare", "--epochs", "30", "--json", report, "--plot", place / "losses.png")
    assert distill(place, "teacher.safetensors", "data.npz", *flags) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    document = json.loads(report.read_text())
    rows = {row["network"]: row for row in document["results"]}
    assert list(rows) == ["teacher", "student", "student, alone"]
    x, y = digits()
    at = np.sort(np.random.default_rng((0, 2)).permutation(500)[:50])
    student = pyfq.load_network(place / "student.safetensors")
    said, wanted = student.predict(x[at]), teacher.forward(x[at]).argmax(axis=1)
    assert rows["teacher"]["accuracy"] == np.mean(wanted == y[at])
    assert rows["student"]["accuracy"] == np.mean(said == y[at])
    assert rows["student"]["agreement"] == np.mean(said == wanted)
    assert rows["student"]["multiply_adds"] == 64 * 8 + 8 * 10
    assert rows["teacher"]["bytes"] == teacher.nbytes
    assert [len(document[name]["epochs"]) for name in ("distilled", "alone")] == [30, 30]
    assert f"{100 * rows['student']['agreement']:.2f} %" in printed
    assert "on 50 samples held out" in printed
    assert (place / "losses.png").stat().st_size > 1000


def test_alone_is_what_train_writes(place):
    report = place / "report.json"
    flags = ("--epochs", "3", "--json", report)
    assert distill(place, "teacher.safetensors", "data.npz", "--compare", *flags) == 0
    alone = json.loads(report.read_text())["alone"]
    out = ("-o", place / "alone.safetensors")
    assert run("train", "--layers", "64,8,10", "--data", place / "data.npz", *out, *flags) == 0
    trained = json.loads(report.read_text())["training"]
    losses = [[epoch["validation_loss"] for epoch in t["epochs"]] for t in (alone, trained)]
    assert losses[0] == losses[1]


def test_distill_needs_no_labels(place, teacher, capsys):
    report = place / "report.json"
    flags = ("--epochs", "80", "--learning-rate", "0.01", "--normalize", "--json", report)
    assert distill(place, "named.safetensors", "x.npy", *flags) == 0
    x, _ = digits()
    at = np.sort(np.random.default_rng((0, 2)).permutation(500)[:50])
    student = pyfq.load_network(place / "student.safetensors")
    agreement = np.mean(student.predict(x[at]) == teacher.forward(x[at]).argmax(axis=1))
    row = json.loads(report.read_text())["results"][1]
    assert row["agreement"] == agreement > 0.5
    assert row["accuracy"] is None
    assert "accuracy" not in capsys.readouterr().out


def test_distill_teaches_values(place):
    rng = np.random.default_rng(0)
    x = rng.normal(10, 2, (400, 3))
    y = 50 * np.sin(x[:, :1]) + 20 * x[:, 1:2]
    np.savez(place / "values.npz", x=x, y=y)
    np.save(place / "values.npy", x)
    files = ("--data", place / "values.npz", "--normalize", "--dtype", "float64")
    out = place / "emulator.safetensors"
    assert run("train", "--layers", "3,32,32,1", *files, "-o", out, "--epochs", "60") == 0
    report = place / "report.json"
    flags = ("--student", "3,12,1", "--normalize", "--epochs", "60", "--json", report, "--force")
    assert distill(place, "emulator.safetensors", "values.npz", *flags, "--compare") == 0
    rows = {row["network"]: row for row in json.loads(report.read_text())["results"]}
    assert 0 < rows["teacher"]["rmse"] < y.std()
    assert 0 < rows["student"]["teacher_rmse"] < y.std()
    student = pyfq.load_network(place / "student.safetensors")
    assert student.dtype == np.float64
    assert student.classes is None
    assert distill(place, "emulator.safetensors", "values.npy", *flags) == 0
    rows = {row["network"]: row for row in json.loads(report.read_text())["results"]}
    assert rows["student"]["rmse"] is None
    assert 0 < rows["student"]["teacher_rmse"] < y.std()
    student = pyfq.load_network(place / "student.safetensors")
    wanted = pyfq.load_network(out).forward(x)
    at = np.setdiff1d(np.arange(400), np.random.default_rng((0, 2)).permutation(400)[:40])
    np.testing.assert_allclose(student.output_mean, wanted[at].mean(axis=0), rtol=1e-12)


def test_a_student_from_a_file_goes_on(place, teacher):
    start = pyfq.Network.create((64, 8, 10), seed=9)
    pyfq.save_network(start, place / "start.safetensors")
    flags = ("--student", place / "start.safetensors", "--epochs", "3", "--validation-split", "0")
    assert distill(place, "named.safetensors", "data.npz", *flags) == 0
    student = pyfq.load_network(place / "student.safetensors")
    same(student, pyfq.distill(teacher, start, *digits(), epochs=3).network)
    np.testing.assert_array_equal(student.classes, np.arange(10))


def test_held_out_samples_of_another_file(place, capsys):
    x, y = digits()
    np.savez(place / "held.npz", x=x[:30], y=y[:30])
    flags = ("--validation", place / "held.npz", "--epochs", "3", "--force")
    assert distill(place, "teacher.safetensors", "data.npz", *flags) == 0
    assert "on 30 samples held out" in capsys.readouterr().out
    assert distill(place, "logits.npy", "data.npz", *flags) == 0  # no outputs for those
    assert "on 30 samples held out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kept", "data", "flags", "reason"),
    [
        ("teacher.safetensors", "data.npz", ["--hint", "0"], "--hint: expected STUDENT:TEACHER"),
        ("teacher.safetensors", "data.npz", ["--hint", "0:1:x"], "--hint: expected"),
        ("logits.npy", "data.npz", ["--hint", "0:1"], "--hint needs a teacher that is a network"),
        ("teacher.safetensors", "data.npz", ["--delta", "2"], "--delta is for the loss huber"),
        ("teacher.safetensors", "x.npy", [], "does not say what its outputs are"),
        ("logits.npy", "x.npy", [], "does not say what its outputs are"),
        ("named.safetensors", "data.npz", ["--data-loss", "mse"], "mse is a loss of values"),
        ("teacher.safetensors", "data.npz", ["--student", "64,"], "layers must be inputs"),
    ],
)
def test_distill_refuses_options_that_do_not_go_together(place, capsys, kept, data, flags, reason):
    code, line = refused(capsys, place, kept, data, *flags)
    assert reason in line
    assert code == 2


@pytest.mark.parametrize(
    ("kept", "data", "flags", "reason"),
    [
        ("no.safetensors", "data.npz", [], "no.safetensors"),
        ("named.safetensors", "x.npy", ["--compare"], "y is missing, which --compare needs"),
        ("named.safetensors", "x.npy", ["--patience", "3"], "y is missing, which --patience"),
        ("teacher.safetensors", "data.npz", ["-T", "0"], "temperature must be"),
        ("teacher.safetensors", "data.npz", ["--alpha", "2"], "alpha must be"),
        ("teacher.safetensors", "data.npz", ["--hint", "1:0"], "hints[0].layer must be"),
        ("teacher.safetensors", "data.npz", ["--student", "64,4"], "has 10 outputs, the student 4"),
        ("few.npy", "data.npz", [], "has outputs of 30 samples"),
        ("probabilities.npy", "data.npz", [], "rows add up to 1"),
        ("text.npy", "data.npz", [], "expected numbers (samples, outputs)"),
        ("two.npz", "data.npz", [], "expected an array 'outputs', or only one"),
    ],
)
def test_distill_refuses_what_does_not_fit(place, capsys, kept, data, flags, reason):
    logits = np.load(place / "logits.npy")
    np.save(place / "few.npy", logits[:30])
    np.save(place / "probabilities.npy", pyfq.soften(logits, 1.0))
    np.save(place / "text.npy", np.array(["a"]))
    np.savez(place / "two.npz", a=logits, b=logits)
    code, line = refused(capsys, place, kept, data, *flags)
    assert reason in line
    assert code == 1
    assert not (place / "student.safetensors").exists()


def test_a_student_with_other_classes_is_refused(place, capsys):
    start = pyfq.Network(pyfq.Network.create((64, 10)).layers, classes=np.arange(10)[::-1].copy())
    pyfq.save_network(start, place / "start.safetensors")
    flags = ("--student", place / "start.safetensors")
    code, line = refused(capsys, place, "named.safetensors", "data.npz", *flags)
    assert (code, "the classes of" in line) == (1, True)


@pytest.mark.parametrize(("epoch", "run_of"), [(3, "distilling"), (3, "alone"), (0, "alone")])
def test_interrupted_distillation_writes_the_student(place, monkeypatch, capsys, epoch, run_of):
    epochs_of = importlib.import_module("pyfq.learning.train")._Epochs

    @contextmanager
    def progress(epochs, label):
        def tell(of):
            if of.number == epoch and label == run_of:
                signal.raise_signal(signal.SIGINT)

        if epoch == 0 and label == run_of:
            monkeypatch.setattr(epochs_of, "next", lambda *_: signal.raise_signal(signal.SIGINT))
        yield tell

    monkeypatch.setattr(_fit, "progress", progress)
    report = place / "report.json"
    flags = ("--compare", "--epochs", "5", "--json", report, "--plot", place / "losses.png")
    assert distill(place, "teacher.safetensors", "data.npz", *flags) == 130
    out, err = capsys.readouterr()
    assert "has what was learned before" in err
    assert pyfq.load_network(place / "student.safetensors").sizes == (64, 8, 10)
    assert ("student, alone" in out) == (run_of == "alone" and epoch > 0)
    assert (place / "losses.png").exists()
