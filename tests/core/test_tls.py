from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from f.flexcore.lib.core.errors import FlexcoreError
from f.flexcore.lib.core.resources import MeltanoProject, Notifications, RayCluster, Settings
from f.flexcore.lib.core.tls_errors import error_chain, tls_kind, tls_remedy
from f.flexcore.lib.meltano.installation import find_uv, installer_environment, run_installer
from f.flexcore.lib.meltano.sources import fetch
from f.flexcore.lib.operations.failure_message import Message
from f.flexcore.lib.operations.notifications import NotDelivered, post_to_webhook
from f.flexcore.lib.ray.dashboard import RayApi
from f.flexcore.lib.storage.object_store import Store
from flexcore.client.windmill import Windmill
from tests.kubernetes.test_client import authority, secured  # noqa: F401

SAID = {
    "untrusted": [
        "invalid peer certificate: UnknownIssuer",
        "error: Failed to fetch: `https://x/simple/a/`\n  Caused by: invalid peer certificate: UnknownIssuer",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain",
        "SSL validation failed for https://s3.example [SSL: CERTIFICATE_VERIFY_FAILED]",
        "There was a problem confirming the ssl certificate: HTTPSConnectionPool(...)",
        "fatal: unable to access 'https://x/': SSL certificate problem: unable to get local issuer certificate",
        "server certificate verification failed. CAfile: none CRLfile: none",
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        "curlCode: 60, SSL peer certificate or SSH remote key was not OK",
        "PKIX path building failed: unable to find valid certification path",
        "SELF_SIGNED_CERT_IN_CHAIN",
    ],
    "expired": [
        "invalid peer certificate: Expired",
        "invalid peer certificate: certificate expired: verification time 1 (UNIX)",
        "certificate verify failed: certificate has expired (_ssl.c:1007)",
        "x509: certificate has expired or is not yet valid: current time 2026",
    ],
    "name": [
        "invalid peer certificate: NotValidForName",
        "certificate verify failed: Hostname mismatch, certificate is not valid for 'localhost'.",
        "x509: certificate is valid for kubernetes, not example.test",
        "SSL: no alternative certificate subject name matches target host name 'x'",
    ],
    "plain": [
        "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1007)",
        "http: server gave HTTP response to HTTPS client",
        "received corrupt message of type InvalidContentType",
    ],
    "client": [
        "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required",
    ],
    "bundle": [
        "Could not find a suitable TLS CA certificate bundle, invalid path: /nonexistent",
    ],
    "handshake": [
        "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol",
        "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure",
    ],
    "": [
        "No solution found: because there is no version of certifi-x and you require it",
        "Connection refused",
        "KeyError: 'certificate_id'",
        "column expired is unknown",
        "HTTP 503 Service Unavailable at https://example.test/tls:8080",
        "",
    ],
}


@pytest.mark.parametrize(("kind", "said"), [(kind, said) for kind, texts in SAID.items() for said in texts])
def test_a_tls_error_is_known_in_the_words_of_each_library(kind: str, said: str) -> None:
    assert tls_kind(said) == kind
    assert bool(tls_remedy(said)) == bool(kind)


def test_who_must_trust_and_where_the_authority_is_given_stand_in_the_remedy() -> None:
    remedy = tls_remedy("invalid peer certificate: UnknownIssuer")
    assert "SSL_CERT_FILE" in remedy and "the worker" in remedy
    remedy = tls_remedy("CERTIFICATE_VERIFY_FAILED", "the Ray nodes", "cluster.ca_certificate")
    assert (
        remedy.startswith("The Ray nodes") and "in cluster.ca_certificate" in remedy and "SSL_CERT_FILE" not in remedy
    )


def test_what_a_library_wraps_is_found() -> None:
    try:
        try:
            raise OSError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
        except OSError as error:
            raise ValueError("Cannot connect") from error
    except ValueError as error:
        assert tls_kind(error_chain(error)) == "untrusted"


def test_a_chain_of_errors_is_told_from_the_outermost_and_ends_when_it_turns_back() -> None:
    class Wrapped(OSError):
        def __init__(self, text: str, reason: object) -> None:
            super().__init__(text)
            self.reason = reason

    inner, context = ValueError("inner"), KeyError("lost")
    outer = Wrapped("outer", Wrapped("middle", inner))
    assert error_chain(outer) == "Wrapped: outer\nWrapped: middle\nValueError: inner"
    inner.__context__ = context
    assert error_chain(inner) == "ValueError: inner\nKeyError: 'lost'"
    context.__cause__ = inner
    assert error_chain(inner).count("inner") == 1
    assert error_chain(Wrapped("refused", "a text")) == "Wrapped: refused"


def install(url: str, folder: Path) -> None:
    env = {**installer_environment(), "UV_CACHE_DIR": str(folder / "cache"), "UV_HTTP_RETRIES": "0"}
    command = [
        find_uv(),
        "pip",
        "install",
        "--target",
        str(folder / "target"),
        "--index-url",
        f"{url}/simple",
        "flexcore-none",
    ]
    run_installer(command, env, "flexcore-none")


def extract(url: str, folder: Path) -> None:
    fetch(MeltanoProject(git_url=f"{url}/project.git"), folder)


def store(url: str, folder: Path) -> None:
    keys = {"storage_access_key": "a", "storage_secret_key": "b", "storage_region": "x"}
    Store(Settings(storage_uri="s3://bucket", storage_endpoint_url=url, **keys)).read_json("s3://bucket/x.json")


def ask_ray(url: str, folder: Path) -> None:
    RayApi(RayCluster(address=url)).version()


def ask_windmill(url: str, folder: Path) -> None:
    Windmill(url, "dev", "t").check()


@pytest.mark.parametrize("call", [install, extract, store, ask_ray, ask_windmill])
def test_a_server_that_an_unknown_authority_signed_is_told_as_such_and_not_as_one_that_is_down(
    secured: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[str, Path], None],
) -> None:
    # botocore and s3fs try five times each, with pauses, whatever the error.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    with pytest.raises(FlexcoreError) as caught:
        call(secured, tmp_path)
    where = "cluster.ca_certificate" if call is ask_ray else "SSL_CERT_FILE"
    assert "does not know who signed" in caught.value.remedy and where in caught.value.remedy


def test_a_webhook_with_such_a_certificate_is_not_tried_again(secured: str) -> None:  # noqa: F811
    with pytest.raises(NotDelivered, match="does not know who signed") as caught:
        post_to_webhook(Notifications(channel="webhook", webhook_url=secured), Message("t", []))
    assert not caught.value.retryable
