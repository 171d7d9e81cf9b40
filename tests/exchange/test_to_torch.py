"""Modules that `to_torch` makes compute what the network does; the way back gives it again."""

import dataclasses

import numpy as np
import pytest

import pyfq
from pyfq import Dense, Network
from pyfq.arrays.activation import ACTIVATIONS

torch = pytest.importorskip("torch", reason="needs the oracles extra")

X = np.random.default_rng(0).standard_normal((50, 12))
PLAIN = [word for word in ACTIVATIONS if word != "exp"]  # of which PyTorch has no module
WORDS = [None, *PLAIN, ("leaky_relu", 0.3), ("elu", 0.5), ("clipped_relu", 1.5)]


def outputs(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def check(network, room=1e-6):
    module = pyfq.to_torch(network)
    assert type(module) is torch.nn.Sequential and not module.training
    x = X.astype(network.dtype)
    got = outputs(module, x)
    assert got.dtype == network.dtype
    want = network.forward(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=room * max(1, np.abs(want).max()))
    return module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", WORDS, ids=str)
def test_to_torch_gives_the_same_outputs_and_the_way_back_the_network(activation, dtype):
    hidden = None if activation == "softmax" else activation
    network = Network.create(
        (12, 9, 7, 4), activation=hidden, output_activation=activation, dtype=dtype, seed=3
    )
    again = pyfq.from_torch(check(network))
    assert again.sizes == network.sizes and again.dtype == network.dtype
    for layer, its in zip(again.layers, network.layers, strict=True):
        np.testing.assert_array_equal(layer.weights, its.weights)
        np.testing.assert_array_equal(layer.bias, its.bias)
    np.testing.assert_array_equal(again.forward(X.astype(dtype)), network.forward(X.astype(dtype)))


@pytest.mark.parametrize(
    "function",
    [
        lambda w: pyfq.quantize(w, 4),
        lambda w: pyfq.quantize_codebook(w),
        lambda w: pyfq.quantize_rate(w, bits=4.0),
        lambda w: pyfq.svd_lowrank(w, rank=2),
        lambda w: pyfq.to_sparse(pyfq.prune_nm(w), "nm"),
        lambda w: pyfq.to_half(w),
    ],
)  # fmt: skip
def test_to_torch_writes_what_compressed_weights_stand_for(function):
    check(Network.create((12, 96, 64), seed=1).map_weights(function))


def test_to_torch_keeps_low_rank_small():
    network = Network.create((12, 8, 4), seed=1).map_weights(lambda w: pyfq.svd_lowrank(w, rank=2))
    shapes = [tuple(p.shape) for p in pyfq.to_torch(network).parameters() if p.ndim == 2]
    assert shapes == [(2, 12), (8, 2), (2, 8), (4, 2)]


@pytest.mark.parametrize("activation", [None, "tanh"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_to_torch_folds_means_and_scales(activation, has_bias):
    rng = np.random.default_rng(5)
    bias = rng.standard_normal(4) if has_bias else None
    layers = [
        Dense(rng.standard_normal((8, 12)), None, "relu"),
        Dense(rng.standard_normal((4, 8)), bias, activation),
    ]
    ends = {
        "input_mean": rng.standard_normal(12), "input_scale": rng.uniform(-2, -1, 12),
        "output_mean": rng.standard_normal(4), "output_scale": rng.uniform(1, 2, 4),
    }  # fmt: skip
    network = Network(layers, **ends)
    assert len(check(network)) == (3 if activation is None else 5)
    check(network.astype(np.float32))


@pytest.mark.parametrize(("weight", "mean", "scale"), [(1, 1e30, 1e-10), (1e-20, 0, 1e30)])
def test_to_torch_refuses_means_and_scales_that_no_weight_holds(weight, mean, scale):
    weight, mean, scale = (np.full(1, x, np.float32) for x in (weight, mean, scale))
    network = Network([Dense(weight[None])], input_mean=mean, input_scale=scale)
    with pytest.raises(ValueError, match=r"in float32: network.astype\(np.float64\) has more room"):
        pyfq.to_torch(network)
    pyfq.to_torch(network.astype(np.float64))


def test_to_torch_leaves_random_numbers_and_the_network_alone():
    network = Network.create((12, 4))
    state = torch.get_rng_state()
    module = pyfq.to_torch(network)
    assert torch.equal(torch.get_rng_state(), state)
    module[0].weight.data.fill_(0)
    assert network.layers[0].weights.any()
    loss = pyfq.to_torch(network)(torch.ones(1, 12)).sum()
    loss.backward()


def test_to_torch_refuses_what_has_no_word():
    network = Network.create((12, 8, 4)).map_weights(lambda w: pyfq.quantize(w, 8))
    with pytest.raises(ValueError, match=r"network is calibrated, .*: call to_onnx"):
        pyfq.to_torch(network.calibrate(X.astype(np.float32)))
    with pytest.raises(ValueError, match=r"dataclasses\.replace\(network, activation_bits=None\)"):
        pyfq.to_torch(dataclasses.replace(network, activation_bits=8))
    with pytest.raises(ValueError, match=r"activation 'exp', for which PyTorch has no module: "):
        pyfq.to_torch(Network.create((12, 8, 4), output_activation="exp"))
    with pytest.raises(TypeError, match="network must be a Network, not ndarray"):
        pyfq.to_torch(X)
