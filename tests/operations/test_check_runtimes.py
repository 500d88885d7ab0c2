"""How the runtimes are, asked of a Ray dashboard, a Kubernetes API and this worker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from f.flexcore.lib.core.operation import Health, Runtime
from f.flexcore.lib.runtimes import RUNTIMES
from f.flexcore.operations import check_runtimes
from tests.kubernetes.fake_cluster import FakeCluster
from tests.ray.fake_dashboard import FakeDashboard

Run = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def run(worker: None) -> Run:
    """Place → its line."""

    def call(**settings: Any) -> dict[str, dict[str, Any]]:
        html, table = check_runtimes.main(
            {"ray_clusters": ["f/x/ray"], "kubernetes_clusters": ["f/x/k8s"], **settings}
        )["render_all"]
        lines = {line["place"]: line for line in table["table-row-object"]}
        assert all(line["state"] in html["html"] for line in lines.values())
        return lines

    return call


def test_every_cluster_of_the_settings_the_worker_and_the_store_are_measured(
    run: Run, dashboard: FakeDashboard, cluster: FakeCluster
) -> None:
    dashboard.jobs["x"] = {"status": "RUNNING"}
    lines = run()
    assert {line["runtime"] for line in lines.values()} == {"meltano", "ray", "kubernetes", "store"}
    ray = lines["f/x/ray"]
    assert (ray["version"], ray["cpus_total"], ray["cpus_free"], ray["queue"]) == ("2.60.0", 4, 0, 1)
    assert (ray["state"], ray["detail"]) == ("limited", "All CPUs are in use: new work waits")
    assert lines["f/x/k8s"]["state"] == "ready"
    assert lines["f/x/k8s"]["capabilities"]["operations"] == ["job", "deploy"]
    # Of a large cluster these are long lists.
    assert len(cluster.asked("GET", "/api/v1/pods")) == len(cluster.asked("GET", "/api/v1/nodes")) == 1


def test_a_runtime_that_does_not_answer_is_down_and_says_why(run: Run, dashboard: FakeDashboard) -> None:
    dashboard.script = lambda method, path: (503, "starting")
    lines = run(ray_clusters=["f/x/ray", "$res:f/x/none"])
    assert (lines["f/x/ray"]["state"], lines["f/x/ray"]["version"]) == ("down", None)
    assert "HTTP 503" in lines["f/x/ray"]["detail"]
    assert "resource f/x/none does not exist" in lines["f/x/none"]["detail"]
    assert lines["f/x/k8s"]["state"] == "ready"


def test_rights_that_are_missing_limit_a_cluster_or_take_it_out(run: Run, cluster: FakeCluster) -> None:
    cluster.api.denied |= {"create deployments"}
    line = run()["f/x/k8s"]
    assert (line["state"], line["capabilities"]["operations"]) == ("limited", ["job"])
    assert "create deployments.apps" in line["detail"]
    cluster.api.denied |= {"jobs"}
    assert run()["f/x/k8s"]["state"] == "down"


def test_a_runtime_that_the_settings_disable_is_not_asked(run: Run, dashboard: FakeDashboard) -> None:
    lines = run(runtimes={"ray": {"enabled": False}})
    assert {line["runtime"] for line in lines.values()} == {"meltano", "kubernetes", "store"}
    assert not dashboard.requests


def test_a_store_that_cannot_be_written_is_down(run: Run) -> None:
    line = run(storage_uri="file:///dev/null/store")["file:///dev/null/store"]
    assert line["state"] == "down" and "store" in line["detail"]


def test_a_new_runtime_is_one_entry(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ModuleType("toy_runtime")
    toy.health = lambda place: Health("toy", "toy box", "ready", version="1")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_runtime", toy)
    toy_runtime = Runtime("toy", "toys", "toys", {"play": "toy_runtime:PLAY"}, ("play",), health="toy_runtime:health")
    monkeypatch.setitem(RUNTIMES, "toy", toy_runtime)
    assert run()["toy box"]["version"] == "1"
