"""Pruning: zeros in place of the weights that count least."""

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from ..._core.check import as_choice, shown
from ..._core.grid import Granularity, PerTensor
from ...arrays.prune import Pruned, prune_nm, prune_percentile, prune_ratio, prune_threshold
from .tables import (
    GRANULARITIES,
    SAMPLE,
    granularity_settings,
    granularity_words,
    parse_granularity,
    refuse_unknown,
)

PRUNERS = {"ratio": prune_ratio, "percentile": prune_percentile, "threshold": prune_threshold}

_KEYS = (*PRUNERS, "nm", "along", "per", "group_size")


@dataclass(frozen=True)
class Prune:
    """How a tensor is pruned.

    Parameters
    ----------
    method : "ratio", "percentile", "threshold" or "nm"
        Which of `pyfq.prune_ratio`, `pyfq.prune_percentile`, ...
    amount : float, or (n, m) for "nm"
        Its argument.
    granularity : PerTensor, PerRow or PerGroup
        What is ranked together; not for "nm".
    along : "row" or "channels"
        What blocks of "nm" run along in a kernel ``(out, in, kh, kw)``: its row of in * kh * kw
        entries, as they lie in memory; or the channels ``in`` at each place of the kernel, as
        NVIDIA's sparse tensor cores and apex.contrib.sparsity have it. Of matrices both are the
        row.

    Raises
    ------
    TypeError, ValueError
        If that function refuses the settings.

    Examples
    --------
    >>> Prune("ratio", 0.5).settings()
    {'ratio': 0.5, 'per': 'tensor'}
    >>> print(Prune("nm", (2, 4), along="channels"))
    2:4 along channels
    """

    method: Literal["ratio", "percentile", "threshold", "nm"]
    amount: float | tuple[int, int]
    granularity: Granularity = GRANULARITIES["tensor"]
    along: Literal["row", "channels"] = field(default="row", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if self.method not in (*PRUNERS, "nm"):
            raise ValueError(f"method must be one of {[*PRUNERS, 'nm']}, not {shown(self.method)}")
        as_choice(self.along, "along", ("row", "channels"))
        if self.along != "row" and self.method != "nm":
            raise ValueError(f"along is of nm, not of {self.method}")
        self.apply(SAMPLE)

    def apply(self, w: NDArray, out: NDArray | None = None) -> Pruned:
        """Prune one array, whose rows lie along its last axis; into `out`, to be written to."""
        if self.method == "nm":
            n, m = self.amount
            return prune_nm(w, n, m, out=out)
        return PRUNERS[self.method](w, self.amount, granularity=self.granularity, out=out)

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        if self.method == "nm":
            n, m = self.amount
            return {"nm": f"{n}:{m}"} | ({} if self.along == "row" else {"along": self.along})
        return {self.method: self.amount} | granularity_settings(self.granularity)

    def __str__(self) -> str:
        """Return the settings in a few words."""
        if self.method == "nm":
            n, m = self.amount
            return f"{n}:{m}" + ("" if self.along == "row" else f" along {self.along}")
        return f"{self.method} {self.amount:g} {granularity_words(self.granularity)}"


def parse_prune(table: Any) -> Prune:
    """Return what the table of the key `prune` says."""
    refuse_unknown(table, _KEYS)
    methods = [key for key in (*PRUNERS, "nm") if key in table]
    if len(methods) != 1:
        found = " and ".join(methods) or "none of them"
        raise ValueError(f"expected one of {', '.join((*PRUNERS, 'nm'))}, not {found}")
    (method,) = methods
    amount = table[method]
    if method == "nm":
        if table.keys() - {"nm", "along"}:
            raise ValueError("nm has no granularity: its groups are of m entries")
        amount = parse_nm(amount if isinstance(amount, str) else repr(amount))
        return Prune("nm", amount, along=table.get("along", "row"))
    if "along" in table:
        raise ValueError(f"along is of nm, not of {method}")
    return Prune(method, amount, parse_granularity(table, PerTensor()))


def parse_nm(text: str) -> tuple[int, int]:
    """Return the n and m of ``"n:m"``."""
    n, colon, m = text.partition(":")
    if not (colon and n.isdecimal() and m.isdecimal()):
        raise ValueError(f"nm must be like '2:4', not {shown(text)}")
    return int(n), int(m)
