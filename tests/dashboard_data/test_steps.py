"""What the page shows of a step, from the very errors and results that the runtimes' adapters leave."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.kubernetes import run_job
from f.flexcore.lib.core import contracts, driver, errors, monitoring, redaction, resources
from f.flexcore.lib.dashboard import steps
from f.flexcore.lib.ray import dashboard, job_adapter
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import job_tree
from tests.dashboard import jobs
from tests.kubernetes import manifests
from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.stories import fails
from tests.ray.fake_dashboard import FakeDashboard
from tests.ray.test_job_faults import FIRST, JOB, KEY, work_of

Json = dict[str, Any]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of one step of one flow."""
    names = {"WM_JOB_ID": "job-1", "WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a", "WM_ROOT_JOB_ID": "flow-1"}
    for name, value in {**names, "WM_WORKSPACE": "dev"}.items():
        monkeypatch.setenv(name, value)


def read_one(result: Any, path: str = "f/flexcore/ray/train", **state: Any) -> Json:
    (step,) = jobs.read_steps([jobs.node("a", jobs.job(0, 1200, 1265, result, script_path=path), **state)])
    return step


def times(steps: list[Json]) -> Json:
    """Of each step: kind → seconds after the begin, None for an event without a time."""

    def seconds(event: Json) -> float | None:
        return (datetime.fromisoformat(event["at"]) - jobs.BEGIN).total_seconds() if event["at"] else None

    return {step["id"]: {event["kind"]: seconds(event) for event in step["events"]} for step in steps}


@pytest.mark.usefixtures("worker")
def test_a_failed_kubernetes_job_shows_its_name_uid_attempt_parts_and_notes(cluster: FakeCluster) -> None:
    cluster.api.story = fails(137, "OOMKilled")
    with pytest.raises(errors.FlexcoreError) as caught:
        run_job.main(cluster=cluster.resource, manifest=manifests.job(), timeout_s=20)
    (job,) = cluster.api.all("batch/v1/jobs")
    step = read_one(caught.value, "f/flexcore/kubernetes/run_job")
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    assert step["remote"] == {"kind": "Job", "name": name, "uid": uid, "url": None}
    assert (step["attempt"], step["runtime"], step["diagnosis"]["category"]) == (1, "kubernetes", "out_of_memory")
    assert step["parts"]["running"] == 0.0 and step["parts"]["began_at"] is not None, "of the pod, not of the worker"
    queued, started, *notes, failed = step["events"]
    assert [event["kind"] for event in (queued, started, failed)] == ["queued", "started", "failed"]
    assert {note["kind"] for note in notes} == {"noted"}
    assert notes[0]["message"].startswith(f"metadata.name: load becomes {name}")


def test_a_failed_ray_job_shows_its_name_link_attempt_and_parts(ray_head: FakeDashboard, tmp_path: Path) -> None:
    def end(name: str) -> None:
        ray_head.jobs[name] |= {"start_time": 1_800_000_000_000, "end_time": 1_800_000_070_000, "job_id": "02000000"}
        ray_head.finish(name, error={"type": "ExecutionFailed", "message": "a worker was killed"})
        outcome = json.loads(ray_head.files[f"flexcore-{name}.json"])
        outcome |= {"started_at": 1_800_000_004, "finished_at": 1_800_000_064}
        ray_head.files[f"flexcore-{name}.json"] = json.dumps(outcome)

    ray_head.after_submit = end
    with dashboard.RayApi(resources.RayCluster(address=ray_head.address)) as api:
        store = object_store.Store(resources.Settings(storage_uri=f"file://{tmp_path}"))
        context = job_adapter.Context(api, store, KEY, redaction.Redactor())
        with pytest.raises(errors.ExecutionFailed) as caught:
            driver.Driver(job_adapter.JobAdapter(context, work_of(JOB)), "").run()
    step = read_one(caught.value)
    url = f"{ray_head.address}/#/jobs/02000000"
    assert step["remote"] == {"kind": "ray_job", "name": FIRST, "uid": "02000000", "url": url}
    assert step["attempt"] == 1 and step["diagnosis"]["detail"]
    assert {name: step["parts"][name] for name in steps.MEASURED_PARTS} == {
        "queued": None,
        "starting": 4.0,
        "running": 60.0,
        "finishing": 6.0,
    }
    assert step["parts"]["began_at"] == "2027-01-15T08:00:00Z"


