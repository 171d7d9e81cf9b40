"""Topic `convert` against its reference, everywhere, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from variants import everywhere, same

import pyfq
from pyfq import reference
from pyfq.arrays.convert import FORMATS

formats = st.sampled_from(sorted(FORMATS))
shapes = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=21)


def patterns(format):
    width = 8 if format.startswith("float8") else 16
    return np.arange(2**width, dtype=f"uint{width}")


def near(format):
    """Return float32 values at, halfway between and just beside all values of a format."""
    values = reference.cast_from(patterns(format), format)
    values = np.sort(values[np.isfinite(values)])
    halves = (values[1:].astype(np.float64) + values[:-1]) / 2
    x = np.concatenate([values, halves]).astype(np.float32)
    x = np.concatenate(
        [x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))]
    )
    return np.concatenate(
        [x, np.float32([np.nan, -np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0, -0.0])]
    )


@given(data=st.data(), format=formats, shape=shapes)
def test_cast_to_matches_reference(data, format, shape):
    x = data.draw(arrays(np.float32, shape, elements=st.floats(width=32)))
    want = reference.cast_to(x, format)
    for where in everywhere():
        same(pyfq.cast_to(x, format), want, where)


@pytest.mark.parametrize("format", FORMATS)
def test_cast_to_rounds_every_neighbour_as_the_reference_does(format):
    x = near(format)
    want = reference.cast_to(x, format)
    for where in everywhere():
        same(pyfq.cast_to(x, format), want, where)


@pytest.mark.parametrize("format", FORMATS)
def test_cast_from_every_pattern_matches_reference_and_comes_back(format):
    bits = patterns(format)
    want = reference.cast_from(bits, format)
    for where in everywhere():
        x = pyfq.cast_from(bits, format)
        same(x, want, where)
        np.testing.assert_array_equal(np.signbit(x), np.signbit(want))
        ordinary = ~np.isnan(x)
        same(pyfq.cast_to(x, format)[ordinary], bits[ordinary], where)


@pytest.mark.parametrize("format", FORMATS)
def test_casts_are_those_of_ml_dtypes(format):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs the oracles extra")
    dtype = np.float16 if format == "float16" else getattr(ml_dtypes, format)
    x = near(format)
    with np.errstate(over="ignore"):
        want = x.astype(dtype)
    got = pyfq.cast_to(x, format)
    nan = np.isnan(x) | np.isnan(want.astype(np.float32))
    np.testing.assert_array_equal(got[~nan], want.view(got.dtype)[~nan])
    assert np.isnan(pyfq.cast_from(got, format)[nan]).all()
    bits = patterns(format)
    np.testing.assert_array_equal(pyfq.cast_from(bits, format), bits.view(dtype).astype(np.float32))


def test_casts_of_large_arrays_on_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal(300_001).astype(np.float32)
    for format in FORMATS:
        want = reference.cast_to(x, format)
        for where in everywhere():
            same(pyfq.cast_to(x, format), want, where)
            same(pyfq.cast_from(want, format), reference.cast_from(want, format), where)


REFUSALS = [
    (lambda: pyfq.cast_to(np.ones(3), "bfloat16"), TypeError, "x must be float32, not float64"),
    (
        lambda: pyfq.cast_to(np.ones(3, np.float32), "bf16"),
        ValueError,
        "to must be one of 'bfloat16'",
    ),
    (
        lambda: pyfq.cast_from(np.ones(3, np.uint8), "bfloat16"),
        TypeError,
        "bits must be uint16, not uint8",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_convert_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
