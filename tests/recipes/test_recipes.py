"""Recipes, the layout of compressed tensors, and the compression of whole models."""

import itertools
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq import PerGroup, PerRow, PerTensor
from pyfq.exchange import compressed_tensors
from pyfq.exchange.floats import narrow, widen
from pyfq.exchange.manifest import read_manifest, write_manifest
from pyfq.recipes import (
    Budget,
    Factorize,
    Prune,
    Quantize,
    QuantizeCodebook,
    Recipe,
    Rule,
    compress,
    compress_tensor,
    decompress_tensor,
    parse_recipe,
    plan,
    read_recipe,
)

GRANULARITIES = (PerTensor(), PerRow(), PerGroup(8), PerGroup(5))


def weights(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def one_rule(prune=None, quantize=None):
    return Recipe((Rule(("*",), prune, quantize),))


def test_recipe_settings_are_a_recipe():
    recipe = Recipe(
        (
            Rule(("*bias", "b?")),
            Rule(("e*",), Prune("nm", (2, 4)), None, ndim=2),
            Rule(("e*",), Prune("nm", (2, 4), along="channels"), rows="first", min_ndim=3),
            Rule(("*",), Prune("ratio", 0.5, PerRow()), Quantize(4, "affine", PerGroup(64)), 2, 9),
            Rule(("c*",), None, Quantize(3, rounding="stochastic", seed=1, scale="absmax_half")),
            Rule(("f*",), lowrank=Factorize(ratio=0.25), quantize=Quantize(8)),
            Rule(("g*",), lowrank=Factorize(3, method="randomized", seed=2), precision="float16"),
            Rule(("h*",), lowrank=Factorize(energy=0.5, residual=Quantize(2, "affine"))),
            Rule(("i*",), codebook=QuantizeCodebook((-1.0, 0.0, 2.0), granularity=PerRow())),
            Rule(("j*",), Prune("ratio", 0.5), codebook=QuantizeCodebook("lloyd", 3, seed=4)),
            Rule(("k*",), codebook=QuantizeCodebook("fp4", granularity=PerTensor())),
            Rule(("k2*",), codebook=QuantizeCodebook("nf4", calibration="mse", scale_bits=6)),
            Rule(("l*",), precision="bfloat16"),
            Rule(("i*",), quantize=Quantize(3, "minmax", calibration="als")),
            Rule(("i*",), quantize=Quantize(3, calibration="percentile", percentile=99.0)),
            Rule(("*",), quantize=Quantize("budget")),
        ),
        Budget(4.5, (2, 4), "absolute", (("j*", 2.0),)),
    )
    assert parse_recipe(recipe.settings()) == recipe


def test_read_recipe_reads_what_the_docstring_shows(tmp_path):
    import pyfq.recipes.parse as module

    path = tmp_path / "r.toml"
    path.write_text(module.__doc__.split("::\n", 1)[1])
    recipe = read_recipe(path)
    assert recipe.rule_for("x.LayerNorm.weight", "F32", (64, 64)).copies
    assert recipe.rule_for("embeddings.w", "BF16", (64, 64)).quantize == Quantize(8)
    factors = recipe.rule_for("attention.w", "F32", (64, 64))
    assert (factors.lowrank, factors.precision) == (Factorize(ratio=0.5), "bfloat16")
    assert recipe.rule_for("output.w", "F32", (64, 64)).codebook == QuantizeCodebook("nf4")
    assert recipe.rule_for("output.w", "F32", (64, 3, 3)).rows == "leading"
    last = recipe.rule_for("w", "F64", (64, 64))
    assert last.prune == Prune("ratio", 0.5, PerRow())
    assert last.quantize == Quantize("budget", "affine", PerGroup(64))
    sensitivity = (("*query*", 4.0),)
    assert recipe.budget == Budget(6.0, (2, 3, 4, 8), sensitivity=sensitivity, exponent=0.45)
    assert recipe.rule_for("w", "F64", (63, 64)) is None
    assert recipe.rule_for("w", "I64", (64, 64)) is None


def test_recipes_in_the_docs_are_recipes():
    docs = Path(__file__).parents[2] / "docs"
    pages = [docs / "reference/recipes/recipes.md", docs / "how-to/compress-a-checkpoint.md"]
    found = [re.findall("```toml\n(.*?)```", page.read_text(), re.S) for page in pages]
    for toml in itertools.chain(*found):
        assert parse_recipe(tomllib.loads(toml)).budget is not None
    assert all(found)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"match": "*", "quantise": {}},
            r"r: rule 1 \('\*'\): unknown key 'quantise', did you mean 'q",
        ),
        (
            {"match": "*", "quantize": {"bit": 4}},
            r"rule 1 \('\*'\): quantize: .*'bit', did you mean 'bits'",
        ),
        ({"match": "*", "quantize": {"bits": 17}}, r"quantize: bits must be 1 \.\.\. 16, not 17"),
        ({"match": "*", "quantize": {"bits": "4"}}, "bits must be an integer"),
        ({"match": "*", "quantize": {"scheme": "afine"}}, "scheme must be one of"),
        (
            {"match": "*", "quantize": {"per": "row", "group_size": 4}},
            "per or group_size, not both",
        ),
        ({"match": "*", "quantize": {"per": "col"}}, "per must be 'tensor' or 'row'"),
        ({"match": "*", "quantize": {"rounding": "stochastic"}}, "seed must be given"),
        ({"match": "*", "quantize": {"scale": 0.5}}, "name of a convention"),
        ({"match": "*", "quantize": 8}, "expected a table"),
        ({"match": "*", "prune": {}}, "expected one of ratio, percentile, threshold, nm"),
        ({"match": "*", "prune": {"ratio": 0.5, "nm": "2:4"}}, "not ratio and nm"),
        ({"match": "*", "prune": {"ratio": 1.5}}, r"ratio must be 0 \.\.\. 1, not 1.5"),
        ({"match": "*", "prune": {"nm": "4"}}, "nm must be like '2:4'"),
        ({"match": "*", "prune": {"nm": "5:4"}}, r"n must be 1 \.\.\. 4"),
        ({"match": "*", "prune": {"nm": "2:4", "per": "row"}}, "nm has no granularity"),
        ({"match": []}, "match must be a glob"),
        ({}, "match must be a glob"),
        ({"match": "*", "ndim": "2"}, "ndim must be an integer"),
        ("*", "expected a table"),
        ({"match": "*", "codebook": "nf5"}, "codebook: codebook must be one of"),
        ({"match": "*", "codebook": {"levels": "nf4", "bits": 5}}, "bits of codebook 'nf4'"),
        ({"match": "*", "codebook": {"levels": [0.0, 1.0], "bits": 1}}, "bits must not be given"),
        ({"match": "*", "codebook": [1.0, 0.0]}, "2 ... 256 levels that ascend"),
        ({"match": "*", "codebook": ["a"]}, "levels must be numbers"),
        ({"match": "*", "codebook": {"level": "nf4"}}, "did you mean 'levels'"),
        ({"match": "*", "codebook": {"bits": "budget"}}, "must not be 'budget' for levels 'nf4'"),
        ({"match": "*", "codebook": 4}, "expected a table"),
        ({"match": "*", "codebook": {"calibration": "hqq"}}, "codebook: calibration must be one"),
        ({"match": "*", "codebook": {"scale_bits": 17}}, r"scale_bits must be 1 \.\.\. 16, not 17"),
        (
            {"match": "*", "codebook": {"levels": "lloyd", "per": "row", "scale_bits": 8}},
            "codebook: scale_bits is of scales: a table of codebook 'lloyd' has none",
        ),
        ({"match": "*", "lowrank": {}}, "lowrank: one of rank, ratio, energy, tolerance must be"),
        ({"match": "*", "lowrank": {"ratio": 0.5, "energy": 0.5}}, "not ratio and energy"),
        ({"match": "*", "lowrank": {"rank": 0}}, "lowrank: rank must be at least 1, not 0"),
        ({"match": "*", "lowrank": {"ratio": 1.5}}, r"ratio must be 0 \.\.\. 1, not 1.5"),
        ({"match": "*", "lowrank": {"rank": 1, "method": "lapack"}}, "method must be one of"),
        (
            {"match": "*", "lowrank": {"rank": 1, "residual": {"bit": 2}}},
            "lowrank: residual: unknown key 'bit'",
        ),
        (
            {"match": "*", "lowrank": {"rank": 1, "residual": {"bits": "budget"}}},
            "residual: bits must be a number",
        ),
        (
            {"match": "*", "lowrank": {"rank": 1}, "quantize": {"bits": "budget"}},
            "bits of factors must be a number",
        ),
        ({"match": "*", "precision": "bf16"}, "precision must be one of .*'bfloat16', not 'bf16'"),
        ({"match": "*", "quantize": {}, "codebook": "nf4"}, "quantize and codebook do not go"),
        ({"match": "*", "quantize": {}, "precision": "float16"}, "quantize and precision do not"),
        ({"match": "*", "codebook": "nf4", "precision": "float16"}, "codebook and precision do"),
        ({"match": "*", "codebook": "nf4", "lowrank": {"rank": 1}}, "lowrank and codebook do"),
        ({"match": "*", "prune": {"nm": "2:4"}, "lowrank": {"rank": 1}}, "lowrank and prune do"),
        ({"match": "*", "quantize": {"bits": "budget"}}, "rule 1: bits = 'budget' needs a b"),
    ],
)
def test_parse_recipe_names_rule_and_reason(rule, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe({"rule": [rule]}, "r")


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "r: budget: bits_per_weight is missing"),
        ({"bits_per_weight": "4"}, "bits_per_weight must be a number"),
        ({"bits_per_weight": 4, "choices": [4, 4]}, "choices must be widths, each once"),
        ({"bits_per_weight": 4, "choices": [17]}, r"choices\[0\] must be 1 \.\.\. 16, not 17"),
        ({"bits_per_weight": 4, "choices": 4}, "choices must be a tuple"),
        ({"bits_per_weight": 4, "choices": [1, 2]}, "rule 1, with 1 of choices: bits=1 leaves"),
        ({"bits_per_weight": 4, "choices": [9, 16]}, "rule 2: none of choices is up to 8"),
        ({"bits_per_weight": 4, "sensitivity": 3}, "sensitivity must be a table of globs"),
        ({"bits_per_weight": 4, "sensitivity": {"*": -1}}, r"sensitivity of '\*' must be 0"),
        ({"bits_per_weight": 4, "bits": 3}, "unknown key 'bits'"),
        ({"bits_per_weight": 4, "error": "mse"}, "error must be one of 'relative', 'absolute'"),
    ],
)
def test_parse_recipe_refuses_a_budget(budget, message):
    rules = [
        {"match": "a*", "quantize": {"bits": "budget"}},
        {"match": "*", "codebook": {"levels": "lloyd", "bits": "budget"}},
    ]
    with pytest.raises(ValueError, match=message):
        parse_recipe({"rule": rules, "budget": budget}, "r")


