"""kubernetes/deploy_model and undeploy_model against a Kubernetes API on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from f.flexcore.kubernetes.deploy_model import main
from f.flexcore.kubernetes.undeploy_model import main as undeploy
from f.flexcore.lib.core.contracts import ModelManifest, compute_checksum
from f.flexcore.lib.core.errors import (
    ExecutionFailed,
    FlexcoreError,
    Forbidden,
    InvalidInput,
    ManifestMismatch,
    NotFound,
    Unavailable,
)
from f.flexcore.lib.core.identity import ON_TRIAL
from f.flexcore.lib.kubernetes import undeployment
from f.flexcore.lib.kubernetes_api import admission, pod_problems
from tests.faults.world import Killed
from tests.kubernetes.fake_cluster import FakeCluster, status
from tests.kubernetes.stories import Object, deployment_story, ended

SETTINGS = {
    "storage_uri": "s3://store",
    "storage_endpoint_url": "http://10.0.0.9:9000",
    "storage_access_key": "AKIDEXAMPLE",
    "storage_secret_key": "open-sesame-42",
}
MODEL: dict[str, Any] = {
    "uri": "s3://store/fc-1/1/model",
    "format": "mlserver",
    "name": "delay",
    "version": "1",
    "algorithm": "Ridge",
    "target": "y",
    "framework": {"name": "scikit-learn", "version": "1.9.1"},
    "signature": {"inputs": [{"name": "x", "datatype": "FP64"}], "outputs": [{"name": "predict", "datatype": "FP64"}]},
    "metrics": {},
    "example": [{"x": 1.0}, {"x": 2.0}],
    "files": [{"path": "model.joblib", "bytes": 3, "checksum": "sha256:" + "0" * 64}],
}


PYTHON_MISSING = (
    "failed to create containerd task: unable to start container process: exec: "
    '"python3": executable file not found in $PATH'
)
AS_ROOT = (
    'pods "delay-1" is forbidden: violates PodSecurity "restricted:latest": runAsUser=0 (containers must not set it)'
)


def model(**changes: Any) -> dict[str, Any]:
    value = {**MODEL, **changes}
    value["checksum"] = compute_checksum(ModelManifest.model_validate(value).files)
    return value


def deploy(cluster: FakeCluster, **arguments: Any) -> dict[str, Any]:
    given = {"model": model(), "settings": SETTINGS, "timeout_s": 20, **arguments}
    return main(cluster=cluster.resource, **given)


def answers(method: str, path: str, body: Any) -> tuple[int, Any]:
    """A model server that doubles."""
    if path.endswith("/infer"):
        return 200, {"outputs": [{"name": "predict", "data": [2 * value for value in body["inputs"][0]["data"]]}]}
    return 200, {}


def one(cluster: FakeCluster, resource: str) -> Object:
    (item,) = cluster.api.all(resource)
    return item


def stores(cluster: FakeCluster) -> list[Any]:
    """The requests that have stored an object: not those that only asked what the server would say."""
    found = [item for item in cluster.api._requests if item.resource and not item.subresource]
    is_store = ("POST", "PUT")
    return [
        item
        for item in found
        if (item.method.value in is_store or "force" in item.params) and "dryRun" not in item.params
    ]


@pytest.fixture
def served(cluster: FakeCluster) -> FakeCluster:
    """A cluster that rolls out whatever is deployed, and whose models answer."""
    cluster.api.story = deployment_story()
    cluster.api.proxied = answers
    return cluster


def test_a_model_is_rolled_out_asked_and_handed_on_as_an_endpoint(served: FakeCluster) -> None:
    result = deploy(served, replicas=2)
    assert result["output"]["url"] == "http://delay.work.svc:8080"
    assert (result["output"]["kind"], result["output"]["model_name"]) == ("endpoint", "delay")
    assert result["data"]["smoke"] | {"latency_ms": 0} == {
        "ready": True,
        "predicted": True,
        "rows": 2,
        "predictions": [2.0, 4.0],
        "latency_ms": 0,
        "note": "",
    }
    assert result["remote"]["uid"] == one(served, "apps/v1/deployments")["metadata"]["uid"]


def test_all_objects_are_ours_outlive_the_run_and_belong_to_the_deployment(served: FakeCluster) -> None:
    deploy(served)
    uid = one(served, "apps/v1/deployments")["metadata"]["uid"]
    companions = ("v1/serviceaccounts", "networking.k8s.io/v1/networkpolicies", "v1/configmaps", "v1/secrets")
    for resource in ("apps/v1/deployments", "v1/services", *companions):
        metadata = one(served, resource)["metadata"]
        assert metadata["labels"]["flexcore/outlives-run"] == "true"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "flexcore"
        if resource != "apps/v1/deployments":
            assert [owner["uid"] for owner in metadata["ownerReferences"]] == [uid]


def test_the_stores_keys_are_in_a_secret_that_only_the_first_container_sees(
    served: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    result = deploy(served)
    pod = one(served, "apps/v1/deployments")["spec"]["template"]["spec"]
    assert SETTINGS["storage_secret_key"] not in json.dumps([pod, result]) + capsys.readouterr().out
    names = {entry["name"] for entry in pod["initContainers"][0]["env"]}
    assert names == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert "secretKeyRef" not in json.dumps(pod["containers"])
    assert SETTINGS["storage_secret_key"] not in json.dumps(one(served, "v1/configmaps"))


def test_nothing_starts_before_its_secret_and_config_map_exist(served: FakeCluster) -> None:
    deploy(served)
    order = [(item.resource.plural, item.data.get("spec", {}).get("paused")) for item in stores(served)]
    companions = ["serviceaccounts", "networkpolicies", "secrets", "configmaps"]
    names = ["deployments", *companions, "deployments", "services", "deployments"]
    assert order == list(zip(names, [True, *[None] * 7], strict=True))


def test_a_first_deployment_is_on_trial_until_it_has_answered(served: FakeCluster) -> None:
    seen = []

    def answers_and_looks(method: str, path: str, body: Any) -> tuple[int, Any]:
        seen.append(ON_TRIAL in one(served, "apps/v1/deployments")["metadata"]["annotations"])
        return answers(method, path, body)

    served.api.proxied = answers_and_looks
    deploy(served)
    assert all(seen) and seen
    assert ON_TRIAL not in one(served, "apps/v1/deployments")["metadata"]["annotations"]
    seen.clear()
    deploy(served, model=model(version="2"))
    assert seen and not any(seen), "an update is kept as what it was"


def test_an_update_keeps_old_pods_until_new_ones_are_ready(served: FakeCluster) -> None:
    deploy(served)
    first = one(served, "apps/v1/deployments")
    deploy(served, model=model(version="2"), replicas=3)
    second = one(served, "apps/v1/deployments")
    assert first["metadata"]["uid"] == second["metadata"]["uid"]
    assert second["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert second["spec"]["template"]["metadata"]["labels"]["flexcore/model-version"] == "2"
    assert one(served, "v1/services")["spec"]["clusterIP"] == "10.96.0.7"
    assert len(served.api.all("v1/configmaps")) == 1, "generations that nobody needs are removed"


def test_deploying_the_same_again_restarts_nothing(served: FakeCluster) -> None:
    deploy(served)
    before = one(served, "apps/v1/deployments")["spec"]["template"]
    deploy(served)
    assert one(served, "apps/v1/deployments")["spec"]["template"] == before


@pytest.mark.parametrize(
    ("container", "init", "error", "category"),
    [
        ({"waiting": {"reason": "ErrImagePull", "message": "not found"}}, None, NotFound, "image_not_found"),
        (None, ended(40, message="model.joblib is not the file"), ManifestMismatch, "model_mismatch"),
        (None, ended(41, message="the store refuses model.joblib"), Forbidden, "model_denied"),
        (None, ended(42, message="the store has no model.joblib"), NotFound, "model_not_found"),
        ({"waiting": {"reason": "InvalidImageName"}}, None, InvalidInput, "image_invalid"),
    ],
)
def test_a_first_deployment_that_fails_is_reported_and_removed(
    cluster: FakeCluster, container: Object, init: Object, error: type[FlexcoreError], category: str
) -> None:
    cluster.api.story = deployment_story(container, available=False, init=init)
    with pytest.raises(error, match="nothing was served before") as caught:
        deploy(cluster)
    assert caught.value.category == category
    for resource in ("apps/v1/deployments", "v1/services", "v1/configmaps", "v1/secrets"):
        assert cluster.api.all(resource) == [], resource


@pytest.mark.parametrize(
    ("failure", "subject", "remedy"),
    [
        (
            {"init": {"waiting": {"reason": "RunContainerError", "message": PYTHON_MISSING}}},
            "image",
            "made from resources/model_server",
        ),
        ({"refused": AS_ROOT}, "run_as_user", "Leave run_as_user empty, which means 1000"),
        ({"refused": 'error looking up service account work/delay: serviceaccount "delay" not found'}, "name", "anew"),
    ],
)
def test_a_failure_names_the_field_of_the_deployments_own_form(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, failure: Object, subject: str, remedy: str
) -> None:
    story = deployment_story(available=False, init=failure.get("init"))

    async def play(api: Any, resource: str, item: Object) -> None:
        await story(api, resource, item)
        if text := failure.get("refused"):
            condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": text}
            if resource == "apps/v1/deployments" and not item["spec"].get("paused"):
                await api.keep(resource, {**item, "status": {**item["status"], "conditions": [condition]}})

    cluster.api.story = play
    for module, grace in ((pod_problems, "CONFIG_GRACE_S"), (admission, "SERVICE_ACCOUNT_GRACE_S")):
        monkeypatch.setattr(module, grace, 0.5)
    with pytest.raises(FlexcoreError) as caught:
        deploy(cluster)
    assert caught.value.subject == subject and remedy in str(caught.value.remedy)


def test_an_update_that_fails_is_rolled_back_to_what_still_answers(served: FakeCluster) -> None:
    deploy(served, replicas=2)
    good = one(served, "apps/v1/deployments")
    served.api.story = deployment_story(
        {"waiting": {"reason": "ErrImagePull", "message": "not found"}}, available=False
    )
    with pytest.raises(NotFound, match="rolled back to the version before") as caught:
        deploy(served, image="registry/new:2", replicas=1)
    now = one(served, "apps/v1/deployments")
    assert now["spec"]["template"] == good["spec"]["template"] and now["spec"]["replicas"] == 2
    assert caught.value.subject == "image"


def test_a_model_that_does_not_predict_is_rolled_back_too(served: FakeCluster) -> None:
    deploy(served)
    good = one(served, "apps/v1/deployments")
    served.api.proxied = lambda method, path, body: (400, {"error": "feature mismatch"}) if body else (200, {})
    with pytest.raises(ExecutionFailed, match="feature mismatch") as caught:
        deploy(served, model=model(version="2"))
    assert caught.value.category == "smoke_failed"
    assert one(served, "apps/v1/deployments")["spec"]["template"] == good["spec"]["template"]


def test_a_way_through_the_api_server_that_is_closed_is_not_measured_and_not_a_failure(served: FakeCluster) -> None:
    served.api.proxied = lambda *_: (403, status(403, "Forbidden", "cannot get services/proxy"))
    smoke = deploy(served)["data"]["smoke"]
    assert (smoke["ready"], smoke["predicted"], smoke["latency_ms"]) == (None, None, None)
    assert "no right" in smoke["note"]


@pytest.mark.parametrize("resource", ["apps/v1/deployments", "v1/services"])
def test_somebody_elses_object_of_that_name_is_never_overwritten(served: FakeCluster, resource: str) -> None:
    theirs = {"metadata": {"name": "delay", "namespace": "work", "labels": {"app": "theirs"}}, "spec": {}}
    served.do(served.api.keep(resource, theirs))
    with pytest.raises(InvalidInput, match="was not made by flexcore"):
        deploy(served)
    assert one(served, resource)["metadata"]["labels"] == {"app": "theirs"}
    assert not [item for item in served.api._requests if item.method.value != "GET"]


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ({"model": model(uri="file:///data/model")}, "settings.storage_uri"),
        ({"settings": {**SETTINGS, "storage_endpoint_url": "http://127.0.0.1:9000"}}, "settings.storage_endpoint_url"),
        ({"model_source": "nfs://x"}, "model_source"),
        ({"model_source": "pvc://"}, "model_source"),
        ({"replicas": 0}, "replicas"),
        ({"cpu": "lots"}, "cpu"),
        ({"image": "no image"}, "image"),
        ({"name": "9lives"}, "name"),
        ({"service_type": "Ingress"}, "service_type"),
        ({"timeout_s": -1}, "timeout_s"),
    ],
)
def test_a_wrong_argument_is_named_before_the_cluster_is_asked(
    cluster: FakeCluster, arguments: dict[str, Any], subject: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        deploy(cluster, **arguments)
    assert caught.value.subject == subject and not cluster.api._requests


def test_a_manifest_that_contradicts_itself_is_refused_at_the_door(cluster: FakeCluster) -> None:
    with pytest.raises(ManifestMismatch, match="its own checksum"):
        deploy(cluster, model={**model(), "checksum": "sha256:" + "1" * 64})
    assert not cluster.api._requests


@pytest.mark.parametrize(
    ("source", "volume"),
    [("pvc://claim/models/a", {"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}), ("image", None)],
)
def test_a_model_that_is_brought_otherwise_is_checked_by_the_first_container_as_well(
    served: FakeCluster, source: str, volume: Object | None
) -> None:
    result = deploy(served, model=model(uri="file:///only/here"), model_source=source, settings=None)
    pod = one(served, "apps/v1/deployments")["spec"]["template"]["spec"]
    models = [item for item in pod["volumes"] if item["name"] not in ("program", "scratch")]
    assert models == ([{"name": "model", **volume}] if volume else [])
    plan = json.loads(one(served, "v1/configmaps")["data"]["plan.json"])
    assert plan["source"] is None and plan["files"] == MODEL["files"]
    assert served.api.all("v1/secrets") == [] and result["data"]["model_source"] == source.split(":")[0]


def test_a_node_port_is_an_address_of_a_ready_node(served: FakeCluster) -> None:
    address = {
        "addresses": [{"type": "InternalIP", "address": "10.1.2.3"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    served.do(served.api.keep("v1/nodes", {"metadata": {"name": "n"}, "status": address}))
    url = deploy(served, service_type="NodePort")["output"]["url"]
    assert url == "http://10.1.2.3:30080"


def test_a_deployed_model_is_taken_down_with_all_that_belongs_to_it(served: FakeCluster) -> None:
    deploy(served)
    result = undeploy(served.resource, "delay")
    assert (result["data"]["namespace"], result["data"]["removed"]) == ("work", "delay")
    made = sorted(item["kind"] for item in result["data"]["objects"])
    assert made == ["ConfigMap", "Deployment", "NetworkPolicy", "Secret", "Service", "ServiceAccount"]
    assert result["metrics"]["objects"] == 6
    for resource in ("apps/v1/deployments", "v1/services", "v1/configmaps", "v1/secrets"):
        assert served.api.all(resource) == []


def test_taking_down_what_is_not_there_names_what_is(served: FakeCluster) -> None:
    deploy(served)
    with pytest.raises(NotFound, match="Deployed models there: delay"):
        undeploy(served.resource, "dealy")


def die(*_: object) -> NoReturn:
    raise Killed


def test_a_repeat_of_a_taking_down_that_was_cut_short_tells_the_same(
    served: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namesake that was deployed since stays, and a name that was never there is wrong still."""
    settings = {"storage_uri": f"file://{tmp_path}"}
    deploy(served)
    with monkeypatch.context() as patched:
        patched.setattr(undeployment.Undeployment, "_is_gone", die)
        with pytest.raises(Killed):
            undeploy(served.resource, "delay", settings=settings)
    assert served.api.all("apps/v1/deployments") == []
    result = undeploy(served.resource, "delay", settings=settings)
    assert sorted(item["kind"] for item in result["data"]["objects"])[:2] == ["ConfigMap", "Deployment"]
    assert result["metrics"]["objects"] == 6
    deploy(served)
    assert undeploy(served.resource, "delay", settings=settings) == result
    assert one(served, "apps/v1/deployments")
    with pytest.raises(NotFound, match="Deployed models there: delay"):
        undeploy(served.resource, "dealy", settings=settings)


