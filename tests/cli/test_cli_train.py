"""``pyfq train``."""

import importlib
import json
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

import pyfq
from pyfq.cli import _fit, main

LAYERS = ("--layers", "64,12,10")


def digits(n=400):
    x, y = load_digits(return_X_y=True)
    return x[:n].astype(np.float32), y[:n]


@pytest.fixture
def data(tmp_path):
    x, y = digits()
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    return tmp_path / "digits.npz"


@pytest.fixture
def values(tmp_path):
    """Make two values from three inputs, one of which is constant."""
    x = np.random.default_rng(0).normal(5, 3, (300, 3))
    x[:, 1] = 7
    y = np.stack([100 * x[:, 0] + 1000, x[:, 0] * x[:, 2]], axis=1)
    np.savez(tmp_path / "values.npz", x=x, y=y)
    return tmp_path / "values.npz"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    """Run what must fail and return its exit code and the one line that says why."""
    code = run(*arguments)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("pyfq train: error: ")
    assert len(lines) == code  # wrong usage has a second line, on help
    return code, lines[0]


def same(network, expected):
    assert network.parameters.keys() == expected.parameters.keys()
    for name, array in expected.parameters.items():
        np.testing.assert_array_equal(network.parameters[name], array, strict=True)


def test_train_writes_what_train_returns(tmp_path, data):
    x, y = digits()
    np.savez(tmp_path / "held.npz", x=x[:50], y=y[:50])
    out = tmp_path / "out.safetensors"
    flags = "--optimizer sgd --learning-rate 0.01 --momentum 0.9 --weight-decay 1e-3 --epochs 7"
    flags += " --batch-size 32 --seed 3 --schedule step:2:0.5 --warmup 1 --clip 1 --patience 3"
    flags += " --activation leaky_relu:0.1 --dtype float64"
    held = ("--validation", tmp_path / "held.npz")
    assert run("train", *LAYERS, "--data", data, *held, "-o", out, *flags.split()) == 0
    x = x.astype(np.float64)
    start = pyfq.Network.create(
        (64, 12, 10), activation=("leaky_relu", 0.1), seed=3, dtype=np.float64
    )
    expected = pyfq.train(
        start,
        x,
        y,
        optimizer=pyfq.SGD(0.01, 0.9, weight_decay=1e-3),
        epochs=7,
        batch_size=32,
        seed=3,
        schedule=pyfq.Schedule("step", warmup=1, every=2, factor=0.5),
        clip=1,
        validation=(x[:50], y[:50]),
        patience=3,
    ).network
    network = pyfq.load_network(out)
    same(network, expected)
    assert network.layers[0].activation == ("leaky_relu", 0.1)
    np.testing.assert_array_equal(network.classes, np.arange(10))


def test_train_tells_people_and_programs_the_same(tmp_path, data, capsys):
    out, report = tmp_path / "out.safetensors", tmp_path / "out.json"
    flags = ("--epochs", 20, "--json", report, "--seed", 1)
    assert run("train", *LAYERS, "--data", data, "-o", out, *flags) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    document = json.loads(report.read_text())
    assert document["samples"] == {"training": 360, "held_out": 40}
    assert document["settings"]["loss"] == "cross_entropy"
    assert document["network"]["sizes"] == [64, 12, 10]
    assert document["inputs"][0]["path"] == str(data)
    epochs, best = document["training"]["epochs"], document["training"]["best_epoch"]
    assert len(epochs) == 20
    assert best == 1 + min(range(20), key=lambda i: epochs[i]["validation_loss"])
    lines = dict(line.split("  ", 1) for line in printed.splitlines())
    lines = {name: said.strip() for name, said in lines.items()}
    assert lines["epochs"] == "20"
    assert lines["best epoch"] == str(best)
    assert lines["validation loss"] == f"{epochs[best - 1]['validation_loss']:.4g}"
    accuracy = 100 * document["results"]["accuracy"]
    assert lines["accuracy"] == f"{accuracy:.2f} %, on 40 samples held out"
    assert lines["parameters"] == "910"


def test_train_holds_out_what_the_seed_says(tmp_path, data):
    x, y = digits()
    report, out = tmp_path / "out.json", tmp_path / "out.safetensors"
    flags = ("--validation-split", "0.25", "--seed", 5, "--epochs", 2, "--json", report)
    assert run("train", *LAYERS, "--data", data, "-o", out, *flags) == 0
    at = np.sort(np.random.default_rng((5, 2)).permutation(400)[:100])
    network = pyfq.load_network(out)
    accuracy = np.mean(network.predict(x[at]) == y[at])
    assert json.loads(report.read_text())["results"]["accuracy"] == accuracy


