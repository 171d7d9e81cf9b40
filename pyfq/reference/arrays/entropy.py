"""Reference of `pyfq.entropy_encode`: the coder, code by code."""

import struct
import zlib
from fractions import Fraction

import numpy as np

LANES = 8
LOWEST = 2**15
SLOTS = 4096
BLOCK = 65536


def entropy_encode(codes, *, trellis=None, classes=None):
    """Return the stream: header, tables, classes of rows, index, blocks."""
    rows, cols = codes.shape
    states = trellis or 1
    head = struct.pack("<4sBBBB", b"FQEC", 1, states, codes.itemsize, 1)
    if not codes.size:
        head += struct.pack("<QQI", rows, cols, 0)
        return np.frombuffer(head + struct.pack("<I", zlib.crc32(head)), np.uint8)
    if classes is None:
        classes = choose_classes(codes, states)
    frequencies = [[normalized(c) for c in counts] for counts in counted(codes, classes, states)]
    block_rows = -(-BLOCK // cols)
    blocks, index = b"", b""
    for first in range(0, rows, block_rows):
        part = slice(first, first + block_rows)
        words, escapes, block = encode_block(codes[part], classes[part], frequencies, states)
        index += struct.pack("<III", words, escapes, zlib.crc32(block))
        blocks += block
    head = head[:-1] + struct.pack("<BQQI", len(frequencies), rows, cols, block_rows)
    rest = b"".join(table_bytes(f) for tables in frequencies for f in tables)
    if len(frequencies) > 1:
        pairs = [*classes, 0][: rows + rows % 2]
        rest += bytes(int(a) | int(b) << 4 for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    rest += bytes(-len(rest) % 4) + index
    head += struct.pack("<I", zlib.crc32(rest, zlib.crc32(head)))
    return np.frombuffer(head + rest + blocks, np.uint8)


def entropy_decode(stream):
    """Return the codes of a stream that is not damaged."""
    stream = stream.tobytes()
    fields = struct.unpack_from("<BBBQQI", stream, 5)
    states, width, number, rows, cols, block_rows = fields
    codes = np.empty((rows, cols), f"i{width}")
    if not codes.size:
        return codes
    at, frequencies = 32, []
    for _ in range(number * (1 + (states > 1))):
        f, at = read_table(stream, at)
        frequencies.append(f)
    unions = 1 + (states > 1)
    frequencies = [frequencies[i : i + unions] for i in range(0, len(frequencies), unions)]
    classes = [0] * rows
    if number > 1:
        classes = [stream[at + r // 2] >> 4 * (r % 2) & 15 for r in range(rows)]
        at += (rows + 1) // 2
    at += -at % 4
    index = list(struct.iter_unpack("<III", stream[at : at + 12 * -(-rows // block_rows)]))
    at += 12 * len(index)
    for first, (words, escapes, _) in zip(range(0, rows, block_rows), index, strict=True):
        n = 16 + words + escapes
        part = slice(first, first + block_rows)
        block = stream[at : at + 2 * n]
        decode_block(block, words, classes[part], frequencies, states, codes[part])
        at += 2 * (n + n % 2)
    return codes


def encode_block(codes, classes, frequencies, states):
    """Return how many words and escapes a block has, and its bytes."""
    rows, cols = codes.shape
    x, words, escapes = [LOWEST] * LANES, [], []
    follow(codes, states)
    for r in reversed(range(rows)):
        for c in reversed(range(cols)):
            q, u = split(int(codes[r, c]), states)
            if not -127 <= q <= 126:
                escapes.append(q)
            f = frequencies[classes[r]][u]
            symbol = symbol_of(q)
            lane = c % LANES
            if x[lane] >= f[symbol] << 19:
                words.append(x[lane] & 65535)
                x[lane] >>= 16
            quotient, rest = divmod(x[lane], f[symbol])
            x[lane] = quotient * SLOTS + sum(f[:symbol]) + rest
    n = len(words) + len(escapes)
    block = struct.pack(f"<{LANES}I{len(words)}H", *x, *reversed(words))
    block += struct.pack(f"<{len(escapes)}h", *reversed(escapes)) + bytes(2 * (n % 2))
    return len(words), len(escapes), block


def decode_block(block, words, classes, frequencies, states, codes):
    """Fill the codes of a block."""
    rows, cols = codes.shape
    x = list(struct.unpack_from(f"<{LANES}I", block))
    coming = iter(struct.unpack_from(f"<{words}H", block, 4 * LANES))
    escapes = (q for (q,) in struct.iter_unpack("<h", block[4 * LANES + 2 * words :]))
    starts = [[np.concatenate([[0], np.cumsum(f)]) for f in tables] for tables in frequencies]
    t = [0] * LANES
    for r in range(rows):
        for c in range(cols):
            lane = c % LANES
            u = t[lane] & 1
            start = starts[classes[r]][u]
            slot = x[lane] % SLOTS
            symbol = int(np.searchsorted(start, slot, "right")) - 1
            x[lane] = frequencies[classes[r]][u][symbol] * (x[lane] // SLOTS) + slot
            x[lane] -= int(start[symbol])
            if x[lane] < LOWEST:
                x[lane] = x[lane] << 16 | next(coming)
            q = symbol - 128 if 0 < symbol < 255 else next(escapes)
            codes[r, c] = q if states == 1 else 2 * q + u
            t[lane] = next_state(t[lane], q, states)


def split(code, states):
    """Return the number of a code and its union."""
    return (code, 0) if states == 1 else (code >> 1, code & 1)


def symbol_of(q):
    """Return the symbol of a number; of those beyond -127 ... 126, that of an escape."""
    return q + 128 if -127 <= q <= 126 else 255 * (q & 1)


def next_state(t, q, states):
    """Return the state of the trellis that follows."""
    if states == 1:
        return 0
    return 2 * t % states | (q ^ t >> 1 ^ t >> 2) & 1


def follow(codes, states):
    """Raise ValueError where a code is not in the union of its state."""
    t = [0] * LANES
    for row in codes.tolist():
        for c, code in enumerate(row):
            q, u = split(code, states)
            if u != t[c % LANES] & 1:
                raise ValueError("codes are no path of the trellis")
            t[c % LANES] = next_state(t[c % LANES], q, states)


def counted(codes, classes, states):
    """Return how often each symbol occurs: of each class, of each union, 256."""
    counts = np.zeros((int(max(classes)) + 1, 1 + (states > 1), 256), np.int64)
    q = codes.astype(np.int64)
    u = q & 1 if states > 1 else np.zeros_like(q)
    q = q >> 1 if states > 1 else q
    symbols = np.where((q >= -127) & (q <= 126), q + 128, 255 * (q & 1))
    np.add.at(counts, (np.asarray(classes, np.int64)[:, None], u, symbols), 1)
    return counts


def normalized(counts):
    """Return frequencies, 4096 together: Webster's method, at least 1 of what occurs."""
    counts = [int(n) for n in counts]
    occurring = [s for s in range(256) if counts[s]]
    f = [0] * 256
    if len(occurring) < 2:
        one = occurring[0] if occurring else 128
        f[one], f[one + 1 if one < 128 else one - 1] = SLOTS - 1, 1
        return f
    total = sum(counts)
    for s in occurring:
        f[s] = max((2 * SLOTS * counts[s] + total) // (2 * total), 1)
    while sum(f) < SLOTS:  # of equals, min and max take the first
        f[max(occurring, key=lambda s: Fraction(counts[s], 2 * f[s] + 1))] += 1
    while sum(f) > SLOTS:
        several = [s for s in occurring if f[s] > 1]
        f[min(several, key=lambda s: Fraction(counts[s], 2 * f[s] - 1))] -= 1
    return f


def choose_classes(codes, states):
    """Return the classes of rows with which the stream is smallest: 1, 2, 4 or 8."""
    rows = len(codes)
    order = np.argsort(np.abs(codes.astype(np.int64)).sum(1), kind="stable")
    least = None
    for number in (1, 2, 4, 8):
        if number > rows:
            break
        classes = np.empty(rows, np.uint8)
        classes[order] = np.arange(rows) * number // rows
        size = 0 if number == 1 else 8 * 65536 * ((rows + 1) // 2)
        for counts in counted(codes, classes, states).reshape(-1, 256):
            f = normalized(counts)
            size += 8 * 65536 * len(table_bytes(f))
            size += sum(int(n) * cost(f[s]) for s, n in enumerate(counts) if n)
        if least is None or size < least:
            least, chosen = size, classes
    return chosen


def cost(frequency):
    """Return 2**16 times the bits that a symbol of a frequency takes: integers alone."""
    mantissa, log2 = frequency << 64, 0
    whole = frequency.bit_length() - 1
    mantissa >>= whole
    for _ in range(16):
        mantissa = mantissa * mantissa >> 64
        bit = mantissa >> 65
        log2, mantissa = 2 * log2 + bit, mantissa >> bit
    return (12 << 16) - (whole << 16) - log2


def table_bytes(f):
    """Return the first symbol, how many more there are, and frequencies of 7 bits a byte."""
    first, last = np.flatnonzero(f)[[0, -1]]
    out = [first, last - first]
    for n in f[first : last + 1]:
        out += [n] if n < 128 else [n & 127 | 128, n >> 7]
    return bytes(out)


def read_table(stream, at):
    """Return the frequencies that `table_bytes` wrote, and where they end."""
    f = [0] * 256
    first, more = stream[at : at + 2]
    at += 2
    for symbol in range(first, first + more + 1):
        f[symbol] = stream[at]
        if f[symbol] >= 128:
            at += 1
            f[symbol] += (stream[at] - 1) * 128
        at += 1
    return f, at
