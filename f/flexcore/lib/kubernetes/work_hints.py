# requirements: flexcore_base
"""What a Kubernetes request says about its work, for the choice of a runtime. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import dimensions, workloads


def derive_work_hints(request: Mapping[str, Any]) -> workloads.WorkHints:
    """Return the hints of a plain request. Raises ValueError for a cpu or memory that is no Kubernetes quantity."""
    cpu, memory = request.get("cpu"), request.get("memory")
    return workloads.WorkHints(
        complexity="complex",
        complexity_reason="a container of the caller's own",
        cpu=dimensions.parse_quantity(cpu) if cpu else None,
        memory_bytes=int(dimensions.parse_quantity(memory)) or None if memory else None,
        gpu=float(request.get("gpus") or 0) or None,
        containerized=True,
    )
