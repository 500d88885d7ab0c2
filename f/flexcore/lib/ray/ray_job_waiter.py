# requirements: flexcore_base
"""Waits until a RayJob's cluster takes work, and says what it waits for.

    queued    by its queue's Workload: position, amounts, who took its place; no failure, and no part of the start
    starting  by its pods and events: an image that cannot be pulled would stay Initializing for ever
    ready     its cluster takes work              ended   it takes none any more, and says why
What outlasts its grace period ends the wait with an error; the caller then takes the RayJob away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.kubernetes_api import kueue_status
from f.flexcore.lib.ray import job_cluster, kuberay_diagnosis, kuberay_reasons, ray_job_api, ray_job_status

Object = dict[str, Any]
POLL_INTERVAL_S = 1.0
# Pods and events are looked at less often: they are three more requests.
INSPECTION_INTERVAL_S = 3.0
QUEUE_INTERVAL_S = 5.0
# KubeRay answers a new RayJob within a second; a restart of the operator takes some ten.
OPERATOR_GRACE_S = 60.0


class StoppedWaiting(Exception):
    """The RayJob cannot get on. error: why; state: as it was last, None when it is gone."""

    def __init__(self, error: errors.FlexcoreError, state: ray_job_status.RayJobState | None) -> None:
        super().__init__(str(error))
        self.error, self.state = error, state


@dataclass(slots=True)
class RayJobWaiter:
    """evictions: how often a queue has taken the cluster back; queued_s, starting_s: how long it waited and started, in
    all. own: the request's form; labels: those by which its pods are selected."""

    api: ray_job_api.RayJobApi
    own: job_cluster.OwnCluster
    labels: Mapping[str, str]
    report: Callable[[str], None] = print
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    evictions: int = 0
    queued_s: float = 0.0
    starting_s: float = 0.0
    reported: set[str] = field(default_factory=set)
    _last_note: str = ""
    _trouble: tuple[str, float] = ("", 0.0)
    _inspected: float = float("-inf")
    _queue_looked: float = float("-inf")

    def wait(self, name: str, uid: str, *, until_queued: bool = False) -> ray_job_status.RayJobState:
        """The RayJob once it is ready or has ended. until_queued: also when a queue holds it back. Raises
        StoppedWaiting, and the errors of Kubernetes when contact is lost."""
        last = self.clock()
        began_unnoticed: float | None = None
        while True:
            state = self.look(name, uid)
            now = self.clock()
            elapsed, last = now - last, now
            if state.phase in ("ready", "ended"):
                return state
            if state.phase == "queued":
                self.queued_s += elapsed
                self._check_queue(state, now)
                if until_queued:
                    return state
            else:
                self.starting_s += elapsed
                self._check_start(state, now)
            if state.deployment_status == "" and not state.is_suspended:
                began_unnoticed = now if began_unnoticed is None else began_unnoticed
                self._check_operator(state, now - began_unnoticed)
            else:
                began_unnoticed = None
            self.sleep(POLL_INTERVAL_S)

    def look(self, name: str, uid: str) -> ray_job_status.RayJobState:
        """Raises StoppedWaiting when it is gone, or another one has its name."""
        stored = self.api.get(name)
        state = ray_job_status.parse_ray_job(stored) if stored else None
        if state is None or state.uid != uid or state.is_leaving:
            raise StoppedWaiting(deleted_error(name), None)
        return state

    # --- queued

    def _check_queue(self, state: ray_job_status.RayJobState, now: float) -> None:
        if now - self._queue_looked < QUEUE_INTERVAL_S:
            return
        self._queue_looked = now
        if not self.own.queue:
            self.note(
                f"RayJob {state.name} is suspended, and by no queue of ours: it waits until somebody lets it go on"
            )
        else:
            self._settle(state, self._ask_queue(state), now)
        if self.queued_s >= self.own.queue_timeout_s:
            error = errors.DeadlineExceeded(
                f"RayJob {state.name} was not let in within {self.own.queue_timeout_s} s: {self._last_note}",
                subject="own_cluster.queue_timeout_s",
                category="queue_timeout",
                remedy="Raise own_cluster.queue_timeout_s, ask for less, or use a queue with more quota.",
            )
            raise StoppedWaiting(error, state)

    def _ask_queue(self, state: ray_job_status.RayJobState) -> kuberay_diagnosis.Finding | None:
        workloads = self.api.workloads(state.uid)
        if workloads is None:
            right = "list workloads.kueue.x-k8s.io"
            self.note(f"RayJob {state.name} is queued in {self.own.queue}; where it stands cannot be read ({right})")
            return None
        workload = kueue_status.find_workload(workloads, state.uid)
        queue = kueue_status.read_queue_state(workload, self.own.queue, self.own.priority_class)
        self.note(queue.note)
        if not queue.trouble:
            return None
        error = trouble_error(state, queue.trouble, queue.note, "own_cluster.queue")
        return kuberay_diagnosis.Finding(error, queue.trouble.grace_s)

    def _settle(self, state: ray_job_status.RayJobState, finding: kuberay_diagnosis.Finding | None, now: float) -> None:
        """Ends the wait when the finding has outlasted its grace period; another one starts anew."""
        if finding is None:
            self._trouble = ("", now)
            return
        if finding.category != self._trouble[0]:
            self._trouble = (finding.category, now)
        # What a node or a quota may still give way to has as long as the start itself.
        if finding.grace_s is not None and now - self._trouble[1] >= finding.grace_s:
            raise StoppedWaiting(finding.error, state)

    # --- starting

    def _check_start(self, state: ray_job_status.RayJobState, now: float) -> None:
        if now - self._inspected < INSPECTION_INTERVAL_S:
            return
        self._inspected = now
        pods = [pod for pod in self.api.pods(dict(self.labels)) if not pod["metadata"].get("deletionTimestamp")]
        for pod in pods:
            self.report_once(describe_pod(pod))
        finding = self._find_trouble(state, pods)
        if finding:
            name_own_field(finding.error)
            self.note(f"Waiting ({finding.category}): {finding.error}")
        self._settle(state, finding, now)
        if self.starting_s >= self.own.start_timeout_s:
            raise StoppedWaiting(self._start_timeout_error(state, finding), state)

    def _find_trouble(
        self, state: ray_job_status.RayJobState, pods: Sequence[Object]
    ) -> kuberay_diagnosis.Finding | None:
        """What keeps the cluster from starting: its pods, its events, those of the RayJob."""
        cluster = self.api.ray_cluster(state.cluster) if state.cluster else None
        if cluster:
            pending = [pod["metadata"]["uid"] for pod in pods if (pod.get("status") or {}).get("phase") != "Running"]
            events = self.api.events([cluster["metadata"]["uid"], *pending])
            if finding := kuberay_diagnosis.diagnose(cluster, pods, events, 0.0):
                return finding
        found = find_event_trouble(self.api.events([state.uid])) or find_condition_trouble(cluster)
        if found is None:
            return None
        trouble, detail = found
        return kuberay_diagnosis.Finding(trouble_error(state, trouble, detail, "own_cluster"), trouble.grace_s)

    def _start_timeout_error(
        self, state: ray_job_status.RayJobState, finding: kuberay_diagnosis.Finding | None
    ) -> errors.FlexcoreError:
        why = f": {finding.error}" if finding else f"; KubeRay says {state.deployment_status or 'nothing'}"
        more = "Raise own_cluster.start_timeout_s, or see the RayCluster's pods."
        return errors.DeadlineExceeded(
            f"The cluster of RayJob {state.name} did not start within {self.own.start_timeout_s} s{why}",
            subject="own_cluster.start_timeout_s",
            category=finding.category if finding else "start_timeout",
            remedy="" if finding else more,
        )

    def _check_operator(self, state: ray_job_status.RayJobState, silent_s: float) -> None:
        if silent_s >= OPERATOR_GRACE_S:
            error = errors.Unavailable(
                f"KubeRay takes no notice of RayJob {state.name}: its status has stayed empty for {int(silent_s)} s",
                subject="own_cluster",
                category="operator_absent",
                remedy="Check that KubeRay's operator runs and watches this namespace.",
            )
            raise StoppedWaiting(error, state)

    # --- reports

    def note(self, text: str) -> None:
        """Reports what is waited for, when it has changed."""
        if text != self._last_note:
            self._last_note = text
            self.report(text)

    def report_once(self, text: str) -> None:
        if text not in self.reported:
            self.reported.add(text)
            self.report(text)


