"""Deployments by server-side apply: fields that others hold, replicas beside autoscalers, owners, what goes again. The
same cases run on a real API server in tests/live/test_deployments.py."""

from __future__ import annotations

import copy
import json
from typing import Any, NoReturn

import pytest

from f.flexcore.dashboard.roll_back_model import main as roll_back_from_dashboard
from f.flexcore.kubernetes.plan_work import main as plan_work
from f.flexcore.kubernetes.roll_back_model import main as roll_back
from f.flexcore.kubernetes.undeploy_model import main as undeploy
from f.flexcore.lib.core.errors import Conflict, DeadlineExceeded, Forbidden, InvalidInput, NotFound
from f.flexcore.lib.kubernetes import deployed_versions, kserve_deployer, rollback, traffic_route
from f.flexcore.lib.kubernetes_api import field_owners
from tests.faults.world import Killed
from tests.kubernetes import fake_apply
from tests.kubernetes.fake_cluster import FakeCluster, Fault, status
from tests.kubernetes.stories import Object, deployment_story, kserve_story
from tests.kubernetes.test_deploy_model import SETTINGS, answers, deploy, model, one, stores
from tests.operations.fake_windmill import FakeWindmill

SECOND = model(version="2", uri="s3://store/fc-2/1/model")
DEPLOYMENTS, SERVICES = "apps/v1/deployments", "v1/services"
AUTOSCALERS, BUDGETS = "autoscaling/v2/horizontalpodautoscalers", "policy/v1/poddisruptionbudgets"
SCALED_OBJECTS, INFERENCE_SERVICES = "keda.sh/v1alpha1/scaledobjects", "serving.kserve.io/v1beta1/inferenceservices"
KEDA, KSERVE = {"keda.sh": ["v1alpha1"]}, {"serving.kserve.io": ["v1beta1"]}
BROKEN = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
PROMETHEUS = "http://prometheus.monitoring:9090"


@pytest.fixture
def served(cluster: FakeCluster) -> FakeCluster:
    """A cluster that rolls out whatever is deployed, and whose models answer."""
    cluster.api.story = deployment_story()
    cluster.api.proxied = answers
    return cluster


def change(cluster: FakeCluster, resource: str, manager: str, edit: Any, subresource: str = "") -> None:
    """A change of the only object of its kind as somebody else makes it, by PUT."""
    before = one(cluster, resource)
    after = copy.deepcopy(before)
    edit(after)
    fake_apply.record_update(before, after, manager, subresource)
    cluster.do(cluster.api.keep(resource, after))


def content(cluster: FakeCluster, resource: str) -> Object:
    """What the object is, whoever holds which field of it."""
    item = one(cluster, resource)
    del item["metadata"]["managedFields"], item["metadata"]["resourceVersion"]
    return item


