"""Widths within a budget: against every other choice, and what is refused."""

import math
import time
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, allocate_bits
from pyfq.arrays.knapsack import _steps, _undominated, choose


def layers(count, dtype=np.float32, seed=0):
    """Return tensors of several shapes and magnitudes."""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(1, 40, (count, 2))
    return {
        f"layers.{i}": (rng.standard_normal(shape) * 10.0 ** rng.uniform(-2, 1)).astype(dtype)
        for i, shape in enumerate(shapes)
    }


def best_of_all(costs, losses, fits):
    """Return the least loss, and the least cost of it, over all choices."""
    return min(
        (sum(row[i] for row, i in zip(losses, places, strict=True)), cost)
        for places in product(*(range(len(row)) for row in costs))
        if fits(cost := sum(row[i] for row, i in zip(costs, places, strict=True)))
    )


def bits_per_weight(found, tensors):
    held = sum(found.nbytes[name][bits] for name, bits in found.bits.items())
    return 8 * held / sum(w.size for w in tensors.values())


small = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5)


@settings(max_examples=300)
@given(classes=st.lists(small, min_size=1, max_size=5), room=st.integers(0, 40))
def test_choose_finds_the_best_of_all_choices(classes, room):
    costs = [[c for c, _ in row] for row in classes]
    losses = [[gap for _, gap in row] for row in classes]
    capacity = sum(map(min, costs)) + room
    places = choose(costs, losses, capacity)
    found = tuple(
        sum(row[i] for row, i in zip(rows, places, strict=True)) for rows in (losses, costs)
    )
    assert found == best_of_all(costs, losses, capacity.__ge__)


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.7, 1.0])
def test_choose_finds_what_an_integer_program_finds(fraction):
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    sizes = rng.integers(100, 9000, 100)
    widths = np.array([2, 3, 4, 6, 8, 16])
    costs = sizes[:, None] * widths
    scatter = rng.lognormal(0, 1, (100, 1)) * rng.lognormal(0, 0.1, costs.shape)
    losses = np.rint(1e9 * sizes[:, None] * 4.0**-widths * scatter).astype(np.int64)
    least, most = costs[:, 0].sum(), costs[:, -1].sum()
    capacity = int(least + fraction * (most - least))
    places = choose(costs.tolist(), losses.tolist(), capacity)
    rows = np.arange(100)
    assert costs[rows, places].sum() <= capacity
    one_each = optimize.LinearConstraint(np.kron(np.eye(100), np.ones(6)), 1, 1)
    found = optimize.milp(
        losses.ravel(),
        integrality=np.ones(losses.size),
        bounds=optimize.Bounds(0, 1),
        constraints=[one_each, optimize.LinearConstraint(costs.ravel(), -np.inf, capacity)],
        options={"mip_rel_gap": 0},
    )
    assert losses[rows, places].sum() == pytest.approx(found.fun, rel=1e-9)


def test_choose_is_exact_where_floats_are_not():
    big = 2**200
    assert choose([[1, 2], [1, 2]], [[big + 1, big - 1], [big + 2, big - 1]], 3) == [0, 1]


# The algorithm as it is written down: all that is to come is summed up anew for each class


class Step(NamedTuple):
    gain: Fraction
    owner: int
    cost: int
    saved: int


def choose_by_definition(costs, losses, capacity):
    """Return what `choose` returns, in time that grows with the square of the classes."""
    classes = [_undominated(*pair) for pair in zip(costs, losses, strict=True)]
    steps = [
        Step(Fraction(step.saved, step.cost), *step)
        for j, options in enumerate(classes)
        for step in _steps(options, j)
    ]
    steps.sort(key=lambda step: (-step.gain, step.owner))
    cost, loss = np.zeros(1, np.int64), np.zeros(1, object)
    reached, trail = [], []
    for j, options in enumerate(classes):
        option, parent = np.indices((len(options), cost.size)).reshape(2, -1)
        cost = cost[parent] + np.array([each.cost for each in options], np.int64)[option]
        loss = loss[parent] + np.array([each.loss for each in options], object)[option]
        to_come = classes[j + 1 :]
        fits = np.flatnonzero(cost <= capacity - sum(each[0].cost for each in to_come))
        least, most = rest(to_come, [s for s in steps if s.owner > j], capacity - cost[fits])
        reached.append(min(loss[fits] + most))
        hopeful = fits[loss[fits] + least <= min(reached)]
        kept = hopeful[unbeaten(cost[hopeful], loss[hopeful])]
        cost, loss = cost[kept], loss[kept]
        trail.append((option[kept], parent[kept]))
    places, at = [], -1
    for options, (option, parent) in zip(classes[::-1], trail[::-1], strict=True):
        places.append(options[option[at]].place)
        at = parent[at]
    return places[::-1]


