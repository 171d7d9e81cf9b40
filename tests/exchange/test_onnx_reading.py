"""What `from_onnx` makes of the graphs that exporters write, and what it refuses."""

import io
import os
import warnings

import numpy as np
import pytest

import pyfq
from pyfq.io import FormatError

onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
ort = pytest.importorskip("onnxruntime", reason="needs the oracles extra")
TensorProto, helper = onnx.TensorProto, onnx.helper
from_array, make_node = onnx.numpy_helper.from_array, onnx.helper.make_node


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


V, W, B = random(4, 5), random(3, 5), random(5)


def model_of(text, opset=17, element=TensorProto.FLOAT, shape=("batch", 4), **constants):
    """Return a model of lines "result = Operator(operands) attribute=value", of x to y."""
    nodes = []
    for line in filter(None, map(str.strip, text.splitlines())):
        result, call = line.split(" = ")
        operator, rest = call.split("(")
        operands, attributes = rest.split(")")
        values = dict(pair.split("=") for pair in attributes.split())
        names = [name.strip() for name in operands.split(",")]
        names = [] if names == [""] else names
        attributes = {name: _literal(value) for name, value in values.items()}
        nodes.append(make_node(operator, names, [result], f"the {result}", **attributes))
    arrays = {"V": V, "W": W, "B": B} | constants
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, None)],
        [from_array(np.asarray(x), name) for name, x in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _literal(value):
    if "," in value:
        return [_literal(part) for part in value.split(",")]
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return value


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def assert_equals_onnxruntime(model, shape=(6, 4), room=2e-6):
    x = random(*shape, seed=5)
    want = run(model, x)
    network = pyfq.from_onnx(model)
    got = network.forward(x if x.shape[-1] == network.sizes[0] else x.reshape(len(x), -1))
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(got, want, rtol=0, atol=room * np.abs(want).max())
    return network


# ------------------------------------------------------------------------------ constants

SHAPE = np.array([5, 4])
HALF = V.astype(np.float16)


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("w = Identity(V)\ny = MatMul(x, w)", {}),
        ("w = Transpose(U)\ny = MatMul(x, w)", {"U": V.T}),
        ("w = Cast(U) to=1\ny = MatMul(x, w)", {"U": V.astype(np.float64)}),
        ("w = Cast(U) to=1\ny = MatMul(x, w)", {"U": HALF}),
        ("w = Reshape(U, s)\ny = Gemm(x, w) transB=1", {"U": V.T.reshape(-1), "s": SHAPE}),
        ("w = Unsqueeze(U, a)\ny = MatMul(x, w)", {"U": V[:, 0].copy(), "a": np.array([1])}),
        ("w = Squeeze(U, a)\ny = MatMul(x, w)", {"U": V[None], "a": np.array([0])}),
        ("w = Flatten(U) axis=1\ny = MatMul(x, w)", {"U": V.reshape(4, 5, 1)}),
        ("w = Concat(V, U) axis=1\ny = MatMul(x, w)", {"U": V[:, :2].copy()}),
        ("n = ReduceL2(V) axes=0,1\nd = Div(V, n)\nw = Mul(d, B)\ny = MatMul(x, w)", {}),
        ("r = Sqrt(V2)\nn = Neg(r)\nw = Sub(V, n)\ny = MatMul(x, w)", {"V2": V * V}),
        ("s = Shape(V)\nw = ConstantOfShape(s)\nk = Add(w, V)\ny = MatMul(x, k)", {}),
        ("i = Gather(V, p)\ny = MatMul(x, i)", {"p": np.array([3, 2, 1, 0])}),
        (
            "w = DequantizeLinear(q, s, z)\ny = MatMul(x, w)",
            {"q": np.arange(20, dtype=np.uint8).reshape(4, 5), "s": B[0], "z": np.uint8(7)},
        ),
        ("w = Gemm(U, V) alpha=0.5\ny = MatMul(x, w)", {"U": random(4, 4)}),
        ("w = Dropout(V)\ny = MatMul(x, w)", {}),
        ("m = MatMul(x, V)\ny = Add(c, m)", {"c": B[None]}),
        ("m = MatMul(x, V)\ny = Add(m, c)", {"c": B[0]}),
        ("m = MatMul(x, V)\ny = Sub(c, m)", {"c": B[:1]}),
        ("t = Transpose(x)\nm = MatMul(U, t)\na = Add(m, c)\ny = Transpose(a)",
         {"U": V.T, "c": B[:, None]}),
        ("m = Gemm(U, x, c) transB=1\nr = Relu(m)\ny = Gemm(r, W) transA=1 transB=1",
         {"U": V.T, "c": B[:, None]}),
        ("t = Transpose(x)\nm = Gemm(V, t) transA=1\ny = Transpose(m) perm=1,0", {}),
        ("y = Gemm(x, U, B) transB=1 alpha=0.5 beta=3.0", {"U": V.T}),
    ],
)  # fmt: skip
def test_constants_are_computed(text, constants):
    constants = {k: np.ascontiguousarray(v) for k, v in constants.items()}
    assert_equals_onnxruntime(model_of(text, **constants))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("value", from_array(B), "m = MatMul(x, V)\ny = Add(m, c)"),
        ("value_float", 0.25, "m = MatMul(x, V)\ny = Add(m, c)"),
        ("value_floats", B.tolist(), "m = MatMul(x, V)\ny = Add(m, c)"),
        ("value_int", 4, "k = Cast(c) to=1\nm = MatMul(x, V)\ny = Mul(m, k)"),
        ("value_ints", [5, 4], "s = Reshape(V, c)\ny = Gemm(x, s) transB=1"),
    ],
)
def test_constants_of_every_attribute_are_taken(name, value, text):
    model = model_of(text)
    model.graph.node.insert(0, make_node("Constant", [], ["c"], **{name: value}))
    assert_equals_onnxruntime(model)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("as_node", [False, True])
