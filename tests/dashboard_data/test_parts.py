"""What asks the clusters themselves: nothing that could not be read is told as nothing that is there."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors, identity, resources
from f.flexcore.lib.dashboard import places, read, shapes
from f.flexcore.lib.ray import kuberay_ownership, lease, stored_leases
from f.flexcore.lib.storage import object_store
from tests.dashboard import app_page
from tests.kubernetes.fake_cluster import FakeCluster
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.fake_dashboard import FakeDashboard

Object = dict[str, Any]
Ask = Callable[..., shapes.Dashboard]
SETTINGS = "f/flexcore/settings"
RAY_CLUSTERS = "ray.io/v1/rayclusters"


@pytest.fixture
def windmill(
    cluster: FakeCluster, ray_head: FakeDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeWindmill]:
    """A workspace with two clusters that its settings name."""
    with FakeWindmill() as running:
        settings = {"kubernetes_clusters": ["f/x/k8s"], "ray_clusters": ["f/x/ray"], "namespace": "work"}
        settings["storage_uri"] = f"file://{tmp_path}/store"
        running.resources = {
            "f/x/ray": {"address": ray_head.address},
            "f/x/k8s": cluster.resource,
            SETTINGS: settings,
        }
        env = {"BASE_INTERNAL_URL": running.address, "WM_TOKEN": "token", "WM_WORKSPACE": "test"}
        for name, value in {**env, "FLEXCORE_HOME": str(tmp_path / "home")}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def ask(windmill: FakeWindmill) -> Ask:
    return lambda *want: read.read_dashboard(list(want), windmill=windmill.client(), env={})


def severity(answer: shapes.Dashboard, code: str) -> list[str]:
    return [note.severity for note in answer.notices if note.code == code]


def told(answer: shapes.Dashboard, beginning: str) -> list[str]:
    return [note.message for note in answer.notices if note.message.startswith(beginning)]


@pytest.mark.parametrize("part", ["orphans", "deployments"])
def test_without_the_settings_it_is_not_known_what_there_is(windmill: FakeWindmill, ask: Ask, part: str) -> None:
    del windmill.resources[SETTINGS]
    answer = ask(part)
    assert getattr(answer, part) is None
    assert severity(answer, "no_settings") == ["warning"], "what contradicts an empty view cannot be hidden"
    assert severity(ask("executions"), "no_settings") == ["info"]
    windmill.resources[SETTINGS] = {"storage_uri": "what is this"}
    assert getattr(ask(part), part) is None, "settings that are none"


def test_the_runtimes_say_that_those_of_the_settings_are_not_shown(windmill: FakeWindmill, ask: Ask) -> None:
    assert ask("runtimes").unread == {}
    del windmill.resources[SETTINGS]
    answer = ask("runtimes")
    assert answer.unread == {"runtimes": [SETTINGS]} and answer.runtimes


def test_where_every_cluster_answers_an_empty_list_says_that_there_is_nothing(ask: Ask) -> None:
    answer = ask("orphans", "deployments")
    assert (answer.orphans, answer.deployments, answer.unread) == ([], [], {})


def test_a_cluster_that_does_not_answer_is_named_beside_what_the_others_say(ray_head: FakeDashboard, ask: Ask) -> None:
    ray_head.script = lambda method, path: (503, "starting")
    answer = ask("orphans", "deployments")
    assert answer.unread == {"orphans": ["f/x/ray"], "deployments": ["f/x/ray"]}
    assert answer.orphans == [] and answer.deployments == []
    assert told(answer, "Orphans at f/x/ray cannot be read: ") and told(answer, "Deployments at f/x/ray cannot be read")


def test_where_no_cluster_answers_it_is_not_known_what_is_deployed(
    windmill: FakeWindmill, ray_head: FakeDashboard, ask: Ask
) -> None:
    ray_head.script = lambda method, path: (503, "starting")
    del windmill.resources["f/x/k8s"]
    answer = ask("deployments", "orphans")
    assert answer.deployments is None
    assert answer.unread["deployments"] == ["f/x/k8s", "f/x/ray"]
    assert answer.unread["orphans"] == ["f/x/ray", "f/x/k8s"], "each once, whatever kinds of objects it has"


def test_a_windmill_that_does_not_say_who_is_alive_leaves_the_orphans_unknown(windmill: FakeWindmill, ask: Ask) -> None:
    answer_all = windmill.answer

    def answer(method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
        return (503, "no") if path.endswith("/jobs/queue/list") else answer_all(method, path, query, body)

    windmill.answer = answer  # type: ignore[method-assign]
    assert ask("orphans").orphans is None


# --- places that hang


def test_a_place_that_hangs_is_left_after_the_limit_and_the_others_are_told() -> None:
    release = threading.Event()

    def refuse() -> str:
        raise errors.Forbidden("no right")

    began = time.monotonic()
    found = places.ask_all([lambda: "a", lambda: str(release.wait(30)), refuse, lambda: "d"], limit_s=0.3)
    release.set()
    assert time.monotonic() - began < 5
    assert (found[0], found[3]) == ("a", "d")
    assert isinstance(found[1], errors.Unreachable) and "There was no answer within 0.3 s" in str(found[1])
    assert isinstance(found[2], errors.Forbidden)


def test_a_defect_in_one_place_is_no_answer_of_it() -> None:
    with pytest.raises(ZeroDivisionError):
        places.ask_all([lambda: 1 / 0])


def test_the_page_waits_longer_than_the_places_are_waited_for() -> None:
    source = (app_page.APP / "logic/calls.ts").read_text(encoding="utf-8")
    found = re.search(r"READ_TIMEOUT_S = (\d+)", source)
    assert found and int(found[1]) / 2 >= places.LIMIT_S, "finding a worker and Windmill's own answers take some of it"


@pytest.mark.parametrize("part", ["runtimes", "orphans", "deployments"])
def test_two_clusters_that_hang_are_waited_for_at_once(
    windmill: FakeWindmill, ray_head: FakeDashboard, ask: Ask, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(places.ask_all, "__defaults__", (1.0,))
    release = threading.Event()
    ray_head.script = lambda method, path: (503, str(release.wait(20)))
    windmill.resources["f/x/ray2"] = {"address": ray_head.address}
    windmill.resources[SETTINGS]["ray_clusters"] = ["f/x/ray", "f/x/ray2"]
    began = time.monotonic()
    answer = ask(part)
    took = time.monotonic() - began
    release.set()
    assert took < 10
    if part == "runtimes":
        down = {item.resource: item.problem for item in answer.runtimes or () if item.name == "ray"}
        assert down == dict.fromkeys(("f/x/ray", "f/x/ray2"), "There was no answer within 1 s")
        assert {item.healthy for item in answer.runtimes or () if item.name == "kubernetes"} == {True}
    else:
        assert answer.unread == {part: ["f/x/ray", "f/x/ray2"]}


# --- leases


def owner(job: str) -> lease.Owner:
    return lease.make_owner(identity.execution_key({"WM_JOB_ID": job}))


def hold(windmill: FakeWindmill, job: str, **reference: str) -> str:
    """The reference of a lease of a cluster that the store keeps."""
    store = object_store.Store(resources.Settings(storage_uri=windmill.resources[SETTINGS]["storage_uri"]))
    changed = stored_leases.StoredLeases(store, dict(reference)).change(
        lambda book: lease.acquire(book, owner(job), time.time())
    )
    assert changed.lease
    return changed.lease.reference


def keep_ray_cluster(cluster: FakeCluster, name: str, job: str) -> str:
    """The reference of a lease of a RayCluster of ours."""
    changed = lease.acquire(lease.LeaseBook(), owner(job), time.time())
    assert changed.lease
    stored = {
        "metadata": {
            "name": name,
            "namespace": "work",
            "labels": {identity.MANAGED_BY: "flexcore"},
            "annotations": {kuberay_ownership.LEASES: json.dumps(lease.dump(changed.book))},
        },
        "spec": {},
    }
    cluster.do(cluster.api.keep(RAY_CLUSTERS, stored))
    return changed.lease.reference


def leases(answer: shapes.Dashboard) -> dict[str | None, list[str] | None]:
    return {
        item.resource: None if item.leases is None else [held.name for held in item.leases]
        for item in answer.runtimes or ()
        if item.name != "meltano"
    }


def test_each_cluster_has_the_leases_that_are_about_it_wherever_they_are_kept(
    windmill: FakeWindmill, cluster: FakeCluster, ray_head: FakeDashboard, ask: Ask
) -> None:
    windmill.resources["f/x/ray2"] = {"address": ray_head.address.replace("127.0.0.1", "localhost")}
    windmill.resources["f/x/ray3"] = windmill.resources["f/x/ray2"]
    windmill.resources["f/x/kuberay"] = {"kubernetes_cluster": "f/x/k8s", "namespace": "work", "name": "ml"}
    clusters = ["f/x/ray", "f/x/ray2", "f/x/ray3", "f/x/kuberay"]
    windmill.resources[SETTINGS]["ray_clusters"] = clusters
    first = hold(windmill, "a", resource="f/x/ray2")
    second = hold(windmill, "b", address=windmill.resources["f/x/ray2"]["address"])
    hold(windmill, "c", address="http://elsewhere:8265")
    on_kubernetes = keep_ray_cluster(cluster, "ml", "d")
    found = leases(ask("runtimes"))
    assert found.pop("f/x/ray") == [] and sorted(found.pop("f/x/ray2") or ()) == sorted([first, second])
    assert found.pop("f/x/ray3") == [second], "another resource of the same cluster"
    assert found.pop("f/x/kuberay") == [on_kubernetes]
    assert found.pop("f/x/k8s") == [f"ml@{on_kubernetes}"]
    ((_, rest),) = found.items()
    assert rest and [name.partition("@")[0] for name in rest] == ["http://elsewhere:8265"], "of no cluster here"


def test_leases_that_cannot_be_told_are_null_and_not_none(
    windmill: FakeWindmill, cluster: FakeCluster, ask: Ask
) -> None:
    windmill.resources["f/x/local"] = {"local_head": "mine"}
    windmill.resources[SETTINGS]["ray_clusters"] = ["f/x/local", "f/x/ray"]
    found = leases(ask("runtimes"))
    assert (found["f/x/local"], found["f/x/ray"]) == (None, []), "a local head is seen on its own machine alone"
    windmill.resources[SETTINGS]["storage_uri"] = "file:///dev/null/store"
    cluster.api.denied |= {"rayclusters"}
    found = leases(ask("runtimes"))
    assert found == dict.fromkeys(found)
