"""The panel before a Windmill server: the same page, the server's API as it is, and health, on one port.

The panel has no token. Whoever looks signs in with a token of their own, which the page sends with each request and
the panel hands on: everyone acts with their own rights, as in Windmill's own page. What the panel adds to the API is
nothing; what it leaves out is Windmill's session (cookies), so that no other page can use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping

import httpx
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from f.flexcore.lib.core.loopback import is_loopback
from flexcore.panel.site import Page, Site

SIGN_IN = "Enter one of your Windmill tokens (Account settings, Tokens). It stays in this browser."
# Of a connection that carries a result or a stream; starting to answer is another matter.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S, READY_TIMEOUT_S = 5.0, 300.0, 3.0
# What belongs to one connection, and what would bring a browser's session with it.
NOT_HANDED_ON = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"),
    *("upgrade", "host", "cookie", "set-cookie", "content-length", "content-encoding", "accept-encoding"),
}


def make_site(url: str, workspace: str, runnables: Mapping[str, str], host_names: Collection[str]) -> ASGIApp:
    """The panel before the Windmill at `url`."""
    page = Page(workspace, "", runnables, SIGN_IN)
    return Site(page, Handover(url), lambda: find_reasons(url), host_names)


def find_reasons(url: str) -> list[str]:
    """Why the server cannot be used now; none when it answers."""
    try:
        answer = httpx.get(f"{url}/api/version", timeout=READY_TIMEOUT_S, trust_env=not is_loopback(url))
    except httpx.HTTPError as error:
        return [f"Windmill at {url} does not answer ({type(error).__name__})"]
    return [] if answer.is_success else [f"Windmill at {url} answers {answer.status_code}"]


class Handover:
    """Hands requests below /api/ on to a server, with their tokens and without cookies."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        # The environment's proxy and certificates are for what is outside of this machine, as for other commands.
        is_outside = not is_loopback(url)
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout, trust_env=is_outside, transport=transport)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, headers = Request(scope, receive), Headers(scope=scope)
        # The body goes on as it comes: many at once would not fit into memory.
        length = [("content-length", headers["content-length"])] if "content-length" in headers else []
        has_body = length or "transfer-encoding" in headers
        path = scope.get("raw_path", scope["path"].encode()).split(b"?")[0]
        asked = self._client.build_request(
            request.method,
            httpx.URL(self._client.base_url, raw_path=path + (b"?" + scope["query_string"]).rstrip(b"?")),
            headers=[*_hand_on(headers), *length],
            content=request.stream() if has_body else None,
        )
        try:
            answer = await self._client.send(asked, stream=True)
        except ClientDisconnect:
            return
        except httpx.HTTPError as error:
            reason = PlainTextResponse(f"Bad gateway: Windmill does not answer ({type(error).__name__})", 502)
            await reason(scope, receive, send)
            return
        handed = StreamingResponse(_chunks(answer), answer.status_code, dict(_hand_on(answer.headers)))
        await handed(scope, receive, send)


def _hand_on(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in NOT_HANDED_ON]


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    finally:
        await answer.aclose()
