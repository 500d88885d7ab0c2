"""What reconcile sees of leases and their clusters, and what it does about them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors, identity, resources
from f.flexcore.lib.operations import configured_runtimes, reconciler
from f.flexcore.lib.ray import kuberay_ownership, lease, leased_clusters, stored_leases
from f.flexcore.lib.storage import object_store
from f.flexcore.ray.ensure_cluster import main as ensure_cluster
from f.flexcore.ray.release_cluster import main as release_cluster
from tests.kubernetes.fake_cluster import FakeCluster
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.fake_dashboard import FakeDashboard
from tests.ray.fake_kuberay import RAY_CLUSTERS, FakeKubeRay
from tests.ray.test_managed_clusters import as_flow

Object = dict[str, Any]
CLUSTER = {"kubernetes_cluster": "f/x/k8s", "name": "ml"}
DAY = 24 * 3600.0


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    fake = FakeCluster()
    yield fake
    fake.close()


@pytest.fixture
def dashboard() -> Iterator[FakeDashboard]:
    with FakeDashboard() as running:
        yield running


@pytest.fixture(autouse=True)
def windmill(
    cluster: FakeCluster, dashboard: FakeDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeWindmill]:
    with FakeWindmill() as running:
        running.resources = {"f/x/k8s": cluster.resource, "f/x/ray": {"address": dashboard.address, "token": "t0ken"}}
        env = {"BASE_INTERNAL_URL": running.address, "WM_TOKEN": "token", "FLEXCORE_HOME": str(tmp_path)}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        as_flow(monkeypatch, "one")
        yield running


class Owners:
    """Windmill's word on the owners; one that is not named is unknown."""

    workspace = "test"

    def __init__(self, **states: Any) -> None:
        self.states = states

    def queued_jobs(self) -> dict[str, dict[str, Any]]:
        return {job: {} for job, state in self.states.items() if state == "running"}

    def look_up(self, ids: list[str]) -> dict[str, Any]:
        return {id: self.states.get(id, "unknown") for id in ids}

    def arguments(self, job: str) -> dict[str, Any]:
        raise AssertionError("nothing waits here")

    def resume(self, flow_job: str, payload: dict[str, Any]) -> str:
        raise AssertionError("nothing here is deferred")


def run_pass(owners: Owners, now: float = 0.0, **fields: Any) -> list[reconciler.ReconcileRow]:
    from f.flexcore.lib.windmill import client

    settings = resources.Settings(kubernetes_clusters=["f/x/k8s"], **fields)
    this_pass = reconciler.ReconcilePass(owners, now or time.time(), 50)
    opened = configured_runtimes.open_objects(settings, client.Client().resource, this_pass.report_failure)
    return this_pass.run(opened)


def acted(rows: list[reconciler.ReconcileRow]) -> list[tuple[str, str, str]]:
    return [(row.object.partition("@")[0], row.action, row.outcome) for row in rows if row.action != "leave"]


def ensure(**arguments: Any) -> Object:
    given: Object = {"cluster": CLUSTER, "spec": {"groups": []}, "timeout_s": 20, **arguments}
    return dict(ensure_cluster(**given)["data"])


@pytest.mark.fault(1, "I4")
def test_a_lease_whose_owner_has_ended_is_released_and_the_cluster_goes_with_the_last(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster)
    ensure()
    assert acted(run_pass(Owners(one="running"))) == []
    assert len(kuberay.ray_clusters()) == 1
    assert acted(run_pass(Owners(one="ended"))) == [("lease work/ml", "stop", "released, and the cluster deleted")]
    assert kuberay.ray_clusters() == []


@pytest.mark.fault(36, "I8")
def test_an_owner_that_could_not_be_asked_about_is_never_dead(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster)
    ensure()
    rows = run_pass(Owners())
    assert acted(rows) == []
    (row,) = [row for row in rows if row.object.startswith("lease")]
    assert row.reason == "its owner could not be asked about"
    assert len(kuberay.ray_clusters()) == 1


