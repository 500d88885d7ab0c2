"""From the cluster resource to server, trust and credentials."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.core.errors import InvalidInput, MissingSetting
from f.flexcore.core.resources import KubernetesCluster
from f.flexcore.kubernetes.access import access_to, namespace_of

NOWHERE = Path("/nonexistent")


def kubeconfig(user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **context: Any) -> str:
    text: dict[str, Any] = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u", **context}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "t0ken-secret"} if user is None else user}],
    }
    return yaml.safe_dump(text)


def access(**resource: Any) -> Any:
    return access_to(KubernetesCluster(**resource), {}, NOWHERE)


def test_a_kubeconfig_gives_server_trust_token_and_namespace() -> None:
    data = base64.b64encode(b"PEM").decode()
    text = kubeconfig(cluster={"certificate-authority-data": data, "tls-server-name": "k8s"}, namespace="team")
    found = access(kubeconfig=text)
    assert (found.server, found.ca, found.bearer()) == ("https://10.0.0.1:6443", "PEM", "t0ken-secret")
    assert (found.tls_server_name, found.namespace, found.verify) == ("k8s", "team", True)


def test_a_client_certificate_is_read_from_the_text_itself() -> None:
    data = base64.b64encode(b"KEY").decode()
    found = access(kubeconfig=kubeconfig({"client-certificate-data": data, "client-key-data": data}))
    assert (found.client_certificate, found.client_key, found.bearer()) == ("KEY", "KEY", "")


def test_credentials_do_not_show_in_a_representation() -> None:
    assert "t0ken-secret" not in repr(access(kubeconfig=kubeconfig()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("just words", "is not a kubeconfig"),
        ("{broken", "is not a kubeconfig"),
        (kubeconfig({"exec": {"command": "aws"}}), "by the program 'aws'"),
        (kubeconfig({"auth-provider": {"name": "gcp"}}), "by the program 'gcp'"),
        (kubeconfig({"username": "a", "password": "b"}), "user name and password"),
        (kubeconfig({"client-certificate": "certs/me.crt"}), "by the relative path certs/me.crt"),
        (kubeconfig({"client-key": "/nonexistent/me.key"}), "cannot read"),
        (kubeconfig({"client-key-data": "%%%"}), "is not base64"),
        (kubeconfig(cluster={"server": "10.0.0.1"}), "no usable server address"),
    ],
)
def test_a_kubeconfig_that_no_worker_can_use_is_refused_with_the_way_out(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        access(kubeconfig=text)
    assert caught.value.subject == "cluster.kubeconfig" and caught.value.remedy


def test_an_unknown_context_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match="Choose one of: a") as caught:
        access(kubeconfig=kubeconfig(), context="b")
    assert caught.value.subject == "cluster.context"


def test_server_and_token_are_both_needed() -> None:
    found = access(server="https://k:6443", token="abc")
    assert (found.server, found.bearer()) == ("https://k:6443", "abc")
    with pytest.raises(MissingSetting, match=r"cluster\.token"):
        access(server="https://k:6443")


def test_in_cluster_reads_the_service_account_anew_each_time(tmp_path: Path) -> None:
    for name, text in {"token": "first\n", "ca.crt": "PEM", "namespace": "here"}.items():
        (tmp_path / name).write_text(text)
    found = access_to(KubernetesCluster(), {}, tmp_path)
    assert (found.server, found.bearer(), found.namespace) == ("https://kubernetes.default.svc", "first", "here")
    (tmp_path / "token").write_text("second")
    assert found.bearer() == "second"
    env = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert access_to(KubernetesCluster(), env, tmp_path).server == "https://10.96.0.1:443"


def test_no_cluster_at_all_is_told_as_a_missing_resource() -> None:
    with pytest.raises(MissingSetting, match="c_kubernetes_cluster"):
        access()


@pytest.mark.parametrize(
    ("asked", "resource", "expected"),
    [
        ("asked", {"namespace": "resource"}, "asked"),
        ("", {"namespace": "resource"}, "resource"),
        ("", {}, "context"),
    ],
)
def test_the_namespace_is_the_nearest_that_is_given(asked: str, resource: dict[str, str], expected: str) -> None:
    cluster = KubernetesCluster(kubeconfig=kubeconfig(namespace="context"), **resource)
    assert namespace_of(cluster, access_to(cluster), asked, "default") == expected
