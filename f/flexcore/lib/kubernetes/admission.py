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

from f.flexcore.lib.core import errors, requests
from f.flexcore.lib.kubernetes import categories

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
    """One resource of which more was asked for than the quota has left."""

    resource: str
    requested: str
    used: str
    limited: str

    @property
    def can_be_met(self) -> bool:
        """Whether it fits once nothing else is there; True when an amount is in no form that we know."""
        requested, limited = _amount(self.requested), _amount(self.limited)
        return requested is None or limited is None or requested <= limited

    @property
    def subject(self) -> str:
        """The short form's field that asks for it, or the namespace, whose quota it is."""
        name = self.resource.removeprefix("requests.").removeprefix("limits.")
        return {"cpu": "cpu", "memory": "memory", "nvidia.com/gpu": "gpus"}.get(name, "namespace")


def parse_excesses(message: str) -> list[Excess]:
    found = EXCEEDED.search(message)
    if not found:
        return []
    requested, used, limited = (_pairs(found[name]) for name in ("requested", "used", "limited"))
    return [
        Excess(resource, amount, used.get(resource, "0"), limited.get(resource, ""))
        for resource, amount in requested.items()
    ]


def diagnose_quota(message: str) -> categories.Problem | None:
    """None when the message does not speak of a quota. Waits for what others may give back."""
    if found := UNSPECIFIED.search(message):
        return categories.Problem(
            categories.Category.ADMISSION_DENIED,
            message,
            remedy=f"Quota {found['quota']} asks every container to say so: set {_names(found['what'])}.",
            subject=_field(found["what"]),
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


def _pairs(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in text.strip(",").split(","))
    return {name: value for name, equals, value in parts if equals}


def _amount(text: Any) -> float | None:
    match = requests.QUANTITY.fullmatch(str(text).strip())
    return float(match[1]) * requests.UNITS[match[2]] if match else None


def _names(text: str) -> str:
    """`cpu for: main; memory for: main` as `cpu and memory`."""
    names = [part.partition(" for:")[0].strip() for part in text.split(";")]
    return " and ".join(dict.fromkeys(",".join(names).split(",")))


def _field(text: str) -> str:
    name = _names(text).split(" and ")[0].removeprefix("requests.").removeprefix("limits.")
    return name if name in ("cpu", "memory") else "manifest"


def diagnose_creation(events: Sequence[Object]) -> categories.Problem | None:
    """Why a controller cannot create its pods: its FailedCreate events, the oldest first."""
    said = next((str(event.get("message")) for event in reversed(events) if event.get("reason") == "FailedCreate"), "")
    if not said:
        return None
    if found := diagnose_quota(said):
        return found
    if "service account" in said or "serviceaccount" in said:
        return categories.Problem(categories.Category.SERVICE_ACCOUNT_MISSING, said, SERVICE_ACCOUNT_GRACE_S)
    if "failed calling webhook" in said or "failed to call webhook" in said:
        return categories.Problem(categories.Category.ADMISSION_UNREACHABLE, said, RETRY_GRACE_S)
    if "forbidden" in said or "denied" in said or "is invalid" in said or "not found" in said:
        return _diagnose_denial(said)
    return categories.Problem(categories.Category.UNKNOWN, said, RETRY_GRACE_S, error=errors.Unavailable)


def _diagnose_denial(said: str) -> categories.Problem:
    if found := re.search(r"(maximum|minimum) (cpu|memory)(?: usage)? per (?:Container|Pod) is ([^,]+?),", said):
        bound = "at most" if found[1] == "maximum" else "at least"
        remedy = f"Ask for {bound} {found[2]} {found[3]}: the namespace's LimitRange says so."
        return categories.Problem(categories.Category.ADMISSION_DENIED, said, remedy=remedy, subject=found[2])
    if "PriorityClass" in said:
        return categories.Problem(
            categories.Category.ADMISSION_DENIED,
            said,
            remedy="Correct priorityClassName, or create the PriorityClass.",
            subject="spec.template.spec.priorityClassName",
            error=errors.InvalidInput,
        )
    if "violates PodSecurity" in said:
        remedy = "Set the securityContext fields that the message names, or choose another namespace."
        return categories.Problem(categories.Category.ADMISSION_DENIED, said, remedy=remedy)
    return categories.Problem(categories.Category.ADMISSION_DENIED, said)
