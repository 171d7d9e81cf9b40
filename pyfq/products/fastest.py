"""Which form of a layer's weights is fastest on this machine, measured."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import FLOATS, as_count, as_input
from .._core.table import html_table
from .._core.text import array_text, object_text
from .._core.threads import get_num_threads
from ..arrays.half import Half
from ..arrays.prune import Pruned
from ..arrays.quantize import Quantized
from ..arrays.rate import RateQuantized
from ..formats.sparse import Sparse, to_sparse
from .linear import Prepared, as_activation_bits, linear, prepare

# Seconds that the measurement of a layer may take, and rounds that are enough.
PATIENCE = 0.8
ROUNDS = 15
# Weights of which more are nonzero are not tried as compressed rows.
MOST_DENSITY = 0.5

# The best times of the forms of each layer that this process has measured.
_measured: dict[tuple, dict[str, float]] = {}


@dataclass(frozen=True, eq=False)
class Fastest:
    """What `fastest` found.

    Attributes
    ----------
    form : str
        Name of the fastest form: "array", "prepared", "csr", "nm", "rows", "half", "quantized".
    weights : NDArray, Half, Quantized, Sparse or Prepared
        The weights in that form, for `linear`.
    reason : str
        The comparison in words.
    seconds : dict of str to float
        Best time of a call of `linear`, by form.
    """

    form: str
    weights: NDArray | Half | Quantized | Sparse | Prepared
    reason: str
    seconds: dict[str, float]

    def __repr__(self) -> str:
        """Return the form, the weights in it, and the times."""
        times = (f"{name} {1e6 * seconds:.3g} us" for name, seconds in self.seconds.items())
        return object_text(self, self.form, array_text(self.weights), *times)

    def _repr_html_(self) -> str:
        """Return a table of the times."""
        rows = [("form", "microseconds")]
        rows += [(name, f"{1e6 * seconds:.3g}") for name, seconds in self.seconds.items()]
        return html_table(f"fastest: {self.form}", rows)


def fastest(
    w: NDArray | Half | Pruned | Quantized | RateQuantized | Sparse,
    batch: int = 1,
    *,
    activation_bits: int | None = None,
) -> Fastest:
    """Measure the forms that a layer's weights can take, and return the fastest.

    Every form gives the results that `w` gives, up to the rounding of sums. Nothing else looks at
    what is found: `linear` uses the form it is given. Times of a layer are measured once for each
    shape, density, batch and number of threads, in about a second, and kept.

    Parameters
    ----------
    w : (out_features, in_features) array, Half, Pruned, Quantized, RateQuantized or Sparse
        Weights. Of pruned ones, also the sparse formats that hold them are tried. Entropy-coded
        ones are decoded once, and are "quantized".
    batch : int
        Rows of activations of a call, at least 1.
    activation_bits : 8 or None
        As `linear` takes it.

    Returns
    -------
    Fastest
        The form, the weights in it, the reason, and the times.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If `w` is empty or has not two axes, or an argument is out of range.

    References
    ----------
    Gale et al. 2020, Sparse GPU kernels for deep learning, arXiv 2006.10901: how sparse a matrix
    must be to be faster than the dense one depends on the kernels.

    Examples
    --------
    >>> w = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    >>> found = fastest(w, batch=16)
    >>> sorted(found.seconds)
    ['array', 'prepared']
    >>> y = linear(np.ones((16, 64), np.float32), found.weights)
    """
    batch = as_count(batch, "batch", 1)
    w = w.weights if isinstance(w, Pruned) else w
    w = w.to_quantized() if isinstance(w, RateQuantized) else w
    if not isinstance(w, Half | Quantized | Sparse):
        w = as_input(w, "w", FLOATS)
    if len(w.shape) != 2 or not w.size:
        raise ValueError(f"w must have 2 axes and entries, but its shape is {w.shape}")
    forms = _forms(w, batch, activation_bits)
    layer = (*_identity(w), batch, activation_bits, tuple(forms), _native.isa, get_num_threads())
    if layer not in _measured:
        _measured[layer] = _measure(forms, w, batch, activation_bits)
    seconds = _measured[layer]
    best = min(seconds, key=seconds.__getitem__)
    return Fastest(best, forms[best](), _reason(best, seconds, batch), dict(seconds))


def _forms(w: Any, batch: int, activation_bits: int | None) -> dict[str, Callable[[], Any]]:
    """Return what makes each form of the weights, by name; the form given comes first."""
    as_activation_bits(activation_bits, w)
    if isinstance(w, Half | Quantized):
        return {
            "half" if isinstance(w, Half) else "quantized": lambda: w,
            "prepared": lambda: prepare(w, activation_bits=activation_bits, batch=batch),
        }
    dense = w if isinstance(w, np.ndarray) else w.toarray()
    if activation_bits is not None:
        return {w.format if isinstance(w, Sparse) else "array": lambda: w}
    forms: dict[str, Callable[[], Any]] = {
        "array": lambda: dense,
        "prepared": lambda: prepare(dense, batch=batch),
    }
    return forms | {name: lambda s=s: s for name, s in _sparse_forms(w, dense).items()}


def _sparse_forms(w: Any, dense: NDArray) -> dict[str, Sparse]:
    found = {w.format: w} if isinstance(w, Sparse) else {}
    kept = dense != 0
    if "csr" not in found and kept.mean() <= MOST_DENSITY:
        found["csr"] = to_sparse(dense, "csr")
    if "rows" not in found and not kept.any(axis=1).all():
        found["rows"] = to_sparse(dense, "rows")
    groups = kept[:, : dense.shape[1] // 4 * 4].reshape(len(kept), -1, 4)
    if "nm" not in found and groups.sum(axis=2).max(initial=0) <= 2:
        found["nm"] = to_sparse(dense, "nm")
    return found


def _identity(w: Any) -> tuple:
    if isinstance(w, Quantized):
        return "quantized", w.shape, w.scale.dtype, w.bits, w.signed, w.granularity
    if isinstance(w, Half):
        return "half", w.shape, w.format
    density = np.count_nonzero(w) / w.size if isinstance(w, np.ndarray) else w.density
    return type(w).__name__, w.shape, w.dtype, round(density, 2)


def _measure(
    forms: dict[str, Callable[[], Any]], w: Any, batch: int, activation_bits: int | None
) -> dict[str, float]:
    """Return the best time of each form, all called in turn."""
    weights = {name: make() for name, make in forms.items()}
    dtype = w.scale.dtype if isinstance(w, Quantized) else w.dtype
    x = np.random.default_rng(0).standard_normal((batch, w.shape[1])).astype(dtype)
    y = np.empty((batch, w.shape[0]), dtype)
    seconds = dict.fromkeys(weights, np.inf)
    start = perf_counter()
    for done in range(1 + ROUNDS):
        for name, each in weights.items():
            before = perf_counter()
            linear(x, each, activation_bits=activation_bits, out=y)
            if done:  # the first starts threads and fills caches
                seconds[name] = min(seconds[name], perf_counter() - before)
        if done and perf_counter() - start > PATIENCE:
            break
    return seconds


def _reason(best: str, seconds: dict[str, float], batch: int) -> str:
    others = sorted((s, name) for name, s in seconds.items() if name != best)
    told = ", ".join(f"{name} {s / seconds[best]:.2f} times that" for s, name in others)
    rows = f"{batch} row{'s' * (batch > 1)}"
    alone = f"{best} takes {seconds[best] * 1e6:.1f} us for {rows}"
    return f"{alone}; {told}" if told else f"{alone}; it is the only form"
