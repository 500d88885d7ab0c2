# requirements: flexcore_base
"""Windmill's jobs as this bundle reads them: one by its id, those below it, and lists by label, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import instance

Job = dict[str, Any]
# What a server gives at most.
PAGE = 100
# Windmill answers each within some milliseconds.
AT_ONCE = 8


class Jobs:
    def __init__(self, api: instance.WindmillApi) -> None:
        self.api = api

    def job(self, job: str) -> Job:
        """With flow_status and, once it has ended, its result. Raises NotFound, Forbidden or Unreachable."""
        try:
            return dict(self.api.get(f"jobs_u/get/{job}", no_logs="true", no_code="true"))
        except errors.NotFound:
            remedy = "Check the id; only a job of this workspace that you may see is shown."
            raise errors.NotFound(f"There is no job {job}", subject="id", remedy=remedy) from None

    def several(self, ids: Iterable[str]) -> dict[str, Job]:
        """Those of the jobs that can be read, by id."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(self._or_none, dict.fromkeys(ids))
        return {str(job["id"]): job for job in found if job}

    def _or_none(self, job: str) -> Job | None:
        try:
            return self.job(job)
        except errors.FlexcoreError:
            return None

    def listed(self, most: int, **query: Any) -> Iterator[Job]:
        """The newest `most` finished jobs that the query finds; without results. A list of all jobs, finished or not,
        has one page only, whatever page is asked for."""
        given = 0
        for page in range(1, most // PAGE + 2):
            found = self.api.get("jobs/completed/list", per_page=PAGE, page=page, **query)
            for job in found[: most - given]:
                yield dict(job)
            given += len(found)
            if len(found) < PAGE or given >= most:
                return
