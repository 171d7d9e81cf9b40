"""What is done to the sums of every product: a bias is added, an activation function applied."""

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_input
from .._core.threads import get_num_threads
from ..arrays.activation import Activation, activate, as_activation


def epilogue(
    bias: NDArray | None, activation: Activation, out: NDArray
) -> tuple[bool, NDArray, int, float, NDArray, int]:
    """Return the arguments that end the list of every kernel that writes a product."""
    beta = out[0] if bias is None else bias  # where there is none, it is not looked at
    return bias is not None, beta, *as_activation(activation), out, get_num_threads()


def fill(out: NDArray, bias: NDArray | None, activation: Activation) -> None:
    """Write what a product over nothing is: ``activation(bias)`` in each row."""
    row = np.zeros(out.shape[1:], out.dtype) if bias is None else bias
    out[...] = activate(row, activation)


def as_bias(bias: NDArray | None, dtype: np.dtype, n: int) -> NDArray | None:
    """Return `bias`, an array of `n` entries or None."""
    return None if bias is None else as_input(bias, "bias", (dtype.type,), (n,))
