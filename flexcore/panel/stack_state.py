"""What `flexcore up` has started, in a file that outlives it: HOME/up/state.json, readable by its owner alone.

starting → ready → stopped     the ordinary way
starting → failed              with the reason
any of them, its process dead  killed; whoever comes next cleans up
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flexcore.panel.processes import Process
from wmlocal.engine.store import write_private

# Exit codes of the process: another one is there, or the reason is in the state.
TAKEN, NOT_STARTED = 3, 2
STARTING, READY, STOPPED, FAILED = "starting", "ready", "stopped", "failed"


@dataclass(frozen=True, slots=True)
class StackState:
    """ray_temp: the folder by which the Ray head's processes are known; canceled: runs that ended with the stack."""

    process: Process
    root: str
    phase: str = STARTING
    url: str = ""
    ray: str = ""
    ray_temp: str = ""
    error: str = ""
    canceled: list[str] = field(default_factory=list)

    def is_alive(self) -> bool:
        return self.process.is_alive()


class StateFile:
    def __init__(self, home: Path) -> None:
        self.folder = home / "up"
        self.log = self.folder / "log"
        self.lock = self.folder / "lock"
        self._file = self.folder / "state.json"

    def read(self) -> StackState | None:
        """None when there was no stack, or the file cannot be read: then there is nothing to rely on."""
        try:
            fields: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            return StackState(**fields | {"process": Process(**fields["process"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, state: StackState, **changes: Any) -> StackState:
        """Whole or not at all. Returns what was written."""
        state = replace(state, **changes)
        write_private(self._file, json.dumps(asdict(state)))
        return state
