# requirements: flexcore_kubernetes
"""Why the API server admits no object: a quota that is used up or can never be met, a missing service account, a
webhook or a policy that refuses. Pure.

    exceeded quota: small, requested: cpu=2,memory=4Gi, used: cpu=1,memory=0, limited: cpu=4,memory=2Gi
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import dimensions, errors
from f.flexcore.lib.kubernetes_api import categories

Object = Mapping[str, Any]

# A service account may be created a moment after the object that names it.
SERVICE_ACCOUNT_GRACE_S = 8.0
# Controllers try again within seconds: one such repeat is let pass.
RETRY_GRACE_S = 15.0

EXCEEDED = re.compile(
    r"exceeded quota: (?P<quota>[^\s,]+), requested: (?P<requested>\S+), used: (?P<used>\S+), limited: (?P<limited>\S+)"
)
UNSPECIFIED = re.compile(r"failed quota: (?P<quota>[^\s:]+): must specify (?P<what>.+)$")


@dataclass(frozen=True, slots=True)
class Excess:
    """One resource of which more was requested than the quota has left."""

    resource: str
    requested: str
    used: str
    limited: str

    @property
    def can_be_met(self) -> bool:
        """Whether it fits once nothing else is there; True when an amount is in no form that we know."""
        requested, limited = dimensions.parse_amount(self.requested), dimensions.parse_amount(self.limited)
        return requested is None or limited is None or requested <= limited

    @property
    def subject(self) -> str:
        """The short form's field that asks for it, or the namespace, whose quota it is."""
        name = self.resource.removeprefix("requests.").removeprefix("limits.")
        return {"cpu": "cpu", "memory": "memory", "nvidia.com/gpu": "gpus"}.get(name, "namespace")


def parse_excesses(message: str) -> list[Excess]:
    match = EXCEEDED.search(message)
    if not match:
        return []
    requested, used, limited = (_parse_pairs(match[name]) for name in ("requested", "used", "limited"))
    return [
        Excess(resource, amount, used.get(resource, "0"), limited.get(resource, ""))
        for resource, amount in requested.items()
    ]


def diagnose_quota(message: str) -> categories.Problem | None:
    """None when the message is not about a quota. What others may give back is waited for."""
    if match := UNSPECIFIED.search(message):
        return categories.Problem(
            categories.Category.ADMISSION_DENIED,
            message,
            remedy=f"Set {_join_resources(match['what'])} for every container: quota {match['quota']} counts them.",
            subject=_first_field(match["what"]),
        )
    if "exceeded quota" not in message:
        return None
    never = [item for item in parse_excesses(message) if not item.can_be_met]
    if not never:
        return categories.Problem(categories.Category.QUOTA_EXCEEDED, message, None)
    most = ", ".join(f"{item.resource} {item.limited}" for item in never)
    return categories.Problem(
        categories.Category.QUOTA_EXCEEDED,
        f"The quota can never be met: {message}",
        remedy=f"Ask for at most {most}, or have the quota raised.",
        subject=never[0].subject,
        error=errors.InvalidInput,
    )


def _parse_pairs(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in text.strip(",").split(","))
    return {name: value for name, equals, value in parts if equals}


def _join_resources(text: str) -> str:
    """`cpu for: main; memory for: main` as `cpu and memory`."""
    names = [part.partition(" for:")[0].strip() for part in text.split(";")]
    return " and ".join(dict.fromkeys(",".join(names).split(",")))


def _first_field(text: str) -> str:
    name = _join_resources(text).split(" and ")[0].removeprefix("requests.").removeprefix("limits.")
    return name if name in ("cpu", "memory") else "manifest"


def diagnose_creation(events: Sequence[Object]) -> categories.Problem | None:
    """Why a controller cannot create its pods: its FailedCreate events, the oldest first."""
    message = next(
        (str(event.get("message")) for event in reversed(events) if event.get("reason") == "FailedCreate"), ""
    )
    if not message:
        return None
    if problem := diagnose_quota(message):
        return problem
    if "service account" in message or "serviceaccount" in message:
        return categories.Problem(categories.Category.SERVICE_ACCOUNT_MISSING, message, SERVICE_ACCOUNT_GRACE_S)
    if "failed calling webhook" in message or "failed to call webhook" in message:
        return categories.Problem(categories.Category.ADMISSION_UNREACHABLE, message, RETRY_GRACE_S)
    if "forbidden" in message or "denied" in message or "is invalid" in message or "not found" in message:
        return _diagnose_denial(message)
    return categories.Problem(categories.Category.UNKNOWN, message, RETRY_GRACE_S, error=errors.Unavailable)


def _diagnose_denial(message: str) -> categories.Problem:
    if match := re.search(r"(maximum|minimum) (cpu|memory)(?: usage)? per (?:Container|Pod) is ([^,]+?),", message):
        bound = "at most" if match[1] == "maximum" else "at least"
        remedy = f"Ask for {bound} {match[2]} {match[3]}: the namespace's LimitRange says so."
        return categories.Problem(categories.Category.ADMISSION_DENIED, message, remedy=remedy, subject=match[2])
    if "PriorityClass" in message:
        return categories.Problem(
            categories.Category.ADMISSION_DENIED,
            message,
            remedy="Correct priorityClassName, or create the PriorityClass.",
            subject="spec.template.spec.priorityClassName",
            error=errors.InvalidInput,
        )
    if "violates PodSecurity" in message:
        remedy = "Set the securityContext fields that the message names, or choose another namespace."
        if "runAsUser=0" in message:
            remedy = f"Leave run_as_user empty; of a manifest: {remedy[0].lower()}{remedy[1:]}"
        return categories.Problem(categories.Category.ADMISSION_DENIED, message, remedy=remedy)
    return categories.Problem(categories.Category.ADMISSION_DENIED, message)
