"""Networks from PyTorch."""

from typing import TYPE_CHECKING

from numpy.typing import DTypeLike

from .._core.check import as_float_dtype
from ..networks.network import Network
from ..networks.operations import network_of
from .torch_modules import operations_of

if TYPE_CHECKING:
    from torch import nn


def from_torch(module: "nn.Module", *, dtype: DTypeLike = None) -> Network:
    """Return the network that a sequence of PyTorch modules is in inference.

    Parameters
    ----------
    module : torch.nn.Sequential
        Linear, ReLU, LeakyReLU, PReLU of one slope, ReLU6, Hardtanh, ELU, SELU, CELU of positive
        ``alpha``, Tanh, Sigmoid, GELU, SiLU, Softplus with ``beta=1``, Softmax over the last of two
        axes as the last; BatchNorm1d, which becomes part of the layer before or after it, at the
        ends means and scales of the network; Identity, Dropout, AlphaDropout, which do nothing in
        inference, Flatten, whose result the network's inputs are already, and Sequential of these.
        One alone will do.
    dtype : float32 or float64, optional
        Dtype of the network (default: that of the weights, which then must be float32 or
        float64).
        With it half precision, bfloat16 and any other floats are converted.

    Returns
    -------
    Network
        What ``module.eval()(x)`` gives for samples of one axis, also where the module is in
        training mode, which stays as it is: BatchNorm1d uses its running means and variances. With
        copies of weights and biases. Of classes it knows nothing:
        ``dataclasses.replace(network, classes=...)``.

    Raises
    ------
    TypeError
        If a module is no torch.nn.Module, a parameter of it is no number, `dtype` is neither, or is
        not given and weights are not float32 or float64.
    ValueError
        If a module is none of these, or does not follow the one before; if BatchNorm1d has no
        running means, or an activation a parameter that none here has; if something else than its
        class says what it computes: a forward hook, a forward pre-hook, an own ``forward``, another
        function in the place of one of ``torch.nn.functional`` that it calls; if its weights have
        no values, are no plain tensors, or hold numbers that `dtype` does not. The message says
        which and where.
    ImportError
        If PyTorch is not installed.

    Notes
    -----
    Weights and biases are those of the next call where hooks or parametrizations compute them:
    ``torch.nn.utils.prune``, ``weight_norm`` and ``spectral_norm``, old and new, ``orthogonal``,
    any that ``register_parametrization`` knows. Backward hooks change no outputs. What surrounds a
    call counts as little: ``torch.autocast``, a TorchFunctionMode, and the mode of modules that a
    parametrization reads but that are not in its layer.

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
        raise ImportError("from_torch needs PyTorch: pip install torch") from e
    if not isinstance(module, nn.Module):
        hint = ": from_arrays takes the arrays of a state dict" if isinstance(module, dict) else ""
        raise TypeError(f"module must be a torch.nn.Module, not {type(module).__name__}{hint}")
    wanted = None if dtype is None else as_float_dtype(dtype)
    return network_of(operations_of(module, wanted))
