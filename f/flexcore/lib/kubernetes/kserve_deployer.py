# requirements: flexcore_kubernetes
"""A model that KServe serves, on one cluster: its InferenceService stored, followed until it answers, and undone when
that fails.

look → rehearse → keep what answers → InferenceService → Secret, ConfigMap, disruption budget → the Deployment that
KServe makes of it is followed as our own is → Ready → verification

KServe keeps no earlier version, and a step that is repeated finds the new one there: so what has answered last is kept
in a ConfigMap, named by its rollout, until the new one answers or is undone. (An annotation would reach every pod:
KServe hands them down.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import cluster_objects, inference_service, isolation, model_deployer, serving_manifests
from f.flexcore.lib.kubernetes_api import categories, field_owners

Object = dict[str, Any]
Verified = TypeVar("Verified")

SERVICES, DEPLOYMENTS = cluster_objects.INFERENCE_SERVICES, cluster_objects.DEPLOYMENTS
POLL_INTERVAL_S = 0.5
# A controller that has not begun after so long does not run, or waits for something that its conditions say.
START_NOTICE_S = 5.0
# The key of what was applied, in the ConfigMap of what has answered last.
APPLIED = "applied"


@dataclass(slots=True)
class KServeDeployer(cluster_objects.Namespace):
    """One model that KServe serves. log_tail, scaled_by: as of model_deployer.Deployer."""

    log_tail: str = ""
    scaled_by: str = "KServe"

    def deploy(self, serving: serving_manifests.Serving, verify: Callable[[Object, Object], Verified]) -> Verified:
        """What `verify` returns for the InferenceService that is ready and KServe's Service. Raises the typed error of
        whatever prevents it; error.details.undone then says what became of what was there."""
        try:
            before = self.look(serving)
            self._rehearse(serving, before)
        except errors.FlexcoreError as error:
            error.details["undone"] = "nothing was changed"
            raise
        until = self.clock() + serving.timeout_s
        try:
            stored = self._store_all(serving, before)
            self._follow(stored, until)
            service = self._find_service(serving.name, until)
            verified = verify(stored, service)
            self.store(
                SERVICES, self._make(serving, {serving_manifests.GOOD_ROLLOUTS: inference_service.read_digest(stored)})
            )
        except errors.FlexcoreError as error:
            if not error.retryable or error.details.get("diagnosis"):
                self._undo(serving.name, before, error)
            raise
        self._prune(stored)
        return verified

    def look(self, serving: serving_manifests.Serving) -> Object | None:
        """The InferenceService that is there, all that we hold of it held by Apply. Raises InvalidInput or Conflict."""
        inference_service.check_served(self, serving.scaling)
        if (other := self.get(DEPLOYMENTS, serving.name)) and cluster_objects.is_ours(other):
            raise errors.Conflict(
                f"mode: {serving.name} is served by a Deployment in namespace {self.namespace}",
                subject="mode",
                remedy="Take it down first (kubernetes/undeploy_model), choose another name, or keep mode deployment.",
            )
        before = self.get(SERVICES, serving.name)
        for kind in (DEPLOYMENTS, cluster_objects.SERVICES):
            self._check_theirs(kind, f"{serving.name}{inference_service.PREDICTOR}", before)
        if before is None:
            return None
        self.check_ours(SERVICES, before)
        return self.adopt_all(SERVICES, before)

    def _check_theirs(self, kind: cluster_objects.Kind, name: str, before: Object | None) -> None:
        """Raises InvalidInput when what KServe would make is there and belongs to something else."""
        item = self.get(kind, name)
        uid = before["metadata"]["uid"] if before else None
        owners = item["metadata"].get("ownerReferences") or () if item else ()
        if item and not any(owner.get("uid") == uid for owner in owners):
            raise errors.InvalidInput(
                f"{kind.resource} {name} exists in namespace {self.namespace}, and KServe would make one of that name",
                subject="name",
                remedy="Choose another name or namespace, or remove it.",
            )

    def _make(self, serving: serving_manifests.Serving, marks: dict[str, Any]) -> Object:
        body = inference_service.make_inference_service(serving)
        body["metadata"]["annotations"] |= marks
        return body

    def _trial_marks(self, before: Object | None) -> dict[str, str]:
        notes = (before["metadata"].get("annotations") or {}) if before else {identity.ON_TRIAL: "true"}
        return {name: notes[name] for name in (identity.ON_TRIAL, serving_manifests.GOOD_ROLLOUTS) if name in notes}

    def _rehearse(self, serving: serving_manifests.Serving, before: Object | None) -> None:
        self.rehearse_one(SERVICES, self._make(serving, self._trial_marks(before)), before)

    def _store_all(self, serving: serving_manifests.Serving, before: Object | None) -> Object:
        if before:
            self._keep_good(serving, before)
        stored = self.store(SERVICES, self._make(serving, self._trial_marks(before)))
        self.report(f"Stored InferenceService {serving.name} in namespace {self.namespace}")
        for kind, companion in isolation.make_companions(serving, stored):
            self.store(kind, companion)
        isolation.remove_policy(self, serving)
        self.store_map(serving_manifests.make_config_map(serving, stored), stored["metadata"]["uid"])
        budget = self.get(cluster_objects.BUDGETS, serving.name)
        if serving.scaling.has_budget:
            self.store(cluster_objects.BUDGETS, inference_service.make_budget(serving, stored))
        elif budget and cluster_objects.is_ours(budget):
            self.remove(cluster_objects.BUDGETS, budget)
        return stored

    def _keep_good(self, serving: serving_manifests.Serving, before: Object) -> None:
        """What is there, for as long as what takes its place has not answered; unless that never answered itself."""
        if identity.ON_TRIAL in (before["metadata"].get("annotations") or {}) or find_former(before):
            return
        name = name_map(before, inference_service.read_digest(before))
        metadata = serving_manifests.make_metadata(serving, name, before)
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True}
        body["data"] = {APPLIED: json.dumps(field_owners.extract_applied(before))}
        self.store_map(body, before["metadata"]["uid"])

    # --- follow

    def _follow(self, stored: Object, until: float) -> None:
        """Returns once every copy is new and available and KServe calls it ready."""
        from f.flexcore.lib.kubernetes import rollout

        deployment = self._await_deployment(stored, until)
        observer = rollout.RolloutObserver(self.kubernetes, self.namespace, self.report, self.clock)
        try:
            observer.run(deployment, until)
        finally:
            self.log_tail = observer.log_tail
        name = stored["metadata"]["name"]
        self._await(stored, until, lambda item: _is_true(inference_service.find_condition(item, "Ready")))
        self.report(f"InferenceService {name} is ready")

    def _await_deployment(self, stored: Object, until: float) -> Object:
        """The Deployment that KServe makes, once it is of this generation."""
        name = f"{stored['metadata']['name']}{inference_service.PREDICTOR}"
        found: list[Object] = []

        def is_there(item: Object) -> bool:
            deployment = self.get(DEPLOYMENTS, name)
            labels = deployment["spec"]["template"]["metadata"].get("labels") or {} if deployment else {}
            if deployment and labels.get(serving_manifests.ROLLOUT) == inference_service.read_digest(stored):
                found.append(deployment)
            return bool(found)

        self._await(stored, until, is_there)
        return found[0]

    def _await(self, stored: Object, until: float, is_done: Callable[[Object], bool]) -> None:
        """Raises the typed error that says in KServe's words what it waits for, by `until`."""
        name, uid, begun, noticed = stored["metadata"]["name"], stored["metadata"]["uid"], self.clock(), ""
        while True:
            item = self.get(SERVICES, name)
            if item is None or item["metadata"]["uid"] != uid:
                deleted = categories.Problem(categories.Category.DELETED, "The InferenceService was deleted meanwhile")
                raise deleted.to_error(f"InferenceService {name} failed", name)
            if is_done(item):
                return
            text = inference_service.describe_conditions(item)
            if self.clock() - begun >= START_NOTICE_S and text != noticed:
                noticed = text
                self.report(f"Waiting for KServe: {text}")
            if self.clock() >= until:
                late = categories.Problem(
                    categories.Category.NOT_READY, text, remedy="See KServe's controller and its log."
                )
                raise late.to_error(f"InferenceService {name} failed", name)
            self.sleep(POLL_INTERVAL_S)

    def _find_service(self, name: str, until: float) -> Object:
        while (service := self.get(cluster_objects.SERVICES, f"{name}{inference_service.PREDICTOR}")) is None:
            if self.clock() >= until:
                late = categories.Problem(categories.Category.NO_ADDRESS, "KServe has made no Service")
                raise late.to_error(f"InferenceService {name} failed", name)
            self.sleep(POLL_INTERVAL_S)
        return service

    # --- undo

    def _undo(self, name: str, before: Object | None, error: errors.FlexcoreError) -> None:
        self.undo(f"InferenceService {name}", error, lambda: self._roll_back(name, before))

    def _roll_back(self, name: str, before: Object | None) -> str:
        item = self.get(SERVICES, name)
        if item is None:
            return "gone"
        notes = (before["metadata"].get("annotations") or {}) if before else {}
        if before is None or identity.ON_TRIAL in notes:
            return "removed: nothing was served before" if self.remove(SERVICES, item) else "marked for removal"
        former = find_former(before)
        kept = self.get(cluster_objects.CONFIG_MAPS, name_map(before, former)) if former else None
        applied = json.loads(kept["data"][APPLIED]) if kept else field_owners.extract_applied(before)
        self._prune(self.store(SERVICES, applied))
        return "rolled back to the version before"

    def _prune(self, stored: Object) -> None:
        """Removes the ConfigMaps that the InferenceService names no longer. A failure is only reported."""
        name = stored["metadata"]["name"]
        volumes = stored["spec"]["predictor"].get("volumes") or ()
        kept = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
        try:
            self.remove_maps(f"{serving_manifests.INSTANCE}={name}", kept)
        except errors.FlexcoreError as error:
            self.report(f"Something of an earlier deployment stays: {error}")


def find_former(service: Object) -> str:
    """The rollout that has answered last, where the InferenceService is at another by now; "" where it is at that."""
    good = serving_manifests.read_good(service)
    return good[0] if good and good[0] != inference_service.read_digest(service) else ""


def name_map(service: Object, rollout: str | None) -> str:
    """The ConfigMap that keeps one of its rollouts."""
    return f"{service['metadata']['name']}-former-{rollout}"


def _is_true(condition: Object | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def open_deployer(mode: str, kubernetes: Any, namespace: str) -> model_deployer.Deployer | KServeDeployer:
    """What makes the objects of a deployment in this mode."""
    return (KServeDeployer if mode == "kserve" else model_deployer.Deployer)(kubernetes, namespace)
