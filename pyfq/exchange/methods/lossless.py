"""Floats in fewer bytes, back to the bit."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..._core.check import shown
from ...arrays.lossless import lossless_encode
from .coded import Coded, parse_coded
from .tables import refuse_unknown


@dataclass(frozen=True, eq=False)
class Packed:
    """A stream that was made to see how long it is.

    Parameters
    ----------
    stream : (nbytes,) uint8
        What `pyfq.lossless_encode` returned.
    step : None
        Codes have one, see `pyfq.recipes.streams`.
    """

    stream: NDArray
    step: None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the stream."""
        return self.stream.size


@dataclass(frozen=True)
class Lossless:
    """How floats are packed; see `pyfq.lossless_encode`.

    How many bytes they take is known only when they are packed. A first pass finds that.

    Parameters
    ----------
    found : Coded, optional
        What a first pass found: bytes, and no step.

    Examples
    --------
    >>> print(Lossless(), Lossless(Coded(1000)).settings())
    lossless {'found': {'nbytes': 1000}}
    """

    found: Coded | None = None

    def __post_init__(self) -> None:
        """Refuse what is no `Coded`, or has a step."""
        if self.found is not None and not isinstance(self.found, Coded):
            raise TypeError(f"found must be a Coded, not {type(self.found).__name__}")
        if self.found is not None and self.found != Coded(self.found.nbytes):
            raise ValueError(f"found must have nbytes alone, not {shown(self.found.settings())}")

    def apply(self, w: NDArray) -> Packed:
        """Pack one array.

        Raises
        ------
        ValueError
            If a first pass found another number of bytes.
        """
        made = Packed(lossless_encode(w))
        if self.found is not None:
            self.found.refuse_other(made.nbytes, "floats")
        return made

    def settings(self) -> bool | dict[str, Any]:
        """Return the settings in the words of a recipe."""
        return True if self.found is None else {"found": self.found.settings()}

    def __str__(self) -> str:
        """Return the word."""
        return "lossless"


def parse_lossless(said: Any) -> Lossless:
    """Return what the key `lossless` says: true, or the table of a file."""
    if said is True:
        return Lossless()
    if not isinstance(said, dict):
        raise ValueError(f"must be true, or left out, not {shown(said)}")
    refuse_unknown(said, ("found",))
    return Lossless(parse_coded(said.get("found"), ("nbytes",)))
