# requirements: flexcore_kubernetes
"""One pass over all clusters: what is there, who owns it, what is done about it.

clusters ─found─────→ objects ─┐
                               ├─decide─→ at most `max_actions`, the rest left for the next pass
Windmill ─queued_jobs→ owners ─┘
The objects are listed before the owners: an object whose owner is then in no queue was made by a job that has ended
since, or that is looked up by its id.

A flow can wait for an object that is not there any more: its Ray head has died, its time to live was over, somebody has
deleted it. When every cluster could be listed, such a flow is resumed: the step that collects finds out by itself, and
does the work again.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, cast

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, redaction, remote_objects
from f.flexcore.lib.windmill import client

# Clusters are listed side by side, so that one that does not answer delays none.
MAX_PARALLEL_REQUESTS = 8
# Windmill answers some hundred such requests in a second.
MAX_OWNER_LOOKUPS = 100
MAX_ROWS_LEFT = 50
# Finished jobs of a Ray head, for people to look at: the head needs some 70 kB for each when it lists them.
MAX_KEPT_JOBS = 500
# Of waiting work: the step that has left it there.
CALL = "flexcore/call"
# Of passes that have stopped something.
ORPHANS_LABEL = "orphans"
# What was submitted just now may not be in the list yet.
LOST_WORK_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Deferral:
    """What a suspended flow waits for, by its submitting step; submitted_at: seconds since the epoch."""

    flow: str
    runtime: str
    kind: str
    name: str
    submitted_at: float


class Deferrals(Protocol):
    """What Windmill's suspended flows wait for."""

    def find_deferrals(self, flows: list[str]) -> list[Deferral]:
        """Those of the flows that wait for work of ours; one that waits for anything else is left out."""


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

    def find_deferrals(self, flows: list[str]) -> list[Deferral]:
        suspended = self._windmill.jobs(flows)
        steps = {flow: _last_step(job) for flow, job in suspended.items()}
        ended = self._windmill.jobs(filter(None, steps.values()))
        found = (_read_deferral(flow, ended.get(step, {})) for flow, step in steps.items())
        return [deferral for deferral in found if deferral]


def _last_step(flow: client.Job) -> str:
    """The job of the step that a suspended flow has run last; "" when there is none."""
    status = flow.get("flow_status") or {}
    modules, number = status.get("modules") or [], int(status.get("step") or 0)
    return str(modules[number - 1].get("job") or "") if 0 < number <= len(modules) else ""


def _read_deferral(flow: str, step: client.Job) -> Deferral | None:
    """What a step says that it has submitted; None for any other step, such as one that asks for an approval."""
    result: Any = step.get("result")
    try:
        if not result["data"]["deferred"]["execution_key"]:
            return None
        remote, begun = result["remote"], datetime.fromisoformat(step["started_at"]).timestamp()
        submitted_at = begun + float(step["duration_ms"]) / 1000
        return Deferral(flow, result["runtime"], remote["kind"], remote["name"], submitted_at)
    except (KeyError, TypeError, ValueError):
        return None


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

    @property
    def is_over(self) -> bool:
        """Whether it only waits for its time to live: nobody asks about it."""
        return self.item.state == "finished" and self.owner in ("ended", "unknown")


