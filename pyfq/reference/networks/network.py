"""Reference of `pyfq.networks.network`."""

import numpy as np

from ..arrays.activation import activate
from ..arrays.pack import unpack
from ..formats.sparse import linear_sparse
from ..products.linear import decoded, linear


def forward_network(x, network):
    """Return the outputs of a network: its layers one after the other."""
    with np.errstate(all="ignore"):
        if network.input_mean is not None:
            x = (x - network.input_mean) / network.input_scale
        for layer in network.layers:
            w, bits = decoded(layer.weights), network.activation_bits
            if layer.x_scale is not None:
                x = linear_static(x, layer)
                continue
            is_coded = getattr(w, "scale", None) is not None and not hasattr(w, "levels")
            if not is_coded or getattr(w, "bits", 8) > 8:
                bits = None  # inputs become codes only where weights are codes
            multiply = linear_sparse if hasattr(w, "positions") else linear
            x = multiply(x, w, layer.bias, activation=layer.activation, activation_bits=bits)
        if network.output_mean is not None:
            x = network.output_scale * x + network.output_mean
    return x


def count_outside(x, least, largest):
    """Return how many inputs of each sample are not between two bounds; NaN is not."""
    return x.shape[-1] - ((x >= least) & (x <= largest)).sum(axis=-1)


def linear_static(x, layer):
    """Return the outputs of a layer whose inputs become codes of a fixed scale."""
    w, zero = decoded(layer.weights), layer.x_zero_point
    low, high = (-128, 127) if zero is None else (-zero, 255 - zero)
    q = np.clip(np.rint(x / layer.x_scale), low, high).astype(np.float64)  # without zero point
    c = unpack(w.packed, w.bits, w.shape[1], signed=w.signed).astype(np.float64)
    c -= 0 if w.zero_point is None else w.zero_point
    sums = (q @ c.T).astype(x.dtype)  # the sum of integers is exact in float64
    bias = 0 if layer.bias is None else layer.bias
    return activate(sums * (layer.x_scale * w.scale.reshape(-1)) + bias, layer.activation)
