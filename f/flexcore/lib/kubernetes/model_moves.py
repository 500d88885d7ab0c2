# requirements: flexcore_kubernetes
"""One pass over the placed models (kubernetes/move_models): those whose cluster is lost are served from another one.

    record → contact ─lost→ contact again ─lost→ another copy stands: it is used from now on
                          └ choose ─────────────→ none does: deploy, then use it
What was left behind goes when its cluster answers again (placed_objects), and only while the copy in use stands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.kubernetes import (
    cluster_contact,
    contact_records,
    placed_model,
    placement_moves,
    placement_records,
)
from f.flexcore.lib.storage import object_store

Record = placement_records.PlacementRecord
# A cluster that is lost for less than this is not left.
CONFIRM_S = 3.0
CONTACT_TIMEOUT_S = 5.0
MAX_PARALLEL_MOVES = 4


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One line of a pass's table. lost_s: since the first contact that failed."""

    model: str
    cluster: str
    action: str
    now_on: str
    reason: str
    url: str = ""
    last_contact: float | None = None
    lost_s: float | None = None

    def plain(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a model goes whose cluster is lost."""

    placed: placed_model.PlacedModel
    cluster: str


@dataclass(slots=True)
class ModelMoves:
    """clock: seconds since the epoch."""

    settings: resources.Settings
    read_resource: cluster_contact.ReadResource
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    report: Callable[[str], None] = field(default=partial(print, flush=True))

    def run(self) -> list[MoveRow]:
        """The table of the pass. A model that cannot be moved is a row that says why; the others are."""
        book = placement_records.PlacementBook(object_store.Store(self.settings), self.clock)
        records = [item for item in book.list() if item.kind == "models" and item.copies and item.ended_at is None]
        names = list(dict.fromkeys(copy.cluster for item in records for copy in item.copies))
        if not names:
            return []
        inquiry = cluster_contact.Inquiry(self.read_resource, self.settings, "", self.clock)
        known = contact_records.record(book.store, inquiry.ask(names, CONTACT_TIMEOUT_S))
        with ThreadPoolExecutor(MAX_PARALLEL_MOVES) as pool:
            silent = list_lost(names, known)
            # Where they would go is found while it is confirmed that they must.
            prepared = {
                item.id: pool.submit(self._prepare, item, silent) for item in records if needs_target(item, silent)
            }
            if silent:
                self.sleep(max(CONFIRM_S - min(self.clock() - (known[name].first_failed or 0) for name in silent), 0))
                known |= contact_records.record(book.store, inquiry.ask(silent, CONTACT_TIMEOUT_S))
            rows = pool.map(lambda item: self._settle(item, known, prepared.get(item.id)), records)
            return [row for found in rows for row in found]

    def _prepare(self, record: Record, lost: Sequence[str]) -> Target:
        """Raises why no other cluster can take it."""
        placed = self._open(record)
        return Target(placed, placed.choose(placed.ask(lost), record, lost).clusters[0])

    def _open(self, record: Record) -> placed_model.PlacedModel:
        placed = placed_model.open_model(
            record.deployment, record.placement, self.settings, self.read_resource, self._owner(record)
        )
        placed.clock, placed.report = self.clock, self.report
        return placed

    def _settle(
        self, record: Record, known: Mapping[str, contact_records.LastContact], prepared: Future[Target] | None
    ) -> list[MoveRow]:
        rows = []
        for copy in record.copies:
            last = known[copy.cluster]
            if last.first_failed is None:
                rows.append(self._row(record, copy, last, "stands", copy.cluster, last.problem, copy.url))
                continue
            try:
                rows.append(self._move(record, copy, last, known, prepared))
            except errors.FlexcoreError as error:
                rows.append(self._row(record, copy, last, "wait", copy.cluster, str(error)))
        return rows

    def _move(
        self,
        record: Record,
        copy: placement_moves.PlacedCopy,
        last: contact_records.LastContact,
        known: Mapping[str, contact_records.LastContact],
        prepared: Future[Target] | None,
    ) -> MoveRow:
        lost = list_lost([item.cluster for item in record.copies], known)
        others = [item for item in record.copies if item.cluster not in lost and item.version]
        if others:
            # It is used at once; that another copy is missing is made good afterwards.
            placed, url, target = self._open(record), others[0].url, others[0].cluster
            self._leave(placed, copy.cluster, None)
            if record.placement.get("strategy") != "one":
                self._make_good(placed, lost)
            return self._row(record, copy, last, "move", target, "its cluster does not answer, another copy does", url)
        found = prepared.result() if prepared else self._prepare(record, lost)
        result = found.placed.deploy(found.cluster)
        self._leave(found.placed, copy.cluster, found.cluster)
        url = str((result.get("output") or {}).get("url") or "")
        reason = placement_moves.decide_model(is_lost=True, has_other=True).reason
        return self._row(record, copy, last, "move", found.cluster, reason, url)

    def _leave(self, placed: placed_model.PlacedModel, cluster: str, target: str | None) -> None:
        now = self.clock()

        def change(stored: Record | None) -> Record | None:
            if stored is None or not any(item.cluster == cluster for item in stored.copies):
                return None
            fresh = next((item for item in stored.copies if item.cluster == target), None)
            return placement_records.replace_copy(stored, cluster, fresh, "its cluster does not answer", now)

        placed.book.change("models", placed.id, change)

    def _make_good(self, placed: placed_model.PlacedModel, lost: Sequence[str]) -> None:
        """Another copy in place of the lost one. What prevents it leaves the model with fewer, and is only said."""
        try:
            record = placed.book.read("models", placed.id)
            standing = {item.cluster for item in record.copies} if record else set()
            for cluster in placed.choose(placed.ask(lost), record, lost).clusters:
                if cluster not in standing:
                    placed.deploy(cluster)
        except errors.FlexcoreError as error:
            self.report(f"{placed.name} has a copy less: {error}")

    def _owner(self, record: Record) -> dict[str, str]:
        """The environment whose key is the execution that has placed it: its labels stay those of the deployment."""
        labels = record.labels
        env = {
            "WM_FLOW_JOB_ID": labels.get("flexcore/owner-job", ""),
            "WM_FLOW_STEP_ID": labels.get("flexcore/step", ""),
        }
        return {
            **{name: value for name, value in env.items() if value},
            "WM_JOB_ID": labels.get("flexcore/owner-job") or os.environ.get("WM_JOB_ID", ""),
            "WM_ROOT_JOB_ID": labels.get("flexcore/root-job", ""),
            "WM_WORKSPACE": labels.get("flexcore/workspace", ""),
        }

    def _row(
        self,
        record: Record,
        copy: placement_moves.PlacedCopy,
        last: contact_records.LastContact,
        action: str,
        now_on: str,
        reason: str,
        url: str = "",
    ) -> MoveRow:
        lost_s = None if last.first_failed is None else round(self.clock() - last.first_failed, 1)
        if action != "stands":
            self.report(f"{record.name} on {copy.cluster}: {action} → {now_on} ({reason})")
        return MoveRow(record.name, copy.cluster, action, now_on, reason, url, last.at, lost_s)


def list_lost(names: Sequence[str], known: Mapping[str, contact_records.LastContact]) -> list[str]:
    return [name for name in names if known[name].first_failed is not None]


def needs_target(record: Record, silent: Sequence[str]) -> bool:
    """Whether a copy of it does not answer, and none does that could be used instead."""
    is_silent = [copy.cluster in silent for copy in record.copies]
    stands = any(copy.version and copy.cluster not in silent for copy in record.copies)
    return any(is_silent) and not stands


def move_models(settings: Any, read_resource: cluster_contact.ReadResource) -> dict[str, Any]:
    """The plain table of kubernetes/move_models."""
    chosen = errors.validate(resources.Settings, settings or {}, "settings")
    rows = ModelMoves(chosen, read_resource).run()
    moved = sum(row.action == "move" for row in rows)
    print(f"{len(rows)} placed copies seen, {moved} moved", flush=True)
    return {"table-row-object": [row.plain() for row in rows]}
