"""Weights and bias of torch.nn.Linear as its next call uses them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod

from .overrides import overrides

# What those who write their own way to prune define; none of it is used when a module is called.
_OF_PRUNING = {"PRUNING_TYPE", "apply", "compute_mask", "prune", "remove"}


def weights_and_bias(linear: nn.Linear, where: str) -> tuple[NDArray, NDArray | None]:
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

    Returns
    -------
    weights : (out_features, in_features) array
        They share memory with the module where they can.
    bias : (out_features,) array or None
        The same.

    Raises
    ------
    TypeError
        If they are not float32 or float64.
    ValueError
        If a hook is not known, or a tensor has no values or is no plain tensor.
    """
    tensors = {}
    with torch.no_grad():
        for number, hook in linear._forward_pre_hooks.items():
            name = _computed_by(hook, linear)
            if name is None or name in tensors or number in linear._forward_pre_hooks_with_kwargs:
                raise ValueError(
                    f"{where}: the forward pre-hook "
                    f"{getattr(hook, '__qualname__', type(hook).__name__)} may change what it "
                    "computes: remove it with the handle that registering it returned"
                )
            tensors[name] = _value_by(hook, linear)
        of_call = [_tensor(linear, name, tensors, where) for name in ("weight", "bias")]
    if of_call[0] is None:
        raise ValueError(f"{where}: has no weight")
    return of_call[0], of_call[1]


def _computed_by(hook: Any, linear: nn.Linear) -> str | None:
    """Return the name of the tensor that a hook of PyTorch computes; None for any other hook.

    The hook must read parameters and buffers, not what another hook or the call before left behind.
    """
    kind = f"{type(hook).__module__}.{type(hook).__name__}"
    match kind:
        case "torch.nn.utils.weight_norm.WeightNorm":
            name, read, changed = hook.name, ("_g", "_v"), overrides(hook, type(hook))
        case "torch.nn.utils.spectral_norm.SpectralNorm":
            name, read, changed = hook.name, ("_orig", "_u", "_v"), overrides(hook, type(hook))
        case _ if isinstance(hook, BasePruningMethod):
            name, read = hook._tensor_name, ("_orig", "_mask")
            changed = overrides(hook, BasePruningMethod, _OF_PRUNING)
        case _:
            return None
    held = linear._parameters | linear._buffers
    if changed or not all(held.get(name + ending) is not None for ending in read):
        return None
    is_free = name not in linear._parameters and name not in getattr(linear, "parametrizations", ())
    return name if is_free else None


def _value_by(hook: Any, linear: nn.Linear) -> torch.Tensor:
    """Return the tensor that a hook sets in inference."""
    if isinstance(hook, BasePruningMethod):
        return hook.apply_mask(linear)
    if type(hook).__name__ == "WeightNorm":
        return hook.compute_weight(linear)
    return hook.compute_weight(linear, do_power_iteration=False)


def _tensor(
    linear: nn.Linear, name: str, computed: dict[str, torch.Tensor], where: str
) -> NDArray | None:
    """Return weights or a bias: what a hook computes, or else what the attribute gives."""
    if name in computed:
        return _array_of(computed[name], name, where)
    if not parametrize.is_parametrized(linear, name):
        return _array_of(getattr(linear, name), name, where)
    with _in_inference(linear, where):
        first, second = (_array_of(getattr(linear, name), name, where) for _ in range(2))
    if not np.array_equal(first, second, equal_nan=True):
        raise ValueError(f"{where}: the parametrization of {name} gives another value each time")
    return first


@contextlib.contextmanager
def _in_inference(module: nn.Module, where: str) -> Iterator[None]:
    """Set `training` to False in a module and in those that are in it, for a while."""
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


def _array_of(tensor: Any, name: str, where: str) -> NDArray | None:
    """Return the values of a tensor; of None None."""
    if tensor is None:
        return None
    if is_lazy(tensor):
        raise ValueError(f"{where}: {name} is not initialized: call the module on one batch first")
    if type(tensor) not in (torch.Tensor, nn.Parameter):
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
    if tensor.dtype not in (torch.float32, torch.float64):
        word = str(tensor.dtype).removeprefix("torch.")
        raise TypeError(
            f"{where}: weights must be float32 or float64, not {word}: pass module.float(), or "
            "arrays to from_arrays"
        )
    return np.ascontiguousarray(tensor.detach().cpu().resolve_neg().numpy())