def test_sparse_constants_are_taken(axes, as_node):
    places = np.array([[0, 1], [2, 3], [3, 0]])
    indices = places if axes == 2 else places @ [5, 1]
    values = from_array(np.array([1.5, -2, 3], np.float32), "S")
    sparse = helper.make_sparse_tensor(values, from_array(indices, "i"), (4, 5))
    dense = np.zeros((4, 5), np.float32)
    dense[tuple(places.T)] = [1.5, -2, 3]
    model = model_of("m = MatMul(x, S)\ny = Add(m, B)")
    if as_node:
        model.graph.node.insert(0, make_node("Constant", [], ["S"], sparse_value=sparse))
    else:
        model.graph.sparse_initializer.append(sparse)
    np.testing.assert_array_equal(pyfq.from_onnx(model).layers[0].weights.T, dense)
    sparse.dims[:] = [2**20, 2**20]
    del model.graph.sparse_initializer[:]
    if not as_node:
        model.graph.sparse_initializer.append(sparse)
        with pytest.raises(ValueError, match="constant 'S': 4398046511104 bytes, but"):
            pyfq.from_onnx(model)


@pytest.mark.parametrize(
    "text",
    [
        "s = ConstantOfShape(big)\nw = ReduceSum(s)\ny = MatMul(x, w)",
        "s = Expand(V, big3)\nw = ReduceSum(s)\ny = MatMul(x, w)",
        "s = Tile(V, big)\nw = ReduceSum(s)\ny = MatMul(x, w)",
        "s = Range(zero, huge, one)\ny = Add(x, s)",
        "s = Pad(V, pads)\ny = MatMul(x, s)",
        "s = MatMul(tall, wide)\ny = MatMul(x, s)",
        "\n".join(
            ["c0 = Concat(V, V) axis=0"]
            + [f"c{i + 1} = Concat(c{i}, c{i}) axis=0" for i in range(60)]
            + ["y = MatMul(x, c60)"]
        ),
    ],
    ids=["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "MatMul", "Concat"],
)
def test_no_file_fills_the_memory(text):
    model = model_of(
        text, big=np.array([10**6, 10**6]), big3=np.array([10**6, 4, 5]), zero=np.int64(0),
        huge=np.int64(10**12), one=np.int64(1), pads=np.array([0, 0, 10**6, 10**6]),
        tall=np.ones((10**5, 1), np.float32), wide=np.ones((1, 10**5), np.float32),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"node 'the .*bytes, but what is computed of constants"):
        pyfq.from_onnx(model)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("w = RandomNormal() shape=4,5\ny = MatMul(x, w)", r"\(RandomNormal\) of constants can't"),
        ("w = Dropout(V, r, t)\ny = MatMul(x, w)", "training_mode must be false"),
        ("w = Reshape(V, b)\ny = MatMul(x, w)", r"'the w' \(Reshape\) of constants can't be eval"),
        ("w = Transpose(V) perm=0,7\ny = MatMul(x, w)", r"'the w' \(Transpose\): .*perm"),
        ("w = Cast(V) to=99\ny = MatMul(x, w)", r"'the w' \(Cast\)"),
        ("w = Gather(V, b)\ny = MatMul(x, w)", r"'the w' \(Gather\) of constants can't"),
        ("y = MatMul(x, U)", r"'the y' \(MatMul\): .*inconsistent type"),
        ("y = Add(x, x)", "expected a chain of Gemm"),
    ],
)
def test_what_is_no_constant_is_refused(text, match):
    model = model_of(
        text, r=np.float32(0.5), t=np.array(True), b=np.array([3, 7]), U=V.astype(np.float64)
    )
    with pytest.raises(ValueError, match=match):
        pyfq.from_onnx(model)


def test_constants_of_text_and_of_several_attributes_are_refused():
    for attributes in ({"value_string": "a"}, {"value_strings": ["a"]}, {"zz": 1}, {}):
        model = model_of("y = MatMul(x, c)")
        model.graph.node.insert(0, make_node("Constant", [], ["c"], "the c", **attributes))
        with pytest.raises(ValueError, match=r"node 'the c' \(Constant\): expected (value|one)"):
            pyfq.from_onnx(model)


def test_a_constant_whose_type_is_not_that_of_its_name_is_refused():
    model = model_of("m = MatMul(x, V)\ny = Add(m, c)")
    model.graph.node.insert(0, make_node("Constant", [], ["c"], "the c", value_floats=[1.0, 2.0]))
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.FLOAT
    with pytest.raises(
        ValueError, match=r"\(Constant\): expected .* of its type, not 'value_floats"
    ):
        pyfq.from_onnx(model)


# ------------------------------------------------------------------------------ functions

