# requirements: flexcore_kubernetes
"""The batch/v1 Job of an attempt, and what is created with it: from the short form, or from a manifest. Pure.

A Job of the short form tries once, since attempts are ours; a manifest's keeps its own limits, and what is changed of
them is noted. Deadline and time-to-live hold even if this step vanishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from f.flexcore.lib.core import dimensions, errors, identity, operation, resources, workloads
from f.flexcore.lib.kubernetes import job_options_field, pod_spec

Object = dict[str, Any]

CONTAINER = "main"
DEFAULT_TIMEOUT_S = 3600
# What a program gets between SIGTERM and SIGKILL, as on Ray; a manifest may say more. Most shells and interpreters
# ignore SIGTERM as a container's first process, so that it is waited for whenever a flow is cancelled.
STOP_GRACE_S = 3
# Which call made the object: a repeat under the same job id is the same call, one under another is a retry.
CALL_ANNOTATION = "flexcore/job"
SHORT_FORM = (
    "image",
    "command",
    "args",
    "env",
    "secret_env",
    "cpu",
    "memory",
    "gpus",
    "service_account",
    "run_as_user",
    "options",
)


class JobRequest(resources.Form):
    """The form of kubernetes/run_job: an image with its command, or a whole manifest (an object, a List, or YAML text).
    Times in seconds."""

    image: str = Field(default="", description="Container image, e.g. docker.io/library/busybox:1.37.")
    command: list[str] = Field(
        default=[], description="Command of the container, one word a line; empty means the image's own."
    )
    args: list[str] = Field(default=[], description="Arguments of the command, one a line.")
    env: Annotated[list[str], resources.OPAQUE] = Field(
        default=[], description="Environment as NAME=VALUE; not for secrets."
    )
    secret_env: list[str] = Field(default=[], description="Environment from Kubernetes Secrets, as NAME=SECRET/KEY.")
    secrets: Annotated[resources.SecretEnv, resources.SECRET] = Field(
        default={},
        description="Secret environment variables as {NAME: $var:path}: they reach every container, init containers "
        "and sidecars too, through a Secret of the Job's own, which goes with it.",
    )
    cpu: str = Field(
        default="",
        description="CPU, e.g. 500m or 2; empty means the default of the namespace, else 100m, and 2 at most.",
    )
    memory: str = Field(
        default="",
        description="Memory, e.g. 512Mi or 4Gi; empty means the default of the namespace, else 128Mi, and 4Gi at most.",
    )
    gpus: int = Field(default=0, ge=0, description="GPUs that the container reserves.")
    manifest: Annotated[Any, resources.OPAQUE] = Field(
        default=None,
        description="A whole batch/v1 Job instead of image and command, with ConfigMaps and Secrets beside it "
        "(a List). Its words are kept; what is changed is said in the log and in data.notes.",
    )
    options: job_options_field.OptionalJobOptions = Field(default=None, description=job_options_field.DESCRIPTION)
    inputs: Annotated[dict[str, Any], resources.OPAQUE] = Field(
        default={},
        description="What earlier stages have handed on, as {NAME: manifest}: the program finds each in the file that "
        "FLEXCORE_INPUT_NAME names, and its address in FLEXCORE_INPUT_NAME_URI.",
    )
    output: Literal["none", "manifest", "json"] = Field(
        default="none",
        description="What the program hands on, written as JSON to the file that FLEXCORE_OUTPUT names, 4 KiB at most: "
        'a manifest (or {"manifest": its URI in the store}), or any object.',
    )
    namespace: str = Field(default="", description="Namespace; empty means the one of the cluster resource.")
    service_account: str = Field(
        default="",
        description="Service account of the pod; empty means the namespace's default, without access to the API.",
    )
    run_as_user: int | None = Field(
        default=None,
        ge=0,
        description="User id of the program; empty means 1000. 0 is root, which apt-get and chown need and a namespace "
        'that enforces Pod Security "restricted" refuses.',
    )
    timeout_s: int | None = Field(
        default=None,
        ge=1,
        description="Longest time from creation to end, in seconds; empty means the manifest's activeDeadlineSeconds, "
        "else 3600.",
    )
    queue_timeout_s: int = Field(
        default=600, ge=1, description="Longest time to wait for a node that fits, in seconds."
    )
    ttl_s: int = Field(
        default=3600, ge=1, description="How long the finished Job and its log stay on the cluster, in seconds."
    )
    wait: Literal["block", "defer", "auto"] = Field(
        default="block",
        description="block keeps the worker until the work has ended; defer waits without one and needs "
        "operations/reconcile on its schedule; auto, in a flow, defers work that is expected to take ten minutes or "
        "more.",
    )

    @field_validator("manifest")
    @classmethod
    def _object_or_text(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, dict | list | str):
            raise ValueError("give a batch/v1 Job as an object, or its YAML as text")
        return value

    @cached_property
    def time_limit_s(self) -> int:
        """From the Job's creation to its end."""
        if self.timeout_s is None and self.manifest:
            from f.flexcore.lib.kubernetes import manifest_job

            return manifest_job.find_deadline_s(self.manifest) or DEFAULT_TIMEOUT_S
        return self.timeout_s or DEFAULT_TIMEOUT_S

    def requested_namespace(self) -> str:
        """The form's or the manifest's, or "". Raises InvalidInput when they differ, or the manifest is none."""
        if not self.manifest:
            return self.namespace
        from f.flexcore.lib.kubernetes import manifest_job

        written = manifest_job.find_namespace(self.manifest)
        if self.namespace and written and self.namespace != written:
            raise errors.InvalidInput(
                f"namespace: the form says {self.namespace} and the manifest {written}",
                subject="namespace",
                remedy="Give one of the two.",
            )
        return self.namespace or written


