# requirements: flexcore_kubernetes
"""Which events tell of an object, in the order in which they happened. Pure.

Events outlive what they tell of, and an object of the same name may have been there before: what names another uid, or
is older than the object, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def parse_time(text: Any) -> datetime | None:
    """An API time such as 2026-11-23T20:46:59Z, or None."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def event_time(event: Object) -> datetime | None:
    """When it was seen last."""
    series = (event.get("series") or {}).get("lastObservedTime")
    metadata = event.get("metadata") or {}
    times = (series, event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
    return next(filter(None, map(parse_time, (*times, metadata.get("creationTimestamp")))), None)


def events_of(item: Object, events: Sequence[Object]) -> list[Object]:
    """The events of this very object, the oldest first."""
    found = [event for event in events if _tells_of(event, item.get("metadata") or {})]
    return sorted(found, key=lambda event: event_time(event) or LONG_AGO)


def _tells_of(event: Object, metadata: Object) -> bool:
    about = event.get("involvedObject") or event.get("regarding") or {}
    created, seen = parse_time(metadata.get("creationTimestamp")), event_time(event)
    if created and seen and seen < created:
        return False
    if about.get("uid") and metadata.get("uid"):
        return bool(about["uid"] == metadata["uid"])
    # An event without an object comes from a query that asked for this object alone.
    return not about.get("name") or about["name"] == metadata.get("name")
