"""Bias correction: what quantization shifts on average, put into biases."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..arrays.activation import activate
from .layer import Dense
from .network import Network
from .samples import as_samples, scale_inputs


def correct_bias(network: Network, original: Network, x: NDArray) -> Network:
    r"""Change biases so that compressed layers sum, on average, to what they did before.

    Errors of weights do not cancel where inputs have a mean, as behind relu. With W, :math:`\beta`
    and :math:`\tilde W, \tilde\beta` weights and biases of a layer of `original` and of `network`,
    and a and :math:`\tilde a` what enters it in each of them,

    .. math:: \tilde\beta \gets \tilde\beta - \bigl(
        \mathrm{E}[\tilde W \tilde a + \tilde\beta] - \mathrm{E}[W a + \beta]\bigr)

    layer after layer: :math:`\tilde a` is what corrected layers give. Means are over the samples,
    in float64. If `network` quantizes activations, :math:`\tilde a` are those codes.

    Parameters
    ----------
    network : Network
        Weights of any form: `Quantized`, `Codebook`, `Sparse`, `LowRank`, calibrated or not.
    original : Network
        What it was made of: of the same sizes, activations and dtype. If it was equalized, the
        equalized one.
    x : (samples, inputs) array of the networks' dtype
        Inputs, finite, in the units of `forward`; some hundreds do.

    Returns
    -------
    Network
        `network` with other biases; layers that had none have one.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the networks do not fit each other, or `x` does not fit them.
    FloatingPointError
        If a bias would not be finite.

    See Also
    --------
    equalize : What can be done before quantization.
    pyfq.prune_neurons : Which does the same for neurons that it removes.

    References
    ----------
    Nagel et al. 2019, Data-free quantization through weight equalization and bias correction, arXiv
    1906.04721, section 4.2 and appendix D (empirical bias correction).

    Examples
    --------
    >>> from pyfq import quantize
    >>> x = np.random.default_rng(0).uniform(0, 1, (500, 64)).astype(np.float32)
    >>> network = Network.create((64, 32, 10))
    >>> small = network.map_weights(lambda w: quantize(w, 3))
    >>> corrected = correct_bias(small, network, x)
    >>> y = network.forward(x)
    >>> before, after = (np.mean((each.forward(x) - y) ** 2) for each in (small, corrected))
    >>> bool(after < 0.6 * before)
    True
    """
    x = as_samples(network, x, "x")
    _refuse_other(network, original)
    ours, theirs = scale_inputs(network, x), scale_inputs(original, x)
    layers = []
    for layer, reference in zip(network.layers, original.layers, strict=True):
        sums, wanted = _sums(network, layer, ours), _sums(original, reference, theirs)
        with np.errstate(over="ignore", invalid="ignore"):
            shift = _means(wanted) - _means(sums)
            bias = (shift if layer.bias is None else layer.bias + shift).astype(network.dtype)
        if not np.isfinite(bias).all():
            raise FloatingPointError(f"the bias of layers[{len(layers)}] must stay finite")
        layers.append(replace(layer, bias=bias))
        ours = activate(_sums(network, layers[-1], ours), layer.activation)
        theirs = activate(wanted, layer.activation)
    return replace(network, layers=tuple(layers))


def _refuse_other(network: Network, original: Network) -> None:
    """Refuse a network that the other was not made of."""
    if not isinstance(original, Network):
        raise TypeError(f"original must be a Network, not {type(original).__name__}")
    if original.dtype != network.dtype:
        raise TypeError(f"original must be {network.dtype}, not {original.dtype}")
    if original.sizes != network.sizes:
        raise ValueError(f"original must have sizes {network.sizes}, not {original.sizes}")
    words, wanted = ([layer.activation for layer in each.layers] for each in (original, network))
    if words != wanted:
        raise ValueError(f"original must have activations {wanted}, not {words}")


def _sums(network: Network, layer: Dense, a: NDArray) -> NDArray:
    """Return what a layer gives before its activation, as a pass through the network does."""
    alone = Network([replace(layer, activation=None)], activation_bits=network.activation_bits)
    return alone.forward(a)


def _means(sums: NDArray) -> NDArray[np.float64]:
    return sums.mean(axis=0, dtype=np.float64)
