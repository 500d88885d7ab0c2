"""Jobs with a Ray cluster of their own, on a real KubeRay and a real Kueue with real pods of Ray.

KUBECONFIG               a cluster with KubeRay, in which the tests may create namespaces; with Kueue for its queues
FLEXCORE_LIVE_RAY_IMAGE  an image of Ray 2.60 with bash and wget, default localhost/ray:2.60.0
One cluster at a time: two cores are enough.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors, identity, operation, remote_objects, resources
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.ray import (
    kubernetes_session,
    program_job,
    ray_job_adapter,
    ray_job_manifest,
    ray_job_objects,
    ray_job_plan,
    ray_job_status,
)
from tests.live import rights
from tests.operations.fake_windmill import FakeWindmill

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
IMAGE = os.environ.get("FLEXCORE_LIVE_RAY_IMAGE", "localhost/ray:2.60.0")
SMALL = {"image": IMAGE, "head_cpu": "400m", "head_memory": "1500Mi", "groups": [], "keep_s": 60}
Object = dict[str, Any]
KUEUE = "/apis/kueue.x-k8s.io/v1beta1"
# A cluster starts within 30 s; on a machine whose cores are shared by many, in minutes.
START_TIMEOUT_S = 400


class Live:
    """The cluster of KUBECONFIG, a namespace of its own there, and a Windmill that has its resource."""

    def __init__(self, windmill: FakeWindmill) -> None:
        self.namespace = f"flexcore-ray-{uuid.uuid4().hex[:6]}"
        windmill.resources["f/live/kubernetes"] = {"kubeconfig": Path(os.environ["KUBECONFIG"]).read_text()}
        self.cluster = {"kubernetes_cluster": "f/live/kubernetes", "namespace": self.namespace}
        self.session = kubernetes_session.open_session(resources.RayCluster.model_validate(self.cluster))
        self.kubernetes = self.session.kubernetes

    def create(self, path: str, body: Object) -> Object:
        created = self.kubernetes.create(path, body, Call("create", path))
        assert created is not None
        return created

    def apply(self, path: str, changes: Object) -> None:
        self.kubernetes.patch(path, changes, Call("patch", path, name="x"))

    def delete(self, path: str) -> None:
        stored = self.kubernetes.get(path, Call("get", path, name="x"))
        if stored:
            self.kubernetes.delete(path, stored["metadata"]["uid"], Call("delete", path, name="x"))

    def ray_job(self, key: identity.ExecutionKey, number: int = 1) -> Object | None:
        path = f"/apis/ray.io/v1/namespaces/{self.namespace}/rayjobs/{key.name(number)}"
        return self.kubernetes.get(path, Call("get", "rayjobs.ray.io", self.namespace, key.name(number)))

    def find_all(self, path: str) -> list[Object]:
        return list(self.kubernetes.list(path, {}, Call("list", path)).get("items") or [])

    def clusters(self) -> list[Object]:
        return self.find_all(f"/apis/ray.io/v1/namespaces/{self.namespace}/rayclusters")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no real cluster: KUBECONFIG not set")
    patch = pytest.MonkeyPatch()
    with FakeWindmill() as windmill:
        patch.setenv("BASE_INTERNAL_URL", windmill.address)
        patch.setenv("WM_TOKEN", "token")
        patch.setenv("WM_WORKSPACE", "dev")
        patch.setenv("FLEXCORE_HOME", str(tmp_path_factory.mktemp("home")))
        live = Live(windmill)
        code, _ = live.kubernetes.request_raw("GET", "/apis/ray.io/v1", None, Call("list", "rayjobs.ray.io"))
        if code != 200:
            pytest.skip("no real KubeRay")
        labels = {"kueue": "yes"}
        live.create(
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": live.namespace, "labels": labels}},
        )
        # From here on the steps have the shipped role alone; the tests' own session is the administrator's.
        windmill.resources["f/live/administrator"] = windmill.resources["f/live/kubernetes"]
        limited = rights.make_limited(live.kubernetes, live.namespace, "flexcore-ray-job")
        windmill.resources["f/live/kubernetes"] = limited
        yield live
        live.delete(f"/api/v1/namespaces/{live.namespace}")
        live.session.close()
        patch.undo()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> identity.ExecutionKey:
    """A step of a flow of its own."""
    monkeypatch.setenv("WM_FLOW_JOB_ID", str(uuid.uuid4()))
    monkeypatch.setenv("WM_FLOW_STEP_ID", "a")
    monkeypatch.setenv("WM_JOB_ID", "job-1")
    return identity.execution_key(os.environ)


def arguments(live: Live, program: str, own: Object | None = None, **more: Any) -> Object:
    form = {**SMALL, **(own or {})}
    return {"cluster": live.cluster, "program": program, "own_cluster": form, "timeout_s": 200, **more}


def run(live: Live, program: str, own: Object | None = None, **more: Any) -> Object:
    return program_job.RUN_PROGRAM.run(arguments(live, program, own, **more))


def failure(live: Live, program: str, own: Object | None = None, **more: Any) -> errors.FlexcoreError:
    with pytest.raises(errors.FlexcoreError) as caught:
        run(live, program, own, **more)
    return caught.value


def wait_for(condition: Callable[[], Any], timeout_s: float = 120) -> Any:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.5)
    raise AssertionError("it did not come true in time")


def wait_until_running(live: Live, key: identity.ExecutionKey, step: Background) -> None:
    """Returns once KubeRay says that the step's job runs; fails at once when the step has ended before."""

    def runs() -> bool:
        assert step.is_alive(), step.error or step.result
        return bool((live.ray_job(key) or {}).get("status", {}).get("jobStatus") == "RUNNING")

    wait_for(runs, START_TIMEOUT_S)


