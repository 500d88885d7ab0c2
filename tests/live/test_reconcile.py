"""Deferred flows and orphans on a real Windmill with a real cluster: nothing is lost, nothing stays behind.

FLEXCORE_LIVE_IMAGE   an image with a shell, which the cluster can pull
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from tests.live.conftest import Windmill, push

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
FLOW = "f/flexcore/kubernetes/execute"
IMAGE = os.environ.get("FLEXCORE_LIVE_IMAGE", "")
PATIENCE_S = 180.0
Json = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Json:
    if not (os.environ.get("KUBECONFIG") and IMAGE):
        pytest.skip("no real cluster: KUBECONFIG or FLEXCORE_LIVE_IMAGE not set")
    return {"mode": "kubeconfig", "kubeconfig": Path(os.environ["KUBECONFIG"]).read_text()}


@pytest.fixture(scope="module")
def kubernetes(cluster: Json) -> Kubernetes:
    return connect(cluster, "default").kubernetes


@pytest.fixture(scope="module")
def settings(windmill: Windmill, cluster: Json, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Json]:
    """Settings that name the cluster, which is a resource of the workspace while the tests run."""
    push(windmill, tmp_path_factory.mktemp("wmill"))
    path = f"u/admin/live_{uuid.uuid4().hex[:8]}"
    body = {"path": path, "value": cluster, "resource_type": "c_kubernetes_cluster"}
    windmill.call("POST", "resources/create", body)
    yield {"kubernetes_clusters": [path]}
    windmill.call("DELETE", f"resources/delete/{path}")


@pytest.fixture
def reconcile(windmill: Windmill, settings: Json) -> Callable[[str], Json]:
    """One pass; the line of the table for a flow's object, {} when there is none."""

    def run(flow: str) -> Json:
        job = windmill.call("POST", "jobs/run/p/f/flexcore/operations/reconcile", {"settings": settings})
        success, result = windmill.finished(job)
        assert success, result
        names = [item["metadata"]["name"] for item in objects_of(kubernetes_of(settings, windmill), flow)]
        return next((line for line in result["table-row-object"] if any(n in line["object"] for n in names)), {})

    return run


def kubernetes_of(settings: Json, windmill: Windmill) -> Kubernetes:
    resource = windmill.call("GET", f"resources/get_value/{settings['kubernetes_clusters'][0]}")
    return connect(resource, "default").kubernetes


def objects_of(kubernetes: Kubernetes, flow: str) -> list[Json]:
    query = {"labelSelector": f"flexcore/root-job={flow}"}
    return list(kubernetes.list("/apis/batch/v1/namespaces/default/jobs", query, Call("list", "jobs"))["items"])


def start(windmill: Windmill, settings: Json, seconds: int, wait: str) -> str:
    request = {"cluster": f"$res:{settings['kubernetes_clusters'][0]}", "operation": "job", "image": IMAGE}
    work = {"command": ["sleep", str(seconds)], "cpu": "1m", "memory": "8Mi", "wait": wait}
    return str(windmill.call("POST", f"jobs/run/f/{FLOW}", {**request, **work}))


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(1)


def workers_held(windmill: Windmill, flow: str) -> int:
    """Running steps of a flow, at any depth."""
    queue = windmill.call("GET", "jobs/queue/list?per_page=1000")
    mine = [job for job in queue if job.get("running") and job["job_kind"] == "script"]
    return sum(windmill.call("GET", f"jobs_u/get_root_job_id/{job['id']}") == flow for job in mine)


def is_suspended(windmill: Windmill) -> bool:
    return any(job.get("suspend") for job in windmill.call("GET", "jobs/queue/list?per_page=1000"))


def test_a_deferred_flow_holds_no_worker_and_goes_on_when_its_job_has_ended(
    windmill: Windmill, settings: Json, kubernetes: Kubernetes, reconcile: Callable[[str], Json]
) -> None:
    flow = start(windmill, settings, 20, "defer")
    until(lambda: objects_of(kubernetes, flow) and is_suspended(windmill))
    assert workers_held(windmill, flow) == 0
    assert reconcile(flow)["reason"] == "its owner lives"
    until(lambda: reconcile(flow)["action"] == "resume")
    success, result = windmill.finished(flow)
    assert success, result
    (job,) = objects_of(kubernetes, flow)
    assert result["remote"]["uid"] == job["metadata"]["uid"]
    assert result["data"]["exit_code"] == 0


@pytest.mark.parametrize("wait", ["block", "defer"])
def test_a_cancelled_flow_leaves_nothing_behind(
    windmill: Windmill, settings: Json, kubernetes: Kubernetes, reconcile: Callable[[str], Json], wait: str
) -> None:
    flow = start(windmill, settings, 600, wait)
    until(lambda: objects_of(kubernetes, flow))
    assert reconcile(flow)["action"] == "leave"
    windmill.call("POST", f"jobs_u/queue/cancel/{flow}", {"reason": "test"})
    windmill.finished(flow)
    assert reconcile(flow).get("action", "stop") == "stop"
    until(lambda: not objects_of(kubernetes, flow))