def test_train_without_validation_keeps_the_last_epoch(tmp_path, data, capsys):
    out = tmp_path / "out.safetensors"
    flags = ("--validation-split", "0", "--epochs", 3)
    assert run("train", *LAYERS, "--data", data, "-o", out, *flags) == 0
    assert "on the 400 samples of training" in capsys.readouterr().out
    expected = pyfq.train(pyfq.Network.create((64, 12, 10)), *digits(), epochs=3).network
    same(pyfq.load_network(out), expected)


def test_train_normalizes_as_scikit_learn(tmp_path, values):
    out = tmp_path / "out.safetensors"
    flags = ("--normalize", "--dtype", "float64", "--validation-split", 0, "--epochs", 60)
    assert run("train", "--layers", "3,16,2", "--data", values, "-o", out, *flags) == 0
    network = pyfq.load_network(out)
    with np.load(values) as file:
        x, y = file["x"], file["y"]
    for array, mean, scale in (
        (x, network.input_mean, network.input_scale),
        (y, network.output_mean, network.output_scale),
    ):
        scaler = StandardScaler().fit(array)
        np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-12)
        np.testing.assert_allclose(scale, scaler.scale_, rtol=1e-12)
    assert pyfq.evaluate(network, x, y).r2 > 0.9


def test_train_keeps_labels_of_any_kind(tmp_path):
    x, y = digits()
    words = np.array(["zero", "one", "two"])
    few = y < 3
    for labels in (words[y[few]], y[few] - 1, y[few] * 100):
        path, out = tmp_path / "few.npz", tmp_path / "few.safetensors"
        np.savez(path, x=x[few].reshape(-1, 8, 8), y=labels)
        flags = ("--epochs", 60, "--force")
        assert run("train", "--layers", "64,8,3", "--data", path, "-o", out, *flags) == 0
        network = pyfq.load_network(out)
        np.testing.assert_array_equal(network.classes, np.unique(labels))
        assert np.mean(network.predict(x[few]) == labels) > 0.9


def test_train_goes_on_from_a_file(tmp_path, data):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    flags = ("--data", data, "--validation-split", "0", "--epochs")
    assert run("train", *LAYERS, "-o", first, *flags, 2) == 0
    assert run("train", first, "-o", second, *flags, 1, "--seed", 4) == 0
    x, y = digits()
    same(
        pyfq.load_network(second),
        pyfq.train(pyfq.load_network(first), x, y, epochs=1, seed=4).network,
    )


def test_train_goes_on_from_codes_and_keeps_zeros(tmp_path, data, capsys):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    flags = ("--data", data, "--epochs", 2)
    assert run("train", *LAYERS, "-o", first, *flags, "--fake-quantize", "3:16") == 0
    codes = pyfq.load_network(first)
    for layer in codes.layers:
        assert (layer.weights.bits, layer.weights.granularity) == (3, pyfq.PerGroup(16))
    capsys.readouterr()
    assert run("train", first, "-o", second, *flags, "--keep-zeros") == 0
    assert "its codes are trained as the numbers" in capsys.readouterr().err
    before, after = codes.parameters, pyfq.load_network(second).parameters
    weights = [name for name in before if name.endswith("weight")]
    assert any((before[name] == 0).any() for name in weights)
    for name in weights:
        assert not after[name][before[name] == 0].any()


def test_train_draws_the_losses(tmp_path, data):
    for suffix, magic in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        plot = tmp_path / f"losses{suffix}"
        flags = ("--epochs", 3, "--plot", plot, "--force")
        assert run("train", *LAYERS, "--data", data, "-o", tmp_path / "o.safetensors", *flags) == 0
        assert plot.read_bytes().startswith(magic)


def interrupt_in(epoch, monkeypatch):
    """Send a real SIGINT after an epoch, from where progress is told."""

    @contextmanager
    def progress(epochs, label):
        def tell(of):
            if of.number == epoch:
                signal.raise_signal(signal.SIGINT)

        yield tell

    monkeypatch.setattr(_fit, "progress", progress)


def test_interrupted_training_writes_what_there_is(tmp_path, data, monkeypatch, capsys):
    interrupt_in(3, monkeypatch)
    out, report = tmp_path / "out.safetensors", tmp_path / "out.json"
    flags = ("--data", data, "-o", out, "--json", report, "--validation-split", "0")
    assert run("train", *LAYERS, *flags) == 130
    printed, err = capsys.readouterr()
    assert err == f"pyfq train: interrupted; {out} has what was learned before\n"
    assert "3 of 100: interrupted" in printed
    assert json.loads(report.read_text())["training"]["stopped"] == "interrupted"
    expected = pyfq.train(pyfq.Network.create((64, 12, 10)), *digits(), epochs=3).network
    same(pyfq.load_network(out), expected)


