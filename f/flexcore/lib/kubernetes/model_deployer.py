# requirements: flexcore_kubernetes
"""The objects of a deployed model on one cluster: stored, rolled out, and undone when that fails; taken down again.

Deployment (its owner-to-be comes first, paused when something must exist before its pods) → ConfigMap, Secret →
Deployment as it shall be → Service → rollout → verification
A first deployment that fails is removed; an update that fails is rolled back, and its pods before kept answering.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.kubernetes import connection, serving_manifests
from f.flexcore.lib.kubernetes_api import api_errors, categories, client, deletion, progress

Object = dict[str, Any]
Verified = TypeVar("Verified")

# Somebody else may write between our reading and our writing; each time we look again.
MAX_CONFLICTS = 5
DELETION_TIMEOUT_S = 60
OURS = f"{identity.MANAGED_BY}=flexcore,{identity.OUTLIVES_RUN}=true"


@dataclass(frozen=True, slots=True)
class Kind:
    """A collection of the API and how rights name it."""

    prefix: str
    plural: str
    resource: str


DEPLOYMENTS = Kind("/apis/apps/v1", "deployments", "deployments.apps")
REPLICA_SETS = Kind("/apis/apps/v1", "replicasets", "replicasets.apps")
SERVICES = Kind("/api/v1", "services", "services")
CONFIG_MAPS = Kind("/api/v1", "configmaps", "configmaps")
SECRETS = Kind("/api/v1", "secrets", "secrets")


@dataclass(slots=True)
class Deployer:
    """One deployed model on one cluster."""

    kubernetes: client.Kubernetes
    namespace: str
    report: Callable[[str], None] = progress.report_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    log_tail: str = ""

    # --- deploy

    def deploy(self, serving: serving_manifests.Serving, verify: Callable[[Object, Object], Verified]) -> Verified:
        """What `verify` returns for the rolled out Deployment and its Service. Raises the typed error of whatever
        prevents it; error.details.undone then says what became of the Deployment."""
        before = self.get(DEPLOYMENTS, serving.name)
        for kind, item in ((DEPLOYMENTS, before), (SERVICES, self.get(SERVICES, serving.name))):
            if item is not None:
                self._check_ours(kind, item)
        replicas = before["spec"].get("replicas") if before else None
        until = self.clock() + serving.timeout_s
        stored = self._store_all(serving, before)
        is_rolled_out = False
        try:
            service = self._store(SERVICES, serving_manifests.make_service(serving, stored))
            deployment = self._roll_out(stored, until)
            is_rolled_out = True
            verified = verify(deployment, service)
            self._end_trial(deployment)
        except errors.FlexcoreError as error:
            # A cluster that does not answer says nothing about the model: another try goes on from here.
            if not error.retryable or error.details.get("diagnosis"):
                self._undo(serving.name, error, is_rolled_out, replicas)
            raise
        self._prune(serving)
        return verified

    def _roll_out(self, stored: Object, until: float) -> Object:
        # Taking a model down rolls nothing out.
        from f.flexcore.lib.kubernetes import rollout

        observer = rollout.RolloutObserver(self.kubernetes, self.namespace, self.report, self.clock)
        try:
            return observer.run(stored, until)
        finally:
            self.log_tail = observer.log_tail

    def _store_all(self, serving: serving_manifests.Serving, before: Object | None) -> Object:
        body = serving_manifests.make_deployment(serving)
        if before is None:
            paused = copy.deepcopy(body)
            paused["spec"]["paused"] = True
            paused["metadata"]["annotations"] = {identity.ON_TRIAL: "true"}
            before = self._store(DEPLOYMENTS, paused)
            self.report(f"Created Deployment {serving.name} in namespace {self.namespace}")
        else:
            self.report(f"Updating Deployment {serving.name} in namespace {self.namespace}")
        owner = before
        if serving.delivery.secret:
            self._store(SECRETS, serving_manifests.make_secret(serving, owner))
        self._store_map(serving_manifests.make_config_map(serving, owner), owner["metadata"]["uid"])
        return self._store(DEPLOYMENTS, body)

    def _store_map(self, body: Object, owner: str) -> None:
        """Named by its content: what exists is the same, unless it goes with a Deployment that was there before."""
        name = body["metadata"]["name"]
        for _ in range(MAX_CONFLICTS):
            if self.kubernetes.create(self.path(CONFIG_MAPS), body, self.request("create", CONFIG_MAPS, name)):
                return
            stored = self.get(CONFIG_MAPS, name)
            if stored and any(item["uid"] == owner for item in stored["metadata"].get("ownerReferences") or ()):
                return
            if stored:
                self.remove(CONFIG_MAPS, stored)
        raise errors.Unavailable(f"ConfigMap {name} of an earlier deployment stays", subject=name, remedy="Delete it.")

    def _store(self, kind: Kind, body: Object) -> Object:
        """Creates the object, or makes ours of that name like it."""
        name = body["metadata"]["name"]
        for _ in range(MAX_CONFLICTS):
            stored = self.get(kind, name)
            if stored is None:
                done = self.kubernetes.create(self.path(kind), body, self.request("create", kind, name))
            else:
                self._check_ours(kind, stored)
                next_one = serving_manifests.merge_into_stored(body, stored)
                done = self.kubernetes.replace(self.path(kind, name), next_one, self.request("update", kind, name))
            if done is not None:
                return done
        raise errors.Unavailable(
            f"{kind.resource} {name} keeps being changed by another client",
            subject=name,
            remedy="See who writes it (kubectl get -o yaml --show-managed-fields), then run again.",
        )

    def _end_trial(self, item: Object) -> None:
        """Ends the trial of a first deployment that has answered: from now on it outlives its run."""
        name = item["metadata"]["name"]
        for _ in range(MAX_CONFLICTS):
            if identity.ON_TRIAL not in (item["metadata"].get("annotations") or {}):
                return
            path, call = self.path(DEPLOYMENTS, name), self.request("update", DEPLOYMENTS, name)
            if self.kubernetes.replace(path, serving_manifests.without_trial_mark(item), call) is not None:
                return
            item = self.get(DEPLOYMENTS, name) or item
        raise errors.Unavailable(
            f"deployments.apps {name} is being changed all the time", subject=name, remedy="Run again."
        )

    def _check_ours(self, kind: Kind, item: Mapping[str, Any]) -> None:
        """Raises InvalidInput unless the object is one that we deployed and that stays."""
        name = item["metadata"]["name"]
        if not serving_manifests.is_ours(item):
            raise errors.InvalidInput(
                f"{kind.resource} {name} exists in namespace {self.namespace} and was not made by flexcore",
                subject="name",
                remedy="Choose another name or namespace, or remove it.",
            )
        if item["metadata"].get("deletionTimestamp"):
            raise errors.Unavailable(
                f"{kind.resource} {name} is being deleted", subject="name", remedy="Run again when it is gone."
            )

    # --- undo

    def _undo(self, name: str, error: errors.FlexcoreError, is_rolled_out: bool, replicas: int | None) -> None:
        """Puts back what answered before, or takes the failed beginning away; says which in the error."""
        try:
            error.details["undone"] = self._roll_back(name, is_rolled_out, replicas)
        except errors.FlexcoreError as second:
            error.details["undone"] = f"not undone: {second}"
        text = f"Deployment {name} is {error.details['undone']}"
        self.report(text)
        error.args = (f"{error} {text}.",)

    def _roll_back(self, name: str, is_rolled_out: bool, replicas: int | None) -> str:
        # Nor does it roll anything back.
        from f.flexcore.lib.kubernetes import rollout

        item = self.get(DEPLOYMENTS, name)
        if item is None:
            return "gone"
        template = rollout.find_rollback_template(item, self.list(REPLICA_SETS), is_answering=not is_rolled_out)
        if template is None:
            return "removed: nothing was served before" if self.remove(DEPLOYMENTS, item) else "marked for removal"
        for _ in range(MAX_CONFLICTS):
            back = copy.deepcopy(item)
            back["spec"] |= {"template": template, "replicas": replicas or item["spec"].get("replicas", 1)}
            back.pop("status", None)
            path = self.path(DEPLOYMENTS, name)
            if self.kubernetes.replace(path, back, self.request("update", DEPLOYMENTS, name)) is not None:
                return "rolled back to the version before"
            item = self.get(DEPLOYMENTS, name) or item
        return "left: another client keeps changing it"

    def _prune(self, serving: serving_manifests.Serving) -> None:
        """Removes the ConfigMaps of generations that no pod needs any more. A failure is only reported."""
        try:
            for item in self.list(CONFIG_MAPS, f"{OURS},{serving_manifests.INSTANCE}={serving.name}"):
                if item["metadata"]["name"] != serving.config_map_name:
                    uid = item["metadata"]["uid"]
                    call = self.request("delete", CONFIG_MAPS, item["metadata"]["name"])
                    self.kubernetes.delete(self.path(CONFIG_MAPS, call.name), uid, call, retry_s=0)
        except errors.FlexcoreError as error:
            self.report(f"An older ConfigMap stays: {error}")

    def undeploy(self, name: str, timeout_s: float) -> str:
        """Removes our Deployment and what belongs to it; its uid. Raises NotFound, with the names that there are."""
        item = self.get(DEPLOYMENTS, name)
        if item is None or not serving_manifests.is_ours(item):
            names = [other["metadata"]["name"] for other in self.list(DEPLOYMENTS, OURS)]
            what = "is not deployed" if item is None else "was not deployed by flexcore"
            raise errors.NotFound(
                f"{name} {what} in namespace {self.namespace}",
                subject="name",
                remedy=f"Deployed models there: {', '.join(names) or 'none'}.",
            )
        if not self.remove(DEPLOYMENTS, item, timeout_s):
            late = categories.Problem(categories.Category.DEADLINE, f"It still ends its pods after {timeout_s:.0f} s")
            raise late.to_error(name, "name")
        self.report(f"Deployment {name} and what belonged to it are gone")
        return str(item["metadata"]["uid"])

    # --- addresses

    def get(self, kind: Kind, name: str) -> Object | None:
        return self.kubernetes.get(self.path(kind, name), self.request("get", kind, name))

    def list(self, kind: Kind, selector: str = OURS.split(",")[1]) -> list[Object]:
        page = self.kubernetes.list(self.path(kind), {"labelSelector": selector}, self.request("list", kind))
        return list(page.get("items") or [])

    def remove(self, kind: Kind, item: Object, timeout_s: float = DELETION_TIMEOUT_S) -> bool:
        name = item["metadata"]["name"]
        path, call = self.path(kind, name), self.request("get", kind, name)
        uid = item["metadata"]["uid"]
        return deletion.delete_object(
            self.kubernetes, path, uid, call, timeout_s=timeout_s, clock=self.clock, sleep=self.sleep
        )

    def path(self, kind: Kind, name: str = "") -> str:
        return f"{kind.prefix}/namespaces/{self.namespace}/{kind.plural}" + (f"/{name}" if name else "")

    def request(self, verb: str, kind: Kind, name: str = "") -> api_errors.Call:
        return api_errors.Call(verb, kind.resource, self.namespace, name)


def undeploy_model(cluster: Any, name: str, namespace: str, timeout_s: float, settings: Any) -> dict[str, Any]:
    """The plain result of a deployed model that was taken down. Raises NotFound, with the names that there are."""
    session = connection.connect(cluster, namespace, settings)
    uid = Deployer(session.kubernetes, session.namespace).undeploy(name, timeout_s)
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=identity.execution_key(os.environ).value,
        attempt=1,
        data={"namespace": session.namespace, "removed": name},
        remote=contracts.Remote(kind="Deployment", name=name, uid=uid),
    ).plain()
