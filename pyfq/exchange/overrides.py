"""What a subclass or an instance does in another way than the class that an importer knows."""

from collections.abc import Collection, Iterable
from typing import Any

# What each class has of its own without a change of what its instances compute.
_OF_EVERY_CLASS = {
    "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__",
    "__annotations_cache__", "__dict__", "__doc__", "__firstlineno__", "__init__", "__module__",
    "__orig_bases__", "__parameters__", "__qualname__", "__repr__", "__static_attributes__",
    "__weakref__", "_abc_impl",
}  # fmt: skip


def overrides(
    instance: Any, kind: type, harmless: Collection[str] = (), used: Iterable[str] = ()
) -> list[str]:
    """Return the names of `kind` that an instance, or its class, has replaced.

    The methods of `kind` find on an instance what `kind` and its bases define and what the instance
    holds. So a subclass that only adds names computes what `kind` does.

    Parameters
    ----------
    instance : object
        An instance of `kind` or of a subclass.
    kind : type
        The class whose methods are known.
    harmless : collection of str
        Names that what is asked of the instance does not use.
    used : iterable of str
        Names that the methods of `kind` look up besides those that are found.

    Returns
    -------
    list of str
        Sorted; empty if the instance does what `kind` says.

    Examples
    --------
    >>> class Loud(dict):
    ...     def __getitem__(self, key):
    ...         return "LOUD"
    >>> overrides(Loud(), dict)
    ['__getitem__']
    """
    ignored = _OF_EVERY_CLASS | set(harmless)
    known = set(dir(kind))
    own = vars(instance).keys() if hasattr(instance, "__dict__") else set()
    found = known & own
    for cls in type(instance).__mro__:
        if cls not in kind.__mro__:
            found |= vars(cls).keys() & (known | own | set(used))
    return sorted(found - ignored)
