# requirements: flexcore_base
"""A small index of executions in our own store, so that months of them outlive Windmill's retention.

run_index/2026-11-29.<random>.json   rows of executions that were created on that day (UTC), and have ended

It is an index, not a second truth: a row is made of the job alone, so it can be made again from what is still there.
A file is written once and never changed, so two writers lose nothing; a day's files are one after `compact`, which
writes the union before it removes what it has read. A row that is in several files counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from pydantic import ValidationError

from f.flexcore.lib.core import errors, workloads
from f.flexcore.lib.dashboard import shapes
from f.flexcore.lib.storage import object_store

FOLDER = "run_index"
NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.[0-9a-f]{32}\.json")
# Some 300 bytes each: a day's file is read within some tens of milliseconds.
MAX_ROWS_PER_DAY = 20_000
MAX_DAYS = 400
MAX_PARALLEL_READS = 8
# A file that was compacted away between listing and reading is in another one by then.
MAX_LISTINGS = 4
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
FORMAT = 1


class IndexRow(shapes.Row):
    """run: the execution as a row of history; null for what says nothing of a runtime."""

    source: Literal["windmill", "index"] = "index"
    run: workloads.Run | None = None

    @property
    def position(self) -> str:
        """As the list of executions sorts: newest last."""
        return position_of(self)

    def shown(self) -> shapes.Row:
        return shapes.Row.model_validate(self.model_dump(exclude={"run"}))


def position_of(row: shapes.Row) -> str:
    return _position(row.created_at, row.id)


def end_of(moment: datetime) -> str:
    """The position above which there is no row that was created by then."""
    return _position(moment.astimezone(UTC), LAST_ID)


def _position(created_at: datetime, id: str) -> str:
    microseconds = (created_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"{microseconds:017d}_{id}"


Rows = dict[str, IndexRow]


@dataclass(frozen=True, slots=True)
class RunIndex:
    """Raises the errors of the store."""

    store: object_store.Store

    @property
    def folder(self) -> str:
        return self.store.uri(FOLDER)

    def days(self) -> dict[date, list[str]]:
        """The files of each day that has some, newest day first."""
        found: dict[date, list[str]] = {}
        for name in self.store.names(self.folder):
            if (match := NAME.fullmatch(name)) and (day := _parse_day(match[1])):
                found.setdefault(day, []).append(name)
        return dict(sorted(found.items(), reverse=True))

    def read(self, days: Iterable[date]) -> Rows:
        """The rows of these days, by id."""
        wanted = set(days)
        rows: Rows = {}
        for _ in range(MAX_LISTINGS):
            names = [name for day, files in self.days().items() if day in wanted for name in files]
            rows, complete = self._read_files(names)
            if complete:
                return rows
        return rows

    def add(self, rows: Iterable[IndexRow]) -> int:
        """Writes rows in files of their own; how many."""
        by_day: dict[date, list[IndexRow]] = {}
        for row in rows:
            by_day.setdefault(row.created_at.astimezone(UTC).date(), []).append(row)
        for day, found in by_day.items():
            self._write(day, found)
        return sum(map(len, by_day.values()))

    def compact(self, day: date, names: list[str]) -> None:
        """Makes one file of a day's. Who does the same at the same time leaves two that say the same."""
        rows, complete = self._read_files(names)
        if not complete:
            return
        newest = sorted(rows.values(), key=lambda row: row.position)[-MAX_ROWS_PER_DAY:]
        if newest:
            self._write(day, newest)
        for name in names:
            self.store.remove(f"{self.folder}/{name}")

    def prune(self, today: date) -> int:
        """Removes the days that are past MAX_DAYS; how many."""
        old = {day: names for day, names in self.days().items() if (today - day).days > MAX_DAYS}
        for names in old.values():
            for name in names:
                self.store.remove(f"{self.folder}/{name}")
        return len(old)

    def _write(self, day: date, rows: list[IndexRow]) -> None:
        content = {"format": FORMAT, "rows": list(map(_describe, rows))}
        self.store.write_json(f"{self.folder}/{day.isoformat()}.{uuid4().hex}.json", content)

    def _read_files(self, names: list[str]) -> tuple[Rows, bool]:
        """The rows by id, and whether every file was still there. Of a row that is in several the one that ended last
        counts: they differ where a run was looked at too early."""
        with ThreadPoolExecutor(MAX_PARALLEL_READS) as pool:
            contents = list(pool.map(self._read_file, names))
        rows: Rows = {}
        for content in contents:
            for row in _parse_rows(content):
                known = rows.get(row.id)
                if known is None or _ended(row) >= _ended(known):
                    rows[row.id] = row
        return rows, None not in contents

    def _read_file(self, name: str) -> Any | None:
        try:
            return self.store.read_json(f"{self.folder}/{name}")
        except errors.DataError:
            # Damaged: what is in it is made again from Windmill, as far as that still has it.
            return {}


def _describe(row: IndexRow) -> dict[str, Any]:
    """The row as plain data. Where `runtime` says it all, without `runtimes`: an earlier version of flexcore, such as
    one that a workspace goes back to, knows no such field and drops rows that have it."""
    left_out = {"source"} if len(row.runtimes) > 1 else {"source", "runtimes"}
    return row.model_dump(mode="json", exclude_none=True, exclude=left_out)


def _parse_rows(content: Any) -> list[IndexRow]:
    """Without rows of a form that this version does not know."""
    rows = []
    for plain in content.get("rows") or () if isinstance(content, Mapping) else ():
        try:
            rows.append(IndexRow.model_validate(plain))
        except ValidationError:
            continue
    return rows


def _ended(row: IndexRow) -> datetime:
    return row.ended_at or row.created_at


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
