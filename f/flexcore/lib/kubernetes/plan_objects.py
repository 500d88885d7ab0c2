# requirements: flexcore_kubernetes
"""What the API server would make of the objects that an operation writes: each tried by a dry run, and compared with
what is there.

stored (get) → dry run of create, or of the update that the operation would send → changes, or why it is refused
The dry run passes defaults, admission webhooks, quotas and strict validation. Nothing stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import plan_diff, plan_reasons, plan_tools
from f.flexcore.lib.kubernetes_api import api_errors, categories, client

Object = dict[str, Any]
Action = Literal["create", "update", "unchanged", "attach", "refused"]
# Of an owner that does not exist yet.
NO_UID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to be made. path: of its collection; resource: how rights name it; stored: what of that name is there;
    update(stored): a dry run of what would be sent then; without one what is there stays."""

    path: str
    resource: str
    body: Object
    stored: Object | None = None
    update: Callable[[Object], Object | None] | None = None

    @property
    def name(self) -> str:
        return str(self.body["metadata"].get("name") or self.body["metadata"].get("generateName"))

    @property
    def plural(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def label(self) -> str:
        return f"{self.body['kind']} {self.name}"


@dataclass(frozen=True, slots=True)
class Tried:
    """What would become of it. result: as the server would store it, None when it refuses."""

    wanted: Wanted
    action: Action
    result: Object | None = None
    changes: Sequence[plan_diff.Change] = ()
    reason: plan_reasons.Reason | None = None

    def plain(self) -> dict[str, Any]:
        changes = [{"path": item.path, "before": item.before, "after": item.after} for item in self.changes]
        shown = {"kind": self.wanted.body["kind"], "name": self.wanted.name, "action": self.action, "changes": changes}
        return {**shown, "reason": self.reason.text} if self.reason else shown

    def lines(self) -> list[str]:
        words = {
            "create": "would be created",
            "update": f"would be updated ({len(self.changes)} changes)",
            "unchanged": "stays as it is",
            "attach": "is there already, and the work attaches to it",
            "refused": f"is refused: {self.reason.text if self.reason else ''}",
        }
        return [f"{self.wanted.label} {words[self.action]}", *(f"  {change}" for change in self.changes)]


@dataclass(slots=True)
class Trial:
    """Tries objects on one cluster. run_labels: names of the labels that each run sets anew."""

    kubernetes: client.Kubernetes
    namespace: str
    run_labels: Sequence[str] = ()
    unseen: list[str] = field(default_factory=list)

    def try_object(self, wanted: Wanted) -> Tried:
        """Raises Unreachable, and Forbidden when the credentials are refused."""
        try:
            return self._try_create(wanted) if wanted.stored is None else self._try_update(wanted, wanted.stored)
        except errors.FlexcoreError as error:
            return Tried(wanted, "refused", reason=plan_reasons.from_error(error))

    def _try_create(self, wanted: Wanted) -> Tried:
        result = self.kubernetes.create(wanted.path, wanted.body, self._call("create", wanted), dry_run=True)
        return Tried(wanted, "attach" if result is None else "create", result)

    def _try_update(self, wanted: Wanted, stored: Object) -> Tried:
        result = wanted.update(stored) if wanted.update else stored
        if result is None:
            raise errors.Unavailable(
                f"{wanted.label} is being changed by another client", subject=wanted.name, remedy="Plan again."
            )
        changes = plan_diff.list_changes(stored, {"kind": wanted.body["kind"], **result}, self.run_labels)
        return Tried(wanted, "update" if changes else "unchanged", result, changes)

    def _call(self, verb: str, wanted: Wanted) -> api_errors.Call:
        return api_errors.Call(verb, wanted.resource, self.namespace, wanted.name)


def explain_missing_kinds(tried: Sequence[Tried], apis: dict[str, plan_tools.Api]) -> list[Tried]:
    """The same, with the reason where the cluster does not serve an object's kind, or serves another version."""
    return [_explain_missing_kind(item, apis) for item in tried]


def _explain_missing_kind(item: Tried, apis: dict[str, plan_tools.Api]) -> Tried:
    body = item.wanted.body
    text = plan_tools.explain_unserved(apis, str(body["apiVersion"]), str(body["kind"])) if item.reason else ""
    if not text:
        return item
    remedy = "Install it, or another version of it, or leave the option out that needs it."
    reason = plan_reasons.Reason(categories.Category.ADMISSION_DENIED, str(body["kind"]), text, remedy)
    return replace(item, reason=reason)


def make_pod(template: Object, namespace: str, name: str, wanted: Sequence[Wanted] = ()) -> Object:
    """The first pod of a template, to be tried itself: only of a pod the server tells what LimitRanges, Pod Security
    and webhooks make of it. An account that is yet to be made (`wanted`) is left out: the server refuses pods without
    theirs, also in a dry run."""
    accounts = {item.name for item in wanted if item.plural == "serviceaccounts" and item.stored is None}
    spec = dict(template["spec"])
    if spec.get("serviceAccountName") in accounts:
        del spec["serviceAccountName"]
    metadata = template.get("metadata") or {}
    kept = {field: metadata[field] for field in ("labels", "annotations") if metadata.get(field)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "generateName": f"{name[:50]}-", "namespace": namespace},
        "spec": spec,
    }
