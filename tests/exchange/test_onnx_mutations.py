"""Damaged ONNX files: documented errors, or a network that gives what onnxruntime gives.

Models are changed at random, as messages of protobuf and as bytes; `--hypothesis-profile=thorough`
changes 50 times as many.
"""

import math
import random as python_random
import warnings

import numpy as np
import pytest
from hypothesis import settings

import pyfq

onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
ort = pytest.importorskip("onnxruntime", reason="needs the oracles extra")
helper, from_array = onnx.helper, onnx.numpy_helper.from_array


def is_exception(value):
    return isinstance(value, type) and issubclass(value, Exception)


# onnxruntime raises exceptions of its own, which have no common base.
REFUSALS = (
    *(kind for kind in vars(ort.capi.onnxruntime_pybind11_state).values() if is_exception(kind)),
    RuntimeError,
    ValueError,
)

OPERATORS = """
    Add BatchNormalization Cast Clip Concat Constant ConstantOfShape Div Dropout Erf Expand Flatten
    Gather Gelu Gemm Identity If LeakyRelu Loop MatMul Max Mul Neg PRelu Pow RandomNormal Range
    Reciprocal Relu Reshape Shape Sigmoid Slice Softmax Split Sqrt Squeeze Sub Sum Swish Tanh Tile
    Transpose Unsqueeze Where
    """.split()  # noqa: SIM905
TYPES = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 16, 17, 22, 99, -1]
EXTENTS = [-1, 0, 1, 2, 3, 4, 5, 20, 2**40]
ATTRIBUTES = [
    ("axis", -2), ("axis", -1), ("axis", 0), ("axis", 1), ("axis", 2), ("axis", "a"),
    ("alpha", 0.0), ("alpha", 0.5), ("alpha", 2.0), ("alpha", float("nan")), ("beta", 3.0),
    ("transA", 1), ("transB", 0), ("transB", 1), ("perm", [1, 0]), ("to", 1), ("to", 7), ("to", 10),
    ("to", 11), ("to", 99), ("epsilon", 1.0), ("training_mode", 1), ("allowzero", 1),
    ("approximate", "tanh"), ("value", 5),
]  # fmt: skip


