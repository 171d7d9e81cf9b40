"""One option of each class, within a capacity, at the least loss: exactly.

The multiple-choice knapsack problem. Everything is in integers, so that nothing is rounded.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class _Option(NamedTuple):
    """An option that costs less than any other of its class that loses no more."""

    cost: int
    loss: int
    place: int


class _Step(NamedTuple):
    """From one corner of the convex hull of a class to the next."""

    gain: Fraction  # loss saved per cost
    owner: int  # the class
    cost: int
    saved: int


def choose(
    costs: Sequence[Sequence[int]], losses: Sequence[Sequence[int]], capacity: int
) -> list[int]:
    r"""Return the option of each class with the least sum of losses.

    .. math:: \min \sum_j l_{j x_j} \quad \text{subject to} \quad \sum_j c_{j x_j} \le C

    Classes are taken one after the other, and the sums that they reach so far are kept, but for
    those that another beats in cost and loss, and those that cannot lead to the least loss: what
    the classes to come add is at least the value of their linear relaxation. Its corners are
    options and not fractions of them, so the sums that it reaches are an upper bound.

    Of equal losses the least cost is taken; what is then still equal is decided by the order of the
    classes, of whose last the cheapest option is taken.

    Parameters
    ----------
    costs, losses : sequences of sequences of int
        A number for each option of each class. Costs are at least 0, and their sums fit int64.
    capacity : int
        C, at least the sum of the least costs.

    Returns
    -------
    list of int
        The place of the option, for each class.

    References
    ----------
    Nemhauser & Ullmann 1969, Discrete dynamic programming and capital allocation (undominated
    sums); Sinha & Zoltners 1979, The multiple-choice knapsack problem (the relaxation).

    Examples
    --------
    >>> choose([[1, 2], [1, 4]], [[9, 5], [9, 1]], 5)
    [0, 1]
    """
    classes = [_undominated(*pair) for pair in zip(costs, losses, strict=True)]
    steps = [step for j, options in enumerate(classes) for step in _steps(options, j)]
    steps.sort(key=lambda step: (-step.gain, step.owner))
    cost, loss = np.zeros(1, np.int64), np.zeros(1, object)
    reached: list[int] = []
    trail = []
    for j, options in enumerate(classes):
        option, parent = np.indices((len(options), cost.size)).reshape(2, -1)
        cost = cost[parent] + np.array([each.cost for each in options], np.int64)[option]
        loss = loss[parent] + np.array([each.loss for each in options], object)[option]
        to_come = classes[j + 1 :]
        fits = np.flatnonzero(cost <= capacity - sum(each[0].cost for each in to_come))
        least, most = _rest(to_come, [s for s in steps if s.owner > j], capacity - cost[fits])
        reached.append(min(loss[fits] + most))
        hopeful = fits[loss[fits] + least <= min(reached)]
        kept = hopeful[_best(cost[hopeful], loss[hopeful])]
        cost, loss = cost[kept], loss[kept]
        trail.append((option[kept], parent[kept]))
    return _places(classes, trail)


def _undominated(costs: Sequence[int], losses: Sequence[int]) -> list[_Option]:
    """Return the options worth a choice, by rising cost and falling loss."""
    found: list[_Option] = []
    for option in sorted(map(_Option, costs, losses, range(len(costs)))):
        if not found or option.loss < found[-1].loss:
            found.append(option)
    return found


def _steps(options: list[_Option], owner: int) -> list[_Step]:
    """Return the edges of the lower convex hull of the options of a class."""
    corners: list[_Option] = []
    for option in options:
        while len(corners) > 1 and _gain(corners[-2], corners[-1]) <= _gain(corners[-1], option):
            corners.pop()
        corners.append(option)
    return [
        _Step(_gain(a, b), owner, b.cost - a.cost, a.loss - b.loss) for a, b in pairwise(corners)
    ]


def _gain(a: _Option, b: _Option) -> Fraction:
    return Fraction(a.loss - b.loss, b.cost - a.cost)


def _rest(
    classes: list[list[_Option]], steps: list[_Step], capacity: NDArray[np.int64]
) -> tuple[NDArray, NDArray]:
    """Return the least that classes can lose within each capacity, and what one choice loses.

    The first is that of the linear relaxation, rounded up. `steps` are those of the classes, by
    falling gain; each capacity holds at least the cheapest options.
    """
    cost = np.cumsum(
        [sum(options[0].cost for options in classes), *(step.cost for step in steps)],
        dtype=np.int64,
    )
    loss = np.cumsum(
        np.array(
            [sum(options[0].loss for options in classes), *(-step.saved for step in steps)], object
        )
    )
    at = np.searchsorted(cost, capacity, "right") - 1
    most = loss[at]
    least = most.copy()
    part = np.flatnonzero(at < len(steps))  # where some of the next step would fit
    each, left = at[part], (capacity - cost[at])[part]
    saved = np.array([step.saved for step in steps], object)
    least[part] -= saved[each] * left // np.diff(cost)[each]
    return least, most


def _best(cost: NDArray[np.int64], loss: NDArray) -> NDArray[np.int64]:
    """Return the places of the sums that no other beats; of equal ones the first."""
    by_cost = np.argsort(cost, kind="stable")
    least = np.minimum.accumulate(loss[by_cost])
    gains = np.append(True, loss[by_cost][1:] < least[:-1])
    found = by_cost[gains]
    last_of_cost = np.append(cost[found][1:] > cost[found][:-1], True)
    return found[last_of_cost]


def _places(
    classes: list[list[_Option]], trail: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> list[int]:
    """Walk back from the last of the kept sums, which loses least."""
    places, at = [], -1
    for options, (option, parent) in zip(classes[::-1], trail[::-1], strict=True):
        places.append(options[option[at]].place)
        at = parent[at]
    return places[::-1]
