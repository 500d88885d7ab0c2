# requirements: flexcore_base
"""The RayJob that gives one attempt a cluster of its own, and the objects that go with it. Pure.

InteractiveMode: KubeRay makes the cluster and watches the job that the step submits, by the id that stands in
`spec.jobId` from the beginning. Set later, by a patch, it would leave a RayJob whose step has died in Waiting, where
KubeRay 1.5 looks at neither deadline nor suspension.
The cluster ends by shutdownAfterJobFinishes and ttlSecondsAfterFinished, never by deletionRules: those are keyed on
jobStatus, which a deadline leaves at RUNNING (kuberay 5184).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from f.flexcore.lib.core import identity, operation
from f.flexcore.lib.kubernetes_api import kueue_status
from f.flexcore.lib.ray import cluster_spec, job_cluster, ray_manifest

Object = dict[str, Any]
DEADLINE, DELETE_AFTER = "flexcore/deadline", "flexcore/delete-after"
HISTORY_SERVER = "flexcore/history-server"
# Beyond the job's own time: what a step that watches it takes to stop it itself, and to collect its result.
SPARE_S = 120
MAX_SECONDS = 2**31 - 1
# What older versions of KubeRay do not know (1.6 and 1.5.1 brought them); a cluster that refuses one gets it without.
PRE_RUNNING_DEADLINE, AUTH_OPTIONS = "preRunningDeadlineSeconds", "authOptions"
OPTIONAL_FIELDS = frozenset([PRE_RUNNING_DEADLINE, AUTH_OPTIONS])


def ray_job(
    own: job_cluster.OwnCluster,
    key: identity.ExecutionKey,
    number: int,
    namespace: str,
    *,
    timeout_s: int,
    now: float,
    is_deferred: bool = False,
    known_fields: Collection[str] = OPTIONAL_FIELDS,
) -> Object:
    """The RayJob of an attempt. timeout_s: of the job itself; now: seconds since the epoch, by the server's clock;
    known_fields: those of OPTIONAL_FIELDS that the cluster's KubeRay knows."""
    name, labels = key.name(number), key.labels(number) | operation.deferral_labels(is_deferred)
    kept: Mapping[str, Mapping[str, str]] = {}
    if own.manifest:
        body, kept, _ = ray_manifest.read_job_cluster(own.manifest)
        body = label_pods(body, labels)
    else:
        body = cluster_spec.cluster_body(
            own, cluster_spec.token_secret_name(name), labels, has_auth_options=AUTH_OPTIONS in known_fields
        )
    queued_s = own.queue_timeout_s if own.queue else 0
    active_s = own.start_timeout_s + timeout_s + SPARE_S
    deadline = now + queued_s + active_s
    annotations = {
        **kept.get("annotations", {}),
        DEADLINE: str(int(deadline)),
        DELETE_AFTER: str(int(deadline + own.keep_s)),
        **({HISTORY_SERVER: own.history_server} if own.history_server else {}),
        **({kueue_status.ELASTIC_ANNOTATION: "true"} if own.elastic else {}),
    }
    queue = {kueue_status.QUEUE_LABEL: own.queue} if own.queue else {}
    priority = {kueue_status.PRIORITY_LABEL: own.priority_class} if own.priority_class else {}
    return {
        "apiVersion": cluster_spec.API_VERSION,
        "kind": "RayJob",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**kept.get("labels", {}), **labels, **queue, **priority},
            "annotations": annotations,
        },
        "spec": {
            "submissionMode": "InteractiveMode",
            "jobId": name,
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": own.keep_s,
            "activeDeadlineSeconds": min(active_s, MAX_SECONDS),
            **({PRE_RUNNING_DEADLINE: own.start_timeout_s} if PRE_RUNNING_DEADLINE in known_fields else {}),
            # Where Kueue has no webhook in the namespace, another one would start before it is admitted.
            **({"suspend": True} if own.queue else {}),
            "rayClusterSpec": body,
        },
    }


def find_unknown_fields(message: str) -> set[str]:
    """Those of OPTIONAL_FIELDS that a refusal of the API server says it does not know."""
    return {name for name in OPTIONAL_FIELDS if re.search(rf'unknown field "[^"]*\b{name}"', message)}


def label_pods(body: Object, labels: Mapping[str, str]) -> Object:
    """The caller's cluster with our labels on its pods, by which they are found and its NetworkPolicy selects."""
    groups = [_label_group(group, labels) for group in body.get("workerGroupSpecs") or []]
    workers = {"workerGroupSpecs": groups} if groups else {}
    return {**body, "headGroupSpec": _label_group(body["headGroupSpec"], labels), **workers}


def companions(own: job_cluster.OwnCluster, ray_job: Object, token: str) -> list[Object]:
    """The objects that the stored RayJob owns, and that go with it: the Secret with Ray's token, where KubeRay does not
    make it itself, and the NetworkPolicy."""
    if own.manifest:
        return []
    metadata = ray_job["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    labels = {key: value for key, value in metadata["labels"].items() if key in OWNER_LABELS}
    made = []
    if own.token_auth and AUTH_OPTIONS not in ray_job["spec"]["rayClusterSpec"]:
        made.append(cluster_spec.token_secret(name, namespace, labels, token))
    if own.network_policy:
        policy = cluster_spec.network_policy(own, name, namespace, labels)
        # KubeRay makes the cluster's name; its pods are known beforehand by our labels.
        made.append(_replace_selector(policy, {"ray.io/cluster": name}, select_pods(labels)))
    owner = {"apiVersion": cluster_spec.API_VERSION, "kind": "RayJob", "name": name, "uid": metadata["uid"]}
    for item in made:
        item["metadata"]["ownerReferences"] = [owner]
    return made


OWNER_LABELS = (
    identity.MANAGED_BY,
    *(f"flexcore/{name}" for name in ("key", "attempt", "owner-job", "root-job", "step", "workspace")),
)


def select_pods(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels by which the pods of an attempt are selected."""
    return {name: labels[name] for name in ("flexcore/key", "flexcore/attempt")}


def _label_group(group: Object, labels: Mapping[str, str]) -> Object:
    template = group.get("template") or {}
    metadata = template.get("metadata") or {}
    merged = {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}
    return {**group, "template": {**template, "metadata": merged}}


def _replace_selector(value: Any, old: Mapping[str, str], new: Mapping[str, str]) -> Any:
    if value == old:
        return dict(new)
    if isinstance(value, dict):
        return {name: _replace_selector(item, old, new) for name, item in value.items()}
    return [_replace_selector(item, old, new) for item in value] if isinstance(value, list) else value
