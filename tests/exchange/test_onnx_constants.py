"""What `from_onnx` folds, operator by operator and opset by opset, against ONNX Runtime."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
ort = pytest.importorskip("onnxruntime", reason="needs the oracles extra")
from pyfq.exchange.onnx.constants import _EVALUATED, fold  # noqa: E402
from pyfq.exchange.onnx.nodes import Model, Type  # noqa: E402

OPSETS = range(7, 21)


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


def model_of(node, operands, opset):
    """Return a model of one node whose operands are its inputs."""
    to_element = onnx.helper.np_dtype_to_tensor_dtype
    inputs = [
        onnx.helper.make_tensor_value_info(name, to_element(x.dtype), x.shape)
        for name, x in operands.items()
    ]
    outputs = [onnx.ValueInfoProto(name=node.output[-1])]
    graph = onnx.helper.make_graph([node], "g", inputs, outputs)
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def both(operator, operands, attributes, opset, outputs=("y",)):
    """Return the last output by ONNX Runtime and as folded; None for one that refuses it."""
    operands = {f"x{i}": np.asarray(x) for i, x in enumerate(operands)}
    node = onnx.helper.make_node(operator, list(operands), list(outputs), "the node", **attributes)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    text = model_of(node, operands, opset).SerializeToString()
    try:
        session = ort.InferenceSession(text, options, providers=["CPUExecutionProvider"])
        want = session.run(None, operands)[0]
    except Exception:  # it says what it does not have in many classes
        want = None
    constants = dict(operands)
    try:
        fold(Model(onnx, opset), [node], constants, "input", Type(1, (None, 4)))
    except ValueError as e:
        assert "the node" in str(e)
        assert operator in str(e)
        return want, None
    return want, constants[outputs[-1]]


X, Y, CUBE = random(3, 4), random(3, 4, seed=1), random(2, 3, 4)
POSITIVE = np.abs(X) + np.float32(0.5)
INTEGERS = np.array([[-7, 3, 2], [9, -4, 5]])
DIVISORS = np.array([[2, -2, 3], [-4, 3, 5]])
TRUTH, OTHER = np.array([True, False, True]), np.array([True, True, False])
CODES = np.arange(12, dtype=np.uint8).reshape(3, 4)
REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare",
)  # fmt: skip
UNARY = (
    "Abs", "Ceil", "Erf", "Exp", "Floor", "Identity", "Neg", "Reciprocal", "Relu", "Round",
    "Sigmoid", "Sign", "Softplus", "Tanh",
)  # fmt: skip
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
TABLE = [
    *((operator, [X], {}) for operator in UNARY),
    *((operator, [POSITIVE], {}) for operator in ("Sqrt", "Log")),
    *((operator, [X, Y], {}) for operator in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")),
    *((operator, [INTEGERS, DIVISORS], {}) for operator in ("Add", "Sub", "Mul", "Div", "Max")),
    *((operator, [INTEGERS, DIVISORS], {}) for operator in COMPARISONS),
    *((operator, [X, Y], {}) for operator in COMPARISONS),
    *((operator, [X], {"keepdims": keep}) for operator in REDUCTIONS for keep in (0, 1)),
    *((operator, [X], {"axes": [0]}) for operator in REDUCTIONS),
    *((operator, [X, whole(-1)], {}) for operator in REDUCTIONS),
    *((operator, [INTEGERS.astype(np.int32)], {}) for operator in REDUCTIONS),
    *((operator, [TRUTH, OTHER], {}) for operator in ("And", "Or")),
    *(("Softmax", [CUBE], {"axis": axis}) for axis in range(-3, 3)),
    ("Softmax", [CUBE], {}),
    ("Softmax", [X], {}),
    *(("LpNormalization", [X], {"p": p, "axis": axis}) for p in (1, 2) for axis in (0, 1, -1)),
    *(("Flatten", [CUBE], {"axis": axis}) for axis in (-1, 0, 1, 2)),
    *(("Concat", [CUBE, CUBE], {"axis": axis}) for axis in (-1, 0, 2)),
    *(("Cast", [X * 9], {"to": to}) for to in (1, 6, 7, 9, 10, 11)),
    *(("Gather", [CUBE, whole(0, -1)], {"axis": axis}) for axis in (-1, 0, 1)),
    *(("Split", [random(6)], attributes) for attributes in ({}, {"split": [2, 4]})),
    *(("Pad", [X, whole(*pads)], {"mode": mode})
      for pads in ((1, 0, 2, 1), (-1, 0, 2, -1)) for mode in ("constant", "reflect", "edge")),
    *(("CumSum", [CUBE, np.array(axis)], {"reverse": r, "exclusive": e})
      for axis in (1, -1) for r in (0, 1) for e in (0, 1)),
    ("DequantizeLinear", [CODES, np.float32(0.5), CODES[0, 3]], {}),
    *(("DequantizeLinear", [CODES, random(4), CODES[0]], attributes)
      for attributes in ({}, {"axis": 1})),
    ("Gemm", [X, Y.T.copy(), np.float32(2)], {"alpha": 0.5, "beta": 3.0}),
    *(("Pow", [POSITIVE, np.float32(p)], {}) for p in (-2, 0.5, 3)),
    ("Pow", [INTEGERS, DIVISORS], {}),
    *(("Trilu", [X, np.array(k)], {"upper": upper}) for k in (-1, 0, 1) for upper in (0, 1)),
    *(("Slice", [X, whole(a), whole(b), whole(0), whole(c)], {})
      for a, b, c in ((0, 2, 1), (-1, -100, -1), (-100, 100, 2))),
    ("Slice", [X], {"starts": [1], "ends": [3], "axes": [0]}),
    *(("ScatterND", [random(4), np.array([[1], [3]]), random(2)], attributes)
      for attributes in ({}, {"reduction": "add"}, {"reduction": "max"})),
    *(("ScatterElements", [X, np.zeros((1, 4), np.int64), Y[:1]], attributes)
      for attributes in ({}, {"reduction": "add"}, {"axis": 0, "reduction": "mul"})),
    ("CastLike", [X, np.zeros(1, np.float64)], {}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.5)], {}),
    ("Clip", [X], {"min": -0.5, "max": 0.5}),
    ("ConstantOfShape", [whole(2, 3)], {}),
    ("Dropout", [X], {}),
    ("Expand", [X[:1], whole(2, 1, 4)], {}),
    ("EyeLike", [X], {"k": 1}),
    ("GatherElements", [X, np.zeros((1, 4), np.int64)], {"axis": 0}),
    ("GatherND", [CUBE, np.array([[0, 1], [1, -1]])], {}),
    ("MatMul", [X, Y.T.copy()], {}),
    ("Mean", [X, Y], {}),
    ("Mean", [X[0], Y], {}),
    ("Not", [TRUTH], {}),
    ("QuantizeLinear", [X * 50, np.float32(0.5), CODES[0, 3]], {}),
    ("QuantizeLinear", [X * 9e8, np.float32([1, 2, 1e9, 3]), CODES[0]], {"axis": -1}),
    ("QuantizeLinear", [X * 9e8, np.float32([1, 2e8, 4]), CODES[0, :3]], {"axis": 0}),
    ("QuantizeLinear", [np.float32([3e9, -3e9, 1]), np.float32(1), np.int8(-3)], {}),
    ("Range", [whole(9)[0], whole(-1)[0], whole(-3)[0]], {}),
    ("Reshape", [CUBE, whole(0, -1)], {}),
    ("Shape", [CUBE], {}),
    ("Shape", [CUBE], {"start": -2}),
    ("Size", [CUBE], {}),
    ("Squeeze", [X[:1]], {"axes": [0]}),
    ("Squeeze", [X[:1], whole(0)], {}),
    ("Tile", [X, whole(2, 3)], {}),
    ("Transpose", [CUBE], {"perm": [1, 2, 0]}),
    ("Unsqueeze", [X], {"axes": [0, 2]}),
    ("Unsqueeze", [X, whole(0, -1)], {}),
    ("Where", [TRUTH, random(3), random(2, 3)], {}),
]  # fmt: skip


def test_the_table_has_every_operator_that_is_folded():
    assert {operator for operator, *_ in TABLE} == set(_EVALUATED)


@pytest.mark.parametrize("operator", _EVALUATED)
def test_what_is_folded_is_what_onnxruntime_gives(operator):
    compared = 0
    for name, operands, attributes in TABLE:
        for opset in OPSETS if name == operator else ():
            outputs = ("y0", "y1") if operator == "Split" else ("y",)
            want, got = both(operator, operands, attributes, opset, outputs)
            if want is None or got is None:
                continue
            compared += 1
            case = f"{opset}, {attributes}"
            assert (got.dtype, got.shape) == (want.dtype, want.shape), case
            np.testing.assert_allclose(
                got, want, rtol=2e-3 if want.dtype == np.float16 else 2e-6, atol=1e-6, err_msg=case
            )
    assert compared > 0


@pytest.mark.parametrize("opset", range(12, 21))
@pytest.mark.parametrize("operator", COMPARISONS)
def test_comparisons_are_folded_at_every_opset(operator, opset):
    want, got = both(operator, [X[:, :1], Y], {}, opset)
    np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_mask_of_dropout_is_right_or_refused(opset):
    want, got = both("Dropout", [X], {}, opset, ("y", "mask"))
    assert (got is None) == (opset < 12)
    if got is not None:
        np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize(
    ("scale", "attributes", "place"),
    [
        (1, {}, (0, 0)),
        ([1], {}, (1, 2)),
        ([1e9, 1, 1e9], {"axis": 1}, (0, 1)),
        ([1, 1e9], {"axis": -2}, (0, 2)),
        ([[1e9, 1, 1e9]] * 2, {"block_size": 1}, (1, 1)),
        ([[1e9, 1]] * 2, {"block_size": 2}, (1, 2)),
        ([[1], [1e9]], {"block_size": 3}, (0, 1)),
    ],
)
@pytest.mark.parametrize("value", [2.0**31, -(2.0**31), np.inf, np.nan])
def test_a_quotient_beyond_int32_is_refused_where_it_is(scale, attributes, place, value):
    """ONNX saturates, with the sign of the quotient; onnx.reference wraps."""
    node = onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], "q", **attributes)
    scale = np.array(scale, np.float32)
    constants = {"x": np.zeros((2, 3), np.float32), "s": scale, "z": scale.astype(np.int8) * 0}
    constants["x"][place] = value
    with pytest.raises(ValueError, match=r"'q' \(QuantizeLinear\) of constants: x / y_scale"):
        fold(Model(onnx, 21), [node], constants, "input", Type(1, (None, 4)))
    constants["x"][place] = 2.0**29
    fold(Model(onnx, 21), [node], constants, "input", Type(1, (None, 4)))
    want = np.zeros((2, 3), np.int8)
    want[place] = 127
    np.testing.assert_array_equal(constants["y"], want, strict=True)


@pytest.mark.parametrize("operator", ["Cast", "CastLike"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 128.0, -129.0, 1e30])
def test_a_cast_of_what_integers_do_not_hold_is_refused(operator, value):
    operands, attributes = (["x"], {"to": 3}) if operator == "Cast" else (["x", "like"], {})
    node = onnx.helper.make_node(operator, operands, ["y"], "c", **attributes)
    constants = {"x": np.array([0.0, value]), "like": np.int8(0)}
    with pytest.raises(ValueError, match=rf"'c' \({operator}\) of constants: .* that int8 holds"):
        fold(Model(onnx, 19), [node], constants, "input", Type(1, (None, 4)))
    constants["x"] = np.array([-128.9, 127.9])
    fold(Model(onnx, 19), [node], constants, "input", Type(1, (None, 4)))
    np.testing.assert_array_equal(constants["y"], np.array([-128, 127], np.int8), strict=True)
