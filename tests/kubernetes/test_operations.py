"""The operations of the Kubernetes runtime, as the registry hands them out: what they check without a cluster, what
they plan, and the forms that they are filled in by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import operation, resources
from f.flexcore.lib.core.errors import Forbidden, InvalidInput, NotFound, UserError
from f.flexcore.lib.core.resources import KubernetesCluster, Settings
from tests.kubernetes.fake_cluster import PLURALS, FakeCluster
from tests.kubernetes.manifests import job

STORE = {"storage_uri": "s3://store"}
TOKEN = {"server": "https://10.0.0.1:6443", "token": "t0ken-secret"}


def operation_of(name: str) -> operation.Operation[Any, Any]:
    return runtimes.get_runtime("kubernetes").operation(name)


def check(name: str, fields: dict[str, Any], cluster: Any = TOKEN, settings: Any = STORE) -> None:
    chosen = operation_of(name)
    service = None if cluster is None else KubernetesCluster(**cluster)
    chosen.check(chosen.parse(fields), service, Settings(**(settings or {})))


JOB = {"image": "busybox:1.37"}


@pytest.mark.parametrize(
    ("name", "fields", "cluster", "settings", "subject"),
    [
        ("job", {}, TOKEN, None, "image"),
        ("job", {"image": "two words"}, None, None, "image"),
        ("job", {**JOB, "namespace": "Bad_Name"}, None, None, "namespace"),
        ("job", {**JOB, "cpu": "2Gi"}, None, None, "cpu"),
        ("job", {**JOB, "memory": "500m"}, None, None, "memory"),
        ("job", {**JOB, "wait": "sometimes"}, None, None, "wait"),
        ("job", {**JOB, "dance": True}, None, None, "dance"),
        ("job", JOB, {"server": "https://k:port", "token": "t"}, None, "cluster.server"),
        ("job", JOB, {"mode": "token", "server": "https://k"}, None, "cluster.token"),
        ("job", JOB, {"kubeconfig": "just words"}, None, "cluster.kubeconfig"),
        ("job", JOB, None, {"namespace": "Bad_Name"}, "namespace"),
        ("job", {"manifest": job(namespace="there"), "namespace": "here"}, None, None, "namespace"),
        ("job", {"manifest": {"apiVersion": "v1", "kind": "Pod"}}, None, None, "manifest.kind"),
        ("deploy_model", {"model_source": "nonsense"}, None, STORE, "model_source"),
        ("deploy_model", {"model_source": "pvc://Bad_Claim/x"}, None, STORE, "model_source"),
        ("deploy_model", {"model_source": "pvc://claim/../x"}, None, STORE, "model_source"),
        ("deploy_model", {"image": "no image"}, None, STORE, "image"),
        ("deploy_model", {"name": "My Model!"}, None, STORE, "name"),
        ("deploy_model", {"namespace": "Bad_Name"}, None, STORE, "namespace"),
        ("deploy_model", {"memory": "500m"}, None, STORE, "memory"),
        ("deploy_model", {"replicas": 0}, None, STORE, "replicas"),
        ("deploy_model", {"model": {"uri": "s3://x"}}, None, STORE, "model.format"),
        ("deploy_model", {}, None, None, "settings.storage_uri"),
        ("deploy_model", {}, None, {"storage_uri": "file:///data"}, "settings.storage_uri"),
        (
            "deploy_model",
            {},
            None,
            {**STORE, "storage_endpoint_url": "http://localhost:9000"},
            "settings.storage_endpoint_url",
        ),
        (
            "deploy_model",
            {},
            None,
            {**STORE, "storage_endpoint_url": "http://[::1]:9000"},
            "settings.storage_endpoint_url",
        ),
    ],
)
def test_whatever_needs_no_cluster_is_refused_by_the_name_of_its_field(
    name: str, fields: dict[str, Any], cluster: Any, settings: Any, subject: str
) -> None:
    with pytest.raises(UserError) as caught:
        check(name, fields, cluster, settings)
    assert caught.value.subject == subject


@pytest.mark.parametrize("cluster", [TOKEN, None, {}, {"mode": "in_cluster"}])
@pytest.mark.parametrize(
    ("name", "fields", "settings"),
    [
        ("job", JOB, None),
        ("job", {"manifest": job(namespace="there")}, None),
        ("deploy_model", {}, STORE),
        ("deploy_model", {"model_source": "pvc://claim/models/a"}, None),
        ("deploy_model", {"cpu": "2", "model_source": "image"}, None),
    ],
)
def test_what_may_be_right_passes_wherever_its_cluster_is(
    name: str, fields: dict[str, Any], settings: Any, cluster: Any
) -> None:
    check(name, fields, cluster, settings)


def test_a_model_that_is_not_handed_on_is_missing_when_it_is_to_be_deployed(cluster: FakeCluster) -> None:
    with pytest.raises(InvalidInput, match="model is missing") as caught:
        operation_of("deploy_model").run({"cluster": cluster.resource, "settings": STORE})
    assert caught.value.subject == "model" and not cluster.api._requests


@pytest.mark.parametrize(("name", "fields"), [("job", JOB), ("deploy_model", {})])
def test_a_plan_says_where_the_work_would_run_and_changes_nothing(
    cluster: FakeCluster, name: str, fields: dict[str, Any]
) -> None:
    chosen = operation_of(name)
    invocation = chosen.invoke({"cluster": cluster.resource, "settings": STORE, **fields})
    result = chosen.plan(invocation)
    assert result.success and result.data["namespace"] == "work" and result.data["version"]
    others = [item for item in cluster.api._requests if "selfsubject" not in str(item.url)]
    assert {item.method.value for item in others if item.params.get("dryRun") != "All"} == {"GET"}
    assert not any(cluster.api.all(kind) for kind in PLURALS)
    cluster.api.denied = {"list pods"}
    with pytest.raises(Forbidden, match="list pods"):
        chosen.plan(invocation)
    with pytest.raises(NotFound, match="nowhere"):
        chosen.plan(chosen.invoke({"cluster": cluster.resource, "settings": STORE, **fields, "namespace": "nowhere"}))


def test_what_may_hold_secrets_in_the_form_of_a_job_is_marked() -> None:
    request = operation_of("job").request
    assert set(resources.marked_fields(request)) == {"secrets", "env", "manifest", "options", "inputs"}
    form = request(secrets={"A": "sesame-1"}, env=["B=x"], manifest=job())
    assert "sesame-1" in list(resources.secret_values(form))
    assert not {"secrets", "env", "manifest"} & set(resources.dump_public(form))


@pytest.mark.parametrize(("name", "step"), [("job", "run_job"), ("deploy_model", "deploy_model")])
def test_the_form_of_a_step_is_that_of_its_request(name: str, step: str) -> None:
    schema = yaml.safe_load(Path(f"f/flexcore/kubernetes/{step}.script.yaml").read_text())["schema"]
    fields = operation_of(name).request.model_fields
    shown = [field for field in schema["order"] if field not in ("cluster", *operation.CONTEXT)]
    assert [field for field in fields if field in shown] == shown
    for field in shown:
        written = schema["properties"][field]
        assert fields[field].description == " ".join(written["description"].split()), field
        default = fields[field].get_default(call_default_factory=True)
        assert written["default"] == default or (written["default"] is None and not default), field


def test_the_registry_gives_the_pipelines_the_same_choice_of_a_namespace_as_the_step_makes() -> None:
    runtime = runtimes.get_runtime("kubernetes")
    choose = operation.resolve(runtime.namespace)
    request = runtime.operation("job").parse({**JOB, "namespace": "form"})
    settings = Settings(namespace="settings")
    assert choose(request, KubernetesCluster(**TOKEN), settings, "") == "form"
    assert choose(None, KubernetesCluster(**TOKEN), settings, "") == "settings"
    assert choose(None, None, Settings(), "flext-production") == "flext-production"
