# requirements: flexcore_base
"""Spans, and their way to a collector: OTLP over HTTP, as protobuf.

Written out here, since OpenTelemetry's SDK with its exporter takes longer to import than a step may lose to tracing
(bench/tracing.py measures both). The wire format is stable; tests parse it with OpenTelemetry's own classes.
Source: opentelemetry/proto/trace/v1/trace.proto, collector/trace/v1/trace_service.proto, OTLP specification 1.x.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from http.client import HTTPConnection

# What a step waits at most for its collector, name look-up and all; reconcile delivers what did not arrive.
EXPORT_TIMEOUT_S = 1.0
# Of one attribute, one event or one status; backends cut or refuse longer ones.
MAX_TEXT_CHARACTERS = 1024
MAX_ATTRIBUTES = 64
MAX_ANSWER_BYTES = 65536
SHORTEST_S = 1e-6
PATH = "/v1/traces"
# Refusals that are not of the spans: of who sends, of the address, or of the moment. Any other 4xx comes again.
NOT_OF_THE_SPANS = (401, 403, 404, 408, 429)
SCOPE = "flexcore"
Value = str | bool | int | float | Sequence[str]
Kind = Literal["internal", "client"]
KINDS: dict[Kind, int] = {"internal": 1, "client": 3}
STATUS_OK, STATUS_ERROR = 1, 2
# The flags say whether the parent is in another process; without that bit they say nothing of it.
FLAGS_SAMPLED, FLAGS_KNOWN, FLAGS_REMOTE = 0x001, 0x100, 0x200


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    at: float
    attributes: Mapping[str, Value | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """began, ended: seconds since the epoch. error: why it failed; None for one that did not. succeeded: whether that
    is known. links: (trace, span) of others that it has to do with. Attributes that are None are left out."""

    trace_id: str
    span_id: str
    parent: str
    name: str
    began: float
    ended: float
    kind: Kind = "internal"
    attributes: Mapping[str, Value | None] = field(default_factory=dict)
    events: Sequence[Event] = ()
    links: Sequence[tuple[str, str]] = ()
    error: str | None = None
    succeeded: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a collector did not take spans. is_final: the same ones must not be sent again, or would be in vain."""

    text: str
    is_final: bool = False

    def __str__(self) -> str:
        return self.text


# --- protobuf: a field is its number and wire type, then a varint (0), eight bytes (1), length and bytes (2), four (5)


def encode_request(spans: Sequence[Span], resource: Mapping[str, Value]) -> bytes:
    """An ExportTraceServiceRequest. resource: what is the same for all of the spans."""
    described = b"".join(_message(1, _attribute(name, value)) for name, value in resource.items())
    scope_spans = _message(1, _text(1, SCOPE)) + b"".join(_message(2, _span(span)) for span in spans)
    return _message(1, _message(1, described) + _message(2, scope_spans))


def _span(span: Span) -> bytes:
    parent = _bytes(4, bytes.fromhex(span.parent)) if span.parent else b""
    # A clock that was set back between the two must not make a span that ends before it begins, or when it begins:
    # Kubernetes tells whole seconds, and backends take a span without a length for a broken one.
    ended = max(span.began + SHORTEST_S, span.ended)
    return b"".join(
        (
            _bytes(1, bytes.fromhex(span.trace_id)),
            _bytes(2, bytes.fromhex(span.span_id)),
            parent,
            _text(5, span.name),
            _number(6, KINDS[span.kind]),
            _time(7, span.began),
            _time(8, ended),
            *(_message(9, attribute) for attribute in _attributes(span.attributes)),
            *(_message(11, _event(event)) for event in span.events),
            *(_message(13, _link(*link)) for link in span.links),
            _message(15, _status(span)),
            _fixed32(16, FLAGS_SAMPLED),
        )
    )


def _event(event: Event) -> bytes:
    attributes = b"".join(_message(3, attribute) for attribute in _attributes(event.attributes))
    return _time(1, event.at) + _text(2, event.name) + attributes


def _link(trace_id: str, span_id: str) -> bytes:
    ids = _bytes(1, bytes.fromhex(trace_id)) + _bytes(2, bytes.fromhex(span_id))
    return ids + _fixed32(6, FLAGS_SAMPLED | FLAGS_KNOWN | FLAGS_REMOTE)


def _status(span: Span) -> bytes:
    if span.error is not None:
        return _text(2, span.error) + _number(3, STATUS_ERROR)
    return _number(3, STATUS_OK) if span.succeeded else b""


def _attributes(attributes: Mapping[str, Value | None]) -> Iterator[bytes]:
    given = [(name, value) for name, value in attributes.items() if value is not None]
    return (_attribute(name, value) for name, value in given[:MAX_ATTRIBUTES])


def _attribute(name: str, value: Value) -> bytes:
    return _text(1, name) + _message(2, _value(value))


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _text(1, value)
    if isinstance(value, bool):
        return _varint(2 << 3) + _varint(value)
    if isinstance(value, int):
        return _varint(3 << 3) + _varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return _varint(4 << 3 | 1) + struct.pack("<d", value)
    return _message(5, b"".join(_message(1, _value(item)) for item in value))


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


