# requirements: flexcore_kubernetes
# py: ==3.11.*
"""The runtimes that keep objects of ours. A new one is a room of its own and one line here.

A room's module has a class with `found`, `stop` and `delete`; it is imported only when the settings name a
cluster of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from f.flexcore.core.orphans import RemoteObject


class RemoteObjects(Protocol):
    """Our objects in one cluster, named by its resource's path. Each verb raises FlexcoreError, and says what became
    of the object."""

    def found(self) -> list[RemoteObject]: ...
    def stop(self, item: RemoteObject) -> str: ...
    def delete(self, item: RemoteObject) -> str: ...


# runtime → (field of the settings that lists its clusters, module, class)
ROOMS = {
    "kubernetes": ("kubernetes_clusters", "f.flexcore.kubernetes.orphans", "KubernetesObjects"),
    "ray": ("ray_clusters", "f.flexcore.ray.orphans", "RayObjects"),
}


def remote_objects(runtime: str, place: str, resource: Any, namespace: str) -> RemoteObjects:
    """Raises InvalidInput when the resource is none of that runtime."""
    _, module, name = ROOMS[runtime]
    made: RemoteObjects = getattr(import_module(module), name)(place, resource, namespace)
    return made
