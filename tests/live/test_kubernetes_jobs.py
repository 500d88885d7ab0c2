"""Jobs with indexes, policies, sidecars, queues and hand-over on a real cluster, in a namespace that enforces Pod
Security "restricted" and that Kueue manages, where it is there.

KUBECONFIG            a cluster in which the tests may create namespaces
FLEXCORE_LIVE_IMAGE   an image with a shell (busybox), which the cluster can pull
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from f.flexcore.lib.core.errors import DataError, ExecutionFailed, FlexcoreError, InvalidInput, NotFound
from f.flexcore.lib.kubernetes_api.api_errors import Call
from tests.live.conftest import needed
from tests.live.test_kubernetes import Live

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
SMALL = {"cpu": "20m", "memory": "32Mi"}
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
# Ignores SIGTERM for some seconds, as a program that still writes.
LINGERS = "trap 'sleep 4; echo ended $(date +%s); exit 1' TERM; while :; do sleep 0.2; done"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    cluster = Live(needed("KUBECONFIG"))
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "kueue": "yes"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace, "labels": labels}}
    created = cluster.create("/api/v1/namespaces", body)
    # Every step here runs with the role flexcore-job and no other right.
    cluster.limit()
    yield cluster
    path = f"/api/v1/namespaces/{cluster.namespace}"
    cluster.kubernetes.delete(path, created["metadata"]["uid"], Call("delete", "namespaces", "", cluster.namespace))


@pytest.fixture
def jobs(live: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    live.image = needed("FLEXCORE_LIVE_IMAGE")
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    return live


@pytest.fixture(scope="module")
def queue(live: Live) -> Iterator[str]:
    """A LocalQueue of 100m CPU, below a ClusterQueue of its own."""
    code, _ = live.kubernetes.request_raw("GET", KUEUE, None, Call("list", "workloads.kueue.x-k8s.io"))
    if code != 200:
        pytest.skip("Kueue is not on this cluster")
    name = live.namespace
    made = []

    def create(path: str, kind: str, own: str, spec: Object) -> None:
        body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": own}, "spec": spec}
        created = live.create(f"{KUEUE}/{path}", body)
        made.append((f"{KUEUE}/{path}/{own}", created["metadata"]["uid"]))

    create("resourceflavors", "ResourceFlavor", name, {})
    quotas = [{"name": "cpu", "nominalQuota": "100m"}, {"name": "memory", "nominalQuota": "1Gi"}]
    groups = [{"coveredResources": ["cpu", "memory"], "flavors": [{"name": name, "resources": quotas}]}]
    selector = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    create("clusterqueues", "ClusterQueue", name, {"namespaceSelector": selector, "resourceGroups": groups})
    create(f"namespaces/{name}/localqueues", "LocalQueue", "q", {"clusterQueue": name})
    yield "q"
    for path, uid in reversed(made):
        live.kubernetes.delete(path, uid, Call("delete", path))


def script(live: Live, text: str, **options: Any) -> Object:
    arguments: Object = {"timeout_s": 120, **SMALL}
    for name in ("output", "inputs", "memory", "cpu", "timeout_s"):
        if name in options:
            arguments[name] = options.pop(name)
    return live.run("sh", "-c", text, options=options, **arguments)


def pods(live: Live, job: str) -> list[Object]:
    found = live.listed(f"/api/v1/namespaces/{live.namespace}/pods")
    return [pod for pod in found if pod["metadata"]["name"].startswith(f"{job}-")]


def test_each_index_hands_on_its_own(jobs: Live) -> None:
    text = 'echo "{\\"index\\": $JOB_COMPLETION_INDEX}" > $FLEXCORE_OUTPUT'
    result = script(jobs, text, output="json", indexed=True, completions=3, parallelism=2)
    assert result["data"]["output"] == {str(index): {"index": index} for index in range(3)}


def test_an_index_that_fails_is_told_and_the_others_end(jobs: Live) -> None:
    text = "test $JOB_COMPLETION_INDEX != 1 || exit 3"
    with pytest.raises(ExecutionFailed, match="indexes 1 failed, 0,2 are done") as caught:
        script(jobs, text, indexed=True, completions=3, parallelism=3, backoff_limit_per_index=0)
    assert (caught.value.category, caught.value.details["exit_code"]) == ("exit_code", 3)


def test_the_rest_is_stopped_once_too_many_indexes_have_failed(jobs: Live) -> None:
    limits = {"backoff_limit_per_index": 0, "max_failed_indexes": 0}
    begun = time.monotonic()
    with pytest.raises(ExecutionFailed, match="MaxFailedIndexesExceeded"):
        script(
            jobs,
            "test $JOB_COMPLETION_INDEX = 0 && exit 5; sleep 300",
            indexed=True,
            completions=2,
            parallelism=2,
            **limits,
        )
    assert time.monotonic() - begun < 60


def test_the_success_of_one_index_is_enough_when_it_is_said_so(jobs: Live) -> None:
    text = "test $JOB_COMPLETION_INDEX = 0 && exit 0; sleep 300"
    result = script(jobs, text, indexed=True, completions=2, parallelism=2, success_indexes="0")
    assert "successPolicy" in result["data"]["notes"][0] and result["data"]["exit_code"] == 0


def test_an_exit_code_of_the_failure_policy_is_not_tried_again(jobs: Live) -> None:
    with pytest.raises(ExecutionFailed, match="matching FailJob rule") as caught:
        script(jobs, "exit 42", fail_on_exit_codes=[42], backoff_limit=5)
    assert caught.value.details["exit_code"] == 42
    assert len(pods(jobs, caught.value.details["remote"]["name"])) == 1


def test_the_program_counts_and_not_its_sidecar_and_init_containers_come_first(jobs: Live) -> None:
    ship = {"name": "ship", "command": ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.2; done"]}
    fetch = {"name": "fetch", "command": ["sh", "-c", "echo fetched > /flexcore/shared/it"]}
    result = script(jobs, "cat /flexcore/shared/it", sidecars=[ship], init_containers=[fetch])
    assert result["data"]["exit_code"] == 0 and "fetched" in result["log_tail"]


def test_inputs_reach_the_program_and_its_manifest_comes_back(jobs: Live) -> None:
    file = {"path": "rows.csv", "bytes": 3, "checksum": f"sha256:{'a' * 64}"}
    from f.flexcore.lib.core.contracts import File, compute_checksum

    manifest = {
        "kind": "data",
        "uri": "s3://b/x",
        "format": "csv",
        "checksum": compute_checksum([File.model_validate(file)]),
        "streams": [{"name": "rows", "bytes": 3, "files": [file]}],
    }
    result = script(
        jobs,
        "cat $FLEXCORE_INPUT_ROWS > $FLEXCORE_OUTPUT; echo $FLEXCORE_INPUT_ROWS_URI",
        inputs={"rows": manifest},
        output="manifest",
    )
    assert result["output"]["uri"] == "s3://b/x" and "s3://b/x" in result["log_tail"]
    assert json.loads(result["data"]["message"]) == manifest


def test_a_program_that_hands_on_nothing_has_failed(jobs: Live) -> None:
    with pytest.raises(DataError, match="has handed on nothing"):
        script(jobs, "true", output="json")


def run_in_background(live: Live, *command: str, **arguments: Any) -> tuple[threading.Thread, list[Any]]:
    ends: list[Any] = []

    def work() -> None:
        try:
            ends.append(live.run(*command, **{**SMALL, **arguments}))
        except FlexcoreError as error:
            ends.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ends


def running_pods(live: Live, count: int = 1) -> list[Object]:
    """The pods of the one Job that runs, once so many of them do."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = live.listed(f"/api/v1/namespaces/{live.namespace}/pods")
        running = [pod for pod in found if pod["status"]["phase"] == "Running" and is_ready(pod)]
        if len(running) >= count:
            return running
        time.sleep(0.2)
    raise AssertionError("no pod runs")


