"""A JSON value as PostgreSQL's jsonb gives it back, which is what a server hands on of all that it has stored.

Keys are ordered by their length in bytes, then by their bytes; numbers have no exponent, so that a large float comes
back as an integer, and no sign at zero.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import Any

# From here on Python, and a server's JSON too, writes a float with an exponent.
EXPONENT_FROM = 1e16


def as_jsonb(value: Any) -> Any:
    """A copy in that form; a value too deep to be walked is returned as it is."""
    try:
        return _order_keys(value)
    except RecursionError:
        return value


def _order_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _order_keys(value[key]) for key in sorted(value, key=_order)}
    if isinstance(value, list):
        return [_order_keys(item) for item in value]
    if isinstance(value, float) and isfinite(value):
        return int(Decimal(repr(value))) if abs(value) >= EXPONENT_FROM else value + 0.0
    return value


def _order(key: str) -> tuple[int, bytes]:
    content = key.encode("utf-8", "surrogatepass")
    return len(content), content
