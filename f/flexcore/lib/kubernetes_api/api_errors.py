# requirements: flexcore_kubernetes
"""What an unwelcome answer of the Kubernetes API means to the caller, as a typed error. Pure.

401 credentials · 403 a right, or an admission rule such as a quota · 404 namespace or object · 400, 413, 422 the
body · 429 and 5xx later. Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import categories

# Longer messages quote bodies and policies; the head says what is wrong and cannot carry much of a secret.
MAX_MESSAGE_CHARACTERS = 256
RIGHTS = "Grant it with a Role as in resources/kubernetes/rbac.yaml, or use another service account."


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked: `create jobs.batch fc-1 in namespace x`, as errors say it."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{' ' + self.name if self.name else ''}{where}"


def trusted_status(payload: Any) -> dict[str, Any]:
    """The payload when it is the API's own Status; a proxy's page or a login form says nothing reliable."""
    return payload if isinstance(payload, dict) and payload.get("kind") == "Status" else {}


def read_message(status: dict[str, Any]) -> str:
    text = " ".join(str(status.get("message") or "").split())
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def to_error(code: int, payload: Any, call: Call) -> errors.FlexcoreError:
    """The error for an HTTP status of at least 300."""
    status = trusted_status(payload)
    message = read_message(status)
    tail = f": {message}" if message else ""
    if code == 401:
        return to_credentials_error(payload)
    if code == 403:
        return _forbidden(call, message)
    if code == 404:
        return _not_found(call, status, tail)
    if status and code in (400, 413, 415, 422):
        return _invalid(call, status, message or f"HTTP {code}")
    if code == 429 or code >= 500:
        return errors.Unavailable(
            f"The cluster cannot {call} now (HTTP {code}){tail}",
            subject="cluster",
            remedy="Try again; if it stays so, ask the cluster's operator.",
        )
    if status:
        return errors.Unavailable(
            f"The cluster refused to {call} (HTTP {code}){tail}", subject="cluster", remedy="Try again."
        )
    return errors.Unreachable(
        f"The server answered HTTP {code} to {call}, and not as a Kubernetes API does",
        subject="cluster.server",
        remedy="Check the server address of the c_kubernetes_cluster resource, and whether it is https.",
    )


def to_credentials_error(payload: Any, expired: str = "") -> errors.Forbidden:
    """expired: which of them have ended, where that is known."""
    message = read_message(trusted_status(payload))
    tail = f": {message}" if message else ""
    return errors.Forbidden(
        f"The cluster does not accept the credentials{tail}" + (f". {expired}" if expired else ""),
        subject="cluster",
        category="credentials",
        remedy="Renew the token or the client certificate of the c_kubernetes_cluster resource.",
        expired=expired,
    )


def _forbidden(call: Call, message: str) -> errors.FlexcoreError:
    from f.flexcore.lib.kubernetes_api import admission

    if quota := admission.diagnose_quota(message):
        return quota.to_error(f"The cluster refuses to {call}", "namespace")
    if "because it is being terminated" in message:
        return to_terminating_error(call.namespace)
    if message and not re.search(r"cannot \w+ resource", message):
        # Rights are granted but an admission rule (pod security, policy, webhook) refuses.
        return errors.InvalidInput(
            f"The cluster's rules refuse to {call}: {message}",
            subject="manifest",
            category=str(categories.Category.ADMISSION_DENIED),
            remedy="Change what the rule names.",
        )
    return errors.Forbidden(
        f"Not allowed to {call}{': ' + message if message else ''}",
        subject=f"{call.verb} {call.resource}",
        remedy=RIGHTS,
    )


def to_terminating_error(namespace: str, detail: str = "") -> errors.Conflict:
    """Of a namespace that is being deleted. detail: what holds it, where that is known."""
    return errors.Conflict(
        f"Namespace {namespace} is being deleted" + (f" ({detail})" if detail else ""),
        subject="namespace",
        category="namespace_terminating",
        remedy=f"Choose another, or wait until it is gone; `kubectl get namespace {namespace} -o yaml` says what holds "
        "it.",
    )


def _not_found(call: Call, status: dict[str, Any], tail: str) -> errors.FlexcoreError:
    details = status.get("details") or {}
    if details.get("kind") == "namespaces":
        name = details.get("name") or call.namespace
        return errors.NotFound(
            f"Namespace {name} does not exist",
            subject="namespace",
            remedy=f"Create it (kubectl create namespace {name}) or choose another.",
        )
    if not status:
        return errors.Unreachable(
            f"The server does not know how to {call}: it is not a Kubernetes API",
            subject="cluster.server",
            remedy="Check the server address of the c_kubernetes_cluster resource.",
        )
    return errors.NotFound(
        f"Cannot {call}{tail}", subject=call.name or call.resource, remedy="Check the name and namespace."
    )


def _invalid(call: Call, status: dict[str, Any], message: str) -> errors.FlexcoreError:
    causes = (status.get("details") or {}).get("causes") or []
    fields = [str(cause.get("field")) for cause in causes if cause.get("field")]
    unknown = re.search(r'unknown field "([^"]+)"', message)
    subject = fields[0] if fields else unknown[1] if unknown else "manifest"
    return errors.InvalidInput(
        f"The cluster does not accept what was to be created ({call}): {message}",
        subject=subject,
        remedy=f"Correct {subject} and run again.",
    )


def to_unreachable(error: Exception, server: str, call: Call) -> errors.Unreachable:
    """The error for a failure below HTTP. Only its reason is kept: the libraries' texts hold object addresses."""
    from f.flexcore.lib.core import tls_errors

    text = tls_errors.error_chain(error)
    kind = tls_errors.tls_kind(text) or ("handshake" if "SSL" in type(error).__name__ else "")
    if kind:
        reasons = {
            "untrusted": "its certificate is not trusted",
            "expired": "its certificate is not valid now",
            "name": "its certificate is for another name",
        }
        return errors.Unreachable(
            f"The cluster at {server} cannot be trusted: {reasons.get(kind, 'TLS failed')}",
            subject="cluster.ca_certificate",
            category="tls",
            remedy=tls_errors.tls_remedy(text, field="the resource (certificate-authority-data or ca_certificate)"),
        )
    name = type(error).__name__
    reasons = {
        "NameResolutionError": "its name does not resolve",
        "ConnectTimeoutError": "no connection within 5 s",
        "ReadTimeoutError": "no answer in time",
        "NewConnectionError": "connection refused" if "refused" in text else "no connection",
        "ProtocolError": "the connection broke",
    }
    return errors.Unreachable(
        f"The cluster at {server} does not answer ({reasons.get(name, name)}) to {call}",
        subject="cluster.server",
        remedy="Check the server address, and that this worker can reach it.",
    )
