# requirements: flexcore_kubernetes
"""Objects of one namespace: read, created, applied by us, removed; refused where they belong to somebody else.

Created by POST, which never touches an object of that name that somebody makes at the same moment; changed by
server-side apply under our own field manager, on the condition of the uid that was looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import ownership
from f.flexcore.lib.kubernetes_api import api_errors, client, deletion, field_owners, progress

Object = dict[str, Any]

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
    kind: str

    @property
    def group(self) -> str:
        """Of its API; "" for the core's."""
        return self.prefix.split("/")[2] if self.prefix.startswith("/apis/") else ""

    @property
    def version(self) -> str:
        return self.prefix.rsplit("/", 1)[1]


DEPLOYMENTS = Kind("/apis/apps/v1", "deployments", "deployments.apps", "Deployment")
REPLICA_SETS = Kind("/apis/apps/v1", "replicasets", "replicasets.apps", "ReplicaSet")
SERVICES = Kind("/api/v1", "services", "services", "Service")
CONFIG_MAPS = Kind("/api/v1", "configmaps", "configmaps", "ConfigMap")
SECRETS = Kind("/api/v1", "secrets", "secrets", "Secret")
SERVICE_ACCOUNTS = Kind("/api/v1", "serviceaccounts", "serviceaccounts", "ServiceAccount")
NETWORK_POLICIES = Kind(
    "/apis/networking.k8s.io/v1", "networkpolicies", "networkpolicies.networking.k8s.io", "NetworkPolicy"
)
AUTOSCALERS = Kind(
    "/apis/autoscaling/v2",
    "horizontalpodautoscalers",
    "horizontalpodautoscalers.autoscaling",
    "HorizontalPodAutoscaler",
)
BUDGETS = Kind("/apis/policy/v1", "poddisruptionbudgets", "poddisruptionbudgets.policy", "PodDisruptionBudget")
SCALED_OBJECTS = Kind("/apis/keda.sh/v1alpha1", "scaledobjects", "scaledobjects.keda.sh", "ScaledObject")
INFERENCE_SERVICES = Kind(
    "/apis/serving.kserve.io/v1beta1", "inferenceservices", "inferenceservices.serving.kserve.io", "InferenceService"
)
KINDS = {
    kind.kind: kind
    for kind in (
        DEPLOYMENTS,
        REPLICA_SETS,
        SERVICES,
        CONFIG_MAPS,
        SECRETS,
        SERVICE_ACCOUNTS,
        NETWORK_POLICIES,
        AUTOSCALERS,
        BUDGETS,
        SCALED_OBJECTS,
        INFERENCE_SERVICES,
    )
}


