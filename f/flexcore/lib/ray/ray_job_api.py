# requirements: flexcore_base
"""RayJobs of KubeRay over the Kubernetes API: created once, deleted as they were seen, and what belongs to them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes_api import api_errors, deletion
from f.flexcore.lib.ray import connection, job_cluster, kubernetes_session, ray_job_manifest

Object = dict[str, Any]
RESOURCE = "rayjobs.ray.io"
GROUP = "/apis/ray.io/v1"
# Collections of companions, by their kind.
PATHS = {
    "Secret": ("/api/v1", "secrets", "secrets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", "networkpolicies.networking.k8s.io"),
}
MAX_PODS_WITH_EVENTS = 3


@dataclass(frozen=True, slots=True)
class RayJobApi:
    """Raises the errors of Kubernetes."""

    session: kubernetes_session.Session

    @property
    def namespace(self) -> str:
        return self.session.namespace

    def now(self) -> float:
        return self.session.kubernetes.now().timestamp()

    def get(self, name: str) -> Object | None:
        return self.session.kubernetes.get(self._path(name), self._call("get", name))

    def create(self, build: Callable[[frozenset[str]], Object], *, dry_run: bool = False) -> Object | None:
        """The created RayJob; None when the name is taken. build: of the optional fields that KubeRay knows here, which
        its own refusal says; dry_run: nothing stays. Raises NotFound when KubeRay is not there."""
        known = ray_job_manifest.OPTIONAL_FIELDS
        self.check_served()
        while True:
            document = build(known)
            call = self._call("create", document["metadata"]["name"])
            try:
                return self.session.kubernetes.create(self._path(), document, call, dry_run=dry_run)
            except errors.InvalidInput as error:
                unknown = ray_job_manifest.find_unknown_fields(str(error)) & known
                if not unknown:
                    raise
                known = known - unknown

    def check_served(self) -> None:
        """Raises NotFound when KubeRay's CRDs are absent, InvalidInput when they are of another version."""
        call = api_errors.Call("list", RESOURCE)
        code, payload = self.session.kubernetes.request_raw("GET", "/apis/ray.io", None, call)
        if code in (200, 404):
            from f.flexcore.lib.ray import kuberay_diagnosis

            kuberay_diagnosis.check_api(payload if code == 200 else None)
            return
        # The list says it in its own words: credentials, rights, a server that cannot answer now.
        self.session.kubernetes.list(self._path(), {"limit": 1}, call)

    def delete(self, name: str, uid: str) -> None:
        """Marks it for deletion, its cluster first; being gone already is fine."""
        self.session.kubernetes.delete(self._path(name), uid, self._call("delete", name))

    def delete_for_good(self, name: str, uid: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> bool:
        """Whether it was seen to be gone."""
        call = self._call("delete", name)
        return deletion.delete_object(self.session.kubernetes, self._path(name), uid, call, clock=clock, sleep=sleep)

    def ensure_companions(self, own: job_cluster.OwnCluster, ray_job: Object) -> None:
        """Makes what the RayJob's pods need and is not there yet: a step may have died between the two."""
        for item in ray_job_manifest.companions(own, ray_job, secrets.token_urlsafe(32)):
            prefix, plural, resource = PATHS[item["kind"]]
            name = item["metadata"]["name"]
            call = api_errors.Call("create", resource, self.namespace, name)
            # A name that is taken is the same attempt's: it is made of the execution's key.
            self.session.kubernetes.create(f"{prefix}/namespaces/{self.namespace}/{plural}", item, call)

    def workloads(self, uid: str) -> list[Object] | None:
        """Kueue's Workloads of a RayJob; none where Kueue is not there, None when they cannot be read."""
        from f.flexcore.lib.kubernetes_api import kueue_api

        try:
            version = kueue_api.find_version(self.session.kubernetes)
        except errors.TransientError:
            return None
        return kueue_api.list_workloads(self.session.kubernetes, self.namespace, uid, version) if version else []

    def pods(self, labels: dict[str, str]) -> list[Object]:
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return self._list(f"/api/v1/namespaces/{self.namespace}/pods", selector, "pods")

    def ray_cluster(self, name: str) -> Object | None:
        """None also when it cannot be read: it only explains."""
        try:
            return connection.read_ray_cluster(self.session, name)
        except errors.FlexcoreError:
            return None

    def events(self, uids: list[str]) -> list[Object]:
        """The events of these objects, the oldest first; none when they may not be read."""
        found: list[Object] = []
        path = f"/api/v1/namespaces/{self.namespace}/events"
        for uid in uids[: MAX_PODS_WITH_EVENTS + 2]:
            query: dict[str, str | int | bool] = {"fieldSelector": f"involvedObject.uid={uid}", "limit": 100}
            try:
                call = api_errors.Call("list", "events", self.namespace)
                found += self.session.kubernetes.list(path, query, call, retry_s=0).get("items") or []
            except errors.FlexcoreError:
                return found
        return sorted(found, key=lambda item: str(item.get("lastTimestamp") or item.get("eventTime") or ""))

    def list_ours(self, *, in_all_namespaces: bool = False) -> list[Object]:
        """All RayJobs that carry our labels: of the namespace, or of all where the credentials may see them."""
        selector = f"{identity.MANAGED_BY}=flexcore"
        if in_all_namespaces:
            try:
                return self._list(f"{GROUP}/rayjobs", selector, RESOURCE, must_answer=True)
            except errors.Forbidden as error:
                if error.category == "credentials":
                    raise
        return self._list(self._path(), selector, RESOURCE, must_answer=True)

    def _list(self, path: str, selector: str, resource: str, must_answer: bool = False) -> list[Object]:
        """must_answer: whether what cannot be read is an error, and no empty list."""
        call = api_errors.Call("list", resource, self.namespace)
        query: dict[str, str | int | bool] = {"labelSelector": selector, "limit": 500}
        try:
            return list(self.session.kubernetes.list(path, query, call).get("items") or [])
        except errors.FlexcoreError:
            if must_answer:
                raise
            return []

    def local_queue(self, name: str) -> Object | None:
        """Kueue's LocalQueue. Raises NotFound when Kueue is not there."""
        from f.flexcore.lib.kubernetes_api import kueue_api

        version = kueue_api.find_version(self.session.kubernetes)
        if not version:
            raise errors.NotFound(
                "Kueue is not there, and own_cluster.queue names one of its queues",
                subject="own_cluster.queue",
                category="kueue_absent",
                remedy="Install Kueue, or leave own_cluster.queue empty.",
            )
        call = api_errors.Call("get", "localqueues.kueue.x-k8s.io", self.namespace, name)
        path = f"{kueue_api.GROUP}/{version}/namespaces/{self.namespace}/localqueues/{name}"
        return self.session.kubernetes.get(path, call)

    def _path(self, name: str = "") -> str:
        path = f"{GROUP}/namespaces/{self.namespace}/rayjobs"
        return f"{path}/{name}" if name else path

    def _call(self, verb: str, name: str = "") -> api_errors.Call:
        return api_errors.Call(verb, RESOURCE, self.namespace, name)
