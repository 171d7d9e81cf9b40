"""How many bits each tensor of a model gets, for the least error within a budget."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from .._core.check import (
    FLOATS,
    as_choice,
    as_count,
    as_input,
    as_number,
    as_sequence,
    refuse_not_finite,
    shown,
)
from .._core.grid import Granularity, PerGroup
from .._core.table import html_table, text_table
from .._core.text import bytes_text, count_text, object_text
from .distortion import distortion
from .knapsack import choose
from .quantize import Quantized, Scheme, quantize

Sensitivity = (
    Literal["relative", "absolute"] | Mapping[str, float] | Callable[[str, NDArray, NDArray], float]
)
Quantizer = Callable[[NDArray, int], Quantized]

CHOICES = (2, 3, 4, 6, 8, 16)


@dataclass(frozen=True, eq=False)
class Allocation:
    """The width of each tensor that `allocate_bits` chose, and what it was chosen from.

    ``str()`` gives a table.

    Attributes
    ----------
    bits : dict of str to int
        Bits of a code, for each tensor.
    bits_per_weight : float
        Bits of everything held, scales and zero points counted, per weight of all tensors.
    total_error : float
        Sum of the errors at these widths.
    errors : dict of str to dict of int to float
        The error of each tensor at each width that was tried.
    nbytes : dict of str to dict of int to int
        The bytes of codes, scales and zero points of each tensor at each of these widths.
    """

    bits: dict[str, int]
    bits_per_weight: float
    total_error: float
    errors: dict[str, dict[int, float]]
    nbytes: dict[str, dict[int, int]]

    def __repr__(self) -> str:
        """Return bits, bytes and error of all tensors together."""
        return object_text(
            self,
            count_text(len(self.bits), "tensor"),
            f"{self.bits_per_weight:.4g} bits",
            f"error {self.total_error:.4g}",
            bytes_text(self._all_bytes(), 2),
        )

    def __str__(self) -> str:
        """Return a table."""
        return text_table(self._rows())

    def _repr_html_(self) -> str:
        """Return a table."""
        return html_table(repr(self), self._rows())

    def _all_bytes(self) -> int:
        return sum(self.nbytes[name][bits] for name, bits in self.bits.items())

    def _rows(self) -> list[tuple[str, ...]]:
        """Return the rows of a table."""
        rows = [("tensor", "bits", "bytes", "error")]
        for name, bits in self.bits.items():
            nbytes, error = self.nbytes[name][bits], self.errors[name][bits]
            rows.append((name, str(bits), str(nbytes), f"{error:.4g}"))
        total = str(self._all_bytes())
        rows.append(("all", f"{self.bits_per_weight:.4g}", total, f"{self.total_error:.4g}"))
        return rows


class Trial(NamedTuple):
    """A tensor at one width."""

    bits: int
    nbytes: int
    error: float


def allocate_bits(
    tensors: Mapping[str, NDArray],
    budget_bits_per_weight: float,
    choices: Sequence[int] = CHOICES,
    *,
    sensitivity: Sensitivity = "relative",
    pinned: Mapping[str, int] | None = None,
    scheme: Scheme | None = None,
    granularity: Granularity | None = None,
    quantizer: Quantizer | None = None,
) -> Allocation:
    r"""Choose the bits of each tensor: the least sum of errors within a budget.

    .. math::
        \min_b \sum_t e_t(b_t) \quad \text{subject to} \quad
        \frac{8 \sum_t \mathrm{nbytes}_t(b_t)}{\sum_t \mathrm{size}_t} \le B, \qquad
        e_t(b) = h_t \sum (w_t - \hat w_t(b))^2

    By default :math:`h_t = 1 / \sum w_t^2`: the error is noise over signal in what the tensor puts
    out for white inputs, and does not depend on its size or unit.

    Every tensor is quantized at every width, and its error measured. The choice is the optimum of
    these errors, found in exact arithmetic; see `pyfq.arrays.knapsack.choose`. Of equal errors it
    has the fewest bytes, and it does not depend on the order of `tensors`. Every width is one of
    `quantize`: 16 bits are codes of 16 bits with scales.

    Parameters
    ----------
    tensors : dict of str to array, float32 or float64
        What is to be quantized, of any shapes, not empty; at least one.
    budget_bits_per_weight : float
        B: bits of codes, scales and zero points, over the weights of all tensors.
    choices : sequence of int
        Widths to choose from, each once, 1 ... 16.
    sensitivity : "relative", "absolute", dict of str to float, or callable
        ``"relative"``: :math:`h_t = 1 / \sum w_t^2`; ``"absolute"``: 1; or the :math:`h_t` of each
        tensor, at least 0. Or what gives the error itself, finite and at least 0: called as
        ``sensitivity(name, w, w_hat)``.
    pinned : dict of str to int, optional
        Widths of tensors that have no choice, 1 ... 16. They count.
    scheme : "symmetric", "affine" or "minmax", optional
        As in `quantize`; symmetric if not given.
    granularity : PerTensor, PerRow or PerGroup, optional
        As in `quantize`; ``PerGroup(128)`` if not given.
    quantizer : callable, optional
        What quantizes in place of ``quantize(w, bits, scheme=scheme, granularity=granularity)``:
        called as ``quantizer(w, bits)``, it returns something with `nbytes` and `dequantize`.

    Returns
    -------
    Allocation
        Widths, the bits per weight reached, and all errors.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the budget is too small: the message says which would do. If an argument is out of range,
        names an unknown tensor or none, or does not go with another; if a tensor is empty, is not
        C-contiguous, holds NaN or Inf, or has an error that is not finite.

    References
    ----------
    Shoham & Gersho 1988, Efficient bit allocation for an arbitrary set of quantizers; Dong et al.
    2019, HAWQ-V2, arXiv 1911.03852 (the trace of the Hessian over the weights as :math:`h_t`).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> w = {"table": rng.standard_normal((960, 128)), "fc": rng.standard_normal((64, 128))}
    >>> w = {name: x.astype(np.float32) for name, x in w.items()}
    >>> found = allocate_bits(w, 4.5, (3, 4, 6, 8))
    >>> found.bits, found.bits_per_weight
    ({'table': 4, 'fc': 8}, 4.5)
    >>> allocate_bits(w, 4.5, (3, 4, 6, 8), sensitivity={"table": 1, "fc": 0}).bits
    {'table': 4, 'fc': 3}
    """
    _refuse_tensors(tensors)
    budget = as_number(budget_bits_per_weight, "budget_bits_per_weight", 0, 1e6)
    widths = _as_widths(choices)
    pins = _of_tensors({} if pinned is None else pinned, "pinned", tensors)
    pins = {name: as_count(bits, f"pinned[{shown(name)}]", 1, 16) for name, bits in pins.items()}
    measure = _as_measure(sensitivity, tensors)
    code = _as_quantizer(quantizer, scheme, granularity)
    trials = {
        name: [
            _try(name, w, bits, code, measure)
            for bits in ((pins[name],) if name in pins else widths)
        ]
        for name, w in tensors.items()
    }
    sizes = {name: w.size for name, w in tensors.items()}
    chosen = choose_trials(sizes, trials, budget, "budget_bits_per_weight")
    return Allocation(
        {name: trial.bits for name, trial in chosen.items()},
        8 * sum(trial.nbytes for trial in chosen.values()) / sum(sizes.values()),
        math.fsum(trial.error for trial in chosen.values()),
        {name: {trial.bits: trial.error for trial in row} for name, row in trials.items()},
        {name: {trial.bits: trial.nbytes for trial in row} for name, row in trials.items()},
    )


def choose_trials(
    sizes: Mapping[str, int], trials: Mapping[str, Sequence[Trial]], budget: float, what: str
) -> dict[str, Trial]:
    """Return the trial of each tensor with the least sum of errors, exactly.

    Parameters
    ----------
    sizes : mapping of str to int
        Weights of each tensor.
    trials : mapping of str to sequence of Trial
        What each can be; one, for a tensor that has no choice.
    budget : float
        Bits of all, over the weights of all.
    what : str
        What the budget is called in a message.

    Raises
    ------
    ValueError
        If the budget is too small: the message says which would do.
    """
    least = {name: min(trial.nbytes for trial in row) for name, row in trials.items()}
    refuse_small(sizes, least, budget, what)
    capacity = _capacity(budget, sum(sizes.values()))
    # Large tensors come first: once they are decided, the relaxation of the rest is close to it.
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    # Errors are integers in units of the finest last place among them.
    ratios = [[trial.error.as_integer_ratio() for trial in trials[name]] for name in names]
    units = max(units for row in ratios for _, units in row)  # all are powers of two
    places = choose(
        [[trial.nbytes for trial in trials[name]] for name in names],
        [[error * (units // own) for error, own in row] for row in ratios],
        capacity,
    )
    found = {name: trials[name][place] for name, place in zip(names, places, strict=True)}
    return {name: found[name] for name in sizes}


def refuse_small(
    sizes: Mapping[str, int], least: Mapping[str, int], budget: float, what: str
) -> None:
    """Raise ValueError if the least bytes of tensors are more than a budget has."""
    size, needed = sum(sizes.values()), sum(least.values())
    if needed > _capacity(budget, size):
        raise ValueError(
            f"{what} must be at least {8 * needed / size} for these tensors and widths, scales "
            f"counted, not {budget}"
        )


def _capacity(budget: float, size: int) -> int:
    """Return the most bytes whose bits per weight, as a float, are within the budget."""
    nbytes = int(Fraction(budget) * size / 8)
    while 8 * (nbytes + 1) / size <= budget:
        nbytes += 1
    return nbytes


def _try(
    name: str,
    w: NDArray,
    bits: int,
    quantizer: Quantizer,
    measure: Callable[[str, NDArray, NDArray], float],
) -> Trial:
    coded = quantizer(w, bits)
    if not (hasattr(coded, "nbytes") and hasattr(coded, "dequantize")):
        raise TypeError(
            "quantizer must return something with nbytes and dequantize, such as Quantized, not "
            f"{type(coded).__name__}"
        )
    error = _as_error(
        measure(name, w, coded.dequantize()), f"error of {shown(name)} at {bits} bits"
    )
    return Trial(bits, as_count(coded.nbytes, "nbytes of what quantizer returns", 0), error)


def _as_error(x: Any, what: str) -> float:
    return as_number(x, what, 0, math.inf)


def _as_measure(
    sensitivity: Any, tensors: Mapping[str, NDArray]
) -> Callable[[str, NDArray, NDArray], float]:
    if callable(sensitivity):
        return sensitivity
    if isinstance(sensitivity, str):
        relative = as_choice(sensitivity, "sensitivity", ("relative", "absolute")) == 0
        return _relative_error if relative else _squared_error
    weights = {}
    given = _of_tensors(sensitivity, "sensitivity", tensors)
    for name in tensors:
        if name not in given:
            raise ValueError(f"sensitivity must have a number for {shown(name)}")
        weights[name] = _as_error(given[name], f"sensitivity[{shown(name)}]")
    return lambda name, w, w_hat: weights[name] * _squared_error(name, w, w_hat)


def _squared_error(name: str, w: NDArray, w_hat: NDArray) -> float:
    return distortion(w, w_hat).mse * w.size


def _relative_error(name: str, w: NDArray, w_hat: NDArray) -> float:
    """Return noise over signal, which does not overflow where squares do."""
    return 10 ** (-distortion(w, w_hat).sqnr / 10)


def _as_quantizer(
    quantizer: Any, scheme: Scheme | None, granularity: Granularity | None
) -> Quantizer:
    if quantizer is None:
        kept = "symmetric" if scheme is None else scheme
        shared = PerGroup(128) if granularity is None else granularity
        return lambda w, bits: quantize(w, bits, scheme=kept, granularity=shared)
    if not callable(quantizer):
        raise TypeError(f"quantizer must be callable, not {type(quantizer).__name__}")
    for name, given in (("scheme", scheme), ("granularity", granularity)):
        if given is not None:
            raise ValueError(f"{name} is of quantize: quantizer must not be given with it")
    return quantizer


def _as_widths(choices: Any) -> tuple[int, ...]:
    choices = as_sequence(choices, "choices", "widths")
    widths = tuple(as_count(bits, f"choices[{i}]", 1, 16) for i, bits in enumerate(choices))
    if not widths or len(set(widths)) < len(widths):
        raise ValueError(f"choices must be widths, each once, not {shown(choices)}")
    return widths


def _of_tensors(given: Any, what: str, tensors: Mapping[str, NDArray]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a mapping from names, not {type(given).__name__}")
    for name in given:
        if name not in tensors:
            raise ValueError(f"{what} names {shown(name)}, which is not one of tensors")
    return given


def _refuse_tensors(tensors: Any) -> None:
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors must be a mapping from names, not {type(tensors).__name__}")
    if not tensors:
        raise ValueError("tensors must hold at least one array")
    for name, w in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"names of tensors must be str, not {type(name).__name__}")
        what = f"tensors[{shown(name)}]"
        if not as_input(w, what, FLOATS).size:
            raise ValueError(f"{what} must not be empty, but its shape is {w.shape}")
        refuse_not_finite({what: w})
