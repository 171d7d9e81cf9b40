"""Networks in ONNX files: what onnxruntime makes of them, and of which models a network is made."""

import io
import warnings

import numpy as np
import pytest

import pyfq
from pyfq import Dense, Network, PerGroup, Sparse
from pyfq.io import FormatError

onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
ort = pytest.importorskip("onnxruntime", reason="needs the oracles extra")
reference = pytest.importorskip("onnx.reference", reason="needs the oracles extra")

DTYPES = [np.float32, np.float64]
ACTIVATIONS = [
    None, "relu", "leaky_relu", ("leaky_relu", -0.25), "tanh", "sigmoid", "gelu", "gelu_tanh",
    "silu", "softplus", "softmax", "elu", ("elu", 0.5), "clipped_relu", ("clipped_relu", 0.5),
    "exp",
]  # fmt: skip


def random(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def network_of(activation, dtype, sizes=(20, 33, 7), ends=True):
    hidden = None if activation == "softmax" else activation
    network = Network.create(sizes, activation=hidden, output_activation=activation, dtype=dtype)
    if activation == "exp":  # which overflows where layers of it have large weights
        network = network.map_weights(lambda w: w / 8)
    if not ends:
        return network
    k, n = sizes[0], sizes[-1]
    return Network(
        network.layers,
        input_mean=random(dtype, k),
        input_scale=np.abs(random(dtype, k, seed=1)) + dtype(0.5),
        output_mean=random(dtype, n),
        output_scale=random(dtype, n, seed=1) + dtype(3),
    )


def run(model, x):
    """Return what onnxruntime makes of a model, or the reference where that has no kernel."""
    content = model.SerializeToString()
    try:
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    except ort.capi.onnxruntime_pybind11_state.NotImplemented:
        assert x.dtype == np.float64
        return reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    return session.run(None, {"x": x})[0]


def close(got, want, room=1e-6):
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(got, want, rtol=0, atol=room * np.abs(want).max())


# ------------------------------------------------------------------------------ to_onnx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("ends", [False, True])
def test_onnxruntime_gives_what_the_network_gives(tmp_path, dtype, activation, ends):
    network = network_of(activation, dtype, ends=ends)
    pyfq.to_onnx(network, tmp_path / "n.onnx")
    model = onnx.load(tmp_path / "n.onnx")
    onnx.checker.check_model(model, full_check=True)
    for batch in (1, 11):
        x = random(dtype, batch, 20)
        close(run(model, x), network.forward(x))
    again = pyfq.from_onnx(tmp_path / "n.onnx")
    close(again.forward(x), network.forward(x), 1e-7)
    word = activation[0] if isinstance(activation, tuple) else activation
    if dtype is np.float32 or word not in ("leaky_relu", "elu"):  # of a float32 slope, or alpha
        np.testing.assert_array_equal(again.forward(x), network.forward(x), strict=True)


@pytest.mark.parametrize(
    "compress",
    [
        lambda w: pyfq.quantize(w, 4, scheme="affine", granularity=PerGroup(8)),
        lambda w: pyfq.to_sparse(pyfq.prune_nm(w, 2, 4), "nm"),
    ],
)
def test_compressed_layers_are_written_as_arrays(tmp_path, compress):
    network = network_of("relu", np.float32).map_weights(compress)
    pyfq.to_onnx(network, tmp_path / "n.onnx")
    x = random(np.float32, 5, 20)
    close(run(onnx.load(tmp_path / "n.onnx"), x), network.forward(x))


def test_layers_without_bias_have_none(tmp_path):
    network = Network([Dense(random(np.float32, 3, 4)), Dense(random(np.float32, 2, 3))])
    pyfq.to_onnx(network, tmp_path / "n.onnx")
    assert all(layer.bias is None for layer in pyfq.from_onnx(tmp_path / "n.onnx").layers)


def test_to_onnx_refuses_what_no_file_holds(tmp_path):
    with pytest.raises(TypeError, match="network must be a Network, not dict"):
        pyfq.to_onnx({}, tmp_path / "n.onnx")
    none = np.empty((0, 2**29), np.float32)
    few = Sparse("rows", (1, 2**29), none, rows=np.empty(0, np.int64))
    with pytest.raises(ValueError, match="an ONNX file holds 2146435072 bytes of arrays, not 2147"):
        pyfq.to_onnx(Network([Dense(few)]), tmp_path / "n.onnx")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------ from_onnx


def model_of(*nodes, opset=20, shape=("batch", 4), element=onnx.TensorProto.FLOAT, **constants):
    """Return a model of nodes: operator, operands, attributes; each takes what the last gave."""
    made, value = [], "x"
    for i, (operator, *operands) in enumerate(nodes):
        attributes = operands.pop() if operands and isinstance(operands[-1], dict) else {}
        inputs = [value if name == "_" else name for name in operands or ["_"]]
        value = f"v{i}"
        made.append(onnx.helper.make_node(operator, inputs, [value], f"n{i}", **attributes))
    info = onnx.helper.make_tensor_value_info
    tensors = [onnx.numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items()]
    result = info(value, element, ("batch", "outputs") if len(shape) == 2 else None)
    graph = onnx.helper.make_graph(made, "g", [info("x", element, shape)], [result], tensors)
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


W = random(np.float32, 5, 4)
V = random(np.float32, 4, 5)
B = random(np.float32, 5)
C = random(np.float32, 4)
HALF = np.float32(0.5)
DIAGONAL = np.diag(np.float32([1, 0, 2, -1, 0]))
GEMM = ("Gemm", "_", "V")


@pytest.mark.parametrize(
    "nodes",
    [
        [("Gemm", "_", "W", "B", {"transB": 1, "alpha": 0.5, "beta": -2.0})],
        [("Gemm", "_", "V", "row", {})],
        [("Gemm", "_", "V", "HALF", {})],
        [("MatMul", "_", "V"), ("Add", "B", "_"), ("Relu",)],
        [("MatMul", "_", "V"), ("Sub", "_", "B"), ("Add", "_", "HALF"), ("Tanh",)],
        [("Sub", "_", "C"), ("Div", "_", "C"), ("MatMul", "_", "V"), ("Mul", "_", "B")],
        [
            ("Mul", "_", "C"),
            ("Add", "C", "_"),
            ("MatMul", "_", "V"),
            ("Sigmoid",),
            ("Div", "_", "B"),
        ],
        [("Identity",), ("Dropout",), ("Flatten",), ("MatMul", "_", "V"), ("Softmax",)],
        [("MatMul", "_", "V"), ("Sigmoid",), ("Mul", "v0", "_"), ("Identity",)],
        [("Neg",), GEMM, ("Neg",), ("Tanh",), ("Neg",)],
        [GEMM, ("Relu",), ("Neg",), ("Gemm", "_", "W"), ("Neg",), ("Neg",)],
        [GEMM, ("Sub", "B", "_"), ("Relu",), ("Gemm", "_", "diagonal")],
        [GEMM, ("Sigmoid",), ("Mul", "_", "v0"), ("Gemm", "_", "W")],
        [GEMM, ("LeakyRelu", {"alpha": 0.3}), ("Gemm", "_", "W"), ("LeakyRelu",)],
        [GEMM, ("Gelu", {"approximate": "tanh"}), ("Gemm", "_", "W"), ("Gelu",)],
        [GEMM, ("Softplus",), ("Gemm", "_", "W"), ("Flatten",), ("Softmax", {"axis": 1})],
    ],
    ids=lambda nodes: "-".join(node[0] for node in nodes),
)
def test_chains_of_operators_are_networks(nodes):
    model = model_of(*nodes, W=W, V=V, B=B, C=C, HALF=HALF, row=B.reshape(1, -1), diagonal=DIAGONAL)
    onnx.checker.check_model(model, full_check=True)
    x = random(np.float32, 6, 4)
    close(pyfq.from_onnx(model).forward(x), run(model, x))


def test_constants_of_other_kinds_and_shapes_are_taken():
    model = model_of(("MatMul", "_", "V"), ("Add", "_", "B"), opset=11, shape=("batch", 3, 4), V=V)
    value = onnx.numpy_helper.from_array(B)
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["B"], value=value))
    model.graph.input.append(  # as models of IR version 3 name their initializers
        onnx.helper.make_tensor_value_info("V", onnx.TensorProto.FLOAT, V.shape)
    )
    x = random(np.float32, 6, 3, 4)
    close(pyfq.from_onnx(model).forward(x), run(model, x))
    flat = model_of(
        ("Flatten",), ("MatMul", "_", "w"), shape=(2, 3, 4), w=np.ones((12, 2), np.float32)
    )
    assert pyfq.from_onnx(flat).sizes == (12, 2)


