"""A proxy between a step and its server: it passes everything on, notes what was asked, and can hold one request, or
all that is under way, until the test has killed whoever asked.

    gate = proxy.hold("POST", r"/jobs$")                # the next such request does not reach the server …
    gate = proxy.hold("POST", r"/jobs$", answer=True)   # … or does, and its answer does not come back
    gate.wait(); …; gate.open()                         # or gate.drop(): it never arrives
    proxy.pause(); …; proxy.resume()                    # nothing passes, in either direction
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PATIENCE_S = 120.0
# Said anew on each connection, or about this proxy's own one.
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


@dataclass
class Gate:
    """One request that is held. `answer`: its answer is, not itself."""

    method: str
    path: re.Pattern[str]
    answer: bool
    reached: threading.Event = field(default_factory=threading.Event)
    decided: threading.Event = field(default_factory=threading.Event)
    dropped: bool = False

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_S), f"{self.method} {self.path.pattern} was not asked"

    def open(self) -> None:
        self.decided.set()

    def drop(self) -> None:
        self.dropped = True
        self.decided.set()

    def stop_here(self) -> bool:
        """Returns when the test has decided; whether to go on."""
        self.reached.set()
        self.decided.wait(PATIENCE_S)
        return not self.dropped


@dataclass(frozen=True)
class Asked:
    at: float
    method: str
    path: str


class Proxy:
    """`upstream` may be set anew while it runs. authority: how to reach an upstream that speaks TLS; then the caller's
    own credentials are left out, since those of this context count."""

    def __init__(self, upstream: str, authority: ssl.SSLContext | None = None) -> None:
        self.upstream, self.authority = upstream, authority
        self.asked: list[Asked] = []
        self._gates: list[Gate] = []
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._server = Server(("127.0.0.1", 0), handler_of(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.resume()
        for gate in self._gates:
            gate.drop()
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def hold(self, method: str, path: str, answer: bool = False) -> Gate:
        gate = Gate(method, re.compile(path), answer)
        self._gates.append(gate)
        return gate

    def pause(self) -> None:
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    def count(self, method: str, path: str) -> int:
        return sum(item.method == method and bool(re.search(path, item.path)) for item in self.asked)

    # --- for its handler

    def note(self, method: str, path: str) -> Gate | None:
        """The gate that holds this request, which serves once."""
        with self._lock:
            self.asked.append(Asked(time.time(), method, path))
            plain = urlsplit(path).path
            held = (gate for gate in self._gates if gate.method == method and gate.path.search(plain))
            found = next((gate for gate in held if not gate.reached.is_set()), None)
            if found:
                found.reached.set()
            return found

    def flowing(self) -> None:
        self._flows.wait(PATIENCE_S)

    def connect(self) -> http.client.HTTPConnection:
        target = urlsplit(self.upstream)
        if target.scheme == "https":
            return http.client.HTTPSConnection(target.netloc, timeout=PATIENCE_S, context=self.authority)
        return http.client.HTTPConnection(target.netloc, timeout=PATIENCE_S)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Closing would wait for the threads of streams that never end.
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A caller that was killed breaks its connection."""


def handler_of(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two packets: the second would wait 40 ms for the first to be acknowledged.
        disable_nagle_algorithm = True

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:
                # The caller was killed amid its request: no server takes half a body for a whole one.
                self.close_connection = True
                return
            gate = proxy.note(self.command, self.path)
            proxy.flowing()
            if gate and not gate.answer and not gate.stop_here():
                self.close_connection = True
                return
            # The caller may be dead by now, the server may be stopped.
            with suppress(OSError, http.client.HTTPException):
                self._ask(body, gate)
                return
            self.close_connection = True

        def _ask(self, body: bytes, gate: Gate | None) -> None:
            secret = {"authorization"} if proxy.authority else set()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP | secret}
            server = proxy.connect()
            server.request(self.command, self.path, body or None, headers | {"Connection": "close"})
            answer = server.getresponse()
            if gate and gate.answer and not gate.stop_here():
                self.close_connection = True
                return
            try:
                self._answer(answer)
            finally:
                server.close()

        def _answer(self, answer: http.client.HTTPResponse) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length")
            chunked = length is None and self.command != "HEAD" and answer.status not in (204, 304)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", length or "0")))
            self.end_headers()
            while self.command != "HEAD" and (chunk := answer.read1(65536)):
                proxy.flowing()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk)
                self.wfile.flush()
            if chunked:
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = pass_on

        def log_message(self, *_: object) -> None:
            return None

    return Handler
