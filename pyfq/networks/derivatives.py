"""Derivatives of networks (`fortran/networks/fq_derivatives.f90`)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from .._core.array_like import as_floats
from .._core.threads import get_num_threads
from ..products.model import Model, ModelLayer, build
from .layer import Dense, matrices_of


def refuse_codes(activation_bits: int | None) -> None:
    """Refuse inputs that become codes: these jump, and have no derivative between the jumps."""
    if activation_bits is not None:
        raise ValueError(
            f"activation_bits must be None for derivatives, not {activation_bits}: codes of inputs "
            "have none; differentiate the network before its inputs are quantized, such as "
            "dataclasses.replace(network, activation_bits=None) if it is not calibrated"
        )


def as_point_and_factor(
    x: ArrayLike, v: ArrayLike, dtype: np.dtype, inputs: int, entries: int
) -> tuple[NDArray, NDArray]:
    """Return where to differentiate, ``(..., inputs)``, and a vector for each, ``(..., entries)``.

    Raises
    ------
    TypeError
        If one is no numbers.
    ValueError
        If one has another shape.
    """
    x = as_point(x, dtype, inputs)
    v = as_floats(v, "v", dtype)
    if v.shape != (*x.shape[:-1], entries):
        raise ValueError(
            f"v must have shape {(*x.shape[:-1], entries)} for x of shape {x.shape}, not {v.shape}"
        )
    return x, v


def as_point(x: ArrayLike, dtype: np.dtype, inputs: int) -> NDArray:
    """Return where to differentiate, ``(..., inputs)``."""
    x = as_floats(x, "x", dtype)
    if not x.shape or x.shape[-1] != inputs:
        raise ValueError(f"x must have shape (..., {inputs}), not {x.shape}")
    return x


def transpose_layers(layers: Sequence[Dense], dtype: np.dtype) -> Model:
    """Return the model that multiplies by the transposed weights of all layers, the last one first.

    They are floats, whatever form the weights have.
    """
    matrices = [w for layer in layers for w in matrices_of(layer)]
    transposed = [np.ascontiguousarray(np.asarray(w).T) for w in reversed(matrices)]
    return build([ModelLayer(w) for w in transposed], dtype, 1)


def multiply_jacobian(
    model: Model, transposed: Model | None, x: NDArray, v: NDArray, entries: int
) -> NDArray:
    """Return the products of the Jacobian at each sample, or of its transpose, with some vectors.

    Parameters
    ----------
    model : Model
        The network in memory.
    transposed : Model or None
        That of `transpose_layers`: the Jacobian is transposed. None: it is not.
    x : (samples, inputs) array
        Where to differentiate.
    v : (samples, directions, outputs) array, or (samples, directions, inputs) without `transposed`
        What to multiply by.
    entries : int
        Inputs with `transposed`, else outputs.

    Returns
    -------
    (samples, directions, entries) array
        The products.
    """
    product = np.empty((*v.shape[:2], entries), x.dtype)
    if not product.size:
        return product
    kind, threads = _native.KIND[x.dtype], get_num_threads()
    if transposed is None:
        _native.call("jvp_network", kind, x, v, model.memory, product, threads)
    else:
        blocks = model.memory, transposed.memory
        _native.call("vjp_network", kind, x, v, *blocks, product, threads)
    return product
