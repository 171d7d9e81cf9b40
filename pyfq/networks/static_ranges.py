"""Fixed codes of a network's activations, from what its layers see."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.array_like import as_floats, is_array_like
from .._core.check import as_choice, refuse_not_finite
from ..arrays.observer import Observer
from ..arrays.ranges import Signs
from ..formats.static import as_x_scale
from ..products.linear import linear, prepare
from .layer import Dense, decoded


def input_codes(
    layers: Sequence[Dense],
    ends: tuple[NDArray | None, NDArray | None],
    x: NDArray | Iterable[NDArray],
    scheme: Signs,
    new_observer: Callable[[], Observer],
) -> list[tuple[float, int | None]]:
    """Return scale and zero point of the inputs of each layer, as `Network.calibrate` says.

    Parameters
    ----------
    layers : sequence of Dense
        The layers, in order.
    ends : (input_mean, input_scale)
        Those of the network; None if it has none.
    x : (samples, inputs) array_like, or iterable of them
        Inputs in the units of `forward`.
    scheme : "affine" or "symmetric"
        Whether codes have a zero point.
    new_observer : callable
        Returns an observer that has seen nothing; called once for each layer.
    """
    as_choice(scheme, "scheme", ("symmetric", "affine"))
    for i, layer in enumerate(layers):
        try:
            as_x_scale(float(np.finfo(layer.dtype).tiny), decoded(layer.weights), None)
        except ValueError as e:
            raise ValueError(f"layers[{i}]: {e}") from e
    seen = [new_observer() for _ in layers]
    prepared = [prepare(layer.weights, batch=256) for layer in layers[:-1]]
    input_mean, input_scale = ends
    for batch in _batches_of(x, layers[0]):
        if input_mean is not None:
            batch = (batch - input_mean) / input_scale
        _see(seen[0], batch, 0)
        for i, (layer, weights) in enumerate(zip(layers, prepared, strict=False), 1):
            batch = linear(batch, weights, layer.bias, activation=layer.activation)
            _see(seen[i], batch, i)
    if not seen[0].count:
        raise ValueError("x must hold at least one sample")
    found = []
    for each in seen:
        scale, zero_point = each.scale(8, scheme)
        found.append((float(scale), None if zero_point is None else int(zero_point)))
    return found


def _see(observer: Observer, batch: NDArray, i: int) -> None:
    try:
        observer.update(batch)
    except ValueError as e:  # its one reason: what a user gave is finite
        raise ValueError(f"what enters layers[{i}] must be finite for all x") from e


def _batches_of(x: Any, first: Dense) -> Iterator[NDArray]:
    """Yield the samples of an array, or of an iterable of arrays, each checked for the first layer.

    Raises
    ------
    TypeError
        If `x` is neither, or holds what are no numbers.
    ValueError
        If an array does not have shape (samples, inputs), or is not finite.
    """
    if is_array_like(x) and not isinstance(x, list | tuple):
        named = [("x", x)]
    elif isinstance(x, Iterable):
        named = ((f"x[{i}]", batch) for i, batch in enumerate(x))
    else:
        raise TypeError(f"x must be an array or an iterable of arrays, not {type(x).__name__}")
    inputs = first.shape[1]
    for name, batch in named:
        batch = as_floats(batch, name, first.dtype)
        if batch.ndim != 2 or batch.shape[1] != inputs:
            raise ValueError(f"{name} must have shape (samples, {inputs}), not {batch.shape}")
        refuse_not_finite({name: batch})
        yield batch
