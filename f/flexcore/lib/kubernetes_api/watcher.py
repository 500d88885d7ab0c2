# requirements: flexcore_kubernetes
"""Keeps a list of objects current, whatever happens to the watch: each report is the whole list as last known.

list → report → stream of changes → report each → (stream ended, stalled or too old: list again)
The end of a stream says nothing about the objects; only a list or an event does.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import api_errors, client

# The server ends each stream after this time, so that a connection which died in silence is noticed soon after.
STREAM_TIMEOUT_S = 50
STALL_TIMEOUT_S = STREAM_TIMEOUT_S + 10.0
# An API server may restart under us; beyond this time the step gives up asking, and the work itself goes on.
MAX_OUTAGE_S = 120.0
RETRY_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """All objects of one kind (source) at one moment, or the error that ends the watching for good."""

    source: str
    items: list[dict[str, Any]] = field(default_factory=list)
    error: errors.FlexcoreError | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What to watch: a collection's path and the selectors that narrow it."""

    source: str
    path: str
    query: client.Query
    call: api_errors.Call


class Watcher(threading.Thread):
    """Reports from a thread of its own, which ends with the process or soon after `stop()`."""

    def __init__(
        self,
        kubernetes: client.Kubernetes,
        subject: Subject,
        report: Callable[[Report], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        outage_s: float = MAX_OUTAGE_S,
    ) -> None:
        super().__init__(daemon=True, name=f"watch {subject.source}")
        self._kubernetes, self._subject, self._report = kubernetes, subject, report
        self._clock, self._outage_s = clock, outage_s
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        heard = self._clock()
        while not self._stopped.is_set():
            try:
                for items in self._list_and_stream():
                    heard = self._clock()
                    if self._stopped.is_set():
                        return
                    self._report(Report(self._subject.source, items))
            except errors.FlexcoreError as error:
                if not client.is_transient(error) or self._clock() - heard > self._outage_s:
                    self._report(Report(self._subject.source, error=error))
                    return
                self._stopped.wait(RETRY_INTERVAL_S)

    def _list_and_stream(self) -> Iterator[list[dict[str, Any]]]:
        """One list and the stream after it."""
        subject = self._subject
        page = self._kubernetes.list(subject.path, subject.query, subject.call, retry_s=0)
        known = {item["metadata"]["uid"]: item for item in page.get("items") or []}
        yield list(known.values())
        query = {
            **subject.query,
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": page["metadata"]["resourceVersion"],
            "timeoutSeconds": STREAM_TIMEOUT_S,
        }
        with self._kubernetes.stream_lines(subject.path, query, subject.call, STALL_TIMEOUT_S) as lines:
            for line in lines:
                if change := parse_event(line, subject.call):
                    apply_event(known, change)
                    yield list(known.values())


def drain(reports: queue.SimpleQueue[Report], timeout_s: float) -> Iterator[Report]:
    """The next report and all that wait behind it; none when there is none within `timeout_s`. Raises a report's
    error."""
    try:
        report = reports.get(timeout=timeout_s)
        while True:
            if report.error:
                raise report.error
            yield report
            report = reports.get_nowait()
    except queue.Empty:
        return


def parse_event(line: bytes, call: api_errors.Call) -> dict[str, Any] | None:
    """One event of a watch; None for what changes nothing (a bookmark, a cut line, a resource version too old).

    Raises the typed error when the stream reports a failure of its own.
    """
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("type") == "BOOKMARK":
        return None
    if event.get("type") == "ERROR":
        status = event.get("object") or {}
        # Expired: the list that follows is the remedy, so there is nothing to report.
        if status.get("code") == 410:
            return None
        raise api_errors.to_error(int(status.get("code") or 500), status, call)
    return event


def apply_event(known: dict[str, dict[str, Any]], event: Mapping[str, Any]) -> None:
    item = event["object"]
    uid = item["metadata"]["uid"]
    if event["type"] == "DELETED":
        known.pop(uid, None)
    else:
        known[uid] = item
