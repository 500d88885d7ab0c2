"""A runtime that only the registry names takes part in the choice like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import contracts, errors, operation, resources, workloads
from f.flexcore.lib.pipeline import choice


class CommandRequest(resources.Form):
    """A command of this machine, with its end in a state file."""

    command: list[str] = Field(min_length=1)


class Machine(resources.Resource):
    folder: str = ""


def check(request: CommandRequest, service: Machine | None, settings: resources.Settings) -> None:
    if service and not Path(service.folder).is_dir():
        raise errors.InvalidInput("machine.folder does not exist", subject="machine.folder", remedy="Create it.")


def plan(invocation: operation.Invocation[CommandRequest, Machine]) -> contracts.StepResult:
    data = {"would_run": invocation.request.command}
    return contracts.StepResult(success=True, runtime="shell", execution_key="k", attempt=1, data=data)


def health(place: str) -> operation.Health:
    return operation.Health("shell", place, "ready")


def derive_hints(request: dict[str, Any]) -> workloads.WorkHints:
    return workloads.WorkHints(complexity="simple", complexity_reason="one command")


RUN = operation.Operation("shell", "run", CommandRequest, Machine, check, plan, lambda _: {}, "machine")
ENTRY = operation.Runtime(
    name="shell",
    summary="commands of the worker",
    worker_tag="shell",
    service=Machine,
    service_field="machine",
    resource_type="c_machine",
    operations={"run": "shell:RUN"},
    pipeline_operations=("run",),
    health="shell:health",
    hints="shell:hints",
)
ADDRESSES = {"shell:RUN": RUN, "shell:health": health, "shell:hints": derive_hints}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = operation.resolve
    monkeypatch.setitem(runtimes.RUNTIMES, "shell", ENTRY)
    monkeypatch.setattr(operation, "resolve", lambda address: ADDRESSES.get(address) or resolve(address))


def choose(machine: dict[str, Any], **form: Any) -> dict[str, Any]:
    section = {"machine": machine, "command": ["true"]}
    return choice.choose_runtime({"shell": section, **form}, lambda path: None)


def test_it_is_measured_chosen_and_planned(tmp_path: Path) -> None:
    chosen = choose({"folder": str(tmp_path)}, explain_only=True)
    assert (chosen["selection"]["runtime"], chosen["order"]) == ("shell", ["shell"])
    assert chosen["health"] == [{"runtime": "shell", "state": "ready", "detail": ""}]
    assert chosen["checks"]["shell"] == {"success": True, "error": None, "data": {"would_run": ["true"]}}
    assert chosen["shell"] == {"command": ["true"]} and chosen["workload"]["complexity"] == "simple"


def test_its_section_is_checked_by_its_own_operation(tmp_path: Path) -> None:
    for machine, subject in (({}, "shell.machine"), ({"folder": "/nowhere"}, "shell.machine.folder")):
        with pytest.raises(errors.InvalidInput) as caught:
            choose(machine or None)  # type: ignore[arg-type]
        assert caught.value.subject == subject
    with pytest.raises(errors.InvalidInput, match=r"shell\.comand is not a known field"):
        choice.choose_runtime({"shell": {"machine": {"folder": str(tmp_path)}, "comand": []}}, lambda path: None)


def test_it_can_be_pinned_beside_the_others(tmp_path: Path) -> None:
    ray = {"cluster": {"address": "http://127.0.0.1:1"}, "program": "result = 1"}
    chosen = choose({"folder": str(tmp_path)}, ray=ray, pin="shell")
    assert chosen["order"] == ["shell"] and chosen["selection"]["mode"] == "pinned"
    assert {"shell", "ray"} <= {item["runtime"] for item in chosen["selection"]["candidates"]}
