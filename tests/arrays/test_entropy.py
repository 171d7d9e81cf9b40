"""Topic `entropy` against its reference, everywhere; damaged streams; and what it refuses."""

import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from variants import everywhere, same

import pyfq
from pyfq import reference
from pyfq.arrays import entropy
from pyfq.reference.arrays.entropy import cost, next_state, normalized

TRELLISES = (None, 4, 8)
SPREADS = (0.0, 0.3, 1.5, 20.0, 400.0)


def numbers(rng, shape, dtype, trellis, spread):
    """Return numbers of a spread, as far as their codes fit; a few are far out."""
    high = np.iinfo(dtype).max // (1 if trellis is None else 2)
    q = rng.standard_normal(shape) * spread
    far = rng.random(shape) < 0.002
    q = np.where(far & (spread >= 20), q * 300, q)
    return np.clip(np.rint(q), -high - 1, high).astype(np.int64)


def path_of(q, trellis):
    """Return the codes of numbers along the trellis, from its rule."""
    codes = np.empty_like(q)
    block_rows = entropy.rows_of_block(max(q.shape[1], 1))
    for r, row in enumerate(q.tolist()):
        if r % block_rows == 0:
            t = [0] * 8
        for c, number in enumerate(row):
            lane = c % 8
            codes[r, c] = 2 * number + (t[lane] & 1)
            t[lane] = next_state(t[lane], number, trellis)
    return codes


def drawn_codes(seed, shape, dtype=np.int8, trellis=None, spread=1.5):
    q = numbers(np.random.default_rng(seed), shape, dtype, trellis, spread)
    return (q if trellis is None else path_of(q, trellis)).astype(dtype)


def sealed(stream):
    """Return a stream with the checksums that its bytes have, as far as its index can be found."""
    stream = bytearray(stream)
    places = block_places(stream)
    if places is not None and places[0] + 12 * len(places[1]) <= len(stream):
        at, blocks = places
        for i, (first, end) in enumerate(blocks):
            struct.pack_into("<I", stream, at + 12 * i + 8, zlib.crc32(stream[first:end]))
        checksum = zlib.crc32(stream[32 : at + 12 * len(blocks)], zlib.crc32(stream[:28]))
        struct.pack_into("<I", stream, 28, checksum)
    return np.frombuffer(stream, np.uint8)


