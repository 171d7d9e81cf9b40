"""ONNX models of networks."""

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..._native import _build
from ...arrays.activation import as_activation
from ...io.atomic import replacing
from ...networks.foreign import as_network
from ...networks.layer import Dense, decoded
from ...networks.network import Network
from .file import import_onnx

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# What is written: the first with Gelu, and the version of the file that goes with it.
_OPSET, _IR_VERSION = 20, 9
# What protobuf can hold, less some room for names.
_MOST_BYTES = 2**31 - 2**20

_OPERATORS = {
    "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus", "exp": "Exp",
}  # fmt: skip


def to_onnx(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to an ONNX file of opset 20, atomically.

    Each layer is a Gemm and its activation, with a Sub and a Div before the first and a Mul and an
    Add behind the last where the network has means and scales. The batch is of any size. Quantized
    and sparse weights are written as the arrays they stand for. `classes` and `activation_bits` are
    not written: the model gives outputs, computed in floats.

    Layers of a calibrated network are QuantizeLinear, MatMulInteger of the codes, and Cast, Mul and
    Add, as `Network.calibrate` says; weights stay codes, in bytes. `from_onnx` does not read them.
    Where a CPU has AVX2 and no VNNI, onnxruntime lets sums of two products saturate at 16 bits
    unless its session is told ``add_session_config_entry("session.x64quantprecision", "1")``.

    Parameters
    ----------
    network : Network
        What to write. onnxruntime has no float64 kernels for ``"leaky_relu"``, ``"elu"``,
        ``"gelu"`` and ``"softplus"``. Slope and alpha of the first two become float32. A calibrated
        one must be float32, as ONNX's QuantizeLinear.
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
    onnx = import_onnx("to_onnx")
    as_network(network)
    nbytes = sum(layer.shape[0] * (layer.shape[1] + 1) for layer in network.layers)
    nbytes *= network.dtype.itemsize
    if nbytes > _MOST_BYTES:
        raise ValueError(f"an ONNX file holds {_MOST_BYTES} bytes of arrays, not {nbytes}")
    if network.layers[0].x_scale is not None and network.dtype != np.float32:
        raise ValueError(f"a calibrated network must be float32 for ONNX, not {network.dtype}")
    content = _model_of(onnx, network).SerializeToString()
    with replacing(Path(path)) as file:
        file.write(content)


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
            case "clipped_relu" | ("clipped_relu", _):
                ends = (0, as_activation(layer.activation)[1])
                names = [f"layers.{i}.{end}" for end in ("floor", "ceiling")]
                constants |= zip(names, np.array(ends, network.dtype), strict=True)
                value = then(value, "Clip", *names)
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
    w, zero_point = decoded(layer.weights), layer.x_zero_point
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
        case "elu" | ("elu", _):
            return "Elu", {"alpha": as_activation(activation)[1]}
        case "leaky_relu" | ("leaky_relu", _):
            return "LeakyRelu", {"alpha": as_activation(activation)[1]}
    return _OPERATORS[activation], {}
