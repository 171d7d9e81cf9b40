"""Products whose sums are in float64 (`fortran/products/fq_mixed.f90`)."""

from typing import Any, Literal

from .._core.check import shown

Accumulation = Literal["float64"] | None


def as_accumulation(accumulation: Any) -> bool:
    """Return whether sums are to be in float64."""
    if accumulation is not None and not (
        isinstance(accumulation, str) and accumulation == "float64"
    ):
        raise ValueError(f"accumulation must be None or 'float64', not {shown(accumulation)}")
    return accumulation is not None
