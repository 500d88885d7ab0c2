"""Executions: runs of workflows, as a list, as a tree, by id."""

from __future__ import annotations

import re
from typing import Any

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from flexcore.client.watch import Node, find_error
from flexcore.client.windmill import Windmill

WHOLE_ID = 36
BEGINNING = re.compile(r"^[0-9a-fA-F][0-9a-fA-F-]{0,35}$")
WHERE = "`flexcore workflow list --executions` shows the latest."
# Its reads are jobs, a hundred in an hour for each open page, and nobody's runs.
DASHBOARD = "f/flexcore/dashboard/"
# Runs among which a shortened id is looked for.
RECENT = 200
# Pages of the list of jobs; a server lists other people's runs too.
MAX_PAGES = 10


def latest(client: Windmill, limit: int, workflows: set[str] | None) -> list[dict[str, Any]]:
    """The newest runs, at most `limit`; workflows: of these paths only."""
    found: list[dict[str, Any]] = []
    for page in range(1, MAX_PAGES + 1):
        query = {
            "per_page": RECENT,
            "page": page,
            "has_null_parent": "true",
            "job_kinds": "flow,script,flowpreview,preview",
        }
        listed = client.get("jobs/list", **query)
        shown = (job for job in listed if not str(job.get("script_path") or "").startswith(DASHBOARD))
        found += [as_run(job) for job in shown if workflows is None or job.get("script_path") in workflows]
        if len(found) >= limit or len(listed) < RECENT:
            break
    return found[:limit]


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
    """Raises NotFound, or InvalidInput when it is not an id, or the beginning of several."""
    if not BEGINNING.match(given):
        raise InvalidInput(f"{given[:60]} is not an id of a run", subject="ID", remedy=WHERE)
    if len(given) == WHOLE_ID:
        return given.lower()
    listed = client.get("jobs/list", per_page=RECENT, has_null_parent="true")
    found = [job["id"] for job in listed if job["id"].startswith(given.lower())]
    if len(found) > 1:
        raise InvalidInput(
            f"{len(found)} runs have an id that begins with {given}", subject="ID", remedy="Give more of it."
        )
    if not found:
        raise NotFound(f"None of the latest runs has an id that begins with {given}", subject="ID", remedy=WHERE)
    return str(found[0])


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
