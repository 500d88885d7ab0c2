# requirements: flexcore_kubernetes
"""New requests for running pods by `pods/resize`, one pod after the other, and how the node took them.

    asked for ──┬─ refused       the API server: more than the node has, another QoS class, a quota
                ├─ Infeasible    never on this node          PodResizePending
                ├─ Deferred      not now: no room            PodResizePending, kept asking until the time is over
                ├─ Error         memory below what is used   PodResizeInProgress, kept asking likewise
                └─ done          the container's own status has the new amounts
Whatever is not done by then is put back, and so are the pods before it.
Source: https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import right_sizing
from f.flexcore.lib.kubernetes_api import api_errors, client, job_status, progress

Object = dict[str, Any]
State = Literal["done", "waiting", "deferred", "infeasible", "error"]

POLL_INTERVAL_S = 0.25
PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
MAX_CONFLICTS = 5
# To give a pod its own amounts back, when its time is over already.
RESTORE_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class ResizeStatus:
    """Where the resize of one pod stands, and what the node says about it."""

    state: State
    message: str = ""


def read_status(pod: Mapping[str, Any], container: str, wanted: Mapping[str, Any]) -> ResizeStatus:
    """How far a pod is with `wanted` resources for a container."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    generation = metadata.get("generation") or 0
    if (status.get("observedGeneration") or generation) < generation:
        return ResizeStatus("waiting")
    if entry := job_status.find_condition(pod, PENDING):
        kind: State = "infeasible" if entry.get("reason") == "Infeasible" else "deferred"
        return ResizeStatus(kind, str(entry.get("message") or entry.get("reason") or ""))
    if entry := job_status.find_condition(pod, IN_PROGRESS):
        text = str(entry.get("message") or "")
        return ResizeStatus("error" if entry.get("reason") == "Error" else "waiting", text)
    actual = find_container(status.get("containerStatuses") or (), container).get("resources")
    if actual is None:
        return ResizeStatus("waiting", "the node does not say which resources the container has")
    return ResizeStatus("done" if right_sizing.same_resources(actual, wanted) else "waiting")


