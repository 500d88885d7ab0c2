# requirements: flexcore_base
"""The one read of the dashboard: the parts that are asked for, side by side, each with its own failure.

What the caller may not see, or what does not answer, becomes a notice and an empty part; never an error of the page.
A part that only some views need is imported when it is asked for: each call is a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from f.flexcore.lib.core import errors, monitoring, operation, resources, version
from f.flexcore.lib.dashboard import detail, listing, notices, shapes
from f.flexcore.lib.windmill import client

MAX_PARALLEL_PARTS = 8
# By address: what only some views need is imported for them.
REFUSAL = "f.flexcore.lib.pipeline.restart:refusal"
# HTTP's header Date has whole seconds, and the answer took its time.
CLOCK_RESOLUTION = timedelta(seconds=2)


@dataclass(slots=True)
class Reading:
    """What all parts share. user, settings: empty when they could not be read."""

    windmill: client.Client
    now: datetime
    user: Mapping[str, Any] = field(default_factory=dict)
    settings: resources.Settings | None = None
    base_url: str = ""
    worker: str = "this worker"
    notes: list[shapes.Notice] = field(default_factory=list)


def read_dashboard(
    want: Sequence[str],
    cursor: str = "",
    filter: Mapping[str, Any] | None = None,
    execution: str = "",
    windmill: client.Client | None = None,
    env: Mapping[str, str] = os.environ,
) -> shapes.Dashboard:
    """Raises InvalidInput for a filter that is none; what else goes wrong is a notice."""
    chosen = errors.validate(shapes.Filter, filter or {}, "filter")
    reading = Reading(windmill or client.Client(), datetime.now(UTC), base_url=env.get("WM_BASE_URL", "").rstrip("/"))
    reading.worker = env.get("WM_WORKER_GROUP") or reading.worker
    wanted = dict.fromkeys(map(str, want))
    reading.notes += [notices.unknown_part(name) for name in wanted if name not in shapes.PARTS]
    with ThreadPoolExecutor(MAX_PARALLEL_PARTS) as pool:
        server = pool.submit(reading.windmill.server_version)
        user = pool.submit(reading.windmill.user)
        settings = pool.submit(_read_settings, reading.windmill)
        listed = pool.submit(_read_page, reading, chosen, cursor) if "executions" in wanted else None
        found = _read_server(reading, server, user, settings)
        parts = {name: pool.submit(PARTS[name], reading, execution) for name in wanted if name in PARTS}
        page = _result(reading, "The list of executions", listed)
        read = {name: _result(reading, TITLES[name], part) for name, part in parts.items()}
    return shapes.Dashboard(
        now=reading.now,
        version=version.VERSION,
        server=found,
        notices=list({note.message: note for note in reading.notes}.values()),
        cursor=page.cursor if page else "",
        full=page.full if page else True,
        executions=page.executions if page else None,
        **read,
    )


def _read_page(reading: Reading, chosen: shapes.Filter, cursor: str) -> listing.Page:
    return listing.read_page(reading.windmill, chosen, cursor, reading.now)


def _read_settings(windmill: client.Client) -> resources.Settings | None:
    stored = windmill.find_resource(client.SETTINGS)
    return None if stored is None else errors.validate(resources.Settings, stored, client.SETTINGS)


def _read_server(
    reading: Reading, server: Future[tuple[str, str]], user: Future[dict[str, Any]], settings: Future[Any]
) -> shapes.Server:
    """Also what the parts need to know first: who asks, the settings, what time it is."""
    said = _result(reading, "The server's version", server)
    reading.user = _result(reading, "Your user", user) or {}
    reading.settings = _result(reading, "The settings", settings)
    if reading.settings is None and settings.exception() is None:
        reading.notes.append(notices.no_settings())
    name, date = said or ("", "")
    if said:
        reading.notes += notices.check_server(name)
    if (at := _parse_date(date)) and abs(at - reading.now) > CLOCK_RESOLUTION:
        reading.notes += notices.check_clock(at, reading.now)
        reading.now = at
    return shapes.Server(
        version=name or None,
        url=reading.base_url or None,
        workspace=reading.windmill.workspace,
        user=str(reading.user.get("username") or ""),
        engine="embedded" if name.startswith(notices.EMBEDDED) else "windmill",
    )


def _parse_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC) if text else None
    except ValueError:
        return None


def _result(reading: Reading, title: str, part: Future[Any] | None) -> Any:
    """None, and a notice, when the part could not be read."""
    if part is None:
        return None
    try:
        return part.result()
    except errors.FlexcoreError as error:
        reading.notes.append(notices.unread(title, error))
        return None


def _read_detail(reading: Reading, execution: str) -> shapes.Detail | None:
    from f.flexcore.lib import runtimes

    if not execution:
        return None
    view = monitoring.View(reading.base_url, reading.windmill.workspace, reading.now, runtimes.RUNTIMES)
    secrets = list(reading.settings.secrets()) if reading.settings else []
    refusal = operation.resolve(REFUSAL)
    reader = detail.DetailReader(
        reading.windmill, reading.user, reading.base_url, view, refusal, secrets, reading.notes
    )
    return reader.read(execution)


# By the name of the part: what reads it, and what it is called in a notice.
PARTS: dict[str, Callable[[Reading, str], Any]] = {
    "execution": _read_detail,
}
TITLES = {
    "execution": "The execution",
}
