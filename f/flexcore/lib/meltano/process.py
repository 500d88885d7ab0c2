# requirements: flexcore_base
"""A command under the supervisor: its output line by line, a printer for it, and how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from f.flexcore.lib.core import log_text, module_source, redaction

# Meltano ends its plugins and closes its run within a second or two; a target may have a batch to finish.
GRACE_S = 10.0
SOURCE = module_source.find_source("f.flexcore.lib.meltano.remote.supervisor")
CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended; the supervisor's report. None was not measured."""

    exit_code: int
    stopped: str = ""
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


def run_supervised(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    deadline_s: float,
    on_line: Callable[[str], None],
    locks: Sequence[int] = (),
    leftovers: Path | None = None,
) -> Outcome:
    """Runs `command` to its end, at most `deadline_s` seconds (plus the grace).

    on_line gets each line of its stdout and stderr as a terminal would show it in the end; locks are descriptors held
    until its whole tree is dead; leftovers is a folder to remove when this process is killed meanwhile. On an exception
    (Ctrl-C) the command is drained first.
    """
    read, write = os.pipe()
    arguments = [str(os.getpid()), str(write), str(deadline_s), str(GRACE_S), str(leftovers or "")]
    with os.fdopen(read) as report:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SOURCE, *arguments, *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Out of the step's own session: a worker's kill of the step's group must not hit it before it has drained.
            start_new_session=True,
            pass_fds=(write, *locks),
        )
        os.close(write)
        try:
            assert child.stdout
            with child.stdout as output:
                for line in read_lines(output):
                    on_line(line)
            code = child.wait()
        except BaseException:
            drain(child)
            raise
        text = report.read()
    return Outcome(**json.loads(text)) if text else Outcome(exit_code=code or 1)


def find_instant(monotonic_s: float) -> datetime:
    """When time.monotonic() was that, by the worker's own clock, which is the run's as well."""
    return datetime.fromtimestamp(time.time() - (time.monotonic() - monotonic_s), UTC)


def read_lines(output: IO[bytes]) -> Iterator[str]:
    cleaner = log_text.LogCleaner()
    while chunk := os.read(output.fileno(), CHUNK_BYTES):
        yield from cleaner.feed(chunk)
    yield from cleaner.finish()


def drain(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(GRACE_S + 5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


# A chatty plugin prints thousands of lines per second; Windmill keeps every one of them in its database.
LINES_PER_S = 40
MAX_BURST_LINES = 200
# A line of a log is for reading; a plugin may print a whole record in one.
MAX_LINE_CHARACTERS = 2000


class LogPrinter:
    """Prints a run's log live: redacted, and no faster than a person or the worker's log store can take it."""

    def __init__(
        self,
        redactor: redaction.Redactor,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = lambda text: print(text, flush=True),
    ) -> None:
        self._redacted, self._clock, self._write = redactor.lines(), clock, write
        self._allowance, self._last, self._left_out = float(MAX_BURST_LINES), clock(), 0

    def print(self, text: str) -> None:
        # What is left out is looked at too: a private key may begin there.
        text = self._redacted.line(text)
        now = self._clock()
        self._allowance = min(MAX_BURST_LINES, self._allowance + (now - self._last) * LINES_PER_S)
        self._last = now
        if self._allowance < 1:
            self._left_out += 1
            return
        self._allowance -= 1
        self.flush()
        self._write(log_text.shorten(text, MAX_LINE_CHARACTERS))

    def flush(self) -> None:
        if self._left_out:
            self._write(f"… {self._left_out:,} lines left out")
            self._left_out = 0
