"""Networks of other libraries: they compute what those compute, and what can't be is refused."""

import dataclasses
import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import pyfq
import pyfq.io
from pyfq import Network, PerGroup
from pyfq.networks.operations import Affine, Linear, Nonlinear, network_of

DTYPES = [np.float32, np.float64]
DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = np.ascontiguousarray(DIGITS)


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def close(got, want, dtype):
    """Compare within some rounding errors of the largest value."""
    room = 200 * np.finfo(dtype).eps * max(np.abs(want).max(), 1)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=room)


def classifier(*sizes, **how):
    return MLPClassifier(sizes, random_state=0, **how)


def regressor(*sizes, **how):
    return MLPRegressor(hidden_layer_sizes=sizes, random_state=0, **how)


def fitted(estimator, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, y)


# ------------------------------------------------------------------------------ scikit-learn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_classifiers_of_sklearn_predict_the_same(dtype, activation):
    x = (DIGITS / 16).astype(dtype)
    mlp = classifier(24, 16, activation=activation, max_iter=15)
    network = pyfq.from_sklearn(fitted(mlp, x[:900], LABELS[:900]))
    close(network.forward(x), mlp.predict_proba(x), dtype)
    np.testing.assert_array_equal(network.predict(x), mlp.predict(x), strict=True)
    assert network.sizes == (64, 24, 16, 10)


