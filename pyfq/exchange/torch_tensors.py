"""Weights and other tensors of a module of PyTorch as its next call uses them."""

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .overrides import overrides

if TYPE_CHECKING:
    from torch import Tensor, nn

# Classes of hooks of PyTorch that compute a tensor, and the endings of the names of what they read.
_READ = {
    "torch.nn.utils.weight_norm.WeightNorm": ("_g", "_v"),
    "torch.nn.utils.spectral_norm.SpectralNorm": ("_orig", "_u", "_v"),
    "torch.nn.utils.prune.BasePruningMethod": ("_orig", "_mask"),
}
# What those who write their own way to prune define; none of it is used when a module is called.
_OF_PRUNING = {"PRUNING_TYPE", "apply", "compute_mask", "prune", "remove"}


def weights_and_bias(
    linear: "nn.Linear", where: str, dtype: np.dtype | None
) -> tuple[NDArray, NDArray | None]:
    """Return weights and bias, or None, of a layer as ``linear.eval()(x)`` uses them.

    Hooks of PyTorch compute a tensor before each call and leave in the attribute that of the call
    before, from other parameters: the tensor is computed here as they do. Parametrizations compute
    it whenever the attribute is read.

    Parameters
    ----------
    linear : torch.nn.Linear
        With forward pre-hooks that compute its weights or bias, or none.
    where : str
        What an error calls it.
    dtype : dtype or None
        That they are converted to; None takes float32 and float64 as they are.

    Returns
    -------
    weights : (out_features, in_features) array
        They share memory with the module where they can.
    bias : (out_features,) array or None
        The same.

    Raises
    ------
    TypeError
        If they are not float32 or float64, and no dtype is given.
    ValueError
        If a hook is not known, PyTorch can't compute a tensor, or it has no values or is no plain
        tensor.
    """
    import torch

    try:
        with torch.no_grad():
            computed = _computed_by_hooks(linear, where)
            weights, bias = (
                tensor_of(linear, name, where, dtype, computed) for name in ("weight", "bias")
            )
    except RuntimeError as e:
        raise ValueError(f"{where}: PyTorch can't compute its weights: {e}") from e
    if weights is None:
        raise ValueError(f"{where}: has no weight")
    return weights, bias


def refuse_hook(hook: Any, where: str) -> NoReturn:
    """Raise ValueError for a hook that may do anything."""
    name = getattr(hook, "__qualname__", type(hook).__name__)
    raise ValueError(
        f"{where} {name} may change what is computed: remove it with the handle that registering "
        "it returned"
    )


def _computed_by_hooks(linear: "nn.Linear", where: str) -> dict[str, "Tensor"]:
    """Return the tensors that the next call sets before it uses them."""
    tensors = {}
    for number, hook in linear._forward_pre_hooks.items():
        name = _computed_by(hook, linear)
        if name is None or name in tensors or number in linear._forward_pre_hooks_with_kwargs:
            refuse_hook(hook, f"{where}: the forward pre-hook")
        tensors[name] = _value_by(hook, linear)
    return tensors


def _computed_by(hook: Any, linear: "nn.Linear") -> str | None:
    """Return the name of the tensor that a hook of PyTorch computes; None for any other hook.

    The hook must read parameters and buffers, not what another hook or the call before left behind.
    """
    kind = _kind_of(hook)
    if kind is None or overrides(hook, kind, _OF_PRUNING):
        return None
    name = hook._tensor_name if kind.__name__ == "BasePruningMethod" else hook.name
    held = linear._parameters | linear._buffers
    read = [held.get(name + ending) for ending in _READ[f"{kind.__module__}.{kind.__name__}"]]
    is_set = name in linear._parameters or name in getattr(linear, "parametrizations", ())
    return None if is_set or any(x is None for x in read) else name


def _kind_of(hook: Any) -> type | None:
    for cls in type(hook).__mro__:
        if f"{cls.__module__}.{cls.__name__}" in _READ:
            return cls
    return None


def _value_by(hook: Any, linear: "nn.Linear") -> "Tensor":
    """Return the tensor that a hook sets in inference."""
    match _kind_of(hook).__name__:
        case "WeightNorm":
            return hook.compute_weight(linear)
        case "SpectralNorm":
            return hook.compute_weight(linear, do_power_iteration=False)
    return hook.apply_mask(linear)


