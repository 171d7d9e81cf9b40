"""A layer: ``activation(x @ w.T + bias)`` for weights in any form (`fortran/kernels/fq_linear.f90`)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._check import FLOATS, as_count, as_input, as_output
from .activation import Activation
from .layouts import Layout, Rows, as_codes, as_nibbles, as_panels, nbytes_of
from .matmul import as_bias, fill
from .quantize import Quantized

# Rows of activations up to which codes of 4 bits, one scale a row, are multiplied faster by lanes
# than as bytes.
MOST_LANE_ROWS = 2

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
    layout: Layout

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return nbytes_of(self.layout)


def prepare(
    w: NDArray | Quantized, *, activation_bits: int | None = None, batch: int = 1
) -> Prepared:
    """TODO."""
    activation_bits = _as_activation_bits(activation_bits, w)
    batch = as_count(batch, "batch", 1)
    if not isinstance(w, Quantized):
        w = as_input(w, "w", FLOATS)
    _as_matrix(w)
    return Prepared(w.shape, _dtype_of(w), activation_bits, _layout(w, activation_bits, batch))


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
    dtype = _dtype_of(w)
    x = as_input(x, "x", (dtype.type,))
    n, k = _as_matrix(w)
    if x.ndim == 0 or x.shape[-1] != k:
        raise ValueError(f"x must have shape (..., {k}) for w of shape {w.shape}, not {x.shape}")
    bias = as_bias(bias, dtype, n)
    out = as_output(out, "out", dtype, (*x.shape[:-1], n), x, *_arrays(w), *_arrays(bias))
    y = out if out.ndim == 2 else out.reshape(math.prod(x.shape[:-1]), n)
    if not (out.size and k):
        fill(y, bias, activation)
    elif isinstance(w, Prepared):
        w.layout.apply(x, bias, activation, y)
    elif isinstance(w, Quantized) and bits:
        as_codes(w, copied=False).apply(x, bias, activation, y)
    elif isinstance(w, Quantized):
        Rows(w.dequantize()).apply(x, bias, activation, y)
    else:
        Rows(w).apply(x, bias, activation, y)
    return out


def _layout(w: NDArray | Quantized, activation_bits: int | None, batch: int) -> Layout:
    if not isinstance(w, Quantized):
        return as_panels(w)
    if not activation_bits:
        return as_panels(w.dequantize())
    groups = w.scale.size > w.shape[0]
    if w.bits <= 4 and w.size and (groups or batch <= MOST_LANE_ROWS):
        return as_nibbles(w)
    return as_codes(w, copied=True)


def _dtype_of(w: NDArray | Quantized | Prepared) -> np.dtype:
    return w.scale.dtype if isinstance(w, Quantized) else w.dtype


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
