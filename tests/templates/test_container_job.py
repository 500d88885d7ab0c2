"""container_job against a Kubernetes API on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import FlowFailure
from tests.kubernetes.fake_cluster import FakeCluster, status
from tests.kubernetes.stories import fails, succeeds
from tests.operations.notification_servers import serving
from tests.templates.conftest import Run, keep, only_note, sample
from wmlocal.engine import Engine

TEMPLATE = "container_job"
REFUSED = 'namespaces is forbidden: User "u" cannot list resource "namespaces" in API group "" at the cluster scope'


@pytest.fixture
def cluster(engine: Engine) -> Iterator[FakeCluster]:
    fake = FakeCluster()
    keep(engine, "kubernetes", "c_kubernetes_cluster", fake.resource)
    yield fake
    fake.close()


def container(cluster: FakeCluster) -> dict[str, Any]:
    (job,) = cluster.asked("POST", "/jobs")
    return dict(job.data["spec"]["template"]["spec"]["containers"][0])


def test_the_sample_input_runs_to_its_end(cluster: FakeCluster, run: Run) -> None:
    cluster.api.story = succeeds()
    done = run(TEMPLATE, sample(TEMPLATE))
    assert done.success, done.result
    assert done.result["data"]["exit_code"] == 0
    made = container(cluster)
    assert made["command"] == ["sh", "-c", "echo It runs."]
    assert made["resources"]["requests"] == {"cpu": "500m", "memory": "512Mi"}


def test_a_size_of_ones_own_is_reserved(cluster: FakeCluster, run: Run) -> None:
    cluster.api.story = succeeds()
    own = {"size": "own", "cpu": "3", "memory": "5Gi", "gpus": 1, "namespace": "work"}
    assert run(TEMPLATE, sample(TEMPLATE) | own).success
    requests = container(cluster)["resources"]["requests"]
    assert (requests["cpu"], requests["memory"]) == ("3", "5Gi")
    assert "/namespaces/work/jobs" in str(cluster.asked("POST", "/jobs")[0].url)


def test_a_container_that_fails_is_diagnosed_and_not_started_again(cluster: FakeCluster, run: Run) -> None:
    cluster.api.story = fails(3)
    done = run(TEMPLATE, sample(TEMPLATE))
    assert not done.success
    failure = FlowFailure.model_validate(done.result)
    assert failure.failed_step == "job" and not failure.retryable and failure.notified is None
    assert failure.details["diagnosis"]["category"]
    assert len(cluster.asked("POST", "/jobs")) == 1


class Namespaces(BaseHTTPRequestHandler):
    """GET /api/v1/namespaces, which kmock 0.8 takes for a path that it cannot read."""

    answers: tuple[int, dict[str, Any]] = (
        200,
        {"items": [{"metadata": {"name": name}} for name in ("work", "default")]},
    )

    def do_GET(self) -> None:
        code, body = self.answers if self.path == "/api/v1/namespaces" else (404, {})
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Closed(Namespaces):
    answers = (403, status(403, "Forbidden", REFUSED, kind="namespaces"))


def cluster_of(server: ThreadingHTTPServer) -> dict[str, Any]:
    return {"mode": "token", "server": f"http://127.0.0.1:{server.server_address[1]}", "token": "t", "namespace": "own"}


def test_the_form_lists_the_namespaces_of_the_cluster(offered: Callable[..., list[dict[str, Any]]]) -> None:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Namespaces)) as server:
        listed = offered(TEMPLATE, "namespace", cluster=cluster_of(server))
        assert listed == [{"label": name, "value": name} for name in ("default", "work")]
        typed = offered(TEMPLATE, "namespace", cluster=cluster_of(server), filterText="WO")
        assert [item["value"] for item in typed] == ["work"]
    assert "First choose a cluster" in only_note(offered(TEMPLATE, "namespace"))


def test_without_the_right_to_list_namespaces_the_form_has_the_clusters_own(
    offered: Callable[..., list[dict[str, Any]]],
) -> None:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Closed)) as server:
        listed = offered(TEMPLATE, "namespace", cluster=cluster_of(server))
    assert [item["value"] for item in listed] == ["own"]
