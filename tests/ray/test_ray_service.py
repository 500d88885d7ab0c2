"""One RayService on a fake Kubernetes API: changes at once, what it owns, and what an operator says of it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from f.flexcore.lib.core import contracts, identity, operation, resources
from f.flexcore.lib.core.errors import (
    Conflict,
    DeadlineExceeded,
    ExecutionFailed,
    FlexcoreError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unreachable,
)
from f.flexcore.lib.kubernetes_api import client
from f.flexcore.lib.ray import (
    cluster_spec,
    kubernetes_session,
    ray_service,
    service_deployment,
    service_gateway,
    service_rollout,
    service_spec,
)
from f.flexcore.lib.storage import object_store
from f.flexcore.ray import set_traffic, undeploy_model
from tests.kubernetes.fake_cluster import FakeCluster, Fault, status
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.test_service_spec import ENTRY, LABELS

CLUSTER = {"kubernetes_cluster": "f/x/k8s", "namespace": "work"}
SERVICES = "ray.io/v1/rayservices"
Object = dict[str, Any]
TRAINED: Object = {
    "format": "xgboost-ubj",
    "name": "daisy",
    "version": "1",
    "algorithm": "xgboost",
    "target": "y",
    "framework": {"name": "xgboost", "version": "3.1.0"},
    "signature": {"inputs": [{"name": "x", "datatype": "FP64"}], "outputs": [{"name": "predict", "datatype": "FP64"}]},
    "metrics": {},
    "example": [{"x": 1.0}],
}


@pytest.fixture
def session(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with FakeWindmill() as windmill:
        windmill.resources = {"f/x/k8s": cluster.resource}
        env = {"BASE_INTERNAL_URL": windmill.address, "WM_TOKEN": "token", "FLEXCORE_HOME": str(tmp_path)}
        for name, value in {**env, "WM_WORKSPACE": "test"}.items():
            monkeypatch.setenv(name, value)
        with kubernetes_session.open_session(resources.RayCluster.model_validate(CLUSTER)) as opened:
            yield opened


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    fake = FakeCluster()
    yield fake
    fake.close()


def add(version: str) -> Any:
    return lambda state: service_spec.add_quietly({"app": "daisy", **state, "model": "daisy"}, version, ENTRY)


def make(session: Any, *versions: str) -> ray_service.RayService:
    service = ray_service.RayService(session, "daisy")
    for version in versions:
        service.apply(add(version), LABELS, cluster_spec.ClusterSpec(token_auth=False))
    return service


def test_sixty_changes_by_four_at_once_lose_nothing(
    session: Any, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_service, "MAX_PAUSE_S", 0.05)
    make(session, "0")

    def work(name: int) -> None:
        service = ray_service.RayService(session, "daisy")
        for number in range(15):
            service.apply(add(f"{name}-{number}"), LABELS, None)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    (stored,) = cluster.api.all(SERVICES)
    state = service_spec.read_state(stored)
    assert len(state["versions"]) == len(state["applications"]) == 61
    assert state["token"] == 61
    config = json.loads(stored["spec"]["serveConfigV2"])
    assert {app["name"] for app in config["applications"]} == {*state["applications"].values(), "daisy"}


def test_what_it_mounts_belongs_to_it_and_no_key_is_in_it(session: Any, cluster: FakeCluster) -> None:
    service = make(session, "1")
    (stored,) = cluster.api.all(SERVICES)
    service.complete(stored, LABELS, {"access_key": "AKIDEXAMPLE", "secret_key": "hidden-key"})
    service.complete(stored, LABELS, {"access_key": "AKIDEXAMPLE", "secret_key": "another-key"})
    (code,), (secret,) = cluster.api.all("v1/configmaps"), cluster.api.all("v1/secrets")
    for part in (code, secret):
        assert part["metadata"]["ownerReferences"][0]["uid"] == stored["metadata"]["uid"]
    assert secret["stringData"]["secret_key"] == "another-key", "a key that has changed is the one that new pods read"
    assert "-key" not in json.dumps([stored["spec"]["serveConfigV2"], stored["metadata"]["annotations"]])


def test_without_a_ray_service_there_is_nothing_to_change(session: Any) -> None:
    with pytest.raises(NotFound, match="There is no RayService daisy in namespace work"):
        ray_service.RayService(session, "daisy").apply(add("1"), LABELS, None)
    assert undeploy_model.main(CLUSTER, "daisy")["data"] == {"name": "daisy", "deleted": False}


def test_a_version_with_requests_is_not_taken_down_and_one_without_is(session: Any, cluster: FakeCluster) -> None:
    make(session, "1", "2")
    with pytest.raises(InvalidInput, match="daisy gives 100 % of its requests to version '1'"):
        undeploy_model.main(CLUSTER, "daisy", "1")
    assert undeploy_model.main(CLUSTER, "daisy", "2")["data"]["deleted"] is True
    (stored,) = cluster.api.all(SERVICES)
    assert list(service_spec.read_state(stored)["versions"]) == ["1"]
    with pytest.raises(InvalidInput, match="daisy has no version '2'"):
        set_traffic.main(CLUSTER, "daisy", {"2": 1})


def test_shares_that_were_changed_since_they_were_seen_are_left_as_they_are(session: Any, cluster: FakeCluster) -> None:
    service = make(session, "1", "2")
    seen = service_spec.read_state(service.read_ours())["token"]
    service.apply(lambda state: {**state, "before": state["weights"], "weights": {"2": 100.0}}, LABELS, None)
    (before,) = cluster.api.all(SERVICES)
    with pytest.raises(Conflict, match=f"daisy were changed since revision {seen}: they are 2 100 %"):
        set_traffic.main(CLUSTER, "daisy", rollback=True, from_revision=seen)
    assert cluster.api.all(SERVICES) == [before]


def test_a_version_that_cannot_be_deployed_is_told_with_its_exception_and_taken_back(
    session: Any, cluster: FakeCluster
) -> None:
    service = make(session, "1", "2")
    told = {"status": "DEPLOY_FAILED", "serveDeploymentStatuses": {"model": {"message": "failed to start: bad magic"}}}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    status["activeServiceStatus"] = {"applicationStatuses": {"daisy--2": told}}  # type: ignore[assignment]
    service.kubernetes.patch(service.path, {"status": status}, service.call("patch"))
    clock = iter(range(100))
    quick = ray_service.RayService(session, "daisy", lambda: float(next(clock)), lambda seconds: None)
    with pytest.raises(ExecutionFailed, match="could not deploy daisy--2: failed to start: bad magic") as caught:
        quick.wait_until_running("daisy--2", 90.0)
    assert caught.value.category == "deploy_failed"
    service_rollout.take_back(service, "2", LABELS)
    (stored,) = cluster.api.all(SERVICES)
    assert list(service_spec.read_state(stored)["versions"]) == ["1"]


# --- the trial of one that has never answered


@pytest.fixture
def deployed(session: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A deployment as the step does it, whose model comes from nowhere and whose operator says `told`."""
    monkeypatch.setattr(ray_service, "SETTLE_S", -1.0)
    monkeypatch.setattr(ray_service, "POLL_INTERVAL_S", 0.01)

    def prove(told: Object, *versions: str, timeout_s: float = 0.1) -> ray_service.RayService:
        service = ray_service.RayService(session, "daisy")
        before = service.read_ours()
        stored = make(session, *versions).read_ours()
        assert stored is not None
        until = service._clock() + timeout_s
        statuses = {name: told for name in ("daisy", *(f"daisy--{version}" for version in versions))}
        status = {"activeServiceStatus": {"applicationStatuses": statuses}}
        service.kubernetes.patch(service.path, {"status": status}, service.call("patch"))
        try:
            service_rollout.prove(service, MODEL, ENTRY, REQUEST, LABELS, until)
        except FlexcoreError as error:
            service_rollout.undo(service, MODEL.version, before, LABELS, error)
            raise
        return service

    return prove