def test_training_interrupted_at_once_writes_nothing(tmp_path, data, monkeypatch, capsys):
    @contextmanager
    def progress(epochs, label):
        epochs_of = importlib.import_module("pyfq.learning.train")._Epochs
        monkeypatch.setattr(epochs_of, "next", lambda *_: signal.raise_signal(signal.SIGINT))
        yield None

    monkeypatch.setattr(_fit, "progress", progress)
    assert run("train", *LAYERS, "--data", data, "-o", tmp_path / "out.safetensors") == 130
    assert "before the first epoch was over; nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["digits.npz"]


def test_a_loss_that_diverges_is_one_line(tmp_path, data, capsys):
    out = tmp_path / "out.safetensors"
    flags = ("--data", data, "-o", out, "--optimizer", "sgd", "--learning-rate", "1e30")
    code, line = refused(capsys, "train", *LAYERS, *flags)
    assert code == 1
    assert "a lower learning rate than 1e+30" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--layers", "64"], "layers must be inputs, hidden neurons and outputs"),
        (["--layers", "64,x,10"], "layers must be inputs"),
        (["net.safetensors", *LAYERS], "say either NETWORK"),
        ([], "say either NETWORK"),
        ([*LAYERS, "--momentum", "0.9"], "--momentum is for --optimizer sgd, not adam"),
        ([*LAYERS, "--learning-rate", "0"], "learning_rate must be"),
        ([*LAYERS, "--learning-rate", "nan"], "learning_rate must be"),
        ([*LAYERS, "--epochs", "0"], "--epochs must be at least 1"),
        ([*LAYERS, "--batch-size", "0"], "batch_size must be at least 1"),
        ([*LAYERS, "--seed", "-1"], "seed must be at least 0"),
        ([*LAYERS, "--schedule", "linear"], "kind must be one of"),
        ([*LAYERS, "--schedule", "cosine:1:2"], "--schedule: expected constant"),
        ([*LAYERS, "--schedule", "step:x"], "--schedule: expected constant"),
        ([*LAYERS, "--clip", "0"], "clip must be"),
        ([*LAYERS, "--delta", "2"], "--delta is for the loss huber"),
        ([*LAYERS, "--fake-quantize", "9"], "bits must be 2 ... 8"),
        ([*LAYERS, "--fake-quantize", "4:"], "--fake-quantize: expected BITS or BITS:GROUP"),
        ([*LAYERS, "--fake-quantize", "4:0"], "size must be"),
        ([*LAYERS, "--validation-split", "1"], "--validation-split must be at least 0"),
        ([*LAYERS, "--validation-split", "0", "--patience", "3"], "--patience needs samples"),
        ([*LAYERS, "--activation", "swish"], "activation must be None, one of"),
        ([*LAYERS, "--activation", "leaky_relu:x"], "expected leaky_relu:NUMBER"),
        ([*LAYERS, "--activation", "softmax"], "softmax"),
        ([*LAYERS, "--threads", "0"], "--threads"),
        ([*LAYERS, "--json", "no/such/report.json"], "--json: no/such is not a directory"),
        ([*LAYERS, "--plot", "losses.txt"], "--plot: expected .png, .pdf, .svg"),
        ([*LAYERS, "-o", "net.npz"], "expected a .safetensors file"),
        (["net.safetensors", "--dtype", "float64"], "--dtype is for a new network"),
        (["net.safetensors", "--normalize"], "--normalize is for a new network"),
    ],
)
def test_train_refuses_options_that_do_not_go_together(flags, reason, data, tmp_path, capsys):
    out = ("-o", tmp_path / "out.safetensors")
    code, line = refused(capsys, "train", "--data", data, *out, *flags)
    assert reason in line
    assert code == 2


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--layers", "63,10"], "a sample has 64 inputs, the network takes 63"),
        (["--layers", "64,5"], "y has 10 different labels, the network has 5 outputs"),
        (["--layers", "64,1"], "numbers that are values are learned with the loss mse"),
        (["--layers", "64,2", "--loss", "mse"], "y has 1 values a sample, the network 2 outputs"),
        ([*LAYERS, "--output-activation", "relu"], "the last activation must be None or 'softmax'"),
        (["no.safetensors"], "no.safetensors"),
        (["net.h5"], "net.h5: No such file or directory"),
        ([*LAYERS, "--validation", "no.npz"], "no.npz"),
        ([*LAYERS, "--data", "no.npz"], "no.npz"),
        ([*LAYERS, "-o", "no/such/out.safetensors"], "no/such is not a directory"),
    ],
)
def test_train_refuses_what_does_not_fit(flags, reason, data, tmp_path, capsys):
    out = ("-o", tmp_path / "out.safetensors")
    code, line = refused(capsys, "train", "--data", data, *out, *flags)
    assert reason in line
    assert code == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_train_learns_integers_as_values_if_told(tmp_path, data):
    out = tmp_path / "out.safetensors"
    flags = ("--loss", "huber", "--delta", "0.5", "--epochs", 2)
    assert run("train", "--layers", "64,1", "--data", data, "-o", out, *flags) == 0
    assert pyfq.load_network(out).classes is None


