"""kubernetes/shift_traffic against a Kubernetes API on loopback and a Prometheus of numbers, in virtual time."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kmock
import pytest

from f.flexcore.lib.core import driver, remote_objects
from f.flexcore.lib.core.errors import (
    Conflict,
    ExecutionFailed,
    InvalidInput,
    MissingSetting,
    NotFound,
    Unavailable,
    UserError,
)
from f.flexcore.lib.kubernetes import traffic_measure, traffic_objects, traffic_record, traffic_shift
from f.flexcore.lib.kubernetes.traffic_operation import SHIFT_TRAFFIC
from f.flexcore.lib.kubernetes_api import client
from f.flexcore.lib.kubernetes_api.api_errors import Call
from tests.kubernetes.fake_cluster import Api, FakeCluster, Fault

Object = dict[str, Any]
ROUTES = "gateway.networking.k8s.io/v1/httproutes"
GRANTS = "gateway.networking.k8s.io/v1beta1/referencegrants"
SLICES = "discovery.k8s.io/v1/endpointslices"
DEPLOYMENTS = "apps/v1/deployments"
# Of each step; with DATA_PLANE_LAG_S, the second begins before AT_STEP_2.
PAUSE_S, AT_STEP_1, AT_STEP_2 = 6, 5, 14
CUSTOM = {"requests": "requests $name", "errors": "errors $name", "latency_s": "latency_s $name"}


@dataclass
class World:
    """A cluster with two versions, its Prometheus, and a clock that only sleeping moves."""

    cluster: FakeCluster
    store: Path
    counts: dict[str, float] = field(default_factory=dict)
    now: float = 1000.0
    plans: list[tuple[float, Callable[[], Any]]] = field(default_factory=list)
    report: list[str] = field(default_factory=list)
    # The next write of the route after such a line is applied, and nobody hears of it.
    lost: list[tuple[str, Fault]] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.report.append(line)
        self.cluster.api.faults += [fault for text, fault in self.lost if text in line]

    def lose_answer(self, line: str, code: int = 502) -> None:
        self.lost.append((line, Fault(method="PATCH", path="/demo", status=code, after=True)))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [plan for plan in self.plans if plan[0] <= self.now]
        self.plans = [plan for plan in self.plans if plan[0] > self.now]
        for _, act in due:
            act()

    def after(self, seconds: float, act: Callable[[], Any]) -> None:
        self.plans.append((self.now + seconds, act))

    def ask(self, query: str) -> tuple[int, Any]:
        found = [{"value": [0, str(self.counts[query])]}] if query in self.counts else []
        return 200, {"status": "success", "data": {"result": found}}

    def shift(self, **arguments: Any) -> Object:
        adapter = self.open(**arguments)
        return driver.Driver(adapter, "call", self.report.append).run().plain()

    def open(self, **arguments: Any) -> traffic_shift.ShiftAdapter:
        given: Object = {"stable": "one", "candidate": "two", "route": "demo", "gateway": "web", "queries": CUSTOM}
        given |= {"weights": [25, 50, 100], "pause_s": PAUSE_S, "settings": {"storage_uri": f"file://{self.store}"}}
        given |= {"cluster": {**self.cluster.resource, "prometheus_url": "http://prometheus.invalid"}, **arguments}
        with traffic_shift.open_shift(SHIFT_TRAFFIC.invoke(given)) as adapter:
            adapter.clock, adapter.sleep, adapter.report = (lambda: self.now), self.sleep, self.note
            if isinstance(adapter.opened.source, traffic_measure.PrometheusSource):
                adapter.opened.source.get = self.ask
            return adapter

    def plan(self, **arguments: Any) -> Object:
        given: Object = {"stable": "one", "candidate": "two", "route": "demo", "gateway": "web", "weights": [25, 100]}
        return SHIFT_TRAFFIC.plan(SHIFT_TRAFFIC.invoke({**given, "cluster": self.cluster.resource, **arguments})).data

    def route(self) -> Object:
        (item,) = self.cluster.api.all(ROUTES)
        return item

    def weights(self) -> dict[str, int]:
        return {ref["name"]: ref["weight"] for ref in self.route()["spec"]["rules"][0]["backendRefs"]}

    def mark(self) -> str | None:
        metadata = self.route()["metadata"]
        assert (traffic_record.SHIFT in metadata["labels"]) == (traffic_record.SHIFT in metadata["annotations"])
        text: str | None = metadata["annotations"].get(traffic_record.SHIFT)
        return text

    def change(self, body: Object) -> None:
        """As another client does it."""
        path = "/apis/gateway.networking.k8s.io/v1/namespaces/work/httproutes/demo?fieldManager=kubectl-edit"
        code, _ = self.open().opened.kubernetes.request_raw("PATCH", path, body, Call("patch", "httproutes"))
        assert code == 200

    def move(self, **shares: int) -> None:
        rules = copy.deepcopy(self.route()["spec"]["rules"])
        for ref in rules[0]["backendRefs"]:
            ref["weight"] = shares[ref["name"]]
        self.change({"spec": {"rules": rules}})

    def objects(self) -> traffic_objects.ShiftObjects:
        return traffic_objects.ShiftObjects("f/x/k8s", self.cluster.resource)

    def written_weights(self) -> list[list[int]]:
        """Those of every write of the route, in order."""
        bodies = [item.data for item in self.cluster.asked("PATCH", "/httproutes/demo") if "spec" in item.data]
        return [[ref["weight"] for ref in body["spec"]["rules"][0]["backendRefs"]] for body in bodies]


async def accepted(api: Api, resource: str, item: Object) -> None:
    """A Gateway's controller."""
    generation = item["metadata"]["generation"]
    told = item.get("status", {}).get("parents", [{}])[0].get("conditions", [{}])[0].get("observedGeneration")
    if resource == ROUTES and told != generation:
        conditions = [
            {"type": kind, "status": "True", "observedGeneration": generation} for kind in ("Accepted", "ResolvedRefs")
        ]
        item["status"] = {
            "parents": [{"parentRef": ref, "conditions": conditions} for ref in item["spec"]["parentRefs"]]
        }
        async with api.writing:
            (stored,) = [route for route in api.all(ROUTES) if route["metadata"]["name"] == item["metadata"]["name"]]
            if stored["metadata"]["generation"] == generation:
                await api.keep(ROUTES, {**stored, "status": item["status"]})


