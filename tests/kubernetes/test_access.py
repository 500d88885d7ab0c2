"""From the cluster resource to server, trust and credentials."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core.errors import InvalidInput, MissingSetting, UserError
from f.flexcore.lib.core.resources import KubernetesCluster, Settings
from f.flexcore.lib.kubernetes.connection import choose_namespace, choose_request_namespace, connect
from f.flexcore.lib.kubernetes.job_manifest import JobRequest
from f.flexcore.lib.kubernetes_api.credentials import from_kubeconfig, resolve_access
from tests.kubernetes.manifests import job

CA = "-----BEGIN CERTIFICATE-----\n" + "c2FtcGxl" * 8 + "\nYQ==\n-----END CERTIFICATE-----\n"
CA_DATA = base64.b64encode(CA.encode()).decode()
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
    return resolve_access(KubernetesCluster(**resource), {}, NOWHERE)


def test_a_kubeconfig_gives_server_trust_token_and_namespace() -> None:
    data = base64.b64encode(CA.encode()).decode()
    text = kubeconfig(cluster={"certificate-authority-data": data, "tls-server-name": "k8s"}, namespace="team")
    found = access(kubeconfig=text)
    assert (found.server, found.ca, found.bearer()) == ("https://10.0.0.1:6443", CA, "t0ken-secret")
    assert (found.tls_server_name, found.namespace, found.verify) == ("k8s", "team", True)


def test_a_client_certificate_is_read_from_the_text_itself() -> None:
    data = base64.b64encode(CA.encode()).decode()
    # kubectl, too, runs no program where a certificate is at hand.
    user = {"client-certificate-data": data, "client-key-data": data, "exec": {"command": "aws"}}
    found = access(kubeconfig=kubeconfig(user))
    assert (found.client_certificate, found.client_key, found.bearer()) == (CA, CA, "")


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
        (kubeconfig({"client-key-data": "UEVN"}), "is not PEM"),
        (kubeconfig(cluster={"certificate-authority-data": "/w=="}), "is not base64 of PEM"),
        (kubeconfig({"client-certificate-data": CA_DATA}), "a client-certificate without a client-key"),
        (kubeconfig({"token": "t", "as": "jane"}), r"another user \(as\)"),
        (kubeconfig({"token": "t", "as-groups": ["a"], "as-uid": "1"}), r"\(as-uid, as-groups\)"),
        (kubeconfig({"token": "t", "as-user-extra": {"reason": ["x"]}}), r"\(as-user-extra\)"),
        (kubeconfig({"token": "t", "username": "a", "password": "b"}), "user name and password"),
        (kubeconfig({"password": "b"}), "user name and password"),
        (kubeconfig({"client-key-data": CA_DATA}), "a client-key without a client-certificate"),
        (kubeconfig({"exec": {"command": "aws"}, "client-certificate": ""}), "by the program 'aws'"),
        (kubeconfig({"token": "two planted words"}), "no token has"),
        (kubeconfig({"tokenFile": "token"}), "by the relative path token"),
        (
            kubeconfig(cluster={"certificate-authority-data": CA_DATA, "insecure-skip-tls-verify": True}),
            "kubectl refuses",
        ),
        (kubeconfig(cluster={"insecure-skip-tls-verify": "perhaps"}), "insecure-skip-tls-verify that is neither true"),
        (kubeconfig(cluster={"disable-compression": 7}), "disable-compression that is neither true"),
        (kubeconfig(cluster={"proxy-url": "ftp://x:1"}), "proxy-url that does not begin with"),
        (kubeconfig(cluster={"server": "https://joe:planted@k:6443"}), "a user name or a password in its server"),
        (kubeconfig(cluster={"server": "https://k:port"}), "no usable server address"),
        (kubeconfig(cluster={"server": None}), r"no usable server address \(empty\)"),
        (kubeconfig(user=None).replace("user: u", "user: ghost"), "user 'ghost', which is not there. Its users are: u"),
        (kubeconfig().replace("cluster: c", "cluster: d"), "cluster 'd', which is not there. Its clusters are: c"),
        (kubeconfig().replace("users:", "others:"), "user 'u', which is not there. Its users are: none"),
        (kubeconfig() + "kind: Pod\n", "it is Pod of v1"),
        ("/home/me/.kube/config:/home/me/.kube/prod.yaml", "it is a path or a list of paths"),
        ("~/.kube/config", "it is a path or a list of paths"),
        ("KUBECONFIG=/a:/b\n", "it is a path or a list of paths"),
        (r"C:\Users\me\.kube\config;D:\other", "it is a path or a list of paths"),
        ("- /home/me/.kube/config\n- /other", "it is a list"),
        (base64.b64encode(kubeconfig().encode()).decode(), "it is base64. Decode it"),
        (kubeconfig().replace("  user: u", "\tuser: u"), "there is a tab at line"),
        (kubeconfig().replace("- name: u", "- name: 'u"), r"line \d+ is not valid YAML"),
        (kubeconfig() + "\x1b", "characters that are not text"),
        ("[" * 5000, "is not a kubeconfig"),
        ("users: {u: {token: planted}}", "its users are not a list"),
        ("users: [planted]", "each of its users must have a name"),
        ("contexts: [{name: a, context: planted}]", "the context 'a' that is not a mapping"),
        ("", "is empty"),
        (kubeconfig(cluster={"server": "10.0.0.1"}), "no usable server address"),
    ],
)
def test_a_kubeconfig_that_no_worker_can_use_is_refused_with_the_way_out(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        from_kubeconfig(text)
    assert caught.value.subject == "cluster.kubeconfig" and caught.value.remedy
    assert "planted" not in str(caught.value)


def test_an_unknown_context_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match="Choose one of: a") as caught:
        access(kubeconfig=kubeconfig(), context="b")
    assert caught.value.subject == "cluster.context"


@pytest.mark.parametrize("section", ["users", "clusters", "contexts"])
def test_a_name_that_is_there_twice_is_refused_as_kubectl_does_whether_it_is_used_or_not(section: str) -> None:
    config = yaml.safe_load(kubeconfig())
    config[section] += [{"name": "other"}, {"name": "other"}]
    with pytest.raises(InvalidInput, match=f"two {section} named 'other'"):
        from_kubeconfig(yaml.safe_dump(config))


PLAIN = f"""\
apiVersion: v1
kind: Config
current-context: a
clusters:
- name: c
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority-data: {CA_DATA}
contexts:
- name: a
  context:
    cluster: c
    user: u
