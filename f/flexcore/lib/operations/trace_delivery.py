# requirements: flexcore_kubernetes
"""Delivers the traces of executions that have ended: what their steps could not write themselves, once.

Windmill ─ended since the last pass─→ jobs of this bundle ─→ their roots ─ended too─→ spans ─→ collector
                                                                      └─not yet, or not taken─→ the next pass
`traces/delivery.json` in the store keeps how far the last pass came, whose traces are due, and whose were delivered. A
pass that dies between the two writes a trace again; its spans have the same ids, and backends keep one of each.
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
MAX_DUE = 1000
# Stopped objects whose spans a collector that is away has not taken.
MAX_ORPHANS = 200
ORPHAN_FIELDS = {"runtime", "kind", "name", "uid", "labels", "created_at", "stopped_at"}
# Reconcile is in no hurry.
EXPORT_TIMEOUT_S = 10.0


@dataclass(slots=True)
class State:
    """until: seconds since the epoch; due, delivered: root jobs, with when each was first seen or was delivered;
    orphans: stopped objects as plain data, with when they were stopped."""

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
        state.delivered = {id: at for id, at in state.delivered.items() if self.now - at < FIRST_LOOK_S + OVERLAP_S}
        content = asdict(state)
        self.store.write_json(self._uri, content)
        return count

    @property
    def _uri(self) -> str:
        return self.store.uri("traces", "delivery.json")

    def _read_state(self) -> State:
        try:
            stored = self.store.read_json(self._uri)
            state = State(**stored) if stored else None
            if state:
                state.until = float(state.until)
                state.due, state.delivered = (
                    {id: float(at) for id, at in times.items()} for times in (state.due, state.delivered)
                )
                state.orphans = [item for item in state.orphans if item.keys() >= ORPHAN_FIELDS]
        except (errors.DataError, AttributeError, KeyError, TypeError, ValueError):
            state = None
        return state or State(self.now - FIRST_LOOK_S)

    def _find_due(self, state: State) -> None:
        """Puts the roots of what has ended since the last pass among those that are due."""
        since = datetime.fromtimestamp(state.until - OVERLAP_S, UTC).isoformat()
        query = {"script_path_start": BUNDLE, "completed_after": since, "job_kinds": "script,flow,singlestepflow"}
        jobs = list(self.windmill.pages("jobs/completed/list", PAGE_SIZE, MAX_PAGES, order_desc="false", **query))
        for root in self._find_roots(job for job in jobs if not str(job.get("script_path")).startswith(UNTRACED)):
            if root not in state.delivered and len(state.due) < MAX_DUE:
                state.due.setdefault(root, self.now)
        if len(jobs) < PAGE_SIZE * MAX_PAGES:
            state.until = self.now
        else:
            state.until = max(state.until, max(execution_spans.measure_span(job)[1] for job in jobs))

    def _find_roots(self, jobs: Iterable[client.Job]) -> dict[str, None]:
        """The outermost job of each, in their order."""
        parents = {str(job["id"]): str(job.get("parent_job") or "") for job in jobs}
        for _ in range(MAX_LEVELS):
            unknown = dict.fromkeys(parent for parent in parents.values() if parent and parent not in parents)
            if not unknown:
                break
            found = self.windmill.jobs(unknown)
            parents |= {id: str(found[id].get("parent_job") or "") if id in found else "" for id in unknown}
        roots: dict[str, None] = {}
        for id in parents:
            while parents.get(id):
                id = parents[id]
            roots[id] = None
        return roots

    def _deliver(self, state: State) -> int:
        """Those that are due and over, as many as one pass may; a collector that is away keeps the others waiting."""
        ended = self._find_ended(state)
        count = 0
        for id in list(ended)[:MAX_TRACES]:
            problem = self._export(id)
            if problem is None:
                continue
            if problem:
                self.report(
                    f"The trace of {id} was not delivered to otlp_endpoint ({problem}); the next pass tries again"
                )
                if not problem.startswith("HTTP 4"):
                    break
                continue
            count += 1
            state.delivered[id] = self.now
            del state.due[id]
        return count

    def _deliver_orphans(self, state: State) -> None:
        """Objects whose step was killed: nobody else tells how they ended."""
        spans = [span for item in state.orphans for span in self._make_orphan_spans(item)]
        if not spans or not self._send(spans):
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

    def _send(self, spans: Sequence[otlp.Span]) -> str:
        """Why the collector did not take them; "" when it did."""
        resource, headers = step_trace.describe_resource(self.env), self.settings.trace_headers()
        return otlp.export(self.settings.otlp_endpoint, headers, spans, resource, EXPORT_TIMEOUT_S)

    def _find_ended(self, state: State) -> dict[str, client.Job]:
        jobs = self.windmill.jobs(state.due)
        for id in set(state.due) - jobs.keys():
            # Windmill has forgotten it, or does not show it to this user: nothing more can be said of it.
            del state.due[id]
        return {id: job for id, job in jobs.items() if job.get("type") == "CompletedJob"}

    def _export(self, id: str) -> str | None:
        """Why the collector did not take the trace; "" when it did, or when nothing of it was left to say; None when
        its jobs could not be read."""
        try:
            root, _ = job_tree.read_job_tree(self.windmill, id)
        except errors.FlexcoreError:
            return None
        context = execution_spans.read_context(root, self.settings.trace_sample_ratio)
        if not context.is_sampled:
            return ""
        redactor = redaction.Redactor(self.settings.secrets())
        # Windmill's Enterprise edition gives its jobs a TRACEPARENT where it traces by itself.
        has_root = not self.env.get("TRACEPARENT")
        spans = list(execution_spans.ExecutionTrace(root, context, redactor, has_root).spans())
        return self._send(spans) if spans else ""


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
