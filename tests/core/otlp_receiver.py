"""A collector of a test's own: takes OTLP over HTTP on a real local port and parses it with OpenTelemetry's classes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.local_server import LocalServer


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: dict[str, str]
    content: ExportTraceServiceRequest
    size: int


@dataclass
class Answer:
    """What the collector says; pause_s: before it does."""

    status: int = 200
    body: bytes = b""
    pause_s: float = 0.0


@dataclass
class Collected:
    requests: list[Request] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)

    @property
    def spans(self) -> list[Span]:
        resources = [item for request in self.requests for item in request.content.resource_spans]
        return [span for item in resources for scope in item.scope_spans for span in scope.spans]

    def named(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


class Collector(LocalServer):
    def __init__(self) -> None:
        collected = self.collected = Collected()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                content = ExportTraceServiceRequest.FromString(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                collected.requests.append(Request(self.path, headers, content, len(body)))
                answer = collected.answer
                time.sleep(answer.pause_s)
                # A step does not wait for a collector that is slow.
                with suppress(ConnectionError):
                    self.send_response(answer.status)
                    self.send_header("Content-Type", "application/x-protobuf")
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(Handler)


def attributes(span: Span) -> dict[str, Any]:
    return {item.key: plain(item.value) for item in span.attributes}


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
