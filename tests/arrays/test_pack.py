"""Topic `pack` against its reference, everywhere, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from variants import everywhere, same

import pyfq
from pyfq import reference

shapes = array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=41)


def drawn_codes(data, bits, signed, shape):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    dtype = np.dtype(f"{'int' if signed else 'uint'}{8 if bits <= 8 else 16}")
    return data.draw(arrays(dtype, shape, elements=st.integers(low, high)))


@given(
    data=st.data(),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    shape=shapes,
    word=st.sampled_from([np.uint8, np.int32]),
)
def test_pack_matches_reference_and_unpack_undoes_it(data, bits, signed, shape, word):
    codes = drawn_codes(data, bits, signed, shape)
    want = reference.pack(codes, bits, word)
    for where in everywhere():
        packed = pyfq.pack(codes, bits, word)
        same(packed, want, where)
        same(pyfq.unpack(packed, bits, shape[-1], signed=signed), codes, where)
    same(reference.unpack(want, bits, shape[-1], signed=signed), codes, "reference")


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_pack_of_large_arrays_on_any_number_of_threads(bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    dtype = f"{'int' if signed else 'uint'}{8 if bits <= 8 else 16}"
    codes = np.random.default_rng(bits).integers(low, low + 2**bits, (37, 8197)).astype(dtype)
    want = reference.pack(codes, bits)
    for where in everywhere():
        same(pyfq.pack(codes, bits), want, where)
        same(pyfq.unpack(want, bits, 8197, signed=signed), codes, where)


@pytest.mark.parametrize("bits", range(1, 9))
def test_pack_into_words_is_the_order_of_compressed_tensors(bits):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    oracle = pytest.importorskip(
        "compressed_tensors.compressors.pack_quantized.helpers", reason="needs the oracles extra"
    )
    codes = (
        np.random.default_rng(0)
        .integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (5, 67))
        .astype(np.int8)
    )
    want = oracle.pack_to_int32(torch.from_numpy(codes), bits).numpy()
    same(pyfq.pack(codes, bits, np.int32), want, "compressed-tensors")


W = np.ones((3, 4), np.int8)
REFUSALS = [
    (
        lambda: pyfq.pack(W.astype(np.int32), 4),
        TypeError,
        "codes must be int8 or uint8 or int16 or uint16, not int32",
    ),
    (lambda: pyfq.pack(W, 9), ValueError, "bits must be 1 ... 8, not 9"),
    (
        lambda: pyfq.pack(W * 8, 4),
        ValueError,
        "codes must be -8 ... 7 for 4 bits, but entry 0 is 8",
    ),
    (lambda: pyfq.pack(W, 4, np.int64), TypeError, "dtype must be uint8 or int32, not int64"),
    (lambda: pyfq.pack(W[0, 0], 4), TypeError, "codes must be a NumPy array"),
    (lambda: pyfq.pack(np.array(1, np.int8), 4), ValueError, r"codes must have an axis"),
    (lambda: pyfq.unpack(W, 4, 4), TypeError, "packed must be uint8 or int32, not int8"),
    (
        lambda: pyfq.unpack(np.ones((3, 4), np.uint8), 4, 9),
        ValueError,
        r"packed must have shape \(..., 5\) for 9 codes",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_pack_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
