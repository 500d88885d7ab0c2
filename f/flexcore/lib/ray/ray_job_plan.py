# requirements: flexcore_base
"""Whether a cluster of its own could be made for a job now, and a manifest of Ray as the cluster would take it.

Both are answered by the API server's own dry run: CRD, webhooks and quotas included. Nothing stays.
"""

from __future__ import annotations

import re
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, operation, resources
from f.flexcore.lib.kubernetes_api import api_errors
from f.flexcore.lib.ray import kubernetes_session, ray_job_api, ray_job_manifest, ray_manifest

# Nothing of what is asked depends on it.
PLANNED_TIMEOUT_S = 3600
PLURALS = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayService": "rayservices"}


def plan(invocation: operation.Invocation[Any, Any]) -> contracts.StepResult:
    """Raises InvalidInput for what KubeRay or the cluster's rules refuse, NotFound for a queue that is not there."""
    own = invocation.request.own_cluster
    notes = ray_manifest.read_job_cluster(own.manifest)[2] if own.manifest else []
    with kubernetes_session.open_session(invocation.service, invocation.settings) as session:
        api = ray_job_api.RayJobApi(session)
        queue = _read_queue(api, own.queue) if own.queue else None
        known: frozenset[str] = ray_job_manifest.OPTIONAL_FIELDS

        def build(fields: frozenset[str]) -> dict[str, Any]:
            nonlocal known
            known = fields
            options: dict[str, Any] = {"timeout_s": PLANNED_TIMEOUT_S, "now": api.now(), "known_fields": fields}
            return ray_job_manifest.ray_job(own, invocation.key, 1, api.namespace, **options)

        api.create(build, dry_run=True)
        data = {
            "own_cluster": {
                "namespace": api.namespace,
                "ray_version": None if own.manifest else own.ray_version,
                "image": None if own.manifest else own.pod_image,
                "min_workers": None if own.manifest else own.min_workers,
                "autoscales": None if own.manifest else own.autoscales,
                "queue": queue,
            },
            "notes": [*notes, *_note_old_kuberay(own.token_auth and not own.manifest, known)],
        }
    return contracts.StepResult(success=True, runtime="ray", execution_key=invocation.key.value, attempt=1, data=data)


def plan_manifest(value: Any, cluster: Any, settings: Any, key: identity.ExecutionKey) -> contracts.StepResult:
    """A RayCluster, RayJob or RayService as the cluster would take it. Raises InvalidInput for what KubeRay or the API
    server refuse."""
    manifest = ray_manifest.read_manifest(value)
    service = errors.validate(resources.RayCluster, cluster or {}, "cluster")
    stored = errors.validate(resources.Settings, settings or {}, "settings")
    with kubernetes_session.open_session(service, stored) as session:
        notes = [*manifest.notes, *check_on_server(session, manifest)]
        data = {"kind": manifest.kind, "name": manifest.name, "namespace": session.namespace, "notes": notes}
    for note in notes:
        print(f"Note: {note}")
    print(f"{manifest.kind} {manifest.name}: the cluster would take it")
    return contracts.StepResult(success=True, runtime="ray", execution_key=key.value, attempt=1, data=data)


def check_on_server(session: kubernetes_session.Session, manifest: ray_manifest.RayManifest) -> list[str]:
    """What is said of it besides that it would be taken. Raises InvalidInput, or the errors of the API."""
    ray_job_api.RayJobApi(session).check_served()
    written = (manifest.document.get("metadata") or {}).get("namespace")
    metadata = {**manifest.document["metadata"], "namespace": session.namespace}
    notes = (
        [f"metadata.namespace {written} is replaced by {session.namespace}"]
        if written not in (None, session.namespace)
        else []
    )
    plural = PLURALS[manifest.kind]
    path = f"/apis/ray.io/v1/namespaces/{session.namespace}/{plural}"
    call = api_errors.Call("create", f"{plural}.ray.io", session.namespace, manifest.name)
    try:
        created = session.kubernetes.create(path, {**manifest.document, "metadata": metadata}, call, dry_run=True)
    except errors.InvalidInput as error:
        raise _explain_unknown_fields(error) from None
    taken = created is None
    return [*notes, *([f"A {manifest.kind} {manifest.name} is there already"] if taken else [])]


def _explain_unknown_fields(error: errors.InvalidInput) -> errors.InvalidInput:
    """A field that the served CRD lacks is misspelt, or of another version of KubeRay."""
    fields = re.findall(r'unknown field "([^"]+)"', str(error))
    if not fields:
        return error
    return errors.InvalidInput(
        f"KubeRay on this cluster does not know {', '.join(fields)}",
        subject=f"manifest.{fields[0]}",
        category="unknown_field",
        remedy="Correct the spelling, leave it out, or install a KubeRay that has it.",
    )


def _read_queue(api: ray_job_api.RayJobApi, name: str) -> dict[str, Any]:
    """What the LocalQueue says of itself. Raises NotFound."""
    queue = api.local_queue(name)
    if queue is None:
        raise errors.NotFound(
            f"There is no LocalQueue {name} in namespace {api.namespace}",
            subject="own_cluster.queue",
            category="queue_not_found",
            remedy="Correct own_cluster.queue (kubectl get localqueue), or create it.",
        )
    status = queue.get("status") or {}
    return {
        "name": name,
        "cluster_queue": (queue.get("spec") or {}).get("clusterQueue"),
        "pending": status.get("pendingWorkloads"),
        "admitted": status.get("admittedWorkloads"),
    }


def _note_old_kuberay(has_token: bool, known: frozenset[str]) -> list[str]:
    if not has_token or ray_job_manifest.AUTH_OPTIONS in known:
        return []
    return [
        "This KubeRay is older than 1.5.1 and does not know the cluster's token: it cannot see how the job is, so that "
        "its end is read from Ray alone"
    ]
