"""The embedded engine with the panel around its API: one port for the page, the API and health.

The page has a key of its own, which opens the dashboard's scripts and their jobs and nothing else. It is derived from
the engine's token: the address that was printed once holds as long as the engine's folder is there.
"""

from __future__ import annotations

import hmac
import re
import sqlite3
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flexcore.panel.site import BUILT, Page, Site, read_runnables
from wmlocal.engine.engine import Engine
from wmlocal.engine.runs import USER, Runs

SIGN_IN = "Open the address that `flexcore dashboard` prints, or enter the key at its end (after #key=)."
KEY_PURPOSE = "dashboard"
JOB = re.compile(r"/api/w/[^/]+/jobs_u/(?:get|completed/get_result_maybe)/([0-9a-f-]{36})")


class PanelEngine(Engine):
    """reasons: why what belongs to the engine is not ready, such as a Ray head; folder: of the built page."""

    def __init__(
        self, root: Path, *args: Any, reasons: Callable[[], list[str]] = list, folder: Path = BUILT, **options: Any
    ) -> None:
        self._reasons, self._folder = reasons, folder
        super().__init__(root, *args, **options)

    @cached_property
    def key(self) -> str:
        return make_key(self)

    @property
    def page_url(self) -> str:
        """The address to open; whoever has it may use the dashboard."""
        return make_page_url(self.url, self.key)

    def application(self) -> ASGIApp:
        runnables = read_runnables(self.bundle.root)
        page = Page(self.workspace, USER, runnables, SIGN_IN, self._folder)
        return Site(page, PageAccess(super().application(), self, set(runnables.values())), self._find_reasons)

    def _find_reasons(self) -> list[str]:
        try:
            self.store.engines()
        except sqlite3.Error as error:
            return [f"The engine's store does not answer: {error}", *self._reasons()]
        return self._reasons()


def make_key(engine: Runs) -> str:
    return engine.sign(KEY_PURPOSE)


def make_page_url(url: str, key: str) -> str:
    return f"{url}/#key={quote(key, safe='')}"


class PageAccess:
    """Lets the page's key start the dashboard's scripts and read their jobs; all else needs the engine's own token."""

    def __init__(self, api: ASGIApp, engine: PanelEngine, scripts: set[str]) -> None:
        self._api, self._engine, self._scripts = api, engine, scripts
        self._starts = {f"/api/w/{engine.workspace}/jobs/run/p/{path}" for path in scripts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._engine.key.encode()):
            await self._api(scope, receive, send)
        elif await run_in_threadpool(self.may_ask, scope["method"], scope["path"]):
            # A token in the query would be looked at no more: the header comes first.
            headers = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            trusted = {**scope, "headers": headers}
            MutableHeaders(scope=trusted)["Authorization"] = f"Bearer {self._engine.token}"
            await self._api(trusted, receive, send)
        else:
            refusal = PlainTextResponse(
                "Forbidden: the page's key opens the dashboard's own scripts and jobs only", 403
            )
            await refusal(scope, receive, send)

    def may_ask(self, method: str, path: str) -> bool:
        if method == "POST":
            return path in self._starts
        found = JOB.fullmatch(path) if method == "GET" else None
        job = self._engine.store.job_status(found[1]) if found else None
        return job is not None and job["kind"] == "script" and job["path"] in self._scripts
