# requirements: flexcore_base
"""The one read of the dashboard: the parts that are asked for, side by side, each with its own failure.

What the caller may not see, or what does not answer, becomes a notice and an empty part; never an error of the page.
A part that only some views need is imported when it is asked for: each call is a process of its own.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.dashboard import listing, notices, shapes
from f.flexcore.lib.windmill import client, execution_models

if TYPE_CHECKING:
    from f.flexcore.lib.core import resources
    from f.flexcore.lib.dashboard import detail

MAX_PARALLEL_PARTS = 8
# By address: what only some views need is imported for them.
RESTART_OFFER = "f.flexcore.lib.pipeline.restart:find_offer"
# HTTP's header Date has whole seconds, and the answer took its time.
CLOCK_RESOLUTION = timedelta(seconds=2)
# A worker that is free takes a job within a second.
LONG_WAIT = timedelta(seconds=20)
MAX_WORKFLOWS_ASKED = 2
# Parts that are not whole without the settings.
OF_SETTINGS = ("runtimes", "comparison", "deployments", "orphans")


@dataclass(slots=True)
class Reading:
    """What all parts share. user, settings: empty when they could not be read. unread: by part, the places that could
    not be read."""

    windmill: client.Client
    now: datetime
    user: Mapping[str, Any] = field(default_factory=dict)
    settings: resources.Settings | None = None
    base_url: str = ""
    worker: str = "this worker"
    notes: list[shapes.Notice] = field(default_factory=list)
    unread: dict[str, list[str]] = field(default_factory=dict)

    def miss(self, part: str, place: str, error: errors.FlexcoreError) -> None:
        """Says of a part that a place could not be read, and why."""
        self.notes.append(notices.unread(f"{TITLES[part]} at {place}", error))
        self._name_unread(part, place)

    def miss_settings(self, part: str) -> None:
        """Says of a part that the settings could not be read; their notice says why."""
        self._name_unread(part, client.SETTINGS)

    def _name_unread(self, part: str, place: str) -> None:
        named = self.unread.setdefault(part, [])
        if place not in named:
            named.append(place)


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
    lists = "executions" in wanted
    with ThreadPoolExecutor(MAX_PARALLEL_PARTS) as pool:
        server = pool.submit(reading.windmill.server_version)
        user = pool.submit(reading.windmill.user)
        settings = pool.submit(read_settings, reading.windmill)
        listed = pool.submit(listing.read_page, reading.windmill, chosen, cursor, reading.now) if lists else None
        is_needed = not wanted.keys().isdisjoint(OF_SETTINGS)
        found = _read_server(reading, server, user, settings, is_needed)
        parts = {name: pool.submit(PARTS[name], reading, execution) for name in wanted if name in PARTS}
        page = _result(reading, "The list of executions", listed)
        _lead_to_index(reading, page, chosen)
        _warn_of_tags(reading, page)
        read = {name: _result(reading, TITLES[name], part) for name, part in parts.items()}
    return shapes.Dashboard(
        now=reading.now,
        version=contracts.VERSION,
        server=found,
        notices=list({note.message: note for note in reading.notes}.values()),
        unread=reading.unread,
        cursor=page.cursor if page else "",
        full=page.full if page else True,
        executions=page.executions if page else None,
        **read,
    )


def _lead_to_index(reading: Reading, page: listing.Page | None, chosen: shapes.Filter) -> None:
    """Below Windmill's last execution the index may go on; where Windmill has none, from the end of the time that is
    asked for."""
    if page is None or not page.full or page.executions.older:
        return
    from f.flexcore.lib.dashboard import older_rows, run_index

    rows = page.executions.rows
    below = run_index.position_of(rows[-1]) if rows else run_index.end_of(chosen.until or reading.now)
    try:
        goes_on = older_rows.has_older(reading.settings, reading.windmill.workspace, below, chosen)
    except errors.FlexcoreError as error:
        reading.notes.append(notices.unread("The run index", error))
        return
    if goes_on:
        page.executions.older, page.executions.counts = below, None


def _warn_of_tags(reading: Reading, page: listing.Page | None) -> None:
    """A notice for a worker's tag that nobody serves, when executions wait for a worker for some time."""
    since = reading.now - LONG_WAIT
    rows = page.executions.rows if page else []
    waiting = {row.workflow for row in rows if row.status == "queued" and row.created_at < since}
    if not waiting:
        return
    from f.flexcore.lib.windmill import worker_tags

    for workflow in sorted(waiting)[:MAX_WORKFLOWS_ASKED]:
        path = execution_models.BUNDLE_FOLDER + workflow
        texts = worker_tags.warn_of_unserved_tags(reading.windmill, path)
        reading.notes += [notices.unserved_tag(text) for text in texts]


