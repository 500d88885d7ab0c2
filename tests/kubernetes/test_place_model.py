"""kubernetes/place_model, move_models, withdraw_model, and what becomes of copies that were left. Three APIs on
loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput, NotFound, Unreachable
from f.flexcore.lib.core.remote_objects import decide_cleanup
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.kubernetes import model_moves, placed_objects, placement_records
from f.flexcore.lib.kubernetes.model_withdrawal import withdraw_model
from f.flexcore.lib.kubernetes.placed_model import place_model
from f.flexcore.lib.kubernetes.placed_objects import PlacedObjects
from f.flexcore.lib.kubernetes.placement_moves import PlacedCopy
from f.flexcore.lib.kubernetes.placement_records import PlacementBook, PlacementRecord, make_model_id
from f.flexcore.lib.storage import versioned_record
from f.flexcore.lib.storage.object_store import Store
from tests.kubernetes.fake_cluster import FakeCluster, Fault
from tests.kubernetes.stories import deployment_story
from tests.kubernetes.test_deploy_model import answers, model

Json = dict[str, Any]
NAMES = ("east", "west", "north")


class Clusters:
    """East is the cheapest, then west, then north."""

    def __init__(self, fakes: list[FakeCluster], home: Path) -> None:
        self.fakes = dict(zip(NAMES, fakes, strict=True))
        self.lost: set[str] = set()
        self.settings = {"storage_uri": f"file://{home}"}
        self.book = PlacementBook(Store(Settings(**self.settings)))
        status = {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}
        for fake in fakes:
            fake.api.story, fake.api.proxied = deployment_story(), answers
            fake.do(fake.api.keep("v1/nodes", {"metadata": {"name": "n"}, "status": status}))

    def read(self, path: str) -> Json:
        name = path.rsplit("/", 1)[-1]
        gone = {"mode": "token", "server": f"http://127.0.0.1:{NAMES.index(name) + 1}", "token": "t"}
        place = gone if name in self.lost else self.fakes[name].resource
        more = {"cpu_hour_usd": 0.01 * (NAMES.index(name) + 1), "memory_gib_hour_usd": 0, "region": name}
        return {**place, **more}

    def place(self, *names: str, version: str = "1", **placement: Any) -> Json:
        deployment = {"model": model(version=version), "model_source": "image", "image": "m:1", "timeout_s": 20}
        chosen = {"clusters": [f"f/x/{name}" for name in names or NAMES], "expected_s": 3600, "contact_timeout_s": 20}
        given = {"deployment": deployment, "placement": {**chosen, **placement}, "settings": self.settings}
        return place_model(given, self.read)

    def move(self) -> list[Json]:
        return list(model_moves.move_models(self.settings, self.read)["table-row-object"])

    def reconcile(self) -> dict[str, str]:
        """One pass over what was left: state by cluster and kind."""
        objects = PlacedObjects("worker", self.settings, read_resource=self.read)
        found = {}
        for item in objects.find():
            decision = decide_cleanup(item, "running", time.time())
            found[f"{item.kind} {item.place}"] = objects.stop(item) if decision.action == "stop" else item.state
        return found

    def stands(self, name: str) -> bool:
        return bool(self.fakes[name].api.all("apps/v1/deployments"))

    def version(self, name: str) -> str:
        (item,) = self.fakes[name].api.all("apps/v1/deployments")
        return str(item["spec"]["template"]["metadata"]["labels"]["flexcore/model-version"])

    def record(self) -> PlacementRecord:
        found = self.book.read("models", make_model_id("delay", "", "dev"))
        assert found is not None
        return found


@pytest.fixture
def clusters(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clusters]:
    monkeypatch.setattr(model_moves, "CONFIRM_S", 0.2)
    more = [FakeCluster(), FakeCluster()]
    yield Clusters([cluster, *more], tmp_path)
    for fake in reversed(more):
        fake.close()


def test_a_model_really_goes_to_the_chosen_cluster(clusters: Clusters) -> None:
    result = clusters.place()
    assert result["data"]["cluster"] == "$res:f/x/east" and result["output"]["url"] == "http://delay.work.svc:8080"
    assert clusters.stands("east") and not clusters.stands("west")
    (copy,) = clusters.record().copies
    assert copy.uid == result["remote"]["uid"] and copy.version == "1" and copy.url


def test_a_rollout_goes_from_cluster_to_cluster_and_says_what_stands_where(clusters: Clusters) -> None:
    rows = clusters.place(strategy="spread", count=3)["data"]["clusters"]
    assert [(row["cluster"], row["state"], row["version"]) for row in rows] == [
        ("f/x/east", "deployed", "1"),
        ("f/x/west", "deployed", "1"),
        ("f/x/north", "deployed", "1"),
    ]


def test_the_first_bad_cluster_stops_the_rollout_and_the_error_says_what_stands_where(clusters: Clusters) -> None:
    clusters.place(strategy="spread", count=3)
    waiting = {"waiting": {"reason": "InvalidImageName", "message": "no such image"}}
    clusters.fakes["west"].api.story = deployment_story(waiting, available=False)
    with pytest.raises(FlexcoreError, match="The rollout of delay 2 has stopped") as caught:
        clusters.place(strategy="spread", count=3, version="2")
    text = str(caught.value)
    assert "f/x/east: deployed, 2 stands; f/x/west: failed, 1 stands; f/x/north: not started, 1 stands" in text
    assert [row["state"] for row in caught.value.details["clusters"]] == ["deployed", "failed", "not started"]
    assert clusters.version("east") == "2" and clusters.version("north") == "1"


def test_a_model_that_stands_stays_where_it_is_though_another_cluster_is_cheaper(clusters: Clusters) -> None:
    clusters.place("west", "north")
    clusters.place(version="2")
    assert clusters.version("west") == "2" and not clusters.stands("east")
    assert [copy.version for copy in clusters.record().copies] == ["2"]


@pytest.mark.fault(7, "I8")
def test_a_model_whose_cluster_is_lost_is_served_from_another_one(clusters: Clusters) -> None:
    clusters.place()
    assert [row["action"] for row in clusters.move()] == ["stands"]
    clusters.lost = {"east"}
    begin = time.monotonic()
    (row,) = clusters.move()
    assert (row["action"], row["cluster"], row["now_on"]) == ("move", "f/x/east", "f/x/west")
    assert row["url"] and row["lost_s"] < 30 and time.monotonic() - begin < 30 and row["last_contact"]
    assert clusters.stands("west")
    assert [copy.cluster for copy in clusters.record().copies] == ["f/x/west"]
    assert [copy.cluster for copy in clusters.record().left] == ["f/x/east"]
    # The next pass has nothing to do.
    assert [row["action"] for row in clusters.move()] == ["stands"]


@pytest.mark.fault(7, "I8")
def test_a_cluster_that_takes_connections_and_never_answers_is_waited_for_twice_and_no_more(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice has a limit of its own (contact_timeout_s: 20 s here), and is made while the loss is confirmed."""
    clusters.place()
    monkeypatch.setattr(model_moves, "CONTACT_TIMEOUT_S", 1.0)
    contacts = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        read, silent = clusters.read, f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(
            clusters, "read", lambda path: read(path) | ({"server": silent} if path == "f/x/east" else {})
        )
        (row,) = clusters.move()
        server.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                contacts.append(server.accept())
    assert (row["action"], row["now_on"]) == ("move", "f/x/west") and clusters.stands("west")
    assert len(contacts) == 2


