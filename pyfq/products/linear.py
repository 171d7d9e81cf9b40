"""A layer: ``activation(x @ w.T + bias)``, w in any form (`fortran/products/fq_layer.f90`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import FLOATS, as_count, as_input, as_output, is_none_or, shown
from .._core.text import bytes_text, object_text, shape_text
from ..arrays.activation import Activation
from ..arrays.codebook import Codebook
from ..arrays.half import Half
from ..arrays.quantize import Quantized
from ..arrays.rate import RateQuantized
from ..formats.codes import codes_in_place
from ..formats.dense import Rows
from ..formats.epilogue import as_bias, fill
from ..formats.factors import Factors, shared_arrays
from ..formats.layout import Layout, nbytes_of
from ..formats.sparse import Sparse
from .lowrank import LowRank
from .mixed import Accumulation, as_accumulation
from .model import Model, ModelLayer, build
from .nonzeros import Nonzeros


@dataclass(frozen=True, eq=False)
class Prepared:
    """Weights in the order in which a kernel reads them; made by `prepare`.

    For `linear` in this process: the order is that of the instruction set in use. They cannot be
    pickled: send or store the weights, and prepare them where they are used. As nothing changes
    them, `copy` gives them back as they are.

    Attributes
    ----------
    shape : tuple of int
        ``(out_features, in_features)``.
    dtype : dtype
        Dtype of activations and results, float32 or float64.
    activation_bits : int or None
        8 if activations are quantized, as `linear` says.
    nbytes : int
        Bytes held.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    activation_bits: int | None
    layout: Layout | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 0 if self.layout is None else nbytes_of(self.layout)

    def __repr__(self) -> str:
        """Return shape, layout and bytes."""
        return object_text(
            self,
            shape_text(self.shape),
            _layout_text(self.layout),
            None if self.activation_bits is None else f"inputs of {self.activation_bits} bits",
            str(self.dtype),
            bytes_text(self.nbytes, 2),
        )

    def __copy__(self) -> "Prepared":
        """Return these weights, which nothing changes."""
        return self

    def __deepcopy__(self, memo: dict) -> "Prepared":
        """Return these weights, which nothing changes."""
        return self

    def __reduce__(self) -> str:
        """Refuse to travel: another instruction set would read beyond the ends of its arrays."""
        raise TypeError("Prepared weights cannot be pickled: prepare them where they are used")


def prepare(
    w: NDArray | Half | Quantized | RateQuantized | Codebook | LowRank,
    *,
    activation_bits: int | None = None,
    batch: int = 1,
) -> Prepared:
    """Put weights in the order in which `linear` reads them, once for many calls.

    Parameters
    ----------
    w : (out_features, in_features) float32 or float64 array, or another form of weights
        Half, Quantized, RateQuantized, Codebook or LowRank; they are copied. Those of 2 bytes stay
        so, codes stay codes, factors stay factors; those of a codebook of more than 16 levels, or
        of a table a row, become floats. Entropy-coded weights are decoded, to codes of 8 or 16
        bits.
    activation_bits : int or None
        As `linear` takes it, which then needs it no more.
    batch : int
        Rows of activations that calls will have, at least 1. The order may be better for so many;
        any number gives the same bits.

    Returns
    -------
    Prepared
        For `linear`.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `w` does not have 2 axes or is not C-contiguous; if `activation_bits` is neither None nor
        8, or is 8 for weights that are not quantized or have more than 8 bits.

    Examples
    --------
    >>> w = np.array([[1.0, -2.0, 3.0], [0.0, 1.0, 1.0]])
    >>> p = prepare(w)
    >>> p.shape, p.dtype, p.activation_bits
    ((2, 3), dtype('float64'), None)
    >>> linear(np.array([[1.0, 1.0, 1.0]]), p)
    array([[2., 2.]])
    """
    if isinstance(w, Sparse):
        raise TypeError(
            "w must be an array or another form of dense weights, not Sparse: pass it to linear, "
            "which puts it in order at its first use"
        )
    if isinstance(w, RateQuantized):
        w = w.to_quantized()
    activation_bits = as_activation_bits(activation_bits, w)
    batch = as_count(batch, "batch", 1)
    if not isinstance(w, Half | Quantized | Codebook | LowRank):
        w = as_input(w, "w", FLOATS)
    _as_matrix(w)
    return Prepared(w.shape, _dtype_of(w), activation_bits, _layout(w, activation_bits, batch))


