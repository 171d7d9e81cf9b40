"""Fixed codes of a network's activations, from what its layers see."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_choice, as_input, refuse_not_finite
from ..arrays.observer import Method, Observer
from ..arrays.ranges import Signs
from ..formats.static import as_x_scale
from ..products.linear import linear, prepare

if TYPE_CHECKING:
    from .network import Network


def input_codes(
    network: "Network",
    x: NDArray | Iterable[NDArray],
    scheme: Signs,
    method: Method,
    bins: int,
    percentile: float | None,
    momentum: float | None,
) -> list[tuple[float, int | None]]:
    """Return scale and zero point of the inputs of each layer, as `Network.calibrate` says."""
    as_choice(scheme, "scheme", ("symmetric", "affine"))
    for i, layer in enumerate(network.layers):
        try:
            as_x_scale(float(np.finfo(layer.dtype).tiny), layer.weights, None)
        except ValueError as e:
            raise ValueError(f"layers[{i}]: {e}") from e
    seen = [
        Observer(method, bins=bins, percentile=percentile, momentum=momentum)
        for _ in network.layers
    ]
    prepared = [prepare(layer.weights, batch=256) for layer in network.layers[:-1]]
    for batch in batches_of(network, x):
        if network.input_mean is not None:
            batch = (batch - network.input_mean) / network.input_scale
        _see(seen[0], batch, 0)
        for i, (layer, weights) in enumerate(zip(network.layers, prepared, strict=False), 1):
            batch = linear(batch, weights, layer.bias, activation=layer.activation)
            _see(seen[i], batch, i)
    if not seen[0].count:
        raise ValueError("x must hold at least one sample")
    found = []
    for observer in seen:
        scale, zero_point = observer.scale(8, scheme)
        found.append((float(scale), None if zero_point is None else int(zero_point)))
    return found


def _see(observer: Observer, batch: NDArray, i: int) -> None:
    try:
        observer.update(batch)
    except ValueError as e:  # its one reason: what a user gave is finite
        raise ValueError(f"what enters layers[{i}] must be finite for all x") from e


def batches_of(network: "Network", x: Any) -> Iterator[NDArray]:
    """Yield the samples of an array, or of an iterable of arrays, each checked.

    Raises
    ------
    TypeError
        If `x` is neither, or holds an array of another dtype.
    ValueError
        If an array does not have shape (samples, inputs), or is not finite.
    """
    if isinstance(x, np.ndarray):
        named = [("x", x)]
    elif isinstance(x, Iterable):
        named = ((f"x[{i}]", batch) for i, batch in enumerate(x))
    else:
        raise TypeError(f"x must be an array or an iterable of arrays, not {type(x).__name__}")
    for name, batch in named:
        batch = as_input(batch, name, (network.dtype.type,))
        if batch.ndim != 2 or batch.shape[1] != network.sizes[0]:
            raise ValueError(
                f"{name} must have shape (samples, {network.sizes[0]}), not {batch.shape}"
            )
        refuse_not_finite({name: batch})
        yield batch
