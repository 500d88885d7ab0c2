# requirements: flexcore_kubernetes
"""Which container of a pod is the program, how containers ended, and whose end was the cause. Pure.

main      what the Job is for
init      runs before; the cause only when no main container began
sidecar   runs beside: an init container with restartPolicy Always ("native"), or a container that was injected into the
          pod or is known as a proxy or a collector of logs. Kubernetes ends it after the program, so that its exit code
          says nothing; it is the cause only when no main container ended badly.

The program is the main container with the earliest bad end. What was stopped since the Job had failed comes after it.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from f.flexcore.lib.kubernetes_api import categories, job_status

Object = Mapping[str, Any]

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
SIDECAR_NAME = re.compile(
    r"(?:^|[-_.])(?:proxy|sidecar|envoy|dataplane|shipper|forwarder|exporter|log-?collector)$"
    r"|^(?:istio-|linkerd-|cloud-?sql|alloydb|vault-agent|daprd$|consul-|kuma-|fluent-?bit|fluentd|filebeat|promtail"
    r"|vector$|otel|otc-|opentelemetry|telegraf|datadog|dd-agent|newrelic|gke-gcsfuse|gcsfuse|xray|statsd|pgbouncer$)",
    re.IGNORECASE,
)
SIDECAR_IMAGE = re.compile(
    r"/(?:proxyv2|linkerd2?/proxy|linkerd-proxy|cloud-sql-proxy|cloudsql-docker|gce-proxy|alloydb-auth-proxy|daprd"
    r"|consul-dataplane|kuma-dp|envoy|fluent-bit|fluentd|filebeat|promtail|vault|opentelemetry-collector\S*)(?=[:@]|$)",
    re.IGNORECASE,
)
# Exit codes of what was ended by SIGKILL and SIGTERM: from outside, unless its memory ran out.
STOP_EXIT_CODES = (137, 143)
NEVER = datetime.max.replace(tzinfo=UTC)
MAX_ERROR_CHARACTERS = 200
# A message of few lines was written to be read; a longer one is the end of a log.
MAX_MESSAGE_LINES, MAX_SEARCHED_LINES = 3, 20
ERROR_LINE = re.compile(
    r"error\b|exception\b|panic:|fatal|not found|denied|failed|no such|cannot|refused|SIGKILL", re.IGNORECASE
)


class Role(StrEnum):
    MAIN = "container"
    INIT = "init container"
    SIDECAR = "sidecar"
    NATIVE = "native sidecar"


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod, as its status has it."""

    name: str
    role: Role
    status: Object

    @property
    def state(self) -> Object:
        return self.status.get("state") or {}

    @property
    def is_sidecar(self) -> bool:
        return self.role in (Role.SIDECAR, Role.NATIVE)

    @property
    def is_running(self) -> bool:
        return self.state.get("running") is not None

    @property
    def end(self) -> Object | None:
        return self.state.get("terminated")

    @property
    def has_begun(self) -> bool:
        return self.is_running or self.end is not None or bool(self.status.get("restartCount"))

    @property
    def label(self) -> str:
        """`load`, `init container fetch`, `sidecar istio-proxy`."""
        kind = {Role.MAIN: "", Role.INIT: "init container ", Role.SIDECAR: "sidecar ", Role.NATIVE: "sidecar "}
        return f"{kind[self.role]}{self.name}"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a container. is_last: its latest; stopped: by the controller, after something else had ended."""

    container: Container
    terminated: Object
    is_last: bool
    was_stopped: bool

    @property
    def code(self) -> int | None:
        code = self.terminated.get("exitCode")
        return code if isinstance(code, int) else None

    @property
    def reason(self) -> str:
        return str(self.terminated.get("reason") or "")

    @property
    def finished_at(self) -> datetime | None:
        return job_status.parse_time(self.terminated.get("finishedAt"))


def list_containers(pod: Object, job: Object | None = None) -> list[Container]:
    """Init containers and native sidecars first, then the others, in the pod's order. job: its template shows what was
    injected into the pod."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    native = {item.get("name") for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"}
    containers = []
    for entry in status.get("initContainerStatuses") or ():
        name = str(entry.get("name") or "")
        containers.append(Container(name, Role.NATIVE if name in native else Role.INIT, entry))
    entries = list(status.get("containerStatuses") or ())
    sidecars = _find_sidecars(pod, entries, job or {})
    for entry in entries:
        name = str(entry.get("name") or "")
        containers.append(Container(name, Role.SIDECAR if name in sidecars else Role.MAIN, entry))
    return containers


