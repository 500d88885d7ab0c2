"""The page that `make dashboard` builds, and the panel's health; whatever is below /api/ goes on to the API.

/                the page; its settings (workspace, the scripts that it may start) stand in a meta element
/assets/NAME     its script and styles, whose names hold their hash
/healthz         200 while the process answers
/readyz          200, or 503 with the reasons, in JSON
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from flexcore.panel.body_limit import BodyLimit
from flexcore.panel.guard import Guard

BUILT = Path(__file__).parent / "static"
APP = "f/flexcore/dashboard__raw_app"
ASSET = re.compile(r"[0-9a-f]{16}\.(js|css)")
MEDIA_TYPES = {"js": "text/javascript", "css": "text/css"}
NO_PAGE = "The dashboard is not built: run `make dashboard` where the project is checked out."
NO_APP = f"This bundle has no dashboard ({APP}): bring it in with `flexcore init` or `flexcore upgrade`."
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """The page of one server. runnables: by the name that the page knows, the path of the script.

    sign_in: what the form that asks for a key says; folder: what `make dashboard` has built."""

    workspace: str
    user: str
    runnables: Mapping[str, str]
    sign_in: str
    folder: Path = field(default=BUILT)

    def problem(self) -> str:
        """Why there is no page; "" when there is one."""
        if not (self.folder / "index.html").is_file():
            return NO_PAGE
        return "" if self.runnables else NO_APP

    def render(self) -> str:
        settings = {"workspace": self.workspace, "user": self.user, "runnables": dict(self.runnables)}
        page = (self.folder / "index.html").read_text(encoding="utf-8")
        texts = {"SETTINGS": json.dumps(settings), "SIGN_IN": self.sign_in}
        return re.sub("SETTINGS|SIGN_IN", lambda found: html.escape(texts[found[0]]), page)


def read_runnables(root: Path) -> dict[str, str]:
    """The scripts that the app of a bundle may start, by the names that its page has for them."""
    found = {}
    for file in sorted((root / APP / "backend").glob("*.yaml")):
        runnable = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if runnable.get("type") == "script" and runnable.get("path"):
            found[file.stem] = str(runnable["path"])
    return found


class Site:
    """An ASGI application. reasons: why the panel is not ready, looked up at each question."""

    def __init__(self, page: Page, api: ASGIApp, reasons: Callable[[], list[str]], host_names: Collection[str] = ()):
        self._page, self._api, self._reasons = page, api, reasons
        self._own = Starlette(
            routes=[
                Route("/", self.show_page),
                Route("/assets/{name}", self.send_asset),
                Route("/healthz", self.answer_health),
                Route("/readyz", self.answer_readiness),
            ]
        )
        self._guarded = Guard(BodyLimit(self._dispatch), host_names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guarded(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner = self._api if scope["path"].startswith("/api/") else self._own
        await inner(scope, receive, send)

    async def show_page(self, _: Request) -> Response:
        if problem := self._page.problem():
            return PlainTextResponse(problem, 503)
        return HTMLResponse(self._page.render(), headers={"Cache-Control": "no-store"})

    async def send_asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        file = self._page.folder / name
        if not ASSET.fullmatch(name) or not file.is_file():
            return PlainTextResponse("Not found", 404)
        # Its name holds its hash.
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(file.read_bytes(), media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=headers)

    async def answer_health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "version": version("flexcore")})

    async def answer_readiness(self, _: Request) -> Response:
        reasons = await run_in_threadpool(self._find_reasons)
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    def _find_reasons(self) -> list[str]:
        # A bundle without a dashboard is served all the same: its API is what was asked for.
        is_unbuilt = self._page.problem() == NO_PAGE and bool(self._page.runnables)
        return [*([NO_PAGE] if is_unbuilt else ()), *self._reasons()]
