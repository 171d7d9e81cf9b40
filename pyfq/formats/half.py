"""Weights that are 2-byte floats, bfloat16 or float16, in panels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.memory import aligned_empty
from .._core.threads import get_num_threads
from ..arrays.activation import Activation
from ..arrays.half import FORMATS, Half
from .dense import Panels, as_panels, panels_shape
from .epilogue import epilogue
from .layout import as_rows

# Bits of 128 in float16: from there on the kernel has no room for exponents.
MOST_FLOAT16 = np.uint16(0x5800)


@dataclass(frozen=True, eq=False)
class HalfPanels:
    """Panels of 2-byte floats, two steps of k a word, which widen as they are multiplied."""

    words: NDArray[np.int32]
    format: int

    def apply(self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray) -> None:
        """Write the layer's results; see `Layout`."""
        self._multiply(x, False, bias, activation, out)

    def apply_float64(
        self, x: NDArray, bias: NDArray | None, activation: Activation, out: NDArray
    ) -> None:
        """Write the same, summed in float64."""
        self._multiply(x, True, bias, activation, out)

    def _multiply(
        self, x: NDArray, wide: bool, bias: NDArray | None, activation: Activation, out: NDArray
    ) -> None:
        _native.call(
            "multiply_half",
            "f32",
            as_rows(x),
            self.format,
            self.words,
            wide,
            *epilogue(bias, activation, out),
        )

    def describe(self) -> dict[str, Any]:
        """Return the components of its description; see `Layout`."""
        return {
            "format": "half", "weights": self.words, "row_steps": self.words.shape[1],
            "float_format": self.format,
        }  # fmt: skip


def as_half_panels(w: Half) -> HalfPanels | Panels:
    """Return the panels of 2-byte weights; of floats where their kernel has no room for exponents.

    It raises the exponents of float16, so that none is a denormal, up to those below 128.
    """
    n, k = w.shape
    if w.format == "float16" and ((w.bits & np.uint16(0x7FFF)) >= MOST_FLOAT16).any():
        return as_panels(w.dequantize())
    _, lanes = panels_shape(n, k, w.dtype)
    words = aligned_empty((-(-n // lanes), -(-k // 2), lanes), np.int32)
    number = FORMATS[w.format][0]
    _native.call("pack_half", "f32", w.bits.view(np.int16), number, words, get_num_threads())
    return HalfPanels(words, number)
