# requirements: flexcore_kubernetes
"""Shares by replicas, for a cluster without Gateway API and Istio: one Service over the pods of both versions.

Its selector is what the pod templates of both Deployments have in common, and no other Deployment's. So a version gets
requests by the number of its ready pods: of 4 replicas, 25 % is one. A step first scales up and waits for ready pods,
then scales down; pods that leave have their time to drain. The record stands on the Service and is written first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import traffic_decision, traffic_record, traffic_route, traffic_target
from f.flexcore.lib.kubernetes_api import api_errors, client

Object = dict[str, Any]
Shares = traffic_decision.Shares
# Models take minutes to load.
ROLLOUT_TIMEOUT_S = 600.0
# Labels that tell one version, or one generation of it, from the next.
VERSION_LABELS = ("pod-template-hash", "flexcore/rollout", "flexcore/model-version", "app.kubernetes.io/version")


@dataclass(slots=True)
class ReplicaTarget:
    """The shared Service `name`, and the Deployments of the two versions, which have the names of their Services."""

    kubernetes: client.Kubernetes
    name: str
    namespace: str
    stable: traffic_route.Backend
    candidate: traffic_route.Backend
    settle_timeout_s: float = ROLLOUT_TIMEOUT_S
    uid_kind: str = field(default="Service", init=False)

    @property
    def what(self) -> str:
        return f"Service {self.name}"

    def read(self) -> Object | None:
        return self.kubernetes.get(self._path("services", self.name), self._call("get", "services", self.name))

    def create(self, labels: Mapping[str, str]) -> Object | None:
        selector = find_common_selector(self._deployment(self.stable), self._deployment(self.candidate))
        check_selector(selector, self._list("deployments"), (self.stable.name, self.candidate.name))
        service = self.kubernetes.get(
            self._path("services", self.stable.name), self._call("get", "services", self.stable.name)
        )
        ports = ((service or {}).get("spec") or {}).get("ports") or []
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": dict(labels)},
            "spec": {
                "type": "ClusterIP",
                "selector": selector,
                "ports": [
                    {name: port[name] for name in ("name", "port", "targetPort", "protocol") if name in port}
                    for port in ports
                ],
            },
        }
        return self.kubernetes.create(self._path("services"), body, self._call("create", "services", self.name))

    def read_shares(self, item: Object) -> Shares:
        return {
            backend.name: int(self._deployment(backend)["spec"].get("replicas", 1))
            for backend in (self.stable, self.candidate)
        }

    def find_before(self, item: Object) -> Shares:
        """The stable version alone: pods of the candidate take requests from the moment they are ready."""
        self._check_selected(item)
        self._check_no_autoscaler()
        shares = self.read_shares(item)
        total = shares[self.stable.name] or shares[self.candidate.name]
        return {self.stable.name: max(1, total), self.candidate.name: 0}

    def plan_shares(self, weight: int, before: Mapping[str, int]) -> Shares:
        total = before[self.stable.name]
        return traffic_decision.split_replicas(self.stable.name, self.candidate.name, weight, total)

    def is_as_written(self, shares: Mapping[str, int], record: traffic_record.ShiftRecord) -> bool:
        """Each Deployment is scaled by a request of its own: of a change that was cut short some are as before."""
        known = (record.current, record.earlier)
        return all(any(item.get(name) == count for item in known) for name, count in shares.items())

    def write(self, item: Object, metadata: Mapping[str, Any], shares: Mapping[str, int] | None) -> Object | None:
        changes = traffic_target.pin_version(item, metadata)
        path, call = self._path("services", self.name), self._call("patch", "services", self.name)
        stored = self.kubernetes.patch(path, changes, call)
        if stored is not None and shares is not None:
            self._scale_up(self.read_shares(stored), shares)
        return stored

    def settle(self, item: Object, shares: Mapping[str, int], *, is_urgent: bool = False) -> traffic_route.Settlement:
        """Enough pods of both are ready; only then the surplus of the other version goes. With urgency one ready pod
        is enough: few right answers are better than many wrong ones. A driver may have been cut short between its
        record and the replicas: those that are missing still are asked for."""
        deployments = {backend.name: self._deployment(backend) for backend in (self.stable, self.candidate)}
        self._scale_up({name: _count(item["spec"], 1) for name, item in deployments.items()}, shares)
        waiting = ""
        for name, count in shares.items():
            ready = int((deployments[name].get("status") or {}).get("readyReplicas") or 0)
            if ready < count:
                waiting = f"{name} has {ready} of {count} pods ready"
                if not (is_urgent and ready):
                    return traffic_route.Settlement(False, waiting)
        for name, count in shares.items():
            if _count(deployments[name]["spec"], 1) > count:
                self._scale(name, count)
        left = [name for name, count in shares.items() if _count(deployments[name].get("status") or {}, 0) > count]
        problem = f"{', '.join(left)} still ends its pods" if left else waiting
        return traffic_route.Settlement(not problem, problem)

    def name_writer(self, item: Object) -> str:
        for backend in (self.stable, self.candidate):
            if writer := traffic_record.name_writer(self._deployment(backend), "replicas"):
                return writer
        return ""

    def _scale_up(self, now: Mapping[str, int], shares: Mapping[str, int]) -> None:
        """More pods first: fewer of the other version while these are not ready would lose requests."""
        for name, count in shares.items():
            if count > now[name]:
                self._scale(name, count)

    def _scale(self, name: str, count: int) -> None:
        path, call = self._path("deployments", f"{name}/scale"), self._call("patch", "deployments.apps/scale", name)
        self.kubernetes.patch(path, {"spec": {"replicas": count}}, call)

    def _deployment(self, backend: traffic_route.Backend) -> Object:
        path, call = self._path("deployments", backend.name), self._call("get", "deployments.apps", backend.name)
        item = self.kubernetes.get(path, call)
        if item is None:
            raise errors.NotFound(
                f"There is no Deployment {backend.name} in namespace {self.namespace}",
                subject="candidate" if backend is self.candidate else "stable",
                remedy="Deploy it first: by replicas, a version is a Deployment of its Service's name.",
            )
        return item

    def _check_selected(self, item: Object) -> None:
        """Raises Conflict unless the Service leads to both versions and to nothing else."""
        selector = item["spec"].get("selector") or {}
        for backend in (self.stable, self.candidate):
            if not selects(selector, self._deployment(backend)):
                raise errors.Conflict(
                    f"{self.what} does not lead to the pods of {backend.name}",
                    subject="route",
                    remedy="Choose another route name, so that a Service for both is made.",
                )
        check_selector(selector, self._list("deployments"), (self.stable.name, self.candidate.name))

    def _check_no_autoscaler(self) -> None:
        for item in self._list("horizontalpodautoscalers"):
            target = item["spec"].get("scaleTargetRef") or {}
            if target.get("kind") == "Deployment" and target.get("name") in (self.stable.name, self.candidate.name):
                raise errors.Conflict(
                    f"HorizontalPodAutoscaler {item['metadata']['name']} sets the replicas of {target['name']}",
                    subject="mode",
                    remedy="Shares by replicas need them: remove it for the time of the canary, or use a Gateway.",
                )

    def _list(self, plural: str) -> list[Object]:
        resources = {
            "deployments": "deployments.apps",
            "horizontalpodautoscalers": "horizontalpodautoscalers.autoscaling",
        }
        call = api_errors.Call("list", resources[plural], self.namespace)
        return list(self.kubernetes.list(self._path(plural), {}, call).get("items") or [])

    def _path(self, plural: str, name: str = "") -> str:
        prefixes = {"services": "/api/v1", "deployments": "/apis/apps/v1"}
        path = f"{prefixes.get(plural, '/apis/autoscaling/v2')}/namespaces/{self.namespace}/{plural}"
        return f"{path}/{name}" if name else path

    def _call(self, verb: str, resource: str, name: str) -> api_errors.Call:
        return api_errors.Call(verb, resource, self.namespace, name)


def find_common_selector(stable: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, str]:
    """The labels that the pods of both versions have. Raises Conflict when there are none."""
    left, right = _pod_labels(stable), _pod_labels(candidate)
    common = {name: value for name, value in left.items() if right.get(name) == value and name not in VERSION_LABELS}
    if not common:
        names = [item["metadata"]["name"] for item in (stable, candidate)]
        raise errors.Conflict(
            f"The pods of {names[0]} and {names[1]} have no label in common, so no Service can lead to both",
            subject="candidate",
            remedy="Give both pod templates one label, e.g. app, or use a Gateway.",
        )
    return common


def check_selector(selector: Mapping[str, str], deployments: Iterable[Mapping[str, Any]], names: Iterable[str]) -> None:
    """Raises Conflict when further Deployments' pods would get requests, too."""
    known = set(names)
    others = [item["metadata"]["name"] for item in deployments if selects(selector, item)]
    if more := sorted(set(others) - known):
        text = ",".join(f"{name}={value}" for name, value in sorted(selector.items()))
        raise errors.Conflict(
            f"A Service for {text} would lead to {', '.join(more)}, too",
            subject="candidate",
            remedy="Take it down, give the two versions a label of their own, or use a Gateway.",
        )


def selects(selector: Mapping[str, str], deployment: Mapping[str, Any]) -> bool:
    labels = _pod_labels(deployment)
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def _count(part: Mapping[str, Any], default: int) -> int:
    return int(part.get("replicas", default))


def _pod_labels(deployment: Mapping[str, Any]) -> dict[str, str]:
    template = (deployment["spec"].get("template") or {}).get("metadata") or {}
    return dict(template.get("labels") or {})
