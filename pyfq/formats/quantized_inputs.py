"""Inputs that become codes before they meet codes of weights."""

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.threads import get_num_threads
from ..arrays.quantize import code_rule

INT8 = code_rule(8, "symmetric")


def quantize_rows(
    x: NDArray, scale: NDArray | None, out: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Return inputs, the scale of weights and the step of inputs, as kernels of nonzeros take them.

    With a scale the inputs are the codes of ``quantize(x, 8)``, as floats. Without one the scales
    are not looked at: parts of `out` stand in their place.
    """
    if scale is None:
        return x, out[0], out[0]
    codes, step = np.empty(x.shape, np.int8), np.empty((len(x), 1), x.dtype)
    zeros, minimum = np.empty_like(step, np.int32), np.empty_like(step)
    _native.call(
        "quantize", _native.KIND[x.dtype], x.shape[1], x, INT8, step, zeros, minimum, codes,
        get_num_threads(), inputs={"x": x},
    )  # fmt: skip
    return codes.astype(x.dtype), scale, step.reshape(-1)
