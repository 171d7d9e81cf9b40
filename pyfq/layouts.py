"""How weights lie in memory for each kernel that multiplies by them."""

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._check import as_number, refuse_not_finite
from ._memory import aligned_empty
from .activation import Activation, activate
from .codebook import Codebook, levels_by_row
from .matmul import PACKED, TRANSPOSED, epilogue, multiply, pack_panels
from .mixed import FORMATS, Half
from .quantize import Quantized, parameters_by_row
from .sparse import Sparse, linear_sparse
from .threads import get_num_threads

# Entries of a padded group of codes: `CODE_STEPS` of `fortran/tiles/fq_gemm_int8.f90`.
CODE_STEPS = 64
# What rows of static codes are padded to a multiple of: the columns of any tile.
TILE_STEP = 12
# Columns of weights whose sums of products with codes fit 32 bits: 33025 * 255**2 < 2**31.
MOST_INPUTS = 33025
# Rows of a panel of `fortran/formats/fq_nibbles.f90`, and words of a step.
PANEL_ROWS, WORDS = 128, 32
# Bits of 128 in float16: from there on `fortran/products/fq_mixed.f90` does not take it.
MOST_FLOAT16 = np.uint16(0x5800)


class Layout(Protocol):
    """Weights that can be multiplied by."""

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write ``activation(x @ w.T + bias)`` for `x` (..., k), which is named in errors."""


def nbytes_of(layout: Layout) -> int:
    """Return the bytes of the arrays of a layout."""
    if isinstance(layout, Factors):
        return sum(map(nbytes_of, layout.parts))
    parts = (getattr(layout, field.name) for field in fields(layout))
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def shared_arrays(layout: Layout) -> list[NDArray]:
    """Return the arrays of a layout that are the caller's."""
    if isinstance(layout, Factors):
        return [array for part in layout.parts for array in shared_arrays(part)]
    return [layout.w] if isinstance(layout, Rows) else []


@dataclass(frozen=True, eq=False)
class Rows:
    """An array ``(n, k)`` as it is."""

    w: NDArray

    def apply(
        self,
        x: NDArray,
        bias: NDArray | None,
        activation: Activation,
        out: NDArray,
        wide: bool = False,
    ) -> None:
        """Write the layer's results; see `Layout`. Wide: summed in float64."""
        k = self.w.shape[1]
        multiply(_flat(x), False, self.w, TRANSPOSED, k, bias, activation, out, wide)


@dataclass(frozen=True, eq=False)
class Nonzeros:
    """Weights without what was pruned."""

    sparse: Sparse
    activation_bits: int | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        linear_sparse(_flat(x), self.sparse, bias, activation, self.activation_bits, out)


@dataclass(frozen=True, eq=False)
class Panels:
    """Panels of floats, a vector of rows of weights step by step of k."""

    panels: NDArray
    k: int

    def apply(
        self,
        x: NDArray,
        bias: NDArray | None,
        activation: Activation,
        out: NDArray,
        wide: bool = False,
    ) -> None:
        """Write the layer's results; see `Layout`. Wide: summed in float64."""
        multiply(_flat(x), False, self.panels, PACKED, self.k, bias, activation, out, wide)


@dataclass(frozen=True, eq=False)
class HalfPanels:
    """Panels of 2-byte floats, two steps of k a word, which widen as they are multiplied."""

    words: NDArray[np.int32]
    format: int

    def apply(
        self,
        x: NDArray,
        bias: NDArray | None,
        activation: Activation,
        out: NDArray,
        wide: bool = False,
    ) -> None:
        """Write the layer's results; see `Layout`. Wide: summed in float64."""
        _native.call(
            "multiply_half",
            "f32",
            _flat(x),
            self.format,
            self.words,
            wide,
            *epilogue(bias, activation, out),
        )


