"""Executions: runs of workflows, as a list, as a tree, by id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Any

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from f.flexcore.lib.windmill.client import DASHBOARD_LABEL
from flexcore.client.watch import Node, find_error
from flexcore.client.windmill import Windmill

WHOLE_ID = 36
BEGINNING = re.compile(r"^[0-9a-fA-F][0-9a-fA-F-]{0,35}$")
WHERE = "`flexcore workflow list --executions` shows the latest."
# Their jobs are nobody's runs: an open page of the dashboard starts a hundred in an hour, reconcile twice as many.
HOUSEKEEPING = ("f/flexcore/dashboard/", "f/flexcore/operations/")
# Of each list, the queue's and that of what has ended.
PAGE, MAX_PAGES = 500, 40
# Ids begin with the time: those that begin alike are neighbors, and after so many others there is none to come.
MAX_STRANGERS = 100


def latest(client: Windmill, limit: int, workflows: set[str] | None) -> list[dict[str, Any]]:
    """The newest runs, at most `limit`; workflows: of these paths only."""
    jobs = _newest_first(client, job_kinds="flow,script,flowpreview,preview")
    wanted = (job for job in jobs if workflows is None or job.get("script_path") in workflows)
    return [as_run(job) for job in islice((job for job in wanted if not is_housekeeping(job)), limit)]


def _newest_first(client: Windmill, **query: Any) -> Iterator[dict[str, Any]]:
    """What is no step of another job. Of two lists: that of all jobs has one page only, whatever page is asked for."""
    lists = (
        client.pages(f"jobs/{kind}/list", PAGE, MAX_PAGES, has_null_parent="true", **query)
        for kind in ("queue", "completed")
    )
    seen = set()
    for job in merge(*lists, key=lambda job: str(job["created_at"]), reverse=True):
        # One that ended between the two lists is in both, and a page moves on with each that ends.
        if job["id"] not in seen:
            seen.add(job["id"])
            yield job


def is_housekeeping(job: dict[str, Any]) -> bool:
    is_ours = str(job.get("script_path") or "").startswith(HOUSEKEEPING)
    return is_ours or DASHBOARD_LABEL in (job.get("labels") or ())


def as_run(job: dict[str, Any]) -> dict[str, Any]:
    duration = job.get("duration_ms")
    return {
        "id": job["id"],
        "workflow": job.get("script_path"),
        "status": status(job),
        "started_at": job.get("started_at"),
        "seconds": None if duration is None else duration / 1000,
        "labels": job.get("labels") or [],
        "created_by": job.get("created_by"),
    }


def status(job: dict[str, Any]) -> str:
    """The same words as a `Node` has."""
    if job.get("type") != "CompletedJob":
        return "suspended" if job.get("suspend") else "running" if job.get("running") else "waiting"
    if job.get("canceled"):
        return "canceled"
    return "skipped" if job.get("is_skipped") else "success" if job.get("success") else "failure"


def complete_id(client: Windmill, given: str) -> str:
    """Jobs of the dashboard and of operations count where no other run is meant. Raises NotFound, or InvalidInput when
    it is not an id, or the beginning of several."""
    if not BEGINNING.match(given):
        raise InvalidInput(f"{given[:60]} is not an id of a run", subject="ID", remedy=WHERE)
    if len(given) == WHOLE_ID:
        return given.lower()
    found = _find_beginning(client, given.lower())
    if len(found) > 1:
        raise InvalidInput(
            f"{len(found)} runs have an id that begins with {given}", subject="ID", remedy="Give more of it."
        )
    if not found:
        raise NotFound(f"None of the latest runs has an id that begins with {given}", subject="ID", remedy=WHERE)
    return found[0]


def _find_beginning(client: Windmill, given: str) -> list[str]:
    """The ids that begin so: of runs that somebody wanted, else of all."""
    found: dict[bool, list[str]] = {True: [], False: []}
    strangers = 0
    for job in _newest_first(client):
        if job["id"].startswith(given):
            found[is_housekeeping(job)].append(str(job["id"]))
        elif any(found.values()):
            strangers += 1
            if strangers == MAX_STRANGERS:
                break
    return found[False] or found[True]


def cancel(client: Windmill, given: str, reason: str) -> str:
    """The id of what was canceled. Raises InvalidInput when it has ended already: nothing was canceled then."""
    job = client.job(complete_id(client, given))
    if job.get("type") == "CompletedJob":
        raise InvalidInput(f"{job['id']} has ended already ({status(job)})", subject="ID", remedy="Nothing to cancel.")
    client.cancel(job["id"], reason)
    return str(job["id"])


def as_plain(node: Node) -> dict[str, Any]:
    """The tree as JSON data; `error` and `result` where there are some."""
    shown: dict[str, Any] = {
        "id": node.job,
        "step": node.step,
        "path": node.path,
        "status": node.status,
        "seconds": node.seconds,
        "started_at": node.shown.get("started_at"),
    }
    if node.status == "failure":
        shown["error"] = find_error(node.shown)
    if node.ended and node.depth == 0:
        shown["result"] = node.shown.get("result")
    return shown | {"steps": [as_plain(child) for child in node.children.values()]}