@pytest.mark.parametrize("kind", [str, object, bool, int])
def test_two_classes_are_those_of_sklearn(kind):
    y = (LABELS > 4).astype(kind)
    if kind in (str, object):
        y = np.where(LABELS > 4, "large", "little").astype(kind)
    mlp = fitted(classifier(16, max_iter=20), DIGITS, y)
    network = pyfq.from_sklearn(mlp)
    close(network.forward(DIGITS), mlp.predict_proba(DIGITS), np.float64)
    assert (network.predict(DIGITS) == mlp.predict(DIGITS)).all()
    assert network.classes.dtype != object
    # Where the two are as likely, to the last bit, and where z is too small for the logistic.
    zero = classifier(max_iter=1)
    fitted(zero, np.array([[1.0], [-1.0]]), np.array([0, 1]))
    zero.coefs_, zero.intercepts_ = [np.ones((1, 1))], [np.zeros(1)]
    x = np.array([[0.0], [1e-300], [1e-17], [1e-15], [-1e-15], [1e-3], [800], [-800]])
    assert (pyfq.from_sklearn(zero).predict(x) == zero.predict(x)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_regressors_of_sklearn_predict_the_same(dtype, outputs):
    x, y = random(dtype, 300, 5), random(dtype, 300, outputs)
    y = y[:, 0] if outputs == 1 else y
    mlp = fitted(regressor(12, activation="tanh", max_iter=30), x, y)
    network = pyfq.from_sklearn(mlp)
    close(network.forward(x), mlp.predict(x).reshape(300, outputs), dtype)
    assert network.classes is None


@pytest.mark.parametrize("how", [{}, {"with_mean": False}, {"with_std": False}])
def test_scalers_of_inputs_and_targets_are_taken(how):
    x = random(np.float64, 400, 6) * np.array([1, 10, 100, 1, 0.1, 5]) + 3
    y = 1e3 * x[:, 0] - 20 * x[:, 1] + 5e4
    mlp = regressor(12, max_iter=200)
    inner = make_pipeline(StandardScaler(**how), mlp)
    for model in (
        TransformedTargetRegressor(inner, transformer=StandardScaler(**how)),
        make_pipeline(
            StandardScaler(**how),
            "passthrough",
            TransformedTargetRegressor(mlp, transformer=StandardScaler(**how)),
        ),
    ):
        network = pyfq.from_sklearn(fitted(model, x, y))
        close(network.forward(x)[:, 0], model.predict(x), np.float64)
        assert network.input_mean.shape == (6,)
        assert network.output_scale.shape == (1,)
    model = make_pipeline(StandardScaler(**how), classifier(9))
    network = pyfq.from_sklearn(fitted(model, x, y > y.mean()))
    assert (network.predict(x) == model.predict(x)).all()


def test_a_dtype_that_is_asked_for_is_given():
    x, y = random(np.float64, 100, 4), random(np.float64, 100)
    mlp = fitted(regressor(8, max_iter=20), x, y)
    network = pyfq.from_sklearn(mlp, dtype=np.float32)
    close(network.forward(x.astype(np.float32))[:, 0], mlp.predict(x), np.float32)
    with pytest.raises(TypeError, match="dtype must be float32 or float64, not float16"):
        pyfq.from_sklearn(mlp, dtype="float16")


def test_what_sklearn_has_and_a_network_has_not_is_refused():
    x, y = random(np.float64, 60, 4), random(np.float64, 60)
    labels = (y > 0).astype(int)
    with pytest.raises(NotFittedError, match="LogisticRegression"):
        pyfq.from_sklearn(LogisticRegression())
    with pytest.raises(NotFittedError, match="MLPRegressor"):
        pyfq.from_sklearn(MLPRegressor())
    with pytest.raises(NotFittedError, match="MLPRegressor"):
        pyfq.from_sklearn(make_pipeline(StandardScaler(), MLPRegressor()))
    several = fitted(classifier(3, max_iter=2), x, np.stack([labels, 1 - labels], 1))
    with pytest.raises(ValueError, match=r"\(MLPClassifier\) must give each sample one label"):
        pyfq.from_sklearn(several)
    mlp = regressor(3, max_iter=2)
    powers = fitted(make_pipeline(PolynomialFeatures(2), mlp), x, y)
    with pytest.raises(TypeError, match=r"estimator\['polynomialfeatures'\] must be"):
        pyfq.from_sklearn(powers)
    logarithm = TransformedTargetRegressor(mlp, func=np.log, inverse_func=np.exp)
    with pytest.raises(TypeError, match="transformer_ must be a scaler, not Function"):
        pyfq.from_sklearn(fitted(logarithm, x, y - y.min() + 1))
    fitted(mlp, x, y).out_activation_ = "softplus"
    with pytest.raises(ValueError, match=r"estimator\.out_activation_ must be one of"):
        pyfq.from_sklearn(mlp)
    one = fitted(classifier(3, max_iter=2), x, np.zeros(60))
    with pytest.raises(
        ValueError, match=r"\(MLPClassifier\) must know at least two classes, not 1"
    ):
        pyfq.from_sklearn(one)


# ------------------------------------------------------------------------------ PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs the oracles extra")


def same_as_torch(torch, module, dtype, *shape):
    module = module.to(getattr(torch, np.dtype(dtype).name)).eval()
    x = random(dtype, 17, *shape)
    with torch.no_grad():
        want = module(torch.from_numpy(x)).numpy()
    network = pyfq.from_torch(module)
    close(network.forward(x.reshape(17, -1)), want, dtype)
    return network


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_of_torch_are_the_same(torch, dtype):
    nn = torch.nn
    for activation in (
        nn.ReLU(), nn.LeakyReLU(), nn.LeakyReLU(-0.3), nn.Tanh(), nn.Sigmoid(), nn.GELU(),
        nn.GELU("tanh"), nn.SiLU(), nn.Softplus(), nn.Identity(),
    ):  # fmt: skip
        module = nn.Sequential(nn.Linear(20, 30), activation, nn.Linear(30, 4, bias=False))
        same_as_torch(torch, module, dtype, 20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sequences_in_sequences_of_torch_are_one(torch, dtype):
    nn = torch.nn
    block = nn.Sequential(nn.Linear(12, 12), nn.Dropout(0.5), nn.ReLU(inplace=True))
    module = nn.Sequential(
        nn.Flatten(), nn.Identity(), block, nn.Sequential(block, nn.Linear(12, 3)), nn.Softmax(1)
    )
    network = same_as_torch(torch, module, dtype, 3, 4)
    assert network.layers[-1].activation == "softmax"
    assert network.sizes == (12, 12, 12, 3)
    same_as_torch(torch, nn.Linear(5, 2), dtype, 5)
    tanh = nn.Tanh()
    again = nn.Sequential(nn.Linear(6, 6), tanh, nn.Linear(6, 6), tanh, nn.Linear(6, 2), tanh)
    assert [x.activation for x in same_as_torch(torch, again, dtype, 6).layers] == ["tanh"] * 3
    before = network.layers[0].weights.copy()
    with torch.no_grad():
        block[0].weight.zero_()
    np.testing.assert_array_equal(network.layers[0].weights, before)


def test_what_torch_has_and_a_network_has_not_is_refused(torch):
    nn = torch.nn

    class Own(nn.Sequential):
        def forward(self, x):
            return -super().forward(x)

    for modules, match in (
        ([nn.Conv2d(1, 1, 3)], r"module 0 \(Conv2d\): expected one of Linear, BatchNorm1d, ReLU, "),
        ([nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))], r"module 0\.1 \(LayerNorm\)"),
        ([Own(nn.Linear(2, 2))], r"module 0 \(Own\): has forward of its own"),
        ([nn.ReLU(), nn.Linear(2, 2)], r"module 0 \(ReLU\): an activation needs a layer"),
        ([nn.Linear(2, 2), nn.ReLU(), nn.Tanh()], r"module 2 \(Tanh\): a layer has one"),
        ([nn.Linear(2, 2), nn.Softmax(-1), nn.Linear(2, 2)], r"2 \(Linear\): a softmax before"),
        ([nn.Linear(2, 2), nn.Softmax(0)], r"module 1 \(Softmax\): dim must be -1 or 1, not 0"),
        ([nn.Linear(2, 2), nn.Softplus(2)], r"module 1 \(Softplus\): beta must be 1"),
        ([nn.Linear(2, 2), nn.Softplus(threshold=3)], r"threshold must be 20 \.\.\. 88, not 3"),
        ([nn.Linear(2, 2), nn.Flatten(0)], r"module 1 \(Flatten\)"),
        ([nn.Linear(2, 3), nn.Linear(2, 2)], r"module 1 \(Linear\): takes 2 inputs, but gets 3"),
        ([nn.Identity()], "expected at least one layer of weights"),
    ):
        with pytest.raises(ValueError, match=match):
            pyfq.from_torch(nn.Sequential(*modules))
    with pytest.raises(ValueError, match=r"module \(itself\) \(LSTM\)"):
        pyfq.from_torch(nn.LSTM(2, 2))
    with pytest.raises(TypeError, match="weights must be float32 or float64, not bfloat16"):
        pyfq.from_torch(nn.Sequential(nn.Linear(2, 2)).bfloat16())
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module, not str"):
        pyfq.from_torch("model.pt")
    nan = nn.Linear(2, 2)
    with torch.no_grad():
        nan.weight[1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"Linear\): weights must be finite, but weights\[1, 0\]"):
        pyfq.from_torch(nan)


