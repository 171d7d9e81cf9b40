"""Cross-layer equalization: ranges of weights that one scale serves, by the same function."""

import itertools
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_count, as_number
from ..arrays.activation import Activation
from .network import Network
from .samples import refuse_compressed


def equalize(
    network: Network,
    *,
    power_of_two: bool = False,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
) -> Network:
    r"""Scale neurons so that their weights reach equally far in both layers they belong to.

    A neuron j behind relu, leaky_relu or no activation can be made s times smaller, in its row and
    bias, and the next layer read it s times larger, in its column: :math:`f(x/s) = f(x)/s`. With
    :math:`r_{1j} = \max |W_{1,j:}|` and :math:`r_{2j} = \max |W_{2,:j}|`,

    .. math:: s_j = \frac{\sqrt{r_{1j}\, r_{2j}}}{r_{2j}}, \qquad
        W_{1,j:} \gets W_{1,j:} / s_j, \quad \beta_{1j} \gets \beta_{1j} / s_j, \quad
        W_{2,:j} \gets W_{2,:j}\, s_j

    makes both ranges :math:`\sqrt{r_{1j}\, r_{2j}}`. This is done for each pair of layers in turn,
    until no scale is further than `tolerance` from 1. Neurons of range 0 on either side keep their
    scale. What few large rows or columns took of the codes of the others, in quantization with one
    scale per tensor or of few bits, is then theirs.

    The function of the network stays, but for rounding.

    Parameters
    ----------
    network : Network
        Weights are arrays; at least one hidden layer of activation ``"relu"``, ``"leaky_relu"`` or
        None. Others stay as they are.
    power_of_two : bool
        Round scales to powers of 2: then no weight is rounded, and outputs stay the same to the
        bit, unless numbers become denormal or infinite. Ranges are equal up to a factor of 2.
    tolerance : float
        0 or more.
    max_iterations : int
        Rounds over all pairs at most, at least 1.

    Returns
    -------
    Network
        With other weights and biases.

    Raises
    ------
    TypeError
        If an argument has the wrong type; if weights are `Quantized` or `Sparse`.
    ValueError
        If there is no such hidden layer, or a number is out of range.
    FloatingPointError
        If a weight or bias would not be finite.

    See Also
    --------
    correct_bias : What can be done after quantization.

    References
    ----------
    Nagel et al. 2019, Data-free quantization through weight equalization and bias correction, arXiv
    1906.04721, section 4.1, equation 11.

    Examples
    --------
    >>> from pyfq import Dense
    >>> first = Dense(np.array([[100.0, 50.0], [0.01, 0.02]]), activation="relu")
    >>> network = Network([first, Dense(np.array([[0.04, 2.0]]))])
    >>> equal = equalize(network)
    >>> equal.layers[0].weights
    array([[2. , 1. ],
           [0.1, 0.2]])
    >>> equal.layers[1].weights
    array([[2. , 0.2]])
    >>> x = np.array([[3.0, -1.0], [1.0, 1.0]])
    >>> bool(np.allclose(equal.forward(x), network.forward(x), rtol=1e-15))
    True
    """
    refuse_compressed(network, "be equalized")
    tolerance = as_number(tolerance, "tolerance", 0, math.inf)
    max_iterations = as_count(max_iterations, "max_iterations", 1)
    if not isinstance(power_of_two, bool):
        raise TypeError(f"power_of_two must be a bool, not {type(power_of_two).__name__}")
    layers = network.layers
    pairs = [i for i, layer in enumerate(layers[:-1]) if is_homogeneous(layer.activation)]
    if not pairs:
        raise ValueError(
            "network must have a hidden layer of activation 'relu', 'leaky_relu' or None"
        )
    # What each neuron is divided by; inputs and outputs stay as they are.
    scales = [np.ones(n) for n in network.sizes]
    magnitudes = [np.abs(layer.weights.astype(np.float64)) for layer in layers]
    for _ in range(max_iterations):
        furthest = 0.0
        for i in pairs:
            step = _steps(
                (magnitudes[i] * scales[i]).max(axis=1) / scales[i + 1],
                (magnitudes[i + 1] / scales[i + 2][:, None]).max(axis=0) * scales[i + 1],
                power_of_two,
            )
            scales[i + 1] *= step
            furthest = max(furthest, np.abs(step - 1).max())
        if furthest <= tolerance:
            break
    scaled = []
    for layer, (before, after) in zip(layers, itertools.pairwise(scales), strict=True):
        with np.errstate(over="ignore"):
            weights = (layer.weights * (before / after[:, None])).astype(network.dtype)
            bias = None if layer.bias is None else (layer.bias / after).astype(network.dtype)
        if not np.isfinite(weights).all() or not (bias is None or np.isfinite(bias).all()):
            raise FloatingPointError("weights and biases must stay finite")
        scaled.append(replace(layer, weights=weights, bias=bias))
    return replace(network, layers=tuple(scaled))


def is_homogeneous(activation: Activation) -> bool:
    """Return whether ``f(s * x)`` is ``s * f(x)`` for any positive s."""
    word = activation[0] if isinstance(activation, tuple) else activation
    return word in (None, "relu", "leaky_relu")


def _steps(rows: NDArray, cols: NDArray, power_of_two: bool) -> NDArray[np.float64]:
    """Return what makes ranges equal if rows are divided and columns multiplied by it."""
    alive = (rows > 0) & (cols > 0)
    steps = np.ones_like(rows)
    steps[alive] = np.sqrt(rows[alive]) / np.sqrt(cols[alive])  # a quotient might be 0
    return np.exp2(np.rint(np.log2(steps))) if power_of_two else steps
