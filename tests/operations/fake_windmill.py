"""A Windmill's jobs and resources on a real local port, as the test sets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from f.flexcore.lib.windmill.client import Client
from tests.local_server import LocalServer

Route = Callable[[str, dict[str, list[str]]], tuple[int, Any]]


class FakeWindmill(LocalServer):
    """queue: id → job that waits or runs; completed: ids; ended: id → job that has ended, whole.

    broken: answers every request with this status.

    route: answers (path, query) in place of all these.
    """

    def __init__(self) -> None:
        self.queue: dict[str, dict[str, Any]] = {}
        self.completed: set[str] = set()
        self.ended: dict[str, dict[str, Any]] = {}
        self.resumed: dict[str, Any] = {}
        self.resume_status = 200
        self.resources: dict[str, Any] = {}
        self.route: Route | None = None
        self.broken = 0
        self.requests: list[str] = []
        self.authorizations: list[str | None] = []
        super().__init__(self._handler())

    def client(self) -> Client:
        return Client("token", workspace="test", url=self.address)

    def runs(self, job: str, suspended: bool = False, **more: Any) -> None:
        self.queue[job] = {"id": job, "type": "QueuedJob", "running": True, "suspend": int(suspended), **more}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if self.broken:
            return self.broken, "no"
        if self.route:
            return self.route(path, query)
        name = path.rsplit("/", 1)[-1]
        if path.endswith("/jobs/queue/list"):
            wanted = query.get("script_path_exact", [""])[0]
            jobs = [job for job in self.queue.values() if not wanted or job.get("script_path") == wanted]
            size, page = int(query["per_page"][0]), int(query["page"][0])
            return 200, jobs[(page - 1) * size : page * size]
        if "/jobs_u/get/" in path:
            if name in self.queue:
                return 200, self.queue[name]
            if name in self.ended:
                return 200, self.ended[name]
            return (200, {"id": name, "type": "CompletedJob"}) if name in self.completed else (404, "not found")
        if "/jobs/flow/resume/" in path and method == "POST":
            self.resumed[name] = body
            return self.resume_status, ""
        if "/resources/get_value_interpolated/" in path:
            resource = path.partition("/get_value_interpolated/")[2]
            return (200, self.resources[resource]) if resource in self.resources else (404, "Not found")
        return 404, "no such path"

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
                fake.authorizations.append(self.headers.get("Authorization"))
                body = json.loads(content) if content else None
                status, value = fake.answer(self.command, url.path, parse_qs(url.query), body)
                payload = (value if isinstance(value, str) else json.dumps(value)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = respond

            def log_message(self, *_: object) -> None:
                return None

        return Handler
