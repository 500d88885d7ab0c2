# requirements: flexcore_kubernetes
"""The rollout of a Deployment: watched until every replica is new and available.

Source of `is_complete`: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#complete-deployment
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import pod_logs, revisions, serving_manifests
from f.flexcore.lib.kubernetes_api import (
    admission,
    api_errors,
    categories,
    client,
    job_status,
    pod_problems,
    progress,
    watcher,
)

Object = Mapping[str, Any]
EVENTS_INTERVAL_S = 2.0
TICK_S = 1.0
# Whether pods fit at all shows soon; an autoscaler needs minutes.
QUEUE_TIMEOUT_S = 300
# The field of a deployment's form that is at fault, and what to do, where the usual words name a field of a Job's.
IN_FORM = {
    categories.Category.COMMAND_NOT_FOUND: (
        "image",
        "Use an image of a model server: one made from resources/model_server for server flexcore, else MLServer's.",
    ),
    categories.Category.SERVICE_ACCOUNT_MISSING: ("name", "Somebody has deleted it; run again, which makes it anew."),
}
AS_ROOT = ("run_as_user", "Leave run_as_user empty, which means 1000, or choose another namespace.")


@dataclass(slots=True)
class Snapshot:
    """What is known of a rollout. deployment is None once it is gone."""

    deployment: dict[str, Any] | None
    pods: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class RolloutObserver:
    """log_tail: the last lines of the new pods, once `run` has ended."""

    kubernetes: client.Kubernetes
    namespace: str
    report: Callable[[str], None] = progress.report_now
    clock: Callable[[], float] = time.monotonic
    log_tail: str = ""

    def run(self, deployment: dict[str, Any], until: float) -> dict[str, Any]:
        """The Deployment once it is rolled out. Raises the typed error of whatever prevents it by `until`."""
        reports: queue.SimpleQueue[watcher.Report] = queue.SimpleQueue()
        subjects = (self._deployment_subject(deployment), self._pods_subject(deployment))
        watchers = [watcher.Watcher(self.kubernetes, subject, reports.put, clock=self.clock) for subject in subjects]
        logs = pod_logs.PodLogs(self.kubernetes, self.namespace, self.report)
        for thread in watchers:
            thread.start()
        try:
            return self._follow(reports, deployment, logs, until)
        finally:
            for thread in watchers:
                thread.stop()
            self.log_tail = logs.tail()

    def _deployment_subject(self, deployment: Object) -> watcher.Subject:
        name = deployment["metadata"]["name"]
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        request = api_errors.Call("watch", "deployments.apps", self.namespace, name)
        return watcher.Subject("deployment", path, {"fieldSelector": f"metadata.name={name}"}, request)

    def _pods_subject(self, deployment: Object) -> watcher.Subject:
        labels = deployment["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        request = api_errors.Call("watch", "pods", self.namespace)
        return watcher.Subject("pods", path, {"labelSelector": selector}, request)

    def _follow(
        self,
        reports: queue.SimpleQueue[watcher.Report],
        stored: dict[str, Any],
        logs: pod_logs.PodLogs,
        until: float,
    ) -> dict[str, Any]:
        seen, uid = Snapshot(stored), stored["metadata"]["uid"]
        grace, events_read = progress.GracePeriod(self.clock), self.clock()
        reporter = progress.ProgressReporter(lambda text: self.report(self.kubernetes.redactor.text(text)))
        while True:
            self._receive(reports, seen, uid)
            deployment = seen.deployment
            if deployment is None:
                deleted = categories.Problem(categories.Category.DELETED, "The Deployment was deleted meanwhile")
                raise self._error(deleted, stored, logs)
            reporter.report_once(f"Rollout: {describe_progress(deployment)}")
            if is_complete(deployment):
                return deployment
            pods = newest_pods(deployment, seen.pods)
            logs.update(pods)
            now = self.clock()
            if now - events_read >= EVENTS_INTERVAL_S:
                events_read = now
                seen.events = self._list_events(pods)
            problem = diagnose_rollout(deployment, seen.pods, seen.events)
            reporter.report_problem(problem)
            if problem and grace.is_over(problem, QUEUE_TIMEOUT_S):
                raise self._error(problem, stored, logs)
            if now >= until:
                is_slow = problem is not None and problem.category == categories.Category.NOT_READY
                late = diagnose_lateness(deployment, problem) if is_slow or problem is None else problem
                raise self._error(late, stored, logs)

    def _receive(self, reports: queue.SimpleQueue[watcher.Report], seen: Snapshot, uid: str) -> None:
        """Keeps what the next reports say; returns after a tick when there is none."""
        for report in watcher.drain(reports, TICK_S):
            if report.source == "pods":
                seen.pods = report.items
            else:
                seen.deployment = next((item for item in report.items if item["metadata"]["uid"] == uid), None)

    def _list_events(self, pods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of the first new pod that is not ready; none when they may not be read."""
        waiting = next((pod for pod in pods if not is_ready(pod)), None)
        if waiting is None:
            return []
        query: client.Query = {"fieldSelector": f"involvedObject.uid={waiting['metadata']['uid']}", "limit": 100}
        path = f"/api/v1/namespaces/{self.namespace}/events"
        try:
            page = self.kubernetes.list(path, query, api_errors.Call("list", "events", self.namespace), retry_s=0)
        except errors.FlexcoreError:
            return []
        return list(page.get("items") or [])

    def _error(self, problem: categories.Problem, item: Object, logs: pod_logs.PodLogs) -> errors.FlexcoreError:
        logs.drain(1.0)
        problem = problem.with_detail(self.kubernetes.redactor.text(problem.detail))
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        remote = {"kind": "Deployment", "name": name, "namespace": self.namespace, "uid": uid}
        return problem.to_error(f"Deployment {name} failed", name, remote=remote, log_tail=logs.tail())