def block_places(stream):
    """Return where the index begins, and where each block does and ends; None if they are lost."""
    try:
        states, _, classes, rows, _, block_rows = struct.unpack_from("<BBBQQI", stream, 5)
        at = 32
        for _ in range(classes * (1 + (states > 1))):
            left, at = stream[at + 1] + 1, at + 2
            while left:
                left, at = left - 1, at + 1 + (stream[at] >= 128)
        at += (rows + 1) // 2 if classes > 1 else 0
        at += -at % 4
        blocks, end = [], at + 12 * -(-rows // block_rows)
        for i in range(min(-(-rows // block_rows), 1000)):
            words, escapes = struct.unpack_from("<II", stream, at + 12 * i)
            n = 16 + words + escapes
            blocks.append((end, end + 2 * (n + n % 2)))
            end = blocks[-1][1]
    except (struct.error, IndexError, ZeroDivisionError):
        return None
    return at, blocks


@given(
    shape=array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40),
    dtype=st.sampled_from([np.int8, np.int16]),
    trellis=st.sampled_from(TRELLISES),
    spread=st.sampled_from(SPREADS),
    seed=st.integers(0, 2**32),
    labels=st.sampled_from([None, 1, 3, 16]),
)
def test_streams_match_reference_and_decoding_undoes_them(
    shape, dtype, trellis, spread, seed, labels
):
    codes = drawn_codes(seed, shape, dtype, trellis, spread)
    classes = None
    if labels:
        classes = np.random.default_rng(seed).integers(0, labels, shape[0]).astype(np.uint8)
    want = reference.entropy_encode(codes, trellis=trellis, classes=classes)
    for where in everywhere():
        stream = pyfq.entropy_encode(codes, trellis=trellis, classes=classes)
        same(stream, want, where)
        same(pyfq.entropy_decode(stream), codes, where)
    same(reference.entropy_decode(want), codes, "reference")


@pytest.mark.parametrize("trellis", TRELLISES)
@pytest.mark.parametrize("dtype, shape", [(np.int8, (401, 397)), (np.int16, (3, 70001))])
def test_blocks_match_reference_on_any_number_of_threads(dtype, shape, trellis):
    codes = drawn_codes(1, shape, dtype, trellis, 20.0)
    classes = np.arange(shape[0], dtype=np.uint8) % 2
    want = reference.entropy_encode(codes, trellis=trellis, classes=classes)
    for where in everywhere():
        same(pyfq.entropy_encode(codes, trellis=trellis, classes=classes), want, where)
        same(pyfq.entropy_decode(want), codes, where)


@pytest.mark.parametrize("trellis", TRELLISES)
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (1, 7), (9, 1), (2, 1027)])
def test_small_and_odd_shapes(shape, dtype, trellis):
    for spread in SPREADS:
        codes = drawn_codes(2, shape, dtype, trellis, spread)
        stream = pyfq.entropy_encode(codes, trellis=trellis)
        same(pyfq.entropy_decode(stream), codes, f"{spread}")
        header = pyfq.entropy_header(stream)
        assert (header.shape, header.dtype, header.trellis) == (shape, dtype, trellis)
        assert header.nbytes == stream.size


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_one_code_alone_takes_next_to_nothing(dtype):
    """Whatever the code, and whichever neighbour its table has; all escapes, too."""
    limits = np.iinfo(dtype)
    for code in {0, 1, -1, 126, 127, -127, -128, 128, -129, 300, -301, limits.min, limits.max}:
        if limits.min <= code <= limits.max:
            codes = np.full((300, 300), code, dtype)
            stream = pyfq.entropy_encode(codes)
            same(pyfq.entropy_decode(stream), codes, f"{code}")
            escaped = not -127 <= code <= 126
            assert stream.size - 2 * codes.size * escaped < 250


@pytest.mark.parametrize("trellis", [4, 8])
def test_paths_go_through_all_states(trellis):
    codes = drawn_codes(3, (64, 64), np.int8, trellis, 2.0)
    seen = set()
    t = [0] * 8
    for row in codes.tolist():
        for c, code in enumerate(row):
            seen.add((t[c % 8], code & 3))
            t[c % 8] = next_state(t[c % 8], code >> 1, trellis)
    assert len(seen) == 2 * trellis  # each state, with both subsets of its union
    same(pyfq.entropy_decode(pyfq.entropy_encode(codes, trellis=trellis)), codes, "")


def test_the_trellis_of_8_states_is_that_of_jpeg2000():
    """Each state is left to two others and entered from two; subsets are codes modulo 4."""
    for states in (4, 8):
        after = {t: {next_state(t, q, states) for q in (0, 1)} for t in range(states)}
        assert all(len(next_) == 2 for next_ in after.values())
        for t in range(states):
            assert sum(t in next_ for next_ in after.values()) == 2


def test_rows_of_equal_spread_share_tables_and_others_do_not():
    rng = np.random.default_rng(4)
    spread = np.repeat([0.5, 1.0, 4.0, 16.0], 64)[rng.permutation(256)]
    mixed = np.rint(rng.standard_normal((256, 1024)) * spread[:, None]).astype(np.int8)
    even = np.rint(rng.standard_normal((256, 1024)) * 3).astype(np.int8)
    assert pyfq.entropy_header(pyfq.entropy_encode(even)).classes == 1
    stream = pyfq.entropy_encode(mixed)
    assert pyfq.entropy_header(stream).classes in (4, 8)
    one = pyfq.entropy_encode(mixed, classes=np.zeros(256, np.uint8))
    assert stream.size < 0.95 * one.size


@pytest.mark.parametrize("spread", [0.6, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("trellis", TRELLISES)
def test_size_is_within_half_a_percent_of_the_entropy_of_its_tables(spread, trellis):
    codes = drawn_codes(5, (1024, 1024), np.int8, trellis, spread)
    stream = pyfq.entropy_encode(codes, trellis=trellis, classes=np.zeros(1024, np.uint8))
    counts = entropy.count_symbols(codes, np.zeros(1024, np.uint8), trellis or 1)
    frequencies = entropy.normalize_counts(counts)
    bits = (counts * entropy.costs()[frequencies]).sum() / 2**16
    escapes = 16 * counts[..., [0, -1]].sum()
    assert 8 * stream.size < 1.005 * (bits + escapes)
    p = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    entropy_of_codes = -(counts * np.log2(np.where(p > 0, p, 1))).sum()
    assert bits < 1.003 * entropy_of_codes


@pytest.mark.parametrize("spread", [0.6, 3.0])
def test_size_is_that_of_constriction(spread):
    constriction = pytest.importorskip("constriction", reason="needs the oracles extra")
    codes = drawn_codes(6, (1024, 1024), np.int8, None, spread)
    values = (codes.reshape(-1).astype(np.int32)) - int(codes.min())
    p = np.bincount(values) / values.size
    model = constriction.stream.model.Categorical(p.astype(np.float32), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(values, model)
    assert pyfq.entropy_encode(codes).size < 1.005 * 4 * len(coder.get_compressed())


@given(counts=st.lists(st.integers(0, 2**33), min_size=256, max_size=256))
def test_frequencies_match_reference(counts):
    got = entropy.normalize_counts(np.array([counts]))[0]
    assert got.tolist() == normalized(counts)
    assert got.sum() == 4096
    assert (got[np.array(counts) > 0] > 0).all()


@pytest.mark.parametrize("kind", ["few", "rare", "none", "one"])
def test_frequencies_of_uneven_counts_match_reference(kind):
    rng = np.random.default_rng(7)
    for _ in range(20):
        counts = (rng.pareto(0.3, 256) * (rng.random(256) < 0.5)).clip(0, 2**39).astype(np.int64)
        if kind == "few":
            counts[20:] = 0
        if kind == "rare":
            counts = np.minimum(counts, 3)
            counts[9] = 2**39
        if kind in ("none", "one"):
            counts[:] = 0
            counts[rng.integers(256)] = kind == "one"
        assert entropy.normalize_counts(counts[None])[0].tolist() == normalized(counts)


def test_costs_are_logarithms_rounded_up():
    costs = entropy.costs()
    assert costs.tolist()[1:] == [cost(f) for f in range(1, 4096)]
    exact = 65536 * (12 - np.log2(np.arange(1, 4096)))
    assert (np.abs(costs[1:] - np.ceil(exact - 1e-6)) <= 0).all()


@pytest.mark.parametrize("trellis", TRELLISES)
def test_rows_alone_read_only_what_they_need(trellis):
    codes = drawn_codes(8, (700, 397), np.int16, trellis, 60.0)
    stream = pyfq.entropy_encode(codes, trellis=trellis)
    block_rows = pyfq.entropy_header(stream).block_rows
    _, blocks = block_places(stream.tobytes())
    for start, stop in [(0, 1), (0, 0), (165, 167), (170, 331), (1, 700), (699, 700), (0, 700)]:
        broken = stream.copy()
        for i, (first, end) in enumerate(blocks):
            if not start < (i + 1) * block_rows or not i * block_rows < stop:
                broken[first:end] = 255
        for where in everywhere():
            same(pyfq.entropy_decode(broken, rows=(start, stop)), codes[start:stop], where)
        same(pyfq.entropy_decode(stream, rows=slice(start, stop)), codes[start:stop], "slice")
    same(pyfq.entropy_decode(stream, rows=slice(-3, None)), codes[-3:], "from the end")
    same(pyfq.entropy_decode(stream, rows=slice(5, 2)), codes[:0], "backwards")


def test_streams_at_any_address_are_decoded_into_the_callers_array():
    codes = drawn_codes(9, (50, 60))
    stream = pyfq.entropy_encode(codes)
    room = np.zeros(stream.size + 4, np.uint8)
    for at in range(4):
        room[at : at + stream.size] = stream
        out = np.full_like(codes, 99)
        result = pyfq.entropy_decode(room[at : at + stream.size], out=out)
        assert result is out
        same(out, codes, f"{at}")
    stream.flags.writeable = False
    same(pyfq.entropy_decode(stream), codes, "read-only")


def outcome(stream):
    """Return the codes of a stream, None if it is refused; nothing else may happen."""
    try:
        return pyfq.entropy_decode(stream)
    except ValueError as e:
        assert str(e).startswith("stream "), str(e)
        return None


@pytest.mark.parametrize("trellis, labels", [(None, 1), (8, 2)])
def test_every_byte_of_a_small_stream_counts(trellis, labels):
    codes = drawn_codes(10, (3, 5), np.int16, trellis, 60.0)
    classes = np.arange(3, dtype=np.uint8) % labels
    stream = pyfq.entropy_encode(codes, trellis=trellis, classes=classes)
    for at in range(stream.size):
        for flipped in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = stream.copy()
            damaged[at] ^= flipped
            assert outcome(damaged) is None, at
    for n in range(stream.size):
        assert outcome(stream[:n].copy()) is None
        assert outcome(np.concatenate([stream, stream[: n + 1]])) is None


def mutated(stream, rng):
    """Return other bytes: some changed, cut out, doubled or zeroed."""
    data = bytearray(stream)
    reach = rng.choice([len(data), min(len(data), 120)])
    kind = rng.random()
    if kind < 0.7:
        for _ in range(rng.choice([1, 1, 2, 8, 50])):
            data[rng.randrange(reach)] = rng.choice([0, 255, 128, rng.randrange(256)])
    elif kind < 0.8:
        at, n = rng.randrange(reach), rng.choice([1, 4, 30])
        del data[at : at + n]
    elif kind < 0.9:
        at, n = rng.randrange(reach), rng.choice([1, 4, 30])
        data[at:at] = data[at : at + n]
    else:
        at, n = rng.randrange(reach), rng.choice([8, 100])
        data[at : at + n] = bytes(len(data[at : at + n]))
    return data


ORIGINALS = [
    (shape, dtype, trellis, spread)
    for shape in [(9, 11), (40, 37), (170, 397)]
    for dtype in (np.int8, np.int16)
    for trellis in TRELLISES
    for spread in (0.3, 60.0)
]


def fuzz(count):
    """Decode mutated streams, half of them with checksums that fit; return how many are refused."""
    rng = random.Random(11)
    streams = []
    for i, (shape, dtype, trellis, spread) in enumerate(ORIGINALS):
        codes = drawn_codes(i, shape, dtype, trellis, spread)
        classes = np.arange(shape[0], dtype=np.uint8) % (1 + i % 3)
        streams.append((codes, pyfq.entropy_encode(codes, trellis=trellis, classes=classes)))
    refused = {False: 0, True: 0}
    for i in range(count):
        codes, stream = streams[rng.randrange(len(streams))]
        data = mutated(stream.tobytes(), rng)
        damaged = sealed(data) if i % 2 else np.frombuffer(data, np.uint8)
        with pyfq.num_threads(1 + i % 2):
            found = outcome(damaged)
        if found is None:
            refused[bool(i % 2)] += 1
        elif not i % 2:  # the mutation changed nothing, or only the checksum could have told
            same(found, codes, f"mutation {i}")
        start = rng.randrange(codes.shape[0])
        try:
            pyfq.entropy_decode(damaged, rows=slice(start, start + 3))
        except ValueError:
            continue
    return refused


def test_mutated_streams_are_refused():
    refused = fuzz(600)
    assert refused[False] > 200
    assert refused[True] > 200


@pytest.mark.thorough
def test_ten_thousand_mutated_streams_are_refused():
    refused = fuzz(20_000)
    assert refused[False] > 8000
    assert refused[True] > 8000


def test_streams_of_more_codes_than_words_can_hold_take_no_memory():
    stream = pyfq.entropy_encode(np.zeros((1, 100), np.int8)).tobytes()
    for rows, cols, block_rows in [(1, 2**20, 1), (1, 2**62, 1), (2**31, 2**31, 2**32 - 1)]:
        larger = stream[:8] + struct.pack("<QQI", rows, cols, block_rows) + stream[28:]
        with pytest.raises(ValueError, match="more codes than its words can hold"):
            pyfq.entropy_decode(sealed(larger))
    larger = stream[:8] + struct.pack("<QQI", 2**62, 100, 1) + stream[28:]
    with pytest.raises(ValueError, match="ends before its index does"):
        pyfq.entropy_decode(np.frombuffer(larger, np.uint8))


C = np.ones((3, 4), np.int8)
S = pyfq.entropy_encode(C)


def changed(at, *values):
    stream = S.copy()
    stream[at : at + len(values)] = values
    return stream


REFUSALS = [
    (lambda: pyfq.entropy_encode(C.astype(np.int32)), TypeError, "codes must be int8 or int16"),
    (lambda: pyfq.entropy_encode(C.tolist()), TypeError, "codes must be a NumPy array"),
    (
        lambda: pyfq.entropy_encode(C[0]),
        ValueError,
        r"codes must be 2-d, but their shape is \(4,\)",
    ),
    (lambda: pyfq.entropy_encode(C.T), ValueError, "codes must be C-contiguous"),
    (lambda: pyfq.entropy_encode(C, trellis=5), ValueError, "trellis must be None, 4 or 8, not 5"),
    (lambda: pyfq.entropy_encode(C, trellis=2), ValueError, "trellis must be 4 ... 8, not 2"),
    (lambda: pyfq.entropy_encode(C, trellis="8"), TypeError, "trellis must be an integer"),
    (
        lambda: pyfq.entropy_encode(C, trellis=8),
        ValueError,
        r"path of the trellis of 8 states, but codes\[0, 0\], 1, is not in the union",
    ),
    (
        lambda: pyfq.entropy_encode(C, classes=np.zeros(4, np.uint8)),
        ValueError,
        r"classes must have shape \(3,\)",
    ),
    (
        lambda: pyfq.entropy_encode(C, classes=np.array([0, 16, 1], np.uint8)),
        ValueError,
        r"classes must be 0 ... 15, but classes\[1\] is 16",
    ),
    (lambda: pyfq.entropy_decode(S.view(np.int8)), TypeError, "stream must be uint8, not int8"),
    (lambda: pyfq.entropy_decode(S[None]), ValueError, "stream must be 1-d"),
    (lambda: pyfq.entropy_decode(S[:31]), ValueError, "stream has 31 bytes, less than a header's"),
    (lambda: pyfq.entropy_decode(changed(3, 68)), ValueError, "stream must begin with b'FQEC'"),
    (lambda: pyfq.entropy_decode(changed(4, 2)), ValueError, "stream is of version 2"),
    (lambda: pyfq.entropy_decode(changed(5, 3)), ValueError, "3 states of a trellis"),
    (lambda: pyfq.entropy_decode(changed(8, 4)), ValueError, "head does not have its checksum"),
    (
        lambda: pyfq.entropy_decode(changed(S.size - 9, 9)),
        ValueError,
        "block 0 does not have its checksum",
    ),
    (lambda: pyfq.entropy_decode(np.append(S, S[:1])), ValueError, "stream must have .* bytes"),
    (lambda: pyfq.entropy_decode(S, rows=(0, 4)), ValueError, r"rows\[1\] must be 0 ... 3, not 4"),
    (lambda: pyfq.entropy_decode(S, rows=(2, 1)), ValueError, r"rows\[1\] must be 2 ... 3, not 1"),
    (lambda: pyfq.entropy_decode(S, rows=[0, 1]), TypeError, "rows must be a slice or"),
    (lambda: pyfq.entropy_decode(S, rows=slice(0, 3, 2)), ValueError, "slice without a step"),
    (
        lambda: pyfq.entropy_decode(S, out=np.zeros((2, 4), np.int8)),
        ValueError,
        r"out must have shape \(3, 4\)",
    ),
    (lambda: pyfq.entropy_header(S[:20]), ValueError, "stream has 20 bytes"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_entropy_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_misfit_of_a_later_block_is_named():
    codes = drawn_codes(12, (400, 397), np.int8, 8, 2.0)
    codes[350, 201] ^= 1
    with pytest.raises(ValueError, match=r"codes\[350, 201\], -?\d+, is not in the union"):
        pyfq.entropy_encode(codes, trellis=8)
