"""Topic `linear` against its reference, everywhere, and what it refuses."""

import copy
import dataclasses
import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import dtypes, everywhere, granularities, same, weights

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.arrays.quantize import ROUNDINGS, SCHEMES

DTYPES = [np.float32, np.float64]
# Rows, columns and steps: around the edges of tiles (2 or 4 by 4 or 6), vectors (64 codes), chunks
# (48 rows), items (12 to 192 columns), and rows of codes that need padding and that do not.
SHAPES = [
    (1, 1, 1),
    (1, 193, 64),
    (2, 7, 63),
    (3, 12, 65),
    (4, 6, 128),
    (5, 11, 512),
    (47, 13, 100),
    (48, 4, 1),
    (49, 5, 200),
    (97, 200, 70),
    (200, 3, 1030),
]


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def layer(dtype, m, n, k, bits=8, **how):
    """Return activations, quantized weights and a bias."""
    w = random(dtype, n, k, seed=1) * np.exp(random(dtype, n, 1))
    return random(dtype, m, k), pyfq.quantize(w, bits, **how), random(dtype, n, seed=2)


def check(x, q, bias=None, activation=None):
    """Compare a product of codes with the reference everywhere, prepared and not."""
    want = reference.linear(x, q, bias, activation=activation, activation_bits=8)
    for where in everywhere():
        got = pyfq.linear(x, q, bias, activation=activation, activation_bits=8)
        same(got, want, where)
        for batch in (1, 1000):
            ready = pyfq.prepare(q, activation_bits=8, batch=batch)
            got = pyfq.linear(x, ready, bias, activation=activation)
            same(got, want, f"prepared for {batch} {where}")
    return want


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear_of_codes_matches_reference(dtype, shape):
    m, n, k = shape
    for scheme in SCHEMES:
        check(*layer(dtype, m, n, k, scheme=scheme))
    for granularity in (PerTensor(), PerGroup(64), PerGroup(37), PerGroup(256)):
        check(*layer(dtype, m, n, k, 4, scheme="affine", granularity=granularity))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", range(1, 9))
def test_linear_of_codes_of_any_width_and_granularity(bits, scheme):
    how = {"scheme": scheme}
    if (bits, scheme) == (1, "symmetric"):
        how |= {"range": "full", "scale": "signed_max"}
    for granularity in (PerTensor(), PerRow(), PerGroup(1), PerGroup(9), PerGroup(32)):
        for dtype in DTYPES:
            check(*layer(dtype, 6, 13, 101, bits, granularity=granularity, **how))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 31, 127, 128, 129, 300])
def test_linear_of_codes_of_four_bits(dtype, n):
    """Around panels of 128 rows, runs of 16 steps and tiles of 4 rows of activations."""
    for m, k in ((1, 1), (2, 15), (3, 16), (4, 17), (5, 33), (9, 130)):
        for bits, scheme in ((4, "symmetric"), (4, "affine"), (3, "minmax"), (2, "symmetric")):
            for granularity in (PerRow(), PerTensor(), PerGroup(16), PerGroup(23)):
                check(*layer(dtype, m, n, k, bits, scheme=scheme, granularity=granularity))


@pytest.mark.parametrize("granularity", [PerRow(), PerGroup(65536), PerGroup(69999), PerGroup(64)])
def test_linear_of_codes_of_four_bits_cannot_overflow(granularity):
    k = 70001
    x = np.tile(np.float32([[1], [-1], [1 / 3], [1]]), k)
    x[2, ::3] = 1
    x[3] = random(np.float32, k)
    for value, zero in ((15, 0), (-15, 15), (7, 3)):
        how = {"scheme": "affine", "granularity": granularity, "zero_point": zero}
        w = np.full((5, k), value, np.float32)
        w[1, ::2], w[2, 1::3] = 0, -value
        check(x, pyfq.quantize(w, 4, scale=1.0, **how))
        check(x, pyfq.quantize(w, 4, scale=1 / 3, **how))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_linear_of_codes_of_any_rounding(rounding):
    seed = 3 if rounding == "stochastic" else None
    how = {"rounding": rounding, "seed": seed, "range": "full", "scale": "signed_max"}
    check(*layer(np.float32, 9, 25, 100, 5, granularity=PerGroup(33), **how))


