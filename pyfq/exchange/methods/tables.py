"""Tables of settings, as TOML and JSON have them: which keys there are, and where a refusal was."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..._core.check import shown
from ..._core.grid import Granularity, PerGroup, PerRow, PerTensor
from ...errors import located

GRANULARITIES = {"tensor": PerTensor(), "row": PerRow()}

#: In place of a number of bits: as many as the budget of the recipe gives the tensor.
BUDGET = "budget"

#: What the settings of a method are tried on, so that the functions themselves say what they
#: accept.
SAMPLE = np.zeros((1, 1), np.float32)


def refuse_unknown(table: Any, allowed: Iterable[str]) -> None:
    """Raise ValueError if that is no table, or has a key that is not allowed."""
    if not isinstance(table, Mapping):
        raise ValueError(f"expected a table, not {shown(table)}")
    allowed = list(allowed)
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(allowed)}"
            raise ValueError(f"unknown key {shown(key)}, {hint}")


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Let a refusal, or a failure, say which part of a recipe or which tensor it is about."""
    try:
        with located(where):
            yield
    except (TypeError, ValueError) as e:
        raise ValueError(f"{where}: {e}") from e


def parse_granularity(table: Mapping[str, Any], default: Granularity) -> Granularity:
    """Return what the keys `per` and `group_size` say, of which one may be there."""
    if "group_size" in table:
        if "per" in table:
            raise ValueError("expected per or group_size, not both")
        return PerGroup(table["group_size"])
    if "per" not in table:
        return default
    if not isinstance(table["per"], str) or table["per"] not in GRANULARITIES:
        raise ValueError(f"per must be 'tensor' or 'row', not {shown(table['per'])}")
    return GRANULARITIES[table["per"]]


def granularity_settings(granularity: Granularity) -> dict[str, Any]:
    """Return the key and the value that say a granularity."""
    match granularity:
        case PerGroup(size):
            return {"group_size": size}
        case PerRow():
            return {"per": "row"}
    return {"per": "tensor"}


def granularity_words(granularity: Granularity) -> str:
    """Return a granularity in a few words."""
    if isinstance(granularity, PerGroup):
        return f"per {granularity.size}"
    return f"per {granularity_settings(granularity)['per']}"