def add_version(cluster: FakeCluster, name: str, namespace: str = "work", ready: bool = True) -> None:
    meta = {"name": name, "namespace": namespace}
    ports = [{"name": "metrics", "port": 9000}, {"name": "http", "port": 8080}]
    cluster.do(cluster.api.keep("v1/services", {"metadata": dict(meta), "spec": {"ports": ports}}))
    labels = {"kubernetes.io/service-name": name}
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]
    cluster.do(cluster.api.keep(SLICES, {"metadata": {**meta, "labels": labels}, "endpoints": endpoints}))


@pytest.fixture
def world(cluster: FakeCluster, tmp_path: Path) -> World:
    """Both versions are healthy and get requests."""
    for name in (ROUTES, GRANTS, SLICES):
        cluster.api.resources[name] = kmock.ResourceInfo()
    cluster.api.story = accepted
    add_version(cluster, "one")
    add_version(cluster, "two")
    healthy = {"requests": 900.0, "errors": 0.0, "latency_s": 0.1}
    counts = {f"{what} {name}": value for name in ("one", "two") for what, value in healthy.items()}
    return World(cluster, tmp_path, counts)


# --- forward and back


def test_a_good_candidate_is_promoted_step_by_step(world: World) -> None:
    result = world.shift()
    assert world.written_weights() == [[75, 25], [50, 50], [0, 100]] and world.weights() == {"one": 0, "two": 100}
    assert world.mark() is None and result["data"]["outcome"] == "promoted" and result["data"]["mode"] == "gateway"
    assert [(step["weight"], step["answer"]) for step in result["data"]["steps"]] == [
        (25, "good"),
        (50, "good"),
        (100, "good"),
    ]
    assert result["metrics"]["candidate_requests"] == 2700 and result["remote"]["kind"] == "HTTPRoute"
    assert result["timings"]["running"] >= 3 * PAUSE_S


