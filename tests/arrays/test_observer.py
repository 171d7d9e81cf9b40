"""Topic `observer` against its reference, everywhere; and what observers make of what they saw."""

import copy
import json
import math
import pickle
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from variants import everywhere, large, same, weights

import pyfq
from pyfq import Observer, PerColumn, PerGroup, PerRow, PerTensor, reference
from pyfq.arrays.observer import METHODS, WITH_BINS, count_bins, exponents, find_ranges
from pyfq.arrays.ranges import Histogram, divergences, laplace_clip, normal_clip
from pyfq.io import FormatError, open_npz, write_npz

BINS = 64
channels = st.sampled_from([PerTensor(), PerRow(), PerColumn()])
MERGED = [method for method in METHODS if method != "ema"]


def by_channel(x, granularity):
    """Return an array as the reference takes it, and as the kernel does."""
    match granularity:
        case PerTensor():
            return x.reshape(1, 1, -1), 1, False
        case PerRow():
            rows = math.prod(x.shape[:-1])
            return x.reshape(1, rows, -1), rows, False
    return x.reshape(-1, x.shape[-1], 1), math.prod(x.shape[:-1]), True


def state(observer, tmp_path_factory):
    """Return the file of an observer."""
    path = tmp_path_factory.getbasetemp() / "state.npz"
    observer.save(path)
    return path.read_bytes()


def check(x, granularity):
    parts, rows, by_column = by_channel(x, granularity)
    low, high = parts.min(axis=(0, 2)), parts.max(axis=(0, 2))
    exponent = exponents(np.maximum(-low, high).astype(np.float64), BINS, x.dtype)
    want = reference.count_bins(parts, exponent, BINS)
    narrow = np.maximum(exponent - 1, np.finfo(x.dtype).minexp)
    fit = bool(np.all(narrow == exponent))
    for where in everywhere():
        counts = np.full(want.shape, 3)
        for ends in (
            find_ranges(x, rows, by_column, low.size),
            count_bins(x, rows, by_column, exponent, counts),
        ):
            same(ends[0], low.astype(np.float64), where)
            same(ends[1], high.astype(np.float64), where)
        same(counts, want + 3, where)
        count_bins(x, rows, by_column, narrow, counts)
        same(counts, want * (1 + fit) + 3, where)  # counted if all lies in bins


@given(x=weights(shapes=array_shapes(max_dims=3, max_side=21)), granularity=channels)
def test_count_bins_matches_reference(x, granularity):
    check(x, granularity)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("granularity", "shape"),
    [
        (PerTensor(), (301, 997)),
        (PerTensor(), (40_001,)),
        (PerRow(), (301, 997)),
        (PerRow(), (1, 300_001)),
        (PerColumn(), (997, 131)),
        (PerColumn(), (40_001, 1)),
    ],
)
def test_count_bins_matches_reference_for_large_arrays(dtype, granularity, shape):
    check(large(dtype, shape=shape), granularity)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("granularity", "shape"),
    [
        (PerTensor(), (3, 4)),
        (PerTensor(), (3, 20_000)),
        (PerRow(), (5, 70_001)),
        (PerColumn(), (5, 77)),
    ],
)
@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_update_refuses_what_is_not_finite_and_forgets_it(bad, shape, granularity, method):
    x = large(np.float32, shape=shape)
    seen = Observer(method, granularity, BINS).update(x)
    before = copy.deepcopy(seen.__dict__["_seen"])
    x *= np.float32(8)
    x[2, 1] = bad
    for where in everywhere():
        with pytest.raises(ValueError, match=rf"x must be finite, but x\[2, 1\] is -?{abs(bad)}"):
            seen.update(x)
        for name in ("count", "low", "high", "exponent", "counts"):
            same(getattr(seen._seen, name), getattr(before, name), where)


