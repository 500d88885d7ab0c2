"""Plans of Jobs and deployments against a Kubernetes API on loopback: what they say, and that they write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.kubernetes.plan_work import main as plan_work
from f.flexcore.lib.core.errors import Forbidden, InvalidInput, NotFound, Unreachable
from f.flexcore.lib.kubernetes import health
from tests.kubernetes.fake_cluster import PLURALS, FakeCluster, Fault, status
from tests.kubernetes.manifests import job
from tests.kubernetes.test_plan_nodes import TAINT, container, make_node, make_pod

Object = dict[str, Any]
STORE = {"storage_uri": "s3://store", "storage_access_key": "AKIDEXAMPLE", "storage_secret_key": "sesame-store-9"}
JOB = {"image": "busybox:1.37", "command": ["true"], "cpu": "500m", "memory": "64Mi"}
QUOTA = {"metadata": {"name": "small", "namespace": "work"}, "spec": {}}


def keep(cluster: FakeCluster, resource: str, *items: Object) -> None:
    for item in items:
        cluster.do(cluster.api.keep(resource, item))


def plan(cluster: FakeCluster, operation: str = "job", settings: Any = STORE, **fields: Any) -> Object:
    request = {**(JOB if operation == "job" and "manifest" not in fields else {}), **fields}
    return plan_work(cluster.resource, operation, request, settings)  # type: ignore[arg-type]


def texts(result: Object) -> list[str]:
    return [reason["text"] for reason in result["data"]["reasons"]]


def check_nothing_was_written(cluster: FakeCluster) -> None:
    """Every request is a read, a question or a dry run."""
    for request in cluster.api._requests:
        is_question = "selfsubjectaccessreviews" in str(request.url)
        assert request.method.value == "GET" or is_question or request.params.get("dryRun") == "All", request.url


@pytest.fixture
def roomy(cluster: FakeCluster) -> FakeCluster:
    keep(cluster, "v1/nodes", make_node("a"), make_node("b", cpu="2"))
    return cluster


def test_a_job_that_nothing_keeps_back_is_likely(roomy: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    result = plan(roomy)
    data = result["data"]
    assert result["success"] and data["verdict"] == "likely" and data["reasons"] == []
    assert [(item["kind"], item["action"]) for item in data["objects"]] == [("Job", "create")]
    assert data["pod"]["requests"] == {"cpu": "500m", "memory": "64Mi"} and data["pod"]["copies"] == 1
    assert {node["node"]: node["verdict"] for node in data["nodes"]} == {"a": "likely", "b": "likely"}
    assert result["metrics"]["free_cpu"] == 6.0 and result["diagnosis"] is None
    assert "Likely: nothing that was asked keeps it from running" in capsys.readouterr().out
    assert "fits" not in " ".join(data["summary"])
    check_nothing_was_written(roomy)
    assert {kind for kind in PLURALS if roomy.api.all(kind)} == {"v1/nodes"}


def test_a_deployment_tries_every_object_that_it_would_store(roomy: FakeCluster) -> None:
    result = plan(roomy, "deploy_model", name="iris", replicas=2, cpu="200m")
    told = {item["kind"]: item["action"] for item in result["data"]["objects"]}
    assert {"Deployment", "Service", "ConfigMap", "Secret"} <= set(told) and set(told.values()) == {"create"}
    assert result["data"]["pod"]["copies"] == 2 and result["data"]["verdict"] == "likely"
    assert "The model is not trained yet" in " ".join(result["data"]["notes"])
    check_nothing_was_written(roomy)
    assert {kind for kind in PLURALS if roomy.api.all(kind)} == {"v1/nodes"}


def test_what_is_there_is_compared_and_no_key_is_told(roomy: FakeCluster) -> None:
    labels = {"app.kubernetes.io/managed-by": "flexcore", "flexcore/outlives-run": "true"}
    first = plan(roomy, "deploy_model", name="iris", cpu="200m")
    assert first["data"]["verdict"] == "likely"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "iris", "namespace": "work", "labels": labels},
        "spec": {"type": "ClusterIP", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}], "selector": {}},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "iris-model-access", "namespace": "work", "labels": labels},
        "data": {"AWS_SECRET_ACCESS_KEY": "b2xkLWtleS1vZi1vdXJz"},
    }
    keep(roomy, "v1/services", service)
    keep(roomy, "v1/secrets", secret)
    result = plan(roomy, "deploy_model", name="iris", cpu="200m")
    told = {item["kind"]: item for item in result["data"]["objects"]}
    assert told["Service"]["action"] == "update" and told["Deployment"]["action"] == "create"
    assert any("ports" in change["path"] for change in told["Service"]["changes"])
    assert told["Secret"]["action"] == "update"
    shown = str(result)
    assert "sesame-store-9" not in shown and "b2xkLWtleS1vZi1vdXJz" not in shown and "c2VzYW1l" not in shown
    assert any("→ (not shown)" in line or "+ (not shown)" in line for line in result["data"]["summary"])
    check_nothing_was_written(roomy)


@pytest.mark.parametrize(
    ("resource", "kind", "version", "marks", "text"),
    [
        ("apps/v1/deployments", "Deployment", "apps/v1", {}, "was not made by flexcore"),
        ("v1/services", "Service", "v1", {}, "was not made by flexcore"),
        ("apps/v1/deployments", "Deployment", "apps/v1", {"app.kubernetes.io/managed-by": "Helm"}, "managed by Helm"),
        (
            "apps/v1/deployments",
            "Deployment",
            "apps/v1",
            {"argocd.argoproj.io/instance": "shop"},
            "managed by Argo CD (argocd.argoproj.io/instance: shop)",
        ),
    ],
)
def test_an_object_of_that_name_that_is_not_ours_is_refused_by_its_owner(
    roomy: FakeCluster, resource: str, kind: str, version: str, marks: Object, text: str
) -> None:
    metadata = {"name": "iris", "namespace": "work", "labels": marks}
    template = {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    spec = {"template": template} if kind == "Deployment" else {"ports": [{"port": 80}]}
    keep(roomy, resource, {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    result = plan(roomy, "deploy_model", name="iris")
    assert not result["success"] and result["data"]["verdict"] == "will not" and result["data"]["is_refused"]
    assert any(text in reason for reason in texts(result))
    (refused,) = [item for item in result["data"]["objects"] if item["action"] == "refused"]
    assert refused["kind"] == kind and result["diagnosis"]["remedy"]
    check_nothing_was_written(roomy)


def test_all_that_is_wrong_is_told_at_once(roomy: FakeCluster) -> None:
    keep(roomy, "v1/resourcequotas", {**QUOTA, "status": {"hard": {"requests.cpu": "100m"}, "used": {}}})
    result = plan(roomy, gpus=1)
    assert [reason["category"] for reason in result["data"]["reasons"]] == ["quota_exceeded", "unschedulable"]
    assert [reason["subject"] for reason in result["data"]["reasons"]] == ["cpu", "gpus"]
    assert "(and 1 more)" in result["diagnosis"]["detail"] and result["data"]["is_refused"]


def test_a_quota_that_is_used_up_is_waited_for(roomy: FakeCluster) -> None:
    keep(roomy, "v1/resourcequotas", {**QUOTA, "status": {"hard": {"pods": "2"}, "used": {"pods": "2"}}})
    result = plan(roomy)
    assert result["data"]["verdict"] == "will not" and result["success"] and result["diagnosis"] is None
    assert result["data"]["reasons"][0]["waits"] and "it waits" in result["data"]["summary"][0]
    assert result["data"]["quotas"] == [{"name": "small", "resource": "pods", "hard": "2", "used": "2"}]


def test_fewer_pods_at_a_time_are_a_note_for_a_job_and_a_reason_for_a_deployment(roomy: FakeCluster) -> None:
    keep(roomy, "v1/resourcequotas", {**QUOTA, "status": {"hard": {"pods": "3"}, "used": {"pods": "1"}}})
    wide = job(spec={"parallelism": 4, "completions": 8})
    result = plan(roomy, manifest=wide)
    assert result["data"]["verdict"] == "likely" and result["data"]["pod"]["copies"] == 4
    assert any("2 of 4 pods can run at a time" in note for note in result["data"]["notes"])
    deployed = plan(roomy, "deploy_model", name="iris", replicas=4, cpu="100m", memory="100Mi")
    assert deployed["data"]["verdict"] == "will not" and "(2 of 4 pods fit)" in texts(deployed)[0]


@pytest.mark.parametrize(
    ("nodes", "fields", "subject", "text"),
    [
        ([make_node()], {"gpus": 1}, "gpus", "a has no nvidia.com/gpu"),
        ([make_node(taints=[TAINT])], {}, "spec.template.spec.tolerations", "a has the taint gpu=true:NoSchedule"),
        ([make_node("a"), make_node("b")], {"cpu": "9"}, "cpu", "a and 1 other: has 4 cpu at all"),
    ],
)
def test_nodes_that_would_not_take_the_pod_say_why(
    cluster: FakeCluster, nodes: list[Object], fields: Object, subject: str, text: str
) -> None:
    keep(cluster, "v1/nodes", *nodes)
    result = plan(cluster, **fields)
    (reason,) = result["data"]["reasons"]
    assert reason["subject"] == subject and text in reason["text"] and not reason["waits"]
    # Nodes may change: a pipeline is not stopped for it.
    assert not result["success"] and not result["data"]["is_refused"]
    assert {node["verdict"] for node in result["data"]["nodes"]} == {"will not"}


def test_a_full_cluster_is_waited_for(roomy: FakeCluster) -> None:
    for node, cpu in (("a", "4"), ("b", "2")):
        pod = make_pod(container(cpu), name=f"full-{node}")
        keep(roomy, "v1/pods", {**pod, "spec": {**pod["spec"], "nodeName": node}})
    result = plan(roomy)
    assert result["success"] and result["data"]["verdict"] == "will not" and result["data"]["reasons"][0]["waits"]
    assert "has 0 of 4 cpu free" in texts(result)[0]


def test_what_admission_refuses_of_the_pod_is_told_though_its_job_would_be_created(roomy: FakeCluster) -> None:
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    body = status(403, "Forbidden", message)
    roomy.api.faults = [Fault(method="POST", path="/pods", status=403, body=body)]
    result = plan(roomy)
    (reason,) = result["data"]["reasons"]
    assert reason["category"] == "admission_denied" and "violates PodSecurity" in reason["text"]
    assert reason["remedy"].startswith("Set the securityContext fields") and result["data"]["is_refused"]
    assert result["data"]["objects"][0]["action"] == "create"


def test_without_the_right_to_try_pods_limit_ranges_are_worked_out(roomy: FakeCluster) -> None:
    item = {"type": "Container", "default": {"cpu": "300m"}, "max": {"memory": "32Mi"}}
    keep(roomy, "v1/limitranges", {"metadata": {"name": "lr", "namespace": "work"}, "spec": {"limits": [item]}})
    roomy.api.denied = {"create pods"}
    result = plan(roomy, cpu="")
    assert "pods (dry run)" in result["data"]["unseen"] and result["data"]["pod"]["requests"]["cpu"] == "300m"
    assert any("container main gets limits.cpu 300m by LimitRange lr" in note for note in result["data"]["notes"])
    assert "LimitRange lr allows at most 32Mi memory" in texts(result)[0]


def test_what_may_not_be_seen_is_named_and_no_reason(cluster: FakeCluster) -> None:
    cluster.api.denied = {"nodes", "resourcequotas", "limitranges", "leases", "namespaces", "create pods"}
    result = plan(cluster)
    assert (
        result["data"]["verdict"] == "likely" and result["data"]["nodes"] is None and result["data"]["quotas"] is None
    )
    assert {"nodes", "quotas", "limits", "leases", "pods (dry run)"} <= set(result["data"]["unseen"])
    assert set(result["metrics"].values()) == {None}
    assert any("Nodes may not be seen" in note for note in result["data"]["notes"])


def test_an_unknown_field_that_only_the_server_knows_is_told_by_its_path(roomy: FakeCluster) -> None:
    roomy.api.unknown_fields = {"jobs": ("template", "spec.template.spec.hostUsers")}
    result = plan(roomy)
    (reason,) = result["data"]["reasons"]
    assert reason["subject"] == "spec.template.spec.hostUsers" and "unknown field" in reason["text"]
    assert reason["remedy"] == "Correct spec.template.spec.hostUsers and run again."


def test_expired_credentials_are_told_once_with_the_remedy(cluster: FakeCluster) -> None:
    body = status(401, "Unauthorized", "Unauthorized")
    cluster.api.faults = [Fault(method="GET", path="/version", status=401, body=body)]
    with pytest.raises(Forbidden, match="does not accept the credentials") as caught:
        plan(cluster)
    assert caught.value.category == "credentials" and "Renew the token" in caught.value.remedy
    assert len(cluster.api._requests) == 1


def test_credentials_that_expire_in_between_end_the_plan(cluster: FakeCluster) -> None:
    body = status(401, "Unauthorized", "Unauthorized")
    cluster.api.faults = [Fault(method="POST", path="/jobs", status=401, body=body)]
    with pytest.raises(Forbidden, match="does not accept the credentials"):
        plan(cluster)


def test_lost_contact_is_no_answer(cluster: FakeCluster) -> None:
    cluster.api.faults = [Fault(method="GET", path="/version", status=0)] * 50
    with pytest.raises(Unreachable):
        plan(cluster)


def test_another_namespace_of_the_manifest_is_refused_before_the_cluster_is_asked(cluster: FakeCluster) -> None:
    with pytest.raises(InvalidInput, match="the form says here and the manifest there"):
        plan(cluster, manifest=job(namespace="there"), namespace="here")
    assert not cluster.api._requests
    with pytest.raises(NotFound, match="Namespace nowhere does not exist"):
        plan(cluster, namespace="nowhere")


def test_a_cluster_without_kserve_is_told_so(roomy: FakeCluster) -> None:
    result = plan(roomy, "deploy_model", name="iris", mode="kserve")
    assert not result["success"] and any("KServe" in reason for reason in texts(result))
    assert result["data"]["objects"] == []


def test_prices_of_the_cluster_go_before_those_of_the_settings(roomy: FakeCluster) -> None:
    settings = {"runtimes": {"kubernetes": {"price": {"cpu_hour": 1, "memory_gib_hour": 8}}}}
    by_settings = plan(roomy, settings=settings, timeout_s=1800)["data"]["price"]
    assert by_settings == {"usd_per_hour": 1.0, "usd_at_most": 0.5, "unknown": []}
    request = {**JOB, "timeout_s": 1800}
    own = plan_work({**roomy.resource, "cpu_hour_usd": 0.1}, "job", request, settings)["data"]["price"]
    assert own["usd_per_hour"] == 0.55
    assert plan(roomy, gpus=1)["data"]["price"] == {
        "usd_per_hour": None,
        "usd_at_most": None,
        "unknown": ["cpu", "gpu", "memory"],
    }


def test_companions_of_a_manifest_are_tried_too_and_secrets_stay_hidden(roomy: FakeCluster) -> None:
    result = plan(roomy, secrets={"TOKEN": "sesame-open-77"})
    assert [item["kind"] for item in result["data"]["objects"]] == ["Job", "Secret"]
    assert "sesame-open-77" not in str(result)
    check_nothing_was_written(roomy)


def test_an_update_counts_one_more_pod_at_a_time_and_says_what_changes(roomy: FakeCluster) -> None:
    item = {"image": "m:1", "name": "iris"}
    assert plan(roomy, "deploy_model", **item)["data"]["copies_placed"] == 1
    made = [r.data for r in roomy.api._requests if r.method.value == "POST" and r.url.path.endswith("/deployments")][-1]
    keep(roomy, "apps/v1/deployments", {**made, "metadata": {**made["metadata"], "namespace": "work"}})
    result = plan(roomy, "deploy_model", name="iris", image="m:2")
    (deployment,) = [item for item in result["data"]["objects"] if item["kind"] == "Deployment"]
    assert deployment["action"] == "update"
    images = [change for change in deployment["changes"] if change["path"].endswith(".image")]
    assert images and {(change["before"], change["after"]) for change in images} == {("m:1", "m:2")}
    assert any("image: m:1 → m:2" in line for line in result["data"]["summary"])
    check_nothing_was_written(roomy)


def test_an_unknown_operation_is_refused_before_the_cluster_is_asked(cluster: FakeCluster) -> None:
    with pytest.raises(InvalidInput, match="'dance' is not known"):
        plan_work(cluster.resource, "dance", {})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="gpu"):
        plan_work(cluster.resource, "job", {**JOB, "gpu": 1})
    assert not cluster.api._requests


def test_the_roles_that_we_ship_allow_all_that_plans_look_at(roomy: FakeCluster) -> None:
    documents = list(yaml.safe_load_all(Path("resources/kubernetes/rbac-plan.yaml").read_text()))
    granted = {
        f"{verb} {resource}"
        for item in documents
        for rule in item.get("rules") or ()
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    known = [right for operation in ("job", "deploy") for right in health.list_rights(operation)]
    granted |= {f"{right.verb} {right.resource}" for right in known} | {"create selfsubjectaccessreviews"}
    plan(roomy, secrets={"TOKEN": "sesame-open-77"})
    plan(roomy, "deploy_model", name="iris", max_replicas=None)
    asked = set()
    for request in roomy.api._requests:
        if request.resource and request.resource.plural and request.action:
            verb = {"fetch": "get"}.get(request.action.value.lower(), request.action.value.lower())
            asked.add(f"{verb} {request.resource.plural}")
    assert asked and asked <= granted, asked - granted
