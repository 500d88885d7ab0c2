"""The embedded engine: runs the flow.yaml files of a Windmill bundle on one machine."""

from flexcore.engine.bundle import Bundle, Flow, Script
from flexcore.engine.engine import Engine, JobResult, default_home
from flexcore.engine.errors import CannotStart, EngineError, Finding, Unsupported
from flexcore.engine.jobs import Event

__all__ = ["Bundle", "CannotStart", "Engine", "EngineError", "Event", "Finding", "Flow", "JobResult", "Script",
           "Unsupported", "default_home"]  # fmt: skip
