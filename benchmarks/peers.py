"""Libraries to compare with, where they are installed."""

import importlib
from types import ModuleType


def module(name: str) -> ModuleType | None:
    """Return a module, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


torch = module("torch")
