# requirements: flexcore_base
"""How an execution ended, as a report counts it: made of Windmill's job and, where it was read, of its result. Pure.

What the result does not say is None, also where the result was not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.core import contracts, identity
from f.flexcore.lib.windmill import execution_models

BUNDLE_FOLDER = execution_models.BUNDLE_FOLDER
# What looks after the bundle, and what shows it, is no work of anybody.
UPKEEP_FOLDERS = ("operations/", "dashboard/", "api/")
UPKEEP_LABEL = "dashboard"
MAX_REASON_CHARACTERS = 160
# Numbers and ids tell runs apart, not reasons.
VARYING = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\bfc-[0-9a-f]{20}(-\d+)?\b|\b0x[0-9a-f]+\b|\d[\d.,:]*")
Job = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """status: success, failure, canceled or skipped; canceled is also what did not begin, as its workflow is stopped.
    team: the folder or user that the flow lies in; of the bundle's own flows who ran them. duration_s: of the whole
    flow. is_read: whether its result was looked at. actual_s: of the work itself, which forecast_s, low and high, its
    p10 and p90, are a forecast of. category, reason, remedy: of a failure."""

    id: str
    workflow: str
    team: str
    status: str
    runtime: str | None = None
    duration_s: float | None = None
    is_read: bool = False
    rows: float | None = None
    cost_usd: float | None = None
    actual_s: float | None = None
    forecast_s: float | None = None
    forecast_low_s: float | None = None
    forecast_high_s: float | None = None
    category: str = ""
    reason: str = ""
    remedy: str = ""


def is_work(job: Job) -> bool:
    """Whether the job is an outermost flow of people's work: no upkeep of ours, and no plan, which does no work."""
    path = str(job.get("script_path") or "")
    name = path.removeprefix(BUNDLE_FOLDER)
    upkeep = name != path and name.startswith(UPKEEP_FOLDERS)
    labels = job.get("labels") or ()
    is_ours = upkeep or UPKEEP_LABEL in labels
    return job.get("job_kind") == "flow" and not job.get("parent_job") and not is_ours and not is_plan(job)


def is_plan(job: Job) -> bool:
    """By its label; of a whole job also by its arguments: a plan that was canceled has no label."""
    arguments = job.get("args")
    asked = isinstance(arguments, Mapping) and arguments.get("explain_only") is True
    return asked or contracts.PLAN_LABEL in (job.get("labels") or ())


def end_of_job(job: Job) -> datetime:
    """By start and duration: Windmill's list has no better. One that was canceled before it began has its creation."""
    began = _time(job.get("started_at") or job.get("created_at")) or datetime.min.replace(tzinfo=UTC)
    return began + timedelta(milliseconds=job.get("duration_ms") or 0)


def outcome_from_job(job: Job, result: Any = None, is_read: bool = False) -> Outcome:
    """result: as the job left it; is_read: whether it was asked for."""
    path = str(job.get("script_path") or "")
    plain = result if isinstance(result, Mapping) else {}
    duration_ms = job.get("duration_ms")
    status = _status(job, result)
    # Who only counts runs needs no figures and no texts.
    from f.flexcore.lib.windmill import result_figures

    figures = result_figures.read_figures(result)
    category, reason, remedy = _failure(plain) if status == "failure" and is_read else ("", "", "")
    return Outcome(
        id=str(job.get("id")),
        workflow=path.removeprefix(BUNDLE_FOLDER),
        team=_team(path, job),
        status=status,
        runtime=execution_models.job_runtime(job),
        duration_s=None if duration_ms is None else duration_ms / 1000,
        is_read=is_read,
        rows=figures.rows,
        cost_usd=figures.cost_usd,
        actual_s=figures.actual_s,
        forecast_s=figures.forecast_s,
        forecast_low_s=figures.forecast_low_s,
        forecast_high_s=figures.forecast_high_s,
        category=category,
        reason=reason,
        remedy=remedy,
    )


def _status(job: Job, result: Any) -> str:
    if job.get("canceled") or execution_models.was_refused(job.get("labels") or (), result):
        return "canceled"
    if job.get("is_skipped"):
        return "skipped"
    return "success" if job.get("success") else "failure"


def _team(path: str, job: Job) -> str:
    owner = "" if path.startswith(BUNDLE_FOLDER) else identity.find_team(path)
    return owner or str(job.get("permissioned_as") or job.get("created_by") or "unknown").removeprefix("u/")


def _failure(result: Mapping[str, Any]) -> tuple[str, str, str]:
    """(category, reason, remedy) of Windmill's own error, or of what a failure module made of it. Masked: a report is
    read by more people than the run, and the error of a user's own step has passed no redactor."""
    error = result.get("error")
    given = error if isinstance(error, Mapping) else {"message": error, "extra": result}
    extra = _mapping(given, "extra")
    from f.flexcore.lib.core import redaction

    redactor = redaction.Redactor()
    category, remedy = str(extra.get("category") or ""), redactor.text(str(extra.get("remedy") or ""))
    text = redactor.text(str(given.get("message") or given.get("name") or "no reason was left"))
    return category or str(given.get("name") or ""), shorten_reason(text), remedy


def shorten_reason(text: str) -> str:
    """The first line without what differs from run to run, so that the same reason is counted as one."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "no reason was left")
    same = VARYING.sub("#", line)
    return same if len(same) <= MAX_REASON_CHARACTERS else f"{same[: MAX_REASON_CHARACTERS - 1]}…"


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
    return time and (time if time.tzinfo else time.replace(tzinfo=UTC))
