"""Networks from ONNX files, and in them; the package onnx is imported on first use."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._native import _build
from .activation import as_activation
from .chain import Affine, Linear, Nonlinear, Operation, network_of
from .network import Dense, Network

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Operators with a multidirectional broadcast, and without attributes that say how, are of it.
_OLDEST_OPSET = 7
# What is written: the first with Gelu, and the version of the file that goes with it.
_OPSET, _IR_VERSION = 20, 9
# What protobuf can hold, less some room for names.
_MOST_BYTES = 2**31 - 2**20

# Operators without attributes that count.
_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus"}
_KNOWN = (
    "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", *_ACTIVATIONS, "LeakyRelu", "Gelu", "Swish",
    "Softmax", "Identity", "Dropout", "Flatten",
)  # fmt: skip


def from_onnx(model: "str | os.PathLike[str] | ModelProto") -> Network:
    """Return the network that an ONNX model is, if that is a chain of layers.

    Parameters
    ----------
    model : str, os.PathLike or onnx.ModelProto
        A file or a model, of opset 7 or later, with one input and one output, ``(batch,
        features)``. Operators are Gemm or MatMul with Add; Relu, LeakyRelu, Tanh, Sigmoid, Gelu,
        Softplus, Swish or Sigmoid with Mul, Softmax over the last axis; Identity, Dropout, and
        Flatten before the layers. Constants that are added, subtracted, multiplied by or divided by
        before the first layer and behind the last become means and scales.

    Returns
    -------
    Network
        In the dtype of the model, float32 or float64.

    Raises
    ------
    TypeError
        If `model` is neither, or its weights have another dtype.
    ValueError
        If the graph is no such chain; the message names node and operator.
    FormatError
        If a file is no ONNX model.
    ImportError
        If the package onnx is not installed.

    See Also
    --------
    to_onnx : The other way.

    References
    ----------
    ONNX, Operator schemas, https://onnx.ai/onnx/operators/.

    Examples
    --------
    ::

        network = from_onnx("teacher.onnx")
        network.forward(x)  # what onnxruntime gives, but for rounding
    """
    onnx = _import_onnx("from_onnx")
    if isinstance(model, str | os.PathLike):
        model = _read_model(onnx, model)
    elif not isinstance(model, onnx.ModelProto):
        raise TypeError(f"model must be a path or an onnx.ModelProto, not {type(model).__name__}")
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    if opset < _OLDEST_OPSET:
        raise ValueError(f"the opset of model must be at least {_OLDEST_OPSET}, not {opset}")
    return network_of(_operations_of(onnx, model.graph, opset))


def to_onnx(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to an ONNX file of opset 20, atomically.

    Each layer is a Gemm and its activation, with a Sub and a Div before the first and a Mul and an
    Add behind the last where the network has means and scales. The batch is of any size. Quantized
    and sparse weights are written as the arrays they stand for. `classes` and `activation_bits` are
    not written: the model gives outputs, computed in floats.

    Layers of a calibrated network are QuantizeLinear, MatMulInteger of the codes, and Cast, Mul and
    Add, as `Network.calibrate` says; weights stay codes, in bytes. `from_onnx` does not read them.

    Parameters
    ----------
    network : Network
        What to write. onnxruntime has no float64 kernels for ``"leaky_relu"``, ``"gelu"`` and
        ``"softplus"``. The slope of ``"leaky_relu"`` becomes float32. A calibrated one must be
        float32, as ONNX's QuantizeLinear.
    path : str or os.PathLike
        The target, under exactly this name; replaced when all is written.

    Raises
    ------
    TypeError
        If `network` is no `Network`.
    ValueError
        If its arrays take 2 GB, which is more than the format holds in a file; if it is calibrated
        and float64.
    ImportError
        If the package onnx is not installed.
    OSError
        If the file cannot be written.

    See Also
    --------
    from_onnx : The other way.

    Examples
    --------
    ::

        to_onnx(network, "student.onnx")
        session = onnxruntime.InferenceSession("student.onnx")
        (y,) = session.run(None, {"x": x})
    """
    from pathlib import Path

    from .io.atomic import replacing  # which programs without files do not need

    onnx = _import_onnx("to_onnx")
    if not isinstance(network, Network):
        raise TypeError(f"network must be a Network, not {type(network).__name__}")
    nbytes = sum(layer.shape[0] * (layer.shape[1] + 1) for layer in network.layers)
    nbytes *= network.dtype.itemsize
    if nbytes > _MOST_BYTES:
        raise ValueError(f"an ONNX file holds {_MOST_BYTES} bytes of arrays, not {nbytes}")
    if network.layers[0].x_scale is not None and network.dtype != np.float32:
        raise ValueError(f"a calibrated network must be float32 for ONNX, not {network.dtype}")
    content = _model_of(onnx, network).SerializeToString()
    with replacing(Path(path)) as file:
        file.write(content)