users:
- name: u
  user:
    token: t0ken
"""
WRAPPED = [CA_DATA[:40], CA_DATA[40:80], CA_DATA[80:]]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "---\n" + PLAIN + "---\n",
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(CA_DATA, "\n      ".join(["|", *WRAPPED])),
        PLAIN.replace(CA_DATA, "\n      ".join([">-", *WRAPPED])),
        PLAIN.replace(CA_DATA, '"' + "\n      ".join(WRAPPED) + '"'),
        PLAIN.replace(CA_DATA, "!!binary |\n      " + base64.b64encode(CA_DATA.encode()).decode()),
        PLAIN.replace("token: t0ken", "token: !!binary dDBrZW4="),
        PLAIN.replace("server: ", "server:\t").replace("6443", "6443\t"),
        json.dumps(yaml.safe_load(PLAIN)),
        json.dumps(yaml.safe_load(PLAIN), indent="\t"),
        PLAIN.replace("t0ken", "t0ken\n    exec: {apiVersion: client.authentication.k8s.io/v1, command: login}"),
        PLAIN.replace("t0ken", "t0ken\n    auth-provider: {name: oidc}"),
        PLAIN.replace("t0ken", "t0ken\n    exec: null\n    as: ''\n    as-groups: []\n    username: ~"),
        PLAIN.replace("t0ken", "t0ken\n    tokenFile: /nonexistent/token"),
        PLAIN.replace("t0ken", "t0ken\n    client-key-data: " + CA_DATA),
        PLAIN.replace("t0ken", "|\n      t0ken"),
        PLAIN.replace("6443", "6443\n    insecure-skip-tls-verify: off\n    disable-compression: true"),
        PLAIN.replace("https://10.0.0.1:6443", "HTTPS://10.0.0.1:6443/?x=1"),
        PLAIN.replace("users:", "preferences: {}\nextensions: [{name: x, extension: {}}]\nusers:"),
        PLAIN.replace("users:\n- name: u", "users:\n- &u\n  name: u") + "- <<: *u\n  name: v\n",
        *(
            PLAIN.replace("current-context: a", f"current-context: {name}").replace("- name: a", f"- name: {name}")
            for name in ("2024", "2024-05-01", "on", "null", "~", "1e3", "0x10", "0.10", "'x y'", "arn:aws:x:0:c/d")
        ),
        PLAIN.replace("name: c", "name: 007").replace("cluster: c", "cluster: 007"),
        PLAIN.replace("name: u", "name: no").replace("user: u", "user: no"),
    ],
)
def test_what_kubectl_takes_is_read_as_it_reads_it(text: str) -> None:
    found = from_kubeconfig(text)
    assert (found.server, found.ca, found.bearer(), found.verify) == ("https://10.0.0.1:6443", CA, "t0ken", True)
    assert found.client_certificate == found.client_key == ""


def test_a_namespace_of_digits_stays_as_it_is_written_and_a_null_is_none() -> None:
    assert from_kubeconfig(PLAIN.replace("user: u", "user: u\n    namespace: 0100")).namespace == "0100"
    assert from_kubeconfig(PLAIN.replace("user: u", "user: u\n    namespace: null")).namespace == ""


def test_a_context_without_a_user_is_anonymous_and_without_a_choice_the_names_are_reported() -> None:
    assert from_kubeconfig(PLAIN.replace("    user: u\n", "")).bearer() == ""
    with pytest.raises(InvalidInput, match=r"has no current context\. Choose one of: a") as caught:
        from_kubeconfig(PLAIN.replace("current-context: a\n", ""))
    assert caught.value.subject == "cluster.context"


def test_a_token_file_comes_before_the_token_as_with_kubectl(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-the-file\n")
    assert from_kubeconfig(PLAIN.replace("t0ken", f"t0ken\n    tokenFile: {path}")).bearer() == "from-the-file"


def test_a_proxys_password_is_a_secret_and_a_socks_proxy_is_refused_by_name_where_it_cannot_be_used() -> None:
    text = PLAIN.replace("6443", "6443\n    proxy-url: http://joe:pr0xy-word@proxy:3128")
    assert "pr0xy-word" in list(from_kubeconfig(text).secrets())
    text = text.replace("http://joe", "socks5://joe")
    assert from_kubeconfig(text).proxy == "socks5://joe:pr0xy-word@proxy:3128"
    with pytest.raises(InvalidInput, match="SOCKS proxy"):
        connect({"kubeconfig": text})


def test_server_and_token_are_both_needed() -> None:
    found = access(server="https://k:6443", token="abc")
    assert (found.server, found.bearer()) == ("https://k:6443", "abc")
    with pytest.raises(MissingSetting, match=r"cluster\.token"):
        access(server="https://k:6443")


def test_in_cluster_reads_the_service_account_anew_each_time(tmp_path: Path) -> None:
    for name, text in {"token": "first\n", "ca.crt": "PEM", "namespace": "here"}.items():
        (tmp_path / name).write_text(text)
    found = resolve_access(KubernetesCluster(), {}, tmp_path)
    assert (found.server, found.bearer(), found.namespace) == ("https://kubernetes.default.svc", "first", "here")
    (tmp_path / "token").write_text("second")
    assert found.bearer() == "second"
    env = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert resolve_access(KubernetesCluster(), env, tmp_path).server == "https://10.96.0.1:443"


def test_no_cluster_at_all_is_reported_as_a_missing_resource() -> None:
    with pytest.raises(MissingSetting, match="c_kubernetes_cluster"):
        access()


CONTEXT = kubeconfig(namespace="context")
RUNTIME = {"runtimes": {"kubernetes": {"namespace": "runtime"}}}


@pytest.mark.parametrize(
    ("requested", "resource", "settings", "expected"),
    [
        ("form", {"namespace": "resource", "kubeconfig": CONTEXT}, {**RUNTIME, "namespace": "settings"}, "form"),
        ("", {"namespace": "resource", "kubeconfig": CONTEXT}, {**RUNTIME, "namespace": "settings"}, "runtime"),
        ("", {"namespace": "resource", "kubeconfig": CONTEXT}, {"namespace": "settings"}, "resource"),
        ("", {"kubeconfig": CONTEXT}, {"namespace": "settings"}, "context"),
        ("", {"kubeconfig": kubeconfig()}, {"namespace": "settings"}, "settings"),
        ("", {"kubeconfig": kubeconfig()}, {}, "default"),
        ("", {"kubeconfig": "{broken"}, {"namespace": "settings"}, "settings"),
        ("", {}, {"namespace": "settings"}, "settings"),
        ("", None, RUNTIME, "runtime"),
        ("", None, {}, "default"),
    ],
)
def test_the_namespace_is_the_nearest_that_is_given(
    requested: str, resource: dict[str, Any] | None, settings: dict[str, Any], expected: str
) -> None:
    cluster = None if resource is None else KubernetesCluster(**resource)
    assert choose_namespace(requested, cluster, Settings(**settings)) == expected
    request = JobRequest(namespace=requested, image="busybox")
    assert choose_request_namespace(request, cluster, Settings(**settings)) == expected


def test_where_nothing_says_a_namespace_the_callers_default_counts() -> None:
    assert choose_namespace("", None, Settings(), default="flext-production") == "flext-production"


def test_a_manifests_namespace_counts_as_the_forms_and_two_different_ones_are_refused() -> None:
    manifest = job(namespace="there")
    assert JobRequest(manifest=manifest).requested_namespace() == "there"
    assert JobRequest(manifest=manifest, namespace="there").requested_namespace() == "there"
    with pytest.raises(InvalidInput, match="the form says here and the manifest there") as caught:
        JobRequest(manifest=manifest, namespace="here").requested_namespace()
    assert caught.value.subject == "namespace"


def test_a_step_works_in_the_namespace_that_the_settings_say_for_its_runtime() -> None:
    session = connect({"kubeconfig": CONTEXT}, "", RUNTIME)
    assert session.namespace == "runtime"