def test_what_was_before_is_recorded_in_the_store_and_on_the_route_before_anything_moves(world: World) -> None:
    seen: list[Object] = []

    async def look(api: Api, resource: str, item: Object) -> None:
        if resource == ROUTES and traffic_record.SHIFT in (item["metadata"].get("annotations") or {}):
            (stored,) = world.store.glob("fc-*/1/traffic.json")
            record = json.loads(item["metadata"]["annotations"][traffic_record.SHIFT])
            weights = [ref["weight"] for ref in item["spec"]["rules"][0]["backendRefs"]]
            seen.append(
                {
                    "store": json.loads(stored.read_text())["record"]["before"],
                    "before": record["before"],
                    "now": weights,
                }
            )
        await accepted(api, resource, item)

    world.cluster.api.story = look
    world.shift()
    assert seen[0] == {"store": {"one": 100, "two": 0}, "before": {"one": 100, "two": 0}, "now": [100, 0]}
    assert all(item["before"] == {"one": 100, "two": 0} for item in seen) and len(seen) > 3


def test_a_candidate_that_turns_bad_at_50_percent_goes_back_at_once(world: World) -> None:
    def turn_bad() -> None:
        world.counts["errors two"] = 300.0
        world.broken_at = world.now  # type: ignore[attr-defined]

    world.after(AT_STEP_2, turn_bad)
    with pytest.raises(ExecutionFailed, match="two is worse than one: 300 of 900 requests to it failed") as caught:
        world.shift()
    assert world.written_weights() == [[75, 25], [50, 50], [100, 0]] and world.mark() is None
    assert caught.value.category == "canary_bad" and not caught.value.retryable
    assert world.now - world.broken_at <= 2  # type: ignore[attr-defined]
    steps = caught.value.details["traffic"]["steps"]
    assert [step["answer"] for step in steps] == ["good", "bad"] and steps[1]["candidate"]["errors"] == 300


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({}, "got 0 of the 50 requests"),
        ({"requests two": 0.0, "requests one": 900.0}, "got 0 of the 50 requests"),
        ({"requests two": 900.0, "requests one": 900.0}, "latency was not measured"),
    ],
)
def test_what_was_not_measured_never_promotes(world: World, counts: dict[str, float], reason: str) -> None:
    world.counts = counts
    with pytest.raises(ExecutionFailed, match=reason) as caught:
        world.shift()
    assert caught.value.category == "canary_inconclusive" and world.weights() == {"one": 100, "two": 0}
    assert world.now >= 1000 + 2 * PAUSE_S and world.mark() is None


def test_a_prometheus_that_does_not_answer_never_promotes(world: World) -> None:
    def refuse(query: str) -> tuple[int, Any]:
        raise OSError("ConnectError")

    adapter = world.open()
    assert isinstance(adapter.opened.source, traffic_measure.PrometheusSource)
    adapter.opened.source.get = refuse
    with pytest.raises(ExecutionFailed, match="Prometheus does not answer"):
        driver.Driver(adapter, "call", world.report.append).run()
    assert world.weights() == {"one": 100, "two": 0}


def test_a_query_that_prometheus_refuses_is_told_and_the_weights_are_back(world: World) -> None:
    adapter = world.open()
    assert isinstance(adapter.opened.source, traffic_measure.PrometheusSource)
    adapter.opened.source.get = lambda query: (400, {"status": "error", "error": "parse error"})
    with pytest.raises(InvalidInput, match=r"refuses the query.*parse error"):
        driver.Driver(adapter, "call", world.report.append).run()
    assert world.weights() == {"one": 100, "two": 0} and world.mark() is None


def test_a_route_that_its_gateway_does_not_take_up_goes_back(world: World) -> None:
    world.cluster.api.story = None
    adapter = world.open()
    adapter.opened.target.settle_timeout_s = 2.0  # type: ignore[misc]
    with pytest.raises(ExecutionFailed, match="no controller of Gateway web has answered") as caught:
        driver.Driver(adapter, "call", world.report.append).run()
    assert caught.value.category == "not_settled" and world.weights() == {"one": 100, "two": 0}


def test_blue_green_is_one_step_and_going_back_is_one_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.shift(weights=[100])
    assert world.written_weights() == [[0, 100]]
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
    result = world.shift(weights=[0])
    assert world.weights() == {"one": 100, "two": 0} and result["data"]["outcome"] == "back" and result["success"]


