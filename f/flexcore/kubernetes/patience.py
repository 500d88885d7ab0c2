# requirements: flexcore_kubernetes
# py: ==3.11.*
"""What the observers of Jobs and rollouts share: how long a trouble is borne, and what is told, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from f.flexcore.kubernetes.diagnosis import Trouble


def say_now(text: str) -> None:
    """A step's output is a pipe, which would keep lines back until it is full."""
    print(text, flush=True)


class Patience:
    """How long a trouble has lasted; a trouble of another kind starts anew."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: tuple[str, float] | None = None

    def spent(self, found: Trouble, queue_s: float) -> bool:
        # image_unreachable and image_not_found are one trouble: the kubelet's messages change between its tries.
        kind = found.category.split("_", 1)[0]
        if self._since is None or self._since[0] != kind:
            self._since = (kind, self._clock())
        limit = found.grace_s
        if limit is None:
            # What a queue holds back may wait as long as the work itself may take.
            limit = float("inf") if found.category == "suspended" else queue_s
        return self._clock() - self._since[1] >= limit


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

    def trouble(self, found: Trouble | None) -> None:
        if found and found.category != self._last:
            self._last = found.category
            self._say(f"Waiting ({found.category}): {found.detail}")

    def once(self, text: str) -> None:
        if text not in self._known:
            self._known.add(text)
            self._say(text)
