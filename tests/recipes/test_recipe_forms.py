"""Recipes beyond codes: low rank, codebooks, precision, budgets, and networks."""

import itertools
import math
import re

import numpy as np
import pytest

import pyfq
from pyfq import PerGroup, PerRow, PerTensor
from pyfq.arrays.quantize import SCHEMES
from pyfq.cli import main
from pyfq.exchange.floats import narrow, store, widen
from pyfq.exchange.manifest import read_manifest, write_manifest
from pyfq.exchange.methods.precision import PRECISIONS
from pyfq.io import open_checkpoint, write_npz, write_safetensors
from pyfq.io.dtypes import word_of
from pyfq.recipes import (
    Budget,
    Factorize,
    Prune,
    Quantize,
    QuantizeCodebook,
    Recipe,
    Rule,
    compress,
    compress_network,
    compress_tensor,
    decide,
    decompress_tensor,
    examine,
    plan,
    restore_tensor,
    undecided,
)

NAMES = {"F16": "float16", "BF16": "bfloat16"}


def weights(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def in_word(w, word):
    return narrow(w.astype(np.float64 if word == "F64" else np.float32), word)


def rule(**methods):
    return Rule(("*",), **methods)


# Every form, some as they are decided only by the data.
RULES = {
    "nf4": rule(codebook=QuantizeCodebook("nf4")),
    "fp4": rule(codebook=QuantizeCodebook("fp4", granularity=PerTensor())),
    "log2": rule(codebook=QuantizeCodebook("log2", 5, PerRow())),
    "lloyd": rule(codebook=QuantizeCodebook("lloyd", 3, seed=1)),
    "lloyd row": rule(codebook=QuantizeCodebook("lloyd", 2, PerRow(), "linear")),
    "lloyd tensor": rule(codebook=QuantizeCodebook("lloyd", 1, PerTensor())),
    "levels": rule(codebook=QuantizeCodebook((-1.0, 0.0, 0.25, 1.0, 1.5), granularity=PerGroup(7))),
    "pruned": rule(prune=Prune("nm", (2, 4)), codebook=QuantizeCodebook("nf4")),
    "mse": rule(codebook=QuantizeCodebook("log2", 3, PerRow(), calibration="mse")),
    "double": rule(codebook=QuantizeCodebook("nf4", calibration="mse", scale_bits=8)),
    "double lloyd": rule(
        codebook=QuantizeCodebook(
            "lloyd", 3, PerGroup(2), "quantile", calibration="mse", scale_bits=5
        )
    ),
    "double tensor": rule(codebook=QuantizeCodebook("fp4", None, PerTensor(), scale_bits=16)),
    "rank": rule(lowrank=Factorize(3)),
    "ratio": rule(lowrank=Factorize(ratio=0.5), precision="bfloat16"),
    "random": rule(lowrank=Factorize(4, method="randomized", seed=7), precision="float16"),
    "factors": rule(lowrank=Factorize(4), quantize=Quantize(8, "affine", PerGroup(3))),
    "residual": rule(lowrank=Factorize(2, residual=Quantize(3, "minmax")), precision="float32"),
    "both": rule(lowrank=Factorize(2, residual=Quantize(2)), quantize=Quantize(6)),
    "bfloat16": rule(precision="bfloat16"),
    "float16": rule(prune=Prune("ratio", 0.5), precision="float16"),
    "float32": rule(precision="float32"),
    "float64": rule(precision="float64"),
}


@pytest.mark.parametrize("word", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("how", RULES)
def test_dense_is_what_decompress_returns(how, word):
    array = in_word(weights((24, 40)), word)
    recipe, words, shapes = Recipe((RULES[how],)), {"a.weight": word}, {"a.weight": (24, 40)}
    (packed,) = plan(words, shapes, recipe)
    (dense,) = plan(words, shapes, recipe, dense=True)
    (values,) = compress_tensor(dense, array).parts.values()
    compressed = compress_tensor(packed, array)
    found = {part: x.shape for part, x in compressed.parts.items()}
    assert found == {part: shape for part, (_, shape) in packed.parts.items()}
    for part, x in compressed.parts.items():
        assert word_of(x.dtype) == packed.parts[part][0].replace("BF16", "U16")
    (read,) = read_manifest(write_manifest([packed], "1")).values()
    assert (read.parts, read.format) == (packed.parts, packed.format)
    restored = decompress_tensor(read, compressed.parts)
    assert restored.dtype == array.dtype
    np.testing.assert_array_equal(restored, values)
    assert compressed.sqnr == pytest.approx(
        pyfq.distortion(widen(array, word), widen(restored, word)).sqnr, abs=0.2
    )


@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 10), (6, 13)])
@pytest.mark.parametrize(
    "how",
    [
        *("nf4", "fp4", "log2", "lloyd", "lloyd row", "bfloat16"),
        *("mse", "double", "double lloyd", "double tensor"),
    ],
)
def test_codebooks_and_precision_are_of_any_shape(how, shape):
    w = weights(shape)
    (tensor,) = compress({"w": w}, Recipe((RULES[how],)))
    assert {part: x.shape for part, x in tensor.parts.items()} == {
        part: shape for part, (_, shape) in tensor.plan.parts.items()
    }
    (dense,) = compress({"w": w}, Recipe((RULES[how],)), dense=True)
    np.testing.assert_array_equal(decompress_tensor(tensor.plan, tensor.parts), dense.parts["w"])