def test_probes_through_the_api_server_compare_both_versions(world: World) -> None:
    world.cluster.api.proxied = lambda method, path, body: (200 if (method, path) == ("POST", "/ask") else 404, {})
    result = world.shift(measure="probes", probe_path="/ask", probe_body={"x": 1}, weights=[100], min_requests=10)
    (step,) = result["data"]["steps"]
    assert step["candidate"]["requests"] == step["baseline"]["requests"] >= 10
    assert step["measured_by"] == "probes through the API server"


def test_probes_without_the_right_are_no_measurement(world: World) -> None:
    world.cluster.api.denied = {"services/proxy"}
    world.cluster.api.proxied = lambda method, path, body: (
        403,
        {"kind": "Status", "message": 'cannot get resource "services/proxy"', "reason": "Forbidden"},
    )
    with pytest.raises(ExecutionFailed, match="Probes are not possible: Not allowed to get services/proxy"):
        world.shift(measure="probes", min_requests=5)
    assert world.weights() == {"one": 100, "two": 0}


def test_a_candidate_elsewhere_gets_a_reference_grant_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_version(world.cluster, "far", "default")
    world.counts |= {"requests far": 900.0, "errors far": 0.0, "latency_s far": 0.1}
    result = world.shift(candidate="default/far", weights=[100])
    (grant,) = world.cluster.api.all(GRANTS)
    assert grant["metadata"]["namespace"] == "default" and grant["spec"]["to"][0]["name"] == "far"
    assert result["data"]["shares"] == {"one": 0, "default/far": 100}
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
    world.shift(stable="default/far", candidate="one", weights=[100])
    assert len(world.cluster.api.all(GRANTS)) == 1


# --- who may move them


def interrupt(world: World, seconds: float) -> None:
    """The driver dies: what it is doing then never comes back."""

    def die() -> None:
        raise KeyboardInterrupt

    world.after(seconds, die)
    with pytest.raises(KeyboardInterrupt):
        world.shift()
    world.plans.clear()


@pytest.mark.fault(1, "I2")
def test_a_repeat_of_a_driver_that_died_goes_on_at_its_step(world: World) -> None:
    interrupt(world, AT_STEP_2)
    assert world.weights() == {"one": 50, "two": 50}
    result = world.shift()
    assert world.written_weights() == [[75, 25], [50, 50], [0, 100]]
    assert [step["weight"] for step in result["data"]["steps"]] == [25, 50, 100]
    assert world.shift() == result and world.written_weights()[3:] == []


@pytest.mark.parametrize("code", [502, 0])
@pytest.mark.parametrize("line", ["(step 1)", "100 %: good"])
def test_a_write_whose_answer_is_lost_is_ours_and_done(world: World, line: str, code: int) -> None:
    world.lose_answer(line, code)
    result = world.shift()
    assert result["data"]["outcome"] == "promoted" and len(result["data"]["steps"]) == 3
    assert world.weights() == {"one": 0, "two": 100} and world.mark() is None and world.cluster.api.faults == []


@pytest.mark.parametrize("retry_s", [client.RETRY_S, 0])
@pytest.mark.parametrize("line", ["50 %: bad", "goes back to"])
def test_a_canary_that_goes_back_says_why_though_an_answer_was_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, line: str, retry_s: float
) -> None:
    """Whether the client asks again within its own time, or the shift does."""
    monkeypatch.setattr(client, "RETRY_S", retry_s)
    world.lose_answer(line)
    world.after(AT_STEP_2, lambda: world.counts.update({"errors two": 300.0}))
    with pytest.raises(ExecutionFailed, match="two is worse than one: 300 of 900 requests to it failed"):
        world.shift()
    assert world.weights() == {"one": 100, "two": 0} and world.mark() is None and world.cluster.api.faults == []


def test_a_repeat_of_a_shift_that_had_ended_tells_of_all_its_steps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRY_S", 0)
    world.lose_answer("100 %: good")
    with pytest.raises(Unavailable, match="HTTP 502"):
        world.shift()
    result = world.shift()
    assert result["data"]["outcome"] == "promoted" and len(result["data"]["steps"]) == 3


def test_a_shift_that_is_cut_short_within_its_claim_is_claimed_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(client, "RETRY_S", 0)
        world.cluster.api.faults.append(Fault(method="PATCH", path="/httproutes/demo", status=503))
        with pytest.raises(Unavailable):
            world.shift()
    assert list(world.store.glob("fc-*/1/traffic.json")) and "annotations" not in world.route()["metadata"]
    assert world.shift()["data"]["outcome"] == "promoted"


