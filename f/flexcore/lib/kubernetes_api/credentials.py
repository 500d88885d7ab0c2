# requirements: flexcore_kubernetes
"""How to reach a cluster: the resource (kubeconfig, server with token, or in-cluster) as one plain Access.

Read here and not by the client's own loader, because that one writes keys into files that a killed step leaves behind,
and runs whatever program the kubeconfig names. kubectl says what is right: what it honors is honored here or refused by
name, never passed over.
Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.kubernetes_api import kubeconfig, proxies

# Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
POD_FILES = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A worker hides its container's KUBERNETES_SERVICE_HOST from steps; the certificate is valid for this name too.
POD_SERVER = "https://kubernetes.default.svc"
# Other rights than the credentials': kubectl acts with them, and so would everybody expect of a step.
IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True)
class Access:
    """Server, trust and credentials. ca, client_certificate and client_key are PEM texts; a token_file rotates and is
    therefore read when needed, before the token; context and namespace are those of the kubeconfig, or ""."""

    server: str
    ca: str = ""
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = ""
    context: str = ""
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)

    def bearer(self) -> str:
        """The token to send now, or "" when the client certificate says who we are."""
        if self.token_file:
            return _read_or_empty(self.token_file) or self.token or _read_file(Path(self.token_file), "the token file")
        return self.token

    def secrets(self) -> Iterator[str]:
        yield from (self.token, self.client_key, urlsplit(self.proxy).password or "")


def resolve_access(
    cluster: resources.KubernetesCluster, env: Mapping[str, str] = os.environ, pod: Path = POD_FILES
) -> Access:
    """The Access that the resource describes. Raises InvalidInput or MissingSetting when it is incomplete."""
    mode = cluster.mode
    if mode == "auto":
        mode = "kubeconfig" if cluster.kubeconfig else "token" if cluster.server else "in_cluster"
    if mode == "kubeconfig":
        return from_kubeconfig(cluster.kubeconfig, cluster.context)
    if mode == "token":
        return from_token(cluster)
    return in_cluster(env, pod)


def from_token(cluster: resources.KubernetesCluster) -> Access:
    for name in ("server", "token"):
        if not getattr(cluster, name):
            raise errors.MissingSetting(
                f"cluster.{name} is empty",
                subject=f"cluster.{name}",
                remedy="Set server and token in the c_kubernetes_cluster resource, or give a kubeconfig.",
            )
    return Access(
        server=_normalize_address(cluster.server, "cluster.server"),
        ca=cluster.ca_certificate,
        verify=cluster.verify_tls,
        token=cluster.token.strip(),
    )


def in_cluster(env: Mapping[str, str], pod: Path) -> Access:
    if not (pod / "token").is_file():
        raise errors.MissingSetting(
            "No cluster is given and this worker does not run inside one",
            subject="cluster",
            remedy="Choose a c_kubernetes_cluster resource with a kubeconfig, or with server and token.",
        )
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    address = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(
        server=address if host else POD_SERVER,
        ca=_read_file(pod / "ca.crt", "the service account's CA"),
        token_file=str(pod / "token"),
        namespace=_read_file(pod / "namespace", "the service account's namespace"),
    )


def from_kubeconfig(text: str, context: str = "") -> Access:
    """The named context of a kubeconfig (empty: its current one). The text itself never appears in an error."""
    if not text:
        raise errors.MissingSetting(
            "cluster.kubeconfig is empty", subject="cluster.kubeconfig", remedy="Paste the text of a kubeconfig file."
        )
    config = kubeconfig.parse_kubeconfig(text)
    chosen, entry = _find_context(config, context)
    cluster = _find_entry(config, "cluster", entry, chosen)
    user = _find_entry(config, "user", entry, chosen)
    token, token_file = _read_token(user), _find_token_file(user)
    has_token = bool(token or token_file)
    ca = _read_pem(cluster, "certificate-authority")
    certificate, key = _read_pem(user, "client-certificate"), _read_pem(user, "client-key")
    namespace = kubeconfig.to_text(entry.get("namespace"))
    _check_user(user, chosen, namespace, has_credentials=has_token or bool(certificate and key))
    if certificate and not key:
        raise kubeconfig.wrong("has a client-certificate without a client-key", kubeconfig.FLATTEN)
    if key and not certificate and not has_token:
        raise kubeconfig.wrong("has a client-key without a client-certificate", kubeconfig.FLATTEN)
    return Access(
        server=_normalize_address(kubeconfig.to_text(cluster.get("server")), "cluster.kubeconfig"),
        ca=ca,
        verify=not _is_insecure(cluster, ca),
        tls_server_name=kubeconfig.to_text(cluster.get("tls-server-name")),
        proxy=_read_proxy(kubeconfig.to_text(cluster.get("proxy-url"))),
        context=chosen,
        namespace=namespace,
        token=token,
        token_file=token_file,
        client_certificate=certificate if key else "",
        client_key=key if certificate else "",
    )


def _find_context(config: Mapping[str, Any], requested: str) -> tuple[str, dict[str, Any]]:
    """(name, fields) of the requested context, else of the current one."""
    contexts = config["contexts"]
    name = requested or _resolve_reference(config["current-context"], contexts)
    if name in contexts:
        return name, contexts[name]
    problem = f"has no context named {name!r}" if name else "has no current context"
    remedy = (
        f"Choose one of: {_join_names(contexts)}." if contexts else f"It has no contexts at all. {kubeconfig.FLATTEN}"
    )
    raise errors.InvalidInput(f"cluster.kubeconfig {problem}", subject="cluster.context", remedy=remedy)


def _find_entry(config: Mapping[str, Any], kind: str, context: dict[str, Any], chosen: str) -> dict[str, Any]:
    """The cluster or user of the context. Without a user the request is anonymous."""
    entries: dict[str, dict[str, Any]] = config[f"{kind}s"]
    name = _resolve_reference(context.get(kind), entries)
    if name in entries:
        return entries[name]
    if kind == "user" and not name:
        return {}
    problem = f"names the {kind} {name!r}, which is not there" if name else f"has no {kind}"
    raise kubeconfig.wrong(
        f"has a context {chosen!r} that {problem}", f"Its {kind}s are: {_join_names(entries)}. {kubeconfig.FLATTEN}"
    )


def _resolve_reference(value: Any, entries: Mapping[str, Any]) -> str:
    """A name that is written without quotes may look like a null."""
    return str(value) if value is not None and str(value) in entries else kubeconfig.to_text(value)


def _join_names(entries: Mapping[str, Any]) -> str:
    return ", ".join(sorted(entries)) or "none"


def _check_user(user: dict[str, Any], context: str, namespace: str, *, has_credentials: bool) -> None:
    """Refuses by name what a worker cannot do. A token or certificate goes before a program, as with kubectl."""
    remedy = "Use a service account's token instead (kubectl create token NAME), with mode token."
    impersonated = [name for name in IMPERSONATION if user.get(name) and kubeconfig.to_text(user[name])]
    if impersonated:
        names = ", ".join(impersonated)
        raise kubeconfig.wrong(
            f"acts as another user ({names}), which is not supported", "Use that account's own credentials."
        )
    if kubeconfig.to_text(user.get("username")) or kubeconfig.to_text(user.get("password")):
        raise kubeconfig.wrong("authenticates by user name and password", remedy)
    for name in ("exec", "auth-provider"):
        if kubeconfig.to_text(user.get(name)) and not has_credentials:
            # For a kubeconfig that no worker can use.
            from f.flexcore.lib.kubernetes_api import exec_plugins

            login = exec_plugins.parse_login(name, user[name])
            raise errors.InvalidInput(
                f"cluster.kubeconfig authenticates by {login}, which a worker does not run",
                subject="cluster.kubeconfig",
                remedy=exec_plugins.describe_way(context, namespace),
                commands=exec_plugins.list_token_commands(context, namespace),
                lasting_token_commands=exec_plugins.list_lasting_token_commands(context, namespace),
            )


def _is_insecure(cluster: dict[str, Any], ca: str) -> bool:
    # Changes nothing here: no answer is asked for in compressed form.
    kubeconfig.parse_flag(cluster, "disable-compression")
    insecure = kubeconfig.parse_flag(cluster, "insecure-skip-tls-verify")
    if insecure and ca:
        problem = "has insecure-skip-tls-verify beside a certificate-authority, which kubectl refuses"
        raise kubeconfig.wrong(problem, "Remove one of the two.")
    return insecure


def _read_token(user: dict[str, Any]) -> str:
    token = kubeconfig.to_text(user.get("token")).strip()
    if not token.isascii() or any(character.isspace() for character in token):
        raise kubeconfig.wrong(
            "has a token with blanks, line breaks or other characters that no token has", kubeconfig.FLATTEN
        )
    return token


def _read_proxy(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = not url or (parts.scheme in proxies.SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0)
    except ValueError:
        usable = False
    if not usable:
        raise kubeconfig.wrong(
            f"has a proxy-url that does not begin with {'://, '.join(proxies.SCHEMES)}:// and go on with a host",
            "Correct proxy-url.",
        )
    return url


def _read_pem(entry: dict[str, Any], name: str) -> str:
    data, path = kubeconfig.decode_base64(entry, f"{name}-data"), kubeconfig.to_text(entry.get(name))
    text = data or (_read_file(_require_absolute(path, name), name) if path else "")
    if text and "-----BEGIN " not in text:
        raise kubeconfig.wrong(f"has a {name} that is not PEM", kubeconfig.FLATTEN)
    return text


def _find_token_file(user: dict[str, Any]) -> str:
    path = kubeconfig.to_text(user.get("tokenFile"))
    if not path:
        return ""
    # As kubectl does: the file before the token, unless it cannot be read.
    if kubeconfig.to_text(user.get("token")) and not _read_or_empty(path):
        return ""
    return str(_require_absolute(path, "tokenFile"))


def _read_or_empty(path: str) -> str:
    try:
        return Path(path).read_text().strip() if Path(path).is_absolute() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _require_absolute(path: str, name: str) -> Path:
    if not Path(path).is_absolute():
        raise kubeconfig.wrong(f"names {name} by the relative path {path}", kubeconfig.FLATTEN)
    return Path(path)


def _read_file(path: Path, what: str) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise kubeconfig.wrong(
            f"names {what} by the file {path}, which this worker cannot read", kubeconfig.FLATTEN
        ) from None


def _normalize_address(server: str, subject: str) -> str:
    # Without a scheme kubectl takes http, which no token should travel by.
    try:
        parts = urlsplit(server.strip())
        usable = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        shown = server.rpartition("@")[2] or "empty"
        raise kubeconfig.wrong(f"has no usable server address ({shown})", "Use e.g. https://10.0.0.1:6443.", subject)
    if parts.username or parts.password:
        raise kubeconfig.wrong("has a user name or a password in its server address", "Use a token.", subject)
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
