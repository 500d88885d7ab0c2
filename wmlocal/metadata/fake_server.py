"""What `wmill generate-metadata` asks of a server, answered on loopback: who am I, and dependency jobs.

A dependency job is done within its request, and its result is handed out when the CLI asks for it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wmlocal.metadata.locks import NoLock

Answer = tuple[int, Any]
# The lock of a script: its text, language, path, and the requirement files that it uses.
Lock = Callable[[str, str, str, dict[str, str]], str]
WORKSPACE = "local"
# Workspace dependencies need a server that says a version; this one's answers are of that version.
VERSION = "CE v1.743.0"
USER = {
    "email": "local@localhost",
    "username": "local",
    "is_admin": True,
    "is_super_admin": False,
    "groups": ["all"],
    "folders": [],
    "folders_owners": [],
    "operator": False,
    "disabled": False,
    "created_at": "1970-01-01T00:00:00Z",
}


class FakeServer:
    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        self.token = secrets.token_urlsafe(24)
        self.jobs: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Status and what to send: text as it is, everything else as JSON."""
        parts = path.split("?")[0].strip("/").removeprefix("api/").split("/")
        match [method, *parts]:
            case ["GET", "version"]:
                return 200, VERSION
            case ["GET", "users", "whoami"] | ["GET", "w", _, "users", "whoami"]:
                return 200, USER
            case ["GET", "workspaces", "list"] | ["GET", "workspaces", "users"]:
                return 200, [{"id": WORKSPACE, "name": WORKSPACE, "username": USER["username"]}]
            case ["POST", "workspaces", "exists"]:
                return 200, True
            case ["POST", "w", _, "scripts", "raw_temp", "diff"]:
                asked = json.loads(body)
                return 200, [*asked.get("scripts", {}), *(item["path"] for item in asked.get("workspace_deps", ()))]
            case ["POST", "w", _, "scripts", "raw_temp", *_]:
                return 200, hashlib.sha256(body).hexdigest()
            case ["POST", "w", _, "jobs", "run", "dependencies_async"]:
                return 201, self._run(json.loads(body), self._script)
            case ["POST", "w", _, "jobs", "run", "flow_dependencies_async"]:
                return 201, self._run(json.loads(body), self._flow)
            case ["GET", "w", _, "jobs_u", "completed", "get_result_maybe", job] if job in self.jobs:
                return 200, {"completed": True, **self.jobs[job]}
        return 404, f"{method} {path} is not answered here"

    def _run(self, asked: dict[str, Any], work: Callable[[dict[str, Any]], Any]) -> str:
        job = str(uuid.uuid4())
        try:
            self.jobs[job] = {"success": True, "result": work(asked)}
        except NoLock as error:
            self.jobs[job] = {"success": False, "result": {"error": {"message": str(error), "name": "ExecutionErr"}}}
        return job

    def _script(self, asked: dict[str, Any]) -> dict[str, str]:
        script = asked["raw_scripts"][0]
        sets = asked.get("raw_workspace_dependencies") or {}
        return {"lock": self.lock(script["raw_code"], script["language"], script["script_path"], sets), "status": "ok"}

    def _flow(self, asked: dict[str, Any]) -> dict[str, Any]:
        sets = asked.get("raw_workspace_dependencies") or {}
        for step in _raw_scripts(asked["flow_value"]):
            if step.get("lock"):
                continue
            step["lock"] = self.lock(step["content"], step["language"], asked.get("path", ""), sets)
        return {"updated_flow_value": asked["flow_value"], "status": "ok"}


def _raw_scripts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("type") == "rawscript":
            yield value
        for item in value.values():
            yield from _raw_scripts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _raw_scripts(item)


@contextmanager
def serving(fake_server: FakeServer) -> Iterator[str]:
    """The address, for as long as the context lasts. Who has not the token gets nothing done."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = self.headers.get("Authorization", "") + self.headers.get("Cookie", "")
            known = fake_server.token in given or self.path == "/api/version"
            status, answer = fake_server.answer(method, self.path, body) if known else (401, "no token")
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
