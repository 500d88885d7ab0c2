"""What the steps ask of a cluster, against the roles of resources/kubernetes/rbac.yaml: enough for all of it, and what
they grant is asked for somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.kubernetes.undeploy_model import main as undeploy
from f.flexcore.lib.core.errors import FlexcoreError
from f.flexcore.lib.kubernetes import connection, health
from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.stories import deployment_story, kserve_story
from tests.kubernetes.test_deploy_model import answers, deploy, model

KEDA, KSERVE, ARGO = {"keda.sh": ["v1alpha1"]}, {"serving.kserve.io": ["v1beta1"]}, {"argoproj.io": ["v1alpha1"]}
BY_REQUESTS: dict[str, Any] = {
    "max_replicas": 3,
    "scale_on": "requests",
    "scale_target": 5,
    "prometheus_url": "http://p:9090",
}
# Of rollouts that take longer (log, events), generations that have gone, steps that died half-way, shifted replicas,
# and a name that is not deployed.
NOT_PLAYED_HERE = {
    "delete configmaps",
    "delete serviceaccounts",
    "delete services",
    "get configmaps",
    "get pods/log",
    "list events",
    "list inferenceservices.serving.kserve.io",
    "list services",
}


def list_granted(role: str) -> set[str]:
    documents = yaml.safe_load_all(Path("resources/kubernetes/rbac.yaml").read_text())
    rules = next(item["rules"] for item in documents if (item["kind"], item["metadata"]["name"]) == ("Role", role))
    found = set()
    for rule in rules:
        for resource in rule["resources"]:
            plural, _, subresource = resource.partition("/")
            found |= {str(health.Right(verb, rule["apiGroups"][0], plural, subresource)) for verb in rule["verbs"]}
    return found


def list_asked(cluster: FakeCluster) -> set[str]:
    """The rights that the requests so far take, but for those that everybody has."""
    found = set()
    for request in cluster.api._requests:
        resource = request.resource
        if resource is None or not resource.plural or resource.plural in ("selfsubjectaccessreviews", "namespaces"):
            continue
        verb = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}[request.method.value]
        if verb == "get" and not request.name:
            verb = "watch" if request.params.get("watch") else "list"
        found.add(str(health.Right(verb, resource.group or "", resource.plural, str(request.subresource or ""))))
    # A path behind a proxy is no other resource.
    return {right.partition("/proxy")[0] + "/proxy" if "/proxy" in right else right for right in found}


def test_the_role_for_deployments_allows_all_that_they_ask_for_and_little_else(cluster: FakeCluster) -> None:
    api = cluster.api
    api.proxied = answers
    for groups, story, changes in (
        (ARGO, deployment_story(), {"replicas": 2, "max_replicas": 3}),
        ({}, deployment_story(), {"model": model(version="2"), "settings": {}, "model_source": "image"}),
        ({}, deployment_story(), {"model": model(version="3"), "network_policy": False}),
        (KEDA, deployment_story(), BY_REQUESTS),
        (KEDA, deployment_story(), {}),
        ({}, deployment_story({"waiting": {"reason": "InvalidImageName"}}, available=False), {"image": "m:bad"}),
        (KSERVE, kserve_story(), {"mode": "kserve", "name": "other", "replicas": 2}),
    ):
        api.groups, api.story = {**api.groups, **groups}, story
        try:
            deploy(cluster, **changes)
        except FlexcoreError as error:
            assert changes.get("image") == "m:bad", error
    for name in ("delay", "other"):
        undeploy(cluster.resource, name)
    asked, granted = list_asked(cluster), list_granted("flexcore-deploy")
    assert asked <= granted, asked - granted
    assert granted - asked <= NOT_PLAYED_HERE, granted - asked - NOT_PLAYED_HERE


@pytest.mark.parametrize("served", [{}, KSERVE])
def test_a_right_for_an_operator_is_missed_only_where_the_operator_is(
    cluster: FakeCluster, served: dict[str, list[str]]
) -> None:
    cluster.api.denied = {"inferenceservices", "scaledobjects", "rollouts"}
    cluster.api.groups |= served
    kubernetes = connection.connect(cluster.resource, "work").kubernetes
    missing = health.find_missing_rights(kubernetes, "work", "deploy")
    named = {right.partition(" ")[2] for right in missing}
    assert named == ({"inferenceservices.serving.kserve.io"} if served else set())