def test_train_takes_whole_floats_for_labels_if_told(tmp_path):
    x, y = digits()
    np.savez(tmp_path / "floats.npz", x=x, y=y.astype(np.float64))
    out = tmp_path / "out.safetensors"
    flags = ("--data", tmp_path / "floats.npz", "-o", out, "--epochs", 2)
    assert run("train", *LAYERS, *flags, "--loss", "cross_entropy") == 0
    np.testing.assert_array_equal(pyfq.load_network(out).classes, np.arange(10), strict=True)


def test_train_refuses_labels_of_another_kind(tmp_path, data, capsys):
    out = tmp_path / "out.safetensors"
    assert run("train", *LAYERS, "--data", data, "-o", out, "--epochs", 1) == 0
    capsys.readouterr()
    x, y = digits(20)
    np.savez(tmp_path / "words.npz", x=x, y=y.astype(str))
    other = ("-o", tmp_path / "o.safetensors")
    code, line = refused(capsys, "train", out, "--data", tmp_path / "words.npz", *other)
    assert (code, "y must be labels that are numbers" in line) == (1, True)
    np.savez(tmp_path / "more.npz", x=x, y=y + 5)
    code, line = refused(capsys, "train", out, "--data", tmp_path / "more.npz", *other)
    assert (code, "y must be labels of the network's classes" in line) == (1, True)
    np.savez(tmp_path / "floats.npz", x=x, y=y + 0.5)
    code, line = refused(capsys, "train", out, "--data", tmp_path / "floats.npz", *other)
    assert (code, "y must be labels, integers or text" in line) == (1, True)


def test_train_does_not_replace_without_force(tmp_path, data, capsys):
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"precious")
    code, line = refused(capsys, "train", *LAYERS, "--data", data, "-o", out)
    assert (code, "exists: --force replaces it" in line) == (1, True)
    assert out.read_bytes() == b"precious"
    assert run("train", *LAYERS, "--data", data, "-o", out, "--force", "--epochs", 1) == 0
    assert pyfq.load_network(out).sizes == (64, 12, 10)


def test_plot_without_matplotlib_is_refused_before_training(tmp_path, data, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "out.safetensors"
    flags = ("--data", data, "-o", out, "--plot", tmp_path / "losses.png")
    code, line = refused(capsys, "train", *LAYERS, *flags)
    assert (code, "pip install matplotlib" in line) == (1, True)
    assert not out.exists()


def test_progress_is_drawn_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    args = SimpleNamespace(epochs=2, quiet=False, verbose=False)
    with _fit.progress(args, "training") as tell:
        tell(pyfq.Epoch(1, 2, 0.5, 0.25, 1e-3, 0.1))
        tell(pyfq.Epoch(2, 2, 0.5, 0.125, 1e-3, 0.2))
    err = capsys.readouterr().err
    assert "training" in err
    assert "epochs" in err


def test_labels_of_csv_files_are_integers_or_text(tmp_path):
    x, y = digits(90)
    few = y < 3
    for labels in (y[few], np.array(["a b", "1_0", "1_1"])[y[few]]):
        path, out = tmp_path / "few.csv", tmp_path / "few.safetensors"
        np.savetxt(path, np.c_[x[few].astype(int).astype(str), labels], "%s", ",")
        flags = ("--data", path, "-o", out, "--epochs", 1, "--force")
        assert run("train", "--layers", "64,3", *flags) == 0
        np.testing.assert_array_equal(pyfq.load_network(out).classes, np.unique(labels))


@pytest.mark.parametrize("option", ["--data", "--validation"])
def test_a_link_to_the_samples_is_no_target(option, data, tmp_path, capsys):
    held = tmp_path / "held.npz"
    held.write_bytes(data.read_bytes())
    read = {"--data": data, "--validation": held}
    link = tmp_path / "link.safetensors"
    link.symlink_to(read[option])
    before = read[option].read_bytes()
    flags = ("--data", data, "--validation", held, "--epochs", 1, "--force")
    code, line = refused(capsys, "train", *LAYERS, *flags, "-o", link)
    assert code == 2
    assert "which is read" in line
    assert read[option].read_bytes() == before
