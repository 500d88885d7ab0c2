"""Follows a job and all that runs below it, by asking: the same for a server and the embedded engine.

Each `poll` returns what happened since the last one, as the events that `wmlocal.engine.progress` shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flexcore.client.step_log import StepLog
from flexcore.client.windmill import Windmill
from wmlocal.engine.jobs import Event

# Of a long loop the latest iterations are followed: two calls for each of ten thousand would take a minute.
MAX_ITERATIONS = 100
POLL_INTERVAL_S = 0.3
# What a module without a job of its own carries.
NO_JOB = "00000000-0000-0000-0000-000000000000"
FLOW_KINDS = ("flow", "flowpreview", "singlestepflow", "flownode")


@dataclass(slots=True)
class Node:
    """One job of the tree."""

    job: str
    step: str | None
    parent: str | None
    depth: int
    path: str | None = None
    kind: str = ""
    offset: int = 0
    ended: bool = False
    waits: bool = False
    log: StepLog = field(default_factory=StepLog)
    shown: dict[str, Any] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """waiting, running, suspended, success, failure, canceled or skipped."""
        if not self.ended:
            return "suspended" if self.waits else "running" if self.shown.get("started_at") else "waiting"
        if self.shown.get("canceled"):
            return "canceled"
        if self.shown.get("is_skipped"):
            return "skipped"
        return "success" if self.shown.get("success") else "failure"

    @property
    def seconds(self) -> float | None:
        """Run time, up to now while it runs; None when it has not begun."""
        if self.ended:
            return float(self.shown.get("duration_ms") or 0) / 1000
        begun = self.shown.get("started_at")
        return time.time() - datetime.fromisoformat(begun).timestamp() if begun else None


class Watch:
    """logs: whether the jobs' output is asked for as well; verbose: also what the worker says around it."""

    def __init__(self, client: Windmill, job: str, *, logs: bool = False, verbose: bool = False) -> None:
        self._client, self._logs, self._verbose = client, logs, verbose
        self.root = Node(job, None, None, 0)

    def poll(self) -> list[Event]:
        """Raises FlexcoreError when the server does not answer or does not know the job."""
        return list(self._visit(self.root))

    def follow(self, on_event: Callable[[Event], None], sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
        """Polls to the end; returns the job with its result."""
        while True:
            for event in self.poll():
                on_event(event)
            if self.root.ended:
                return self.root.shown
            sleep(POLL_INTERVAL_S)

    def cause(self) -> dict[str, Any]:
        """The job that made the run fail: the first failed one that has no failed job below it, else the run itself."""
        node = self.root
        while failed := [
            item for item in node.children.values() if item.status == "failure" and item.step != "failure"
        ]:
            node = failed[-1]
        return node.shown

    def _visit(self, node: Node) -> Iterator[Event]:
        if node.ended:
            return
        if not node.shown:
            self._look(node)
            yield self._event("started", node)
        update = self._client.update(node.job, node.offset, running=False)
        yield from self._new_logs(node, update)
        modules = _modules(update.get("flow_status"))
        yield from self._below(node, modules)
        waits = any(module.get("type") == "WaitingForEvents" for module in modules) and not update.get("completed")
        if waits and not node.waits:
            yield self._event("suspended", node)
        node.waits = waits
        if update.get("completed"):
            self._look(node)
            node.ended = True
            yield self._event("finished", node)

    def _look(self, node: Node) -> None:
        node.shown = self._client.job(node.job)
        node.path, node.kind = node.shown.get("script_path"), str(node.shown.get("job_kind"))

    def _new_logs(self, node: Node, update: dict[str, Any]) -> Iterator[Event]:
        text = update.get("new_logs") or ""
        node.offset = update.get("log_offset") or node.offset
        if not self._logs or node.kind in FLOW_KINDS:
            return
        if not self._verbose:
            text = node.log.add(text) + (node.log.rest() if update.get("completed") else "")
        if text:
            yield self._event("log", node, text)

    def _below(self, node: Node, modules: list[dict[str, Any]]) -> Iterator[Event]:
        for module in modules:
            for retried in module.get("failed_retries") or ():
                yield from self._child(node, module, retried)
            jobs = (module.get("flow_jobs") or [])[-MAX_ITERATIONS:] or [module.get("job")]
            for job in jobs:
                yield from self._child(node, module, job)

    def _child(self, node: Node, module: dict[str, Any], job: str | None) -> Iterator[Event]:
        if not job or job == NO_JOB:
            return
        if job not in node.children:
            node.children[job] = Node(job, module.get("id"), node.job, node.depth + 1)
        yield from self._visit(node.children[job])

    def _event(self, kind: str, node: Node, message: str = "") -> Event:
        finished = kind == "finished"
        return Event(
            kind=kind,
            job=node.job,
            parent=node.parent,
            root=self.root.job,
            step_id=node.step,
            path=node.path,
            depth=node.depth,
            at=time.time(),
            is_flow=node.kind in FLOW_KINDS,
            success=node.status in ("success", "skipped") if finished else None,
            skipped=node.status == "skipped",
            seconds=node.seconds if finished else None,
            message=message or (error_text(node.shown) if finished and node.status == "failure" else ""),
        )


def _modules(status: Any) -> list[dict[str, Any]]:
    """Every module of a flow that may have a job, in the order in which they run."""
    if not isinstance(status, dict):
        return []
    around = [status.get("preprocessor_module"), *(status.get("modules") or ()), status.get("failure_module")]
    return [module for module in around if isinstance(module, dict) and module.get("type") != "WaitingForPriorSteps"]


def error_text(job: dict[str, Any]) -> str:
    """What a failed job says of itself, in one line."""
    error = find_error(job)
    text = str(error.get("message") or error.get("name") or "")
    return " ".join(text.split())


def find_error(job: dict[str, Any]) -> dict[str, Any]:
    """The error of a failed job: Windmill's own, or the text that a failure module made of it."""
    result = job.get("result")
    error = result.get("error") if isinstance(result, dict) else None
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}
