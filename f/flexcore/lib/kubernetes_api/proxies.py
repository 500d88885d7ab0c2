# requirements: flexcore_kubernetes
"""The proxy on the way to an API server, as kubectl chooses it. Pure.

proxy-url of the kubeconfig goes before all, NO_PROXY does not count for it. Else HTTPS_PROXY or HTTP_PROXY, by the
server's own scheme, but for this machine itself and for what NO_PROXY names.
Source: https://pkg.go.dev/golang.org/x/net/http/httpproxy (Config), k8s.io/client-go/rest (Config.Proxy)
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from f.flexcore.lib.core import loopback

SCHEMES = ("http", "https", "socks5", "socks5h")
DEFAULT_PORTS = {"http": 80, "https": 443}


def choose_proxy(server: str, given: str, env: Mapping[str, str]) -> str:
    """The proxy's address, or "" for the direct way. given: proxy-url."""
    if given:
        return given
    target = urlsplit(server)
    name = f"{target.scheme.upper()}_PROXY"
    proxy = env.get(name) or env.get(name.lower()) or ""
    # A CGI program's HTTP_PROXY comes from a header of its caller.
    if not proxy or (name == "HTTP_PROXY" and env.get("REQUEST_METHOD")):
        return ""
    if is_excluded(target, env.get("NO_PROXY") or env.get("no_proxy") or ""):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def is_excluded(target: SplitResult, rules: str) -> bool:
    """Whether an address is reached without the environment's proxy. rules: NO_PROXY."""
    if loopback.is_loopback(target.geturl()):
        return True
    host = loopback.read_host(target.geturl())
    address = loopback.parse_address(host)
    port = target.port or DEFAULT_PORTS.get(target.scheme, 443)
    return any(_matches(rule.strip().lower(), host, address, port) for rule in rules.split(","))


def _matches(rule: str, host: str, address: loopback.Address | None, port: int) -> bool:
    if rule in ("", "*"):
        return rule == "*"
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    name, chosen = _split_port(rule)
    if chosen and chosen != str(port):
        return False
    if (meant := loopback.parse_address(name)) is not None:
        return address == meant
    name = name.removeprefix("*")
    # .example.com: the names below it alone; example.com: itself, too.
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split_port(rule: str) -> tuple[str, str]:
    if rule.startswith("["):
        name, _, rest = rule[1:].partition("]")
        return name, rest.removeprefix(":")
    name, colon, port = rule.rpartition(":")
    return (name, port) if colon and ":" not in name and port.isdigit() else (rule, "")


def make_headers(proxy: str) -> dict[str, str]:
    """What an HTTP proxy asks for when its address has a user and a password."""
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
