"""Networks from PyTorch: what a Sequential of known modules computes in inference."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..chain import Linear, Nonlinear, Operation, network_of
from ..network import Network
from .overrides import overrides

if TYPE_CHECKING:
    from torch import nn

# torch.nn.Softplus is the identity above its threshold: of 20, within 1e-10 of the function.
_LEAST_THRESHOLD = 20
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
        What ``module.eval()(x)`` gives for samples of one axis, also where the module is in
        training mode, which stays as it is. With copies of weights and biases, in their dtype. Of
        classes it knows nothing: ``dataclasses.replace(network, classes=...)``.

    Raises
    ------
    TypeError
        If a module is no torch.nn.Module, or weights are not float32 or float64.
    ValueError
        If a module is none of these, or does not follow the one before; if something else than its
        class says what it computes: a forward hook, a forward pre-hook, an own ``forward``; if its
        weights have no values or are no plain tensors. The message says which and where.
    ImportError
        If PyTorch is not installed.

    Notes
    -----
    Weights and biases are those of the next call where hooks or parametrizations compute them:
    ``torch.nn.utils.prune``, ``weight_norm`` and ``spectral_norm``, old and new, ``orthogonal``,
    any that ``register_parametrization`` knows. Backward hooks change no outputs.

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
        hint = ": from_arrays takes the arrays of a state dict" if isinstance(module, dict) else ""
        raise TypeError(f"module must be a torch.nn.Module, not {type(module).__name__}{hint}")
    _refuse_hooks_of_all()
    operations: list[Operation] = []
    for where, leaf, kind in _leaves(module, "", (), _kinds(nn)):
        operations += _operations_of(leaf, kind, where, nn, not operations)
    return network_of(operations)


def _kinds(nn: Any) -> tuple[type, ...]:
    return (
        nn.Linear, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.LeakyReLU, nn.GELU, nn.Softplus,
        nn.Softmax, nn.Identity, nn.Dropout, nn.Flatten, nn.Sequential,
    )  # fmt: skip


def _leaves(
    module: Any, path: str, around: tuple[int, ...], kinds: tuple[type, ...]
) -> Iterator[tuple[str, "nn.Module", type]]:
    """Yield the modules of a sequence in their order: what an error calls each, it, its class."""
    where = f"module {path or '(itself)'} ({type(module).__name__})"
    if id(module) in around:
        raise ValueError(f"{where}: is in itself")
    kind = _kind_of(module, where, kinds)
    _refuse_overrides(module, where, kind)
    _refuse_hooks(module, where, kind)
    if kind.__name__ != "Sequential":
        yield where, module, kind
        return
    for name, child in module._modules.items():  # named_children() leaves out what comes again
        its_path = f"{path}.{name}" if path else name
        yield from _leaves(child, its_path, (*around, id(module)), kinds)


def _kind_of(module: Any, where: str, kinds: tuple[type, ...]) -> type:
    """Return the class of PyTorch that says what a module does."""
    for cls in type(module).__mro__:
        if cls.__name__ in _WRAPPERS and cls.__module__.startswith("torch."):
            raise ValueError(f"{where}: {_WRAPPERS[cls.__name__]}")
        if cls.__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")):
            raise ValueError(f"{where}: is quantized: pass the module before quantization")
        if cls in kinds:
            return cls
    known = f"expected one of {', '.join(kind.__name__ for kind in kinds)}"
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
    used = {"weight", "bias", *module._parameters, *module._buffers, *module._modules}
    harmless = _HARMLESS | _parametrized(module)
    names = overrides(module, kind, harmless, used)
    if names:
        raise ValueError(
            f"{where}: has {', '.join(names)} of its own, so it may compute something else than "
            f"{kind.__name__} does: pass its weights to from_arrays, or export it with "
            "torch.onnx.export and use from_onnx"
        )
    for cls, method in (
        (kind, "forward"), (nn.Module, "_call_impl"), (nn.Module, "_wrapped_call_impl"),
    ):  # fmt: skip
        if not _is_original(getattr(kind, method), cls, method):
            raise ValueError(f"{where}: {cls.__name__}.{method} is not that of PyTorch")
    if kind.__call__ is not kind._wrapped_call_impl:
        raise ValueError(f"{where}: {kind.__name__}.__call__ is not that of PyTorch")


def _is_original(function: Any, cls: type, method: str) -> bool:
    """Tell whether a method is the one that the source of its class defines."""
    source = sys.modules[cls.__module__]
    return (
        cls.__module__.startswith("torch.nn.modules.")
        and getattr(function, "__globals__", None) is vars(source)
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

    for what, hooks in (
        ("hook", source._global_forward_hooks), ("pre-hook", source._global_forward_pre_hooks),
    ):  # fmt: skip
        for hook in hooks.values():
            raise ValueError(
                f"the forward {what} {_name_of(hook)} of all modules may change what each "
                "computes: remove it with the handle that registering it returned"
            )


def _refuse_hooks(module: Any, where: str, kind: type) -> None:
    """Refuse hooks, but those before Linear that compute its tensors."""
    found = [("hook", hook) for hook in module._forward_hooks.values()]
    if kind.__name__ != "Linear":
        found += [("pre-hook", hook) for hook in module._forward_pre_hooks.values()]
    for what, hook in found:
        raise ValueError(
            f"{where}: the forward {what} {_name_of(hook)} may change what it computes: remove it "
            "with the handle that registering it returned"
        )


def _name_of(hook: Any) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


def _operations_of(leaf: Any, kind: type, where: str, nn: Any, is_first: bool) -> list[Operation]:
    """Return what a module does, nothing or one operation."""
    words = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu"}
    if kind in words:
        return [Nonlinear(where, words[kind])]
    if kind is nn.Linear:
        from .torch_tensors import weights_and_bias  # which imports PyTorch

        return [Linear(where, *weights_and_bias(leaf, where))]
    if kind is nn.LeakyReLU:
        return [Nonlinear(where, ("leaky_relu", leaf.negative_slope))]
    if kind is nn.GELU:
        if leaf.approximate not in ("none", "tanh"):
            raise ValueError(f"{where}: approximate must be none or tanh, not {leaf.approximate!r}")
        return [Nonlinear(where, "gelu" if leaf.approximate == "none" else "gelu_tanh")]
    if kind is nn.Softplus:
        if leaf.beta != 1 or not leaf.threshold >= _LEAST_THRESHOLD:
            raise ValueError(
                f"{where}: beta must be 1 and threshold at least {_LEAST_THRESHOLD}, not "
                f"{leaf.beta} and {leaf.threshold}"
            )
        return [Nonlinear(where, "softplus")]
    if kind is nn.Softmax:
        if leaf.dim not in (-1, 1, None):  # None is 1 for two axes
            raise ValueError(f"{where}: dim must be -1 or 1, not {leaf.dim}")
        return [Nonlinear(where, "softmax")]
    if kind is nn.Flatten and (not is_first or (leaf.start_dim, leaf.end_dim) != (1, -1)):
        raise ValueError(f"{where}: expected in front only, as Flatten(1, -1)")
    return []  # Identity, Dropout, Flatten
