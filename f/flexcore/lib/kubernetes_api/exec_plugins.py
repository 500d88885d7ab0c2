# requirements: flexcore_kubernetes
"""Logins that a kubeconfig leaves to a program, and the way from each to a service account's token. Pure.

A worker runs no program that a kubeconfig names: it would run with the worker's rights, need a login of its own, and
often a browser. The commands are argument lists, to be run where kubectl works with this kubeconfig.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

ACCOUNT = "flexcore"
RBAC = "resources/kubernetes/rbac.yaml"
TOKEN_SECRET = "resources/kubernetes/token.yaml"
# A year. Source: https://kubernetes.io/docs/reference/kubectl/generated/kubectl_create/kubectl_create_token/
DURATION = "8760h"


@dataclass(frozen=True, slots=True)
class Plugin:
    """flags: of its arguments that say which cluster, nothing secret among them."""

    service: str
    flags: Mapping[str, str] = field(default_factory=dict)


EKS = Plugin(
    "Amazon EKS", {"--cluster-name": "cluster", "--cluster-id": "cluster", "-i": "cluster", "--region": "region"}
)
PLUGINS = {
    "aws": EKS,
    "aws-iam-authenticator": EKS,
    "gke-gcloud-auth-plugin": Plugin("Google GKE"),
    "gcloud": Plugin("Google GKE"),
    "kubelogin": Plugin("Azure AKS", {"--environment": "cloud"}),
    "kubectl-oidc_login": Plugin("OpenID Connect"),
    "doctl": Plugin("DigitalOcean"),
    "oci": Plugin("Oracle OKE", {"--region": "region"}),
    "tsh": Plugin("Teleport", {"--kube-cluster": "cluster"}),
}
# Names of the same programs elsewhere, and those of client-go's own, older kind of login.
ALIASES = {
    "kubectl oidc-login": "kubectl-oidc_login",
    "gcp": "gcloud",
    "azure": "kubelogin",
    "oidc": "kubectl-oidc_login",
}


@dataclass(frozen=True, slots=True)
class Login:
    """What a user's entry leaves to a program. about: what its arguments say of the cluster, no secret."""

    program: str
    service: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        known = ", ".join([*filter(None, [self.service]), *(f"{name} {value}" for name, value in self.about.items())])
        return f"the program {self.program!r}" + (f" ({known})" if known else "")


def parse_login(kind: str, entry: Any) -> Login:
    """kind: `exec` or `auth-provider`; entry: what stands there."""
    if not isinstance(entry, Mapping):
        return Login(kind)
    named = str(entry.get("command" if kind == "exec" else "name") or "")
    program = _base_name(named) or kind
    given = entry.get("args") if kind == "exec" else None
    args = [str(item) for item in given] if isinstance(given, list) else []
    key = ALIASES.get(f"{program} {args[0]}" if args else program, ALIASES.get(program, program))
    plugin = PLUGINS.get(key)
    if plugin is None:
        return Login(program)
    if key == "kubelogin" and args[:1] == ["oidc-login"]:
        plugin = PLUGINS["kubectl-oidc_login"]
    return Login(program, plugin.service, _read_flags(args, plugin.flags))


def _base_name(command: str) -> str:
    name = PureWindowsPath(command).name if "\\" in command else PurePosixPath(command).name
    return name.removesuffix(".exe")


def _read_flags(args: Sequence[str], flags: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for index, item in enumerate(args):
        flag, equals, value = item.partition("=")
        if flag in flags:
            value = value if equals else (args[index + 1] if index + 1 < len(args) else "")
            found.setdefault(flags[flag], value)
    return {name: value for name, value in found.items() if value and not value.startswith("-")}


# --- the way to a token


def list_token_commands(context: str, namespace: str) -> list[list[str]]:
    """What makes a service account's token, as argument lists: the rights, the token, and the cluster's own parts of
    the resource."""
    kubectl = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace or "default"]
    view = [*kubectl, "config", "view", "--raw", "--flatten", "--minify", "--output"]
    return [
        [*kubectl, "apply", "--filename", RBAC],
        [*kubectl, "create", "token", ACCOUNT, "--duration", DURATION],
        [*view, "jsonpath={.clusters[0].cluster.server}"],
        [*view, "jsonpath={.clusters[0].cluster.certificate-authority-data}"],
    ]


def list_lasting_token_commands(context: str, namespace: str) -> list[list[str]]:
    """Likewise in place of `create token`, where the API server makes the tokens that it issues short: a Secret, whose
    token ends with it."""
    kubectl = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace or "default"]
    return [
        [*kubectl, "apply", "--filename", TOKEN_SECRET],
        [*kubectl, "get", "secret", f"{ACCOUNT}-token", "--output", "jsonpath={.data.token}"],
    ]


def describe_way(context: str, namespace: str) -> str:
    """The remedy: the commands in their order, and where their outputs go."""
    shown = "; ".join(shlex.join(command) for command in list_token_commands(context, namespace))
    return (
        f"Use a service account's token instead, with mode token. Run: {shown}. The outputs are token, server and, "
        "decoded by base64, ca_certificate of the c_kubernetes_cluster resource. A cloud's API server may end the "
        f"token earlier, as check_cluster shows; {TOKEN_SECRET} makes one that lasts."
    )
