# requirements: flexcore_kubernetes
"""One pass over all clusters: what is there, who owns it, what is done about it.

clusters ─found─────→ objects ─┐
                               ├─decide─→ at most `max_actions`, the rest left for the next pass
Windmill ─queued_jobs→ owners ─┘
The objects are listed before the owners: an object whose owner is then in no queue was made by a job that has ended
since, or that is looked up by its id.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, remote_objects
from f.flexcore.lib.windmill import client

# Clusters are listed side by side, so that one that does not answer delays none.
MAX_PARALLEL_REQUESTS = 8
# Windmill answers some hundred such requests in a second.
MAX_OWNER_LOOKUPS = 100
# Of waiting work: the step that has left it there.
CALL = "flexcore/call"
# Of passes that have stopped something.
ORPHANS_LABEL = "orphans"


class Owners(Protocol):
    """What Windmill knows of the jobs that own remote objects, in a bounded number of requests."""

    workspace: str

    def queued_jobs(self) -> dict[str, dict[str, Any]]:
        """Every job that waits, runs or is suspended. Raises FlexcoreError: without it no owner counts as ended."""

    def look_up(self, ids: list[str]) -> dict[str, remote_objects.Owner]:
        """The state of each job that no queue shows; unknown when Windmill does not say."""

    def resume(self, flow_job: str, payload: dict[str, Any]) -> str:
        """What became of it."""

    def arguments(self, job: str) -> dict[str, Any]:
        """Those of a job, their references resolved with the rights of the pass. Raises FlexcoreError."""


class WindmillOwners:
    """Owners of one workspace, by its own Windmill."""

    def __init__(self, windmill: client.Client) -> None:
        self._windmill, self.workspace = windmill, windmill.workspace

    def queued_jobs(self) -> dict[str, client.Job]:
        return self._windmill.queued_jobs()

    def look_up(self, ids: list[str]) -> dict[str, remote_objects.Owner]:
        jobs = self._windmill.jobs(ids)
        return {id: _owner_state(jobs.get(id)) for id in ids}

    def resume(self, flow_job: str, payload: dict[str, Any]) -> str:
        try:
            self._windmill.resume_flow(flow_job, payload)
        except errors.FlexcoreError as error:
            return f"not resumed ({str(error).partition('. ')[0]}); the next pass tries again"
        return "resumed"

    def arguments(self, job: str) -> dict[str, Any]:
        return self._windmill.arguments(job)


def _owner_state(job: client.Job | None) -> remote_objects.Owner:
    kind = (job or {}).get("type")
    if kind == "CompletedJob":
        return "ended"
    return "running" if kind == "QueuedJob" else "unknown"


def find_older_run(windmill: client.Client, path: str, job: str) -> str:
    """The id of a run of the script at `path` that began before `job` and still runs; "" when there is none.

    Of runs at the same time exactly one, the oldest, has none: Windmill's own queue is the lease.
    """
    running = windmill.queued_jobs(script_path_exact=path, running="true")
    if job not in running:
        return ""
    ages = {id: (str(run.get("started_at") or "9"), id) for id, run in running.items()}
    older = [id for id, age in ages.items() if age < ages[job]]
    return min(older, key=ages.__getitem__, default="")


@dataclass(frozen=True, slots=True)
class ReconcileRow:
    """One line of a pass's table."""

    place: str
    runtime: str
    object: str
    state: str
    owner: str
    action: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Case:
    """An object, the state of its owner, and what is to be done."""

    item: remote_objects.RemoteObject
    owner: remote_objects.Owner
    decision: remote_objects.Decision


