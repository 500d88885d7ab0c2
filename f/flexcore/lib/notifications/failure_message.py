# requirements: flexcore_base
"""What is told of a failed flow: what failed, why, what to do, where to look. Pure.

A Windmill error is {name, message, stack, step_id, extra}; a FlexcoreError's attributes are its `extra`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from f.flexcore.lib.core import contracts, redaction

LONGEST = 3000
# What a worker says, among much else, when a step's argument names a resource that it cannot have.
NO_RESOURCE = re.compile(r"Resource (\S+) not found for `(\w+)`")


@dataclass(frozen=True, slots=True)
class Message:
    """title: one line; lines: plain text; links: name → address."""

    title: str
    lines: list[str]
    links: dict[str, str] = field(default_factory=dict)

    def plain(self) -> str:
        return "\n".join([*self.lines, "", *(f"{name}: {url}" for name, url in self.links.items())])


def failure_of(error: Any, env: Mapping[str, str]) -> contracts.FlowFailure:
    """The failure in an error; of a flow below with a failure module of its own Windmill hands on the text alone."""
    given: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error)}
    extra = given.get("extra")
    attributes: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
    details = attributes.get("details")
    said = str(given.get("message") or given.get("name") or "unknown error")
    if not attributes and (named := NO_RESOURCE.search(said)):
        remedy = "Correct its path, or ask its owner for the right to read it."
        said = f"{named[2]}: the resource {named[1]} does not exist, or you may not read it. {remedy}"
        attributes = {"category": "not_found", "subject": named[2], "remedy": remedy}
    return contracts.FlowFailure.model_validate(
        redaction.Redactor().data(
            {
                "error": said,
                "kind": str(given.get("name") or ""),
                "failed_step": str(given.get("step_id") or ""),
                "category": str(attributes.get("category") or ""),
                "subject": str(attributes.get("subject") or ""),
                "remedy": str(attributes.get("remedy") or ""),
                "retryable": attributes.get("retryable") is True,
                "details": dict(details) if isinstance(details, Mapping) else {},
                "run": run_url(env),
            }
        )
    )


def message_of(failure: contracts.FlowFailure, flow: str) -> Message:
    """What people are told: nothing that is not in the failure itself."""
    step = f" at {failure.failed_step}" if failure.failed_step else ""
    diagnosis = failure.details.get("diagnosis")
    seen = diagnosis if isinstance(diagnosis, Mapping) else {}
    lines = [failure.error[:LONGEST]]
    if seen.get("detail") and str(seen["detail"]) not in failure.error:
        lines.append(f"Diagnosis: {seen['detail']}")
    if category := failure.category or seen.get("category"):
        lines.append(f"Category: {category}")
    remedy = failure.remedy or str(seen.get("remedy") or "")
    if remedy and remedy not in failure.error:
        lines.append(f"What to do: {remedy}")
    remote = failure.details.get("remote")
    address = str(remote.get("url") or "") if isinstance(remote, Mapping) else ""
    links = {"Run": failure.run, "Remote": address}
    return Message(f"{flow or 'A flow'} failed{step}", lines, {name: url for name, url in links.items() if url})


def run_url(env: Mapping[str, str]) -> str:
    """The page of the whole run, "" outside a worker."""
    base, job = env.get("WM_BASE_URL", ""), env.get("WM_ROOT_JOB_ID") or env.get("WM_JOB_ID") or ""
    return f"{base.rstrip('/')}/run/{job}?workspace={quote(env.get('WM_WORKSPACE', ''))}" if base and job else ""


def flow_path(env: Mapping[str, str]) -> str:
    """The flow that failed, without the branches and loops inside it."""
    parts = env.get("WM_FLOW_PATH", "").split("/")
    inner = next((i for i, part in enumerate(parts) if part.rpartition("-")[2].isdigit() and "-" in part), len(parts))
    return "/".join(parts[:inner])