def test_a_flow_that_failed_does_not_repeat_the_parts_of_its_step() -> None:
    error = jobs.ray_error(
        contracts.Diagnosis(category="lost", detail="gone", remedy="run it again"),
        contracts.Remote(kind="ray_job", name="fc-1-2"),
        jobs.timings(1, 0, 1, 2, 3),
    )
    inner = jobs.node("run", jobs.job(1, 2, 9, error, script_path="f/flexcore/ray/run"), type="Failure")
    flow = jobs.job(0, 0, 10, error, job_kind="flow", script_path="f/flexcore/ray/execute")
    outer, step = jobs.read_steps([jobs.node("ray", flow, [inner], type="Failure")])
    assert outer["remote"] is None and outer["parts"]["running"] == 10.0
    assert step["remote"]["name"] == "fc-1-2" and step["parts"]["finishing"] == 3.0


def test_the_last_step_of_a_pipeline_that_repeats_the_runtimes_error_shows_its_own_times_and_no_remote_object() -> None:
    measured, told = jobs.timings(1, 0, 1, 3600, 3), contracts.Remote(kind="ray_job", name="fc-1-2")
    error: Any = jobs.ray_error(contracts.Diagnosis(category="lost", detail="gone", remedy="run again"), told, measured)
    error.details["notes"] = ["a worker was lost"]
    path = "f/flexcore/pipeline/compose_data_result"
    (step,) = jobs.read_steps([jobs.node("result", jobs.job(0, 1, 2, error, script_path=path), type="Failure")])
    assert (step["remote"], step["attempt"], step["runtime"]) == (None, None, None)
    assert (step["parts"]["running"], step["parts"]["began_at"]) == (1.0, None)
    assert "noted" not in [event["kind"] for event in step["events"]]
    assert step["diagnosis"]["detail"] == "gone"


def test_parts_that_were_not_measured_are_those_of_windmills_clock() -> None:
    parts = read_one({"answer": 1})["parts"]
    assert parts == {"queued": 1200.0, "starting": None, "running": 65.0, "finishing": None, "began_at": None}


@pytest.mark.parametrize("began", ["soon", "2026-11-29T11:40:00", 7, None])
def test_parts_whose_begin_is_no_time_have_none(began: Any) -> None:
    told = jobs.step_result("ray") | {"timings": {"running": 5, "began_at": began, "thinking": 3}}
    parts = read_one(told)["parts"]
    assert (parts["running"], parts["began_at"]) == (5.0, None)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("fc-1-1", {"kind": "object", "name": "fc-1-1", "uid": None, "url": None}),
        ({"name": 7, "kind": ["x"], "pod": "p"}, {"kind": "['x']", "name": "7", "uid": None, "url": None}),
        ({"uid": "u"}, None),
        (12, None),
    ],
)
def test_a_remote_object_of_another_version_is_shown_as_text(remote: Any, expected: Any) -> None:
    assert read_one(jobs.step_result("ray") | {"remote": remote})["remote"] == expected


@pytest.mark.parametrize(
    ("diagnosis", "expected"),
    [
        ("it broke", {"category": "", "detail": "it broke", "remedy": ""}),
        ({"category": "oom"}, {"category": "oom", "detail": "No detail was recorded", "remedy": ""}),
        ({"detail": {"exit": 3}, "remedy": None}, {"category": "", "detail": "{'exit': 3}", "remedy": ""}),
        ({"words": "x"}, None),
        ([], None),
    ],
)
def test_a_diagnosis_of_another_version_is_shown_as_text(diagnosis: Any, expected: Any) -> None:
    assert read_one(jobs.step_result("ray") | {"diagnosis": diagnosis})["diagnosis"] == expected


