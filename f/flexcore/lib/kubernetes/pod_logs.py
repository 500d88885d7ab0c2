# requirements: flexcore_kubernetes
"""Follows the logs of containers live, over their restarts, and gives their real last lines. Decides nothing: a log may
stall, rotate or be forbidden, and the work goes on.

    follow   each container from its first line on, in batches, as plain text, secrets masked
    drain    at the end: wait while lines still come, then read each log's last lines (tailLines) and pass on what was
             missed of them; what lies between is named as skipped
    tail     the program's last lines, filled up with those of what ran beside it
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors, log_text, redaction
from f.flexcore.lib.kubernetes import log_tail
from f.flexcore.lib.kubernetes_api import api_errors, client, container_ends

# Each followed container holds a connection and a thread; a Job of a hundred pods shows its first ones.
MAX_FOLLOWED_CONTAINERS = 8
# A program may be silent for hours; then the connection is opened anew, from the last line on.
SILENCE_TIMEOUT_S = 300.0
# A stream that ends while its container still runs was rotated or cut; the pod's status lags by about a second.
LAG_S = 2.0
# After the container's end its last lines are there at once, or not at all; a long log may still be on its way.
DRAIN_TIMEOUT_S = 3.0
MAX_DRAIN_S = 60.0
TAIL_READ_TIMEOUT_S = 10.0
# A longer line buries the log; a bar of a whole training without a line's end is such a one.
MAX_LINE_BYTES = 1024 * 1024
MAX_SHOWN_CHARACTERS = 8192
# Read at the end: a log that lacks so many is marked as skipped.
TAIL_READ_LINES = 1000
# Lines wait for each other no longer than a reader notices; a printer that cannot keep up holds the reading back.
PRINT_INTERVAL_S = 0.05
MAX_PENDING_LINES = 20_000
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

Key = tuple[str, str]
Line = tuple[str, str]


@dataclass(slots=True)
class ContainerLog:
    """What was passed on of one container's log. last: its last line, before it was cleaned."""

    key: Key
    is_program: bool
    redacted: redaction.LineRedactor
    cleaner: log_text.LogCleaner = field(default_factory=log_text.LogCleaner)
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=log_tail.TAIL_LINES))
    pending: list[Line] = field(default_factory=list)
    traceback: log_tail.TracebackKeeper = field(default_factory=log_tail.TracebackKeeper)
    last: Line = ("", "")
    is_closed: bool = False


