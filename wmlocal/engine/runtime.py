"""What flows and steps run on: the store, the bundle, the worker, and the bookkeeping between them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from wmlocal.engine.bundle import Bundle, Script
from wmlocal.engine.errors import BadBundle, WindmillError
from wmlocal.engine.flow_state import FlowState
from wmlocal.engine.jobs import Child, Ended, Event, Job
from wmlocal.engine.jsonb import as_jsonb
from wmlocal.engine.recovery import RecoveredJobs
from wmlocal.engine.store import Store
from wmlocal.engine.variables import Variables
from wmlocal.engine.worker import Outcome, Surroundings, Task, build_failure, run_task

# Results up to this size are kept in memory while their run lasts; larger ones are read again from the database.
MAX_CACHED_RESULT_BYTES = 1 << 20
# How often a job that waits for a free process looks whether it was canceled.
SLOT_POLL_INTERVAL_S = 0.2

EventSink = Callable[[Event], None]


class Runtime:
    def __init__(
        self,
        engine_id: str,
        store: Store,
        bundle: Bundle,
        variables: Variables,
        around: Surroundings,
        processes: int,
        on_event: EventSink | None,
    ) -> None:
        self.engine_id, self.store, self.bundle, self.variables, self.around = (
            engine_id,
            store,
            bundle,
            variables,
            around,
        )
        self.on_event = on_event
        self.live: dict[str, Job] = {}
        self.recovered = RecoveredJobs(store)
        self._slots = threading.BoundedSemaphore(processes)
        self._results: dict[str, tuple[str, Any]] = {}
        self._signals: dict[str, threading.Event] = {}
        self._to_forget: dict[str, list[tuple[list[str], float]]] = {}
        self._saved: dict[str, float] = {}

    # Jobs

    def add(self, job: Job, definition: Any = None) -> None:
        """Raises Rejected when there is a job of that id."""
        job.args = as_jsonb(job.args)
        if self.recovered.take_up(job, self.engine_id):
            self.live[job.id] = job
            return
        self.store.add_job(
            id=job.id,
            kind=job.kind,
            path=job.path,
            parent=job.parent.id if job.parent else None,
            root=job.root,
            innermost=job.innermost,
            step_id=job.step_id,
            status="queued",
            args=self._mask(job.args),
            created=job.created,
            scheduled=job.scheduled,
            engine=self.engine_id,
            labels=list(job.labels) or None,
            definition=self._mask(definition),
        )
        self.live[job.id] = job

    def start(self, job: Job) -> None:
        if self.recovered.has_ended(job):
            return
        job.started = job.started or time.time()
        self.store.update_job(job.id, status="running", started=job.started)
        self.emit("started", job)

    def finish_identity(self, job: Job) -> Ended:
        if earlier := self._earlier_end(job, identity=True):
            return earlier
        job.started = time.time()
        value = job.args.get("previous_result", {})
        return self._finish_leaf(job, Outcome(True, value, json.dumps(value)), identity=True)

    def fail_unstarted(self, job: Job, error: dict[str, Any]) -> Ended:
        if earlier := self._earlier_end(job):
            return earlier
        return self._finish_leaf(job, build_failure(error))

    def run_leaf(self, job: Job, task: Task) -> Ended:
        if earlier := self._earlier_end(job):
            return earlier
        if not self._take_slot(job):
            return self._finish_leaf(job, build_failure(job.cancel.as_error()))
        try:
            self.start(job)
            outcome = run_task(task, self.around)
        finally:
            self._slots.release()
        if outcome.args is not None:
            self.store.update_job(job.id, args=self._mask(outcome.args))
        return self._finish_leaf(job, outcome)

    def _earlier_end(self, job: Job, identity: bool = False) -> Ended | None:
        """How the job ended before this engine took its run up again: it is not run again."""
        if not self.recovered.has_ended(job):
            return None
        self.live.pop(job.id, None)
        return Ended(job.id, self.recovered.succeeded(job), self.result_of(job.id), identity=identity)

    def _take_slot(self, job: Job) -> bool:
        while not self._slots.acquire(timeout=SLOT_POLL_INTERVAL_S):
            if job.cancel.requested:
                return False
        return True

    def _finish_leaf(self, job: Job, outcome: Outcome, identity: bool = False) -> Ended:
        outcome, labels = _with_marks(outcome)
        status = "success" if outcome.success else "canceled" if job.cancel.requested else "failure"
        self._close(job, status, outcome.value, outcome.text, labels)
        return Ended(job.id, outcome.success, outcome.value, identity=identity)

    def finish_flow(self, job: Job, success: bool, result: Any, skipped: bool, value: dict[str, Any]) -> None:
        text = json.dumps(result)
        labels = _marks(result)[0]
        status = "canceled" if job.cancel.requested else "skipped" if skipped else "success" if success else "failure"
        self.mark_for_deletion(job.root, self.store.descendants(job.id) if _deletes(value) else [], value)
        self._close(job, status, result, text, labels)

    def _close(self, job: Job, status: str, value: Any, text: str, labels: list[str] | None) -> None:
        if self.recovered.has_ended(job):
            self.live.pop(job.id, None)
            return
        if job.cancel.requested and status == "canceled":
            self.store.update_job(job.id, canceled_by=job.cancel.by, canceled_reason=job.cancel.reason)
        self.store.finish_job(job.id, status, self.variables.secrets.mask(text), labels)
        if len(text) <= MAX_CACHED_RESULT_BYTES or self.variables.secrets.mask(text) != text:
            self._results[job.id] = (job.root, as_jsonb(value))
        self.live.pop(job.id, None)
        self._saved.pop(job.id, None)
        since = job.started or job.created
        self.emit(
            "finished",
            job,
            success=status in ("success", "skipped"),
            skipped=status == "skipped",
            seconds=time.time() - since,
            message=_error_text(value) if status == "failure" else "",
        )
        if job.parent is None:
            self._end_of_run(job)

    def mark_for_deletion(self, root: str, jobs: list[str], asked: dict[str, Any]) -> None:
        """`delete_after_use`, or `delete_after_secs` of 0, empties the jobs when the run ends, else that much later."""
        if jobs and _deletes(asked):
            self._to_forget.setdefault(root, []).append((jobs, float(asked.get("delete_after_secs") or 0)))

    def _end_of_run(self, job: Job) -> None:
        for jobs, seconds in self._to_forget.pop(job.root, ()):
            self.store.forget_later(jobs, time.time() + seconds)
        self.store.forget_due()
        self.recovered.forget(job.root)
        for other in [key for key, (root, _) in list(self._results.items()) if root == job.root]:
            self._results.pop(other, None)

    def result_of(self, jobs: str | list[str] | None) -> Any:
        if isinstance(jobs, list):
            return [self.result_of(job) for job in jobs]
        if jobs is None:
            return None
        kept = self._results.get(jobs)
        if kept:
            return kept[1]
        text = self.store.result_text(jobs)
        return as_jsonb(json.loads(text)) if text is not None else None

    # Flows

    def keep_arguments(self, job: Job) -> None:
        self.store.update_job(job.id, args=self._mask(job.args))

    def save_flow(self, job: Job, state: FlowState) -> None:
        self.store.update_job(job.id, flow_status=state.as_json())

    def suspended(self, job: Job, state: FlowState) -> None:
        self.store.update_job(job.id, status="suspended", flow_status=state.as_json())
        self.emit("suspended", job, step_id=state.current.id)

    def resumed(self, job: Job) -> None:
        self.store.update_job(job.id, status="running")

    @contextmanager
    def resume_signal(self, job: Job) -> Iterator[threading.Event]:
        signal = threading.Event()
        self._signals[job.id] = signal
        stop_listening = job.cancel.listen(signal.set)
        try:
            yield signal
        finally:
            stop_listening()
            self._signals.pop(job.id, None)

    def wake(self, flow: str) -> None:
        signal = self._signals.get(flow)
        if signal:
            signal.set()

    def flow_value(self, path: str) -> tuple[str, dict[str, Any]]:
        """A subflow's preprocessor is not run."""
        try:
            flow = self.bundle.flow(path)
        except BadBundle as error:
            raise WindmillError(str(error), "NotFound") from None
        if flow is None:
            raise WindmillError(f"Not found: flow not found at name {path}", "NotFound")
        return path, flow.without_preprocessor

    def script_child(
        self,
        flow: Job,
        module: dict[str, Any],
        args: dict[str, Any],
        error: WindmillError | None,
        entrypoint: str = "main",
    ) -> Child:
        """entrypoint: the function that is run. A module's `apply_preprocessor` has the script's own make the
        arguments."""
        value, preprocess = module["value"], bool(module.get("apply_preprocessor"))
        if value["type"] == "rawscript":
            path = value.get("path") or f"{flow.runnable_path}/{module['id']}"
            content, lock = value["content"], value.get("lock")
            task = partial(Task, source=content, lock=lock, preprocess=preprocess, entrypoint=entrypoint)
            return Child("preview", path, args, error=error, run=lambda job: self.run_leaf(job, task(job)))
        script = self._script(value["path"])
        task = partial(
            Task,
            source=script.content,
            lock=script.lock,
            envs=script.envs,
            runnable_id=script.hash,
            preprocess=preprocess,
            entrypoint=entrypoint,
        )
        return Child(
            "script",
            script.path,
            args,
            timeout=script.timeout,
            error=error,
            run=lambda job: self.run_leaf(job, task(job)),
        )

    def _script(self, path: str) -> Script:
        try:
            script = self.bundle.script(path)
        except BadBundle as error:
            raise WindmillError(str(error), "NotFound") from None
        if script is None:
            raise WindmillError(f"Not found: script not found at name {path}", "NotFound")
        return script

    # Logs and events

    def add_log(self, job: Job, text: str) -> None:
        text = self.variables.secrets.mask(text)
        self.store.add_log(job.id, text)
        self.emit("log", job, message=text)

    def emit(self, kind: str, job: Job, step_id: str | None = None, **about: Any) -> None:
        if self.on_event:
            self.on_event(
                Event(
                    kind,
                    job.id,
                    job.parent.id if job.parent else None,
                    job.root,
                    step_id or job.step_id,
                    job.path,
                    job.depth,
                    time.time(),
                    is_flow=job.kind in ("flow", "flowpreview"),
                    **about,
                )
            )

    def _mask(self, value: Any) -> Any:
        text = json.dumps(value)
        masked = self.variables.secrets.mask(text)
        return value if masked == text else json.loads(masked)

    @staticmethod
    def time_text(at: float) -> str:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _deletes(asked: dict[str, Any]) -> bool:
    return bool(asked.get("delete_after_use")) or asked.get("delete_after_secs") is not None


def _marks(value: Any) -> tuple[list[str] | None, str | None]:
    """`wm_labels` and `wm_failure` of a result; a wrong type of one disables both, as on a server. A list of two is
    read as the two, which a server does too: `[null, "text"]` is a failure."""
    if isinstance(value, list) and len(value) == 2:
        labels, failure = value
    elif isinstance(value, dict):
        labels, failure = value.get("wm_labels"), value.get("wm_failure")
    else:
        return None, None
    good_labels = labels is None or (isinstance(labels, list) and all(isinstance(item, str) for item in labels))
    if not good_labels or not (failure is None or isinstance(failure, str)):
        return None, None
    return labels, failure


def _with_marks(outcome: Outcome) -> tuple[Outcome, list[str] | None]:
    labels, failure = _marks(outcome.value)
    if outcome.success and failure is not None:
        error = {"name": "ManualFailure", "message": failure}
        value = {"error": outcome.value} if isinstance(outcome.value, list) else {**outcome.value, "error": error}
        return Outcome(False, value, json.dumps(value)), labels
    return outcome, labels


def _error_text(value: Any) -> str:
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        return f"{error.get('name', 'Error')}: {error.get('message', '')}"
    return str(error) if error else ""
