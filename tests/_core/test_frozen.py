"""What holds results and settings: read-only arrays, and copies that are checked again."""

import copy
import dataclasses
import inspect
import multiprocessing
import pickle

import numpy as np
import pytest

import pyfq
from pyfq import (
    SGD,
    Adam,
    Dense,
    FakeQuantize,
    FqError,
    Hint,
    LowRank,
    Network,
    Observer,
    PerColumn,
    PerGroup,
    PerRow,
    PerTensor,
    Schedule,
    Sparse,
    quantize,
    quantize_codebook,
    quantize_rate,
    to_half,
    to_sparse,
)
from pyfq.io import FormatError

W = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
PRUNED = pyfq.prune_nm(W)
NETWORK = Network.create((4, 6, 3), seed=1)
X = np.random.default_rng(1).standard_normal((9, 4)).astype(np.float32)
Y = np.arange(9) % 3
TRAINING = pyfq.train(NETWORK, X, Y, epochs=1)

OBJECTS = {
    "Adam": Adam(0.1),
    "Allocation": pyfq.allocate_bits({"w": W}, 8.0),
    "Codebook": quantize_codebook(W, "fp4", scale_bits=8),
    "Dense": Dense(quantize(W), np.ones(6, np.float32), ("leaky_relu", 0.5), 0.1, 3),
    "Distortion": pyfq.distortion(W, W),
    "EntropyHeader": pyfq.entropy_header(pyfq.entropy_encode(np.eye(5, dtype=np.int8))),
    "Epoch": TRAINING.epochs[0],
    "Evaluation": pyfq.evaluate(NETWORK, X, Y),
    "FakeQuantize": FakeQuantize(4, granularity=PerGroup(4)),
    "Fastest": pyfq.Fastest("array", W, "", {"array": 1.0}),
    "FqError": FqError("quantize", 1, "w.npz: tensor 'a'"),
    "Half": to_half(W),
    "Hint": Hint(0, W.copy()),
    "LayerTrial": pyfq.LayerTrial(0, 0.5, True),
    "LowRank": LowRank(W[:, :2].copy(), W[:2].copy(), 0.1, quantize(W)),
    "Network": dataclasses.replace(
        NETWORK, input_mean=X[0], input_scale=X[1], classes=np.array(list("abc"))
    ),
    "Observer": Observer("mse", PerRow(), 64).update(W),
    "PerColumn": PerColumn(),
    "PerGroup": PerGroup(4),
    "PerRow": PerRow(),
    "PerTensor": PerTensor(),
    "Pruned": PRUNED,
    "Quantized": quantize(W, 4, scheme="affine", granularity=PerGroup(4)),
    "RateQuantized": quantize_rate(W, step=0.5, granularity=PerRow()),
    "SGD": SGD(0.1, nesterov=True),
    "Schedule": Schedule("step", 1, 2),
    "Shrunk": pyfq.prune_neurons(NETWORK, 0.5, X),
    "Sparse": to_sparse(PRUNED, "csr"),
    "Training": TRAINING,
}
SPARSE = {
    "csr": OBJECTS["Sparse"],
    "nm": to_sparse(quantize(PRUNED.weights), "nm"),
    "rows": to_sparse(np.diag([1.0, 0.0, 2.0]), "rows"),
}
FROZEN = {
    name: each
    for name, each in {**OBJECTS, **SPARSE, "minima": quantize(W, 4, scheme="minmax")}.items()
    if dataclasses.is_dataclass(each) and dataclasses.fields(each)
    if name not in ("Fastest", "Training")  # whose arrays are networks' and weights' own
}


def content(x):
    """Return what two equal objects have in common, to compare."""
    if isinstance(x, np.ndarray):
        return x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, Observer):
        return content(x._parts())
    if isinstance(x, FqError):
        return str(x), x.info, x.routine, x.where
    if dataclasses.is_dataclass(x):
        return type(x), [content(getattr(x, f.name)) for f in dataclasses.fields(x) if f.init]
    if isinstance(x, list | tuple):
        return [content(each) for each in x]
    if isinstance(x, dict):
        return {name: content(each) for name, each in x.items()}
    return x


