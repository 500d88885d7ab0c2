# requirements: flexcore_kubernetes
"""What the pods of a Deployment use: the metrics API over a bounded time, and what earlier runs have measured.

The metrics API gives one sample of each pod at a time, cpu as an average over its window (15 s by default): hence the
observation, in which each sample counts once.
Source: https://github.com/kubernetes/metrics/blob/master/pkg/apis/metrics/v1beta1/types.go
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import dimensions, errors
from f.flexcore.lib.kubernetes import right_sizing
from f.flexcore.lib.kubernetes_api import api_errors, api_groups, client

Object = Mapping[str, Any]

METRICS_GROUP = "metrics.k8s.io"
METRICS = f"/apis/{METRICS_GROUP}/v1beta1"
# A third of metrics-server's own resolution.
POLL_INTERVAL_S = 5.0
STEP_PATH = "f/flexcore/kubernetes/suggest_resources"
# One a day for the time that counts, and some more.
MAX_EARLIER_RUNS = 30


@dataclass(slots=True)
class Observation:
    """usage by container; current: the last working set of each pod's container, in bytes; problem: why nothing was
    measured, or ""."""

    usage: dict[str, right_sizing.Usage] = field(default_factory=dict)
    pods: set[str] = field(default_factory=set)
    current: dict[tuple[str, str], int] = field(default_factory=dict)
    problem: str = ""


@dataclass(slots=True)
class UsageObserver:
    """Samples of the pods that a selector chooses."""

    kubernetes: client.Kubernetes
    namespace: str
    selector: str
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _seen: set[tuple[str, str, str]] = field(default_factory=set)
    _peaks: dict[tuple[str, str], int] = field(default_factory=dict)

    def observe(self, seconds: float) -> Observation:
        """The use over `seconds`, at least as it is now. Never raises: without metrics the problem says why."""
        result, until = Observation(), self.clock() + seconds
        while True:
            try:
                self._take_samples(result)
            except errors.FlexcoreError as error:
                result.problem = self._describe_problem(error)
                # What does not answer at first, or is not allowed, will not be there in a minute either.
                if not error.retryable or not result.pods:
                    break
            left = until - self.clock()
            if left <= 0:
                break
            self.sleep(min(POLL_INTERVAL_S, left))
        for (_, container), peak in sorted(self._peaks.items()):
            result.usage[container].peaks.append(peak)
        if not result.pods and not result.problem:
            result.problem = (
                "the metrics API has no sample of these pods yet: it needs about a minute after their start"
            )
        return result

    def _describe_problem(self, error: errors.FlexcoreError) -> str:
        """Why there are no metrics, for people."""
        problem = str(error).partition(". ")[0]
        if isinstance(error, errors.Forbidden):
            return f"{problem}: grant list of pods.{METRICS_GROUP} (role flexcore-right-sizing)"
        try:
            if not api_groups.has_api_group(self.kubernetes, METRICS_GROUP):
                return f"the cluster has no metrics API ({METRICS_GROUP}): install metrics-server"
        except errors.FlexcoreError:
            pass
        return f"the metrics API does not answer ({problem})"

    def _take_samples(self, result: Observation) -> None:
        path = f"{METRICS}/namespaces/{self.namespace}/pods"
        call = api_errors.Call("list", "pods.metrics.k8s.io", self.namespace)
        for item in self.kubernetes.list(path, {"labelSelector": self.selector}, call).get("items") or ():
            pod, at = str(item["metadata"]["name"]), str(item.get("timestamp") or "")
            for container in item.get("containers") or ():
                self._take_sample(result, pod, at, container)

    def _take_sample(self, result: Observation, pod: str, at: str, container: Object) -> None:
        name, used = str(container.get("name")), container.get("usage") or {}
        cores, memory = dimensions.parse_amount(used.get("cpu")), dimensions.parse_amount(used.get("memory"))
        moment = _parse_time(at)
        if (pod, name, at) in self._seen or cores is None or memory is None or moment is None:
            return
        self._seen.add((pod, name, at))
        result.pods.add(pod)
        result.problem = ""
        result.usage.setdefault(name, right_sizing.Usage()).add(moment, cores)
        self._peaks[pod, name] = max(self._peaks.get((pod, name), 0), round(memory))
        result.current[pod, name] = round(memory)


def _parse_time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


# --- earlier runs


def read_earlier_results(env: Mapping[str, str] = os.environ) -> list[Any]:
    """The results of the step's earlier runs as Windmill keeps them, newest first; none outside a worker, or where they
    cannot be read."""
    if not env.get("WM_TOKEN") or not env.get("BASE_INTERNAL_URL"):
        return []
    from f.flexcore.lib.windmill import client as windmill_client

    try:
        windmill = windmill_client.Client()
        query = {"script_path_exact": STEP_PATH, "success": "true", "job_kinds": "script"}
        ids = [str(job["id"]) for job in windmill.finished_jobs(MAX_EARLIER_RUNS, **query)]
        return [job.get("result") for job in windmill.jobs(ids).values()]
    except errors.FlexcoreError:
        return []


def find_earlier_usage(
    results: list[Any], uid: str, program: str, container: str, now: float
) -> list[right_sizing.Usage]:
    """What earlier suggestions have measured of the same Deployment and the same program, within the time that
    counts."""
    found = []
    for result in results:
        data = result.get("data") if isinstance(result, dict) else None
        if not isinstance(data, dict) or data.get("program") != program:
            continue
        about = data.get("deployment")
        if not isinstance(about, dict) or about.get("uid") != uid or data.get("container") != container:
            continue
        usage = right_sizing.parse_usage(data.get("usage"))
        if usage and usage.until is not None and now - usage.until <= right_sizing.MAX_AGE_S:
            found.append(usage)
    return found
