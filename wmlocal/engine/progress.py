"""Shows on stderr what a run is doing: plain lines, or a live display on a terminal."""

from __future__ import annotations

import sys
import threading
from typing import Any, TextIO

from wmlocal.engine.jobs import Event

MAX_MESSAGE = 300


def line_for(event: Event) -> str | None:
    """One line for an event that a person wants to see; None for the others."""
    name = event.step_id or event.path or event.job
    indent = "  " * event.depth
    if event.kind == "started":
        return f"{indent}▶ {name}"
    if event.kind == "retrying":
        return f"{indent}  ↻ {name}: {event.message}"
    if event.kind == "suspended":
        return f"{indent}  ⏸ {name} waits for a resume (flow job {event.job})"
    if event.kind == "finished":
        mark = "∅" if event.skipped else "✓" if event.success else "✗"
        text = f": {event.message[:MAX_MESSAGE]}" if event.message else ""
        return f"{indent}{mark} {name}  {event.seconds or 0:.1f} s{text}"
    return None


def log_lines(event: Event) -> str:
    """A piece of log, each line behind the step that wrote it."""
    name = event.step_id or event.path or event.job
    return "\n".join(f"{'  ' * event.depth}{name} │ {line}" for line in event.message.splitlines())


class PlainProgress:
    """Each event as a line; fit for a file or a pipe."""

    def __init__(self, out: TextIO | None = None, logs: bool = False) -> None:
        self._out = out or sys.stderr
        self._lock = threading.Lock()
        self._logs = logs

    def __call__(self, event: Event) -> None:
        line = log_lines(event) if event.kind == "log" and self._logs else line_for(event)
        if line:
            with self._lock:
                print(line, file=self._out, flush=True)

    def close(self) -> None:
        pass


class LiveProgress:
    """Finished steps scroll by; those that run are listed below with a spinner and their time."""

    def __init__(self, logs: bool = False) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._bars: dict[str, Any] = {}
        self._logs = logs
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._progress.start()

    def __call__(self, event: Event) -> None:
        if event.kind == "started":
            name = "  " * event.depth + (event.step_id or event.path or event.job)
            self._bars[event.job] = self._progress.add_task(name, total=None)
            return
        line = log_lines(event) if event.kind == "log" and self._logs else line_for(event)
        if event.kind == "finished" and event.job in self._bars:
            self._progress.remove_task(self._bars.pop(event.job))
        if line:
            style = (
                "dim" if event.kind == "log" else "red" if event.success is False else "dim" if event.skipped else None
            )
            self._console.print(line, style=style, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def progress(logs: bool = False) -> PlainProgress | LiveProgress:
    """logs: whether the steps' output is shown as well."""
    return LiveProgress(logs) if sys.stderr.isatty() else PlainProgress(logs=logs)
