"""Figures of training; those of compression are tested with the demo."""

import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

import pyfq
from pyfq import plot

pytest.importorskip("matplotlib", reason="needs the plot extra")


def training(losses, validation=None):
    validation = validation or [None] * len(losses)
    epochs = [
        pyfq.Epoch(i, len(losses), loss, held, 1e-3, 0.1 * i)
        for i, (loss, held) in enumerate(zip(losses, validation, strict=True), 1)
    ]
    best = len(losses) if None in validation or not losses else 1 + int(np.argmin(validation))
    return pyfq.Training(pyfq.Network.create((2, 1)), epochs, best, "done")


def test_training_curves_show_both_losses_and_mark_the_best(tmp_path):
    figure = plot.training_curves({"a": training([9, 3, 1], [8.0, 2, 4])}, title="digits")
    axes = figure.axes[0]
    dashed, solid = axes.get_lines()
    assert dashed.get_ydata().tolist() == [9, 3, 1]
    assert solid.get_ydata().tolist() == [8, 2, 4]
    assert solid.get_xdata().tolist() == [1, 2, 3]
    assert solid.get_markevery() == [1]
    assert [line.get_label() for line in (dashed, solid)] == [
        "training",
        "validation, 2 after epoch 2",
    ]
    assert figure.get_suptitle() == "digits"
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_training_curves_of_several_differ_in_colour_and_name():
    runs = {"distilled": training([3.0, 2.0], [3.0, 2.5]), "alone": training([3.0, 1.0])}
    figure = plot.training_curves(runs)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == [
        "distilled: training",
        "distilled: validation, 2.5 after epoch 2",
        "alone: training",
    ]
    assert len({line.get_color() for line in lines}) == 2


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([10.0, 1.0], "log"), ([9.0, 1.0], "linear"), ([1.0, 0.0], "linear"), ([9.0, -1.0], "linear")],
)
def test_training_curves_are_logarithmic_where_it_helps(losses, scale):
    assert plot.training_curves({"a": training(losses)}).axes[0].get_yscale() == scale


def test_training_curves_show_one_epoch(tmp_path):
    figure = plot.training_curves({"a": training([1.0], [2.0])})
    figure.savefig(tmp_path / "figure.png")
    assert [line.get_marker() for line in figure.axes[0].get_lines()] == ["o", "o"]


def test_names_and_titles_may_hold_anything(tmp_path):
    odd = "a\x07\x00\uffff"
    flip = plot.Flip(np.eye(3), odd, odd)
    for figure in (
        plot.training_curves({odd: training([1.0]), "b": training([1.0])}, title=odd),
        plot.error_by_tensor([odd], [1.0], title=f"{odd}\n{odd}"),
        plot.accuracy_by_bytes(
            [plot.Point(odd, odd, 100, 0.5)], title=odd, flips=[flip], flips_title=odd
        ),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.savefig(tmp_path / "figure.svg")
        drawn = (tmp_path / "figure.svg").read_text()
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
        assert r"a\x07\x00\uffff" in drawn


def test_training_curves_refuse():
    with pytest.raises(ValueError, match="trainings must not be empty"):
        plot.training_curves({})
    with pytest.raises(ValueError, match=r"trainings\['a'\] must have at least one epoch"):
        plot.training_curves({"a": training([])})


def test_training_curves_show_accuracies_and_that_of_a_teacher():
    """Labels stand at the ends of lines, none on another."""
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = (x[:, 0] > 0).astype(np.int64)
    network = pyfq.Network.create((3, 2), dtype=np.float64)
    found = pyfq.train(network, x, y, epochs=4, validation=(x, y))
    accuracies = [epoch.validation_accuracy for epoch in found.epochs]
    best = found.epochs[found.best_epoch - 1]
    assert best.validation_accuracy == pyfq.evaluate(found.network, x, y).accuracy
    figure = plot.training_curves({"student": found, "alone": found}, teacher=accuracies[-1])
    panel = figure.axes[1]
    assert panel.get_lines()[0].get_ydata().tolist() == [100 * a for a in accuracies]
    texts = [text.get_text() for text in panel.texts]
    assert texts[-1] == f"teacher {100 * accuracies[-1]:.2f} %"
    heights = sorted(text.get_window_extent().y0 for text in panel.texts)
    assert min(np.diff(heights)) > 5
    without = pyfq.train(network, x, x[:, :2].copy(), epochs=2, validation=(x, x[:, :2].copy()))
    assert [epoch.validation_accuracy for epoch in without.epochs] == [None, None]
    assert len(plot.training_curves({"a": without}).axes) == 1


def test_histogram_shows_shares_and_levels():
    figure = plot.histogram(np.array([0, 0, 0, 2]), levels=np.arange(4), title="w")
    (axes,) = figure.axes
    assert sorted(bar.get_height() for bar in axes.patches) == [25, 75]
    assert len(axes.collections[0].get_segments()) == 4
    assert [text.get_text() for text in axes.texts] == ["4 levels"]
    many = plot.histogram(np.linspace(0, 1, 1000)).axes[0]
    assert sum(bar.get_height() for bar in many.patches) == pytest.approx(100)
    assert not many.texts
    with pytest.raises(ValueError, match="values must not be empty"):
        plot.histogram(np.empty(0))
    with pytest.raises(ValueError, match="values must be finite"):
        plot.histogram(np.array([1.0, np.nan]))
