# requirements: flexcore_kubernetes
"""The short form's lines and amounts as Kubernetes fields. Pure; a value never appears in an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import dimensions, errors, loopback

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
SECRET_KEY = re.compile(r"([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)/([-A-Za-z0-9._]+)")
# Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# Source: https://pkg.go.dev/github.com/distribution/reference (grammar)
PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
HOST = r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
IMAGE = re.compile(rf"(?:{HOST}/)?{PATH}(?:/{PATH})*(?::[\w][\w.-]{{0,127}})?(?:@[A-Za-z0-9]+:[0-9a-fA-F]{{32,}})?")
# What the restricted pod security standard asks for, but for the user: that is the image's or the form's to say.
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Many images name no user, so would run as root, which "restricted" refuses; the first user of most distributions.
DEFAULT_USER = 1000
ROOT = 0
# Of a container that says nothing: little is reserved, and the limits only keep one that runs away from the others.
DEFAULT_REQUESTS = {"cpu": "100m", "memory": "128Mi"}
DEFAULT_LIMITS = {"cpu": "2", "memory": "4Gi"}
MAX_VOLUME_NAME_CHARACTERS = 63
SCRATCH_FOLDER = "/tmp"
# Marks of a template that was not filled in: <image>, ${IMAGE}, {{ image }}, IMAGE_PLACEHOLDER, YOUR_REGISTRY.
PLACEHOLDER = re.compile(
    r"\{\{|\{%|\$[({]|^\$\w|<[^>]*>|__\w+__|\[\w+\]|\b[A-Z]+_[A-Z_]+|(?i:placeholder|replace|change_?me|your[_-])"
)


def make_environment(env: Sequence[str], secret_env: Sequence[str] = ()) -> list[dict[str, Any]]:
    """`NAME=VALUE` lines, and `NAME=SECRET/KEY` lines that refer to a Kubernetes Secret."""
    entries: list[dict[str, Any]] = []
    for index, line in enumerate(env):
        name, value = _parse_assignment(line, f"env.{index}", "NAME=VALUE")
        entries.append({"name": name, "value": value})
    for index, line in enumerate(secret_env):
        name, value = _parse_assignment(line, f"secret_env.{index}", "NAME=SECRET/KEY")
        reference = SECRET_KEY.fullmatch(value)
        if not reference:
            raise _wrong(f"secret_env.{index}", "does not refer to a Secret", "Write it as NAME=SECRET/KEY.")
        source = {"secretKeyRef": {"name": reference[1], "key": reference[2]}}
        entries.append({"name": name, "valueFrom": source})
    return entries


def make_resources(cpu: str, memory: str, gpus: int = 0) -> dict[str, Any]:
    """Requests equal to limits: the pod gets what it asks for, and is the last to be evicted."""
    amounts: dict[str, Any] = {}
    for name, value in (("cpu", cpu), ("memory", memory)):
        if value:
            dimensions.check_amount(name, value, name)
            if not dimensions.parse_amount(value):
                raise _wrong(name, f"{value} is nothing", "Leave it empty, or ask for more.")
            amounts[name] = value
    if gpus < 0:
        raise _wrong("gpus", "is negative", "Use 0 or more.")
    if gpus:
        amounts["nvidia.com/gpu"] = gpus
    return {"requests": amounts, "limits": amounts} if amounts else {}


def make_bounded_resources(cpu: str, memory: str, gpus: int = 0) -> dict[str, Any]:
    """The same, with defaults for what is not given: a container always has requests and limits."""
    given = make_resources(cpu, memory, gpus)
    return {
        "requests": {**DEFAULT_REQUESTS, **given.get("requests", {})},
        "limits": {**DEFAULT_LIMITS, **given.get("limits", {})},
    }


def close_root(pod: dict[str, Any]) -> None:
    """Makes the root file system of every container read-only; each gets a /tmp of its own."""
    for kind in ("initContainers", "containers"):
        for container in pod.get(kind) or ():
            volume = f"tmp-{container['name']}"[:MAX_VOLUME_NAME_CHARACTERS].rstrip("-")
            mount = {"name": volume, "mountPath": SCRATCH_FOLDER}
            container["securityContext"] = {**container["securityContext"], "readOnlyRootFilesystem": True}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
            pod["volumes"] = [*(pod.get("volumes") or ()), {"name": volume, "emptyDir": {}}]


def make_security_context(user: int | None = None, read_only: bool = False) -> dict[str, Any]:
    """The security context of a container: "restricted" for every user but root, who gets what the container runtime
    gives root (apt-get, chown and setuid programs need it). read_only: of its root file system."""
    if read_only:
        return {**make_security_context(user), "readOnlyRootFilesystem": True}
    if user == ROOT:
        return {"runAsUser": ROOT, "seccompProfile": {"type": "RuntimeDefault"}}
    return {**CONTAINER_SECURITY, "runAsNonRoot": True, "runAsUser": DEFAULT_USER if user is None else user}


def iterate_containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, container) of a Job's spec, init containers first."""
    pod = spec["template"]["spec"]
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(pod.get(kind) or ()):
            yield f"spec.template.spec.{kind}[{index}]", container


def check_image(image: Any, subject: str = "image") -> None:
    """Refuses what no registry can mean, before anything is created."""
    if isinstance(image, str) and IMAGE.fullmatch(image):
        return
    if not image:
        raise _wrong(subject, "is empty", "Name an image, e.g. docker.io/library/busybox:1.37.")
    problem = f"{image!r} is not the name of a container image"
    if is_placeholder(image):
        raise _wrong(subject, f"{problem} but a placeholder of a template", "Put the image's name there.")
    raise _wrong(subject, problem, "Use e.g. docker.io/library/busybox:1.37.")


def is_placeholder(text: Any) -> bool:
    """Whether a text looks like a part of a template that was never filled in."""
    return isinstance(text, str) and bool(PLACEHOLDER.search(text))


def check_name(name: Any, subject: str) -> None:
    if not isinstance(name, str) or not DNS_LABEL.fullmatch(name):
        raise _wrong(
            subject, f"{name!r} is not a Kubernetes name", "Use lower-case letters, digits and dashes, at most 63."
        )


def check_endpoint(endpoint: str) -> None:
    """Refuses an endpoint of the store under which a pod asks itself."""
    if loopback.means_caller(endpoint):
        problem = f"{endpoint} means the pod itself when a pod asks it"
        remedy = "Use an address of the store that pods and workers both reach."
        raise _wrong("settings.storage_endpoint_url", problem, remedy)


def _parse_assignment(line: str, subject: str, form: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals or not VARIABLE.fullmatch(name):
        raise _wrong(subject, f"is not of the form {form}", f"Write it as {form}.")
    return name, value


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
