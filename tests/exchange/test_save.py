"""Networks in files: what is read is what was written, and what is no network is refused."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfq
from pyfq import Dense, Network, PerGroup, PerRow, PerTensor, Quantized, Sparse
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.arrays.quantize import SCHEMES
from pyfq.cli import main
from pyfq.exchange import network_format
from pyfq.exchange.methods.rate import TRADEOFFS
from pyfq.io import FormatError, open_safetensors, write_npz, write_safetensors

PARTS = ("input_mean", "input_scale", "output_mean", "output_scale", "classes")


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def identical(a, b):
    """Compare arrays to the bit, zeros without sign included."""
    if a is None or b is None:
        assert a is b
        return
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def same_weights(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        identical(a, b)
        return
    for field in dataclasses.fields(a):
        if field.init:
            left, right = getattr(a, field.name), getattr(b, field.name)
            if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
                identical(left, right)
            elif isinstance(left, Quantized):
                same_weights(left, right)
            else:
                assert left == right, field.name


def same_network(a, b):
    assert (a.sizes, a.activation_bits) == (b.sizes, b.activation_bits)
    for part in PARTS:
        identical(getattr(a, part), getattr(b, part))
    for left, right in zip(a.layers, b.layers, strict=True):
        same_weights(left.weights, right.weights)
        identical(left.bias, right.bias)
        assert left.activation == right.activation
    x = random(a.dtype, 5, a.sizes[0])
    identical(a.forward(x), b.forward(x))


def round_trip(network, path):
    pyfq.save_network(network, path)
    same_network(pyfq.load_network(path), network)


def network_of(*weights, activation="relu", **options):
    """Return a network of layers of these weights, every other one with a bias."""
    layers = []
    for i, w in enumerate(weights):
        dtype = w.scale.dtype if isinstance(w, Quantized) else w.dtype
        layers.append(Dense(w, random(dtype, w.shape[0]) if i % 2 else None, activation))
    return Network(layers, **options)


granularities = st.one_of(
    st.just(PerTensor()), st.just(PerRow()), st.builds(PerGroup, st.integers(1, 12))
)


@st.composite
def some_weights(draw, rows, cols, dtype):
    """Draw weights in any form that there is."""
    w = np.round(random(dtype, rows, cols, seed=draw(st.integers(0, 99))), 1)
    form = draw(st.sampled_from(["array", "quantized", "fixed", "rate", "csr", "nm", "rows"]))
    match form:
        case "quantized":
            bits, scheme = draw(st.integers(1, 16)), draw(st.sampled_from(SCHEMES))
            one = {"range": "full", "scale": "signed_max"}
            how = one if (bits, scheme) == (1, "symmetric") else {}
            granularity = draw(granularities)
            return pyfq.quantize(w, bits, scheme=scheme, granularity=granularity, **how)
        case "fixed":
            signed = draw(st.booleans())
            return pyfq.quantize_fixed_point(w, 1, draw(st.integers(0, 12)), signed=signed)
        case "rate":
            step, trellis = draw(st.floats(1e-3, 2)), draw(st.sampled_from([8, 4, None]))
            granularity = draw(st.sampled_from([PerTensor(), PerRow()]))
            return pyfq.quantize_rate(w, step=step, trellis=trellis, granularity=granularity)
        case "nm":
            m = draw(st.integers(2, 8))
            n = draw(st.integers(1, m))
            w = pyfq.prune_nm(w, n, m).weights
        case "rows":
            w = pyfq.prune_rows(w, 0.5).weights
            m = n = 2
        case _:
            w = pyfq.prune_ratio(w, 0.5).weights
            n = m = 2
    if form == "array":
        return w
    if draw(st.booleans()):
        granularity = draw(st.sampled_from([PerTensor(), PerRow()]))
        w = pyfq.quantize(w, draw(st.integers(2, 8)), granularity=granularity)
    return pyfq.to_sparse(w, form, n=n, m=m)


@st.composite
def networks(draw):
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    sizes = draw(st.lists(st.integers(1, 11), min_size=2, max_size=4))
    layers = []
    for i, (k, n) in enumerate(itertools.pairwise(sizes)):
        softmax = () if i < len(sizes) - 2 else ("softmax",)
        plain = [word for word in ACTIVATIONS if word != "softmax"]
        activation = draw(
            st.one_of(
                st.sampled_from([None, *plain, *softmax]),
                st.tuples(st.just("leaky_relu"), st.floats(-2, 2)),
            )
        )
        bias = random(dtype, n, seed=i) if draw(st.booleans()) else None
        layers.append(Dense(draw(some_weights(n, k, dtype)), bias, activation))
    ends = {}
    for side, n in (("input", sizes[0]), ("output", sizes[-1])):
        if draw(st.booleans()):
            ends |= {f"{side}_mean": random(dtype, n), f"{side}_scale": random(dtype, n, seed=1)}
    n = sizes[-1]
    classes = draw(
        st.sampled_from(
            [
                None,
                np.arange(n),
                2 * np.arange(n, dtype=np.uint8),
                np.linspace(0, 1, n, dtype=np.float16),
                np.array([f"ä{i}" for i in range(n)]),
            ]
        )
    )
    return Network(
        layers, **ends, classes=classes, activation_bits=draw(st.sampled_from([None, 8]))
    )


@given(networks())
@settings(max_examples=60)
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, network):
    round_trip(network, tmp_path_factory.getbasetemp() / "network.safetensors")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", range(1, 17))
def test_codes_of_any_width_come_back(tmp_path, bits, scheme):
    how = {"range": "full", "scale": "signed_max"} if (bits, scheme) == (1, "symmetric") else {}
    for dtype in (np.float32, np.float64):
        layers = [
            pyfq.quantize(random(dtype, 13, 13), bits, scheme=scheme, granularity=g, **how)
            for g in (PerTensor(), PerRow(), PerGroup(5), PerGroup(13), PerGroup(100))
        ]
        round_trip(network_of(*layers), tmp_path / "n.safetensors")


def test_codes_that_a_recipe_cannot_express_come_back(tmp_path):
    path = tmp_path / "n.safetensors"
    q = pyfq.quantize(random(np.float32, 6, 8), 4, scheme="affine")
    least = random(np.float32, 6, 1)
    zero = np.zeros_like(q.scale)
    for odd in (
        dataclasses.replace(q, zero_point=None),
        dataclasses.replace(q, minimum=least),
        dataclasses.replace(q, signed=True, zero_point=None, minimum=least),
        dataclasses.replace(q, scale=zero),
        dataclasses.replace(q, granularity=PerGroup(np.int64(9))),
        pyfq.quantize_fixed_point(random(np.float64, 6, 8), 2, 5, signed=False),
        pyfq.quantize(random(np.float64, 6, 8), 8, scale=-0.01, range="full"),
    ):
        round_trip(network_of(odd), path)
    with open_safetensors(path) as file:  # the last one a recipe can
        assert "pyfq" in file.metadata
    pyfq.save_network(network_of(dataclasses.replace(q, zero_point=None)), path)
    with open_safetensors(path) as file:
        assert "pyfq" not in file.metadata
        assert set(file) == {"layers.0.weight_packed", "layers.0.weight_scale"}


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    w = pyfq.to_sparse(pyfq.prune_nm(random(np.float32, 4, 8), 2, 4).weights, "nm")
    w = dataclasses.replace(w, n=np.int64(2))
    network = Network([Dense(w, activation=("leaky_relu", np.float32(0.3)))])
    round_trip(network, tmp_path / "n.safetensors")


def test_arrays_that_are_loaded_are_aligned_and_outlive_the_file(tmp_path):
    path = tmp_path / "n.safetensors"
    network = network_of(
        random(np.float32, 3, 5), pyfq.quantize(random(np.float32, 7, 3), 3, scheme="affine")
    )
    pyfq.save_network(network, path)
    loaded = pyfq.load_network(path)
    path.write_bytes(b"")
    same_network(loaded, network)


# ------------------------------------------------------------------------------ the command line


@pytest.fixture
def dense(tmp_path):
    """Return a network and the file it was saved to."""
    path = tmp_path / "dense.safetensors"
    network = dataclasses.replace(
        Network.create((96, 128, 10), activation=("leaky_relu", 0.2), output_activation="softmax"),
        input_mean=random(np.float32, 96),
        input_scale=np.full(96, 2, np.float32),
        classes=np.array([f"class {i}" for i in range(10)]),
    )
    pyfq.save_network(network, path)
    return network, path


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize(
    ("flags", "how"),
    [
        (["--bits", "4"], {"bits": 4, "granularity": PerGroup(64), "calibration": "als"}),
        (["--per-row"], {"bits": 8}),
        (
            ["--method", "rtn", "--bits", "3", "--per-row", "--scheme", "minmax"],
            {"bits": 3, "scheme": "minmax"},
        ),
    ],
)
@pytest.mark.parametrize("target", ["small.safetensors", "small"])
def test_a_network_that_was_compressed_is_loaded_quantized(dense, tmp_path, flags, how, target):
    network, path = dense
    run("compress", path, "-o", tmp_path / target, *flags)
    large, small = network.layers
    want = dataclasses.replace(large, weights=pyfq.quantize(large.weights, **how))
    loaded = pyfq.load_network(tmp_path / target)
    same_network(loaded, dataclasses.replace(network, layers=(want, small)))


@pytest.mark.parametrize(
    ("flags", "make"),
    [
        (["--method", "nf4"], lambda w: pyfq.quantize_codebook(w, "nf4")),
        (
            ["--method", "lloyd", "--bits", "3", "--per-row"],
            lambda w: pyfq.quantize_codebook(w, "lloyd", 3, granularity=PerRow()),
        ),
        (
            ["--method", "nf4", "--per-tensor", "--calibration", "mse"],
            lambda w: pyfq.quantize_codebook(w, granularity=PerTensor(), calibration="mse"),
        ),
        (
            ["--method", "lloyd", "--bits", "3", "--calibration", "mse", "--scale-bits", "8"],
            lambda w: pyfq.quantize_codebook(w, "lloyd", 3, calibration="mse", scale_bits=8),
        ),
        (
            ["--method", "rate", "--bits", "6"],
            lambda w: pyfq.quantize_rate(w, 6, tradeoff=TRADEOFFS[8]),
        ),
        (
            ["--step", "0.01", "--per-row", "--trellis", "none"],
            lambda w: pyfq.quantize_rate(
                w, step=0.01, granularity=PerRow(), trellis=None, tradeoff=TRADEOFFS[None]
            ),
        ),
        (["--rank", "5"], lambda w: dataclasses.replace(pyfq.svd_lowrank(w, 5), error=None)),
        (["--method", "bfloat16"], lambda w: pyfq.to_half(w, "bfloat16")),
    ],
)
def test_a_network_that_was_compressed_is_loaded_in_that_form(dense, tmp_path, flags, make):
    network, path = dense
    run("compress", path, "-o", tmp_path / "small.safetensors", *flags)
    large, small = network.layers
    want = dataclasses.replace(large, weights=make(large.weights))
    loaded = pyfq.load_network(tmp_path / "small.safetensors")
    assert type(loaded.layers[0].weights) is type(want.weights)
    same_network(loaded, dataclasses.replace(network, layers=(want, small)))


def test_a_network_that_was_pruned_or_written_dense_is_loaded_as_arrays(dense, tmp_path):
    network, path = dense
    run("compress", path, "-o", tmp_path / "p.safetensors", "--prune-ratio", "0.5")
    large, small = network.layers
    pruned = pyfq.prune_ratio(large.weights, 0.5).weights
    want = dataclasses.replace(network, layers=(dataclasses.replace(large, weights=pruned), small))
    same_network(pyfq.load_network(tmp_path / "p.safetensors"), want)
    run("compress", path, "-o", tmp_path / "d.safetensors", "--bits", "4", "--dense")
    loaded = pyfq.load_network(tmp_path / "d.safetensors")
    assert all(isinstance(layer.weights, np.ndarray) for layer in loaded.layers)


def test_a_tensor_that_only_an_array_can_be_is_loaded_as_the_floats_of_its_codes(dense, tmp_path):
    network, path = dense
    recipe = tmp_path / "r.toml"
    recipe.write_text('[[rule]]\nmatch = "*"\nquantize = { bits = 8, group_size = 16 }\n')
    run("compress", path, "-o", tmp_path / "all.safetensors", "--recipe", recipe)
    loaded = pyfq.load_network(tmp_path / "all.safetensors")
    assert all(isinstance(layer.weights, Quantized) for layer in loaded.layers)
    rounded = pyfq.fake_quantize(network.input_mean, 8, granularity=PerGroup(16))
    identical(loaded.input_mean, rounded)
    assert loaded.layers[0].bias.dtype == np.float32

    sparse = network.map_weights(lambda w: pyfq.to_sparse(pyfq.prune_nm(w, 2, 4), "nm"))
    pyfq.save_network(sparse, path)
    run("compress", path, "-o", tmp_path / "s.safetensors", "--bits", "8")
    loaded = pyfq.load_network(tmp_path / "s.safetensors")
    values = sparse.layers[0].weights.values
    assert isinstance(loaded.layers[0].weights, Sparse)
    identical(
        loaded.layers[0].weights.values, pyfq.fake_quantize(values, granularity=PerGroup(128))
    )


def test_a_quantized_network_is_inspected_and_decompressed(dense, tmp_path, capsys):
    network, path = dense
    small = network.map_weights(lambda w: pyfq.quantize(w, 4, scheme="affine"))
    pyfq.save_network(small, path)
    run("inspect", path)
    assert capsys.readouterr().out.count("int4 affine per row") == 2
    run("decompress", path, "-o", tmp_path / "d.safetensors")
    want = small.map_weights(np.asarray)
    same_network(pyfq.load_network(tmp_path / "d.safetensors"), want)


# ------------------------------------------------------------------------------ what is refused


def test_save_refuses_what_is_no_network(tmp_path):
    network = Network.create((3, 2))
    with pytest.raises(TypeError, match="network must be a Network, not dict"):
        pyfq.save_network({}, tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match=r"path must end in \.safetensors, not 'n\.npz'"):
        pyfq.save_network(network, tmp_path / "n.npz")
    odd = dataclasses.replace(network, classes=np.arange(2, dtype=np.longdouble))
    with pytest.raises(TypeError, match="classes must be strings, or numbers of a dtype"):
        pyfq.save_network(odd, tmp_path / "n.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_the_file_as_it_was(dense, monkeypatch):
    network, path = dense
    before = path.read_bytes()
    bad = dataclasses.replace(network, classes=np.array([f"\ud800{i}" for i in range(10)]))
    with pytest.raises(ValueError, match="surrogates"):
        pyfq.save_network(bad, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def parts(tmp_path):
    """Return tensors and entry of a file that has everything."""
    path = tmp_path / "whole.safetensors"
    sparse = pyfq.to_sparse(pyfq.prune_nm(random(np.float32, 5, 7), 2, 4).weights, "nm")
    fixed = pyfq.quantize_fixed_point(random(np.float32, 6, 5), 1, 3, signed=False)
    network = network_of(
        sparse,
        fixed,
        random(np.float32, 4, 6),
        pyfq.quantize(random(np.float32, 2, 4), 4),
        input_mean=np.zeros(7, np.float32),
        input_scale=np.ones(7, np.float32),
        classes=np.arange(2),
    )
    pyfq.save_network(network, path)
    with open_safetensors(path) as file:
        tensors = {name: np.array(file[name]) for name in file}
        metadata = dict(file.metadata)
    return tensors, json.loads(metadata.pop(network_format.KEY)), metadata


def refuse(path, parts, match):
    """Write a damaged file and expect its refusal, by its name."""
    tensors, entry, metadata = parts
    text = entry if isinstance(entry, str) else json.dumps(entry)
    write_safetensors(path, tensors, metadata | {network_format.KEY: text})
    with pytest.raises(FormatError, match=match) as refusal:
        pyfq.load_network(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert str(refusal.value).count(str(path)) == 1


def test_every_tensor_that_is_missing_is_missed(tmp_path, parts):
    tensors, entry, metadata = parts
    for name in tensors:
        left = {key: x for key, x in tensors.items() if key != name}
        refuse(tmp_path / "n.safetensors", (left, entry, metadata), "(missing|must be given)")


def test_every_tensor_of_another_shape_is_refused(tmp_path, parts):
    tensors, entry, metadata = parts
    for name, x in tensors.items():
        other = tensors | {name: np.concatenate([np.atleast_1d(x)] * 2)}
        refuse(tmp_path / "n.safetensors", (other, entry, metadata), "(shape|expected .* not)")


def test_a_tensor_too_many_is_refused(tmp_path, parts):
    tensors, entry, metadata = parts
    extra = tensors | {"layers.0.bias": np.zeros(5, np.float32)}
    refuse(
        tmp_path / "n.safetensors",
        (extra, entry, metadata),
        "tensor 'layers.0.bias' is none of the network's",
    )


CHANGES = {
    "version must be 1, not 2": {"version": 2},
    "version is missing": {"version": ...},
    "sizes must be at least 2 positive integers": {"sizes": [7, 0, 6, 4, 2]},
    "layers must be 3 for 4 sizes, not 4": {"sizes": [7, 6, 4, 2]},
    "layers.2: tensor 'layers.2.weight' must have shape": {"sizes": [7, 5, 6, 3, 2]},
    "layers.0: entry 'pyfq_network': a layer must be an object": {"layers": [1, 2, 3, 4]},
    "ends must be some of input_mean": {"ends": ["classes"]},
    "input_mean and input_scale must both be given": {"ends": ["input_mean"]},
    "classes must be text": {"classes": [1, 2]},
    "classes must have shape": {"classes": ["a"]},
    "classes must be a list or text or null": {"classes": 2},
    "activation_bits must be None or 8, not 4": {"activation_bits": 4},
    "activation_bits must be an integer or null, not True": {"activation_bits": True},
}
OF_LAYERS = {
    "layers.0: activation must be None, one of": {"activation": "swish"},
    "layers.0: slope of activation must be a number": {"activation": ["leaky_relu", "big"]},
    "layers.0: entry 'pyfq_network': bias must be true or false, not 0": {"bias": 0},
    "format must be one of array, codes, codebook, lowrank, csr, nm, rows, not 'coo'": {
        "format": "coo"
    },
    "parts must be some of values, positions, scale": {"parts": ["rows"]},
    "n must be an integer, not '2'": {"n": "2"},
    "tensor 'layers.0.weight' is missing": {"format": "array"},
    "values must be a NumPy array": {"parts": []},
    "bits is missing": {"format": "codes", "parts": [], "per": "row"},
    "per must be 'tensor', 'row' or a number": {"format": "codes", "parts": [], "per": "column"},
}


@pytest.mark.parametrize("match", CHANGES)
def test_an_entry_that_is_wrong_is_refused(tmp_path, parts, match):
    tensors, entry, metadata = parts
    entry = {k: v for k, v in (entry | CHANGES[match]).items() if v is not ...}
    refuse(tmp_path / "n.safetensors", (tensors, entry, metadata), match)


@pytest.mark.parametrize("match", OF_LAYERS)
def test_a_layer_that_is_wrong_is_refused(tmp_path, parts, match):
    tensors, entry, metadata = parts
    entry["layers"][0] |= OF_LAYERS[match]
    refuse(tmp_path / "n.safetensors", (tensors, entry, metadata), match)


def test_numbers_that_no_network_has_are_refused(tmp_path, parts):
    tensors, entry, metadata = parts
    path = tmp_path / "n.safetensors"
    for name, value, match in (
        ("layers.2.weight", np.nan, "layers.2: weights must be finite"),
        ("input_scale", 0, "input_scale must not be 0"),
        ("layers.3.weight_scale", 0, "expected finite numbers other than 0"),
    ):
        refuse(path, (tensors | {name: tensors[name] * value}, entry, metadata), match)
    whole = tensors | {"layers.2.weight": tensors["layers.2.weight"].astype(np.int16)}
    refuse(path, (whole, entry, metadata), "layers.2: weights must be float32 or float64")
    refuse(path, (tensors, "{", metadata), "entry 'pyfq_network': expected JSON")
    refuse(path, (tensors, "[]", metadata), "entry 'pyfq_network': expected a JSON object")
    refuse(path, (tensors, entry, {"pyfq": "{}"}), "entry 'pyfq': expected JSON with tensors")


def test_files_that_are_no_network_are_refused(tmp_path, dense):
    _, path = dense
    other = tmp_path / "other.safetensors"
    write_safetensors(other, {"w": np.ones(3)})
    write_npz(tmp_path / "other.npz", {"w": np.ones(3)})
    for file in (other, tmp_path / "other.npz"):
        with pytest.raises(FormatError, match="expected a network that save_network wrote"):
            pyfq.load_network(file)
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"dense\.safetensors: "):
            pyfq.load_network(path)
    with pytest.raises(FormatError, match=r"expected model\.safetensors"):
        pyfq.load_network(tmp_path)
    with pytest.raises(FileNotFoundError):
        pyfq.load_network(tmp_path / "absent.safetensors")


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["array", "codes", "nm", "csr", "rows", "tensor", "row", "relu"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["format", "parts", "bias", "activation", "per"]), inner)
    ),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=150)
def test_no_entry_makes_anything_but_a_network_or_a_refusal(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    w = pyfq.to_sparse(pyfq.prune_nm(random(np.float32, 5, 7), 2, 4).weights, "nm")
    fixed = pyfq.quantize_fixed_point(random(np.float32, 6, 5), 1, 3, signed=False)
    pyfq.save_network(network_of(w, fixed, classes=np.arange(6)), path)
    with open_safetensors(path) as file:
        tensors, entry = (
            {k: np.array(file[k]) for k in file},
            json.loads(file.metadata[network_format.KEY]),
        )
    place = entry
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(values)
            break
        place = place[key]
    write_safetensors(path, tensors, {network_format.KEY: json.dumps(entry)})
    try:
        network = pyfq.load_network(path)
    except FormatError:
        return
    assert network.sizes == tuple(entry["sizes"])
