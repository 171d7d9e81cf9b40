"""Topic `derivatives` against its reference, finite differences and PyTorch, everywhere."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from test_network import DTYPES, FORMS, network, random
from variants import everywhere

import pyfq
from pyfq import Dense, Network, reference

ACTIVATIONS = (
    None, "relu", ("leaky_relu", 0.2), ("clipped_relu", 1.0), ("elu", 0.7), "tanh", "sigmoid",
    "silu", "gelu", "gelu_tanh", "softplus", "exp",
)  # fmt: skip


def with_ends(made):
    """Return a network that takes and returns other units."""
    k, n = made.sizes[0], made.sizes[-1]
    spread = [1 + abs(random(made.dtype, size, seed=9)) for size in (k, n)]
    return replace(
        made, input_mean=random(made.dtype, k, seed=1), input_scale=spread[0],
        output_mean=random(made.dtype, n, seed=2), output_scale=spread[1],
    )  # fmt: skip


def in_torch(made, torch):
    """Return what a network computes as a function of tensors; of exp PyTorch has no module."""
    steps = []
    for layer in made.layers:
        is_exp = layer.activation == "exp"
        steps.append(
            pyfq.to_torch(Network([replace(layer, activation=None)] if is_exp else [layer]))
        )
        steps += [torch.exp] * is_exp
    return lambda a: functools.reduce(lambda b, step: step(b), steps, a)


def near(got, want, dtype, where=""):
    np.testing.assert_allclose(
        got, want, atol=500 * np.finfo(dtype).eps * np.abs(want).max(initial=0), rtol=0,
        err_msg=where,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_products_match_reference(dtype, form):
    made = with_ends(network(dtype)).map_weights(FORMS[form])
    x, v, t = (random(dtype, 300, n, seed=n) for n in (21, 5, 21))
    backward, forward = reference.vjp_network(x, v, made), reference.jvp_network(x, t, made)
    for batch in (1, 3, 25, 300):
        seen = {}
        for where in everywhere():
            got = made.vjp(x[:batch], v[:batch]), made.jvp(x[:batch], t[:batch])
            near(got[0], backward[:batch], dtype, where)
            near(got[1], forward[:batch], dtype, where)
            bits = tuple(each.tobytes() for each in got)
            isa = where.split(",")[0]
            assert seen.setdefault(isa, bits) == bits, where  # threads change no bit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output_activation", [None, "softmax", "sigmoid", "exp"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_are_those_of_torch(dtype, activation, output_activation):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    made = network(dtype, (7, 33, 20, 5), activation, output_activation=output_activation)
    x, v, t = (torch.from_numpy(random(dtype, 11, n, seed=n)) for n in (7, 5, 8))
    t = t[:, :7].contiguous()
    function = in_torch(made, torch)
    _, backward = torch.autograd.functional.vjp(function, x, v)
    _, forward = torch.autograd.functional.jvp(function, x, t)
    near(made.vjp(x, v), backward.numpy(), dtype)
    near(made.jvp(x, t), forward.numpy(), dtype)


@pytest.mark.parametrize("sizes", [(3, 17, 6), (6, 17, 3), (1, 1), (70, 2)])
def test_jacobian_is_that_of_finite_differences(sizes):
    made = with_ends(network(np.float64, sizes, "gelu"))
    x = random(np.float64, 4, sizes[0])
    h = 1e-6
    steps = h * np.eye(sizes[0])
    differences = (made.forward(x[:, None] + steps) - made.forward(x[:, None] - steps)) / (2 * h)
    got = made.jacobian(x)
    assert got.shape == (4, sizes[-1], sizes[0])
    np.testing.assert_allclose(got, differences.swapaxes(1, 2), atol=1e-7, rtol=1e-7)
    assert made.jacobian(x[0]).tobytes() == got[0].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_reverse_are_adjoint(dtype):
    made = with_ends(network(dtype, activation="silu"))
    x, t, v = random(dtype, 50, 21), random(dtype, 50, 21, seed=4), random(dtype, 50, 5, seed=5)
    left = np.sum(v * made.jvp(x, t), axis=1)
    right = np.sum(made.vjp(x, v) * t, axis=1)
    np.testing.assert_allclose(left, right, rtol=0, atol=1000 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_has_the_same_bits_in_any_company(dtype):
    made = with_ends(network(dtype))
    x, v, t = (random(dtype, 300, n, seed=n) for n in (21, 5, 21))
    backward, forward, whole = made.vjp(x, v), made.jvp(x, t), made.jacobian(x[:40])
    for where in everywhere():
        if pyfq.isa not in where:
            continue
        for part in (slice(0, 1), slice(5, 8), slice(17, 142), slice(299, 300)):
            assert made.vjp(x[part], v[part]).tobytes() == backward[part].tobytes(), where
            assert made.jvp(x[part], t[part]).tobytes() == forward[part].tobytes(), where
        assert made.jacobian(x[5:8]).tobytes() == whole[5:8].tobytes(), where


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_of_activations_have_the_same_bits_in_any_company(activation, dtype):
    made = Network([Dense(random(dtype, 65, 17) / 4, None, activation)])
    x, t = random(dtype, 31, 17), random(dtype, 31, 17, seed=1)
    for where in everywhere():
        together = made.jvp(x, t)
        alone = np.concatenate([made.jvp(x[i : i + 1], t[i : i + 1]) for i in range(31)])
        assert together.tobytes() == alone.tobytes(), where


def test_rows_of_the_jacobian_are_products():
    made = network(np.float32)
    x = random(np.float32, 6, 21)
    whole = made.jacobian(x)
    for i, unit in enumerate(np.eye(5, dtype=np.float32)):
        product = made.vjp(x, np.broadcast_to(unit, (6, 5)))
        assert product.tobytes() == np.ascontiguousarray(whole[:, i]).tobytes()


def test_shapes_and_data_are_those_of_forward():
    made = network(np.float32)
    x, v = random(np.float32, 2, 3, 21), random(np.float32, 2, 3, 5)
    assert made.vjp(x, v).shape == (2, 3, 21)
    assert made.jvp(x, x).shape == (2, 3, 5)
    assert made.jacobian(x).shape == (2, 3, 5, 21)
    assert made.jacobian(x[0, 0]).shape == (5, 21)
    assert made.vjp(x[0, 0].tolist(), v[0, 0].astype(np.float64)).shape == (21,)
    assert made.vjp(x[:0], v[:0]).shape == (0, 3, 21)
    assert made.jacobian(x[:, :0]).shape == (2, 0, 5, 21)


def test_a_network_is_differentiated_after_it_ran_and_before():
    made = network(np.float32)
    x, v = random(np.float32, 6, 21), random(np.float32, 6, 5)
    before = made.vjp(x, v)
    y = made.forward(x)
    assert made.vjp(x, v).tobytes() == before.tobytes()
    assert made.forward(x).tobytes() == y.tobytes() == network(np.float32).forward(x).tobytes()


def test_refusals_name_the_argument():
    made = network(np.float32)
    x = random(np.float32, 6, 21)
    with pytest.raises(ValueError, match=r"v must have shape \(6, 5\) for x of shape \(6, 21\)"):
        made.vjp(x, x)
    with pytest.raises(ValueError, match=r"v must have shape \(6, 21\)"):
        made.jvp(x, x[:, :5])
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 21\), not \(6, 20\)"):
        made.jacobian(x[:, :20])
    with pytest.raises(TypeError, match="v must be an array"):
        made.vjp(x, None)
    codes = made.map_weights(lambda w: pyfq.quantize(w, 8))
    for coded in (replace(codes, activation_bits=8), codes.calibrate(x)):
        with pytest.raises(ValueError, match="activation_bits must be None for derivatives, not 8"):
            coded.jacobian(x)


def test_at_a_kink_the_derivative_is_that_from_below():
    w = np.eye(2)
    for activation, want in (("relu", 0), (("leaky_relu", 0.1), 0.1), (("elu", 2.0), 2.0)):
        made = Network([Dense(w, activation=activation)])
        np.testing.assert_array_equal(made.jacobian(np.zeros(2)), want * w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_far_out_derivatives_are_those_of_the_ends(dtype, activation):
    made = Network([Dense(np.ones((1, 1), dtype), activation=activation)])
    far = np.array([-1e38, -1e20, -1e10, -1e5, 1e5, 1e10, 1e20, 1e38], dtype)
    if dtype == np.float64:
        far = np.concatenate([far, [-1e300, -1e197, -50, 50, 1e197, 1e300]])
    with np.errstate(over="ignore"):
        exponentials = np.exp(far)
    below, above = {
        None: (1, 1), "leaky_relu": (0.2, 1), "clipped_relu": (0, 0), "tanh": (0, 0),
        "sigmoid": (0, 0), "exp": (0, exponentials),
    }.get(activation if isinstance(activation, str | None) else activation[0], (0, 1))  # fmt: skip
    got = made.jacobian(far[:, None])[:, 0, 0]
    np.testing.assert_allclose(got, np.where(far < 0, below, above), atol=1e-15)