def linear(
    x: NDArray,
    w: NDArray | Half | Quantized | RateQuantized | Codebook | Sparse | LowRank | Prepared,
    bias: NDArray | None = None,
    *,
    activation: Activation = None,
    activation_bits: int | None = None,
    accumulation: Accumulation = None,
    out: NDArray | None = None,
) -> NDArray:
    r"""Apply a layer: ``activation(x @ w.T + bias)``, for weights in any form.

    Arrays and prepared arrays are multiplied as `matmul` does, within its bound. Weights of 2 bytes
    are the float32 ones they are equal to, quantized weights are, without `activation_bits`, the
    reals they stand for, and those of a codebook always; `RateQuantized` ones are what their
    `to_quantized` returns: the result is that of ``linear(x,
    w.dequantize(), ...)`` to the bit, and prepared that of it prepared. `LowRank` weights are two
    layers, ``v`` and then ``u``, and the product by a residual is added before the activation.

    With ``activation_bits=8`` each row of x is quantized, symmetric with its largest magnitude at
    127, and codes are multiplied. With q and s the codes and the step of a row of x, and c, z,
    :math:`\sigma` and :math:`\mu` the codes of a row of weights, and zero point, scale and minimum
    of a group g,

    .. math::
        y = f\Big(s \sum_g \Big(\sigma_g \sum_{i \in g} q_i (c_i - z_g)
            + \mu_g \sum_{i \in g} q_i\Big) + \beta\Big)

    The sums over a group are exact integers; the rest is in the dtype of x, in this order. So the
    bits are the same on every machine, for any number of threads and rows, and those of
    `pyfq.reference.linear`. Groups of more than 65536 weights are summed in such parts.

    Parameters
    ----------
    x : (..., in_features) float32 or float64
        Activations; one axis is one row.
    w : (out_features, in_features) array of x's dtype, or another form of weights
        Half, Quantized, RateQuantized, Codebook, Sparse, LowRank or Prepared. Weights of many calls
        should be prepared: those of 2 bytes, of a codebook, codes of 1 to 7 bits or in groups, and
        entropy-coded ones are unpacked in each call if they are not.
    bias : (out_features,) array of x's dtype, optional
        Added to each row.
    activation : str, (str, float) or None
        Applied to the sums, as `activate` does, with the same bits.
    activation_bits : int or None
        8 quantizes x, for weights of at most 8 bits; None does not. Prepared weights know.
    accumulation : "float64" or None
        What products of float32 are summed in, as `matmul` takes it and within its bound; for
        arrays and `Half`, prepared or not.
    out : (..., out_features) array of x's dtype, optional
        Where to write; must not overlap an input.

    Returns
    -------
    (..., out_features) array of x's dtype
        The activations of the next layer.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If arrays do not fit each other, one is not C-contiguous or has the wrong shape, or `out`
        overlaps an input; if x is quantized and holds NaN or Inf; if `activation_bits` is neither
        None nor 8, does not go with the weights, or is not what they are prepared for; if there is
        no such activation, or no such accumulation for the weights.

    See Also
    --------
    prepare : Put weights in order once for many calls.

    References
    ----------
    Jacob et al. 2017, Quantization and training of neural networks for efficient
    integer-arithmetic-only inference, arXiv 1712.05877; ONNX Gemm, MatMulInteger.

    Examples
    --------
    >>> x = np.array([[1.0, -2.0, 3.0, 4.0]])
    >>> w = np.array([[1.0, 0.5, 0.25, -0.125], [0.5, 0.5, 0.5, 0.5]])
    >>> linear(x, w)
    array([[0.25, 3.  ]])
    >>> linear(x, w, np.array([0.0, -4.0]), activation="relu")
    array([[0.25, 0.  ]])
    >>> from pyfq import quantize
    >>> linear(x, quantize(w, 8), activation_bits=8).round(2)
    array([[0.24, 2.99]])
    """
    wide = as_accumulation(accumulation)
    if wide:
        _refuse_codes(w)
    if not isinstance(w, Prepared):
        w = _for_one_call(w, activation_bits)
    elif not is_none_or(activation_bits, w.activation_bits):
        raise ValueError(
            f"w is prepared for activation_bits={w.activation_bits}, not {shown(activation_bits)}"
        )
    dtype, (n, k) = w.dtype, w.shape
    x = as_input(x, "x", (dtype.type,))
    shape = x.shape
    if not shape or shape[-1] != k:
        raise ValueError(f"x must have shape (..., {k}) for w of shape {w.shape}, not {shape}")
    if bias is not None:
        bias = as_bias(bias, dtype, n)
    if out is None:
        out = np.empty((*shape[:-1], n), dtype)
    else:
        inputs = [x, *shared_arrays(w.layout)]
        inputs += [] if bias is None else [bias]
        out = as_output(out, "out", dtype, (*shape[:-1], n), *inputs)
    y = out if len(shape) == 2 else out.reshape(math.prod(shape[:-1]), n)
    if out.size and k:
        apply = w.layout.apply_float64 if wide else w.layout.apply
        apply(x, bias, activation, y)
    else:
        fill(y, bias, activation)
    return out


