"""Networks from ONNX models: the way from the input of a graph to its output."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..._core.check import shown
from ...networks.network import Network
from ...networks.operations import Operation, network_of
from .constants import fold, initializers_of
from .file import import_onnx, read_model
from .groups import Living, activation_behind
from .nodes import ACCEPTED, Model, needed_nodes, refuse_other_domain, type_of_value, where
from .operators import Value, activation_operations, operations_of, refuse_unranked

if TYPE_CHECKING:
    from onnx import ModelProto

# Operators with a multidirectional broadcast, and without attributes that say how, are of it.
_OLDEST_OPSET = 7
_MOST_NAMES = 8


def from_onnx(model: "str | os.PathLike[str] | ModelProto") -> Network:
    """Return the network that an ONNX model is, if that is a chain of layers.

    What does not depend on the input is computed: weights may come out of Constant, Identity,
    Transpose, Cast, DequantizeLinear, and whatever else an exporter makes of them. Nodes that
    compute an activation function together are that function, in any order: GELU of Div, Erf, Add,
    Mul, Mul. What scales and shifts each feature, BatchNormalization too, becomes part of the layer
    beside it, in front of the first and behind the last means and scales.

    Parameters
    ----------
    model : str, os.PathLike or onnx.ModelProto
        A file or a model, of opset 7 or later, with one input and one output, ``(batch,
        features)``; where the input has no shape, nodes that do something else for more axes are
        refused. Operators are Gemm or MatMul with Add; Relu, LeakyRelu, Tanh, Sigmoid, Gelu,
        Softplus, Swish, Elu, Selu, Celu, Exp, Clip, HardSigmoid, or nodes that compute one of them;
        Softmax over the last axis; BatchNormalization; Add, Sub, Mul, Div of constants; Neg;
        Identity, Dropout, and Flatten, Reshape and Cast before the layers.

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
        If a file is no ONNX model, or data that lie beside it are not there, too short, or outside
        its directory.
    OSError
        If a file cannot be read.
    ImportError
        If the package onnx is not installed.

    See Also
    --------
    to_onnx : The other way.

    Notes
    -----
    Constants that are computed may take 64 MiB, and 16 times as many bytes as those in the file;
    the size of each is known before it is computed, so that no file fills the memory.

    References
    ----------
    ONNX, Operator schemas, https://onnx.ai/onnx/operators/.

    Examples
    --------
    ::

        network = from_onnx("teacher.onnx")
        network.forward(x)  # what onnxruntime gives, but for rounding
    """
    onnx = import_onnx("from_onnx")
    directory = None
    if isinstance(model, str | os.PathLike):
        directory = Path(model).parent
        model = read_model(onnx, model)
    elif not isinstance(model, onnx.ModelProto):
        raise TypeError(f"model must be a path or an onnx.ModelProto, not {type(model).__name__}")
    functions = frozenset((f.domain, f.name) for f in model.functions)
    if any(domain in ("", "ai.onnx") for domain, _ in functions):
        raise ValueError("model must not have functions under the names of ONNX's operators")
    known = Model(onnx, _opset_of(onnx, model), directory, functions)
    return network_of(_operations_of(known, model.graph))


def _opset_of(onnx: ModuleType, model: "ModelProto") -> int:
    """Return the version of the operators."""
    versions = {o.version for o in model.opset_import if o.domain in ("", "ai.onnx")}
    if len(versions) > 1:
        raise ValueError(f"model must have one opset, not {shown(sorted(versions))}")
    opset, newest = max(versions, default=1), onnx.defs.onnx_opset_version()
    if opset < _OLDEST_OPSET:
        raise ValueError(f"the opset of model must be at least {_OLDEST_OPSET}, not {opset}")
    if opset > newest:
        raise ValueError(
            f"the opset of model is {opset}, but onnx {onnx.__version__} knows {newest}: "
            "pip install --upgrade onnx"
        )
    return opset


def _operations_of(model: Model, graph: Any) -> Iterator[Operation]:
    """Yield what the nodes do, from the input of a graph to its output."""
    given = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    if len(given) != len(graph.initializer) + len(graph.sparse_initializer):
        raise ValueError("the initializers of model must have names of their own")
    inputs = [value for value in graph.input if value.name not in given]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ValueError(
            f"model must have one input and one output, not {len(inputs)} and "
            f"{len(graph.output)}: {_names(inputs)} and {_names(graph.output)}; "
            "onnx.utils.extract_model takes out a part"
        )
    type_ = type_of_value(inputs[0])
    is_ranked = inputs[0].type.tensor_type.HasField("shape")
    value = Value(inputs[0].name, type_, given=type_.element, is_ranked=is_ranked)
    nodes = needed_nodes(graph, given | {value.name})
    for node in nodes:
        if node.op_type == "Shape" and value.name in node.input:
            refuse_unranked(node, value)
    needed = {name for node in nodes for name in node.input}
    constants = initializers_of(model, graph, needed)
    nodes, extents = fold(model, nodes, constants, value.name, value.type_)
    for node in nodes:
        if node.op_type != "Reshape" and not extents.isdisjoint(node.input):
            raise ValueError(
                f"{where(node)} depends on the shape of the input: expected {ACCEPTED}"
            )
    living = Living(nodes, _takers_of(nodes))
    end = graph.output[0].name
    if value.name != end and not living.of(value.name):
        raise ValueError(f"the output {shown(end)} of model does not depend on its input")
    while value.name != end:
        group = activation_behind(model, living, value, constants)
        if group is not None:
            at, function, following = group
            yield from activation_operations(model, at, function, value)
        else:
            node = _taker_of(living, value)
            refuse_other_domain(model, node)
            operations, following = operations_of(model, node, value, constants)
            yield from operations
        value = following
    if value.by_columns:
        raise ValueError(f"the output {shown(end)} of model has samples in columns, not in rows")


def _takers_of(nodes: list[Any]) -> dict[str, list[int]]:
    takers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in set(filter(None, node.input)):
            takers.setdefault(name, []).append(i)
    return takers


def _taker_of(living: Living, value: Value) -> Any:
    """Return the one node that takes a value."""
    takers = [living.nodes[i] for i in living.of(value.name)]
    if len(takers) != 1:
        to = ", ".join(map(where, takers[:_MOST_NAMES])) or "no node"
        more = ", ..." if len(takers) > _MOST_NAMES else ""
        raise ValueError(
            f"{shown(value.name)} must go to one node, as in a chain, not to {to}{more}; several "
            "must compute one activation: relu, leaky_relu, clipped_relu, tanh, sigmoid, gelu, "
            "silu, softplus, elu or exp"
        )
    return takers[0]


def _names(values: Any) -> str:
    names = ", ".join(shown(value.name) for value in values[:_MOST_NAMES])
    return f"{names}, ..." if len(values) > _MOST_NAMES else names or "none"
