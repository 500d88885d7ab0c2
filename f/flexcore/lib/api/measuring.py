# requirements: flexcore_api
"""Reads from Windmill what the metrics are made of, in a bounded number of calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from f.flexcore.lib.api import executions, metrics_text
from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import api

PAGE = 1000
# Of one day; a bundle that runs more of them is beyond one scrape.
MOST_PAGES = 10
# Results read in one scrape, the day's first ones, so that the counters never fall. Each takes some milliseconds.
MOST_RESULTS = 1000
AT_ONCE = 8
RECONCILE = "f/flexcore/operations/reconcile"
FLOWS = {"job_kinds": "flow", "has_null_parent": "true", "script_path_start": executions.FOLDER}


def measured(windmill: api.Windmill, now: datetime) -> metrics_text.Measured:
    """now: in UTC. Raises what Windmill's refusal means."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).isoformat()
    live = windmill.get("jobs/queue/list", per_page=PAGE, **FLOWS)
    ended = [executions.execution(job) for job in _ended(windmill, midnight) if executions.is_execution(job)]
    read = ended[:MOST_RESULTS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        numbers = dict(pool.map(lambda item: (item.id, _numbers(windmill, item)), read))
    orphans, at = _last_pass(windmill)
    return metrics_text.Measured(
        ended,
        [executions.execution(job) for job in live if executions.is_execution(job)],
        numbers,
        len(ended) - len(read),
        orphans,
        at,
    )


def _ended(windmill: api.Windmill, since: str) -> Iterator[executions.Job]:
    """Oldest first, so that a bound cuts off the newest and no counter falls."""
    for page in range(1, MOST_PAGES + 1):
        query = {**FLOWS, "completed_after": since, "order_desc": "false"}
        jobs: Sequence[executions.Job] = windmill.get("jobs/completed/list", per_page=PAGE, page=page, **query)
        yield from jobs
        if len(jobs) < PAGE:
            return


def _numbers(windmill: api.Windmill, item: executions.Execution) -> metrics_text.Numbers:
    if item.status not in ("success", "failure"):
        return metrics_text.Numbers()
    try:
        return metrics_text.numbers_of(windmill.get(f"jobs_u/completed/get_result/{item.id}"))
    except errors.FlexcoreError:
        return metrics_text.Numbers()


def _last_pass(windmill: api.Windmill) -> tuple[Counter[tuple[str, ...]] | None, float | None]:
    query: dict[str, Any] = {"script_path_exact": RECONCILE, "success": "true", "per_page": 1, "order_desc": "true"}
    jobs = windmill.get("jobs/completed/list", **query)
    if not jobs:
        return None, None
    ended = executions.execution(jobs[0]).ended_at
    return metrics_text.orphans_of(
        windmill.get(f"jobs_u/completed/get_result/{jobs[0]['id']}")
    ), ended.timestamp() if ended else None
