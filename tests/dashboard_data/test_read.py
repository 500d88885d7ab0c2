"""read_dashboard, read_executions and read_logs on the local engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard.read import read_dashboard
from f.flexcore.lib.windmill import client
from tests.dashboard_data.conftest import call, run_flow, until
from wmlocal.engine import Engine

Read = Callable[..., dict[str, Any]]
SECRET = "hunter2222"


def rows(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in answer["executions"]["rows"]}


def test_the_first_page_has_rows_with_what_failed_and_figures(engine: Engine, read: Read) -> None:
    good, bad = run_flow(engine, "toy", note="n"), run_flow(engine, "toy_fails", note="n")
    answer = read("executions")
    assert answer["full"] and answer["server"]["engine"] == "embedded" and answer["server"]["user"] == "local"
    found = rows(answer)
    assert found[good.id]["workflow"] == "templates/toy" and found[good.id]["runtime"] == "ray"
    assert found[good.id]["rows"] == 7 and found[good.id]["cost"] is None and found[good.id]["error"] is None
    assert found[bad.id]["status"] == "failure" and found[bad.id]["failed_step"] == "second"
    assert found[bad.id]["error"] == "the table <b>t</b> is missing", "markup is data"
    assert "no_settings" in {note["code"] for note in answer["notices"]}
    assert {"data_pipeline", "templates/toy"} <= set(answer["executions"]["workflows"]), "deployed, run or not"
    assert answer["executions"]["counts"]["failure"] >= 1 and answer["executions"]["older"] is None


def test_with_a_cursor_only_what_changed_comes_and_what_lives(engine: Engine, read: Read) -> None:
    old = run_flow(engine, "toy", note="n")
    first = read("executions")
    assert old.id in rows(first)
    job = engine.start("f/flexcore/templates/toy_sleeps", {})
    until(lambda: engine.store.job_status(job.id)["status"] == "running")  # type: ignore[index]
    second = read("executions", cursor=first["cursor"])
    assert not second["full"] and rows(second)[job.id]["status"] == "running"
    engine.cancel(job.id, "enough")
    engine.wait(job)
    third = read("executions", cursor=second["cursor"])
    assert rows(third)[job.id]["status"] == "canceled"
    assert rows(third)[job.id]["error"].endswith(": enough")
    assert third["executions"]["removed"] == []


def test_a_live_execution_that_is_gone_is_removed_and_a_strange_cursor_begins_anew(engine: Engine, read: Read) -> None:
    job = engine.start("f/flexcore/templates/toy_sleeps", {})
    until(lambda: engine.store.job_status(job.id)["status"] == "running")  # type: ignore[index]
    first = read("executions")
    assert job.id in rows(first)
    engine.cancel(job.id, "x")
    engine.wait(job)
    engine.store._write("DELETE FROM jobs WHERE id = ?", [job.id])
    assert read("executions", cursor=first["cursor"])["executions"]["removed"] == [job.id]
    for cursor in ("zonk", "e30=", first["cursor"][:-9]):
        assert read("executions", cursor=cursor)["full"]
    assert read("executions", cursor=first["cursor"], filter={"status": "failure"})["full"], "another filter"


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"status": "failure"}, {"templates/toy_fails"}),
        ({"workflow": "templates/toy"}, {"templates/toy"}),
        ({"runtime": "ray"}, {"templates/toy"}),
        ({"until": "2001-01-01T00:00:00Z"}, set()),
        ({"since": "2001-01-01T00:00:00Z", "workflow": "templates/toy_fails", "status": ""}, {"templates/toy_fails"}),
    ],
)
def test_a_filter_leaves_what_it_names(engine: Engine, read: Read, filter: dict[str, Any], expected: set[str]) -> None:
    run_flow(engine, "toy", note="n")
    run_flow(engine, "toy_fails", note="n")
    assert {row["workflow"] for row in read("executions", filter=filter)["executions"]["rows"]} == expected


def test_a_runtime_has_its_live_executions_and_those_that_were_canceled_or_failed(engine: Engine, read: Read) -> None:
    chosen = {"filter": {"runtime": "kubernetes"}}
    job = engine.start("f/flexcore/templates/toy_labeled", {})
    until(lambda: engine.store.job_status(job.id)["status"] == "running")  # type: ignore[index]
    first = read("executions", filter={"runtime": "kubernetes", "status": "running"})
    assert rows(first)[job.id]["runtimes"] == ["kubernetes"]
    listed = read("executions", **chosen)
    engine.cancel(job.id, "enough")
    engine.wait(job)
    changed = rows(read("executions", cursor=listed["cursor"], **chosen))[job.id]
    assert (changed["status"], changed["runtime"]) == ("canceled", "kubernetes")
    refused = engine.run("f/flexcore/templates/dbt_transformation", {"project": 1})
    assert refused.result["wm_labels"][0] == "flexcore" and not refused.success
    failed = rows(read("executions", filter={"runtime": "meltano", "status": "failure"}))
    assert failed[refused.id]["runtimes"] == ["meltano"]


def test_a_hybrid_pipeline_that_fails_is_under_every_runtime_that_it_uses(engine: Engine, read: Read) -> None:
    done = engine.run(
        "f/flexcore/hybrid_pipeline", {"extraction": {}, "ml": {}, "deployment": {"target": "kubernetes"}}
    )
    assert not done.success and done.result["failed_stage"] == "extraction"
    for runtime, there in (("meltano", True), ("ray", True), ("kubernetes", False)):
        assert (done.id in rows(read("executions", filter={"runtime": runtime}))) == there, runtime
    shown = read("execution", execution=done.id)["execution"]
    assert (shown["row"]["runtime"], shown["row"]["runtimes"]) == (None, ["meltano", "ray"])
    assert shown["can"]["restart"] == {"allowed": True, "reason": None, "resumes": True, "kept": []}


def test_a_filter_that_is_none_is_refused_with_the_field(engine: Engine) -> None:
    done = call(engine, "read_dashboard", want=["executions"], filter={"statsu": "failure"})
    assert not done.success and "filter.statsu is not a known field" in done.result["error"]["message"]
    done = call(engine, "read_executions", older="x", filter={"until": "9999-12-31T23:59:59-12:00"})
    assert done.result["error"]["name"] == "InvalidInput" and "filter.until" in done.result["error"]["message"]


def test_a_time_of_a_filter_without_a_zone_is_in_utc(engine: Engine, read: Read) -> None:
    chosen = {"since": "2001-01-01", "until": "2999-01-01T00:00"}
    first = read("executions", filter=chosen)
    done = run_flow(engine, "toy", note="n")
    changed = read("executions", filter=chosen, cursor=first["cursor"])
    assert done.id in rows(changed) and not changed["full"]
    older = f"{4 * 10**16:017d}_{done.id}"
    found = call(engine, "read_executions", older=older, filter=chosen)
    assert found.success and done.id in {row["id"] for row in found.result["rows"]}, found.result


def test_one_execution_has_steps_request_error_and_what_can_be_done(engine: Engine, read: Read) -> None:
    good = run_flow(engine, "toy_fails", note="n")
    bad = run_flow(engine, "toy_fails", note=f"Bearer {SECRET}{SECRET}", pin=SECRET)
    shown = read("execution", execution=bad.id)["execution"]
    assert shown["request"]["pin"] == "***" and SECRET not in str(shown), "marked in the form, and by pattern"
    assert shown["last_good"] is None, "the other one failed, too"
    assert good.id != bad.id
    steps = {step["id"]: step for step in shown["steps"]}
    assert [steps[name]["status"] for name in ("first", "second")] == ["success", "failure"]
    kinds = [event["kind"] for event in steps["second"]["events"]]
    assert kinds == ["queued", "started", "failed"] and "missing" in steps["second"]["events"][-1]["cause"]
    error = shown["error"]
    assert (error["step"], error["category"], error["subject"], error["remedy"]) == (
        "second",
        "not_found",
        "t",
        "Create t.",
    )
    assert error["message"] == "the table <b>t</b> is missing" and error["retryable"] is False
    assert shown["can"]["restart"] == {"allowed": True, "reason": None, "resumes": False, "kept": []}
    assert not shown["can"]["cancel"]["allowed"]
    assert "ended already" in shown["can"]["cancel"]["reason"]


def test_a_step_says_its_parts_remote_and_manifest_and_the_last_good_request_is_beside(
    engine: Engine, read: Read
) -> None:
    earlier = run_flow(engine, "toy", note="before")
    done = run_flow(engine, "toy", note="now")
    shown = read("execution", execution=done.id)["execution"]
    (step,) = shown["steps"]
    assert step["summary"] == "Do the work" and step["attempt"] == 2 and step["runtime"] == "ray"
    began = "2026-11-29T11:40:00Z"
    assert step["parts"] == {"queued": 1.5, "starting": None, "running": 2.0, "finishing": 0.5, "began_at": began}
    assert step["remote"]["name"] == "fc-1-2" and step["output"]["rows"] == 7
    assert shown["last_good"] == {"id": earlier.id, "request": {"note": "before"}}
    assert shown["version"] == "0.0.9", "of the flexcore that made it"
    assert not shown["can"]["restart"]["allowed"] and "succeeded" in shown["can"]["restart"]["reason"]


@pytest.mark.usefixtures("as_caller")
def test_a_last_good_request_that_cannot_be_read_is_told_and_the_rest_is_shown(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_flow(engine, "toy", note="before")
    done = run_flow(engine, "toy", note="now")
    windmill = client.Client()
    answer = windmill.get

    def refuse_history(path: str, **query: Any) -> Any:
        if path == "jobs/completed/list":
            raise errors.Unavailable("Windmill answers 503", remedy="Try again.")
        return answer(path, **query)

    monkeypatch.setattr(windmill, "get", refuse_history)
    shown = read_dashboard(["execution"], execution=done.id, windmill=windmill)
    assert shown.execution and shown.execution.last_good is None and shown.execution.request == {"note": "now"}
    assert any(note.message.startswith("The last good run cannot be read: Windmill ans") for note in shown.notices)


@pytest.mark.parametrize("page", ["https://jaeger.example.com/trace/{trace_id}", ""])
def test_an_execution_says_its_trace_where_the_workspace_traces(engine: Engine, read: Read, page: str) -> None:
    done = run_flow(engine, "toy", note="n")
    settings = {"otlp_endpoint": "http://collector:4318", "trace_url": page}
    engine.store.set_resource("f/flexcore/settings", settings, "c_flexcore_settings", "")
    try:
        shown = read("execution", execution=done.id)["execution"]
        settings["trace_sample_ratio"] = 0  # type: ignore[assignment]
        engine.store.set_resource("f/flexcore/settings", settings, "c_flexcore_settings", "")
        dropped = read("execution", execution=done.id)["execution"]
    finally:
        engine.store.delete_resource("f/flexcore/settings")
    trace = done.id.replace("-", "")
    assert shown["trace"] == {"id": trace, "url": page.replace("{trace_id}", trace) or None}
    assert dropped["trace"] is None, "its trace is not kept"
    assert read("execution", execution=done.id)["execution"]["trace"] is None, "nothing is traced"


def test_results_of_another_version_are_shown_as_far_as_they_are_known(engine: Engine, read: Read) -> None:
    done = run_flow(engine, "toy_strange")
    answer = read("execution", execution=done.id)
    (step,) = answer["execution"]["steps"]
    assert step["status"] == "success" and step["runtime"] is None
    assert answer["execution"]["result"]["tomorrow"] == 1
    (note,) = [item for item in answer["notices"] if item["code"] == "other_version"]
    assert "odd (tomorrow)" in note["message"] and note["remedy"]


def test_a_failure_beside_results_of_another_version_is_shown_as_far_as_it_is_known(engine: Engine, read: Read) -> None:
    failed = run_flow(engine, "toy_strange_fails")
    answer = read("execution", execution=failed.id)
    assert not [item for item in answer["notices"] if item["severity"] == "error"]
    odd, bad = answer["execution"]["steps"]
    assert (odd["remote"]["name"], odd["diagnosis"]["category"]) == ("fc-1-1", "oom")
    assert (bad["remote"]["name"], bad["diagnosis"]["category"], bad["status"]) == ("fc-1-2", "3", "failure")
    error = answer["execution"]["error"]
    assert (error["step"], error["message"], error["category"]) == ("bad", "it broke", "7")


@pytest.mark.parametrize("id", ["00000000-0000-4000-8000-000000000000"])
def test_a_run_that_is_forgotten_is_null_with_a_notice_and_the_rest_is_shown(read: Read, id: str) -> None:
    answer = read("execution", "executions", execution=id)
    assert answer["execution"] is None and answer["executions"] is not None
    (note,) = [item for item in answer["notices"] if item["code"] == "forgotten"]
    assert "retention" in note["remedy"]


def test_what_is_no_id_and_a_part_that_is_unknown_are_notices(read: Read) -> None:
    answer = read("execution", "weather", execution="zonk")
    assert answer["execution"] is None
    assert {"unread", "unknown_part"} <= {note["code"] for note in answer["notices"]}


def test_logs_come_in_pages_by_step_without_secrets(engine: Engine) -> None:
    bad = run_flow(engine, "toy_fails", note="n")
    whole = call(engine, "read_logs", execution=bad.id).result
    assert any("=== second" in line for line in whole["lines"]) and not whole["live"]
    assert "password=***" in whole["lines"] and SECRET not in str(whole)
    step = call(engine, "read_logs", execution=bad.id, step="second").result
    assert "password=***" in step["lines"] and step["total"] < whole["total"]
    last = call(engine, "read_logs", execution=bad.id, offset=-2).result
    assert last["offset"] == whole["total"] - 2 and last["next"] is None and last["lines"] == whole["lines"][-2:]
    none = call(engine, "read_logs", execution=bad.id, step="third")
    assert none.result["error"]["name"] == "NotFound"


def test_five_thousand_lines_of_an_error_are_cut_and_say_so(engine: Engine, read: Read, bundle: Any) -> None:
    from f.flexcore.lib.dashboard import detail, listing

    long = "\n".join(f"line {number} of a trace" for number in range(5000))
    job = {"canceled": False, "result": {"error": {"name": "E", "message": long}}}
    line = listing.error_line(job)
    assert line and len(line) == listing.MAX_ERROR_CHARS and line.endswith("…") and "\n" not in line
    cut, was_cut = detail.cut_result({"error": long})
    assert was_cut and len(cut) == detail.MAX_RESULT_CHARS


def test_canceling_and_starting_again_from_the_dashboard(engine: Engine, read: Read) -> None:
    job = engine.start("f/flexcore/templates/toy_sleeps", {})
    until(lambda: engine.store.job_status(job.id)["status"] == "running")  # type: ignore[index]
    assert read("execution", execution=job.id)["execution"]["can"]["cancel"]["allowed"]
    assert not call(engine, "restart_execution", execution=job.id).success, "it still runs"
    assert call(engine, "cancel_execution", execution=job.id, reason="no more").result["execution"] == job.id
    engine.wait(job)
    again = call(engine, "restart_execution", execution=job.id)
    assert again.success, again.result
    new = again.result["execution"]
    assert new != job.id and engine.store.job_status(new)["path"] == "f/flexcore/templates/toy_sleeps"  # type: ignore[index]
    engine.cancel(new, "end of the test")
    assert call(engine, "cancel_execution", execution=job.id).success, "twice is the same as once"
    refused = call(engine, "cancel_execution", execution=run_flow(engine, "toy", note="n").id)
    assert refused.result["error"]["name"] == "Conflict"
