# requirements: flexcore_base
"""All executions of a workflow stopped at once, and the undo; both with who, when and why.

stop    creates the stop, then cancels what runs or waits until nothing is left; new ones are refused at their first
        step (lib/windmill/stops), so also those of a schedule
undo    writes the stop into the history, then removes it; what was canceled is not begun again
Each half can be repeated by anyone after a crash: a stop that stands cancels again, an undo that was begun is ended.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import cancel, listing, rights, shapes
from f.flexcore.lib.windmill import client, execution_models, stops

WORKFLOW = re.compile(r"[A-Za-z_][\w-]*(/[A-Za-z_][\w-]*)*")
STOP_ID = re.compile(r"(?P<workflow>[\w/-]+)/\d{8}T\d{6}Z_[0-9a-f]{8}")
# What was started at the moment of the stop shows up in the queue a moment later.
MAX_ROUNDS = 5
MAX_TRIES = 3
MAX_SHOWN = 50


def stop_workflow(windmill: client.Client, workflow: str, reason: str, now: datetime) -> shapes.Stop:
    """The stop that holds: this one, or that of somebody who was first. Raises Forbidden, NotFound or InvalidInput."""
    name, why = _check_workflow(windmill, workflow), _check_reason(reason)
    user = windmill.user()
    rights.check(rights.can_stop(user, name), f"stop {name}", "workflow")
    canceled: set[str] = set()
    for _ in range(MAX_TRIES):
        stop = _create(windmill, name, str(user.get("username") or ""), why, now)
        try:
            _cancel_all(windmill, stop, now, canceled)
        finally:
            held = _note_canceled(windmill, name, str(stop["id"]), canceled)
        # None: undone by another meanwhile; then what was asked for here still holds.
        if held:
            return shapes.Stop.model_validate(held)
    raise errors.Unavailable(
        f"{name} is stopped and released by others all the time", subject="workflow", remedy="Try again."
    )


def resume_workflow(windmill: client.Client, stop: str, now: datetime) -> shapes.Stop:
    """The stop with who has undone it. Raises NotFound for a stop that there never was, Forbidden or InvalidInput."""
    match = STOP_ID.fullmatch(errors.check_value(str, stop, "stop"))
    if not match:
        raise errors.InvalidInput(f"stop: {stop!r} is not the id of a stop", subject="stop", remedy="Copy it whole.")
    name, user = match["workflow"], windmill.user()
    rights.check(rights.can_stop(user, name), f"release {name}", "stop")
    held = stops.find_stop(windmill, name)
    if held and held.get("id") == stop:
        undone = {"at": now.isoformat(), "by": str(user.get("username") or "")}
        _add(windmill, stops.HISTORY + stop, {**held, "undone": undone})
        _remove(windmill, name, stop)
    value = _read(windmill, stops.HISTORY + stop)
    if value is None:
        raise errors.NotFound(f"There is no stop {stop}", subject="stop", remedy="Choose one of the list.")
    return shapes.Stop.model_validate(value)


def list_stops(windmill: client.Client) -> list[shapes.Stop]:
    """Those that hold, then the newest of those that were undone."""
    active = stops.list_stops(windmill, stops.ACTIVE)
    past = stops.list_stops(windmill, stops.HISTORY)
    past = sorted(past, key=lambda path: path.rpartition("/")[2], reverse=True)[:MAX_SHOWN]
    found = [value for path in [*active, *past] if (value := _read(windmill, path))]
    undone = {value["id"] for value in found if value.get("undone")}
    shown = [value for value in found if value.get("undone") or value["id"] not in undone]
    return [shapes.Stop.model_validate(value) for value in shown]


def cancel_stopped(windmill: client.Client, now: datetime) -> list[str]:
    """Cancels executions of stopped workflows that began all the same; their ids. For a pass on a schedule."""
    canceled: list[str] = []
    for path in stops.list_stops(windmill, stops.ACTIVE):
        stop = _read(windmill, path)
        if stop and _read(windmill, stops.HISTORY + str(stop["id"])) is None:
            canceled += _cancel_late(windmill, stop, now)
    return canceled


def _cancel_late(windmill: client.Client, stop: dict[str, Any], now: datetime) -> list[str]:
    found: set[str] = set()
    try:
        _cancel_all(windmill, stop, now, found)
    finally:
        _note_late(windmill, stop, found)
    return sorted(found)


def _note_late(windmill: client.Client, stop: dict[str, Any], canceled: set[str]) -> None:
    try:
        _note_canceled(windmill, str(stop["workflow"]), str(stop["id"]), canceled)
    except errors.Forbidden:
        print(f"The stop {stop['id']} may not be changed, so what was canceled is not noted in it", flush=True)


def _create(windmill: client.Client, name: str, by: str, reason: str, now: datetime) -> dict[str, Any]:
    id = f"{name}/{now:%Y%m%dT%H%M%SZ}_{secrets.token_hex(4)}"
    stop = {"id": id, "workflow": name, "at": now.isoformat(), "by": by, "reason": reason, "canceled": []}
    for _ in range(MAX_TRIES):
        if _add(windmill, stops.ACTIVE + name, stop):
            return stop
        held = stops.find_stop(windmill, name)
        if held and _read(windmill, stops.HISTORY + str(held["id"])) is None:
            return held
        # Its undo was begun, and the process that did it is gone.
        if held:
            _remove(windmill, name, str(held["id"]))
    raise errors.Unavailable(f"{name} cannot be stopped now", subject="workflow", remedy="Try again.")


def _cancel_all(windmill: client.Client, stop: dict[str, Any], now: datetime, canceled: set[str]) -> None:
    """Adds each execution to `canceled` as soon as it is. One that has ended meanwhile is none of them."""
    for _ in range(MAX_ROUNDS):
        live = [id for id in _live(windmill, str(stop["workflow"]), now) if id not in canceled]
        if not live:
            break
        for id in live:
            try:
                windmill.post(f"jobs_u/queue/cancel/{id}", {"reason": f"{stop['reason']} (stop {stop['id']})"})
                canceled.add(id)
            except (errors.NotFound, errors.InvalidInput):
                continue


def _live(windmill: client.Client, workflow: str, now: datetime) -> Iterator[str]:
    """Not the next run of a schedule, which waits for its time and is refused then."""
    path = execution_models.BUNDLE_FOLDER + workflow
    query = {"script_path_exact": path, "job_kinds": "flow", "has_null_parent": "true"}
    for id, job in windmill.queued_jobs(**query).items():
        if not listing.is_for_later(job, now) and not job.get("canceled") and not job.get("canceled_by"):
            yield id


def _check_workflow(windmill: client.Client, workflow: str) -> str:
    name = str(errors.check_value(str, workflow, "workflow")).removeprefix(execution_models.BUNDLE_FOLDER)
    if not WORKFLOW.fullmatch(name):
        raise errors.InvalidInput(
            f"workflow: {name[:80]!r} is not the name of a workflow",
            subject="workflow",
            remedy="Give it as the list has it, such as hybrid_pipeline or templates/container_job.",
        )
    if not windmill.get(f"flows/exists/{execution_models.BUNDLE_FOLDER}{name}"):
        raise errors.NotFound(
            f"There is no workflow {name}", subject="workflow", remedy="Give one of the list, and check its deployment."
        )
    return name


def _check_reason(reason: str) -> str:
    why = cancel.check_reason(reason)
    if why == cancel.NO_REASON:
        raise errors.InvalidInput(
            "reason is empty: say why, for those whose runs are canceled", subject="reason", remedy="Fill it in."
        )
    return why


def _add(windmill: client.Client, path: str, value: dict[str, Any]) -> bool:
    """Whether the resource was created; False when there is one."""
    body = {"path": path, "value": value, "resource_type": stops.RESOURCE_TYPE, "description": "A stopped workflow"}
    try:
        windmill.post("resources/create", body)
    except errors.InvalidInput:
        return False
    return True


def _note_canceled(windmill: client.Client, name: str, id: str, canceled: set[str]) -> dict[str, Any] | None:
    """The stop with these among its canceled; None when it was undone. Read again after each write: two who stop at
    once both note theirs."""
    for _ in range(MAX_TRIES):
        held = stops.find_stop(windmill, name)
        if held is None or held.get("id") != id:
            return None
        known = set(map(str, held.get("canceled") or ()))
        if canceled <= known:
            break
        held["canceled"] = sorted(known | canceled)
        try:
            windmill.post(f"resources/update_value/{stops.ACTIVE}{name}", {"value": held})
        except (errors.NotFound, errors.InvalidInput):
            return None
    return held


def _read(windmill: client.Client, path: str) -> dict[str, Any] | None:
    try:
        value = windmill.get(f"resources/get_value/{path}")
    except (errors.NotFound, errors.Forbidden):
        return None
    return dict(value) if isinstance(value, dict) and "id" in value else None


def _remove(windmill: client.Client, name: str, id: str) -> None:
    """Harmless when it is gone, and when another stop has taken its place."""
    held = stops.find_stop(windmill, name)
    if held is None or held.get("id") != id:
        return
    try:
        windmill.delete(f"resources/delete/{stops.ACTIVE}{name}")
    except errors.NotFound:
        return