def test_swish_of_opset_24_is_silu():
    model = model_of(GEMM, ("Swish",), opset=24, V=V)
    assert pyfq.from_onnx(model).layers[0].activation == "silu"
    model = model_of(GEMM, ("Swish", {"alpha": 2.0}), opset=24, V=V)
    with pytest.raises(ValueError, match=r"node 'n1' \(Swish\): 'v0' becomes x \* sigmoid\(2 x\)"):
        pyfq.from_onnx(model)


@pytest.mark.parametrize("opset", [13, 20])
def test_what_torch_exports_is_taken(opset):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    nn = torch.nn
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8), nn.SiLU(), nn.Dropout(), nn.Linear(8, 8, bias=False),
        nn.LeakyReLU(0.3), nn.Linear(8, 3), nn.Softmax(-1),
    ).eval()  # fmt: skip
    x = random(np.float32, 5, 3, 4)
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(module, (torch.from_numpy(x),), file, dynamo=False, opset_version=opset)
        want = module(torch.from_numpy(x)).numpy()
    model = onnx.load_from_string(file.getvalue())
    close(pyfq.from_onnx(model).forward(x.reshape(5, 12)), want)


REFUSED = [
    ([("Conv", "_", "V")], r"node 'n0' \(Conv\) can't be imported: expected a chain of Gemm"),
    ([GEMM, ("Gelu", {"domain": "com.microsoft"})], r"'n1' \(com\.microsoft\.Gelu\) can't be"),
    ([GEMM, ("Erf",)], r"node 'n1' \(Erf\) can't be imported"),
    ([GEMM, ("Add", "v0", "x")], r"'x' must go to one node, as in a chain, not to node 'n0'"),
    ([GEMM, ("Add", "_", "_")], r"node 'n1' \(Add\) can't be imported: expected a chain"),
    ([GEMM, ("Div", "B", "_")], r"node 'n1' \(Div\): expected a constant on the right"),
    (
        [GEMM, ("Relu",), ("Mul", "_", "B"), ("Tanh",)],
        r"node 'n2' \(Mul\): each feature .* but node 'n3'",
    ),
    ([GEMM, ("Relu",), ("Tanh",)], r"node 'n2' \(Tanh\): a layer has one activation"),
    (
        [GEMM, ("Relu",), ("Mul", "_", "diagonal")],
        r"node 'n2' \(Mul\): the constant must be the same for each sample",
    ),
    (
        [GEMM, ("Relu",), ("Mul", "_", "zeros")],
        r"node 'n2' \(Mul\): a factor of 0 behind the last activation would be an output_scale of "
        "0, .*: leave the outputs out that are always 0, or multiply by a diagonal matrix",
    ),
    ([GEMM, ("Div", "_", "zeros")], r"node 'n1' \(Div\): a divisor must not be 0"),
    ([("Relu",), GEMM], r"node 'n0' \(Relu\): an activation needs a layer"),
    (
        [("Gemm", "_", "V", {"transA": 1})],
        r"node 'n0' \(Gemm\): takes samples as columns, but they are",
    ),
    ([("Gemm", "W", "_")], r"node 'n0' \(Gemm\): takes samples .*: expected x @ weights, or a"),
    ([("Gemm", "_", "x2")], r"node 'n0' \(Gemm\): nothing gives its input 'x2'"),
    ([("Gemm", "_", "V", "many")], r"node 'n0' \(Gemm\): the bias must be the same for each"),
    ([GEMM, ("Add", "_", "many")], r"node 'n1' \(Add\): the constant must be the same for each"),
    ([GEMM, ("Add", "_", "C")], r"node 'n1' \(Add\): .*Incompatible dimensions"),
    ([("MatMul", "_", "C")], r"node 'n0' \(MatMul\): expected weights of 2 axes"),
    ([GEMM, ("Softmax", {"axis": 0})], r"node 'n1' \(Softmax\): axis must be the last of 2"),
    ([GEMM, ("Softmax",), ("Gemm", "_", "W")], r"node 'n2' \(Gemm\): a softmax before it"),
    ([GEMM, ("Gemm", "_", "V")], r"node 'n1' \(Gemm\): .* 4 and 5"),
    ([("Flatten", {"axis": 2}), GEMM], r"node 'n0' \(Flatten\): axis must be 1, not 2"),
    ([("Dropout", "_", "HALF", "yes"), GEMM], r"node 'n0' \(Dropout\): training_mode must be"),
    ([("Identity",)], "expected at least one layer"),
    ([("Gemm", "_", "nan")], r"node 'n0' \(Gemm\): weights must be finite"),
]