@dataclass(frozen=True, eq=False)
class Codes:
    """Signed codes by rows, each group from a multiple of `stride` on, and parameters by row."""

    codes: NDArray[np.int8]
    group_size: int
    stride: int
    scale: NDArray
    zero_point: NDArray[np.int32]
    minimum: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "linear_codes",
            _native.KIND[x.dtype],
            self.group_size,
            self.stride,
            _flat(x),
            self.codes,
            self.scale,
            self.zero_point,
            self.minimum,
            *epilogue(bias, activation, out),
            inputs={"x": x},
        )


@dataclass(frozen=True, eq=False)
class StaticCodes:
    """Signed codes by rows, and what makes reals of sums with codes of inputs; for plans only.

    Attributes
    ----------
    codes : (rows, steps) int8
        Rows and steps beyond those of the weights are zeros.
    code_sums : (n,) int32
        Sums of codes without zero points.
    zero_point : (n,) int32, or None where all are 0
        Of the weights.
    scale : (n,) array
        Of sums.
    step : (1,) array
        Between codes of inputs.
    input_zero : int
        Their code of 0, -1 where they are signed.
    """

    codes: NDArray[np.int8]
    code_sums: NDArray[np.int32]
    zero_point: NDArray[np.int32] | None
    scale: NDArray
    step: NDArray
    input_zero: int


@dataclass(frozen=True, eq=False)
class Nibbles:
    """Codes of at most 4 bits, a row of weights a lane, and parameters by panel of 128 rows."""

    words: NDArray[np.int16]
    group_size: int
    scale: NDArray
    zero_point: NDArray[np.int8]
    minimum: NDArray | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "linear_nibbles",
            _native.KIND[x.dtype],
            self.group_size,
            _flat(x),
            self.words,
            self.scale,
            self.zero_point,
            self.minimum is not None,
            self.scale if self.minimum is None else self.minimum,
            *epilogue(bias, activation, out),
            inputs={"x": x},
        )


@dataclass(frozen=True, eq=False)
class CodePanels:
    """Panels of codes, a byte or half of one each, which become floats as they are multiplied."""

    codes: NDArray[np.int8]
    halves: bool
    group_size: int
    scale: NDArray
    zero_point: NDArray[np.int8]
    minimum: NDArray | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "matmul_codes",
            _native.KIND[x.dtype],
            self.group_size,
            _flat(x),
            self.halves,
            self.codes,
            self.scale,
            self.zero_point,
            self.minimum is not None,
            self.scale if self.minimum is None else self.minimum,
            *epilogue(bias, activation, out),
        )


@dataclass(frozen=True, eq=False)
class LevelPanels:
    """Panels of codes of a table, those of two rows a byte, and the levels of each such byte."""

    codes: NDArray[np.int8]
    group_size: int
    pairs: NDArray
    scale: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        _native.call(
            "matmul_levels",
            _native.KIND[x.dtype],
            self.group_size,
            _flat(x),
            self.codes,
            self.pairs,
            self.scale,
            *epilogue(bias, activation, out),
        )


@dataclass(frozen=True, eq=False)
class Factors:
    """Two matrices whose product the weights are, the right one first, and what is added to it."""

    rank: int
    v: Layout
    u: Layout
    residual: Layout | None

    @property
    def parts(self) -> tuple[Layout, ...]:
        """All that is multiplied by."""
        return (self.v, self.u) if self.residual is None else (self.v, self.u, self.residual)

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        projected = np.empty((len(out), self.rank), out.dtype)
        self.v.apply(x, None, None, projected)
        if self.residual is None:
            self.u.apply(projected, bias, activation, out)
            return
        total = np.empty_like(out)
        self.residual.apply(x, bias, None, total)
        self.u.apply(projected, None, None, out)
        total += out
        activate(total, activation, out=out)


def as_panels(w: NDArray) -> Panels:
    """Return the panels of an array."""
    return Panels(pack_panels(w, True), w.shape[1])


