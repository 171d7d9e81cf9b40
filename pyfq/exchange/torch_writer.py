"""Networks as modules of PyTorch."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.activation import Activation, as_activation
from ..networks.foreign import as_network
from ..networks.layer import Dense, matrices_of
from ..networks.network import Network

if TYPE_CHECKING:
    from torch import nn


def to_torch(network: Network) -> "nn.Sequential":
    r"""Return a network as a sequence of PyTorch modules that computes the same.

    Each layer is a Linear and its activation. Weights of any form are written as the arrays they
    stand for; low rank ones are two Linear, one after the other. What `input_mean` and
    `input_scale`, `output_mean` and `output_scale` do becomes part of the first and of the last
    layer, or of a Linear behind the last activation:
    :math:`W (x - m)/s + \beta = (W/s)\,x + (\beta - W m/s)`, in float64, rounded once.

    Parameters
    ----------
    network : Network
        What to write. Its classes are not: the module gives outputs.

    Returns
    -------
    torch.nn.Sequential
        In inference mode, on the CPU, in the network's dtype, with copies of the weights, which
        require gradients. Outputs are those of `Network.forward` but for rounding: within 1e-6 of
        the sum of the magnitudes that are added up.

    Raises
    ------
    TypeError
        If `network` is no `Network`.
    ValueError
        If its layers quantize their inputs, or have the activation ``"exp"``: PyTorch has no
        module that does.
    ImportError
        If PyTorch is not installed.

    See Also
    --------
    from_torch : The other way.
    to_onnx : To a file, calibrated networks as well.

    Examples
    --------
    ::

        module = to_torch(network)
        module(torch.from_numpy(x)).detach().numpy()  # network.forward(x), but for rounding
    """
    try:
        from torch import nn
    except ModuleNotFoundError as e:
        raise ImportError("to_torch needs PyTorch: pip install torch") from e
    as_network(network)
    if network.activation_bits is not None:
        raise ValueError(
            "network quantizes the inputs of its layers, which no module of PyTorch does: pass "
            "dataclasses.replace(network, activation_bits=None) for outputs of floats, or call "
            "to_onnx"
            if network.layers[0].x_scale is None
            else "network is calibrated, and no module of PyTorch adds up codes: call to_onnx"
        )
    modules: list[nn.Module] = []
    for weights, bias, activation in _folded(network):
        modules.append(_linear(weights, bias))
        modules += _activation_modules(activation)
    return nn.Sequential(*modules).eval()


# Weights, bias and activation of a Linear.
_Affine = tuple[NDArray, NDArray | None, Activation]


def _folded(network: Network) -> list[_Affine]:
    """Return the layers of a network with its means and scales in them."""
    layers = [affine for layer in network.layers for affine in _affines_of(layer)]
    if network.input_mean is not None:
        w, bias, activation = layers[0]
        w = w / network.input_scale.astype(np.float64)
        shift = w @ network.input_mean.astype(np.float64)
        layers[0] = w, -shift if bias is None else bias - shift, activation
    if network.output_mean is not None:
        scale, mean = (x.astype(np.float64) for x in (network.output_scale, network.output_mean))
        w, bias, activation = layers[-1]
        if activation is None:
            w, bias = scale[:, np.newaxis] * w, mean if bias is None else scale * bias + mean
            layers[-1] = w, bias, None
        else:
            layers.append((np.diag(scale), mean, None))
    return [
        (_rounded(w, network.dtype), None if b is None else _rounded(b, network.dtype), a)
        for w, b, a in layers
    ]


def _rounded(x: NDArray, dtype: np.dtype) -> NDArray:
    """Return weights or biases in the network's dtype, which means and scales may be beyond."""
    with np.errstate(over="ignore"):
        y = x.astype(dtype)
    # A row that vanishes would be an output that is constant.
    vanished = x.any(axis=-1) & ~y.any(axis=-1)
    if not np.isfinite(y).all() or (x.ndim == 2 and vanished.any()):
        hint = "" if dtype == np.float64 else ": network.astype(np.float64) has more room"
        raise ValueError(f"network must have means and scales that fit weights in {dtype}{hint}")
    return y


def _affines_of(layer: Dense) -> list[_Affine]:
    """Return what a layer multiplies by, one matrix after the other."""
    *before, last = (np.asarray(w) for w in matrices_of(layer))
    return [*((w, None, None) for w in before), (last, layer.bias, layer.activation)]


def _linear(weights: NDArray, bias: NDArray | None) -> "nn.Linear":
    import torch
    from torch import nn

    rows, cols = weights.shape
    # Of no values at first, so that PyTorch's random numbers stay where they were.
    linear = nn.Linear(cols, rows, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(torch.tensor(weights))
    if bias is not None:
        linear.bias = nn.Parameter(torch.tensor(bias))
    return linear


def _activation_modules(activation: Activation) -> list[Any]:
    """Return the module that computes an activation function, if there is one."""
    from torch import nn

    _, number = as_activation(activation)
    match activation[0] if isinstance(activation, tuple) else activation:
        case None:
            return []
        case "relu":
            return [nn.ReLU()]
        case "leaky_relu":
            return [nn.LeakyReLU(number)]
        case "clipped_relu":
            return [nn.ReLU6() if number == 6 else nn.Hardtanh(0.0, number)]
        case "tanh":
            return [nn.Tanh()]
        case "sigmoid":
            return [nn.Sigmoid()]
        case "gelu":
            return [nn.GELU()]
        case "gelu_tanh":
            return [nn.GELU("tanh")]
        case "silu":
            return [nn.SiLU()]
        case "softplus":
            return [nn.Softplus()]
        case "elu":
            return [nn.ELU(number)]
        case "softmax":
            return [nn.Softmax(-1)]
    raise ValueError(
        f"network has the activation {activation!r}, for which PyTorch has no module: call "
        "to_onnx, or torch.exp on what the network gives without it"
    )
