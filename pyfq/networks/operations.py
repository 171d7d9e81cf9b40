"""A network from operations in a row: what the importers of `pyfq.exchange` have in common."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..arrays.activation import Activation
from .layer import Dense
from .network import Network


@dataclass(frozen=True, eq=False)
class Linear:
    """``x @ weights.T + bias``.

    Attributes
    ----------
    where : str
        What an error calls it.
    weights : (out_features, in_features) array
        Weights.
    bias : (out_features,) array or None
        Bias.
    """

    where: str
    weights: NDArray
    bias: NDArray | None = None


@dataclass(frozen=True)
class Nonlinear:
    """An activation function."""

    where: str
    activation: Activation


@dataclass(frozen=True, eq=False)
class Affine:
    """A sum, product or quotient of each feature and a constant.

    Attributes
    ----------
    where : str
        What an error calls it.
    kind : "add", "multiply" or "divide"
        What is done.
    operand : () or (features,) array
        The constant.
    """

    where: str
    kind: Literal["add", "multiply", "divide"]
    operand: NDArray


Operation = Linear | Nonlinear | Affine

# The largest factor that becomes part of weights; the smallest is 1 by it.
MOST_FACTOR = 2.0**60
# The deepest floor that may be taken from what lies above it, and added again: a deeper one takes
# more than 1e-5 of numbers near 1 from float32.
DEEPEST_FLOOR = -64.0


def network_of(operations: Iterable[Operation]) -> Network:
    """Return the network that does some operations, one after the other.

    What is done to each feature before the first layer becomes `input_mean` and `input_scale`, what
    is done behind the last `output_mean` and `output_scale`; a sum right behind a layer is its
    bias. What is done between becomes part of the layer before it, if that has no activation yet,
    else of the next: in float64, with one rounding at the end.

    Parameters
    ----------
    operations : iterable of Linear, Nonlinear or Affine
        In their order.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    TypeError
        If weights are not float32 or float64.
    ValueError
        If no network does this; the message names the operation.

    Examples
    --------
    >>> w = np.array([[1.0, -1.0]])
    >>> halved = Affine("node 'half'", "divide", np.array(2.0))
    >>> network = network_of([halved, Linear("node 'fc'", w), Nonlinear("node 'f'", "relu")])
    >>> network.input_scale, network.layers[0].activation
    (array([2., 2.]), 'relu')
    """
    layers: list[Dense] = []
    before: list[Affine] = []
    behind: list[Affine] = []
    for operation in _merged(operations):
        if behind and not isinstance(operation, Affine):
            raise ValueError(
                f"{behind[0].where}: each feature may be scaled or shifted before the first layer "
                f"and behind the last, but {operation.where} follows"
            )
        match operation:
            case Linear():
                layers.append(_following(layers, operation))
            case Nonlinear():
                layers[-1:] = [_activated(layers, operation)]
            case Affine():
                biased = layers and not behind and _biased(layers[-1], operation)
                if biased:
                    layers[-1] = biased
                else:
                    (behind if layers else before).append(operation)
    if not layers:
        raise ValueError("expected at least one layer of weights")
    ends = _input_ends(before, layers[0]) | _output_ends(behind, layers[-1])
    return Network(tuple(layers), **ends)


def _following(layers: list[Dense], linear: Linear) -> Dense:
    """Return the layer behind some layers."""
    layer = _layer(linear.where, linear.weights, linear.bias)
    if layers and layers[-1].activation == "softmax":
        raise ValueError(f"{linear.where}: a softmax before it, which is for the last layer only")
    if layers and layers[-1].dtype != layer.dtype:
        raise TypeError(
            f"{linear.where}: weights must be {layers[-1].dtype} as before, not {layer.dtype}"
        )
    if layers and layers[-1].shape[0] != layer.shape[1]:
        raise ValueError(
            f"{linear.where}: takes {layer.shape[1]} inputs, but gets {layers[-1].shape[0]}"
        )
    return layer


def _activated(layers: list[Dense], function: Nonlinear) -> Dense:
    """Return the last layer with an activation."""
    if not layers:
        raise ValueError(f"{function.where}: an activation needs a layer of weights before it")
    last = layers[-1]
    if last.activation is not None:
        raise ValueError(
            f"{function.where}: a layer has one activation, and {last.activation!r} comes before"
        )
    return _layer(function.where, last.weights, last.bias, function.activation)


def _layer(
    where: str, weights: NDArray, bias: NDArray | None, activation: Activation = None
) -> Dense:
    try:
        return Dense(weights, bias, activation)
    except (TypeError, ValueError) as e:
        raise type(e)(f"{where}: {e}") from e


def _biased(layer: Dense, sum_: Affine) -> Dense | None:
    """Return the layer with a constant added to its bias; None if it is not that."""
    if sum_.kind != "add" or layer.activation is not None:
        return None
    constant = _spread(sum_, layer.shape[0])
    with np.errstate(over="ignore"):  # what overflows is refused as not finite
        bias = constant if layer.bias is None else layer.bias + constant
        return _layer(sum_.where, layer.weights, bias.astype(layer.dtype))


def _spread(operation: Affine, features: int) -> NDArray:
    """Return the constant of each feature."""
    if operation.operand.size not in (1, features):
        raise ValueError(
            f"{operation.where}: expected one constant or {features}, not {operation.operand.size}"
        )
    constant = np.broadcast_to(operation.operand.reshape(-1), (features,)).copy()
    if operation.kind == "divide" and not constant.all():
        raise ValueError(f"{operation.where}: a divisor must not be 0")
    if operation.kind == "multiply" and not constant.all():
        raise ValueError(
            f"{operation.where}: a factor of 0 behind the last activation would be an output_scale "
            "of 0, which targets can't be divided by: leave the outputs out that are always 0, or "
            "multiply by a diagonal matrix of the factors, which is a layer"
        )
    return constant


def _input_ends(operations: list[Affine], layer: Dense) -> dict[str, NDArray]:
    """Return the mean m and the scale s with which the operations are ``(x - m) / s``."""
    mean, scale = np.zeros(layer.shape[1]), np.ones(layer.shape[1])
    for operation in operations:
        constant = _spread(operation, layer.shape[1]).astype(np.float64)
        with np.errstate(all="ignore"):  # what overflows is refused below
            match operation.kind:
                case "add":
                    mean -= constant * scale
                case "multiply":
                    scale /= constant
                case "divide":
                    scale *= constant
    return _ends(operations, layer.dtype, input_mean=mean, input_scale=scale)


def _output_ends(operations: list[Affine], layer: Dense) -> dict[str, NDArray]:
    """Return the mean m and the scale s with which the operations are ``s * y + m``."""
    mean, scale = np.zeros(layer.shape[0]), np.ones(layer.shape[0])
    for operation in operations:
        constant = _spread(operation, layer.shape[0]).astype(np.float64)
        with np.errstate(all="ignore"):  # what overflows is refused below
            match operation.kind:
                case "add":
                    mean += constant
                case "multiply":
                    mean *= constant
                    scale *= constant
                case "divide":
                    mean /= constant
                    scale /= constant
    return _ends(operations, layer.dtype, output_mean=mean, output_scale=scale)


def _ends(operations: list[Affine], dtype: np.dtype, **ends: NDArray) -> dict[str, NDArray]:
    """Return a mean and a scale in the dtype of a network; none if no operation makes them."""
    if not operations:
        return {}
    with np.errstate(over="ignore"):  # what overflows is refused next
        rounded = {name: end.astype(dtype) for name, end in ends.items()}
    for name, end in rounded.items():
        if not np.isfinite(end).all() or ("scale" in name and not end.all()):
            raise ValueError(
                f"{operations[-1].where}: with it {name} of the network is beyond {dtype}"
            )
    return rounded


def _merged(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield the operations with what scales or shifts features between layers put into a layer.

    Sums alone behind a layer stay, which become its bias. At the ends a factor of 0 goes into the
    layer too, because a scale must not be 0.
    """
    layer: Linear | None = None  # the last, if it has no activation yet
    affines: list[Affine] = []
    is_front = True
    for operation in operations:
        match operation:
            case Affine():
                _refuse_not_finite(operation)
                affines.append(operation)
                continue
            case Linear():
                if layer is not None:
                    yield layer
                if is_front and not _has_zero(affines):
                    yield from affines
                else:
                    operation = _with_inputs(operation, affines)
                layer, is_front = operation, False
            case Nonlinear():
                if layer is not None and any(a.kind != "add" for a in affines):
                    yield _with_outputs(layer, affines)
                else:
                    yield from affines if layer is None else (layer, *affines)
                yield operation
                layer = None
        affines = []
    if layer is not None and _has_zero(affines):
        yield _with_outputs(layer, affines)
    else:
        yield from affines if layer is None else (layer, *affines)


