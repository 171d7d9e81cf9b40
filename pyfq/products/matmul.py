"""Products of matrices of floats (`fortran/products/fq_matmul.f90`)."""

import numpy as np
from numpy.typing import NDArray

from .._core.check import FLOATS, as_flag, as_input, as_output
from ..arrays.activation import Activation
from ..formats.dense import PLAIN, TRANSPOSED, multiply
from ..formats.epilogue import as_bias
from .mixed import Accumulation, as_accumulation


def matmul(
    a: NDArray,
    b: NDArray,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: NDArray | None = None,
    activation: Activation = None,
    accumulation: Accumulation = None,
    out: NDArray | None = None,
) -> NDArray:
    r"""Multiply matrices of floats: ``activation(op(a) op(b) + bias)``.

    .. math:: y_{ij} = f\Big(\sum_{s=1}^k \mathrm{op}(a)_{is}\,\mathrm{op}(b)_{sj} + \beta_j\Big)

    where op transposes if that is asked for, f is the activation and :math:`\beta` the bias.

    With :math:`\varepsilon` the distance from 1 to the next float, the product is within
    :math:`k\,\varepsilon\,(|\mathrm{op}(a)|\,|\mathrm{op}(b)|)_{ij}` of the true sum, where
    nothing overflows or is denormal. Instruction sets with and without fused multiplications
    differ within that bound. On one of them the bits depend neither on the number of threads nor on
    the other rows and columns, but for this: products of 1 to 3 columns, and of 1 to 3 rows with b
    given as its transpose, are summed in other orders.

    With ``accumulation="float64"`` products of float32 are exact, they and the bias are summed in
    float64, and the sum is rounded once, before the activation. With :math:`\varepsilon_{64} =
    2^{-52}` it is within :math:`\frac12 \varepsilon |y| + (k + 1)\,\varepsilon_{64}\,(|
    \mathrm{op}(a)|\,|\mathrm{op}(b)| + |\beta|)_{ij}` of the true y: in almost all cases the
    nearest float32.

    Parameters
    ----------
    a : (..., m, k) float32 or float64, or (..., k, m) if `transpose_a`
        Left matrix, or matrices.
    b : (k, n) array of a's dtype, or (n, k) if `transpose_b`
        Right matrix.
    transpose_a, transpose_b : bool
        Whether a matrix is given as its transpose. Nothing is copied: the kernel reads it so.
    bias : (n,) array of a's dtype, optional
        Added to each row of the product.
    activation : str, (str, float) or None
        Applied to the sums while they are in cache, as `activate` does, with the same bits.
    accumulation : "float64" or None
        What products of float32 are summed in; None: float32. Those of float64 always are.
    out : (..., m, n) array of a's dtype, optional
        Where to write; must not overlap an input.

    Returns
    -------
    (..., m, n) array of a's dtype
        The product; NaN and infinities are passed on. Without steps (k = 0) it is
        ``activation(bias)``.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If matrices do not fit each other, an array is not C-contiguous or has the wrong shape,
        `out` overlaps an input, or there is no such activation or accumulation.

    See Also
    --------
    linear : The same for the weights of a layer, which may be quantized or prepared.

    References
    ----------
    Goto & van de Geijn 2008, Anatomy of high-performance matrix multiplication, ACM Trans. Math.
    Softw. 34(3); Van Zee & van de Geijn 2015, BLIS, ACM Trans. Math. Softw. 41(3); ONNX Gemm;
    BLAS DSDOT; `accumulation_type` of StableHLO's dot_general.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> b = np.array([[5.0, 6.0], [7.0, 8.0]])
    >>> matmul(a, b)
    array([[19., 22.],
           [43., 50.]])
    >>> matmul(a, b, transpose_b=True, bias=np.array([-20.0, 1.0]), activation="relu")
    array([[ 0., 24.],
           [19., 54.]])
    """
    wide = as_accumulation(accumulation)
    transpose_a = as_flag(transpose_a, "transpose_a")
    transpose_b = as_flag(transpose_b, "transpose_b")
    a = as_input(a, "a", FLOATS)
    b = as_input(b, "b", (a.dtype.type,))
    if a.ndim < 2:
        raise ValueError(f"a must have at least 2 axes, but its shape is {a.shape}")
    if b.ndim != 2:
        raise ValueError(f"b must have 2 axes, but its shape is {b.shape}")
    k, m = a.shape[-2:] if transpose_a else a.shape[:-3:-1]
    n, b_k = b.shape if transpose_b else b.shape[::-1]
    if k != b_k:
        raise ValueError(
            f"b must have {k} {'columns' if transpose_b else 'rows'} for a of shape {a.shape}"
            f"{' transposed' if transpose_a else ''}, but its shape is {b.shape}"
        )
    bias = as_bias(bias, a.dtype, n)
    shape = (m, n) if a.ndim == 2 else (*a.shape[:-2], m, n)
    if out is None:
        out = np.empty(shape, a.dtype)
    else:
        out = as_output(out, "out", a.dtype, shape, a, b, *([] if bias is None else [bias]))
    if not (out.size and k):
        multiply(a, transpose_a, b, PLAIN, 0, bias, activation, out)
        return out
    form = TRANSPOSED if transpose_b else PLAIN
    if transpose_a and a.ndim > 2:
        for each, y in zip(a.reshape(-1, k, m), out.reshape(-1, m, n), strict=True):
            multiply(each, True, b, form, k, bias, activation, y, wide)
    else:
        rows, y = (a, out) if a.ndim == 2 else (a.reshape(-1, k), out.reshape(-1, n))
        multiply(rows, transpose_a, b, form, k, bias, activation, y, wide)
    return out
