"""Ranges of activations, seen batch by batch (`fortran/arrays/fq_observer.f90`)."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._core.check import FLOATS, as_choice, as_count, as_input, as_number, shown
from .._core.grid import PerColumn, PerRow, PerTensor, granularity_text, grid_of
from .._core.text import object_text
from .._core.threads import get_num_threads
from .quantize import code_rule
from .ranges import Histogram, Signs, aciq_range, entropy_range, mse_range, percentile_range

Method = Literal["minmax", "ema", "percentile", "entropy", "mse", "aciq"]
Channels = PerTensor | PerRow | PerColumn

METHODS = ("minmax", "ema", "percentile", "entropy", "mse", "aciq")
WITH_BINS = METHODS[2:]
CHANNELS = {str(each): each for each in (PerTensor(), PerRow(), PerColumn())}
SETTINGS = ("method", "granularity", "bins", "percentile", "momentum")
# The version of files; it grows when their content changes.
VERSION = 1


@dataclass(frozen=True, eq=False)
class _Seen:
    """What an observer holds: of each channel its range and its histogram, if it has one."""

    dtype: np.dtype
    shape: tuple[int, ...]  # of parameters
    count: int  # entries of a channel
    low: NDArray[np.float64]  # (channels,)
    high: NDArray[np.float64]
    exponent: NDArray[np.int64]  # bins are 2**exponent wide
    counts: NDArray[np.int64]  # (channels, 2 * bins + 1), or (channels, 0)


class Observer:
    r"""The range of what passes, and the scale of its codes.

    An observer holds the number of entries seen, the least and the largest, and, for all methods
    but the first two, a histogram: counts of zeros, and of `bins` bins on each side of 0, of the
    width :math:`2^k` with the least k whose bins reach the largest magnitude seen. When that grows,
    neighbouring bins become one, exactly. So the same entries give the same observer, to the bit,
    in whatever order they came and were merged; only ``"ema"`` depends on the order by its nature.

    Parameters
    ----------
    method : str
        What gives the range of codes.

        - ``"minmax"``: the least and the largest value;
        - ``"ema"``: their exponential moving averages, a step an update;
        - ``"percentile"``: what holds `percentile` of the entries;
        - ``"entropy"``: the closest distribution of codes (Kullback-Leibler);
        - ``"mse"``: the least mean squared error;
        - ``"aciq"``: the normal or Laplace distribution that fits.
    granularity : PerTensor, PerRow or PerColumn
        What is observed together: all entries, each row, or each column.
    bins : int
        Bins on each side of 0, 64 ... 2**20, of which at least half are used.
    percentile : float, optional
        Used by ``"percentile"``: more than 0, at most 100 (default: 99.99).
    momentum : float, optional
        Used by ``"ema"``: weight of the range before, 0 ... 1 (default: 0.9).

    Attributes
    ----------
    method, granularity, bins, percentile, momentum
        As given; None if they are of another method.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range or does not go with the method.

    References
    ----------
    Migacz 2017, 8-bit inference with TensorRT, GTC (entropy); Banner et al. 2018, ACIQ, arXiv
    1810.05723; Jacob et al. 2017, arXiv 1712.05877, section 3.1 (ema).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> seen = Observer("mse")
    >>> for _ in range(10):
    ...     seen = seen.update(rng.standard_normal((64, 32), dtype=np.float32))
    >>> scale, zero_point = seen.scale(4)
    >>> round(float(7 * scale), 1)  # the best clip of a normal distribution is 2.47
    2.5
    >>> from pyfq import quantize
    >>> x = np.array([[0.1, -0.8, 2.0, 4.0]], np.float32)
    >>> quantize(x, 4, granularity=PerTensor(), scale=scale).codes
    array([[ 0, -2,  6,  7]], dtype=int8)
    """

    def __init__(
        self,
        method: Method = "minmax",
        granularity: Channels = PerTensor(),
        bins: int = 2048,
        *,
        percentile: float | None = None,
        momentum: float | None = None,
    ) -> None:
        as_choice(method, "method", METHODS)
        if not isinstance(granularity, Channels):
            raise TypeError(
                "granularity must be PerTensor(), PerRow() or PerColumn(), not "
                f"{shown(granularity)}"
            )
        self.method: Method = method
        self.granularity = granularity
        self.bins = as_count(bins, "bins", 64, 2**20)
        self.percentile = _option("percentile", percentile, 99.99, 100, method, "percentile")
        self.momentum = _option("momentum", momentum, 0.9, 1, method, "ema")
        if self.percentile == 0:
            raise ValueError("percentile must be more than 0")
        self._seen: _Seen | None = None

    @property
    def count(self) -> int:
        """Entries seen, of each row or column if these are observed."""
        return 0 if self._seen is None else self._seen.count

    @property
    def low(self) -> NDArray:
        """The least values seen (``"ema"``: their average), in the shape of the scale."""
        seen = self._something_seen()
        return seen.low.astype(seen.dtype).reshape(seen.shape)

    @property
    def high(self) -> NDArray:
        """The largest values seen (``"ema"``: their average), in the shape of the scale."""
        seen = self._something_seen()
        return seen.high.astype(seen.dtype).reshape(seen.shape)

    def __repr__(self) -> str:
        """Return the method, and what was seen."""
        granularity = self.granularity
        shared = "per column" if granularity == PerColumn() else granularity_text(granularity)
        if self._seen is None:
            return object_text(self, self.method, shared, "nothing seen")
        low, high = self._seen.low.min(), self._seen.high.max()
        seen = f"{self.count} entries"
        return object_text(self, self.method, shared, seen, f"{low:.6g} ... {high:.6g}")

    def update(self, x: NDArray) -> Self:
        """See the entries of an array.

        Parameters
        ----------
        x : (..., cols) float32 or float64
            Finite values, of the dtype of earlier updates; for `PerRow` also of their leading axes,
            for `PerColumn` of their last axis. An empty array changes nothing.

        Returns
        -------
        Observer
            This one.

        Raises
        ------
        TypeError
            If `x` is not an array of that dtype.
        ValueError
            If `x` has another shape, is not C-contiguous, or holds NaN or Inf; then it is as if it
            had not come.

        Examples
        --------
        >>> seen = Observer().update(np.array([0.5, -1.0])).update(np.array([[2.0]]))
        >>> seen.count, seen.low, seen.high
        (3, array(-1.), array(2.))
        """
        x = as_input(x, "x", FLOATS)
        shape, rows = _by_row(x, self.granularity)
        if self._seen is not None:
            as_input(x, "x", (self._seen.dtype,))
            _refuse_shape(x, shape, self._seen.shape, self.granularity)
        if not x.size:
            return self
        seen = self._nothing(x.dtype, shape) if self._seen is None else self._seen
        by_column = isinstance(self.granularity, PerColumn)
        if self.method in WITH_BINS:
            low, high = count_bins(x, rows, by_column, seen.exponent, seen.counts)
            exponent = exponents(np.maximum(-low, high), self.bins, x.dtype)
            if np.any(exponent > seen.exponent):  # then nothing was counted
                seen = _coarser(seen, np.maximum(exponent, seen.exponent))
                count_bins(x, rows, by_column, seen.exponent, seen.counts)
        else:
            low, high = find_ranges(x, rows, by_column, seen.low.size)
        if self.method == "ema" and seen.count:
            low = self.momentum * seen.low + (1 - self.momentum) * low
            high = self.momentum * seen.high + (1 - self.momentum) * high
        else:
            low, high = np.minimum(seen.low, low), np.maximum(seen.high, high)
        count = seen.count + x.size // low.size
        self._seen = replace(seen, count=count, low=low, high=high)
        return self

    def merge(self, other: "Observer") -> Self:
        """See what another observer saw.

        ``a.merge(b)`` makes a what it were had it seen all that b saw, to the bit: ranks observe
        what they have, and one merges them in any order.

        Parameters
        ----------
        other : Observer
            One with the same settings, and of the same dtype and channels if both have seen
            something. It stays as it is.

        Returns
        -------
        Observer
            This one.

        Raises
        ------
        TypeError
            If `other` is not an `Observer`, or has seen another dtype.
        ValueError
            If settings or channels differ. If the method is ``"ema"``: an average that depends on
            the order of updates is not that of two sequences whose order is unknown.

        Examples
        --------
        >>> a, b = Observer("entropy"), Observer("entropy")
        >>> _ = a.update(np.array([1.0, 2.0])), b.update(np.array([100.0]))
        >>> a.merge(b)
        Observer(entropy, per tensor, 3 entries, 1 ... 100)
        """
        if not isinstance(other, Observer):
            raise TypeError(f"other must be an Observer, not {type(other).__name__}")
        for name in SETTINGS:
            if getattr(self, name) != getattr(other, name):
                raise ValueError(
                    f"other must have {name}={getattr(self, name)!r}, not {getattr(other, name)!r}"
                )
        if self.method == "ema":
            raise ValueError(
                "observers of method 'ema' do not merge: it depends on the order of all updates"
            )
        theirs, ours = other._seen, self._seen
        if theirs is None or ours is None:
            self._seen = ours if theirs is None else replace(theirs, counts=theirs.counts.copy())
            return self
        if theirs.dtype != ours.dtype:
            raise TypeError(f"other must have seen {ours.dtype}, not {theirs.dtype}")
        if theirs.shape != ours.shape:
            raise ValueError(f"other must have channels {ours.shape}, not {theirs.shape}")
        exponent = np.maximum(ours.exponent, theirs.exponent)
        self._seen = replace(
            ours,
            count=ours.count + theirs.count,
            low=np.minimum(ours.low, theirs.low),
            high=np.maximum(ours.high, theirs.high),
            exponent=exponent,
            counts=_coarser(ours, exponent).counts + _coarser(theirs, exponent).counts,
        )
        return self

    def clip_range(self, bits: int = 8, scheme: Signs = "symmetric") -> tuple[NDArray, NDArray]:
        """Return the least and the largest value that codes are to stand for.

        Parameters
        ----------
        bits : int
            Bits of a code: 2 ... 16, for affine codes 1 ... 16.
        scheme : "symmetric" or "affine"
            As in `quantize`. Symmetric ranges have ends of equal magnitude.

        Returns
        -------
        low, high : arrays of the dtype seen, in the shape of the scale
            No magnitude is larger than what was seen.

        Raises
        ------
        TypeError
            If `bits` is not an integer.
        ValueError
            If an argument is out of range, or there are not enough bins for it; if nothing was
            seen.

        Examples
        --------
        >>> seen = Observer("percentile", percentile=50.0).update(np.arange(1.0, 101.0))
        >>> seen.clip_range()
        (array(-50.0625), array(50.0625))
        """
        as_choice(scheme, "scheme", ("symmetric", "affine"))
        bits = as_count(bits, "bits", 1 if scheme == "affine" else 2, 16)
        seen = self._something_seen()
        if self.method in WITH_BINS:
            found = [self._range(part, bits, scheme) for part in _histograms(seen)]
            low, high = np.array(found).T
        elif scheme == "affine":
            low, high = seen.low, seen.high
        else:
            high = np.maximum(-seen.low, seen.high)
            low = 0.0 - high
        return tuple(end.astype(seen.dtype).reshape(seen.shape) for end in (low, high))

    def scale(self, bits: int = 8, scheme: Signs = "symmetric") -> tuple[NDArray, NDArray | None]:
        """Return scale and zero point as `quantize` takes them.

        Those that `quantize` would find if what it is given reached from one end of `clip_range` to
        the other. So ``"minmax"`` gives what `quantize` does for all entries at once, to the bit.

        Parameters
        ----------
        bits, scheme
            As in `clip_range`.

        Returns
        -------
        scale : array of the dtype seen
            ``()`` for `PerTensor`, ``(..., 1)`` for `PerRow`, ``(cols,)`` for `PerColumn`.
        zero_point : array of uint8, for more than 8 bits uint16, in the shape of `scale`; or None
            Zero points of affine codes.

        Raises
        ------
        TypeError, ValueError
            As `clip_range`.

        Examples
        --------
        >>> seen = Observer().update(np.array([-0.5, 2.05]))
        >>> seen.scale(8, "affine")
        (array(0.01), array(50, dtype=uint8))
        """
        low, high = (end.reshape(-1) for end in self.clip_range(bits, scheme))
        scale, minimum = np.empty_like(low), np.empty_like(low)
        zeros = np.empty(low.shape, np.int32)
        _native.call(
            "quantize_step",
            _native.KIND[low.dtype],
            low,
            high,
            np.where(-low > high, low, high),
            code_rule(bits, scheme),
            scale,
            zeros,
            minimum,
        )
        shape = self._something_seen().shape
        zero_point = zeros.astype(np.uint8 if bits <= 8 else np.uint16).reshape(shape)
        return scale.reshape(shape), zero_point if scheme == "affine" else None

    def histogram(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return counts and edges of bins, as `numpy.histogram` does.

        The bin in the middle counts zeros and has no width; on its right bins are closed on their
        left, as NumPy's are, on its left on their right.

        Returns
        -------
        counts : (..., 2 * bins + 1) int64
            Behind the axes of the scale, but for its axis of length 1 of `PerRow`.
        edges : (..., 2 * bins + 2) float64
            From the left to the right.

        Raises
        ------
        ValueError
            If the method has no histogram, or nothing was seen.

        Examples
        --------
        >>> counts, edges = Observer("mse", bins=64).update(np.array([0.0, 1.0, 1.0])).histogram()
        >>> counts[counts > 0], edges[:-1][counts > 0]
        (array([1, 2]), array([0., 1.]))
        """
        if self.method not in WITH_BINS:
            raise ValueError(f"method {shown(self.method)} has no histogram")
        seen = self._something_seen()
        bins = np.arange(self.bins + 1.0)
        with np.errstate(over="ignore"):  # beyond the largest number is inf
            edges = np.concatenate([0.0 - bins[::-1], bins]) * np.ldexp(1.0, seen.exponent)[:, None]
        shape = seen.shape[:-1] if isinstance(self.granularity, PerRow) else seen.shape
        return seen.counts.reshape(*shape, -1).copy(), edges.reshape(*shape, -1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that is held to an npz file, atomically.

        Equal observers give equal files.

        Parameters
        ----------
        path : str or os.PathLike
            The target, under exactly this name; replaced when all is written.

        Raises
        ------
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = pathlib.Path(directory, "fc1.npz")
        ...     Observer("mse").update(np.array([0.5, -1.0])).save(path)
        ...     Observer.load(path)
        Observer(mse, per tensor, 2 entries, -1 ... 0.5)
        """
        # Here, as in `load`: programs without files need not wait 16 ms for `pyfq.io`.
        from ..io import write_npz

        fields, tensors = self._parts()
        text = np.frombuffer(json.dumps(fields).encode(), np.uint8)
        write_npz(path, {"observer": text} | tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        Observer
            As it was saved; it can be updated and merged.

        Raises
        ------
        pyfq.io.FormatError
            If the file is not one of `save`, is damaged, or contradicts itself.
        OSError
            If it cannot be opened.
        """
        from ..io import FormatError, open_npz
        from ..io.strict_json import parse_object

        with open_npz(path) as file:
            if file.dtypes.get("observer") != "U8":
                raise FormatError(path, "expected a file of Observer.save")
            fields = parse_object(file["observer"].tobytes(), path, "observer")
            arrays = {name: file[name] for name in file if name != "observer"}
        try:
            return _loaded(cls, fields, arrays)
        except (TypeError, ValueError) as error:
            raise FormatError(path, str(error)) from error

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """Return all that is held, as `_loaded` takes it: what a file and a pickle hold."""
        fields = {"version": VERSION} | {name: getattr(self, name) for name in SETTINGS}
        fields["granularity"] = str(self.granularity)
        if self._seen is None:
            return fields, {}
        seen = self._seen
        fields |= {"dtype": str(seen.dtype), "shape": list(seen.shape), "count": seen.count}
        return fields, {name: getattr(seen, name) for name in ("low", "high", "exponent", "counts")}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what is held; it is checked when it comes back."""
        return _loaded, (type(self), *self._parts())

    def _something_seen(self) -> _Seen:
        if self._seen is None:
            raise ValueError("the observer has seen nothing: call update first")
        return self._seen

    def _nothing(self, dtype: np.dtype, shape: tuple[int, ...]) -> _Seen:
        """Return what is held of channels before the first entry."""
        channels = math.prod(shape)
        places = 2 * self.bins + 1 if self.method in WITH_BINS else 0
        return _Seen(
            dtype,
            shape,
            0,
            np.full(channels, math.inf),
            np.full(channels, -math.inf),
            np.full(channels, np.finfo(dtype).minexp, np.int64),
            np.zeros((channels, places), np.int64),
        )

    def _range(self, seen: Histogram, bits: int, scheme: Signs) -> tuple[float, float]:
        match self.method:
            case "percentile":
                return percentile_range(seen, scheme, self.percentile)
            case "entropy":
                return entropy_range(seen, scheme, bits)
            case "mse":
                return mse_range(seen, scheme, bits)
        return aciq_range(seen, scheme, bits)


def find_ranges(
    x: NDArray, rows: int, by_column: bool, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest value of each channel.

    Parameters
    ----------
    x : (...) float32 or float64
        Not empty.
    rows : int
        How many x is seen as.
    by_column : bool
        Whether columns are channels, and not rows.
    channels : int
        How many there are.

    Returns
    -------
    low, high : (channels,) float64
        The ranges.

    Raises
    ------
    ValueError
        If `x` holds NaN or Inf.
    """
    low, high = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    _native.call(
        "find_ranges",
        _native.KIND[x.dtype],
        x.reshape(rows, -1),
        by_column,
        low,
        high,
        get_num_threads(),
        inputs={"x": x},
    )
    return low.astype(np.float64), high.astype(np.float64)


def count_bins(
    x: NDArray, rows: int, by_column: bool, exponent: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add entries to the counts of their bins, if all lie in bins, and return their ranges.

    Parameters
    ----------
    x : (...) float32 or float64
        Not empty.
    rows : int
        How many x is seen as.
    by_column : bool
        Whether columns are channels, and not rows.
    exponent : (channels,) int64
        Bins are ``2.0**exponent`` wide.
    counts : (channels, 2 * bins + 1) int64
        What is added to: entry ``bins`` counts zeros, entry ``bins + 1 + t`` what lies in ``[t, t +
        1)`` widths, entry ``bins - 1 - t`` the same of the other sign.

    Returns
    -------
    low, high : (channels,) float64
        The least and the largest value of each channel.

    Raises
    ------
    ValueError
        If `x` holds NaN or Inf; nothing is counted then.
    """
    low, high = np.empty(exponent.size, x.dtype), np.empty(exponent.size, x.dtype)
    _native.call(
        "count_bins",
        _native.KIND[x.dtype],
        x.reshape(rows, -1),
        by_column,
        np.ldexp(x.dtype.type(1), -exponent),
        counts,
        low,
        high,
        get_num_threads(),
        inputs={"x": x},
    )
    return low.astype(np.float64), high.astype(np.float64)


def exponents(peak: NDArray[np.float64], bins: int, dtype: np.dtype) -> NDArray[np.int64]:
    """Return the least k with ``peak < bins * 2**k``, of a normal number of `dtype`.

    Parameters
    ----------
    peak : (channels,) float64
        Largest magnitudes.
    bins : int
        Bins on one side of 0.
    dtype : float32 or float64
        Dtype of the data.

    Returns
    -------
    (channels,) int64
        The exponents.
    """
    fraction, power = np.frexp(peak)
    fraction_of_bins, power_of_bins = math.frexp(bins)
    least = np.finfo(dtype).minexp
    needed = power - power_of_bins + (fraction >= fraction_of_bins)
    return np.where(peak > 0, np.maximum(needed, least), least).astype(np.int64)


def _coarser(seen: _Seen, exponent: NDArray[np.int64]) -> _Seen:
    """Return the same with wider bins: each is what 1, 2, 4, ... neighbours were."""
    counts = seen.counts.copy()
    bins = counts.shape[1] // 2
    shift = np.minimum(exponent - seen.exponent, bins.bit_length())
    for each in np.unique(shift[shift > 0]) if bins else ():
        starts = np.arange(0, bins, 1 << each)
        part = np.zeros_like(counts[shift == each])
        part[:, bins] = counts[shift == each, bins]
        for new, old in ((part, counts), (part[:, ::-1], counts[:, ::-1])):
            beside = old[shift == each, bins + 1 :]
            new[:, bins + 1 : bins + 1 + starts.size] = np.add.reduceat(beside, starts, axis=1)
        counts[shift == each] = part
    return replace(seen, exponent=exponent, counts=counts)


def _histograms(seen: _Seen) -> list[Histogram]:
    widths = np.ldexp(1.0, seen.exponent).tolist()
    ends = zip(seen.low.tolist(), seen.high.tolist(), strict=True)
    return [
        Histogram(counts, width, *pair)
        for counts, width, pair in zip(seen.counts, widths, ends, strict=True)
    ]


def _by_row(x: NDArray, granularity: Channels) -> tuple[tuple[int, ...], int]:
    """Return the shape of the parameters, and how many rows the array is seen as."""
    if isinstance(granularity, PerColumn):
        if not x.ndim:
            raise ValueError("x must have at least one axis for PerColumn(), but its shape is ()")
        return x.shape[-1:], math.prod(x.shape[:-1])
    grid = grid_of(x.shape, granularity)
    return grid.parameter_shape, grid.rows


def _refuse_shape(
    x: NDArray, shape: tuple[int, ...], before: tuple[int, ...], granularity: Channels
) -> None:
    if shape != before:
        axes = "last axis" if isinstance(granularity, PerColumn) else "leading axes"
        size = before if isinstance(granularity, PerColumn) else before[:-1]
        raise ValueError(f"x must have the {axes} {size} as before, but its shape is {x.shape}")


def _option(
    name: str, given: Any, default: float, most: float, method: str, owner: str
) -> float | None:
    if method == owner:
        return as_number(default if given is None else given, name, 0, most)
    if given is not None:
        raise ValueError(f"{name} is of method {shown(owner)}, not {shown(method)}")
    return None


def _loaded(cls: type[Observer], fields: dict[str, Any], arrays: Mapping[str, NDArray]) -> Observer:
    """Return the observer that a file describes; ValueError or TypeError if none is like that."""
    if fields.get("version") != VERSION:
        raise ValueError(f"expected version {VERSION}, not {shown(fields.get('version'))}")
    wanted = {"version", *SETTINGS} | ({"dtype", "shape", "count"} if arrays else set())
    if set(fields) != wanted:
        raise ValueError(f"expected the fields {sorted(wanted)}, not {sorted(fields)}")
    word = fields["granularity"]
    if word not in CHANNELS:
        raise ValueError(f"granularity must be one of {', '.join(CHANNELS)}, not {shown(word)}")
    settings = {name: fields[name] for name in ("method", "bins", "percentile", "momentum")}
    observer = cls(granularity=CHANNELS[word], **settings)
    if arrays:
        observer._seen = _checked(observer, fields, arrays)
    return observer


def _checked(observer: Observer, fields: dict[str, Any], arrays: Mapping[str, NDArray]) -> _Seen:
    """Return what a file says was seen, if an observer can have come to it."""
    dtype = np.dtype({str(np.dtype(t)): t for t in FLOATS}.get(fields["dtype"], np.void))
    if dtype not in _native.KIND:
        raise ValueError(f"dtype must be float32 or float64, not {shown(fields['dtype'])}")
    if not isinstance(fields["shape"], list):
        raise TypeError(f"shape must be a list, not {shown(fields['shape'])}")
    shape = tuple(as_count(n, "shape", 1) for n in fields["shape"])
    channels = math.prod(shape)
    places = 2 * observer.bins + 1 if observer.method in WITH_BINS else 0
    wanted = {
        "low": (np.float64, (channels,)),
        "high": (np.float64, (channels,)),
        "exponent": (np.int64, (channels,)),
        "counts": (np.int64, (channels, places)),
    }
    if set(arrays) != set(wanted):
        raise ValueError(f"expected the arrays {sorted(wanted)}, not {sorted(arrays)}")
    found = {
        name: as_input(arrays[name], name, (kind,), size).copy()
        for name, (kind, size) in wanted.items()
    }
    seen = _Seen(dtype, shape, as_count(fields["count"], "count", 1), **found)
    peak = np.maximum(-seen.low, seen.high)
    if not np.all((seen.low <= seen.high) & (peak < math.inf)):
        raise ValueError("low must be at most high, and both finite")
    if observer.method in WITH_BINS:
        if np.any(seen.exponent != exponents(peak, observer.bins, dtype)):
            raise ValueError("exponent must be that of low and high")
        if np.any(seen.counts < 0) or np.any(seen.counts.sum(axis=1) != seen.count):
            raise ValueError(f"counts must be at least 0, and their sums {seen.count}")
    return seen
