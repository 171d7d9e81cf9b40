"""Codes of a table of levels."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..._core.check import as_count, shown
from ..._core.grid import Granularity, PerGroup
from ...arrays.codebook import Codebook, Initialization, quantize_codebook
from .tables import (
    BUDGET,
    SAMPLE,
    granularity_settings,
    granularity_words,
    parse_granularity,
    refuse_unknown,
)

Levels = str | tuple[float, ...]

#: What shares a scale unless something else is asked for, as bitsandbytes has it: for half a bit.
CODEBOOK_GROUPS = PerGroup(64)

_KEYS = (
    "levels", "bits", "per", "group_size", "calibration", "scale_bits", "initialization", "seed",
    "iterations",
)  # fmt: skip


@dataclass(frozen=True)
class QuantizeCodebook:
    """How a tensor is quantized to the levels of a table; see `pyfq.quantize_codebook`.

    Parameters
    ----------
    levels : "nf4", "fp4", "log2", "lloyd", or tuple of float
        The table, which that function calls codebook; numbers ascend, 2 ... 256 of them.
    bits : int or "budget", optional
        Bits of a code: 4 if not given, for "log2" 2 ... 8, for "lloyd" 1 ... 8, or as many as the
        budget of the recipe gives the tensor. Of numbers as many as they need, and not to be given.
    granularity, initialization, seed, iterations, calibration, scale_bits
        Its arguments.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.quantize_codebook` refuses the settings.

    Examples
    --------
    >>> from pyfq import PerRow
    >>> print(QuantizeCodebook("lloyd", 3, PerRow()))
    lloyd 3 bits per row
    >>> print(QuantizeCodebook("nf4", calibration="mse", scale_bits=8))
    nf4 per 64 mse, scales of 8 bits
    >>> QuantizeCodebook((-1.0, 0.0, 1.0)).width
    2
    """

    levels: Levels = "nf4"
    bits: int | Literal["budget"] | None = None
    granularity: Granularity = CODEBOOK_GROUPS
    initialization: Initialization = "kmeans++"
    seed: int = 0
    iterations: int = 300
    calibration: Literal["absmax", "mse"] = "absmax"
    scale_bits: int | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if not isinstance(self.levels, str | tuple):
            raise TypeError(
                f"levels must be a name or a tuple of numbers, not {shown(self.levels)}"
            )
        if isinstance(self.levels, tuple):
            if not all(type(x) in (int, float) for x in self.levels):
                raise TypeError(f"levels must be numbers, not {shown(self.levels)}")
            if self.bits is not None:
                raise ValueError("bits must not be given with levels: they need so many as they do")
        if self.bits == BUDGET and self.levels not in ("log2", "lloyd"):
            raise ValueError(
                f"bits must not be {BUDGET!r} for levels {shown(self.levels)}, which has 4"
            )
        as_count(self.seed, "seed", 0)
        as_count(self.iterations, "iterations", 1)
        (replace(self, bits=4) if self.bits == BUDGET else self).apply(SAMPLE)

    def apply(self, w: NDArray) -> Codebook:
        """Quantize one array."""
        table = np.array(self.levels, w.dtype) if isinstance(self.levels, tuple) else self.levels
        return quantize_codebook(
            w,
            table,
            self.width,
            granularity=self.granularity,
            calibration=self.calibration,
            scale_bits=self.scale_bits,
            initialization=self.initialization,
            seed=self.seed,
            iterations=self.iterations,
        )

    @property
    def width(self) -> int:
        """Bits of a code."""
        if isinstance(self.levels, tuple):
            return max((len(self.levels) - 1).bit_length(), 1)
        if self.bits == BUDGET:
            raise ValueError("bits are those of a budget, which are not known yet")
        return 4 if self.bits is None else self.bits

    @property
    def count(self) -> int:
        """Levels of the table."""
        if isinstance(self.levels, tuple):
            return len(self.levels)
        most = 2**self.width
        return most - 1 if self.levels in ("fp4", "log2") else most

    @property
    def fits(self) -> bool:
        """Whether the table is fitted to the weights."""
        return self.levels == "lloyd"

    @property
    def scaled(self) -> bool:
        """Whether there are scales; tables fitted per tensor or row are of weights themselves."""
        return not self.fits or isinstance(self.granularity, PerGroup)

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        named = isinstance(self.levels, str)
        settings: dict[str, Any] = {"levels": self.levels if named else list(self.levels)}
        if self.bits is not None:
            settings["bits"] = self.bits
        settings |= granularity_settings(self.granularity)
        if self.calibration != "absmax":
            settings["calibration"] = self.calibration
        if self.scale_bits is not None:
            settings["scale_bits"] = self.scale_bits
        if self.fits:
            settings |= {"initialization": self.initialization, "seed": self.seed}
            settings["iterations"] = self.iterations
        return settings

    def __str__(self) -> str:
        """Return the settings in a few words."""
        words = self.levels if isinstance(self.levels, str) else f"{len(self.levels)} levels"
        if self.levels in ("log2", "lloyd"):
            words += " bits of the budget" if self.bits == BUDGET else f" {self.width} bits"
        words += f" {granularity_words(self.granularity)}"
        if self.calibration != "absmax":
            words += f" {self.calibration}"
        return words if self.scale_bits is None else f"{words}, scales of {self.scale_bits} bits"


def parse_codebook(said: Any) -> QuantizeCodebook:
    """Return what the name, the levels or the table of the key `codebook` say."""
    table = {"levels": said} if isinstance(said, str | list) else said
    refuse_unknown(table, _KEYS)
    settings = {key: value for key, value in table.items() if key not in ("per", "group_size")}
    if isinstance(settings.get("levels"), list):
        settings["levels"] = tuple(settings["levels"])
    return QuantizeCodebook(granularity=parse_granularity(table, CODEBOOK_GROUPS), **settings)
