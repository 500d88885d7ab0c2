# requirements: flexcore_kubernetes
"""What the observers of Jobs and rollouts share: how long a trouble is borne, and what is told, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import categories, container_ends

# A sidecar that ends soon after the program needs no word.
NOTICE_S: dict[str, float] = {categories.Category.SIDECAR_RUNNING: 5.0}


def say_now(text: str) -> None:
    """A step's output is a pipe, which would keep lines back until it is full."""
    print(text, flush=True)


class Patience:
    """How long a trouble has lasted; a trouble of another kind starts anew."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: tuple[str, float] | None = None

    def age_s(self, found: categories.Problem) -> float:
        """For how long it is known."""
        # image_unreachable and image_not_found are one trouble: the kubelet's messages change between its tries.
        kind = found.category.split("_", 1)[0]
        if self._since is None or self._since[0] != kind:
            self._since = (kind, self._clock())
        return self._clock() - self._since[1]

    def is_worth_a_word(self, found: categories.Problem) -> bool:
        return self.age_s(found) >= NOTICE_S.get(found.category, 0.0)

    def spent(self, found: categories.Problem, queue_s: float) -> bool:
        return self.age_s(found) >= (queue_s if found.grace_s is None else found.grace_s)


class Told:
    """Says what changed, once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._known: set[str] = set()
        self._last = ""

    def progress(self, pods: Sequence[Mapping[str, Any]]) -> None:
        for pod in pods:
            node, phase = (pod.get("spec") or {}).get("nodeName"), (pod.get("status") or {}).get("phase")
            if node or phase != "Pending":
                self.once(f"Pod {pod['metadata']['name']} is {str(phase).lower()}{f' on {node}' if node else ''}")
            self._restarts(pod)

    def _restarts(self, pod: Mapping[str, Any]) -> None:
        for item in container_ends.list_containers(pod):
            end = (item.status.get("lastState") or {}).get("terminated") or {}
            if item.is_running and item.status.get("restartCount"):
                code = f" after its exit code {end['exitCode']}" if "exitCode" in end else ""
                count = item.status["restartCount"]
                self.once(f"{item.label} of pod {pod['metadata']['name']} is started again{code} (restarts: {count})")

    def trouble(self, found: categories.Problem | None, runs: bool = False) -> None:
        """runs: whether the program runs meanwhile, so that nothing waits for it."""
        if found and found.category != self._last:
            self._last = found.category
            self._say(f"{'Seen' if runs else 'Waiting'} ({found.category}): {found.detail}")

    def once(self, text: str) -> None:
        if text not in self._known:
            self._known.add(text)
            self._say(text)
