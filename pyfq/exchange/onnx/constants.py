"""Constants of an ONNX graph: what does not depend on its input, as arrays.

Operators are evaluated by onnx.reference, the specification of ONNX in NumPy. A file must not be
able to fill the memory: the size of each result is inferred before it is computed, and all of them
together may take `_ROOM` bytes and `_TIMES` as many as the constants in the file.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._core.check import shown
from .file import external_bytes
from .nodes import Model, Type, attributes_of, refuse_other_domain, result_types, where

_ROOM, _TIMES = 2**26, 16

# Arithmetic, comparisons, selections, shapes. Nothing random, no subgraphs, no text.
_EVALUATED = (
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "ConstantOfShape", "CumSum",
    "DequantizeLinear", "Div", "Dropout", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten",
    "Floor", "Gather", "GatherElements", "GatherND", "Gemm", "Greater", "GreaterOrEqual",
    "Identity", "Less", "LessOrEqual", "Log", "LpNormalization", "MatMul", "Max", "Mean", "Min",
    "Mul", "Neg", "Not", "Or", "Pad", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceL1",
    "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Shape",
    "Sigmoid", "Sign", "Size", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub",
    "Sum", "Tanh", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
)  # fmt: skip

# Quotients of QuantizeLinear that int32 holds together with any zero point.
_MOST_QUOTIENT = 2.0**30

# What NumPy code raises for operands that it does not expect.
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip

# Extents of the input in the result of Shape that are not known: none that a Reshape may have. The
# batch may have any number of samples, whatever the file says.
BATCH, UNKNOWN = -(2**20), -(2**21)
EXTENTS = {BATCH: "batch", UNKNOWN: "unknown"}
# What keeps extents as they are.
_SELECTIONS = ("Gather", "Slice", "Unsqueeze", "Squeeze", "Concat", "Identity", "Cast")


def initializers_of(model: Model, graph: Any, needed: set[str]) -> dict[str, NDArray]:
    """Return the arrays of a graph whose names are needed."""
    dense = {t.name: t for t in graph.initializer if t.name in needed}
    sparse = {t.values.name: t for t in graph.sparse_initializer if t.values.name in needed}
    arrays = {name: array_of(model, tensor) for name, tensor in dense.items()}
    room = _ROOM + _TIMES * sum(x.nbytes for x in arrays.values())
    for name, tensor in sparse.items():
        arrays[name] = _dense_of(model, tensor, room - sum(x.nbytes for x in arrays.values()))
    return arrays


def fold(
    model: Model, nodes: Iterable[Any], constants: dict[str, NDArray], value: str, type_: Type
) -> tuple[list[Any], frozenset[str]]:
    """Add to the constants what nodes make of constants, and return the other nodes.

    Parameters
    ----------
    model : Model
        The model.
    nodes : iterable of NodeProto
        Each behind those that it needs.
    constants : dict of str to array
        Initializers; those results are added.
    value, type_ : str, Type
        The input of the graph. What Shape makes of it is constant but for the batch.

    Returns
    -------
    nodes : list of NodeProto
        Those that depend on the input.
    extents : frozenset of str
        Names of constants that hold extents of the input, where `BATCH` stands for the batch.

    Raises
    ------
    ValueError
        If a node has constant operands, and no constant can be made of them.
    """
    living, live, extents = [], {value}, set[str]()
    room = _ROOM + _TIMES * sum(x.nbytes for x in constants.values())
    for node in nodes:
        operands = [name for name in node.input if name]
        if node.op_type == "Shape" and operands == [value] and not node.attribute:
            constants[node.output[0]] = _extents_of(type_)
            extents.add(node.output[0])
        elif live.isdisjoint(operands) and _is_selection(node, operands, extents):
            results = _results_of(model, node, constants, room)
            room -= sum(x.nbytes for x in results.values())
            constants |= results
            extents.update([] if extents.isdisjoint(operands) else results)
        else:
            living.append(node)
            live.update(filter(None, node.output))
    return living, frozenset(extents)


def _is_selection(node: Any, operands: list[str], extents: set[str]) -> bool:
    """Return whether a node has no extents among its operands, or passes them on as they are."""
    if extents.isdisjoint(operands):
        return True
    others = [] if node.op_type == "Concat" else operands[1:]
    return node.op_type in _SELECTIONS and extents.isdisjoint(others)


def _extents_of(type_: Type) -> NDArray:
    """Return the shape of the input, as far as it is known."""
    inner = (UNKNOWN if d is None else d for d in type_.dims[1:])
    return np.array([BATCH, *inner][: len(type_.dims)], np.int64)


def array_of(model: Model, tensor: Any) -> NDArray:
    """Return a tensor as an array.

    Raises
    ------
    ValueError
        If its type is not that of numbers, or its data do not have its shape; FormatError if data
        outside the model do not.
    """
    onnx = model.onnx
    what = f"constant {shown(tensor.name)}"
    kinds, kind = onnx.TensorProto, tensor.data_type
    if kind in (kinds.UNDEFINED, kinds.STRING) or kind not in kinds.DataType.values():
        word = kinds.DataType.Name(kind) if kind in kinds.DataType.values() else kind
        raise ValueError(f"{what}: expected a type of numbers, not data type {word}")
    if any(extent < 0 for extent in tensor.dims):
        raise ValueError(f"{what}: negative extents in shape {shown(list(tensor.dims))}")
    if tensor.data_location == kinds.EXTERNAL:
        tensor = _with_data(model, tensor, what)
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except _FAULTS as e:
        raise ValueError(
            f"{what}: its data are not of shape {shown(list(tensor.dims))} "
            f"and data type {kinds.DataType.Name(kind)}"
        ) from e
    return array


def _with_data(model: Model, tensor: Any, what: str) -> Any:
    """Return a copy of a tensor that holds the data that lie in another file."""
    if model.directory is None:
        raise ValueError(
            f"{what} lies in another file: pass the path of the model, or call "
            "onnx.load_external_data_for_model(model, directory)"
        )
    bits = model.onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    name = model.onnx.TensorProto.DataType.Name(tensor.data_type)
    packed = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    nbytes = -(-math.prod(tensor.dims) * packed.get(name, bits) // 8)
    raw = external_bytes(tensor, model.directory, nbytes)
    return model.onnx.TensorProto(
        name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=raw
    )


def _dense_of(model: Model, sparse: Any, room: int) -> NDArray:
    """Return a sparse tensor with its zeros."""
    what = f"constant {shown(sparse.values.name)}"
    values, indices = array_of(model, sparse.values), array_of(model, sparse.indices)
    dims = list(sparse.dims)
    if any(extent <= 0 for extent in dims):
        raise ValueError(f"{what}: shape {shown(dims)} must have positive extents")
    _refuse_large(what, math.prod(dims) * values.itemsize, room)
    if values.ndim != 1 or indices.dtype != np.int64:
        raise ValueError(f"{what}: expected one axis of values, and indices in int64")
    if indices.shape == (values.size, len(dims)) and (
        np.all(indices >= 0) and np.all(indices < np.array(dims))
    ):
        places = np.ravel_multi_index(tuple(indices.T), dims)
    elif indices.shape == values.shape and np.all((indices >= 0) & (indices < math.prod(dims))):
        places = indices
    else:
        raise ValueError(f"{what}: indices must be {values.size} places in shape {shown(dims)}")
    array = np.zeros(math.prod(dims), values.dtype)
    array[places] = values
    return array.reshape(dims)


def _results_of(
    model: Model, node: Any, constants: dict[str, NDArray], room: int
) -> dict[str, NDArray]:
    """Return the results of a node whose operands are constants."""
    refuse_other_domain(model, node)
    if node.op_type == "Constant":
        return {node.output[0]: _value_of(model, node, room)}
    if node.op_type not in _EVALUATED:
        raise ValueError(
            f"{where(node)} of constants can't be evaluated: fold it before the export"
        )
    types = result_types(model, node, {}, constants)
    _refuse_other_meanings(model, node, constants)
    nbytes = 0
    for name, type_ in types.items():
        if None in type_.dims:
            raise ValueError(f"{where(node)}: the shape of {shown(name)} can't be inferred")
        nbytes += math.prod(type_.dims) * _itemsize(model, type_, node)
    _refuse_large(where(node), nbytes, room)
    results = _evaluated(model, node, constants)
    for name, type_ in types.items():
        dtype = model.onnx.helper.tensor_dtype_to_np_dtype(type_.element)
        if (results[name].dtype, results[name].shape) != (dtype, type_.dims):
            raise ValueError(
                f"{where(node)} of constants: onnx.reference gives {results[name].dtype} of shape "
                f"{results[name].shape}, not {dtype} of {type_.dims}"
            )
    return results


def _refuse_other_meanings(model: Model, node: Any, constants: dict[str, NDArray]) -> None:
    """Raise ValueError for a Dropout of training, and where onnx.reference gives other values.

    It has Softmax as it is since opset 13, over one axis; before, all axes from one on were one,
    which is the same for the last. It divides by a sum of values, not of absolute ones, if
    LpNormalization has p of 1. Before opset 12 the mask of Dropout has no values in inference.
    Floats beyond an integer type wrap in a Cast, which ONNX leaves undefined, and in
    QuantizeLinear, which must saturate.
    """
    attributes = attributes_of(model, node)
    match node.op_type:
        case "Dropout":
            if len(node.input) > 2 and node.input[2] and np.any(constants[node.input[2]]):
                raise ValueError(f"{where(node)}: training_mode must be false")
            if model.opset < 12 and any(node.output[1:]):
                raise ValueError(f"{where(node)} of constants: expected no mask before opset 12")
        case "Softmax" if model.opset < 13:
            axis, last = attributes.get("axis", 1), constants[node.input[0]].ndim - 1
            if axis not in (-1, last):
                raise ValueError(
                    f"{where(node)} of constants: axis must be the last before opset 13, which is "
                    f"{last}, not {axis}"
                )
        case "LpNormalization" if attributes.get("p", 2) != 2:
            raise ValueError(f"{where(node)} of constants: p must be 2, not {attributes['p']}")
        case "Cast":
            target = model.onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
            _refuse_beyond(node, constants[node.input[0]], target)
        case "CastLike":
            _refuse_beyond(node, constants[node.input[0]], constants[node.input[1]].dtype)
        case "QuantizeLinear":
            _refuse_wrapped(node, constants, attributes)


def _refuse_beyond(node: Any, x: NDArray, dtype: np.dtype) -> None:
    """Raise ValueError if a Cast is to make integers of floats that they do not hold."""
    if dtype.kind not in "iu" or x.dtype.kind in "biu":
        return
    limits = np.iinfo(dtype)
    whole = np.trunc(x.astype(np.float64))
    if not ((whole >= limits.min) & (whole < float(limits.max) + 1)).all():
        raise ValueError(f"{where(node)} of constants: expected numbers that {dtype} holds")


def _refuse_wrapped(
    node: Any, constants: Mapping[str, NDArray], attributes: Mapping[str, Any]
) -> None:
    """Raise ValueError if a quotient and a zero point do not fit the int32 that they are added in.

    Scales are one number, one for each index of an axis, or one for each block of it.
    """
    x, scale = (np.asarray(constants[name], np.float64) for name in node.input[:2])
    axis = attributes.get("axis", 1)
    if scale.size == 1:
        scale = scale.reshape(())
    elif -x.ndim <= axis < x.ndim:
        if scale.ndim == 1:
            scale = np.expand_dims(scale, tuple({*range(x.ndim)} - {axis % x.ndim}))
        elif attributes.get("block_size", 0) > 0:
            block = np.arange(x.shape[axis]) // attributes["block_size"]
            scale = scale.take(block, axis, mode="clip")
    if not _is_spread(scale.shape, x.shape):
        raise ValueError(f"{where(node)} of constants: y_scale does not fit x of shape {x.shape}")
    with np.errstate(all="ignore"):
        fits = np.abs(x / scale) < _MOST_QUOTIENT
    if not fits.all():
        raise ValueError(
            f"{where(node)} of constants: x / y_scale must be numbers of at most 2**30 in magnitude"
        )


def _is_spread(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Tell whether a broadcast makes an array of one shape one of the other."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(n in (1, m) for n, m in pairs)


def _itemsize(model: Model, type_: Type, node: Any) -> int:
    try:
        return model.onnx.helper.tensor_dtype_to_np_dtype(type_.element).itemsize
    except KeyError:
        raise ValueError(f"{where(node)}: there is no data type {type_.element}") from None


def _refuse_large(what: str, nbytes: int, room: int) -> None:
    if nbytes > room:
        raise ValueError(
            f"{what}: {nbytes} bytes, but what is computed of constants may take {_ROOM} and "
            f"{_TIMES} times as much as the constants in the file"
        )


def _evaluated(model: Model, node: Any, constants: dict[str, NDArray]) -> dict[str, NDArray]:
    from onnx.reference import ReferenceEvaluator

    helper = model.onnx.helper
    operands = sorted({name for name in node.input if name})
    names = [name for name in node.output if name]
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_tensor_value_info(name, 0, None) for name in operands],
        [helper.make_tensor_value_info(name, 0, None) for name in names],
    )
    # onnx.reference has this one from opset 19 on, which does the same with what was there before.
    opset = max(model.opset, 19) if node.op_type == "DequantizeLinear" else model.opset
    alone = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(alone).run(None, {n: constants[n] for n in operands})
    except _FAULTS as e:
        raise ValueError(f"{where(node)} of constants can't be evaluated: {shown(str(e))}") from e
    return {name: np.asarray(x) for name, x in zip(names, results, strict=True)}


def _value_of(model: Model, node: Any, room: int) -> NDArray:
    """Return what a Constant holds."""
    if len(node.attribute) != 1:
        raise ValueError(f"{where(node)}: expected one attribute, not {len(node.attribute)}")
    (attribute,) = node.attribute
    kinds = model.onnx.AttributeProto
    match attribute.name, attribute.type:
        case "value", kinds.TENSOR:
            return array_of(model, attribute.t)
        case "sparse_value", kinds.SPARSE_TENSOR:
            return _dense_of(model, attribute.sparse_tensor, room)
        case "value_float", kinds.FLOAT:
            return np.array(attribute.f, np.float32)
        case "value_floats", kinds.FLOATS:
            return np.array(attribute.floats, np.float32)
        case "value_int", kinds.INT:
            return np.array(attribute.i, np.int64)
        case "value_ints", kinds.INTS:
            return np.array(attribute.ints, np.int64)
    raise ValueError(
        f"{where(node)}: expected value, value_float, value_floats, value_int, value_ints or "
        f"sparse_value, of its type, not {shown(attribute.name)}"
    )