def _find_sidecars(pod: Object, entries: Sequence[Object], job: Object) -> set[str]:
    spec, metadata = pod.get("spec") or {}, pod.get("metadata") or {}
    named = {str(item.get("name") or "") for item in entries}
    template = ((job.get("spec") or {}).get("template") or {}).get("spec") or {}
    written = {str(item.get("name") or "") for item in template.get("containers") or ()}
    images = {str(item.get("name") or ""): str(item.get("image") or "") for item in spec.get("containers") or ()}
    images |= {str(item.get("name") or ""): str(item.get("image") or "") for item in entries if item.get("image")}
    sidecars = {
        name
        for name in named
        if (written & named and name not in written) or SIDECAR_NAME.search(name) or SIDECAR_IMAGE.search(images[name])
    }
    sidecars.discard(str((metadata.get("annotations") or {}).get(DEFAULT_CONTAINER) or ""))
    # Whatever they are called, something is the program.
    return sidecars if sidecars != named else set()


def list_ends(pod: Object, job: Object | None = None) -> list[End]:
    """Every end in the pod's status: the latest and the one before of each container."""
    return [end for container in list_containers(pod, job) for end in _iterate_ends(container, pod, job or {})]


def _iterate_ends(container: Container, pod: Object, job: Object) -> Iterator[End]:
    stops = (job_status.find_failure_time(job), (pod.get("metadata") or {}).get("deletionTimestamp"))
    stop = min(filter(None, map(job_status.parse_time, stops)), default=None)
    current = container.end
    if current is not None:
        yield End(container, current, True, _is_stopped(current, stop, pod))
    before = (container.status.get("lastState") or {}).get("terminated")
    if before is not None:
        yield End(container, before, current is None, _is_stopped(before, stop, pod))


def _is_stopped(terminated: Object, stop: datetime | None, pod: Object) -> bool:
    if terminated.get("reason") == "ContainerStatusUnknown":
        return True
    if terminated.get("exitCode") not in STOP_EXIT_CODES or terminated.get("reason") == "OOMKilled":
        return False
    finished = job_status.parse_time(terminated.get("finishedAt"))
    if stop is None or finished is None:
        return bool((pod.get("metadata") or {}).get("deletionTimestamp"))
    return finished >= stop


def find_cause(pod: Object, job: Object | None = None) -> End | None:
    """The end that made the pod fail; None when no container ended badly."""
    ends = [end for end in list_ends(pod, job) if end.code != 0]
    began = any(item.has_begun for item in list_containers(pod, job) if item.role is Role.MAIN)
    ranks = {Role.MAIN: 0, Role.SIDECAR: 1, Role.INIT: 2 if began else 0, Role.NATIVE: 3}

    def rank(end: End) -> tuple[int, bool, bool, datetime, bool]:
        role = ranks[end.container.role]
        by_signal = end.code in STOP_EXIT_CODES and end.reason != "OOMKilled"
        return role, end.was_stopped, not end.is_last, end.finished_at or NEVER, by_signal

    return min(ends, key=rank, default=None)


def find_held_program(pod: Object, job: Object | None = None) -> tuple[list[Container], list[Container]]:
    """(containers that have ended for good, sidecars that still run or were only stopped afterwards) of a pod that
    cannot end since its program is done and something beside it is not; two empty lists otherwise."""
    containers = list_containers(pod, job)
    main = [item for item in containers if item.role is Role.MAIN]
    left = [item for item in containers if item.role is Role.SIDECAR and _outlives(item, main)]
    if not main or not left or any(item.end is None for item in main) or not _stays_ended(pod, main):
        return [], []
    return main, left