def is_complete(deployment: Object) -> bool:
    """Every replica is of the newest generation and available, and none of an older one is left."""
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return bool(seen) and all(count == wanted for count in counts)


def describe_progress(deployment: Object) -> str:
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    return f"{status.get('updatedReplicas', 0)} of {wanted} updated, {status.get('availableReplicas', 0)} available"


def newest_pods(deployment: Object, pods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods of the generation that is being rolled out."""
    wanted = revisions.read_digest(deployment["spec"]["template"])
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(serving_manifests.ROLLOUT) == wanted]


def diagnose_rollout(
    deployment: Object, pods: Sequence[dict[str, Any]], events: Sequence[Object] = ()
) -> categories.Problem | None:
    """What keeps the new pods from getting ready; pods of the generation before are not looked at."""
    if refused := job_status.find_condition(deployment, "ReplicaFailure"):
        event = {"reason": refused.get("reason"), "message": refused.get("message")}
        found = admission.diagnose_creation([event])
        return (
            name_field(found)
            if found
            else categories.Problem(categories.Category.UNKNOWN, str(refused.get("message")), 15.0)
        )
    if problem := pod_problems.diagnose_pods(newest_pods(deployment, pods), events):
        return name_field(problem)
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    is_late = any(entry.get("reason") == "ProgressDeadlineExceeded" for entry in conditions)
    slow = diagnose_readiness(newest_pods(deployment, pods), events)
    return diagnose_lateness(deployment, slow) if is_late else slow


def name_field(problem: categories.Problem) -> categories.Problem:
    """The problem in terms of a deployment's form."""
    subject, remedy = IN_FORM.get(problem.category, ("", ""))
    if problem.category == categories.Category.ADMISSION_DENIED and "runAsUser=0" in problem.detail:
        subject, remedy = AS_ROOT
    return replace(problem, subject=subject, remedy=remedy) if subject else problem


def diagnose_readiness(pods: Sequence[Object], events: Sequence[Object]) -> categories.Problem | None:
    """A pod that runs and does not get ready, in the words of its probe; it may, as long as there is time at all."""
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running" and not is_ready(pod)]
    failures = [event for event in events if event.get("reason") == "Unhealthy"]
    if not running or not failures:
        return None
    count = failures[-1].get("count")
    times = f" ({count} times so far)" if count else ""
    name = str(running[0]["metadata"]["name"])
    text = " ".join(str(failures[-1].get("message")).split())
    detail = f"pod {name} runs and is not ready: {text}{times}"
    return categories.Problem(categories.Category.NOT_READY, detail, categories.NO_LIMIT, pod=name)


def is_ready(pod: Object) -> bool:
    return job_status.find_condition(pod, "Ready") is not None


def diagnose_lateness(deployment: Object, cause: categories.Problem | None = None) -> categories.Problem:
    text = f"The new pods did not get ready in time ({describe_progress(deployment)})"
    return categories.Problem(categories.Category.NOT_READY, f"{text}: {cause.detail}" if cause else text)