def tensor_of(
    module: "nn.Module",
    name: str,
    where: str,
    dtype: np.dtype | None = None,
    computed: Mapping[str, "Tensor"] = MappingProxyType({}),
) -> NDArray | None:
    """Return weights or a bias: what a hook computes, or else what the attribute gives.

    Parameters
    ----------
    module : torch.nn.Module
        What has the tensor.
    name : str
        Name of the attribute; where that is None, None is returned.
    where : str
        What an error calls the module.
    dtype : dtype or None
        That it is converted to; None takes float32 and float64 as they are.
    computed : mapping of str to torch.Tensor
        What hooks compute.

    Raises
    ------
    TypeError, ValueError
        As `weights_and_bias`.
    """
    from torch.nn.utils import parametrize

    if name in computed:
        return _array_of(computed[name], name, where, dtype)
    if not parametrize.is_parametrized(module, name):
        if not hasattr(module, name):
            raise ValueError(f"{where}: has no {name}, nor None in its place")
        tensor = getattr(module, name)
        return None if tensor is None else _array_of(tensor, name, where, dtype)
    with _in_inference(module, where):
        first = np.array(_array_of(getattr(module, name), name, where, dtype))
        second = _array_of(getattr(module, name), name, where, dtype)
    if not np.array_equal(first, second, equal_nan=True):
        raise ValueError(f"{where}: the parametrization of {name} gives another value each time")
    return first


@contextlib.contextmanager
def _in_inference(module: "nn.Module", where: str) -> Iterator[None]:
    """Set `training` to False in a module and in those that are in it, for a while."""
    from torch import nn

    modules = list(module.modules())
    for each in modules:
        own = overrides(each, nn.Module, used=("train", "eval"))
        if "train" in own or "eval" in own:
            raise ValueError(f"{where}: {type(each).__name__} has an eval of its own")
    modes = [each.training for each in modules]
    try:
        for each in modules:
            each.training = False
        yield
    finally:
        for each, mode in zip(modules, modes, strict=True):
            each.training = mode


def _array_of(tensor: Any, name: str, where: str, dtype: np.dtype | None) -> NDArray:
    """Return the values of a plain tensor of float32 or float64, or of any floats as `dtype`."""
    import torch

    if torch.nn.parameter.is_lazy(tensor):
        raise ValueError(f"{where}: {name} is not initialized: call the module on one batch first")
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise ValueError(
            f"{where}: {name} must be a plain tensor, not {type(tensor).__name__}: pass its values "
            "to from_arrays"
        )
    if tensor.is_meta:
        raise ValueError(
            f"{where}: {name} is on the meta device, which holds no values: load the weights first"
        )
    if tensor.is_quantized:
        raise ValueError(f"{where}: {name} is quantized: pass the module before quantization")
    if tensor.layout is not torch.strided:
        raise ValueError(f"{where}: {name} is sparse: pass its to_dense() to from_arrays")
    if dtype is not None and tensor.is_floating_point():
        tensor = _converted(tensor, name, where, dtype)
    if tensor.dtype not in (torch.float32, torch.float64):
        word = str(tensor.dtype).removeprefix("torch.")
        hint = "pass from_torch(module, dtype=numpy.float32), which converts them"
        if not tensor.is_floating_point():
            hint = "pass arrays to from_arrays"
        raise TypeError(f"{where}: weights must be float32 or float64, not {word}: {hint}")
    # Not `np.ascontiguousarray`, which makes one axis of none.
    return np.asarray(tensor.detach().cpu().resolve_neg().numpy(), order="C")


def _converted(tensor: "Tensor", name: str, where: str, dtype: np.dtype) -> "Tensor":
    """Return a tensor in a dtype, which has to hold its numbers."""
    import torch

    converted = tensor.to(getattr(torch, dtype.name))
    if tensor.dtype == torch.float64:  # the others that there are fit both dtypes
        beyond = tensor[torch.isinf(converted) & torch.isfinite(tensor)]
        if beyond.numel():
            raise ValueError(
                f"{where}: {name} holds {beyond[0].item():g}, which is beyond {dtype}: pass "
                "from_torch(module, dtype=numpy.float64)"
            )
    return converted
