"""What ``pyfq inspect --plot`` draws: how the weights of a tensor are spread, and its levels."""

import argparse
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyfq import Codebook, Quantized, RateQuantized, plot
from pyfq._core.text import printable
from pyfq.cli._report import bytes_text, title_of, write_figure
from pyfq.cli._source import Source
from pyfq.exchange.floats import widen
from pyfq.exchange.globs import fnmatchcase
from pyfq.exchange.rule import FLOAT_WORDS
from pyfq.exchange.stored import decompress_tensor, restore_tensor
from pyfq.recipes import TensorPlan


class Spread(NamedTuple):
    """The numbers of a tensor, what its codes can stand for, and what both are called."""

    values: NDArray
    levels: NDArray | None
    unit: str


def tensor_for_plot(tensors: Mapping[str, TensorPlan], asked: str | None) -> TensorPlan:
    """Return the tensor that a glob names, or the one of most weights; compressed ones come first.

    Raises
    ------
    ValueError
        There is none, or not of floats.
    """
    found = [
        tensor
        for tensor in tensors.values()
        if tensor.word in FLOAT_WORDS and math.prod(tensor.shape)
        if asked is None or fnmatchcase(tensor.name, asked)
    ]
    if not found:
        named = "" if asked is None else f" that {asked!r} names"
        raise ValueError(f"there is no tensor of floats{named} to draw")
    return max(found, key=lambda tensor: (tensor.rule is not None, math.prod(tensor.shape)))


def draw_levels(args: argparse.Namespace, source: Source, tensor: TensorPlan) -> None:
    """Draw a tensor of a checkpoint."""
    with source.naming(next(iter(tensor.parts))):
        parts = {part: source[part] for part in tensor.parts}
        spread = spread_of(tensor, parts)
        method = tensor.word if tensor.rule is None else str(tensor.rule)
        size = f"{tensor.bits_per_weight:.3g} bits a weight, {bytes_text(tensor.nbytes_after)}"
        title = f"{title_of(printable(tensor.name))}\n{method}, {size}"
        figure = plot.histogram(
            spread.values, levels=spread.levels, xlabel=spread.unit, title=title
        )
    write_figure(figure, args.plot, args.command)


def spread_of(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> Spread:
    """Return what is drawn of a tensor: of codes with scales of many groups, codes."""
    form = restore_tensor(tensor, parts)
    if isinstance(form, Quantized):
        least = -(1 << form.bits - 1) if form.signed else 0
        codes, levels = form.codes, np.arange(least, least + (1 << form.bits))
        if form.scale.size > 1 or form.zero_point is not None or form.minimum is not None:
            return Spread(codes, levels, "code")
        return _scaled(codes, levels, form.scale)
    if isinstance(form, RateQuantized):
        codes = form.codes
        levels = np.arange(int(codes.min()), int(codes.max()) + 1)
        if form.scale.size > 1:
            return Spread(codes, levels, "code")
        return _scaled(codes, levels, form.scale)
    if isinstance(form, Codebook) and len(form.levels) == 1:
        return Spread(form.levels[0][form.codes], form.levels[0], "weight over its scale")
    floats = decompress_tensor(tensor, parts) if tensor.rule is not None else parts[tensor.name]
    return Spread(widen(floats, tensor.word), None, "weight")


def _scaled(codes: NDArray, levels: NDArray, scale: NDArray) -> Spread:
    """Return weights, and levels, of codes that share one scale."""
    one = scale.reshape(())
    return Spread(codes.astype(scale.dtype) * one, levels.astype(scale.dtype) * one, "weight")