@dataclass(slots=True)
class ReconcilePass:
    """max_actions: how many objects may be acted upon; dry_run: none is, and the table says what would be done.
    deferrals: resumes flows whose work is lost; without it they are left. orphans: objects that were stopped, their
    owner having ended. seen: objects that were listed."""

    owners: Owners
    now: float
    max_actions: int
    dry_run: bool = False
    deferrals: Deferrals | None = None
    rows: list[ReconcileRow] = field(default_factory=list)
    orphans: list[remote_objects.RemoteObject] = field(default_factory=list)
    seen: int = 0
    _suspended: list[str] = field(default_factory=list)
    _is_complete: bool = True

    def run(self, clusters: Sequence[tuple[str, runtimes.RemoteObjects]]) -> list[ReconcileRow]:
        """The table of the pass. A cluster that cannot be listed is a row of its own. Of what is left, at most
        MAX_ROWS_LEFT are in it, and none that has finished and waits for its time to live: a head keeps hundreds of
        those, and Windmill keeps the table of every pass.

        Raises Forbidden, Unavailable or Unreachable when Windmill does not say which jobs are alive."""
        with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
            listed = list(pool.map(lambda cluster: self._list_objects(*cluster), clusters))
            states = self._owner_states([item for items in listed for item in items])
            for (_, cluster), items in zip(clusters, listed, strict=True):
                self._reconcile(cluster, items, states, pool)
            if self.deferrals and self._is_complete and clusters:
                self._resume_lost({item.owner for items in listed for item in items}, self.deferrals)
        # A cluster that could not be listed comes first.
        rows = sorted(self.rows, key=lambda row: (row.action == "leave", bool(row.object), row.place, row.object))
        return rows[: MAX_ROWS_LEFT + sum(row.action != "leave" for row in rows)]

    def report_failure(self, place: str, runtime: str, error: Exception) -> None:
        """A cluster that cannot be listed is a row of its own; nothing in it counts as gone."""
        self._is_complete = False
        self.rows.append(
            ReconcileRow(place, runtime, "", "", "", "leave", "could not be listed", _describe_error(error))
        )

    def _list_objects(self, place: str, cluster: runtimes.RemoteObjects) -> list[remote_objects.RemoteObject]:
        try:
            items = cluster.find()
        except Exception as error:
            self.report_failure(place, "", error)
            return []
        # What another workspace shares the cluster for is not ours to shorten.
        ours = remote_objects.end_surplus([item for item in items if self._is_ours(item)], MAX_KEPT_JOBS)
        return [*ours, *(item for item in items if not self._is_ours(item))]

    def _owner_states(self, items: Sequence[remote_objects.RemoteObject]) -> dict[str, remote_objects.Owner]:
        """By owner job. Those that decide nothing are not looked up; of very many, some at each pass: those that
        Windmill does not know would otherwise stand in the way of the others for ever."""
        queue = self.owners.queued_jobs()
        self._suspended = [job for job, queued in queue.items() if queued.get("suspend")]
        ours = {item.owner for item in items if item.owner and self._is_ours(item)}
        states: dict[str, remote_objects.Owner] = {
            job: "suspended" if queue[job].get("suspend") else "running" for job in ours if job in queue
        }
        gone = ours - states.keys()
        deciding = [
            item.owner for item in items if item.owner in gone and remote_objects.depends_on_owner(item, self.now)
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
        self.seen += len(cases)
        for case in cases:
            if case.decision.action == "leave" and not case.is_over:
                self._add_row(case, "left")
        to_do = [case for case in cases if case.decision.action != "leave"]
        limit = max(0, self.max_actions - sum(row.action != "leave" for row in self.rows))
        for case in to_do[limit:]:
            decision = remote_objects.Decision("leave", f"{case.decision.reason}; left for the next pass")
            self._add_row(_Case(case.item, case.owner, decision), "left")
        outcomes = pool.map(lambda case: self._act(cluster, case), to_do[:limit])
        for case, outcome in zip(to_do[:limit], outcomes, strict=True):
            self._add_row(case, outcome)

    def _resume_lost(self, owners: set[str], deferrals: Deferrals) -> None:
        """Resumes flows that wait for work of which no cluster has an object."""
        without = [flow for flow in self._suspended if flow not in owners]
        for lost in self._find_lost(random.sample(without, min(len(without), MAX_OWNER_LOOKUPS)), deferrals):
            if sum(row.action != "leave" for row in self.rows) >= self.max_actions:
                return
            outcome = "dry run" if self.dry_run else self.owners.resume(lost.flow, {"name": lost.name})
            reason = "no cluster has it any more; its flow waits for it"
            what, owner = f"{lost.kind} {lost.name}", f"{lost.flow} suspended"
            self.rows.append(ReconcileRow("", lost.runtime, what, "lost", owner, "resume", outcome, reason))

    def _find_lost(self, flows: list[str], deferrals: Deferrals) -> Iterator[Deferral]:
        for deferral in deferrals.find_deferrals(flows):
            if self.now - deferral.submitted_at > LOST_WORK_GRACE_S:
                yield deferral

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
        except Exception as error:
            return f"failed: {_describe_error(error)}"
        if case.decision.action == "stop" and case.owner == "ended":
            self.orphans.append(item)
        return outcome

    def _submit(self, cluster: runtimes.RemoteObjects, item: remote_objects.RemoteObject) -> str:
        """Submits work in place of its flow, which is suspended. One that cannot be submitted from here is left to its
        flow: resumed, it tries by itself and says why it cannot."""
        try:
            return cast(runtimes.WaitingWork, cluster).submit(item, self.owners.arguments(item.labels[CALL]))
        except Exception as error:
            if isinstance(error, errors.FlexcoreError) and not isinstance(error, errors.UserError | errors.DataError):
                raise
            outcome = self.owners.resume(item.owner, {"name": item.name})
            return f"{outcome}, since it was refused: {_describe_error(error)}"

    def _add_row(self, case: _Case, outcome: str) -> None:
        item, decision = case.item, case.decision
        name = f"{item.kind} {item.namespace}/{item.name}" if item.namespace else f"{item.kind} {item.name}"
        owner = f"{item.owner} {case.owner}".strip()
        self.rows.append(
            ReconcileRow(item.place, item.runtime, name, item.state, owner, decision.action, outcome, decision.reason)
        )


def _describe_error(error: Exception) -> str:
    """What a row says of an error. One that no code expects, such as of data that another version wrote, costs a row as
    well and never the pass; the log has all of it."""
    if isinstance(error, errors.FlexcoreError):
        return str(error)
    print(redaction.Redactor().text("".join(traceback.format_exception(error))), flush=True)
    return f"{type(error).__name__}: a fault of flexcore, or of what another version wrote; see the log of this pass"


def describe_rows(rows: Sequence[ReconcileRow], seen: int) -> str:
    """The lines of a pass's log: what was acted upon, and how many objects were seen."""
    acted = [row for row in rows if row.action != "leave"]
    lines = [f"{row.place}: {row.action} {row.object}: {row.outcome} ({row.reason})" for row in acted]
    return "\n".join([*lines, f"{seen} objects seen, {len(acted)} acted upon"])


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
