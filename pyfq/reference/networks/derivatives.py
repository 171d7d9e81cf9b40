"""Reference of `pyfq.networks.derivatives`: products with a Jacobian, layer by layer."""

import numpy as np

from ..arrays.activation import activate, derivative
from ..formats.sparse import linear_sparse
from ..products.linear import decoded, linear


def jvp_network(x, v, network):
    """Return the Jacobian at x times v: the tangents of outputs for those of inputs."""
    if network.input_mean is not None:
        v = v / network.input_scale
    for transposed, layer, z, y in passed(x, network):
        v = through_activation(v @ transposed, layer.activation, z, y)
    return v if network.output_mean is None else network.output_scale * v


def vjp_network(x, v, network):
    """Return the transposed Jacobian at x times v: cotangents of inputs for those of outputs."""
    if network.output_mean is not None:
        v = network.output_scale * v
    for transposed, layer, z, y in reversed(passed(x, network)):
        v = through_activation(v, layer.activation, z, y) @ transposed.T
    return v if network.input_mean is None else v / network.input_scale


def passed(x, network):
    """Return of each layer its transposed weights, itself, its sums and its outputs."""
    if network.input_mean is not None:
        x = (x - network.input_mean) / network.input_scale
    seen = []
    for layer in network.layers:
        w = decoded(layer.weights)
        multiply = linear_sparse if hasattr(w, "positions") else linear
        z = multiply(x, w, layer.bias)
        x = activate(z, layer.activation)
        unit = np.eye(w.shape[1], dtype=z.dtype)
        seen.append((multiply(unit, w), layer, z, x))
    return seen


def through_activation(v, activation, z, y):
    """Return the derivative of an activation function at z, where its values are y, times v."""
    if activation == "softmax":
        return y * (v - (y * v).sum(axis=-1, keepdims=True))
    return v * derivative(z, y, activation)
