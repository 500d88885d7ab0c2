# requirements: flexcore_kubernetes
# py: ==3.11.*
"""The runtimes. A new one is a room of its own and one entry here; its modules are imported only when they are
needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from f.flexcore.core.health import Health
from f.flexcore.core.orphans import RemoteObject


class RemoteObjects(Protocol):
    """Our objects in one cluster, named by its resource's path. Each verb raises FlexcoreError, and says what became
    of the object."""

    def found(self) -> list[RemoteObject]: ...
    def stop(self, item: RemoteObject) -> str: ...
    def delete(self, item: RemoteObject) -> str: ...


@dataclass(frozen=True, slots=True)
class Room:
    """health: `module:function` of (place) for a runtime of the worker itself, or of (place, resource, namespace).
    clusters: the field of the settings that lists its clusters; objects: `module:class` of RemoteObjects, made of
    (place, resource, namespace), for a runtime that keeps some."""

    health: str
    clusters: str | None = None
    objects: str | None = None


ROOMS = {
    "meltano": Room("f.flexcore.meltano.health:health"),
    "ray": Room("f.flexcore.ray.health:health", "ray_clusters", "f.flexcore.ray.orphans:RayObjects"),
    "kubernetes": Room(
        "f.flexcore.kubernetes.health:health", "kubernetes_clusters", "f.flexcore.kubernetes.orphans:KubernetesObjects"
    ),
}


def open_remote_objects(runtime: str, place: str, resource: Any, namespace: str) -> RemoteObjects:
    """Raises InvalidInput when the resource is none of that runtime."""
    objects: RemoteObjects = _named(ROOMS[runtime].objects or "")(place, resource, namespace)
    return objects


def health_of(runtime: str) -> Callable[..., Health]:
    health: Callable[..., Health] = _named(ROOMS[runtime].health)
    return health


def _named(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)
