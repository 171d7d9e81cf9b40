"""Figures from results. matplotlib is imported on first use; no window is opened.

| to show | call |
|---|---|
| what each step of compression costs | `accuracy_by_bytes` |
| how far each tensor is from its original | `error_by_tensor` |
| how weights are spread, and where levels lie | `histogram` |
| how losses fell and accuracies grew in training | `training_curves` |

Each returns a figure; ``figure.savefig(path)`` writes it. Figures are grey, so that paper shows
what a screen does, and words stand beside what they name. Families of points have the colours of
Okabe and Ito, which colour-blind readers tell apart, and differ in their markers too.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._core.check import shown
from ._core.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    from .learning.train import Training

BLACK, BLUE, VERMILION, GREEN, PURPLE = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7"

# Of each family, in the order in which they appear.
_STYLES = ((BLACK, "*"), (BLUE, "o"), (VERMILION, "s"), (GREEN, "D"), (PURPLE, "^"))

# Greys of what is printed: lines and letters, what stands behind, bars.
INK, GREY, LIGHT = "0.05", "0.5", "0.82"

# Of each training.
_LINES = (INK, GREY, "0.7")

# Bars of a histogram of few values, and bins of one of many.
_MOST_BARS, _BINS = 512, 120

# Where a label may stand: points from its marker, near ones first.
_OFFSETS = sorted(
    itertools.product((0, -22, 22, -45, 45), (12, -12, 23, -23, 34, -34, 45, -45, 56, -56)),
    key=lambda offset: math.hypot(*offset),
)


@dataclass(frozen=True)
class Point:
    """A network in `accuracy_by_bytes`.

    Attributes
    ----------
    label : str
        What stands beside its marker.
    family : str
        What it is a case of; points of one family share colour and marker.
    nbytes : int
        Its size in bytes.
    accuracy : float
        Fraction of right answers, 0 ... 1.
    """

    label: str
    family: str
    nbytes: int
    accuracy: float


@dataclass(frozen=True, eq=False)
class Flip:
    """An image that a compressed network takes for something else.

    Attributes
    ----------
    image : (rows, cols) NDArray
        Grey values, large for ink.
    truth : str
        What it is, and what the dense network takes it for.
    answer : str
        What the compressed network takes it for.
    """

    image: NDArray
    truth: str
    answer: str


def accuracy_by_bytes(
    points: Sequence[Point], *, title: str = "", flips: Sequence[Flip] = (), flips_title: str = ""
) -> "Figure":
    """Draw accuracy against size, every point labelled, with a line at the first point's accuracy.

    Sizes are on a logarithmic axis, accuracies on a logit axis: most steps add few errors, and what
    counts is the factor by which they grow.

    Parameters
    ----------
    points : sequence of Point
        The networks, the dense one first.
    title : str
        Above the points.
    flips : sequence of Flip
        Images for a second panel, which shows nine at most; without any there is no such panel.
    flips_title : str
        Above the images.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no points.

    Examples
    --------
    >>> points = [Point("dense", "dense", 4000, 0.98), Point("8 bits", "quantized", 1000, 0.97)]
    >>> len(accuracy_by_bytes(points).axes)
    1
    """
    if not points:
        raise ValueError("points must not be empty")
    figure = _new_figure(10.5 if flips else 7.5, 5.2)
    grid = figure.add_gridspec(1, 2, width_ratios=(2.6, 1)) if flips else figure.add_gridspec(1, 1)
    axes = figure.add_subplot(grid[0])
    if flips:
        _draw_flips(figure.add_subfigure(grid[1]), flips[:9], flips_title)
    _draw_points(axes, points)
    axes.set_title(_lines(title))
    figure.draw_without_rendering()  # so that labels know where markers are
    figure.set_layout_engine("none")
    _label(axes, points)
    return figure


def error_by_tensor(
    names: Sequence[str],
    sqnr: Sequence[float],
    *,
    bits: Sequence[float] | None = None,
    title: str = "",
    most: int = 60,
) -> "Figure":
    """Draw the signal-to-noise ratio of each tensor, the first one on top.

    Parameters
    ----------
    names : sequence of str
        The tensors.
    sqnr : sequence of float
        Ratio of each in dB, as `pyfq.distortion` returns it: inf for one without error; nan for
        one that was not compressed, which is left out.
    bits : sequence of float, optional
        Bits a weight of each, which stand at the right.
    title : str
        Above the figure.
    most : int
        If there are more tensors, only as many are shown: those of the largest error.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `names` and `sqnr`, or `bits`, differ in length, or nothing is left to show.

    Examples
    --------
    >>> figure = error_by_tensor(["a.weight", "b.weight"], [40.0, float("inf")])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['a.weight', 'b.weight']
    """
    ratio = np.asarray(sqnr, np.float64)
    if ratio.shape != (len(names),):
        raise ValueError(f"sqnr must have shape ({len(names)},) as names has, not {ratio.shape}")
    if bits is not None and len(bits) != len(names):
        raise ValueError(f"bits must be {len(names)} numbers as names has, not {len(bits)}")
    shown = np.flatnonzero(~np.isnan(ratio))
    if not shown.size:
        raise ValueError("no tensor is compressed: all of sqnr is nan")
    left_out = max(shown.size - most, 0)
    shown = np.sort(shown[np.argsort(ratio[shown], kind="stable")[:most]])
    ratio = ratio[shown]
    finite = np.isfinite(ratio)
    figure = _new_figure(7.5 if bits is None else 9.5, 1.4 + 0.2 * shown.size)
    ratios = (1,) if bits is None else (2, 1)
    how = {"sharey": True, "squeeze": False, "width_ratios": ratios}
    axes, *others = figure.subplots(1, len(ratios), **how)[0]
    places = np.arange(shown.size)
    axes.hlines(places[finite], 0, ratio[finite], color=GREY, linewidth=0.8)
    axes.plot(ratio[finite], places[finite], "o", color=INK, markersize=4)
    if bits is not None:
        _draw_bits(others[0], places, [bits[i] for i in shown])
    for place in places[~finite]:
        word = "no error" if ratio[place] > 0 else "nothing left"
        axes.annotate(word, (0, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    # A name is no formula, whatever stands between its dollar signs.
    labels = [printable(names[i]) for i in shown]
    axes.set_yticks(places, labels, fontsize=8, parse_math=False)
    axes.set_ylim(shown.size - 0.4, -0.6)
    axes.set_xlim(left=1.1 * ratio[finite].min(initial=0.0))
    axes.set_xlabel("signal-to-quantization-noise ratio / dB")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    note = f"the {most} tensors of the largest error, of {most + left_out}" if left_out else ""
    figure.suptitle(_lines("\n".join(line for line in (title, note) if line)), fontsize=11)
    return figure


def histogram(
    values: NDArray, *, levels: NDArray | None = None, xlabel: str = "weight", title: str = ""
) -> "Figure":
    """Draw how weights are spread, and where the levels lie that codes can stand for.

    With at most 512 different values there is a bar for each, else there are bins. Ticks below the
    axis are the levels.

    Parameters
    ----------
    values : NDArray
        Weights, of any shape; not empty, finite.
    levels : (n,) NDArray, optional
        What codes can stand for, in the unit of `values`.
    xlabel : str
        What `values` are.
    title : str
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `values` is empty, or holds NaN or Inf.

    Examples
    --------
    >>> from pyfq import quantize
    >>> q = quantize(np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32), 4)
    >>> figure = histogram(q.codes, levels=np.arange(-8, 8), xlabel="code")
    >>> figure.axes[0].get_xlabel()
    'code'
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    if not flat.size:
        raise ValueError("values must not be empty")
    if not np.isfinite(flat).all():
        raise ValueError("values must be finite, but NaN or Inf is among them")
    figure = _new_figure(7.5, 3.6)
    axes = figure.add_subplot()
    found, counts = np.unique(flat, return_counts=True)
    if found.size <= _MOST_BARS:
        gap = float(np.diff(found).min(initial=np.inf)) if found.size > 1 else 1.0
        axes.bar(found, 100 * counts / flat.size, width=0.7 * gap, color=GREY)
    else:
        share = np.full(flat.size, 100 / flat.size)
        axes.hist(flat, bins=_BINS, weights=share, color=GREY)
    if levels is not None:
        place = axes.get_xaxis_transform()  # x in the data, y in parts of the axes
        axes.vlines(levels, -0.05, -0.01, transform=place, color=INK, linewidth=0.7, clip_on=False)
        axes.tick_params(axis="x", pad=9)
        text = f"{len(levels)} levels"
        axes.text(0.99, 0.96, text, transform=axes.transAxes, ha="right", va="top", fontsize=9)
    axes.set_xlabel(_lines(xlabel))
    axes.set_ylabel("share of weights / %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_lines(title), fontsize=11)
    return figure


def training_curves(
    trainings: Mapping[str, "Training"], *, title: str = "", teacher: float | None = None
) -> "Figure":
    """Draw the losses of each epoch, and accuracies on validation samples where there are labels.

    Losses of training are dashed, those of validation solid, the best epoch marked. Losses are on a
    logarithmic axis if one is ten times another. In distillation the loss of training has the
    teacher's part in it, that of validation has not.

    Parameters
    ----------
    trainings : mapping of str to Training
        What `pyfq.train` or `pyfq.distill` returned, by what each of several is called; at least
        one epoch each.
    title : str
        Above the figure.
    teacher : float, optional
        Accuracy of a teacher on the same samples, 0 ... 1, for a line.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no training, or one has no epochs.

    Examples
    --------
    >>> from pyfq import Network, train
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> y = x.sum(axis=1, keepdims=True)
    >>> training = train(Network.create((3, 1), dtype=np.float64), x, y, epochs=5)
    >>> figure = training_curves({"one layer": training})
    >>> [line.get_label() for line in figure.axes[0].get_lines()]
    ['training']
    """
    if not trainings:
        raise ValueError("trainings must not be empty")
    for name, training in trainings.items():
        if not training.epochs:
            raise ValueError(f"trainings[{shown(name)}] must have at least one epoch")
    known = any(_accuracies(training) for training in trainings.values())
    figure = _new_figure(9.5 if known else 7.5, 3.8)
    axes, *others = figure.subplots(1, 1 + known, squeeze=False)[0]
    last = max(len(training.epochs) for training in trainings.values())
    for (name, training), color in zip(trainings.items(), itertools.cycle(_LINES), strict=False):
        prefix = f"{printable(name)}: " if len(trainings) > 1 else ""
        _draw_losses(axes, prefix, training, color)
        if known:
            _draw_accuracies(others[0], printable(name), training, color)
    losses = [loss for training in trainings.values() for loss in _losses(training)]
    if min(losses) > 0 and max(losses) >= 10 * min(losses):
        _make_logarithmic(axes, decades=math.log10(max(losses) / min(losses)))
    axes.set_ylabel("loss")
    if known:
        if teacher is not None:
            others[0].axhline(100 * teacher, color=INK, linewidth=0.8, linestyle=":")
            _write_at(others[0], last, 100 * teacher, f"teacher {100 * teacher:.2f} %")
        others[0].set_ylabel("accuracy on validation samples / %")
    for panel in (axes, *others):
        panel.set_xlim(1 - max(0.5, 0.02 * last), last + max(0.5, 0.02 * last))
        panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        panel.set_xlabel("epoch")
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_lines(title), fontsize=11)
    figure.draw_without_rendering()  # so that labels know where axes end
    for panel in (axes, *others):
        _part_labels(panel)
    return figure


