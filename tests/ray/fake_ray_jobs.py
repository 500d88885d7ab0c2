"""A Kubernetes API with KubeRay on a real local port: it keeps objects, and `story` plays the operator and Kueue.

story(fake, ray_job) is told before each read of a RayJob, and may change its status. The head of a ready cluster is a
FakeDashboard behind the API server's proxy.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.local_server import LocalServer
from tests.ray.fake_dashboard import FakeDashboard

Object = dict[str, Any]
Answer = tuple[int, Any]
NAMESPACE = "work"
RAY_JOBS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs"
CLUSTERS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
WORKLOADS = f"/apis/kueue.x-k8s.io/v1beta1/namespaces/{NAMESPACE}/workloads"


def status(code: int, reason: str, message: str) -> Answer:
    return code, {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


class FakeKubeRay(LocalServer):
    """objects: path → object. served: whether KubeRay's CRDs are there; unknown_fields: what its CRD does not know.
    script: called with (method, path) before each request; what it returns is answered instead, "cut" closes the
    connection without an answer, "cut after" once the request has taken effect."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.dashboard = FakeDashboard()
        self.served, self.kueue = True, True
        self.unknown_fields: list[str] = []
        self.requests: list[str] = []
        self.script: Callable[[str, str], Answer | str | None] = lambda method, path: None
        self.story: Callable[[FakeKubeRay, Object], None] = starts_at_once
        self._lock = threading.RLock()
        super().__init__(self._handler())

    @property
    def ray_jobs(self) -> list[Object]:
        return [item for path, item in self.objects.items() if path.startswith(RAY_JOBS)]

    def keep(self, folder: str, item: Object) -> Object:
        metadata = item["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        self.objects[f"{folder}/{metadata['name']}"] = item
        return item

    def drop(self, path: str) -> None:
        """The object goes, with what it owns."""
        gone = self.objects.pop(path)["metadata"]["uid"]
        for other, item in list(self.objects.items()):
            if any(owner.get("uid") == gone for owner in item["metadata"].get("ownerReferences") or []):
                self.drop(other)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        if path == "/apis/ray.io":
            return (200, {"versions": [{"version": "v1"}]}) if self.served else (404, "404 page not found")
        if path == "/apis/kueue.x-k8s.io":
            return (200, {"preferredVersion": {"version": "v1beta1"}}) if self.kueue else (404, "404 page not found")
        if method == "POST":
            return self._create(path, query, body)
        if method == "DELETE":
            return self._delete(path, body)
        if path in ("/apis/ray.io/v1/rayjobs", "/apis/ray.io/v1/rayclusters"):
            path = RAY_JOBS if path.endswith("rayjobs") else CLUSTERS
        if path in (RAY_JOBS, CLUSTERS, PODS, EVENTS, WORKLOADS):
            return 200, {"metadata": {"resourceVersion": "1"}, "items": self._select(path, query)}
        if path not in self.objects:
            return status(404, "NotFound", f"{path.rsplit('/', 1)[-1]} not found")
        if path.startswith(RAY_JOBS):
            self.story(self, self.objects[path])
            if path not in self.objects:
                return status(404, "NotFound", "not found")
        return 200, self.objects[path]

    def _create(self, path: str, query: dict[str, list[str]], body: Object) -> Answer:
        for field in self.unknown_fields:
            if f'"{field}"' in json.dumps(body):
                return status(400, "BadRequest", f'strict decoding error: unknown field "spec.{field}"')
        if f"{path}/{body['metadata']['name']}" in self.objects:
            return status(409, "AlreadyExists", "already exists")
        if query.get("dryRun"):
            return 201, body
        if "stringData" in body:
            body["data"] = {key: base64.b64encode(text.encode()).decode() for key, text in body["stringData"].items()}
        return 201, self.keep(path, body)

    def _delete(self, path: str, body: Object) -> Answer:
        item = self.objects.get(path)
        if item is None:
            return status(404, "NotFound", "not found")
        wanted = (body.get("preconditions") or {}).get("uid")
        if wanted and wanted != item["metadata"]["uid"]:
            return status(409, "Conflict", "the UID in the precondition differs")
        self.drop(path)
        return 200, {"kind": "Status", "status": "Success"}

    def _select(self, path: str, query: dict[str, list[str]]) -> list[Object]:
        found = [item for name, item in self.objects.items() if name.startswith(f"{path}/")]
        terms = query.get("labelSelector", [""])[0]
        for term in filter(None, terms.split(",")):
            key, _, value = term.partition("=")
            found = [item for item in found if (item["metadata"].get("labels") or {}).get(key) == value]
        uid = query.get("fieldSelector", [""])[0].partition("involvedObject.uid=")[2]
        return [item for item in found if not uid or item["involvedObject"]["uid"] == uid]

    def _proxied(self, method: str, path: str, query: dict[str, list[str]], content: bytes) -> Answer:
        service = path.split("/services/")[1].split(":")[0].removesuffix("-head-svc")
        if f"{CLUSTERS}/{service}" not in self.objects:
            return status(404, "NotFound", f'services "{service}-head-svc" not found')
        inner = path.split("/proxy", 1)[1]
        told = self.dashboard.script(method, inner)
        if isinstance(told, tuple):
            return told
        return self.dashboard.answer(method, inner, query, content)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two packets: the second would wait 40 ms for the first to be acknowledged.
            disable_nagle_algorithm = True

            def respond(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = urlsplit(self.path)
                fake.requests.append(f"{self.command} {url.path}")
                told = fake.script(self.command, url.path)
                if told == "cut":
                    self.close_connection = True
                    self.connection.close()
                    return
                query = parse_qs(url.query)
                with fake._lock:
                    if isinstance(told, tuple):
                        code, value = told
                    elif "/proxy/" in url.path:
                        code, value = fake._proxied(self.command, url.path, query, content)
                    else:
                        body = json.loads(content) if content else None
                        code, value = fake.answer(self.command, url.path, query, body)
                    payload = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                if told == "cut after":
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = respond

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(timestamp, usegmt=True)

            def log_message(self, *_: object) -> None:
                return None

        return Handler


# --- stories: what the operator and the queue do


def make_cluster(fake: FakeKubeRay, ray_job: Object, suffix: str = "aaaaa") -> str:
    """The RayCluster of a RayJob, with a Service that answers."""
    name = f"{ray_job['metadata']['name']}-{suffix}"
    owner = {"uid": ray_job["metadata"]["uid"]}
    if f"{CLUSTERS}/{name}" not in fake.objects:
        metadata = {"name": name, "ownerReferences": [owner], "labels": dict(ray_job["metadata"]["labels"])}
        cluster = fake.keep(CLUSTERS, {"metadata": metadata, "spec": ray_job["spec"]["rayClusterSpec"], "status": {}})
        if "authOptions" in cluster["spec"]:
            owned = {"name": name, "ownerReferences": [{"uid": cluster["metadata"]["uid"]}]}
            fake.keep(
                SECRETS, {"metadata": owned, "data": {"auth_token": base64.b64encode(b"made-by-kuberay").decode()}}
            )
    return name


def set_status(ray_job: Object, deployment: str, **more: str) -> None:
    ray_job.setdefault("status", {}).update({"jobDeploymentStatus": deployment, **more})


def starts_at_once(fake: FakeKubeRay, ray_job: Object) -> None:
    """The operator of KubeRay: a cluster at once, and Ray's own word copied."""
    if (ray_job.get("status") or {}).get("jobDeploymentStatus") in ("Complete", "Failed", "ValidationFailed"):
        return
    name = make_cluster(fake, ray_job)
    set_status(ray_job, "Running", rayClusterName=name)
    copy_status(fake, ray_job)


def copy_status(fake: FakeKubeRay, ray_job: Object) -> None:
    job = fake.dashboard.jobs.get(ray_job["metadata"]["name"])
    if job:
        ray_job["status"]["jobStatus"] = job["status"]
        if job["status"] in ("SUCCEEDED", "FAILED", "STOPPED"):
            failed = job["status"] == "FAILED"
            set_status(ray_job, "Failed" if failed else "Complete", reason="AppFailed" if failed else "")
