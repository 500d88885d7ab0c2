"""A Ray cluster on Kubernetes as a form, and the objects that are made of it."""

from typing import Any

import pytest

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import cluster_spec, kuberay_ownership
from f.flexcore.lib.ray.cluster_spec import ClusterSpec

LABELS = {"app.kubernetes.io/managed-by": "flexcore", "flexcore/owner-job": "j"}


def parse(**fields: Any) -> ClusterSpec:
    return errors.validate(ClusterSpec, fields, "spec")


def manifest(spec: ClusterSpec, **options: Any) -> dict[str, Any]:
    return cluster_spec.cluster_manifest(spec, "ml", "work", LABELS, **options)


def pods(body: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [body["headGroupSpec"], *body["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container.get("env", [])}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ray_version": "latest"}, "spec.ray_version"),
        ({"head_cpu": "two"}, "spec.head_cpu"),
        ({"head_memory": "500m"}, "spec.head_memory"),
        ({"groups": [{"min_workers": 3, "max_workers": 2}]}, "min_workers 3 is more than max_workers 2"),
        ({"groups": [{"name": "a"}, {"name": "a"}]}, "groups: two are named a"),
        ({"groups": [{"name": "headgroup"}]}, "headgroup is the name of the head's own group"),
        ({"groups": [{"name": "GPU"}]}, "spec.groups.0.name"),
        ({"groups": [{"gpus": -1}]}, "spec.groups.0.gpus"),
        ({"fault_tolerance": "redis"}, "fault_tolerance redis needs redis_address"),
        ({"fault_tolerance": "rocksdb"}, "fault_tolerance rocksdb needs gcs_volume_claim"),
        ({"redis_address": "redis:6379"}, "redis_address is for fault_tolerance redis, which is none"),
        ({"gcs_volume_claim": "tables"}, "gcs_volume_claim is for fault_tolerance rocksdb, which is none"),
        ({"workers": 3}, "spec.workers is not a known field"),
        ({"idle_timeout_s": 0}, "spec.idle_timeout_s"),
    ],
)
def test_a_form_that_cannot_be_right_is_refused_by_the_name_of_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        parse(**fields)
    assert message in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["", "ML", "1st", "a" * 54, "a.b", "a-", "-a"])
