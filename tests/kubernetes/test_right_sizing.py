"""Requests from measured use: the figures as a table, and the two steps against a Kubernetes API on loopback."""

from __future__ import annotations

import asyncio
import copy
import datetime
import time
from typing import Any, NoReturn

import pytest

from f.flexcore.kubernetes.resize_model import main as resize_model
from f.flexcore.kubernetes.suggest_resources import main as suggest_resources
from f.flexcore.lib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from f.flexcore.lib.kubernetes import (
    right_sizing,
    right_sizing_autoscalers,
    right_sizing_pods,
    right_sizing_usage,
    rollout,
)
from f.flexcore.lib.kubernetes.right_sizing import Usage
from tests.faults.world import Killed
from tests.kubernetes.fake_cluster import FakeCluster, Fault, status, take_resources
from tests.kubernetes.stories import deployment_story
from tests.kubernetes.test_deploy_model import answers, deploy, one

Object = dict[str, Any]
NOW = 1_780_000_000.0
MIB = 2**20
GUARANTEED = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}


# --- figures


def used(cores: list[float], peaks: list[int], age_s: float = 0, span_s: float = 86400) -> Usage:
    usage = Usage(peaks=peaks)
    for index, amount in enumerate(cores):
        usage.add(NOW - age_s - (span_s if index == 0 and len(cores) > 1 else 0), amount)
    return usage


def container(**resources: Any) -> Object:
    return {"name": "model-server", "image": "img:1", "resources": resources or GUARANTEED}


def test_ninety_percent_of_the_samples_and_peaks_plus_fifteen_percent_are_suggested() -> None:
    usage = used([0.1] * 90 + [1.0] * 10, [400 * MIB] * 9 + [900 * MIB])
    found = right_sizing.suggest([usage], container(), [], NOW)
    # A bucket is at most 5 % wide.
    assert 115 <= int(found.cpu.removesuffix("m")) <= 121
    assert found.memory == "460Mi" and found.not_measured == []
    assert found.reasons[0].startswith("cpu: 90 % of the samples stay within") and "now: 500m" in found.reasons[0]


def test_nothing_is_suggested_of_what_was_not_measured() -> None:
    found = right_sizing.suggest([], container(), [], NOW)
    assert (found.cpu, found.memory, found.not_measured) == ("", "", ["cpu", "memory"])
    assert found.reasons == []


def test_little_use_is_not_followed_below_the_least_and_a_short_measurement_says_so() -> None:
    found = right_sizing.suggest([used([0.001, 0.002], [MIB], span_s=15)], container(), [], NOW)
    assert (found.cpu, found.memory) == ("25m", "239Mi")
    assert any("nothing below 25m" in text for text in found.reasons)
    assert found.reasons[-1].startswith("This rests on 2 samples over 15 s and not on a whole day")


def test_an_end_out_of_memory_counts_for_more_than_what_was_measured_since() -> None:
    status = {"name": "model-server", "lastState": {"terminated": {"reason": "OOMKilled"}}}
    found = right_sizing.suggest([used([0.1], [10 * MIB])], container(), [status], NOW)
    # A fifth more than 512 is 614.4, 100 more is 612; plus 15 %.
    assert found.memory == "707Mi" and any(
        "killed out of memory at its limit of 512Mi" in text for text in found.reasons
    )
    only = right_sizing.suggest([], container(), [status], NOW)
    assert only.memory == "707Mi" and only.not_measured == ["cpu"]


def test_a_limit_that_has_cut_the_use_is_told() -> None:
    found = right_sizing.suggest([used([0.5] * 10, [MIB])], container(), [], NOW)
    assert any("the limit of 500m has probably cut what was used" in text for text in found.reasons)


def test_older_samples_weigh_half_as_much_after_a_day() -> None:
    old, new = used([1.0] * 100, [], age_s=4 * 86400), used([0.1] * 100, [])
    assert right_sizing.cpu_percentile([old, new], 0.9, NOW) == pytest.approx(0.1, rel=0.05)
    assert right_sizing.cpu_percentile([used([1.0] * 100, []), new], 0.9, NOW) == pytest.approx(1.0, rel=0.05)


def test_a_measurement_survives_its_way_through_a_result_and_garbage_is_none() -> None:
    usage = used([0.1, 0.2, 3.0], [MIB, 5])
    assert right_sizing.parse_usage(usage.plain()) == usage
    broken: list[Any] = [
        None,
        [],
        {},
        {"cores": 1},
        {**usage.plain(), "cores": {"x": 1}},
        {**usage.plain(), "peaks": "a"},
    ]
    assert [right_sizing.parse_usage(value) for value in broken] == [None] * len(broken)