def find_partly_ended(pod: Object, job: Object | None = None) -> tuple[list[Container], list[Container]]:
    """(main containers that have ended with 0, main containers that went on), where both are there."""
    main = [item for item in list_containers(pod, job) if item.role is Role.MAIN]
    done = [item for item in main if item.end is not None and item.end.get("exitCode") == 0]
    left = [item for item in main if item not in done and _outlives(item, done)]
    return (done, left) if done and left else ([], [])


def _outlives(item: Container, main: Sequence[Container]) -> bool:
    if item.end is None:
        return item.is_running or item.state.get("waiting") is not None
    return item.end.get("exitCode") in STOP_EXIT_CODES and item.end.get("reason") != "OOMKilled" and bool(main)


def _stays_ended(pod: Object, main: Sequence[Container]) -> bool:
    """Whether none of them is about to be started again."""
    policy = (pod.get("spec") or {}).get("restartPolicy")
    if policy == "Always":
        return False
    return policy != "OnFailure" or all((item.end or {}).get("exitCode") == 0 for item in main)


def describe_signal(code: int) -> str:
    """`signal 9 (SIGKILL)` of an exit code above 128, or "" when it is none."""
    try:
        return f"signal {code - 128} ({signal.Signals(code - 128).name})"
    except ValueError:
        return ""


def diagnose_end(terminated: Object, where: str) -> categories.Problem:
    """What a container's end means. where: the container, as the text names it."""
    code, reason, message = terminated.get("exitCode"), str(terminated.get("reason") or ""), _read_message(terminated)
    line = _find_error_line(message)
    tail = f": {line}" if line else ""
    if reason == "OOMKilled":
        return categories.Problem(
            categories.Category.OUT_OF_MEMORY,
            f"{where} used more memory than its limit (exit code {code}){tail}",
            exit_code=code,
        )
    if reason in ("StartError", "ContainerCannotRun"):
        return _diagnose_start_error(message, where, code)
    if reason == "ContainerStatusUnknown":
        return categories.Problem(categories.Category.NODE_LOST, f"{where} was lost by its node", exit_code=code)
    if code in (126, 127):
        why = "the shell did not find the command" if code == 127 else "the command may not be executed"
        return categories.Problem(
            categories.Category.COMMAND_NOT_FOUND, f"{where} ended with exit code {code}: {why}{tail}", exit_code=code
        )
    if isinstance(code, int) and code > 128 and (name := describe_signal(code)):
        return categories.Problem(
            categories.Category.KILLED, f"{where} was ended by {name} (exit code {code}){tail}", exit_code=code
        )
    return categories.Problem(
        categories.Category.EXIT_CODE, f"{where} ended with exit code {code}{tail}", exit_code=code
    )


def _diagnose_start_error(message: str, where: str, code: Any) -> categories.Problem:
    detail = f"{where} could not start: {shorten_error(message)}"
    if re.search(r"executable file not found|no such file or directory", message):
        return categories.Problem(categories.Category.COMMAND_NOT_FOUND, detail, exit_code=code)
    remedy = "Use an image that is built for the node's platform." if "exec format error" in message else ""
    return categories.Problem(categories.Category.CONTAINER_REFUSED, detail, remedy=remedy, exit_code=code)


def _read_message(terminated: Object) -> str:
    return str(terminated.get("message") or "").strip()


def _find_error_line(message: str) -> str:
    """The line of a termination message that says what was wrong; "" when the message is only a log's end."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    best = next((line for line in reversed(lines[-MAX_SEARCHED_LINES:]) if ERROR_LINE.search(line)), "")
    if not best and len(lines) <= MAX_MESSAGE_LINES:
        best = lines[-1] if lines else ""
    return best if len(best) <= MAX_ERROR_CHARACTERS else best[: MAX_ERROR_CHARACTERS - 1] + "…"


def shorten_error(message: str, length: int = 300) -> str:
    """Errors of container runtimes nest ("failed to pull: failed to resolve: …"); what happened stands last."""
    text = " ".join(message.split())
    head, failed, last = text.rpartition("failed to ")
    text = failed + last if head else text
    return text if len(text) <= length else "…" + text[-length:]