def _import_onnx(function: str) -> ModuleType:
    try:
        import onnx
    except ModuleNotFoundError as e:
        raise ImportError(f"{function} needs onnx: pip install 'pyfq-fortran[onnx]'") from e
    return onnx


def _read_model(onnx: ModuleType, path: str | os.PathLike[str]) -> "ModelProto":
    from google.protobuf.message import DecodeError

    from .io import FormatError

    try:
        return onnx.load_model(path, format="protobuf")
    except (DecodeError, onnx.checker.ValidationError) as e:
        raise FormatError(path, f"expected an ONNX model, {e}") from e


@dataclass(frozen=True, eq=False)
class _Graph:
    """The constants of a graph, its opset, and the package that reads them."""

    onnx: ModuleType
    opset: int
    tensors: Mapping[str, Any]

    def constant(self, name: str, where: str) -> NDArray:
        """Return a constant operand as an array."""
        if name not in self.tensors:
            raise ValueError(f"{where}: {name!r} must be a constant")
        return self.onnx.numpy_helper.to_array(self.tensors[name])

    def attributes(self, node: "NodeProto") -> dict[str, Any]:
        """Return the attributes of a node, text as text."""
        values = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def _operations_of(onnx: ModuleType, proto: Any, opset: int) -> Iterator[Operation]:
    """Yield what the nodes do, from the input of a graph to its output."""
    tensors = {tensor.name: tensor for tensor in proto.initializer}
    nodes = []
    for node in proto.node:
        values = [a.t for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and values:
            tensors[node.output[0]] = values[0]
        else:
            nodes.append(node)
    inputs = [value for value in proto.input if value.name not in tensors]
    if len(inputs) != 1 or len(proto.output) != 1:
        raise ValueError(
            f"model must have one input and one output, not {len(inputs)} and {len(proto.output)}"
        )
    graph = _Graph(onnx, opset, tensors)
    users: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in set(node.input):
            users.setdefault(name, []).append(node)
    value, end = inputs[0].name, proto.output[0].name
    shape = inputs[0].type.tensor_type.shape
    axes = len(shape.dim) if inputs[0].type.tensor_type.HasField("shape") else 2
    has_layers = False
    for _ in range(len(nodes) + 1):  # a cycle, which no model has, would not end
        if value == end and value not in users:
            return
        takers = users.get(value, [])
        swish = _swish_of(takers, value)
        if swish is not None:
            yield Nonlinear(_where(swish), "silu")
            value = swish.output[0]
            continue
        if len(takers) != 1:
            to = ", ".join(_where(node) for node in takers) or "no node"
            raise ValueError(f"{value!r} must go to one node, as in a chain, not to {to}")
        (node,) = takers
        if node.op_type == "Flatten" and axes != 2 and (has_layers or axes < 2):
            raise ValueError(f"{_where(node)}: expected before the first layer only")
        yield from _operation_of(graph, node, value, axes)
        has_layers = has_layers or node.op_type in ("Gemm", "MatMul")
        axes = 2 if node.op_type in ("Gemm", "Flatten") else axes
        value = node.output[0]
    raise ValueError("the nodes of model must be a chain from its input to its output")


def _swish_of(takers: list[Any], value: str) -> Any:
    """Return the Mul of ``x * sigmoid(x)`` if that is where a value goes."""
    kinds = {node.op_type: node for node in takers}
    if len(takers) != 2 or kinds.keys() != {"Sigmoid", "Mul"}:
        return None
    operands = sorted((value, kinds["Sigmoid"].output[0]))
    return kinds["Mul"] if sorted(kinds["Mul"].input) == operands else None


def _operation_of(graph: _Graph, node: Any, value: str, axes: int) -> list[Operation]:
    """Return what a node does to a value of so many axes, nothing or one operation."""
    where, attributes = _where(node), graph.attributes(node)
    if node.domain not in ("", "ai.onnx") or node.op_type not in _KNOWN:
        raise ValueError(f"{where} can't be imported: expected one of {', '.join(_KNOWN)}")
    match node.op_type:
        case "Gemm" | "MatMul":
            return [_linear_of(graph, node, value, attributes)]
        case "Add" | "Sub" | "Mul" | "Div":
            return [_affine_of(graph, node, value)]
        case "LeakyRelu":
            return [Nonlinear(where, ("leaky_relu", float(attributes.get("alpha", 0.01))))]
        case "Gelu":
            exact = attributes.get("approximate", "none") == "none"
            return [Nonlinear(where, "gelu" if exact else "gelu_tanh")]
        case "Swish":
            if attributes.get("alpha", 1.0) != 1:
                raise ValueError(f"{where}: alpha must be 1, not {attributes['alpha']}")
            return [Nonlinear(where, "silu")]
        case "Softmax":
            axis = attributes.get("axis", 1 if graph.opset < 13 else -1)
            if axis not in (-1, axes - 1):
                raise ValueError(f"{where}: axis must be the last of {axes}, not {axis}")
            return [Nonlinear(where, "softmax")]
        case "Dropout":
            if len(node.input) > 2 and node.input[2] and graph.constant(node.input[2], where):
                raise ValueError(f"{where}: training_mode must be false")
            return []
        case "Flatten":
            if attributes.get("axis", 1) != 1:
                raise ValueError(f"{where}: axis must be 1, not {attributes['axis']}")
            return []
        case "Identity":
            return []
    return [Nonlinear(where, _ACTIVATIONS[node.op_type])]


def _linear_of(graph: _Graph, node: Any, value: str, attributes: Mapping[str, Any]) -> Linear:
    """Return the layer of a Gemm or a MatMul."""
    where = _where(node)
    if node.input[0] != value or attributes.get("transA", 0):
        raise ValueError(f"{where}: expected weights on the right, and transA=0")
    weights = graph.constant(node.input[1], where)
    if weights.ndim != 2:
        raise ValueError(f"{where}: weights must have 2 axes, not shape {weights.shape}")
    if not attributes.get("transB", 0):
        weights = weights.T
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2], where)
        if bias.size not in (1, len(weights)) or bias.size != (bias.shape or (1,))[-1]:
            raise ValueError(
                f"{where}: the bias must be the same for each sample, of shape "
                f"({len(weights)},), not {bias.shape}"
            )
        bias = np.broadcast_to(bias.reshape(-1), weights.shape[:1])
    return Linear(
        where,
        np.ascontiguousarray(weights if alpha == 1 else weights * weights.dtype.type(alpha)),
        None if bias is None else np.array(bias if beta == 1 else bias * bias.dtype.type(beta)),
    )


