"""What a row of a tensor is: the weights of one output, whatever the number of axes.

Of one axis the tensor is one row, of two it is the matrix ``(out, in)``. Of three and more it is
one of two things, which a rule of a recipe can say, and which name and shape tell otherwise:

| ``rows`` | tensor | matrix | is |
|---|---|---|---|
| ``"first"`` | ``(out, in, ...)`` | ``(out, in * ...)`` | a kernel of a convolution |
| ``"leading"`` | ``(..., out, in)`` | ``(... * out, in)`` | matrices in a stack: experts, heads |

Nothing is transposed: a row is contiguous in memory. So a transposed convolution
``(in, out, kh, kw)`` has a row for each input, and so have experts stored ``(experts, in, out)``.
"""

import re
from collections.abc import Sequence
from math import prod
from typing import Any, Literal

from .._core.check import as_choice

Rows = Literal["first", "leading"]

ROWS: tuple[Rows, ...] = ("first", "leading")

#: The longest last axis that is taken for one of a kernel where the name tells nothing. Kernels are
#: rarely longer, the inputs of a matrix rarely fewer.
LONGEST_KERNEL = 32

# What the parts of a name say; the last one in it is the nearest to the tensor.
_KERNELS, _STACKS = r"conv(?!er)", r"expert|_exps\b|(?<![a-z])moe(?![a-z])|switch_mlp"
_SIGN = re.compile(f"(?P<kernel>{_KERNELS})|{_STACKS}", re.IGNORECASE)


def check_rows(rows: Any) -> None:
    """Raise ValueError if that is no way to count rows."""
    as_choice(rows, "rows", ROWS)


def rows_of(name: str, shape: Sequence[int]) -> Rows:
    """Return what the rows of a tensor are where no rule says it.

    Parameters
    ----------
    name : str
        Its name. ``conv`` in it says that it is a kernel, ``expert``, ``_exps``, ``moe`` or
        ``switch_mlp`` that it is a stack; of several the last.
    shape : sequence of int
        Its shape. Three axes of a name that says nothing are a kernel ``(out, in, width)`` if the
        last is at most 32 or the middle one is 1, else a stack. Four and more are a kernel, unless
        the name says stack and the last axis is longer than 32.

    Examples
    --------
    >>> rows_of("features.0.weight", (64, 3, 7, 7)), rows_of("mixer.conv1d.weight", (1536, 1, 4))
    ('first', 'first')
    >>> rows_of("mlp.experts.down_proj", (8, 512, 128)), rows_of("heads", (12, 64, 768))
    ('leading', 'leading')
    """
    if len(shape) < 3:
        return "leading"
    are_kernels = [match["kernel"] is not None for match in _SIGN.finditer(name)]
    long = shape[-1] > LONGEST_KERNEL
    if len(shape) > 3:
        return "leading" if are_kernels and not are_kernels[-1] and long else "first"
    is_kernel = are_kernels[-1] if are_kernels else not long or shape[1] == 1
    return "first" if is_kernel else "leading"


def matrix_shape(shape: Sequence[int], rows: Rows | None) -> tuple[int, ...]:
    """Return the shape that kernels of `pyfq` take a tensor in; the last axis runs along a row.

    Stacks keep their axes, for every axis but the last counts rows there, too.

    Examples
    --------
    >>> matrix_shape((64, 3, 7, 7), "first"), matrix_shape((8, 512, 128), "leading")
    ((64, 147), (8, 512, 128))
    """
    if rows == "first" and len(shape) > 2:
        return (shape[0], prod(shape[1:]))
    return tuple(shape)