GELU = {
    "y = Mul(m2, h)": "d = Div(v, r2)\ne = Erf(d)\na = Add(e, one)\nm2 = Mul(v, a)",
    "y = Mul(h, m2)": "d = Mul(rh, v)\ne = Erf(d)\na = Add(one, e)\nm2 = Mul(a, v)",
    "y = Mul(m2, a)": "d = Div(v, r2)\ne = Erf(d)\na = Add(e, one)\nm2 = Mul(h, v)",
    "y = Mul(v, s)": "d = Div(v, r2)\ne = Erf(d)\nk = Mul(e, h)\ns = Add(k, h)",
    "y = Add(s, t)": "d = Div(v, r2)\ne = Erf(d)\nt = Mul(v, h)\ns = Mul(t, e)",
}
TANH = {
    "y = Mul(k, p)": "c = Pow(v, three)\nk = Mul(v, h)\n",
    "y = Mul(p, k)": "q = Mul(v, v)\nc = Mul(q, v)\nk = Mul(h, v)\n",
    "y = Mul(h, n)": "q = Pow(v, two)\nc = Mul(v, q)\nn = Mul(v, p)\n",
}
TANH_REST = "s = Mul(c, c3)\nu = Add(v, s)\nw = Mul(u, c0)\nt = Tanh(w)\np = Add(one, t)\n"
FUNCTIONS = [
    *(("gelu", f"{text}\n{last}") for last, text in GELU.items()),
    ("gelu_tanh", "c = Pow(v, three)\n" + TANH_REST + "k = Mul(v, h)\ny = Mul(k, p)"),
    ("gelu_tanh", "q = Mul(v, v)\nc = Mul(q, v)\n" + TANH_REST + "k = Mul(p, v)\ny = Mul(h, k)"),
    (
        "gelu_tanh",
        "q = Mul(v, v)\ns = Mul(q, c3)\nu = Add(s, one)\nz = Mul(v, c0)\nw = Mul(z, u)\n"
        "t = Tanh(w)\np = Add(t, one)\nk = Mul(v, p)\ny = Mul(k, h)",
    ),
    ("silu", "s = Sigmoid(v)\ny = Mul(v, s)"),
    ("silu", "n = Neg(v)\ne = Exp(n)\na = Add(one, e)\ny = Div(v, a)"),
    ("silu", "n = Mul(v, h)\nt = Tanh(n)\na = Add(t, one)\nb = Mul(a, h)\ny = Mul(b, v)"),
    ("sigmoid", "n = Neg(v)\ne = Exp(n)\na = Add(e, one)\ny = Reciprocal(a)"),
    ("sigmoid", "n = Neg(v)\ne = Exp(n)\na = Add(e, one)\ny = Div(one, a)"),
    ("softplus", "e = Exp(v)\na = Add(e, one)\ny = Log(a)"),
    ("softplus", "s = Softplus(v)\ng = Greater(v, twenty)\ny = Where(g, v, s)"),
    ("exp", "y = Exp(v)"),
    ("exp", "n = Neg(v)\ne = Exp(n)\na = Mul(e, two)\ny = Sub(a, one)"),
    ("relu", "y = Max(v, zero)"),
    ("relu", "y = Max(zero, v)"),
    ("relu", "y = Max(v, zeros)"),
    ("relu", "y = Max(zero, v, zeros)"),
    (("leaky_relu", 0.25), "s = Mul(quarters, v)\ny = Max(v, s)"),
    (("leaky_relu", 0.25), "y = PRelu(v, quarters)"),
    ("relu", "y = Clip(v, zero)"),
    ("relu", "g = Greater(v, zero)\ny = Where(g, v, zero)"),
    (("leaky_relu", 0.25), "y = PRelu(v, quarter)"),
    (("elu", 0.25), "y = Elu(v) alpha=0.25"),
    (("elu", 1.0), "y = Elu(v)"),
    (("clipped_relu", 6.0), "y = Clip(v, zero, six)"),
    (("leaky_relu", 0.25), "s = Mul(v, quarter)\ny = Max(s, v)"),
    (("leaky_relu", 0.25), "g = Greater(v, zero)\ns = Mul(v, quarter)\ny = Where(g, v, s)"),
]
NUMBERS = {
    "r2": 2**0.5, "rh": 0.5**0.5, "h": 0.5, "one": 1, "two": 2, "three": 3, "c3": 0.044715,
    "c0": (2 / np.pi) ** 0.5, "zero": 0, "twenty": 20, "quarter": 0.25, "alpha": 1.702, "six": 6,
    "less": -0.5,
}  # fmt: skip
NUMBERS = {name: np.float32(number) for name, number in NUMBERS.items()}
NUMBERS |= {"zeros": np.zeros(5, np.float32), "quarters": np.full((1, 5), 0.25, np.float32)}


@pytest.mark.parametrize(("activation", "text"), FUNCTIONS, ids=str)
def test_nodes_that_compute_an_activation_are_that(activation, text):
    model = model_of(f"v = Gemm(x, V, B)\n{text}", **NUMBERS)
    assert assert_equals_onnxruntime(model).layers[0].activation == activation
    text = text.replace("y = ", "f = ")
    model = model_of(f"v = Gemm(x, V, B)\n{text}\ny = Gemm(f, W) transB=1", **NUMBERS)
    assert assert_equals_onnxruntime(model).layers[0].activation == activation


@pytest.mark.parametrize(
    ("activation", "text"),
    [
        (("clipped_relu", 2.0), "y = Clip(v, minus, one)"),
        (("clipped_relu", 1.0), "y = HardSigmoid(v)"),
        (("clipped_relu", 1.0), "y = HardSigmoid(v) alpha=0.16666667 beta=0.5"),
        (("elu", 1.6732632), "y = Selu(v)"),
        (("elu", 1.0), "y = Celu(v) alpha=0.5"),
    ],
    ids=str,
)
def test_nodes_that_scale_and_shift_an_activation_become_part_of_layers(activation, text):
    minus = np.float32(-1)
    model = model_of(f"v = Gemm(x, V, B)\n{text}", minus=minus, **NUMBERS)
    (layer,) = assert_equals_onnxruntime(model).layers
    assert layer.activation[0] == activation[0]
    assert layer.activation[1] == pytest.approx(activation[1], rel=1e-6)
    text = text.replace("y = ", "f = ")
    model = model_of(f"v = Gemm(x, V, B)\n{text}\ny = Gemm(f, W) transB=1", minus=minus, **NUMBERS)
    assert_equals_onnxruntime(model)


def test_ends_of_a_clip_of_doubles_are_no_ends_or_told():
    wide = {"V": V.astype(np.float64), "B": B.astype(np.float64), "zero": np.float64(0)}
    text = "v = Gemm(x, V, B)\ny = Clip(v, zero, most)"
    most = np.finfo(np.float64).max
    model = model_of(text, element=TensorProto.DOUBLE, most=most, **wide)
    assert pyfq.from_onnx(model).layers[0].activation == "relu"
    model = model_of(text, element=TensorProto.DOUBLE, most=np.float64(1e39), **wide)
    with pytest.raises(ValueError, match=r"ceiling of activation must be 0 .*, not 1e\+39"):
        pyfq.from_onnx(model)


