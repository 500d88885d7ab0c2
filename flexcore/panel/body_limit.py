"""How large a request may be: whoever sends more is refused, before the panel has all of it in memory.

The bytes are counted as they come: a length may be missing, or be a lie.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Arguments of a run are some kilobytes; data belongs into the store.
MAX_BODY_BYTES = 64 << 20


class BodyLimit:
    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counted, begun = 0, False

        async def receive_counted() -> Message:
            nonlocal counted
            message = await receive()
            counted += len(message.get("body", b""))
            if counted > MAX_BODY_BYTES:
                raise _too_large()
            return message

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            if _declared_length(scope) > MAX_BODY_BYTES:
                raise _too_large()
            await self._application(scope, receive_counted, send_noted)
        except HTTPException as error:
            if begun:
                raise
            await PlainTextResponse(error.detail, error.status_code)(scope, receive, send)


def _declared_length(scope: Scope) -> int:
    given = Headers(scope=scope).get("content-length", "")
    return int(given) if given.isdecimal() else 0


def _too_large() -> HTTPException:
    limit = f"a request may have {MAX_BODY_BYTES >> 20} MiB"
    return HTTPException(413, f"Payload too large: {limit}; put the data into the store and name it")
