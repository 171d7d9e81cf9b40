"""What becomes of each tensor of a model, by a recipe, before any data is read."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from pyfq._core.check import shown
from pyfq.exchange.methods.tables import placed
from pyfq.exchange.rows import matrix_shape
from pyfq.exchange.rule import Rule
from pyfq.exchange.stored import TensorPlan, copied, declare, dense_tensor
from pyfq.products.lowrank import break_even_rank
from pyfq.recipes.recipe import Recipe


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
    plans = plan_each(words, shapes, recipe, dense=dense, decided=decided)
    clash = clash_of(plans)
    if clash is not None:
        raise ValueError(clash)
    return plans


def plan_each(
    words: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    recipe: Recipe,
    *,
    dense: bool = False,
    decided: Mapping[str, Rule] | None = None,
) -> list[TensorPlan]:
    """Return what becomes of each tensor, as `plan` does, whether or not names clash."""
    plans = []
    for name, word in words.items():
        shape = tuple(shapes[name])
        rule = (decided or {}).get(name) or recipe.rule_for(name, word, shape)
        if rule is None or rule.copies:
            tensor = copied(name, word, shape, recipe.why_copied(name, word, shape))
        else:
            with naming(name):
                tensor = plan_tensor(name, word, shape, rule, dense=dense)
        plans.append(tensor)
    return plans


def clash_of(plans: Iterable[TensorPlan]) -> str | None:
    """Return which two tensors would write one name, if there are two."""
    owners: dict[str, str] = {}
    for tensor in plans:
        for part in tensor.parts:
            if part in owners:
                return (
                    f"tensors {shown(owners[part])} and {shown(tensor.name)} would both write "
                    f"{shown(part)}"
                )
            owners[part] = tensor.name
    return None


def plan_tensor(
    name: str, word: str, shape: tuple[int, ...], rule: Rule, *, dense: bool = False
) -> TensorPlan:
    """Return what becomes of a tensor by a rule with a method: a copy where that is no larger.

    Raises
    ------
    ValueError
        If only the data tells what becomes of it; if it is to be factorized and is no matrix.
    """
    if rule.undecided:
        raise ValueError("its rule leaves a rank or bits open: `decided` must have it")
    tensor = declare(name, word, shape, rule)
    reason = why_no_gain(tensor)
    if reason is not None:
        return replace(copied(name, word, shape, reason), kept=True)
    return dense_tensor(name, word, shape, tensor.rule) if dense else tensor


def why_no_gain(tensor: TensorPlan) -> str | None:
    """Return why a tensor is better copied: codes or factors would take no less of anything."""
    if tensor.rule.lowrank is not None:
        rows, cols = matrix_shape(tensor.shape, tensor.rule.rows)[-2:]
        rank, most = tensor.rule.lowrank.rank, break_even_rank(rows, cols)
        if rank > most:
            advice = f"the largest rank that saves is {most}" if most else "no rank saves any"
            return f"rank {rank} takes no fewer multiplications than {rows} x {cols}: {advice}"
    before, after = tensor.nbytes, tensor.nbytes_after
    if not tensor.rule.shrinks or after < before:
        return None
    if after == before:
        return f"would stay at {before} bytes"
    return f"would grow from {before} to {after} bytes"


def open_rules(
    words: Mapping[str, str], shapes: Mapping[str, Sequence[int]], recipe: Recipe
) -> dict[str, Rule]:
    """Return the tensors whose data must be seen before it is known what they become.

    Parameters
    ----------
    words, shapes : mapping of str to str, to sequence of int
        Dtype word and shape of each tensor.
    recipe : Recipe
        What is to be done.
    """
    rules = {name: recipe.rule_for(name, word, shapes[name]) for name, word in words.items()}
    return {name: rule for name, rule in rules.items() if rule is not None and rule.undecided}


def naming(name: str) -> AbstractContextManager[None]:
    """Let a refusal say which tensor it is about."""
    return placed(f"tensor {shown(name)} cannot be compressed as asked")
