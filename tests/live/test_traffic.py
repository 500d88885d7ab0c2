"""Canaries on a real cluster: an HTTPRoute before real Traefik, or replicas behind one Service.

KUBECONFIG                     a cluster in which the tests may create namespaces, with GatewayClass traefik
FLEXCORE_LIVE_PYTHON_IMAGE     an image with Python (else localhost/python:3.11)
FLEXCORE_LIVE_GATEWAY_URL      where its data plane answers (else http://127.0.0.1:8088, the port of its listener)
FLEXCORE_LIVE_PROMETHEUS_URL   a Prometheus that scrapes annotated pods (else http://127.0.0.1:9090)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.kubernetes.shift_traffic import main as shift_traffic
from f.flexcore.lib.core import remote_objects
from f.flexcore.lib.core.errors import Conflict, ExecutionFailed, InvalidInput
from f.flexcore.lib.kubernetes import traffic_objects
from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes_api.api_errors import Call
from tests.live import rights
from tests.live.places import make_namespace, read_resource
from tests.live.versions import Versions, constant_load

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
ROOT = Path(__file__).parent.parent.parent
GATEWAY_URL = os.environ.get("FLEXCORE_LIVE_GATEWAY_URL", "http://127.0.0.1:8088")
PROMETHEUS_URL = os.environ.get("FLEXCORE_LIVE_PROMETHEUS_URL", "http://127.0.0.1:9090")
GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"


class Live(Versions):
    """The cluster, and what a step needs to know of it."""

    resource: Object
    store: str

    def shift(self, **arguments: Any) -> Object:
        given: Object = {
            "route": "demo",
            "stable": "one",
            "candidate": "two",
            "gateway": "web",
            "host": self.host,
            "weights": [25, 50, 100],
            "pause_s": 5,
            "min_requests": 10,
            "measure": "probes",
            "probe_path": "/predict",
            "max_latency_ratio": 5.0,
            **arguments,
        }
        settings = {"storage_uri": self.store}
        return shift_traffic(cluster=self.resource, namespace=self.namespace, settings=settings, **given)

    @property
    def host(self) -> str:
        return f"demo.{self.namespace}"

    def objects(self) -> traffic_objects.ShiftObjects:
        return traffic_objects.ShiftObjects("u/x/cluster", self.resource)

    def mine(self) -> list[remote_objects.RemoteObject]:
        return [item for item in self.objects().find() if item.namespace == self.namespace]

    def wait_for_weight(self, version: str, weight: int, limit_s: float = 60) -> None:
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            try:
                if self.weights("demo").get(version) == weight:
                    return
            except AssertionError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{version} never got {weight} %")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    kubernetes = connect(read_resource()).kubernetes
    code, _ = kubernetes.request_raw("GET", GATEWAY_API, None, Call("get", "gateways"))
    if code != 200:
        pytest.skip("the cluster has no Gateway API")
    image = os.environ.get("FLEXCORE_LIVE_PYTHON_IMAGE", "localhost/python:3.11")
    with make_namespace(kubernetes, "flexcore-traffic-") as namespace:
        cluster = Live(kubernetes, namespace, image)
        # Every step here runs with this role and no other right.
        cluster.resource = rights.make_limited(kubernetes, namespace, "flexcore-traffic")
        cluster.resource |= {"prometheus_url": PROMETHEUS_URL, "namespace": namespace}
        cluster.store = f"file://{tmp_path_factory.mktemp('store')}"
        cluster.deploy("one")
        cluster.deploy("two")
        listener = {"name": "http", "protocol": "HTTP", "port": httpx.URL(GATEWAY_URL).port}
        spec = {"gatewayClassName": "traefik", "listeners": [listener]}
        cluster.create(GATEWAY_API, "gateways", {"kind": "Gateway", "metadata": {"name": "web"}, "spec": spec})
        yield cluster


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two healthy versions, no route, and a step of its own for each test."""
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    monkeypatch.setenv("WM_WORKSPACE", "dev")
    live = request.getfixturevalue("live")
    for name in ("one", "two"):
        live.tell(name, "heal")
    yield
    for plural, prefix in (("httproutes", GATEWAY_API), ("services", "/api/v1")):
        path = f"{prefix}/namespaces/{live.namespace}/{plural}/demo"
        if stored := live.kubernetes.get(path, Call("get", plural, live.namespace, "demo")):
            live.kubernetes.delete(path, stored["metadata"]["uid"], Call("delete", plural, live.namespace, "demo"))


