"""Clusters on Kubernetes: made or joined, leased by several flows, released by the last, and what keeps them away."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.ray import (
    cluster_spec,
    connection,
    kuberay_cluster,
    kuberay_ownership,
    kubernetes_session,
    lease,
)
from f.flexcore.ray.describe_cluster import main as describe_cluster
from f.flexcore.ray.ensure_cluster import main as ensure_cluster
from f.flexcore.ray.release_cluster import main as release_cluster
from f.flexcore.ray.scale_cluster import main as scale_cluster
from tests.kubernetes.fake_cluster import FakeCluster, Fault
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.fake_kuberay import RAY_CLUSTERS, FakeKubeRay, wait_for

Object = dict[str, Any]
CLUSTER = {"kubernetes_cluster": "f/x/k8s", "name": "ml"}
SPEC = {"groups": [{"name": "workers", "min_workers": 1, "max_workers": 3}]}


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """A Kubernetes, and no Ray head."""
    fake = FakeCluster()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def windmill(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWindmill]:
    with FakeWindmill() as running:
        running.resources = {"f/x/k8s": cluster.resource}
        env = {"BASE_INTERNAL_URL": running.address, "WM_TOKEN": "token", "FLEXCORE_HOME": str(tmp_path)}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        as_flow(monkeypatch, "one")
        yield running


@pytest.fixture
def kuberay(cluster: FakeCluster) -> FakeKubeRay:
    return FakeKubeRay(cluster)


def as_flow(monkeypatch: pytest.MonkeyPatch, flow: str, step: str = "ensure") -> None:
    env = {"WM_JOB_ID": f"{flow}-{step}", "WM_FLOW_JOB_ID": flow, "WM_FLOW_STEP_ID": step, "WM_ROOT_JOB_ID": flow}
    for name, value in {**env, "WM_WORKSPACE": "test"}.items():
        monkeypatch.setenv(name, value)


def ensure(**arguments: Any) -> Object:
    given: Object = {"cluster": CLUSTER, "spec": SPEC, "timeout_s": 20, **arguments}
    return dict(ensure_cluster(**given)["data"])


# --- made and joined


def test_a_cluster_is_made_with_its_secret_and_policy_and_is_ready_once_its_workers_are(kuberay: FakeKubeRay) -> None:
    data = ensure()
    assert (data["created"], data["workers"], data["nodes"], data["cpus_total"]) == (True, 1, 2, 2.0)
    (made,) = kuberay.ray_clusters()
    assert made["metadata"]["labels"]["flexcore/owner-job"] == "one"
    assert made["metadata"]["labels"]["flexcore/outlives-run"] == "true"
    for part in (*kuberay.secrets(), *kuberay.policies()):
        assert part["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert len(kuberay.secrets()) == len(kuberay.policies()) == 1


def test_what_is_returned_for_later_steps_holds_no_token(kuberay: FakeKubeRay, capsys: Any) -> None:
    data = ensure()
    (secret,) = kuberay.secrets()
    token = secret["stringData"]["auth_token"]
    assert len(token) >= 40
    assert token not in json.dumps(data) + capsys.readouterr().out
    assert data["cluster"] == {
        "kubernetes_cluster": "f/x/k8s",
        "namespace": "work",
        "name": "ml",
        "lease": data["lease"]["reference"],
    }


def test_auth_options_are_used_where_the_crd_has_them(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster, has_auth_options=True)
    ensure()
    (made,) = kuberay.ray_clusters()
    assert made["spec"]["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH_MODE" not in json.dumps(made["spec"])
    assert len(kuberay.secrets()) == 1


def test_a_second_flow_joins_the_cluster_and_the_last_release_takes_it_away(
    kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure()
    as_flow(monkeypatch, "two")
    second = ensure()
    assert (second["created"], second["lease"]["token"]) == (False, first["lease"]["token"] + 1)
    released = release_cluster(cluster=first["cluster"])["data"]
    assert (released["outcome"], len(released["leases"])) == ("released", 1)
    assert len(kuberay.ray_clusters()) == 1
    assert release_cluster(cluster=second["cluster"])["data"]["outcome"] == "deleted"
    assert kuberay.ray_clusters() == kuberay.pods() == kuberay.secrets() == kuberay.policies() == []
    assert release_cluster(cluster=second["cluster"])["data"]["outcome"] == "gone"


def test_a_release_without_a_lease_ends_that_of_its_own_flow_alone(
    kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure()
    as_flow(monkeypatch, "two", "release")
    assert release_cluster(cluster=CLUSTER)["data"]["outcome"] == "gone"
    as_flow(monkeypatch, "one", "release")
    assert release_cluster(cluster=CLUSTER)["data"]["outcome"] == "deleted"


def test_a_repeat_of_the_same_step_has_the_same_lease(kuberay: FakeKubeRay) -> None:
    assert ensure()["lease"]["reference"] == ensure()["lease"]["reference"]
    (made,) = kuberay.ray_clusters()
    assert len(kuberay_ownership.read_book(made).leases) == 1


def test_a_cluster_without_a_name_is_the_executions_own(kuberay: FakeKubeRay) -> None:
    data = ensure(cluster={"kubernetes_cluster": "f/x/k8s"})
    assert data["cluster"]["name"].startswith("fc-")
    assert release_cluster(cluster=data["cluster"])["data"]["outcome"] == "deleted"


def test_a_cluster_is_kept_for_its_idle_time(kuberay: FakeKubeRay) -> None:
    data = ensure(keep_idle_s=3600)
    released = release_cluster(cluster=data["cluster"])["data"]
    assert (released["outcome"], released["leases"]) == ("released", [])
    assert released["delete_after"] > data["lease"]["renewed"] + 3000
    assert len(kuberay.ray_clusters()) == 1
    assert ensure()["created"] is False


# --- what is not ours


def test_a_cluster_that_is_not_ours_is_neither_changed_nor_deleted(cluster: FakeCluster) -> None:
    theirs = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "ml", "namespace": "work", "labels": {"team": "a"}},
        "spec": {"headGroupSpec": {}, "workerGroupSpecs": []},
    }
    before = cluster.do(cluster.api.keep(RAY_CLUSTERS, theirs))
    calls: list[Callable[[], Any]] = [
        ensure,
        partial(release_cluster, cluster={**CLUSTER, "lease": "fc-a:1"}),
        partial(scale_cluster, cluster=CLUSTER, min_workers=1),
    ]
    for call in calls:
        with pytest.raises(errors.Conflict, match="was not made by flexcore") as caught:
            call()
        assert caught.value.category == "name_taken"
    assert cluster.api.all(RAY_CLUSTERS) == [before]
    assert not cluster.asked("PATCH", "rayclusters")
    assert not cluster.asked("DELETE", "rayclusters")


def test_a_secret_of_somebody_else_under_the_clusters_name_is_left_alone(
    cluster: FakeCluster, kuberay: FakeKubeRay
) -> None:
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ml", "namespace": "work"}, "data": {}}
    cluster.do(cluster.api.keep("v1/secrets", theirs))
    with pytest.raises(errors.Conflict, match="The name ml is taken by another object of secrets"):
        ensure()
    assert kuberay.secrets()[0]["data"] == {}


def test_another_version_of_ray_than_the_cluster_has_is_a_conflict(kuberay: FakeKubeRay) -> None:
    ensure()
    with pytest.raises(errors.Conflict, match=r"exists with Ray 2\.60\.0, and 2\.55\.0 is asked for") as caught:
        ensure(spec={**SPEC, "ray_version": "2.55.0"})
    assert caught.value.category == "spec_conflict"


# --- bad input and diagnosis


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cluster": {**CLUSTER, "name": "ML"}}, "cluster.name: 'ML' is not a name of a Ray cluster"),
        ({"spec": {"groups": [{"cpu": "much"}]}}, "spec.groups.0.cpu"),
        ({"local_cpus": 2}, "local_cpus is for a local head"),
        ({"cluster": {"local_head": "mine"}}, "spec is for a cluster on Kubernetes"),
        ({"cluster": {"local_head": "mine"}, "spec": None, "rotate_token": True}, "rotate_token is for a cluster on"),
        ({"cluster": {"local_head": "Mine!"}, "spec": None}, "cluster.local_head: 'Mine!' is not a name"),
        ({"lease_s": 0}, "lease_s"),
        ({"timeout_s": -1}, "timeout_s"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_asked(
    cluster: FakeCluster, arguments: Object, message: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        ensure(**arguments)
    assert not cluster.asked("POST", ".")


@pytest.mark.parametrize(
    ("mode", "kind", "category", "message"),
    [
        ("image", errors.NotFound, "image_not_found", "not found"),
        ("invalid", errors.InvalidInput, "invalid_spec", "KubeRay refuses the Ray cluster ml"),
        ("quota", errors.InvalidInput, "quota_exceeded", "The quota can never be met"),
        ("crash", errors.ExecutionFailed, "crash_loop", "exit code 127"),
        ("unschedulable", errors.Unavailable, "unschedulable", "Insufficient cpu"),
    ],
)
def test_what_keeps_a_cluster_away_is_named_within_seconds_and_nothing_stays(
    cluster: FakeCluster, mode: str, kind: type[errors.FlexcoreError], category: str, message: str
) -> None:
    kuberay = FakeKubeRay(cluster, mode)
    with pytest.raises(kind, match=message) as caught:
        ensure(pending_timeout_s=1, timeout_s=60)
    assert caught.value.category == category
    assert caught.value.remedy
    assert kuberay.ray_clusters() == kuberay.secrets() == kuberay.policies() == []


def test_a_cluster_that_no_operator_takes_care_of_is_told(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.ray.kuberay_diagnosis.OPERATOR_GRACE_S", 1.0)
    kuberay = FakeKubeRay(cluster, "silent")
    with pytest.raises(errors.Unavailable, match="Nobody takes care of the RayCluster ml") as caught:
        ensure()
    assert caught.value.category == "operator_absent"
    assert kuberay.ray_clusters() == []


@pytest.mark.parametrize(
    ("answer", "category"),
    [
        ((404, "404 page not found"), "kuberay_absent"),
        ((200, {"kind": "APIGroup", "versions": [{"version": "v1alpha1"}]}), "kuberay_version"),
    ],
)
def test_an_absent_or_too_old_kuberay_is_told(cluster: FakeCluster, answer: tuple[int, Any], category: str) -> None:
    FakeKubeRay(cluster)
    cluster.api.faults.append(Fault(method="GET", path=r"/apis/ray.io(\?|$)", status=answer[0], body=answer[1]))
    with pytest.raises(errors.FlexcoreError, match="KubeRay") as caught:
        ensure()
    assert caught.value.category == category
    assert not cluster.asked("POST", "rayclusters")


def test_a_cluster_that_is_deleted_while_it_is_waited_for_is_told(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster, "unschedulable")
    caught: list[BaseException] = []

    def run() -> None:
        try:
            ensure(pending_timeout_s=30)
        except errors.FlexcoreError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(kuberay.pods)
    cluster.do(cluster.api.drop(RAY_CLUSTERS, "work", "ml"))
    thread.join(20)
    assert isinstance(caught[0], errors.ExecutionFailed)
    assert caught[0].category == "deleted"


# --- scaling


def test_scaling_changes_one_group_and_waits_for_its_workers(kuberay: FakeKubeRay) -> None:
    data = ensure(spec={"groups": [{"name": "a", "min_workers": 1, "max_workers": 1}, {"name": "b"}]})
    scaled = scale_cluster(cluster=data["cluster"], group="b", min_workers=2, max_workers=4, timeout_s=20)["data"]
    assert scaled["workers"] == 3
    groups = {group["name"]: group for group in scaled["groups"]}
    assert (groups["b"]["min_workers"], groups["b"]["max_workers"], groups["b"]["workers"]) == (2, 4, 2)
    assert (groups["a"]["min_workers"], groups["a"]["max_workers"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give min_workers or max_workers"),
        ({"min_workers": 3, "max_workers": 1}, "min_workers 3 is more than max_workers 1"),
        ({"group": "gpu", "min_workers": 1}, "there is no worker group 'gpu'.*workers"),
    ],
)
def test_a_scaling_that_cannot_be_meant_is_refused(kuberay: FakeKubeRay, arguments: Object, message: str) -> None:
    ensure()
    with pytest.raises(errors.InvalidInput, match=message):
        scale_cluster(cluster=CLUSTER, **arguments)


def test_a_holder_whose_lease_has_ended_no_longer_scales_the_cluster(
    kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure()
    as_flow(monkeypatch, "two")
    ensure()
    release_cluster(cluster=first["cluster"])
    with pytest.raises(errors.Conflict, match="has ended") as caught:
        scale_cluster(cluster=first["cluster"], min_workers=2)
    assert caught.value.category == "lease_ended"


# --- description


def test_a_description_says_what_it_is_made_of_who_holds_it_and_what_is_wrong(cluster: FakeCluster) -> None:
    kuberay = FakeKubeRay(cluster)
    assert describe_cluster(cluster=CLUSTER)["data"]["exists"] is False
    ensure()
    data = describe_cluster(cluster=CLUSTER)["data"]
    assert (data["exists"], data["ours"], data["ready"], data["workers"]) == (True, True, True, 1)
    assert [held["owner_job"] for held in data["leases"]] == ["one"]
    kuberay.mode = "image"
    for pod in kuberay.pods():
        cluster.do(cluster.api.drop("v1/pods", "work", pod["metadata"]["name"]))
    cluster.api.proxied = None
    (made,) = kuberay.ray_clusters()
    cluster.do(kuberay._make_pods(cluster.api, made))
    data = describe_cluster(cluster=CLUSTER)["data"]
    assert (data["ready"], data["problem"]["category"]) == (False, "image_not_found")


# --- the token


def test_a_rotated_token_is_in_the_secret_and_the_pods_are_made_anew(
    cluster: FakeCluster, kuberay: FakeKubeRay
) -> None:
    ensure()
    (before,) = kuberay.secrets()
    pods = {pod["metadata"]["uid"] for pod in kuberay.pods()}
    (made,) = kuberay.ray_clusters()

    def operate() -> None:
        wait_for(lambda: not kuberay.pods())
        cluster.do(kuberay._make_pods(cluster.api, made))

    operator = threading.Thread(target=operate)
    operator.start()
    ensure(rotate_token=True)
    operator.join(20)
    (after,) = kuberay.secrets()
    assert after["stringData"]["auth_token"] != before["stringData"]["auth_token"]
    assert not pods & {pod["metadata"]["uid"] for pod in kuberay.pods()}


def test_a_secret_that_is_gone_is_named_and_made_again_by_ensure(cluster: FakeCluster, kuberay: FakeKubeRay) -> None:
    data = ensure()
    cluster.do(cluster.api.drop("v1/secrets", "work", "ml"))
    problem = describe_cluster(cluster=data["cluster"])["data"]["problem"]
    assert problem["category"] == "token_missing"
    ensure()
    assert len(kuberay.secrets()) == 1


# --- moments


@pytest.mark.fault(1, "I1")
def test_a_step_that_was_killed_after_the_creation_is_completed_by_its_repeat(
    cluster: FakeCluster, kuberay: FakeKubeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("f.flexcore.lib.ray.kuberay_parts.KubeRayParts.complete", die)
        with pytest.raises(Killed):
            ensure()
    (made,) = kuberay.ray_clusters()
    assert len(kuberay_ownership.read_book(made).leases) == 1
    assert kuberay.secrets() == []
    data = ensure()
    assert len(kuberay.ray_clusters()) == len(kuberay.secrets()) == len(kuberay.policies()) == 1
    assert data["lease"]["token"] == 1


@pytest.mark.fault(7, "I1")
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "rayclusters"), ("POST", "secrets"), ("PATCH", "rayclusters"), ("DELETE", "rayclusters")],
)
def test_a_call_whose_answer_is_lost_neither_doubles_nor_loses_anything(
    cluster: FakeCluster, kuberay: FakeKubeRay, method: str, path: str
) -> None:
    if method == "PATCH":
        ensure()
    fault = Fault(method=method, path=path, status=0, after=True)
    if method != "DELETE":
        cluster.api.faults.append(fault)
    data = ensure()
    assert len(kuberay.ray_clusters()) == len(kuberay.secrets()) == 1
    (made,) = kuberay.ray_clusters()
    assert len(kuberay_ownership.read_book(made).leases) == 1
    if method == "DELETE":
        cluster.api.faults.append(fault)
    assert release_cluster(cluster=data["cluster"])["data"]["outcome"] in ("deleted", "gone")
    assert kuberay.ray_clusters() == []


def test_two_ensures_at_once_make_one_cluster_with_two_leases(cluster: FakeCluster, kuberay: FakeKubeRay) -> None:
    for number in range(10):
        managed = [open_managed(f"n{number}") for _ in range(2)]
        found = in_threads([partial(take, one, f"{number}-{who}") for who, one in enumerate(managed)])
        tokens = sorted(held.token for _, held, _ in found)
        assert tokens == [1, 2]
        assert [is_new for _, _, is_new in found].count(True) == 1
        (made,) = [item for item in kuberay.ray_clusters() if item["metadata"]["name"] == f"n{number}"]
        assert len(kuberay_ownership.read_book(made).leases) == 2


def test_a_release_never_deletes_a_cluster_under_a_new_lease(cluster: FakeCluster, kuberay: FakeKubeRay) -> None:
    outcomes = []
    _, held, _ = take(open_managed("ml"), "first")
    for number in range(30):
        releasing, ensuring = open_managed("ml"), open_managed("ml")
        outcome, (stored, new, is_new) = in_threads(
            [partial(releasing.release, held.reference), partial(take, ensuring, f"x{number}")]
        )
        (alive,) = kuberay.ray_clusters()
        # Whoever got a lease has the cluster that it is a lease of.
        assert alive["metadata"]["uid"] == stored["metadata"]["uid"]
        assert [item.reference for item in kuberay_ownership.read_book(alive).leases] == [new.reference]
        outcomes.append((outcome, is_new))
        held = new
    # Both orders happened, and no other.
    assert {outcome for outcome, _ in outcomes} <= {"released", "deleted"}
    assert all(is_new == (outcome == "deleted") for outcome, is_new in outcomes)


def open_managed(name: str) -> kuberay_cluster.KubeRayCluster:
    reference = resources.RayCluster(kubernetes_cluster="f/x/k8s", name=name)
    session = kubernetes_session.open_session(reference)
    return kuberay_cluster.KubeRayCluster(session, reference, report=lambda _: None)


def take(managed: kuberay_cluster.KubeRayCluster, holder: str) -> Any:
    owner = lease.Owner(f"fc-{holder}", holder, holder, "a", "test")
    labels = {"app.kubernetes.io/managed-by": "flexcore"}
    spec = cluster_spec.ClusterSpec(groups=[], network_policy=False, token_auth=False)
    return managed.acquire(spec, kuberay_cluster.Wish(owner, labels, until=time.monotonic() + 20))


def in_threads(calls: list[Any]) -> list[Any]:
    found: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(number: int) -> None:
        barrier.wait()
        found[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_the_token_that_is_read_is_the_secrets(cluster: FakeCluster, kuberay: FakeKubeRay) -> None:
    data = ensure()
    (secret,) = kuberay.secrets()
    stored = {**secret, "data": {"auth_token": base64.b64encode(b"other-token-1234567890").decode()}}
    cluster.do(cluster.api.keep("v1/secrets", stored))
    found = connection.connect(errors.validate(resources.RayCluster, data["cluster"], "cluster"))
    assert found.headers["X-Ray-Authorization"] == "Bearer other-token-1234567890"
    assert found.headers["Authorization"] == f"Bearer {cluster.resource['token']}"
    assert found.cluster.address.endswith("/namespaces/work/services/ml-head-svc:dashboard/proxy")
