"""A pass over the half-done canaries of a Kubernetes API on a real local port."""

from __future__ import annotations

import time
from typing import Any

import kmock
import pytest

from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.kubernetes import traffic_record
from f.flexcore.operations import reconcile
from tests.kubernetes.fake_cluster import FakeCluster
from tests.operations.fake_windmill import FakeWindmill

ROUTES = "gateway.networking.k8s.io/v1/httproutes"
SETTINGS = {"kubernetes_clusters": ["$res:f/x/k8s"]}


def half_done(cluster: FakeCluster, name: str, owner: str, workspace: str = "test") -> None:
    """A route whose driver is gone, at 75 to 25."""
    key = execution_key({"WM_FLOW_JOB_ID": owner, "WM_FLOW_STEP_ID": name, "WM_WORKSPACE": workspace})
    fields: dict[str, Any] = {"key": key.value, "attempt": 1, "token": name, "owner_job": owner, "root_job": owner}
    fields |= {"flow_step": name, "workspace": workspace, "stable": "one", "candidate": "two", "step": 1}
    shares: dict[str, Any] = {"before": {"one": 100, "two": 0}, "current": {"one": 75, "two": 25}}
    record = traffic_record.ShiftRecord(**fields, **shares, deadline=time.time() + 600)
    refs = [{"name": "one", "port": 8080, "weight": 75}, {"name": "two", "port": 8080, "weight": 25}]
    metadata = {"name": name, "namespace": "work", **traffic_record.mark(record)}
    item = {"metadata": metadata, "spec": {"rules": [{"backendRefs": refs}]}}
    cluster.do(cluster.api.keep(ROUTES, {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", **item}))


def weights(cluster: FakeCluster) -> dict[str, list[int]]:
    return {
        item["metadata"]["name"]: [ref["weight"] for ref in item["spec"]["rules"][0]["backendRefs"]]
        for item in cluster.api.all(ROUTES)
    }


@pytest.mark.fault(1, "I4")
def test_weights_go_back_when_their_owner_has_ended_and_only_then(
    windmill: FakeWindmill, cluster: FakeCluster, worker: None
) -> None:
    cluster.api.resources[ROUTES] = kmock.ResourceInfo()
    windmill.runs("pass-1", script_path=reconcile.PATH, started_at="2026-01-01T00:00:10Z")
    windmill.runs("alive")
    windmill.runs("approved-soon", suspended=True)
    windmill.completed.add("dead")
    half_done(cluster, "a", "dead")
    half_done(cluster, "b", "alive")
    half_done(cluster, "c", "approved-soon")
    half_done(cluster, "d", "unheard-of")
    half_done(cluster, "e", "dead", workspace="another")
    rows: list[dict[str, Any]] = reconcile.main(SETTINGS)["table-row-object"]
    stopped = [row for row in rows if row["action"] == "stop"]
    assert [(row["object"], row["outcome"]) for row in stopped] == [
        ("shift work/HTTPRoute/a", "moved back to one 100, two 0")
    ]
    assert weights(cluster) == {"a": [100, 0], "b": [75, 25], "c": [75, 25], "d": [75, 25], "e": [75, 25]}
    assert len(rows) == 5
    again: list[dict[str, Any]] = reconcile.main(SETTINGS)["table-row-object"]
    assert {row["action"] for row in again} == {"leave"} and len(again) == 4
