"""Groups of elementwise nodes of an ONNX graph: from one value to one value, an activation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ..._core.check import shown
from .functions import (
    ELEMENTWISE,
    MOST_NODES,
    Polynomial,
    Scaled,
    X,
    applied,
    foreign,
    recognised,
    scalar,
)
from .nodes import Model, Type, attributes_of, refuse_other_domain, result_types, where
from .operators import Value


@dataclass(frozen=True)
class Living:
    """The nodes that depend on the input of a graph, and who takes which value."""

    nodes: Sequence[Any]
    takers: Mapping[str, Sequence[int]]

    def of(self, name: str) -> Sequence[int]:
        """Return the nodes that take a value."""
        return self.takers.get(name, ())


def activation_behind(
    model: Model, living: Living, value: Value, constants: Mapping[str, NDArray]
) -> tuple[str, Scaled, Value] | None:
    """Return the activation that the nodes behind a value compute, the shortest that there is.

    But an exponential is returned if it is part of no other: of the exponential in a sigmoid not.

    Parameters
    ----------
    model : Model
        The model.
    living : Living
        Its nodes.
    value : Value
        Where the group begins.
    constants : mapping of str to array
        Constants by name.

    Returns
    -------
    (str, Scaled, Value) or None
        What an error calls the group, the function, and the value that comes out.

    Raises
    ------
    ValueError
        If they compute an activation that pyfq has not.
    """
    known: dict[str, Polynomial] = {value.name: X}
    types = {value.name: value.type_}
    waiting = list(living.of(value.name))
    exponential = None
    while waiting and len(known) <= MOST_NODES and len(waiting) <= MOST_NODES:
        ready = (i for i in waiting if _is_ready(living.nodes[i], known, constants))
        i = next(ready, None)
        if i is None:
            break
        node = living.nodes[i]
        result = _polynomial_of(model, node, known, types, constants)
        if result is None:
            break
        name = node.output[0]
        known[name] = result
        waiting.remove(i)
        waiting += [taker for taker in living.of(name) if taker not in waiting]
        if not _are_taken(living, waiting, known.keys() - {name}):
            function = recognised(result)
            if function is not None:
                following = replace(value, name=name, type_=types[name], is_input=False)
                found = where(node), function, following
                if function.activation != "exp":
                    return found
                exponential = exponential or found
            other = foreign(result)
            if other is not None:
                raise ValueError(
                    f"{where(node)}: {shown(value.name)} becomes {other}, which pyfq does not have"
                )
    return exponential


def _is_ready(node: Any, known: Mapping[str, Polynomial], constants: Mapping[str, NDArray]) -> bool:
    """Return whether a node is elementwise, and all that it takes is known."""
    return (
        node.op_type in ELEMENTWISE
        and len(node.input) <= 3
        and all(not name or name in known or name in constants for name in node.input)
    )


def _are_taken(living: Living, waiting: Sequence[int], names: set[str]) -> bool:
    """Return whether a node that waits takes one of some values."""
    return any(not names.isdisjoint(living.nodes[i].input) for i in waiting)


def _polynomial_of(
    model: Model,
    node: Any,
    known: Mapping[str, Polynomial],
    types: dict[str, Type],
    constants: Mapping[str, NDArray],
) -> Polynomial | None:
    """Return what a node computes, and add the type of its result."""
    refuse_other_domain(model, node)
    operands: list[Polynomial | None] = []
    dims = max((types[name].dims for name in node.input if name in known), key=len)
    for name in node.input:
        operand = known.get(name) if name in known or not name else scalar(constants[name], dims)
        if operand is None and name:
            return None
        operands.append(operand)
    live = {name: types[name] for name in node.input if name in known}
    types |= result_types(model, node, live, constants)
    return applied(node, operands, attributes_of(model, node))
