"""What ``pyfq check`` runs: for each topic, known answers and comparisons with `pyfq.reference`.

A new topic writes a function that returns its cases and names it in `TOPICS`.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

import pyfq
from pyfq import PerColumn, PerGroup, PerRow, PerTensor, reference
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.arrays.calibrate import CALIBRATIONS
from pyfq.arrays.prune import Pruned
from pyfq.arrays.quantize import ROUNDINGS, SCHEMES, Quantized
from pyfq.reference.learning.train import cross_entropy


@dataclass(frozen=True)
class Case:
    """A call of the kernels and what it must return.

    Attributes
    ----------
    name : str
        What is special about it.
    run : callable
        Calls the public function.
    expected : callable
        Returns the same from the reference, or a known answer, or `Near` it, or that it is
        `Unspecified`; called once.
    """

    name: str
    run: Callable[[], Any]
    expected: Callable[[], Any]


@dataclass(frozen=True)
class Near:
    """What a result need not equal to the bit: sums whose order is not part of a specification.

    Attributes
    ----------
    value : array
        What is expected.
    bound : array of value's shape
        How far from it each entry may be.
    ours : bool
        Whether pyfq's kernels alone make it: LAPACK adds up as it likes.
    """

    value: NDArray
    bound: NDArray
    ours: bool = True


@dataclass(frozen=True)
class Unspecified:
    """What is known of a result that `pyfq.reference` does not have.

    It is the same for every number of threads, and, but for sums of floats, on every variant.

    Attributes
    ----------
    tolerance : float
        How far from each other variants may be, relative to the largest entry; 0 for the same bits.
    ours : bool
        Whether pyfq's kernels alone make it.
    """

    tolerance: float = 0.0
    ours: bool = True


def weights(dtype: DTypeLike) -> NDArray:
    """Return weights worth several threads: odd extents, ties, zeros of both signs, an outlier."""
    w = np.random.default_rng(1).standard_normal((151, 509)).astype(dtype)
    w[:, ::7] = np.round(w[:, ::7], 1)
    w[::50, ::3] = -0.0
    w[3, 5] = 40
    return w


def select_cases() -> list[Case]:
    """Order statistics."""
    cases = [
        Case("known", lambda: pyfq.select_kth(np.array([3.0, -1, 2]), 1), lambda: np.array(2.0))
    ]
    for w, label in _of_both_dtypes():
        for granularity in (PerTensor(), PerRow(), PerGroup(100)):
            call = _with(w, 5, granularity=granularity, magnitude=True)
            cases.append(_pair(f"{granularity} {label}", "select_kth", call))
    return cases


def prune_cases() -> list[Case]:
    """Pruning, in ways that keep weights and masks."""
    four = np.array([4.0, -1.0, 2.0, -3.0])
    known = Case(
        "known", lambda: pyfq.prune_percentile(four, 50).weights, lambda: np.array([4.0, 0, 0, -3])
    )
    cases = [known]
    for w, label in _of_both_dtypes():
        calls = [
            ("prune_threshold", _with(w, 0.5)),
            ("prune_percentile", _with(w, 37.5)),
            ("prune_percentile", _with(w, 37.5, granularity=PerGroup(100))),
            ("prune_ratio", _with(w, 0.6)),
            ("prune_ratio", _with(w, 0.6, granularity=PerRow())),
            ("prune_nm", _with(w, 2, 4)),
            ("prune_nm", _with(w, 3, 17)),
            ("prune_rows", _with(w, 0.3, 2, 8)),
        ]
        cases += [_pair(f"{name} {i} {label}", name, call) for i, (name, call) in enumerate(calls)]
    return cases


def quantize_cases() -> list[Case]:
    """Quantization and back."""
    six = np.array([[3.5, -7, 1.75], [14, 7, -10.5]], np.float32)
    codes = np.array([[4, -7, 2], [7, 4, -5]], np.int8)
    cases = [Case("known", lambda: pyfq.quantize(six, 4).codes, lambda: codes)]
    for w, label in _of_both_dtypes():
        for bits in (2, 3, 4, 8, 11, 16):
            for scheme in SCHEMES:
                call = _with(w, bits, scheme=scheme, granularity=PerGroup(64))
                cases.append(_pair(f"int{bits} {scheme} {label}", "quantize", call))
        for granularity in (PerTensor(), PerRow()):
            call = _with(w, 8, scheme="affine", granularity=granularity)
            cases.append(_pair(f"int8 {granularity} {label}", "quantize", call))
            cases.append(_pair(f"back from int8 {granularity} {label}", "fake_quantize", call))
        for rounding in ROUNDINGS:
            seed = 7 if rounding == "stochastic" else None
            call = _with(w, 5, rounding=rounding, seed=seed)
            cases.append(_pair(f"{rounding} {label}", "quantize", call))
        cases.append(_fixed_point_case(w, label))
    return cases


def calibrate_cases() -> list[Case]:
    """Scales that lose less than those of the range."""
    five = np.array([[-50.0, 0, 1, 3, 100]])
    how = {"scheme": "minmax", "calibration": "percentile", "percentile": 60}
    codes = np.array([[0, 0, 1, 3, 3]], np.uint8)
    known = Case("known", lambda: pyfq.quantize(five, 2, **how).codes, lambda: codes)
    cases = [known]
    for w, label in _of_both_dtypes():
        for calibration in CALIBRATIONS[1:]:
            for scheme in SCHEMES[calibration == "hqq" :]:
                call = _with(w, 3, scheme=scheme, calibration=calibration, granularity=PerGroup(60))
                cases.append(_pair(f"{calibration} {scheme} {label}", "quantize", call))
            call = _with(w, 8, scheme="minmax", calibration=calibration, granularity=PerTensor())
            cases.append(_pair(f"{calibration} of a tensor {label}", "quantize", call))
    return cases


def _fixed_point_case(w: NDArray, label: str) -> Case:
    call = _with(w, 2, 3, overflow="wrap")
    return Case(
        f"fixed point {label}",
        lambda: plain(call(pyfq.quantize_fixed_point))[:2],  # codes and scale, all there is
        lambda: call(reference.quantize_fixed_point),
    )


def pack_cases() -> list[Case]:
    """Packed codes and back."""
    known = np.array([1, -1, 7], np.int8)
    cases = [Case("known", lambda: pyfq.pack(known, 4), lambda: np.array([241, 7], np.uint8))]
    generator = np.random.default_rng(2)
    for bits in (1, 2, 3, 4, 5, 7, 8, 12, 16):
        codes = generator.integers(0, 2**bits, (97, 1001)).astype(
            np.uint8 if bits <= 8 else np.uint16
        )
        for dtype in (np.uint8, np.int32):
            packed = reference.pack(codes, bits, dtype)
            name = f"{bits} bits in {np.dtype(dtype)}"
            cases.append(_pair(name, "pack", _with(codes, bits, dtype)))
            cases.append(_pair(f"{name} back", "unpack", _with(packed, bits, 1001)))
    return cases


def entropy_cases() -> list[Case]:
    """Streams of codes, byte by byte, and back."""
    one = np.array([[0]], np.int8)
    known = Case("known", lambda: int(pyfq.entropy_encode(one).sum()), lambda: 2790)
    cases = [known]
    generator = np.random.default_rng(5)
    for dtype, spread in ((np.int8, 0.5), (np.int8, 9.0), (np.int16, 70.0)):
        rows = generator.uniform(0.2, 2, (41, 1)) * spread
        codes = np.rint(generator.standard_normal((41, 307)) * rows).astype(dtype)
        for trellis in (None, 4, 8):
            path = codes if trellis is None else _path(codes // 2, trellis)
            stream = reference.entropy_encode(path, trellis=trellis)
            name = f"{np.dtype(dtype)} {spread} trellis {trellis}"
            cases.append(_pair(name, "entropy_encode", _with(path, trellis=trellis)))
            cases.append(_pair(f"{name} back", "entropy_decode", _with(stream)))
            cases.append(
                Case(
                    f"{name} header",
                    lambda stream=stream: pyfq.entropy_header(stream).shape,
                    lambda: (41, 307),
                )
            )
    return cases


def lossless_cases() -> list[Case]:
    """Floats of each width, pruned and not, byte by byte, and back."""
    five = np.array([0, -0.0, 1, np.inf, 1e-45], np.float32)
    known = Case("known", lambda: int(pyfq.lossless_encode(five).sum()), lambda: 6484)
    cases = [known]
    w = np.random.default_rng(6).standard_normal((31, 67)) * 0.05
    w[np.abs(w) < 0.02] *= 0.0
    narrow = w.astype(np.float16).view(np.uint16)
    arrays = [w, w.astype(np.float32), np.abs(w).astype(np.float32), w.astype(np.float16)]
    arrays += [narrow, (narrow >> 8).astype(np.uint8)]
    for number, numbers in enumerate(arrays):
        stream = reference.lossless_encode(numbers)
        name = f"{numbers.dtype} {number}"
        cases.append(_pair(name, "lossless_encode", _with(numbers)))
        back = Case(
            f"{name} back",
            lambda stream=stream: pyfq.lossless_decode(stream).view(np.uint8),
            lambda stream=stream: reference.lossless_decode(stream).view(np.uint8),
        )
        cases.append(back)
    return cases


def _path(numbers: NDArray, states: int) -> NDArray:
    """Return codes of about these numbers that are a path of the trellis."""
    codes = 2 * numbers
    t = np.zeros(8, numbers.dtype)
    for row, numbers_of_row in zip(codes, numbers, strict=True):
        for c in range(0, row.size, 8):
            q = numbers_of_row[c : c + 8]
            now = t[: q.size]
            row[c : c + 8] += now & 1
            now[:] = 2 * now % states | (q ^ now >> 1 ^ now >> 2) & 1
    return codes


def convert_cases() -> list[Case]:
    """Narrow floating-point formats."""
    x = np.array([1.0, -2.5], np.float32)
    known = Case(
        "known", lambda: pyfq.cast_to(x, "bfloat16"), lambda: np.array([0x3F80, 0xC020], np.uint16)
    )
    cases = [known]
    w = weights(np.float32)
    for name in ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"):
        bits = np.arange(2**16 if name.endswith("16") else 2**8)
        bits = bits.astype(np.uint16 if name.endswith("16") else np.uint8)
        cases.append(_pair(f"to {name}", "cast_to", _with(w, name)))
        cases.append(_pair(f"from {name}", "cast_from", _with(bits, name)))
    return cases


def distortion_cases() -> list[Case]:
    """Error measures, to the last bit of their sums."""
    w, v = np.array([3.0, 4.0]), np.array([3.0, 3.5])
    cases = [Case("known", lambda: pyfq.distortion(w, v).sqnr, lambda: 20.0)]
    for large, label in _of_both_dtypes():
        cases.append(_pair(f"rounded {label}", "distortion", _with(large, np.round(large, 1))))
    return cases


def activation_cases() -> list[Case]:
    """Activation functions, to the last bit, of arguments that reach into the tails."""
    x = np.array([-2.0, 0.0, 1.0])
    cases = [Case("known", lambda: pyfq.activate(x, "relu"), lambda: np.array([0.0, 0.0, 1.0]))]
    for w, label in _of_both_dtypes():
        for word in ACTIVATIONS:
            cases.append(_pair(f"{word} {label}", "activate", _with(w * 3, word)))
    return cases


def observer_cases() -> list[Case]:
    """Histograms and ranges, of bins that grow and of bins that fit."""
    known = Case(
        "known",
        lambda: pyfq.Observer().update(np.array([0.5, -2.54])).scale()[0],
        lambda: np.array(0.02),
    )
    cases = [known]
    for w, label in _of_both_dtypes():
        for granularity, shape in (
            (PerTensor(), (1, 1, w.size)),
            (PerRow(), (1, *w.shape)),
            (PerColumn(), (*w.shape, 1)),
        ):
            parts = w.reshape(shape)
            cases.append(_histogram_case(f"{granularity} {label}", w, parts, granularity))
    return cases


def _histogram_case(
    name: str, w: NDArray, parts: NDArray, granularity: PerTensor | PerRow | PerColumn
) -> Case:
    peak = np.abs(parts).max(axis=(0, 2)).astype(np.float64)
    exponent = np.floor(np.log2(peak)).astype(np.int64) - 7  # 256 bins reach beyond the peak

    def run() -> tuple[NDArray, NDArray]:
        seen = pyfq.Observer("mse", granularity, 256).update(w / 8).update(w)
        return seen.histogram()[0].reshape(exponent.size, -1), seen.high.reshape(-1)

    def expected() -> tuple[NDArray, NDArray]:
        both = np.concatenate([parts / 8, parts], axis=2)
        return reference.count_bins(both, exponent, 256), both.max(axis=(0, 2))

    return Case(name, run, expected)


def matmul_cases() -> list[Case]:
    """Products of matrices, within the bound of sums in any order."""
    a, b = np.array([[1.0, 2], [3, 4]]), np.array([[5.0, 6], [7, 8]])
    product = np.array([[19.0, 22], [43, 50]])
    cases = [Case("known", lambda: pyfq.matmul(a, b), lambda: product)]
    for w, label in _of_both_dtypes():
        for rows in (1, 3, 4, 151):
            left, right, bias = w[:rows].copy(), w[10:130].copy(), w[0, :120].copy()
            turned = np.ascontiguousarray(right.T)
            calls = [
                ("", _with(left, turned, bias=bias)),
                (", right transposed", _with(left, right, transpose_b=True, bias=bias)),
                (", left transposed", _with(left.T.copy(), turned, transpose_a=True, bias=bias)),
            ]
            cases += [_near(f"{rows} rows{how} {label}", "matmul", call) for how, call in calls]
        cases.append(_fused_case(w, label))
    return cases


def _fused_case(w: NDArray, label: str) -> Case:
    def agrees() -> bool:
        fused = pyfq.matmul(w, w, transpose_b=True, activation="softmax")
        apart = pyfq.activate(pyfq.matmul(w, w, transpose_b=True), "softmax")
        return np.array_equal(fused, apart)

    return Case(f"and softmax {label}", agrees, lambda: True)


def linear_cases() -> list[Case]:
    """Layers: of codes to the last bit, of reals within the bound of sums in any order."""
    row = np.array([127.0, 127, -1, 0])
    codes = pyfq.quantize(np.array([[255.0, 255, 9, 3]]), 8, scheme="affine", scale=1.0)
    known = np.array([64761.0])  # more than pairs of products in 16 bits hold
    cases = [Case("known", lambda: pyfq.linear(row, codes, activation_bits=8), lambda: known)]
    for w, label in _of_both_dtypes():
        x, w, bias = w[:97].copy(), w[100:].copy(), w[0, :51].copy()
        for bits, scheme in ((8, "symmetric"), (8, "affine"), (8, "minmax"), (4, "affine")):
            for granularity in (PerRow(), PerGroup(64)):
                q = pyfq.quantize(w, bits, scheme=scheme, granularity=granularity)
                call = _with(x, q, bias, activation="gelu", activation_bits=8)
                name = f"int{bits} {scheme} {granularity} {label}"
                cases += [_pair(name, "linear", call), _prepared_case(name, call)]
        cases.append(_near(f"weights alone {label}", "linear", _with(x, q, bias)))
        cases.append(_near(f"array {label}", "linear", _with(x, w, bias)))
    return cases


def _prepared_case(name: str, call: Callable[[Callable[..., Any]], Any]) -> Case:
    def prepared(x, q, bias, *, activation, activation_bits):
        ready = pyfq.prepare(q, activation_bits=activation_bits)
        return pyfq.linear(x, ready, bias, activation=activation)

    return Case(f"prepared {name}", lambda: call(prepared), lambda: call(reference.linear))


def sparse_cases() -> list[Case]:
    """Matrices without their zeros and back; their layers, as those with zeros."""
    few = np.array([[0.0, 4, 3, 0], [1, 0, 0, -2]])
    positions = np.array([[9], [12]], np.uint8)
    cases = [Case("known", lambda: pyfq.to_sparse(few, "nm").positions, lambda: positions)]
    for w, label in _of_both_dtypes():
        x, w, bias = w[:97].copy(), w[100:].copy(), w[0, :51].copy()
        for name, pruned, form in (
            ("csr", pyfq.prune_ratio(w, 0.9), {"format": "csr"}),
            ("2:4", pyfq.prune_nm(w, 2, 4), {"format": "nm"}),
            ("3:7", pyfq.prune_nm(w, 3, 7), {"format": "nm", "n": 3, "m": 7}),
            ("rows", pyfq.prune_rows(w, 0.5), {"format": "rows"}),
        ):
            kept, q = pruned.weights, pyfq.quantize(pruned.weights, 8)
            cases.append(_zeros_case(f"{name} {label}", kept, form))
            for rows in (1, 20, 97):
                left, what = x[:rows].copy(), f"{name} {rows} rows {label}"
                cases.append(_skipping_case(what, _near, _with(left, kept, bias), form))
                call = _with(left, q, bias, activation="gelu", activation_bits=8)
                cases.append(_skipping_case(f"codes {what}", _pair, call, form))
    return cases


def _zeros_case(name: str, w: NDArray, form: dict[str, Any]) -> Case:
    return Case(name, lambda: pyfq.to_sparse(w, **form).toarray(), lambda: w)


def _skipping_case(
    name: str,
    compared: Callable[..., Case],
    call: Callable[[Callable[..., Any]], Any],
    form: dict[str, Any],
) -> Case:
    """Return the case that a layer without its zeros is that of the reference with them."""

    def skipping(x, w, *rest, **options):
        return pyfq.linear(x, pyfq.to_sparse(w, **form), *rest, **options)

    return replace(compared(name, "linear", call), run=lambda: call(skipping))


def mixed_cases() -> list[Case]:
    """Layers of 2-byte weights, and sums in float64: nearer to the exact ones than float32 is."""
    row, ones = np.array([[2.0**30, 1, -(2.0**30)]], np.float32), np.ones((2, 3), np.float32)
    cases = [
        Case(
            "known",
            lambda: pyfq.linear(row, ones, accumulation="float64"),
            lambda: np.ones((1, 2), np.float32),
        )
    ]
    w = weights(np.float32)
    left, w, bias = w[:97].copy(), w[100:].copy(), w[0, :51].copy()
    w[::3] *= 1e-6  # denormals of float16
    for name in ("bfloat16", "float16"):
        half = pyfq.to_half(w, name)
        cases.append(Case(f"to {name}", lambda h=half: h.bits, partial(reference.to_half, w, name)))
        for rows in (1, 7, 97):
            x = left[:rows].copy()
            what = f"{name} {rows} rows"
            cases += [
                _half_case(what, x, half, bias, None),
                _half_case(f"{what}, sums in float64", x, half, bias, "float64"),
            ]
    return cases


def _half_case(name: str, x: NDArray, half: pyfq.Half, bias: NDArray, accumulation: Any) -> Case:
    def expected() -> Near:
        y = reference.linear_half(x, half.bits, half.format, bias)
        size = np.abs(x) @ np.abs(half.dequantize()).T + np.abs(bias)
        steps = half.shape[1] + 1
        if accumulation is None:
            return Near(y, steps * np.finfo(np.float32).eps * size)
        return Near(y, np.finfo(np.float32).eps * np.abs(y) + steps * 2.0**-51 * size)

    def run() -> NDArray:
        return pyfq.linear(x, pyfq.prepare(half), bias, accumulation=accumulation)

    return Case(name, run, expected)


def codebook_cases() -> list[Case]:
    """Codes of tables, their scales, and back."""
    cases = []
    for w, label in _of_both_dtypes():
        for table in ("nf4", "fp4", "log2"):
            for granularity in (PerRow(), PerGroup(64)):
                name = f"{table} {granularity} {label}"
                cases.append(Case(name, *_of_codebook(w, table, granularity)))
                cases.append(Case(f"mse {name}", *_of_codebook(w, table, granularity, "mse")))
    return cases


def _of_codebook(
    w: NDArray,
    table: str,
    granularity: PerRow | PerGroup,
    calibration: Literal["absmax", "mse"] = "absmax",
) -> tuple[Callable, Callable]:
    def run() -> tuple[NDArray, ...]:
        q = pyfq.quantize_codebook(w, table, granularity=granularity, calibration=calibration)
        return q.codes, q.scale, q.dequantize()

    def expected() -> tuple[NDArray, ...]:
        levels = pyfq.quantize_codebook(w[:1], table, granularity=granularity).levels
        scale = None
        if calibration == "mse":
            scale = reference.calibrate_codebook(w, levels[0], granularity=granularity)
        codes, scale = reference.quantize_codebook(w, levels, granularity=granularity, scale=scale)
        reals = reference.dequantize_codebook(codes, levels, scale, granularity=granularity)
        return codes, scale, reals

    return run, expected


def rate_cases() -> list[Case]:
    """Codes of the least error and bits, and their scales."""
    cases = []
    for w, label in _of_both_dtypes():
        few = w[:20].copy()  # a step of the reference takes as long for few as for many
        for trellis in (None, 4, 8):
            for granularity in (PerTensor(), PerRow()):
                call = _with(few, step=0.6, granularity=granularity, trellis=trellis, tradeoff=0.3)
                cases.append(Case(f"{trellis} {granularity} {label}", *_of_rate(call)))
    return cases


def _of_rate(call: Callable[[Callable[..., Any]], Any]) -> tuple[Callable, Callable]:
    def run() -> tuple[NDArray, ...]:
        q = call(pyfq.quantize_rate)
        return q.codes.astype(np.int16), q.scale

    def given(w: NDArray, *, step: float, **how: Any) -> tuple[NDArray, ...]:
        return reference.quantize_rate(w, step, **how)

    return run, lambda: call(given)


def lowrank_cases() -> list[Case]:
    """Products of thin matrices: nearest to weights, and layers of them, within a bound."""
    n = np.arange(5)
    hilbert = 1 / (n[:, None] + n + 1.0)
    singular = np.array([1.56705069, 0.208534219, 0.0114074916, 3.05898040e-4, 3.28792877e-6])
    known = Near(singular, 5e-9 * singular, ours=False)
    cases = [
        Case("known", lambda: (pyfq.svd_lowrank(hilbert, 5).u ** 2).sum(axis=0), lambda: known)
    ]
    for w, label in _of_both_dtypes():
        x, bias = w[:97, :90].copy(), w[0, :60].copy()
        w = w[:60, 100:190].copy()
        for method in ("exact", "randomized"):
            call = _with(w, 20, method=method)
            cases.append(Case(f"{method} {label}", *_nearest(call, w)))
        low = pyfq.LowRank(w[:, :20].copy(), w[:20].copy())
        for rows in (1, 97):
            what = f"layer {rows} rows {label}"
            cases.append(Case(what, *_factored(_with(x[:rows].copy(), low, bias))))
    return cases


def _nearest(
    call: Callable[[Callable[..., Any]], Any], w: NDArray
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    def expected() -> Near:
        u, v, _ = call(reference.svd_lowrank)
        bound = np.full_like(w, 1000 * np.finfo(w.dtype).eps * np.abs(w).max())
        return Near(u @ v, bound, ours=False)

    return lambda: call(pyfq.svd_lowrank).toarray(), expected


def _factored(
    call: Callable[[Callable[..., Any]], Any],
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    def magnitudes(x, w, bias):
        size = np.abs(x) @ np.abs(w.v).T @ np.abs(w.u).T + np.abs(bias)
        return (w.shape[1] + w.rank + 1) * np.finfo(x.dtype).eps * size

    return lambda: call(pyfq.linear), lambda: Near(call(reference.linear), call(magnitudes))


def network_cases() -> list[Case]:
    """Forward passes: of codes to the bit, of reals within a bound."""
    cases = []
    for w, label in _of_both_dtypes():
        x = w[:, :70].copy()
        plain_one = pyfq.Network.create((70, 90, 40, 7), activation="gelu", dtype=w.dtype, seed=1)
        codes = plain_one.map_weights(partial(pyfq.quantize, granularity=PerGroup(32)))
        coded = replace(codes, activation_bits=8)
        cases.append(Case(f"codes {label}", *_forward(coded, x, exact=True)))
        by_row = plain_one.map_weights(partial(pyfq.quantize, scheme="affine"))
        for scheme in ("affine", "symmetric"):
            fixed = by_row.calibrate(x, scheme=scheme)
            for samples in (1, 151):
                what = f"fixed {scheme} codes {samples} samples {label}"
                cases.append(Case(what, *_forward(fixed, x[:samples].copy(), exact=True)))
        for name, network in (
            ("reals", plain_one),
            ("codes of weights", codes),
            ("csr", plain_one.map_weights(lambda w: pyfq.to_sparse(pyfq.prune_ratio(w, 0.8)))),
            ("low rank", plain_one.map_weights(_factors)),
        ):
            for samples in (1, 20, 151):
                what = f"{name} {samples} samples {label}"
                cases.append(Case(what, *_forward(network, x[:samples].copy())))
    return cases


def _factors(w: NDArray) -> pyfq.LowRank:
    return pyfq.LowRank(w[:, :6].copy(), w[:6].copy())


def _forward(
    network: pyfq.Network, x: NDArray, *, exact: bool = False
) -> tuple[Callable, Callable]:
    def expected() -> NDArray | Near:
        y = reference.forward_network(x, network)
        bound = 500 * np.finfo(y.dtype).eps * np.abs(y).max()
        return y if exact else Near(y, np.full_like(y, bound))

    return lambda: network.forward(x), expected


def derivatives_cases() -> list[Case]:
    """Products with Jacobians, of reals and of codes of weights, within a bound."""
    cases = []
    for w, label in _of_both_dtypes():
        x, towards = w[:, :70].copy(), np.ascontiguousarray(w[::-1, :70])
        back = np.ascontiguousarray(w[:, -7:])
        plain_one = pyfq.Network.create((70, 90, 40, 7), activation="tanh", dtype=w.dtype, seed=2)
        codes = plain_one.map_weights(partial(pyfq.quantize, granularity=PerGroup(32)))
        for name, network in (("reals", plain_one), ("codes of weights", codes)):
            for method, v in (("jvp", towards), ("vjp", back)):
                cases.append(Case(f"{method} {name} {label}", *_derivative(network, method, x, v)))
    return cases


def _derivative(
    network: pyfq.Network, method: str, x: NDArray, v: NDArray
) -> tuple[Callable, Callable]:
    def expected() -> Near:
        product = getattr(reference, f"{method}_network")(x, v, network)
        bound = 500 * np.finfo(product.dtype).eps * np.abs(product).max()
        return Near(product, np.full_like(product, bound))

    return lambda: getattr(network, method)(x, v), expected


def train_cases() -> list[Case]:
    """Training, whose epochs are near those of the reference."""
    x = weights(np.float64)[:, :40].copy()
    y = np.arange(len(x)) % 5
    network = pyfq.Network.create((40, 30, 5), activation="tanh", dtype=np.float64)
    optimizers = {"sgd": pyfq.SGD(0.1, 0.9), "adam": pyfq.Adam(0.01)}
    return [
        Case(name, *_trained(network, x, y, optimizer)) for name, optimizer in optimizers.items()
    ]


def _trained(
    network: pyfq.Network, x: NDArray, y: NDArray, optimizer: pyfq.SGD | pyfq.Adam
) -> tuple[Callable, Callable]:
    def run() -> NDArray:
        trained = pyfq.train(network, x, y, optimizer=optimizer, epochs=1, batch_size=40)
        return trained.network.layers[0].weights

    def expected() -> Near:
        layers = [[a.weights.copy(), a.bias.copy(), a.activation] for a in network.layers]
        order = np.random.default_rng(0).permutation(len(x))
        parts = [order[i : i + 40] for i in range(0, len(x), 40)]
        batches = [(x[p], np.full(len(p), 1 / len(p)), y[p]) for p in parts]
        rates = [optimizer.learning_rate] * len(parts)
        reference.train_epoch(layers, batches, cross_entropy, optimizer, {}, rates)
        return Near(layers[0][0], np.full(layers[0][0].shape, 1e-10))

    return run, expected


def integer_cases() -> list[Case]:
    """Products of integers, and such products as codes again; two known ones exceed 16 bits."""
    column = np.array([[127], [127], [0], [0]], np.int8)
    cases = []
    for dtype, largest, total in ((np.uint8, 255, 64770), (np.int8, 127, 32258)):
        row = np.array([[largest, largest, 0, 0]], dtype)
        cases.append(
            Case(
                f"known {np.dtype(dtype)}",
                partial(pyfq.matmul_integer, row, column),
                partial(np.array, [[total]], np.int32),
            )
        )
    generator = np.random.default_rng(3)
    for a_dtype, b_dtype in ((np.uint8, np.int8), (np.int8, np.uint8)):
        for m, k, n in ((53, 509, 131), (5, 4500, 33)):
            a, a_zero = _random_codes(generator, a_dtype, (m, k), m)
            b, b_zero = _random_codes(generator, b_dtype, (k, n), n)
            a_scale, b_scale = (generator.random(i, np.float32) + 0.5 for i in (m, n))
            name = f"{a.dtype} {b.dtype} {k} steps"
            call = _with(a, b, a_zero, b_zero)
            cases.append(_pair(name, "matmul_integer", call))
            call = _with(a, a_scale, a_zero, b, b_scale, b_zero, 99 * k**0.5, a_zero[0])
            cases.append(_pair(f"quantized {name}", "quantized_matmul", call))
    return cases


def _random_codes(
    generator: np.random.Generator, dtype: DTypeLike, shape: tuple[int, int], zeros: int
) -> tuple[NDArray, NDArray]:
    """Return codes and zero points of the whole range of a dtype."""
    limits = np.iinfo(dtype)
    return tuple(
        generator.integers(limits.min, limits.max, i, dtype, endpoint=True) for i in (shape, zeros)
    )


#: The cases of each topic.
TOPICS: dict[str, Callable[[], list[Case]]] = {
    "select": select_cases,
    "prune": prune_cases,
    "quantize": quantize_cases,
    "calibrate": calibrate_cases,
    "distortion": distortion_cases,
    "pack": pack_cases,
    "entropy": entropy_cases,
    "lossless": lossless_cases,
    "convert": convert_cases,
    "activation": activation_cases,
    "observer": observer_cases,
    "matmul": matmul_cases,
    "linear": linear_cases,
    "sparse": sparse_cases,
    "integer": integer_cases,
    "mixed": mixed_cases,
    "codebook": codebook_cases,
    "rate": rate_cases,
    "lowrank": lowrank_cases,
    "network": network_cases,
    "derivatives": derivatives_cases,
    "train": train_cases,
}


def _with(*args: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a call that is still without its function."""
    return lambda function: function(*args, **options)


