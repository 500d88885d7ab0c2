# requirements: flexcore_kubernetes
# py: ==3.11.*
"""The short form's lines and amounts as Kubernetes fields. Pure; a value never appears in an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from f.flexcore.core.errors import InvalidInput
from f.flexcore.core.requests import quantity

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
SECRET_KEY = re.compile(r"([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)/([-A-Za-z0-9._]+)")
# Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# Source: https://pkg.go.dev/github.com/distribution/reference (grammar)
PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
HOST = r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
IMAGE = re.compile(rf"(?:{HOST}/)?{PATH}(?:/{PATH})*(?::[\w][\w.-]{{0,127}})?(?:@[A-Za-z0-9]+:[0-9a-fA-F]{{32,}})?")
# What the restricted pod security standard asks for and nearly every image bears. runAsNonRoot is left out: many
# images name no user, and would not start.
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def environment(env: Sequence[str], secret_env: Sequence[str] = ()) -> list[dict[str, Any]]:
    """`NAME=VALUE` lines, and `NAME=SECRET/KEY` lines that refer to a Kubernetes Secret."""
    entries: list[dict[str, Any]] = []
    for index, line in enumerate(env):
        name, value = _assignment(line, f"env.{index}", "NAME=VALUE")
        entries.append({"name": name, "value": value})
    for index, line in enumerate(secret_env):
        name, value = _assignment(line, f"secret_env.{index}", "NAME=SECRET/KEY")
        reference = SECRET_KEY.fullmatch(value)
        if not reference:
            raise _wrong(f"secret_env.{index}", "does not refer to a Secret", "Write it as NAME=SECRET/KEY.")
        source = {"secretKeyRef": {"name": reference[1], "key": reference[2]}}
        entries.append({"name": name, "valueFrom": source})
    return entries


def resources(cpu: str, memory: str, gpus: int = 0) -> dict[str, Any]:
    """Requests equal to limits: the pod gets what it asks for, and is the last to be evicted."""
    amounts: dict[str, Any] = {}
    for name, value in (("cpu", cpu), ("memory", memory)):
        if value:
            try:
                quantity(value)
            except ValueError as error:
                raise InvalidInput(f"{name}: {error}", subject=name, remedy="Correct it and run again.") from None
            amounts[name] = value
    if gpus < 0:
        raise _wrong("gpus", "is negative", "Use 0 or more.")
    if gpus:
        amounts["nvidia.com/gpu"] = gpus
    return {"requests": amounts, "limits": amounts} if amounts else {}


def check_image(image: Any) -> None:
    """Refuses what no registry can mean, so that it is told before anything is created."""
    if not isinstance(image, str) or not IMAGE.fullmatch(image):
        raise _wrong(
            "image", f"{image!r} is not the name of a container image", "Use e.g. docker.io/library/busybox:1.37."
        )


def check_name(name: Any, subject: str) -> None:
    if not isinstance(name, str) or not DNS_LABEL.fullmatch(name):
        raise _wrong(
            subject, f"{name!r} is not a Kubernetes name", "Use lower-case letters, digits and dashes, at most 63."
        )


def _assignment(line: str, subject: str, form: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals or not VARIABLE.fullmatch(name):
        raise _wrong(subject, f"is not of the form {form}", f"Write it as {form}.")
    return name, value


def _wrong(subject: str, problem: str, remedy: str) -> InvalidInput:
    return InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
