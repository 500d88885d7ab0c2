# requirements: flexcore_kubernetes
# py: ==3.11.*
"""How to reach a cluster: the resource (kubeconfig, server with token, or in-cluster) as one plain Access.

Read here and not by the client's own loader, because that one writes keys into files that a killed step leaves behind,
and runs whatever program the kubeconfig names.
Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.core.errors import InvalidInput, MissingSetting
from f.flexcore.core.resources import KubernetesCluster

# Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
POD_FILES = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A worker hides its container's KUBERNETES_SERVICE_HOST from steps; the certificate is valid for this name too.
POD_SERVER = "https://kubernetes.default.svc"
FLATTEN = "Give a self-contained one: kubectl config view --raw --flatten --minify."


@dataclass(frozen=True, slots=True)
class Access:
    """Server, trust and credentials. ca, client_certificate and client_key are PEM texts; a token_file rotates and is
    therefore read when needed; namespace is the one that the kubeconfig's context names, or ""."""

    server: str
    ca: str = ""
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = ""
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)

    def bearer(self) -> str:
        """The token to send now, or "" when the client certificate says who we are."""
        if self.token_file:
            return _read(Path(self.token_file), "the token file")
        return self.token

    def secrets(self) -> Iterator[str]:
        yield from (self.token, self.client_key)


def access_to(cluster: KubernetesCluster, env: Mapping[str, str] = os.environ, pod: Path = POD_FILES) -> Access:
    """The Access that the resource describes; InvalidInput or MissingSetting when it is incomplete."""
    mode = cluster.mode
    if mode == "auto":
        mode = "kubeconfig" if cluster.kubeconfig else "token" if cluster.server else "in_cluster"
    if mode == "kubeconfig":
        return from_kubeconfig(cluster.kubeconfig, cluster.context)
    if mode == "token":
        return from_token(cluster)
    return in_cluster(env, pod)


def namespace_of(cluster: KubernetesCluster, access: Access, asked: str, default: str) -> str:
    """The namespace asked for, else the resource's, else the kubeconfig context's, else the settings' default."""
    return asked or cluster.namespace or access.namespace or default


def from_token(cluster: KubernetesCluster) -> Access:
    for name in ("server", "token"):
        if not getattr(cluster, name):
            raise MissingSetting(
                f"cluster.{name} is empty",
                subject=f"cluster.{name}",
                remedy="Set server and token in the c_kubernetes_cluster resource, or give a kubeconfig.",
            )
    return Access(
        server=_address(cluster.server, "cluster.server"),
        ca=cluster.ca_certificate,
        verify=cluster.verify_tls,
        token=cluster.token.strip(),
    )


def in_cluster(env: Mapping[str, str], pod: Path) -> Access:
    if not (pod / "token").is_file():
        raise MissingSetting(
            "No cluster is given and this worker does not run inside one",
            subject="cluster",
            remedy="Choose a c_kubernetes_cluster resource with a kubeconfig, or with server and token.",
        )
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    address = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(
        server=address if host else POD_SERVER,
        ca=_read(pod / "ca.crt", "the service account's CA"),
        token_file=str(pod / "token"),
        namespace=_read(pod / "namespace", "the service account's namespace"),
    )


def from_kubeconfig(text: str, context: str = "") -> Access:
    """The named context of a kubeconfig (empty: its current one). The text itself never appears in an error."""
    if not text:
        raise MissingSetting(
            "cluster.kubeconfig is empty", subject="cluster.kubeconfig", remedy="Paste the text of a kubeconfig file."
        )
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("clusters"), list):
        raise _wrong("is not a kubeconfig: YAML with clusters, users and contexts is expected", FLATTEN)
    chosen = context or str(config.get("current-context") or "")
    entry = _named(config, "contexts", "context", chosen)
    cluster = _named(config, "clusters", "cluster", str(entry.get("cluster") or ""))
    user = _named(config, "users", "user", str(entry["user"])) if entry.get("user") else {}
    _refuse_programs(user)
    return Access(
        server=_address(str(cluster.get("server") or ""), "cluster.kubeconfig"),
        ca=_pem(cluster, "certificate-authority"),
        verify=not cluster.get("insecure-skip-tls-verify"),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        namespace=str(entry.get("namespace") or ""),
        token=str(user.get("token") or ""),
        token_file="" if user.get("token") else _token_file(user),
        client_certificate=_pem(user, "client-certificate"),
        client_key=_pem(user, "client-key"),
    )


def _named(config: dict[str, Any], section: str, kind: str, name: str) -> dict[str, Any]:
    entries = {item.get("name"): item.get(kind) for item in config.get(section) or [] if isinstance(item, dict)}
    found = entries.get(name)
    if isinstance(found, dict):
        return found
    names = ", ".join(sorted(str(key) for key in entries)) or "none"
    wanted = f"has no {kind} named {name!r}" if name else f"names no {kind}"
    raise _wrong(wanted, f"Choose one of: {names}.", "cluster.context" if kind == "context" else "cluster.kubeconfig")


def _refuse_programs(user: dict[str, Any]) -> None:
    program = (user.get("exec") or {}).get("command") or (user.get("auth-provider") or {}).get("name")
    if program or user.get("username"):
        way = f"by the program {program!r}, which a worker does not run" if program else "by user name and password"
        remedy = "Use a service account's token instead (kubectl create token NAME), with mode token."
        raise _wrong(f"authenticates {way}", remedy)


def _pem(entry: dict[str, Any], name: str) -> str:
    data = entry.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError, TypeError):
            raise _wrong(f"has a {name}-data that is not base64", FLATTEN) from None
    path = entry.get(name)
    return _read(_absolute(str(path), name), name) if path else ""


def _token_file(user: dict[str, Any]) -> str:
    path = user.get("tokenFile")
    return str(_absolute(str(path), "tokenFile")) if path else ""


def _absolute(path: str, name: str) -> Path:
    if not Path(path).is_absolute():
        raise _wrong(f"names {name} by the relative path {path}", FLATTEN)
    return Path(path)


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise _wrong(f"names {what} by the file {path}, which this worker cannot read", FLATTEN) from None


def _address(server: str, subject: str) -> str:
    if not server.startswith(("https://", "http://")):
        raise _wrong(f"has no usable server address ({server or 'empty'})", "Use e.g. https://10.0.0.1:6443.", subject)
    return server.rstrip("/")


def _wrong(problem: str, remedy: str, subject: str = "cluster.kubeconfig") -> InvalidInput:
    return InvalidInput(f"{subject} {problem}", subject=subject, remedy=remedy)
