"""A model on a RayService as Kubernetes objects: what is made of a state, and what a status says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput, Unavailable
from f.flexcore.lib.core.resources import RayCluster, Settings
from f.flexcore.lib.ray import cluster_spec, deployed_models, service_deployment, service_rollout, service_spec

LABELS = {
    "app.kubernetes.io/managed-by": "flexcore",
    "flexcore/key": "fc-1",
    "flexcore/owner-job": "018f",
}
ENTRY: dict[str, Any] = {
    "model": {"name": "daisy", "version": "1", "uri": "s3://models/daisy/1", "files": [], "format": "xgboost-ubj"},
    "storage": {"uri": "s3://models", "endpoint_url": "", "region": ""},
    "options": {"replicas": 1, "autoscaling": None, "cpus": 1, "memory_bytes": 0, "owner": {}},
    "packages": [],
}


def state(*versions: str) -> dict[str, Any]:
    made: dict[str, Any] = {"app": "daisy", "model": "daisy", "token": 1, "changed_by": "fc-1"}
    for version in versions:
        made = service_spec.add_quietly(made, version, ENTRY)
    return made


def body(spec: cluster_spec.ClusterSpec | None = None, gateway: str = "") -> dict[str, Any]:
    spec = spec or cluster_spec.ClusterSpec()
    return service_spec.service_body("daisy", "ml", spec, state("1"), LABELS, gateway, has_auth_options=True)


def test_the_first_version_gets_all_requests_and_a_second_none_until_it_is_weighed() -> None:
    assert state("1")["weights"] == {"1": 100.0}
    assert state("1", "2")["weights"] == {"1": 100.0, "2": 0.0}
    weighed = service_spec.add_version(state("1", "2"), "2", ENTRY, 30) | {"token": 5}
    assert weighed["weights"] == {"1": 70.0, "2": 30.0}
    assert weighed["before"] == {"1": 100.0, "2": 0.0}
    assert service_spec.add_quietly(weighed, "2", ENTRY)["weights"] == weighed["weights"], "a repeat takes nothing away"
    left = service_spec.keep_versions(weighed, ["2"])
    assert (list(left["versions"]), list(left["weights"]), list(left["applications"])) == (["2"], ["2"], ["2"])


@pytest.mark.filterwarnings("ignore")
def test_ray_serve_takes_the_config_and_only_the_ingress_has_a_route() -> None:
    text = service_spec.serve_config_text(state("1", "2"), LABELS)
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(json.loads(text))
    routes = {app.name: app.route_prefix for app in config.applications}
    assert routes == {"daisy--1": None, "daisy--2": None, "daisy": "/daisy"}
    (ingress,) = config.applications[-1].deployments
    assert isinstance(ingress.user_config, dict)
    assert ingress.user_config["flexcore/traffic"]["weights"] == {"1": 100.0, "2": 0.0}
    assert "versions" not in ingress.user_config["flexcore/traffic"]


def test_new_weights_change_the_ingress_alone() -> None:
    before = json.loads(service_spec.serve_config_text(state("1", "2"), LABELS))["applications"]
    shifted = {**state("1", "2"), "weights": {"1": 0.0, "2": 100.0}}
    after = json.loads(service_spec.serve_config_text(shifted, LABELS))["applications"]
    assert before[:2] == after[:2]
    changed = {key for key in before[2] if before[2][key] != after[2][key]}
    assert changed == {"deployments"}, "anything else would start the replicas anew"


def test_pods_find_the_code_and_the_keys_of_the_store_by_reference() -> None:
    service = body()
    pods = [service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]]
    pods += [group["template"]["spec"] for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]]
    code = service_spec.code_map("daisy", "ml", LABELS)
    for pod in pods:
        (volume,) = [item for item in pod["volumes"] if item["name"] == "flexcore-code"]
        assert volume["configMap"]["name"] == code["metadata"]["name"]
        assert {item["key"] for item in volume["configMap"]["items"]} == set(code["data"])
        env = {item["name"]: item for item in pod["containers"][0]["env"]}
        assert env["PYTHONPATH"]["value"] == service_spec.CODE_FOLDER
        reference = env["FLEXCORE_STORAGE_SECRET_KEY"]["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == ("daisy-store", "secret_key")
    assert sum(map(len, code["data"].values())) < 900_000, "a ConfigMap holds a mebibyte"


def test_a_ray_service_lives_on_and_carries_its_owner_and_its_state() -> None:
    service = body()
    assert service["metadata"]["labels"]["flexcore/outlives-run"] == "true"
    assert service_spec.is_ours(service)
    assert service_spec.read_state(service) == state("1")


def test_another_run_of_the_same_spec_is_no_new_cluster_and_another_spec_is() -> None:
    other = service_spec.service_body(
        "daisy",
        "ml",
        cluster_spec.ClusterSpec(),
        state("1"),
        {**LABELS, "flexcore/key": "fc-2", "flexcore/owner-job": "019a"},
        "",
        has_auth_options=True,
    )
    assert other["spec"]["rayClusterConfig"] == body()["spec"]["rayClusterConfig"]
    larger = cluster_spec.ClusterSpec(head_memory="8Gi")
    assert service_spec.hash_spec("daisy", larger) != service_spec.hash_spec("daisy", cluster_spec.ClusterSpec())


@pytest.mark.parametrize(("gateway", "kind"), [("", "NewCluster"), ("traefik", "NewClusterWithIncrementalUpgrade")])
def test_upgrades_go_in_steps_where_a_gateway_class_is_named(gateway: str, kind: str) -> None:
    strategy = body(gateway=gateway)["spec"]["upgradeStrategy"]
    assert strategy["type"] == kind
    assert strategy.get("clusterUpgradeOptions", {}).get("gatewayClassName", "") == gateway


READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ({}, ("", "")),
        ({"activeServiceStatus": {"applicationStatuses": {"daisy--1": {"status": "RUNNING"}}}}, ("", "")),
        (
            {
                "conditions": READY,
                "activeServiceStatus": {
                    "applicationStatuses": {
                        "daisy--1": {"status": "RUNNING"},
                        "daisy--2": {
                            "status": "DEPLOY_FAILED",
                            "message": "Failed to update the deployments ['model'].",
                            "serveDeploymentStatuses": {"model": {"message": "failed to start: KeyError: 'x'"}},
                        },
                    }
                },
            },
            ("DEPLOY_FAILED", "failed to start: KeyError: 'x'"),
        ),
        (
            {
                "activeServiceStatus": {"applicationStatuses": {"daisy--2": {"status": "RUNNING"}}},
                "pendingServiceStatus": {"applicationStatuses": {"daisy--2": {"status": "DEPLOYING"}}},
            },
            ("DEPLOYING", ""),
        ),
    ],
)
def test_an_application_is_judged_by_its_own_status_not_by_that_of_the_service(
    status: dict[str, Any], found: tuple[str, str]
) -> None:
    assert service_spec.find_status({"status": status}, "daisy--2") == found


def test_a_ray_service_of_anothers_and_one_that_leaves_are_told_apart() -> None:
    theirs = {"metadata": {"name": "daisy", "namespace": "ml", "labels": {}}}
    with pytest.raises(InvalidInput, match="RayService daisy exists in namespace ml, and flexcore did not make it"):
        service_spec.check_ours(theirs)
    leaving = body()
    leaving["metadata"]["deletionTimestamp"] = "2026-11-29T00:00:00Z"
    with pytest.raises(Unavailable, match="is being deleted"):
        service_spec.check_ours(leaving)


def test_another_model_does_not_come_onto_the_ray_service_of_one() -> None:
    model: Any = type("Model", (), {"name": "tulip", "version": "1"})
    with pytest.raises(InvalidInput, match="serves the model 'daisy', not 'tulip'"):
        service_rollout.with_version(state("1"), "daisy", model, ENTRY)


@pytest.mark.parametrize(
    ("arguments", "service", "settings", "subject"),
    [
        ({"name": "a" * 50}, RayCluster(name="r"), {"storage_uri": "s3://b"}, "name"),
        ({}, RayCluster(address="http://ray:8265"), {"storage_uri": "s3://b"}, "cluster"),
        ({}, RayCluster(name="r"), {"storage_uri": "file:///store"}, "settings.storage_uri"),
    ],
)
def test_what_a_ray_service_cannot_be_is_refused_beforehand(
    arguments: dict[str, Any], service: RayCluster, settings: dict[str, Any], subject: str
) -> None:
    request = service_deployment.DEPLOY_SERVICE.parse(arguments)
    with pytest.raises(InvalidInput) as caught:
        service_deployment.check(request, service, Settings.model_validate(settings))
    assert caught.value.subject == subject
    assert caught.value.remedy


def test_a_rayservice_is_told_with_its_versions_and_where_a_roll_back_leads() -> None:
    weighed = service_spec.add_version(state("1", "2"), "2", ENTRY, 30) | {"token": 5}
    service = service_spec.service_body(
        "daisy", "ml", cluster_spec.ClusterSpec(), weighed, LABELS, "", has_auth_options=True
    )
    applications = {"daisy--1": {"status": "RUNNING"}, "daisy--2": {"status": "UNHEALTHY"}}
    service["status"] = {"activeServiceStatus": {"applicationStatuses": applications}}
    told = deployed_models.describe_service(service, RayCluster(kubernetes_cluster="f/k", namespace="ml"))
    assert [(item.version, item.weight, item.ready) for item in told.versions] == [("1", 70, True), ("2", 30, False)]
    assert (told.name, told.namespace, told.url) == ("daisy", "ml", "http://daisy-serve-svc.ml.svc:8000/daisy")
    assert (told.former, told.no_way_back, told.revision) == ("1", "", 5)


@pytest.mark.parametrize(
    ("traffic", "former", "problem"),
    [
        ({"before": {"1": 75.0, "2": 25.0}}, "1", ""),
        ({"before": {}}, None, "It has nothing to go back to: its weights were never changed"),
        ({"before": {"0": 100.0}}, None, "It has nothing to go back to: version '0' is not deployed any more"),
        ({"before": {"0": 0.0, "2": 100.0}}, "2", ""),
    ],
)
def test_a_served_model_says_where_a_roll_back_leads_or_why_it_cannot_go(
    traffic: dict[str, Any], former: str | None, problem: str
) -> None:
    told = {"applications": {"1": "m--1", "2": "m--2"}, "weights": {"1": 0.0, "2": 100.0}, **traffic}
    config = {"flexcore/key": "fc-1", "flexcore/root-job": "018f", "flexcore/traffic": told}
    version = {"status": "RUNNING", "last_deployed_time_s": 1764000000.0}
    applications = {
        "m": {"deployments": {"traffic": {"deployment_config": {"user_config": config}}}},
        "m--1": version,
        "theirs": {"status": "RUNNING", "deployments": {"x": {"deployment_config": {"user_config": {"a": 1}}}}},
    }
    (model,) = deployed_models.describe_applications(
        {"applications": applications, "http_options": {"port": 8123}}, RayCluster(address="http://ray:8265")
    )
    assert (model.name, model.url, model.former, model.no_way_back) == ("m", "http://ray:8123/m", former, problem)
    first, second = model.versions
    assert (first.version, first.weight, first.ready, first.created_at) == ("2", 100, False, None)
    assert (second.version, second.ready, second.created_at) == ("1", True, "2025-11-24T16:00:00+00:00")
