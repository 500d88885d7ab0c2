"""Every pod that lib/kubernetes and lib/ray write passes Pod Security "restricted", and carries what it must.

The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/ (v1.36); real namespaces
that enforce them are in tests/live (test_model_server, test_ray_clusters). What operators add by themselves (KubeRay's
own containers, KServe's storage initializer) is not written here and cannot be checked here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from f.flexcore.lib import kubernetes as package
from f.flexcore.lib.core import contracts, identity, resources
from f.flexcore.lib.kubernetes import (
    autoscaler,
    inference_service,
    isolation,
    job_manifest,
    model_delivery,
    model_deployer,
    serving_manifests,
)
from f.flexcore.lib.ray import cluster_spec
from tests.kubernetes.test_deploy_model import SETTINGS, model

Object = dict[str, Any]
KEY = identity.execution_key({"WM_JOB_ID": "j", "WM_FLOW_PATH": "f/sales/daily report", "FLEXCORE_TEAM": "Müller & Co"})
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# In a module that makes objects.
WRITES_PODS = re.compile(r'"(containers|template|image|podTemplate)":|Serving\b')
OWNER = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"uid": "u", "name": "delay"}}


def make_serving(server: str = "flexcore", **fields: Any) -> serving_manifests.Serving:
    manifest = contracts.ModelManifest.model_validate(model())
    settings = resources.Settings.model_validate(SETTINGS)
    own = model_delivery.Server(1) if server == "flexcore" else None
    delivery = model_delivery.make_delivery(manifest, model_delivery.parse_source(""), settings, own)
    scaling = autoscaler.Scaling(max_replicas=3)
    given = {"scaling": scaling, "store_endpoint": settings.storage_endpoint_url, **fields}
    return serving_manifests.Serving(manifest, delivery, "delay", "work", KEY, server=server, **given)


def make_job(**fields: Any) -> Object:
    request = job_manifest.JobRequest(image="docker.io/library/busybox:1.37", command=["true"], **fields)
    return job_manifest.make_job_body(request, KEY, 1, "work", "call", "2030-01-01T00:00:00Z")


def make_plan() -> model_deployer.Plan:
    return model_deployer.Plan(make_serving(), None, False, {})


# How each make_* of lib/kubernetes is called; None for those whose result is a part of another's, or no object.
CALLS: dict[str, Callable[[], Any] | None] = {
    "autoscaler.make_autoscaler": lambda: autoscaler.make_autoscaler(make_serving().scaling, {"name": "delay"}),
    "autoscaler.make_budget": lambda: autoscaler.make_budget(make_serving().scaling, {"name": "delay"}, {}),
    "autoscaler.make_query": None,
    "autoscaler.make_scaled_object": None,
    "inference_service.make_budget": None,
    "inference_service.make_inference_service": lambda: inference_service.make_inference_service(
        make_serving(mode="kserve")
    ),
    "isolation.make_companions": lambda: [body for _, body in isolation.make_companions(make_serving(), OWNER)],
    "isolation.make_network_policy": lambda: isolation.make_network_policy(make_serving(), OWNER),
    "isolation.make_service_account": lambda: isolation.make_service_account(make_serving(), OWNER),
    "isolation.make_store_rule": None,
    "job_manifest.make_job_body": make_job,
    "model_delivery.make_delivery": None,
    "model_deployment.make_scaling": None,
    "pod_spec.make_environment": None,
    "pod_spec.make_resources": None,
    "pod_spec.make_security_context": None,
    # Other amounts in a template that is there.
    "right_sizing_template.make_changes": None,
    "right_sizing_template.make_template": None,
    "right_sizing_template.make_template_before": None,
    "serving_manifests.make_config_map": lambda: serving_manifests.make_config_map(make_serving(), OWNER),
    "serving_manifests.make_deployment": lambda: make_plan().make_deployment({}),
    "serving_manifests.make_fetcher": None,
    "serving_manifests.make_metadata": None,
    "serving_manifests.make_pod_template": lambda: serving_manifests.make_pod_template(make_serving("mlserver")),
    "serving_manifests.make_secret": lambda: serving_manifests.make_secret(make_serving(), OWNER),
    "serving_manifests.make_server": None,
    "serving_manifests.make_service": lambda: serving_manifests.make_service(make_serving(), OWNER),
    "serving_manifests.make_volumes": None,
}


def find_pods(value: Any) -> Iterator[Object]:
    """Every pod spec within an object."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for item in value.values():
            yield from find_pods(item)
    elif isinstance(value, list):
        for item in value:
            yield from find_pods(item)


