"""A flow that waits without a worker, on the local engine: suspended, resumed or stopped by `operations/reconcile`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wmill

from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.stories import ends, true
from wmlocal.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
ROOT = Path(__file__).parent.parent.parent
FLOW = "f/flexcore/kubernetes/execute"
PATIENCE_S = 60.0
Json = dict[str, Any]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(ROOT) as running:
        yield running


@pytest.fixture
def reconcile(engine: Engine, cluster: FakeCluster) -> Iterator[Callable[[], Json]]:
    """One pass over the cluster; returns object name → line of its table."""
    client = wmill.Windmill(engine.url, engine.token, engine.workspace)  # type: ignore[no-untyped-call]
    path = f"u/test/cluster_{uuid.uuid4().hex[:8]}"
    body = {"path": path, "value": cluster.resource, "resource_type": "c_kubernetes_cluster"}
    client.post(f"/w/{client.workspace}/resources/create", json=body)

    def run() -> Json:
        done = engine.run("f/flexcore/operations/reconcile", {"settings": {"kubernetes_clusters": [path]}})
        assert done.success, done.result
        return {line["object"]: line for line in done.result["table-row-object"]}

    yield run
    client.client.delete(f"/w/{client.workspace}/resources/delete/{path}")


def jobs(cluster: FakeCluster) -> list[Json]:
    return cluster.api.all("batch/v1/jobs")


def suspended_flow(engine: Engine, cluster: FakeCluster, wait: Json) -> Any:
    """A flow that has submitted its Job and holds no worker."""
    flow = engine.start(FLOW, {"cluster": cluster.resource, "operation": "job", "image": "busybox:1", **wait})
    until = time.monotonic() + PATIENCE_S
    while not (jobs(cluster) and engine.store.jobs("status = 'suspended'", [], 10, 0, False, ("id",))):
        assert time.monotonic() < until and not flow.done.is_set(), engine.wait(flow).result
        time.sleep(0.1)
    return flow


@pytest.mark.parametrize("wait", [{"wait": "defer"}, {"wait": "auto", "expected_s": 600}], ids=["defer", "auto"])
def test_the_flow_goes_on_when_its_deferred_job_has_ended(
    engine: Engine, cluster: FakeCluster, reconcile: Callable[[], Json], wait: Json
) -> None:
    flow = suspended_flow(engine, cluster, wait)
    (job,) = jobs(cluster)
    (line,) = reconcile().values()
    assert (line["action"], line["reason"]) == ("leave", "its owner lives")
    cluster.do(cluster.api.keep("v1/pods", ends()(job)))
    cluster.do(cluster.api.keep("batch/v1/jobs", job | {"status": {"conditions": [true("Complete")], "succeeded": 1}}))
    (line,) = reconcile().values()
    assert (line["action"], line["outcome"]) == ("resume", "resumed")
    done = engine.wait(flow)
    assert done.success, done.result
    assert done.result["remote"]["uid"] == job["metadata"]["uid"]
    assert done.result["data"]["exit_code"] == 0
    assert len(cluster.asked("POST", "/jobs")) == 1


@pytest.mark.fault(2, "I4")
def test_the_job_of_a_flow_that_was_cancelled_while_it_waited_is_stopped(
    engine: Engine, cluster: FakeCluster, reconcile: Callable[[], Json]
) -> None:
    flow = suspended_flow(engine, cluster, {"wait": "defer"})
    engine.cancel(flow.id)
    assert not engine.wait(flow).success
    (line,) = reconcile().values()
    assert (line["action"], line["outcome"]) == ("stop", "deleted")
    assert jobs(cluster) == []


def test_work_that_is_expected_to_be_short_keeps_its_worker(engine: Engine, cluster: FakeCluster) -> None:
    from tests.kubernetes.stories import succeeds

    cluster.api.story = succeeds()
    short = {"wait": "auto", "expected_s": 599}
    done = engine.run(FLOW, {"cluster": cluster.resource, "operation": "job", "image": "busybox:1", **short})
    assert done.success, done.result
    assert "flexcore/deferred" not in jobs(cluster)[0]["metadata"]["labels"]