# ------------------------------------------------------------------------------ arrays


def state(*names, sizes=(4, 5, 3)):
    """Return arrays under these names: weights for one with an even position."""
    shapes = []
    for k, n in itertools.pairwise(sizes):
        shapes += [(n, k), (n,)]
    return {name: random(np.float32, *shape) for name, shape in zip(names, shapes, strict=False)}


@given(st.lists(st.integers(1, 6), min_size=2, max_size=14), st.booleans(), st.sampled_from(DTYPES))
@settings(max_examples=50)
def test_parameters_make_their_network_again(sizes, by_name, dtype):
    network = Network.create(sizes, activation="tanh", dtype=dtype)
    arrays = network.parameters if by_name else list(network.parameters.values())
    again = pyfq.from_arrays(arrays, activation="tanh")
    x = random(dtype, 3, sizes[0])
    np.testing.assert_array_equal(again.forward(x), network.forward(x), strict=True)


@pytest.mark.parametrize(
    "names",
    [
        ("0.weight", "0.bias", "2.weight", "2.bias"),
        ("fc1.weight", "fc1.bias", "head.weight", "head.bias"),
        ("W1", "b1", "W2", "b2"),
        ("kernel", "offset", "last kernel", "last offset"),
    ],
)
def test_arrays_by_any_name_are_layers_in_their_order(names):
    arrays = state(*names)
    for left in (arrays, {k: v for k, v in arrays.items() if k != names[1]}):
        network = pyfq.from_arrays(left, activation="silu", output_activation="softmax")
        assert network.sizes == (4, 5, 3)
        assert [layer.activation for layer in network.layers] == ["silu", "softmax"]
        np.testing.assert_array_equal(network.layers[1].weights, arrays[names[2]])
        np.testing.assert_array_equal(network.layers[1].bias, arrays[names[3]])
        assert (network.layers[0].bias is None) == (names[1] not in left)