def is_gone(live: Live, key: identity.ExecutionKey) -> bool:
    return live.ray_job(key) is None and not live.clusters()


STEP = """
import json, sys
from f.flexcore.lib.ray import program_job
program_job.RUN_PROGRAM.run(json.load(sys.stdin))
"""


class Background(threading.Thread):
    """A step that runs beside the test."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.result: Object = {}
        self.error: errors.FlexcoreError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.call()
        except errors.FlexcoreError as error:
            self.error = error

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> None:
        self.join(timeout_s)
        assert not self.is_alive()


# --- ends


def test_a_job_gets_a_cluster_of_its_own_that_goes_with_its_result(live: Live, key: identity.ExecutionKey) -> None:
    result = run(live, "print('from the job')\nresult = {'answer': 42}", {"token_auth": False})
    assert result["data"]["result"] == {"answer": 42}
    assert result["remote"]["kind"] == "kuberay_job"
    assert "from the job" in Path(result["data"]["log_uri"].removeprefix("file://")).read_text()
    assert result["timings"]["starting"] > 1
    wait_for(lambda: is_gone(live, key))
    # A repeat returns what was recorded, and makes no cluster.
    assert run(live, "print('from the job')\nresult = {'answer': 42}")["data"]["result"] == {"answer": 42}
    assert live.ray_job(key) is None


def test_a_failing_program_ends_with_its_own_words_under_a_token(live: Live, key: identity.ExecutionKey) -> None:
    error = failure(live, "raise ValueError('no such day')")
    assert isinstance(error, errors.ExecutionFailed)
    assert "no such day" in str(error)
    assert error.category == "program_failed"
    assert "no such day" in Path(error.details["log_uri"].removeprefix("file://")).read_text()
    wait_for(lambda: is_gone(live, key))


def test_a_job_past_its_deadline_is_stopped_and_its_cluster_goes(live: Live, key: identity.ExecutionKey) -> None:
    error = failure(live, "import time; time.sleep(600)", {"token_auth": False}, timeout_s=5)
    assert isinstance(error, errors.DeadlineExceeded)
    assert error.details["confirmed"]
    wait_for(lambda: is_gone(live, key))


def test_a_deadline_of_kuberay_ends_a_cluster_that_nobody_watches(
    live: Live, key: identity.ExecutionKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kuberay 5184: deletionRules that are keyed on jobStatus would leave it there."""
    monkeypatch.setattr(ray_job_manifest, "SPARE_S", 0)
    invocation = program_job.RUN_PROGRAM.invoke(
        arguments(live, "result = 1", {"start_timeout_s": 10, "keep_s": 0, "token_auth": False}, timeout_s=5)
    )
    with ray_job_adapter.open_adapter(invocation, program_job.prepare) as adapter:
        remote = adapter.create(1, [])
        wait_for(lambda: ray_job_status.parse_ray_job(live.ray_job(key) or {}).is_ended, 60)
        wait_for(lambda: not live.clusters())
        verdict = adapter.observe(1, remote)
        assert isinstance(verdict.error, errors.DeadlineExceeded)
        assert verdict.error.category == "deadline"
        adapter.records.write(1, verdict, "job-1")
    wait_for(lambda: is_gone(live, key))


