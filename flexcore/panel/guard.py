"""Who may ask the panel at all, before any key is looked at; and what a browser may do with the page.

Host      a name that is another's (DNS rebinding) is refused; health is for probes, which ask by address
Origin    a request that changes something and comes from another page is refused; programs send no origin
answers   carry a Content-Security-Policy without inline code: what a user has named can never become markup or script

Keys travel in a header, never in a cookie: another page of the same browser has none to send.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from f.flexcore.lib.core.loopback import is_loopback, read_host

OPEN_PATHS = ("/healthz", "/readyz")
SAFE_METHODS = ("GET", "HEAD")
# By which name the page was asked for: the browser sends it with each request that a script makes.
SAME_SITES = ("same-origin", "none")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """host_names: under which the panel is reached, besides loopback's own."""

    def __init__(self, application: ASGIApp, host_names: Collection[str] = ()) -> None:
        self._application = application
        self._host_names = {name.lower() for name in host_names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self.refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, _with_security_headers(send))
        else:
            await self._application(scope, receive, _with_security_headers(send))

    def refusal(self, method: str, path: str, headers: Headers) -> PlainTextResponse | None:
        """The answer to a request that must not go on; None when it may."""
        host = headers.get("host", "")
        if path not in OPEN_PATHS and not self.is_own_name(host):
            return PlainTextResponse(
                f"Misdirected: {host[:200]!r} is not a name of this panel; open it as localhost,"
                " or start it with --host-name",
                421,
            )
        if method not in SAFE_METHODS and is_foreign(headers, host):
            return PlainTextResponse(
                "Forbidden: the request came from another origin; open the dashboard's own page", 403
            )
        return None

    def is_own_name(self, host: str) -> bool:
        return is_loopback(f"//{host}") or read_host(f"//{host}") in self._host_names


def is_foreign(headers: Headers, host: str) -> bool:
    """Whether a browser says that a page of another origin sends the request."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return True
    return headers.get("sec-fetch-site", SAME_SITES[0]) not in SAME_SITES


def _with_security_headers(send: Send) -> Send:
    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
        await send(message)

    return send_guarded
