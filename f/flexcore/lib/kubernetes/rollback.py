# requirements: flexcore_kubernetes
"""The operation behind kubernetes/roll_back_model: a deployed model back at a version that has answered before.

The versions are those that the Deployment keeps (its ReplicaSets), less those that never answered. Pods of the present
version keep answering until those of the former one are ready; when they do not get ready, nothing has changed. Which
execution has begun it stands in the Deployment from the same write on: repeated after a kill or an outage, it goes on,
where it would else go forward again, to the version that was left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.kubernetes import cluster_objects, connection, revisions, serving_manifests
from f.flexcore.lib.kubernetes_api import field_owners

Object = dict[str, Any]
DEPLOYMENTS, REPLICA_SETS = cluster_objects.DEPLOYMENTS, cluster_objects.REPLICA_SETS
MODEL_VERSION = "flexcore/model-version"
# The roll back that has led to the present version: {key, from, to}.
MOVE = "flexcore/roll-back"


@dataclass(slots=True)
class Rollback:
    """One deployed model that goes back."""

    place: cluster_objects.Namespace
    name: str
    log_tail: str = ""

    def run(self, revision: int, timeout_s: float, from_revision: int = 0) -> contracts.StepResult:
        """revision: of the Deployment; 0 means the one that answered before the present one. from_revision: the present
        one as whoever asks has seen it; 0 means any. Raises NotFound with the revisions that there are, Conflict when
        the Deployment has left `from_revision` or another tool or field manager holds it, or whatever keeps the former
        version from getting ready."""
        place, started = self.place, self.place.clock()
        key = identity.execution_key(os.environ).value
        deployment = self._find_deployment()
        replica_sets = place.list_objects(REPLICA_SETS)
        template = left = None
        if move := read_move(deployment, key):
            left = find_left(deployment, replica_sets, move)
        else:
            check_present(deployment, from_revision)
            former = choose_revision(deployment, replica_sets, revision)
            template = revisions.read_template(former)
            self._check_maps(template, revisions.find_revision(former))
            move = {"from": name_version(deployment), "to": name_version(former)}
        before = place.adopt_all(DEPLOYMENTS, deployment)
        place.report(f"Deployment {self.name} goes back to {describe_version(move['to'])}")
        body = make_body(before, template, {MOVE: json.dumps({"key": key, **move})})
        marks = serving_manifests.mark_good(before, revisions.read_digest(body["spec"]["template"]))
        stored = place.store(DEPLOYMENTS, body)
        try:
            done = self._follow(stored, started + timeout_s)
        except errors.FlexcoreError as error:
            if not error.retryable or error.details.get("diagnosis"):
                place.store(DEPLOYMENTS, make_body(before, left, {}))
                error.details["undone"] = "as it was before"
                error.args = (f"{error} Deployment {self.name} is as it was before.",)
            raise
        body["metadata"]["annotations"] |= marks
        place.store(DEPLOYMENTS, body)
        return contracts.StepResult(
            success=True,
            runtime="kubernetes",
            execution_key=key,
            attempt=1,
            data={"namespace": place.namespace, "name": self.name, **move},
            timings=contracts.Timings(starting=round(place.clock() - started, 3)),
            remote=contracts.Remote(kind="Deployment", name=self.name, uid=done["metadata"]["uid"]),
            log_tail=self.log_tail,
        )

    def _find_deployment(self) -> Object:
        item = self.place.get(DEPLOYMENTS, self.name)
        if item is not None and cluster_objects.is_ours(item):
            self.place.check_ours(DEPLOYMENTS, item)
            return item
        kserve = cluster_objects.INFERENCE_SERVICES
        if self.place.serves(kserve) and self.place.get(kserve, self.name):
            raise errors.InvalidInput(
                f"name: {self.name} is served by KServe, which keeps no earlier version",
                subject="name",
                remedy="Deploy the earlier model again: its manifest is in that run's result.",
            )
        deployed = self.place.list_objects(DEPLOYMENTS, cluster_objects.OURS)
        names = ", ".join(other["metadata"]["name"] for other in deployed)
        what = "is not deployed" if item is None else "was not deployed by flexcore"
        raise errors.NotFound(
            f"{self.name} {what} in namespace {self.place.namespace}",
            subject="name",
            remedy=f"Deployed models there: {names or 'none'}.",
        )

    def _check_maps(self, template: Object, revision: int) -> None:
        """Raises NotFound when what its pods read is there no longer: they would never start."""
        for volume in template["spec"].get("volumes") or ():
            name = (volume.get("configMap") or {}).get("name")
            if name and self.place.get(cluster_objects.CONFIG_MAPS, name) is None:
                raise errors.NotFound(
                    f"revision {revision} cannot start again: its ConfigMap {name} is gone",
                    subject="revision",
                    remedy="Deploy that model again: its manifest is in that run's result.",
                )

    def _follow(self, stored: Object, until: float) -> Object:
        # Most calls that are refused never come here.
        from f.flexcore.lib.kubernetes import rollout

        place = self.place
        observer = rollout.RolloutObserver(place.kubernetes, place.namespace, place.report, place.clock)
        try:
            return observer.run(stored, until)
        finally:
            self.log_tail = observer.log_tail


def check_present(deployment: Object, from_revision: int) -> None:
    """Raises Conflict when the Deployment is not at `from_revision` any more. To go back twice would be to go forward:
    a version that was left is itself the one that answered last."""
    if from_revision and revisions.find_revision(deployment) != from_revision:
        raise errors.Conflict(
            f"Deployment {deployment['metadata']['name']} is no longer at revision {from_revision}: it is at "
            f"{describe(deployment)}",
            subject="from_revision",
            remedy="Nothing was changed. Look at its versions as they are now, and roll back again if it still has to.",
        )


def choose_revision(deployment: Object, replica_sets: Sequence[Object], revision: int) -> Mapping[str, Any]:
    """The ReplicaSet to go back to. Raises NotFound that lists those that have answered before."""
    former, good = revisions.list_former(deployment, replica_sets), serving_manifests.read_good(deployment)
    # Of a Deployment that an earlier version has made it is not known which ones have answered.
    kept = [item for item in former if not good or revisions.read_digest(item["spec"]["template"]) in good]
    chosen = [item for item in kept if not revision or revisions.find_revision(item) == revision]
    if chosen:
        return max(chosen, key=lambda item: revisions.rank_former(item, good))
    name = deployment["metadata"]["name"]
    wanted = f"revision {revision} that answered before" if revision else "version before the present one"
    raise errors.NotFound(
        f"Deployment {name} has no {wanted}",
        subject="revision",
        remedy=f"There are: {'; '.join(map(describe, kept)) or 'none'}. Or deploy the earlier model again.",
    )


def read_move(deployment: Object, key: str) -> Object | None:
    """{from, to} of the roll back that this execution has begun; None when it has not, or others came after it."""
    text = (deployment["metadata"].get("annotations") or {}).get(MOVE)
    known: Object = json.loads(text) if text else {}
    return known if known.pop("key", None) == key else None


def find_left(deployment: Object, replica_sets: Sequence[Object], move: Object) -> Object | None:
    """The template that a roll back has begun to leave; None when the Deployment does not keep it."""
    former = revisions.list_former(deployment, replica_sets)
    left = [item for item in former if revisions.find_revision(item) == move["from"]["revision"]]
    return revisions.read_template(left[0]) if left else None


def make_body(deployment: Object, template: Object | None, notes: Mapping[str, str]) -> Object:
    """What we hold of the Deployment, to be applied. template: that takes the place of its own; None keeps it."""
    body = field_owners.extract_applied(deployment)
    kept = {name: value for name, value in (body["metadata"].get("annotations") or {}).items() if name != MOVE}
    body["metadata"]["annotations"] = {**kept, **notes}
    if template:
        body["spec"]["template"] = template
    return body


def name_version(item: Mapping[str, Any]) -> Object:
    """{revision, model_version} of a Deployment or one of its ReplicaSets."""
    return {"revision": revisions.find_revision(item), "model_version": read_version(item)}


def describe(item: Mapping[str, Any]) -> str:
    """A Deployment or one of its ReplicaSets."""
    return describe_version(name_version(item))


def describe_version(version: Mapping[str, Any]) -> str:
    return f"revision {version['revision']} (model version {version['model_version'] or 'unknown'})"


def read_version(item: Mapping[str, Any]) -> str | None:
    labels = item["spec"]["template"]["metadata"].get("labels") or {}
    version: str | None = labels.get(MODEL_VERSION)
    return version


def roll_back_model(
    cluster: Any, name: str, namespace: str, revision: int, timeout_s: float, settings: Any, from_revision: int = 0
) -> dict[str, Any]:
    """The plain result of a deployed model that answers in a former version."""
    session = connection.connect(cluster, namespace, settings)
    place = cluster_objects.Namespace(session.kubernetes, session.namespace)
    return Rollback(place, name).run(revision, timeout_s, from_revision).plain()
