"""Networks from other libraries, and for them; those are imported on first use.

| to | call |
|---|---|
| take a fitted MLP of scikit-learn | `from_sklearn` |
| take a Sequential of PyTorch | `from_torch` |
| take a chain of layers from an ONNX file, or write one | `from_onnx`, `to_onnx` |
| take or write weights and biases by name | `from_arrays`, `to_npz` |
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._check import FLOATS, as_input
from .activation import Activation
from .chain import Linear, Nonlinear, Operation, network_of
from .network import Dense, Network
from .plan import ENDS

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.preprocessing import StandardScaler
    from torch import Tensor, nn

# What scikit-learn calls them.
_OF_SKLEARN = {
    "identity": None,
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softmax": "softmax",
}
# torch.nn.Softplus is the identity above its threshold: of 20, within 1e-10 of the function.
_LEAST_THRESHOLD = 20


def from_sklearn(estimator: "BaseEstimator", *, dtype: DTypeLike = None) -> Network:
    r"""Return the network of a fitted multi-layer perceptron of scikit-learn.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, Pipeline or TransformedTargetRegressor
        Fitted. A pipeline is a StandardScaler and one of the others, a transformed target is that
        of a StandardScaler; they become means and scales of the network.
    dtype : float32 or float64, optional
        Of the network; by default that of the estimator's weights.

    Returns
    -------
    Network
        Of a regressor, `forward` gives what its ``predict`` does, with an axis of outputs. Of a
        classifier, `predict` gives its classes and `forward` its ``predict_proba``: two classes
        have two outputs, :math:`\mathrm{softmax}(0, z)`, where scikit-learn has one logistic.

    Raises
    ------
    TypeError
        If the estimator, or a step of it, is none of these, or `dtype` is neither.
    ValueError
        If it is not fitted, classifies into several labels at once or into one class, ends in
        another activation, or holds a number that is not finite.
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((16,), solver="lbfgs", max_iter=5000, random_state=0).fit(x, y)
    >>> network = from_sklearn(mlp)
    >>> network.sizes
    (4, 16, 3)
    >>> np.array_equal(network.predict(x), mlp.predict(x))
    True
    """
    mlp, of_input, of_output = _parts_of_sklearn(estimator, "estimator")
    dtype = np.dtype(mlp.coefs_[0].dtype if dtype is None else dtype)
    if dtype.type not in FLOATS:
        raise TypeError(f"dtype must be float32 or float64, not {dtype}")
    weights = [w.T for w in mlp.coefs_]
    biases = list(mlp.intercepts_)
    activation, output_activation, classes = mlp.activation, mlp.out_activation_, None
    if hasattr(mlp, "classes_"):
        classes = _classes_of(mlp)
        if output_activation == "logistic":
            weights[-1] = np.concatenate([np.zeros_like(weights[-1]), weights[-1]])
            biases[-1] = np.concatenate([np.zeros_like(biases[-1]), biases[-1]])
            output_activation = "softmax"
    if output_activation not in _OF_SKLEARN:
        raise ValueError(
            f"the output activation of {type(mlp).__name__} must be one of "
            f"{', '.join(_OF_SKLEARN)}, not {output_activation!r}"
        )
    words = [activation] * (len(weights) - 1) + [output_activation]
    layers = [
        Dense(_cast(w, dtype), _cast(bias, dtype), _OF_SKLEARN[word])
        for w, bias, word in zip(weights, biases, words, strict=True)
    ]
    ends = _ends_of("input", of_input, weights[0].shape[1], dtype)
    ends |= _ends_of("output", of_output, weights[-1].shape[0], dtype)
    return Network(tuple(layers), classes=classes, **ends)


def from_torch(module: "nn.Module") -> Network:
    """Return the network that a sequence of PyTorch modules is in inference.

    Parameters
    ----------
    module : torch.nn.Sequential
        Linear, ReLU, LeakyReLU, Tanh, Sigmoid, GELU, SiLU, Softplus with ``beta=1``, Softmax
        over the last of two axes as the last, Identity, Dropout, which does nothing in
        inference, Flatten in front, which the network's inputs then are already, and Sequential of
        these. One alone will do.

    Returns
    -------
    Network
        With copies of weights and biases, in their dtype. Of classes it knows nothing:
        ``dataclasses.replace(network, classes=...)``.

    Raises
    ------
    TypeError
        If a module is no torch.nn.Module, or weights are not float32 or float64.
    ValueError
        If a module is none of these, or does not follow the one before; the message says which and
        where.
    ImportError
        If PyTorch is not installed.

    Examples
    --------
    ::

        teacher = torch.nn.Sequential(
            torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
        )
        network = from_torch(teacher)
        network.forward(x)  # teacher(torch.from_numpy(x)), as an array
    """
    try:
        from torch import nn
    except ModuleNotFoundError as e:
        raise ImportError("from_torch needs PyTorch: pip install 'pyfq-fortran[torch]'") from e
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    modules = list(_leaves(module, "", nn.Sequential))
    operations: list[Operation] = []
    for place, (name, leaf) in enumerate(modules):
        where = f"module {name or '(itself)'} ({type(leaf).__name__})"
        operations += _operation_of(leaf, where, nn, place == 0)
    return network_of(operations)


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
    activation : str, ("leaky_relu", slope) or None
        Of all layers but the last.
    output_activation : str, ("leaky_relu", slope) or None
        Of the last.

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
        another name than its weights, layers whose numbers do not ascend.

    Examples
    --------
    >>> w = np.ones((3, 2)), np.ones((1, 3))
    >>> network = from_arrays({"fc1.weight": w[0], "fc1.bias": np.zeros(3), "fc2.weight": w[1]})
    >>> network.forward(np.array([[1.0, 2.0]]))
    array([[9.]])
    """
    named = isinstance(arrays, Mapping)
    if not named and (isinstance(arrays, str) or not isinstance(arrays, Sequence)):
        raise TypeError(
            f"arrays must be a mapping or a sequence of arrays, not {type(arrays).__name__}"
        )
    items = dict(arrays) if named else {f"arrays[{i}]": x for i, x in enumerate(arrays)}
    ends = {name: items.pop(name) for name in ENDS if name in items}
    for name, x in items.items():
        if not isinstance(name, str):
            raise TypeError(f"names of arrays must be str, not {type(name).__name__}")
        as_input(x, name, FLOATS)
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
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     to_npz(Network.create((4, 8, 3)), Path(directory, "network.npz"))
    ...     with np.load(Path(directory, "network.npz")) as file:
    ...         list(file), from_arrays(file).sizes
    (['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias'], (4, 8, 3))
    """
    from .io import write_npz  # which imports what programs without files do not need

    if not isinstance(network, Network):
        raise TypeError(f"network must be a Network, not {type(network).__name__}")
    ends = {name: getattr(network, name) for name in ENDS}
    write_npz(path, network.parameters | {k: x for k, x in ends.items() if x is not None})


def _parts_of_sklearn(
    estimator: Any, where: str
) -> tuple[Any, "StandardScaler | None", "StandardScaler | None"]:
    """Return a fitted MLP, and what scales its inputs and its outputs."""
    try:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.utils.validation import check_is_fitted
    except ModuleNotFoundError as e:
        raise ImportError(
            "from_sklearn needs scikit-learn: pip install 'pyfq-fortran[sklearn]'"
        ) from e
    match estimator:
        case MLPClassifier() | MLPRegressor():
            check_is_fitted(estimator)
            return estimator, None, None
        case TransformedTargetRegressor():
            check_is_fitted(estimator)
            mlp, of_input, of_output = _parts_of_sklearn(
                estimator.regressor_, f"{where}.regressor_"
            )
            if of_output is not None:
                raise TypeError(f"{where}.regressor_ must not be a TransformedTargetRegressor too")
            scaler = estimator.transformer_
            if not isinstance(scaler, StandardScaler):
                raise TypeError(
                    f"{where}.transformer_ must be a StandardScaler, not {type(scaler).__name__}"
                )
            return mlp, of_input, scaler
        case Pipeline():
            return _parts_of_pipeline(estimator, where)
    raise TypeError(
        f"{where} must be an MLPClassifier, MLPRegressor, Pipeline or TransformedTargetRegressor, "
        f"not {type(estimator).__name__}"
    )


def _parts_of_pipeline(
    pipeline: Any, where: str
) -> tuple[Any, "StandardScaler | None", "StandardScaler | None"]:
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted

    steps = [(f"{where}[{name!r}]", step) for name, step in pipeline.steps]
    steps = [(name, step) for name, step in steps if step not in (None, "passthrough")]
    if not steps:
        raise TypeError(f"{where} must end in an MLP, but has no step")
    scaler = None
    for name, step in steps[:-1]:
        if not isinstance(step, StandardScaler):
            raise TypeError(f"{name} must be a StandardScaler, not {type(step).__name__}")
        if scaler is not None:
            raise TypeError(f"{name}: there must be one StandardScaler, not two")
        check_is_fitted(step)
        scaler = step
    mlp, of_input, of_output = _parts_of_sklearn(steps[-1][1], steps[-1][0])
    if scaler is not None and of_input is not None:
        raise TypeError(f"{steps[-1][0]}: there must be one StandardScaler, not two")
    return mlp, scaler if of_input is None else of_input, of_output


def _classes_of(mlp: Any) -> NDArray:
    """Return the labels of a classifier that tells each sample one of several."""
    if mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1:
        raise ValueError(
            f"{type(mlp).__name__} must give each sample one label, but this is multilabel"
        )
    classes = np.asarray(mlp.classes_)
    if len(classes) < 2:
        raise ValueError(f"{type(mlp).__name__} must know at least two classes, not {len(classes)}")
    strings = classes.dtype == object and all(isinstance(label, str) for label in classes)
    return classes.astype(str) if strings else classes


def _ends_of(
    side: str, scaler: "StandardScaler | None", features: int, dtype: np.dtype
) -> dict[str, NDArray]:
    """Return mean and scale of one end of the network."""
    if scaler is None:
        return {}
    mean = scaler.mean_ if scaler.with_mean else np.zeros(features)
    scale = scaler.scale_ if scaler.with_std else np.ones(features)
    return {f"{side}_mean": _cast(mean, dtype), f"{side}_scale": _cast(scale, dtype)}


def _cast(x: NDArray, dtype: np.dtype) -> NDArray:
    return np.ascontiguousarray(x, dtype)


def _leaves(module: Any, name: str, container: type) -> Iterator[tuple[str, "nn.Module"]]:
    """Yield the modules of a sequence with their places, those of sequences in it in theirs."""
    if isinstance(module, container) and type(module).forward is container.forward:
        for place, child in enumerate(module):  # named_children() leaves out what comes again
            yield from _leaves(child, f"{name}.{place}" if name else str(place), container)
    else:
        yield name, module


def _operation_of(leaf: Any, where: str, nn: Any, is_first: bool) -> list[Operation]:
    """Return what a module does, nothing or one operation."""
    activations = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu"}
    kind = type(leaf)
    if kind in activations:
        return [Nonlinear(where, activations[kind])]
    if kind is nn.Linear:
        bias = None if leaf.bias is None else _array_of(leaf.bias, where)
        return [Linear(where, _array_of(leaf.weight, where), bias)]
    if kind is nn.LeakyReLU:
        return [Nonlinear(where, ("leaky_relu", float(leaf.negative_slope)))]
    if kind is nn.GELU:
        return [Nonlinear(where, "gelu" if leaf.approximate == "none" else "gelu_tanh")]
    if kind is nn.Softplus:
        if leaf.beta != 1 or leaf.threshold < _LEAST_THRESHOLD:
            raise ValueError(
                f"{where}: beta must be 1 and threshold at least {_LEAST_THRESHOLD}, not "
                f"{leaf.beta} and {leaf.threshold}"
            )
        return [Nonlinear(where, "softplus")]
    if kind is nn.Softmax:
        if leaf.dim not in (-1, 1):
            raise ValueError(f"{where}: dim must be -1 or 1, not {leaf.dim}")
        return [Nonlinear(where, "softmax")]
    if kind in (nn.Identity, nn.Dropout):
        return []
    if kind is nn.Flatten:
        if not is_first or (leaf.start_dim, leaf.end_dim) != (1, -1):
            raise ValueError(f"{where}: expected in front only, as Flatten(1, -1)")
        return []
    known = ", ".join(
        each.__name__
        for each in (
            nn.Linear, *activations, nn.LeakyReLU, nn.GELU, nn.Softplus, nn.Softmax, nn.Identity,
            nn.Dropout, nn.Flatten, nn.Sequential,
        )
    )  # fmt: skip
    raise ValueError(f"{where}: expected one of {known}")


def _array_of(parameter: "Tensor", where: str) -> NDArray:
    word = str(parameter.dtype).removeprefix("torch.")
    if word not in ("float32", "float64"):  # NumPy does not have them all
        raise TypeError(f"{where}: weights must be float32 or float64, not {word}")
    return np.ascontiguousarray(parameter.detach().cpu().numpy())


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
        yield name, used


def _refuse_shape(name: str, x: NDArray, axes: int, what: str) -> None:
    if x.ndim != axes:
        shape = "(out_features, in_features)" if axes == 2 else "(out_features,)"
        raise ValueError(f"{name} must have shape {shape}, as {what} have, not {x.shape}")


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
    """Refuse weights that would fit as ``(in_features, out_features)`` only."""
    shapes = [items[name].shape for name, _ in pairs]
    fits = all(a[0] == b[1] for a, b in itertools.pairwise(shapes))
    if not fits and all(a[1] == b[0] for a, b in itertools.pairwise(shapes)):
        raise ValueError(
            f"weights must have shape (out_features, in_features), but {pairs[0][0]} of shape "
            f"{shapes[0]} is followed by {shapes[1]}: pass np.ascontiguousarray(w.T)"
        )
