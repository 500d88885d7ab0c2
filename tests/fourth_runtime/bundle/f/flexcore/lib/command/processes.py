# requirements: flexcore_base
"""Commands as processes of the worker's machine. A state file for each says whose it is and how it ended.

`<home>/commands/<name>.json` is there before the process; `<name>.exit` holds its exit code once it has ended. The
process is in a session of its own: it outlives the step, whose repeat finds it by the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from f.flexcore.lib.storage import object_store

# Runs the command that its arguments name and writes how it ended, whoever is still there to see it.
RUNNER = (
    "import os, subprocess, sys\n"
    "code = subprocess.call(sys.argv[2:])\n"
    "with open(sys.argv[1] + '.part', 'w') as file: file.write(str(code))\n"
    "os.replace(sys.argv[1] + '.part', sys.argv[1])\n"
)
POLL_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Command:
    """One command by its state file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    @property
    def exit_code(self) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return int(self.path.with_suffix(".exit").read_text())
        return None

    @property
    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.path.with_suffix(".log").read_text()
        return ""

    def start(self, command: Sequence[str], labels: Mapping[str, str], deadline: float) -> bool:
        """Whether it was started now; False when its name is taken."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {"labels": dict(labels), "deadline": deadline, "uid": str(time.time_ns())}
        try:
            with self.path.open("x") as file:
                json.dump(state, file)
        except FileExistsError:
            return False
        with self.path.with_suffix(".log").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", RUNNER, str(self.path.with_suffix(".exit")), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(state | {"pid": child.pid}))
        part.replace(self.path)
        return True

    def is_running(self) -> bool:
        pid = self.state.get("pid")
        if pid is None or self.exit_code is not None:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return Path(f"/proc/{pid}").exists()

    def wait(self, until: float) -> int | None:
        """Its exit code; None when it runs past `until` (seconds since the epoch) or was lost."""
        while self.exit_code is None and self.is_running() and time.time() < until:
            time.sleep(POLL_INTERVAL_S)
        return self.exit_code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.state["pid"], signal.SIGKILL)

    def remove(self) -> None:
        for suffix in (".json", ".exit", ".log"):
            self.path.with_suffix(suffix).unlink(missing_ok=True)


def get_command(name: str) -> Command:
    return Command(object_store.home() / "commands" / f"{name}.json")


def list_commands() -> Iterator[Command]:
    for path in sorted((object_store.home() / "commands").glob("*.json")):
        yield Command(path)
