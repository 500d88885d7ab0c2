# requirements: flexcore_kubernetes
"""What a ResourceQuota's refusal means: wait until others have finished, or ask for less, since it can never be met.
Pure.

    exceeded quota: small, requested: cpu=2,memory=4Gi, used: cpu=1,memory=0, limited: cpu=4,memory=2Gi
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import dimensions, errors
from f.flexcore.lib.kubernetes import categories

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
    return dimensions.parse_amount(str(text).strip())


def _names(text: str) -> str:
    """`cpu for: main; memory for: main` as `cpu and memory`."""
    names = [part.partition(" for:")[0].strip() for part in text.split(";")]
    return " and ".join(dict.fromkeys(",".join(names).split(",")))


def _field(text: str) -> str:
    name = _names(text).split(" and ")[0].removeprefix("requests.").removeprefix("limits.")
    return name if name in ("cpu", "memory") else "manifest"