MODEL: Any = SimpleNamespace(name="daisy", version="1")
REQUEST: Any = SimpleNamespace(weight=100, keep_previous=True)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"status": "DEPLOY_FAILED", "serveDeploymentStatuses": {"model": {"message": "bad magic"}}}, ExecutionFailed),
        ({"status": "DEPLOYING"}, DeadlineExceeded),
    ],
)
def test_a_first_deployment_that_fails_leaves_no_ray_service(
    deployed: Any, cluster: FakeCluster, told: Object, error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error):
        deployed(told, "1")
    assert cluster.api.all(SERVICES) == []
    assert "The RayService daisy has never answered and is removed" in capsys.readouterr().out


def test_lost_contact_is_no_verdict_on_a_first_deployment(
    deployed: Any, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any) -> None:
        raise Unreachable("the API server is away")

    monkeypatch.setattr(ray_service.RayService, "wait_until_running", lose)
    with pytest.raises(Unreachable):
        deployed({}, "1")
    (stored,) = cluster.api.all(SERVICES)
    assert service_spec.is_on_trial(stored), "reconcile ends it with its run"


def test_one_that_answers_stays_for_good_and_a_later_failure_takes_its_version_alone(
    deployed: Any, session: Any, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_rollout, "wait_for_weights", lambda *_: None)
    monkeypatch.setattr(service_rollout, "ask", lambda *_, **__: {"rows": 1})
    deployed({"status": "RUNNING"}, "1", timeout_s=60)
    (stored,) = cluster.api.all(SERVICES)
    assert not service_spec.is_on_trial(stored)
    monkeypatch.setattr(MODEL, "version", "2")
    with pytest.raises(ExecutionFailed):
        deployed({"status": "DEPLOY_FAILED"}, "2", timeout_s=60)
    (stored,) = cluster.api.all(SERVICES)
    assert list(service_spec.read_state(stored)["versions"]) == ["1"]


