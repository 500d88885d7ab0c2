"""What a canary may do next, what a route's object says, and who may move its weights: pure functions."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from f.flexcore.lib.core.errors import Conflict, DataError
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.kubernetes import traffic_record, traffic_replicas, traffic_route
from f.flexcore.lib.kubernetes.traffic_decision import (
    Limits,
    Sample,
    find_other_shares,
    find_remedy,
    judge,
    lower_bound,
    median_lower_bound,
    split_replicas,
)

Object = dict[str, Any]
LIMITS = Limits(min_requests=50, max_error_rate=0.01, max_latency_ratio=1.5)
STABLE = Sample(requests=500, errors=0, latency_s=0.1, ready=2)


def sample(requests: int | None = 100, errors: int | None = 0, latency_s: float | None = 0.1, **more: Any) -> Sample:
    return Sample(requests, errors, latency_s, **{"ready": 1, **more})


@pytest.mark.parametrize(
    ("candidate", "baseline", "remedy"),
    [
        (sample(requests=None), STABLE, "Check that what measures them answers (prometheus_url)"),
        (sample(errors=50), sample(errors=60), "See why the stable version fails, too"),
        (sample(ready=0), sample(ready=0), "See why the pods of neither version are ready"),
        (sample(ready=None), STABLE, "Let the endpoints be read"),
        (sample(requests=4), STABLE, "Send requests, raise pause_s"),
        (sample(errors=2), STABLE, "Send requests, raise pause_s"),
    ],
)
def test_checks_that_were_inconclusive_say_what_to_do_about_their_cause(
    candidate: Sample, baseline: Sample, remedy: str
) -> None:
    assert judge(candidate, baseline, LIMITS).answer == "inconclusive"
    assert find_remedy(candidate, baseline).startswith(remedy)


@pytest.mark.parametrize(
    ("candidate", "baseline", "answer", "reason"),
    [
        (sample(), STABLE, "good", "100 requests, 0 failed, 100.0 ms"),
        (sample(errors=1), STABLE, "good", "1 failed"),
        (sample(errors=50), STABLE, "bad", "50 of 100 requests to it failed, allowed are 1.00%"),
        (sample(requests=4, errors=4), STABLE, "bad", "4 of 4 requests to it failed"),
        (sample(requests=2, errors=2), STABLE, "inconclusive", "got 2 of the 50 requests it needs"),
        (sample(errors=2), STABLE, "inconclusive", "too few to be sure, too many to go on"),
        (sample(requests=0), STABLE, "inconclusive", "got 0 of the 50 requests it needs"),
        (sample(requests=49), STABLE, "inconclusive", "got 49 of the 50"),
        (sample(requests=50), STABLE, "good", "50 requests"),
        (sample(requests=None), STABLE, "inconclusive", "requests were not measured"),
        (sample(errors=None), STABLE, "inconclusive", "requests were not measured"),
        (sample(errors=50), sample(errors=60), "inconclusive", "Both versions fail"),
        (sample(errors=50), sample(errors=10), "bad", "stable version at the same time: 10 of 100"),
        (sample(ready=0), STABLE, "bad", "no ready endpoint"),
        (sample(ready=0), sample(ready=0), "inconclusive", "Neither version"),
        (sample(ready=None), STABLE, "inconclusive", "endpoints could not be read"),
        (sample(latency_s=0.2), STABLE, "bad", "takes 200.0 ms, the stable version 100.0 ms"),
        (sample(latency_s=0.2, latency_low_s=0.14), STABLE, "inconclusive", "too few to be sure that it is slower"),
        (sample(latency_s=0.2, latency_low_s=0.16), STABLE, "bad", "more than 1.5 times as long"),
        (sample(latency_s=0.15), STABLE, "good", "150.0 ms"),
        (sample(latency_s=0.009), sample(latency_s=0.001), "good", "9.0 ms"),
        (sample(latency_s=None), STABLE, "inconclusive", "candidate's latency was not measured"),
        (sample(), sample(requests=0, latency_s=None), "inconclusive", "stable version's latency was not measured"),
    ],
)
def test_the_checks_have_three_answers_and_only_what_was_measured_is_good(
    candidate: Sample, baseline: Sample, answer: str, reason: str
) -> None:
    judgement = judge(candidate, baseline, LIMITS)
    assert judgement.answer == answer and reason in judgement.reason


def test_where_nobody_asks_the_stable_version_any_more_its_last_latency_stands_for_it() -> None:
    nobody = Sample(requests=0, errors=0, ready=1)
    assert judge(sample(latency_s=0.14), nobody, LIMITS, 0.1).answer == "good"
    assert judge(sample(latency_s=0.3), nobody, LIMITS, 0.1).answer == "bad"


def test_latency_is_no_verdict_before_the_pause_is_over_and_errors_are() -> None:
    assert judge(sample(latency_s=0.5), STABLE, LIMITS, is_over=False).answer == "inconclusive"
    assert judge(sample(errors=50), STABLE, LIMITS, is_over=False).answer == "bad"


def test_a_ratio_of_zero_does_without_latency() -> None:
    assert judge(sample(latency_s=None), STABLE, Limits(50, 0.01, 0)).answer == "good"


@pytest.mark.parametrize(
    ("errors", "requests", "expected"),
    [(0, 100, 0.0), (5, 100, 0.0247), (3, 3, 0.5258), (0, 0, 0.0), (50, 100, 0.4190)],
)
def test_the_lower_bound_is_wilsons(errors: int, requests: int, expected: float) -> None:
    assert lower_bound(errors, requests) == pytest.approx(expected, abs=0.0005)


def test_the_median_is_at_least_an_order_statistic() -> None:
    assert median_lower_bound([]) is None and median_lower_bound([1, 2, 3]) == 1
    assert median_lower_bound([float(item) for item in range(100)]) == 41.0


@pytest.mark.parametrize(
    ("weight", "total", "expected"),
    [
        (25, 4, (3, 1)),
        (5, 4, (3, 1)),
        (50, 4, (2, 2)),
        (50, 1, (1, 1)),
        (99, 2, (1, 2)),
        (100, 3, (0, 3)),
        (0, 3, (3, 0)),
        (5, 100, (95, 5)),
    ],
)
def test_replicas_come_as_near_to_a_weight_as_they_can_and_both_answer(
    weight: int, total: int, expected: tuple[int, int]
) -> None:
    assert tuple(split_replicas("one", "two", weight, total).values()) == expected


def test_a_third_version_with_requests_is_found() -> None:
    assert find_other_shares({"one": 70, "two": 0, "three": 30, "four": 0}, "one", "two") == {"three": 30}


# --- routes

ONE, TWO, FAR = (
    traffic_route.Backend("one", "work", 8080),
    traffic_route.Backend("two", "work", 8080),
    traffic_route.Backend("far", "there", 80),
)
SPEC = traffic_route.RouteSpec("demo", "work", "infra/web", "demo.example", "/v2")


@pytest.mark.parametrize("mode", ["gateway", "istio"])
@pytest.mark.parametrize("candidate", [TWO, FAR])
def test_shares_that_are_written_are_those_that_are_read(mode: str, candidate: traffic_route.Backend) -> None:
    kind = traffic_route.KINDS[mode]
    item = kind.make(SPEC, {}, ONE, candidate)
    name = candidate.key("work")
    assert kind.read_shares(item, "one") == {"one": 100, name: 0}
    for weight in (25, 100, 0):
        shares = {"one": 100 - weight, name: weight}
        item["spec"] |= kind.change_shares(item, (ONE, candidate), shares)
        assert kind.read_shares(item, "one") == shares


def test_a_route_keeps_what_else_it_says_and_forgets_versions_that_get_nothing() -> None:
    kind = traffic_route.HttpRoute()
    item = kind.make(SPEC, {}, traffic_route.Backend("zero", "work", 8080), ONE)
    rule = item["spec"]["rules"][0]
    rule["timeouts"] = {"request": "10s"}
    rule["backendRefs"][1] |= {"weight": 100, "filters": [{"type": "RequestHeaderModifier"}]}
    item["spec"]["rules"].append({"matches": [], "backendRefs": [{"name": "other", "port": 1}]})
    before = copy.deepcopy(item)
    (first, second) = kind.change_shares(item, (ONE, TWO), {"one": 75, "two": 25})["rules"]
    assert first["timeouts"] == {"request": "10s"} and second == before["spec"]["rules"][1]
    assert [(ref["name"], ref["weight"]) for ref in first["backendRefs"]] == [("one", 75), ("two", 25)]
    assert first["backendRefs"][0]["filters"] and item == before


def test_rules_that_disagree_and_routes_that_lead_elsewhere_are_refused() -> None:
    kind = traffic_route.HttpRoute()
    item = kind.make(SPEC, {}, ONE, TWO)
    with pytest.raises(Conflict, match="demo has no rule that leads to far"):
        kind.read_shares(item, "far")
    other = copy.deepcopy(item["spec"]["rules"][0])
    other["backendRefs"][1]["weight"] = 7
    item["spec"]["rules"].append(other)
    with pytest.raises(Conflict, match="split one's requests differently"):
        kind.read_shares(item, "one")


def parent(generation: int, name: str = "web", namespace: str = "infra", **conditions: str) -> Object:
    told = [
        {"type": kind, "status": value.split()[0], "observedGeneration": generation, "reason": value.split()[-1]}
        for kind, value in conditions.items()
    ]
    return {"parentRef": {"name": name, "namespace": namespace}, "conditions": told}


@pytest.mark.parametrize(
    ("parents", "problem"),
    [
        ([parent(3, Accepted="True", ResolvedRefs="True")], ""),
        ([parent(2, Accepted="True", ResolvedRefs="True")], "Accepted is not told for generation 3 yet"),
        ([parent(3, Accepted="True", ResolvedRefs="False BackendNotFound")], "ResolvedRefs is False: BackendNotFound"),
        ([parent(3, Accepted="False NotAllowedByListeners")], "Accepted is False: NotAllowedByListeners"),
        ([parent(3, Accepted="True")], "ResolvedRefs is not told"),
        ([], "no controller of Gateway web has answered"),
        ([parent(3, name="other", Accepted="True", ResolvedRefs="True")], "no controller of Gateway web"),
    ],
)
def test_a_route_is_settled_when_its_gateway_says_so_for_this_generation(parents: list[Object], problem: str) -> None:
    item = traffic_route.HttpRoute().make(SPEC, {}, ONE, TWO)
    item["metadata"]["generation"] = 3
    item["status"] = {"parents": parents}
    settled = traffic_route.HttpRoute().check_settled(item)
    assert settled.is_settled == (not problem) and problem in settled.problem


@pytest.mark.parametrize(
    ("status", "is_settled"),
    [
        ({}, True),
        ({"observedGeneration": "2", "conditions": [{"type": "PassedAnalysis", "status": "True"}]}, True),
        ({"observedGeneration": "1", "conditions": [{"type": "PassedAnalysis", "status": "True"}]}, False),
        ({"observedGeneration": "2", "conditions": [{"type": "PassedAnalysis", "status": "False"}]}, False),
    ],
)
def test_istio_is_believed_where_it_writes_a_status(status: Object, is_settled: bool) -> None:
    item = traffic_route.VirtualService().make(SPEC, {}, ONE, TWO)
    item |= {"status": status}
    item["metadata"]["generation"] = 2
    assert traffic_route.VirtualService().check_settled(item).is_settled == is_settled


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ({"namespace": "work"}, {}, True),
        ({"namespace": "work"}, {"name": "far"}, True),
        ({"namespace": "work"}, {"name": "near"}, False),
        ({"namespace": "else"}, {}, False),
        ({"namespace": "work", "kind": "TCPRoute"}, {}, False),
    ],
)
def test_a_grant_is_for_one_kind_one_namespace_and_maybe_one_service(
    source: Object, target: Object, expected: bool
) -> None:
    http = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}
    grant = {"spec": {"from": [{**http, **source}], "to": [{"group": "", "kind": "Service", **target}]}}
    assert traffic_route.is_granted([grant], "work", "far") is expected


def test_the_grant_that_is_made_is_enough() -> None:
    assert traffic_route.is_granted([traffic_route.make_grant("work", FAR, {})], "work", "far")


# --- the record


def record(**changes: Any) -> traffic_record.ShiftRecord:
    key = execution_key({"WM_JOB_ID": "j", "WM_FLOW_JOB_ID": "flow", "WM_FLOW_STEP_ID": "a", "WM_WORKSPACE": "dev"})
    given: Object = {"key": key.value, "attempt": 1, "token": "t", "owner_job": "flow", "root_job": "flow"}
    given |= {"flow_step": "a", "workspace": "dev", "stable": "one", "candidate": "two"}
    return traffic_record.ShiftRecord(**given | {"before": {"one": 100}, "current": {"one": 100}, **changes})


def item_with(text: str) -> Object:
    return {"metadata": {"name": "demo", "annotations": {traffic_record.SHIFT: text}}}


def test_a_record_is_read_as_it_was_written_and_by_versions_before() -> None:
    written = record(step=2, deadline=7.5, state="held")
    text = traffic_record.mark(written)["annotations"][traffic_record.SHIFT]
    assert traffic_record.read_record(item_with(text)) == written
    later = json.dumps({**json.loads(text), "invented_later": 1})
    assert traffic_record.read_record(item_with(later)) == written


def damage(**changes: Any) -> str:
    """A whole record but for these fields; None: without it."""
    whole = json.loads(traffic_record.mark(record(deadline=7.5))["annotations"][traffic_record.SHIFT]) | changes
    return json.dumps({name: value for name, value in whole.items() if value is not None})


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', '{"key": "fc-1"}', damage(stable=None), damage(owner_job=None), damage(deadline="soon")]
)
def test_a_damaged_record_is_told_with_the_way_out(text: str) -> None:
    with pytest.raises(DataError, match=r"flexcore/shift of demo is damaged.*kubectl annotate"):
        traffic_record.read_record(item_with(text))


@pytest.mark.parametrize(
    ("changes", "is_free"),
    [
        ({}, True),
        ({"key": "fc-other"}, False),
        ({"key": "fc-other", "state": "held"}, True),
        ({"key": "fc-other", "state": "held", "owner_job": "another-flow"}, False),
        ({"key": "fc-other", "state": "held", "workspace": "prod"}, False),
        ({"key": "fc-other", "state": "back"}, False),
    ],
)
def test_weights_belong_to_one_execution_and_a_held_one_to_its_flow(changes: Object, is_free: bool) -> None:
    key = execution_key({"WM_JOB_ID": "j", "WM_FLOW_JOB_ID": "flow", "WM_FLOW_STEP_ID": "a", "WM_WORKSPACE": "dev"})
    if is_free:
        traffic_record.check_claim(record(**changes), key, "HTTPRoute demo")
        return
    with pytest.raises(Conflict, match="HTTPRoute demo is being shifted by execution fc-other") as caught:
        traffic_record.check_claim(record(**changes), key, "HTTPRoute demo")
    assert caught.value.category == "shift_in_progress"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (record(), ""),
        (None, "was removed"),
        (record(token="newer"), "A later run of this step"),
        (record(key="fc-other"), "Execution fc-other"),
    ],
)
def test_a_driver_whose_token_is_gone_stops(found: traffic_record.ShiftRecord | None, text: str) -> None:
    if not text:
        traffic_record.check_fence(found, record(), "HTTPRoute demo")
        return
    with pytest.raises(Conflict, match=text):
        traffic_record.check_fence(found, record(), "HTTPRoute demo")


# --- replicas


def deployment(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": labels}}}}


def test_the_shared_selector_is_what_both_versions_have_and_nobody_else() -> None:
    one = deployment("one", model="m", instance="one", **{"flexcore/model-version": "1"})
    two = deployment("two", model="m", instance="two", **{"flexcore/model-version": "1"})
    assert traffic_replicas.find_common_selector(one, two) == {"model": "m"}
    traffic_replicas.check_selector({"model": "m"}, [one, two], ("one", "two"))
    with pytest.raises(Conflict, match="A Service for model=m would lead to three, too"):
        traffic_replicas.check_selector({"model": "m"}, [one, two, deployment("three", model="m")], ("one", "two"))
    with pytest.raises(Conflict, match="no label in common"):
        traffic_replicas.find_common_selector(one, deployment("four", model="other"))
