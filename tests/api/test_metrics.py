"""Executions as metrics, read back by Prometheus's own parser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from f.flexcore.lib.api.metrics import Snapshot, count_orphans, exposition_text, openmetrics_text, read_snapshot
from f.flexcore.lib.windmill.execution_models import Execution, execution_from_job
from f.flexcore.lib.windmill.result_figures import ResultFigures, read_figures
from tests.operations.fake_windmill import FakeWindmill

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def ran(id: str, seconds: float, **more: Any) -> Execution:
    return execution_from_job(job(id, seconds, **more))


def job(id: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "type": "CompletedJob",
        "script_path": "f/flexcore/data_pipeline",
        "job_kind": "flow",
        "created_at": NOON.isoformat(),
        "started_at": NOON.isoformat(),
        "duration_ms": int(seconds * 1000),
        "success": True,
        "labels": ["runtime:ray"],
        "created_by": "u",
        **more,
    }


def samples(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    """(name, sorted label values) → value."""
    families = text_string_to_metric_families(exposition_text(snapshot))
    return {
        (item.name, *(item.labels[name] for name in sorted(item.labels))): item.value
        for family in families
        for item in family.samples
    }


def test_executions_are_counted_by_runtime_workflow_and_status() -> None:
    ended = [ran("a", 2), ran("b", 70), ran("c", 1, success=False), ran("d", 0, canceled=True, labels=[])]
    live = [
        execution_from_job(
            {
                "id": "e",
                "type": "QueuedJob",
                "script_path": "f/flexcore/ray/execute",
                "running": True,
                "created_at": NOON.isoformat(),
            }
        )
    ]
    told = samples(Snapshot(ended, live))
    assert told["flexcore_executions_total", "ray", "success", "data_pipeline"] == 2
    assert told["flexcore_executions_total", "ray", "failure", "data_pipeline"] == 1
    assert told["flexcore_executions_total", "", "canceled", "data_pipeline"] == 1
    assert told["flexcore_executions_live", "ray", "running", "ray/execute"] == 1


def test_durations_are_a_cumulative_histogram_of_what_ended_by_itself() -> None:
    told = samples(Snapshot([ran("a", 2), ran("b", 70), ran("c", 1e6), ran("d", 3, canceled=True)]))
    name = "flexcore_execution_duration_seconds"
    assert [told[f"{name}_bucket", le, "ray", "data_pipeline"] for le in ("1.0", "5.0", "300.0", "+Inf")] == [
        0,
        1,
        2,
        3,
    ]
    assert told[f"{name}_count", "ray", "data_pipeline"] == 3
    assert told[f"{name}_sum", "ray", "data_pipeline"] == 1_000_072


def test_rows_cost_and_forecast_error_are_told_as_far_as_they_are_known() -> None:
    figures = {
        "a": ResultFigures(10, 0.5, 4, 5),
        "b": ResultFigures(None, None, None, 70),
        "c": ResultFigures(0, None, 0, 1),
    }
    told = samples(Snapshot([ran("a", 2), ran("b", 70), ran("c", 1), ran("d", 1)], figures=figures, unread=1))
    assert told["flexcore_rows_total", "ray", "data_pipeline"] == 10
    assert told["flexcore_cost_usd_total", "ray", "data_pipeline"] == 0.5
    assert told["flexcore_forecast_error_ratio_sum", "ray", "data_pipeline"] == 0.25
    assert told["flexcore_forecast_error_ratio_count", "ray", "data_pipeline"] == 1
    assert told["flexcore_executions_unread",] == 1


def test_a_plan_is_not_counted_and_a_start_that_was_refused_is_canceled() -> None:
    conflict = {"error": {"name": "Conflict", "message": "x", "extra": {"category": "workflow_stopped"}}}
    results = {"a": {"success": True}, "b": conflict, "c": {"error": "x is stopped"}, "d": {"error": {"name": "E"}}}
    labels = {"c": ["workflow_stopped"], "p": ["plan"]}

    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if "/get_result/" in path:
            return 200, results[path.rsplit("/", 1)[-1]]
        if path.endswith("/jobs/completed/list") and "script_path_start" in query:
            return 200, [job(id, 2, success=id in "ap", labels=labels.get(id, [])) for id in "abcdp"]
        return (200, []) if "/list" in path else (404, "")

    with FakeWindmill() as windmill:
        windmill.route = answer
        told = samples(read_snapshot(windmill.client(), NOON))
    counted = {key[2]: count for key, count in told.items() if key[0] == "flexcore_executions_total"}
    assert counted == {"success": 1, "canceled": 2, "failure": 1}
    assert told["flexcore_execution_duration_seconds_count", "", "data_pipeline"] == 2


def test_orphans_are_those_of_the_last_pass_and_absent_without_one() -> None:
    assert not [key for key in samples(Snapshot([])) if "orphans" in key[0] or "reconcile" in key[0]]
    lines = [{"place": 'f/x/"r"', "runtime": "ray", "action": action} for action in ("stop", "leave", "stop", "resume")]
    orphans = count_orphans({"table-row-object": lines})
    told = samples(Snapshot([], orphans=orphans, reconciled_at=7.5))
    assert told["flexcore_orphans", 'f/x/"r"', "ray"] == 2
    assert told["flexcore_reconcile_timestamp_seconds",] == 7.5


STEP = {"output": {"rows": 3}, "metrics": {"rows": 4}}


@pytest.mark.parametrize(
    ("result", "figures"),
    [
        (
            {"actual": {"rows": 5, "cost_usd": 0.1, "duration_s": 9}, "forecast": {"duration_s": {"p50": 8}}},
            ResultFigures(5, 0.1, 8, 9),
        ),
        ({"actual": {"rows": None}, "forecast": {"duration_s": None}}, ResultFigures()),
        (STEP, ResultFigures(3)),
        ({"output": None, "metrics": {"rows": 4}}, ResultFigures(4)),
        ({"stages": [{"stage": "extraction", "result": STEP}, {"stage": "ml", "result": {}}]}, ResultFigures(3)),
        ({"stages": [{"stage": "extraction", "reused": True, "result": STEP}]}, ResultFigures()),
        ({"actual": {"rows": True, "cost_usd": "1"}}, ResultFigures()),
        ({"stages": 7}, ResultFigures()),
        ([1], ResultFigures()),
        (None, ResultFigures()),
    ],
)
def test_figures_come_from_any_form_of_result(result: Any, figures: ResultFigures) -> None:
    assert read_figures(result) == figures


def test_openmetrics_tell_the_trace_of_the_latest_execution_of_a_bucket() -> None:
    traces = {"fast": "a" * 32, "late": "b" * 32}
    snapshot = Snapshot([ran("fast", 3), ran("late", 4), ran("other", 70)], traces=traces)
    parsed = openmetrics_families(openmetrics_text(snapshot))  # type: ignore[no-untyped-call]
    families = {item.name: item for item in parsed}
    buckets = families["flexcore_execution_duration_seconds"].samples
    shown = {item.labels["le"]: item.exemplar for item in buckets if item.exemplar}
    assert {bound: (item.labels, item.value) for bound, item in shown.items()} == {"5.0": ({"trace_id": "b" * 32}, 4)}
    assert "trace_id" not in exposition_text(snapshot), "the older format has no place for it"