def as_x_scale(x_scale: Any, w: Any, bias: NDArray | None) -> np.floating:
    """Return the step of codes of inputs in the dtype of weights; refuse weights it is not for."""
    if not isinstance(w, Quantized) or w.bits > 8 or w.minimum is not None:
        what = type(w).__name__
        if isinstance(w, Quantized):
            what = f"of {w.bits} bits{'' if w.minimum is None else ' and with minima'}"
        raise ValueError(
            "weights must be Quantized, of at most 8 bits and without minima, for x_scale, "
            f"not {what}"
        )
    n, k = w.shape
    if w.scale.size not in (1, n):
        raise ValueError(
            f"weights must have one scale for all or one a row for x_scale, not {w.granularity!r}"
        )
    if k > MOST_INPUTS:
        raise ValueError(f"weights must have at most {MOST_INPUTS} columns for x_scale, not {k}")
    largest = np.finfo(w.scale.dtype).max
    step = w.scale.dtype.type(as_number(x_scale, "x_scale", 0, float(largest)))
    refuse_not_finite({"scale": w.scale})
    with np.errstate(over="ignore"):
        reaches = 2.0**31 * (step * np.abs(w.scale).max())
        reaches += 0 if bias is None else np.abs(bias).max()
    if not (step > 0 and reaches <= largest):
        raise ValueError(
            f"x_scale must be positive, and 2**31 * x_scale * scale + bias finite in "
            f"{w.scale.dtype}, but x_scale is {x_scale}"
        )
    return step