IS_ABOVE = ("Greater(v, {})", "GreaterOrEqual(v, {})", "Less({}, v)", "LessOrEqual({}, v)")
IS_BELOW = ("Less(v, {})", "LessOrEqual(v, {})", "Greater({}, v)", "GreaterOrEqual({}, v)")
CHOICES = [
    ("relu", "zero", "", "zero"),
    (("leaky_relu", 0.25), "zero", "Mul(v, quarter)", "s"),
    (("leaky_relu", 2.0), "zero", "Mul(v, two)", "s"),
    (("leaky_relu", -0.5), "zero", "Mul(v, less)", "s"),
    ("softplus", "twenty", "Softplus(v)", "s"),
]


@pytest.mark.parametrize("opset", [12, 15, 17])
@pytest.mark.parametrize(("activation", "at", "below", "name"), CHOICES, ids=str)
def test_an_activation_by_any_comparison_is_that(activation, at, below, name, opset):
    for is_above, conditions in ((True, IS_ABOVE), (False, IS_BELOW)):
        for condition in conditions:
            for no in ("", "n = Not(c)\n"):
                sides = f"v, {name}" if is_above == (not no) else f"{name}, v"
                text = f"c = {condition.format(at)}\n{no}"
                text += f"s = {below}\n" if name == "s" else ""
                text += f"y = Where({'n' if no else 'c'}, {sides})"
                model = model_of(f"v = Gemm(x, V, B)\n{text}", opset, **NUMBERS)
                layer = assert_equals_onnxruntime(model).layers[0]
                assert layer.activation == activation, text
                np.testing.assert_array_equal(layer.weights, V.T)


@pytest.mark.parametrize("condition", IS_ABOVE + IS_BELOW)
@pytest.mark.parametrize(
    "sides",
    [
        "s = Mul(v, quarter)\ny = Where(c, s, v)",
        "s = Mul(v, quarter)\ny = Where(c, v, s)",
        "s = Mul(v, two)\nt = Neg(v)\ny = Where(c, s, t)",
        "s = Neg(v)\nt = Mul(v, two)\ny = Where(c, s, t)",
        "y = Where(c, zero, v)",
        "s = Neg(v)\ny = Where(c, s, zero)",
    ],
)
def test_two_slopes_chosen_by_any_comparison_are_a_scaled_activation(condition, sides):
    text = f"v = Gemm(x, V, B)\nc = {condition.format('zero')}\n{sides}"
    assert_equals_onnxruntime(model_of(text, **NUMBERS))
    text = f"{text.replace('y = ', 'f = ')}\ny = Gemm(f, W) transB=1"
    assert_equals_onnxruntime(model_of(text, **NUMBERS))


@pytest.mark.parametrize(
    "text",
    [
        "c = Greater(v, one)\ny = Where(c, v, zero)",
        "c = Less(v, zero)\ns = Add(v, one)\ny = Where(c, s, v)",
        "c = LessOrEqual(v, two)\ns = Softplus(v)\ny = Where(c, s, v)",
        "c = Greater(v, twenty)\ns = Softplus(v)\ny = Where(c, s, v)",
        "c = GreaterOrEqual(v, zero)\ny = Where(c, one, zero)",
        "c = Less(v, B)\ny = Where(c, zero, v)",
        "y = Max(v, B)",
        "y = Max(v, one, zero)",
    ],
)
def test_choices_that_are_no_activation_are_refused(text):
    with pytest.raises(ValueError, match="node"):
        pyfq.from_onnx(model_of(f"v = Gemm(x, V, B)\n{text}", **NUMBERS))


@pytest.mark.parametrize(
    "text",
    [
        "k = Mul(v, two)\ns = Softplus(k)\ny = Div(s, two)",
        "k = Mul(v, B)\na = Add(k, B)\ns = Tanh(a)\nt = Mul(s, B)\ny = Add(one, t)",
        "s = Sigmoid(v)\nt = Mul(s, two)\nu = Sub(one, t)\ny = Gemm(u, W) transB=1",
        "k = Mul(v, h)\ne = Exp(k)\nt = Mul(e, B)\nu = Add(t, one)\ny = Gemm(u, W) transB=1",
        "s = Relu(v)\nt = Mul(s, B)\nu = Sub(t, B)\ny = Gemm(u, W, w3) transB=1",
    ],
)
def test_scales_beside_activations_go_into_layers(text):
    model = model_of(f"v = Gemm(x, V, B)\n{text}", w3=random(3), **NUMBERS)
    assert_equals_onnxruntime(model, room=4e-6)


@pytest.mark.parametrize("factor", [1e38, 1e30, 1e-30])
@pytest.mark.parametrize("text", ["k = Mul(v, c)\ny = Sigmoid(k)", "k = Div(v, c)\ny = Tanh(k)"])
def test_factors_that_overflow_in_another_order_are_refused(text, factor):
    model = model_of(f"v = MatMul(x, V)\n{text}", c=np.float32(factor))
    with pytest.raises(ValueError, match=r"'the [ky]' .*factor of .* can't become part of a layer"):
        pyfq.from_onnx(model)
    one_of_many = np.where(np.arange(5) == 2, 1e-30, 1).astype(np.float32)
    assert_equals_onnxruntime(
        model_of("v = MatMul(x, V)\nk = Mul(v, c)\ny = Sigmoid(k)", c=one_of_many)
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("k = Mul(v, alpha)\ns = Sigmoid(k)\ny = Mul(v, s)", r"\(Mul\): 'v' becomes QuickGELU"),
        ("k = Mul(v, two)\ns = Sigmoid(k)\ny = Mul(v, s)", r"becomes x \* sigmoid\(2 x\)"),
        ("s = Softplus(v)\nt = Tanh(s)\ny = Mul(t, v)", "becomes Mish"),
        ("s = HardSigmoid(v) alpha=0.16666667 beta=0.5\ny = Mul(s, v)", "becomes HardSwish"),
        ("y = Mish(v)", r"node 'the y' \(Mish\) can't be imported: expected a chain of Gemm"),
        ("y = LogSoftmax(v)", r"\(LogSoftmax\) can't be imported: export the model without it"),
        ("y = PRelu(v, B)", r"\(PRelu\) can't be imported: expected one slope"),
        ("d = Mul(v, h)\ne = Erf(d)\na = Add(e, one)\ny = Mul(v, a)",
         r"'v' must go to one node, as in a chain, not to node 'the d' \(Mul\), node 'the y'"),
        ("r = Relu(v)\ny = Add(r, v)", r"'v' must go to one node.*node 'the r' \(Relu\)"),
        ("s = Softmax(v)\nt = Tanh(v)\ny = Mul(s, t)", "must go to one node"),
        ("q8 = QuantizeLinear(v, h)\ny = DequantizeLinear(q8, h)", "and call Network.calibrate"),
        ("s = Shape(v)\ny = Reshape(v, s)", "must go to one node"),
        ("e = Exp(v)\ny = Tanh(e)", r"\(Tanh\): a layer has one activation, and 'exp' comes"),
        ("e = Exp(v)\ns = ReduceSum(e)\ny = Div(e, s)",
         r"'e' must go to one node, as in a chain, not to node 'the s' \(ReduceSum\)"),
        ("q = Mul(v, v)\ny = Exp(q)", "'v' must go to one node|can't be imported"),
        ("y = Squeeze(v)", r"\(Squeeze\) can't be imported"),
    ],
)  # fmt: skip
def test_other_functions_are_refused_by_name(text, match):
    with pytest.raises(ValueError, match=match):
        pyfq.from_onnx(model_of(f"v = Gemm(x, V, B)\n{text}", **NUMBERS))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [-np.inf, -1e30, -2, -0.5, 0, 1e-30, 0.5, 2, np.inf, np.nan])
