"""kubernetes/choose_cluster against Kubernetes APIs on loopback, one of which is silent."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput, NotFound, Unreachable
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.kubernetes import contact_records
from f.flexcore.lib.kubernetes.cluster_choice import choose_cluster
from f.flexcore.lib.storage.object_store import Store
from tests.kubernetes.fake_cluster import FakeCluster, Fault

READY = [{"type": "Ready", "status": "True"}]
Json = dict[str, Any]


@pytest.fixture
def other() -> Iterator[FakeCluster]:
    fake = FakeCluster()
    yield fake
    fake.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def resources(cluster: FakeCluster, other: FakeCluster, silent: str, tmp_path: Path) -> dict[str, Json]:
    for fake in (cluster, other):
        amounts = {"cpu": "4", "memory": "8Gi"}
        node = {"metadata": {"name": "n"}, "status": {"allocatable": amounts, "conditions": READY}}
        fake.do(fake.api.keep("v1/nodes", node))
    return {
        "f/x/east": cluster.resource | {"cpu_hour_usd": 0.05, "region": "eu", "capabilities": ["eu-only"]},
        "f/x/west": other.resource | {"cpu_hour_usd": 0.02, "region": "us"},
        "f/x/silent": {"mode": "token", "server": silent, "token": "t", "cpu_hour_usd": 0.01},
    }


class Choose:
    def __init__(self, resources: dict[str, Json], home: Path) -> None:
        self.resources = resources
        self.settings = {"storage_uri": f"file://{home}"}

    def read(self, name: str) -> Json:
        if name not in self.resources:
            raise NotFound(f"The resource {name} does not exist", subject=name)
        return self.resources[name]

    def __call__(self, *clusters: str, **more: Any) -> Json:
        # The silent one is waited for; the others answer as soon as this machine lets them.
        limit = 3 if "f/x/silent" in clusters else 20
        given = {"clusters": list(clusters), "cpu": "1", "expected_s": 3600, "contact_timeout_s": limit, **more}
        return choose_cluster({"settings": self.settings, **given}, self.read)


@pytest.fixture
def choose(resources: dict[str, Json], tmp_path: Path) -> Choose:
    return Choose(resources, tmp_path)


def test_the_cheapest_cluster_that_answers_is_given_as_a_reference(choose: Choose) -> None:
    found = choose("f/x/east", "f/x/west", "f/x/silent")["data"]
    assert found["cluster"] == "$res:f/x/west" and found["clusters"] == ["$res:f/x/west"]
    rows = {row["cluster"]: row for row in found["candidates"]}
    assert rows["f/x/west"]["rank"] == 1 and rows["f/x/west"]["usd"] == pytest.approx(0.02)
    assert rows["f/x/east"]["rank"] == 2 and rows["f/x/east"]["room"] == 1
    assert rows["f/x/silent"]["verdict"] == "will not" and "does not answer" in rows["f/x/silent"]["reason"]


@pytest.mark.fault(7, "I1")
def test_a_cluster_that_never_answers_delays_nobody(choose: Choose) -> None:
    begin = time.monotonic()
    choose("f/x/east", "f/x/silent", contact_timeout_s=3)
    assert time.monotonic() - begin < 6


def test_what_is_required_leaves_the_others_out(choose: Choose) -> None:
    found = choose("f/x/east", "f/x/west", capabilities=["eu-only"])["data"]
    assert found["cluster"] == "$res:f/x/east"
    assert "it lacks eu-only" in {row["reason"] for row in found["candidates"]}
    assert choose("f/x/east", "f/x/west", strategy="spread")["data"]["clusters"] == ["$res:f/x/west", "$res:f/x/east"]


def test_when_no_candidate_is_left_each_reason_is_named(choose: Choose) -> None:
    with pytest.raises(InvalidInput) as caught:
        choose("f/x/east", "f/x/west", cpu="16", regions=["eu"])
    text = str(caught.value)
    assert "f/x/east: no node has 16 cores: the largest has 4" in text and "f/x/west: its region is us, not eu" in text
    assert "Ask for less, or name other clusters." in text and caught.value.category == "no_cluster"
    assert len(caught.value.details["candidates"]) == 2


def test_when_only_silent_clusters_are_left_a_later_try_may_help(choose: Choose) -> None:
    with pytest.raises(Unreachable, match=r"f/x/west: no node has 16 cores.*f/x/silent: .*not answer") as caught:
        choose("f/x/west", "f/x/silent", cpu="16")
    assert caught.value.retryable


def test_an_unknown_capability_is_refused_with_the_one_that_was_meant(choose: Choose) -> None:
    with pytest.raises(InvalidInput, match="'eu-onli' is not known, did you mean eu-only"):
        choose("f/x/east", "f/x/west", capabilities=["eu-onli"])


def test_two_resources_of_the_same_cluster_are_refused_by_name(choose: Choose) -> None:
    choose.resources["f/x/alias"] = choose.resources["f/x/east"] | {"cpu_hour_usd": 0.001}
    with pytest.raises(InvalidInput, match="f/x/east and f/x/alias name the same cluster"):
        choose("f/x/east", "f/x/west", "f/x/alias")
    # Another namespace of it is another place to work.
    choose.resources["f/x/alias"] |= {"namespace": "default"}
    assert choose("f/x/east", "f/x/alias")["data"]["cluster"] == "$res:f/x/alias"


def test_a_spread_over_more_clusters_than_there_are_is_refused(choose: Choose) -> None:
    with pytest.raises(InvalidInput, match="count: 3 clusters were asked for and 2 can be used: f/x/silent"):
        choose("f/x/east", "f/x/west", "f/x/silent", strategy="spread", count=3)


def test_a_resource_that_does_not_exist_is_a_candidate_with_its_reason(choose: Choose) -> None:
    found = choose("f/x/east", "f/x/nowhere")["data"]
    assert found["cluster"] == "$res:f/x/east"
    assert "The resource f/x/nowhere does not exist" in {row["reason"] for row in found["candidates"]}


def test_a_cluster_that_refuses_has_answered_and_is_not_lost(choose: Choose, cluster: FakeCluster) -> None:
    cluster.api.faults = [Fault(method="GET", path="/version", status=401, body={"kind": "Status"})]
    with pytest.raises(InvalidInput, match="does not accept the credentials"):
        choose("f/x/east")
    record = contact_records.read(Store(Settings(**choose.settings)), "f/x/east")
    assert record.first_failed is None and "credentials" in record.problem


def test_the_last_contact_with_each_cluster_is_kept(choose: Choose) -> None:
    choose("f/x/east", "f/x/silent")
    store = Store(Settings(**choose.settings))
    seen, lost = contact_records.read(store, "f/x/east"), contact_records.read(store, "f/x/silent")
    assert seen.at and seen.server_time and abs(seen.at - seen.server_time) < 5 and seen.first_failed is None
    assert lost.at is None and lost.first_failed
    choose("f/x/east", "f/x/silent")
    assert contact_records.read(store, "f/x/silent").first_failed == lost.first_failed


def test_what_may_not_be_seen_is_not_measured_and_comes_last(choose: Choose, other: FakeCluster) -> None:
    other.api.denied = {"nodes"}
    rows = choose("f/x/east", "f/x/west")["data"]["candidates"]
    assert [row["cluster"] for row in rows] == ["f/x/east", "f/x/west"]
    assert rows[1]["room"] is None and "free resources not measured" in rows[1]["reason"]
