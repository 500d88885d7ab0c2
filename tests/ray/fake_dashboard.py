"""A Ray dashboard on a real local port that can be told to misbehave. It keeps jobs by submission id and runs none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.local_server import LocalServer

NODE = "abcdef"
Answer = tuple[int, Any]


class FakeDashboard(LocalServer):
    """jobs: submission id → details. `script`: called with (method, path) before each answer; what it returns is
    answered instead, None lets the request through, and "cut" closes the connection without an answer."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, str] = {}
        self.packages: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.serve: Answer = (200, {"applications": {}})
        self.logs = ""
        self.clock: Callable[[], float] = time.time
        self.script: Callable[[str, str], Answer | str | None] = lambda method, path: None
        # What a job does as soon as it was submitted.
        self.after_submit: Callable[[str], None] = lambda name: self.finish(name)
        super().__init__(handler_of(self))

    def finish(self, name: str, result: Any = None, error: dict[str, Any] | None = None, pip_wheel: str = "") -> None:
        """Lets a job end: its outcome file is written, and its status is final."""
        outcome = {"submission_id": name, "success": error is None, "result": result, "error": error}
        outcome["pip_wheel"] = pip_wheel
        self.files[f"flexcore-{name}.json"] = json.dumps(outcome)
        self.jobs[name] |= {"status": "FAILED" if error else "SUCCEEDED", "driver_node_id": NODE}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Answer:
        if path == "/api/version":
            return 200, {"ray_version": "2.60.0", "session_name": "session_1"}
        if path == "/api/cluster_status":
            return 200, {"data": {"clusterStatus": {"loadMetricsReport": {"usage": {"CPU": [4.0, 4.0]}}}}}
        if path == "/api/serve/applications/":
            return self.serve
        if path.startswith("/api/packages/"):
            self.packages[path.rsplit("/", 1)[-1]] = body
            return 200, {}
        if path == "/api/v0/logs/file":
            name = query["filename"][0]
            if name.startswith("job-driver-"):
                lines = int(query["lines"][0])
                return 200, self.logs if lines < 0 else "".join(self.logs.splitlines(keepends=True)[-lines:])
            return (200, self.files[name]) if name in self.files else (500, f"A file is not found at: /logs/{name}")
        return self._jobs(method, path, body)

    def _jobs(self, method: str, path: str, body: bytes) -> Answer:
        parts = [part for part in path.split("/") if part][2:]
        if not parts:
            return self._submit(json.loads(body)) if method == "POST" else (200, list(self.jobs.values()))
        if parts[0] not in self.jobs:
            return 404, f"Job {parts[0]} does not exist"
        job = self.jobs[parts[0]]
        if parts[1:] == ["stop"]:
            job["status"] = job.get("when_stopped", "STOPPED")
            return 200, {"stopped": True}
        if method == "DELETE":
            del self.jobs[parts[0]]
            return 200, {"deleted": True}
        return 200, job

    def _submit(self, body: dict[str, Any]) -> Answer:
        name = body["submission_id"]
        if name in self.jobs:
            return 500, f"Traceback\nValueError: Job with submission_id {name} already exists. Please use another."
        self.jobs[name] = {**body, "status": "RUNNING", "driver_node_id": NODE}
        self.after_submit(name)
        return 200, {"submission_id": name}


def handler_of(dashboard: FakeDashboard) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two packets: the second would wait 40 ms for the first to be acknowledged.
        disable_nagle_algorithm = True

        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            url = urlsplit(self.path)
            dashboard.requests.append(f"{self.command} {url.path}")
            told = dashboard.script(self.command, url.path)
            if told == "cut after":
                dashboard.answer(self.command, url.path, parse_qs(url.query), body)
            if isinstance(told, str):
                self.close_connection = True
                self.connection.close()
                return
            status, value = told or dashboard.answer(self.command, url.path, parse_qs(url.query), body)
            content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = respond

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(dashboard.clock() if timestamp is None else timestamp)

        def log_message(self, *_: object) -> None:
            return None

    return Handler
