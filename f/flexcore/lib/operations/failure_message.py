# requirements: flexcore_base
"""The message about a failed flow: what failed, why, what to do, where to look. Pure.

A Windmill error is {name, message, stack, step_id, extra}; a FlexcoreError's attributes are its `extra`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from f.flexcore.lib.core import contracts, redaction

MAX_ERROR_CHARACTERS = 3000
# What a worker says, among much else, when a step's argument names a resource that it cannot have.
NO_RESOURCE = re.compile(r"Resource (\S+) not found for `(\w+)`")


@dataclass(frozen=True, slots=True)
class Message:
    """title: one line; lines: plain text; links: name → address; html: the same for a mail, "" for text alone."""

    title: str
    lines: list[str]
    links: dict[str, str] = field(default_factory=dict)
    html: str = ""

    def plain(self) -> str:
        return "\n".join([*self.lines, "", *(f"{name}: {url}" for name, url in self.links.items())])


def parse_failure(error: Any, env: Mapping[str, str]) -> contracts.FlowFailure:
    """The failure in an error; of a flow below with a failure module of its own Windmill hands on the text alone."""
    given: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error)}
    extra = given.get("extra")
    attributes: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
    details = attributes.get("details")
    text = str(given.get("message") or given.get("name") or "unknown error")
    if not attributes and (match := NO_RESOURCE.search(text)):
        remedy = "Correct its path, or ask its owner for the right to read it."
        text = f"{match[2]}: the resource {match[1]} does not exist, or you may not read it. {remedy}"
        attributes = {"category": "not_found", "subject": match[2], "remedy": remedy}
    fields = {
        "error": text,
        "kind": str(given.get("name") or ""),
        "failed_step": str(given.get("step_id") or ""),
        **{name: str(attributes.get(name) or "") for name in ("category", "subject", "remedy")},
        "retryable": attributes.get("retryable") is True,
        "details": dict(details) if isinstance(details, Mapping) else {},
        "run": run_url(env),
    }
    return contracts.FlowFailure.model_validate(redaction.Redactor().data(fields))


def compose_message(failure: contracts.FlowFailure, flow: str) -> Message:
    """What people are sent: nothing that is not in the failure itself."""
    step = f" at {failure.failed_step}" if failure.failed_step else ""
    details = failure.details.get("diagnosis")
    diagnosis = details if isinstance(details, Mapping) else {}
    lines = [failure.error[:MAX_ERROR_CHARACTERS]]
    if diagnosis.get("detail") and str(diagnosis["detail"]) not in failure.error:
        lines.append(f"Diagnosis: {diagnosis['detail']}")
    if category := failure.category or diagnosis.get("category"):
        lines.append(f"Category: {category}")
    remedy = failure.remedy or str(diagnosis.get("remedy") or "")
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