def set_grace(item: Object) -> None:
    item["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5


def scale(replicas: int) -> Any:
    def edit(item: Object) -> None:
        item["spec"]["replicas"] = replicas

    return edit


def ours(item: Object) -> list[Object]:
    return [entry for entry in item["metadata"]["managedFields"] if entry["manager"] == "flexcore"]


# --- fields


def test_a_field_that_an_earlier_version_had_stored_by_put_goes_when_it_is_asked_for_no_longer(
    served: FakeCluster,
) -> None:
    deploy(served)

    def add_fields(item: Object) -> None:
        item["spec"]["minReadySeconds"] = 1
        item["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "GONE_SOON", "value": "1"})

    change(served, DEPLOYMENTS, "flexcore", add_fields)
    assert {entry["operation"] for entry in ours(one(served, DEPLOYMENTS))} == {"Apply", "Update"}
    deploy(served)
    spec = one(served, DEPLOYMENTS)["spec"]
    names = [entry["name"] for entry in spec["template"]["spec"]["containers"][0]["env"]]
    assert "minReadySeconds" not in spec and "GONE_SOON" not in names and "OMP_NUM_THREADS" in names
    assert [entry["operation"] for entry in ours(one(served, DEPLOYMENTS))] == ["Apply"]


def test_what_others_have_added_stays(served: FakeCluster) -> None:
    deploy(served)
    change(served, DEPLOYMENTS, "team-labels", lambda item: item["metadata"]["labels"].update(team="blue"))
    deploy(served, model=model(version="2"))
    assert one(served, DEPLOYMENTS)["metadata"]["labels"]["team"] == "blue"


def test_what_others_hold_is_shown_by_field_and_manager_and_nothing_is_overwritten(served: FakeCluster) -> None:
    deploy(served)
    change(served, DEPLOYMENTS, "kubectl-edit", set_grace)
    before = [content(served, each) for each in (DEPLOYMENTS, SERVICES)]
    count = len(stores(served))
    with pytest.raises(Conflict, match=r"terminationGracePeriodSeconds \(held by kubectl-edit\)") as caught:
        deploy(served, model=model(version="2"), service_type="NodePort")
    assert caught.value.details["conflicts"] == [
        {"field": ".spec.template.spec.terminationGracePeriodSeconds", "manager": "kubectl-edit"}
    ]
    assert caught.value.category == "field_conflict" and caught.value.details["undone"] == "nothing was changed"
    assert len(stores(served)) == count
    assert [content(served, each) for each in (DEPLOYMENTS, SERVICES)] == before


def test_what_a_person_has_scaled_is_shown_and_not_scaled_back(served: FakeCluster) -> None:
    deploy(served)
    change(served, DEPLOYMENTS, "kubectl", scale(2), "scale")
    with pytest.raises(Conflict, match=r"\.spec\.replicas \(held by kubectl, by scale\)"):
        deploy(served)
    deploy(served, replicas=2)
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 2


def test_nothing_is_ever_forced(served: FakeCluster) -> None:
    deploy(served)
    deploy(served, model=model(version="2"), replicas=2)
    applied = [item for item in served.api._requests if "force" in item.params]
    assert applied and {item.params["force"] for item in applied} == {"false"}
    assert {item.params["fieldManager"] for item in stores(served)} == {"flexcore"}


# --- autoscaler and budget


def test_an_autoscaler_and_a_budget_stand_beside_the_deployment_and_replicas_are_not_ours(served: FakeCluster) -> None:
    result = deploy(served, replicas=2, max_replicas=5, scale_target=60)
    uid = one(served, DEPLOYMENTS)["metadata"]["uid"]
    autoscaler, budget = one(served, AUTOSCALERS), one(served, BUDGETS)
    assert (autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"]) == (2, 5)
    assert autoscaler["spec"]["metrics"][0]["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 60},
    }
    assert budget["spec"]["maxUnavailable"] == 1
    assert [item["metadata"]["ownerReferences"][0]["uid"] for item in (autoscaler, budget)] == [uid, uid]
    assert field_owners.find_holders(one(served, DEPLOYMENTS), field_owners.REPLICAS) == []
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 2
    assert result["data"]["scaled_by"] == "HorizontalPodAutoscaler"


def test_replicas_are_handed_to_an_autoscaler_and_back_without_a_jump(served: FakeCluster) -> None:
    deploy(served, replicas=2)
    deploy(served, replicas=2, max_replicas=5)
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 2
    change(served, DEPLOYMENTS, "kube-controller-manager", scale(4), "scale")
    deploy(served, model=model(version="2"), replicas=2, max_replicas=5)
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 4, "the autoscaler's number stays"
    deploy(served, model=model(version="3"))
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 1
    assert served.api.all(AUTOSCALERS) == [] and served.api.all(BUDGETS) == []


def test_an_update_that_fails_puts_the_autoscaler_and_its_replicas_back(served: FakeCluster) -> None:
    deploy(served, replicas=2, max_replicas=5)
    good, autoscaler = one(served, DEPLOYMENTS), one(served, AUTOSCALERS)
    served.api.story = deployment_story(
        {"waiting": {"reason": "ErrImagePull", "message": "not found"}}, available=False
    )
    with pytest.raises(NotFound, match="rolled back to the version before"):
        deploy(served, image="registry/new:2", service_type="NodePort")
    assert one(served, DEPLOYMENTS)["spec"] == good["spec"]
    assert one(served, AUTOSCALERS)["spec"] == autoscaler["spec"]
    assert one(served, SERVICES)["spec"]["type"] == "ClusterIP"


def test_another_ones_autoscaler_keeps_its_replicas(served: FakeCluster) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "delay"}
    theirs = {"metadata": {"name": "theirs", "namespace": "work"}, "spec": {"scaleTargetRef": target}}
    deploy(served)
    served.do(served.api.keep(AUTOSCALERS, theirs))
    change(served, DEPLOYMENTS, "kube-controller-manager", scale(3), "scale")
    deploy(served, model=model(version="2"))
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 3
    with pytest.raises(Conflict, match="HorizontalPodAutoscaler theirs scales Deployment delay already") as caught:
        deploy(served, max_replicas=4)
    assert caught.value.subject == "max_replicas" and "kubectl delete hpa theirs" in caught.value.remedy


def test_shares_that_a_canary_moves_by_replicas_are_left_until_it_has_ended(served: FakeCluster) -> None:
    record = {"key": "fc-1", "attempt": 1, "token": "t", "owner_job": "j", "root_job": "j", "flow_step": "a"}
    record |= {"workspace": "w", "stable": "delay", "candidate": "new", "before": {"delay": 4}, "current": {"delay": 3}}
    marks = {"labels": {"flexcore/shift": "fc-1"}, "annotations": {"flexcore/shift": json.dumps(record)}}
    shared = {"metadata": {"name": "shared", "namespace": "work", **marks}, "spec": {}}
    deploy(served, replicas=4)
    served.do(served.api.keep(SERVICES, shared))
    change(served, DEPLOYMENTS, "flexcore", scale(3), "scale")
    request = {"name": "delay", "replicas": 4, "memory": "2Gi", "model": model()}
    told = plan_work(served.resource, "deploy_model", request, SETTINGS)["data"]
    assert "replicas is left to the shift of traffic of Service shared" in told["notes"]
    (planned,) = [item for item in told["objects"] if item["kind"] == "Deployment"]
    assert planned["action"] == "update" and not [item for item in planned["changes"] if "replicas" in item["path"]]
    assert deploy(served, replicas=4, memory="2Gi")["data"]["scaled_by"] == "another"
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 3
    served.do(served.api.drop(SERVICES, "work", "shared"))
    deploy(served, replicas=4)
    assert one(served, DEPLOYMENTS)["spec"]["replicas"] == 4


def test_one_copy_has_no_budget_which_would_hold_every_drain_up_unless_it_is_asked_for(served: FakeCluster) -> None:
    deploy(served)
    assert served.api.all(BUDGETS) == []
    deploy(served, max_unavailable=0)
    assert one(served, BUDGETS)["spec"]["maxUnavailable"] == 0


def test_without_the_right_to_make_a_budget_a_model_is_deployed_unless_it_is_asked_for(served: FakeCluster) -> None:
    served.api.denied = {"poddisruptionbudgets"}
    assert deploy(served, replicas=2)["success"]
    with pytest.raises(Forbidden, match="poddisruptionbudgets"):
        deploy(served, replicas=2, max_unavailable=1)


def test_requests_scale_by_keda_where_it_is_and_what_scaled_before_goes(served: FakeCluster) -> None:
    served.api.groups |= KEDA
    deploy(served, max_replicas=3)
    deploy(served, max_replicas=3, scale_on="requests", scale_target=50, prometheus_url=PROMETHEUS)
    spec = one(served, SCALED_OBJECTS)["spec"]
    assert (spec["scaleTargetRef"], spec["minReplicaCount"], spec["maxReplicaCount"]) == ({"name": "delay"}, 1, 3)
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["serverAddress"] == PROMETHEUS and trigger["metadata"]["threshold"] == "50"
    series = 'rest_server_requests_total{namespace="work",pod=~"delay-.*"}'
    assert trigger["metadata"]["query"] == f"sum(rate({series}[1m]))"
    assert served.api.all(AUTOSCALERS) == []
    deploy(served)
    assert served.api.all(SCALED_OBJECTS) == []


def test_requests_scale_by_the_custom_metrics_api_where_it_has_them(served: FakeCluster) -> None:
    served.api.groups |= {"custom.metrics.k8s.io": ["v1beta2"]}
    served.api.custom_metrics = ["pods/rest_server_requests_per_second"]
    deploy(served, max_replicas=3, scale_on="requests", scale_target=0.5)
    (metric,) = one(served, AUTOSCALERS)["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "rest_server_requests_per_second"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "500m"}


@pytest.mark.parametrize(
    ("groups", "fields", "subject", "problem"),
    [
        ({}, {}, "scale_on", r"it has neither KEDA \(keda.sh\) nor a custom metrics API"),
        ({"keda.sh": ["v2"]}, {}, "scale_on", "its KEDA serves v2 and not v1alpha1"),
        ({"custom.metrics.k8s.io": ["v1beta2"]}, {}, "scale_on", "has no rest_server_requests_per_second of pods"),
        (KEDA, {"prometheus_url": ""}, "prometheus_url", "is missing: KEDA asks Prometheus"),
        ({"metrics.k8s.io": None}, {"scale_on": "cpu"}, "scale_on", "no metrics API"),
        ({}, {"mode": "kserve"}, "mode", "it has no KServe"),
        ({"serving.kserve.io": ["v1alpha1"]}, {"mode": "kserve"}, "mode", "serves v1alpha1 and not v1beta1"),
        (KSERVE, {"mode": "kserve"}, "scale_on", "KServe needs KEDA"),
    ],
)
def test_what_the_cluster_lacks_is_named_with_the_remedy_before_anything_is_stored(
    served: FakeCluster, groups: dict[str, Any], fields: dict[str, Any], subject: str, problem: str
) -> None:
    served.api.groups = {name: each for name, each in (served.api.groups | groups).items() if each}
    given = {"max_replicas": 3, "scale_on": "requests", "scale_target": 5, "prometheus_url": PROMETHEUS, **fields}
    with pytest.raises(InvalidInput, match=problem) as caught:
        deploy(served, **given)
    assert caught.value.subject == subject and caught.value.remedy and not stores(served)


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({"replicas": 3, "max_replicas": 2}, "max_replicas"),
        ({"max_replicas": -1}, "max_replicas"),
        ({"max_replicas": 2, "scale_on": "requests"}, "scale_target"),
        ({"max_replicas": 2, "scale_target": 0}, "scale_target"),
        ({"max_replicas": 2, "scale_on": "luck"}, "scale_on"),
        ({"max_replicas": 2, "prometheus_url": "prometheus"}, "prometheus_url"),
        ({"requests_metric": 'a"}'}, "requests_metric"),
        ({"max_unavailable": -1}, "max_unavailable"),
        ({"mode": "rollout"}, "mode"),
        ({"mode": "kserve", "name": "a" * 54}, "name"),
        ({"mode": "kserve", "service_type": "NodePort"}, "service_type"),
        ({"mode": "kserve", "max_replicas": 2, "scale_on": "requests", "scale_target": 1}, "prometheus_url"),
        ({"name": "a" * 64}, "name"),
    ],
)
def test_a_wrong_field_is_named_before_the_cluster_is_asked(
    cluster: FakeCluster, fields: dict[str, Any], subject: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        deploy(cluster, **fields)
    assert caught.value.subject == subject and not cluster.api._requests


# --- owners


@pytest.mark.parametrize(
    ("metadata", "tool", "source"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:x"}}, "Argo CD", "tracking-id: shop:x"),
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "Argo CD", "instance: shop"),
        ({"managedFields": [{"manager": "argocd-controller"}]}, "Argo CD", ""),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "Helm", ""),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, "Helm", "release-name: shop"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "Flux", "name: shop"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "s", "app.kubernetes.io/managed-by": "Helm"}}, "Flux", "name: s"),
        ({"annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "shop"}}, "Argo Rollouts", "shop"),
        (
            {
                "ownerReferences": [
                    {
                        "apiVersion": "serving.kserve.io/v1beta1",
                        "kind": "InferenceService",
                        "name": "m",
                        "controller": True,
                    }
                ]
            },
            "KServe",
            "InferenceService m",
        ),
        (
            {"ownerReferences": [{"apiVersion": "acme.io/v1", "kind": "Shop", "name": "s", "controller": True}]},
            "acme.io",
            "Shop s",
        ),
    ],
)
@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES])
def test_what_another_tool_owns_is_refused_by_its_name_even_where_it_was_ours(
    served: FakeCluster, resource: str, metadata: Object, tool: str, source: str
) -> None:
    deploy(served)
    item = one(served, resource)
    for name, value in metadata.items():
        known = item["metadata"].get(name)
        item["metadata"][name] = {**known, **value} if isinstance(known, dict) else value
    served.do(served.api.keep(resource, item))
    before, count = one(served, resource), len(stores(served))
    with pytest.raises(Conflict, match=f"delay in namespace work is managed by {tool}") as caught:
        deploy(served, model=model(version="2"))
    assert caught.value.category == "owned_by_another" and caught.value.remedy
    assert caught.value.details["owner"]["tool"] == tool and source in caught.value.details["owner"]["source"]
    assert one(served, resource) == before and len(stores(served)) == count


