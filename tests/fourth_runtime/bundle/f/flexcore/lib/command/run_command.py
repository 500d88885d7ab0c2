# requirements: flexcore_base
"""RUN: one command on the worker, to its end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import Field

from f.flexcore.lib.command import processes
from f.flexcore.lib.core import attempts, contracts, driver, errors, identity, operation, redaction, resources
from f.flexcore.lib.storage import attempt_records, object_store


class CommandRequest(resources.Form):
    """A program with its arguments."""

    command: list[str] = Field(min_length=1, description="The program and its arguments.")
    timeout_s: int = Field(default=3600, ge=1, description="Seconds after which the command is killed.")


Invocation = operation.Invocation[CommandRequest, resources.Resource]


def check(request: CommandRequest, service: resources.Resource | None, settings: resources.Settings) -> None:
    if shutil.which(request.command[0]) is None:
        raise errors.InvalidInput(
            f"command: there is no program {request.command[0]!r} on this worker",
            subject="command",
            remedy="Install it, or correct its name.",
        )


def plan(invocation: Invocation) -> contracts.StepResult:
    program = shutil.which(invocation.request.command[0])
    return contracts.StepResult(
        success=True, runtime="command", execution_key=invocation.key.value, attempt=1, data={"program": program}
    )


@dataclass(frozen=True, slots=True)
class CommandAdapter:
    request: CommandRequest
    key: identity.ExecutionKey
    records: attempt_records.StoreRecords
    redactor: redaction.Redactor

    def find(self, number: int) -> attempts.Attempt | None:
        command = processes.get_command(self.key.name(number))
        return attempts.Attempt(number, "running", remote_of(command)) if command.state else None

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        command = processes.get_command(self.key.name(number))
        command.start(self.request.command, self.key.labels(number), time.time() + self.request.timeout_s)
        return remote_of(command)

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        command = processes.get_command(remote.name)
        code = command.wait(command.state.get("deadline", 0))
        if code is None and command.is_running():
            command.kill()
            late = f"{remote.name} did not end within {self.request.timeout_s} s"
            return driver.Verdict(error=errors.DeadlineExceeded(late, remedy="Raise timeout_s."))
        if code is None:
            return driver.Verdict(findings={})
        if code:
            failed = errors.ExecutionFailed(f"{remote.name} ended with exit code {code}", log_tail=command.log)
            return driver.Verdict(error=failed)
        return driver.Verdict(
            contracts.StepResult(
                success=True,
                runtime="command",
                execution_key=self.key.value,
                attempt=number,
                data={"exit_code": 0},
                remote=remote,
                log_tail=self.redactor.text(command.log),
            )
        )

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        return result


def remote_of(command: processes.Command) -> contracts.Remote:
    return contracts.Remote(kind="command", name=command.name, uid=command.state.get("uid"))


@contextmanager
def open_command(invocation: Invocation) -> Iterator[CommandAdapter]:
    records = attempt_records.StoreRecords(object_store.Store(invocation.settings), invocation.key)
    yield CommandAdapter(invocation.request, invocation.key, records, redaction.Redactor(invocation.settings.secrets()))


RUN = operation.Operation(
    runtime="command",
    name="run",
    request=CommandRequest,
    service=resources.Resource,
    check=check,
    plan=plan,
    execute=lambda invocation: driver.drive(open_command, invocation),
)
