"""Nodes of an ONNX graph: which count, in which order, their names, types of their results."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from ..._core.check import shown

# Shapes and slices; larger constants say nothing about the shape of a result.
_SHAPE_SIZE = 1024

ACCEPTED = (
    "a chain of Gemm, or MatMul and Add; BatchNormalization; one activation (Relu, LeakyRelu, "
    "Tanh, Sigmoid, Gelu, Softplus, Swish, Exp, or nodes that compute one of them) behind each; "
    "Softmax as the last; Add, Sub, Mul, Div of constants; Neg; Identity, Dropout, Flatten, "
    "Reshape in front"
)


@dataclass(frozen=True)
class Model:
    """What the nodes of a model are read with.

    Attributes
    ----------
    onnx : module
        The package.
    opset : int
        The version of the operators.
    directory : Path or None
        Where arrays outside the model lie, if that is known.
    functions : frozenset of (str, str)
        Domains and names of the model's own functions.
    """

    onnx: ModuleType
    opset: int
    directory: Path | None = None
    functions: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Type:
    """Element type and extents of a value; None is an extent that is not known."""

    element: int
    dims: tuple[int | None, ...]


def where(node: Any) -> str:
    """Return what an error calls a node: its operator, and its name or that of its output."""
    name = node.name or next(iter(node.output), "")
    domain = f"{_word(node.domain)}." if node.domain else ""
    return f"node {shown(name)} ({domain}{_word(node.op_type)})"


def _word(text: Any) -> str:
    """Return a word of a file as it is, anything else quoted and cut."""
    plain = isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_.:-]{1,80}", text)
    return text if plain else shown(text)


def refuse_other_domain(model: Model, node: Any) -> None:
    """Raise ValueError if an operator is not one of ONNX itself."""
    if node.domain in ("", "ai.onnx"):
        return
    hint = f"expected {ACCEPTED}"
    if (node.domain, node.op_type) in model.functions:
        hint = "it is a function of the model: onnx.inliner.inline_local_functions(model) helps"
    elif node.domain == "ai.onnx.ml":
        hint = "pyfq.from_sklearn takes the estimator itself"
    raise ValueError(f"{where(node)} can't be imported: {hint}")


def attributes_of(model: Model, node: Any) -> dict[str, Any]:
    """Return the attributes of a node, whose types `result_types` has checked; text as text."""
    values = {a.name: model.onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {
        k: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for k, v in values.items()
    }


def result_types(
    model: Model, node: Any, types: Mapping[str, Type], constants: Mapping[str, NDArray]
) -> dict[str, Type]:
    """Return the types of the results of a node, checked against the operator's schema.

    Parameters
    ----------
    model : Model
        The model.
    node : NodeProto
        The node.
    types : mapping of str to Type
        Types of its operands that are not constant.
    constants : mapping of str to array
        Its other operands.

    Raises
    ------
    ValueError
        If operands or attributes are not what the operator takes.
    """
    onnx, helper = model.onnx, model.onnx.helper
    operands = {
        name: types.get(name) or type_of(model, constants[name]) for name in node.input if name
    }
    protos = {
        name: helper.make_tensor_type_proto(
            t.element, [f"{name}.{i}" if d is None else d for i, d in enumerate(t.dims)]
        )
        for name, t in operands.items()
    }
    # The shape of a live value may hold `BATCH`, which is none; `operators` reads it.
    is_reshape = bool(types) and node.op_type == "Reshape"
    shapes = {
        name: onnx.numpy_helper.from_array(constants[name], name)
        for name in operands
        if name not in types and constants[name].size <= _SHAPE_SIZE and not is_reshape
    }
    try:
        onnx.defs.get_schema(node.op_type, model.opset, "")  # refuses one that there is not
        inferred = _inferred_as(onnx, model.opset, node)
        schema = onnx.defs.get_schema(inferred.op_type, model.opset, "")
        results = onnx.shape_inference.infer_node_outputs(
            schema, inferred, protos, shapes, opset_imports=[helper.make_opsetid("", model.opset)]
        )
    except (
        onnx.defs.SchemaError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        UnicodeDecodeError,  # of a name in its message
    ) as e:
        raise ValueError(f"{where(node)}: {_line_of(e)}") from e
    if not all(name in results for name in node.output if name):
        raise ValueError(f"{where(node)}: the type of its result can't be inferred")
    return {name: _type_of_proto(proto) for name, proto in results.items()}


def _inferred_as(onnx: ModuleType, opset: int, node: Any) -> Any:
    """Return a node whose results have the types of another's, and can be inferred.

    Before opset 16 the shape that GreaterOrEqual and LessOrEqual give can't.
    """
    strict = {"GreaterOrEqual": "Greater", "LessOrEqual": "Less"}.get(node.op_type)
    if strict is None or opset >= 16:
        return node
    like = onnx.NodeProto()
    like.CopyFrom(node)
    like.op_type = strict
    return like


def type_of(model: Model, array: NDArray) -> Type:
    """Return the type of an array."""
    return Type(model.onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def type_of_value(value: Any) -> Type:
    """Return the type of an input of a graph; one without a shape is ``(batch, features)``."""
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"the input {shown(value.name)} of model must be a tensor")
    if not value.type.tensor_type.HasField("shape"):
        return Type(value.type.tensor_type.elem_type, (None, None))
    return _type_of_proto(value.type)


def _type_of_proto(proto: Any) -> Type:
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return Type(tensor.elem_type, (None,))
    dims = (d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Type(tensor.elem_type, tuple(None if d is None or d < 0 else d for d in dims))


def _line_of(error: Exception) -> str:
    """Return what the package onnx says, as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def needed_nodes(graph: Any, given: set[str]) -> list[Any]:
    """Return the nodes that the output of a graph depends on, each behind those that it needs.

    Parameters
    ----------
    graph : GraphProto
        With one output.
    given : set of str
        Names of inputs and initializers.

    Raises
    ------
    ValueError
        If a value is given twice or not at all, or depends on itself.
    """
    nodes = list(graph.node)
    for node in nodes:
        for text in (*node.input, *node.output, node.op_type, node.domain, node.name):
            if not isinstance(text, str):  # as protobuf gives bytes that are not UTF-8
                raise ValueError(f"{where(node)}: {shown(text)} is not UTF-8")
    producers: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in producers or name in given:
                raise ValueError(f"{where(node)}: {shown(name)} is given twice")
            producers[name] = i
    end = graph.output[0].name
    if end not in producers and end not in given:
        raise ValueError(f"the output {shown(end)} of model is the result of no node")
    order: list[Any] = []
    opened: set[int] = set()
    closed: set[int] = set()
    stack = [producers[end]] if end in producers else []
    while stack:  # depth first, without recursion: a file may have a million nodes in a row
        i = stack[-1]
        if i in closed:
            stack.pop()
        elif i in opened:
            closed.add(i)
            order.append(nodes[stack.pop()])
        else:
            opened.add(i)
            for name in filter(None, nodes[i].input):
                if name not in producers and name not in given:
                    raise ValueError(f"{where(nodes[i])}: nothing gives its input {shown(name)}")
                needed = producers.get(name, -1)
                if needed in opened and needed not in closed:
                    raise ValueError(
                        f"{where(nodes[i])}: {shown(name)} depends on itself, which is no chain"
                    )
                stack += [needed] if needed >= 0 and needed not in closed else []
    return order
