"""What all forms of weights have in common that a layer is multiplied by."""

from dataclasses import fields, is_dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays.activation import Activation


class Layout(Protocol):
    """Weights as a kernel reads them."""

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write ``activation(x @ w.T + bias)``.

        Parameters
        ----------
        x : (batch, k) array
            Activations.
        bias : (n,) array or None
            Added to each row.
        activation : str, tuple or None
            As `activate` takes it.
        out : (batch, n) array
            Where to write.
        """


def nbytes_of(layout: Any) -> int:
    """Return the bytes of the arrays of a layout, and of the layouts that it is made of."""
    total = 0
    for field in fields(layout):
        part = getattr(layout, field.name)
        if isinstance(part, np.ndarray):
            total += part.nbytes
        elif is_dataclass(part) and not isinstance(part, type):
            total += nbytes_of(part)
    return total


def as_rows(x: NDArray) -> NDArray:
    """Return a view with 2 axes, a sample a row."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
