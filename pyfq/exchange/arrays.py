"""Networks of weights and biases by name, and their arrays by name in an npz file."""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from .._core.check import FLOATS, as_input, shown
from ..arrays.activation import Activation, as_activation
from ..io.npz import write_npz
from ..networks.foreign import as_network
from ..networks.network import Network
from ..networks.operations import Linear, Nonlinear, Operation, network_of
from ..products.model import ENDS
from .array_layers import is_bias_of, is_named_in_out, refuse_other_patterns
from .array_names import WAY_OUT, refuse_roles


def from_arrays(
    arrays: Mapping[str, NDArray] | Sequence[NDArray],
    *,
    activation: Activation = "relu",
    output_activation: Activation = None,
) -> Network:
    """Return a network of weights and biases.

    Parameters
    ----------
    arrays : mapping of str to array, or sequence of array
        float32 or float64. Weights, ``(out_features, in_features)``, in the order of the layers,
        with or without a bias, ``(out_features,)``, behind each. Biases called ``"<layer>.bias"``
        may stand anywhere if all weights are called ``"<layer>.weight"``. A mapping may have means
        and scales under the names that `Network` has for them, as `to_npz` writes them.
    activation : str, (str, float) or None
        Activation of all layers but the last.
    output_activation : str, (str, float) or None
        Activation of the last layer.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    TypeError
        If a value is no array, or not of float32 or float64.
    ValueError
        If arrays do not fit each other, or it is not certain what belongs to what: a bias with
        another name than its weights, layers whose numbers do not ascend. If names do not follow
        one pattern: some weights end in ``weight`` or ``kernel`` and others do not, a layer is in
        another one, two names are one layer in two networks. If a name says that an array is no
        layer of a chain: masks of pruned tensors, factors of weight normalization or adapters,
        averages of weights, normalizations, codes and scales of quantized weights, embeddings,
        parts of attention, of recurrent layers and of branches. If names are those of weights
        ``(in_features, out_features)``, as ``kernel`` of Keras and Flax and ``weight_T``, and
        shapes do not tell the contrary. A sequence has no names to doubt: pass the arrays of the
        layers alone. If an array holds a NaN or Inf.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.ones((3, 2)), np.ones((1, 3))
    >>> network = from_arrays({"fc1.weight": w[0], "fc1.bias": np.zeros(3), "fc2.weight": w[1]})
    >>> network.forward(np.array([[1.0, 2.0]]))
    array([[9.]])
    """
    named = isinstance(arrays, Mapping)
    if not named and (isinstance(arrays, str | bytes) or not isinstance(arrays, Sequence)):
        is_module = hasattr(arrays, "state_dict")
        raise TypeError(
            f"arrays must be a mapping or a sequence of arrays, not {type(arrays).__name__}"
            + (": from_torch takes a module" if is_module else "")
        )
    as_activation(activation)
    as_activation(output_activation, "output_activation")
    items = dict(arrays) if named else {f"arrays[{i}]": x for i, x in enumerate(arrays)}
    _refuse_tensors(items)
    ends = {name: items.pop(name) for name in ENDS if name in items}
    if named:
        refuse_roles(items)
    for name, x in items.items():
        as_input(x, f"arrays[{shown(name)}]" if named else name, FLOATS)
    if named:
        tables = [name for name, x in items.items() if x.ndim != 1]
        refuse_other_patterns([name for name in tables if not re.search(r"(^|\.)bias$", name)])
    pairs = list(_paired_by_name(items) if _has_words(items) else _paired_by_place(items, named))
    if named:
        _refuse_order(pairs)
    operations: list[Operation] = []
    for i, (name, bias_name) in enumerate(pairs):
        word = output_activation if i == len(pairs) - 1 else activation
        bias = None if bias_name is None else items[bias_name]
        operations.append(Linear(name, items[name], bias))
        operations += [] if word is None else [Nonlinear(name, word)]
    _refuse_transposed(pairs, items)
    network = network_of(operations)
    return Network(network.layers, **ends)


def to_npz(network: Network, path: str | os.PathLike[str]) -> None:
    """Write weights and biases by name to an npz file, for any tool that reads NumPy's.

    ``from_arrays(np.load(path), ...)`` makes a network of it, given the activations; what they
    are, `classes` and `activation_bits` are not in the file. `save_network` writes all.

    Parameters
    ----------
    network : Network
        What to write: its `parameters`, compressed ones as arrays, and its means and scales.
    path : str or os.PathLike
        The target, under exactly this name; replaced when all is written.

    Raises
    ------
    TypeError
        If `network` is no `Network`.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     to_npz(Network.create((4, 8, 3)), Path(directory, "network.npz"))
    ...     with np.load(Path(directory, "network.npz")) as file:
    ...         list(file), from_arrays(file).sizes
    (['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias'], (4, 8, 3))
    """
    as_network(network)
    ends = {name: getattr(network, name) for name in ENDS}
    write_npz(path, network.parameters | {k: x for k, x in ends.items() if x is not None})


