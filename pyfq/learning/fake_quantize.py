"""Quantization-aware training: how weights are rounded while they are trained."""

from dataclasses import dataclass

from numpy.typing import NDArray

from .._core.check import as_count, shown
from .._core.frozen import reduce_to_parts, restore_parts, set_part
from .._core.grid import Granularity, PerGroup, PerRow
from ..arrays.quantize import Quantized, Scheme, code_rule, quantize


@dataclass(frozen=True)
class FakeQuantize:
    """Weights in training that are rounded as `quantize` rounds them.

    Products use the rounded weights; gradients pass through the rounding as if it were not there
    (straight-through) to weights that keep all their bits.

    Parameters
    ----------
    bits : int
        2 ... 8.
    scheme : str
        ``"symmetric"``, ``"affine"`` or ``"minmax"``.
    granularity : PerRow or PerGroup
        Which weights share a scale.

    References
    ----------
    Jacob et al. 2017, arXiv 1712.05877; Bengio et al. 2013, arXiv 1308.3432 (straight-through).

    Examples
    --------
    >>> import numpy as np
    >>> FakeQuantize(4).apply(np.array([[0.7, -0.2]])).codes
    array([[ 7, -2]], dtype=int8)
    """

    bits: int = 8
    scheme: Scheme = "symmetric"
    granularity: Granularity = PerRow()

    def __post_init__(self) -> None:
        """Refuse what weights can't be rounded to in training."""
        set_part(self, "bits", as_count(self.bits, "bits", 2, 8))
        code_rule(self.bits, self.scheme)
        if not isinstance(self.granularity, PerRow | PerGroup):
            raise TypeError(
                f"granularity must be PerRow() or PerGroup(n), not {shown(self.granularity)}"
            )

    __reduce__ = reduce_to_parts
    __setstate__ = restore_parts

    def apply(self, w: NDArray) -> Quantized:
        """Return quantized weights: those that training used.

        Parameters
        ----------
        w : (out_features, in_features) float32 or float64
            Weights.

        Returns
        -------
        Quantized
            Their codes and scales.
        """
        return quantize(w, self.bits, scheme=self.scheme, granularity=self.granularity)