def test_a_name_that_kuberay_refuses_is_refused_before(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name of a Ray cluster"):
        cluster_spec.check_cluster_name(name)


def test_requests_are_limits_in_every_container_and_no_container_restarts_in_its_pod() -> None:
    spec = parse(head_cpu="500m", groups=[{"name": "a", "cpu": "2", "memory": "3Gi", "gpus": 1}, {"name": "b"}])
    body = manifest(spec)["spec"]
    for pod in pods(body):
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert pod["restartPolicy"] == "Never"
    assert body["autoscalerOptions"]["resources"]["requests"] == body["autoscalerOptions"]["resources"]["limits"]
    worker = body["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert worker["resources"]["limits"] == {"cpu": "2", "memory": "3Gi", "nvidia.com/gpu": "1"}


def test_every_container_keeps_the_restricted_pod_security_standard() -> None:
    body = manifest(parse())["spec"]
    for pod in pods(body):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["containers"][0]["securityContext"] == body["autoscalerOptions"]["securityContext"]
    assert body["autoscalerOptions"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(("least", "most", "scales"), [(0, 3, True), (2, 2, False), (1, 2, True)])
def test_ray_scales_a_cluster_whose_groups_have_a_range(least: int, most: int, scales: bool) -> None:
    body = manifest(parse(groups=[{"min_workers": least, "max_workers": most}], idle_timeout_s=30))["spec"]
    assert body.get("enableInTreeAutoscaling", False) is scales
    group = body["workerGroupSpecs"][0]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (least, least, most)
    if scales:
        assert body["autoscalerOptions"]["version"] == "v2"
        assert body["autoscalerOptions"]["idleTimeoutSeconds"] == 30


def test_labels_tolerations_node_selector_and_idle_time_out_reach_their_group() -> None:
    group = {
        "name": "gpu",
        "labels": {"accelerator": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "node_selector": {"pool": "gpu"},
        "idle_timeout_s": 7,
    }
    body = manifest(parse(groups=[group, {"name": "cpu"}], head_labels={"role": "head"}))["spec"]
    gpu, cpu = body["workerGroupSpecs"]
    assert (gpu["labels"], gpu["idleTimeoutSeconds"]) == ({"accelerator": "a100"}, 7)
    assert gpu["template"]["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert gpu["template"]["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert not {"labels", "idleTimeoutSeconds"} & set(cpu)
    assert body["headGroupSpec"]["labels"] == {"role": "head"}


def test_the_head_takes_no_tasks_unless_it_shall() -> None:
    assert manifest(parse())["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "num-cpus" not in manifest(parse(head_takes_work=True))["spec"]["headGroupSpec"]["rayStartParams"]


def test_the_token_comes_from_a_secret_in_every_container_where_the_crd_has_no_auth_options() -> None:
    found = manifest(parse())
    body = found["spec"]
    for container in [*(pod["containers"][0] for pod in pods(body)), body["autoscalerOptions"]]:
        variables = env(container)
        assert variables["RAY_AUTH_MODE"] == "token"
        assert variables["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "ml", "key": "auth_token"}}
    assert kuberay_ownership.find_token_key(found) == ("ml", "auth_token")


def test_the_token_is_left_to_auth_options_where_the_crd_has_them() -> None:
    found = manifest(parse(), has_auth_options=True)
    assert found["spec"]["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH_MODE" not in str(found["spec"]["headGroupSpec"])
    assert kuberay_ownership.find_token_key(found) == ("ml", "auth_token")


def test_a_cluster_without_token_says_so_nowhere() -> None:
    found = manifest(parse(token_auth=False), has_auth_options=True)
    assert "authOptions" not in found["spec"]
    assert "RAY_AUTH" not in str(found)
    assert kuberay_ownership.find_token_key(found) is None


def test_the_secret_holds_the_token_and_the_owner() -> None:
    secret = cluster_spec.token_secret("ml", "work", LABELS, "t0ken")
    assert secret["metadata"] == {"name": "ml", "namespace": "work", "labels": LABELS}
    assert secret["stringData"] == {"auth_token": "t0ken"}


def test_redis_keeps_the_heads_tables_by_kuberays_own_option() -> None:
    spec = parse(fault_tolerance="redis", redis_address="redis:6379", redis_secret="redis")
    options = manifest(spec)["spec"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis:6379"
    assert options["redisPassword"]["valueFrom"] == {"secretKeyRef": {"name": "redis", "key": "password"}}


def test_rocksdb_keeps_the_heads_tables_on_its_volume_and_lets_workers_wait_for_it() -> None:
    body = manifest(parse(fault_tolerance="rocksdb", gcs_volume_claim="tables"))["spec"]
    head, worker = pods(body)
    variables = env(head["containers"][0])
    assert (variables["RAY_gcs_storage"], variables["RAY_gcs_storage_path"]) == ("rocksdb", "/flexcore-gcs")
    assert head["volumes"] == [{"name": "gcs", "persistentVolumeClaim": {"claimName": "tables"}}]
    assert head["containers"][0]["volumeMounts"] == [{"name": "gcs", "mountPath": "/flexcore-gcs"}]
    assert env(worker["containers"][0])["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"
    assert "RAY_AUTH_TOKEN" in variables


def test_the_network_policy_lets_out_dns_the_api_server_and_what_is_allowed() -> None:
    policy = cluster_spec.network_policy(parse(allow_to=["10.0.0.0/8"]), "ml", "work", LABELS)["spec"]
    assert policy["podSelector"] == {"matchLabels": {"ray.io/cluster": "ml"}}
    itself, dns, api, allowed = policy["egress"]
    assert itself == {"to": [{"podSelector": {"matchLabels": {"ray.io/cluster": "ml"}}}]}
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert {port["port"] for port in api["ports"]} == {443, 6443}
    assert allowed == {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}


def test_only_dashboard_serve_and_metrics_are_reached_from_outside() -> None:
    policy = cluster_spec.network_policy(parse(allow_from=["10.1.0.0/16"]), "ml", "work", LABELS)["spec"]
    itself, outside, metrics = policy["ingress"]
    assert itself["from"] == [{"podSelector": {"matchLabels": {"ray.io/cluster": "ml"}}}]
    assert outside["from"] == [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    assert {port["port"] for port in outside["ports"]} == {8265, 8000}
    assert {port["port"] for port in metrics["ports"]} == {8080}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"address": "http://a:1", "name": "ml"}, "address and name name different clusters"),
        ({"address": "http://a:1", "resource": "f/x/y"}, "address and resource name different clusters"),
        ({"kubernetes_cluster": "f/x/k", "local_head": "h"}, "name and local_head name different clusters"),
    ],
)
def test_a_resource_names_one_cluster_alone(fields: dict[str, str], problem: str) -> None:
    from f.flexcore.lib.core import resources

    with pytest.raises(errors.InvalidInput, match=problem):
        errors.validate(resources.RayCluster, fields, "cluster")