def graph_of(opset, shape, nodes, **constants):
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g",
        [info("x", onnx.TensorProto.FLOAT, shape)],
        [info("y", onnx.TensorProto.FLOAT, None)],
        [from_array(np.asarray(x), name) for name, x in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def corpus():
    """Return small models, which have between them all that is taken."""
    rng = np.random.default_rng(0)
    v, u, b = (rng.standard_normal(s).astype(np.float32) for s in ((4, 5), (3, 5), 5))
    pairs = ("batch", 4)
    return [
        graph_of(
            13, pairs,
            [("Gemm", ["x", "v", "b"], ["h"]), ("Relu", ["h"], ["r"]),
             ("Gemm", ["r", "u"], ["y"], {"transB": 1})],
            v=v, b=b, u=u,
        ),
        graph_of(
            13, pairs,
            [("MatMul", ["x", "v"], ["m"]), ("Add", ["b", "m"], ["h"]), ("Div", ["h", "r2"], ["d"]),
             ("Erf", ["d"], ["e"]), ("Add", ["e", "one"], ["a"]), ("Mul", ["h", "a"], ["k"]),
             ("Mul", ["k", "half"], ["y"])],
            v=v, b=b, r2=np.float32(2**0.5), one=np.float32(1), half=np.float32(0.5),
        ),
        graph_of(
            15, pairs,
            [("Sub", ["x", "c"], ["s"]), ("Div", ["s", "c"], ["d"]), ("Gemm", ["d", "v"], ["h"]),
             ("BatchNormalization", ["h", "b", "b", "b", "bb"], ["n"]),
             ("Sigmoid", ["n"], ["g"]), ("Mul", ["n", "g"], ["y"])],
            v=v, b=b, bb=b * b, c=v[:, 0].copy(),
        ),
        graph_of(
            13, ("batch", 2, 2),
            [("Transpose", ["v"], ["w"]), ("Reshape", ["x", "k"], ["f"]),
             ("Cast", ["f"], ["c"], {"to": 1}), ("Dropout", ["c"], ["d"]),
             ("Gemm", ["d", "w"], ["h"], {"transB": 1}), ("Softmax", ["h"], ["y"])],
            v=v, k=np.array([-1, 4]),
        ),
        graph_of(
            17, pairs,
            [("Constant", [], ["c"], {"value_floats": [1.0, 2.0, 3.0]}),
             ("Transpose", ["x"], ["t"]), ("MatMul", ["w", "t"], ["m"]), ("Tanh", ["m"], ["h"]),
             ("MatMul", ["u", "h"], ["n"]), ("Transpose", ["n"], ["o"]),
             ("Add", ["o", "c"], ["y"])],
            w=v.T.copy(), u=u,
        ),
        graph_of(
            17, pairs,
            [("DequantizeLinear", ["q", "s"], ["w"]), ("MatMul", ["x", "w"], ["h"]),
             ("Clip", ["h", "zero"], ["r"]), ("Shape", ["x"], ["e"]), ("Gather", ["e", "i"], ["g"]),
             ("Concat", ["g", "n"], ["k"], {"axis": 0}), ("Reshape", ["r", "k"], ["y"])],
            q=np.arange(20, dtype=np.int8).reshape(4, 5), s=np.float32(0.1), zero=np.float32(0),
            i=np.array([0]), n=np.array([-1]),
        ),
    ]  # fmt: skip


def changed_message(rng, model):
    """Return a copy of a model with one to three changes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change = rng.choice([change_nodes, change_node, change_node, change_tensor, change_graph])
        change(rng, copy)
    return copy.SerializeToString()


def names_of(graph):
    values = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*values, *(tensor.name for tensor in graph.initializer), "", "zz", "x"]


def change_nodes(rng, model):
    nodes = model.graph.node
    if not nodes:
        return
    i, j = rng.randrange(len(nodes)), rng.randrange(len(nodes))
    node = onnx.NodeProto()
    node.CopyFrom(nodes[i])
    if rng.random() < 0.7:
        del nodes[i]
    if rng.random() < 0.7:
        nodes.insert(j, node)


def change_node(rng, model):
    if not model.graph.node:
        return
    node, names = rng.choice(list(model.graph.node)), names_of(model.graph)
    field = rng.choice([node.input, node.output])
    match rng.randrange(7):
        case 0:
            node.op_type = rng.choice([*OPERATORS, "a\nb" * 100])
        case 1 if field:
            field[rng.randrange(len(field))] = rng.choice(names)
        case 2:
            field.append(rng.choice(names))
        case 3:
            del field[:1]
        case 4:
            name, value = rng.choice(ATTRIBUTES)
            kept = [a for a in node.attribute if a.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])
        case 5 if node.attribute:
            attribute = rng.choice(list(node.attribute))
            attribute.type = rng.choice([1, 2, 3, 4, 7])
            attribute.i = rng.choice([-2, 0, 3, 2**62])
        case 6:
            node.domain, node.name = rng.choice(["com.microsoft", "ai.onnx", "q\n"]), "n" * 10**5


def change_tensor(rng, model):
    if not model.graph.initializer:
        return
    tensor = rng.choice(list(model.graph.initializer))
    match rng.randrange(6):
        case 0:
            tensor.data_type = rng.choice(TYPES)
        case 1 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(EXTENTS)
        case 2:
            tensor.dims.append(rng.choice(EXTENTS))
        case 3:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        case 4:
            tensor.data_location = 1
        case 5:
            tensor.name = rng.choice(names_of(model.graph))


def change_graph(rng, model):
    graph = model.graph
    values = rng.choice([graph.input, graph.output])
    match rng.randrange(7):
        case 0 if model.opset_import:
            model.opset_import[0].version = rng.choice([0, 1, 7, 9, 11, 12, 13, 18, 21, 24, 99])
        case 1:
            model.ClearField("opset_import")
        case 2 if values:
            values.append(values[0])
        case 3 if values:
            del values[:]
        case 4 if values:
            values[0].name = rng.choice(names_of(graph))
        case 5 if values:
            values[0].type.tensor_type.elem_type = rng.choice(TYPES)
        case 6 if values:
            dims = values[0].type.tensor_type.shape.dim
            (rng.choice(list(dims)) if dims else dims.add()).dim_value = rng.choice(EXTENTS)


def changed_bytes(rng, model):
    """Return a model cut, or with up to four bits turned."""
    content = bytearray(model.SerializeToString())
    if rng.random() < 0.2:
        return bytes(content[: rng.randrange(len(content))])
    for _ in range(rng.choice([1, 1, 2, 4])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def session_of(content):
    """Return what onnxruntime makes of a file, or None if it refuses it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    # Optimized, it multiplies dequantized weights with an error of 1e-3.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return session, session.get_inputs()[0].name, session.get_inputs()[0].shape
    except REFUSALS:
        return None


@pytest.mark.parametrize("seed", range(8))
def test_damaged_models_are_refused_or_give_what_onnxruntime_gives(tmp_path, seed):
    ort.set_default_logger_severity(4)
    rng, models = python_random.Random(seed), corpus()
    compared = 0
    for number in range(settings().max_examples):
        change = changed_message if rng.random() < 0.7 else changed_bytes
        content = change(rng, rng.choice(models))
        path = tmp_path / "m.onnx"
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                network = pyfq.from_onnx(path)
        except (ValueError, TypeError, OSError) as error:
            assert len(str(error)) < 2000 and "\n" not in str(error)
            continue
        compared += compare(network, session_of(content), number)
    assert compared >= settings().max_examples // 20


def compare(network, session, seed):
    """Return whether onnxruntime runs a model; if so, its answer must be that of the network."""
    if session is None:
        return False
    session, name, dims = session
    inputs = network.sizes[0]
    unknown = [2 if i == 0 else inputs if len(dims) == 2 else 2 for i in range(len(dims))]
    shape = [d if isinstance(d, int) else n for d, n in zip(dims, unknown, strict=True)]
    arrays = [x for x in network.parameters.values() if x.dtype.kind == "f"]
    # A batch of 0 or of 10^12 is legal, and so are weights that overflow, here or there.
    if not 0 < math.prod(shape) < 10**6 or max(np.abs(x).max() for x in arrays) > 1e15:
        return False
    x = np.random.default_rng(seed).standard_normal(shape or (2, inputs))
    try:
        x = x.astype(np.float64 if "double" in session.get_inputs()[0].type else np.float32)
        want = session.run(None, {name: x})[0]
    except REFUSALS:
        return False
    x = x.astype(network.dtype)
    got = network.forward(x if x.shape[-1] == inputs else x.reshape(len(x), -1))
    assert got.shape == want.shape
    finite = np.abs(want[np.isfinite(want)])
    room = 1e-4 * max(1.0, finite.max(initial=0))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=room)
    return True