@dataclass(slots=True)
class Namespace:
    """One namespace of a cluster."""

    kubernetes: client.Kubernetes
    namespace: str
    report: Callable[[str], None] = progress.report_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _groups: dict[str, list[str]] | None = field(default=None, init=False, repr=False)

    # --- reading

    def get(self, kind: Kind, name: str) -> Object | None:
        return self.kubernetes.get(self.path(kind, name), self.call("get", kind, name))

    def list_objects(self, kind: Kind, selector: str = f"{identity.OUTLIVES_RUN}=true") -> list[Object]:
        query = {"labelSelector": selector} if selector else {}
        page = self.kubernetes.list(self.path(kind), query, self.call("list", kind))
        # A list's items lack what they are.
        named = {"apiVersion": f"{kind.group}/{kind.version}".lstrip("/"), "kind": kind.kind}
        return [{**named, **item} for item in page.get("items") or []]

    def groups(self) -> dict[str, list[str]]:
        """Versions of each API group that the cluster serves."""
        if self._groups is None:
            # Asked for what an operator or an add-on brings, alone.
            from f.flexcore.lib.kubernetes_api import api_groups

            self._groups = api_groups.read_api_groups(self.kubernetes)
        return self._groups

    def serves(self, kind: Kind) -> bool:
        return not kind.group or kind.version in self.groups().get(kind.group, ())

    # --- writing

    def undo(self, what: str, error: errors.FlexcoreError, take_back: Callable[[], str]) -> None:
        """Takes back what failed half-way, and says in the error and the log what it is now."""
        try:
            error.details["undone"] = take_back()
        except errors.FlexcoreError as second:
            error.details["undone"] = f"not undone: {second}"
        text = f"{what} is {error.details['undone']}"
        self.report(text)
        error.args = (f"{error} {text}.",)

    def store(self, kind: Kind, body: Object) -> Object:
        """Creates the object, or applies it to ours of that name. Raises Conflict when others hold what would be
        set."""
        name = body["metadata"]["name"]
        for _ in range(MAX_CONFLICTS):
            stored = self.get(kind, name)
            if stored is None:
                done = self.kubernetes.create(self.path(kind), body, self.call("create", kind, name))
            else:
                self.check_ours(kind, stored)
                adopted = self.adopt(kind, stored, body)
                done = self.apply(kind, body, adopted) if adopted else None
            if done is not None:
                return done
        raise busy_error(kind, name)

    def adopt(self, kind: Kind, stored: Object, body: Object) -> Object | None:
        """Our object once all that we hold of it is held by Apply, so that `body` takes the place of what we have
        stored before; None when it was changed meanwhile. Only who holds what is changed."""
        metadata = stored["metadata"]
        entries = metadata.get("managedFields") or []
        if kind != DEPLOYMENTS:
            moved = field_owners.migrate(entries)
        elif "replicas" in body["spec"]:
            moved = take_replicas_back(field_owners.migrate(entries))
        else:
            # Left out, they would fall to 1 before an autoscaler sets them again.
            moved = field_owners.migrate(entries, [field_owners.REPLICAS])
        return self.move_holders(kind, stored, moved)

    def adopt_all(self, kind: Kind, item: Object, has_replicas: bool = False) -> Object:
        """The object once all that we hold of it is held by Apply, the number of copies included: an update that fails
        puts it back. has_replicas: whether nothing else is there to set that number."""
        name = item["metadata"]["name"]
        for _ in range(MAX_CONFLICTS):
            moved = field_owners.migrate(item["metadata"].get("managedFields") or [])
            if kind == DEPLOYMENTS and has_replicas:
                moved = take_replicas_back(moved)
            if (adopted := self.move_holders(kind, item, moved)) is not None:
                return adopted
            item = self.get(kind, name) or item
            self.check_ours(kind, item)
        raise busy_error(kind, name)

    def store_map(self, body: Object, owner: str) -> None:
        """A ConfigMap that is named by its content: what exists is the same, unless it goes with an owner that was
        there before. owner: its owner's uid."""
        name = body["metadata"]["name"]
        for _ in range(MAX_CONFLICTS):
            if self.kubernetes.create(self.path(CONFIG_MAPS), body, self.call("create", CONFIG_MAPS, name)):
                return
            stored = self.get(CONFIG_MAPS, name)
            if stored and any(item["uid"] == owner for item in stored["metadata"].get("ownerReferences") or ()):
                return
            if stored:
                self.remove(CONFIG_MAPS, stored)
        raise errors.Unavailable(f"ConfigMap {name} of an earlier deployment stays", subject=name, remedy="Delete it.")

    def remove_maps(self, selector: str, kept: Container[str]) -> None:
        """Marks our ConfigMaps that have these labels for deletion, but for those that are kept."""
        for item in self.list_objects(CONFIG_MAPS, f"{OURS},{selector}"):
            name, uid = item["metadata"]["name"], item["metadata"]["uid"]
            if name not in kept:
                call = self.call("delete", CONFIG_MAPS, name)
                self.kubernetes.delete(self.path(CONFIG_MAPS, name), uid, call, retry_s=0)

    def move_holders(self, kind: Kind, stored: Object, entries: list[Object]) -> Object | None:
        """The object with other `managedFields` and nothing else changed; None when it was changed meanwhile."""
        metadata = stored["metadata"]
        if entries == (metadata.get("managedFields") or []):
            return stored
        changes = {"metadata": {"managedFields": entries, "resourceVersion": metadata["resourceVersion"]}}
        name = metadata["name"]
        return self.kubernetes.patch(self.path(kind, name), changes, self.call("patch", kind, name))

    def apply(self, kind: Kind, body: Object, stored: Object | None = None, *, dry_run: bool = False) -> Object | None:
        """The object after our apply; None when it is no longer the one that `stored` was. Raises Conflict."""
        name = body["metadata"]["name"]
        if stored is not None:
            body = {**body, "metadata": {**body["metadata"], "uid": stored["metadata"]["uid"]}}
        call = self.call("patch", kind, name)
        return self.kubernetes.apply(self.path(kind, name), body, call, dry_run=dry_run)

    def rehearse_one(self, kind: Kind, body: Object, stored: Object | None) -> None:
        """Asks the server what it would say to it, and changes nothing. Raises what storing it would raise."""
        name = body["metadata"]["name"]
        if stored is not None:
            self.apply(kind, body, stored, dry_run=True)
        else:
            self.kubernetes.create(self.path(kind), body, self.call("create", kind, name), dry_run=True)

    def remove(self, kind: Kind, item: Object, timeout_s: float = DELETION_TIMEOUT_S) -> bool:
        """Whether it was seen to be gone in time."""
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        return deletion.delete_object(
            self.kubernetes,
            self.path(kind, name),
            uid,
            self.call("get", kind, name),
            timeout_s=timeout_s,
            clock=self.clock,
            sleep=self.sleep,
        )

    def check_ours(self, kind: Kind, item: Mapping[str, Any]) -> None:
        """Raises InvalidInput or Conflict unless the object is one that we deployed, that nobody else manages, and that
        stays."""
        name = item["metadata"]["name"]
        self.check_owner(kind, item)
        if not is_ours(item):
            raise errors.InvalidInput(
                f"{kind.resource} {name} exists in namespace {self.namespace} and was not made by flexcore",
                subject="name",
                remedy="Choose another name or namespace, or remove it.",
            )
        if item["metadata"].get("deletionTimestamp"):
            raise errors.Unavailable(
                f"{kind.resource} {name} is being deleted", subject="name", remedy="Run again when it is gone."
            )

    def check_owner(self, kind: Kind, item: Mapping[str, Any]) -> None:
        """Raises Conflict when another tool manages the object."""
        if owner := ownership.find_owner(item):
            raise owner.to_error(kind.kind, item["metadata"]["name"], self.namespace)

    # --- addresses

    def path(self, kind: Kind, name: str = "") -> str:
        return f"{kind.prefix}/namespaces/{self.namespace}/{kind.plural}" + (f"/{name}" if name else "")

    def call(self, verb: str, kind: Kind, name: str = "") -> api_errors.Call:
        return api_errors.Call(verb, kind.resource, self.namespace, name)


def is_ours(item: Mapping[str, Any]) -> bool:
    labels = item["metadata"].get("labels") or {}
    return labels.get(identity.MANAGED_BY) == "flexcore" and labels.get(identity.OUTLIVES_RUN) == "true"


def take_replicas_back(entries: list[Object]) -> list[Object]:
    """The `managedFields` of a Deployment that no autoscaler and no shift of traffic scales any more. What a person has
    set by kubectl scale stays theirs."""
    for manager in (ownership.AUTOSCALER_MANAGER, identity.FIELD_MANAGER):
        entries = field_owners.release(entries, manager, field_owners.SCALE, field_owners.REPLICAS)
    return entries


def busy_error(kind: Kind, name: str) -> errors.Unavailable:
    return errors.Unavailable(
        f"{kind.resource} {name} keeps being changed by another client",
        subject=name,
        remedy="See who writes it (kubectl get -o yaml --show-managed-fields), then run again.",
    )