def _affine_of(graph: _Graph, node: Any, value: str) -> Affine:
    """Return the sum, difference, product or quotient of a value and a constant."""
    where = _where(node)
    left, right = node.input
    if right == value and node.op_type in ("Add", "Mul"):
        left, right = right, left
    if left != value:
        raise ValueError(f"{where}: expected a constant on the right")
    operand = graph.constant(right, where)
    if operand.ndim > 2 or operand.size != (operand.shape or (1,))[-1]:
        raise ValueError(
            f"{where}: the constant must be the same for each sample, not of shape {operand.shape}"
        )
    operand = operand.reshape(-1)
    match node.op_type:
        case "Mul":
            return Affine(where, "multiply", operand)
        case "Div":
            return Affine(where, "divide", operand)
    return Affine(where, "add", operand if node.op_type == "Add" else -operand)


def _where(node: Any) -> str:
    """Return what an error calls a node: its operator, and its name or that of its output."""
    name = node.name or next(iter(node.output), "")
    domain = f"{node.domain}." if node.domain else ""
    return f"node {name!r} ({domain}{node.op_type})"


def _model_of(onnx: ModuleType, network: Network) -> "ModelProto":
    helper, constant = onnx.helper, onnx.numpy_helper.from_array
    nodes: list[NodeProto] = []
    constants = {
        name: getattr(network, name)
        for name in ("input_mean", "input_scale", "output_mean", "output_scale")
        if getattr(network, name) is not None
    }
    static = network.layers[0].x_scale is not None
    if not static:
        constants |= network.parameters

    def then(value: str, operator: str, *operands: str, **attributes: Any) -> str:
        """Append a node and return the name of its result."""
        result = f"{operator.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(operator, [value, *operands], [result], result, **attributes))
        return result

    value = "x"
    if network.input_mean is not None:
        value = then(then(value, "Sub", "input_mean"), "Div", "input_scale")
    for i, layer in enumerate(network.layers):
        if static:
            parts = {f"layers.{i}.{part}": array for part, array in _static_parts(layer).items()}
            constants |= parts
            step, zero_point, weight, weight_zero_point, scale, *bias = parts
            value = then(value, "QuantizeLinear", step, zero_point)
            value = then(value, "MatMulInteger", weight, zero_point, weight_zero_point)
            value = then(then(value, "Cast", to=onnx.TensorProto.FLOAT), "Mul", scale)
            value = then(value, "Add", *bias) if bias else value
        else:
            names = [f"layers.{i}.{part}" for part in ("weight", "bias")]
            value = then(value, "Gemm", *(name for name in names if name in constants), transB=1)
        match layer.activation:
            case None:
                pass
            case "silu":
                value = then(value, "Mul", then(value, "Sigmoid"))
            case activation:
                operator, attributes = _operator_of(activation)
                value = then(value, operator, **attributes)
    if network.output_mean is not None:
        value = then(then(value, "Mul", "output_scale"), "Add", "output_mean")
    nodes[-1].output[0] = "y"
    element = helper.np_dtype_to_tensor_dtype(network.dtype)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", element, ["batch", network.sizes[0]])],
        [helper.make_tensor_value_info("y", element, ["batch", network.sizes[-1]])],
        [constant(array, name) for name, array in constants.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="pyfq",
        producer_version=_build.VERSION,
    )