def test_a_version_that_has_requests_is_not_taken_back(session: Any, cluster: FakeCluster) -> None:
    service = make(session, "1", "2")
    service.apply(lambda state: service_spec.add_version(state, "2", ENTRY, 30), LABELS, None)
    service_rollout.take_back(service, "2", LABELS)
    (stored,) = cluster.api.all(SERVICES)
    assert service_spec.read_state(stored)["weights"] == {"1": 70.0, "2": 30.0}


# --- upgrades in steps


def gateway(address: str = "203.0.113.7", port: int = 80, programmed: str = "True") -> Object:
    conditions = [
        {"type": "Accepted", "status": "True", "reason": "Accepted"},
        {"type": "Programmed", "status": programmed, "reason": "PortUnavailable", "message": "no entry point for 80"},
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "daisy-gateway", "namespace": "work", "uid": "g-1"},
        "spec": {"gatewayClassName": "traefik", "listeners": [{"name": "http", "port": port}]},
        "status": {"addresses": [{"value": address}] if address else [], "conditions": conditions},
    }


@pytest.mark.parametrize(
    ("found", "url", "problem"),
    [
        (gateway(), "http://203.0.113.7", ""),
        (gateway("gateway.example.com", 8088), "http://gateway.example.com:8088", ""),
        (gateway("2001:db8::7"), "http://[2001:db8::7]", ""),
        (gateway(""), "", "it has no address"),
        (gateway(programmed="False"), "", "PortUnavailable: no entry point for 80"),
        ({**gateway(), "status": {}}, "", "no controller has taken it"),
    ],
)
def test_a_gateway_has_an_address_once_it_is_programmed(found: Object, url: str, problem: str) -> None:
    assert service_gateway.find_address(found) == (url, problem)


@pytest.mark.parametrize(
    ("found", "url", "said"),
    [
        (gateway(), "http://203.0.113.7", ""),
        (None, "", "KubeRay's RayServiceIncrementalUpgrade is off"),
        (gateway(programmed="False"), "", r"its Gateway is not ready \(PortUnavailable: no entry point for 80\)"),
    ],
)
def test_a_ray_service_that_nobody_upgrades_in_steps_is_set_back(
    found: Object | None, url: str, said: str, session: Any, cluster: FakeCluster
) -> None:
    service = ray_service.RayService(session, "daisy")
    service.apply(add("1"), LABELS, cluster_spec.ClusterSpec(token_auth=False), "traefik")
    if found:
        cluster.do(cluster.api.keep("gateway.networking.k8s.io/v1/gateways", found))
    clock, notes = iter(range(1000)), list[str]()
    assert service_gateway.settle(service, lambda: float(next(clock)), lambda _: None, notes.append) == url
    (stored,) = cluster.api.all(SERVICES)
    assert service_spec.is_stepwise(stored) is bool(url)
    assert re.search(said, "".join(notes))
    assert bool(notes) is not bool(url)


