# requirements: flexcore_base
"""What operations ask of the commands of a worker: its health, and those that carry our labels."""

from __future__ import annotations

import os
from typing import Any

from f.flexcore.lib.command import processes
from f.flexcore.lib.core import operation, remote_objects


def health(place: str) -> operation.Health:
    running = sum(command.is_running() for command in processes.list_commands())
    return operation.Health("command", place, "ready", version="1", cpus_total=os.cpu_count(), queue=running)


class CommandObjects:
    """`place` is the worker's name."""

    def __init__(self, place: str, resource: Any = None, namespace: str = "") -> None:
        self.place = place

    def find(self) -> list[remote_objects.RemoteObject]:
        return [self._remote_object(command) for command in processes.list_commands()]

    def stop(self, item: remote_objects.RemoteObject) -> str:
        command = processes.get_command(item.name)
        if command.state.get("uid") != item.uid or not command.is_running():
            return "had gone"
        command.kill()
        return "stopped"

    def delete(self, item: remote_objects.RemoteObject) -> str:
        processes.get_command(item.name).remove()
        return "deleted"

    def _remote_object(self, command: processes.Command) -> remote_objects.RemoteObject:
        state = command.state
        return remote_objects.RemoteObject(
            runtime="command",
            place=self.place,
            kind="command",
            name=command.name,
            uid=state["uid"],
            state="running" if command.is_running() else "finished",
            labels=state["labels"],
            deadline=state["deadline"],
            delete_after=state["deadline"],
        )