def start_at_stable(live: Live) -> None:
    """A route that gives all requests to the first version, already in use."""
    live.shift(weights=[0])
    until = time.monotonic() + 30
    while httpx.get(GATEWAY_URL, headers={"Host": live.host}).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_candidate_that_is_as_good_is_promoted_and_no_request_is_lost(live: Live) -> None:
    start_at_stable(live)
    with constant_load(GATEWAY_URL, live.host) as load:
        os.environ["WM_JOB_ID"] = str(uuid.uuid4())
        result = live.shift()
        time.sleep(1)
    print(f"promote: {load.sent} requests, lost {load.lost}, answers {dict(load.answers)}")
    assert load.lost == [] and load.sent > 300
    assert {code for _, code in load.answers} == {200}
    assert live.weights("demo") == {"one": 0, "two": 100}
    assert result["data"]["outcome"] == "promoted" and [step["weight"] for step in result["data"]["steps"]] == [
        25,
        50,
        100,
    ]
    assert all(step["answer"] == "good" for step in result["data"]["steps"])
    assert live.mine() == []


def test_a_candidate_that_turns_bad_at_50_percent_loses_its_requests_within_10_seconds(live: Live) -> None:
    start_at_stable(live)
    broken_at: list[float] = []

    def break_at_50() -> None:
        live.wait_for_weight("two", 50)
        time.sleep(4)
        broken_at.append(time.monotonic())
        live.tell("two", "break")

    breaker = threading.Thread(target=break_at_50)
    breaker.start()
    with constant_load(GATEWAY_URL, live.host) as load:
        os.environ["WM_JOB_ID"] = str(uuid.uuid4())
        with pytest.raises(ExecutionFailed, match="two is worse than one") as caught:
            live.shift(weights=[25, 50, 100], pause_s=8)
        time.sleep(4)
    breaker.join()
    took_s = load.last_of("two") - broken_at[0]
    print(f"back: {took_s:.1f} s after it broke; {load.sent} requests, lost {load.lost}, answers {dict(load.answers)}")
    assert caught.value.category == "canary_bad" and not caught.value.retryable
    assert live.weights("demo") == {"one": 100, "two": 0} and live.mine() == []
    assert took_s <= 10 and load.lost == []
    assert load.answers["one", 503] == 0 and load.answers["two", 503] > 0


def test_a_candidate_that_loses_its_last_pod_at_50_percent_is_taken_back_within_10_seconds(live: Live) -> None:
    start_at_stable(live)
    scaled_at: list[float] = []

    def scale_away() -> None:
        live.wait_for_weight("two", 50)
        time.sleep(3)
        scaled_at.append(time.monotonic())
        live.scale("two", 0)

    other = threading.Thread(target=scale_away)
    other.start()
    try:
        os.environ["WM_JOB_ID"] = str(uuid.uuid4())
        with pytest.raises(ExecutionFailed, match="The candidate has no ready endpoint") as caught:
            live.shift(pause_s=8)
        took_s = time.monotonic() - scaled_at[0]
        other.join()
        assert caught.value.category == "canary_bad" and took_s <= 10
        assert live.weights("demo") == {"one": 100, "two": 0} and live.mine() == []
    finally:
        live.scale("two", 1)
        live.wait_ready("two")


def test_two_versions_that_fail_alike_are_no_reason_to_go_on(live: Live) -> None:
    start_at_stable(live)
    for name in ("one", "two"):
        live.tell(name, "break")
    os.environ["WM_JOB_ID"] = str(uuid.uuid4())
    with pytest.raises(ExecutionFailed, match="Both versions fail") as caught:
        live.shift()
    assert caught.value.category == "canary_inconclusive" and "stable version fails, too" in str(caught.value.remedy)
    assert live.weights("demo") == {"one": 100, "two": 0} and live.mine() == []


def test_a_slow_candidate_is_taken_back(live: Live) -> None:
    live.tell("two", "slow")
    with pytest.raises(ExecutionFailed, match="times as long") as caught:
        live.shift(max_latency_ratio=2.0)
    assert caught.value.category == "canary_bad" and live.weights("demo") == {"one": 100, "two": 0}


