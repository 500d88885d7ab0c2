"""Waits for the jobs by which a server locks anew what imports a deployed script.

They begin about ten seconds after a push, one for each importer; until the last has ended a comparison finds locks that
are about to change (facts of 1.743; the bundle's own imports start none).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flexcore.client.windmill import Windmill

KINDS = "dependencies,flowdependencies,appdependencies"
# A server puts them into its queue this late after a push, and those that they cause this late after them.
QUIET_S = 15.0
POLL_S = 2.0
# Thousands of them have been seen to take six minutes.
TIMEOUT_S = 20 * 60
SAY_EVERY_S = 15.0
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Relocks:
    """seen: whether there were any; left: how many had not ended when the time was up; failed: paths whose last one
    failed."""

    seen: bool
    left: int
    failed: list[str]


def wait_for_relocks(
    client: Windmill,
    since: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Relocks:
    """Until none is queued or running for a while. since: the time of the push, in seconds of the epoch."""
    begun, last_busy, said_at, seen = clock(), clock(), None, False
    while True:
        left, now = len(client.get("jobs/queue/list", job_kinds=KINDS, per_page=PAGE)), clock()
        if left:
            if said_at is None or now - said_at >= SAY_EVERY_S:
                many = f"{left} or more" if left >= PAGE else str(left)
                say(f"the server locks anew what imports the pushed scripts: {many} to go …")
                said_at = now
            seen, last_busy = True, now
        if now - last_busy >= QUIET_S or now - begun >= TIMEOUT_S:
            return Relocks(seen, left, _failed(client, since) if seen else [])
        sleep(POLL_S)


def _failed(client: Windmill, since: float) -> list[str]:
    after = datetime.fromtimestamp(since, UTC).isoformat()
    jobs: list[dict[str, Any]] = client.get("jobs/list", job_kinds=KINDS, created_after=after, per_page=PAGE)
    newest: dict[str, bool] = {}
    for job in jobs:
        if job.get("type") == "CompletedJob":
            newest.setdefault(str(job.get("script_path")), bool(job.get("success")))
    return sorted(path for path, success in newest.items() if not success)
