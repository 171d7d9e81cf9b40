"""Recipes of entropy-coded weights: what is written, what comes back, and budgets of steps."""

import math
from dataclasses import replace

import numpy as np
import pytest

import pyfq
from pyfq import Network, PerRow, PerTensor, RateQuantized
from pyfq.exchange.floats import narrow, widen
from pyfq.exchange.manifest import read_manifest, write_manifest
from pyfq.exchange.methods.rate import TRADEOFFS
from pyfq.exchange.stored import ENTROPY
from pyfq.io.dtypes import word_of
from pyfq.recipes import (
    Budget,
    Coded,
    Factorize,
    Prune,
    Quantize,
    QuantizeCodebook,
    QuantizeRate,
    Recipe,
    Rule,
    compress,
    compress_network,
    compress_tensor,
    decide,
    decompress_tensor,
    encode,
    examine,
    parse_recipe,
    plan,
    restore_tensor,
    undecided,
)
from pyfq.recipes.steps import sketch
from pyfq.recipes.streams import Streams

SLACK = 0.005


def weights(shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).laplace(size=shape).astype(dtype)


def in_word(w, word):
    return narrow(w.astype(np.float64 if word == "F64" else np.float32), word)


def of_rate(*arguments, **settings):
    prune = settings.pop("prune", None)
    return Recipe((Rule(("*",), prune=prune, rate=QuantizeRate(*arguments, **settings)),))


def of_budget(budget, **settings):
    rule = Rule(("*.weight",), rate=QuantizeRate("budget", **settings))
    return Recipe((rule,), budget)


RECIPES = {
    "bits": of_rate(3.5),
    "step": of_rate(step=0.25, trellis=4),
    "sqnr": of_rate(sqnr=15.0, trellis=None),
    "rows": of_rate(4, granularity=PerRow()),
    "rows alone": of_rate(step=0.5, granularity=PerRow(), trellis=None, tradeoff=0.0),
    "pruned": of_rate(3, trellis=None, prune=Prune("ratio", 0.6)),
    "channels": of_rate(3, trellis=None, prune=Prune("nm", (2, 4), along="channels")),
}


