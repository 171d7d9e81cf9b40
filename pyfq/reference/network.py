"""Reference of `pyfq.network`."""

import numpy as np

from .linear import linear


def forward_network(x, network):
    """Return the outputs of a network: its layers one after the other."""
    with np.errstate(all="ignore"):
        if network.input_mean is not None:
            x = (x - network.input_mean) / network.input_scale
        for layer in network.layers:
            x = linear(
                x,
                layer.weights,
                layer.bias,
                activation=layer.activation,
                activation_bits=network.activation_bits if _takes_codes(layer.weights) else None,
            )
        if network.output_mean is not None:
            x = network.output_scale * x + network.output_mean
    return x


def _takes_codes(w):
    return not isinstance(w, np.ndarray) and w.scale is not None and getattr(w, "bits", 8) <= 8