def test_codebook_parts_are_those_of_quantize_codebook():
    w = weights((8, 128))
    (tensor,) = compress({"w": w}, Recipe((RULES["nf4"],)))
    q = pyfq.quantize_codebook(w, "nf4")
    assert list(tensor.parts) == ["w_packed", "w_levels", "w_scale"]
    np.testing.assert_array_equal(tensor.parts["w_packed"], q.packed, strict=True)
    np.testing.assert_array_equal(tensor.parts["w_levels"], q.levels, strict=True)
    np.testing.assert_array_equal(tensor.parts["w_scale"], q.scale, strict=True)
    assert tensor.plan.bits_per_weight == 4 + 32 / 64 + 16 * 32 / w.size


def test_scales_in_codes_are_those_of_quantize_codebook():
    w = weights((24, 40))  # 480 scales: two blocks, of 256 and 224
    (tensor,) = compress({"w": w}, Recipe((RULES["double lloyd"],)))
    how = {"calibration": "mse", "scale_bits": 5, "initialization": "quantile"}
    q = pyfq.quantize_codebook(w, "lloyd", 3, granularity=PerGroup(2), **how)
    parts = {name: x.shape for name, x in tensor.parts.items()}
    assert parts == {
        "w_packed": (24, 15),
        "w_levels": (1, 8),
        "w_scale_packed": (300,),
        "w_scale_scale": (2,),
        "w_scale_minimum": (2,),
    }
    assert tensor.plan.nbytes_after == q.nbytes == 24 * 15 + 32 + 300 + 16
    restored = restore_tensor(tensor.plan, tensor.parts)
    for name in ("packed", "levels", "scale"):
        np.testing.assert_array_equal(getattr(restored, name), getattr(q, name), strict=True)
    np.testing.assert_array_equal(restored.dequantize(), q.dequantize(), strict=True)


def test_a_budget_counts_scales_in_codes():
    w = weights((64, 128))
    asking = rule(codebook=QuantizeCodebook("lloyd", "budget", scale_bits=8))
    for trial in examine("w", "F32", w, asking, Budget(4, (2, 5))).trials:
        q = pyfq.quantize_codebook(w, "lloyd", trial.bits, scale_bits=8)
        assert trial.nbytes == q.nbytes
        assert trial.error == pytest.approx(10 ** (-q.error(w).sqnr / 10), rel=1e-12)


def test_factors_are_those_of_svd_lowrank():
    w = weights((24, 40))
    (tensor,) = compress({"w": w}, Recipe((rule(lowrank=Factorize(ratio=0.5)),)))
    low = pyfq.svd_lowrank(w, ratio=0.5)
    assert str(tensor.plan.rule) == f"low rank {low.rank}"
    np.testing.assert_array_equal(tensor.parts["w_u"], low.u, strict=True)
    np.testing.assert_array_equal(tensor.parts["w_v"], low.v, strict=True)
    assert tensor.sqnr == pytest.approx(-20 * math.log10(low.error), abs=1e-3)


