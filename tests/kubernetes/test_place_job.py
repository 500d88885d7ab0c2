"""kubernetes/place_job: a job goes to the cluster that suits it, and moves only when it may. Two APIs on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import ExecutionFailed, FlexcoreError, InvalidInput, Unreachable
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.kubernetes import contact_records, placed_job
from f.flexcore.lib.kubernetes.placed_job import PlacedJob, place_job
from f.flexcore.lib.kubernetes.placement_moves import DEADLINE_MARGIN_S
from f.flexcore.lib.kubernetes.placement_records import PlacementBook, PlacementRecord, update_copy
from f.flexcore.lib.storage.object_store import Store
from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.stories import fails, succeeds

Json = dict[str, Any]
GONE = "http://127.0.0.1:1"


@pytest.fixture
def other() -> Iterator[FakeCluster]:
    fake = FakeCluster()
    yield fake
    fake.close()


class Clusters:
    """East is cheaper; `cut` and `mend` are between it and us."""

    def __init__(self, east: FakeCluster, west: FakeCluster, home: Path) -> None:
        self.fakes = {"f/x/east": east, "f/x/west": west}
        for fake in self.fakes.values():
            status = {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}
            fake.do(fake.api.keep("v1/nodes", {"metadata": {"name": "n"}, "status": status}))
        self.resources = {
            "f/x/east": east.resource | {"cpu_hour_usd": 0.01},
            "f/x/west": west.resource | {"cpu_hour_usd": 0.02},
        }
        self.settings = {"storage_uri": f"file://{home}"}
        self.store = Store(Settings(**self.settings))
        self.book = PlacementBook(self.store)
        self.key = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a"}).value

    def run(self, **more: Any) -> Json:
        job = {"image": "busybox:1", "cpu": "1", "timeout_s": 60, **more.pop("job", {})}
        placement = {"clusters": ["f/x/east", "f/x/west"], "expected_s": 60, "contact_timeout_s": 20}
        given = {"job": job, "placement": placement | more.pop("placement", {}), **more}
        return place_job({"settings": self.settings, **given}, self.resources.__getitem__)

    def cut(self) -> None:
        self.resources["f/x/east"] = {"mode": "token", "server": GONE, "token": "t", "cpu_hour_usd": 0.01}

    def mend(self) -> None:
        self.resources["f/x/east"] = self.fakes["f/x/east"].resource | {"cpu_hour_usd": 0.01}

    def record(self) -> PlacementRecord:
        found = self.book.read("jobs", self.key)
        assert found is not None
        return found

    def jobs(self, name: str) -> list[Json]:
        return list(self.fakes[f"f/x/{name}"].api.all("batch/v1/jobs"))

    def put_running_job(self, **facts: Any) -> None:
        """A step that has died after its Job was seen to run on east, whose cluster is then lost."""
        self.fakes["f/x/east"].api.story = succeeds()
        self.run()
        fresh = {"was_sent": True, "has_ended": False, "limit_s": 60, "grace_s": 3, **facts}
        self.book.change("jobs", self.key, lambda stored: stored and update_copy(stored, "f/x/east", **fresh))
        self.cut()


@pytest.fixture
def clusters(cluster: FakeCluster, other: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clusters:
    other.api.story = succeeds()
    monkeypatch.setattr(placed_job, "RETRY_INTERVAL_S", 0.1)
    return Clusters(cluster, other, tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed_job, "MAX_WAIT_S", 0.2)


def test_a_job_really_goes_to_the_chosen_cluster_and_a_repeat_finds_it_there(clusters: Clusters) -> None:
    clusters.fakes["f/x/east"].api.story = succeeds()
    result = clusters.run()
    assert result["data"]["cluster"] == "$res:f/x/east" and result["data"]["moves"] == []
    assert len(clusters.jobs("east")) == 1 and clusters.jobs("west") == []
    # West has become cheaper; the execution is where it is.
    clusters.resources["f/x/west"]["cpu_hour_usd"] = 0.001
    assert clusters.run()["remote"]["uid"] == result["remote"]["uid"]
    assert clusters.jobs("west") == []


def test_the_record_has_what_a_later_decision_needs(clusters: Clusters) -> None:
    clusters.fakes["f/x/east"].api.story = succeeds()
    clusters.run()
    (copy,) = clusters.record().copies
    assert copy.was_sent and copy.limit_s == 60 and copy.grace_s == 3 and copy.uid
    assert clusters.record().labels["flexcore/owner-job"] == "flow-1"
    assert contact_records.read(clusters.store, "f/x/east").server_time


@pytest.mark.fault(7, "I1")
def test_a_cluster_that_is_lost_before_anything_was_created_gets_nothing(clusters: Clusters) -> None:
    clusters.cut()
    result = clusters.run(placement={"prefer": "price"})
    assert result["data"]["cluster"] == "$res:f/x/west"


@pytest.mark.fault(7, "I1")
def test_a_job_that_may_still_run_there_is_not_started_elsewhere(clusters: Clusters, impatient: None) -> None:
    clusters.put_running_job(started=None)
    with pytest.raises(Unreachable, match=r"f/x/east does not answer, and the job is not started elsewhere") as caught:
        clusters.run()
    assert "last contact" in str(caught.value) and caught.value.details["clocks"]["last_contact"]
    assert "safe_to_repeat" in str(caught.value) and caught.value.retryable
    assert clusters.jobs("west") == []


def test_a_job_that_may_run_twice_starts_elsewhere_at_once_and_its_copy_is_remembered(clusters: Clusters) -> None:
    clusters.put_running_job(started=None)
    result = clusters.run(safe_to_repeat=True)
    assert result["data"]["cluster"] == "$res:f/x/west"
    assert [item["source"] for item in result["data"]["moves"]] == ["f/x/east"]
    (left,) = clusters.record().left
    assert left.cluster == "f/x/east" and left.name == clusters.jobs("east")[0]["metadata"]["name"]


@pytest.mark.fault(7, "I1")
def test_a_job_starts_elsewhere_when_its_deadline_there_has_passed_and_not_before(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters.put_running_job(started=time.time() - 60 - 3 - DEADLINE_MARGIN_S + 6)
    begin = time.time()
    tried: list[float] = []
    monkeypatch.setattr(PlacedJob, "_move", noting(PlacedJob._move, tried))
    result = clusters.run()
    assert result["data"]["cluster"] == "$res:f/x/west" and "has passed" in result["data"]["moves"][0]["reason"]
    assert tried and tried[0] - begin >= 5


def noting(method: Callable[..., Any], times: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        times.append(time.time())
        return method(*arguments)

    return call


def test_a_cluster_that_comes_back_in_time_keeps_its_job(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters.put_running_job(started=None)
    monkeypatch.setattr(PlacedJob, "_undecided", lambda self, *_: pytest.fail("it came back"))
    settle = PlacedJob._settle

    def mend(*given: Any) -> float:
        clusters.mend()
        return settle(*given)

    monkeypatch.setattr(PlacedJob, "_settle", mend)
    result = clusters.run()
    assert result["data"]["cluster"] == "$res:f/x/east" and result["data"]["moves"] == []
    assert clusters.jobs("west") == []


def test_a_job_that_fails_is_no_lost_cluster(clusters: Clusters) -> None:
    clusters.fakes["f/x/east"].api.story = fails(3)
    with pytest.raises(ExecutionFailed, match="exit code 3"):
        clusters.run(safe_to_repeat=True)
    assert clusters.jobs("west") == []


def test_a_store_that_cannot_be_written_starts_nothing(clusters: Clusters, tmp_path: Path) -> None:
    clusters.settings = {"storage_uri": "file:///proc/nowhere"}
    with pytest.raises(FlexcoreError, match="/proc/nowhere"):
        clusters.run()
    assert clusters.jobs("east") == clusters.jobs("west") == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"job": {"cpu": "half"}}, r"job\.cpu"),
        ({"job": {"imagee": "x"}}, r"job\.imagee is not a known field"),
        ({"job": {"wait": "defer"}}, r"job\.wait: 'defer' cannot be used with a placement"),
        ({"placement": {"prefer": "luck"}}, r"placement\.prefer"),
        ({"placement": {"clusters": []}}, "clusters is empty: name at least one"),
    ],
)
def test_wrong_arguments_are_named_before_a_cluster_is_asked(clusters: Clusters, arguments: Json, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        clusters.run(**arguments)
    assert not clusters.fakes["f/x/east"].api._requests