@pytest.mark.fault(7, "I8")
def test_the_copy_on_a_cluster_that_comes_back_goes_and_the_one_in_use_stays(clusters: Clusters) -> None:
    clusters.place()
    clusters.lost = {"east"}
    clusters.move()
    assert clusters.reconcile() == {} and clusters.stands("east")
    clusters.lost = set()
    assert clusters.reconcile() == {"Deployment f/x/east": "deleted"}
    assert not clusters.stands("east") and clusters.stands("west")
    assert clusters.reconcile() == {} and clusters.record().left == []


@pytest.mark.fault(7, "I8")
def test_a_copy_that_was_left_stays_while_the_one_in_use_is_not_seen(clusters: Clusters) -> None:
    clusters.place()
    clusters.lost = {"east"}
    clusters.move()
    clusters.lost = {"west"}
    assert clusters.reconcile() == {"Deployment f/x/east": "kept"} and clusters.stands("east")
    # It is the one in use again after the next pass.
    assert [(row["action"], row["now_on"]) for row in clusters.move()] == [("move", "f/x/east")]
    clusters.lost = set()
    assert clusters.reconcile() == {"Deployment f/x/west": "deleted"} and clusters.stands("east")


@pytest.mark.fault(10, "I8")
def test_a_namesake_that_somebody_made_since_is_not_removed(clusters: Clusters) -> None:
    clusters.place()
    clusters.lost = {"east"}
    clusters.move()
    clusters.lost = set()
    api = clusters.fakes["east"].api
    (item,) = api.all("apps/v1/deployments")
    clusters.fakes["east"].do(api.keep("apps/v1/deployments", item | {"metadata": item["metadata"] | {"uid": "new"}}))
    assert clusters.reconcile() == {} and clusters.stands("east") and clusters.record().left == []


def test_another_copy_that_stands_is_used_at_once_and_the_missing_one_made_good(clusters: Clusters) -> None:
    clusters.place(strategy="failover", count=2)
    clusters.lost = {"east"}
    rows = clusters.move()
    assert ("move", "f/x/west") in [(row["action"], row["now_on"]) for row in rows]
    assert [copy.cluster for copy in clusters.record().copies] == ["f/x/west", "f/x/north"]
    assert clusters.stands("north")


@pytest.mark.fault(7, "I8")
def test_a_cluster_that_refuses_is_not_lost_and_nothing_moves(clusters: Clusters) -> None:
    clusters.place()
    refusal = {"kind": "Status", "message": "Unauthorized"}
    clusters.fakes["east"].api.faults = [Fault(method="GET", path="/version", status=401, body=refusal)]
    (row,) = clusters.move()
    assert row["action"] == "stands" and "credentials" in row["reason"]