def test_read_recipe_takes_a_byte_order_mark(tmp_path):
    text = '[[rule]]\nmatch = "ü*"\nquantize = {bits = 4}\n'
    for name, encoding in (("plain", "utf-8"), ("marked", "utf-8-sig"), ("wide", "utf-16")):
        (tmp_path / name).write_text(text, encoding)
    assert read_recipe(tmp_path / "marked") == read_recipe(tmp_path / "plain")
    with pytest.raises(ValueError, match="wide: expected TOML: 'utf-8' codec"):
        read_recipe(tmp_path / "wide")


def test_parse_recipe_refuses_a_budget_for_nothing():
    with pytest.raises(ValueError, match="no rule has bits = 'budget'"):
        parse_recipe({"rule": [{"match": "*"}], "budget": {"bits_per_weight": 4}})


@pytest.mark.parametrize("table", [{}, {"rule": []}, {"rule": {}}, {"rules": [{}]}])
def test_parse_recipe_wants_rules(table):
    with pytest.raises(ValueError, match="rule"):
        parse_recipe(table)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("scheme", ["symmetric", "affine", "minmax"])
@pytest.mark.parametrize("bits", [2, 4, 5, 8, 9, 16])
@pytest.mark.parametrize("shape", [(7, 24), (6, 13), (3, 4, 10), (17,), ()])
@pytest.mark.parametrize("name", ["a.weight", "w"])
def test_layout_decodes_what_it_encodes(shape, bits, scheme, granularity, name):
    w = weights(shape)
    quantize = Quantize(bits, scheme, granularity)
    quantized = quantize.apply(w)
    parts = compressed_tensors.encode(name, quantized, quantize)
    declared = compressed_tensors.declare(name, "F32", shape, quantize)
    found = {part: (pyfq.io.dtypes.word_of(x.dtype), x.shape) for part, x in parts.items()}
    assert found == declared
    back = compressed_tensors.decode(name, shape, quantize, parts)
    np.testing.assert_array_equal(back.codes, quantized.codes, strict=True)
    np.testing.assert_array_equal(back.dequantize(), quantized.dequantize(), strict=True)