def _has_zero(affines: list[Affine]) -> bool:
    return any(a.kind == "multiply" and not a.operand.all() for a in affines)


def _with_inputs(layer: Linear, affines: list[Affine]) -> Linear:
    """Return the layer that does to its inputs what some operations do."""
    if not affines or layer.weights.ndim != 2:
        return layer
    factor, term = _factor_and_term(affines, layer.weights.shape[1])
    weights = layer.weights.astype(np.float64)
    with np.errstate(all="ignore"):  # what overflows is refused below
        bias = (0 if layer.bias is None else layer.bias) + weights @ term
        return _rounded(layer, affines[-1], weights * factor, bias)


def _with_outputs(layer: Linear, affines: list[Affine]) -> Linear:
    """Return the layer that does to its outputs what some operations do."""
    if layer.weights.ndim != 2:
        return layer
    factor, term = _factor_and_term(affines, layer.weights.shape[0])
    with np.errstate(all="ignore"):  # what overflows is refused below
        weights = layer.weights.astype(np.float64) * factor[:, np.newaxis]
        bias = term if layer.bias is None else layer.bias * factor + term
        return _rounded(layer, affines[-1], weights, bias)


def _factor_and_term(affines: list[Affine], features: int) -> tuple[NDArray, NDArray]:
    """Return a and b of ``a * x + b``, which operations are of each feature."""
    factor, term = np.ones(features), np.zeros(features)
    for operation in affines:
        _refuse_extreme(operation)
        # As a summand any constant will do; _spread refuses the divisor 0.
        kind = "divide" if operation.kind == "divide" else "add"
        constant = _spread(Affine(operation.where, kind, operation.operand), features)
        with np.errstate(all="ignore"):  # what overflows is refused as part of the layer
            match operation.kind:
                case "add":
                    term = term + constant
                case "multiply":
                    factor, term = factor * constant, term * constant
                case "divide":
                    factor, term = factor / constant, term / constant
    return factor, term