def test_a_model_that_no_cluster_can_take_waits_and_says_why(clusters: Clusters) -> None:
    clusters.place("east")
    clusters.lost = {"east"}
    (row,) = clusters.move()
    assert row["action"] == "wait" and "f/x/east" in row["reason"] and row["last_contact"]
    assert [copy.cluster for copy in clusters.record().copies] == ["f/x/east"]


def test_a_withdrawn_model_goes_everywhere_and_a_lost_cluster_is_cleaned_when_it_answers(clusters: Clusters) -> None:
    clusters.place(strategy="spread", count=2)
    clusters.lost = {"west"}
    rows = withdraw_model("delay", "", 20, clusters.settings, clusters.read)["data"]["clusters"]
    assert {row["cluster"]: row["state"] for row in rows} == {
        "f/x/east": "removed",
        "f/x/west": "left until its cluster answers",
    }
    # No pass brings it back.
    assert clusters.move() == [] and not clusters.stands("east")
    clusters.lost = set()
    assert clusters.reconcile() == {"Deployment f/x/west": "deleted"} and not clusters.stands("west")


def test_a_model_that_was_never_placed_is_named_with_those_that_are(clusters: Clusters) -> None:
    clusters.place()
    with pytest.raises(NotFound, match=r"other is no placed model .*Placed models: delay"):
        withdraw_model("other", "", 20, clusters.settings, clusters.read)


def test_when_every_cluster_is_lost_nothing_is_recorded(clusters: Clusters) -> None:
    clusters.lost = set(NAMES)
    with pytest.raises(Unreachable, match=r"f/x/east: .*f/x/west: .*f/x/north: "):
        clusters.place()
    assert list(clusters.book.list()) == []


@pytest.mark.parametrize(
    "deployment, message",
    [({"nam": "x"}, r"deployment\.nam is not a known field"), ({"name": "x"}, r"deployment\.model is missing")],
)
def test_a_wrong_deployment_is_named_before_a_cluster_is_asked(
    clusters: Clusters, deployment: Json, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        place_model({"deployment": deployment, "placement": {"clusters": ["f/x/east"]}}, clusters.read)


def test_records_of_ended_work_are_deleted_after_their_time(clusters: Clusters) -> None:
    copy = PlacedCopy(cluster="f/x/east", kind="Job", was_sent=True)
    ended = PlacementRecord(kind="jobs", id="fc-1", name="fc-1-1", copies=[copy], ended_at=time.time() - 10)
    clusters.book.change("jobs", "fc-1", lambda _: ended)
    objects = PlacedObjects("worker", clusters.settings, read_resource=clusters.read)
    (item,) = objects.find()
    assert decide_cleanup(item, "ended", time.time()).action == "leave"
    late = time.time() + placement_records.KEEP_S
    assert decide_cleanup(item, "ended", late).action == "delete" and objects.delete(item) == "deleted"
    assert list(clusters.book.list()) == []


def test_of_very_many_records_a_pass_reads_some_and_others_the_next_time(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a week of jobs would make a pass slower by each of them."""
    monkeypatch.setattr(placed_objects, "MAX_RECORDS", 5)
    for number in range(12):
        ended = PlacementRecord(kind="jobs", id=f"fc-{number}", name=f"fc-{number}-1", ended_at=time.time() - 10)
        clusters.book.change("jobs", ended.id, lambda _, ended=ended: ended)  # type: ignore[misc]
    seen: set[str] = set()
    for _ in range(200):
        found = PlacedObjects("worker", clusters.settings, read_resource=clusters.read).find()
        assert len(found) == 5
        seen |= {item.name for item in found}
    assert len(seen) == len(list(clusters.book.list())) == 12


def test_a_record_that_is_deleted_leaves_nothing_that_is_looked_at_again(clusters: Clusters) -> None:
    ended = PlacementRecord(kind="jobs", id="fc-1", name="fc-1-1", ended_at=time.time() - 10)
    clusters.book.change("jobs", "fc-1", lambda _: ended)
    clusters.book.remove("jobs", "fc-1")
    store = clusters.book.store
    assert versioned_record.list_records(store, store.uri("placements", "jobs")) == []


@pytest.mark.parametrize("content", ["{", '{"value": {"kind": "jobs", "invented_later": 1}}'])
def test_a_record_that_cannot_be_read_costs_no_other_record(
    clusters: Clusters, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    ended = PlacementRecord(kind="jobs", id="fc-2", name="fc-2-1", ended_at=time.time() - 10)
    clusters.book.change("jobs", "fc-2", lambda _: ended)
    clusters.book.store.write_bytes(clusters.book.store.uri("placements/jobs/fc-1/000000000001.json"), content.encode())
    (item,) = PlacedObjects("worker", clusters.settings, read_resource=clusters.read).find()
    assert item.name == "fc-2-1"
    assert "The placement jobs/fc-1 cannot be read" in capsys.readouterr().out
