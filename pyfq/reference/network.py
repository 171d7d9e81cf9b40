"""Reference of `pyfq.network`."""

import numpy as np

from .linear import linear
from .sparse import linear_sparse


def forward_network(x, network):
    """Return the outputs of a network: its layers one after the other."""
    with np.errstate(all="ignore"):
        if network.input_mean is not None:
            x = (x - network.input_mean) / network.input_scale
        for layer in network.layers:
            w, bits = layer.weights, network.activation_bits
            if getattr(w, "scale", None) is None or getattr(w, "bits", 8) > 8:
                bits = None  # inputs become codes only where weights are codes
            multiply = linear_sparse if hasattr(w, "positions") else linear
            x = multiply(x, w, layer.bias, activation=layer.activation, activation_bits=bits)
        if network.output_mean is not None:
            x = network.output_scale * x + network.output_mean
    return x
