"""Jobs in a queue of Kueue, and attempts that wait for the pods of an earlier one, against an API on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput, NotFound, Unavailable
from f.flexcore.lib.core.identity import execution_key
from tests.kubernetes.fake_cluster import Api, FakeCluster, now
from tests.kubernetes.stories import ends, succeeds, true
from tests.kubernetes.test_run_job import jobs, run

Object = dict[str, Any]
KEY = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a"})


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kueue_status.WORKLOAD_TIMEOUT_S", "kueue_status.INADMISSIBLE_GRACE_S", "queue_watch.ABSENT_GRACE_S"):
        monkeypatch.setattr(f"f.flexcore.lib.kubernetes_api.{name}", 0.2)
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.queue_watch.QUEUE_INTERVAL_S", 0.1)


def workload(job: Object, *conditions: Object, **spec: Any) -> Object:
    uid = job["metadata"]["uid"]
    metadata = {
        "name": "w",
        "namespace": "work",
        "labels": {"kueue.x-k8s.io/job-uid": uid},
        "ownerReferences": [{"uid": uid}],
    }
    return {"metadata": metadata, "spec": spec, "status": {"conditions": list(conditions)}}


def reserved(reason: str, message: str) -> Object:
    return {"type": "QuotaReserved", "status": "False", "reason": reason, "message": message}


def queued(*conditions: Object, **spec: Any) -> Any:
    """Kueue keeps the Job suspended, and says why."""

    async def play(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            await api.keep("kueue.x-k8s.io/v1beta2/workloads", workload(item, *conditions, **spec))

    return play


def admitted(cluster: FakeCluster, after_s: float) -> None:
    async def play(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            assert item["spec"]["suspend"] is True, "no pod may start before its turn"
            waiting = reserved("Pending", "couldn't assign flavors to pod set main: insufficient unused quota for cpu")
            await api.keep("kueue.x-k8s.io/v1beta2/workloads", workload(item, waiting))
            await asyncio.sleep(after_s)
            item["spec"]["suspend"] = False
            await api.keep("v1/pods", ends()(item))
            await api.keep(resource, {**item, "status": {"conditions": [true("Complete")], "succeeded": 1}})

    cluster.api.kueue, cluster.api.story = True, play


def test_a_job_that_waits_for_its_turn_says_for_what_and_runs(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    admitted(cluster, 2.5)
    assert run(cluster, options={"queue": "team"}, queue_timeout_s=1)["success"]
    said = capsys.readouterr().out
    assert said.count("Waiting (suspended): Queued in team: couldn't assign flavors") == 1


@pytest.mark.parametrize(
    ("story", "priority", "error", "category"),
    [
        (queued(reserved("Inadmissible", "LocalQueue team doesn't exist")), "", NotFound, "queue_not_found"),
        (
            queued(reserved("Pending", "insufficient quota for cpu, 4 > maximum capacity 2")),
            "",
            InvalidInput,
            "quota_exceeded",
        ),
        (queued(active=False), "", Unavailable, "queue_deactivated"),
        (None, "", Unavailable, "queue_silent"),
        (None, "high", NotFound, "queue_silent"),
    ],
)
def test_what_no_waiting_helps_with_is_told_and_the_job_taken_away(
    cluster: FakeCluster, story: Any, priority: str, error: type[FlexcoreError], category: str
) -> None:
    cluster.api.kueue, cluster.api.story = True, story
    with pytest.raises(error) as caught:
        run(cluster, options={"queue": "team", "queue_priority": priority})
    assert (caught.value.category, caught.value.subject) == (category, "options.queue")
    assert caught.value.remedy and jobs(cluster) == []


def test_a_cluster_without_kueue_is_named(cluster: FakeCluster) -> None:
    with pytest.raises(NotFound, match="Kueue is not on this cluster") as caught:
        run(cluster, options={"queue": "team"})
    assert caught.value.category == "kueue_absent" and jobs(cluster) == []


def test_a_workload_that_may_not_be_read_says_nothing_of_the_job(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    admitted(cluster, 2.0)
    cluster.api.denied = {"list workloads"}
    assert run(cluster, options={"queue": "team"})["success"]
    assert "suspended until its queue team admits it" in capsys.readouterr().out


# --- pods of an earlier attempt


def leftover(**metadata: Any) -> Object:
    labels = {"flexcore/key": KEY.value}
    owner = [{"kind": "Job", "name": KEY.name(1), "uid": "gone"}]
    common = {"name": "left", "namespace": "work", "labels": labels, "ownerReferences": owner}
    spec = {"containers": [], "terminationGracePeriodSeconds": 0}
    return {"metadata": common | metadata, "spec": spec, "status": {"phase": "Running"}}


@pytest.mark.parametrize("marks", [{"deletionTimestamp": now()}, {}], ids=["terminating", "not yet marked"])
@pytest.mark.fault(19, "I2")
def test_the_next_attempt_waits_for_pods_whose_job_is_gone(
    cluster: FakeCluster, marks: Object, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.api.story = succeeds()
    cluster.do(cluster.api.keep("v1/pods", leftover(**marks)))
    ended: list[float] = []

    async def end() -> None:
        await asyncio.sleep(1.5)
        ended.append(time.monotonic())
        await cluster.api.drop("v1/pods", "work", "left")

    thread = threading.Thread(target=lambda: cluster.do(end()))
    thread.start()
    begun = time.monotonic()
    assert run(cluster)["success"]
    thread.join()
    assert ended[0] - begun > 1 and "Pods of an earlier attempt still end (left)" in capsys.readouterr().out
    created = [str(item.url.path) for item in cluster.api._requests if item.method.value == "POST"]
    assert len(created) == 1


@pytest.mark.fault(19, "I2")
def test_pods_that_do_not_end_keep_the_next_attempt_from_starting(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes.leftover_pods.EXTRA_GRACE_S", 0.5)
    cluster.do(cluster.api.keep("v1/pods", leftover(deletionTimestamp=now())))
    with pytest.raises(Unavailable, match="two must not work at the same time") as caught:
        run(cluster)
    assert (caught.value.category, caught.value.retryable) == ("pods_left", True) and jobs(cluster) == []


def test_a_pod_that_has_ended_is_not_waited_for(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    pod = leftover()
    pod["status"]["phase"] = "Failed"
    cluster.do(cluster.api.keep("v1/pods", pod))
    assert run(cluster)["success"]