def test_the_lease_of_a_dead_owner_ends_and_that_of_a_living_one_keeps_the_cluster(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kuberay = FakeKubeRay(cluster)
    ensure()
    as_flow(monkeypatch, "two")
    ensure()
    assert acted(run_pass(Owners(one="ended", two="running"))) == [("lease work/ml", "stop", "released")]
    (made,) = kuberay.ray_clusters()
    assert [held.owner.owner_job for held in kuberay_ownership.read_book(made).leases] == ["two"]


def test_a_lease_that_nobody_renews_ends_whatever_is_known_of_its_owner(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster)
    ensure(lease_s=60)
    assert acted(run_pass(Owners())) == []
    assert acted(run_pass(Owners(), now=time.time() + 600)) != []
    assert kuberay.ray_clusters() == []


def test_an_idle_cluster_is_deleted_once_its_time_is_over_and_not_before(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster)
    data = ensure(keep_idle_s=2)
    release_cluster(cluster=data["cluster"])
    assert acted(run_pass(Owners())) == []
    # The server's own clock decides, which its answers tell in whole seconds.
    time.sleep(4.5)
    assert acted(run_pass(Owners())) == [("RayCluster work/ml", "delete", "deleted")]
    assert kuberay.ray_clusters() == []


@pytest.mark.fault(37, "I8")
def test_a_cluster_that_got_a_lease_after_it_was_listed_is_not_deleted(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster)
    data = ensure(keep_idle_s=1)
    release_cluster(cluster=data["cluster"])
    time.sleep(1.5)
    objects = leased_clusters.KubeRayObjects("f/x/k8s", cluster.resource, "work")
    (idle,) = objects.find()
    assert idle.state == "finished"
    ensure()
    assert objects.delete(idle) == "is in use"
    assert len(kuberay.ray_clusters()) == 1


@pytest.mark.fault(37, "I8")
def test_a_lease_that_its_holder_got_anew_is_not_released_as_the_old_one(cluster: FakeCluster) -> None:
    FakeKubeRay(cluster)
    data = ensure(keep_idle_s=60)
    objects = leased_clusters.KubeRayObjects("f/x/k8s", cluster.resource, "work")
    (old,) = [item for item in objects.find() if item.kind == "lease"]
    release_cluster(cluster=data["cluster"])
    ensure()
    assert objects.stop(old) == "had gone"
    assert len([item for item in objects.find() if item.kind == "lease"]) == 1


def test_clusters_of_others_are_no_objects_of_ours(cluster: FakeCluster) -> None:
    labels = {identity.MANAGED_BY: "flexcore"}
    for number, metadata in enumerate(({"labels": {"a": "b"}}, {"labels": labels})):
        # The second carries our label and no leases: a RayJob's own cluster.
        item = {"kind": "RayCluster", "metadata": {"name": f"c{number}", "namespace": "work", **metadata}, "spec": {}}
        cluster.do(cluster.api.keep(RAY_CLUSTERS, item))
    assert leased_clusters.KubeRayObjects("f/x/k8s", cluster.resource, "work").find() == []


def test_a_cluster_whose_leases_cannot_be_read_is_kept(cluster: FakeCluster) -> None:
    metadata = {"labels": {identity.MANAGED_BY: "flexcore"}, "annotations": {"flexcore/leases": "{broken"}}
    item = {"kind": "RayCluster", "metadata": {"name": "ml", "namespace": "work", **metadata}, "spec": {}}
    cluster.do(cluster.api.keep(RAY_CLUSTERS, item))
    (found,) = leased_clusters.KubeRayObjects("f/x/k8s", cluster.resource, "work").find()
    assert found.state == "kept"
    with pytest.raises(errors.DataError, match="cannot be read"):
        ensure()


# --- at an address


def test_a_cluster_at_an_address_is_leased_in_the_store_and_never_touched(
    dashboard: FakeDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"storage_uri": f"file://{tmp_path}/store"}
    first = ensure_cluster(cluster={"resource": "f/x/ray"}, settings=settings)["data"]
    assert first["cluster"] == {"resource": "f/x/ray", "lease": first["lease"]["reference"]}
    as_flow(monkeypatch, "two")
    second = ensure_cluster(cluster={"resource": "f/x/ray"}, settings=settings)["data"]
    assert second["lease"]["token"] == 2
    assert "t0ken" not in json.dumps([first, second]) + "".join(path.read_text() for path in tmp_path.rglob("*.json"))

    rows = run_pass(Owners(one="ended", two="running"), storage_uri=settings["storage_uri"])
    assert acted(rows) == [("lease f/x/ray", "stop", "released")]
    released = release_cluster(cluster=second["cluster"], settings=settings)["data"]
    assert (released["outcome"], released["leases"]) == ("released", [])
    assert release_cluster(cluster=second["cluster"], settings=settings)["data"]["outcome"] == "gone"


def test_a_token_that_no_later_step_would_have_is_refused_before_anything_is_leased(
    dashboard: FakeDashboard, tmp_path: Path
) -> None:
    with pytest.raises(errors.MissingSetting, match="cluster has a token") as caught:
        ensure_cluster(
            cluster={"address": dashboard.address, "token": "t0ken"}, settings={"storage_uri": f"file://{tmp_path}/s"}
        )
    assert "c_ray_cluster" in caught.value.remedy
    assert not (tmp_path / "s").exists()


def test_an_address_where_no_ray_answers_gets_no_lease(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreachable, match="cannot be reached"):
        ensure_cluster(cluster={"address": "http://127.0.0.1:9"}, settings={"storage_uri": f"file://{tmp_path}/s"})
    assert not (tmp_path / "s").exists()


def test_no_change_of_many_holders_at_once_is_lost(tmp_path: Path) -> None:
    store = object_store.Store(resources.Settings(storage_uri=f"file://{tmp_path}"))
    seen: list[int] = []

    def hold(who: int) -> None:
        leases = stored_leases.StoredLeases(store, {"address": "http://ray:8265"})
        owner = lease.Owner(f"fc-{who}", str(who), str(who), "a", "test")
        for _ in range(5):
            got = leases.change(lambda book: lease.acquire(book, owner, time.time())).lease
            assert got
            seen.append(got.token)
            leases.change(partial(lease.release, reference=got.reference, now=time.time()))

    threads = [threading.Thread(target=hold, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    book = stored_leases.StoredLeases(store, {"address": "http://ray:8265"}).read()
    assert (len(seen), len(set(seen)), book.last_token, book.leases) == (30, 30, 30, ())


@pytest.mark.parametrize("content", ["{", '{"value": {"cluster": {"address": "http://ray:1"}, "leases": 2}}'])
def test_leases_that_cannot_be_read_cost_no_other_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "home"))
    settings = resources.Settings(storage_uri=f"file://{tmp_path}/s")
    store = object_store.Store(settings)
    owner = lease.Owner("fc-1", "1", "1", "a", "test")
    whole = stored_leases.StoredLeases(store, {"address": "http://ray:8265"})
    whole.change(lambda book: lease.acquire(book, owner, time.time()))
    damaged = stored_leases.StoredLeases(store, {"address": "http://ray:1"})
    store.write_bytes(store.uri("leases", damaged.digest, "000000000001.json"), content.encode())
    (item,) = leased_clusters.StoredLeaseObjects("worker", settings).find()
    assert item.name.startswith("http://ray:8265@")
    assert damaged.digest in (said := capsys.readouterr().out) or "http://ray:1: The leases" in said
