# requirements: flexcore_base
"""A RayCluster, RayJob or RayService as people paste it: YAML text with one or several documents, or an object. Pure.

text ──→ documents ──→ exactly one object of ray.io, and the names of those beside it
                            │  server-owned fields dropped, and said
                            └─ ray_manifest_rules: what KubeRay would refuse after it took the object
No value of a manifest stands in an error: it may be a secret.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import ray_manifest_rules

Object = dict[str, Any]
API_VERSION = "ray.io/v1"
OLD_VERSIONS = ("ray.io/v1alpha1",)
KINDS = ("RayCluster", "RayJob", "RayService")
# etcd takes no object above 1.5 MiB.
MAX_CHARACTERS = 2_000_000
SERVER_OWNED = (
    *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields"),
    *("resourceVersion", "selfLink", "uid", "ownerReferences", "finalizers"),
)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Of a RayJob: what its step decides itself.
SET_BY_STEP = {
    "entrypoint": "the step submits its own program",
    "runtimeEnvYAML": "packages and runtime_env of the step say it",
    "entrypointNumCpus": "num_cpus of the step says it",
    "entrypointNumGpus": "num_gpus of the step says it",
    "entrypointResources": "num_cpus and num_gpus of the step say it",
    "jobId": "it is the execution's own",
    "metadata": "it is the execution's own",
    "submitterPodTemplate": "there is no submitter: the step submits",
    "submitterConfig": "there is no submitter: the step submits",
    "submissionMode": "it is InteractiveMode: the step submits",
    "backoffLimit": "it is 0: the flow's own retry makes a new attempt",
    "suspend": "the queue decides it",
    "shutdownAfterJobFinishes": "it is true: the cluster is this job's alone",
    "ttlSecondsAfterFinished": "own_cluster.keep_s says it",
    "activeDeadlineSeconds": "timeout_s of the step and own_cluster.start_timeout_s say it",
    "preRunningDeadlineSeconds": "own_cluster.start_timeout_s says it",
    "deletionStrategy": "its rules leak the cluster when a deadline ends the job (kuberay 5184)",
    "managedBy": "KubeRay's own operator runs it",
}


@dataclass(frozen=True, slots=True)
class RayManifest:
    """document: without what the server owns; notes: what was left out, and what to do first."""

    kind: str
    document: Object
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        metadata = self.document.get("metadata") or {}
        return str(metadata.get("name") or metadata.get("generateName") or "")


def read_manifest(value: Any, what: str = "manifest") -> RayManifest:
    """Raises InvalidInput that names every problem of the object which needs no cluster to be seen."""
    items = [item for item in _parse(value, what) if item not in (None, {}, [])]
    for item in items:
        if not isinstance(item, Mapping):
            raise _wrong(
                what, "an object is expected", "Give a RayCluster, RayJob or RayService with apiVersion and kind."
            )
    ours = [item for item in items if str(item.get("apiVersion") or "").startswith("ray.io/")]
    others = [item for item in items if item not in ours]
    if not ours:
        raise _no_ray_object(items, what)
    if len(ours) > 1:
        names = ", ".join(describe(item) for item in ours)
        raise _wrong(what, f"it holds {len(ours)} objects of Ray ({names})", "Give each a manifest of its own.")
    document, notes = drop_server_owned(ours[0])
    kind = _check_kind(document, what)
    if others:
        names = ", ".join(describe(item) for item in others)
        notes.append(f"Not created with it: {names}; create them beforehand (kubectl apply -f)")
    problems = ray_manifest_rules.find_problems(kind, document)
    if problems:
        raise errors.merge([_wrong(f"{what}.{item.path}", item.text, item.remedy) for item in problems])
    return RayManifest(kind, document, notes)


def read_job_cluster(value: Any) -> tuple[Object, Object, list[str]]:
    """(spec of the RayCluster, labels and annotations to keep, notes) of a manifest that gives a job its own cluster.
    Raises InvalidInput."""
    manifest = read_manifest(value)
    spec, notes = dict(manifest.document["spec"]), list(manifest.notes)
    metadata = manifest.document.get("metadata") or {}
    kept = {name: dict(metadata[name]) for name in ("labels", "annotations") if metadata.get(name)}
    if manifest.kind == "RayService":
        raise _wrong(
            "manifest.kind",
            "a RayService serves models and runs no job",
            "Give a RayCluster or RayJob; f/flexcore/ray/deploy_model serves.",
        )
    if manifest.kind == "RayCluster":
        return spec, kept, notes
    if spec.get("clusterSelector"):
        raise _wrong(
            "manifest.spec.clusterSelector",
            "it names a cluster that is there already",
            "Name that RayCluster in the c_ray_cluster resource (name, namespace), and leave own_cluster empty.",
        )
    notes += [f"spec.{name} is left out: {reason}" for name, reason in SET_BY_STEP.items() if name in spec]
    return dict(spec["rayClusterSpec"]), kept, notes


def drop_server_owned(item: Mapping[str, Any]) -> tuple[Object, list[str]]:
    """The object as it can be created, and what was left out of it."""
    document, notes = copy.deepcopy(dict(item)), []
    dropped = ["status"] if document.pop("status", None) is not None else []
    metadata = document.get("metadata")
    if isinstance(metadata, dict):
        dropped += [f"metadata.{name}" for name in SERVER_OWNED if metadata.pop(name, None) is not None]
        annotations = metadata.get("annotations")
        if isinstance(annotations, dict) and annotations.pop(LAST_APPLIED, None) is not None:
            dropped.append(f"metadata.annotations.{LAST_APPLIED}")
    if dropped:
        notes.append(f"Left out, since the server writes it: {', '.join(dropped)}")
    return document, notes


def describe(item: Mapping[str, Any]) -> str:
    """`Kind name`, as far as it is written."""
    metadata = item.get("metadata")
    name = metadata.get("name") or metadata.get("generateName") or "" if isinstance(metadata, Mapping) else ""
    return f"{item.get('kind') or 'object'} {name}".strip()


def _parse(value: Any, what: str) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return [value]
    if len(value) > MAX_CHARACTERS:
        raise _wrong(what, f"it has {len(value)} characters", f"Kubernetes takes at most {MAX_CHARACTERS}.")
    import yaml

    try:
        return list(yaml.safe_load_all(value))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" (line {mark.line + 1})" if mark else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        hint = "Render the template first (helm template, envsubst)." if "{{" in value else "Correct that line."
        raise _wrong(what, f"is not valid YAML{at}: {reason}", hint) from None
    except (RecursionError, ValueError):
        raise _wrong(what, "is not valid YAML", "Paste the manifest as kubectl takes it.") from None


def _check_kind(document: Object, what: str) -> str:
    version, kind = str(document.get("apiVersion")), str(document.get("kind"))
    if version in OLD_VERSIONS:
        raise _wrong(
            f"{what}.apiVersion",
            f"{version} is served by no KubeRay since 1.1 in full",
            f"Write apiVersion: {API_VERSION}; its fields are the same but for rayClusterConfig and serveConfigV2.",
        )
    if version != API_VERSION:
        raise _wrong(f"{what}.apiVersion", f"{version} is unknown", f"Write apiVersion: {API_VERSION}.")
    if kind == "RayCronJob":
        raise _wrong(
            f"{what}.kind",
            "a RayCronJob starts RayJobs by a schedule of its own, which nobody here would see",
            "Give its spec.jobTemplate as a RayJob, and let a schedule of Windmill start the flow.",
        )
    if kind not in KINDS:
        raise _wrong(f"{what}.kind", f"{kind} is unknown", f"Use one of {', '.join(KINDS)}.")
    return kind


def _no_ray_object(items: list[Any], what: str) -> errors.InvalidInput:
    if not items:
        return _wrong(what, "it is empty", "Give a RayCluster, RayJob or RayService.")
    names = ", ".join(f"{item.get('apiVersion')} {describe(item)}" for item in items[:5])
    return _wrong(
        what, f"it holds no object of Ray, but {names}", "Give a RayCluster, RayJob or RayService of ray.io/v1."
    )


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
