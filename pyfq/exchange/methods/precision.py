"""Floats of another dtype."""

from collections.abc import Mapping
from typing import Any, Literal

from ..._core.check import as_choice

#: What a tensor of floats can be stored in, with the word of safetensors for it.
PRECISIONS: Mapping[str, str] = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
}  # fmt: skip

Precision = Literal["float64", "float32", "float16", "bfloat16"]


def check_precision(precision: Any) -> None:
    """Raise ValueError if there is no such precision."""
    as_choice(precision, "precision", tuple(PRECISIONS))
