"""Topic `network` against its reference, everywhere, and what it refuses."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from variants import dtypes, everywhere, same

import pyfq
from pyfq import Dense, Network, PerGroup, reference
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.recipes import QuantizeCodebook

DTYPES = [np.float32, np.float64]
# One sample, those that other layouts begin with, a chunk of threads, more than one.
BATCHES = (1, 2, 3, 4, 24, 25, 100, 500)


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def network(dtype, sizes=(21, 37, 130, 5), activation="tanh", **options):
    """Return a network with biases that are not 0."""
    made = Network.create(sizes, activation=activation, dtype=dtype, **options)
    if activation == "exp":  # which overflows where layers of it have large weights
        made = made.map_weights(lambda w: w / 8)
    return made.with_parameters(
        {f"layers.{i}.bias": random(dtype, n) for i, n in enumerate(sizes[1:])}
    )


def pruned(w, ratio=0.7):
    return pyfq.prune_ratio(w, ratio)


FORMS = {
    "dense": lambda w: w,
    "8 bits": lambda w: pyfq.quantize(w, 8),
    "12 bits": lambda w: pyfq.quantize(w, 12),
    "4 bits affine by group": lambda w: pyfq.quantize(
        w, 4, scheme="affine", granularity=PerGroup(8)
    ),
    "3 bits minmax": lambda w: pyfq.quantize(w, 3, scheme="minmax"),
    "csr": lambda w: pyfq.to_sparse(pruned(w), "csr"),
    "2:4": lambda w: pyfq.to_sparse(pyfq.prune_nm(w, 2, 4), "nm"),
    "3:5": lambda w: pyfq.to_sparse(pyfq.prune_nm(w, 3, 5), "nm", n=3, m=5),
    "rows": lambda w: pyfq.to_sparse(pyfq.prune_rows(w, 0.4), "rows"),
    "nf4 by group": lambda w: pyfq.quantize_codebook(w, granularity=PerGroup(8)),
    "a table a row": lambda w: pyfq.quantize_codebook(w, "lloyd", 3, granularity=pyfq.PerRow()),
    "rate": lambda w: pyfq.quantize_rate(w, 5),
    "rate by row": lambda w: pyfq.quantize_rate(
        w, step=0.001, granularity=pyfq.PerRow(), trellis=None
    ),
    "low rank": lambda w: pyfq.svd_lowrank(w, 3),
    "nothing": lambda w: pyfq.to_sparse(np.zeros_like(w), "csr"),
}
CODED = {
    "8 bits": FORMS["8 bits"],
    "4 bits affine by group": FORMS["4 bits affine by group"],
    "3 bits minmax": FORMS["3 bits minmax"],
    "12 bits": FORMS["12 bits"],
    "rate": lambda w: pyfq.quantize_rate(w, 5),
    "csr": lambda w: pyfq.to_sparse(pyfq.quantize(pruned(w).weights, 8), "csr"),
    "2:4": lambda w: pyfq.to_sparse(pyfq.quantize(pyfq.prune_nm(w, 2, 4).weights, 8), "nm"),
    "rows": lambda w: pyfq.to_sparse(pyfq.quantize(pyfq.prune_rows(w, 0.4).weights, 8), "rows"),
    "mixed": lambda w: pyfq.quantize(w, 8) if len(w) > 100 else w,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_forward_matches_reference(dtype, form):
    made = network(dtype).map_weights(FORMS[form])
    x = random(dtype, BATCHES[-1], 21)
    want = reference.forward_network(x, made)
    bound = 200 * np.finfo(dtype).eps * np.abs(want).max()
    for batch in BATCHES:
        seen = {made.forward(x[:batch]).tobytes() for where in everywhere() if " 1 " in where}
        for where in everywhere():
            got = made.forward(x[:batch])
            assert got.tobytes() in seen, where  # the number of threads changes no bit
            np.testing.assert_allclose(got, want[:batch], atol=bound, rtol=0, err_msg=where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", CODED)
def test_forward_of_codes_equals_layers_to_the_bit(dtype, form):
    ends = {"output_mean": random(dtype, 5, seed=1), "output_scale": random(dtype, 5, seed=2)}
    made = replace(network(dtype).map_weights(CODED[form]), activation_bits=8, **ends)
    x = random(dtype, 100, 21)
    for where in everywhere():
        for batch in (1, 2, 3, 25, 100):
            want = x[:batch]
            for layer in made.layers:
                w = layer.weights
                reals = isinstance(w, np.ndarray) or getattr(w, "bits", 8) > 8
                want = pyfq.linear(
                    want,
                    pyfq.prepare(w) if reals else w,
                    layer.bias,
                    activation=layer.activation,
                    activation_bits=None if reals else 8,
                )
            want = ends["output_scale"] * want + ends["output_mean"]
            same(made.forward(x[:batch]), want, f"{where}, {batch} samples")


def test_forward_of_many_long_codes_equals_reference():
    w = pyfq.to_sparse(pyfq.quantize(random(np.float32, 6, 1100), 8), "csr")
    made = Network([Dense(w)], activation_bits=8)
    x = random(np.float32, 30, 1100)
    want = reference.linear_sparse(x, w, activation_bits=8)
    for where in everywhere():
        same(made.forward(x), want, where)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["dense", "8 bits", "4 bits affine by group"])
def test_outputs_of_a_sample_are_the_same_in_any_company(dtype, form):
    made = network(dtype).map_weights(FORMS[form])
    x = random(dtype, 500, 21)
    for where in everywhere():
        whole = made.forward(x)
        for first, last in ((0, 1), (3, 5), (7, 10), (20, 100), (0, 300)):
            same(made.forward(x[first:last]), whole[first:last], where)


@given(
    dtype=dtypes,
    sizes=st.lists(st.integers(1, 20), min_size=2, max_size=4),
    batch=st.integers(1, 30),
    activation=st.sampled_from([*ACTIVATIONS[:-1], ("leaky_relu", 0.3), None]),
    last=st.sampled_from([*ACTIVATIONS, None]),
    scaled=st.booleans(),
)
def test_forward_of_any_network(dtype, sizes, batch, activation, last, scaled):
    made = network(dtype, sizes, activation, output_activation=last)
    if scaled:
        made = replace(
            made,
            input_mean=random(dtype, sizes[0]),
            input_scale=np.full(sizes[0], 2, dtype),
            output_mean=random(dtype, sizes[-1]),
            output_scale=np.full(sizes[-1], 0.5, dtype),
        )
    x = random(dtype, batch, sizes[0])
    want = reference.forward_network(x, made)
    magnitude = 1 + np.abs(want).max()
    np.testing.assert_allclose(
        made.forward(x), want, atol=500 * np.finfo(dtype).eps * magnitude, rtol=0
    )


@pytest.mark.parametrize("format", ["rows", "csr", "nm"])
def test_layers_that_are_pruned_away_leave_the_bias(format):
    w = pyfq.to_sparse(np.zeros((5, 8), np.float32), format)
    made = Network([Dense(w, np.arange(5, dtype=np.float32))])
    for batch in (1, 2, 30):
        same(
            made.forward(np.ones((batch, 8), np.float32)),
            np.tile(made.layers[0].bias, (batch, 1)),
            "",
        )


def test_pairs_have_the_same_bits_for_any_number_of_threads():
    w = pyfq.prune_nm(random(np.float32, 512, 512), 2, 4).weights
    made = Network([Dense(pyfq.to_sparse(w, "nm"))])
    x = random(np.float32, 17, 512)
    for isa in {where.split(",")[0] for where in everywhere()}:
        seen = {made.forward(x).tobytes() for where in everywhere() if where.startswith(f"{isa},")}
        assert len(seen) == 1, isa


def test_forward_takes_one_sample_many_axes_and_none():
    made = network(np.float32)
    x = random(np.float32, 2, 3, 21)
    y = made.forward(x)
    assert y.shape == (2, 3, 5)
    same(made.forward(x[0, 0]), made.forward(x[0, :1])[0], "")
    same(made.forward(x.reshape(6, 21)), y.reshape(6, 5), "")
    assert made.forward(np.empty((0, 21), np.float32)).shape == (0, 5)
    out = np.empty_like(y)
    assert made.forward(x, out=out) is not None
    same(out, y, "")


def test_predict_returns_classes_or_outputs():
    made = network(np.float32)
    x = random(np.float32, 9, 21)
    same(made.predict(x), made.forward(x), "")
    named = replace(made, classes=np.array(list("abcde")))
    assert named.predict(x).tolist() == ["abcde"[i] for i in made.forward(x).argmax(axis=1)]
    assert named.predict(x[0]) == named.predict(x)[0]


def test_create_draws_what_it_says():
    for kind, variance in (("he", 2 / 400), ("glorot", 2 / 700)):
        for shape in ("normal", "uniform"):
            made = Network.create((400, 300), initialization=f"{kind}_{shape}", dtype=np.float64)
            w = made.layers[0].weights
            assert abs(w.var() / variance - 1) < 0.02
            assert (abs(w).max() <= np.sqrt(3 * variance)) == (shape == "uniform")
    same(Network.create((4, 3)).layers[0].weights, Network.create((4, 3)).layers[0].weights, "")
    assert (
        Network.create((4, 3), seed=1).layers[0].weights != made.layers[0].weights[:3, :4]
    ).all()


def test_counts():
    made = network(np.float32, (4, 3, 2))
    assert (made.size, made.multiply_adds, made.nbytes) == (23, 18, 92)
    w = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0]], np.float32)
    sparse = made.with_parameters({"layers.0.weight": pyfq.to_sparse(w, "csr")})
    assert (sparse.size, sparse.multiply_adds) == (14, 9)


def test_parameters_come_back():
    made = network(np.float64)
    again = network(np.float64, seed=2).with_parameters(made.parameters)
    assert list(made.parameters) == [
        f"layers.{i}.{p}" for i in range(3) for p in ("weight", "bias")
    ]
    x = random(np.float64, 4, 21)
    same(again.forward(x), made.forward(x), "")


def test_networks_copy_and_pickle_without_their_plans():
    made = network(np.float32).map_weights(lambda w: pyfq.quantize(w, 4))
    x = random(np.float32, 4, 21)
    y = made.forward(x)
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert not again._models
        same(again.forward(x), y, "")


def test_networks_do_not_change_with_what_they_were_made_of():
    w, b = np.ones((2, 3)), np.zeros(2)
    made = Network([Dense(w, b)])
    x = np.ones((1, 3))
    before = made.forward(x)
    w[...] = b[...] = 9
    same(made.forward(x), before, "")
    with pytest.raises(ValueError, match="read-only"):
        made.layers[0].weights[0, 0] = 1


@pytest.mark.parametrize("how", ["view from before", "flag"])
def test_networks_do_not_change_with_read_only_arrays(how):
    """Who made an array read-only may hold a view from before, or allow writes again."""
    parts = {
        "weights": np.eye(3), "bias": np.ones(3), "input_mean": np.ones(3),
        "input_scale": np.ones(3), "u": np.ones((3, 2)), "v": np.ones((2, 3)),
    }  # fmt: skip
    views = {name: x[:] for name, x in parts.items()}
    for x in parts.values():
        x.flags.writeable = False
    low_rank = Dense(pyfq.LowRank(parts["u"], parts["v"]), parts["bias"])
    ends = {name: parts[name] for name in ("input_mean", "input_scale")}
    made = Network([Dense(parts["weights"], parts["bias"]), low_rank], **ends)
    listed = pyfq.from_arrays([parts["weights"], parts["bias"]])
    for name, x in parts.items():
        if how == "flag":
            x.flags.writeable = True
        (x if how == "flag" else views[name])[...] = np.nan
    x = np.ones((1, 3))
    same(made.forward(x), np.full((1, 3), 7.0), how)  # (0 + 1) summed over 3, twice, and 1
    same(listed.forward(x), np.full((1, 3), 2.0), how)


def test_arrays_of_layers_can_never_be_written_to_and_are_not_copied_again():
    layer = Dense(np.eye(3), np.ones(3))
    for x in (layer.weights, layer.bias):
        with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
            x.flags.writeable = True
    again = replace(layer, activation="relu")
    assert again.weights is layer.weights and again.bias is layer.bias


W = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("error", "match", "make"),
    [
        (
            TypeError,
            "weights must be float32 or float64, not int64",
            lambda: Dense(np.ones((2, 2), int)),
        ),
        (TypeError, "weights must be a NumPy array, not list", lambda: Dense([[1.0]])),
        (ValueError, r"weights must have shape .* not \(2,\)", lambda: Dense(np.ones(2))),
        (ValueError, r"weights must have shape .* not \(0, 2\)", lambda: Dense(np.ones((0, 2)))),
        (ValueError, r"weights\[0, 1\] is nan", lambda: Dense(np.array([[1, np.nan]]))),
        (ValueError, "weights must be C-contiguous", lambda: Dense(W.T)),
        (TypeError, "bias must be float32, not float64", lambda: Dense(W, np.ones(2))),
        (ValueError, r"bias must have shape \(2,\)", lambda: Dense(W, np.ones(3, "f4"))),
        (ValueError, "activation must be None", lambda: Dense(W, activation="swish")),
        (TypeError, "layers must be", lambda: Network([])),
        (TypeError, "layers must be", lambda: Network([W])),
        (TypeError, "layers must be", lambda: Network(np.array(1.0))),
        (
            ValueError,
            r"layers\[1\] must have 2 inputs, not 3",
            lambda: Network([Dense(W), Dense(W)]),
        ),
        (
            TypeError,
            r"layers\[1\] must be float32",
            lambda: Network([Dense(W), Dense(np.ones((1, 2)))]),
        ),
        (
            ValueError,
            r"layers\[0\] must not be softmax",
            lambda: Network([Dense(W, activation="softmax"), Dense(np.ones((1, 2), "f4"))]),
        ),
        (ValueError, "activation_bits must be", lambda: Network([Dense(W)], activation_bits=4)),
        (ValueError, "activation_bits must be", lambda: Network([Dense(W)], activation_bits=W)),
        (TypeError, "layers must be a sequence of at least one Dense", lambda: Network(5)),
        (TypeError, "layers must be a sequence of at least one Dense", lambda: Network(None)),
        (
            ValueError,
            "must both be given",
            lambda: Network([Dense(W)], input_mean=np.ones(3, "f4")),
        ),
        (
            ValueError,
            r"input_scale must not be 0, but input_scale\[1\] is",
            lambda: Network([Dense(W)], np.ones(3, "f4"), np.array([1, 0, 1], "f4")),
        ),
        (
            ValueError,
            r"output_mean must have shape \(2,\)",
            lambda: Network([Dense(W)], output_mean=W[0], output_scale=W[0]),
        ),
        (
            ValueError,
            r"classes must have shape \(2,\)",
            lambda: Network([Dense(W)], classes=np.arange(3)),
        ),
        (
            TypeError,
            "classes must be numbers or strings, not object",
            lambda: Network([Dense(W)], classes=np.array(["a", 1], object)),
        ),
        (
            ValueError,
            "classes must differ",
            lambda: Network([Dense(W)], classes=np.array(["a", "a"])),
        ),
        (ValueError, "sizes must be at least", lambda: Network.create((3,))),
        (ValueError, r"sizes\[1\] must be at least 1", lambda: Network.create((3, 0))),
        (TypeError, "dtype must be", lambda: Network.create((3, 2), dtype=np.int32)),
        (
            ValueError,
            "initialization must be one of",
            lambda: Network.create((3, 2), initialization="zeros"),
        ),
        (
            ValueError,
            "parameters must be those of the network, not 'layers.7.bias'",
            lambda: Network([Dense(W)]).with_parameters({"layers.7.bias": W[0]}),
        ),
        (
            ValueError,
            r"layers.0.weight must have shape \(2, 3\)",
            lambda: Network([Dense(W)]).with_parameters({"layers.0.weight": W[:1].copy()}),
        ),
        (TypeError, "x must be numbers", lambda: Network([Dense(W)]).forward(["a", "b", "c"])),
        (
            ValueError,
            r"x must have shape \(..., 3\)",
            lambda: Network([Dense(W)]).forward(W.reshape(3, 2)),
        ),
        (
            ValueError,
            "out must not overlap",
            lambda: Network([Dense(np.eye(2))]).forward(x := np.ones((2, 2)), out=x),
        ),
    ],
)
def test_refusals(error, match, make):
    with pytest.raises(error, match=match):
        make()


def test_codes_of_inputs_that_are_not_finite_are_refused():
    made = replace(network(np.float32).map_weights(CODED["8 bits"]), activation_bits=8)
    x = random(np.float32, 3, 21)
    x[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"x\[1, 2\] is nan"):
        made.forward(x)
    huge = Network(
        [Dense(np.full((1, 1), 3e38, np.float32)), Dense(pyfq.quantize(np.ones((1, 1), "f4"), 8))],
        activation_bits=8,
    )
    with pytest.raises(pyfq.FqError, match=r"^layers\[1\]: forward_network: an input holds NaN"):
        huge.forward(np.full((1, 1), 2, np.float32))


def test_predict_chooses_no_class_by_nan():
    network = Network([Dense(np.eye(2))], classes=np.array(["cat", "dog"]))
    x = np.array([[0.1, 0.9], [np.nan, 0.2], [1.0, np.nan]])
    with pytest.raises(ValueError, match="not be NaN to choose a class by, but those of sample 1"):
        network.predict(x)
    assert network.predict(x[:1])[0] == "dog"


def test_classes_that_are_no_numbers_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"classes must be finite, but classes\[1\]"):
            Network([Dense(np.eye(2))], classes=np.array([0.5, bad]))


@pytest.mark.parametrize("n", [2**63, 2**64, 10**400])
def test_integers_beyond_64_bits_are_refused(n):
    for call in (
        lambda: pyfq.quantize_codebook(np.ones((2, 3)), "lloyd", iterations=n),
        lambda: pyfq.PerGroup(n),
        lambda: pyfq.prepare(np.ones((4, 3)), batch=n),
        lambda: pyfq.train(
            Network.create((2, 2)), np.ones((1, 2), "f"), np.zeros(1, int), epochs=n
        ),
        lambda: QuantizeCodebook("lloyd", iterations=n),
        lambda: pyfq.Schedule(every=n),
        lambda: pyfq.unpack(np.ones(1, np.uint8), 4, n),
        lambda: pyfq.prune_rows(np.ones((4, 3)), 0.5, round_to=n),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()
    generator = Network.create((2, 3), seed=n)  # which takes any
    assert generator.sizes == (2, 3)


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (TypeError, "sizes must be a sequence of int, not int", {"sizes": 5}),
        (TypeError, "sizes must be a sequence of int, not bytes", {"sizes": b"43"}),
        (ValueError, "activation must be None, .*'rleu'$", {"activation": "rleu"}),
        (ValueError, "activation must be None, .*not array", {"activation": W}),
        (ValueError, "output_activation must be .*'rleu'$", {"output_activation": "rleu"}),
        (TypeError, "dtype must be float32 or float64, not 'x'$", {"dtype": "x"}),
        (TypeError, "dtype must be float32 or float64, not >f4$", {"dtype": ">f4"}),
    ],
)
@pytest.mark.parametrize("sizes", [(4, 3), (4, 3, 2)])
def test_create_names_the_argument_that_is_wrong(error, match, options, sizes):
    """Also an activation that no layer has, as there is one only."""
    with pytest.raises(error, match=r"^" + match):
        Network.create(**{"sizes": sizes, **options})


def test_what_is_no_function_and_no_mapping_is_refused_by_name():
    with pytest.raises(TypeError, match=r"^function must be a callable, not str$"):
        network(np.float32).map_weights("x")
    for wrong in (None, [W], "layers.0.weight"):
        with pytest.raises(TypeError, match=r"^parameters must be a mapping from names to arrays"):
            network(np.float32).with_parameters(wrong)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_layers_of_a_table_stay_floats(dtype):
    """Between layers of codes, whose inputs become codes."""
    made = network(dtype).map_weights(
        lambda w: pyfq.quantize_codebook(w) if len(w) > 100 else pyfq.quantize(w, 8)
    )
    made = replace(made, activation_bits=8)
    x = random(dtype, 25, 21)
    want = x
    for layer in made.layers:
        bits = 8 if isinstance(layer.weights, pyfq.Quantized) else None
        want = reference.linear(
            want, layer.weights, layer.bias, activation=layer.activation, activation_bits=bits
        )
    same(reference.forward_network(x, made), want, "reference")
    room = 0.02 * np.abs(want).max()  # a rounding more may be a code more
    for where in everywhere():
        np.testing.assert_allclose(made.forward(x), want, atol=room, rtol=0, err_msg=where)


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("batch", [1, 2, 30])
def test_layers_without_a_row_that_is_kept(bits, batch):
    w = pyfq.to_sparse(pyfq.quantize(np.zeros((3, 4), np.float32)), "rows")
    bias = np.arange(3, dtype=np.float32)
    made = pyfq.Network([pyfq.Dense(w, bias)], activation_bits=bits)
    x = np.ones((batch, 4), np.float32)
    np.testing.assert_array_equal(made.forward(x), np.broadcast_to(bias, (batch, 3)))


@pytest.mark.parametrize(
    "function",
    [
        None,
        lambda w: pyfq.quantize(w, 4, scheme="affine"),
        lambda w: pyfq.quantize(w, 8, scheme="minmax"),
        lambda w: pyfq.quantize_codebook(w, "nf4", scale_bits=8),
        lambda w: pyfq.quantize_rate(w, bits=4.0),
        lambda w: pyfq.svd_lowrank(w, rank=3),
        lambda w: pyfq.to_sparse(pyfq.prune_nm(w), "nm"),
        lambda w: pyfq.to_sparse(pyfq.quantize(w, 8), "csr"),
    ],
)
def test_astype_gives_the_same_network_in_another_dtype(function):
    network = Network.create((32, 48, 24), activation="elu", seed=2)
    ends = {"input_mean": np.ones(32, np.float32), "input_scale": np.full(32, 3, np.float32)}
    network = replace(network, classes=np.arange(24), **ends)
    network = network if function is None else network.map_weights(function)
    x = np.random.default_rng(3).standard_normal((20, 32)).astype(np.float32)
    wide = network.astype(np.float64)
    assert wide.dtype == np.float64 and wide.sizes == network.sizes
    assert [type(a.weights) for a in wide.layers] == [type(b.weights) for b in network.layers]
    np.testing.assert_array_equal(wide.classes, network.classes)
    np.testing.assert_allclose(wide.forward(x.astype(float)), network.forward(x), atol=1e-5)
    again = wide.astype("float32")
    np.testing.assert_array_equal(again.forward(x), network.forward(x))
    assert network.astype(np.float32) is network


def test_astype_refuses_what_does_not_fit():
    network = Network([Dense(np.array([[1e300]]))])
    with pytest.raises(ValueError, match="weights must be finite"):
        network.astype(np.float32)
    with pytest.raises(TypeError, match="dtype must be float32 or float64, not float16"):
        network.astype(np.float16)
    half = Network.create((4, 3)).map_weights(pyfq.to_half)
    with pytest.raises(TypeError, match="weights of 2 bytes go with float32, not float64: network"):
        half.astype(np.float64)


def test_astype_keeps_calibration():
    x = np.random.default_rng(4).standard_normal((50, 32)).astype(np.float32)
    network = Network.create((32, 16, 4)).map_weights(lambda w: pyfq.quantize(w, 8)).calibrate(x)
    wide = network.astype(np.float64)
    assert wide.layers[0].x_scale == network.layers[0].x_scale
    np.testing.assert_allclose(wide.forward(x.astype(float)), network.forward(x), atol=1e-4)


def test_pruned_weights_are_taken_as_they_are():
    network = Network.create((32, 16, 4))
    sparse = network.map_weights(lambda w: pruned(w, 0.5))
    for layer, its in zip(sparse.layers, network.layers, strict=True):
        want = pyfq.prune_ratio(its.weights, 0.5).weights
        np.testing.assert_array_equal(layer.weights, want)
    again = network.with_parameters({"layers.0.weight": pruned(network.layers[0].weights, 0.5)})
    np.testing.assert_array_equal(again.layers[0].weights, sparse.layers[0].weights)