@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("Elu", "alpha"), ("Celu", "alpha"), ("LeakyRelu", "alpha"), ("ThresholdedRelu", "alpha"),
        ("Selu", "alpha"), ("Selu", "gamma"), ("HardSigmoid", "alpha"), ("HardSigmoid", "beta"),
    ],
)  # fmt: skip
def test_any_parameter_is_the_same_or_refused_by_name(operator, name, value):
    model = model_of(f"v = Gemm(x, V, B)\ny = {operator}(v)", **NUMBERS)
    model.graph.node[-1].attribute.append(onnx.helper.make_attribute(name, float(value)))
    try:
        pyfq.from_onnx(model)
    except ValueError as e:
        assert str(e).startswith(f"node 'the y' ({operator})"), e
        return
    assert_equals_onnxruntime(model)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("y = Celu(v) alpha=-1.0", r"\(Celu\): alpha must be 8\.67\S* \.\.\. 1\.15\S*, not -1"),
        ("y = Celu(v) alpha=0.0", r"\(Celu\): alpha must be .*, not 0"),
        ("y = Mul(v, inf)", r"node 'the y' \(Mul\): a constant must be finite, not inf"),
        ("y = Add(v, inf)", r"node 'the y' \(Add\): a constant must be finite, not inf"),
        ("r = Relu(v)\ny = Div(r, inf)", r"node 'the y' \(Div\): a constant must be finite"),
        ("r = Relu(v)\ns = Mul(r, large)\ny = Mul(s, large)",
         r"node 'the y' \(Mul\): with it output_scale of the network is beyond float32"),
        ("r = Relu(v)\ns = Div(r, large)\ny = Div(s, large)",
         r"node 'the y' \(Div\): with it output_scale of the network is beyond float32"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_parameters_and_constants_of_no_network_are_refused_by_name(text, match):
    numbers = NUMBERS | {"inf": np.float32(np.inf), "large": np.float32(1e30)}
    with pytest.raises(ValueError, match=match):
        pyfq.from_onnx(model_of(f"v = Gemm(x, V, B)\n{text}", **numbers))


# ------------------------------------------------------------------------------ exporters


def exported(module, x, **options):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), file, dynamo=False, **options)
        return onnx.load_from_string(file.getvalue()), module(x).numpy()


def modules():
    """Return modules of many kinds, and the shape of their inputs."""
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    nn = torch.nn
    torch.manual_seed(0)

    def normalized(features):
        module = nn.BatchNorm1d(features)
        for values in (module.running_mean, module.weight.data, module.bias.data):
            values.uniform_(-1, 1)
        module.running_var.uniform_(0.5, 2)
        return module

    class View(nn.Module):
        def forward(self, x):
            return x.view(x.size(0), -1)

    class Exp(nn.Module):
        def forward(self, x):
            return torch.exp(x)

    shared = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))
    for layer in (shared[0], shared[2]):
        layer.bias.data.zero_()
    softplus = nn.Softplus(beta=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old_norm = nn.utils.weight_norm(nn.Linear(8, 6))
    new_norm = nn.utils.parametrizations.weight_norm(nn.Linear(8, 6))
    return [
        (shared, (5, 8)),
        (nn.Sequential(old_norm, nn.Tanh(), nn.Linear(6, 3), softplus), (5, 8)),
        (nn.Sequential(new_norm, nn.PReLU(), nn.Linear(6, 3), nn.Softplus()), (5, 8)),
        (nn.Sequential(nn.Linear(8, 6), normalized(6), nn.SiLU(), nn.Linear(6, 3)), (5, 8)),
        (nn.Sequential(nn.Linear(8, 6), nn.GELU("tanh"), normalized(6), nn.Linear(6, 3)), (5, 8)),
        (nn.Sequential(normalized(8), nn.Linear(8, 6), nn.Sigmoid(), normalized(6)), (5, 8)),
        (nn.Sequential(View(), nn.Linear(8, 6), nn.Dropout(), nn.Softmax(-1)), (5, 2, 4)),
        (nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.LeakyReLU(0.3)), (5, 2, 2, 2)),
        (nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3), Exp()), (5, 8)),
    ]


@pytest.mark.parametrize("folding", [False, True])
@pytest.mark.parametrize("opset", [9, 12, 13, 17, 18, 20])
def test_what_torch_exports_is_what_the_module_gives(opset, folding):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    kinds = torch.onnx.TrainingMode
    options = {"opset_version": opset, "do_constant_folding": folding}
    options["training"] = kinds.EVAL if folding else kinds.PRESERVE
    if folding:
        options |= {"dynamic_axes": {"x": {0: "batch"}}, "input_names": ["x"]}
    for module, shape in modules():
        x = torch.from_numpy(random(*shape))
        model, want = exported(module.eval(), x, **options)
        got = pyfq.from_onnx(model).forward(x.numpy().reshape(5, -1))
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())


