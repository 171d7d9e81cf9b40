"""The demo: its table, its files, its figure, and what must hold whatever network was trained."""

import json
import math
import struct
import sys

import pytest

import pyfq
from pyfq import plot
from pyfq.cli import main

pytest.importorskip("sklearn", reason="needs the demo extra")
pytest.importorskip("matplotlib", reason="needs the demo extra")

STEPS = [
    "teacher",
    "teacher, 8 bits",
    "teacher, 90 % pruned",
    "teacher, 90 % pruned, 8 bits",
    "teacher, a quarter of its neurons",
    "student alone",
    "student, distilled",
    "student, distilled, 8 bits",
    "student, distilled, 4 bits",
    "scikit-learn, as teacher",
    "scikit-learn, as student",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    report = directory / "report.json"
    assert main(["demo", "--quick", "--out", str(directory / "out"), "--json", str(report)]) == 0
    return directory / "out", json.loads(report.read_text())


@pytest.fixture(scope="module")
def rows(demo):
    return {row["network"]: row for row in demo[1]["rows"]}


def test_demo_goes_through_the_whole_chain(demo, rows):
    assert list(rows) == STEPS
    assert demo[1]["teacher"] == [64, 64, 32, 10]
    assert demo[1]["student"] == [64, 8, 10]
    assert demo[1]["pyfq"] == pyfq.__version__


def test_demo_networks_know_digits(rows):
    assert rows["teacher"]["accuracy"] > 0.94
    ours = [row for row in rows.values() if row["family"] != "scikit-learn"]
    assert min(row["accuracy"] for row in ours) > 0.9
    for name in ("teacher", "student, distilled"):
        assert abs(rows[f"{name}, 8 bits"]["accuracy"] - rows[name]["accuracy"]) <= 0.01


def test_demo_steps_cost_less(rows):
    assert rows["teacher, 8 bits"]["nbytes"] < 0.4 * rows["teacher"]["nbytes"]
    pruned = rows["teacher, 90 % pruned"]["multiply_adds"]
    assert abs(pruned - 0.1 * rows["teacher"]["multiply_adds"]) <= 2
    assert rows["teacher, 90 % pruned, 8 bits"]["multiply_adds"] <= pruned
    student = [rows[f"student, distilled{end}"]["nbytes"] for end in ("", ", 8 bits", ", 4 bits")]
    assert student == sorted(student, reverse=True)


def test_demo_counts_multiplications_by_hand(rows):
    assert rows["teacher"]["multiply_adds"] == 64 * 64 + 64 * 32 + 32 * 10
    fewer = rows["teacher, a quarter of its neurons"]["multiply_adds"]
    assert fewer == 64 * 16 + 16 * 8 + 8 * 10
    assert rows["student alone"]["multiply_adds"] == 64 * 8 + 8 * 10
    assert rows["scikit-learn, as student"]["multiply_adds"] == 64 * 8 + 8 * 10


def test_demo_files_hold_the_networks_of_the_rows(demo, rows):
    out, report = demo
    sizes = sorted(path.stat().st_size for path in out.glob("*.safetensors"))
    named = [row for row in report["rows"] if not row["network"].startswith("scikit-learn")]
    assert sizes == sorted(row["nbytes"] for row in named)
    student = pyfq.load_network(out / "student-distilled-4-bits.safetensors")
    assert [layer.weights.bits for layer in student.layers] == [4, 4]
    assert student.multiply_adds == rows["student, distilled, 4 bits"]["multiply_adds"]


def test_demo_times_are_positive(rows):
    for row in rows.values():
        assert row["us_256"] > 0
        assert row["us_1"] > 0


def test_demo_draws_a_png_of_readable_size(demo):
    out, _ = demo
    header = (out / "demo.png").read_bytes()[:24]
    assert header.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", header[16:])
    assert 1000 <= width <= 3000
    assert 600 <= height <= 2000


def test_demo_prints_the_rows_of_the_json(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--quick", "--seed", "1", "--json", "report.json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    for row, line in zip(
        json.loads((tmp_path / "report.json").read_text())["rows"], printed[2:], strict=False
    ):
        assert line.startswith(row["network"] + "  ")
        assert f"{row['nbytes']:,}" in line
        assert f"{row['accuracy']:.2%}" in line
    assert (tmp_path / "demo" / "demo.png").is_file()


def hide(package, monkeypatch):
    """Make importing a package fail, though parts of it may be imported already."""
    for name in [name for name in sys.modules if name.split(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("missing", ["sklearn", "matplotlib"])
def test_demo_names_the_extra_to_install(missing, monkeypatch, capsys, tmp_path):
    hide(missing, monkeypatch)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install scikit-learn matplotlib" in error
    assert not (tmp_path / "out").exists()


def test_plot_names_the_extra_to_install(monkeypatch):
    hide("matplotlib", monkeypatch)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plot.error_by_tensor(["a"], [40.0])


def test_accuracy_by_bytes_puts_labels_apart():
    points = [plot.Point("dense", "dense", 4000, 0.98)]
    points += [plot.Point(f"step {i}", "quantized", 1000 + 40 * i, 0.97) for i in range(8)]
    figure = plot.accuracy_by_bytes(points)
    figure.draw_without_rendering()
    boxes = [text.get_bbox_patch().get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == len(points)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_accuracy_by_bytes_shows_0_and_1(tmp_path):
    points = [plot.Point("all", "a", 100, 1.0), plot.Point("none", "b", 10, 0.0)]
    plot.accuracy_by_bytes(points).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_accuracy_by_bytes_refuses_nothing_to_show():
    with pytest.raises(ValueError, match="points must not be empty"):
        plot.accuracy_by_bytes([])


def test_error_by_tensor_keeps_the_worst(tmp_path):
    names = [f"t{i}" for i in range(100)]
    sqnr = [math.nan, math.inf, -math.inf, *map(float, range(3, 100))]
    figure = plot.error_by_tensor(names, sqnr, title="model", most=5)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["t2", "t3", "t4", "t5", "t6"]
    assert figure.get_suptitle() == "model\nthe 5 tensors of the largest error, of 99"
    figure.savefig(tmp_path / "figure.png")


def test_error_by_tensor_writes_bits_beside_the_tensors_shown(tmp_path):
    names, bits = ["a", "b", "c"], [4.25, 2.0, 16.0]
    figure = plot.error_by_tensor(names, [3.0, math.nan, math.inf], bits=bits)
    errors, widths = figure.axes
    assert [text.get_text() for text in widths.texts] == ["4.25", "16.00"]
    assert [bar.get_width() for bar in widths.patches] == [4.25, 16]
    assert [text.get_text() for text in errors.texts] == ["no error"]
    figure.savefig(tmp_path / "figure.png")


def test_error_by_tensor_refuses():
    with pytest.raises(ValueError, match="bits must be 1 numbers as names has, not 2"):
        plot.error_by_tensor(["a"], [1.0], bits=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"sqnr must have shape \(1,\) as names has, not \(2,\)"):
        plot.error_by_tensor(["a"], [1.0, 2.0])
    with pytest.raises(ValueError, match="no tensor is compressed"):
        plot.error_by_tensor(["a"], [math.nan])
