# requirements: flexcore_base
"""httpx without its command line: where click and rich are installed (a laptop), httpx imports them with itself, which
takes longer than all that a step imports besides."""

from __future__ import annotations

import sys
from typing import Any

COMMAND_LINE = "httpx._main"
_modules: dict[str, Any] = sys.modules
_is_ours = COMMAND_LINE not in _modules
if _is_ours:
    # What stands as None cannot be imported; httpx then does without.
    _modules[COMMAND_LINE] = None

import httpx  # noqa: E402

if _is_ours:
    del _modules[COMMAND_LINE]

__all__ = ["httpx"]