def _pair(name: str, function: str, call: Callable[[Callable[..., Any]], Any]) -> Case:
    """Return the case that a function of pyfq and that of the reference agree."""
    return Case(
        name,
        lambda: plain(call(getattr(pyfq, function))),
        lambda: call(getattr(reference, function)),
    )


def _near(name: str, function: str, call: Callable[[Callable[..., Any]], Any]) -> Case:
    """Return the case that sums of products are within their bound of the reference."""

    def magnitudes(x, w, *bias, **options):
        w = w.dequantize() if isinstance(w, Quantized) else w
        options = {k: np.abs(v) if k == "bias" else v for k, v in options.items()}
        size = getattr(reference, function)(np.abs(x), np.abs(w), *map(np.abs, bias), **options)
        steps = max(w.shape)  # of these shapes, what is summed over
        return (steps + 1) * np.finfo(x.dtype).eps * size

    return Case(
        name,
        lambda: call(getattr(pyfq, function)),
        lambda: Near(call(getattr(reference, function)), call(magnitudes)),
    )


def _of_both_dtypes() -> list[tuple[NDArray, str]]:
    return [(weights(dtype), np.dtype(dtype).name) for dtype in (np.float32, np.float64)]


def plain(result: Any) -> Any:
    """Return a result of pyfq as the reference has it: arrays in a tuple."""
    match result:
        case Quantized():
            return result.codes, result.scale, result.zero_point, result.minimum
        case Pruned():
            return result.weights, result.mask, result.threshold
        case pyfq.Distortion():
            return astuple(result)
    return result


def _same_kind(got: NDArray, expected: NDArray) -> bool:
    return got.dtype == expected.dtype and got.shape == expected.shape


def agree(got: Any, expected: Any) -> bool:
    """Tell whether a result has the types, shapes and values expected; zeros have no sign."""
    if isinstance(expected, tuple):
        return len(got) == len(expected) and all(map(agree, got, expected))
    if isinstance(expected, Near):
        value, bound = expected.value, expected.bound
        return _same_kind(got, value) and bool((np.abs(got - value) <= bound).all())
    if not isinstance(expected, np.ndarray):
        return got == expected
    equal_nan = expected.dtype.kind == "f"
    return _same_kind(got, expected) and np.array_equal(got, expected, equal_nan=equal_nan)
