# requirements: flexcore_base
"""A small index of executions in our own store, so that months of them outlive Windmill's retention.

run_index/WORKSPACE/2026-11-29.<random>.json   rows of executions that were created on that day (UTC), and have ended

It is an index, not a second truth: a row is made of the job alone, so it can be made again from what is still there.
A file is written once and never changed, so two writers lose nothing; a day's files are one after `compact`, which
writes the union before it removes what it has read. A row that is in several files counts once. What this version
cannot read, since a later one wrote it or it is damaged, is passed over and stays.
"""

from __future__ import annotations

import json
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
    def is_bare(self) -> bool:
        """Whether it says no more of an execution than Windmill's list of jobs: perhaps its result was not read."""
        told = (self.run, self.rows, self.cost, self.error)
        return self.status in ("success", "failure") and told == (None,) * len(told)

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
Days = dict[date, list[str]]


@dataclass(frozen=True, slots=True)
class RunIndex:
    """Of one workspace: several may keep their data in one store. Raises the errors of the store."""

    store: object_store.Store
    workspace: str

    @property
    def folder(self) -> str:
        return self.store.uri(FOLDER, self.workspace)

    def days(self) -> Days:
        """The files of each day that has some, newest day first."""
        found: Days = {}
        for name in self.store.names(self.folder):
            if day := day_of(name):
                found.setdefault(day, []).append(name)
        return dict(sorted(found.items(), reverse=True))

    def read(self, days: Iterable[date], listed: Days | None = None) -> Rows:
        """The rows of these days, by id. listed: what `days` has said before, so that it is not listed for each."""
        wanted = set(days)
        rows: Rows = {}
        for _ in range(MAX_LISTINGS):
            files = self.days() if listed is None else listed
            contents = self._read_contents([name for day in files if day in wanted for name in files[day]])
            rows, listed = join_rows(contents), None
            if None not in contents:
                return rows
        return rows

    def add(self, rows: Iterable[IndexRow]) -> int:
        """Writes rows in files of their own; how many."""
        by_day: dict[date, list[IndexRow]] = {}
        for row in rows:
            by_day.setdefault(row.created_at.astimezone(UTC).date(), []).append(row)
        for day, found in by_day.items():
            self._write(day, list(map(_describe, found)))
        return sum(map(len, by_day.values()))

    def compact(self, day: date, names: list[str]) -> bool:
        """Makes one file of a day's; whether there were several that it can read. Who does the same at the same time
        leaves two that say the same."""
        contents = dict(zip(names, self._read_contents(names), strict=True))
        if None in contents.values():
            return False
        readable = {name: content for name, content in contents.items() if _is_readable(content)}
        if len(readable) < 2:
            return False
        rows = join_rows(readable.values())
        newest = sorted(rows.values(), key=lambda row: row.position)[-MAX_ROWS_PER_DAY:]
        self._write(day, [*map(_describe, newest), *_list_unknown(readable.values())])
        for name in readable:
            self.store.remove(f"{self.folder}/{name}")
        return True

    def prune(self, today: date) -> int:
        """Removes the days that are past MAX_DAYS; how many."""
        old = {day: names for day, names in self.days().items() if (today - day).days > MAX_DAYS}
        for names in old.values():
            for name in names:
                self.store.remove(f"{self.folder}/{name}")
        return len(old)

    def _write(self, day: date, rows: list[dict[str, Any]]) -> None:
        content = {"format": FORMAT, "rows": rows}
        self.store.write_json(f"{self.folder}/{day.isoformat()}.{uuid4().hex}.json", content)

    def _read_contents(self, names: list[str]) -> list[Any | None]:
        """What the files hold; None for one that is gone, {} for a damaged one."""
        with ThreadPoolExecutor(MAX_PARALLEL_READS) as pool:
            return list(pool.map(self._read_file, names))

    def _read_file(self, name: str) -> Any | None:
        try:
            return self.store.read_json(f"{self.folder}/{name}")
        except errors.DataError:
            # What is in it is made again from Windmill, as far as that still has it.
            return {}


def _describe(row: IndexRow) -> dict[str, Any]:
    """The row as plain data. Where `runtime` says it all, without `runtimes`: an earlier version of flexcore, such as
    one that a workspace goes back to, knows no such field and drops rows that have it."""
    left_out = {"source"} if len(row.runtimes) > 1 else {"source", "runtimes"}
    return row.model_dump(mode="json", exclude_none=True, exclude=left_out)


def join_rows(contents: Iterable[Any]) -> Rows:
    """By id. Of a row that is in several files the one that ended last counts, they differ where a run was looked at
    too early; of such the one that says most, since one of them may be of a result that could not be read."""
    rows: Rows = {}
    for content in contents:
        for plain in _list_plain(content):
            row = _parse_row(plain)
            known = row and rows.get(row.id)
            if row and (known is None or _weigh(row) >= _weigh(known)):
                rows[row.id] = row
    return rows


def _list_unknown(contents: Iterable[Any]) -> list[Any]:
    """Rows of a form that this version does not know, each once."""
    plain = [item for content in contents for item in _list_plain(content) if _parse_row(item) is None]
    return list({json.dumps(item, sort_keys=True): item for item in plain}.values())


def _list_plain(content: Any) -> list[Any]:
    rows = content.get("rows") if isinstance(content, Mapping) else None
    return rows if isinstance(rows, list) else []


def _parse_row(plain: Any) -> IndexRow | None:
    """None for one of a form that this version does not know."""
    try:
        return IndexRow.model_validate(plain)
    except ValidationError:
        return None


def _is_readable(content: Any) -> bool:
    """Whether the file is whole and of this format: else nothing but its rows is known of it, or not even those."""
    return isinstance(content, Mapping) and content.get("format") == FORMAT and isinstance(content.get("rows"), list)


def _weigh(row: IndexRow) -> tuple[datetime, bool]:
    return row.ended_at or row.created_at, not row.is_bare


def day_of(name: str) -> date | None:
    """None for what is no file of an index."""
    match = NAME.fullmatch(name)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None