def test_what_the_dynamo_exporter_writes_is_taken(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    pytest.importorskip("onnxscript", reason="torch.onnx.export(dynamo=True) needs onnxscript")
    for module, shape in modules()[1::3]:  # an export takes seconds
        x = torch.from_numpy(random(*shape))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(module.eval(), (x,), tmp_path / "m.onnx", dynamo=True, verbose=False)
            want = module(x).numpy()
        got = pyfq.from_onnx(tmp_path / "m.onnx").forward(x.numpy().reshape(5, -1))
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())


def test_training_mode_and_halves_are_refused():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    preserve = {"training": torch.onnx.TrainingMode.PRESERVE, "opset_version": 17}
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    model, _ = exported(module, torch.zeros(5, 4), **preserve)
    with pytest.raises(ValueError, match=r"\(BatchNormalization\): training_mode must be 0"):
        pyfq.from_onnx(model)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()).half().eval()
    model, _ = exported(module, torch.zeros(5, 4).half(), **preserve)
    with pytest.raises(TypeError, match=r"weights must be float32 or float64, not float16"):
        pyfq.from_onnx(model)


@pytest.mark.parametrize("opset", [7, 9, 13])
def test_a_batch_normalization_with_more_outputs_is_one_of_training(opset):
    model = model_of(
        "m = MatMul(x, V)\ny = BatchNormalization(m, B, B, B, v)", opset, v=np.abs(B) + 1
    )
    outputs = model.graph.node[1].output
    outputs.extend(["mean", "var", "saved_mean", "saved_var"])
    with pytest.raises(ValueError, match=r"'the y' .*training_mode must be 0: call model\.eval"):
        pyfq.from_onnx(model)
    outputs[1:] = [""] * 4
    assert pyfq.from_onnx(model).sizes == (4, 5)


@pytest.mark.parametrize(
    ("text", "shape", "constants"),
    [
        ("f = Flatten(x)\ny = MatMul(f, V)", ("batch", 2, 2), {}),
        ("f = Reshape(x, s)\ny = MatMul(f, V)", ("batch", 2, 2), {"s": np.array([-1, 4])}),
        ("f = Reshape(x, s)\ny = MatMul(f, V)", ("batch", 2, 2), {"s": np.array([0, -1])}),
        ("f = Reshape(x, s)\ny = MatMul(f, V)", (6, 2, 2), {"s": np.array([6, -1])}),
        (
            "m = MatMul(x, V)\nf = Reshape(m, s)\ny = Relu(f)",
            ("batch", 4),
            {"s": np.array([-1, 5])},
        ),
        (
            "s = Shape(x)\nb = Gather(s, i)\nc = Unsqueeze(b, i1)\nd = Concat(c, n) axis=0\n"
            "f = Reshape(x, d)\ny = MatMul(f, V)",
            ("batch", 2, 2),
            {"i": np.array(0), "i1": np.array([0]), "n": np.array([-1])},
        ),
        (
            "s = Shape(x)\nb = Slice(s, i, j)\nd = Concat(b, n) axis=0\nf = Reshape(x, d)\n"
            "y = MatMul(f, V)",
            ("batch", "height", "width"),
            {"i": np.array([0]), "j": np.array([1]), "n": np.array([4])},
        ),
    ],
)
def test_shapes_in_front_are_the_callers(text, shape, constants):
    assert_equals_onnxruntime(
        model_of(text, shape=shape, **constants), (6, *shape[1:]) if 4 in shape else (6, 2, 2)
    )


@pytest.mark.parametrize(
    ("text", "shape", "constants"),
    [
        ("f = Reshape(x, s)\ny = MatMul(f, V)", ("batch", 8), {"s": np.array([-1, 4])}),
        ("f = Reshape(x, s)\ny = MatMul(f, V)", ("batch", 4), {"s": np.array([1, -1])}),
        ("f = Reshape(x, s) allowzero=1\ny = MatMul(f, V)", (6, 4), {"s": np.array([0, 4])}),
        ("f = Flatten(x) axis=2\ny = MatMul(f, V)", ("batch", 3, 4), {}),
        ("f = Flatten(x) axis=0\ny = MatMul(f, V)", ("batch", 4), {}),
        ("m = MatMul(x, V)\ny = Flatten(m)", ("batch", 3, 4), {}),
        (  # the extents are swapped
            "s = Shape(x)\nd = Gather(s, i)\nf = Reshape(x, d)\ny = MatMul(f, V)",
            ("batch", 4),
            {"i": np.array([1, 0])},
        ),
        ("s = Shape(x)\nd = Mul(s, s)\nf = Reshape(x, d)\ny = MatMul(f, V)", ("batch", 4), {}),
        (
            "s = Shape(x)\nc = Cast(s) to=1\nm = MatMul(x, V)\ni = Gather(c, k)\ny = Mul(m, i)",
            ("batch", 4),
            {"k": np.array(0)},
        ),
        ("a = Add(x, B4)\ny = MatMul(a, V)", ("batch", 1), {"B4": random(4)}),
        ("t = Transpose(x)\ny = MatMul(W45, t)", ("batch", 4), {"W45": V.T.copy()}),
        ("m = MatMul(x, V)\ny = Add(m, r3)", ("batch", 4), {"r3": random(1, 1, 5)}),
        ("t = Transpose(x) perm=0,2,1\ny = MatMul(t, V)", ("batch", 4, 4), {}),
    ],
)
def test_what_mixes_samples_is_refused(text, shape, constants):
    with pytest.raises(ValueError, match=r"node 'the |of model has samples in columns"):
        pyfq.from_onnx(model_of(text, shape=shape, **constants))