def _refuse_codes(w: Any) -> None:
    """Refuse weights that sums in float64 are not for."""
    if isinstance(w, Prepared):
        what = None if _has_floats(w.layout) else "prepared codes"
    else:
        coded = isinstance(w, Quantized | RateQuantized | Codebook | Sparse | LowRank)
        what = type(w).__name__ if coded else None
    if what:
        raise ValueError(
            f"accumulation='float64' needs weights that are an array or Half, not {what}: pass the "
            f"array that they stand for"
        )


def _for_one_call(
    w: NDArray | Half | Quantized | RateQuantized | Codebook | Sparse | LowRank,
    activation_bits: int | None,
) -> Prepared:
    """Return weights as they are; the codes of quantized ones, or the reals they stand for."""
    if isinstance(w, RateQuantized):
        w = w.to_quantized()
    if not isinstance(w, Half | Quantized | Codebook | Sparse | LowRank):
        w = as_input(w, "w", FLOATS)
    bits = as_activation_bits(activation_bits, w)
    shape, dtype = _as_matrix(w), _dtype_of(w)
    if isinstance(w, Sparse):
        return Prepared(shape, dtype, bits, Nonzeros(w, bits))
    if isinstance(w, LowRank):
        factors = _factors(w, lambda part: _for_one_call(part, None).layout)
        return Prepared(shape, dtype, bits, factors)
    if not isinstance(w, Half | Quantized | Codebook):
        return Prepared(shape, dtype, bits, Rows(w))
    if bits and w.size:
        return Prepared(shape, dtype, bits, codes_in_place(w) or _layout(w, bits, 1))
    return Prepared(shape, dtype, bits, Rows(w.dequantize()))


def _factors(w: LowRank, layout_of: Callable[[NDArray | Quantized], Layout]) -> Factors:
    residual = None if w.residual is None else layout_of(w.residual)
    return Factors(w.rank, layout_of(w.v), layout_of(w.u), residual)


def _layout(
    w: NDArray | Half | Quantized | Codebook | LowRank, activation_bits: int | None, batch: int
) -> Layout | None:
    """Return weights as kernels read them; None if there are none."""
    if isinstance(w, LowRank):
        return _factors(w, lambda part: _layout(part, None, batch))
    if not w.size:
        return None
    layer = ModelLayer(w, codes_inputs=activation_bits is not None)
    return build([layer], _dtype_of(w), batch)


def _layout_text(layout: Layout | None) -> str | None:
    """Return the format of a layer in memory, or what else its weights are."""
    if layout is None:
        return None
    return layout.formats[0] if isinstance(layout, Model) else type(layout).__name__.lower()


def _has_floats(layout: Layout | None) -> bool:
    """Tell whether weights are floats, of 2 bytes or more."""
    if isinstance(layout, Model):
        return layout.formats[0] in ("dense", "panels", "half")
    return layout is None or isinstance(layout, Rows)


def _dtype_of(w: NDArray | Half | Quantized | Codebook | Sparse | LowRank) -> np.dtype:
    return w.scale.dtype if isinstance(w, Quantized) else w.dtype


def _as_matrix(w: Any) -> tuple[int, int]:
    if len(w.shape) != 2:
        raise ValueError(f"w must have 2 axes, (out_features, in_features), not shape {w.shape}")
    return w.shape


def as_activation_bits(
    bits: int | None, w: NDArray | Half | Quantized | Codebook | Sparse | LowRank
) -> int | None:
    """Return `bits`, 8 or None, as they go with the weights."""
    if not is_none_or(bits, 8):
        raise ValueError(f"activation_bits must be None or 8, not {shown(bits)}")
    if bits is None:
        return None
    if not isinstance(w, Quantized) and not (isinstance(w, Sparse) and w.scale is not None):
        of_floats = " of floats" if isinstance(w, Sparse) else ""
        raise ValueError(
            f"activation_bits=8 needs quantized weights, not {type(w).__name__}{of_floats}"
        )
    if isinstance(w, Quantized) and w.bits > 8:
        raise ValueError(f"activation_bits=8 needs weights of at most 8 bits, not {w.bits}")
    return 8
