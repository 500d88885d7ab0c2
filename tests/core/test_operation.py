"""core/operation: what a step's arguments become, and what a runtime has."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core import errors, operation, resources, result_page, workloads
from f.flexcore.lib.core.contracts import StepResult

IN_FLOW = {"WM_JOB_ID": "job-2", "WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "train", "WM_WORKSPACE": "dev"}
SUBMITTED = {"execution_key": "fc-0123456789abcdef0123", "call": "job-1"}


class Request(resources.Form):
    rows: int = 1
    wait: str = ""


class Place(resources.Resource):
    address: str = "here"


def execute(invocation: operation.Invocation[Request, Place]) -> dict[str, Any]:
    return StepResult(
        success=True,
        runtime=invocation.runtime,
        execution_key=invocation.key.value,
        attempt=1,
        data={"rows": invocation.request.rows},
    ).plain()


def refuse_many(request: Request, service: Place | None, settings: resources.Settings) -> None:
    assert service is not None and settings.storage_uri == "file:///store"
    if request.rows > 9:
        raise errors.InvalidInput(f"rows: too many for {service.address}", subject="rows")


def plan(invocation: operation.Invocation[Request, Place]) -> StepResult:
    raise AssertionError("a step that runs plans nothing")


RUN: operation.Operation[Request, Place] = operation.Operation(
    "toy", "run", Request, Place, refuse_many, plan, execute, service_field="toy_place"
)
TOY = operation.Runtime(
    name="toy",
    summary="toys",
    worker_tag="default",
    operations={"run": f"{__name__}:RUN", "other": f"{__name__}:OTHER"},
    pipeline_operations=("run",),
    health="",
    hints=f"{__name__}:derive_hints",
)
ARGUMENTS: dict[str, Any] = {
    "rows": 3,
    "toy_place": {"address": "there"},
    "settings": {"storage_uri": "file:///store"},
    "deferred": None,
}


def derive_hints(request: dict[str, Any]) -> workloads.WorkHints:
    return workloads.WorkHints(cpu=request["rows"])


def test_arguments_of_a_step_are_its_request_its_resource_and_its_settings() -> None:
    call = RUN.invoke(ARGUMENTS, IN_FLOW)
    assert (call.runtime, call.request, call.service) == ("toy", Request(rows=3), Place(address="there"))
    assert call.settings.storage_uri == "file:///store"
    assert (call.key.owner_job, call.key.step, call.call, call.is_deferred) == ("flow-1", "train", "job-2", False)


@pytest.mark.parametrize(
    ("wait", "deferred", "call", "is_deferred"),
    [("defer", None, "job-2", True), ("defer", SUBMITTED, "job-1", False), ("block", None, "job-2", False)],
)
def test_a_call_that_collects_works_on_for_the_one_that_submitted(
    wait: str, deferred: dict[str, Any] | None, call: str, is_deferred: bool
) -> None:
    found = RUN.invoke(ARGUMENTS | {"wait": wait, "deferred": deferred}, IN_FLOW)
    assert (found.call, found.is_deferred) == (call, is_deferred)
    assert (found.key.value == SUBMITTED["execution_key"]) == bool(deferred)


def test_an_operation_whose_request_knows_no_waiting_is_never_deferred() -> None:
    plain: operation.Operation[Any, Any] = operation.Operation(
        "toy", "run", resources.Form, Place, operation.check_nothing, plan, execute
    )
    assert plain.invoke({}, IN_FLOW).is_deferred is False
    assert plain.invoke({}, IN_FLOW).service == Place()
    assert plain.invoke({}, {}).call == ""


@pytest.mark.parametrize(
    ("wrong", "subject"),
    [
        ({"rows": "many"}, "rows"),
        ({"color": "red"}, "color"),
        ({"toy_place": {"address": []}}, "toy_place.address"),
        ({"settings": {"storage_uri": []}}, "settings.storage_uri"),
        ({"rows": 10}, "rows"),
        ({"wait": "sometimes"}, "wait"),
        ({"deferred": {"execution_key": "x"}}, "deferred.execution_key"),
    ],
)
def test_a_wrong_argument_is_named_by_its_field(wrong: dict[str, Any], subject: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        RUN.invoke(ARGUMENTS | wrong, IN_FLOW)
    assert caught.value.subject == subject and subject in str(caught.value)


def test_fields_of_a_section_are_named_below_it() -> None:
    with pytest.raises(errors.InvalidInput) as request:
        RUN.parse({"rows": "many"}, "toy")
    with pytest.raises(errors.InvalidInput) as service:
        RUN.parse_service({"toy_place": {"address": []}}, "toy")
    assert (request.value.subject, service.value.subject) == ("toy.rows", "toy.toy_place.address")


def test_a_step_returns_its_plain_result_with_a_page_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IN_FLOW.items():
        monkeypatch.setenv(name, value)
    shown = RUN.run(ARGUMENTS)
    assert (shown["runtime"], shown["data"], shown["success"]) == ("toy", {"rows": 3}, True)
    assert shown["execution_key"] == RUN.invoke(ARGUMENTS, IN_FLOW).key.value
    assert result_page.drop_page(shown) == RUN.execute(RUN.invoke(ARGUMENTS, IN_FLOW))
    assert "on toy" in shown[result_page.HTML]


def test_an_operation_is_found_by_its_name_or_is_the_first_of_the_pipeline() -> None:
    assert TOY.operation().name == TOY.operation("run").name == "run"
    with pytest.raises(errors.InvalidInput) as caught:
        TOY.operation("train")
    assert str(caught.value) == "operation: toy has no 'train'. Use one of run, other."
    assert (caught.value.subject, caught.value.remedy) == ("operation", "Use one of run, other.")


def test_what_a_runtime_says_about_work_is_read_from_its_request() -> None:
    assert TOY.derive_hints({"rows": 2}) == workloads.WorkHints(cpu=2)
    bare = operation.Runtime("toy", "toys", "default", {}, (), "")
    assert bare.derive_hints({"rows": 2}) == workloads.WorkHints()
