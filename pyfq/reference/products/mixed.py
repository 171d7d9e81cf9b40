"""Reference of `pyfq.products.mixed`."""

import numpy as np

from ..arrays.activation import activate
from ..arrays.convert import cast_from, cast_to


def to_half(w, format="bfloat16"):
    """Return the bits of the nearest values of a format of 2 bytes."""
    return cast_to(w, format)


def linear_half(x, bits, format="bfloat16", bias=None, *, activation=None):
    """Return ``activation(x @ w.T + bias)``, float32, everything before the activation exact.

    Exact up to the rounding of float64: what ``accumulation="float64"`` says.
    """
    with np.errstate(all="ignore"):
        y = x.astype(np.float64) @ cast_from(bits, format).astype(np.float64).T
        y = y if bias is None else y + bias
    return activate(y.astype(np.float32), activation)
