from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.contracts import EndpointManifest, StepResult
from f.flexcore.lib.core.errors import InvalidInput, ManifestMismatch
from f.flexcore.lib.pipeline.stage_results import (
    build_failure,
    build_success,
    collect_stages,
    compute_digest,
    find_finished,
)
from f.flexcore.pipeline import compose_failure

ENDPOINT = EndpointManifest(uri="http://x", url="http://x", model_name="delay", model_version="1")


def step(runtime: str) -> dict[str, Any]:
    output = ENDPOINT if runtime == "kubernetes" else None
    return StepResult(success=True, runtime=runtime, execution_key="fc-1", attempt=1, output=output).plain()


EXTRACTION, ML, DEPLOYMENT = step("meltano"), step("ray"), step("kubernetes")
PARTIAL: list[dict[str, Any]] = [
    {"stage": "extraction", "reused": False, "result": EXTRACTION},
    {"stage": "ml", "result": ML},
]


def accept(_: StepResult) -> None:
    return None


def refuse(runtime: str) -> Any:
    def verify(result: StepResult) -> None:
        if result.runtime == runtime:
            raise ManifestMismatch("flights.jsonl is missing")

    return verify


def test_stages_that_still_verify_are_not_run_again() -> None:
    finished, notes = find_finished(PARTIAL, accept)
    assert list(finished) == ["extraction", "ml"]
    assert notes == []


def test_a_stage_after_one_that_must_run_again_runs_again_too() -> None:
    finished, notes = find_finished(PARTIAL, refuse("meltano"))
    assert finished == {}
    assert notes == ["extraction runs again: flights.jsonl is missing"]


def test_a_stage_whose_request_has_changed_runs_again_with_all_after_it() -> None:
    told = [PARTIAL[0] | {"request": "a"}, PARTIAL[1] | {"request": "b"}]
    assert list(find_finished(told, accept, {"extraction": "a", "ml": "b"})[0]) == ["extraction", "ml"]
    finished, notes = find_finished(told, accept, {"extraction": "a", "ml": "c"})
    assert list(finished) == ["extraction"]
    assert notes == ["ml runs again: its request has changed"]
    assert list(find_finished(PARTIAL, accept, {"extraction": "a", "ml": "c"})[0]) == ["extraction", "ml"]


def test_a_longer_time_limit_is_not_something_else() -> None:
    assert compute_digest({"taps": ["a"], "timeout_s": 1, "wait": "block"}) == compute_digest(
        {"taps": ["a"], "timeout_s": 9}
    )
    assert compute_digest({"taps": ["a"]}) != compute_digest({"taps": ["b"]})


def test_a_refused_request_gives_back_what_came_with_it() -> None:
    error = {"message": "deployment.target: no", "step_id": "prepare", "extra": {"subject": "deployment.target"}}
    result = compose_failure.main(error, partial_results=PARTIAL)
    assert [item["stage"] for item in result["partial_results"]] == ["extraction", "ml"]
    assert result["failed_stage"] == "deployment"
    assert compose_failure.main(error, partial_results=[{"stage": "x"}])["partial_results"] == []


def test_a_later_stage_alone_is_not_enough() -> None:
    assert find_finished(PARTIAL[1:], accept) == ({}, [])


@pytest.mark.parametrize("garbage", [[{}], [{"stage": "cooking", "result": ML}], ["x"], [None]])
def test_what_is_no_partial_result_is_refused_by_its_place(garbage: list[Any]) -> None:
    with pytest.raises(InvalidInput, match=r"partial_results\.0"):
        find_finished(garbage, accept)


@pytest.mark.parametrize(
    ("results", "stage", "text"),
    [
        ({}, "extraction", "Extraction failed: boom"),
        ({"extraction": EXTRACTION}, "ml", "ML processing failed: boom"),
        ({"extraction": EXTRACTION, "ml": {"error": {"message": "boom"}}}, "ml", "ML processing failed: boom"),
        ({"extraction": EXTRACTION, "ml": ML}, "deployment", "Deployment failed: boom"),
    ],
)
def test_a_failure_names_its_stage_and_keeps_what_was_finished(results: dict[Any, Any], stage: str, text: str) -> None:
    failure = build_failure({"message": "boom", "step_id": "run"}, collect_stages(results, set()))
    assert failure.failed_stage == stage
    assert failure.error == text
    assert not failure.success
    assert [item.result.plain() for item in failure.partial_results] == [
        item for item in results.values() if "error" not in item
    ]


def test_a_failed_run_holds_what_was_finished_once() -> None:
    failure = build_failure(
        {"message": "boom", "step_id": "run"}, collect_stages({"extraction": EXTRACTION}, set())
    ).plain()
    assert failure["stages"] == [] and [item["stage"] for item in failure["partial_results"]] == ["extraction"]
    assert f"runtime:{EXTRACTION['runtime']}" in failure["wm_labels"]


@pytest.mark.parametrize(
    ("done", "labeled"), [({"extraction": EXTRACTION}, False), ({"extraction": EXTRACTION, "ml": ML}, True)]
)
def test_a_deployment_that_failed_counts_for_the_runtime_that_it_was_for(done: dict[Any, Any], labeled: bool) -> None:
    failure = build_failure({"message": "boom"}, collect_stages(done, set()), "kubernetes").plain()
    assert ("runtime:kubernetes" in failure["wm_labels"]) == labeled
    assert len(set(failure["wm_labels"])) == len(failure["wm_labels"])


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("boom", "Extraction failed: boom"),
        ("The tap ended with 1.\nTraceback (most recent call last):", "Extraction failed: The tap ended with 1."),
        ("a " * 200, "Extraction failed: " + "a " * 79 + "a…"),
        ("x" * 300, "Extraction failed: " + "x" * 160 + "…"),
        (f"The column y is not there. Choose one of {'a, ' * 60}", "Extraction failed: The column y is not there."),
    ],
)
def test_the_error_can_be_seen_at_once_and_the_whole_stands_beside(message: str, error: str) -> None:
    failure = build_failure({"message": message, "step_id": "run"}, [])
    assert failure.error == error and len(error) <= 180
    whole = f"Extraction failed: {message}"
    assert failure.detail == (None if error == whole else whole)


def test_a_refused_request_names_the_stage_that_it_was_meant_for() -> None:
    error = {
        "message": "ml.target_column: Field required",
        "step_id": "prepare",
        "extra": {"subject": "ml.target_column"},
    }
    assert build_failure(error, []).error == "ML processing failed: ml.target_column: Field required"
    elsewhere = build_failure({"message": "no", "step_id": "prepare", "extra": {"subject": "settings"}}, [])
    assert (elsewhere.failed_stage, elsewhere.error) == (None, "Request refused: no")


def test_a_success_names_the_endpoint_and_which_stages_were_reused() -> None:
    stages = collect_stages({"extraction": EXTRACTION, "ml": ML, "deployment": DEPLOYMENT}, {"extraction"})
    result = build_success(stages)
    assert result.final_endpoint == "http://x"
    assert [item.reused for item in result.stages] == [True, False, False]
