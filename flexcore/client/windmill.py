"""Windmill's REST API, as far as the command line uses it; a server and the embedded engine answer alike.

Errors go by consequence (core/errors): Forbidden, NotFound, InvalidInput for what must be changed first; Unreachable
and Unavailable for what may work later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any
from uuid import uuid4

import httpx

from f.flexcore.lib.core.errors import FlexcoreError, Forbidden, InvalidInput, NotFound, Unavailable, Unreachable
from f.flexcore.lib.core.loopback import is_loopback
from f.flexcore.lib.core.result_page import drop_page
from f.flexcore.lib.core.tls_errors import error_chain, tls_remedy

# A server under load answers within seconds; a run is never waited for in one request.
TIMEOUT_S = 30
PAGE = 100
MAX_PAGES = 50
MAX_TEXT_CHARS = 500
# Where in the server's own source an error was raised; of no use to a caller.
SOURCE_PLACE = re.compile(r"\s*[@(]\w+\.rs:\d+[:\d]*\)?")
TOKEN = re.compile(r"[!-~]*")
LATER = (429, 502, 503, 504)


class Windmill:
    """One workspace. transport: for tests."""

    def __init__(
        self,
        url: str,
        workspace: str,
        token: str,
        *,
        verify_tls: bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url, self.workspace = url.rstrip("/"), workspace
        if not TOKEN.fullmatch(token):
            raise InvalidInput(
                f"The token for {self.url} holds characters that no token has",
                subject="token",
                remedy="Copy it again, into FLEXCORE_TOKEN or the wmill profile, without quotes and line ends.",
            )
        self._http = httpx.Client(
            base_url=f"{self.url}/api/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
            # SSL_CERT_FILE counts everywhere; a proxy must not see what stays on this machine, nor the token.
            verify=httpx.create_ssl_context(verify_tls),
            trust_env=not is_loopback(url),
            transport=transport,
        )

    def __enter__(self) -> Windmill:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    # Any path, below the workspace or of the whole server

    def get(self, path: str, **query: Any) -> Any:
        return self.ask("GET", f"w/{self.workspace}/{path}", query=query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self.ask("POST", f"w/{self.workspace}/{path}", body, query)

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", f"w/{self.workspace}/{path}")

    def ask(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        """The answer as data, or as text where the server sends none. Raises FlexcoreError."""
        content = {"json": body} if method == "POST" else {}
        try:
            answer = self._http.request(method, path, params=query or None, **content)
        except httpx.HTTPError as error:
            certificates = tls_remedy(error_chain(error), "this machine")
            raise Unreachable(
                f"{self.url} does not answer ({type(error).__name__})",
                subject="server",
                category="tls" if certificates else "",
                remedy=certificates or "Start it, or name another with --server.",
            ) from None
        if answer.is_error:
            raise _error_for(answer, self.url)
        if answer.is_redirect:
            raise self._no_windmill(f"it redirects to {answer.headers.get('location')}")
        try:
            return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
        except ValueError:
            raise self._no_windmill(f"it sends broken JSON for {path}") from None

    def _no_windmill(self, why: str) -> InvalidInput:
        return InvalidInput(
            f"{self.url} does not answer as a Windmill does: {why}",
            subject="server",
            remedy="Give the URL that the browser shows, without any path, and look what is in between.",
        )

    def list_all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Every item of a list."""
        return list(self.pages(path, PAGE, MAX_PAGES, **query))

    def pages(self, path: str, per_page: int, max_pages: int, **query: Any) -> Iterator[dict[str, Any]]:
        """The items of a list, read page by page as they are asked for."""
        for page in range(1, max_pages + 1):
            items = self.get(path, per_page=per_page, page=page, **query)
            yield from items
            if len(items) < per_page:
                return

    # Jobs

    def start(self, kind: str, path: str, args: dict[str, Any]) -> str:
        """kind: flow or script. Returns the job's id."""
        return self.start_by(f"jobs/run/{'f' if kind == 'flow' else 'p'}/{path}", args)

    def start_by(self, route: str, body: dict[str, Any]) -> str:
        """The id of the job that a route starts. It is chosen here: one whose start was taken and the answer lost is
        found by it, and not started twice."""
        job = str(uuid4())
        try:
            self.post(route, body, job_id=job)
        except (Unavailable, Unreachable) as error:
            if not self._knows(job):
                remedy = f"Look for run {job} before you start another: `flexcore workflow status {job}`."
                raise type(error)(str(error).removesuffix(error.remedy), subject=error.subject, remedy=remedy) from None
        return job

    def _knows(self, job: str) -> bool:
        try:
            return bool(self.job(job))
        except FlexcoreError:
            return False

    def job(self, job: str) -> dict[str, Any]:
        """The job, its result without the page that people see. Raises NotFound when the workspace has no such job."""
        try:
            found: dict[str, Any] = self.get(f"jobs_u/get/{job}", no_logs="true", no_code="true")
        except NotFound:
            raise NotFound(
                f"{self.url}, workspace {self.workspace}, has no run {job}",
                subject="ID",
                remedy="`flexcore workflow list --executions` shows the latest.",
            ) from None
        return {**found, "result": drop_page(found["result"])} if "result" in found else found

    def update(self, job: str, offset: int, running: bool) -> dict[str, Any]:
        """What is new since `offset`: new_logs, log_offset, flow_status, completed."""
        query = {"running": str(running).lower(), "log_offset": offset}
        found: dict[str, Any] = self.get(f"jobs_u/getupdate/{job}", **query)
        return found

    def cancel(self, job: str, reason: str) -> None:
        self.post(f"jobs_u/queue/cancel/{job}", {"reason": reason})

    # The server

    def version(self) -> str:
        return str(self.ask("GET", "version"))

    def served_tags(self, tags: Iterable[str]) -> dict[str, bool]:
        """Whether a worker of the server, of any workspace, listens to each tag."""
        return dict(self.ask("GET", "workers/exists_workers_with_tags", query={"tags": ",".join(tags)}) or {})

    def check(self) -> None:
        """Raises Forbidden when the token is refused, NotFound when there is no such workspace, InvalidInput when this
        is not a Windmill."""
        user = self.get("users/whoami")
        if not isinstance(user, dict) or "username" not in user:
            raise self._no_windmill("it does not say who the token's user is")
        if not self.ask("POST", "workspaces/exists", {"id": self.workspace}):
            raise NotFound(
                f"{self.url} has no workspace {self.workspace}",
                subject="workspace",
                remedy="Name one with --workspace; `wmill workspace list-remote` shows them.",
            )


def _error_for(answer: httpx.Response, url: str) -> FlexcoreError:
    text = SOURCE_PLACE.sub("", answer.text).strip()[:MAX_TEXT_CHARS] or f"HTTP {answer.status_code}"
    if answer.status_code == 401:
        return Forbidden(
            f"{url} refuses the token ({text})",
            subject="token",
            remedy="Set FLEXCORE_TOKEN to a valid one, or log in again with `wmill workspace add`.",
        )
    if answer.status_code == 403:
        return Forbidden(text, subject="token", remedy="Use the token of a user who has this right.")
    if answer.status_code == 404:
        return NotFound(text, remedy="`flexcore workflow list` shows the workflows, --executions the runs.")
    if answer.status_code in (400, 413, 422):
        return InvalidInput(text, remedy="`flexcore check` finds what is wrong in files; correct the named field.")
    if answer.status_code in LATER:
        return Unavailable(f"{url} cannot answer now (HTTP {answer.status_code})", remedy="Try again later.")
    return FlexcoreError(f"{url} failed: {text}", category="server", remedy="The server's own log says more.")
