# requirements: flexcore_base
"""The ingress of an application: gives each version of a model its share of the requests. Shipped to replicas by value.

Versions are applications of their own, asked by handle. Their weights come by `user_config`, so they change without a
restart. Every answer names the version that gave it (VERSION_HEADER); requests with the same ROUTE_KEY_HEADER go to the
same version as long as the weights stay.

    GET /v2/traffic     {weights, requests: {version: count}} of the replica that answers
    …/versions/V/…      goes to version V, whatever its weight
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import json
import random
import re
import time
from typing import Any

from f.flexcore.lib.ray.remote import serve_apps

Json = dict[str, Any]
VERSION_HEADER = "x-flexcore-model-version"
ROUTE_KEY_HEADER = "x-flexcore-route-key"
VERSION_PATH = re.compile(r"/versions/([^/]+)")
METADATA_PATH = re.compile(r"/v2/models/[^/]+")
# A replica that dies with a request in its hands, or a version that is just going: an inference may be asked again.
MAX_TRIES = 3
RETRY_INTERVAL_S = 0.2
# gRPC straight to the replica takes half the time of Ray's object store, and at most 4 MiB.
MAX_DIRECT_BYTES = 1024 * 1024
LATENCIES_MS = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0]


class Shares:
    """Versions by their weights. Pure."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.names = [name for name, weight in weights.items() if weight > 0]
        self.bounds, total = [], 0.0
        for name in self.names:
            total += weights[name]
            self.bounds.append(total)

    def choose(self, key: str | None = None) -> str:
        """A version at random, or always the same for a key."""
        if key is None:
            point = random.random()
        else:
            point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
        return self.names[min(bisect.bisect_right(self.bounds, point * self.bounds[-1]), len(self.names) - 1)]


class Traffic:
    """One replica of the ingress."""

    def __init__(self) -> None:
        self.token, self.shares = -1, Shares({})
        self.weights: dict[str, float] = {}
        # By version: straight to a replica, and through Ray's object store.
        self.handles: dict[str, tuple[Any, Any]] = {}
        self.counts: dict[str, int] = {}
        self.counter, self.latency = make_metrics()

    def reconfigure(self, config: Json) -> None:
        """Takes new weights while it answers. A change with an older token than the one it has is a late one of a run
        that has lost its lease: it is passed over."""
        from ray import serve

        traffic = config[serve_apps.TRAFFIC]
        if int(traffic["token"]) < self.token:
            return
        handles = {}
        for version, app in traffic["applications"].items():
            # The application stands beside this one: whether it answers is for the deployment to wait for.
            handles[version] = self.handles.get(version) or get_handles(serve, app)
        shares = Shares(traffic["weights"])
        self.token, self.weights = int(traffic["token"]), dict(traffic["weights"])
        self.handles, self.shares = handles, shares

    async def __call__(self, request: Any) -> Any:
        from starlette.responses import Response

        started = time.perf_counter()
        path = request.scope["path"]
        path = (path[path.index("/v2") :] if "/v2" in path else path).rstrip("/")
        if path == "/v2/traffic":
            facts = {"weights": self.weights, "requests": self.counts}
            return Response(json.dumps(facts), media_type="application/json")
        body = await request.body() if request.method == "POST" else b""
        version, status, content = await self.ask(request.method, path, body, request.headers.get(ROUTE_KEY_HEADER))
        if status == 200 and request.method == "GET" and METADATA_PATH.fullmatch(path):
            content = json.dumps({**json.loads(content), "versions": sorted(self.handles)}).encode()
        self.count(version, status, 1000 * (time.perf_counter() - started))
        return Response(content, status, {VERSION_HEADER: version}, "application/json")

    async def ask(self, method: str, path: str, body: bytes, key: str | None) -> tuple[str, int, bytes]:
        """(version, status, body) of the version whose turn it is."""
        from grpc import RpcError  # type: ignore[import-untyped]
        from ray import exceptions

        named, is_direct = VERSION_PATH.search(path), len(body) <= MAX_DIRECT_BYTES
        for left in reversed(range(MAX_TRIES)):
            version = named[1] if named and named[1] in self.handles else self.shares.choose(key)
            direct, by_reference = self.handles[version]
            try:
                status, content = await (direct if is_direct else by_reference).remote(method, path, body)
                return version, status, content
            except exceptions.RayActorError:
                if not left:
                    raise
                await asyncio.sleep(RETRY_INTERVAL_S)
            except RpcError:
                # The answer is too large for it, or the connection broke while the replica lives.
                if not is_direct or not left:
                    raise
                is_direct = False
        raise AssertionError("the last try returns or raises")

    def count(self, version: str, status: int, milliseconds: float) -> None:
        self.counts[version] = self.counts.get(version, 0) + 1
        self.counter.inc(tags={"version": version, "code": str(status)})
        self.latency.observe(milliseconds, tags={"version": version})


def make_metrics() -> tuple[Any, Any]:
    """Of each version: answers by HTTP status, and how long they took; Ray exports them to Prometheus."""
    from ray.serve import metrics

    make_counter: Any = metrics.Counter
    make_histogram: Any = metrics.Histogram
    counter = make_counter("flexcore_model_requests", "Answers of a model version", ("version", "code"))
    latency = make_histogram(
        "flexcore_model_latency_ms", "Milliseconds until a model version had answered", LATENCIES_MS, ("version",)
    )
    return counter, latency


def get_handles(serve: Any, app: str) -> tuple[Any, Any]:
    """How to ask a version: straight to a replica, and through Ray's object store, which takes any size. A Ray without
    the first has the second for both."""
    handle = serve.get_deployment_handle(serve_apps.MODEL_DEPLOYMENT, app_name=app, _check_exists=False)
    by_reference = handle.options(method_name="ask")
    try:
        return handle.options(method_name="ask", _by_reference=False), by_reference
    except TypeError:
        return by_reference, by_reference