def test_an_image_that_cannot_be_pulled_is_told_within_a_minute(live: Live, key: identity.ExecutionKey) -> None:
    began = time.monotonic()
    error = failure(live, "result = 1", {"image": "localhost/nothing:1"})
    assert error.category.startswith("image_")
    assert error.subject == "own_cluster.image"
    assert time.monotonic() - began < 90
    wait_for(lambda: is_gone(live, key))


def test_pods_that_fit_on_no_node_are_told_when_the_start_is_over(live: Live, key: identity.ExecutionKey) -> None:
    error = failure(live, "result = 1", {"head_cpu": "200", "start_timeout_s": 40})
    assert error.category == "unschedulable"
    assert "Insufficient cpu" in str(error)
    wait_for(lambda: is_gone(live, key))


def test_a_spec_that_kuberay_refuses_later_is_told_at_once(
    live: Live, key: identity.ExecutionKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = ray_job_manifest.ray_job

    def invalid(*given: Any, **options: Any) -> Object:
        document = built(*given, **options)
        return {**document, "spec": {**document["spec"], "backoffLimit": 1}}

    monkeypatch.setattr(ray_job_manifest, "ray_job", invalid)
    error = failure(live, "result = 1")
    assert isinstance(error, errors.InvalidInput)
    assert error.category == "invalid_spec"
    assert "BackoffLimit is incompatible with InteractiveMode" in str(error)
    wait_for(lambda: is_gone(live, key))


def test_a_rayjob_that_somebody_deletes_is_no_success(live: Live, key: identity.ExecutionKey) -> None:
    step = Background(lambda: run(live, "import time; time.sleep(600)", {"token_auth": False}))
    wait_until_running(live, key, step)
    live.delete(f"/apis/ray.io/v1/namespaces/{live.namespace}/rayjobs/{key.name(1)}")
    step.wait()
    assert step.error is not None
    assert step.error.category == "deleted"
    wait_for(lambda: is_gone(live, key))


# --- a step that dies


def test_a_step_that_is_killed_while_its_cluster_starts_is_attached_to(
    live: Live, key: identity.ExecutionKey, tmp_path: Path
) -> None:
    given = arguments(live, "result = 'once'", {"token_auth": False})
    step = subprocess.Popen([sys.executable, "-c", STEP], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert step.stdin
    step.stdin.write(json.dumps(given).encode())
    step.stdin.close()
    first = wait_for(lambda: live.ray_job(key))
    step.send_signal(signal.SIGKILL)
    step.wait()
    result = program_job.RUN_PROGRAM.run(given)
    assert result["data"]["result"] == "once"
    assert result["attempt"] == 1
    assert result["remote"]["uid"] == first["metadata"]["uid"]
    wait_for(lambda: is_gone(live, key))


def test_reconcile_takes_the_cluster_of_a_dead_owner_away(live: Live, key: identity.ExecutionKey) -> None:
    invocation = program_job.RUN_PROGRAM.invoke(arguments(live, "result = 1"))
    with ray_job_adapter.open_adapter(invocation, program_job.prepare) as adapter:
        adapter.create(1, [])
    objects = ray_job_objects.RayJobObjects("f/live/ray", resources.RayCluster.model_validate(live.cluster))
    item = next(item for item in objects.find() if item.name == key.name(1))
    assert (item.state, item.owner, item.kind) == ("running", key.owner_job, "kuberay_job")
    assert remote_objects.decide_cleanup(item, "ended", time.time()).action == "stop"
    assert objects.stop(item) == "deleted"
    wait_for(lambda: is_gone(live, key))
    assert objects.stop(item) == "had gone"


def test_deferred_work_is_submitted_and_collected_without_a_worker_between(
    live: Live, key: identity.ExecutionKey
) -> None:
    given = arguments(live, "import time; time.sleep(8); result = 'late'", {"token_auth": False})
    submitted = program_job.RUN_PROGRAM.run({**given, "wait": "defer"})
    deferred = submitted["data"]["deferred"]
    objects = ray_job_objects.RayJobObjects("f/live/ray", resources.RayCluster.model_validate(live.cluster))

    def item() -> remote_objects.RemoteObject:
        return next(item for item in objects.find() if item.name == key.name(1))

    assert item().state == "running"
    wait_for(lambda: item().state == "finished")
    assert remote_objects.decide_cleanup(item(), "suspended", time.time()).action == "resume"
    result = program_job.RUN_PROGRAM.run({**given, "deferred": deferred})
    assert result["data"]["result"] == "late"
    wait_for(lambda: is_gone(live, key))


# --- queues


@pytest.fixture
def queue(live: Live) -> Iterator[Callable[[str], str]]:
    """Makes queues with so much CPU, and takes them away."""
    code, _ = live.kubernetes.request_raw("GET", KUEUE, None, Call("list", "workloads.kueue.x-k8s.io"))
    if code != 200:
        pytest.skip("no real Kueue")
    made: list[str] = []
    flavor = live.namespace
    live.kubernetes.create(
        f"{KUEUE}/resourceflavors",
        {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": flavor}},
        Call("create", "resourceflavors"),
    )

    def make(cpu: str) -> str:
        name = f"q-{uuid.uuid4().hex[:6]}"
        quota = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": "8Gi"}]
        body = {
            "apiVersion": "kueue.x-k8s.io/v1beta1",
            "kind": "ClusterQueue",
            "metadata": {"name": f"{flavor}-{name}"},
            "spec": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": live.namespace}},
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [
                    {"coveredResources": ["cpu", "memory"], "flavors": [{"name": flavor, "resources": quota}]}
                ],
            },
        }
        live.create(f"{KUEUE}/clusterqueues", body)
        made.append(f"{KUEUE}/clusterqueues/{flavor}-{name}")
        local = {
            "apiVersion": "kueue.x-k8s.io/v1beta1",
            "kind": "LocalQueue",
            "metadata": {"name": name, "namespace": live.namespace},
            "spec": {"clusterQueue": f"{flavor}-{name}"},
        }
        live.create(f"{KUEUE}/namespaces/{live.namespace}/localqueues", local)
        made.append(f"{KUEUE}/namespaces/{live.namespace}/localqueues/{name}")
        return name

    yield make
    for path in reversed(made):
        live.delete(path)
    live.delete(f"{KUEUE}/resourceflavors/{flavor}")


@pytest.fixture
def urgent(live: Live) -> Iterator[str]:
    name = f"{live.namespace}-urgent"
    body = {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "WorkloadPriorityClass",
        "metadata": {"name": name},
        "value": 1000,
    }
    live.create(f"{KUEUE}/workloadpriorityclasses", body)
    yield name
    live.delete(f"{KUEUE}/workloadpriorityclasses/{name}")


def set_quota(live: Live, name: str, cpu: str) -> None:
    path = f"{KUEUE}/clusterqueues/{live.namespace}-{name}"
    stored = live.kubernetes.get(path, Call("get", "clusterqueues", name="x"))
    assert stored
    groups = stored["spec"]["resourceGroups"]
    groups[0]["flavors"][0]["resources"][0]["nominalQuota"] = cpu
    live.apply(path, {"spec": {"resourceGroups": groups}})


def test_a_job_that_its_queue_holds_back_is_queued_and_runs_once_it_is_let_in(
    live: Live, key: identity.ExecutionKey, queue: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = queue("500m")
    blocker = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "blocker",
            "namespace": live.namespace,
            "labels": {"kueue.x-k8s.io/queue-name": name},
        },
        "spec": {
            "suspend": True,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [
                        {
                            "name": "c",
                            "image": "localhost/busybox:1",
                            "command": ["sleep", "600"],
                            "resources": {"requests": {"cpu": "300m", "memory": "16Mi"}},
                        }
                    ],
                }
            },
        },
    }
    jobs = f"/apis/batch/v1/namespaces/{live.namespace}/jobs"
    live.create(jobs, blocker)
    wait_for(lambda: not live.find_all(jobs)[0]["spec"]["suspend"])
    step = Background(lambda: run(live, "result = 'in'", {"queue": name, "token_auth": False}))
    wait_for(lambda: "insufficient" in capsys_text(capsys))
    # Kueue says so within a second: the blocker stays for longer than the time that is asserted below.
    time.sleep(4)
    assert not live.clusters()
    live.delete(f"{jobs}/blocker")
    step.wait()
    assert step.error is None, step.error
    assert step.result["data"]["result"] == "in"
    assert step.result["timings"]["queued"] > 3
    wait_for(lambda: is_gone(live, key))