@settings(max_examples=60)
@given(
    x=st.lists(weights(np.float64, array_shapes(max_dims=1, max_side=9)), min_size=1, max_size=6),
    method=st.sampled_from(MERGED),
    data=st.data(),
)
def test_any_order_of_updates_and_merges_gives_the_same(x, method, data, tmp_path_factory):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    with np.errstate(over="ignore"):
        x = [part.astype(dtype) for part in x]
    x = [part for part in x if np.isfinite(part).all()]
    at_once = Observer(method, bins=BINS).update(np.concatenate([np.empty(0, dtype), *x]))
    want = state(at_once, tmp_path_factory)
    observers = [Observer(method, bins=BINS).update(part) for part in data.draw(st.permutations(x))]
    observers.append(Observer(method, bins=BINS))
    while len(observers) > 1:
        a = observers.pop(data.draw(st.integers(0, len(observers) - 1)))
        b = observers.pop(data.draw(st.integers(0, len(observers) - 1)))
        kept = state(b, tmp_path_factory)
        observers.append(a.merge(b))
        assert state(b, tmp_path_factory) == kept
    assert state(observers[0], tmp_path_factory) == want
    one_by_one = Observer(method, bins=BINS)
    for part in data.draw(st.permutations(x)):
        one_by_one.update(part)
    assert state(one_by_one, tmp_path_factory) == want


@settings(max_examples=50)
@given(seed=st.integers(0, 999), granularity=channels, method=st.sampled_from(MERGED))
def test_channels_are_observed_apart(seed, granularity, method):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((7, 5)) * 10.0 ** rng.integers(-3, 3, (7, 5))
    x[rng.random((7, 5)) < 0.3] = 0
    together = Observer(method, granularity, 256).update(x)
    parts, _, _ = by_channel(x, granularity)
    assert together.count == parts[:, 0].size
    scales = [
        Observer(method, bins=256).update(parts[:, i].copy()).scale(5, scheme)
        for i in range(parts.shape[1])
        for scheme in ("symmetric", "affine")
    ]
    for at, scheme in enumerate(("symmetric", "affine")):
        scale, zero_point = together.scale(5, scheme)
        assert scale.shape == {PerTensor(): (), PerRow(): (7, 1), PerColumn(): (5,)}[granularity]
        same(scale.reshape(-1), np.array([s for s, _ in scales[at::2]]), scheme)
        if zero_point is not None:
            assert zero_point.shape == scale.shape
            same(zero_point.reshape(-1), np.array([z for _, z in scales[at::2]]), scheme)


@given(
    x=weights(shapes=array_shapes(max_dims=2, max_side=21)),
    bits=st.integers(2, 16),
    scheme=st.sampled_from(["symmetric", "affine"]),
    granularity=st.sampled_from([PerTensor(), PerRow()]),
)
def test_minmax_gives_what_quantize_finds(x, bits, scheme, granularity):
    q = pyfq.quantize(x, bits, scheme=scheme, granularity=granularity)
    scale, zero_point = Observer("minmax", granularity).update(x).scale(bits, scheme)
    same(scale, q.scale, "scale")
    if scheme == "affine":
        same(zero_point, q.zero_point, "zero_point")
        given = {"scale": scale, "zero_point": zero_point}
    else:
        assert zero_point is None
        given = {"scale": scale}
    again = pyfq.quantize(x, bits, scheme=scheme, granularity=granularity, **given)
    same(again.packed, q.packed, "codes")


@given(x=weights(shapes=array_shapes(max_dims=1, max_side=300)))
def test_histogram_is_that_of_numpy(x):
    seen = Observer("mse", bins=BINS)
    for part in np.array_split(x, 3):
        seen.update(part)
    counts, edges = seen.histogram()
    assert counts.sum() == x.size
    assert np.count_nonzero(x == 0) == counts[BINS]
    assert edges[BINS] == edges[BINS + 1] == 0
    largest = np.finfo(np.float64).max
    for side, values in ((1, x[x > 0]), (-1, -x[x < 0])):
        on_side = np.append(0.0, edges[::side][BINS + 2 :] * side)
        want, _ = np.histogram(values.astype(np.float64), np.minimum(on_side, largest))
        assert on_side.size == BINS + 1
        same(counts[::side][BINS + 1 :], want, "counts")
    peak = float(np.abs(x).max())
    least = np.finfo(x.dtype).minexp
    width = float(edges[BINS + 2])
    assert peak < edges[-1]
    assert width == 2.0**least or peak >= width / 2 * BINS