def as_static_codes(w: Quantized, x_scale: np.floating, x_zero_point: int | None) -> StaticCodes:
    """Return the codes of quantized weights by rows, for inputs that are codes of a fixed step."""
    n, k = w.shape
    scale, zero_point, *_ = parameters_by_row(w)
    codes, zero_point = _signed_codes(w, zero_point)
    padded = aligned_empty((-(-n // TILE_STEP) * TILE_STEP, _padded_steps(k)), np.int8)
    padded[...] = 0
    padded[:n, :k] = codes
    sums = codes.sum(axis=1, dtype=np.int32) - np.int32(k) * zero_point[:, 0]
    return StaticCodes(
        padded,
        sums,
        zero_point[:, 0] if zero_point.any() else None,
        x_scale * scale[:, 0],
        np.array([x_scale]),
        -1 if x_zero_point is None else x_zero_point,
    )


def _signed_codes(
    w: Quantized, zero_point: NDArray[np.int32]
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Return codes as signed bytes, and their zero points."""
    if w.bits == 8 and w.signed:
        return w.packed.view(np.int8), zero_point
    if w.bits == 8:
        return w.packed.view(np.int8) ^ np.int8(-128), zero_point - np.int32(128)
    return w.codes.view(np.int8), zero_point


def _padded_steps(k: int) -> int:
    """Return the length of a row of codes: rows a power of 2 apart would meet in one set of L1."""
    row = -(-k // CODE_STEPS) * CODE_STEPS
    return row + CODE_STEPS * (row % 512 == 0)


def as_half_panels(w: Half) -> HalfPanels | Panels:
    """Return the panels of 2-byte weights; of floats where their kernel has no room for exponents.

    It raises the exponents of float16, so that none is a denormal, up to those below 128.
    """
    n, k = w.shape
    if w.format == "float16" and ((w.bits & np.uint16(0x7FFF)) >= MOST_FLOAT16).any():
        return as_panels(w.dequantize())
    lanes = _native.lib.fq_panels_shape_f32(n, k)[1]
    words = aligned_empty((-(-n // lanes), -(-k // 2), lanes), np.int32)
    number = FORMATS[w.format][0]
    _native.call("pack_half", "f32", w.bits.view(np.int16), number, words, get_num_threads())
    return HalfPanels(words, number)


def as_codes(w: Quantized, *, copied: bool) -> Codes:
    """Return the codes of quantized weights by rows; copied where that multiplies faster."""
    n, k = w.shape
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    codes, zero_point = _signed_codes(w, zero_point)
    groups = scale.shape[1]
    stride = -(-group_size // CODE_STEPS) * CODE_STEPS
    row = groups * stride
    if copied or row != k:
        padded = aligned_empty((n, _padded_steps(row)), np.int8)
        padded[...] = 0
        for g in range(groups):
            part = codes[:, g * group_size : (g + 1) * group_size]
            padded[:, g * stride : g * stride + part.shape[1]] = part
        codes = padded
    return Codes(codes, group_size, stride, scale, zero_point, minimum)


def as_code_panels(w: Quantized) -> CodePanels | Panels:
    """Return the panels of quantized weights, of floats where codes would not give the same."""
    n, k = w.shape
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    halves = w.bits <= 4 and (group_size % 2 == 0 or scale.shape[1] == 1)
    largest = np.finfo(scale.dtype).max
    if w.bits > 8 or np.abs(scale).max() > largest / 2**17 or np.abs(minimum).max() > largest / 2:
        return as_panels(w.dequantize())
    codes = w.codes.view(np.int8)
    shift = 8 if halves and w.signed else -128 if w.bits == 8 and not w.signed else 0
    codes = codes + np.int8(shift) if shift else codes  # -128 wraps: unsigned codes become signed
    kind = _native.KIND[scale.dtype]
    lanes = getattr(_native.lib, f"fq_panels_shape_{kind}")(n, k)[1]
    panels = -(-n // lanes)
    packed = aligned_empty((panels, -(-k // 2) if halves else k, lanes), np.int8)
    _native.call("pack_codes", kind, codes, halves, packed, get_num_threads())
    zeros = _by_panel(zero_point + np.int32(shift), panels, lanes, np.dtype(np.int8))
    least = None if w.minimum is None else _by_panel(minimum, panels, lanes, scale.dtype)
    steps = _by_panel(scale, panels, lanes, scale.dtype)
    return CodePanels(packed, halves, group_size, steps, zeros, least)


def as_level_panels(w: Codebook) -> LevelPanels | Panels:
    """Return the panels of weights of one table of at most 16 levels, of floats if it has more."""
    levels, scale, group_size = levels_by_row(w)
    if w.bits > 4 or len(levels) > 1:
        return as_panels(w.dequantize())
    n, k = w.shape
    lanes = getattr(_native.lib, f"fq_panels_shape_{_native.KIND[w.dtype]}")(n, k)[1]
    panels = -(-n // lanes)
    codes = np.zeros((panels * lanes, k), np.uint8)
    codes[:n] = w.codes
    packed = aligned_empty((panels, k, lanes // 2), np.int8)
    both = codes[::2] | codes[1::2] << 4  # the first row of two in the lower half
    packed[...] = both.view(np.int8).reshape(panels, lanes // 2, k).swapaxes(1, 2)
    table = np.zeros(16, w.dtype)
    table[: levels.shape[1]] = levels[0]
    pairs = np.stack([np.tile(table, 16), np.repeat(table, 16)], axis=1)
    return LevelPanels(packed, group_size, pairs, _by_panel(scale, panels, lanes, w.dtype))


def as_nibbles(w: Quantized) -> Nibbles:
    """Return quantized weights of at most 4 bits by lanes."""
    n, k = w.shape
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    shift = 8 if w.signed else 0
    codes = w.codes.view(np.int8) + np.int8(shift)
    panels = -(-n // PANEL_ROWS)
    words = aligned_empty((panels, k, WORDS), np.int16)
    _native.call("pack_nibbles", _native.KIND[scale.dtype], codes, words, get_num_threads())
    return Nibbles(
        words,
        group_size,
        _by_panel(scale, panels, PANEL_ROWS, scale.dtype),
        _by_panel(zero_point + np.int32(shift), panels, PANEL_ROWS, np.dtype(np.int8)),
        None if w.minimum is None else _by_panel(minimum, panels, PANEL_ROWS, scale.dtype),
    )


def _by_panel(parameter: NDArray, panels: int, lanes: int, dtype: np.dtype) -> NDArray:
    """Return parameters ``(n, groups)`` as ``(panels, groups, lanes)``, zeros behind."""
    n, groups = parameter.shape
    rows = np.zeros((panels * lanes, groups), dtype)
    rows[:n] = parameter
    by_panel = aligned_empty((panels, groups, lanes), dtype)
    by_panel[...] = rows.reshape(panels, lanes, groups).swapaxes(1, 2)
    return by_panel


def _flat(x: NDArray) -> NDArray:
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