SEEN: list[str] = []


def capsys_text(capsys: pytest.CaptureFixture[str]) -> str:
    SEEN.append(capsys.readouterr().out)
    return "".join(SEEN)


def test_a_job_that_is_preempted_is_submitted_again_in_the_same_attempt(
    live: Live, key: identity.ExecutionKey, queue: Callable[[str], str], urgent: str
) -> None:
    name = queue("500m")
    step = Background(
        lambda: run(live, "import time; time.sleep(20); result = 'after all'", {"queue": name, "token_auth": False})
    )
    wait_until_running(live, key, step)
    jobs = f"/apis/batch/v1/namespaces/{live.namespace}/jobs"
    container = {
        "name": "c",
        "image": "localhost/busybox:1",
        "command": ["sleep", "5"],
        "resources": {"requests": {"cpu": "400m", "memory": "16Mi"}},
    }
    labels = {"kueue.x-k8s.io/queue-name": name, "kueue.x-k8s.io/priority-class": urgent}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "urgent", "namespace": live.namespace, "labels": labels},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    live.create(jobs, body)
    step.wait(2 * START_TIMEOUT_S)
    assert step.error is None, step.error
    assert step.result["data"]["result"] == "after all"
    assert step.result["attempt"] == 1
    assert step.result["data"]["own_cluster"]["evictions"] == 1
    assert step.result["timings"]["queued"] > 0
    wait_for(lambda: is_gone(live, key))


