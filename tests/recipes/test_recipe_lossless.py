"""Recipes that pack floats: what is written, and that the same bits come back."""

import math

import numpy as np
import pytest

import pyfq
from pyfq import Network
from pyfq.exchange.manifest import read_manifest, write_manifest
from pyfq.exchange.stored import LOSSLESS
from pyfq.io.dtypes import DTYPES
from pyfq.recipes import (
    Coded,
    Factorize,
    Lossless,
    Prune,
    Quantize,
    QuantizeRate,
    Recipe,
    Rule,
    compress,
    compress_network,
    compress_tensor,
    decompress_tensor,
    examine,
    parse_recipe,
    plan,
    restore_tensor,
    undecided,
)
from pyfq.recipes.streams import Streams

WORDS = ("F64", "F32", "F16", "BF16", *(word for word in DTYPES if word.startswith("F8_")))
PACKED = Recipe((Rule(("*",), lossless=Lossless()),))


def numbers(word, shape=(64, 96), seed=0):
    """Return the bits of weights of a word; of 8 bits those of E5M2."""
    w = np.random.default_rng(seed).standard_normal(shape) * 0.03
    if word == "BF16":
        return (w.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if word.startswith("F8_"):
        return (w.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)
    return w.astype(DTYPES[word].carrier)


def bits_of(array):
    return array.view(f"u{array.itemsize}")


def packed(array, word, recipe=PACKED, **options):
    (one,) = compress({"a": array}, recipe, words={"a": word}, **options)
    return one


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("shape", [(64, 96), (1700,), (16, 12, 3, 3), (3, 1, 900)])
def test_the_same_bits_come_back(word, shape):
    w = numbers(word, shape)
    sign = 2 ** (8 * w.itemsize - 1)
    # +0, a denormal, -0, NaN of both signs with all of its bits
    bits_of(w).reshape(-1)[:5] = [0, 1, sign, sign - 1, 2 * sign - 1]
    one = packed(w, word)
    assert one.plan.format == LOSSLESS
    assert one.plan.nbytes_after < w.nbytes
    assert {part: (a.dtype, a.shape) for part, a in one.parts.items()} == {
        "a_stream": (np.uint8, (one.plan.nbytes_after,))
    }
    assert (one.sqnr, one.cosine, one.max_abs) == (math.inf, 1.0, 0.0)
    read = read_manifest(write_manifest([one.plan], "1"))["a"]
    assert read.parts == one.plan.parts
    for back in (restore_tensor(read, one.parts), decompress_tensor(read, one.parts)):
        np.testing.assert_array_equal(bits_of(back), bits_of(w), strict=True)
    dense = packed(w, word, dense=True)
    np.testing.assert_array_equal(bits_of(dense.parts["a"]), bits_of(w), strict=True)


@pytest.mark.parametrize("word", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("by", ["ratio", "nm"])
def test_what_was_pruned_takes_next_to_nothing(word, by):
    w = numbers(word, (256, 512))
    prune = Prune(by, 0.5 if by == "ratio" else (2, 4))
    recipe = Recipe((Rule(("*",), prune, lossless=Lossless()),))
    one, whole = packed(w, word, recipe), packed(w, word)
    assert (
        one.plan.nbytes_after < (0.53 if word in ("F64", "F32") else 0.56) * whole.plan.nbytes_after
    )
    assert one.zeros == pytest.approx(0.5, abs=0.01)
    (alone,) = compress({"a": w}, Recipe((Rule(("*",), prune),)), words={"a": word})
    back = decompress_tensor(one.plan, one.parts)
    np.testing.assert_array_equal(bits_of(back), bits_of(alone.parts["a"]), strict=True)
    dense = packed(w, word, recipe, dense=True)
    np.testing.assert_array_equal(bits_of(back), bits_of(dense.parts["a"]), strict=True)
    assert (one.sqnr, one.cosine) == (alone.sqnr, alone.cosine)


def test_floats_of_another_precision_are_packed():
    w = numbers("F32", (256, 512))
    recipe = Recipe((Rule(("*",), precision="bfloat16", lossless=Lossless()),))
    one = packed(w, "F32", recipe)
    assert one.plan.bits_per_weight < 10.7
    (alone,) = compress({"a": w}, Recipe((Rule(("*",), precision="bfloat16"),)))
    np.testing.assert_array_equal(restore_tensor(one.plan, one.parts), alone.parts["a"])
    back = decompress_tensor(one.plan, one.parts)
    np.testing.assert_array_equal(back, decompress_tensor(alone.plan, alone.parts), strict=True)


def test_what_would_not_get_smaller_is_copied():
    noise = np.random.default_rng(0).integers(0, 2**32, (64, 64), np.uint32).view(np.float32)
    one = packed(noise, "F32")
    assert one.plan.kept
    assert one.plan.reason.startswith("would grow")
    assert one.parts["a"] is noise


def test_floats_of_8_bits_are_taken_by_packing_alone():
    w = numbers("F8_E4M3")
    for rule in (
        Rule(("*",), Prune("ratio", 0.5), lossless=Lossless()),
        Rule(("*",), quantize=Quantize(4)),
    ):
        assert packed(w, "F8_E4M3", Recipe((rule,))).plan.reason == "dtype F8_E4M3"
    excluded = Recipe((Rule(("a",)), *PACKED.rules))
    assert packed(w, "F8_E4M3", excluded).plan.reason == "left out by 'a'"
    (ints,) = compress({"a": np.arange(9000)}, PACKED)
    assert ints.plan.reason == "dtype I64"


def test_a_first_pass_packs_and_a_second_takes_that():
    w = numbers("F32")
    words, shapes = {"a": "F32"}, {"a": w.shape}
    (rule,) = undecided(words, shapes, PACKED).values()
    streams = Streams(w.nbytes)
    finding = examine("a", "F32", w, rule, streams=streams)
    assert finding.coded == Coded(pyfq.lossless_encode(w).size)
    (tensor,) = plan(words, shapes, PACKED, decided={"a": rule.with_coded(finding.coded)})
    made = compress_tensor(tensor, w, streams)
    again = compress_tensor(tensor, w, streams)
    np.testing.assert_array_equal(made.parts["a_stream"], again.parts["a_stream"], strict=True)
    with pytest.raises(ValueError, match="that a first pass found"):
        compress_tensor(tensor, w * w)


def test_recipes_say_lossless():
    recipe = parse_recipe({"rule": [{"match": "*", "lossless": True}]})
    assert recipe == PACKED
    assert recipe.settings() == {"rule": [{"match": ["*"], "lossless": True}]}
    for said in (False, 3, "yes", {"bits": 3}, {"found": {}}, {"found": {"nbytes": 9, "step": 2}}):
        with pytest.raises(ValueError, match=r"rule 1 \('\*'\): lossless"):
            parse_recipe({"rule": [{"match": "*", "lossless": said}]})
    with pytest.raises(ValueError, match="nbytes alone"):
        Lossless(Coded(9, 0.5))
    with pytest.raises(TypeError, match="found must be a Coded"):
        Lossless(9)


@pytest.mark.parametrize(
    "other",
    [{"quantize": Quantize(4)}, {"rate": QuantizeRate(3)}, {"lowrank": Factorize(ratio=0.5)}],
)
def test_codes_and_factors_are_not_packed(other):
    with pytest.raises(ValueError, match="lossless do not go together"):
        Rule(("*",), lossless=Lossless(), **other)


def test_streams_of_other_tensors_are_refused():
    one, other = packed(numbers("F32"), "F32"), packed(numbers("F32", (96, 64)), "F32")
    stream = other.parts["a_stream"]
    tensor = plan({"a": "F32"}, {"a": (64, 96)}, PACKED,
                  decided={"a": one.plan.rule.with_coded(Coded(stream.size))})[0]  # fmt: skip
    with pytest.raises(ValueError, match=r"'a_stream': expected float32 \[64, 96\], not"):
        decompress_tensor(tensor, {"a_stream": stream})


def test_networks_keep_arrays():
    network = Network.create((64, 32, 10))
    again = compress_network(network, PACKED)
    for layer, its in zip(network.layers, again.layers, strict=True):
        np.testing.assert_array_equal(layer.weights, its.weights, strict=True)
