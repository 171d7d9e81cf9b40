"""Compress a model tensor by tensor: what each becomes, and how far that is from the original."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyfq._core.check import shown
from pyfq.arrays.distortion import distortion
from pyfq.io.dtypes import carrier_shape, nbytes_of, word_of
from pyfq.recipes import forms, layout
from pyfq.recipes.decide import decide, examine, naming, refuse_budget, undecided
from pyfq.recipes.floats import narrow, widen
from pyfq.recipes.recipe import Recipe, Rule


@dataclass(frozen=True)
class TensorPlan:
    """What becomes of a tensor, known before its data.

    Attributes
    ----------
    name, word, shape
        The tensor: name, dtype word of safetensors, shape.
    rule : Rule or None
        The rule that decides, with what is a row of the tensor; None if the tensor is copied.
    format : str
        "copy", "dense", or a format of `pyfq.recipes.forms` or `pyfq.recipes.layout`.
    parts : dict of str to (str, tuple of int)
        Dtype word and shape of each tensor of the file that it becomes.
    reason : str
        Why it is copied, in a few words; empty if it is not, or if that is not known.
    kept : bool
        Whether it is copied though a rule with a method decides, which would not make it smaller.
    """

    name: str
    word: str
    shape: tuple[int, ...]
    rule: Rule | None
    format: str
    parts: layout.Declaration
    reason: str = ""
    kept: bool = False

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
    decided: Mapping[str, Rule] | None = None,
) -> list[TensorPlan]:
    """Return what becomes of each tensor.

    What codes or factors would not make smaller, scales and all counted, is copied; `TensorPlan`
    says why.

    Parameters
    ----------
    words : mapping of str to str
        Dtype word of each tensor, as `pyfq.io.Checkpoint.dtypes` has it.
    shapes : mapping of str to sequence of int
        Shape of each tensor.
    recipe : Recipe
        What is to be done.
    dense : bool
        Whether compressed tensors become floats again, under their own name and dtype.
    decided : mapping of str to Rule, optional
        The rules of those tensors that `undecided` names, as `decide` returns them.

    Raises
    ------
    ValueError
        If two tensors would have the same name in the file; if only the data tells what becomes of
        one, and it is not in `decided`; if one is to be factorized and is no matrix.

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
        rule = (decided or {}).get(name) or recipe.rule_for(name, word, shape)
        if rule is None or rule.copies:
            tensor = _copy(name, word, shape, recipe.why_copied(name, word, shape))
        else:
            tensor = _plan_one(name, word, shape, rule, dense=dense)
        for part in tensor.parts:
            if part in owners:
                raise ValueError(
                    f"tensors {shown(owners[part])} and {shown(name)} would both write "
                    f"{shown(part)}"
                )
            owners[part] = name
        plans.append(tensor)
    return plans


def _plan_one(
    name: str, word: str, shape: tuple[int, ...], rule: Rule, *, dense: bool
) -> TensorPlan:
    with naming(name):
        if rule.undecided:
            raise ValueError("its rule leaves a rank or bits open: `decided` must have it")
        rule = forms.with_rank(shape, rule)
        parts = forms.declare(name, word, shape, rule)
        reason = forms.why_no_gain(word, shape, rule, parts)
    if reason is not None:
        return replace(_copy(name, word, shape, reason), kept=True)
    if dense:
        return TensorPlan(name, word, shape, rule, forms.DENSE, {name: (word, shape)})
    return TensorPlan(name, word, shape, rule, forms.format_of(name, word, shape, rule), parts)


def _copy(name: str, word: str, shape: tuple[int, ...], reason: str) -> TensorPlan:
    return TensorPlan(name, word, shape, None, "copy", {name: (word, shape)}, reason)


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
        The model; a lazy one, such as `pyfq.io.open_checkpoint` returns, is read tensor by tensor:
        twice, if the recipe has a budget, or asks for ranks by energy or tolerance.
    recipe : Recipe
        What is to be done.
    words : mapping of str to str, optional
        Dtype word of each tensor, needed where arrays carry bits (BF16 in uint16).
    dense : bool
        Whether compressed tensors become floats again, under their own name and dtype.

    Yields
    ------
    Compressed
        Each tensor, in the order of the mapping.

    Raises
    ------
    ValueError
        If a tensor cannot be compressed as asked; the message names it and the reason. If a budget
        is too small; the message says which would do.

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
    refuse_budget(words, shapes, recipe)
    findings = {
        name: examine(name, words[name], tensors[name], rule, recipe.budget)
        for name, rule in undecided(words, shapes, recipe).items()
    }
    decided = decide(words, shapes, recipe, findings)
    for tensor in plan(words, shapes, recipe, dense=dense, decided=decided):
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
    with naming(tensor.name):
        # Every `del` here is for the peak of memory: a few times the tensor, not ten times.
        v = w = forms.by_rows(widen(array, tensor.word), rule)
        del array
        if rule.prune is not None:
            v = forms.prune(w, tensor.shape, rule)
        form = forms.make(v, tensor.word, rule)
        # Pruned weights are not needed any more, and are ours: so is their memory.
        v = forms.reals(form, tensor.word, rule, out=None if v is w else v)
        if tensor.format == forms.DENSE:
            del form
            form = narrow(v, tensor.word, out=v)
            v = widen(form, tensor.word, out=v)
        error = distortion(w, v)
        zeros = 1 - np.count_nonzero(v) / v.size
        del w, v
        parts = (
            {tensor.name: form.reshape(tensor.shape)}
            if tensor.format == forms.DENSE
            else forms.encode(tensor.name, tensor.word, tensor.shape, form, rule)
        )
        return Compressed(tensor, parts, zeros, error.sqnr, error.cosine, error.max_abs)


def restore_tensor(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> forms.Form:
    """Return a compressed tensor in the form it has: `Quantized`, `Codebook`, `LowRank`, or array.

    That of a kernel ``(out, in, ...)`` whose rows are those of its first axis is of the matrix
    ``(out, in * ...)``.

    Parameters
    ----------
    tensor : TensorPlan
        What became of it.
    parts : mapping of str to NDArray
        The arrays that the plan declares.

    Raises
    ------
    ValueError
        A part is missing or has another dtype or shape than declared.
    """
    if tensor.rule is None or tensor.format == forms.DENSE:
        return parts[tensor.name]
    return forms.decode(tensor.name, tensor.word, tensor.shape, tensor.rule, parts)


def decompress_tensor(tensor: TensorPlan, parts: Mapping[str, NDArray]) -> NDArray:
    """Return a compressed tensor as the floats that it stands for, in the dtype it had.

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
        ``dense=True``. For factors that holds on one level of `pyfq.isa`: another may add up their
        product in another order.

    Raises
    ------
    ValueError
        A part is missing or has another dtype or shape than declared.
    """
    form = restore_tensor(tensor, parts)
    if tensor.rule is None or tensor.format == forms.DENSE:
        return form
    values = forms.reals(form, tensor.word, tensor.rule)
    # Floats that are stored as float32 are those of the file, which are read-only.
    values = narrow(values, tensor.word, out=None if values is form else values)
    return values.reshape(tensor.shape)


def _word_of(name: str, array: NDArray) -> str:
    word = word_of(array.dtype)
    if word is None or carrier_shape(word, array.shape) != array.shape:
        raise ValueError(f"tensor {shown(name)}: safetensors has no word for dtype {array.dtype}")
    return word