def test_the_residual_is_of_the_factors_as_they_are_stored():
    w = weights((24, 40))
    (tensor,) = compress({"w": w}, Recipe((RULES["both"],)))
    low = restore_tensor(tensor.plan, tensor.parts)
    product = pyfq.matmul(low.u.dequantize(), low.v.dequantize())
    again = pyfq.quantize(w - product, 2, granularity=PerGroup(128))
    np.testing.assert_array_equal(low.residual.codes, again.codes)
    np.testing.assert_array_equal(low.residual.scale, again.scale)


@pytest.mark.parametrize(
    ("lowrank", "shape", "message"),
    [
        (Factorize(16), (24, 40), "rank 16 .* than 24 x 40: the largest rank that saves is 14"),
        (Factorize(ratio=1.0), (4, 4), "rank 2 takes no fewer multiplications than 4 x 4"),
        (Factorize(1), (1, 9), "no rank saves any"),
        (Factorize(9, residual=Quantize(16)), (24, 40), "would grow from 3840 to 4336 bytes"),
    ],
)
def test_factors_that_do_not_pay_are_a_copy_before_the_data(lowrank, shape, message):
    recipe = Recipe((rule(lowrank=lowrank, precision="float32"),))
    for dense in (False, True):
        [tensor] = plan({"a.weight": "F32"}, {"a.weight": shape}, recipe, dense=dense)
        assert (tensor.rule, tensor.kept) == (None, True)
        assert re.search(message, tensor.reason)
    layers = pyfq.Network.create((64, 32))
    with pytest.raises(ValueError, match=r"'layers.0.weight' .* lowrank: rank 32 takes no fewer"):
        compress_network(layers, Recipe((rule(lowrank=Factorize(32)),)))


@pytest.mark.parametrize("lowrank", [Factorize(1), Factorize(ratio=0.5), Factorize(energy=0.5)])
def test_factors_of_a_vector_are_refused(lowrank):
    with pytest.raises(ValueError, match=r"'w' .* not of shape \(5,\): min_ndim = 2 in the rule"):
        list(compress({"w": weights((5,))}, Recipe((rule(lowrank=lowrank),))))


@pytest.mark.parametrize("asked", [{"energy": 0.6}, {"tolerance": 0.7}])
@pytest.mark.parametrize("method", ["exact", "randomized"])
def test_ranks_by_error_are_found_in_a_first_pass(asked, method):
    model = {"w": weights((24, 40)), "v": weights((30, 50), seed=1)}
    recipe = Recipe((rule(lowrank=Factorize(**asked, method=method)),))
    with pytest.raises(ValueError, match=r"'w' .* its rule leaves a rank or bits open"):
        plan({"w": "F32"}, {"w": (24, 40)}, recipe)
    for tensor in compress(model, recipe):
        low = pyfq.svd_lowrank(model[tensor.plan.name], **asked, method=method)
        assert tensor.plan.rule.lowrank == Factorize(low.rank, **asked, method=method)
        np.testing.assert_array_equal(tensor.parts[f"{tensor.plan.name}_u"], low.u, strict=True)


def test_a_rank_by_error_that_does_not_pay_is_a_copy():
    recipe = Recipe((rule(lowrank=Factorize(energy=0.999)),))
    [tensor] = compress({"w": weights((24, 40))}, recipe)
    assert (tensor.plan.format, tensor.plan.kept) == ("copy", True)
    assert "takes no fewer multiplications" in tensor.plan.reason


def test_a_rank_that_data_does_not_give_is_refused():
    recipe = Recipe((rule(lowrank=Factorize(2, energy=0.6)),))
    with pytest.raises(ValueError, match=r"energy 0.6 gives rank \d+, not 2"):
        list(compress({"w": weights((24, 40))}, recipe))


def test_store_rounds_once():
    tie = 1 + 2.0**-8  # halfway between two bfloat16, the lower of them even
    x = np.array([tie, tie + 2.0**-40, tie - 2.0**-40, -tie - 2.0**-40, 2.0**-149, 0.0, -0.0])
    expected = [1, 1 + 2.0**-7, 1, -1 - 2.0**-7, 0, 0, 0]
    np.testing.assert_array_equal(widen(store(x, "BF16"), "BF16"), expected)
    x = np.concatenate([weights(5000, np.float64), x, [65519.999, 2.0**-25 * (1 + 2.0**-30)]])
    np.testing.assert_array_equal(store(x, "F16"), x.astype(np.float16))