def find_container(items: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((item for item in items if item.get("name") == name), {})


def needs_restart(container: Mapping[str, Any], name: str) -> bool:
    """Whether the container's resizePolicy restarts it for another amount of cpu or memory."""
    policies = {item.get("resourceName"): item.get("restartPolicy") for item in container.get("resizePolicy") or ()}
    return policies.get(name) == "RestartContainer"


@dataclass(slots=True)
class PodResizer:
    """One container of a Deployment's pods. done: (pod, its resources before) of those that are resized."""

    kubernetes: client.Kubernetes
    namespace: str
    container: str
    report: Callable[[str], None] = progress.report_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    done: list[tuple[Object, Object]] = field(default_factory=list)

    def resize(self, pods: Sequence[Object], cpu: str, memory: str, until: float) -> list[dict[str, Any]]:
        """A row for each pod. Raises the typed error of the pod that cannot, once all are as they were;
        error.details.undone says what became of them."""
        rows = []
        for pod in pods:
            try:
                rows.append(self._resize_pod(pod, cpu, memory, until))
            except errors.FlexcoreError as error:
                self._undo(error)
                raise
        return rows

    def _resize_pod(self, pod: Object, cpu: str, memory: str, until: float) -> dict[str, Any]:
        name, begun = pod["metadata"]["name"], self.clock()
        container = find_container(pod["spec"]["containers"], self.container)
        actual = find_container((pod.get("status") or {}).get("containerStatuses") or (), self.container)
        # What applies, not what was asked for: an earlier resize may still be pending.
        before = dict(actual.get("resources") or container.get("resources") or {})
        wanted = right_sizing.scale_resources({"resources": before}, cpu, memory)
        self._check_qos(name, before, cpu, memory)
        if before == wanted and right_sizing.same_resources(container.get("resources") or {}, wanted):
            return {"pod": name, "state": "was so already", "seconds": 0.0, "restarts": 0}
        self.done.append((pod, before))
        try:
            self.ask(pod, wanted)
        except errors.UserError:
            # Refused; of a lost answer nobody knows.
            self.done.pop()
            raise
        stored = self._wait(pod, wanted, until)
        now = find_container(stored["status"]["containerStatuses"], self.container)
        restarts = int(now.get("restartCount") or 0) - int(actual.get("restartCount") or 0)
        seconds = round(self.clock() - begun, 2)
        self.report(f"Pod {name}: {describe_resources(wanted)} after {seconds} s" + (", restarted" * bool(restarts)))
        return {"pod": name, "state": "resized", "seconds": seconds, "restarts": restarts}

    def _check_qos(self, pod: str, before: Mapping[str, Any], cpu: str, memory: str) -> None:
        requests = before.get("requests") or {}
        missing = [name for name, wanted in (("cpu", cpu), ("memory", memory)) if wanted and name not in requests]
        if missing and not (before.get("requests") or before.get("limits")):
            raise errors.InvalidInput(
                f"Pod {pod} requests no {' and no '.join(missing)}: it keeps its class of service (BestEffort) "
                "while it runs",
                subject=missing[0],
                category="qos_class",
                remedy="Use apply: template, which makes new pods.",
            )

    def ask(self, pod: Object, resources: Mapping[str, Any]) -> None:
        """Writes the resources into the pod. Raises what the API server says against them, or Conflict when it is
        another pod by now."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        path = f"{self.path(name)}/resize"
        call = api_errors.Call("patch", "pods/resize", self.namespace, name)
        # A merge patch replaces the whole list; the server lets nothing but resources be changed by it.
        containers = [
            {**item, "resources": resources} if item["name"] == self.container else item
            for item in pod["spec"]["containers"]
        ]
        for _ in range(MAX_CONFLICTS):
            try:
                if self.kubernetes.patch(path, {"metadata": {"uid": uid}, "spec": {"containers": containers}}, call):
                    return
            except errors.InvalidInput as error:
                raise _explain_refusal(error, name) from None
            self.sleep(POLL_INTERVAL_S)
        raise errors.Conflict(
            f"Pod {name} is another one by now, or another client keeps changing it", subject=name, remedy="Run again."
        )

    def _wait(self, pod: Object, wanted: Mapping[str, Any], until: float) -> Object:
        name, shown = pod["metadata"]["name"], ""
        while True:
            stored = self.kubernetes.get(self.path(name), api_errors.Call("get", "pods", self.namespace, name))
            if stored is None or stored["metadata"]["uid"] != pod["metadata"]["uid"]:
                raise errors.Conflict(f"Pod {name} has gone meanwhile", subject=name, remedy="Run again.")
            asked = find_container(stored["spec"]["containers"], self.container).get("resources") or {}
            if not right_sizing.same_resources(asked, wanted):
                raise errors.Conflict(
                    f"Another client resized pod {name} meanwhile", subject=name, remedy="See who, then run again."
                )
            status = read_status(stored, self.container, wanted)
            # One that was not ready before is not waited for: more memory may be what it needs.
            if status.state == "done" and (_is_ready(stored) or not _is_ready(pod)):
                return stored
            if status.message and status.message != shown:
                shown = status.message
                self.report(f"Pod {name}: resize {status.state}: {shown}")
            if status.state == "infeasible" or self.clock() >= until:
                raise to_error(status, stored)
            self.sleep(POLL_INTERVAL_S)

    def _undo(self, error: errors.FlexcoreError) -> None:
        """Gives every pod of this run its own amounts back, the last first; says in the error which has them."""
        left = []
        for pod, before in reversed(self.done):
            try:
                self.ask(pod, before)
                self._wait(pod, before, self.clock() + RESTORE_TIMEOUT_S)
            except errors.FlexcoreError:
                left.append(pod["metadata"]["name"])
        names = [pod["metadata"]["name"] for pod, _ in self.done if pod["metadata"]["name"] not in left]
        undone = f"put back: {', '.join(names)}" if names else "none is changed" if not left else "none is put back"
        undone += f"; not put back: {', '.join(left)}" if left else ""
        error.details["undone"] = undone
        self.report(f"Pods: {undone}")
        error.args = (f"{error} Pods: {undone}.",)

    def path(self, name: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{name}"


def to_error(status: ResizeStatus, pod: Mapping[str, Any]) -> errors.FlexcoreError:
    """The typed error of a resize that is not done."""
    name, node = pod["metadata"]["name"], (pod.get("spec") or {}).get("nodeName") or "its node"
    common: dict[str, Any] = {"subject": name, "condition": status.state, "node": node}
    elsewhere = "Use apply: template, whose new pods may go to another node, or ask for less."
    if status.state == "infeasible":
        text = f"Pod {name} cannot be resized on {node} at all: {status.message}"
        return errors.Conflict(text, category="resize_infeasible", remedy=elsewhere, **common)
    if status.state == "deferred":
        text = f"{node} has no room yet for pod {name} (Deferred): {status.message}"
        return errors.Unavailable(text, category="resize_deferred", remedy=elsewhere, **common)
    if status.state == "error":
        text = f"{node} cannot apply the resize of pod {name}: {status.message}"
        return errors.Conflict(
            text, category="resize_error", remedy="Ask for more than is used, or use apply: template.", **common
        )
    return errors.Unavailable(
        f"{node} has not applied the resize of pod {name} in time {status.message}".rstrip(),
        category="resize_late",
        remedy="Give it more time (timeout_s), or use apply: template.",
        **common,
    )


def describe_resources(resources: Mapping[str, Any]) -> str:
    requests = resources.get("requests") or {}
    return ", ".join(f"{name} {requests[name]}" for name in ("cpu", "memory") if name in requests)


def _explain_refusal(error: errors.InvalidInput, pod: str) -> errors.FlexcoreError:
    text = str(error)
    elsewhere = "Use apply: template, whose new pods may go to another node, or ask for less."
    if "enough allocatable" in text:
        # Since 1.36 the API server itself refuses what the kubelet would call Infeasible.
        why = text.partition("forbidden: ")[2].partition(". Change")[0] or text
        return errors.Conflict(
            f"Pod {pod} cannot be resized on its node at all: {why}",
            subject=pod,
            category="resize_infeasible",
            remedy=elsewhere,
            condition="infeasible",
        )
    if "QOS" in text:
        return errors.InvalidInput(
            f"Pod {pod} keeps its class of service while it runs: requests and limits must stay equal, or different",
            subject=pod,
            category="qos_class",
            remedy="Use apply: template, which makes new pods.",
        )
    return error


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return job_status.find_condition(pod, "Ready") is not None
