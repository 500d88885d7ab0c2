# requirements: flexcore_api
# py: ==3.11.*
"""Reads from Windmill what the metrics are made of, in a bounded number of calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from f.flexcore.api.executions import FOLDER, Execution, Job, execution, is_execution
from f.flexcore.api.exposition import Measured, Numbers, numbers_of, orphans_of
from f.flexcore.api.windmill import Windmill
from f.flexcore.core.errors import FlexcoreError

PAGE = 1000
# Of one day; a bundle that runs more of them is beyond one scrape.
MOST_PAGES = 10
# Results read in one scrape, the day's first ones, so that the counters never fall. Each takes some milliseconds.
MOST_RESULTS = 1000
AT_ONCE = 8
RECONCILE = "f/flexcore/operations/reconcile"
FLOWS = {"job_kinds": "flow", "has_null_parent": "true", "script_path_start": FOLDER}


def measured(windmill: Windmill, now: datetime) -> Measured:
    """now: in UTC. Raises what Windmill's refusal means."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).isoformat()
    live = windmill.get("jobs/queue/list", per_page=PAGE, **FLOWS)
    ended = [execution(job) for job in _ended(windmill, midnight) if is_execution(job)]
    read = ended[:MOST_RESULTS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        numbers = dict(pool.map(lambda item: (item.id, _numbers(windmill, item)), read))
    orphans, at = _last_pass(windmill)
    return Measured(
        ended, [execution(job) for job in live if is_execution(job)], numbers, len(ended) - len(read), orphans, at
    )


def _ended(windmill: Windmill, since: str) -> Iterator[Job]:
    """Oldest first, so that a bound cuts off the newest and no counter falls."""
    for page in range(1, MOST_PAGES + 1):
        query = {**FLOWS, "completed_after": since, "order_desc": "false"}
        jobs: Sequence[Job] = windmill.get("jobs/completed/list", per_page=PAGE, page=page, **query)
        yield from jobs
        if len(jobs) < PAGE:
            return


def _numbers(windmill: Windmill, item: Execution) -> Numbers:
    if item.status not in ("success", "failure"):
        return Numbers()
    try:
        return numbers_of(windmill.get(f"jobs_u/completed/get_result/{item.id}"))
    except FlexcoreError:
        return Numbers()


def _last_pass(windmill: Windmill) -> tuple[Counter[tuple[str, ...]] | None, float | None]:
    query: dict[str, Any] = {"script_path_exact": RECONCILE, "success": "true", "per_page": 1, "order_desc": "true"}
    jobs = windmill.get("jobs/completed/list", **query)
    if not jobs:
        return None, None
    ended = execution(jobs[0]).ended_at
    return orphans_of(
        windmill.get(f"jobs_u/completed/get_result/{jobs[0]['id']}")
    ), ended.timestamp() if ended else None
