"""Samples as a network's layers take and give them, and networks that are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.array_like import as_floats
from .._core.check import refuse_not_finite
from .foreign import as_network
from .network import Network


def refuse_compressed(network: Network, purpose: str = "be trained") -> None:
    """Refuse a network whose weights are not arrays, which its purpose needs."""
    as_network(network)
    if network.layers[0].x_scale is not None:
        raise TypeError(
            f"network must not be calibrated to {purpose}: quantize and calibrate it after that"
        )
    for i, layer in enumerate(network.layers):
        if not isinstance(layer.weights, np.ndarray):
            raise TypeError(
                f"layers[{i}].weights must be an array to {purpose}, not "
                f"{type(layer.weights).__name__}: network.map_weights(np.ascontiguousarray) "
                f"makes one"
            )


def as_samples(network: Network, x: Any, name: str) -> NDArray:
    """Return inputs of a network, at least one sample, finite."""
    as_network(network)
    x = as_floats(x, name, network.dtype)
    if x.ndim != 2 or x.shape[1] != network.sizes[0] or not len(x):
        raise ValueError(
            f"{name} must have shape (samples, {network.sizes[0]}), at least one, not {x.shape}"
        )
    refuse_not_finite({name: x})
    return x


def with_range(network: Network, x: NDArray) -> Network:
    """Return a network that remembers the range of these samples, and of those before."""
    least, largest = x.min(axis=0), x.max(axis=0)
    if network.input_min is not None:
        least = np.minimum(least, network.input_min)
        largest = np.maximum(largest, network.input_max)
    return replace(network, input_min=least, input_max=largest)


def logits_of(network: Network) -> Network:
    """Return the layers alone, without a last softmax."""
    layers = network.layers
    if layers[-1].activation == "softmax":
        layers = (*layers[:-1], replace(layers[-1], activation=None))
    return Network(layers, activation_bits=network.activation_bits)


def mean_and_scale(x: NDArray, weights: NDArray | None = None) -> tuple[NDArray, NDArray]:
    """Return mean and standard deviation of each column, in the dtype of x.

    In float64, by samples as often as their weights say. The scale of a column that is constant in
    its dtype is 1.
    """
    if weights is not None:
        x, weights = x[weights > 0], weights[weights > 0].astype(np.float64)
    wide = x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.average(wide, axis=0, weights=weights)
        away = wide - mean
        peak = np.abs(away).max(axis=0)  # squares of what is far from 1 would overflow or vanish
        peak[peak == 0] = 1
        scale = peak * np.sqrt(np.average((away / peak) ** 2, axis=0, weights=weights))
    is_constant = wide.min(axis=0) == wide.max(axis=0)
    is_constant |= scale <= np.finfo(x.dtype).eps * np.abs(mean)
    mean, scale = mean.astype(x.dtype), scale.astype(x.dtype)
    scale[is_constant | (scale == 0)] = 1
    return mean, scale


def scale_inputs(network: Network, x: NDArray) -> NDArray:
    """Return inputs as the first layer takes them."""
    if network.input_mean is None:
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (x - network.input_mean) / network.input_scale
    refuse_not_finite({"(x - input_mean) / input_scale": scaled})
    return scaled


def scale_outputs(network: Network, y: NDArray) -> NDArray:
    """Return outputs as the last layer gives them."""
    if network.output_mean is None:
        return y
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (y - network.output_mean) / network.output_scale
    refuse_not_finite({"(y - output_mean) / output_scale": scaled})
    return scaled
