# requirements: flexcore_base
"""Thin client of a Ray dashboard: HTTP in, plain data or a typed error out. It decides nothing and retries nothing.

Source of paths and answers: ray/dashboard/modules/{job,serve,state,reporter} of Ray 2.60; a used submission id answers
HTTP 500 with "already exists", an unknown job 404.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

from f.flexcore.lib.core import errors, lean_httpx, loopback, redaction, resources
from f.flexcore.lib.ray import connection

httpx = lean_httpx.httpx

# A dashboard that is alive answers within milliseconds; a first submission may wait seconds for the head's agent.
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
# A server's own words help, its traceback does not.
MAX_MESSAGE_CHARACTERS = 300
# An answer's date knows whole seconds, and takes a moment to come.
CLOCK_TOLERANCE_S = 2.0
# Of the state API, which refuses to list more.
MAX_NODES = 10_000
# Most of a log that is read to find its end.
MAX_READ_BYTES = 32 * 1024 * 1024
Json = dict[str, Any]


class RayApi:
    """The dashboard's REST API. Raises Unreachable, Unavailable, Forbidden, NotFound or InvalidInput, all of which
    name the address. ahead: seconds that the head's clock is ahead of ours, as its last answer says; cluster: the
    resource that was given, or what the reference that was given stands for; place: where it is, which for a RayCluster
    is its reference."""

    def __init__(
        self,
        cluster: resources.RayCluster,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self.ahead = clock, 0.0
        self._auth = connection.open_auth(cluster)
        opened = self._auth.connection
        self.cluster, self.address = opened.cluster, opened.cluster.address.rstrip("/")
        self.place = opened.on_kubernetes or opened.cluster
        self.redact = redaction.Redactor(opened.secrets())
        self._client = httpx.Client(
            base_url=self.address,
            auth=self._auth,
            verify=tls_verification(self.cluster) if opened.verify is None else opened.verify,
            proxy=opened.proxy or None,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            # Requests to a cluster's head do not belong on an internet proxy when the address is a local one.
            trust_env=not loopback.is_loopback(self.address),
        )

    def __enter__(self) -> RayApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def opened(self) -> connection.Connection:
        """How it is reached at present."""
        return self._auth.connection

    def secrets(self) -> list[str]:
        """What must not be seen in any output of a step that uses this connection."""
        return list(self._auth.connection.secrets())

    def now(self) -> float:
        """The head's time in seconds since the epoch: what the deadlines of its jobs are measured by."""
        return self._clock() + self.ahead

    def version(self) -> Json:
        """{ray_version, session_name, …}; InvalidInput when whatever answers is not a Ray dashboard."""
        try:
            answer = self._json("GET", "/api/version")
        except errors.NotFound:
            raise self._no_ray() from None
        if not isinstance(answer, dict) or "ray_version" not in answer:
            raise self._no_ray()
        return answer

    def cluster_status(self) -> Json:
        answer = self._json("GET", "/api/cluster_status")
        return dict((answer.get("data") or {}).get("clusterStatus") or {})

    def nodes(self) -> list[Json]:
        """The nodes that are alive: {node_id, node_name, is_head_node, resources_total, labels, …}."""
        query = {"filter_keys": "state", "filter_predicates": "=", "filter_values": "ALIVE", "limit": MAX_NODES}
        answer = self._parse(self._send("GET", "/api/v0/nodes", params=query))
        found = ((answer.get("data") or {}).get("result") or {}).get("result") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise self._no_ray()
        return found

    def serve_details(self) -> Json | None:
        """Applications, proxies and HTTP options of Ray Serve; None when the cluster has no Serve installed."""
        response = self._send("GET", "/api/serve/applications/", allow={501})
        return None if response.status_code == 501 else self._parse(response)

    def jobs(self) -> list[Json]:
        answer = self._json("GET", "/api/jobs/")
        if not isinstance(answer, list):
            raise self._no_ray()
        return answer

    def job(self, submission_id: str) -> Json:
        answer = self._json("GET", f"/api/jobs/{submission_id}")
        if not isinstance(answer, dict) or "status" not in answer:
            raise self._no_ray()
        return answer

    def submit(self, body: Json) -> bool:
        """True when the job was created, False when its submission id is taken already."""
        response = self._send("POST", "/api/jobs/", json=body, allow={400, 500})
        if response.status_code == 500 and "already exists" in response.text:
            return False
        if response.status_code == 400:
            raise errors.InvalidInput(
                f"Ray refused the job: {self._last_line(response)}",
                subject="runtime_env",
                remedy="Correct the runtime environment or the resources.",
            )
        self._check(response)
        return True

    def stop(self, submission_id: str) -> None:
        self._json("POST", f"/api/jobs/{submission_id}/stop")

    def delete(self, submission_id: str) -> None:
        self._json("DELETE", f"/api/jobs/{submission_id}")

    def upload(self, package: str, content: bytes) -> str:
        """Stores a zip under a name that is made of its content; returns the URI for a runtime environment."""
        self._check(self._send("PUT", f"/api/packages/gcs/{package}", content=content))
        return f"gcs://{package}"

    def log_file(self, node_id: str, name: str) -> bytes | None:
        """A whole file of a node's log folder; None when there is none."""
        query: dict[str, str | int] = {"node_id": node_id, "filename": name, "lines": -1}
        response = self._send("GET", "/api/v0/logs/file", params=query, allow={500})
        if response.status_code == 500 and "not found" in response.text:
            return None
        self._check(response)
        return response.content

    def log_start(self, node_id: str, name: str, max_bytes: int) -> bytes:
        """The first `max_bytes` bytes of a file of a node's log folder; the rest is not read."""
        content = b""
        with self._chunks(node_id, name, lines=-1) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) >= max_bytes:
                    break
        return content[:max_bytes]

    def log_end(self, node_id: str, name: str, lines: int, max_bytes: int) -> bytes:
        """The last lines of such a file, of them the last `max_bytes` bytes; of lines that are longer than
        MAX_READ_BYTES in all, the end of so much."""
        content, read = b"", 0
        with self._chunks(node_id, name, lines) as chunks:
            for chunk in chunks:
                content, read = (content + chunk)[-max_bytes:], read + len(chunk)
                if read >= MAX_READ_BYTES:
                    break
        return content

    @contextmanager
    def _chunks(self, node_id: str, name: str, lines: int) -> Iterator[Iterator[bytes]]:
        """A log file as it comes: the head reads it from its node piece by piece, until the connection closes."""
        query: dict[str, str | int] = {"node_id": node_id, "filename": name, "lines": lines}
        try:
            with self._client.stream("GET", "/api/v0/logs/file", params=query) as response:
                self._note_time(response)
                if response.status_code >= 300:
                    response.read()
                    self._check(response)
                yield response.iter_bytes()
        except httpx.HTTPError as error:
            raise self._no_answer(error) from None

    def _json(self, method: str, path: str) -> Any:
        return self._parse(self._send(method, path))

    def _send(self, method: str, path: str, allow: set[int] | None = None, **options: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._no_answer(error) from None
        self._note_time(response)
        if response.status_code not in (allow or ()):
            self._check(response)
        return response

    def _note_time(self, response: httpx.Response) -> None:
        with suppress(ValueError):
            ahead = parsedate_to_datetime(response.headers.get("Date", "")).timestamp() - self._clock()
            self.ahead = ahead if abs(ahead) > CLOCK_TOLERANCE_S else 0.0

    def _check(self, response: httpx.Response) -> None:
        code = response.status_code
        if code in (401, 403):
            from f.flexcore.lib.ray import token_source

            raise token_source.refusal(self.address, code, response.text, bool(self._auth.connection.headers))
        if code == 404:
            raise errors.NotFound(
                self._last_line(response) or f"{response.url} does not exist", subject=str(response.url)
            )
        if code == 429 or code >= 500:
            raise errors.Unavailable(
                f"The Ray dashboard at {self.address} answered HTTP {code}: {self._last_line(response)}",
                subject="cluster.address",
                # Said by a head whose agent, which starts jobs, is not there yet.
                category="busy" if "No available agent" in response.text else "",
                remedy="Try again; look at the head's dashboard.log when it stays so.",
                retry_after=response.headers.get("Retry-After"),
            )
        if code >= 300:
            raise self._no_ray()

    def _parse(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise self._no_ray() from None

    def _last_line(self, response: httpx.Response) -> str:
        lines = [line.strip() for line in response.text.splitlines() if line.strip(" .")]
        return self._mask(lines[-1]) if lines else ""

    def _mask(self, text: str) -> str:
        return self.redact.text(text)[:MAX_MESSAGE_CHARACTERS]

    def _no_ray(self) -> errors.InvalidInput:
        return errors.InvalidInput(
            f"What answers at {self.address} is not a Ray dashboard",
            subject="cluster.address",
            remedy="Give the address of the head's dashboard, usually port 8265.",
        )

    def _no_answer(self, error: httpx.HTTPError) -> errors.FlexcoreError:
        from f.flexcore.lib.core import tls_errors

        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
            message = f"cluster.address: {self.address!r} is not a URL such as http://ray-head:8265"
            return errors.InvalidInput(message, subject="cluster.address")
        certificates = tls_errors.tls_remedy(tls_errors.error_chain(error), field="cluster.ca_certificate")
        if certificates:
            return errors.InvalidInput(
                f"TLS with the Ray dashboard at {self.address} failed: {self._mask(reason)}",
                subject="cluster.ca_certificate",
                remedy=certificates,
            )
        if isinstance(error, httpx.ReadTimeout):
            return errors.Unavailable(
                f"The Ray dashboard at {self.address} did not answer within {READ_TIMEOUT_S:g} s",
                subject="cluster.address",
                category="busy",
                remedy="Try again; the head may be starting or short of CPU.",
            )
        if isinstance(error, httpx.TimeoutException):
            reason = "no answer in time"
        return errors.Unreachable(
            f"The Ray dashboard at {self.address} cannot be reached: {self._mask(reason)}",
            subject="cluster.address",
            remedy="Check the address, and that the head runs and lets this worker in.",
        )


def tls_verification(cluster: resources.RayCluster) -> bool | ssl.SSLContext:
    """How to verify the dashboard's certificate. Raises InvalidInput for a text that is not a certificate."""
    if not cluster.address.startswith("https://"):
        # Loading the certificate store takes some 20 ms that a plain http address need not pay.
        return False
    if not cluster.verify_tls:
        return False
    if not cluster.ca_certificate:
        return True
    try:
        return ssl.create_default_context(cadata=cluster.ca_certificate)
    except ssl.SSLError:
        raise errors.InvalidInput(
            "cluster.ca_certificate is not a certificate in PEM form",
            subject="cluster.ca_certificate",
            remedy="Paste the text from BEGIN CERTIFICATE to END CERTIFICATE.",
        ) from None


def lost_job_error(submission_id: str) -> errors.ExecutionFailed:
    """The error for a job that Ray no longer knows: its head was restarted, or the job was deleted."""
    return errors.ExecutionFailed(
        f"Ray no longer knows the job {submission_id}: the head was restarted, or the job was deleted",
        subject=submission_id,
        category="job_lost",
        remedy="Run the step again; what the job did is unknown.",
    )
