"""A pass over a Ray dashboard, a Kubernetes API and a Windmill, all on real local ports."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from f.flexcore.lib.core.errors import FlexcoreError
from f.flexcore.lib.core.identity import DEFERRED, ON_TRIAL, execution_key
from f.flexcore.lib.core.remote_objects import RemoteObject
from f.flexcore.lib.operations import reconciler
from f.flexcore.lib.operations.reconciler import MAX_OWNER_LOOKUPS, MAX_ROWS_LEFT
from f.flexcore.lib.ray import cluster_spec, service_spec
from f.flexcore.lib.windmill.client import Client
from f.flexcore.operations import reconcile
from tests.kubernetes.fake_cluster import FakeCluster
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.fake_dashboard import FakeDashboard

Lines = list[dict[str, Any]]
Run = Callable[..., Lines]
JOBS = "batch/v1/jobs"


@pytest.fixture
def run(windmill: FakeWindmill, worker: None) -> Run:
    """One pass over both clusters; returns its table."""
    windmill.runs("pass-1", script_path=reconcile.PATH, started_at="2026-01-01T00:00:10Z")

    def call(settings: dict[str, Any] | None = None, **more: Any) -> Lines:
        both = {"ray_clusters": ["f/x/ray"], "kubernetes_clusters": ["$res:f/x/k8s"]}
        return list(reconcile.main(settings or both, **more)["table-row-object"])

    return call


def labels(owner: str, workspace: str = "test", **more: str) -> dict[str, str]:
    key = execution_key({"WM_FLOW_JOB_ID": owner, "WM_FLOW_STEP_ID": "ml", "WM_WORKSPACE": workspace})
    return key.labels(1) | more


def ray_job(dashboard: FakeDashboard, name: str, owner: str, status: str = "RUNNING", **more: str) -> None:
    dashboard.jobs[name] = {
        "submission_id": name,
        "status": status,
        "start_time": 1,
        "metadata": labels(owner, **more),
    }


def kubernetes_job(cluster: FakeCluster, name: str, owner: str, **more: str) -> None:
    container = {"name": "main", "image": "busybox"}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "work", "labels": labels(owner, **more)},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    cluster.do(cluster.api.keep(JOBS, body))


def names(cluster: FakeCluster) -> list[str]:
    return sorted(item["metadata"]["name"] for item in cluster.api.all(JOBS))


def actions(lines: Lines) -> dict[str, str]:
    return {line["object"].rsplit("/", 1)[-1].removeprefix("job "): line["action"] for line in lines}


@pytest.mark.fault(1, "I4", "I8")
@pytest.mark.fault(2, "I4")
def test_what_has_no_living_owner_is_stopped_and_the_rest_left(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard, cluster: FakeCluster
) -> None:
    windmill.runs("alive")
    windmill.runs("waits", suspended=True)
    windmill.completed |= {"ended"}
    for owner in ("alive", "waits", "ended", "unheard-of"):
        ray_job(dashboard, f"r-{owner}", owner)
        kubernetes_job(cluster, f"k-{owner}", owner)
    found = actions(run())
    assert {name for name, action in found.items() if action == "stop"} == {"r-ended", "k-ended"}
    assert {name: job["status"] for name, job in dashboard.jobs.items() if job["status"] != "RUNNING"} == {
        "r-ended": "STOPPED"
    }
    assert names(cluster) == ["k-alive", "k-unheard-of", "k-waits"]
    (deletion,) = cluster.asked("DELETE", "jobs/k-ended")
    assert deletion.data["propagationPolicy"] == "Foreground"
    assert deletion.data["preconditions"]["uid"]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard, cluster: FakeCluster
) -> None:
    windmill.completed |= {"ended"}
    ray_job(dashboard, "r", "ended")
    kubernetes_job(cluster, "k", "ended")
    lines = run(dry_run=True)
    assert actions(lines) == {"r": "stop", "k": "stop"}
    assert {line["outcome"] for line in lines} == {"dry run"}
    assert dashboard.jobs["r"]["status"] == "RUNNING"
    assert names(cluster) == ["k"]


@pytest.mark.fault(10, "I8")
@pytest.mark.fault(21, "I8")
def test_objects_of_others_are_not_even_looked_at(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard, cluster: FakeCluster
) -> None:
    windmill.completed |= {"ended"}
    dashboard.jobs["theirs"] = {"submission_id": "theirs", "status": "RUNNING", "metadata": {"owner": "ended"}}
    dashboard.jobs["bare"] = {"submission_id": None, "status": "RUNNING", "metadata": None}
    ray_job(dashboard, "other-workspace", "ended", workspace="prod")
    lines = run()
    assert actions(lines) == {"other-workspace": "leave"}
    assert "could not be asked about" in lines[0]["reason"]
    assert [job["status"] for job in dashboard.jobs.values()] == ["RUNNING"] * 3


@pytest.mark.parametrize("status", [401, 403, 500, 502])
@pytest.mark.fault(8, "I8")
@pytest.mark.fault(9, "I8")
@pytest.mark.fault(36, "I8")
def test_when_windmill_cannot_be_asked_nothing_is_touched(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard, cluster: FakeCluster, status: int
) -> None:
    ray_job(dashboard, "r", "ended")
    kubernetes_job(cluster, "k", "ended")
    windmill.broken = status
    with pytest.raises(FlexcoreError, match="Windmill"):
        run()
    assert dashboard.jobs["r"]["status"] == "RUNNING"
    assert names(cluster) == ["k"]


@pytest.mark.fault(6, "I8")
def test_a_cluster_that_does_not_answer_is_a_line_and_the_others_are_seen_to(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard, cluster: FakeCluster
) -> None:
    windmill.completed |= {"ended"}
    kubernetes_job(cluster, "k", "ended")
    dashboard.script = lambda method, path: (500, "boom")
    lines = run({"ray_clusters": ["f/x/ray", "f/x/none"], "kubernetes_clusters": ["f/x/k8s"]})
    assert names(cluster) == []
    failed = {line["place"]: line["reason"] for line in lines if line["outcome"] == "could not be listed"}
    assert "HTTP 500" in failed["f/x/ray"]
    assert "resource f/x/none does not exist" in failed["f/x/none"]


class OddCluster:
    """Two objects of owners that have ended, one of a flow that waits; `odd`: a verb that meets what no code expects,
    such as data that a later version wrote."""

    def __init__(self, place: str, odd: str = "") -> None:
        self.place, self.odd = place, odd

    def find(self) -> list[RemoteObject]:
        self.meet("find")
        orphan = RemoteObject("ray", self.place, "job", "orphan", "u", "running", labels("ended"))
        waits = labels("waits", **{DEFERRED: "true", reconciler.CALL: "step"})
        return [orphan, RemoteObject("ray", self.place, "queued job", "waits", "u", "due", waits)]

    def stop(self, item: RemoteObject) -> str:
        self.meet("stop")
        return "stopped"

    def delete(self, item: RemoteObject) -> str:
        return "deleted"

    def submit(self, item: RemoteObject, arguments: dict[str, Any]) -> str:
        self.meet("submit")
        return "submitted"

    def meet(self, verb: str) -> None:
        if verb == self.odd:
            raise KeyError("invented_later")


@pytest.mark.parametrize(
    ("odd", "rows"),
    [
        ("find", {"": "could not be listed"}),
        ("stop", {"job orphan": "failed: KeyError", "queued job waits": "submitted"}),
        ("submit", {"job orphan": "stopped", "queued job waits": "resumed, since it was refused: KeyError"}),
    ],
)
def test_what_nobody_expected_of_one_object_costs_its_own_row_and_not_the_pass(
    windmill: FakeWindmill, worker: None, capsys: pytest.CaptureFixture[str], odd: str, rows: dict[str, str]
) -> None:
    windmill.completed |= {"ended"}
    windmill.runs("waits", suspended=True)
    windmill.ended["step"] = {"id": "step", "type": "CompletedJob", "args": {}}
    this_pass = reconciler.ReconcilePass(reconciler.WindmillOwners(Client()), time.time(), 50)
    found = this_pass.run([(place, OddCluster(place, verb)) for place, verb in (("f/x/odd", odd), ("f/x/ok", ""))])
    outcomes = {(row.place, row.object): row.outcome.partition(": a fault of flexcore")[0] for row in found}
    ok = {"job orphan": "stopped", "queued job waits": "submitted"}
    assert outcomes == {("f/x/odd", name): outcome for name, outcome in rows.items()} | {
        ("f/x/ok", name): outcome for name, outcome in ok.items()
    }
    assert "invented_later" in capsys.readouterr().out


@pytest.mark.fault(37, "I8")
def test_an_object_that_changed_since_it_was_seen_is_left(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard
) -> None:
    windmill.completed |= {"ended"}
    ray_job(dashboard, "finishes", "ended")
    ray_job(dashboard, "replaced", "ended")
    ray_job(dashboard, "goes", "ended")

    def meanwhile(method: str, path: str) -> None:
        if path.endswith("/finishes"):
            dashboard.jobs["finishes"]["status"] = "SUCCEEDED"
        if path.endswith("/replaced"):
            dashboard.jobs["replaced"]["start_time"] = 2
        if path.endswith("/goes"):
            dashboard.jobs.pop("goes", None)

    dashboard.script = meanwhile
    outcomes = {line["object"]: line["outcome"] for line in run({"ray_clusters": ["f/x/ray"]})}
    assert outcomes == {"job finishes": "had finished", "job replaced": "had gone", "job goes": "had gone"}
    assert not [request for request in dashboard.requests if request.endswith("/stop")]


def test_a_pass_acts_on_no_more_than_it_may(run: Run, windmill: FakeWindmill, dashboard: FakeDashboard) -> None:
    windmill.completed |= {"ended"}
    for number in range(5):
        ray_job(dashboard, f"r{number}", "ended")
    lines = run(most=2)
    assert sorted(actions(lines).values()) == ["leave"] * 3 + ["stop"] * 2
    assert sum(job["status"] == "STOPPED" for job in dashboard.jobs.values()) == 2
    run(most=50)
    assert {job["status"] for job in dashboard.jobs.values()} == {"STOPPED"}


def test_two_passes_do_not_overlap(run: Run, windmill: FakeWindmill, dashboard: FakeDashboard) -> None:
    windmill.completed |= {"ended"}
    ray_job(dashboard, "r", "ended")
    windmill.runs("pass-0", script_path=reconcile.PATH, started_at="2026-01-01T00:00:09Z")
    assert run() == []
    assert dashboard.jobs["r"]["status"] == "RUNNING"
    windmill.runs("pass-0", script_path=reconcile.PATH, started_at="2026-01-01T00:00:11Z")
    assert actions(run())["r"] == "stop"


def test_a_flow_that_waits_for_a_verdict_is_resumed(run: Run, windmill: FakeWindmill, dashboard: FakeDashboard) -> None:
    windmill.runs("waits", suspended=True)
    windmill.runs("not-yet")
    for owner in ("waits", "not-yet"):
        ray_job(dashboard, owner, owner, "SUCCEEDED", **{DEFERRED: "true"})
    assert actions(run()) == {"waits": "resume", "not-yet": "leave"}
    assert windmill.resumed == {"waits": {"name": "waits", "uid": "1"}}
    windmill.resume_status = 500
    assert "the next pass tries again" in run()[0]["outcome"]


def defers(windmill: FakeWindmill, flow: str, seconds_ago: float, result: dict[str, Any] | None = None) -> None:
    """A flow that is suspended after a step that has submitted a Ray job, or has said something else."""
    started = datetime.fromtimestamp(time.time() - seconds_ago - 2, UTC).isoformat()
    modules = [
        {"id": "submit", "type": "Success", "job": f"{flow}-submit"},
        {"id": "collect", "type": "WaitingForEvents"},
    ]
    windmill.runs(flow, suspended=True, flow_status={"step": 1, "modules": modules})
    said = {
        "runtime": "ray",
        "data": {"deferred": {"execution_key": "fc-0123456789abcdef0123", "call": f"{flow}-submit"}},
        "remote": {"kind": "ray_job", "name": f"fc-{flow}-1"},
    }
    step = {"id": f"{flow}-submit", "type": "CompletedJob", "started_at": started, "duration_ms": 2000}
    windmill.ended[f"{flow}-submit"] = step | {"result": result or said}


@pytest.mark.fault(19, "I1", "I2")
def test_a_flow_that_waits_for_work_that_no_cluster_has_any_more_is_resumed(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard
) -> None:
    """Its head has died, and the next one knows of nothing: nobody else would ever wake it."""
    defers(windmill, "lost", 120)
    defers(windmill, "submitted-just-now", 5)
    defers(windmill, "approval", 120, {"data": {"please": "approve"}})
    defers(windmill, "works", 120)
    ray_job(dashboard, "r", "works", **{DEFERRED: "true"})
    rows = [row for row in run(dry_run=True) if row["action"] == "resume"]
    assert [(row["object"], row["outcome"]) for row in rows] == [("ray_job fc-lost-1", "dry run")]
    assert windmill.resumed == {}
    (row,) = [row for row in run() if row["action"] == "resume"]
    assert (row["state"], row["outcome"]) == ("lost", "resumed")
    assert "no cluster has it any more" in row["reason"]
    assert windmill.resumed == {"lost": {"name": "fc-lost-1"}}


@pytest.mark.fault(5, "I2")
def test_work_of_a_cluster_that_cannot_be_listed_is_not_lost(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard
) -> None:
    defers(windmill, "waits", 120)
    dashboard.script = lambda method, path: (503, "starting")
    assert {row["outcome"] for row in run()} == {"could not be listed"}
    dashboard.script = lambda method, path: None
    run(most=0)
    assert windmill.resumed == {}
    run()
    assert list(windmill.resumed) == ["waits"]


def test_finished_ray_jobs_are_deleted_after_their_time_to_live(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard
) -> None:
    now = int(time.time())
    ray_job(dashboard, "old", "unheard-of", "FAILED", **{"flexcore/delete-after": str(now - 10)})
    ray_job(dashboard, "young", "unheard-of", "FAILED", **{"flexcore/delete-after": str(now + 1000)})
    assert actions(run()) == {"old": "delete"}
    assert list(dashboard.jobs) == ["young"]


def test_of_finished_ray_jobs_the_newest_are_kept_and_none_that_a_flow_or_another_workspace_waits_for(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "MAX_KEPT_JOBS", 2)
    later = {"flexcore/delete-after": str(int(time.time()) + 100_000)}
    for number in range(5):
        ray_job(dashboard, f"r{number}", f"owner-{number}", "SUCCEEDED", **later)
        dashboard.jobs[f"r{number}"]["start_time"] = 1000 + number
    windmill.runs("owner-0")
    dashboard.jobs["elsewhere"] = {**dashboard.jobs["r1"], "submission_id": "elsewhere"}
    dashboard.jobs["elsewhere"]["metadata"] = labels("owner-1", "another", **later)
    assert actions(run()) == {"r0": "leave", "r1": "delete", "r2": "delete"}
    assert sorted(dashboard.jobs) == ["elsewhere", "r0", "r3", "r4"]


def test_among_hundreds_of_finished_jobs_what_runs_without_an_owner_is_stopped_at_once_and_the_table_stays_small(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head keeps finished jobs for a week, and Windmill keeps the table of every pass."""
    later = {"flexcore/delete-after": str(int(time.time()) + 100_000)}
    for number in range(400):
        windmill.completed.add(f"owner-{number}")
        ray_job(dashboard, f"r{number}", f"owner-{number}", "SUCCEEDED", **later)
    windmill.completed.add("dead")
    ray_job(dashboard, "orphan", "dead")
    (line,) = run({"ray_clusters": ["f/x/ray"]})
    assert (line["object"], line["action"]) == ("job orphan", "stop")
    assert "401 objects seen, 1 acted upon" in capsys.readouterr().out
    # The resource, the lease and the queue, and the one owner that decides something.
    assert len(windmill.requests) == 3 + 1