def test_histogram_has_the_axes_of_channels():
    x = np.arange(24.0).reshape(2, 3, 4)
    for granularity, shape in ((PerTensor(), ()), (PerRow(), (2, 3)), (PerColumn(), (4,))):
        counts, edges = Observer("mse", granularity, BINS).update(x).histogram()
        assert counts.shape == (*shape, 2 * BINS + 1)
        assert edges.shape == (*shape, 2 * BINS + 2)


@given(
    x=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200),
    percentile=st.one_of(st.sampled_from([100.0, 50.0, 99.99]), st.floats(1, 100)),
)
def test_percentile_is_in_the_bin_of_the_order_statistic(x, percentile):
    x = np.array(x, np.float32)
    seen = Observer("percentile", bins=1024, percentile=percentile).update(x)
    width = float(seen.histogram()[1][1026])
    low, high = seen.clip_range(8, "symmetric")
    want = np.quantile(np.abs(x), percentile / 100, method="inverted_cdf")
    assert high == -low
    assert abs(high - want) <= width
    low, high = seen.clip_range(8, "affine")
    for end, values in ((high, x), (-low, -x)):
        want = np.quantile(values, (100 + percentile) / 200, method="inverted_cdf")
        assert abs(end - want) <= width
    if percentile == 100:
        assert (low, high) == (x.min(), x.max())


def test_percentile_is_at_its_place_in_a_bin():
    x = np.concatenate([np.full(6, 0.25), np.full(4, 0.75)])  # bins of 2**-6
    seen = Observer("percentile", bins=BINS, percentile=90).update(x)
    assert float(seen.clip_range()[1]) == 0.75  # not beyond the largest
    seen.update(np.array([0.99]))
    rank = math.ceil(0.9 * 11)
    assert float(seen.clip_range()[1]) == 0.75 + (rank - 6) / 4 / 64


@pytest.mark.parametrize("granularity", [PerTensor(), PerColumn()])
def test_ema_is_that_of_pytorch(granularity):
    observer = pytest.importorskip("torch.ao.quantization.observer")
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((9, 20, 6), np.float32)
    seen = Observer("ema", granularity, momentum=0.99)
    if granularity == PerTensor():
        theirs = observer.MovingAverageMinMaxObserver(0.01, dtype=torch.quint8)
    else:
        theirs = observer.MovingAveragePerChannelMinMaxObserver(0.01, ch_axis=1, dtype=torch.quint8)
    for batch in x:
        seen.update(batch)
        theirs(torch.from_numpy(batch))
    np.testing.assert_allclose(seen.low, theirs.min_val.numpy(), rtol=1e-5)
    np.testing.assert_allclose(seen.high, theirs.max_val.numpy(), rtol=1e-5)
    scale, zero_point = seen.scale(8, "affine")
    want_scale, want_zero = theirs.calculate_qparams()
    np.testing.assert_allclose(scale.reshape(-1), want_scale.numpy(), rtol=1e-5)
    assert (zero_point.reshape(-1) == want_zero.numpy()).all()