def _accuracies(training: "Training") -> list[float]:
    """Return the accuracy after each epoch, as far as there are validation samples with labels."""
    found = (epoch.validation_accuracy for epoch in training.epochs)
    return [accuracy for accuracy in found if accuracy is not None]


def _draw_accuracies(axes: "Axes", name: str, training: "Training", color: str) -> None:
    accuracies = [100 * accuracy for accuracy in _accuracies(training)]
    if not accuracies:
        return
    epochs = np.arange(1, len(accuracies) + 1)
    mark = {"marker": "o", "markersize": 6, "markevery": [max(training.best_epoch - 1, 0)]}
    axes.plot(epochs, accuracies, color=color, linewidth=1.4, label=name, **mark)
    best = accuracies[max(training.best_epoch - 1, 0)]
    _write_at(axes, epochs[-1], accuracies[-1], f"{name} {best:.2f} %")


def _write_at(axes: "Axes", x: float, y: float, text: str) -> None:
    """Write what a line is right of its end."""
    axes.annotate(
        text, (x, y), (8, 0), textcoords="offset points", va="center", fontsize=9,
        annotation_clip=False,
    )  # fmt: skip


def _part_labels(axes: "Axes") -> None:
    """Move the labels at the ends of lines apart where one would cover another."""
    labels = sorted(axes.texts, key=lambda text: axes.transData.transform(text.xy)[1])
    above, least = -math.inf, 13 * axes.figure.dpi / 72
    for label in labels:
        place = axes.transData.transform(label.xy)[1]
        wanted = max(place, above + least)
        label.set_position((8, (wanted - place) * 72 / axes.figure.dpi))
        above = wanted


