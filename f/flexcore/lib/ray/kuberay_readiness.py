# requirements: flexcore_base
"""A RayCluster of KubeRay that is to become ready: when its head can be asked, and what keeps it from that."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import job_status
from f.flexcore.lib.ray import dashboard, kuberay_cluster, kuberay_diagnosis

# Events of an earlier time of the same cluster say nothing about this wait.
EVENTS_BEFORE_S = 5.0
HEAD = "head"
Object = dict[str, Any]


class KubeRayReadiness:
    """uid: of the RayCluster that is meant; one that takes its place is not it."""

    def __init__(self, managed: kuberay_cluster.KubeRayCluster, stored: Object) -> None:
        self.managed, self.name = managed, managed.name
        self.uid = stored["metadata"]["uid"]
        self._stored = stored
        self._since = managed.now() - EVENTS_BEFORE_S
        self._has_running_head = False

    @property
    def min_workers(self) -> int:
        groups = self._stored["spec"].get("workerGroupSpecs") or []
        return sum(int(group.get("minReplicas") or 0) for group in groups)

    def open_api(self) -> dashboard.RayApi | None:
        if not self._has_running_head:
            return None
        return dashboard.RayApi(self.managed.cluster.model_copy(update={"lease": ""}))

    def find_problem(self) -> kuberay_diagnosis.Finding | None:
        stored = self.managed.read()
        if stored is None or stored["metadata"]["uid"] != self.uid or stored["metadata"].get("deletionTimestamp"):
            error = errors.ExecutionFailed(
                f"The RayCluster {self.name} was deleted while it was waited for",
                subject="cluster",
                category="deleted",
                remedy="Somebody else deleted it: run again.",
            )
            return kuberay_diagnosis.Finding(error)
        self._stored = stored
        pods = self.managed.pods()
        self._has_running_head = any(_is_running_head(pod) for pod in pods)
        created = _seconds(stored["metadata"].get("creationTimestamp"))
        age_s = self.managed.now() - created if created else 0.0
        return kuberay_diagnosis.diagnose(stored, pods, self._events(stored), age_s)

    def _events(self, stored: Object) -> list[Object]:
        own = stored["metadata"]["uid"]
        return [
            event
            for event in self.managed.events()
            if (event["involvedObject"].get("kind") != "RayCluster" or event["involvedObject"].get("uid") == own)
            and (_seconds(event.get("lastTimestamp") or event.get("eventTime")) or self._since) >= self._since
        ]


def _is_running_head(pod: Object) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get("ray.io/node-type") == HEAD and (pod.get("status") or {}).get("phase") == "Running"


def _seconds(value: Any) -> float | None:
    found = job_status.parse_time(value)
    return found.timestamp() if found else None