@dataclass(slots=True)
class ReconcilePass:
    """max_actions: how many objects may be acted upon; dry_run: none is, and the table says what would be done;
    orphans: those that were stopped, their owner having ended."""

    owners: Owners
    now: float
    max_actions: int
    dry_run: bool = False
    rows: list[ReconcileRow] = field(default_factory=list)
    orphans: list[remote_objects.RemoteObject] = field(default_factory=list)

    def run(self, clusters: Sequence[tuple[str, runtimes.RemoteObjects]]) -> list[ReconcileRow]:
        """The table of the pass. A cluster that cannot be listed is a row of its own.

        Raises Forbidden, Unavailable or Unreachable when Windmill does not say which jobs are alive."""
        with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
            listed = list(pool.map(lambda cluster: self._list_objects(*cluster), clusters))
            states = self._owner_states([item for items in listed for item in items])
            for (_, cluster), items in zip(clusters, listed, strict=True):
                self._reconcile(cluster, items, states, pool)
        return sorted(self.rows, key=lambda row: (row.action == "leave", row.place, row.object))

    def report_failure(self, place: str, runtime: str, error: errors.FlexcoreError) -> None:
        """A cluster that cannot be listed is a row of its own; nothing in it counts as gone."""
        self.rows.append(ReconcileRow(place, runtime, "", "", "", "leave", "could not be listed", str(error)))

    def _list_objects(self, place: str, cluster: runtimes.RemoteObjects) -> list[remote_objects.RemoteObject]:
        try:
            return cluster.find()
        except errors.FlexcoreError as error:
            self.report_failure(place, "", error)
            return []

    def _owner_states(self, items: Sequence[remote_objects.RemoteObject]) -> dict[str, remote_objects.Owner]:
        """By owner job. Those that decide nothing are not looked up; of very many, some at each pass: those that
        Windmill does not know would otherwise stand in the way of the others for ever."""
        queue = self.owners.queued_jobs()
        ours = {item.owner for item in items if item.owner and self._is_ours(item)}
        states: dict[str, remote_objects.Owner] = {
            job: "suspended" if queue[job].get("suspend") else "running" for job in ours if job in queue
        }
        deciding = [
            item.owner
            for item in items
            if item.owner in ours - states.keys() and (item.state == "running" or item.delete_after is not None)
        ]
        unknown = list(dict.fromkeys(deciding))
        return states | self.owners.look_up(random.sample(unknown, min(len(unknown), MAX_OWNER_LOOKUPS)))

    def _is_ours(self, item: remote_objects.RemoteObject) -> bool:
        return item.labels.get("flexcore/workspace") == self.owners.workspace

    def _reconcile(
        self,
        cluster: runtimes.RemoteObjects,
        items: Sequence[remote_objects.RemoteObject],
        states: dict[str, remote_objects.Owner],
        pool: ThreadPoolExecutor,
    ) -> None:
        cases = []
        for item in items:
            owner = states.get(item.owner, "unknown") if self._is_ours(item) else "unknown"
            cases.append(_Case(item, owner, remote_objects.decide_cleanup(item, owner, self.now)))
        for case in cases:
            if case.decision.action == "leave":
                self._add_row(case, "left")
        to_do = [case for case in cases if case.decision.action != "leave"]
        limit = max(0, self.max_actions - sum(row.action != "leave" for row in self.rows))
        for case in to_do[limit:]:
            decision = remote_objects.Decision("leave", f"{case.decision.reason}; left for the next pass")
            self._add_row(_Case(case.item, case.owner, decision), "left")
        outcomes = pool.map(lambda case: self._act(cluster, case), to_do[:limit])
        for case, outcome in zip(to_do[:limit], outcomes, strict=True):
            self._add_row(case, outcome)

    def _act(self, cluster: runtimes.RemoteObjects, case: _Case) -> str:
        if self.dry_run:
            return "dry run"
        item = case.item
        actions: dict[str, Callable[[], str]] = {
            "stop": lambda: cluster.stop(item),
            "delete": lambda: cluster.delete(item),
            "resume": lambda: self.owners.resume(item.owner, {"name": item.name, "uid": item.uid}),
            "submit": lambda: self._submit(cluster, item),
        }
        try:
            outcome = actions[case.decision.action]()
        except errors.FlexcoreError as error:
            return f"failed: {error}"
        if case.decision.action == "stop" and case.owner == "ended":
            self.orphans.append(item)
        return outcome

    def _submit(self, cluster: runtimes.RemoteObjects, item: remote_objects.RemoteObject) -> str:
        """Submits work in place of its flow, which is suspended. One that cannot be submitted from here is left to its
        flow: resumed, it tries by itself and says why it cannot."""
        try:
            return cast(runtimes.WaitingWork, cluster).submit(item, self.owners.arguments(item.labels[CALL]))
        except (errors.UserError, errors.DataError) as error:
            return f"{self.owners.resume(item.owner, {'name': item.name})}, since it was refused: {error}"

    def _add_row(self, case: _Case, outcome: str) -> None:
        item, decision = case.item, case.decision
        name = f"{item.kind} {item.namespace}/{item.name}" if item.namespace else f"{item.kind} {item.name}"
        owner = f"{item.owner} {case.owner}".strip()
        self.rows.append(
            ReconcileRow(item.place, item.runtime, name, item.state, owner, decision.action, outcome, decision.reason)
        )


def build_result(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The result of a pass. One that has stopped something carries a label, by which reports find it among thousands,
    and a page, as Windmill shows a result with labels as no table."""
    plain: dict[str, Any] = {"table-row-object": rows}
    if not any(row["action"] == "stop" for row in rows):
        return plain
    # Most passes stop nothing.
    from f.flexcore.lib.core import result_page
    from f.flexcore.lib.views import operation_pages

    page = operation_pages.render_reconcile_page(rows)
    return result_page.add_page({**plain, "wm_labels": [ORPHANS_LABEL]}, page)