def test_requests_are_waited_for_until_all_go_to_one_cluster(session: Any) -> None:
    service = ray_service.RayService(session, "daisy")
    service.apply(add("1"), LABELS, cluster_spec.ClusterSpec(token_auth=False), "traefik")
    active = {"rayClusterName": "daisy-aaaaa"}
    steps = [{"rayClusterName": "daisy-bbbbb", "trafficRoutedPercent": percent} for percent in (0, 50, 100)]
    waiting, notes = [*steps, None], list[str]()

    def play(_: float = 0) -> None:
        status = {"activeServiceStatus": active, "pendingServiceStatus": waiting.pop(0)}
        service.kubernetes.patch(service.path, {"status": status}, service.call("patch"))

    play()
    assert service.serving_service() == "daisy-aaaaa-serve-svc"
    clock = iter(range(100))
    service_gateway.wait_until_moved(service, 90.0, lambda: float(next(clock)), play, notes.append)
    assert notes == [f"{percent} % of the requests go to the new Ray cluster" for percent in (0, 50, 100)]
    waiting.append(steps[1])
    play()
    with pytest.raises(DeadlineExceeded, match=r"has not moved to its new Ray cluster in time \(50 %"):
        service_gateway.wait_until_moved(service, 99.0, lambda: float(next(clock)), lambda _: None, notes.append)


def test_its_pods_get_a_network_policy_that_follows_the_form(session: Any, cluster: FakeCluster) -> None:
    service = make(session, "1")
    (stored,) = cluster.api.all(SERVICES)
    for networks in (["10.0.0.0/8"], ["192.0.2.0/24"]):
        spec = cluster_spec.ClusterSpec(token_auth=False, allow_from=networks)
        service.complete(stored, LABELS, {}, spec)
    (policy,) = cluster.api.all("networking.k8s.io/v1/networkpolicies")
    assert policy["metadata"]["ownerReferences"][0]["uid"] == stored["metadata"]["uid"]
    assert policy["spec"]["ingress"][1]["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    head = stored["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= head.items()


@pytest.mark.parametrize("was_made_by_form", [False, True])
def test_a_first_deployment_that_is_cut_short_gets_its_network_policy_where_it_is_repeated(
    session: Any, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_made_by_form: bool
) -> None:
    """But none that its form did not ask for."""
    (tmp_path / "model.ubj").write_bytes(b"model")
    files = [object_store.file_entry(tmp_path / "model.ubj", "model.ubj")]
    model = {**TRAINED, "uri": f"file://{tmp_path}", "files": [files[0].plain()]}
    model["checksum"] = contracts.compute_checksum(files)
    spec = {"token_auth": False, "network_policy": False} if was_made_by_form else None
    request = service_deployment.DEPLOY_SERVICE.parse({"model": model, "spec": spec, "timeout_s": 1})
    settings = resources.Settings(storage_uri=f"file://{tmp_path}")
    service = resources.RayCluster.model_validate(CLUSTER)
    key = identity.execution_key({"WM_JOB_ID": "job-1"})
    invocation = operation.Invocation("ray", request, service, settings, key)
    with monkeypatch.context() as patched:
        patched.setattr(client, "RETRY_S", 0)
        cluster.api.faults.append(Fault(method="POST", path="/configmaps", status=503))
        with pytest.raises(Unavailable):
            service_rollout.execute(invocation)
    assert cluster.api.all(SERVICES) and not cluster.asked("POST", "/networkpolicies")
    request.spec = None
    with pytest.raises(DeadlineExceeded):
        service_rollout.execute(invocation)
    assert len(cluster.asked("POST", "/networkpolicies")) == (0 if was_made_by_form else 1)


def test_a_dashboard_without_a_token_is_told_with_those_who_reach_it(
    session: Any, cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = status(400, "BadRequest", 'strict decoding error: unknown field "spec.rayClusterConfig.authOptions"')
    cluster.api.faults.append(Fault(method="POST", path="/rayservices", status=400, body=refusal))
    service = ray_service.RayService(session, "daisy")
    service.apply(add("1"), LABELS, cluster_spec.ClusterSpec(allow_from=["10.0.0.0/8"]))
    assert "its Ray has none, and the networks of allow_from (10.0.0.0/8) alone reach" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            'failed to start:\nTraceback (most recent call last):\n  File "a.py", line 97, in load\n    raise x\n'
            "f.lib.Problem: The files are damaged:\nmodel.ubj cannot be read",
            "f.lib.Problem: The files are damaged: model.ubj cannot be read",
        ),
        ("failed to start: bad magic", "failed to start: bad magic"),
        ("", ""),
    ],
)
def test_of_a_traceback_the_exception_is_told(message: str, told: str) -> None:
    assert ray_service.find_exception(message) == told
