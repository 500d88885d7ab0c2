# requirements: flexcore_base
"""Runs one operation on its runtime exactly once per attempt: create or attach, observe, record, hand on.

The same for every runtime; an adapter gives it the verbs.

    attempts (records, then the runtime) ──next_action──→ Return │ Raise │ Attach │ Create
                                                                     Attach, Create ──observe──→ verdict ──record──┐
    wait: defer ends after Attach or Create                                        findings: the next attempt ←────┘
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from f.flexcore.lib.core import attempts, contracts, errors, operation, redaction


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended: a result, an error, or findings, with which the next attempt does the work.

    is_deterministic: another attempt would end in the same way; by default the error's kind decides.
    """

    result: contracts.StepResult | None = None
    error: errors.FlexcoreError | None = None
    findings: dict[str, Any] | None = None
    is_deterministic: bool | None = None

    @property
    def would_repeat(self) -> bool:
        if self.is_deterministic is None:
            return self.error is not None and attempts.would_repeat(self.error)
        return self.is_deterministic


class Records(Protocol):
    """Where the ends of attempts are kept, for a runtime that forgets them."""

    def read(self, number: int) -> attempts.Attempt | None: ...
    def write(self, number: int, verdict: Verdict, call: str) -> None: ...


class Adapter(Protocol):
    """One execution on one runtime: knows its key, its request and its client. Every verb raises FlexcoreError.

    records: None when the runtime itself keeps its ended objects for long enough.
    """

    @property
    def records(self) -> Records | None: ...
    @property
    def redactor(self) -> redaction.Redactor: ...

    def find(self, number: int) -> attempts.Attempt | None:
        """The attempt as the runtime knows it, its owner checked; None when there is no trace of it or a later one."""

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        """Starts the attempt; a name that this execution has taken already is a find."""

    def observe(self, number: int, remote: contracts.Remote) -> Verdict:
        """The attempt's end, waited for and reported on. What it raises is no verdict: a repeat attaches again."""

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        """What follows a recorded result. Safe to repeat: it runs for a step that returns an earlier result, too."""


@dataclass(slots=True)
class Driver:
    """call: the Windmill job on whose behalf it works; on_attempt: told of each attempt that it has seen end."""

    adapter: Adapter
    call: str
    # Flushed: a step's output is a pipe, which would keep lines back until it is full.
    report: Callable[[str], None] = field(default=partial(print, flush=True))
    on_attempt: operation.OnAttempt | None = None

    def run(self) -> contracts.StepResult:
        """The result of the first attempt that does the work. Raises its typed error, or that of a service."""
        while True:
            known = self._attempts()
            action = attempts.next_action(known, self.call)
            if isinstance(action, attempts.Return | attempts.Raise):
                return self._settle(action.attempt)
            number, remote = self._take_up(action, known)
            verdict = self._observe(number, remote)
            if verdict.findings is None:
                return self._conclude(verdict)

    def submit(self) -> tuple[int, contracts.Remote]:
        """(attempt, remote object): created or found, and not waited for. Raises the error of an attempt that would
        fail again."""
        known = self._attempts()
        action = attempts.next_action(known, self.call)
        if isinstance(action, attempts.Raise):
            self._settle(action.attempt)
        if isinstance(action, attempts.Return):
            assert action.attempt.remote is not None
            return action.attempt.number, action.attempt.remote
        assert not isinstance(action, attempts.Raise)
        return self._take_up(action, known)

    def _attempts(self) -> list[attempts.Attempt]:
        known: list[attempts.Attempt] = []
        while True:
            number = len(known) + 1
            attempt = (self.adapter.records and self.adapter.records.read(number)) or self.adapter.find(number)
            if attempt is None:
                return known
            known.append(attempt)

    def _take_up(
        self, action: attempts.Create | attempts.Attach, known: Sequence[attempts.Attempt]
    ) -> tuple[int, contracts.Remote]:
        if isinstance(action, attempts.Create):
            return action.number, self.adapter.create(action.number, known)
        assert action.attempt.remote is not None
        self.report(f"Attaching to {describe_remote(action.attempt.remote)}")
        return action.attempt.number, action.attempt.remote

    def _observe(self, number: int, remote: contracts.Remote) -> Verdict:
        began = time.time()
        try:
            verdict = self.adapter.observe(number, remote)
        except errors.FlexcoreError as error:
            add_attempt(error, number, remote)
            raise
        if verdict.error:
            add_attempt(verdict.error, number, remote)
        if self.adapter.records:
            self.adapter.records.write(number, redact_verdict(verdict, self.adapter.redactor), self.call)
        if self.on_attempt:
            self.on_attempt(number, remote, (began, time.time()), verdict.result, verdict.error)
        return verdict

    def _settle(self, attempt: attempts.Attempt) -> contracts.StepResult:
        """The recorded end, or that which the runtime still knows."""
        if attempt.result is None and attempt.error is None:
            assert attempt.remote is not None
            return self._conclude(self._observe(attempt.number, attempt.remote))
        self.report(f"Attempt {attempt.number} has ended already")
        return self._conclude(Verdict(attempt.result, attempt.error))

    def _conclude(self, verdict: Verdict) -> contracts.StepResult:
        if verdict.error:
            raise verdict.error
        assert verdict.result is not None
        return self.adapter.finish(verdict.result)


Open = Callable[[Any], AbstractContextManager[Adapter]]


def drive(open_adapter: Open, invocation: operation.Invocation[Any, Any]) -> dict[str, Any]:
    """The plain result of a step: of its work, or, for wait: defer, of its submission. Raises FlexcoreError."""
    with open_adapter(invocation) as adapter:
        driver = Driver(adapter, invocation.call, on_attempt=invocation.on_attempt)
        try:
            if invocation.is_deferred:
                return operation.report_submission(
                    invocation.runtime, invocation.key, invocation.call, *driver.submit()
                )
            return driver.run().plain()
        except errors.FlexcoreError as error:
            raise redact_error(error, adapter.redactor) from None


def add_attempt(error: errors.FlexcoreError, number: int, remote: contracts.Remote) -> None:
    """Notes in the error which attempt and object it is about, by which people find them; what it says itself stays."""
    error.details.setdefault("attempt", number)
    error.details.setdefault("remote", remote.plain())


def redact_verdict(verdict: Verdict, redactor: redaction.Redactor) -> Verdict:
    if verdict.error:
        redact_error(verdict.error, redactor)
    return verdict


def redact_error(error: errors.FlexcoreError, redactor: redaction.Redactor) -> errors.FlexcoreError:
    """The same error without secrets."""
    error.args = (redactor.text(str(error)),)
    error.remedy = redactor.text(error.remedy)
    error.details = redactor.data(error.details)
    return error


def describe_remote(remote: contracts.Remote) -> str:
    return f"{remote.kind.replace('_', ' ')} {remote.name}"
