"""The client's transport against real servers on loopback: trust, credentials, repetition, broken streams."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from f.flexcore.lib.core.errors import Forbidden, InvalidInput, Unavailable, Unreachable
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes, read_version
from f.flexcore.lib.kubernetes_api.credentials import Access
from f.flexcore.lib.kubernetes_api.http_client import HttpKubernetes
from tests.kubernetes.fake_cluster import FakeCluster, Fault, status

VERSION = Call("get", "version")


@dataclass
class Authority:
    """A certificate authority made for the test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _certificate("test CA", key, None, key, ca=True))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str) -> tuple[str, str]:
        """(certificate, key) as PEM, valid for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, self.certificate.subject, self.key)
        form = serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


def _certificate(name: str, key: Any, issuer: x509.Name | None, signing: Any, ca: bool = False) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer or subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = builder.add_extension(x509.BasicConstraints(ca, None), True).add_extension(address, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = builder.add_extension(identifier, False).add_extension(authority, False)
    usage = x509.KeyUsage(True, False, False, False, False, ca, ca, False, False)
    return builder.add_extension(usage, True).sign(signing, hashes.SHA256())


class Peer(http.server.BaseHTTPRequestHandler):
    """Tells who the client's certificate says it is."""

    def do_GET(self) -> None:
        peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        body = json.dumps({"gitVersion": "v1", "peer": dict(x[0] for x in peer["subject"]) if peer else {}}).encode()  # type: ignore[misc]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


@pytest.fixture(scope="module")
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "server.pem").write_text("".join(authority.issue("server")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(cadata=authority.pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_a_client_certificate_is_shown_and_leaves_no_file_behind(secured: str, authority: Authority) -> None:
    certificate, key = authority.issue("worker")
    before = set(Path(tempfile.gettempdir()).iterdir())
    access = Access(secured, ca=authority.pem, client_certificate=certificate, client_key=key)
    answer = read_version(Kubernetes(access))
    assert answer["peer"] == {"commonName": "worker"}
    left = [path for path in set(Path(tempfile.gettempdir()).iterdir()) - before if path.is_file()]
    assert not [path for path in left if key.splitlines()[1] in path.read_text(errors="ignore")]


def test_a_server_that_another_authority_signed_is_not_trusted_and_reported_at_once(secured: str) -> None:
    with pytest.raises(Unreachable, match="not trusted") as caught:
        read_version(Kubernetes(Access(secured, ca=Authority.new().pem, token="t")))
    assert (caught.value.category, caught.value.subject) == ("tls", "cluster.ca_certificate")


def test_verification_can_be_switched_off_in_the_resource(secured: str) -> None:
    assert read_version(Kubernetes(Access(secured, verify=False, token="t")))["gitVersion"] == "v1"


@pytest.mark.parametrize(
    ("access", "subject"),
    [
        (Access("https://127.0.0.1:1", ca="no certificate"), "cluster.ca_certificate"),
        (Access("https://127.0.0.1:1", client_certificate="a", client_key="b"), "cluster.kubeconfig"),
    ],
)
def test_texts_that_are_no_certificates_are_named(access: Access, subject: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Kubernetes(access)
    assert caught.value.subject == subject


def test_a_token_that_was_renewed_is_read_again_after_a_refusal(cluster: FakeCluster, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    kubernetes = Kubernetes(Access(cluster.url, token_file=str(token)))
    token.write_text("new")
    cluster.api.faults = [Fault(method="GET", path="/version", status=401)]
    read_version(kubernetes)
    assert [item.headers["Authorization"] for item in cluster.api._requests] == ["Bearer old", "Bearer new"]
    cluster.api.faults = [Fault(method="GET", path="/version", status=401, body=status(401, "Unauthorized", ""))] * 2
    with pytest.raises(Forbidden):
        read_version(kubernetes)


def test_a_passing_failure_is_repeated_as_long_as_there_is_patience_and_no_longer(cluster: FakeCluster) -> None:
    time = [0.0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    kubernetes = Kubernetes(Access(cluster.url, token="t"), sleep=sleep, clock=lambda: time[0])
    cluster.api.faults = [Fault(method="GET", path="/version", status=503, headers={"Retry-After": "2"})]
    read_version(kubernetes)
    assert time[0] == 2.0
    cluster.api.faults = [Fault(method="GET", path="/version", status=500, body=status(500, "Internal", "boom"))] * 50
    with pytest.raises(Unavailable, match="boom"):
        read_version(kubernetes)
    assert time[0] < 10


@contextmanager
def breaking_server(breaks: int) -> Iterator[str]:
    """Its first answers break off in their body; those after are whole."""
    body = b'{"gitVersion": "v1.36.2"}'
    left = [breaks]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:10] if left[0] > 0 else body)
            left[0] -= 1

        def log_message(self, *_: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.fault(7, "I1")
@pytest.mark.parametrize("kind", [Kubernetes, HttpKubernetes])
def test_an_answer_that_breaks_off_in_its_body_is_asked_for_again_and_no_answer_in_the_end(kind: Any) -> None:
    with breaking_server(1) as address:
        assert read_version(kind(Access(server=address, token="t"), sleep=lambda _: None)) == {"gitVersion": "v1.36.2"}
    with breaking_server(99) as address:
        kubernetes = kind(Access(server=address, token="t"), sleep=lambda _: None)
        with pytest.raises(Unreachable, match="does not answer") as caught:
            kubernetes.list("/version", {}, VERSION, retry_s=0.3)
    assert caught.value.subject == "cluster.server" and caught.value.retryable


@pytest.mark.fault(9, "I6")
def test_a_body_that_is_not_a_status_is_not_quoted(cluster: FakeCluster) -> None:
    cluster.api.faults = [Fault(method="GET", path="/version", status=403, body={"message": "secret page"})]
    with pytest.raises(Forbidden) as caught:
        read_version(Kubernetes(Access(cluster.url, token="t")))
    assert "secret page" not in str(caught.value)


def test_starting_a_step_imports_the_transport_alone() -> None:
    lines = [
        "import sys",
        "from f.flexcore.lib.kubernetes_api.client import Kubernetes",
        "from f.flexcore.lib.kubernetes_api.credentials import Access",
        "Kubernetes(Access('http://127.0.0.1:1'))",
        "heavy = {'kubernetes', 'google.auth', 'requests', 'websocket', 'jsonschema', 'oauthlib', 'fsspec', 'httpx'}",
        "assert 'urllib3' in sys.modules",
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)",
    ]
    program = "\n".join(lines)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
