"""Layers in memory as kernels read them (`fortran/products/fq_model.f90`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from .._core.threads import get_num_threads
from ..arrays.activation import Activation
from ..arrays.codebook import Codebook
from ..arrays.half import Half
from ..arrays.quantize import Quantized
from ..errors import FqError
from ..formats.epilogue import epilogue
from ..formats.layer_parts import LAYER_PARTS, SPAN, address_of, fill_parts, parts_of_weights
from ..formats.layout import as_rows
from ..formats.sparse import Sparse

# From 1, in the order of the constants FORMAT_ of `fortran/formats/fq_stored_layer.f90`.
FORMATS = (
    "dense", "panels", "codes", "nibbles", "code_panels", "csr", "blocked_csr", "nm24", "nm24_int8",
    "static", "half", "level_panels",
)  # fmt: skip
# What inputs and outputs of a model pass: the components of `end_parts`.
ENDS = ("input_mean", "input_scale", "output_mean", "output_scale")


class ModelLayer(NamedTuple):
    """A layer of a model.

    Attributes
    ----------
    weights : (out_features, in_features) array, or another form of weights
        Not empty.
    bias : (out_features,) array or None
        Added to each row.
    activation : str, tuple or None
        As `activate` takes it.
    codes_inputs : bool
        Inputs become codes of 8 bits, as ``quantize(x, 8)`` makes them; weights are codes.
    x_scale : (1,) array or None
        They become codes of this fixed step.
    x_zero_point : int or None
        Their code of 0; codes are signed without it.
    """

    weights: NDArray | Half | Quantized | Codebook | Sparse
    bias: NDArray | None = None
    activation: Activation = None
    codes_inputs: bool = False
    x_scale: NDArray | None = None
    x_zero_point: int | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """A block of memory that Fortran fills and reads.

    Attributes
    ----------
    memory : int8
        The block, from a multiple of 64 bytes on: a head, a table of layers, their arrays.
    least, most : int
        Samples of a call for which no other block is better.
    layers : int
        How many there are.
    lib : module
        The kernels that it was built with: another instruction set cannot read it.
    kind : "f32" or "f64"
        What reals are.
    """

    memory: NDArray[np.int8]
    least: int
    most: int
    layers: int
    lib: Any
    kind: str

    @property
    def formats(self) -> tuple[str, ...]:
        """In which format the weights of each layer are, one of `FORMATS`."""
        numbers = np.empty(self.layers, np.int64)
        _native.call("model_formats", self.kind, self.memory, numbers)
        return tuple(FORMATS[n - 1] for n in numbers)

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the results of the one layer with another bias and activation; see `Layout`."""
        rest = epilogue(bias, activation, out)
        _native.call("multiply_layer", self.kind, as_rows(x), self.memory, *rest, inputs={"x": x})

    def apply_float64(
        self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray
    ) -> None:
        """Write the same, summed in float64; of weights that are floats."""
        if self.kind == "f64":
            self.apply(x, bias, activation, out)
            return
        rest = epilogue(bias, activation, out)
        _native.call("multiply_layer_float64", self.kind, as_rows(x), self.memory, *rest)


def build(
    layers: Sequence[ModelLayer],
    dtype: np.dtype,
    batch: int,
    ends: Sequence[NDArray | None] = (None,) * len(ENDS),
) -> Model:
    """Return the model of layers that follow each other.

    Parameters
    ----------
    layers : sequence of ModelLayer
        At least one.
    dtype : dtype
        Dtype of inputs and outputs, float32 or float64.
    batch : int
        Samples that a call will have.
    ends : sequence of 4 arrays or None
        As in `ENDS`.
    """
    kind = _native.KIND[np.dtype(dtype)]
    table = np.zeros(len(layers), LAYER_PARTS)
    kept = [_fill(row, layer) for row, layer in zip(table, layers, strict=True)]
    ends = [None if end is None else np.ascontiguousarray(end) for end in ends]
    given = table.view(np.int64).reshape(len(layers), -1)
    spans = np.array([address_of(end) for end in ends], SPAN).view(np.int64)
    nbytes, least, most, info = getattr(_native.lib, f"fq_model_bytes_{kind}")(given, spans, batch)
    if info:
        raise FqError("model_bytes", info)
    memory = aligned_empty((nbytes,), np.int8)
    _native.call("build_model", kind, given, spans, batch, memory, get_num_threads())
    del kept, ends  # until now Fortran read them
    memory.flags.writeable = False
    return Model(memory, least, most, len(layers), _native.lib, kind)


def model_for(models: list[Model], batch: int) -> Model | None:
    """Return the one of some models that is for so many samples and the kernels in use."""
    for model in models:
        if model.least <= batch <= model.most and model.lib is _native.lib:
            return model
    return None


def _fill(row: np.void, layer: ModelLayer) -> list[NDArray]:
    """Write a layer to a row of the table, and return the arrays that it has addresses of."""
    parts = parts_of_weights(layer.weights)
    inputs = "coded" if layer.codes_inputs else "real"
    if layer.x_scale is not None:
        zero = -1 if layer.x_zero_point is None else layer.x_zero_point
        parts |= {"input_scale": layer.x_scale, "input_zero": zero}
        inputs = "static"
    return fill_parts(row, parts, inputs, layer.bias, layer.activation)