def test_deployed_models_are_left(run: Run, windmill: FakeWindmill, cluster: FakeCluster) -> None:
    windmill.completed |= {"ended"}
    metadata = {"name": "model", "namespace": "work", "labels": labels("ended") | {"flexcore/outlives-run": "true"}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}}
    cluster.do(cluster.api.keep("apps/v1/deployments", body))
    (line,) = run()
    assert (line["action"], line["reason"]) == ("leave", "outlives its run on purpose")


@pytest.mark.fault(1, "I4", "I8")
def test_a_first_deployment_whose_flow_ended_half_way_goes_and_one_that_has_answered_stays(
    run: Run, windmill: FakeWindmill, cluster: FakeCluster
) -> None:
    windmill.completed |= {"ended"}
    windmill.runs("alive")
    for name, owner, notes in (("half", "ended", True), ("busy", "alive", True), ("done", "ended", False)):
        metadata = {
            "name": name,
            "namespace": "work",
            "labels": labels(owner) | {"flexcore/outlives-run": "true"},
            "annotations": {ON_TRIAL: "true"} if notes else {},
        }
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}}
        cluster.do(cluster.api.keep("apps/v1/deployments", body))
    assert actions(run()) == {"half": "stop", "busy": "leave", "done": "leave"}
    left = [item["metadata"]["name"] for item in cluster.api.all("apps/v1/deployments")]
    assert sorted(left) == ["busy", "done"]


