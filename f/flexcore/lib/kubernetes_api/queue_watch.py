# requirements: flexcore_kubernetes
"""What holds a suspended Job back in its queue of Kueue, asked every few seconds while it waits.

Suspended is queued, and no failure. What no waiting helps with is told: no such queue, more than its quota, a priority
class that does not exist, no Kueue at all. A Workload that may not be read says nothing of the Job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import categories, client, job_status, kueue_api, kueue_status

QUEUE_INTERVAL_S = 2.0
# The manager of a cluster may install Kueue, or its API server be restarting.
ABSENT_GRACE_S = 5.0


@dataclass(slots=True)
class QueueWatch:
    kubernetes: client.Kubernetes
    namespace: str
    clock: Callable[[], float]
    _asked: float | None = None
    _known: categories.Problem | None = field(default=None)
    _version: str = ""

    def diagnose(self, job: Mapping[str, Any]) -> categories.Problem | None:
        """None for a Job that is not suspended, has no queue, or of which nothing can be asked."""
        queue = job_status.find_queue_name(job)
        if not queue or not (job.get("spec") or {}).get("suspend"):
            self._asked, self._known = None, None
            return None
        if self._asked is None or self.clock() - self._asked >= QUEUE_INTERVAL_S:
            self._asked = self.clock()
            try:
                self._known = self._ask(job, queue)
            except errors.FlexcoreError:
                self._known = None
        return self._known

    def _ask(self, job: Mapping[str, Any], queue: str) -> categories.Problem | None:
        self._version = self._version or kueue_api.find_version(self.kubernetes)
        if not self._version:
            detail = f"The Job is suspended until its queue {queue} admits it, and Kueue is not on this cluster"
            return categories.Problem(categories.Category.KUEUE_ABSENT, detail, ABSENT_GRACE_S)
        uid = str(job["metadata"].get("uid"))
        workloads = kueue_api.list_workloads(self.kubernetes, self.namespace, uid, self._version)
        if workloads is None:
            return None
        priority = str((job["metadata"].get("labels") or {}).get(kueue_status.PRIORITY_LABEL) or "")
        workload = kueue_status.find_workload(workloads, uid)
        state = kueue_status.read_queue_state(workload, queue, priority, kueue_status.JOB)
        if state.trouble is None:
            return categories.Problem(categories.Category.SUSPENDED, state.note, categories.NO_LIMIT)
        return categories.Problem(
            categories.Category(state.trouble.category),
            state.note,
            state.trouble.grace_s,
            remedy=state.trouble.remedy,
            subject="options.queue",
            error=state.trouble.error,
        )
