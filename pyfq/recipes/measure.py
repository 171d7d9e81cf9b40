"""What only the data of a tensor tells: its errors at the widths of a budget, its rank."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pyfq.arrays.allocate import Trial
from pyfq.arrays.distortion import distortion
from pyfq.exchange.floats import widen
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import TensorPlan, declare, reals
from pyfq.recipes.declare import naming, plan_tensor
from pyfq.recipes.make import by_rows, make, prune
from pyfq.recipes.recipe import Budget


@dataclass(frozen=True)
class Finding:
    """What the first pass found of a tensor.

    Attributes
    ----------
    rank : int or None
        The rank that an energy or a tolerance gives, if its rule asks for one.
    trials : tuple of Trial
        Bits, bytes of all parts, and error at each width, if its rule asks for bits of a budget.
    """

    rank: int | None = None
    trials: tuple[Trial, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"rank": self.rank, "trials": [list(trial) for trial in self.trials]}


def read_finding(settings: Mapping[str, Any]) -> Finding:
    """Return the finding that `Finding.settings` wrote."""
    return Finding(settings["rank"], tuple(Trial(*trial) for trial in settings["trials"]))


def measure(
    name: str, word: str, array: NDArray, rule: Rule, budget: Budget | None = None
) -> Finding:
    """Return the rank that a rule gives a tensor, or its errors at the widths of a budget.

    Errors are those of what is left after pruning and quantization, as `Budget` says, times the
    sensitivity of the tensor. At a width at which it would not get smaller it is copied: it has the
    bytes it had, and no error.

    Raises
    ------
    ValueError
        If the tensor cannot be compressed as asked; the message names it and the reason.
    """
    with naming(name):
        if not rule.undecided:
            raise ValueError("its rule leaves nothing open")
        if rule.asks_for_bits and budget is None:
            raise ValueError("budget must be given where bits are those of a budget")
        rule, shape = rule.for_tensor(name, array.shape), array.shape
        w = by_rows(widen(array, word), rule)
        del array
        if not rule.asks_for_bits:
            if w.ndim < 2:
                declare(name, word, shape, rule)  # refuses it
            return Finding(rule.lowrank.rank_for(w))
        trials = []
        for bits in budget.widths_for(rule):
            tensor = plan_tensor(name, word, shape, rule.with_bits(bits))
            error = 0.0
            if tensor.rule is not None:  # else it would be copied
                error = budget.sensitivity_of(name) * _error(w, tensor, budget.error)
            trials.append(Trial(bits, tensor.nbytes_after, error))
        return Finding(trials=tuple(trials))


def _error(w: NDArray, tensor: TensorPlan, kind: str) -> float:
    # Pruning again for every width takes less memory than keeping what it left.
    v = w if tensor.rule.prune is None else prune(w, tensor)
    form = make(v, tensor)
    v = reals(tensor, form, out=None if v is w else v)
    found = distortion(w, v)
    return 10 ** (-found.sqnr / 10) if kind == "relative" else found.mse * w.size