def is_ready(pod: Object) -> bool:
    return all(item.get("ready") for item in pod["status"].get("containerStatuses") or [{}])


def test_a_deleted_pod_is_replaced_only_after_it_has_ended(jobs: Live) -> None:
    """podReplacementPolicy Failed: two pods of one key never write at once."""
    thread, ends = run_in_background(jobs, "sh", "-c", LINGERS, options={"backoff_limit": 1}, timeout_s=40)
    (pod,) = running_pods(jobs)
    path = f"/api/v1/namespaces/{jobs.namespace}/pods/{pod['metadata']['name']}"
    jobs.kubernetes.delete(path, pod["metadata"]["uid"], Call("delete", "pods"))
    job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
    at_once, seen = 0, set[str]()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and len(seen) < 2:
        found = pods(jobs, job)
        seen |= {item["metadata"]["name"] for item in found}
        at_once = max(at_once, sum(item["status"]["phase"] in ("Pending", "Running") for item in found))
        time.sleep(0.1)
    thread.join(120)
    assert len(seen) == 2 and at_once == 1
    assert isinstance(ends[0], FlexcoreError)


def test_a_job_whose_pods_still_end_is_not_begun_again_before_they_have(jobs: Live) -> None:
    """`kubectl delete job` takes the Job away at once, and its pods after their grace period."""
    thread, ends = run_in_background(jobs, "sh", "-c", LINGERS, timeout_s=60)
    (pod,) = running_pods(jobs)
    job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
    path = f"/apis/batch/v1/namespaces/{jobs.namespace}/jobs/{job}"
    call = Call("delete", "jobs.batch")
    code, _ = jobs.kubernetes.request_raw("DELETE", path, {"propagationPolicy": "Background"}, call)
    assert code == 200
    thread.join(60)
    assert ends[0].category == "deleted"
    begun = time.time()
    result = jobs.run("sh", "-c", "date +%s", **SMALL)
    first = [item for item in pods(jobs, job) if item["metadata"]["uid"] == pod["metadata"]["uid"]]
    assert first == [] or first[0]["status"]["phase"] in ("Succeeded", "Failed")
    assert result["success"] and int(result["log_tail"]) >= int(begun)