@pytest.mark.parametrize(("nodes", "match"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_what_is_no_chain_of_layers_is_refused(nodes, match):
    model = model_of(
        *nodes, W=W, V=V, B=B, C=C, HALF=HALF, many=np.ones((6, 1), np.float32),
        yes=np.array(True), nan=V * np.float32(np.nan), zeros=np.diag(DIAGONAL), diagonal=DIAGONAL,
    )  # fmt: skip
    with pytest.raises(ValueError, match=match):
        pyfq.from_onnx(model)


def test_graphs_of_another_form_are_refused():
    model = model_of(GEMM, V=V)
    model.graph.output.append(model.graph.output[0])
    with pytest.raises(ValueError, match="must have one input and one output, not 1 and 2"):
        pyfq.from_onnx(model)
    with pytest.raises(ValueError, match="the opset of model must be at least 7, not 6"):
        pyfq.from_onnx(model_of(GEMM, opset=6, V=V))
    behind = model_of(("MatMul", "_", "V"), ("Flatten",), shape=(2, 3, 4), V=V)
    with pytest.raises(ValueError, match=r"'n1' \(Flatten\): expected before the first layer"):
        pyfq.from_onnx(behind)
    third = model_of(("MatMul", "_", "V"), ("Softmax", {"axis": 1}), shape=(2, 3, 4), V=V)
    with pytest.raises(ValueError, match="axis must be the last of 3, not 1"):
        pyfq.from_onnx(third)
    cycle = model_of(GEMM, ("Identity",), V=V)
    cycle.graph.node[0].input[0] = "v1"
    cycle.graph.node.append(onnx.helper.make_node("Identity", ["x"], ["v0"]))
    with pytest.raises(ValueError, match=r"node 'v0' \(Identity\): 'v0' is given twice"):
        pyfq.from_onnx(cycle)
    half = model_of(GEMM, element=onnx.TensorProto.FLOAT16, V=V.astype(np.float16))
    with pytest.raises(TypeError, match=r"'n0' \(Gemm\): weights must be float32 or float64, not"):
        pyfq.from_onnx(half)


def test_files_that_are_no_model_are_refused(tmp_path):
    path = tmp_path / "n.onnx"
    pyfq.to_onnx(Network.create((4, 3)), path)
    whole = path.read_bytes()
    for content in (whole[:-7], b"not a model at all", np.random.default_rng(0).bytes(300)):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"n\.onnx: expected an ONNX model, "):
            pyfq.from_onnx(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="expected an ONNX model, but the file is empty"):
        pyfq.from_onnx(path)
    with pytest.raises(FileNotFoundError):
        pyfq.from_onnx(tmp_path / "absent.onnx")
    with pytest.raises(TypeError, match=r"model must be a path or an onnx\.ModelProto, not bytes"):
        pyfq.from_onnx(whole)
