"""What a stream turned out to be, whose bytes are known only when it is made."""

import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..._core.check import as_count, as_number
from .tables import refuse_unknown


@dataclass(frozen=True)
class Coded:
    """What the codes of a tensor turned out to be.

    Parameters
    ----------
    nbytes : int
        Bytes of their stream.
    step : float, optional
        What makes the same codes again, as `pyfq.quantize_rate` takes it.
    sqnr : float, optional
        Signal-to-noise ratio against the original in dB; not known, or infinite, without it.
    """

    nbytes: int
    step: float | None = None
    sqnr: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        as_count(self.nbytes, "nbytes", 1)
        if self.step is not None:
            as_number(self.step, "step", 0, sys.float_info.max)
        if self.sqnr is not None:
            as_number(self.sqnr, "sqnr", -1e300, 1e300)

    def settings(self) -> dict[str, Any]:
        """Return it in the words of a file."""
        found = {"nbytes": self.nbytes, "step": self.step, "sqnr": self.sqnr}
        return {key: value for key, value in found.items() if value is not None}

    def refuse_other(self, nbytes: int, what: str) -> None:
        """Raise ValueError if the stream was not made again as it was."""
        if nbytes != self.nbytes:
            raise ValueError(
                f"its {what} take {nbytes} bytes, not the {self.nbytes} that a first pass found"
            )


def parse_coded(table: Any, keys: Collection[str]) -> Coded:
    """Return what the table of the key `found` says, which may have these keys."""
    refuse_unknown(table, keys)
    if "nbytes" not in table:
        raise ValueError("found: nbytes is missing")
    return Coded(**table)
