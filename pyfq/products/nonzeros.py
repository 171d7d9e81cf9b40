"""Sparse weights as models in memory, one for each range of numbers of samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import refuse_not_finite
from ..arrays.activation import Activation, activate
from ..formats.epilogue import fill
from ..formats.layout import as_rows
from ..formats.quantized_inputs import quantize_rows
from ..formats.sparse import Sparse, csr_of, scale_of_rows
from .model import Model, ModelLayer, build, model_for

# Products of two codes that float32 adds exactly: 1040 * 127 * 127 <= 2**24.
EXACT_COUNT = 1040
# Products of codes that are summed as integers at most: `MAX_STEPS` of `fq_gemm_int8.f90`.
MAX_STEPS = 65536


@dataclass(frozen=True, eq=False)
class Nonzeros:
    """Sparse weights whose format is chosen by the number of samples of each call."""

    sparse: Sparse
    activation_bits: int | None

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        x, made = as_rows(x), self.sparse._layouts
        if "any" not in made:
            made["any"] = bool(np.any(self.sparse.values))
        if not (x.size and made["any"]):
            if self.activation_bits:
                refuse_not_finite({"x": x})
            fill(out, bias, activation)
        else:
            self._layout_for(len(x), made).apply(x, bias, activation, out)

    def _layout_for(self, batch: int, made: dict[str, Any]) -> "Model | LongRows":
        """Return what was made for so many samples before, or make it."""
        w, coded = self.sparse, bool(self.activation_bits)
        if coded and w.dtype == np.float32 and w.shape[1] > MAX_STEPS and w.format != "rows":
            key = "long rows"
            if key not in made:
                made[key] = _long_rows(w)
            if made[key] is not None:
                return made[key]
        models = made.setdefault("coded" if coded else "real", [])
        model = model_for(models, batch)
        if model is None:
            model = build([ModelLayer(w, codes_inputs=coded)], w.dtype, batch)
            models.append(model)
        return model


@dataclass(frozen=True, eq=False)
class LongRows:
    """Codes of rows that are too long for integer sums, summed as float64.

    A network sums parts of 65536 products as integers, and adds these as floats.
    """

    model: Model
    scale: NDArray

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        x, scale, step = quantize_rows(x, self.scale, out)
        sums = np.empty(out.shape)
        self.model.apply(x.astype(np.float64), None, None, sums)
        np.multiply(scale, sums.astype(x.dtype), out=out)
        out *= step[:, None]
        if bias is not None:
            out += bias
        out[...] = activate(out, activation)


def _long_rows(w: Sparse) -> LongRows | None:
    """Return codes as float64; None if float32 adds the products of each row exactly."""
    indptr, indices, values = csr_of(w)
    if np.diff(indptr).max(initial=0) <= EXACT_COUNT:
        return None
    reals = Sparse("csr", w.shape, values.astype(np.float64), indices=indices, indptr=indptr)
    return LongRows(build([ModelLayer(reals)], np.float64, 2), scale_of_rows(w))
