"""Compress a model tensor by tensor: what each becomes, and how far that is from the original."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfq.convert import cast_from, cast_to
from pyfq.distortion import distortion
from pyfq.io.dtypes import carrier_shape, nbytes_of, word_of
from pyfq.recipes import layout
from pyfq.recipes.recipe import Recipe, Rule

# What `pyfq.convert` calls the words that NumPy cannot compute with, and their largest numbers.
_NARROW = {"F16": ("float16", 65504.0), "BF16": ("bfloat16", 255 * 2.0**120)}


@dataclass(frozen=True)
class TensorPlan:
    """What becomes of a tensor, known before its data.

    Attributes
    ----------
    name, word, shape
        The tensor: name, dtype word of safetensors, shape.
    rule : Rule or None
        The rule that decides; None if the tensor is copied.
    format : str
        "copy", "dense", or a format of `pyfq.recipes.layout`.
    parts : dict of str to (str, tuple of int)
        Dtype word and shape of each tensor of the file that it becomes.
    """

    name: str
    word: str
    shape: tuple[int, ...]
    rule: Rule | None
    format: str
    parts: layout.Declaration

    @property
    def nbytes(self) -> int:
        """Bytes before."""
        return nbytes_of(self.word, self.shape)

    @property
    def nbytes_after(self) -> int:
        """Bytes of all parts."""
        return sum(nbytes_of(word, shape) for word, shape in self.parts.values())

    @property
    def bits_per_weight(self) -> float:
        """Bits of all parts, scales and zero points included, per entry; 0 if there is none."""
        size = math.prod(self.shape)
        return 8 * self.nbytes_after / size if size else 0.0


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed tensor.

    Attributes
    ----------
    plan : TensorPlan
        What was to be done.
    parts : dict of str to NDArray
        The arrays that the plan declares.
    zeros : float
        Fraction of the entries that are zero now; nan for a copy.
    sqnr : float
        Signal-to-noise ratio against the original in dB, inf without error; nan for a copy.
    cosine : float
        Cosine against the original; nan for a copy.
    max_abs : float
        Largest error; nan for a copy.
    """

    plan: TensorPlan
    parts: dict[str, NDArray]
    zeros: float = math.nan
    sqnr: float = math.nan
    cosine: float = math.nan
    max_abs: float = math.nan


def plan(
    words: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    recipe: Recipe,
    *,
    dense: bool = False,
) -> list[TensorPlan]:
    """Return what becomes of each tensor.

    Parameters
    ----------
    words : mapping of str to str
        Dtype word of each tensor, as `pyfq.io.Checkpoint.dtypes` has it.
    shapes : mapping of str to sequence of int
        Shape of each tensor.
    recipe : Recipe
        What is to be done.
    dense : bool
        Whether quantized tensors become floats again, under their own name and dtype.

    Raises
    ------
    ValueError
        If two tensors would have the same name in the file.

    Examples
    --------
    >>> from pyfq.recipes import Quantize, Recipe, Rule
    >>> recipe = Recipe((Rule(("*",), quantize=Quantize(4)),))
    >>> [tensor] = plan({"a.weight": "F32"}, {"a.weight": (8, 64)}, recipe)
    >>> tensor.format, tensor.parts["a.weight_packed"]
    ('pack-quantized', ('I32', (8, 8)))
    """
    plans = []
    owners: dict[str, str] = {}
    for name, word in words.items():
        shape = tuple(shapes[name])
        rule = recipe.rule_for(name, word, shape)
        parts: layout.Declaration = {name: (word, shape)}
        if rule is None or rule.copies:
            rule, kind = None, "copy"
        elif dense or rule.quantize is None:
            kind = "dense"
        else:
            kind = layout.format_of(name, shape, rule.quantize)
            parts = layout.declare(name, word, shape, rule.quantize)
        for part in parts:
            if part in owners:
                raise ValueError(f"tensors {owners[part]!r} and {name!r} would both write {part!r}")
            owners[part] = name
        plans.append(TensorPlan(name, word, shape, rule, kind, parts))
    return plans


