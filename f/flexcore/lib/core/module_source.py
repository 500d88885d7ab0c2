# requirements: flexcore_base
"""The source text of a module, to ship it by value to where the bundle is not."""

from __future__ import annotations

from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def module_source(module: ModuleType) -> str:
    """The module's text, from its loader: Windmill's import hook sets no `__file__`, which `inspect` would need."""
    return _read(module.__name__, module.__spec__)


def find_source(name: str) -> str:
    """The text of a module that is not imported for it: what it imports itself may not be here."""
    return _read(name, find_spec(name))


def _read(name: str, spec: ModuleSpec | None) -> str:
    loader = spec and spec.loader
    source = loader.get_source(name) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise RuntimeError(f"{name} was not loaded from a file")
    return source