@pytest.mark.parametrize(
    ("largest", "word", "precision"),
    [(7e4, "F32", "float16"), (1e39, "F64", "bfloat16"), (1e39, "F64", "float32")],
)
def test_precision_refuses_what_it_cannot_hold(largest, word, precision):
    w = np.array([[1, largest]], np.float64 if word == "F64" else np.float32)
    with pytest.raises(ValueError, match=f"'w' cannot .* {precision} holds no number as large as"):
        list(compress({"w": w}, Recipe((rule(precision=precision),))))


def test_precision_refuses_nan():
    w = np.array([[1, np.nan]], np.float32)
    with pytest.raises(ValueError, match=r"w must be finite, but w\[0, 1\] is nan"):
        list(compress({"w": w}, Recipe((rule(precision="bfloat16"),))))


def test_precision_shows_the_new_dtype():
    (tensor,) = plan({"w": "F32"}, {"w": (4, 4)}, Recipe((rule(precision="bfloat16"),)))
    assert (tensor.format, tensor.parts) == ("cast", {"w": ("BF16", (4, 4))})
    (tensor,) = plan({"w": "BF16"}, {"w": (4, 4)}, Recipe((rule(precision="bfloat16"),)))
    assert (tensor.format, tensor.parts) == ("dense", {"w": ("BF16", (4, 4))})


MODEL = {
    "a.weight": weights((16, 64)),
    "b.weight": 0.1 * weights((32, 64), seed=1),
    "c.weight": 3 * weights((8, 64), seed=2),
    "d.weight": weights((8, 32), seed=3),
    "bias": weights(16, seed=4),
}
OF_BUDGET = (
    Rule(("d*",), precision="bfloat16"),
    Rule(("bias",)),
    Rule(("b*",), codebook=QuantizeCodebook("lloyd", "budget")),
    Rule(("*",), quantize=Quantize("budget", "affine", PerGroup(32))),
)


@pytest.mark.parametrize("bits", [4.6, 5.5, 8.0])
@pytest.mark.parametrize("sensitivity", [(), (("c*", 0.01), ("*", 2.0))])
@pytest.mark.parametrize("error", ["relative", "absolute"])
def test_budget_has_the_least_error_of_all_choices(bits, error, sensitivity):
    choices = (2, 3, 4, 8, 16)
    recipe = Recipe(OF_BUDGET, Budget(bits, choices, error, sensitivity))
    found = list(compress(MODEL, recipe))
    done = [tensor.plan for tensor in found if tensor.plan.rule is not None]
    size = sum(math.prod(tensor.shape) for tensor in done)
    assert 8 * sum(tensor.nbytes_after for tensor in done) / size <= bits
    words, shapes = dict.fromkeys(MODEL, "F32"), {name: w.shape for name, w in MODEL.items()}
    findings = {
        name: examine(name, "F32", MODEL[name], its_rule, recipe.budget)
        for name, its_rule in undecided(words, shapes, recipe).items()
    }
    assert [trial.bits for trial in findings["b.weight"].trials] == [2, 3, 4, 8]
    room = bits * size / 8 - MODEL["d.weight"].size * 2
    best = min(
        sum(trial.error for trial in trials)
        for trials in itertools.product(*(finding.trials for finding in findings.values()))
        if sum(trial.nbytes for trial in trials) <= room
    )
    chosen = decide(words, shapes, recipe, findings)
    widths = {name: (each.quantize or each.codebook).bits for name, each in chosen.items()}
    errors = (
        trial.error
        for name, finding in findings.items()
        for trial in finding.trials
        if trial.bits == widths[name]
    )
    assert sum(errors) == pytest.approx(best, rel=1e-12)
    for tensor in done:
        if tensor.name in widths:
            assert (tensor.rule.quantize or tensor.rule.codebook).bits == widths[tensor.name]
            trial = next(t for t in findings[tensor.name].trials if t.bits == widths[tensor.name])
            assert trial.nbytes == tensor.nbytes_after