@settings(max_examples=30)
@given(
    counts=st.lists(st.one_of(st.just(0), st.integers(0, 50)), min_size=9, max_size=60),
    levels=st.integers(2, 8),
)
def test_divergences_are_those_of_scipy(counts, levels):
    entropy = pytest.importorskip("scipy.stats").entropy
    counts = np.array([*counts, 1])
    found = divergences(counts, levels)
    assert found.size == counts.size - levels + 1
    for got, i in zip(found, range(levels, counts.size + 1), strict=True):
        p = counts[:i].astype(float)
        q = np.zeros(i)
        for level in range(levels):
            part = slice(-(-level * i // levels), -(-(level + 1) * i // levels))
            held = p[part] > 0
            q[part][held] = p[part].sum() / max(held.sum(), 1)
        p[-1] += counts[i:].sum()
        if p[-1] and not q[-1]:
            assert got == np.inf
        else:
            assert got == pytest.approx(entropy(p, q), abs=1e-12)


def test_entropy_clips_far_values_and_keeps_what_needs_no_clip():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(100_000)
    far = Observer("entropy").update(x).update(np.array([-30.0, 25.0]))
    assert 3.5 < float(far.clip_range()[1]) < 6
    assert Observer("entropy").update(rng.uniform(-1, 1, 100_000)).clip_range()[1] > 0.99
    zeros = Observer("entropy").update(np.maximum(x, 0)).update(np.zeros(10**6))
    assert zeros.clip_range() == Observer("entropy").update(np.maximum(x, 0)).clip_range()
    with pytest.raises(ValueError, match="bins must be at least 512 for the 128 levels"):
        Observer("entropy", bins=500).update(x).scale(8)


def squared_error(x, scale, zero_point, bits):
    scheme = "symmetric" if zero_point is None else "affine"
    given = {"scale": scale} | ({} if zero_point is None else {"zero_point": zero_point})
    q = pyfq.quantize(x, bits, scheme=scheme, granularity=PerTensor(), **given)
    return q.error(x).mse


# numerics: Max 1960 and others; the integer grids of `symmetric` and `affine` codes.
NORMAL = {
    2: (0.1901740, 0.1494311),
    3: (0.04685997, 0.04063825),
    4: (0.01288939, 0.01186404),
    6: (1.069289e-3, 1.042853e-3),
    8: (8.830803e-5, 8.770692e-5),
}


@pytest.mark.parametrize("bits", NORMAL)
def test_mse_meets_the_best_error_of_a_normal_distribution(bits):
    normal = NormalDist()
    x = np.array([normal.inv_cdf((i + 0.5) / 200_000) for i in range(200_000)])
    tolerance = 0.003 if bits < 8 else 0.02  # what is clipped at 8 bits is beyond the samples
    seen = Observer("mse").update(x)
    for scheme, want in zip(("symmetric", "affine"), NORMAL[bits], strict=True):
        assert squared_error(x, *seen.scale(bits, scheme), bits) == pytest.approx(
            want, rel=tolerance
        )


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", ["normal", "relu", "far", "few"])
def test_mse_is_near_the_best_of_many_ranges(scheme, bits, shape):
    x = np.random.default_rng(2).standard_normal(20_000)
    match shape:
        case "relu":
            x = np.maximum(x, 0)
        case "far":
            x[:3] = 15, -1, 12
        case "few":
            x = x[:40]
    seen = Observer("mse").update(x)
    found = squared_error(x, *seen.scale(bits, scheme), bits)
    low, high = min(x.min(), 0), x.max()
    best = math.inf
    for part in np.linspace(0.02, 1, 99):
        wide = Observer().update(part * np.array([low, high]))
        best = min(best, squared_error(x, *wide.scale(bits, scheme), bits))
    assert found <= best * 1.02


def test_aciq_has_the_published_clips():
    normal = [1.7106, 2.1516, 2.5591, 2.9362, 3.2869, 3.6151, 3.9240]
    laplace = [2.8307, 3.8972, 5.0286, 6.2048, 7.4131, 8.6456, 9.8968]
    for bits, clip, other in zip(range(2, 9), normal, laplace, strict=True):
        assert normal_clip(bits) == pytest.approx(clip, abs=6e-5)
        assert laplace_clip(bits) == pytest.approx(other, abs=6e-5)


def test_aciq_takes_the_distribution_that_fits():
    rng = np.random.default_rng(0)
    x, y = 3 * rng.standard_normal(200_000), 2 * rng.laplace(size=200_000)
    normal, laplace = Observer("aciq").update(x), Observer("aciq").update(y)
    assert float(normal.clip_range(4)[1]) == pytest.approx(3 * 2.5591, rel=0.01)
    assert float(laplace.clip_range(4)[1]) == pytest.approx(2 * 5.0286, rel=0.01)
    shifted = Observer("aciq").update(x + 1.5)
    low, high = shifted.clip_range(4, "affine")
    assert float(low) == pytest.approx(1.5 - 3 * 2.5591, rel=0.02)
    assert float(high) == pytest.approx(1.5 + 3 * 2.5591, rel=0.02)
    relu = Observer("aciq").update(np.maximum(x, 0))
    assert relu.clip_range(4, "affine")[0] == 0
    assert float(relu.clip_range(4, "affine")[1]) == pytest.approx(3 * normal_clip(5), rel=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_channels_of_one_value_have_a_scale(method, scheme):
    x = np.array([0.0, 5.0, -5.0, 1e-30], np.float32) * np.ones((50, 1), np.float32)
    seen = Observer(method, PerColumn()).update(x)
    scale, _ = seen.scale(8, scheme)
    assert np.isfinite(scale).all()
    assert scale[0] == 1
    low, high = seen.clip_range(8, scheme)
    assert (np.abs(low) <= np.abs(x[0])).all()
    assert (np.abs(high) <= np.abs(x[0])).all()


@pytest.mark.parametrize("method", METHODS)
def test_an_observer_survives_a_file_and_a_pickle(method, tmp_path):
    rng = np.random.default_rng(0)
    seen = Observer(method, PerColumn(), 1024)
    path = tmp_path / "seen.npz"
    seen.save(path)
    assert Observer.load(path).count == 0
    for _ in range(3):
        seen.update(rng.standard_normal((20, 4), np.float32))
    seen.save(path)
    x = rng.standard_normal((9, 4), np.float32)
    want = seen.update(x).scale(4, "affine")
    for again in (Observer.load(path), pickle.loads(pickle.dumps(Observer.load(path)))):
        assert (again.method, again.granularity, again.bins) == (method, PerColumn(), 1024)
        for got, part in zip(again.update(x).scale(4, "affine"), want, strict=True):
            same(got, part, method)
    seen.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["seen.npz"]


def damage(path, **changes):
    """Write a file again with other fields or arrays; None leaves one out."""
    with open_npz(path) as file:
        arrays = {name: file[name].copy() for name in file}
    fields = json.loads(arrays.pop("observer").tobytes())
    for name, value in changes.items():
        target = arrays if isinstance(value, np.ndarray) or name in arrays else fields
        target[name] = value
        if value is None:
            del target[name]
    text = np.frombuffer(json.dumps(fields).encode(), np.uint8)
    write_npz(path, {"observer": text} | arrays)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"version": 2}, "expected version 1, not 2"),
        ({"method": "max"}, "method must be one of"),
        ({"bins": 2.5}, "bins must be an integer"),
        ({"granularity": "PerGroup(4)"}, "granularity must be one of PerTensor"),
        ({"momentum": 0.5}, "momentum is of method 'ema'"),
        ({"more": 1}, "expected the fields"),
        ({"count": None}, "expected the fields"),
        ({"count": 4}, "counts must be at least 0, and their sums 4"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, not 'float16'"),
        ({"shape": 3}, "shape must be a list, not 3"),
        ({"shape": [2]}, r"low must have shape \(2,\), not \(1,\)"),
        ({"shape": [10**15]}, r"low must have shape"),
        ({"low": None}, r"expected the arrays"),
        ({"low": np.array([-2.0], np.float32)}, "low must be float64, not float32"),
        ({"low": np.array([9.0])}, "low must be at most high, and both finite"),
        ({"high": np.array([np.nan])}, "low must be at most high, and both finite"),
        ({"high": np.array([900.0])}, "exponent must be that of low and high"),
        ({"counts": np.zeros((1, 3), np.int64)}, r"counts must have shape \(1, 129\)"),
    ],
)  # fmt: skip
def test_load_refuses_what_no_observer_wrote(changes, match, tmp_path):
    path = tmp_path / "seen.npz"
    Observer("mse", bins=BINS).update(np.array([-2.0, 0.5, 1.0])).save(path)
    damage(path, **changes)
    with pytest.raises(FormatError, match=match) as error:
        Observer.load(path)
    assert str(error.value).startswith(str(path))
    assert str(error.value).count(str(path)) == 1


