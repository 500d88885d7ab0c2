"""The engine's own environment, as the threads of its runs read it."""

from __future__ import annotations

import os


def copy_environment() -> dict[str, str]:
    """What is set now. Another thread may drop a name meanwhile, and a copy of `os.environ` then raises KeyError."""
    return {name: value for name in list(os.environ) if (value := os.environ.get(name)) is not None}
