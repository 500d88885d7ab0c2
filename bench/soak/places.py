"""What the executions run on: the embedded engine or a Windmill, and the services that they use, below one folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.soak.control import ControlHead, start_head
from bench.soak.embedded_engine import EmbeddedEngine
from bench.soak.services import Bucket, Cluster, Head, Service, Unavailable
from tests.live.conftest import Windmill

Json = dict[str, Any]


@dataclass(slots=True)
class Places:
    """engine: None on a Windmill. user: whose folder the resources are in."""

    folder: Path
    head: Head
    control: ControlHead
    cluster: Cluster
    bucket: Bucket
    engine: EmbeddedEngine | None
    server: Windmill | None
    user: str = ""
    resources: dict[str, str] = field(default_factory=dict)

    @property
    def windmill(self) -> Windmill:
        if self.engine is not None:
            return self.engine.windmill
        assert self.server is not None
        return self.server

    @property
    def services(self) -> tuple[Service, ...]:
        return self.head.service, self.cluster.service, self.bucket.service

    @property
    def settings(self) -> Json:
        """Of flows whose store is a folder."""
        return {"storage_uri": f"file://{self.folder}/store"}

    @property
    def reconcile_settings(self) -> Json:
        return self.settings | {
            "ray_clusters": [self.resources["ray"]],
            "kubernetes_clusters": [self.resources["kubernetes"]],
        }

    def name_resources(self) -> None:
        """Writes the clusters down as resources: reconcile finds them by their path."""
        self.user = self.windmill.call("GET", "users/whoami")["username"]
        given = {"ray": self.head.resource, "kubernetes": self.cluster.resource}
        for name, value in given.items():
            path = f"u/{self.user}/soak_{self.folder.name.replace('-', '_')}_{name}"
            kind = {"ray": "c_ray_cluster", "kubernetes": "c_kubernetes_cluster"}[name]
            body = {"path": path, "value": value, "resource_type": kind}
            self.windmill.call("POST", "resources/create?update_if_exists=true", body)
            self.resources[name] = path


@contextmanager
def open_places(folder: Path, retention_s: float, server: Windmill | None) -> Iterator[Places]:
    broken = ThreadingHTTPServer(("127.0.0.1", 0), Unavailable)
    threading.Thread(target=broken.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{broken.server_port}"
    opened: list[Any] = []

    def keep(thing: Any) -> Any:
        opened.append(thing)
        return thing

    places = None
    try:
        engine = None if server else keep(EmbeddedEngine(folder, retention_s))
        heads = keep(Head(folder / "ray", url)), keep(ControlHead(start_head(folder / "control")))
        places = Places(folder, *heads, keep(Cluster(url)), keep(Bucket(url)), engine, server)
        places.name_resources()
        yield places
    finally:
        if server and places:
            for path in places.resources.values():
                server.call("DELETE", f"resources/delete/{path}")
        for thing in reversed(opened):
            thing.close()
        broken.shutdown()
        broken.server_close()
