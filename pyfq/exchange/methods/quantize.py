"""Codes of a uniform step."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from ..._core.check import shown
from ..._core.grid import Granularity, PerGroup
from ...arrays.calibrate import Calibration
from ...arrays.quantize import Quantized, Rounding, Scheme, quantize
from .tables import (
    BUDGET,
    SAMPLE,
    granularity_settings,
    granularity_words,
    parse_granularity,
    refuse_unknown,
)

#: What shares a scale unless something else is asked for: an outlier then costs its group, not its
#: row, for a quarter of a bit.
GROUPS = PerGroup(128)

# Codes of fewer bits lose much by scales of the largest magnitude, and by coarse groups.
_ENOUGH = 8
_GROUPS_OF_FEW_BITS = PerGroup(64)

_KEYS = (
    "bits", "scheme", "per", "group_size", "rounding", "range", "scale", "seed", "calibration",
    "percentile",
)  # fmt: skip


class Fitting(NamedTuple):
    """How codes of some bits are made, unless something else is asked for.

    Attributes
    ----------
    groups : PerGroup
        What shares a scale.
    calibration : "minmax" or "als"
        How scales are found: by the largest magnitude, or of least squared error.
    """

    groups: PerGroup
    calibration: Literal["minmax", "als"]


def fitting_of(bits: int) -> Fitting:
    """Return groups and calibration that codes of so many bits are best made with.

    Examples
    --------
    >>> fitting_of(8).groups.size, fitting_of(4).calibration
    (128, 'als')
    """
    return Fitting(_GROUPS_OF_FEW_BITS, "als") if bits < _ENOUGH else Fitting(GROUPS, "minmax")


@dataclass(frozen=True)
class Quantize:
    """How a tensor is quantized; see `pyfq.quantize`.

    Parameters
    ----------
    bits : int or "budget"
        Its argument; or as many as the budget of the recipe gives the tensor.
    scheme, granularity, rounding, range, seed, calibration, percentile
        Its arguments.
    scale : "absmax", "absmax_half", "signed_max", optional
        A convention; of scheme symmetric.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.quantize` refuses the settings.

    Examples
    --------
    >>> print(Quantize(4, "affine", PerGroup(64)))
    int4 affine per 64
    >>> Quantize(8).settings()["group_size"]
    128
    """

    bits: int | Literal["budget"] = 8
    scheme: Scheme = "symmetric"
    granularity: Granularity = GROUPS
    rounding: Rounding = "half_even"
    range: Literal["narrow", "full"] = "narrow"
    scale: Literal["absmax", "absmax_half", "signed_max"] | None = None
    seed: int | None = None
    calibration: Calibration = "minmax"
    percentile: float | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if self.scale is not None and not isinstance(self.scale, str):
            raise TypeError(f"scale must be the name of a convention, not {shown(self.scale)}")
        (replace(self, bits=8) if self.bits == BUDGET else self).apply(SAMPLE)

    def apply(self, w: NDArray) -> Quantized:
        """Quantize one array."""
        return quantize(
            w,
            self.bits,
            scheme=self.scheme,
            granularity=self.granularity,
            rounding=self.rounding,
            range=self.range,
            scale=self.scale,
            seed=self.seed,
            calibration=self.calibration,
            percentile=self.percentile,
        )

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        settings = {"bits": self.bits, "scheme": self.scheme}
        settings |= granularity_settings(self.granularity)
        settings |= {"rounding": self.rounding, "range": self.range}
        optional = {"scale": self.scale, "seed": self.seed, "percentile": self.percentile}
        if self.calibration != "minmax":
            optional["calibration"] = self.calibration
        return settings | {key: value for key, value in optional.items() if value is not None}

    def __str__(self) -> str:
        """Return the settings in a few words."""
        bits = " of the budget" if self.bits == BUDGET else self.bits
        words = f"int{bits} {self.scheme} {granularity_words(self.granularity)}"
        if self.calibration != "minmax":
            words += f" {self.calibration}"
        return words if self.percentile is None else f"{words} {self.percentile:g}"


def parse_quantize(table: Any) -> Quantize:
    """Return what the table of the key `quantize` says."""
    refuse_unknown(table, _KEYS)
    settings = {key: value for key, value in table.items() if key not in ("per", "group_size")}
    return Quantize(granularity=parse_granularity(table, GROUPS), **settings)