def test_biases_are_found_by_name_where_all_have_the_usual_ones(tmp_path):
    arrays = state("a1.weight", "a1.bias", "a2.weight", "a2.bias")
    pyfq.io.write_safetensors(tmp_path / "n.safetensors", arrays)
    with pyfq.io.open_checkpoint(tmp_path / "n.safetensors") as file:
        assert next(iter(file)) == "a1.bias"
        network = pyfq.from_arrays(file)
        x = random(np.float32, 2, 4)
        np.testing.assert_array_equal(network.forward(x), pyfq.from_arrays(arrays).forward(x))


def test_state_dicts_of_torch_are_layers(torch):
    module = torch.nn.Sequential(torch.nn.Linear(7, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    x = random(np.float32, 5, 7)
    with torch.no_grad():
        close(pyfq.from_arrays(arrays).forward(x), module(torch.from_numpy(x)).numpy(), np.float32)


ONE = np.ones((2, 2))
ROW = np.ones(2)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({}, "expected at least one layer of weights"),
        ({"b": ROW, "w": ONE}, "b has one axis, but no weights before it"),
        ([ONE, ROW, ROW], r"arrays\[2\] has one axis, but no weights before it"),
        ({"a.weight": ONE, "b.bias": ROW}, "b.bias is a bias without weights"),
        ({"a.weight": ROW}, "a.weight must have shape .* as weights have, not"),
        ({"a.weight": ONE, "a.bias": ONE}, "a.bias must have shape .* as a bias has|have"),
        ({"w1": ONE, "b2": ROW}, "b2 stands where the bias of w1 would, but has another number"),
        ({"l.10.weight": ONE, "l.2.weight": ONE}, "l.2.weight comes behind l.10.weight"),
        ({"w": np.ones((2, 2, 2))}, r"w must have shape \(out_features, in_features\)"),
        ([np.ones((2, 3)), np.ones((3, 4))], r"pass np\.ascontiguousarray\(w\.T\)"),
        ([np.ones((2, 3)), np.ones((4, 5))], r"arrays\[1\]: takes 5 inputs, but gets 2"),
        ({"w": ONE, "b": np.ones(3)}, r"w: bias must have shape \(2,\), not \(3,\)"),
        ({"w": ONE * np.nan}, "w: weights must be finite"),
        ({"w": np.ones((3, 2)).T}, r"arrays\['w'\] must be C-contiguous and aligned: pass"),
        ({"w": ONE, "input_mean": ROW}, "input_mean and input_scale must both be given"),
    ],
)
def test_arrays_of_which_it_is_not_certain_what_they_are_are_refused(arrays, match):
    with pytest.raises(ValueError, match=match):
        pyfq.from_arrays(arrays)


def test_what_is_no_array_is_refused():
    for arrays, match in (
        (ONE, "arrays must be a mapping or a sequence of arrays, not ndarray"),
        ("w.npz", "arrays must be a mapping or a sequence of arrays, not str"),
        ({0: ONE}, "names of arrays must be str, not int"),
        ({"w": [[1.0]]}, r"arrays\['w'\] must be a NumPy array, not list"),
        ({"w": ONE.astype(int)}, r"arrays\['w'\] must be float32 or float64, not int64"),
        ([ONE, ROW.astype(np.float32)], "bias must be float64, not float32"),
    ):
        with pytest.raises(TypeError, match=match):
            pyfq.from_arrays(arrays)


