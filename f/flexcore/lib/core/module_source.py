# requirements: flexcore_base
"""The source text of a module, to ship it by value to where the bundle is not."""

from __future__ import annotations

from importlib.abc import InspectLoader
from types import ModuleType


def module_source(module: ModuleType) -> str:
    """The module's text. Windmill's import hook sets no `__file__`, so its loader is asked and not `inspect`."""
    loader = module.__spec__ and module.__spec__.loader
    source = loader.get_source(module.__name__) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise RuntimeError(f"{module.__name__} was not loaded from a file")
    return source
