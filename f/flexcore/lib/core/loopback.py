# requirements: flexcore_base
"""Whether an address is this machine's own: then no proxy of the environment lies on the way, and nobody else gets
there. Pure: no name is looked up."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def read_host(url: str) -> str:
    """The host of a URL, in small letters; "" when there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(url: str) -> bool:
    host = read_host(url)
    address = parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def means_caller(url: str) -> bool:
    """Whether whoever asks the URL asks itself: loopback, or the address of no machine, which connects to it."""
    address = parse_address(read_host(url))
    return is_loopback(url) or (address is not None and address.is_unspecified)


def parse_address(host: str) -> Address | None:
    """None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
