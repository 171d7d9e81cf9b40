"""A layer: ``activation(x @ w.T + bias)`` for weights in any form (`fortran/kernels/fq_linear.f90`)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._check import FLOATS, as_input, as_output, refuse_not_finite
from .activation import Activation, activate, as_activation
from .matmul import PACKED, TRANSPOSED, as_bias, multiply, pack_panels
from .quantize import Quantized, parameters_by_row
from .threads import get_num_threads

# Entries of a padded group of codes: `CODE_STEPS` of `fortran/fq_codes.f90`.
CODE_STEPS = 64


@dataclass(frozen=True, eq=False)
class Codes:
    """Signed codes by rows, groups apart as the kernel takes them, and their parameters by row."""

    codes: NDArray[np.int8]
    group_size: int
    stride: int
    scale: NDArray
    zero_point: NDArray[np.int32]
    minimum: NDArray


@dataclass(frozen=True, eq=False)
class Prepared:
    """Weights in the order in which a kernel reads them; made by `prepare`.

    Attributes
    ----------
    shape : tuple of int
        ``(out_features, in_features)``.
    dtype : dtype
        Of activations and results, float32 or float64.
    activation_bits : int or None
        8 if activations are quantized, as `linear` says.
    nbytes : int
        Bytes held.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    activation_bits: int | None
    layout: Any

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        parts = vars(self.layout).values() if isinstance(self.layout, Codes) else [self.layout]
        return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def prepare(w: NDArray | Quantized, *, activation_bits: int | None = None) -> Prepared:
    """TODO."""
    activation_bits = _as_activation_bits(activation_bits, w)
    if isinstance(w, Quantized):
        _as_matrix(w)
        if activation_bits:
            return Prepared(w.shape, w.scale.dtype, 8, codes_of(w))
        w = w.dequantize()
    w = as_input(w, "w", FLOATS)
    _as_matrix(w)
    return Prepared(w.shape, w.dtype, None, pack_panels(w, True))


def linear(
    x: NDArray,
    w: NDArray | Quantized | Prepared,
    bias: NDArray | None = None,
    *,
    activation: Activation = None,
    activation_bits: int | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """TODO."""
    if not isinstance(w, Quantized | Prepared):
        w = as_input(w, "w", FLOATS)
    bits = _as_activation_bits(activation_bits, w)
    dtype = w.scale.dtype if isinstance(w, Quantized) else w.dtype
    x = as_input(x, "x", (dtype,))
    n, k = _as_matrix(w)
    if x.ndim == 0 or x.shape[-1] != k:
        raise ValueError(f"x must have shape (..., {k}) for w of shape {w.shape}, not {x.shape}")
    bias = as_bias(bias, dtype, n)
    out = as_output(out, "out", dtype, (*x.shape[:-1], n), x, *_arrays(w), *_arrays(bias))
    m = math.prod(x.shape[:-1])
    rows, y = x.reshape(m, k), out.reshape(m, n)
    if not (out.size and k):
        multiply(rows, False, rows, TRANSPOSED, 0, bias, activation, y)
        return out
    if isinstance(w, Prepared):
        if isinstance(w.layout, Codes):
            _multiply_codes(x, w.layout, bias, activation, y)
        else:
            multiply(rows, False, w.layout, PACKED, k, bias, activation, y)
    elif isinstance(w, Quantized):
        if bits:
            _multiply_codes(rows, codes_of(w), bias, activation, y)
        else:
            multiply(rows, False, w.dequantize(), TRANSPOSED, k, bias, activation, y)
    else:
        multiply(rows, False, w, TRANSPOSED, k, bias, activation, y)
    return out


def codes_of(w: Quantized) -> Codes:
    """Return the codes of quantized weights as the kernel takes them."""
    n, k = w.shape
    scale, zero_point, minimum, group_size = parameters_by_row(w)
    codes = w.codes
    if not w.signed:
        shift = 128 if w.bits == 8 else 0
        codes = (codes ^ shift).view(np.int8) if shift else codes.view(np.int8)
        zero_point = zero_point - np.int32(shift)
    groups = scale.shape[1]
    stride = -(-min(group_size, k) // CODE_STEPS) * CODE_STEPS
    row = groups * stride
    if groups > 1 or row != k:
        padded = np.zeros((n, row + CODE_STEPS * (row % 512 == 0)), np.int8)
        for g in range(groups):
            part = codes[:, g * group_size : (g + 1) * group_size]
            padded[:, g * stride : g * stride + part.shape[1]] = part
        codes = padded
    return Codes(np.ascontiguousarray(codes), min(group_size, k), stride, scale, zero_point, minimum)


def _multiply_codes(
    x: NDArray, w: Codes, bias: NDArray | None, activation: Activation, out: NDArray
) -> None:
    code, slope = as_activation(activation)
    _native.call(
        "linear_codes",
        _native.KIND[x.dtype],
        w.group_size,
        w.stride,
        x.reshape(-1, x.shape[-1]),
        w.codes,
        w.scale,
        w.zero_point,
        w.minimum,
        bias is not None,
        out[0] if bias is None else bias,
        code,
        slope,
        out,
        get_num_threads(),
        inputs={"x": x},
    )


def _as_matrix(w: Any) -> tuple[int, int]:
    if len(w.shape) != 2:
        raise ValueError(f"w must have 2 axes, (out_features, in_features), not shape {w.shape}")
    return w.shape


def _as_activation_bits(bits: int | None, w: Any) -> int | None:
    if isinstance(w, Prepared):
        if bits not in (None, w.activation_bits):
            raise ValueError(f"w is prepared for activation_bits={w.activation_bits}, not {bits!r}")
        return w.activation_bits
    if bits is None:
        return None
    if bits != 8:
        raise ValueError(f"activation_bits must be None or 8, not {bits!r}")
    if not isinstance(w, Quantized):
        raise ValueError(f"activation_bits=8 needs quantized weights, not {type(w).__name__}")
    if w.bits > 8:
        raise ValueError(f"activation_bits=8 needs weights of at most 8 bits, not {w.bits}")
    return 8


def _arrays(x: Any) -> tuple:
    return (x,) if isinstance(x, np.ndarray) else ()