@dataclass(slots=True)
class BuiltJob:
    """What an attempt creates. companions: ConfigMaps and Secrets beside the Job, without their owner yet; notes: what
    was changed of what was written."""

    job: Object
    companions: list[Object] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(request: JobRequest) -> None:
    """Raises InvalidInput for everything that can be known without a cluster."""
    if not request.manifest:
        build_short_form(request)
        return
    given = [name for name in SHORT_FORM if getattr(request, name) != JobRequest.model_fields[name].default]
    if given:
        raise errors.InvalidInput(
            f"{given[0]} cannot be combined with a manifest",
            subject=given[0],
            remedy="Give either a manifest or image and command.",
        )
    from f.flexcore.lib.kubernetes import manifest_job

    manifest_job.check(request.manifest)


def make_job_body(
    request: JobRequest,
    key: identity.ExecutionKey,
    attempt: int,
    namespace: str,
    call: str,
    deadline: str,
    deferred: bool = False,
) -> Object:
    """call: the Windmill job that makes it; deadline: ISO time after which no step waits for it any more; deferred: a
    flow waits for its end without a worker."""
    job = build(request, key.name(attempt), namespace).job
    labels = key.labels(attempt) | operation.deferral_labels(deferred)
    annotations = {CALL_ANNOTATION: call, "flexcore/deadline": deadline}
    if key.trace:
        set_environment(job["spec"], key.trace_environment(attempt))
    for metadata in (job["metadata"], job["spec"]["template"].setdefault("metadata", {})):
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    job["metadata"]["annotations"] = {**(job["metadata"].get("annotations") or {}), **annotations}
    return job


def set_environment(spec: Object, variables: Mapping[str, str]) -> None:
    """Sets variables in every container that has none of that name."""
    for _, container in pod_spec.iterate_containers(spec):
        own = {item.get("name") for item in container.get("env") or ()}
        added = [{"name": name, "value": value} for name, value in variables.items() if name not in own]
        container["env"] = [*(container.get("env") or []), *added]


def build(request: JobRequest, name: str, namespace: str) -> BuiltJob:
    """The Job under its name, with what is created beside it; labels and annotations are not yet ours."""
    if request.manifest:
        from f.flexcore.lib.kubernetes import manifest_job

        built = BuiltJob(*manifest_job.build(request.manifest, name, namespace, request.time_limit_s, request.ttl_s))
    else:
        built = BuiltJob(build_short_form(request, name))
        limits = {"ttlSecondsAfterFinished": request.ttl_s, "activeDeadlineSeconds": request.time_limit_s}
        built.job["spec"] |= {"podReplacementPolicy": "Failed", **limits}
    built.job["metadata"] |= {"name": name, "namespace": namespace}
    spec = built.job["spec"]
    if request.secrets:
        for place, container in pod_spec.iterate_containers(spec):
            container["envFrom"] = [*(container.get("envFrom") or []), {"secretRef": {"name": name}}]
            built.notes += _note_hidden_variables(place, container, request)
    return built