class PodLogs:
    """All containers' logs of some pods. `report` gets lines, redacted, each with its container named where there are
    several."""

    def __init__(self, kubernetes: client.Kubernetes, namespace: str, report: Callable[[str], None]) -> None:
        self._kubernetes, self._namespace, self._report = kubernetes, namespace, report
        self._followers: dict[Key, LogFollower] = {}
        self._logs: dict[Key, ContainerLog] = {}
        self._names: dict[Key, str] = {}
        self._messages: dict[Key, str] = {}
        self._several_pods = False
        # pending and is_closed of a log; and whoever prints.
        self._lock, self._printing = threading.Lock(), threading.RLock()
        self._arrived = threading.Event()
        self._printer: threading.Thread | None = None

    def update(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Starts to follow what has started, and marks what was started again or has ended."""
        names = {str(pod["metadata"]["name"]) for pod in pods} | {pod for pod, _ in self._names}
        self._several_pods = self._several_pods or len(names) > 1
        for pod in pods:
            containers = container_ends.list_containers(pod)
            for item in containers:
                key = (str(pod["metadata"]["name"]), item.name)
                end = item.end or (item.status.get("lastState") or {}).get("terminated") or {}
                started = item.is_running or bool(end.get("containerID"))
                if item.role is container_ends.Role.MAIN and end.get("reason") != "ContainerStatusUnknown":
                    self._messages[key] = str(end.get("message") or "")
                self._names[key] = item.name if len(containers) > 1 else ""
                if started and key not in self._followers and len(self._followers) < MAX_FOLLOWED_CONTAINERS:
                    self._follow(key, item.role is container_ends.Role.MAIN)
                if follower := self._followers.get(key):
                    follower.update(int(item.status.get("restartCount") or 0), item.is_running, _has_ended(item, pod))

    def _follow(self, key: Key, is_program: bool) -> None:
        log = self._logs[key] = ContainerLog(key, is_program, self._kubernetes.redactor.lines())
        self._followers[key] = LogFollower(self._kubernetes, self._namespace, log, self._pass_on)
        self._followers[key].start()
        if self._printer is None:
            self._printer = threading.Thread(target=self._print_arrived, daemon=True, name="logs")
            self._printer.start()
        if len(self._followers) == MAX_FOLLOWED_CONTAINERS:
            self._report(f"(no more than {MAX_FOLLOWED_CONTAINERS} containers are followed; the others: kubectl logs)")

    def drain(self, timeout_s: float = DRAIN_TIMEOUT_S, program: Key | None = None) -> None:
        """Waits while lines come, but no longer than `timeout_s` without one, and makes sure of the last ones.
        program: the container that matters, which may not be among those that were followed."""
        started = progressed = time.monotonic()
        for follower in self._followers.values():
            follower.finish()
        count = -1
        while any(follower.is_alive() for follower in self._followers.values()):
            now = time.monotonic()
            total = sum(follower.received for follower in self._followers.values())
            progressed, count = (now, total) if total != count else (progressed, count)
            if now - progressed >= timeout_s or now - started >= MAX_DRAIN_S:
                break
            time.sleep(0.02)
        if program and program[1] and program not in self._logs:
            self._logs[program] = ContainerLog(program, True, self._kubernetes.redactor.lines())
        for log in self._logs.values():
            self._complete(log)

    def _complete(self, log: ContainerLog) -> None:
        """Passes on what was missed of the last lines."""
        lines = self._read_tail(log.key)
        with self._printing:
            with self._lock:
                log.is_closed = True
            self._flush(log)
            missed = find_missed_lines(lines, log.last)
            if log.last[0] and len(missed) == len(lines) == TAIL_READ_LINES:
                pod, container = log.key
                where = f"kubectl logs -n {self._namespace} {pod} -c {container}"
                self._print(log, [f"(lines after {log.last[0][:19]}Z were skipped; all of them: {where})"])
            if missed:
                self._keep(log, missed)
            if rest := log.cleaner.finish():
                self._emit(log, rest)
            message = self._messages.get(log.key, "")
            if not log.lines and message:
                self._emit(log, message.splitlines())

    def _read_tail(self, key: Key) -> list[Line]:
        """The last lines; none when they cannot be read, as of a pod that is gone."""
        pod, container = key
        query: dict[str, str | int | bool] = {"container": container, "tailLines": TAIL_READ_LINES, "timestamps": True}
        try:
            with self._kubernetes.stream_batches(
                _log_path(self._namespace, pod),
                query,
                api_errors.Call("get", "pods/log", self._namespace, pod),
                TAIL_READ_TIMEOUT_S,
                MAX_LINE_BYTES,
            ) as batches:
                return [line for batch in batches for line in parse_lines(batch)]
        except errors.FlexcoreError:
            return []

    def tail(self, program: Key | None = None, ends_in_error: bool = False) -> str:
        """The last lines of the program (else of all main containers), filled up with those of the others, in the order
        of their time."""
        with self._printing:
            first = [log for log in self._logs.values() if (log.key == program if program else log.is_program)]
            others = [log for log in self._logs.values() if log not in first]
            chosen = _sort_lines(first)
            beside = _sort_lines(others)
            traceback = next((log.traceback.lines for log in first if log.traceback.lines), [])
        texts = log_tail.choose_tail([text for _, text in chosen], traceback if ends_in_error else [])
        lines_left, size = log_tail.TAIL_LINES - len(texts), sum(len(text.encode()) + 1 for text in texts)
        if not beside or lines_left <= 0 or len(texts) < len(chosen):
            return "\n".join(texts)
        # Few lines of the program are shown whole, among those of the others.
        count = len(log_tail.take_last_lines([text for _, text in beside[-lines_left:]], log_tail.TAIL_BYTES - size))
        shown = sorted([*beside[len(beside) - count :], *chosen], key=lambda line: line[0])
        return "\n".join(text for _, text in shown)

    def _pass_on(self, log: ContainerLog, lines: list[Line]) -> bool:
        """False once the log is closed: its end was read in another way."""
        while True:
            with self._lock:
                if log.is_closed:
                    return False
                if len(log.pending) < MAX_PENDING_LINES:
                    log.pending += lines
                    break
            time.sleep(PRINT_INTERVAL_S)
        self._arrived.set()
        return True

    def _print_arrived(self) -> None:
        """Many lines at once: the API sends each by itself, and cleaning and masking cost less by the thousand."""
        while True:
            self._arrived.wait()
            self._arrived.clear()
            with self._printing:
                for log in list(self._logs.values()):
                    self._flush(log)
            time.sleep(PRINT_INTERVAL_S)

    def _flush(self, log: ContainerLog) -> None:
        with self._lock:
            lines, log.pending = log.pending, []
        if lines:
            self._keep(log, lines)

    def _keep(self, log: ContainerLog, lines: list[Line]) -> None:
        log.last = lines[-1]
        self._emit(log, log.cleaner.feed("".join(f"{text}\n" for _, text in lines)))

    def _emit(self, log: ContainerLog, lines: list[str]) -> None:
        if lines:
            texts = [log_text.shorten(text, MAX_SHOWN_CHARACTERS) for text in log.redacted.lines(lines)]
            shown = self._print(log, texts)
            log.lines.extend((log.last[0], text) for text in shown[-log_tail.TAIL_LINES :])
            log.traceback.feed(shown)

    def _print(self, log: ContainerLog, texts: list[str]) -> list[str]:
        name = self._names.get(log.key, "")
        prefix = f"{'/'.join(log.key)}: " if self._several_pods else f"{name}: " if name else ""
        shown = [prefix + text for text in texts]
        self._report("\n".join(shown))
        return shown


class LogFollower(threading.Thread):
    """One container's log, from its first line to its end, over its restarts."""

    def __init__(
        self,
        kubernetes: client.Kubernetes,
        namespace: str,
        log: ContainerLog,
        pass_on: Callable[[ContainerLog, list[Line]], bool],
    ) -> None:
        super().__init__(daemon=True, name=f"log {'/'.join(log.key)}")
        self._kubernetes, self._log, self._pass_on = kubernetes, log, pass_on
        self._path = _log_path(namespace, log.key[0])
        self._call = api_errors.Call("get", "pods/log", namespace, log.key[0])
        self._ended, self._active = threading.Event(), threading.Event()
        self._restarts, self.received = 0, 0
        # The lines of the newest second, in which a stream begins that goes on after another.
        self._second, self._seen = "", set[Line]()

    def update(self, restarts: int, is_running: bool, has_ended: bool) -> None:
        """What the pod's status says of the container now."""
        self._restarts = max(self._restarts, restarts)
        if has_ended:
            self.finish()
        elif is_running or not self._restarts:
            self._active.set()
        else:
            self._active.clear()

    def finish(self) -> None:
        self._ended.set()
        self._active.set()

    def run(self) -> None:
        restarts = 0
        while True:
            ended = self._ended.is_set()
            now = self._restarts
            try:
                if now > restarts:
                    # A quick run may have ended before it was read.
                    self._stream(previous=True)
                self._stream()
            except errors.Forbidden as error:
                # The outcome does not depend on it.
                self._pass_on(self._log, [("", f"(the log cannot be read: {error})")])
                return
            except errors.FlexcoreError:
                # The pod is gone, or has no log yet, which the next look shows.
                pass
            restarts = now
            # What was streamed after the end was all of it.
            if ended or self._log.is_closed:
                return
            self._ended.wait(LAG_S)
            # Between two runs there is nothing to read.
            self._active.wait()

    def _stream(self, previous: bool = False) -> None:
        query: dict[str, str | bool] = {"container": self._log.key[1], "timestamps": True}
        query |= {"previous": True} if previous else {"follow": True}
        if self._second:
            query["sinceTime"] = self._second + "Z"
        # Times of a program's two outputs are not in order: what came again is known by the whole line.
        known = frozenset(self._seen)
        stream = self._kubernetes.stream_batches(self._path, query, self._call, SILENCE_TIMEOUT_S, MAX_LINE_BYTES)
        with stream as batches:
            for batch in batches:
                lines = [line for line in parse_lines(batch) if line not in known]
                for line in lines:
                    self._remember(line)
                self.received += len(lines)
                if lines and not self._pass_on(self._log, lines):
                    return

    def _remember(self, line: Line) -> None:
        second = line[0][:19]
        if second > self._second:
            self._second, self._seen = second, set()
        if second == self._second:
            self._seen.add(line)


def _has_ended(item: Any, pod: Mapping[str, Any]) -> bool:
    """Whether the container has ended and is not started again."""
    if item.end is None:
        return False
    policy = (pod.get("spec") or {}).get("restartPolicy")
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    if item.role is container_ends.Role.NATIVE:
        return False
    return policy == "Never" or (policy != "Always" and item.end.get("exitCode") == 0) or policy is None


def _log_path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/log"


def _sort_lines(logs: Iterable[ContainerLog]) -> list[Line]:
    return sorted((line for log in logs for line in log.lines), key=lambda line: line[0])


def parse_lines(batch: Iterable[bytes]) -> list[Line]:
    """(time, text) of each line. One without a timestamp is the kubelet's own, e.g. of a log that was just deleted."""
    parts = (line.decode(errors="replace").partition(" ") for line in batch)
    return [(normalize_timestamp(stamp), text) for stamp, _, text in parts if TIMESTAMP.fullmatch(stamp)]


def find_missed_lines(tail: list[Line], last: Line) -> list[Line]:
    """The lines of a log's tail that come after the last one that was passed on."""
    at = next((index for index in range(len(tail) - 1, -1, -1) if tail[index] == last), None)
    return [line for line in tail if line[0] > last[0]] if at is None else tail[at + 1 :]


def normalize_timestamp(stamp: str) -> str:
    """An RFC 3339 time with all nine digits of its fraction, so that texts compare as times."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"
