"""Rows of kernels and of stacked matrices, and what is copied since it would get no smaller."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq import PerGroup, PerRow, PerTensor
from pyfq.cli import main
from pyfq.exchange.floats import narrow, widen
from pyfq.exchange.lowrank_stack import LowRankStack
from pyfq.exchange.manifest import read_manifest, write_manifest
from pyfq.exchange.rows import matrix_shape, rows_of
from pyfq.io import open_safetensors, write_safetensors
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
)

DATA = Path(__file__).parent / "data"

METHODS = {
    "row": {"quantize": Quantize(4, granularity=PerRow())},
    "affine row": {"quantize": Quantize(8, "affine", PerRow())},
    "group": {"quantize": Quantize(3, "affine", PerGroup(16))},
    "minmax": {"quantize": Quantize(5, "minmax", PerGroup(7))},
    "tensor": {"quantize": Quantize(2, granularity=PerTensor())},
    "als": {"quantize": Quantize(3, granularity=PerRow(), calibration="als")},
    "stochastic": {"quantize": Quantize(6, rounding="stochastic", seed=3)},
    "ratio": {"prune": Prune("ratio", 0.5, PerRow())},
    "percentile": {"prune": Prune("percentile", 30.0, PerGroup(5)), "quantize": Quantize(4)},
    "threshold": {"prune": Prune("threshold", 0.5), "precision": "bfloat16"},
    "nm": {"prune": Prune("nm", (2, 4)), "quantize": Quantize(4, granularity=PerRow())},
    "nf4": {"codebook": QuantizeCodebook("nf4")},
    "lloyd": {"codebook": QuantizeCodebook("lloyd", 3, seed=1)},
    "lloyd row": {"codebook": QuantizeCodebook("lloyd", 1, PerRow())},
    "double": {"codebook": QuantizeCodebook("fp4", calibration="mse", scale_bits=8)},
    "rank": {"lowrank": Factorize(2)},
    "energy": {"lowrank": Factorize(energy=0.2)},
    "factors": {"lowrank": Factorize(ratio=0.4), "quantize": Quantize(8, "affine", PerRow())},
    "residual": {"lowrank": Factorize(1, residual=Quantize(2, "minmax")), "precision": "float16"},
    "float16": {"precision": "float16"},
}
KERNELS = {
    "conv": (24, 8, 3, 3),
    "pointwise": (32, 40, 1, 1),
    "depthwise": (64, 1, 3, 3),
    "transposed": (8, 24, 2, 2),
    "volume": (12, 3, 2, 3, 3),
    "audio": (32, 12, 5),
    "conv1d": (48, 1, 16),
    "one": (1, 16, 5, 5),
}
STACKS = {"experts": (3, 24, 40), "layers.experts": (2, 3, 20, 36)}


def weights(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def in_word(w, word):
    return narrow(w.astype(np.float64 if word == "F64" else np.float32), word)


def recipe_of(**methods):
    return Recipe((Rule(("*",), **methods),))


def compressed(name, array, word, recipe):
    words = {name: word}
    [tensor] = compress({name: array}, recipe, words=words)
    [dense] = compress({name: array}, recipe, words=words, dense=True)
    return tensor, dense.parts[name]


@pytest.mark.parametrize(
    ("name", "shape", "rows"),
    [
        ("features.0.weight", (64, 3, 11, 11), "first"),
        ("visual.patch_embed.proj.weight", (1152, 3, 2, 16, 16), "first"),
        ("layers.0.mixer.conv1d.weight", (1536, 1, 4), "first"),
        ("encoder.pos_conv_embed.conv.weight", (768, 48, 128), "first"),
        ("net.3.weight", (64, 32, 5), "first"),
        ("net.3.weight", (64, 1, 64), "first"),
        ("net.3.weight", (64, 32, 33), "leading"),
        ("model.layers.0.mlp.experts.gate_up_proj", (8, 256, 512), "leading"),
        ("model.layers.0.mlp.experts.down_proj", (8, 24, 16), "leading"),
        ("blk.0.ffn_gate_exps.weight", (64, 16, 8), "leading"),
        ("block_sparse_moe.input_linear.weight", (8, 16, 32), "leading"),
        ("layers.0.mlp.switch_mlp.up_proj.weight", (8, 16, 32), "leading"),
        ("mlp.Experts.w1", (4, 8, 16), "leading"),
        ("experts.0.conv.weight", (32, 16, 3), "first"),
        ("conv_moe.experts.w1", (4, 16, 24), "leading"),
        ("experts.0.net.0.weight", (32, 16, 3, 3), "first"),
        ("layers.experts.wi", (12, 8, 64, 256), "leading"),
        ("smoelt.weight", (4, 8, 3), "first"),
        ("text_converter.weight", (4, 8, 64), "leading"),
        ("w", (8, 64), "leading"),
    ],
)
def test_rows_are_told_by_name_and_shape(name, shape, rows):
    assert rows_of(name, shape) == rows


@pytest.mark.parametrize("word", ["F32", "F64", "BF16"])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("method", METHODS)
def test_a_kernel_is_compressed_as_the_matrix_of_its_rows(method, name, word):
    shape = KERNELS[name]
    array = in_word(weights(shape), word)
    matrix = array.reshape(shape[0], -1)
    recipe = recipe_of(**METHODS[method])
    tensor, dense = compressed(name, array, word, recipe)
    wanted, wanted_dense = compressed(name, matrix, word, recipe)
    assert (tensor.plan.format, tensor.plan.kept) == (wanted.plan.format, wanted.plan.kept)
    assert tensor.parts.keys() == wanted.parts.keys()
    for part, x in tensor.parts.items():
        if part in (f"{name}_shape", f"{name}_residual_shape"):
            assert tuple(x) == shape
        else:
            np.testing.assert_array_equal(x.reshape(wanted.parts[part].shape), wanted.parts[part])
    same = (tensor.sqnr, tensor.zeros), (wanted.sqnr, wanted.zeros)
    np.testing.assert_array_equal(*same)
    assert dense.shape == shape
    np.testing.assert_array_equal(dense.reshape(matrix.shape), wanted_dense)
    back = decompress_tensor(tensor.plan, tensor.parts)
    np.testing.assert_array_equal(back, dense, strict=True)
    if tensor.plan.rule is not None:
        [read] = read_manifest(write_manifest([tensor.plan], "1")).values()
        assert (read.shape, read.parts, read.format) == (
            shape,
            tensor.plan.parts,
            tensor.plan.format,
        )
        np.testing.assert_array_equal(decompress_tensor(read, tensor.parts), dense, strict=True)


@pytest.mark.parametrize("word", ["F32", "F16"])
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if "lowrank" not in m])
def test_a_stack_is_compressed_as_all_its_rows_below_each_other(method, name, word):
    shape = STACKS[name]
    array = in_word(weights(shape), word)
    recipe = recipe_of(**METHODS[method])
    tensor, dense = compressed(name, array, word, recipe)
    wanted, wanted_dense = compressed(name, array.reshape(-1, shape[-1]), word, recipe)
    np.testing.assert_array_equal(dense.reshape(wanted_dense.shape), wanted_dense)
    back = decompress_tensor(tensor.plan, tensor.parts)
    np.testing.assert_array_equal(back, dense, strict=True)
    assert back.shape == shape
    for part, x in tensor.parts.items():
        # Zero points of a matrix are packed along its rows, those of a stack are not.
        if not part.endswith(("_shape", "_zero_point")):
            np.testing.assert_array_equal(x.reshape(wanted.parts[part].shape), wanted.parts[part])


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("how", [{"rank": 3}, {"ratio": 0.4}, {"energy": 0.3}, {"tolerance": 0.9}])
def test_matrices_of_a_stack_are_factorized_each_on_its_own(name, how):
    w = weights(STACKS[name])
    [tensor] = compress({name: w}, recipe_of(lowrank=Factorize(**how)))
    matrices = w.reshape(-1, *w.shape[-2:])
    rank = max(pyfq.svd_lowrank(matrix, **how).rank for matrix in matrices)
    assert tensor.plan.rule.lowrank.rank == rank
    assert tensor.parts[f"{name}_u"].shape == (*w.shape[:-1], rank)
    assert tensor.parts[f"{name}_v"].shape == (*w.shape[:-2], rank, w.shape[-1])
    back = decompress_tensor(tensor.plan, tensor.parts).reshape(matrices.shape)
    for one, matrix in zip(back, matrices, strict=True):
        np.testing.assert_array_equal(one, pyfq.svd_lowrank(matrix, rank).toarray())


@pytest.mark.parametrize("word", ["F64", "BF16"])
@pytest.mark.parametrize("method", ["rank", "factors", "residual", "energy"])
def test_factors_of_a_stack_are_read_back(method, word):
    name, shape = "experts", STACKS["experts"]
    array = in_word(weights(shape), word)
    tensor, dense = compressed(name, array, word, recipe_of(**METHODS[method]))
    assert tensor.plan.format == "lowrank"
    [read] = read_manifest(write_manifest([tensor.plan], "1")).values()
    np.testing.assert_array_equal(decompress_tensor(read, tensor.parts), dense, strict=True)
    found = pyfq.distortion(widen(array, word), widen(dense, word)).sqnr
    assert tensor.sqnr == pytest.approx(found, abs=0.2)


def test_a_stack_in_memory_is_its_factors():
    from pyfq.recipes import restore_tensor

    w = weights((2, 12, 20))
    [tensor] = compress({"experts": w}, recipe_of(lowrank=Factorize(2)))
    stack = restore_tensor(tensor.plan, tensor.parts)
    assert isinstance(stack, LowRankStack)
    np.testing.assert_allclose(stack.toarray(), stack.u @ stack.v, atol=1e-5)


def test_a_rule_can_say_what_a_row_is():
    w = weights((8, 40, 48))
    for rows, scales in (("first", (8, 1)), ("leading", (8, 40, 1))):
        recipe = recipe_of(quantize=Quantize(4, granularity=PerRow()), rows=rows)
        [tensor] = compress({"w": w}, recipe)
        assert tensor.parts["w_scale"].shape == scales
        peaks = np.abs(w.reshape(matrix_shape(w.shape, rows))).max(axis=-1, keepdims=True)
        np.testing.assert_allclose(tensor.parts["w_scale"], peaks / 7, rtol=1e-6)
        assert parse_recipe(recipe.settings()) == recipe


@pytest.mark.parametrize("rows", ["last", 0, ["first"], True])
def test_other_rows_are_refused(rows):
    with pytest.raises(ValueError, match="rows must be one of 'first', 'leading', not"):
        parse_recipe({"rule": [{"match": "*", "quantize": {}, "rows": rows}]}, "r")
    entry = {"dtype": "F32", "shape": [4, 4, 4], "format": "pyfq-packed", "quantize": {}}
    with pytest.raises(ValueError, match="rows must be one of"):
        read_manifest(json.dumps({"tensors": {"w": entry | {"rows": rows}}}))


def test_bits_of_a_kernel_are_those_asked_for():
    shapes = {"conv1x1": (128, 128, 1, 1), "conv3x3": (64, 32, 3, 3), "experts.w": (8, 256, 512)}
    words = dict.fromkeys(shapes, "F32")
    for tensor in plan(words, shapes, recipe_of(quantize=Quantize(4, granularity=PerRow()))):
        assert 4 < tensor.bits_per_weight < 4.3, tensor.name


def nm_along_channels(w, n, m):
    """Keep the n largest of every m input channels, at each place of the kernel."""
    kept = np.zeros_like(w)
    for at in np.ndindex(w.shape[0], *w.shape[2:]):
        row = w[at[0], :, *at[1:]]
        for start in range(0, len(row), m):
            block = row[start : start + m]
            large = np.sort(np.argsort(np.abs(block), kind="stable")[max(len(block) - n, 0) :])
            for i in large:
                kept[at[0], start + i, *at[1:]] = block[i]
    return kept


def nm_along_rows(w, n, m):
    rows = w.reshape(len(w), -1)
    as_kernel = rows.reshape(*rows.shape, 1, 1)
    return nm_along_channels(as_kernel, n, m).reshape(w.shape)


@pytest.mark.parametrize("shape", [(6, 8, 3, 3), (5, 6, 2, 3), (4, 12, 5), (3, 4, 2, 2, 3)])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 3)])
def test_nm_runs_along_rows_or_channels(shape, n, m):
    w = weights(shape)
    for along, wanted in (("row", nm_along_rows), ("channels", nm_along_channels)):
        recipe = recipe_of(prune=Prune("nm", (n, m), along=along))
        [tensor] = compress({"conv": w}, recipe)
        np.testing.assert_array_equal(tensor.parts["conv"], wanted(w, n, m), strict=True)
        assert parse_recipe(recipe.settings()) == recipe
    tensor, dense = compressed(
        "conv",
        w,
        "F32",
        recipe_of(prune=Prune("nm", (n, m), along="channels"), quantize=Quantize(8, range="full")),
    )
    assert (dense[nm_along_channels(w, n, m) == 0] == 0).all()
    np.testing.assert_array_equal(decompress_tensor(tensor.plan, tensor.parts), dense)


def test_nm_along_channels_of_a_matrix_is_along_its_rows():
    w = weights((8, 24))
    for name, x in (("w", w), ("experts", w.reshape(2, 4, 24))):
        [tensor] = compress({name: x}, recipe_of(prune=Prune("nm", (2, 4), along="channels")))
        np.testing.assert_array_equal(tensor.parts[name], pyfq.prune_nm(x, 2, 4).weights)


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({"nm": "2:4", "along": "column"}, "along must be one of 'row', 'channels'"),
        ({"ratio": 0.5, "along": "channels"}, "along is of nm, not of ratio"),
        ({"nm": "2:4", "along": "row", "per": "row"}, "nm has no granularity"),
    ],
)
def test_along_is_of_nm(prune, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe({"rule": [{"match": "*", "prune": prune}]})


def test_kernels_that_are_not_contiguous_are_refused_as_matrices_are():
    for w in (weights((3, 3, 8, 16)).T, weights((16, 8)).T):
        with pytest.raises(ValueError, match=r"'conv' cannot .* w must be C-contiguous"):
            list(compress({"conv": w}, recipe_of(quantize=Quantize(4))))


@pytest.mark.parametrize(
    ("name", "shape", "word", "methods", "reason"),
    [
        ("w", (), "F32", METHODS["row"], "would grow from 4 to 8 bytes"),
        ("b.weight", (2, 1), "F16", METHODS["affine row"], "would grow from 4 to 12 bytes"),
        ("w", (4, 1), "F32", METHODS["nf4"], "would grow from 16 to 84 bytes"),
        ("conv", (64, 1, 1, 1), "F32", METHODS["row"], "would grow from 256 to 544 bytes"),
        ("w", (4, 3), "F32", METHODS["row"], "would stay at 48 bytes"),
        ("w", (64, 64), "F16", {"quantize": Quantize(16)}, "would grow from 8192 to 8464 bytes"),
        ("w", (24, 40), "F32", {"lowrank": Factorize(16)}, "the largest rank that saves is 14"),
        ("conv", (24, 4, 10), "F32", {"lowrank": Factorize(16)}, "rank 16 .* 24 x 40: the largest"),
        ("experts", (2, 24, 40), "F32", {"lowrank": Factorize(16)}, "24 x 40: the largest"),
        ("w", (1, 9), "F32", {"lowrank": Factorize(1)}, "no rank saves any"),
        ("w", (24, 40), "F32", {"lowrank": Factorize(energy=0.999)}, "takes no fewer mult"),
        (
            "w",
            (24, 40),
            "F32",
            {"lowrank": Factorize(9, residual=Quantize(16))},
            "would grow from 3840 to",
        ),
    ],
)
def test_what_would_get_no_smaller_is_copied(name, shape, word, methods, reason):
    array = in_word(weights(shape), word)
    for dense in (False, True):
        [tensor] = compress({name: array}, recipe_of(**methods), words={name: word}, dense=dense)
        assert tensor.plan.rule is None
        assert (tensor.plan.format, tensor.plan.kept) == ("copy", True)
        assert tensor.parts[name] is array
        assert re.search(reason, tensor.plan.reason)


@pytest.mark.parametrize("methods", [{"precision": "float64"}, {"prune": Prune("ratio", 0.5)}])
def test_a_dtype_or_zeros_that_are_asked_for_are_no_matter_of_size(methods):
    [tensor] = compress({"w": weights((3, 4))}, recipe_of(**methods))
    assert tensor.plan.rule is not None


@pytest.mark.parametrize(
    ("name", "word", "shape", "reason"),
    [
        ("ids", "I64", (9, 9), "dtype I64"),
        ("empty", "F32", (0, 9, 3), "no entries"),
        ("lm_head", "F32", (90, 90), "left out by 'lm*'"),
        ("a.bias", "F32", (5000,), "1 axis"),
        ("a.scalar", "F32", (), "0 axes"),
        ("a.gamma", "F32", (1, 1, 5000), "1 axis longer than 1"),
        ("a.norm", "F32", (5000, 1, 1, 1), "1 axis longer than 1"),
        ("a.small", "BF16", (9, 9), "fewer than 100 entries"),
        ("b", "F32", (90, 90), "named by none of 'a*', 'x*'"),
    ],
)
def test_the_reason_of_a_copy_is_told(name, word, shape, reason):
    rules = (Rule(("lm*",)), Rule(("a*", "x*"), quantize=Quantize(4), min_ndim=2, min_size=100))
    [tensor] = plan({name: word}, {name: shape}, Recipe(rules))
    assert (tensor.rule, tensor.reason, tensor.kept) == (None, reason, False)


def test_min_ndim_takes_kernels_and_leaves_vectors():
    rule = Rule(("*",), quantize=Quantize(4), min_ndim=2)
    assert parse_recipe(Recipe((rule,)).settings()) == Recipe((rule,))
    for shape in ((4, 4), (1, 9), (9, 1), (3, 1, 4), (4, 4, 1, 1), (2, 2, 2, 2, 2)):
        assert rule.matches("w", "F32", shape), shape
    for shape in ((), (9,), (1, 1, 9), (9, 1, 1), (1, 9, 1, 1), (1, 1, 1)):
        assert not rule.matches("w", "F32", shape), shape


@pytest.mark.parametrize("bits", [4.0, 9.0, 15.0])
def test_a_budget_counts_a_copy_with_its_bytes_and_without_error(bits):
    model = {f"{i}.weight": in_word(weights((16, 64), seed=i), "F16") for i in range(4)}
    rule = Rule(("*",), quantize=Quantize("budget", granularity=PerRow()))
    found = list(compress(model, Recipe((rule,), Budget(bits, (2, 3, 8, 16)))))
    size = sum(tensor.plan.nbytes_after for tensor in found)
    assert 8 * size / (4 * 16 * 64) <= bits
    widths = [tensor.plan.rule and tensor.plan.rule.quantize.bits for tensor in found]
    sizes = {bits: tensor_bytes(bits) for bits in (2, 3, 8)} | {None: 2 * 16 * 64}
    possible = [
        choice
        for choice in itertools.product(sizes, repeat=4)
        if 8 * sum(map(sizes.get, choice)) / (4 * 16 * 64) <= bits
    ]
    most = max(sum(n is None for n in choice) for choice in possible)
    assert widths.count(None) <= most
    assert (widths.count(None) == 3) == (bits == 15.0)


def tensor_bytes(bits):
    rule = Rule(("*",), quantize=Quantize(bits, granularity=PerRow()))
    [tensor] = plan({"0.weight": "F16"}, {"0.weight": (16, 64)}, Recipe((rule,)))
    return tensor.nbytes_after


@pytest.mark.parametrize("rows", ["conv.weight", "conv1.weight", "experts.w", "nf4.conv"])
def test_files_whose_rows_lie_along_the_last_axis_are_read(tmp_path, rows):
    back = tmp_path / "back.safetensors"
    assert main(["decompress", str(DATA / "rows_of_last_axis.safetensors"), "-o", str(back)]) == 0
    with (
        open_safetensors(back) as found,
        open_safetensors(DATA / "rows_of_last_axis_dense.safetensors") as wanted,
    ):
        np.testing.assert_array_equal(found[rows], wanted[rows], strict=True)


MODEL = {
    "conv1x1.weight": weights((128, 128, 1, 1)),
    "conv3x3.weight": weights((64, 32, 3, 3)),
    "mlp.experts.down_proj": weights((4, 64, 96)),
    "fc.weight": weights((64, 128)),
    "conv.depthwise.weight": weights((512, 1, 3, 3)),
    "bn.weight": weights(64),
    "bn.bias": weights(64),
    "scale": weights((1, 1, 5000)),
    "tiny.weight": weights((4, 4)),
    "ones": weights((5000, 1)),
    "steps": np.arange(3),
}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, MODEL)
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "flags",
    [
        ["--bits", "4"],
        ["--bits", "3", "--per-row", "--scheme", "affine"],
        ["--method", "nf4"],
        ["--method", "lowrank"],
        ["--rank-energy", "0.3"],
        ["--target-bits", "5"],
        ["--target-bits", "5", "--method", "rtn"],
        ["--prune-nm", "2:4"],
    ],
)
def test_the_command_compresses_kernels_and_stacks(checkpoint, tmp_path, capsys, flags):
    packed, dense, back = (tmp_path / f"{name}.safetensors" for name in ("q", "d", "b"))
    assert run("compress", checkpoint, "-o", packed, *flags, "--json", tmp_path / "r.json") == 0
    assert run("compress", checkpoint, "-o", dense, *flags, "--dense") == 0
    assert run("decompress", packed, "-o", back) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "r.json").read_text())["tensors"]}
    for name in ("conv1x1.weight", "conv3x3.weight", "mlp.experts.down_proj", "fc.weight"):
        assert rows[name]["method"] != "copy"
    from safetensors.numpy import load_file

    found, wanted = load_file(back), load_file(dense)
    assert {name: x.shape for name, x in found.items()} == {n: x.shape for n, x in MODEL.items()}
    for name, x in found.items():
        np.testing.assert_array_equal(x, wanted[name], strict=True)
    load_file(packed)
    capsys.readouterr()
    assert run("inspect", packed, "--json", "-") == 0
    shown = {row["name"]: row for row in json.loads(capsys.readouterr().out)["tensors"]}
    for name, row in rows.items():
        assert shown[name]["shape"] == list(MODEL[name].shape)
        assert shown[name]["bits_per_weight"] == row["bits_per_weight"]


def test_the_report_names_what_is_copied_and_why(checkpoint, tmp_path, capsys):
    out = tmp_path / "q.safetensors"
    flags = ["-o", out, "--bits", "4", "--json", tmp_path / "r.json"]
    for more in (["--dry-run"], []):
        assert run("compress", checkpoint, *flags, *more) == 0
        lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert "ones copied: would grow from 20000 to 40016 bytes 20.0 kB 20.0 kB" in lines
        assert "bn.bias and 1 more copied: 1 axis 512 B 512 B" in lines
        assert "scale copied: 1 axis longer than 1 20.0 kB 20.0 kB" in lines
        assert "tiny.weight copied: fewer than 4096 entries 64 B 64 B" in lines
        assert "steps copied: dtype I64 24 B 24 B" in lines
        assert "copied, as they would get no smaller: 1 tensor, 20.0 kB" in lines
        report = json.loads((tmp_path / "r.json").read_text())
        rows = {row["name"]: row for row in report["tensors"]}
        assert rows["ones"]["reason"] == "would grow from 20000 to 40016 bytes"
        assert rows["ones"]["kept"] is True
        assert "reason" not in rows["fc.weight"]
        copied = {entry["reason"]: entry["tensors"] for entry in report["totals"]["copied"]}
        assert sum(copied.values()) == report["totals"]["tensors_copied"] == 6
        assert copied["1 axis"] == 2


@pytest.mark.parametrize(
    ("shapes", "flags", "told", "advised"),
    [
        ({"bias": (5000,)}, [], "1 copied: 1 axis", False),
        ({"w": (8, 8), "bias": (9,)}, [], "1 copied: fewer than 4096 entries", True),
        ({"w": (2, 1)}, [], "1 copied: fewer than 4096 entries", False),
        ({"w": (2, 1)}, ["--min-size", "1"], "1 copied: would grow from 8 to", False),
        ({"w": (64, 64)}, ["--exclude", "w"], "1 copied: left out by 'w'", False),
        ({"w": (64, 64)}, ["--rank-energy", "0.999"], "1 copied: rank ", False),
        ({"w": (64, 64)}, ["--rank", "60"], "the largest rank that saves is 31", False),
    ],
)
def test_a_run_with_nothing_to_do_says_why(tmp_path, capsys, shapes, flags, told, advised):
    model = {name: weights(shape) for name, shape in shapes.items()}
    write_safetensors(tmp_path / "m.safetensors", model)
    for more in ([], ["--dry-run"]):
        out = tmp_path / "q.safetensors"
        assert run("compress", tmp_path / "m.safetensors", "-o", out, *flags, *more) == 1
        error = capsys.readouterr().err
        assert "no tensor is to be compressed: " in error
        assert told in error
        assert ("--min-size" in error) == advised
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_model_of_kernels_is_compressed(tmp_path):
    model = {f"conv{i}.weight": weights((64, 64, 3, 3), seed=i) for i in range(3)}
    source, out = tmp_path / "m.safetensors", tmp_path / "q.safetensors"
    write_safetensors(source, model)
    assert run("compress", source, "-o", out) == 0
    assert out.stat().st_size < 0.27 * source.stat().st_size
    with open_safetensors(out) as file:
        q = pyfq.quantize(model["conv0.weight"].reshape(64, -1), 8, granularity=PerGroup(128))
        np.testing.assert_array_equal(file["conv0.weight_scale"], q.scale)
        np.testing.assert_array_equal(file["conv0.weight_shape"], (64, 64, 3, 3))


def test_scales_of_a_kernel_are_those_of_torch():
    torch = pytest.importorskip("torch")
    w = weights((16, 6, 3, 3))
    recipe = recipe_of(quantize=Quantize(8, granularity=PerRow()))
    [tensor] = compress({"conv": w}, recipe, dense=True)
    observer = torch.ao.quantization.PerChannelMinMaxObserver(
        ch_axis=0, dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-127,
        quant_max=127,
    )  # fmt: skip
    observer(torch.from_numpy(w))
    scale, zero_point = observer.calculate_qparams()
    wanted = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(w), scale, zero_point.to(torch.int32), 0, -127, 127
    )
    np.testing.assert_allclose(tensor.parts["conv"], wanted.numpy(), atol=float(scale.max()) * 1e-3)


def test_a_tensor_is_pruned_after_it_is_widened():
    w = weights((8, 4, 3, 3))
    rule = Rule(("*",), prune=Prune("ratio", 0.25, PerRow()))
    array = in_word(w, "BF16")
    [tensor] = plan({"conv": "BF16"}, {"conv": w.shape}, Recipe((rule,)))
    done = compress_tensor(tensor, array)
    zeros = (widen(done.parts["conv"], "BF16").reshape(8, -1) == 0).sum(axis=1)
    assert (zeros == 9).all()