@pytest.mark.fault(1, "I4")
def test_the_weights_of_a_driver_that_died_are_moved_back_by_reconcile(world: World) -> None:
    interrupt(world, AT_STEP_2)
    (item,) = world.objects().find()
    assert (item.kind, item.name, item.state, item.owner) == ("shift", "HTTPRoute/demo", "running", "flow-1")
    assert remote_objects.decide_cleanup(item, "ended", 0).action == "stop"
    assert remote_objects.decide_cleanup(item, "unknown", 0).action == "leave"
    assert world.objects().stop(item) == "moved back to one 100, two 0"
    assert world.weights() == {"one": 100, "two": 0} and world.objects().find() == []
    with pytest.raises(ExecutionFailed, match="The step that moved them has ended half-way"):
        world.shift()


@pytest.mark.fault(37, "I8")
def test_reconcile_leaves_a_shift_that_another_driver_has_taken_up(world: World) -> None:
    interrupt(world, AT_STEP_2)
    (item,) = world.objects().find()
    interrupt(world, AT_STEP_1)
    assert world.objects().stop(item) == "goes on with another driver"
    assert world.weights() == {"one": 50, "two": 50}


def test_reconcile_leaves_weights_that_somebody_has_moved_since(world: World) -> None:
    interrupt(world, AT_STEP_2)
    world.move(one=10, two=90)
    (item,) = world.objects().find()
    assert world.objects().stop(item).startswith("left: The weights of HTTPRoute demo were moved by kubectl-edit")
    assert world.weights() == {"one": 10, "two": 90} and world.mark() is None


@pytest.mark.fault(1, "I1")
def test_an_older_copy_of_a_driver_stops_when_a_later_one_has_begun(world: World) -> None:
    session = world.open()._claim(1)
    interrupt(world, AT_STEP_1)
    with pytest.raises(Conflict, match="A later run of this step"):
        session.change({"one": 0, "two": 100}, step=3)
    assert world.weights() == {"one": 75, "two": 25}


def test_another_execution_is_refused_by_name_and_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(world, AT_STEP_1)
    before = world.route()
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
    for call in (world.shift, world.plan):
        with pytest.raises(Conflict, match=r"is being shifted by execution fc-[0-9a-f]{20} .job flow-1, step 'a'"):
            call()
    assert world.route() == before


def test_weights_that_another_client_moves_are_left_and_it_is_named(world: World) -> None:
    world.after(AT_STEP_1, lambda: world.move(one=90, two=10))
    with pytest.raises(Conflict, match="moved by kubectl-edit: one 90, two 10 instead of one 75, two 25") as caught:
        world.shift()
    assert caught.value.category == "weights_moved" and caught.value.details["writer"] == "kubectl-edit"
    assert world.weights() == {"one": 90, "two": 10} and world.mark() is None


def test_a_record_that_was_taken_off_the_route_ends_the_shift(world: World) -> None:
    annotations = {traffic_record.SHIFT: None}
    world.after(AT_STEP_1, lambda: world.change({"metadata": {"annotations": annotations, "labels": annotations}}))
    with pytest.raises(Conflict, match="The record of this shift was removed"):
        world.shift()


@pytest.mark.fault(19, "I2")
def test_a_repeat_finds_in_the_store_what_was_before_when_the_route_has_lost_it(world: World) -> None:
    interrupt(world, AT_STEP_1)
    annotations = {traffic_record.SHIFT: None}
    world.change({"metadata": {"annotations": annotations, "labels": annotations}})
    with pytest.raises(Conflict, match="was removed from HTTPRoute demo; its weights are back at one 100, two 0"):
        world.shift()
    assert world.weights() == {"one": 100, "two": 0}


def test_a_held_shift_is_taken_up_by_the_next_step_of_its_flow_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = world.shift(weights=[25, 50])
    assert held["data"]["outcome"] == "held" and world.weights() == {"one": 50, "two": 50}
    (item,) = world.objects().find()
    assert remote_objects.decide_cleanup(item, "suspended", 0).action == "leave"
    assert remote_objects.decide_cleanup(item, "ended", 0).action == "stop"
    monkeypatch.setenv("WM_FLOW_STEP_ID", "b")
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
    with pytest.raises(Conflict, match="is being shifted"):
        world.shift(weights=[100])
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-1")
    world.counts["errors two"] = 300.0
    with pytest.raises(ExecutionFailed, match="is back at one 100, two 0"):
        world.shift(weights=[100])
    assert world.weights() == {"one": 100, "two": 0} and world.mark() is None


