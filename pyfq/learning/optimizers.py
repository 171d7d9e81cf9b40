"""What makes a step of a gradient, and how the learning rate goes on from epoch to epoch."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .._core.check import as_choice, as_count, as_flag, as_number
from .._core.frozen import reduce_to_parts, restore_parts, set_part

# What numbers are at most; and at least, where float32 must not round them to 0.
LARGEST, SMALLEST = float(np.finfo(np.float32).max), 1e-30
# From 0, in the order of the constants OPTIMIZER_ of `fortran/learning/fq_training.f90`.
OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class SGD:
    r"""Stochastic gradient descent: :math:`v := \mu v + g`, :math:`w := w - \eta v`.

    g is the gradient plus `weight_decay` times the weights. With `nesterov` the step is
    :math:`\eta (g + \mu v)`.

    Parameters
    ----------
    learning_rate : float
        :math:`\eta`, above 0.
    momentum : float
        :math:`\mu`, 0 ... 1.
    nesterov : bool
        Momentum of Nesterov.
    weight_decay : float
        At least 0; biases do not decay.

    References
    ----------
    Sutskever et al. 2013, On the importance of initialization and momentum in deep learning, ICML;
    in the form of ``torch.optim.SGD``.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        set_part(self, "learning_rate", _as_rate(self.learning_rate))
        set_part(self, "momentum", as_number(self.momentum, "momentum", 0, 1))
        set_part(self, "nesterov", as_flag(self.nesterov, "nesterov"))
        set_part(self, "weight_decay", as_number(self.weight_decay, "weight_decay", 0, LARGEST))

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts


@dataclass(frozen=True)
class Adam:
    r"""Adam: :math:`w \leftarrow w - \eta \hat m / (\sqrt{\hat s} + \epsilon)`.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        s \leftarrow \beta_2 s + (1 - \beta_2) g^2, \quad
        \hat m = m/(1 - \beta_1^t), \quad \hat s = s/(1 - \beta_2^t)

    g is the gradient, plus `weight_decay` times the weights if not `decoupled`.

    Parameters
    ----------
    learning_rate : float
        :math:`\eta`, above 0.
    beta1, beta2 : float
        0 ... 1, less than 1.
    epsilon : float
        At least 1e-30, which float32 has.
    weight_decay : float
        At least 0; biases do not decay.
    decoupled : bool
        AdamW: weights are multiplied by :math:`1 - \eta \cdot` `weight_decay` before the step.

    References
    ----------
    Kingma & Ba 2014, Adam, arXiv 1412.6980; Loshchilov & Hutter 2017, Decoupled weight decay
    regularization, arXiv 1711.05101; in the form of ``torch.optim.Adam`` and ``AdamW``.

    Examples
    --------
    >>> Adam(0.01).beta2
    0.999
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        set_part(self, "learning_rate", _as_rate(self.learning_rate))
        below_one = math.nextafter(1, 0)
        set_part(self, "beta1", as_number(self.beta1, "beta1", 0, below_one))
        set_part(self, "beta2", as_number(self.beta2, "beta2", 0, below_one))
        set_part(self, "epsilon", as_number(self.epsilon, "epsilon", SMALLEST, LARGEST))
        set_part(self, "weight_decay", as_number(self.weight_decay, "weight_decay", 0, LARGEST))
        set_part(self, "decoupled", as_flag(self.decoupled, "decoupled"))

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts


def AdamW(learning_rate: float = 1e-3, weight_decay: float = 0.01) -> Adam:
    """Return `Adam` with decoupled weight decay.

    Parameters
    ----------
    learning_rate, weight_decay : float
        See `Adam`.

    Returns
    -------
    Adam
        The optimizer.

    Examples
    --------
    >>> AdamW().decoupled
    True
    """
    return Adam(learning_rate, weight_decay=weight_decay, decoupled=True)


Optimizer = SGD | Adam


@dataclass(frozen=True)
class Schedule:
    r"""How the learning rate goes on, as a factor of the optimizer's.

    With T epochs, of which the first `warmup` raise it linearly, at epoch t (with fractions):

    - ``"constant"``: 1,
    - ``"step"``: ``factor ** floor(t / every)``,
    - ``"cosine"``: from 1 to `final` along half a cosine, over the epochs behind the warm-up.

    Parameters
    ----------
    kind : str
        One of these.
    warmup : float
        Epochs, at least 0.
    every : int
        Epochs of ``"step"``, at least 1.
    factor : float
        Factor of ``"step"``, above 0, at most 1.
    final : float
        Fraction that ``"cosine"`` ends at, 0 ... 1.

    References
    ----------
    Loshchilov & Hutter 2016, SGDR, arXiv 1608.03983 (cosine); Goyal et al. 2017, arXiv 1706.02677
    (warm-up).

    Examples
    --------
    >>> Schedule("step", every=2, factor=0.5).factors(0, 4, 4, 1).tolist()
    [1.0, 1.0, 0.5, 0.5]
    """

    kind: Literal["constant", "step", "cosine"] = "constant"
    warmup: float = 0.0
    every: int = 30
    factor: float = 0.1
    final: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        as_choice(self.kind, "kind", ("constant", "step", "cosine"))
        set_part(self, "warmup", as_number(self.warmup, "warmup", 0, LARGEST))
        set_part(self, "every", as_count(self.every, "every", 1))
        set_part(self, "factor", as_number(self.factor, "factor", math.nextafter(0, 1), 1))
        set_part(self, "final", as_number(self.final, "final", 0, 1))

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def factors(self, first: int, last: int, epochs: int, steps: int) -> NDArray[np.float64]:
        """Return the factor of each step of some epochs.

        Parameters
        ----------
        first, last : int
            Epochs, from 0, the last not included.
        epochs : int
            Epochs of the training.
        steps : int
            Steps of an epoch.

        Returns
        -------
        ((last - first) * steps,) float64
            The factors.

        Raises
        ------
        TypeError
            If an argument is not an integer.
        ValueError
            If there are no steps, or `last` is before `first`.
        """
        first = as_count(first, "first", 0)
        last = as_count(last, "last", first)
        epochs, steps = as_count(epochs, "epochs", 0), as_count(steps, "steps", 1)
        as_count(last * steps, "last * steps", 0)
        t = np.arange(first * steps, last * steps) / steps
        match self.kind:
            case "step":
                factor = self.factor ** np.floor(t / self.every)
            case "cosine":
                part = np.clip((t - self.warmup) / max(epochs - self.warmup, 1 / steps), 0, 1)
                factor = self.final + (1 - self.final) * (1 + np.cos(np.pi * part)) / 2
            case _:
                factor = np.ones_like(t)
        if self.warmup:
            factor = factor * np.minimum((t + 1 / steps) / self.warmup, 1)
        return factor


def _as_rate(rate: float) -> float:
    return as_number(rate, "learning_rate", math.nextafter(0, 1), LARGEST)
