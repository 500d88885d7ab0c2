"""Kills the process groups of running steps when the engine itself dies, however it dies.

A separate process, in a session of its own, holds the reading end of a pipe whose writing end only the engine has.
The engine writes `+<group>` and `-<group>`; end of file means that it is gone. A parent-death signal would reach a
step's first process only; this reaches its children as well.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    group = int(line[1:])
    groups.add(group) if line[0] == "+" else groups.discard(group)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


class Watchdog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        reading, self._writing = os.pipe()
        base = getattr(sys, "_base_executable", None) or sys.executable
        # -S -E: no site packages; it starts in some 10 ms and holds little memory.
        self._process = subprocess.Popen(
            [base, "-S", "-E", "-c", PROGRAM],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)

    def guard(self, group: int) -> None:
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError):
            os.write(self._writing, line.encode())

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            os.close(self._writing)
        self._process.wait()