def test_budget_measures_after_pruning():
    w = MODEL["a.weight"]
    asking = rule(prune=Prune("ratio", 0.5), quantize=Quantize("budget"))
    (dense,) = compress(
        {"w": w}, Recipe((rule(prune=Prune("ratio", 0.5), quantize=Quantize(8)),)), dense=True
    )
    squared = ((w.astype(np.float64) - dense.parts["w"]) ** 2).sum()
    total = (w.astype(np.float64) ** 2).sum()
    for error, expected in (("relative", squared / total), ("absolute", squared)):
        budget = Budget(4, (2, 8), error, (("w", 10.0),))
        finding = examine("w", "F32", w, asking, budget)
        assert finding.trials[1].error == pytest.approx(10 * expected, rel=1e-9)


@pytest.mark.parametrize(
    "asking",
    [
        *(rule(quantize=Quantize("budget", scheme)) for scheme in SCHEMES),
        rule(codebook=QuantizeCodebook("log2", "budget")),
        rule(codebook=QuantizeCodebook("lloyd", "budget")),
        rule(codebook=QuantizeCodebook("lloyd", "budget", calibration="mse", scale_bits=8)),
    ],
)
def test_a_tensor_of_zeros_has_no_error_at_any_width(asking):
    finding = examine("w", "F32", np.zeros((4, 9), np.float32), asking, Budget(4, (2, 8)))
    assert [trial.error for trial in finding.trials] == [0, 0]


def test_examine_and_decide_want_what_they_need():
    w = MODEL["a.weight"]
    with pytest.raises(ValueError, match=r"'w' .* its rule leaves nothing open"):
        examine("w", "F32", w, rule(quantize=Quantize(4)))
    with pytest.raises(ValueError, match=r"'w' .* budget must be given"):
        examine("w", "F32", w, rule(quantize=Quantize("budget")))
    recipe = Recipe(OF_BUDGET, Budget(4.0))
    with pytest.raises(ValueError, match=r"findings must have what `examine` found of 'a'"):
        decide({"a": "F32"}, {"a": (8, 8)}, recipe, {})


def test_a_budget_that_is_too_small_says_what_would_do():
    recipe = Recipe(OF_BUDGET, Budget(3.0, (2, 4)))
    with pytest.raises(ValueError, match=r"bits_per_weight of the budget must be at least 3\.\d+"):
        list(compress(MODEL, recipe))
    with pytest.raises(ValueError, match="bits are those of a budget"):
        RULES["lloyd"].with_bits("budget").codebook.apply(MODEL["a.weight"])


@pytest.mark.parametrize(
    ("how", "part", "value", "message"),
    [
        ("nf4", "w_levels", np.inf, "'w_levels': expected finite numbers"),
        ("nf4", "w_scale", np.nan, "'w_scale': expected finite numbers"),
        ("fp4", "w_packed", 255, r"packed must hold codes 0 \.\.\. 14"),
        ("double", "w_scale_scale", np.inf, "'w_scale_scale': expected finite numbers"),
        ("double", "w_scale_minimum", np.nan, "'w_scale_minimum': expected finite numbers"),
        ("rank", "w_u", np.nan, "u must be finite"),
        ("factors", "w_u_scale", 0, "'w_u_scale': expected finite numbers other than 0"),
        ("both", "w_residual_shape", 3, r"'w_residual_shape': expected \(24, 40\)"),
    ],
)
def test_damaged_parts_are_refused(how, part, value, message):
    (tensor,) = compress({"w": weights((24, 40))}, Recipe((RULES[how],)))
    parts = {name: np.array(array) for name, array in tensor.parts.items()}
    decompress_tensor(tensor.plan, parts)
    parts[part].reshape(-1)[0] = value
    with pytest.raises(ValueError, match=message):
        decompress_tensor(tensor.plan, parts)
    del parts[part]
    with pytest.raises(ValueError, match=f"tensor '{part}' of .* is missing"):
        decompress_tensor(tensor.plan, parts)


@pytest.mark.parametrize("how", ["nf4", "double", "rank", "bfloat16"])
def test_parts_of_another_shape_are_refused(how):
    (tensor,) = compress({"w": weights((24, 40))}, Recipe((RULES[how],)))
    parts = {name: array[:1] for name, array in tensor.parts.items()}
    with pytest.raises(ValueError, match=r"tensor 'w.*': expected"):
        decompress_tensor(tensor.plan, parts)


