"""What a rule can do to a tensor, each with its settings in the words of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyfq._core.check import as_choice, as_count, shown
from pyfq._core.grid import Granularity, PerGroup, PerRow, PerTensor
from pyfq.arrays.calibrate import Calibration
from pyfq.arrays.codebook import Codebook, Initialization, quantize_codebook
from pyfq.arrays.prune import Pruned, prune_nm, prune_percentile, prune_ratio, prune_threshold
from pyfq.arrays.quantize import Quantized, Rounding, Scheme, quantize
from pyfq.products.lowrank import LowRank, Method, rank_of_ratio, svd_lowrank
from pyfq.recipes.stack import LowRankStack, matrices

Levels = str | tuple[float, ...]

PRUNERS = {"ratio": prune_ratio, "percentile": prune_percentile, "threshold": prune_threshold}
GRANULARITIES = {"tensor": PerTensor(), "row": PerRow()}

#: How a rank is asked for.
RANKS = ("rank", "ratio", "energy", "tolerance")

#: In place of a number of bits: as many as the budget of the recipe gives the tensor.
BUDGET = "budget"

#: What shares a scale unless something else is asked for: an outlier then costs its group, not its
#: row, for a quarter of a bit; of a codebook of 4 bits, half a bit, as bitsandbytes has it.
GROUPS = PerGroup(128)
CODEBOOK_GROUPS = PerGroup(64)

# What the settings of a rule are tried on, so that the functions themselves say what they accept.
_SAMPLE = np.zeros((1, 1), np.float32)


@dataclass(frozen=True)
class Prune:
    """How a tensor is pruned.

    Parameters
    ----------
    method : "ratio", "percentile", "threshold" or "nm"
        Which of `pyfq.prune_ratio`, `pyfq.prune_percentile`, ...
    amount : float, or (n, m) for "nm"
        Its argument.
    granularity : PerTensor, PerRow or PerGroup
        What is ranked together; not for "nm".
    along : "row" or "channels"
        What blocks of "nm" run along in a kernel ``(out, in, kh, kw)``: its row of in * kh * kw
        entries, as they lie in memory; or the channels ``in`` at each place of the kernel, as
        NVIDIA's sparse tensor cores and apex.contrib.sparsity have it. Of matrices both are the
        row.

    Raises
    ------
    TypeError, ValueError
        If that function refuses the settings.

    Examples
    --------
    >>> Prune("ratio", 0.5).settings()
    {'ratio': 0.5, 'per': 'tensor'}
    >>> print(Prune("nm", (2, 4), along="channels"))
    2:4 along channels
    """

    method: Literal["ratio", "percentile", "threshold", "nm"]
    amount: float | tuple[int, int]
    granularity: Granularity = GRANULARITIES["tensor"]
    along: Literal["row", "channels"] = field(default="row", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if self.method not in (*PRUNERS, "nm"):
            raise ValueError(f"method must be one of {[*PRUNERS, 'nm']}, not {shown(self.method)}")
        as_choice(self.along, "along", ("row", "channels"))
        if self.along != "row" and self.method != "nm":
            raise ValueError(f"along is of nm, not of {self.method}")
        self.apply(_SAMPLE)

    def apply(self, w: NDArray, out: NDArray | None = None) -> Pruned:
        """Prune one array, whose rows lie along its last axis; into `out`, to be written to."""
        if self.method == "nm":
            n, m = self.amount
            return prune_nm(w, n, m, out=out)
        return PRUNERS[self.method](w, self.amount, granularity=self.granularity, out=out)

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        if self.method == "nm":
            n, m = self.amount
            return {"nm": f"{n}:{m}"} | ({} if self.along == "row" else {"along": self.along})
        return {self.method: self.amount} | _granularity_settings(self.granularity)

    def __str__(self) -> str:
        """Return the settings in a few words."""
        if self.method == "nm":
            n, m = self.amount
            return f"{n}:{m}" + ("" if self.along == "row" else f" along {self.along}")
        return f"{self.method} {self.amount:g} {_granularity_words(self.granularity)}"


@dataclass(frozen=True)
class Quantize:
    """How a tensor is quantized; see `pyfq.quantize`.

    Parameters
    ----------
    bits : int or "budget"
        Its argument; or as many as the budget of the recipe gives the tensor.
    scheme, granularity, rounding, range, seed, calibration, percentile
        Its arguments.
    scale : "absmax", "absmax_half", "signed_max", optional
        A convention; of scheme symmetric.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.quantize` refuses the settings.

    Examples
    --------
    >>> print(Quantize(4, "affine", PerGroup(64)))
    int4 affine per 64
    >>> Quantize(8).settings()["group_size"]
    128
    """

    bits: int | Literal["budget"] = 8
    scheme: Scheme = "symmetric"
    granularity: Granularity = GROUPS
    rounding: Rounding = "half_even"
    range: Literal["narrow", "full"] = "narrow"
    scale: Literal["absmax", "absmax_half", "signed_max"] | None = None
    seed: int | None = None
    calibration: Calibration = "minmax"
    percentile: float | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if self.scale is not None and not isinstance(self.scale, str):
            raise TypeError(f"scale must be the name of a convention, not {shown(self.scale)}")
        (replace(self, bits=8) if self.bits == BUDGET else self).apply(_SAMPLE)

    def apply(self, w: NDArray) -> Quantized:
        """Quantize one array."""
        return quantize(
            w,
            self.bits,
            scheme=self.scheme,
            granularity=self.granularity,
            rounding=self.rounding,
            range=self.range,
            scale=self.scale,
            seed=self.seed,
            calibration=self.calibration,
            percentile=self.percentile,
        )

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        settings = {"bits": self.bits, "scheme": self.scheme}
        settings |= _granularity_settings(self.granularity)
        settings |= {"rounding": self.rounding, "range": self.range}
        optional = {"scale": self.scale, "seed": self.seed, "percentile": self.percentile}
        if self.calibration != "minmax":
            optional["calibration"] = self.calibration
        return settings | {key: value for key, value in optional.items() if value is not None}

    def __str__(self) -> str:
        """Return the settings in a few words."""
        bits = " of the budget" if self.bits == BUDGET else self.bits
        words = f"int{bits} {self.scheme} {_granularity_words(self.granularity)}"
        if self.calibration != "minmax":
            words += f" {self.calibration}"
        return words if self.percentile is None else f"{words} {self.percentile:g}"


@dataclass(frozen=True)
class QuantizeCodebook:
    """How a tensor is quantized to the levels of a table; see `pyfq.quantize_codebook`.

    Parameters
    ----------
    levels : "nf4", "fp4", "log2", "lloyd", or tuple of float
        The table, which that function calls codebook; numbers ascend, 2 ... 256 of them.
    bits : int or "budget", optional
        Bits of a code: 4 if not given, for "log2" 2 ... 8, for "lloyd" 1 ... 8, or as many as the
        budget of the recipe gives the tensor. Of numbers as many as they need, and not to be given.
    granularity, initialization, seed, iterations, calibration, scale_bits
        Its arguments.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.quantize_codebook` refuses the settings.

    Examples
    --------
    >>> print(QuantizeCodebook("lloyd", 3, PerRow()))
    lloyd 3 bits per row
    >>> print(QuantizeCodebook("nf4", calibration="mse", scale_bits=8))
    nf4 per 64 mse, scales of 8 bits
    >>> QuantizeCodebook((-1.0, 0.0, 1.0)).width
    2
    """

    levels: Levels = "nf4"
    bits: int | Literal["budget"] | None = None
    granularity: Granularity = CODEBOOK_GROUPS
    initialization: Initialization = "kmeans++"
    seed: int = 0
    iterations: int = 300
    calibration: Literal["absmax", "mse"] = "absmax"
    scale_bits: int | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        if not isinstance(self.levels, str | tuple):
            raise TypeError(
                f"levels must be a name or a tuple of numbers, not {shown(self.levels)}"
            )
        if isinstance(self.levels, tuple):
            if not all(type(x) in (int, float) for x in self.levels):
                raise TypeError(f"levels must be numbers, not {shown(self.levels)}")
            if self.bits is not None:
                raise ValueError("bits must not be given with levels: they need so many as they do")
        if self.bits == BUDGET and self.levels not in ("log2", "lloyd"):
            raise ValueError(
                f"bits must not be {BUDGET!r} for levels {shown(self.levels)}, which has 4"
            )
        as_count(self.seed, "seed", 0)
        as_count(self.iterations, "iterations", 1)
        (replace(self, bits=4) if self.bits == BUDGET else self).apply(_SAMPLE)

    def apply(self, w: NDArray) -> Codebook:
        """Quantize one array."""
        table = np.array(self.levels, w.dtype) if isinstance(self.levels, tuple) else self.levels
        return quantize_codebook(
            w,
            table,
            self.width,
            granularity=self.granularity,
            calibration=self.calibration,
            scale_bits=self.scale_bits,
            initialization=self.initialization,
            seed=self.seed,
            iterations=self.iterations,
        )

    @property
    def width(self) -> int:
        """Bits of a code."""
        if isinstance(self.levels, tuple):
            return max((len(self.levels) - 1).bit_length(), 1)
        if self.bits == BUDGET:
            raise ValueError("bits are those of a budget, which are not known yet")
        return 4 if self.bits is None else self.bits

    @property
    def count(self) -> int:
        """Levels of the table."""
        if isinstance(self.levels, tuple):
            return len(self.levels)
        most = 2**self.width
        return most - 1 if self.levels in ("fp4", "log2") else most

    @property
    def fits(self) -> bool:
        """Whether the table is fitted to the weights."""
        return self.levels == "lloyd"

    @property
    def scaled(self) -> bool:
        """Whether there are scales; tables fitted per tensor or row are of weights themselves."""
        return not self.fits or isinstance(self.granularity, PerGroup)

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        named = isinstance(self.levels, str)
        settings: dict[str, Any] = {"levels": self.levels if named else list(self.levels)}
        if self.bits is not None:
            settings["bits"] = self.bits
        settings |= _granularity_settings(self.granularity)
        if self.calibration != "absmax":
            settings["calibration"] = self.calibration
        if self.scale_bits is not None:
            settings["scale_bits"] = self.scale_bits
        if self.fits:
            settings |= {"initialization": self.initialization, "seed": self.seed}
            settings["iterations"] = self.iterations
        return settings

    def __str__(self) -> str:
        """Return the settings in a few words."""
        words = self.levels if isinstance(self.levels, str) else f"{len(self.levels)} levels"
        if self.levels in ("log2", "lloyd"):
            words += " bits of the budget" if self.bits == BUDGET else f" {self.width} bits"
        words += f" {_granularity_words(self.granularity)}"
        if self.calibration != "absmax":
            words += f" {self.calibration}"
        return words if self.scale_bits is None else f"{words}, scales of {self.scale_bits} bits"


@dataclass(frozen=True)
class Factorize:
    """How a matrix becomes a product of two; see `pyfq.svd_lowrank`.

    Parameters
    ----------
    rank, ratio, energy, tolerance : optional
        Its arguments; one is given. A rank beside one of the others is the rank that it gives: any
        other is refused.
    method, seed
        Its arguments.
    residual : Quantize, optional
        How what the product lacks is quantized, after the factors took the form they are stored in.

    Raises
    ------
    TypeError, ValueError
        If `pyfq.svd_lowrank` refuses the settings.

    Examples
    --------
    >>> Factorize(ratio=0.5).for_shape((1536, 384)).rank
    153
    >>> print(Factorize(32, residual=Quantize(2, "affine")))
    low rank 32 + residual int2 affine per 128
    """

    rank: int | None = None
    ratio: float | None = None
    energy: float | None = None
    tolerance: float | None = None
    method: Method = "exact"
    seed: int = 0
    residual: Quantize | None = None

    def __post_init__(self) -> None:
        """Refuse what the function would refuse."""
        asked = self._asked
        if len(asked) > 1:
            raise ValueError(f"one of {', '.join(RANKS)} must be given, not {' and '.join(asked)}")
        if self.rank is not None:
            as_count(self.rank, "rank", 1)
        if self.residual is not None and not isinstance(self.residual, Quantize):
            raise TypeError(f"residual must be a Quantize, not {type(self.residual).__name__}")
        if self.residual is not None and self.residual.bits == BUDGET:
            raise ValueError(f"residual: bits must be a number, not {BUDGET!r}")
        rank = None if asked else 1 if self.rank is not None else None
        svd_lowrank(_SAMPLE, rank, **asked, method=self.method, seed=self.seed)

    @property
    def undecided(self) -> bool:
        """Whether only the data tells the rank."""
        return self.rank is None and self.ratio is None

    def for_shape(self, shape: tuple[int, ...]) -> "Factorize":
        """Return the same with its rank, for matrices of a shape, if that is known."""
        if self.rank is None and self.ratio is not None and len(shape) > 1:
            return replace(self, rank=rank_of_ratio(*shape[-2:], self.ratio))
        return self

    def rank_for(self, w: NDArray) -> int:
        """Return the rank of a matrix; of a stack the largest that one of its matrices needs."""
        return max(self.apply(matrix).rank for matrix in matrices(w))

    def apply_to_stack(self, w: NDArray) -> LowRankStack:
        """Factorize each matrix of a stack, all to the rank of this, without the residual."""
        of_rank = replace(self, ratio=None, energy=None, tolerance=None)
        low = [of_rank.apply(matrix) for matrix in matrices(w)]
        u, v = (np.stack([getattr(one, factor) for one in low]) for factor in ("u", "v"))
        stack = w.shape[:-2]
        return LowRankStack(u.reshape(*stack, *u.shape[1:]), v.reshape(*stack, *v.shape[1:]))

    def apply(self, w: NDArray) -> LowRank:
        """Factorize one matrix, without the residual."""
        asked = self._asked
        rank = None if asked else self.rank
        low = svd_lowrank(w, rank, **asked, method=self.method, seed=self.seed)
        if self.rank not in (None, low.rank):
            told = " and ".join(f"{name} {value}" for name, value in asked.items())
            raise ValueError(f"{told} gives rank {low.rank}, not {self.rank}")
        return low

    def settings(self) -> dict[str, Any]:
        """Return the settings in the words of a recipe."""
        ranks = {} if self.rank is None else {"rank": self.rank}
        settings: dict[str, Any] = ranks | self._asked
        if self.method != "exact":
            settings |= {"method": self.method, "seed": self.seed}
        if self.residual is not None:
            settings["residual"] = self.residual.settings()
        return settings

    def __str__(self) -> str:
        """Return the settings in a few words."""
        words = "low rank"
        if self.rank is not None:
            words += f" {self.rank}"
        else:
            words += "".join(f", {name} {value:g}" for name, value in self._asked.items())
        return words if self.residual is None else f"{words} + residual {self.residual}"

    @property
    def _asked(self) -> dict[str, float]:
        """What the rank follows from, but for itself."""
        asked = {"ratio": self.ratio, "energy": self.energy, "tolerance": self.tolerance}
        return {name: value for name, value in asked.items() if value is not None}


#: What a tensor of floats can be stored in, with the word of safetensors for it.
PRECISIONS: Mapping[str, str] = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
}  # fmt: skip

Precision = Literal["float64", "float32", "float16", "bfloat16"]


def check_precision(precision: Any) -> None:
    """Raise ValueError if there is no such precision."""
    as_choice(precision, "precision", tuple(PRECISIONS))


def _granularity_settings(granularity: Granularity) -> dict[str, Any]:
    match granularity:
        case PerGroup(size):
            return {"group_size": size}
        case PerRow():
            return {"per": "row"}
    return {"per": "tensor"}


def _granularity_words(granularity: Granularity) -> str:
    if isinstance(granularity, PerGroup):
        return f"per {granularity.size}"
    return f"per {_granularity_settings(granularity)['per']}"
