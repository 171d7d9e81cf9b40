"""One option of each class, within a capacity, at the least loss: exactly.

The multiple-choice knapsack problem. Everything is in integers, so that nothing is rounded.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby, pairwise
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

    owner: int  # the class
    cost: int
    saved: int  # loss


def choose(
    costs: Sequence[Sequence[int]], losses: Sequence[Sequence[int]], capacity: int
) -> list[int]:
    r"""Return the option of each class with the least sum of losses.

    .. math:: \min \sum_j l_{j x_j} \quad \text{subject to} \quad \sum_j c_{j x_j} \le C

    Classes are taken one after the other, and the sums that they reach so far are kept, but for
    those that another beats in cost and loss, and those that cannot lead to the least loss: what
    the classes to come add is at least the value of their linear relaxation. Its corners are
    options and not fractions of them, so the sums that it reaches are an upper bound.

    Where equal classes stand together, it only matters how many of them take each option. So they
    are taken in parts, within which all take the same: see `_parts`. The time grows with the parts
    and the sums that are kept. These are few unless many classes are equal and do not stand
    together.

    Among equal losses the least cost is taken. If that is equal too, the order of the classes
    decides: the last class takes its cheapest option.

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
    to_come = _Rest(classes)
    cost, loss = np.zeros(1, np.int64), np.zeros(1, object)
    reached = math.inf
    trail = []
    for first, count in _runs(classes):
        options = classes[first]
        costs_of, losses_of = (
            np.array([getattr(each, name) for each in options], kind)
            for name, kind in (("cost", np.int64), ("loss", object))
        )
        # How many take the cheapest option, the next and so on, as the digits of one number.
        powers = [(count + 1) ** k for k in range(len(options) + 1)]
        digits = np.array(powers[-2::-1], np.int64 if powers[-1] < 1 << 63 else object)
        taken = np.zeros(cost.size, digits.dtype)
        for size in _parts(count, len(options)):
            option, parent = np.indices((len(options), cost.size)).reshape(2, -1)
            cost = cost[parent] + (size * costs_of)[option]
            loss = loss[parent] + (size * losses_of)[option]
            taken = taken[parent] + (size * digits)[option]
            for j in range(first, first + size):
                to_come.remove(j)
            first += size
            kept = np.flatnonzero(cost <= capacity - to_come.cost)
            kept = kept[_best(cost[kept], loss[kept], taken[kept])]
            least, most = to_come.losses(capacity - cost[kept])
            reached = min(reached, (loss[kept] + most).min())
            kept = kept[loss[kept] + least <= reached]
            cost, loss, taken = cost[kept], loss[kept], taken[kept]
            small = np.min_scalar_type(len(options))
            trail.append((size, option[kept].astype(small), parent[kept].astype(np.int32)))
    return _places(classes, trail)


def _runs(classes: list[list[_Option]]) -> Iterator[tuple[int, int]]:
    """Yield the first of equal classes that stand together, and their number."""
    first = 0
    for _, run in groupby(classes, lambda options: [option[:2] for option in options]):
        count = sum(1 for _ in run)
        yield first, count
        first += count