def test_load_refuses_other_files(tmp_path):
    path = tmp_path / "w.npz"
    write_npz(path, {"w": np.ones(3)})
    with pytest.raises(FormatError, match=r"expected a file of Observer\.save"):
        Observer.load(path)
    path.write_bytes(b"no")
    with pytest.raises(FormatError, match="expected a zip archive"):
        Observer.load(path)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "method must be one of 'minmax', 'ema'", {"method": "max"}),
        (TypeError, r"granularity must be PerTensor\(\), PerRow\(\) or PerColumn\(\), not PerGroup",
         {"granularity": PerGroup(4)}),
        (ValueError, "bins must be 64 ... 1048576, not 10", {"bins": 10}),
        (ValueError, "percentile is of method 'percentile', not 'mse'",
         {"method": "mse", "percentile": 99}),
        (ValueError, "momentum is of method 'ema', not 'minmax'", {"momentum": 0.9}),
        (ValueError, "percentile must be 0 ... 100, not 101",
         {"method": "percentile", "percentile": 101}),
        (ValueError, "percentile must be more than 0", {"method": "percentile", "percentile": 0}),
        (TypeError, "momentum must be a number, not str", {"method": "ema", "momentum": "a"}),
    ],
)  # fmt: skip
def test_observer_refuses(error, match, arguments):
    with pytest.raises(error, match=match):
        Observer(**arguments)


