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
    assert axes.get_title() == "digits"
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
