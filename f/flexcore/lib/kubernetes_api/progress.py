# requirements: flexcore_kubernetes
"""What the observers of Jobs and rollouts share: how long a problem is given to pass, and what is reported, once.

The periods stand with the problems: PULL_GRACE_S in image_pull, CONFIG_, CRASH_ and HELD_GRACE_S in pod_problems, those
of a Job without a pod in admission. What pods get to end after SIGTERM is their terminationGracePeriodSeconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes_api import categories, container_ends

# A sidecar that ends soon after the program need not be mentioned.
NOTICE_S: dict[str, float] = {categories.Category.SIDECAR_RUNNING: 5.0}


def report_now(text: str) -> None:
    """A step's output is a pipe, which would keep lines back until it is full."""
    print(text, flush=True)


class GracePeriod:
    """How long a problem has lasted; a problem of another kind starts anew."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: tuple[str, float] | None = None

    def age_s(self, problem: categories.Problem) -> float:
        """For how long it is known."""
        # image_unreachable and image_not_found are one problem: the kubelet's messages change between its tries.
        kind = problem.category.split("_", 1)[0]
        if self._since is None or self._since[0] != kind:
            self._since = (kind, self._clock())
        return self._clock() - self._since[1]

    def is_noticeable(self, problem: categories.Problem) -> bool:
        return self.age_s(problem) >= NOTICE_S.get(problem.category, 0.0)

    def is_over(self, problem: categories.Problem, queue_timeout_s: float) -> bool:
        """Whether it has outlasted its own grace period, or, where a queue may hold the work back, the queue's time."""
        return self.age_s(problem) >= (queue_timeout_s if problem.grace_s is None else problem.grace_s)


class ProgressReporter:
    """Reports what changed, once."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._reported: set[str] = set()
        self._last_category = ""

    def report_pods(self, pods: Sequence[Mapping[str, Any]]) -> None:
        for pod in pods:
            node, phase = (pod.get("spec") or {}).get("nodeName"), (pod.get("status") or {}).get("phase")
            if node or phase != "Pending":
                self.report_once(
                    f"Pod {pod['metadata']['name']} is {str(phase).lower()}{f' on {node}' if node else ''}"
                )
            self._report_restarts(pod)

    def _report_restarts(self, pod: Mapping[str, Any]) -> None:
        for item in container_ends.list_containers(pod):
            end = (item.status.get("lastState") or {}).get("terminated") or {}
            if item.is_running and item.status.get("restartCount"):
                code = f" after its exit code {end['exitCode']}" if "exitCode" in end else ""
                count = item.status["restartCount"]
                self.report_once(
                    f"{item.label} of pod {pod['metadata']['name']} is started again{code} (restarts: {count})"
                )

    def report_problem(self, problem: categories.Problem | None, has_started: bool = False) -> None:
        """has_started: whether the program runs meanwhile, so that nothing waits for it."""
        if problem and problem.category != self._last_category:
            self._last_category = problem.category
            self._report(f"{'Seen' if has_started else 'Waiting'} ({problem.category}): {problem.detail}")

    def report_once(self, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            self._report(text)