def _static_parts(layer: Dense) -> dict[str, NDArray]:
    """Return the operands of the nodes of a layer of a calibrated network, in their order."""
    w, zero_point = layer.weights, layer.x_zero_point
    zeros = np.zeros(w.scale.size, w.codes.dtype)
    if w.zero_point is not None:
        zeros[:] = w.zero_point.reshape(-1)
    parts = {
        "x_scale": np.asarray(layer.x_scale),
        "x_zero_point": np.array(zero_point or 0, np.int8 if zero_point is None else np.uint8),
        "weight": np.ascontiguousarray(w.codes.T),
        "weight_zero_point": zeros.reshape(()) if zeros.size == 1 else zeros,
        "scale": layer.x_scale * w.scale.reshape(-1),
    }
    return parts if layer.bias is None else parts | {"bias": layer.bias}


def _operator_of(activation: Any) -> tuple[str, dict[str, Any]]:
    """Return the operator of an activation function, and its attributes."""
    match activation:
        case "gelu" | "gelu_tanh":
            return "Gelu", {"approximate": "none" if activation == "gelu" else "tanh"}
        case "softmax":
            return "Softmax", {"axis": -1}
        case "leaky_relu" | ("leaky_relu", _):
            return "LeakyRelu", {"alpha": as_activation(activation)[1]}
    return {word: operator for operator, word in _ACTIVATIONS.items()}[activation], {}
