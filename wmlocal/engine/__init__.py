"""The embedded engine: runs the flow.yaml files of a Windmill bundle on one machine."""

from wmlocal.engine.bundle import Bundle, Flow, Script
from wmlocal.engine.engine import Engine, JobResult, default_home
from wmlocal.engine.errors import CannotStart, EngineError, Finding, Unsupported
from wmlocal.engine.jobs import Event

__all__ = [
    "Bundle",
    "CannotStart",
    "Engine",
    "EngineError",
    "Event",
    "Finding",
    "Flow",
    "JobResult",
    "Script",
    "Unsupported",
    "default_home",
]
