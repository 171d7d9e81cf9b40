"""Codes that loaders open: matrices alone, in groups that divide every row."""

import pytest

from pyfq import PerGroup, PerRow
from pyfq.recipes import Quantize, QuantizeCodebook, Recipe, Rule, plan
from pyfq.recipes.loadable import loadable

COPY = Rule(("*norm*",))


def rule_of(shapes, quantize, **choices):
    recipe = Recipe((COPY, Rule(("*",), min_ndim=2, quantize=quantize)))
    return loadable(recipe, dict.fromkeys(shapes, "F32"), shapes, **choices).rules[-1]


@pytest.mark.parametrize(
    "cols, bits, expected",
    [
        ((384, 1536), 8, PerGroup(128)),
        ((384, 1536), 4, PerGroup(64)),
        ((576, 1536), 8, PerGroup(64)),
        ((96, 384), 4, PerGroup(32)),
        ((384, 80), 4, PerGroup(16)),
        ((384, 100), 4, PerRow()),
    ],
)
def test_groups_divide_every_row(cols, bits, expected):
    shapes = {f"{n}.weight": (64, n) for n in cols} | {"norm.weight": (64, 50)}
    assert rule_of(shapes, Quantize(bits)).quantize.granularity == expected


def test_what_was_asked_for_stays():
    shapes = {"a.weight": (64, 100)}
    quantize = Quantize(4, granularity=PerGroup(48))
    assert rule_of(shapes, quantize, groups=False, scales=False).quantize == quantize
    chosen = rule_of(shapes, quantize, groups=False).quantize
    assert (chosen.granularity, chosen.calibration, chosen.range) == (PerGroup(48), "als", "full")
    chosen = rule_of(shapes, Quantize(4, "affine")).quantize
    assert (chosen.scheme, chosen.calibration, chosen.range) == ("affine", "als", "narrow")


def test_scales_of_8_bits_are_those_of_the_range():
    assert rule_of({"a.weight": (64, 128)}, Quantize(8)).quantize == Quantize(8)


def test_kernels_and_other_names_stay_floats_beside_matrices():
    shapes = {"a.weight": (64, 128), "conv.weight": (16, 16, 3, 3), "in_proj": (48, 64)}
    recipe = Recipe((COPY, Rule(("*",), min_ndim=2, quantize=Quantize(4))))
    words = dict.fromkeys(shapes, "F32")
    found = {t.name: t.format for t in plan(words, shapes, loadable(recipe, words, shapes))}
    assert found == {"a.weight": "pack-quantized", "conv.weight": "copy", "in_proj": "copy"}


@pytest.mark.parametrize(
    "rule",
    [
        Rule(("*",), codebook=QuantizeCodebook("nf4")),
        Rule(("*",), quantize=Quantize(9)),
        Rule(("*",), quantize=Quantize(4, "minmax")),
        Rule(("*",), precision="bfloat16"),
    ],
)
def test_what_compressed_tensors_has_no_words_for_stays(rule):
    shapes = {"a.weight": (64, 128)}
    recipe = Recipe((rule,))
    assert loadable(recipe, {"a.weight": "F32"}, shapes) is recipe


def test_models_of_kernels_are_compressed_all_the_same():
    shapes = {"fc.weight": (10, 64), "conv.weight": (64, 64, 3, 3)}
    recipe = Recipe((Rule(("*",), min_ndim=2, quantize=Quantize(4)),))
    assert loadable(recipe, dict.fromkeys(shapes, "F32"), shapes) is recipe
