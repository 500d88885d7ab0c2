# requirements: flexcore_kubernetes
"""What Windmill knows of the jobs that own remote objects, in a bounded number of calls."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from f.flexcore.lib.core import errors, remote_objects
from f.flexcore.lib.windmill import instance

PAGE = 1000
# A queue that is longer is not read to its end; owners that were not seen are then asked about one by one.
MOST_PAGES = 10
# Windmill answers each within some milliseconds.
AT_ONCE = 8


class Windmill:
    """One workspace; http: a client whose base is the server's API, as `wmill.Windmill().client` is."""

    def __init__(self, http: httpx.Client, workspace: str) -> None:
        self._api, self.workspace = instance.WindmillApi(http, workspace), workspace

    def queue(self, **query: Any) -> dict[str, dict[str, Any]]:
        """Every job that waits, runs or is suspended, by id. Raises Forbidden or Unreachable: without it nobody may
        be taken for dead."""
        found: dict[str, dict[str, Any]] = {}
        for page in range(1, MOST_PAGES + 1):
            listed = self._api.get("jobs/queue/list", per_page=PAGE, page=page, **query)
            found |= {str(job["id"]): job for job in listed}
            if len(listed) < PAGE:
                break
        return found

    def older_run(self, path: str, job: str) -> str:
        """The id of a run of this script that began before `job` and still runs; "" when there is none. Of runs at
        the same time exactly one, the oldest, has none: Windmill's own queue is the lease."""
        running = self.queue(script_path_exact=path, running="true")
        mine = running.get(job)
        if mine is None:
            return ""
        older = [name for name, run in running.items() if _age(run, name) < _age(mine, job)]
        return min(older, key=lambda name: _age(running[name], name), default="")

    def ended(self, ids: Iterable[str]) -> dict[str, remote_objects.Owner]:
        """What each job is that no queue shows: ended, running, or unknown when Windmill does not say."""
        wanted = list(ids)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(wanted, pool.map(self._state, wanted), strict=True))

    def resume(self, flow: str, verdict: dict[str, Any]) -> str:
        """What became of it. Too early or twice is refused by Windmill, and the next pass tries again."""
        try:
            answer = self._api.post(f"jobs/flow/resume/{flow}", verdict)
        except httpx.HTTPError as error:
            return f"not resumed ({type(error).__name__}); the next pass tries again"
        return "resumed" if answer.is_success else f"not resumed (HTTP {answer.status_code}); the next pass tries again"

    def _state(self, job: str) -> remote_objects.Owner:
        try:
            kind = self._api.get(f"jobs_u/get/{job}", no_logs="true", no_code="true").get("type")
        except (errors.Forbidden, errors.NotFound, errors.Unreachable):
            return "unknown"
        if kind == "CompletedJob":
            return "ended"
        return "running" if kind == "QueuedJob" else "unknown"


def _age(run: dict[str, Any], name: str) -> tuple[str, str]:
    return str(run.get("started_at") or "9"), name
