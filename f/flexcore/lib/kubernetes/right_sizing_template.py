# requirements: flexcore_kubernetes
"""New requests in a Deployment's pod template: its own rollout replaces the pods, and a failed one goes back.

Which execution has begun the rollout, and from which requests, stands in the Deployment from the same write on:
repeated after a kill or an outage, it follows the rollout to its end, and can still take it back.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import right_sizing, serving_manifests
from f.flexcore.lib.kubernetes_api import api_errors, client, progress

Object = dict[str, Any]
MAX_CONFLICTS = 5
# The resize that has made the present template: {key, resources, rollout}, the latter two of the template before.
RESIZE = "flexcore/resize"


@dataclass(slots=True)
class TemplateResizer:
    """One container in the template of one Deployment. key: of the execution."""

    kubernetes: client.Kubernetes
    namespace: str
    name: str
    container: str
    key: str
    report: Callable[[str], None] = progress.report_now
    clock: Callable[[], float] = time.monotonic

    def resize(self, deployment: Object, cpu: str, memory: str, until: float) -> dict[str, Any]:
        """What became of the template, once its rollout is complete. Raises the typed error of whatever prevents that;
        error.details.undone says which template the Deployment then has."""
        from f.flexcore.lib.kubernetes import rollout

        before = deployment["spec"]["template"]
        after = make_template(before, self.container, cpu, memory)
        begun = read_resize(deployment, self.key)
        if after != before:
            stored = self._write(deployment, after, self._describe_resize(before))
            self.report(f"Deployment {self.name}: new requests in its template, its pods are replaced")
        elif begun and not rollout.is_complete(deployment):
            stored, before = deployment, make_template_before(after, self.container, begun)
            self.report(f"Deployment {self.name}: goes on with the rollout of its new requests")
        else:
            return {"state": "was so already"}
        try:
            rollout.RolloutObserver(self.kubernetes, self.namespace, self.report, self.clock).run(stored, until)
        except errors.FlexcoreError as error:
            # A cluster that does not answer says nothing about the pods.
            if not error.retryable or error.details.get("diagnosis"):
                self._undo(error, before, after)
            raise
        return {"state": "rolled out"}

    def _describe_resize(self, before: Mapping[str, Any]) -> str:
        container = next(item for item in before["spec"]["containers"] if item["name"] == self.container)
        resources = container.get("resources") or {}
        return json.dumps({"key": self.key, "resources": resources, "rollout": rollout_mark(before)})

    def _write(self, deployment: Object, template: Mapping[str, Any], note: str | None) -> Object:
        """note: of the resize that it belongs to; None for none."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}"
        call = api_errors.Call("patch", "deployments.apps", self.namespace, self.name)
        uid, was = deployment["metadata"]["uid"], deployment["spec"]["template"]
        changes = make_changes(template)
        for _ in range(MAX_CONFLICTS):
            metadata = {"resourceVersion": deployment["metadata"]["resourceVersion"], "annotations": {RESIZE: note}}
            stored = self.kubernetes.patch(path, {**changes, "metadata": metadata}, call)
            if stored is not None:
                return stored
            found = self.kubernetes.get(path, api_errors.Call("get", "deployments.apps", self.namespace, self.name))
            if found and is_written(found, template, note):
                # The answer was lost, and the client has sent it again.
                return found
            if found is None or found["metadata"]["uid"] != uid or found["spec"]["template"] != was:
                break
            deployment = found
        raise errors.Conflict(
            f"Deployment {self.name} is being changed by another client", subject="name", remedy="Run again."
        )

    def _undo(self, error: errors.FlexcoreError, before: Object, after: Object) -> None:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}"
        try:
            found = self.kubernetes.get(path, api_errors.Call("get", "deployments.apps", self.namespace, self.name))
            # The server fills defaults in; the mark of this rollout says whether the template is still ours.
            if found is None or rollout_mark(found["spec"]["template"]) != rollout_mark(after):
                undone = "left: another client has changed it"
            else:
                self._write(found, before, None)
                undone = "back at the requests before"
        except errors.FlexcoreError as second:
            undone = f"not put back: {second}"
        error.details["undone"] = undone
        error.args = (f"{error} Deployment {self.name} is {undone}.",)


def make_template(before: Mapping[str, Any], container: str, cpu: str, memory: str) -> Object:
    """The pod template with new requests, and a mark that tells its pods from those before. Init containers keep what
    they have: what they use was not measured."""
    spec = before["spec"]
    containers = [
        {**item, "resources": right_sizing.scale_resources(item, cpu, memory)} if item["name"] == container else item
        for item in spec["containers"]
    ]
    if all(
        right_sizing.same_resources(item.get("resources") or {}, was.get("resources") or {})
        for item, was in zip(containers, spec["containers"], strict=True)
    ):
        return dict(before)
    digest = hashlib.sha256(json.dumps(containers, sort_keys=True).encode()).hexdigest()[:10]
    labels = {**(before["metadata"].get("labels") or {}), serving_manifests.ROLLOUT: digest}
    return {**before, "metadata": {**before["metadata"], "labels": labels}, "spec": {**spec, "containers": containers}}


def make_changes(template: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch of a Deployment: its containers and the mark of the rollout, nothing else."""
    labels = {serving_manifests.ROLLOUT: rollout_mark(template)}
    return {
        "spec": {"template": {"metadata": {"labels": labels}, "spec": {"containers": template["spec"]["containers"]}}}
    }


def read_resize(deployment: Object, key: str) -> Object | None:
    """What this execution has begun; None when it has not, or others came after it."""
    text = (deployment["metadata"].get("annotations") or {}).get(RESIZE)
    known: Object = json.loads(text) if text else {}
    return known if known.get("key") == key else None


def make_template_before(template: Mapping[str, Any], container: str, resize: Mapping[str, Any]) -> Object:
    """The pod template as it was before a resize."""
    spec, metadata = template["spec"], template["metadata"]
    containers = [
        {**item, "resources": resize["resources"]} if item["name"] == container else item for item in spec["containers"]
    ]
    labels = {**(metadata.get("labels") or {}), serving_manifests.ROLLOUT: resize["rollout"]}
    return {**template, "metadata": {**metadata, "labels": labels}, "spec": {**spec, "containers": containers}}


def is_written(deployment: Object, template: Mapping[str, Any], note: str | None) -> bool:
    """Whether it has what was sent."""
    notes = deployment["metadata"].get("annotations") or {}
    return notes.get(RESIZE) == note and rollout_mark(deployment["spec"]["template"]) == rollout_mark(template)


def rollout_mark(template: Mapping[str, Any]) -> str | None:
    mark: str | None = (template["metadata"].get("labels") or {}).get(serving_manifests.ROLLOUT)
    return mark
