"""What Fortran needs of a layer to store it (`fortran/formats/fq_layer_parts.f90`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import refuse_not_finite
from .._core.grid import PerRow, grid_of
from ..arrays.activation import Activation, as_activation
from ..arrays.codebook import Codebook
from ..arrays.half import FORMATS, Half
from ..arrays.quantize import Quantized
from .sparse import Sparse

# From 1, in the order of the constants FORM_; and from 0, in that of the constants INPUTS_.
FORMS = ("array", "half", "quantized", "codebook", "csr", "nm", "rows")
INPUTS = ("real", "coded", "static")
# The components of `layer_parts`: numbers, and arrays, an address and bytes each.
NUMBERS = (
    "form", "n", "k", "inputs", "activation", "slope", "bits", "is_signed", "group_size", "tables",
    "float_format", "nm_n", "nm_m", "input_zero",
)  # fmt: skip
ARRAYS = (
    "bias", "values", "scale", "zero_point", "minimum", "levels", "starts", "indices", "positions",
    "rows", "input_scale",
)  # fmt: skip
# An array of the caller: `span` in Fortran.
SPAN = np.dtype([("start", np.int64), ("bytes", np.int64)])
LAYER_PARTS = np.dtype(
    [(name, np.float64 if name == "slope" else np.int64) for name in NUMBERS]
    + [(name, SPAN) for name in ARRAYS]
)


def parts_of_weights(w: NDArray | Half | Quantized | Codebook | Sparse) -> dict[str, Any]:
    """Return the components of `LAYER_PARTS` that weights have, by name, arrays as they are."""
    n, k = w.shape
    parts: dict[str, Any] = {"n": n, "k": k}
    match w:
        case Half():
            return parts | {
                "form": "half", "float_format": FORMATS[w.format][0], "values": w.bits,
            }  # fmt: skip
        case Quantized():
            return parts | {"form": "quantized"} | _parts_of_quantized(w)
        case Codebook():
            return parts | {
                "form": "codebook", "bits": w.bits, "tables": len(w.levels), "values": w.packed,
                "group_size": grid_of(w.shape, w.granularity).group_size, "levels": w.levels,
                "scale": w.scale,
            }  # fmt: skip
        case Sparse():
            return parts | {
                "form": w.format, "bits": 0 if w.scale is None else 8, "values": w.values,
                "scale": w.scale, "starts": w.indptr, "indices": w.indices, "nm_n": w.n,
                "nm_m": w.m, "positions": w.positions, "rows": w.rows,
            }  # fmt: skip
    return parts | {"form": "array", "values": w}


def _parts_of_quantized(w: Quantized) -> dict[str, Any]:
    refuse_not_finite({"scale": w.scale} | ({} if w.minimum is None else {"minimum": w.minimum}))
    group_size = min(grid_of(w.shape, w.granularity).group_size, grid_of(w.shape, PerRow()).cols)
    zero_point = None if w.zero_point is None else w.zero_point.astype(np.int32, copy=False)
    return {
        "bits": w.bits, "is_signed": w.signed, "group_size": group_size, "values": w.packed,
        "scale": w.scale, "zero_point": zero_point, "minimum": w.minimum,
    }  # fmt: skip


def fill_parts(
    row: np.void, parts: dict[str, Any], inputs: str, bias: NDArray | None, activation: Activation
) -> list[NDArray]:
    """Write a layer to a row of a table of `LAYER_PARTS`.

    Returns
    -------
    list of array
        The arrays that the row has addresses of: they must live as long as it does.
    """
    code, slope = as_activation(activation)
    numbers = parts | {"activation": code, "slope": slope, "inputs": INPUTS.index(inputs)}
    numbers["form"] = FORMS.index(parts["form"]) + 1
    for name in NUMBERS:
        row[name] = numbers.get(name) or 0
    arrays = []
    for name, array in (parts | {"bias": bias}).items():
        if name in ARRAYS and array is not None:
            array = np.ascontiguousarray(array)
            arrays.append(array)
            row[name] = address_of(array)
    return arrays


def address_of(array: NDArray | None) -> tuple[int, int]:
    """Return where an array starts, and its bytes; zeros if there is none."""
    if array is None or not array.size:
        return 0, 0
    return array.__array_interface__["data"][0], array.nbytes
