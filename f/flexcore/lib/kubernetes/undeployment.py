# requirements: flexcore_kubernetes
"""The operation behind kubernetes/undeploy_model: what deploy_model made under a name, counted and seen to be gone.

All of it belongs to one object, the Deployment or KServe's InferenceService, and goes with it, pods first. What hangs
is named with the finalizer that holds it: only its controller, or a person, may take that away. What is taken down is
noted in the store before: a step that is repeated when it is gone knows that it was there, and a wrong name stays an
error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.kubernetes import cluster_objects, connection, serving_manifests
from f.flexcore.lib.kubernetes_api import api_errors, categories, deletion, finalizers

if TYPE_CHECKING:
    from f.flexcore.lib.storage import object_store

Object = dict[str, Any]

OWNERS = (cluster_objects.DEPLOYMENTS, cluster_objects.INFERENCE_SERVICES)
# Objects under the deployment's name, and those that are found by its label.
NAMED = (
    cluster_objects.SERVICES,
    cluster_objects.SERVICE_ACCOUNTS,
    cluster_objects.NETWORK_POLICIES,
    cluster_objects.AUTOSCALERS,
    cluster_objects.BUDGETS,
    cluster_objects.SCALED_OBJECTS,
)
NOTE = "undeployment.json"


@dataclass(slots=True)
class Undeployment:
    """One deployed model that is taken down. store: where a repeat finds what was begun; None where there is none."""

    place: cluster_objects.Namespace
    name: str
    store: object_store.Store | None = None

    def run(self, timeout_s: float) -> contracts.StepResult:
        """Raises NotFound with the names that there are, Conflict when another tool would make it again, or
        DeadlineExceeded that names what hangs."""
        place, until = self.place, self.place.clock() + timeout_s
        begun = self._read_note() or self._begin()
        # By uid: what was deployed under these names since then stays.
        items = [
            (cluster_objects.KINDS[each["kind"]], {"metadata": {"name": each["name"], "uid": each["uid"]}})
            for each in begun["objects"]
        ]
        kind, uid = items[0][0], begun["objects"][0]["uid"]
        place.kubernetes.delete(
            place.path(kind, self.name), uid, place.call("delete", kind, self.name), deletion.RETRY_S
        )
        left = [(each, item) for each, item in items if not self._is_gone(each, item, until)]
        if left:
            raise self._explain(left, timeout_s)
        objects = [{"kind": item["kind"], "name": item["name"]} for item in begun["objects"]]
        names = ", ".join(f"{item['kind']} {item['name']}" for item in objects)
        place.report(f"{len(objects)} objects are gone: {names}")
        claims = begun["claims"]
        if claims:
            place.report(
                f"What its claims hold stays: {', '.join(claims)}. To delete that, too: "
                f"kubectl -n {place.namespace} delete pvc {' '.join(claims)}"
            )
        return contracts.StepResult(
            success=True,
            runtime="kubernetes",
            execution_key=identity.execution_key(os.environ).value,
            attempt=1,
            data={"namespace": place.namespace, "removed": self.name, "objects": objects, "claims": claims},
            metrics={"objects": len(objects)},
            remote=contracts.Remote(kind=kind.kind, name=self.name, uid=uid),
        )

    def _begin(self) -> Object:
        """{namespace, name, objects, claims} of what is there: its owner first; noted before any of it goes."""
        kind, owner = self._find_owner()
        items = [(kind, owner), *self._find_parts(owner)]
        begun: Object = {
            "namespace": self.place.namespace,
            "name": self.name,
            "objects": [
                {"kind": each.kind, "name": item["metadata"]["name"], "uid": item["metadata"]["uid"]}
                for each, item in items
            ],
            "claims": finalizers.list_claims(_pod_spec(owner)),
        }
        if self.store:
            self.store.write_json(self._note_uri(self.store), begun)
        return begun

    def _read_note(self) -> Object | None:
        """What this execution has begun to take down."""
        begun: Object | None = self.store.read_json(self._note_uri(self.store)) if self.store else None
        is_same = begun and (begun["namespace"], begun["name"]) == (self.place.namespace, self.name)
        return begun if is_same else None

    def _note_uri(self, store: object_store.Store) -> str:
        # Where there is no store nobody waits for its import.
        from f.flexcore.lib.storage import attempt_records

        return attempt_records.StoreRecords(store, identity.execution_key(os.environ)).uri(1, NOTE)

    def _find_owner(self) -> tuple[cluster_objects.Kind, Object]:
        """What all the rest belongs to. One that is being deleted already is waited for."""
        place, found = self.place, None
        for kind in OWNERS:
            item = place.get(kind, self.name) if place.serves(kind) else None
            if item and cluster_objects.is_ours(item):
                place.check_owner(kind, item)
                return kind, item
            found = found or item
        what = "was not deployed by flexcore" if found else "is not deployed"
        names = [item["metadata"]["name"] for kind in OWNERS for item in self._list_deployed(kind)]
        raise errors.NotFound(
            f"{self.name} {what} in namespace {place.namespace}",
            subject="name",
            remedy=f"Deployed models there: {', '.join(names) or 'none'}.",
        )

    def _list_deployed(self, kind: cluster_objects.Kind) -> list[Object]:
        return self.place.list_objects(kind, cluster_objects.OURS) if self.place.serves(kind) else []

    def _find_parts(self, owner: Object) -> list[tuple[cluster_objects.Kind, Object]]:
        """What belongs to it; none of a kind that may not be seen."""
        secret = f"{self.name}{serving_manifests.SECRET_SUFFIX}"
        named = [*((kind, self.name) for kind in NAMED), (cluster_objects.SECRETS, secret)]
        found = [(kind, self._get_visible(kind, name)) for kind, name in named if self.place.serves(kind)]
        selector = f"{cluster_objects.OURS},{serving_manifests.INSTANCE}={self.name}"
        maps = self.place.list_objects(cluster_objects.CONFIG_MAPS, selector)
        found += [(cluster_objects.CONFIG_MAPS, item) for item in maps]
        uid = owner["metadata"]["uid"]
        return [(kind, item) for kind, item in found if item and _belongs_to(item, uid)]

    def _get_visible(self, kind: cluster_objects.Kind, name: str) -> Object | None:
        try:
            return self.place.get(kind, name)
        except errors.Forbidden:
            return None

    def _is_gone(self, kind: cluster_objects.Kind, item: Object, until: float) -> bool:
        place, name = self.place, item["metadata"]["name"]
        return deletion.wait_until_gone(
            place.kubernetes,
            place.path(kind, name),
            item["metadata"]["uid"],
            place.call("get", kind, name),
            # What hung so far has one look more: it may have gone meanwhile.
            timeout_s=max(until - place.clock(), deletion.POLL_INTERVAL_S),
            clock=place.clock,
            sleep=place.sleep,
        )

    def _explain(self, left: Sequence[tuple[cluster_objects.Kind, Object]], timeout_s: float) -> errors.FlexcoreError:
        """The error that names what stays, and what holds it."""
        stored = [(kind.kind, self.place.get(kind, item["metadata"]["name"]) or item) for kind, item in left]
        stored += [("Pod", pod) for pod in self._list_pods()]
        held = [(kind, item, holds) for kind, item in stored if (holds := finalizers.list_holds(item))]
        names = [
            {
                "kind": kind,
                "name": item["metadata"]["name"],
                "finalizers": [hold.finalizer for hold in finalizers.list_holds(item)],
            }
            for kind, item in stored
        ]
        if not held:
            late = categories.Problem(categories.Category.DEADLINE, f"It still ends its pods after {timeout_s:.0f} s")
            return late.to_error(self.name, "name", left=names)
        kind, item, holds = held[0]
        name = item["metadata"]["name"]
        detail = "; ".join(
            f"{each} {one['metadata']['name']} waits for its finalizer {finalizers.describe_holds(some)}"
            for each, one, some in held
        )
        remedy = (
            f"See why {holds[0].remover} does not finish; if that is gone for good, take the finalizer "
            f"away: kubectl -n {self.place.namespace} patch {kind.lower()} {name} --type=merge "
            '-p \'{"metadata":{"finalizers":null}}\'.'
        )
        hanging = categories.Problem(categories.Category.DEADLINE, detail, remedy=remedy)
        return hanging.to_error(f"{self.name} is not gone after {timeout_s:.0f} s", "name", left=names)

    def _list_pods(self) -> list[Object]:
        path = f"/api/v1/namespaces/{self.place.namespace}/pods"
        query = {"labelSelector": f"{serving_manifests.INSTANCE}={self.name}"}
        call = api_errors.Call("list", "pods", self.place.namespace)
        try:
            return list(self.place.kubernetes.list(path, query, call).get("items") or [])
        except errors.FlexcoreError:
            return []


def _pod_spec(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a Deployment, or of KServe's predictor."""
    spec = owner.get("spec") or {}
    found: Mapping[str, Any] = (spec.get("template") or {}).get("spec") or spec.get("predictor") or {}
    return found


def _belongs_to(item: Mapping[str, Any], uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())


def undeploy_model(cluster: Any, name: str, namespace: str, timeout_s: float, settings: Any) -> dict[str, Any]:
    """The plain result of a deployed model that was taken down."""
    session = connection.connect(cluster, namespace, settings)
    place = cluster_objects.Namespace(session.kubernetes, session.namespace)
    chosen = errors.validate(resources.Settings, settings or {}, "settings")
    store = None
    if chosen.storage_uri:
        from f.flexcore.lib.storage import object_store

        store = object_store.Store(chosen)
    return Undeployment(place, name, store).run(timeout_s).plain()
