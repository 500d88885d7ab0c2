"""Waits for the dependency jobs by which a server locks anew what a push has changed, and what imports it.

They begin about ten seconds after a push; until the last has ended a comparison finds locks that are about to change
(facts of 1.743). The bundle imports modules, for which a server starts none; a changed requirement set starts one for
each script that names it, and a push over an older version of the bundle one for each import that version recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flexcore.client.windmill import Windmill

KINDS = "dependencies,flowdependencies,appdependencies"
# A server puts them into its queue this late after a push, and those that they cause this late after them.
QUIET_S = 15.0
POLL_INTERVAL_S = 2.0
# Thousands of them have been seen to take six minutes.
TIMEOUT_S = 20 * 60
PROGRESS_INTERVAL_S = 15.0
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Relocks:
    """started: how many jobs the push has caused; left: how many had not ended when the time was up; failed: paths
    whose last one failed."""

    started: int
    left: int
    failed: list[str]


def last_relock(client: Windmill) -> str:
    """When the newest dependency job was created, by the server's clock; "" when there is none."""
    newest: list[dict[str, Any]] = client.get("jobs/list", job_kinds=KINDS, per_page=1)
    return str(newest[0].get("created_at") or "") if newest else ""


def wait_for_relocks(
    client: Windmill,
    since: str,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Relocks:
    """Until none is queued or running for a while. since: what `last_relock` gave before the push."""
    begun, last_busy, said_at = clock(), clock(), None
    while True:
        left, now = len(client.get("jobs/queue/list", job_kinds=KINDS, per_page=PAGE)), clock()
        if left:
            if said_at is None or now - said_at >= PROGRESS_INTERVAL_S:
                many = f"{left} or more" if left >= PAGE else str(left)
                say(f"waiting for the server's dependency jobs: {many} to go after {now - begun:.0f} s …")
                said_at = now
            last_busy = now
        if now - last_busy >= QUIET_S or now - begun >= TIMEOUT_S:
            ended = _list_ended(client, since)
            return Relocks(len(ended) + left, left, _list_failures(ended))
        sleep(POLL_INTERVAL_S)


def _list_ended(client: Windmill, since: str) -> list[dict[str, Any]]:
    """The newest first. From the list of what has ended: that of all jobs has one page only."""
    query = {"created_after": since} if since else {}
    jobs = client.list_all("jobs/completed/list", job_kinds=KINDS, **query)
    return [job for job in jobs if job.get("type") == "CompletedJob" and str(job.get("created_at")) > since]


def _list_failures(ended: list[dict[str, Any]]) -> list[str]:
    newest: dict[str, bool] = {}
    for job in ended:
        newest.setdefault(str(job.get("script_path")), bool(job.get("success")))
    return sorted(path for path, success in newest.items() if not success)
