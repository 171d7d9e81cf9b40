"""A network's weights in one block of memory (`fortran/formats/fq_stored_layer.f90`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import LINE, aligned_empty
from ..arrays.activation import Activation, as_activation
from ..formats.layout import Layout
from ..formats.static import StaticCodes

# From 1, in the order of the constants FORMAT_.
FORMATS = (
    "dense", "panels", "codes", "nibbles", "code_panels", "csr", "blocked_csr", "nm24", "nm24_int8",
    "static", "half", "level_panels",
)  # fmt: skip
# The components of `stored_layer`: numbers, and where arrays are; and those of `planned_ends`.
NUMBERS = (
    "format", "n", "k", "activation", "rows", "group_size", "groups", "vectors", "row_steps",
    "group_stride", "two_per_byte", "float_format", "block_cols", "panels", "run_bytes",
    "coded_inputs", "input_zero",
)  # fmt: skip
ARRAYS = (
    "bias", "kept", "weights", "scale", "zero_point", "minimum", "levels", "starts", "indices",
    "positions", "code_sums", "input_scale",
)  # fmt: skip
FIELDS = NUMBERS + ARRAYS
ENDS = ("input_mean", "input_scale", "output_mean", "output_scale")


@dataclass(frozen=True, eq=False)
class Plan:
    """What `forward_network` takes of a network.

    Attributes
    ----------
    call : callable
        The kernel, for inputs, `arguments`, outputs and the number of threads.
    arguments : tuple
        ``(layers, 29)`` int64, the descriptions, `FIELDS`; numbers of activations; the memory,
        int8, each array from a multiple of 64 bytes on; and ``(4,)`` int64, where `ENDS` are.
    """

    call: Callable[..., int]
    arguments: tuple[NDArray, NDArray, NDArray, NDArray]


def plan_layers(
    layers: Sequence[tuple[tuple[int, int], Layout | StaticCodes, NDArray | None, Activation]],
    ends: Sequence[NDArray | None],
    dtype: np.dtype,
) -> Plan:
    """Return the plan of layers.

    Parameters
    ----------
    layers : sequence of (shape, layout, bias, activation)
        The layers, in order, shapes ``(out_features, in_features)``.
    ends : sequence of 4 arrays or None
        As in `ENDS`.
    dtype : dtype
        Of activations.
    """
    arrays: list[NDArray] = []
    used = 0

    def place(array: NDArray | None) -> int:
        nonlocal used
        if array is None:
            return -1
        start = used
        arrays.append(array)
        used += -(-array.nbytes // LINE) * LINE
        return start

    table = np.full((len(layers), len(FIELDS)), -1, np.int64)
    slopes = np.zeros(len(layers), dtype)
    for row, ((n, k), layout, bias, activation) in enumerate(layers):
        code, slopes[row] = as_activation(activation)
        described = {"n": n, "k": k, "rows": n, "coded_inputs": 0, "activation": code, "bias": bias}
        described |= layout.describe()
        if isinstance(layout, StaticCodes) and bias is None:
            described["bias"] = np.zeros(n, dtype)
        described["format"] = FORMATS.index(described["format"]) + 1
        table[row] = [
            place(described.get(field)) if field in ARRAYS else described.get(field, -1)
            for field in FIELDS
        ]
    places = np.array([place(end) for end in ends], np.int64)
    memory = aligned_empty((used + LINE,), np.int8)
    start = 0
    for array in arrays:
        memory[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.int8)
        start += -(-array.nbytes // LINE) * LINE
    memory.flags.writeable = False
    call = getattr(_native.lib, f"fq_forward_network_{_native.KIND[dtype]}")
    return Plan(call, (table, slopes, memory, places))
