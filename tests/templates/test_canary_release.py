"""canary_release on the local engine, against a Kubernetes API on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kmock
import pytest

from f.flexcore.lib.core.contracts import FlowFailure
from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.test_shift_traffic import GRANTS, ROUTES, SLICES, accepted, add_version
from tests.templates.conftest import keep
from wmlocal.engine import Engine

FLOW = "f/flexcore/kubernetes/canary_release"


@pytest.fixture
def cluster(engine: Engine) -> Iterator[FakeCluster]:
    fake = FakeCluster()
    for name in (ROUTES, GRANTS, SLICES):
        fake.api.resources[name] = kmock.ResourceInfo()
    fake.api.story = accepted
    add_version(fake, "one")
    add_version(fake, "two")
    keep(engine, "kubernetes", "c_kubernetes_cluster", fake.resource)
    yield fake
    fake.close()


def arguments(**more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "cluster": "$res:u/admin/flexcore_local_kubernetes",
        "settings": "$res:u/admin/flexcore_local_settings",
    }
    given |= {"stable": "one", "candidate": "two", "route": "demo", "gateway": "web", "canary_weights": [50]}
    return {**given, "pause_s": 1, "min_requests": 2, "max_latency_ratio": 0, "approve": False, **more}


def weights(cluster: FakeCluster) -> dict[str, int]:
    (route,) = cluster.api.all(ROUTES)
    return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]}


def test_a_candidate_gets_its_canary_and_then_all_requests(engine: Engine, cluster: FakeCluster) -> None:
    cluster.api.proxied = lambda method, path, body: (200, {})
    done = engine.run(FLOW, arguments())
    assert done.success, done.result
    assert done.result["data"]["outcome"] == "promoted" and weights(cluster) == {"one": 0, "two": 100}
    assert [step["weight"] for step in done.result["data"]["steps"]] == [100]


def test_a_canary_that_is_not_promoted_is_a_failed_flow_with_its_category(engine: Engine, cluster: FakeCluster) -> None:
    cluster.api.proxied = lambda method, path, body: (500, {})
    done = engine.run(FLOW, arguments())
    assert not done.success
    failure = FlowFailure.model_validate(done.result)
    assert (failure.category, failure.failed_step) == ("canary_inconclusive", "canary") and not failure.retryable
    assert weights(cluster) == {"one": 100, "two": 0}
