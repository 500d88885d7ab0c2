"""KubeRay's operator and a Ray head behind it, on the fake Kubernetes API: pods and events by which it answers."""

from __future__ import annotations

import copy
import time
import uuid
from typing import Any

import kmock

from tests.kubernetes.fake_cluster import Api, FakeCluster, now

Object = dict[str, Any]
RAY_CLUSTERS = "ray.io/v1/rayclusters"
QUOTA = (
    'Failed to create head Pod work/ml-head, pods "ml-head" is forbidden: exceeded quota: small, requested: cpu=4, '
    "used: cpu=0, limited: cpu=2"
)


class FakeKubeRay:
    """mode: what becomes of a RayCluster: ready, silent (no operator), image, unschedulable, invalid, quota, crash.

    has_auth_options: whether the CRD knows them, as KubeRay 1.5.1 does."""

    def __init__(self, cluster: FakeCluster, mode: str = "ready", has_auth_options: bool = False) -> None:
        self.cluster, self.mode = cluster, mode
        self.asked: list[str] = []
        cluster.api.story = self._play
        cluster.api.proxied = self._answer
        if not has_auth_options:
            cluster.api.unknown_fields["rayclusters"] = ("authOptions", "spec.authOptions")

    # --- what tests look at

    def ray_clusters(self) -> list[Object]:
        return self.cluster.api.all(RAY_CLUSTERS)

    def pods(self) -> list[Object]:
        return self.cluster.api.all("v1/pods")

    def secrets(self) -> list[Object]:
        return self.cluster.api.all("v1/secrets")

    def policies(self) -> list[Object]:
        return self.cluster.api.all("networking.k8s.io/v1/networkpolicies")

    # --- the operator

    async def _play(self, api: Api, resource: str, item: Object) -> None:
        if resource != RAY_CLUSTERS or self.mode == "silent":
            return
        await self._touch(api, item)
        if self.mode == "invalid":
            await self._event(api, item, "InvalidRayClusterSpec", "The RayCluster spec is invalid: no containers")
        elif self.mode == "quota":
            await self._event(api, item, "FailedToCreateHeadPod", QUOTA)
        elif self.mode == "crash":
            for _ in range(3):
                ended = "Ray container terminated status: &ContainerStateTerminated{ExitCode:127,Reason:Error,}"
                await self._event(api, item, "DeletedHeadPod", f"Deleted head Pod; Pod status: Running; {ended}")
        else:
            await self._make_pods(api, item)

    async def _touch(self, api: Api, item: Object) -> None:
        """Writes a status, as the operator does at any moment: the resourceVersion is another one then."""
        metadata = item["metadata"]
        address = (kmock.resource(RAY_CLUSTERS), metadata["namespace"], metadata["name"])
        async with api.writing:
            if address in api._objects and not api._objects[address].deleted:
                raw = copy.deepcopy(api._objects[address].raw)
                raw["metadata"]["resourceVersion"] = str(next(api.version))
                raw["status"] = {"observedGeneration": 1}
                api._objects[address] = raw

    async def _make_pods(self, api: Api, item: Object) -> None:
        body = item["spec"]
        groups = [("headgroup", "head", 1, body["headGroupSpec"])]
        groups += [(group["groupName"], "worker", group["replicas"], group) for group in body["workerGroupSpecs"]]
        known = {pod["metadata"]["name"] for pod in api.all("v1/pods")}
        for group, kind, count, spec in groups:
            for number in range(count):
                name = f"{item['metadata']['name']}-{group}-{number}"
                if name not in known:
                    await api.keep("v1/pods", self._pod(item, name, group, kind, spec))

    def _pod(self, item: Object, name: str, group: str, kind: str, spec: Object) -> Object:
        metadata = item["metadata"]
        container = spec["template"]["spec"]["containers"][0]
        return {
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": {"ray.io/cluster": metadata["name"], "ray.io/node-type": kind, "ray.io/group": group},
                "ownerReferences": [{"kind": "RayCluster", "name": metadata["name"], "uid": metadata["uid"]}],
            },
            "spec": {"containers": [container], "nodeName": "n"},
            "status": self._pod_status(container),
        }

    def _pod_status(self, container: Object) -> Object:
        if self.mode == "image":
            waiting = {"reason": "ErrImagePull", "message": f"{container['image']}: not found"}
            entry = {"name": container["name"], "image": container["image"], "state": {"waiting": waiting}}
            return {"phase": "Pending", "containerStatuses": [entry]}
        if self.mode == "unschedulable":
            message = "0/1 nodes are available: 1 Insufficient cpu."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            return {"phase": "Pending", "conditions": [condition]}
        return {"phase": "Running"}

    async def _event(self, api: Api, item: Object, reason: str, message: str) -> None:
        metadata = item["metadata"]
        involved = {"kind": "RayCluster", "name": metadata["name"], "uid": metadata["uid"]}
        event = {
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:8]}", "namespace": metadata["namespace"]},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "count": 1,
            "lastTimestamp": now(),
        }
        await api.keep("v1/events", event)

    # --- the head

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        if path == "/api/version":
            return 200, {"ray_version": "2.60.0", "session_name": "s"}
        if path == "/api/jobs/":
            return 200, []
        if path == "/api/v0/nodes":
            return 200, {"result": True, "data": {"result": {"result": [self._node(pod) for pod in self.pods()]}}}
        if path == "/api/cluster_status":
            return 200, {"result": True, "data": {"clusterStatus": None}}
        return 501, {}

    def _node(self, pod: Object) -> Object:
        return {
            "node_id": pod["metadata"]["uid"],
            "state": "ALIVE",
            "is_head_node": pod["metadata"]["labels"]["ray.io/node-type"] == "head",
            "resources_total": {"CPU": 1.0, "memory": 1024.0},
        }


def wait_for(check: Any, timeout_s: float = 10.0) -> Any:
    until = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)
    return found
