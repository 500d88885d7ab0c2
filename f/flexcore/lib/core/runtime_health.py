# requirements: flexcore_base
"""The health of one runtime, and what it can take on now. What could not be measured is None. Pure.

ready    work can be sent to it
limited  work can be sent, but something it may need is missing (a right, free resources, a tool that is not installed)
down     it does not answer, or refuses
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ready", "limited", "down"]


@dataclass(frozen=True, slots=True)
class Health:
    """cpus in cores, memory in bytes; queue: all work that waits or runs there now; detail: what is wrong and what to
    do about it; capabilities: what it can do, for programs."""

    runtime: str
    place: str
    state: State
    version: str | None = None
    cpus_free: float | None = None
    cpus_total: float | None = None
    gpus_free: float | None = None
    memory_free: float | None = None
    queue: int | None = None
    detail: str = ""
    capabilities: dict[str, Any] | None = None
