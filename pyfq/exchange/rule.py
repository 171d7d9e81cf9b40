"""What is done to the tensors of some names: a rule of a recipe, or an entry of a file.

Rules concern tensors of floats (F64, F32, F16, BF16) that are not empty; anything else, and what no
rule matches, is copied.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from .._core.check import shown
from ..io.dtypes import DTYPES
from .globs import fnmatchcase
from .methods.codebook import QuantizeCodebook, parse_codebook
from .methods.coded import Coded
from .methods.lossless import Lossless, parse_lossless
from .methods.lowrank import Factorize, parse_lowrank
from .methods.precision import Precision, check_precision
from .methods.prune import Prune, parse_prune
from .methods.quantize import Quantize, parse_quantize
from .methods.rate import QuantizeRate, parse_rate
from .methods.tables import BUDGET, placed
from .rows import Rows, check_rows, rows_of

#: The dtype words that can be compressed.
FLOAT_WORDS = ("F64", "F32", "F16", "BF16")

#: Those that can be packed besides, as they are.
BYTE_WORDS = tuple(word for word in DTYPES if word.startswith("F8_"))

# Methods that do not go together, and why.
_CLASHES = (
    ("quantize", "codebook", "both make codes"),
    ("quantize", "rate", "both make codes"),
    ("codebook", "rate", "both make codes"),
    ("lowrank", "codebook", "factors are floats, or codes of quantize"),
    ("lowrank", "rate", "factors are floats, or codes of quantize"),
    ("lowrank", "prune", "the product of two factors does not keep zeros"),
    ("quantize", "lossless", "what is stored is codes, not floats"),
    ("codebook", "lossless", "what is stored is codes, not floats"),
    ("rate", "lossless", "what is stored is codes, not floats"),
    ("lowrank", "lossless", "what is stored is factors"),
    ("quantize", "precision", "what is stored is codes, not floats"),
    ("codebook", "precision", "what is stored is codes, not floats"),
    ("rate", "precision", "what is stored is codes, not floats"),
)


@dataclass(frozen=True)
class Rule:
    """What becomes of the tensors that it matches.

    Parameters
    ----------
    match : tuple of str
        Globs (``*``, ``?``, ``[...]``, case-sensitive) of which one must match the whole name.
    prune : Prune, optional
        Applied first.
    quantize : Quantize, optional
        Applied to what pruning left; or to the factors of `lowrank`.
    ndim : int, optional
        Number of axes a tensor must have.
    min_ndim : int
        Axes a tensor must have at least. Of three and more, those of length 1 do not count:
        ``(1, 1, n)`` is a vector.
    min_size : int
        Entries a tensor must have.
    lowrank : Factorize, optional
        Makes two factors; not of what was pruned, whose zeros it would lose.
    codebook : QuantizeCodebook, optional
        Applied to what pruning left; not with `quantize` or `lowrank`.
    rate : QuantizeRate, optional
        Applied to what pruning left, then without a trellis; not with `quantize`, `codebook` or
        `lowrank`.
    lossless : Lossless, optional
        Packs floats of `precision`, or of what pruning left, back to the bit; not with codes or
        factors. Alone it takes floats of 8 bits as well.
    precision : "float64", "float32", "float16" or "bfloat16", optional
        What the tensor, or the factors of `lowrank`, are stored in; not with codes.
    rows : "first" or "leading", optional
        What is a row of tensors of three axes and more: ``(out, in, ...)`` is a matrix
        ``(out, in * ...)``, or ``(..., out, in)`` are matrices in a stack. If not given, name and
        shape tell, as `pyfq.exchange.rows.rows_of` has it.

    Raises
    ------
    TypeError
        If `match` is not a tuple of strings.
    ValueError
        If methods do not go together, or `rows` is neither.

    Examples
    --------
    >>> Rule(("*.weight",), quantize=Quantize(8), ndim=2).matches("a.weight", "F32", (4, 4))
    True
    >>> print(Rule(("*",), lowrank=Factorize(ratio=0.5), precision="bfloat16"))
    low rank, ratio 0.5 + bfloat16
    """

    match: tuple[str, ...]
    prune: Prune | None = None
    quantize: Quantize | None = None
    ndim: int | None = None
    min_size: int = 1
    lowrank: Factorize | None = field(default=None, kw_only=True)
    codebook: QuantizeCodebook | None = field(default=None, kw_only=True)
    precision: Precision | None = field(default=None, kw_only=True)
    min_ndim: int = field(default=0, kw_only=True)
    rows: Rows | None = field(default=None, kw_only=True)
    rate: QuantizeRate | None = field(default=None, kw_only=True)
    lossless: Lossless | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a bare string, whose characters would each be a glob, and methods that clash."""
        if not isinstance(self.match, tuple) or not all(isinstance(g, str) for g in self.match):
            raise TypeError(f"match must be a tuple of globs, not {shown(self.match)}")
        if self.precision is not None:
            check_precision(self.precision)
        if self.rows is not None:
            check_rows(self.rows)
        for one, other, reason in _CLASHES:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} do not go together: {reason}")
        if self.lowrank is not None and self.quantize is not None and self.quantize.bits == BUDGET:
            raise ValueError(f"quantize: bits of factors must be a number, not {BUDGET!r}")
        if self.prune is not None and self.rate is not None and self.rate.trellis is not None:
            raise ValueError(
                "prune and a trellis do not go together: half of its states have no code for 0; "
                "trellis must be None"
            )

    def matches(self, name: str, word: str, shape: Sequence[int]) -> bool:
        """Tell whether a tensor of this name, dtype word and shape is concerned."""
        return (
            self.takes(word)
            and math.prod(shape) > 0
            and self.why_not(shape) is None
            and self.glob_of(name) is not None
        )

    def takes(self, word: str) -> bool:
        """Tell whether tensors of a dtype word can be concerned."""
        return word in FLOAT_WORDS or (word in BYTE_WORDS and (self.copies or self.keeps_bits))

    def glob_of(self, name: str) -> str | None:
        """Return the first glob that matches a name."""
        return next((glob for glob in self.match if fnmatchcase(name, glob)), None)

    def why_not(self, shape: Sequence[int]) -> str | None:
        """Return why tensors of a shape are not concerned, if they are not."""
        long = sum(extent > 1 for extent in shape) if len(shape) > 2 else len(shape)
        if self.ndim not in (None, len(shape)):
            return _counted(len(shape), "axis", "axes")
        if long < self.min_ndim:
            return _counted(long, "axis", "axes") + (" longer than 1" if len(shape) > 2 else "")
        if math.prod(shape) < self.min_size:
            return f"fewer than {self.min_size} entries"
        return None

    @property
    def copies(self) -> bool:
        """Whether tensors stay as they are."""
        return not self._methods

    @property
    def keeps_bits(self) -> bool:
        """Whether it packs floats, and does nothing else to them."""
        return self.lossless is not None and self.prune is None and self.precision is None

    @property
    def asks_for_bits(self) -> bool:
        """Whether a budget has to say how many bits a code has, or how fine codes are."""
        if self.rate is not None:
            return self.rate.bits == BUDGET and self.rate.found is None
        codes = self.quantize or self.codebook
        return codes is not None and codes.bits == BUDGET

    @property
    def undecided(self) -> bool:
        """Whether only data tells what becomes of it: bits of a budget, a rank, bytes of codes."""
        streamed = self.rate or self.lossless
        if streamed is not None:
            return streamed.found is None
        return self.asks_for_bits or (self.lowrank is not None and self.lowrank.undecided)

    def for_tensor(self, name: str, shape: Sequence[int]) -> "Rule":
        """Return the rule with what name and shape tell of rows, unless it says that itself."""
        if self.rows is not None or len(shape) < 3:
            return self
        return replace(self, rows=rows_of(name, shape))

    @property
    def shrinks(self) -> bool:
        """Whether it is meant to make tensors smaller, by codes, factors or packing."""
        methods = (self.quantize, self.codebook, self.rate, self.lossless, self.lowrank)
        return any(method is not None for method in methods)

    def with_bits(self, bits: int) -> "Rule":
        """Return the rule with bits in place of those of a budget."""
        if self.quantize is not None:
            return replace(self, quantize=replace(self.quantize, bits=bits))
        return replace(self, codebook=replace(self.codebook, bits=bits))

    def with_rank(self, rank: int) -> "Rule":
        """Return the rule with the rank that what it asks for gives."""
        return replace(self, lowrank=replace(self.lowrank, rank=rank))

    def with_coded(self, coded: Coded) -> "Rule":
        """Return the rule with what the streams of `rate` or `lossless` turned out to be."""
        if self.lossless is not None:
            return replace(self, lossless=replace(self.lossless, found=coded))
        return replace(self, rate=replace(self.rate, found=coded))

    def settings(self) -> dict[str, Any]:
        """Return the rule in the words of a recipe."""
        settings: dict[str, Any] = {"match": list(self.match)}
        if self.ndim is not None:
            settings["ndim"] = self.ndim
        if self.min_ndim:
            settings["min_ndim"] = self.min_ndim
        if self.min_size > 1:
            settings["min_size"] = self.min_size
        if self.rows is not None:
            settings["rows"] = self.rows
        return settings | self.methods()

    def methods(self) -> dict[str, Any]:
        """Return what is done, without to which tensors."""
        return {
            key: method if key == "precision" else method.settings()
            for key, method in self._methods.items()
        }

    def __str__(self) -> str:
        """Return what is done in a few words."""
        return " + ".join(str(method) for method in self._methods.values()) or "copy"

    @property
    def _methods(self) -> dict[str, Any]:
        """What is done, in order."""
        keys = ("prune", "lowrank", "quantize", "codebook", "rate", "precision", "lossless")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def parse_methods(table: Mapping[str, Any], where: str, match: tuple[str, ...]) -> Rule:
    """Return the rule that does what the methods in `table` say to the tensors of a name."""
    parsers: dict[str, Callable[[Any], Any]] = {
        "prune": parse_prune,
        "lowrank": parse_lowrank,
        "quantize": parse_quantize,
        "codebook": parse_codebook,
        "rate": partial(parse_rate, pruned=table.get("prune") is not None),
        "precision": lambda word: word,
        "lossless": parse_lossless,
        "rows": lambda word: word,
    }
    methods = {}
    for key, parse in parsers.items():
        if table.get(key) is not None:
            with placed(f"{where}: {key}"):
                methods[key] = parse(table[key])
    with placed(where):
        return Rule(match, **methods)