def find_violations(pod: Object) -> list[str]:
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    shared = pod.get("securityContext") or {}
    for volume in pod.get("volumes") or ():
        found += [f"volume {kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
        own = container.get("securityContext") or {}
        name, both = container["name"], {**shared, **own}
        wanted = {
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": (own.get("capabilities") or {}) == {"drop": ["ALL"]},
            "privileged": not own.get("privileged"),
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": (both.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
            "hostPort": not any(port.get("hostPort") for port in container.get("ports") or ()),
        }
        found += [f"{name}: {rule}" for rule, is_kept in wanted.items() if not is_kept]
    return found


def test_every_function_that_makes_objects_is_walked_so_that_a_new_one_cannot_be_forgotten() -> None:
    found = set()
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        functions = [
            f"{info.name}.{name}"
            for name, value in inspect.getmembers(module, inspect.isfunction)
            if name.startswith("make_") and value.__module__ == module.__name__
        ]
        # What is made of other kinds has no pods.
        if functions and WRITES_PODS.search(inspect.getsource(module)):
            found |= set(functions)
    assert len(found) > 10
    assert found <= set(CALLS), f"say in CALLS how these are called: {sorted(found - set(CALLS))}"


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call])
def test_what_is_made_passes_restricted_and_has_the_labels_of_costs(name: str) -> None:
    call = CALLS[name]
    assert call is not None
    made = call()
    for pod in find_pods(made):
        assert find_violations(pod) == []
    for item in made if isinstance(made, list) else [made]:
        if name not in ("autoscaler.make_autoscaler", "autoscaler.make_budget", "serving_manifests.make_pod_template"):
            labels = item["metadata"]["labels"]
            assert labels["flexcore/workflow"] == "f.sales.daily_report" and labels["flexcore/team"] == "M_ller___Co"
            assert labels["flexcore/run"] == "j"


def test_the_rules_find_what_they_are_for() -> None:
    pod = {"hostNetwork": True, "volumes": [{"name": "a", "hostPath": {}}], "containers": [{"name": "c"}]}
    found = find_violations(pod)
    assert {"hostNetwork", "volume hostPath", "c: runAsNonRoot", "c: capabilities"} <= set(found)


@pytest.mark.parametrize("server", ["flexcore", "mlserver"])
def test_containers_of_models_have_requests_limits_and_a_read_only_root(server: str) -> None:
    template = serving_manifests.make_deployment(make_serving(server))["spec"]["template"]
    pod = template["spec"]
    assert pod["automountServiceAccountToken"] is False and pod["serviceAccountName"] == "delay"
    assert set(identity.COST_LABELS) <= set(template["metadata"]["labels"])
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}


def test_who_wants_more_says_so() -> None:
    pod = serving_manifests.make_deployment(make_serving(run_as_user=0, writable_root=True))["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"] == {
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    kinds = [kind.kind for kind, _ in isolation.make_companions(make_serving(network_policy=False), OWNER)]
    assert kinds == ["ServiceAccount", "Secret"]


@pytest.mark.parametrize(
    ("endpoint", "rule"),
    [
        ("http://10.0.0.9:9000", {"to": [{"ipBlock": {"cidr": "10.0.0.9/32"}}], "ports": [9000]}),
        ("https://[fd00::9]", {"to": [{"ipBlock": {"cidr": "fd00::9/128"}}], "ports": [443]}),
        ("http://minio.stores.svc:9000", {"to": ["stores"]}),
        ("http://minio.stores.svc.cluster.local", {"to": ["stores"]}),
        ("https://s3.example.com", {"ports": [443]}),
        ("", {"ports": [443]}),
    ],
)
def test_the_way_to_the_store_is_as_narrow_as_a_policy_can_say(endpoint: str, rule: Object) -> None:
    made = isolation.make_store_rule(endpoint)
    if "ports" in rule:
        assert made.pop("ports") == [{"protocol": "TCP", "port": port} for port in rule["ports"]]
    if rule.get("to") == ["stores"]:
        assert made.pop("to") == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "stores"}}}]
    assert made == {key: value for key, value in rule.items() if key == "to" and value != ["stores"]}


def test_a_model_that_is_not_in_the_store_has_no_way_out_but_to_names() -> None:
    serving = make_serving()
    elsewhere = model_delivery.Delivery("image", serving.delivery.files)
    policy = isolation.make_network_policy(
        serving_manifests.Serving(serving.model, elsewhere, "delay", "work", KEY, server="flexcore"), OWNER
    )
    (dns,) = policy["spec"]["egress"]
    assert dns == {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}


@pytest.mark.parametrize("fields", [{}, {"run_as_user": 1234}, {"secrets": {"KEY": "value"}}])
def test_jobs_pass_restricted(fields: Object) -> None:
    (pod,) = find_pods(make_job(**fields))
    assert find_violations(pod) == []


def test_pods_of_ray_clusters_pass_restricted_and_have_the_labels_of_costs() -> None:
    body = cluster_spec.cluster_body(cluster_spec.ClusterSpec(), "token", KEY.labels(1), has_auth_options=True)
    pods = list(find_pods(body))
    assert len(pods) >= 2
    for pod in pods:
        assert find_violations(pod) == []
    for group in (body["headGroupSpec"], *body["workerGroupSpecs"]):
        assert set(identity.COST_LABELS) <= set(group["template"]["metadata"]["labels"])
