"""A step's own lines out of a job's log: what a worker writes before the code runs is for those who look after workers.

Before the code: which worker, what is locked and installed, empty lines, up to `--- PYTHON (3.11) CODE EXECUTION ---`.
Within it: the wmill client's word of a resource that is not there, with its URL, though the step may do without it.
"""

from __future__ import annotations

import re

BEGINS = re.compile(r"^--- .*CODE EXECUTION ---[ \t]*\n?", re.MULTILINE)
# What a worker writes of a job whose language has no such line.
WORKERS = re.compile(r"^(?:to remove ansi colors, use: .*|job=\S+ tag=.*|\s*)$")
OPTIONAL = re.compile(r"^https?://\S+/api/w/\S+/resources/get_value\S*: 404, .*$")


class StepLog:
    """Of one job, fed piece by piece."""

    def __init__(self) -> None:
        self._before: str | None = ""

    def add(self, text: str) -> str:
        """What of the log so far is the step's own and was not given yet; lines may come in several pieces."""
        if self._before is None:
            return _own(text)
        self._before += text
        begins = BEGINS.search(self._before)
        if begins is None:
            return ""
        rest, self._before = self._before[begins.end() :], None
        return _own(rest.lstrip("\n"))

    def rest(self) -> str:
        """At the end of a job whose code never began: what was said instead."""
        before, self._before = self._before, None
        lines = (before or "").splitlines()
        return "".join(f"{line}\n" for line in lines if not WORKERS.match(line))


def _own(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not OPTIONAL.match(line.rstrip("\n")))