def test_a_retry_has_the_time_of_the_next_attempt_and_the_failure_as_its_cause() -> None:
    away, broken = errors.Unreachable("the head is away"), errors.ExecutionFailed("it broke")
    attempts = [jobs.job(0, 1, 2, away), jobs.job(10, 11, 12, broken), jobs.job(30, 31, 40, {})]
    children = [monitoring.Node(f"[{number}]", job) for number, job in enumerate(attempts)]
    ids = [attempts[0]["id"], attempts[1]["id"]]
    group, *_ = jobs.read_steps([jobs.node("a", children=children, failed_retries=ids)])
    told = [(event["at"][14:19], event["message"], event["cause"]) for event in group["events"]]
    assert told == [
        ("40:10", "Attempt 1 failed and is followed by another", "the head is away"),
        ("40:30", "Attempt 2 failed and is followed by another", "it broke"),
    ]


def test_a_retry_that_has_not_begun_has_no_time_yet() -> None:
    failed = jobs.job(0, 1, 2, errors.Unreachable("the head is away"))
    (step,) = jobs.read_steps([jobs.node("a", failed, type="InProgress", failed_retries=[failed["id"]])], live=True)
    assert times([step])["a"] == {"queued": 0, "started": 1, "retried": None, "failed": 2}


def test_a_resume_has_the_time_of_the_step_that_followed_it() -> None:
    approvers = [{"resume_id": 1, "approver": "ann"}, "bob"]
    submit = jobs.node("submit", jobs.job(0, 1, 5, jobs.step_result("ray")), approvers=approvers)
    loop = jobs.node("collect", children=[monitoring.Node("[0]", jobs.job(3600, 3601, 3605, {}))])
    read = jobs.read_steps([submit, loop])
    assert times(read)["submit"] == {"queued": 0, "started": 1, "succeeded": 5, "resumed": 3600}
    causes = [event["cause"] for event in read[0]["events"] if event["kind"] == "resumed"]
    assert causes == ["resumed by ann", "resumed by bob"]


class Suspended:
    """Windmill with a flow that is suspended before its second step, whose job it names as that of the first."""

    first = jobs.job(0, 1, 5, jobs.step_result("ray", remote=contracts.Remote(kind="ray_job", name="fc-1-1")))

    def __init__(self, **flow: Any) -> None:
        modules = [
            {"id": "submit", "type": "Success", "job": self.first["id"]},
            {"id": "collect", "type": "WaitingForEvents", "job": self.first["id"], "count": 1},
        ]
        self.flow = jobs.job(0, 0, job_kind="flow", flow_status={"modules": modules}) | flow

    def job(self, id: str) -> Json:
        return self.flow

    def jobs(self, ids: list[str]) -> dict[str, Json]:
        return {id: self.first for id in ids}


@pytest.mark.parametrize("live", [True, False])
def test_a_step_before_which_its_flow_is_suspended_has_no_job_and_waits_since_the_one_before_it(live: bool) -> None:
    root, _ = job_tree.read_job_tree(Suspended(suspend=1), "flow")  # type: ignore[arg-type]
    submit, collect = jobs.read_steps(root.children, live=live)
    assert submit["remote"]["name"] == "fc-1-1" and submit["job"] == Suspended.first["id"]
    assert (collect["status"], collect["job"], collect["remote"]) == ("suspended" if live else "skipped", None, None)
    assert times([collect])["collect"] == {"suspended": 5}


def test_the_usage_of_a_step_counts_once_while_the_flow_is_suspended_behind_it() -> None:
    usage = contracts.ResourceUsage(cpu_seconds=7)
    suspended = Suspended(suspend=1)
    suspended.first = suspended.first | {"result": jobs.step_result("ray", resource_usage=usage)}
    root, _ = job_tree.read_job_tree(suspended, "flow")  # type: ignore[arg-type]
    record = monitoring.build_execution(root, monitoring.View("", "dev", jobs.at(60), jobs.RUNTIMES))
    assert [step.status for step in record.steps] == ["success", "suspended"]
    assert record.resource_usage.cpu_seconds == 7