def _refuse_tensors(items: Mapping[Any, Any]) -> None:
    """Refuse names that are no str, and tensors of PyTorch, which look like arrays."""
    for name, x in items.items():
        if not isinstance(name, str):
            raise TypeError(f"names of arrays must be str, not {type(name).__name__}")
        if type(x).__module__.partition(".")[0] == "torch":
            raise TypeError(
                f"{name} must be a NumPy array, not torch.{type(x).__name__}: pass "
                "x.detach().cpu().numpy() for each"
            )


def _has_words(items: Mapping[str, NDArray]) -> bool:
    """Tell whether all names end in ``weight`` or ``bias``."""
    return all(re.search(r"(^|\.)(weight|bias)$", name) for name in items)


def _paired_by_name(items: Mapping[str, NDArray]) -> Iterator[tuple[str, str | None]]:
    """Yield the names of weights and of their biases, in the order of the weights."""
    weights = [name for name in items if name.endswith("weight")]
    lonely = {name for name in items if name.endswith("bias")}
    for name in weights:
        _refuse_shape(name, items[name], 2, "weights")
        bias = name.removesuffix("weight") + "bias"
        if bias in items:
            _refuse_shape(bias, items[bias], 1, "a bias")
            lonely.remove(bias)
        yield name, bias if bias in items else None
    if lonely:
        raise ValueError(f"{min(lonely)} is a bias without weights")


def _paired_by_place(items: Mapping[str, NDArray], named: bool) -> Iterator[tuple[str, str | None]]:
    """Yield the names of weights and of the biases behind them."""
    names = [*items, None]
    used = None
    for name, following in itertools.pairwise(names):
        if name == used:
            continue
        if items[name].ndim == 1:
            raise ValueError(
                f"{name} has one axis, but no weights before it that it could be the bias of"
            )
        _refuse_shape(name, items[name], 2, "weights")
        used = following if following is not None and items[following].ndim == 1 else None
        if named and used is not None and _numbers(name) != _numbers(used):
            raise ValueError(
                f"{used} stands where the bias of {name} would, but has another number"
            )
        if named and used is not None and not is_bias_of(used, name):
            raise ValueError(f"{used} is not named as a bias of {name}: {WAY_OUT}")
        yield name, used


def _refuse_shape(name: str, x: NDArray, axes: int, what: str) -> None:
    if x.ndim != axes:
        shape = "(out_features, in_features)" if axes == 2 else "(out_features,)"
        hint = (
            ": one axis is what factors of a normalization have" if axes == 2 == x.ndim + 1 else ""
        )
        raise ValueError(f"{name} must have shape {shape}, as {what} have, not {x.shape}{hint}")


def _refuse_order(pairs: Sequence[tuple[str, str | None]]) -> None:
    """Refuse layers in the order of the alphabet, where 10 comes before 2."""
    for (before, _), (name, _) in itertools.pairwise(pairs):
        alike = re.sub(r"\d+", "#", before) == re.sub(r"\d+", "#", name)
        if alike and _numbers(before) >= _numbers(name):
            raise ValueError(f"{name} comes behind {before}: give layers in their order")


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _refuse_transposed(
    pairs: Sequence[tuple[str, str | None]], items: Mapping[str, NDArray]
) -> None:
    """Refuse weights that fit as ``(in_features, out_features)``, by their names or that only."""
    shapes = [items[name].shape for name, _ in pairs]
    turned = all(a[1] == b[0] for a, b in itertools.pairwise(shapes)) and all(
        bias is None or len(items[bias]) == items[name].shape[1] for name, bias in pairs
    )
    for name, _ in pairs if turned else ():
        if is_named_in_out(name):
            raise ValueError(
                f"{name} is named as weights of shape (in_features, out_features) are, and arrays "
                "fit each other as such: pass np.ascontiguousarray(w.T) of weights, and biases, as "
                "a list in their order"
            )
    fits = all(a[0] == b[1] for a, b in itertools.pairwise(shapes))
    if not fits and all(a[1] == b[0] for a, b in itertools.pairwise(shapes)):
        raise ValueError(
            f"weights must have shape (out_features, in_features), but {pairs[0][0]} of shape "
            f"{shapes[0]} is followed by {shapes[1]}: pass np.ascontiguousarray(w.T)"
        )