def _refuse_not_finite(operation: Affine) -> None:
    """Raise ValueError if a constant is infinite or NaN."""
    bad = operation.operand[~np.isfinite(operation.operand)]
    if bad.size:
        raise ValueError(f"{operation.where}: a constant must be finite, not {bad[0]}")


def _refuse_extreme(operation: Affine) -> None:
    """Raise ValueError if a factor is so large or small that its place among products matters.

    ``(x @ w) * c`` may overflow, or not, where ``x @ (c * w)`` does the contrary. One feature that
    is scaled to nearly nothing beside others is none of these.
    """
    largest = float(np.abs(operation.operand).max(initial=0))
    if operation.kind != "add" and largest and not 1 / MOST_FACTOR <= largest <= MOST_FACTOR:
        raise ValueError(
            f"{operation.where}: a factor of {largest:g} can't become part of a layer: expected "
            "2**-60 ... 2**60"
        )


def _rounded(layer: Linear, affine: Affine, weights: NDArray, bias: NDArray) -> Linear:
    """Return a layer in the dtype that it had, of which `affine` became a part."""
    dtype = layer.weights.dtype
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(weights, dtype), bias.astype(dtype)
    was_finite = np.isfinite(layer.weights).all() and (
        layer.bias is None or np.isfinite(layer.bias).all()
    )
    # What was not finite before is refused as part of the layer.
    if was_finite and not all(np.isfinite(x).all() for x in rounded):
        raise ValueError(
            f"{affine.where}: as part of {layer.where} it makes weights or biases beyond {dtype}"
        )
    return Linear(layer.where, *rounded)