@pytest.mark.parametrize(
    "entry",
    [
        {"format": "lowrank", "lowrank": {"energy": 0.5}},
        {"format": "codebook", "codebook": {"levels": "lloyd", "bits": "budget"}},
        {"format": "codebook"},
        {"format": "cast", "lowrank": {"rank": 1}},
        {"format": "cast", "precision": "float128"},
        {"format": "lowrank", "lowrank": {"rank": 1}, "shape": [4]},
    ],
)
def test_read_manifest_refuses(entry):
    import json

    entry = {"dtype": "F32", "shape": [4, 4]} | entry
    with pytest.raises(ValueError):
        read_manifest(json.dumps({"version": "1", "tensors": {"w": entry}}))


def network(dtype=np.float32):
    return pyfq.Network.create((64, 32, 16, 10), seed=3, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compress_network_makes_weights_of_every_form(dtype):
    recipe = Recipe(
        (
            Rule(("layers.0.*",), lowrank=Factorize(ratio=0.5), quantize=Quantize(8)),
            Rule(("layers.1.*",), codebook=QuantizeCodebook("lloyd", 3)),
            Rule(("layers.2.*",), Prune("ratio", 0.5), Quantize("budget", granularity=PerRow())),
        ),
        Budget(24.0, (2, 8)),
    )
    dense = network(dtype)
    small = compress_network(dense, recipe)
    kinds = [type(layer.weights) for layer in small.layers]
    assert kinds == [pyfq.LowRank, pyfq.Codebook, pyfq.Quantized]
    assert small.layers[2].weights.bits == 8
    arrays = {name: dense.parameters[name] for name in dense.parameters if "weight" in name}
    for tensor in compress(arrays, recipe, dense=True):
        np.testing.assert_array_equal(
            small.parameters[tensor.plan.name], tensor.parts[tensor.plan.name], strict=True
        )
    assert small.forward(np.ones((3, 64), dtype)).shape == (3, 10)
    for before, after in zip(dense.layers, small.layers, strict=True):
        assert after.bias is before.bias


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_compress_network_to_two_bytes(precision):
    dense = network()
    small = compress_network(dense, Recipe((rule(precision=precision),)))
    for before, after in zip(dense.layers, small.layers, strict=True):
        want = pyfq.to_half(before.weights, precision)
        np.testing.assert_array_equal(after.weights.bits, want.bits)


def test_compress_network_refuses():
    with pytest.raises(ValueError, match=r"'layers.0.weight' .* precision 'float64' is of files"):
        compress_network(network(), Recipe((rule(precision="float64"),)))
    factors = rule(lowrank=Factorize(2), precision="float16")
    with pytest.raises(ValueError, match="precision 'float16' of lowrank is of files"):
        compress_network(network(), Recipe((factors,)))
    recipe = Recipe((rule(lowrank=Factorize(2, residual=Quantize(2))),))
    with pytest.raises(ValueError, match=r"'layers.0.weight' .* must have no residual"):
        compress_network(network(), recipe)
    coded = network().map_weights(lambda w: pyfq.quantize(w, 8))
    with pytest.raises(ValueError, match="weights must be an array, not Quantized"):
        compress_network(coded, Recipe((rule(quantize=Quantize(4)),)))
    assert compress_network(coded, Recipe((Rule(("x",), quantize=Quantize(4)),))).layers
    with pytest.raises(TypeError, match="network must be a Network"):
        compress_network({}, recipe)
    with pytest.raises(TypeError, match="recipe must be a Recipe"):
        compress_network(network(), {})


def test_methods_refuse():
    with pytest.raises(TypeError, match="residual must be a Quantize"):
        Factorize(2, residual=4)
    with pytest.raises(TypeError, match="levels must be a name or a tuple"):
        QuantizeCodebook([0.0, 1.0])
    with pytest.raises(TypeError, match="rank must be an integer"):
        Factorize(2.0)


@pytest.mark.parametrize("calibration", ["minmax", "mse", "als", "percentile", "aciq", "hqq"])
def test_scales_are_calibrated_as_quantize_does(calibration):
    w = np.random.default_rng(0).standard_normal((8, 200)).astype(np.float32)
    how = {"scheme": "minmax", "granularity": PerGroup(50), "calibration": calibration}
    if calibration == "percentile":
        how["percentile"] = 90
    want = pyfq.quantize(w, 3, **how)
    found = Quantize(3, **how).apply(w)
    np.testing.assert_array_equal(found.packed, want.packed)
    np.testing.assert_array_equal(found.scale, want.scale)
    recipe = Recipe((rule(quantize=Quantize(3, **how)),))
    [tensor] = compress({"w": w}, recipe)
    back = decompress_tensor(tensor.plan, tensor.parts)
    np.testing.assert_array_equal(back, want.dequantize())


PRUNES = {
    "": None,
    "ratio": Prune("ratio", 0.5),
    "threshold": Prune("threshold", 0.3),
    "percentile": Prune("percentile", 30.0),
    "nm": Prune("nm", (2, 4)),
    "channels": Prune("nm", (2, 4), along="channels"),
}
FLOAT_METHODS = {
    "": {},
    "codes": {"quantize": Quantize(4)},
    "codebook": {"codebook": QuantizeCodebook("nf4")},
    "factors": {"lowrank": Factorize(rank=2)},
    "codes of factors": {"lowrank": Factorize(rank=2), "quantize": Quantize(8)},
    "residual": {"lowrank": Factorize(rank=2, residual=Quantize(4))},
}


def read_only_copy(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("shape", [(8, 32), (8, 16, 1, 1), (8, 8, 3, 3)])
@pytest.mark.parametrize("word", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("pruned", PRUNES)
def test_arrays_of_files_are_read_and_never_written_to(word, shape, pruned):
    w = in_word(weights(shape), word)
    before, words, shapes, seen = w.tobytes(), {"w": word}, {"w": shape}, 0
    for precision, method in itertools.product((None, *PRECISIONS), FLOAT_METHODS.values()):
        if precision is not None and ("quantize" in method or "codebook" in method):
            continue  # codes have no precision
        if PRUNES[pruned] is not None and "lowrank" in method:
            continue  # factors keep no zeros
        recipe = Recipe((rule(prune=PRUNES[pruned], precision=precision, **method),))
        (coded,), (dense,) = (plan(words, shapes, recipe, dense=d) for d in (False, True))
        if coded.rule is None:
            continue
        made = compress_tensor(coded, read_only_copy(w)).parts
        want = compress_tensor(dense, read_only_copy(w)).parts["w"]
        for copy in (read_only_copy, np.copy):
            parts = {name: copy(array) for name, array in made.items()}
            values = decompress_tensor(coded, parts)
            assert (values.dtype, values.tobytes()) == (want.dtype, want.tobytes())
            assert all(parts[name].tobytes() == made[name].tobytes() for name in made)
        for tensor in (coded, dense):
            compress_tensor(tensor, w)
            assert w.tobytes() == before
        seen += 1
    assert seen >= (2 if PRUNES[pruned] else 4)


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("word", ["F16", "BF16"])
def test_command_decompresses_floats_of_another_precision(tmp_path, word, precision, ending):
    if (word, ending) == ("BF16", "npz"):
        pytest.skip("npz has no bfloat16")
    if (precision, ending) == ("bfloat16", "npz"):
        pytest.skip("npz has no bfloat16")
    recipe, source = tmp_path / "recipe.toml", tmp_path / f"source.{ending}"
    pruning = 'prune = { nm = "2:4", along = "channels" }'
    recipe.write_text(f'[[rule]]\nmatch = "*"\n{pruning}\nprecision = "{precision}"\n')
    tensors = {"w": in_word(weights((8, 8, 3, 3)), word)}
    if ending == "npz":
        write_npz(source, tensors)
    else:
        write_safetensors(source, tensors, dtypes={"w": word})
    small, again, dense = (tmp_path / f"{name}.{ending}" for name in ("small", "again", "dense"))
    command = ["compress", str(source), "--recipe", str(recipe), "-o"]
    assert main([*command, str(small)]) == 0
    assert main(["decompress", str(small), "-o", str(again)]) == 0
    assert main([*command, str(dense), "--dense"]) == 0
    with open_checkpoint(again) as a, open_checkpoint(dense) as b:
        assert a["w"].tobytes() == b["w"].tobytes()
        assert a.dtypes["w"] == b.dtypes["w"] == word
