"""Nodes of an ONNX graph, one by one, as operations of `pyfq.networks.operations`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._core.check import shown
from ...networks.operations import Affine, Linear, Nonlinear, Operation
from .constants import BATCH, EXTENTS
from .functions import Scaled
from .nodes import ACCEPTED, Model, Type, attributes_of, result_types, where

_HINTS = {
    "QuantizeLinear": "import the model in floats, and call Network.calibrate",
    "DynamicQuantizeLinear": "import the model in floats, and call Network.prepare",
    "LogSoftmax": "export the model without it, or with Softmax",
    "PRelu": "expected one slope for all features",
}


@dataclass(frozen=True)
class Value:
    """What a chain has come to.

    Attributes
    ----------
    name : str
        Its name.
    type_ : Type
        Its element type and extents.
    by_columns : bool
        Whether samples are columns, ``(features, batch)``, as between two Transposes.
    is_input : bool
        Whether nothing has been computed yet.
    has_layers : bool
        Whether a layer of weights came before.
    given : int
        The element type of the input, which Casts in front have changed into that of `type_`.
    is_ranked : bool
        Whether the number of axes is known; else two are assumed, ``(batch, features)``.
    """

    name: str
    type_: Type
    by_columns: bool = False
    is_input: bool = True
    has_layers: bool = False
    given: int = 0
    is_ranked: bool = True

    @property
    def axes(self) -> int:
        """Number of axes."""
        return len(self.type_.dims)


def operations_of(
    model: Model, node: Any, value: Value, constants: Mapping[str, NDArray]
) -> tuple[list[Operation], Value]:
    """Return what a node does to a value, and what comes out.

    Parameters
    ----------
    model : Model
        The model.
    node : NodeProto
        A node whose operands are the value and constants.
    value : Value
        The value.
    constants : mapping of str to array
        Constants by name.

    Raises
    ------
    ValueError
        If no layer of pyfq does this; the message names the node.
    """
    at = where(node)
    for name in filter(None, node.input):
        if name != value.name and name not in constants:
            raise ValueError(f"{at}: {shown(name)} must be a constant")
    if node.op_type not in _OPERATORS or list(node.input).count(value.name) != 1:
        hint = _HINTS.get(node.op_type, f"expected {ACCEPTED}")
        raise ValueError(f"{at} can't be imported: {hint}")
    type_ = result_types(model, node, {value.name: value.type_}, constants)[node.output[0]]
    following = replace(value, name=node.output[0], type_=type_)
    operands = [constants.get(name) if name else None for name in node.input]
    attributes = attributes_of(model, node)
    match node.op_type:
        case "Gemm" | "MatMul":
            _refuse_mixed(model, node, value, operands)
            linear, by_columns = _linear_of(node, value, operands, attributes)
            is_ranked = value.is_ranked or node.op_type == "Gemm"  # which takes 2 axes alone
            return [linear], replace(
                following,
                by_columns=by_columns,
                is_input=False,
                has_layers=True,
                is_ranked=is_ranked,
            )
        case "Add" | "Sub" | "Mul" | "Div":
            _refuse_mixed(model, node, value, operands)
            return _affines_of(model, node, value, operands), replace(following, is_input=False)
        case "Neg":
            return [_negative(model, at, value)], replace(following, is_input=False)
        case "BatchNormalization":
            refuse_unranked(node, value)
            affines = _normalization_of(node, value, operands, attributes)
            return affines, replace(following, is_input=False)
        case "Softmax":
            _refuse_axis(model, node, value, attributes)
            return [Nonlinear(at, "softmax")], replace(following, is_input=False)
        case "Transpose":
            refuse_unranked(node, value)
            return [], replace(following, by_columns=_by_columns(node, value, attributes))
        case "Flatten" | "Reshape":
            features = _features_of(node, value, operands, attributes)
            type_ = Type(value.type_.element, (value.type_.dims[0], features))
            return [], replace(following, type_=type_, is_ranked=True)
        case "Cast":
            _refuse_cast(model, node, value, type_)
        case "Dropout":
            if len(operands) > 2 and operands[2] is not None and np.any(operands[2]):
                raise ValueError(f"{at}: training_mode must be false")
    return [], following


_OPERATORS = (
    "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization", "Softmax",
    "Transpose", "Flatten", "Reshape", "Cast", "Dropout", "Identity",
)  # fmt: skip


def refuse_unranked(node: Any, value: Value) -> None:
    """Raise ValueError if it is not known how many axes a value has, which this node depends on."""
    if not value.is_ranked:
        raise ValueError(
            f"{where(node)}: what it does depends on the number of axes of the input, which has no "
            "shape in model: give it one, (batch, features)"
        )


def _refuse_mixed(model: Model, node: Any, value: Value, operands: list[NDArray | None]) -> None:
    """Raise ValueError if a constant has another type than the value."""
    to_dtype = model.onnx.helper.tensor_dtype_to_np_dtype
    for operand in operands:
        if operand is not None and operand.dtype != to_dtype(value.type_.element):
            raise ValueError(
                f"{where(node)}: a constant of {operand.dtype}, but the value "
                f"{shown(value.name)} of {to_dtype(value.type_.element)}"
            )


def _linear_of(
    node: Any, value: Value, operands: list[NDArray | None], attributes: Mapping[str, Any]
) -> tuple[Linear, bool]:
    """Return the layer of a Gemm or a MatMul, and whether its samples are columns."""
    at = where(node)
    place = list(node.input).index(value.name)
    weights = operands[1 - place] if place < 2 else None
    if weights is None:
        raise ValueError(f"{at}: expected a product of a value and a constant")
    if weights.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{at}: weights must be float32 or float64, not {weights.dtype}: export the model in "
            "one of them"
        )
    if 0 in weights.shape:
        raise ValueError(f"{at}: weights must not be empty, of shape {weights.shape}")
    if weights.ndim != 2 or (value.axes != 2 and (place == 1 or node.op_type == "Gemm")):
        raise ValueError(
            f"{at}: expected weights of 2 axes and a value of 2, not shape {weights.shape} and "
            f"{value.axes} axes"
        )
    turned = [bool(attributes.get(name, 0)) for name in ("transA", "transB")]
    by_columns = place == 1
    if value.by_columns != (by_columns ^ turned[place]):
        ways = ("x @ weights", "rows", "columns")
        product, are, takes = ("weights @ x", *ways[:0:-1]) if value.by_columns else ways
        raise ValueError(
            f"{at}: takes samples as {takes}, but they are {are}: expected {product}, or a "
            "Transpose before"
        )
    if turned[1 - place] == by_columns:
        weights = weights.T
    inputs = value.type_.dims[0 if value.by_columns else -1]
    if inputs not in (None, weights.shape[1]):
        raise ValueError(f"{at}: takes {weights.shape[1]} inputs, but gets {inputs}")
    bias = operands[2] if len(operands) > 2 else None
    if bias is not None:
        bias = _per_feature(at, "bias", bias, 2, by_columns)
        if bias.size not in (1, len(weights)):
            raise ValueError(
                f"{at}: the bias must have 1 or {len(weights)} values, not {bias.size}"
            )
        bias = _times(np.broadcast_to(bias, weights.shape[:1]), attributes.get("beta", 1.0))
    weights = _times(weights, attributes.get("alpha", 1.0))
    return Linear(at, np.ascontiguousarray(weights), bias), by_columns


def _times(x: NDArray, factor: float) -> NDArray:
    """Return a product in the dtype of the array; where it overflows, the layer refuses it."""
    with np.errstate(all="ignore"):
        return np.array(x if factor == 1 else x * x.dtype.type(factor))


def _per_feature(at: str, word: str, operand: NDArray, axes: int, by_columns: bool) -> NDArray:
    """Return a constant that is the same for each sample of a value of so many axes."""
    features = operand.shape[-2:-1] or (1,) if by_columns else operand.shape[-1:] or (1,)
    if operand.ndim > axes or (operand.size,) != features:
        raise ValueError(
            f"{at}: the {word} must be the same for each sample, not of shape {operand.shape}"
        )
    return operand.reshape(-1)


def _affines_of(
    model: Model, node: Any, value: Value, operands: list[NDArray | None]
) -> list[Operation]:
    """Return the sum, difference, product or quotient of a value and a constant."""
    at = where(node)
    place = list(node.input).index(value.name)
    operand = _per_feature(at, "constant", operands[1 - place], value.axes, value.by_columns)
    features = value.type_.dims[0 if value.by_columns else -1] if value.axes else None
    if features is not None and operand.size not in (1, features):
        raise ValueError(f"{at}: expected one constant or {features}, not {operand.size}")
    match node.op_type:
        case "Add":
            return [Affine(at, "add", operand)]
        case "Mul":
            return [Affine(at, "multiply", operand)]
        case "Sub" if place == 0:
            return [Affine(at, "add", -operand)]
        case "Sub":
            return [_negative(model, at, value), Affine(at, "add", operand)]
        case "Div" if place == 0:
            return [Affine(at, "divide", operand)]
    raise ValueError(f"{at}: expected a constant on the right")


def _negative(model: Model, at: str, value: Value) -> Affine:
    """Return the product of a value and -1."""
    dtype = model.onnx.helper.tensor_dtype_to_np_dtype(value.type_.element)
    return Affine(at, "multiply", np.array(-1).astype(dtype))


def _normalization_of(
    node: Any, value: Value, operands: list[NDArray | None], attributes: Mapping[str, Any]
) -> list[Operation]:
    """Return ``scale * (x - mean) / sqrt(variance + epsilon) + bias``, of float64."""
    at = where(node)
    # Before opset 14 there is no attribute: outputs behind the first are what training updates.
    if attributes.get("training_mode", 0) or any(node.output[1:]):
        raise ValueError(f"{at}: training_mode must be 0: call model.eval() before the export")
    if value.axes != 2 or value.by_columns or list(node.input).index(value.name) != 0:
        raise ValueError(f"{at}: expected a value of 2 axes, (batch, features)")
    with np.errstate(all="ignore"):  # of NaN, which is refused below
        vectors = [np.asarray(x, np.float64) for x in operands[1:]]
    features = value.type_.dims[1]
    if any(x.ndim != 1 or features not in (None, x.size) for x in vectors):
        raise ValueError(f"{at}: expected {features} scales, biases, means and variances")
    scale, bias, mean, variance = vectors
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        shift = bias - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        raise ValueError(f"{at}: expected finite constants, and positive variances")
    return [Affine(at, "multiply", factor), Affine(at, "add", shift)]


def _refuse_axis(model: Model, node: Any, value: Value, attributes: Mapping[str, Any]) -> None:
    """Raise ValueError if a Softmax is not one over the features.

    Before opset 13 it is one over all axes from `axis` on; of the last axis alone that is the same.
    """
    axis = attributes.get("axis", 1 if model.opset < 13 else -1)
    if axis != -1:
        refuse_unranked(node, value)
    if value.by_columns or axis not in (-1, value.axes - 1):
        raise ValueError(f"{where(node)}: axis must be the last of {value.axes}, not {axis}")


def _by_columns(node: Any, value: Value, attributes: Mapping[str, Any]) -> bool:
    """Return whether samples are columns behind a Transpose."""
    order = list(attributes.get("perm", range(value.axes)[::-1]))
    if order == list(range(value.axes)):
        return value.by_columns
    if order != [1, 0]:
        raise ValueError(f"{where(node)}: expected a value of 2 axes, not perm {shown(order)}")
    return not value.by_columns


def _features_of(
    node: Any, value: Value, operands: list[NDArray | None], attributes: Mapping[str, Any]
) -> int | None:
    """Return the features of each sample behind a Flatten or a Reshape."""
    at = where(node)
    shape = [0, -1]
    if node.op_type == "Reshape":
        if value.name != node.input[0] or operands[1].shape != (2,):
            raise ValueError(f"{at}: expected a shape of (batch, features)")
        shape = operands[1].tolist()
    if value.has_layers or attributes.get("axis", 1) != 1 or shape[0] != 0:
        refuse_unranked(node, value)
    batch, *inner = value.type_.dims or (None,)
    if node.op_type == "Flatten" and attributes.get("axis", 1) not in (1, 1 - value.axes):
        raise ValueError(f"{at}: axis must be 1, not {attributes['axis']}")
    if value.by_columns or value.axes < 2 or (value.has_layers and value.axes != 2):
        raise ValueError(f"{at}: expected before the first layer only")
    if attributes.get("allowzero", 0) and 0 in shape:
        raise ValueError(f"{at}: a shape of 0 is for no samples")
    features = None if None in inner else math.prod(inner)
    kept = shape[0] in (BATCH, 0, -1) or (batch is not None and shape[0] == batch)
    if kept and shape[1] == 0 and value.axes == 2:
        return features
    if kept and shape[1] == -1 and shape[0] != -1:
        return features
    if kept and shape[1] > 0 and features in (None, shape[1]):
        return shape[1]
    raise ValueError(
        f"{at}: expected a shape of (batch, {'features' if features is None else features}), "
        f"not {shown([EXTENTS.get(n, n) for n in shape])}"
    )


def _refuse_cast(model: Model, node: Any, value: Value, type_: Type) -> None:
    """Raise ValueError if a Cast changes more than what the caller gives."""
    kinds = model.onnx.TensorProto
    floats = (kinds.FLOAT, kinds.DOUBLE)
    if type_.element != value.type_.element and not (value.is_input and type_.element in floats):
        raise ValueError(
            f"{where(node)}: expected one to float or double in front, or none: a network computes "
            "in one dtype"
        )
    exact = (
        kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.BOOL, kinds.INT8, kinds.UINT8,
        kinds.INT16, kinds.UINT16,
    )  # fmt: skip
    is_float = value.type_.element == kinds.FLOAT and value.given not in exact
    if is_float and type_.element == kinds.DOUBLE:
        raise ValueError(
            f"{where(node)}: a Cast to double behind one to float, which rounds samples: expected "
            "one of them"
        )


def activation_operations(model: Model, at: str, function: Scaled, value: Value) -> list[Operation]:
    """Return a scaled activation as operations."""
    dtype = model.onnx.helper.tensor_dtype_to_np_dtype(value.type_.element)
    inner = _scaled(at, function.inner_scale, function.inner_shift, dtype)
    outer = _scaled(at, function.outer_scale, function.outer_shift, dtype)
    return [*inner, Nonlinear(at, function.activation), *outer]


def _scaled(at: str, scale: float, shift: float, dtype: np.dtype) -> list[Operation]:
    operations = []
    if scale != 1:
        operations.append(Affine(at, "multiply", np.array(scale, dtype)))
    if shift != 0:
        operations.append(Affine(at, "add", np.array(shift, dtype)))
    return operations