FOUR, FIVE = np.full(4, 0.5, np.float32), np.full(5, 0.5, np.float32)


@pytest.mark.parametrize(
    ("text", "opset"),
    [
        ("a = MatMul(x, V)\ny = Softmax(a) axis=1", 17),
        ("a = MatMul(x, V)\ny = Softmax(a)", 12),
        ("a = MatMul(x, V)\ny = Flatten(a)", 17),
        ("a = Flatten(x) axis=-1\ny = MatMul(a, V)", 17),
        ("a = MatMul(x, V)\ny = Reshape(a, keep)", 17),
        ("a = Reshape(x, rows)\ny = MatMul(a, V)", 17),
        ("s = Shape(x)\nb = Gather(s, first)\nc = Concat(b, last) axis=0\n"
         "a = Reshape(x, c)\ny = MatMul(a, V)", 17),
        ("a = BatchNormalization(x, four, four, four, four)\ny = MatMul(a, V)", 17),
        ("a = MatMul(x, V)\ny = BatchNormalization(a, five, five, five, five)", 17),
        ("a = Transpose(x)\nb = Transpose(a)\ny = MatMul(b, V)", 17),
        ("a = Transpose(x) perm=1,0\nb = MatMul(left, a)\ny = Transpose(b)", 17),
    ],
)  # fmt: skip
def test_what_depends_on_axes_that_are_not_known_is_refused(text, opset):
    constants = {
        "keep": np.array([0, -1]), "rows": np.array([-1, 4]), "first": np.array([0]),
        "last": np.array([-1]), "four": FOUR, "five": FIVE, "left": np.ascontiguousarray(V.T),
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"node 'the .* depends on the number of axes of the in"):
        pyfq.from_onnx(model_of(text, opset, shape=None, **constants))
    assert_equals_onnxruntime(model_of(text, opset, **constants))


@pytest.mark.parametrize(
    ("text", "opset"),
    [
        ("a = MatMul(x, V)\nb = Add(a, B)\ny = Softmax(b)", 17),
        ("a = MatMul(x, V)\ny = Softmax(a) axis=-1", 12),
        ("a = Gemm(x, V)\nb = Flatten(a)\ny = Softmax(b) axis=1", 17),
        ("a = Gemm(x, V)\ny = BatchNormalization(a, five, five, five, five)", 17),
        ("a = Flatten(x)\nb = MatMul(a, V)\ny = Softmax(b) axis=1", 17),
        ("a = Reshape(x, keep)\nb = MatMul(a, V)\ny = Softmax(b) axis=1", 17),
    ],
)
def test_an_input_without_a_shape_computes_what_the_model_does(text, opset):
    model = model_of(text, opset, shape=None, keep=np.array([0, -1]), five=FIVE)
    network = assert_equals_onnxruntime(model)
    x = random(2, 3, 4)
    if "Gemm" not in text and "keep" not in text and "Flatten" not in text:
        np.testing.assert_allclose(network.forward(x), run(model, x), rtol=1e-5)


def test_a_cast_in_front_is_the_callers():
    model = model_of("c = Cast(x) to=1\ny = MatMul(c, V)", element=TensorProto.DOUBLE)
    assert pyfq.from_onnx(model).dtype == np.float32
    for text in (
        "m = MatMul(x, V)\ny = Cast(m) to=11",
        "c = Cast(x) to=7\ny = MatMul(c, V)",
        "m = MatMul(x, V)\nc = Cast(m) to=7\nd = Cast(c) to=1\ny = Relu(d)",
    ):
        with pytest.raises(ValueError, match=r"\(Cast\): expected one to float or double in front"):
            pyfq.from_onnx(model_of(text))


def test_a_cast_to_double_behind_one_that_rounds_is_refused():
    text = "c = Cast(x) to=1\nd = Cast(c) to=11\ny = MatMul(d, V64)"
    for element in (TensorProto.DOUBLE, TensorProto.INT64):
        with pytest.raises(ValueError, match=r"'the d' \(Cast\): a Cast to double behind one to f"):
            pyfq.from_onnx(model_of(text, element=element, V64=V.astype(np.float64)))
    for element in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8):
        network = pyfq.from_onnx(model_of(text, element=element, V64=V.astype(np.float64)))
        assert network.dtype == np.float64
    there_and_back = "d = Cast(x) to=11\nc = Cast(d) to=1\ny = MatMul(c, V)"
    assert_equals_onnxruntime(model_of(there_and_back))


# ------------------------------------------------------------------------------ graphs


def test_nodes_that_the_output_does_not_need_do_not_count():
    model = model_of("z = Conv(x, V)\nk = Loop(x)\nm = MatMul(x, V)\ny = Relu(m)")
    assert pyfq.from_onnx(model).sizes == (4, 5)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda g: g.node[0].ClearField("input"), r"node 'the m' \(MatMul\)"),
        (lambda g: g.node[1].ClearField("output"), "the output 'y' of model is the result of no"),
        (lambda g: g.node[1].output.append("m"), r"'the y' \(Relu\): 'm' is given twice"),
        (lambda g: g.node[0].output.append("V"), r"'the m' \(MatMul\): 'V' is given twice"),
        (lambda g: g.node[0].input.__setitem__(0, "y"), "'y' depends on itself, which is no chain"),
        (lambda g: g.node[0].input.__setitem__(1, "zz"), "nothing gives its input 'zz'"),
        (lambda g: g.ClearField("node"), "the output 'y' of model is the result of no node"),
        (lambda g: g.ClearField("input"), "must have one input and one output, not 0 and 1: none"),
        (lambda g: g.ClearField("output"), "must have one input and one output, not 1 and 0"),
        (lambda g: g.input.append(g.input[0]), "not 2 and 1: 'x', 'x' and 'y'"),
        (lambda g: g.input[0].type.Clear(), "the input 'x' of model must be a tensor"),
        (lambda g: g.initializer.append(g.initializer[0]), "must have names of their own"),
        (lambda g: setattr(g.output[0], "name", "V"), "does not depend on its input|expected at"),
        (lambda g: setattr(g.initializer[0], "data_type", 99), "constant 'V': .* not data type 99"),
        (lambda g: setattr(g.initializer[0], "data_type", 8), "not data type STRING"),
        (lambda g: setattr(g.initializer[0], "data_type", 0), "not data type UNDEFINED"),
        (lambda g: setattr(g.initializer[0], "data_location", 1), "pass the path of the model"),
        (lambda g: g.initializer[0].dims.append(3), r"'V': its data are not of shape \[4, 5, 3\]"),
        (lambda g: g.initializer[0].dims.append(-1), "'V': negative extents"),
        (lambda g: g.initializer[0].dims.append(0), "'V': its data are not of shape"),
        (lambda g: setattr(g.node[0], "domain", "com.q"), r"\(com\.q\.MatMul\) can't be imported"),
        (lambda g: setattr(g.node[0], "domain", "ai.onnx.ml"), "from_sklearn takes the estimator"),
        (lambda g: setattr(g.node[1], "op_type", "If"), r"node 'the y' \(If\) can't be imported"),
        (lambda g: setattr(g.node[1], "op_type", "Gem"), r"node 'the y' \(Gem\) can't be imported"),
    ],
)
def test_odd_graphs_are_refused(edit, match):
    model = model_of("m = MatMul(x, V)\ny = Relu(m)")
    edit(model.graph)
    with pytest.raises(ValueError, match=match):
        pyfq.from_onnx(model)