def _draw_bits(axes: "Axes", places: NDArray, bits: Sequence[float]) -> None:
    """Draw bits a weight as bars with their numbers."""
    axes.barh(places, bits, height=0.6, color=LIGHT)
    for place, number in zip(places, bits, strict=True):
        axes.annotate(
            f"{number:.2f}", (number, place), (3, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    axes.set_xlim(0, 1.2 * max(bits))
    axes.set_xlabel("bits a weight")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def require_matplotlib() -> None:
    """Raise ImportError if there is no matplotlib: better before hours of work than after them."""
    try:
        import matplotlib  # noqa: F401 -- whether it is there
    except ModuleNotFoundError as e:
        raise ImportError("figures need matplotlib: pip install matplotlib") from e


def _lines(text: str) -> str:
    """Return text as every format of figures can hold it: XML has no control characters."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def _new_figure(width: float, height: float) -> "Figure":
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # which can measure text
    return figure


def _losses(training: "Training") -> list[float]:
    """Return all losses of a training."""
    epochs = training.epochs
    validation = (epoch.validation_loss for epoch in epochs)
    return [epoch.loss for epoch in epochs] + [loss for loss in validation if loss is not None]


def _make_logarithmic(axes: "Axes", decades: float) -> None:
    """Make the axis of losses logarithmic, with plain numbers at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_losses(axes: "Axes", prefix: str, training: "Training", color: str) -> None:
    epochs = training.epochs
    numbers = [epoch.number for epoch in epochs]
    marker = "o" if len(epochs) == 1 else None  # a line of one point cannot be seen
    losses = [epoch.loss for epoch in epochs]
    axes.plot(
        numbers, losses, marker=marker, markerfacecolor="white", color=color, linestyle="--",
        linewidth=1, label=f"{prefix}training",
    )  # fmt: skip
    _write_at(axes, numbers[-1], losses[-1], f"{prefix}training")
    best = epochs[training.best_epoch - 1] if training.best_epoch else None
    if best is None or best.validation_loss is None:
        return
    axes.plot(
        numbers,
        [epoch.validation_loss for epoch in epochs],
        marker="o",
        markevery=[training.best_epoch - 1],
        markersize=7,
        color=color,
        linewidth=1.6,
        label=f"{prefix}validation, {best.validation_loss:.3g} after epoch {best.number}",
    )
    text = f"{prefix}validation {best.validation_loss:.3g}"
    _write_at(axes, numbers[-1], epochs[-1].validation_loss, text)


def _draw_points(axes: "Axes", points: Sequence[Point]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    for family, (color, marker) in zip(
        dict.fromkeys(point.family for point in points), itertools.cycle(_STYLES), strict=False
    ):
        case = [point for point in points if point.family == family]
        axes.plot(
            [point.nbytes for point in case],
            [_inside(point.accuracy) for point in case],
            marker,
            color=color,
            markersize=13 if marker == "*" else 7,
            label=_lines(family),
        )
    axes.axhline(_inside(points[0].accuracy), color=BLACK, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("logit")
    sizes = [point.nbytes for point in points]
    levels = [_inside(point.accuracy) for point in points]
    axes.set_xlim(min(sizes) / 1.8, max(sizes) * 1.5)
    # Room above and below for labels, in odds because that is what a logit axis spreads evenly.
    odds = [level / (1 - level) for level in levels]
    low, high = min(odds) / 1.8, max(odds) * 1.6
    axes.set_ylim(low / (1 + low), high / (1 + high))
    ticks = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1024:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("file / KiB")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)


def _inside(accuracy: float) -> float:
    """Return an accuracy that a logit axis can show: 0 and 1 are infinitely far away on it."""
    return min(max(accuracy, 0.001), 0.999)


def _label(axes: "Axes", points: Sequence[Point]) -> None:
    """Write each label near its marker, where it covers neither marker nor label nor legend.

    Labels are few: the first place that is free will do.
    """
    from matplotlib.transforms import Bbox

    renderer = axes.figure.canvas.get_renderer()
    places = axes.transData.transform([(p.nbytes, _inside(p.accuracy)) for p in points])
    radius = 5 * axes.figure.dpi / 72
    taken = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in places]
    taken.append(axes.get_legend().get_window_extent(renderer))
    for point in points:
        text = axes.annotate(
            _lines(point.label),
            (point.nbytes, _inside(point.accuracy)),
            _OFFSETS[0],
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "0.5", "shrinkB": 3},
        )
        for offset in _OFFSETS:
            text.set_position(offset)
            text.update_positions(renderer)
            box = _text_box(text, renderer)
            if not any(box.overlaps(other) for other in taken) and _holds(axes.bbox, box):
                break
        else:
            text.set_position(_OFFSETS[0])
        if math.hypot(*text.xyann) < 13:  # so near that no line is needed
            text.arrow_patch.set_visible(False)
        taken.append(_text_box(text, renderer))


def _text_box(text: "Annotation", renderer: "RendererBase") -> "Bbox":
    # The box of an annotation would include its line.
    from matplotlib.text import Text

    return Text.get_window_extent(text, renderer).padded(6, 1)


def _holds(outer: "Bbox", box: "Bbox") -> bool:
    return bool(np.all(outer.min <= box.min) and np.all(box.max <= outer.max))


def _draw_flips(panel: "SubFigure", flips: Sequence[Flip], title: str) -> None:
    panel.suptitle(_lines(title))
    for axes, flip in itertools.zip_longest(panel.subplots(3, 3).flat, flips):
        axes.set_axis_off()
        if flip is not None:
            axes.imshow(flip.image, cmap="gray_r")
            axes.set_title(f"{printable(flip.truth)} → {printable(flip.answer)}", fontsize=10)