def find_event_trouble(events: Sequence[Mapping[str, Any]]) -> tuple[kuberay_reasons.Trouble, str] | None:
    """The trouble of the last event that says one, where nothing later went well."""
    for event in reversed(events):
        reason = str(event.get("reason"))
        trouble = kuberay_reasons.EVENT_REASONS.get(reason)
        if trouble and trouble.grace_s != float("inf"):
            return trouble, f"{reason}: {' '.join(str(event.get('message') or '').split())}"
        if reason in kuberay_reasons.PROGRESS_EVENTS:
            return None
    return None


def find_condition_trouble(cluster: Mapping[str, Any] | None) -> tuple[kuberay_reasons.Trouble, str] | None:
    """Of a RayCluster: the trouble that its conditions say."""
    for item in ((cluster or {}).get("status") or {}).get("conditions") or ():
        trouble = kuberay_reasons.CONDITION_REASONS.get(str(item.get("reason")))
        if trouble and trouble.grace_s != float("inf") and item.get("status") == "True":
            return trouble, f"{item.get('reason')}: {item.get('message')}"
    return None


def describe_pod(pod: Mapping[str, Any]) -> str:
    node, phase = (pod.get("spec") or {}).get("nodeName"), str((pod.get("status") or {}).get("phase") or "Pending")
    return f"Pod {pod['metadata']['name']} is {phase.lower()}{f' on {node}' if node else ''}"


def name_own_field(error: errors.FlexcoreError) -> None:
    """Names the field at fault as the request has it."""
    if not error.subject.startswith("own_cluster"):
        is_field = error.subject in job_cluster.OwnCluster.model_fields
        error.subject = f"own_cluster.{error.subject}" if is_field else "own_cluster"


def trouble_error(
    state: ray_job_status.RayJobState,
    trouble: kuberay_reasons.Trouble,
    detail: str,
    subject: str,
) -> errors.FlexcoreError:
    diagnosis = contracts.Diagnosis(category=trouble.category, detail=detail, remedy=trouble.remedy)
    return trouble.error(
        f"RayJob {state.name}: {detail}",
        subject=subject,
        category=trouble.category,
        remedy=trouble.remedy,
        diagnosis=diagnosis.model_dump(),
    )


def deleted_error(name: str) -> errors.FlexcoreError:
    return errors.ExecutionFailed(
        f"RayJob {name} is gone: somebody deleted it",
        subject=name,
        category="deleted",
        remedy="Run the step again; what the job did is unknown.",
    )
