# requirements: flexcore_kubernetes
"""Delivers the traces of executions that have ended: what their steps could not write themselves, once.

Windmill ─ended since the last pass─→ jobs of this bundle ─→ their roots ─ended too─→ spans ─→ collector
                                                                      └─not yet, or not taken─→ the next pass
`traces/WORKSPACE/delivery.json` in the store keeps how far the last pass came, whose traces are due, and whose were
delivered. A pass that dies between the two writes a trace again; its spans have the same ids, and backends keep one of
each. A trace that cannot be read or is not taken now goes behind the others; one that is refused for good is not sent
again.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import (
    contracts,
    errors,
    otlp,
    redaction,
    remote_objects,
    resources,
    step_trace,
    trace_context,
    trace_spans,
)
from f.flexcore.lib.operations import execution_spans
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client, job_tree

BUNDLE = "f/flexcore/"
# What reads or looks after others is no execution of anybody's data; a pass each minute would bury the traces.
UNTRACED = tuple(BUNDLE + part for part in ("api/", "dashboard/", "operations/reconcile", "operations/check_runtimes"))
PAGE_SIZE = 500
MAX_PAGES = 10
# Each takes a request for each of its jobs.
MAX_TRACES = 50
MAX_LEVELS = 12
# A first pass looks back so far.
FIRST_LOOK_S = 3600.0
# Jobs that ended while the last pass read, or under a clock that is a little behind.
OVERLAP_S = 120.0
# A run that is not over, or a collector that does not take its trace, by then: its trace stays as it is.
MAX_AGE_S = 7 * 24 * 3600.0
# For so long a trace waits for those of its jobs that Windmill cannot answer for; then it goes without them.
PATIENCE_S = 3600.0
MAX_DUE = 1000
# Stopped objects whose spans a collector that is away has not taken.
MAX_ORPHANS = 200
ORPHAN_FIELDS = {"runtime", "kind", "name", "uid", "labels", "created_at", "stopped_at"}
# Reconcile is in no hurry.
EXPORT_TIMEOUT_S = 10.0


@dataclass(slots=True)
class State:
    """until: when the last job that was looked at has ended, by Windmill's clock; due, delivered: root jobs, with when
    each was first seen or was delivered; orphans: stopped objects as plain data, with when they were stopped."""

    until: float
    orphans: list[dict[str, Any]] = field(default_factory=list)
    due: dict[str, float] = field(default_factory=dict)
    delivered: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Delivery:
    """One pass of the traces of one workspace. Raises the errors of Windmill and of the store."""

    windmill: client.Client
    settings: resources.Settings
    store: object_store.Store
    report: Callable[[str], None] = print
    now: float = field(default_factory=time.time)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    orphans: Sequence[remote_objects.RemoteObject] = ()

    def run(self) -> int:
        """The number of traces that were delivered."""
        state = self._read_state()
        self._find_due(state)
        stopped = [asdict(item) | {"stopped_at": self.now} for item in self.orphans]
        state.orphans = [*state.orphans, *stopped][-MAX_ORPHANS:]
        self._deliver_orphans(state)
        count = self._deliver(state)
        state.due = {id: seen for id, seen in state.due.items() if self.now - seen < MAX_AGE_S}
        state.orphans = [item for item in state.orphans if self.now - item["stopped_at"] < MAX_AGE_S]
        content = asdict(state)
        self.store.write_json(self._uri, content)
        return count

    @property
    def _uri(self) -> str:
        return self.store.uri("traces", self.windmill.workspace, "delivery.json")

    def _read_state(self) -> State:
        try:
            # Earlier versions had one for all workspaces; what is not of this one, its Windmill does not know.
            stored = self.store.read_json(self._uri) or self.store.read_json(self.store.uri("traces", "delivery.json"))
            state = State(**stored) if stored else None
            if state:
                state.until = max(float(state.until), self.now - MAX_AGE_S)
                state.due, state.delivered = (
                    {id: float(at) for id, at in times.items()} for times in (state.due, state.delivered)
                )
                state.orphans = [item for item in state.orphans if item.keys() >= ORPHAN_FIELDS]
        except (errors.DataError, AttributeError, KeyError, TypeError, ValueError):
            state = None
        return state or State(self.now - FIRST_LOOK_S)

    def _find_due(self, state: State) -> None:
        """Puts the roots of what has ended since the last pass among those that are due, as far as there is room. How
        far it came is told by the jobs: the clock of this worker is not Windmill's."""
        since = datetime.fromtimestamp(state.until - OVERLAP_S, UTC).isoformat()
        query = {"script_path_start": BUNDLE, "completed_after": since, "job_kinds": "script,flow,singlestepflow"}
        listed = self.windmill.pages("jobs/completed/list", PAGE_SIZE, MAX_PAGES, order_desc="false", **query)
        jobs = sorted(listed, key=_end)
        roots = self._find_roots(job for job in jobs if not str(job.get("script_path")).startswith(UNTRACED))
        # Who may be listed again must be known as delivered for as long.
        listed_roots, oldest = set(roots.values()), self.now - FIRST_LOOK_S - OVERLAP_S
        state.delivered = {id: at for id, at in state.delivered.items() if id in listed_roots or at > oldest}
        for job in jobs:
            root = roots.get(str(job["id"]))
            if root and root not in state.delivered and root not in state.due:
                if len(state.due) >= MAX_DUE:
                    self.report(f"{MAX_DUE} traces are due, the most that are kept; later ones follow as these go")
                    break
                state.due[root] = self.now
            state.until = max(state.until, _end(job))

    def _find_roots(self, jobs: Iterable[client.Job]) -> dict[str, str]:
        """The outermost job of each; where a parent cannot be read, that parent."""
        jobs = list(jobs)
        parents = {str(job["id"]): str(job.get("parent_job") or "") for job in jobs}
        for _ in range(MAX_LEVELS):
            unknown = dict.fromkeys(parent for parent in parents.values() if parent and parent not in parents)
            if not unknown:
                break
            found = self.windmill.jobs(unknown)
            parents |= {id: str(found[id].get("parent_job") or "") if id in found else "" for id in unknown}

        def climb(id: str) -> str:
            while parents.get(id):
                id = parents[id]
            return id

        return {id: climb(id) for id in (str(job["id"]) for job in jobs)}

    def _deliver(self, state: State) -> int:
        """Those that are due and over, as many as one pass may; a collector that takes none now keeps them waiting."""
        count = 0
        for id in self._find_ended(state)[:MAX_TRACES]:
            try:
                problem = self._export(id, must_answer=self.now - state.due[id] < PATIENCE_S)
            except errors.FlexcoreError:
                # Its jobs cannot be read now.
                _postpone(state, id)
                continue
            if problem and not problem.is_final:
                self.report(f"The trace of {id} was not delivered to otlp_endpoint ({problem}); it is tried again")
                # What is wrong may be of this trace alone: the next pass begins with another.
                _postpone(state, id)
                break
            if problem:
                self.report(f"The trace of {id} was refused by otlp_endpoint ({problem}); it is not sent again")
            else:
                count += 1
            state.delivered[id] = self.now
            del state.due[id]
        return count

    def _deliver_orphans(self, state: State) -> None:
        """Objects whose step was killed: nobody else tells how they ended."""
        spans = [span for item in state.orphans for span in self._make_orphan_spans(item)]
        problem = self._send(spans) if spans else None
        if problem:
            then = "are not sent again" if problem.is_final else "are tried again"
            self.report(f"Spans of stopped objects were not delivered to otlp_endpoint ({problem}); they {then}")
        if problem is None or problem.is_final:
            state.orphans = []

    def _make_orphan_spans(self, item: dict[str, Any]) -> Iterator[otlp.Span]:
        labels, began = item["labels"], item["created_at"]
        key, number, root = (str(labels.get(f"flexcore/{name}") or "") for name in ("key", "attempt", "root-job"))
        trace = trace_context.trace_of_job(root)
        if began is None or not key or not number.isdigit():
            return
        if not trace_context.is_kept(trace, self.settings.trace_sample_ratio):
            return
        attempt = trace_spans.Attempt(
            f"{key}-{number}",
            int(number),
            item["runtime"],
            contracts.Remote(kind=item["kind"], name=item["name"], uid=item["uid"]),
            (began, item["stopped_at"]),
            attributes={"flexcore.execution_key": key, "flexcore.outcome": "stopped", "error.type": "orphan"},
            error="Its step was killed, and operations/reconcile has stopped it",
        )
        owner = str(labels.get("flexcore/owner-job") or root)
        yield from trace_spans.make_attempt_spans(attempt, trace, trace_context.span_of_job(owner))

    def _send(self, spans: Sequence[otlp.Span]) -> otlp.Problem | None:
        """Why the collector did not take them; None when it did."""
        resource, headers = step_trace.describe_resource(self.env), self.settings.trace_headers()
        return otlp.export(self.settings.otlp_endpoint, headers, spans, resource, EXPORT_TIMEOUT_S)

    def _find_ended(self, state: State) -> list[str]:
        """Of those that are due, in their order. What Windmill cannot answer for now stays due."""
        jobs, absent = self.windmill.known_jobs(state.due)
        for id in absent:
            # Windmill has forgotten it, or does not show it to this user: nothing more can be said of it.
            del state.due[id]
        for job in [job for job in jobs.values() if job.get("parent_job")]:
            # When it was found, Windmill could not say that there is one above it.
            seen = state.due.pop(str(job["id"]))
            for root in set(self._find_roots([job]).values()) - state.delivered.keys():
                state.due.setdefault(root, seen)
        return [id for id, job in jobs.items() if id in state.due and job.get("type") == "CompletedJob"]

    def _export(self, id: str, must_answer: bool) -> otlp.Problem | None:
        """Why the collector did not take the trace; None when it did, or when nothing of it was left to say. Raises as
        the client does when its jobs, or only some of them where all must be told of, cannot be read."""
        root, _ = job_tree.read_job_tree(self.windmill, id, must_answer=must_answer)
        context = execution_spans.read_context(root, self.settings.trace_sample_ratio)
        if not context.is_sampled:
            return None
        redactor = redaction.Redactor(self.settings.secrets())
        # Windmill's Enterprise edition gives its jobs a TRACEPARENT where it traces by itself.
        has_root = not self.env.get("TRACEPARENT")
        spans = list(execution_spans.ExecutionTrace(root, context, redactor, has_root).spans())
        return self._send(spans) if spans else None


def _end(job: client.Job) -> float:
    return execution_spans.measure_span(job)[1]


def _postpone(state: State, id: str) -> None:
    """Puts it behind the others."""
    state.due[id] = state.due.pop(id)


def deliver_traces(
    windmill: client.Client, settings: resources.Settings, orphans: Sequence[remote_objects.RemoteObject] = ()
) -> None:
    """Delivers what is due and says so; what cannot be done now is said too, and is no failure. orphans: objects that
    this pass of reconcile has stopped."""
    try:
        count = Delivery(windmill, settings, object_store.Store(settings), orphans=orphans).run()
    except errors.FlexcoreError as error:
        print(f"Traces were not delivered: {redaction.Redactor(settings.secrets()).text(str(error))}", flush=True)
        return
    except Exception as error:
        # The pass has done its work; what another version wrote into a job's result must not make it fail.
        text = "".join(traceback.format_exception(error))
        print(f"Traces were not delivered: {redaction.Redactor(settings.secrets()).text(text)}", flush=True)
        return
    if count:
        print(f"{count} traces delivered", flush=True)