def test_without_traffic_nothing_is_promoted_and_the_weights_go_back(live: Live) -> None:
    with pytest.raises(ExecutionFailed, match="inconclusive") as caught:
        live.shift(measure="prometheus")
    assert caught.value.category == "canary_inconclusive"
    (step,) = caught.value.details["traffic"]["steps"]
    assert step["weight"] == 25 and step["candidate"]["requests"] == 0
    assert live.weights("demo") == {"one": 100, "two": 0} and live.mine() == []


def test_requests_that_prometheus_counts_promote(live: Live) -> None:
    start_at_stable(live)
    with constant_load(GATEWAY_URL, live.host):
        os.environ["WM_JOB_ID"] = str(uuid.uuid4())
        result = live.shift(measure="auto", pause_s=16, weights=[50, 100], max_latency_ratio=20.0)
    first, second = result["data"]["steps"]
    assert first["measured_by"] == "Prometheus (model server)" and first["candidate"]["requests"] >= 10
    assert first["baseline"]["requests"] >= 10 and first["candidate"]["latency_s"] > 0
    assert second["candidate"]["requests"] >= 10 and result["data"]["outcome"] == "promoted"


DRIVER = """
import json, os, sys
from f.flexcore.kubernetes.shift_traffic import main
main(**json.load(sys.stdin))
"""


def start_driver(live: Live, job: str, **arguments: Any) -> subprocess.Popen[str]:
    """The step in a process of its own, as a job of that name."""
    given: Object = {"cluster": live.resource, "namespace": live.namespace, "settings": {"storage_uri": live.store}}
    given |= {"route": "demo", "stable": "one", "candidate": "two", "gateway": "web", "host": live.host}
    given |= {"weights": [25, 50, 100], "min_requests": 10, "measure": "probes", "probe_path": "/predict"}
    given |= {"max_latency_ratio": 5.0, "pause_s": 5, **arguments}
    env = {**os.environ, "WM_JOB_ID": job, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, env=env, text=True, cwd=ROOT)
    assert process.stdin is not None
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    return process


