# requirements: flexcore_kubernetes
"""The Kubernetes API for the steps: urllib3, which the official client uses too, JSON objects as dicts, typed errors.

call    one request: time-out, bounded retry of what may pass, one refresh of a rotated token
get     None when there is no such object        create  None when the name is taken
delete  by uid, so that never a namesake goes    lines   a stream (watch, log) as raw lines

The official client's package loads cloud logins, websockets, a schema validator and its models: up to 1.3 s of CPU (two
cores, Python 3.11, version 37.0.1), paid by every step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from f.flexcore.lib.core import errors, identity, redaction
from f.flexcore.lib.kubernetes_api import api_errors, credentials, transport

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
# How long a call is repeated while the answer is a passing one. A wrong address must not take longer to be reported.
RETRY_S = 4.0
MIN_PAUSE_S = 0.2
MAX_PAUSE_S = 5.0
TRANSIENT_STATUSES = (429, 500, 502, 503, 504)

JSON = "application/json"
# As RFC 3986 has it: a path may have a port's colon (services/NAME:http/proxy).
SAFE_IN_PATH = "/:@!$&'()*+,;=~%?"

Query = Mapping[str, str | int | bool]
# Whole lines of a stream, without their ends.
Batch = list[bytes]


class Kubernetes:
    """One cluster. Safe to use from several threads; nothing of it is global, nothing of it is written to disk."""

    def __init__(
        self,
        access: credentials.Access,
        redactor: redaction.Redactor | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.access = access
        self.redactor = redactor or redaction.Redactor(access.secrets())
        self._server_time: tuple[datetime, float] | None = None
        self._sleep = sleep
        self._clock = clock
        self._authorization: dict[str, str] = {}
        self._open()
        self._authorize()

    def now(self) -> datetime:
        """The server's time, so that it compares with the times it writes; our own clock may be minutes off."""
        if self._server_time is None:
            return datetime.now(UTC)
        return self._server_time[0] + timedelta(seconds=self._clock() - self._server_time[1])

    def get(self, path: str, call: api_errors.Call, retry_s: float = RETRY_S) -> dict[str, Any] | None:
        code, payload = self._request("GET", path, {}, None, call, retry_s)
        return None if _is_absent(code, payload, call) else self._accept(code, payload, call)

    def list(
        self, path: str, query: Query, call: api_errors.Call, retry_s: float = RETRY_S, accept: str = JSON
    ) -> dict[str, Any]:
        """{metadata: {resourceVersion}, items: […]}; the items lack kind and apiVersion, as the API sends them.
        accept: another form of the answer, which a server that does not have it ignores."""
        code, payload = self._request("GET", path, query, None, call, retry_s, accept)
        return self._accept(code, payload, call)

    def create(
        self, path: str, body: Mapping[str, Any], call: api_errors.Call, *, dry_run: bool = False
    ) -> dict[str, Any] | None:
        """The created object. A misspelt field is refused rather than dropped. Repeating it is safe: the name is
        given, so that a creation whose answer was lost shows as a taken name. dry_run: all is checked, and nothing
        stays."""
        query = {"fieldValidation": "Strict", "fieldManager": identity.FIELD_MANAGER}
        query |= {"dryRun": "All"} if dry_run else {}
        code, payload = self._request("POST", path, query, body, call, RETRY_S)
        taken = code == 409 and "being terminated" not in str((payload or {}).get("message"))
        return None if taken else self._accept(code, payload, call)

    def replace(self, path: str, body: Mapping[str, Any], call: api_errors.Call) -> dict[str, Any] | None:
        """The stored object, or None when someone else changed it since its resourceVersion was read."""
        query = {"fieldValidation": "Strict", "fieldManager": identity.FIELD_MANAGER}
        code, payload = self._request("PUT", path, query, body, call, RETRY_S)
        return None if code == 409 else self._accept(code, payload, call)

    def patch(
        self, path: str, changes: Mapping[str, Any], call: api_errors.Call, *, dry_run: bool = False
    ) -> dict[str, Any] | None:
        """The stored object after a JSON merge patch; None when `changes` names a resourceVersion that is no longer
        the object's. Raises NotFound."""
        query = {"fieldValidation": "Strict", "fieldManager": identity.FIELD_MANAGER}
        query |= {"dryRun": "All"} if dry_run else {}
        code, payload = self._request("PATCH", path, query, changes, call, RETRY_S)
        return None if code == 409 else self._accept(code, payload, call)

    def apply(
        self, path: str, body: Mapping[str, Any], call: api_errors.Call, *, dry_run: bool = False
    ) -> dict[str, Any] | None:
        """The stored object after a server-side apply: our fields of it are as in `body`, and those that we held and
        that `body` lacks are gone. None when `body` names a uid or resourceVersion that is no longer the object's.
        Raises Conflict that names what others hold; nothing is ever forced."""
        query: dict[str, str | int | bool] = {"fieldValidation": "Strict", "fieldManager": identity.FIELD_MANAGER}
        query |= {"force": False, **({"dryRun": "All"} if dry_run else {})}
        code, payload = self._request("PATCH", path, query, body, call, RETRY_S)
        if code != 409:
            return self._accept(code, payload, call)
        # Others' fields are read only where they are in the way.
        from f.flexcore.lib.kubernetes_api import field_owners

        if conflicts := field_owners.parse_conflicts(api_errors.trusted_status(payload)):
            where = f" in namespace {call.namespace}" if call.namespace else ""
            raise field_owners.conflict_error(f"{call.resource} {call.name}{where}", conflicts)
        return None

    def delete_version(self, path: str, uid: str, version: str, call: api_errors.Call) -> bool:
        """Marks the object for deletion as `delete` does; False when it is no longer at this resourceVersion, or is
        another one. Being gone already is fine."""
        preconditions = {"uid": uid, "resourceVersion": version}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        code, payload = self._request("DELETE", path, {}, {**body, "preconditions": preconditions}, call, RETRY_S)
        if code == 409:
            return False
        if code != 404:
            self._accept(code, payload, call)
        return True

    def delete(self, path: str, uid: str, call: api_errors.Call, retry_s: float = RETRY_S) -> None:
        """Marks the object with this uid for deletion, dependents first. Being gone already, or replaced by a
        namesake, is fine."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        options = {**body, "preconditions": {"uid": uid}}
        code, payload = self._request("DELETE", path, {}, options, call, retry_s)
        if code not in (404, 409):
            self._accept(code, payload, call)

    def review(self, path: str, body: Mapping[str, Any], call: api_errors.Call) -> dict[str, Any]:
        """Asks a question by POST (access reviews); creates nothing."""
        code, payload = self._request("POST", path, {}, body, call, RETRY_S)
        return self._accept(code, payload, call)

    def request_raw(self, method: str, path: str, body: Any, call: api_errors.Call) -> tuple[int, Any]:
        """Status and payload as they come: for what answers behind the API server's proxy."""
        return self._request(method, path, {}, body, call, 0)

    @contextmanager
    def stream_lines(self, path: str, query: Query, call: api_errors.Call, read_s: float) -> Iterator[Iterator[bytes]]:
        """A stream's lines, without their ends. Raises Unreachable when nothing came for `read_s` seconds or the
        connection broke."""
        with self.stream_batches(path, query, call, read_s) as batches:
            yield (line for batch in batches for line in batch)

    @contextmanager
    def stream_batches(
        self, path: str, query: Query, call: api_errors.Call, read_s: float, max_line_bytes: int | None = None
    ) -> Iterator[Iterator[Batch]]:
        """A stream's lines as they come, many at a time. Split as bytes: a chunk may end within a character. Of a
        line that is longer than `max_line_bytes` the rest is left out."""
        response = self._send("GET", path, query, None, call, read_s)
        try:
            if response.status != 200:
                response.read()
                raise self._to_error(response.status, _parse_json(response.data), call)
            yield self._split(response.response, call, max_line_bytes)
        finally:
            response.response.close()

    def _split(self, response: Any, call: api_errors.Call, max_line_bytes: int | None) -> Iterator[Batch]:
        import urllib3

        pieces, size = [b""], 0
        try:
            # read1 gives what is there; read would wait until its buffer is full.
            while chunk := response.read1(65536):
                *lines, rest = chunk.split(b"\n")
                if lines:
                    lines[0] = b"".join([*pieces, lines[0]])
                    pieces, size = [], 0
                if max_line_bytes is None or size < max_line_bytes:
                    pieces.append(rest)
                    size += len(rest)
                if lines:
                    yield lines
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise api_errors.to_unreachable(error, self.access.server, call) from None
        if rest := b"".join(pieces):
            yield [rest]

    def _request(
        self,
        method: str,
        path: str,
        query: Query,
        body: Any,
        call: api_errors.Call,
        retry_s: float,
        accept: str = JSON,
    ) -> tuple[int, Any]:
        """Status and parsed body, after repeating while the failure may pass."""
        until, pause, renewed = self._clock() + retry_s, MIN_PAUSE_S, False
        while True:
            wait = pause
            try:
                response = self._send(method, path, query, body, call, READ_TIMEOUT_S, accept)
                response.read()
                self._record_server_time(response)
                if response.status == 401 and self.access.token_file and not renewed:
                    renewed = True
                    self._authorize()
                    continue
                if response.status not in TRANSIENT_STATUSES or self._clock() + wait > until:
                    return response.status, _parse_json(response.data)
                wait = max(wait, _read_retry_after(response))
            except errors.Unreachable as error:
                if error.category != errors.Unreachable.category or self._clock() + wait > until:
                    raise
            self._sleep(min(wait, max(until - self._clock(), 0)))
            pause = min(pause * 2, MAX_PAUSE_S)

    def _send(
        self,
        method: str,
        path: str,
        query: Query,
        body: Any,
        call: api_errors.Call,
        read_s: float,
        accept: str = JSON,
    ) -> Any:
        import urllib3

        headers = {"Accept": accept, "User-Agent": "flexcore", **self._authorization}
        if body is not None:
            headers["Content-Type"] = content_type(method, query)
        values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
        question = f"?{urlencode(values, quote_via=quote)}" if values else ""
        to_error = partial(api_errors.to_unreachable, server=self.access.server, call=call)
        try:
            response = self._pool.request(
                method,
                f"{self.access.server.rstrip('/')}{quote(path, safe=SAFE_IN_PATH)}{question}",
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_s),
                preload_content=False,
                # A redirect must not carry the token elsewhere.
                redirect=False,
            )
            return transport.Answer(response, to_error)
        except urllib3.exceptions.LocationParseError:
            raise errors.InvalidInput(
                f"cluster.server {self.access.server} is not an address",
                subject="cluster.server",
                remedy="Use e.g. https://10.0.0.1:6443.",
            ) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise to_error(error) from None

    def _accept(self, code: int, payload: Any, call: api_errors.Call) -> dict[str, Any]:
        if 200 <= code < 300 and isinstance(payload, dict):
            return payload
        raise self._to_error(code, payload, call)

    def _to_error(self, code: int, payload: Any, call: api_errors.Call) -> errors.FlexcoreError:
        if isinstance(payload, dict) and isinstance(payload.get("message"), str):
            payload = {**payload, "message": self.redactor.text(payload["message"])}
        if code == 401:
            from f.flexcore.lib.kubernetes_api import expiry

            return api_errors.to_credentials_error(payload, expiry.describe_expired(self.access, self.now()))
        return api_errors.to_error(code, payload, call)

    def _open(self) -> None:
        self._pool = transport.make_pool(self.access)

    def _authorize(self) -> None:
        token = self.access.bearer()
        if token:
            self._authorization = {"Authorization": f"Bearer {token}"}

    def _record_server_time(self, response: Any) -> None:
        with suppress(ValueError):
            self._server_time = (parsedate_to_datetime(response.getheader("Date") or ""), self._clock())


