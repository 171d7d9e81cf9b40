"""Codes in as few bits as their frequencies allow (`fortran/arrays/fq_entropy.f90`)."""

import struct
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import as_count, as_input, as_output, shown
from .._core.threads import get_num_threads
from .rate_tables import PLACES, classes_of, log2_fixed
from .stream_head import CHECKSUM, as_stream, read_fields, refuse_broken_seal, sealed

MAGIC = b"FQEC"
VERSION = 1
HEADER = struct.Struct("<4sBBBBQQI")
HEADER_BYTES = HEADER.size + CHECKSUM.size

BLOCK = 65536
LANES = 8
STATE_WORDS = 2 * LANES
SLOT_BITS = 12
SLOTS = 2**SLOT_BITS
SYMBOLS = 256
MOST_CLASSES = 16
CHOSEN_CLASSES = (1, 2, 4, 8)

# Costs are counted in units of 2**-16 bit.
COST_BITS = PLACES
# What the least probable bits of a symbol of 4095 slots make of a word: see `_refuse_thin_blocks`.
CODES_OF_A_WORD = 65536

FAULTS = (
    "nothing", "a state is out of range", "words are left over or missing",
    "its states do not end where an encoder begins", "escapes are left over or missing",
    "an escape is none",
)  # fmt: skip


