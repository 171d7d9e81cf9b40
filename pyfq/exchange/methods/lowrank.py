"""Two thin factors in place of a matrix."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._core.check import as_count
from ...products.lowrank import LowRank, Method, rank_of_ratio, svd_lowrank
from ..lowrank_stack import LowRankStack, matrices
from .quantize import Quantize, parse_quantize
from .tables import BUDGET, SAMPLE, placed, refuse_unknown

#: How a rank is asked for.
RANKS = ("rank", "ratio", "energy", "tolerance")

_KEYS = (*RANKS, "method", "seed", "residual")


@dataclass(frozen=True)
class Factorize:
    """How a matrix becomes a product of two; see `pyfq.svd_lowrank`.

    Parameters
    ----------
    rank, ratio, energy, tolerance : optional
        Its arguments; one is given. A rank beside one of the others is the rank that it gives: any
        other is refused.
    method, seed
        Its arguments.
    residual : Quantize, optional
        How what the product lacks is quantized, after the factors took the form they are stored in.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.svd_lowrank` refuses the settings.

    Examples
    --------
    >>> Factorize(ratio=0.5).for_shape((1536, 384)).rank
    153
    >>> print(Factorize(32, residual=Quantize(2, "affine")))
    low rank 32 + residual int2 affine per 128
    """

    rank: int | None = None
    ratio: float | None = None
    energy: float | None = None
    tolerance: float | None = None
    method: Method = "exact"
    seed: int = 0
    residual: Quantize | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        asked = self._asked
        if len(asked) > 1:
            raise ValueError(f"one of {', '.join(RANKS)} must be given, not {' and '.join(asked)}")
        if self.rank is not None:
            as_count(self.rank, "rank", 1)
        if self.residual is not None and not isinstance(self.residual, Quantize):
            raise TypeError(f"residual must be a Quantize, not {type(self.residual).__name__}")
        if self.residual is not None and self.residual.bits == BUDGET:
            raise ValueError(f"residual: bits must be a number, not {BUDGET!r}")
        rank = None if asked else 1 if self.rank is not None else None
        svd_lowrank(SAMPLE, rank, **asked, method=self.method, seed=self.seed)

    @property
    def undecided(self) -> bool:
        """Whether only the data tells the rank."""
        return self.rank is None and self.ratio is None

    def for_shape(self, shape: tuple[int, ...]) -> "Factorize":
        """Return the same with its rank, for matrices of a shape, if that is known."""
        if self.rank is None and self.ratio is not None and len(shape) > 1:
            return replace(self, rank=rank_of_ratio(*shape[-2:], self.ratio))
        return self

    def rank_for(self, w: NDArray) -> int:
        """Return the rank of a matrix; of a stack the largest that one of its matrices needs."""
        return max(self.apply(matrix).rank for matrix in matrices(w))

    def apply_to_stack(self, w: NDArray) -> LowRankStack:
        """Factorize each matrix of a stack, all to the rank of this, without the residual."""
        of_rank = replace(self, ratio=None, energy=None, tolerance=None)
        low = [of_rank.apply(matrix) for matrix in matrices(w)]
        u, v = (np.stack([getattr(one, factor) for one in low]) for factor in ("u", "v"))
        stack = w.shape[:-2]
        return LowRankStack(u.reshape(*stack, *u.shape[1:]), v.reshape(*stack, *v.shape[1:]))

    def apply(self, w: NDArray) -> LowRank:
        """Factorize one matrix, without the residual."""
        asked = self._asked
        rank = None if asked else self.rank
        low = svd_lowrank(w, rank, **asked, method=self.method, seed=self.seed)
        if self.rank not in (None, low.rank):
            given = " and ".join(f"{name} {value}" for name, value in asked.items())
            raise ValueError(f"{given} gives rank {low.rank}, not {self.rank}")
        return low

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        ranks = {} if self.rank is None else {"rank": self.rank}
        settings: dict[str, Any] = ranks | self._asked
        if self.method != "exact":
            settings |= {"method": self.method, "seed": self.seed}
        if self.residual is not None:
            settings["residual"] = self.residual.settings()
        return settings

    def __str__(self) -> str:
        """Return the settings in a few words."""
        words = "low rank"
        if self.rank is not None:
            words += f" {self.rank}"
        else:
            words += "".join(f", {name} {value:g}" for name, value in self._asked.items())
        return words if self.residual is None else f"{words} + residual {self.residual}"

    @property
    def _asked(self) -> dict[str, float]:
        """What the rank follows from, but for itself."""
        asked = {"ratio": self.ratio, "energy": self.energy, "tolerance": self.tolerance}
        return {name: value for name, value in asked.items() if value is not None}


def parse_lowrank(table: Any) -> Factorize:
    """Return what the table of the key `lowrank` says."""
    refuse_unknown(table, _KEYS)
    settings = dict(table)
    if "residual" in settings:
        with placed("residual"):
            settings["residual"] = parse_quantize(settings["residual"])
    return Factorize(**settings)