@given(data=st.data(), dtype=dtypes, granularity=granularities, scheme=st.sampled_from(SCHEMES))
def test_linear_of_any_codes_matches_reference(data, dtype, granularity, scheme):
    extent = st.integers(0, 17)
    k = data.draw(st.one_of(extent, st.integers(60, 140)))
    m, n, bits = data.draw(extent), data.draw(extent), data.draw(st.integers(2, 8))
    x = data.draw(weights(dtype, st.just((m, k))))
    w = data.draw(weights(dtype, st.just((n, k))))
    bias = data.draw(st.one_of(st.none(), weights(dtype, st.just((n,)))))
    activation = data.draw(st.sampled_from([None, "relu", ("leaky_relu", 0.1), "tanh"]))
    check(x, pyfq.quantize(w, bits, scheme=scheme, granularity=granularity), bias, activation)


@pytest.mark.parametrize("k", [65535, 65536, 65537, 131072 + 64 + 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_of_codes_cannot_overflow(dtype, k):
    """Sums of products as large as they get, of parts of 65536 steps."""
    for sign, zero in ((1, 0), (-1, 255), (-1, 0)):
        x = np.full((3, k), sign, dtype)
        x[1, ::2] = -sign
        x[2, 65536:] = 0
        for granularity in (PerRow(), PerGroup(65537), PerGroup(40000)):
            q = pyfq.quantize(
                np.full((5, k), 255 if zero == 0 else -255, dtype),
                8,
                scheme="affine",
                granularity=granularity,
                scale=1.0,
                zero_point=zero,
            )
            got = check(x, q)
            if granularity == PerRow():
                want = sign * k * (255.0 if zero == 0 else -255.0)
                np.testing.assert_allclose(got[0], want, rtol=3e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_of_codes_at_the_ends_of_their_ranges(dtype):
    """-128 and 255, which saturate where bytes are multiplied in pairs (oneDNN's known answers)."""
    x = np.array([[127, 127, 0, 0], [-127, -127, 127, 127]], dtype)
    for w, scheme in (([255, 255, 0, 0], "affine"), ([-128, -128, -128, 127], "symmetric")):
        q = pyfq.quantize(np.array([w], dtype), 8, scheme=scheme, range="full", scale=1.0)
        assert q.codes.tolist() == [w]
        want = x.astype(int) @ np.array([w]).T
        same(check(x, q), want.astype(dtype), scheme)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_of_codes_of_extreme_magnitudes(dtype):
    info = np.finfo(dtype)
    x, q, bias = layer(dtype, 5, 7, 90)
    for size in (info.max / 8, info.tiny, info.smallest_subnormal * 100, 0):
        check((x * dtype(size)).astype(dtype), q, bias)
        for scheme in SCHEMES:
            w = np.clip(q.dequantize() / 8, -1, 1) * dtype(size)
            check(x, pyfq.quantize(w.astype(dtype), 8, scheme=scheme), bias)
    with np.errstate(over="ignore"):
        assert not np.isfinite(check(np.full_like(x, info.max), q)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_of_codes_is_near_the_product(dtype):
    """The bound: half a step of x for every weight, half a step of w for every activation."""
    w = random(dtype, 60, 300)
    x, q = random(dtype, 40, 300), pyfq.quantize(w, 8, granularity=PerGroup(64))
    got = pyfq.linear(x, q, activation_bits=8)
    reals, steps = q.dequantize(), np.abs(x).max(axis=1, keepdims=True) / 127
    room = steps / 2 * np.abs(reals).sum(axis=1) * (1 + 1e-3)
    assert (np.abs(got - x @ reals.T) <= room).all()
    error = np.abs(x.astype(np.float64) @ (reals - w).T)
    assert (np.abs(got - x.astype(np.float64) @ w.T) <= room + error).all()


@pytest.mark.parametrize("activation_bits", [None, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_rows_do_not_depend_on_their_neighbours(dtype, activation_bits):
    """Weights prepared or as codes; products with an array of weights are those of matmul."""
    x, q, bias = layer(dtype, 60, 50, 300, granularity=PerGroup(128))
    for where in everywhere():
        ready = pyfq.prepare(q, activation_bits=activation_bits)
        whole = pyfq.linear(x, ready, bias)
        for first, last in ((0, 1), (1, 3), (3, 7), (7, 20), (10, 59)):
            part = pyfq.linear(x[first:last], ready, bias)
            same(part, whole[first:last], f"{first}:{last} {where}")


@pytest.mark.parametrize("activation_bits", [None, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_is_the_same_for_any_number_of_threads(dtype, activation_bits):
    first = {}
    for m in (1, 300):
        x, q, bias = layer(dtype, m, 500, 400, granularity=PerGroup(128))
        for where in everywhere():
            isa = where.partition(",")[0]
            for w in (q, pyfq.prepare(q, activation_bits=activation_bits)):
                bits = activation_bits if w is q else None
                got = pyfq.linear(x, w, bias, activation="softmax", activation_bits=bits)
                key = (m, isa, w is q and activation_bits is None)
                same(got, first.setdefault(key, got), where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(50)])
def test_linear_of_weights_alone_is_that_of_their_reals(dtype, granularity):
    for bits in (2, 4, 8, 12):
        for scheme in SCHEMES:
            for m in (1, 3, 20):
                x, q, bias = layer(dtype, m, 33, 130, bits, scheme=scheme, granularity=granularity)
                for where in everywhere():
                    want = pyfq.linear(x, q.dequantize(), bias)
                    same(pyfq.linear(x, q, bias), want, f"{bits} bits {scheme} {where}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 3, 4, 5, 50])
def test_linear_of_arrays_is_matmul(dtype, m):
    """Of rows of the transpose; prepared, of the plain matrix, which is not summed in lanes."""
    for n, k in ((1, 1), (70, 600), (17, 33)):
        x, w, bias = random(dtype, m, k), random(dtype, n, k), random(dtype, n)
        turned = np.ascontiguousarray(w.T)
        for where in everywhere():
            want = pyfq.matmul(x, w, transpose_b=True, bias=bias)
            same(pyfq.linear(x, w, bias), want, where)
            want = pyfq.matmul(x, turned, bias=bias)
            same(pyfq.linear(x, pyfq.prepare(w), bias), want, f"prepared {where}")
            same(
                pyfq.linear(x, pyfq.prepare(pyfq.quantize(w, 8))),
                pyfq.linear(x, pyfq.prepare(pyfq.quantize(w, 8).dequantize())),
                f"prepared quantized {where}",
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_of_arrays_is_near_the_reference(dtype):
    x, w, bias = random(dtype, 30, 300), random(dtype, 40, 300), random(dtype, 40)
    want = reference.linear(x, w, bias)
    eps = np.finfo(dtype).eps
    room = 301 * eps * (np.abs(x) @ np.abs(w).T + np.abs(bias))
    for where in everywhere():
        for weights_given in (w, pyfq.prepare(w)):
            assert (np.abs(pyfq.linear(x, weights_given, bias) - want) <= room).all(), where
    q = pyfq.quantize(w, 4, granularity=PerGroup(32))
    got = pyfq.linear(x, q, bias)
    assert (np.abs(got - reference.linear(x, q, bias)) <= room * 2).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [*ACTIVATIONS, ("leaky_relu", 0.3)])
def test_linear_activates_what_it_has_multiplied(dtype, activation):
    for m, n in ((1, 300), (60, 230)):
        x, q, bias = layer(dtype, m, n, 40)
        for where in everywhere():
            for w, bits in ((q, 8), (q, None), (q.dequantize(), None), (pyfq.prepare(q), None)):
                plain = pyfq.linear(x, w, bias, activation_bits=bits)
                got = pyfq.linear(x, w, bias, activation=activation, activation_bits=bits)
                same(got, pyfq.activate(plain, activation), f"{type(w).__name__} {where}")


def each_form(w):
    """Return weights in every form, and the bits of activations."""
    q = pyfq.quantize(w, 8, granularity=PerGroup(16))
    return [
        (w, None),
        (q, None),
        (q, 8),
        (pyfq.prepare(w), None),
        (pyfq.prepare(q), None),
        (pyfq.prepare(q, activation_bits=8), None),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow(), PerGroup(16)])
@pytest.mark.parametrize("codebook", ["nf4", "lloyd"])
def test_linear_of_a_codebook_matches_reference(dtype, codebook, granularity):
    x, w, bias = random(dtype, 5, 40), random(dtype, 7, 40), random(dtype, 7)
    q = pyfq.quantize_codebook(w, codebook, granularity=granularity)
    want = reference.linear(x, q, bias, activation="relu")
    same(want, reference.linear(x, q.dequantize(), bias, activation="relu"), "reference")
    room = 100 * np.finfo(dtype).eps * np.abs(want).max()
    for where in everywhere():
        got = pyfq.linear(x, q, bias, activation="relu")
        np.testing.assert_allclose(got, want, rtol=0, atol=room, err_msg=where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("granularity", [PerTensor(), PerRow()])
@pytest.mark.parametrize("step", [0.1, 0.001])
def test_linear_of_entropy_coded_weights_is_that_of_their_codes(dtype, granularity, step):
    x, w, bias = random(dtype, 5, 40), random(dtype, 7, 40), random(dtype, 7)
    coded = pyfq.quantize_rate(w, step=step, granularity=granularity)
    q = coded.to_quantized()
    same(pyfq.linear(x, coded, bias), pyfq.linear(x, q, bias), "floats")
    same(pyfq.linear(x, pyfq.prepare(coded)), pyfq.linear(x, pyfq.prepare(q)), "prepared")
    if q.bits > 8:
        for call in (pyfq.linear, lambda x, w, **bits: pyfq.prepare(w, **bits)):
            with pytest.raises(ValueError, match="weights of at most 8 bits, not 16"):
                call(x, coded, activation_bits=8)
        return
    want = pyfq.linear(x, q, bias, activation_bits=8)
    same(pyfq.linear(x, coded, bias, activation_bits=8), want, "codes")
    same(pyfq.linear(x, pyfq.prepare(coded, activation_bits=8), bias), want, "prepared codes")
    with pytest.raises(ValueError, match="not RateQuantized"):
        pyfq.linear(x, coded, accumulation="float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_takes_any_leading_axes(dtype):
    x, w, bias = random(dtype, 2, 3, 4, 40), random(dtype, 7, 40), random(dtype, 7)
    for form, bits in each_form(w):
        got = pyfq.linear(x, form, bias, activation_bits=bits, activation="softmax")
        want = pyfq.linear(
            x.reshape(24, 40), form, bias, activation_bits=bits, activation="softmax"
        )
        same(got, want.reshape(2, 3, 4, 7), "leading axes")
        one = pyfq.linear(x[1, 2, 3], form, bias, activation_bits=bits)
        same(one, pyfq.linear(x[1, 2, 3:], form, bias, activation_bits=bits)[0], "no axes")


@pytest.mark.parametrize("x_shape", [(0, 6), (3, 0), (2, 0, 6), (2, 3, 0), (0, 0), (0,), (6,)])
@pytest.mark.parametrize("n", [0, 5])
def test_linear_without_entries(x_shape, n):
    x, w = np.ones(x_shape, np.float32), np.ones((n, x_shape[-1]), np.float32)
    bias = np.arange(n, dtype=np.float32)
    for form, bits in each_form(w):
        for b in (None, bias):
            got = pyfq.linear(x, form, b, activation_bits=bits, activation="softmax")
            plain = reference.linear(x, w, b)
            assert got.shape == (*x_shape[:-1], n)
            np.testing.assert_allclose(got, reference.activate(plain, "softmax"), rtol=1e-6)


def test_linear_writes_where_it_is_told():
    x, w = random(np.float32, 9, 30), random(np.float32, 12, 30)
    x.flags.writeable = w.flags.writeable = False
    for form, bits in each_form(w):
        out = np.full((9, 12), np.nan, np.float32)
        assert pyfq.linear(x, form, activation_bits=bits, out=out) is out
        same(out, pyfq.linear(x, form, activation_bits=bits), "out")


def test_linear_leaves_its_arguments_alone():
    x, q, bias = layer(np.float32, 9, 12, 30, scheme="affine", granularity=PerGroup(7))
    before = [part.copy() for part in (x, bias, q.packed, q.scale, q.zero_point)]
    for bits in (None, 8):
        pyfq.linear(x, q, bias, activation_bits=bits)
        pyfq.prepare(q, activation_bits=bits)
    for got, want in zip((x, bias, q.packed, q.scale, q.zero_point), before, strict=True):
        same(got, want, "arguments")


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_passes_nan_and_inf_on_unless_it_quantizes(dtype):
    x, w = random(dtype, 20, 100), random(dtype, 30, 100)
    x[3, 50], x[7, 8], w[5, 9] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        want = x @ w.T
    for where in everywhere():
        for form in (w, pyfq.prepare(w)):
            got = pyfq.linear(x, form)
            for what in (np.isnan, np.isposinf, np.isneginf):
                same(what(got), what(want), f"{what.__name__} {where}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_linear_of_codes_refuses_what_is_not_finite(dtype, bad):
    x, q, _ = layer(dtype, 30, 5, 100)
    x = x.reshape(2, 15, 100)
    x[1, 3, 70] = bad
    for where in everywhere():
        for w, bits in ((q, 8), (pyfq.prepare(q, activation_bits=8), None)):
            message = rf"x must be finite, but x\[1, 3, 70\] is {bad}"
            with pytest.raises(ValueError, match=message):
                pyfq.linear(x, w, activation_bits=bits)
            with pytest.raises(ValueError, match=rf"x must be finite, but x\[70\] is {bad}"):
                pyfq.linear(x[1, 3], w, activation_bits=bits)
                pytest.fail(where)


def test_prepare_says_what_it_holds():
    w = random(np.float64, 6, 300)
    p = pyfq.prepare(w)
    assert (p.shape, p.dtype, p.activation_bits) == ((6, 300), np.float64, None)
    assert p.nbytes >= w.nbytes
    q = pyfq.quantize(w.astype(np.float32), 8)
    p = pyfq.prepare(q, activation_bits=8)
    assert (p.shape, p.dtype, p.activation_bits) == ((6, 300), np.float32, 8)
    assert q.nbytes < p.nbytes < q.dequantize().nbytes
    assert q.nbytes < pyfq.prepare(q).nbytes < pyfq.prepare(q.dequantize()).nbytes


def test_linear_published_values():
    """MatMulInteger of ONNX: uint8 with a zero point, by integers that are exact."""
    a = np.array([[11, 7, 3], [10, 6, 2], [9, 5, 1], [8, 4, 0]]) - 12
    x = np.hstack([a, np.full((4, 1), 127)]).astype(np.float32)  # so that the step is 1
    w = np.array([[1, 2, 3, 0], [4, 5, 6, 0]], np.float32)
    q = pyfq.quantize(w, 8, scheme="affine", scale=1.0, zero_point=3)
    want = np.array([[-38, -83], [-44, -98], [-50, -113], [-56, -128]], np.float32)
    same(check(x, q), want, "MatMulInteger")


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_is_that_of_torch(dtype):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    x, w, bias = random(dtype, 3, 5, 300), random(dtype, 40, 300), random(dtype, 40)
    want = torch.nn.functional.linear(*map(torch.from_numpy, (x, w, bias))).numpy()
    room = 301 * np.finfo(dtype).eps * (np.abs(x) @ np.abs(w).T + np.abs(bias))
    for form in (w, pyfq.prepare(w)):
        assert (np.abs(pyfq.linear(x, form, bias) - want) <= room).all()


def test_linear_is_matmulinteger_of_onnx():
    onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
    ort = pytest.importorskip("onnxruntime", reason="needs the oracles extra")
    x, q, _ = layer(np.float32, 13, 29, 200, scheme="affine")
    left = pyfq.quantize(x, 8)
    integer = onnx.TensorProto.INT32
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("MatMulInteger", ["a", "b", "za", "zb"], ["y"])
    inputs = {
        "a": (left.codes.astype(np.int16) + 128).astype(np.uint8),
        "b": np.ascontiguousarray(q.codes.T),
        "za": np.array(128, np.uint8),
        "zb": q.zero_point.reshape(-1),
    }
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [info(name, onnx.TensorProto.UINT8, part.shape) for name, part in inputs.items()],
        [info("y", integer, (13, 29))],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])
    model.ir_version = 10
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, inputs)
    want = sums.astype(np.float32) * q.scale.reshape(-1) * left.scale
    for where in everywhere():
        same(pyfq.linear(x, q, activation_bits=8), want, where)


ONES = np.ones((2, 4), np.float32)
WEIGHTS = np.ones((3, 4), np.float32)


@pytest.mark.parametrize("make", [pyfq.linear, pyfq.prepare], ids=lambda f: f.__name__)
def test_linear_refuses_weights(make):
    first = (ONES,) if make is pyfq.linear else ()
    for w, error, message in (
        ([[1.0]], TypeError, "w must be a NumPy array, not list"),
        (None, TypeError, "w must be a NumPy array, not NoneType"),
        (np.ma.ones((3, 4)), TypeError, "w must be a NumPy array, not MaskedArray"),
        (np.ones((3, 4), np.float16), TypeError, "w must be float32 or float64, not float16"),
        (np.ones((3, 4), int), TypeError, "w must be float32 or float64, not int64"),
        (np.ones((4, 3), np.float32).T, ValueError, "w must be C-contiguous"),
        (np.ones(4, np.float32), ValueError, r"w must have 2 axes, .* not shape \(4,\)"),
        (np.ones((1, 3, 4), np.float32), ValueError, r"w must have 2 axes, .*\(1, 3, 4\)"),
        (pyfq.quantize(np.ones((1, 3, 4)), 8), ValueError, r"w must have 2 axes, .*\(1, 3, 4\)"),
    ):
        with pytest.raises((error, TypeError), match=message):
            make(*(np.ones((2, 4), w.scale.dtype),) if hasattr(w, "scale") and first else first, w)


def test_linear_refuses_activations_that_do_not_fit():
    for form, bits in each_form(WEIGHTS):
        for x, error, message in (
            ([1.0], TypeError, "x must be a NumPy array, not list"),
            (np.ones((2, 4)), TypeError, "x must be float32, not float64"),
            (np.ones((2, 8), np.float32)[:, ::2], ValueError, "x must be C-contiguous"),
            (
                np.ones((2, 5), np.float32),
                ValueError,
                r"x must have shape \(\.\.\., 4\) .*\(2, 5\)",
            ),
            (np.array(1, np.float32), ValueError, r"x must have shape \(\.\.\., 4\) .*not \(\)"),
        ):
            with pytest.raises(error, match=message):
                pyfq.linear(x, form, activation_bits=bits)


def test_linear_refuses_biases():
    for form, bits in each_form(WEIGHTS):
        for bias, error, message in (
            (np.ones(4, np.float32), ValueError, r"bias must have shape \(3,\), not \(4,\)"),
            (np.ones(3), TypeError, "bias must be float32, not float64"),
            (np.ones(6, np.float32)[::2], ValueError, "bias must be C-contiguous"),
            (2.0, TypeError, "bias must be a NumPy array, not float"),
        ):
            with pytest.raises(error, match=message):
                pyfq.linear(ONES, form, bias, activation_bits=bits)


def test_linear_refuses_outputs():
    x, room = np.ones((4, 4), np.float32), np.ones((5, 4), np.float32)
    w = np.ones((4, 4), np.float32)
    for arguments, out, message in (
        ((x, w), x, "out must not overlap an input"),
        ((x, w), w, "out must not overlap an input"),
        ((x, w, room[4]), room[1:], "out must not overlap an input"),
        ((x, w), np.ones((4, 5), np.float32), r"out must have shape \(4, 4\), not \(4, 5\)"),
        ((x, w), np.ones((4, 8), np.float32)[:, ::2], "out must be C-contiguous"),
    ):
        with pytest.raises(ValueError, match=message):
            pyfq.linear(*arguments, out=out)
    for form, bits in each_form(w):
        with pytest.raises(TypeError, match="out must be float32, not float64"):
            pyfq.linear(x, form, activation_bits=bits, out=np.ones((4, 4)))
        with pytest.raises(ValueError, match="out must not overlap an input"):
            pyfq.linear(x, form, activation_bits=bits, out=x)


@pytest.mark.parametrize("rows", [0, 2])
def test_linear_refuses_unknown_activations(rows):
    for form, bits in each_form(WEIGHTS):
        with pytest.raises(ValueError, match=r"activation must be None, one of 'relu', .*'swish'"):
            pyfq.linear(ONES[:rows], form, activation="swish", activation_bits=bits)
        with pytest.raises(TypeError, match="slope of activation must be a number, not str"):
            pyfq.linear(ONES, form, activation=("leaky_relu", "1"), activation_bits=bits)


def test_prepared_stays_where_it_is():
    """Another instruction set would read other vectors."""
    prepared = pyfq.prepare(WEIGHTS)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="Prepared weights cannot be pickled"):
            pickle.dumps(prepared, protocol)


def test_copies_of_what_is_prepared_are_it():
    prepared = pyfq.prepare(WEIGHTS)
    found = pyfq.Fastest("prepared", prepared, "", {"prepared": 1.0})
    for f in (copy.copy, copy.deepcopy):
        assert f(prepared) is prepared
        assert f(found).weights is prepared
        assert f([prepared])[0] is prepared


def changeable(x):
    """Return a form of weights, made of arrays that can be written to, and these arrays."""
    if isinstance(x, np.ndarray):
        x = x.copy()
        return x, [x]
    parts, arrays = {}, []
    for f in dataclasses.fields(x):
        part = getattr(x, f.name)
        holds_arrays = isinstance(part, np.ndarray | pyfq.Quantized)
        parts[f.name], own = changeable(part) if holds_arrays else (part, [])
        arrays += own
    return type(x)(**parts), arrays


@pytest.mark.parametrize("rows", [1, 3, 4, 40])
def test_prepared_weights_are_copies(rows):
    w, x = random(np.float32, rows, 32), random(np.float32, 2, 32)
    forms = [(form, None) for form in (w, pyfq.to_half(w), pyfq.quantize_codebook(w))]
    forms.append((pyfq.svd_lowrank(w, 1), None))
    for bits, granularity in itertools.product((2, 4, 8), (PerTensor(), PerRow(), PerGroup(8))):
        q = pyfq.quantize(w, bits, scheme="minmax", granularity=granularity)
        forms += [(q, None), (q, 8)]
    for form, bits in forms:
        for batch in (1, 1000):
            given, arrays = changeable(form)
            prepared = pyfq.prepare(given, activation_bits=bits, batch=batch)
            before = pyfq.linear(x, prepared)
            for array in arrays:
                array[...] = 1
            same(pyfq.linear(x, prepared), before, f"{type(form).__name__}, {bits} bits")


GUARDED = """
import ctypes, dataclasses, mmap, sys
import numpy as np
import pyfq
from pyfq import _native


def guarded(x):
    \"\"\"Return an array that ends where a page begins that nobody may read.\"\"\"
    size = -(-x.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    room = mmap.mmap(-1, size + mmap.PAGESIZE)
    address = np.frombuffer(room, np.uint8).ctypes.data
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + size), mmap.PAGESIZE, 0) == 0
    y = np.frombuffer(room, x.dtype, x.size, size - x.nbytes).reshape(x.shape)
    y[...] = x
    return y


for isa in _native.runnable():
    _native.lib = _native.load(isa)
    for n in (5, 300, 1251):
        w = np.ones((n, 600), np.float32)
        q = pyfq.quantize(w, 4, granularity=pyfq.PerGroup(32))
        for ready in (
            pyfq.prepare(w),
            pyfq.prepare(q),
            pyfq.prepare(q, activation_bits=8),
            pyfq.prepare(pyfq.quantize(w, 8), activation_bits=8),
        ):
            layout = dataclasses.replace(ready.layout, memory=guarded(ready.layout.memory))
            ready = dataclasses.replace(ready, layout=layout)
            for m in (1, 2, 3, 4, 5, 7, 12, 13, 25):
                for threads in (1, 2, 3, 5, 8):
                    with pyfq.num_threads(threads):
                        pyfq.linear(np.ones((m, 600), np.float32), ready)
                    print(isa, layout.formats, m, n, threads, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages of memory")
def test_linear_reads_no_further_than_weights_are_prepared(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(GUARDED)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{run.stderr}, after {run.stdout.splitlines()[-1:]}"


@pytest.mark.parametrize("activation_bits", [None, 8])
@pytest.mark.parametrize("name", ["scale", "minimum"])
def test_linear_refuses_parameters_that_are_not_finite(name, activation_bits):
    q = pyfq.quantize(WEIGHTS, 4, scheme="minmax")
    bad = getattr(q, name).copy()
    bad[1, 0] = np.nan
    with pytest.raises(ValueError, match=rf"{name} must be finite, but {name}\[1, 0\] is nan"):
        dataclasses.replace(q, **{name: bad})
    below = getattr(q, name).copy()
    q = dataclasses.replace(q, **{name: below})
    below[1, 0] = np.nan  # whoever made the array can still write to it
    with pytest.raises(ValueError, match=rf"{name} must be finite, but {name}\[1, 0\] is nan"):
        pyfq.linear(ONES, q, activation_bits=activation_bits)
    with pytest.raises(ValueError, match=rf"{name} must be finite, but {name}\[1, 0\] is nan"):
        pyfq.prepare(q, activation_bits=activation_bits)


def test_prepare_refuses_batches():
    for batch, error, message in (
        (0, ValueError, "batch must be at least 1, not 0"),
        (1.5, TypeError, "batch must be an integer, not float"),
    ):
        with pytest.raises(error, match=message):
            pyfq.prepare(WEIGHTS, batch=batch)


def test_linear_refuses_activation_bits():
    q = pyfq.quantize(WEIGHTS, 8)
    for w, bits, message in (
        (q, 4, "activation_bits must be None or 8, not 4"),
        (q, "8", "activation_bits must be None or 8, not '8'"),
        (q, 0, "activation_bits must be None or 8, not 0"),
        (q, np.array([8, 8]), "activation_bits must be None or 8, not array"),
        (WEIGHTS, 8, "activation_bits=8 needs quantized weights, not ndarray"),
        (pyfq.quantize(WEIGHTS, 9), 8, "activation_bits=8 needs weights of at most 8 bits, not 9"),
    ):
        with pytest.raises(ValueError, match=message):
            pyfq.linear(ONES, w, activation_bits=bits)
        with pytest.raises(ValueError, match=message):
            pyfq.prepare(w, activation_bits=bits)
    with pytest.raises(ValueError, match="w is prepared for activation_bits=None, not 8"):
        pyfq.linear(ONES, pyfq.prepare(q), activation_bits=8)
    ready = pyfq.prepare(q, activation_bits=8)
    with pytest.raises(ValueError, match="w is prepared for activation_bits=8, not 4"):
        pyfq.linear(ONES, ready, activation_bits=4)
    same(pyfq.linear(ONES, ready, activation_bits=8), pyfq.linear(ONES, ready), "as prepared")
