"""What a Sequential of PyTorch computes in inference: its modules in order, and nothing else."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.check import as_number, shown
from ..networks.operations import DEEPEST_FLOOR, MOST_FACTOR, Affine, Linear, Nonlinear, Operation
from .overrides import overrides
from .torch_tensors import refuse_hook, tensor_of, weights_and_bias

if TYPE_CHECKING:
    from torch import nn

# Classes of torch.nn.
_WORDS = {"ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "SiLU": "silu"}
_KINDS = (
    "Linear", "BatchNorm1d", *_WORDS, "LeakyReLU", "PReLU", "ReLU6", "Hardtanh", "ELU", "SELU",
    "CELU", "GELU", "Softplus", "Softmax", "Identity", "Dropout", "AlphaDropout", "Flatten",
    "Sequential",
)  # fmt: skip
# What the forward methods of these classes call.
_FUNCTIONS = {
    "Linear": "linear", "ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "SiLU": "silu",
    "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ReLU6": "hardtanh", "Hardtanh": "hardtanh",
    "ELU": "elu", "SELU": "selu", "CELU": "celu", "GELU": "gelu", "Softplus": "softplus",
    "Softmax": "softmax", "Dropout": "dropout", "AlphaDropout": "alpha_dropout",
    "BatchNorm1d": "batch_norm",
}  # fmt: skip
# torch.nn.Softplus is the identity above its threshold: of 20, within 1e-10 of the function. Below
# it takes an exponential, which from 89 on overflows in float32.
_LEAST_THRESHOLD, _MOST_THRESHOLD = 20, 88
_LARGEST = float(np.finfo(np.float32).max)
# Of torch.nn.SELU, which is this times an ELU of that alpha.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
# What a class of modules may define, and instances may hold, without a change of what a call does.
_HARMLESS = {
    "__constants__", "__deepcopy__", "__getitem__", "__getstate__", "__len__", "_get_name",
    "_load_from_state_dict", "_version", "extra_repr", "load_state_dict", "reset_parameters",
    "state_dict", "to", "type",
}  # fmt: skip
# Classes that hold another module, or the same one in another form.
_WRAPPERS = {
    "OptimizedModule": "is compiled: pass module._orig_mod",
    "ScriptModule": "is TorchScript: pass the module that was scripted or traced",
    "GraphModule": "is a traced graph: pass the module that was traced",
    "DataParallel": "wraps a module: pass module.module",
    "DistributedDataParallel": "wraps a module: pass module.module",
    "AveragedModel": "wraps a module: pass module.module",
    "FullyShardedDataParallel": (
        "holds one shard of the weights: gather the full state dict and pass its arrays to "
        "from_arrays"
    ),
    "FSDPModule": (
        "holds one shard of the weights: gather the full state dict and pass its arrays to "
        "from_arrays"
    ),
    "LazyModuleMixin": "is not initialized: call the module on one batch first",
}


def operations_of(module: "nn.Module", dtype: np.dtype | None) -> list[Operation]:
    """Return what a module of PyTorch does in inference, one operation after the other.

    Parameters
    ----------
    module : torch.nn.Module
        A Sequential, or one of the modules that may be in it.
    dtype : dtype or None
        That weights are converted to; None takes those of float32 and float64 as they are.

    Returns
    -------
    list of Linear, Nonlinear and Affine
        In their order; `where` of each is the module's path and class.

    Raises
    ------
    TypeError
        If weights are not float32 or float64.
    ValueError
        If it is not certain what a module computes; the message says which and why.
    """
    _refuse_hooks_of_all()
    operations: list[Operation] = []
    for where, leaf, kind in _leaves(module, "", ()):
        operations += _operations_of_leaf(leaf, kind, where, dtype)
    return operations


def _leaves(
    module: Any, path: str, around: tuple[int, ...]
) -> Iterator[tuple[str, "nn.Module", type]]:
    """Yield the modules of a sequence in their order: what an error calls each, it, its class."""
    where = f"module {path or '(itself)'} ({type(module).__name__})"
    if id(module) in around:
        raise ValueError(f"{where}: is in itself")
    kind = _kind_of(module, where)
    _refuse_overrides(module, where, kind)
    _refuse_hooks(module, where, kind)
    if kind.__name__ != "Sequential":
        yield where, module, kind
        return
    for name, child in module._modules.items():  # named_children() leaves out what comes again
        its_path = f"{path}.{name}" if path else name
        yield from _leaves(child, its_path, (*around, id(module)))


def _kind_of(module: Any, where: str) -> type:
    """Return the class of PyTorch that says what a module does."""
    for cls in type(module).__mro__:
        if cls.__name__ in _WRAPPERS and cls.__module__.startswith("torch."):
            raise ValueError(f"{where}: {_WRAPPERS[cls.__name__]}")
        if cls.__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")):
            raise ValueError(f"{where}: is quantized: pass the module before quantization")
        if cls.__name__ in _KINDS and cls.__module__.startswith("torch.nn.modules."):
            return cls
    known = f"expected one of {', '.join(_KINDS)}"
    if getattr(module, "_modules", None):
        raise ValueError(
            f"{where}: {known}. Only Sequential says in which order its modules run; a forward "
            f"method, as {type(module).__name__} has, can't be read: pass the weights in their "
            'order, from_arrays({"fc1.weight": module.fc1.weight.detach().numpy(), ...}), or '
            "export it with torch.onnx.export and use from_onnx"
        )
    raise ValueError(f"{where}: {known}")


def _refuse_overrides(module: Any, where: str, kind: type) -> None:
    """Refuse a module that computes something else than its class of PyTorch says."""
    from torch import nn

    if getattr(module, "_compiled_call_impl", None) is not None:
        raise ValueError(f"{where}: is compiled: pass copy.deepcopy(module), which is not")
    used = {
        "weight", "bias", "training", *getattr(kind, "__constants__", ()), *module._parameters,
        *module._buffers, *module._modules,
    }  # fmt: skip
    harmless = _HARMLESS | _parametrized(module)
    names = overrides(module, kind, harmless, used)
    if names:
        raise ValueError(
            f"{where}: has {', '.join(names)} of its own, so it may compute something else than "
            f"{kind.__name__} does: pass its weights to from_arrays, or export it with "
            "torch.onnx.export and use from_onnx"
        )
    inherits = next(cls for cls in kind.__mro__ if "forward" in vars(cls))
    for cls, method in (
        (inherits, "forward"), (nn.Module, "_call_impl"), (nn.Module, "_wrapped_call_impl"),
    ):  # fmt: skip
        if not _is_original(getattr(kind, method), cls, method):
            raise ValueError(f"{where}: {cls.__name__}.{method} is not that of PyTorch")
    if kind.__call__ is not kind._wrapped_call_impl:
        raise ValueError(f"{where}: {kind.__name__}.__call__ is not that of PyTorch")
    if kind.__name__ in _FUNCTIONS:
        _refuse_replaced(_FUNCTIONS[kind.__name__], kind, where)


def _refuse_replaced(name: str, kind: type, where: str) -> None:
    """Refuse a module whose forward method calls a function that is not that of PyTorch."""
    import torch
    from torch.nn import functional

    compiled = [getattr(torch._C._nn, name, None), getattr(torch._C._VariableFunctions, name, None)]
    for function, place in (
        (vars(functional).get(name), "torch.nn.functional"),
        (vars(torch).get(name), "torch"),
    ):
        own = function is None or any(function is each for each in compiled)
        if not own and getattr(function, "__globals__", None) is vars(functional):
            own = function.__code__.co_qualname == name
        if not own:
            raise ValueError(f"{where}: {place}.{name} is not that of PyTorch")
    if kind.forward.__globals__.get("F", functional) is not functional:
        raise ValueError(f"{where}: F of {kind.__module__} is not torch.nn.functional")


def _is_original(function: Any, cls: type, method: str) -> bool:
    """Tell whether a method is the one that the source of its class defines."""
    its_globals = getattr(function, "__globals__", None)
    return (
        its_globals is vars(sys.modules[cls.__module__])
        and function.__code__.co_qualname == f"{cls.__name__}.{method}"
    )


def _parametrized(module: Any) -> set[str]:
    """Return the names of the tensors that `register_parametrization` made properties."""
    from torch.nn.utils import parametrize

    of_torch = type(module).__module__ == parametrize.__name__
    return (
        set(module.parametrizations) if of_torch and parametrize.is_parametrized(module) else set()
    )


def _refuse_hooks_of_all() -> None:
    from torch.nn.modules import module as source

    for hook in source._global_forward_hooks.values():
        refuse_hook(hook, "all modules: the forward hook")
    for hook in source._global_forward_pre_hooks.values():
        refuse_hook(hook, "all modules: the forward pre-hook")


def _refuse_hooks(module: Any, where: str, kind: type) -> None:
    """Refuse hooks, but those before Linear that compute its tensors."""
    for hook in module._forward_hooks.values():
        refuse_hook(hook, f"{where}: the forward hook")
    if kind.__name__ != "Linear":
        for hook in module._forward_pre_hooks.values():
            refuse_hook(hook, f"{where}: the forward pre-hook")


def _operations_of_leaf(
    leaf: Any, kind: type, where: str, dtype: np.dtype | None
) -> list[Operation]:
    """Return what a module does."""
    match kind.__name__:
        case "Linear":
            return [Linear(where, *weights_and_bias(leaf, where, dtype))]
        case "BatchNorm1d":
            return _normalization(leaf, where, dtype)
        case word if word in _WORDS:
            return [Nonlinear(where, _WORDS[word])]
        case "ReLU6" | "Hardtanh":
            return _clip(leaf, where)
        case "ELU":
            return [Nonlinear(where, ("elu", leaf.alpha))]
        case "SELU":
            return [Nonlinear(where, ("elu", _SELU_ALPHA)), _factor(where, _SELU_SCALE)]
        case "CELU":
            # Of a negative alpha it grows exponentially below 0, which no activation here does.
            alpha = _number_of(leaf, "alpha", where, 1 / MOST_FACTOR, MOST_FACTOR)
            return [_factor(where, 1 / alpha), Nonlinear(where, "elu"), _factor(where, alpha)]
        case "PReLU":
            return [Nonlinear(where, ("leaky_relu", _slope_of(leaf, where, dtype)))]
        case "LeakyReLU":
            return [Nonlinear(where, ("leaky_relu", leaf.negative_slope))]
        case "GELU" if leaf.approximate in ("none", "tanh"):
            return [Nonlinear(where, "gelu" if leaf.approximate == "none" else "gelu_tanh")]
        case "GELU":
            raise ValueError(
                f"{where}: approximate must be none or tanh, not {shown(leaf.approximate)}"
            )
        case "Softplus":
            _number_of(leaf, "threshold", where, _LEAST_THRESHOLD, _MOST_THRESHOLD)
            if _number_of(leaf, "beta", where) != 1:
                raise ValueError(f"{where}: beta must be 1, not {leaf.beta}")
            return [Nonlinear(where, "softplus")]
        case "Softmax" if leaf.dim in (-1, 1, None):  # None is 1 for two axes
            return [Nonlinear(where, "softmax")]
        case "Softmax":
            raise ValueError(f"{where}: dim must be -1 or 1, not {leaf.dim}")
        case "Flatten" if leaf.start_dim not in (1, -1) or leaf.end_dim not in (1, -1):
            raise ValueError(
                f"{where}: expected Flatten(1, -1), which leaves samples apart, not "
                f"Flatten({leaf.start_dim}, {leaf.end_dim})"
            )
    return []  # Identity, Dropout, and Flatten of samples of one axis


def _factor(where: str, factor: float) -> Affine:
    return Affine(where, "multiply", np.array(factor))


def _number_of(
    leaf: Any, name: str, where: str, least: float = -_LARGEST, most: float = _LARGEST
) -> float:
    """Return an attribute of a module that is a finite number."""
    return as_number(getattr(leaf, name), f"{where}: {name}", least, most)


def _clip(leaf: Any, where: str) -> list[Operation]:
    """Return what lies between two numbers: the first, and what is above it up to the second."""
    least = _number_of(leaf, "min_val", where, DEEPEST_FLOOR)
    most = _number_of(leaf, "max_val", where)
    if not least < most:
        raise ValueError(f"{where}: min_val must be less than max_val, not {least} and {most}")
    clip = Nonlinear(where, ("clipped_relu", most - least))
    if least == 0:
        return [clip]
    down, up = (Affine(where, "add", np.array(shift)) for shift in (-least, least))
    return [down, clip, up]


def _slope_of(leaf: Any, where: str, dtype: np.dtype | None) -> float:
    """Return the slope of PReLU, the same for all features."""
    slopes = tensor_of(leaf, "weight", where, dtype)
    if slopes is None or len(np.unique(slopes)) != 1:
        number = "no" if slopes is None else slopes.size
        raise ValueError(f"{where}: expected one slope for all features, not {number} that differ")
    return float(slopes.flat[0])


def _normalization(leaf: Any, where: str, dtype: np.dtype | None) -> list[Operation]:
    """Return what BatchNorm1d does in inference: ``a * x + b`` of each feature, of float64."""
    mean, variance = (tensor_of(leaf, f"running_{name}", where, dtype) for name in ("mean", "var"))
    if mean is None or variance is None:
        raise ValueError(
            f"{where}: track_running_stats must be True: without means and variances of its own "
            "it normalizes by those of each batch"
        )
    mean, variance = mean.astype(np.float64), variance.astype(np.float64)
    eps = _number_of(leaf, "eps", where)
    weight, bias = (tensor_of(leaf, name, where, dtype) for name in ("weight", "bias"))
    with np.errstate(all="ignore"):  # of what is refused below
        factor = (1.0 if weight is None else weight) / np.sqrt(variance + eps)
        shift = (0.0 if bias is None else bias) - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        raise ValueError(f"{where}: expected finite numbers, and positive variances")
    return [Affine(where, "multiply", factor), Affine(where, "add", shift)]