def read_settings(windmill: client.Client) -> resources.Settings | None:
    """None when there are none that the caller may read. Raises InvalidInput, and as the client does."""
    stored = windmill.find_resource(client.SETTINGS)
    if stored is None:
        return None
    from f.flexcore.lib.core import resources

    return errors.validate(resources.Settings, stored, client.SETTINGS)


def _read_server(
    reading: Reading,
    server: Future[tuple[str, str]],
    user: Future[dict[str, Any]],
    settings: Future[Any],
    needs_settings: bool,
) -> shapes.Server:
    """Also what the parts need to know first: who asks, the settings, what time it is."""
    said = _result(reading, "The server's version", server)
    reading.user = _result(reading, "Your user", user) or {}
    reading.settings = _result(reading, "The settings", settings)
    if reading.settings is None and settings.exception() is None:
        reading.notes.append(notices.no_settings(needs_settings))
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
    except Exception as error:
        # A defect in one part must not take the others away; the job's log says where it is.
        traceback.print_exc()
        reading.notes.append(notices.defect(title, error))
        return None


def _read_detail(reading: Reading, execution: str) -> shapes.Detail | None:
    return open_reader(reading).read(execution) if execution else None


def open_reader(reading: Reading) -> detail.DetailReader:
    from f.flexcore.lib import runtimes
    from f.flexcore.lib.core import monitoring, operation
    from f.flexcore.lib.dashboard import detail
    from f.flexcore.lib.windmill import trace_links

    view = monitoring.View(reading.base_url, reading.windmill.workspace, reading.now, runtimes.RUNTIMES)
    secrets = list(reading.settings.secrets()) if reading.settings else []
    find_offer = operation.resolve(RESTART_OFFER)
    links = trace_links.links_of(reading.settings) if reading.settings else None
    return detail.DetailReader(
        reading.windmill, reading.user, reading.base_url, view, find_offer, links, secrets, reading.notes
    )


def _read_runtimes(reading: Reading, _: str) -> list[shapes.Runtime]:
    from f.flexcore.lib.dashboard import parts

    if reading.settings is None:
        reading.miss_settings("runtimes")
    return parts.read_runtimes(reading.windmill, reading.settings, reading.worker, reading.now)


def _read_deployments(reading: Reading, _: str) -> list[shapes.Deployment] | None:
    from f.flexcore.lib.dashboard import parts

    miss = partial(reading.miss, "deployments")
    return parts.read_deployments(reading.windmill, reading.settings, miss)


def _read_orphans(reading: Reading, _: str) -> list[shapes.Orphan] | None:
    from f.flexcore.lib.dashboard import parts

    miss = partial(reading.miss, "orphans")
    return parts.read_orphans(reading.windmill, reading.settings, reading.worker, reading.now, miss)


def _read_comparison(reading: Reading, _: str) -> list[shapes.Comparison]:
    from f.flexcore.lib.dashboard import figures

    return figures.read_comparison(reading.windmill, reading.settings, reading.now)


def _read_selection(reading: Reading, execution: str) -> list[shapes.Selection]:
    from f.flexcore.lib.dashboard import figures

    return figures.read_selections(reading.windmill, execution)


def _read_stops(reading: Reading, _: str) -> list[shapes.Stop]:
    from f.flexcore.lib.dashboard import stopping

    return stopping.list_stops(reading.windmill)


# By the name of the part: what reads it, and what it is called in a notice.
PARTS: dict[str, Callable[[Reading, str], Any]] = {
    "execution": _read_detail,
    "runtimes": _read_runtimes,
    "comparison": _read_comparison,
    "selection": _read_selection,
    "deployments": _read_deployments,
    "orphans": _read_orphans,
    "stops": _read_stops,
}
TITLES = {
    "execution": "The execution",
    "runtimes": "Runtimes",
    "comparison": "The comparison of runtimes",
    "selection": "Selections",
    "deployments": "Deployments",
    "orphans": "Orphans",
    "stops": "Stopped workflows",
}
