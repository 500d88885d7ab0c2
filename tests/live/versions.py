"""Two small versions of a server on a real cluster, and a bounded constant load through the gateway before them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes

Object = dict[str, Any]
PORT = 8080
# Answers with its name; /break makes it fail, /slow makes it slow, /heal ends both. Probes and these are not counted.
PROGRAM = """
import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
state, counts = {"fail": False, "slow": 0.0}, {200: 0, 503: 0}
buckets = dict.fromkeys(["0.005", "0.05", "0.5", "5", "+Inf"], 0)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        code, body = 200, os.environ["VERSION"]
        if self.path == "/break": state["fail"] = True
        elif self.path == "/slow": state["slow"] = 1.0
        elif self.path == "/heal": state.update(fail=False, slow=0.0)
        elif self.path == "/metrics":
            lines = ['flexcore_requests_total{code="%d"} %d' % item for item in counts.items()]
            lines += ['flexcore_request_seconds_bucket{le="%s"} %d' % item for item in buckets.items()]
            body = "\\n".join([*lines, ""])
        elif self.path != "/live":
            started = time.monotonic()
            time.sleep(state["slow"])
            code = 503 if state["fail"] else 200
            counts[code] = counts.get(code, 0) + 1
            for bound in buckets: buckets[bound] += time.monotonic() - started <= float(bound)
        self.send_response(code)
        self.send_header("X-Version", os.environ["VERSION"])
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *args): pass
    protocol_version = "HTTP/1.1"
ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


@dataclass
class Versions:
    """The namespace of the versions. image: with Python."""

    kubernetes: Kubernetes
    namespace: str
    image: str

    def create(self, prefix: str, plural: str, body: Object, namespace: str = "") -> Object:
        where = namespace or self.namespace
        body = {"apiVersion": prefix.removeprefix("/apis/").removeprefix("/api/"), **body}
        path = f"{prefix}/namespaces/{where}/{plural}"
        created = self.kubernetes.create(path, body, Call("create", plural, where, body["metadata"]["name"]))
        assert created is not None, body["metadata"]["name"]
        return created

    def get(self, prefix: str, plural: str, name: str) -> Object:
        path = f"{prefix}/namespaces/{self.namespace}/{plural}/{name}"
        found = self.kubernetes.get(path, Call("get", plural, self.namespace, name))
        assert found is not None, name
        return found

    def route(self, name: str) -> Object:
        return self.get("/apis/gateway.networking.k8s.io/v1", "httproutes", name)

    def weights(self, name: str) -> dict[str, int]:
        return {ref["name"]: ref["weight"] for ref in self.route(name)["spec"]["rules"][0]["backendRefs"]}

    def deploy(self, name: str, replicas: int = 1, namespace: str = "", model: str = "demo") -> None:
        """As deploy_model does it: a Deployment and a Service of one name."""
        own = {"app.kubernetes.io/instance": name}
        labels = {**own, "flexcore/model": model, "app.kubernetes.io/managed-by": "flexcore"}
        notes = {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT)}
        get = {"httpGet": {"path": "/live", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 5}
        container = {
            "name": "server",
            "image": self.image,
            "command": ["python3", "-c", PROGRAM],
            "env": [{"name": "VERSION", "value": name}],
            "ports": [{"name": "http", "containerPort": PORT}],
            "readinessProbe": get,
            "lifecycle": {"preStop": {"exec": {"command": ["sleep", "3"]}}},
            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        }
        spec = {"containers": [container], "terminationGracePeriodSeconds": 5, "enableServiceLinks": False}
        template = {"metadata": {"labels": labels, "annotations": notes}, "spec": spec}
        meta = {"name": name, "labels": labels}
        body = {"replicas": replicas, "selector": {"matchLabels": own}, "template": template}
        self.create("/apis/apps/v1", "deployments", {"metadata": meta, "spec": body}, namespace)
        ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
        self.create("/api/v1", "services", {"metadata": meta, "spec": {"selector": own, "ports": ports}}, namespace)
        self.wait_ready(name, namespace)

    def wait_ready(self, name: str, namespace: str = "") -> None:
        until = time.monotonic() + 120
        path = f"/apis/apps/v1/namespaces/{namespace or self.namespace}/deployments/{name}"
        while True:
            item = self.kubernetes.get(path, Call("get", "deployments", self.namespace, name)) or {}
            if (item.get("status") or {}).get("readyReplicas", 0) >= item["spec"]["replicas"]:
                return
            assert time.monotonic() < until, item.get("status")
            time.sleep(0.5)

    def scale(self, name: str, replicas: int) -> None:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"
        call = Call("patch", "deployments", self.namespace, name)
        assert self.kubernetes.patch(path, {"spec": {"replicas": replicas}}, call)

    def tell(self, name: str, what: str) -> None:
        """break, slow or heal."""
        path = f"/api/v1/namespaces/{self.namespace}/services/{name}:{PORT}/proxy/{what}"
        code, _ = self.kubernetes.request_raw("GET", path, None, Call("get", "services/proxy", self.namespace, name))
        assert code == 200, code


@dataclass
class Load:
    """What the users of a route saw. lost: requests that no version answered."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    times: list[tuple[float, str, int]] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return sum(self.answers.values()) + len(self.lost)

    def last_of(self, version: str) -> float:
        """When that version answered for the last time, by the monotonic clock."""
        return max((at for at, name, _ in self.times if name == version), default=0.0)


@contextmanager
def constant_load(url: str, host: str, per_second: int = 40, limit_s: float = 240.0) -> Iterator[Load]:
    """Requests from several threads until the block ends, at the latest after `limit_s`."""
    load, stop, lock = Load(), threading.Event(), threading.Lock()
    threads, until = 4, time.monotonic() + limit_s

    def work() -> None:
        with httpx.Client(timeout=10, headers={"Host": host}) as client:
            while not stop.is_set() and time.monotonic() < until:
                started = time.monotonic()
                try:
                    answer = client.get(f"{url}/predict")
                    name, problem = answer.headers.get("X-Version", ""), f"HTTP {answer.status_code}"
                except httpx.HTTPError as error:
                    name, problem, answer = "", type(error).__name__, None
                with lock:
                    if answer is not None and name:
                        load.answers[name, answer.status_code] += 1
                        load.times.append((time.monotonic(), name, answer.status_code))
                    else:
                        load.lost.append(problem)
                stop.wait(max(0.0, threads / per_second - (time.monotonic() - started)))

    running = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in running:
            thread.join(15)
