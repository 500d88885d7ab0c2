"""The command line of flexcore, and the client that it speaks to a Windmill with."""

from __future__ import annotations

import sys
from pathlib import Path

_CARRIED = Path(__file__).parent / "_bundle"
IS_INSTALLED = _CARRIED.is_dir()
# The bundle of this version. A wheel carries it inside, a checkout is it.
INSTALLED_ROOT = _CARRIED if IS_INSTALLED else Path(__file__).parents[1]

if IS_INSTALLED:
    # First: a repository on the path (`python -m flexcore` in it) may hold the library in another version.
    sys.path.insert(0, str(_CARRIED))