def arrays_of(x):
    for f in dataclasses.fields(x):
        part = getattr(x, f.name)
        for each in part if isinstance(part, tuple) else (part,):
            if isinstance(each, np.ndarray):
                yield f.name, each


def test_every_public_class_is_here():
    classes = {name for name in pyfq.__all__ if inspect.isclass(getattr(pyfq, name))}
    assert classes - {"Prepared"} == set(OBJECTS)  # which says that it cannot be pickled


@pytest.mark.parametrize("name", [*OBJECTS, *SPARSE])
def test_public_objects_are_pickled_and_copied(name):
    x = {**OBJECTS, **SPARSE}[name]
    pickles = [pickle.loads(pickle.dumps(x, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    for again in (*pickles, copy.copy(x), copy.deepcopy(x)):
        assert type(again) is type(x)
        assert content(again) == content(x)
        assert str(again) == str(x) or isinstance(x, Network | Dense | pyfq.Training)


@pytest.mark.parametrize("name", OBJECTS)
def test_comparisons_answer_true_or_false(name):
    x = OBJECTS[name]
    for other in (copy.copy(x), None, 1, "x", W, object(), *OBJECTS.values()):
        if isinstance(other, np.ndarray):  # whose own comparison is by entry
            assert not np.any(x == other)
            continue
        assert (x == other) in (True, False)
        assert (x != other) is not (x == other)
        if x == other:
            assert hash(x) == hash(other)


@pytest.mark.parametrize("name", FROZEN)
def test_arrays_of_frozen_objects_refuse_writes(name):
    x = FROZEN[name]
    for each in (x, copy.deepcopy(x), pickle.loads(pickle.dumps(x)), dataclasses.replace(x)):
        for part, array in arrays_of(each):
            assert not array.flags.writeable, part
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(each, dataclasses.fields(each)[0].name, None)


def test_weights_in_an_array_that_was_given_are_that_array():
    out = np.empty_like(W)
    assert pyfq.prune_ratio(W, 0.5, out=out).weights is out
    assert out.flags.writeable
    assert not pyfq.prune_ratio(W, 0.5).weights.flags.writeable


def test_numbers_become_those_of_python():
    assert PerGroup(np.int64(4)) == PerGroup(np.array(4)) == PerGroup(4)
    assert hash(PerGroup(np.array(4))) == hash(PerGroup(4))
    assert repr(SGD(np.float64(0.5))) == repr(SGD(0.5))
    assert isinstance(dataclasses.replace(quantize(W), shape=[6, 8]).shape, tuple)
    activation = Dense(W, activation=["leaky_relu", np.float32(0.5)]).activation
    assert activation == ("leaky_relu", 0.5) and isinstance(activation, tuple)


DAMAGE = {
    "Quantized": {"packed": np.zeros((6, 1), np.uint8)},
    "Codebook": {"packed": np.full((6, 4), 255, np.uint8)},
    "RateQuantized": {"scale": np.full((6, 1), np.nan, np.float32)},
    "Dense": {"bias": np.ones(5, np.float32)},
    "Half": {"bits": np.full(3, 0x7FC0, np.uint16)},
    "LowRank": {"v": np.ones((3, 8), np.float32)},
    "Network": {"input_mean": np.ones(3, np.float32)},
    "PerGroup": {"size": 0},
    "SGD": {"learning_rate": float("nan")},
    "Adam": {"beta1": 1.0},
    "Schedule": {"kind": "none"},
    "FakeQuantize": {"bits": 99},
    "Sparse": {"indices": np.full(24, 8, np.int32)},
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_comes_back_from_a_pickle_is_checked(name):
    bad = copy.copy(OBJECTS[name])
    for part, value in DAMAGE[name].items():
        assert hasattr(bad, part)
        object.__setattr__(bad, part, value)
    for f in (lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy):
        with pytest.raises((TypeError, ValueError)):
            f(bad)


def empty(cls):
    return object.__new__(cls)


@pytest.mark.parametrize("name", DAMAGE)
def test_a_pickle_of_attributes_is_checked(name):
    """As versions before wrote them, and as `object.__reduce_ex__` does."""
    x = OBJECTS[name]
    state = {f.name: getattr(x, f.name) for f in dataclasses.fields(x) if f.init}

    class Pickled:
        def __init__(self, state):
            self.state = state

        def __reduce__(self):
            return empty, (type(x),), self.state

    assert content(pickle.loads(pickle.dumps(Pickled(state)))) == content(x)
    with pytest.raises((TypeError, ValueError)):
        pickle.loads(pickle.dumps(Pickled(state | DAMAGE[name])))


def test_an_observer_that_contradicts_itself_is_refused():
    function, (cls, fields, arrays) = OBJECTS["Observer"].__reduce__()
    with pytest.raises(ValueError, match="low must be at most high"):
        function(cls, fields, arrays | {"low": arrays["high"] + 1})


@pytest.mark.parametrize("name", SPARSE)
def test_nothing_changes_where_kernels_read(name):
    s = SPARSE[name]
    given = {f.name: getattr(s, f.name) for f in dataclasses.fields(s) if f.init}
    places = [n for n in ("indices", "indptr", "positions", "rows") if given[n] is not None]
    for part in places:
        given[part] = given[part].copy()
    again = Sparse(**given)
    for part in places:
        given[part][...] = 99  # who made them still holds them
        array = getattr(again, part)
        while isinstance(array, np.ndarray):
            with pytest.raises(ValueError, match="cannot set WRITEABLE flag to True"):
                array.flags.writeable = True
            array = array.base
    x = np.ones((3, s.shape[1]), s.dtype)
    np.testing.assert_array_equal(pyfq.linear(x, again), pyfq.linear(x, s))
    assert getattr(Sparse(**{**given, **{n: getattr(again, n) for n in places}}), places[0]) is (
        getattr(again, places[0])
    )  # what cannot change is not copied again


def test_values_beyond_the_columns_are_never_multiplied():
    values = np.array([[0.0, 2.0, 0.0]])
    s = to_sparse(values, "nm", n=2, m=4)
    below = s.values.copy()
    s = dataclasses.replace(s, values=below)
    below[...] = 2  # that of the fourth column, which the matrix does not have, too
    for samples in (1, 2, 40):
        y = pyfq.linear(np.ones((samples, 3)), s)
        np.testing.assert_array_equal(y, np.full((samples, 1), s.toarray().sum()))


def test_codes_beyond_the_levels_are_never_read():
    packed = np.zeros((4, 1), np.uint8)
    q = quantize_codebook(np.ones((4, 2)), np.array([1.0, 2.0, 3.0]), granularity=PerTensor())
    q = dataclasses.replace(q, packed=packed)
    packed[...] = 255
    assert np.isfinite(q.dequantize()).all()


def fail(_):
    raise FqError("quantize", 2)


def bad_file(_):
    raise FormatError("w.safetensors", "bad")


@pytest.mark.parametrize(("function", "error"), [(fail, FqError), (bad_file, FormatError)])
def test_errors_come_back_from_worker_processes(function, error):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map_async(function, [0])
        with pytest.raises(error) as raised:
            found.get(timeout=120)
    try:
        function(0)
    except error as e:
        assert str(raised.value) == str(e)


def test_results_come_back_from_worker_processes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        q = pool.apply_async(quantize, (W, 4)).get(timeout=120)
    assert content(q) == content(quantize(W, 4))
    assert not q.packed.flags.writeable
