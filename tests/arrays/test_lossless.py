"""Topic `lossless` against its reference, everywhere; damaged streams; and what it refuses."""

import random
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from variants import everywhere, same

import pyfq
from pyfq import reference
from pyfq.arrays.lossless import BLOCK, ENTRY

DTYPES = (np.float64, np.float32, np.float16, np.uint16, np.uint8)
KINDS = ("weights", "pruned", "signed zeros", "denormals", "bits", "zeros", "narrow")

# The reference with the coder of the package: a code at a time takes too long for many.
quick_encode = partial(reference.lossless_encode, coder=pyfq.entropy_encode)
quick_decode = partial(reference.lossless_decode, decoder=pyfq.entropy_decode)


def bits_of(w):
    return w.view(f"u{w.itemsize}")


def drawn(dtype, kind, shape, seed=0):
    """Return numbers of a kind; of words their bits."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if kind == "bits":
        return rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype).reshape(shape)
    w = np.asarray(rng.standard_normal(shape) * 0.03)
    if kind in ("pruned", "signed zeros", "denormals"):
        w[np.abs(w) < 0.02] = 0
    if kind == "zeros":
        w = np.zeros(shape)
    if kind == "signed zeros":
        w = np.where(w == 0, np.where(rng.random(shape) < 0.5, -0.0, 0.0), w)
    if kind == "narrow":
        w = bits_to_bfloat16(w)
    w = np.asarray(as_words(np.asarray(w), dtype))
    if kind == "denormals" and w.size > 3:
        bits_of(w).reshape(-1)[[0, 3]] = 1
    return w


def bits_to_bfloat16(w):
    return (w.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)


def as_words(w, dtype):
    if dtype == np.uint16:
        return (np.asarray(w, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if dtype == np.uint8:  # E5M2: the upper byte of a float16
        return (w.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)
    return w.astype(dtype)


def same_bits(got, want, where):
    assert got.dtype == want.dtype
    same(bits_of(got), bits_of(want), where)


@given(
    shape=array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32),
)
def test_streams_match_reference_and_decoding_undoes_them(shape, dtype, kind, seed):
    w = drawn(dtype, kind, shape, seed)
    want = reference.lossless_encode(w)
    for where in everywhere():
        stream = pyfq.lossless_encode(w)
        same(stream, want, where)
        same_bits(pyfq.lossless_decode(stream), w, where)
    same_bits(reference.lossless_decode(want), w, "reference")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_match_reference_on_any_number_of_threads(dtype, kind):
    w = drawn(dtype, kind, (3, 61, 997))  # two blocks whole, and a part of a third
    assert 2 * BLOCK < w.size < 3 * BLOCK
    want = quick_encode(w)
    for where in everywhere():
        same(pyfq.lossless_encode(w), want, where)
        same_bits(pyfq.lossless_decode(want), w, where)
    same_bits(quick_decode(want), w, "reference")


@pytest.mark.parametrize("dtype", [np.float16, np.uint16, np.uint8])
def test_all_patterns_come_back(dtype):
    """In order, so that blocks hold few symbols, and shuffled."""
    w = np.arange(2 ** (8 * np.dtype(dtype).itemsize)).astype(f"u{np.dtype(dtype).itemsize}")
    for patterns in (w, np.random.default_rng(0).permutation(w), np.tile(w, 2)):
        numbers = patterns.view(dtype)
        for where in everywhere():
            same_bits(pyfq.lossless_decode(pyfq.lossless_encode(numbers)), numbers, where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 7, 1023, 1024, 1025, 2049, BLOCK, BLOCK + 1])
def test_small_and_odd_sizes(dtype, size):
    for kind in KINDS:
        w = drawn(dtype, kind, (size,))
        same_bits(pyfq.lossless_decode(pyfq.lossless_encode(w)), w, kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 2), (1,), (1, 1, 1, 1, 1)])
def test_shapes_come_back(dtype, shape):
    w = np.full(shape, 3, dtype)
    got = pyfq.lossless_decode(pyfq.lossless_encode(w))
    assert (got.shape, got.dtype) == (shape, dtype)
    same_bits(got, w, str(shape))


def bits_each(w):
    return 8 * pyfq.lossless_encode(w).size / w.size


def test_pruned_weights_take_less_by_what_was_pruned():
    w = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32) * 0.02
    whole = bits_each(w)
    assert whole < 26.6
    pruned = pyfq.prune_ratio(w, 0.5).weights
    assert bits_each(pruned) < 1.03 * whole / 2
    signed = np.where(np.abs(w) < np.median(np.abs(w)), w * 0, w)  # zeros of both signs
    assert bits_each(signed) < bits_each(pruned) + 0.52
    assert bits_each(pyfq.prune_ratio(w, 0.9).weights) < 3.4
    assert bits_each(np.zeros((1024, 1024), np.float32)) < 0.02


def test_bits_of_other_dtypes():
    w = np.random.default_rng(0).standard_normal((1024, 1024)) * 0.02
    assert bits_each(as_words(w, np.dtype(np.uint16))) < 10.7
    assert bits_each(w.astype(np.float16)) < 13.7
    assert bits_each(w) < 57.5
    assert bits_each(as_words(w, np.dtype(np.uint8))) < 5.8
    assert bits_each(bits_to_bfloat16(w).astype(np.float32)) < 10.7
    assert bits_each(w.astype(np.float32).astype(np.float64)) < 33.5


def test_what_has_no_order_grows_by_little():
    w = drawn(np.float32, "bits", (1024, 1024))
    assert bits_each(w) < 32.2


def test_out_is_filled():
    w = drawn(np.float32, "pruned", (70, 33))
    stream = pyfq.lossless_encode(w)
    out = np.empty_like(w)
    assert pyfq.lossless_decode(stream, out=out) is out
    same_bits(out, w, "out")
    with pytest.raises(ValueError, match="out must have shape"):
        pyfq.lossless_decode(stream, out=np.empty((33, 70), np.float32))
    with pytest.raises(TypeError, match="out must be float32"):
        pyfq.lossless_decode(stream, out=np.empty((70, 33)))
    with pytest.raises(ValueError, match="overlap"):
        shared = np.zeros(4 * -(-stream.size // 4) + w.nbytes, np.uint8)
        shared[: stream.size] = stream
        out = shared.view(np.float32)[: w.size].reshape(w.shape)
        pyfq.lossless_decode(shared[: stream.size], out=out)


def test_streams_may_lie_anywhere():
    w = drawn(np.float32, "pruned", (70, 33))
    stream = pyfq.lossless_encode(w)
    for offset in range(1, 8):
        moved = np.concatenate([np.zeros(offset, np.uint8), stream])[offset:]
        moved.flags.writeable = False
        same_bits(pyfq.lossless_decode(moved), w, str(offset))


@pytest.mark.parametrize("w", [[1.0], np.ones(3, np.int32), np.ones(3, ">f4"), np.ones(3, np.int8)])
def test_encode_refuses_other_dtypes(w):
    with pytest.raises(TypeError, match="w must be"):
        pyfq.lossless_encode(w)


def test_encode_refuses_other_orders():
    with pytest.raises(ValueError, match="w must be C-contiguous"):
        pyfq.lossless_encode(np.ones((4, 4))[:, ::2])


def test_decode_refuses_what_is_no_stream():
    with pytest.raises(TypeError, match="stream must be uint8"):
        pyfq.lossless_decode(np.ones(30, np.int8))
    with pytest.raises(ValueError, match="stream must be 1-d"):
        pyfq.lossless_decode(np.ones((30, 2), np.uint8))
    with pytest.raises(ValueError, match="less than a header's 20"):
        pyfq.lossless_decode(np.ones(19, np.uint8))
    with pytest.raises(ValueError, match="ends before its shape"):
        pyfq.lossless_decode(pyfq.lossless_encode(np.ones((3, 3)))[:30])
    with pytest.raises(ValueError, match="must begin with b'FQLL'"):
        pyfq.lossless_decode(pyfq.entropy_encode(np.ones((9, 9), np.int8)))


def sealed(stream, *changes):
    """Return a stream with bytes changed, and the checksum of its head that they ask for."""
    stream = bytearray(stream.tobytes())
    for at, value in changes:
        stream[at] = value
    axes = stream[7]
    extents = struct.unpack_from(f"<{axes}Q", stream, 20) if len(stream) >= 20 + 8 * axes else ()
    blocks = -(-int(np.prod(extents, dtype=object)) // BLOCK) if stream[6] > 1 else 0
    end = min(20 + 8 * axes + 12 * blocks, len(stream))
    crc = zlib.crc32(stream[20:end], zlib.crc32(stream[:16]))
    struct.pack_into("<I", stream, 16, crc)
    return np.frombuffer(stream, np.uint8)


@pytest.mark.parametrize(
    "changes, message",
    [
        ([(4, 2)], "version 2"),
        ([(5, ord("i"))], "header says numbers b'i' of 4 bytes"),
        ([(6, 3)], "of 3 bytes"),
        ([(7, 65)], "65 axes"),
        ([(15, 1)], "ends before its symbols"),
        ([(8, 0), (9, 0)], "must have|its symbols|damaged"),
        ([(27, 128)], "too large"),
        ([(26, 128)], "ends before its symbols"),
        ([(20, 71)], "rests|shape|index|its symbols"),
        ([(36 + 4, 3)], "block 0 of its index is none"),
        ([(36 + 4, 0)], "block 0 of its index is none"),
        ([(36 + 4, 2)], "stream must have"),
        ([(36 + 5, 8)], "block 0 of its index is none"),
        ([(36 + 5, 3)], "stream must have"),
        ([(36 + 6, 1)], "block 0 of its index is none"),
        ([(36 + 2, 1)], "block 0 of its index is none"),
        ([(36 + 8, 1), (36 + 9, 1)], "of the rests of block 0 bytes do not have their checksum"),
    ],
)
def test_decode_refuses_false_heads(changes, message):
    stream = pyfq.lossless_encode(drawn(np.float32, "pruned", (70, 33)))
    assert stream[36:].size > ENTRY.itemsize
    with pytest.raises(ValueError, match=message):
        pyfq.lossless_decode(sealed(stream, *changes))


def rewritten(w, layout, rests, symbols=None):
    """Return a stream of one block with an index and rests of our own, all checksums right."""
    symbols = pyfq.lossless_encode(w) if symbols is None else symbols
    good = symbols.tobytes()
    (nbytes,) = struct.unpack_from("<Q", good, 8)
    at = 20 + 8 * w.ndim
    kept, left_out, planes = layout
    entry = struct.pack("<IBBHI", kept, left_out, planes, 0, zlib.crc32(rests))
    text = good[:at] + entry + good[at + 12 : at + 12 + nbytes] + rests
    return sealed(np.frombuffer(text, np.uint8))


def test_decode_refuses_rests_of_other_numbers():
    w = drawn(np.float32, "pruned", (70, 33))
    kept = int(np.count_nonzero(w))
    with pytest.raises(ValueError, match="rests are left over or missing"):
        pyfq.lossless_decode(rewritten(w, (kept - 1, 1, 7), bytes(3 * kept - 3)))
    with pytest.raises(ValueError, match="rests are left over or missing"):
        pyfq.lossless_decode(rewritten(w, (kept + 1, 1, 7), bytes(3 * kept + 3)))
    signs = -(-(w.size - kept) // 8)
    assert (w.size - kept) % 8
    with pytest.raises(ValueError, match="bits beyond its signs"):
        pyfq.lossless_decode(rewritten(w, (kept, 2, 0), b"\xff" * signs))
    got = pyfq.lossless_decode(rewritten(w, (kept, 2, 0), bytes(signs)))
    assert np.array_equal(got == 0, w == 0)


def test_decode_refuses_symbols_of_other_arrays():
    w = drawn(np.float32, "pruned", (70, 33))
    good = pyfq.lossless_encode(w).tobytes()
    (nbytes,) = struct.unpack_from("<Q", good, 8)
    for codes in (np.zeros((70, 33), np.int8), np.zeros((3, 770), np.int16)):
        symbols = pyfq.entropy_encode(codes).tobytes()
        text = bytearray(good[:48] + symbols + good[48 + nbytes :])
        struct.pack_into("<Q", text, 8, len(symbols))
        with pytest.raises(ValueError, match="stream is damaged: its symbols"):
            pyfq.lossless_decode(sealed(np.frombuffer(text, np.uint8)))


def test_a_head_of_many_numbers_takes_no_memory():
    w = np.zeros(100, np.uint8)
    stream = bytearray(pyfq.lossless_encode(w).tobytes())
    struct.pack_into("<Q", stream, 20, 2**50)
    with pytest.raises(ValueError, match="its symbols have shape"):
        pyfq.lossless_decode(sealed(np.frombuffer(stream, np.uint8)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["pruned", "signed zeros", "bits"])
def test_damaged_streams_are_refused(dtype, kind):
    """Bytes changed, cut off, put in, with and without the checksum of the head made right."""
    w = drawn(dtype, kind, (23, 47))
    stream = pyfq.lossless_encode(w)
    dice = random.Random(5)
    for _ in range(250):
        text = bytearray(stream.tobytes())
        for _ in range(dice.choice([1, 1, 2, 5])):
            at = dice.randrange(dice.choice([len(text), min(len(text), 100)]))
            way = dice.randrange(4)
            if way == 0:
                text[at] ^= 1 << dice.randrange(8)
            elif way == 1:
                text[at] = dice.choice([0, 1, 127, 128, 255])
            elif way == 2:
                del text[at : at + dice.choice([1, 2, 4, 1000])]
                text = text or bytearray(1)
            else:
                text[at:at] = dice.randbytes(dice.choice([1, 2, 4]))
        damaged = np.frombuffer(text, np.uint8)
        if len(text) > 20 and text[7] < 3 and dice.random() < 0.5:
            damaged = sealed(damaged)
        if np.array_equal(damaged, stream):
            continue
        try:
            got = pyfq.lossless_decode(damaged)
        except ValueError:
            continue
        # Only the shape is not bound to what follows: where its head was sealed again.
        assert same_or_reshaped(got, w)


def same_or_reshaped(got, w):
    kinds = {got.dtype.itemsize, w.dtype.itemsize}
    return len(kinds) == 1 and np.array_equal(bits_of(got).reshape(-1), bits_of(w).reshape(-1))