def test_events_are_without_secrets_and_of_a_bounded_length() -> None:
    told = jobs.step_result("ray", data={"notes": ["password=hunter2222", "x" * 9000, 7]})
    messages = [event["message"] for event in read_one(told)["events"] if event["kind"] == "noted"]
    assert messages == ["password=***", "x" * 2000, "7"]


ODD: list[Any] = [7, "text", ["x"], {"name": {"a": 1}}, None, True]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", sorted(set(contracts.StepResult.model_fields) - {"execution_key"}))
def test_no_value_in_a_result_keeps_an_execution_from_being_read(name: str, odd: Any) -> None:
    strange = jobs.node("odd", jobs.job(0, 1, 2, jobs.step_result("ray") | {name: odd}))
    broken = jobs.node("bad", jobs.job(2, 3, 4, errors.ExecutionFailed("it broke")), type="Failure")
    root = jobs.node("", jobs.job(0, 0, 5, errors.ExecutionFailed("it broke"), job_kind="flow"), [strange, broken])
    record = monitoring.build_execution(root, monitoring.View("", "dev", jobs.at(60), jobs.RUNTIMES))
    assert record.error and record.error.step == "bad"
    assert len(jobs.read_steps(root.children)) == 2


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["category", "subject", "remedy", "retryable", "details", "extra"])
def test_no_attribute_of_an_exception_keeps_its_step_from_being_read(name: str, odd: Any) -> None:
    failed = jobs.job(0, 1, 2, errors.ExecutionFailed("it broke"))
    error = failed["result"]["error"]
    (error if name == "extra" else error["extra"])[name] = odd
    failure = monitoring.failure_from_job(failed)
    assert failure and failure.message == "it broke"
    (step,) = jobs.read_steps([jobs.node("bad", failed, type="Failure")])
    assert step["status"] == "failure"


@pytest.mark.parametrize("usage", [{"cpu_seconds": 3, "watts": 9}, {"cpu_seconds": 3, "gpu_seconds": "many"}])
def test_figures_that_this_version_knows_are_read_beside_those_that_it_does_not(usage: Json) -> None:
    root = jobs.node("", jobs.job(0, 1, 2, jobs.step_result("ray") | {"resource_usage": usage}))
    record = monitoring.build_execution(root, monitoring.View("", "dev", jobs.at(60), jobs.RUNTIMES))
    assert record.resource_usage == contracts.ResourceUsage(cpu_seconds=3)


def test_a_failed_step_leads_to_its_remote_object() -> None:
    diagnosis = contracts.Diagnosis(category="lost", detail="gone", remedy="run it again")
    remote = contracts.Remote(kind="ray_job", name="fc-1-2", url="http://ray:8265/#/jobs/2")
    failed = jobs.job(0, 1, 2, jobs.ray_error(diagnosis, remote, contracts.Timings()))
    assert monitoring.View("", "dev", jobs.at(60), jobs.RUNTIMES).links(failed).remote == remote.url


@pytest.mark.parametrize(
    ("labels", "runtime"),
    [
        (["runtime:meltano", "runtime:ray"], None),
        (["runtime:ray", "flexcore", "runtime:ray"], "ray"),
        ([], "meltano"),
    ],
)
def test_an_execution_on_several_runtimes_is_on_none_alone(labels: list[str], runtime: str | None) -> None:
    done = jobs.job(0, 1, 2, jobs.step_result("meltano"), script_path="f/flexcore/meltano/run")
    root = jobs.node(
        "", jobs.job(0, 0, None, job_kind="flow", script_path=jobs.FLOW, labels=labels), [jobs.node("extract", done)]
    )
    record = monitoring.build_execution(root, monitoring.View("", "dev", jobs.at(60), jobs.RUNTIMES))
    assert (record.runtime, record.runtimes) == (runtime, ["meltano"])
