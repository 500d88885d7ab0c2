# requirements: flexcore_base
"""One RayService of KubeRay that serves a model: made, changed in place, watched, and taken down.

Every change of it is written on the condition that it is the very version which was read; when it is not, the change is
made again of what is there now. So two deployments at once lose nothing, and no lease is needed.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes_api import api_errors, deletion
from f.flexcore.lib.ray import cluster_spec, kuberay_diagnosis, kubernetes_session, service_spec

RESOURCE = "rayservices.ray.io"
# A change that others got in before is made again; each try means that somebody else succeeded.
MAX_TRIES = 200
MAX_PAUSE_S = 0.25
POLL_INTERVAL_S = 1.0
FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
# What Serve says of a deployment whose replica ended in its constructor; it tries again before it gives up.
FAILED_TO_START = "failed to start"
# The end of a message names the exception.
MAX_MESSAGE_CHARACTERS = 500
EXCEPTION = re.compile(r"[\w.]*(Error|Exception|Problem|Exit|Interrupt)\w*:")
# A status of before a change may still stand there; the operator looks every two seconds.
SETTLE_S = 5.0
Object = dict[str, Any]


class RayService:
    """Raises the errors of Kubernetes' client, and InvalidInput for a RayService that is not ours."""

    def __init__(
        self,
        session: kubernetes_session.Session,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        report: Callable[[str], None] = print,
    ) -> None:
        self.session, self.kubernetes, self.namespace, self.name = session, session.kubernetes, session.namespace, name
        self._clock, self._sleep, self._report = clock, sleep, report
        self.path = f"/apis/ray.io/v1/namespaces/{self.namespace}/rayservices/{name}"

    def call(self, verb: str) -> api_errors.Call:
        return api_errors.Call(verb, RESOURCE, self.namespace, self.name)

    def read(self) -> Object | None:
        return self.kubernetes.get(self.path, self.call("get"))

    def read_ours(self) -> Object | None:
        service = self.read()
        if service is not None:
            service_spec.check_ours(service)
        return service

    def check_api(self) -> None:
        """Raises NotFound where KubeRay is not installed."""
        call = api_errors.Call("get", "ray.io", name="ray.io")
        code, payload = self.kubernetes.request_raw("GET", "/apis/ray.io", None, call)
        if code in (200, 404):
            kuberay_diagnosis.check_api(payload if code == 200 and isinstance(payload, dict) else None)

    def find_gateway(self, gateway_class: str) -> str:
        """The class of upgrades in steps when the cluster can make them; "" when it cannot, which is reported."""
        if not gateway_class:
            return ""
        call = api_errors.Call("get", "gatewayclasses.gateway.networking.k8s.io", name=gateway_class)
        path = f"/apis/gateway.networking.k8s.io/v1/gatewayclasses/{gateway_class}"
        code, _ = self.kubernetes.request_raw("GET", path, None, call)
        # Who may not read the class learns from the Gateway whether there is one (service_gateway.settle).
        if code in (200, 403) and self._knows_steps():
            return gateway_class
        what = f"has no GatewayClass {gateway_class}" if code == 404 else "cannot upgrade a RayService in steps"
        self._report(f"The Kubernetes cluster {what}: a new Ray cluster takes over at once")
        return ""

    def _knows_steps(self) -> bool:
        call = api_errors.Call("get", "openapi", name="ray.io")
        code, payload = self.kubernetes.request_raw("GET", "/openapi/v3/apis/ray.io/v1", None, call)
        return code == 200 and "clusterUpgradeOptions" in json.dumps(payload)

    # --- changes

    def apply(
        self,
        change: Callable[[Object], Object],
        labels: Mapping[str, str],
        spec: cluster_spec.ClusterSpec | None,
        gateway_class: str = "",
    ) -> Object:
        """The RayService with what `change` makes of its state. spec: of a cluster; None leaves the one that is there.
        Raises NotFound when there is none and no spec."""
        for _ in range(MAX_TRIES):
            stored = self.read_ours()
            known = service_spec.read_state(stored)
            state = {**change(known), "token": int(known.get("token") or 0) + 1, "changed_by": labels["flexcore/key"]}
            if stored is None:
                written = self._create(state, labels, spec, gateway_class)
            else:
                written = self._change(stored, state, labels, spec)
            if written is not None:
                return written
            self._sleep(random.uniform(0, MAX_PAUSE_S))
        raise errors.Unavailable(
            f"The RayService {self.name} is changed by others all the time",
            subject="name",
            category="busy",
            remedy="Try again.",
        )

    def _create(
        self, state: Object, labels: Mapping[str, str], spec: cluster_spec.ClusterSpec | None, gateway_class: str
    ) -> Object | None:
        if spec is None:
            raise errors.NotFound(
                f"There is no RayService {self.name} in namespace {self.namespace}",
                subject="name",
                remedy="Correct the name, or deploy the model first.",
            )
        collection = self.path.rpartition("/")[0]
        for has_auth_options in (True, False) if spec.token_auth else (False,):
            body = service_spec.service_body(
                self.name, self.namespace, spec, state, labels, gateway_class, has_auth_options=has_auth_options
            )
            try:
                made = self.kubernetes.create(collection, body, self.call("create"))
            except errors.InvalidInput as error:
                if not has_auth_options or "authOptions" not in str(error):
                    raise
                self._report(
                    "This KubeRay cannot give a RayService a token (1.5.1 and later can): its Ray has none, and "
                    f"{_describe_callers(spec)} reach its dashboard"
                )
                continue
            if made:
                self._report(f"Created the RayService {self.name} in namespace {self.namespace}")
            return made
        return None

    def _change(
        self, stored: Object, state: Object, labels: Mapping[str, str], spec: cluster_spec.ClusterSpec | None
    ) -> Object | None:
        metadata = stored["metadata"]
        annotations = {service_spec.STATE: json.dumps(state)}
        changes: Object = {"serveConfigV2": service_spec.serve_config_text(state, labels)}
        if spec is not None:
            digest = service_spec.hash_spec(self.name, spec)
            if digest != (metadata.get("annotations") or {}).get(service_spec.SPEC_HASH):
                has_auth = "authOptions" in stored["spec"]["rayClusterConfig"]
                annotations[service_spec.SPEC_HASH] = digest
                changes["rayClusterConfig"] = service_spec.cluster_config(
                    self.name, spec, labels, has_auth_options=has_auth
                )
                self._report("The cluster is another one now: a new Ray cluster takes over when it is ready")
        fenced = {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]}
        body = {"metadata": {**fenced, "annotations": annotations, "labels": dict(labels)}, "spec": changes}
        return self.kubernetes.patch(self.path, body, self.call("patch"))

    def complete(
        self,
        service: Object,
        labels: Mapping[str, str],
        storage: Object,
        spec: cluster_spec.ClusterSpec | None = None,
    ) -> None:
        """Makes what its pods mount and read, and with a spec their NetworkPolicy, owned by it, where it is not there
        yet."""
        owner = {
            "apiVersion": cluster_spec.API_VERSION,
            "kind": "RayService",
            "name": self.name,
            "uid": service["metadata"]["uid"],
        }
        place = (self.name, self.namespace, labels)
        parts = [("configmaps", service_spec.code_map(*place), "")]
        parts.append(("secrets", service_spec.store_secret(*place, storage), "stringData"))
        if spec and spec.network_policy:
            parts.append(("networkpolicies", service_spec.network_policy(spec, *place), "spec"))
        for plural, body, field in parts:
            name = body["metadata"]["name"]
            body["metadata"]["ownerReferences"] = [owner]
            api = "/api/v1" if body["apiVersion"] == "v1" else f"/apis/{body['apiVersion']}"
            path = f"{api}/namespaces/{self.namespace}/{plural}"
            made = self.kubernetes.create(path, body, api_errors.Call("create", plural, self.namespace, name))
            if made is None and field:
                # Keys may have changed since, which pods that start from now on read; so may the networks of the form.
                call = api_errors.Call("patch", plural, self.namespace, name)
                self.kubernetes.patch(f"{path}/{name}", {field: body[field]}, call)

    def serving_service(self) -> str:
        """The name of the Service by which its versions answer now."""
        stored = self.read()
        return service_spec.serving_service(stored) if stored else service_spec.serve_service_name(self.name)

    # --- waiting

    def wait_until_running(self, app: str, until: float) -> None:
        """Raises ExecutionFailed when the application cannot be deployed, DeadlineExceeded when it is not in time."""
        since, said, status, message = self._clock(), "", "", ""
        while self._clock() < until:
            service = self.read()
            if service is None:
                raise errors.NotFound(f"The RayService {self.name} was deleted meanwhile", subject="name")
            status, message = service_spec.find_status(service, app)
            trouble = find_exception(message) if FAILED_TO_START in message else ""
            shown = f"{app}: {status or 'waits for the Ray cluster'}{trouble and f': {trouble}'}"
            if shown != said:
                said = shown
                self._report(shown)
            is_settled = self._clock() - since > SETTLE_S
            if status == "RUNNING" and is_settled:
                return
            if status in FAILED and is_settled:
                text = find_exception(message)
                raise errors.ExecutionFailed(
                    f"Ray Serve could not deploy {app}: {text or status}",
                    subject="model",
                    category="deploy_failed",
                    remedy="Correct what the message names, or read the replica's log, then deploy again.",
                )
            self._sleep(POLL_INTERVAL_S)
        raise errors.DeadlineExceeded(
            f"{app} on the RayService {self.name} was not ready in time ({status or 'its Ray cluster is not up'}"
            f"{f': {message[-300:]}' if message else ''})",
            subject="timeout_s",
            remedy="See its pods (kubectl get pods -l ray.io/is-ray-node=yes), ask for less, or allow more time.",
        )

    def keep(self) -> None:
        """Ends its trial: it has answered, and outlives its run from now on."""
        stored = self.read()
        if stored and service_spec.is_on_trial(stored):
            done: Object = {"metadata": {"annotations": {identity.ON_TRIAL: None}, "uid": stored["metadata"]["uid"]}}
            self.kubernetes.patch(self.path, done, self.call("patch"))

    def delete_on_trial(self, version: str) -> bool | None:
        """Whether it is gone, when it has never answered and holds no other version; None when it stays for good."""
        stored = self.read_ours_or_leaving()
        if stored is None or not service_spec.is_on_trial(stored):
            return None
        if list(service_spec.read_state(stored)["versions"]) != [version]:
            return None
        return deletion.delete_object(self.kubernetes, self.path, stored["metadata"]["uid"], self.call("get"))

    def delete(self, timeout_s: float) -> bool:
        """Whether there was one; returns when it is gone, its clusters with it."""
        service = self.read_ours_or_leaving()
        if service is None:
            return False
        if not deletion.delete_object(
            self.kubernetes, self.path, service["metadata"]["uid"], self.call("get"), timeout_s=timeout_s
        ):
            raise errors.DeadlineExceeded(
                f"The RayService {self.name} still ends its pods after {timeout_s:g} s",
                subject="timeout_s",
                category="still_deleting",
                remedy="Run again to see that it is gone.",
            )
        return True

    def read_ours_or_leaving(self) -> Object | None:
        service = self.read()
        if service is not None and not service["metadata"].get("deletionTimestamp"):
            service_spec.check_ours(service)
        return service


def find_exception(message: str) -> str:
    """The exception that a message of Ray Serve ends with, without the traceback before it; else its end."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [number for number, line in enumerate(lines) if EXCEPTION.match(line)]
    return " ".join(" ".join(lines[named[-1] if named else 0 :]).split())[-MAX_MESSAGE_CHARACTERS:]


def _describe_callers(spec: cluster_spec.ClusterSpec) -> str:
    """Who reaches the dashboard of a RayService that asks for no token."""
    if spec.network_policy and spec.allow_from:
        return f"the networks of allow_from ({', '.join(spec.allow_from)}) alone"
    return "all pods and networks (name those that may in spec.allow_from)"
