"""Activation functions that elementwise nodes of an ONNX graph compute together.

Exporters write GELU as Div, Erf, Add, Mul, Mul, in many orders. What such nodes compute of a value
x is written as a polynomial, whose variables are x and functions of such polynomials:
``0.5 x + 0.5 x erf(0.707 x)``, whatever the order of the nodes. It is compared with the functions
that there are, coefficient by coefficient.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._core.check import as_number
from ...arrays.activation import Activation
from ...networks.operations import DEEPEST_FLOOR, MOST_FACTOR
from .nodes import where

# A function of parameters and of a polynomial (its terms); x itself is the atom of this name.
Atom = tuple[str, tuple[float, ...], tuple[Any, ...]]
# Coefficients of products of powers of atoms.
Polynomial = dict[tuple[tuple[Atom, int], ...], float]

X: Polynomial = {((("x", (), ()), 1),): 1.0}

# Four digits of sqrt(2), and not three, are the constant of GELU.
_TOLERANCE = 1e-5
# More than any of the functions has, so that no file makes polynomials that grow without end.
_MOST_POWER, _MOST_ATOMS = 4, 200
# A group of nodes that compute one activation has fewer.
MOST_NODES = 24

# As ONNX and PyTorch have them, in float32 and in more digits.
SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805
_SIMPLE = ("relu", "tanh", "sigmoid", "softplus", "exp", "leaky_relu", "elu", "clip")
_UNARY = {
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus", "Erf": "erf",
    "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Abs": "abs", "HardSwish": "hard_swish",
}  # fmt: skip
ELEMENTWISE = (
    *_UNARY, "Add", "Sum", "Sub", "Mul", "Div", "Neg", "Reciprocal", "Pow", "Identity", "Gelu",
    "Swish", "LeakyRelu", "PRelu", "Clip", "Max", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Not", "Where", "HardSigmoid", "Elu", "Selu", "Celu",
)  # fmt: skip


@dataclass(frozen=True)
class Scaled:
    """``outer_scale * activation(inner_scale * x + inner_shift) + outer_shift``."""

    activation: Activation
    inner_scale: float = 1.0
    inner_shift: float = 0.0
    outer_scale: float = 1.0
    outer_shift: float = 0.0


def constant(c: float) -> Polynomial:
    """Return a constant polynomial."""
    return {(): c} if c else {}


def total(p: Polynomial, q: Polynomial, factor: float = 1.0) -> Polynomial:
    """Return ``p + factor * q``."""
    result = dict(p)
    for term, c in q.items():
        result[term] = result.get(term, 0.0) + factor * c
    return {term: c for term, c in result.items() if c}


def product(p: Polynomial, q: Polynomial) -> Polynomial:
    """Return ``p * q``."""
    result: Polynomial = {}
    for (s, c), (t, d) in itertools.product(p.items(), q.items()):
        powers = dict(s)
        for atom, power in t:
            powers[atom] = powers.get(atom, 0) + power
        term = tuple(sorted(powers.items(), key=repr))
        result[term] = result.get(term, 0.0) + c * d
    return {term: c for term, c in result.items() if c}


def call(name: str, p: Polynomial, *parameters: float) -> Polynomial:
    """Return a function of a polynomial."""
    inner = _exp_plus_1(p)
    if inner is not None and name == "log":
        return call("softplus", inner)
    if inner is not None and name == "reciprocal":
        return call("sigmoid", product(constant(-1.0), inner))
    return {(((name, parameters, tuple(sorted(p.items(), key=repr))), 1),): 1.0}


def _exp_plus_1(p: Polynomial) -> Polynomial | None:
    """Return q of ``1 + exp(q)``."""
    terms = [term for term in p if term]
    if len(p) != 2 or p.get(()) != 1 or len(terms) != 1 or p[terms[0]] != 1:
        return None
    atom, power = terms[0][0]
    return dict(atom[2]) if len(terms[0]) == 1 and power == 1 and atom[0] == "exp" else None


def _gelu(p: Polynomial) -> Polynomial:
    half = product(constant(0.5), p)
    return total(half, product(half, call("erf", product(constant(math.sqrt(0.5)), p))))


def _gelu_tanh(p: Polynomial) -> Polynomial:
    half, cube = product(constant(0.5), p), product(p, product(p, p))
    inner = product(constant(math.sqrt(2 / math.pi)), total(p, cube, 0.044715))
    return total(half, product(half, call("tanh", inner)))


def _swish(p: Polynomial, alpha: float = 1.0) -> Polynomial:
    return product(p, call("sigmoid", product(constant(alpha), p)))


_SIGMOID_BY_TANH = total(constant(0.5), call("tanh", product(constant(0.5), X)), 0.5)
_FORMS: tuple[tuple[Polynomial, Activation], ...] = (
    (_gelu(X), "gelu"),
    (_gelu_tanh(X), "gelu_tanh"),
    (_swish(X), "silu"),
    (_SIGMOID_BY_TANH, "sigmoid"),
    (product(X, _SIGMOID_BY_TANH), "silu"),
)
_SIXTH_OF_X = product(constant(1 / 6), X)
_FOREIGN = (
    (_swish(X, 1.702), "QuickGELU, x * sigmoid(1.702 x)"),
    (call("hard_swish", X), "HardSwish"),
    (product(X, call("clip", total(constant(0.5), X, 1 / 6), 0.0, 1.0)), "HardSwish"),
    (product(_SIXTH_OF_X, call("clip", total(X, constant(3.0)), 0.0, 6.0)), "HardSwish"),
    (product(X, call("tanh", call("softplus", X))), "Mish, x * tanh(softplus(x))"),
    (product(X, call("reciprocal", total(constant(1.0), call("abs", X)))), "Softsign"),
    (product(call("relu", X), call("relu", X)), "the square of ReLU"),
)  # fmt: skip


def applied(
    node: Any, operands: list[Polynomial | None], attributes: Mapping[str, Any]
) -> Polynomial | None:
    """Return what an elementwise node makes of its operands, if that can be written.

    Parameters
    ----------
    node : NodeProto
        One of `ELEMENTWISE`.
    operands : list of polynomials
        None where an optional one is left out.
    attributes : mapping of str to Any
        Those of the node.
    """
    if not operands or operands[0] is None:
        return None
    _refuse_parameters(node, attributes)
    p, *others = operands
    if node.op_type in ("Clip", "Where"):
        result = (_clipped if node.op_type == "Clip" else _chosen)(operands, attributes)
    elif len(others) == 0:
        result = _of_one(node.op_type, p, attributes)
    elif node.op_type == "Max" and None not in others:
        different = [q for i, q in enumerate(operands) if q not in operands[:i]]
        result = _largest(different)
    elif len(others) == 1 and others[0] is not None:
        result = _of_two(node.op_type, p, others[0])
    else:
        result = None
    return result if result is not None and _is_small(result) else None


def _refuse_parameters(node: Any, attributes: Mapping[str, Any]) -> None:
    """Raise ValueError if no activation here has a parameter that a node has."""
    if node.op_type in ("Clip", "Swish"):  # infinite ends are none; Swish is refused by its factor
        return
    for name in ("alpha", "beta", "gamma"):
        number = attributes.get(name, 0.0)
        if not math.isfinite(number):
            raise ValueError(f"{where(node)}: {name} must be finite, not {number}")
    # Of a negative alpha Celu grows exponentially below 0, which no activation here does.
    if node.op_type == "Celu":
        as_number(
            attributes.get("alpha", 1.0), f"{where(node)}: alpha", 1 / MOST_FACTOR, MOST_FACTOR
        )


def _is_small(p: Polynomial) -> bool:
    powers = (power for term in p for _, power in term)
    finite = all(map(math.isfinite, p.values()))
    return finite and max(powers, default=0) <= _MOST_POWER and _atoms(p.items()) <= _MOST_ATOMS


def _atoms(terms: Any) -> int:
    """Return how many atoms there are, those in atoms counted."""
    return sum(1 + sum(1 + _atoms(atom[2]) for atom, _ in term) for term, _ in terms)


def _of_one(operator: str, p: Polynomial, attributes: Mapping[str, Any]) -> Polynomial | None:
    match operator:
        case "Identity" | "Add" | "Sum":
            return p
        case "Neg":
            return _negative(p)
        case "Not":
            tested = _tested(p)
            return None if tested is None else call("positive", _negative(tested))
        case "Reciprocal":
            return call("reciprocal", p)
        case "LeakyRelu":
            return call("leaky_relu", p, attributes.get("alpha", 0.01))
        case "Gelu":
            exact = attributes.get("approximate", "none") == "none"
            return _gelu(p) if exact else _gelu_tanh(p)
        case "Swish":
            return _swish(p, attributes.get("alpha", 1.0))
        case "HardSigmoid":
            inner = product(constant(attributes.get("alpha", 0.2)), p)
            inner = total(inner, constant(attributes.get("beta", 0.5)))
            return call("clip", inner, 0.0, 1.0)
        case "Elu":
            return call("elu", p, attributes.get("alpha", 1.0))
        case "Selu":
            elu = call("elu", p, attributes.get("alpha", SELU_ALPHA))
            return product(constant(attributes.get("gamma", SELU_GAMMA)), elu)
        case "Celu":
            alpha = attributes.get("alpha", 1.0)
            inner = product(constant(1 / alpha), p)
            return product(constant(alpha), call("elu", inner, 1.0))
    return call(_UNARY[operator], p) if operator in _UNARY else None


def _of_two(operator: str, p: Polynomial, q: Polynomial) -> Polynomial | None:
    match operator:
        case "Add" | "Sum":
            return total(p, q)
        case "Sub":
            return total(p, q, -1.0)
        case "Mul":
            return product(p, q)
        case "Div" if _is_constant(q):
            return product(p, constant(1 / q[()])) if q else None
        case "Div":
            return product(p, call("reciprocal", q))
        case "Pow" if _is_constant(q):
            return _power(p, q.get((), 0.0))
        case "PRelu" if _is_constant(q):
            return call("leaky_relu", p, q.get((), 0.0))
        # What is chosen by a comparison counts where both sides meet in it: see `_chosen`.
        case "Greater" | "GreaterOrEqual":
            return call("positive", total(p, q, -1.0))
        case "Less" | "LessOrEqual":
            return call("positive", total(q, p, -1.0))
    return None


def _is_constant(p: Polynomial) -> bool:
    return p.keys() <= {()}


def _power(p: Polynomial, exponent: float) -> Polynomial | None:
    if exponent == -1:
        return call("reciprocal", p)
    if exponent == 0.5:
        return call("sqrt", p)
    if exponent not in (1, 2, 3):
        return None
    result = p
    for _ in range(int(exponent) - 1):
        result = product(result, p)
    return result


def _largest(different: Sequence[Polynomial]) -> Polynomial | None:
    """Return the largest of one or two; more of them are no activation."""
    match different:
        case [p]:
            return p
        case [p, q]:
            return _larger(p, q)
    return None


def _larger(p: Polynomial, q: Polynomial) -> Polynomial | None:
    """Return the larger of x and 0, or of x and ``slope * x``."""
    if not q or not p:
        return call("relu", p or q)
    for one, other in ((p, q), (q, p)):
        slope = _ratio(other, one)
        if slope is not None and 0 <= slope <= 1:
            return call("leaky_relu", one, slope)
    return None


def _ratio(p: Polynomial, q: Polynomial) -> float | None:
    """Return a of ``p = a q``, if they have one term each."""
    if len(p) != 1 or p.keys() != q.keys() or () in p:
        return None
    return next(iter(p.values())) / next(iter(q.values()))


def _clipped(operands: list[Polynomial | None], attributes: Mapping[str, Any]) -> Polynomial | None:
    """Return what lies between two constants."""
    p, *ends = [*operands, None, None][:3]
    names = ("min", "max")
    if any(end is not None and not _is_constant(end) for end in ends):
        return None
    least, most = (
        attributes.get(name, fallback) if end is None else end.get((), 0.0)
        for name, end, fallback in zip(names, ends, (-math.inf, math.inf), strict=True)
    )
    # The largest of float32 and of float64 stand for no end, as infinity does.
    endless = [float(np.finfo(kind).max) for kind in (np.float32, np.float64)] + [math.inf]
    if most in endless:
        return p if -least in endless else call("relu", p) if least == 0 else None
    return call("clip", p, least, most)


def _chosen(operands: list[Polynomial | None], _: Mapping[str, Any]) -> Polynomial | None:
    """Return ``x if x > 0 else slope * x``, or the softplus of PyTorch, however it is written.

    Both sides are the same where what is tested is 0, so that ``>`` is as good as ``>=``.
    """
    if len(operands) != 3 or any(p is None for p in operands):
        return None
    condition, one, other = operands
    tested = _tested(condition)
    if tested is None:
        return None
    sides = ((tested, one, other), (_negative(tested), other, one))
    softplus = next(filter(None, itertools.starmap(_softplus, sides)), None)
    return _leaky(sides) if softplus is None else softplus


def _tested(condition: Polynomial) -> Polynomial | None:
    """Return p of the condition ``p > 0``."""
    if len(condition) != 1 or list(condition.values()) != [1.0]:
        return None
    ((term, _),) = condition.items()
    if len(term) != 1 or term[0][0][0] != "positive" or term[0][1] != 1:
        return None
    return dict(term[0][0][2])


def _softplus(tested: Polynomial, above: Polynomial, below: Polynomial) -> Polynomial | None:
    """Return the softplus that is the identity where something is above a threshold.

    From 20 on that is within 1e-10 of it, relatively.
    """
    rest = dict(tested)
    threshold = -rest.pop((), 0.0)
    scale = _ratio(rest, above)
    if threshold < 20 or scale is None or scale <= 0:
        return None
    softplus = product(constant(1 / scale), call("softplus", rest))
    return below if _equal(below, softplus) else None


def _leaky(sides: Sequence[tuple[Polynomial, Polynomial, Polynomial]]) -> Polynomial | None:
    """Return what is a multiple of what is tested on one side of 0, and another on the other.

    Parameters
    ----------
    sides : two of (polynomial, polynomial, polynomial)
        What is positive on a side, what is taken there, and what is taken on the other side.
    """
    found = []
    for tested, taken, other in sides:
        ratio, slope = _multiple(taken, tested), _multiple(other, taken)
        if ratio and slope is not None:
            found.append((ratio > 0, ratio == 1, abs(ratio), taken, slope))
    if not found:
        return None
    # The side of what is tested itself, if there is one, leaves no factors around the function.
    is_positive, _, _, taken, slope = max(found, key=lambda each: each[:3])
    inner = taken if is_positive else _negative(taken)
    result = call("leaky_relu", inner, slope) if slope else call("relu", inner)
    return result if is_positive else _negative(result)


def _multiple(p: Polynomial, q: Polynomial) -> float | None:
    """Return a of ``p = a q``."""
    if not p or not q:
        return None if p else 0.0
    if p.keys() != q.keys():
        return None
    ratios = [p[term] / q[term] for term in p]
    return ratios[0] if all(_near(ratio, ratios[0]) for ratio in ratios) else None


def _negative(p: Polynomial) -> Polynomial:
    return product(constant(-1.0), p)


def recognised(p: Polynomial) -> Scaled | None:
    """Return the activation that a polynomial is."""
    for form, activation in _FORMS:
        if _equal(p, form):
            return Scaled(activation)
    rest = dict(p)
    outer_shift = rest.pop((), 0.0)
    if len(rest) != 1:
        return None
    ((term, outer_scale),) = rest.items()
    (name, parameters, terms), power = term[0]
    if len(term) != 1 or power != 1 or name not in _SIMPLE:
        return None
    inner = affine(dict(terms))
    if inner is None:
        return None
    if name == "clip":
        return _clip(parameters, inner, outer_scale, outer_shift)
    activation = (name, *parameters) if parameters else name
    return Scaled(activation, *inner, outer_scale, outer_shift)


def _clip(
    ends: tuple[float, ...], inner: tuple[float, float], scale: float, shift: float
) -> Scaled | None:
    """Return what lies between two constants, as the first of them and what is above it."""
    least, most = ends
    if not least < most or least < DEEPEST_FLOOR:
        return None
    activation = "clipped_relu", most - least
    return Scaled(activation, inner[0], inner[1] - least, scale, shift + scale * least)


def affine(p: Polynomial) -> tuple[float, float] | None:
    """Return a and b of ``a x + b``."""
    (x,) = X
    return (p[x], p.get((), 0.0)) if x in p and p.keys() <= {x, ()} else None


def foreign(p: Polynomial) -> str | None:
    """Return the name of a function that others have and pyfq has not."""
    for form, name in _FOREIGN:
        if _equal(p, form):
            return name
    for atom, _ in itertools.chain(*p):
        slope = affine(dict(atom[2])) if atom[0] == "sigmoid" else None
        if slope is not None and _equal(p, _swish(X, slope[0])):
            return f"x * sigmoid({slope[0]:g} x)"
    return None


def _equal(p: Polynomial, q: Polynomial) -> bool:
    """Tell if two polynomials are the same but for the rounding of their coefficients."""
    if len(p) != len(q):
        return False
    one, other = (sorted(terms.items(), key=_outline) for terms in (p, q))
    return all(
        _outline(a) == _outline(b) and _near(a[1], b[1]) and _same_atoms(a[0], b[0])
        for a, b in zip(one, other, strict=True)
    )


def _same_atoms(s: Any, t: Any) -> bool:
    return all(
        all(map(_near, a[1], b[1])) and _equal(dict(a[2]), dict(b[2]))
        for (a, _), (b, _) in zip(_in_order(s), _in_order(t), strict=True)
    )


def _in_order(term: Any) -> list[Any]:
    return sorted(term, key=lambda factor: _outline((((factor),), 1.0)))


def _outline(item: Any) -> str:
    """Return a term without its numbers, by which terms are put in order."""
    term, _ = item
    parts = [
        f"{name}/{len(parameters)}({','.join(sorted(map(_outline, terms)))})^{power}"
        for (name, parameters, terms), power in term
    ]
    return "*".join(sorted(parts))


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= _TOLERANCE * abs(b)


def scalar(array: NDArray, dims: Sequence[int | None]) -> Polynomial | None:
    """Return a constant that is one finite number, once or for each of a value's entries."""
    extents = zip(reversed(array.shape), reversed(dims), strict=False)
    spreads = array.ndim > len(dims) or any(n not in (1, extent) for n, extent in extents)
    if spreads or not array.size or array.dtype.kind not in "fiu":
        return None
    number = float(array.flat[0])
    is_one = math.isfinite(number) and bool((array == array.flat[0]).all())
    return constant(number) if is_one else None