@pytest.mark.parametrize(
    ("name", "shape", "quantize", "expected"),
    [
        ("a.weight", (8, 256), Quantize(8), "int-quantized"),
        ("a.weight", (8, 64), Quantize(4, granularity=PerGroup(32)), "pack-quantized"),
        ("a.weight", (8, 128), Quantize(4, "affine", PerGroup(64)), "pack-quantized"),
        ("a.weight", (8, 93), Quantize(4, granularity=PerGroup(93)), "pack-quantized"),
        ("a.weight", (8, 93), Quantize(4, granularity=PerGroup(128)), "pack-quantized"),
        ("a.weight", (8, 93), Quantize(4, granularity=PerGroup(32)), "pyfq-packed"),
        ("a.weight", (8, 64), Quantize(9, granularity=PerRow()), "pyfq-packed"),
        ("a.weight", (8, 64), Quantize(8, "minmax", PerRow()), "pyfq-packed"),
        ("a.weight", (2, 8, 64), Quantize(8, granularity=PerRow()), "pyfq-packed"),
        ("w1", (8, 64), Quantize(8, granularity=PerRow()), "pyfq-packed"),
    ],
)
def test_format_of_is_ours_where_compressed_tensors_has_none(name, shape, quantize, expected):
    assert compressed_tensors.format_of(name, shape, quantize) == expected
    codes_under_own_name = name in compressed_tensors.declare(name, "F32", shape, quantize)
    assert codes_under_own_name == (expected == "int-quantized")


