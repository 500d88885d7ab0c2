"""Logins by a program, ends of tokens and certificates, and the proxy to a cluster."""

from __future__ import annotations

import base64
import datetime
import json
import shlex
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from f.flexcore.kubernetes.check_cluster import main as check_cluster
from f.flexcore.lib.core.errors import Forbidden, InvalidInput
from f.flexcore.lib.kubernetes import health
from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes_api import client, expiry, proxies
from f.flexcore.lib.kubernetes_api.credentials import Access, from_kubeconfig
from tests.kubernetes.fake_cluster import FakeCluster, Fault, status
from tests.kubernetes.test_access import kubeconfig

Object = dict[str, Any]
NOW = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)


# --- logins by a program


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (
            {
                "exec": {
                    "command": "aws",
                    "args": ["--region", "eu-west-1", "eks", "get-token", "--cluster-name", "prod"],
                }
            },
            r"by the program 'aws' \(Amazon EKS, region eu-west-1, cluster prod\), which a worker does not run",
        ),
        (
            {"exec": {"command": "/usr/local/bin/aws-iam-authenticator", "args": ["token", "-i", "prod"]}},
            r"'aws-iam-authenticator' \(Amazon EKS, cluster prod\)",
        ),
        ({"exec": {"command": "gke-gcloud-auth-plugin"}}, r"'gke-gcloud-auth-plugin' \(Google GKE\)"),
        (
            {"exec": {"command": r"C:\tools\kubelogin.exe", "args": ["get-token", "--client-secret", "planted"]}},
            r"'kubelogin' \(Azure AKS\)",
        ),
        ({"exec": {"command": "kubectl", "args": ["oidc-login", "get-token"]}}, r"'kubectl' \(OpenID Connect\)"),
        ({"exec": {"command": "my-login", "args": ["--password=planted"]}}, "by the program 'my-login', which"),
        ({"exec": "planted"}, "by the program 'exec', which"),
        ({"exec": {"command": "aws", "args": ["--cluster-name"]}}, r"'aws' \(Amazon EKS\), which"),
        ({"auth-provider": {"name": "gcp", "config": {"access-token": "planted"}}}, r"'gcp' \(Google GKE\)"),
        ({"auth-provider": {"name": "azure"}}, r"'azure' \(Azure AKS\)"),
    ],
)
def test_a_login_by_a_program_is_named_with_the_way_to_a_token(user: Object, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        from_kubeconfig(kubeconfig(user, namespace="team"))
    assert "planted" not in str(caught.value) + json.dumps(caught.value.details)
    commands = caught.value.details["commands"]
    assert commands[1] == [
        *["kubectl", "--context", "a", "--namespace", "team", "create", "token", "flexcore", "--duration", "8760h"]
    ]
    for command in commands:
        assert shlex.join(command) in caught.value.remedy


def test_the_commands_survive_an_odd_name_of_a_context_and_name_files_that_there_are() -> None:
    text = (
        kubeconfig({"exec": {"command": "aws"}})
        .replace("name: a", "name: my prod; $(x)")
        .replace("current-context: a", "current-context: my prod; $(x)")
    )
    with pytest.raises(InvalidInput) as caught:
        from_kubeconfig(text)
    details = caught.value.details
    commands = [*details["commands"], *details["lasting_token_commands"]]
    assert all(command[1:3] == ["--context", "my prod; $(x)"] for command in commands)
    assert "'my prod; $(x)'" in caught.value.remedy
    for command in commands:
        if "--filename" in command:
            (document, *_) = yaml.safe_load_all(Path(command[command.index("--filename") + 1]).read_text())
            assert document["kind"] in ("ServiceAccount", "Secret")


# --- ends


def make_token(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2ln"


def make_certificate(until: datetime.datetime, name: str = "me") -> tuple[str, str]:
    """(certificate, key) as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    begin = min(until, NOW) - datetime.timedelta(days=365)
    made = builder.not_valid_before(begin).not_valid_after(until).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def ends(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-60, "The token of team/flexcore expired at 2026-05-01 11:59 UTC"),
        (1800, "The token of team/flexcore expires at 2026-05-01 12:30 UTC, 30 minutes from now"),
        (36000, "The token of team/flexcore expires at 2026-05-01 22:00 UTC, 10 h from now"),
        (6 * 86400, "The token of team/flexcore expires at 2026-05-07 12:00 UTC, 6 days from now"),
        (8 * 86400, ""),
    ],
)
def test_the_end_of_a_token_is_told_before_and_after(seconds: float, words: str) -> None:
    token = make_token(exp=ends(seconds).timestamp(), sub="system:serviceaccount:team:flexcore")
    (found,) = expiry.list_expiries(Access(server="https://k", token=token))
    assert found.until == ends(seconds) and found.describe(NOW) == words


@pytest.mark.parametrize(
    "token",
    ["", "opaque", "a.b.c", "a.%%%.c", make_token(), make_token(exp="soon"), make_token(exp=1e30), make_token(exp=[])],
)
def test_a_token_that_says_no_end_has_none(token: str) -> None:
    assert expiry.list_expiries(Access(server="https://k", token=token)) == []
    assert expiry.describe_credentials(Access(server="https://k", token=token), NOW)["expires_at"] is None


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 9999])
def test_the_end_of_a_client_certificate_is_read_from_it(year: int) -> None:
    until = datetime.datetime(year, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    pem, _ = make_certificate(until)
    (found,) = expiry.list_expiries(Access(server="https://k", client_certificate=pem, client_key="k"))
    assert (found.what, found.until) == ("client certificate", until)


@pytest.mark.parametrize("text", ["", "%%%", "MIIB", "MAA=", base64.b64encode(bytes(range(256))).decode()])
def test_what_is_no_certificate_has_no_end(text: str) -> None:
    pem = f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
    assert expiry.list_expiries(Access(server="https://k", client_certificate=pem)) == []


def test_a_bundle_of_authorities_lasts_as_long_as_its_best_and_a_chain_as_its_own_certificate() -> None:
    old, new = make_certificate(ends(-60))[0], make_certificate(ends(60))[0]
    found = expiry.list_expiries(Access(server="https://k", ca=old + new, client_certificate=old + new))
    assert [(item.what, item.until) for item in found] == [
        ("client certificate", ends(-60)),
        ("CA certificate", ends(60)),
    ]


def test_check_cluster_shows_when_the_credentials_end(cluster: FakeCluster) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=5)
    token = make_token(exp=int(until.timestamp()), sub="system:serviceaccount:work:flexcore")
    shown = check_cluster({**cluster.resource, "token": token})["data"]["credentials"]
    assert shown["kind"] == "token" and shown["expires_at"] == until.replace(microsecond=0).isoformat()
    assert shown["warnings"][0].startswith("The token of work/flexcore expires at")
    result = health.health("f/x", connect_resource(cluster, token))
    assert result.state == "limited" and "work/flexcore expires at" in result.detail
    assert token not in json.dumps(shown)


def connect_resource(cluster: FakeCluster, token: str) -> Any:
    return {**cluster.resource, "token": token}


def test_credentials_that_are_refused_after_their_end_are_told_with_it(cluster: FakeCluster) -> None:
    cluster.api.faults = [
        Fault(method="GET", path="/version", status=401, body=status(401, "Unauthorized", "Unauthorized"))
    ]
    token = make_token(exp=1_700_000_000, sub="system:serviceaccount:work:flexcore")
    with pytest.raises(
        Forbidden, match=r"The token of work/flexcore expired at 2023-11-14 22:13 UTC\. Renew"
    ) as caught:
        check_cluster({**cluster.resource, "token": token})
    assert caught.value.category == "credentials" and token not in str(caught.value)


# --- proxies

ENV = {"HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "http://plain:3128"}


@pytest.mark.parametrize(
    ("server", "rules", "expected"),
    [
        ("https://k.example.com:6443", "", "http://proxy:3128"),
        ("http://k.example.com:8080", "", "http://plain:3128"),
        ("https://localhost:6443", "", ""),
        ("https://127.0.0.1:6443", "", ""),
        ("https://[::1]:6443", "", ""),
        ("https://k.example.com", "*", ""),
        ("https://k.example.com", "example.com", ""),
        ("https://k.example.com", ".example.com", ""),
        ("https://example.com", ".example.com", "http://proxy:3128"),
        ("https://example.com", "example.com", ""),
        ("https://k.example.com", "*.example.com", ""),
        ("https://myexample.com", "example.com", "http://proxy:3128"),
        ("https://k.example.com", "a, K.Example.com ,b", ""),
        ("https://k.example.com:6443", "k.example.com:6443", ""),
        ("https://k.example.com:6443", "k.example.com:443", "http://proxy:3128"),
        ("https://k.example.com", "k.example.com:443", ""),
        ("https://10.1.2.3:6443", "10.0.0.0/8", ""),
        ("https://11.1.2.3:6443", "10.0.0.0/8", "http://proxy:3128"),
        ("https://10.1.2.3:6443", "10.1.2.3", ""),
        ("https://[fd00::5]:6443", "fd00::/8", ""),
        ("https://[fd00::5]:6443", "[fd00::5]:6443", ""),
        ("https://10.1.2.3", "10.0.0.0/99,/", "http://proxy:3128"),
        ("https://k.example.com", ",,", "http://proxy:3128"),
    ],
)
def test_the_environments_proxy_is_chosen_as_kubectl_chooses_it(server: str, rules: str, expected: str) -> None:
    assert proxies.choose_proxy(server, "", {**ENV, "NO_PROXY": rules}) == expected
    small = {name.lower(): value for name, value in {**ENV, "NO_PROXY": rules}.items()}
    assert proxies.choose_proxy(server, "", small) == expected


def test_proxy_url_goes_before_the_environment_and_no_proxy_does_not_count_for_it() -> None:
    env = {**ENV, "NO_PROXY": "*"}
    assert proxies.choose_proxy("https://k", "socks5://other:1080", env) == "socks5://other:1080"
    assert proxies.choose_proxy("https://k", "", {"HTTPS_PROXY": "proxy:3128"}) == "http://proxy:3128"


@pytest.mark.parametrize("url", ["ftp://x:1", "proxy:3128", "http://", "http://[", "http://x:port", "socks4://x:1"])
def test_a_proxy_url_that_none_can_use_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput, match="has a proxy-url that does not begin with http://, https://, socks5://"):
        from_kubeconfig(kubeconfig(cluster={"proxy-url": url}))


def test_a_socks_proxy_of_the_environment_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy:1080")
    with pytest.raises(InvalidInput, match="HTTPS_PROXY is a SOCKS proxy"):
        connect({"kubeconfig": kubeconfig()})
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    assert connect({"kubeconfig": kubeconfig()}).namespace == "default"


def test_a_request_goes_by_the_proxy_with_its_password(cluster: FakeCluster) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, socket.create_connection(_address(cluster.url)) as server:
                seen.append(connection.recv(65536))
                server.sendall(seen[0])
                server.settimeout(2)
                while data := server.recv(65536):
                    connection.sendall(data)
                    if b"gitVersion" in data or b"}" in data:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        proxy = f"http://joe:p%40ss@127.0.0.1:{listener.getsockname()[1]}"
        text = kubeconfig(cluster={"server": cluster.url, "proxy-url": proxy})
        client.read_version(connect({"kubeconfig": text}).kubernetes)
        thread.join(10)
    head = seen[0].decode().lower()
    assert head.startswith(f"get {cluster.url}/version".lower())
    assert f"proxy-authorization: basic {base64.b64encode(b'joe:p@ss').decode()}".lower() in head


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port