def test_names_are_cut_and_escaped():
    for field, name in (("name", "a\nb" * 10**6), ("op_type", "Re\nlu" * 10**6)):
        model = model_of("m = MatMul(x, V)\nn = Relu(m)\ny = Mish(n)")
        setattr(model.graph.node[2], field, name)
        with pytest.raises(ValueError, match="can't be imported") as error:
            pyfq.from_onnx(model)
        assert len(str(error.value)) < 1000
        assert "\n" not in str(error.value)


def test_opsets_and_functions_of_models():
    model = model_of("y = MatMul(x, V)")
    del model.opset_import[:]
    with pytest.raises(ValueError, match="the opset of model must be at least 7, not 1"):
        pyfq.from_onnx(model)
    model.opset_import.extend([helper.make_opsetid("", 9), helper.make_opsetid("ai.onnx", 13)])
    with pytest.raises(ValueError, match=r"model must have one opset, not \[9, 13\]"):
        pyfq.from_onnx(model)
    model = model_of("y = MatMul(x, V)", opset=999)
    with pytest.raises(ValueError, match=r"opset of model is 999, but onnx .* pip install"):
        pyfq.from_onnx(model)
    model = model_of("m = MatMul(x, V)\ny = Twice(m)")
    model.graph.node[1].domain = "mine"
    body = [make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, opsets))
    with pytest.raises(ValueError, match=r"\(mine\.Twice\) can't .* onnx\.inliner\.inline_local"):
        pyfq.from_onnx(model)
    model.functions[0].domain = ""
    with pytest.raises(ValueError, match="under the names of ONNX's operators"):
        pyfq.from_onnx(model)


# ------------------------------------------------------------------------------ files


def test_files_of_other_kinds_are_named(tmp_path):
    path = tmp_path / "m.onnx"
    for content, kind in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"PK\3\4aaaa", "a zip archive, as torch.save writes"),
        (b"ir_version: 8\n", "the text format"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "there is no graph in the file"),
    ):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=f"expected an ONNX model, but .*{kind}"):
            pyfq.from_onnx(path)
    with pytest.raises(IsADirectoryError):
        pyfq.from_onnx(tmp_path)
    os.mkfifo(tmp_path / "fifo.onnx")
    with pytest.raises(FormatError, match="expected a regular file"):
        pyfq.from_onnx(tmp_path / "fifo.onnx")
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(FormatError, match="an ONNX file has at most 2147483647 bytes"):
        pyfq.from_onnx(path)


def save_external(tmp_path, **entries):
    model = model_of("y = MatMul(x, V)")
    onnx.save_model(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    model = onnx.load_model(tmp_path / "m.onnx", load_external_data=False)
    (tensor,) = (t for t in model.graph.initializer if t.name == "V")
    fields = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "m.onnx"


def test_data_beside_a_model_are_read(tmp_path, monkeypatch):
    path = save_external(tmp_path)
    np.testing.assert_array_equal(pyfq.from_onnx(path).layers[0].weights, V.T)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(pyfq.from_onnx("m.onnx").layers[0].weights, V.T)


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"location": "../m.data"}, "leads out of the directory"),
        ({"location": "/etc/passwd"}, "leads out of the directory"),
        ({"location": "C:\\m.data"}, "leads out of the directory"),
        ({"location": "..\\m.data"}, "leads out of the directory"),
        ({"location": ""}, "expected a file's name"),
        ({"location": "link"}, "links out of the directory"),
        ({"location": "fifo"}, "expected a regular file"),
        ({"offset": "9999999"}, "expected 80 bytes from 9999999 on, but it has"),
        ({"offset": "-1"}, "must be numbers"),
        ({"offset": "9" * 30}, "must be numbers"),
        ({"length": "8"}, "expected a length of 80 bytes, not 8"),
    ],
)
def test_data_elsewhere_are_refused(tmp_path, entries, match):
    directory = tmp_path / "models"
    directory.mkdir()
    (tmp_path / "outside").write_bytes(bytes(1000))
    (directory / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(directory / "fifo")
    with pytest.raises(FormatError, match=match):
        pyfq.from_onnx(save_external(directory, **entries))


def test_data_that_are_missing_or_short_are_refused(tmp_path):
    path = save_external(tmp_path)
    data = tmp_path / "m.data"
    data.write_bytes(data.read_bytes()[:16])
    with pytest.raises(FormatError, match=r"m\.data: external data of 'V': expected 80 bytes"):
        pyfq.from_onnx(path)
    data.unlink()
    with pytest.raises(FileNotFoundError, match=r"m\.data"):
        pyfq.from_onnx(path)