def unbeaten(cost, loss):
    """Return the places of the sums that no other beats; of equal ones the first."""
    by_cost = np.argsort(cost, kind="stable")
    least = np.minimum.accumulate(loss[by_cost])
    found = by_cost[np.append(True, loss[by_cost][1:] < least[:-1])]
    return found[np.append(cost[found][1:] > cost[found][:-1], True)]


def rest(classes, steps, capacity):
    """Return the least that classes can lose within each capacity, and what one choice loses."""
    cost = np.cumsum(
        [sum(options[0].cost for options in classes), *(step.cost for step in steps)],
        dtype=np.int64,
    )
    loss = [sum(options[0].loss for options in classes), *(-step.saved for step in steps)]
    loss = np.cumsum(np.array(loss, object))
    at = np.searchsorted(cost, capacity, "right") - 1
    most = loss[at]
    least = most.copy()
    part = np.flatnonzero(at < len(steps))
    each, left = at[part], (capacity - cost[at])[part]
    saved = np.array([step.saved for step in steps], object)
    least[part] -= saved[each] * left // np.diff(cost)[each]
    return least, most


def rows_of(draw, count, most_cost, most_loss):
    row = st.lists(
        st.tuples(st.integers(0, most_cost), st.integers(0, most_loss)), min_size=1, max_size=6
    )
    kinds = draw(st.lists(row, min_size=1, max_size=count))
    # Classes that are equal, together and apart: what is taken of equal losses shows.
    together = draw(st.integers(1, 9))
    kinds = [kinds[draw(st.integers(0, len(kinds) - 1))] for _ in range(-(-count // together))]
    return [kind for kind in kinds for _ in range(together)][:count]


@settings(max_examples=300)
@given(data=st.data())
def test_choose_chooses_what_the_definition_chooses(data):
    """The very places, so that files of a budget have the same bits, whatever is equal."""
    count = data.draw(st.integers(1, 24))
    most_cost = data.draw(st.sampled_from([2, 9, 10**6]))
    most_loss = data.draw(st.sampled_from([2, 9, 10**25]))
    rows = rows_of(data.draw, count, most_cost, most_loss)
    costs, losses = ([[pair[i] for pair in row] for row in rows] for i in (0, 1))
    room = data.draw(st.fractions(0, 1)) * (sum(map(max, costs)) - sum(map(min, costs)))
    capacity = sum(map(min, costs)) + int(room)
    assert choose(costs, losses, capacity) == choose_by_definition(costs, losses, capacity)


def many(count):
    """Return costs and losses of as many small tensors, at three widths."""
    rng = np.random.default_rng(0)
    costs = np.array([52, 60, 84]) + 4 * rng.integers(0, 2, (count, 3))
    losses = np.array([100, 45, 8]) * rng.integers(10**9, 10**10, (count, 3))
    return costs.tolist(), losses.tolist()


def test_choose_chooses_what_the_definition_chooses_of_many():
    costs, losses = many(300)
    for capacity in 300 * 56, 300 * 66, 300 * 70 + 1, 300 * 84:
        assert choose(costs, losses, capacity) == choose_by_definition(costs, losses, capacity)


@pytest.mark.parametrize(
    ("costs", "losses"),
    [
        ([1, 2], [9, 5]),
        ([52, 60, 84], [100, 45, 8]),
        ([1, 2, 3, 4], [9, 6, 3, 0]),
        # So many options that the numbers of those that take each are no digits of 64 bits.
        ([*range(12)], [2**k for k in range(12)][::-1]),
    ],
)
def test_choose_chooses_what_the_definition_chooses_of_equal_classes(costs, losses):
    count = 60
    for capacity in range(count * costs[0], count * costs[-1], 211):
        arguments = [costs] * count, [losses] * count, capacity
        assert choose(*arguments) == choose_by_definition(*arguments)


def test_choose_of_twenty_thousand_equal_classes():
    """In a second or two; one after the other they would take minutes and gigabytes."""
    count, costs, losses = 20_000, [52, 60, 84], [100, 45, 8]
    places = choose([costs] * count, [losses] * count, 65 * count)
    assert places == sorted(places, reverse=True)
    # The hull of a class has all options as corners: classes stand on two of them, but for one.
    assert sum(costs[i] for i in places) <= 65 * count
    assert places.count(0) <= 1
    assert 24 * places.count(2) >= 5 * count - 24


def test_choose_takes_seconds_for_ten_thousand_classes():
    """Its time grows with their number, not with the square, which would be minutes."""
    costs, losses = many(10_000)
    started = time.process_time()
    places = choose(costs, losses, 10_000 * 66)
    assert time.process_time() - started < 30
    assert 10_000 * 65 < sum(row[i] for row, i in zip(costs, places, strict=True)) <= 10_000 * 66


@settings(max_examples=40)
@given(
    count=st.integers(1, 5),
    choices=st.lists(st.integers(2, 16), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 99),
    spare=st.floats(0, 9),
    granularity=st.sampled_from([None, PerTensor(), PerRow(), PerGroup(7)]),
    scheme=st.sampled_from([None, "affine", "minmax"]),
    data=st.data(),
)
def test_allocate_bits_finds_the_best_of_all_choices(
    count, choices, seed, spare, granularity, scheme, data
):
    tensors = layers(count, data.draw(st.sampled_from([np.float32, np.float64])), seed)
    pinned = data.draw(st.dictionaries(st.sampled_from(sorted(tensors)), st.integers(2, 16)))
    weights = {name: data.draw(st.floats(0, 100)) for name in tensors}
    options = {"scheme": scheme, "granularity": granularity}
    ample = allocate_bits(tensors, 1000, choices, pinned=pinned, sensitivity=weights, **options)
    names = list(tensors)
    costs = [list(ample.nbytes[name].values()) for name in names]
    losses = [[Fraction(e) for e in ample.errors[name].values()] for name in names]
    least = sum(map(min, costs))
    budget = 8 * least / sum(w.size for w in tensors.values()) + spare
    found = allocate_bits(tensors, budget, choices, pinned=pinned, sensitivity=weights, **options)
    assert list(found.bits) == names
    assert found.errors == ample.errors
    assert found.nbytes == ample.nbytes
    assert found.bits_per_weight == bits_per_weight(found, tensors) <= budget
    assert all(found.bits[name] == bits for name, bits in pinned.items())
    assert all(bits in choices for name, bits in found.bits.items() if name not in pinned)
    size = sum(w.size for w in tensors.values())
    want, cost = best_of_all(costs, losses, lambda nbytes: 8 * nbytes / size <= budget)
    got = [found.errors[name][found.bits[name]] for name in names]
    assert sum(map(Fraction, got)) == want
    assert found.total_error == math.fsum(got)
    assert sum(found.nbytes[name][found.bits[name]] for name in names) == cost


def test_allocate_bits_measures_what_quantize_does():
    tensors = layers(3)
    options = {"granularity": PerGroup(16), "scheme": "affine"}
    found = allocate_bits(tensors, 9, (3, 8), sensitivity="absolute", **options)
    relative = allocate_bits(tensors, 9, (3, 8), **options)
    for name, w in tensors.items():
        for bits, error in found.errors[name].items():
            q = pyfq.quantize(w, bits, **options)
            noise = ((w.astype(np.float64) - q.dequantize()) ** 2).sum()
            assert error == pytest.approx(noise, rel=1e-12)
            signal = (w.astype(np.float64) ** 2).sum()
            assert relative.errors[name][bits] == pytest.approx(noise / signal, rel=1e-12)
            assert found.nbytes[name][bits] == relative.nbytes[name][bits] == q.nbytes


def test_allocate_bits_by_relative_error_knows_neither_units_nor_sizes():
    rng = np.random.default_rng(0)
    small = rng.standard_normal((8, 128))
    large = np.tile(small, (50, 1))
    found = allocate_bits({"small": small, "large": 1e-160 * large, "zeros": 0 * small}, 4, (2, 8))
    assert found.errors["large"][2] == pytest.approx(found.errors["small"][2], rel=1e-9)
    assert found.errors["zeros"] == {2: 0.0, 8: 0.0}
    assert found.bits == {"small": 8, "large": 2, "zeros": 2}


def test_allocate_bits_does_not_depend_on_the_order_of_tensors():
    tensors = {name: np.ones((4, 32), np.float32) * (-1) ** np.arange(32) for name in "cabd"}
    tensors = {name: w.astype(np.float32) for name, w in tensors.items()}
    equal = {name: 1.0 for name in tensors}
    error = lambda name, w, v: float(np.abs(v).sum())  # noqa: E731
    for sensitivity in (equal, error):
        found = allocate_bits(tensors, 5, (3, 4, 6), sensitivity=sensitivity)
        turned = dict(reversed(tensors.items()))
        again = allocate_bits(turned, 5, (6, 3, 4), sensitivity=sensitivity)
        assert again.bits == found.bits
        assert list(again.bits) == list(turned)
    assert set(allocate_bits(tensors, 9, (3, 4, 6)).bits.values()) == {3}  # equal errors: fewest


def test_allocate_bits_lowers_the_error_with_the_budget_and_beats_one_width():
    tensors = layers(20, seed=3)
    errors = [allocate_bits(tensors, budget).total_error for budget in (5, 6, 7, 9, 20)]
    assert errors == sorted(errors, reverse=True)
    uniform = allocate_bits(tensors, 20, (4,), sensitivity="absolute")
    budget = uniform.bits_per_weight
    mixed = allocate_bits(tensors, budget, (2, 3, 4, 6, 8), sensitivity="absolute")
    assert mixed.total_error < 0.8 * uniform.total_error


def test_allocate_bits_accepts_the_budget_it_reached_and_the_one_it_names():
    tensors = layers(7, seed=5)
    found = allocate_bits(tensors, 6.1)
    again = allocate_bits(tensors, found.bits_per_weight)
    assert again.bits == found.bits
    with pytest.raises(ValueError, match="budget_bits_per_weight must be at least") as refusal:
        allocate_bits(tensors, 1.5)
    least = float(str(refusal.value).split("at least ")[1].split()[0])
    assert set(allocate_bits(tensors, least).bits.values()) == {2}
    with pytest.raises(ValueError, match=f"must be at least {least}"):
        allocate_bits(tensors, math.nextafter(least, 0))


def test_allocate_bits_takes_the_error_of_the_outputs():
    rng = np.random.default_rng(0)
    tensors = {"a": rng.standard_normal((16, 32)), "b": rng.standard_normal((16, 32))}
    x = {"a": 0.01 * rng.standard_normal((100, 32)), "b": rng.standard_normal((100, 32))}

    def output_error(name, w, w_hat):
        return float(np.sum((x[name] @ (w - w_hat).T) ** 2))

    found = allocate_bits(tensors, 7.5, (3, 4, 8), sensitivity=output_error)
    assert found.bits["b"] > found.bits["a"]
    q = pyfq.quantize(tensors["a"], 3, granularity=PerGroup(128))
    assert found.errors["a"][3] == output_error("a", tensors["a"], q.dequantize())


def test_allocate_bits_takes_another_quantizer():
    tensors = layers(3)

    def full(w, bits):
        return pyfq.quantize(w, bits, range="full", scale="absmax_half")

    found = allocate_bits(tensors, 20, (3, 4), quantizer=full, sensitivity="absolute")
    for name, w in tensors.items():
        assert found.nbytes[name][4] == full(w, 4).nbytes
        assert found.errors[name][4] == pytest.approx(full(w, 4).error(w).mse * w.size, rel=1e-12)


def test_allocate_bits_prints_a_table():
    tensors = {"a": np.ones((2, 64), np.float32), "b": np.zeros((1, 3), np.float32)}
    lines = str(allocate_bits(tensors, 8, (4,))).splitlines()
    assert [line.split() for line in lines] == [
        ["tensor", "bits", "bytes", "error"],
        ["a", "4", "72", "0"],
        ["b", "4", "6", "0"],
        ["all", "4.763", "78", "0"],
    ]


W = {"a": np.ones((2, 3), np.float32), "b": np.ones(5)}


@pytest.mark.parametrize(
    ("error", "match", "arguments", "options"),
    [
        (TypeError, "tensors must be a mapping from names, not list", ([W["a"]], 8), {}),
        (ValueError, "tensors must hold at least one array", ({}, 8), {}),
        (TypeError, "names of tensors must be str, not int", ({1: W["a"]}, 8), {}),
        (
            TypeError,
            r"tensors\['a'\] must be float32 or float64, not int64",
            ({"a": np.ones(2, int)}, 8),
            {},
        ),
        (
            ValueError,
            r"tensors\['a'\] must not be empty, but its shape is \(0, 3\)",
            ({"a": np.ones((0, 3))}, 8),
            {},
        ),
        (
            ValueError,
            r"tensors\['a'\] must be finite, but tensors\['a'\]\[1\] is nan",
            ({"a": np.array([0, np.nan])}, 8),
            {},
        ),
        (TypeError, "budget_bits_per_weight must be a number, not str", (W, "4"), {}),
        (ValueError, "budget_bits_per_weight must be 0 ... 1e", (W, np.nan), {}),
        (TypeError, "choices must be a sequence of widths, not int", (W, 9, 4), {}),
        (ValueError, r"choices must be widths, each once, not \[\]", (W, 99, []), {}),
        (ValueError, r"choices must be widths, each once, not \(4, 4\)", (W, 99, (4, 4)), {}),
        (ValueError, r"choices\[1\] must be 1 ... 16, not 17", (W, 99, (4, 17)), {}),
        (TypeError, r"choices\[0\] must be an integer, not float", (W, 99, (4.0,)), {}),
        (ValueError, "bits=1 leaves scheme 'symmetric' no positive code", (W, 99, (1,)), {}),
        (
            ValueError,
            "pinned names 'c', which is not one of tensors",
            (W, 99),
            {"pinned": {"c": 4}},
        ),
        (ValueError, r"pinned\['a'\] must be 1 ... 16, not 0", (W, 99), {"pinned": {"a": 0}}),
        (TypeError, "pinned must be a mapping from names, not int", (W, 99), {"pinned": 4}),
        (ValueError, "sensitivity must have a number for 'b'", (W, 99), {"sensitivity": {"a": 1}}),
        (ValueError, "sensitivity must be one of", (W, 99), {"sensitivity": "equal"}),
        (
            ValueError,
            r"sensitivity\['a'\] must be 0 ... inf, not -1",
            (W, 99),
            {"sensitivity": {"a": -1, "b": 1}},
        ),
        (
            ValueError,
            "error of 'a' at 2 bits must be 0 ... inf, not nan",
            (W, 99),
            {"sensitivity": lambda name, w, v: np.nan},
        ),
        (
            TypeError,
            "error of 'a' at 2 bits must be a number, not NoneType",
            (W, 99),
            {"sensitivity": lambda name, w, v: None},
        ),
        (
            ValueError,
            "error of 'a' at 2 bits must be finite",
            ({"a": np.array([1e300, 7e299])}, 99),
            {"sensitivity": "absolute"},
        ),
        (TypeError, "quantizer must be callable, not str", (W, 99), {"quantizer": "hqq"}),
        (
            TypeError,
            "quantizer must return something with nbytes and dequantize, .* not ndarray",
            (W, 99),
            {"quantizer": lambda w, bits: w},
        ),
        (
            ValueError,
            "scheme is of quantize: quantizer must not be given",
            (W, 99),
            {"quantizer": pyfq.quantize, "scheme": "affine"},
        ),
        (
            ValueError,
            "granularity is of quantize",
            (W, 99),
            {"quantizer": pyfq.quantize, "granularity": PerRow()},
        ),
    ],
)
def test_allocate_bits_refuses(error, match, arguments, options):
    with pytest.raises(error, match=match):
        allocate_bits(*arguments, **options)