@pytest.mark.fault(1, "I4", real=True)
def test_a_driver_that_was_killed_between_two_weights_is_cleaned_up_by_reconcile(live: Live) -> None:
    start_at_stable(live)
    with constant_load(GATEWAY_URL, live.host) as load:
        driver = start_driver(live, "dead", pause_s=30)
        live.wait_for_weight("two", 25)
        time.sleep(2)
        driver.send_signal(signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
        (item,) = live.mine()
        assert item.owner == "dead" and item.state == "running"
        assert remote_objects.decide_cleanup(item, "running", time.time()).action == "leave"
        assert remote_objects.decide_cleanup(item, "unknown", time.time()).action == "leave"
        assert remote_objects.decide_cleanup(item, "ended", time.time()).action == "stop"
        assert live.objects().stop(item) == "moved back to one 100, two 0"
        time.sleep(4)
    assert load.lost == [] and load.answers["two", 200] > 0
    assert live.weights("demo") == {"one": 100, "two": 0} and live.mine() == []
    assert live.objects().stop(item) == "had ended"


@pytest.mark.fault(1, "I4", real=True)
def test_a_driver_that_was_given_up_and_goes_on_after_all_moves_nothing_any_more(live: Live) -> None:
    start_at_stable(live)
    driver = start_driver(live, "frozen", pause_s=10)
    try:
        live.wait_for_weight("two", 25)
        driver.send_signal(signal.SIGSTOP)
        (item,) = live.mine()
        assert live.objects().stop(item) == "moved back to one 100, two 0"
        driver.send_signal(signal.SIGCONT)
        assert driver.wait(120) != 0
        assert live.weights("demo") == {"one": 100, "two": 0} and live.mine() == []
    finally:
        driver.kill()


@pytest.mark.fault(1, "I2", real=True)
def test_a_repeat_of_a_killed_driver_goes_on_at_its_step_and_knows_what_was_before(
    live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = start_driver(live, "repeated")
    live.wait_for_weight("two", 50)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    monkeypatch.setenv("WM_JOB_ID", "repeated")
    result = live.shift()
    assert result["data"]["outcome"] == "promoted" and "step 1" not in capsys.readouterr().out
    assert [step["weight"] for step in result["data"]["steps"]] == [25, 50, 100]
    assert live.shift() == result


def test_a_second_driver_is_refused_by_name(live: Live) -> None:
    driver = start_driver(live, "first", pause_s=30)
    try:
        live.wait_for_weight("two", 25)
        with pytest.raises(Conflict, match="is being shifted by execution fc-") as caught:
            live.shift()
        assert caught.value.category == "shift_in_progress" and caught.value.details["owner_job"] == "first"
        assert live.weights("demo") == {"one": 75, "two": 25}
    finally:
        driver.kill()
        driver.wait()
    for item in live.mine():
        live.objects().stop(item)


def test_weights_that_another_field_manager_moves_are_left_and_it_is_named(live: Live) -> None:
    path = f"{GATEWAY_API}/namespaces/{live.namespace}/httproutes/demo?fieldManager=somebody-else"

    def interfere() -> None:
        live.wait_for_weight("two", 25)
        time.sleep(1)
        rules = live.route("demo")["spec"]["rules"]
        for ref in rules[0]["backendRefs"]:
            ref["weight"] = {"one": 90, "two": 10}[ref["name"]]
        live.kubernetes.request_raw("PATCH", path, {"spec": {"rules": rules}}, Call("patch", "httproutes"))

    other = threading.Thread(target=interfere)
    other.start()
    with pytest.raises(Conflict, match="were moved by somebody-else: one 90, two 10 instead of one 75, two 25"):
        live.shift(pause_s=20)
    other.join()
    assert live.weights("demo") == {"one": 90, "two": 10} and live.mine() == []


def test_a_route_that_is_not_ours_is_refused_and_left(live: Live) -> None:
    refs = [{"name": "one", "port": 8080}]
    spec = {"parentRefs": [{"name": "web"}], "hostnames": [live.host], "rules": [{"backendRefs": refs}]}
    body = {
        "kind": "HTTPRoute",
        "metadata": {"name": "demo", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": spec,
    }
    before = live.create(GATEWAY_API, "httproutes", body)
    with pytest.raises(InvalidInput, match="HTTPRoute demo exists and belongs to Helm"):
        live.shift()
    assert live.route("demo")["spec"] == before["spec"]


def test_a_candidate_in_another_namespace_gets_a_reference_grant(live: Live) -> None:
    with make_namespace(live.kubernetes, f"{live.namespace}-b") as other:
        rights.grant(live.kubernetes, other, "flexcore-traffic", account_of=live.namespace)
        live.deploy("far", namespace=other)
        start_at_stable(live)
        os.environ["WM_JOB_ID"] = str(uuid.uuid4())
        result = live.shift(candidate=f"{other}/far", weights=[50, 100])
        assert result["data"]["shares"] == {"one": 0, f"{other}/far": 100}
        assert httpx.get(GATEWAY_URL, headers={"Host": live.host}).text == "far"


def test_a_gateway_that_refuses_the_route_is_told_and_nothing_moves(live: Live) -> None:
    with pytest.raises(ExecutionFailed, match="has not taken up the weights") as caught:
        live.shift(gateway="nowhere", host="other.example")
    assert caught.value.category == "not_settled" and live.weights("demo") == {"one": 100, "two": 0}


def test_without_a_gateway_replicas_behind_one_service_are_moved(live: Live) -> None:
    for name in ("three", "four"):
        live.deploy(name, replicas=2 if name == "three" else 1, model="replicas")
    result = live.shift(stable="three", candidate="four", gateway="", host="", weights=[50, 100])
    assert result["data"]["mode"] == "replicas" and result["data"]["shares"] == {"three": 0, "four": 2}
    for name, count in (("three", 0), ("four", 2)):
        assert live.get("/apis/apps/v1", "deployments", name)["spec"]["replicas"] == count
    address = live.get("/api/v1", "services", "demo")["spec"]["clusterIP"]
    os.environ["WM_JOB_ID"] = str(uuid.uuid4())
    live.tell("four", "break")
    with constant_load(f"http://{address}:8080", "x", per_second=20) as load:
        back = live.shift(stable="three", candidate="four", gateway="", host="", weights=[0])
        time.sleep(1)
    assert back["data"]["shares"] == {"three": 2, "four": 0} and load.lost == []
