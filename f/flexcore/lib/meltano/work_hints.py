# requirements: flexcore_base
"""What a Meltano request says about its work, for the choice of a runtime. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import workloads


def derive_work_hints(request: Mapping[str, Any]) -> workloads.WorkHints:
    """Return the hints of a plain request: one tap into its target is simple, more are complex."""
    taps = request.get("taps") or []
    if len(taps) == 1:
        return workloads.WorkHints(complexity="simple", complexity_reason="one tap into one target")
    return workloads.WorkHints(complexity="complex", complexity_reason=f"{len(taps)} taps")
