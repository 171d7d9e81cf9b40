"""The range that a network remembers, and inputs beyond it."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import dtypes, everywhere, weights

import pyfq
from pyfq import Network, reference
from pyfq.networks.input_range import count_outside


def ranged(dtype=np.float32):
    made = Network.create((3, 4, 2), dtype=dtype)
    bounds = np.array([-1, 0, 2], dtype), np.array([1, 0, 5], dtype)
    return replace(made, input_min=bounds[0], input_max=bounds[1])


@given(st.data())
def test_count_matches_reference(data):
    dtype = data.draw(dtypes)
    x = data.draw(weights(dtype)).reshape(-1, 1)
    x = np.tile(x, (1, data.draw(st.integers(1, 40))))
    x[data.draw(st.integers(0, len(x))) :] *= np.nan if data.draw(st.booleans()) else 1
    bounds = data.draw(weights(dtype, st.just((2, x.shape[1]))))
    least, largest = bounds.min(axis=0), bounds.max(axis=0)
    want = reference.count_outside(x, least, largest)
    for where in everywhere():
        np.testing.assert_array_equal(count_outside(x, least, largest), want, where)


def test_many_samples_are_counted_by_many_threads():
    x = np.random.default_rng(0).standard_normal((100_000, 7))
    bounds = np.full(7, -1.0), np.full(7, 2.0)
    want = reference.count_outside(x, *bounds)
    for where in everywhere():
        np.testing.assert_array_equal(count_outside(x, *bounds), want, where)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_are_inside_and_nan_is_not(dtype):
    made = ranged(dtype)
    x = np.array([[-1, 0, 2], [1, 0, 5], [1.5, 0, 3], [2, 1, 1], [0, np.nan, 3]], dtype)
    y, counts = made.forward(x, outside="count")
    np.testing.assert_array_equal(counts, [0, 0, 1, 3, 1])
    assert y.tobytes() == made.forward(x).tobytes()
    y, counts = made.forward(x.reshape(5, 1, 3), outside="count")
    assert (y.shape, counts.shape) == ((5, 1, 2), (5, 1))
    assert made.forward(x[2], outside="count")[1] == 1
    assert made.forward(x[:0], outside="count")[1].shape == (0,)


def test_what_is_outside_is_told():
    made = ranged()
    text = (
        r"1 of 2 samples have inputs outside of what the network was trained on: "
        r"x\[1, 0\] is 1.5, not within -1 ... 1"
    )
    x = [[0, 0, 3], [1.5, 0, 3]]
    with pytest.raises(ValueError, match=text):
        made.forward(x, outside="raise")
    with pytest.warns(UserWarning, match=text) as told:
        made.forward(x, outside="warn")
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.forward(x[:1], outside="warn")
        made.forward(x)


def test_refusals():
    made = Network.create((3, 2))
    with pytest.raises(ValueError, match="outside must be 'ignore' for a network without a range"):
        made.forward([[0, 0, 0]], outside="warn")
    with pytest.raises(ValueError, match="outside must be one of"):
        ranged().forward([[0, 0, 0]], outside="say")
    zeros = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="input_min and input_max must both be given"):
        replace(made, input_min=zeros)
    with pytest.raises(ValueError, match=r"must not be above input_max, but input_min\[0"):
        replace(made, input_min=zeros + 1, input_max=zeros)
    with pytest.raises(ValueError, match="input_max must be finite"):
        replace(made, input_min=zeros, input_max=zeros + np.inf)
    with pytest.raises(ValueError, match=r"input_min must have shape \(3,\)"):
        replace(made, input_min=zeros[:2], input_max=zeros[:2])


@pytest.mark.parametrize("how", ["train", "distill"])
def test_training_remembers_the_range_and_widens_it(how):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 2))
    start = replace(
        Network.create((3, 2), dtype=np.float64), input_mean=np.ones(3), input_scale=np.full(3, 4.0)
    )

    def taught(network, x, y):
        if how == "train":
            return pyfq.train(network, x, y, epochs=1).network
        return pyfq.distill(start, network, x, epochs=1).network

    made = taught(start, x, y)
    np.testing.assert_array_equal(made.input_min, x.min(axis=0))
    np.testing.assert_array_equal(made.input_max, x.max(axis=0))
    again = taught(made, 2 * x[:10], y[:10])
    assert (again.input_min <= made.input_min).all()
    np.testing.assert_array_equal(
        again.input_max, np.maximum(x.max(axis=0), 2 * x[:10].max(axis=0))
    )


def test_the_range_goes_where_the_network_goes(tmp_path):
    made = ranged(np.float64)
    pyfq.save_network(made, tmp_path / "n.safetensors")
    small = made.map_weights(lambda w: pyfq.quantize(w, 8))
    for other in (pyfq.load_network(tmp_path / "n.safetensors"), pickle.loads(pickle.dumps(made)),
                  small, made.with_parameters({})):  # fmt: skip
        np.testing.assert_array_equal(other.input_min, made.input_min)
        np.testing.assert_array_equal(other.input_max, made.input_max)
    single = made.astype(np.float32)
    assert single.input_min.dtype == np.float32
    assert not single.input_min.flags.writeable


def test_predict_counts_what_is_outside(tmp_path, capsys):
    from pyfq.cli import main

    pyfq.save_network(ranged(), tmp_path / "n.safetensors")
    np.save(tmp_path / "x.npy", np.array([[0, 0, 3], [9, 0, 3], [0, 0, 9]], np.float32))
    arguments = ["predict", str(tmp_path / "n.safetensors"), "--input", str(tmp_path / "x.npy")]
    assert main([*arguments, "-o", str(tmp_path / "y.npy")]) == 0
    assert "2 of 3 samples have inputs outside" in capsys.readouterr().err