def test_earlier_runs_count_when_they_measured_the_same_program_within_eight_days() -> None:
    usage = used([0.1], [MIB]).plain()
    base = {"deployment": {"uid": "u"}, "container": "c", "program": "img:1", "usage": usage}
    results: list[Any] = [
        {"data": base},
        {"data": {**base, "program": "img:2"}},
        {"data": {**base, "container": "d"}},
        {"data": {**base, "deployment": {"uid": "other"}}},
        {"data": {**base, "usage": None}},
        {"data": {**base, "usage": used([0.1], [MIB], age_s=9 * 86400).plain()}},
        "text",
        None,
    ]
    found = right_sizing_usage.find_earlier_usage(results, "u", "img:1", "c", NOW)
    assert [item.plain() for item in found] == [usage]


@pytest.mark.parametrize(
    ("before", "cpu", "memory", "after"),
    [
        (GUARANTEED, "200m", "", {name: {"cpu": "200m", "memory": "512Mi"} for name in ("requests", "limits")}),
        (
            {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
            "500m",
            "",
            {"requests": {"cpu": "500m"}, "limits": {"cpu": "1000m"}},
        ),
        ({"requests": {"memory": "1Gi"}}, "", "2Gi", {"requests": {"memory": "2Gi"}}),
        ({"limits": {"cpu": "1"}}, "2", "", {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}),
        ({}, "1", "", {"requests": {"cpu": "1"}}),
        ({"claims": [{"name": "gpu"}]}, "1", "", {"claims": [{"name": "gpu"}], "requests": {"cpu": "1"}}),
    ],
)
def test_limits_keep_their_ratio_to_the_requests(before: Object, cpu: str, memory: str, after: Object) -> None:
    assert right_sizing.scale_resources({"resources": before}, cpu, memory) == after


# --- suggest


def keep_deployment(cluster: FakeCluster, replicas: int = 2, labels: Object | None = None) -> Object:
    owned = {"app.kubernetes.io/managed-by": "flexcore", "flexcore/outlives-run": "true", **(labels or {})}
    selector = {"app.kubernetes.io/instance": "churn"}
    template = {"metadata": {"labels": selector}, "spec": {"containers": [container()]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": selector}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}
    body["metadata"] = {"name": "churn", "namespace": "work", "labels": owned, "generation": 1}
    kept: Object = cluster.do(cluster.api.keep("apps/v1/deployments", body))
    for index in range(replicas):
        keep_pod(cluster, f"churn-{index}")
    return kept


def keep_pod(cluster: FakeCluster, name: str, **spec: Any) -> None:
    metadata = {"name": name, "namespace": "work", "generation": 1, "labels": {"app.kubernetes.io/instance": "churn"}}
    shown = {"name": "model-server", "restartCount": 0, "resources": GUARANTEED}
    ready = [{"type": "Ready", "status": "True"}]
    state = {"phase": "Running", "conditions": ready, "containerStatuses": [shown], "observedGeneration": 1}
    body = {"metadata": metadata, "spec": {"nodeName": "node-1", "containers": [container()], **spec}, "status": state}
    cluster.do(cluster.api.keep("v1/pods", copy.deepcopy(body)))


def sample(pod: str, cpu: str, memory: str, at: datetime.datetime | None = None) -> Object:
    moment = (at or datetime.datetime.now(datetime.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    usage = {"name": "model-server", "usage": {"cpu": cpu, "memory": memory}}
    return {"metadata": {"name": pod}, "timestamp": moment, "window": "15s", "containers": [usage]}


def pods(cluster: FakeCluster) -> dict[str, Object]:
    return {item["metadata"]["name"]: item["spec"]["containers"][0]["resources"] for item in cluster.api.all("v1/pods")}


def writes(cluster: FakeCluster) -> list[str]:
    return [
        str(item.url.path) for item in cluster.api._requests if item.method.value in ("POST", "PUT", "PATCH", "DELETE")
    ]


def test_the_use_of_all_pods_is_measured_and_nothing_is_changed(cluster: FakeCluster) -> None:
    keep_deployment(cluster)
    cluster.api.usage = [[sample("churn-0", "100000000n", "300Mi"), sample("churn-1", "200m", "400Mi")]]
    result = suggest_resources(cluster.resource, "churn", observe_s=0)
    data = result["data"]
    assert (data["cpu"], data["memory"], data["pods"]) == ("230m", "460Mi", ["churn-0", "churn-1"])
    assert result["metrics"]["samples"] == 2 and result["metrics"]["memory_max_bytes"] == 400 * MIB
    assert data["current"] == GUARANTEED and data["not_measured"] == {} and writes(cluster) == []
    assert right_sizing.parse_usage(data["usage"])


def test_a_sample_that_is_seen_twice_counts_once() -> None:
    now = datetime.datetime.now(datetime.UTC)
    first, again = sample("p", "100m", "10Mi", now), sample("p", "100m", "10Mi", now)
    later = sample("p", "100m", "30Mi", now + datetime.timedelta(seconds=15))
    answers, at = [[first], [again], [later]], [0.0]

    class Lists:
        def list(self, *_: Any) -> Object:
            return {"items": answers.pop(0) if len(answers) > 1 else answers[0]}

    def sleep(seconds: float) -> None:
        at[0] += seconds

    observer = right_sizing_usage.UsageObserver(Lists(), "work", "a=b", lambda: at[0], sleep)  # type: ignore[arg-type]
    found = observer.observe(60)
    assert at[0] == 60 and found.usage["model-server"].samples == 2
    # The peak of each pod is one sample of memory.
    assert found.usage["model-server"].peaks == [30 * MIB]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda api: api.groups.pop("metrics.k8s.io"), "install metrics-server"),
        (lambda api: api.denied.add("pods"), ""),
        (lambda api: None, "needs about a minute"),
    ],
)
def test_without_metrics_nothing_is_invented(cluster: FakeCluster, prepare: Any, words: str) -> None:
    keep_deployment(cluster)
    cluster.api.groups = dict(cluster.api.groups)
    prepare(cluster.api)
    if not words:
        with pytest.raises(Forbidden, match="pods"):
            suggest_resources(cluster.resource, "churn", observe_s=0)
        return
    result = suggest_resources(cluster.resource, "churn", observe_s=0)
    data = result["data"]
    assert data["cpu"] is None and data["memory"] is None and data["usage"] is None
    assert words in data["not_measured"]["cpu"] and words in data["reasons"][-1]
    assert result["metrics"]["cpu_p90"] is None and result["metrics"]["memory_max_bytes"] is None


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"name": ""}, "name"),
        ({"observe_s": -1}, "observe_s"),
        ({"observe_s": 86400}, "observe_s"),
        ({"percentile": 90}, "percentile"),
        ({"headroom": -0.1}, "headroom"),
        ({"namespace": "Bad_Name"}, "namespace"),
    ],
)
def test_a_wrong_measurement_is_refused_before_the_cluster_is_asked(
    cluster: FakeCluster, fields: Object, subject: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        suggest_resources(cluster.resource, **{"name": "churn", **fields})
    assert caught.value.subject == subject and not cluster.api._requests


# --- resize


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({}, "cpu"),
        ({"cpu": "2Gi"}, "cpu"),
        ({"cpu": "0"}, "cpu"),
        ({"cpu": "-1"}, "cpu"),
        ({"memory": "500m"}, "memory"),
        ({"memory": "1 GB"}, "memory"),
        ({"cpu": "1", "apply": "later"}, "apply"),
        ({"cpu": "1", "timeout_s": 0}, "timeout_s"),
    ],
)
def test_wrong_amounts_are_refused_before_the_cluster_is_asked(
    cluster: FakeCluster, fields: Object, subject: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        resize_model(cluster.resource, "churn", **fields)
    assert caught.value.subject == subject and caught.value.remedy and not cluster.api._requests


def test_running_pods_are_resized_one_after_the_other_and_the_template_is_told_to_differ(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_deployment(cluster)
    result = resize_model(cluster.resource, "churn", cpu="200m")
    wanted = {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"cpu": "200m", "memory": "512Mi"}}
    assert pods(cluster) == {"churn-0": wanted, "churn-1": wanted}
    assert [(row["state"], row["restarts"]) for row in result["data"]["pods"]] == [("resized", 0)] * 2
    assert [path.rsplit("/", 2)[1:] for path in writes(cluster)] == [["churn-0", "resize"], ["churn-1", "resize"]]
    assert "still has the old requests" in result["data"]["template"]["state"]
    assert "new pods and the next rollout get those" in capsys.readouterr().out
    again = resize_model(cluster.resource, "churn", cpu="200m")
    assert {row["state"] for row in again["data"]["pods"]} == {"was so already"} and len(writes(cluster)) == 2


def pending(reason: str, message: str, above: str = "200m", kind: str = "PodResizePending") -> Any:
    """A node that has no more than `above` for pods whose name ends with 1."""

    def take(pod: Object) -> None:
        pod["status"]["observedGeneration"] = pod["metadata"]["generation"]
        others = [item for item in pod["status"]["conditions"] if item["type"] != kind]
        pod["status"]["conditions"] = others
        asked = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        if pod["metadata"]["name"].endswith("1") and asked == above:
            entry = {"type": kind, "status": "True", "reason": reason, "message": message}
            pod["status"]["conditions"] = [*others, entry]
        else:
            take_resources(pod)

    return take


@pytest.mark.parametrize(
    ("kubelet", "error", "category", "words"),
    [
        (
            pending("Infeasible", "only 2 there"),
            Conflict,
            "resize_infeasible",
            "cannot be resized on node-1 at all: only 2",
        ),
        (pending("Deferred", "used: 700"), Unavailable, "resize_deferred", r"no room yet for pod churn-1 \(Deferred\)"),
        (
            pending("Error", "below current usage", kind="PodResizeInProgress"),
            Conflict,
            "resize_error",
            "cannot apply the resize of pod churn-1: below current usage",
        ),
        (pending("", "", kind="PodResizeInProgress"), Unavailable, "resize_late", "has not applied the resize"),
    ],
)
def test_what_a_node_does_not_take_is_told_by_its_condition_and_every_pod_is_put_back(
    cluster: FakeCluster, kubelet: Any, error: type[Exception], category: str, words: str
) -> None:
    keep_deployment(cluster)
    cluster.api.kubelet = kubelet
    with pytest.raises(error, match=words) as caught:
        resize_model(cluster.resource, "churn", cpu="200m", timeout_s=1)
    assert caught.value.category == category and "apply: template" in caught.value.remedy  # type: ignore[attr-defined]
    assert caught.value.details["undone"] == "put back: churn-0, churn-1"  # type: ignore[attr-defined]
    assert pods(cluster) == {"churn-0": GUARANTEED, "churn-1": GUARANTEED}


def test_what_the_api_server_itself_refuses_is_infeasible_and_leaves_all_as_it_was(cluster: FakeCluster) -> None:
    keep_deployment(cluster)
    message = 'pods "churn-0" is forbidden: node didn\'t have enough allocatable resources: cpu, requested: 50000'
    cluster.api.faults = [Fault(method="PATCH", path="/resize", status=403, body=status(403, "Forbidden", message))]
    with pytest.raises(
        Conflict, match="node didn't have enough allocatable resources: cpu, requested: 50000"
    ) as caught:
        resize_model(cluster.resource, "churn", cpu="50")
    assert caught.value.category == "resize_infeasible" and caught.value.details["undone"] == "none is changed"
    assert pods(cluster)["churn-0"] == GUARANTEED


def test_a_lost_answer_is_asked_again_and_a_repeat_goes_on_where_the_first_was(cluster: FakeCluster) -> None:
    keep_deployment(cluster)
    cluster.api.faults = [Fault(method="PATCH", path="churn-0/resize", status=0, after=True)]
    result = resize_model(cluster.resource, "churn", cpu="200m")
    assert [row["state"] for row in result["data"]["pods"]] == ["resized", "resized"]


def test_a_pod_without_requests_keeps_its_class_of_service(cluster: FakeCluster) -> None:
    keep_deployment(cluster, replicas=0)
    keep_pod(cluster, "churn-0", containers=[{"name": "model-server", "image": "img:1", "resources": {}}])
    item = cluster.api.all("v1/pods")[0]
    item["status"]["containerStatuses"][0]["resources"] = {}
    cluster.do(cluster.api.keep("v1/pods", item))
    with pytest.raises(InvalidInput, match="BestEffort") as caught:
        resize_model(cluster.resource, "churn", cpu="200m")
    assert caught.value.category == "qos_class" and writes(cluster) == []


def test_less_memory_than_is_used_is_refused(cluster: FakeCluster) -> None:
    keep_deployment(cluster)
    cluster.api.usage = [[sample("churn-1", "1m", "300Mi")]]
    with pytest.raises(Conflict, match="pod churn-1 uses 300Mi now, and its limit would be 256Mi") as caught:
        resize_model(cluster.resource, "churn", memory="256Mi")
    assert caught.value.category == "memory_in_use" and writes(cluster) == []


def autoscaler(metric: str = "cpu", kind: str = "Utilization", target: str = "churn") -> Object:
    aim = {"type": kind, "averageUtilization": 70} if kind == "Utilization" else {"type": kind, "averageValue": "100m"}
    metrics = [{"type": "Resource", "resource": {"name": metric, "target": aim}}]
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    current = [{"type": "Resource", "resource": {"name": metric, "current": {"averageUtilization": 60}}}]
    return {
        "metadata": {"name": "churn-scaler", "namespace": "work"},
        "spec": {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 5, "metrics": metrics},
        "status": {"currentReplicas": 2, "currentMetrics": current},
    }


def test_an_autoscaler_on_cpu_is_told_what_new_requests_would_make_it_do(cluster: FakeCluster) -> None:
    keep_deployment(cluster)
    cluster.do(cluster.api.keep("autoscaling/v2/horizontalpodautoscalers", autoscaler()))
    words = (
        r"churn-scaler holds cpu at 70 % of the requests: it would scale at 140m a pod instead of 350m; the load of "
        r"now would count as 150 % and not 60 %: 5 replicas \(now 2\)"
    )
    with pytest.raises(Conflict, match=words) as caught:
        resize_model(cluster.resource, "churn", cpu="200m")
    assert (
        caught.value.category == "autoscaler" and "accept_autoscaler" in caught.value.remedy and writes(cluster) == []
    )
    result = resize_model(cluster.resource, "churn", cpu="200m", accept_autoscaler=True)
    assert "churn-scaler" in result["data"]["autoscalers"][0]
    # What it does not count in shares of is free.
    assert resize_model(cluster.resource, "churn", memory="600Mi")["data"]["autoscalers"] == []


@pytest.mark.parametrize("item", [autoscaler("memory"), autoscaler(kind="AverageValue"), autoscaler(target="other")])
def test_an_autoscaler_that_does_not_count_in_shares_of_them_is_not_in_the_way(item: Object) -> None:
    assert right_sizing_autoscalers._select_target([item], "scaleTargetRef", "churn") in ([item], [])
    chosen = right_sizing_autoscalers._select_target([item], "scaleTargetRef", "churn")
    assert right_sizing_autoscalers.describe_effects(chosen, container(), {"cpu": "200m", "memory": ""}) == []


@pytest.mark.parametrize(("mode", "owner"), [("Auto", "v"), ("InPlaceOrRecreate", "v"), (None, "v"), ("Off", "")])
def test_a_vertical_autoscaler_that_writes_requests_owns_them(mode: str | None, owner: str) -> None:
    policy = {"updatePolicy": {"updateMode": mode}} if mode else {}
    item = {"metadata": {"name": "v"}, "spec": {"targetRef": {"kind": "Deployment", "name": "churn"}, **policy}}
    assert right_sizing_autoscalers.find_vertical_owner([item]) == owner


def test_a_deployment_that_is_not_ours_is_measured_and_never_resized(cluster: FakeCluster) -> None:
    keep_deployment(cluster, labels={"app.kubernetes.io/managed-by": "Helm"})
    cluster.api.usage = [[sample("churn-0", "100m", "300Mi")]]
    assert suggest_resources(cluster.resource, "churn", observe_s=0)["data"]["cpu"] == "115m"
    with pytest.raises((InvalidInput, Conflict), match="churn"):
        resize_model(cluster.resource, "churn", cpu="200m")
    assert writes(cluster) == []


def test_a_name_that_is_not_there_is_answered_with_those_that_are(cluster: FakeCluster) -> None:
    keep_deployment(cluster)
    with pytest.raises(NotFound, match="Deployed models there: churn"):
        resize_model(cluster.resource, "chrun", cpu="200m")
    with pytest.raises(InvalidInput, match="Use one of model-server"):
        resize_model(cluster.resource, "churn", cpu="200m", container="web")


def test_the_template_is_rolled_out_with_the_new_requests(cluster: FakeCluster) -> None:
    keep_deployment(cluster)

    async def roll_out(api: Any, resource: str, item: Object) -> None:
        if resource == "apps/v1/deployments":
            counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)
            item["status"] = {**counts, "observedGeneration": item["metadata"]["generation"] + 9}
            await api.keep(resource, item)

    cluster.api.story = roll_out
    result = resize_model(cluster.resource, "churn", memory="1Gi", apply="template")
    assert result["data"]["template"] == {"state": "rolled out"}
    (stored,) = cluster.api.all("apps/v1/deployments")
    template = stored["spec"]["template"]
    assert template["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
    assert template["metadata"]["labels"]["flexcore/rollout"] and not cluster.asked("PATCH", "/resize")
    begun = time.monotonic()
    again = resize_model(cluster.resource, "churn", memory="1024Mi", apply="template")
    assert again["data"]["template"] == {"state": "was so already"} and time.monotonic() - begun < 5


def test_a_deployment_after_a_resize_of_its_template_takes_the_forms_requests_again(cluster: FakeCluster) -> None:
    cluster.api.story, cluster.api.proxied = deployment_story(), answers
    deploy(cluster)
    resize_model(cluster.resource, "delay", cpu="200m", apply="template")

    def requested() -> Any:
        return one(cluster, "apps/v1/deployments")["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]

    assert requested() == {"cpu": "200m", "memory": "1Gi"}
    # Nobody else holds them: no conflict.
    deploy(cluster, cpu="300m")
    assert requested() == {"cpu": "300m", "memory": "1Gi"}


def test_a_rollout_of_new_requests_that_fails_goes_back(cluster: FakeCluster) -> None:
    keep_deployment(cluster)
    with pytest.raises(Exception, match="Deployment churn is back at the requests before") as caught:
        resize_model(cluster.resource, "churn", cpu="200m", apply="template", timeout_s=2)
    assert caught.value.details["undone"] == "back at the requests before"  # type: ignore[attr-defined]
    (stored,) = cluster.api.all("apps/v1/deployments")
    assert stored["spec"]["template"]["spec"]["containers"][0]["resources"] == GUARANTEED


def kill_rollout(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step dies while it follows the rollout of its new requests."""

    def die(*_: object) -> NoReturn:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(rollout.RolloutObserver, "run", die)
        with pytest.raises(Killed):
            resize_model(cluster.resource, "churn", cpu="200m", apply="template")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_killed_rollout_of_new_requests_goes_back_where_its_repeat_fails(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    before = keep_deployment(cluster)
    kill_rollout(cluster, monkeypatch)
    if is_lost:
        cluster.api.faults.append(Fault(method="PATCH", path="/deployments/churn", status=502, after=True))
    with pytest.raises(Exception, match="Deployment churn is back at the requests before"):
        resize_model(cluster.resource, "churn", cpu="200m", apply="template", timeout_s=2)
    (stored,) = cluster.api.all("apps/v1/deployments")
    assert stored["spec"] == before["spec"] and not stored["metadata"]["annotations"] and cluster.api.faults == []


def test_a_killed_rollout_of_new_requests_is_followed_by_its_repeat(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def roll_out(api: Any, resource: str, item: Object) -> None:
        await asyncio.sleep(1)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)
        item["status"] = {**counts, "observedGeneration": item["metadata"]["generation"]}
        await api.keep(resource, item)

    keep_deployment(cluster)
    cluster.api.story = roll_out
    kill_rollout(cluster, monkeypatch)
    result = resize_model(cluster.resource, "churn", cpu="200m", apply="template")
    assert result["data"]["template"] == {"state": "rolled out"}
    (stored,) = cluster.api.all("apps/v1/deployments")
    assert stored["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "200m"


def test_new_requests_in_the_template_whose_answer_is_lost_are_followed(cluster: FakeCluster) -> None:
    async def roll_out(api: Any, resource: str, item: Object) -> None:
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)
        item["status"] = {**counts, "observedGeneration": item["metadata"]["generation"]}
        await api.keep(resource, item)

    keep_deployment(cluster)
    cluster.api.story = roll_out
    cluster.api.faults = [Fault(method="PATCH", path="/deployments/churn", status=502, after=True)]
    result = resize_model(cluster.resource, "churn", cpu="200m", apply="template")
    assert result["data"]["template"] == {"state": "rolled out"}


def test_a_restart_that_the_resize_policy_asks_for_is_known() -> None:
    item = {"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]}
    assert right_sizing_pods.needs_restart(item, "memory") and not right_sizing_pods.needs_restart(item, "cpu")