def test_what_a_queue_can_never_let_in_is_told_by_its_amounts(
    live: Live, key: identity.ExecutionKey, queue: Callable[[str], str]
) -> None:
    error = failure(live, "result = 1", {"queue": queue("100m")})
    assert isinstance(error, errors.InvalidInput)
    assert error.category == "quota_exceeded"
    assert error.subject == "own_cluster.queue"
    wait_for(lambda: is_gone(live, key))


def test_a_queue_that_does_not_exist_is_told_by_name(
    live: Live, key: identity.ExecutionKey, queue: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.kueue_status.INADMISSIBLE_GRACE_S", 3.0)
    error = failure(live, "result = 1", {"queue": "nowhere"})
    assert error.category == "queue_not_found"
    assert "nowhere" in str(error)
    wait_for(lambda: is_gone(live, key))
    with pytest.raises(errors.NotFound, match="no LocalQueue nowhere"):
        operation_plan(live, {"queue": "nowhere"})


def test_an_unknown_priority_class_of_which_kueue_says_nothing_is_told(
    live: Live, key: identity.ExecutionKey, queue: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.kueue_status.WORKLOAD_TIMEOUT_S", 8.0)
    error = failure(live, "result = 1", {"queue": queue("500m"), "priority_class": "nobody"})
    assert error.category == "queue_silent"
    assert "WorkloadPriorityClass nobody" in str(error)
    wait_for(lambda: is_gone(live, key))


# --- plan


def operation_plan(live: Live, own: Object) -> Object:
    invocation: operation.Invocation[Any, Any] = program_job.RUN_PROGRAM.invoke(arguments(live, "result = 1", own))
    return program_job.RUN_PROGRAM.plan(invocation).plain()


def test_plan_makes_nothing_and_says_what_would_be_used(live: Live, key: identity.ExecutionKey) -> None:
    data = operation_plan(live, {})["data"]
    assert data["own_cluster"]["image"] == IMAGE
    assert is_gone(live, key)


def test_a_field_that_this_kuberay_does_not_know_is_refused_by_name(live: Live, key: identity.ExecutionKey) -> None:
    pod = {"spec": {"containers": [{"name": "ray-head", "image": IMAGE}]}}
    manifest = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "mine"},
        "spec": {"rayVersion": "2.60.0", "headGroupSpec": {"rayStartParams": {}, "template": pod, "haed": 1}},
    }
    # Its dry run asks for the right to create the very kind, which is no part of a job's role.
    cluster = {**live.cluster, "kubernetes_cluster": "f/live/administrator"}
    with pytest.raises(errors.Forbidden, match="Not allowed to create rayclusters"):
        ray_job_plan.plan_manifest(manifest, live.cluster, None, key)
    with pytest.raises(errors.InvalidInput, match="haed"):
        ray_job_plan.plan_manifest(manifest, cluster, None, key)
    del manifest["spec"]["headGroupSpec"]["haed"]  # type: ignore[index]
    assert ray_job_plan.plan_manifest(manifest, cluster, None, key).data["kind"] == "RayCluster"
