# requirements: flexcore_kubernetes
# py: ==3.11.*
"""Follows the logs of containers live, and keeps their last lines. Decides nothing: a log may stall, rotate or be
forbidden, and the work goes on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from f.flexcore.core.errors import FlexcoreError, TransientError
from f.flexcore.kubernetes.client import Kubernetes
from f.flexcore.kubernetes.failures import Call

TAIL_LINES = 60
TAIL_BYTES = 8192
# Each followed container holds a connection and a thread; a Job of a hundred pods shows its first ones.
MOST_FOLLOWED = 8
# A program may be silent for hours; then the connection is opened anew, from the last line on.
SILENCE_S = 300.0
# A stream that ends while its container still runs was rotated or cut; the pod's status lags by about a second.
LAG_S = 2.0
# After the container's end its last lines are there at once, or not at all.
DRAIN_S = 3.0


class PodLogs:
    """All containers' logs of some pods. `say` gets each line, redacted, with the container named where there are
    several."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, say: Callable[[str], None]) -> None:
        self._kubernetes, self._namespace, self._say = kubernetes, namespace, say
        self._followers: dict[tuple[str, str], Follower] = {}
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lock = threading.Lock()

    def see(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Starts to follow what has started, and marks what has ended."""
        several = len(pods) > 1 or any(len(pod["spec"]["containers"]) > 1 for pod in pods)
        for pod in pods:
            status = pod.get("status") or {}
            for entry in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
                state = entry.get("state") or {}
                started = state.get("running") or (state.get("terminated") or {}).get("containerID")
                key = (pod["metadata"]["name"], entry["name"])
                if started and key not in self._followers and len(self._followers) < MOST_FOLLOWED:
                    prefix = f"{'/'.join(key)}: " if several else ""
                    self._followers[key] = Follower(self._kubernetes, self._namespace, *key, self._line(prefix))
                    self._followers[key].start()
                if state.get("terminated") and key in self._followers:
                    self._followers[key].ended.set()

    def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Waits shortly for the last lines of what has ended."""
        until = time.monotonic() + timeout_s
        for follower in self._followers.values():
            follower.ended.set()
        for follower in self._followers.values():
            follower.join(max(until - time.monotonic(), 0))

    def tail(self) -> str:
        with self._lock:
            text = "\n".join(self._tail)
        return text.encode()[-TAIL_BYTES:].decode(errors="ignore")

    def _line(self, prefix: str) -> Callable[[str], None]:
        def say(line: str) -> None:
            text = prefix + self._kubernetes.redactor.text(line)
            with self._lock:
                self._tail.append(text)
            self._say(text)

        return say


class Follower(threading.Thread):
    """One container's log, from its first line to its end. `ended` tells it that the container has ended."""

    def __init__(
        self, kubernetes: Kubernetes, namespace: str, pod: str, container: str, line: Callable[[str], None]
    ) -> None:
        super().__init__(daemon=True, name=f"log {pod}/{container}")
        self.ended = threading.Event()
        self._kubernetes, self._line, self._container = kubernetes, line, container
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        self._call = Call("get", "pods/log", namespace, pod)
        self._last = ""

    def run(self) -> None:
        while True:
            ended = self.ended.is_set()
            try:
                self._stream()
            except TransientError:
                pass
            except FlexcoreError as error:
                # Gone with its pod, or forbidden: the outcome does not depend on it.
                self._line(f"(the log cannot be read: {error})")
                return
            # What was streamed after the end was all of it.
            if ended or self.ended.wait(LAG_S):
                return

    def _stream(self) -> None:
        query: dict[str, str | bool] = {"container": self._container, "follow": True, "timestamps": True}
        if self._last:
            query["sinceTime"] = self._last[:19] + "Z"
        with self._kubernetes.lines(self._path, query, self._call, SILENCE_S) as lines:
            for line in lines:
                stamp, _, text = line.decode(errors="replace").partition(" ")
                moment = in_order(stamp)
                # sinceTime knows whole seconds only, so that lines come again.
                if moment > self._last:
                    self._last = moment
                    self._line(text.rstrip("\r"))


def in_order(stamp: str) -> str:
    """An RFC 3339 time with all nine digits of its fraction, so that texts compare as times."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"