def compress(
    tensors: Mapping[str, NDArray],
    recipe: Recipe,
    *,
    words: Mapping[str, str] | None = None,
    dense: bool = False,
) -> Iterator[Compressed]:
    """Compress a model, one tensor at a time.

    Parameters
    ----------
    tensors : mapping of str to NDArray
        The model; a lazy one, such as `pyfq.io.open_checkpoint` returns, is read tensor by tensor.
    recipe : Recipe
        What is to be done.
    words : mapping of str to str, optional
        Dtype word of each tensor, needed where arrays carry bits (BF16 in uint16).
    dense : bool
        Whether quantized tensors become floats again, under their own name and dtype.

    Yields
    ------
    Compressed
        Each tensor, in the order of the mapping.

    Raises
    ------
    ValueError
        If a tensor cannot be compressed as asked; the message names it and the reason.

    Examples
    --------
    >>> from pyfq.recipes import Quantize, Recipe, Rule
    >>> recipe = Recipe((Rule(("*.weight",), quantize=Quantize(8)),))
    >>> model = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.ones(2, np.float32)}
    >>> for tensor in compress(model, recipe):
    ...     print(tensor.plan.format, list(tensor.parts))
    int-quantized ['a.weight_scale', 'a.weight']
    copy ['a.bias']
    """
    if words is None:
        words = {name: _word_of(name, array) for name, array in tensors.items()}
    shapes = {name: tensors[name].shape for name in tensors}
    for tensor in plan(words, shapes, recipe, dense=dense):
        yield compress_tensor(tensor, tensors[tensor.name])


def compress_tensor(tensor: TensorPlan, array: NDArray) -> Compressed:
    """Do what a plan says to the tensor's array.

    Raises
    ------
    ValueError
        If the tensor cannot be compressed as asked; the message names it and the reason.
    """
    rule = tensor.rule
    if rule is None:
        return Compressed(tensor, {tensor.name: array})
    with _naming(tensor.name):
        # Every `del` here is for the peak of memory: a few times the tensor, not ten times.
        v = w = _widen(array, tensor.word)
        del array
        quantized = None
        if rule.prune is not None:
            v = rule.prune.apply(w).weights
        if rule.quantize is not None:
            quantized = rule.quantize.apply(v)
            # Pruned weights are not needed any more, and are ours: so is their memory.
            v = quantized.dequantize(out=None if v is w else v)
        if tensor.format == "dense":
            quantized = None
            parts = {tensor.name: _narrow(v, tensor.word)}
            v = _widen(parts[tensor.name], tensor.word, out=v)
        error = distortion(w, v)
        zeros = 1 - np.count_nonzero(v) / v.size
        del w, v
        if quantized is not None and rule.quantize is not None:
            parts = layout.encode(tensor.name, quantized, rule.quantize)
        return Compressed(tensor, parts, zeros, error.sqnr, error.cosine, error.max_abs)


def decompress_tensor(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> NDArray:
    """Return a quantized tensor as the floats that it stands for, in the dtype it had.

    Parameters
    ----------
    tensor : TensorPlan
        What became of it.
    parts : mapping of str to NDArray
        The arrays that the plan declares.

    Returns
    -------
    NDArray
        The bits of that dtype, as `pyfq.io` carries them: to the bit what `compress` writes with
        ``dense=True``.

    Raises
    ------
    ValueError
        A part is missing or has another dtype or shape than declared.
    """
    if tensor.rule is None or tensor.rule.quantize is None or tensor.format == "dense":
        return parts[tensor.name]
    quantized = layout.decode(tensor.name, tensor.shape, tensor.rule.quantize, parts)
    return _narrow(quantized.dequantize(), tensor.word)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Let a refusal say which tensor it is about."""
    try:
        yield
    except (TypeError, ValueError) as e:
        raise ValueError(f"tensor {name!r} cannot be compressed as asked: {e}") from e


def _widen(array: NDArray, word: str, out: NDArray | None = None) -> NDArray:
    """Return a tensor as the float32 or float64 that the kernels take."""
    if word not in _NARROW:
        return array
    return cast_from(array.view(np.uint16), _NARROW[word][0], out=out)


def _narrow(values: NDArray, word: str) -> NDArray:
    """Return floats in the dtype of the word; what is beyond its largest number becomes that."""
    if word not in _NARROW:
        return values
    to, largest = _NARROW[word]
    bits = cast_to(np.clip(values, -largest, largest, out=values), to)
    return bits.view(np.float16) if word == "F16" else bits


def _word_of(name: str, array: NDArray) -> str:
    word = word_of(array.dtype)
    if word is None or carrier_shape(word, array.shape) != array.shape:
        raise ValueError(f"tensor {name!r}: safetensors has no word for dtype {array.dtype}")
    return word