def test_update_refuses():
    x = np.ones((3, 4), np.float32)
    with pytest.raises(TypeError, match="x must be a NumPy array, not list"):
        Observer().update([1.0])
    with pytest.raises(TypeError, match="x must be float32 or float64, not int64"):
        Observer().update(np.arange(3))
    with pytest.raises(ValueError, match="x must be C-contiguous"):
        Observer().update(x.T)
    with pytest.raises(TypeError, match="x must be float32, not float64"):
        Observer().update(x).update(np.ones(3))
    with pytest.raises(
        ValueError, match=r"the leading axes \(3,\) as before, but its shape is \(4, 3\)"
    ):
        Observer("mse", PerRow()).update(x).update(np.ones((4, 3), np.float32))
    with pytest.raises(
        ValueError, match=r"the last axis \(4,\) as before, but its shape is \(4, 3\)"
    ):
        Observer("mse", PerColumn()).update(x).update(np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match="x must have at least one axis"):
        Observer("mse", PerColumn()).update(np.float32([1])[0:1].reshape(()))
    assert Observer().update(x[:0]).count == 0


def test_merge_refuses():
    x = np.ones((3, 4), np.float32)
    with pytest.raises(TypeError, match="other must be an Observer, not ndarray"):
        Observer().merge(x)
    with pytest.raises(ValueError, match="other must have method='mse', not 'entropy'"):
        Observer("mse").merge(Observer("entropy"))
    with pytest.raises(ValueError, match="other must have bins=2048, not 1024"):
        Observer("mse").merge(Observer("mse", bins=1024))
    with pytest.raises(ValueError, match="observers of method 'ema' do not merge"):
        Observer("ema").merge(Observer("ema"))
    with pytest.raises(TypeError, match="other must have seen float32, not float64"):
        Observer().update(x).merge(Observer().update(np.ones(3)))
    with pytest.raises(ValueError, match=r"other must have channels \(4,\), not \(2,\)"):
        Observer("mse", PerColumn()).update(x).merge(
            Observer("mse", PerColumn()).update(np.ones((3, 2), np.float32))
        )


def test_scale_refuses():
    with pytest.raises(ValueError, match="the observer has seen nothing: call update first"):
        Observer().scale()
    seen = Observer().update(np.ones(3))
    with pytest.raises(ValueError, match="scheme must be one of 'symmetric', 'affine', not"):
        seen.scale(8, "minmax")
    with pytest.raises(ValueError, match=r"bits must be 2 \.\.\. 16, not 1"):
        seen.scale(1)
    with pytest.raises(ValueError, match="method 'minmax' has no histogram"):
        seen.histogram()


@pytest.mark.parametrize("method", WITH_BINS)
def test_memory_is_that_of_the_bins(method):
    seen = Observer(method)
    for i in range(20):
        seen.update(large(np.float32, i))
    assert len(pickle.dumps(seen)) < 8 * (2 * 2048 + 1) + 4000


def test_a_merge_with_itself_counts_twice():
    seen = Observer("mse", bins=BINS).update(np.array([1.0, -2.0]))
    assert seen.merge(seen).count == 4
    assert seen.histogram()[0].sum() == 4


def test_mirrored_histograms_have_mirrored_ranges():
    x = np.random.default_rng(0).gamma(2.0, size=3000) - 1
    a, b = Observer("percentile").update(x), Observer("percentile").update(-x)
    low, high = a.clip_range(8, "affine")
    assert b.clip_range(8, "affine") == (-high, -low)
    counts, _ = a.histogram()
    seen = Histogram(counts, 1.0, -1.0, 2.0)
    same(seen.mirrored().positive, seen.negative, "mirrored")