def test_a_rollout_that_runs_the_deployments_pods_is_named(served: FakeCluster) -> None:
    served.api.groups["argoproj.io"] = ["v1alpha1"]
    reference = {"workloadRef": {"kind": "Deployment", "name": "delay"}}
    served.do(
        served.api.keep(
            "argoproj.io/v1alpha1/rollouts", {"metadata": {"name": "shop", "namespace": "work"}, "spec": reference}
        )
    )
    with pytest.raises(Conflict, match=r"managed by Argo Rollouts \(Rollout shop\)"):
        deploy(served)
    assert not stores(served)


def test_an_object_of_that_name_that_is_made_in_between_is_not_merged_into(served: FakeCluster) -> None:
    """An apply would: so what is not there is created, which an object of that name refuses."""
    theirs = {"metadata": {"name": "delay", "namespace": "work", "labels": {"app": "theirs"}}, "spec": {}}
    roll_out = deployment_story()

    async def story(api: Any, resource: str, item: Object) -> None:
        if resource == "v1/configmaps":
            await api.keep("v1/services", copy.deepcopy(theirs))
        await roll_out(api, resource, item)

    served.api.story = story
    with pytest.raises(InvalidInput, match="services delay exists in namespace work and was not made by flexcore"):
        deploy(served)
    assert one(served, SERVICES)["metadata"]["labels"] == {"app": "theirs"}
    assert served.api.all(DEPLOYMENTS) == [], "and the beginning is taken away"


