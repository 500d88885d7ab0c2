"""A process that is known again: a number alone may be another's by now, its start time says which one is meant."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """started: the id of the machine's own start, and since then clock ticks, as the kernel counts."""

    pid: int
    started: str

    @classmethod
    def current(cls) -> Process:
        started = read_start(os.getpid())
        assert started is not None
        return cls(os.getpid(), started)

    def is_alive(self) -> bool:
        return read_start(self.pid) == self.started

    def end(self, grace_s: float) -> bool:
        """Ends the process and no other: by SIGTERM, then by SIGKILL. False when it had to be killed."""
        self._signal(signal.SIGTERM)
        if self._has_ended(grace_s):
            return True
        self._signal(signal.SIGKILL)
        self._has_ended(grace_s)
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _has_ended(self, within_s: float) -> bool:
        until = time.monotonic() + within_s
        while self.is_alive():
            if time.monotonic() > until:
                return False
            time.sleep(POLL_INTERVAL_S)
        return True


def read_start(pid: int) -> str | None:
    """None when there is no such process, or it has ended and waits for its parent to notice."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot.strip()} {fields[19]}"
