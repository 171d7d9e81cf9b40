"""The demo: its table, its files, its figure, and what must hold whatever network was trained."""

import itertools
import json
import math
import struct
import sys

import numpy as np
import pytest

import pyfq
from pyfq import plot
from pyfq.cli import main
from pyfq.io import open_safetensors

pytest.importorskip("sklearn", reason="needs the demo extra")
pytest.importorskip("matplotlib", reason="needs the demo extra")

STEPS = [
    "dense",
    *(f"{bits} bits" for bits in (8, 6, 4, 3, 2)),
    *(f"{percent}% pruned" for percent in (30, 50, 80)),
    *("8 bits + 50% pruned", "4 bits + 50% pruned", "4 bits + 80% pruned"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    report = directory / "report.json"
    assert main(["demo", "--quick", "--out", str(directory / "out"), "--json", str(report)]) == 0
    return directory / "out", json.loads(report.read_text())


@pytest.fixture(scope="module")
def rows(demo):
    return {row["step"]: row for row in demo[1]["rows"]}


def test_demo_climbs_the_whole_ladder(rows):
    assert list(rows) == STEPS


def test_demo_8_bits_cost_at_most_a_point(rows):
    assert abs(rows["8 bits"]["accuracy_lost"]) <= 0.01
    assert rows["dense"]["accuracy"] > 0.94


def test_demo_fewer_bits_are_fewer_bytes_and_more_error(rows):
    quantized = [rows[f"{bits} bits"] for bits in (8, 6, 4, 3, 2)]
    for more, less in itertools.pairwise(quantized):
        assert less["nbytes"] < more["nbytes"] < rows["dense"]["nbytes"]
        assert less["sqnr"] < more["sqnr"]


def test_demo_more_pruned_are_fewer_bytes_and_more_error(rows):
    pruned = [rows[f"{percent}% pruned"] for percent in (30, 50, 80)]
    for more, less in itertools.pairwise(pruned):
        assert less["nbytes"] < more["nbytes"] < rows["dense"]["nbytes"]
        assert less["sqnr"] < more["sqnr"]


def test_demo_bits_per_weight_are_counted_by_hand(rows):
    weights, rows_of_weights = 64 * 64 + 64 * 32 + 32 * 10, 64 + 32 + 10
    scales = 32 * rows_of_weights / weights
    assert rows["dense"]["bits_per_weight"] == 32
    assert rows["8 bits"]["bits_per_weight"] == pytest.approx(8 + scales)
    assert rows["50% pruned"]["bits_per_weight"] == pytest.approx(1 + 16)
    assert rows["4 bits + 50% pruned"]["bits_per_weight"] == pytest.approx(1 + 2 + scales, abs=0.01)


def test_demo_sparsity_is_what_was_asked(rows):
    for percent in (30, 50, 80):
        assert rows[f"{percent}% pruned"]["sparsity"] == pytest.approx(percent / 100, abs=1e-3)


def test_demo_reports_sizes_on_disk(demo, rows):
    out, _ = demo
    sizes = sorted(path.stat().st_size for path in out.glob("*.safetensors"))
    assert sizes == sorted(row["nbytes"] for row in rows.values())


def test_demo_files_hold_what_the_functions_return(demo):
    out, _ = demo
    with open_safetensors(out / "dense.safetensors") as dense:
        w = dense["layers.0.weight_values"].reshape(64, 64)
        quantized = pyfq.quantize(w, 4)
    with open_safetensors(out / "4bits.safetensors") as file:
        codes = pyfq.unpack(file["layers.0.weight_codes"], 4, w.size, signed=True)
        np.testing.assert_array_equal(codes.reshape(w.shape), quantized.codes)
        np.testing.assert_array_equal(file["layers.0.weight_scale"], quantized.scale)


def test_demo_json_knows_no_infinity(demo, rows):
    _, report = demo
    assert rows["dense"]["sqnr"] is None
    assert report["pyfq"] == pyfq.__version__
    assert report["layers"] == [64, 64, 32, 10]


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
        assert line.startswith(row["step"] + "  ")
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
    assert "pip install 'pyfq-fortran[demo]'" in error
    assert not (tmp_path / "out").exists()


def test_plot_names_the_extra_to_install(monkeypatch):
    hide("matplotlib", monkeypatch)
    with pytest.raises(ImportError, match=r"pip install 'pyfq-fortran\[plot\]'"):
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
    assert axes.get_title() == "model\nthe 5 tensors of the largest error, of 99"
    figure.savefig(tmp_path / "figure.png")


def test_error_by_tensor_refuses():
    with pytest.raises(ValueError, match=r"sqnr must have shape \(1,\) as names has, not \(2,\)"):
        plot.error_by_tensor(["a"], [1.0, 2.0])
    with pytest.raises(ValueError, match="no tensor is compressed"):
        plot.error_by_tensor(["a"], [math.nan])