def _parts(count: int, options: int) -> Iterator[int]:
    """Yield the sizes of parts of equal classes, such that each part may take one option only.

    However many classes take each option, the largest of these numbers is at least their mean,
    rounded up. A part of that size fits into it, and so does the next one in what is left.
    """
    while count:
        size = -(-count // options)
        yield size
        count -= size


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
    return [_Step(owner, b.cost - a.cost, a.loss - b.loss) for a, b in pairwise(corners)]


def _gain(a: _Option, b: _Option) -> Fraction:
    return Fraction(a.loss - b.loss, b.cost - a.cost)


def _sorted(steps: list[_Step]) -> list[_Step]:
    """Return steps by falling loss saved per cost; of equal ones that of the first class leads."""
    most = max((step.cost for step in steps), default=0)
    # Two fractions of such denominators that differ do so by more than 1 over `most` squared: with
    # so many binary places their whole parts are in the same order, and quicker to compare.
    places = 2 * most.bit_length()
    return sorted(steps, key=lambda step: (-((step.saved << places) // step.cost), step.owner))


class _Rest:
    """What classes add to a choice that is made of the others: bounds of their loss.

    The steps of all classes stand in one row, by falling gain. Sums of their beginnings are those
    of the tree of Fenwick, so that a class is taken out, and the place of a capacity is found, in
    the logarithm of their number. A step that was taken out has cost and loss 0.

    Parameters
    ----------
    classes : list of list of _Option
        The undominated options of all classes.

    Attributes
    ----------
    cost, loss : int
        The sums of the cheapest options.

    References
    ----------
    Fenwick 1994, A new data structure for cumulative frequency tables.
    """

    def __init__(self, classes: list[list[_Option]]) -> None:
        steps = _sorted([step for j, each in enumerate(classes) for step in _steps(each, j)])
        self._cheapest = [options[0] for options in classes]
        self.cost = sum(option.cost for option in self._cheapest)
        self.loss = sum(option.loss for option in self._cheapest)
        self._costs = np.array([step.cost for step in steps], np.int64)
        self._saved = np.array([step.saved for step in steps], object)
        self._cost_tree = _tree([step.cost for step in steps])
        self._saved_tree = _tree([step.saved for step in steps])
        self._places: list[list[int]] = [[] for _ in classes]
        for place, step in enumerate(steps):
            self._places[step.owner].append(place)

    def remove(self, owner: int) -> None:
        """Take a class out."""
        self.cost -= self._cheapest[owner].cost
        self.loss -= self._cheapest[owner].loss
        for place in self._places[owner]:
            _subtract(self._cost_tree, place, int(self._costs[place]))
            _subtract(self._saved_tree, place, self._saved[place])
            self._costs[place] = self._saved[place] = 0

    def losses(self, capacity: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
        """Return the least that classes can lose within each capacity, and what one choice loses.

        The first is that of the linear relaxation, rounded up. Each capacity holds at least the
        cheapest options.
        """
        first, cost, saved = self._full(int(capacity.min()))
        last, _, _ = self._full(int(capacity.max()))
        costs = np.cumsum(np.concatenate([[cost], self._costs[first:last]]), dtype=np.int64)
        loss = self.loss - np.cumsum(np.append(np.array([saved], object), self._saved[first:last]))
        at = np.searchsorted(costs, capacity, "right") - 1
        most = loss[at]
        least = most.copy()
        part = np.flatnonzero(first + at < len(self._costs))  # where some of the next step fits
        each, left = (first + at)[part], (capacity - costs[at])[part]
        least[part] -= self._saved[each] * left // self._costs[each]
        return least, most

    def _full(self, capacity: int) -> tuple[int, int, int]:
        """Return how many leading steps fit, the cost with them, and the loss that they save."""
        at, cost, saved = 0, self.cost, 0
        half = 1 << (len(self._cost_tree) - 1).bit_length()
        while half := half >> 1:
            then = at + half
            if then < len(self._cost_tree) and cost + self._cost_tree[then] <= capacity:
                at, cost, saved = then, cost + self._cost_tree[then], saved + self._saved_tree[then]
        return at, cost, saved


def _tree(numbers: list[int]) -> list[int]:
    """Return the tree of Fenwick: entry i sums up as many as its lowest bit says, up to the ith."""
    tree = [0, *numbers]
    for i in range(1, len(tree)):
        above = i + (i & -i)
        if above < len(tree):
            tree[above] += tree[i]
    return tree


def _subtract(tree: list[int], place: int, number: int) -> None:
    """Take a number off the one at a place, counted from 0."""
    i = place + 1
    while i < len(tree):
        tree[i] -= number
        i += i & -i


def _best(cost: NDArray[np.int64], loss: NDArray, taken: NDArray) -> NDArray[np.int64]:
    """Return the places of the sums that no other beats; of equal ones that which took most."""
    by_cost = np.lexsort((-taken, cost))
    least = np.minimum.accumulate(loss[by_cost])
    gains = np.append(True, loss[by_cost][1:] < least[:-1])
    found = by_cost[gains]
    last_of_cost = np.append(cost[found][1:] > cost[found][:-1], True)
    return found[last_of_cost]


def _places(
    classes: list[list[_Option]], trail: list[tuple[int, NDArray[np.integer], NDArray[np.int32]]]
) -> list[int]:
    """Walk back from the last of the kept sums, which loses least.

    Where equal classes stand together, the last ones take the cheapest options.
    """
    taken, at = [], -1
    for size, option, parent in trail[::-1]:
        taken += [int(option[at])] * size
        at = parent[at]
    taken.reverse()
    for first, count in _runs(classes):
        taken[first : first + count] = sorted(taken[first : first + count], reverse=True)
    return [options[each].place for options, each in zip(classes, taken, strict=True)]