def companion_objects(request: JobRequest, job: Object) -> Iterator[Object]:
    """What the Job's pods read and what goes with it: the Secret of `secrets`, and what stood beside it in the
    manifest. job: as the cluster stores it."""
    if request.secrets:
        values = {name: value.get_secret_value() for name, value in request.secrets.items()}
        yield own_companion({"kind": "Secret", "type": "Opaque", "immutable": True, "stringData": values}, job)
    if request.manifest:
        metadata = job["metadata"]
        for item in build(request, metadata["name"], metadata["namespace"]).companions:
            yield own_companion(item, job)


def own_companion(item: Object, job: Object) -> Object:
    """The object with the Job as its owner, in whose namespace it goes with it."""
    metadata, own = job["metadata"], item.get("metadata") or {}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    ours = {
        "name": own.get("name") or metadata["name"],
        "namespace": metadata["namespace"],
        "labels": {**(own.get("labels") or {}), **metadata["labels"]},
        "ownerReferences": [owner],
    }
    return {"apiVersion": "v1", **item, "metadata": {**own, **ours}}


def build_short_form(request: JobRequest, name: str = CONTAINER) -> Object:
    """name: the Job's, by which its pods find each other. Raises InvalidInput."""
    pod_spec.check_image(request.image)
    container: Object = {
        "name": CONTAINER,
        "image": request.image,
        "command": request.command,
        "args": request.args,
        "env": pod_spec.make_environment(request.env, request.secret_env),
        "resources": pod_spec.make_bounded_resources(request.cpu, request.memory, request.gpus),
        "securityContext": pod_spec.make_security_context(request.run_as_user),
        # The last lines then stand in the pod's status too, where they outlive a log that cannot be read.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod: Object = {
        "containers": [{name: value for name, value in container.items() if value not in ([], {})}],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": STOP_GRACE_S,
        "enableServiceLinks": False,
        # A program that was not given an account has no business with the API.
        "automountServiceAccountToken": bool(request.service_account),
    }
    if request.service_account:
        pod["serviceAccountName"] = request.service_account
    job: Object = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {"template": {"spec": pod}}}
    if request.options is None:
        job["spec"]["backoffLimit"] = 0
    else:
        from f.flexcore.lib.kubernetes import job_options, job_options_spec

        job_options.check(request.options, request.gpus)
        job_options_spec.apply(request.options, job, request.run_as_user, name)
    # Who asks for root installs packages, which no read-only root would take.
    if request.run_as_user != pod_spec.ROOT and not (request.options and request.options.writable_root):
        pod_spec.close_root(pod)
    return job


def hands_over(request: JobRequest) -> bool:
    """Whether the program is handed anything of earlier stages or of the store, or hands anything on."""
    return bool(request.inputs or request.output != "none" or (request.options and request.options.store_keys))


def secret_values(request: JobRequest) -> Iterator[str]:
    """The values in the form's secret fields and in the manifest's Secrets, which must never be seen."""
    # In a manifest the kind says what is secret: the value of secretName is an ordinary name.
    yield from resources.secret_values(request.model_copy(update={"manifest": None}))
    if request.manifest:
        from f.flexcore.lib.kubernetes import manifest_job

        yield from manifest_job.secret_values(request.manifest)


def _note_hidden_variables(place: str, container: Object, request: JobRequest) -> list[str]:
    names = sorted({item["name"] for item in container.get("env") or ()} & set(request.secrets))
    return [f"{place} env {name} hides the secret of that name" for name in names] if request.manifest else []


def derive_work_hints(request: Mapping[str, Any]) -> workloads.WorkHints:
    """Return the hints of a plain request. Raises ValueError for a cpu or memory that is no Kubernetes quantity."""
    cpu, memory = request.get("cpu"), request.get("memory")
    return workloads.WorkHints(
        complexity="complex",
        complexity_reason="a container of the caller's own",
        cpu=dimensions.parse_quantity(cpu) if cpu else None,
        memory_bytes=int(dimensions.parse_quantity(memory)) or None if memory else None,
        gpu=float(request.get("gpus") or 0) or None,
        containerized=True,
    )