def test_taking_down_what_is_not_ours_is_refused(cluster: FakeCluster) -> None:
    theirs = {"metadata": {"name": "web", "namespace": "work", "labels": {}}, "spec": {}}
    cluster.do(cluster.api.keep("apps/v1/deployments", theirs))
    with pytest.raises(NotFound, match="was not deployed by flexcore"):
        undeploy(cluster.resource, "web")
    assert one(cluster, "apps/v1/deployments")


def test_a_load_balancer_that_gives_no_address_is_reported(served: FakeCluster) -> None:
    with pytest.raises(Unavailable, match="No load balancer") as caught:
        deploy(served, service_type="LoadBalancer", timeout_s=1)
    assert caught.value.subject == "service_type"


def test_a_model_that_mlserver_cannot_read_is_refused_before_anything_is_created(served: FakeCluster) -> None:
    files = [{"path": name, "bytes": 3, "checksum": "sha256:" + "0" * 64} for name in ("pipeline.json", "model.ubj")]
    with pytest.raises(InvalidInput, match=r"reads model\.joblib, which delay 1 was stored without") as caught:
        deploy(served, model=model(files=files, format="xgboost-ubj"))
    assert "settings.pickle at export" in caught.value.remedy
    assert served.api.all("apps/v1/deployments") == []
    assert deploy(served, model=model(files=files, format="xgboost-ubj"), image="registry.local/own:1")["success"]
