# requirements: flexcore_base
"""Executions below the dashboard's first page: those that Windmill has, and below them those of the run index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from f.flexcore.lib.core import resources
from f.flexcore.lib.dashboard import listing, run_index, shapes
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client, executions

# Days of the index that one answer reads, if the filter leaves little of each.
MAX_DAYS_READ = 60


def read_older(
    windmill: client.Client, chosen: shapes.Filter, older: str, settings: resources.Settings | None
) -> tuple[list[shapes.Row], str | None]:
    """At most listing.OLDER_ROWS rows, newest first, and the position for the next ones; None when there are no more.
    settings: None when the caller may not read them; then there is no index. Raises InvalidInput for what is no
    position."""
    rows, position = listing.read_older(windmill, chosen, older)
    if position or settings is None:
        return rows, position
    room = listing.OLDER_ROWS - len(rows)
    below = run_index.position_of(rows[-1]) if rows else older
    index = run_index.RunIndex(object_store.Store(settings), windmill.workspace)
    found, rest = read_index(index, chosen, below, room)
    return [*rows, *found], rest


def read_index(
    index: run_index.RunIndex, chosen: shapes.Filter, below: str, limit: int
) -> tuple[list[shapes.Row], str | None]:
    """Rows of the index that are older than the position `below`, and the position for the next ones."""
    if limit <= 0:
        return [], below
    rows: list[shapes.Row] = []
    last_day: date | None = None
    listed = index.days()
    for day in _days_below(listed, below, chosen):
        if len(rows) >= limit or (last_day and (last_day - day).days >= MAX_DAYS_READ and rows):
            break
        found = [row for row in index.read([day], listed).values() if row.position < below and _matches(row, chosen)]
        rows += [row.shown() for row in sorted(found, key=lambda row: row.position, reverse=True)]
        last_day = last_day or day
    else:
        return rows[:limit], run_index.position_of(rows[limit - 1]) if len(rows) > limit else None
    return rows[:limit], run_index.position_of(rows[:limit][-1])


def has_older(settings: resources.Settings | None, workspace: str, below: str, chosen: shapes.Filter) -> bool:
    """Whether the index, which keeps what has ended, may have rows of the filter's time below the position. Raises the
    errors of the store."""
    if settings is None or chosen.status in executions.LIVE_STATUSES:
        return False
    index = run_index.RunIndex(object_store.Store(settings), workspace)
    return any(_days_below(index.days(), below, chosen))


def _days_below(listed: run_index.Days, below: str, chosen: shapes.Filter) -> Iterator[date]:
    first, last = (at and at.astimezone(UTC).date() for at in (chosen.since, chosen.until))
    for day in listed:
        if day <= _day_of(below) and (first is None or day >= first) and (last is None or day <= last):
            yield day


def _day_of(position: str) -> date:
    microseconds = int(position.partition("_")[0] or 0)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).date()


def _matches(row: shapes.Row, chosen: shapes.Filter) -> bool:
    return (
        chosen.workflow in (None, row.workflow)
        and chosen.runtime in (None, row.runtime, *row.runtimes)
        and chosen.status in (None, row.status)
        and not (chosen.since and row.created_at < chosen.since)
        and not (chosen.until and row.created_at >= chosen.until)
    )