@dataclass(frozen=True)
class EntropyHeader:
    """What a stream of `entropy_encode` says of itself.

    Attributes
    ----------
    shape : (rows, cols)
        Shape of the codes.
    dtype : dtype
        Dtype of the codes, int8 or int16.
    trellis : int or None
        States of the trellis that the codes are a path of.
    classes : int
        Classes of rows, each with tables of its own.
    block_rows : int
        Rows of a block, which can be decoded alone; 0 where there are no codes.
    nbytes : int
        Bytes of the stream.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    trellis: int | None
    classes: int
    block_rows: int
    nbytes: int

    @property
    def bits_per_code(self) -> float:
        """Bits of the stream over the number of codes; 0.0 where there are none."""
        size = self.shape[0] * self.shape[1]
        return 8 * self.nbytes / size if size else 0.0


@dataclass(frozen=True)
class _Head:
    """What stands before the blocks of a stream.

    Attributes
    ----------
    header : EntropyHeader
    frequencies : (classes, unions, 256) int32
    nibbles : (ceil(rows / 2),) uint8
        Classes of two rows each; empty if there is one class.
    index : (blocks, 3) int64
        Words of 16 bits before a block, its words, its escapes.
    checksums : (blocks,) uint32
    """

    header: EntropyHeader
    frequencies: NDArray[np.int32]
    nibbles: NDArray[np.uint8]
    index: NDArray[np.int64]
    checksums: NDArray[np.uint32]


def entropy_encode(
    codes: NDArray, *, trellis: int | None = None, classes: NDArray | None = None
) -> NDArray[np.uint8]:
    r"""Write integer codes in as few bits as their frequencies allow.

    A code that makes up the share p of its class of rows takes
    :math:`-\log_2 p` bits: a range asymmetric numeral system of 8 interleaved states. What it takes
    beyond is 44 bytes a block, and the tables.

    Parameters
    ----------
    codes : (rows, cols) int8 or int16
        Codes.
    trellis : None, 4 or 8
        States of the trellis that the codes are a path of; see the notes. None is none.
    classes : (rows,) uint8, optional
        Class of each row, 0 ... 15; each class has tables of its own. By default rows are sorted by
        their sum of magnitudes, and cut into 1, 2, 4 or 8 classes of as many rows: the number with
        which the stream is smallest.

    Returns
    -------
    (nbytes,) uint8
        The stream, the same on every machine and for any number of threads.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `codes` is not 2-d or not C-contiguous, or no path of the trellis, or a class is larger
        than 15.

    Notes
    -----
    A block is the least number of whole rows that have 65536 codes. Lane ``c % 8`` of a block
    takes the codes of column c, and has a state of its own, 0 at first: even states t allow even
    codes, odd ones odd codes. From the code ``2 * q + t % 2`` of 8 states the next is
    ``2 * t % 8 + (q ^ t >> 1 ^ t >> 2) % 2``, of 4 states ``2 * t % 4 + (q ^ t >> 1) % 2``.

    Counts become frequencies of 4096 by Webster's method: to second order, no others lose fewer
    bits.

    References
    ----------
    Duda 2013, Asymmetric numeral systems, arXiv 1311.2540; Giesen 2014, Interleaved entropy coders,
    arXiv 1402.3392. Balinski & Young 1982, Fair Representation (Webster's method). Ungerboeck 1982,
    Channel coding with multilevel/phase signals; ISO/IEC 15444-2 (JPEG 2000), the trellis of 8
    states.

    Examples
    --------
    >>> codes = np.random.default_rng(0).binomial(8, 0.5, (512, 512)).astype(np.int8)
    >>> stream = entropy_encode(codes)
    >>> p = np.bincount(codes.reshape(-1)) / codes.size
    >>> float(round(-p @ np.log2(p), 3)), round(entropy_header(stream).bits_per_code, 3)
    (2.544, 2.55)
    >>> np.array_equal(entropy_decode(stream), codes)
    True
    """
    codes = as_input(codes, "codes", (np.int8, np.int16))
    states = _as_trellis(trellis)
    if codes.ndim != 2:
        raise ValueError(f"codes must be 2-d, but their shape is {codes.shape}: reshape them")
    row_classes = None if classes is None else _as_classes(classes, len(codes))
    if not codes.size:
        fields = (states, codes.itemsize, 1, *codes.shape, 0)
        head = HEADER.pack(MAGIC, VERSION, *fields)
        return np.frombuffer(bytearray(sealed(head, HEADER)), np.uint8)
    if row_classes is None:
        row_classes, frequencies = choose_classes(codes, states)
    else:
        frequencies = normalize_counts(count_symbols(codes, row_classes, states))
    return _written(codes, states, row_classes, frequencies)


def entropy_decode(
    stream: NDArray[np.uint8],
    *,
    rows: slice | tuple[int, int] | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Return the codes of a stream that `entropy_encode` wrote.

    Every byte that is read is verified: lengths, padding, checksums, states, and that words and
    escapes are used up.

    Parameters
    ----------
    stream : (nbytes,) uint8
        The stream. It is copied if it does not lie at an even address.
    rows : slice or (start, stop), optional
        Which rows to return: tables and the blocks that hold these are read, and no others. By
        default all.
    out : array of the result's shape and dtype, optional
        Where to write the codes; what is in it after an error is not defined.

    Returns
    -------
    (rows, cols) int8 or int16
        The codes.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the stream is damaged, `rows` are not rows of it, or `out` does not fit.

    References
    ----------
    See `entropy_encode`.

    Examples
    --------
    >>> codes = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    >>> entropy_decode(entropy_encode(codes), rows=(1, 3))
    array([[-2, -1,  0,  1],
           [ 2,  3,  4,  5]], dtype=int8)
    """
    stream = as_stream(stream)
    head = _read_head(stream)
    header = head.header
    start, stop = _as_rows(rows, header.shape[0])
    codes = as_output(out, "out", header.dtype, (stop - start, header.shape[1]), stream)
    if codes.size:
        _decode(stream, head, start, codes)
    return codes


def entropy_header(stream: NDArray[np.uint8]) -> EntropyHeader:
    """Return what a stream of `entropy_encode` says of itself; its blocks are not read.

    Parameters
    ----------
    stream : (nbytes,) uint8
        The stream.

    Returns
    -------
    EntropyHeader
        Shape, dtype, trellis, classes and size.

    Raises
    ------
    TypeError
        If `stream` is not an array of uint8.
    ValueError
        If the stream is damaged before its blocks, or its length is another.

    Examples
    --------
    >>> entropy_header(entropy_encode(np.ones((3, 4), np.int8))).shape
    (3, 4)
    """
    return _read_head(as_stream(stream)).header


def rows_of_block(cols: int) -> int:
    """Return how many rows of so many columns, at least 1, a block has."""
    return -(-BLOCK // cols)


@cache
def costs() -> NDArray[np.int64]:
    r"""Return what a symbol of each frequency, 0 ... 4095, costs, in units of 2**-16 bit.

    It is :math:`12 \cdot 2^{16} - \lfloor 2^{16} \log_2 f \rfloor`, in integers. What does not
    occur costs 16 bits more than what occurs once.
    """
    known = (SLOT_BITS << COST_BITS) - log2_fixed(np.arange(1, SLOTS))
    table = np.concatenate([known[:1] + (16 << COST_BITS), known])
    table.flags.writeable = False
    return table


def count_symbols(codes: NDArray, row_classes: NDArray[np.uint8], states: int) -> NDArray[np.int64]:
    """Return how often each symbol occurs: (classes, unions, 256), of codes that have entries."""
    classes, unions = int(row_classes.max()) + 1, 1 + (states > 1)
    counts = np.empty((classes, unions * SYMBOLS), np.int64)
    labels = row_classes.view(np.int8)
    _native.call("count_symbols", _kind(codes), codes, labels, counts, get_num_threads())
    return counts.reshape(classes, unions, SYMBOLS)


def normalize_counts(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return frequencies of tables, 4096 together, from counts: (..., 256) both."""
    frequencies = np.empty(counts.shape, np.int32)
    flat = counts.reshape(-1, SYMBOLS), frequencies.reshape(-1, SYMBOLS)
    _native.call("normalize_counts", "i8", *flat)
    return frequencies


def choose_classes(codes: NDArray, states: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the class of each row, and the frequencies, with which the stream is smallest.

    Rows are sorted by their sum of magnitudes, those of equal sums by their place.
    """
    rows = len(codes)
    sums = np.empty(rows, np.int64)
    _native.call("sum_magnitudes", _kind(codes), codes, sums, get_num_threads())
    most = CHOSEN_CLASSES[-1]
    finest = classes_of(sums, most).view(np.uint8)
    counts = count_symbols(codes, finest, states)
    counts = np.concatenate([counts, np.zeros((most - len(counts), *counts.shape[1:]), np.int64)])
    best: tuple[int, NDArray[np.uint8], NDArray[np.int32]] | None = None
    for classes in CHOSEN_CLASSES:
        if classes > rows:
            break
        merged = counts.reshape(classes, most // classes, *counts.shape[1:]).sum(1)
        frequencies = normalize_counts(merged)
        size = stream_cost(merged, frequencies, rows)
        if best is None or size < best[0]:
            best = size, finest // np.uint8(most // classes), frequencies
    return best[1], best[2]


def stream_cost(counts: NDArray[np.int64], frequencies: NDArray[np.int32], rows: int) -> int:
    """Return what symbols, tables and classes of rows take, in units of 2**-16 bit."""
    classes = len(frequencies)
    tables = sum(map(_table_bytes, frequencies.reshape(-1, SYMBOLS)))
    labels = (rows + 1) // 2 if classes > 1 else 0
    return int((counts * costs()[frequencies]).sum()) + (8 * (tables + labels) << COST_BITS)


def _kind(codes: NDArray) -> str:
    return f"i{8 * codes.itemsize}"


def _as_trellis(trellis: Any) -> int:
    """Return the states of a trellis; 1 for none."""
    if trellis is None:
        return 1
    states = as_count(trellis, "trellis", 4, 8)
    if states not in (4, 8):
        raise ValueError(f"trellis must be None, 4 or 8, not {states}")
    return states


def _as_classes(classes: Any, rows: int) -> NDArray[np.uint8]:
    classes = as_input(classes, "classes", (np.uint8,), (rows,))
    if rows and classes.max() >= MOST_CLASSES:
        row = int(np.flatnonzero(classes >= MOST_CLASSES)[0])
        raise ValueError(
            f"classes must be 0 ... {MOST_CLASSES - 1}, but classes[{row}] is {classes[row]}"
        )
    return classes


def _as_rows(rows: Any, count: int) -> tuple[int, int]:
    """Return the first of the wanted rows and the one after the last."""
    if rows is None:
        return 0, count
    if isinstance(rows, slice):
        if rows.step is not None and as_count(rows.step, "the step of rows", 1) != 1:
            raise ValueError(f"rows must be a slice without a step, not {shown(rows)}")
        start, stop, _ = rows.indices(count)
        return start, max(start, stop)
    if not isinstance(rows, tuple) or len(rows) != 2:
        raise TypeError(f"rows must be a slice or (start, stop), not {shown(rows)}")
    start = as_count(rows[0], "rows[0]", 0, count)
    return start, as_count(rows[1], "rows[1]", start, count)


def _written(
    codes: NDArray, states: int, row_classes: NDArray[np.uint8], frequencies: NDArray[np.int32]
) -> NDArray[np.uint8]:
    """Return the stream of codes that have entries."""
    rows, cols = codes.shape
    block_rows = rows_of_block(cols)
    blocks = -(-rows // block_rows)
    words = np.empty(codes.size, np.int16)
    ends = np.empty((blocks, LANES), np.int32)
    sizes, misfits = np.empty((blocks, 2), np.int64), np.empty(blocks, np.int64)
    kind, threads = _kind(codes), get_num_threads()
    _native.call(
        "encode_blocks", kind, codes, row_classes.view(np.int8), frequencies, states, block_rows,
        words, ends, sizes, misfits, threads,
    )  # fmt: skip
    if misfits.any():
        _refuse_misfit(codes, states, misfits, block_rows)
    fields = (states, codes.itemsize, len(frequencies), rows, cols, block_rows)
    front = HEADER.pack(MAGIC, VERSION, *fields)
    tables = _padded(_tables(frequencies) + _labels(row_classes, len(frequencies)))
    first = HEADER_BYTES + len(tables) + 12 * blocks
    index = _index_of(sizes, first)
    stream = np.zeros(first + 2 * int(_lengths(sizes).sum()), np.uint8)
    body = stream.view(np.int16)
    _native.call("place_blocks", kind, codes, words, ends, index, states, block_rows, body, threads)
    if sys.byteorder == "big":
        body.byteswap(inplace=True)
    entries = np.empty((blocks, 3), "<u4")
    entries[:, :2] = sizes
    entries[:, 2] = [zlib.crc32(_block(stream, at)) for at in index]
    head = sealed(front + tables + entries.tobytes(), HEADER)
    stream[:first] = np.frombuffer(head, np.uint8)
    return stream


def _refuse_misfit(codes: NDArray, states: int, misfits: NDArray, block_rows: int) -> None:
    block = int(np.flatnonzero(misfits)[0])
    row, col = divmod(int(misfits[block]) - 1, codes.shape[1])
    row += block * block_rows
    raise ValueError(
        f"codes must be a path of the trellis of {states} states, but codes[{row}, {col}], "
        f"{codes[row, col]}, is not in the union of its state: pass the trellis that they were "
        "quantized with, or None"
    )


def _tables(frequencies: NDArray[np.int32]) -> bytes:
    """Return each table: its first symbol, how many more it has, frequencies as varints."""
    parts = []
    for table in frequencies.reshape(-1, SYMBOLS):
        first, last = np.flatnonzero(table)[[0, -1]]
        f = table[first : last + 1]
        pairs = np.stack([np.where(f < 128, f, f & 127 | 128), f >> 7], 1)
        kept = np.stack([f >= 0, f >= 128], 1)
        parts.append(bytes([first, last - first]) + pairs[kept].astype(np.uint8).tobytes())
    return b"".join(parts)


def _table_bytes(table: NDArray[np.int32]) -> int:
    first, last = np.flatnonzero(table)[[0, -1]]
    return 3 + int(last - first) + int(np.count_nonzero(table >= 128))


def _labels(row_classes: NDArray[np.uint8], classes: int) -> bytes:
    """Return the classes of rows, two a byte; nothing if there is one."""
    if classes == 1:
        return b""
    labels = np.zeros(len(row_classes) + len(row_classes) % 2, np.uint8)
    labels[: len(row_classes)] = row_classes
    return (labels[::2] | labels[1::2] << 4).tobytes()


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)


def _lengths(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many words of 16 bits each block has, from its words and escapes."""
    used = sizes.sum(1)
    return STATE_WORDS + used + used % 2


def _index_of(sizes: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """Return the words of 16 bits before each block, its words, its escapes."""
    ends = np.cumsum(_lengths(sizes)) + first // 2
    return np.column_stack([ends - _lengths(sizes), sizes])


def _block(stream: NDArray[np.uint8], at: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the bytes of a block, its padding too, from its row of the index."""
    first, used = int(at[0]), int(at[1] + at[2])
    return stream[2 * first : 2 * (first + STATE_WORDS + used + used % 2)]


def _read_head(stream: NDArray[np.uint8]) -> _Head:
    """Return what stands before the blocks, verified."""
    header = _read_header(stream)
    rows, cols = header.shape
    empty = rows == 0 or cols == 0
    unions = 1 if header.trellis is None else 2
    frequencies = np.zeros((0 if empty else header.classes, unions, SYMBOLS), np.int32)
    at = HEADER_BYTES
    for table in frequencies.reshape(-1, SYMBOLS):
        at = _read_table(stream, at, table)
        _refuse_wide_table(table, header)
    nibbles, at = _taken(stream, at, (rows + 1) // 2 if header.classes > 1 else 0, "its classes")
    padding, at = _taken(stream, at, -at % 4, "its padding")
    if padding.any():
        raise ValueError("stream is damaged: bytes of its padding are not zero")
    blocks = 0 if empty else -(-rows // header.block_rows)
    entries, at = _taken(stream, at, 12 * blocks, "its index")
    entries = entries.view("<u4").reshape(blocks, 3)
    refuse_broken_seal(stream, HEADER, at)
    index = _index_of(entries[:, :2].astype(np.int64), at)
    end = at + 2 * int(_lengths(index[:, 1:]).sum())
    if end != stream.size:
        raise ValueError(f"stream must have {end} bytes, as its index says, not {stream.size}")
    _refuse_false_classes(nibbles, header)
    _refuse_thin_blocks(header, index)
    return _Head(header, frequencies, nibbles, index, entries[:, 2].astype(np.uint32))


def _read_header(stream: NDArray[np.uint8]) -> EntropyHeader:
    """Return what the first bytes say, as far as it can be."""
    fields = read_fields(stream, HEADER, MAGIC, VERSION)
    states, width, classes, rows, cols, block_rows = fields
    if states not in (1, 4, 8) or width not in (1, 2) or not 1 <= classes <= MOST_CLASSES:
        raise ValueError(
            f"stream is damaged: its header says {states} states of a trellis, {width} bytes of a "
            f"code, {classes} classes"
        )
    empty = rows == 0 or cols == 0
    if (block_rows == 0) != empty or (empty and classes != 1):
        raise ValueError(
            f"stream is damaged: its header says blocks of {block_rows} rows and {classes} classes "
            f"for shape {(rows, cols)}"
        )
    trellis = None if states == 1 else states
    dtype = np.dtype(f"i{width}")
    return EntropyHeader((rows, cols), dtype, trellis, classes, block_rows, stream.size)


def _taken(stream: NDArray[np.uint8], at: int, n: int, what: str) -> tuple[NDArray[np.uint8], int]:
    """Return the next n bytes, and where they end."""
    if n > stream.size - at:
        raise ValueError(f"stream of {stream.size} bytes ends before {what} does")
    return stream[at : at + n], at + n


def _read_table(stream: NDArray[np.uint8], at: int, table: NDArray[np.int32]) -> int:
    """Fill a table of frequencies, verified; return where its bytes end."""
    ends, at = _taken(stream, at, 2, "its tables")
    first, n = int(ends[0]), int(ends[1]) + 1
    part = stream[at : at + 2 * n].tolist()
    f, used = [], 0
    while len(f) < n and used < len(part):
        low = part[used]
        high = part[used + 1] if low >= 128 and used + 1 < len(part) else 0
        f.append(low & 127 | high << 7)
        used += 1 + (low >= 128)
        if low >= 128 and not 0 < high < SLOTS // 128:
            raise ValueError("stream is damaged: a frequency is not written as such")
    if len(f) < n:
        raise ValueError(f"stream of {stream.size} bytes ends before its tables do")
    if n + first > SYMBOLS or sum(f) != SLOTS or 0 in (f[0], f[-1]):
        raise ValueError(
            f"stream is damaged: a table has {n} symbols from {first}, and {sum(f)} slots instead "
            f"of {SLOTS}, or no slots at its ends"
        )
    if max(f) == SLOTS:
        raise ValueError("stream is damaged: a table has one symbol alone")
    table[first : first + n] = f
    return at + used


def _refuse_wide_table(table: NDArray[np.int32], header: EntropyHeader) -> None:
    """Raise ValueError if a table has numbers whose codes do not fit: of int8 in a trellis."""
    narrow = header.dtype == np.int8 and header.trellis is not None
    if narrow and (table[:64].any() or table[192:].any()):
        raise ValueError("stream is damaged: a table has codes that are no int8")


def _refuse_false_classes(nibbles: NDArray[np.uint8], header: EntropyHeader) -> None:
    """Raise ValueError if a row is of a class that is not there."""
    if not nibbles.size:
        return
    low, high = nibbles & 15, nibbles >> 4
    if max(low.max(), high.max()) >= header.classes or (header.shape[0] % 2 and high[-1]):
        raise ValueError(
            f"stream is damaged: classes of rows are not less than {header.classes}, or there is "
            "one more"
        )


def _refuse_thin_blocks(header: EntropyHeader, index: NDArray[np.int64]) -> None:
    """Raise ValueError if a block has more codes than its words can hold: before memory is taken.

    A code takes at least a 4608th off a state, as no symbol has more than 4095 slots: from 2**31 to
    2**15 in less than 16 * ln(2) * 4608 < 65536 codes, and each word is worth as many.
    """
    rows, cols = header.shape
    if not len(index):
        return
    most = header.block_rows * cols
    last = (rows - (len(index) - 1) * header.block_rows) * cols
    least = int(index[:-1, 1].min(initial=2**32))
    if (len(index) > 1 and most > CODES_OF_A_WORD * (LANES + least)) or (
        last > CODES_OF_A_WORD * (LANES + int(index[-1, 1]))
    ):
        raise ValueError("stream is damaged: a block has more codes than its words can hold")


def _decode(stream: NDArray[np.uint8], head: _Head, start: int, codes: NDArray) -> None:
    """Fill `codes`, which have entries, with the rows from `start` on."""
    header = head.header
    stop = start + len(codes)
    blocks = slice(start // header.block_rows, -(-stop // header.block_rows))
    index = head.index[blocks]
    for block, (at, checksum) in enumerate(
        zip(index, head.checksums[blocks], strict=True), blocks.start
    ):
        if zlib.crc32(_block(stream, at)) != checksum:
            raise ValueError(f"stream is damaged: block {block} does not have its checksum")
        _refuse_padding(stream, at, block)
    last = _block(stream, index[-1])
    body = stream[2 * int(index[0, 0]) : 2 * int(index[-1, 0]) + last.size].view("<i2")
    row = blocks.start * header.block_rows
    labels = _row_classes(head, row, min(blocks.stop * header.block_rows, header.shape[0]))
    faults = np.empty(len(index), np.int32)
    _native.call(
        "decode_blocks", _kind(codes), np.require(body, np.int16, ["C", "A"]),
        index - [index[0, 0], 0, 0], labels, head.frequencies, header.trellis or 1,
        header.block_rows, start - row, codes, faults, get_num_threads(),
    )  # fmt: skip
    if faults.any():
        block = int(np.flatnonzero(faults)[0])
        raise ValueError(
            f"stream is damaged: in block {blocks.start + block} {FAULTS[faults[block]]}"
        )


def _refuse_padding(stream: NDArray[np.uint8], at: NDArray[np.int64], block: int) -> None:
    if (at[1] + at[2]) % 2 and _block(stream, at)[-2:].any():
        raise ValueError(f"stream is damaged: bytes of padding of block {block} are not zero")


def _row_classes(head: _Head, start: int, stop: int) -> NDArray[np.int8]:
    """Return the classes of rows."""
    if not head.nibbles.size:
        return np.zeros(stop - start, np.int8)
    nibbles = head.nibbles[start // 2 : (stop + 1) // 2]
    both = np.stack([nibbles & 15, nibbles >> 4], 1).reshape(-1)
    return both[start % 2 :][: stop - start].view(np.int8)
