"""Entropy-coded codes of a uniform step."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray

from ..._core.check import shown
from ..._core.grid import PerRow, PerTensor
from ...arrays.rate import RateQuantized, quantize_rate
from .coded import Coded, parse_coded
from .tables import (
    BUDGET,
    SAMPLE,
    granularity_settings,
    granularity_words,
    parse_granularity,
    refuse_unknown,
)

#: How the step is asked for.
ASKED = ("bits", "step", "sqnr")

#: What a recipe says of codes without a trellis.
NO_TRELLIS = "none"

#: What a bit is worth, in squared steps, by states of the trellis, unless it is said. Less than
#: makes the error of weights least: of two codings of the same bits and nearly the same error, the
#: outputs of a network keep more with the one that makes fewer small weights 0.
TRADEOFFS = {None: 0.03, 4: 0.05, 8: 0.05}

_KEYS = (*ASKED, "trellis", "per", "tradeoff", "found")


@dataclass(frozen=True)
class QuantizeRate:
    """How a tensor becomes entropy-coded codes; see `pyfq.quantize_rate`.

    How many bytes they take is known only when they are made. A first pass finds that.

    Parameters
    ----------
    bits : float or "budget", optional
        Bits a weight, of stream and scales; or what the budget of the recipe gives the tensor.
    step, sqnr : float, optional
        The other arguments that say how fine codes are. One of the three is given.
    trellis : 8, 4 or None
        Its argument. Of pruned weights None: a trellis has no 0 in half of its states.
    granularity : PerTensor or PerRow
        Its argument.
    tradeoff : float, optional
        Its argument; that of `TRADEOFFS` if not given, which is less than its own default.
    found : Coded, optional
        What a first pass found. Then codes are those of its step, and the three need not be given.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.quantize_rate` refuses the settings.

    Examples
    --------
    >>> print(QuantizeRate(2.5))
    rate 2.5 bits per tensor, trellis 8
    >>> QuantizeRate(step=0.01, trellis=None).settings()
    {'step': 0.01, 'trellis': 'none', 'per': 'tensor'}
    """

    bits: float | Literal["budget"] | None = None
    step: float | None = None
    sqnr: float | None = None
    trellis: Literal[8, 4] | None = 8
    granularity: PerTensor | PerRow = PerTensor()
    tradeoff: float | None = None
    found: Coded | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        asked = [key for key in ASKED if getattr(self, key) is not None]
        if len(asked) > 1 or not (asked or self.found):
            said = " and ".join(asked) or "none of them"
            raise ValueError(f"one of {', '.join(ASKED)} must be given, not {said}")
        if self.found is not None and not isinstance(self.found, Coded):
            raise TypeError(f"found must be a Coded, not {type(self.found).__name__}")
        if isinstance(self.bits, str) and self.bits != BUDGET:
            raise TypeError(f"bits must be a number or {BUDGET!r}, not {shown(self.bits)}")
        if not isinstance(self.granularity, PerTensor | PerRow):
            raise ValueError(
                f"granularity must be PerTensor() or PerRow(), not {shown(self.granularity)}"
            )
        asked = {key: getattr(self, key) for key in ASKED if getattr(self, key) is not None}
        self._quantize(SAMPLE, {"step": 1.0} if self.bits == BUDGET or not asked else asked)

    def apply(self, w: NDArray) -> RateQuantized:
        """Quantize one array.

        Raises
        ------
        ValueError
            If a first pass found another number of bytes.
        """
        if self.found is None:
            if self.bits == BUDGET:
                raise ValueError("its step is that of a budget, which is not known yet")
            return self._quantize(w, {key: getattr(self, key) for key in ASKED})
        made = self._quantize(w, {"step": self.found.step})
        self.found.refuse_other(made.stream.size, "codes")
        return made

    @property
    def worth(self) -> float:
        """What a bit is worth, in squared steps."""
        return TRADEOFFS[self.trellis] if self.tradeoff is None else self.tradeoff

    def with_step(self, step: float) -> "QuantizeRate":
        """Return the same with a step in place of what is asked for."""
        return replace(self, bits=None, step=step, sqnr=None, found=None)

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        asked = {key: getattr(self, key) for key in ASKED}
        settings: dict[str, Any] = {k: value for k, value in asked.items() if value is not None}
        settings["trellis"] = NO_TRELLIS if self.trellis is None else self.trellis
        settings |= granularity_settings(self.granularity)
        if self.tradeoff is not None:
            settings["tradeoff"] = self.tradeoff
        return settings | ({} if self.found is None else {"found": self.found.settings()})

    def __str__(self) -> str:
        """Return the settings in a few words."""
        words = "rate"
        if self.bits == BUDGET:
            words += " of the budget" if self.found is None else ""
        elif self.bits is not None:
            words += f" {self.bits:g} bits"
        elif self.sqnr is not None:
            words += f" {self.sqnr:g} dB"
        elif self.step is not None:
            words += f" step {self.step:g}"
        words += f" {granularity_words(self.granularity)}"
        return words if self.trellis is None else f"{words}, trellis {self.trellis}"

    def _quantize(self, w: NDArray, asked: dict[str, float]) -> RateQuantized:
        how = {"granularity": self.granularity, "trellis": self.trellis}
        return quantize_rate(w, **asked, **how, tradeoff=self.worth)


def parse_rate(said: Any, *, pruned: bool = False) -> QuantizeRate:
    """Return what the table, or the word "budget", of the key `rate` says.

    Codes of what is `pruned` have no trellis unless that is asked for.
    """
    table = {"bits": said} if isinstance(said, str) else said
    refuse_unknown(table, _KEYS)
    trellis = table.get("trellis", NO_TRELLIS if pruned else 8)
    if trellis not in (8, 4, NO_TRELLIS):
        raise ValueError(f"trellis must be 8, 4 or {NO_TRELLIS!r}, not {shown(trellis)}")
    settings = {key: table[key] for key in (*ASKED, "tradeoff") if key in table}
    if "found" in table:
        settings["found"] = parse_coded(table["found"], ("nbytes", "step", "sqnr"))
    granularity = parse_granularity(table, PerTensor())
    trellis = None if trellis == NO_TRELLIS else trellis
    return QuantizeRate(trellis=trellis, granularity=granularity, **settings)
