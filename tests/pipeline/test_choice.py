"""From health and settings to what the data pipeline goes by; what counts as never begun; what a run cost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from f.flexcore.lib import runtimes
from f.flexcore.lib.core.contracts import ResourceUsage, StepResult
from f.flexcore.lib.core.errors import NotFound
from f.flexcore.lib.core.operation import Health
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.core.workloads import Price, Workload
from f.flexcore.lib.pipeline import choice
from f.flexcore.lib.pipeline.attempts import could_not_begin, evaluate_attempt, parse_attempts
from f.flexcore.lib.pipeline.candidates import validate_candidates
from f.flexcore.lib.pipeline.choice import (
    build_market,
    explain_selection,
    list_attempts,
    measure_health,
    read_forecasts,
    resolve_namespace,
)
from f.flexcore.lib.pipeline.data_results import build_result, compute_cost_usd, read_choice
from f.flexcore.lib.selection.selector import select

UP, DOWN = Health("ray", "ray", "ready"), Health("ray", "ray", "down", detail="No route to it.")
MELTANO = Health("meltano", "worker", "limited", detail="not installed yet")


def chosen(*found: Health, **more: Any) -> Any:
    workload = Workload(workflow_type="x", runtimes=["meltano", "ray"], data_size=1, complexity="simple", **more)
    selection = select(workload, None, build_market(Settings(), list(found), {}))
    return explain_selection(selection, list(found), workload.pin)


def test_the_next_eligible_candidates_stand_behind_the_chosen_one_unless_it_is_pinned() -> None:
    assert list_attempts(chosen(UP, MELTANO)) == ["meltano", "ray"]
    assert list_attempts(chosen(DOWN, MELTANO)) == ["meltano"]
    assert list_attempts(chosen(UP, MELTANO, pin="ray")) == ["ray"]


def test_a_runtime_that_is_down_says_why_also_when_it_is_pinned() -> None:
    assert "No route to it." in next(item.reason for item in chosen(DOWN).candidates if item.runtime == "ray")
    pinned = chosen(DOWN, pin="ray")
    assert pinned.runtime is None and pinned.reason.endswith("No route to it.")
    nobody = chosen(DOWN, Health("meltano", "worker", "down", detail="No uv."))
    assert nobody.reason.startswith("No suitable runtime available: ")
    assert "No uv." in nobody.reason and "kubernetes" not in nobody.reason


def test_a_service_that_does_not_answer_in_time_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "HEALTH_TIMEOUT_S", 0.1)
    monkeypatch.setattr(runtimes, "check_health", lambda *_: time.sleep(0.5))
    ray = {"cluster": {"address": "http://127.0.0.1:1"}, "program": "result = 1"}
    (found,) = measure_health(validate_candidates({"ray": ray}, Settings()), Settings())
    assert (found.state, found.runtime) == ("down", "ray")
    assert "did not answer" in found.detail


@pytest.mark.parametrize(
    ("form", "settings", "namespace"),
    [
        ({}, {}, ""),
        ({}, {"namespace": "team"}, "team"),
        ({"cluster": {"namespace": "models"}}, {"namespace": "team"}, "models"),
        ({"cluster": {"namespace": "models"}}, {"runtimes": {"kubernetes": {"namespace": "jobs"}}}, "jobs"),
        ({"namespace": "mine"}, {"runtimes": {"kubernetes": {"namespace": "jobs"}}}, "mine"),
    ],
)
def test_the_namespace_is_the_most_particular_that_somebody_named(
    form: dict[str, Any], settings: dict[str, Any], namespace: str
) -> None:
    given = Settings.model_validate(settings)
    (candidate,) = validate_candidates({"kubernetes": {"image": "busybox", **form}}, given).values()
    assert resolve_namespace(candidate, given) == namespace


def test_what_was_never_learned_or_cannot_be_read_is_said() -> None:
    def missing(path: str) -> Any:
        raise NotFound(f"404 {path}")

    assert read_forecasts(missing)[0] is None
    assert "does not exist" in read_forecasts(missing)[1]
    model, note = read_forecasts(lambda _: {"version": "broken"})
    assert model is None and "cannot be used" in note


@pytest.mark.parametrize(
    ("error", "never"),
    [
        ({"name": "Unreachable", "step_id": "check"}, True),
        ({"name": "Unavailable", "step_id": "check"}, True),
        ({"name": "Forbidden", "step_id": "check"}, True),
        ({"name": "NotFound", "step_id": "check"}, False),
        ({"name": "InvalidInput", "step_id": "check"}, False),
        # It may have begun: the contact was lost later.
        ({"name": "Unreachable", "step_id": "program"}, False),
        ({"name": "Unavailable", "step_id": "job", "extra": {"category": "unschedulable"}}, True),
        ({"name": "Unavailable", "step_id": "job", "extra": {"category": "sandbox_failed"}}, True),
        ({"name": "Unreachable", "step_id": "job", "extra": {"category": "admission_unreachable"}}, True),
        (
            {
                "name": "Unavailable",
                "step_id": "job",
                "extra": {"category": "unschedulable", "details": {"deleted": False}},
            },
            False,
        ),
        ({"name": "ExecutionFailed", "step_id": "job", "extra": {"category": "exit_code"}}, False),
        ({"name": "ExecutionFailed", "step_id": "run", "extra": {"category": "install_failed"}}, True),
        ({"message": "execution error: job process terminated due to timeout"}, False),
    ],
)
def test_only_work_that_surely_never_began_is_handed_on(error: dict[str, Any], never: bool) -> None:
    assert could_not_begin(error) is never
    assert evaluate_attempt("ray", {"error": error}, 1.0).final is not never


@pytest.mark.parametrize(
    ("asked", "used", "price", "cost"),
    [
        ({"cpu": 2}, {}, {"cpu_hour": 0.5}, 1.0),
        ({}, {"cpu_seconds": 1800}, {"cpu_hour": 0.5}, 0.25),
        ({"cpu": 1, "memory": 2**31}, {}, {"cpu_hour": 1, "memory_gib_hour": 0.5}, 2.0),
        ({"cpu": 1, "gpu": 1}, {}, {"cpu_hour": 1}, None),
        ({"cpu": 1, "gpu": 0}, {}, {"cpu_hour": 1}, 1.0),
        ({}, {}, {"cpu_hour": 1}, None),
        ({"cpu": 1}, {}, {}, None),
    ],
)
def test_a_run_costs_what_it_reserved_else_what_it_used_and_null_when_a_price_is_missing(
    asked: dict[str, Any], used: dict[str, Any], price: dict[str, Any], cost: float | None
) -> None:
    workload = Workload.model_validate({"workflow_type": "x", "runtimes": ["ray"], "resources": asked})
    result = StepResult(
        success=True, runtime="ray", execution_key="k", attempt=1, resource_usage=ResourceUsage.model_validate(used)
    )
    assert compute_cost_usd(3600, workload, result, Price.model_validate(price)) == cost


def test_the_answer_names_the_namespace_that_is_meant() -> None:
    workload = Workload(workflow_type="x", runtimes=["kubernetes"])
    assert select(workload, None, build_market(Settings(), [], {"kubernetes": "work"})).namespace == "work"
    assert select(workload, None, build_market(Settings(), [], {})).namespace == "flext-production"


def test_the_attempts_of_a_run_are_those_of_the_loop_in_the_order_of_the_choice() -> None:
    done = StepResult(success=True, runtime="meltano", execution_key="k", attempt=1).plain()
    refused = evaluate_attempt("ray", {"error": {"name": "Unreachable", "step_id": "check"}}, 2.0)
    items = [{"final": False, "attempt": refused.plain()}, done]
    first, last = parse_attempts(items, {"order": ["ray", "meltano"]})
    assert (first.runtime, first.started, first.duration_s) == ("ray", False, 2.0)
    assert (last.runtime, last.started, last.success, last.duration_s) == ("meltano", True, True, None)
    assert parse_attempts({"error": {"message": "the loop itself failed"}}, {"order": ["ray"]}) == []
    assert parse_attempts([{"error": {}}, None], {"order": ["ray", "meltano"]}) == []


def test_a_run_that_began_before_an_upgrade_hands_on_pages_and_still_ends() -> None:
    workload = Workload(workflow_type="sales", runtimes=["meltano"]).plain()
    selection = {"runtime": "meltano", "mode": "rules", "reason": "the work is simple"}
    analysis = {"render_all": [{"html": "<table></table>"}, {"workload": workload, "measures": []}]}
    page = {"render_all": [{"html": "<table></table>"}, {"selection": selection, "order": ["meltano"]}]}
    choice = read_choice(page, analysis)
    step = StepResult(success=True, runtime="meltano", execution_key="fc-1", attempt=1)
    attempt = {"runtime": "meltano", "started": True, "success": True, "duration_s": 3.0, "result": step.plain()}
    attempts = parse_attempts([{"final": True, "attempt": attempt}], choice)
    result = build_result(choice, attempts)
    assert (result.success, result.runtime, result.workload and result.workload.workflow_type) == (
        True,
        "meltano",
        "sales",
    )
    plain = {"workload": workload, "selection": selection}
    assert read_choice(plain, None) is plain