# --- shares by replicas


@pytest.fixture
def replicas(world: World) -> World:
    """Two versions with a Deployment each, whose pods are ready at once."""

    async def scale(api: Api, resource: str, item: Object) -> None:
        if resource == DEPLOYMENTS:
            item["status"] = dict.fromkeys(("replicas", "readyReplicas"), item["spec"]["replicas"])
            await api.keep(resource, item)

    world.cluster.api.story = scale
    for name, count in (("one", 2), ("two", 0)):
        metadata = {"name": name, "namespace": "work"}
        template = {"metadata": {"labels": {"app": "shop", "flexcore/model-version": name}}, "spec": {}}
        spec = {"replicas": count, "template": template}
        item = {"metadata": metadata, "spec": spec, "status": {"replicas": count, "readyReplicas": count}}
        world.cluster.do(world.cluster.api.keep(DEPLOYMENTS, item))
    return world


def counts(world: World) -> dict[str, int]:
    return {item["metadata"]["name"]: item["spec"]["replicas"] for item in world.cluster.api.all(DEPLOYMENTS)}


def test_replicas_behind_one_service_are_moved_step_by_step(replicas: World) -> None:
    result = replicas.shift(mode="replicas", weights=[50, 100])
    assert result["data"]["mode"] == "replicas" and result["data"]["shares"] == {"one": 0, "two": 2}
    assert counts(replicas) == {"one": 0, "two": 2}


def test_replicas_that_a_repeat_finds_missing_are_asked_for(replicas: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(client, "RETRY_S", 0)
        replicas.cluster.api.faults.append(Fault(method="PATCH", path="two/scale", status=503))
        with pytest.raises(Unavailable):
            replicas.shift(mode="replicas", weights=[50, 100])
    assert counts(replicas) == {"one": 2, "two": 0}
    assert replicas.shift(mode="replicas", weights=[50, 100])["data"]["outcome"] == "promoted"
    assert counts(replicas) == {"one": 0, "two": 2}


def test_an_end_by_replicas_whose_answer_is_lost_is_done(replicas: World) -> None:
    replicas.lose_answer("100 %: good")
    assert replicas.shift(mode="replicas", weights=[50, 100])["data"]["outcome"] == "promoted"
    assert replicas.cluster.api.faults == []


# --- what is refused before anything is moved


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "belongs to Helm"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "belongs to Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "belongs to Flux"),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, r"belongs to Helm \(release shop\)"),
        ({}, "was not made by flexcore"),
    ],
)
def test_a_route_of_somebody_else_is_refused_by_name(world: World, metadata: Object, owner: str) -> None:
    rules = [{"backendRefs": [{"name": "one", "port": 8080}]}]
    item = {"metadata": {"name": "demo", "namespace": "work", **metadata}, "spec": {"rules": rules}}
    world.cluster.do(world.cluster.api.keep(ROUTES, item))
    before = world.route()
    for call in (world.shift, world.plan):
        with pytest.raises(InvalidInput, match=f"HTTPRoute demo exists and {owner}") as caught:
            call()
        assert caught.value.category == "not_ours"
    assert world.route() == before


def test_a_version_that_is_not_ready_or_not_there_is_told_and_no_route_is_made(world: World) -> None:
    add_version(world.cluster, "two", ready=False)
    with pytest.raises(Conflict, match="candidate: Service two in namespace work has no ready endpoint") as caught:
        world.shift()
    assert caught.value.category == "not_ready"
    with pytest.raises(NotFound, match="stable: there is no Service gone in namespace work"):
        world.shift(stable="gone")
    assert world.cluster.api.all(ROUTES) == []


def test_a_third_version_with_requests_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_version(world.cluster, "three")
    world.shift(weights=[100])
    world.move(one=30, two=70)
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
    with pytest.raises(Conflict, match="HTTPRoute demo leads to further versions: one 30"):
        world.shift(stable="two", candidate="three")


