"""Every execution that was started, and how it ended: what is lost, what ended otherwise than it had to."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.soak.flows import Execution
from bench.soak.places import Places

REQUEST_TIMEOUT_S = 30.0
Json = dict[str, Any]


@dataclass(slots=True)
class Ledger:
    places: Places
    live: dict[str, Execution] = field(default_factory=dict)
    ended: list[Execution] = field(default_factory=list)
    # Requests to start one that never arrived.
    refused: int = 0

    def start(self, execution: Execution) -> bool:
        """Whether it was started. An answer that is lost says nothing: then the server is asked for the id."""
        execution.started_at = time.time()
        path, body = "jobs/run/preview_flow", {"value": execution.start, "args": {}}
        if execution.flow:
            path, body = f"jobs/run/f/{execution.flow}", execution.start
        self.live[execution.id] = execution
        try:
            self._call("POST", f"{path}?job_id={execution.id}", body)
        except (httpx.HTTPError, OSError):
            if not self._is_known(execution):
                del self.live[execution.id]
                self.refused += 1
                return False
        return True

    def poll(self) -> list[Execution]:
        """Asks for each that is live; those that have ended since. Cancels what is to be canceled."""
        done = []
        for execution in list(self.live.values()):
            with suppress(httpx.HTTPError, OSError):
                if self._take_down(execution):
                    execution.ended_at = time.time()
                    del self.live[execution.id]
                    done.append(execution)
                elif _is_due(execution):
                    self._call("POST", f"jobs_u/queue/cancel/{execution.id}", {"reason": "the soak cancels it"})
                    execution.canceled = True
        self.ended += done
        return done

    def _take_down(self, execution: Execution) -> bool:
        """Whether it has ended. One that the server does not know any more was dropped before it was looked at, or
        lost: that is an end, too, and a wrong one."""
        try:
            answer = self._call("GET", f"jobs_u/completed/get_result_maybe/{execution.id}?get_started=false")
        except httpx.HTTPStatusError as error:
            execution.forgotten = error.response.status_code == 404
            return execution.forgotten
        if answer["completed"]:
            execution.success, execution.result = answer["success"], answer["result"]
        return bool(answer["completed"])

    def touch(self, fault: str, service: str = "") -> int:
        """Notes the fault at every live execution, or those that use the service; their number."""
        hit = [item for item in self.live.values() if not service or service in item.uses]
        for execution in hit:
            execution.touched.add(fault)
        return len(hit)

    def _is_known(self, execution: Execution) -> bool:
        """Asks until the server says whether it has the job."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self._call("GET", f"jobs_u/get/{execution.id}")
                return True
            except httpx.HTTPStatusError as error:
                if error.response.status_code == 404:
                    return False
            except (httpx.HTTPError, OSError):
                pass
            time.sleep(0.5)
        return True

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return self.places.windmill.call(method, path, body, timeout=REQUEST_TIMEOUT_S)


def _is_due(execution: Execution) -> bool:
    wanted = execution.cancel_after_s
    return wanted is not None and not execution.canceled and time.time() - execution.started_at >= wanted


def judge(execution: Execution) -> str:
    """What is wrong about the end of an execution; "" when nothing is.

    A killed head takes its jobs with it: what it hit may also fail, if it says how. So may the bundle's own flows when
    a step of theirs is killed: they try again what says that it may succeed later, and a killed process says nothing.
    Everything else must end as if no fault had been."""
    if execution.ended_at is None:
        return "has no outcome"
    if execution.forgotten:
        return "was started, and the server does not know it any more"
    found = outcome(execution)
    may_fail = "head killed" in execution.touched or ("step killed" in execution.touched and execution.flow)
    if may_fail and found == "failure" and has_reason(execution.result):
        return ""
    if found == execution.ends:
        return _check_answer(execution)
    # A cancel that comes late finds the work ended.
    if execution.ends == "canceled" and found == "success" and not execution.canceled:
        return ""
    return f"ended in {found} and not in {execution.ends}: {summarize(execution.result)}"


def outcome(execution: Execution) -> str:
    if execution.success:
        return "success"
    error = execution.result.get("error") if isinstance(execution.result, dict) else None
    return "canceled" if isinstance(error, dict) and error.get("name") == "Canceled" else "failure"


def has_reason(result: Any) -> bool:
    """A step's or flow's error is an object; a pipeline that composes its failure says it in a sentence."""
    error = result.get("error") if isinstance(result, dict) else None
    if isinstance(error, dict):
        return bool(error.get("message")) and bool(error.get("name"))
    return isinstance(error, str) and bool(error)


def summarize(result: Any) -> str:
    error = result.get("error") if isinstance(result, dict) else None
    text = f"{error.get('name')}: {error.get('message')}" if isinstance(error, dict) else str(result)
    return " ".join(text.split())[:300]


def _check_answer(execution: Execution) -> str:
    try:
        if not execution.check(execution.result):
            return f"answered what its work did not say: {summarize(execution.result)}"
    except (KeyError, TypeError, IndexError, OSError) as error:
        return f"answered without {error!r}: {summarize(execution.result)}"
    starts = execution.starts()
    if execution.success and starts is not None and starts != 1 and "head killed" not in execution.touched:
        return f"began its work {starts} times"
    return ""