def test_file_order_aligns_every_part():
    recipe = one_rule(None, Quantize(4, "affine", PerTensor()))
    shapes = {f"t{i}": (i, 2 * i + 1) for i in range(1, 9)} | {"v": (3,), "h": (5,)}
    words = dict.fromkeys(shapes, "F32") | {"t3": "F64", "v": "U8", "h": "I16"}
    for dense in (False, True):
        plans = plan(words, shapes, recipe, dense=dense)
        order = compressed_tensors.file_order([tensor.parts for tensor in plans])
        assert sorted(order) == sorted(part for tensor in plans for part in tensor.parts)
        place = 0
        for word, shape in order.values():
            assert place % (pyfq.io.dtypes.DTYPES[word].bits // 8) == 0
            place += pyfq.io.dtypes.nbytes_of(word, shape)


def test_file_order_keeps_a_tensor_together():
    tensors = [
        compressed_tensors.declare(f"{i}.weight", "F32", (8, 64), Quantize(4)) for i in range(3)
    ]
    names = list(compressed_tensors.file_order(tensors))
    assert [name.split(".")[0] for name in names] == sorted(name.split(".")[0] for name in names)


@pytest.mark.parametrize("word", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("prune", [None, Prune("ratio", 0.5), Prune("nm", (2, 4))])
@pytest.mark.parametrize("quantize", [None, Quantize(8), Quantize(4, "affine", PerGroup(64))])
def test_compress_dense_is_what_decompress_returns(word, prune, quantize):
    if prune is None and quantize is None:
        quantize = Quantize(5, granularity=PerTensor())
    w = weights((16, 256), np.float64 if word == "F64" else np.float32)
    array = w
    if word in ("F16", "BF16"):
        array = pyfq.cast_to(w, "float16" if word == "F16" else "bfloat16")
        w = pyfq.cast_from(array, "float16" if word == "F16" else "bfloat16")
        array = array.view(np.float16) if word == "F16" else array
    recipe = one_rule(prune, quantize)
    shape = {"w.weight": w.shape}
    (packed,) = plan({"w.weight": word}, shape, recipe)
    (dense,) = plan({"w.weight": word}, shape, recipe, dense=True)
    (values,) = compress_tensor(dense, array).parts.values()
    compressed = compress_tensor(packed, array)
    restored = decompress_tensor(packed, compressed.parts)
    assert restored.dtype == array.dtype
    np.testing.assert_array_equal(restored, values)
    if prune is not None:
        assert compressed.zeros >= 0.5
    assert compressed.plan.nbytes_after == sum(x.nbytes for x in compressed.parts.values())


def test_compress_measures_against_the_original():
    w = weights((32, 256))
    recipe = one_rule(Prune("ratio", 0.25), Quantize(8))
    (tensor,) = compress({"w": w}, recipe, dense=True)
    error = pyfq.distortion(w, tensor.parts["w"])
    assert (tensor.sqnr, tensor.cosine, tensor.max_abs) == (error.sqnr, error.cosine, error.max_abs)


METHODS = {
    "prune": {"prune": Prune("ratio", 0.5)},
    "quantize": {"quantize": Quantize(12)},
    "affine": {"quantize": Quantize(12, "affine", PerGroup(64)), "prune": Prune("ratio", 0.25)},
    "codebook": {"codebook": QuantizeCodebook("lloyd", 8)},
    "lowrank": {"lowrank": Factorize(rank=6)},
    "cast": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("word", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("methods", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_compress_measures_what_decompress_returns(word, methods, scale):
    """Tensors of few bits, whose own rounding is more than that of many codes."""
    w = weights((12, 100_000), np.float64 if word == "F64" else np.float32) * scale
    array = narrow(w, word)
    w, recipe = widen(array, word), Recipe((Rule(("*",), **methods),))
    one, dense = (
        compress_tensor(*plan({"w": word}, {"w": w.shape}, recipe, dense=dense), array)
        for dense in (False, True)
    )
    found = widen(decompress_tensor(one.plan, one.parts), word)
    error = pyfq.distortion(w, found)
    told = (one.sqnr, one.cosine, one.max_abs, one.zeros)
    assert told == (error.sqnr, error.cosine, error.max_abs, 1 - np.count_nonzero(found) / w.size)
    assert told == (dense.sqnr, dense.cosine, dense.max_abs, dense.zeros)


def test_compress_copies_what_no_rule_concerns():
    model = {"w": weights((4, 4)), "n": np.arange(3), "e": np.empty((0, 4), np.float32)}
    done = list(compress(model, one_rule(None, Quantize(8))))
    assert [tensor.plan.format for tensor in done] == ["pyfq-packed", "copy", "copy"]
    assert done[1].parts["n"] is model["n"]
    assert math.isnan(done[1].sqnr)


def test_compress_names_the_tensor_that_is_not_finite():
    w = weights((4, 4))
    w[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"tensor 'a\.weight' cannot be compressed as asked: w"):
        list(compress({"a.weight": w}, one_rule(None, Quantize(8))))


def test_compress_float16_stays_finite():
    w = np.full((1, 4), 65504.0, np.float32)
    w[0, 0] = -30000.1
    array = pyfq.cast_to(w, "float16").view(np.float16)
    recipe = one_rule(None, Quantize(3, "affine", PerRow()))
    (tensor,) = compress({"w": array}, recipe, dense=True)
    assert np.isfinite(tensor.parts["w"]).all()


def test_plan_refuses_names_that_collide():
    shapes = {"w": (4, 4), "w_packed": (4,)}
    with pytest.raises(ValueError, match="'w' and 'w_packed' would both write 'w_packed'"):
        plan({"w": "F32", "w_packed": "I32"}, shapes, one_rule(None, Quantize(4)))


def test_manifest_reads_what_it_writes():
    shapes = {"a.weight": (8, 128), "b": (9,), "c": (3, 50)}
    words = {"a.weight": "BF16", "b": "I64", "c": "F64"}
    recipe = one_rule(Prune("percentile", 30.0), Quantize(4, "minmax", PerGroup(30)))
    for dense in (False, True):
        plans = plan(words, shapes, recipe, dense=dense)
        read = read_manifest(write_manifest(plans, "1"))
        assert list(read) == ["a.weight", "c"]
        for tensor in plans:
            if tensor.rule is not None:
                found = read[tensor.name]
                assert (found.parts, found.format) == (tensor.parts, tensor.format)
                assert found.rule.methods() == tensor.rule.methods()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"tensors": []}',
        '{"tensors": {"w": 1}}',
        '{"tensors": {"w": {"dtype": "F9", "shape": [1], "format": "dense"}}}',
        '{"tensors": {"w": {"dtype": "F32", "shape": [-1], "format": "dense"}}}',
        '{"tensors": {"w": {"dtype": "F32", "shape": [1], "format": "zip"}}}',
        '{"tensors": {"w": {"dtype": "F32", "shape": [1], "format": "dense", "prune": 3}}}',
    ],
)
def test_read_manifest_refuses(text):
    with pytest.raises(ValueError):
        read_manifest(text)


def test_quantization_config_names_only_what_others_can_open():
    tensors = {
        "a.weight": ((8, 64), Quantize(8, granularity=PerRow())),
        "b.weight": ((8, 64), Quantize(4, "affine", PerGroup(32))),
        "c.weight": ((8, 93), Quantize(4, "affine", PerGroup(32))),
        "w": ((8, 64), Quantize(8, granularity=PerRow())),
    }
    config = compressed_tensors.quantization_config(tensors)
    groups = config["config_groups"].values()
    assert [group["targets"] for group in groups] == [["a"], ["b"]]
    assert config["format"] == "mixed-precision"
    assert compressed_tensors.quantization_config({"w": tensors["w"]}) is None


def test_rule_refuses_a_bare_string():
    with pytest.raises(TypeError, match="match must be a tuple of globs"):
        Rule("*.bias", quantize=Quantize(8))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("a.weight_scale", np.nan, "expected finite numbers other than 0"),
        ("a.weight_scale", 0, "expected finite numbers other than 0"),
        ("a.weight_minimum", np.inf, "expected finite numbers"),
        ("a.weight_shape", 3, r"expected \(4, 8\), not \(3, 8\)"),
    ],
)
def test_damaged_parts_are_refused(part, value, message):
    quantize = Quantize(4, "minmax")
    model = {"a.weight": np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)}
    (compressed,) = compress(model, Recipe((Rule(("*",), quantize=quantize),)))
    parts = {name: np.array(array) for name, array in compressed.parts.items()}
    decompress_tensor(compressed.plan, parts)
    parts[part].reshape(-1)[0] = value
    with pytest.raises(ValueError, match=message):
        decompress_tensor(compressed.plan, parts)