def content_type(method: str, query: Query) -> str:
    """Of a request's body: an apply, and no other patch, says whether it forces."""
    if method != "PATCH":
        return "application/json"
    return "application/apply-patch+yaml" if "force" in query else "application/merge-patch+json"


def read_version(kubernetes: Kubernetes) -> dict[str, Any]:
    """The server's version, which every user may read; the first call to make: it shows a wrong address or CA."""
    return kubernetes.list("/version", {}, api_errors.Call("get", "version"))


def _is_absent(code: int, payload: Any, call: api_errors.Call) -> bool:
    """A 404 for the very object, from the API itself."""
    return code == 404 and isinstance(payload, dict) and payload.get("kind") == "Status" and bool(call.name)


def _parse_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _read_retry_after(response: Any) -> float:
    """Seconds that the server asks to wait: a number, or a date against the server's own clock. 0 when unsaid."""
    value = response.getheader("Retry-After") or ""
    if value.isdigit():
        return float(value)
    try:
        pause = parsedate_to_datetime(value) - parsedate_to_datetime(response.getheader("Date") or "")
    except ValueError:
        return 0.0
    return max(pause.total_seconds(), 0.0)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later. A certificate that does not fit never will."""
    return isinstance(error, errors.TransientError) and error.category != "tls"
