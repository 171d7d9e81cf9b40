"""Topic `quantize` against its reference, everywhere, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from scipy.special import ndtri
from variants import everywhere, granularities, large, same, weights

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference
from pyfq.arrays.quantize import ROUNDINGS, SCALES, SCHEMES

DTYPES = [np.float32, np.float64]
GRANULARITIES = [PerTensor(), PerRow(), PerGroup(64), PerGroup(37), PerGroup(10_000)]


def check(w, bits, **how):
    """Compare codes, parameters and reals with the reference, everywhere."""
    granularity = how.get("granularity", PerRow())
    want = reference.quantize(w, bits, **how)
    reals = reference.dequantize(*want, granularity=granularity)
    assert np.isfinite(reals).all()
    for where in everywhere():
        got = pyfq.quantize(w, bits, **how)
        same(got.codes, want[0], where)
        for part, wanted in zip((got.scale, got.zero_point, got.minimum), want[1:], strict=True):
            assert (part is None) == (wanted is None)
            if part is not None:
                same(part, wanted, where)
        same(got.dequantize(), reals, where)
    same(pyfq.fake_quantize(w, bits, **how), reals, "fake_quantize")
    return want[0]


@st.composite
def manners(draw):
    """Draw arguments of `quantize` that go together."""
    how = {
        "scheme": draw(st.sampled_from(SCHEMES)),
        "rounding": draw(st.sampled_from(ROUNDINGS)),
        "granularity": draw(granularities),
        "reciprocal": draw(st.booleans()),
    }
    bits = draw(st.integers(1, 16))
    if how["scheme"] == "symmetric":
        how["range"] = draw(st.sampled_from(["narrow", "full"]))
        how["scale"] = draw(st.sampled_from([None, *SCALES]))
        if bits == 1:
            how |= {"range": "full", "scale": "signed_max"}
    if how["rounding"] == "stochastic":
        how["seed"] = draw(st.integers(0, 2**64 - 1))
    return bits, how


@given(w=weights(), manner=manners())
def test_quantize_matches_reference(w, manner):
    bits, how = manner
    check(w, bits, **how)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 11])
def test_quantize_of_large_arrays_on_any_number_of_threads(dtype, granularity, scheme, bits):
    check(large(dtype), bits, granularity=granularity, scheme=scheme)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("shape", [(300_001,), (2, 149_999), (149_999, 2)])
def test_quantize_of_every_rounding_and_aspect_on_any_number_of_threads(rounding, shape):
    seed = 7 if rounding == "stochastic" else None
    for granularity in (PerTensor(), PerRow(), PerGroup(33)):
        check(
            large(np.float32, shape=shape), 5, rounding=rounding, seed=seed, granularity=granularity
        )


@given(
    w=weights(),
    bits=st.integers(1, 16),
    scale=st.sampled_from([1.0, 0.1, 1e-30, 1e30, -0.5]),
    rounding=st.sampled_from(ROUNDINGS[:-1]),
    data=st.data(),
)
def test_quantize_with_a_given_scale_matches_reference(w, bits, scale, rounding, data):
    how = {"scale": scale, "rounding": rounding, "granularity": data.draw(granularities)}
    check(w, bits, range="full", **how)
    zero_point = data.draw(st.integers(0, 2**bits - 1))
    check(w, bits, scheme="affine", scale=scale, zero_point=zero_point, rounding=rounding)


def test_quantize_takes_a_scale_for_each_group():
    w = large(np.float32)
    scale = np.random.default_rng(1).uniform(0.01, 0.1, (301, 16)).astype(np.float32)
    check(w, 8, scale=scale, granularity=PerGroup(64))
    zeros = np.random.default_rng(1).integers(0, 256, (301, 16)).astype(np.uint8)
    check(w, 8, scale=scale, zero_point=zeros, scheme="affine", granularity=PerGroup(64))


@given(
    w=weights(),
    width=st.integers(1, 16),
    fraction_bits=st.integers(-20, 40),
    signed=st.booleans(),
    rounding=st.sampled_from(ROUNDINGS),
    overflow=st.sampled_from(["saturate", "wrap"]),
)
def test_quantize_fixed_point_matches_reference(
    w, width, fraction_bits, signed, rounding, overflow
):
    m = width - fraction_bits - signed
    how = {"signed": signed, "rounding": rounding, "overflow": overflow}
    how["seed"] = 3 if rounding == "stochastic" else None
    codes, scale = reference.quantize_fixed_point(w, m, fraction_bits, **how)
    for where in everywhere():
        got = pyfq.quantize_fixed_point(w, m, fraction_bits, **how)
        same(got.codes, codes, where)
        same(got.scale, scale, where)


@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize(
    ("rounding", "word"), [("half_even", "RND_CONV"), ("half_up", "RND"), ("floor", "TRN")]
)
@pytest.mark.parametrize("signed", [False, True])
def test_quantize_fixed_point_is_that_of_vitis_hls(overflow, rounding, word, signed):
    oracle = pytest.importorskip(
        "quantizers.fixed_point.fixed_point_ops_np", reason="needs the oracles extra"
    )
    w = np.random.default_rng(0).normal(0, 3, 10_000).astype(np.float32)
    w[::5] = np.round(w[::5] * 64) / 64
    m, n = 2, 5
    quantizer = oracle.get_fixed_quantizer_np(word, {"saturate": "SAT", "wrap": "WRAP"}[overflow])
    want = quantizer(w, np.float32(signed), np.float32(m), np.float32(n))
    got = pyfq.quantize_fixed_point(w, m, n, signed=signed, rounding=rounding, overflow=overflow)
    np.testing.assert_array_equal(got.dequantize(), want)


def test_stochastic_rounding_uses_the_published_outputs_of_splitmix64():
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert reference.quantize.__module__ == "pyfq.reference.arrays.quantize"
    from pyfq.reference.arrays.quantize import splitmix64

    assert splitmix64(1234567, 5).tolist() == published


def test_stochastic_rounding_is_unbiased():
    w = np.full(1_000_000, 0.3)
    codes = pyfq.quantize(
        w, 8, granularity=PerTensor(), scale=1.0, rounding="stochastic", seed=1
    ).codes
    assert codes.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / w.size))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", [0.0, -0.0, 3.0, -3.0, 1e-45, -3e-44, 3.4e38, -3.4e38])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_constant_groups_come_back_finite_and_close(scheme, value, bits):
    w = np.full((2, 5), value, np.float32)
    got = pyfq.quantize(w, bits, scheme=scheme).dequantize()
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, w, rtol=2e-7, atol=np.finfo(np.float32).smallest_subnormal)


@given(
    w=weights(shapes=array_shapes(max_dims=2, max_side=21)),
    bits=st.integers(2, 12),
    scheme=st.sampled_from(SCHEMES),
)
def test_error_is_at_most_half_a_step(w, bits, scheme):
    got = pyfq.quantize(w, bits, scheme=scheme)
    wide = w.astype(np.longdouble)
    error = np.abs(got.dequantize().astype(np.longdouble) - wide)
    largest = np.abs(wide).max(axis=-1, keepdims=True)
    step = np.abs(got.scale.astype(np.longdouble))
    rounding = 4 * np.finfo(w.dtype).eps * largest + np.finfo(w.dtype).smallest_subnormal
    slack = (
        step if scheme == "affine" else step / 2
    )  # a rounded zero point may cost a code at one end
    assert (error <= slack + rounding).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_gaussian_sqnr_is_that_of_the_optimal_uniform_quantizer(bits):
    narrow = {
        2: (1.22401, 7.208),
        3: (0.65077, 13.292),
        4: (0.35341, 18.898),
        5: (0.19325, 24.326),
        6: (0.10549, 29.709),
        7: (0.05726, 35.106),
        8: (0.03087, 40.540),
    }
    full = {
        2: (1.04839, 8.256),
        3: (0.60182, 13.911),
        4: (0.33861, 19.258),
        5: (0.18879, 24.527),
        6: (0.10418, 29.818),
        7: (0.05689, 35.163),
        8: (0.03077, 40.570),
    }
    w = ndtri((np.arange(4_000_000) + 0.5) / 4_000_000)  # evenly spread: no sampling noise
    for range_, table in (("narrow", narrow), ("full", full)):
        step, sqnr = table[bits]
        q = pyfq.quantize(w, bits, granularity=PerTensor(), scale=step, range=range_)
        assert q.error(w).sqnr == pytest.approx(sqnr, abs=0.005)


def test_int4_blocks_of_gaussian_data_have_the_published_error():
    w = np.random.default_rng(0).standard_normal((16_384, 128))
    for size, mse in ((32, 9.409e-3), (64, 1.1590e-2), (128, 1.3759e-2)):
        assert pyfq.quantize(w, 4, granularity=PerGroup(size)).error(w).mse == pytest.approx(
            mse, rel=3e-3
        )


def test_bits_per_weight_counts_everything():
    w = large(np.float32, shape=(64, 128))
    assert pyfq.quantize(w, 8).bits_per_weight == 8 + 32 / 128
    q = pyfq.quantize(w, 4, scheme="affine", granularity=PerGroup(32))
    assert q.bits_per_weight == 4 + (32 + 8) / 32
    assert q.nbytes == 64 * 128 // 2 + 64 * 4 * 5


def test_quantize_reads_a_read_only_memory_map(tmp_path):
    np.save(tmp_path / "w.npy", large(np.float32))
    w = np.load(tmp_path / "w.npy", mmap_mode="r")
    same(pyfq.quantize(w).codes, reference.quantize(np.array(w))[0], "memory map")


def test_dequantize_in_another_dtype_and_into_out():
    q = pyfq.quantize(large(np.float32), 6)
    wide = q.dequantize(np.float64)
    np.testing.assert_array_equal(wide, q.codes * q.scale.astype(np.float64))
    out = np.empty_like(wide)
    assert q.dequantize(np.float64, out=out) is out
    same(out, wide, "out")


def test_reciprocals_of_denormal_scales_do_not_overflow():
    w = np.array([[0, 1e-40, -1e-40, 5e-41]], np.float32)
    codes = check(w, 8, reciprocal=True)
    assert codes.tolist() == [[0, 127, -127, 63]]


def parts(**other):
    """Return arguments of `Quantized` that fit each other, but for `other`."""
    fitting = {
        "packed": np.zeros((2, 6), np.uint8),
        "shape": (2, 6),
        "bits": 8,
        "signed": False,
        "granularity": PerGroup(3),
        "scale": np.ones((2, 2), np.float32),
        "zero_point": np.zeros((2, 2), np.uint8),
    }
    return fitting | other


MISFITS = [
    ({"shape": (2, 600)}, ValueError, r"packed must have shape \(2, 600\), not \(2, 6\)"),
    ({"bits": 16}, ValueError, r"packed must have shape \(2, 12\)"),
    ({"bits": 17}, ValueError, "bits must be 1 ... 16"),
    ({"granularity": PerRow()}, ValueError, r"scale must have shape \(2, 1\), not \(2, 2\)"),
    ({"scale": np.ones((2, 2), np.float16)}, TypeError, "scale must be float32 or float64"),
    ({"zero_point": np.zeros((2, 2))}, TypeError, "zero_point must be uint8, not float64"),
    ({"zero_point": np.zeros((2, 1), np.uint8)}, ValueError, "zero_point must have shape"),
    (
        {"zero_point": np.full((2, 2), 16, np.uint8), "bits": 4, "packed": np.zeros((2, 3), "u1")},
        ValueError,
        "zero_point must be at most 15 for unsigned codes of 4 bits, not 16",
    ),
    ({"signed": True}, ValueError, "zero_point must be None for signed codes"),
    ({"minimum": np.zeros((2, 2))}, TypeError, "minimum must be float32, not float64"),
]


@pytest.mark.parametrize(("other", "error", "message"), MISFITS)
def test_quantized_refuses_parts_that_do_not_fit(other, error, message):
    assert pyfq.Quantized(**parts()).dequantize().shape == (2, 6)
    with pytest.raises(error, match=message):
        pyfq.Quantized(**parts(**other))


def test_dequantize_refuses_parameters_that_it_cannot_use():
    wide = pyfq.quantize(np.array([[1e300, 0, -1e300]]))
    with pytest.raises(ValueError, match="scale does not fit float32: dequantize to float64"):
        wide.dequantize(np.float32)
    tiny = pyfq.quantize(np.array([[1e-300, 0]]))
    with pytest.raises(ValueError, match="scale does not fit float32"):
        tiny.dequantize(np.float32)
    with pytest.raises(ValueError, match=r"scale must be finite, but scale\[0, 1\] is nan"):
        pyfq.Quantized(**parts(scale=np.full((2, 2), [1, np.nan], np.float32))).dequantize()
    each = pyfq.quantize(np.ones((3, 4), np.float32), granularity=PerGroup(1))
    with pytest.raises(ValueError, match="out must not overlap an input"):
        each.dequantize(out=each.scale)


W = np.ones((3, 4), np.float32)
NAN = np.array([[1, 2], [3, np.inf]], np.float32)
REFUSALS = [
    (
        lambda: pyfq.quantize(W.astype(np.float16)),
        TypeError,
        "w must be float32 or float64, not float16",
    ),
    (lambda: pyfq.quantize(W.byteswap().view(">f4")), TypeError, "w must be float32 or float64"),
    (lambda: pyfq.quantize(W[:, ::2]), ValueError, "w must be C-contiguous"),
    (lambda: pyfq.quantize(W, 17), ValueError, "bits must be 1 ... 16, not 17"),
    (lambda: pyfq.quantize(W, 8.0), TypeError, "bits must be an integer, not float"),
    (
        lambda: pyfq.quantize(W, 1, scale="absmax_half"),
        ValueError,
        "bits=1 leaves scheme 'symmetric' no positive code",
    ),
    (lambda: pyfq.quantize(W, 1, scale=0.5), ValueError, "bits=1 leaves scheme 'symmetric'"),
    (lambda: pyfq.quantize(W, 1), ValueError, "bits=1 leaves scheme 'symmetric' no positive code"),
    (
        lambda: pyfq.quantize(W, scheme="asymmetric"),
        ValueError,
        "scheme must be one of 'symmetric', 'affine', 'minmax'",
    ),
    (lambda: pyfq.quantize(W, rounding="up"), ValueError, "rounding must be one of 'half_even'"),
    (
        lambda: pyfq.quantize(W, range="wide"),
        ValueError,
        "range must be one of 'narrow', 'full', not 'wide'",
    ),
    (lambda: pyfq.quantize(W, rounding="stochastic"), ValueError, "seed must be given"),
    (lambda: pyfq.quantize(W, seed=1), ValueError, "seed is of rounding 'stochastic'"),
    (
        lambda: pyfq.quantize(W, scale="absmax", scheme="affine"),
        ValueError,
        "scale='absmax' is of scheme 'symmetric'",
    ),
    (lambda: pyfq.quantize(W, scale="max"), ValueError, "scale must be one of 'absmax'"),
    (lambda: pyfq.quantize(W, scale=0.0), ValueError, "scale must not be 0"),
    (
        lambda: pyfq.quantize(W, scale=np.ones((3, 1))),
        TypeError,
        "scale must be float32, not float64",
    ),
    (
        lambda: pyfq.quantize(W, scale=np.ones(3, np.float32)),
        ValueError,
        r"scale must have shape \(3, 1\), not \(3,\)",
    ),
    (
        lambda: pyfq.quantize(W, scale=1.0, scheme="minmax"),
        ValueError,
        "scale cannot be given with scheme 'minmax'",
    ),
    (
        lambda: pyfq.quantize(W, zero_point=1),
        ValueError,
        "zero_point needs a given scale and scheme 'affine'",
    ),
    (
        lambda: pyfq.quantize(W, 4, scale=1.0, scheme="affine", zero_point=16),
        ValueError,
        "zero_point must be 0 ... 15",
    ),
    (
        lambda: pyfq.quantize(W, scale=1.0, scheme="affine", zero_point=0.5),
        TypeError,
        "zero_point must be integers",
    ),
    (lambda: pyfq.quantize(NAN), ValueError, r"w must be finite, but w\[1, 1\] is inf"),
    (lambda: pyfq.quantize(NAN, granularity=PerTensor()), ValueError, r"w\[1, 1\] is inf"),
    (lambda: pyfq.quantize(NAN, scale=1.0), ValueError, r"w\[1, 1\] is inf"),
    (
        lambda: pyfq.quantize_fixed_point(W, 10, 10),
        ValueError,
        r"must be 1 ... 16, not 10 \+ 10 \+ 1 = 21",
    ),
    (lambda: pyfq.quantize_fixed_point(W, 200, -190), ValueError, "fraction_bits must be"),
    (
        lambda: pyfq.quantize(W).dequantize(np.float16),
        TypeError,
        "dtype must be float32 or float64, not float16",
    ),
    (
        lambda: pyfq.quantize(W).error(W[:2]),
        ValueError,
        r"w must have shape \(3, 4\), not \(2, 4\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_quantize_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (2, 1), (8, 3)])
def test_a_scale_beyond_the_largest_number_is_refused(shape, dtype):
    w = np.full(shape, 0.9 * np.finfo(dtype).max, dtype)
    for granularity in (pyfq.PerRow(), pyfq.PerGroup(1), pyfq.PerTensor()):
        with pytest.raises(ValueError, match="scale must be finite"):
            pyfq.quantize(w, 1, scale="absmax_half", range="full", granularity=granularity)
