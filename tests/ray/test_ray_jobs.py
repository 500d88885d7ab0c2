"""Jobs with a cluster of their own against a KubeRay that can be told to misbehave; the same on a real one in
tests/live/test_ray_jobs.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors, identity, remote_objects, resources
from f.flexcore.lib.ray import (
    copy_job,
    job_archive,
    leased_clusters,
    loop_job,
    program_job,
    ray_job_adapter,
    ray_job_head,
    ray_job_objects,
    ray_job_waiter,
)
from f.flexcore.lib.ray import job as ray_job
from f.flexcore.lib.ray.remote import job_entry
from f.flexcore.lib.storage import attempt_records, object_store
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.fake_ray_jobs import (
    CLUSTERS,
    EVENTS,
    NAMESPACE,
    PODS,
    RAY_JOBS,
    SECRETS,
    WORKLOADS,
    FakeKubeRay,
    Object,
    copy_status,
    make_cluster,
    set_status,
    starts_at_once,
)

SERVICE = {"kubernetes_cluster": "f/x/kubernetes", "namespace": NAMESPACE}


@pytest.fixture
def kuberay(monkeypatch: pytest.MonkeyPatch, same_step: None) -> Iterator[FakeKubeRay]:
    with FakeWindmill() as windmill, FakeKubeRay() as fake:
        access = {"mode": "token", "server": fake.address, "token": "sesame-open-1234"}
        windmill.resources["f/x/kubernetes"] = access
        monkeypatch.setenv("BASE_INTERNAL_URL", windmill.address)
        monkeypatch.setenv("WM_TOKEN", "token")
        monkeypatch.setenv("WM_WORKSPACE", "dev")
        monkeypatch.setenv("WM_JOB_ID", "job-1")
        yield fake


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become hundredths."""
    monkeypatch.setattr(ray_job_waiter, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(ray_job_waiter, "INSPECTION_INTERVAL_S", 0.02)
    monkeypatch.setattr(ray_job_waiter, "QUEUE_INTERVAL_S", 0.02)
    monkeypatch.setattr(ray_job_waiter, "OPERATOR_GRACE_S", 0.4)
    monkeypatch.setattr(ray_job_head, "LOOK_INTERVAL_S", 0.05)
    monkeypatch.setattr(ray_job_head, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(ray_job_head, "ANSWER_INTERVAL_S", 0.05)


def run(own: Object | None = None, **more: Any) -> Object:
    form = {"groups": [], **(own or {})}
    return program_job.RUN_PROGRAM.run({"cluster": SERVICE, "program": "result = 1", "own_cluster": form, **more})


def failure(own: Object | None = None, **more: Any) -> errors.FlexcoreError:
    with pytest.raises(errors.FlexcoreError) as caught:
        run(own, **more)
    return caught.value


def name(number: int = 1) -> str:
    return identity.execution_key(os.environ).name(number)


def remember(made: list[Object]) -> Callable[[FakeKubeRay, Object], None]:
    """The operator, with a note of each RayJob as it was read."""

    def story(fake: FakeKubeRay, ray_job: Object) -> None:
        made.append({**ray_job})
        starts_at_once(fake, ray_job)

    return story


# --- the way of a job


def test_a_rayjob_is_made_submitted_to_and_gone_with_its_record(kuberay: FakeKubeRay) -> None:
    kuberay.dashboard.logs = "hello from the job\n"
    kuberay.dashboard.after_submit = lambda job: kuberay.dashboard.finish(job, {"n": 1})
    result = run()
    assert result["data"]["result"] == {"n": 1}
    assert result["remote"]["kind"] == "kuberay_job"
    assert result["remote"]["name"] == name()
    assert "hello from the job" in Path(result["data"]["log_uri"].removeprefix("file://")).read_text()
    assert kuberay.objects == {}


DATABASE = {"host": "db.example", "dbname": "shop", "user": "ann"}
COPIED: Object = {
    **{"uri": "s3://b/data", "format": "parquet", "rows": 2, "columns": {"id": "integer"}, "types": {"id": "bigint"}},
    "files": [{"path": "part-0.parquet", "bytes": 9, "checksum": f"sha256:{'0' * 64}"}],
    **{"table": "public.orders", "row_hash": "00", "parts": 1, "resumed_parts": 0, "spread": False, "cursor": {}},
    **{"notes": [], "copy_s": 0.5},
}
LOOPED: Object = {"manifest": {"files": [], "uri": ""}, "metrics": {"loss": 0.5}, "result": 1, "recovery": {}}
OTHER_JOBS = [
    (copy_job.COPY_TABLE, {"database": DATABASE, "table": "orders"}, COPIED, {"rows": 2, "copy_s": 0.5}),
    (loop_job.TRAINING_LOOP, {"program": "def train_loop(config, loop): pass"}, LOOPED, {"loss": 0.5}),
]


@pytest.mark.parametrize(("work", "fields", "outcome", "measures"), OTHER_JOBS, ids=["copy_table", "training_loop"])
def test_copies_and_loops_of_the_caller_have_a_cluster_of_their_own(
    kuberay: FakeKubeRay, work: Any, fields: Object, outcome: Object, measures: Object
) -> None:
    kuberay.dashboard.after_submit = lambda job: kuberay.dashboard.finish(job, outcome)
    result = work.run({"cluster": SERVICE, "own_cluster": {"groups": [{"min_workers": 1}]}, **fields})
    assert (result["remote"]["kind"], result["remote"]["name"]) == ("kuberay_job", name())
    assert measures.items() <= result["metrics"].items()
    assert kuberay.objects == {}, "the cluster is gone with its record"


@pytest.mark.parametrize(("work", "fields"), [item[:2] for item in OTHER_JOBS], ids=["copy_table", "training_loop"])
def test_a_cluster_of_its_own_without_kubernetes_is_refused_for_copies_and_loops(work: Any, fields: Object) -> None:
    with pytest.raises(errors.InvalidInput, match="own_cluster needs a Kubernetes cluster") as caught:
        work.run({"cluster": {"address": "http://ray:8265"}, "own_cluster": {"groups": [{}]}, **fields})
    assert caught.value.subject == "cluster.kubernetes_cluster"


def test_the_page_on_a_history_server_is_in_the_result(kuberay: FakeKubeRay) -> None:
    result = run({"history_server": "https://history"})
    assert result["data"]["history_url"] == f"https://history/enter_cluster/{NAMESPACE}/rayjob/{name()}/session_1"


def test_a_repeat_returns_the_record_and_makes_no_cluster(kuberay: FakeKubeRay) -> None:
    run()
    kuberay.requests.clear()
    assert run()["attempt"] == 1
    assert not [item for item in kuberay.requests if item.startswith("POST")]


def test_the_rayjob_has_owner_deadline_and_time_to_live_from_the_beginning(kuberay: FakeKubeRay) -> None:
    made: list[Object] = []
    kuberay.story = remember(made)
    run({"keep_s": 33, "start_timeout_s": 50}, timeout_s=100)
    spec, metadata = made[0]["spec"], made[0]["metadata"]
    assert spec["submissionMode"] == "InteractiveMode"
    assert spec["jobId"] == metadata["name"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert (spec["ttlSecondsAfterFinished"], spec["activeDeadlineSeconds"]) == (33, 270)
    assert spec["preRunningDeadlineSeconds"] == 50
    assert "deletionStrategy" not in spec
    assert metadata["labels"]["flexcore/owner-job"]
    assert int(metadata["annotations"]["flexcore/deadline"]) < int(metadata["annotations"]["flexcore/delete-after"])


def test_what_an_older_kuberay_does_not_know_is_left_out(kuberay: FakeKubeRay) -> None:
    kuberay.unknown_fields = ["preRunningDeadlineSeconds", "authOptions"]
    made: list[Object] = []
    kuberay.story = remember(made)
    assert run()["success"]
    assert "preRunningDeadlineSeconds" not in made[0]["spec"]
    # Without authOptions the pods themselves are told, by a Secret that goes with the RayJob.
    assert f"POST {SECRETS}" in kuberay.requests
    assert not [path for path in kuberay.objects if path.startswith(SECRETS)]


def test_a_failing_program_is_told_in_its_own_words(kuberay: FakeKubeRay) -> None:
    error = {"type": "ExecutionFailed", "message": "ValueError: no such day"}
    kuberay.dashboard.after_submit = lambda job: kuberay.dashboard.finish(job, error=error)
    caught = failure()
    assert "no such day" in str(caught)
    assert caught.category == "program_failed"
    assert kuberay.objects == {}


@pytest.mark.fault(26, "I2")
def test_rays_own_word_counts_where_the_rayjob_still_says_running(kuberay: FakeKubeRay) -> None:
    def never_looks(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Running", rayClusterName=make_cluster(fake, ray_job), jobStatus="RUNNING")
        ray_job["status"]["jobStatus"] = "RUNNING" if fake.dashboard.jobs else ""

    kuberay.story = never_looks
    error = {"type": "ExecutionFailed", "message": "ValueError: gone wrong"}
    kuberay.dashboard.after_submit = lambda job: kuberay.dashboard.finish(job, error=error)
    assert "gone wrong" in str(failure())


def test_a_rayjob_that_calls_a_failed_job_complete_does_not_make_it_one(
    kuberay: FakeKubeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    def lies(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Running", rayClusterName=make_cluster(fake, ray_job))
        if fake.dashboard.jobs:
            set_status(ray_job, "Complete", jobStatus="SUCCEEDED")

    kuberay.story = lies
    error = {"type": "ExecutionFailed", "message": "ValueError: gone wrong"}
    kuberay.dashboard.after_submit = lambda job: kuberay.dashboard.finish(job, error=error)
    assert "gone wrong" in str(failure())
    assert "KubeRay says SUCCEEDED of the job, Ray itself FAILED" in capsys.readouterr().out


# --- ends of a RayJob that Ray does not say


def ends(deployment: str, **more: str) -> Callable[[FakeKubeRay, Object], None]:
    def story(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, deployment, **more)

    return story


@pytest.mark.fault(25, "I2")
@pytest.mark.parametrize(
    ("story", "category", "kind"),
    [
        (ends("ValidationFailed", reason="ValidationFailed", message="x"), "invalid_spec", errors.InvalidInput),
        (ends("Failed", reason="DeadlineExceeded", message="x"), "deadline", errors.DeadlineExceeded),
        (ends("Failed", reason="PreRunningDeadlineExceeded"), "start_timeout", errors.DeadlineExceeded),
        (ends("Failed", reason="SubmissionFailed"), "submission_failed", errors.ExecutionFailed),
        (ends("Failed", reason="JobStatusCheckTimeoutExceeded"), "head_unreachable", errors.ExecutionFailed),
        (ends("Failed", reason="SomethingNew"), "kuberay_failed", errors.ExecutionFailed),
        (ends("Complete", jobStatus="STOPPED"), "stopped", errors.ExecutionFailed),
        (ends("Complete", jobStatus="SUCCEEDED"), "outcome_lost", errors.ExecutionFailed),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_an_end_that_only_the_rayjob_knows_is_told_and_is_no_success(
    kuberay: FakeKubeRay, story: Any, category: str, kind: type[errors.FlexcoreError]
) -> None:
    kuberay.story = story
    error = failure()
    assert (error.category, type(error)) == (category, kind)
    assert error.remedy
    assert kuberay.objects == {}


def test_a_result_that_the_job_left_in_the_store_is_collected_when_its_cluster_has_gone(kuberay: FakeKubeRay) -> None:
    arguments, _ = created(kuberay)
    key = identity.execution_key(os.environ)
    records = attempt_records.StoreRecords(object_store.Store(resources.Settings()), key)
    records.store.write_json(records.uri(1, job_archive.RESULT_NAME), {"result": "kept"})
    # A success alone: what a job that was stopped has left is no result.
    kuberay.story = ends("Complete", jobStatus="SUCCEEDED", rayClusterName="gone")
    assert program_job.RUN_PROGRAM.run(arguments)["data"]["result"] == "kept"
    assert kuberay.objects == {}


def test_a_job_that_gets_at_the_store_keeps_its_result_there(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    storage = {"uri": f"file://{tmp_path}", "folder": f"file://{tmp_path}/1"}
    job = ray_job.Job("train", {job_entry.PROGRAM: "result = {'n': 1}\n"}, {}, storage=storage)
    exec(job_archive.keep_result(job).files[job_entry.PROGRAM], {"storage": storage})
    assert json.loads((tmp_path / "1" / job_archive.RESULT_NAME).read_text()) == {"result": {"n": 1}}
    # A store that cannot be written does not make the job fail.
    exec(job_archive.keep_result(job).files[job_entry.PROGRAM], {"storage": {**storage, "folder": "file:///proc/no"}})
    # A program of the caller's own does not get at the store.
    assert job_archive.keep_result(ray_job.Job("program", {job_entry.PROGRAM: "a"}, {})).files == {
        job_entry.PROGRAM: "a"
    }


def test_a_deadline_of_kuberays_ends_the_watch_while_ray_says_running(kuberay: FakeKubeRay) -> None:
    """kuberay 5184: jobStatus stays RUNNING."""

    def deadline(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Running", rayClusterName=make_cluster(fake, ray_job))
        if fake.dashboard.jobs:
            set_status(ray_job, "Failed", jobStatus="RUNNING", reason="DeadlineExceeded", message="too late")

    kuberay.story = deadline
    kuberay.dashboard.after_submit = lambda job: None
    error = failure()
    assert isinstance(error, errors.DeadlineExceeded)
    assert "too late" in str(error)
    assert kuberay.objects == {}


@pytest.mark.fault(19, "I3")
def test_a_rayjob_that_somebody_deletes_while_it_runs_is_no_success(kuberay: FakeKubeRay) -> None:
    def vanishes(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Running", rayClusterName=make_cluster(fake, ray_job))
        if fake.dashboard.jobs:
            fake.drop(f"{RAY_JOBS}/{ray_job['metadata']['name']}")

    kuberay.story = vanishes
    kuberay.dashboard.after_submit = lambda job: None
    error = failure()
    assert (error.category, type(error)) == ("deleted", errors.ExecutionFailed)


@pytest.mark.fault(23, "I3")
def test_a_head_that_was_restarted_under_a_job_loses_it_and_it_is_not_submitted_again(kuberay: FakeKubeRay) -> None:
    def restarts(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Running", rayClusterName=make_cluster(fake, ray_job))
        if fake.dashboard.jobs:
            ray_job["status"]["jobStatus"] = "RUNNING"
            fake.dashboard.jobs.clear()

    kuberay.story = restarts
    kuberay.dashboard.after_submit = lambda job: None
    error = failure()
    assert error.category == "job_lost"
    submissions = [item for item in kuberay.requests if item.startswith("POST") and item.endswith("/api/jobs/")]
    assert len(submissions) == 1


# --- a start that does not come


def never_starts(fake: FakeKubeRay, ray_job: Object) -> None:
    set_status(ray_job, "Initializing", rayClusterName=make_cluster(fake, ray_job))


def waiting_pod(reason: str, message: str) -> Callable[[FakeKubeRay, Object], None]:
    def story(fake: FakeKubeRay, ray_job: Object) -> None:
        never_starts(fake, ray_job)
        state = {"waiting": {"reason": reason, "message": message}}
        container = {"name": "ray-head", "image": "nowhere/ray:1", "state": state}
        metadata = {
            "name": "head",
            "labels": dict(ray_job["metadata"]["labels"]),
            "ownerReferences": [{"uid": ray_job["metadata"]["uid"]}],
        }
        spec = {"containers": [{"name": "ray-head", "image": "nowhere/ray:1"}]}
        fake.keep(
            PODS,
            {"metadata": metadata, "spec": spec, "status": {"phase": "Pending", "containerStatuses": [container]}},
        )

    return story


@pytest.mark.fault(14, "I4")
def test_an_image_that_does_not_exist_is_told_while_kuberay_says_initializing(kuberay: FakeKubeRay) -> None:
    kuberay.story = waiting_pod("ErrImagePull", "manifest unknown: not found")
    error = failure()
    assert (error.category, error.subject) == ("image_not_found", "own_cluster.image")
    assert kuberay.objects == {}


@pytest.mark.fault(15, "I4")
def test_a_pod_that_fits_nowhere_is_told_when_the_start_is_over(kuberay: FakeKubeRay) -> None:
    def unschedulable(fake: FakeKubeRay, ray_job: Object) -> None:
        waiting_pod("", "")(fake, ray_job)
        pod = fake.objects[f"{PODS}/head"]
        text = "0/1 nodes are available: 1 Insufficient cpu."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
        pod["status"] = {"phase": "Pending", "conditions": [condition]}

    kuberay.story = unschedulable
    clock = Clock()
    error = observe(kuberay, {"start_timeout_s": 600}, clock)
    assert (error.category, type(error)) == ("unschedulable", errors.DeadlineExceeded)
    assert "Insufficient cpu" in str(error)
    assert 600 <= clock.now < 800
    assert kuberay.objects == {}


def test_an_event_of_kuberays_is_told_with_its_remedy(kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def hindered(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Initializing")
        uid = ray_job["metadata"]["uid"]
        event = {
            "metadata": {"name": "e1", "ownerReferences": [{"uid": uid}]},
            "involvedObject": {"uid": uid},
            "reason": "RayClusterNotFound",
            "message": "RayCluster work/x is not found",
        }
        fake.keep(EVENTS, event)

    kuberay.story = hindered
    error = failure()
    assert (error.category, type(error)) == ("cluster_not_found", errors.NotFound)


def test_an_operator_that_takes_no_notice_is_told(kuberay: FakeKubeRay) -> None:
    kuberay.story = lambda fake, ray_job: None
    error = failure()
    assert (error.category, type(error)) == ("operator_absent", errors.Unavailable)
    assert kuberay.objects == {}


def test_a_cluster_without_kuberay_is_told_before_anything_is_made(kuberay: FakeKubeRay) -> None:
    kuberay.served = False
    error = failure()
    assert error.category == "kuberay_absent"
    assert not [item for item in kuberay.requests if item.startswith("POST")]


# --- queues


def workload(ray_job: Object, *conditions: Object, active: bool = True) -> Object:
    uid = ray_job["metadata"]["uid"]
    metadata = {"name": "w", "ownerReferences": [{"uid": uid}], "labels": {"kueue.x-k8s.io/job-uid": uid}}
    return {"metadata": metadata, "spec": {"active": active}, "status": {"conditions": list(conditions)}}


PENDING = {
    "type": "QuotaReserved",
    "status": "False",
    "reason": "Pending",
    "message": "couldn't assign flavors to pod set head: insufficient unused quota for cpu, 300m more needed",
}


@pytest.mark.fault(16, "I2")
def test_a_job_that_waits_long_in_a_queue_is_queued_and_runs_when_it_is_let_in(
    kuberay: FakeKubeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = 0

    def queued(fake: FakeKubeRay, ray_job: Object) -> None:
        nonlocal looks
        looks += 1
        if looks < 20:
            assert ray_job["spec"]["suspend"] is True
            set_status(ray_job, "Suspended")
            fake.keep(WORKLOADS, workload(ray_job, PENDING))
            return
        ray_job["spec"]["suspend"] = False
        starts_at_once(fake, ray_job)

    kuberay.story = queued
    result = run({"queue": "team"})
    assert result["success"]
    assert result["timings"]["queued"] > 0.2
    output = capsys.readouterr().out
    assert output.count("300m more needed") == 1
    assert "Queued in team" in output


def test_a_job_whose_cluster_a_queue_takes_back_is_submitted_again_in_the_same_attempt(
    kuberay: FakeKubeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = 0

    def preempted(fake: FakeKubeRay, ray_job: Object) -> None:
        nonlocal taken
        if taken == 0 and not fake.dashboard.jobs:
            ray_job["spec"]["suspend"] = False
            set_status(ray_job, "Running", rayClusterName=make_cluster(fake, ray_job))
            return
        taken += 1
        if taken == 1:
            # The cluster goes, and the job with it.
            ray_job["spec"]["suspend"] = True
            ray_job["status"] = {"jobDeploymentStatus": "Suspending"}
            fake.drop(next(path for path in fake.objects if path.startswith(CLUSTERS)))
            fake.dashboard.jobs.clear()
            fake.dashboard.after_submit = lambda job: fake.dashboard.finish(job, "after all")
        elif taken < 6:
            ray_job["status"] = {"jobDeploymentStatus": "Suspended"}
            evicted = {"type": "Evicted", "status": "True", "reason": "Preempted"}
            fake.keep(WORKLOADS, workload(ray_job, PENDING, evicted))
        else:
            ray_job["spec"]["suspend"] = False
            set_status(ray_job, "Running", rayClusterName=make_cluster(fake, ray_job, "bbbbb"))
            copy_status(fake, ray_job)

    kuberay.story = preempted
    kuberay.dashboard.after_submit = lambda job: None
    result = run({"queue": "team"})
    assert result["data"]["result"] == "after all"
    assert result["attempt"] == 1
    assert result["data"]["own_cluster"]["evictions"] == 1
    output = capsys.readouterr().out
    assert "was taken back (time 1)" in output
    assert "Preempted by work of a higher priority; queued in team" in output


@pytest.mark.parametrize(
    ("conditions", "category", "kind"),
    [
        (
            [
                {
                    **PENDING,
                    "message": "insufficient quota for cpu in flavor x, previously considered podsets requests (0) + "
                    "current podset request (2) > maximum capacity (1)",
                }
            ],
            "quota_exceeded",
            errors.InvalidInput,
        ),
        (
            [{**PENDING, "reason": "Inadmissible", "message": "LocalQueue team doesn't exist"}],
            "queue_not_found",
            errors.NotFound,
        ),
        (None, "queue_silent", errors.NotFound),
    ],
    ids=["never fits", "no queue", "unknown priority"],
)
def test_what_a_queue_will_never_let_in_is_told_by_name(
    kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch, conditions: Any, category: str, kind: Any
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.kueue_status.WORKLOAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.kueue_status.INADMISSIBLE_GRACE_S", 0.2)

    def story(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Suspended")
        if conditions is not None:
            fake.keep(WORKLOADS, workload(ray_job, *conditions))

    kuberay.story = story
    error = failure({"queue": "team", "priority_class": "urgent"})
    assert (error.category, type(error), error.subject) == (category, kind, "own_cluster.queue")
    assert kuberay.objects == {}


def test_the_time_in_a_queue_is_limited_by_its_own_time_limit(
    kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def story(fake: FakeKubeRay, ray_job: Object) -> None:
        set_status(ray_job, "Suspended")
        fake.keep(WORKLOADS, workload(ray_job, PENDING))

    kuberay.story = story
    clock = Clock()
    error = observe(kuberay, {"queue": "team", "queue_timeout_s": 3600}, clock)
    assert (error.category, type(error)) == ("queue_timeout", errors.DeadlineExceeded)
    assert 3600 <= clock.now < 3700


class Clock:
    """Virtual time: a sleep takes none."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 60.0)

    def __call__(self) -> float:
        return self.now


def observe(kuberay: FakeKubeRay, own: Object, clock: Clock) -> errors.FlexcoreError:
    """The error of an attempt in virtual time."""
    arguments = {"cluster": SERVICE, "program": "result = 1", "own_cluster": {"groups": [], **own}}
    invocation = program_job.RUN_PROGRAM.invoke(arguments)
    with ray_job_adapter.open_adapter(invocation, program_job.prepare) as adapter:
        adapter.clock, adapter.sleep = clock, clock.sleep
        verdict = adapter.observe(1, adapter.create(1, []))
    assert verdict.error is not None
    return verdict.error


# --- a step that dies, an API that fails


def created(kuberay: FakeKubeRay) -> tuple[Object, Object]:
    """(arguments, RayJob) of a step that died right after the creation."""
    arguments = {"cluster": SERVICE, "program": "result = 1", "own_cluster": {"groups": []}}
    invocation = program_job.RUN_PROGRAM.invoke(arguments)
    with ray_job_adapter.open_adapter(invocation, program_job.prepare) as adapter:
        adapter.create(1, [])
    return arguments, kuberay.ray_jobs[0]


@pytest.mark.fault(1, "I1")
def test_a_step_that_died_after_the_creation_is_attached_to(kuberay: FakeKubeRay) -> None:
    arguments, first = created(kuberay)
    result = program_job.RUN_PROGRAM.run(arguments)
    assert (result["attempt"], result["remote"]["uid"]) == (1, first["metadata"]["uid"])
    assert [item for item in kuberay.requests if item == f"POST {RAY_JOBS}"] == [f"POST {RAY_JOBS}"]


@pytest.mark.fault(1, "I1")
def test_a_step_that_died_after_the_submission_does_not_submit_again(kuberay: FakeKubeRay) -> None:
    arguments, first = created(kuberay)
    starts_at_once(kuberay, first)
    kuberay.dashboard.after_submit = lambda job: None
    kuberay.dashboard.answer("POST", "/api/jobs/", {}, b'{"submission_id": "%s"}' % name().encode())
    kuberay.dashboard.finish(name(), "from before")
    assert program_job.RUN_PROGRAM.run(arguments)["data"]["result"] == "from before"
    assert not [item for item in kuberay.requests if item.startswith("POST") and item.endswith("/api/jobs/")]


@pytest.mark.fault(10, "I8")
def test_a_rayjob_of_another_execution_by_this_name_is_never_taken(kuberay: FakeKubeRay) -> None:
    kuberay.story = lambda fake, ray_job: None
    labels = {"flexcore/key": "fc-other", "flexcore/attempt": "1", "app.kubernetes.io/managed-by": "flexcore"}
    kuberay.keep(RAY_JOBS, {"metadata": {"name": name(), "labels": labels}, "spec": {}})
    error = failure()
    assert isinstance(error, errors.Conflict)
    assert len(kuberay.ray_jobs) == 1


@pytest.mark.fault(20, "I1")
def test_a_creation_whose_answer_is_lost_makes_one_rayjob(kuberay: FakeKubeRay) -> None:
    cut = iter(["cut after"])
    kuberay.script = lambda method, path: next(cut, None) if (method, path) == ("POST", RAY_JOBS) else None
    assert run()["success"]
    assert kuberay.objects == {}


@pytest.mark.fault(6, "I1")
def test_an_api_server_that_fails_for_a_moment_is_waited_for(kuberay: FakeKubeRay) -> None:
    fails = iter([(503, {"kind": "Status", "code": 503, "message": "starting"})] * 3)
    kuberay.script = lambda method, path: next(fails, None) if method == "GET" and RAY_JOBS in path else None
    assert run()["success"]


def test_a_head_whose_service_has_no_endpoint_yet_is_waited_for(kuberay: FakeKubeRay) -> None:
    fails = iter([(503, "no endpoints available for service")] * 3)
    kuberay.script = lambda method, path: next(fails, None) if path.endswith("/api/version") else None
    assert run()["success"]


# --- upkeep


def objects() -> ray_job_objects.RayJobObjects:
    return ray_job_objects.RayJobObjects("f/x/ray", resources.RayCluster.model_validate(SERVICE))


def test_reconcile_stops_the_rayjob_of_a_dead_owner_by_its_uid(kuberay: FakeKubeRay) -> None:
    kuberay.story = lambda fake, ray_job: None
    created(kuberay)
    item = objects().find()[0]
    assert (item.kind, item.state) == ("kuberay_job", "running")
    assert remote_objects.decide_cleanup(item, "ended", item.deadline or 0).action == "stop"
    # A namesake that was made meanwhile is left alone.
    kuberay.ray_jobs[0]["metadata"]["uid"] = "another"
    assert objects().stop(item) == "had gone"
    kuberay.ray_jobs[0]["metadata"]["uid"] = item.uid
    assert objects().stop(item) == "deleted"
    assert kuberay.objects == {}


def test_reconcile_sees_rayjobs_by_the_kubernetes_cluster_alone(kuberay: FakeKubeRay) -> None:
    kuberay.story = lambda fake, ray_job: None
    created(kuberay)
    access = {"mode": "token", "server": kuberay.address, "token": "sesame-open-1234", "namespace": "elsewhere"}
    seen = leased_clusters.KubeRayObjects("f/x/kubernetes", access)
    (item,) = seen.find()
    assert (item.kind, item.namespace, item.place) == ("kuberay_job", NAMESPACE, "f/x/kubernetes")
    assert seen.stop(item) == "deleted"
    assert kuberay.objects == {}


def test_a_rayjob_past_its_deadline_is_stopped_though_its_owner_lives(kuberay: FakeKubeRay) -> None:
    created(kuberay)
    item = objects().find()[0]
    assert item.deadline is not None
    assert remote_objects.decide_cleanup(item, "running", item.deadline + 1000).action == "stop"


def test_deferred_work_is_submitted_and_its_flow_resumed_when_the_rayjob_has_ended(kuberay: FakeKubeRay) -> None:
    kuberay.dashboard.after_submit = lambda job: None
    submitted = run(wait="defer")
    assert objects().find()[0].state == "running"
    kuberay.dashboard.finish(name(), "late")
    starts_at_once(kuberay, kuberay.ray_jobs[0])
    item = objects().find()[0]
    assert (item.state, item.is_deferred) == ("finished", True)
    assert remote_objects.decide_cleanup(item, "suspended", 0).action == "resume"
    result = run(deferred=submitted["data"]["deferred"])
    assert result["data"]["result"] == "late"
    assert kuberay.objects == {}


def test_deferred_work_in_a_queue_keeps_no_worker_and_is_submitted_by_whoever_collects(
    kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_job_objects, "SUBMISSION_GRACE_S", 0.0)
    kuberay.story = lambda fake, ray_job: set_status(ray_job, "Suspended")
    submitted = run({"queue": "team"}, wait="defer")
    assert objects().find()[0].state == "running"
    ray_job = kuberay.ray_jobs[0]
    ray_job["spec"]["suspend"] = False
    ray_job["status"]["startTime"] = "2026-01-01T00:00:00Z"
    kuberay.story = starts_at_once
    starts_at_once(kuberay, ray_job)
    assert objects().find()[0].state == "finished"
    assert run({"queue": "team"}, deferred=submitted["data"]["deferred"])["success"]