def test_npz_files_hold_what_a_network_is_made_of(tmp_path):
    network = Network.create((6, 8, 3), activation="tanh")
    network = dataclasses.replace(
        network,
        input_mean=random(np.float32, 6),
        input_scale=random(np.float32, 6, seed=1),
        output_mean=random(np.float32, 3),
        output_scale=random(np.float32, 3, seed=1),
    )
    x = random(np.float32, 5, 6)
    for each in (
        network,
        network.map_weights(lambda w: pyfq.quantize(w, 4, granularity=PerGroup(3))),
        network.map_weights(lambda w: pyfq.to_sparse(pyfq.prune_ratio(w, 0.5), "csr")),
    ):
        pyfq.to_npz(each, tmp_path / "n.npz")
        with np.load(tmp_path / "n.npz") as file:
            again = pyfq.from_arrays(file, activation="tanh")
            assert len(file.files) == 8
        dense = each.map_weights(np.asarray)
        np.testing.assert_array_equal(again.forward(x), dense.forward(x), strict=True)
    with pytest.raises(TypeError, match="network must be a Network, not dict"):
        pyfq.to_npz({}, tmp_path / "none.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["n.npz"]


# ------------------------------------------------------------------------------ what is common


def test_a_chain_puts_scales_at_the_ends_and_sums_into_biases():
    w, b = random(np.float64, 3, 4), random(np.float64, 3)
    shift, factor = random(np.float64, 4), np.array(2.0)
    network = network_of(
        [
            Affine("a", "add", -shift),
            Affine("b", "divide", factor),
            Affine("c", "multiply", np.array([0.5])),
            Affine("d", "add", np.array(1.0)),
            Linear("e", w),
            Affine("f", "add", b),
            Affine("g", "add", b),
            Nonlinear("h", "relu"),
            Affine("i", "multiply", np.array(3.0)),
            Affine("j", "add", b),
            Affine("k", "divide", np.array(2.0)),
        ]
    )
    x = random(np.float64, 9, 4)
    y = np.maximum(((x - shift) / 2 * 0.5 + 1) @ w.T + 2 * b, 0)
    close(network.forward(x), (3 * y + b) / 2, np.float64)
    np.testing.assert_array_equal(network.layers[0].bias, 2 * b)


def test_a_chain_puts_scales_between_layers_into_them():
    w, v, b = random(np.float64, 3, 4), random(np.float64, 2, 3), random(np.float64, 3)
    network = network_of(
        [
            Linear("a", w, b),
            Affine("b", "add", b),
            Affine("c", "multiply", b),
            Nonlinear("d", "relu"),
            Affine("e", "divide", b),
            Affine("f", "add", np.array(2.0)),
            Linear("g", v),
            Affine("h", "multiply", np.array(0.0)),
            Affine("i", "add", np.array(1.0)),
            Linear("j", np.eye(2)),
        ]
    )
    assert [layer.shape for layer in network.layers] == [(3, 4), (2, 3), (2, 2)]
    x = random(np.float64, 9, 4)
    hidden = np.maximum((x @ w.T + 2 * b) * b, 0) / b + 2
    close(network.forward(x), (hidden @ v.T) * 0 + 1, np.float64)
    network = network_of([Affine("a", "multiply", np.array([0.0, 1, 2, 3])), Linear("b", w)])
    close(network.forward(x), (x * [0, 1, 2, 3]) @ w.T, np.float64)
    assert network.input_scale is None


def test_what_is_no_chain_of_layers_is_refused():
    w = Linear("w", np.ones((2, 2)))
    twice = Affine("twice", "multiply", np.array(2.0))
    for operations, match in (
        (
            [w, Nonlinear("f", "relu"), twice, Nonlinear("g", "tanh")],
            "twice: each feature may be scaled or shifted before .* but g follows",
        ),
        ([Affine("zero", "divide", np.zeros(2)), w], "zero: a divisor must not be 0"),
        ([w, Affine("zero", "divide", np.zeros(2)), w], "zero: a divisor must not be 0"),
        (
            [w, Nonlinear("f", "relu"), Affine("zero", "multiply", np.zeros(2))],
            "zero: a factor of 0 behind the last activation would be an output_scale of 0",
        ),
        ([Affine("long", "add", np.zeros(3)), w], "long: expected one constant or 2, not 3"),
        ([twice], "expected at least one layer"),
    ):
        with pytest.raises(ValueError, match=match):
            network_of(operations)


def test_other_libraries_are_imported_on_first_use(monkeypatch):
    code = "import sys, pyfq; print({'torch', 'onnx', 'sklearn'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
    for name, package, call in (
        ("scikit-learn", "sklearn.compose", lambda: pyfq.from_sklearn(None)),
        ("torch", "torch", lambda: pyfq.from_torch(None)),
        ("torch", "torch", lambda: pyfq.to_torch(Network.create((2, 1)))),
        ("onnx", "onnx", lambda: pyfq.from_onnx("model.onnx")),
        ("onnx", "onnx", lambda: pyfq.to_onnx(Network.create((2, 1)), "model.onnx")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"pip install {name}$"):
            call()