def test_a_queue_lets_a_job_in_and_one_that_waits_says_for_what(
    jobs: Live, queue: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long, ends = run_in_background(jobs, "sleep", "12", cpu="80m", options={"queue": queue})
    running_pods(jobs)
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    result = script(jobs, "echo my turn", cpu="80m", queue=queue)
    long.join(90)
    assert result["log_tail"] == "my turn" and ends[0]["success"]
    said = capsys.readouterr().out
    assert "Waiting (suspended): Queued in q: couldn't assign flavors" in said and "insufficient unused quota" in said


@pytest.mark.parametrize(
    ("options", "cpu", "error", "category", "seconds"),
    [
        ({"queue": "nosuch"}, "20m", NotFound, "queue_not_found", 40),
        ({"queue": "q"}, "500m", InvalidInput, "quota_exceeded", 20),
    ],
)
def test_what_a_queue_can_never_let_in_is_told_and_taken_away(
    jobs: Live, queue: str, options: Object, cpu: str, error: type[FlexcoreError], category: str, seconds: float
) -> None:
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        script(jobs, "true", cpu=cpu, **options)
    assert (caught.value.category, caught.value.subject) == (category, "options.queue")
    assert time.monotonic() - begun < seconds and caught.value.details["deleted"] is True


def test_a_quota_holds_a_job_back_until_another_has_ended(jobs: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/api/v1/namespaces/{jobs.namespace}/resourcequotas"
    spec = {"hard": {"limits.memory": "64Mi"}}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": spec}
    quota = jobs.create(path, body)
    try:
        first, ends = run_in_background(jobs, "sleep", "8", memory="48Mi", timeout_s=90)
        running_pods(jobs)
        monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
        assert script(jobs, "true", memory="48Mi")["success"]
        first.join(90)
        assert ends[0]["success"]
    finally:
        jobs.kubernetes.delete(f"{path}/small", quota["metadata"]["uid"], Call("delete", "resourcequotas"))


@pytest.mark.parametrize(
    ("arguments", "reason", "category"),
    [
        ({"image": "registry.invalid/nosuch:1"}, "Failed", "image_unreachable"),
        ({"cpu": "500"}, "FailedScheduling", "unschedulable"),
    ],
)
def test_a_problem_is_reported_within_five_seconds_of_its_event(
    jobs: Live, arguments: Object, reason: str, category: str, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[float] = []
    text = ""
    thread, ends = run_in_background(jobs, "true", **{**arguments, "queue_timeout_s": 8, "timeout_s": 40})
    event: Object | None = None
    deadline = time.time() + 60
    while time.time() < deadline and not (told and event):
        text += capfd.readouterr().out
        if not told and f"({category})" in text:
            told.append(time.time())
        if event is None:
            found = jobs.listed(f"/api/v1/namespaces/{jobs.namespace}/events")
            mine = [item for item in found if item.get("reason") == reason]
            event = mine[-1] if mine else None
            seen = time.time()
        time.sleep(0.05)
    thread.join(90)
    assert event is not None and told, text
    with capfd.disabled():
        print(f"\n{category}: told {told[0] - seen:.2f} s after its event")
    assert told[0] - seen <= 5
    assert isinstance(ends[0], FlexcoreError) and ends[0].category == category


def test_nothing_of_all_this_is_left(jobs: Live) -> None:
    found = [job for job in jobs.jobs() if not (job.get("status") or {}).get("conditions")]
    assert found == [] and os.environ["WM_JOB_ID"]
