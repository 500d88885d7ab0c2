# requirements: flexcore_base
"""What belongs to a RayCluster and goes with it: the Secret with its token, and its NetworkPolicy.

Both are made after the RayCluster and owned by it: Kubernetes takes them away with it. A step that was killed in
between leaves them out, and its repeat makes them; the pods wait for their Secret meanwhile.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import api_errors
from f.flexcore.lib.ray import cluster_spec, kuberay_ownership, kubernetes_session

TOKEN_BYTES = 32
# The garbage collector takes what an earlier cluster of the same name has left.
LEFTOVER_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.5
Object = dict[str, Any]


class KubeRayParts:
    def __init__(
        self,
        session: kubernetes_session.Session,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.kubernetes, self.namespace, self.name = session.kubernetes, session.namespace, name
        self._clock, self._sleep = clock, sleep

    def complete(self, stored: Object, spec: cluster_spec.ClusterSpec) -> None:
        """Creates what belongs to the RayCluster and is not there: a killed step may have left it half made."""
        where = kuberay_ownership.find_token_key(stored)
        if where:
            self._create_part("/api/v1", "secrets", stored, self._token_secret(stored, where))
        if spec.network_policy:
            labels = stored["metadata"].get("labels") or {}
            policy = cluster_spec.network_policy(
                spec, self.name, self.namespace, kuberay_ownership.owner_labels(labels)
            )
            self._create_part("/apis/networking.k8s.io/v1", "networkpolicies", stored, policy)

    def rotate_token(self, stored: Object, pods: Sequence[Object]) -> None:
        """Writes a new token into the Secret and lets KubeRay make the pods anew, which read it when they start."""
        where = kuberay_ownership.find_token_key(stored)
        if where is None:
            raise errors.InvalidInput(
                f"The Ray cluster {self.name} asks for no token: there is none to rotate", subject="rotate_token"
            )
        name, key = where
        call = api_errors.Call("patch", "secrets", self.namespace, name)
        body = {"stringData": {key: secrets.token_urlsafe(TOKEN_BYTES)}}
        self.kubernetes.patch(f"/api/v1/namespaces/{self.namespace}/secrets/{name}", body, call)
        for pod in pods:
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{self.namespace}/pods/{metadata['name']}"
            call = api_errors.Call("delete", "pods", self.namespace, metadata["name"])
            self.kubernetes.delete(path, metadata["uid"], call)

    def _token_secret(self, stored: Object, where: tuple[str, str]) -> Object:
        labels = kuberay_ownership.owner_labels(stored["metadata"].get("labels") or {})
        token = secrets.token_urlsafe(TOKEN_BYTES)
        body = cluster_spec.token_secret(self.name, self.namespace, labels, token)
        name, key = where
        return body | {"metadata": body["metadata"] | {"name": name}, "stringData": {key: token}}

    def _create_part(self, api: str, plural: str, stored: Object, body: Object) -> None:
        """Raises Conflict when another one's object has the name."""
        owner = {
            "apiVersion": cluster_spec.API_VERSION,
            "kind": "RayCluster",
            "name": self.name,
            "uid": stored["metadata"]["uid"],
        }
        body = body | {"metadata": body["metadata"] | {"ownerReferences": [owner]}}
        name = body["metadata"]["name"]
        path = f"{api}/namespaces/{self.namespace}/{plural}"
        call = api_errors.Call("create", plural, self.namespace, name)
        until = self._clock() + LEFTOVER_TIMEOUT_S
        while self.kubernetes.create(path, body, call) is None:
            known = self.kubernetes.get(f"{path}/{name}", api_errors.Call("get", plural, self.namespace, name))
            owners = ((known or {}).get("metadata") or {}).get("ownerReferences") or []
            if any(item.get("uid") == owner["uid"] for item in owners):
                return
            is_left_over = any(item.get("kind") == "RayCluster" and item.get("name") == self.name for item in owners)
            if (known and not is_left_over) or self._clock() > until:
                raise errors.Conflict(
                    f"The name {name} is taken by another object of {plural} in namespace {self.namespace}",
                    subject="cluster.name",
                    category="name_taken",
                    remedy="Choose another name for the Ray cluster, or remove that object.",
                )
            # Of an earlier cluster of this name: the garbage collector is about to take it.
            self._sleep(POLL_INTERVAL_S)
