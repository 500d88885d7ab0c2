# requirements: flexcore_kubernetes
# py: ==3.11.*
"""The batch/v1 Job of an attempt: from the short form, or from a whole manifest made ours. Pure.

Attempts are ours, so the Job itself tries once; its deadline and time-to-live hold even if this step vanishes.
"""

from __future__ import annotations

import copy
from typing import Any

from pydantic import Field

from f.flexcore.core.deferral import deferral_labels
from f.flexcore.core.errors import InvalidInput
from f.flexcore.core.identity import ExecutionKey
from f.flexcore.core.resources import Form
from f.flexcore.core.secret_env import SecretEnv
from f.flexcore.kubernetes.pod_form import CONTAINER_SECURITY, check_image, environment, resources

CONTAINER = "main"
# What a program gets between SIGTERM and SIGKILL, as on Ray; a manifest may say more. Most shells and interpreters
# ignore SIGTERM as a container's first process, so that it is waited for whenever a flow is cancelled.
STOP_GRACE_S = 3
# Which call made the object: a repeat under the same job id is the same call, one under another is a retry.
CALL_ANNOTATION = "flexcore/job"
SHORT_FORM = ("image", "command", "args", "env", "secret_env", "cpu", "memory", "gpus", "service_account")
SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "generateName",
    "selfLink",
)


class JobRequest(Form):
    """What to run: an image with its command, or a whole `manifest`. Times in seconds. secrets: environment variables
    that travel in a Secret of the Job's own."""

    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[str] = []
    secret_env: list[str] = []
    secrets: SecretEnv = {}
    cpu: str = ""
    memory: str = ""
    gpus: int = Field(default=0, ge=0)
    service_account: str = ""
    manifest: dict[str, Any] | None = None
    timeout_s: int = Field(default=3600, ge=1)
    queue_timeout_s: int = Field(default=600, ge=1)
    ttl_s: int = Field(default=3600, ge=1)


def check(request: JobRequest) -> None:
    """Raises InvalidInput for what can be told without a cluster."""
    if request.manifest:
        _check_manifest(request)
    else:
        short_form(request)


def job_body(
    request: JobRequest,
    key: ExecutionKey,
    attempt: int,
    namespace: str,
    call: str,
    deadline: str,
    deferred: bool = False,
) -> dict[str, Any]:
    """call: the Windmill job that makes it; deadline: ISO time after which nobody waits for it any more; deferred: a
    flow waits for its end without a worker."""
    job = copy.deepcopy(request.manifest) if request.manifest else short_form(request)
    metadata = {name: value for name, value in (job.get("metadata") or {}).items() if name not in SERVER_FIELDS}
    labels = key.labels(attempt) | deferral_labels(deferred)
    notes = {CALL_ANNOTATION: call, "flexcore/deadline": deadline}
    job["metadata"] = {
        **metadata,
        "name": key.name(attempt),
        "namespace": namespace,
        "labels": {**(metadata.get("labels") or {}), **labels},
        "annotations": {**(metadata.get("annotations") or {}), **notes},
    }
    job.pop("status", None)
    spec = job["spec"]
    spec.setdefault("backoffLimit", 0)
    spec.setdefault("ttlSecondsAfterFinished", request.ttl_s)
    spec["activeDeadlineSeconds"] = min(spec.get("activeDeadlineSeconds") or request.timeout_s, request.timeout_s)
    template = spec["template"]
    inner = template.setdefault("metadata", {}) or {}
    template["metadata"] = {**inner, "labels": {**(inner.get("labels") or {}), **labels}}
    template["spec"].setdefault("restartPolicy", "Never")
    if request.secrets:
        for container in template["spec"]["containers"]:
            container["envFrom"] = [*(container.get("envFrom") or []), {"secretRef": {"name": key.name(attempt)}}]
    return job


def secret_body(request: JobRequest, job: dict[str, Any]) -> dict[str, Any]:
    """The Secret that a Job's containers read; it is the Job's own and goes with it."""
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "ownerReferences": [owner],
        },
        "type": "Opaque",
        "immutable": True,
        "stringData": {name: value.get_secret_value() for name, value in request.secrets.items()},
    }


def short_form(request: JobRequest) -> dict[str, Any]:
    check_image(request.image)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": request.image,
        "command": request.command,
        "args": request.args,
        "env": environment(request.env, request.secret_env),
        "resources": resources(request.cpu, request.memory, request.gpus),
        "securityContext": CONTAINER_SECURITY,
        # The last lines then stand in the pod's status too, where they outlive a log that cannot be read.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod: dict[str, Any] = {
        "containers": [{name: value for name, value in container.items() if value not in ([], {})}],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": STOP_GRACE_S,
        "enableServiceLinks": False,
        # A program that was not given an account has no business with the API.
        "automountServiceAccountToken": bool(request.service_account),
    }
    if request.service_account:
        pod["serviceAccountName"] = request.service_account
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {"template": {"spec": pod}}}


def _check_manifest(request: JobRequest) -> None:
    manifest = request.manifest or {}
    given = [name for name in SHORT_FORM if getattr(request, name)]
    if given:
        raise _wrong(f"{given[0]} is given beside it", "Give either a manifest or image and command.", given[0])
    if (manifest.get("apiVersion"), manifest.get("kind")) != ("batch/v1", "Job"):
        found = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
        raise _wrong(f"a batch/v1 Job is expected, not {found}", "Set apiVersion and kind.", "manifest.kind")
    spec = manifest.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    pod = template.get("spec") if isinstance(template, dict) else None
    if not isinstance(spec, dict) or not isinstance(pod, dict) or not pod.get("containers"):
        raise _wrong("it has no containers", "Fill it in.", "manifest.spec.template.spec.containers")
    if spec.get("manualSelector"):
        raise _wrong("a selector of one's own may catch other pods", "Remove it.", "manifest.spec.manualSelector")


def _wrong(problem: str, remedy: str, subject: str) -> InvalidInput:
    return InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