@pytest.mark.fault(1, "I4", "I8")
def test_a_ray_service_that_has_never_answered_goes_with_its_flow_and_one_that_has_stays(
    run: Run, windmill: FakeWindmill, cluster: FakeCluster
) -> None:
    windmill.completed |= {"ended"}
    windmill.runs("alive")
    cluster.api.groups["ray.io"] = ["v1"]
    for name, owner, is_on_trial in (("half", "ended", True), ("busy", "alive", True), ("done", "ended", False)):
        spec, state = cluster_spec.ClusterSpec(), {"app": name, "versions": {}}
        body = service_spec.service_body(name, "work", spec, state, labels(owner), "", has_auth_options=False)
        if not is_on_trial:
            del body["metadata"]["annotations"][ON_TRIAL]
        cluster.do(cluster.api.keep("ray.io/v1/rayservices", body))
    assert actions(run()) == {"half": "stop", "busy": "leave", "done": "leave"}
    left = [item["metadata"]["name"] for item in cluster.api.all("ray.io/v1/rayservices")]
    assert sorted(left) == ["busy", "done"]


def test_credentials_for_one_namespace_are_enough(run: Run, windmill: FakeWindmill, cluster: FakeCluster) -> None:
    windmill.completed |= {"ended"}
    kubernetes_job(cluster, "k", "ended")
    refused = {"kind": "Status", "code": 403, "message": 'cannot list resource "jobs" at the cluster scope'}
    for path in (r"/apis/batch/v1/jobs\?", r"/apis/apps/v1/deployments\?"):
        cluster.api.faults.append(fault("GET", path, refused))
    assert actions(run()) == {"k": "stop"}


def fault(method: str, path: str, body: dict[str, Any]) -> Any:
    from tests.kubernetes.fake_cluster import Fault

    return Fault(method=method, path=path, status=body["code"], body=body)


def test_five_hundred_objects_cost_a_bounded_number_of_calls(
    run: Run, windmill: FakeWindmill, dashboard: FakeDashboard
) -> None:
    for number in range(500):
        windmill.completed.add(f"owner-{number}")
        ray_job(dashboard, f"r{number}", f"owner-{number}")
    lines = run({"ray_clusters": ["f/x/ray"]}, most=20)
    assert len(lines) == 20 + MAX_ROWS_LEFT
    assert sum(line["action"] == "stop" for line in lines) == 20
    # The resource, the lease and the queue, and some owners; the list, and for each job that is stopped a look
    # and a stop.
    assert len(windmill.requests) == 3 + MAX_OWNER_LOOKUPS
    assert len(dashboard.requests) == 1 + 2 * 20