# --- back


def test_a_model_goes_back_to_the_version_that_answered_before_in_one_call(
    served: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(served)
    first = one(served, DEPLOYMENTS)
    deploy(served, model=SECOND, replicas=3)
    assert len(served.api.all("v1/configmaps")) == 2, "what a former version needs is kept with it"
    result = roll_back(served.resource, "delay")
    now = one(served, DEPLOYMENTS)
    assert now["spec"]["template"] == first["spec"]["template"] and now["spec"]["replicas"] == 3
    assert (result["data"]["from"]["model_version"], result["data"]["to"]["model_version"]) == ("2", "1")
    assert roll_back(served.resource, "delay")["data"] == result["data"], "a repeat does not go forward again"
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
    assert roll_back(served.resource, "delay")["data"]["to"]["model_version"] == "2"


def die(*_: object) -> NoReturn:
    raise Killed


@pytest.mark.parametrize("answered", [True, False])
def test_a_roll_back_that_was_killed_goes_on_where_it_is_repeated(
    served: FakeCluster, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """And knows what it has left, which it goes back to where the former version does not get ready."""
    deploy(served)
    first = one(served, DEPLOYMENTS)
    deploy(served, model=SECOND)
    second = one(served, DEPLOYMENTS)
    if not answered:
        # Before the killed one, whose change the cluster may act on at once.
        served.api.story = deployment_story(BROKEN, available=False)
    with monkeypatch.context() as patched:
        patched.setattr(rollback.Rollback, "_follow", die)
        with pytest.raises(Killed):
            roll_back(served.resource, "delay", from_revision=2)
    if answered:
        result = roll_back(served.resource, "delay", from_revision=2)
        versions = [result["data"][way] for way in ("from", "to")]
        assert versions == [{"revision": 2, "model_version": "2"}, {"revision": 1, "model_version": "1"}]
        assert one(served, DEPLOYMENTS)["spec"] == first["spec"]
        (now,) = deployed_versions.list_deployed(served.resource, "work")
        assert (now.versions[0].version, now.former) == ("1", "2"), "and the former one counts as good again"
        return
    with pytest.raises(NotFound, match="Deployment delay is as it was before"):
        roll_back(served.resource, "delay", from_revision=2)
    after = one(served, DEPLOYMENTS)
    assert after["spec"] == second["spec"]
    assert rollback.MOVE not in after["metadata"]["annotations"]


def test_a_roll_back_is_not_taken_up_once_another_model_was_deployed(
    served: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(served)
    deploy(served, model=SECOND)
    with monkeypatch.context() as patched:
        patched.setattr(rollback.Rollback, "_follow", die)
        with pytest.raises(Killed):
            roll_back(served.resource, "delay", from_revision=2)
    deploy(served, model=model(version="3"))
    with pytest.raises(Conflict, match=r"it is at revision \d+ \(model version 3\). Nothing was changed"):
        roll_back(served.resource, "delay", from_revision=2)


def test_a_version_that_never_answered_is_not_gone_back_to(served: FakeCluster) -> None:
    deploy(served)
    served.api.proxied = lambda method, path, body: (400, {"error": "wrong"}) if body else (200, {})
    with pytest.raises(Exception, match="rolled back"):
        deploy(served, model=SECOND)
    with pytest.raises(NotFound, match="has no version before the present one"):
        roll_back(served.resource, "delay")
    served.api.proxied = answers
    deploy(served, model=model(version="3"))
    assert roll_back(served.resource, "delay")["data"]["to"]["model_version"] == "1"


def test_the_deployed_models_name_their_versions_and_where_a_roll_back_leads(served: FakeCluster) -> None:
    """Also when the version in between never answered, which a roll back passes over."""
    deploy(served)
    (alone,) = deployed_versions.list_deployed(served.resource, "")
    assert ([item.version for item in alone.versions], alone.former) == (["1"], None)
    assert alone.no_way_back == "No earlier version that has answered is kept"
    served.api.proxied = lambda method, path, body: (400, {"error": "wrong"}) if body else (200, {})
    with pytest.raises(Exception, match="rolled back"):
        deploy(served, model=SECOND)
    served.api.proxied = answers
    deploy(served, model=model(version="3"))
    (model_now,) = deployed_versions.list_deployed(served.resource, "work")
    assert (model_now.name, model_now.namespace, model_now.url) == ("delay", "work", None)
    assert model_now.versions[0].version == "3" and {item.weight for item in model_now.versions[1:]} == {0}
    assert (model_now.former, model_now.no_way_back) == ("1", "")
    seen: Object = {"revision": model_now.former_revision, "from_revision": model_now.revision}
    assert roll_back(served.resource, "delay", **seen)["data"]["to"]["model_version"] == model_now.former


def test_a_roll_back_that_was_done_already_is_not_undone_by_a_second_one(
    served: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of the first was lost, or two people saw the same: the version that was left answered last. By the
    step of the dashboard."""
    deploy(served)
    deploy(served, model=SECOND)
    (shown,) = deployed_versions.list_deployed(served.resource, "work")
    seen: Object = {"revision": shown.former_revision, "from_revision": shown.revision}
    words = r"no longer at revision 2: it is at revision 3 \(model version 1\). Nothing was changed"
    with FakeWindmill() as windmill:
        windmill.resources = {"f/x/k8s": served.resource}
        for name, value in {"BASE_INTERNAL_URL": windmill.address, "WM_TOKEN": "t", "WM_WORKSPACE": "w"}.items():
            monkeypatch.setenv(name, value)
        done = roll_back_from_dashboard("f/x/k8s", "delay", "work", **seen)
        assert (done["data"]["from"]["model_version"], done["data"]["to"]["model_version"]) == ("2", "1")
        before = one(served, DEPLOYMENTS)
        monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
        with pytest.raises(Conflict, match=words) as caught:
            roll_back_from_dashboard("f/x/k8s", "delay", "work", **seen)
    assert caught.value.subject == "from_revision"
    # The Deployment's controller may still write its status, which is a version of its own.
    after = one(served, DEPLOYMENTS)
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
    assert after == before
    (now,) = deployed_versions.list_deployed(served.resource, "work")
    assert (now.versions[0].version, now.revision, now.former) == ("1", 3, "2")


def http_route(*weights: dict[str, int]) -> Object:
    rules = [{"backendRefs": [{"name": name, "weight": one} for name, one in item.items()]} for item in weights]
    return {"metadata": {"name": "r", "namespace": "work"}, "spec": {"hostnames": ["m.example.com"], "rules": rules}}


def virtual_service(**weights: int) -> Object:
    routes = [
        {"destination": {"host": f"{name}.work.svc.cluster.local"}, "weight": one} for name, one in weights.items()
    ]
    return {"metadata": {"name": "r", "namespace": "work"}, "spec": {"hosts": ["m.work"], "http": [{"route": routes}]}}


@pytest.mark.parametrize(
    ("kind", "route", "weight", "url"),
    [
        ("gateway", http_route({"delay": 3, "other": 1}), 75, "http://m.example.com"),
        ("gateway", http_route({"delay": 3, "other": 1}, {"delay": 1}), None, None),
        ("gateway", http_route({"other": 1}), None, None),
        ("gateway", http_route({"delay": 0}), None, None),
        ("istio", virtual_service(delay=20, other=80), 20, "http://m.work"),
    ],
)
def test_the_share_of_a_deployed_model_is_what_its_route_says(
    served: FakeCluster, kind: str, route: Object, weight: int | None, url: str | None
) -> None:
    deploy(served)
    stored, sets = one(served, DEPLOYMENTS), served.api.all("apps/v1/replicasets")
    found = deployed_versions.describe_model(stored, sets, [(traffic_route.KINDS[kind], route)])
    assert (found.versions[0].weight, found.url) == (weight, url)


def test_an_unknown_revision_is_answered_with_those_there_are(served: FakeCluster) -> None:
    deploy(served)
    deploy(served, model=SECOND)
    with pytest.raises(NotFound, match=r"no revision 77 .* revision \d+ \(model version 1\)") as caught:
        roll_back(served.resource, "delay", revision=77)
    assert caught.value.subject == "revision"
    with pytest.raises(NotFound, match="Deployed models there: delay"):
        roll_back(served.resource, "dealy")


def test_a_former_version_that_does_not_get_ready_changes_nothing(served: FakeCluster) -> None:
    deploy(served)
    deploy(served, model=SECOND)
    before = one(served, DEPLOYMENTS)
    served.api.story = deployment_story(
        {"waiting": {"reason": "ErrImagePull", "message": "not found"}}, available=False
    )
    with pytest.raises(NotFound, match="Deployment delay is as it was before"):
        roll_back(served.resource, "delay")
    assert one(served, DEPLOYMENTS)["spec"] == before["spec"]


def test_a_former_version_whose_files_are_gone_is_named_before_anything_changes(served: FakeCluster) -> None:
    deploy(served)
    name = one(served, "v1/configmaps")["metadata"]["name"]
    deploy(served, model=SECOND)
    served.do(served.api.drop("v1/configmaps", "work", name))
    before = one(served, DEPLOYMENTS)
    with pytest.raises(NotFound, match=f"its ConfigMap {name} is gone"):
        roll_back(served.resource, "delay")
    assert one(served, DEPLOYMENTS) == before


# --- taken down


def test_all_that_was_made_is_counted_when_it_is_taken_down(served: FakeCluster) -> None:
    served.api.groups |= KEDA
    deploy(served, replicas=2, max_replicas=3, scale_on="requests", scale_target=1, prometheus_url=PROMETHEUS)
    theirs = {"metadata": {"name": "other", "namespace": "work", "labels": {}}, "data": {}}
    served.do(served.api.keep("v1/configmaps", theirs))
    result = undeploy(served.resource, "delay")
    kinds = sorted(item["kind"] for item in result["data"]["objects"])
    own = ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "ScaledObject", "Secret", "Service"]
    assert kinds == [*own, "ServiceAccount"]
    assert [item["metadata"]["name"] for item in served.api.all("v1/configmaps")] == ["other"]


def test_a_finalizer_that_hangs_is_named_with_what_to_do(served: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(served)
    service = one(served, SERVICES)
    service["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
    served.do(served.api.keep(SERVICES, service))
    keep_finalized(served, monkeypatch)
    with pytest.raises(DeadlineExceeded, match="Service delay waits for its finalizer service") as caught:
        undeploy(served.resource, "delay", timeout_s=1)
    assert "kubectl -n work patch service delay" in caught.value.remedy
    assert [(item["kind"], item["name"]) for item in caught.value.details["left"]] == [("Service", "delay")]


def keep_finalized(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a finalizer is only marked by a deletion, as on a server."""
    drop = cluster.api.drop

    async def mark(resource: str, namespace: str, name: str) -> None:
        item = next(each for each in cluster.api.all(resource) if each["metadata"]["name"] == name)
        if not item["metadata"].get("finalizers"):
            await drop(resource, namespace, name)
            return
        item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        await cluster.api.keep(resource, item)

    monkeypatch.setattr(type(cluster.api), "drop", lambda _, *where: mark(*where))


def test_what_another_tool_would_make_again_is_not_taken_down(served: FakeCluster) -> None:
    deploy(served)
    note = {"argocd.argoproj.io/tracking-id": "shop"}
    change(served, DEPLOYMENTS, "argocd-controller", lambda item: item["metadata"]["annotations"].update(note))
    with pytest.raises(Conflict, match="managed by Argo CD"):
        undeploy(served.resource, "delay")
    assert one(served, DEPLOYMENTS)


# --- KServe


@pytest.fixture
def kserve(served: FakeCluster) -> FakeCluster:
    served.api.groups |= KSERVE
    served.api.story = kserve_story()
    return served


def test_kserve_is_given_one_object_and_owns_the_rest(kserve: FakeCluster) -> None:
    result = deploy(kserve, mode="kserve", replicas=2, max_replicas=4, scale_on="memory")
    service = one(kserve, INFERENCE_SERVICES)
    predictor = service["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 4)
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("memory", 80)
    assert predictor["containers"][0]["name"] == "kserve-container"
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    assert "canaryTrafficPercent" not in predictor and kserve.api.all(AUTOSCALERS) == []
    stored = {item.resource.plural for item in stores(kserve)}
    companions = {"secrets", "configmaps", "serviceaccounts", "networkpolicies"}
    assert stored == {"inferenceservices", "poddisruptionbudgets", *companions}
    assert one(kserve, "v1/configmaps")["metadata"]["ownerReferences"][0]["kind"] == "InferenceService"
    assert (
        result["output"]["url"] == "http://delay-predictor.work.svc:80"
        and result["remote"]["kind"] == "InferenceService"
    )
    assert result["data"]["smoke"]["predictions"] == [2.0, 4.0] and result["data"]["scaled_by"] == "KServe"


def test_weights_that_a_canary_moves_are_not_ours_beside_kserve(kserve: FakeCluster) -> None:
    deploy(kserve, mode="kserve")
    weight = {"canaryTrafficPercent": 20}
    change(kserve, INFERENCE_SERVICES, "canary", lambda item: item["spec"]["predictor"].update(weight))
    deploy(kserve, mode="kserve", model=model(version="2"))
    assert one(kserve, INFERENCE_SERVICES)["spec"]["predictor"]["canaryTrafficPercent"] == 20


def test_a_first_model_that_kserve_cannot_start_is_removed_and_an_update_is_put_back(kserve: FakeCluster) -> None:
    kserve.api.story = kserve_story(BROKEN, available=False)
    with pytest.raises(NotFound, match="removed: nothing was served before"):
        deploy(kserve, mode="kserve")
    assert kserve.api.all(INFERENCE_SERVICES) == [] and kserve.api.all("v1/configmaps") == []
    kserve.api.story = kserve_story()
    deploy(kserve, mode="kserve")
    good = one(kserve, INFERENCE_SERVICES)
    kserve.api.story = kserve_story(BROKEN, available=False)
    with pytest.raises(NotFound, match="rolled back to the version before"):
        deploy(kserve, mode="kserve", image="registry/new:2")
    assert one(kserve, INFERENCE_SERVICES)["spec"] == good["spec"]


def test_a_killed_update_of_kserves_goes_back_to_what_answered_where_its_repeat_fails(
    kserve: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(kserve, mode="kserve")
    good, (files,) = one(kserve, INFERENCE_SERVICES), kserve.api.all("v1/configmaps")
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(kserve_deployer.KServeDeployer, "_follow", die)
            with pytest.raises(Killed):
                deploy(kserve, mode="kserve", model=SECOND)
    kserve.api.story = kserve_story(BROKEN, available=False)
    with pytest.raises(NotFound, match="rolled back to the version before"):
        deploy(kserve, mode="kserve", model=SECOND)
    assert one(kserve, INFERENCE_SERVICES)["spec"] == good["spec"]
    assert kserve.api.all("v1/configmaps") == [files], "what its pods mount is there, and nothing else"
    kserve.api.story = kserve_story()
    deploy(kserve, mode="kserve", model=SECOND)
    assert one(kserve, "v1/configmaps") != files, "nothing is kept of what was replaced"


def test_a_controller_that_does_nothing_is_told_in_the_words_of_its_conditions(kserve: FakeCluster) -> None:
    async def refuse(api: Any, resource: str, item: Object) -> None:
        if resource == INFERENCE_SERVICES:
            condition = {"type": "PredictorReady", "status": "False", "reason": "InvalidSpec", "message": "no runtime"}
            await api.keep(resource, {**item, "status": {"conditions": [condition]}})

    kserve.api.story = refuse
    with pytest.raises(Exception, match="PredictorReady: InvalidSpec no runtime"):
        deploy(kserve, mode="kserve", timeout_s=1)


def test_one_name_is_served_in_one_mode_and_a_namesake_of_kserves_objects_is_refused(kserve: FakeCluster) -> None:
    theirs = {"metadata": {"name": "delay-predictor", "namespace": "work"}, "spec": {}}
    kserve.do(kserve.api.keep(SERVICES, theirs))
    with pytest.raises(InvalidInput, match="services delay-predictor exists in namespace work"):
        deploy(kserve, mode="kserve")
    kserve.do(kserve.api.drop(SERVICES, "work", "delay-predictor"))
    deploy(kserve, mode="kserve")
    with pytest.raises(Conflict, match="is served by KServe"):
        deploy(kserve)
    with pytest.raises(InvalidInput, match="KServe, which keeps no earlier version"):
        roll_back(kserve.resource, "delay")
    made = undeploy(kserve.resource, "delay")["data"]["objects"]
    kinds = sorted(item["kind"] for item in made)
    assert kinds == ["ConfigMap", "InferenceService", "NetworkPolicy", "Secret", "ServiceAccount"]
    kserve.api.story = deployment_story()
    deploy(kserve)
    with pytest.raises(Conflict, match="is served by a Deployment"):
        deploy(kserve, mode="kserve")


# --- nothing half-applied


def test_a_quota_that_the_dry_run_meets_changes_nothing(served: FakeCluster) -> None:
    deploy(served)
    before = content(served, DEPLOYMENTS)
    full = status(
        403,
        "Forbidden",
        'services "delay" is forbidden: exceeded quota: small, requested: services.nodeports=1,'
        " used: services.nodeports=0, limited: services.nodeports=0",
    )
    served.api.faults = [Fault(method="PATCH", path="services/delay.*dryRun", status=403, body=full)]
    with pytest.raises(InvalidInput, match="exceeded quota: small") as caught:
        deploy(served, model=model(version="2"), service_type="NodePort")
    assert caught.value.details["undone"] == "nothing was changed" and content(served, DEPLOYMENTS) == before