@pytest.mark.parametrize("word", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("how", RECIPES)
def test_dense_is_what_decompress_returns(how, word):
    array = in_word(weights((48, 80)), word)
    words = {"a.weight": word}
    (packed,) = compress({"a.weight": array}, RECIPES[how], words=words)
    (dense,) = compress({"a.weight": array}, RECIPES[how], words=words, dense=True)
    assert packed.plan.format == ENTROPY
    found = {part: (word_of(x.dtype), x.shape) for part, x in packed.parts.items()}
    assert found == packed.plan.parts
    (read,) = read_manifest(write_manifest([packed.plan], "1")).values()
    assert (read.parts, read.format) == (packed.plan.parts, packed.plan.format)
    restored = decompress_tensor(read, packed.parts)
    assert restored.dtype == array.dtype
    np.testing.assert_array_equal(restored, dense.parts["a.weight"])
    assert packed.sqnr == packed.plan.rule.rate.found.sqnr
    error = pyfq.distortion(widen(array, word), widen(restored, word))
    assert packed.sqnr == pytest.approx(error.sqnr, abs=0.2)
    if "rune" in how or how == "channels":
        assert (restored == 0).mean() >= 0.5


def test_parts_are_those_of_quantize_rate():
    w = weights((40, 96))
    for granularity, shape in ((PerTensor(), (1,)), (PerRow(), (40, 1))):
        (tensor,) = compress({"w": w}, of_rate(3.0, granularity=granularity))
        made = pyfq.quantize_rate(w, 3.0, granularity=granularity, tradeoff=TRADEOFFS[8])
        assert tensor.plan.parts == {
            "w_scale": ("F32", shape),
            "w_stream": ("U8", (made.stream.size,)),
        }
        np.testing.assert_array_equal(tensor.parts["w_stream"], made.stream)
        np.testing.assert_array_equal(tensor.parts["w_scale"].reshape(-1), made.scale.reshape(-1))
        assert tensor.plan.nbytes_after == made.nbytes
        form = restore_tensor(tensor.plan, tensor.parts)
        assert isinstance(form, RateQuantized)
        np.testing.assert_array_equal(form.codes, made.codes)
        np.testing.assert_array_equal(form.to_quantized().codes, made.codes)


@pytest.mark.parametrize("shape", [(300,), (3, 24, 40), (24, 10, 3, 3), (2, 3, 16, 40)])
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
def test_tensors_of_any_shape_have_rows(shape, granularity):
    w = weights(shape)
    recipe = of_rate(6, granularity=granularity)
    (tensor,) = compress({"w": w}, recipe)
    (dense,) = compress({"w": w}, recipe, dense=True)
    assert tensor.plan.rule is not None
    np.testing.assert_array_equal(decompress_tensor(tensor.plan, tensor.parts), dense.parts["w"])
    if granularity == PerRow() and len(shape) > 1:
        rows = w.size // shape[-1] if tensor.plan.rule.rows == "leading" else shape[0]
        assert tensor.plan.parts["w_scale"] == ("F32", (rows, 1))


@pytest.mark.parametrize("asked", [{"bits": 4}, {"sqnr": 20}, {"step": 0.1}])
@pytest.mark.parametrize("trellis", [8, None])
def test_thin_tensors_whose_scales_are_as_large_are_copied(asked, trellis):
    model = {"gate.weight": weights((8192, 1)), "fc.weight": weights((256, 256))}
    recipe = of_rate(**asked, granularity=PerRow(), trellis=trellis)
    gate, fc = compress(model, recipe)
    assert gate.plan.reason == "would grow from 32768 to 32800 bytes"
    assert gate.plan.format == "copy"
    assert fc.plan.format == ENTROPY


def test_a_budget_copies_thin_tensors():
    model = {"gate.weight": weights((8192, 1)), "fc.weight": weights((512, 512))}
    gate, fc = compress(model, of_budget(Budget(8.0), granularity=PerRow()))
    assert (gate.plan.format, fc.plan.format) == ("copy", ENTROPY)


def test_what_would_get_no_smaller_is_copied():
    (zeros,) = compress({"w": np.zeros((64, 64), np.float32)}, of_rate(2.0))
    assert zeros.plan.rule is not None
    assert not decompress_tensor(zeros.plan, zeros.parts).any()
    for w in (np.ones((1, 1), np.float32), np.array(2.0, np.float32)):
        (tensor,) = compress({"w": w}, of_rate(step=0.5))
        assert tensor.plan.rule is None
        assert "would grow" in tensor.plan.reason


def test_rows_of_zeros_stay_zeros():
    w = weights((32, 64))
    w[::3] = 0
    for granularity in (PerTensor(), PerRow()):
        (tensor,) = compress({"w": w}, of_rate(4, trellis=None, granularity=granularity))
        assert not decompress_tensor(tensor.plan, tensor.parts)[::3].any()


def test_settings_come_back():
    recipe = parse_recipe(
        {
            "rule": [
                {"match": "a", "rate": {"bits": 2.5}},
                {"match": "b", "rate": {"step": 0.1, "trellis": "none", "per": "row"}},
                {"match": "c", "rate": {"sqnr": 20, "trellis": 4, "tradeoff": 0.2}},
                {"match": "d", "prune": {"ratio": 0.5}, "rate": {"bits": 2}},
                {"match": "*", "rate": "budget"},
            ],
            "budget": {"nbytes": 10**6, "exponent": 0.5, "sensitivity": {"*": 2.0}},
        }
    )
    assert parse_recipe(recipe.settings()) == recipe
    rates = [rule.rate for rule in recipe.rules]
    assert rates[0] == QuantizeRate(2.5)
    assert rates[1] == QuantizeRate(step=0.1, trellis=None, granularity=PerRow())
    assert rates[3].trellis is None
    assert recipe.chooses_steps
    assert [str(rate) for rate in rates] == [
        "rate 2.5 bits per tensor, trellis 8",
        "rate step 0.1 per row",
        "rate 20 dB per tensor, trellis 4",
        "rate 2 bits per tensor",
        "rate of the budget per tensor, trellis 8",
    ]


@pytest.mark.parametrize(
    "rule, message",
    [
        ({"rate": {"bits": 2.5, "step": 1.0}}, "one of bits, step, sqnr must be given"),
        ({"rate": {}}, "not none of them"),
        ({"rate": {"bits": 2, "trellis": 3}}, "trellis must be 8, 4 or 'none', not 3"),
        ({"rate": {"bits": 2, "per": "column"}}, "per must be 'tensor' or 'row'"),
        ({"rate": {"bits": 2, "group_size": 64}}, "unknown key 'group_size'"),
        ({"rate": {"bits": "much"}}, "bits must be a number or 'budget'"),
        ({"rate": {"bits": 99}}, "bits must be 0 ... 16"),
        ({"rate": {"bite": 2}}, "did you mean 'bits'"),
        ({"rate": {"bits": 2, "found": {"step": 1.0}}}, "nbytes is missing"),
        ({"rate": "budget"}, "bits = 'budget' needs a budget"),
        ({"rate": {"bits": 2}, "quantize": {"bits": 2}}, "both make codes"),
        ({"rate": {"bits": 2}, "codebook": "nf4"}, "both make codes"),
        ({"rate": {"bits": 2}, "lowrank": {"rank": 2}}, "do not go together"),
        ({"rate": {"bits": 2}, "precision": "float16"}, "what is stored is codes"),
        (
            {"rate": {"bits": 2, "trellis": 8}, "prune": {"ratio": 0.5}},
            "half of its states have no code for 0",
        ),
    ],
)
def test_recipes_refuse_what_does_not_go(rule, message):
    with pytest.raises(ValueError) as refused:
        parse_recipe({"rule": [{"match": "*"} | rule]})
    assert message in str(refused.value)


def test_budgets_choose_widths_or_steps():
    one = Rule(("a",), rate=QuantizeRate("budget"))
    other = Rule(("*",), quantize=Quantize("budget"))
    with pytest.raises(ValueError, match=r"rule 2: .* a budget chooses widths or steps"):
        Recipe((one, other), Budget(4))
    with pytest.raises(ValueError, match="must not be 0 for rate"):
        Recipe((one,), Budget(4, sensitivity=(("*", 0.0),)))
    with pytest.raises(ValueError, match="and not both"):
        Budget(4, nbytes=10)
    with pytest.raises(ValueError, match=r"exponent must be 0 \.\.\. 1"):
        Budget(4, exponent=2)
    with pytest.raises(ValueError, match="bits_per_weight is missing, or nbytes"):
        parse_recipe({"rule": [{"match": "*", "rate": "budget"}], "budget": {}})


def model():
    shapes = {"a": (400, 96), "b": (192, 384), "c": (64, 64), "d": (16, 32, 3, 3)}
    tensors = {f"{n}.weight": 0.1 * (i + 1) * weights(s) for i, (n, s) in enumerate(shapes.items())}
    return tensors | {"bias": weights((96,)), "ids": np.arange(40)}


def used_bits(tensors):
    done = [tensor.plan for tensor in tensors if tensor.plan.rule or tensor.plan.kept]
    return 8 * sum(t.nbytes_after for t in done) / sum(math.prod(t.shape) for t in done)


@pytest.mark.parametrize("bits", [1.3, 2.5, 4.25, 9])
@pytest.mark.parametrize("how", [{}, {"trellis": None, "granularity": PerRow()}])
def test_a_budget_is_met_by_real_bytes(bits, how):
    tensors = list(compress(model(), of_budget(Budget(bits), **how)))
    assert (1 - SLACK) * bits <= used_bits(tensors) <= bits
    again = list(compress(model(), of_budget(Budget(bits), **how)))
    for one, other in zip(tensors, again, strict=True):
        for part, array in one.parts.items():
            np.testing.assert_array_equal(array, other.parts[part])


@pytest.mark.parametrize("codes", ["rate", "quantize"])
def test_a_budget_of_bytes_counts_copies(codes):
    how = {"rate": QuantizeRate("budget"), "quantize": Quantize("budget")}[codes]
    recipe = Recipe((Rule(("*.weight",), **{codes: how}),), Budget(nbytes=60_000))
    total = sum(tensor.plan.nbytes_after for tensor in compress(model(), recipe))
    assert total <= 60_000
    assert codes == "quantize" or total >= (1 - SLACK) * 60_000
    copied = 96 * 4 + 40 * 8
    with pytest.raises(ValueError, match=f"nbytes of the budget must be .* copies have {copied}"):
        list(compress(model(), Recipe(recipe.rules, Budget(nbytes=copied + 8))))


def test_a_budget_leaves_what_other_rules_take():
    fixed = Rule(("a.*",), quantize=Quantize(8))
    recipe = Recipe((fixed, Rule(("*.weight",), rate=QuantizeRate("budget"))), Budget(4.0))
    tensors = list(compress(model(), recipe))
    assert 4 * (1 - SLACK) <= used_bits(tensors) <= 4
    assert tensors[0].plan.format == "int-quantized"
    asked = Rule(("a.*",), rate=QuantizeRate(5.0))
    tensors = list(compress(model(), Recipe((asked, recipe.rules[1]), Budget(4.0))))
    assert 4 * (1 - SLACK) <= used_bits(tensors) <= 4
    assert tensors[0].plan.bits_per_weight == pytest.approx(5, rel=0.02)


def test_steps_follow_one_slope():
    """The step of all times a root mean square, a power of a size, and 1 / sqrt(h)."""
    sensitivity = (("b.*", 4.0),)
    for budget in (
        Budget(3, sensitivity=sensitivity, exponent=0.3),
        Budget(3, error="absolute", sensitivity=sensitivity),
    ):
        plans = [t.plan for t in compress(model(), of_budget(budget)) if t.plan.rule]
        bases = []
        for tensor in plans:
            w = model()[tensor.name].astype(np.float64)
            share = 1 / math.sqrt(budget.sensitivity_of(tensor.name))
            if budget.error == "relative":
                share *= math.sqrt(np.square(w).mean()) * w.size**budget.exponent
            bases.append(tensor.rule.rate.found.step / share)
        assert bases == pytest.approx([bases[0]] * len(bases), rel=2**-11)


def test_more_bits_than_codes_can_have_are_left_over():
    tensors = list(compress(model(), of_budget(Budget(30, error="relative"))))
    assert 12 < used_bits(tensors) < 18
    assert all(tensor.sqnr > 75 for tensor in tensors if tensor.plan.rule)


def test_a_budget_that_is_too_small_is_refused():
    for bits in (0.001, 0.015):  # less than headers, and than streams of zeros
        with pytest.raises(ValueError, match="bits_per_weight of the budget must be at least"):
            list(compress(model(), of_budget(Budget(bits))))


def test_a_budget_that_other_rules_take_is_refused():
    rules = Rule(("a.*",), rate=QuantizeRate(10)), Rule(("*.weight",), rate=QuantizeRate("budget"))
    with pytest.raises(ValueError, match="bits_per_weight of the budget must be at least"):
        list(compress(model(), Recipe(rules, Budget(1.0))))


def test_undecided_examine_and_decide_do_what_compress_does():
    tensors, recipe = model(), of_budget(Budget(3.0))
    words = {name: word_of(w.dtype) for name, w in tensors.items()}
    shapes = {name: w.shape for name, w in tensors.items()}
    rules = undecided(words, shapes, recipe)
    findings = {
        name: examine(name, words[name], tensors[name], rule, recipe.budget)
        for name, rule in rules.items()
    }
    with pytest.raises(ValueError, match="coded must be given"):
        decide(words, shapes, recipe, findings)

    def coded(name, rule, sampled):
        return encode(name, words[name], tensors[name], rule, sampled=sampled)

    decided = decide(words, shapes, recipe, findings, coded)
    plans = plan(words, shapes, recipe, decided=decided)
    made = list(compress(tensors, recipe))
    assert [tensor.plan for tensor in made] == plans
    for tensor, ready in zip(plans, made, strict=True):
        parts = compress_tensor(tensor, tensors[tensor.name]).parts
        for part, array in ready.parts.items():
            np.testing.assert_array_equal(parts[part], array)


def test_a_tensor_that_changed_is_refused():
    (made,) = compress({"w": weights((64, 64))}, of_rate(3.0))
    with pytest.raises(ValueError, match=r"'w' cannot be compressed .* that a first pass found"):
        compress_tensor(made.plan, weights((64, 64), seed=1))
    with pytest.raises(ValueError, match="its rule leaves a rank or bits open"):
        plan({"w": "F32"}, {"w": (64, 64)}, of_rate(3.0))


def test_what_is_not_finite_is_refused():
    w = weights((64, 64))
    w[3, 5] = np.nan
    for recipe in (of_rate(3.0), of_budget(Budget(3.0))):
        with pytest.raises(ValueError, match=r"tensor 'a\.weight' cannot be compressed as asked"):
            list(compress({"a.weight": w}, recipe))


def test_numbers_whose_squares_overflow_are_refused_by_a_budget():
    with pytest.raises(ValueError, match=r"'a\.weight' cannot .* squares are finite"):
        list(compress({"a.weight": 1e200 * weights((64, 64), np.float64)}, of_budget(Budget(3))))


def test_damaged_parts_are_refused():
    (made,) = compress({"w": weights((64, 64))}, of_rate(3.0))
    stream, scale = made.parts["w_stream"], made.parts["w_scale"]
    for name, part, message in (
        ("w_stream", stream[:-4], "expected U8"),
        ("w_stream", np.zeros_like(stream), "tensor 'w_stream'"),
        ("w_scale", scale * np.inf, "expected finite numbers"),
        ("w_scale", None, "is missing"),
    ):
        parts = {k: v for k, v in (made.parts | {name: part}).items() if v is not None}
        with pytest.raises(ValueError, match=message):
            decompress_tensor(made.plan, parts)
    flipped = stream.copy()
    flipped[-9] ^= 1
    with pytest.raises(ValueError):
        decompress_tensor(made.plan, made.parts | {"w_stream": flipped})
    other = replace(made.plan.rule, rate=replace(made.plan.rule.rate, trellis=4))
    with pytest.raises(ValueError, match="expected trellis 4, not 8"):
        restore_tensor(replace(made.plan, rule=other), made.parts)
    (turned,) = compress({"w": weights((32, 128))}, of_rate(3.0))
    parts = {"w_scale": scale, "w_stream": turned.parts["w_stream"]}
    shape = {"w_scale": ("F32", (1,)), "w_stream": ("U8", parts["w_stream"].shape)}
    with pytest.raises(ValueError, match="must hold codes of shape"):
        restore_tensor(replace(made.plan, parts=shape), parts)


def test_manifests_refuse_what_is_not_known():
    (made,) = compress({"w": weights((64, 64))}, of_rate(3.0))
    text = write_manifest([made.plan], "1")
    assert '"found":{"nbytes":' in text
    for change in (('"found":{"nbytes":', '"found":{"nbytes":-'), ('"found"', '"fund"')):
        with pytest.raises(ValueError, match="entry 'pyfq': 'w'"):
            read_manifest(text.replace(*change))
    before, _, after = text.partition(',"found":{')
    with pytest.raises(ValueError, match="nothing undecided"):
        read_manifest(before + after[after.index("}") + 1 :])


def test_networks_get_streams():
    network = Network.create((96, 80, 10), seed=3)
    small = compress_network(network, of_budget(Budget(5.0)))
    assert all(isinstance(layer.weights, RateQuantized) for layer in small.layers)
    nbytes = sum(layer.weights.nbytes for layer in small.layers)
    assert 8 * nbytes / (96 * 80 + 800) <= 5
    codes = small.map_weights(lambda w: w).layers  # arrays
    x = weights((7, 96))
    np.testing.assert_allclose(
        small.forward(x), replace(network, layers=codes).forward(x), rtol=1e-5, atol=1e-5
    )
    mixed = Recipe(
        (Rule(("layers.0.*",), rate=QuantizeRate(4.0)), Rule(("*",), lowrank=Factorize(ratio=0.25)))
    )
    assert [type(layer.weights).__name__ for layer in compress_network(network, mixed).layers] == [
        "RateQuantized",
        "LowRank",
    ]


def test_sketches_tell_peaks_and_entropies():
    w = weights((512, 64))
    rate = QuantizeRate("budget")
    found = sketch(w, rate)
    assert found.rms == pytest.approx(math.sqrt(np.square(w, dtype=np.float64).mean()))
    assert found.peak * found.rms == pytest.approx(np.abs(w).max())
    _, counts = np.unique(np.rint(w / found.rms), return_counts=True)
    parts = counts / w.size
    entropy = -(parts * np.log2(parts)).sum()
    assert found.bits_at(found.rms / 2, rate) == pytest.approx(entropy)  # of every second step
    assert found.bits_at(found.rms, replace(rate, trellis=None)) == pytest.approx(entropy)
    fine = found.rms * 2.0**-12
    assert found.bits_at(fine / 2, rate) == pytest.approx(found.bits_at(fine, rate) + 1)
    rows = sketch(
        w * np.arange(512)[:, None].astype(np.float32), replace(rate, granularity=PerRow())
    )
    peaks = np.abs(w).max(axis=1)[1:] / np.sqrt(np.square(w, dtype=np.float64).mean(axis=1))[1:]
    assert rows.peak == pytest.approx(peaks.max())
    assert rows.bits == pytest.approx(found.bits, abs=0.2)
    assert sketch(np.zeros((4, 4), np.float32), rate).rms == 0


def test_streams_keep_as_many_as_fit():
    one = pyfq.quantize_rate(weights((64, 64)), step=0.5)
    coded = Coded(one.stream.size, 0.5)
    streams = Streams(one.nbytes)
    streams.keep("a", one)
    streams.keep("b", one)
    assert streams.take("b", coded) is None
    assert streams.take("a", coded) is one
    assert streams.take("a", coded) is None
    streams.keep("b", one)
    assert streams.take("b", replace(coded, step=0.25)) is None
    streams.keep("b", one)
    streams.keep("b", one)
    assert streams.take("b", coded) is one


def test_the_codebook_of_a_budget_has_no_steps():
    recipe = Recipe((Rule(("*",), codebook=QuantizeCodebook("lloyd", "budget")),), Budget(4))
    assert not recipe.chooses_steps


def test_results_do_not_depend_on_threads():
    with pyfq.num_threads(1):
        alone = list(compress(model(), of_budget(Budget(2.5))))
    for one, other in zip(alone, compress(model(), of_budget(Budget(2.5))), strict=True):
        assert one.plan == other.plan
        for part, array in one.parts.items():
            np.testing.assert_array_equal(array, other.parts[part])