_bytes = _message


def _text(number: int, text: str) -> bytes:
    if len(text) > MAX_TEXT_CHARACTERS:
        text = text[: MAX_TEXT_CHARACTERS - 1] + "…"
    return _message(number, text.encode("utf-8", "replace"))


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _time(number: int, seconds: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<Q", max(0, round(seconds * 1e6)) * 1000)


def _fixed32(number: int, value: int) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<I", value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


# --- HTTP


def parse_headers(text: str) -> dict[str, str]:
    """`NAME=VALUE,NAME=VALUE`, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has them. Raises ValueError that
    names no value."""
    headers = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, is_pair, value = item.partition("=")
        name, value = name.strip(), unquote(value.strip())
        if not is_pair or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise ValueError("write headers as NAME=VALUE, several with commas between them, values percent-encoded")
        if not value.isprintable() or not value.isascii():
            raise ValueError("the value of a header holds what no header can")
        headers[name] = value
    return headers


def export(
    endpoint: str,
    headers: Mapping[str, str],
    spans: Sequence[Span],
    resource: Mapping[str, Value],
    timeout_s: float = EXPORT_TIMEOUT_S,
) -> Problem | None:
    """Why the collector did not take the spans; None when it took all. Never raises, and never takes longer than
    `timeout_s`, whatever the collector does."""
    outcome: list[Problem | None] = []
    body = encode_request(spans, resource)
    # A look-up of a name, and a collector that sends a byte a second, know no time-out of their own.
    thread = threading.Thread(target=lambda: outcome.append(_post(endpoint, headers, body, timeout_s)), daemon=True)
    thread.start()
    thread.join(timeout_s)
    return outcome[0] if outcome else describe_timeout(timeout_s)


def describe_timeout(timeout_s: float) -> Problem:
    return Problem(f"it did not answer within {timeout_s:g} s")


def _post(endpoint: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Problem | None:
    from http.client import HTTPException

    try:
        url = urlsplit(endpoint)
        # As the specification has it: a base address gets the path of the signal.
        path = url.path.rstrip("/")
        path = path if path.endswith(PATH) else f"{path}{PATH}"
        connection, target = _connect(url, f"{path}?{url.query}" if url.query else path, timeout_s)
        try:
            sent = {**headers, "Content-Type": "application/x-protobuf", "User-Agent": SCOPE}
            connection.request("POST", target, body, sent)
            answer = connection.getresponse()
            return _judge(answer.status, answer.read(MAX_ANSWER_BYTES))
        finally:
            connection.close()
    except TimeoutError:
        return describe_timeout(timeout_s)
    except (OSError, HTTPException, ValueError) as error:
        # Its text may quote the address, in which some put a key.
        return Problem(type(error).__name__)


def _connect(url: SplitResult, path: str, timeout_s: float) -> tuple[HTTPConnection, str]:
    """A connection, and the target of a request on it: to the collector, or to the proxy that the worker names."""
    from http.client import HTTPConnection, HTTPSConnection

    host, is_secure = url.hostname or "", url.scheme == "https"
    kind = HTTPSConnection if is_secure else HTTPConnection
    proxy = _find_proxy(url.scheme, host)
    if not proxy or not proxy.hostname:
        return kind(host, url.port, timeout=timeout_s), path
    connection = kind(proxy.hostname, proxy.port, timeout=timeout_s)
    if not is_secure:
        return connection, f"http://{url.netloc.rpartition('@')[2]}{path}"
    connection.set_tunnel(host, url.port)
    return connection, path


def _find_proxy(scheme: str, host: str) -> SplitResult | None:
    if not any(name.lower() == f"{scheme}_proxy" for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    address = "" if proxy_bypass(host) else getproxies().get(scheme, "")
    return urlsplit(address if "://" in address else f"http://{address}") if address else None


def _judge(status: int, answer: bytes) -> Problem | None:
    if not 200 <= status < 300:
        return Problem(f"HTTP {status}", is_final=400 <= status < 500 and status not in NOT_OF_THE_SPANS)
    # OTLP: what was taken in part must not be sent again.
    rejected = count_rejected(answer)
    return Problem(f"it refused {rejected} of the spans", is_final=True) if rejected else None


def count_rejected(answer: bytes) -> int:
    """rejected_spans of the partial_success in an ExportTraceServiceResponse; 0 for an answer that is none."""
    try:
        fields = dict(_parse(answer))
        partial = fields.get(1)
        rejected = dict(_parse(partial)).get(1) if isinstance(partial, bytes) else 0
    except (IndexError, ValueError):
        return 0
    return rejected if isinstance(rejected, int) else 0


def _parse(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of varints and of what has a length; another wire type is none of this answer."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if tag & 7 == 2:
            if at + value > len(message):
                raise ValueError
            yield tag >> 3, message[at : at + value]
            at += value
        elif tag & 7 == 0:
            yield tag >> 3, value
        else:
            raise ValueError


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError
