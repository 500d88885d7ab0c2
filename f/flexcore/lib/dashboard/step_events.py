# requirements: flexcore_base
"""What happened to a step, in its order, each with its cause where one is known. Pure.

An event without a time lies between those beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from f.flexcore.lib.core import monitoring, redaction, trace_context
from f.flexcore.lib.dashboard import shapes
from f.flexcore.lib.windmill import execution_models

PIPELINE_STEPS = f"{execution_models.BUNDLE_FOLDER}pipeline/"
MAX_EVENTS = 50
MAX_NOTES = 20
MAX_TEXT_CHARS = 2000


def list_events(
    node: monitoring.Node, step: shapes.Step, resumed_at: datetime | None, redactor: redaction.Redactor
) -> list[shapes.Event]:
    """resumed_at: when the flow went on behind this step."""
    events = [
        *_waits(node, step),
        *_retries(node),
        *_notes(node),
        *_ends(node, step),
        *_resumes(node, resumed_at),
    ]
    return [_mask(event, redactor) for event in events[:MAX_EVENTS]]


def first_created(node: monitoring.Node) -> datetime | None:
    """When the first job of the node, or below it, was created."""
    own = instant(node.job or {}, "created_at")
    below = (first_created(child) for child in node.children)
    return own or min(filter(None, below), default=None)


def instant(job: monitoring.Job, name: str) -> datetime | None:
    return execution_models.parse_instant(job.get(name))


def _waits(node: monitoring.Node, step: shapes.Step) -> Iterator[shapes.Event]:
    if node.state.get("type") == "WaitingForEvents":
        yield shapes.Event(at=step.created_at, kind="suspended", message="Suspended until the flow is resumed")
    elif step.created_at:
        yield shapes.Event(at=step.created_at, kind="queued", message="Waits for a worker")
    if step.started_at:
        worker = (node.job or {}).get("worker")
        yield shapes.Event(at=step.started_at, kind="started", message=f"Began on {worker}" if worker else "Began")


def _retries(node: monitoring.Node) -> Iterator[shapes.Event]:
    """Windmill keeps the attempts of a step that is retried as jobs of one node, those that failed first."""
    attempts = [child.job or {} for child in node.children] or [node.job or {}]
    for number, job in enumerate(attempts[: len(node.state.get("failed_retries") or ())], start=1):
        following = attempts[number] if number < len(attempts) else {}
        failure = monitoring.failure_from_job(job)
        yield shapes.Event(
            at=instant(following, "created_at"),
            kind="retried",
            message=f"Attempt {number} failed and is followed by another",
            cause=failure.message if failure else None,
        )


def repeats_another(node: monitoring.Node) -> bool:
    """Whether the error of a step is that of another one: a flow, and the last step of a pipeline, hand it on."""
    return bool(node.children) or str((node.job or {}).get("script_path") or "").startswith(PIPELINE_STEPS)


def _notes(node: monitoring.Node) -> Iterator[shapes.Event]:
    """What the runtime noted: in the data of a step's result, or in the details of its error."""
    job = {} if repeats_another(node) else node.job or {}
    found = trace_context.dig(job.get("result"), "data", "notes") or monitoring.error_details(job).get("notes")
    for note in found[:MAX_NOTES] if isinstance(found, list) else ():
        yield shapes.Event(kind="noted", message=str(note))


def _ends(node: monitoring.Node, step: shapes.Step) -> Iterator[shapes.Event]:
    job = node.job or {}
    failure = monitoring.failure_from_job(job)
    if not step.ended_at:
        return
    if job.get("canceled"):
        cause = f"{job.get('canceled_by') or 'someone'}: {job.get('canceled_reason') or 'no reason given'}"
        yield shapes.Event(at=step.ended_at, kind="canceled", message="Was canceled", cause=cause)
    elif failure:
        yield shapes.Event(at=step.ended_at, kind="failed", message="Failed", cause=failure.message)
    else:
        yield shapes.Event(at=step.ended_at, kind="succeeded", message="Ended well")


def _resumes(node: monitoring.Node, at: datetime | None) -> Iterator[shapes.Event]:
    """Windmill notes who resumed the flow at the step behind which it was suspended, without a time."""
    for approver in node.state.get("approvers") or ():
        who = approver.get("approver") if isinstance(approver, Mapping) else approver
        yield shapes.Event(at=at, kind="resumed", message="The flow went on", cause=f"resumed by {who}")


def _mask(event: shapes.Event, redactor: redaction.Redactor) -> shapes.Event:
    texts = {"message": event.message, "cause": event.cause}
    masked = {name: text and redactor.text(text)[:MAX_TEXT_CHARS] for name, text in texts.items()}
    return event.model_copy(update=masked)