def test_without_a_gateway_a_new_route_cannot_be_made(world: World) -> None:
    with pytest.raises(InvalidInput, match="gateway is empty, and HTTPRoute demo does not exist in namespace work"):
        world.shift(gateway="", mode="gateway")


def test_an_api_that_is_absent_or_too_old_is_told(world: World) -> None:
    with pytest.raises(NotFound, match="has no virtualservices") as caught:
        world.shift(mode="istio")
    assert caught.value.category == "api_missing"
    del world.cluster.api.resources[ROUTES]
    with pytest.raises(NotFound, match=r"has gateway\.networking\.k8s\.io in v1beta1, and v1 is needed") as caught:
        world.shift()
    assert caught.value.category == "api_version"


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ({"candidate": "one"}, "candidate"),
        ({"candidate": "Two"}, "candidate"),
        ({"candidate": "a/b/c"}, "candidate"),
        ({"stable": ""}, "stable"),
        ({"route": "No_Name"}, "route"),
        ({"weights": [50, 25]}, "weights"),
        ({"weights": [50, 50]}, "weights"),
        ({"weights": [0, 100]}, "weights"),
        ({"weights": [101]}, "weights.0"),
        ({"weights": [2.5]}, "weights.0"),
        ({"pause_s": 0}, "pause_s"),
        ({"min_requests": 0}, "min_requests"),
        ({"max_error_rate": 1.0}, "max_error_rate"),
        ({"max_latency_ratio": -1}, "max_latency_ratio"),
        ({"path": "models"}, "path"),
        ({"probe_path": "/a b"}, "probe_path"),
        ({"host": "not a host"}, "host"),
        ({"gateway": "a/b/c"}, "gateway"),
        ({"gateway": "Bad_Name"}, "gateway"),
        ({"mode": "magic"}, "mode"),
        ({"mode": "replicas", "candidate": "far/two"}, "mode"),
        ({"mode": "replicas", "route": "one"}, "route"),
        ({"queries": {"requests": "x"}}, "queries"),
        ({"queries": {"requests": "x", "errors": "y", "noise": "z"}}, "queries"),
        ({"measure": "prometheus", "cluster": {"server": "https://10.0.0.1", "token": "t"}}, "cluster.prometheus_url"),
        ({"cluster": {"server": "https://k", "token": "t", "prometheus_url": "k:9090"}}, "cluster.prometheus_url"),
        ({"namespace": "Bad_Name"}, "namespace"),
        ({"dance": True}, "dance"),
    ],
)
def test_bad_input_is_told_by_its_field_without_a_cluster(arguments: Object, subject: str) -> None:
    given: Object = {"stable": "one", "candidate": "two", "route": "demo", "cluster": {}, **arguments}
    with pytest.raises(UserError) as caught:
        SHIFT_TRAFFIC.invoke(given, {})
    assert isinstance(caught.value, InvalidInput | MissingSetting) and caught.value.subject == subject
    assert re.search(r"[a-z].*\. [A-Z]", str(caught.value))


def test_a_plan_says_what_would_move_and_changes_nothing(world: World) -> None:
    plan = world.plan()
    assert plan["creates_route"] and plan["shares_now"] is None
    assert plan["steps"] == [{"one": 75, "two": 25}, {"one": 0, "two": 100}]
    assert plan["ready_endpoints"] == {"one": 1, "two": 1} and plan["mode"] == "gateway"
    assert {item.method.value for item in world.cluster.api._requests} == {"GET"}


def test_a_candidate_that_hangs_is_one_that_fails_and_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_measure, "PROBE_TIMEOUT_S", 0.3)
    adapter = world.open(measure="probes", probe_path="/ask")
    source = adapter.opened.source
    assert isinstance(source, traffic_measure.ProbeSource)
    request_raw = source.kubernetes.request_raw

    def hang(method: str, path: str, body: Any, call: Call) -> tuple[int, Any]:
        if "/services/two:" in path:
            time.sleep(1.0)
        return request_raw(method, path, body, call)

    world.cluster.api.proxied = lambda method, path, body: (200, {})
    monkeypatch.setattr(source.kubernetes, "request_raw", hang)
    with pytest.raises(ExecutionFailed, match=r"two is worse than one: [0-9]+ of [0-9]+ requests to it failed"):
        driver.Driver(adapter, "call", world.report.append).run()
    assert world.weights() == {"one": 100, "two": 0}
