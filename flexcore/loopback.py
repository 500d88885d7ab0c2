"""Whether an address is this machine's own: then a proxy of the environment does not lie on the way."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def read_host(url: str) -> str:
    """The host of a URL, in small letters; "" when there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(url: str) -> bool:
    host = read_host(url)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
