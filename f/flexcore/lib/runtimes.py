# requirements: flexcore_kubernetes
"""The runtimes. A new one is a room of its own and one entry here; its modules are imported only when they are
needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from f.flexcore.lib.core import remote_objects, runtime_health


class RemoteObjects(Protocol):
    """Our objects in one cluster, named by its resource's path. Each verb raises FlexcoreError, and says what became
    of the object."""

    def found(self) -> list[remote_objects.RemoteObject]: ...
    def stop(self, item: remote_objects.RemoteObject) -> str: ...
    def delete(self, item: remote_objects.RemoteObject) -> str: ...


@dataclass(frozen=True, slots=True)
class Room:
    """health: `module:function` of (place) for a runtime of the worker itself, or of (place, resource, namespace).
    clusters: the field of the settings that lists its clusters; objects: `module:class` of RemoteObjects, made of
    (place, resource, namespace), for a runtime that keeps some."""

    health: str
    clusters: str | None = None
    objects: str | None = None


ROOMS = {
    "meltano": Room("f.flexcore.lib.meltano.health:health"),
    "ray": Room("f.flexcore.lib.ray.health:health", "ray_clusters", "f.flexcore.lib.ray.remote_objects:RayObjects"),
    "kubernetes": Room(
        "f.flexcore.lib.kubernetes.health:health",
        "kubernetes_clusters",
        "f.flexcore.lib.kubernetes.remote_objects:KubernetesObjects",
    ),
}


def open_remote_objects(runtime: str, place: str, resource: Any, namespace: str) -> RemoteObjects:
    """Raises InvalidInput when the resource is none of that runtime."""
    objects: RemoteObjects = _named(ROOMS[runtime].objects or "")(place, resource, namespace)
    return objects


def health_of(runtime: str) -> Callable[..., runtime_health.Health]:
    health: Callable[..., runtime_health.Health] = _named(ROOMS[runtime].health)
    return health


def _named(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)
