# requirements: flexcore_kubernetes
"""One pass over all clusters: what is there, who owns it, what is done about it.

clusters ─found─→ objects ─┐
                           ├─decide─→ at most `most` actions, the rest left for the next pass
Windmill ─queue──→ owners ─┘
The objects are listed before the owners: an object whose owner is then in no queue was made by a job that has ended
since, or that is asked about by its id.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, remote_objects

# Clusters are asked side by side, so that one that does not answer delays none.
AT_ONCE = 8
# Windmill answers some hundred such questions in a second.
MOST_ASKED = 100


class Owners(Protocol):
    workspace: str

    def queue(self) -> dict[str, dict[str, Any]]: ...
    def ended(self, ids: list[str]) -> dict[str, remote_objects.Owner]: ...
    def resume(self, flow: str, verdict: dict[str, Any]) -> str: ...


@dataclass(frozen=True, slots=True)
class Done:
    """One line of a pass's table."""

    place: str
    runtime: str
    object: str
    state: str
    owner: str
    action: str
    outcome: str
    reason: str


@dataclass(slots=True)
class Pass:
    """most: how many objects may be acted upon; dry_run: nothing is, and the table says what would be."""

    owners: Owners
    now: float
    most: int
    dry_run: bool = False
    done: list[Done] = field(default_factory=list)

    def run(self, clusters: Sequence[tuple[str, runtimes.RemoteObjects]]) -> list[Done]:
        """Raises Forbidden or Unreachable when Windmill cannot be asked; a cluster that cannot is a line of its own."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            looked = list(pool.map(lambda cluster: self._look(*cluster), clusters))
            states = self._owner_states([item for found in looked for item in found])
            for (_, cluster), items in zip(clusters, looked, strict=True):
                self._judge(cluster, items, states, pool)
        return sorted(self.done, key=lambda line: (line.action == "leave", line.place, line.object))

    def _look(self, place: str, cluster: runtimes.RemoteObjects) -> list[remote_objects.RemoteObject]:
        try:
            return cluster.find()
        except errors.FlexcoreError as error:
            self.note_failure(place, "", error)
            return []

    def note_failure(self, place: str, runtime: str, error: errors.FlexcoreError) -> None:
        """A cluster that cannot be looked at is a line of its own; nothing in it is taken for gone."""
        self.done.append(Done(place, runtime, "", "", "", "leave", "could not be looked at", str(error)))

    def _owner_states(self, items: Sequence[remote_objects.RemoteObject]) -> dict[str, remote_objects.Owner]:
        """By owner job. Those that decide nothing are not asked about; of very many, some at each pass: those that
        Windmill does not know would otherwise stand in the way of the others for ever."""
        queue = self.owners.queue()
        mine = {item.owner for item in items if item.owner and self._here(item)}
        states: dict[str, remote_objects.Owner] = {
            job: "suspended" if queue[job].get("suspend") else "running" for job in mine if job in queue
        }
        asked = [
            item.owner
            for item in items
            if item.owner in mine - states.keys() and (item.state == "running" or item.delete_after is not None)
        ]
        unsure = list(dict.fromkeys(asked))
        return states | self.owners.ended(random.sample(unsure, min(len(unsure), MOST_ASKED)))

    def _here(self, item: remote_objects.RemoteObject) -> bool:
        return item.labels.get("flexcore/workspace") == self.owners.workspace

    def _judge(
        self,
        cluster: runtimes.RemoteObjects,
        items: Sequence[remote_objects.RemoteObject],
        states: dict[str, remote_objects.Owner],
        pool: ThreadPoolExecutor,
    ) -> None:
        judged = []
        for item in items:
            owner = states.get(item.owner, "unknown") if self._here(item) else "unknown"
            judged.append((item, owner, remote_objects.decide(item, owner, self.now)))
        acted = [entry for entry in judged if entry[2].action != "leave"]
        left = max(0, self.most - sum(line.action != "leave" for line in self.done))
        for entry in judged:
            if entry[2].action == "leave":
                self._note(*entry, "left")
        for entry in acted[left:]:
            self._note(
                entry[0],
                entry[1],
                remote_objects.Decision("leave", f"{entry[2].reason}; left for the next pass"),
                "left",
            )
        outcomes = pool.map(lambda entry: self._act(cluster, entry[0], entry[2]), acted[:left])
        for entry, outcome in zip(acted[:left], outcomes, strict=True):
            self._note(*entry, outcome)

    def _act(
        self, cluster: runtimes.RemoteObjects, item: remote_objects.RemoteObject, decision: remote_objects.Decision
    ) -> str:
        if self.dry_run:
            return "dry run"
        verbs: dict[str, Callable[[], str]] = {
            "stop": lambda: cluster.stop(item),
            "delete": lambda: cluster.delete(item),
            "resume": lambda: self.owners.resume(item.owner, {"name": item.name, "uid": item.uid}),
        }
        try:
            return verbs[decision.action]()
        except errors.FlexcoreError as error:
            return f"failed: {error}"

    def _note(
        self,
        item: remote_objects.RemoteObject,
        owner: remote_objects.Owner,
        decision: remote_objects.Decision,
        outcome: str,
    ) -> None:
        name = f"{item.kind} {item.namespace}/{item.name}" if item.namespace else f"{item.kind} {item.name}"
        said = (decision.action, outcome, decision.reason)
        self.done.append(Done(item.place, item.runtime, name, item.state, f"{item.owner} {owner}".strip(), *said))
