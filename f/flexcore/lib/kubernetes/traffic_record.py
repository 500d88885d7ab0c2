# requirements: flexcore_kubernetes
"""Who moves the weights of a route, from what, and how far: an annotation on the route itself. Pure.

flexcore/shift        label: an execution is moving these weights; what reconcile looks for
flexcore/shift        annotation: the ShiftRecord
flexcore/last-shift   annotation: how the last one ended, so that a repeat of its step returns that

Weights and record are one object, so one write changes both or neither. The token is new with each driver: an older
copy of the same step, still alive after its worker was given up, finds another token and stops.

    no record, or of this execution    claim; of this execution: goes on at its step
    held, by a step of the same flow   claim: the step after the approval goes on from here
    of another execution               Conflict, naming it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal

from f.flexcore.lib.core import errors, identity

SHIFT = "flexcore/shift"
LAST_SHIFT = "flexcore/last-shift"
# back: the weights go back and must not be moved forward again, whatever happens to the driver.
State = Literal["shifting", "held", "back"]
Outcome = Literal["promoted", "held", "back"]


@dataclass(frozen=True, slots=True)
class ShiftRecord:
    """before: the shares to which it goes back; current: those that were last written; earlier: those before them, of
    which a write in several parts may have left some; step: how many of the weights have been written; started and
    deadline in seconds since the epoch; reason and category: why it goes back. Shares are percents, or replicas where
    there is no route."""

    key: str
    attempt: int
    token: str
    owner_job: str
    root_job: str
    flow_step: str
    workspace: str
    stable: str
    candidate: str
    before: dict[str, int]
    current: dict[str, int]
    earlier: dict[str, int] = field(default_factory=dict)
    step: int = 0
    started: float = 0.0
    deadline: float = 0.0
    state: State = "shifting"
    reason: str = ""
    category: str = ""

    def labels(self) -> dict[str, str]:
        """Of the execution that moves them, as our other remote objects have them."""
        key = identity.ExecutionKey(self.key, self.owner_job, self.root_job, self.flow_step, self.workspace)
        return key.labels(self.attempt)


@dataclass(frozen=True, slots=True)
class LastShift:
    """How a shift ended. category: of the error, "" for a promotion."""

    key: str
    attempt: int
    outcome: Outcome
    shares: dict[str, int]
    reason: str = ""
    category: str = ""


def read_record(item: Mapping[str, Any]) -> ShiftRecord | None:
    """None when nobody moves its weights. Raises DataError for an annotation that somebody has damaged."""
    text = (item["metadata"].get("annotations") or {}).get(SHIFT)
    return ShiftRecord(**_parse(text, item, SHIFT)) if text else None


def read_last(item: Mapping[str, Any]) -> LastShift | None:
    text = (item["metadata"].get("annotations") or {}).get(LAST_SHIFT)
    return LastShift(**_parse(text, item, LAST_SHIFT)) if text else None


def parse_record(value: Mapping[str, Any]) -> ShiftRecord:
    """Of the store. Raises DataError."""
    return ShiftRecord(**_check_fields(dict(value), "record", ShiftRecord))


def _parse(text: str, item: Mapping[str, Any], name: str) -> dict[str, Any]:
    where = f"{name} of {item['metadata']['name']}"
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return _check_fields(value, where, ShiftRecord if name == SHIFT else LastShift)


def _check_fields(value: Any, where: str, kind: type[ShiftRecord | LastShift]) -> dict[str, Any]:
    known = {item.name: item for item in fields(kind)}
    required = {name for name, item in known.items() if item.default is item.default_factory is MISSING}
    numbers = {name for name, item in known.items() if item.type in ("int", "float")}
    has_all = isinstance(value, dict) and required <= value.keys()
    if not has_all or not all(isinstance(value[name], int | float) for name in numbers & value.keys()):
        raise errors.DataError(
            f"The annotation {where} is damaged",
            subject=where,
            remedy=f"Set the weights by hand, then remove it: kubectl annotate … {SHIFT}-",
        )
    # A later version may write more.
    return {name: item for name, item in value.items() if name in known}


def mark(record: ShiftRecord) -> dict[str, Any]:
    """The metadata that says so."""
    text = json.dumps(asdict(record), sort_keys=True)
    return {"labels": {SHIFT: record.key}, "annotations": {SHIFT: text}}


def unmark(last: LastShift | None = None) -> dict[str, Any]:
    """The metadata (of a merge patch) without the mark; last: how it ended."""
    annotations: dict[str, Any] = {SHIFT: None}
    if last:
        annotations[LAST_SHIFT] = json.dumps(asdict(last), sort_keys=True)
    return {"labels": {SHIFT: None}, "annotations": annotations}


def is_marked(item: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether the object has what `mark` or `unmark` says already."""
    notes = item["metadata"].get("annotations") or {}
    return all(notes.get(name) == text for name, text in metadata["annotations"].items())


def check_claim(record: ShiftRecord | None, key: identity.ExecutionKey, what: str) -> None:
    """Raises Conflict, naming the execution, unless `key` may move these weights."""
    if record is None or record.key == key.value:
        return
    if record.state == "held" and record.owner_job == key.owner_job and record.workspace == key.workspace:
        return
    raise errors.Conflict(
        f"{what} is being shifted by execution {record.key} (job {record.owner_job}, step {record.flow_step!r})",
        subject="route",
        category="shift_in_progress",
        remedy="Wait for its end; when that job is gone, operations/reconcile moves the weights back.",
        owner_job=record.owner_job,
        execution_key=record.key,
    )


def check_fence(found: ShiftRecord | None, mine: ShiftRecord, what: str) -> None:
    """Raises Conflict when the record is no longer this driver's own."""
    if found is not None and (found.key, found.token) == (mine.key, mine.token):
        return
    if found is None:
        text = f"The record of this shift was removed from {what}"
    elif found.key == mine.key:
        text = f"A later run of this step moves the weights of {what}"
    else:
        text = f"Execution {found.key} moves the weights of {what}"
    raise errors.Conflict(
        text, subject="route", category="shift_lost", remedy="See who has changed it (kubectl get -o yaml)."
    )


def name_writer(item: Mapping[str, Any], field_name: str, ours: str = "flexcore") -> str:
    """The field manager that last wrote this field of the spec and is not ours; "" when unknown."""
    entries = [
        entry
        for entry in item["metadata"].get("managedFields") or ()
        if entry.get("manager") != ours and f"f:{field_name}" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    newest = max(entries, key=lambda entry: str(entry.get("time") or ""), default=None)
    return str(newest["manager"]) if newest else ""
