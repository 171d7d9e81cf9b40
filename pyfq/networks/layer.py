"""A dense layer: weights of any form, a bias, an activation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import FLOATS, as_count, as_input, refuse_not_finite
from .._core.frozen import fixed, reduce_to_parts, restore_parts, set_part
from .._core.text import bytes_text, object_text, shape_text
from ..arrays.activation import Activation, activation_text, as_activation
from ..arrays.codebook import Codebook
from ..arrays.half import Half
from ..arrays.prune import Pruned
from ..arrays.quantize import Quantized
from ..arrays.rate import RateQuantized
from ..formats.sparse import Sparse
from ..formats.static import as_x_scale
from ..products.lowrank import LowRank

Weights = NDArray | Half | Quantized | RateQuantized | Codebook | Sparse | LowRank


@dataclass(frozen=True, eq=False)
class Dense:
    """A layer: ``activation(x @ weights.T + bias)``, as `linear` computes it.

    Parameters
    ----------
    weights : (out_features, in_features) array, or another form of weights
        float32 or float64, finite; an array is copied, and so is that of `Pruned`. The parts of
        other forms, Half, Quantized, RateQuantized, Codebook, Sparse or LowRank, must not change;
        `LowRank` ones have no residual. `RateQuantized` ones stay a stream, and are decoded once
        for a forward pass.
    bias : (out_features,) array of the weights' dtype, optional
        Finite; copied in the same way.
    activation : str, (str, float) or None
        As `activate` takes it.
    x_scale : float, optional
        The fixed step of the 8-bit codes that inputs become, positive; rounded to the weights'
        dtype. `Network.calibrate` finds it. Weights are then `Quantized`, of at most 8 bits, with
        one scale for all or one a row, without minima, or `RateQuantized` with such codes, and of
        at most 33025 columns, so that sums of products fit 32 bits.
    x_zero_point : int, optional
        The code of 0 among codes 0 ... 255; codes are -128 ... 127 without it.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not fit each other or are empty, an array is not C-contiguous or not finite, or
        there is no such activation; if weights do not go with `x_scale`.

    Examples
    --------
    >>> layer = Dense(np.array([[1.0, -2.0]]), np.array([0.5]), "relu")
    >>> layer.shape, layer.dtype, layer.activation
    ((1, 2), dtype('float64'), 'relu')
    """

    weights: Weights
    bias: NDArray | None = None
    activation: Activation = None
    x_scale: float | None = None
    x_zero_point: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no layer."""
        if isinstance(self.weights, Pruned):
            set_part(self, "weights", self.weights.weights)
        if isinstance(self.weights, LowRank):
            set_part(self, "weights", _frozen_factors(self.weights))
        elif not isinstance(self.weights, Half | Quantized | RateQuantized | Codebook | Sparse):
            set_part(self, "weights", as_frozen(self.weights, "weights", FLOATS))
        if len(self.shape) != 2 or 0 in self.shape:
            raise ValueError(
                f"weights must have shape (out_features, in_features), not {self.shape}"
            )
        if self.bias is not None:
            bias = as_frozen(self.bias, "bias", (self.dtype.type,), self.shape[:1])
            set_part(self, "bias", bias)
        _, number = as_activation(self.activation)
        if not isinstance(self.activation, str | None):
            set_part(self, "activation", (self.activation[0], number))
        if self.x_scale is not None:
            scale = as_x_scale(self.x_scale, decoded(self.weights), self.bias)
            set_part(self, "x_scale", scale)
        if self.x_zero_point is not None:
            if self.x_scale is None:
                raise ValueError("x_zero_point needs x_scale")
            zero_point = as_count(self.x_zero_point, "x_zero_point", 0, 255)
            set_part(self, "x_zero_point", zero_point)

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def __repr__(self) -> str:
        """Return shape, format and bytes."""
        return object_text(
            self,
            shape_text(self.shape),
            form_text(self.weights),
            None if self.bias is None else "bias",
            activation_text(self.activation),
            None if self.x_scale is None else "calibrated",
            str(self.dtype),
            bytes_text(self.nbytes, 2),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """``(out_features, in_features)``."""
        return self.weights.shape

    @property
    def dtype(self) -> np.dtype:
        """Dtype of activations and bias."""
        w = self.weights
        return w.scale.dtype if isinstance(w, Quantized | RateQuantized) else w.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of weights and bias."""
        return self.weights.nbytes + (0 if self.bias is None else self.bias.nbytes)

    @property
    def size(self) -> int:
        """Number of weights and biases that are not left out; of low rank, entries of factors."""
        weights = sum(_size_of(w) for w in matrices_of(self))
        return weights + (0 if self.bias is None else self.bias.size)

    def toarray(self) -> NDArray:
        """Return the weights as an array."""
        match self.weights:
            case Half() | Quantized() | RateQuantized() | Codebook() as w:
                return w.dequantize()
            case Sparse() | LowRank() as w:
                return w.toarray()
        return self.weights


def cast(w: Weights, dtype: np.dtype) -> Weights:
    """Return weights whose floats have another dtype: codes, levels and places stay.

    Raises
    ------
    TypeError
        If they are of 2 bytes, which go with float32 alone.
    ValueError
        If a number is not finite in that dtype.
    """
    if isinstance(w, np.ndarray):
        with np.errstate(over="ignore"):
            return w.astype(dtype)
    if isinstance(w, Half) and dtype != w.dtype:
        raise TypeError(
            f"weights of 2 bytes go with float32, not {dtype}: "
            "network.map_weights(np.ascontiguousarray) makes arrays of them"
        )
    parts = {f.name: getattr(w, f.name) for f in fields(w) if f.init}
    floats = {name: part for name, part in parts.items() if _has_floats(part)}
    changed = {name: cast(part, dtype) for name, part in floats.items()}
    if isinstance(w, Codebook) and w.scale_codes is not None:
        changed["scale"] = changed["scale_codes"].dequantize().reshape(w.scale.shape)
    return replace(w, **changed)


def _has_floats(part: Any) -> bool:
    """Tell whether a part of weights is an array of floats, or has one."""
    if isinstance(part, np.ndarray):
        return part.dtype.kind == "f"
    return isinstance(part, Quantized)


def form_text(w: Weights) -> str | None:
    """Return in which form weights are; None for an array."""
    match w:
        case Half():
            return w.format
        case Quantized():
            return f"{w.bits} bits"
        case Codebook():
            return f"{w.bits} bits, {w.levels.shape[1]} levels"
        case RateQuantized():
            return f"{w.bits_per_weight:.2f} bits"
        case Sparse():
            return f"{w.n}:{w.m}" if w.format == "nm" else w.format
        case LowRank():
            return f"rank {w.rank}"
    return None


def decoded(w: Weights) -> NDArray | Half | Quantized | Codebook | Sparse | LowRank:
    """Return weights in a form that kernels multiply by."""
    return w.to_quantized() if isinstance(w, RateQuantized) else w


def matrices_of(
    layer: Dense,
) -> tuple[NDArray | Half | Quantized | RateQuantized | Codebook | Sparse, ...]:
    """Return what inputs are multiplied by, in order."""
    w = layer.weights
    return (w.v, w.u) if isinstance(w, LowRank) else (w,)


def _size_of(w: NDArray | Quantized | RateQuantized | Sparse) -> int:
    return int(np.count_nonzero(w.values)) if isinstance(w, Sparse) else math.prod(w.shape)


def as_frozen(
    x: Any, name: str, dtypes: Sequence[Any], shape: tuple[int, ...] | None = None
) -> NDArray:
    """Return an array that nobody can write to: a copy, unless it is such an array already.

    That an array refuses writes is not enough: views from before may still write to its memory.
    """
    x = fixed(as_input(x, name, dtypes, shape))
    refuse_not_finite({name: x})
    return x


def _frozen_factors(w: LowRank) -> LowRank:
    """Return factors that nobody can write to; refuse a residual, which no plan can add."""
    if w.residual is not None:
        raise ValueError(
            "weights must have no residual: layers of a network multiply by one matrix after "
            "another; pass weights.toarray(), or call linear"
        )
    u, v = (
        part if isinstance(part, Quantized) else as_frozen(part, name, FLOATS)
        for name, part in (("u", w.u), ("v", w.v))
    )
    return replace(w, u=u, v=v)
